//! The only loop and the only clock: receive, step, perform.
//!
//! Every edge sends what it saw into one channel; the loop turns it into facts for the supervisor and has the
//! supervisor's orders carried out by the performer. It decides nothing itself.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::unistd::Pid;

use crate::config::{self, Config, OnFailure, ReadyBy};
use crate::console::Console;
use crate::incremental::outputs::Written;
use crate::incremental::reuse::Answer;
use crate::overview::Overview;
use crate::performer::Performer;
use crate::process;
use crate::restart::ready::ReadyReport;
use crate::screen::{Printed, Screen, Wish};
use crate::state::State;
use crate::supervisor::Supervisor;
use crate::supervisor::event::{
    Effect, Event, HotPolicy, Outcome, Policy, ReadyPolicy, Report, Request, RulePolicy,
    ServerPolicy,
};
use crate::supervisor::generation::JobId;
use crate::supervisor::plan::RuleId;
use crate::supervisor::trace;
use crate::watch::Seen;
use crate::{failpoint, gaps, screen, signals, teller};

/// What the edges send.
pub enum Input {
    /// From `watch`: the how-manieth watcher, and what it says.
    Seen(u64, Seen),
    /// From the guardian, a keeper, or the reader of their output.
    Process(process::Report),
    /// From a probe.
    Ready(JobId, ReadyReport),
    /// A server that has come up, or has not, reads its files no more.
    HasRead(JobId),
    /// A rule's outputs are about to be put back.
    Restoring(JobId, RuleId),
    /// Whether a rule can do without its command, found out on a thread of its own.
    Reused(JobId, RuleId, Option<Answer>),
    /// What a command left has been kept; or why not.
    Stored(Option<String>),
    /// The outputs of a rule, read on a thread of their own.
    Looked(JobId, RuleId, Written),
    /// A job that could not even be asked for, and why.
    Unspawned(JobId, String),
    /// The successor of a server that forks itself was found.
    Found(JobId, Pid),
    /// The program of a server has been kept, as the last good one.
    Kept(JobId),
    /// A hand-over could not begin, and why.
    Refused(JobId, String),
    /// Nothing of a generation is left.
    Cleared(JobId),
    /// From a key or a signal.
    Asked(Request),
    /// A line that somebody typed for the server to read; none is the end of all lines.
    Typed(Option<String>),
    /// devwatch or the whole machine did not run for a while.
    Gap,
}

/// What devwatch runs with from start to end.
pub struct Setup {
    /// What to watch, run and serve.
    pub config: Config,
    /// Config files that are read again when they change; none for a config that has no file.
    pub settings: Vec<PathBuf>,
    /// `.devwatch/`, locked.
    pub state: State,
    /// Where lines go.
    pub console: Console,
    /// Whether rules and servers are told that colour is welcome.
    pub color_hints: bool,
    /// The screen, where there is to be one, and what it reads of what was printed.
    pub screen: Option<(screen::Settings, Printed)>,
    /// What for.
    pub task: Task,
}

/// What devwatch runs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// To watch and to serve, until somebody asks to quit.
    UntilQuit,
    /// To run the rules that are due, or all of them.
    Once {
        /// Whatever they made last.
        force: bool,
    },
}

impl Task {
    /// The fact with which it begins.
    fn beginning(self) -> Event {
        match self {
            Task::UntilQuit | Task::Once { force: false } => Event::Began,
            Task::Once { force: true } => Event::Asked(Request::Build),
        }
    }

    /// What an order means for it: with which code it ends.
    fn ends_with(self, order: &Effect) -> Option<i32> {
        match (self, order) {
            (Task::UntilQuit, _) => None,
            (Task::Once { .. }, Effect::Report(Report::End { outcome, .. })) => match outcome {
                Outcome::Serving(_) | Outcome::Ok { .. } | Outcome::Unchanged { .. } => Some(0),
                Outcome::Failed { .. } | Outcome::Crashed { .. } => Some(1),
                Outcome::Superseded => None,
            },
            (Task::Once { .. }, _) => None,
        }
    }
}

/// Runs until somebody asks to quit. The exit code.
///
/// # Errors
/// A socket cannot be bound, the guardian cannot be started, or the tree cannot be watched. Nothing has been
/// started then.
pub fn run(mut setup: Setup) -> Result<i32> {
    screen::end_on_panic();
    let (sender, inbox) = channel();
    let mut supervisor = Supervisor::new(policy(&setup.config, setup.state.silent()));
    // Before the first thread, so that each of them inherits what is blocked and handled.
    signals::listen(asker(&sender))?;
    let after_gap = sender.clone();
    gaps::listen(move || {
        // The loop has ended: nobody is left to compare.
        let _ = after_gap.send(Input::Gap);
    })?;
    let Setup { screen, task, .. } = &mut setup;
    let (screen, task) = (screen.take(), *task);
    let events = setup.console.tells_events();
    let (end, wishes) = (asker(&sender), sender.clone());
    let mut performer = Performer::start(setup, sender, screen.is_some())?;
    // After the guardian has seen the terminal as it was: that is what it puts back.
    let mut shown = Shown::start(screen, events, performer.screen_notice(), wishes)?;
    // Whoever reads events is told first from where they go on.
    shown.update(&mut performer, &supervisor);
    let mut orders = step(&mut supervisor, task.beginning());
    loop {
        for order in orders {
            if let Effect::Exit(code) = order {
                settle(&mut performer, &inbox);
                shown.leave();
                performer.finish();
                return Ok(code);
            }
            let code = task.ends_with(&order);
            performer.perform(order);
            if let Some(code) = code {
                end(Request::Quit { code });
            }
        }
        shown.update(&mut performer, &supervisor);
        let deadline = [supervisor.deadline(), shown.look_again_at()];
        let received = receive(&inbox, deadline.into_iter().flatten().min());
        failpoint::pass();
        let facts = match received {
            Some(input) => performer.facts(input),
            None => {
                let mut facts = performer.listening();
                facts.push(Event::Elapsed);
                facts
            }
        };
        orders = facts
            .into_iter()
            .flat_map(|fact| step(&mut supervisor, fact))
            .collect();
    }
}

/// The screen, if there is one, or whoever reads events, and what they were told last.
struct Shown {
    screen: Option<Screen>,
    events: bool,
    overview: Option<Overview>,
    at: Instant,
}

impl Shown {
    #[expect(clippy::disallowed_methods, reason = "this is the loop's clock")]
    fn start(
        screen: Option<(screen::Settings, Printed)>,
        events: bool,
        notice: process::ScreenNotice,
        wishes: Sender<Input>,
    ) -> Result<Shown> {
        let wish = move |wish| {
            // The loop has ended: nobody is left to ask.
            let _ = wishes.send(match wish {
                Wish::Ask(request) => Input::Asked(request),
                Wish::Type(line) => Input::Typed(line),
            });
        };
        let start = |(settings, printed)| Screen::start(settings, &printed, notice, wish);
        Ok(Shown {
            screen: screen.map(start).transpose()?,
            events,
            overview: None,
            at: Instant::now(),
        })
    }

    /// Tells what is known now, if that is anything new.
    fn update(&mut self, performer: &mut Performer, supervisor: &Supervisor) {
        if self.screen.is_none() && !self.events {
            return;
        }
        let overview = performer.overview(supervisor.status());
        if self.overview.as_ref() == Some(&overview) {
            return;
        }
        if let Some(screen) = &self.screen {
            screen.show(overview.clone());
        }
        if self.events {
            performer.known(&overview);
        }
        self.overview = Some(overview);
    }

    /// What the system alone knows is asked for again, where it is shown: who waits, and who has not gone yet.
    #[expect(clippy::disallowed_methods, reason = "this is the loop's clock")]
    fn look_again_at(&self) -> Option<Instant> {
        let overview = self.overview.as_ref().filter(|_| self.screen.is_some())?;
        overview.is_counting().then(|| Instant::now() + LOOK_AGAIN)
    }

    /// Gives the terminal back, and leaves on it what somebody may want to read.
    fn leave(&mut self) {
        let Some(screen) = self.screen.take() else {
            return;
        };
        screen.leave();
        let lines = self
            .overview
            .iter()
            .flat_map(|overview| teller::farewell(overview, self.at.elapsed()));
        let text: String = lines.map(|line| format!("devwatch: {line}\n")).collect();
        let mut stderr = std::io::stderr();
        match stderr.is_terminal() {
            true => Screen::say_last(&text),
            false => _ = stderr.write_all(text.as_bytes()),
        }
    }
}

/// What was built a moment ago is remembered all the same, if that is known soon.
#[expect(clippy::disallowed_methods, reason = "this is the loop's clock")]
fn settle(performer: &mut Performer, inbox: &Receiver<Input>) {
    let deadline = Instant::now() + SETTLE_LIMIT;
    while performer.is_settling() {
        match receive(inbox, Some(deadline)) {
            Some(input) => _ = performer.facts(input),
            None => return,
        }
    }
}

fn asker(sender: &Sender<Input>) -> impl Fn(Request) + Send + 'static {
    let sender = sender.clone();
    move |request| {
        // The loop has ended: nobody is left to ask.
        let _ = sender.send(Input::Asked(request));
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the loop's clock")]
fn step(supervisor: &mut Supervisor, event: Event) -> Vec<Effect> {
    let wanted = log::log_enabled!(target: "supervisor", log::Level::Debug);
    let fact = wanted.then(|| trace::event(&event));
    let effects = supervisor.step(Instant::now(), event);
    if let Some(fact) = fact {
        let orders: Vec<String> = effects.iter().map(trace::effect).collect();
        log::debug!(target: "supervisor", "{fact:<32} -> {}", orders.join(", "));
    }
    effects
}

/// Long enough for a watcher to say that it has seen everything, and for an artefact to be copied; and nobody who
/// quits waits for longer.
const SETTLE_LIMIT: Duration = Duration::from_millis(500);

/// Connections come and go; nobody counts them faster.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Waits for the next input, until the deadline. None: it has passed.
#[expect(clippy::disallowed_methods, reason = "this is the loop's clock")]
fn receive(inbox: &Receiver<Input>, deadline: Option<Instant>) -> Option<Input> {
    let received = match deadline {
        None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(deadline) => inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())),
    };
    match received {
        Ok(input) => Some(input),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => unreachable!("the performer holds a sender"),
    }
}

/// What the supervisor needs to know of a config.
pub fn policy(config: &Config, silent: bool) -> Policy {
    let needs = config.needs();
    let rule = |(place, rule): (usize, &config::Rule)| RulePolicy {
        name: rule.name.clone(),
        then: rule.then,
        runs: rule.run.is_some(),
        outputs: rule.run.is_some() && !rule.outputs.is_empty(),
        timeout: rule.timeout,
        needs: needs[place].clone(),
    };
    let server = |server: &config::Server| ServerPolicy {
        holds: !server.listen.is_empty(),
        stop_timeout: server.stop.timeout,
        ready_timeout: server.ready.timeout,
        ready: match server.ready.by {
            ReadyBy::Accepting => ReadyPolicy::Accepting,
            ReadyBy::Log(_) | ReadyBy::Http(_) | ReadyBy::Notify => ReadyPolicy::Told,
            ReadyBy::Delay(delay) => ReadyPolicy::Delay(delay),
        },
        silent,
        hot: server.hands_over().map(|mode| HotPolicy {
            mode,
            drain: server.hot.drain,
            fork_timeout: server.hot.fork_timeout,
            cold_on_failure: server.hot.on_failure == OnFailure::Cold,
        }),
    };
    Policy {
        rules: config.rules.iter().enumerate().map(rule).collect(),
        jobs: config.jobs,
        server: config.server.as_ref().map(server),
    }
}
