//! Takes the colours out of a line: what a tool wrote for the eye is matched as it reads.
//!
//! Works on one line at a time, so a sequence that never ends swallows no more than its own line.

use std::borrow::Cow;

/// `line` without escape sequences, and without what a carriage return has overwritten.
pub(super) fn plain(line: &str) -> Cow<'_, str> {
    let line = line.trim_end_matches('\r');
    // A progress bar writes over itself; what is left on the screen is what comes last.
    let line = line.rfind('\r').map_or(line, |at| &line[at + 1..]);
    // The first byte of every introducer; most lines are sent on after this look.
    if !line.bytes().any(|b| b == 0x1b || b == 0xc2) {
        return Cow::Borrowed(line);
    }
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(introduces) {
        plain.push_str(&rest[..at]);
        rest = after_sequence(&rest[at..]);
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// ESC, and what stands for ESC and a letter in one character.
fn introduces(c: char) -> bool {
    matches!(
        c,
        '\x1b' | '\u{90}' | '\u{98}' | '\u{9b}' | '\u{9d}'..='\u{9f}'
    )
}

/// What stands behind the sequence at the beginning of `text`.
fn after_sequence(text: &str) -> &str {
    let mut chars = text.chars();
    let kind = match chars.next() {
        Some('\x1b') => chars.next(),
        Some('\u{9b}') => Some('['),
        Some('\u{9d}') => Some(']'),
        _ => Some('P'),
    };
    match kind {
        Some('[') => after_control(chars.as_str()),
        Some(']' | 'P' | 'X' | '^' | '_') => after_string(chars.as_str()),
        // Which character set: one more character.
        Some('(' | ')' | '*' | '+' | '-' | '.' | '/' | '#' | '%' | ' ') => {
            chars.next();
            chars.as_str()
        }
        // Two characters, or an ESC in front of a letter that is no sequence at all; one that is cut off.
        Some('0'..='~') | None => chars.as_str(),
        // Not a sequence: what follows is text.
        Some(_) => &text[text.chars().next().map_or(0, char::len_utf8)..],
    }
}

/// Parameters, then one final character. What cannot belong to it ends it.
fn after_control(text: &str) -> &str {
    let parameters = text
        .find(|c: char| !matches!(c, ' '..='?'))
        .unwrap_or(text.len());
    let rest = &text[parameters..];
    match rest.chars().next() {
        Some('@'..='~') => &rest[1..],
        Some(_) | None => rest,
    }
}

/// Up to BEL or ST; a title or a link, never seen as text.
fn after_string(text: &str) -> &str {
    let Some(at) = text.find(['\x07', '\x1b', '\u{9c}']) else {
        return "";
    };
    let rest = &text[at..];
    match rest.strip_prefix("\x1b\\") {
        Some(rest) => rest,
        None if rest.starts_with('\x1b') => rest,
        None => &rest[rest.chars().next().map_or(0, char::len_utf8)..],
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

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
        ] {
            assert_eq!(plain(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_string_that_never_ends_takes_its_own_line_alone() {
        assert_eq!(plain("a\x1b]0;title and the rest of the line"), "a");
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
