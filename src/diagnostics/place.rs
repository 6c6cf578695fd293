//! Finds `file:line:col:` at the beginning of a line, and says what can be a file.
//!
//! Written by hand rather than as an expression: paths have spaces and colons, and the time of day looks like a
//! place (`2026/11/22 12:00:05: started`).

use super::LONGEST_PATH;

/// A place, and what is said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) path: &'a str,
    pub(super) line: u32,
    pub(super) column: Option<u32>,
    pub(super) end: Option<(u32, u32)>,
    /// Behind the last colon, without the space there.
    pub(super) rest: &'a str,
}

/// `path:line:`, `path:line:col:` or `path:line:col:line:col:` at the beginning of `line`, where the path can be one.
pub(super) fn colon(line: &str) -> Option<Place<'_>> {
    let bytes = line.as_bytes();
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|&b| b == b':') {
        let colon = from + at;
        from = colon + 1;
        if !bytes.get(from).is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let path = &line[..colon];
        if let Some((numbers, rest)) = numbers(&line[colon..])
            && is_path(path)
        {
            let place = |column, end| {
                let line = numbers[0].filter(|&n| n > 0)?;
                Some(Place {
                    path,
                    line,
                    column,
                    end,
                    rest,
                })
            };
            return match numbers {
                [_, column, None, None] => place(column.filter(|&n| n > 0), None),
                [_, column, Some(line), Some(end)] => place(column, Some((line, end))),
                _ => None,
            };
        }
    }
    None
}

/// `:12:3` at the end of `text`, and what stands before it.
pub(super) fn at_end(text: &str) -> Option<(&str, u32, Option<u32>)> {
    let (before, last) = text.rsplit_once(':')?;
    let last = number(last)?;
    if let Some((path, line)) = before.rsplit_once(':')
        && let Some(line) = number(line)
    {
        return Some((path, line, Some(last)));
    }
    Some((before, last, None))
}

/// Up to four numbers, each behind a colon, then a colon; what stands behind it.
fn numbers(text: &str) -> Option<([Option<u32>; 4], &str)> {
    let mut numbers = [None; 4];
    let mut rest = text;
    for place in &mut numbers {
        let Some(behind) = rest.strip_prefix(':') else {
            break;
        };
        let digits = behind
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(behind.len());
        if digits == 0 {
            break;
        }
        *place = Some(number(&behind[..digits])?);
        rest = &behind[digits..];
    }
    let rest = rest.strip_prefix(':')?;
    // `12:00:05:x` and `host:80:y` leave out the space; so does buf, which names a column.
    let spaced = rest.is_empty() || rest.starts_with([' ', '\t']) || numbers[1].is_some();
    spaced.then(|| (numbers, rest.trim_start()))
}

/// A number that can count lines.
pub(super) fn number(digits: &str) -> Option<u32> {
    let plain = !digits.is_empty() && digits.len() <= 9;
    (plain && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

/// Whether `text` can be the name of a file: neither the time of day nor half a sentence.
pub(super) fn is_path(text: &str) -> bool {
    if text.is_empty() || text.len() > LONGEST_PATH || text.trim() != text {
        return false;
    }
    let name = text.rsplit(['/', '\\']).next().unwrap_or(text);
    let strange = |c: char| c.is_control() || matches!(c, '"' | '|' | '<' | '>');
    name.contains(|c: char| c.is_alphabetic())
        && !text.contains(strange)
        && !text.contains("://")
        && !text.contains("*** [")
        && !has_time(text)
}

/// Whether something like `12:00` stands in it.
fn has_time(text: &str) -> bool {
    text.as_bytes()
        .windows(3)
        .any(|w| w[0].is_ascii_digit() && w[1] == b':' && w[2].is_ascii_digit())
}

/// What follows the last dot of the file's name; None for `Makefile`, `.env` and sentences that end in a dot.
pub(super) fn extension(path: &str) -> Option<&str> {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let (stem, extension) = name.rsplit_once('.')?;
    let plain = !extension.is_empty() && extension.chars().all(|c| c.is_ascii_alphanumeric());
    (plain && !stem.is_empty() && extension.len() <= 12).then_some(extension)
}

/// A path as it is written: `file:///a%20b` is `/a b`.
pub(super) fn from_url(text: &str) -> String {
    let Some(path) = text.strip_prefix("file://") else {
        return text.to_owned();
    };
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stand_before_a_colon() {
        let check = |line, expected: Option<(&str, u32, Option<u32>, &str)>| {
            let found = colon(line).map(|p| (p.path, p.line, p.column, p.rest));
            assert_eq!(found, expected, "{line}");
        };
        check("a.c:1:2: x", Some(("a.c", 1, Some(2), "x")));
        check("a.c:1: x", Some(("a.c", 1, None, "x")));
        check("a.c:1:2:x", Some(("a.c", 1, Some(2), "x")));
        check("a.c:1:", Some(("a.c", 1, None, "")));
        check(
            "my app/a b.c:1:2: x",
            Some(("my app/a b.c", 1, Some(2), "x")),
        );
        check("a.py:1:2:3:4: x", Some(("a.py", 1, Some(2), "x")));
        check("C:\\x\\a.c:1:2: x", Some(("C:\\x\\a.c", 1, Some(2), "x")));
        check("a.c:1:0: x", Some(("a.c", 1, None, "x")));
        check("a.c:0: x", None);
        check("a.c:1:2", None);
        check("a.c:1:x", None);
        check("a.c:99999999999: x", None);
        check("2026/11/22 12:00:05: started", None);
        check("2026/11/22 12:00:05 main.go:12: started", None);
        check("12:00:05 main.go:12:3: error: x", None);
        check("http://localhost:8080: x", None);
        check("127.0.0.1:8080: x", None);
        check("make: *** [Makefile:2: all] Error 1", None);
        check(" a.c:1: x", None);
        check("::1:2: x", None);
        check(":1:2: x", None);
    }

    #[test]
    fn an_address_of_a_file_is_a_path() {
        assert_eq!(from_url("file:///my%20app/%zz%C3%BC%"), "/my app/%zzü%");
        assert_eq!(from_url("/a%20b"), "/a%20b");
        assert_eq!(at_end("/x:y/a.js:1:2"), Some(("/x:y/a.js", 1, Some(2))));
        assert_eq!(at_end("/x/a.js:1"), Some(("/x/a.js", 1, None)));
        assert_eq!(at_end("/x/a.js"), None);
        assert_eq!(extension("a b/x.test.ts"), Some("ts"));
        assert_eq!(extension("a.b/Makefile"), None);
        assert_eq!(extension("/.env"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_looked_at(line in "[a-c0-9:./ \\\\ü]{0,30}") {
            if let Some(place) = colon(&line) {
                proptest::prop_assert!(line.starts_with(place.path));
                proptest::prop_assert!(line.ends_with(place.rest));
                proptest::prop_assert!(place.line > 0 && is_path(place.path));
            }
            let _ = (at_end(&line), extension(&line), from_url(&format!("file://%{line}")));
        }
    }
}
