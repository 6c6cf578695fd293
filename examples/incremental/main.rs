//! What a save costs: devwatch beside `make` and beside the bare build command.
//!
//! ```text
//! cargo build --release && cargo run --release --example incremental
//! cargo run --release --example incremental -- rounds=3     # instead of 6
//! ```
//!
//! A Go project of a hundred files in ten packages, with an HTTP server on a held socket, three times: one for
//! devwatch with its default settings, one for make, one for `sh build.sh`. The build is the same line in all three,
//! and so are the edits, which each round does to one after the other, in turns:
//!
//! * devwatch: from the edit to its end line, and to the first right answer of the server. What changes no content
//!   has neither; instead, marked with *, the processor time that devwatch used until it came to rest;
//! * make, bare: how long the call takes that somebody makes after the edit. They start no server;
//! * processes: what each starts from the edit on, threads not counted; of devwatch with a keeper for each job, and
//!   the server. Counted by strace in a round of its own, whose times do not count; without strace there is a `-`.
//!
//! An edit is a file that is written and closed, or `git switch`, which has ended. A comment makes another program in
//! Go, unless it is linked with -buildid= (the linker then runs every time): that row has this flag, the others not.
//!
//! The server's own start is measured alone, in the same rounds, with what devwatch has put back: from its start on
//! a socket that is there to the first answer.
//!
//! Exit code 1 if something was not as it must be (what is served, how often the build ran, that the server was left
//! alone, that nothing was started for nothing), whatever the times are.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and starts what it measures"
)]

mod contenders;
#[expect(dead_code, reason = "the rest of it is for the other benchmark")]
#[path = "../watching/proc.rs"]
mod proc;
mod project;
mod trace;

use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use contenders::{Devwatch, alone, call};
use project::{Edit, Project};
use trace::Trace;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// That are measured, after one that warms up and is counted.
const ROUNDS: usize = 6;

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the old server is asked for the new answer: a build is not to share its processors with the question,
/// and takes long enough not to ask for more.
const SELDOM: Duration = Duration::from_millis(5);
const SOON: Duration = Duration::from_micros(200);

/// Whoever saves has not just compiled: a processor that has rested is slower, for all three.
const PAUSE: Duration = Duration::from_millis(300);

/// What devwatch still does about a new server, such as to keep its program, it does within this time. Not to be
/// counted with what comes next.
const SETTLE: Duration = Duration::from_secs(4);

/// What changes no content, in ms of processor time.
const NOTHING: f64 = 5.0;
/// From a change for which there is a result to the answer, in ms, without the server's own start.
const RETURN: f64 = 50.0;

/// The flags of `go build`, and what is done then, in each round. It leaves the tree as it was.
const STAGES: [(&str, &[Edit]); 2] = [
    (
        "",
        &[
            Edit::SameBytes,
            Edit::Touch,
            Edit::OneLine,
            Edit::Undo,
            Edit::Branch,
            Edit::BranchBack,
        ],
    ),
    (" -ldflags=-buildid=", &[Edit::Comment]),
];

fn main() -> ExitCode {
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("incremental: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all was as it must be.
fn measure() -> Outcome<bool> {
    let rounds = match std::env::args().nth(1) {
        None => ROUNDS,
        Some(argument) => {
            let rounds = argument
                .strip_prefix("rounds=")
                .and_then(|text| text.parse().ok());
            rounds
                .filter(|rounds| *rounds > 0)
                .ok_or("usage: incremental [rounds=N]")?
        }
    };
    for (tool, argument) in [
        ("go", "version"),
        ("make", "--version"),
        ("git", "--version"),
    ] {
        if !have(tool, argument) {
            println!("nothing is measured: there is no {tool}");
            return Ok(true);
        }
    }
    let place = tempfile::Builder::new()
        .prefix("devwatch-incremental-")
        .tempdir()?;
    // Nobody is to see the project under two names.
    let path = place.path().canonicalize()?;
    let mut bench = Bench::new(&path, rounds)?;
    for (flags, edits) in STAGES {
        bench.stage(flags, edits)?;
    }
    bench.print();
    Ok(bench.faults.is_empty())
}

fn have(tool: &str, argument: &str) -> bool {
    let mut command = Command::new(tool);
    command
        .arg(argument)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

struct Bench<'a> {
    place: &'a Path,
    rounds: usize,
    /// Of devwatch.
    watched: Project,
    /// Where somebody calls a command after each edit: make, and the bare one.
    called: [(&'static [&'static str], Project); 2],
    rows: Vec<Row>,
    /// When devwatch last started another server.
    swapped: Instant,
    /// The server's own start.
    starts: Vec<f64>,
    faults: Vec<String>,
}

/// What an edit costs, in ms, by round.
struct Row {
    edit: Edit,
    /// To the end line; for what has none, processor time.
    devwatch: Vec<f64>,
    answer: Vec<f64>,
    called: [Vec<f64>; 2],
    /// By devwatch, by make, by the bare command.
    processes: Option<[usize; 3]>,
}

/// What devwatch is to do about an edit, however long it takes.
struct Due {
    /// How often the build runs.
    runs: usize,
    /// How the one cycle ends, if there is one.
    end: Option<&'static str>,
    /// What comes out of the cache.
    cached: &'static str,
}

fn due(edit: Edit) -> Due {
    let (runs, end, cached) = match edit {
        Edit::SameBytes | Edit::Touch => (0, None, ""),
        Edit::Comment => (1, Some("unchanged"), ""),
        Edit::OneLine | Edit::Branch => (1, Some("serving"), ""),
        Edit::Undo | Edit::BranchBack => (0, Some("serving"), "build"),
    };
    Due { runs, end, cached }
}

impl Bench<'_> {
    fn new(place: &Path, rounds: usize) -> Outcome<Bench<'_>> {
        let create = |owner| Project::create(place, owner, rounds + 1);
        Ok(Bench {
            place,
            rounds,
            watched: create("devwatch")?,
            called: [
                (&["make", "-s"], create("make")?),
                (&["sh", "build.sh"], create("bare")?),
            ],
            rows: Vec::new(),
            swapped: Instant::now(),
            starts: Vec::new(),
            faults: Vec::new(),
        })
    }

    /// Not a matter of speed.
    fn must(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(otherwise());
        }
    }

    /// All rounds of `edits`, with these `flags` of `go build`.
    fn stage(&mut self, flags: &str, edits: &[Edit]) -> Outcome {
        self.watched.configure(flags)?;
        for (command, project) in &self.called {
            project.configure(flags)?;
            call(command, project, None)?;
        }
        let first = self.rows.len();
        self.rows.extend(edits.iter().map(|edit| Row {
            edit: *edit,
            devwatch: Vec::new(),
            answer: Vec::new(),
            called: [Vec::new(), Vec::new()],
            processes: None,
        }));
        let rows = first..self.rows.len();

        let mut trace = if Trace::possible(self.place) {
            Some(Trace::new(self.place, "devwatch")?)
        } else {
            None
        };
        let devwatch = Devwatch::start(&self.watched, trace.as_ref())?;
        self.swapped = Instant::now();
        for row in rows.clone() {
            self.round(row, 0, &devwatch, trace.as_mut())?;
        }
        drop(devwatch);

        self.watched.runs();
        let devwatch = Devwatch::start(&self.watched, None)?;
        self.swapped = Instant::now();
        let runs = self.watched.runs();
        self.must(runs == 0, || {
            let end = &devwatch.first.end;
            format!("started where all was built, devwatch built: {end}")
        });
        for round in 1..=self.rounds {
            for row in rows.clone() {
                self.round(row, round, &devwatch, None)?;
            }
        }
        Ok(())
    }

    /// One edit, by all three, one after the other. With the `trace` of devwatch all are counted, else timed.
    fn round(
        &mut self,
        row: usize,
        round: usize,
        devwatch: &Devwatch,
        mut trace: Option<&mut Trace>,
    ) -> Outcome {
        let edit = self.rows[row].edit;
        let mut processes = [0; 3];
        let mut watched = (0.0, None);
        let mut called = [0.0; 2];
        // In each round another one is the first.
        let mut turns = [0, 1, 2];
        turns.rotate_left(round % 3);
        for turn in turns {
            thread::sleep(PAUSE);
            if turn == 0 {
                // What is left of the turns before.
                started(&mut trace)?;
                watched = self.watch(edit, round, devwatch)?;
                processes[0] = started(&mut trace)?;
            } else {
                let at = turn - 1;
                (called[at], processes[turn]) = self.call(edit, round, at, trace.is_some())?;
            }
        }
        if trace.is_some() {
            self.rows[row].processes = Some(processes);
            self.must(due(edit).end.is_some() || processes[0] == 0, || {
                format!(
                    "{}: devwatch started {} processes",
                    edit.name(),
                    processes[0]
                )
            });
        }
        // The first round warms up, counted or not.
        if round == 0 {
            return Ok(());
        }
        let row = &mut self.rows[row];
        row.devwatch.push(watched.0);
        row.answer.extend(watched.1);
        for (values, value) in row.called.iter_mut().zip(called) {
            values.push(value);
        }
        if !due(edit).cached.is_empty() {
            let (start, _) = alone(&self.watched, &self.watched.answer(edit, round))?;
            self.starts.push(millis(start));
        }
        Ok(())
    }

    /// What somebody who calls it has of `edit`: how long it takes, or how many processes it starts.
    fn call(&mut self, edit: Edit, round: usize, at: usize, counts: bool) -> Outcome<(f64, usize)> {
        let (command, project) = &self.called[at];
        project.edit(edit, round)?;
        let (took, started) = if counts {
            let mut trace = Trace::new(self.place, "called")?;
            call(command, project, Some(&trace))?;
            // With the one that is called.
            (0.0, 1 + trace.started()?)
        } else {
            (millis(call(command, project, None)?), 0)
        };
        let (_, right) = alone(project, &project.answer(edit, round))?;
        if !right {
            let fault = format!("{}: what {command:?} built is not that", edit.name());
            self.faults.push(fault);
        }
        Ok((took, started))
    }

    /// What devwatch makes of `edit`: how long until its end line (for what has none, the processor time), and until
    /// the answer of the new server, if there is to be one.
    fn watch(
        &mut self,
        edit: Edit,
        round: usize,
        devwatch: &Devwatch,
    ) -> Outcome<(f64, Option<f64>)> {
        let due = due(edit);
        let text = self.watched.answer(edit, round);
        self.watched.runs();
        if due.end.is_none() {
            thread::sleep(SETTLE.saturating_sub(self.swapped.elapsed()));
        }
        let used = devwatch.rest()?;
        let before = devwatch.who()?;
        let from = self.watched.edit(edit, round)?;
        let (took, answered) = match due.end {
            None => (devwatch.rest()? - used, None),
            Some(word) => {
                let between = if due.runs == 0 { SOON } else { SELDOM };
                let answer = devwatch.answer(&text, between)?;
                let cycle = devwatch.cycle()?;
                self.must(cycle.word() == word && cycle.cached() == due.cached, || {
                    format!("{}: end {}", edit.name(), cycle.end)
                });
                (
                    cycle.at - from,
                    (word == "serving").then(|| answer.at - from),
                )
            }
        };
        // What is remembered and kept of a build comes after its end.
        devwatch.rest()?;
        if let Some(line) = devwatch.more()? {
            self.must(false, || {
                format!("{}: more than was due: {line}", edit.name())
            });
        }
        let runs = self.watched.runs();
        self.must(runs == due.runs, || {
            format!(
                "{}: the build ran {runs} times, not {}",
                edit.name(),
                due.runs
            )
        });
        let after = devwatch.answer(&text, SELDOM)?.pid;
        self.must((before == after) != (due.end == Some("serving")), || {
            format!(
                "{}: before it process {before} served, then {after}",
                edit.name()
            )
        });
        if before != after {
            self.swapped = Instant::now();
        }
        Ok((millis(took), answered.map(millis)))
    }

    // ---------------------------------------------------------------- what is printed

    fn print(&self) {
        let start = median(&self.starts).unwrap_or_default();
        println!(
            "medians of {} rounds, ms; *: processor time; the server's own start, alone: {start:.1}\n",
            self.rounds
        );
        let mut lines = vec![
            [
                "edit",
                "devwatch",
                "answer",
                "make",
                "bare",
                "to make",
                "to bare",
                "processes:",
                "make",
                "bare",
            ]
            .map(str::to_owned),
        ];
        lines.extend(self.rows.iter().map(Row::cells));
        table(&lines);
        println!();
        let mut lines = vec![["aim", "at most", "measured", ""].map(str::to_owned)];
        for row in &self.rows {
            let name = row.edit.name();
            let Due { end, cached, .. } = due(row.edit);
            if end.is_none() {
                lines.push(aim(
                    format!("{name}: processor time"),
                    NOTHING,
                    median(&row.devwatch),
                ));
                let processes = row.processes.map(|[devwatch, ..]| devwatch as f64);
                lines.push(aim(format!("{name}: processes"), 0.0, processes));
            }
            if !cached.is_empty() {
                let own = median(&row.answer).map(|answer| answer - start);
                lines.push(aim(
                    format!("{name}: answer, without the server's own start"),
                    RETURN,
                    own,
                ));
            }
        }
        table(&lines);
        if self.rows.iter().any(|row| row.processes.is_none()) {
            println!("\nno process was counted: there is no strace, or it may not trace");
        }
        for fault in &self.faults {
            println!("\nWRONG: {fault}");
        }
    }
}

impl Row {
    fn cells(&self) -> [String; 10] {
        let [make, bare] = [&self.called[0], &self.called[1]].map(|values| median(values));
        let devwatch = median(&self.devwatch);
        let show = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.1}"));
        let ratio = |other: Option<f64>| match (devwatch, other) {
            (Some(own), Some(other)) if own < other / 100.0 => format!("x{:.4}", own / other),
            (Some(own), Some(other)) => format!("x{:.2}", own / other),
            (None, _) | (_, None) => String::new(),
        };
        let mark = if due(self.edit).end.is_none() {
            " *"
        } else {
            ""
        };
        let count = |at: usize| {
            self.processes
                .map_or("-".to_owned(), |counts| counts[at].to_string())
        };
        [
            self.edit.name(),
            show(devwatch) + mark,
            show(median(&self.answer)),
            show(make),
            show(bare),
            ratio(make),
            ratio(bare),
            count(0),
            count(1),
            count(2),
        ]
    }
}

fn aim(what: String, most: f64, measured: Option<f64>) -> [String; 4] {
    let verdict = match measured {
        Some(measured) if measured > most => "MISSED",
        Some(_) => "ok",
        None => "-",
    };
    let measured = measured.map_or("-".to_owned(), |measured| format!("{measured:.1}"));
    [what, format!("{most}"), measured, verdict.to_owned()]
}

/// The first of `lines` is the head.
fn table<const N: usize>(lines: &[[String; N]]) {
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|at| width(at).unwrap_or_default());
    for (number, line) in lines.iter().enumerate() {
        for (at, (cell, width)) in line.iter().zip(widths).enumerate() {
            match at {
                0 => print!("| {cell:<width$} |"),
                _ => print!(" {cell:>width$} |"),
            }
        }
        println!();
        if number == 0 {
            for (at, width) in widths.into_iter().enumerate() {
                let dashes = "-".repeat(width + 1);
                print!(
                    "{}{dashes}{}",
                    if at == 0 { "|-" } else { "" },
                    if at == 0 { "|" } else { ":|" }
                );
            }
            println!();
        }
    }
}

/// The processes since this was last asked; none without a trace.
fn started(trace: &mut Option<&mut Trace>) -> Outcome<usize> {
    trace.as_mut().map_or(Ok(0), |trace| trace.started())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(values[low], values[high]))
}
