//! 3 DECIDE. All policy, in one deterministic state machine: what to run, when to stop it, what serves.
//!
//! Pure: no clock, no IO, no threads, and it cannot fail. A fact goes into [`Supervisor::step`], orders come
//! out. Each step first records the fact, then decides what follows from everything that is known, so a late,
//! a doubled or a lost fact never leaves half a decision behind.
//!
//! Where the state sits says what may happen: a server that is on its way sits in `next`, the one that answers
//! in `serving`, and whatever was told to stop in `leaving` until nothing of it is left. Two servers that both
//! serve cannot be written down.
//!
//! The rules of this house, each held by the simulation:
//! * A rule runs after those it needs and never beside itself; nothing is begun beside a cancelled one.
//! * Nothing touches the serving process before every rule has succeeded and what it serves from differs.
//! * A new server starts only when nothing of the old one is left.
//! * What a failed attempt owed stays owed; a save is never lost and never delayed by a crash loop.

mod decide;
pub mod event;
pub mod generation;
mod limits;
pub mod plan;
mod record;
#[cfg(test)]
mod simulation;
mod state;
pub mod status;
#[cfg(test)]
mod tests;
pub mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use event::{Digests, Effect, Event, Outcome, Policy, Report, RestartKind, Target, Who};
use generation::JobId;
use limits::{CANCEL_GRACE, STABLE_AFTER, STOP_GRACE};
use plan::{Plan, RuleId, Then};
use state::{
    Arriving, Crashes, Cycle, Fallen, Going, Leaving, Looking, Next, Outputs, Paused, Pending,
    Quit, Reconfigure, Running, Server, Stage, Starting,
};

/// What is happening, what is owed, and what serves.
#[derive(Clone, Debug)]
pub struct Supervisor {
    policy: Policy,
    /// Read and valid, but not in force before the running rule is gone.
    reconfigure: Option<Reconfigure>,
    /// Seen, not yet taken up.
    pending: Option<Pending>,
    /// Somebody wants changes to wait, and these do. Requests and restarts after a crash do not.
    paused: Option<Paused>,
    /// Left undone by failed attempts: joins the next plan, triggers nothing by itself.
    owed: Plan,
    /// The attempt under way: exactly one begin line without an end line.
    cycle: Option<Cycle>,
    cycles: u64,
    /// Rules of which is being found out whether they can do without their commands; they outlive their cycle.
    looking: BTreeMap<JobId, Looking>,
    /// What each rule's outputs were when its command last succeeded.
    outputs: Outputs,
    /// Rules whose failure stands until they succeed.
    broken: BTreeSet<RuleId>,
    next: Option<Next>,
    serving: Option<Server>,
    /// Set while what serves is not known to be FRESH.
    arriving: Option<Arriving>,
    leaving: Vec<Leaving>,
    /// When the first change came that what serves lacks.
    stale_since: Option<Instant>,
    /// Set while something is owed that triggers nothing by itself, because a rule changes its own files.
    withheld_since: Option<Instant>,
    crashes: Crashes,
    /// What the program was made from that was kept last.
    good: Option<Digests>,
    /// Whose program is being kept, and what that was made from.
    keeping: Option<(JobId, Digests)>,
    /// It died young: the next start is that of the last good program.
    fallen: Option<Fallen>,
    /// It was alive at its ready timeout and listened nowhere: its successors need not wait that long.
    silent: bool,
    quit: Option<Quit>,
    jobs: u64,
    generations: u64,
    effects: Vec<Effect>,
}

impl Supervisor {
    /// A supervisor that has done nothing yet; [`Event::Began`] sets it going.
    pub fn new(policy: Policy) -> Supervisor {
        let silent = policy.server.as_ref().is_some_and(|server| server.silent);
        Supervisor {
            policy,
            reconfigure: None,
            pending: None,
            paused: None,
            owed: Plan::default(),
            cycle: None,
            cycles: 0,
            looking: BTreeMap::new(),
            outputs: Outputs::default(),
            broken: BTreeSet::new(),
            next: None,
            serving: None,
            arriving: None,
            leaving: Vec::new(),
            stale_since: None,
            withheld_since: None,
            crashes: Crashes::new(),
            good: None,
            keeping: None,
            fallen: None,
            silent,
            quit: None,
            jobs: 0,
            generations: 0,
            effects: Vec::new(),
        }
    }

    /// Takes in one fact and returns what is to be done about it, in order.
    #[must_use = "orders that nobody carries out are lost"]
    pub fn step(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        self.record(now, event);
        self.decide(now);
        std::mem::take(&mut self.effects)
    }

    /// When [`step`](Supervisor::step) must run again even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        let leaving = self.leaving.iter().map(|leaving| leaving.until).min();
        if self.quit.is_some() {
            return leaving;
        }
        let running = self.cycle.as_ref().and_then(|cycle| {
            let timeouts = cycle.running.values();
            timeouts.filter_map(|running| running.timeout_at).min()
        });
        let starting = self.starting().map(|starting| starting.ready_by);
        let retry = self.crashes.retry_at.filter(|_| self.may_revive());
        let proven = self.to_be_kept().map(|(_, at)| at);
        [leaving, running, starting, retry, proven]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether changes wait until somebody resumes or asks.
    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// The files that have changed since devwatch was paused, or since somebody asked while it was, and wait.
    pub fn waiting_files(&self) -> Option<&BTreeSet<PathBuf>> {
        self.paused.as_ref()?.files()
    }

    // --- the ways out ---

    fn end(&mut self, now: Instant, outcome: Outcome) {
        let cycle = self.cycle.take().expect("only a cycle ends");
        let succeeded = match outcome {
            Outcome::Serving(_) | Outcome::Unchanged { .. } | Outcome::Ok { .. } => true,
            Outcome::Failed { .. } | Outcome::Crashed { .. } | Outcome::Superseded => false,
        };
        let waits = self.paused.as_ref().and_then(|paused| paused.stale_since);
        let waits = waits.filter(|_| succeeded);
        if succeeded {
            let pending = self.pending.as_ref().map(|pending| pending.since);
            self.stale_since = pending.into_iter().chain(waits).min();
        }
        self.report(Report::End {
            build: cycle.number,
            outcome,
            restored: cycle.restored,
            took: now.saturating_duration_since(cycle.begun_at),
            built: cycle
                .built_at
                .map(|at| at.saturating_duration_since(cycle.begun_at)),
            waited: now.saturating_duration_since(cycle.since),
        });
        // After any other end something else says of what waits that it is lacking, or will.
        let lacked = self.withheld_since.into_iter().chain(waits).min();
        self.say_lacking(lacked);
    }

    /// What serves lacks a change, that of `since`, for which nothing is being built.
    fn say_lacking(&mut self, since: Option<Instant>) {
        if let (Some(since), Some(server)) = (since, &self.serving) {
            let generation = server.generation;
            let since = *self.stale_since.get_or_insert(since);
            self.report(Report::Stale { generation, since });
        }
    }

    /// Ends a command before its time. One that is only being looked at has ended already.
    fn cancel(&mut self, now: Instant, job: JobId, running: Running) {
        if running.inspecting {
            return;
        }
        let rule = running.rule;
        self.doubt(job, rule);
        self.effects.push(Effect::Stop {
            job,
            target: Target::Tree,
        });
        self.leaving.push(Leaving {
            job,
            who: Who::Rule(rule),
            asked_at: now,
            until: now + CANCEL_GRACE,
            stage: Going::Stopping,
        });
    }

    fn stop_next(&mut self, now: Instant) {
        if let Some(Next {
            stage: Stage::Starting(starting),
            ..
        }) = self.next.take()
        {
            self.owed.then = self.owed.then.max(starting.owed);
            self.stop_server(now, &starting.server);
        }
    }

    fn stop_serving(&mut self, now: Instant) {
        self.arriving = None;
        if let Some(server) = self.serving.take() {
            self.stop_server(now, &server);
        }
    }

    fn stop_server(&mut self, now: Instant, server: &Server) {
        let grace = self
            .policy
            .server
            .as_ref()
            .map_or(STOP_GRACE, |policy| policy.stop_timeout);
        let (job, who) = (server.job, Who::Server(server.generation));
        self.effects.push(Effect::Stop {
            job,
            target: Target::Main,
        });
        self.leaving.push(Leaving {
            job,
            who,
            asked_at: now,
            until: now + grace,
            stage: Going::Stopping,
        });
    }

    fn report(&mut self, report: Report) {
        self.effects.push(Effect::Report(report));
    }

    // --- questions ---

    /// The serving server whose program has not been kept yet, and when it will have proven itself.
    fn to_be_kept(&self) -> Option<(JobId, Instant)> {
        let server = self.serving.as_ref().filter(|server| !server.kept)?;
        Some((server.job, server.ready_at? + STABLE_AFTER))
    }

    fn every_rule(&self) -> Plan {
        Plan {
            rules: (0..self.policy.rules.len()).map(RuleId).collect(),
            ..Plan::default()
        }
    }

    /// Whether a change that demands `plan` makes what serves stale. A rule with outputs may feed another one.
    fn concerns_server(&self, plan: &Plan) -> bool {
        let rules = || {
            plan.rules
                .iter()
                .filter_map(|rule| self.policy.rules.get(rule.0))
        };
        plan.then >= Then::Restart || rules().any(|rule| rule.outputs || rule.then >= Then::Restart)
    }

    fn rule_leaving(&self) -> bool {
        self.leaving
            .iter()
            .any(|leaving| matches!(leaving.who, Who::Rule(_)))
    }

    fn server_leaving(&self) -> bool {
        self.leaving.iter().any(Leaving::is_server)
    }

    /// Whether the old generation serves until the one in `next` does.
    fn handing_over(&self) -> bool {
        let restart = self.next.as_ref().and_then(|next| next.restart);
        restart.is_some_and(RestartKind::is_hot)
    }

    fn waiting(&self) -> bool {
        matches!(
            self.next,
            Some(Next {
                stage: Stage::Waiting,
                ..
            })
        )
    }

    /// Whether a server will be executed from what the rules wrote, and has not been yet.
    fn about_to_start(&self) -> bool {
        self.waiting()
            || self
                .starting()
                .is_some_and(|starting| starting.server.pid.is_none())
    }

    fn starting(&self) -> Option<&Starting> {
        match &self.next {
            Some(Next {
                stage: Stage::Starting(starting),
                ..
            }) => Some(starting),
            Some(Next {
                stage: Stage::Waiting,
                ..
            })
            | None => None,
        }
    }
}
