//! 2 PLAN. Turns changed paths into a plan: which rules they belong to, and so what has to run.
//!
//! Pure: it reads no file. `watch` has already dropped what is ignored and what only looks changed, and the
//! caller says which paths are a rule's own writes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::supervisor::plan::{Plan, RuleId, Then};

/// A changed path, as far as planning is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Changed<'a> {
    /// Relative to the root.
    pub path: &'a Path,
    /// Who wrote it, where it is an output.
    pub by: By,
}

/// Who changed a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The rule it is an output of: it reaches other rules only through that rule's success.
    ItsRule,
    /// Anybody else: an editor, a checkout, a hand. A rule whose output was changed so is due.
    Others,
}

/// What `changes` demand, and the files that belong to a rule, for the begin line.
pub fn plan(config: &Config, changes: &[Changed<'_>]) -> (Plan, BTreeSet<PathBuf>) {
    let mut plan = Plan::default();
    let mut files = BTreeSet::new();
    for change in changes.iter().filter(|change| change.by == By::Others) {
        let concerned: Vec<RuleId> = takes(config, change.path)
            .chain(makers(config, change.path))
            .collect();
        if !concerned.is_empty() {
            files.insert(change.path.to_owned());
        }
        plan.rules.extend(concerned);
    }
    (plan, files)
}

/// The rules whose files match `path`.
pub fn takes<'a>(config: &'a Config, path: &'a Path) -> impl Iterator<Item = RuleId> + 'a {
    numbered(config)
        .filter(move |(_, rule)| rule.files.matches(path))
        .map(|(id, _)| id)
}

/// The rules that write `path`.
pub fn makers<'a>(config: &'a Config, path: &'a Path) -> impl Iterator<Item = RuleId> + 'a {
    let makes = move |(_, rule): &(RuleId, &crate::config::Rule)| {
        rule.run.is_some() && rule.outputs.matches(path)
    };
    numbered(config).filter(makes).map(|(id, _)| id)
}

/// The demand of a changed env file: the server reads it only when it starts.
pub fn env_file() -> Plan {
    Plan {
        then: Then::Cold,
        ..Plan::default()
    }
}

fn numbered(config: &Config) -> impl Iterator<Item = (RuleId, &crate::config::Rule)> {
    config
        .rules
        .iter()
        .enumerate()
        .map(|(place, rule)| (RuleId(place), rule))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Command, Globs, Rule};

    fn config() -> Config {
        let root = Path::new("/project");
        let globs = |patterns: &[&str]| Globs::new(patterns).expect("good globs");
        let mut generate = Rule::new("generate", globs(&["proto/*.proto"]), root);
        generate.run = Some(Command::Shell("protoc".to_owned()));
        generate.outputs = globs(&["gen/**"]);
        let mut build = Rule::new("build", globs(&["**/*.go", "!**/*_test.go"]), root);
        build.run = Some(Command::Shell("go build".to_owned()));
        build.outputs = globs(&["bin/api"]);
        let pages = Rule::new("pages", globs(&["web/**"]), root);
        let mut config = crate::config::detect::from_command(root, vec!["true".to_owned()]);
        config.rules = vec![generate, build, pages];
        config
    }

    fn planned(changes: &[(&str, By)]) -> (Vec<usize>, Vec<String>) {
        let changes: Vec<Changed<'_>> = changes
            .iter()
            .map(|(path, by)| Changed {
                path: Path::new(path),
                by: *by,
            })
            .collect();
        let (plan, files) = plan(&config(), &changes);
        assert_eq!(
            plan.then,
            Then::Nothing,
            "what the server is owed follows from the rules"
        );
        let files = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        (plan.rules.iter().map(|rule| rule.0).collect(), files)
    }

    #[test]
    fn a_change_belongs_to_every_rule_that_it_matches() {
        assert_eq!(
            planned(&[("main.go", By::Others)]),
            (vec![1], vec!["main.go".to_owned()])
        );
        assert_eq!(planned(&[("web/x.go", By::Others)]).0, [1, 2]);
        assert_eq!(
            planned(&[("main_test.go", By::Others), ("README.md", By::Others)]),
            (vec![], vec![])
        );
    }

    #[test]
    fn a_rules_own_write_triggers_nothing() {
        assert_eq!(
            planned(&[("gen/api.go", By::ItsRule), ("bin/api", By::ItsRule)]),
            (vec![], vec![])
        );
    }

    #[test]
    fn any_other_change_of_an_output_makes_its_rule_due() {
        assert_eq!(
            planned(&[("gen/api.go", By::Others)]).0,
            [0, 1],
            "and the rules that take it"
        );
        assert_eq!(planned(&[("bin/api", By::Others)]).0, [1]);
    }
}
