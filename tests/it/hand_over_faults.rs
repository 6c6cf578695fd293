//! Hot restart when it goes wrong: broken binaries, orphans, servers that do not go, signals from strangers, and
//! the end of devwatch in the middle of it.
//!
//! The servers are those of `examples/hot` and `examples/hot-go`. A build copies one and appends `version.txt`,
//! which says what it answers and what is wrong with it. After every FRESH the test looks at the kernel's own
//! data: who owns the listening socket, and which file that process executes.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::project::{
    Devwatch, PATIENCE, Project, built_example, eventually, field, free_port, get, get_path, have,
    port_is_free, port_of,
};

/// A project with a server that hands over, and a devwatch in it.
struct Hot {
    devwatch: Devwatch,
    project: Project,
    port: u16,
    /// The process that serves.
    pid: i32,
    /// The number of the generation that serves.
    generation: u32,
}

/// How long a server may take that is all right: the machine may be busy.
const PATIENT: &str = "ready = { timeout = \"40s\" }";

/// What `[server]` and `[server.hot]` say beside what every one of these tests says.
struct Setup<'a> {
    /// The binary that the build copies.
    server: PathBuf,
    /// devwatch opens the socket, or the server does.
    listen: bool,
    /// Lines of `[server]`.
    plain: &'a str,
    /// Lines of `[server.hot]`.
    hot: &'a str,
}

impl Setup<'_> {
    fn config(&self, port: u16) -> String {
        let socket = if self.listen {
            format!("listen = [\"127.0.0.1:{port}\"]")
        } else {
            String::new()
        };
        format!(
            "[[rule]]
name = \"build\"
files = [\"version.txt\"]
run = ['sh', '-c', 'if grep -q broken version.txt; then exit 3; fi; cp {:?} out.tmp && printf VERSION:%s \"$(cat version.txt)\" >> out.tmp && mkdir -p bin && mv out.tmp bin/server']
outputs = [\"bin/server\"]

[server]
run = [\"bin/server\"]
env = {{ PORT = \"{port}\" }}
restart = \"hot\"
{socket}
{}

[server.hot]
{}
",
            self.server.display().to_string(),
            self.plain,
            if self.hot.contains("fork_timeout") { "" } else { "fork_timeout = \"20s\"\n" }.to_owned() + self.hot,
        )
    }

    /// Starts devwatch with version `v1`, which serves.
    #[track_caller]
    fn start(self) -> Hot {
        let port = free_port();
        let project = Project::new();
        project.write("version.txt", "v1");
        project.write("devwatch.toml", &self.config(port));
        Hot::start(project, port)
    }
}

impl Hot {
    #[track_caller]
    fn start(project: Project, port: u16) -> Hot {
        let devwatch = project.devwatch(&[]);
        let mut hot = Hot {
            devwatch,
            project,
            port,
            pid: 0,
            generation: 0,
        };
        hot.serves("v1");
        hot
    }

    fn save(&self, version: &str) {
        self.project.replace("version.txt", version);
    }

    /// The next end is a generation that is FRESH. It answers `version`, owns the socket alone and executes what
    /// was built; the process before it is gone. The end line.
    #[track_caller]
    fn serves(&mut self, version: &str) -> String {
        let end = self.devwatch.end("serving");
        let before = self.pid;
        self.pid = number(&end, "pid");
        self.generation = number(&end, "gen");
        assert!(!lives(before), "{before} is there: {end}");
        assert_eq!(port_of(&end), self.port, "{end}");
        self.is_what_serves();
        self.answers(version);
        end
    }

    /// Saves `version`, which goes into service with these words in the end line.
    #[track_caller]
    fn swaps(&mut self, version: &str, words: &[&str]) -> String {
        let old = self.pid;
        self.save(version);
        let end = self.serves(version);
        assert_eq!(number::<i32>(&end, "old"), old, "{end}");
        for word in words {
            assert!(
                end.contains(&format!(" {word}")),
                "no {word}: {end}\n{}",
                self.devwatch.story()
            );
        }
        end
    }

    /// Saves `version`, which does not come up. What served before serves on, STALE. The end line.
    #[track_caller]
    fn survives(&mut self, version: &str, serving: &str) -> String {
        self.save(version);
        let end = self.devwatch.end("crashed");
        let generation = format!("gen{}", self.generation);
        assert_eq!(field(&end, "serving"), Some(&*generation), "{end}");
        let stale = self.devwatch.line("note:");
        let expected = format!("gen {} still serves, STALE since ", self.generation);
        assert!(
            stale.contains(&expected),
            "{stale}\n{}",
            self.devwatch.story()
        );
        for _ in 0..3 {
            self.answers(serving);
        }
        assert_eq!(owners(&self.devwatch, &self.project, self.port), [self.pid]);
        end
    }

    #[track_caller]
    fn answers(&mut self, version: &str) {
        let answer = get(self.port);
        let answer = answer.unwrap_or_else(|error| panic!("{error}\n{}", self.devwatch.story()));
        assert_eq!(answer.trim_end(), version, "{}", self.devwatch.story());
    }

    /// The kernel agrees with the end line: this process has the socket, nobody else, and it is what was built.
    #[track_caller]
    fn is_what_serves(&mut self) {
        assert_eq!(
            owners(&self.devwatch, &self.project, self.port),
            [self.pid],
            "{}",
            self.devwatch.story()
        );
        let executes = identity(Path::new(&format!("/proc/{}/exe", self.pid)));
        let built = identity(&self.project.path("bin/server"));
        assert_eq!(executes, built, "{}", self.devwatch.story());
    }

    /// TERM: exit 143, every process gone, the port free.
    #[track_caller]
    fn ends(self) {
        let limit = Duration::from_secs(20);
        self.ends_within(limit);
    }

    #[track_caller]
    fn ends_within(mut self, limit: Duration) {
        self.devwatch.signal(Signal::SIGTERM);
        assert!(
            eventually(limit, || !lives(self.devwatch.pid().as_raw())),
            "still there after {limit:?}\n{}",
            self.devwatch.story()
        );
        assert_eq!(
            self.devwatch.ended().code(),
            Some(143),
            "{}",
            self.devwatch.story()
        );
        self.project.nothing_left(Duration::from_secs(2));
        assert!(port_is_free(self.port));
    }

    /// A request that takes `time` to answer, under way when this returns.
    fn slow_request(&self, time: Duration) -> thread::JoinHandle<std::io::Result<String>> {
        let port = self.port;
        let path = format!("/slow?ms={}", time.as_millis());
        let request = thread::spawn(move || get_path(port, &path));
        assert!(
            eventually(PATIENCE, || has_connection(self.pid, port)),
            "{} has accepted nothing",
            self.pid
        );
        request
    }
}

/// A request that a server has accepted and cannot answer yet: a line of its head comes every now and then.
struct UnfinishedRequest {
    finish: Arc<AtomicBool>,
    client: thread::JoinHandle<String>,
}

impl UnfinishedRequest {
    fn to(pid: i32, port: u16) -> UnfinishedRequest {
        let finish = Arc::new(AtomicBool::new(false));
        let told = finish.clone();
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
            stream.write_all(b"GET / HTTP/1.1\r\n").expect("it reads");
            let told = || told.load(Ordering::Relaxed);
            while !eventually(Duration::from_secs(1), told) {
                stream.write_all(b"Still: here\r\n").expect("it reads");
            }
            stream
                .write_all(b"Connection: close\r\n\r\n")
                .expect("it reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("it answers");
            answer.lines().last().unwrap_or_default().to_owned()
        });
        assert!(
            eventually(PATIENCE, || has_connection(pid, port)),
            "{pid} has accepted nothing"
        );
        UnfinishedRequest { finish, client }
    }

    /// The last line of the answer.
    fn finish(self) -> String {
        self.finish.store(true, Ordering::Relaxed);
        self.client.join().expect("the client gets its answer")
    }
}

/// The processes of the project that have the port's listening socket, without devwatch itself.
fn owners(devwatch: &Devwatch, project: &Project, port: u16) -> Vec<i32> {
    let sockets = sockets_of(port, "0A");
    let mut owners = Vec::new();
    for process in project.processes() {
        let pid: i32 = process
            .split(' ')
            .next()
            .and_then(|pid| pid.parse().ok())
            .expect("a pid");
        if pid != devwatch.pid().as_raw() && has_socket(pid, &sockets) {
            owners.push(pid);
        }
    }
    owners
}

fn has_connection(pid: i32, port: u16) -> bool {
    has_socket(pid, &sockets_of(port, "01"))
}

/// The inodes of the sockets bound to this port that are in this state, as `socket:[N]`.
fn sockets_of(port: u16, state: &str) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/net/tcp").expect("a table of sockets");
    let rows = table.lines().map(|line| line.split_whitespace().collect());
    let rows =
        rows.filter(|row: &Vec<&str>| row[1].ends_with(&format!(":{port:04X}")) && row[3] == state);
    rows.map(|row| PathBuf::from(format!("socket:[{}]", row[9])))
        .collect()
}

fn has_socket(pid: i32, sockets: &[PathBuf]) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let links = entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    links.into_iter().any(|link| sockets.contains(&link))
}

/// Device and inode of what a path leads to.
fn identity(path: &Path) -> (u64, u64) {
    let metadata = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (metadata.dev(), metadata.ino())
}

fn lives(pid: i32) -> bool {
    pid > 0
        && fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| !rest.trim_start().starts_with('Z'))
        })
}

#[track_caller]
fn number<N: std::str::FromStr>(line: &str, key: &str) -> N {
    field(line, key)
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no {key}: {line}"))
}

/// Milliseconds of a duration in a line.
#[track_caller]
fn millis(line: &str, key: &str) -> f64 {
    let value = field(line, key).unwrap_or_else(|| panic!("no {key}: {line}"));
    let (number, unit) = match value.strip_suffix("ms") {
        Some(number) => (number, 1.0),
        None => (value.trim_end_matches('s'), 1000.0),
    };
    number.parse::<f64>().expect("a duration") * unit
}

/// A server of `examples/hot`.
fn rust(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hot");
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hot/Cargo.toml");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "--quiet", "--manifest-path"]);
        cargo.arg(manifest).arg("--target-dir").arg(&target);
        succeeds(&mut cargo);
        target.join("debug")
    });
    folder.join(name)
}

/// A server of `examples/hot-go`, where there is a Go to build it with.
fn go(name: &str) -> Option<PathBuf> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if !have("go") {
        return None;
    }
    let folder = BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hot-go");
        fs::create_dir_all(&target).expect("a folder");
        let mut go = Command::new("go");
        go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hot-go"));
        go.args(["build", "-buildvcs=false", "-o"]).arg(&target);
        succeeds(go.arg("./cmd/..."));
        target
    });
    Some(folder.join(name))
}

fn succeeds(command: &mut Command) {
    let output = command.output().expect("it starts");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

// --- a new binary that does not come up ---

/// It crashes at the start, and it hangs; the old one serves on. Then a good one, with `recovery` in its end line;
/// and the next one is handed over to again.
#[track_caller]
fn broken_binaries(server: PathBuf, listen: bool, hot: &str, recovery: &[&str]) {
    let plain = "ready = { timeout = \"8s\" }";
    let mut running = Setup {
        server,
        listen,
        plain,
        hot: &format!("{hot}\nfork_timeout = \"5s\""),
    }
    .start();
    running.survives("v2;crash=start", "v1");
    running.swaps("v3", recovery);
    running.swaps("v4", &["restart=hot"]);
    running.survives("v5;crash=hang", "v4");
    running.swaps("v6", recovery);
    running.swaps("v7", &["restart=hot"]);
    running.ends();
}

const COLD_AFTER_A_FAILURE: &[&str] = &["restart=cold", "reason=\"its last hand-over failed\""];

#[test]
fn a_broken_binary_leaves_a_falcore_like_server_alone() {
    let hot = "preset = \"falcore\"";
    broken_binaries(rust("falcore-like"), false, hot, COLD_AFTER_A_FAILURE);
}

#[test]
fn a_broken_binary_leaves_an_endless_like_server_alone() {
    let hot = "preset = \"endless\"";
    broken_binaries(rust("endless-like"), false, hot, COLD_AFTER_A_FAILURE);
}

#[test]
fn a_broken_binary_leaves_an_overlapping_server_alone() {
    let hot = "mode = \"overlap\"";
    broken_binaries(rust("drains"), true, hot, &["restart=hot", "mode=overlap"]);
}

#[test]
fn a_broken_binary_leaves_an_adopted_falcore_like_server_alone() {
    let hot = "preset = \"falcore\"\nmode = \"adopt\"";
    broken_binaries(
        rust("falcore-like"),
        false,
        hot,
        &["restart=hot", "mode=adopt"],
    );
}

#[test]
fn a_broken_binary_leaves_an_adopted_endless_like_server_alone() {
    let hot = "preset = \"endless\"";
    broken_binaries(
        rust("endless-like"),
        true,
        hot,
        &["restart=hot", "mode=adopt"],
    );
}

#[test]
fn a_broken_binary_leaves_falcore_alone() {
    let Some(server) = go("falcore") else { return };
    broken_binaries(server, false, "preset = \"falcore\"", COLD_AFTER_A_FAILURE);
}

#[test]
fn a_broken_binary_leaves_endless_alone() {
    let Some(server) = go("endless") else { return };
    broken_binaries(server, false, "preset = \"endless\"", COLD_AFTER_A_FAILURE);
}

#[test]
fn a_broken_binary_leaves_grace_alone() {
    let Some(server) = go("grace") else { return };
    broken_binaries(server, false, "preset = \"grace\"", COLD_AFTER_A_FAILURE);
}

#[test]
fn a_broken_binary_leaves_tableflip_alone() {
    let Some(server) = go("tableflip") else {
        return;
    };
    let hot = "preset = \"tableflip\"";
    broken_binaries(server, false, hot, COLD_AFTER_A_FAILURE);
}

#[test]
fn with_on_failure_cold_the_new_binary_is_tried_even_so() {
    let hot = "mode = \"overlap\"\non_failure = \"cold\"";
    let mut running = Setup {
        server: rust("drains"),
        listen: true,
        plain: PATIENT,
        hot,
    }
    .start();
    let old = running.pid;
    running.save("v2;crash=start");
    let end = running.devwatch.end("crashed");
    assert_eq!(field(&end, "serving"), Some("none"), "{end}");
    assert!(!lives(old), "{}", running.devwatch.story());
    running.save("v3");
    running.serves("v3");
    running.swaps("v4", &["restart=hot", "mode=overlap"]);
    running.ends();
}

#[test]
fn with_on_failure_cold_what_cannot_be_handed_to_is_started_instead() {
    if !have("python3") {
        return;
    }
    let mut python = Python::start("on_failure = \"cold\"", "HUP TERM");
    let end = python.saves("two");
    assert!(end.contains(" restart=cold "), "{end}");
    assert!(
        end.contains(" reason=\"no new process appeared within 2 s\""),
        "{end}"
    );
    python.ends();
}

// --- a new binary that dies later ---

#[test]
fn a_later_death_is_a_crash_and_the_server_starts_again() {
    let preset = "preset = \"falcore\"";
    for (server, listen, hot) in [
        ("drains", true, "mode = \"overlap\""),
        ("falcore-like", false, preset),
    ] {
        let mut running = Setup {
            server: rust(server),
            listen,
            plain: PATIENT,
            hot,
        }
        .start();
        running.save("v2;crash=3s");
        running.serves("v2");
        let crashed = running.devwatch.line(" crashed exit=1 after=");
        assert!(crashed.starts_with("devwatch: gen 2 crashed"), "{crashed}");
        assert!(crashed.contains("crashes after 3000 ms"), "{crashed}");
        running.devwatch.line("note: starting it again in ");
        running.devwatch.line(" begin (crash)");
        running.serves("v2");
        running.swaps("v3", &["restart=hot"]);
        running.ends();
    }
}

#[test]
fn a_binary_that_dies_at_once_gives_way_to_the_last_good_one() {
    let preset = "preset = \"falcore\"";
    for (server, listen, hot, cold) in [
        ("drains", true, "mode = \"overlap\"", "restart=hold"),
        ("falcore-like", false, preset, "restart=cold"),
    ] {
        let mut running = Setup {
            server: rust(server),
            listen,
            plain: PATIENT,
            hot,
        }
        .start();
        running.swaps("v2", &["restart=hot"]);
        // Not `late`: on a busy machine 300 ms may be over before it was seen to accept.
        running.save("v3;crash=1s");
        running.devwatch.end("serving");
        running.devwatch.line("gen 3 crashed exit=1 after=");
        running.devwatch.line("still serves, STALE since ");
        running.answers("v2");
        // Longer than the crash would take to come again, in case the new one was started after all.
        assert_eq!(
            running
                .devwatch
                .next_line_where(Duration::from_secs(2), |line| line.contains(" crashed ")),
            None
        );
        running.answers("v2");
        running.save("v4");
        let end = running.serves("v4");
        assert!(end.contains(cold), "{end}");
        running.swaps("v5", &["restart=hot"]);
        running.ends();
    }
}

// --- servers that cannot hand over ---

/// A server in Python that catches some signals, says which one came, and does not hand over.
struct Python {
    devwatch: Devwatch,
    project: Project,
    pid: i32,
    port: u16,
}

impl Python {
    #[track_caller]
    fn start(hot: &str, catches: &str) -> Python {
        let project = Project::new();
        let port = free_port();
        project.write("answer.txt", "one");
        project.write(
            "server.py",
            r#"import http.server, os, signal, sys

def came(number, frame):
    os.write(1, f"came: {signal.Signals(number).name}\n".encode())
    if number == signal.SIGTERM:
        os._exit(0)

for name in sys.argv[3:]:
    signal.signal(getattr(signal, "SIG" + name), came)
text = open("answer.txt", "rb").read()

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *words):
        pass

http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Answer).serve_forever()
"#,
        );
        let words: Vec<String> = catches.split(' ').map(|name| format!("{name:?}")).collect();
        project.write(
            "devwatch.toml",
            &format!(
                "[[rule]]
name = \"code\"
files = [\"answer.txt\"]

[server]
run = [\"python3\", \"server.py\", {:?}, \"{port}\", {}]
restart = \"hot\"
[server.hot]
mode = \"self\"
{hot}
",
                project.root().display().to_string(),
                words.join(", "),
            ),
        );
        let mut devwatch = project.devwatch(&[]);
        let end = devwatch.end("serving");
        Python {
            pid: number(&end, "pid"),
            devwatch,
            project,
            port,
        }
    }

    #[track_caller]
    fn saves(&mut self, text: &str) -> String {
        self.project.replace("answer.txt", text);
        let end = self.devwatch.end("serving");
        assert_eq!(number::<i32>(&end, "old"), self.pid, "{end}");
        assert_eq!(get(self.port).expect("an answer"), text);
        self.pid = number(&end, "pid");
        end
    }

    #[track_caller]
    fn ends(mut self) {
        self.devwatch.signal(Signal::SIGTERM);
        assert_eq!(self.devwatch.ended().code(), Some(143));
        self.project.nothing_left(Duration::from_secs(2));
        assert!(port_is_free(self.port));
    }
}

#[test]
fn a_signal_that_would_kill_the_server_is_never_sent() {
    if !have("python3") {
        return;
    }
    let mut python = Python::start("", "TERM");
    let end = python.saves("two");
    assert!(end.contains(" restart=cold "), "{end}");
    assert!(
        end.contains(" reason=\"the server does not handle SIGHUP: it was not sent\""),
        "{end}"
    );
    // It lived to be told to stop: SIGHUP would have killed it without a word.
    let came = |python: &mut Python| {
        let said = python.devwatch.said().iter();
        said.filter(|line| line.starts_with("came: "))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(came(&mut python), ["came: SIGTERM"]);
    python.saves("three");
    assert_eq!(came(&mut python), ["came: SIGTERM", "came: SIGTERM"]);
    python.ends();
}

#[test]
fn a_server_without_a_handler_is_restarted_cold_whatever_it_is_written_in() {
    let project = Project::new();
    let port = free_port();
    project.write("answer.txt", "one");
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]
name = \"code\"
files = [\"answer.txt\"]

[server]
run = [{:?}, \"tag\", {:?}, \"listen\", \"127.0.0.1:{port}\", \"serve-file\", \"answer.txt\"]
restart = \"hot\"
",
            built_example("child"),
            project.root(),
        ),
    );
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("serving");
    project.replace("answer.txt", "two");
    let end = devwatch.end("serving");
    assert!(end.contains(" restart=cold "), "{end}");
    assert!(
        end.contains(" reason=\"the server does not handle SIGHUP"),
        "{end}"
    );
    assert_eq!(get(port).expect("an answer"), "two");
    assert_eq!(devwatch.terminate().code(), Some(143));
    project.nothing_left(Duration::from_secs(2));
}

#[test]
fn what_stands_between_devwatch_and_the_server_is_refused_with_what_to_write() {
    let cases = [
        ("run = \"./server | tee log\"", "", "a shell"),
        ("run = [\"go\", \"run\", \".\"]", "", ".devwatch/bin/NAME"),
        ("run = \"npm start\"", "", "[\"node\", \"server.js\"]"),
        ("run = [\"cargo\", \"run\"]", "", "target/debug/NAME"),
        (
            "run = [\"bin/server\"]",
            "mode = \"adopt\"",
            "add `preset` to [server.hot]",
        ),
        (
            "run = [\"bin/server\"]",
            "mode = \"adopt\"\npreset = \"tableflip\"",
            "plays the old process of a known contract",
        ),
        (
            "run = [\"bin/server\"]",
            "preset = \"falcon\"",
            "did you mean \"falcore\"?",
        ),
    ];
    let project = Project::new();
    for (run, hot, expected) in cases {
        let text = format!("[server]\n{run}\nrestart = \"hot\"\n[server.hot]\n{hot}\n");
        project.write("devwatch.toml", &text);
        let (status, out, err) = project.once(&["check"]);
        assert_eq!(status.code(), Some(2), "{text}\n{out}{err}");
        assert!(
            err.contains(expected),
            "no {expected:?}:\n{text}\n{out}{err}"
        );
        assert!(err.contains("devwatch.toml:"), "{err}");
    }
}

// --- orphans: the old one is killed before its child has said that it is there ---

/// The child's parent is then devwatch's own process, which gets the signal that was meant for the old server.
#[track_caller]
fn orphan(server: PathBuf, preset: &str) {
    let mut running = Setup {
        server,
        listen: false,
        plain: PATIENT,
        hot: &format!("preset = {preset:?}"),
    }
    .start();
    running.swaps("v2", &["restart=hot", "mode=self"]);
    let before = running.project.processes();
    running.save("v3;delay=700ms");
    running.devwatch.line("v3: starts");
    kill(Pid::from_raw(running.pid), Signal::SIGKILL).expect("the old server is there");
    running.serves("v3");
    let old = running.pid;
    // devwatch, its guardian and the keeper of the server are the processes that they were.
    for process in &before {
        let pid: i32 = process
            .split(' ')
            .next()
            .and_then(|pid| pid.parse().ok())
            .expect("a pid");
        let own = process.contains("devwatch") && !process.contains("bin/server");
        assert!(
            !own || lives(pid),
            "{process}\n{}",
            running.devwatch.story()
        );
    }
    running.save("v4");
    running.serves("v4");
    assert!(!lives(old));
    running.swaps("v5", &["restart=hot"]);
    running.ends();
}

#[test]
fn an_orphan_of_a_falcore_like_server_signals_its_keeper_and_everybody_lives() {
    orphan(rust("falcore-like"), "falcore");
}

#[test]
fn an_orphan_of_an_endless_like_server_signals_its_keeper_and_everybody_lives() {
    orphan(rust("endless-like"), "endless");
}

#[test]
fn an_orphan_of_falcore_signals_its_keeper_and_everybody_lives() {
    let Some(server) = go("falcore") else { return };
    orphan(server, "falcore");
}

#[test]
fn an_orphan_of_endless_signals_its_keeper_and_everybody_lives() {
    let Some(server) = go("endless") else { return };
    orphan(server, "endless");
}

#[test]
fn an_orphan_of_grace_gives_up_and_everybody_else_lives() {
    let Some(server) = go("grace") else { return };
    let mut running = Setup {
        server,
        listen: false,
        plain: PATIENT,
        hot: "preset = \"grace\"",
    }
    .start();
    running.save("v2;delay=700ms");
    running.devwatch.line("v2: starts");
    kill(Pid::from_raw(running.pid), Signal::SIGKILL).expect("the old server is there");
    // It has remembered its parent's number, cannot signal it, and exits. Then what was built is started afresh.
    let end = running.devwatch.line(" end serving ");
    running.pid = number(&end, "pid");
    running.is_what_serves();
    running.answers("v2");
    running.generation = number(&end, "gen");
    running.swaps("v3", &["restart=hot", "mode=self"]);
    running.ends();
}

// --- the end, in the middle of it ---

fn never_drains(drain: &str) -> Hot {
    Setup {
        server: rust("never-drains"),
        listen: true,
        plain: &format!("{PATIENT}\nstop = {{ timeout = \"500ms\" }}"),
        hot: &format!("mode = \"overlap\"\ndrain = \"{drain}\""),
    }
    .start()
}

#[test]
fn devwatch_can_be_ended_while_a_server_drains() {
    let mut running = never_drains("120s");
    running.save("v2");
    running.devwatch.line("note: gen 2 accepts, gen 1 drains");
    running.ends_within(Duration::from_secs(30));
}

#[test]
fn devwatch_can_be_ended_while_a_server_that_hands_over_by_itself_drains() {
    let mut running = Setup {
        server: rust("falcore-like"),
        listen: false,
        plain: &format!("{PATIENT}\nstop = {{ timeout = \"500ms\" }}"),
        hot: "preset = \"falcore\"\ndrain = \"120s\"",
    }
    .start();
    let request = running.slow_request(Duration::from_secs(55));
    running.save("v2");
    running.devwatch.line("note: gen 2 accepts, gen 1 drains");
    running.ends_within(Duration::from_secs(30));
    request
        .join()
        .expect("no panic")
        .expect_err("it was cut off");
}

#[test]
fn nothing_is_left_when_devwatch_is_killed_while_a_server_drains() {
    let mut running = never_drains("120s");
    running.save("v2");
    running.devwatch.line("note: gen 2 accepts, gen 1 drains");
    running.devwatch.signal(Signal::SIGKILL);
    running.devwatch.ended();
    running.project.nothing_left(Duration::from_secs(10));
    assert!(port_is_free(running.port));
}

#[test]
fn nothing_is_left_after_a_hand_over_that_failed() {
    for (preset, version) in [
        ("falcore", "v2;crash=start"),
        ("falcore", "v2;crash=hang"),
        ("endless", "v2;crash=start"),
    ] {
        let mut running = Setup {
            server: rust(&format!("{preset}-like")),
            listen: false,
            plain: "ready = { timeout = \"8s\" }",
            hot: &format!("preset = {preset:?}\nfork_timeout = \"5s\""),
        }
        .start();
        running.survives(version, "v1");
        running.ends();
    }
}

#[test]
fn nothing_is_left_when_devwatch_ends_during_a_hand_over() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut running = Setup {
            server: rust("falcore-like"),
            listen: false,
            plain: PATIENT,
            hot: "preset = \"falcore\"",
        }
        .start();
        running.save("v2;crash=hang");
        running.devwatch.line("v2: hangs");
        running.devwatch.signal(signal);
        running.devwatch.ended();
        running.project.nothing_left(Duration::from_secs(10));
        assert!(port_is_free(running.port));
    }
}

// --- servers that do not go ---

#[test]
fn a_server_that_never_drains_is_killed_before_anything_is_fresh() {
    let mut running = never_drains("500ms");
    running.save("v2");
    running.devwatch.line("note: gen 2 accepts, gen 1 drains");
    running.devwatch.line("note: gen 1 ignored SIGTERM for 5");
    let end = running.serves("v2");
    assert!(end.contains(" restart=hot mode=overlap "), "{end}");
    assert!(millis(&end, "fresh") >= 500.0, "{end}");
    running.ends();
}

#[test]
fn a_server_that_hands_over_and_does_not_go_is_told_to_and_then_killed() {
    for (preset, obeys) in [("falcore", true), ("endless", false)] {
        let mut running = Setup {
            server: rust(&format!("{preset}-like")),
            listen: false,
            plain: &format!("{PATIENT}\nstop = {{ timeout = \"500ms\" }}"),
            hot: &format!("preset = {preset:?}\ndrain = \"500ms\""),
        }
        .start();
        let request = running.slow_request(Duration::from_secs(55));
        running.save("v2");
        running.devwatch.line("note: gen 2 accepts, gen 1 drains");
        let note = running.devwatch.line("note: gen 1 still drains after 5");
        assert!(note.ends_with("; sent SIGTERM"), "{note}");
        if !obeys {
            running.devwatch.line("note: gen 1 ignored SIGTERM for ");
        }
        let end = running.serves("v2");
        let least = if obeys { 500.0 } else { 1000.0 };
        assert!(millis(&end, "fresh") >= least, "{end}");
        request
            .join()
            .expect("no panic")
            .expect_err("it was cut off");
        running.swaps("v3", &["restart=hot", "mode=self"]);
        running.ends();
    }
}

#[test]
fn a_change_during_a_drain_waits_for_the_old_process() {
    let mut running = Setup {
        server: rust("drains"),
        listen: true,
        plain: PATIENT,
        hot: "mode = \"overlap\"\ndrain = \"60s\"",
    }
    .start();
    let first = running.pid;
    let request = UnfinishedRequest::to(running.pid, running.port);
    running.save("v2");
    running.devwatch.line("note: gen 2 accepts, gen 1 drains");
    running.save("v3");
    running.devwatch.line("build 2 end superseded");
    running.devwatch.line("build 3 begin (1 file: version.txt)");
    assert!(lives(first), "{}", running.devwatch.story());
    assert_eq!(request.finish(), "v1");
    running.devwatch.line("v3: starts");
    assert!(!lives(first), "{}", running.devwatch.story());
    let end = running.serves("v3");
    assert!(end.starts_with("devwatch: build 3 end "), "{end}");
    assert!(end.contains(" restart=hot mode=overlap "), "{end}");
    running.ends();
}

// --- strangers, and other configs ---

#[test]
fn a_hand_over_that_somebody_else_asked_for_is_recognised() {
    let mut running = Setup {
        server: rust("falcore-like"),
        listen: false,
        plain: PATIENT,
        hot: "preset = \"falcore\"",
    }
    .start();
    for (from, saved) in [("v1", "v2"), ("v2", "v3")] {
        let old = running.pid;
        kill(Pid::from_raw(old), Signal::SIGHUP).expect("the server is there");
        let note = running
            .devwatch
            .line("the server handed over by itself: gen ");
        let generation = running.generation + 1;
        let expected = format!(": gen {generation} pid=");
        assert!(note.contains(&expected), "{note}");
        running.pid = number(&note, "pid");
        assert_ne!(running.pid, old);
        assert!(!lives(old));
        running.is_what_serves();
        running.answers(from);
        running.swaps(saved, &["restart=hot", "mode=self"]);
    }
    running.ends();
}

#[test]
fn a_change_of_an_env_file_restarts_cold_even_here() {
    for (server, listen, hot, cold) in [
        ("drains", true, "mode = \"overlap\"", "restart=hold"),
        (
            "falcore-like",
            false,
            "preset = \"falcore\"",
            "restart=cold",
        ),
    ] {
        let mut running = Setup {
            server: rust(server),
            listen,
            plain: &format!("{PATIENT}\nenv_file = [\".env\"]"),
            hot,
        }
        .start();
        running.project.write(".env", "COLOUR=red\n");
        let end = running.serves("v1");
        assert!(end.contains(cold), "{end}");
        running.swaps("v2", &["restart=hot"]);
        running.save("broken");
        running.devwatch.end("failed");
        running.project.replace(".env", "COLOUR=blue\n");
        running.devwatch.end("failed");
        running.answers("v2");
        running.swaps("v3", &[cold]);
        let environment = fs::read(format!("/proc/{}/environ", running.pid)).expect("it runs");
        let environment = String::from_utf8_lossy(&environment).into_owned();
        assert!(environment.contains("COLOUR=blue"), "{environment}");
        running.swaps("v4", &["restart=hot"]);
        running.ends();
    }
}

#[test]
fn restart_can_be_changed_from_cold_to_hot_and_back_while_devwatch_runs() {
    let setup = Setup {
        server: rust("drains"),
        listen: true,
        plain: PATIENT,
        hot: "",
    };
    let port = free_port();
    let project = Project::new();
    project.write("version.txt", "v1");
    let config = setup.config(port);
    let config = config.replace("restart = \"hot\"", "restart = \"cold\"");
    project.write("devwatch.toml", &config);
    let mut running = Hot::start(project, port);
    running.swaps("v2", &["restart=hold"]);
    for version in 1..3 {
        let hot = config.replace("restart = \"cold\"", "restart = \"hot\"");
        running.project.replace("devwatch.toml", &hot);
        running.serves(&format!("v{}", 2 * version));
        running.swaps(
            &format!("v{}", 2 * version + 1),
            &["restart=hot mode=overlap"],
        );
        running.project.replace("devwatch.toml", &config);
        running.serves(&format!("v{}", 2 * version + 1));
        running.swaps(&format!("v{}", 2 * version + 2), &["restart=hold"]);
    }
    running.ends();
}

// --- servers in other languages ---

/// Three swaps under clients that never stop asking: nobody is refused.
#[track_caller]
fn overlaps(example: &str, run: &str, file: &str) {
    let project = Project::example(example);
    let config = format!(
        "[[rule]]
name = \"code\"
files = [{file:?}]
then = \"restart\"

[server]
run = {run}
listen = [\"127.0.0.1:0\"]
restart = \"hot\"
{PATIENT}
"
    );
    project.write("devwatch.toml", &config);
    let mut devwatch = project.devwatch(&[]);
    let port = port_of(&devwatch.end("serving"));
    let clients = Clients::start(port, 8);
    for version in 1..4 {
        let from = format!("version {version}");
        let to = format!("version {}", version + 1);
        project.edit(file, &from, &to);
        let end = devwatch.end("serving");
        assert!(end.contains(" restart=hot mode=overlap "), "{end}");
        let answer = get(port).expect("an answer");
        assert!(answer.contains(&to), "{answer}\n{}", devwatch.story());
    }
    let (answers, refused) = clients.stop();
    assert_eq!(refused, 0, "{}", devwatch.story());
    assert!(answers > 0);
    assert_eq!(devwatch.terminate().code(), Some(143));
    project.nothing_left(Duration::from_secs(2));
    assert!(port_is_free(port));
}

#[test]
fn a_node_server_overlaps() {
    if have("node") {
        overlaps("node", "[\"node\", \"server.js\"]", "lib/greeting.js");
    }
}

#[test]
fn a_python_server_overlaps() {
    if have("python3") {
        // Without -B, Python takes a version saved within the same second from its cache.
        let run = "[\"python3\", \"-B\", \"-u\", \"app.py\"]";
        overlaps("python", run, "hello/__init__.py");
    }
}

/// Clients that ask one request after the other, each on a connection of its own.
struct Clients {
    done: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Clients {
    fn start(port: u16, many: usize) -> Clients {
        let mut clients = Clients {
            done: Arc::default(),
            answers: Arc::default(),
            refused: Arc::default(),
            threads: Vec::new(),
        };
        for _ in 0..many {
            let (done, answers) = (clients.done.clone(), clients.answers.clone());
            let refused = clients.refused.clone();
            clients.threads.push(thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    match get(port) {
                        Ok(_) => answers.fetch_add(1, Ordering::Relaxed),
                        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                        // What was accepted and not served is the server's affair.
                        Err(_) => 0,
                    };
                    // Closed loops would take both processors from everybody else.
                    thread::sleep(Duration::from_millis(2));
                }
            }));
        }
        clients
    }

    /// How many answers there were, and how many connections were refused.
    fn stop(self) -> (usize, usize) {
        self.done.store(true, Ordering::Relaxed);
        for client in self.threads {
            client.join().expect("a client does not panic");
        }
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (count(&self.answers), count(&self.refused))
    }
}
