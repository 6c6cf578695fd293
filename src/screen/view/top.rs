//! The pane above the log: what is under way, or what is wrong.

use std::path::Path;
use std::time::Duration;

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use super::words::{count, lasted, quick, so_far, took};
use super::{Scene, rows};
use crate::diagnostics::{Problem, Problems, Severity};
use crate::history::{Down, Trouble};
use crate::overview::{Overview, Running, Word};
use crate::screen::keys::Action;
use crate::screen::sanitise;
use crate::supervisor::event::{Exit, RestartKind, Retry};
use crate::supervisor::status::{Parting, Process, Swap, Told};

/// A line before it is fitted into the pane.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    spans: Vec<Span<'static>>,
    /// Source is cut where the pane ends: broken into rows, the caret would stand under nothing.
    source: bool,
    link: Option<Link>,
}

impl From<Vec<Span<'static>>> for Entry {
    fn from(spans: Vec<Span<'static>>) -> Entry {
        Entry {
            spans,
            ..Entry::default()
        }
    }
}

type Row = Vec<Span<'static>>;

const PLAIN: Style = Style::new();
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const WARN: Style = Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD);
const GOOD: Style = Style::new().fg(Color::Green);

/// What the pane above the log shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Top {
    /// The commands that run.
    Build,
    /// What rules have found.
    Problems,
    /// A generation gives way to another.
    Restart,
    /// How a generation went down.
    Exit,
    /// Why the config is not in force.
    Config,
}

impl Top {
    /// What an overview asks for. `wanted`: somebody wants to see the problems.
    pub fn of(overview: &Overview, wanted: bool) -> Option<Top> {
        if wanted {
            let crashed = overview.problems.list.is_empty() && overview.history.crashed.is_some();
            let failed = overview.word() == Word::BuildFailed;
            return Some(if crashed && !failed {
                Top::Exit
            } else {
                Top::Problems
            });
        }
        match overview.word() {
            Word::Building if overview.commands.is_empty() => None,
            Word::Building => Some(Top::Build),
            Word::BuildFailed => Some(Top::Problems),
            Word::HotRestart | Word::ColdRestart => Some(Top::Restart),
            Word::Crashed => Some(Top::Exit),
            Word::ConfigError => Some(Top::Config),
            Word::Starting | Word::Serving | Word::Paused | Word::Idle | Word::Stopping => None,
        }
    }

    /// Whether it is as high as what it holds, instead of taking what room there is.
    pub fn is_small(self) -> bool {
        match self {
            Top::Build | Top::Restart => true,
            Top::Problems | Top::Exit | Top::Config => false,
        }
    }
}

/// What the pane holds.
pub(super) struct Content {
    pub(super) title: String,
    /// Broken into rows already.
    pub(super) rows: Vec<Row>,
    /// At which row each problem begins.
    pub(super) problems: Vec<usize>,
    /// Rows in which a place can be clicked on.
    pub(super) links: Vec<(usize, Link)>,
}

/// A place in a row that can be clicked on.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) column: u16,
    pub(super) text: String,
    pub(super) to: String,
}

/// What `top` shows of a scene, for a pane of this width.
pub(super) fn content(scene: &Scene<'_>, top: Top, width: u16) -> Content {
    let Unfitted {
        title,
        entries,
        mut problems,
    } = match top {
        Top::Build => build(scene),
        Top::Problems => problems(scene, width),
        Top::Restart => restart(scene),
        Top::Exit => exit(scene, width),
        Top::Config => config(scene),
    };
    let wraps = scene.ui.wraps_problems() && !top.is_small();
    let mut starts = Vec::with_capacity(entries.len() + 1);
    let mut rows = Vec::with_capacity(entries.len());
    let mut links = Vec::new();
    for Entry {
        spans,
        source,
        link,
    } in entries
    {
        starts.push(rows.len());
        links.extend(link.map(|link| (rows.len(), link)));
        match wraps && !source {
            true => rows.append(&mut rows::wrap(&spans, width)),
            false => rows.push(spans),
        }
    }
    problems.iter_mut().for_each(|row| *row = starts[*row]);
    Content {
        title,
        rows,
        problems,
        links,
    }
}

/// What a pane holds, whatever its width.
struct Unfitted {
    title: String,
    entries: Vec<Entry>,
    /// At which entry each problem begins.
    problems: Vec<usize>,
}

fn build(scene: &Scene<'_>) -> Unfitted {
    let overview = scene.overview;
    let number = overview
        .status
        .attempt
        .as_ref()
        .map_or(0, |attempt| attempt.build);
    let commands = &overview.commands;
    let what = match commands.as_slice() {
        [only] => sanitise::label(&only.command),
        several => count(several.len(), "rule"),
    };
    // Until this build has printed anything, the last line is that of the one before.
    let last = scene.build.lines(..).next_back();
    let last = last.filter(|line| line.generation == number);
    let last = last.map(|line| sanitise::text(line.raw));
    let rows = commands
        .iter()
        .map(|command| progress(scene, command, commands.len() > 1, last.as_deref()).into())
        .collect();
    Unfitted {
        title: format!("build #{number} · {what}"),
        entries: rows,
        problems: Vec::new(),
    }
}

/// `████░░░  0.8s / ~1.2s  65%  what it printed last`.
fn progress(scene: &Scene<'_>, command: &Running, named: bool, last: Option<&str>) -> Row {
    let elapsed = scene.now.saturating_duration_since(command.since);
    let mut row = Vec::new();
    match command.median {
        Some(median) => {
            let part = elapsed.as_secs_f64() / median.as_secs_f64().max(0.001);
            let filled = (part.min(MOST_SHOWN) * BAR as f64).round() as usize;
            let (full, empty) = if scene.look.ascii {
                ('#', '.')
            } else {
                ('█', '░')
            };
            row.push(Span::styled(full.to_string().repeat(filled), GOOD));
            row.push(Span::styled(empty.to_string().repeat(BAR - filled), DIM));
            row.push(Span::raw(if part <= MOST_SHOWN {
                let (elapsed, median) = (so_far(elapsed), so_far(median));
                format!("  {elapsed} / ~{median}  {:.0}%", part * 100.0)
            } else {
                let over = ((part - 1.0) * 100.0).max(0.0);
                let (elapsed, median) = (so_far(elapsed), so_far(median));
                format!("  {elapsed} (median {median}, +{over:.0}%)")
            }));
        }
        None => row.push(Span::raw(format!("running {}", so_far(elapsed)))),
    }
    if named {
        row.push(Span::raw(format!("  {}", sanitise::label(&command.rule))));
    } else if let Some(last) = last {
        row.push(Span::styled(format!("  {last}"), DIM));
    }
    row
}

fn problems(scene: &Scene<'_>, width: u16) -> Unfitted {
    let overview = scene.overview;
    let found = &overview.problems;
    let build = overview.history.cycles.front().map_or(0, |past| past.build);
    let mut content = Unfitted {
        title: format!("problems · {} · build #{build}", tally(found)),
        entries: Vec::new(),
        problems: Vec::new(),
    };
    let rows = &mut content.entries;
    for (place, problem) in found.list.iter().enumerate() {
        content.problems.push(rows.len());
        let selected = place == scene.ui.selected();
        problem_rows(scene, rows, problem, place + 1, selected, width);
    }
    if found.left_out() > 0 {
        rows.push(vec![Span::styled(format!("   … {} more", found.left_out()), DIM)].into());
    }
    if found.list.is_empty() {
        // What failed said nothing that could be understood: then it has to speak for itself.
        if overview.word() == Word::BuildFailed {
            content.title = format!("build #{build} · output");
            let lines = scene.build.lines(..).rev().take(OUTPUT_LINES);
            rows.extend(lines.map(|line| Entry::from(sanitise::spans(line.raw, true))));
            rows.reverse();
            rows.extend(
                scene
                    .failure()
                    .map(|why| Entry::from(vec![Span::styled(why, BAD)])),
            );
        } else {
            rows.push(vec![Span::styled("nothing is known to be wrong", DIM)].into());
        }
    }
    content
}

/// `2 errors, 1 warning`.
fn tally(problems: &Problems) -> String {
    let counts = [
        (problems.errors, "error"),
        (problems.warnings, "warning"),
        (problems.infos, "note"),
    ];
    let counts = counts.into_iter().filter(|(number, _)| *number > 0);
    let counts: Vec<String> = counts.map(|(number, noun)| count(number, noun)).collect();
    match counts.is_empty() {
        true => "none".to_owned(),
        false => counts.join(", "),
    }
}

fn problem_rows(
    scene: &Scene<'_>,
    rows: &mut Vec<Entry>,
    problem: &Problem,
    number: usize,
    selected: bool,
    width: u16,
) {
    let (word, style) = match problem.severity {
        Severity::Error => ("error", BAD),
        Severity::Warning => ("warn", WARN),
        Severity::Info => ("info", DIM),
    };
    let column = problem
        .column
        .map(|column| format!(":{column}"))
        .unwrap_or_default();
    let path = within(problem, &scene.overview.root);
    let place = format!("{path}:{}{column}", problem.line);
    let mut message = sanitise::label(&problem.message);
    if let Some(code) = &problem.code {
        message += &format!(" [{}]", sanitise::label(code));
    }
    let weight = if selected {
        Modifier::BOLD
    } else {
        Modifier::empty()
    };
    let text = PLAIN.add_modifier(weight);
    let summary = scene.ui.is_summary();
    let number = Span::styled(format!("{number:>2} "), if selected { text } else { DIM });
    let word = Span::styled(format!("{word:<5}  "), style);
    if width < NARROW {
        rows.push(vec![number, word, Span::styled(message, text)].into());
        if !summary {
            rows.push(vec![Span::styled(format!("   {place}"), DIM)].into());
        }
    } else {
        let link = problem.file.as_ref().map(|file| Link {
            column: u16::try_from(number.width() + word.width()).unwrap_or(u16::MAX),
            text: place.clone(),
            to: super::filled(scene.link, file, problem.line, problem.column.unwrap_or(1)),
        });
        rows.push(Entry {
            spans: vec![
                number,
                word,
                Span::styled(place, text),
                Span::styled(format!("    {message}"), text),
            ],
            link,
            source: false,
        });
    }
    if summary {
        return;
    }
    let worth_it = selected || problem.severity == Severity::Error;
    if let Some(excerpt) = scene.excerpts.of(problem).filter(|_| worth_it) {
        let bar = if scene.look.ascii { '|' } else { '│' };
        let mut line = |number: Option<u32>, text: &str, style: Style| {
            let number = number.map(|number| number.to_string()).unwrap_or_default();
            rows.push(Entry {
                spans: vec![
                    Span::styled(format!("{number:>5} {bar} "), DIM),
                    Span::styled(text.to_owned(), style),
                ],
                source: true,
                link: None,
            });
        };
        if let Some(before) = excerpt.before.as_ref().filter(|_| selected) {
            line(Some(problem.line - 1), before, PLAIN);
        }
        line(Some(problem.line), &excerpt.line, PLAIN);
        if let Some(caret) = excerpt.caret(problem) {
            line(None, &format!("{}^", " ".repeat(caret)), style);
        }
    }
    if worth_it {
        rows.push(Entry::default());
    }
}

/// The file as people in the project call it, wherever its tool ran.
fn within(problem: &Problem, root: &Path) -> String {
    let file = problem
        .file
        .as_ref()
        .and_then(|file| file.strip_prefix(root).ok());
    match file {
        Some(file) => sanitise::label(&file.to_string_lossy()),
        None => sanitise::label(&problem.path),
    }
}

fn restart(scene: &Scene<'_>) -> Unfitted {
    let overview = scene.overview;
    let Some(swap) = overview.status.swap else {
        return Unfitted {
            title: String::new(),
            entries: Vec::new(),
            problems: Vec::new(),
        };
    };
    let number = overview.history.hot + overview.history.cold + 1;
    let how = match swap.kind {
        Some(RestartKind::Hot(_)) => format!("hot · {}", overview.method),
        Some(RestartKind::Hold) => "cold · requests wait".to_owned(),
        Some(RestartKind::Cold) | None => "cold".to_owned(),
    };
    let old = swap.old.map(|old| parting(scene, &old));
    let new = match &swap.new {
        Some(new) => coming(scene, &swap, new),
        None => vec![Span::styled(
            "the next one starts when nothing of it is left",
            DIM,
        )],
    };
    Unfitted {
        title: format!("restart #{number} {how}"),
        entries: old.into_iter().chain([new]).map(Entry::from).collect(),
        problems: Vec::new(),
    }
}

/// `gen 17 pid 48213  draining   3 conns left   2.1s / 10s`.
fn parting(scene: &Scene<'_>, old: &Parting) -> Row {
    let pid = old.pid.map(|pid| format!(" pid {pid}")).unwrap_or_default();
    let (word, style) = match old.told {
        Told::Serving => ("serving", GOOD),
        Told::Draining => ("draining", PLAIN),
        Told::Stopping => ("stopping", PLAIN),
        Told::Killed => ("killed", BAD),
    };
    let left = scene.overview.connections;
    let left = match old.told {
        Told::Draining => format!("{} left   ", count(left, "conn")),
        Told::Serving | Told::Stopping | Told::Killed => String::new(),
    };
    let time = old.until.map(|until| {
        let since = so_far(scene.now.saturating_duration_since(old.since));
        format!(
            "{since} / {}",
            limit(until.saturating_duration_since(old.since))
        )
    });
    vec![
        Span::raw(format!("gen {}{pid}  ", old.generation)),
        Span::styled(format!("{word:<8}   "), style),
        Span::raw(format!("{left}{}", time.unwrap_or_default())),
    ]
}

/// `10s`, `1.5s`.
fn limit(limit: Duration) -> String {
    match limit.subsec_millis() {
        0 => lasted(limit),
        _ => so_far(limit),
    }
}

/// `gen 18 pid 48390  ready 86ms  accepting`.
fn coming(scene: &Scene<'_>, swap: &Swap, new: &Process) -> Row {
    let pid = new.pid.map(|pid| format!(" pid {pid}")).unwrap_or_default();
    let name = Span::raw(format!("gen {}{pid}  ", new.generation));
    match new.ready_at {
        Some(ready) => {
            let after = quick(ready.saturating_duration_since(swap.asked_at));
            let accepting = Span::styled("accepting", GOOD);
            vec![name, Span::raw(format!("ready {after}  ")), accepting]
        }
        None => {
            let since = so_far(scene.now.saturating_duration_since(new.started_at));
            vec![name, Span::raw(format!("starting {since}"))]
        }
    }
}

fn exit(scene: &Scene<'_>, width: u16) -> Unfitted {
    let history = &scene.overview.history;
    let (down, gone) = match (&history.trouble, &history.crashed) {
        (Some(Trouble::Down(down)), _) => (down, true),
        (_, Some(down)) => (down, false),
        (_, None) => return problems(scene, width),
    };
    let after = down.lived.map(|lived| format!(" after {}", so_far(lived)));
    let how = match (&down.reason, down.exit) {
        (Some(reason), _) => sanitise::label(reason),
        (None, Some(Exit::Code(code))) => format!("exit status {code}"),
        (None, Some(exit)) => exit.to_string(),
        (None, None) => "gone".to_owned(),
    };
    let follows = match gone {
        true => what_follows(scene, down),
        false => "started again since".to_owned(),
    };
    let mut content = Unfitted {
        title: format!(
            "exit · gen {} · {how}{} · {follows}",
            down.generation,
            after.unwrap_or_default()
        ),
        entries: Vec::new(),
        problems: Vec::new(),
    };
    let lines = down.last.iter();
    let mut lines = lines.map(|line| Entry::from(sanitise::spans(line.as_bytes(), true)));
    content.entries.extend(lines.next());
    for (place, problem) in scene.overview.crash.list.iter().enumerate() {
        content.problems.push(content.entries.len());
        problem_rows(
            scene,
            &mut content.entries,
            problem,
            place + 1,
            false,
            width,
        );
        // What went on is right below, without a gap.
        if content
            .entries
            .last()
            .is_some_and(|entry| entry.spans.is_empty())
        {
            content.entries.pop();
        }
    }
    content.entries.extend(lines);
    content
}

fn what_follows(scene: &Scene<'_>, down: &Down) -> String {
    let restart = scene.keys.keys_of(Action::Rebuild);
    let restart = restart.first();
    match (down.retry, down.serving) {
        (Retry::In(delay), _) => format!("starting again in {}", so_far(delay)),
        (Retry::LastGood, _) => "starting the last good build".to_owned(),
        (Retry::OnChange, Some(serving)) => format!("gen {serving} still serves"),
        (Retry::OnChange, None) => match restart {
            Some(key) => format!("waiting for a change ({key} to restart)"),
            None => "waiting for a change".to_owned(),
        },
    }
}

fn config(scene: &Scene<'_>) -> Unfitted {
    let refused = scene.overview.refused.as_ref();
    let file = refused.map_or_else(String::new, |refused| sanitise::label(&refused.file));
    let lines = refused.iter().flat_map(|refused| refused.text.lines());
    let rows = lines
        .map(|line| Entry::from(sanitise::spans(line.as_bytes(), true)))
        .collect();
    Unfitted {
        title: format!("{file} · not applied, old config in force"),
        entries: rows,
        problems: Vec::new(),
    }
}

/// What a build failed of, where its output does not say it.
impl Scene<'_> {
    fn failure(&self) -> Option<String> {
        use crate::supervisor::event::Outcome;
        let past = self.overview.history.cycles.front()?;
        let Outcome::Failed { exit, reason, .. } = &past.outcome else {
            return None;
        };
        let exit = exit.map(|exit| format!("exit status {exit} after {}", took(past.took)));
        reason.as_deref().map(sanitise::label).or(exit)
    }
}

/// Cells of a progress bar.
const BAR: usize = 37;
/// A build is not over before it is over.
const MOST_SHOWN: f64 = 0.95;
/// Narrower panes put the place below the message.
const NARROW: u16 = 60;
/// Of what a build printed that nobody could read problems out of.
const OUTPUT_LINES: usize = 200;
