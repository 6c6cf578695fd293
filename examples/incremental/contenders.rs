//! Those who build: devwatch, which stands there and watches, and what is called after each edit: make, or the shell.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::proc::{at_rest, children, exe, processor_time};
use crate::project::{PROGRAM, Project};
use crate::trace::Trace;
use crate::{Outcome, PATIENCE};

/// The same for whoever is measured: no settings of the one who runs this, but for Go's cache of what is compiled.
fn alike(command: &mut Command, project: &Project) {
    command
        .current_dir(&project.root)
        .env_remove("GOFLAGS")
        .env_remove("MAKEFLAGS")
        .env("GOWORK", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
}

// ---------------------------------------------------------------- devwatch

/// A devwatch in a project. Ended with this, together with everything it has started.
pub(crate) struct Devwatch {
    /// How the first cycle has ended.
    pub(crate) first: Cycle,
    child: Child,
    lines: Receiver<(Instant, String)>,
    port: u16,
}

/// From a begin line to an end line.
pub(crate) struct Cycle {
    /// When the end line came.
    pub(crate) at: Instant,
    /// What comes after `end `.
    pub(crate) end: String,
}

impl Cycle {
    /// How it ended.
    pub(crate) fn word(&self) -> &str {
        self.end.split(' ').next().unwrap_or_default()
    }

    /// The rules whose results came out of the cache.
    pub(crate) fn cached(&self) -> &str {
        self.field("cached").unwrap_or_default()
    }

    fn field(&self, name: &str) -> Option<&str> {
        let pairs = self.end.split(' ').filter_map(|pair| pair.split_once('='));
        pairs
            .into_iter()
            .find_map(|(key, value)| (key == name).then_some(value))
    }
}

/// An answer, from whom, and when it was complete.
pub(crate) struct Answer {
    pub(crate) at: Instant,
    pub(crate) pid: String,
    text: String,
}

impl Devwatch {
    pub(crate) fn start(project: &Project, trace: Option<&Trace>) -> Outcome<Devwatch> {
        let mut command = match trace {
            Some(trace) => trace.around(beside()?),
            None => Command::new(beside()?),
        };
        alike(&mut command, project);
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().ok_or("no stderr")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        let mut devwatch = Devwatch {
            first: Cycle {
                at: Instant::now(),
                end: String::new(),
            },
            child,
            lines,
            port: 0,
        };
        devwatch.first = devwatch.cycle()?;
        let port = devwatch.first.field("url").and_then(|url| {
            let port = url.strip_prefix("http://127.0.0.1:")?;
            port.trim_end_matches('/').parse().ok()
        });
        devwatch.port = port.ok_or_else(|| format!("no url: {}", devwatch.first.end))?;
        devwatch.rest()?;
        Ok(devwatch)
    }

    /// The next cycle, to its end.
    pub(crate) fn cycle(&self) -> Outcome<Cycle> {
        let mut said = String::new();
        loop {
            let Ok((at, line)) = self.lines.recv_timeout(PATIENCE) else {
                return Err(format!("no end line after:{said}").into());
            };
            said = format!("{said}\n{line}");
            let word = line
                .strip_prefix("devwatch: build ")
                .map(|line| line.split_once(' '));
            if let Some(Some((_, rest))) = word
                && let Some(end) = rest.strip_prefix("end ")
            {
                return Ok(Cycle {
                    at,
                    end: end.to_owned(),
                });
            }
        }
    }

    /// What it has said and nobody has heard yet about another build.
    pub(crate) fn more(&self) -> Outcome<Option<String>> {
        loop {
            match self.lines.recv_timeout(Duration::ZERO) {
                Ok((_, line)) if line.starts_with("devwatch: build ") => return Ok(Some(line)),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err("devwatch has ended".into()),
            }
        }
    }

    /// Asks until the answer is `text`, with this much time between one request and the next.
    pub(crate) fn answer(&self, text: &str, between: Duration) -> Outcome<Answer> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::new();
        while Instant::now() < deadline {
            match ask(self.port) {
                Ok(answer) if answer.text == text => return Ok(answer),
                Ok(answer) => last = answer.text,
                // Of a server that was stopped while it was asked.
                Err(error) => last = error.to_string(),
            }
            thread::sleep(between);
        }
        Err(format!("never served: {text:.60}...\nbut: {last:.60}...").into())
    }

    /// The process that answers.
    pub(crate) fn who(&self) -> Outcome<String> {
        Ok(ask(self.port)?.pid)
    }

    /// Waits until it has nothing more to do. The processor time that it and its guardian have used so far.
    pub(crate) fn rest(&self) -> Outcome<Duration> {
        let mut used = at_rest(self.child.id())?;
        let own = exe(self.child.id());
        for guardian in children(self.child.id()) {
            if exe(guardian) == own {
                used += processor_time(guardian)?;
            }
        }
        Ok(Duration::from_nanos(used))
    }
}

impl Drop for Devwatch {
    fn drop(&mut self) {
        let _ = kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        );
        let _ = self.child.wait();
    }
}

fn ask(port: u16) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Not HTTP/1.1: a long answer would come in chunks.
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let at = Instant::now();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let pid = head
        .lines()
        .find_map(|line| line.strip_prefix("Server-Pid: "));
    Ok(Answer {
        at,
        pid: pid.unwrap_or_default().to_owned(),
        text: text.to_owned(),
    })
}

/// The devwatch that was built with the same profile: `target/release/devwatch`.
fn beside() -> Outcome<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own
        .ancestors()
        .nth(2)
        .ok_or("this program stands nowhere")?;
    let path = path.join("devwatch");
    if path.is_file() {
        Ok(path)
    } else {
        let path = path.display();
        Err(format!("{path} is missing; build it first: cargo build --release").into())
    }
}

// ---------------------------------------------------------------- what is called

/// Builds by `command_line`, once, and returns how long that took.
pub(crate) fn call(
    command_line: &[&str],
    project: &Project,
    trace: Option<&Trace>,
) -> Outcome<Duration> {
    let mut command = match trace {
        Some(trace) => trace.command(command_line[0]),
        None => Command::new(command_line[0]),
    };
    alike(command.args(&command_line[1..]), project);
    let begun = Instant::now();
    let status: ExitStatus = command.status()?;
    let took = begun.elapsed();
    if status.success() {
        Ok(took)
    } else {
        Err(format!("{command_line:?}: {status}").into())
    }
}

/// Starts what was built, alone, on a socket that is there, and asks it. How long it took from the start to the
/// answer, and whether that is `text`.
pub(crate) fn alone(project: &Project, text: &str) -> Outcome<(Duration, bool)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let mut command = Command::new(project.root.join(PROGRAM));
    alike(command.arg("0"), project);
    command.stdin(OwnedFd::from(listener));
    let begun = Instant::now();
    let mut server = command.spawn()?;
    let answer = ask(port);
    server.kill()?;
    server.wait()?;
    let answer = answer?;
    Ok((answer.at - begun, answer.text == text))
}
