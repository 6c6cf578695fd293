//! Decides what follows from everything that is known. Nothing here depends on which fact came last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::Supervisor;
use super::event::{
    Cause, Effect, Evidence, HotMode, Outcome, ReadyPolicy, Report, RestartKind, Retry, Target,
};
use super::generation::{GenerationId, JobId};
use super::limits::{SPAWN_LIMIT, STOP_GRACE};
use super::plan::{Plan, RuleId, Then};
use super::state::{
    Arriving, Carried, Cycle, Doubt, Fallen, Going, Looking, Next, Pending, Reconfigure, Running,
    Server, Stage, Starting, renumber,
};

impl Supervisor {
    pub(super) fn decide(&mut self, now: Instant) {
        self.escalate(now);
        if self.quit.is_some() {
            self.wind_down(now);
            return;
        }
        // Before what time has brought about: nothing is called FRESH that a change just told of is missing in.
        self.take_up(now);
        self.expire(now);
        self.arrive(now);
        self.revive(now);
        self.start(now);
        self.build(now);
        self.start(now);
        self.settle_doubts();
        self.keep(now);
    }

    /// Whoever has not gone in time is told to, then killed; whoever cannot be killed is given up.
    pub(super) fn escalate(&mut self, now: Instant) {
        let grace = self
            .policy
            .server
            .as_ref()
            .map_or(STOP_GRACE, |policy| policy.stop_timeout);
        let mut reports = Vec::new();
        self.leaving.retain_mut(|leaving| {
            if now < leaving.until {
                return true;
            }
            let (job, who) = (leaving.job, leaving.who);
            let after = now.saturating_duration_since(leaving.asked_at);
            match leaving.stage {
                Going::Draining => {
                    leaving.stage = Going::Stopping;
                    leaving.asked_at = now;
                    leaving.until = now + grace;
                    self.effects.push(Effect::Stop {
                        job,
                        target: Target::Main,
                    });
                    reports.push(Report::Overdue { who, after });
                }
                Going::Stopping => {
                    leaving.kill(now, &mut self.effects);
                    reports.push(Report::Killed { who, after });
                }
                Going::Killed => {
                    reports.push(Report::Stuck { who });
                    return false;
                }
            }
            true
        });
        for report in reports {
            self.report(report);
        }
    }

    /// Ends everything, in any state, and then devwatch.
    pub(super) fn wind_down(&mut self, now: Instant) {
        self.pending = None;
        self.reconfigure = None;
        self.crashes.retry_at = None;
        self.cancel_all(now);
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

    pub(super) fn expire(&mut self, now: Instant) {
        let running = self.cycle.iter().flat_map(|cycle| &cycle.running);
        let expired: Vec<(JobId, Running)> = running
            .filter(|(_, running)| running.timeout_at.is_some_and(|at| now >= at))
            .map(|(job, running)| (*job, *running))
            .collect();
        for (job, running) in expired {
            self.cancel(now, job, running);
            let reason = Some("took longer than its timeout".to_owned());
            self.fail(now, job, None, reason);
        }
        let Some(starting) = self.starting().filter(|starting| now >= starting.ready_by) else {
            return;
        };
        let Some(policy) = self.policy.server.clone() else {
            return;
        };
        let hot = self.handing_over();
        if starting.server.pid.is_none() {
            let forks = policy
                .hot
                .filter(|hot| hot.mode == HotMode::SelfFork)
                .filter(|_| hot);
            let reason = match forks {
                Some(forks) => format!(
                    "no new process appeared within {} s",
                    forks.fork_timeout.as_secs_f64()
                ),
                None => "was not started in time; killed".to_owned(),
            };
            self.start_failed(now, None, Some(reason), false);
            return;
        }
        match policy.ready {
            ReadyPolicy::Delay(_) => self.promote(now, Evidence::Assumed),
            ReadyPolicy::Accepting if !policy.holds && !starting.listening && !hot => {
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
    pub(super) fn take_up(&mut self, now: Instant) {
        if !self.configure(now) {
            return;
        }
        let Some(mut pending) = self.pending.take() else {
            return;
        };
        self.fallen = None;
        self.withheld_since = None;
        pending.plan.join(std::mem::take(&mut self.owed));
        let rules = &self.policy.rules;
        let obsolete = |rule: &RuleId| {
            let mut read = rules[rule.0].needs.iter().chain([rule]);
            read.any(|rule| pending.plan.rules.contains(rule))
        };
        for looking in self.looking.values_mut() {
            looking.touched |= obsolete(&looking.rule);
        }
        let mut carried = Carried::default();
        if let Some(mut old) = self.cycle.take() {
            let touched = &pending.plan.rules;
            carried = Carried {
                due: std::mem::take(&mut old.due),
                running: std::mem::take(&mut old.running),
                restored: std::mem::take(&mut old.restored),
                nominal: old.nominal,
            };
            carried.due.retain(|rule, _| !obsolete(rule));
            carried.restored.retain(|rule| !touched.contains(rule));
            let cancelled: Vec<(JobId, Running)> = carried
                .running
                .extract_if(.., |_, running| touched.contains(&running.rule))
                .collect();
            pending.plan.rules.append(&mut old.todo);
            pending.plan.forced.append(&mut old.forced);
            pending.cause.join(old.cause.clone());
            pending.since = pending.since.min(old.since);
            for (job, running) in cancelled {
                self.cancel(now, job, running);
            }
            self.cycle = Some(old);
            self.end(now, Outcome::Superseded);
        }
        self.owed.then = pending.plan.then;
        self.begin(now, pending, carried);
    }

    fn cancel_all(&mut self, now: Instant) {
        let running = self.cycle.as_mut().map(|cycle| &mut cycle.running);
        for (job, running) in running.map(std::mem::take).unwrap_or_default() {
            self.cancel(now, job, running);
        }
    }

    /// Puts a new config in force as soon as no rule of the old one runs. False: not yet.
    pub(super) fn configure(&mut self, now: Instant) -> bool {
        if self.reconfigure.is_none() {
            return true;
        }
        self.cancel_all(now);
        if self.cycle.is_some() {
            let since = self.cycle.as_ref().expect("looked at above").since;
            self.demand(Plan::default(), Cause::Start, since);
            self.end(now, Outcome::Superseded);
        }
        if self.rule_leaving() || self.about_to_start() || !self.looking.is_empty() {
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
        self.good = None;
        self.keeping = None;
        self.broken.clear();
        self.effects.push(Effect::Configure);
        if self.policy.server.is_none() {
            self.stop_next(now);
            self.stop_serving(now);
        } else if server_changed {
            self.owed.then = Then::Cold;
        }
        // Rule numbers of the old config mean nothing in the new one, and every rule is due.
        self.owed.rules.clear();
        self.owed.forced.clear();
        let every = self.every_rule();
        let pending = self.pending.as_mut().expect("a new config is a change");
        pending.plan.rules = every.rules;
        pending.plan.forced.clear();
        true
    }

    pub(super) fn revive(&mut self, now: Instant) {
        if self.may_revive() && self.crashes.retry_at.is_some_and(|at| now >= at) {
            self.crashes.retry_at = None;
            // Half-written outputs of a failed build are never started; the next successful build is.
            if self.outputs.damaged.is_empty() || self.fallen.is_some() {
                let pending = Pending {
                    plan: Plan::default(),
                    cause: Cause::Crash,
                    since: now,
                };
                self.begin(now, pending, Carried::default());
            }
        }
    }

    pub(super) fn may_revive(&self) -> bool {
        self.cycle.is_none()
            && self.serving.is_none()
            && self.next.is_none()
            && self.looking.is_empty()
            && self.outputs.doubts.is_empty()
    }

    pub(super) fn begin(&mut self, now: Instant, pending: Pending, carried: Carried) {
        self.cycles += 1;
        let Pending { plan, cause, since } = pending;
        let Carried {
            due,
            running,
            restored,
            nominal,
        } = carried;
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
            forced: plan.forced,
            due,
            running,
            done: BTreeSet::new(),
            ran: false,
            restored,
            failed: None,
            nominal: nominal.max(plan.then),
            built: false,
            built_at: None,
        });
    }

    /// Brings up to date what is to be, each rule after those it needs, and then asks what the server is owed.
    pub(super) fn build(&mut self, now: Instant) {
        // No rule is begun beside a cancelled one, nor while a server is about to be started from its outputs.
        if self.rule_leaving() || self.about_to_start() {
            return;
        }
        while let Some(rule) = self.next_rule() {
            self.begin_rule(now, rule);
        }
        self.end_failed(now);
        let over =
            |cycle: &&mut Cycle| !cycle.built && cycle.todo.is_empty() && cycle.running.is_empty();
        if let Some(cycle) = self.cycle.as_mut().filter(over) {
            cycle.built = true;
            cycle.built_at.get_or_insert(now);
            if !self.conclude(now) {
                self.cycle.as_mut().expect("it goes on").built = false;
            }
        }
    }

    /// A rule that can begin now: nothing that it needs is still to be done, and there is room for it.
    fn next_rule(&self) -> Option<RuleId> {
        let cycle = self.cycle.as_ref().filter(|cycle| !cycle.built)?;
        let running = cycle.running.values().map(|running| running.rule);
        let busy: BTreeSet<RuleId> = running
            .chain(self.looking.values().map(|looking| looking.rule))
            .collect();
        let needs = |rule: RuleId| &self.policy.rules[rule.0].needs;
        let can_begin = |rule: &&RuleId| {
            let has_room = busy.len() < self.policy.jobs || !self.policy.rules[rule.0].runs;
            let is_free = !busy.contains(rule);
            let mut needed = needs(**rule).iter();
            let waits = needed.any(|other| cycle.todo.contains(other) || busy.contains(other));
            // One that was begun before this one was due reads what this one writes.
            let is_read = busy.iter().any(|other| needs(*other).contains(rule));
            has_room && is_free && !waits && !is_read
        };
        cycle.todo.iter().find(can_begin).copied()
    }

    fn begin_rule(&mut self, now: Instant, rule: RuleId) {
        let cycle = self.cycle.as_mut().expect("a rule begins in a cycle");
        let policy = &self.policy.rules[rule.0];
        if !policy.runs {
            cycle.todo.remove(&rule);
            self.rule_done(rule, true);
            return;
        }
        let known = cycle.due.remove(&rule);
        let job = known.unwrap_or_else(|| {
            self.jobs += 1;
            JobId(self.jobs)
        });
        if known.is_none() && !cycle.forced.contains(&rule) {
            let touched = false;
            self.looking.insert(job, Looking { rule, touched });
            self.effects.push(Effect::Reuse { job, rule });
            return;
        }
        cycle.todo.remove(&rule);
        let running = Running {
            rule,
            timeout_at: policy.timeout.map(|timeout| now + timeout),
            inspecting: false,
        };
        cycle.running.insert(job, running);
        self.outputs.doubts.retain(|_, doubt| doubt.rule != rule);
        self.effects.push(Effect::Run { job, rule });
    }

    /// A command did not get to its end: what it wrote may be half there.
    pub(super) fn doubt(&mut self, job: JobId, rule: RuleId) {
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
    pub(super) fn settle_doubts(&mut self) {
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

    /// Every rule has succeeded: what does that mean for the server? False: that waits for the swap under way.
    pub(super) fn conclude(&mut self, now: Instant) -> bool {
        if self.policy.server.is_none() {
            self.owed.then = Then::Nothing;
            self.end(now, Outcome::Ok { exited: None });
            return true;
        }
        let replaced = match (&self.next, &self.serving) {
            (Some(next), _) => next.server(),
            (None, serving) => serving.as_ref(),
        };
        let Some(replaced) = replaced else {
            // What was built anew is tried before what had worked: a stopgap is for want of anything else.
            let crashed = self
                .cycle
                .as_ref()
                .is_some_and(|cycle| cycle.cause == Cause::Crash);
            let instead_of = self.fallen.take().filter(|_| crashed);
            self.next = Some(Next {
                asked_at: now,
                restart: None,
                old: None,
                reason: None,
                instead_of,
                stage: Stage::Waiting,
            });
            return true;
        };
        let due = self.due(replaced);
        if due >= Then::Restart {
            let way = self.way(due);
            if matches!(way, Way::Hot(_)) && self.swapping() {
                return false;
            }
            // It serves until it is replaced by something that nobody has seen work yet.
            self.keep_serving();
            match way {
                Way::Hot(mode) => self.hand_over(now, mode),
                Way::Cold(reason) => self.go_cold(now, now, reason),
            }
        } else if self.next.is_none() && self.arriving.is_none() {
            // What is left of one that could not replace it may still answer.
            if self.server_leaving() {
                return false;
            }
            let serving = replaced.generation;
            self.owed.then = Then::Nothing;
            let ran = self.cycle.as_ref().is_some_and(|cycle| cycle.ran);
            let nominal = self.cycle.as_ref().map(|cycle| cycle.nominal);
            if ran && nominal < Some(Then::Restart) {
                self.end(now, Outcome::Ok { exited: None });
            } else {
                self.end(now, Outcome::Unchanged { serving });
            }
        }
        // Otherwise the server on its way was started from just this: the cycle ends as it does.
        true
    }

    /// Whether what serves can hand over, or why it cannot.
    fn way(&self, due: Then) -> Way {
        let hot = self.policy.server.as_ref().and_then(|policy| policy.hot);
        let (Some(hot), Then::Restart) = (hot, due) else {
            return Way::Cold(None);
        };
        match &self.serving {
            None => Way::Cold(None),
            Some(_) if self.silent => Way::Cold(Some("it listens nowhere".to_owned())),
            Some(Server {
                tainted: Some(why), ..
            }) => Way::Cold(Some((*why).to_owned())),
            Some(_) => Way::Hot(hot.mode),
        }
    }

    /// One swap at a time: a hand-over is under way, or the old process of the last one has not gone.
    fn swapping(&self) -> bool {
        self.next.is_some() || self.server_leaving()
    }

    /// The old generation serves until the new one does.
    fn hand_over(&mut self, now: Instant, mode: HotMode) {
        let Some(policy) = &self.policy.server else {
            return;
        };
        let Some(hot) = policy.hot else { return };
        let limit = match mode {
            HotMode::SelfFork => hot.fork_timeout,
            HotMode::Overlap | HotMode::Adopt => policy.ready_timeout.max(SPAWN_LIMIT),
        };
        let serving = self.serving.as_ref().expect("only what serves hands over");
        let (from, old) = (serving.job, serving.pid);
        let stage = self.new_server(now, now + limit);
        let Stage::Starting(Starting {
            server:
                Server {
                    job: to,
                    generation,
                    ..
                },
            ..
        }) = stage
        else {
            unreachable!("a new server is starting")
        };
        self.effects.push(match mode {
            HotMode::SelfFork => Effect::HandOver {
                from,
                to,
                generation,
            },
            HotMode::Overlap | HotMode::Adopt => Effect::Start {
                job: to,
                generation,
                last_good: false,
            },
        });
        let restart = Some(RestartKind::Hot(mode));
        self.next = Some(Next {
            asked_at: now,
            restart,
            old,
            reason: None,
            instead_of: None,
            stage,
        });
    }

    /// Stops what serves or is about to, and starts anew when nothing of it is left.
    pub(super) fn go_cold(&mut self, now: Instant, asked_at: Instant, reason: Option<String>) {
        let holds = self
            .policy
            .server
            .as_ref()
            .is_some_and(|policy| policy.holds);
        let restart = if holds {
            RestartKind::Hold
        } else {
            RestartKind::Cold
        };
        let next = self.next.as_ref().and_then(Next::server);
        let old = self.serving.as_ref().or(next).and_then(|server| server.pid);
        self.stop_next(now);
        self.stop_serving(now);
        self.next = Some(Next {
            asked_at,
            restart: Some(restart),
            old,
            reason,
            instead_of: None,
            stage: Stage::Waiting,
        });
    }

    /// What serves is FRESH as soon as nothing is left that could still answer with old code.
    fn arrive(&mut self, now: Instant) {
        if self.server_leaving() {
            return;
        }
        let Some(Arriving {
            asked_at,
            mut serving,
            instead_of,
        }) = self.arriving.take()
        else {
            return;
        };
        serving.fresh = now.saturating_duration_since(asked_at);
        if !self.cycle.as_ref().is_some_and(|cycle| cycle.built) {
            self.report(Report::Interim(serving));
        } else if let Some(Fallen {
            generation,
            exit,
            died_at,
        }) = instead_of
        {
            let reason = Some("gave way to the last good build".to_owned());
            let (still, retry) = (serving.generation, Retry::OnChange);
            let serving = Some(still);
            self.end(
                now,
                Outcome::Crashed {
                    generation,
                    exit,
                    reason,
                    serving,
                    retry,
                },
            );
            let since = *self.stale_since.get_or_insert(died_at);
            self.report(Report::Stale {
                generation: still,
                since,
            });
        } else if let Some(&rule) = self.broken.first() {
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

    /// What a server is owed that was started with `server.started_with`.
    pub(super) fn due(&self, server: &Server) -> Then {
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
    pub(super) fn start(&mut self, now: Instant) {
        if !self.waiting() || self.server_leaving() {
            return;
        }
        let Some(policy) = &self.policy.server else {
            return;
        };
        // Until it is executed: how long the guardian may take, which tries again while the system is busy.
        let limit = policy.ready_timeout.max(SPAWN_LIMIT);
        self.crashes.retry_at = None;
        let mut stage = self.new_server(now, now + limit);
        let next = self.next.as_ref().expect("waiting in next");
        let good = next.instead_of.as_ref().and(self.good.clone());
        let last_good = good.is_some();
        if let Stage::Starting(Starting { server, .. }) = &mut stage {
            if let Some(good) = good {
                server.started_with = good;
                server.tainted = Some("the last good build stood in for a broken one");
                server.kept = true;
            }
            let Server {
                job, generation, ..
            } = *server;
            self.effects.push(Effect::Start {
                job,
                generation,
                last_good,
            });
        }
        self.next.as_mut().expect("waiting in next").stage = stage;
    }

    /// A server that has been ready for a while has proven itself.
    fn keep(&mut self, now: Instant) {
        if self.to_be_kept().is_some_and(|(_, at)| now >= at) {
            self.keep_serving();
        }
    }

    /// The program of what serves is what a broken one gives way to.
    fn keep_serving(&mut self) {
        let Some(server) = self.serving.as_mut().filter(|server| !server.kept) else {
            return;
        };
        server.kept = true;
        let made_from = &server.started_with;
        if !made_from.is_empty() && self.good.as_ref() != Some(made_from) {
            self.keeping = Some((server.job, made_from.clone()));
            self.effects.push(Effect::Keep { job: server.job });
        }
    }

    /// A new generation of what the rules have made. What the server was owed, it is being paid.
    fn new_server(&mut self, now: Instant, ready_by: Instant) -> Stage {
        self.jobs += 1;
        self.generations += 1;
        let server = Server {
            job: JobId(self.jobs),
            generation: GenerationId(self.generations),
            pid: None,
            started_at: now,
            ready_at: None,
            started_with: self.outputs.finals.clone(),
            tainted: None,
            kept: false,
        };
        let owed = std::mem::take(&mut self.owed.then);
        Stage::Starting(Starting {
            server,
            ready_by,
            listening: false,
            owed,
        })
    }
}

/// How new code comes into service.
enum Way {
    Hot(HotMode),
    /// And why, where a hand-over was configured.
    Cold(Option<String>),
}
