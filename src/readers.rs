//! Who reads which files at this moment, and what follows if they change meanwhile. Pure; the performer feeds it.
//!
//! A file that is what it was when it was last reported is no change. But whoever ran meanwhile may have read what it was
//! in between (there and back again, or gone for a moment), and what it made of that would stay for ever. So a rule that
//! ran meanwhile counts the file as changed.
//!
//! A rule that writes a file which it takes would run for ever. One that writes the same content each time is known
//! after a few turns, and such writes of its own are passed over. One that writes another content each time cannot be told
//! from somebody who saves while it runs: only when that has happened in several runs in a row, each of which went to its
//! end, is it stopped, until something else happens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::supervisor::generation::JobId;
use crate::supervisor::plan::RuleId;

/// Turns in a row that one file may cause one rule to run without ever having changed; and runs in a row, each to its end, in
/// which it may change.
const TURNS: u32 = 4;

/// Runs in a row that are cancelled because the same file has changed. Then one goes to its end, to see whether the file
/// changes by itself: people save as often as this while a slow build runs, and pay with one wait.
const CANCELS: u32 = 8;

/// Who reads what, and what they may have misread.
#[derive(Debug, Default)]
pub struct Readers {
    /// Until everything has been reported that happened while it read.
    reading: BTreeMap<(JobId, RuleId), Reading>,
    /// How often a file was something else for a while during a run of a rule.
    stirs: BTreeMap<(RuleId, PathBuf), u32>,
    /// How often a file changed during a run of a rule.
    changes: BTreeMap<(RuleId, PathBuf), Changes>,
}

#[derive(Debug)]
struct Reading {
    begun_at: Instant,
    /// It reads no more.
    over: bool,
    /// What the kernel tells later than this happened later.
    heard_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Changes {
    /// Runs that were still going on, and were cancelled.
    cancelled: u32,
    /// Runs that went to their end.
    ended: u32,
    /// The last one in which it changed.
    job: Option<JobId>,
    /// The last one of those that went to their end.
    ended_job: Option<JobId>,
}

/// What a file that was stirred means to a rule that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misread {
    /// It did not run meanwhile, or is known to write the file itself.
    No,
    /// It has to run again.
    Yes,
    /// From here on it is taken to write the file itself: said once.
    ItsOwn,
}

/// What a file that has changed means to a rule that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It has to run again, at once.
    Now,
    /// Its run goes to its end first; then it is asked again.
    AfterRun,
    /// Its own runs change the file: it does not run again for that.
    Never,
}

impl Readers {
    /// `job` reads what `rule` takes from here on.
    pub fn begun(&mut self, job: JobId, rule: RuleId, at: Instant) {
        let reading = Reading {
            begun_at: at,
            over: false,
            heard_at: None,
        };
        self.reading.insert((job, rule), reading);
    }

    /// `job` reads no more. What happened until now may still be reported. Whether that is news of somebody who read.
    pub fn over(&mut self, job: JobId) -> bool {
        let mut its = self
            .reading
            .iter_mut()
            .filter(|((reader, _), reading)| *reader == job && !reading.over)
            .peekable();
        let is_news = its.peek().is_some();
        its.for_each(|(_, reading)| reading.over = true);
        is_news
    }

    /// The kernel has told of everything that had happened while `job` read. What it tells after `at` came later.
    pub fn heard(&mut self, job: JobId, at: Instant) {
        let its = self.reading.iter_mut();
        let its = its.filter(|((reader, _), _)| *reader == job);
        its.for_each(|(_, reading)| reading.heard_at = Some(at));
    }

    /// Everything that had happened until then was reported.
    pub fn ended(&mut self, job: JobId) {
        let ended = self.reading.extract_if(.., |(reader, _), _| *reader == job);
        for ((_, rule), _) in ended {
            // Only what changes in one run after the other is counted.
            self.changes
                .retain(|(other, _), changes| *other != rule || changes.job >= Some(job));
        }
    }

    /// Whether `job` has read for `rule`, and does no more.
    pub fn is_over(&self, job: JobId, rule: RuleId) -> bool {
        let reading = self.reading.get(&(job, rule));
        reading.is_none_or(|reading| reading.over)
    }

    /// Whether anybody reads at all, so that it is worth asking who takes what.
    pub fn anybody(&self) -> bool {
        !self.reading.is_empty()
    }

    /// `path`, which `rule` takes, has changed; the kernel told of it first at `since`.
    pub fn changed(&mut self, rule: RuleId, path: &Path, since: Instant) -> Turn {
        // Whatever it did without a change, it did not do for nothing.
        self.stirs
            .retain(|(other, _), turns| *other != rule || *turns > TURNS);
        let mut readers = self
            .reading
            .iter_mut()
            .filter(|((_, its), reading)| *its == rule && reading.concerns(since));
        let Some(((job, _), reading)) = readers.next_back() else {
            self.changes.retain(|(other, _), _| *other != rule);
            return Turn::Now;
        };
        if reading.over && reading.heard_at.is_none() {
            // It may as well have changed after the run.
            return Turn::Now;
        }
        let (job, over) = (*job, reading.over);
        if over {
            return self.changed_in_run(rule, path, job);
        }
        let changes = self.changes.entry((rule, path.to_owned())).or_default();
        changes.cancelled += u32::from(changes.job.replace(job) != Some(job));
        match changes.cancelled {
            CANCELS.. => Turn::AfterRun,
            _ => Turn::Now,
        }
    }

    /// `path`, which `rule` takes, has changed during `job`, which has come to its end.
    pub fn changed_in_run(&mut self, rule: RuleId, path: &Path, job: JobId) -> Turn {
        let changes = self.changes.entry((rule, path.to_owned())).or_default();
        changes.job = Some(job);
        changes.ended += u32::from(changes.ended_job.replace(job) != Some(job));
        match changes.ended {
            TURNS.. => Turn::Never,
            _ => Turn::Now,
        }
    }

    /// `path`, which `rule` takes, was something else for a while, of which the kernel told first at `since` and last at
    /// `until`, and is what it was.
    pub fn misread(
        &mut self,
        rule: RuleId,
        path: &Path,
        since: Instant,
        until: Instant,
    ) -> Misread {
        let mut readers = self.reading.iter().filter(|((_, its), _)| *its == rule);
        if !readers.any(|(_, reading)| reading.concerns(since) && until >= reading.begun_at) {
            return Misread::No;
        }
        let turns = self.stirs.entry((rule, path.to_owned())).or_default();
        *turns = turns.saturating_add(1);
        match *turns {
            ..=TURNS => Misread::Yes,
            turns if turns == TURNS + 1 => Misread::ItsOwn,
            _ => Misread::No,
        }
    }

    /// Somebody wants everything to be built, or the rules are others from here on.
    pub fn forget(&mut self) {
        *self = Readers::default();
    }
}

impl Reading {
    /// Whether what the kernel told first at `since` may have happened while it read.
    fn concerns(&self, since: Instant) -> bool {
        self.heard_at.is_none_or(|at| since <= at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const RULE: RuleId = RuleId(0);

    #[expect(
        clippy::disallowed_methods,
        reason = "an origin; only the order counts"
    )]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn only_who_reads_can_have_misread() {
        let other = RuleId(1);
        let file = Path::new("a");
        let begun = origin();
        let (before, then) = (begun, begun + Duration::from_secs(1));
        let after = then + Duration::from_millis(1);
        let mut readers = Readers::default();
        assert_eq!(readers.misread(RULE, file, before, before), Misread::No);
        assert!(!readers.anybody());
        readers.begun(JobId(7), RULE, begun);
        assert!(readers.anybody());
        assert_eq!(readers.misread(RULE, file, after, after), Misread::Yes);
        assert_eq!(readers.misread(other, file, before, after), Misread::No);
        let earlier = begun - Duration::from_nanos(1);
        assert_eq!(readers.misread(RULE, file, earlier, earlier), Misread::No);
        assert_eq!(readers.misread(RULE, file, earlier, begun), Misread::Yes);
        assert!(readers.over(JobId(7)) && !readers.over(JobId(7)) && !readers.over(JobId(8)));
        assert_eq!(
            readers.misread(RULE, file, after, after),
            Misread::Yes,
            "told late"
        );
        readers.heard(JobId(7), then);
        assert_eq!(readers.misread(RULE, file, after, after), Misread::No);
        assert_eq!(readers.misread(RULE, file, before, before), Misread::Yes);
        readers.ended(JobId(7));
        assert!(!readers.anybody());
        assert_eq!(readers.misread(RULE, file, before, before), Misread::No);
    }

    #[test]
    fn what_a_rule_writes_itself_goes_round_a_few_times_only_and_is_said_once() {
        let now = origin();
        let mut readers = Readers::default();
        readers.begun(JobId(7), RULE, now);
        let mut turn = |path: &str| readers.misread(RULE, Path::new(path), now, now);
        for _ in 0..TURNS {
            assert_eq!(turn("gen.go"), Misread::Yes);
        }
        assert_eq!(turn("gen.go"), Misread::ItsOwn);
        assert_eq!(turn("gen.go"), Misread::No);
        assert_eq!(turn("main.go"), Misread::Yes);
        // A change of another file begins the counting anew, and does not forget what was found out.
        readers.changed(RULE, Path::new("other.go"), now);
        let mut turn = |path: &str| readers.misread(RULE, Path::new(path), now, now);
        assert_eq!(turn("gen.go"), Misread::No);
        for _ in 0..TURNS {
            assert_eq!(turn("main.go"), Misread::Yes);
        }
    }

    /// Who saves the moment a build is done is not taken for the build.
    #[test]
    fn what_happened_after_a_run_is_none_of_its_doing_however_soon() {
        let mut readers = Readers::default();
        for number in 0..50 {
            let job = JobId(number);
            readers.begun(job, RULE, origin());
            readers.over(job);
            let heard = origin();
            readers.heard(job, heard);
            let since = heard + Duration::from_nanos(1);
            assert_eq!(
                readers.changed(RULE, Path::new("main.go"), since),
                Turn::Now
            );
            readers.ended(job);
        }
    }

    /// Run `number` of the rule, in which `path` changes: while it goes on, or is only told of when it is over.
    fn run(readers: &mut Readers, number: u64, path: &str, late: bool) -> Turn {
        let job = JobId(number);
        readers.begun(job, RULE, origin());
        let now = origin();
        let during = (!late).then(|| readers.changed(RULE, Path::new(path), now));
        readers.over(job);
        let turn = match during {
            Some(Turn::Now) => Turn::Now,
            Some(Turn::AfterRun) => readers.changed_in_run(RULE, Path::new(path), job),
            Some(Turn::Never) => panic!("before it was over"),
            None => {
                let unknown = readers.changed(RULE, Path::new(path), now);
                assert_eq!(unknown, Turn::Now, "it may have been later");
                readers.heard(job, now);
                readers.changed(RULE, Path::new(path), now)
            }
        };
        readers.ended(job);
        turn
    }

    #[test]
    fn a_rule_that_changes_its_input_at_each_end_is_stopped_after_a_few_turns() {
        let mut readers = Readers::default();
        for number in 1..u64::from(TURNS) {
            assert_eq!(
                run(&mut readers, number, "stamp.go", true),
                Turn::Now,
                "{number}"
            );
        }
        assert_eq!(run(&mut readers, 90, "stamp.go", true), Turn::Never);
        assert_eq!(
            run(&mut readers, 91, "main.go", true),
            Turn::Now,
            "another file"
        );
    }

    #[test]
    fn one_that_cancels_itself_is_let_run_to_its_end_and_then_stopped() {
        let mut readers = Readers::default();
        let turns: Vec<Turn> = (0..20)
            .map(|number| run(&mut readers, number, "stamp.go", false))
            .take_while(|turn| *turn != Turn::Never)
            .collect();
        assert_eq!(turns.len() as u32, CANCELS - 1 + TURNS - 1);
    }

    /// Somebody saves all the time, and then pauses once.
    #[test]
    fn a_run_without_a_change_or_a_change_without_a_run_begins_the_counting_anew() {
        let pauses: [fn(&mut Readers); 2] = [
            |readers| {
                readers.begun(JobId(80), RULE, origin());
                readers.over(JobId(80));
                readers.ended(JobId(80));
            },
            |readers| {
                let turn = readers.changed(RULE, Path::new("main.go"), origin());
                assert_eq!(turn, Turn::Now);
            },
        ];
        for pause in pauses {
            let mut readers = Readers::default();
            for number in 1..50 {
                assert_eq!(
                    run(&mut readers, number, "main.go", number % 2 == 0),
                    Turn::Now
                );
                if number % 3 == 0 {
                    pause(&mut readers);
                }
            }
        }
    }
}
