//! Which rules may have read what is not there any more. Pure; the performer feeds it.
//!
//! A file that is what it was when it was last reported is no change. But whoever ran meanwhile may have read what it was
//! in between (there and back again, or gone for a moment), and what it made of that would stay for ever. So a rule that
//! ran since counts the file as changed.
//!
//! A rule that writes such a file itself, with the same content each time, would run for ever. After a few turns it is
//! taken for the one who does it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::supervisor::generation::JobId;
use crate::supervisor::plan::RuleId;

/// Turns in a row that one file may cause one rule to run without ever having changed.
const TURNS: u32 = 4;

/// Who reads what, and what they may have misread.
#[derive(Debug, Default)]
pub struct Readers {
    /// Who reads at this moment, and for which rule.
    reading: BTreeSet<(JobId, RuleId)>,
    /// When somebody last ended reading for a rule.
    ended: BTreeMap<RuleId, Instant>,
    turns: BTreeMap<(RuleId, PathBuf), u32>,
}

/// What a file that was stirred means to a rule that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misread {
    /// It did not run since, or is known to write the file itself.
    No,
    /// It has to run again.
    Yes,
    /// From here on it is taken to write the file itself: said once.
    ItsOwn,
}

impl Readers {
    /// `job` reads what `rule` takes from here on.
    pub fn begun(&mut self, job: JobId, rule: RuleId) {
        self.reading.insert((job, rule));
    }

    /// `job` reads nothing any more.
    pub fn ended(&mut self, job: JobId, at: Instant) {
        let of_job = (job, RuleId(0))..=(job, RuleId(usize::MAX));
        let rules: Vec<(JobId, RuleId)> = self.reading.range(of_job).copied().collect();
        for reader in rules {
            self.reading.remove(&reader);
            self.ended.insert(reader.1, at);
        }
    }

    /// A file of `rule` has really changed: somebody works on it, and nothing goes round in circles.
    pub fn changed(&mut self, rule: RuleId) {
        // A file that was found to be its own stays so.
        self.turns
            .retain(|(other, _), turns| *other != rule || *turns > TURNS);
    }

    /// Whether anybody has read anything since then, so that it is worth asking who takes what.
    pub fn anybody(&self, since: Instant) -> bool {
        !self.reading.is_empty() || self.ended.values().any(|end| *end >= since)
    }

    /// `path`, which `rule` takes, was something else at some time since `since`, and is what it was.
    pub fn misread(&mut self, rule: RuleId, path: &Path, since: Instant) -> Misread {
        let reads = self.reading.iter().any(|(_, reader)| *reader == rule);
        let has_read = self.ended.get(&rule).is_some_and(|end| *end >= since);
        if !reads && !has_read {
            return Misread::No;
        }
        let turns = self.turns.entry((rule, path.to_owned())).or_default();
        *turns = turns.saturating_add(1);
        match *turns {
            ..=TURNS => Misread::Yes,
            turns if turns == TURNS + 1 => Misread::ItsOwn,
            _ => Misread::No,
        }
    }

    /// Rules have other numbers from here on.
    pub fn forget(&mut self) {
        *self = Readers::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[expect(clippy::disallowed_methods, reason = "an origin for the fake clock")]
    fn times() -> [Instant; 4] {
        let origin = Instant::now();
        [0, 1, 2, 3].map(|seconds| origin + Duration::from_secs(seconds))
    }

    #[test]
    fn only_who_ran_since_has_misread() {
        let [t0, t1, t2, t3] = times();
        let (copy, other) = (RuleId(0), RuleId(1));
        let file = Path::new("a");
        let mut readers = Readers::default();
        assert_eq!(readers.misread(copy, file, t0), Misread::No);
        assert!(!readers.anybody(t0));
        readers.begun(JobId(7), copy);
        assert_eq!(readers.misread(copy, file, t3), Misread::Yes);
        assert!(readers.anybody(t3));
        readers.ended(JobId(7), t2);
        assert_eq!(readers.misread(copy, file, t1), Misread::Yes);
        assert!(readers.anybody(t1) && !readers.anybody(t3));
        assert_eq!(readers.misread(copy, file, t3), Misread::No);
        assert_eq!(readers.misread(other, file, t0), Misread::No);
    }

    #[test]
    fn what_a_rule_writes_itself_goes_round_a_few_times_only_and_is_said_once() {
        let [t0, ..] = times();
        let rule = RuleId(0);
        let mut readers = Readers::default();
        readers.begun(JobId(7), rule);
        let mut turn = |path: &str| readers.misread(rule, Path::new(path), t0);
        for _ in 0..TURNS {
            assert_eq!(turn("gen.go"), Misread::Yes);
        }
        assert_eq!(turn("gen.go"), Misread::ItsOwn);
        assert_eq!(turn("gen.go"), Misread::No);
        assert_eq!(turn("main.go"), Misread::Yes);
        // A change of another file begins the counting anew, and does not forget what was found out.
        readers.changed(rule);
        let mut turn = |path: &str| readers.misread(rule, Path::new(path), t0);
        assert_eq!(turn("gen.go"), Misread::No);
        for _ in 0..TURNS {
            assert_eq!(turn("main.go"), Misread::Yes);
        }
    }
}
