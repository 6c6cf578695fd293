//! The guardian and its keepers, with real processes: what they report, and that nothing is left, whoever dies.

#![cfg(target_os = "linux")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the reports that it expects"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests start processes and wait for them with a deadline"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use devwatch::process::{Guardian, Output, Report, SpawnFailure, Spec, Stream, Target, tree};
use devwatch::supervisor::event::Exit;
use devwatch::supervisor::generation::JobId;
use devwatch::terminal::LEAVE_SCREEN;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, signal};
use nix::sys::termios::{LocalFlags, SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{Pid, tcsetpgrp};
use regex::Regex;

/// Generous: the machine may be busy. A test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(20);

const DEVWATCH: &str = env!("CARGO_BIN_EXE_devwatch");

/// Six processes of which only the first can be reached by ordinary means: a child, a child in its own group
/// with one of its own, a child in its own session, and two double-forked daemons with empty environments.
const TREE: &str = "
    sleep $0 &
    timeout 999999 sleep $0 &
    setsid sleep $0 &
    ( env -i setsid sleep $0 & )
    ( env -i setsid sh -c 'sleep $0; :' $0 & )
    echo up
    wait";

/// sh, sleep, timeout and its sleep, sleep, sleep, sh and its sleep.
const TREE_SIZE: usize = 8;

/// A number that `sleep` takes for a year and a unique bit, so it can be the argument of every process of one
/// test. Arguments survive new sessions, new parents and empty environments.
struct Tag(String);

impl Tag {
    fn new() -> Tag {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Tag(format!(
            "31000000.{:08}{:03}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ))
    }

    /// Processes that carry the tag. Zombies do not count: they have no arguments any more.
    fn alive(&self) -> Vec<(Pid, String)> {
        let mut alive = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let Ok(arguments) = fs::read(entry.path().join("cmdline")) else {
                continue;
            };
            let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
            if arguments.contains(&self.0) {
                alive.push((Pid::from_raw(pid), arguments));
            }
        }
        alive
    }

    fn kill_all(&self) {
        eventually("leftovers can be killed", || {
            let alive = self.alive();
            alive
                .iter()
                .for_each(|(pid, _)| _ = kill(*pid, Signal::SIGKILL));
            alive.is_empty()
        });
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        let alive = self.alive();
        self.kill_all();
        if !std::thread::panicking() {
            assert!(alive.is_empty(), "processes are left: {alive:#?}");
        }
    }
}

type Streams = BTreeMap<(JobId, Stream), Vec<u8>>;

#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Streams>>);

impl Output for Printed {
    fn write(&mut self, job: JobId, stream: Stream, bytes: &[u8]) {
        self.0
            .lock()
            .expect("no panic")
            .entry((job, stream))
            .or_default()
            .extend(bytes);
    }
}

impl Printed {
    fn bytes(&self, job: JobId, stream: Stream) -> Vec<u8> {
        self.0
            .lock()
            .expect("no panic")
            .get(&(job, stream))
            .cloned()
            .unwrap_or_default()
    }

    fn text(&self, job: JobId) -> String {
        String::from_utf8(self.bytes(job, Stream::Out)).expect("text")
    }
}

/// A guardian of this test, and what it reports. The order matters: the tag looks last.
struct House {
    guardian: Guardian,
    reports: Receiver<Report>,
    printed: Printed,
    next: AtomicU64,
    tag: Tag,
}

impl House {
    fn new() -> House {
        let (send, reports) = channel();
        let printed = Printed::default();
        let guardian = Guardian::start_with(
            Path::new(DEVWATCH),
            Box::new(printed.clone()),
            move |report| drop(send.send(report)),
            None,
        )
        .expect("a guardian");
        House {
            guardian,
            reports,
            printed,
            next: AtomicU64::new(1),
            tag: Tag::new(),
        }
    }

    fn spawn(&self, spec: Spec) -> JobId {
        let job = JobId(self.next.fetch_add(1, Ordering::Relaxed));
        self.guardian.spawn(job, spec).expect("asked for");
        job
    }

    fn sh(&self, script: &str) -> JobId {
        self.spawn(self.script(script))
    }

    fn script(&self, script: &str) -> Spec {
        spec(["sh", "-c", script, &self.tag.0])
    }

    fn next(&self) -> Report {
        self.reports.recv_timeout(DEADLINE).expect("a report")
    }

    fn spawned(&self, job: JobId) -> Pid {
        match self.next() {
            Report::Spawned { job: spawned, pid } if spawned == job => pid,
            other => panic!("not Spawned: {other:?}"),
        }
    }

    fn exited(&self, job: JobId) -> (Exit, Vec<String>) {
        match self.next() {
            Report::Exited {
                job: exited,
                exit: status,
                last,
            } if exited == job => (status, last),
            other => panic!("not Exited: {other:?}"),
        }
    }

    fn tree_gone(&self, job: JobId) {
        assert_eq!(self.next(), Report::TreeGone { job });
    }

    /// Runs a job to its end, of which nothing may be left.
    fn run(&self, spec: Spec) -> (JobId, Exit) {
        let job = self.spawn(spec);
        self.spawned(job);
        let (status, _) = self.exited(job);
        self.tree_gone(job);
        (job, status)
    }

    fn fails(&self, spec: Spec) -> (SpawnFailure, String) {
        let job = self.spawn(spec);
        match self.next() {
            Report::SpawnFailed { job: failed, error } if failed == job => {
                (error.reason.clone(), error.to_string())
            }
            other => panic!("not SpawnFailed: {other:?}"),
        }
    }

    fn wait_for_output(&self, job: JobId, text: &str) {
        eventually(text, || self.printed.text(job).contains(text));
    }

    fn nothing_is_reported(&self) {
        assert_eq!(
            self.reports.recv_timeout(Duration::from_millis(50)),
            Err(RecvTimeoutError::Timeout)
        );
    }
}

fn spec<const N: usize>(argv: [&str; N]) -> Spec {
    Spec {
        argv: argv.into_iter().map(OsString::from).collect(),
        program: None,
        env: std::env::vars_os()
            .filter(|(name, _)| name == "PATH")
            .collect(),
        cwd: PathBuf::from("/"),
        stdin: None,
        inherit: Vec::new(),
        ready_line: None,
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "still not: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether it runs: a zombie does not.
fn runs(pid: Pid) -> bool {
    tree::process(pid).is_some_and(|process| process.state != 'Z')
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn executable(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    fs::write(&path, content).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
    path.into_os_string().into_string().expect("text")
}

// ---------------------------------------------------------------- what is reported

#[test]
fn every_exit_code_is_reported() {
    let house = House::new();
    for code in 0..=255 {
        let (_, status) = house.run(house.script(&format!("exit {code}")));
        assert_eq!(status, Exit::Code(code));
    }
}

#[test]
fn every_deadly_signal_is_reported() {
    let house = House::new();
    // 34 and up are real-time signals.
    for number in [1, 2, 3, 6, 9, 10, 11, 12, 13, 14, 15, 24, 34, 40, 64] {
        let (_, status) = house.run(house.script(&format!("ulimit -c 0; kill -{number} $$")));
        assert_eq!(status, Exit::Signal(number));
    }
}

#[test]
fn all_output_comes_before_the_exit_although_a_grandchild_holds_the_pipe() {
    let (send, reports) = channel();
    let printed = Printed::default();
    // The reader sees the start only when the main process has ended, so that it finds all at once: start,
    // exit, and a full pipe.
    let report = move |report| {
        if let Report::Spawned { pid, .. } = report {
            eventually("the main process was reaped", || {
                tree::process(pid).is_none()
            });
        }
        let _ = send.send(report);
    };
    let guardian =
        Guardian::start_with(Path::new(DEVWATCH), Box::new(printed.clone()), report, None);
    let house = House {
        guardian: guardian.expect("a guardian"),
        reports,
        printed,
        next: AtomicU64::new(1),
        tag: Tag::new(),
    };
    for run in 0..50 {
        let job = house.sh("sleep $0 & yes $0 >&2 & exec head -c 60000 /dev/zero");
        house.spawned(job);
        let (status, _) = house.exited(job);
        let got = house.printed.bytes(job, Stream::Out).len();
        assert_eq!((status, got), (Exit::Code(0), 60_000), "run {run}");
        house.guardian.kill(job);
        house.tree_gone(job);
    }
}

#[test]
fn a_job_reads_what_it_is_sent_and_the_end_when_that_is_closed() {
    let house = House::new();
    let (read, mut write) = std::io::pipe().expect("a pipe");
    let mut echo =
        house.script("while read line; do echo \"got $line\"; done; echo end; ls /proc/$$/fd");
    echo.stdin = Some(read.into());
    // Its place among the others is its own.
    echo.inherit = vec![File::open("/dev/null").expect("a file").into()];
    let job = house.spawn(echo);
    house.spawned(job);
    write.write_all(b"one\n").expect("sent");
    house.wait_for_output(job, "got one\n");
    // Another job inherits nothing of it.
    let (other, status) = house.run(spec(["cat"]));
    assert_eq!(
        (status, house.printed.text(other)),
        (Exit::Code(0), String::new())
    );
    write.write_all(b"two\n").expect("sent");
    house.wait_for_output(job, "got two\n");
    drop(write);
    let (status, _) = house.exited(job);
    assert_eq!(status, Exit::Code(0));
    house.tree_gone(job);
    assert_eq!(
        house.printed.text(job),
        "got one\ngot two\nend\n0\n1\n2\n3\n"
    );
}

#[test]
fn whoever_writes_to_a_job_that_has_ended_is_told_so() {
    let house = House::new();
    let (read, mut write) = std::io::pipe().expect("a pipe");
    let mut reader = house.script("read line; exit 3");
    reader.stdin = Some(read.into());
    let job = house.spawn(reader);
    house.spawned(job);
    write.write_all(b"go\n").expect("sent");
    assert_eq!(house.exited(job).0, Exit::Code(3));
    house.tree_gone(job);
    let error = write.write_all(b"on\n").expect_err("nobody reads");
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn a_crash_comes_with_its_last_lines() {
    let house = House::new();
    let job = house.sh("seq 1 20; echo 'panic: \\0377 oops' >&2; exit 7");
    house.spawned(job);
    let (status, last) = house.exited(job);
    assert_eq!(status, Exit::Code(7));
    assert_eq!(last.len(), 10);
    assert!(last.iter().any(|line| line.contains("panic:")), "{last:?}");
    house.tree_gone(job);
}

#[test]
fn a_ready_line_is_reported_once_and_before_later_exits() {
    let house = House::new();
    let mut spec =
        house.script("echo starting; printf 'listen'; printf 'ing on 80\\nlistening on 81\\n' >&1");
    spec.ready_line = Some(Regex::new("^listening on [0-9]+$").expect("a pattern"));
    let job = house.spawn(spec);
    house.spawned(job);
    assert_eq!(house.next(), Report::ReadyLine { job });
    house.exited(job);
    house.tree_gone(job);
}

#[test]
fn what_a_finished_build_leaves_runs_on_until_the_end() {
    let house = House::new();
    let job = house.sh("setsid sh -c 'sleep $0; :' $0 & exit 0");
    house.spawned(job);
    assert_eq!(house.exited(job).0, Exit::Code(0));
    eventually("the daemon runs", || house.tag.alive().len() == 2);
    house.nothing_is_reported();
    assert_eq!(house.tag.alive().len(), 2);
    let House { guardian, tag, .. } = house;
    guardian.shutdown();
    assert!(tag.alive().is_empty(), "{:?}", tag.alive());
}

#[test]
fn a_job_that_signals_its_parent_is_reported_and_does_no_harm() {
    let house = House::new();
    let job = house
        .sh("for s in USR1 USR2 TERM QUIT HUP INT; do kill -$s $PPID; done; read line; sleep $0");
    let pid = house.spawned(job);
    let mut came = Vec::new();
    loop {
        match house.next() {
            Report::Signalled {
                job: by_job,
                signal,
                by,
            } => {
                assert_eq!((by_job, by), (job, pid));
                came.push(signal);
            }
            Report::Exited { .. } => panic!("it still sleeps"),
            other => panic!("{other:?}"),
        }
        if came.len() == 6 {
            break;
        }
    }
    came.sort();
    let mut sent = [
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGTERM,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGINT,
    ];
    sent.sort();
    assert_eq!(came, sent);
    assert!(house.guardian.keeper(job).is_some_and(runs));
    house.guardian.kill(job);
    house.exited(job);
    house.tree_gone(job);
    assert_eq!(house.guardian.keeper(job), None);
}

#[test]
fn a_flood_of_a_gigabyte_costs_no_memory() {
    let mut client = Client::start("flood", |_| {});
    let grown: u64 = client.after("@grown ").parse().expect("kB");
    assert!(grown < 4096, "{grown} kB");
    client.finish();
}

// ---------------------------------------------------------------- what a job finds

#[test]
fn sockets_are_dense_from_three_and_listen_pid_is_the_child() {
    let house = House::new();
    for count in [1, 2, 7, 40] {
        let mut spec = house.script(
            "echo pid $LISTEN_PID $$ $LISTEN_FDS; n=3; while [ $n -lt 10 ] && [ $n -lt $((LISTEN_FDS + 3)) ]; \
             do eval \"cat <&$n\"; n=$((n + 1)); done; exec ls /proc/self/fd",
        );
        spec.env.push(("LISTEN_PID".into(), "1".into()));
        spec.env
            .push(("LISTEN_FDS".into(), count.to_string().into()));
        spec.inherit = (0..count)
            .map(|n| {
                let mut file = tempfile::tempfile().expect("a file");
                writeln!(file, "file {n}").expect("written");
                file.rewind().expect("rewound");
                OwnedFd::from(file)
            })
            .collect();
        let job = house.spawn(spec);
        let pid = house.spawned(job);
        assert_eq!(house.exited(job).0, Exit::Code(0));
        house.tree_gone(job);
        let mut expected = vec![format!("pid {pid} {pid} {count}")];
        expected.extend((0..count.min(7)).map(|n| format!("file {n}")));
        // The last one is the listing's own.
        let mut numbers: Vec<String> = (0..=3 + count).map(|n| n.to_string()).collect();
        numbers.sort();
        expected.extend(numbers);
        assert_eq!(
            house.printed.text(job).lines().collect::<Vec<_>>(),
            expected
        );
    }
}

#[test]
fn what_is_handed_on_is_held_by_the_job_alone() {
    let house = House::new();
    let (mut read, write) = std::io::pipe().expect("a pipe");
    let mut spec = house.script("exec 3>&-; echo up; sleep $0");
    spec.inherit.push(write.into());
    let job = house.spawn(spec);
    house.spawned(job);
    house.wait_for_output(job, "up");
    // The end comes although job, keeper and guardian live.
    let mut end = [PollFd::new(read.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut end, 10_000u16), Ok(1));
    assert_eq!(read.read(&mut [0]).expect("the end"), 0);
    house.guardian.kill(job);
    house.exited(job);
    house.tree_gone(job);
}

#[test]
fn without_sockets_there_is_no_listen_pid_and_the_environment_is_exact() {
    let house = House::new();
    let mut env = spec(["/usr/bin/env"]);
    env.env.retain(|(name, _)| name != "PATH");
    env.env.push(("A".into(), "1 = \n2".into()));
    env.env.push(("LISTEN_PID".into(), "77".into()));
    let (job, status) = house.run(env);
    assert_eq!(
        (status, house.printed.text(job).as_str()),
        (Exit::Code(0), "A=1 = \n2\n")
    );
}

#[test]
fn a_job_has_its_own_session_no_input_and_its_folder() {
    let house = House::new();
    let folder = folder();
    let mut spec = house.script(
        "cut -d' ' -f1,4-8 /proc/$$/stat; readlink /proc/$$/fd/0 /proc/$$/cwd; cat; sleep $0",
    );
    spec.cwd = folder.path().to_owned();
    let job = house.spawn(spec);
    let pid = house.spawned(job);
    // It still runs: a job that has gone has no keeper any more.
    let keeper = house.guardian.keeper(job).expect("a keeper");
    eventually("all three lines", || {
        house.printed.text(job).lines().count() == 3
    });
    house.guardian.kill(job);
    house.exited(job);
    house.tree_gone(job);
    let expected = format!(
        "{pid} {keeper} {pid} {pid} 0 -1\n/dev/null\n{}\n",
        folder.path().display()
    );
    assert_eq!(house.printed.text(job), expected);
}

#[test]
fn a_job_starts_with_clean_signals_and_descriptors_whatever_devwatch_has() {
    let mut client = Client::start("dirty", |_| {});
    let ours = client.after("@ours ");
    assert!(
        !ours.contains("SigBlk: 0000000000000000") && !ours.contains("SigIgn: 0000000000000000"),
        "{ours}"
    );
    let theirs = client.after("@theirs ");
    assert_eq!(
        client.after("@descriptors "),
        "0 1 2 3",
        "the last is the listing's own"
    );
    assert_eq!(
        theirs,
        "SigBlk: 0000000000000000 SigIgn: 0000000000000000 SigCgt: 0000000000000000"
    );
    client.finish();
}

// ---------------------------------------------------------------- what cannot be started

#[test]
fn what_cannot_be_started_is_said_precisely() {
    let house = House::new();
    let folder = folder();
    let path = |name: &str| {
        folder
            .path()
            .join(name)
            .into_os_string()
            .into_string()
            .expect("text")
    };
    let script = executable(folder.path(), "script", b"#!/no/such/interpreter -x\n");
    let windows = executable(folder.path(), "windows", b"#!/bin/sh\r\necho hi\n");
    let garbage = executable(folder.path(), "garbage", b"\x00\x01\x02 no format\n");
    fs::write(path("plain"), b"#!/bin/sh\n").expect("written");
    for (spec, reason, text) in [
        (
            spec(["dw-no-such-program"]),
            SpawnFailure::NoProgram,
            "no such program in PATH",
        ),
        (
            spec([&path("absent")]),
            SpawnFailure::NoProgram,
            "no such file",
        ),
        (
            spec([&path("plain")]),
            SpawnFailure::NotExecutable,
            "it is not executable; run chmod +x",
        ),
        (
            spec([&path("plain/x")]),
            SpawnFailure::NoProgram,
            "no such file",
        ),
        (spec([&path("")]), SpawnFailure::IsFolder, "it is a folder"),
        (
            spec([&script]),
            SpawnFailure::Interpreter("/no/such/interpreter".into()),
            "its interpreter \"/no/such/interpreter\" does not exist",
        ),
        (
            spec([&windows]),
            SpawnFailure::Interpreter("/bin/sh\r".into()),
            "its interpreter \"/bin/sh\\r\"",
        ),
        (
            spec([&garbage]),
            SpawnFailure::Format,
            "neither a program for this machine",
        ),
    ] {
        let (got, said) = house.fails(spec);
        assert_eq!(got, reason);
        assert!(said.contains(text), "{said}");
    }
    // The pipe by which the child tells is not hit by what it puts in place.
    for count in [1, 5, 10, 20, 40] {
        let mut crowded = spec(["dw-no-such-program"]);
        let null = || OwnedFd::from(File::open("/dev/null").expect("a file"));
        crowded.inherit = (0..count).map(|_| null()).collect();
        assert_eq!(house.fails(crowded).0, SpawnFailure::NoProgram);
    }
    let mut nowhere = spec(["true"]);
    nowhere.cwd = folder.path().join("gone");
    let (got, said) = house.fails(nowhere);
    assert_eq!(
        got,
        SpawnFailure::Folder(folder.path().join("gone"), Errno::ENOENT)
    );
    assert!(said.ends_with("gone: no such file or directory"), "{said}");
    let mut long = spec(["true"]);
    long.env.push(("LONG".into(), "x".repeat(1 << 20).into()));
    assert_eq!(house.fails(long).0, SpawnFailure::Other(Errno::E2BIG));
}

#[test]
fn what_nobody_can_start_is_refused_at_once() {
    let house = House::new();
    let mut none = spec(["true"]);
    none.argv.clear();
    assert!(house.guardian.spawn(JobId(900), none).is_err());
    assert!(house.guardian.spawn(JobId(901), spec(["tr\0ue"])).is_err());
    house.nothing_is_reported();
}

#[test]
fn a_name_is_looked_for_in_the_jobs_own_path_and_past_what_may_not_be_executed() {
    let house = House::new();
    let folder = folder();
    for name in ["first", "second"] {
        fs::create_dir(folder.path().join(name)).expect("made");
    }
    fs::write(folder.path().join("first/tool"), "#!/bin/sh\n").expect("written");
    executable(
        &folder.path().join("second"),
        "tool",
        b"#!/bin/sh\necho second\n",
    );
    let mut tool = spec(["tool"]);
    tool.cwd = folder.path().to_owned();
    tool.env = vec![("PATH".into(), "first:absent:second".into())];
    let (job, status) = house.run(tool);
    assert_eq!(
        (status, house.printed.text(job).as_str()),
        (Exit::Code(0), "second\n")
    );
}

#[test]
fn a_busy_executable_is_tried_again_until_it_is_closed() {
    let house = House::new();
    let folder = folder();
    let busy = executable(
        folder.path(),
        "busy",
        &fs::read("/bin/true").expect("a program"),
    );
    let writer = fs::OpenOptions::new()
        .append(true)
        .open(&busy)
        .expect("opened for writing");
    let job = house.spawn(spec([&busy]));
    eventually("keeper and child exist", || {
        tree::descendants(house.guardian.pid()).len() == 2
    });
    house.nothing_is_reported();
    drop(writer);
    house.spawned(job);
    assert_eq!(house.exited(job).0, Exit::Code(0));
    house.tree_gone(job);
}

#[test]
fn an_executable_that_stays_busy_is_given_up_after_a_second() {
    let house = House::new();
    let folder = folder();
    let busy = executable(
        folder.path(),
        "busy",
        &fs::read("/bin/true").expect("a program"),
    );
    let _writer = fs::OpenOptions::new()
        .append(true)
        .open(&busy)
        .expect("opened for writing");
    let began = Instant::now();
    let (reason, said) = house.fails(spec([&busy]));
    assert_eq!(reason, SpawnFailure::Busy, "{said}");
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn too_many_processes_are_waited_for_and_then_reported() {
    // The limit counts processes per user and spares root, so the client runs as somebody else.
    let client = Client::start("limit", |command| {
        if nix::unistd::geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
    });
    let mut client = match client.try_after("@limit ") {
        Some((client, said)) if said == "set" => client,
        Some((_, said)) => return println!("skipped: {said}"),
        None => return println!("skipped: the client does not run as another user"),
    };
    assert_eq!(client.after("@first "), "TooManyProcesses");
    assert_eq!(client.after("@second "), "Code(0)");
    client.finish();
}

// ---------------------------------------------------------------- how jobs end

#[test]
fn a_job_that_ignores_term_is_killed_with_its_tree() {
    let house = House::new();
    let job = house.sh("trap '' TERM; sleep $0 & echo up; while :; do sleep $0; done");
    house.spawned(job);
    house.wait_for_output(job, "up");
    house.guardian.signal(job, Signal::SIGTERM, Target::Main);
    house.nothing_is_reported();
    house.guardian.kill(job);
    assert_eq!(house.exited(job).0, Exit::Signal(9));
    house.tree_gone(job);
}

#[test]
fn term_reaches_a_stopped_process() {
    let house = House::new();
    let job = house.sh("kill -STOP $$; sleep $0");
    let pid = house.spawned(job);
    eventually("it has stopped", || {
        tree::process(pid).is_some_and(|process| process.state == 'T')
    });
    house.guardian.signal(job, Signal::SIGTERM, Target::Main);
    assert_eq!(house.exited(job).0, Exit::Signal(15));
    house.tree_gone(job);
}

#[test]
fn a_signal_for_the_main_process_spares_its_children() {
    let house = House::new();
    let job = house.sh("trap 'echo main' USR1; sh -c 'trap \"echo child\" USR1; echo up; while :; do sleep 0.01; done' $0 & \
         while :; do wait; done");
    house.spawned(job);
    house.wait_for_output(job, "up");
    house.guardian.signal(job, Signal::SIGUSR1, Target::Main);
    house.wait_for_output(job, "main");
    assert!(!house.printed.text(job).contains("child"));
    house.guardian.signal(job, Signal::SIGUSR1, Target::Tree);
    house.wait_for_output(job, "child");
    house.guardian.kill(job);
    house.exited(job);
    house.tree_gone(job);
}

#[test]
fn a_tree_can_be_told_to_go_daemons_included() {
    let house = House::new();
    let job = house.sh(TREE);
    house.spawned(job);
    eventually("the tree stands", || house.tag.alive().len() == TREE_SIZE);
    house.guardian.signal(job, Signal::SIGTERM, Target::Tree);
    assert_eq!(house.exited(job).0, Exit::Signal(15));
    house.tree_gone(job);
    assert!(house.tag.alive().is_empty());
}

#[test]
fn a_killed_job_leaves_nothing_daemons_included() {
    let house = House::new();
    let other = house.sh("echo other; sleep $0");
    house.spawned(other);
    for _ in 0..5 {
        let job = house.sh(TREE);
        house.spawned(job);
        eventually("the tree stands", || {
            house.tag.alive().len() == TREE_SIZE + 2
        });
        house.guardian.kill(job);
        assert_eq!(house.exited(job).0, Exit::Signal(9));
        house.tree_gone(job);
        assert_eq!(
            house.tag.alive().len(),
            2,
            "the other job and its child stay"
        );
    }
    house.guardian.kill(other);
    house.exited(other);
    house.tree_gone(other);
}

#[test]
fn a_job_that_forks_away_in_every_generation_is_caught() {
    let house = House::new();
    let folder = folder();
    let runner = executable(
        folder.path(),
        "runner",
        b"#!/bin/sh\nsetsid \"$0\" \"$1\" & exit 0\n",
    );
    let mut spec = house.script("for i in 1 2 3 4 5; do \"$1\" $0; done; echo up; sleep $0");
    spec.argv.push(runner.into());
    let job = house.spawn(spec);
    house.spawned(job);
    house.wait_for_output(job, "up");
    house.guardian.kill(job);
    house.exited(job);
    house.tree_gone(job);
    assert!(house.tag.alive().is_empty());
}

#[test]
fn orders_that_come_before_the_start_are_not_lost() {
    let house = House::new();
    for n in 0..20 {
        let job = house.sh("sleep $0");
        match n % 2 {
            0 => house.guardian.kill(job),
            _ => house.guardian.signal(job, Signal::SIGTERM, Target::Tree),
        }
        house.spawned(job);
        let (status, _) = house.exited(job);
        assert!(matches!(status, Exit::Signal(9 | 15)), "{status:?}");
        house.tree_gone(job);
    }
}

// ---------------------------------------------------------------- a server that has started its successor

/// A successor: says who it is, ends with 3 on TERM, has a child, tells of HUP, and on USR2 greets its parent.
const SUCCESSOR: &str = r#"
    trap 'exit 3' TERM
    trap 'echo hup' HUP
    trap 'read -r pid name state parent rest < /proc/$$/stat; kill -USR1 $parent' USR2
    sleep $0 &
    echo successor $$
    while :; do sleep 0.01; done"#;

/// A server that starts its successor and then does as `then` says.
fn hand_over(house: &House, then: &str) -> (JobId, Pid, Pid) {
    let mut spec = house.script(&format!("sh -c \"$1\" $0 & {then}"));
    spec.argv.push(SUCCESSOR.into());
    let job = house.spawn(spec);
    let old = house.spawned(job);
    house.wait_for_output(job, "successor");
    let new = eventually_some("the whole line", || {
        let printed = house.printed.text(job);
        let (_, rest) = printed.split_once("successor ")?;
        let (pid, _) = rest.split_once('\n')?;
        Some(Pid::from_raw(pid.parse().expect("a pid")))
    });
    eventually("its child runs", || tree::descendants(new).len() >= 2);
    (job, old, new)
}

fn eventually_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    eventually(what, || {
        found = look();
        found.is_some()
    });
    found.expect("just found")
}

fn parent(pid: Pid) -> Option<Pid> {
    Some(tree::process(pid)?.parent)
}

impl House {
    fn ended(&self, job: JobId, pid: Pid) -> Exit {
        match self.next() {
            Report::Ended {
                job: of,
                pid: ended,
                exit,
                ..
            } if (of, ended) == (job, pid) => exit,
            other => panic!("not Ended: {other:?}"),
        }
    }

    fn end(&self, job: JobId) {
        self.guardian.kill(job);
        loop {
            match self.next() {
                Report::Exited { .. } | Report::Ended { .. } => {}
                Report::TreeGone { job: gone } if gone == job => return,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_signal_for_one_process_reaches_it_alone() {
    let house = House::new();
    let (other, _, stranger) = hand_over(&house, "exec sleep $0");
    // The old one would die of it.
    let (job, old, new) = hand_over(&house, "exec sleep $0");
    for nobody in [
        stranger,
        Pid::from_raw(1),
        Pid::from_raw(-1),
        Pid::from_raw(0),
    ] {
        house.guardian.signal_process(job, nobody, Signal::SIGHUP);
    }
    kill(new, Signal::SIGSTOP).expect("stopped");
    eventually("it has stopped", || {
        tree::process(new).is_some_and(|process| process.state == 'T')
    });
    house.guardian.signal_process(job, new, Signal::SIGHUP);
    house.wait_for_output(job, "hup");
    assert!(runs(old));
    assert!(!house.printed.text(other).contains("hup"));
    house.nothing_is_reported();
    house.end(job);
    house.end(other);
}

#[test]
fn a_followed_process_is_reported_while_a_parent_lives_that_never_reaps_it() {
    let house = House::new();
    let (job, old, new) = hand_over(&house, "exec sleep $0");
    house.guardian.follow(job, new);
    house.guardian.follow(job, new);
    house.nothing_is_reported();
    house.guardian.signal_process(job, new, Signal::SIGTERM);
    assert_eq!(house.ended(job, new), Exit::Code(3));
    assert!(runs(old));
    assert_eq!(parent(new), Some(old), "it is unreaped");
    // It is reported anew for whoever asks anew.
    house.guardian.follow(job, new);
    assert_eq!(house.ended(job, new), Exit::Code(3));
    house.end(job);
    house.guardian.follow(job, new);
    assert_eq!(house.ended(job, new), Exit::Lost, "the job is gone");
}

#[test]
fn a_followed_process_that_its_parent_reaps_is_reported() {
    let house = House::new();
    let (job, old, new) = hand_over(&house, "wait $!; sleep $0");
    house.guardian.follow(job, new);
    house.guardian.signal_process(job, new, Signal::SIGTERM);
    let exit = house.ended(job, new);
    // Linux remembers the exit from 6.15 on; before, whether it is seen is a race with the parent.
    assert!(matches!(exit, Exit::Code(3) | Exit::Lost), "{exit:?}");
    assert!(exit == Exit::Code(3) || !kernel_remembers_exits());
    eventually("it is reaped", || tree::process(new).is_none());
    assert!(runs(old));
    house.guardian.follow(job, new);
    assert_eq!(house.ended(job, new), Exit::Lost, "it is gone");
    house.end(job);
}

fn kernel_remembers_exits() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

#[test]
fn a_followed_successor_is_reported_after_its_predecessor_has_gone() {
    let house = House::new();
    let (job, _, new) = hand_over(&house, "exit 0");
    assert_eq!(house.exited(job).0, Exit::Code(0));
    house.guardian.follow(job, new);
    let keeper = house.guardian.keeper(job).expect("a keeper");
    eventually("the keeper is its parent", || parent(new) == Some(keeper));
    house.guardian.signal_process(job, new, Signal::SIGTERM);
    assert_eq!(house.ended(job, new), Exit::Code(3));
    // Its child is still there, and the keeper with it.
    assert!(runs(keeper));
    house.guardian.kill(job);
    house.tree_gone(job);
}

#[test]
fn the_end_of_a_followed_process_comes_before_that_of_its_tree() {
    let house = House::new();
    for _ in 0..20 {
        let (job, _, new) = hand_over(&house, "exec sleep $0");
        house.guardian.follow(job, new);
        house.guardian.kill(job);
        let mut came = Vec::new();
        while came.len() < 2 {
            match house.next() {
                Report::Exited { exit, .. } => came.push(("old", exit)),
                Report::Ended { pid, exit, .. } if pid == new => came.push(("new", exit)),
                other => panic!("{other:?}"),
            }
        }
        came.sort_by_key(|(who, _)| *who);
        assert_eq!(came, [("new", Exit::Signal(9)), ("old", Exit::Signal(9))]);
        house.tree_gone(job);
    }
}

#[test]
fn nobody_but_the_jobs_own_processes_can_be_followed() {
    let house = House::new();
    let job = house.sh("sleep $0");
    house.spawned(job);
    for pid in [Pid::this(), Pid::from_raw(1), Pid::from_raw(i32::MAX)] {
        house.guardian.follow(job, pid);
        assert_eq!(house.ended(job, pid), Exit::Lost);
    }
    house.end(job);
}

#[test]
fn after_kill_9_of_a_keeper_whoever_was_followed_is_lost() {
    let house = House::new();
    let (job, _, new) = hand_over(&house, "exec sleep $0");
    house.guardian.follow(job, new);
    let keeper = house.guardian.keeper(job).expect("a keeper");
    kill(keeper, Signal::SIGKILL).expect("killed");
    assert_eq!(house.exited(job).0, Exit::Lost);
    assert_eq!(house.ended(job, new), Exit::Lost);
    house.tree_gone(job);
    assert!(!runs(new));
}

#[test]
fn what_the_old_server_leaves_can_be_killed_without_its_successor() {
    let house = House::new();
    for (then, exit, alive) in [
        ("exec sleep $0", Exit::Signal(9), 8),
        ("exit 0", Exit::Code(0), 7),
    ] {
        // Two shells with a sleep each, of which one is no descendant of the old one any more, and a sleep.
        let left = "setsid sh -c 'sleep $0; :' $0 & ( env -i setsid sh -c 'sleep $0; :' $0 & ); sleep $0 &";
        let (job, old, new) = hand_over(&house, &format!("{left} {then}"));
        eventually("all run", || house.tag.alive().len() == alive);
        house.guardian.kill_except(job, new);
        assert_eq!(house.exited(job).0, exit);
        eventually("the successor and its child are left", || {
            house.tag.alive().len() == 2
        });
        assert!(runs(new) && !runs(old));
        assert_eq!(parent(new), house.guardian.keeper(job));
        house.guardian.signal_process(job, new, Signal::SIGHUP);
        house.wait_for_output(job, "hup");
        house.guardian.follow(job, new);
        house.guardian.signal_process(job, new, Signal::SIGTERM);
        assert_eq!(house.ended(job, new), Exit::Code(3));
        house.guardian.kill_except(job, new);
        house.tree_gone(job);
        assert!(house.tag.alive().is_empty(), "whom to keep was gone");
    }
}

#[test]
fn a_hand_shake_is_reported_only_if_the_keeper_is_the_parent() {
    let house = House::new();
    let (job, _, new) = hand_over(
        &house,
        "trap 'echo greeted' USR1; while :; do sleep 0.01; done",
    );
    house.guardian.signal_process(job, new, Signal::SIGUSR2);
    house.wait_for_output(job, "greeted");
    house.nothing_is_reported();
    house.guardian.signal(job, Signal::SIGKILL, Target::Main);
    house.exited(job);
    let keeper = house.guardian.keeper(job);
    eventually("the keeper is its parent", || parent(new) == keeper);
    house.guardian.signal_process(job, new, Signal::SIGUSR2);
    // What sends it is a shell's own `kill`, so the successor itself.
    let by = match house.next() {
        Report::Signalled {
            job: of,
            signal: Signal::SIGUSR1,
            by,
        } if of == job => by,
        other => panic!("not Signalled: {other:?}"),
    };
    assert_eq!(by, new);
    assert!(keeper.is_some_and(runs));
    house.guardian.kill(job);
    house.tree_gone(job);
}

/// `cargo test --release --test it follow_cost -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn follow_cost() {
    let (send, reports) = channel();
    let printed = Printed::default();
    let guardian = Guardian::start_with(
        Path::new(DEVWATCH),
        Box::new(printed.clone()),
        move |report| drop(send.send((Instant::now(), report))),
        None,
    )
    .expect("a guardian");
    let mut times = Vec::new();
    for run in 0..200 {
        let job = JobId(run);
        guardian
            .spawn(
                job,
                spec(["sh", "-c", "sleep 31 & echo $! up; exec sleep 31"]),
            )
            .expect("asked for");
        eventually("up", || printed.text(job).contains("up"));
        let text = printed.text(job);
        let pid = Pid::from_raw(
            text.split(' ')
                .next()
                .and_then(|pid| pid.parse().ok())
                .expect("a pid"),
        );
        guardian.follow(job, pid);
        std::thread::sleep(Duration::from_millis(5));
        let began = Instant::now();
        kill(pid, Signal::SIGKILL).expect("killed");
        loop {
            let (at, report) = reports.recv().expect("a report");
            match report {
                Report::Ended { exit, .. } => {
                    assert_eq!(exit, Exit::Signal(9));
                    times.push(at - began);
                    guardian.kill(job);
                }
                Report::TreeGone { .. } => break,
                _ => {}
            }
        }
    }
    times.sort();
    println!(
        "kill -9 to Ended: p50 {:?} p95 {:?} max {:?}",
        times[100], times[190], times[199]
    );
}

// ---------------------------------------------------------------- who is killed

#[test]
fn after_kill_9_of_devwatch_nothing_is_left() {
    for to in [|pid: Pid| pid, |pid: Pid| Pid::from_raw(-pid.as_raw())] {
        let mut client = Client::start("tree", |command| {
            command.process_group(0);
        });
        let guardian = client.pid_after("@guardian ");
        eventually("the tree stands", || client.tag.alive().len() == TREE_SIZE);
        let below: Vec<Pid> = tree::descendants(guardian);
        kill(to(client.pid()), Signal::SIGKILL).expect("killed");
        client.child.wait().expect("reaped");
        let died = Instant::now();
        eventually("nothing is left", || client.tag.alive().is_empty());
        eventually("nor guardian and keeper", || {
            !runs(guardian) && below.iter().all(|&pid| !runs(pid))
        });
        assert!(
            died.elapsed() < Duration::from_secs(1),
            "{:?}",
            died.elapsed()
        );
    }
}

#[cfg(debug_assertions)]
#[test]
fn with_the_guardian_disabled_the_same_leaves_processes() {
    let mut client = Client::start("tree", |command| {
        command.env("DEVWATCH_TEST_NO_GUARDIAN", "1");
    });
    let guardian = client.pid_after("@guardian ");
    eventually("the tree stands", || client.tag.alive().len() == TREE_SIZE);
    client.kill();
    eventually("the guardian has gone", || !runs(guardian));
    // The main process dies with its keeper in any case, and `timeout` may go with it; the rest stays.
    eventually("keepers have gone", || client.tag.alive().len() < TREE_SIZE);
    let left = client.tag.alive();
    assert!(left.len() >= TREE_SIZE - 2, "{left:#?}");
    client.tag.kill_all();
}

#[test]
fn after_kill_9_of_the_guardian_nothing_is_left_and_another_one_works() {
    let mut client = Client::start("tree", |_| {});
    for _ in 0..3 {
        let guardian = client.pid_after("@guardian ");
        eventually("the tree stands", || client.tag.alive().len() == TREE_SIZE);
        let bystander = client.pid_after("@bystander ");
        kill(guardian, Signal::SIGKILL).expect("killed");
        assert_eq!(client.after("@exited "), "Lost");
        assert_eq!(client.after("@tree "), "gone");
        assert_eq!(client.after("@guardian-lost "), "0 tagged");
        assert!(
            runs(bystander),
            "what devwatch started by itself is none of the guardian's"
        );
    }
    client.pid_after("@guardian ");
    eventually("the tree stands", || client.tag.alive().len() == TREE_SIZE);
    client.finish();
}

#[test]
fn after_kill_9_of_a_keeper_its_tree_is_gone_and_the_others_stay() {
    let house = House::new();
    let other = house.sh("sleep $0; :");
    house.spawned(other);
    eventually("it sleeps", || house.tag.alive().len() == 2);
    for _ in 0..5 {
        let job = house.sh(TREE);
        house.spawned(job);
        eventually("the tree stands", || {
            house.tag.alive().len() == TREE_SIZE + 2
        });
        kill(
            house.guardian.keeper(job).expect("a keeper"),
            Signal::SIGKILL,
        )
        .expect("killed");
        assert_eq!(house.exited(job).0, Exit::Lost);
        house.tree_gone(job);
        assert_eq!(house.tag.alive().len(), 2, "{:#?}", house.tag.alive());
    }
    house.guardian.kill(other);
    house.exited(other);
    house.tree_gone(other);
}

#[test]
fn after_kill_9_of_devwatch_and_guardian_the_keepers_still_kill() {
    for _ in 0..3 {
        let mut client = Client::start("tree", |_| {});
        let guardian = client.pid_after("@guardian ");
        eventually("the tree stands", || client.tag.alive().len() == TREE_SIZE);
        kill(guardian, Signal::SIGKILL).expect("killed");
        client.kill();
        eventually("nothing is left", || client.tag.alive().is_empty());
    }
}

#[test]
fn no_ordinary_signal_ends_guardian_or_keeper() {
    let house = House::new();
    let job = house.sh("echo up; sleep $0");
    house.spawned(job);
    house.wait_for_output(job, "up");
    let keeper = house.guardian.keeper(job).expect("a keeper");
    for pid in [house.guardian.pid(), keeper] {
        for number in (1..=64).filter(|n| ![4, 5, 6, 7, 8, 9, 11, 19, 31, 32, 33].contains(n)) {
            // SAFETY: kill takes two integers.
            assert_eq!(unsafe { libc::kill(pid.as_raw(), number) }, 0);
        }
    }
    house.guardian.kill(job);
    // What was sent to the keeper is reported; then comes the exit.
    loop {
        match house.next() {
            Report::Signalled { by, .. } => assert_eq!(by, Pid::this()),
            Report::Exited { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    house.tree_gone(job);
    assert!(runs(house.guardian.pid()));
    assert_eq!(house.run(house.script("exit 4")).1, Exit::Code(4));
}

#[test]
fn the_lock_is_held_until_the_guardian_has_cleaned_up() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut client = Client::start("tree", |command| {
        command.env("DWTEST_LOCK", file.path());
    });
    let guardian = client.pid_after("@guardian ");
    eventually("the tree stands", || client.tag.alive().len() == TREE_SIZE);
    let lock = file.reopen().expect("opened");
    kill(guardian, Signal::SIGSTOP).expect("stopped");
    client.kill();
    let held = lock.try_lock().is_err();
    kill(guardian, Signal::SIGCONT).expect("continued");
    assert!(held, "by the guardian, although devwatch is gone");
    eventually("the lock is free", || lock.try_lock().is_ok());
    assert!(client.tag.alive().is_empty());
}

#[test]
fn a_killed_devwatch_leaves_the_terminal_as_it_was() {
    let pty = nix::pty::openpty(None, None).expect("a terminal");
    let slave = pty.slave.try_clone().expect("a descriptor");
    // A shell leads the session: the end of a leader hangs up the terminal, which would hide what is tested.
    let mut client = Client::start_by(under_a_shell, "raw", |command| {
        command.stderr(slave.try_clone().expect("a descriptor"));
        // SAFETY: two system calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                Errno::result(libc::ioctl(2, libc::TIOCSCTTY, 0))?;
                Ok(())
            });
        }
    });
    let pid = client.pid_after("@raw ");
    let cooked = LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG;
    let flags = || tcgetattr(pty.master.as_fd()).expect("settings").local_flags;
    assert!(!flags().intersects(cooked), "raw");
    kill(pid, Signal::SIGKILL).expect("killed");
    eventually("cooked", || flags().contains(cooked));
    client.finish();
}

#[test]
fn a_terminal_that_somebody_else_has_taken_is_left_alone() {
    let pty = nix::pty::openpty(None, None).expect("a terminal");
    let slave = pty.slave.try_clone().expect("a descriptor");
    // The session has no terminal of its own, so this one is in the hands of no group of it.
    let mut client = Client::start_by(under_a_shell, "raw", |command| {
        command.stderr(slave.try_clone().expect("a descriptor"));
        // SAFETY: one system call between fork and exec.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                Ok(())
            });
        }
    });
    let guardian = client.pid_after("@guardian ");
    kill(client.pid_after("@raw "), Signal::SIGKILL).expect("killed");
    eventually("the guardian has gone", || !runs(guardian));
    let flags = tcgetattr(pty.master.as_fd()).expect("settings").local_flags;
    assert!(!flags.contains(LocalFlags::ICANON));
    client.finish();
}

#[test]
fn a_killed_devwatch_leaves_its_screen() {
    let mut scene = OnTerminal::start("screen");
    kill(scene.client.pid_after("@up "), Signal::SIGKILL).expect("killed");
    scene.reads("drawn");
    scene.reads(LEAVE_SCREEN);
    scene.client.finish();
}

#[test]
fn a_guardian_that_took_the_place_of_another_leaves_the_screen_too() {
    let mut scene = OnTerminal::start("screen");
    let guardian = scene.client.pid_after("@guardian ");
    let pid = scene.client.pid_after("@up ");
    kill(guardian, Signal::SIGKILL).expect("killed");
    scene.client.pid_after("@revived ");
    kill(pid, Signal::SIGKILL).expect("killed");
    scene.reads(LEAVE_SCREEN);
    scene.client.finish();
}

#[test]
fn a_screen_that_devwatch_has_left_itself_is_not_left_again() {
    let mut scene = OnTerminal::start("left");
    let guardian = scene.client.pid_after("@guardian ");
    kill(scene.client.pid_after("@up "), Signal::SIGKILL).expect("killed");
    eventually("the guardian has gone", || !runs(guardian));
    scene.is_left_alone();
    scene.client.finish();
}

#[test]
fn the_screen_of_another_job_that_has_the_terminal_by_now_is_not_left() {
    let mut scene = OnTerminal::start("other job");
    let guardian = scene.client.pid_after("@guardian ");
    let other = scene.client.pid_after("@other ");
    kill(scene.client.pid_after("@up "), Signal::SIGKILL).expect("killed");
    eventually("the guardian has gone", || !runs(guardian));
    scene.is_left_alone();
    kill(other, Signal::SIGKILL).expect("killed");
    scene.client.finish();
}

#[test]
fn a_terminal_that_a_job_had_that_is_gone_is_left() {
    let mut scene = OnTerminal::start("dead job");
    kill(scene.client.pid_after("@up "), Signal::SIGKILL).expect("killed");
    scene.reads(LEAVE_SCREEN);
    scene.client.finish();
}

#[test]
fn a_terminal_that_nobody_reads_holds_up_no_guardian() {
    let mut scene = OnTerminal::start("full");
    let guardian = scene.client.pid_after("@guardian ");
    kill(scene.client.pid_after("@up "), Signal::SIGKILL).expect("killed");
    eventually("the guardian has gone", || !runs(guardian));
    // The shell, which says that somebody was killed, waits for room as anybody else would.
    scene.read();
    scene.client.finish();
}

#[test]
fn a_terminal_that_is_read_late_is_left_all_the_same() {
    let mut scene = OnTerminal::start("full");
    kill(scene.client.pid_after("@up "), Signal::SIGKILL).expect("killed");
    scene.reads(LEAVE_SCREEN);
    scene.client.finish();
}

/// A scene of its own session and terminal, below a shell.
struct OnTerminal {
    client: Client,
    master: OwnedFd,
    /// As long as somebody has it open, what was written can be read.
    _slave: OwnedFd,
    read: Vec<u8>,
}

impl OnTerminal {
    fn start(scene: &str) -> OnTerminal {
        let pty = nix::pty::openpty(None, None).expect("a terminal");
        for end in [&pty.master, &pty.slave] {
            // Other tests start processes meanwhile.
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("set");
        }
        let slave = pty.slave.try_clone().expect("a descriptor");
        let client = Client::start_by(under_a_shell, scene, |command| {
            command.stderr(slave);
            // SAFETY: two system calls between fork and exec.
            unsafe {
                command.pre_exec(|| {
                    nix::unistd::setsid()?;
                    Errno::result(libc::ioctl(2, libc::TIOCSCTTY, 0))?;
                    Ok(())
                });
            }
        });
        fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("set");
        OnTerminal {
            client,
            master: pty.master,
            _slave: pty.slave,
            read: Vec::new(),
        }
    }

    /// All that was written so far.
    fn read(&mut self) -> String {
        let mut chunk = [0; 4096];
        while let Ok(count) = nix::unistd::read(&self.master, &mut chunk) {
            self.read.extend_from_slice(&chunk[..count]);
        }
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// The shell may say that somebody was killed.
    fn is_left_alone(&mut self) {
        let read = self.read();
        assert!(
            read.starts_with("drawn") && !read.contains('\x1b'),
            "{read:?}"
        );
    }

    fn reads(&mut self, text: &str) {
        eventually(&format!("{text:?}"), || self.read().contains(text));
    }
}

fn under_a_shell(helper: Vec<OsString>) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg("\"$@\"; exec cat >/dev/null")
        .arg("sh")
        .args(helper);
    shell
}

// ---------------------------------------------------------------- cost

/// `cargo test --release --test it spawn_cost -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn spawn_cost() {
    const RUNS: usize = 300;
    let program = ["/bin/echo", "x"];
    let (send, first_byte) = channel();
    struct Bell(std::sync::mpsc::Sender<Instant>);
    impl Output for Bell {
        fn write(&mut self, _: JobId, _: Stream, _: &[u8]) {
            let _ = self.0.send(Instant::now());
        }
    }
    let (tell, reports) = channel();
    let guardian = Guardian::start_with(
        Path::new(DEVWATCH),
        Box::new(Bell(send)),
        move |report| drop(tell.send((Instant::now(), report))),
        None,
    )
    .expect("a guardian");
    let mut times: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for run in 0..RUNS {
        let began = Instant::now();
        guardian
            .spawn(JobId(run as u64), spec(program))
            .expect("asked for");
        let asked = began.elapsed();
        times
            .entry("guardian: spawn() returns")
            .or_default()
            .push(asked);
        let first = first_byte.recv().expect("a byte") - began;
        times.entry("guardian: first byte").or_default().push(first);
        loop {
            let (at, report) = reports.recv().expect("a report");
            match report {
                Report::Spawned { .. } => {
                    times
                        .entry("guardian: Spawned reported")
                        .or_default()
                        .push(at - began);
                }
                Report::Exited { .. } => times
                    .entry("guardian: Exited reported")
                    .or_default()
                    .push(at - began),
                Report::TreeGone { .. } => break,
                other => panic!("{other:?}"),
            }
        }
        let began = Instant::now();
        let mut child = Command::new(program[0])
            .arg(program[1])
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut byte = [0];
        child
            .stdout
            .as_mut()
            .expect("piped")
            .read_exact(&mut byte)
            .expect("a byte");
        times
            .entry("std::process::Command: first byte")
            .or_default()
            .push(began.elapsed());
        child.wait().expect("reaped");
    }
    for (name, mut times) in times {
        times.sort();
        println!(
            "{name}: p50 {:?} p95 {:?}",
            times[RUNS / 2],
            times[RUNS * 95 / 100]
        );
    }
}

// ---------------------------------------------------------------- a devwatch to kill

/// This test binary run once more as a devwatch that can be killed: see [`client_process`].
struct Client {
    child: Child,
    lines: Receiver<String>,
    tag: Tag,
}

impl Client {
    fn start(scene: &str, prepare: impl FnOnce(&mut Command)) -> Client {
        let direct = |helper: Vec<OsString>| {
            let mut command = Command::new(&helper[0]);
            command.args(&helper[1..]);
            command
        };
        Client::start_by(direct, scene, prepare)
    }

    fn start_by(
        by: impl FnOnce(Vec<OsString>) -> Command,
        scene: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Client {
        let tag = Tag::new();
        let mut helper = vec![std::env::current_exe().expect("this file").into_os_string()];
        helper.extend(
            [
                "guardian::client_process",
                "--exact",
                "--ignored",
                "--nocapture",
            ]
            .map(OsString::from),
        );
        let mut command = by(helper);
        command.env("DWTEST_SCENE", scene).env("DWTEST_TAG", &tag.0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn().expect("started");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (send, lines) = channel();
        std::thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| send.send(line))
        });
        Client { child, lines, tag }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// The rest of its next line that begins with `prefix`.
    fn after(&mut self, prefix: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(DEADLINE).expect(prefix);
            if let Some((_, rest)) = line.split_once(prefix) {
                return rest.to_owned();
            }
        }
    }

    fn try_after(self, prefix: &str) -> Option<(Client, String)> {
        loop {
            let line = self.lines.recv_timeout(DEADLINE).ok()?;
            if let Some((_, rest)) = line.split_once(prefix) {
                let rest = rest.to_owned();
                return Some((self, rest));
            }
        }
    }

    fn pid_after(&mut self, prefix: &str) -> Pid {
        Pid::from_raw(self.after(prefix).parse().expect("a pid"))
    }

    fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// Lets it end in an orderly way.
    fn finish(mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().expect("reaped");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its guardian may need a moment.
        if !std::thread::panicking() {
            eventually("nothing is left", || self.tag.alive().is_empty());
        }
    }
}

/// Not a test: what the tests start to have a devwatch that they can kill.
#[test]
#[ignore = "run by other tests"]
fn client_process() {
    let (Ok(scene), Ok(tag)) = (std::env::var("DWTEST_SCENE"), std::env::var("DWTEST_TAG")) else {
        return;
    };
    let tag = Tag(tag);
    match scene.as_str() {
        "tree" => play_tree(&tag),
        "flood" => play_flood(&tag),
        "dirty" => play_dirty(&tag),
        "raw" => play_raw(&tag),
        "screen" | "left" | "other job" | "dead job" | "full" => play_screen(&scene),
        "limit" => play_limit(&tag),
        other => panic!("no scene {other}"),
    }
}

/// Ends when the test does: it holds the other end of stdin.
fn wait_for_the_test() {
    let _ = std::io::stdin().read(&mut [0]);
}

fn client_guardian(output: impl Output + 'static) -> (Guardian, Receiver<Report>) {
    let (send, reports) = channel();
    let lock = std::env::var_os("DWTEST_LOCK").map(|path| File::open(path).expect("a lock"));
    lock.iter().for_each(|lock| lock.try_lock().expect("free"));
    let guardian = Guardian::start_with(
        Path::new(DEVWATCH),
        Box::new(output),
        move |report| drop(send.send(report)),
        lock.as_ref(),
    )
    .expect("a guardian");
    (guardian, reports)
}

fn play_tree(tag: &Tag) {
    let (mut guardian, reports) = client_guardian(Printed::default());
    // It ends with this process, whose end of the pipe is the only one.
    let mut bystander = Command::new("cat")
        .stdin(Stdio::piped())
        .spawn()
        .expect("started");
    let bystander_pid = bystander.id();
    std::thread::spawn(move || {
        wait_for_the_test();
        bystander.kill().expect("killed");
        bystander.wait().expect("reaped");
        // Not the guardian's Drop: the end of the process must do.
        std::process::exit(0);
    });
    for job in (1..).map(JobId) {
        guardian
            .spawn(job, spec(["sh", "-c", TREE, &tag.0]))
            .expect("asked for");
        println!("\n@guardian {}", guardian.pid());
        println!("\n@bystander {bystander_pid}");
        loop {
            match reports.recv().expect("a report") {
                Report::Spawned { .. } => {}
                Report::Exited { exit, .. } => println!("\n@exited {exit:?}"),
                Report::TreeGone { .. } => println!("\n@tree gone"),
                Report::GuardianLost => break,
                other => panic!("{other:?}"),
            }
        }
        println!("\n@guardian-lost {} tagged", tag.alive().len());
        guardian.revive().expect("another guardian");
    }
}

fn play_flood(tag: &Tag) {
    struct Count(Arc<AtomicU64>);
    impl Output for Count {
        fn write(&mut self, _: JobId, _: Stream, bytes: &[u8]) {
            self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    }
    let peak = || -> u64 {
        let status = fs::read_to_string("/proc/self/status").expect("our status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("a peak");
        line.trim().trim_end_matches(" kB").parse().expect("kB")
    };
    let count = Arc::new(AtomicU64::new(0));
    let (guardian, reports) = client_guardian(Count(count.clone()));
    let mut small = spec(["sh", "-c", "echo hello", &tag.0]);
    small.ready_line = Some(Regex::new("never").expect("a pattern"));
    guardian.spawn(JobId(1), small).expect("asked for");
    while reports.recv().expect("a report") != (Report::TreeGone { job: JobId(1) }) {}
    let before = peak();
    count.store(0, Ordering::Relaxed);
    let mut flood = spec(["sh", "-c", "head -c 1G /dev/zero", &tag.0]);
    flood.ready_line = Some(Regex::new("never").expect("a pattern"));
    guardian.spawn(JobId(2), flood).expect("asked for");
    loop {
        match reports.recv().expect("a report") {
            Report::Exited { last, .. } => assert!(last.concat().len() <= 4096),
            Report::TreeGone { .. } => break,
            _ => {}
        }
    }
    assert_eq!(count.load(Ordering::Relaxed), 1 << 30);
    println!("\n@grown {}", peak() - before);
    guardian.shutdown();
}

fn play_dirty(tag: &Tag) {
    SigSet::all().thread_block().expect("blocked");
    for signo in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGUSR2,
        Signal::SIGCHLD,
        Signal::SIGPIPE,
    ] {
        // SAFETY: ignoring runs no handler.
        unsafe { signal(signo, SigHandler::SigIgn) }.expect("ignored");
    }
    // Inherited by whatever devwatch executes, like a make jobserver: one low and one high.
    let file = File::open("/dev/null").expect("a file");
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).expect("set");
    fcntl(&file, FcntlArg::F_DUPFD(500)).expect("a copy");
    // Only now: the client's threads and processes inherit all that.
    let printed = Printed::default();
    let (guardian, reports) = client_guardian(printed.clone());
    let pick = |status: String| -> String {
        let wanted = |line: &&str| {
            ["SigBlk", "SigIgn", "SigCgt"]
                .iter()
                .any(|name| line.starts_with(name))
        };
        status
            .lines()
            .filter(wanted)
            .collect::<Vec<_>>()
            .join(" ")
            .replace('\t', " ")
    };
    println!(
        "\n@ours {}",
        pick(fs::read_to_string("/proc/thread-self/status").expect("our status"))
    );
    guardian
        .spawn(JobId(1), spec(["cat", "/proc/self/status", "/dev/null"]))
        .expect("asked for");
    while reports.recv().expect("a report") != (Report::TreeGone { job: JobId(1) }) {}
    guardian
        .spawn(JobId(2), spec(["ls", "/proc/self/fd"]))
        .expect("asked for");
    while reports.recv().expect("a report") != (Report::TreeGone { job: JobId(2) }) {}
    println!("\n@theirs {}", pick(printed.text(JobId(1))));
    println!(
        "\n@descriptors {}",
        printed.text(JobId(2)).lines().collect::<Vec<_>>().join(" ")
    );
    assert!(tag.alive().is_empty());
    guardian.shutdown();
}

fn play_raw(_: &Tag) {
    let (guardian, _reports) = client_guardian(Printed::default());
    let stderr = std::io::stderr();
    let mut raw = tcgetattr(stderr.as_fd()).expect("a terminal");
    cfmakeraw(&mut raw);
    tcsetattr(stderr.as_fd(), SetArg::TCSANOW, &raw).expect("raw");
    println!("\n@guardian {}", guardian.pid());
    println!("\n@raw {}", Pid::this());
    wait_for_the_test();
    // Not in an orderly way: that is devwatch's own affair.
    std::process::exit(0);
}

/// What a devwatch with a full screen tells its guardian.
fn play_screen(scene: &str) {
    let (mut guardian, reports) = client_guardian(Printed::default());
    let notice = guardian.screen_notice();
    notice.tell(true);
    eprint!("drawn");
    if scene == "left" {
        notice.tell(false);
    }
    if scene == "full" {
        let terminal = fs::OpenOptions::new()
            .write(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open("/proc/self/fd/2");
        let mut terminal = terminal.expect("a terminal");
        while terminal.write(b"more than anybody reads ").is_ok() {}
    }
    println!("\n@guardian {}", guardian.pid());
    if scene.ends_with(" job") {
        let mut other = Command::new("sleep");
        other.arg("1000").process_group(0);
        other
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut other = other.spawn().expect("started");
        let pid = Pid::from_raw(other.id().cast_signed());
        tcsetpgrp(std::io::stderr(), pid).expect("the foreground");
        println!("\n@other {pid}");
        if scene == "dead job" {
            other.kill().expect("killed");
        }
        // In a thread that ends with this process: nobody but the test may end the other one.
        let ended = std::thread::spawn(move || other.wait());
        if scene == "dead job" {
            let _ = ended.join();
        }
    }
    println!("\n@up {}", Pid::this());
    if scene == "screen" {
        std::thread::spawn(move || {
            while reports.recv().expect("a report") != Report::GuardianLost {}
            guardian.revive().expect("another guardian");
            println!("\n@revived {}", guardian.pid());
            wait_for_the_test();
        });
    }
    wait_for_the_test();
    std::process::exit(0);
}

fn play_limit(tag: &Tag) {
    let (guardian, reports) = client_guardian(Printed::default());
    let limit = |soft: libc::rlim_t| {
        let hard = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NPROC)
            .expect("a limit")
            .1;
        let limit = libc::rlimit {
            rlim_cur: soft.min(hard),
            rlim_max: hard,
        };
        // SAFETY: `limit` is valid; the old one is not asked for.
        let set = unsafe {
            libc::prlimit(
                guardian.pid().as_raw(),
                libc::RLIMIT_NPROC,
                &limit,
                std::ptr::null_mut(),
            )
        };
        Errno::result(set).map(drop)
    };
    if nix::unistd::geteuid().is_root() {
        return println!("\n@limit cannot be tested as root");
    }
    // The guardian is dumpable and ours, so we may limit it.
    if let Err(error) = limit(0) {
        return println!("\n@limit cannot be set: {error}");
    }
    println!("\n@limit set");
    guardian
        .spawn(JobId(1), spec(["true", &tag.0]))
        .expect("asked for");
    match reports.recv().expect("a report") {
        Report::SpawnFailed { error, .. } => println!("\n@first {:?}", error.reason),
        other => panic!("{other:?}"),
    }
    guardian
        .spawn(JobId(2), spec(["true", &tag.0]))
        .expect("asked for");
    assert_eq!(
        reports.recv_timeout(Duration::from_millis(100)),
        Err(RecvTimeoutError::Timeout)
    );
    limit(libc::rlim_t::MAX).expect("lifted");
    loop {
        match reports.recv().expect("a report") {
            Report::Exited { exit, .. } => println!("\n@second {exit:?}"),
            Report::TreeGone { .. } => break,
            _ => {}
        }
    }
    guardian.shutdown();
}
