//! The list of the outputs that belong to one key, as text.
//!
//! Pure. A text is either exactly what [`encode`] writes, or nothing: what was cut off, changed, renamed to another
//! key or written by another version is not half believed. The sum at the end is against accidents; whoever can
//! write into a project can also change what its commands do.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use crate::incremental::{Key, from_hex};
use crate::watch::fingerprint::Fingerprint;

/// A file or a symlink, as a command left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Output {
    /// Relative to the root; see [`is_plain`].
    pub(super) path: PathBuf,
    pub(super) content: Fingerprint,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its permission bits, at most 0o777.
    File(u32),
    /// Its target text.
    Link(OsString),
}

/// The outputs of `key`, sorted by path and each there once.
pub(super) fn encode(key: Key, outputs: &[Output]) -> Vec<u8> {
    let mut text = format!("{FIRST}\nkey {key}\n");
    for output in outputs {
        let content = hex(output.content);
        let path = escape(output.path.as_os_str().as_bytes());
        match &output.kind {
            Kind::File(mode) => text += &format!("file {mode:03o} {content} {path}\n"),
            Kind::Link(target) => {
                let target = escape(target.as_bytes());
                text += &format!("link {target} {content} {path}\n");
            }
        }
    }
    let sum = xxh3_128(text.as_bytes());
    text += &format!("end {sum:032x}\n");
    text.into_bytes()
}

/// What [`encode`] made `text` of, for this very key.
pub(super) fn decode(key: Key, text: &[u8]) -> Option<Vec<Output>> {
    let lines = std::str::from_utf8(text).ok()?.lines().skip(2);
    let outputs: Vec<Output> = lines
        .take_while(|line| !line.starts_with("end "))
        .map(output)
        .collect::<Option<_>>()?;
    let sorted = outputs.is_sorted_by(|one, next| one.path < next.path);
    // Everything else that could be wrong makes it another text.
    (sorted && !outputs.is_empty() && encode(key, &outputs) == text).then_some(outputs)
}

fn output(line: &str) -> Option<Output> {
    let mut words = line.split(' ');
    let mut word = || words.next();
    let (kind, about, content, path) = (word()?, word()?, word()?, word()?);
    let path = PathBuf::from(OsString::from_vec(unescape(path)?));
    let kind = match kind {
        "file" => Kind::File(
            u32::from_str_radix(about, 8)
                .ok()
                .filter(|mode| *mode <= 0o777)?,
        ),
        "link" => Kind::Link(OsString::from_vec(unescape(about)?)),
        _ => return None,
    };
    let content = Fingerprint::from(from_hex(content)?);
    is_plain(&path).then_some(Output {
        path,
        content,
        kind,
    })
}

/// Whether a path relative to the root is written the one way: `a/b`, or `../a` with the `..` in front alone.
pub(super) fn is_plain(path: &Path) -> bool {
    let above = |component: &Component<'_>| *component == Component::ParentDir;
    let mut below = path.components().skip_while(above).peekable();
    let bytes = path.as_os_str().as_bytes();
    below.peek().is_some()
        && below.all(|component| matches!(component, Component::Normal(_)))
        && path.components().collect::<PathBuf>().as_os_str() == path.as_os_str()
        && !bytes.contains(&0)
}

/// As `blobs` names a content.
pub(super) fn hex(content: Fingerprint) -> String {
    format!("{:032x}", u128::from_le_bytes(content.to_bytes()))
}

/// Names are bytes: those that are no visible ASCII become `%` and two digits.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_graphic() && *byte != b'%' {
            text.push(char::from(*byte));
        } else {
            text += &format!("%{byte:02x}");
        }
    }
    text
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    Some(bytes)
}

/// The number is the version of the format, of what a fingerprint is, and of what is kept of a file.
const FIRST: &str = "devwatch outputs 1";

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use proptest::prelude::*;

    use super::*;
    use crate::watch::fingerprint;

    const KEY: Key = Key(7);

    fn file(path: impl AsRef<OsStr>, mode: u32) -> Output {
        Output {
            path: PathBuf::from(path.as_ref()),
            content: fingerprint::of_bytes(b"x"),
            kind: Kind::File(mode),
        }
    }

    fn link(path: &str, target: &[u8]) -> Output {
        let target = OsStr::from_bytes(target).to_owned();
        Output {
            path: PathBuf::from(path),
            content: fingerprint::of_link(&target),
            kind: Kind::Link(target),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let outputs = [
            file("../lib/x", 0o644),
            link("a link", b"/etc/\xff \n%"),
            file(OsStr::from_bytes(b"bin/\xff\n%20 api"), 0o755),
            file("e", 0),
        ];
        let text = encode(KEY, &outputs);
        assert_eq!(decode(KEY, &text).as_deref(), Some(&outputs[..]));
        assert_eq!(decode(Key(8), &text), None, "it is of another key");
    }

    #[test]
    fn every_damage_is_seen() {
        let text = encode(KEY, &[file("bin/api", 0o755), link("lib", b"lib64")]);
        for at in 0..text.len() {
            assert_eq!(decode(KEY, &text[..at]), None, "cut at {at}");
            for bit in 0..8 {
                let mut damaged = text.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(decode(KEY, &damaged), None, "bit {bit} of byte {at}");
            }
        }
        assert_eq!(decode(KEY, &[&text[..], b"\n"].concat()), None);
        assert_eq!(
            decode(KEY, &encode(KEY, &[])),
            None,
            "nothing is kept of nothing"
        );
    }

    #[test]
    fn a_path_that_is_not_below_or_beside_the_root_is_refused() {
        for path in ["a", "a/b c", "../a", "../../a/..b", "...", "a\nb"] {
            assert!(is_plain(Path::new(path)), "{path:?}");
        }
        for path in [
            "",
            "/",
            "/a",
            ".",
            "./a",
            "a/.",
            "a/",
            "a//b",
            "a/./b",
            "..",
            "../..",
            "a/..",
            "a/../b",
            "../a/../b",
            "a\0",
        ] {
            assert!(!is_plain(Path::new(path)), "{path:?}");
            assert_eq!(
                decode(KEY, &encode(KEY, &[file(path, 0o644)])),
                None,
                "{path:?}"
            );
        }
        for wrong in [
            [file("b", 0o644), file("a", 0o644)],
            [file("a", 0o644), file("a", 0o755)],
        ] {
            assert_eq!(
                decode(KEY, &encode(KEY, &wrong)),
                None,
                "out of order, or twice"
            );
        }
        assert_eq!(decode(KEY, &encode(KEY, &[file("a", 0o4755)])), None);
    }

    proptest! {
        #[test]
        fn any_name_and_any_target_come_back(
            name in proptest::collection::vec(1u8.., 1..30),
            target in proptest::collection::vec(1u8.., 1..30),
        ) {
            let path = PathBuf::from(OsString::from_vec(name));
            let target = OsString::from_vec(target);
            let kind = Kind::Link(target.clone());
            let output = Output { path, content: fingerprint::of_link(&target), kind };
            let decoded = decode(KEY, &encode(KEY, std::slice::from_ref(&output)));
            prop_assert_eq!(decoded, is_plain(&output.path).then(|| vec![output]));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "(devwatch outputs 1\nkey 0{31}7\n)?([filenk0-7% ./a]{0,40}\n){0,4}") {
            let _ = decode(KEY, text.as_bytes());
        }
    }
}
