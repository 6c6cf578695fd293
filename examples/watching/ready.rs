//! How long it takes until no save can be missed, in a large tree of which most is ignored; and what that holds.

use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::contender::{Contender, DEBOUNCE, Who};
use crate::proc::{at_rest, clock, memory, watches};
use crate::project::Project;
use crate::table::{Row, Table, Unit, mebibytes, median, millis};
use crate::{Outcome, folder, trees};

/// 100,000 files in 20,000 directories, 80 % ignored.
pub(crate) const KEPT: usize = 4_000;
pub(crate) const IGNORED: usize = 16_000;

/// Each in a fresh process.
const STARTS: usize = 7;

/// The kernel takes its time to free the watches of a process that has ended.
const BETWEEN: Duration = Duration::from_millis(100);

pub(crate) fn measure(place: &Path, table: &mut Table) -> Outcome {
    let root = folder(place, "ready")?;
    trees::grow(&root, KEPT, IGNORED)?;

    let mut took = [const { Vec::new() }; 3];
    let mut binary = Vec::new();
    // In turn, so that all see the same machine; the first round warms the caches.
    for round in 0..=STARTS {
        let mut times = Vec::new();
        for who in Who::ALL {
            times.push(Contender::start(who, &root, DEBOUNCE)?.took);
            thread::sleep(BETWEEN);
        }
        let project = Project::start(&root)?;
        first_build(&project)?;
        let began = clock()? - project.began;
        project.end()?;
        thread::sleep(BETWEEN);
        if round > 0 {
            for (all, time) in took.iter_mut().zip(times) {
                all.push(time);
            }
            binary.push(began);
        }
    }
    let [devwatch, raw, notify] = took.map(|took| millis(median(&took)));
    table.row(Row {
        measure: "ready in 100,000 files, 80 % ignored".to_owned(),
        unit: Unit::Millis,
        aim: Some(60.0),
        devwatch,
        raw: Some(raw),
        notify: Some(notify),
    });
    table.row(Row {
        measure: "  devwatch from exec to the first build".to_owned(),
        unit: Unit::Millis,
        aim: None,
        devwatch: millis(median(&binary)),
        raw: Some(raw),
        notify: Some(notify),
    });

    let mut held = Vec::new();
    for who in Who::ALL {
        let contender = Contender::start(who, &root, DEBOUNCE)?;
        at_rest(contender.pid)?;
        let memory = memory(contender.pid)?;
        held.push((
            watches(contender.pid)?,
            memory.resident.saturating_sub(contender.before),
            memory.peak.saturating_sub(contender.before),
        ));
    }
    let [devwatch, raw, notify] = held[..] else {
        unreachable!("three contenders");
    };
    table.must(devwatch.0 <= KEPT, || {
        format!("{} watches for {KEPT} directories", devwatch.0)
    });
    table.row(Row {
        measure: "  watches".to_owned(),
        unit: Unit::Count,
        aim: Some(KEPT as f64),
        devwatch: devwatch.0 as f64,
        raw: Some(raw.0 as f64),
        notify: Some(notify.0 as f64),
    });
    table.row(Row {
        measure: "  resident for watching, at rest".to_owned(),
        unit: Unit::Mebibytes,
        aim: Some(10.0),
        devwatch: mebibytes(devwatch.1),
        raw: Some(mebibytes(raw.1)),
        notify: Some(mebibytes(notify.1)),
    });
    table.row(Row {
        measure: "  resident for watching, at most".to_owned(),
        unit: Unit::Mebibytes,
        aim: None,
        devwatch: mebibytes(devwatch.2),
        raw: Some(mebibytes(raw.2)),
        notify: Some(mebibytes(notify.2)),
    });
    Ok(())
}

fn first_build(project: &Project) -> Outcome {
    loop {
        if project.line()?.starts_with("devwatch: build 1 begin") {
            return Ok(());
        }
    }
}
