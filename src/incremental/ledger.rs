//! Which command made what of which inputs. Pure; the performer feeds it.
//!
//! A success counts only when nothing that the command takes has changed from its beginning until everything was
//! reported that had happened by its end. What was saved while it ran may or may not be in its outputs: nobody
//! knows, so nothing is remembered of such a run, and the change makes the rule run again.

use std::collections::BTreeMap;
use std::time::Instant;

use xxhash_rust::xxh3::Xxh3;

use super::Key;
use super::outputs::Written;
use super::recipe::Recipe;
use crate::config::Config;
use crate::supervisor::generation::JobId;
use crate::supervisor::plan::RuleId;
use crate::watch::Sum;

/// Commands that have begun, until it is known what they were made of or that nobody ever will.
#[derive(Debug, Default)]
pub struct Ledger {
    /// One per rule, of the watched files that it takes and no command writes. None: not all have been read.
    sums: Option<Vec<Sum>>,
    runs: BTreeMap<JobId, Run>,
}

/// What a command depends on besides the watched files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basis {
    recipe: Recipe,
    /// Of what other commands have written that it takes.
    fed: u128,
}

#[derive(Debug)]
struct Run {
    rule: RuleId,
    basis: Basis,
    /// It has succeeded, and left this.
    made: Option<Written>,
    /// From when on what happens is none of its business, and what the watched files added up to then.
    heard: Option<(Instant, Sum)>,
    /// All that had happened by its end was reported.
    confirmed: bool,
}

/// A success that is certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Whose.
    pub rule: RuleId,
    /// What it was made of.
    pub key: Key,
    /// What it left.
    pub made: Written,
}

impl Basis {
    /// Of `rule`, where its command does `recipe` and other rules have `written` what they have.
    pub fn new<'a>(
        config: &Config,
        rule: RuleId,
        recipe: Recipe,
        written: impl Iterator<Item = (RuleId, &'a Written)>,
    ) -> Basis {
        let takes = &config.rules[rule.0].files;
        let mut hash = Xxh3::new();
        let others = written.filter(|(other, _)| *other != rule);
        for (path, content) in others.flat_map(|(_, written)| written.contents()) {
            if takes.matches(path) {
                hash.update(path.as_os_str().as_encoded_bytes());
                hash.update(&[0]);
                hash.update(&content.to_bytes());
            }
        }
        let fed = hash.digest128();
        Basis { recipe, fed }
    }

    /// The key of a run on this basis, with `sum` of the watched files.
    pub fn key(self, sum: Sum) -> Key {
        let mut hash = Xxh3::new();
        for part in [self.recipe.0, self.fed, sum.0] {
            hash.update(&part.to_le_bytes());
        }
        Key(hash.digest128())
    }
}

impl Ledger {
    /// The sums are known, or are others than before without a change of any file's content.
    pub fn read(&mut self, sums: Vec<Sum>) {
        if let Some(before) = &self.sums {
            let differs = |rule: RuleId| before.get(rule.0) != sums.get(rule.0);
            self.runs
                .retain(|_, run| run.heard.is_some() || !differs(run.rule));
        }
        self.sums = Some(sums);
    }

    /// Files have changed, and this is what they add up to now.
    pub fn changed(&mut self, sums: Option<Vec<Sum>>) {
        if sums.is_some() {
            self.sums = sums;
        }
    }

    /// Something that `rule` takes has changed, or was not all the time what it is; the kernel told of it first at `since`.
    pub fn touched(&mut self, rule: RuleId, since: Instant) {
        let concerns = |run: &Run| run.heard.is_none_or(|(at, _)| since <= at);
        let touched = |_: &JobId, run: &mut Run| run.rule == rule && concerns(run);
        for (job, _) in self.runs.extract_if(.., touched) {
            log::debug!(target: "incremental", "{job}: nobody knows what it was made of");
        }
    }

    /// Of the watched files that `rule` takes. None: not known yet.
    pub fn sum(&self, rule: RuleId) -> Option<Sum> {
        self.sums.as_ref()?.get(rule.0).copied()
    }

    /// The command of `rule` begins.
    pub fn begun(&mut self, job: JobId, rule: RuleId, basis: Basis) {
        // What it left before may be kept as long as it is there; what it did elsewhere is about to be done anew.
        let has_left = |run: &Run| {
            run.made
                .as_ref()
                .is_some_and(|made| made.digest().is_some())
        };
        self.runs
            .retain(|_, run| run.rule != rule || (run.heard.is_some() && has_left(run)));
        let run = Run {
            rule,
            basis,
            made: None,
            heard: None,
            confirmed: false,
        };
        self.runs.insert(job, run);
    }

    /// The command did not succeed.
    pub fn failed(&mut self, job: JobId) {
        self.runs.remove(&job);
    }

    /// The command has succeeded, and left this.
    pub fn made(&mut self, job: JobId, made: Written) {
        if let Some(run) = self.runs.get_mut(&job) {
            run.made = Some(made);
        }
    }

    /// The kernel has told of everything that had happened when the command ended: what it tells after `at` came later.
    pub fn heard(&mut self, job: JobId, at: Instant) {
        if let Some(run) = self.runs.get_mut(&job)
            && let Some(sums) = &self.sums
        {
            run.heard = sums.get(run.rule.0).map(|sum| (at, *sum));
        }
    }

    /// Everything that had happened when the command ended has been reported.
    pub fn confirmed(&mut self, job: JobId) {
        if let Some(run) = self.runs.get_mut(&job) {
            run.confirmed = true;
        }
    }

    /// The successes that have become certain.
    pub fn proven(&mut self) -> Vec<Proven> {
        let Some(sums) = &self.sums else {
            return Vec::new();
        };
        let is_certain = |_: &JobId, run: &mut Run| run.confirmed && run.made.is_some();
        let certain = self.runs.extract_if(.., is_certain);
        certain
            .filter_map(|(_, run)| {
                let now = sums.get(run.rule.0).copied();
                let sum = run.heard.map(|(_, sum)| sum).or(now)?;
                Some(Proven {
                    rule: run.rule,
                    key: run.basis.key(sum),
                    made: run.made?,
                })
            })
            .collect()
    }

    /// Whether a success waits to become certain.
    pub fn awaits(&self) -> bool {
        self.runs.values().any(|run| run.made.is_some())
    }

    /// The rules and the groups are others from here on.
    pub fn forget(&mut self) {
        *self = Ledger::default();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BUILD: RuleId = RuleId(0);
    const LINT: RuleId = RuleId(1);
    const JOB: JobId = JobId(7);

    fn basis(fed: u128) -> Basis {
        Basis {
            recipe: Recipe(1),
            fed,
        }
    }

    fn sums(build: u128, lint: u128) -> Vec<Sum> {
        vec![Sum(build), Sum(lint)]
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "an origin; only the order counts"
    )]
    fn now() -> Instant {
        Instant::now()
    }

    /// One run of the build, with whatever happens `during` it and `after` it before it is confirmed.
    fn run(during: impl FnOnce(&mut Ledger), after: impl FnOnce(&mut Ledger)) -> Vec<Proven> {
        let mut ledger = Ledger::default();
        ledger.read(sums(5, 6));
        ledger.begun(JOB, BUILD, basis(2));
        during(&mut ledger);
        ledger.made(JOB, Written::default());
        assert!(ledger.proven().is_empty(), "not before it is confirmed");
        after(&mut ledger);
        ledger.confirmed(JOB);
        let proven = ledger.proven();
        assert!(ledger.proven().is_empty(), "told once");
        proven
    }

    #[test]
    fn an_undisturbed_success_is_certain() {
        let proven = run(|_| (), |_| ());
        assert_eq!(proven.len(), 1);
        assert_eq!(proven[0].key, basis(2).key(Sum(5)));
        assert_eq!(proven[0].rule, BUILD);
    }

    #[test]
    fn nobody_knows_what_a_disturbed_one_was_made_of() {
        let disturbances: [fn(&mut Ledger); 4] = [
            |ledger| ledger.touched(BUILD, now()),
            |ledger| ledger.read(sums(9, 6)),
            |ledger| ledger.begun(JobId(8), BUILD, basis(2)),
            Ledger::forget,
        ];
        for (which, disturb) in disturbances.into_iter().enumerate() {
            assert_eq!(run(disturb, |_| ()), [], "{which} during it");
            assert_eq!(run(|_| (), disturb), [], "{which} after it");
        }
        assert_eq!(run(|ledger| ledger.failed(JOB), |_| ()), []);
    }

    #[test]
    fn what_happens_after_its_end_is_none_of_its_business() {
        let then = now();
        let later = |ledger: &mut Ledger| {
            ledger.heard(JOB, then);
            ledger.changed(Some(sums(9, 6)));
            ledger.touched(BUILD, then + Duration::from_nanos(1));
            ledger.read(sums(10, 6));
        };
        let proven = run(|_| (), later);
        assert_eq!(
            proven[0].key,
            basis(2).key(Sum(5)),
            "of what was there then"
        );
        let told_late = |ledger: &mut Ledger| {
            ledger.heard(JOB, then);
            ledger.touched(BUILD, then);
        };
        assert_eq!(run(|_| (), told_late), []);
    }

    #[test]
    fn what_concerns_others_disturbs_nobody() {
        let elsewhere = |ledger: &mut Ledger| {
            ledger.changed(Some(sums(5, 9)));
            ledger.touched(LINT, now());
            ledger.read(sums(5, 10));
            ledger.begun(JobId(8), LINT, basis(3));
            ledger.failed(JobId(8));
        };
        assert_eq!(run(elsewhere, elsewhere).len(), 1);
    }

    #[test]
    fn a_success_from_before_all_was_read_becomes_certain_with_the_reading() {
        let mut ledger = Ledger::default();
        ledger.begun(JOB, BUILD, basis(2));
        ledger.made(JOB, Written::default());
        ledger.confirmed(JOB);
        assert!(ledger.awaits());
        assert_eq!(ledger.proven(), []);
        ledger.read(sums(5, 6));
        assert_eq!(ledger.proven()[0].key, basis(2).key(Sum(5)));
        assert!(!ledger.awaits());
    }

    #[test]
    fn each_part_of_the_key_counts() {
        let keys = [
            basis(2).key(Sum(5)),
            basis(3).key(Sum(5)),
            basis(2).key(Sum(6)),
            Basis {
                recipe: Recipe(2),
                fed: 2,
            }
            .key(Sum(5)),
        ];
        for (place, key) in keys.iter().enumerate() {
            assert!(!keys[..place].contains(key));
        }
    }
}
