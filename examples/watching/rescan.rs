//! Lost events: how long until everything has been compared and a change that no event told of is reported.
//!
//! The process that watches is stopped, the kernel's queue is filled until it overflows, one more file is changed,
//! and the process goes on.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ignore::{WalkBuilder, WalkState};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::contender::{Contender, Who};
use crate::proc::{at_rest, clock, stopped};
use crate::table::{Row, Table, Unit, median, millis};
use crate::{Outcome, folder, trees};

/// 50,000 files.
const KEPT: usize = 10_000;
const FILES: usize = KEPT * trees::FILES;

const RESCANS: usize = 7;

/// No quiet time is waited for: only the comparing is measured.
const DEBOUNCE: Duration = Duration::ZERO;

pub(crate) fn measure(place: &Path, table: &mut Table) -> Outcome {
    let root = folder(place, "rescan")?;
    trees::grow(&root, KEPT, 0)?;
    let contender = Contender::start(Who::Devwatch, &root, DEBOUNCE)?;
    let signal = |signal| kill(Pid::from_raw(contender.pid.cast_signed()), signal);
    let last = trees::last(&root, KEPT);
    let name = last.strip_prefix(&root)?.display().to_string();
    // Beside it: a watcher may have several queues, and the one that tells of it shall overflow.
    let noise = last.with_file_name("noise.go");
    let storm = overflow()?;

    let (mut compared, mut reported, mut used) = (Vec::new(), Vec::new(), Vec::new());
    let (mut plain, mut parallel) = (Vec::new(), Vec::new());
    for round in 1..=RESCANS {
        let before = at_rest(contender.pid)?;
        signal(Signal::SIGSTOP)?;
        stopped(contender.pid)?;
        for _ in 0..storm {
            fs::write(&noise, "")?;
            fs::remove_file(&noise)?;
        }
        trees::write(&last, round)?;
        let from = clock()?;
        signal(Signal::SIGCONT)?;
        let lost = contender.told("note", |text| text.contains("lost"))?;
        let seen = contender.told("changes", |first| first == name)?;
        compared.push(seen - lost);
        reported.push(seen - from);
        used.push(at_rest(contender.pid)? - before);

        plain.push(walk(&root)?);
        parallel.push(walk_in_parallel(&root)?);
    }
    drop(contender);

    let [compared, reported, used, plain, parallel] =
        [compared, reported, used, plain, parallel].map(|times| millis(median(&times)));
    table.row(Row {
        measure: "rescan of 50,000 files: from the loss to the change".to_owned(),
        unit: Unit::Millis,
        aim: Some(100.0),
        devwatch: compared,
        raw: Some(plain),
        notify: Some(parallel),
    });
    table.row(Row {
        measure: "  the full queue of events before it included".to_owned(),
        unit: Unit::Millis,
        aim: None,
        devwatch: reported,
        raw: Some(plain),
        notify: Some(parallel),
    });
    table.row(Row {
        measure: "  processor time of both".to_owned(),
        unit: Unit::Millis,
        aim: None,
        devwatch: used,
        raw: Some(plain),
        notify: None,
    });
    Ok(())
}

/// How often a file must come and go so that nothing fits into the kernel's queue any more: two events at least.
fn overflow() -> Outcome<usize> {
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")?;
    Ok(queue.trim().parse::<usize>()? / 2 + 1)
}

/// Lists and looks at the same files with one thread and no question asked. How long that takes, in ns.
fn walk(root: &Path) -> Outcome<u64> {
    let from = clock()?;
    let mut files = 0;
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            } else {
                files += usize::from(fs::symlink_metadata(entry.path())?.len() > 0);
            }
        }
    }
    enough(files)?;
    Ok(clock()? - from)
}

/// The same by the walker of the crate `ignore`, which asks every ignore file, with two threads.
fn walk_in_parallel(root: &Path) -> Outcome<u64> {
    let from = clock()?;
    let files = AtomicUsize::new(0);
    let walker = WalkBuilder::new(root)
        .hidden(false)
        .threads(2)
        .build_parallel();
    walker.run(|| {
        Box::new(|entry| {
            if let Ok(entry) = entry
                && entry.file_type().is_some_and(|kind| kind.is_file())
                && fs::symlink_metadata(entry.path()).is_ok_and(|meta| meta.len() > 0)
            {
                files.fetch_add(1, Ordering::Relaxed);
            }
            WalkState::Continue
        })
    });
    enough(files.into_inner())?;
    Ok(clock()? - from)
}

fn enough(files: usize) -> Outcome {
    // The two settings files as well.
    if files == FILES + 2 {
        Ok(())
    } else {
        Err(format!("{files} files were walked instead of {FILES}").into())
    }
}
