//! What to watch, what to run and what to serve: the one description that everything else works from.
//!
//! Pure data. `file` reads it from `devwatch.toml`, `detect` derives it from the project's own files.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use globset::GlobSet;
use nix::sys::signal::Signal;
use regex::Regex;

use crate::supervisor::plan::Then;

/// Everything devwatch was told, from whichever source.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder on which globs, working directories and `.devwatch/` hang: absolute, symlinks resolved.
    pub root: PathBuf,
    /// Where this description came from.
    pub origin: Origin,
    /// `[watch]`.
    pub watch: Watch,
    /// `[[rule]]`, in the order of the file; the index is the `RuleId`.
    pub rules: Vec<Rule>,
    /// `[server]`; without it devwatch runs rules as a task.
    pub server: Option<Server>,
}

/// Where a [`Config`] came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file, absolute.
    File(PathBuf),
    /// Derived from the project's own files.
    Detected {
        /// What kind of project: "Go", "Rust", "Node", "Python".
        kind: &'static str,
        /// The file that told, absolute: `go.mod`, `Cargo.toml`, ...
        marker: PathBuf,
    },
    /// `devwatch -- CMD...`.
    CommandLine,
}

/// `[watch]`: what is seen, and how long devwatch waits for a burst to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// gitignore lines on top of the ignore files and the built-in list.
    pub ignore: Vec<String>,
    /// Cap of the adaptive quiet time after the last event. Default 30 ms; 0 means at once.
    pub debounce: Duration,
    /// Never wait longer than this after the first event. Default 1 s.
    pub max_wait: Duration,
    /// Whether to look at the tree by polling.
    pub poll: Poll,
}

/// `[watch] poll`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Poll {
    /// Where the filesystem gives no events.
    #[default]
    Auto,
    /// Never.
    Off,
    /// Always, at this interval.
    Every(Duration),
}

/// One `[[rule]]`: globs, optionally a command, and what it means for the server.
#[derive(Clone, Debug)]
pub struct Rule {
    /// As configured, or `rule-N` counted from 1.
    pub name: String,
    /// The line of `[[rule]]` in the config file; 0 without a file.
    pub line: usize,
    /// Which files belong to it.
    pub files: Globs,
    /// What to run; without it the rule only has a meaning for the server.
    pub run: Option<Command>,
    /// What the command writes.
    pub outputs: Globs,
    /// What it means for the server. Default [`Then::Restart`].
    pub then: Then,
    /// Variables added to the command's environment.
    pub env: BTreeMap<String, String>,
    /// Working directory, absolute. Default: the root.
    pub cwd: PathBuf,
    /// How long the command may take; none by default. On expiry its tree is stopped and the rule has failed.
    pub timeout: Option<Duration>,
    /// How to read problems from its output.
    pub problems: Problems,
}

/// `problems`: the reader of a rule's output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Problems {
    /// Recognised from the command.
    #[default]
    Auto,
    /// None.
    Off,
    /// A reader by name: "cargo", "go", "tsc", "eslint", "gnu", "python".
    Named(String),
}

/// `run`: what to execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Program and arguments, executed as they are.
    Argv(Vec<String>),
    /// A line for `sh -c`.
    Shell(String),
}

/// `[server]`.
#[derive(Clone, Debug)]
pub struct Server {
    /// What to run.
    pub run: Command,
    /// How new code comes into service.
    pub restart: Restart,
    /// Sockets that devwatch holds and hands on, in this order from descriptor 3.
    pub listen: Vec<Listen>,
    /// Variables added to the environment.
    pub env: BTreeMap<String, String>,
    /// dotenv files, absolute; a missing one is no error. A change of one means [`Then::Cold`].
    pub env_file: Vec<PathBuf>,
    /// Working directory, absolute. Default: the root.
    pub cwd: PathBuf,
    /// How it is told to stop.
    pub stop: Stop,
    /// How it is known to be ready.
    pub ready: Ready,
    /// `[server.hot]`, checked but acted on only with `restart = "hot"`.
    pub hot: Hot,
}

/// `[server] restart`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// Stop, then start. With `listen` requests wait meanwhile.
    #[default]
    Cold,
    /// Hand over without a gap.
    Hot,
}

/// One entry of `[server] listen`: one descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The scheme, or `http`: its name in `LISTEN_FDNAMES`.
    pub name: String,
    /// Where to listen.
    pub address: Address,
}

/// Where a held socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP; port 0 is chosen by the kernel.
    Tcp(SocketAddr),
    /// A unix socket, absolute path.
    Unix(PathBuf),
}

/// `[server] stop`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Default SIGTERM.
    pub signal: Signal,
    /// How long it may take; then it is killed. Default 5 s.
    pub timeout: Duration,
}

/// `[server] ready`.
#[derive(Clone, Debug)]
pub struct Ready {
    /// What shows it.
    pub by: ReadyBy,
    /// How long a server may take to become ready. Default 10 s.
    pub timeout: Duration,
}

/// What shows that a server is ready.
#[derive(Clone, Debug, Default)]
pub enum ReadyBy {
    /// Evidence that it accepts on a socket, held or its own; READY=1 counts too.
    #[default]
    Accepting,
    /// A line that it prints.
    Log(Regex),
    /// A path that answers 2xx or 3xx.
    Http(String),
    /// READY=1 on NOTIFY_SOCKET.
    Notify,
    /// Time; shown as assumed.
    Delay(Duration),
}

/// `[server.hot]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hot {
    /// How the hand-over goes; default `overlap` with `listen`, else `self`.
    pub mode: Option<HotMode>,
    /// A known contract: "falcore", "endless", "grace", "tableflip".
    pub preset: Option<String>,
    /// What makes a `self` server fork its successor. Default SIGHUP.
    pub signal: Signal,
    /// How long the old process may finish its requests. Default 5 s.
    pub drain: Duration,
    /// How long until a successor must have appeared. Default 2 s.
    pub fork_timeout: Duration,
    /// What follows a failed hand-over.
    pub on_failure: OnFailure,
}

/// `[server.hot] mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotMode {
    /// The server forks its own successor on a signal. `mode = "self"`.
    SelfFork,
    /// devwatch starts the successor beside the old one on held sockets.
    Overlap,
    /// devwatch plays the old process of a known contract.
    Adopt,
}

/// `[server.hot] on_failure`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The old generation serves on.
    #[default]
    Keep,
    /// The new binary is tried from cold.
    Cold,
}

/// Globs anchored at the root, `!` to exclude: a path belongs when at least one plain glob and no `!` glob matches.
#[derive(Clone, Debug, Default)]
pub struct Globs {
    /// As written.
    pub patterns: Vec<String>,
    include: GlobSet,
    exclude: GlobSet,
}

impl Globs {
    /// Whether `path` belongs. `path` is relative to the root (`../lib/x.go` for an extra root).
    pub fn matches(&self, path: &Path) -> bool {
        self.include.is_match(path) && !self.exclude.is_match(path)
    }

    /// Whether nothing can ever match.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty()
    }
}
