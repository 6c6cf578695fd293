//! Whether two sets of globs have a path in common: does one rule take what another writes?
//!
//! Pure: looks at no file. The answer is exact and not a guess from a few samples, because it decides in which order
//! rules run and which configs are refused: both sets are automata already (a glob is a regular expression), and their
//! product is searched for a path that all of it accepts. So the dialect is globset's own, read once.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use regex_automata::MatchKind;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::util::start;
use regex_automata::util::syntax;
use regex_automata::{Anchored, nfa::thompson};

use super::globs::{Globs, compile, literal_prefix, names_own_folder};

/// Every name of a file but `.` and `..`.
const NAME: &str = r"(?:[^/\x00.][^/\x00]*|\.[^/\x00.][^/\x00]*|\.\.[^/\x00]+)";

/// The shapes in which a witness reads well, best first: with a stem before each extension, since `gen/x.go` says
/// more than `gen/.go` and both would do; then in folders that begin with a dot; then outside of the root; then dot
/// files. Where none fits, it is the shortest of all.
const FAMILIAR_PATHS: [&str; 4] = [
    r"(?-u)^(?:[A-Za-z0-9][A-Za-z0-9._-]*/)*[A-Za-z0-9][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*$",
    r"(?-u)^(?:\.?[A-Za-z0-9][A-Za-z0-9._-]*/)*[A-Za-z0-9][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*$",
    r"(?-u)^(?:\.\./)+(?:[A-Za-z0-9][A-Za-z0-9._-]*/)*[A-Za-z0-9][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*$",
    r"(?-u)^(?:\.?[A-Za-z0-9][A-Za-z0-9._-]*/)*\.?[A-Za-z0-9][A-Za-z0-9._-]*$",
];

/// What lies in devwatch's own folder.
const OWN_PATHS: &str = r"(?-u)^\.devwatch(?:/.*)?$";

/// In this order letters are tried, so that witnesses look like names.
const LETTERS: &[u8] = b"xabcdefghijklmnopqrstuvwyz0123456789_-/.";

/// Globs of a config meet within tens of steps; what needs more is not worth the time that a reload may take.
const MOST_STEPS: usize = 50_000;

/// Likewise for the memory of one automaton, in bytes.
const MOST_MEMORY: usize = 4 << 20;

impl Globs {
    /// A path that belongs to both, if there is one: the shortest that looks like a path, relative to the root.
    /// Excludes of both sides count. For globs whose automata are beyond measure (`*a` and sixty `?`) the search gives
    /// up, and the answer is None.
    pub fn meets(&self, other: &Globs) -> Option<PathBuf> {
        self.common(other, &FAMILIAR_PATHS)
    }

    /// Whether there is a path that belongs to both: as [`meets`](Globs::meets), which takes longer to find a nice one.
    pub(super) fn can_meet(&self, other: &Globs) -> bool {
        self.common(other, &[]).is_some()
    }

    /// A path that belongs to both; of the first of these `shapes` that there is, or else any.
    fn common(&self, other: &Globs, shapes: &[&str]) -> Option<PathBuf> {
        // A set without wildcards is a list of paths, and most outputs are.
        for (one, another) in [(self, other), (other, self)] {
            if one.literals().count() == one.included().count() {
                return one
                    .literals()
                    .find(|path| one.matches(path) && another.matches(path));
            }
        }
        let outside = self.search(other, shapes, |_| true, Some(OWN_PATHS));
        outside.or_else(|| self.search(other, shapes, names_own_folder, None))
    }

    /// As [`common`](Globs::common), by those of the plain globs that `counts`, and none of the paths `beyond`.
    fn search(
        &self,
        other: &Globs,
        shapes: &[&str],
        counts: impl Fn(&str) -> bool,
        beyond: Option<&str>,
    ) -> Option<PathBuf> {
        let ours: Vec<&str> = self.included().filter(|glob| counts(glob)).collect();
        let theirs: Vec<&str> = other.included().filter(|glob| counts(glob)).collect();
        let (ours, theirs) = near(&ours, &theirs);
        if ours.is_empty() || theirs.is_empty() {
            return None;
        }
        let excluded: Vec<&str> = self.excluded().chain(other.excluded()).collect();
        let mut excluded = expressions(&excluded)?;
        excluded.extend(beyond.map(String::from));
        let (ours, theirs) = (expressions(&ours)?, expressions(&theirs)?);
        let witness = |paths: &str| {
            Product::new(paths, &ours, &theirs, &excluded)?
                .witness()
                .filter(|path| self.matches(path) && other.matches(path))
        };
        // Most pairs have nothing in common, and this alone finds that out.
        let any = witness(&format!(r"(?-u)^(?:\.\./)*(?:{NAME}/)*{NAME}$"))?;
        shapes.iter().find_map(|paths| witness(paths)).or(Some(any))
    }
}

/// Those of both that begin in a folder in which one of the others can begin, too, and end as it can end: most rules
/// have nothing to do with one another, and their folders and extensions tell that at once.
fn near<'p>(ours: &[&'p str], theirs: &[&'p str]) -> (Vec<&'p str>, Vec<&'p str>) {
    let ours: Vec<Ends<'_>> = ours.iter().map(|pattern| Ends::of(pattern)).collect();
    let theirs: Vec<Ends<'_>> = theirs.iter().map(|pattern| Ends::of(pattern)).collect();
    let kept = |side: &[Ends<'p>], others: &[Ends<'p>]| {
        let near = |one: &&Ends<'p>| others.iter().any(|other| one.is_near(other));
        side.iter().filter(near).map(|one| one.pattern).collect()
    };
    (kept(&ours, &theirs), kept(&theirs, &ours))
}

/// What every path of a pattern begins and ends with.
struct Ends<'p> {
    pattern: &'p str,
    folder: PathBuf,
    /// Of the name alone: `**/x` is also `x`, without a slash.
    tail: &'p str,
}

impl<'p> Ends<'p> {
    fn of(pattern: &'p str) -> Ends<'p> {
        let tail = pattern.rfind(['*', '?', '[', ']', '{', '}', ',', '\\', '/']);
        Ends {
            pattern,
            folder: literal_prefix(pattern).0,
            // What is escaped stands right behind its backslash, and may be any character.
            tail: match tail {
                Some(at) if pattern[at..].starts_with('\\') => "",
                Some(at) => &pattern[at + 1..],
                None => pattern,
            },
        }
    }

    fn is_near(&self, other: &Ends<'_>) -> bool {
        (self.folder.starts_with(&other.folder) || other.folder.starts_with(&self.folder))
            && (self.tail.ends_with(other.tail) || other.tail.ends_with(self.tail))
    }
}

/// The patterns as regular expressions; None if one is no glob, which `Globs` has ruled out.
fn expressions(patterns: &[&str]) -> Option<Vec<String>> {
    patterns
        .iter()
        .map(|pattern| Some(compile(pattern).ok()?.regex().to_owned()))
        .collect()
}

/// Automata that read the same path.
struct Product {
    /// Is a path, is ours, is theirs: have to accept. Is excluded: must not.
    automata: [Automaton; 4],
}

const EXCLUDED: usize = 3;

struct Automaton {
    dfa: DFA,
    cache: Cache,
}

/// Where a letter led: from the step with this number.
struct Step {
    states: [LazyStateID; 4],
    before: usize,
    letter: u8,
}

impl Product {
    fn new(
        paths: &str,
        ours: &[String],
        theirs: &[String],
        excluded: &[String],
    ) -> Option<Product> {
        Some(Product {
            automata: [
                Automaton::new(&[paths.to_owned()])?,
                Automaton::new(ours)?,
                Automaton::new(theirs)?,
                Automaton::new(excluded)?,
            ],
        })
    }

    /// The shortest path that all accept; breadth first, so the first one found is that.
    fn witness(mut self) -> Option<PathBuf> {
        let letters = self.letters();
        let mut start = self.automata.iter_mut().map(Automaton::start);
        let start = [
            start.next()??,
            start.next()??,
            start.next()??,
            start.next()??,
        ];
        let mut known = HashSet::from([start]);
        let mut steps = vec![Step {
            states: start,
            before: 0,
            letter: 0,
        }];
        let mut at = 0;
        while let Some(&Step { states, .. }) = steps.get(at) {
            if self.accepts(states)? {
                return Some(spelled(&steps, at));
            }
            for &letter in &letters {
                let next = self.next(states, letter)?;
                if next[..EXCLUDED].iter().any(|state| state.is_dead()) || !known.insert(next) {
                    continue;
                }
                steps.push(Step {
                    states: next,
                    before: at,
                    letter,
                });
            }
            if steps.len() > MOST_STEPS {
                return None;
            }
            at += 1;
        }
        None
    }

    /// One letter for each set of letters that no automaton tells apart.
    fn letters(&self) -> Vec<u8> {
        let rest = (0..=u8::MAX).filter(|letter| !LETTERS.contains(letter));
        let mut told_apart = HashMap::new();
        for letter in LETTERS.iter().copied().chain(rest) {
            let classes = self
                .automata
                .each_ref()
                .map(|automaton| automaton.dfa.byte_classes().get(letter));
            let place = told_apart.len();
            told_apart.entry(classes).or_insert((place, letter));
        }
        let mut letters: Vec<(usize, u8)> = told_apart.into_values().collect();
        letters.sort_unstable();
        letters.into_iter().map(|(_, letter)| letter).collect()
    }

    fn next(&mut self, states: [LazyStateID; 4], letter: u8) -> Option<[LazyStateID; 4]> {
        let mut next = states;
        for (automaton, state) in self.automata.iter_mut().zip(&mut next) {
            *state = automaton
                .dfa
                .next_state(&mut automaton.cache, *state, letter)
                .ok()?;
        }
        Some(next)
    }

    fn accepts(&mut self, states: [LazyStateID; 4]) -> Option<bool> {
        for (place, automaton) in self.automata.iter_mut().enumerate() {
            let end = automaton
                .dfa
                .next_eoi_state(&mut automaton.cache, states[place])
                .ok()?;
            if end.is_match() == (place == EXCLUDED) {
                return Some(false);
            }
        }
        Some(true)
    }
}

impl Automaton {
    /// Of all `expressions` together; None if it would be too large.
    fn new(expressions: &[String]) -> Option<Automaton> {
        let config = DFA::config()
            .match_kind(MatchKind::All)
            .cache_capacity(MOST_MEMORY)
            // States are remembered across steps, and a cleared cache would give their numbers to others.
            .minimum_cache_clear_count(Some(0));
        // As globset does it.
        let syntax = syntax::Config::new().utf8(false).dot_matches_new_line(true);
        let nfa = thompson::Config::new()
            .utf8(false)
            .nfa_size_limit(Some(MOST_MEMORY));
        let dfa = DFA::builder()
            .configure(config)
            .syntax(syntax)
            .thompson(nfa)
            .build_many(expressions)
            .ok()?;
        let cache = dfa.create_cache();
        Some(Automaton { dfa, cache })
    }

    fn start(&mut self) -> Option<LazyStateID> {
        let config = start::Config::new().anchored(Anchored::Yes);
        self.dfa.start_state(&mut self.cache, &config).ok()
    }
}

/// The letters that led to the step `at`.
fn spelled(steps: &[Step], mut at: usize) -> PathBuf {
    let mut letters = Vec::new();
    while at > 0 {
        letters.push(steps[at].letter);
        at = steps[at].before;
    }
    letters.reverse();
    PathBuf::from(OsString::from_vec(letters))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn globs(patterns: &[&str]) -> Globs {
        Globs::new(patterns).expect("good globs")
    }

    #[test]
    fn globs_meet_in_the_shortest_path_that_looks_like_one() {
        for (ours, theirs, expected) in [
            (&["gen/**"][..], &["**/*.go"][..], Some("gen/x.go")),
            (&["gen/**"], &["**/*.go", "!gen/**"], None),
            (&["gen/**", "!**/*.go"], &["**/*.go"], None),
            (&["gen/**", "!gen/*.go"], &["**/*.go"], Some("gen/x/x.go")),
            (&["gen/*.go", "!gen/x.go"], &["**/*.go"], Some("gen/a.go")),
            (&["gen/*.pb.go"], &["**/*.go"], Some("gen/x.pb.go")),
            (&["gen/*.ts"], &["**/*.go"], None),
            (&["api.go"], &["**/*.go"], Some("api.go")),
            (&["api.go"], &["**/*.go", "!api.*"], None),
            (&["a.go", "b.ts"], &["*.ts"], Some("b.ts")),
            (&["**/*.go"], &["**/*.go"], Some("x.go")),
            (&["a*\\*b"], &["*b"], Some("a*b")),
            (&["*\\b"], &["a?b"], Some("axb")),
            (&["*{.go,.ts}"], &["*.ts"], Some("x.ts")),
            (&["*.t[s]"], &["x.ts", "?.ts"], Some("x.ts")),
            (&["**/x"], &["*x"], Some("x")),
            (&["**"], &["**"], Some("x")),
            (&["src/**"], &["src"], None),
            (&["src/*"], &["src/*/*"], None),
            (&["src/**/x"], &["src/x"], Some("src/x")),
            (&["a/**/b/**/c"], &["**/b/b/*"], Some("a/b/b/c")),
            (&["a*"], &["*b"], Some("ab")),
            (&["*a*b*"], &["*b*a*"], Some("aba")),
            (&["?"], &["??"], None),
            (&["?a"], &["b?"], Some("ba")),
            (&["[a-m]x"], &["[k-z]x"], Some("kx")),
            (&["[a-c]"], &["[!a-b]"], Some("c")),
            (&["[a-c]"], &["[d-f]"], None),
            (&["*.{js,css}"], &["x.{css,html}"], Some("x.css")),
            (&["{a,b}/{c,d}"], &["b/*"], Some("b/c")),
            (&["{a/b,c}/*"], &["a/b/x"], Some("a/b/x")),
            (&["x{,.bak}"], &["*.bak"], Some("x.bak")),
            (&["\\*/*"], &["[*]/y*"], Some("*/y")),
            (&["*_test.go"], &["*.go"], Some("x_test.go")),
            (&["é/*"], &["**"], Some("é/x")),
            (&["a b/*"], &["**"], Some("a b/x")),
            (&["../lib/**"], &["../**/*.h"], Some("../lib/x.h")),
            (&["../lib/**"], &["lib/**"], None),
            (&["./src/*"], &["src/a?"], Some("src/ax")),
            (&[".*"], &["*"], Some(".x")),
            (&["**/*"], &[".*/**"], Some(".x/x")),
            (&[".devwatch/bin/*"], &["**/*"], None),
            (&[".devwatch/**"], &["**/*.go"], None),
            (&["**/*.go"], &["**/.devwatch/*"], Some("x/.devwatch/x.go")),
            (
                &[".devwatch/bin/*"],
                &["**/*", ".devwatch/**"],
                Some(".devwatch/bin/x"),
            ),
            (&[], &["**"], None),
            (&["!x"], &["**"], None),
        ] {
            let (ours, theirs) = (globs(ours), globs(theirs));
            let expected = expected.map(PathBuf::from);
            let told = format!("{:?} and {:?}", ours.patterns, theirs.patterns);
            assert_eq!(ours.meets(&theirs), expected, "{told}");
            assert_eq!(theirs.meets(&ours), expected, "the other way: {told}");
            assert_eq!(ours.can_meet(&theirs), expected.is_some(), "{told}");
        }
    }

    #[test]
    fn a_search_that_would_never_end_gives_up() {
        let many = |letter: &str| vec![format!("*{letter}{}", "?".repeat(60))];
        let (ours, theirs) = (many("[ab]"), many("[bc]"));
        let ours = Globs::new(&ours).expect("good globs");
        let theirs = Globs::new(&theirs).expect("good globs");
        if let Some(path) = ours.meets(&theirs) {
            assert!(ours.matches(&path) && theirs.matches(&path));
        }
        let excluding: Vec<String> = ["**".to_owned()]
            .into_iter()
            .chain((0..40).map(|n| format!("!*[a{n}]{}", "?".repeat(n))))
            .collect();
        let excluding = Globs::new(&excluding).expect("good globs");
        if let Some(path) = ours.meets(&excluding) {
            assert!(ours.matches(&path) && excluding.matches(&path));
        }
    }

    /// Patterns over few letters, so that they meet often and often do not.
    fn pattern() -> impl Strategy<Value = String> {
        let piece = select(vec![
            "a", "b", "ab", ".a", "?", "*", "[ab]", "[!a]", "{a,b}", "{a,}b", "{,.a}", "b*",
        ]);
        let name = prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat());
        let component = prop_oneof![4 => name, 1 => Just("**".to_owned())];
        let up = prop_oneof![9 => Just(""), 1 => Just("../")];
        (up, prop::collection::vec(component, 1..4))
            .prop_map(|(up, components)| format!("{up}{}", components.join("/")))
    }

    fn some_globs(excludes: usize) -> impl Strategy<Value = Globs> {
        let sign = |excluded: bool| {
            move |pattern| match excluded {
                true => format!("!{pattern}"),
                false => pattern,
            }
        };
        let plain = prop::collection::vec(pattern().prop_map(sign(false)), 1..3);
        let minus = prop::collection::vec(pattern().prop_map(sign(true)), 0..=excludes);
        (plain, minus).prop_filter_map("good globs", |(plain, minus)| {
            Globs::new(&[plain, minus].concat()).ok()
        })
    }

    fn path() -> impl Strategy<Value = PathBuf> {
        let name = prop_oneof![
            8 => "[.]?[ab][ab.]{0,2}",
            1 => Just("é".to_owned()),
        ];
        let up = prop_oneof![9 => Just(""), 1 => Just("../")];
        (up, prop::collection::vec(name, 1..4))
            .prop_map(|(up, names)| Path::new(up).join(names.join("/")))
    }

    proptest! {
        #[test]
        fn a_witness_belongs_to_both(ours in some_globs(2), theirs in some_globs(2)) {
            let witness = ours.meets(&theirs);
            prop_assert_eq!(witness.is_some(), theirs.meets(&ours).is_some());
            if let Some(path) = witness {
                prop_assert!(ours.matches(&path) && theirs.matches(&path), "{:?}", path);
            }
        }

        #[test]
        fn what_a_path_belongs_to_meets(
            ours in some_globs(2),
            theirs in some_globs(2),
            paths in prop::collection::vec(path(), 20),
        ) {
            let both = paths.iter().find(|path| ours.matches(path) && theirs.matches(path));
            if let Some(path) = both {
                prop_assert!(ours.meets(&theirs).is_some(), "{:?} belongs to both", path);
            }
        }
    }
}
