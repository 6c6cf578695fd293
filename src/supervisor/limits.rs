//! How long things may take, where the config does not say it.

use std::time::Duration;

/// How long a cancelled build may take to end.
pub(super) const CANCEL_GRACE: Duration = Duration::from_secs(2);
/// The default of `stop.timeout`, for a server that the new config no longer has.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long something that was killed may take to be gone. Longer means uninterruptible: waiting is no use.
pub(super) const KILL_WAIT: Duration = Duration::from_secs(2);
/// How long it may take to execute a program, retries on a busy file or a full process table included.
pub(super) const SPAWN_LIMIT: Duration = Duration::from_secs(5);
/// How long a server is given that is known to listen nowhere.
pub(super) const SILENT_WAIT: Duration = Duration::from_millis(300);
/// A server that was ready for this long is not in a crash loop.
pub(super) const STABLE_AFTER: Duration = Duration::from_secs(2);
/// Crash loop: 0.1 s doubling to 5 s; five exits within 10 s wait for a change.
pub(super) const FIRST_DELAY: Duration = Duration::from_millis(100);
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(5);
pub(super) const CRASH_WINDOW: Duration = Duration::from_secs(10);
pub(super) const MOST_CRASHES: usize = 5;
