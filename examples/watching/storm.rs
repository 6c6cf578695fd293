//! Every file of a tree rewritten at once, or touched: how many builds, and how much processor time the watching takes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::contender::{Contender, DEBOUNCE, Who};
use crate::proc::at_rest;
use crate::project::Project;
use crate::table::{Row, Table, Unit, median, millis};
use crate::{Outcome, folder, trees};

/// 10,000 files.
const KEPT: usize = 2_000;
const FILES: usize = KEPT * trees::FILES;

const STORMS: u32 = 5;

/// No build begins this long after the last word of devwatch.
const QUIET: Duration = Duration::from_millis(500);

/// What is done to every file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storm {
    Rewritten,
    Touched,
}

pub(crate) fn measure(place: &Path, table: &mut Table) -> Outcome {
    let root = folder(place, "storm")?;
    trees::grow(&root, KEPT, 0)?;
    let mut version = 0;
    for storm in [Storm::Rewritten, Storm::Touched] {
        let (builds, whole) = whole(&root, storm, &mut version)?;
        let [watcher, raw, notify] = Who::ALL.map(|who| watching(who, &root, storm, &mut version));
        let ((watcher, seen), (raw, _), (notify, _)) = (watcher?, raw?, notify?);
        let (named, at_most, aim) = match storm {
            Storm::Rewritten => ("rewritten", 2, Some(60.0)),
            Storm::Touched => ("touched", 0, None),
        };
        table.row(Row {
            measure: format!("10,000 files {named} at once: builds"),
            unit: Unit::Count,
            aim: Some(f64::from(at_most)),
            devwatch: f64::from(builds),
            raw: None,
            notify: None,
        });
        table.row(Row {
            measure: "  processor time of devwatch".to_owned(),
            unit: Unit::Millis,
            aim,
            devwatch: whole,
            raw: Some(raw),
            notify: Some(notify),
        });
        table.row(Row {
            measure: "  processor time of its watcher alone".to_owned(),
            unit: Unit::Millis,
            aim: None,
            devwatch: watcher,
            raw: Some(raw),
            notify: Some(notify),
        });
        table.must(builds <= at_most, || {
            format!("{builds} builds for {FILES} files {named} at once")
        });
        match storm {
            Storm::Rewritten => {
                table.must(builds > 0, || format!("no build for {FILES} files {named}"));
                table.must(seen >= FILES, || {
                    format!("{seen} changes reported for {FILES} files {named}")
                });
            }
            Storm::Touched => table.must(seen == 0, || {
                format!("{seen} changes reported for {FILES} files {named}")
            }),
        }
    }
    Ok(())
}

/// The most builds that one storm made, and what the whole of devwatch needed, in ms.
fn whole(root: &Path, storm: Storm, version: &mut usize) -> Outcome<(u32, f64)> {
    let project = Project::start(root)?;
    builds(&project)?;
    let (mut most, mut times) = (0, Vec::new());
    for _ in 0..STORMS {
        let before = at_rest(project.pid)?;
        unleash(root, storm, version)?;
        most = most.max(builds(&project)?);
        times.push(at_rest(project.pid)? - before);
    }
    project.end()?;
    Ok((most, millis(median(&times))))
}

/// What one contender needed, in ms, and how many events (devwatch: changes) the storm was that had the fewest.
fn watching(who: Who, root: &Path, storm: Storm, version: &mut usize) -> Outcome<(f64, usize)> {
    let mut contender = Contender::start(who, root, DEBOUNCE)?;
    let (mut fewest, mut times) = (usize::MAX, Vec::new());
    for _ in 0..STORMS {
        let earlier = contender.seen()?;
        let before = at_rest(contender.pid)?;
        unleash(root, storm, version)?;
        times.push(at_rest(contender.pid)? - before);
        fewest = fewest.min(contender.seen()? - earlier);
    }
    Ok((millis(median(&times)), fewest))
}

/// By another process, so that its time is its own.
fn unleash(root: &Path, storm: Storm, version: &mut usize) -> Outcome {
    *version += 1;
    let mut command = Command::new(std::env::current_exe()?);
    let kept = KEPT.to_string();
    match storm {
        Storm::Rewritten => {
            command.arg("rewrite").arg(root).arg(kept);
            command.arg(version.to_string());
        }
        Storm::Touched => {
            command.arg("touch").arg(root).arg(kept);
        }
    }
    if command.status()?.success() {
        Ok(())
    } else {
        Err("the files could not be written".into())
    }
}

/// How many builds begin until it is quiet; the last one must be good.
fn builds(project: &Project) -> Outcome<u32> {
    let (mut begun, mut running) = (0, false);
    loop {
        let line = if running {
            Some(project.line()?)
        } else {
            project.line_within(QUIET)?
        };
        let Some(line) = line else {
            return Ok(begun);
        };
        if line.contains(" begin ") {
            begun += 1;
            running = true;
        } else if line.contains(" end ok ") {
            running = false;
        } else if !line.contains(" end superseded ") {
            return Err(line.into());
        }
    }
}
