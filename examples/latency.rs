//! How long a save takes to reach the build command and the next answer, beside the least that is possible.
//!
//! ```text
//! cargo build --release && cargo run --release --example latency
//! ```
//!
//! Each round saves one file in a project that devwatch watches with its default config (one rule, a server with
//! `listen`), and one file in a folder that this program watches itself with nothing but inotify and a spawn of the
//! same command: the floor. Both in turn, so that both see the same machine. Measured is the time from just before
//! the close(2) of the save
//!
//! * to the first statement of the build command, which is this program again and writes its clock into a pipe;
//! * to the end of the first HTTP answer with the new content.
//!
//! Every save must be exactly one build. Afterwards the wake-ups of all threads of devwatch, its guardian and its
//! keepers are counted while nothing happens.
//!
//! Exit code 1 if a save was not exactly one build.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and starts what it measures"
)]

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::FromRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use inotify::{EventMask, Inotify, WatchMask};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Saves that are measured, after a few that warm up.
const SAVES: usize = 200;
const WARM_UP: usize = 10;

/// Long enough for a second build of the same save to show, and for everything to go to sleep.
const BETWEEN: Duration = Duration::from_millis(20);

/// devwatch's own timers about a new server have all run out after this time.
const SETTLE: Duration = Duration::from_secs(8);
const IDLE: Duration = Duration::from_secs(10);

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["build", pipe, from, to] => build(pipe, from, to),
        ["serve", file] => serve(file),
        [] => measure(),
        _ => Err("usage: latency".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("latency: {error}");
            ExitCode::FAILURE
        }
    }
}

// ---------------------------------------------------------------- what devwatch runs

/// The build: tells the time first.
fn build(pipe: &str, from: &str, to: &str) -> Outcome {
    let began = clock()?;
    OpenOptions::new()
        .write(true)
        .open(pipe)?
        .write_all(&began.to_le_bytes())?;
    fs::copy(from, to)?;
    Ok(())
}

/// The server: answers with what the file held at the start.
fn serve(file: &str) -> Outcome {
    let content = fs::read(file)?;
    // SAFETY: descriptor 3 is the one socket that was handed on, and nobody else in this process uses it.
    let listener = unsafe { TcpListener::from_raw_fd(3) };
    loop {
        let (mut stream, _) = listener.accept()?;
        let mut request = [0; 1024];
        let mut length = 0;
        while length < request.len() && !request[..length].ends_with(b"\r\n\r\n") {
            match stream.read(&mut request[length..]) {
                Ok(read @ 1..) => length += read,
                Ok(0) | Err(_) => break,
            }
        }
        let mut answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
        answer.extend(&content);
        // A client that has gone is its own business.
        let _ = stream.write_all(&answer);
    }
}

// ---------------------------------------------------------------- the measurement

fn measure() -> Outcome {
    let own = std::env::current_exe()?;
    let devwatch = beside(&own)?;
    let folder = tempfile::Builder::new()
        .prefix("devwatch-latency-")
        .tempdir()?;
    let pipe = folder.path().join("pipe");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let starts = Starts::of(&pipe)?;
    let mut floor = Floor::start(&own, &pipe, &folder.path().join("floor"))?;
    let mut watched = Watched::start(&devwatch, &own, &pipe, &folder.path().join("project"))?;

    // That of the first build.
    starts.next(0)?;

    let (mut by_floor, mut by_devwatch, mut by_answer) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..WARM_UP + SAVES {
        let content = format!("version {round}\n");
        let closed = save(&floor.folder.join("source.txt"), &content)?;
        let raw = starts.next(closed)?;
        floor.finish()?;

        let closed = save(&watched.folder.join("source.txt"), &content)?;
        let started = starts.next(closed)?;
        let answered = watched.answer(&content)? - closed;
        watched.one_build()?;
        if round >= WARM_UP {
            by_floor.push(raw);
            by_devwatch.push(started);
            by_answer.push(answered);
        }
    }
    drop(floor);

    let per_round = |left: &[u64], right: &[u64]| -> Vec<u64> {
        left.iter()
            .zip(right)
            .map(|(left, right)| left.saturating_sub(*right))
            .collect()
    };
    println!(
        "{SAVES} saves with {}, each exactly one build\n",
        devwatch.display()
    );
    println!("| from close(2) of a save, ms            |    p50 |    p95 |    max |");
    println!("|----------------------------------------|-------:|-------:|-------:|");
    row("to the build command: floor", &by_floor);
    row("to the build command: devwatch", &by_devwatch);
    row("to the first new answer: devwatch", &by_answer);
    println!();
    let (floor50, floor95) = (percentile(&by_floor, 50), percentile(&by_floor, 95));
    let (own50, own95) = (percentile(&by_devwatch, 50), percentile(&by_devwatch, 95));
    println!(
        "devwatch over the floor: p50 {:+.2} ms (x{:.1}), p95 {:+.2} ms (x{:.1}); round by round p50 {:+.2} ms",
        millis(own50) - millis(floor50),
        own50 as f64 / floor50 as f64,
        millis(own95) - millis(floor95),
        own95 as f64 / floor95 as f64,
        millis(percentile(&per_round(&by_devwatch, &by_floor), 50)),
    );
    println!(
        "the aim, p50 within 10 ms of the floor: {}\n",
        if millis(own50) - millis(floor50) <= 10.0 {
            "reached"
        } else {
            "MISSED"
        }
    );

    watched.silence(SETTLE)?;
    watched.count_wake_ups(IDLE)?;
    watched.end()
}

fn row(name: &str, nanos: &[u64]) {
    println!(
        "| {name:<38} | {:>6.2} | {:>6.2} | {:>6.2} |",
        millis(percentile(nanos, 50)),
        millis(percentile(nanos, 95)),
        millis(percentile(nanos, 100)),
    );
}

/// The value that `percent` of the values do not exceed.
fn percentile(values: &[u64], percent: usize) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// The devwatch that was built with the same profile: `target/release/devwatch`.
fn beside(own: &Path) -> Outcome<PathBuf> {
    let path = own
        .ancestors()
        .nth(2)
        .ok_or("this program stands nowhere")?
        .join("devwatch");
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!(
            "{} is missing; build it first: cargo build --release",
            path.display()
        )
        .into())
    }
}

/// CLOCK_MONOTONIC in ns: the same for every process, which std's `Instant` does not show.
fn clock() -> Outcome<u64> {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a timespec that lives longer than the call.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(u64::try_from(now.tv_sec)? * 1_000_000_000 + u64::try_from(now.tv_nsec)?)
}

/// Truncates and writes, as most editors do. When it was about to be closed.
fn save(path: &Path, content: &str) -> Outcome<u64> {
    let mut file = File::create(path)?;
    file.write_all(content.as_bytes())?;
    let now = clock()?;
    drop(file);
    Ok(now)
}

/// When build commands have started.
struct Starts(Receiver<u64>);

impl Starts {
    fn of(pipe: &Path) -> Outcome<Starts> {
        // Open for writing, too: so it never ends, whoever else opens and closes it.
        let mut pipe = OpenOptions::new().read(true).write(true).open(pipe)?;
        let (sender, starts) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 8];
            while pipe.read_exact(&mut bytes).is_ok()
                && sender.send(u64::from_le_bytes(bytes)).is_ok()
            {}
        });
        Ok(Starts(starts))
    }

    /// How long after `closed` the next one was.
    fn next(&self, closed: u64) -> Outcome<u64> {
        let began = self.0.recv_timeout(PATIENCE);
        let began = began.map_err(|_| "a save was never built")?;
        let after = began.checked_sub(closed);
        after.ok_or_else(|| "a command has started before its save".into())
    }
}

/// The least that is possible: a thread that waits for the close of a write and spawns the command.
struct Floor {
    folder: PathBuf,
    done: Receiver<std::io::Result<()>>,
}

impl Floor {
    fn start(own: &Path, pipe: &Path, folder: &Path) -> Outcome<Floor> {
        fs::create_dir(folder)?;
        let source = folder.join("source.txt");
        let mut command = Command::new(own);
        command.arg("build").arg(pipe).arg(&source);
        // Not into the watched folder: it takes every close for a save.
        command.arg(folder.with_extension("built"));
        let mut inotify = Inotify::init()?;
        inotify.watches().add(folder, WatchMask::CLOSE_WRITE)?;
        let (sender, done) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let Ok(mut events) = inotify.read_events_blocking(&mut buffer) else {
                    return;
                };
                // The folder itself has gone, at the end.
                if !events.any(|event| event.mask.contains(EventMask::CLOSE_WRITE)) {
                    return;
                }
                let outcome = command.spawn().and_then(|mut child| child.wait()).map(drop);
                if sender.send(outcome).is_err() {
                    return;
                }
            }
        });
        Ok(Floor {
            folder: folder.to_owned(),
            done,
        })
    }

    fn finish(&mut self) -> Outcome {
        Ok(self.done.recv_timeout(PATIENCE)??)
    }
}

/// A devwatch with the default config.
struct Watched {
    folder: PathBuf,
    child: Child,
    lines: Receiver<String>,
    build: u32,
    port: u16,
}

impl Watched {
    fn start(devwatch: &Path, own: &Path, pipe: &Path, folder: &Path) -> Outcome<Watched> {
        fs::create_dir(folder)?;
        save(&folder.join("source.txt"), "the first\n")?;
        let config = format!(
            "[[rule]]\nname = \"build\"\nfiles = [\"source.txt\"]\nrun = [{own:?}, \"build\", {pipe:?}, \"source.txt\", \"built.txt\"]\n\
             outputs = [\"built.txt\"]\n\
             [server]\nrun = [{own:?}, \"serve\", \"built.txt\"]\nlisten = [\"127.0.0.1:0\"]\n"
        );
        fs::write(folder.join("devwatch.toml"), config)?;
        let mut child = Command::new(devwatch)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut watched = Watched {
            folder: folder.to_owned(),
            child,
            lines,
            build: 0,
            port: 0,
        };
        let end = watched.one_build()?;
        let port = end
            .split_once(" url=http://127.0.0.1:")
            .map(|(_, port)| port.trim_end_matches('/'));
        watched.port = port.ok_or("no url in the end line")?.parse()?;
        Ok(watched)
    }

    /// Begin and end of the next build, and nothing after them. The end.
    fn one_build(&mut self) -> Outcome<String> {
        self.build += 1;
        let begin = self.lines.recv_timeout(PATIENCE)?;
        let end = self.lines.recv_timeout(PATIENCE)?;
        let number = format!("devwatch: build {} ", self.build);
        let fits = |line: &str, word: &str| {
            line.strip_prefix(&number)
                .is_some_and(|rest| rest.starts_with(word))
        };
        if !fits(&begin, "begin ") || !fits(&end, "end serving ") {
            return Err(format!("not one good build {}:\n{begin}\n{end}", self.build).into());
        }
        self.silence(BETWEEN)?;
        Ok(end)
    }

    fn silence(&self, time: Duration) -> Outcome {
        match self.lines.recv_timeout(time) {
            Ok(line) => Err(format!("more than one build for one save: {line}").into()),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err("devwatch has ended".into()),
        }
    }

    /// Asks until the answer is `content`, one request after the other. When it was complete.
    fn answer(&self, content: &str) -> Outcome<u64> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.ask().is_ok_and(|answer| answer.ends_with(content)) {
                return clock();
            }
            // The old server answers until it is stopped; not to take the build's processor away.
            thread::sleep(Duration::from_micros(200));
        }
        Err("a save was never served".into())
    }

    fn ask(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// How often each thread of devwatch's own processes goes to sleep again, which is how often it woke up.
    fn count_wake_ups(&self, time: Duration) -> Outcome {
        let before = self.threads();
        self.silence(time)?;
        let after = self.threads();
        println!("wake-ups in {} s of nothing:\n", time.as_secs());
        println!("| process  |     pid | thread             | wake-ups |");
        println!("|----------|--------:|--------------------|---------:|");
        let mut total = 0;
        for thread in &after {
            let earlier = before
                .iter()
                .find(|earlier| (earlier.pid, earlier.id) == (thread.pid, thread.id));
            let woken = thread.switches - earlier.map_or(0, |earlier| earlier.switches);
            total += woken;
            println!(
                "| {:<8} | {:>7} | {:<18} | {woken:>8} |",
                thread.role, thread.pid, thread.name
            );
        }
        println!(
            "\n{total} in all, by {} threads; the aim is none",
            after.len()
        );
        Ok(())
    }

    /// The threads of devwatch, its guardian and its keepers.
    fn threads(&self) -> Vec<Thread> {
        let main = self.child.id();
        let own = exe(main);
        let guardians = children(main);
        let keepers = guardians.iter().flat_map(|guardian| children(*guardian));
        let mut processes = vec![("devwatch", main)];
        processes.extend(guardians.iter().map(|pid| ("guardian", *pid)));
        processes.extend(keepers.map(|pid| ("keeper", pid)));
        processes.retain(|(_, pid)| exe(*pid) == own);
        processes
            .into_iter()
            .flat_map(|(role, pid)| threads(role, pid))
            .collect()
    }

    fn end(mut self) -> Outcome {
        kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        )?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Its guardian ends what it had started.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Thread {
    role: &'static str,
    pid: u32,
    id: u32,
    name: String,
    switches: u64,
}

fn threads(role: &'static str, pid: u32) -> Vec<Thread> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten();
    let thread = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let field = |name: &str| {
            let value = |line: &str| Some(line.strip_prefix(name)?.trim().to_owned());
            status.lines().find_map(value)
        };
        Some(Thread {
            role,
            pid,
            id: task.file_name().to_str()?.parse().ok()?,
            name: field("Name:")?,
            switches: field("voluntary_ctxt_switches:")?.parse().ok()?,
        })
    };
    tasks.filter_map(thread).collect()
}

fn children(pid: u32) -> Vec<u32> {
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

fn exe(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}
