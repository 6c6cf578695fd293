//! How long a save takes to reach the build command and the next answer, beside the least that is possible.
//!
//! Each round saves one file in a project that devwatch watches with its default config (one rule, a server with
//! `listen`), and one file in each of two folders that this program watches itself, with inotify and with notify, and
//! spawns the same command: the floors. In turn, so that all see the same machine. Measured is the time from just
//! before the close(2) of the save to the first statement of the build command, which is this program again and
//! writes its clock into a pipe, and to the end of the first HTTP answer with the new content.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::FromRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use inotify::{EventMask, Inotify, WatchMask};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::proc::clock;
use crate::project::Project;
use crate::table::{Row, Table, Unit, millis, percentile};
use crate::{Outcome, PATIENCE, folder};

/// Saves that are measured, after a few that warm up.
const SAVES: usize = 200;
const WARM_UP: usize = 10;

/// Long enough for a second build of the same save to show, and for everything to go to sleep.
const BETWEEN: Duration = Duration::from_millis(20);

pub(crate) fn measure(place: &Path, table: &mut Table) -> Outcome {
    let place = folder(place, "saves")?;
    let (pipe, starts) = Starts::beside(&place)?;
    let raw = Floor::by_inotify(&pipe, folder(&place, "raw")?)?;
    let notify = Floor::by_notify(&pipe, folder(&place, "notify")?)?;
    let mut served = Served::start(&pipe, folder(&place, "project")?)?;
    // That of the first build.
    starts.next(0)?;

    let [mut by_raw, mut by_notify, mut by_devwatch, mut answers] = [const { Vec::new() }; 4];
    let mut faults = 0;
    for round in 0..WARM_UP + SAVES {
        let content = format!("version {round}\n");
        let raw = starts.next(raw.save(&content)?)?;
        let notify = starts.next(notify.save(&content)?)?;

        let closed = served.save(&content)?;
        let devwatch = starts.next(closed)?;
        let answered = served.answer(&content)? - closed;
        faults += usize::from(!served.one_build()?);
        if round >= WARM_UP {
            by_raw.push(raw);
            by_notify.push(notify);
            by_devwatch.push(devwatch);
            answers.push(answered);
        }
    }
    served.project.end()?;
    table.must(faults == 0, || {
        format!(
            "{faults} of {} saves were not exactly one build",
            WARM_UP + SAVES
        )
    });
    for (percent, aim) in [(50, Some(5.0)), (95, Some(8.0)), (100, None)] {
        let value = |nanos: &[u64]| millis(percentile(nanos, percent));
        let name = match percent {
            100 => "max".to_owned(),
            percent => format!("p{percent}"),
        };
        table.row(Row {
            measure: format!("a save to its build command, {name}"),
            unit: Unit::Millis,
            aim,
            devwatch: value(&by_devwatch),
            raw: Some(value(&by_raw)),
            notify: Some(value(&by_notify)),
        });
    }
    table.row(Row {
        measure: "a save to the first new answer, p50".to_owned(),
        unit: Unit::Millis,
        aim: None,
        devwatch: millis(percentile(&answers, 50)),
        raw: None,
        notify: None,
    });
    Ok(())
}

// ---------------------------------------------------------------- what devwatch runs

/// The build: tells the time first.
pub(crate) fn build(pipe: &Path, from: &Path, to: &Path) -> Outcome {
    let began = clock()?;
    OpenOptions::new()
        .write(true)
        .open(pipe)?
        .write_all(&began.to_le_bytes())?;
    fs::copy(from, to)?;
    Ok(())
}

/// The server: answers with what the file held at the start.
pub(crate) fn serve(file: &Path) -> Outcome {
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

/// Truncates and writes, as most editors do. When it was about to be closed.
fn save(path: &Path, content: &str) -> Outcome<u64> {
    let mut file = File::create(path)?;
    file.write_all(content.as_bytes())?;
    let now = clock()?;
    drop(file);
    Ok(now)
}

/// When build commands have started.
pub(crate) struct Starts(Receiver<u64>);

impl Starts {
    /// And the pipe that tells, which is made in `place`.
    pub(crate) fn beside(place: &Path) -> Outcome<(PathBuf, Starts)> {
        let path = place.join("pipe");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // Open for writing, too: so it never ends, whoever else opens and closes it.
        let mut pipe = OpenOptions::new().read(true).write(true).open(&path)?;
        let (sender, starts) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 8];
            while pipe.read_exact(&mut bytes).is_ok()
                && sender.send(u64::from_le_bytes(bytes)).is_ok()
            {}
        });
        Ok((path, Starts(starts)))
    }

    /// How long after `closed` the next one was.
    fn next(&self, closed: u64) -> Outcome<u64> {
        let began = self.0.recv_timeout(PATIENCE);
        let began = began.map_err(|_| "a save was never built")?;
        let after = began.checked_sub(closed);
        after.ok_or_else(|| "a command has started before its save".into())
    }
}

/// The least that is possible: whoever waits for the close of a write spawns the command.
struct Floor {
    source: PathBuf,
    done: Receiver<std::io::Result<()>>,
    /// Held for its thread; that of inotify ends with its folder.
    _watcher: Option<RecommendedWatcher>,
}

impl Floor {
    fn by_inotify(pipe: &Path, folder: PathBuf) -> Outcome<Floor> {
        let mut inotify = Inotify::init()?;
        inotify.watches().add(&folder, WatchMask::CLOSE_WRITE)?;
        Floor::start(pipe, &folder, |mut run| {
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(mut events) = inotify.read_events_blocking(&mut buffer) {
                    // Otherwise the folder itself has gone, at the end.
                    if !events.any(|event| event.mask.contains(EventMask::CLOSE_WRITE)) {
                        return;
                    }
                    run();
                }
            });
            Ok(None)
        })
    }

    fn by_notify(pipe: &Path, folder: PathBuf) -> Outcome<Floor> {
        Floor::start(pipe, &folder, |mut run| {
            let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
            let mut watcher = notify::recommended_watcher(move |event: notify::Result<_>| {
                if event.is_ok_and(|event: notify::Event| event.kind == closed) {
                    run();
                }
            })?;
            watcher.watch(&folder, RecursiveMode::Recursive)?;
            Ok(Some(watcher))
        })
    }

    fn start(
        pipe: &Path,
        folder: &Path,
        watch: impl FnOnce(Box<dyn FnMut() + Send>) -> Outcome<Option<RecommendedWatcher>>,
    ) -> Outcome<Floor> {
        let source = folder.join("source.txt");
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("build").arg(pipe).arg(&source);
        // Not into the watched folder: it takes every close for a save.
        command.arg(folder.with_extension("built"));
        let (sender, done): (Sender<_>, _) = channel();
        let run = move || {
            let outcome = command.spawn().and_then(|mut child| child.wait()).map(drop);
            // Whoever waited has given up.
            let _ = sender.send(outcome);
        };
        Ok(Floor {
            source,
            done,
            _watcher: watch(Box::new(run))?,
        })
    }

    /// Saves, and waits for the command to end. When the file was closed.
    fn save(&self, content: &str) -> Outcome<u64> {
        let closed = save(&self.source, content)?;
        self.done.recv_timeout(PATIENCE)??;
        // A processor that is awake is faster: everybody's save finds it asleep.
        thread::sleep(BETWEEN);
        Ok(closed)
    }
}

/// A devwatch with the default config, a build and a server.
pub(crate) struct Served {
    pub(crate) project: Project,
    source: PathBuf,
    build: u32,
    port: u16,
}

impl Served {
    pub(crate) fn start(pipe: &Path, folder: PathBuf) -> Outcome<Served> {
        let own = std::env::current_exe()?;
        let source = folder.join("source.txt");
        save(&source, "the first\n")?;
        let config = format!(
            "[[rule]]\nname = \"build\"\nfiles = [\"source.txt\"]\nrun = [{own:?}, \"build\", {pipe:?}, \"source.txt\", \"built.txt\"]\n\
             outputs = [\"built.txt\"]\n\
             [server]\nrun = [{own:?}, \"serve\", \"built.txt\"]\nlisten = [\"127.0.0.1:0\"]\n"
        );
        fs::write(folder.join("devwatch.toml"), config)?;
        let mut served = Served {
            project: Project::start(&folder)?,
            source,
            build: 0,
            port: 0,
        };
        let end = served.next_build()?;
        let port = end
            .split_once(" url=http://127.0.0.1:")
            .map(|(_, port)| port.trim_end_matches('/'));
        served.port = port.ok_or("no url in the end line")?.parse()?;
        Ok(served)
    }

    pub(crate) fn save(&self, content: &str) -> Outcome<u64> {
        save(&self.source, content)
    }

    /// Waits for the next build. Whether nothing follows it.
    pub(crate) fn one_build(&mut self) -> Outcome<bool> {
        self.next_build()?;
        let mut one = true;
        while let Some(line) = self.project.line_within(BETWEEN)? {
            if line.contains(" begin ") {
                self.build += 1;
            }
            one = false;
        }
        Ok(one)
    }

    /// Begin and end of the next build. The end.
    fn next_build(&mut self) -> Outcome<String> {
        self.build += 1;
        let (begin, end) = (self.project.line()?, self.project.line()?);
        let number = format!("devwatch: build {} ", self.build);
        let fits = |line: &str, word: &str| {
            line.strip_prefix(&number)
                .is_some_and(|rest| rest.starts_with(word))
        };
        if fits(&begin, "begin ") && fits(&end, "end serving ") {
            Ok(end)
        } else {
            Err(format!("not one good build {}:\n{begin}\n{end}", self.build).into())
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
}
