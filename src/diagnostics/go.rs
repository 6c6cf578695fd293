//! go build, vet and test, as text and as JSON; and panics of Go programs.
//!
//! A failed test names a file without its folder, and only the line behind all tests of a package says which
//! package that was, so those wait for it. A panic's place is the first frame in the project's own code.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use super::gnu::{at, severity};
use super::place::{self, extension, number};
use super::{
    Found, From, LONGEST_LINE, LONGEST_PATH, Line, MOST_PROBLEMS, Parser, Severity, Sink, clipped,
    held,
};

/// Reads the lines of one stream, or those of one package out of JSON.
pub(super) struct Go {
    /// The command is known to be go; else only its lines speak for it.
    sure: bool,
    /// Lines with a tab in front may follow.
    open: Option<Found>,
    /// How many have.
    lines: usize,
    panic: Option<Panicked>,
    tests: Tests,
}

/// What tests have said whose package is not known yet.
#[derive(Default)]
struct Tests {
    /// The test that speaks, and whether it is known to have failed.
    current: Option<(String, bool)>,
    /// With the tests' names; the verdict of some is still out.
    said: VecDeque<Said>,
    /// The last line that was said may go on.
    goes_on: bool,
}

struct Said {
    test: String,
    failed: bool,
    found: Found,
}

struct Panicked {
    message: String,
    /// Frames have begun.
    stack: bool,
    lines: usize,
}

impl Go {
    pub(super) fn new(sure: bool) -> Go {
        Go {
            sure,
            open: None,
            lines: 0,
            panic: None,
            tests: Tests::default(),
        }
    }

    fn place(&mut self, line: &str) -> Option<Found> {
        // `go vet` puts its name in front where a package does not even compile.
        let line = line.strip_prefix("vet: ").unwrap_or(line);
        let place = place::colon(line)?;
        let name = extension(place.path)?;
        let known = match name {
            // A line without a column is what a program logs.
            "go" => place.column.is_some(),
            "mod" | "work" | "sum" => true,
            _ => self.sure && place.column.is_some(),
        };
        if !known || place.rest.is_empty() {
            return None;
        }
        // cgo passes on what a C compiler says.
        let (severity, message) = match severity(place.rest) {
            Some((severity, _, message)) => (severity, message),
            None => (Severity::Error, place.rest),
        };
        let mut found = at(&place, "go", severity, message);
        // Sources of other names come with cgo and with generators; so do sentences that look like them.
        found.doubtful = !["go", "mod", "work", "sum"].contains(&name);
        Some(found)
    }

    /// Whether a line belongs to a panic that has begun.
    fn in_panic(&mut self, line: &str, sink: &mut dyn Sink) -> bool {
        let Some(panic) = &mut self.panic else {
            return false;
        };
        panic.lines += 1;
        if panic.lines > LONGEST_STACK || (!panic.stack && panic.lines > MOST_LINES) {
            self.panic = None;
            return false;
        }
        if line.starts_with("goroutine ") {
            panic.stack = true;
            return true;
        }
        if let Some((path, row)) = frame(line)
            && panic.stack
            && sink.base().owns(path)
        {
            let message = panic.message.clone();
            self.panic = None;
            sink.add(Found::new("go", path, row, Severity::Error, &message));
            return true;
        }
        let of_stack = line.is_empty()
            || ["\t", "created by ", "...", "["]
                .iter()
                .any(|start| line.starts_with(start))
            || (panic.stack && line.ends_with(')'));
        if panic.stack && !of_stack {
            self.panic = None;
        }
        of_stack
    }

    /// Whether a line is one that `go test` prints around or in a test.
    fn in_tests(&mut self, line: &str, sink: &mut dyn Sink) -> bool {
        let tests = &mut self.tests;
        if let Some((what, name)) = line
            .strip_prefix("=== ")
            .and_then(|event| event.split_once(' '))
            && ["RUN", "CONT", "NAME", "PAUSE"].contains(&what)
        {
            tests.current = Some((clipped(name.trim(), LONGEST_NAME).to_owned(), false));
            tests.goes_on = false;
            return true;
        }
        if let Some(verdict) = line.trim_start().strip_prefix("--- ") {
            let known = ["PASS", "FAIL", "SKIP", "BENCH"];
            let said = verdict
                .split_once(": ")
                .filter(|(verdict, _)| known.contains(verdict));
            let Some((verdict, name)) = said else {
                return false;
            };
            let name = name.rsplit_once(" (").map_or(name, |(name, _)| name);
            tests.verdict(clipped(name, LONGEST_NAME), verdict == "FAIL");
            return true;
        }
        let result = ["FAIL\t", "ok  \t", "?   \t"];
        if let Some(rest) = result.iter().find_map(|word| line.strip_prefix(word)) {
            let package = rest.split(['\t', ' ']).next().unwrap_or(rest);
            tests.tell(Some(package), sink);
            return true;
        }
        tests.line(line, self.sure)
    }
}

impl Parser for Go {
    fn line(&mut self, line: &str, sink: &mut dyn Sink) -> Line {
        if self.in_panic(line, sink) {
            return Line::Taken;
        }
        if let Some(found) = &mut self.open
            && line.starts_with('\t')
            && self.lines < MOST_LINES
        {
            found.extend(line);
            self.lines += 1;
            return Line::Taken;
        }
        self.close(sink);
        let message = ["panic: ", "fatal error: "]
            .iter()
            .any(|word| line.starts_with(word));
        if message {
            self.panic = Some(Panicked {
                message: clipped(line, super::LONGEST_MESSAGE).to_owned(),
                stack: false,
                lines: 0,
            });
            // Others panic in these words too; whoever knows the line better may have it.
            return Line::Passed;
        }
        if self.in_tests(line, sink) {
            return Line::Taken;
        }
        match self.place(line) {
            Some(found) => {
                (self.open, self.lines) = (Some(found), 0);
                Line::Taken
            }
            None => Line::Passed,
        }
    }

    fn close(&mut self, sink: &mut dyn Sink) {
        if let Some(found) = self.open.take() {
            sink.add(found);
        }
    }

    fn end(&mut self, sink: &mut dyn Sink) {
        self.close(sink);
        self.tests.tell(None, sink);
    }

    fn held(&self) -> usize {
        let said = |said: &Said| size_of::<Said>() + said.test.capacity() + held(Some(&said.found));
        held(self.open.as_ref())
            + self
                .panic
                .as_ref()
                .map_or(0, |panic| panic.message.capacity())
            + self.tests.said.iter().map(said).sum::<usize>()
            + self
                .tests
                .current
                .as_ref()
                .map_or(0, |(name, _)| name.capacity())
    }
}

impl Tests {
    /// `    db_test.go:7: message`, further in for a test within a test; and lines that go on below it, further in.
    fn line(&mut self, line: &str, sure: bool) -> bool {
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        if indent < 4 {
            self.goes_on = false;
            return false;
        }
        let at = place::colon(text).filter(|place| {
            place.column.is_none()
                && extension(place.path) == Some("go")
                && !place.path.contains('/')
        });
        if let Some(place) = at {
            let (test, failed) = match &self.current {
                Some(current) => current.clone(),
                None if sure => (String::new(), true),
                None => return false,
            };
            // Whoever fails in a thousand places is not helped by one more.
            if self.said.len() == MOST_PROBLEMS {
                self.said.pop_front();
            }
            let found = super::gnu::at(&place, "go", Severity::Error, place.rest);
            self.said.push_back(Said {
                test,
                failed,
                found,
            });
            self.goes_on = true;
            return true;
        }
        let Some(said) = self.said.back_mut().filter(|_| self.goes_on) else {
            return false;
        };
        // testify says where it was called, which stands above, and by whom.
        let told = ["Error Trace:", "Test:", "/"];
        if !told.iter().any(|word| text.trim_start().starts_with(word)) {
            said.found.extend(text);
        }
        true
    }

    /// A test is over.
    fn verdict(&mut self, name: &str, failed: bool) {
        match failed {
            true => {
                let of_it = self.said.iter_mut().filter(|said| said.test == name);
                of_it.for_each(|said| said.failed = true);
            }
            false => self.said.retain(|said| said.test != name),
        }
        self.current = Some((name.to_owned(), failed));
        self.goes_on = false;
    }

    /// All tests of a package are over.
    fn tell(&mut self, package: Option<&str>, sink: &mut dyn Sink) {
        for mut said in self.said.drain(..).filter(|said| said.failed) {
            if let Some(package) = package.filter(|package| package.len() <= LONGEST_PATH) {
                said.found.from = From::Package(package.to_owned());
            }
            if said.found.message.is_empty() {
                said.found.extend("failed");
            }
            sink.add(said.found);
        }
        self.current = None;
        self.goes_on = false;
    }
}

/// What go says as JSON, put together to lines: a reader for each package, since they run side by side.
#[derive(Default)]
pub(super) struct Packages(BTreeMap<String, Package>);

struct Package {
    go: Go,
    unfinished: String,
}

impl Packages {
    /// Takes one event: what to show of it. None if it is no event of go's.
    pub(super) fn event(&mut self, event: &Value, sink: &mut dyn Sink) -> Option<String> {
        let action = event["Action"].as_str()?;
        let name = event["Package"].as_str().or(event["ImportPath"].as_str())?;
        let name = clipped(name, LONGEST_PATH);
        let output = event["Output"].as_str().unwrap_or_default();
        if !output.is_empty() {
            if self.0.len() >= MOST_PACKAGES && !self.0.contains_key(name) {
                // More than go runs at the same time: the first has long been done.
                let (_, mut package) = self.0.pop_first()?;
                package.end(sink);
            }
            let package = self.0.entry(name.to_owned()).or_insert_with(|| Package {
                go: Go::new(true),
                unfinished: String::new(),
            });
            package.print(output, sink);
        }
        let over = ["pass", "fail", "skip", "build-fail"].contains(&action);
        if over
            && event["Test"].is_null()
            && let Some(mut package) = self.0.remove(name)
        {
            package.end(sink);
        }
        Some(output.to_owned())
    }

    /// The output is at its end.
    pub(super) fn end(&mut self, sink: &mut dyn Sink) {
        while let Some((_, mut package)) = self.0.pop_first() {
            package.end(sink);
        }
    }

    pub(super) fn held(&self) -> usize {
        let package = |(name, package): (&String, &Package)| {
            size_of::<Package>()
                + name.capacity()
                + package.unfinished.capacity()
                + package.go.held()
        };
        self.0.iter().map(package).sum()
    }
}

impl Package {
    fn print(&mut self, output: &str, sink: &mut dyn Sink) {
        for piece in output.split_inclusive('\n') {
            let room = LONGEST_LINE.saturating_sub(self.unfinished.len());
            self.unfinished.push_str(clipped(piece, room));
            if piece.ends_with('\n') {
                self.line(sink);
            }
        }
    }

    fn line(&mut self, sink: &mut dyn Sink) {
        let line = std::mem::take(&mut self.unfinished);
        let line = super::ansi::plain(line.strip_suffix('\n').unwrap_or(&line));
        self.go.line(&line, sink);
    }

    fn end(&mut self, sink: &mut dyn Sink) {
        self.line(sink);
        self.go.end(sink);
    }
}

/// `\t/x/main.go:12 +0x65`.
fn frame(line: &str) -> Option<(&str, u32)> {
    let place = line.strip_prefix('\t')?;
    let place = place.rsplit_once(" +0x").map_or(place, |(place, _)| place);
    let (path, row) = place.rsplit_once(':')?;
    let row = number(row).filter(|&row| row > 0)?;
    (extension(path) == Some("go") && path.len() <= LONGEST_PATH).then_some((path, row))
}

/// The types that do not fit; what a failed test expected and got.
const MOST_LINES: usize = 8;
/// A stack of go is seldom longer; behind it the project's own code does not come any more.
const LONGEST_STACK: usize = 1_000;
/// Names of tests are words.
const LONGEST_NAME: usize = 1_000;
/// go runs as many packages at the same time as there are cores.
const MOST_PACKAGES: usize = 64;
