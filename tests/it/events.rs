//! `--ui json`: what happens, as programs read it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::project::{Devwatch, PATIENCE, Project, eventually, free_port, get, peak_memory};

/// A devwatch whose every line has to be an event: what came on stderr would be none.
struct Reader {
    devwatch: Devwatch,
    seen: Vec<Value>,
    /// How many of them were looked at.
    read: usize,
}

impl Reader {
    fn of(devwatch: Devwatch) -> Reader {
        Reader {
            devwatch,
            seen: Vec::new(),
            read: 0,
        }
    }

    fn take(&mut self, line: &str) {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| {
            panic!("no event: {line:?}: {error}\n{}", self.devwatch.story());
        });
        let hidden = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!line.contains(hidden), "it could move the cursor: {line:?}");
        assert_eq!(event["v"], 1);
        assert_eq!(event["seq"], self.seen.len() + 1, "{line}");
        let time = event["t"].as_str().expect("a time");
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        assert!(event["type"].is_string());
        if self.seen.is_empty() {
            assert_eq!(event["type"], "state", "the first of all");
        }
        self.seen.push(event);
    }

    /// Reads on until an event of this type that has all of `fields`.
    #[track_caller]
    fn until(&mut self, kind: &str, fields: Value) -> Value {
        let what = format!("{kind} {fields}");
        loop {
            while let Some(event) = self.seen.get(self.read) {
                self.read += 1;
                let wanted = fields.as_object().expect("fields");
                let fits = wanted.iter().all(|(name, value)| event[name] == *value);
                if event["type"] == kind && fits {
                    return event.clone();
                }
            }
            let line = self.devwatch.line_where(&what, |_| true);
            self.take(&line);
        }
    }

    /// Of what was read since `from`, the types: not what can come in between at any time.
    fn story(&self, from: usize) -> Vec<&str> {
        let events = self.seen[from..self.read].iter();
        let kinds = events.map(|event| event["type"].as_str().expect("a type"));
        kinds
            .filter(|kind| !["state", "output", "warning"].contains(kind))
            .collect()
    }

    /// What was printed there, put together again.
    fn printed(&self, stream: &str) -> String {
        let events = self.seen.iter();
        let output = events.filter(|event| event["type"] == "output" && event["stream"] == stream);
        output
            .map(|event| event["text"].as_str().expect("text"))
            .collect()
    }

    /// TERM, and everything up to the end.
    #[track_caller]
    fn terminate(&mut self) {
        self.devwatch.signal(Signal::SIGTERM);
        assert_eq!(self.devwatch.ended().code(), Some(143));
        // The threads that read the streams end with them.
        while let Some(line) = self.devwatch.next_line(PATIENCE) {
            self.take(&line);
        }
        self.read = self.seen.len();
    }
}

const SECRET: &str = "tr0ub4dor";

/// A build that copies a script, and fails where that says BROKEN; the server is the script, on a held socket.
fn project(restart: &str) -> Project {
    let project = Project::new();
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]\nname = \"the copy\"\nfiles = [\"**/source.sh\"]\noutputs = [\"built.sh\"]\nproblems = \"gnu\"\n\
             run = \"if grep BROKEN source.sh; then echo 'source.sh:1:2: error: broken' >&2; exit 3; fi; cp source.sh built.sh\"\n\
             env = {{ TOKEN = \"{SECRET}\" }}\n\
             [server]\nrun = [\"sh\", \"built.sh\"]\nlisten = \"127.0.0.1:0\"\nenv = {{ TOKEN = \"{SECRET}\" }}\n{restart}\n"
        ),
    );
    project.script(&["listen", "fd", "print-hex", "6e616d653f20", "serve", "v1"]);
    project
}

#[test]
fn a_whole_day_is_told_in_events_and_in_nothing_else() {
    let project = project("restart = \"hot\"\n[server.hot]\nmode = \"overlap\"");
    let mut events = Reader::of(project.devwatch(&["--ui", "json"]));
    let end = events.until("cycle.end", json!({"cycle": 1}));
    assert_eq!(end["status"], "serving", "{end}");
    assert_eq!(events.seen[0]["state"], "starting");
    let whole = [
        "cycle.begin",
        "build.begin",
        "build.end",
        "app.ready",
        "cycle.end",
    ];
    assert_eq!(events.story(0), whole);
    let command = events.seen.iter().find(|it| it["type"] == "build.begin");
    let command = command.expect("it ran");
    assert_eq!(command["rule"], "the copy");
    assert_eq!(command["cwd"], project.root().to_str().expect("UTF-8"));
    let state = events.until("state", json!({"state": "serving"}));
    assert_eq!((&state["gen"], &state["fresh"]), (&json!(1), &json!(true)));
    assert_eq!(state["pid"], end["pid"]);
    assert_eq!(state["urls"][0], end["url"].as_str().expect("a url"));
    // A prompt has no newline, and comes all the same.
    events.until(
        "output",
        json!({"gen": 1, "stream": "stdout", "text": "name? "}),
    );

    // Saved: one generation gives way to the next.
    let from = events.read;
    project.script(&["listen", "fd", "eprint", "second", "serve", "v2"]);
    let end = events.until("cycle.end", json!({"cycle": 2}));
    assert_eq!(
        (&end["status"], &end["restart"]),
        (&json!("serving"), &json!("hot"))
    );
    let hot = [
        "change",
        "cycle.begin",
        "build.begin",
        "build.end",
        "restart.begin",
        "app.ready",
        "app.exit",
        "restart.end",
        "cycle.end",
    ];
    assert_eq!(events.story(from), hot);
    let change = &events.seen[from..].iter().find(|it| it["type"] == "change");
    let change = change.expect("it is told");
    let path = json!({"path": "source.sh", "kind": "modified", "rule": "the copy", "rule_at": "devwatch.toml:1"});
    assert_eq!(
        (&change["paths"], &change["cycle"]),
        (&json!([path]), &json!(2))
    );
    let restart = events.seen[from..]
        .iter()
        .find(|it| it["type"] == "restart.end");
    let restart = restart.expect("it ended");
    assert_eq!(
        (&restart["from_gen"], &restart["to_gen"], &restart["ok"]),
        (&json!(1), &json!(2), &json!(true))
    );
    events.until(
        "state",
        json!({"state": "serving", "gen": 2, "counts": {"hot": 1, "cold": 0}}),
    );

    // Broken: what is wrong, and where; what serves is stale.
    let from = events.read;
    project.edit("source.sh", "exec", "BROKEN exec");
    let failed = events.until(
        "cycle.end",
        json!({"cycle": 3, "status": "failed", "errors": 1}),
    );
    assert_eq!(
        (&failed["rule"], &failed["serving"]),
        (&json!("the copy"), &json!(2))
    );
    let broken = [
        "change",
        "cycle.begin",
        "build.begin",
        "build.end",
        "diagnostic",
        "cycle.end",
    ];
    assert_eq!(events.story(from), broken);
    let found = events.seen.iter().find(|it| it["type"] == "diagnostic");
    let found = found.expect("a diagnostic");
    assert_eq!(
        found["file"],
        project.path("source.sh").to_str().expect("UTF-8")
    );
    assert_eq!((&found["line"], &found["col"]), (&json!(1), &json!(2)));
    let state = events.until("state", json!({"state": "build_failed"}));
    assert_eq!(
        (&state["fresh"], &state["problems"]["errors"]),
        (&json!(false), &json!(1))
    );
    assert!(state["stale_since"].is_string());

    // Mended, and it does not come up: the one before serves on.
    let from = events.read;
    project.write("source.sh", "echo 'cannot open' >&2; exit 7\n");
    let crashed = events.until("cycle.end", json!({"cycle": 4}));
    assert_eq!(
        (&crashed["status"], &crashed["exit"]),
        (&json!("crashed"), &json!(7))
    );
    assert_eq!(
        (&crashed["serving"], &crashed["last"]),
        (&json!(2), &json!(["cannot open"]))
    );
    let not_up = [
        "change",
        "cycle.begin",
        "build.begin",
        "build.end",
        "restart.begin",
        "app.exit",
        "restart.end",
        "cycle.end",
    ];
    assert_eq!(events.story(from), not_up);
    project.script(&["listen", "fd", "serve", "v3"]);
    events.until("app.exit", json!({"gen": 2, "expected": true}));
    let end = events.until("cycle.end", json!({"cycle": 5, "status": "serving"}));

    // It crashes, and another one takes its place.
    let pid = end["pid"].as_i64().expect("a pid");
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("it runs");
    let exit = events.until("app.exit", json!({"pid": pid, "expected": false}));
    assert_eq!(exit["signal"], "SIGKILL");
    events.until("cycle.begin", json!({"cycle": 6, "cause": "crash"}));
    events.until("cycle.end", json!({"cycle": 6}));

    // A config that cannot be used, and can.
    let config = project.read("devwatch.toml");
    project.write("devwatch.toml", &config.replace("listen =", "lisen ="));
    let finding = events.until("config", json!({"ok": false, "severity": "error"}));
    assert_eq!(finding["line"], 10, "{finding}");
    assert_eq!(
        finding["file"],
        project.path("devwatch.toml").to_str().expect("UTF-8")
    );
    events.until("state", json!({"state": "config_error"}));
    project.write("devwatch.toml", &config);
    events.until("config", json!({"ok": true}));
    events.until("cycle.end", json!({"cycle": 7}));

    events.terminate();
    let last = events.seen.iter().rfind(|it| it["type"] == "app.exit");
    assert_eq!(last.expect("it went")["expected"], true);
    let last = events.seen.iter().rfind(|it| it["type"] == "state");
    assert_eq!(last.expect("a state")["state"], "stopping");
    assert!(events.printed("stdout").contains("name? "));
    assert_eq!(events.printed("stderr"), "second\ncannot open\n");
    let all = events.devwatch.said().join("\n");
    assert!(!all.contains(SECRET), "it stands in an environment");
    // Every begin has its end.
    for pair in ["cycle", "build", "restart"] {
        let count = |end: &str| {
            let kind = format!("{pair}.{end}");
            events.seen.iter().filter(|it| it["type"] == *kind).count()
        };
        assert_eq!(count("begin"), count("end"), "{pair}\n{all}");
    }
}

#[test]
fn whatever_is_printed_or_named_is_json() {
    let project = project("");
    let hostile = "1b5b324a 0d 07 9b326d c29b e280ae 00 ff fe 22 5c 0a f09f9880 0a";
    let hostile = hostile.replace(' ', "");
    project.script(&[
        "listen",
        "fd",
        "print-hex",
        &hostile,
        "flood-lines",
        "500",
        "serve",
        "v1",
    ]);
    let mut events = Reader::of(project.devwatch(&["--ui", "json"]));
    events.until("cycle.end", json!({"cycle": 1, "status": "serving"}));
    let names = [
        OsStr::from_bytes(b"a\xff\x9bb\n{\"v\":1}").to_owned(),
        "\u{202e}\u{1b}]0;x\u{7}\"\\".into(),
    ];
    for (cycle, name) in (2..).zip(names) {
        let folder = project.root().join(&name);
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("source.sh"), "").expect("a file");
        let change = events.until("change", json!({"cycle": cycle}));
        let path = change["paths"][0]["path"].as_str().expect("a path");
        assert_eq!(path, format!("{}/source.sh", name.to_string_lossy()));
        events.until("cycle.end", json!({"cycle": cycle}));
    }
    events.terminate();
    let printed = events.printed("stdout");
    let mut lines = printed.lines();
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("listening "))
    );
    let marks = "\u{1b}[2J\r\u{7}\u{fffd}2m\u{9b}\u{202e}\0\u{fffd}\u{fffd}\"\\";
    assert_eq!(lines.next(), Some(marks));
    assert_eq!(lines.next(), Some("\u{1f600}"));
    assert_eq!(lines.count(), 500, "and all that came after");
}

#[test]
fn a_line_without_an_end_comes_in_pieces_and_costs_no_memory() {
    let project = project("ready = { timeout = \"50s\" }");
    let long: usize = 96 << 20;
    let flood = long.to_string();
    project.script(&["flood", &flood, "print", "", "listen", "fd", "serve", "v1"]);
    let mut events = Reader::of(project.devwatch(&["--ui", "json"]));
    events.until("cycle.end", json!({"cycle": 1, "status": "serving"}));
    let peak = peak_memory(events.devwatch.pid());
    // What devwatch itself takes is some 20 MiB, and some more with the allocator's arenas.
    assert!(peak < long / 2, "{peak} bytes");
    // What the pipe still held when the server was ready comes, too.
    events.terminate();
    let pieces = events
        .seen
        .iter()
        .filter_map(|event| event["text"].as_str());
    let (mut sum, mut longest) = (0, 0);
    for piece in pieces {
        (sum, longest) = (sum + piece.len(), longest.max(piece.len()));
    }
    assert!(sum > long && longest <= 8 << 10, "{sum} {longest}");
}

#[test]
fn a_reader_that_goes_away_ends_nothing() {
    let port = free_port();
    let project = Project::scripted("", &["listen", &format!("127.0.0.1:{port}"), "serve", "v1"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let devwatch = project.devwatch_with(&["--ui", "json"], |command| {
        command.stdout(writer);
    });
    drop(reader);
    assert!(eventually(PATIENCE, || get(port).is_ok_and(|body| body == "v1")));
    project.script(&["listen", &format!("127.0.0.1:{port}"), "serve", "v2"]);
    assert!(eventually(PATIENCE, || get(port).is_ok_and(|body| body == "v2")));
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_build_once_tells_events_and_what_cannot_begin_says_so_on_stderr() {
    let project = project("");
    let parsed = |out: &str| -> Vec<Value> {
        let lines = out.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    };
    let (status, out, err) = project.once(&["build", "--ui", "json"]);
    assert_eq!((status.code(), err.as_str()), (Some(0), ""), "{out}");
    let events = parsed(&out);
    let end = events.iter().find(|event| event["type"] == "cycle.end");
    assert_eq!(end.expect("an end")["status"], "ok");

    project.edit("source.sh", "exec", "BROKEN exec");
    let (status, out, err) = project.once(&["--ui", "json", "build"]);
    assert_eq!((status.code(), err.as_str()), (Some(1), ""), "{out}");
    let events = parsed(&out);
    let texts = events.iter().filter(|event| event["type"] == "output");
    let text: String = texts.filter_map(|event| event["text"].as_str()).collect();
    assert!(text.ends_with("source.sh:1:2: error: broken\n"), "{text}");

    let mut first = Reader::of(project.devwatch(&["--ui", "json"]));
    first.until("cycle.end", json!({"status": "failed"}));
    let (status, out, err) = project.once(&["--ui", "json"]);
    assert_eq!((status.code(), out.as_str()), (Some(6), ""));
    assert!(err.starts_with("devwatch: "), "{err}");
    first.terminate();
    project.edit("devwatch.toml", "listen =", "lisen =");
    let (status, out, err) = project.once(&["--ui", "json"]);
    assert_eq!((status.code(), out.as_str()), (Some(2), ""));
    assert!(err.contains("did you mean `listen`"), "{err}");
}
