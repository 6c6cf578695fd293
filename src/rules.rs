//! 2 PLAN. Turns changed paths into a plan: which rules they belong to, and so what has to run.
//!
//! Pure: it reads no file. `watch` has already dropped what is ignored and what only looks changed, and the
//! caller says which paths are a rule's own writes.

use std::collections::BTreeSet;
use std::path::Path;

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

/// The rules that a change belongs to: all that have to run for it.
pub fn concerned(config: &Config, change: &Changed<'_>) -> BTreeSet<RuleId> {
    match change.by {
        By::ItsRule => BTreeSet::new(),
        By::Others => takes(config, change.path)
            .chain(makers(config, change.path))
            .collect(),
    }
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

    #[track_caller]
    fn check(path: &str, by: By, expected: &[usize]) {
        let path = Path::new(path);
        let concerned = concerned(&config(), &Changed { path, by });
        let concerned: Vec<usize> = concerned.iter().map(|rule| rule.0).collect();
        assert_eq!(concerned, expected);
    }

    #[test]
    fn a_change_belongs_to_every_rule_that_it_matches() {
        check("main.go", By::Others, &[1]);
        check("web/x.go", By::Others, &[1, 2]);
        check("main_test.go", By::Others, &[]);
        check("README.md", By::Others, &[]);
    }

    #[test]
    fn a_rules_own_write_triggers_nothing() {
        check("gen/api.go", By::ItsRule, &[]);
        check("bin/api", By::ItsRule, &[]);
    }

    #[test]
    fn any_other_change_of_an_output_makes_its_rule_due() {
        // And the rules that take it.
        check("gen/api.go", By::Others, &[0, 1]);
        check("bin/api", By::Others, &[1]);
    }
}
