//! Whether a rule can do without its command: looks at the outputs on disk, and puts back what was kept of them.
//!
//! It decides by content alone and never runs anything. Where it is not sure the answer is no, which costs a build.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use super::Key;
use super::cache::{Cache, Entry};
use super::ledger::Basis;
use super::outputs::{self, Written};
use super::recipe::recipe;
use crate::config::Config;
use crate::state::Success;
use crate::supervisor::plan::RuleId;
use crate::watch::Sum;

/// What is known of a rule that is due. To be answered on a thread of its own: outputs may be large.
pub struct Question {
    /// What holds.
    pub config: Arc<Config>,
    /// The rule, which has a command.
    pub rule: RuleId,
    /// Of the watched files that it takes.
    pub sum: Sum,
    /// What it last succeeded with.
    pub success: Option<Success>,
    /// What the rules are known to have written: what has the same stamp is not read again.
    pub written: BTreeMap<RuleId, Written>,
    /// What was kept.
    pub cache: Arc<Cache>,
}

/// That it can, and why.
#[derive(Debug)]
pub struct Answer {
    /// What its command would be made of.
    pub key: Key,
    /// Its outputs as they are now.
    pub written: Written,
    /// They were put back just now.
    pub restored: bool,
}

impl Question {
    /// None: the command has to run. `restoring` is called before the first output is touched.
    pub fn answer(self, restoring: impl FnOnce()) -> Option<Answer> {
        let (config, id) = (&*self.config, self.rule);
        let rule = &config.rules[id.0];
        let known = self.written.get(&id);
        let written = outputs::look(config, id, known);
        let feeders = config.rules.iter().enumerate().filter(|(place, other)| {
            *place != id.0 && other.run.is_some() && !other.outputs.is_empty()
        });
        let fed: Vec<(RuleId, Written)> = feeders
            .map(|(place, _)| RuleId(place))
            .map(|other| {
                (
                    other,
                    outputs::look(config, other, self.written.get(&other)),
                )
            })
            .collect();
        let fed = fed.iter().map(|(other, written)| (*other, written));
        let recipe = recipe(config, id, |name| std::env::var_os(name))?;
        let key = Basis::new(config, id, recipe, fed).key(self.sum);
        let current = |written| Answer {
            key,
            written,
            restored: false,
        };
        let success = Success {
            key,
            outputs: written.digest(),
        };
        if self.success == Some(success) {
            return Some(current(written));
        }
        if !rule.cache || rule.outputs.is_empty() {
            return None;
        }
        let entry = self.cache.find(key, |path| rule.outputs.matches(path))?;
        if written.is(entry.files()) {
            return Some(current(written));
        }
        // A file that no command is known to have written may be somebody's work.
        let extra = written.beside(entry.files());
        if !extra
            .iter()
            .all(|path| known.is_some_and(|known| known.holds_as(path, &written)))
        {
            return None;
        }
        restoring();
        self.restore(&entry).ok()?;
        for path in extra {
            fs::remove_file(config.root.join(path)).ok()?;
        }
        let written = outputs::look(config, id, None);
        written.is(entry.files()).then_some(Answer {
            key,
            written,
            restored: true,
        })
    }

    fn restore(&self, entry: &Entry) -> std::io::Result<()> {
        self.cache.restore(entry).inspect_err(|error| {
            log::debug!(target: "incremental", "cannot restore {entry:?}: {error}");
        })
    }
}
