//! What the supervisor knows at a moment, for whoever shows it. Screens keep no state of the domain.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Supervisor;
use super::event::{Cause, HotMode, Pid, RestartKind, Who};
use super::generation::GenerationId;
use super::state::{Cycle, Going, Leaving, Server, Stage};

/// What is happening, what serves, and how it stands to what is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What is under way.
    pub activity: Activity,
    /// Whether there is a server at all; without one devwatch runs rules as a task.
    pub has_server: bool,
    /// The generation that answers.
    pub serving: Option<Process>,
    /// How what answers stands to what is on disk.
    pub freshness: Freshness,
    /// The attempt under way.
    pub attempt: Option<Attempt>,
    /// The change of generations under way.
    pub swap: Option<Swap>,
    /// Changes are counted, not built: how many files so far.
    pub paused: Option<usize>,
}

/// What is under way, the most telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// devwatch ends.
    Quitting,
    /// Rules run; what they replace may still be on its way in or out.
    Building,
    /// A server starts, and there was none before.
    Starting,
    /// A generation takes over from another one, or the other one still drains.
    HotRestart,
    /// A server stops, and the next one starts after it.
    ColdRestart,
    /// Nothing.
    Resting,
}

/// How what answers stands to what is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It was made from what is on disk, and nothing older can answer.
    Fresh,
    /// It lacks a change, or something older can still answer: since then.
    Stale(Instant),
    /// Nothing answers.
    NotServing,
}

/// A server process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Which generation.
    pub generation: GenerationId,
    /// Its main process, once it runs.
    pub pid: Option<Pid>,
    /// When it was started.
    pub started_at: Instant,
    /// When it was seen to be ready.
    pub ready_at: Option<Instant>,
}

/// A cycle, before its end line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its number.
    pub build: u64,
    /// Why it began.
    pub cause: Cause,
    /// When it began.
    pub begun_at: Instant,
    /// How long its rules took, once they are done.
    pub built: Option<Duration>,
}

/// One generation gives way to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swap {
    /// How; none if there was nothing to give way.
    pub kind: Option<RestartKind>,
    /// When the old one was told to stop, or to hand over.
    pub asked_at: Instant,
    /// The one that goes.
    pub old: Option<Parting>,
    /// The one that comes, as soon as it has been started.
    pub new: Option<Process>,
}

/// A generation that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parting {
    /// Which generation.
    pub generation: GenerationId,
    /// Its main process.
    pub pid: Option<Pid>,
    /// What it has been told.
    pub told: Told,
    /// Since when.
    pub since: Instant,
    /// When patience with it ends; none while it serves.
    pub until: Option<Instant>,
}

/// What a generation that goes has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing yet: it serves until its successor does.
    Serving,
    /// To finish what it has and go.
    Draining,
    /// To stop.
    Stopping,
    /// Nothing any more: it was killed.
    Killed,
}

impl Supervisor {
    /// All that a screen needs to know of it.
    pub fn status(&self) -> Status {
        Status {
            activity: self.activity(),
            has_server: self.policy.server.is_some(),
            serving: self.serving.as_ref().map(process),
            freshness: self.freshness(),
            attempt: self.cycle.as_ref().map(attempt),
            swap: self.swap(),
            paused: self
                .is_paused()
                .then(|| self.waiting_files().map_or(0, BTreeSet::len)),
        }
    }

    fn activity(&self) -> Activity {
        if self.quit.is_some() {
            return Activity::Quitting;
        }
        if self.cycle.as_ref().is_some_and(|cycle| !cycle.built) {
            return Activity::Building;
        }
        match self.swap() {
            Some(Swap { kind: None, .. }) => Activity::Starting,
            Some(Swap {
                kind: Some(RestartKind::Hot(_)),
                ..
            }) => Activity::HotRestart,
            Some(Swap {
                kind: Some(RestartKind::Cold | RestartKind::Hold),
                ..
            }) => Activity::ColdRestart,
            None => Activity::Resting,
        }
    }

    fn freshness(&self) -> Freshness {
        if self.serving.is_none() {
            return Freshness::NotServing;
        }
        let arriving = self.arriving.as_ref().map(|arriving| arriving.asked_at);
        // What is left of one that could not replace it may still answer, too.
        let leaving = self.leaving.iter().filter(|leaving| leaving.is_server());
        let leaving = leaving.map(|leaving| leaving.asked_at).min();
        match self.stale_since.or(arriving).or(leaving) {
            Some(since) => Freshness::Stale(since),
            None => Freshness::Fresh,
        }
    }

    fn swap(&self) -> Option<Swap> {
        let leaving = self.leaving.iter().rev().find_map(parting);
        if let Some(next) = &self.next {
            let serving = self.serving.as_ref().map(|server| Parting {
                generation: server.generation,
                pid: server.pid,
                told: Told::Serving,
                since: next.asked_at,
                until: None,
            });
            let old = serving.or(leaving.map(|leaving| Parting {
                pid: next.old,
                ..leaving
            }));
            let new = match &next.stage {
                Stage::Starting(starting) => Some(process(&starting.server)),
                Stage::Waiting => None,
            };
            return Some(Swap {
                kind: next.restart,
                asked_at: next.asked_at,
                old,
                new,
            });
        }
        let arriving = self.arriving.as_ref()?;
        // Side by side with another one, the signal to stop is what makes a server drain.
        let overlaps = arriving.serving.restart == Some(RestartKind::Hot(HotMode::Overlap));
        let old = leaving.map(|leaving| Parting {
            pid: arriving.serving.old,
            told: match overlaps && leaving.told == Told::Stopping {
                true => Told::Draining,
                false => leaving.told,
            },
            ..leaving
        });
        Some(Swap {
            kind: arriving.serving.restart,
            asked_at: arriving.asked_at,
            old,
            new: self.serving.as_ref().map(process),
        })
    }
}

fn process(server: &Server) -> Process {
    Process {
        generation: server.generation,
        pid: server.pid,
        started_at: server.started_at,
        ready_at: server.ready_at,
    }
}

fn attempt(cycle: &Cycle) -> Attempt {
    Attempt {
        build: cycle.number,
        cause: cycle.cause.clone(),
        begun_at: cycle.begun_at,
        built: cycle
            .built_at
            .map(|at| at.saturating_duration_since(cycle.begun_at)),
    }
}

/// A server that leaves; whose process that is, only the one that takes its place knows.
fn parting(leaving: &Leaving) -> Option<Parting> {
    let Who::Server(generation) = leaving.who else {
        return None;
    };
    Some(Parting {
        generation,
        pid: None,
        told: match leaving.stage {
            Going::Draining => Told::Draining,
            Going::Stopping => Told::Stopping,
            Going::Killed => Told::Killed,
        },
        since: leaving.asked_at,
        until: Some(leaving.until),
    })
}
