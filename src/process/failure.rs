//! Why a job could not be started, said so that the reader knows what to do.
//!
//! The kernel says ENOENT for a missing program, a missing `#!` interpreter, a missing loader and a missing
//! folder alike. The difference is looked up here, in devwatch, right after the fact.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::spawn::candidates;
use super::wire::Stage;

/// A job that could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnError {
    /// The program as it was asked for.
    pub program: OsString,
    /// What stood in the way.
    pub reason: SpawnFailure,
}

/// What stood in the way of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpawnFailure {
    /// The working directory does not exist or may not be entered.
    Folder(PathBuf, Errno),
    /// There is no such file, or no such name in any folder of PATH.
    NoProgram,
    /// The script exists; the interpreter that its first line names does not, or may not be executed.
    Interpreter(PathBuf),
    /// The executable exists; the loader that it names does not (built for another C library or system).
    NoLoader,
    /// It is a folder.
    IsFolder,
    /// The file's mode lacks x.
    NotExecutable,
    /// The kernel knows no such format: built for another machine, empty, or a script without `#!`.
    Format,
    /// Somebody kept the file open for writing for more than 1 s.
    Busy,
    /// There were too many processes for more than 1 s.
    TooManyProcesses,
    /// The guardian or the job's keeper was killed meanwhile.
    GuardianLost,
    /// Anything else.
    Other(Errno),
}

/// What is needed to tell afterwards why a start failed.
pub(super) struct Attempt {
    pub(super) program: OsString,
    /// The PATH of the job's environment.
    pub(super) path: Option<OsString>,
    pub(super) cwd: PathBuf,
}

impl Attempt {
    pub(super) fn lost(&self) -> SpawnError {
        SpawnError {
            program: self.program.clone(),
            reason: SpawnFailure::GuardianLost,
        }
    }

    pub(super) fn explain(&self, stage: Stage, errno: Errno) -> SpawnError {
        let reason = match stage {
            Stage::Fork if errno == Errno::EAGAIN => SpawnFailure::TooManyProcesses,
            // The keeper died between fork and the check.
            Stage::Setup if errno == Errno::ESRCH => SpawnFailure::GuardianLost,
            Stage::Fork | Stage::Setup => SpawnFailure::Other(errno),
            Stage::Chdir => SpawnFailure::Folder(self.cwd.clone(), errno),
            Stage::Exec => self.explain_exec(errno),
        };
        SpawnError {
            program: self.program.clone(),
            reason,
        }
    }

    fn explain_exec(&self, errno: Errno) -> SpawnFailure {
        if errno == Errno::ETXTBSY {
            return SpawnFailure::Busy;
        }
        if errno == Errno::ENOEXEC {
            return SpawnFailure::Format;
        }
        if ![Errno::ENOENT, Errno::ENOTDIR, Errno::EACCES].contains(&errno) {
            return SpawnFailure::Other(errno);
        }
        let mut found = candidates(&self.program, self.path.as_deref())
            .into_iter()
            .map(|candidate| self.cwd.join(candidate))
            .filter_map(|file| fs::metadata(&file).ok().map(|metadata| (file, metadata)));
        let Some((file, metadata)) = found.next() else {
            // A folder of PATH that may not be searched says nothing about the name.
            let named_by_path = self.program.as_bytes().contains(&b'/');
            return if named_by_path && errno == Errno::EACCES {
                SpawnFailure::Other(errno)
            } else {
                SpawnFailure::NoProgram
            };
        };
        if metadata.is_dir() {
            return SpawnFailure::IsFolder;
        }
        if metadata.permissions().mode() & 0o111 == 0 {
            return SpawnFailure::NotExecutable;
        }
        match (interpreter(&file), errno) {
            (Some(interpreter), _) if !is_executable(&self.cwd.join(&interpreter)) => {
                SpawnFailure::Interpreter(interpreter)
            }
            (None, Errno::ENOENT) => SpawnFailure::NoLoader,
            (Some(_) | None, errno) => SpawnFailure::Other(errno),
        }
    }
}

/// The interpreter that a script's first line names.
fn interpreter(file: &Path) -> Option<PathBuf> {
    use std::io::Read;

    // The kernel looks at 256 bytes.
    let mut start = Vec::new();
    fs::File::open(file)
        .ok()?
        .take(256)
        .read_to_end(&mut start)
        .ok()?;
    let line = start.strip_prefix(b"#!")?.split(|&b| b == b'\n').next()?;
    // A carriage return is part of the name: the usual reason why a script from Windows is "not found".
    let name = line
        .split(|&b| b == b' ' || b == b'\t')
        .find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program.display();
        write!(f, "cannot start {:?}: ", program.to_string())?;
        match &self.reason {
            SpawnFailure::Folder(folder, errno) => {
                write!(
                    f,
                    "cannot enter its working directory {}: {}",
                    folder.display(),
                    text(*errno)
                )
            }
            SpawnFailure::NoProgram if self.program.as_bytes().contains(&b'/') => {
                f.write_str("no such file")
            }
            SpawnFailure::NoProgram => f.write_str("no such program in PATH"),
            SpawnFailure::Interpreter(name) => {
                // Debug format shows a carriage return.
                write!(
                    f,
                    "its interpreter {:?} does not exist or is not executable",
                    name.display().to_string()
                )
            }
            SpawnFailure::NoLoader => f.write_str(
                "the loader that it needs does not exist; it was built for another system",
            ),
            SpawnFailure::IsFolder => f.write_str("it is a folder"),
            SpawnFailure::NotExecutable => {
                write!(f, "it is not executable; run chmod +x {program}")
            }
            SpawnFailure::Format => {
                f.write_str("neither a program for this machine nor a script that begins with #!")
            }
            SpawnFailure::Busy => f.write_str("another program kept it open for writing for 1 s"),
            SpawnFailure::TooManyProcesses => {
                f.write_str("too many processes (ulimit -u), for 1 s")
            }
            SpawnFailure::GuardianLost => f.write_str("the guardian was killed"),
            SpawnFailure::Other(errno) => f.write_str(&text(*errno)),
        }
    }
}

impl std::error::Error for SpawnError {}

fn text(errno: Errno) -> String {
    let text = errno.desc();
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}
