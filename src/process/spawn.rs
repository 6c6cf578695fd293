//! Turns a description into a running program: fork, prepare, exec.
//!
//! Everything that needs memory is prepared before the fork; between fork and exec the child only makes
//! async-signal-safe calls. It gets its own session (no terminal to type into or to be stopped by), stdin from
//! /dev/null unless it is given a pipe, clean signal state, and the sockets it was promised from descriptor 3 on.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid, fork};

use super::kernel::die_with;
use super::notes;
use super::wire::{Spawn, Stage};

/// Where a bare name is looked for when the job has no PATH: what execvp of the C library does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Waits between attempts to execute a file that somebody still writes: 1 s in all. A compiler's last write
/// or a fork in another program holds it for milliseconds.
const BUSY_WAITS_MS: [i64; 7] = [10, 20, 40, 80, 160, 320, 370];

const LISTEN_PID: &[u8] = b"LISTEN_PID=";

/// A program ready to be executed.
pub(super) struct Program {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    /// `LISTEN_PID=` and room for a number; empty if nothing is inherited.
    listen_pid: Vec<u8>,
    cwd: CString,
    /// Without it, what the keeper has: /dev/null.
    stdin: Option<OwnedFd>,
    out: OwnedFd,
    err: OwnedFd,
    inherit: Vec<OwnedFd>,
}

/// Where `program` may be: itself if it contains a slash, else in the folders of `path`. Relative ones are
/// relative to the job's working directory.
pub(super) fn candidates(program: &OsStr, path: Option<&OsStr>) -> Vec<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(program)];
    }
    if program.is_empty() {
        return Vec::new();
    }
    path.unwrap_or(OsStr::new(DEFAULT_PATH))
        .as_bytes()
        .split(|&b| b == b':')
        .map(|folder| {
            if folder.is_empty() {
                Path::new(".")
            } else {
                Path::new(OsStr::from_bytes(folder))
            }
        })
        .map(|folder| folder.join(program))
        .collect()
}

impl Program {
    /// Prepares what a request describes. `descriptors` are those for stdout, stderr, stdin if it says so, and from
    /// 3 on.
    ///
    /// # Errors
    /// A text contains a zero byte, or descriptors are missing.
    pub(super) fn new(spawn: Spawn, descriptors: Vec<OwnedFd>) -> io::Result<Program> {
        let mut descriptors = descriptors.into_iter();
        let (Some(out), Some(err)) = (descriptors.next(), descriptors.next()) else {
            return Err(Errno::EBADF.into());
        };
        let stdin = match (spawn.stdin, descriptors.len()) {
            (false, _) => None,
            (true, 0) => return Err(Errno::EBADF.into()),
            (true, _) => descriptors.next(),
        };
        let inherit: Vec<OwnedFd> = descriptors.collect();
        let program = spawn.program;
        let path = spawn
            .env
            .iter()
            .find_map(|variable| variable.strip_prefix(b"PATH="));
        let candidates = candidates(&OsString::from_vec(program), path.map(OsStr::from_bytes));
        // Its value can only be known after the fork, and it never means somebody else's sockets.
        let env = spawn
            .env
            .into_iter()
            .filter(|variable| !variable.starts_with(LISTEN_PID));
        let listen_pid = if inherit.is_empty() {
            Vec::new()
        } else {
            [LISTEN_PID, &[0; 12]].concat()
        };
        Ok(Program {
            candidates: c_strings(
                candidates
                    .into_iter()
                    .map(|path| path.into_os_string().into_vec()),
            )?,
            argv: c_strings(spawn.argv)?,
            env: c_strings(env)?,
            listen_pid,
            cwd: CString::new(spawn.cwd)?,
            stdin,
            out,
            err,
            inherit,
        })
    }

    /// Forks and lets the child execute the program. The pipe ends without a byte when it does, and otherwise
    /// says what failed: see [`failure`].
    ///
    /// # Errors
    /// The fork failed: `EAGAIN` if there are too many processes.
    pub(super) fn launch(&mut self) -> Result<(Pid, PipeReader), Errno> {
        let (result, report) = io::pipe().map_err(errno_of)?;
        let argv = pointers(&self.argv);
        let mut env = pointers(&self.env);
        let listen_pid = env.len() - 1;
        if !self.listen_pid.is_empty() {
            env.push(std::ptr::null());
        }
        // Sources for (0,) 1, 2, 3, ... and at last the pipe for the report.
        let first = if self.stdin.is_some() { 0 } else { 1 };
        let standard = self.stdin.iter().chain([&self.out, &self.err]);
        let mut sources: Vec<RawFd> = standard.map(AsRawFd::as_raw_fd).collect();
        sources.extend(self.inherit.iter().map(AsRawFd::as_raw_fd));
        sources.push(report.as_raw_fd());
        let parent = Pid::this();
        let last = notes::last_signal();
        let before = notes::block();
        // SAFETY: this process has one thread, and the child keeps to async-signal-safe calls.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => {
                before.thread_set_mask()?;
                Ok((child, result))
            }
            Ok(ForkResult::Child) => {
                if !self.listen_pid.is_empty() {
                    write_number(
                        &mut self.listen_pid[LISTEN_PID.len()..],
                        Pid::this().as_raw(),
                    );
                    env[listen_pid] = self.listen_pid.as_ptr().cast();
                }
                let (stage, errno) = self.become_it(&argv, &env, first, &mut sources, parent, last);
                let report = sources.last().copied().unwrap_or(-1);
                tell(report, [stage.number(), errno as i32]);
                // SAFETY: ends the child without running anything of the parent's.
                unsafe { libc::_exit(127) }
            }
            Err(errno) => {
                before.thread_set_mask()?;
                Err(errno)
            }
        }
    }

    /// In the child: everything up to exec, which does not return. Says what failed.
    fn become_it(
        &self,
        argv: &[*const libc::c_char],
        env: &[*const libc::c_char],
        first: RawFd,
        sources: &mut [RawFd],
        parent: Pid,
        last_signal: i32,
    ) -> (Stage, Errno) {
        // SAFETY: setsid takes nothing.
        if let Err(errno) = Errno::result(unsafe { libc::setsid() }) {
            return (Stage::Setup, errno);
        }
        if let Err(errno) = place(first, sources) {
            return (Stage::Setup, errno);
        }
        if let Err(errno) = die_with(parent).and_then(|()| notes::reset(last_signal)) {
            return (Stage::Setup, errno);
        }
        // SAFETY: `cwd` is a C string.
        if let Err(errno) = Errno::result(unsafe { libc::chdir(self.cwd.as_ptr()) }) {
            return (Stage::Chdir, errno);
        }
        let mut errno = exec(&self.candidates, argv, env);
        for millis in BUSY_WAITS_MS {
            if errno != Errno::ETXTBSY {
                break;
            }
            let wait = libc::timespec {
                tv_sec: 0,
                tv_nsec: millis * 1_000_000,
            };
            // SAFETY: `wait` is valid; the remaining time is not asked for.
            unsafe { libc::nanosleep(&wait, std::ptr::null_mut()) };
            errno = exec(&self.candidates, argv, env);
        }
        (Stage::Exec, errno)
    }
}

/// What the pipe of [`Program::launch`] says: nothing if the program runs. Waits until exec or the end of the child.
pub(super) fn failure(mut result: PipeReader) -> Option<(Stage, i32)> {
    let mut bytes = [0; 8];
    result.read_exact(&mut bytes).ok()?;
    let [a, b, c, d, e, f, g, h] = bytes;
    Some((
        Stage::from_number(i32::from_ne_bytes([a, b, c, d]))?,
        i32::from_ne_bytes([e, f, g, h]),
    ))
}

/// Puts all but the last of `sources` at `first` (0 or 1) and what follows, and the last, whose number changes, beyond
/// them.
fn place(first: RawFd, sources: &mut [RawFd]) -> Result<(), Errno> {
    let beyond = sources.len() as RawFd;
    // First out of the way: a source may sit where another one belongs. Since none stays below, no dup2 here
    // ever gets two equal numbers, which would do nothing and leave CLOEXEC set.
    for source in sources.iter_mut() {
        // SAFETY: fcntl with these arguments touches no memory.
        *source = Errno::result(unsafe { libc::fcntl(*source, libc::F_DUPFD_CLOEXEC, beyond) })?;
    }
    let Some((_report, rest)) = sources.split_last() else {
        return Ok(());
    };
    for (target, &source) in (first..).zip(rest) {
        // SAFETY: dup2 takes two integers; the target is ours to replace.
        Errno::result(unsafe { libc::dup2(source, target) })?;
    }
    Ok(())
}

/// Tries each candidate as execvp does: a file that may not be executed hides none that follows.
fn exec(
    candidates: &[CString],
    argv: &[*const libc::c_char],
    env: &[*const libc::c_char],
) -> Errno {
    let mut result = Errno::ENOENT;
    for candidate in candidates {
        // SAFETY: both lists end with a null pointer, and all others point to C strings that live on.
        unsafe { libc::execve(candidate.as_ptr(), argv.as_ptr(), env.as_ptr()) };
        let errno = Errno::last();
        if errno == Errno::EACCES {
            result = errno;
        } else if errno != Errno::ENOENT && errno != Errno::ENOTDIR {
            return errno;
        }
    }
    result
}

/// Writes `number` in decimal and a zero byte. Async-signal-safe; ten digits and the zero always fit.
fn write_number(place: &mut [u8], number: i32) {
    let mut digits = [0; 10];
    let mut rest = number.unsigned_abs();
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let digits = &digits[first..];
    place[..digits.len()].copy_from_slice(digits);
    place[digits.len()] = 0;
}

fn tell(report: RawFd, numbers: [i32; 2]) {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&numbers[0].to_ne_bytes());
    bytes[4..].copy_from_slice(&numbers[1].to_ne_bytes());
    // SAFETY: `bytes` is valid. If the keeper is gone, so is this process in a moment.
    unsafe { libc::write(report, bytes.as_ptr().cast(), bytes.len()) };
}

fn c_strings(texts: impl IntoIterator<Item = Vec<u8>>) -> io::Result<Vec<CString>> {
    texts
        .into_iter()
        .map(|text| CString::new(text).map_err(io::Error::from))
        .collect()
}

/// A list as execve wants it: pointers, and a null at the end. Valid as long as `strings`.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(CString::as_c_str)
        .map(CStr::as_ptr)
        .chain([std::ptr::null()])
        .collect()
}

/// The number in an error of the standard library.
pub(super) fn errno_of(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::io::Write;
    use std::os::fd::{AsRawFd, RawFd};

    use nix::unistd::{ForkResult, fork};
    use proptest::prelude::*;

    use super::{candidates, place, write_number};

    #[test]
    fn a_bare_name_is_searched_and_a_path_is_not() {
        let search = |program: &str, path: Option<&str>| -> Vec<String> {
            candidates(OsStr::new(program), path.map(OsStr::new))
                .iter()
                .map(|path| path.display().to_string())
                .collect()
        };
        assert_eq!(
            search("go", Some("/a:/b/:rel")),
            ["/a/go", "/b/go", "rel/go"]
        );
        assert_eq!(search("go", Some(":/a")), ["./go", "/a/go"]);
        assert_eq!(search("go", None), ["/bin/go", "/usr/bin/go"]);
        assert_eq!(search("./go", Some("/a")), ["./go"]);
        assert_eq!(search("/x/go", None), ["/x/go"]);
        assert!(search("", Some("/a")).is_empty());
    }

    /// In a child, as it replaces the low descriptors. Each source holds one byte, its own place, and sits
    /// where another one belongs, the middle one where it belongs itself.
    #[test]
    fn descriptors_that_sit_in_each_others_places_arrive() {
        const COUNT: usize = 9;
        let pipes: Vec<_> = (0..COUNT)
            .map(|place| {
                let (read, mut write) = std::io::pipe().expect("a pipe");
                write.write_all(&[place as u8]).expect("written");
                read
            })
            .collect();
        let mut aside = [0; COUNT];
        let mut sources = [0; COUNT + 1];
        // SAFETY: the child only makes system calls.
        match unsafe { fork() }.expect("a child") {
            // SAFETY: as said; all pointers are to locals.
            ForkResult::Child => unsafe {
                for (aside, pipe) in aside.iter_mut().zip(&pipes) {
                    *aside = libc::fcntl(pipe.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 500);
                }
                for (place, &aside) in aside.iter().enumerate() {
                    sources[place] = (COUNT - place) as RawFd;
                    libc::dup3(aside, sources[place], libc::O_CLOEXEC);
                }
                // One place is free, and the first source and the report sit outside of all places.
                sources[0] = aside[0];
                libc::close(COUNT as RawFd);
                sources[COUNT] = aside[0];
                let mut right = place(1, &mut sources).is_ok();
                for place in 0..COUNT {
                    let target = place as RawFd + 1;
                    let mut byte = 255u8;
                    right &= libc::fcntl(target, libc::F_GETFD) == 0;
                    right &= libc::read(target, (&raw mut byte).cast(), 1) == 1
                        && usize::from(byte) == place;
                }
                right &= sources[COUNT] > COUNT as RawFd;
                right &= libc::fcntl(sources[COUNT], libc::F_GETFD) == libc::FD_CLOEXEC;
                libc::_exit(if right { 0 } else { 1 })
            },
            ForkResult::Parent { child } => {
                let status = nix::sys::wait::waitpid(child, None).expect("reaped");
                assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
            }
        }
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_the_library_writes_them(number in 0..=i32::MAX) {
            let mut place = [b'x'; 12];
            write_number(&mut place, number);
            let end = place.iter().position(|&b| b == 0).expect("a zero byte");
            let expected = number.to_string();
            prop_assert_eq!(&place[..end], expected.as_bytes());
        }
    }
}
