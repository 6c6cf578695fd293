//! The problems of builds in editors: devwatch's real output and `.devwatch/locations`, read by VS Code's rules, by
//! vim and by Emacs, each set up as `examples/vscode/tasks.json` and the README say.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::project::{Project, have};

/// A project, everything that devwatch printed about it, and the problems that it told: those of a failed build, one
/// that was cancelled, another failed one, one that succeeded with a warning. Paths are below `$ROOT`.
struct Session {
    project: Project,
    output: String,
}

/// What a build prints besides problems: nothing of it is one, or devwatch says it better.
const NOISE: &str = "2026/11/22 12:00:05: started\nserver.go:12:5: error: a log line\nnote: fine\n";
const FIRST: &[&str] = &[
    "src/a b.c:1:5: error: no x: none [-Wx]",
    "src/a b.c:9:2: warning: odd",
    "src/b.c:3: error: no y",
];
const SECOND: &[&str] = &["src/b.c:4:7: error: no z"];
const LAST: &[&str] = &["src/a b.c:2:2: warning: odd still"];

impl Session {
    fn new() -> Session {
        let project = Project::new();
        for file in ["src/a b.c", "src/b.c"] {
            project.write(file, &"int x;\n".repeat(20));
        }
        project.write(
            "devwatch.toml",
            "[[rule]]\nname = \"build\"\nfiles = [\"build.sh\"]\nrun = [\"sh\", \"build.sh\"]\n",
        );
        let build = |lines: &[&str], code: u8| {
            let lines = NOISE.lines().chain(lines.iter().copied());
            let script: String = lines.map(|line| format!("echo '{line}'\n")).collect();
            project.write("build.sh", &format!("{script}exit {code}\n"));
        };
        build(FIRST, 1);
        let mut devwatch = project.devwatch(&["--plain"]);
        devwatch.end("failed");
        let waits = project.child_line(&["wait"]);
        project.write("build.sh", &format!("echo waits\nexec {waits}\n"));
        devwatch.line("waits");
        build(SECOND, 1);
        devwatch.line(" end superseded");
        devwatch.end("failed");
        build(LAST, 0);
        devwatch.end("ok");
        let output = devwatch.said().join("\n") + "\n";
        devwatch.terminate();
        Session { project, output }
    }

    /// A file with the output, in the project.
    fn log(&self) -> std::path::PathBuf {
        self.project.write("devwatch.log", &self.output);
        self.project.path("devwatch.log")
    }

    /// Paths from the root of the project.
    fn short(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.project.root().display()), "")
    }
}

#[test]
fn vscode_marks_what_a_build_found_until_the_next_one_ends() {
    if !have("node") {
        return;
    }
    let session = Session::new();
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut node = Command::new("node");
    node.arg(package.join("tests/it/vscode.js"));
    node.arg(package.join("examples/vscode/tasks.json"));
    node.arg(session.log());
    let seen: Value = serde_json::from_str(&printed(node)).expect("JSON");
    assert_eq!(seen["background"], true);
    assert_eq!(
        seen["groups"], 0,
        "a group would name the only file to clean"
    );
    // Busy from its start; a build that is superseded is no end: whoever waits for the task waits on.
    assert_eq!(
        (&seen["busy"], &seen["idle"]),
        (&3.into(), &3.into()),
        "{seen}"
    );
    assert_eq!(seen["others"], 2, "what others have marked stays");
    let mut steps = Vec::new();
    for step in seen["steps"].as_array().expect("steps") {
        let marked = step["marked"].as_array().expect("a list");
        let mut marked: Vec<String> = marked
            .iter()
            .map(|marker| session.short(marker.as_str().expect("text")))
            .collect();
        marked.sort();
        steps.push((step["after"].as_str().expect("text").to_owned(), marked));
    }
    let first = [
        "src/a b.c:1:5 error no x: none [-Wx]",
        "src/a b.c:9:2 warning odd",
        "src/b.c:3:1 error no y",
    ];
    let second = ["src/b.c:4:7 error no z"];
    let last = ["src/a b.c:2:2 warning odd still"];
    let expected: [(&str, &[&str]); 8] = [
        ("build 1 begin", &[]),
        ("build 1 end failed", &first),
        ("build 2 begin", &first),
        ("build 2 end superseded", &first),
        ("build 3 begin", &first),
        ("build 3 end failed", &second),
        ("build 4 begin", &second),
        ("build 4 end ok", &last),
    ];
    assert_eq!(steps.len(), expected.len(), "{steps:#?}");
    for ((after, marked), (expected, markers)) in steps.iter().zip(expected) {
        assert_eq!(
            (after.as_str(), marked.as_slice()),
            (
                expected,
                markers
                    .iter()
                    .map(|&m| m.to_owned())
                    .collect::<Vec<_>>()
                    .as_slice()
            )
        );
    }
}

#[test]
fn vim_reads_the_file_and_the_output() {
    if !have("vim") {
        return;
    }
    let session = Session::new();
    let (project, log) = (&session.project, session.log());
    project.write("problems.vim", &of_readme("vim"));
    let read = |how: &str| {
        let mut vim = Command::new("vim");
        vim.args(["-es", "-N", "-u", "NONE", "-i", "NONE", "-n"]);
        vim.args(["-c", "source problems.vim", "-c", how]);
        let item = "{_, item -> [bufname(item.bufnr), item.lnum, item.col, item.type, item.text, item.valid]}";
        let list = format!("call writefile([json_encode(map(getqflist(), {item}))], 'list')");
        vim.args(["-c", &list, "-c", "qa!"])
            .current_dir(project.root());
        printed(vim);
        let list: Value = serde_json::from_str(&project.read("list")).expect("JSON");
        let mut lines = Vec::new();
        for item in list.as_array().expect("a list") {
            assert_eq!(item[5], 1, "{item}");
            let text = |at: usize| session.short(item[at].as_str().expect("text"));
            lines.push(format!(
                "{}:{}:{} {} {}",
                text(0),
                item[1],
                item[2],
                text(3),
                text(4)
            ));
        }
        lines
    };
    assert_eq!(read("Problems"), ["src/a b.c:2:2 w odd still"]);
    let log = log.file_name().expect("a name").to_string_lossy();
    let mut all = read(&format!("ProblemsIn {log}"));
    all.sort();
    assert_eq!(
        all,
        [
            "src/a b.c:1:5 e no x: none [-Wx]",
            "src/a b.c:2:2 w odd still",
            "src/a b.c:9:2 w odd",
            "src/b.c:3:0 e no y",
            "src/b.c:4:7 e no z",
        ]
    );
    // Of a build without problems nothing is left.
    fs::write(project.path(".devwatch/locations"), "").expect("writes");
    assert_eq!(read("Problems"), [""; 0]);
}

#[test]
fn emacs_finds_the_problems_in_the_output_and_goes_there() {
    if !have("emacs") {
        return;
    }
    let session = Session::new();
    let (project, log) = (&session.project, session.log());
    project.write("devwatch.el", &of_readme("elisp"));
    // As in a buffer that devwatch runs in. `next-error` is what people press; info is skipped unless they want it.
    let walk = r#"
(let ((compilation-skip-threshold 0) (places nil))
  (find-file (car command-line-args-left))
  (devwatch-mode)
  (let ((log (current-buffer)))
    (condition-case nil
        (while t
          (set-buffer log)
          (next-error)
          (let* ((message (with-current-buffer log
                            (get-text-property (point) 'compilation-message)))
                 (type (nth (compilation--message->type message) '(info warning error))))
            ;; Where it went is what the window shows.
            (with-current-buffer (window-buffer)
              (push (format "%s:%d:%d %s" (buffer-file-name) (line-number-at-pos)
                            (1+ (current-column)) type)
                    places))))
      (user-error nil)))
  (princ (mapconcat #'identity (nreverse places) "\n"))
  (setq command-line-args-left nil))
"#;
    project.write("walk.el", walk);
    let mut emacs = Command::new("emacs");
    emacs.args(["--batch", "-Q", "-l", "devwatch.el", "-l", "walk.el"]);
    emacs.arg(log).current_dir(project.root());
    let said = session.short(&printed(emacs));
    let mut places: Vec<&str> = said.lines().collect();
    places.sort_unstable();
    assert_eq!(
        places,
        [
            "src/a b.c:1:5 error",
            "src/a b.c:2:2 warning",
            "src/a b.c:9:2 warning",
            "src/b.c:3:1 error",
            "src/b.c:4:7 error",
        ]
    );
}

/// What a command prints on its way to a good end.
#[track_caller]
fn printed(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {out}{err}");
    out
}

/// The block of the README in this language: what people copy is what is tested.
fn of_readme(language: &str) -> String {
    let readme = include_str!("../../README.md");
    let (_, block) = readme
        .split_once(&format!("```{language}\n"))
        .expect("a block");
    block.split_once("```").expect("its end").0.to_owned()
}
