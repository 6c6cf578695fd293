//! The problems that stand: what the last run of each rule found, until it runs again.

use std::collections::{BTreeMap, HashSet};

use super::collect::in_order;
use super::{MOST_PROBLEMS, Problem, Problems, Severity};
use crate::supervisor::plan::RuleId;

/// What stands, rule by rule.
#[derive(Debug, Default)]
pub struct Standing(BTreeMap<RuleId, Run>);

#[derive(Debug)]
struct Run {
    succeeded: bool,
    problems: Problems,
}

impl Standing {
    /// A run of `rule` has ended by itself, or at its timeout: what it found stands instead of what its last run had
    /// found. A run that was cancelled says nothing, and is not told of.
    pub fn ended(&mut self, rule: RuleId, succeeded: bool, problems: Problems) {
        let run = Run {
            succeeded,
            problems,
        };
        self.0.insert(rule, run);
    }

    /// Every rule has succeeded, or did not need to run: what failed runs had found is out of date.
    pub fn settled(&mut self) {
        self.0.retain(|_, run| run.succeeded);
    }

    /// The rules have other numbers from here on, and all of them are due.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// All that stands, as if one run had found it.
    pub fn all(&self) -> Problems {
        let mut all = Problems::default();
        let mut seen = HashSet::new();
        for Run { problems, .. } in self.0.values() {
            all.errors += problems.errors;
            all.warnings += problems.warnings;
            all.infos += problems.infos;
            for problem in &problems.list {
                if seen.insert(identity(problem)) {
                    all.list.push(problem.clone());
                    continue;
                }
                // Two rules compile the same file.
                match problem.severity {
                    Severity::Error => all.errors -= 1,
                    Severity::Warning => all.warnings -= 1,
                    Severity::Info => all.infos -= 1,
                }
            }
        }
        // The worst stay, where there are too many.
        all.list.sort_by_key(|problem| problem.severity);
        all.list.truncate(MOST_PROBLEMS);
        all.list = in_order(all.list);
        all
    }
}

/// What makes two of them the same, whoever says so.
fn identity(problem: &Problem) -> impl Eq + std::hash::Hash + use<'_> {
    let file = problem.file.as_ref().ok_or(&problem.path);
    let place = (file, problem.line, problem.column);
    (place, problem.severity, &problem.message, &problem.code)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const FIRST: RuleId = RuleId(0);
    const SECOND: RuleId = RuleId(1);

    /// `file:line severity`, and how many of them there were.
    fn found(lines: &[&str]) -> Problems {
        let mut problems = Problems::default();
        for line in lines {
            let (place, severity) = line.split_once(' ').expect("two words");
            let (file, line) = place.split_once(':').expect("a place");
            let severity = Severity::read(severity).expect("a severity");
            match severity {
                Severity::Error => problems.errors += 1,
                Severity::Warning => problems.warnings += 1,
                Severity::Info => problems.infos += 1,
            }
            problems.list.push(Problem {
                path: file.to_owned(),
                file: Some(file.into()),
                line: line.parse().expect("a number"),
                column: None,
                end: None,
                severity,
                message: "wrong".to_owned(),
                code: None,
                tool: "gnu".to_owned(),
                rendered: None,
            });
        }
        problems
    }

    #[track_caller]
    fn check(standing: &Standing, expected: Expect) {
        let all = standing.all();
        let mut text = format!("{} {} {}", all.errors, all.warnings, all.infos);
        for problem in &all.list {
            text += &format!("\n{}:{} {}", problem.path, problem.line, problem.severity);
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn the_last_run_counts_and_that_of_another_rule_changes_nothing() {
        let mut standing = Standing::default();
        check(&standing, expect!["0 0 0"]);
        standing.ended(FIRST, true, found(&["a.c:5 warning"]));
        standing.ended(SECOND, false, found(&["b.c:7 error", "a.c:1 note"]));
        check(
            &standing,
            expect![[r#"
            1 1 1
            b.c:7 error
            a.c:5 warning
            a.c:1 info"#]],
        );
        standing.ended(SECOND, false, found(&["b.c:8 error"]));
        check(
            &standing,
            expect![[r#"
            1 1 0
            b.c:8 error
            a.c:5 warning"#]],
        );
        standing.ended(FIRST, false, found(&["a.c:6 error"]));
        standing.ended(SECOND, true, found(&[]));
        check(
            &standing,
            expect![[r#"
            1 0 0
            a.c:6 error"#]],
        );
    }

    #[test]
    fn once_nothing_is_owed_only_what_successful_runs_found_stands() {
        let mut standing = Standing::default();
        standing.ended(FIRST, true, found(&["a.c:5 warning"]));
        standing.ended(SECOND, false, found(&["b.c:7 error", "b.c:9 warning"]));
        standing.settled();
        check(
            &standing,
            expect![[r#"
            0 1 0
            a.c:5 warning"#]],
        );
        standing.clear();
        check(&standing, expect!["0 0 0"]);
    }

    #[test]
    fn what_two_rules_say_counts_once() {
        let mut standing = Standing::default();
        standing.ended(FIRST, false, found(&["a.c:5 error", "a.c:6 error"]));
        standing.ended(SECOND, false, found(&["a.c:5 error", "a.c:5 warning"]));
        check(
            &standing,
            expect![[r#"
            2 1 0
            a.c:5 error
            a.c:6 error
            a.c:5 warning"#]],
        );
    }

    #[test]
    fn of_too_many_the_worst_are_kept_and_all_are_counted() {
        let lines = |range: std::ops::Range<usize>, severity: &str| {
            let lines: Vec<String> = range.map(|n| format!("a.c:{n} {severity}")).collect();
            found(&lines.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let mut standing = Standing::default();
        standing.ended(FIRST, true, lines(0..MOST_PROBLEMS, "warning"));
        standing.ended(SECOND, false, lines(0..10, "error"));
        let all = standing.all();
        assert_eq!((all.errors, all.warnings), (10, MOST_PROBLEMS));
        let errors = all.list.iter().filter(|p| p.severity == Severity::Error);
        assert_eq!((all.list.len(), errors.count()), (MOST_PROBLEMS, 10));
        assert_eq!(all.left_out(), 10);
    }
}
