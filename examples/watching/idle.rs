//! A minute in which nothing happens: who wakes up, and what is written.

use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::contender::{Contender, DEBOUNCE, Who};
use crate::proc::{Thread, threads, written};
use crate::saves::{Served, Starts};
use crate::table::{Row, Table, Unit};
use crate::{Outcome, folder};

/// devwatch's own timers about a new server have all run out after this time.
const SETTLE: Duration = Duration::from_secs(8);

pub(crate) fn measure(place: &Path, table: &mut Table, time: Duration) -> Outcome {
    let place = folder(place, "idle")?;
    // Held, or the build could not tell when it starts.
    let (pipe, _starts) = Starts::beside(&place)?;
    let project = folder(&place, "project")?;
    let mut served = Served::start(&pipe, project.clone())?;
    // What a save has set going must come to rest, too.
    served.save("another\n")?;
    served.one_build()?;
    let raw = Contender::start(Who::Raw, &project, DEBOUNCE)?;
    let notify = Contender::start(Who::Notify, &project, DEBOUNCE)?;
    thread::sleep(SETTLE);

    let contenders = [
        served.project.processes(),
        vec![("raw", raw.pid)],
        vec![("notify", notify.pid)],
    ];
    let look = || -> Vec<Outcome<Look>> {
        let looks = contenders.iter().map(|processes| Look::at(processes));
        looks.collect()
    };
    let before = look();
    thread::sleep(time);
    let after = look();

    let mut wakes = [0, 0, 0];
    let mut bytes = [0, 0, 0];
    for (at, (before, after)) in before.into_iter().zip(after).enumerate() {
        let (before, after) = (before?, after?);
        bytes[at] = after.written - before.written;
        for (role, thread) in after.threads {
            let earlier = before.threads.iter().find(|(_, it)| it.id == thread.id);
            let woken = thread.sleeps - earlier.map_or(0, |(_, earlier)| earlier.sleeps);
            wakes[at] += woken;
            if at == 0 && woken > 0 {
                table.remark(format!(
                    "while idle the thread \"{}\" of the {role} woke up {woken} times",
                    thread.name
                ));
            }
        }
    }
    let seconds = time.as_secs();
    for (what, values) in [("wake-ups", wakes), ("bytes written", bytes)] {
        let [devwatch, raw, notify] = values.map(|value| value as f64);
        table.row(Row {
            measure: format!("idle for {seconds} s: {what}"),
            unit: Unit::Count,
            aim: Some(0.0),
            devwatch,
            raw: Some(raw),
            notify: Some(notify),
        });
    }
    if let Some(line) = served.project.line_within(Duration::ZERO)? {
        table.must(false, || format!("while idle devwatch said: {line}"));
    }
    served.project.end()
}

/// The threads of some processes, and what the processes have written so far.
struct Look {
    threads: Vec<(&'static str, Thread)>,
    written: u64,
}

impl Look {
    fn at(processes: &[(&'static str, u32)]) -> Outcome<Look> {
        let mut look = Look {
            threads: Vec::new(),
            written: 0,
        };
        for (role, pid) in processes {
            let threads = threads(*pid).into_iter();
            look.threads.extend(threads.map(|thread| (*role, thread)));
            look.written += written(*pid)?;
        }
        Ok(look)
    }
}
