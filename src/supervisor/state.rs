//! What the supervisor knows, part by part.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::event::{
    Cause, Digest, Digests, Effect, Exit, Pid, Policy, ReadyPolicy, RestartKind, Retry,
    ServerPolicy, Serving, Who,
};
use super::generation::{GenerationId, JobId};
use super::limits::{
    CRASH_WINDOW, FIRST_DELAY, KILL_WAIT, LONGEST_DELAY, MOST_CRASHES, SILENT_WAIT, STABLE_AFTER,
};
use super::plan::{Plan, RuleId, Then};

/// Changes and requests that no cycle has taken up yet.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) plan: Plan,
    pub(super) cause: Cause,
    pub(super) since: Instant,
}

/// What has changed while devwatch was paused.
#[derive(Clone, Debug, Default)]
pub(super) struct Paused {
    pub(super) waiting: Option<Pending>,
    /// A new config is among it.
    pub(super) reconfigure: Option<Reconfigure>,
    /// When the first change came that what serves lacks.
    pub(super) stale_since: Option<Instant>,
}

#[derive(Clone, Debug)]
pub(super) struct Reconfigure {
    pub(super) policy: Policy,
    pub(super) server_changed: bool,
}

/// One attempt to bring the tree into service, from its begin line to its end line.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    pub(super) number: u64,
    pub(super) begun_at: Instant,
    pub(super) cause: Cause,
    /// When the first change came that it takes up.
    pub(super) since: Instant,
    pub(super) todo: BTreeSet<RuleId>,
    /// Of `todo` and `running`: run whatever they made last.
    pub(super) forced: BTreeSet<RuleId>,
    /// Of `todo`: these cannot do without their commands. The number under which that was found out.
    pub(super) due: BTreeMap<RuleId, JobId>,
    pub(super) running: BTreeMap<JobId, Running>,
    pub(super) done: BTreeSet<RuleId>,
    /// Some rule did more than to be found as it should be.
    pub(super) ran: bool,
    pub(super) restored: BTreeSet<RuleId>,
    /// The first rule, by its place, that failed. What does not need it still runs.
    pub(super) failed: Option<Failed>,
    /// The strongest meaning that its rules could have had, whatever came out: tells `ok` from `unchanged`.
    pub(super) nominal: Then,
    /// Its rules are done; its end is that of the server in `next`.
    pub(super) built: bool,
    /// When its rules were done, where they are.
    pub(super) built_at: Option<Instant>,
}

/// What a superseded cycle leaves to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Carried {
    pub(super) due: BTreeMap<RuleId, JobId>,
    pub(super) running: BTreeMap<JobId, Running>,
    pub(super) restored: BTreeSet<RuleId>,
    pub(super) nominal: Then,
}

/// How a rule failed.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) rule: RuleId,
    pub(super) exit: Option<Exit>,
    pub(super) reason: Option<String>,
}

/// A rule of which is being found out whether it can do without its command. That cannot be called off: what was
/// kept may be on its way back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looking {
    pub(super) rule: RuleId,
    /// Its inputs have changed since: the answer is about others.
    pub(super) touched: bool,
}

/// A rule's command, or the look at what it wrote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    pub(super) rule: RuleId,
    pub(super) timeout_at: Option<Instant>,
    /// The command succeeded; its outputs are being looked at.
    pub(super) inspecting: bool,
}

/// What the rules last wrote.
#[derive(Clone, Debug, Default)]
pub(super) struct Outputs {
    pub(super) finals: Digests,
    pub(super) good: Digests,
    /// Commands that failed or were cancelled: did they leave their outputs whole?
    pub(super) doubts: BTreeMap<JobId, Doubt>,
    /// Rules that left other outputs than their last success: nothing is started from those.
    pub(super) damaged: BTreeSet<RuleId>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    pub(super) rule: RuleId,
    pub(super) inspecting: bool,
}

/// A server on its way into service.
#[derive(Clone, Debug)]
pub(super) struct Next {
    /// When the way began: the old one was told to stop, or there was none.
    pub(super) asked_at: Instant,
    pub(super) restart: Option<RestartKind>,
    pub(super) old: Option<Pid>,
    /// Why it is not a hand-over, though that was configured.
    pub(super) reason: Option<String>,
    /// It is the last good one, in the place of one that died.
    pub(super) instead_of: Option<Fallen>,
    pub(super) stage: Stage,
}

#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// For the old one to be gone.
    Waiting,
    Starting(Starting),
}

#[derive(Clone, Debug)]
pub(super) struct Starting {
    pub(super) server: Server,
    /// Its ready timeout.
    pub(super) ready_by: Instant,
    pub(super) listening: bool,
    /// What it was started for. If a hand-over fails, that is still owed.
    pub(super) owed: Then,
}

/// A server that serves, while not everything of the one before it has gone: not FRESH yet.
#[derive(Clone, Debug)]
pub(super) struct Arriving {
    pub(super) asked_at: Instant,
    pub(super) serving: Serving,
    pub(super) instead_of: Option<Fallen>,
}

/// A server process.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) job: JobId,
    pub(super) generation: GenerationId,
    pub(super) pid: Option<Pid>,
    pub(super) started_at: Instant,
    pub(super) ready_at: Option<Instant>,
    /// The final outputs it was started with.
    pub(super) started_with: Digests,
    /// Why it cannot hand over any more: it tried once and failed, or is only a stopgap.
    pub(super) tainted: Option<&'static str>,
    /// Its program has been kept, or is about to be.
    pub(super) kept: bool,
}

/// A generation that died soon after it was ready, and gives way to the last good one.
#[derive(Clone, Debug)]
pub(super) struct Fallen {
    pub(super) generation: GenerationId,
    pub(super) exit: Option<Exit>,
    pub(super) died_at: Instant,
}

/// Told to stop, not yet gone. One escalation serves builds and servers alike.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    pub(super) job: JobId,
    pub(super) who: Who,
    pub(super) asked_at: Instant,
    /// When patience ends: then it is told to stop, killed, given up, whichever comes next.
    pub(super) until: Instant,
    pub(super) stage: Going,
}

/// How far it is with something that has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Going {
    /// It goes by itself as soon as it has finished what it had.
    Draining,
    /// It was sent its stop signal.
    Stopping,
    /// It was killed.
    Killed,
}

/// How often and how fast the server died.
#[derive(Clone, Debug)]
pub(super) struct Crashes {
    pub(super) recent: VecDeque<Instant>,
    pub(super) delay: Duration,
    pub(super) retry_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Quit {
    pub(super) code: i32,
    pub(super) done: bool,
}

impl Pending {
    /// Makes `slot` hold what either of the two demands.
    pub(super) fn join(self, slot: &mut Option<Pending>) {
        match slot {
            Some(pending) => {
                pending.plan.join(self.plan);
                pending.cause.join(self.cause);
                pending.since = pending.since.min(self.since);
            }
            None => *slot = Some(self),
        }
    }
}

impl Paused {
    /// The files that have changed and wait.
    pub(super) fn files(&self) -> Option<&BTreeSet<PathBuf>> {
        match &self.waiting.as_ref()?.cause {
            Cause::Files(files) => Some(files),
            Cause::Start | Cause::Request | Cause::Crash => None,
        }
    }
}

impl Next {
    pub(super) fn server(&self) -> Option<&Server> {
        match &self.stage {
            Stage::Starting(starting) => Some(&starting.server),
            Stage::Waiting => None,
        }
    }

    pub(super) fn server_mut(&mut self) -> Option<&mut Server> {
        match &mut self.stage {
            Stage::Starting(starting) => Some(&mut starting.server),
            Stage::Waiting => None,
        }
    }
}

impl Leaving {
    pub(super) fn is_server(&self) -> bool {
        matches!(self.who, Who::Server(_))
    }

    pub(super) fn kill(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.stage != Going::Killed {
            self.stage = Going::Killed;
            self.until = now + KILL_WAIT;
            effects.push(Effect::Kill { job: self.job });
        }
    }
}

impl Crashes {
    pub(super) fn new() -> Crashes {
        Crashes {
            recent: VecDeque::new(),
            delay: FIRST_DELAY,
            retry_at: None,
        }
    }

    /// Counts a crash of a server that had been ready for `ready`, and says what follows.
    pub(super) fn count(&mut self, now: Instant, ready: Duration) -> Retry {
        if ready >= STABLE_AFTER {
            *self = Crashes::new();
        }
        self.recent.push_back(now);
        self.recent
            .retain(|&at| now.saturating_duration_since(at) < CRASH_WINDOW);
        if self.recent.len() >= MOST_CRASHES {
            self.retry_at = None;
            return Retry::OnChange;
        }
        let delay = self.delay;
        self.delay = (delay * 2).min(LONGEST_DELAY);
        self.retry_at = Some(now + delay);
        Retry::In(delay)
    }
}

impl Outputs {
    pub(super) fn renumber(&mut self, places: &BTreeMap<RuleId, RuleId>) {
        renumber(&mut self.finals, places);
        renumber(&mut self.good, places);
        // Whoever had begun to look would answer for an old number; every rule is due, so doubt is enough.
        self.damaged.extend(
            std::mem::take(&mut self.doubts)
                .values()
                .map(|doubt| doubt.rule),
        );
        self.damaged = self
            .damaged
            .iter()
            .filter_map(|rule| places.get(rule).copied())
            .collect();
    }
}

impl RestartKind {
    /// Whether the old one serves until the new one does.
    pub(super) fn is_hot(self) -> bool {
        match self {
            RestartKind::Hot(_) => true,
            RestartKind::Cold | RestartKind::Hold => false,
        }
    }
}

impl ServerPolicy {
    pub(super) fn time_to_ready(&self, silent: bool) -> Duration {
        match self.ready {
            ReadyPolicy::Delay(delay) => delay,
            ReadyPolicy::Accepting if silent && !self.holds => SILENT_WAIT,
            ReadyPolicy::Accepting | ReadyPolicy::Told => self.ready_timeout,
        }
    }
}

impl Cause {
    /// What is worth saying of two causes: files name themselves, a request says that somebody wanted it.
    pub(super) fn join(&mut self, other: Cause) {
        let weight = |cause: &Cause| match cause {
            Cause::Start => 0,
            Cause::Crash => 1,
            Cause::Request => 2,
            Cause::Files(_) => 3,
        };
        if let (Cause::Files(files), Cause::Files(more)) = (&mut *self, &other) {
            files.extend::<BTreeSet<PathBuf>>(more.clone());
        } else if weight(&other) > weight(self) {
            *self = other;
        }
    }
}

pub(super) fn store(digests: &mut Digests, rule: RuleId, digest: Option<Digest>) {
    match digest {
        Some(digest) => digests.insert(rule, digest),
        None => digests.remove(&rule),
    };
}

pub(super) fn renumber(digests: &mut Digests, places: &BTreeMap<RuleId, RuleId>) {
    *digests = digests
        .iter()
        .filter_map(|(rule, digest)| Some((*places.get(rule)?, *digest)))
        .collect();
}
