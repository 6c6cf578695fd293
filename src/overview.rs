//! 6 SHOW. All that is known at one moment, put together for the screen and for scripts.
//!
//! What is happening comes from the supervisor, what has happened from [`History`], and the rest from those who touch
//! the world. Values only.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::diagnostics::Problems;
use crate::history::{History, Trouble};
use crate::supervisor::status::{Activity, Freshness, Status, Swap, Told};

/// All that is known at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    /// What people call the project: the name of its root.
    pub project: String,
    /// Its root, absolute.
    pub root: PathBuf,
    /// What is happening.
    pub status: Status,
    /// What has happened.
    pub history: Arc<History>,
    /// The commands that run, as they began.
    pub commands: Vec<Running>,
    /// What the commands of this cycle took before, all together; none before each of them has run three times.
    pub expected: Option<Duration>,
    /// What stands of the problems that rules have found.
    pub problems: Arc<Problems>,
    /// What is told of the generation that went down: where its last words point at.
    pub crash: Arc<Problems>,
    /// Where the server answers.
    pub places: Vec<Place>,
    /// How many connections wait at held sockets for somebody to accept them. Linux only.
    pub waiting: usize,
    /// How many clients the generation that drains still has.
    pub connections: usize,
    /// How a hot restart goes: `SIGHUP + fd inheritance`.
    pub method: String,
    /// What is watched.
    pub watched: Watched,
    /// Why the config that was saved last is not in force.
    pub refused: Option<Refused>,
}

/// A command of a rule that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The rule.
    pub rule: String,
    /// The command, as people would type it.
    pub command: String,
    /// When it began.
    pub since: Instant,
    /// The median of its last runs that succeeded; none before three of them.
    pub median: Option<Duration>,
}

/// Where the server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What is shown.
    pub text: String,
    /// What a browser can open.
    pub url: Option<String>,
}

/// What is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Files whose changes are seen.
    pub files: usize,
    /// The directories they are in.
    pub dirs: usize,
    /// Directories that the kernel does not watch for us.
    pub unwatched: usize,
    /// Whether the tree is compared again and again instead of being told of changes.
    pub polls: bool,
}

/// A config that is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The file, relative to the root.
    pub file: String,
    /// What is wrong with it, with its lines and what to do.
    pub text: String,
}

/// What the whole comes to, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// Nothing has served yet, and the server starts; or the tree is being read.
    Starting,
    /// The server answers.
    Serving,
    /// Rules run.
    Building,
    /// A rule failed.
    BuildFailed,
    /// One generation takes over from another.
    HotRestart,
    /// The server stops and starts.
    ColdRestart,
    /// The server went down.
    Crashed,
    /// The config that was saved last is not in force.
    ConfigError,
    /// Changes are counted, not built.
    Paused,
    /// There is no server, or it is meant to be down.
    Idle,
    /// devwatch ends.
    Stopping,
}

impl Word {
    /// Every one of them.
    pub const ALL: [Word; 11] = [
        Word::Starting,
        Word::Serving,
        Word::Building,
        Word::BuildFailed,
        Word::HotRestart,
        Word::ColdRestart,
        Word::Crashed,
        Word::ConfigError,
        Word::Paused,
        Word::Idle,
        Word::Stopping,
    ];
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Word::Starting => "STARTING",
            Word::Serving => "SERVING",
            Word::Building => "BUILDING",
            Word::BuildFailed => "BUILD FAILED",
            Word::HotRestart => "HOT RESTART",
            Word::ColdRestart => "COLD RESTART",
            Word::Crashed => "CRASHED",
            Word::ConfigError => "CONFIG ERROR",
            Word::Paused => "PAUSED",
            Word::Idle => "IDLE",
            Word::Stopping => "STOPPING",
        })
    }
}

impl Overview {
    /// What the whole comes to. What is under way comes first, then what is wrong, then what is.
    pub fn word(&self) -> Word {
        match self.status.activity {
            Activity::Quitting => return Word::Stopping,
            Activity::Building => return Word::Building,
            Activity::Starting => return Word::Starting,
            Activity::HotRestart => return Word::HotRestart,
            Activity::ColdRestart => return Word::ColdRestart,
            Activity::Resting => {}
        }
        match &self.history.trouble {
            Some(Trouble::Down(down)) if !down.is_well() => return Word::Crashed,
            Some(Trouble::Failed) => return Word::BuildFailed,
            Some(Trouble::Down(_)) | None => {}
        }
        if self.refused.is_some() {
            return Word::ConfigError;
        }
        if self.status.paused.is_some() {
            return Word::Paused;
        }
        if self.status.serving.is_some() {
            return Word::Serving;
        }
        // Before the first cycle the tree is being read.
        match self.history.cycles.is_empty() {
            true => Word::Starting,
            false => Word::Idle,
        }
    }

    /// Whether it holds numbers that change without anybody telling: connections that wait, or are left.
    pub fn is_counting(&self) -> bool {
        let drains = |swap: Swap| swap.old.is_some_and(|old| old.told == Told::Draining);
        let holds = self.status.has_server && self.status.freshness == Freshness::NotServing;
        holds || self.status.swap.is_some_and(drains)
    }

    /// A url to open in a browser.
    pub fn url(&self) -> Option<&str> {
        self.places.iter().find_map(|place| place.url.as_deref())
    }
}
