//! How numbers read on the screen.

use std::collections::VecDeque;
use std::time::Duration;

/// `0.62s`, `1.31s`, `2m05s`: how long something took.
pub(super) fn took(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.2}s", duration.as_secs_f64()),
        _ => lasted(duration),
    }
}

/// `0.8s`, `2m05s`: how long something has been going on.
pub(super) fn so_far(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1}s", duration.as_secs_f64()),
        _ => lasted(duration),
    }
}

/// `86ms`, `1.3s`: something that should be quick.
pub(super) fn quick(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ 0..1000 => format!("{millis}ms"),
        _ => so_far(duration),
    }
}

/// `12s`, `3m12s`, `2h05m`, `3d04h`: how long something has lasted.
pub(super) fn lasted(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// `2 errors`, `1 warning`.
pub(super) fn count(number: usize, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{s}")
}

/// One cell for each of them, as high as it is between the least and the greatest.
pub(super) fn sparkline(values: &VecDeque<Duration>, ascii: bool) -> String {
    let levels = if ascii { LEVELS_ASCII } else { LEVELS };
    let (Some(least), Some(greatest)) = (values.iter().min(), values.iter().max()) else {
        return String::new();
    };
    let range = (*greatest - *least).as_secs_f64();
    let level = |value: &Duration| {
        let height = (*value - *least).as_secs_f64() / range.max(f64::MIN_POSITIVE);
        levels[(height * (levels.len() - 1) as f64).round() as usize]
    };
    values.iter().map(level).collect()
}

const LEVELS: [char; 5] = ['▁', '▂', '▃', '▅', '▇'];
const LEVELS_ASCII: [char; 5] = ['.', ':', '-', '=', '#'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_they_need_to_be() {
        let millis = Duration::from_millis;
        assert_eq!(took(millis(620)), "0.62s");
        assert_eq!(took(millis(59_990)), "59.99s");
        assert_eq!(took(millis(125_000)), "2m05s");
        assert_eq!(so_far(millis(840)), "0.8s");
        assert_eq!(quick(millis(86)), "86ms");
        assert_eq!(quick(millis(1300)), "1.3s");
        assert_eq!(lasted(millis(12_900)), "12s");
        assert_eq!(lasted(millis(192_000)), "3m12s");
        assert_eq!(lasted(Duration::from_secs(7500)), "2h05m");
        assert_eq!(lasted(Duration::from_secs(3 * 86400 + 4 * 3600)), "3d04h");
        assert_eq!(count(1, "error"), "1 error");
        assert_eq!(count(2, "warning"), "2 warnings");
    }

    #[test]
    fn a_sparkline_reaches_from_the_least_to_the_greatest() {
        let of = |values: &[u64]| values.iter().map(|ms| Duration::from_millis(*ms)).collect();
        assert_eq!(sparkline(&of(&[]), false), "");
        assert_eq!(sparkline(&of(&[5]), false), "▁");
        assert_eq!(sparkline(&of(&[10, 20, 30, 40, 50]), false), "▁▂▃▅▇");
        assert_eq!(sparkline(&of(&[10, 20, 30, 40, 50]), true), ".:-=#");
    }
}
