use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::config::{Command as Line, Globs, Rule, detect};
use crate::diagnostics::Severity;
use crate::history::History;
use crate::overview::{Place, Watched};
use crate::process::Stream;
use crate::supervisor::event::{
    self as supervisor, Digest, Effect, Evidence, Produced, Request, Reuse, Target, Who,
};
use crate::supervisor::generation::JobId;
use crate::supervisor::plan::RuleId;
use crate::supervisor::status::{Activity, Parting, Process, Status, Swap, Told};
use crate::watch::Change;

/// 2026-11-22T12:00:00.123Z, when everything is written.
fn then() -> Timestamp {
    Timestamp::from_millisecond(1_795_348_800_123).expect("a time")
}

/// Without what all events have in common.
fn shown(events: &[Event]) -> String {
    let lines = events.iter().map(|event| {
        let line = event.line(1, then());
        let parsed: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(parsed["type"], event.kind());
        let rest = line.strip_prefix(r#"{"v":1,"seq":1,"t":"2026-11-22T12:00:00.123Z","type":"#);
        rest.expect("what all have").to_owned() + "\n"
    });
    lines.collect()
}

/// A project of two rules and a server, and all that happens to it.
struct Story {
    chronicle: Chronicle,
    config: Config,
    problems: Problems,
    overview: Overview,
    start: Instant,
    /// Milliseconds since the start.
    now: u64,
}

impl Story {
    #[expect(clippy::disallowed_methods, reason = "the instant when a story begins")]
    fn new() -> Story {
        let root = Path::new("/p");
        let globs = |patterns: &[&str]| Globs::new(patterns).expect("good globs");
        let mut config = detect::from_command(root, vec!["true".to_owned()]);
        config.origin = crate::config::Origin::File("/p/devwatch.toml".into());
        let mut build = Rule::new("build", globs(&["**/*.go"]), root);
        (build.run, build.line) = (Some(Line::Shell("go build".to_owned())), 3);
        build.outputs = globs(&["api"]);
        let mut vet = Rule::new("vet", globs(&["**/*.go", "*.mod"]), root);
        (vet.run, vet.line) = (Some(Line::Argv(vec!["go".into(), "vet".into()])), 9);
        config.rules = vec![build, vet];
        let status = Status {
            activity: Activity::Resting,
            has_server: true,
            serving: None,
            freshness: Freshness::NotServing,
            attempt: None,
            swap: None,
            paused: None,
        };
        let overview = Overview {
            project: "p".to_owned(),
            root: "/p".into(),
            status,
            history: History::default().into(),
            commands: Vec::new(),
            expected: None,
            problems: Problems::default().into(),
            crash: Problems::default().into(),
            places: vec![Place {
                text: "127.0.0.1:80".to_owned(),
                url: Some("http://127.0.0.1:80/".to_owned()),
            }],
            waiting: 0,
            connections: 0,
            method: String::new(),
            watched: Watched {
                files: 12,
                dirs: 3,
                unwatched: 0,
                polls: false,
            },
            refused: None,
        };
        Story {
            chronicle: Chronicle::default(),
            config,
            problems: Problems::default(),
            overview,
            start: Instant::now(),
            now: 0,
        }
    }

    fn at(&mut self, millis: u64) -> &mut Story {
        self.now = millis;
        self
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    fn report(&mut self, report: Report) -> Vec<Event> {
        let now = self.now();
        let last = ["starting".to_owned(), "panic: boom".to_owned()];
        let names = Names {
            rules: vec!["build", "vet"],
            stop_signal: "SIGTERM",
            url: Some("http://127.0.0.1:80/".to_owned()),
            connections: 0,
            last: &last,
            problems: &self.problems,
            clock: &|_| "14:02:11".to_owned(),
        };
        self.chronicle
            .reported(&report, &names, &self.config, "accept", now)
    }

    fn begin(&mut self, build: u64, cause: Cause) -> Vec<Event> {
        self.report(Report::Begin { build, cause })
    }

    fn end(&mut self, build: u64, outcome: Outcome) -> Vec<Event> {
        self.report(Report::End {
            build,
            outcome,
            restored: BTreeSet::new(),
            took: Duration::from_millis(1310),
            built: None,
            waited: Duration::from_millis(1400),
        })
    }

    fn runs(&mut self, job: u64, rule: usize) -> Event {
        let it = &self.config.rules[rule];
        let command = Command {
            rule: RuleId(rule),
            name: it.name.clone(),
            command: it.run.clone().expect("a command"),
            cwd: it.cwd.clone(),
            expected: Some(Duration::from_millis(1200)).filter(|_| rule == 0),
            outputs: rule == 0,
        };
        let now = self.now();
        self.chronicle.runs(JobId(job), command, now)
    }

    fn order(&mut self, order: Effect) {
        let now = self.now();
        self.chronicle.ordered(&order, now);
    }

    fn fact(&mut self, fact: supervisor::Event) -> Vec<Event> {
        let now = self.now();
        self.chronicle.happened(&fact, (2, 1), "accept", now)
    }

    fn exited(&mut self, job: u64, exit: Exit) -> Vec<Event> {
        self.fact(supervisor::Event::Exited(JobId(job), exit))
    }

    fn produced(&mut self, job: u64, digest: u128) -> Vec<Event> {
        let all = Some(Digest(digest));
        self.fact(supervisor::Event::Produced(
            JobId(job),
            Produced {
                all,
                ..Produced::default()
            },
        ))
    }

    fn starts(&mut self, job: u64, generation: u64) {
        self.order(Effect::Start {
            job: JobId(job),
            generation: GenerationId(generation),
            last_good: false,
        });
        self.fact(supervisor::Event::Spawned(JobId(job), 48000 + job as i32));
    }

    fn known(&mut self) -> Vec<Event> {
        self.chronicle.known(&self.overview, &|_| then())
    }

    fn serve(&mut self, job: u64, generation: u64) {
        self.overview.status.freshness = Freshness::Fresh;
        self.overview.status.serving = Some(Process {
            generation: GenerationId(generation),
            pid: Some(48000 + job as i32),
            started_at: self.start,
            ready_at: Some(self.start),
        });
    }
}

fn stop(job: u64) -> Effect {
    Effect::Stop {
        job: JobId(job),
        target: Target::Main,
    }
}

fn files(names: &[&str]) -> Cause {
    Cause::Files(names.iter().map(PathBuf::from).collect())
}

fn serving(generation: u64, restart: Option<RestartKind>) -> Serving {
    Serving {
        generation: GenerationId(generation),
        pid: Some(48390),
        old: restart.map(|_| 48213),
        restart,
        ready: Evidence::Proven,
        accept: Duration::from_millis(86),
        fresh: Duration::from_millis(124),
        reason: None,
    }
}

fn failed(rule: usize, exit: Option<Exit>, reason: Option<&str>) -> Outcome {
    Outcome::Failed {
        rule: RuleId(rule),
        exit,
        reason: reason.map(str::to_owned),
        serving: Some(GenerationId(17)),
    }
}

#[track_caller]
fn check(events: &[Event], expected: Expect) {
    expected.assert_eq(&shown(events));
}

#[test]
fn state_is_told_when_anything_but_the_number_of_files_is_new() {
    let mut story = Story::new();
    check(
        &story.known(),
        expect![[r#"
        "state","state":"starting","gen":null,"pid":null,"build":null,"fresh":false,"stale_since":null,"paused":false,"urls":["http://127.0.0.1:80/"],"problems":{"errors":0,"warnings":0},"counts":{"cold":0,"hot":0},"latency_ms":null,"watch":{"backend":"inotify","dirs":3,"files":12,"unwatched":0}}
    "#]],
    );
    story.overview.watched.files = 13;
    story.overview.status.paused = None;
    assert!(story.known().is_empty());
    story.begin(3, Cause::Request);
    story.serve(7, 17);
    story.overview.status.freshness = Freshness::Stale(story.start);
    story.overview.problems = Problems {
        errors: 2,
        ..Problems::default()
    }
    .into();
    story.overview.status.paused = Some(4);
    check(
        &story.known(),
        expect![[r#"
        "state","state":"paused","gen":17,"pid":48007,"build":3,"fresh":false,"stale_since":"2026-11-22T12:00:00.123Z","paused":true,"urls":["http://127.0.0.1:80/"],"problems":{"errors":2,"warnings":0},"counts":{"cold":0,"hot":0},"latency_ms":null,"watch":{"backend":"inotify","dirs":3,"files":13,"unwatched":0}}
    "#]],
    );
    story.overview.status.paused = Some(5);
    assert!(story.known().is_empty(), "a number that ticks");
    story.overview.watched.polls = true;
    assert_eq!(story.known().len(), 1);
}

#[test]
fn a_cycle_takes_up_changes_and_names_the_rules_that_they_belong_to() {
    let mut story = Story::new();
    check(
        &story.begin(1, Cause::Start),
        expect![[r#"
        "cycle.begin","cycle":1,"cause":"start"}
    "#]],
    );
    let (since, kind) = (story.start, ChangeKind::Removed);
    let path = PathBuf::from("x/a \u{202e}\n\".go");
    story.chronicle.seen(&[Change { path, kind, since }]);
    check(
        &story.begin(
            2,
            files(&["x/a \u{202e}\n\".go", "go.mod", "devwatch.toml"]),
        ),
        expect![[r#"
            "change","cycle":2,"paths":[{"kind":"modified","path":"devwatch.toml"},{"kind":"modified","path":"go.mod","rule":"vet","rule_at":"devwatch.toml:9"},{"kind":"removed","path":"x/a \u202e\n\".go","rule":"build","rule_at":"devwatch.toml:3"},{"kind":"removed","path":"x/a \u202e\n\".go","rule":"vet","rule_at":"devwatch.toml:9"}],"truncated":false}
            "cycle.begin","cycle":2,"cause":"files","files":3}
        "#]],
    );
    let many: Vec<String> = (0..500).map(|n| format!("{n}.go")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let events = story.begin(3, files(&many));
    let change: Value = serde_json::from_str(&events[0].line(1, then())).expect("JSON");
    assert_eq!(
        change["paths"].as_array().map(Vec::len),
        Some(super::MOST_PATHS)
    );
    assert_eq!(change["truncated"], true);
    check(
        &events[1..],
        expect![[r#"
        "cycle.begin","cycle":3,"cause":"files","files":500}
    "#]],
    );
}

#[test]
fn each_command_of_a_rule_begins_and_ends() {
    let mut story = Story::new();
    story.begin(2, Cause::Request);
    let begins = [story.runs(4, 0), story.runs(5, 1)];
    check(
        &begins,
        expect![[r#"
        "build.begin","build":2,"cycle":2,"rule":"build","cmd":"go build","cwd":"/p","expected_ms":1200}
        "build.begin","build":2,"cycle":2,"rule":"vet","cmd":["go","vet"],"cwd":"/p"}
    "#]],
    );
    // What it has made is known a moment later.
    assert!(story.at(800).exited(4, Exit::Code(0)).is_empty());
    check(
        &story.at(830).produced(4, 0xabc),
        expect![[r#"
        "build.end","build":2,"cycle":2,"rule":"build","status":"ok","ms":800,"exit":0,"errors":2,"warnings":1,"output_sha":"00000000000000000000000000000abc"}
    "#]],
    );
    check(
        &story.at(900).exited(5, Exit::Code(3)),
        expect![[r#"
        "build.end","build":2,"cycle":2,"rule":"vet","status":"failed","ms":900,"exit":3,"errors":2,"warnings":1}
    "#]],
    );
    assert!(story.fact(supervisor::Event::TreeGone(JobId(5))).is_empty());
    assert!(story.fact(supervisor::Event::TreeGone(JobId(4))).is_empty());
    story.begin(3, Cause::Request);
    story.runs(6, 0);
    story.exited(6, Exit::Code(0));
    check(
        &story.produced(6, 0xabc),
        expect![[r#"
        "build.end","build":3,"cycle":3,"rule":"build","status":"unchanged","ms":0,"exit":0,"errors":2,"warnings":1,"output_sha":"00000000000000000000000000000abc"}
    "#]],
    );
}

#[test]
fn a_command_that_is_stopped_or_never_runs_ends_as_well() {
    let mut story = Story::new();
    story.begin(2, Cause::Request);
    story.runs(4, 0);
    story.runs(5, 1);
    story.order(stop(4));
    let end = story.end(2, Outcome::Superseded);
    check(
        &end,
        expect![[r#"
        "cycle.end","cycle":2,"status":"superseded","ms":1310}
    "#]],
    );
    story.begin(3, Cause::Request);
    check(
        &story.at(50).exited(4, Exit::Signal(15)),
        expect![[r#"
        "build.end","build":2,"cycle":2,"rule":"build","status":"superseded","ms":50,"exit":"SIGTERM","errors":2,"warnings":1}
    "#]],
    );
    let gone = "cannot run \"go\": no such program".to_owned();
    check(
        &story.fact(supervisor::Event::SpawnFailed(JobId(5), gone)),
        expect![[r#"
            "build.end","build":2,"cycle":2,"rule":"vet","status":"failed","ms":50,"reason":"cannot run \"go\": no such program"}
        "#]],
    );
    // It took too long: the cycle does not wait until it has gone.
    story.runs(6, 1);
    story.order(stop(6));
    let end = story
        .at(60)
        .end(3, failed(1, None, Some("took longer than 10ms")));
    check(
        &end,
        expect![[r#"
        "build.end","build":3,"cycle":3,"rule":"vet","status":"failed","ms":10,"reason":"took longer than 10ms"}
        "cycle.end","cycle":3,"status":"failed","ms":1310,"errors":0,"warnings":0,"rule":"vet","reason":"took longer than 10ms","serving":17}
    "#]],
    );
    assert!(story.exited(6, Exit::Signal(15)).is_empty());
    // Its outputs were not read before all was over.
    story.begin(4, Cause::Request);
    story.runs(7, 0);
    story.exited(7, Exit::Code(0));
    check(
        &story.end(4, Outcome::Superseded),
        expect![[r#"
        "build.end","build":4,"cycle":4,"rule":"build","status":"ok","ms":0,"exit":0,"errors":2,"warnings":1}
        "cycle.end","cycle":4,"status":"superseded","ms":1310}
    "#]],
    );
    assert!(story.produced(7, 1).is_empty());
}

#[test]
fn what_was_found_in_the_cache_counts_as_made() {
    let mut story = Story::new();
    let all = Some(Digest(0xabc));
    let produced = Produced {
        all,
        ..Produced::default()
    };
    story.order(Effect::Reuse {
        job: JobId(3),
        rule: RuleId(0),
    });
    story.fact(supervisor::Event::Reused(
        JobId(3),
        Reuse::Current(produced),
    ));
    story.runs(4, 0);
    story.exited(4, Exit::Code(0));
    let end = story.produced(4, 0xabc);
    assert!(shown(&end).contains(r#""status":"unchanged""#), "{end:?}");
}

#[test]
fn diagnostics_that_stand_are_told_before_the_end() {
    let mut story = Story::new();
    let whole = Problem {
        path: "a b.go".to_owned(),
        file: Some("/p/src/a b.go".into()),
        line: 3,
        column: Some(9),
        end: Some((3, 12)),
        severity: Severity::Error,
        message: "undefined: usr\u{7}".to_owned(),
        code: Some("E1".to_owned()),
        tool: "go".to_owned(),
        rendered: Some("\u{1b}[31mred\u{1b}[m\n".to_owned()),
    };
    let bare = Problem {
        path: "gone.c".to_owned(),
        file: None,
        column: None,
        end: None,
        severity: Severity::Warning,
        code: None,
        tool: "mine".to_owned(),
        rendered: None,
        ..whole.clone()
    };
    story.problems = Problems {
        list: vec![whole, bare],
        errors: 2,
        warnings: 1,
        infos: 0,
    };
    check(
        &story.end(2, failed(0, Some(Exit::Code(1)), None)),
        expect![[r#"
            "diagnostic","build":2,"file":"/p/src/a b.go","rel":"src/a b.go","line":3,"col":9,"end_line":3,"end_col":12,"severity":"error","code":"E1","message":"undefined: usr\u0007","tool":"go","rendered":"\u001b[31mred\u001b[m\n","col_unit":"byte"}
            "diagnostic","build":2,"rel":"gone.c","line":3,"severity":"warning","message":"undefined: usr\u0007","tool":"mine","col_unit":"unknown"}
            "cycle.end","cycle":2,"status":"failed","ms":1310,"errors":2,"warnings":1,"rule":"build","exit":1,"serving":17}
        "#]],
    );
    assert_eq!(story.end(2, Outcome::Superseded).len(), 1);
}

#[test]
fn an_end_says_what_the_plain_line_says() {
    let mut story = Story::new();
    let mut reason = serving(18, Some(RestartKind::Cold));
    reason.reason = Some("no successor came".to_owned());
    let crashed = |exit, reason: Option<&str>, retry| Outcome::Crashed {
        generation: GenerationId(18),
        exit,
        reason: reason.map(str::to_owned),
        serving: None,
        retry,
    };
    let retry = Retry::In(Duration::from_millis(200));
    let hung = Some("did not accept within 10 s; killed");
    let outcomes = [
        Outcome::Serving(serving(18, None)),
        Outcome::Serving(serving(18, Some(RestartKind::Hold))),
        Outcome::Serving(serving(18, Some(RestartKind::Hot(HotMode::SelfFork)))),
        Outcome::Serving(reason),
        Outcome::Ok { exited: None },
        Outcome::Ok {
            exited: Some(GenerationId(3)),
        },
        Outcome::Unchanged {
            serving: GenerationId(17),
        },
        crashed(Some(Exit::Signal(11)), None, retry),
        crashed(None, hung, Retry::OnChange),
        Outcome::Superseded,
    ];
    let ends = outcomes
        .into_iter()
        .flat_map(|outcome| story.end(2, outcome));
    check(
        &ends.collect::<Vec<_>>(),
        expect![[r#"
        "cycle.end","cycle":2,"status":"serving","ms":1310,"gen":18,"pid":48390,"ready":"proven","accept_ms":86,"fresh_ms":124,"errors":0,"warnings":0,"url":"http://127.0.0.1:80/"}
        "cycle.end","cycle":2,"status":"serving","ms":1310,"gen":18,"pid":48390,"old":48213,"restart":"hold","ready":"proven","accept_ms":86,"fresh_ms":124,"errors":0,"warnings":0,"url":"http://127.0.0.1:80/"}
        "cycle.end","cycle":2,"status":"serving","ms":1310,"gen":18,"pid":48390,"old":48213,"restart":"hot","mode":"self","ready":"proven","accept_ms":86,"fresh_ms":124,"errors":0,"warnings":0,"url":"http://127.0.0.1:80/"}
        "cycle.end","cycle":2,"status":"serving","ms":1310,"gen":18,"pid":48390,"old":48213,"restart":"cold","ready":"proven","accept_ms":86,"fresh_ms":124,"reason":"no successor came","errors":0,"warnings":0,"url":"http://127.0.0.1:80/"}
        "cycle.end","cycle":2,"status":"ok","ms":1310,"errors":0,"warnings":0}
        "cycle.end","cycle":2,"status":"ok","ms":1310,"gen":3,"errors":0,"warnings":0,"exit":0}
        "cycle.end","cycle":2,"status":"unchanged","ms":1310,"gen":17,"errors":0,"warnings":0}
        "cycle.end","cycle":2,"status":"crashed","ms":1310,"gen":18,"errors":0,"warnings":0,"exit":"SIGSEGV","serving":null,"retry_ms":200,"last":["starting","panic: boom"]}
        "cycle.end","cycle":2,"status":"crashed","ms":1310,"gen":18,"errors":0,"warnings":0,"reason":"did not accept within 10 s; killed","serving":null,"last":["starting","panic: boom"]}
        "cycle.end","cycle":2,"status":"superseded","ms":1310}
    "#]],
    );
    let cached = story.report(Report::End {
        build: 2,
        outcome: Outcome::Ok { exited: None },
        restored: [0, 1].map(RuleId).into(),
        took: Duration::from_millis(3),
        built: None,
        waited: Duration::ZERO,
    });
    check(
        &cached,
        expect![[r#"
        "cycle.end","cycle":2,"status":"ok","ms":3,"errors":0,"warnings":0,"cached":["build","vet"]}
    "#]],
    );
}

#[test]
fn a_hot_restart_from_its_begin_to_the_end_of_the_old_generation() {
    let mut story = Story::new();
    story.known();
    story.begin(1, Cause::Start);
    story.starts(1, 17);
    let accepting = supervisor::Event::Ready(JobId(1), Evidence::Proven);
    check(
        &story.at(86).fact(accepting.clone()),
        expect![[r#"
        "app.ready","gen":17,"pid":48001,"ms":86,"probe":"accept","ready":"proven"}
    "#]],
    );
    assert!(story.fact(accepting).is_empty(), "once");
    story.end(1, Outcome::Serving(serving(17, None)));
    story.serve(1, 17);
    story.known();

    story.at(1000).order(Effect::HandOver {
        from: JobId(1),
        to: JobId(2),
        generation: GenerationId(18),
    });
    story.overview.status.activity = Activity::HotRestart;
    story.overview.status.swap = Some(Swap {
        kind: Some(RestartKind::Hot(HotMode::SelfFork)),
        asked_at: story.start,
        old: Some(Parting {
            generation: GenerationId(17),
            pid: Some(48001),
            told: Told::Serving,
            since: story.start,
            until: None,
        }),
        new: None,
    });
    check(
        &story.known(),
        expect![[r#"
        "restart.begin","from_gen":17,"to_gen":18,"kind":"hot"}
        "state","state":"hot_restart","gen":17,"pid":48001,"build":1,"fresh":true,"stale_since":null,"paused":false,"urls":["http://127.0.0.1:80/"],"problems":{"errors":0,"warnings":0},"counts":{"cold":0,"hot":0},"latency_ms":null,"watch":{"backend":"inotify","dirs":3,"files":12,"unwatched":0}}
    "#]],
    );
    story.fact(supervisor::Event::Spawned(JobId(2), 48002));
    // Nobody has proven it: the supervisor takes it for ready.
    let draining = Report::Draining {
        generation: GenerationId(18),
        old: GenerationId(17),
        pid: Some(48001),
        limit: Duration::from_secs(5),
    };
    check(
        &story.at(1100).report(draining),
        expect![[r#"
        "app.ready","gen":18,"pid":48002,"ms":100,"probe":"accept","ready":"assumed"}
        "warning","code":"draining","message":"gen 18 accepts, gen 17 drains (pid=48001 limit=5.00s)"}
    "#]],
    );
    story.order(Effect::Retire { job: JobId(1) });
    let (who, after) = (Who::Server(GenerationId(17)), Duration::from_secs(5));
    check(
        &story.report(Report::Overdue { who, after }),
        expect![[r#"
        "warning","code":"overdue","message":"gen 17 still drains after 5.00s (connections=0); sent SIGTERM"}
    "#]],
    );
    check(
        &story.at(6000).exited(1, Exit::Code(0)),
        expect![[r#"
        "app.exit","gen":17,"pid":48001,"code":0,"lived_ms":6000,"expected":true}
    "#]],
    );
    let hot = Some(RestartKind::Hot(HotMode::SelfFork));
    let end = story.end(2, Outcome::Serving(serving(18, hot)));
    check(
        &end,
        expect![[r#"
        "restart.end","from_gen":17,"to_gen":18,"kind":"hot","ok":true,"drained":false,"killed":false,"ready_ms":86}
        "cycle.end","cycle":2,"status":"serving","ms":1310,"gen":18,"pid":48390,"old":48213,"restart":"hot","mode":"self","ready":"proven","accept_ms":86,"fresh_ms":124,"errors":0,"warnings":0,"url":"http://127.0.0.1:80/"}
    "#]],
    );
    story.overview.status.swap = None;
    assert!(story.known().is_empty(), "it has ended");
}

#[test]
fn a_restart_of_which_nothing_comes_ends_as_well() {
    let mut story = Story::new();
    let swap = Swap {
        kind: Some(RestartKind::Cold),
        asked_at: story.start,
        old: None,
        new: None,
    };
    story.overview.status.swap = Some(swap);
    story.known();
    story.starts(3, 4);
    // Stopped before it was there.
    story.overview.status.swap = None;
    let events = story.known();
    check(
        &events[..1],
        expect![[r#"
        "restart.end","from_gen":null,"to_gen":1,"kind":"cold","ok":false,"killed":false}
    "#]],
    );
    story.overview.status.swap = Some(swap);
    story.known();
    story.starts(4, 5);
    check(
        &story.at(20).exited(4, Exit::Code(2)),
        expect![[r#"
        "app.exit","gen":5,"pid":48004,"code":2,"lived_ms":20,"expected":false}
    "#]],
    );
    let crashed = Outcome::Crashed {
        generation: GenerationId(5),
        exit: Some(Exit::Code(2)),
        reason: None,
        serving: None,
        retry: Retry::OnChange,
    };
    check(
        &story.end(3, crashed)[..1],
        expect![[r#"
        "restart.end","from_gen":null,"to_gen":5,"kind":"cold","ok":false,"killed":false}
    "#]],
    );
}

#[test]
fn an_exit_is_expected_by_whoever_has_asked_for_it() {
    let mut story = Story::new();
    story.starts(1, 1);
    story.starts(2, 2);
    story.order(stop(1));
    check(
        &story.at(70).exited(1, Exit::Signal(15)),
        expect![[r#"
        "app.exit","gen":1,"pid":48001,"signal":"SIGTERM","lived_ms":70,"expected":true}
    "#]],
    );
    check(
        &story.at(80).exited(2, Exit::Code(2)),
        expect![[r#"
        "app.exit","gen":2,"pid":48002,"code":2,"lived_ms":80,"expected":false}
    "#]],
    );
    story.starts(3, 3);
    check(
        &story.fact(supervisor::Event::TookOver(JobId(3), 48009)),
        expect![[r#"
            "app.exit","gen":3,"pid":48003,"lived_ms":0,"expected":true}
        "#]],
    );
    story.order(Effect::Recognise {
        from: JobId(3),
        to: JobId(4),
        generation: GenerationId(4),
        pid: 48009,
    });
    let took_over = Report::TookOver {
        generation: GenerationId(4),
        pid: 48009,
    };
    check(
        &story.report(took_over),
        expect![[r#"
        "app.ready","gen":4,"pid":48009,"ms":0,"probe":"accept","ready":"proven"}
        "warning","code":"took_over","message":"the server handed over by itself: gen 4 pid=48009 serves"}
    "#]],
    );
    assert!(story.exited(9, Exit::Code(0)).is_empty(), "nobody's");
    let quit = supervisor::Event::Asked(Request::Quit { code: 0 });
    assert!(story.fact(quit).is_empty());
}

#[test]
fn notes_are_warnings_with_a_code() {
    let mut story = Story::new();
    let down = Report::Down {
        generation: GenerationId(17),
        exit: Some(Exit::Code(2)),
        reason: None,
        lived: Duration::from_secs(125),
        retry: Retry::In(Duration::from_millis(100)),
    };
    let since = story.start;
    let stale = Report::Stale {
        generation: GenerationId(17),
        since,
    };
    let told = [down, stale, Report::Paused].map(|report| story.report(report));
    check(
        &told.concat(),
        expect![[r#"
        "warning","code":"crashed","message":"gen 17 crashed exit=2 after=2m05s last=\"starting\\npanic: boom\""}
        "warning","code":"retry","message":"starting it again in 100ms"}
        "warning","code":"stale","message":"gen 17 still serves, STALE since 14:02:11"}
        "warning","code":"paused","message":"paused; changes wait until resumed, or until a build is asked for"}
    "#]],
    );
    check(
        &[warning("note", "a\nb")],
        expect![[r#"
        "warning","code":"note","message":"a\nb"}
    "#]],
    );
}

#[test]
fn what_is_printed_names_its_printer() {
    let text = || "\u{1b}[2J\u{9b}\u{202e}\u{e0001}grün \u{fffd}\u{7f}\n".to_owned();
    check(
        &[
            output(Printer::Server(17, Stream::Out), text()),
            output(Printer::Server(17, Stream::Err), "x".to_owned()),
            output(Printer::Rule(4, "the assets"), "x\n".to_owned()),
        ],
        expect![[r#"
            "output","gen":17,"stream":"stdout","text":"\u001b[2J\u009b\u202e\udb40\udc01grün �\u007f\n"}
            "output","gen":17,"stream":"stderr","text":"x"}
            "output","cycle":4,"rule":"the assets","stream":"build","text":"x\n"}
        "#]],
    );
}

#[test]
fn a_config_is_well_or_has_findings() {
    let file = Path::new("/p/devwatch.toml");
    let text = "a = 1\nb = 2\n";
    let item = crate::config::diagnostic::Diagnostic::error(text, 6..7, "unknown key `b`");
    let mut found = Diagnostics {
        file: file.to_owned(),
        items: vec![item.label("did you mean `c`?")],
    };
    check(
        &config(file, false, &found),
        expect![[r#"
        "config","ok":false,"file":"/p/devwatch.toml","line":2,"col":1,"severity":"error","message":"unknown key `b`; did you mean `c`?"}
    "#]],
    );
    found.items.clear();
    check(
        &config(file, true, &found),
        expect![[r#"
        "config","ok":true,"file":"/p/devwatch.toml"}
    "#]],
    );
    check(
        &[unreadable_config(file, "cannot read it")],
        expect![[r#"
        "config","ok":false,"file":"/p/devwatch.toml","message":"cannot read it"}
    "#]],
    );
}

proptest! {
    /// Whatever is printed or named, an event is one line of printable JSON that says just that.
    #[test]
    fn an_event_is_one_printable_line_and_says_what_it_was_given(text in any::<String>(), seq in any::<u64>()) {
        let line = output(Printer::Rule(1, &text), text.clone()).line(seq, then());
        prop_assert!(!line.contains(hides));
        let parsed: Value = serde_json::from_str(&line).expect("JSON");
        prop_assert_eq!(&parsed["text"], &text);
        prop_assert_eq!(&parsed["rule"], &text);
        prop_assert_eq!(&parsed["seq"], seq);
        prop_assert_eq!(&parsed["v"], 1);
        prop_assert_eq!(&parsed["t"], "2026-11-22T12:00:00.123Z");
    }
}
