//! What may be shown of bytes from the world: printable text, and colours that are rebuilt from what they mean.
//!
//! A terminal obeys what it is sent, so whatever an app, a compiler or a file name holds passes through here on its
//! way to the screen, at the time when it is shown: [`spans`] and [`text`] for a line of output, [`label`] for names
//! and messages. Pure; a line depends on no other line. Where a sequence ends is decided by `diagnostics::ansi`.

use std::borrow::Cow;

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;
use unicode_width::UnicodeWidthStr as _;

use crate::diagnostics::ansi::{Piece, left, pieces};

#[cfg(test)]
#[path = "../../tests/it/hostile.rs"]
mod hostile;

/// Bytes of a line that are shown; a pager shows the others.
const LONGEST_SHOWN: usize = 8000;

/// Stands at the end of a line that is cut.
const CUT: char = '…';

/// Columns from one tab stop to the next.
const TAB: usize = 8;

/// One line of output as it may be shown: printable, at most 8 kB with `…` where it was cut, tabs expanded to columns
/// of 8. Without `colours` in one span, if it has any text.
pub fn spans(raw: &[u8], colours: bool) -> Vec<Span<'static>> {
    let shown = Shown::of(raw, LONGEST_SHOWN);
    if !colours {
        return match shown.text.is_empty() {
            true => Vec::new(),
            false => vec![Span::raw(shown.text)],
        };
    }
    let mut spans = Vec::with_capacity(shown.styles.len() + 1);
    let mut start = 0;
    let mut style = Style::new();
    let end = (shown.text.len(), Style::new());
    for (at, next) in shown.styles.into_iter().chain([end]) {
        if at > start {
            spans.push(Span::styled(shown.text[start..at].to_owned(), style));
        }
        (start, style) = (at, next);
    }
    spans
}

/// The same text without colours: what [`spans`] contains, to be highlighted or copied.
pub fn text(raw: &[u8]) -> String {
    Shown::of(raw, LONGEST_SHOWN).text
}

/// All of the text, also that beyond what is shown: to be searched.
pub fn whole(raw: &[u8]) -> Cow<'_, str> {
    // Most lines. They cost a look and no copy.
    if let Ok(text) = std::str::from_utf8(raw)
        && text.bytes().all(|b| matches!(b, b' '..=b'~'))
    {
        return Cow::Borrowed(text);
    }
    Cow::Owned(Shown::of(raw, usize::MAX).text)
}

/// A name or a message on one line: what [`hides`] is escaped, so that it can be seen and told apart.
pub fn label(text: &str) -> String {
    if !text.contains(hides) {
        return text.to_owned();
    }
    let mut label = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if hides(c) {
            label.extend(c.escape_default());
        } else {
            label.push(c);
        }
    }
    label
}

/// Whether `c` is no text but does something to a terminal or to the text around it, or is there without being seen:
/// control characters, what turns the direction of text around, what has no width and no shape. Of those that people
/// write on purpose, variation selectors and combining marks are none of them.
pub fn hides(c: char) -> bool {
    match c {
        ' '..='~' => false,
        _ if c.is_control() => true,
        _ => turns(c) || invisible(c),
    }
}

/// What changes the direction of the text around it: with it, a line reads other than it is.
fn turns(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What is not seen. Terminals do not agree on its width, so whatever stands behind it would be misplaced.
fn invisible(c: char) -> bool {
    matches!(c,
        // Soft hyphen, grapheme joiner, the Hangul fillers, Khmer inherent vowels, Mongolian separators.
        '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
        // Zero width space and joiners, line and paragraph separators, word joiner, invisible operators.
        | '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}'
        // Byte order mark, interlinear annotations, shorthand and musical controls.
        | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        // Tags, but not the variation selectors among them.
        | '\u{e0000}'..='\u{e00ff}' | '\u{e01f0}'..='\u{e0fff}')
}

/// A line on its way to be shown.
struct Shown {
    text: String,
    /// From which byte of `text` on which style holds. Before the first: none.
    styles: Vec<(usize, Style)>,
}

impl Shown {
    fn of(raw: &[u8], longest: usize) -> Shown {
        let line = String::from_utf8_lossy(raw);
        let line = left(&line);
        let mut shown = Shown {
            text: String::with_capacity(line.len().min(longest)),
            styles: Vec::new(),
        };
        let mut style = Style::new();
        // The text since the last tab stop, of which the width is asked only if another tab comes.
        let mut since = 0;
        for piece in pieces(line) {
            match piece {
                Piece::Text(text) => {
                    if !shown.text(text, &mut since, longest) {
                        return shown;
                    }
                }
                Piece::Colours(parameters) => {
                    style = styled(style, parameters);
                    shown.style(style);
                }
            }
        }
        shown
    }

    /// Whether there is room for more.
    fn text(&mut self, text: &str, since: &mut usize, longest: usize) -> bool {
        let mut rest = text;
        while !rest.is_empty() {
            // Most of it is ASCII, and is copied at one go.
            let plain = |b: u8| matches!(b, b' '..=b'~');
            let run = rest.bytes().position(|b| !plain(b));
            let run = run.unwrap_or(rest.len());
            let run = run.min(longest.saturating_sub(self.text.len()));
            self.text.push_str(&rest[..run]);
            let mut others = rest[run..].chars();
            let Some(c) = others.next() else { break };
            rest = others.as_str();
            if self.text.len() + c.len_utf8() > longest {
                self.text.push(CUT);
                return false;
            }
            match c {
                '\t' => {
                    let column = self.text[*since..].width();
                    let blanks = TAB - column % TAB;
                    self.text.extend(std::iter::repeat_n(' ', blanks));
                    *since = self.text.len();
                }
                // Seen, because a line that is turned around lies.
                c if turns(c) => self.text.push(char::REPLACEMENT_CHARACTER),
                c if hides(c) => {}
                c => self.text.push(c),
            }
        }
        true
    }

    fn style(&mut self, style: Style) {
        let at = self.text.len();
        if let Some(last) = self.styles.last_mut().filter(|last| last.0 == at) {
            last.1 = style;
        } else {
            self.styles.push((at, style));
        }
        // What a tool sets again and again is one span.
        let before = match self.styles.as_slice() {
            [.., before, _] => before.1,
            _ => Style::new(),
        };
        if before == style {
            self.styles.pop();
        }
    }
}

/// `style` after the parameters of one SGR sequence. Blinking and concealed text is not passed on.
fn styled(mut style: Style, parameters: &str) -> Style {
    let mut parameters = parameters.split(';');
    while let Some(parameter) = parameters.next() {
        let mut parts = parameter.split(':');
        // An empty one is 0; one that is no number means nothing, as one that is unknown.
        let code = number(parts.next().unwrap_or_default()).unwrap_or(u16::MAX);
        match code {
            0 => style = Style::new(),
            1 => style.add_modifier |= Modifier::BOLD,
            2 => style.add_modifier |= Modifier::DIM,
            3 => style.add_modifier |= Modifier::ITALIC,
            // 4:0 is the same as 24; 4:3 is a curly one.
            4 if parts.next() == Some("0") => style.add_modifier -= Modifier::UNDERLINED,
            4 | 21 => style.add_modifier |= Modifier::UNDERLINED,
            7 => style.add_modifier |= Modifier::REVERSED,
            22 => style.add_modifier -= Modifier::BOLD | Modifier::DIM,
            23 => style.add_modifier -= Modifier::ITALIC,
            24 => style.add_modifier -= Modifier::UNDERLINED,
            27 => style.add_modifier -= Modifier::REVERSED,
            30..=37 => style.fg = Some(BASIC[usize::from(code - 30)]),
            40..=47 => style.bg = Some(BASIC[usize::from(code - 40)]),
            90..=97 => style.fg = Some(BRIGHT[usize::from(code - 90)]),
            100..=107 => style.bg = Some(BRIGHT[usize::from(code - 100)]),
            39 => style.fg = None,
            49 => style.bg = None,
            // 58 is the colour of underlines; its numbers are not codes of their own.
            38 | 48 | 58 => {
                let colour = if parameter.contains(':') {
                    with_colons(parts)
                } else {
                    with_semicolons(&mut parameters)
                };
                match (code, colour) {
                    (38, Some(colour)) => style.fg = Some(colour),
                    (48, Some(colour)) => style.bg = Some(colour),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    style
}

/// `5;N` or `2;R;G;B`, taken from the parameters that follow.
fn with_semicolons<'a>(parameters: &mut impl Iterator<Item = &'a str>) -> Option<Color> {
    match parameters.next()? {
        "5" => channel(parameters.next()).map(Color::Indexed),
        "2" => {
            // All three are taken, whatever they are: otherwise the last would be a code.
            let [r, g, b] = [(); 3].map(|()| channel(parameters.next()));
            Some(Color::Rgb(r?, g?, b?))
        }
        _ => None,
    }
}

/// `5:N`, `2:R:G:B`, or `2:SPACE:R:G:B`, behind which tolerances may follow.
fn with_colons<'a>(mut parts: impl Iterator<Item = &'a str>) -> Option<Color> {
    match parts.next()? {
        "5" => channel(parts.next()).map(Color::Indexed),
        "2" => {
            let numbers: Vec<&str> = parts.take(4).collect();
            let rgb = numbers.last_chunk::<3>()?;
            let [r, g, b] = rgb.map(|number| channel(Some(number)));
            Some(Color::Rgb(r?, g?, b?))
        }
        _ => None,
    }
}

fn channel(number: Option<&str>) -> Option<u8> {
    self::number(number?)?.try_into().ok()
}

fn number(text: &str) -> Option<u16> {
    if text.is_empty() {
        return Some(0);
    }
    text.parse().ok()
}

const BASIC: [Color; 8] = [
    Color::Black,
    Color::Red,
    Color::Green,
    Color::Yellow,
    Color::Blue,
    Color::Magenta,
    Color::Cyan,
    Color::Gray,
];

const BRIGHT: [Color; 8] = [
    Color::DarkGray,
    Color::LightRed,
    Color::LightGreen,
    Color::LightYellow,
    Color::LightBlue,
    Color::LightMagenta,
    Color::LightCyan,
    Color::White,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::hostile::CORPUS;
    use super::*;

    fn joined(spans: &[Span]) -> String {
        spans.iter().map(|span| span.content.as_ref()).collect()
    }

    #[test]
    fn nothing_hostile_gets_through() {
        for hostile in CORPUS {
            assert_eq!(text(hostile.raw), hostile.shown, "{}", hostile.name);
            assert_eq!(
                joined(&spans(hostile.raw, true)),
                hostile.shown,
                "{}",
                hostile.name
            );
            // What an end-to-end test compares byte by byte has something to compare.
            let (raw, shown) = (hostile.raw, hostile.shown.as_bytes());
            let same = shown.windows(raw.len()).any(|part| part == raw);
            assert!(hostile.common || !same, "{}", hostile.name);
            let name = label(&String::from_utf8_lossy(hostile.raw));
            assert!(!name.contains(hides), "{}: {name:?}", hostile.name);
        }
    }

    #[test]
    fn nothing_hostile_is_more_than_its_own_line() {
        // What comes in front of it stays, and what comes behind it is there.
        for hostile in CORPUS {
            let line = [b"before ", hostile.raw, b"\x1b\\\x1b[m after"].concat();
            let text = text(&line);
            if !hostile.raw.contains(&b'\r') {
                assert!(text.starts_with("before "), "{}: {text}", hostile.name);
            }
            assert!(text.ends_with(" after"), "{}: {text}", hostile.name);
        }
    }

    #[test]
    fn text_that_people_write_stays_as_it_is() {
        for line in [
            "",
            "plain",
            "grüße 你好 ελληνικά עברית العربية हिन्दी 한국어",
            "e\u{301} a\u{308}",
            "❤\u{fe0f} 👍🏽 🇩🇪 ☎\u{fe0e}",
            "─│┌▂▃█ \u{e0b0}\u{f015}",
            "a\u{a0}b",
        ] {
            assert_eq!(text(line.as_bytes()), line);
            assert_eq!(whole(line.as_bytes()), line);
            assert_eq!(label(line), line);
        }
    }

    #[test]
    fn colours_are_rebuilt_from_what_they_mean() {
        let plain = Style::new();
        let red = plain.fg(Color::Red);
        for (parameters, style) in [
            ("", plain),
            ("0", plain),
            ("31", red),
            ("1;31", red.add_modifier(Modifier::BOLD)),
            ("31;0", plain),
            ("31;", plain),
            ("31;39", plain),
            (
                "2;3;4;7",
                plain.add_modifier(
                    Modifier::DIM | Modifier::ITALIC | Modifier::UNDERLINED | Modifier::REVERSED,
                ),
            ),
            ("1;2;22", plain),
            ("3;4;7;23;24;27", plain),
            ("21", plain.add_modifier(Modifier::UNDERLINED)),
            ("4:3", plain.add_modifier(Modifier::UNDERLINED)),
            ("4;4:0", plain),
            ("37;40", plain.fg(Color::Gray).bg(Color::Black)),
            ("90;107", plain.fg(Color::DarkGray).bg(Color::White)),
            ("41;49", plain),
            ("38;5;208", plain.fg(Color::Indexed(208))),
            ("48;5;1;31", red.bg(Color::Indexed(1))),
            ("38:5:208", plain.fg(Color::Indexed(208))),
            ("38;2;1;2;3", plain.fg(Color::Rgb(1, 2, 3))),
            ("38:2:1:2:3", plain.fg(Color::Rgb(1, 2, 3))),
            ("38:2::1:2:3", plain.fg(Color::Rgb(1, 2, 3))),
            ("48:2:0:1:2:3:0:0", plain.bg(Color::Rgb(1, 2, 3))),
            ("58;5;31", plain),
            ("58;2;1;31;3;31", red),
            ("58:5:1;31", red),
            // Out of range, cut off, unknown: nothing, and what follows holds.
            ("38;5;256;31", red),
            ("38;2;1;999;3;31", red),
            ("38;5", plain),
            ("38", plain),
            ("38;9;31", red),
            ("38:2:1", plain),
            ("99999999999999999999;31", red),
            ("5;6;8;9;31", red),
        ] {
            assert_eq!(styled(Style::new(), parameters), style, "{parameters:?}");
        }
    }

    #[test]
    fn a_line_is_as_many_spans_as_it_has_styles() {
        let line = b"\x1b[0m\x1b[1m\x1b[32m   Compiling\x1b[0m app \x1b[0m\x1b[2Jv1\x1b[31m";
        let green = Style::new().fg(Color::Green).add_modifier(Modifier::BOLD);
        assert_eq!(
            spans(line, true),
            [Span::styled("   Compiling", green), Span::raw(" app v1")]
        );
        assert_eq!(spans(line, false), [Span::raw("   Compiling app v1")]);
        assert_eq!(spans(b"\x1b[31m\x1b[0m", true), []);
        assert_eq!(spans(b"", false), []);
        // Set twice, and taken back before anything is printed.
        assert_eq!(spans(b"\x1b[31ma\x1b[31mb\x1b[0m\x1b[31mc", true).len(), 1);
    }

    #[test]
    fn tabs_go_to_the_next_stop_whatever_is_in_front_of_them() {
        for (line, expected) in [
            ("\tx", "        x"),
            ("a\tx", "a       x"),
            ("1234567\tx", "1234567 x"),
            ("12345678\tx", "12345678        x"),
            ("a\t\tx", "a               x"),
            ("你好\tx", "你好    x"),
            ("e\u{301}\tx", "e\u{301}       x"),
            ("❤\u{fe0f}\tx", "❤\u{fe0f}      x"),
            ("a\u{200b}\x1b[31mb\tx", "ab      x"),
            ("a\u{202e}\tx", "a\u{fffd}      x"),
        ] {
            assert_eq!(text(line.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn a_long_line_is_cut_where_it_is_shown_and_not_where_it_is_searched() {
        let line = "ä".repeat(10_000);
        let text = text(line.as_bytes());
        assert_eq!(text.len(), LONGEST_SHOWN + CUT.len_utf8());
        assert!(text.ends_with('…'));
        assert_eq!(whole(line.as_bytes()), line);
        // A tab may not make much of little.
        assert!(super::text(&b"\t".repeat(8000)).len() < LONGEST_SHOWN + 16);
    }

    #[test]
    fn an_error_behind_an_endless_string_is_shown() {
        let line = format!("\x1b]0;{}error: bad", "x".repeat(5000));
        assert!(text(line.as_bytes()).ends_with("error: bad"));
    }

    #[test]
    fn what_hides_in_a_name_is_seen() {
        assert_eq!(label("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(label("a\u{202e}b\u{200b}"), "a\\u{202e}b\\u{200b}");
        assert_eq!(label("\u{200b}"), "\\u{200b}", "never empty by surprise");
    }

    #[test]
    fn whole_ranges_hide() {
        for range in [
            0..=0x1f,
            0x7f..=0x9f,
            0x61c..=0x61c,
            0x200b..=0x200f,
            0x2028..=0x202e,
            0x2060..=0x206f,
            0xfeff..=0xfeff,
            0xe0000..=0xe007f,
        ] {
            for c in range.filter_map(char::from_u32) {
                assert!(hides(c), "{c:?}");
                let text = text(format!("{c}|").as_bytes());
                assert!(!text.contains(hides), "{c:?}: {text:?}");
            }
        }
        for c in ('\u{fe00}'..='\u{fe0f}').chain('\u{e0100}'..='\u{e01ef}') {
            assert!(!hides(c), "{c:?}");
        }
    }

    fn line() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            Just(b"\x1b[31m".to_vec()),
            Just(b"\x1b[0m".to_vec()),
            Just(b"\x1b]8;;x".to_vec()),
            Just(b"\x1b\\".to_vec()),
            Just(b"\t".to_vec()),
            "[ -~]{0,9}".prop_map(String::into_bytes),
            "\\PC{0,4}".prop_map(String::into_bytes),
            "[\x00-\u{9f}\u{200b}-\u{206f}\u{e0000}-\u{e0200}]{0,4}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..8),
            proptest::sample::select(CORPUS.iter().map(|h| h.raw.to_vec()).collect::<Vec<_>>()),
        ];
        proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn only_what_can_be_printed_is_left(line in line()) {
            let text = text(&line);
            prop_assert!(!text.contains(hides), "{:?}", text);
            prop_assert!(!label(&String::from_utf8_lossy(&line)).contains(hides));
        }

        #[test]
        fn spans_and_text_say_the_same(line in line()) {
            let text = text(&line);
            prop_assert_eq!(&joined(&spans(&line, true)), &text);
            prop_assert_eq!(&joined(&spans(&line, false)), &text);
            prop_assert_eq!(&whole(&line), &text);
            // What was sanitised has nothing left to be taken.
            prop_assert_eq!(&self::text(text.as_bytes()), &text);
            let styled = spans(&line, true);
            prop_assert!(styled.iter().all(|span| !span.content.is_empty()));
            prop_assert!(styled.windows(2).all(|two| two[0].style != two[1].style));
        }
    }
}
