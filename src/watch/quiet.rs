//! When a burst of saves is over. Pure: `now` is an argument, it reads no file and asks for no time.
//!
//! One window is everything from the first sign of a change to its flush. A save that is complete (closed after
//! writing, or moved into place) needs only [`SETTLED`] of quiet. What looks unfinished (a file open for writing,
//! a file that was there and is gone, one that was never there, one that is suddenly empty) and a crowd of paths
//! need more, up to the cap.
//! Nothing is ever forgotten here: a path stays in the window until [`Quiet::flushed`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Quiet that a finished save needs. In the recorded saves of vim (all backup modes), emacs, VS Code, JetBrains,
/// sed, perl, rsync and git nothing follows the close of a file but its own ATTRIB and the removal of a backup,
/// within 1 ms; what does come late (a rename dance, at most 6.3 ms) shows as unfinished and waits for the cap.
/// 2 ms is twice that and still hidden beside the start of any build.
pub const SETTLED: Duration = Duration::from_millis(2);

/// How often to look again while git holds its lock, and for how long in one window: git checks out tens of
/// thousands of files in that time, and a lock that a killed git left behind must not hold devwatch for ever.
const LOCK_STEP: Duration = Duration::from_millis(10);
const LOCK_LIMIT: Duration = Duration::from_secs(5);

/// What an event says about a path that may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A known file, closed after writing or moved into place.
    Finished,
    /// Created or written, and not closed yet.
    Open,
    /// Complete, but never seen before: many editors write a temporary file and rename it a moment later.
    New,
    /// It was there and is gone; editors that rename the old file away bring a new one at once.
    Gone,
}

/// The adaptive quiet time of one watcher.
#[derive(Debug)]
pub struct Quiet {
    cap: Duration,
    max_wait: Duration,
    paths: HashMap<PathBuf, Sign>,
    unfinished: usize,
    window: Option<Window>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    first_at: Instant,
    /// The last sign of a path that was new in this window.
    fresh_at: Instant,
    /// The last sign of a path that was already in it.
    repeat_at: Instant,
    /// Not before this, because of an empty file; granted once.
    empty_until: Option<Instant>,
    lock: Option<Lock>,
}

impl Window {
    fn new(at: Instant) -> Window {
        Window {
            first_at: at,
            fresh_at: at,
            repeat_at: at,
            empty_until: None,
            lock: None,
        }
    }
}

/// git's lock, once it was seen in a window.
#[derive(Clone, Copy, Debug)]
struct Lock {
    since: Instant,
    until: Instant,
    released: bool,
}

impl Quiet {
    /// `cap`: the longest quiet time asked for (`debounce`); zero means that nothing ever waits.
    /// `max_wait`: the flush comes at most this long after the first sign; only git's lock may exceed it.
    pub fn new(cap: Duration, max_wait: Duration) -> Quiet {
        Quiet {
            cap,
            max_wait: max_wait.max(cap),
            paths: HashMap::new(),
            unfinished: 0,
            window: None,
        }
    }

    /// A sign of a change of `path`, at `at`.
    pub fn seen(&mut self, at: Instant, path: &Path, sign: Sign) {
        let known = match self.paths.get_mut(path) {
            Some(state) => {
                self.unfinished -= usize::from(*state != Sign::Finished);
                *state = sign;
                true
            }
            None => {
                self.paths.insert(path.to_owned(), sign);
                false
            }
        };
        self.unfinished += usize::from(sign != Sign::Finished);
        match &mut self.window {
            None => self.window = Some(Window::new(at)),
            Some(window) if known => window.repeat_at = window.repeat_at.max(at),
            Some(window) => window.fresh_at = window.fresh_at.max(at),
        }
    }

    /// `path` came and went: a temporary file, which asks for no patience.
    pub fn passed(&mut self, at: Instant, path: &Path) {
        if let Some(sign) = self.paths.remove(path) {
            self.unfinished -= usize::from(sign != Sign::Finished);
        }
        self.window.get_or_insert(Window::new(at));
    }

    /// When to flush; `None` while nothing is pending.
    pub fn due(&self) -> Option<Instant> {
        let window = self.window?;
        let patience = self.patience();
        // A file that is written all the time may not hold up the others: its repeats count only as far as two caps.
        let repeats = (window.repeat_at + patience).min(window.first_at + 2 * self.cap);
        let settled = (window.fresh_at + patience).max(repeats);
        let settled = window
            .empty_until
            .map_or(settled, |until| settled.max(until));
        let bounded = settled.min(window.first_at + self.max_wait);
        Some(window.lock.map_or(bounded, |lock| bounded.max(lock.until)))
    }

    /// When the first sign of this window came.
    pub fn first_at(&self) -> Option<Instant> {
        self.window.map(|window| window.first_at)
    }

    /// A file is empty that was not: probably its writer has truncated it and not yet written.
    /// Grants one more quiet time per window; `false` if that was granted before, or `max_wait` is over.
    pub fn wait_for_content(&mut self, now: Instant) -> bool {
        let Some(window) = &mut self.window else {
            return false;
        };
        let until = now + self.cap;
        if window.empty_until.is_some()
            || self.cap.is_zero()
            || now >= window.first_at + self.max_wait
        {
            return false;
        }
        window.empty_until = Some(until);
        true
    }

    /// Whether git makes the flush wait: while it is at work, at most five seconds, and one cap after that, because
    /// its next process may be about to begin.
    pub fn wait_for_git(&mut self, now: Instant, held: bool) -> bool {
        let Some(window) = &mut self.window else {
            return false;
        };
        if self.cap.is_zero() {
            return false;
        }
        let lock = match &mut window.lock {
            Some(lock) => lock,
            None if held => window.lock.insert(Lock {
                since: now,
                until: now,
                released: false,
            }),
            None => return false,
        };
        if now >= lock.since + LOCK_LIMIT || lock.released && !held {
            return false;
        }
        lock.released = !held;
        lock.until = now + if held { LOCK_STEP } else { self.cap };
        true
    }

    /// Everything was judged; the next sign opens a new window.
    pub fn flushed(&mut self) {
        // A storm may have left room for a hundred thousand paths.
        self.paths = HashMap::new();
        self.unfinished = 0;
        self.window = None;
    }

    /// The quiet asked for now: the cap for anything unfinished, else doubling with each further path.
    fn patience(&self) -> Duration {
        if self.unfinished > 0 {
            return self.cap;
        }
        let doublings = self.paths.len().saturating_sub(1).min(16) as u32;
        (SETTLED * 2_u32.pow(doublings)).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAP: u64 = 30;
    const MAX: u64 = 1000;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[expect(clippy::disallowed_methods, reason = "an origin for the fake clock")]
    fn origin() -> Instant {
        Instant::now()
    }

    /// Feeds (at, path, sign) and gives the due time, all in milliseconds.
    fn due(cap: u64, signs: &[(u64, &str, Sign)]) -> u64 {
        let t0 = origin();
        let mut quiet = Quiet::new(ms(cap), ms(MAX));
        for (at, path, sign) in signs {
            quiet.seen(t0 + ms(*at), Path::new(path), *sign);
        }
        (quiet.due().expect("something is pending") - t0).as_millis() as u64
    }

    #[test]
    fn recorded_saves_settle_soon_after_their_last_event() {
        use Sign::{Finished, Gone, New, Open};
        for (name, signs, expected) in [
            (
                "truncate and write",
                vec![(0, "f", Open), (1, "f", Open), (1, "f", Finished)],
                3,
            ),
            (
                "vim, renaming",
                vec![(0, "f", Gone), (1, "f", Open), (1, "f", Finished)],
                3,
            ),
            (
                "vim, interrupted after the rename",
                vec![(0, "f", Gone)],
                30,
            ),
            ("still open", vec![(0, "f", Open)], 30),
            (
                "written for a while",
                vec![(0, "f", Open), (20, "f", Open), (40, "f", Open)],
                60,
            ),
            ("two files", vec![(0, "f", Finished), (2, "g", Finished)], 6),
            (
                "three files",
                vec![(0, "f", Finished), (2, "g", Finished), (3, "h", Finished)],
                11,
            ),
            (
                "one of two still open",
                vec![(0, "f", Finished), (2, "g", Open)],
                32,
            ),
            ("deleted", vec![(0, "f", Gone)], 30),
            ("new", vec![(0, "f", Open), (1, "f", New)], 31),
        ] {
            assert_eq!(due(CAP, &signs), expected, "{name}");
        }
    }

    #[test]
    fn a_temporary_that_was_moved_away_asks_for_no_patience() {
        let t0 = origin();
        let mut quiet = Quiet::new(ms(CAP), ms(MAX));
        quiet.seen(t0, Path::new("sedAb3"), Sign::Open);
        quiet.seen(t0, Path::new("sedAb3"), Sign::Finished);
        quiet.passed(t0, Path::new("sedAb3"));
        assert_eq!(quiet.due(), Some(t0 + SETTLED));
        quiet.seen(t0 + ms(1), Path::new("f"), Sign::Finished);
        assert_eq!(quiet.due(), Some(t0 + ms(1) + SETTLED));
    }

    #[test]
    fn zero_means_at_once() {
        assert_eq!(due(0, &[(0, "f", Sign::Open)]), 0);
        assert_eq!(due(0, &[(0, "f", Sign::Open), (7, "g", Sign::Gone)]), 7);
        let mut quiet = Quiet::new(ms(0), ms(MAX));
        quiet.seen(origin(), Path::new("f"), Sign::Open);
        assert!(!quiet.wait_for_content(origin()) && !quiet.wait_for_git(origin(), true));
    }

    #[test]
    fn an_empty_file_waits_one_more_quiet_time_and_only_one() {
        let t0 = origin();
        let mut quiet = Quiet::new(ms(CAP), ms(MAX));
        quiet.seen(t0, Path::new("f"), Sign::Finished);
        assert!(quiet.wait_for_content(t0 + ms(3)));
        assert_eq!(quiet.due(), Some(t0 + ms(33)));
        assert!(!quiet.wait_for_content(t0 + ms(33)));
        quiet.flushed();
        assert_eq!(quiet.due(), None);
        quiet.seen(t0 + ms(50), Path::new("f"), Sign::Finished);
        assert!(
            quiet.wait_for_content(t0 + ms(53)),
            "a new window is patient again"
        );
    }

    #[test]
    fn git_holds_the_flush_beyond_max_wait_but_not_for_ever() {
        let t0 = origin();
        let mut quiet = Quiet::new(ms(CAP), ms(MAX));
        quiet.seen(t0, Path::new("f"), Sign::Finished);
        let mut now = quiet.due().expect("pending");
        while quiet.wait_for_git(now, true) {
            let next = quiet.due().expect("pending");
            assert!(next > now);
            now = next;
        }
        assert_eq!(now, t0 + SETTLED + LOCK_LIMIT);
    }

    #[test]
    fn once_git_has_released_its_lock_the_last_events_get_one_quiet_time() {
        let t0 = origin();
        let mut quiet = Quiet::new(ms(CAP), ms(MAX));
        quiet.seen(t0, Path::new("f"), Sign::Finished);
        assert!(!quiet.wait_for_git(t0 + ms(3), false), "git is not at work");
        assert!(quiet.wait_for_git(t0 + ms(3), true));
        quiet.seen(t0 + ms(10), Path::new("g"), Sign::Gone);
        assert!(quiet.wait_for_git(t0 + ms(40), false));
        assert_eq!(quiet.due(), Some(t0 + ms(40 + CAP)));
        assert!(!quiet.wait_for_git(t0 + ms(70), false));
    }

    #[test]
    fn a_log_written_all_the_time_delays_no_other_save_beyond_two_caps() {
        for save_at in 0..100 {
            let t0 = origin();
            let mut quiet = Quiet::new(ms(CAP), ms(MAX));
            let mut saved_in_window = false;
            for now in 0..400 {
                let at = t0 + ms(now);
                if quiet.due().is_some_and(|due| due <= at) {
                    if saved_in_window {
                        assert!(
                            now <= save_at + 2 * CAP,
                            "saved at {save_at}, flushed at {now}"
                        );
                        break;
                    }
                    quiet.flushed();
                }
                if now % 2 == 0 {
                    quiet.seen(at, Path::new("log"), Sign::Open);
                }
                if now == save_at {
                    quiet.seen(at, Path::new("f"), Sign::Finished);
                    saved_in_window = true;
                }
                assert!(now < 399, "never flushed");
            }
        }
    }

    proptest! {
        #[test]
        fn every_window_ends_by_max_wait_and_holds_every_path(
            cap in 0_u64..60,
            steps in prop::collection::vec((0_u64..40, 0_u8..6, 0_u8..4), 1..200),
        ) {
            let t0 = origin();
            let mut quiet = Quiet::new(ms(cap), ms(200));
            let mut now = t0;
            let mut pending: Option<Instant> = None;
            for (pause, path, what) in steps {
                let next = now + ms(pause);
                if let Some(due) = quiet.due() {
                    let first = pending.expect("due means pending");
                    prop_assert!(due <= first + ms(200));
                    prop_assert_eq!(quiet.first_at(), Some(first));
                    if due <= next {
                        quiet.flushed();
                        pending = None;
                    }
                } else {
                    prop_assert!(pending.is_none(), "a pending path was lost");
                }
                now = next;
                let name = format!("f{path}");
                let sign = match what { 0 => Sign::Finished, 1 => Sign::Open, 2 => Sign::Gone, _ => {
                    quiet.passed(now, Path::new(&name));
                    pending.get_or_insert(now);
                    continue;
                } };
                quiet.seen(now, Path::new(&name), sign);
                pending.get_or_insert(now);
            }
        }

        #[test]
        fn alone_and_finished_it_never_waits_for_the_cap(at in 0_u64..1000) {
            let t0 = origin();
            let mut quiet = Quiet::new(ms(CAP), ms(MAX));
            quiet.seen(t0 + ms(at), Path::new("f"), Sign::Finished);
            prop_assert_eq!(quiet.due(), Some(t0 + ms(at) + SETTLED));
        }
    }
}
