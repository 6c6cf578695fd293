//! The one dialect of globs: anchored at the root, `*` and `?` stay within a folder, `**` crosses, `!` excludes.
//!
//! Pure: matches names, looks at no file. Refuses what could never match, because a glob that matches nothing is
//! a typo that nobody sees.

use std::path::{Path, PathBuf};

use globset::{ErrorKind, Glob, GlobBuilder, GlobSet, GlobSetBuilder};

/// devwatch's own folder. Nothing in it is a source, so only a glob that names it reaches into it: `**/*.go` does
/// not mean the files that are kept in its cache, `.devwatch/bin/*` does mean what a rule writes there.
const OWN_FOLDER: &str = ".devwatch";

/// Globs anchored at the root, `!` to exclude: a path belongs when at least one plain glob and no `!` glob matches.
/// The order does not matter. What lies in `.devwatch/` belongs only where a plain glob names that folder.
#[derive(Clone, Debug, Default)]
pub struct Globs {
    /// As written.
    pub patterns: Vec<String>,
    include: GlobSet,
    /// Those of the plain ones that name `.devwatch`.
    include_own: GlobSet,
    exclude: GlobSet,
}

/// A pattern that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadGlob {
    /// Which of the patterns, from 0.
    pub index: usize,
    /// What is wrong with it, in globset's words or ours.
    pub message: String,
    /// The byte of the pattern where it is wrong, where that is known.
    pub offset: Option<usize>,
}

impl Globs {
    /// Compiles `patterns`.
    ///
    /// # Errors
    /// The first pattern that cannot be compiled, or that no path relative to the root could ever match: an
    /// absolute one, one that ends in `/`, one with `..` behind its beginning.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Globs, BadGlob> {
        let mut include = GlobSetBuilder::new();
        let mut include_own = GlobSetBuilder::new();
        let mut exclude = GlobSetBuilder::new();
        for (index, written) in patterns.iter().enumerate() {
            let written = written.as_ref();
            let bad = |(message, offset): (String, Option<usize>)| BadGlob {
                index,
                message,
                offset,
            };
            let (pattern, side) = match written.strip_prefix('!') {
                Some(rest) => (rest, &mut exclude),
                None => (written, &mut include),
            };
            let shift = written.len() - pattern.len();
            let glob = compile(pattern)
                .map_err(|(message, offset)| bad((message, offset.map(|at| at + shift))))?;
            if shift == 0 && names_own_folder(pattern) {
                include_own.add(glob.clone());
            }
            side.add(glob);
        }
        let build = |set: GlobSetBuilder| {
            // Each compiled alone, so only their sum can be too much.
            set.build().map_err(|error| BadGlob {
                index: 0,
                message: error.to_string(),
                offset: None,
            })
        };
        Ok(Globs {
            patterns: patterns
                .iter()
                .map(|pattern| pattern.as_ref().to_string())
                .collect(),
            include: build(include)?,
            include_own: build(include_own)?,
            exclude: build(exclude)?,
        })
    }

    /// Whether `path` belongs. `path` is relative to the root (`../lib/x.go` for an extra root).
    pub fn matches(&self, path: &Path) -> bool {
        let include = match path.starts_with(OWN_FOLDER) {
            true => &self.include_own,
            false => &self.include,
        };
        include.is_match(path) && !self.exclude.is_match(path)
    }

    /// Whether nothing can ever match.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty()
    }

    /// The entries without wildcards, as paths relative to the root.
    pub(crate) fn literals(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.included()
            .map(literal_prefix)
            .filter(|(_, whole)| *whole)
            .map(|(path, _)| path)
    }

    /// The folder, relative to the root, in which each entry with wildcards begins to look.
    pub(crate) fn folders(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.included()
            .map(literal_prefix)
            .filter(|(_, whole)| !*whole)
            .map(|(path, _)| path)
    }

    /// The plain ones, as written.
    pub(super) fn included(&self) -> impl Iterator<Item = &str> {
        self.patterns
            .iter()
            .map(String::as_str)
            .filter(|pattern| !pattern.starts_with('!'))
    }

    /// The `!` ones, without it.
    pub(super) fn excluded(&self) -> impl Iterator<Item = &str> {
        self.patterns
            .iter()
            .filter_map(|pattern| pattern.strip_prefix('!'))
    }
}

/// Whether a plain pattern may mean files in `.devwatch/`.
pub(super) fn names_own_folder(pattern: &str) -> bool {
    pattern.contains(OWN_FOLDER)
}

/// Globs are the same when they are written the same.
impl PartialEq for Globs {
    fn eq(&self, other: &Globs) -> bool {
        self.patterns == other.patterns
    }
}

impl Eq for Globs {}

/// The path up to the first component with a wildcard, and whether that is the whole pattern.
pub(crate) fn literal_prefix(pattern: &str) -> (PathBuf, bool) {
    let mut prefix = PathBuf::new();
    for component in pattern.split('/').filter(|component| *component != ".") {
        match literal(component) {
            Some(name) => prefix.push(name),
            None => return (prefix, false),
        }
    }
    (prefix, true)
}

fn literal(component: &str) -> Option<String> {
    let mut name = String::new();
    let mut chars = component.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' | '{' => return None,
            '\\' => name.extend(chars.next()),
            c => name.push(c),
        }
    }
    Some(name)
}

/// One pattern without its `!`: the glob, or what is wrong with it and at which byte.
pub(super) fn compile(pattern: &str) -> Result<Glob, (String, Option<usize>)> {
    if pattern.is_empty() {
        return Err(("empty glob".into(), None));
    }
    if pattern.starts_with('/') {
        return Err((
            "globs are relative to the root and never begin with \"/\"".into(),
            Some(0),
        ));
    }
    if pattern.ends_with('/') {
        return Err((
            format!("a folder is no file; write \"{pattern}**\""),
            Some(pattern.len() - 1),
        ));
    }
    if let Some(at) = pattern.find("//") {
        return Err(("empty name between \"//\"".into(), Some(at)));
    }
    // Paths are compared by their letters, so `..` can only lead out of the root, never back.
    let up = pattern
        .split('/')
        .take_while(|component| matches!(*component, ".." | "."))
        .count();
    let below = pattern
        .split('/')
        .take(up)
        .map(|component| component.len() + 1)
        .sum::<usize>()
        .min(pattern.len());
    if pattern[below..]
        .split(['/', '{', '}', ','])
        .any(|part| part == "..")
    {
        let at = below + pattern[below..].find("..").unwrap_or(0);
        return Err(("\"..\" can only stand at the beginning".into(), Some(at)));
    }
    // `./src` is how a shell completes it; the paths that are matched never begin with a dot.
    let plain: Vec<&str> = pattern
        .split('/')
        .filter(|component| *component != ".")
        .collect();
    GlobBuilder::new(&plain.join("/"))
        .literal_separator(true)
        .empty_alternates(true)
        .build()
        .map_err(|error| (error.kind().to_string(), locate(error.kind(), pattern)))
}

/// globset says what is wrong, not where; most of it can be found again.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "globset's enum may grow; a new kind is shown on the whole glob"
)]
fn locate(kind: &ErrorKind, pattern: &str) -> Option<usize> {
    match kind {
        ErrorKind::UnclosedClass => pattern.rfind('['),
        ErrorKind::UnclosedAlternates => unmatched_brace(pattern, '{'),
        ErrorKind::UnopenedAlternates => unmatched_brace(pattern, '}'),
        ErrorKind::InvalidRange(from, to) => pattern.find(&format!("{from}-{to}")),
        ErrorKind::DanglingEscape => pattern.rfind('\\'),
        _ => None,
    }
}

fn unmatched_brace(pattern: &str, which: char) -> Option<usize> {
    let mut open = Vec::new();
    for (at, c) in pattern.char_indices() {
        match c {
            '{' => open.push(at),
            '}' if open.pop().is_none() => return (which == '}').then_some(at),
            _ => {}
        }
    }
    open.pop().filter(|_| which == '{')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_the_contract_says() {
        for (patterns, path, expected) in [
            (&["*.go"][..], "main.go", true),
            (&["*.go"], "cmd/main.go", false),
            (&["**/*.go"], "main.go", true),
            (&["**/*.go"], "a/b/c.go", true),
            (&["src/**"], "src/a/b", true),
            (&["src/**"], "src", false),
            (&["src/?.rs"], "src/a.rs", true),
            (&["a?b"], "a/b", false),
            (&["./src/*.rs"], "src/a.rs", true),
            (&["!**/*_test.go", "**/*.go"], "a_test.go", false),
            (&["**/*.go", "!**/*_test.go"], "a.go", true),
            (&["!**/*.go"], "a.go", false),
            (&["../lib/**"], "../lib/x/y.go", true),
            (&["../lib/**"], "lib/x.go", false),
            (&["**/*"], ".env", true),
            (&["**/*.{tmpl,html}"], "web/a.html", true),
            (&["x{,.bak}"], "x", true),
            (&["\\!x"], "!x", true),
            (&["**/*"], ".devwatch/cache/a.go", false),
            (&["**/*"], ".devwatch-notes", true),
            (&["**/*"], "sub/.devwatch/a.go", true),
            (&["**/*", ".devwatch/bin/*"], ".devwatch/bin/api", true),
            (&["**/*", ".devwatch/bin/*"], ".devwatch/cache/a.go", false),
            (&["./.devwatch/{bin,lib}/**"], ".devwatch/lib/a", true),
            (&[".devwatch/**", "!**/*.tmp"], ".devwatch/a.tmp", false),
        ] {
            let globs = Globs::new(patterns).expect("good globs");
            assert_eq!(
                globs.matches(Path::new(path)),
                expected,
                "{patterns:?} on {path}"
            );
        }
    }

    #[test]
    fn a_glob_that_cannot_match_is_refused_with_its_place() {
        for (pattern, message, offset) in [
            (
                "src/{*.rs",
                "unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)",
                Some(4),
            ),
            (
                "a}b",
                "unopened alternate group; missing '{' (maybe escape '}' with '[}]'?)",
                Some(1),
            ),
            ("!a[bc", "unclosed character class; missing ']'", Some(2)),
            ("[z-a]", "invalid range; 'z' > 'a'", Some(1)),
            ("a\\", "dangling '\\'", Some(1)),
            ("", "empty glob", None),
            ("!", "empty glob", None),
            (
                "/src/**",
                "globs are relative to the root and never begin with \"/\"",
                Some(0),
            ),
            ("!src/", "a folder is no file; write \"src/**\"", Some(4)),
            ("a//b", "empty name between \"//\"", Some(1)),
            (
                "../a/../b",
                "\"..\" can only stand at the beginning",
                Some(5),
            ),
            (
                "{../a,b}/**",
                "\"..\" can only stand at the beginning",
                Some(1),
            ),
        ] {
            let bad = Globs::new(&["good", pattern]).expect_err(pattern);
            assert_eq!(
                (bad.index, bad.message.as_str(), bad.offset),
                (1, message, offset),
                "{pattern}"
            );
        }
    }

    #[test]
    fn literal_entries_are_told_from_those_with_wildcards() {
        let globs =
            Globs::new(&["go.mod", "../x/[a]", "a\\*b", "src/**/*.rs", "!no"]).expect("good globs");
        assert_eq!(
            globs.literals().collect::<Vec<_>>(),
            ["go.mod", "a*b"].map(PathBuf::from)
        );
        assert_eq!(
            globs.folders().collect::<Vec<_>>(),
            ["../x", "src"].map(PathBuf::from)
        );
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_patterns_never_panic_and_their_places_lie_inside(pattern in ".{0,30}") {
            if let Err(bad) = Globs::new(&[&pattern]) {
                proptest::prop_assert!(bad.offset.is_none_or(|at| at < pattern.len().max(1)));
                proptest::prop_assert!(bad.offset.is_none_or(|at| pattern.is_char_boundary(at)));
            }
            literal_prefix(&pattern);
        }
    }
}
