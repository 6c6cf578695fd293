//! Records facts: what each one changes in what the supervisor knows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Supervisor;
use super::event::{
    Cause, Effect, Event, Evidence, Exit, Outcome, Pid, Produced, Report, Request, Retry, Serving,
    Target, Who,
};
use super::generation::JobId;
use super::limits::KILL_WAIT;
use super::plan::{Plan, RuleId, Then};
use super::state::{
    Crashes, Doubt, Leaving, Next, Pending, Quit, Reconfigure, Running, Server, Stage, store,
};

impl Supervisor {
    pub(super) fn record(&mut self, now: Instant, event: Event) {
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

    pub(super) fn demand(&mut self, plan: Plan, cause: Cause, since: Instant) {
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

    pub(super) fn rule_ended(&mut self, now: Instant, exit: Option<Exit>, reason: Option<String>) {
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

    pub(super) fn produced(&mut self, job: JobId, produced: Produced) {
        if let Some(Doubt { rule, .. }) = self.outputs.doubts.remove(&job) {
            if produced.all == self.outputs.good.get(&rule).copied() {
                self.outputs.damaged.remove(&rule);
            } else {
                self.outputs.damaged.insert(rule);
            }
            return;
        }
        let awaited = self
            .cycle
            .as_mut()
            .and_then(|cycle| Some((cycle.running?, cycle)))
            .filter(|(running, _)| running.job == job && running.inspecting);
        let Some((running, cycle)) = awaited else {
            // Superseded during the look. The outputs are there all the same, and if the rule writes the same
            // again, nobody will hear of them any more.
            let due = match &mut self.cycle {
                Some(cycle) if !cycle.built => &mut cycle.todo,
                Some(_) | None => &mut self.owed.rules,
            };
            due.extend(produced.dirtied);
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
    pub(super) fn rule_done(&mut self, rule: RuleId) {
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
    pub(super) fn fail(&mut self, now: Instant, exit: Option<Exit>, reason: Option<String>) {
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
    pub(super) fn promote(&mut self, now: Instant, ready: Evidence) {
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
    pub(super) fn clear_away(&mut self, now: Instant, server: &Server, gone: bool) {
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

    pub(super) fn asked_to_quit(&mut self, now: Instant, code: i32) {
        if self.quit.is_none() {
            self.quit = Some(Quit { code, done: false });
            return;
        }
        for leaving in &mut self.leaving {
            leaving.kill(now, &mut self.effects);
        }
    }
}
