//! The pane below: what the server has printed.

use std::ops::Range;

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;
use unicode_width::UnicodeWidthStr as _;

use super::{Scene, rows};
use crate::overview::Word;
use crate::screen::find::Find;
use crate::screen::log::{Kind, LineId, LineRef, Log};
use crate::screen::sanitise;
use crate::screen::ui::{Anchor, Context, Ui};
use crate::supervisor::status::Freshness;

type Row = Vec<Span<'static>>;

/// As in the plain output.
const OWN_START: &str = "devwatch: ";

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const OWN: Style = Style::new().fg(Color::Cyan);
const MARK: Style = Style::new().fg(Color::Magenta).add_modifier(Modifier::BOLD);

/// What is to be seen of the log.
pub(super) struct Visible {
    pub(super) rows: Vec<Row>,
    pub(super) first: Option<Anchor>,
}

/// What the pane is called.
pub(super) fn title(scene: &Scene<'_>) -> String {
    let status = &scene.overview.status;
    if scene.shows_build() {
        let number = status.attempt.as_ref().map(|attempt| attempt.build);
        let last = || scene.overview.history.cycles.front().map(|past| past.build);
        return match number.or_else(last) {
            Some(number) => format!("build output · #{number}"),
            None => "build output".to_owned(),
        };
    }
    let newest = status.swap.and_then(|swap| swap.new).or(status.serving);
    let down = || match &scene.overview.history.trouble {
        Some(crate::history::Trouble::Down(down)) => Some(down.generation),
        Some(crate::history::Trouble::Failed) | None => None,
    };
    let Some(generation) = newest.map(|process| process.generation).or_else(down) else {
        return "app log".to_owned();
    };
    let suffix = match (scene.overview.word(), status.freshness) {
        (Word::Building, Freshness::Fresh | Freshness::Stale(_)) => " still serving",
        (Word::BuildFailed | Word::Crashed, Freshness::Stale(_)) => " still serving (STALE)",
        (Word::Crashed, Freshness::NotServing) => " (last lines)",
        _ => "",
    };
    format!("app log · gen {generation}{suffix}")
}

/// The rows that fit into a pane of this size.
pub(super) fn visible(scene: &Scene<'_>, width: u16, height: u16) -> Visible {
    let (log, ui) = (scene.main_log(), scene.ui);
    let height = usize::from(height);
    let line_rows = |line: &LineRef<'_>| {
        let mut spans = spans(scene, line, width);
        if let Some(find) = ui
            .find()
            .filter(|_| matches!(line.kind, Kind::Out | Kind::Err))
        {
            spans = marked(spans, find, ui.found() == Some(line.id));
        }
        match wraps(ui, line) {
            true => rows::wrap(&spans, width),
            false => vec![rows::cut(spans, width)],
        }
    };
    let mut seen = Vec::new();
    if let Some(anchor) = ui.anchor() {
        let mut skip = anchor.row;
        let mut first = None;
        for line in shown(log, ui, anchor.line..log.end()) {
            if seen.len() >= height {
                break;
            }
            first.get_or_insert(Anchor {
                line: line.id,
                row: skip,
            });
            seen.extend(line_rows(&line).into_iter().skip(std::mem::take(&mut skip)));
        }
        seen.truncate(height);
        return Visible { rows: seen, first };
    }
    let mut first = None;
    for line in shown(log, ui, ui.cleared()..log.end()).rev() {
        if seen.len() >= height {
            break;
        }
        let rows = line_rows(&line);
        let above = (seen.len() + rows.len()).saturating_sub(height);
        first = Some(Anchor {
            line: line.id,
            row: above,
        });
        seen.extend(rows.into_iter().rev());
    }
    seen.truncate(height);
    seen.reverse();
    Visible { rows: seen, first }
}

/// Where the first row is when the log is scrolled by so many rows. None: at the end, with what comes.
pub(super) fn scrolled(scene: &Context<'_>, ui: &Ui, by: isize) -> Option<Anchor> {
    let log = scene.log;
    let room = ui.room();
    let rows_of = |line: &LineRef<'_>| match wraps(ui, line) {
        true => rows::wrap(&text_of(line), room.log_width).len(),
        false => 1,
    };
    let from = ui.anchor().or(room.first)?;
    let mut left = by.unsigned_abs();
    if by < 0 {
        if from.row >= left {
            return Some(Anchor {
                line: from.line,
                row: from.row - left,
            });
        }
        left -= from.row;
        let mut to = Anchor {
            line: from.line,
            row: 0,
        };
        for line in shown(log, ui, ui.cleared()..from.line).rev() {
            let rows = rows_of(&line);
            to = Anchor {
                line: line.id,
                row: rows.saturating_sub(left),
            };
            if rows >= left {
                return Some(to);
            }
            left -= rows;
        }
        return Some(Anchor { row: 0, ..to });
    }
    left += from.row;
    let mut to = None;
    // How many rows there are from there on decides whether that is the end.
    let mut below = 0;
    for line in shown(log, ui, from.line..log.end()) {
        let rows = rows_of(&line);
        match to {
            None if rows > left => {
                to = Some(Anchor {
                    line: line.id,
                    row: left,
                });
                below = rows - left;
            }
            None => left -= rows,
            Some(_) => below += rows,
        }
        if below > room.log {
            return to;
        }
    }
    None
}

/// What devwatch says is to be read whole.
fn wraps(ui: &Ui, line: &LineRef<'_>) -> bool {
    ui.wraps_log() || line.kind == Kind::Own
}

/// A line as wide as it is shown.
fn text_of(line: &LineRef<'_>) -> Row {
    let start = if line.kind == Kind::Own {
        OWN_START
    } else {
        ""
    };
    let note = line.note().unwrap_or_default();
    vec![Span::raw(format!(
        "{start}{}{note}",
        sanitise::text(line.raw)
    ))]
}

/// The text of what is to be seen, without colours.
pub(super) fn text(scene: &Context<'_>, ui: &Ui) -> String {
    let from = ui
        .anchor()
        .or(ui.room().first)
        .map_or(ui.cleared(), |anchor| anchor.line);
    let lines = shown(scene.log, ui, from..scene.log.end()).take(ui.room().log);
    lines.map(|line| sanitise::text(line.raw) + "\n").collect()
}

/// The lines that are shown at all.
fn shown<'a>(
    log: &'a Log,
    ui: &'a Ui,
    range: Range<LineId>,
) -> Box<dyn DoubleEndedIterator<Item = LineRef<'a>> + 'a> {
    let Some(find) = ui.find().filter(|_| ui.filters()) else {
        return Box::new(log.lines(range));
    };
    let matches = find.matches();
    let from = matches.partition_point(|id| *id < range.start.max(ui.cleared()));
    let to = matches.partition_point(|id| *id < range.end);
    let lines = matches[from..to.max(from)].iter();
    Box::new(lines.filter_map(|id| log.lines(*id..).next()))
}

fn spans(scene: &Scene<'_>, line: &LineRef<'_>, width: u16) -> Row {
    match line.kind {
        Kind::Out | Kind::Err => {
            let mut spans = sanitise::spans(line.raw, scene.look.colours);
            spans.extend(line.note().map(|note| Span::styled(note, DIM)));
            spans
        }
        Kind::Own => vec![Span::styled(
            format!("{OWN_START}{}", sanitise::text(line.raw)),
            OWN,
        )],
        Kind::Mark => {
            let text = format!("── {} ", sanitise::text(line.raw));
            let rest = usize::from(width).saturating_sub(text.width());
            vec![Span::styled(format!("{text}{}", "─".repeat(rest)), MARK)]
        }
        Kind::Dropped => vec![Span::styled(sanitise::text(line.raw), DIM)],
    }
}

/// `spans` with what was searched for in them.
fn marked(spans: Row, find: &Find, found: bool) -> Row {
    let text: String = spans.iter().map(|span| span.content.as_ref()).collect();
    let ranges = find.ranges(&text);
    if ranges.is_empty() {
        return spans;
    }
    let highlight = match found {
        true => Style::new().bg(Color::Yellow).fg(Color::Black),
        false => Style::new().add_modifier(Modifier::REVERSED),
    };
    let mut marked = Vec::new();
    let mut start = 0;
    for span in spans {
        let end = start + span.content.len();
        let mut at = start;
        for range in ranges
            .iter()
            .filter(|range| range.start < end && range.end > start)
        {
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from > at {
                marked.push(Span::styled(text[at..from].to_owned(), span.style));
            }
            marked.push(Span::styled(
                text[from..to].to_owned(),
                span.style.patch(highlight),
            ));
            at = to;
        }
        if at < end {
            marked.push(Span::styled(text[at..end].to_owned(), span.style));
        }
        start = end;
    }
    marked
}
