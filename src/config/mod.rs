//! What to watch, what to run and what to serve: the one description that everything else works from.
//!
//! Pure data. `file` reads it from `devwatch.toml`, `detect` derives it from the project's own files, `init` writes
//! it down as a `devwatch.toml`.

pub mod detect;
pub mod diagnostic;
pub mod file;
mod globs;
pub mod init;
mod meet;
mod order;
mod parse;
pub mod user;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use regex::Regex;

use crate::diagnostics::{Base, Kind, Pattern, Recipe};
use crate::restart::contract::{self, Contract};
pub use crate::supervisor::event::HotMode;
use crate::supervisor::plan::{RuleId, Then};

pub use globs::{BadGlob, Globs};

/// Everything devwatch was told, from whichever source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The folder on which globs, working directories and `.devwatch/` hang: absolute, symlinks resolved.
    pub root: PathBuf,
    /// Where this description came from.
    pub origin: Origin,
    /// How many rules run at the same time at most: 1 to 64. Default: the processors of this machine.
    pub jobs: usize,
    /// `[watch]`.
    pub watch: Watch,
    /// `[[rule]]`, in the order of the file; the index is the `RuleId`.
    pub rules: Vec<Rule>,
    /// `[server]`; without it devwatch runs rules as a task.
    pub server: Option<Server>,
    /// `[[problem]]`: own ways to read problems, in the order of the file.
    pub patterns: Vec<Pattern>,
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
    /// Whether symlinks that lead to folders outside of the watched ones are followed. Default: no.
    pub follow_symlinks: bool,
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The names of the rules that have to be done before it; none if it says that it waits for nobody. Where any rule
    /// says so much, rules that do not depend on one another run at the same time; where all are silent, they run one
    /// after another. See [`Config::needs`].
    pub after: Option<Vec<String>>,
    /// Whether its outputs are kept, to come back without a run. Default: yes; without outputs nothing is.
    pub cache: bool,
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
    /// Recognised from the command, else from the lines; every `[[problem]]` is tried first.
    #[default]
    Auto,
    /// None.
    Off,
    /// Exactly these, by name: those of [`Kind`], and of `[[problem]]`.
    Named(Vec<String>),
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// What makes a `self` server fork its successor. Default: as the preset says, else SIGHUP.
    pub signal: Option<Signal>,
    /// How long the old process may finish its requests. Default 5 s.
    pub drain: Duration,
    /// How long until a successor must have appeared. Default 2 s.
    pub fork_timeout: Duration,
    /// What follows a failed hand-over.
    pub on_failure: OnFailure,
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

impl Config {
    /// How what `rule` prints is read; None where it runs nothing, or is not to be read.
    pub fn recipe(&self, rule: &Rule) -> Option<Recipe> {
        let argv = rule.run.as_ref()?.argv();
        let base = Base {
            cwd: rule.cwd.clone(),
            root: self.root.clone(),
        };
        match &rule.problems {
            Problems::Off => None,
            Problems::Auto => Some(Recipe::auto(&argv, &self.patterns, base)),
            Problems::Named(names) => {
                let kinds: Vec<Kind> = names.iter().filter_map(|name| Kind::named(name)).collect();
                let named = |pattern: &&Pattern| {
                    pattern
                        .name
                        .as_ref()
                        .is_some_and(|name| names.contains(name))
                };
                let own: Vec<Pattern> = self.patterns.iter().filter(named).cloned().collect();
                Some(Recipe::named(&kinds, &own, &argv, base))
            }
        }
    }

    /// `path` as an absolute path: below the root where it is relative, without `.` and `..`.
    pub fn absolute(&self, path: &Path) -> PathBuf {
        resolve(&self.root, path)
    }

    /// The absolute `path` as the globs see it: relative to the root, `../lib/x.go` outside of it.
    pub fn relative(&self, path: &Path) -> PathBuf {
        relative(&self.root, path)
    }

    /// Folders outside the root, absolute, that the globs of `files` reach into, such as `/work/lib` for
    /// `../lib/**`. None lies inside another or inside the root; one may hold the root, as for `../*.md`.
    pub fn watch_roots(&self) -> Vec<PathBuf> {
        let mut roots = BTreeSet::new();
        for rule in &self.rules {
            for folder in rule.files.folders() {
                let folder = self.absolute(&folder);
                if !folder.starts_with(&self.root) {
                    roots.insert(folder);
                }
            }
        }
        // Ordered by components, so a folder comes before what lies in it.
        let mut kept: Vec<PathBuf> = Vec::new();
        for root in roots {
            if !kept.iter().any(|outer| root.starts_with(outer)) {
                kept.push(root);
            }
        }
        kept
    }

    /// Files, absolute, that are watched even where an ignore rule would hide them: the entries of `files` without
    /// wildcards, and the env files. They need not exist.
    pub fn always_watched(&self) -> Vec<PathBuf> {
        let named = self
            .rules
            .iter()
            .flat_map(|rule| rule.files.literals())
            .map(|path| self.absolute(&path));
        let env_files = self
            .server
            .iter()
            .flat_map(|server| server.env_file.iter().cloned());
        named
            .chain(env_files)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    /// The executable of the server, absolute, where it is an output of a rule: what a new generation differs in.
    /// None for a shell line, for a program from `PATH`, and for one that no rule writes.
    pub fn artefact(&self) -> Option<PathBuf> {
        let server = self.server.as_ref()?;
        let program = match &server.run {
            Command::Argv(argv) => argv.first()?,
            Command::Shell(_) => return None,
        };
        // Without a slash it is looked up in `PATH`, even where a file of that name lies in the folder.
        if !program.contains('/') {
            return None;
        }
        let path = resolve(&server.cwd, Path::new(program));
        let seen = self.relative(&path);
        self.rules
            .iter()
            .any(|rule| rule.outputs.matches(&seen))
            .then_some(path)
    }

    /// Whether `path`, relative to the root, is a final output of `rule`: one that no other rule's `files` match.
    /// A rule's own `files` do not count, because its own outputs never trigger it.
    pub fn is_final_output(&self, rule: RuleId, path: &Path) -> bool {
        self.rules
            .get(rule.0)
            .is_some_and(|writer| writer.outputs.matches(path))
            && !self
                .rules
                .iter()
                .enumerate()
                .any(|(index, reader)| index != rule.0 && reader.files.matches(path))
    }
}

impl Rule {
    /// A rule that only means a restart: no command, no outputs, working in `root`.
    pub fn new(name: impl Into<String>, files: Globs, root: &Path) -> Rule {
        Rule {
            name: name.into(),
            line: 0,
            files,
            run: None,
            outputs: Globs::default(),
            after: None,
            cache: true,
            then: Then::Restart,
            env: BTreeMap::new(),
            cwd: root.to_path_buf(),
            timeout: None,
            problems: Problems::default(),
        }
    }
}

impl Server {
    /// A server with every default, working in `root`.
    pub fn new(run: Command, root: &Path) -> Server {
        Server {
            run,
            restart: Restart::default(),
            listen: Vec::new(),
            env: BTreeMap::new(),
            env_file: Vec::new(),
            cwd: root.to_path_buf(),
            stop: Stop::default(),
            ready: Ready::default(),
            hot: Hot::default(),
        }
    }
}

impl Server {
    /// How it hands over when `restart = "hot"`: as configured; else, with sockets that devwatch holds, by the
    /// preset's contract if it has one, or beside the old one; without, by itself.
    pub fn hot_mode(&self) -> HotMode {
        let adopts = || {
            self.contract()
                .is_some_and(|contract| contract.adopt.is_some())
        };
        match self.hot.mode {
            Some(mode) => mode,
            None if self.listen.is_empty() => HotMode::SelfFork,
            None if adopts() => HotMode::Adopt,
            None => HotMode::Overlap,
        }
    }

    /// The mode that is in force: none where it restarts from cold.
    pub fn hands_over(&self) -> Option<HotMode> {
        match self.restart {
            Restart::Cold => None,
            Restart::Hot => Some(self.hot_mode()),
        }
    }

    /// What is known of servers of its kind.
    pub fn contract(&self) -> Option<&'static Contract> {
        contract::preset(self.hot.preset.as_deref()?)
    }

    /// What makes it fork its successor.
    pub fn hot_signal(&self) -> Signal {
        let known = self.contract().map(|contract| contract.own.signal);
        self.hot.signal.or(known).unwrap_or(Signal::SIGHUP)
    }
}

impl Command {
    /// What to execute. A line that is one simple command replaces its shell (`exec`), so that signals and the
    /// process id are the program's own; any other line stays below `sh -c`.
    pub fn argv(&self) -> Vec<String> {
        match self {
            Command::Argv(argv) => argv.clone(),
            Command::Shell(line) => {
                let exec = if is_simple(line) { "exec " } else { "" };
                vec!["sh".to_owned(), "-c".to_owned(), format!("{exec}{line}")]
            }
        }
    }
}

/// Whether `exec` may stand before a shell line: one command, no assignment in front, no builtin.
fn is_simple(line: &str) -> bool {
    const NOT_PROGRAMS: [&str; 20] = [
        "!", ".", "{", "case", "cd", "eval", "exec", "exit", "export", "for", "if", "set",
        "source", "time", "trap", "ulimit", "umask", "unset", "until", "while",
    ];
    let first = line.split_whitespace().next().unwrap_or_default();
    let control = |c: char| {
        matches!(
            c,
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' | '\n' | '#'
        )
    };
    !first.is_empty()
        && !first.contains('=')
        && !NOT_PROGRAMS.contains(&first)
        && !line.contains(control)
}

impl Command {
    /// As a person would type it: words quoted where a shell needs it; a shell line as it is.
    pub fn display(&self) -> String {
        match self {
            Command::Argv(argv) => {
                let words: Vec<_> = argv.iter().map(|word| quoted(word)).collect();
                words.join(" ")
            }
            Command::Shell(line) => line.clone(),
        }
    }
}

/// `scheme://host:port`, or `unix:/path`: as `listen` would be written, in full.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(address) => write!(f, "{}://{address}", self.name),
            Address::Unix(path) if self.name == value::DEFAULT_NAME => {
                write!(f, "unix:{}", path.display())
            }
            Address::Unix(path) => write!(f, "{}://unix:{}", self.name, path.display()),
        }
    }
}

/// The most rules that may run at the same time. Every one has a reader of its output and a keeper.
const MOST_JOBS: usize = 64;

/// How many rules run at the same time where nothing is said: as many as there are processors, as far as this process
/// may use them.
fn default_jobs() -> usize {
    let processors = std::thread::available_parallelism();
    processors.map_or(1, |number| number.get().min(MOST_JOBS))
}

impl Default for Watch {
    fn default() -> Watch {
        Watch {
            ignore: Vec::new(),
            debounce: Duration::from_millis(30),
            max_wait: Duration::from_secs(1),
            poll: Poll::default(),
            follow_symlinks: false,
        }
    }
}

impl Default for Stop {
    fn default() -> Stop {
        Stop {
            signal: Signal::SIGTERM,
            timeout: Duration::from_secs(5),
        }
    }
}

impl Default for Ready {
    fn default() -> Ready {
        Ready {
            by: ReadyBy::default(),
            timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Hot {
    fn default() -> Hot {
        Hot {
            mode: None,
            preset: None,
            signal: None,
            drain: Duration::from_secs(5),
            fork_timeout: Duration::from_secs(2),
            on_failure: OnFailure::default(),
        }
    }
}

/// Regular expressions are the same when they are written the same.
impl PartialEq for ReadyBy {
    fn eq(&self, other: &ReadyBy) -> bool {
        match (self, other) {
            (ReadyBy::Log(a), ReadyBy::Log(b)) => a.as_str() == b.as_str(),
            (ReadyBy::Http(a), ReadyBy::Http(b)) => a == b,
            (ReadyBy::Delay(a), ReadyBy::Delay(b)) => a == b,
            (ReadyBy::Accepting, ReadyBy::Accepting) | (ReadyBy::Notify, ReadyBy::Notify) => true,
            (
                ReadyBy::Accepting
                | ReadyBy::Log(_)
                | ReadyBy::Http(_)
                | ReadyBy::Notify
                | ReadyBy::Delay(_),
                ReadyBy::Accepting
                | ReadyBy::Log(_)
                | ReadyBy::Http(_)
                | ReadyBy::Notify
                | ReadyBy::Delay(_),
            ) => false,
        }
    }
}

impl Eq for ReadyBy {}

/// `word` as a shell would read it back. Only what a shell cannot hold at all (NUL) is shown as it is.
fn quoted(word: &str) -> String {
    // shlex also quotes `=`, which only means something in front of the program: `-buildvcs=false` is read easier bare.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    let assigns = !word.starts_with('-') && word.contains('=');
    if !word.is_empty() && word.chars().all(is_plain) && !assigns {
        return word.to_string();
    }
    shlex::try_quote(word).map_or_else(|_| word.to_string(), |quoted| quoted.into_owned())
}

/// `path` seen from `folder`, without `.` and `..`. By the letters alone: the root has no symlinks left in it, and
/// a link further down is followed by the kernel, not here.
pub(crate) fn resolve(folder: &Path, path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for component in folder.join(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                resolved.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                resolved.push(component)
            }
        }
    }
    resolved
}

/// The absolute `path` as one would write it in `folder`; both without `.` and `..`.
fn relative(folder: &Path, path: &Path) -> PathBuf {
    let mut up = PathBuf::new();
    for base in folder.ancestors() {
        if let Ok(rest) = path.strip_prefix(base) {
            // Component by component: joining an empty rest would leave a slash at the end.
            up.extend(rest);
            return up;
        }
        up.push(OsStr::new(".."));
    }
    path.to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(patterns: &[&str]) -> Globs {
        Globs::new(patterns).expect("good globs")
    }

    fn config(rules: Vec<Rule>, server: Option<Server>) -> Config {
        Config {
            root: PathBuf::from("/work/app"),
            origin: Origin::CommandLine,
            jobs: default_jobs(),
            watch: Watch::default(),
            rules,
            server,
            patterns: Vec::new(),
        }
    }

    fn rule(files: &[&str], outputs: &[&str]) -> Rule {
        Rule {
            outputs: globs(outputs),
            ..Rule::new("r", globs(files), Path::new("/work/app"))
        }
    }

    fn server(cwd: &str, argv: &[&str]) -> Server {
        Server::new(
            Command::Argv(argv.iter().map(|word| word.to_string()).collect()),
            Path::new(cwd),
        )
    }

    #[test]
    fn watch_roots_are_the_outermost_folders_outside_the_root() {
        let config = config(
            vec![
                rule(
                    &[
                        "src/**",
                        "**/*.rs",
                        "../lib/**",
                        "../lib/deep/**/*.go",
                        "!../not/**",
                    ],
                    &[],
                ),
                rule(
                    &["../../shared/proto/*.proto", "../one.toml", "../app/src/**"],
                    &[],
                ),
            ],
            None,
        );
        assert_eq!(
            config.watch_roots(),
            [PathBuf::from("/shared/proto"), PathBuf::from("/work/lib")]
        );
    }

    #[test]
    fn named_files_and_env_files_are_always_watched() {
        let mut server = server("/work/app", &["x"]);
        server.env_file.push(PathBuf::from("/work/app/.env"));
        let config = config(
            vec![rule(
                &["./go.mod", "../one.toml", "**/*.go", "!gen.go"],
                &[],
            )],
            Some(server),
        );
        let expected = ["/work/app/.env", "/work/app/go.mod", "/work/one.toml"].map(PathBuf::from);
        assert_eq!(config.always_watched(), expected);
    }

    #[test]
    fn the_artefact_is_the_program_that_a_rule_writes() {
        let outputs = [".devwatch/bin/*", "../out/app", "name"];
        for (cwd, program, expected) in [
            (
                "/work/app",
                ".devwatch/bin/api",
                Some("/work/app/.devwatch/bin/api"),
            ),
            (
                "/work/app",
                "./.devwatch/bin/api",
                Some("/work/app/.devwatch/bin/api"),
            ),
            (
                "/work/app/web",
                "../.devwatch/bin/api",
                Some("/work/app/.devwatch/bin/api"),
            ),
            (
                "/work/app",
                "/work/app/.devwatch/bin/api",
                Some("/work/app/.devwatch/bin/api"),
            ),
            ("/work/app", "../out/app", Some("/work/out/app")),
            ("/work/app", "/usr/bin/python3", None),
            ("/work/app", "name", None),
            ("/work/app/web", ".devwatch/bin/api", None),
        ] {
            let config = config(
                vec![rule(&["**/*"], &outputs)],
                Some(server(cwd, &[program, "-v"])),
            );
            assert_eq!(
                config.artefact(),
                expected.map(PathBuf::from),
                "{program} in {cwd}"
            );
        }
    }

    #[test]
    fn final_outputs_are_read_by_no_other_rule() {
        let config = config(
            vec![
                rule(&["proto/**"], &["gen/**"]),
                rule(&["**/*.go"], &["bin/api", "own.go"]),
            ],
            None,
        );
        let is_final = |rule, path: &str| config.is_final_output(RuleId(rule), Path::new(path));
        assert!(!is_final(0, "gen/a.go"));
        assert!(is_final(0, "gen/a.json"));
        assert!(is_final(1, "bin/api"));
        assert!(is_final(1, "own.go"));
        assert!(!is_final(1, "main.go"));
        assert!(!is_final(7, "bin/api"));
    }

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let argv = Command::Argv(
            ["go", "build", "-o=x", "-ldflags=-X a=b", "", "A=b"]
                .map(String::from)
                .to_vec(),
        );
        assert_eq!(argv.display(), "go build -o=x '-ldflags=-X a=b' '' 'A=b'");
        assert_eq!(
            Command::Shell("make && ./x".into()).display(),
            "make && ./x"
        );
    }

    #[test]
    fn relative_and_absolute_are_inverse() {
        let config = config(vec![], None);
        for path in ["/work/app/a/b", "/work/lib/x", "/etc/x", "/work", "/"] {
            let path = Path::new(path);
            assert_eq!(config.absolute(&config.relative(path)), path);
        }
        assert_eq!(
            config.relative(Path::new("/work/lib/x")),
            Path::new("../lib/x")
        );
    }
}
