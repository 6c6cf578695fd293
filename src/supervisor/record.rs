//! Records facts: what each one changes in what the supervisor knows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Supervisor;
use super::event::{
    Cause, Digests, Effect, Event, Evidence, Exit, HotMode, Outcome, Pid, Produced, Report,
    Request, RestartKind, Retry, Reuse, Serving, Target, Who,
};
use super::generation::{GenerationId, JobId};
use super::limits::{KILL_WAIT, STABLE_AFTER, STOP_GRACE};
use super::plan::{Plan, RuleId, Then};
use super::state::{
    Arriving, Crashes, Cycle, Doubt, Failed, Fallen, Going, Leaving, Looking, Next, Paused,
    Pending, Quit, Reconfigure, Running, Server, Stage, store,
};

impl Supervisor {
    pub(super) fn record(&mut self, now: Instant, event: Event) {
        match event {
            Event::Began => self.demand(self.every_rule(), Cause::Start, now),
            Event::Changed { plan, files, since } => {
                let concerns_server = self.concerns_server(&plan);
                let cause = Cause::Files(files);
                self.changed(Pending { plan, cause, since }, concerns_server);
            }
            Event::Withheld { plan, since } => {
                if self.concerns_server(&plan) {
                    self.withheld_since.get_or_insert(since);
                }
                self.owed.join(plan);
                if self.cycle.is_none() {
                    self.say_lacking(self.withheld_since);
                }
            }
            Event::Configured {
                policy,
                server_changed,
                file,
                since,
            } => {
                let slot = match &mut self.paused {
                    // Before a config is in force no other one may wait: one of them at a time is put in force.
                    Some(paused) if self.reconfigure.is_none() => &mut paused.reconfigure,
                    Some(_) | None => &mut self.reconfigure,
                };
                let earlier = slot.as_ref().is_some_and(|earlier| earlier.server_changed);
                let change = Pending {
                    plan: Plan::default(),
                    cause: Cause::Files(BTreeSet::from([file])),
                    since,
                };
                *slot = Some(Reconfigure {
                    policy,
                    server_changed: server_changed || earlier,
                });
                self.changed(change, true);
            }
            Event::Spawned(job, pid) => self.spawned(now, job, pid),
            Event::SpawnFailed(job, reason) => self.ended(now, job, None, Some(reason), true),
            Event::Exited(job, exit) => self.ended(now, job, Some(exit), None, false),
            Event::TreeGone(job) => {
                // Only here is a job forgotten. That its main process ended may have been lost on the way.
                self.ended(now, job, Some(Exit::Lost), None, true);
            }
            Event::Reused(job, reuse) => self.reused(now, job, reuse),
            Event::Produced(job, produced) => self.produced(now, job, produced),
            Event::Listening(job) => self.listening(job),
            Event::Ready(job, evidence) => {
                if self
                    .starting()
                    .is_some_and(|starting| starting.server.job == job)
                {
                    self.promote(now, evidence);
                }
            }
            Event::Kept(job) => {
                if let Some((_, made_from)) = self.keeping.take_if(|(kept, _)| *kept == job) {
                    self.good = Some(made_from);
                }
            }
            Event::Refused(job, reason) => self.refused(now, job, reason),
            Event::TookOver(job, pid) => self.took_over(now, job, pid),
            Event::Asked(Request::Build) => {
                self.take_up_waiting();
                let mut plan = self.every_rule();
                plan.forced = plan.rules.clone();
                self.demand(plan, Cause::Request, now);
            }
            Event::Asked(Request::Restart) => {
                self.take_up_waiting();
                self.demand(
                    Plan {
                        then: Then::Cold,
                        ..Plan::default()
                    },
                    Cause::Request,
                    now,
                );
            }
            Event::Asked(Request::Quit { code }) => self.asked_to_quit(now, code),
            // Everything has been called off; nothing else is to be asked for.
            Event::Asked(Request::Stop | Request::Pause | Request::Resume)
                if self.quit.is_some() => {}
            Event::Asked(Request::Stop) => self.asked_to_stop(now),
            Event::Asked(Request::Pause) => {
                if self.paused.is_none() {
                    self.paused = Some(Paused::default());
                    self.report(Report::Paused);
                }
            }
            Event::Asked(Request::Resume) => {
                if let Some(paused) = &self.paused {
                    let files = paused.files().map_or(0, BTreeSet::len);
                    self.report(Report::Resumed { files });
                    self.take_up_waiting();
                    self.paused = None;
                }
            }
            Event::Elapsed => {}
        }
    }

    pub(super) fn demand(&mut self, plan: Plan, cause: Cause, since: Instant) {
        Pending { plan, cause, since }.join(&mut self.pending);
    }

    /// A change begins a cycle. While devwatch is paused it waits, unless it comes on top of a new config that is
    /// being put in force: what that was taken up for begins a cycle of every rule anyway, by their new numbers.
    fn changed(&mut self, change: Pending, concerns_server: bool) {
        let since = change.since;
        if concerns_server {
            self.stale_since.get_or_insert(since);
        }
        let Some(paused) = self.paused.as_mut().filter(|_| self.reconfigure.is_none()) else {
            self.crashes = Crashes::new();
            change.join(&mut self.pending);
            return;
        };
        change.join(&mut paused.waiting);
        if concerns_server && paused.stale_since.is_none() {
            paused.stale_since = Some(since);
            if self.cycle.is_none() {
                self.say_lacking(Some(since));
            }
        }
    }

    /// Whatever has waited while devwatch was paused waits no more. What comes from here on does, if it still is.
    fn take_up_waiting(&mut self) {
        let Some(paused) = &mut self.paused else {
            return;
        };
        let Paused {
            waiting,
            reconfigure,
            stale_since: _,
        } = std::mem::take(paused);
        if let Some(waiting) = waiting {
            self.crashes = Crashes::new();
            waiting.join(&mut self.pending);
        }
        if reconfigure.is_some() {
            self.reconfigure = reconfigure;
        }
    }

    /// Stops the server, or what is on its way to be it. Rules that are still to be done go on.
    fn asked_to_stop(&mut self, now: Instant) {
        let next = self.next.as_ref().and_then(Next::server);
        let running = self.serving.as_ref().or(next);
        let drains = |leaving: &Leaving| match leaving.who {
            Who::Server(generation) => (leaving.stage == Going::Draining).then_some(generation),
            Who::Rule(_) => None,
        };
        let generation = running
            .map(|server| server.generation)
            .or_else(|| self.leaving.iter().find_map(drains));
        let is_done = |cycle: &Cycle| cycle.todo.is_empty() && cycle.running.is_empty();
        let is_done = self.cycle.as_ref().is_some_and(is_done);
        let would_start = self.next.is_some() || is_done || self.crashes.retry_at.is_some();
        if generation.is_none() && !would_start {
            return;
        }
        self.crashes.retry_at = None;
        self.fallen = None;
        self.stop_next(now);
        self.stop_serving(now);
        self.end_drains(now);
        if is_done {
            self.end(now, Outcome::Superseded);
        }
        let building = self.cycle.is_some();
        self.report(Report::Stopped {
            generation,
            building,
        });
    }

    /// A job's main process ended, or never began. `gone`: nothing of its tree is left either.
    pub(super) fn ended(
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
            } else if self.leaving[place].stage == Going::Stopping {
                // Whoever is left gets the rest of the grace, and the same signal.
                self.effects.push(Effect::Stop {
                    job,
                    target: Target::Tree,
                });
            }
        } else if self
            .cycle
            .as_ref()
            .and_then(|cycle| cycle.running.get(&job))
            .is_some_and(|running| !running.inspecting)
        {
            self.rule_ended(now, job, exit, reason);
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
            self.went_down(now, exit, reason, gone);
        }
    }

    /// What served has ended.
    fn went_down(&mut self, now: Instant, exit: Option<Exit>, reason: Option<String>, gone: bool) {
        let server = self.serving.take().expect("called for what serves");
        self.clear_away(now, &server, gone);
        if self.handing_over() {
            // It may have gone because its successor is there: that one decides what this was.
            return;
        }
        let ready = now.saturating_duration_since(server.ready_at.unwrap_or(server.started_at));
        let mut retry = Retry::OnChange;
        if exit != Some(Exit::Code(0)) {
            retry = self.crashes.count(now, ready);
            // What is there to be started has never served, or has just died of itself.
            let unproven = self.due(&server) >= Then::Restart || !self.outputs.damaged.is_empty();
            let stands_in =
                |good: &Digests| unproven || (ready < STABLE_AFTER && *good != server.started_with);
            if self.good.as_ref().is_some_and(stands_in) && retry != Retry::OnChange {
                retry = Retry::LastGood;
                self.crashes.retry_at = Some(now);
                self.fallen = Some(Fallen {
                    generation: server.generation,
                    exit,
                    died_at: now,
                });
            }
        }
        let ends_its_cycle = self.arriving.take().is_some();
        self.fell(now, &server, exit, reason, None, retry, ends_its_cycle);
    }

    /// The server would not survive the signal, or its tools are in the way: nothing was sent.
    fn refused(&mut self, now: Instant, job: JobId, reason: String) {
        if self
            .starting()
            .is_some_and(|starting| starting.server.job == job)
        {
            let next = self.next.take().expect("starting in next");
            if let Stage::Starting(starting) = next.stage {
                self.owed.then = self.owed.then.max(starting.owed);
            }
            self.go_cold(now, next.asked_at, Some(reason));
        }
    }

    /// Somebody else asked the server to hand over, and it did.
    fn took_over(&mut self, now: Instant, from: JobId, pid: Pid) {
        let Some(old) = self.serving.take_if(|server| server.job == from) else {
            return;
        };
        self.jobs += 1;
        self.generations += 1;
        let (to, generation) = (JobId(self.jobs), GenerationId(self.generations));
        self.effects.push(Effect::Recognise {
            from,
            to,
            generation,
            pid,
        });
        self.serving = Some(Server {
            job: to,
            generation,
            pid: Some(pid),
            started_at: now,
            ready_at: Some(now),
            // It executed what was there, which is what the rules have written last.
            started_with: self.outputs.finals.clone(),
            tainted: old.tainted,
            kept: false,
        });
        self.report(Report::TookOver { generation, pid });
    }

    pub(super) fn rule_ended(
        &mut self,
        now: Instant,
        job: JobId,
        exit: Option<Exit>,
        reason: Option<String>,
    ) {
        let cycle = self.cycle.as_mut().expect("a rule runs in a cycle");
        let running = cycle
            .running
            .get_mut(&job)
            .expect("called for a running rule");
        let rule = running.rule;
        if !exit.is_some_and(Exit::success) {
            self.fail(now, job, exit, reason);
        } else if self.policy.rules[rule.0].outputs {
            running.inspecting = true;
            running.timeout_at = None;
            self.effects.push(Effect::Inspect { job, rule });
        } else {
            cycle.running.remove(&job);
            self.rule_done(rule, true);
        }
    }

    /// Whether a rule can do without its command.
    fn reused(&mut self, now: Instant, job: JobId, reuse: Reuse) {
        let Some(Looking { rule, touched }) = self.looking.remove(&job) else {
            return;
        };
        let (produced, restored) = match reuse {
            Reuse::Current(produced) => (Some(produced), false),
            Reuse::Restored(produced) => (Some(produced), true),
            Reuse::Nothing => (None, false),
        };
        if let Some(produced) = &produced {
            self.outputs.doubts.retain(|_, doubt| doubt.rule != rule);
            self.whole(rule, produced);
        }
        let waiting = self.cycle.as_mut();
        let waiting = waiting.filter(|cycle| !touched && cycle.todo.contains(&rule));
        match (waiting, produced) {
            (Some(cycle), None) => _ = cycle.due.insert(rule, job),
            (Some(cycle), Some(produced)) => {
                cycle.todo.remove(&rule);
                if restored {
                    cycle.restored.insert(rule);
                }
                self.dirty(now, produced.dirtied);
                self.rule_done(rule, restored);
            }
            // Nobody waits for it, or it is asked again.
            (None, produced) => self.unawaited(produced.unwrap_or_default().dirtied),
        }
    }

    pub(super) fn produced(&mut self, now: Instant, job: JobId, produced: Produced) {
        if let Some(Doubt { rule, .. }) = self.outputs.doubts.remove(&job) {
            if produced.all == self.outputs.good.get(&rule).copied() {
                self.outputs.damaged.remove(&rule);
            } else {
                self.outputs.damaged.insert(rule);
            }
            return;
        }
        let running = self.cycle.as_mut().map(|cycle| &mut cycle.running);
        let awaited = running.and_then(|running| {
            let is_awaited = running.get(&job)?.inspecting;
            is_awaited.then(|| running.remove(&job))?
        });
        let Some(Running { rule, .. }) = awaited else {
            self.unawaited(produced.dirtied);
            return;
        };
        self.whole(rule, &produced);
        self.dirty(now, produced.dirtied);
        self.rule_done(rule, true);
    }

    /// The outputs of `rule` are what its command makes.
    fn whole(&mut self, rule: RuleId, produced: &Produced) {
        store(&mut self.outputs.finals, rule, produced.finals);
        store(&mut self.outputs.good, rule, produced.all);
        self.outputs.damaged.remove(&rule);
    }

    /// Outputs of a cycle that was superseded during the look at them. They are there all the same, and if the rule
    /// writes the same again, nobody will hear of them any more.
    fn unawaited(&mut self, dirtied: BTreeSet<RuleId>) {
        let due = match &mut self.cycle {
            Some(cycle) if !cycle.built => &mut cycle.todo,
            Some(_) | None => &mut self.owed.rules,
        };
        due.extend(dirtied);
    }

    /// Rules that take what another one has just made. Each rule runs after those it takes from, so none of these
    /// has run in this cycle; if one has all the same, because a link leads around the globs, it does once more.
    fn dirty(&mut self, now: Instant, dirtied: BTreeSet<RuleId>) {
        let cycle = self.cycle.as_mut().expect("a rule is done in a cycle");
        let runs = |rule: &RuleId| cycle.running.values().any(|running| running.rule == *rule);
        let (late, todo): (BTreeSet<RuleId>, BTreeSet<RuleId>) = dirtied
            .into_iter()
            .partition(|rule| cycle.done.contains(rule) || runs(rule));
        cycle.todo.extend(todo);
        if !late.is_empty() {
            let cause = cycle.cause.clone();
            let plan = Plan {
                rules: late,
                ..Plan::default()
            };
            self.demand(plan, cause, now);
        }
    }

    /// A rule needs nothing more in this cycle. One without outputs always owes what it means: what else the server
    /// reads of its files, nobody knows.
    pub(super) fn rule_done(&mut self, rule: RuleId, ran: bool) {
        let policy = &self.policy.rules[rule.0];
        let owes = !(policy.outputs && policy.runs);
        if owes {
            self.owed.then = self.owed.then.max(policy.then);
        }
        self.broken.remove(&rule);
        let cycle = self.cycle.as_mut().expect("a rule is done in a cycle");
        cycle.ran |= ran || owes;
        cycle.nominal = cycle.nominal.max(policy.then);
        cycle.forced.remove(&rule);
        // If it was begun before something that it needs was due, it may have to run once more.
        if policy.needs.is_disjoint(&cycle.todo) {
            cycle.done.insert(rule);
        }
    }

    /// A running rule failed. It stays owed, and so do those that need it. The server is not touched.
    pub(super) fn fail(
        &mut self,
        now: Instant,
        job: JobId,
        exit: Option<Exit>,
        reason: Option<String>,
    ) {
        let cycle = self.cycle.as_mut().expect("a rule fails in a cycle");
        let Running { rule, .. } = cycle.running.remove(&job).expect("a running rule failed");
        let rules = &self.policy.rules;
        let (without, with): (BTreeSet<RuleId>, BTreeSet<RuleId>) = std::mem::take(&mut cycle.todo)
            .into_iter()
            .partition(|other| rules[other.0].needs.contains(&rule));
        cycle.todo = with;
        cycle.due.retain(|rule, _| !without.contains(rule));
        // Which of several is told does not depend on which was faster.
        if cycle.failed.as_ref().is_none_or(|other| rule < other.rule) {
            cycle.failed = Some(Failed { rule, exit, reason });
        }
        self.owed.rules.extend(without);
        self.owed.rules.insert(rule);
        self.broken.insert(rule);
        self.doubt(job, rule);
        self.end_failed(now);
    }

    /// Ends a cycle in which a rule failed, as soon as nothing else is left to do in it.
    pub(super) fn end_failed(&mut self, now: Instant) {
        let over = |cycle: &&mut Cycle| cycle.todo.is_empty() && cycle.running.is_empty();
        let cycle = self.cycle.as_mut().filter(over);
        let Some(Failed { rule, exit, reason }) = cycle.and_then(|cycle| cycle.failed.take())
        else {
            return;
        };
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
    pub(super) fn spawned(&mut self, now: Instant, job: JobId, pid: Pid) {
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

    pub(super) fn listening(&mut self, job: JobId) {
        let timeout = self
            .policy
            .server
            .as_ref()
            .map(|server| server.ready_timeout);
        let mut listens = self
            .serving
            .as_ref()
            .is_some_and(|server| server.job == job);
        if let Some(Next {
            stage: Stage::Starting(starting),
            ..
        }) = &mut self.next
            && starting.server.job == job
            && !starting.listening
        {
            listens = true;
            starting.listening = true;
            if self.silent {
                // It listens after all: it has to prove that it accepts, and gets the time for it.
                starting.ready_by = starting.server.started_at + timeout.unwrap_or_default();
            }
        }
        if listens && self.silent {
            self.silent = false;
            self.effects.push(Effect::Remember { listens: true });
        }
    }

    /// The server in `next` answers: it serves. It is FRESH when nothing of the old one is left.
    pub(super) fn promote(&mut self, now: Instant, ready: Evidence) {
        let next = self.next.take().expect("promoted from next");
        let Stage::Starting(starting) = next.stage else {
            unreachable!("only a started server is ready")
        };
        let mut server = starting.server;
        server.ready_at = Some(now);
        let accept = now.saturating_duration_since(next.asked_at);
        let serving = Serving {
            generation: server.generation,
            pid: server.pid,
            old: next.old,
            restart: next.restart,
            ready,
            accept,
            fresh: accept,
            reason: next.reason,
        };
        if let Some(old) = self.serving.take() {
            self.retire(now, &old, server.generation);
        }
        self.serving = Some(server);
        self.arriving = Some(Arriving {
            asked_at: next.asked_at,
            serving,
            instead_of: next.instead_of,
        });
    }

    /// The old generation finishes what it has, and goes.
    fn retire(&mut self, now: Instant, old: &Server, generation: GenerationId) {
        let hot = self.policy.server.as_ref().and_then(|policy| policy.hot);
        let drain = hot.map_or(STOP_GRACE, |hot| hot.drain);
        // Only a server that hands over by itself has not been told to stop by this.
        let by_itself = hot.is_some_and(|hot| hot.mode != HotMode::Overlap);
        let job = old.job;
        self.effects.push(Effect::Retire { job });
        self.leaving.push(Leaving {
            job,
            who: Who::Server(old.generation),
            asked_at: now,
            until: now + drain,
            stage: if by_itself {
                Going::Draining
            } else {
                Going::Stopping
            },
        });
        self.report(Report::Draining {
            generation,
            old: old.generation,
            pid: old.pid,
            limit: drain,
        });
    }

    /// The server in `next` died, hung or never accepted.
    pub(super) fn start_failed(
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
        let server = starting.server;
        self.clear_away(now, &server, gone);
        if let Some(RestartKind::Hot(mode)) = next.restart {
            self.owed.then = self.owed.then.max(starting.owed);
            self.hand_over_failed(now, next.asked_at, mode, &server, exit, reason);
            return;
        }
        let finished = exit == Some(Exit::Code(0));
        let retry = match exit {
            // What could not start or hung would do so again; what crashed may have met a bad moment.
            None | Some(Exit::Code(0)) => Retry::OnChange,
            Some(Exit::Code(_) | Exit::Signal(_) | Exit::Lost) => {
                self.crashes.count(now, Duration::ZERO)
            }
        };
        if finished && self.cycle.as_ref().is_some_and(|cycle| cycle.built) {
            let exited = Some(server.generation);
            self.end(now, Outcome::Ok { exited });
        } else {
            self.fell(now, &server, exit, reason, None, retry, true);
        }
    }

    /// The old generation serves on, if it can. What the attempt was for stays owed.
    fn hand_over_failed(
        &mut self,
        now: Instant,
        asked_at: Instant,
        mode: HotMode,
        server: &Server,
        exit: Option<Exit>,
        reason: Option<String>,
    ) {
        let built = self.cycle.as_ref().is_some_and(|cycle| cycle.built);
        let still = self.serving.as_ref().map(|serving| serving.generation);
        if let Some(old) = &mut self.serving {
            // A server that forks itself may have been left deaf or unwilling by the attempt.
            if mode == HotMode::SelfFork {
                old.tainted = Some("its last hand-over failed");
            }
            let hot = self.policy.server.as_ref().and_then(|policy| policy.hot);
            if hot.is_some_and(|hot| hot.cold_on_failure) {
                if built {
                    let why = reason.unwrap_or_else(|| "the hand-over failed".to_owned());
                    self.go_cold(now, asked_at, Some(why));
                    return;
                }
                // A newer build is being made, or has failed: only what it makes may replace what serves.
                self.owed.then = Then::Cold;
            }
        }
        let retry = match still {
            Some(_) => Retry::OnChange,
            // Both have gone: whatever is there now is better than nothing.
            None => self.crashes.count(now, Duration::ZERO),
        };
        self.fell(now, server, exit, reason, still, retry, true);
        if let (Some(generation), Some(since)) = (still, self.stale_since) {
            self.report(Report::Stale { generation, since });
        }
    }

    /// A generation went down: the end of the cycle that waits for it, or a line of its own.
    #[expect(clippy::too_many_arguments, reason = "one sentence, told in two ways")]
    fn fell(
        &mut self,
        now: Instant,
        server: &Server,
        exit: Option<Exit>,
        reason: Option<String>,
        serving: Option<GenerationId>,
        retry: Retry,
        awaited: bool,
    ) {
        let generation = server.generation;
        if awaited && self.cycle.as_ref().is_some_and(|cycle| cycle.built) {
            let outcome = Outcome::Crashed {
                generation,
                exit,
                reason,
                serving,
                retry,
            };
            self.end(now, outcome);
        } else {
            let lived = now.saturating_duration_since(server.started_at);
            self.report(Report::Down {
                generation,
                exit,
                reason,
                lived,
                retry,
            });
        }
    }

    /// A server's main process ended by itself: nothing of its tree may stay.
    pub(super) fn clear_away(&mut self, now: Instant, server: &Server, gone: bool) {
        if gone {
            return;
        }
        let (job, who) = (server.job, Who::Server(server.generation));
        let forked = self.handing_over()
            && self
                .serving
                .as_ref()
                .is_none_or(|serving| serving.job != job)
            && self
                .starting()
                .is_some_and(|starting| starting.server.job != job);
        let hot = self.policy.server.as_ref().and_then(|policy| policy.hot);
        let (stage, until) = match hot.filter(|hot| forked && hot.mode == HotMode::SelfFork) {
            // What it left may be its successor.
            Some(hot) => (Going::Draining, now + hot.drain),
            None => (Going::Killed, now + KILL_WAIT),
        };
        if stage == Going::Killed {
            self.effects.push(Effect::Kill { job });
        }
        self.leaving.push(Leaving {
            job,
            who,
            asked_at: now,
            until,
            stage,
        });
    }

    pub(super) fn asked_to_quit(&mut self, now: Instant, code: i32) {
        if self.quit.is_none() {
            self.quit = Some(Quit { code, done: false });
            self.end_drains(now);
            return;
        }
        for leaving in &mut self.leaving {
            leaving.kill(now, &mut self.effects);
        }
    }

    /// Whoever drains gets no longer than anybody who is told to stop: its successor goes as well.
    fn end_drains(&mut self, now: Instant) {
        let grace = self
            .policy
            .server
            .as_ref()
            .map_or(STOP_GRACE, |policy| policy.stop_timeout);
        let servers = |leaving: &&mut Leaving| matches!(leaving.who, Who::Server(_));
        for leaving in self.leaving.iter_mut().filter(servers) {
            match leaving.stage {
                Going::Draining => leaving.until = now,
                Going::Stopping => leaving.until = leaving.until.min(now + grace),
                Going::Killed => {}
            }
        }
    }
}
