//! What watching costs, beside the least that is possible and beside one recursive watch of everything.
//!
//! ```text
//! cargo build --release && cargo run --release --example watching
//! cargo run --release --example watching -- saves ready storm rescan idle=10     # some of it, a shorter idle time
//! ```
//!
//! One table: each measure with its aim, devwatch's value and those of two others in the same run, in turn with it,
//! on the same trees, each in a process of its own:
//!
//! * raw: inotify, a watch for each directory that `.gitignore` leaves, and nothing but reading events. For saves it
//!   starts the same command. For the rescan, which inotify does not have, a plain walk of the same tree by one
//!   thread with an lstat of every file;
//! * notify: one recursive watch of the whole tree by the crate `notify`, ignored directories included. For the
//!   rescan, the walk by the crate `ignore` with two threads.
//!
//! `saves`, `ready`, `storm`, `rescan` and `idle` say at their heads how they measure. The trees lie in TMPDIR and are
//! removed at the end; 160,000 small files. Exit code 1 if something was not as it must be (a save that is
//! not exactly one build, a change that is not reported, too many builds or watches), whatever the times are.
//!
//! To profile, make a tree and watch it until the end of input; devwatch's watcher does it with 30 ms of debounce:
//!
//! ```text
//! target/release/examples/watching grow DIR 4000 16000     # directories kept, directories ignored
//! perf record -g target/release/examples/watching watch devwatch DIR 30 < /dev/null
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and starts what it measures"
)]

mod contender;
mod idle;
mod proc;
mod project;
mod ready;
mod rescan;
mod saves;
mod storm;
mod table;
mod trees;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use contender::Who;
use table::Table;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long nothing happens, in seconds, unless `idle=` says otherwise.
const IDLE: u64 = 60;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match play(&arguments) {
        Some(outcome) => outcome.map(|()| true),
        None => measure(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("watching: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The parts that this program plays in its own measurements.
fn play(arguments: &[&str]) -> Option<Outcome> {
    let path = Path::new;
    let outcome = match *arguments {
        ["build", pipe, from, to] => saves::build(path(pipe), path(from), path(to)),
        ["serve", file] => saves::serve(path(file)),
        ["watch", who, root, debounce] => watch(who, path(root), debounce),
        ["grow", root, kept, ignored] => {
            number(kept).and_then(|kept| trees::grow(path(root), kept, number(ignored)?))
        }
        ["rewrite", root, kept, version] => {
            number(kept).and_then(|kept| trees::rewrite(path(root), kept, number(version)?))
        }
        ["touch", root, kept] => number(kept).and_then(|kept| trees::touch(path(root), kept)),
        _ => return None,
    };
    Some(outcome)
}

fn watch(who: &str, root: &Path, debounce: &str) -> Outcome {
    let debounce = Duration::from_millis(number(debounce)? as u64);
    contender::watch(Who::named(who)?, &root.canonicalize()?, debounce)
}

fn number(text: &str) -> Outcome<usize> {
    text.parse()
        .map_err(|_| format!("{text} is no number").into())
}

/// Measures what is asked for; everything if nothing is. Whether all was as it must be.
fn measure(wanted: &[&str]) -> Outcome<bool> {
    let mut idle = IDLE;
    for wanted in wanted {
        if let Some(seconds) = wanted.strip_prefix("idle=") {
            idle = number(seconds)? as u64;
        } else if !["saves", "ready", "storm", "rescan", "idle"].contains(wanted) {
            return Err("usage: watching [saves] [ready] [storm] [rescan] [idle[=SECONDS]]".into());
        }
    }
    let wants = |name: &str| {
        let named = |wanted: &&str| wanted.split('=').next() == Some(name);
        wanted.is_empty() || wanted.iter().any(named)
    };
    let place = tempfile::Builder::new()
        .prefix("devwatch-watching-")
        .tempdir()?;
    // The watcher wants a path without links.
    let path = place.path().canonicalize()?;
    let mut table = Table::default();
    if wants("saves") {
        saves::measure(&path, &mut table)?;
    }
    if wants("ready") {
        ready::measure(&path, &mut table)?;
    }
    if wants("storm") {
        storm::measure(&path, &mut table)?;
    }
    if wants("rescan") {
        rescan::measure(&path, &mut table)?;
    }
    if wants("idle") {
        idle::measure(&path, &mut table, Duration::from_secs(idle))?;
    }
    Ok(table.print())
}

fn folder(parent: &Path, name: &str) -> Outcome<PathBuf> {
    let path = parent.join(name);
    fs::create_dir(&path)?;
    Ok(path)
}
