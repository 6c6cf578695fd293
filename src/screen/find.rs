//! Search in the log: which lines match what was typed, kept right while lines arrive, grow and go.
//!
//! A line is looked at once, when it is new, and again as long as it has no end; never all lines because one came.
//! Pure: the log is only read, and [`Find::update`] does a bounded part of the work at a time, so that a key never
//! waits for a search.

use std::ops::Range;

use regex::{Regex, RegexBuilder};

use super::log::{Kind, LineId, LineRef, Log};
use super::sanitise;

/// Bytes that a compiled pattern may take; what is larger is searched literally. Some ten classes like `\w` fit; a
/// pattern that would take seconds for a screenful does not.
const LARGEST_PATTERN: usize = 1 << 20;

/// Bytes of lines that one update looks at. Coloured lines pass at 150 MB/s or more, so it takes 2 ms.
const MOST_AT_ONCE: usize = 256 << 10;

/// What was typed to be searched.
#[derive(Clone, Debug)]
pub struct Pattern {
    typed: String,
    regex: Regex,
    literal: bool,
}

impl Pattern {
    /// A regular expression if it is one, and not too large; otherwise the very text. Lower case finds both cases. None
    /// if nothing was typed.
    pub fn new(typed: &str) -> Option<Pattern> {
        if typed.is_empty() {
            return None;
        }
        let build = |pattern: &str, any_case: bool| {
            RegexBuilder::new(pattern)
                .case_insensitive(any_case)
                .size_limit(LARGEST_PATTERN)
                .dfa_size_limit(LARGEST_PATTERN)
                .nest_limit(50)
                .build()
                .ok()
        };
        let (regex, literal) = match build(typed, !has_upper_case(typed)) {
            Some(regex) => (regex, false),
            None => {
                let any_case = !typed.chars().any(char::is_uppercase);
                // A text that is too large as well: somebody pasted a file.
                (build(&regex::escape(typed), any_case)?, true)
            }
        };
        Some(Pattern {
            typed: typed.to_owned(),
            regex,
            literal,
        })
    }

    /// As it was typed.
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// It is searched as the text that it is, because it is no regular expression or too large a one.
    pub fn is_literal(&self) -> bool {
        self.literal
    }

    /// Whether `text` has it.
    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Where `text` has it, in bytes: what is to be highlighted. Matches of nothing (`a*`) are left out.
    pub fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        let found = self.regex.find_iter(text).map(|found| found.range());
        found.filter(|range| !range.is_empty()).collect()
    }

    fn matches_line(&self, line: &LineRef) -> bool {
        line.kind != Kind::Dropped && self.matches(&sanitise::whole(line.raw))
    }
}

/// The lines that match a pattern.
pub struct Find {
    pattern: Pattern,
    /// In order.
    matches: Vec<LineId>,
    /// Lines before it are not searched: the view was cleared there.
    from: LineId,
    /// Lines before it have been looked at.
    seen: LineId,
    /// Those of them that may have grown since.
    unfinished: Vec<LineId>,
    version: Option<u64>,
    evicted: u64,
}

impl Find {
    /// Knows nothing of the log yet: [`Find::update`] is next.
    pub fn new(pattern: Pattern) -> Find {
        Find {
            pattern,
            matches: Vec::new(),
            from: LineId(0),
            seen: LineId(0),
            unfinished: Vec::new(),
            version: None,
            evicted: 0,
        }
    }

    /// What is searched.
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Looks at what is new in `log`, always the same one, from the line `from` on. True when it has seen everything;
    /// false when there is more than a few milliseconds of it, and another update goes on.
    pub fn update(&mut self, log: &Log, from: LineId) -> bool {
        if self.version == Some(log.version()) && self.from == from {
            return true;
        }
        if from < self.from {
            *self = Find::new(self.pattern.clone());
        }
        if from > self.from {
            self.from = from;
            self.seen = self.seen.max(from);
            let before = self.matches.partition_point(|&id| id < from);
            self.matches.drain(..before);
            self.unfinished.retain(|&id| id >= from);
        }
        if self.evicted != log.evicted() {
            self.evicted = log.evicted();
            log.retain_kept(&mut self.matches);
            log.retain_kept(&mut self.unfinished);
        }
        self.look_again(log);
        let mut looked_at = 0;
        for line in log.lines(self.seen..) {
            if looked_at >= MOST_AT_ONCE {
                self.version = None;
                return false;
            }
            looked_at += line.raw.len();
            self.seen = LineId(line.id.0 + 1);
            if self.pattern.matches_line(&line) {
                self.matches.push(line.id);
            }
            if !line.finished {
                self.unfinished.push(line.id);
            }
        }
        self.version = Some(log.version());
        true
    }

    /// The lines that match, in order.
    pub fn matches(&self) -> &[LineId] {
        &self.matches
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.matches.len()
    }

    /// The first match behind `after`.
    pub fn next(&self, after: LineId) -> Option<LineId> {
        let at = self.matches.partition_point(|&id| id <= after);
        self.matches.get(at).copied()
    }

    /// The last match before `before`.
    pub fn previous(&self, before: LineId) -> Option<LineId> {
        let at = self.matches.partition_point(|&id| id < before);
        self.matches[..at].last().copied()
    }

    /// Which of the matches `id` is, from 0.
    pub fn position(&self, id: LineId) -> Option<usize> {
        self.matches.binary_search(&id).ok()
    }

    /// Where `text` has the pattern, in bytes.
    pub fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        self.pattern.ranges(text)
    }

    fn look_again(&mut self, log: &Log) {
        let (pattern, matches) = (&self.pattern, &mut self.matches);
        self.unfinished.retain(|&id| {
            let line = log.lines(id..=id).next();
            let found = line.is_some_and(|line| pattern.matches_line(&line));
            match (matches.binary_search(&id), found) {
                (Ok(at), false) => {
                    matches.remove(at);
                }
                (Err(at), true) => matches.insert(at, id),
                (Ok(_), true) | (Err(_), false) => {}
            }
            line.is_some_and(|line| !line.finished)
        });
    }
}

/// Whether a pattern has an upper case letter that stands for itself: not that of `\S` or `\p{Greek}`.
fn has_upper_case(pattern: &str) -> bool {
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            let class = matches!(chars.next(), Some('p' | 'P'));
            if class && chars.as_str().starts_with('{') {
                chars.find(|&c| c == '}');
            }
        } else if c.is_uppercase() {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::process::Stream;
    use crate::screen::log::tests::{TINY, steps, take};
    use crate::screen::log::{Bounds, Source};
    use crate::supervisor::generation::JobId;

    const APP: Source = Source {
        generation: 1,
        job: JobId(1),
        stream: Stream::Out,
    };

    fn pattern(typed: &str) -> Pattern {
        Pattern::new(typed).expect("something was typed")
    }

    /// What a search from the beginning finds.
    fn naive(log: &Log, from: LineId, pattern: &Pattern) -> Vec<LineId> {
        let lines = log.lines(from..);
        let found = lines.filter(|line| pattern.matches_line(line));
        found.map(|line| line.id).collect()
    }

    #[test]
    fn a_pattern_is_what_its_writer_meant() {
        for (typed, text, found) in [
            ("error", "an ERROR here", true),
            ("Error", "an ERROR here", false),
            ("err.r", "error", true),
            ("get /a(", "GET /a(1)", true),
            ("[x", "a[x]", true),
            ("[X", "a[x]", false),
            (r"\S+\W", "a ", true),
            (r"\p{Lu}b", "ab", true),
            (r"\pLB", "ab", false),
            (r"\w{5000000}", "x", false),
            ("ü", "Ü", true),
        ] {
            assert_eq!(pattern(typed).matches(text), found, "{typed:?} in {text:?}");
        }
        assert!(Pattern::new("").is_none());
        assert!(pattern("a(").is_literal());
        assert!(pattern(r"\w{5000000}").is_literal());
        assert!(pattern(&"(".repeat(1000)).is_literal());
        assert!(!pattern(r"\w+ \w+ \w+ \d+ms [a-zäöü]{1,20}").is_literal());
    }

    #[test]
    fn what_is_highlighted_is_never_nothing() {
        assert_eq!(pattern("o").ranges("foo"), [1..2, 2..3]);
        assert_eq!(pattern("x*").ranges("axxbx"), [1..3, 4..5]);
        assert!(pattern("x*").ranges("ab").is_empty());
    }

    #[test]
    fn colours_do_not_come_between_what_is_searched() {
        let mut log = Log::default();
        log.push(APP, b"\x1b[31merr\x1b[0mor\n");
        let mut find = Find::new(pattern("^error$"));
        assert!(find.update(&log, LineId(0)));
        assert_eq!(find.count(), 1);
    }

    #[test]
    fn a_line_is_found_as_soon_as_it_matches_and_no_longer() {
        let mut log = Log::default();
        let mut find = Find::new(pattern("50%"));
        for (printed, count) in [
            ("4", 0),
            ("\r50%", 1),
            (" of it", 1),
            ("\r51%", 0),
            ("\r50%\n", 1),
        ] {
            log.push(APP, printed.as_bytes());
            find.update(&log, LineId(0));
            assert_eq!(find.count(), count, "{printed:?}");
        }
        assert!(find.unfinished.is_empty());
    }

    #[test]
    fn one_goes_from_match_to_match() {
        let mut log = Log::default();
        log.push(APP, b"a\nb\na\nb\na\n");
        let mut find = Find::new(pattern("a"));
        find.update(&log, LineId(0));
        let ids = [1, 3, 5].map(LineId);
        assert_eq!(find.matches(), ids);
        assert_eq!(find.next(LineId(0)), Some(ids[0]));
        assert_eq!(find.next(ids[0]), Some(ids[1]));
        assert_eq!(find.next(ids[2]), None);
        assert_eq!(find.previous(ids[0]), None);
        assert_eq!(find.previous(log.end()), Some(ids[2]));
        assert_eq!(find.position(ids[2]), Some(2));
        // Cleared, and the clearing taken back.
        find.update(&log, LineId(4));
        assert_eq!(find.matches(), [ids[2]]);
        find.update(&log, LineId(2));
        assert_eq!(find.matches(), &ids[1..]);
    }

    #[test]
    fn much_is_searched_in_several_goes() {
        let mut log = Log::new(Bounds::default());
        for number in 0..10_000 {
            log.push(APP, format!("{number:400}\n").as_bytes());
        }
        let mut find = Find::new(pattern("7 *$"));
        let goes = (1..).find(|_| find.update(&log, LineId(0)));
        assert!(goes > Some(2), "{goes:?}");
        assert_eq!(find.matches(), naive(&log, LineId(0), find.pattern()));
    }

    #[test]
    #[ignore = "a measurement: cargo test --release --lib search_through -- --ignored --nocapture"]
    #[expect(clippy::disallowed_methods, reason = "it measures")]
    fn search_through_a_full_log() {
        let mut log = Log::default();
        for generation in 1..=3 {
            for number in 0..10_000 {
                let line = format!(
                    "14:02:07.{number:03} \x1b[32mINFO\x1b[0m GET /api/users/{number}?q=ä 200 3.4ms rows={number} "
                );
                let source = Source { generation, ..APP };
                log.push(source, line.repeat(4).as_bytes());
                log.push(source, b"\n");
            }
        }
        let bytes: usize = log.lines(..).map(|line| line.raw.len()).sum();
        let begun = std::time::Instant::now();
        let shown: usize = log
            .lines(..)
            .map(|line| sanitise::spans(line.raw, true).len())
            .sum();
        let rate = bytes as f64 / 1e6 / begun.elapsed().as_secs_f64();
        println!("{bytes} bytes as {shown} spans: {rate:.0} MB/s");
        for typed in [
            "500ms",
            r"rows=7\d+ $",
            r"(\w+\W+){12}x",
            r"(\w{1,9}\W){1,9}x$",
            r".{1,200}.{1,200}x$",
            r"[0-9].{60}~",
            r"(?-u)([0-9].{200}~|[aeiou].{300}#)",
        ] {
            let mut find = Find::new(pattern(typed));
            let (mut goes, mut longest) = (0, std::time::Duration::ZERO);
            let begun = std::time::Instant::now();
            loop {
                let go = std::time::Instant::now();
                let done = find.update(&log, LineId(0));
                longest = longest.max(go.elapsed());
                goes += 1;
                if done {
                    break;
                }
            }
            let literal = find.pattern().is_literal();
            println!(
                "{typed}: {:?} in {goes} goes, the longest {longest:?}, literal {literal}",
                begun.elapsed()
            );
            log.push(APP, b"one more\n");
            let begun = std::time::Instant::now();
            find.update(&log, LineId(0));
            println!("  one more line: {:?}", begun.elapsed());
        }
    }

    proptest! {
        #[test]
        fn it_finds_what_a_search_from_the_beginning_finds(
            steps in steps(),
            looks in proptest::collection::vec(any::<bool>(), 60),
            clears in proptest::collection::vec(0..12u8, 60),
            typed in proptest::sample::select(vec!["a", "b$", "^c", "ab|ca", "-", "^$", "lines"]),
        ) {
            let mut log = Log::new(TINY);
            let mut find = Find::new(pattern(typed));
            let mut from = LineId(0);
            for ((step, look), clear) in steps.iter().zip(looks).zip(clears) {
                take(&mut log, step);
                match clear {
                    0 => from = log.end(),
                    1 => from = LineId(from.0 / 2),
                    _ => {}
                }
                if look {
                    prop_assert!(find.update(&log, from));
                    prop_assert_eq!(find.matches(), naive(&log, from, find.pattern()));
                }
            }
        }
    }
}
