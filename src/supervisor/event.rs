//! What the supervisor hears and what it orders: the whole vocabulary between the core and the edges.
//!
//! Facts are past tense and come from the edges, orders are imperative and go to the performer. Nothing here
//! reads a clock or touches the world.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::generation::{GenerationId, JobId};
use super::plan::{Plan, RuleId, Then};

/// A process id, as the kernel counts them.
pub type Pid = i32;

/// A digest of file contents, made by the performer. The core only asks whether two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u128);

/// What a rule's outputs are now, looked at after its command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Produced {
    /// Of the final outputs (those that no rule takes as its files): what the server is owed for.
    pub finals: Option<Digest>,
    /// Of all outputs: whether a failed command left them as the last good one had.
    pub all: Option<Digest>,
    /// Rules whose files match an output that came out with new content.
    pub dirtied: BTreeSet<RuleId>,
}

/// Whether a rule can do without its command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Its inputs are those of its last success, and its outputs are what that left.
    Current(Produced),
    /// Its outputs were what they are not now for just these inputs; they were kept, and have been put back.
    Restored(Produced),
    /// No: its command has to run.
    Nothing,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It is gone, and nobody could say how: its keeper or the guardian was killed.
    Lost,
}

impl Exit {
    /// Whether the process said that all went well.
    pub fn success(self) -> bool {
        self == Exit::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "{code}"),
            Exit::Signal(signal) => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(named) => write!(f, "{named}"),
                Err(_) => write!(f, "SIG{signal}"),
            },
            Exit::Lost => write!(f, "lost"),
        }
    }
}

/// How devwatch knows that a generation is ready, in falling order of trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It was seen to accept, to answer, or to print the line asked for.
    Proven,
    /// It said READY=1.
    Notified,
    /// Time passed and it lives. Never said by a probe: time is the supervisor's.
    Assumed,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Evidence::Proven => "proven",
            Evidence::Notified => "notified",
            Evidence::Assumed => "assumed",
        })
    }
}

/// What somebody asked for: a key, a signal, a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Run every rule, changed or not, whatever it made last.
    Build,
    /// Start the server afresh without a build.
    Restart,
    /// Stop the server. It stays down until something changes or somebody asks; rules that run go on.
    Stop,
    /// Let changes wait from here on. Without effect while they do already.
    Pause,
    /// Take up what has waited, as one change. Without effect where nothing was to wait.
    Resume,
    /// End. The exit code is what a graceful end reports. A second request to quit kills at once.
    Quit {
        /// 0 after `q` and Ctrl-C, 128+n after another signal n.
        code: i32,
    },
}

/// Facts. An event about a job that the supervisor no longer holds is stale and changes nothing.
#[derive(Clone, Debug)]
pub enum Event {
    /// devwatch has begun: everything is due.
    Began,
    /// A settled change that belongs to a rule, or an env file.
    Changed {
        /// What it demands.
        plan: Plan,
        /// The files, for the begin line.
        files: BTreeSet<PathBuf>,
        /// When the first event of the burst came: staleness counts from here.
        since: Instant,
    },
    /// A change for which rules are not to run by themselves, because they make it themselves whenever they run: it
    /// joins whatever comes next.
    Withheld {
        /// What it would demand.
        plan: Plan,
        /// When the first event of the burst came.
        since: Instant,
    },
    /// The config was read again and is valid.
    Configured {
        /// What holds from now on.
        policy: Policy,
        /// Whether the running server was started under other settings.
        server_changed: bool,
        /// The config file, for the begin line.
        file: PathBuf,
        /// When the change was seen.
        since: Instant,
    },
    /// A job's process runs.
    Spawned(JobId, Pid),
    /// A job could not be started; nothing of it is left.
    SpawnFailed(JobId, String),
    /// A job's main process was reaped. Its descendants may live on.
    Exited(JobId, Exit),
    /// Nothing of a job is left.
    TreeGone(JobId),
    /// The answer to [`Effect::Reuse`].
    Reused(JobId, Reuse),
    /// The answer to [`Effect::Inspect`].
    Produced(JobId, Produced),
    /// A server has a listening socket of its own.
    Listening(JobId),
    /// A server is ready.
    Ready(JobId, Evidence),
    /// A hand-over could not even begin: the server does not listen to its signal. Nothing was done.
    Refused(JobId, String),
    /// The serving job's main process is gone and left a successor that holds its socket: somebody else had sent
    /// the signal.
    TookOver(JobId, Pid),
    /// The program of a server has been kept, as the last good one.
    Kept(JobId),
    /// Somebody asked.
    Asked(Request),
    /// Nothing happened; the deadline passed.
    Elapsed,
}

/// Whom a stop order addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The main process only: a server is told, its helpers are its own business.
    Main,
    /// Every process of the job.
    Tree,
}

/// Orders. The performer carries them out and decides nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// See whether a rule can do without its command, put back what was kept of its outputs if so, and report
    /// [`Event::Reused`].
    Reuse {
        /// The number under which its command will run, if it has to.
        job: JobId,
        /// Which rule.
        rule: RuleId,
    },
    /// Run a rule's command.
    Run {
        /// Its job number.
        job: JobId,
        /// Which rule.
        rule: RuleId,
    },
    /// Start the server, and report when it is ready.
    Start {
        /// Its job number.
        job: JobId,
        /// Its generation.
        generation: GenerationId,
        /// Not from what the rules have made: from the program that was kept last.
        last_good: bool,
    },
    /// Keep the program of this server: it works, or worked until now.
    Keep {
        /// Its job number.
        job: JobId,
    },
    /// Have the serving server fork its successor: signal it, and report the successor as spawned when there is
    /// evidence for it, and as ready when it accepts.
    HandOver {
        /// The job that serves.
        from: JobId,
        /// The job number of its successor.
        to: JobId,
        /// The successor's generation.
        generation: GenerationId,
    },
    /// A successor that came unasked has this number from here on.
    Recognise {
        /// The job that served.
        from: JobId,
        /// The successor's number.
        to: JobId,
        /// Its generation.
        generation: GenerationId,
        /// Its main process.
        pid: Pid,
    },
    /// Tell the old generation that its successor accepts, in the way of the mode: it finishes what it has and goes.
    Retire {
        /// The old one.
        job: JobId,
    },
    /// Ask a job to end: its stop signal, then CONT.
    Stop {
        /// Which job.
        job: JobId,
        /// Whom.
        target: Target,
    },
    /// End every process of a job now.
    Kill {
        /// Which job.
        job: JobId,
    },
    /// Look at a rule's outputs and report [`Event::Produced`].
    Inspect {
        /// The job that wrote them; the report names it.
        job: JobId,
        /// Which rule.
        rule: RuleId,
    },
    /// The config that was read last is in force from here on.
    Configure,
    /// Keep for the next run of devwatch whether this server listens at all.
    Remember {
        /// False: it was alive at its ready timeout and listened nowhere.
        listens: bool,
    },
    /// One fact worth a line.
    Report(Report),
    /// Nothing is left running: end with this code.
    Exit(i32),
}

/// Why a cycle began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// devwatch started.
    Start,
    /// Somebody asked.
    Request,
    /// The server crashed.
    Crash,
    /// These files changed.
    Files(BTreeSet<PathBuf>),
}

/// How the server that now serves came into service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartKind {
    /// Stop, start; refused meanwhile.
    Cold,
    /// Stop, start; devwatch held the socket and requests waited.
    Hold,
    /// The new one accepted before the old one went.
    Hot(HotMode),
}

/// How a hand-over goes: `[server.hot] mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotMode {
    /// The server forks its own successor on a signal. `mode = "self"`.
    SelfFork,
    /// devwatch starts the successor beside the old one on held sockets.
    Overlap,
    /// devwatch plays the old process of a known contract.
    Adopt,
}

/// What a generation showed when it came into service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Which one.
    pub generation: GenerationId,
    /// Its main process.
    pub pid: Option<Pid>,
    /// The process it replaced.
    pub old: Option<Pid>,
    /// How; none for the first start, when there was nothing to replace.
    pub restart: Option<RestartKind>,
    /// How devwatch knows.
    pub ready: Evidence,
    /// From the order to stop the old one, to hand over, or to start when there was none, until it accepted.
    pub accept: Duration,
    /// From the same order until nothing of the old one was left: no old code can answer from here on.
    pub fresh: Duration,
    /// Why a hot restart had to become a cold one.
    pub reason: Option<String>,
}

/// The outcome of a cycle: the word of its end line and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A generation was started and is FRESH.
    Serving(Serving),
    /// Rules succeeded and nothing was owed, or the server ended with 0 before it was ready.
    Ok {
        /// The server that ended with 0, if that is why.
        exited: Option<GenerationId>,
    },
    /// Rules succeeded, and what serves is FRESH as it is.
    Unchanged {
        /// What serves.
        serving: GenerationId,
    },
    /// A rule failed.
    Failed {
        /// Which.
        rule: RuleId,
        /// How its command ended, if it ran.
        exit: Option<Exit>,
        /// In words, where the exit does not say it: it could not be started, it took too long.
        reason: Option<String>,
        /// What serves on.
        serving: Option<GenerationId>,
    },
    /// The new generation died, hung or never accepted.
    Crashed {
        /// Which.
        generation: GenerationId,
        /// How it ended, if it did by itself.
        exit: Option<Exit>,
        /// In words, where the exit does not say it.
        reason: Option<String>,
        /// What serves on, after a hand-over that failed.
        serving: Option<GenerationId>,
        /// What follows.
        retry: Retry,
    },
    /// A newer change took over, or devwatch ends.
    Superseded,
}

/// What follows a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is started again after this long.
    In(Duration),
    /// It stays down until something changes.
    OnChange,
    /// It died young, and the last good one is started in its place, at once.
    LastGood,
}

/// Who did not stop when told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A generation of the server.
    Server(GenerationId),
    /// A rule's command.
    Rule(RuleId),
}

/// Facts worth a line on the screen, in the plain output, to an editor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A cycle began.
    Begin {
        /// Its number, from 1.
        build: u64,
        /// Why.
        cause: Cause,
    },
    /// A cycle ended. Exactly one for each begin.
    End {
        /// Its number.
        build: u64,
        /// How.
        outcome: Outcome,
        /// The rules whose outputs were put back instead of being made anew.
        restored: BTreeSet<RuleId>,
        /// From begin to end.
        took: Duration,
        /// From begin until its last rule was done; none if it never came to that.
        built: Option<Duration>,
        /// From the first change that it takes up, or what else caused it, to its end.
        waited: Duration,
    },
    /// What serves is not what is on disk: after a failed build, and where a change waits; once for each.
    Stale {
        /// What serves.
        generation: GenerationId,
        /// When the first change came that it lacks.
        since: Instant,
    },
    /// Changes wait from here on.
    Paused,
    /// Changes wait no more.
    Resumed {
        /// How many files have changed meanwhile and were not taken up by a request.
        files: usize,
    },
    /// Somebody asked for the server to be stopped.
    Stopped {
        /// What is being stopped; none if it was down, and would have been started again by itself.
        generation: Option<GenerationId>,
        /// Rules still run, and start it when they succeed. Otherwise it stays down until something changes or
        /// somebody asks.
        building: bool,
    },
    /// A server ended outside a cycle, or one whose cycle had been superseded.
    Down {
        /// Which.
        generation: GenerationId,
        /// How; none when it was alive but never ready.
        exit: Option<Exit>,
        /// In words, where the exit does not say it.
        reason: Option<String>,
        /// How long it lived.
        lived: Duration,
        /// What follows.
        retry: Retry,
    },
    /// A generation whose cycle had been superseded is in service; newer changes are still to come.
    Interim(Serving),
    /// A generation accepts while the one before it still finishes what it had.
    Draining {
        /// The new one.
        generation: GenerationId,
        /// The old one.
        old: GenerationId,
        /// Its main process.
        pid: Option<Pid>,
        /// How long it may take.
        limit: Duration,
    },
    /// The server handed over by itself: somebody else had asked it to.
    TookOver {
        /// The generation that serves now.
        generation: GenerationId,
        /// Its main process.
        pid: Pid,
    },
    /// A generation that was to go by itself has not finished in time, and was sent its stop signal.
    Overdue {
        /// Which.
        who: Who,
        /// How long it had had.
        after: Duration,
    },
    /// Something ignored its stop signal and was killed.
    Killed {
        /// What.
        who: Who,
        /// How long it had had.
        after: Duration,
    },
    /// Something could not even be killed (uninterruptible); devwatch goes on without it.
    Stuck {
        /// What.
        who: Who,
    },
}

/// Time limits and modes: what the supervisor needs to know of the config. Never the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// In the order of the config.
    pub rules: Vec<RulePolicy>,
    /// How many rules may run at the same time, where their `needs` allow it. At least 1.
    pub jobs: usize,
    /// Without a server devwatch runs rules as a task.
    pub server: Option<ServerPolicy>,
}

/// What the supervisor needs to know of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulePolicy {
    /// Its name: what it keeps when the config is read again and its place changes.
    pub name: String,
    /// What it means for the server.
    pub then: Then,
    /// Whether it has a command.
    pub runs: bool,
    /// Whether it declares outputs: then it owes its `then` only if they changed.
    pub outputs: bool,
    /// How long its command may take.
    pub timeout: Option<Duration>,
    /// The rules that have to be done before it, where they are due: all of them, also those that these need.
    pub needs: BTreeSet<RuleId>,
}

/// What the supervisor needs to know of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPolicy {
    /// Whether devwatch holds its sockets.
    pub holds: bool,
    /// How long it may take to stop.
    pub stop_timeout: Duration,
    /// How long it may take to become ready.
    pub ready_timeout: Duration,
    /// What shows that it is ready.
    pub ready: ReadyPolicy,
    /// Whether an earlier run of devwatch found that it listens nowhere.
    pub silent: bool,
    /// With `restart = "hot"`.
    pub hot: Option<HotPolicy>,
}

/// What the supervisor needs to know of `[server.hot]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotPolicy {
    /// How the hand-over goes.
    pub mode: HotMode,
    /// How long the old generation may finish its requests.
    pub drain: Duration,
    /// How long until a successor must have appeared.
    pub fork_timeout: Duration,
    /// After a failed hand-over the new binary is tried from cold, instead of the old generation serving on.
    pub cold_on_failure: bool,
}

/// What shows that a server is ready, as far as the supervisor is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyPolicy {
    /// Evidence that it accepts. Alive and listening nowhere at the timeout is taken as ready.
    Accepting,
    /// Something that it must do: print a line, answer a request, say READY=1.
    Told,
    /// Time.
    Delay(Duration),
}

/// Digests by rule: what the outputs were, or are.
pub type Digests = BTreeMap<RuleId, Digest>;
