//! What is known, as cells. Pure: the same scene gives the same cells.
//!
//! ```text
//! header      what is, since when, and how it came to be      3 rows, 2 below 16, 1 below 4
//! ─ top ───   what is under way, or what is wrong             as much as it needs, or three quarters of the rest
//! ─ log ───   what the server prints                          the rest
//! ─ history   the last cycles                                 7 rows, from 32 on
//! hints       what can be done                                1 row, from 8 on
//! ```
//!
//! Horizontal rules only, and nothing in front of a line: what a person selects with the mouse is clean text.

mod fit;
mod header;
mod history;
mod log;
mod overlay;
mod rows;
#[cfg(test)]
mod tests;
mod top;
mod words;

use std::num::NonZeroU16;
use std::path::Path;
use std::time::Instant;

use ratatui::buffer::{Buffer, CellDiffOption};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use fit::{Part, Placed, fit};
pub use top::Top;

use super::excerpts::Excerpts;
use super::keys::{Action, Keys};
use super::log::Log;
use super::prompt::{Prompt, Purpose};
use super::sanitise;
use super::ui::{Anchor, Context, Focus, Ui};
use crate::overview::{Overview, Word};

/// Everything that a frame shows.
pub struct Scene<'a> {
    /// What is known.
    pub overview: &'a Overview,
    /// What the server has printed.
    pub app: &'a Log,
    /// What the commands of the last cycle have printed.
    pub build: &'a Log,
    /// What a person has made of it.
    pub ui: &'a Ui,
    /// The source that problems point at.
    pub excerpts: &'a Excerpts,
    /// What keys mean.
    pub keys: &'a Keys,
    /// The settings that are in force.
    pub files: &'a [String],
    /// What a place in a file links to: with `{path}`, `{line}` and `{column}`.
    pub link: &'a str,
    /// How it is to look.
    pub look: Look,
    /// The present moment.
    pub now: Instant,
    /// Turns an instant into a time of day.
    pub clock: &'a dyn Fn(Instant) -> String,
}

/// How it is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// In colours.
    pub colours: bool,
    /// Without characters that an old font lacks.
    pub ascii: bool,
    /// Addresses can be clicked on.
    pub links: bool,
}

/// How much was to be seen, for keys that scroll by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Rows of the pane above the log.
    pub top: usize,
    /// Its first row that was to be seen.
    pub top_first: usize,
    /// How many rows of it do not fit.
    pub top_hidden: usize,
    /// Rows of the log.
    pub log: usize,
    /// Columns of the log.
    pub log_width: u16,
    /// Its first row.
    pub first: Option<Anchor>,
    /// Rows of what lies over the panes.
    pub overlay: usize,
    /// How many rows of it do not fit.
    pub overlay_hidden: usize,
}

impl Scene<'_> {
    /// Without a server, and before anything has served, what the commands print is what there is to see.
    fn shows_build(&self) -> bool {
        shows_build(self.overview, self.app)
    }

    /// What the pane below shows.
    pub fn main_log(&self) -> &Log {
        main_log(self.overview, self.app, self.build)
    }
}

/// What the pane below shows.
pub fn main_log<'a>(overview: &Overview, app: &'a Log, build: &'a Log) -> &'a Log {
    match shows_build(overview, app) {
        true => build,
        false => app,
    }
}

fn shows_build(overview: &Overview, app: &Log) -> bool {
    let status = &overview.status;
    !status.has_server || (app.is_empty() && status.serving.is_none() && status.swap.is_none())
}

/// Draws a scene.
pub fn draw(scene: &Scene<'_>, buffer: &mut Buffer) -> Room {
    let area = buffer.area;
    let mut room = Room::default();
    if area.is_empty() {
        return room;
    }
    if area.height < 4 || area.width < 24 {
        put_parts(buffer, area.y, fit(header::state(scene), " ", area.width));
    } else {
        draw_panes(scene, buffer, &mut room);
    }
    if !scene.look.colours {
        for cell in &mut buffer.content {
            (cell.fg, cell.bg) = (Color::Reset, Color::Reset);
        }
    }
    if scene.look.ascii {
        without_lines(buffer);
    }
    room
}

fn draw_panes(scene: &Scene<'_>, buffer: &mut Buffer, room: &mut Room) {
    let Rect { width, height, .. } = buffer.area;
    let header = if height < 16 { 2 } else { 3 };
    let rows = [header::state, header::build, header::world];
    for (y, row) in (0..header).zip(rows) {
        let placed = fit(row(scene), " · ", width);
        put_parts(buffer, y, placed.clone());
        if scene.look.links {
            link_parts(buffer, y, &placed);
        }
    }
    let hints = u16::from(height >= 8);
    if hints > 0 {
        bottom(scene, buffer, height - 1);
    }
    let history = if height >= 32 { 7 } else { 0 };
    let body = Rect::new(0, header, width, height - header - hints - history);
    if history > 0 {
        let area = Rect::new(0, body.bottom(), width, history);
        rule(scene, buffer, area.y, "history", false);
        put_rows(buffer, below(area), history::rows(scene, history - 1));
    }
    if let Some((overlay, from)) = scene.ui.overlay() {
        let (title, rows) = overlay::content(scene, overlay);
        rule(scene, buffer, body.y, &title, true);
        let area = below(body);
        room.overlay = usize::from(area.height);
        room.overlay_hidden = rows.len().saturating_sub(room.overlay);
        put_rows(
            buffer,
            area,
            rows.into_iter()
                .skip(from.min(room.overlay_hidden))
                .collect(),
        );
        return;
    }
    if let Some((chosen, rows)) = overlay::choices(scene) {
        rule(
            scene,
            buffer,
            body.y,
            "actions · enter does it, esc closes",
            true,
        );
        let area = below(body);
        let from = (chosen + 1).saturating_sub(usize::from(area.height));
        put_rows(buffer, area, rows.into_iter().skip(from).collect());
        return;
    }
    let (top, log) = panes(scene, body);
    if let Some((top, area)) = top {
        draw_top(scene, buffer, room, top, area);
    }
    if let Some(area) = log {
        rule(
            scene,
            buffer,
            area.y,
            &log::title(scene),
            scene.ui.focus(scene.overview) == Focus::Log,
        );
        let area = below(area);
        let visible = log::visible(scene, area.width, area.height);
        (room.log, room.log_width, room.first) =
            (usize::from(area.height), area.width, visible.first);
        put_rows(buffer, area, visible.rows);
    }
}

/// Where the panes are.
fn panes(scene: &Scene<'_>, body: Rect) -> (Option<(Top, Rect)>, Option<Rect>) {
    let Some(top) = scene.ui.top(scene.overview) else {
        return (None, Some(body));
    };
    if scene.ui.is_zoomed() {
        return match scene.ui.focus(scene.overview) {
            Focus::Top => (Some((top, body)), None),
            Focus::Log => (None, Some(body)),
        };
    }
    let wanted = match top.is_small() {
        true => {
            let rows = top::content(scene, top, body.width).rows.len();
            u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(1)
        }
        false => body.height - body.height / 4,
    };
    let height = wanted.min(body.height);
    // A title alone is no pane.
    let height = if body.height - height < 2 {
        body.height
    } else {
        height
    };
    let above = Rect { height, ..body };
    let rest = Rect::new(body.x, body.y + height, body.width, body.height - height);
    (Some((top, above)), (!rest.is_empty()).then_some(rest))
}

fn draw_top(scene: &Scene<'_>, buffer: &mut Buffer, room: &mut Room, top: Top, area: Rect) {
    let content = top::content(scene, top, area.width);
    rule(
        scene,
        buffer,
        area.y,
        &content.title,
        scene.ui.focus(scene.overview) == Focus::Top,
    );
    let area = below(area);
    let height = usize::from(area.height);
    let hidden = content.rows.len().saturating_sub(height);
    // Whatever is selected is seen from its first row on, and the first one with all that is above it.
    let chosen = content
        .problems
        .get(scene.ui.selected())
        .copied()
        .unwrap_or(0);
    let chosen = if scene.ui.selected() == 0 { 0 } else { chosen };
    let from = scene.ui.top_row().unwrap_or(chosen).min(hidden);
    (room.top, room.top_first, room.top_hidden) = (height, from, hidden);
    let rows = content.rows.into_iter().skip(from).take(height);
    put_rows(buffer, area, rows.collect());
    let seen = |row: &usize| (from..from + height).contains(row);
    for (row, place) in content
        .links
        .iter()
        .filter(|(row, _)| scene.look.links && seen(row))
    {
        let y = area.y + u16::try_from(row - from).unwrap_or(u16::MAX);
        link(buffer, area.x + place.column, y, &place.text, &place.to);
    }
}

/// The last row: what is being typed, what has just been done, or what can be done.
fn bottom(scene: &Scene<'_>, buffer: &mut Buffer, y: u16) {
    if let Some(prompt) = scene.ui.prompt() {
        typing(scene, buffer, y, prompt);
    } else if let Some(toast) = scene.ui.toast() {
        let style = Style::new().add_modifier(Modifier::REVERSED);
        put(
            buffer,
            0,
            y,
            vec![Span::styled(sanitise::label(toast), style)],
        );
    } else {
        let width = buffer.area.width;
        put_parts(buffer, y, fit(hints(scene), "  ", width));
    }
}

fn typing(scene: &Scene<'_>, buffer: &mut Buffer, y: u16, prompt: &Prompt) {
    let before = match prompt.purpose() {
        Purpose::Search => "/",
        Purpose::Filter => "\\",
        Purpose::Input => "stdin (ctrl-] ends)> ",
        Purpose::Palette(_) => ":",
    };
    let (left, right) = prompt.around_cursor();
    let width = usize::from(buffer.area.width);
    // What is being typed stays in sight.
    let room = width.saturating_sub(before.width() + 2);
    let hidden = left.width().saturating_sub(room);
    let left: String = left.chars().skip(hidden).collect();
    let under = right.chars().next().unwrap_or(' ').to_string();
    let rest = right.chars().skip(1).collect::<String>();
    let count = match (prompt.purpose(), scene.ui.find()) {
        (Purpose::Search | Purpose::Filter, Some(find)) => format!("  {} found", find.count()),
        _ => String::new(),
    };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let cursor = Style::new().add_modifier(Modifier::REVERSED);
    let dim = Style::new().add_modifier(Modifier::DIM);
    let spans = vec![
        Span::styled(before, bold),
        Span::raw(left),
        Span::styled(under, cursor),
        Span::raw(rest),
        Span::styled(count, dim),
    ];
    put(buffer, 0, y, rows::cut(spans, buffer.area.width));
}

/// What can be done now, the most useful first; what fits.
fn hints(scene: &Scene<'_>) -> Vec<Part> {
    use Action::*;
    let overview = scene.overview;
    let word = overview.word();
    let typing: &[(u8, &[Action])] = match word {
        Word::BuildFailed => &[
            (9, &[Open]),
            (8, &[Next, Previous]),
            (2, &[Summary]),
            (4, &[Log]),
            (7, &[Rebuild]),
            (5, &[Pause]),
            (3, &[Search]),
        ],
        Word::Crashed => &[(9, &[Rebuild]), (8, &[Open]), (4, &[Log]), (5, &[Pause])],
        Word::Starting
        | Word::Serving
        | Word::Building
        | Word::HotRestart
        | Word::ColdRestart
        | Word::ConfigError
        | Word::Paused
        | Word::Idle
        | Word::Stopping => &[
            (9, &[Rebuild]),
            (8, &[Restart]),
            (7, &[Pause]),
            (6, &[Problems]),
            (4, &[Log]),
            (5, &[Search]),
            (2, &[OpenUrl]),
        ],
    };
    let last: &[(u8, &[Action])] = &[(10, &[Help]), (11, &[Quit])];
    let part = |(weight, actions): &(u8, &[Action])| {
        let (weight, actions) = (*weight, *actions);
        if actions == [OpenUrl] && overview.url().is_none() {
            return None;
        }
        if actions == [Restart] && !overview.status.has_server {
            return None;
        }
        let mut text = scene.keys.hint(actions)?;
        let key = scene.keys.keys_of(actions[0]).first()?.to_string();
        if actions == [Open] && scene.ui.focus(overview) == Focus::Log {
            text = format!("{key} mark");
        }
        if word == Word::Crashed && actions == [Rebuild] {
            text = format!("{key} restart");
        }
        if overview.status.paused.is_some() && actions == [Pause] {
            text = format!("{key} resume");
        }
        let part = Part::new(weight, text, Style::new());
        let shortens = matches!(actions, [Rebuild | Restart | Pause]);
        Some(match shortens {
            true => part.or(key, Style::new()),
            false => part,
        })
    };
    typing.iter().chain(last).filter_map(part).collect()
}

// --- cells ---

/// Everything but the first row.
fn below(area: Rect) -> Rect {
    let title = area.height.min(1);
    Rect::new(area.x, area.y + title, area.width, area.height - title)
}

/// `─ title ─────`.
fn rule(scene: &Scene<'_>, buffer: &mut Buffer, y: u16, title: &str, focused: bool) {
    let width = buffer.area.width;
    let style = match focused && scene.ui.top(scene.overview).is_some() {
        true => Style::new().add_modifier(Modifier::BOLD),
        false => Style::new().add_modifier(Modifier::DIM),
    };
    let start = format!("─ {title} ");
    let rest = usize::from(width).saturating_sub(start.width());
    let spans = vec![
        Span::styled(start, style),
        Span::styled("─".repeat(rest), style),
    ];
    put(buffer, 0, y, rows::cut(spans, width));
}

fn put_rows(buffer: &mut Buffer, area: Rect, rows: Vec<Vec<Span<'static>>>) {
    for (y, row) in (area.top()..area.bottom()).zip(rows) {
        put(buffer, area.x, y, row);
    }
}

fn put_parts(buffer: &mut Buffer, y: u16, placed: Vec<Placed>) {
    for part in placed {
        put(buffer, part.column, y, part.spans);
    }
}

fn put(buffer: &mut Buffer, x: u16, y: u16, spans: Vec<Span<'static>>) {
    let area = buffer.area;
    if x < area.right() && y < area.bottom() {
        buffer.set_line(x, y, &Line::from(spans), area.width - x);
    }
}

/// Has the terminal open addresses that are clicked on.
fn link_parts(buffer: &mut Buffer, y: u16, placed: &[Placed]) {
    for part in placed {
        if let (Some(url), Some(first)) = (&part.link, part.spans.first()) {
            link(buffer, part.column, y, first.content.as_ref(), url);
        }
    }
}

/// Makes `text`, which stands there, a link. The whole of it goes out with the first cell.
fn link(buffer: &mut Buffer, x: u16, y: u16, text: &str, to: &str) {
    let width = u16::try_from(text.width()).unwrap_or(u16::MAX);
    let end = x.saturating_add(width);
    let fits = end <= buffer.area.width && y < buffer.area.height;
    let (true, Some(forced)) = (fits && text.is_ascii(), NonZeroU16::new(width)) else {
        return;
    };
    for x in x..end {
        buffer[(x, y)].set_diff_option(CellDiffOption::Skip);
    }
    let symbol = format!("\x1b]8;;{}\x1b\\{text}\x1b]8;;\x1b\\", address(to));
    buffer[(x, y)]
        .set_symbol(&symbol)
        .set_diff_option(CellDiffOption::ForcedWidth(forced));
}

/// What a place links to.
fn filled(template: &str, file: &Path, line: u32, column: u32) -> String {
    let mark = |c: char| match c {
        '%' | '#' | '?' => format!("%{:02X}", u32::from(c)),
        c => c.to_string(),
    };
    let path: String = file.to_string_lossy().chars().map(mark).collect();
    let filled = template.replace("{line}", &line.to_string());
    let filled = filled.replace("{column}", &column.to_string());
    filled.replace("{path}", &path)
}

/// Nothing that could end the sequence or begin another one.
fn address(url: &str) -> String {
    let printable = |c: char| match c.is_ascii_graphic() {
        true => c.to_string(),
        false => c
            .to_string()
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect(),
    };
    url.chars().map(printable).collect()
}

/// For terminals whose font has no lines.
fn without_lines(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        let plain = match cell.symbol() {
            "─" => "-",
            "│" => "|",
            "·" => "-",
            "→" => ">",
            "↓" => "v",
            "…" => "~",
            _ => continue,
        };
        cell.set_symbol(plain);
    }
}

// --- what is copied ---

/// What `y` copies: the problem in question, or what is to be seen of the log.
pub fn copied(scene: &Context<'_>, ui: &Ui, top: bool) -> String {
    let problems = ui.problems(scene.overview);
    match problems.list.get(ui.selected()).filter(|_| top) {
        Some(problem) => crate::diagnostics::location_line(problem).unwrap_or_default() + "\n",
        None => log::text(scene, ui),
    }
}

/// What `Y` copies: everything in the focused pane.
pub fn copied_pane(scene: &Context<'_>, ui: &Ui, top: bool) -> String {
    let overview = scene.overview;
    if !top {
        let lines = scene.log.lines(ui.cleared()..);
        return lines.map(|line| sanitise::text(line.raw) + "\n").collect();
    }
    match ui.top(overview) {
        Some(Top::Config) => overview
            .refused
            .iter()
            .map(|refused| refused.text.clone())
            .collect(),
        Some(Top::Exit) => {
            let last = overview.history.crashed.iter().flat_map(|down| &down.last);
            last.map(|line| sanitise::text(line.as_bytes()) + "\n")
                .collect()
        }
        Some(Top::Problems | Top::Build | Top::Restart) | None => {
            let lines = overview
                .problems
                .list
                .iter()
                .filter_map(crate::diagnostics::location_line);
            lines.map(|line| line + "\n").collect()
        }
    }
}

/// Where the first row of the log is when it is scrolled by so many rows.
pub fn scrolled(scene: &Context<'_>, ui: &Ui, by: isize) -> Option<Anchor> {
    log::scrolled(scene, ui, by)
}
