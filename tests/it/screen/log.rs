//! The log while lines arrive, and keys while nothing else moves.

use std::time::{Duration, Instant};

use super::{Seen, Sitting, api, simple};
use crate::project::{PATIENCE, eventually, peak_memory};

/// The promise of a key: it is answered within this time, whatever goes on.
const AT_ONCE: Duration = Duration::from_secs(1);

#[test]
fn a_search_and_a_filter_stay_right_while_lines_arrive() {
    let mut sitting = counting();
    sitting.shows("line 30");
    sitting.press("\\7$\r");
    let numbers = |seen: &Seen| -> Vec<usize> {
        let rows = seen.rows.iter();
        let rows = rows.filter_map(|row| row.strip_prefix("line "));
        rows.filter_map(|number| number.parse().ok()).collect()
    };
    let is_right = |seen: &Seen| {
        let numbers = numbers(seen);
        let steps = numbers.windows(2).all(|two| two[1] == two[0] + 10);
        steps && numbers.iter().all(|number| number % 10 == 7)
    };
    let first = sitting.until("two that match", |seen| {
        seen.row(2).contains("filter /7$/") && numbers(seen).len() >= 2
    });
    assert!(is_right(&first), "{:?}", first.rows);
    let before = numbers(&first).len();
    let later = sitting.until("more of them", |seen| numbers(seen).len() > before + 2);
    assert!(is_right(&later), "{:?}", later.rows);
    sitting.press("\x1b");
    sitting.until("all of it", |seen| {
        numbers(seen).windows(2).all(|two| two[1] == two[0] + 1) && numbers(seen).len() > 10
    });
    // A search stays where it is while lines arrive.
    sitting.press("/line 7$\r");
    let count = |seen: &Seen| seen.row(2).contains("search /line 7$/ 1");
    let seen = sitting.until("the one match", |seen| {
        count(seen) && numbers(seen).contains(&7) && seen.row(2).contains("↓")
    });
    let first_row = seen.row(4).to_owned();
    let seen = sitting.until("more new ones", |later| {
        later.row(2).contains("new") && later.row(2) != seen.row(2)
    });
    assert_eq!(seen.row(4), first_row);
    sitting.quit();
}

#[test]
fn whoever_reads_is_left_alone_and_told_how_much_is_new() {
    let mut sitting = counting();
    sitting.shows("line 40");
    sitting.press("g");
    let seen = sitting.until("the first line", |seen| {
        seen.row(4) == "line 1"
            && seen.row(2).contains("scrolled ↓")
            && seen.row(2).ends_with(" new")
    });
    let new = |seen: &Seen| -> usize {
        let number = super::capture(r"↓(\d+) new", seen.row(2));
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let before = new(&seen);
    let later = sitting.until("more of them", |later| new(later) > before + 5);
    assert_eq!(later.row(4), "line 1");
    sitting.press("f");
    sitting.until("it follows", |seen| seen.row(2).ends_with("follow"));
    // What is cleared is gone, and what comes is seen.
    sitting.press("c");
    sitting.until("little is left", |seen| {
        let lines = seen.rows.iter().filter(|row| row.starts_with("line "));
        (1..12).contains(&lines.count()) && !seen.row(4).is_empty()
    });
    sitting.quit();
}

/// A server that counts, slowly enough to watch, and never ends.
fn counting() -> Sitting {
    let project = api("ready = { log = \"line 1$\" }", "");
    project.write(
        "api/source.sh",
        "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done\n",
    );
    Sitting::serving(project)
}

#[test]
fn a_key_is_answered_while_a_build_hangs() {
    let mut sitting = Sitting::serving(simple());
    sitting.write("hold", "");
    let source = sitting.project.read("api/source.sh");
    sitting.write("api/source.sh", &format!("{source}# two\n"));
    sitting.state("BUILDING");
    answers_at_once(&mut sitting);
    sitting.project.shell("rm hold");
    sitting.until("new code", |seen| {
        seen.is("SERVING") && seen.contains("gen 2 ·")
    });
    sitting.quit();
}

#[test]
fn a_key_is_answered_while_a_server_does_not_stop() {
    let project = api(
        "ready = { log = \"up\" }\nstop = { timeout = \"100s\" }",
        "",
    );
    let stubborn = "trap 'echo not yet' TERM\necho up\nwhile :; do sleep 1000 & wait; done\n";
    project.write("api/source.sh", stubborn);
    let mut sitting = Sitting::serving(project);
    sitting.press("R");
    sitting.until("it is told", |seen| {
        seen.is("COLD RESTART") && seen.contains("not yet")
    });
    answers_at_once(&mut sitting);
    sitting.press("q");
    sitting.state("STOPPING");
    answers_at_once(&mut sitting);
    sitting.press("q");
    sitting.until("an end, or a word", |seen| {
        seen.contains("left with 0") || seen.contains("once more to kill")
    });
    sitting.press("q");
    sitting.shows("left with 0");
}

#[test]
fn a_key_is_answered_while_a_server_floods_and_a_gigabyte_costs_no_memory() {
    let project = api("ready = { log = \"flood\" }", "");
    project.write("api/source.sh", "exec yes 'the flood never ends'\n");
    let mut sitting = Sitting::serving(project);
    let server = sitting.state("SERVING").pid();
    sitting.shows("the flood never ends");
    answers_at_once(&mut sitting);
    let written = || {
        let io = std::fs::read_to_string(format!("/proc/{server}/io")).expect("it floods");
        let bytes = io.lines().find_map(|line| line.strip_prefix("wchar: "));
        bytes
            .and_then(|bytes| bytes.parse::<u64>().ok())
            .expect("bytes")
    };
    let gigabyte = eventually(3 * PATIENCE, || written() > 1 << 30);
    assert!(gigabyte, "{} bytes of a gigabyte", written());
    answers_at_once(&mut sitting);
    // Both logs hold 16 MiB at most; the rest is devwatch itself.
    let peak = peak_memory(sitting.project.read("api/.devwatch/lock").trim());
    assert!(peak < 64 << 20, "{peak} bytes");
    sitting.quit();
}

/// Several times: once may be luck. The median counts, on a machine that does other things too.
#[track_caller]
fn answers_at_once(sitting: &mut Sitting) {
    let mut took = Vec::new();
    for _ in 0..5 {
        let asked = Instant::now();
        sitting.press("?");
        sitting.shows("─ keys · esc closes");
        took.push(asked.elapsed());
        sitting.press("?");
        sitting.lacks("─ keys · esc closes");
    }
    took.sort();
    assert!(took[2] < AT_ONCE, "{took:?}\n{}", sitting.terminal.story());
}
