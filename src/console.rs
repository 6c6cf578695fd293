//! 6 SHOW. Everything that is told and printed, on its way to whoever watches.
//!
//! To two streams, stdout and stderr, the app's bytes go untouched, and a line of devwatch's own starts at the start of a
//! line. To the [screen](crate::screen), both go into its logs. As [events], all of it goes to stdout, one
//! object of JSON a line. What a rule prints passes through its reader of problems on every way.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::diagnostics::{Problems, Reader};
use crate::events::{self, Event, Pieces, Printer, Rest};
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
    Events(ToEvents),
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

/// devwatch's own stdout as a stream of events.
struct ToEvents {
    out: Sink,
    /// For what `DEVWATCH_LOG` asks for: it is no event.
    err: Sink,
    /// The number of the event that was written last.
    seq: u64,
    /// What has happened before the first `state`, which comes first.
    early: Option<Vec<Event>>,
    /// What each job has begun to print and not finished.
    begun: BTreeMap<(JobId, Stream), Pieces>,
    /// Which generation prints through the pipes of which job.
    servers: BTreeMap<JobId, u64>,
    /// Which rule a job runs, and in which cycle.
    rules: BTreeMap<JobId, (u64, String)>,
    /// The cycle that began last.
    build: u64,
    /// Somebody looks after lines that are not finished.
    attended: bool,
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

    /// To stdout, as events.
    pub fn events() -> Console {
        Console::on(Way::Events(ToEvents {
            out: Sink::on(std::io::stdout()),
            err: Sink::on(std::io::stderr()),
            seq: 0,
            early: Some(Vec::new()),
            begun: BTreeMap::new(),
            servers: BTreeMap::new(),
            rules: BTreeMap::new(),
            build: 0,
            attended: false,
        }))
    }

    fn on(way: Way) -> Console {
        Console(Arc::new(Mutex::new(Shared {
            rules: BTreeMap::new(),
            way,
        })))
    }

    // --- who prints ---

    /// From here on `job` is that of the rule of this name: what it prints is build output, not the app's, and `reader`
    /// reads it.
    pub fn rule(&self, job: JobId, name: &str, reader: Option<Reader>) {
        let mut shared = self.lock();
        shared.rules.insert(job, reader.map(Box::new));
        if let Way::Events(events) = &mut shared.way {
            let cycle = events.build;
            let rule = || (cycle, name.to_owned());
            events.rules.entry(job).or_insert_with(rule);
        }
    }

    /// From here on what comes through the pipes of `job` is printed by this generation.
    pub fn server(&self, job: JobId, generation: GenerationId) {
        match &mut self.lock().way {
            Way::Screen(screen) => _ = screen.servers.insert(job, generation.0),
            Way::Events(events) => {
                // What was begun before is the predecessor's.
                events.finish(job);
                events.servers.insert(job, generation.0);
            }
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

    /// The main process of a job has ended, and all that it printed has come.
    pub fn ended(&self, job: JobId) {
        if let Way::Events(events) = &mut self.lock().way {
            events.finish(job);
        }
    }

    /// Nothing of a job is left, nor is anything of it read.
    pub fn gone(&self, job: JobId) {
        let mut shared = self.lock();
        shared.rules.remove(&job);
        match &mut shared.way {
            Way::Screen(screen) => screen.gone(job),
            Way::Events(events) => events.gone(job),
            Way::Streams(_) => {}
        }
    }

    // --- what devwatch says ---

    /// Tells `TEXT`, one line: on stderr as `devwatch: TEXT`, at the start of a line.
    pub fn line(&self, text: &str) {
        match &mut self.lock().way {
            Way::Streams(streams) => streams.line(text),
            Way::Screen(screen) => screen.line(text),
            Way::Events(events) => events.line(text),
        }
    }

    /// A line worth telling, as a note; to programs as a `warning`.
    pub fn note(&self, text: &str) {
        if let Way::Events(events) = &mut self.lock().way {
            events.tell(vec![events::warning("note", text)]);
            return;
        }
        self.line(&format!("note: {text}"));
    }

    /// Whether events are told, and nothing else.
    pub fn tells_events(&self) -> bool {
        matches!(self.lock().way, Way::Events(_))
    }

    /// Whether the screen is told.
    pub fn has_screen(&self) -> bool {
        matches!(self.lock().way, Way::Screen(_))
    }

    /// Tells events, where those are told.
    pub fn tell(&self, events: Vec<Event>) {
        if let Way::Events(way) = &mut self.lock().way {
            way.tell(events);
        }
    }

    /// Tells of a report, to people.
    pub fn report(&self, report: &Report, names: &Names<'_>) {
        let way = &mut self.lock().way;
        match way {
            Way::Streams(streams) => {
                for line in plain::lines(report, names) {
                    streams.line(&line);
                }
            }
            Way::Screen(screen) => screen.report(report, names),
            // Its events are told of by whoever knows more.
            Way::Events(events) => {
                if let Report::Begin { build, .. } = report {
                    events.build = *build;
                }
            }
        }
    }

    /// The last lines that a generation has printed, oldest first, where they are kept at all.
    pub fn last_lines(&self, generation: GenerationId, most: usize) -> Vec<String> {
        match &self.lock().way {
            Way::Streams(_) | Way::Events(_) => Vec::new(),
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
        if let Way::Events(events) = way
            && !events.attended
            && events.begun.values().any(Pieces::is_begun)
        {
            events.attended = attend(Arc::downgrade(&self.0));
        }
    }
}

/// Tells of what is begun and not finished, when nothing follows it: a prompt has to appear, too. Ends when nothing is
/// left to look after.
fn attend(console: Weak<Mutex<Shared>>) -> bool {
    let look = move || {
        loop {
            // Woken too early, it finds that something has come a moment ago, or tells half a line.
            thread::park_timeout(PROMPT);
            let Some(shared) = console.upgrade() else {
                return;
            };
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let Way::Events(events) = &mut shared.way else {
                return;
            };
            events.attended = events.rest();
            if !events.attended {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("unfinished lines".to_owned());
    thread.spawn(look).is_ok()
}

/// Longer than a program takes between two pieces of one line, shorter than a person takes to wonder. A line that takes
/// longer comes in two pieces.
const PROMPT: Duration = Duration::from_millis(50);

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
            Way::Events(events) => events.printed(job, stream, bytes),
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
            Way::Events(events) => events.printed(job, stream, bytes),
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

impl ToEvents {
    /// `state` is the first of all.
    fn tell(&mut self, events: Vec<Event>) {
        let Some(early) = &mut self.early else {
            self.write(&events);
            return;
        };
        early.extend(events);
        if let Some(first) = early.iter().position(|event| event.kind() == "state") {
            early[..=first].rotate_right(1);
            let early = self.early.take().unwrap_or_default();
            self.write(&early);
        }
    }

    fn write(&mut self, events: &[Event]) {
        let now = Timestamp::now();
        let mut text = String::new();
        for event in events {
            self.seq += 1;
            text += &event.line(self.seq, now);
            text.push('\n');
        }
        self.out.write_or_close(text.as_bytes());
    }

    fn line(&mut self, text: &str) {
        let line = format!("devwatch: {}\n", printable(text));
        self.err.write_or_close(line.as_bytes());
    }

    fn printed(&mut self, job: JobId, stream: Stream, bytes: &[u8]) {
        let mut texts = Vec::new();
        let pieces = self.begun.entry((job, stream)).or_default();
        pieces.push(bytes, |text| texts.push(text));
        self.say(job, stream, texts);
    }

    fn say(&mut self, job: JobId, stream: Stream, texts: Vec<String>) {
        if texts.is_empty() {
            return;
        }
        let by = match self.rules.get(&job) {
            Some((cycle, rule)) => Printer::Rule(*cycle, rule),
            None => {
                let generation = self.servers.get(&job).copied().unwrap_or_default();
                Printer::Server(generation, stream)
            }
        };
        let texts = texts.into_iter();
        let events = texts.map(|text| events::output(by, text)).collect();
        self.tell(events);
    }

    /// Nothing follows what a job has begun to print.
    fn finish(&mut self, job: JobId) {
        for stream in [Stream::Out, Stream::Err] {
            let rest = self.begun.get_mut(&(job, stream)).and_then(Pieces::finish);
            self.say(job, stream, rest.into_iter().collect());
        }
    }

    /// Tells of lines that are not finished, though nothing has come of late. Whether there are others.
    fn rest(&mut self) -> bool {
        let (mut others, mut texts) = (false, Vec::new());
        for ((job, stream), pieces) in &mut self.begun {
            match pieces.rest() {
                Rest::Nothing => {}
                Rest::Later => others = true,
                Rest::Text(text) => texts.push((*job, *stream, text)),
            }
        }
        for (job, stream, text) in texts {
            self.say(job, stream, vec![text]);
        }
        others
    }

    fn gone(&mut self, job: JobId) {
        self.finish(job);
        self.begun.retain(|(printer, _), _| *printer != job);
        self.servers.remove(&job);
        self.rules.remove(&job);
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

    /// Writes all of it. A reader that has gone away is no reason to stop serving; nothing is written any more then, for
    /// half a line has been, perhaps, and the rest of it is no object.
    fn write_or_close(&mut self, mut bytes: &[u8]) {
        while let Some(file) = self.file.as_mut().filter(|_| !bytes.is_empty()) {
            match file.write(bytes) {
                Ok(written) if written > 0 => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever shares the pipe with us has made it so.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut wait = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
                    let _ = poll(&mut wait, PollTimeout::NONE);
                }
                Ok(_) | Err(_) => self.file = None,
            }
        }
    }

    fn place(&self) -> Option<(u64, u64, u64)> {
        let metadata = self.file.as_ref()?.metadata().ok()?;
        Some((metadata.dev(), metadata.ino(), metadata.rdev()))
    }
}
