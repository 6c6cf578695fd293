//! A server gives way to its successor: nobody is refused, and after FRESH nobody hears the old one any more.
//!
//! The servers are those of `examples/hot` and, where there is Go, `examples/hot-go`; a build is a copy with the
//! version appended. Versions only count up here, so that an answer tells whether it is too old.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::project::{
    Devwatch, PATIENCE, Project, eventually, field, free_port, get_path, hot_go_server, hot_server,
};

// ---------------------------------------------------------------- P1, P2, P4: under load

#[test]
fn falcore_like_hands_over_by_itself_under_load() {
    swaps_under_load(&FALCORE_LIKE_SELF, 15, Expect::NothingLost);
}

#[test]
fn falcore_like_is_played_by_devwatch_under_load() {
    swaps_under_load(&FALCORE_LIKE_ADOPT, 15, Expect::NothingLost);
}

#[test]
fn endless_like_hands_over_by_itself_under_load() {
    swaps_under_load(&ENDLESS_LIKE_SELF, 15, Expect::NothingLost);
}

#[test]
fn endless_like_is_played_by_devwatch_under_load() {
    swaps_under_load(&ENDLESS_LIKE_ADOPT, 15, Expect::NothingLost);
}

#[test]
fn a_server_that_drains_loses_no_request_in_twenty_overlaps() {
    swaps_under_load(&DRAINS, 20, Expect::NothingLost);
}

#[test]
fn falcore_hands_over_by_itself_under_load() {
    swaps_under_load(&FALCORE_SELF, 15, Expect::NothingLost);
}

#[test]
fn falcore_is_played_by_devwatch_under_load() {
    swaps_under_load(&FALCORE_ADOPT, 15, Expect::NothingLost);
}

#[test]
fn endless_hands_over_by_itself_under_load() {
    swaps_under_load(&ENDLESS_SELF, 15, Expect::NothingRefused);
}

#[test]
fn endless_is_played_by_devwatch_under_load() {
    swaps_under_load(&ENDLESS_ADOPT, 15, Expect::NothingRefused);
}

#[test]
fn grace_hands_over_by_itself_under_load() {
    swaps_under_load(&GRACE_SELF, 15, Expect::NothingRefused);
}

#[test]
fn grace_is_played_by_devwatch_under_load() {
    swaps_under_load(&GRACE_ADOPT, 15, Expect::NothingRefused);
}

#[test]
fn tableflip_hands_over_by_itself_under_load() {
    swaps_under_load(&TABLEFLIP, 15, Expect::NothingRefused);
}

#[test]
fn plain_net_http_gives_way_under_load() {
    swaps_under_load(&NET_HTTP, 15, Expect::NothingRefused);
}

#[test]
fn keep_alive_clients_of_falcore_like_lose_nothing() {
    swaps_with_keep_alive(&FALCORE_LIKE_SELF, 15);
}

#[test]
fn keep_alive_clients_of_a_server_that_drains_lose_nothing() {
    swaps_with_keep_alive(&DRAINS, 20);
}

// ---------------------------------------------------------------- P2: idle

#[test]
fn an_idle_rust_server_answers_with_new_code_after_fresh() {
    for way in [
        &FALCORE_LIKE_SELF,
        &FALCORE_LIKE_ADOPT,
        &ENDLESS_LIKE_SELF,
        &ENDLESS_LIKE_ADOPT,
        &DRAINS,
    ] {
        single_requests_after_fresh(way);
    }
}

#[test]
fn an_idle_go_server_answers_with_new_code_after_fresh() {
    for way in [
        &FALCORE_SELF,
        &FALCORE_ADOPT,
        &ENDLESS_SELF,
        &ENDLESS_ADOPT,
        &GRACE_SELF,
        &GRACE_ADOPT,
        &TABLEFLIP,
        &NET_HTTP,
    ] {
        single_requests_after_fresh(way);
    }
}

// ---------------------------------------------------------------- P3

#[test]
fn thirty_queued_requests_outlive_a_killed_server() {
    for way in [&DRAINS, &FALCORE_LIKE_ADOPT] {
        let mut hot = Hot::start(way).expect("a Rust server");
        let old = hot.pid;
        kill(old, Signal::SIGSTOP).expect("the server can be stopped");
        assert!(eventually(PATIENCE, || stopped(old)), "{old} does not stop");
        let queued: Vec<Client> = (0..30)
            .map(|_| {
                let mut client = Client::new(hot.port);
                client.send(Close::Yes).expect("it waits in the queue");
                client
            })
            .collect();
        kill(old, Signal::SIGKILL).expect("the server can be killed");
        let answers: Vec<_> = queued.into_iter().map(|mut it| it.receive()).collect();
        let good = answers.iter().filter(|it| matches!(it, Ok(1))).count();
        assert_eq!(good, 30, "{answers:?}\n{}", hot.devwatch.story());
        hot.pid = hot.server_pid();
        assert_ne!(hot.pid, old);
        hot.ends();
    }
}

/// P1: nobody is refused from the first bind on, whatever happens to the server behind the socket.
#[test]
fn a_held_socket_refuses_nobody_whatever_happens_to_its_server() {
    let _turn = turn();
    let breaks = "if grep -q broken version.txt; then exit 1; fi";
    let mut hot = Hot::start_slowly(&DRAINS, breaks).expect("a Rust server");
    let load = Load::start(hot.port, 32, Close::Yes);
    hot.swaps(13, &load);
    hot.project.replace("version.txt", "broken");
    hot.devwatch.end("failed");
    hot.project.replace("version.txt", "v15;crash=start");
    let end = hot.devwatch.end("crashed");
    assert!(!end.contains("serving=none"), "{end}");
    hot.swap_to(16);
    // It dies young, and the one before it stands in until the next save.
    kill(hot.pid, Signal::SIGKILL).expect("the server can be killed");
    hot.devwatch
        .line("note: starting the last good build in its place");
    hot.devwatch.end("crashed");
    hot.save(17);
    hot.devwatch.end("serving");
    assert_eq!(hot.version(), 17, "{}", hot.devwatch.story());
    load.shared.fresh.store(17, Ordering::SeqCst);
    let tally = load.end();
    eprintln!("{tally}");
    assert_eq!(tally.refused, 0, "{tally}\n{}", hot.devwatch.story());
    hot.pid = hot.server_pid();
    hot.ends();
}

// ---------------------------------------------------------------- the artefact does not change

#[test]
fn a_build_with_the_same_result_signals_nobody_and_starts_nothing() {
    for way in [&FALCORE_LIKE_SELF, &ENDLESS_LIKE_ADOPT, &DRAINS] {
        let mut hot = Hot::start(way).expect("a Rust server");
        hot.swap_to(2);
        // The old one's last words are past now.
        hot.devwatch.rest();
        let before = hot.project.processes();
        for round in 0..3 {
            hot.project
                .replace("comment.txt", &format!("round {round}\n"));
            hot.devwatch.end("unchanged");
            assert_eq!(hot.server_pid(), hot.pid, "{}", hot.devwatch.story());
            assert_eq!(hot.version(), 2);
        }
        // Only the times change. Nothing may be said of that, which the next line shows: the next build is the
        // one of the comment, and has the next number.
        let number = |line: &str| -> u32 {
            let rest = line.strip_prefix("devwatch: build ").expect("a build");
            rest.split(' ')
                .next()
                .unwrap_or_default()
                .parse()
                .expect("a number")
        };
        hot.project.replace("comment.txt", "before the touch\n");
        let last = number(&hot.devwatch.end("unchanged"));
        hot.project.shell("touch version.txt comment.txt out");
        hot.version();
        hot.project.replace("comment.txt", "after the touch\n");
        let begin = hot.devwatch.next_line(PATIENCE).expect("a line");
        assert_eq!(
            begin,
            format!("devwatch: build {} begin (1 file: comment.txt)", last + 1),
            "{}",
            hot.devwatch.story()
        );
        hot.devwatch.end("unchanged");
        assert_eq!(hot.server_pid(), hot.pid);
        assert_eq!(hot.project.processes(), before, "{}", hot.devwatch.story());
        // What the servers say when they are started, or signalled.
        let said = hot.devwatch.said();
        let starts = said
            .iter()
            .filter(|line| line.ends_with(": starts"))
            .count();
        assert_eq!(starts, 2, "{said:#?}");
        let hups = said.iter().filter(|line| line.contains("SIGHUP")).count();
        let expected = usize::from(way.mode == "self");
        assert_eq!(hups, expected, "{said:#?}");
        hot.ends();
    }
}

// ---------------------------------------------------------------- P7: one swap at a time

#[test]
fn a_burst_of_saves_is_at_most_two_swaps() {
    for way in [&FALCORE_LIKE_SELF, &ENDLESS_LIKE_ADOPT, &DRAINS] {
        let mut hot = Hot::start_slowly(way, "sleep 0.4").expect("a Rust server");
        let mut version = 1;
        for saves in [2, 5, 50] {
            let starts = hot.starts();
            let begun = Instant::now();
            for save in 1..=saves {
                version += 1;
                hot.project.replace("version.txt", &format!("v{version}"));
                // Spread over 300 ms.
                let due = begun + Duration::from_millis(300) * save / saves;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            hot.serves_in_the_end(version);
            hot.only_owner_is(hot.server_pid());
            // One more build, which changes nothing: whatever the burst has caused is over.
            hot.project
                .replace("comment.txt", &format!("after {saves} saves\n"));
            hot.devwatch.end("unchanged");
            assert_eq!(hot.version(), version, "{}", hot.devwatch.story());
            let swaps = hot.starts() - starts;
            assert!(
                (1..=2).contains(&swaps),
                "{swaps} swaps for {saves} saves, {}\n{}",
                way.name,
                hot.devwatch.story()
            );
        }
        hot.pid = hot.server_pid();
        hot.ends();
    }
}

#[test]
fn a_hundred_swaps_leave_nothing_behind() {
    for way in [&DRAINS, &FALCORE_LIKE_SELF] {
        let mut hot = Hot::start(way).expect("a Rust server");
        let mut early = None;
        for version in 2..=101 {
            hot.swap_to(version);
            if version == 21 {
                early = Some(hot.footprint());
            }
        }
        let early = early.expect("taken on the way");
        hot.only_owner_is(hot.pid);
        // Threads and processes that are about to end may still be there.
        let mut late = hot.footprint();
        eventually(Duration::from_secs(5), || {
            late = hot.footprint();
            late.descriptors <= early.descriptors && late.processes <= early.processes
        });
        assert_eq!(late.zombies, Vec::<String>::new());
        assert!(
            late.descriptors <= early.descriptors
                && late.processes <= early.processes
                && late.memory <= early.memory + 4096,
            "after 20 swaps {early:?}, after 100 {late:?}, {}\n{:#?}",
            way.name,
            hot.project.processes()
        );
        hot.ends();
    }
}

// ---------------------------------------------------------------- the ways to hand over

/// A server, and how it hands over.
struct Way {
    name: &'static str,
    language: Language,
    mode: &'static str,
    /// What stands under `[server.hot]`.
    hot: &'static str,
    /// Whether devwatch holds the socket.
    listen: bool,
}

#[derive(Clone, Copy)]
enum Language {
    Rust,
    Go,
}

const fn itself(name: &'static str, language: Language, hot: &'static str) -> Way {
    Way {
        name,
        language,
        mode: "self",
        hot,
        listen: false,
    }
}

const fn held(
    name: &'static str,
    language: Language,
    mode: &'static str,
    hot: &'static str,
) -> Way {
    Way {
        name,
        language,
        mode,
        hot,
        listen: true,
    }
}

static FALCORE_LIKE_SELF: Way = itself("falcore-like", Language::Rust, "preset = \"falcore\"");
static FALCORE_LIKE_ADOPT: Way = held(
    "falcore-like",
    Language::Rust,
    "adopt",
    "preset = \"falcore\"",
);
static ENDLESS_LIKE_SELF: Way = itself("endless-like", Language::Rust, "preset = \"endless\"");
static ENDLESS_LIKE_ADOPT: Way = held(
    "endless-like",
    Language::Rust,
    "adopt",
    "preset = \"endless\"",
);
static DRAINS: Way = held("drains", Language::Rust, "overlap", "mode = \"overlap\"");
static FALCORE_SELF: Way = itself("falcore", Language::Go, "preset = \"falcore\"");
/// devwatch takes the socket from the first one, which has bound it.
static FALCORE_ADOPT: Way = Way {
    name: "falcore",
    language: Language::Go,
    mode: "adopt",
    hot: "preset = \"falcore\"\nmode = \"adopt\"",
    listen: false,
};
static ENDLESS_SELF: Way = itself("endless", Language::Go, "preset = \"endless\"");
static ENDLESS_ADOPT: Way = held("endless", Language::Go, "adopt", "preset = \"endless\"");
static GRACE_SELF: Way = itself("grace", Language::Go, "preset = \"grace\"");
static GRACE_ADOPT: Way = held("grace", Language::Go, "adopt", "preset = \"grace\"");
static TABLEFLIP: Way = itself("tableflip", Language::Go, "preset = \"tableflip\"");
static NET_HTTP: Way = held("nethttp", Language::Go, "overlap", "mode = \"overlap\"");

impl Way {
    /// The built server. None: there is no Go.
    fn binary(&self) -> Option<PathBuf> {
        match self.language {
            Language::Rust => Some(hot_server(self.name)),
            Language::Go => hot_go_server(self.name),
        }
    }
}

// ---------------------------------------------------------------- what the tests share

/// What clients may see of a swap, beside that nobody is refused and nobody gets an old answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// The server answers everything that it has accepted.
    NothingLost,
    /// What it has accepted may be lost, by its own fault.
    NothingRefused,
}

/// A new version again and again under 32 clients with a new connection for each request.
#[track_caller]
fn swaps_under_load(way: &Way, swaps: u32, expect: Expect) {
    let _turn = turn();
    let Some(mut hot) = Hot::start(way) else {
        return;
    };
    let load = Load::start(hot.port, 32, Close::Yes);
    hot.swaps(swaps, &load);
    let tally = load.end();
    eprintln!("{} {}: {tally}", way.name, way.mode);
    tally.fresh_and_never_refused(&mut hot);
    if expect == Expect::NothingLost {
        tally.nothing_lost(&mut hot);
    }
    hot.ends();
}

/// A new version again and again under 8 clients that keep their connections.
#[track_caller]
fn swaps_with_keep_alive(way: &Way, swaps: u32) {
    let _turn = turn();
    let mut hot = Hot::start(way).expect("a Rust server");
    let load = Load::start(hot.port, 8, Close::No);
    hot.swaps(swaps, &load);
    let tally = load.end();
    eprintln!("{} {}, keep-alive: {tally}", way.name, way.mode);
    tally.fresh_and_never_refused(&mut hot);
    tally.nothing_lost(&mut hot);
    hot.ends();
}

/// Nobody asks, then one request some time after FRESH.
#[track_caller]
fn single_requests_after_fresh(way: &Way) {
    let Some(mut hot) = Hot::start(way) else {
        return;
    };
    let mut version = 1;
    for after in [0, 50, 300] {
        for _ in 0..3 {
            version += 1;
            hot.save(version);
            hot.fresh();
            thread::sleep(Duration::from_millis(after));
            // The first connection to the server since it is there, of this test.
            assert_eq!(
                hot.version(),
                version,
                "{} {} {after} ms after FRESH\n{}",
                way.name,
                way.mode,
                hot.devwatch.story()
            );
        }
    }
    hot.pid = hot.server_pid();
    hot.ends();
}

/// One load at a time: two cores carry no more, and the rest of the tests needs some of them.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A project whose build is a copy, and a devwatch that serves it.
struct Hot {
    devwatch: Devwatch,
    project: Project,
    port: u16,
    mode: &'static str,
    /// The process that serves.
    pid: Pid,
}

impl Hot {
    /// Version 1 serves.
    fn start(way: &Way) -> Option<Hot> {
        Hot::start_slowly(way, ":")
    }

    /// Version 1 serves, and every build runs `first`.
    fn start_slowly(way: &Way, first: &str) -> Option<Hot> {
        let binary = way.binary()?;
        let project = Project::new();
        let port = free_port();
        let place = if way.listen {
            format!("listen = [\"127.0.0.1:{port}\"]")
        } else {
            format!("env = {{ PORT = \"{port}\" }}")
        };
        project.write("version.txt", "v1");
        project.write("comment.txt", "nothing of this is built in\n");
        project.write(
            "build.sh",
            &format!(
                "set -e\n{first}\ncp '{}' out.tmp\nprintf 'VERSION:%s' \"$(cat version.txt)\" >> out.tmp\nmv out.tmp out\n",
                binary.display()
            ),
        );
        project.write(
            "devwatch.toml",
            &format!(
                "[[rule]]
                name = \"build\"
                files = [\"version.txt\", \"comment.txt\"]
                run = [\"sh\", \"build.sh\"]
                outputs = [\"out\"]
                [server]
                run = [\"./out\"]
                restart = \"hot\"
                {place}
                [server.hot]
                # The tests saturate the machine: no limit shall be what they measure.
                fork_timeout = \"20s\"
                drain = \"20s\"
                {}
                ",
                way.hot
            ),
        );
        let mut devwatch = project.devwatch(&[]);
        devwatch.end("serving");
        let mut hot = Hot {
            devwatch,
            project,
            port,
            mode: way.mode,
            pid: Pid::from_raw(0),
        };
        assert_eq!(hot.version(), 1, "{}", hot.devwatch.story());
        hot.pid = hot.server_pid();
        Some(hot)
    }

    fn save(&self, version: u32) {
        self.project.replace("version.txt", &format!("v{version}"));
    }

    /// Waits for the end of a hot swap. Its pids are in the line; the new one is what serves.
    #[track_caller]
    fn fresh(&mut self) {
        let end = self.devwatch.end("serving");
        let said = |key| field(&end, key).and_then(|pid| pid.parse().ok());
        let how = format!(" restart=hot mode={} ", self.mode);
        assert!(
            end.contains(&how) && said("old") == Some(self.pid.as_raw()),
            "not{how}or not from {}: {end}\n{}",
            self.pid,
            self.devwatch.story()
        );
        let pid = said("pid").unwrap_or_else(|| panic!("no pid: {end}"));
        assert_ne!(pid, self.pid.as_raw(), "{end}");
        self.pid = Pid::from_raw(pid);
    }

    /// One swap, looked at from all sides.
    #[track_caller]
    fn swap_to(&mut self, version: u32) {
        self.save(version);
        self.fresh();
        assert_eq!(self.version(), version, "{}", self.devwatch.story());
        assert_eq!(self.server_pid(), self.pid, "{}", self.devwatch.story());
    }

    /// So many swaps from version 1 on, each of which the clients get to see.
    #[track_caller]
    fn swaps(&mut self, swaps: u32, load: &Load) {
        for version in 2..=swaps + 1 {
            self.save(version);
            self.fresh();
            load.shared.fresh.store(version, Ordering::SeqCst);
            let answers = load.answers();
            assert!(
                eventually(PATIENCE, || load.answers() > answers + 100),
                "nobody answers\n{}",
                self.devwatch.story()
            );
            assert_eq!(self.server_pid(), self.pid, "{}", self.devwatch.story());
        }
        self.only_owner_is(self.pid);
    }

    /// Waits for the end line of the cycle after which this version is the answer.
    #[track_caller]
    fn serves_in_the_end(&mut self, version: u32) {
        loop {
            self.devwatch.end("serving");
            if self.version() == version {
                return;
            }
        }
    }

    #[track_caller]
    fn version(&self) -> u32 {
        let mut client = Client::new(self.port);
        let answer = client.send(Close::Yes).and_then(|()| client.receive());
        answer.expect("an answer")
    }

    #[track_caller]
    fn server_pid(&self) -> Pid {
        let pid = get_path(self.port, "/pid").expect("an answer");
        Pid::from_raw(pid.trim().parse().expect("a pid"))
    }

    /// How many servers have started so far, by what they say.
    fn starts(&mut self) -> usize {
        let said = self.devwatch.said();
        said.iter()
            .filter(|line| line.ends_with(": starts"))
            .count()
    }

    /// No process but this one runs the artefact, and it runs the file that is there now and has the socket.
    #[track_caller]
    fn only_owner_is(&mut self, pid: Pid) {
        let artefact = fs::metadata(self.project.path("out")).expect("the artefact");
        let exe = fs::metadata(format!("/proc/{pid}/exe")).expect("its executable");
        assert_eq!(
            (exe.dev(), exe.ino()),
            (artefact.dev(), artefact.ino()),
            "{pid} runs something else"
        );
        let inode = listening_inode(self.port);
        let mut owners = BTreeSet::new();
        let settled = eventually(Duration::from_secs(5), || {
            owners = self
                .servers()
                .into_iter()
                .filter(|server| has_socket(*server, &inode))
                .collect();
            owners == BTreeSet::from([pid]) && self.servers() == owners
        });
        let servers = self.servers();
        assert!(
            settled,
            "{owners:?} of {servers:?} have the socket, not {pid} alone\n{}",
            self.devwatch.story()
        );
    }

    /// The processes that run the artefact, in any of its versions.
    fn servers(&self) -> BTreeSet<Pid> {
        let artefact = self.project.path("out");
        let runs_it = |pid: &Pid| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| {
                let exe = exe.to_string_lossy();
                Path::new(exe.trim_end_matches(" (deleted)")) == artefact
            })
        };
        self.pids().filter(runs_it).collect()
    }

    fn pids(&self) -> impl Iterator<Item = Pid> + use<> {
        self.project.processes().into_iter().map(|process| {
            let pid = process.split(' ').next().and_then(|pid| pid.parse().ok());
            Pid::from_raw(pid.expect("a pid"))
        })
    }

    fn footprint(&self) -> Footprint {
        let descriptors = |pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        let servers = self.servers();
        let status = fs::read_to_string(format!("/proc/{}/status", self.devwatch.pid()));
        let status = status.expect("devwatch runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|rest| rest.trim().split(' ').next()?.parse().ok());
        Footprint {
            processes: self.pids().count(),
            descriptors: self
                .pids()
                .filter(|pid| !servers.contains(pid))
                .map(descriptors)
                .sum(),
            memory: resident.expect("a number"),
            zombies: zombies_below(self.devwatch.pid()),
        }
    }

    #[track_caller]
    fn ends(mut self) {
        self.devwatch.signal(Signal::SIGTERM);
        assert_eq!(self.devwatch.ended().code(), Some(143));
        self.project.nothing_left(Duration::from_secs(2));
    }
}

/// What devwatch takes of the machine.
#[derive(Debug)]
struct Footprint {
    /// All of the project: devwatch, its guardian, its keepers, the server.
    processes: usize,
    /// Open ones, in all of them but the server.
    descriptors: usize,
    /// Of devwatch, in KiB.
    memory: u64,
    zombies: Vec<String>,
}

/// The state and the parent of a process.
fn state_of(pid: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Zombies among everything that descends from this process.
fn zombies_below(root: Pid) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let below = |pid: i32| {
        let mut at = pid;
        while let Some((_, parent)) = state_of(at).filter(|_| at > 1) {
            if parent == root.as_raw() {
                return true;
            }
            at = parent;
        }
        false
    };
    let zombies = pids.filter(|pid| state_of(*pid).is_some_and(|(state, _)| state == 'Z'));
    zombies
        .filter(|pid| below(*pid))
        .map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default())
        .collect()
}

/// Whether every thread of it has stopped.
fn stopped(pid: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('T'))
    })
}

/// The inode of the socket that listens on this port.
#[track_caller]
fn listening_inode(port: u16) -> String {
    let mut tables = String::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        tables += &fs::read_to_string(table).unwrap_or_default();
    }
    let ending = format!(":{port:04X}");
    let rows = tables.lines().map(|row| row.split_whitespace().collect());
    let mut inodes = rows.filter_map(|row: Vec<&str>| {
        let listens = row.get(1)?.ends_with(&ending) && *row.get(3)? == "0A";
        listens.then(|| row.get(9).copied().unwrap_or_default().to_owned())
    });
    let inode = inodes.next().expect("a socket listens");
    assert_eq!(inodes.next(), None, "two sockets listen on {port}");
    inode
}

fn has_socket(pid: Pid, inode: &str) -> bool {
    let name = format!("socket:[{inode}]");
    fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|fds| {
        fds.flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == Path::new(&name)))
    })
}

// ---------------------------------------------------------------- clients

/// Between an answer and the client's next request: 32 clients ask some thousand times a second.
const PAUSE: Duration = Duration::from_millis(8);

/// Clients that ask `GET /` one after the other.
struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Tally>>,
}

#[derive(Default)]
struct Shared {
    end: AtomicBool,
    /// The version that is known to be FRESH: what is asked from now on is answered by this one or a newer one.
    fresh: AtomicU32,
    answers: AtomicU64,
}

/// What clients have seen.
#[derive(Debug, Default)]
struct Tally {
    answers: u64,
    /// Connections that were refused.
    refused: u64,
    /// Requests that got no answer.
    lost: Vec<String>,
    /// Answers by a version older than what was FRESH when the request began.
    stale: Vec<String>,
    longest: Duration,
}

impl Load {
    fn start(port: u16, clients: usize, close: Close) -> Load {
        let shared = Arc::new(Shared::default());
        shared.fresh.store(1, Ordering::SeqCst);
        let client = |_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || ask_until_the_end(port, close, &shared))
        };
        Load {
            clients: (0..clients).map(client).collect(),
            shared,
        }
    }

    fn answers(&self) -> u64 {
        self.shared.answers.load(Ordering::SeqCst)
    }

    fn end(mut self) -> Tally {
        self.shared.end.store(true, Ordering::SeqCst);
        let mut all = Tally::default();
        for client in std::mem::take(&mut self.clients) {
            let one = client.join().expect("a client does not panic");
            all.answers += one.answers;
            all.refused += one.refused;
            all.lost.extend(one.lost);
            all.stale.extend(one.stale);
            all.longest = all.longest.max(one.longest);
        }
        all
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // A test that fails must not leave them asking.
        self.shared.end.store(true, Ordering::SeqCst);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            answers,
            refused,
            lost,
            stale,
            longest,
        } = self;
        let some = |all: &[String]| all.iter().take(5).cloned().collect::<Vec<_>>();
        write!(
            to,
            "{answers} answers, {refused} refused, {} lost {:?}, {} stale {:?}, longest {longest:?}",
            lost.len(),
            some(lost),
            stale.len(),
            some(stale)
        )
    }
}

impl Tally {
    #[track_caller]
    fn fresh_and_never_refused(&self, hot: &mut Hot) {
        assert!(
            self.refused == 0 && self.stale.is_empty(),
            "{self}\n{}",
            hot.devwatch.story()
        );
    }

    #[track_caller]
    fn nothing_lost(&self, hot: &mut Hot) {
        assert!(self.lost.is_empty(), "{self}\n{}", hot.devwatch.story());
    }
}

fn ask_until_the_end(port: u16, close: Close, shared: &Shared) -> Tally {
    let mut tally = Tally::default();
    let mut client = Client::new(port);
    while !shared.end.load(Ordering::SeqCst) {
        // Without it two cores do nothing but this, and every process of the machine starves.
        thread::sleep(PAUSE);
        let fresh = shared.fresh.load(Ordering::SeqCst);
        let begun = Instant::now();
        let sent = client.send(close);
        match sent.and_then(|()| client.receive()) {
            Ok(version) => {
                if close == Close::Yes {
                    // Falcore closes it without a word about that.
                    client.stream = None;
                }
                tally.answers += 1;
                shared.answers.fetch_add(1, Ordering::SeqCst);
                tally.longest = tally.longest.max(begun.elapsed());
                if version < fresh {
                    tally.stale.push(format!("v{version} after v{fresh}"));
                }
            }
            Err(error) => {
                client.stream = None;
                if error.kind() == ErrorKind::ConnectionRefused {
                    tally.refused += 1;
                } else {
                    tally.lost.push(error.to_string());
                }
            }
        }
    }
    tally
}

/// Whether a request is the last one on its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Close {
    Yes,
    No,
}

/// A client with at most one connection.
struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    fn new(port: u16) -> Client {
        Client {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            stream: None,
        }
    }

    /// Asks `GET /`, on a new connection if there is none.
    fn send(&mut self, close: Close) -> io::Result<()> {
        if self.stream.is_none() {
            let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            self.stream = Some(BufReader::new(stream));
        }
        let stream = self.stream.as_mut().expect("just connected").get_mut();
        let connection = match close {
            Close::Yes => "close",
            Close::No => "keep-alive",
        };
        let request =
            format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: {connection}\r\n\r\n");
        stream.write_all(request.as_bytes())
    }

    /// The version in the answer. The connection stays if the server says so.
    fn receive(&mut self) -> io::Result<u32> {
        let stream = self.stream.as_mut().expect("a request was sent");
        let (mut length, mut last) = (0, false);
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let lower = line.trim().to_ascii_lowercase();
            match lower.split_once(':') {
                Some(("content-length", value)) => {
                    length = value.trim().parse().map_err(io::Error::other)?;
                }
                Some(("connection", value)) => last = value.trim() == "close",
                Some(_) | None => {}
            }
            if lower.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        if last {
            self.stream = None;
        }
        let text = String::from_utf8_lossy(&body);
        let version = text.trim().strip_prefix('v').map(str::parse);
        match version {
            Some(Ok(version)) => Ok(version),
            Some(Err(_)) | None => Err(io::Error::other(format!("no version: {text:?}"))),
        }
    }
}
