//! `.devwatch/`: what devwatch keeps between runs, and the lock that keeps a second devwatch out.
//!
//! What is in it is a hint for the next run, never a proof: whoever uses it looks at the disk again.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::poll;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::incremental::Key;
use crate::process::tree;
use crate::supervisor::event::Digest;

/// The folder of one project, locked for as long as this lives (and for as long as the guardian cleans up).
pub struct State {
    file: PathBuf,
    lock: File,
    /// The project it was written for: a copied one was built elsewhere.
    root: String,
    silent: bool,
    rules: BTreeMap<String, Past>,
    complaint: Option<String>,
}

/// A rule's past, under its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Past {
    success: Option<Success>,
    /// How long its last successful runs took, in milliseconds, oldest first.
    took: VecDeque<u64>,
}

/// A rule's last success: what it was made of, and what it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Success {
    /// The number of everything that the command depends on.
    pub key: Key,
    /// Of all its outputs; none if it has none.
    pub outputs: Option<Digest>,
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

/// A folder of the project at `root` in which nothing lies that anybody could want to be watched: for the files by which
/// the watcher finds out how much it has been told of. Opening the state makes it.
pub fn cookies(root: &Path) -> PathBuf {
    folder(root).join(COOKIES)
}

/// devwatch's own folder of the project at `root`.
pub fn folder(root: &Path) -> PathBuf {
    root.join(".devwatch")
}

impl State {
    /// Creates `.devwatch/` below `root` where it is missing, with a `.gitignore` of its own, and takes the lock.
    /// Waits for the guardian of a devwatch that was killed: for milliseconds, or for the 10 s after which it
    /// gives up what does not die.
    ///
    /// # Errors
    /// Another devwatch holds the lock, or the folder cannot be written.
    pub fn open(root: &Path) -> Result<State, StateError> {
        let folder = folder(root);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| StateError::Io { path, error }
        };
        for name in ["bin", COOKIES] {
            fs::create_dir_all(folder.join(name)).map_err(failed(&folder))?;
        }
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
        let mut state = State {
            file: folder.join("state"),
            lock,
            root: as_text(root),
            silent: false,
            rules: BTreeMap::new(),
            complaint: None,
        };
        if let Err(why) = state.read() {
            state.complaint = Some(format!(
                ".devwatch/state {why}; it is ignored, and every rule is looked at as if for the first time"
            ));
            // Said once.
            state.write();
        }
        Ok(state)
    }

    /// Why what was kept is not believed, if it is not: a line for people.
    pub fn complaint(&mut self) -> Option<String> {
        self.complaint.take()
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
        self.write();
    }

    /// The last success of the rule of this name.
    pub fn success(&self, rule: &str) -> Option<Success> {
        self.rules.get(rule)?.success
    }

    /// Keeps it for the next run.
    pub fn remember_success(&mut self, rule: &str, success: Success) {
        if self.past(rule).success.replace(success) != Some(success) {
            self.write();
        }
    }

    /// What the rule has done is not known any more, from this moment on.
    pub fn forget_success(&mut self, rule: &str) {
        if self.past(rule).success.take().is_some() {
            self.write();
        }
    }

    /// Counts a successful run. It is kept with what is remembered next.
    pub fn count_run(&mut self, rule: &str, took: Duration) {
        let runs = &mut self.past(rule).took;
        runs.push_back(took.as_millis() as u64);
        while runs.len() > MOST_RUNS {
            runs.pop_front();
        }
    }

    /// The median of the last successful runs of the rule of this name; none before there are three.
    pub fn median(&self, rule: &str) -> Option<Duration> {
        let mut runs: Vec<u64> = self.rules.get(rule)?.took.iter().copied().collect();
        if runs.len() < FEWEST_RUNS {
            return None;
        }
        runs.sort_unstable();
        let middle = runs.get(runs.len() / 2)?;
        Some(Duration::from_millis(*middle))
    }

    fn past(&mut self, rule: &str) -> &mut Past {
        self.rules.entry(rule.to_owned()).or_default()
    }

    /// A state that cannot be written costs the next start a build or some seconds, no more.
    fn write(&self) {
        let rules: serde_json::Map<String, Value> = self
            .rules
            .iter()
            .map(|(name, past)| (name.clone(), past.to_json()))
            .collect();
        let text = json!({
            "version": VERSION,
            "root": self.root,
            "listens": !self.silent,
            "rules": rules,
        });
        let _ = replace(&self.file, &text.to_string());
    }

    /// # Errors
    /// Why what is there cannot be believed.
    fn read(&mut self) -> Result<(), &'static str> {
        const DAMAGED: &str = "is damaged";
        let text = match fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(_) => return Err("cannot be read"),
        };
        let state: Value = serde_json::from_str(&text).map_err(|_| DAMAGED)?;
        let version = state["version"].as_u64().ok_or(DAMAGED)?;
        if version != VERSION {
            return Err("is of another version of devwatch");
        }
        if state["root"] != json!(self.root) {
            return Err("is of a project in another folder");
        }
        let rules = state["rules"].as_object().ok_or(DAMAGED)?;
        let rules = rules
            .iter()
            .map(|(name, past)| Some((name.clone(), Past::of_json(past)?)))
            .collect::<Option<_>>();
        let listens = state["listens"].as_bool();
        (self.rules, self.silent) = rules.zip(listens.map(|listens| !listens)).ok_or(DAMAGED)?;
        Ok(())
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

impl Past {
    fn to_json(&self) -> Value {
        let success = self.success.map(|success| {
            let outputs = success
                .outputs
                .map(|Digest(outputs)| format!("{outputs:032x}"));
            json!({ "key": success.key.to_string(), "outputs": outputs })
        });
        json!({ "success": success, "took": self.took })
    }

    fn of_json(past: &Value) -> Option<Past> {
        let success = &past["success"];
        let success = match success.is_null() {
            true => None,
            false => Some(Success {
                key: success["key"].as_str()?.parse().ok()?,
                outputs: digest(&success["outputs"])?,
            }),
        };
        let took = past["took"].as_array()?.iter().map(Value::as_u64);
        Some(Past {
            success,
            took: took.collect::<Option<_>>()?,
        })
    }
}

/// Of outputs, if there are any. None: it is no digest.
fn digest(value: &Value) -> Option<Option<Digest>> {
    if value.is_null() {
        return Some(None);
    }
    let number = u128::from_str_radix(value.as_str()?, 16).ok()?;
    Some(Some(Digest(number)))
}

/// A path as text that JSON can hold and that is the same for the same path alone.
fn as_text(path: &Path) -> String {
    match path.to_str() {
        Some(path) => path.to_owned(),
        None => path
            .as_os_str()
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    }
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

/// Of the file, and of how the numbers in it are made: what an earlier one kept is not believed.
const VERSION: u64 = 2;

/// Not `.devwatch` itself, which is watched where a rule takes a file in it.
const COOKIES: &str = "cookies";

/// Of fewer, a median is chance.
const FEWEST_RUNS: usize = 3;
/// As many as a median needs to be calm, and few enough to follow a project that grows.
const MOST_RUNS: usize = 20;

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
    fn what_is_remembered_is_there_the_next_time() {
        let root = tempfile::tempdir().expect("a folder");
        let open = || State::open(root.path()).expect("opens");
        let mut state = open();
        assert!(!state.silent());
        state.remember_silent(true);
        let success = |number, outputs| Success {
            key: Key(number),
            outputs,
        };
        let build = success(u128::MAX - 7, Some(Digest(9)));
        let lint = success(3, None);
        for took in [30, 10, 20] {
            state.count_run("build", Duration::from_millis(took));
        }
        state.remember_success("build", build);
        state.remember_success("a \"lint\"", lint);
        drop(state);
        let mut state = open();
        assert_eq!(state.complaint(), None);
        assert!(state.silent());
        assert_eq!(state.success("build"), Some(build));
        assert_eq!(state.success("a \"lint\""), Some(lint));
        assert_eq!(state.median("build"), Some(Duration::from_millis(20)));
        assert_eq!(state.median("a \"lint\""), None);
        state.forget_success("build");
        drop(state);
        let state = open();
        assert_eq!(state.success("build"), None);
        assert_eq!(state.median("build"), Some(Duration::from_millis(20)));
    }

    #[test]
    fn the_median_is_of_the_last_twenty_runs() {
        let root = tempfile::tempdir().expect("a folder");
        let mut state = State::open(root.path()).expect("opens");
        for took in 0..100 {
            state.count_run("build", Duration::from_millis(took));
        }
        assert_eq!(state.median("build"), Some(Duration::from_millis(90)));
    }

    /// Damage is said once and believed by nobody, not even in part.
    #[test]
    fn what_is_damaged_or_foreign_is_ignored_with_a_line() {
        let root = tempfile::tempdir().expect("a folder");
        let file = root.path().join(".devwatch/state");
        let open = || State::open(root.path()).expect("opens");
        let mut state = open();
        state.remember_silent(true);
        state.remember_success(
            "build",
            Success {
                key: Key(1),
                outputs: None,
            },
        );
        drop(state);
        let good = fs::read_to_string(&file).expect("is there");
        let shown = as_text(root.path());
        let cases = [
            ("", "damaged"),
            ("{", "damaged"),
            ("\u{0}", "damaged"),
            ("[]", "damaged"),
            (&good[..good.len() / 2], "damaged"),
            (&good.replace("\"key\":\"", "\"key\":\"x"), "damaged"),
            (&good.replace("\"took\":[]", "\"took\":[-1]"), "damaged"),
            (
                &good.replace("\"listens\":false", "\"listens\":7"),
                "damaged",
            ),
            (
                &good.replace("\"version\":2", "\"version\":99"),
                "another version",
            ),
            (&good.replace(&shown, "/elsewhere"), "another folder"),
        ];
        for (text, why) in cases {
            assert_ne!(text, good, "{why}");
            fs::write(&file, text).expect("writes");
            let mut state = open();
            let said = state.complaint().expect("a line");
            assert!(said.contains(why), "{text:?}: {said}");
            assert!(!state.silent(), "{text:?}");
            assert_eq!(state.success("build"), None, "{text:?}");
            drop(state);
            assert_eq!(open().complaint(), None, "said once");
        }
        fs::write(&file, &good).expect("writes");
        assert!(open().success("build").is_some());
    }
}
