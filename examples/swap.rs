//! How long a save takes to be answered by new code, for each way to restart, and what clients notice.
//!
//! ```text
//! cargo build --release
//! (cd examples/hot && cargo build --release --locked --bins)
//! cargo run --release --example swap
//! ```
//!
//! The server is the same program in every row but the ones that hand over by a contract: `drains` for cold, hold
//! and overlap, `falcore-like` for self and adopt. The build copies it and appends the version, and how long this
//! version takes to start. Each round saves a version and measures, from just before the save,
//!
//! * to the first answer by it, while 8 clients ask one request after the other, each on a new connection;
//! * to the end line, which says FRESH;
//! * devwatch's own share of the first: without the build, which tells its own times, and the start of the server;
//! * the longest that a client waited for an answer since the save, and how many were refused.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and starts what it measures"
)]

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Swaps that are measured, after two that warm up.
const SWAPS: u32 = 10;
const WARM_UP: u32 = 2;
const CLIENTS: usize = 8;

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A way to restart: its name, the server, what stands under `[server]`, and whether devwatch holds the socket.
const WAYS: [(&str, &str, &str, bool); 5] = [
    ("cold", "drains", "restart = \"cold\"", false),
    ("hold", "drains", "restart = \"cold\"", true),
    (
        "overlap",
        "drains",
        "restart = \"hot\"\nhot = { mode = \"overlap\" }",
        true,
    ),
    (
        "self",
        "falcore-like",
        "restart = \"hot\"\nhot = { preset = \"falcore\" }",
        false,
    ),
    (
        "adopt",
        "falcore-like",
        "restart = \"hot\"\nhot = { preset = \"falcore\" }",
        true,
    ),
];

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("swap: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Outcome {
    println!(
        "medians of {SWAPS} swaps under {CLIENTS} clients, ms; the longest wait is that of all swaps\n"
    );
    println!(
        "| start-up | restart | first answer | FRESH | own share | longest wait | refused | lost |"
    );
    println!(
        "|---------:|---------|-------------:|------:|----------:|-------------:|--------:|-----:|"
    );
    for start_up in [10, 300] {
        for way in WAYS {
            let (name, ..) = way;
            let row = row(way, start_up)?;
            println!(
                "| {start_up:>5} ms | {name:<7} | {:>12.1} | {:>5.0} | {:>9.1} | {:>12.1} | {:>7} | {:>4} |",
                median(row.answered),
                median(row.fresh),
                median(row.own),
                millis(row.longest),
                row.refused,
                row.lost,
            );
        }
    }
    Ok(())
}

#[derive(Default)]
struct Row {
    answered: Vec<f64>,
    fresh: Vec<f64>,
    own: Vec<f64>,
    longest: Duration,
    refused: u64,
    lost: u64,
}

fn row((_, server, keys, held): (&str, &str, &str, bool), start_up: u64) -> Outcome<Row> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let binary = package.join("examples/hot/target/release").join(server);
    let own = std::env::current_exe()?;
    let devwatch = own.ancestors().nth(2).ok_or("no folder")?.join("devwatch");
    for needed in [&binary, &devwatch] {
        if !needed.is_file() {
            return Err(format!("{} is missing: build it first", needed.display()).into());
        }
    }
    let folder = tempfile::Builder::new()
        .prefix("devwatch-swap-")
        .tempdir()?;
    let root = folder.path();
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let place = if held {
        format!("listen = [\"127.0.0.1:{port}\"]")
    } else {
        format!("env = {{ PORT = \"{port}\" }}")
    };
    fs::write(
        root.join("build.sh"),
        format!(
            "set -e\ndate +%s%N > began\ncp '{}' out.tmp\nprintf 'VERSION:%s;delay={start_up}ms' \"$(cat version)\" >> out.tmp\nmv out.tmp out\ndate +%s%N > ended\n",
            binary.display()
        ),
    )?;
    fs::write(
        root.join("devwatch.toml"),
        format!(
            "[[rule]]\nname = \"build\"\nfiles = [\"version\"]\nrun = [\"sh\", \"build.sh\"]\noutputs = [\"out\"]\n[server]\nrun = [\"./out\"]\n{place}\n{keys}\n"
        ),
    )?;
    fs::write(root.join("version"), "v0")?;
    let mut watched = Watched::start(&devwatch, root)?;
    watched.serving()?;
    let clients = Clients::start(port);
    let mut row = Row::default();
    for version in 1..=WARM_UP + SWAPS {
        clients.expect(version);
        if version == WARM_UP + 1 {
            clients.tally.reset();
        }
        let beside = root.join("version.tmp");
        fs::write(&beside, format!("v{version}"))?;
        let saved = Instant::now();
        let saved_at = UNIX_EPOCH.elapsed()?;
        fs::rename(&beside, root.join("version"))?;
        let fresh = watched.serving()?.saturating_duration_since(saved);
        let answered = clients.first_answer()?.saturating_duration_since(saved);
        if version > WARM_UP {
            // The build's own clock: what lies before its first line is ours, and so is what follows its last one.
            let time = |name| -> Outcome<Duration> {
                let nanos = fs::read_to_string(root.join(name))?.trim().parse()?;
                Ok(Duration::from_nanos(nanos))
            };
            let (began, ended) = (time("began")?, time("ended")?);
            let build = ended.saturating_sub(began.max(saved_at));
            let others = build + Duration::from_millis(start_up);
            row.answered.push(millis(answered));
            row.fresh.push(millis(fresh));
            row.own.push(millis(answered.saturating_sub(others)));
        }
        // A swap of its own, not the echo of the one before.
        thread::sleep(Duration::from_millis(100));
    }
    row.longest = Duration::from_nanos(clients.tally.longest.load(Ordering::SeqCst));
    row.refused = clients.tally.refused.load(Ordering::SeqCst);
    row.lost = clients.tally.lost.load(Ordering::SeqCst);
    Ok(row)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A devwatch, ended with this.
struct Watched {
    child: Child,
    lines: Receiver<(Instant, String)>,
}

impl Watched {
    fn start(devwatch: &Path, root: &Path) -> Outcome<Watched> {
        let mut child = Command::new(devwatch)
            .current_dir(root)
            .env_remove("PORT")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let err = child.stderr.take().ok_or("no stderr")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Watched { child, lines })
    }

    /// When the next end line came, which must be a good one.
    fn serving(&mut self) -> Outcome<Instant> {
        loop {
            let (at, line) = self.lines.recv_timeout(PATIENCE)?;
            if line.contains(" end serving ") {
                return Ok(at);
            }
            if line.contains(" end ") && !line.contains(" end superseded") {
                return Err(line.into());
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).unwrap_or_default();
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Clients that ask one request after the other until this is dropped.
struct Clients {
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Tally {
    end: AtomicBool,
    /// The version that is waited for, and when its first answer came.
    wanted: Mutex<(u32, Option<Instant>)>,
    longest: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
}

impl Tally {
    fn reset(&self) {
        for count in [&self.longest, &self.refused, &self.lost] {
            count.store(0, Ordering::SeqCst);
        }
    }
}

impl Clients {
    fn start(port: u16) -> Clients {
        let tally = Arc::new(Tally::default());
        for _ in 0..CLIENTS {
            let tally = Arc::clone(&tally);
            thread::spawn(move || ask(port, &tally));
        }
        Clients { tally }
    }

    fn expect(&self, version: u32) {
        *self.wanted() = (version, None);
    }

    fn first_answer(&self) -> Outcome<Instant> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let (_, Some(at)) = *self.wanted() {
                return Ok(at);
            }
            if Instant::now() > deadline {
                return Err("no client got the new version".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn wanted(&self) -> std::sync::MutexGuard<'_, (u32, Option<Instant>)> {
        self.tally
            .wanted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.tally.end.store(true, Ordering::SeqCst);
    }
}

fn ask(port: u16, tally: &Tally) {
    while !tally.end.load(Ordering::SeqCst) {
        let begun = Instant::now();
        match answer(port) {
            Ok(version) => {
                let now = Instant::now();
                let took = u64::try_from((now - begun).as_nanos()).unwrap_or(u64::MAX);
                tally.longest.fetch_max(took, Ordering::SeqCst);
                let mut wanted = tally.wanted.lock().unwrap_or_else(PoisonError::into_inner);
                if wanted.0 == version && wanted.1.is_none() {
                    wanted.1 = Some(now);
                }
            }
            Err(error) => {
                let refused = error.kind() == std::io::ErrorKind::ConnectionRefused;
                let count = if refused { &tally.refused } else { &tally.lost };
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
        // Eight clients that never pause are all that two cores can do: then nothing is measured but them.
        thread::sleep(Duration::from_millis(1));
    }
}

fn answer(port: u16) -> std::io::Result<u32> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    text.rsplit("\r\n\r\n")
        .next()
        .and_then(|body| body.trim().strip_prefix('v')?.parse().ok())
        .ok_or_else(|| std::io::Error::other("no version"))
}
