//! Every state, drawn at every size, compared with what was drawn before.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{ExpectFile, expect_file};

use super::*;
use crate::diagnostics::{Problem, Problems, Severity};
use crate::history::{Down, History, Past, Trouble};
use crate::overview::{Place, Refused, Running, Watched};
use crate::process::Stream;
use crate::screen::excerpts::Excerpt;
use crate::screen::log::{Bounds, Source};
use crate::supervisor::event::{
    Cause, Evidence, Exit, HotMode, Outcome, RestartKind, Retry, Serving,
};
use crate::supervisor::generation::{GenerationId, JobId};
use crate::supervisor::plan::RuleId;
use crate::supervisor::status::{
    Activity, Attempt, Freshness, Parting, Process, Status, Swap, Told,
};

/// A scene with everything that it holds.
struct Stage {
    overview: Overview,
    app: Log,
    build: Log,
    ui: Ui,
    excerpts: Excerpts,
    now: Instant,
}

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

impl Stage {
    fn new() -> Stage {
        #[expect(clippy::disallowed_methods, reason = "somewhere time has to come from")]
        let now = Instant::now() + Duration::from_secs(100_000);
        let latencies = [1.1, 1.6, 1.1, 0.6, 1.1, 2.2, 1.1, 1.42].map(secs);
        let mut history = History::default();
        (history.hot, history.cold) = (12, 3);
        history.latencies = VecDeque::from(latencies);
        history.cycles = past_cycles();
        let overview = Overview {
            project: "demo-api".to_owned(),
            root: "/p".into(),
            status: Status {
                activity: Activity::Resting,
                has_server: true,
                serving: Some(process(17, 48213, now - secs(192.0))),
                freshness: Freshness::Fresh,
                attempt: None,
                swap: None,
                paused: None,
            },
            history: Arc::new(history),
            commands: Vec::new(),
            expected: Some(secs(1.24)),
            problems: Arc::new(Problems::default()),
            crash: Arc::new(Problems::default()),
            places: vec![
                Place {
                    text: "http://127.0.0.1:8080".to_owned(),
                    url: Some("http://127.0.0.1:8080/".to_owned()),
                },
                Place {
                    text: "grpc 127.0.0.1:9090".to_owned(),
                    url: None,
                },
            ],
            waiting: 0,
            connections: 3,
            method: "SIGHUP + fd inheritance".to_owned(),
            watched: Watched {
                files: 214,
                dirs: 38,
                unwatched: 0,
                polls: false,
            },
            refused: None,
        };
        let mut stage = Stage {
            overview,
            app: Log::new(Bounds::default()),
            build: Log::new(Bounds::default()),
            ui: Ui::new(false, true, false),
            excerpts: Excerpts::default(),
            now,
        };
        stage.print(
            17,
            "14:02:03.114 INFO  listening addr=127.0.0.1:8080 gen=17\n\
             14:02:07.482 INFO  GET /healthz 200 112µs\n\
             14:02:09.031 INFO  GET /api/users 200 3.4ms rows=20\n\
             14:02:09.977 WARN  slow query 212ms q=\"select * from orders where user_id=$1\"\n",
        );
        stage
    }

    fn print(&mut self, generation: u64, text: &str) {
        let source = Source {
            generation,
            job: JobId(generation),
            stream: Stream::Out,
        };
        self.app.push(source, text.as_bytes());
    }

    fn history(&mut self) -> &mut History {
        Arc::get_mut(&mut self.overview.history).expect("nobody else has it")
    }

    fn attempt(&mut self, build: u64, files: &[&str], ago: f64, built: Option<f64>) {
        self.overview.status.attempt = Some(Attempt {
            build,
            cause: files_cause(files),
            begun_at: self.now - secs(ago),
            built: built.map(secs),
        });
    }

    fn serving() -> Stage {
        let mut stage = Stage::new();
        stage.print(17, "14:02:10.215 INFO  GET /api/orders?user=7 200 214ms\n");
        stage
    }

    fn building() -> Stage {
        let mut stage = Stage::serving();
        stage.attempt(43, USER, 0.8, None);
        let status = &mut stage.overview.status;
        status.activity = Activity::Building;
        status.serving = Some(process(17, 48213, stage.now - secs(220.0)));
        status.freshness = Freshness::Stale(stage.now - secs(0.8));
        stage.overview.commands = vec![Running {
            rule: "build".to_owned(),
            command: "go build -o .devwatch/bin/api ./cmd/api".to_owned(),
            since: stage.now - secs(0.8),
            median: Some(secs(1.24)),
        }];
        let source = Source {
            generation: 43,
            job: JobId(99),
            stream: Stream::Err,
        };
        stage.build.push(source, b"internal/api 2/3 pkgs\n");
        stage
    }

    fn failed() -> Stage {
        let mut stage = Stage::new();
        let now = stage.now;
        let status = &mut stage.overview.status;
        status.serving = Some(process(17, 48213, now - secs(221.0)));
        status.freshness = Freshness::Stale(now - secs(2.0));
        let mut failure = past(43, USER, 0.62, "14:02:12");
        failure.outcome = Outcome::Failed {
            rule: RuleId(0),
            exit: Some(Exit::Code(1)),
            reason: None,
            serving: Some(GenerationId(17)),
        };
        (failure.errors, failure.warnings) = (2, 1);
        let list = vec![
            problem(
                "internal/api/user.go",
                31,
                9,
                Severity::Error,
                "undefined: usr",
            ),
            problem(
                "internal/api/user.go",
                44,
                2,
                Severity::Error,
                "declared and not used: tmp",
            ),
            problem(
                "internal/store/db.go",
                12,
                3,
                Severity::Warning,
                "fmt.Printf format %d has arg s of wrong type",
            ),
        ];
        stage.overview.problems = Arc::new(Problems {
            list,
            errors: 2,
            warnings: 1,
            infos: 0,
        });
        let file = Path::new("/p/internal/api/user.go");
        let name = "func (h *Handler) Name() string {";
        let excerpt = Excerpt::new(Some(name), "\treturn usr.Name");
        stage.excerpts.insert(file, 31, excerpt);
        let excerpt = Excerpt::new(Some("{"), "\ttmp := h.db");
        stage.excerpts.insert(file, 44, excerpt);
        let history = stage.history();
        history.cycles.push_front(failure);
        history.trouble = Some(Trouble::Failed);
        stage
    }

    fn hot_restart() -> Stage {
        let mut stage = Stage::new();
        stage.app = Log::new(Bounds::default());
        stage.print(
            17,
            "14:02:13.402 INFO  gen=17 received SIGHUP, stop accepting\n",
        );
        stage.print(
            18,
            "14:02:13.488 INFO  gen=18 listening on inherited fd 3\n\
             14:02:13.490 INFO  gen=18 ready\n",
        );
        stage.attempt(43, USER, 3.4, Some(1.18));
        let now = stage.now;
        let asked = now - secs(2.1) - Duration::from_millis(86);
        let mut new = process(18, 48390, asked);
        new.ready_at = Some(now - secs(2.1));
        let status = &mut stage.overview.status;
        status.activity = Activity::HotRestart;
        status.serving = Some(new);
        status.freshness = Freshness::Stale(now - secs(3.5));
        status.swap = Some(Swap {
            kind: Some(RestartKind::Hot(HotMode::SelfFork)),
            asked_at: asked,
            old: Some(Parting {
                generation: GenerationId(17),
                pid: Some(48213),
                told: Told::Draining,
                since: now - secs(2.1),
                until: Some(now - secs(2.1) + secs(10.0)),
            }),
            new: Some(new),
        });
        stage
    }

    fn crashed() -> Stage {
        let mut stage = Stage::new();
        stage.app = Log::new(Bounds::default());
        stage.print(18, "14:05:40.101 INFO  starting gen=18\n");
        let status = &mut stage.overview.status;
        status.serving = None;
        status.freshness = Freshness::NotServing;
        stage.overview.waiting = 2;
        stage.overview.crash = Arc::new(Problems {
            list: vec![problem(
                "internal/store/db.go",
                27,
                14,
                Severity::Error,
                "main.go → store.Open()",
            )],
            errors: 1,
            ..Problems::default()
        });
        let file = Path::new("/p/internal/store/db.go");
        let excerpt = Excerpt::new(Some("{"), "\treturn c.pool.Ping(ctx)");
        stage.excerpts.insert(file, 27, excerpt);
        let last = [
            "panic: runtime error: invalid memory address or nil pointer dereference",
            "goroutine 1 [running]:",
            "demo/internal/store.Open(...)",
            "\tinternal/store/db.go:27 +0x2c",
            "main.main()",
            "\tcmd/api/main.go:19 +0x85",
        ];
        let history = stage.history();
        (history.hot, history.cold) = (13, 4);
        history
            .cycles
            .push_front(past(44, &["internal/store/db.go"], 1.22, "14:05:40"));
        history.trouble = Some(Trouble::Down(Down {
            generation: GenerationId(18),
            exit: Some(Exit::Code(2)),
            reason: None,
            lived: Some(secs(0.3)),
            retry: Retry::OnChange,
            serving: None,
            last: last.map(str::to_owned).to_vec(),
        }));
        stage
    }

    fn config_error() -> Stage {
        let mut stage = Stage::new();
        let since = stage.now - secs(542.0);
        stage.overview.status.serving = Some(process(17, 48213, since));
        stage.overview.refused = Some(Refused {
            file: "devwatch.toml".to_owned(),
            text: "error: unknown key `restrat` in [server]\n  --> devwatch.toml:14:1\n   |\n\
                   14 | restrat = \"hot\"\n   | ^^^^^^^ did you mean `restart`?\n   |\n\
                   help: allowed keys: run, restart, env, cwd, listen, ready, stop\n"
                .to_owned(),
        });
        stage
    }

    fn cold_restart() -> Stage {
        let mut stage = Stage::new();
        stage.attempt(43, &["go.mod"], 6.4, Some(6.02));
        let now = stage.now;
        let status = &mut stage.overview.status;
        status.activity = Activity::ColdRestart;
        status.serving = None;
        status.freshness = Freshness::NotServing;
        status.swap = Some(Swap {
            kind: Some(RestartKind::Hold),
            asked_at: now - secs(0.4),
            old: Some(Parting {
                generation: GenerationId(17),
                pid: Some(48213),
                told: Told::Stopping,
                since: now - secs(0.4),
                until: Some(now + secs(4.6)),
            }),
            new: None,
        });
        stage.overview.waiting = 1;
        stage
    }

    fn starting() -> Stage {
        let mut stage = Stage::new();
        stage.app = Log::new(Bounds::default());
        stage.print(1, "14:02:03.114 INFO  reading settings\n");
        stage.attempt(1, &[], 2.4, Some(2.02));
        let mut new = process(1, 48213, stage.now - secs(0.4));
        new.ready_at = None;
        let status = &mut stage.overview.status;
        status.activity = Activity::Starting;
        status.serving = None;
        status.freshness = Freshness::NotServing;
        status.swap = Some(Swap {
            kind: None,
            asked_at: new.started_at,
            old: None,
            new: Some(new),
        });
        stage.overview.expected = None;
        *stage.history() = History::default();
        stage
    }

    fn paused() -> Stage {
        let mut stage = Stage::serving();
        stage.overview.status.paused = Some(3);
        stage.overview.status.freshness = Freshness::Stale(stage.now - secs(2.0));
        stage
    }

    fn idle() -> Stage {
        let mut stage = Stage::new();
        stage.app = Log::new(Bounds::default());
        let source = Source {
            generation: 42,
            job: JobId(99),
            stream: Stream::Err,
        };
        stage.build.push(
            source,
            b"ok  \tdemo/internal/api\t0.21s\nok  \tdemo/internal/store\t0.04s\n",
        );
        let status = &mut stage.overview.status;
        status.has_server = false;
        status.serving = None;
        status.freshness = Freshness::NotServing;
        stage.overview.places.clear();
        let history = stage.history();
        (history.hot, history.cold) = (0, 0);
        history.latencies.clear();
        stage
    }

    fn scene<'a>(&'a self, keys: &'a Keys, look: Look) -> Scene<'a> {
        Scene {
            overview: &self.overview,
            app: &self.app,
            build: &self.build,
            ui: &self.ui,
            excerpts: &self.excerpts,
            keys,
            files: &[],
            link: "file://box{path}#L{line}",
            look,
            now: self.now,
            clock: &|_| "14:02:11".to_owned(),
        }
    }

    /// The frame after all that has happened.
    fn drawn(&mut self, width: u16, height: u16, look: Look) -> Buffer {
        let keys = Keys::default();
        let log = main_log(&self.overview, &self.app, &self.build);
        self.ui.prepare(&self.overview, log, self.now);
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        let room = draw(&self.scene(&keys, look), &mut buffer);
        self.ui.saw(room);
        buffer
    }

    fn text(&mut self, width: u16, height: u16) -> String {
        text(&self.drawn(width, height, LOOK))
    }
}

const LOOK: Look = Look {
    colours: true,
    ascii: false,
    links: false,
};
const USER: &[&str] = &["internal/api/user.go", "web/a.tmpl", "web/b.tmpl"];

fn files_cause(files: &[&str]) -> Cause {
    match files {
        [] => Cause::Start,
        files => Cause::Files(files.iter().map(Into::into).collect::<BTreeSet<_>>()),
    }
}

fn process(generation: u64, pid: i32, since: Instant) -> Process {
    Process {
        generation: GenerationId(generation),
        pid: Some(pid),
        started_at: since,
        ready_at: Some(since),
    }
}

fn problem(path: &str, line: u32, column: u32, severity: Severity, message: &str) -> Problem {
    Problem {
        path: path.to_owned(),
        file: Some(Path::new("/p").join(path)),
        line,
        column: Some(column),
        end: None,
        severity,
        message: message.to_owned(),
        code: None,
        tool: "go".to_owned(),
        rendered: None,
    }
}

fn past(build: u64, files: &[&str], built: f64, at: &str) -> Past {
    Past {
        build,
        at: at.to_owned(),
        cause: files_cause(files),
        ran: true,
        cached: false,
        built: Some(secs(built)),
        took: secs(built),
        outcome: Outcome::Unchanged {
            serving: GenerationId(17),
        },
        errors: 0,
        warnings: 0,
        latency: None,
    }
}

fn past_cycles() -> VecDeque<Past> {
    let serving = |restart, accept: u64, mut past: Past, latency: f64| {
        past.outcome = Outcome::Serving(Serving {
            generation: GenerationId(17),
            pid: None,
            old: None,
            restart,
            ready: Evidence::Proven,
            accept: Duration::from_millis(accept),
            fresh: Duration::from_millis(accept),
            reason: None,
        });
        past.latency = Some(secs(latency));
        past
    };
    let hot = Some(RestartKind::Hot(HotMode::SelfFork));
    let mut failed = past(41, &["internal/store/db.go"], 0.61, "13:58:02");
    failed.errors = 1;
    failed.outcome = Outcome::Failed {
        rule: RuleId(0),
        exit: Some(Exit::Code(1)),
        reason: None,
        serving: Some(GenerationId(16)),
    };
    let mut style = past(39, &["web/style.css"], 0.0, "13:51:19");
    style.ran = false;
    [
        serving(
            hot,
            91,
            past(42, &["internal/store/db.go"], 1.31, "13:58:47"),
            1.55,
        ),
        failed,
        serving(
            Some(RestartKind::Cold),
            240,
            past(40, &["go.mod", "go.sum"], 6.02, "13:55:30"),
            6.4,
        ),
        style,
    ]
    .into()
}

fn text(buffer: &Buffer) -> String {
    let area = buffer.area;
    let mut text = String::new();
    for y in 0..area.height {
        let mut row = String::new();
        let mut skip = 0;
        for x in 0..area.width {
            let symbol = buffer[(x, y)].symbol();
            if skip == 0 {
                row.push_str(symbol);
                skip = symbol.width().max(1) - 1;
            } else {
                skip -= 1;
            }
        }
        writeln!(text, "{}", row.trim_end()).expect("a string takes everything");
    }
    text
}

#[track_caller]
fn check(stage: fn() -> Stage, expected: ExpectFile) {
    let mut all = String::new();
    for (width, height) in SIZES {
        let shown = stage().text(width, height);
        write!(all, "=== {width}x{height}\n{shown}").expect("a string takes everything");
    }
    expected.assert_eq(&all);
}

const SIZES: [(u16, u16); 6] = [(80, 24), (120, 40), (40, 12), (60, 3), (24, 4), (200, 50)];

#[test]
fn serving() {
    check(Stage::serving, expect_file!["snapshots/serving.txt"]);
}

#[test]
fn building() {
    check(Stage::building, expect_file!["snapshots/building.txt"]);
}

#[test]
fn build_failed() {
    check(Stage::failed, expect_file!["snapshots/build_failed.txt"]);
}

#[test]
fn hot_restart() {
    check(
        Stage::hot_restart,
        expect_file!["snapshots/hot_restart.txt"],
    );
}

#[test]
fn cold_restart() {
    check(
        Stage::cold_restart,
        expect_file!["snapshots/cold_restart.txt"],
    );
}

#[test]
fn crashed() {
    check(Stage::crashed, expect_file!["snapshots/crashed.txt"]);
}

#[test]
fn config_error() {
    check(
        Stage::config_error,
        expect_file!["snapshots/config_error.txt"],
    );
}

#[test]
fn starting() {
    check(Stage::starting, expect_file!["snapshots/starting.txt"]);
}

#[test]
fn paused() {
    check(Stage::paused, expect_file!["snapshots/paused.txt"]);
}

#[test]
fn idle() {
    check(Stage::idle, expect_file!["snapshots/idle.txt"]);
}

#[test]
fn places_and_addresses_are_links_where_the_terminal_knows_them() {
    let look = Look {
        links: true,
        ..LOOK
    };
    let buffer = Stage::failed().drawn(80, 24, look);
    let linked = |x: u16, y: u16| buffer[(x, y)].symbol().to_owned();
    let place = "internal/api/user.go:31:9";
    assert_eq!(
        linked(10, 4),
        format!("\x1b]8;;file://box/p/internal/api/user.go#L31\x1b\\{place}\x1b]8;;\x1b\\")
    );
    assert_eq!(buffer[(11, 4)].diff_option, CellDiffOption::Skip);
    let address = "http://127.0.0.1:8080";
    assert_eq!(
        linked(0, 2),
        format!("\x1b]8;;{address}/\x1b\\{address}\x1b]8;;\x1b\\")
    );
}

#[test]
fn a_link_cannot_be_broken_out_of() {
    assert_eq!(
        address("http://x/\x1b]0;t\x07 ü"),
        "http://x/%1B]0;t%07%20%C3%BC"
    );
    let file = Path::new("/a b/#1?.go");
    assert_eq!(
        filled("x:{path}:{line}:{column}", file, 3, 4),
        "x:/a b/%231%3F.go:3:4"
    );
}

#[test]
fn nothing_is_coloured_where_colour_is_refused() {
    let look = Look {
        colours: false,
        ..LOOK
    };
    for stage in [Stage::serving, Stage::failed, Stage::crashed] {
        let buffer = stage().drawn(120, 40, look);
        let plain =
            |cell: &ratatui::buffer::Cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset);
        assert!(buffer.content.iter().all(plain));
    }
}

#[test]
fn an_old_font_is_not_asked_for_lines() {
    let look = Look {
        ascii: true,
        ..LOOK
    };
    for stage in [
        Stage::serving,
        Stage::building,
        Stage::failed,
        Stage::hot_restart,
        Stage::crashed,
    ] {
        let shown = text(&stage().drawn(120, 40, look));
        let own = shown.lines().filter(|line| !line.contains("µs"));
        let strange: Vec<&str> = own.filter(|line| !line.is_ascii()).collect();
        assert_eq!(strange, ["x"; 0]);
    }
}

#[test]
fn every_size_is_drawn() {
    let sizes = [1, 2, 3, 4, 7, 8, 15, 16, 24, 31, 32, 60, 200];
    let widths = [1, 2, 10, 23, 24, 39, 59, 60, 80, 500];
    let stages = [
        Stage::serving,
        Stage::building,
        Stage::failed,
        Stage::hot_restart,
        Stage::cold_restart,
        Stage::crashed,
        Stage::config_error,
        Stage::starting,
        Stage::paused,
        Stage::idle,
    ];
    for stage in stages {
        let mut stage = stage();
        for height in sizes {
            for width in widths {
                let buffer = stage.drawn(width, height, LOOK);
                let word = stage.overview.word().to_string();
                let first = text(&buffer).lines().next().unwrap_or_default().to_owned();
                // The word comes first, as much of it as there is room for.
                let expected: String = format!("[{word}]")
                    .chars()
                    .take(usize::from(width))
                    .collect();
                assert!(
                    first.starts_with(expected.trim_end()),
                    "{width}x{height}: {first:?}"
                );
            }
        }
    }
}
