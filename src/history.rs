//! 6 SHOW. What has happened so far, as far as somebody still wants to know: folded from reports, one after the other.
//!
//! Pure. The supervisor knows what is; this knows what was: the last cycles, how long saves took to be served, and what
//! went wrong last.

use std::collections::VecDeque;
use std::time::Duration;

use crate::diagnostics::Problems;
use crate::supervisor::event::{Cause, Exit, Outcome, Report, RestartKind, Retry, Serving};
use crate::supervisor::generation::GenerationId;

/// What has happened so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The last cycles, the newest first: at most 50. One that was superseded says nothing.
    pub cycles: VecDeque<Past>,
    /// How many restarts were hot.
    pub hot: usize,
    /// How many were cold, or held.
    pub cold: usize,
    /// How long the last saves took to be served, the newest last: at most 8.
    pub latencies: VecDeque<Duration>,
    /// What went wrong last and has not been put right.
    pub trouble: Option<Trouble>,
    /// The generation that crashed last, since somebody last changed something: it may have been started again.
    pub crashed: Option<Down>,
    /// How often that has happened.
    pub crashes: usize,
    /// Why the cycle under way began, and its number.
    begun: Option<(u64, Cause)>,
    /// Whether any command has run in it.
    ran: bool,
}

/// A cycle that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Its number.
    pub build: u64,
    /// When it ended: a time of day.
    pub at: String,
    /// Why it began.
    pub cause: Cause,
    /// Whether any command ran.
    pub ran: bool,
    /// Whether something was put back that had been made before.
    pub cached: bool,
    /// How long its rules took; none if they did not come to their end.
    pub built: Option<Duration>,
    /// From begin to end.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// How many errors stood at its end.
    pub errors: usize,
    /// How many warnings stood at its end.
    pub warnings: usize,
    /// From the first save until the new code answered.
    pub latency: Option<Duration>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A rule failed, as the newest cycle says.
    Failed,
    /// A generation went down, or never came up.
    Down(Down),
}

/// A generation that is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// Which.
    pub generation: GenerationId,
    /// How it ended, if by itself.
    pub exit: Option<Exit>,
    /// In words, where the exit does not say it.
    pub reason: Option<String>,
    /// How long it lived, where it had been in service.
    pub lived: Option<Duration>,
    /// What follows.
    pub retry: Retry,
    /// What serves on.
    pub serving: Option<GenerationId>,
    /// The last lines that it printed, oldest first.
    pub last: Vec<String>,
}

impl Trouble {
    fn is_well(&self) -> bool {
        match self {
            Trouble::Failed => false,
            Trouble::Down(down) => down.is_well(),
        }
    }
}

impl Down {
    /// Whether it ended as servers do that have done what they were there for.
    pub fn is_well(&self) -> bool {
        self.exit.is_some_and(Exit::success)
    }
}

impl History {
    /// A command begins.
    pub fn runs(&mut self) {
        self.ran = true;
    }

    /// A report has come. `problems` stand at this moment, `last` was printed at the end by the generation that went
    /// down, `at` is the time of day.
    pub fn record(&mut self, report: &Report, problems: &Problems, last: &[String], at: String) {
        match report {
            Report::Begin { build, cause } => self.begin(*build, cause),
            Report::End {
                outcome: Outcome::Superseded,
                ..
            } => self.begun = None,
            Report::End {
                build,
                outcome,
                took,
                built,
                waited,
                restored,
            } => {
                let begun = self.begun.take().filter(|(begun, _)| begun == build);
                let cause = begun.map_or(Cause::Request, |(_, cause)| cause);
                let latency = latency(&cause, outcome, *waited);
                self.latencies.extend(latency);
                self.latencies
                    .drain(..self.latencies.len().saturating_sub(MOST_LATENCIES));
                self.trouble = trouble(outcome, last);
                self.count_crash();
                if let Outcome::Serving(serving) = outcome {
                    self.count(serving);
                }
                self.cycles.push_front(Past {
                    build: *build,
                    at,
                    cause,
                    ran: std::mem::take(&mut self.ran),
                    cached: !restored.is_empty(),
                    built: *built,
                    took: *took,
                    outcome: outcome.clone(),
                    errors: problems.errors,
                    warnings: problems.warnings,
                    latency,
                });
                self.cycles.truncate(MOST_CYCLES);
            }
            Report::Down {
                generation,
                exit,
                reason,
                lived,
                retry,
            } => {
                self.trouble = Some(Trouble::Down(Down {
                    generation: *generation,
                    exit: *exit,
                    reason: reason.clone(),
                    lived: Some(*lived),
                    retry: *retry,
                    serving: None,
                    last: last.to_vec(),
                }));
                self.count_crash();
            }
            Report::Interim(serving) => self.count(serving),
            Report::TookOver { .. } => self.hot += 1,
            Report::Stale { .. }
            | Report::Paused
            | Report::Resumed { .. }
            | Report::Stopped { .. }
            | Report::Draining { .. }
            | Report::Overdue { .. }
            | Report::Killed { .. }
            | Report::Stuck { .. } => {}
        }
    }

    fn begin(&mut self, build: u64, cause: &Cause) {
        self.begun = Some((build, cause.clone()));
        match cause {
            Cause::Files(_) | Cause::Request => (self.crashed, self.crashes) = (None, 0),
            Cause::Start | Cause::Crash => {}
        }
    }

    fn count_crash(&mut self) {
        if let Some(Trouble::Down(down)) =
            self.trouble.as_ref().filter(|trouble| !trouble.is_well())
        {
            self.crashed = Some(down.clone());
            self.crashes += 1;
        }
    }

    fn count(&mut self, serving: &Serving) {
        match serving.restart {
            Some(RestartKind::Hot(_)) => self.hot += 1,
            Some(RestartKind::Cold | RestartKind::Hold) => self.cold += 1,
            None => {}
        }
    }
}

/// From the save until the new code answered. What was asked for was not waited for since a save.
fn latency(cause: &Cause, outcome: &Outcome, waited: Duration) -> Option<Duration> {
    let (Cause::Files(_), Outcome::Serving(serving)) = (cause, outcome) else {
        return None;
    };
    // The end line comes when nothing old can answer any more; the new code has answered for a while then.
    Some(waited.saturating_sub(serving.fresh.saturating_sub(serving.accept)))
}

fn trouble(outcome: &Outcome, last: &[String]) -> Option<Trouble> {
    match outcome {
        Outcome::Failed { .. } => Some(Trouble::Failed),
        Outcome::Crashed {
            generation,
            exit,
            reason,
            serving,
            retry,
        } => Some(Trouble::Down(Down {
            generation: *generation,
            exit: *exit,
            reason: reason.clone(),
            lived: None,
            retry: *retry,
            serving: *serving,
            last: last.to_vec(),
        })),
        Outcome::Ok {
            exited: Some(generation),
        } => Some(Trouble::Down(Down {
            generation: *generation,
            exit: Some(Exit::Code(0)),
            reason: None,
            lived: None,
            retry: Retry::OnChange,
            serving: None,
            last: last.to_vec(),
        })),
        Outcome::Serving(_)
        | Outcome::Ok { exited: None }
        | Outcome::Unchanged { .. }
        | Outcome::Superseded => None,
    }
}

/// More than any terminal shows.
const MOST_CYCLES: usize = 50;
/// As many as the sparkline has cells.
const MOST_LATENCIES: usize = 8;
