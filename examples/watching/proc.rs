//! What the kernel says of a process: its time, memory, watches, sleeps and writes. Nothing is asked of the process.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use crate::Outcome;

/// A process that used no processor for this long has come to rest.
const REST: Duration = Duration::from_millis(300);

/// CLOCK_MONOTONIC in ns: the same for every process, which std's `Instant` does not show.
pub(crate) fn clock() -> Outcome<u64> {
    read_clock(libc::CLOCK_MONOTONIC)
}

/// What all threads of `pid` have used so far, those that have ended included, in ns.
/// Not `/proc/PID/stat`, which counts in hundredths of a second.
pub(crate) fn processor_time(pid: u32) -> Outcome<u64> {
    let mut id = 0;
    // SAFETY: the pointer is to a clockid_t that lives longer than the call.
    let error = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut id) };
    if error != 0 {
        return Err(std::io::Error::from_raw_os_error(error).into());
    }
    read_clock(id)
}

fn read_clock(id: libc::clockid_t) -> Outcome<u64> {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a timespec that lives longer than the call.
    if unsafe { libc::clock_gettime(id, &raw mut now) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(u64::try_from(now.tv_sec)? * 1_000_000_000 + u64::try_from(now.tv_nsec)?)
}

/// Waits until `pid` uses no processor any more. What it has used so far, in ns.
pub(crate) fn at_rest(pid: u32) -> Outcome<u64> {
    let mut before = processor_time(pid)?;
    loop {
        thread::sleep(REST);
        let now = processor_time(pid)?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
}

/// Waits until every thread of `pid` has taken notice of SIGSTOP.
pub(crate) fn stopped(pid: u32) -> Outcome {
    let is_stopped = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        field(&status, "State:").is_some_and(|state| state.starts_with('T'))
    };
    loop {
        let mut tasks = fs::read_dir(format!("/proc/{pid}/task"))?;
        if tasks.all(|task| task.is_ok_and(is_stopped)) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) peak: u64,
}

pub(crate) fn memory(pid: u32) -> Outcome<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(Memory {
        resident: number(&status, "VmRSS:")?,
        peak: number(&status, "VmHWM:")?,
    })
}

/// How many inotify watches `pid` holds, in all its instances.
pub(crate) fn watches(pid: u32) -> Outcome<usize> {
    let mut count = 0;
    for descriptor in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // One may be closed meanwhile.
        let info = fs::read_to_string(descriptor?.path()).unwrap_or_default();
        count += info
            .lines()
            .filter(|line| line.starts_with("inotify wd:"))
            .count();
    }
    Ok(count)
}

/// What `pid` has given to write(2), and what of it went to a disk, in bytes.
pub(crate) fn written(pid: u32) -> Outcome<u64> {
    let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
    Ok(number(&io, "wchar:")? + number(&io, "write_bytes:")?)
}

/// A thread, and how often it has gone to sleep, which is how often it woke up.
pub(crate) struct Thread {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) sleeps: u64,
}

pub(crate) fn threads(pid: u32) -> Vec<Thread> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let thread = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        Some(Thread {
            id: task.file_name().to_str()?.parse().ok()?,
            name: field(&status, "Name:")?.to_owned(),
            sleeps: number(&status, "voluntary_ctxt_switches:").ok()?,
        })
    };
    tasks.filter_map(thread).collect()
}

pub(crate) fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|children| {
            let pids = children.split_whitespace();
            pids.filter_map(|pid| pid.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

pub(crate) fn exe(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// The number behind `name`; a unit may follow.
fn number(text: &str, name: &str) -> Outcome<u64> {
    let value = field(text, name).and_then(|value| value.split_whitespace().next());
    let value = value.ok_or_else(|| format!("the kernel says no {name}"))?;
    Ok(value.parse()?)
}
