//! In which order rules run in a pass: who waits for whom, and who would wait for ever.
//!
//! Pure: works from the globs and names of the config, looks at no file and at no run. `parse` refuses a config whose
//! rules wait in a circle, everything else asks [`Config::needs`].

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use super::{Config, Globs, Rule};
use crate::supervisor::plan::RuleId;

impl Config {
    /// For each rule, by its place, the rules that have to be done before it in a pass, theirs included.
    ///
    /// A rule waits for those whose outputs can be among its files; a rule's own outputs make it wait for nobody. While
    /// no rule has `after`, all of them are in one row that respects this and is otherwise as in the file, and each
    /// needs all before it. Where any has `after`, each needs those that it names and those whose outputs it takes, and
    /// the others may run beside it.
    ///
    /// No rule ever needs itself. A config that was read has no circles; in one that was put together otherwise, what
    /// would close a circle is left out, the earlier rule going first.
    pub fn needs(&self) -> Vec<BTreeSet<RuleId>> {
        let waits = waits(&self.rules);
        let row = row(&waits);
        let mut needs = vec![BTreeSet::new(); self.rules.len()];
        let mut done: BTreeSet<RuleId> = BTreeSet::new();
        for rule in row {
            needs[rule] = match self.is_in_a_row() {
                true => done.clone(),
                false => {
                    let before = waits[rule].keys().map(|before| RuleId(*before));
                    let before: BTreeSet<RuleId> = before.filter(|it| done.contains(it)).collect();
                    let theirs = before.iter().flat_map(|before| &needs[before.0]);
                    theirs.chain(&before).copied().collect()
                }
            };
            done.insert(RuleId(rule));
        }
        needs
    }

    /// Whether rules run one after another, because none of them says what it really has to wait for.
    pub(super) fn is_in_a_row(&self) -> bool {
        self.rules.iter().all(|rule| rule.after.is_none())
    }

    /// All rules in the order in which they run one after another.
    pub(super) fn row(&self) -> Vec<RuleId> {
        row(&waits(&self.rules)).into_iter().map(RuleId).collect()
    }
}

/// Rules of which each waits for the next, and the last for the first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Circle {
    /// The place of the rule in which it is best broken.
    pub(super) rule: usize,
    /// Who waits for whom and why, in one line.
    pub(super) message: String,
    /// What breaks it: any of these, the best first. At least one.
    pub(super) remedies: Vec<String>,
}

/// Circles among `rules`, whose names differ; none shares a rule with another, so after mending them there may be more.
pub(super) fn circles(rules: &[Rule]) -> Vec<Circle> {
    let waits = waits(rules);
    let mut told = BTreeSet::new();
    let mut circles = Vec::new();
    for start in 0..rules.len() {
        let Some(circle) = shortest(&waits, start) else {
            continue;
        };
        if circle.iter().all(|rule| !told.contains(rule)) {
            circles.push(explained(rules, &waits, &circle));
            told.extend(circle);
        }
    }
    circles
}

/// For each rule, by its place: those that it waits for, and why.
type Waits = Vec<BTreeMap<usize, Why>>;

enum Why {
    /// It says so.
    After,
    /// The other can write what is among its files.
    Takes,
}

fn waits(rules: &[Rule]) -> Waits {
    let of = |(place, rule): (usize, &Rule)| {
        let others = || {
            rules
                .iter()
                .enumerate()
                .filter(move |(other, _)| *other != place)
        };
        let takes = others().filter_map(|(other, writer)| {
            let takes = writer.run.is_some() && writer.outputs.can_meet(&rule.files);
            takes.then_some((other, Why::Takes))
        });
        // Collected last, so it stands where a rule does both: what it says is plainer than what its globs say.
        let after = others()
            .filter(|(_, other)| rule.after.iter().flatten().any(|name| *name == other.name))
            .map(|(other, _)| (other, Why::After));
        takes.chain(after).collect()
    };
    rules.iter().enumerate().map(of).collect()
}

/// All rules, each behind those that it waits for, and otherwise as in the file: of those that could be next, always
/// the first.
fn row(waits: &Waits) -> Vec<usize> {
    let mut left: BTreeSet<usize> = (0..waits.len()).collect();
    let mut row = Vec::new();
    while let Some(&first) = left.first() {
        let is_free = |rule: &usize| waits[*rule].keys().all(|before| !left.contains(before));
        let next = left.iter().copied().find(is_free).unwrap_or(first);
        left.remove(&next);
        row.push(next);
    }
    row
}

/// The shortest circle through `start`, each rule followed by the one that waits for it.
fn shortest(waits: &Waits, start: usize) -> Option<Vec<usize>> {
    let mut who_waits = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(rule) = queue.pop_front() {
        for &before in waits[rule].keys() {
            if before == start {
                let next = |rule: &usize| who_waits.get(rule).copied();
                let rest = std::iter::successors(Some(rule), next);
                let rest = rest.take_while(|rule| *rule != start);
                return Some(std::iter::once(start).chain(rest).collect());
            }
            if let Entry::Vacant(unseen) = who_waits.entry(before) {
                unseen.insert(rule);
                queue.push_back(before);
            }
        }
    }
    None
}

fn explained(rules: &[Rule], waits: &Waits, circle: &[usize]) -> Circle {
    let followers = circle.iter().cycle().skip(1);
    let mut steps = Vec::new();
    let mut remedies = Vec::new();
    for (&before, &behind) in circle.iter().zip(followers) {
        let (one, other) = (&rules[before].name, &rules[behind].name);
        match &waits[behind][&before] {
            Why::After => {
                steps.push(format!("{other:?} is after {one:?}"));
                let text = format!("take {one:?} out of the `after` of {other:?}");
                remedies.push((Rank::Said, behind, text));
            }
            Why::Takes => {
                let path = rules[before].outputs.meets(&rules[behind].files);
                let path = shown(&path.unwrap_or_default());
                steps.push(format!("{one:?} writes {path}, which {other:?} takes"));
                let rank = match behind < before {
                    true => Rank::Upwards,
                    false => Rank::Downwards,
                };
                if let Some(globs) = exclusion(&rules[before], &rules[behind]) {
                    let globs: Vec<String> = globs.iter().map(|glob| format!("{glob:?}")).collect();
                    let globs = globs.join(", ");
                    let text = format!("add {globs} to the files of {other:?}");
                    remedies.push((rank, behind, text));
                }
            }
        }
    }
    remedies.sort_by_key(|(rank, ..)| *rank);
    let first = remedies.first().map(|(_, rule, _)| *rule);
    let rule = first.or(circle.iter().copied().min()).unwrap_or_default();
    let remedies = remedies.into_iter().map(|(_, _, text)| text);
    Circle {
        rule,
        message: format!(
            "rules wait for each other in a circle: {}",
            steps.join("; ")
        ),
        remedies: remedies
            .chain(["make one rule of them".to_owned()])
            .collect(),
    }
}

/// Which wait of a circle is the likeliest not to be meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// An earlier rule happens to match what a later one writes.
    Upwards,
    /// A later rule matches what an earlier one writes: the order of the file says the same.
    Downwards,
    /// Somebody wrote it down.
    Said,
}

/// The globs with which `reader` would take nothing of `writer`; None where one of its own globs would then match
/// nothing any more, because then they mean the same files.
fn exclusion(writer: &Rule, reader: &Rule) -> Option<Vec<String>> {
    let is_taken =
        |pattern: &&str| Globs::new(&[pattern]).is_ok_and(|output| output.can_meet(&reader.files));
    let taken = writer.outputs.included().filter(is_taken);
    let excluded: Vec<String> = taken.map(|pattern| format!("!{pattern}")).collect();
    for kept in reader.files.included() {
        let patterns: Vec<&str> = std::iter::once(kept)
            .chain(excluded.iter().map(String::as_str))
            .collect();
        let globs = Globs::new(&patterns).ok()?;
        if !globs.can_meet(&globs) {
            return None;
        }
    }
    Some(excluded)
}

/// As it is where that is one readable word.
fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        true => format!("{text:?}"),
        false => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::*;
    use crate::config::detect::from_command;
    use crate::config::{Command, file};

    /// A rule in a line: its name, what it takes, what it writes, and after whom it is.
    type Line<'l> = (&'l str, &'l [&'l str], &'l [&'l str], &'l [&'l str]);

    /// What is expected of needs: what the case is about, its rules, and for each whom it needs.
    type Needs<'l> = (&'l str, &'l [Line<'l>], &'l [&'l [usize]]);

    /// What is expected of a circle: the rule in which it is broken, its steps, and its remedies but for the last.
    type Told<'l> = (usize, &'l str, &'l [&'l str]);

    fn rules(lines: &[Line<'_>]) -> Vec<Rule> {
        let rule = |(name, files, outputs, after): &Line<'_>| {
            let globs = |patterns: &[&str]| Globs::new(patterns).expect("good globs");
            let mut rule = Rule::new(*name, globs(files), Path::new("/work"));
            rule.run = Some(Command::Shell("true".to_owned()));
            rule.outputs = globs(outputs);
            let after: Vec<String> = after.iter().map(|name| name.to_string()).collect();
            rule.after = Some(after).filter(|after| !after.is_empty());
            rule
        };
        lines.iter().map(rule).collect()
    }

    fn config(rules: Vec<Rule>) -> Config {
        let mut config = from_command(Path::new("/"), vec!["true".to_owned()]);
        config.rules = rules;
        config
    }

    const GENERATE: Line<'_> = ("generate", &["proto/*.proto"], &["gen/**"], &[]);
    const BUILD: Line<'_> = ("build", &["**/*.go"], &[".devwatch/bin/api"], &[]);
    const FORMAT: Line<'_> = ("format", &["**/*.go"], &["**/*.go"], &[]);
    const LINT: Line<'_> = ("lint", &["**/*.go"], &[], &[]);
    const PAGES: Line<'_> = ("pages", &["web/*"], &[], &[]);
    const BUNDLE: Line<'_> = ("bundle", &["web/*", ".devwatch/bin/*"], &["dist/*.js"], &[]);

    fn after<'l>(line: Line<'l>, names: &'l [&'l str]) -> Line<'l> {
        (line.0, line.1, line.2, names)
    }

    #[test]
    fn a_rule_needs_those_before_it_in_the_row_or_those_that_it_really_waits_for() {
        let table: &[Needs<'_>] = &[
            ("no rules", &[], &[]),
            (
                "all in the row of the file",
                &[GENERATE, BUILD, PAGES],
                &[&[], &[0], &[0, 1]],
            ),
            (
                "what writes goes before what takes, and the rest stays",
                &[PAGES, BUILD, LINT, GENERATE],
                &[&[], &[0, 3], &[0, 1, 3], &[0]],
            ),
            (
                "a chain against the file",
                &[BUNDLE, BUILD, GENERATE],
                &[&[1, 2], &[2], &[]],
            ),
            (
                "what a rule writes itself makes it wait for nobody",
                &[BUILD, FORMAT, GENERATE],
                &[&[1, 2], &[2], &[]],
            ),
            (
                "any `after`: only what is said, and what is taken",
                &[GENERATE, BUILD, PAGES, after(LINT, &["generate"])],
                &[&[], &[0], &[], &[0]],
            ),
            (
                "through others, against the file, several",
                &[
                    after(PAGES, &["build", "lint"]),
                    BUILD,
                    LINT,
                    GENERATE,
                    BUNDLE,
                ],
                &[&[1, 2, 3], &[3], &[3], &[], &[1, 3]],
            ),
            (
                "what is said and taken counts once",
                &[GENERATE, after(BUILD, &["generate", "generate"])],
                &[&[], &[0]],
            ),
            (
                "a circle is cut where it goes upwards",
                &[after(PAGES, &["lint"]), after(LINT, &["pages"])],
                &[&[], &[0]],
            ),
        ];
        for (what, lines, expected) in table {
            let needs = config(rules(lines)).needs();
            let needs: Vec<Vec<usize>> = needs
                .iter()
                .map(|needs| needs.iter().map(|rule| rule.0).collect())
                .collect();
            assert_eq!(needs, *expected, "{what}");
        }
    }

    #[test]
    fn a_rule_without_a_command_writes_nothing() {
        let mut rules = rules(&[LINT, ("told", &["x"], &["**/*.go"], &[]), PAGES]);
        rules[1].run = None;
        assert_eq!(config(rules).row(), [0, 1, 2].map(RuleId));
    }

    #[test]
    fn a_circle_is_told_with_its_paths_and_what_breaks_it() {
        let table: &[(&[Line<'_>], &[Told<'_>])] = &[
            (
                &[
                    ("gen", &["**/*.go", "*.proto"], &["gen/**", "doc/*.md"], &[]),
                    ("build", &["**/*.go"], &["api/*.go", "bin/x"], &[]),
                ],
                &[(
                    0,
                    r#""gen" writes gen/x.go, which "build" takes; "build" writes api/x.go, which "gen" takes"#,
                    &[
                        r#"add "!api/*.go" to the files of "gen""#,
                        r#"add "!gen/**" to the files of "build""#,
                    ],
                )],
            ),
            (
                &[BUILD, FORMAT, ("imports", &["**/*.go"], &["**/*.go"], &[])],
                &[(
                    1,
                    r#""format" writes x.go, which "imports" takes; "imports" writes x.go, which "format" takes"#,
                    &[],
                )],
            ),
            (
                &[after(BUILD, &["bundle"]), BUNDLE],
                &[(
                    1,
                    r#""build" writes .devwatch/bin/api, which "bundle" takes; "build" is after "bundle""#,
                    &[
                        r#"add "!.devwatch/bin/api" to the files of "bundle""#,
                        r#"take "bundle" out of the `after` of "build""#,
                    ],
                )],
            ),
            (
                &[
                    after(PAGES, &["lint"]),
                    GENERATE,
                    after(LINT, &["build"]),
                    after(BUILD, &["pages"]),
                ],
                &[(
                    3,
                    r#""build" is after "pages"; "lint" is after "build"; "pages" is after "lint""#,
                    &[
                        r#"take "pages" out of the `after` of "build""#,
                        r#"take "build" out of the `after` of "lint""#,
                        r#"take "lint" out of the `after` of "pages""#,
                    ],
                )],
            ),
            (
                &[
                    ("api", &["**/*.go", "!gen/**"], &["api/x.go"], &[]),
                    FORMAT,
                    ("a", &["a a"], &["b b"], &[]),
                    ("b", &["b*"], &["a*"], &[]),
                ],
                &[
                    (
                        1,
                        r#""api" writes api/x.go, which "format" takes; "format" writes x.go, which "api" takes"#,
                        &[r#"add "!api/x.go" to the files of "format""#],
                    ),
                    (
                        3,
                        r#""a" writes "b b", which "b" takes; "b" writes "a a", which "a" takes"#,
                        &[r#"add "!b b" to the files of "b""#],
                    ),
                ],
            ),
        ];
        for (lines, expected) in table {
            let expected: Vec<Circle> = expected
                .iter()
                .map(|(rule, steps, remedies)| Circle {
                    rule: *rule,
                    message: format!("rules wait for each other in a circle: {steps}"),
                    remedies: remedies
                        .iter()
                        .chain(&["make one rule of them"])
                        .map(|remedy| remedy.to_string())
                        .collect(),
                })
                .collect();
            assert_eq!(circles(&rules(lines)), expected);
        }
    }

    #[test]
    fn rules_as_they_usually_are_wait_in_no_circle() {
        let table: &[&[Line<'_>]] = &[
            &[],
            &[FORMAT],
            &[GENERATE, FORMAT, LINT, BUILD, BUNDLE, PAGES],
            &[
                ("api", &["**/*.go"], &[".devwatch/bin/api"], &[]),
                ("worker", &["**/*.go"], &[".devwatch/bin/worker"], &[]),
            ],
            &[
                ("api", &["**/*"], &[".devwatch/bin/**"], &[]),
                ("worker", &["**/*"], &[".devwatch/lib/**"], &[]),
            ],
            &[
                (
                    "stringer",
                    &["**/*.go", "!**/*_string.go"],
                    &["**/*_string.go"],
                    &[],
                ),
                (
                    "format",
                    &["**/*.go", "!**/*_string.go"],
                    &["**/*.go", "!**/*_string.go"],
                    &[],
                ),
                BUILD,
            ],
            &[
                ("client", &["api/*.yaml"], &["web/src/gen/**"], &[]),
                ("web", &["web/**", "!web/dist/**"], &["web/dist/**"], &[]),
                (
                    "embed",
                    &["**/*.go", "web/dist/**"],
                    &[".devwatch/bin/api"],
                    &[],
                ),
            ],
            &[
                ("test", &["src/**"], &["coverage/**"], &["build"]),
                ("build", &["src/**"], &["target/debug/x"], &[]),
            ],
        ];
        for lines in table {
            assert_eq!(circles(&rules(lines)), []);
        }
    }

    #[test]
    fn the_examples_of_the_repository_are_configs() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut paths = vec![root.join(".config/devwatch.toml")];
        for entry in fs::read_dir(root.join("examples")).expect("the examples") {
            paths.push(entry.expect("an example").path().join(file::NAME));
        }
        paths.retain(|path| path.exists());
        assert!(paths.len() > 5, "{paths:?}");
        for path in paths {
            let loaded = file::load(&path, &file::root_of(&path)).expect("a config");
            assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        }
    }

    /// Rules on a few folders that take and write at random, and name each other at random.
    fn some_rules() -> impl Strategy<Value = Vec<Rule>> {
        const GLOBS: [&str; 8] = [
            "a/**", "b/**", "c/*", "**/*.x", "a/*.x", "b/y", "c/y", "d/**",
        ];
        const NAMES: [&str; 6] = ["r0", "r1", "r2", "r3", "r4", "r5"];
        let some = |most| subsequence(GLOBS.to_vec(), 0..=most);
        let named = prop_oneof![3 => Just(Vec::new()), 1 => subsequence(NAMES.to_vec(), 1..3)];
        let rule = (select(GLOBS.to_vec()), some(2), some(2), named);
        prop::collection::vec(rule, 1..=NAMES.len()).prop_map(|all| {
            let mut built = Vec::new();
            for (place, (file, mut files, outputs, after)) in all.iter().cloned().enumerate() {
                files.push(file);
                let known =
                    |name: &&&str| **name != NAMES[place] && NAMES[..all.len()].contains(name);
                let after: Vec<&str> = after.iter().filter(known).copied().collect();
                built.extend(rules(&[(NAMES[place], &files, &outputs, &after)]));
            }
            built
        })
    }

    proptest! {
        // Up to thirty pairs of globs in each case.
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn needs_hold_every_wait_unless_there_is_a_circle(rules in some_rules()) {
            let config = config(rules);
            let needs = config.needs();
            let waits = waits(&config.rules);
            let circles = circles(&config.rules);
            for (place, needed) in needs.iter().enumerate() {
                let rule = RuleId(place);
                prop_assert!(!needed.contains(&rule));
                for before in needed {
                    let theirs = &needs[before.0];
                    prop_assert!(!theirs.contains(&rule), "{rule:?} and {before:?} need each other");
                    prop_assert!(theirs.is_subset(needed));
                }
                let kept = waits[place].keys().all(|before| needed.contains(&RuleId(*before)));
                prop_assert!(kept || !circles.is_empty());
            }
            if config.is_in_a_row() {
                let mut lengths: Vec<usize> = needs.iter().map(BTreeSet::len).collect();
                lengths.sort_unstable();
                prop_assert_eq!(lengths, (0..needs.len()).collect::<Vec<_>>());
            }
        }

        /// By another way than theirs: with waits alone, some rules can never begin exactly where a circle is told.
        #[test]
        fn a_circle_is_told_where_rules_would_wait_for_ever(rules in some_rules()) {
            let waits = waits(&rules);
            let mut left: BTreeSet<usize> = (0..rules.len()).collect();
            while let Some(free) = left.iter().copied().find(|rule| {
                waits[*rule].keys().all(|before| !left.contains(before))
            }) {
                left.remove(&free);
            }
            let told = circles(&rules);
            prop_assert_eq!(told.is_empty(), left.is_empty());
            for circle in told {
                prop_assert!(left.contains(&circle.rule));
                prop_assert!(!circle.remedies.is_empty());
            }
            for (place, reader) in rules.iter().enumerate() {
                for writer in waits[place].keys().map(|writer| &rules[*writer]) {
                    let Some(exclude) = exclusion(writer, reader) else {
                        continue;
                    };
                    let files = [reader.files.patterns.clone(), exclude].concat();
                    let files = Globs::new(&files).expect("good globs");
                    prop_assert!(!writer.outputs.can_meet(&files), "{files:?} excludes too little");
                }
            }
        }
    }
}
