//! Recognises escape sequences in a line: the one place that knows where such a sequence ends.
//!
//! For the parsers of problems it takes the colours out, because what a tool wrote for the eye is matched as it reads;
//! for the screen it gives the colours as pieces of their own. Works on one line at a time, so a sequence that never
//! ends swallows no more than its own line, and of that no more than [`LONGEST_SEQUENCE`].

use std::borrow::Cow;

use memchr::memchr2;

/// Longest sequence that is believed. One whose end is missing hides no more than that of a long line.
pub(crate) const LONGEST_SEQUENCE: usize = 4 << 10;

/// A part of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Text. Holds no introducer of a sequence, but maybe other control characters.
    Text(&'a str),
    /// The parameters of a sequence for colours and the like (SGR): digits, `;` and `:`.
    Colours(&'a str),
}

/// `line` without escape sequences, and without what a carriage return has overwritten.
pub(super) fn plain(line: &str) -> Cow<'_, str> {
    let line = left(line);
    // The first byte of every introducer; most lines are sent on after this look.
    if memchr2(0x1b, 0xc2, line.as_bytes()).is_none() {
        return Cow::Borrowed(line);
    }
    let mut plain = String::with_capacity(line.len());
    for piece in pieces(line) {
        match piece {
            Piece::Text(text) => plain.push_str(text),
            Piece::Colours(_) => {}
        }
    }
    Cow::Owned(plain)
}

/// What is left on the screen of a line that returns to its own beginning: a progress bar writes over itself.
pub(crate) fn left(line: &str) -> &str {
    let line = line.trim_end_matches('\r');
    line.rfind('\r').map_or(line, |at| &line[at + 1..])
}

/// Text and colours of `line`. Every other sequence is left out.
pub(crate) fn pieces(line: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let text = text_before_sequence(rest);
            if text > 0 {
                let piece = &rest[..text];
                rest = &rest[text..];
                return Some(Piece::Text(piece));
            }
            let (behind, colours) = after_sequence(rest);
            rest = behind;
            if let Some(colours) = colours {
                return Some(Piece::Colours(colours));
            }
        }
        None
    })
}

/// Bytes of text at the beginning of `line`.
fn text_before_sequence(line: &str) -> usize {
    let mut from = 0;
    while let Some(at) = memchr2(0x1b, 0xc2, &line.as_bytes()[from..]) {
        let at = from + at;
        // Both begin a character: ESC is ASCII, and C2 is no byte that continues one.
        if line[at..].starts_with(introduces) {
            return at;
        }
        from = at + 1;
    }
    line.len()
}

/// ESC, and what stands for ESC and a letter in one character.
fn introduces(c: char) -> bool {
    matches!(
        c,
        '\x1b' | '\u{90}' | '\u{98}' | '\u{9b}' | '\u{9d}'..='\u{9f}'
    )
}

/// What stands behind the sequence at the beginning of `text`, and its parameters where it is one for colours.
fn after_sequence(text: &str) -> (&str, Option<&str>) {
    let mut chars = text.chars();
    let kind = match chars.next() {
        Some('\x1b') => chars.next(),
        Some('\u{9b}') => Some('['),
        Some('\u{9d}') => Some(']'),
        _ => Some('P'),
    };
    let behind = match kind {
        Some('[') => return after_control(chars.as_str()),
        Some(']' | 'P' | 'X' | '^' | '_') => after_string(chars.as_str()),
        // Which character set: one more character.
        Some('(' | ')' | '*' | '+' | '-' | '.' | '/' | '#' | '%' | ' ') => {
            let set = chars.as_str();
            set.strip_prefix(|c| matches!(c, '0'..='~')).unwrap_or(set)
        }
        // Two characters, or an ESC in front of a letter that is no sequence at all; one that is cut off.
        Some('0'..='~') | None => chars.as_str(),
        // Not a sequence: what follows is text.
        Some(_) => &text[text.chars().next().map_or(0, char::len_utf8)..],
    };
    (behind, None)
}

/// Parameters, then one final character. What cannot belong to it ends it.
fn after_control(text: &str) -> (&str, Option<&str>) {
    let believed = believed(text);
    let end = believed
        .find(|c: char| !matches!(c, ' '..='?'))
        .unwrap_or(believed.len());
    let (parameters, rest) = text.split_at(end);
    if end >= LONGEST_SEQUENCE {
        return (rest, None);
    }
    // Others that end in `m` are no colours: they have a mark in front of their parameters, or one behind.
    let plain = parameters
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b';' | b':'));
    match rest.chars().next() {
        Some('m') if plain => (&rest[1..], Some(parameters)),
        Some('@'..='~') => (&rest[1..], None),
        Some(_) | None => (rest, None),
    }
}

/// Up to BEL or ST; a title or a link, never seen as text.
fn after_string(text: &str) -> &str {
    let believed = believed(text);
    // A terminal gives up a sequence at CAN and SUB.
    let Some(at) = believed.find(['\x07', '\x18', '\x1a', '\x1b', '\u{9c}']) else {
        return &text[believed.len()..];
    };
    let rest = &text[at..];
    match rest.strip_prefix("\x1b\\") {
        Some(rest) => rest,
        None if rest.starts_with('\x1b') => rest,
        None => &rest[rest.chars().next().map_or(0, char::len_utf8)..],
    }
}

/// The part of `text` that a sequence may take.
fn believed(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_SEQUENCE)]
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_SEQUENCE, Piece, pieces, plain};

    #[test]
    fn what_remains_is_what_one_reads() {
        for (line, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("a\x1b[1;31mred\x1b[0m\x1b[Kb", "aredb"),
            ("\u{9b}31mred\u{9b}m", "red"),
            ("a\x1b]8;;file:///x\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
            ("\x1b]0;title\x07text", "text"),
            ("\u{9d}0;title\u{9c}text", "text"),
            ("\x1bPq#0\x1b\\text", "text"),
            ("\x1b(Btext\x1b7\x1b8\x1b=", "text"),
            ("  1/9\r  2/9\rdone\r", "done"),
            ("a\x1b", "a"),
            ("a\x1b[", "a"),
            ("a\x1b[31", "a"),
            ("a\x1b[3\x01b", "a\x01b"),
            ("\x1b]0;title \x1b[1mbold", "bold"),
            ("grüße\x1b[1mü\x1b[0m", "grüßeü"),
            ("a\x1bäb", "aäb"),
            ("a\x1b[2;äb", "aäb"),
            ("\x1b(\x1b[1mbold", "bold"),
            ("\x1b]0;title\x18text", "text"),
        ] {
            assert_eq!(plain(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_string_that_never_ends_takes_its_own_line_alone() {
        assert_eq!(plain("a\x1b]0;title and the rest of the line"), "a");
    }

    #[test]
    fn a_sequence_that_never_ends_hides_no_more_than_a_page_of_a_long_line() {
        for introducer in ["\x1b]0;", "\x1bP", "\x1b["] {
            let line = format!("{introducer}{}the error", "1".repeat(LONGEST_SEQUENCE));
            assert!(plain(&line).ends_with("the error"), "{introducer:?}");
            assert!(plain(&line).len() < 20, "{introducer:?}");
        }
    }

    #[test]
    fn only_colours_are_colours() {
        let line = "a\x1b[1;38:5:9mb\x1b[>4;2mc\x1b[?4md\x1b[1 me\x1b[2Jf\x1b[m";
        let colours: Vec<Piece> = pieces(line)
            .filter(|piece| matches!(piece, Piece::Colours(_)))
            .collect();
        assert_eq!(colours, [Piece::Colours("1;38:5:9"), Piece::Colours("")]);
        assert_eq!(plain(line), "abcdef");
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read_and_none_grows(line in "[\x1b\u{9b}\u{9d}\x07\\\\\\[\\]0-9;ma-ü\r ]{0,30}") {
            let plain = plain(&line);
            proptest::prop_assert!(plain.len() <= line.len());
            let left = plain.contains(['\x1b', '\u{9b}', '\u{9d}', '\r']);
            proptest::prop_assert!(!left);
        }
    }
}
