//! Who hangs below whom: the process table, read from `/proc`.
//!
//! It only looks. What it says is true of one moment; whoever acts on it checks the start time again
//! (`kill`). Where there is no `/proc` (macOS) it knows nothing: the lists are empty, and only a job's own
//! process group can be reached.

use std::collections::BTreeMap;

use nix::unistd::Pid;

/// One process, as `/proc/PID/stat` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: Pid,
    /// `R`, `S`, `D`, `Z`, ... A process in `Z` may still have running threads.
    pub state: char,
    /// Its parent now; the nearest subreaper once the real one has gone.
    pub parent: Pid,
    /// Its process group.
    pub group: Pid,
    /// Its session.
    pub session: Pid,
    /// The foreground process group of its terminal; -1 without one.
    pub foreground: i32,
    /// When it started, in clock ticks since boot. Number and start time together name one process for good.
    pub start: u64,
    /// Whether it executes a program of its own. Until then it is a copy of its parent, sockets and executable
    /// included: a clone that will exec in a moment, a worker, or a throw-away.
    pub executed: bool,
}

/// Set in the kernel's flags of a process that was forked and has not called exec (PF_FORKNOEXEC).
const FORKED_ONLY: u64 = 0x40;

/// Everything below `of`, nearest first, without `of` itself. Children of every thread are included.
pub fn descendants(of: Pid) -> Vec<Pid> {
    below(&processes(), of, &[])
        .iter()
        .map(|process| process.pid)
        .collect()
}

/// When `pid` started, in clock ticks since boot; nothing if there is no such process.
pub fn start_time(pid: Pid) -> Option<u64> {
    Some(process(pid)?.start)
}

/// What the process table says about `pid`; nothing if there is no such process.
pub fn process(pid: Pid) -> Option<Process> {
    parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// What the process table says about `pid`, if that is below `root`.
///
/// Not by the whole table: a parent that ends while it is read would hide its children, and a hot restart is
/// just such a moment. Here the climb begins again when somebody on the way has gone.
pub(super) fn process_below(root: Pid, pid: Pid) -> Option<Process> {
    for _ in 0..MOST_CLIMBS {
        let found = process(pid)?;
        let mut at = found;
        loop {
            if at.parent == root {
                return Some(found);
            }
            if at.parent.as_raw() <= 1 {
                return None;
            }
            match process(at.parent) {
                Some(parent) => at = parent,
                None => break,
            }
        }
    }
    None
}

/// How often a climb begins again. Each time somebody has ended on the way, of whom there are only so many.
const MOST_CLIMBS: usize = 16;

/// The process groups of the caller's ancestors within its session, nearest first.
pub(super) fn ancestor_groups() -> Vec<i32> {
    let mut groups = Vec::new();
    let Some(mut at) = process(Pid::this()) else {
        return groups;
    };
    while let Some(parent) = process(at.parent).filter(|parent| parent.session == at.session) {
        groups.push(parent.group.as_raw());
        at = parent;
    }
    groups.dedup();
    groups
}

/// Whether somebody above could continue this process if it stopped: as for the kernel, which lets ^Z stop nobody
/// otherwise, a process of the session that is no part of the job. Where there is no process table, perhaps.
pub fn can_be_continued() -> bool {
    let Some(me) = process(Pid::this()) else {
        return true;
    };
    ancestor_groups()
        .iter()
        .any(|&group| group != me.group.as_raw())
}

/// Whether some process of this group has not ended.
pub(super) fn group_lives(group: Pid) -> bool {
    let lives = |process: &Process| process.group == group && !has_ended(process);
    processes().iter().any(lives)
}

/// Whether `process` has ended, reaped or not: for where no pidfd tells. Its state alone does not: a main
/// thread that has left is in `Z` while other threads run on.
pub(super) fn has_ended(old: &Process) -> bool {
    let Some(now) = process(old.pid).filter(|now| now.start == old.start) else {
        return true;
    };
    now.state == 'Z'
        && std::fs::read_dir(format!("/proc/{}/task", old.pid))
            .map_or(true, |threads| threads.count() <= 1)
}

/// The wait status of a process that has ended and that its parent has not reaped.
pub(super) fn status_of_unreaped(old: &Process) -> Option<i32> {
    use std::os::unix::fs::MetadataExt;

    let folder = format!("/proc/{}", old.pid);
    let owner = std::fs::metadata(&folder).ok()?.uid();
    let stat = std::fs::read(format!("{folder}/stat")).ok()?;
    parse(&stat).filter(|now| now.start == old.start && now.state == 'Z')?;
    // The last field; nothing after the name contains a space but between fields.
    let status = std::str::from_utf8(stat.rsplit(|&b| b == b' ').next()?)
        .ok()?
        .trim()
        .parse()
        .ok()?;
    // To whom it may not tell, the kernel says 0.
    let me = nix::unistd::geteuid();
    (status != 0 || me.is_root() || me.as_raw() == owner).then_some(status)
}

/// The whole table. A process that neither starts nor is reaped during the call is certainly in it.
pub(super) fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| process(Pid::from_raw(pid)))
        .collect()
}

/// Everything below `root` in `table`, nearest first, without those children of `root` in `spared` and
/// what hangs below them.
pub(super) fn below(table: &[Process], root: Pid, spared: &[Pid]) -> Vec<Process> {
    let mut children: BTreeMap<Pid, Vec<&Process>> = BTreeMap::new();
    for process in table {
        children.entry(process.parent).or_default().push(process);
    }
    let top = children.remove(&root).unwrap_or_default();
    let mut found: Vec<Process> = top
        .into_iter()
        .filter(|p| !spared.contains(&p.pid))
        .copied()
        .collect();
    let mut next = 0;
    // Each list of children is taken out when it is followed, so a table that contradicts itself (pids move
    // while it is read) cannot make this loop go round.
    while let Some(process) = found.get(next) {
        if let Some(more) = children.remove(&process.pid) {
            found.extend(more.into_iter().copied());
        }
        next += 1;
    }
    found
}

/// Reads one line of `/proc/PID/stat`: `pid (comm) state ppid pgrp session tty tpgid ... starttime ...`.
/// `comm` is whatever the process chose, spaces, `)` and invalid UTF-8 included, but nothing after it
/// contains a `)`.
fn parse(stat: &[u8]) -> Option<Process> {
    let opening = stat.iter().position(|&b| b == b'(')?;
    let closing = stat.iter().rposition(|&b| b == b')')?;
    let pid = std::str::from_utf8(stat.get(..opening)?)
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let mut fields = std::str::from_utf8(stat.get(closing + 1..)?)
        .ok()?
        .split_ascii_whitespace();
    let mut state = fields.next()?.chars();
    let state = state.next().filter(|_| state.next().is_none())?;
    let mut id = || fields.next()?.parse::<i32>().ok();
    let (parent, group, session, _terminal, foreground) = (id()?, id()?, id()?, id()?, id()?);
    let flags: u64 = fields.next()?.parse().ok()?;
    // Twelve fields lie between the flags (field 9) and the start time (field 22).
    let start = fields.nth(12)?.parse().ok()?;
    Some(Process {
        pid: Pid::from_raw(pid),
        state,
        parent: Pid::from_raw(parent),
        group: Pid::from_raw(group),
        session: Pid::from_raw(session),
        foreground,
        start,
        executed: flags & FORKED_ONLY == 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Process, below, parse};
    use nix::unistd::Pid;

    const TAIL: &[u8] = b" S 40 41 42 34816 43 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 5 6 7\n";

    fn stat(pid: &str, comm: &[u8]) -> Vec<u8> {
        [pid.as_bytes(), b" (", comm, b")", TAIL].concat()
    }

    #[test]
    fn a_name_may_contain_anything() {
        for comm in [
            &b"sh"[..],
            b"",
            b"tmux: server",
            b") S 1 1 1 (",
            b"a) R 1 2 3",
            b"((",
            b"))",
            b"\xff\xfe",
            b"new\nline",
        ] {
            let process = parse(&stat("77", comm)).expect("a stat line");
            assert_eq!(
                process,
                Process {
                    pid: Pid::from_raw(77),
                    state: 'S',
                    parent: Pid::from_raw(40),
                    group: Pid::from_raw(41),
                    session: Pid::from_raw(42),
                    foreground: 43,
                    start: 987_654,
                    executed: true,
                },
                "{comm:?}"
            );
        }
    }

    #[test]
    fn a_torn_line_is_no_process() {
        let whole = stat("77", b"a b");
        let start = whole.len() - b" 5 6 7\n".len() - "987654".len();
        for end in 0..start {
            assert_eq!(
                parse(&whole[..end]),
                None,
                "{:?}",
                String::from_utf8_lossy(&whole[..end])
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_name_is_skipped(comm: Vec<u8>) {
            prop_assert_eq!(parse(&stat("9", &comm)).map(|p| (p.pid.as_raw(), p.start)), Some((9, 987_654)));
        }

        #[test]
        fn a_table_that_contradicts_itself_still_ends(edges in prop::collection::vec((1..20i32, 1..20i32), 0..60)) {
            let table: Vec<Process> = edges.iter().map(|&(pid, parent)| node(pid, parent)).collect();
            prop_assert!(below(&table, Pid::from_raw(1), &[]).len() <= table.len());
        }
    }

    fn node(pid: i32, parent: i32) -> Process {
        Process {
            pid: Pid::from_raw(pid),
            state: 'S',
            parent: Pid::from_raw(parent),
            group: Pid::from_raw(0),
            session: Pid::from_raw(0),
            foreground: -1,
            start: 0,
            executed: true,
        }
    }

    #[test]
    fn the_tree_is_found_without_what_is_spared() {
        let table = [
            node(5, 3),
            node(2, 1),
            node(3, 1),
            node(4, 2),
            node(9, 8),
            node(6, 5),
        ];
        let pids = |spared: &[Pid]| -> Vec<i32> {
            below(&table, Pid::from_raw(1), spared)
                .iter()
                .map(|p| p.pid.as_raw())
                .collect()
        };
        assert_eq!(pids(&[]), [2, 3, 4, 5, 6]);
        assert_eq!(pids(&[Pid::from_raw(3)]), [2, 4]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_in_the_table() {
        let me = super::process(Pid::this()).expect("our own entry");
        assert_eq!(me.parent, Pid::parent());
        assert_eq!(super::start_time(Pid::this()), Some(me.start));
        assert_eq!(super::start_time(Pid::from_raw(i32::MAX)), None);
    }
}
