//! `.devwatch/`: what devwatch keeps between runs, and the lock that keeps a second devwatch out.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::poll;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::process::tree;

/// The folder of one project, locked for as long as this lives (and for as long as the guardian cleans up).
pub struct State {
    file: PathBuf,
    lock: File,
    silent: bool,
}

/// Why there is no [`State`].
#[derive(Debug)]
pub enum StateError {
    /// Another devwatch runs for this project.
    Taken {
        /// The project.
        root: PathBuf,
        /// Its process id, if it could be read.
        pid: Option<u32>,
    },
    /// The folder cannot be written.
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

impl State {
    /// Creates `.devwatch/` below `root` where it is missing, with a `.gitignore` of its own, and takes the lock.
    /// Waits for the guardian of a devwatch that was killed: for milliseconds, or for the 10 s after which it
    /// gives up what does not die.
    ///
    /// # Errors
    /// Another devwatch holds the lock, or the folder cannot be written.
    pub fn open(root: &Path) -> Result<State, StateError> {
        let folder = root.join(".devwatch");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| StateError::Io { path, error }
        };
        fs::create_dir_all(folder.join("bin")).map_err(failed(&folder))?;
        let ignore = folder.join(".gitignore");
        // One that is empty was made on a disk that was full then.
        let made = OpenOptions::new()
            .append(true)
            .create(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&ignore);
        let mut made = made.map_err(failed(&ignore))?;
        if made.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            made.write_all(b"*\n").map_err(failed(&ignore))?;
        }
        let path = folder.join("lock");
        let mut options = OpenOptions::new();
        let options = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(libc::O_NOFOLLOW);
        let mut lock = options.open(&path).map_err(failed(&path))?;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    let pid = holder(&mut lock);
                    if !pid.is_some_and(has_ended) {
                        let root = root.to_owned();
                        return Err(StateError::Taken { root, pid });
                    }
                    // Its guardian holds the lock until nothing of it is left. Not a lock that waits: when it is
                    // free, a third devwatch may be faster, and that one stays.
                    let _ = poll(&mut [], LOOK_AGAIN);
                }
                Err(TryLockError::Error(error)) => return Err(failed(&path)(error)),
            }
        }
        // Only for people: the lock itself says who holds it.
        let write = |lock: &mut File| {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        write(&mut lock).map_err(failed(&path))?;
        let file = folder.join("state");
        let silent = read(&file).is_some_and(|state| state["listens"] == json!(false));
        Ok(State { file, lock, silent })
    }

    /// The lock, for the guardian: it is held until the last copy of the descriptor is closed.
    pub fn lock_file(&self) -> &File {
        &self.lock
    }

    /// Whether the server was alive at its ready timeout and listened nowhere when it last had the time.
    pub fn silent(&self) -> bool {
        self.silent
    }

    /// Keeps it for the next run. A state that cannot be written costs the next start some seconds, no more.
    pub fn remember_silent(&mut self, silent: bool) {
        self.silent = silent;
        let text = json!({ "version": VERSION, "listens": !silent }).to_string();
        let _ = replace(&self.file, &text);
    }

    /// What `.devwatch/locations` holds from here on: the problems of the last build, for editors.
    ///
    /// # Errors
    /// It cannot be written, and still holds what it did.
    pub fn write_locations(&self, text: &str) -> std::io::Result<()> {
        replace(&self.file.with_file_name("locations"), text)
    }
}

/// Whoever reads `file` finds it whole, before or after. Nothing is written to where a symlink leads.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let beside = file.with_extension("new");
    let create = || File::create_new(&beside);
    let mut new = create().or_else(|_| {
        // Left by a devwatch that was killed, or put there by whoever wrote the project.
        let _ = fs::remove_file(&beside);
        create()
    })?;
    new.write_all(text.as_bytes())?;
    fs::rename(&beside, file)
}

/// Who wrote its number into the lock.
fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether a process is no more, reaped or not.
fn has_ended(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid).map(Pid::from_raw) else {
        return false;
    };
    kill(pid, None) == Err(Errno::ESRCH)
        || tree::process(pid).is_some_and(|process| process.state == 'Z')
}

/// A state that is damaged or of another version says nothing.
fn read(file: &Path) -> Option<Value> {
    let state: Value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
    (state["version"] == json!(VERSION)).then_some(state)
}

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StateError::Taken { root, pid } => {
                write!(f, "another devwatch already runs in {}", root.display())?;
                match pid {
                    Some(pid) => write!(f, " (pid {pid}); stop it first: kill {pid}"),
                    None => write!(f, "; stop it first"),
                }
            }
            StateError::Io { path, error } => write!(f, "cannot write {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for StateError {}

const VERSION: u32 = 1;

/// Milliseconds between two looks at a lock that is about to be free.
const LOOK_AGAIN: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_told_who_holds_the_lock() {
        let root = tempfile::tempdir().expect("a folder");
        let first = State::open(root.path()).expect("the first gets it");
        let Err(StateError::Taken { pid, .. }) = State::open(root.path()) else {
            panic!("the second got it too")
        };
        assert_eq!(pid, Some(std::process::id()));
        drop(first);
        State::open(root.path()).expect("free again");
    }

    #[test]
    fn the_folder_is_ignored_by_git_even_after_a_full_disk() {
        let root = tempfile::tempdir().expect("a folder");
        let ignore = root.path().join(".devwatch/.gitignore");
        let open = || drop(State::open(root.path()).expect("opens"));
        for (found, expected) in [(None, "*\n"), (Some(""), "*\n"), (Some("/bin\n"), "/bin\n")] {
            if let Some(text) = found {
                fs::write(&ignore, text).expect("writes");
            }
            open();
            assert_eq!(fs::read_to_string(&ignore).expect("is there"), expected);
        }
    }

    #[test]
    fn locations_are_replaced_whole_and_lead_nowhere_else() {
        use std::os::unix::fs::symlink;

        let root = tempfile::tempdir().expect("a folder");
        let state = State::open(root.path()).expect("opens");
        let precious = root.path().join("precious");
        fs::write(&precious, "precious").expect("writes");
        let [file, beside] =
            ["locations", "locations.new"].map(|name| root.path().join(".devwatch").join(name));
        symlink(&precious, &file).expect("a link");
        symlink(&precious, &beside).expect("a link");
        for text in ["a.c:1:1: error: x\n", "", "b.c:1:1: error: y\n"] {
            state.write_locations(text).expect("writes");
            assert_eq!(fs::read_to_string(&file).expect("is there"), text);
            assert!(!beside.exists() && !file.is_symlink());
        }
        assert_eq!(fs::read_to_string(&precious).expect("there"), "precious");
    }

    #[test]
    fn what_is_remembered_is_there_the_next_time_and_damage_is_forgotten() {
        let root = tempfile::tempdir().expect("a folder");
        let mut state = State::open(root.path()).expect("opens");
        assert!(!state.silent());
        state.remember_silent(true);
        drop(state);
        assert!(State::open(root.path()).expect("opens").silent());
        for damaged in ["{", "", "{\"version\":99,\"listens\":false}", "\u{0}"] {
            fs::write(root.path().join(".devwatch/state"), damaged).expect("writes");
            assert!(
                !State::open(root.path()).expect("opens").silent(),
                "{damaged:?}"
            );
        }
    }
}
