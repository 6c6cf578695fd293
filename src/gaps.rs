//! Times in which devwatch did not run: it was stopped and goes on, or the machine slept and wakes.
//!
//! The kernel keeps events for a stopped process, but not without end, and nobody says what other machines wrote
//! meanwhile. So whoever watches is told to compare. Nothing here wakes while nothing happens.

use std::thread;

use anyhow::{Context as _, Result};
use signal_hook::consts::SIGCONT;
use signal_hook::iterator::Signals;

/// Calls `tell` after each gap.
///
/// # Errors
/// The signal cannot be handled.
pub fn listen(tell: impl Fn() + Clone + Send + 'static) -> Result<()> {
    let mut signals = Signals::new([SIGCONT]).context("cannot listen to signals")?;
    let after_sleep = tell.clone();
    thread::Builder::new()
        .name("continued".to_owned())
        .spawn(move || signals.forever().for_each(|_| tell()))?;
    thread::Builder::new()
        .name("slept".to_owned())
        .spawn(move || watch_the_clock(after_sleep))?;
    Ok(())
}

/// A timer on wall-clock time that is cancelled when that time jumps: after a sleep, and when somebody sets the clock,
/// which does no harm here.
#[cfg(target_os = "linux")]
fn watch_the_clock(tell: impl Fn()) {
    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

    /// In the year 2200, in seconds since 1970: never.
    const NEVER: i64 = 7_258_118_400;
    let Ok(timer) = TimerFd::new(ClockId::CLOCK_REALTIME, TimerFlags::TFD_CLOEXEC) else {
        return;
    };
    let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
    loop {
        let never = Expiration::OneShot(TimeSpec::new(NEVER, 0));
        // The wait ends when it is cancelled: it cannot run out.
        if timer.set(never, flags).is_err() || timer.wait().is_err() {
            return;
        }
        tell();
    }
}

/// Elsewhere nobody tells: only a process that was stopped is noticed.
#[cfg(not(target_os = "linux"))]
fn watch_the_clock(_tell: impl Fn()) {}
