//! 6 SHOW. Everything that is told and printed, on its way to whoever watches.
//!
//! To two streams, stdout and stderr, the app's bytes go untouched, and a line of devwatch's own starts at the start of a
//! line. To the [screen](crate::screen), both go into its logs. What a rule prints passes through its reader of problems
//! on either way.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::diagnostics::{Problems, Reader};
use crate::plain::{self, Names, printable};
use crate::process::{Output, Stream};
use crate::screen::Printed;
use crate::screen::log::{Kind, LineRef, Source};
use crate::supervisor::event::Report;
use crate::supervisor::generation::{GenerationId, JobId};

/// The way to whoever watches, shared by everybody who has something to say.
#[derive(Clone)]
pub struct Console(Arc<Mutex<Shared>>);

struct Shared {
    /// Jobs that are rules: what they print is shown as their readers have it while they run.
    rules: BTreeMap<JobId, Option<Box<Reader>>>,
    way: Way,
}

enum Way {
    Streams(Streams),
    Screen(ToScreen),
}

/// devwatch's own stdout and stderr.
struct Streams {
    out: Sink,
    err: Sink,
    /// Both go to the same place, so what one leaves open the other one sees.
    shared: bool,
}

struct Sink {
    /// Not std's stdout, which buffers by line: a prompt without a newline has to appear too.
    file: Option<File>,
    inside_a_line: bool,
}

struct ToScreen {
    printed: Printed,
    /// Which generation prints through the pipes of which job.
    servers: BTreeMap<JobId, u64>,
    /// The cycle that began last.
    build: u64,
}

impl Console {
    /// To the process's stdout and stderr.
    pub fn new() -> Console {
        let (out, err) = (Sink::on(std::io::stdout()), Sink::on(std::io::stderr()));
        let shared = out.place().is_some() && out.place() == err.place();
        Console::on(Way::Streams(Streams { out, err, shared }))
    }

    /// To the screen.
    pub fn screen(printed: Printed) -> Console {
        Console::on(Way::Screen(ToScreen {
            printed,
            servers: BTreeMap::new(),
            build: 0,
        }))
    }

    fn on(way: Way) -> Console {
        Console(Arc::new(Mutex::new(Shared {
            rules: BTreeMap::new(),
            way,
        })))
    }

    // --- who prints ---

    /// From here on `job` is a rule's: what it prints is build output, not the app's, and `reader` reads it.
    pub fn rule(&self, job: JobId, reader: Option<Reader>) {
        self.lock().rules.insert(job, reader.map(Box::new));
    }

    /// From here on what comes through the pipes of `job` is printed by this generation.
    pub fn server(&self, job: JobId, generation: GenerationId) {
        match &mut self.lock().way {
            Way::Screen(screen) => _ = screen.servers.insert(job, generation.0),
            Way::Streams(_) => {}
        }
    }

    /// What was found in the output of a rule's job up to here. What was held back of it is shown; what still comes
    /// is shown as it is.
    pub fn found(&self, job: JobId) -> Problems {
        let mut shared = self.lock();
        let reader = shared.rules.get_mut(&job).and_then(Option::take);
        let Some(reader) = reader else {
            return Problems::default();
        };
        let (held_back, problems) = reader.finish();
        shared.way.rule(job, Stream::Err, &held_back);
        problems
    }

    /// Nothing of a job is left, nor is anything of it read.
    pub fn gone(&self, job: JobId) {
        let mut shared = self.lock();
        shared.rules.remove(&job);
        if let Way::Screen(screen) = &mut shared.way {
            screen.gone(job);
        }
    }

    // --- what devwatch says ---

    /// Tells `TEXT`, one line: on stderr as `devwatch: TEXT`, at the start of a line.
    pub fn line(&self, text: &str) {
        match &mut self.lock().way {
            Way::Streams(streams) => streams.line(text),
            Way::Screen(screen) => screen.line(text),
        }
    }

    /// A line worth telling, as a note.
    pub fn note(&self, text: &str) {
        self.line(&format!("note: {text}"));
    }

    /// Tells of a report.
    pub fn report(&self, report: &Report, names: &Names<'_>) {
        let way = &mut self.lock().way;
        match way {
            Way::Streams(streams) => {
                for line in plain::lines(report, names) {
                    streams.line(&line);
                }
            }
            Way::Screen(screen) => screen.report(report, names),
        }
    }

    /// The last lines that a generation has printed, oldest first, where they are kept at all.
    pub fn last_lines(&self, generation: GenerationId, most: usize) -> Vec<String> {
        match &self.lock().way {
            Way::Streams(_) => Vec::new(),
            Way::Screen(screen) => screen.printed.read(|logs| {
                let lines = logs.app.lines(..).rev().filter(|line| {
                    let printed = matches!(line.kind, Kind::Out | Kind::Err);
                    printed && line.generation == generation.0
                });
                let text = |line: LineRef<'_>| String::from_utf8_lossy(line.raw).into_owned();
                let mut last: Vec<String> = lines.take(most).map(text).collect();
                last.reverse();
                last
            }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Console {
    fn default() -> Console {
        Console::new()
    }
}

impl Output for Console {
    fn write(&mut self, job: JobId, stream: Stream, bytes: &[u8]) {
        let Shared { rules, way } = &mut *self.lock();
        match rules.get_mut(&job) {
            Some(Some(reader)) => way.rule(job, stream, reader.push(stream, bytes)),
            Some(None) => way.rule(job, stream, bytes),
            None => way.server(job, stream, bytes),
        }
    }
}

impl Way {
    /// What a rule has printed.
    fn rule(&mut self, job: JobId, stream: Stream, bytes: &[u8]) {
        match self {
            Way::Streams(streams) => streams.write(Stream::Err, bytes),
            Way::Screen(screen) => {
                let source = Source {
                    generation: screen.build,
                    job,
                    stream,
                };
                screen.printed.write(|logs| logs.build.push(source, bytes));
            }
        }
    }

    /// What the server has printed.
    fn server(&mut self, job: JobId, stream: Stream, bytes: &[u8]) {
        match self {
            Way::Streams(streams) => streams.write(stream, bytes),
            Way::Screen(screen) => {
                let generation = screen.servers.get(&job).copied().unwrap_or_default();
                let source = Source {
                    generation,
                    job,
                    stream,
                };
                screen.printed.write(|logs| logs.app.push(source, bytes));
            }
        }
    }
}

impl ToScreen {
    /// The server's log is what is looked at.
    fn line(&mut self, text: &str) {
        self.printed.write(|logs| logs.app.say(None, text));
    }

    /// Where a cycle begins and ends, and what it found, the screen itself shows; what happens beside is told.
    fn report(&mut self, report: &Report, names: &Names<'_>) {
        match report {
            Report::Begin { build, .. } => self.build = *build,
            Report::End { .. } | Report::Stale { .. } | Report::Draining { .. } => {}
            Report::Down { .. }
            | Report::Interim(_)
            | Report::TookOver { .. }
            | Report::Overdue { .. }
            | Report::Killed { .. }
            | Report::Stuck { .. }
            | Report::Paused
            | Report::Resumed { .. }
            | Report::Stopped { .. } => {
                // Its last words stand right above.
                let names = Names {
                    last: &[],
                    ..names.clone()
                };
                for line in plain::lines(report, &names) {
                    self.line(&line);
                }
            }
        }
    }

    fn gone(&mut self, job: JobId) {
        self.servers.remove(&job);
        self.printed.write(|logs| {
            logs.app.ended(job);
            logs.build.ended(job);
        });
    }
}

impl Streams {
    fn line(&mut self, text: &str) {
        let start = if self.err.inside_a_line { "\n" } else { "" };
        let line = format!("{start}devwatch: {}\n", printable(text));
        self.write(Stream::Err, line.as_bytes());
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let sink = match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        };
        // A reader that has gone away is no reason to stop serving: the bytes are lost, as with any pipe.
        let _ = sink.file.as_mut().map(|file| file.write_all(bytes));
        let Some(last) = bytes.last() else { return };
        let inside = *last != b'\n';
        sink.inside_a_line = inside;
        if self.shared {
            self.out.inside_a_line = inside;
            self.err.inside_a_line = inside;
        }
    }
}

impl Sink {
    /// On a copy of a standard stream; on nothing where the stream was closed before devwatch began.
    fn on(stream: impl AsFd) -> Sink {
        Sink {
            file: stream.as_fd().try_clone_to_owned().map(File::from).ok(),
            inside_a_line: false,
        }
    }

    fn place(&self) -> Option<(u64, u64, u64)> {
        let metadata = self.file.as_ref()?.metadata().ok()?;
        Some((metadata.dev(), metadata.ino(), metadata.rdev()))
    }
}
