//! What devwatch itself wants from a job's output: the last lines, and one line to wait for.
//!
//! Pure, and bounded whatever comes: a gigabyte without a newline costs no more than a page.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::LazyLock;

use regex::Regex;

use super::Stream;

/// How many lines of a crash are shown.
const LAST_LINES: usize = 10;

/// How many bytes of them.
const LAST_BYTES: usize = 4096;

/// Longest line that is looked at; what goes beyond is not seen by the pattern.
const LONGEST_LINE: usize = 64 << 10;

/// The end of a job's output, both streams in the order in which they arrived.
#[derive(Default)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    stream: Option<Stream>,
}

impl Tail {
    pub(super) fn push(&mut self, stream: Stream, bytes: &[u8]) {
        let switched = self
            .stream
            .replace(stream)
            .is_some_and(|before| before != stream);
        // Half a line of one stream and the beginning of another are not one line.
        if switched && self.bytes.back().is_some_and(|&b| b != b'\n') {
            self.bytes.push_back(b'\n');
        }
        let kept = &bytes[bytes.len().saturating_sub(LAST_BYTES)..];
        let excess = (self.bytes.len() + kept.len()).saturating_sub(LAST_BYTES);
        self.bytes.drain(..excess.min(self.bytes.len()));
        self.bytes.extend(kept);
    }

    /// The last lines, without line ends; bytes that are no UTF-8 are replaced.
    pub(super) fn lines(&mut self) -> Vec<String> {
        let text = String::from_utf8_lossy(self.bytes.make_contiguous());
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..]
            .iter()
            .map(|&line| line.to_owned())
            .collect()
    }
}

/// Waits for one line in either stream.
pub(super) struct Watch {
    pattern: Regex,
    unfinished: [Vec<u8>; 2],
}

impl Watch {
    pub(super) fn new(pattern: Regex) -> Watch {
        Watch {
            pattern,
            unfinished: [Vec::new(), Vec::new()],
        }
    }

    /// Takes the next bytes of `stream` and says whether a line that ended in them matches.
    pub(super) fn push(&mut self, stream: Stream, bytes: &[u8]) -> bool {
        let Watch {
            pattern,
            unfinished,
        } = self;
        let unfinished = match stream {
            Stream::Out => &mut unfinished[0],
            Stream::Err => &mut unfinished[1],
        };
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            let room = LONGEST_LINE.saturating_sub(unfinished.len());
            let (line, ended) = match piece.split_last() {
                Some((b'\n', line)) => (line, true),
                Some(_) | None => (piece, false),
            };
            unfinished.extend(&line[..line.len().min(room)]);
            if ended {
                let matched = matches(pattern, unfinished);
                unfinished.clear();
                if matched {
                    return true;
                }
            }
        }
        false
    }
}

fn matches(pattern: &Regex, line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
    // Colours come in the middle of "ready in 300 ms"; who wrote the pattern did not see them.
    pattern.is_match(&line) || (line.contains('\x1b') && pattern.is_match(&without_colours(&line)))
}

fn without_colours(line: &str) -> Cow<'_, str> {
    static COLOUR: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("\x1b\\[[0-9;:]*[mK]").expect("a pattern known to be right"));
    COLOUR.replace_all(line, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::{LAST_BYTES, LONGEST_LINE, Tail, Watch};
    use crate::process::Stream::{Err, Out};

    fn watch(pattern: &str) -> Watch {
        Watch::new(Regex::new(pattern).expect("a pattern"))
    }

    #[test]
    fn the_last_ten_lines_remain() {
        let mut tail = Tail::default();
        for n in 1..=30 {
            tail.push(Out, format!("line {n}\n").as_bytes());
        }
        assert_eq!(
            tail.lines(),
            (21..=30).map(|n| format!("line {n}")).collect::<Vec<_>>()
        );
    }

    #[test]
    fn two_streams_do_not_share_a_line() {
        let mut tail = Tail::default();
        tail.push(Out, b"half");
        tail.push(Err, b"panic: \xff\r\n");
        assert_eq!(tail.lines(), ["half", "panic: \u{fffd}"]);
    }

    #[test]
    fn a_line_is_found_across_pieces_and_through_colours() {
        let mut ready = watch("^ready in [0-9]+ ms$");
        assert!(!ready.push(Out, b"starting\nrea"));
        assert!(!ready.push(Err, b"dy in 3 ms\n"));
        assert!(!ready.push(Out, b"dy in 3 ms"));
        assert!(ready.push(Out, b"\r\nmore"));
        assert!(watch("^ready in [0-9]+ ms$").push(Err, b"ready in \x1b[1;32m300\x1b[0m ms\n"));
    }

    #[test]
    fn an_endless_line_is_looked_at_up_to_its_limit() {
        let mut ready = watch("needle");
        ready.push(Out, &vec![b'x'; 10 * LONGEST_LINE]);
        assert!(!ready.push(Out, b"needle\n"), "beyond the limit");
        assert!(ready.push(Out, b"needle\n"), "the next line is whole again");
    }

    proptest! {
        #[test]
        fn neither_grows_beyond_its_limit(
            pieces in prop::collection::vec((any::<bool>(), 0..3 * LAST_BYTES), 0..40)
        ) {
            let (mut tail, mut ready) = (Tail::default(), watch("needle"));
            for (err, length) in pieces {
                let stream = if err { Err } else { Out };
                tail.push(stream, &vec![b'x'; length]);
                ready.push(stream, &vec![b'x'; length]);
                prop_assert!(tail.bytes.len() <= LAST_BYTES);
                prop_assert!(ready.unfinished.iter().all(|line| line.len() <= LONGEST_LINE));
            }
        }

        #[test]
        fn how_the_bytes_are_cut_does_not_matter(text in "(a|b|needle|\n){0,40}", cuts in prop::collection::vec(1..5usize, 0..80)) {
            let whole = watch("needle").push(Out, text.as_bytes());
            let mut rest = text.as_bytes();
            let mut ready = watch("needle");
            let mut found = false;
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                found |= ready.push(Out, piece);
                rest = after;
            }
            prop_assert_eq!(found, whole);
        }
    }
}
