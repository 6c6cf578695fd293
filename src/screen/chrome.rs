//! What of devwatch's state is to be seen around the screen: the terminal's title, and the progress in its tab.
//!
//! Pure: what is to be shown becomes the sequences that say what has changed.

use std::time::Instant;

use anstyle_progress::TermProgress;

use super::sanitise;
use crate::overview::{Overview, Word};

/// What the terminal has been told.
#[derive(Debug)]
pub(super) struct Chrome {
    /// Whether the terminal is known to understand it; others show a notification for each.
    progresses: bool,
    title: String,
    /// The sequence that was sent last; none if nothing is to be seen.
    progress: Option<String>,
}

impl Chrome {
    pub(super) fn new(progresses: bool) -> Chrome {
        Chrome {
            progresses,
            title: String::new(),
            progress: None,
        }
    }

    /// The terminal was given away: nobody knows what it was told meanwhile.
    pub(super) fn forget(&mut self) {
        (self.title, self.progress) = (String::new(), None);
    }

    /// What is to be written for this to be seen; nothing if it is.
    pub(super) fn update(&mut self, overview: &Overview, now: Instant) -> String {
        let mut sequences = String::new();
        let title = title(overview);
        if title != self.title {
            sequences += &format!("\x1b]2;{title}\x07");
            self.title = title;
        }
        let progress = progress(overview, now).filter(|_| self.progresses);
        let progress = progress.map(|progress| progress.to_string());
        if progress != self.progress {
            let gone = || TermProgress::remove().to_string();
            sequences += &progress.clone().unwrap_or_else(gone);
            self.progress = progress;
        }
        sequences
    }

    /// What takes it back.
    pub(super) fn clear(&mut self) -> String {
        let was = self.progress.take();
        was.map_or_else(String::new, |_| TermProgress::remove().to_string())
    }
}

/// `demo-api`, `✗2 demo-api`, `… demo-api`.
fn title(overview: &Overview) -> String {
    let project = sanitise::label(&overview.project);
    match overview.word() {
        Word::BuildFailed | Word::Crashed | Word::ConfigError => {
            let errors = overview.problems.errors;
            match errors {
                0 => format!("✗ {project}"),
                errors => format!("✗{errors} {project}"),
            }
        }
        Word::Starting | Word::Building | Word::HotRestart | Word::ColdRestart | Word::Stopping => {
            format!("… {project}")
        }
        Word::Serving | Word::Paused | Word::Idle => project,
    }
}

fn progress(overview: &Overview, now: Instant) -> Option<TermProgress> {
    match overview.word() {
        Word::Building => {
            let command = overview.commands.first();
            let part = command.and_then(|command| {
                let elapsed = now.saturating_duration_since(command.since);
                Some(elapsed.as_secs_f64() / command.median?.as_secs_f64().max(0.001))
            });
            Some(match part {
                // In steps that are seen, and never done before it is.
                Some(part) => {
                    let percent = (part * 20.0).floor().min(19.0) * 5.0;
                    TermProgress::start().percent(percent as u8)
                }
                None => TermProgress::start(),
            })
        }
        Word::BuildFailed | Word::Crashed => Some(TermProgress::error()),
        Word::Starting
        | Word::Serving
        | Word::HotRestart
        | Word::ColdRestart
        | Word::ConfigError
        | Word::Paused
        | Word::Idle
        | Word::Stopping => None,
    }
}
