//! What a person has made of the screen: what is focused, where it is scrolled to, what is searched for.
//!
//! Pure. An [`Action`] changes it, or becomes something for others to [`Do`].

use std::time::{Duration, Instant};

use super::find::{Find, Pattern};
use super::keys::Action;
use super::log::{LineId, Log};
use super::prompt::{Prompt, Purpose};
use super::sanitise;
use super::view::{self, Scene, Top};
use crate::diagnostics::Problems;
use crate::overview::{Overview, Word};
use crate::supervisor::event::Request;

/// What somebody has asked for that the screen cannot do by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Do {
    /// Ask the supervisor.
    Ask(Request),
    /// Open the problem at this place in the list, from 0.
    Edit(usize),
    /// Show everything that was printed in the pager.
    Page(Printed),
    /// Hand this to the terminal's clipboard; so many lines.
    Copy(String, usize),
    /// Open this in the browser.
    Browse(String),
    /// Give this line to the server's stdin.
    Type(String),
    /// Close the server's stdin.
    CloseInput,
    /// Drop a mark into the log.
    Mark,
    /// Let the terminal tell of the mouse, or not.
    Mouse(bool),
    /// Stop until continued.
    Suspend,
    /// Draw everything anew.
    Redraw,
}

/// Who has printed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printed {
    /// The server, in all generations that are still known.
    App,
    /// The commands of the last cycle.
    Build,
}

/// One of the panes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// Above the log: what is wrong.
    Top,
    /// What the server prints.
    Log,
}

/// What lies over the panes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// All keys.
    Help,
    /// All addresses.
    Urls,
}

/// Which line of the log is the first one shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The line.
    pub line: LineId,
    /// Which of its rows, where it is wrapped.
    pub row: usize,
}

/// What a person has made of the screen.
pub struct Ui {
    focus: Focus,
    /// Somebody wants to see the problems, whatever is going on.
    wanted: bool,
    zoom: bool,
    summary: bool,
    overlay: Option<Overlay>,
    /// How far an overlay is scrolled.
    overlay_row: usize,
    /// The problem in question, from 0.
    selected: usize,
    /// The first row of the pane above the log; none follows what is selected.
    top_row: Option<usize>,
    /// The first line of the log; none follows what comes.
    anchor: Option<Anchor>,
    /// Where the end of the log was when it was last followed.
    seen: LineId,
    /// Lines before it are not shown.
    cleared: LineId,
    wrap_log: bool,
    wrap_problems: bool,
    mouse: bool,
    prompt: Option<Prompt>,
    find: Option<Find>,
    filters: bool,
    /// The match that was jumped to.
    found: Option<LineId>,
    toast: Option<(String, Instant)>,
    quit_at: Option<Instant>,
    /// How much of each pane was seen when it was drawn last.
    seen_rows: view::Room,
    word: Option<Word>,
}

impl Ui {
    /// As it is at the start.
    pub fn new(wrap_log: bool, wrap_problems: bool, mouse: bool) -> Ui {
        Ui {
            focus: Focus::Log,
            wanted: false,
            zoom: false,
            summary: false,
            overlay: None,
            overlay_row: 0,
            selected: 0,
            top_row: None,
            anchor: None,
            seen: LineId(0),
            cleared: LineId(0),
            wrap_log,
            wrap_problems,
            mouse,
            prompt: None,
            find: None,
            filters: false,
            found: None,
            toast: None,
            quit_at: None,
            seen_rows: view::Room::default(),
            word: None,
        }
    }

    // --- what is shown ---

    /// The pane above the log.
    pub fn top(&self, overview: &Overview) -> Option<Top> {
        Top::of(overview, self.wanted)
    }

    /// The pane that keys are for.
    pub fn focus(&self, overview: &Overview) -> Focus {
        match self.top(overview) {
            Some(_) => self.focus,
            None => Focus::Log,
        }
    }

    /// Whether the focused pane has all the room.
    pub fn is_zoomed(&self) -> bool {
        self.zoom
    }

    /// Whether each problem is shown in one row.
    pub fn is_summary(&self) -> bool {
        self.summary
    }

    /// What lies over the panes, and from which row on it is shown.
    pub fn overlay(&self) -> Option<(Overlay, usize)> {
        self.overlay.map(|overlay| (overlay, self.overlay_row))
    }

    /// The problems that keys are about: what a crash points at while that is shown, else what rules have found.
    pub fn problems<'a>(&self, overview: &'a Overview) -> &'a Problems {
        match self.top(overview) {
            Some(Top::Exit) => &overview.crash,
            Some(Top::Problems | Top::Build | Top::Restart | Top::Config) | None => {
                &overview.problems
            }
        }
    }

    /// The problem in question, from 0.
    pub fn selected(&self) -> usize {
        self.selected
    }

    /// The first row of the pane above the log; none follows what is selected.
    pub fn top_row(&self) -> Option<usize> {
        self.top_row
    }

    /// The first line of the log; none follows what comes.
    pub fn anchor(&self) -> Option<Anchor> {
        self.anchor
    }

    /// Lines before this one are not shown.
    pub fn cleared(&self) -> LineId {
        self.cleared
    }

    /// Whether long lines of the log are broken into rows.
    pub fn wraps_log(&self) -> bool {
        self.wrap_log
    }

    /// Whether long lines above the log are broken into rows.
    pub fn wraps_problems(&self) -> bool {
        self.wrap_problems
    }

    /// What is being typed.
    pub fn prompt(&self) -> Option<&Prompt> {
        self.prompt.as_ref()
    }

    /// What is searched for.
    pub fn find(&self) -> Option<&Find> {
        self.find.as_ref()
    }

    /// Whether only lines that match are shown.
    pub fn filters(&self) -> bool {
        self.filters && self.find.is_some()
    }

    /// The match that was jumped to.
    pub fn found(&self) -> Option<LineId> {
        self.found
    }

    /// A word on what has just been done.
    pub fn toast(&self) -> Option<&str> {
        self.toast.as_ref().map(|(text, _)| text.as_str())
    }

    /// When the screen looks different even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.toast.as_ref().map(|(_, until)| *until)
    }

    /// How the log is looked at, for the third row.
    pub fn flags(&self, scene: &Scene<'_>) -> Vec<String> {
        let mut flags = Vec::new();
        let log = scene.main_log();
        match self.anchor {
            None if self.top(scene.overview).is_none() => flags.push("follow".to_owned()),
            None => {}
            Some(_) => {
                let new = log.end().0.saturating_sub(self.seen.0);
                let new = (new > 0).then(|| format!(" ↓{new} new"));
                flags.push(format!("scrolled{}", new.unwrap_or_default()));
            }
        }
        if let Some(find) = &self.find {
            let word = if self.filters { "filter" } else { "search" };
            let typed = sanitise::label(find.pattern().typed());
            flags.push(format!("{word} /{typed}/ {}", find.count()));
        }
        if self.wrap_log {
            flags.push("wrap".to_owned());
        }
        if self.mouse {
            flags.push("mouse".to_owned());
        }
        flags
    }

    // --- what happens ---

    /// Before a frame is drawn: what has come since the last one. False: a search has not seen all of it yet, and goes on
    /// with the next frame.
    pub fn prepare(&mut self, overview: &Overview, log: &Log, now: Instant) -> bool {
        self.toast.take_if(|(_, until)| *until <= now);
        let word = overview.word();
        if self.word != Some(word) {
            let wrong = matches!(word, Word::BuildFailed | Word::Crashed | Word::ConfigError);
            if wrong {
                (self.focus, self.selected, self.top_row) = (Focus::Top, 0, None);
                // What went wrong now is shown instead of what somebody looked at before.
                self.wanted = false;
            } else if !self.wanted {
                self.focus = Focus::Log;
            }
            self.word = Some(word);
        }
        let problems = self.problems(overview).list.len();
        self.selected = self.selected.min(problems.saturating_sub(1));
        let found = self
            .find
            .as_mut()
            .is_none_or(|find| find.update(log, self.cleared));
        match &mut self.anchor {
            None => self.seen = log.end(),
            Some(anchor) if anchor.line < log.first() => {
                *anchor = Anchor {
                    line: log.first(),
                    row: 0,
                };
            }
            Some(_) => {}
        }
        found
    }

    /// How much of each pane was to be seen in the last frame.
    pub fn saw(&mut self, room: view::Room) {
        self.seen_rows = room;
    }

    /// Says something for a moment.
    pub fn say(&mut self, text: impl Into<String>, now: Instant) {
        self.toast = Some((text.into(), now + TOAST));
    }

    /// Text is typed or pasted into what is being asked for.
    pub fn typed(&mut self, text: &str, log: &Log) {
        if let Some(prompt) = &mut self.prompt {
            prompt.insert(text);
            self.look_for_what_is_asked(log);
        }
    }

    /// A key for what is being asked for. None: nothing is being asked for, it is a key like any other.
    pub fn prompt_key(
        &mut self,
        key: &ratatui::crossterm::event::KeyEvent,
        scene: &Context<'_>,
    ) -> Option<Vec<Do>> {
        use super::prompt::Step;
        let prompt = self.prompt.as_mut()?;
        match prompt.key(key) {
            Step::More => {
                self.look_for_what_is_asked(scene.log);
                Some(Vec::new())
            }
            Step::Cancelled => {
                let purpose = prompt.purpose();
                self.prompt = None;
                if let Purpose::Search | Purpose::Filter = purpose {
                    self.end_search();
                }
                Some(Vec::new())
            }
            Step::Closed => Some(vec![Do::CloseInput]),
            Step::Entered => {
                let (purpose, text) = (prompt.purpose(), prompt.take());
                Some(self.entered(purpose, text, scene))
            }
        }
    }

    /// What is searched for follows what stands in the prompt.
    fn look_for_what_is_asked(&mut self, log: &Log) {
        let Some(prompt) = &self.prompt else { return };
        if let Purpose::Search | Purpose::Filter = prompt.purpose() {
            let text = prompt.text().to_owned();
            let filters = prompt.purpose() == Purpose::Filter;
            self.look_for(&text, filters, log);
        }
    }

    fn entered(&mut self, purpose: Purpose, text: String, scene: &Context<'_>) -> Vec<Do> {
        match purpose {
            // It goes on until it is closed.
            Purpose::Input => vec![Do::Type(text)],
            Purpose::Search | Purpose::Filter => {
                self.prompt = None;
                if text.is_empty() {
                    self.end_search();
                } else if purpose == Purpose::Search {
                    self.jump(scene.log, Way::Back);
                }
                Vec::new()
            }
            Purpose::Palette(chosen) => {
                self.prompt = None;
                match super::prompt::palette(&text).get(chosen) {
                    Some(action) => self.act(*action, scene),
                    None => Vec::new(),
                }
            }
        }
    }

    /// An action, and what is left to be done about it.
    pub fn act(&mut self, action: Action, scene: &Context<'_>) -> Vec<Do> {
        let overview = scene.overview;
        if self.overlay.is_some() && self.act_on_overlay(action) {
            return Vec::new();
        }
        let top = self.focus(overview) == Focus::Top;
        match action {
            Action::Quit => return self.quit(scene.now).into_iter().collect(),
            Action::Rebuild => return vec![Do::Ask(Request::Build)],
            Action::Restart => return vec![Do::Ask(Request::Restart)],
            Action::Pause => {
                return vec![Do::Ask(match overview.status.paused {
                    Some(_) => Request::Resume,
                    None => Request::Pause,
                })];
            }
            Action::Stop => return vec![Do::Ask(Request::Stop)],
            Action::Input if !overview.status.has_server => {
                self.say("there is no server to type to", scene.now);
            }
            Action::Input => self.prompt = Some(Prompt::new(Purpose::Input)),
            Action::Problems => {
                (self.wanted, self.focus) = (true, Focus::Top);
            }
            Action::Log => {
                (self.wanted, self.focus) = (false, Focus::Log);
            }
            Action::NextPane => {
                self.focus = match self.focus(overview) {
                    Focus::Top => Focus::Log,
                    Focus::Log => Focus::Top,
                };
                // There is a pane to go to.
                self.wanted |= self.focus == Focus::Top && self.top(overview).is_none();
            }
            Action::Zoom => self.zoom = !self.zoom,
            Action::Summary => {
                self.summary = !self.summary;
                (self.wanted, self.focus, self.top_row) = (true, Focus::Top, None);
            }
            Action::Next | Action::Previous if self.find.is_some() => {
                let way = if action == Action::Next {
                    Way::On
                } else {
                    Way::Back
                };
                self.jump(scene.log, way);
            }
            Action::Next => self.select(self.selected + 1, overview),
            Action::Previous => self.select(self.selected.saturating_sub(1), overview),
            Action::Open if top && !self.problems(overview).list.is_empty() => {
                return vec![Do::Edit(self.selected)];
            }
            Action::Open => return vec![Do::Mark],
            Action::OpenNumber(digit) => {
                let place = usize::from(digit.number()) - 1;
                if place < self.problems(overview).list.len() {
                    self.select(place, overview);
                    return vec![Do::Edit(place)];
                }
                self.say(format!("there is no problem {}", digit.number()), scene.now);
            }
            Action::Search => {
                self.focus = Focus::Log;
                self.prompt = Some(Prompt::new(Purpose::Search));
            }
            Action::Filter => {
                self.focus = Focus::Log;
                self.prompt = Some(Prompt::new(Purpose::Filter));
            }
            Action::Cancel => self.cancel(),
            Action::Up => self.scroll(-1, top, scene),
            Action::Down => self.scroll(1, top, scene),
            Action::PageUp => self.scroll(-self.page(top), top, scene),
            Action::PageDown => self.scroll(self.page(top), top, scene),
            Action::HalfPageUp => self.scroll(-(self.page(top) / 2).max(1), top, scene),
            Action::HalfPageDown => self.scroll((self.page(top) / 2).max(1), top, scene),
            Action::Top if top => self.top_row = Some(0),
            Action::Top => {
                let line = scene.log.at_or_after(self.cleared);
                self.anchor = Some(Anchor { line, row: 0 });
            }
            Action::Bottom if top => self.top_row = Some(usize::MAX),
            Action::Bottom => self.anchor = None,
            Action::Follow => {
                self.anchor = match self.anchor {
                    None => self.seen_rows.first,
                    Some(_) => None,
                };
            }
            Action::Wrap if top => self.wrap_problems = !self.wrap_problems,
            Action::Wrap => self.wrap_log = !self.wrap_log,
            Action::Clear => {
                (self.cleared, self.anchor) = (scene.log.end(), None);
            }
            Action::Copy | Action::CopyAll => {
                let copied = match action == Action::Copy {
                    true => view::copied(scene, self, top),
                    false => view::copied_pane(scene, self, top),
                };
                let lines = copied.lines().count();
                match lines {
                    0 => self.say("there is nothing to copy", scene.now),
                    _ => return vec![Do::Copy(copied, lines)],
                }
            }
            Action::Pager => {
                let printed = match top || !overview.status.has_server {
                    true => Printed::Build,
                    false => Printed::App,
                };
                return vec![Do::Page(printed)];
            }
            Action::OpenUrl => match overview.url() {
                Some(url) => return vec![Do::Browse(url.to_owned())],
                None => self.say("no address is known that a browser could open", scene.now),
            },
            Action::Urls => self.show(Overlay::Urls),
            Action::Mouse => {
                self.mouse = !self.mouse;
                return vec![Do::Mouse(self.mouse)];
            }
            Action::Palette => self.prompt = Some(Prompt::new(Purpose::Palette(0))),
            Action::Help => self.show(Overlay::Help),
            Action::Suspend => return vec![Do::Suspend],
            Action::Redraw => return vec![Do::Redraw],
        }
        Vec::new()
    }

    /// Whether the action was for what lies over the panes.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whatever it does not know closes it"
    )]
    fn act_on_overlay(&mut self, action: Action) -> bool {
        let page = self.seen_rows.overlay.max(1);
        let row = &mut self.overlay_row;
        match action {
            Action::Up => *row = row.saturating_sub(1),
            Action::Down => *row += 1,
            Action::PageUp | Action::HalfPageUp => *row = row.saturating_sub(page),
            Action::PageDown | Action::HalfPageDown => *row += page,
            Action::Top => *row = 0,
            Action::Bottom => *row = usize::MAX / 2,
            Action::Cancel | Action::Help | Action::Urls | Action::Open => self.overlay = None,
            Action::Quit | Action::Suspend | Action::Redraw => return false,
            _ => {
                self.overlay = None;
                return false;
            }
        }
        self.overlay_row = self.overlay_row.min(self.seen_rows.overlay_hidden);
        true
    }

    fn show(&mut self, overlay: Overlay) {
        (self.overlay, self.overlay_row) = (Some(overlay), 0);
    }

    fn quit(&mut self, now: Instant) -> Option<Do> {
        let again = self.quit_at.replace(now);
        let in_a_hurry = |at: Instant| now.saturating_duration_since(at) <= QUIT_TWICE;
        // Asked once more after a while is asked once: the first may be under way still, and nobody is in a hurry.
        if again.is_some_and(|at| !in_a_hurry(at)) {
            self.say("still stopping; once more to kill", now);
            return None;
        }
        Some(Do::Ask(Request::Quit { code: 0 }))
    }

    fn select(&mut self, place: usize, overview: &Overview) {
        let problems = self.problems(overview).list.len();
        if problems == 0 {
            return;
        }
        self.selected = place.min(problems - 1);
        (self.focus, self.top_row) = (Focus::Top, None);
        self.wanted |= self.top(overview).is_none();
    }

    fn cancel(&mut self) {
        if self.find.is_some() {
            self.end_search();
        } else if self.zoom {
            self.zoom = false;
        } else {
            (self.wanted, self.summary) = (false, false);
        }
    }

    fn look_for(&mut self, typed: &str, filters: bool, log: &Log) {
        self.find = Pattern::new(typed).map(|pattern| {
            let mut find = Find::new(pattern);
            find.update(log, self.cleared);
            find
        });
        (self.filters, self.found) = (filters, None);
        if filters {
            self.anchor = None;
        }
    }

    fn end_search(&mut self) {
        (self.find, self.filters, self.found) = (None, false, None);
    }

    /// Goes to the next match in one direction, or to the first one from the end.
    fn jump(&mut self, log: &Log, way: Way) {
        let Some(find) = &self.find else { return };
        let from = self.found;
        let next = match (way, from) {
            (Way::On, Some(from)) => find.next(from),
            (Way::Back, Some(from)) => find.previous(from),
            (_, None) => find.previous(log.end()),
        };
        let Some(line) = next else { return };
        self.found = Some(line);
        if self.filters {
            self.anchor = Some(Anchor { line, row: 0 });
            return;
        }
        // With some of what led to it above.
        let above = self.seen_rows.log / 3;
        let before = log.lines(self.cleared..line).rev().take(above);
        let first = before.last().map_or(line, |line| line.id);
        self.anchor = Some(Anchor {
            line: first.max(self.cleared),
            row: 0,
        });
    }

    fn page(&self, top: bool) -> isize {
        let rows = match top {
            true => self.seen_rows.top,
            false => self.seen_rows.log,
        };
        isize::try_from(rows).unwrap_or(isize::MAX).max(2) - 1
    }

    fn scroll(&mut self, rows: isize, top: bool, scene: &Context<'_>) {
        if top {
            let from = self.seen_rows.top_first;
            let to = from.saturating_add_signed(rows);
            self.top_row = Some(to.min(self.seen_rows.top_hidden));
            return;
        }
        self.anchor = view::scrolled(scene, self, rows);
    }

    /// What was to be seen of the panes in the last frame.
    pub fn room(&self) -> &view::Room {
        &self.seen_rows
    }
}

/// What an action may look at.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// What is known.
    pub overview: &'a Overview,
    /// What is shown below.
    pub log: &'a Log,
    /// The present moment.
    pub now: Instant,
}

#[derive(Clone, Copy)]
enum Way {
    On,
    Back,
}

/// How long a word on what has been done stays.
const TOAST: Duration = Duration::from_secs(3);
/// Two requests to quit this close to each other mean: now.
const QUIT_TWICE: Duration = Duration::from_secs(2);
