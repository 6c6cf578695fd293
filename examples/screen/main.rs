//! How soon a key is answered: devwatch's screen while nothing happens, and while a server floods it.
//!
//! ```text
//! cargo build --release && cargo run --release --example screen
//! cargo run --release --example screen -- keys=20     # instead of 100
//! ```
//!
//! devwatch runs at 80x24 in a terminal of its own, whose other end is read by a thread and kept as a terminal would
//! (vt100). A key opens or closes the help, in turns; the time is from the write of the key to the moment when the cells
//! say so, in three situations:
//!
//! * idle: a server that prints nothing;
//! * 10,000 lines a second, coloured, 80 columns;
//! * 1 GB as fast as devwatch reads it; measured while it comes, and as long as it does.
//!
//! Beside it: the bytes that devwatch wrote to the terminal in the same time, the most memory that it had, and, for
//! the gigabyte, how fast it went through. Ratios are to idle, in the same run.
//!
//! Exit code 1 if a key is answered later than 50 ms at the median, or if the memory is beyond what the bounds of the
//! log allow.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and starts what it measures"
)]

mod flood;
#[expect(dead_code, reason = "the rest of it is for the other benchmarks")]
#[path = "../watching/proc.rs"]
mod proc;
mod terminal;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use terminal::Terminal;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);
/// As the issue of the screen asks.
const MOST: Duration = Duration::from_millis(50);
/// The bounds of both logs (3 generations and a build, 4 MiB each), and devwatch itself.
const MOST_MEMORY: u64 = 64 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("flood") => flood::flood(&arguments[1..]).map(|()| true),
        _ => run(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What was seen of one situation.
struct Seen {
    name: &'static str,
    latencies: Vec<Duration>,
    bytes: u64,
    took: Duration,
    peak: u64,
    through: Option<Duration>,
}

fn run(arguments: &[String]) -> Outcome<bool> {
    let keys = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("keys="));
    let keys = keys.map_or(Ok(100), str::parse)?;
    let mut all = Vec::new();
    for (name, load) in [
        ("idle", "0"),
        ("10,000 lines/s", "10000"),
        ("1 GB", "gigabyte"),
    ] {
        let seen = situation(name, load, keys)?;
        eprintln!("{name}: done");
        all.push(seen);
    }
    Ok(report(&mut all))
}

fn situation(name: &'static str, load: &str, keys: usize) -> Outcome<Seen> {
    let folder = tempfile::tempdir()?;
    let own = std::env::current_exe()?;
    let config =
        format!("[server]\nrun = [{own:?}, \"flood\", {load:?}]\nready = {{ log = \"^ready\" }}\n");
    std::fs::write(folder.path().join("devwatch.toml"), config)?;
    let devwatch = terminal::devwatch(&own)?;
    let mut terminal = Terminal::start(&devwatch, folder.path(), 80, 24)?;
    terminal.wait(PATIENCE, |screen| screen.contains("[SERVING]"))?;
    // The flood begins a moment after it is ready.
    let begun = Instant::now();
    if load != "0" {
        terminal.wait(PATIENCE, |screen| screen.contains("line "))?;
    }
    let bytes = terminal.bytes();
    let mut latencies = Vec::new();
    let measured = Instant::now();
    let mut through = None;
    for key in 0..keys {
        let (text, open) = if key % 2 == 0 {
            ("?", true)
        } else {
            ("\x1b", false)
        };
        latencies.push(terminal.press(text, PATIENCE, |screen| screen.contains("─ keys") == open)?);
        if through.is_none() && terminal.contents().contains("flooded") {
            through = Some(begun.elapsed());
            break;
        }
        // Somebody who types, not a benchmark of typing.
        std::thread::sleep(Duration::from_millis(20));
    }
    let (bytes, took) = (terminal.bytes() - bytes, measured.elapsed());
    if load == "gigabyte" {
        terminal.press("\x1b", PATIENCE, |screen| !screen.contains("─ keys"))?;
        terminal.wait(PATIENCE, |screen| screen.contains("flooded"))?;
        through = through.or_else(|| Some(begun.elapsed()));
    }
    let peak = terminal.peak()?;
    terminal.press("q", PATIENCE, |screen| !screen.contains("[SERVING]"))?;
    terminal.ends(PATIENCE)?;
    Ok(Seen {
        name,
        latencies,
        bytes,
        took,
        peak,
        through,
    })
}

fn report(all: &mut [Seen]) -> bool {
    println!(
        "| load | keys | median ms | p95 ms | worst ms | of idle | bytes/s to the terminal | peak MB | through s |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    let mut idle = None;
    let mut good = true;
    for seen in all {
        seen.latencies.sort();
        let at = |part: f64| {
            let place = (seen.latencies.len() as f64 * part) as usize;
            seen.latencies[place.min(seen.latencies.len() - 1)]
        };
        let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let median = at(0.5);
        let idle = *idle.get_or_insert(median);
        let through = seen.through.map_or_else(
            || "-".to_owned(),
            |through| format!("{:.1}", through.as_secs_f64()),
        );
        println!(
            "| {} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {:.1} | {through} |",
            seen.name,
            seen.latencies.len(),
            millis(median),
            millis(at(0.95)),
            millis(at(1.0)),
            median.as_secs_f64() / idle.as_secs_f64(),
            seen.bytes as f64 / seen.took.as_secs_f64(),
            seen.peak as f64 / f64::from(1 << 20),
        );
        good &= median <= MOST && seen.peak <= MOST_MEMORY;
    }
    good
}
