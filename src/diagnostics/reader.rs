//! Reads one run of a rule: bytes in, bytes to show out, problems at the end.

use serde_json::Value;

use super::collect::Collector;
use super::feed::{Feed, Json, Piece};
use super::go::Packages;
use super::{Files, Kind, Line, Parser, Problems, Recipe, ansi, cargo, eslint};
use crate::process::Stream;

/// Reads one run of a rule.
///
/// Each stream is cut into lines by itself, so half a line of one never joins the other. What it keeps is bounded,
/// however much is printed: some megabytes at the very most, some kilobytes usually.
pub struct Reader {
    feeds: [Feed; 2],
    lines: [Lines; 2],
    packages: Packages,
    collector: Collector,
    /// What is to be shown of the last bytes, where that is not the bytes themselves.
    shown: Vec<u8>,
    json: Json,
    kinds: Kinds,
}

/// Whose records are read.
#[derive(Clone, Copy, Debug)]
struct Kinds {
    cargo: bool,
    go: bool,
    eslint: bool,
}

/// The parsers of one stream.
struct Lines(Vec<Box<dyn Parser>>);

impl Reader {
    /// Reads as `recipe` says; `files` tells which paths there are.
    pub fn new(recipe: &Recipe, files: Files) -> Reader {
        let kinds = Kinds {
            cargo: recipe.reads(Kind::Cargo),
            go: recipe.reads(Kind::Go),
            eslint: recipe.reads(Kind::Eslint),
        };
        let json = Json {
            lines: kinds.cargo || kinds.go,
            files: kinds.eslint,
        };
        Reader {
            feeds: [Feed::new(json), Feed::new(json)],
            lines: [Lines(recipe.parsers()), Lines(recipe.parsers())],
            packages: Packages::default(),
            collector: Collector::new(recipe.base().clone(), recipe.folders().to_vec(), files),
            shown: Vec::new(),
            json,
            kinds,
        }
    }

    /// Takes the next bytes of `stream`. What is to be shown of them: the bytes as they are, half lines too; but of
    /// JSON for programs the text for people that it carries, once a record is whole.
    ///
    /// How the bytes are cut makes no difference to what is found, nor to what is shown in the end.
    pub fn push<'a>(&'a mut self, stream: Stream, bytes: &'a [u8]) -> &'a [u8] {
        let at = match stream {
            Stream::Out => 0,
            Stream::Err => 1,
        };
        self.shown.clear();
        let untouched = !self.json.lines && !self.json.files;
        self.feed(at, Some(bytes));
        match untouched {
            true => bytes,
            false => &self.shown,
        }
    }

    /// The run is over: what is still to be shown of it, and what was found in it.
    pub fn finish(mut self) -> (Vec<u8>, Problems) {
        self.shown.clear();
        for at in [0, 1] {
            self.feed(at, None);
            for parser in &mut self.lines[at].0 {
                parser.end(&mut self.collector);
            }
        }
        self.packages.end(&mut self.collector);
        (self.shown, self.collector.finish())
    }

    /// How many bytes it keeps now. For the proof that it is bounded.
    pub fn held(&self) -> usize {
        let parsers = self.lines.iter().flat_map(|lines| &lines.0);
        self.feeds.iter().map(Feed::held).sum::<usize>()
            + parsers.map(|parser| parser.held()).sum::<usize>()
            + self.packages.held()
            + self.collector.held()
            + self.shown.capacity()
    }

    /// Gives one of the feeds its next bytes, or its end, and takes what comes out of it.
    fn feed(&mut self, at: usize, bytes: Option<&[u8]>) {
        let Reader {
            feeds,
            lines,
            packages,
            collector,
            shown,
            json,
            kinds,
        } = self;
        let copies = json.lines || json.files;
        let mut take = |piece: Piece<'_>| match piece {
            Piece::Show(bytes) if copies => shown.extend(bytes),
            Piece::Show(_) => {}
            Piece::Line(bytes) => lines[at].line(bytes, collector),
            Piece::Record(bytes) => match record(bytes, *kinds, packages, collector) {
                Some(text) => shown.extend(text.as_bytes()),
                None => shown.extend(bytes),
            },
        };
        match bytes {
            Some(bytes) => feeds[at].push(bytes, &mut take),
            None => feeds[at].end(&mut take),
        }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}

/// What to show of a record; None if nobody knows it.
fn record(
    bytes: &[u8],
    kinds: Kinds,
    packages: &mut Packages,
    collector: &mut Collector,
) -> Option<String> {
    let record: Value = serde_json::from_slice(bytes).ok()?;
    let cargo = kinds
        .cargo
        .then(|| cargo::message(&record, collector))
        .flatten();
    let eslint = || {
        kinds
            .eslint
            .then(|| eslint::record(&record, collector))
            .flatten()
    };
    let shown = cargo.or_else(eslint);
    shown.or_else(|| {
        kinds
            .go
            .then(|| packages.event(&record, collector))
            .flatten()
    })
}

impl Lines {
    fn line(&mut self, bytes: &[u8], collector: &mut Collector) {
        let text = String::from_utf8_lossy(bytes);
        let line = ansi::plain(&text);
        if let Some(step) = step(&line) {
            match step {
                Step::Enter(folder) => collector.enter(folder),
                Step::Leave => collector.leave(),
            }
            return;
        }
        let taken = self
            .0
            .iter_mut()
            .position(|parser| match parser.line(&line, collector) {
                Line::Taken => true,
                Line::Passed => false,
            });
        // Those behind it have not seen the line: what they had begun does not go on.
        if let Some(taken) = taken {
            for parser in &mut self.0[taken + 1..] {
                parser.close(collector);
            }
        }
    }
}

/// make and ninja say where they are; paths of what they run hang there.
enum Step<'a> {
    Enter(&'a str),
    Leave,
}

fn step(line: &str) -> Option<Step<'_>> {
    let (_, said) = line.split_once(": ")?;
    if let Some(folder) = said.strip_prefix("Entering directory ") {
        // Old makes quote `so'.
        let folder = folder.trim_matches(['\'', '`', '"']);
        return (!folder.is_empty() && folder.len() <= super::LONGEST_PATH)
            .then_some(Step::Enter(folder));
    }
    said.starts_with("Leaving directory ")
        .then_some(Step::Leave)
}
