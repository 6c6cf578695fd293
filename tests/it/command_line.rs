//! What can be typed, and what devwatch answers: `check`, `init`, flags, and how a project is found.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use expect_test::{Expect, expect};
use nix::sys::signal::Signal;

use crate::project::{Devwatch, PATIENCE, Project, built_example, eventually, free_port, get};

/// The least that `check` accepts without a warning.
const GOOD: &str = "\
[[rule]]
name = \"copy\"
files = [\"source.txt\"]
run = [\"cp\", \"source.txt\", \"built.txt\"]
outputs = [\"built.txt\"]

[server]
run = [\"cat\", \"built.txt\"]
";

/// Its answer on both streams, the code in front, the folder of the project as ROOT.
fn answer(project: &Project, arguments: &[&str]) -> String {
    let (status, out, err) = project.once(arguments);
    let code = status.code().expect("it ended by itself");
    let root = project.root().to_str().expect("a temporary folder");
    format!("exit {code}\n{out}{err}").replace(root, "ROOT")
}

#[track_caller]
fn answers(project: &Project, arguments: &[&str], expected: Expect) {
    expected.assert_eq(&answer(project, arguments));
}

// --- check ---

#[test]
fn check_reports_every_mistake_in_one_run_with_place_caret_and_suggestion() {
    let project = Project::new();
    project.write(
        "devwatch.toml",
        r#"[watch]
debounce = 30
ignor = ["x"]
[[rule]]
files = "**/*.go"
run = ["go", "build"]
then = "restrat"
timeout = "5"
[[rule]]
files = ["[a"]
[server]
run = []
restrat = "cold"
listen = ["127.0.0.1"]
stop = { signal = "TREM" }
ready = { log = "(" }
"#,
    );
    answers(
        &project,
        &["check"],
        expect![[r#"
            exit 2
            error: `debounce` in [watch] is an integer, not a duration
             --> devwatch.toml:2:12
              |
            2 | debounce = 30
              |            ^^ write "30ms" or "30s"

            error: unknown key `ignor` in [watch]
             --> devwatch.toml:3:1
              |
            3 | ignor = ["x"]
              | ^^^^^ did you mean `ignore`?
              |
            help: allowed keys: ignore, debounce, max_wait, poll, follow_symlinks

            error: `files` in rule-1 is a string, not an array of globs
             --> devwatch.toml:5:9
              |
            5 | files = "**/*.go"
              |         ^^^^^^^^^ write ["**/*.go"]

            error: unknown value "restrat" of `then` in rule-1
             --> devwatch.toml:7:8
              |
            7 | then = "restrat"
              |        ^^^^^^^^^ did you mean "restart"?
              |
            help: one of "restart", "cold", "reload", "nothing"

            error: `timeout` in rule-1 is no duration: "5"
             --> devwatch.toml:8:11
              |
            8 | timeout = "5"
              |           ^^^ without a unit; write "5ms" or "5s"

            error: bad glob "[a" in `files` in rule-2: unclosed character class; missing ']'
              --> devwatch.toml:10:11
               |
            10 | files = ["[a"]
               |           ^^

            error: `run` in [server] is empty
              --> devwatch.toml:12:7
               |
            12 | run = []
               |       ^^ write ["program", "argument"]

            error: unknown key `restrat` in [server]
              --> devwatch.toml:13:1
               |
            13 | restrat = "cold"
               | ^^^^^^^ did you mean `restart`?
               |
            help: allowed keys: run, restart, listen, env, env_file, cwd, stop, ready, hot

            error: `listen` in [server] cannot be read as an address: "127.0.0.1"
              --> devwatch.toml:14:11
               |
            14 | listen = ["127.0.0.1"]
               |           ^^^^^^^^^^^ without a port; write "127.0.0.1:8080"

            error: unknown signal "TREM" in `signal` in [server.stop]
              --> devwatch.toml:15:19
               |
            15 | stop = { signal = "TREM" }
               |                   ^^^^^^ did you mean "SIGTERM"?

            error: `log` in [server.ready] is no regular expression: unclosed group
              --> devwatch.toml:16:17
               |
            16 | ready = { log = "(" }
               |                 ^^^
        "#]],
    );
    // Without `check` it is refused just so, and nothing was started or written.
    assert_eq!(answer(&project, &[]), answer(&project, &["check"]));
    assert!(!project.path(".devwatch").exists());
}

#[test]
fn check_says_what_was_understood_and_touches_nothing() {
    let project = Project::new();
    project.write("devwatch.toml", GOOD);
    project.write("source.txt", "");
    answers(
        &project,
        &["check"],
        expect![[r#"
        exit 0
        config devwatch.toml
          run    cp source.txt built.txt
                 when source.txt
          serve  cat built.txt
    "#]],
    );
    assert!(!project.path(".devwatch").exists());
    assert!(!project.path("built.txt").exists());
}

#[test]
fn check_hints_at_globs_that_match_less_than_they_seem_to() {
    let project = Project::new();
    project.write("cmd/main.go", "");
    project.write("go.mod", "");
    project.write(
        "devwatch.toml",
        "[[rule]]\nfiles = [\"*.go\", \"go.mdo\", \"cmd\"]\n[server]\nrun = [\"true\"]\n",
    );
    answers(
        &project,
        &["check"],
        expect![[r#"
            exit 0
            config devwatch.toml
              watch  *.go go.mdo cmd
                     then restart
              serve  true
            warning: "*.go" matches in the root alone, not "cmd/main.go"
             --> devwatch.toml:2:10
              |
            2 | files = ["*.go", "go.mdo", "cmd"]
              |          ^^^^^^ did you mean "**/*.go"?

            warning: "go.mdo" does not exist
             --> devwatch.toml:2:18
              |
            2 | files = ["*.go", "go.mdo", "cmd"]
              |                  ^^^^^^^^ did you mean "go.mod"?

            warning: "cmd" is a folder
             --> devwatch.toml:2:28
              |
            2 | files = ["*.go", "go.mdo", "cmd"]
              |                            ^^^^^ write "cmd/**"
        "#]],
    );
}

#[test]
fn check_says_how_a_server_hands_over() {
    let project = Project::new();
    project.write(
        "devwatch.toml",
        "[[rule]]\nfiles = [\"*.go\"]\n[server]\nrun = [\"./x\"]\nrestart = \"hot\"\nhot = { mode = \"self\" }\n",
    );
    answers(
        &project,
        &["check"],
        expect![[r#"
            exit 0
            config devwatch.toml
              watch  *.go
                     then restart
              serve  ./x
              hot    it forks its successor on SIGHUP
            warning: "*.go" matches no file
             --> devwatch.toml:2:10
              |
            2 | files = ["*.go"]
              |          ^^^^^^ ignored folders do not count
        "#]],
    );
}

#[test]
fn check_says_in_which_order_rules_run() {
    let project = Project::new();
    let rules = "\
[[rule]]
name = \"build\"
files = [\"**/*.go\"]
run = [\"go\", \"build\"]
outputs = [\".devwatch/bin/api\"]
[[rule]]
name = \"gen code\"
files = [\"main.go\"]
run = [\"go\", \"generate\"]
outputs = [\"gen/*.go\"]
cache = false
";
    project.write("main.go", "");
    project.write("devwatch.toml", rules);
    answers(
        &project,
        &["check"],
        expect![[r#"
        exit 0
        config devwatch.toml
          order  'gen code', build
          run    go build
                 when **/*.go
          run    go generate
                 when main.go
                 never from the cache
          serve  nothing: the rules are the task
    "#]],
    );
    project.write(
        "devwatch.toml",
        &format!("jobs = 63\n{rules}after = [\"lint\"]\n[[rule]]\nname = \"lint\"\nfiles = [\"main.go\"]\nrun = [\"lint\"]\n"),
    );
    answers(
        &project,
        &["check"],
        expect![[r#"
        exit 0
        config devwatch.toml
          jobs   at most 63 rules at a time
          run    go build
                 when **/*.go
          run    go generate
                 when main.go
                 after lint
                 never from the cache
          run    lint
                 when main.go
          serve  nothing: the rules are the task
    "#]],
    );
}

#[test]
fn check_refuses_rules_that_wait_for_each_other_and_so_does_a_start() {
    let project = Project::new();
    project.write(
        "devwatch.toml",
        "\
[[rule]]
name = \"gen\"
files = [\"**/*.go\"]
run = [\"gen\"]
outputs = [\"gen/**\"]
[[rule]]
name = \"build\"
files = [\"**/*.go\"]
run = [\"build\"]
outputs = [\"api/**\"]
",
    );
    answers(
        &project,
        &["check"],
        expect![[r#"
        exit 2
        error: rules wait for each other in a circle: "gen" writes gen/x.go, which "build" takes; "build" writes api/x.go, which "gen" takes
         --> devwatch.toml:1:1
          |
        1 | [[rule]]
          | ^^^^^^^^ add "!api/**" to the files of "gen"
          |
        help: or add "!gen/**" to the files of "build", or make one rule of them
    "#]],
    );
    assert_eq!(answer(&project, &[]), answer(&project, &["check"]));
}

#[test]
fn a_config_that_others_can_write_is_refused() {
    let project = Project::new();
    project.write("devwatch.toml", GOOD);
    let mode = |mode| {
        fs::set_permissions(
            project.path("devwatch.toml"),
            fs::Permissions::from_mode(mode),
        )
        .expect("chmod");
    };
    mode(0o666);
    answers(
        &project,
        &["check"],
        expect![[r#"
        exit 2
        devwatch: not trusting ROOT/devwatch.toml: everybody may write it, and what it says is run; take that right away with chmod o-w
    "#]],
    );
    answers(
        &project,
        &[],
        expect![[r#"
        exit 2
        devwatch: not trusting ROOT/devwatch.toml: everybody may write it, and what it says is run; take that right away with chmod o-w
    "#]],
    );
    mode(0o664);
    assert!(answer(&project, &["check"]).starts_with("exit 0\n"));
}

#[test]
fn an_answer_that_nobody_reads_is_no_crash() {
    let project = Project::new();
    project.write("devwatch.toml", GOOD);
    for (arguments, code) in [
        (&["check"][..], 0),
        (&["-c", "missing.toml"][..], 2),
        (&["init"][..], 1),
        (&["--version"][..], 0),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let status = Command::new(env!("CARGO_BIN_EXE_devwatch"))
            .args(arguments)
            .current_dir(project.root())
            .stdin(Stdio::null())
            .stdout(writer.try_clone().expect("a copy"))
            .stderr(writer)
            .status()
            .expect("it runs");
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

// --- which project ---

#[test]
fn dash_c_names_a_config_whose_paths_count_from_the_working_directory() {
    let project = Project::new();
    project.write("conf/other.toml", GOOD);
    project.write("source.txt", "");
    answers(
        &project,
        &["-c", "conf/other.toml", "check"],
        expect![[r#"
            exit 0
            config conf/other.toml
              run    cp source.txt built.txt
                     when source.txt
              serve  cat built.txt
        "#]],
    );
    assert_eq!(
        answer(&project, &["check", "-c", "conf/other.toml"]),
        answer(&project, &["-c", "conf/other.toml", "check"]),
        "the place of a flag does not matter"
    );
    answers(
        &project,
        &["check", "-c", "none.toml"],
        expect![[r#"
        exit 2
        devwatch: cannot read ROOT/none.toml: No such file or directory (os error 2)
    "#]],
    );
    let mut devwatch = project.devwatch(&["-c", "conf/other.toml"]);
    devwatch.end("ok");
    assert!(project.path("built.txt").exists(), "the root is here");
    assert!(project.path(".devwatch").exists(), "the root is here");
    devwatch.terminate();
}

#[test]
fn dash_big_c_changes_the_folder_first() {
    let project = Project::new();
    project.write("app/devwatch.toml", GOOD);
    project.write("app/source.txt", "");
    answers(
        &project,
        &["-C", "app", "check"],
        expect![[r#"
        exit 0
        config devwatch.toml
          run    cp source.txt built.txt
                 when source.txt
          serve  cat built.txt
    "#]],
    );
    answers(
        &project,
        &["-C", "app", "-c", "devwatch.toml", "check"],
        expect![[r#"
            exit 0
            config devwatch.toml
              run    cp source.txt built.txt
                     when source.txt
              serve  cat built.txt
        "#]],
    );
    answers(
        &project,
        &["-C", "none", "check"],
        expect![[r#"
        exit 2
        devwatch: cannot change to none: No such file or directory (os error 2)
    "#]],
    );
}

#[test]
fn two_configs_in_one_folder_are_refused_until_one_is_named() {
    let project = Project::new();
    project.write("devwatch.toml", GOOD);
    project.write(".config/devwatch.toml", GOOD);
    project.write("source.txt", "");
    answers(
        &project,
        &["check"],
        expect![[r#"
        exit 2
        devwatch: ROOT/devwatch.toml and ROOT/.config/devwatch.toml both exist; remove one, or name one with -c FILE
    "#]],
    );
    let named = answer(&project, &["check", "-c", "devwatch.toml"]);
    assert!(named.starts_with("exit 0\n"), "{named}");
}

#[test]
fn a_config_is_found_upwards_but_not_beyond_the_repository() {
    let project = Project::new();
    project.write(".config/devwatch.toml", GOOD);
    project.write("source.txt", "");
    project.write("deep/er/x", "");
    project.write("repository/.git/HEAD", "");
    project.write("repository/src/x", "");
    let found = answer(&project, &["-C", "deep/er", "check"]);
    assert!(
        found.contains("config .config/devwatch.toml") && found.starts_with("exit 0\n"),
        "{found}"
    );
    let beyond = answer(&project, &["-C", "repository/src", "check"]);
    assert!(
        beyond.starts_with("exit 2\n") && beyond.contains("no program to serve found"),
        "{beyond}"
    );
    // What runs from below runs in the root of the config.
    let mut devwatch = project.devwatch(&["-C", "deep/er"]);
    devwatch.end("ok");
    assert!(project.path("built.txt").exists());
    devwatch.terminate();
}

#[test]
fn without_a_project_the_answer_can_be_pasted() {
    let project = Project::new();
    answers(
        &project,
        &[],
        expect![[r#"
        exit 2
        devwatch: no program to serve found in ROOT
        say what to serve:
          devwatch -- ./my-server --its-flags
        or write this into devwatch.toml:

        [[rule]]
        name = "build"
        files = ["src/**"]
        run = ["make"]

        [server]
        run = ["./my-server"]
    "#]],
    );
    let text = answer(&project, &[]);
    let (_, paste) = text
        .split_once("devwatch.toml:\n")
        .expect("a config to paste");
    project.write("devwatch.toml", paste);
    project.write("src/x", "");
    let pasted = answer(&project, &["check"]);
    assert!(pasted.starts_with("exit 0\n"), "{pasted}");
}

#[test]
fn of_several_programs_the_flag_that_is_offered_chooses_one() {
    let project = Project::new();
    project.write("go.mod", "module x\n");
    project.write("cmd/api/main.go", "package main\n");
    project.write("cmd/work er/main.go", "package main\n");
    project.write("package.json", r#"{ "main": "index.js" }"#);
    project.write("index.js", "");
    let text = answer(&project, &[]);
    assert!(text.starts_with("exit 2\n"), "{text}");
    let offered: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("  devwatch "))
        .filter_map(|line| line.split("   ").next())
        .collect();
    assert_eq!(offered.len(), 3, "{text}");
    for (flags, serves) in offered.into_iter().zip(["api", "work er", "index.js"]) {
        // As it is pasted into a shell.
        let line = format!("{} {flags} check", env!("CARGO_BIN_EXE_devwatch"));
        let output = Command::new("sh")
            .args(["-c", &line])
            .current_dir(project.root())
            .output()
            .expect("sh runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{line}: {said}");
        let serve = said.lines().find(|line| line.starts_with("  serve "));
        assert!(
            serve.is_some_and(|line| line.contains(serves)),
            "{line}: {said}"
        );
    }
    // So does the config that is offered.
    for block in text.split("\n# as ").skip(1) {
        let (_, config) = block.split_once('\n').expect("lines");
        project.write("devwatch.toml", config);
        let pasted = answer(&project, &["check"]);
        assert!(pasted.starts_with("exit 0\n"), "{pasted}\n{config}");
    }
}

// --- init ---

#[test]
fn init_writes_a_config_that_means_the_same_and_never_overwrites() {
    let project = Project::new();
    project.write("app.py", "print('app')\n");
    // But for the first line, which says where it comes from.
    let meaning = |text: String| {
        let rest = text.splitn(3, '\n').nth(2).map(str::to_owned);
        rest.expect("more than two lines")
    };
    let detected = meaning(answer(&project, &["check"]));
    answers(
        &project,
        &["init"],
        expect![[r#"
        exit 0
        wrote ROOT/devwatch.toml
    "#]],
    );
    let written = meaning(answer(&project, &["check"]));
    assert_eq!(written, detected);
    let before = project.read("devwatch.toml");
    answers(
        &project,
        &["init"],
        expect![[r#"
        exit 1
        devwatch: ROOT/devwatch.toml exists; devwatch init never overwrites, remove it first
    "#]],
    );
    assert_eq!(project.read("devwatch.toml"), before);
}

#[test]
fn init_does_not_write_beside_a_config_that_is_tucked_away() {
    let project = Project::new();
    project.write("app.py", "print('app')\n");
    project.write(".config/devwatch.toml", GOOD);
    answers(
        &project,
        &["init"],
        expect![[r#"
        exit 1
        devwatch: ROOT/.config/devwatch.toml exists; devwatch init never overwrites, remove it first
    "#]],
    );
    assert!(!project.path("devwatch.toml").exists());
    answers(
        &project,
        &["init", "-c", "mine.toml"],
        expect![[r#"
        exit 2
        devwatch: init writes devwatch.toml in the working directory, not mine.toml; leave -c out, or say where with -C DIR
    "#]],
    );
}

// --- flags ---

#[test]
fn help_and_version() {
    let project = Project::new();
    answers(
        &project,
        &["--version"],
        expect![[r#"
        exit 0
        devwatch 0.1.0
    "#]],
    );
    answers(
        &project,
        &["-h"],
        expect![[r#"
            exit 0
            Rebuilds and restarts your server when you save, and proves that the new code is what answers

            Usage: devwatch [OPTIONS] [-- CMD...]
                   devwatch [OPTIONS] <COMMAND>

            Commands:
              check  Read the config, report every mistake in it, and say what was understood
              build  Run the rules that are due, once, without a server: exit code 1 if one fails
              init   Write a commented devwatch.toml for the project found here
              fds    Take on the sockets handed down a shell pipeline: stamp LISTEN_PID and become CMD
              help   Print this message or the help of the given subcommand(s)

            Arguments:
              [CMD]...  Run CMD as the server, and restart it when any source changes; no config is read

            Options:
              -c, --config <FILE>       Read this config; its paths count from the working directory
              -C, --dir <DIR>           Change to DIR first
                  --as <KIND[:TARGET]>  Take the project for KIND (go, cargo, node or python), and TARGET for what it runs: go:./cmd/api
                  --ui <MODE>           Show the screen (full), lines (plain) or events (json); auto: the screen if a person sits in front of it
                  --plain               Print plain lines and read no keys, even on a terminal: --ui plain
                  --color <WHEN>        Use colour always, never, or (auto) as NO_COLOR and FORCE_COLOR say, else on a terminal
              -h, --help                Print help (see more with '--help')
              -V, --version             Print version

            Examples:
              devwatch                         in a Go, Rust, Node or Python project
              devwatch -- ./server --port 80   this command, restarted on every save
              devwatch --as go:./cmd/api       one of several programs
              devwatch init                    write down what was detected, to change it

            Exit codes: 0 quit, 1 a rule failed (build), 2 usage or config, 6 another devwatch runs here, 7 cannot watch, 128+n signal n.
        "#]],
    );
    answers(
        &project,
        &["--help"],
        expect![[r#"
            exit 0
            Rebuilds and restarts your server when you save, and proves that the new code is what answers.

            Without a config devwatch recognises Go, Rust, Node and Python projects. While it runs: q quits, r rebuilds, R restarts from cold; Ctrl-C quits, a second one at once.

            Usage: devwatch [OPTIONS] [-- CMD...]
                   devwatch [OPTIONS] <COMMAND>

            Commands:
              check  Read the config, report every mistake in it, and say what was understood
              build  Run the rules that are due, once, without a server: exit code 1 if one fails
              init   Write a commented devwatch.toml for the project found here
              fds    Take on the sockets handed down a shell pipeline: stamp LISTEN_PID and become CMD
              help   Print this message or the help of the given subcommand(s)

            Arguments:
              [CMD]...
                      Run CMD as the server, and restart it when any source changes; no config is read

            Options:
              -c, --config <FILE>
                      Read this config; its paths count from the working directory

              -C, --dir <DIR>
                      Change to DIR first

                  --as <KIND[:TARGET]>
                      Take the project for KIND (go, cargo, node or python), and TARGET for what it runs: go:./cmd/api

                  --ui <MODE>
                      Show the screen (full), lines (plain) or events (json); auto: the screen if a person sits in front of it

                  --plain
                      Print plain lines and read no keys, even on a terminal: --ui plain

                  --color <WHEN>
                      Use colour always, never, or (auto) as NO_COLOR and FORCE_COLOR say, else on a terminal

              -h, --help
                      Print help (see a summary with '-h')

              -V, --version
                      Print version

            Examples:
              devwatch                         in a Go, Rust, Node or Python project
              devwatch -- ./server --port 80   this command, restarted on every save
              devwatch --as go:./cmd/api       one of several programs
              devwatch init                    write down what was detected, to change it

            Exit codes: 0 quit, 1 a rule failed (build), 2 usage or config, 6 another devwatch runs here, 7 cannot watch, 128+n signal n.
        "#]],
    );
}

#[test]
fn what_is_not_understood_is_code_2() {
    let project = Project::new();
    project.write("devwatch.toml", GOOD);
    for arguments in [
        &["--foo"][..],
        &["chek"],
        &["-c"],
        &["--as", "perl"],
        &["--as", "go:"],
        &["check", "--", "x"],
        &["--ui", "inline"],
        &["--ui", "plain", "--plain"],
        &["--color", "blue"],
        // Nobody would read the config.
        &["-c", "devwatch.toml", "--", "true"],
        &["-c", "devwatch.toml", "--as", "go"],
        &["--as", "go", "--", "true"],
    ] {
        let text = answer(&project, arguments);
        assert!(text.starts_with("exit 2\n"), "{arguments:?}: {text}");
        assert!(!project.path(".devwatch").exists(), "{arguments:?}");
    }
}

#[test]
fn a_screen_without_a_terminal_is_refused_and_everything_else_goes_without() {
    let project = Project::new();
    project.write("devwatch.toml", GOOD);
    project.write("source.txt", "");
    answers(
        &project,
        &["--ui", "full"],
        expect![[r#"
            exit 2
            devwatch: --ui full takes its keys from a terminal, and stdin is none; leave the redirection out, or take --plain
        "#]],
    );
    answers(
        &project,
        &["build", "--ui", "full"],
        expect![[r#"
            exit 2
            devwatch: build runs once and shows no screen; leave --ui full out
        "#]],
    );
    assert!(!project.path(".devwatch").exists());
    for arguments in [
        &["--plain", "build"][..],
        &["build", "--no-tui"],
        &["build", "--ui", "plain", "--color", "always"],
        &["build", "--ui", "auto"],
    ] {
        let text = answer(&project, arguments);
        assert!(text.starts_with("exit 0\n"), "{arguments:?}: {text}");
        assert!(text.contains("build 1 end "), "{arguments:?}: {text}");
    }
}

#[test]
fn mistakes_in_the_users_own_file_are_told_like_those_in_the_projects() {
    let project = Project::new();
    project.write("devwatch.toml", GOOD);
    project.write("source.txt", "");
    let home = tempfile::tempdir().expect("a temporary folder");
    let folder = home.path().join("devwatch");
    fs::create_dir(&folder).expect("a folder");
    let ask = |text: &str, mode: u32, arguments: &[&str]| {
        let path = folder.join("config.toml");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        let output = Command::new(env!("CARGO_BIN_EXE_devwatch"))
            .args(arguments)
            .current_dir(project.root())
            .env("XDG_CONFIG_HOME", home.path())
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        let code = output.status.code().expect("it ended by itself");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (
            code,
            said.replace(home.path().to_str().expect("a name"), "HOME"),
        )
    };
    let wrong = "[keys]\nq = \"quti\"\n[server]\nrun = \"./x\"\n";
    let (code, said) = ask(wrong, 0o644, &["check"]);
    assert_eq!(code, 2);
    expect![[r#"
        error: unknown action "quti" in `q` in [keys]
         --> HOME/devwatch/config.toml:2:5
          |
        2 | q = "quti"
          |     ^^^^^^ did you mean "quit"?
          |
        help: none, or one of rebuild, restart, pause, stop, input, open_url, urls, problems, log, next_pane, zoom, summary, next, previous, open, open_1, open_2, open_3, open_4, open_5, open_6, open_7, open_8, open_9, pager, copy, copy_all, clear, search, filter, cancel, down, up, page_down, page_up, half_page_down, half_page_up, top, bottom, follow, wrap, help, palette, mouse, redraw, suspend, quit

        error: `server` belongs to a project, not to one person
         --> HOME/devwatch/config.toml:3:2
          |
        3 | [server]
          |  ^^^^^^ put it into the project's devwatch.toml
          |
        help: what is run stands where everybody who works on the project sees it; this file has [ui] and [keys]
    "#]]
    .assert_eq(&said);
    assert_eq!(ask(wrong, 0o644, &[]), (2, said.clone()));
    assert_eq!(ask(wrong, 0o644, &["build"]), (2, said));
    let (code, said) = ask("", 0o666, &["build"]);
    assert_eq!(code, 2);
    expect![[r#"
        devwatch: not trusting HOME/devwatch/config.toml: everybody may write it, and what it says is run; take that right away with chmod o-w
    "#]].assert_eq(&said);
    assert!(!project.path(".devwatch").exists());
    // Wanted where it can be, not ordered.
    let (code, said) = ask("[ui]\nmode = \"full\"\n", 0o644, &["build"]);
    assert_eq!(code, 0, "{said}");
}

// --- devwatch -- CMD ---

/// `devwatch -- child ...` in a project with one source.
fn command(port: u16) -> (Project, Devwatch) {
    let project = Project::new();
    project.write("src/source.txt", "one");
    let devwatch = serve(&project, port);
    (project, devwatch)
}

fn serve(project: &Project, port: u16) -> Devwatch {
    let child = built_example("child");
    project.devwatch(&[
        "--",
        child.to_str().expect("a path of this package"),
        "tag",
        project.root().to_str().expect("a temporary folder"),
        "listen",
        &format!("127.0.0.1:{port}"),
        "serve-file",
        "src/source.txt",
    ])
}

#[test]
fn a_command_is_served_and_restarted_when_any_source_changes() {
    let port = free_port();
    let (project, mut devwatch) = command(port);
    devwatch.line("note: from the command line");
    devwatch.end("serving");
    assert_eq!(get(port).expect("an answer"), "one");
    project.write("src/source.txt", "two");
    devwatch.line("begin (1 file: src/source.txt)");
    devwatch.end("serving");
    assert_eq!(get(port).expect("an answer"), "two");
    project.write("a/new/file of any kind", "x");
    devwatch.line("begin (1 file: a/new/file of any kind)");
    devwatch.end("serving");
    // What servers write themselves restarts nothing; the next line comes of the next source.
    project.write("server.log", "x");
    project.write("app.db", "x");
    project.write("src/source.txt", "three");
    devwatch.line("begin (1 file: src/source.txt)");
    devwatch.end("serving");
    assert_eq!(devwatch.terminate().code(), Some(143));
    project.nothing_left(std::time::Duration::from_secs(1));
}

#[test]
fn a_command_beside_a_config_is_what_runs() {
    let project = Project::new();
    project.write("devwatch.toml", "this is no config [");
    project.write("src/source.txt", "one");
    let port = free_port();
    let mut devwatch = serve(&project, port);
    devwatch.end("serving");
    assert_eq!(get(port).expect("an answer"), "one");
    devwatch.terminate();
}

#[test]
fn quitting_has_its_codes() {
    for (signal, code) in [
        (Signal::SIGINT, 0),
        (Signal::SIGTERM, 143),
        (Signal::SIGHUP, 129),
        (Signal::SIGQUIT, 131),
    ] {
        let (_project, mut devwatch) = command(free_port());
        devwatch.end("serving");
        devwatch.signal(signal);
        assert_eq!(devwatch.ended().code(), Some(code), "{signal}");
    }
}

#[test]
fn the_exit_of_a_command_is_reported_and_devwatch_stays() {
    let project = Project::new();
    project.write("x", "");
    let mut devwatch = project.devwatch(&["--", "sh", "-c", "exit 3"]);
    let end = devwatch.end("crashed");
    assert!(end.contains(" gen=1 exit=3 serving=none"), "{end}");
    devwatch.terminate();
    let mut devwatch = project.devwatch(&["--", "true"]);
    devwatch.end("ok");
    project.write("x", "again");
    devwatch.end("ok");
    devwatch.terminate();
    let mut devwatch = project.devwatch(&["--", "./no-such-server"]);
    let end = devwatch.end("crashed");
    assert!(end.contains("cannot start"), "{end}");
    devwatch.terminate();
}

#[test]
fn a_second_devwatch_is_told_about_the_first() {
    let (project, mut devwatch) = command(free_port());
    devwatch.end("serving");
    let (status, _, err) = project.once(&["--", "true"]);
    assert_eq!(status.code(), Some(6));
    let pid = devwatch.pid();
    assert!(err.contains(&format!("kill {pid}")), "{err}");
    devwatch.terminate();
    // The way is free as soon as it has ended.
    let mut next = project.devwatch(&["--", "true"]);
    next.end("ok");
    next.terminate();
}

#[test]
fn a_project_that_cannot_be_written_is_refused_with_the_folder() {
    let project = Project::new();
    project.write("devwatch.toml", GOOD);
    // A file where the folder belongs: refused for root too.
    project.write(".devwatch", "");
    let text = answer(&project, &[]);
    assert!(
        text.starts_with("exit 1\ndevwatch: cannot write ROOT/.devwatch"),
        "{text}"
    );
    assert!(eventually(std::time::Duration::from_secs(5), || {
        project.processes().is_empty()
    }));
}

#[test]
fn descriptors_that_a_shell_left_open_reach_neither_builds_nor_servers() {
    let project = Project::new();
    let list = r#"["sh", "-c", "echo $0 /proc/self/fd/*", "#;
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]\nfiles = [\"x\"]\nrun = {list}\"build\"]\n[server]\nrun = {list}\"server\"]\n"
        ),
    );
    // Higher than anything devwatch opens itself, and inherited by it.
    let file = fs::File::open("/dev/null").expect("it is there");
    let high = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_DUPFD(300)).expect("a number");
    let mut devwatch = project.devwatch(&[]);
    nix::unistd::close(high).expect("it was open");
    for who in ["build", "server"] {
        let line = devwatch.line(&format!("{who} /proc/self/fd/0"));
        assert!(!line.contains(&format!("/{high}")), "{line}");
    }
    // What the server printed and what devwatch says of its end come on two ways, in either order.
    assert!(
        eventually(PATIENCE, || devwatch.story().contains(" end ok ")),
        "{}",
        devwatch.story()
    );
    devwatch.terminate();
}
