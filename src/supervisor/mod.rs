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
//! * At most one build runs; the next starts when the cancelled one is gone, never beside it.
//! * Nothing touches the serving process before every rule has succeeded and what it serves from differs.
//! * A new server starts only when nothing of the old one is left.
//! * What a failed attempt owed stays owed; a save is never lost and never delayed by a crash loop.

pub mod event;
pub mod generation;
pub mod plan;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
pub mod trace;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use event::{
    Cause, Digests, Effect, Event, Evidence, Exit, Outcome, Pid, Policy, Produced, ReadyPolicy,
    Report, Request, RestartKind, Retry, ServerPolicy, Serving, Target, Who,
};
use generation::{GenerationId, JobId};
use plan::{Plan, RuleId, Then};

/// What is happening, what is owed, and what serves.
#[derive(Clone, Debug)]
pub struct Supervisor {
    policy: Policy,
    /// Read and valid, but not in force before the running rule is gone.
    reconfigure: Option<Reconfigure>,
    /// Seen, not yet taken up.
    pending: Option<Pending>,
    /// Left undone by failed attempts: joins the next plan, triggers nothing by itself.
    owed: Plan,
    /// The attempt under way: exactly one begin line without an end line.
    cycle: Option<Cycle>,
    cycles: u64,
    /// What each rule's outputs were when its command last succeeded.
    outputs: Outputs,
    /// The rule whose failure stands until it succeeds.
    broken: Option<RuleId>,
    next: Option<Next>,
    serving: Option<Server>,
    leaving: Vec<Leaving>,
    /// When the first change came that what serves lacks.
    stale_since: Option<Instant>,
    crashes: Crashes,
    /// It was alive at its ready timeout and listened nowhere: its successors need not wait that long.
    silent: bool,
    quit: Option<Quit>,
    jobs: u64,
    generations: u64,
    effects: Vec<Effect>,
}

/// Changes and requests that no cycle has taken up yet.
#[derive(Clone, Debug)]
struct Pending {
    plan: Plan,
    cause: Cause,
    since: Instant,
}

#[derive(Clone, Debug)]
struct Reconfigure {
    policy: Policy,
    server_changed: bool,
}

/// One attempt to bring the tree into service, from its begin line to its end line.
#[derive(Clone, Debug)]
struct Cycle {
    number: u64,
    begun_at: Instant,
    cause: Cause,
    /// When the first change came that it takes up.
    since: Instant,
    todo: BTreeSet<RuleId>,
    done: BTreeSet<RuleId>,
    running: Option<Running>,
    /// The strongest meaning that its rules could have had, whatever came out: tells `ok` from `unchanged`.
    nominal: Then,
    /// Its rules are done; its end is that of the server in `next`.
    built: bool,
}

/// A rule's command, or the look at what it wrote.
#[derive(Clone, Copy, Debug)]
struct Running {
    job: JobId,
    rule: RuleId,
    timeout_at: Option<Instant>,
    /// The command succeeded; its outputs are being looked at.
    inspecting: bool,
}

/// What the rules last wrote.
#[derive(Clone, Debug, Default)]
struct Outputs {
    finals: Digests,
    good: Digests,
    /// Commands that failed or were cancelled: did they leave their outputs whole?
    doubts: BTreeMap<JobId, Doubt>,
    /// Rules that left other outputs than their last success: nothing is started from those.
    damaged: BTreeSet<RuleId>,
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    rule: RuleId,
    inspecting: bool,
}

/// A server on its way into service.
#[derive(Clone, Debug)]
struct Next {
    /// When the way began: the old one was told to stop, or there was none.
    asked_at: Instant,
    restart: Option<RestartKind>,
    old: Option<Pid>,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    /// For the old one to be gone.
    Waiting,
    Starting(Starting),
}

#[derive(Clone, Debug)]
struct Starting {
    server: Server,
    /// Its ready timeout.
    ready_by: Instant,
    listening: bool,
    /// What it was started for. If it fails, that is owed again.
    owed: Then,
}

/// A server process.
#[derive(Clone, Debug)]
struct Server {
    job: JobId,
    generation: GenerationId,
    pid: Option<Pid>,
    started_at: Instant,
    ready_at: Option<Instant>,
    /// The final outputs it was started with.
    started_with: Digests,
}

/// Told to stop, not yet gone. One escalation serves builds and servers alike.
#[derive(Clone, Debug)]
struct Leaving {
    job: JobId,
    who: Who,
    asked_at: Instant,
    /// When patience ends: then it is killed, and after that given up.
    until: Instant,
    killed: bool,
}

/// How often and how fast the server died.
#[derive(Clone, Debug)]
struct Crashes {
    recent: VecDeque<Instant>,
    delay: Duration,
    retry_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Quit {
    code: i32,
    done: bool,
}

impl Supervisor {
    /// A supervisor that has done nothing yet; [`Event::Began`] sets it going.
    pub fn new(policy: Policy) -> Supervisor {
        let silent = policy.server.as_ref().is_some_and(|server| server.silent);
        Supervisor {
            policy,
            reconfigure: None,
            pending: None,
            owed: Plan::default(),
            cycle: None,
            cycles: 0,
            outputs: Outputs::default(),
            broken: None,
            next: None,
            serving: None,
            leaving: Vec::new(),
            stale_since: None,
            crashes: Crashes::new(),
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
        let running = self
            .cycle
            .as_ref()
            .and_then(|cycle| cycle.running)
            .and_then(|running| running.timeout_at);
        let starting = self.starting().map(|starting| starting.ready_by);
        let retry = self.crashes.retry_at.filter(|_| self.may_revive());
        [leaving, running, starting, retry]
            .into_iter()
            .flatten()
            .min()
    }

    // --- facts ---

    fn record(&mut self, now: Instant, event: Event) {
        match event {
            Event::Began => self.demand(self.every_rule(), Cause::Start, now),
            Event::Changed { plan, files, since } => {
                if self.concerns_server(&plan) {
                    self.stale_since.get_or_insert(since);
                }
                self.crashes = Crashes::new();
                self.demand(plan, Cause::Files(files), since);
            }
            Event::Configured {
                policy,
                server_changed,
                file,
                since,
            } => {
                let server_changed = server_changed
                    || self
                        .reconfigure
                        .as_ref()
                        .is_some_and(|earlier| earlier.server_changed);
                self.reconfigure = Some(Reconfigure {
                    policy,
                    server_changed,
                });
                self.stale_since.get_or_insert(since);
                self.crashes = Crashes::new();
                self.demand(Plan::default(), Cause::Files(BTreeSet::from([file])), since);
            }
            Event::Spawned(job, pid) => self.spawned(now, job, pid),
            Event::SpawnFailed(job, reason) => self.ended(now, job, None, Some(reason), true),
            Event::Exited(job, exit) => self.ended(now, job, Some(exit), None, false),
            Event::TreeGone(job) => {
                // Only here is a job forgotten. That its main process ended may have been lost on the way.
                self.ended(now, job, Some(Exit::Lost), None, true);
            }
            Event::Produced(job, produced) => self.produced(job, produced),
            Event::Listening(job) => self.listening(job),
            Event::Ready(job, evidence) => {
                if self
                    .starting()
                    .is_some_and(|starting| starting.server.job == job)
                {
                    self.promote(now, evidence);
                }
            }
            Event::Asked(Request::Build) => self.demand(self.every_rule(), Cause::Request, now),
            Event::Asked(Request::Restart) => {
                self.demand(
                    Plan {
                        rules: BTreeSet::new(),
                        then: Then::Cold,
                    },
                    Cause::Request,
                    now,
                );
            }
            Event::Asked(Request::Quit { code }) => self.asked_to_quit(now, code),
            Event::Elapsed => {}
        }
    }

    fn demand(&mut self, plan: Plan, cause: Cause, since: Instant) {
        match &mut self.pending {
            Some(pending) => {
                pending.plan.join(plan);
                pending.cause.join(cause);
                pending.since = pending.since.min(since);
            }
            None => self.pending = Some(Pending { plan, cause, since }),
        }
    }

    /// A job's main process ended, or never began. `gone`: nothing of its tree is left either.
    fn ended(
        &mut self,
        now: Instant,
        job: JobId,
        exit: Option<Exit>,
        reason: Option<String>,
        gone: bool,
    ) {
        if let Some(place) = self.leaving.iter().position(|leaving| leaving.job == job) {
            if gone {
                self.leaving.remove(place);
            } else if !self.leaving[place].killed {
                // Whoever is left gets the rest of the grace, and the same signal.
                self.effects.push(Effect::Stop {
                    job,
                    target: Target::Tree,
                });
            }
        } else if self
            .cycle
            .as_ref()
            .and_then(|cycle| cycle.running)
            .is_some_and(|r| r.job == job && !r.inspecting)
        {
            self.rule_ended(now, exit, reason);
        } else if self
            .starting()
            .is_some_and(|starting| starting.server.job == job)
        {
            self.start_failed(now, exit, reason, gone);
        } else if self
            .serving
            .as_ref()
            .is_some_and(|server| server.job == job)
        {
            let server = self.serving.take().expect("looked at above");
            self.clear_away(now, &server, gone);
            let ready_at = server.ready_at.unwrap_or(server.started_at);
            let retry = if exit == Some(Exit::Code(0)) {
                Retry::OnChange
            } else {
                self.crashes
                    .count(now, now.saturating_duration_since(ready_at))
            };
            let lived = now.saturating_duration_since(server.started_at);
            self.report(Report::Down {
                generation: server.generation,
                exit,
                reason,
                lived,
                retry,
            });
        }
    }

    fn rule_ended(&mut self, now: Instant, exit: Option<Exit>, reason: Option<String>) {
        let cycle = self.cycle.as_mut().expect("a rule runs in a cycle");
        let running = cycle.running.as_mut().expect("called for a running rule");
        let (job, rule) = (running.job, running.rule);
        if !exit.is_some_and(Exit::success) {
            self.fail(now, exit, reason);
        } else if self.policy.rules[rule.0].outputs {
            running.inspecting = true;
            running.timeout_at = None;
            self.effects.push(Effect::Inspect { job, rule });
        } else {
            cycle.running = None;
            self.rule_done(rule);
        }
    }

    fn produced(&mut self, job: JobId, produced: Produced) {
        if let Some(Doubt { rule, .. }) = self.outputs.doubts.remove(&job) {
            if produced.all == self.outputs.good.get(&rule).copied() {
                self.outputs.damaged.remove(&rule);
            } else {
                self.outputs.damaged.insert(rule);
            }
            return;
        }
        let Some(cycle) = &mut self.cycle else { return };
        let Some(running) = cycle
            .running
            .filter(|running| running.job == job && running.inspecting)
        else {
            return;
        };
        cycle.running = None;
        cycle.todo.extend(
            produced
                .dirtied
                .iter()
                .filter(|rule| !cycle.done.contains(rule)),
        );
        store(&mut self.outputs.finals, running.rule, produced.finals);
        store(&mut self.outputs.good, running.rule, produced.all);
        self.outputs.damaged.remove(&running.rule);
        self.rule_done(running.rule);
    }

    /// A rule needs nothing more in this cycle. One without outputs always owes what it means.
    fn rule_done(&mut self, rule: RuleId) {
        let policy = &self.policy.rules[rule.0];
        if !(policy.outputs && policy.runs) {
            self.owed.then = self.owed.then.max(policy.then);
        }
        if self.broken == Some(rule) {
            self.broken = None;
        }
        let cycle = self.cycle.as_mut().expect("a rule is done in a cycle");
        cycle.nominal = cycle.nominal.max(policy.then);
        cycle.done.insert(rule);
    }

    /// The running rule failed: the cycle ends, and what it has not done stays owed. The server is not touched.
    fn fail(&mut self, now: Instant, exit: Option<Exit>, reason: Option<String>) {
        let cycle = self.cycle.as_mut().expect("a rule fails in a cycle");
        let Running { job, rule, .. } = cycle.running.take().expect("a running rule failed");
        self.owed.rules.append(&mut cycle.todo);
        self.owed.rules.insert(rule);
        self.broken = Some(rule);
        self.doubt(job, rule);
        let serving = self.serving.as_ref().map(|server| server.generation);
        self.end(
            now,
            Outcome::Failed {
                rule,
                exit,
                reason,
                serving,
            },
        );
        if let (Some(generation), Some(since)) = (serving, self.stale_since) {
            self.report(Report::Stale { generation, since });
        }
    }

    /// A server's process runs: its time to become ready counts from here.
    fn spawned(&mut self, now: Instant, job: JobId, pid: Pid) {
        let limit = self
            .policy
            .server
            .as_ref()
            .map(|server| server.time_to_ready(self.silent));
        if let Some(server) = self.serving.as_mut().filter(|server| server.job == job) {
            server.pid = Some(pid);
        }
        let Some(Next {
            stage: Stage::Starting(starting),
            ..
        }) = &mut self.next
        else {
            return;
        };
        if starting.server.job == job && starting.server.pid.is_none() {
            starting.server.pid = Some(pid);
            starting.ready_by = now + limit.unwrap_or_default();
        }
    }

    fn listening(&mut self, job: JobId) {
        let timeout = self
            .policy
            .server
            .as_ref()
            .map(|server| server.ready_timeout);
        let Some(Next {
            stage: Stage::Starting(starting),
            ..
        }) = &mut self.next
        else {
            return;
        };
        if starting.server.job != job || starting.listening {
            return;
        }
        starting.listening = true;
        if self.silent {
            // It listens after all: it has to prove that it accepts, and gets the time for it.
            self.silent = false;
            starting.ready_by = starting.server.started_at + timeout.unwrap_or_default();
            self.effects.push(Effect::Remember { listens: true });
        }
    }

    /// The server in `next` answers: it serves.
    fn promote(&mut self, now: Instant, ready: Evidence) {
        let next = self.next.take().expect("promoted from next");
        let Stage::Starting(starting) = next.stage else {
            unreachable!("only a started server is ready")
        };
        let mut server = starting.server;
        server.ready_at = Some(now);
        let serving = Serving {
            generation: server.generation,
            pid: server.pid,
            old: next.old,
            restart: next.restart,
            ready,
            accept: now.saturating_duration_since(next.asked_at),
        };
        self.serving = Some(server);
        if !self.cycle.as_ref().is_some_and(|cycle| cycle.built) {
            self.report(Report::Interim(serving));
        } else if let Some(rule) = self.broken {
            // Started from the last good build, because the server had crashed: in service, but not FRESH.
            let reason = Some("not built since".to_owned());
            let serving = Some(serving.generation);
            self.end(
                now,
                Outcome::Failed {
                    rule,
                    exit: None,
                    reason,
                    serving,
                },
            );
        } else {
            self.end(now, Outcome::Serving(serving));
        }
    }

    /// The server in `next` died, hung or never accepted.
    fn start_failed(
        &mut self,
        now: Instant,
        exit: Option<Exit>,
        reason: Option<String>,
        gone: bool,
    ) {
        let next = self.next.take().expect("failed in next");
        let Stage::Starting(starting) = next.stage else {
            unreachable!("only a started server fails")
        };
        self.owed.then = self.owed.then.max(starting.owed);
        let server = starting.server;
        self.clear_away(now, &server, gone);
        let finished = exit == Some(Exit::Code(0));
        let retry = match exit {
            // What could not start or hung would do so again; what crashed may have met a bad moment.
            None | Some(Exit::Code(0)) => Retry::OnChange,
            Some(Exit::Code(_) | Exit::Signal(_) | Exit::Lost) => {
                self.crashes.count(now, Duration::ZERO)
            }
        };
        let generation = server.generation;
        if !self.cycle.as_ref().is_some_and(|cycle| cycle.built) {
            let lived = now.saturating_duration_since(server.started_at);
            self.report(Report::Down {
                generation,
                exit,
                reason,
                lived,
                retry,
            });
        } else if finished {
            self.end(
                now,
                Outcome::Ok {
                    exited: Some(generation),
                },
            );
        } else {
            self.end(
                now,
                Outcome::Crashed {
                    generation,
                    exit,
                    reason,
                    retry,
                },
            );
        }
    }

    /// A server's main process ended by itself: nothing of its tree may stay.
    fn clear_away(&mut self, now: Instant, server: &Server, gone: bool) {
        if !gone {
            let (job, who) = (server.job, Who::Server(server.generation));
            self.effects.push(Effect::Kill { job });
            self.leaving.push(Leaving {
                job,
                who,
                asked_at: now,
                until: now + KILL_WAIT,
                killed: true,
            });
        }
    }

    fn asked_to_quit(&mut self, now: Instant, code: i32) {
        if self.quit.is_none() {
            self.quit = Some(Quit { code, done: false });
            return;
        }
        for leaving in &mut self.leaving {
            leaving.kill(now, &mut self.effects);
        }
    }

    // --- decisions ---

    fn decide(&mut self, now: Instant) {
        self.escalate(now);
        if self.quit.is_some() {
            self.wind_down(now);
            return;
        }
        // Before what time has brought about: nothing is called FRESH that a change just told of is missing in.
        self.take_up(now);
        self.expire(now);
        self.revive(now);
        self.start(now);
        self.build(now);
        self.start(now);
        self.settle_doubts();
    }

    /// Whoever was told to stop and has not is killed; whoever cannot be killed is given up.
    fn escalate(&mut self, now: Instant) {
        let mut reports = Vec::new();
        self.leaving.retain_mut(|leaving| {
            if now < leaving.until {
                return true;
            }
            if leaving.killed {
                reports.push(Report::Stuck { who: leaving.who });
                return false;
            }
            let after = now.saturating_duration_since(leaving.asked_at);
            reports.push(Report::Killed {
                who: leaving.who,
                after,
            });
            leaving.kill(now, &mut self.effects);
            true
        });
        for report in reports {
            self.report(report);
        }
    }

    /// Ends everything, in any state, and then devwatch.
    fn wind_down(&mut self, now: Instant) {
        self.pending = None;
        self.reconfigure = None;
        self.crashes.retry_at = None;
        if let Some(running) = self.cycle.as_mut().and_then(|cycle| cycle.running.take()) {
            self.cancel(now, running);
        }
        if self.cycle.is_some() {
            self.end(now, Outcome::Superseded);
        }
        self.stop_next(now);
        self.stop_serving(now);
        let quit = self.quit.as_mut().expect("called when quitting");
        if self.leaving.is_empty() && !quit.done {
            quit.done = true;
            self.effects.push(Effect::Exit(quit.code));
        }
    }

    fn expire(&mut self, now: Instant) {
        let running = self.cycle.as_ref().and_then(|cycle| cycle.running);
        if let Some(running) =
            running.filter(|running| running.timeout_at.is_some_and(|at| now >= at))
        {
            self.cancel(now, running);
            self.fail(now, None, Some("took longer than its timeout".to_owned()));
        }
        let Some(starting) = self.starting().filter(|starting| now >= starting.ready_by) else {
            return;
        };
        let Some(policy) = self.policy.server.clone() else {
            return;
        };
        if starting.server.pid.is_none() {
            self.start_failed(
                now,
                None,
                Some("was not started in time; killed".to_owned()),
                false,
            );
            return;
        }
        match policy.ready {
            ReadyPolicy::Delay(_) => self.promote(now, Evidence::Assumed),
            ReadyPolicy::Accepting if !policy.holds && !starting.listening => {
                if !self.silent {
                    self.silent = true;
                    self.effects.push(Effect::Remember { listens: false });
                }
                self.promote(now, Evidence::Assumed);
            }
            ReadyPolicy::Accepting | ReadyPolicy::Told => {
                let what = if policy.ready == ReadyPolicy::Told {
                    "was not ready"
                } else {
                    "did not accept"
                };
                let limit = policy.ready_timeout.as_secs_f64();
                self.start_failed(
                    now,
                    None,
                    Some(format!("{what} within {limit} s; killed")),
                    false,
                );
            }
        }
    }

    /// What is pending becomes the cycle; a cycle under way is superseded, and what it left goes on.
    fn take_up(&mut self, now: Instant) {
        if !self.configure(now) {
            return;
        }
        let Some(mut pending) = self.pending.take() else {
            return;
        };
        pending.plan.join(std::mem::take(&mut self.owed));
        let mut running = None;
        let mut nominal = Then::Nothing;
        if let Some(mut old) = self.cycle.take() {
            pending.plan.rules.append(&mut old.todo);
            nominal = old.nominal;
            running = old.running.take();
            if let Some(touched) =
                running.filter(|running| pending.plan.rules.contains(&running.rule))
            {
                running = None;
                if !touched.inspecting {
                    self.cancel(now, touched);
                }
            }
            pending.cause.join(old.cause.clone());
            pending.since = pending.since.min(old.since);
            self.cycle = Some(old);
            self.end(now, Outcome::Superseded);
        }
        self.owed.then = pending.plan.then;
        self.begin(now, pending, running, nominal);
    }

    /// Puts a new config in force as soon as no rule of the old one runs. False: not yet.
    fn configure(&mut self, now: Instant) -> bool {
        if self.reconfigure.is_none() {
            return true;
        }
        if let Some(running) = self.cycle.as_mut().and_then(|cycle| cycle.running.take()) {
            if !running.inspecting {
                self.cancel(now, running);
            }
        }
        if self.cycle.is_some() {
            let since = self.cycle.as_ref().expect("looked at above").since;
            self.demand(Plan::default(), Cause::Start, since);
            self.end(now, Outcome::Superseded);
        }
        if self.rule_leaving() || self.about_to_start() {
            return false;
        }
        let Reconfigure {
            policy,
            server_changed,
        } = self.reconfigure.take().expect("looked at above");
        let places: BTreeMap<RuleId, RuleId> = self
            .policy
            .rules
            .iter()
            .enumerate()
            .filter_map(|(old, rule)| {
                let new = policy
                    .rules
                    .iter()
                    .position(|other| other.name == rule.name)?;
                Some((RuleId(old), RuleId(new)))
            })
            .collect();
        self.outputs.renumber(&places);
        for server in self
            .serving
            .iter_mut()
            .chain(self.next.iter_mut().filter_map(Next::server_mut))
        {
            renumber(&mut server.started_with, &places);
        }
        self.policy = policy;
        self.broken = None;
        self.effects.push(Effect::Configure);
        if self.policy.server.is_none() {
            self.stop_next(now);
            self.stop_serving(now);
        } else if server_changed {
            self.owed.then = Then::Cold;
        }
        // Rule numbers of the old config mean nothing in the new one, and every rule is due.
        self.owed.rules.clear();
        let every = self.every_rule();
        let pending = self.pending.as_mut().expect("a new config is a change");
        pending.plan.rules = every.rules;
        true
    }

    fn revive(&mut self, now: Instant) {
        if self.may_revive() && self.crashes.retry_at.is_some_and(|at| now >= at) {
            self.crashes.retry_at = None;
            // Half-written outputs of a failed build are never started; the next successful build is.
            if self.outputs.damaged.is_empty() {
                let pending = Pending {
                    plan: Plan::default(),
                    cause: Cause::Crash,
                    since: now,
                };
                self.begin(now, pending, None, Then::Nothing);
            }
        }
    }

    fn may_revive(&self) -> bool {
        self.cycle.is_none()
            && self.serving.is_none()
            && self.next.is_none()
            && self.outputs.doubts.is_empty()
    }

    fn begin(&mut self, now: Instant, pending: Pending, running: Option<Running>, nominal: Then) {
        self.cycles += 1;
        let Pending { plan, cause, since } = pending;
        self.report(Report::Begin {
            build: self.cycles,
            cause: cause.clone(),
        });
        self.cycle = Some(Cycle {
            number: self.cycles,
            begun_at: now,
            cause,
            since,
            todo: plan.rules,
            done: BTreeSet::new(),
            running,
            nominal: nominal.max(plan.then),
            built: false,
        });
    }

    /// Runs what is to be run, one rule after the other, and then asks what the server is owed.
    fn build(&mut self, now: Instant) {
        // No rule runs beside a cancelled one, nor while a server is about to be started from its outputs.
        if self.rule_leaving() || self.about_to_start() {
            return;
        }
        while let Some(cycle) = self
            .cycle
            .as_mut()
            .filter(|cycle| !cycle.built && cycle.running.is_none())
        {
            let Some(rule) = cycle.todo.pop_first() else {
                cycle.built = true;
                self.conclude(now);
                return;
            };
            let policy = &self.policy.rules[rule.0];
            if !policy.runs {
                self.rule_done(rule);
                continue;
            }
            self.jobs += 1;
            let job = JobId(self.jobs);
            let timeout_at = policy.timeout.map(|timeout| now + timeout);
            cycle.running = Some(Running {
                job,
                rule,
                timeout_at,
                inspecting: false,
            });
            self.outputs.doubts.retain(|_, doubt| doubt.rule != rule);
            self.effects.push(Effect::Run { job, rule });
        }
    }

    /// A command did not get to its end: what it wrote may be half there.
    fn doubt(&mut self, job: JobId, rule: RuleId) {
        if self.policy.rules[rule.0].outputs {
            self.outputs.doubts.insert(
                job,
                Doubt {
                    rule,
                    inspecting: false,
                },
            );
        }
    }

    /// Has doubtful outputs looked at, unless a cycle is about to write them anew or the command still writes.
    fn settle_doubts(&mut self) {
        if self.cycle.is_some() {
            return;
        }
        for (&job, doubt) in &mut self.outputs.doubts {
            if !doubt.inspecting && !self.leaving.iter().any(|leaving| leaving.job == job) {
                doubt.inspecting = true;
                self.effects.push(Effect::Inspect {
                    job,
                    rule: doubt.rule,
                });
            }
        }
    }

    /// Every rule has succeeded: what does that mean for the server?
    fn conclude(&mut self, now: Instant) {
        let Some(policy) = &self.policy.server else {
            self.owed = Plan::default();
            self.end(now, Outcome::Ok { exited: None });
            return;
        };
        let restart = if policy.holds {
            RestartKind::Hold
        } else {
            RestartKind::Cold
        };
        let replaced = match (&self.next, &self.serving) {
            (Some(next), _) => next.server(),
            (None, serving) => serving.as_ref(),
        };
        let Some(replaced) = replaced else {
            self.next = Some(Next {
                asked_at: now,
                restart: None,
                old: None,
                stage: Stage::Waiting,
            });
            return;
        };
        if self.due(replaced) >= Then::Restart {
            let old = replaced.pid;
            self.stop_next(now);
            self.stop_serving(now);
            self.next = Some(Next {
                asked_at: now,
                restart: Some(restart),
                old,
                stage: Stage::Waiting,
            });
        } else if self.next.is_none() {
            let serving = replaced.generation;
            self.owed = Plan::default();
            let ran = self
                .cycle
                .as_ref()
                .is_some_and(|cycle| !cycle.done.is_empty());
            let nominal = self.cycle.as_ref().map(|cycle| cycle.nominal);
            if ran && nominal < Some(Then::Restart) {
                self.end(now, Outcome::Ok { exited: None });
            } else {
                self.end(now, Outcome::Unchanged { serving });
            }
        }
        // Otherwise the server on its way was started from just this: the cycle ends as it does.
    }

    /// What a server is owed that was started with `server.started_with`.
    fn due(&self, server: &Server) -> Then {
        let differing = self
            .outputs
            .finals
            .iter()
            .filter(|(rule, digest)| server.started_with.get(rule) != Some(digest));
        differing
            .map(|(rule, _)| self.policy.rules[rule.0].then)
            .fold(self.owed.then, Then::max)
    }

    /// Starts the waiting server once nothing of the old one is left.
    fn start(&mut self, now: Instant) {
        let gone = !self
            .leaving
            .iter()
            .any(|leaving| matches!(leaving.who, Who::Server(_)));
        let Some(policy) = self
            .policy
            .server
            .as_ref()
            .filter(|_| self.waiting() && gone)
        else {
            return;
        };
        // Until it is executed: how long the guardian may take, which tries again while the system is busy.
        let limit = policy.ready_timeout.max(SPAWN_LIMIT);
        self.jobs += 1;
        self.generations += 1;
        let (job, generation) = (JobId(self.jobs), GenerationId(self.generations));
        let started_with = self.outputs.finals.clone();
        let server = Server {
            job,
            generation,
            pid: None,
            started_at: now,
            ready_at: None,
            started_with,
        };
        let owed = std::mem::take(&mut self.owed.then);
        self.crashes.retry_at = None;
        let next = self.next.as_mut().expect("waiting in next");
        next.stage = Stage::Starting(Starting {
            server,
            ready_by: now + limit,
            listening: false,
            owed,
        });
        self.effects.push(Effect::Start { job, generation });
    }

    // --- the ways out ---

    fn end(&mut self, now: Instant, outcome: Outcome) {
        let cycle = self.cycle.take().expect("only a cycle ends");
        if matches!(
            outcome,
            Outcome::Serving(_) | Outcome::Unchanged { .. } | Outcome::Ok { .. }
        ) {
            self.stale_since = self.pending.as_ref().map(|pending| pending.since);
        }
        let took = now.saturating_duration_since(cycle.begun_at);
        self.report(Report::End {
            build: cycle.number,
            outcome,
            took,
        });
    }

    fn cancel(&mut self, now: Instant, running: Running) {
        if running.inspecting {
            return;
        }
        let Running { job, rule, .. } = running;
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
            killed: false,
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
            killed: false,
        });
    }

    fn report(&mut self, report: Report) {
        self.effects.push(Effect::Report(report));
    }

    // --- questions ---

    fn every_rule(&self) -> Plan {
        Plan {
            rules: (0..self.policy.rules.len()).map(RuleId).collect(),
            then: Then::Nothing,
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

impl Next {
    fn server(&self) -> Option<&Server> {
        match &self.stage {
            Stage::Starting(starting) => Some(&starting.server),
            Stage::Waiting => None,
        }
    }

    fn server_mut(&mut self) -> Option<&mut Server> {
        match &mut self.stage {
            Stage::Starting(starting) => Some(&mut starting.server),
            Stage::Waiting => None,
        }
    }
}

impl Leaving {
    fn kill(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if !self.killed {
            self.killed = true;
            self.until = now + KILL_WAIT;
            effects.push(Effect::Kill { job: self.job });
        }
    }
}

impl Crashes {
    fn new() -> Crashes {
        Crashes {
            recent: VecDeque::new(),
            delay: FIRST_DELAY,
            retry_at: None,
        }
    }

    /// Counts a crash of a server that had been ready for `ready`, and says what follows.
    fn count(&mut self, now: Instant, ready: Duration) -> Retry {
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
    fn renumber(&mut self, places: &BTreeMap<RuleId, RuleId>) {
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

impl ServerPolicy {
    fn time_to_ready(&self, silent: bool) -> Duration {
        match self.ready {
            ReadyPolicy::Delay(delay) => delay,
            ReadyPolicy::Accepting if silent && !self.holds => SILENT_WAIT,
            ReadyPolicy::Accepting | ReadyPolicy::Told => self.ready_timeout,
        }
    }
}

impl Cause {
    /// What is worth saying of two causes: files name themselves, a request says that somebody wanted it.
    fn join(&mut self, other: Cause) {
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

fn store(digests: &mut Digests, rule: RuleId, digest: Option<event::Digest>) {
    match digest {
        Some(digest) => digests.insert(rule, digest),
        None => digests.remove(&rule),
    };
}

fn renumber(digests: &mut Digests, places: &BTreeMap<RuleId, RuleId>) {
    *digests = digests
        .iter()
        .filter_map(|(rule, digest)| Some((*places.get(rule)?, *digest)))
        .collect();
}

/// How long a cancelled build may take to end (`contract.md`, *Time limits*).
const CANCEL_GRACE: Duration = Duration::from_secs(2);
/// The default of `stop.timeout`, for a server that the new config no longer has.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long something that was killed may take to be gone. Longer means uninterruptible: waiting is no use.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// How long it may take to execute a program, retries on a busy file or a full process table included.
const SPAWN_LIMIT: Duration = Duration::from_secs(5);
/// How long a server is given that is known to listen nowhere.
const SILENT_WAIT: Duration = Duration::from_millis(300);
/// A server that was ready for this long is not in a crash loop.
const STABLE_AFTER: Duration = Duration::from_secs(2);
/// Crash loop: 0.1 s doubling to 5 s; five exits within 10 s wait for a change.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
const CRASH_WINDOW: Duration = Duration::from_secs(10);
const MOST_CRASHES: usize = 5;
