//! The log: what the app printed and what devwatch said, in the order in which it arrived, within fixed bounds.
//!
//! Bytes come in as they were read from the pipes and are kept as they are, for a pager and to be searched; what may
//! be shown of them is decided by [`super::sanitise`] when they are shown. Pure: no clock, no thread, no terminal.
//!
//! It runs on the thread that reads the pipes, so a line costs no allocation: its bytes are copied once, next to those
//! of the line before, and a record of fixed size is appended. What has to go leaves its record behind until there are
//! more such records than others; then all of them are swept at once.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::{Bound, RangeBounds};
use std::sync::OnceLock;

use memchr::{memchr, memchr_iter, memrchr};

use crate::process::Stream;
use crate::supervisor::generation::JobId;

/// How much is kept. [`Log::new`] lowers what contradicts something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Lines of one generation, with its head. At least 2. Default 10,000.
    pub lines: usize,
    /// Bytes of the finished lines of one generation, with its head. Default 4 MiB.
    ///
    /// Unfinished lines come on top, each with at most [`Bounds::line`]: a job has two streams, so two of them.
    pub bytes: usize,
    /// The first lines of a generation, which stay as long as it does: how it started, and the first error. At most
    /// half of [`Bounds::lines`]. Default 500.
    pub head_lines: usize,
    /// Bytes of the head; the first line that does not fit ends it. At most half of [`Bounds::bytes`]. Default 256 KiB.
    pub head_bytes: usize,
    /// Bytes of one line; what it has beyond is counted only. At most half of [`Bounds::bytes`]. Default 64 KiB.
    pub line: usize,
    /// Generations. The oldest goes as a whole. At least 1. Default 3: the one that serves, the one before that still
    /// drains, and the one that failed in between.
    pub generations: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            lines: 10_000,
            bytes: 4 << 20,
            head_lines: 500,
            head_bytes: 256 << 10,
            line: 64 << 10,
            generations: 3,
        }
    }
}

/// Who printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The generation whose part of the log it is.
    pub generation: u64,
    /// The process.
    pub job: JobId,
    /// Which of its streams.
    pub stream: Stream,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The app's stdout.
    Out,
    /// The app's stderr.
    Err,
    /// devwatch's own.
    Own,
    /// A mark that the user dropped.
    Mark,
    /// Stands where lines were that are no longer kept, and says how many.
    Dropped,
}

/// A line, for ever: numbers grow in the order of display and are not used again. That of a line which is no longer
/// kept stands for the next one that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineId(pub u64);

/// One line as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRef<'a> {
    /// Where it is.
    pub id: LineId,
    /// What it is.
    pub kind: Kind,
    /// The generation it is kept with. What belongs to none is kept with the newest that there was.
    pub generation: u64,
    /// Its bytes as they came, without the line end and without what a carriage return has overwritten.
    pub raw: &'a [u8],
    /// Bytes of it that came after [`Bounds::line`] and were not kept.
    pub more: u64,
    /// Its line end has come, or will not come any more.
    pub finished: bool,
}

impl LineRef<'_> {
    /// What to show behind a line that is not kept whole: `… 12.3 MB more of this line`.
    pub fn note(&self) -> Option<String> {
        (self.more > 0).then(|| format!("… {} more of this line", size(self.more)))
    }
}

/// The log of a session.
pub struct Log {
    bounds: Bounds,
    /// In order of id. Those of lines that have gone stay until they are swept.
    records: Vec<Record>,
    dead: usize,
    /// In order of number; never more than the bounds allow.
    generations: VecDeque<Generation>,
    /// Whole generations that are no longer kept.
    gone: Dropped,
    /// A handful: two for each job that runs.
    open: Vec<Open>,
    next: u64,
    version: u64,
    /// Lines that are no longer kept, ever: it has changed if one more is not.
    evicted: u64,
}

/// A line, or what is left of one.
struct Record {
    id: u64,
    generation: u64,
    more: u64,
    kind: Kind,
    place: Place,
}

/// Where the bytes of a line are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// With its source: it may grow.
    Open,
    Head {
        start: u32,
        len: u32,
    },
    Tail {
        chunk: u32,
        start: u32,
        len: u32,
    },
    /// Of a generation that is still kept.
    Dropped,
    /// Of generations that are not.
    Gone,
    /// Not shown, waits to be swept.
    Dead,
}

/// What one generation may keep, and has.
struct Generation {
    number: u64,
    lines: usize,
    /// Of finished lines.
    bytes: usize,
    head: Vec<u8>,
    head_lines: usize,
    head_full: bool,
    chunks: VecDeque<Chunk>,
    /// The memory of one that was emptied: to ask the kernel for more takes longer than to fill it.
    spare: Option<Vec<u8>>,
    /// The number of the first of `chunks`.
    first_chunk: u32,
    /// Records before it that belong here are of the head or gone.
    cursor: usize,
    dropped_at: Option<u64>,
    dropped: Dropped,
}

/// Bytes of consecutive lines.
struct Chunk {
    bytes: Vec<u8>,
    /// Lines in it that are still kept.
    lines: u32,
}

/// A line that has not ended.
struct Open {
    source: Source,
    id: u64,
    bytes: Vec<u8>,
    more: u64,
    /// It ends in a carriage return: either a line end comes, or the line begins again.
    returned: bool,
}

/// What is no longer kept.
#[derive(Default)]
struct Dropped {
    lines: u64,
    bytes: u64,
    /// Made when somebody looks, not for each of a million lines.
    text: OnceLock<String>,
}

impl Log {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Log {
        let lines = bounds.lines.max(2);
        // Places in a chunk are 32 bits.
        let bytes = bounds.bytes.clamp(2, 1 << 30);
        let bounds = Bounds {
            lines,
            bytes,
            head_lines: bounds.head_lines.min(lines / 2),
            head_bytes: bounds.head_bytes.min(bytes / 2),
            line: bounds.line.clamp(1, bytes / 2),
            generations: bounds.generations.max(1),
        };
        Log {
            bounds,
            records: Vec::new(),
            dead: 0,
            generations: VecDeque::new(),
            gone: Dropped::default(),
            open: Vec::new(),
            next: 1,
            version: 0,
            evicted: 0,
        }
    }

    /// What is kept at most.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// What `source` printed next, in any pieces. A line is there with its first byte.
    pub fn push(&mut self, source: Source, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.version += 1;
        let Some(g) = self.generation(source.generation) else {
            let lines = memchr_iter(b'\n', bytes).count() as u64;
            return self.too_late(source.generation, lines, bytes.len() as u64);
        };
        let mut rest = bytes;
        if let Some(at) = self.open.iter().position(|open| open.source == source) {
            let end = memchr(b'\n', rest);
            self.open[at].extend(&rest[..end.unwrap_or(rest.len())], self.bounds.line);
            let Some(end) = end else { return };
            self.finish(at);
            rest = &rest[end + 1..];
        }
        let kind = match source.stream {
            Stream::Out => Kind::Out,
            Stream::Err => Kind::Err,
        };
        let returns = memchr(b'\r', rest).is_some();
        let mut start = 0;
        for end in memchr_iter(b'\n', rest) {
            let line = &rest[start..end];
            let line = if returns { left(line) } else { line };
            self.add(g, kind, line);
            start = end + 1;
        }
        let rest = &rest[start..];
        if !rest.is_empty() {
            let mut open = Open {
                source,
                id: self.next,
                bytes: Vec::new(),
                more: 0,
                returned: false,
            };
            open.extend(rest, self.bounds.line);
            self.open.push(open);
            self.append(g, kind, 0, Place::Open);
        }
    }

    /// Nothing more comes from `job`: what it left unfinished stays as lines.
    pub fn ended(&mut self, job: JobId) {
        while let Some(at) = self.open.iter().position(|open| open.source.job == job) {
            self.version += 1;
            self.finish(at);
        }
    }

    /// A line of devwatch's own; several, where `text` has several.
    pub fn say(&mut self, generation: Option<u64>, text: &str) {
        self.own(Kind::Own, generation, text);
    }

    /// A mark of the user's.
    pub fn mark(&mut self, text: &str) {
        self.own(Kind::Mark, None, text);
    }

    /// The first line, or [`Log::end`].
    pub fn first(&self) -> LineId {
        self.at_or_after(LineId(0))
    }

    /// Behind the last line: where the next one will be.
    pub fn end(&self) -> LineId {
        LineId(self.next)
    }

    /// The line `id` if it is there, the next one if not, [`Log::end`] if there is none.
    pub fn at_or_after(&self, id: LineId) -> LineId {
        let next = self.lines(id..).next();
        next.map_or(self.end(), |line| line.id)
    }

    /// The lines in `range`, from either end: `log.lines(id..)` goes down from a line, `log.lines(..id).rev()` up.
    pub fn lines(&self, range: impl RangeBounds<LineId>) -> Lines<'_> {
        let front = match range.start_bound() {
            Bound::Included(id) => self.index(id.0),
            Bound::Excluded(id) => self.index(id.0.saturating_add(1)),
            Bound::Unbounded => 0,
        };
        let back = match range.end_bound() {
            Bound::Included(id) => self.index(id.0.saturating_add(1)),
            Bound::Excluded(id) => self.index(id.0),
            Bound::Unbounded => self.records.len(),
        };
        Lines {
            log: self,
            front,
            back: back.max(front),
        }
    }

    /// How many lines there are to show.
    pub fn len(&self) -> usize {
        self.records.len() - self.dead
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Another number after every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Another number after every change that took lines away.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Takes from `ids`, which grow, those of lines that are no longer kept.
    pub fn retain_kept(&self, ids: &mut Vec<LineId>) {
        let Some(first) = ids.first() else { return };
        let mut at = self.index(first.0);
        ids.retain(|id| {
            while self.records.get(at).is_some_and(|record| record.id < id.0) {
                at += 1;
            }
            let record = self.records.get(at);
            record.is_some_and(|record| record.id == id.0 && record.place.holds_a_line())
        });
    }

    /// Writes all that is kept, for a pager: bytes as they came, one line each.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_raw(&self, out: &mut impl Write) -> io::Result<()> {
        for line in self.lines(..) {
            out.write_all(line.raw)?;
            if let Some(note) = line.note() {
                write!(out, " {note}")?;
            }
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    fn own(&mut self, kind: Kind, generation: Option<u64>, text: &str) {
        self.version += 1;
        let newest = self.generations.back().map_or(0, |newest| newest.number);
        let generation = generation.unwrap_or(newest);
        let Some(g) = self.generation(generation) else {
            let lines = text.lines().count() as u64;
            return self.too_late(generation, lines, text.len() as u64);
        };
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        for line in std::iter::once(first).chain(lines) {
            self.add(g, kind, left(line.as_bytes()));
        }
    }

    /// A whole line, without its end.
    fn add(&mut self, g: usize, kind: Kind, line: &[u8]) {
        let kept = &line[..line.len().min(self.bounds.line)];
        let more = (line.len() - kept.len()) as u64;
        let place = self.generations[g].store(kept, &self.bounds);
        self.append(g, kind, more, place);
    }

    /// The line that is open at `at` grows no more.
    fn finish(&mut self, at: usize) {
        let open = self.open.swap_remove(at);
        let g = self.generation(open.source.generation);
        let g = g.expect("a generation takes its open lines with it when it goes");
        let index = self.index(open.id);
        self.records[index].place = self.generations[g].store(&open.bytes, &self.bounds);
        self.records[index].more = open.more;
        self.evict(g);
    }

    fn append(&mut self, g: usize, kind: Kind, more: u64, place: Place) {
        let generation = &mut self.generations[g];
        generation.lines += 1;
        self.records.push(Record {
            id: self.next,
            generation: generation.number,
            more,
            kind,
            place,
        });
        self.next += 1;
        self.evict(g);
    }

    /// Until the generation is within its bounds, its oldest lines go, but never those of its head.
    fn evict(&mut self, g: usize) {
        let generation = &mut self.generations[g];
        while generation.lines > self.bounds.lines || generation.bytes > self.bounds.bytes {
            let from = generation.cursor;
            let next = self.records[from..].iter().position(|record| {
                record.generation == generation.number
                    && matches!(record.place, Place::Open | Place::Tail { .. })
            });
            // The bounds leave the tail half of all, which is at least a line, so there is always one.
            let Some(next) = next else { break };
            let index = from + next;
            generation.cursor = index + 1;
            let record = &mut self.records[index];
            let bytes = match record.place {
                Place::Tail { chunk, len, .. } => {
                    generation.release(chunk, len);
                    u64::from(len) + record.more
                }
                // What still comes of it begins a new line.
                Place::Open => {
                    let at = self.open.iter().position(|open| open.id == record.id);
                    let open = self
                        .open
                        .swap_remove(at.expect("an open line has its bytes"));
                    open.bytes.len() as u64 + open.more
                }
                Place::Head { .. } | Place::Dropped | Place::Gone | Place::Dead => 0,
            };
            generation.lines -= 1;
            generation.dropped.add(1, bytes);
            self.evicted += 1;
            record.place = Place::Dropped;
            record.kind = Kind::Dropped;
            record.more = 0;
            if let Some(before) = generation.dropped_at.replace(record.id) {
                // In a flood it is the record just before.
                let before = match index.checked_sub(1) {
                    Some(just) if self.records[just].id == before => just,
                    _ => self.records[..index].partition_point(|record| record.id < before),
                };
                self.records[before].place = Place::Dead;
                self.dead += 1;
            }
        }
        self.sweep();
    }

    /// Where generation `number` is; it is made if need be. None if it is older than all that are kept.
    fn generation(&mut self, number: u64) -> Option<usize> {
        let at = self.generations.iter().rposition(|g| g.number <= number);
        if let Some(at) = at.filter(|&at| self.generations[at].number == number) {
            return Some(at);
        }
        let mut at = at.map_or(0, |before| before + 1);
        if self.generations.len() >= self.bounds.generations {
            if at == 0 {
                return None;
            }
            self.forget_oldest();
            at -= 1;
        }
        let cursor = self.records.len();
        self.generations.insert(at, Generation::new(number, cursor));
        Some(at)
    }

    /// The oldest generation goes with all its lines; its last one becomes the place that says so.
    fn forget_oldest(&mut self) {
        let Some(oldest) = self.generations.pop_front() else {
            return;
        };
        let mut unfinished = 0;
        self.open.retain(|open| {
            let theirs = open.source.generation == oldest.number;
            if theirs {
                unfinished += open.bytes.len() as u64 + open.more;
            }
            !theirs
        });
        let theirs = |record: &Record| {
            record.generation == oldest.number && !matches!(record.place, Place::Gone | Place::Dead)
        };
        let (mut last, mut more, mut newest) = (None, 0, oldest.number);
        for (at, record) in self.records.iter_mut().enumerate() {
            if theirs(record) || record.place == Place::Gone {
                more += record.more;
                newest = newest.max(record.generation);
                record.place = Place::Dead;
                self.dead += 1;
                last = Some(at);
            }
        }
        let Some(last) = last else { return };
        let record = &mut self.records[last];
        record.place = Place::Gone;
        record.kind = Kind::Dropped;
        record.generation = newest;
        record.more = 0;
        self.dead -= 1;
        self.evicted += oldest.lines as u64;
        self.gone.add(
            oldest.dropped.lines + oldest.lines as u64,
            oldest.dropped.bytes + oldest.bytes as u64 + more + unfinished,
        );
        self.sweep();
    }

    /// A generation that is no longer kept has something to say.
    fn too_late(&mut self, generation: u64, lines: u64, bytes: u64) {
        self.gone.add(lines, bytes);
        let before = self
            .records
            .iter_mut()
            .find(|record| record.place == Place::Gone);
        let generation = before.map_or(generation, |before| {
            before.place = Place::Dead;
            self.dead += 1;
            before.generation.max(generation)
        });
        self.records.push(Record {
            id: self.next,
            generation,
            more: 0,
            kind: Kind::Dropped,
            place: Place::Gone,
        });
        self.next += 1;
        self.sweep();
    }

    /// Takes the dead records out, when there are enough of them to make it cheap.
    fn sweep(&mut self) {
        if self.dead <= 1024 || self.dead <= self.len() {
            return;
        }
        // A cursor may stand behind the last record.
        let ids: Vec<u64> = self
            .generations
            .iter()
            .map(|g| self.records.get(g.cursor).map_or(self.next, |r| r.id))
            .collect();
        self.records.retain(|record| record.place != Place::Dead);
        self.dead = 0;
        for (g, id) in ids.into_iter().enumerate() {
            self.generations[g].cursor = self.index(id);
        }
    }

    /// Where the first record is that is not before `id`.
    fn index(&self, id: u64) -> usize {
        self.records.partition_point(|record| record.id < id)
    }

    fn line(&self, record: &Record) -> LineRef<'_> {
        let generation = self
            .generations
            .iter()
            .find(|generation| generation.number == record.generation);
        let mut more = record.more;
        let raw = match (record.place, generation) {
            (Place::Head { start, len }, Some(generation)) => {
                &generation.head[start as usize..][..len as usize]
            }
            (Place::Tail { chunk, start, len }, Some(generation)) => {
                let chunk = chunk.wrapping_sub(generation.first_chunk) as usize;
                &generation.chunks[chunk].bytes[start as usize..][..len as usize]
            }
            (Place::Open, _) => {
                let open = self.open.iter().find(|open| open.id == record.id);
                let open = open.expect("an open line has its bytes");
                more = open.more;
                &open.bytes
            }
            (Place::Dropped, Some(generation)) => generation.dropped.text("").as_bytes(),
            (Place::Gone, _) => {
                let whose = format!(" of generation {} and before", record.generation);
                self.gone.text(&whose).as_bytes()
            }
            (Place::Dead | Place::Head { .. } | Place::Tail { .. } | Place::Dropped, _) => &[],
        };
        LineRef {
            id: LineId(record.id),
            kind: record.kind,
            generation: record.generation,
            raw,
            more,
            finished: record.place != Place::Open,
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log::new(Bounds::default())
    }
}

/// Lines of a [`Log`], from either end.
#[derive(Clone)]
pub struct Lines<'a> {
    log: &'a Log,
    front: usize,
    back: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = LineRef<'a>;

    fn next(&mut self) -> Option<LineRef<'a>> {
        while self.front < self.back {
            let record = &self.log.records[self.front];
            self.front += 1;
            if record.place != Place::Dead {
                return Some(self.log.line(record));
            }
        }
        None
    }
}

impl DoubleEndedIterator for Lines<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        while self.front < self.back {
            self.back -= 1;
            let record = &self.log.records[self.back];
            if record.place != Place::Dead {
                return Some(self.log.line(record));
            }
        }
        None
    }
}

impl Place {
    fn holds_a_line(self) -> bool {
        match self {
            Place::Open | Place::Head { .. } | Place::Tail { .. } => true,
            Place::Dropped | Place::Gone | Place::Dead => false,
        }
    }
}

impl Generation {
    fn new(number: u64, cursor: usize) -> Generation {
        Generation {
            number,
            lines: 0,
            bytes: 0,
            head: Vec::new(),
            head_lines: 0,
            head_full: false,
            chunks: VecDeque::new(),
            spare: None,
            first_chunk: 0,
            cursor,
            dropped_at: None,
            dropped: Dropped::default(),
        }
    }

    /// Keeps the bytes of a finished line.
    fn store(&mut self, line: &[u8], bounds: &Bounds) -> Place {
        self.bytes += line.len();
        let len = line.len() as u32;
        self.head_full |= self.head_lines >= bounds.head_lines
            || self.head.len() + line.len() > bounds.head_bytes;
        if !self.head_full {
            self.head_lines += 1;
            let start = self.head.len() as u32;
            self.head.extend_from_slice(line);
            return Place::Head { start, len };
        }
        // Four of the longest fit, so that less than a quarter is left unused.
        let room = 4 * bounds.line;
        let fits = |chunk: &Chunk| chunk.bytes.len() + line.len() <= room;
        if !self.chunks.back().is_some_and(fits) {
            let mut bytes = self.spare.take().unwrap_or_default();
            bytes.clear();
            bytes.reserve_exact(room);
            self.chunks.push_back(Chunk { bytes, lines: 0 });
        }
        let last = self.chunks.len() - 1;
        let chunk = &mut self.chunks[last];
        let start = chunk.bytes.len() as u32;
        chunk.bytes.extend_from_slice(line);
        chunk.lines += 1;
        let chunk = self.first_chunk.wrapping_add(last as u32);
        Place::Tail { chunk, start, len }
    }

    /// A line of the tail is not needed any more.
    fn release(&mut self, chunk: u32, len: u32) {
        self.bytes -= len as usize;
        let at = chunk.wrapping_sub(self.first_chunk) as usize;
        self.chunks[at].lines -= 1;
        // Lines end in another order than they begin in, so a chunk in the middle may be the first to be empty.
        while self.chunks.front().is_some_and(|first| first.lines == 0) {
            let first = self.chunks.pop_front();
            self.first_chunk = self.first_chunk.wrapping_add(1);
            self.spare = first.map(|chunk| chunk.bytes);
        }
    }
}

impl Open {
    fn extend(&mut self, piece: &[u8], longest: usize) {
        let text = trim_returns(piece);
        if !text.is_empty() {
            if self.returned {
                self.begin_again();
            }
            let text = match memrchr(b'\r', text) {
                Some(at) => {
                    self.begin_again();
                    &text[at + 1..]
                }
                None => text,
            };
            let kept = text.len().min(longest - self.bytes.len());
            self.bytes.extend_from_slice(&text[..kept]);
            self.more += (text.len() - kept) as u64;
        }
        self.returned = text.len() < piece.len();
    }

    fn begin_again(&mut self) {
        self.bytes.clear();
        self.more = 0;
    }
}

impl Dropped {
    fn add(&mut self, lines: u64, bytes: u64) {
        self.lines += lines;
        self.bytes += bytes;
        self.text.take();
    }

    fn text(&self, whose: &str) -> &str {
        self.text.get_or_init(|| {
            let lines = if self.lines == 1 { "line" } else { "lines" };
            let number = thousands(self.lines);
            format!("… {number} {lines} ({}){whose} dropped …", size(self.bytes))
        })
    }
}

/// What is left of a whole line that returns to its beginning; the same as [`Open::extend`] makes of its pieces.
fn left(line: &[u8]) -> &[u8] {
    let line = trim_returns(line);
    memrchr(b'\r', line).map_or(line, |at| &line[at + 1..])
}

fn trim_returns(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|&b| b != b'\r');
    &line[..end.map_or(0, |at| at + 1)]
}

/// `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `812 B`, `9.8 MB`: powers of a thousand, one digit behind the point.
pub fn size(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut units = ["kB", "MB", "GB", "TB"].into_iter();
    let mut unit = units.next().unwrap_or("kB");
    // 999.95 would be shown as 1000.0.
    for larger in units {
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
pub(in crate::screen) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Small enough that a few pushes reach every bound.
    pub(in crate::screen) const TINY: Bounds = Bounds {
        lines: 6,
        bytes: 40,
        head_lines: 2,
        head_bytes: 12,
        line: 10,
        generations: 2,
    };

    /// What may happen to a log.
    #[derive(Clone, Debug)]
    pub(in crate::screen) enum Step {
        Push(Source, Vec<u8>),
        Ended(JobId),
        Say(Option<u64>, String),
        Mark,
    }

    pub(in crate::screen) fn take(log: &mut Log, step: &Step) {
        match step {
            Step::Push(source, bytes) => log.push(*source, bytes),
            Step::Ended(job) => log.ended(*job),
            Step::Say(generation, text) => log.say(*generation, text),
            Step::Mark => log.mark("-- mark --"),
        }
    }

    /// Three generations of two jobs each, where [`TINY`] keeps two.
    pub(in crate::screen) fn steps() -> impl Strategy<Value = Vec<Step>> {
        let source = (1..4u64, 0..2u64, any::<bool>()).prop_map(|(generation, job, out)| Source {
            generation,
            job: JobId(generation * 10 + job),
            stream: if out { Stream::Out } else { Stream::Err },
        });
        let job = (1..4u64, 0..2u64).prop_map(|(generation, job)| JobId(generation * 10 + job));
        let step = prop_oneof![
            8 => (source, printed()).prop_map(|(source, bytes)| Step::Push(source, bytes)),
            1 => job.prop_map(Step::Ended),
            1 => (proptest::option::of(1..4u64), "[ab\n]{0,6}").prop_map(|(g, text)| Step::Say(g, text)),
            1 => Just(Step::Mark),
        ];
        proptest::collection::vec(step, 0..60)
    }

    fn printed() -> impl Strategy<Value = Vec<u8>> {
        "[abc\n\r]{0,20}".prop_map(String::into_bytes)
    }

    fn source(generation: u64, job: u64, stream: Stream) -> Source {
        let job = JobId(job);
        Source {
            generation,
            job,
            stream,
        }
    }

    const APP: Source = Source {
        generation: 1,
        job: JobId(1),
        stream: Stream::Out,
    };

    fn shown(log: &Log) -> Vec<String> {
        let text = |line: LineRef| String::from_utf8_lossy(line.raw).into_owned();
        log.lines(..).map(text).collect()
    }

    /// What one stream leaves as lines, and the one without an end.
    fn lines_of(printed: &[u8], longest: usize) -> Vec<Vec<u8>> {
        let mut lines: Vec<Vec<u8>> = printed
            .split(|&b| b == b'\n')
            .map(|line| {
                let left = left(line);
                left[..left.len().min(longest)].to_vec()
            })
            .collect();
        if printed.last().is_none_or(|&b| b == b'\n') {
            lines.pop();
        }
        lines
    }

    #[test]
    fn a_prompt_is_there_before_its_line_ends() {
        let mut log = Log::default();
        log.push(APP, b"one\nName? ");
        assert_eq!(shown(&log), ["one", "Name? "]);
        let prompt = log.lines(..).next_back().expect("a line");
        assert!(!prompt.finished);
        let prompt = prompt.id;
        log.push(APP, b"me\n");
        assert_eq!(shown(&log), ["one", "Name? me"]);
        assert!(log.lines(..).all(|line| line.finished));
        assert_eq!(log.end(), LineId(prompt.0 + 1));
    }

    #[test]
    fn two_streams_never_share_a_line() {
        let mut log = Log::default();
        let errors = source(1, 1, Stream::Err);
        log.push(APP, b"out ");
        log.push(errors, b"err ");
        log.push(source(1, 2, Stream::Out), b"other ");
        log.push(APP, b"more\n");
        log.push(errors, b"more\n");
        assert_eq!(shown(&log), ["out more", "err more", "other "]);
        let kinds: Vec<Kind> = log.lines(..).map(|line| line.kind).collect();
        assert_eq!(kinds, [Kind::Out, Kind::Err, Kind::Out]);
    }

    #[test]
    fn what_a_job_leaves_unfinished_stays_when_it_has_ended() {
        let mut log = Log::default();
        log.push(APP, b"half");
        log.ended(APP.job);
        log.push(APP, b"of another");
        assert_eq!(shown(&log), ["half", "of another"]);
        assert!(log.lines(..).next().expect("a line").finished);
    }

    #[test]
    fn a_progress_bar_shows_its_latest_state_and_costs_nothing() {
        let mut log = Log::default();
        for percent in 0..100_000 {
            log.push(APP, format!("\r{percent} of many").as_bytes());
        }
        assert_eq!(shown(&log), ["99999 of many"]);
        assert!(log.open[0].bytes.capacity() < 100);
        log.push(APP, b"\rdone\r");
        assert_eq!(shown(&log), ["done"], "the end of the line may follow");
        log.push(APP, b"\n");
        assert_eq!(shown(&log), ["done"]);
    }

    #[test]
    fn an_endless_line_is_counted_and_not_kept() {
        let mut log = Log::default();
        let piece = [b'x'; 1 << 16];
        for _ in 0..200 {
            log.push(APP, &piece);
        }
        let line = log.lines(..).next().expect("a line");
        assert_eq!(line.raw.len(), 64 << 10);
        assert_eq!(line.more, 199 << 16);
        assert_eq!(line.note().as_deref(), Some("… 13.0 MB more of this line"));
        log.push(APP, b"\r99%");
        assert_eq!(shown(&log), ["99%"]);
        assert_eq!(log.lines(..).next().expect("a line").more, 0);
    }

    #[test]
    fn a_flood_keeps_how_it_began_and_how_it_ends_and_says_what_is_missing() {
        let mut log = Log::default();
        for number in 0..200_000 {
            log.push(APP, format!("line {number}\n").as_bytes());
        }
        let lines = shown(&log);
        assert_eq!(lines.len(), 10_001);
        assert_eq!(lines[0], "line 0");
        assert_eq!(lines[499], "line 499");
        assert_eq!(lines[500], "… 190,000 lines (2.0 MB) dropped …");
        assert_eq!(lines[501], "line 190500");
        assert_eq!(lines[10_000], "line 199999");
        let dropped = log.lines(..).nth(500).expect("a line");
        assert_eq!(dropped.kind, Kind::Dropped);
        // A place in what is gone is the place that says so; nothing is before it but the head.
        assert_eq!(log.at_or_after(LineId(1000)), dropped.id);
        assert_eq!(log.at_or_after(LineId(500)), LineId(500));
        assert!(log.records.len() < 25_000);
    }

    #[test]
    fn the_oldest_generation_goes_as_a_whole() {
        let mut log = Log::default();
        for generation in 1..=5 {
            let text = format!("of {generation}\nunfinished");
            log.push(source(generation, generation, Stream::Out), text.as_bytes());
        }
        let expected = "… 4 lines (28 B) of generation 2 and before dropped …";
        assert_eq!(
            shown(&log),
            [
                expected,
                "of 3",
                "unfinished",
                "of 4",
                "unfinished",
                "of 5",
                "unfinished"
            ]
        );
        // It is still draining, and its lines have no place any more.
        log.push(source(1, 1, Stream::Out), b"late\n");
        let expected = "… 5 lines (33 B) of generation 2 and before dropped …";
        assert_eq!(shown(&log).last().map(String::as_str), Some(expected));
        assert_eq!(log.len(), 7);
    }

    #[test]
    fn a_draining_generation_is_shown_among_the_lines_of_the_next() {
        let mut log = Log::new(TINY);
        for number in 0..20 {
            log.push(APP, format!("a{number}\n").as_bytes());
            log.push(source(2, 2, Stream::Out), format!("b{number}\n").as_bytes());
        }
        assert_eq!(
            shown(&log),
            [
                "a0",
                "b0",
                "a1",
                "b1",
                "… 14 lines (34 B) dropped …",
                "… 14 lines (34 B) dropped …",
                "a16",
                "b16",
                "a17",
                "b17",
                "a18",
                "b18",
                "a19",
                "b19",
            ]
        );
    }

    #[test]
    fn what_devwatch_says_is_a_line_of_its_own() {
        let mut log = Log::default();
        log.say(None, "before anything");
        log.push(source(7, 1, Stream::Out), b"half");
        log.say(Some(7), "two\nlines");
        log.mark("");
        let lines: Vec<(Kind, u64)> = log.lines(..).map(|l| (l.kind, l.generation)).collect();
        let expected = [
            (Kind::Own, 0),
            (Kind::Out, 7),
            (Kind::Own, 7),
            (Kind::Own, 7),
            (Kind::Mark, 7),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_pager_gets_the_bytes_as_they_came() {
        let mut log = Log::new(TINY);
        log.push(APP, b"\x1b[1m\xff\n12345678901\nhalf");
        let mut out = Vec::new();
        log.write_raw(&mut out).expect("memory takes all");
        let mut expected = b"\x1b[1m\xff\n".to_vec();
        expected.extend("1234567890 … 1 B more of this line\nhalf\n".as_bytes());
        assert_eq!(out, expected);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1000), "1.0 kB");
        assert_eq!(size(999_949), "999.9 kB");
        assert_eq!(size(999_950), "1.0 MB");
        assert_eq!(size(9_800_000), "9.8 MB");
        assert_eq!(size(5_000_000_000_000_000), "5000.0 TB");
    }

    #[test]
    #[ignore = "a measurement: cargo test --release --lib flood_at -- --ignored --nocapture"]
    #[expect(clippy::disallowed_methods, reason = "it measures")]
    fn flood_at_full_speed() {
        let line = [&[b'x'; 79][..], b"\n"].concat();
        let returns = [&b"\r"[..], &[b'x'; 79]].concat();
        for (name, line) in [("80 columns", line), ("progress", returns)] {
            // As a pipe is read: pieces that end anywhere.
            let flood: Vec<u8> = line.iter().copied().cycle().take(1 << 20).collect();
            let mut log = Log::default();
            let begun = std::time::Instant::now();
            for _ in 0..1000 {
                for piece in flood.chunks(65_521) {
                    log.push(APP, piece);
                }
            }
            let took = begun.elapsed();
            let rate = 1000.0 / took.as_secs_f64() * 1.048_576;
            println!("{name}: {rate:.0} MB/s, {} lines kept", log.len());
        }
        // Two generations, one line each at a time: every read of a pipe is one line, and what goes is never in front.
        let mut log = Log::default();
        let line = [&[b'x'; 79][..], b"\n"].concat();
        let begun = std::time::Instant::now();
        for number in 0..1_000_000 {
            log.push(source(1 + number % 2, number % 2, Stream::Out), &line);
        }
        let rate = 80.0 / begun.elapsed().as_secs_f64();
        println!(
            "mixed line by line: {rate:.0} MB/s, {} lines kept",
            log.len()
        );
    }

    proptest! {
        #[test]
        fn how_a_stream_is_cut_into_pieces_changes_nothing(
            printed in "[abc\n\r]{0,300}",
            cuts in proptest::collection::vec(0..300usize, 0..40),
        ) {
            let printed = printed.as_bytes();
            let mut whole = Log::new(TINY);
            whole.push(APP, printed);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(printed.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Log::new(TINY);
            let mut single = Log::new(TINY);
            let mut start = 0;
            for cut in cuts.into_iter().chain([printed.len()]) {
                pieces.push(APP, &printed[start..cut]);
                start = cut;
            }
            for byte in printed {
                single.push(APP, std::slice::from_ref(byte));
            }
            let whole: Vec<LineRef> = whole.lines(..).collect();
            prop_assert_eq!(&whole, &pieces.lines(..).collect::<Vec<_>>());
            prop_assert_eq!(&whole, &single.lines(..).collect::<Vec<_>>());
        }

        #[test]
        fn each_stream_has_its_lines_however_they_are_mixed(
            pieces in proptest::collection::vec((0..4u64, printed()), 0..40),
        ) {
            let mut log = Log::new(Bounds { line: 10, ..Bounds::default() });
            let mut streams: [Vec<u8>; 4] = Default::default();
            for (who, piece) in &pieces {
                log.push(source(1 + who % 2, *who, Stream::Out), piece);
                streams[*who as usize].extend(piece);
            }
            let mut expected: Vec<Vec<u8>> = streams.iter().flat_map(|s| lines_of(s, 10)).collect();
            let mut lines: Vec<Vec<u8>> = log.lines(..).map(|line| line.raw.to_vec()).collect();
            expected.sort();
            lines.sort();
            prop_assert_eq!(lines, expected);
        }

        #[test]
        fn no_bound_is_ever_exceeded_and_no_line_is_lost_in_silence(steps in steps(), small in any::<bool>()) {
            let bounds = if small { TINY } else { Bounds { lines: 9, bytes: 33, line: 16, ..TINY } };
            let mut log = Log::new(bounds);
            let mut last_version = log.version();
            for step in &steps {
                let before = log.lines(..).map(|line| format!("{line:?}")).collect::<Vec<_>>();
                take(&mut log, step);
                let lines: Vec<LineRef> = log.lines(..).collect();
                let after = lines.iter().map(|line| format!("{line:?}")).collect::<Vec<_>>();
                prop_assert!(before == after || last_version != log.version());
                last_version = log.version();
                prop_assert!(lines.is_sorted_by(|a, b| a.id < b.id));
                prop_assert_eq!(lines.len(), log.len());
                let mut upwards: Vec<LineRef> = log.lines(..).rev().collect();
                upwards.reverse();
                prop_assert_eq!(&lines, &upwards);
                prop_assert!(log.first() <= log.end());

                let kept: Vec<&LineRef> = lines.iter().filter(|line| line.kind != Kind::Dropped).collect();
                for line in &kept {
                    prop_assert!(line.raw.len() <= bounds.line);
                    prop_assert_eq!(log.at_or_after(line.id), line.id);
                }
                for generation in 0..5 {
                    let theirs = || kept.iter().filter(|line| line.generation == generation);
                    prop_assert!(theirs().count() <= bounds.lines);
                    let bytes: usize = theirs().filter(|line| line.finished).map(|line| line.raw.len()).sum();
                    prop_assert!(bytes <= bounds.bytes);
                }
                prop_assert!(log.generations.len() <= bounds.generations);
                for generation in &log.generations {
                prop_assert!(generation.head.len() <= bounds.head_bytes);
                    let tail: usize = generation.chunks.iter().map(|chunk| chunk.bytes.len()).sum();
                    // A chunk is kept as long as one of its lines, four of the longest fit in one.
                    prop_assert!(tail <= bounds.bytes + 8 * bounds.line);
                }
                prop_assert_eq!(log.records.iter().filter(|r| r.place == Place::Dead).count(), log.dead);
            }
        }

        #[test]
        fn every_line_is_kept_or_counted(generations in proptest::collection::vec(1..5u64, 0..60)) {
            let mut log = Log::new(TINY);
            // In stretches, because a sweep takes a thousand lines.
            for (at, generation) in generations.iter().enumerate() {
                for number in 0..50 {
                    log.push(source(*generation, 1, Stream::Out), format!("{}\n", at * number).as_bytes());
                }
            }
            let lines = 50 * generations.len();
            let kept = log.lines(..).filter(|line| line.kind != Kind::Dropped).count() as u64;
            let dropped: u64 = log.generations.iter().map(|generation| generation.dropped.lines).sum();
            prop_assert_eq!(kept + dropped + log.gone.lines, lines as u64);
            // What has gone was swept from time to time.
            prop_assert!(log.records.len() <= 1024 + 2 * log.len() + 1);
        }
    }
}
