//! How the output of one rule is read: decided once, from its config and its command.

use std::path::PathBuf;

use super::arrow::Arrow;
use super::cargo::Short;
use super::eslint::Eslint;
use super::gnu::Gnu;
use super::go::Go;
use super::javac::Javac;
use super::node::Node;
use super::own::Own;
use super::panic::Panic;
use super::pytest::Pytest;
use super::python::Python;
use super::tsc::Tsc;
use super::{Base, Kind, Parser, Pattern, command, join};

/// How the output of one rule is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    kinds: Vec<Kind>,
    /// The command or the config says that it prints so; else only the lines can tell.
    sure: bool,
    own: Vec<Pattern>,
    folders: Vec<PathBuf>,
    base: Base,
}

impl Recipe {
    /// For a rule that runs `argv`: the tool is recognised from these words where that is certain, also inside
    /// `sh -c`, and from the lines otherwise. All `own` patterns are tried first.
    pub fn auto(argv: &[String], own: &[Pattern], base: Base) -> Recipe {
        let known = command::read(argv);
        Recipe {
            sure: known.kinds.is_some(),
            kinds: known.kinds.unwrap_or_else(|| Kind::ALL.to_vec()),
            own: own.to_vec(),
            folders: below(&base, known.folders),
            base,
        }
    }

    /// For a rule that runs `argv` and is read by exactly these `kinds` and `own` patterns.
    pub fn named(kinds: &[Kind], own: &[Pattern], argv: &[String], base: Base) -> Recipe {
        Recipe {
            kinds: kinds.to_vec(),
            sure: true,
            own: own.to_vec(),
            folders: below(&base, command::read(argv).folders),
            base,
        }
    }

    pub(super) fn base(&self) -> &Base {
        &self.base
    }

    pub(super) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    pub(super) fn reads(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// What looks at each line, in this order: first what needs several lines to be sure, last what needs least.
    pub(super) fn parsers(&self) -> Vec<Box<dyn Parser>> {
        let mut parsers: Vec<Box<dyn Parser>> = Vec::new();
        if !self.own.is_empty() {
            parsers.push(Box::new(Own(self.own.clone())));
        }
        if self.reads(Kind::Python) {
            parsers.push(Box::new(Python::default()));
            parsers.push(Box::new(Pytest::default()));
        }
        if self.reads(Kind::Node) {
            parsers.push(Box::new(Node::default()));
        }
        if self.reads(Kind::Eslint) {
            parsers.push(Box::new(Eslint::new(self.sure)));
        }
        if self.reads(Kind::Tsc) {
            parsers.push(Box::new(Tsc::default()));
        }
        if self.reads(Kind::Javac) {
            parsers.push(Box::new(Javac::default()));
        }
        if self.reads(Kind::Go) {
            parsers.push(Box::new(Go::new(self.sure)));
        }
        if self.reads(Kind::Cargo) {
            parsers.push(Box::new(Panic::default()));
        }
        if self.reads(Kind::Cargo) || self.reads(Kind::Gnu) {
            parsers.push(Box::new(Arrow::default()));
        }
        if self.reads(Kind::Gnu) {
            parsers.push(Box::new(Gnu { sure: self.sure }));
        } else if self.reads(Kind::Cargo) {
            parsers.push(Box::new(Short));
        }
        parsers
    }
}

/// Folders of a command as absolute paths, each below the one before it.
fn below(base: &Base, folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut at = base.cwd.clone();
    let mut absolute = Vec::new();
    for folder in folders.iter().take(MOST_FOLDERS) {
        at = join(&at, folder);
        absolute.push(at.clone());
    }
    absolute
}

/// A shell line that goes to more places is a program.
const MOST_FOLDERS: usize = 32;
