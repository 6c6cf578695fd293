//! 6 SHOW. The plain output: what is worth a line, as stable lines that people and editors read.
//!
//! [`lines`] turns a report into such lines and is pure; [`console`](crate::console) writes them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::diagnostics::{Problems, plain_line};
use crate::screen::sanitise::label;
use crate::supervisor::event::{Cause, HotMode, Outcome, Report, RestartKind, Retry, Serving, Who};
use crate::supervisor::generation::GenerationId;
use crate::supervisor::plan::RuleId;

/// What the lines need to know beside the report.
#[derive(Clone)]
pub struct Names<'a> {
    /// Rule names, by place.
    pub rules: Vec<&'a str>,
    /// The server's stop signal.
    pub stop_signal: &'static str,
    /// Where the server answers, once it does.
    pub url: Option<String>,
    /// How many clients the server in question still has, where it has not drained in time.
    pub connections: usize,
    /// The last lines that the server in question printed, oldest first.
    pub last: &'a [String],
    /// What stands at the end of a cycle.
    pub problems: &'a Problems,
    /// Turns an instant into a time of day.
    pub clock: &'a dyn Fn(Instant) -> String,
}

/// A report as plain lines, without the `devwatch: ` in front.
pub fn lines(report: &Report, names: &Names<'_>) -> Vec<String> {
    match report {
        Report::Begin { build, cause } => vec![format!("build {build} begin ({})", because(cause))],
        Report::End {
            build,
            outcome,
            restored,
            took,
            built: _,
            waited: _,
        } => {
            let mut lines = problem_lines(names.problems);
            let end = end(outcome, *took, names);
            lines.push(format!(
                "build {build} end {end}{}",
                cached(restored, names)
            ));
            lines
        }
        Report::Stale { generation, since } => {
            vec![format!(
                "note: gen {generation} still serves, STALE since {}",
                (names.clock)(*since)
            )]
        }
        Report::Paused => {
            vec![
                "note: paused; changes wait until resumed, or until a build is asked for"
                    .to_owned(),
            ]
        }
        Report::Resumed { files: 0 } => vec!["note: resumed; nothing waits".to_owned()],
        Report::Resumed { files } => {
            let noun = if *files == 1 { "file" } else { "files" };
            vec![format!("note: resumed; {files} changed {noun} waited")]
        }
        Report::Stopped {
            generation,
            building,
        } => {
            let what = generation.map_or_else(
                || "the server is not started again".to_owned(),
                |generation| format!("gen {generation} is told to stop"),
            );
            let until = match building {
                true => "it starts when the build succeeds",
                false => "it stays down until something changes or a build is asked for",
            };
            vec![format!("note: {what}; {until}")]
        }
        Report::Down {
            generation,
            exit,
            reason,
            lived,
            retry,
        } => {
            let crashed = !exit.is_some_and(|exit| exit.success());
            let mut line = format!(
                "gen {generation} {}",
                if crashed { "crashed" } else { "exited" }
            );
            if let Some(exit) = exit {
                line += &format!(" exit={exit}");
            }
            line += &format!(" after={}", duration(*lived));
            line += &quoted("reason", reason.as_deref());
            line += &last(names.last.iter().filter(|_| crashed));
            vec![line, format!("note: {}", what_follows(*retry))]
        }
        Report::Interim(serving) => {
            vec![format!(
                "note: gen {} accepts; a newer change is being built",
                serving.generation
            )]
        }
        Report::Draining {
            generation,
            old,
            pid,
            limit,
        } => {
            let pid = pid.map_or_else(String::new, |pid| format!("pid={pid} "));
            let limit = duration(*limit);
            vec![format!(
                "note: gen {generation} accepts, gen {old} drains ({pid}limit={limit})"
            )]
        }
        Report::TookOver { generation, pid } => {
            vec![format!(
                "note: the server handed over by itself: gen {generation} pid={pid} serves"
            )]
        }
        Report::Overdue { who, after } => {
            let name = name_of(*who, names);
            vec![format!(
                "note: {name} still drains after {} (connections={}); sent {}",
                duration(*after),
                names.connections,
                names.stop_signal
            )]
        }
        Report::Killed { who, after } => {
            let signal = match who {
                Who::Server(_) => names.stop_signal,
                Who::Rule(_) => "SIGTERM",
            };
            let name = name_of(*who, names);
            vec![format!(
                "note: {name} ignored {signal} for {}; sent SIGKILL",
                duration(*after)
            )]
        }
        Report::Stuck { who } => {
            let name = name_of(*who, names);
            vec![format!(
                "note: {name} does not die of SIGKILL (uninterruptible); going on without it"
            )]
        }
    }
}

fn name_of(who: Who, names: &Names<'_>) -> String {
    match who {
        Who::Server(generation) => format!("gen {generation}"),
        Who::Rule(rule) => format!("rule \"{}\"", names.rules[rule.0]),
    }
}

fn because(cause: &Cause) -> String {
    match cause {
        Cause::Start => "start".to_owned(),
        Cause::Request => "request".to_owned(),
        Cause::Crash => "crash".to_owned(),
        Cause::Files(files) => {
            let shown: Vec<String> = files
                .iter()
                .take(MOST_FILES)
                .map(|file| shown(file))
                .collect();
            let more = if files.len() > MOST_FILES {
                ", ..."
            } else {
                ""
            };
            let noun = if files.len() == 1 { "file" } else { "files" };
            format!("{} {noun}: {}{more}", files.len(), shown.join(", "))
        }
    }
}

/// Those that have a place. The tool's own output, which has passed by already, says the others.
fn problem_lines(problems: &Problems) -> Vec<String> {
    let mut lines: Vec<String> = problems.list.iter().filter_map(plain_line).collect();
    let more = problems.left_out() + lines.len().saturating_sub(MOST_PROBLEM_LINES);
    lines.truncate(MOST_PROBLEM_LINES);
    if more > 0 {
        let noun = if more == 1 { "problem" } else { "problems" };
        lines.push(format!("note: {more} more {noun}"));
    }
    lines
}

/// How many there are, with a place or without.
fn counts(problems: &Problems) -> String {
    let count = |key: &str, number: usize| match number {
        0 => String::new(),
        _ => format!(" {key}={number}"),
    };
    count("errors", problems.errors) + &count("warnings", problems.warnings)
}

/// The rules whose outputs came out of the cache.
fn cached(restored: &BTreeSet<RuleId>, names: &Names<'_>) -> String {
    let rules: Vec<String> = restored
        .iter()
        .map(|rule| word(names.rules[rule.0]))
        .collect();
    match rules.is_empty() {
        true => String::new(),
        false => format!(" cached={}", rules.join(",")),
    }
}

fn end(outcome: &Outcome, took: Duration, names: &Names<'_>) -> String {
    let took = duration(took);
    let counts = counts(names.problems);
    match outcome {
        Outcome::Serving(serving) => format!("serving {took}{}", serving_fields(serving, names)),
        Outcome::Ok { exited: None } => format!("ok {took}{counts}"),
        Outcome::Ok {
            exited: Some(generation),
        } => format!("ok {took} gen={generation}{counts} exit=0"),
        Outcome::Unchanged { serving } => format!("unchanged {took} gen={serving}{counts}"),
        Outcome::Failed {
            rule,
            exit,
            reason,
            serving,
        } => {
            let mut line = format!("failed {took}{counts} rule={}", word(names.rules[rule.0]));
            if let Some(exit) = exit {
                line += &format!(" exit={exit}");
            }
            line += &quoted("reason", reason.as_deref());
            let serving = serving.map_or_else(
                || "none".to_owned(),
                |generation| format!("gen{generation}"),
            );
            line + &format!(" serving={serving}")
        }
        Outcome::Crashed {
            generation,
            exit,
            reason,
            serving,
            retry,
        } => {
            let mut line = format!("crashed {took} gen={generation}{counts}");
            if let Some(exit) = exit {
                line += &format!(" exit={exit}");
            }
            line += &quoted("reason", reason.as_deref());
            line += &serving_field(*serving);
            if let Retry::In(delay) = retry {
                line += &format!(" retry={}", duration(*delay));
            }
            line + &last(names.last.iter())
        }
        Outcome::Superseded => format!("superseded {took}"),
    }
}

fn serving_fields(serving: &Serving, names: &Names<'_>) -> String {
    let mut fields = format!(" gen={}", serving.generation);
    if let Some(pid) = serving.pid {
        fields += &format!(" pid={pid}");
    }
    if let Some(old) = serving.old {
        fields += &format!(" old={old}");
    }
    fields += match serving.restart {
        Some(RestartKind::Cold) => " restart=cold",
        Some(RestartKind::Hold) => " restart=hold",
        Some(RestartKind::Hot(HotMode::SelfFork)) => " restart=hot mode=self",
        Some(RestartKind::Hot(HotMode::Overlap)) => " restart=hot mode=overlap",
        Some(RestartKind::Hot(HotMode::Adopt)) => " restart=hot mode=adopt",
        None => "",
    };
    fields += &format!(" ready={}", serving.ready);
    let accept = duration(serving.accept);
    fields += &format!(" accept={accept} fresh={}", duration(serving.fresh));
    if serving.restart == Some(RestartKind::Cold) {
        // Nobody held the socket: whoever came in this time was refused.
        fields += &format!(" gap={accept}");
    }
    fields += &counts(names.problems);
    fields += &quoted("reason", serving.reason.as_deref());
    if let Some(url) = &names.url {
        fields += &format!(" url={url}");
    }
    fields
}

fn serving_field(serving: Option<GenerationId>) -> String {
    serving.map_or_else(
        || " serving=none".to_owned(),
        |generation| format!(" serving=gen{generation}"),
    )
}

fn what_follows(retry: Retry) -> String {
    match retry {
        Retry::In(delay) => format!("starting it again in {}", duration(delay)),
        Retry::OnChange => "waiting for a change".to_owned(),
        Retry::LastGood => "starting the last good build in its place".to_owned(),
    }
}

fn last<'a>(lines: impl DoubleEndedIterator<Item = &'a String>) -> String {
    let mut kept: Vec<&str> = lines
        .rev()
        .take(MOST_LAST_LINES)
        .map(String::as_str)
        .collect();
    kept.reverse();
    quoted(
        "last",
        (!kept.is_empty()).then(|| kept.join("\n")).as_deref(),
    )
}

fn quoted(key: &str, value: Option<&str>) -> String {
    value.map_or_else(String::new, |value| format!(" {key}={value:?}"))
}

/// A value that a script can split at spaces, or a quoted one.
fn word(value: &str) -> String {
    if value.contains(|c: char| c.is_whitespace() || c == '"') {
        format!("{value:?}")
    } else {
        value.to_owned()
    }
}

/// `812ms`, `1.31s`, `2m05s`.
pub fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0..1000 => format!("{millis}ms"),
        1000..60_000 => format!("{:.2}s", duration.as_secs_f64()),
        _ => format!(
            "{}m{:02}s",
            duration.as_secs() / 60,
            duration.as_secs() % 60
        ),
    }
}

/// A path for people: as it is, unless it could be taken for something else.
pub fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// Control characters, what turns text around and what is not seen, escaped: a file name cannot move the cursor or
/// forge a line.
pub fn printable(text: &str) -> String {
    label(text)
}

/// The time of day in the local zone, `14:02:11`.
pub fn time_of_day(ago: Duration) -> String {
    let now = jiff::Zoned::now();
    let then = now.checked_sub(ago).unwrap_or(now);
    then.strftime("%H:%M:%S").to_string()
}

/// As many names fit a line; a checkout of 500 files says how many.
const MOST_FILES: usize = 8;
/// Whoever has more of them mends these first; an editor may not be drowned either.
const MOST_PROBLEM_LINES: usize = 100;
/// Enough for a panic and its message; the whole output has passed by already.
const MOST_LAST_LINES: usize = 3;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::diagnostics::{Problem, Severity};
    use crate::supervisor::event::{Evidence, Exit};

    #[track_caller]
    fn check(report: Report, expected: Expect) {
        check_with(&Problems::default(), &report, expected);
    }

    #[track_caller]
    fn check_with(problems: &Problems, report: &Report, expected: Expect) {
        let last = [
            "starting",
            "panic: boom",
            "goroutine 1 [running]:",
            "exit status 2",
        ]
        .map(str::to_owned);
        let names = Names {
            rules: vec!["build", "the assets"],
            stop_signal: "SIGTERM",
            url: Some("http://127.0.0.1:8080/".to_owned()),
            connections: 3,
            last: &last,
            problems,
            clock: &|_| "14:02:11".to_owned(),
        };
        expected.assert_eq(&lines(report, &names).join("\n"));
    }

    fn begin(cause: Cause) -> Report {
        Report::Begin { build: 42, cause }
    }

    fn end(outcome: Outcome) -> Report {
        Report::End {
            build: 42,
            outcome,
            restored: BTreeSet::new(),
            took: Duration::from_millis(1312),
            built: Some(Duration::from_millis(900)),
            waited: Duration::from_millis(1400),
        }
    }

    fn files(names: &[&str]) -> Cause {
        Cause::Files(names.iter().map(PathBuf::from).collect::<BTreeSet<_>>())
    }

    fn serving(restart: Option<RestartKind>) -> Outcome {
        Outcome::Serving(Serving {
            generation: GenerationId(18),
            pid: Some(48390),
            old: restart.map(|_| 48213),
            restart,
            ready: Evidence::Proven,
            accept: Duration::from_millis(86),
            fresh: Duration::from_millis(124),
            reason: None,
        })
    }

    #[test]
    fn begin_lines_say_why() {
        check(begin(Cause::Start), expect![["build 42 begin (start)"]]);
        check(begin(Cause::Request), expect![["build 42 begin (request)"]]);
        check(begin(Cause::Crash), expect![["build 42 begin (crash)"]]);
        check(
            begin(files(&["a.go"])),
            expect![["build 42 begin (1 file: a.go)"]],
        );
        check(
            begin(files(&["go.mod", "a b.go"])),
            expect![["build 42 begin (2 files: a b.go, go.mod)"]],
        );
        let many: Vec<String> = (100..600).map(|n| format!("{n}.go")).collect();
        check(
            begin(files(&many.iter().map(String::as_str).collect::<Vec<_>>())),
            expect![
                "build 42 begin (500 files: 100.go, 101.go, 102.go, 103.go, 104.go, 105.go, 106.go, 107.go, ...)"
            ],
        );
        check(
            begin(files(&["x\ndevwatch: build 9 end ok", "\u{202e}og.a"])),
            expect![[r#"build 42 begin (2 files: x\ndevwatch: build 9 end ok, \u{202e}og.a)"#]],
        );
    }

    #[test]
    fn end_lines_say_what_serves() {
        check(
            end(serving(None)),
            expect![
                "build 42 end serving 1.31s gen=18 pid=48390 ready=proven accept=86ms fresh=124ms url=http://127.0.0.1:8080/"
            ],
        );
        check(
            end(serving(Some(RestartKind::Hold))),
            expect![
                "build 42 end serving 1.31s gen=18 pid=48390 old=48213 restart=hold ready=proven accept=86ms fresh=124ms url=http://127.0.0.1:8080/"
            ],
        );
        check(
            end(serving(Some(RestartKind::Cold))),
            expect![
                "build 42 end serving 1.31s gen=18 pid=48390 old=48213 restart=cold ready=proven accept=86ms fresh=124ms gap=86ms url=http://127.0.0.1:8080/"
            ],
        );
        check(
            end(Outcome::Ok { exited: None }),
            expect!["build 42 end ok 1.31s"],
        );
        check(
            end(Outcome::Ok {
                exited: Some(GenerationId(3)),
            }),
            expect!["build 42 end ok 1.31s gen=3 exit=0"],
        );
        check(
            end(Outcome::Unchanged {
                serving: GenerationId(17),
            }),
            expect!["build 42 end unchanged 1.31s gen=17"],
        );
        check(
            end(Outcome::Superseded),
            expect!["build 42 end superseded 1.31s"],
        );
        let failed = |serving, reason: Option<&str>| Outcome::Failed {
            rule: RuleId(1),
            exit: reason.is_none().then_some(Exit::Code(101)),
            reason: reason.map(str::to_owned),
            serving,
        };
        check(
            end(failed(Some(GenerationId(17)), None)),
            expect![[r#"build 42 end failed 1.31s rule="the assets" exit=101 serving=gen17"#]],
        );
        check(
            end(failed(None, Some("cannot run \"bfu\": no such program"))),
            expect![[
                r#"build 42 end failed 1.31s rule="the assets" reason="cannot run \"bfu\": no such program" serving=none"#
            ]],
        );
        let crashed = |exit, reason: Option<&str>, retry| Outcome::Crashed {
            generation: GenerationId(18),
            exit,
            reason: reason.map(str::to_owned),
            serving: None,
            retry,
        };
        check(
            end(crashed(
                Some(Exit::Signal(11)),
                None,
                Retry::In(Duration::from_millis(200)),
            )),
            expect![[
                r#"build 42 end crashed 1.31s gen=18 exit=SIGSEGV serving=none retry=200ms last="panic: boom\ngoroutine 1 [running]:\nexit status 2""#
            ]],
        );
        check(
            end(crashed(
                None,
                Some("did not accept within 10 s; killed"),
                Retry::OnChange,
            )),
            expect![[
                r#"build 42 end crashed 1.31s gen=18 reason="did not accept within 10 s; killed" serving=none last="panic: boom\ngoroutine 1 [running]:\nexit status 2""#
            ]],
        );
    }

    fn problem(line: u32, severity: Severity) -> Problem {
        Problem {
            path: "a b.go".to_owned(),
            file: Some("/p/a b.go".into()),
            line,
            column: Some(9),
            end: None,
            severity,
            message: "undefined: usr".to_owned(),
            code: None,
            tool: "go".to_owned(),
            rendered: None,
        }
    }

    #[test]
    fn what_came_out_of_the_cache_is_named() {
        check(
            Report::End {
                build: 42,
                outcome: Outcome::Unchanged {
                    serving: GenerationId(17),
                },
                restored: [0, 1].map(RuleId).into(),
                took: Duration::from_millis(3),
                built: Some(Duration::from_millis(2)),
                waited: Duration::from_millis(40),
            },
            expect![[r#"build 42 end unchanged 3ms gen=17 cached=build,"the assets""#]],
        );
    }

    #[test]
    fn problems_are_told_before_the_end_and_counted_on_it() {
        let mut problems = Problems {
            list: vec![problem(3, Severity::Error), problem(1, Severity::Warning)],
            errors: 2,
            warnings: 1,
            infos: 0,
        };
        problems.list.push(problem(7, Severity::Error));
        problems.list[2].file = None;
        let failed = Outcome::Failed {
            rule: RuleId(0),
            exit: Some(Exit::Code(1)),
            reason: None,
            serving: Some(GenerationId(17)),
        };
        check_with(
            &problems,
            &end(failed),
            expect![[r#"
            /p/a b.go:3:9: error: undefined: usr
            /p/a b.go:1:9: warning: undefined: usr
            build 42 end failed 1.31s errors=2 warnings=1 rule=build exit=1 serving=gen17"#]],
        );
        problems.errors = 0;
        problems
            .list
            .retain(|problem| problem.severity != Severity::Error);
        check_with(
            &problems,
            &end(serving(Some(RestartKind::Cold))),
            expect![[r#"
            /p/a b.go:1:9: warning: undefined: usr
            build 42 end serving 1.31s gen=18 pid=48390 old=48213 restart=cold ready=proven accept=86ms fresh=124ms gap=86ms warnings=1 url=http://127.0.0.1:8080/"#]],
        );
        check_with(
            &problems,
            &end(Outcome::Ok { exited: None }),
            expect![[r#"
            /p/a b.go:1:9: warning: undefined: usr
            build 42 end ok 1.31s warnings=1"#]],
        );
        let unchanged = Outcome::Unchanged {
            serving: GenerationId(17),
        };
        check_with(
            &problems,
            &end(unchanged),
            expect![[r#"
            /p/a b.go:1:9: warning: undefined: usr
            build 42 end unchanged 1.31s gen=17 warnings=1"#]],
        );
        let crashed = Outcome::Crashed {
            generation: GenerationId(18),
            exit: Some(Exit::Code(2)),
            reason: None,
            serving: None,
            retry: Retry::OnChange,
        };
        check_with(
            &problems,
            &end(crashed),
            expect![[r#"
            /p/a b.go:1:9: warning: undefined: usr
            build 42 end crashed 1.31s gen=18 warnings=1 exit=2 serving=none last="panic: boom\ngoroutine 1 [running]:\nexit status 2""#]],
        );
    }

    #[test]
    fn of_many_problems_a_hundred_are_told_and_all_are_counted() {
        let list = (1..=MOST_PROBLEM_LINES as u32 + 20).map(|line| problem(line, Severity::Error));
        let problems = Problems {
            list: list.collect(),
            errors: 100_000,
            warnings: 0,
            infos: 0,
        };
        let lines = problem_lines(&problems);
        assert_eq!(lines.len(), MOST_PROBLEM_LINES + 1);
        assert_eq!(lines[MOST_PROBLEM_LINES], "note: 99900 more problems");
        assert_eq!(counts(&problems), " errors=100000");
    }

    #[test]
    fn what_happens_outside_a_cycle_is_a_line_of_its_own() {
        let down = |exit, retry| Report::Down {
            generation: GenerationId(17),
            exit: Some(exit),
            reason: None,
            lived: Duration::from_secs(125),
            retry,
        };
        check(
            down(Exit::Code(2), Retry::In(Duration::from_millis(100))),
            expect![[r#"
                gen 17 crashed exit=2 after=2m05s last="panic: boom\ngoroutine 1 [running]:\nexit status 2"
                note: starting it again in 100ms"#]],
        );
        check(
            down(Exit::Code(0), Retry::OnChange),
            expect![[r#"
            gen 17 exited exit=0 after=2m05s
            note: waiting for a change"#]],
        );
        let stopped = |generation: Option<u64>, building| Report::Stopped {
            generation: generation.map(GenerationId),
            building,
        };
        check(
            Report::Paused,
            expect!["note: paused; changes wait until resumed, or until a build is asked for"],
        );
        check(
            Report::Resumed { files: 0 },
            expect!["note: resumed; nothing waits"],
        );
        check(
            Report::Resumed { files: 2 },
            expect!["note: resumed; 2 changed files waited"],
        );
        check(
            stopped(Some(17), false),
            expect![
                "note: gen 17 is told to stop; it stays down until something changes or a build is asked for"
            ],
        );
        check(
            stopped(None, true),
            expect!["note: the server is not started again; it starts when the build succeeds"],
        );
        let who = Who::Server(GenerationId(12));
        check(
            Report::Overdue {
                who,
                after: Duration::from_secs(5),
            },
            expect!["note: gen 12 still drains after 5.00s (connections=3); sent SIGTERM"],
        );
        check(
            Report::Draining {
                generation: GenerationId(18),
                old: GenerationId(17),
                pid: Some(48213),
                limit: Duration::from_secs(5),
            },
            expect!["note: gen 18 accepts, gen 17 drains (pid=48213 limit=5.00s)"],
        );
        check(
            Report::Killed {
                who,
                after: Duration::from_secs(5),
            },
            expect!["note: gen 12 ignored SIGTERM for 5.00s; sent SIGKILL"],
        );
        check(
            Report::Killed {
                who: Who::Rule(RuleId(0)),
                after: Duration::from_secs(2),
            },
            expect![[r#"note: rule "build" ignored SIGTERM for 2.00s; sent SIGKILL"#]],
        );
        check(
            Report::Stuck { who },
            expect!["note: gen 12 does not die of SIGKILL (uninterruptible); going on without it"],
        );
    }

    #[test]
    fn nothing_that_a_name_holds_moves_the_cursor_or_forges_a_line() {
        assert_eq!(
            printable("a\u{1b}[2Jb\n\u{9b}c\u{7f}"),
            "a\\u{1b}[2Jb\\n\\u{9b}c\\u{7f}"
        );
        assert_eq!(printable("grüße 你好"), "grüße 你好");
    }
}
