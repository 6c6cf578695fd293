//! Writes a [`Config`] down as a `devwatch.toml` that reads back as the same.
//!
//! For `devwatch init`, and for the lines that a message offers to paste. Never overwrites anything.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use toml::Value;

use super::file::NAME;
use super::value::duration_text;
use super::{
    Address, Command, Config, Hot, HotMode, Listen, OnFailure, Origin, Poll, Problems, Ready,
    ReadyBy, Restart, Rule, Server, Stop, Watch, default_jobs, relative,
};
use crate::diagnostics::{Pattern, PatternBase, Severity};
use crate::supervisor::plan::Then;

/// The config as a commented `devwatch.toml`; what is as by default is left out.
pub fn render(config: &Config) -> String {
    let mut text = String::new();
    text.push_str(
        "# What devwatch watches, builds and serves. `devwatch check` says how it is understood.\n",
    );
    match &config.origin {
        Origin::Detected { kind, marker } => {
            let marker = relative(&config.root, marker);
            line(
                &mut text,
                format_args!("# Detected: a {kind} project, from {}.", marker.display()),
            );
        }
        Origin::File(_) | Origin::CommandLine => {}
    }
    text.push('\n');
    text.push_str(&body(config, true));
    text
}

/// Where the config of `root` would be written.
///
/// # Errors
/// There is one already, there or as `.config/devwatch.toml`.
pub fn free_path(root: &Path) -> io::Result<PathBuf> {
    let path = root.join(NAME);
    for taken in [&path, &root.join(".config").join(NAME)] {
        if taken.symlink_metadata().is_ok() {
            return Err(exists(taken));
        }
    }
    Ok(path)
}

/// Writes [`render`] to `devwatch.toml` in `root` and returns its path.
///
/// # Errors
/// There is one already, there or as `.config/devwatch.toml`; or it cannot be written.
pub fn write(config: &Config, root: &Path) -> io::Result<PathBuf> {
    let path = free_path(root)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                exists(&path)
            } else {
                io::Error::new(
                    error.kind(),
                    format!("cannot write {}: {error}", path.display()),
                )
            }
        })?;
    file.write_all(render(config).as_bytes())?;
    Ok(path)
}

fn exists(path: &Path) -> io::Error {
    let message = format!(
        "{} exists; devwatch init never overwrites, remove it first",
        path.display()
    );
    io::Error::new(io::ErrorKind::AlreadyExists, message)
}

/// The tables of `config` without a heading; with `comments`, each key says what it is.
pub(super) fn body(config: &Config, comments: bool) -> String {
    let mut parts = Vec::new();
    if config.jobs != default_jobs() {
        parts.push(format!("jobs = {}\n", config.jobs));
    }
    if config.watch != Watch::default() {
        parts.push(watch(&config.watch));
    }
    for (index, rule) in config.rules.iter().enumerate() {
        parts.push(self::rule(config, rule, index, comments));
    }
    parts.extend(config.patterns.iter().map(pattern));
    if let Some(server) = &config.server {
        parts.push(self::server(config, server, comments));
    }
    parts.join("\n")
}

fn pattern(pattern: &Pattern) -> String {
    let mut text = String::from("[[problem]]\n");
    if let Some(name) = &pattern.name {
        key(&mut text, "name", string(name));
    }
    key(&mut text, "pattern", string(pattern.expression()));
    if pattern.severity != Severity::Error {
        key(&mut text, "severity", string(pattern.severity.word()));
    }
    match &pattern.base {
        PatternBase::Cwd => {}
        PatternBase::Root => key(&mut text, "base", string("root")),
        PatternBase::Folder(folder) => key(&mut text, "base", string(&folder.to_string_lossy())),
    }
    text
}

fn watch(watch: &Watch) -> String {
    let mut text = String::from("[watch]\n");
    let default = Watch::default();
    if watch.ignore != default.ignore {
        key(&mut text, "ignore", array(&watch.ignore));
    }
    if watch.debounce != default.debounce {
        key(
            &mut text,
            "debounce",
            string(&duration_text(watch.debounce)),
        );
    }
    if watch.max_wait != default.max_wait {
        key(
            &mut text,
            "max_wait",
            string(&duration_text(watch.max_wait)),
        );
    }
    match watch.poll {
        Poll::Auto => {}
        Poll::Off => key(&mut text, "poll", string("off")),
        Poll::Every(interval) => key(&mut text, "poll", string(&duration_text(interval))),
    }
    if watch.follow_symlinks {
        key(&mut text, "follow_symlinks", "true".to_owned());
    }
    text
}

fn rule(config: &Config, rule: &Rule, index: usize, comments: bool) -> String {
    let mut text = String::new();
    let say = |text: &mut String, comment: &str| {
        if comments && index == 0 {
            line(text, format_args!("# {comment}"));
        }
    };
    say(
        &mut text,
        "A change of these files runs the command, if there is one, and then restarts the server.",
    );
    text.push_str("[[rule]]\n");
    if rule.name != format!("rule-{}", index + 1) {
        key(&mut text, "name", string(&rule.name));
    }
    say(
        &mut text,
        "Globs from this folder: `**` crosses folders, `!` excludes.",
    );
    key(&mut text, "files", array(&rule.files.patterns));
    if let Some(run) = &rule.run {
        say(
            &mut text,
            "Program and arguments; a plain string would go through the shell.",
        );
        key(&mut text, "run", command(run));
    }
    if !rule.outputs.patterns.is_empty() {
        say(
            &mut text,
            "What it writes: when that comes out as it was, nothing is restarted.",
        );
        key(&mut text, "outputs", array(&rule.outputs.patterns));
    }
    if let Some(after) = &rule.after {
        key(&mut text, "after", array(after));
    }
    if !rule.cache {
        key(&mut text, "cache", "false".to_owned());
    }
    match rule.then {
        Then::Restart if comments && rule.run.is_none() => {
            key(&mut text, "then", string("restart"))
        }
        Then::Restart => {}
        Then::Nothing => key(&mut text, "then", string("nothing")),
        Then::Reload => key(&mut text, "then", string("reload")),
        Then::Cold => key(&mut text, "then", string("cold")),
    }
    env(&mut text, &rule.env);
    cwd(&mut text, &rule.cwd, &config.root);
    if let Some(timeout) = rule.timeout {
        key(&mut text, "timeout", string(&duration_text(timeout)));
    }
    match &rule.problems {
        Problems::Auto => {}
        Problems::Off => key(&mut text, "problems", string("off")),
        Problems::Named(names) => match &names[..] {
            [name] => key(&mut text, "problems", string(name)),
            names => key(&mut text, "problems", array(names)),
        },
    }
    text
}

fn server(config: &Config, server: &Server, comments: bool) -> String {
    let mut text = String::from("[server]\n");
    key(&mut text, "run", command(&server.run));
    match server.restart {
        Restart::Cold => {}
        Restart::Hot => key(&mut text, "restart", string("hot")),
    }
    if server.listen.is_empty() {
        if comments {
            text.push_str("# Held by devwatch and handed on as LISTEN_FDS, so that no request is refused during a restart:\n");
            text.push_str("# listen = [\"127.0.0.1:8080\"]\n");
        }
    } else {
        let entries: Vec<String> = server
            .listen
            .iter()
            .map(|entry| listen(entry, &config.root))
            .collect();
        key(&mut text, "listen", array(&entries));
    }
    env(&mut text, &server.env);
    if server.env_file.is_empty() {
        if comments {
            text.push_str("# env_file = \".env\"\n");
        }
    } else {
        let files: Vec<String> = server
            .env_file
            .iter()
            .map(|path| below(path, &config.root))
            .collect();
        key(&mut text, "env_file", array(&files));
    }
    cwd(&mut text, &server.cwd, &config.root);
    if server.stop != Stop::default() {
        let Stop { signal, timeout } = &server.stop;
        let timeout = string(&duration_text(*timeout));
        key(
            &mut text,
            "stop",
            format!(
                "{{ signal = {}, timeout = {timeout} }}",
                string(signal.as_str())
            ),
        );
    }
    if server.ready != Ready::default() {
        key(&mut text, "ready", ready(&server.ready));
    }
    if server.hot != Hot::default() {
        text.push_str(&hot(&server.hot));
    }
    text
}

fn ready(ready: &Ready) -> String {
    let timeout = format!("timeout = {}", string(&duration_text(ready.timeout)));
    match &ready.by {
        ReadyBy::Accepting => format!("{{ {timeout} }}"),
        ReadyBy::Log(regex) => format!("{{ log = {}, {timeout} }}", string(regex.as_str())),
        ReadyBy::Http(path) => format!("{{ http = {}, {timeout} }}", string(path)),
        ReadyBy::Notify => format!("{{ notify = true, {timeout} }}"),
        ReadyBy::Delay(delay) => format!(
            "{{ delay = {}, {timeout} }}",
            string(&duration_text(*delay))
        ),
    }
}

fn hot(hot: &Hot) -> String {
    let mut text = String::from("\n[server.hot]\n");
    match hot.mode {
        None => {}
        Some(HotMode::SelfFork) => key(&mut text, "mode", string("self")),
        Some(HotMode::Overlap) => key(&mut text, "mode", string("overlap")),
        Some(HotMode::Adopt) => key(&mut text, "mode", string("adopt")),
    }
    if let Some(preset) = &hot.preset {
        key(&mut text, "preset", string(preset));
    }
    if let Some(signal) = hot.signal {
        key(&mut text, "signal", string(signal.as_str()));
    }
    key(&mut text, "drain", string(&duration_text(hot.drain)));
    key(
        &mut text,
        "fork_timeout",
        string(&duration_text(hot.fork_timeout)),
    );
    match hot.on_failure {
        OnFailure::Keep => {}
        OnFailure::Cold => key(&mut text, "on_failure", string("cold")),
    }
    text
}

/// As written in the file: a unix path from the root where it lies below it.
fn listen(entry: &Listen, root: &Path) -> String {
    let below_root = match &entry.address {
        Address::Unix(path) => path
            .strip_prefix(root)
            .ok()
            .map(|path| Address::Unix(path.to_path_buf())),
        Address::Tcp(_) => None,
    };
    match below_root {
        Some(address) => Listen {
            name: entry.name.clone(),
            address,
        }
        .to_string(),
        None => entry.to_string(),
    }
}

fn env(text: &mut String, env: &BTreeMap<String, String>) {
    if !env.is_empty() {
        let pairs: Vec<String> = env
            .iter()
            .map(|(name, value)| format!("{} = {}", bare(name), string(value)))
            .collect();
        key(text, "env", format!("{{ {} }}", pairs.join(", ")));
    }
}

fn cwd(text: &mut String, cwd: &Path, root: &Path) {
    if cwd != root {
        key(text, "cwd", string(&below(cwd, root)));
    }
}

fn below(path: &Path, root: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .display()
        .to_string()
}

fn command(command: &Command) -> String {
    match command {
        Command::Argv(argv) => array(argv),
        Command::Shell(line) => string(line),
    }
}

fn array(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| string(word)).collect();
    format!("[{}]", words.join(", "))
}

/// A key of a table: as it is where TOML allows it.
fn bare(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_string(),
        false => basic(name),
    }
}

fn string(word: &str) -> String {
    // The writer would spread what has line ends over several lines, which an inline table does not allow.
    match word.contains(['\n', '\r']) {
        true => basic(word),
        false => Value::String(word.to_string()).to_string(),
    }
}

/// TOML's basic string has JSON's escapes, but for DEL.
fn basic(word: &str) -> String {
    serde_json::Value::String(word.to_string())
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

fn key(text: &mut String, name: &str, value: String) {
    line(text, format_args!("{name} = {value}"));
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::detect::{As, detect, from_command, tests::tree};
    use crate::config::file::load;
    use crate::config::parse::parse;
    use expect_test::expect;
    use proptest::prelude::*;

    /// The config that is read back, with what a file cannot say set as in `config`.
    fn read_back(config: &Config) -> Config {
        let text = render(config);
        let parsed = parse(&text, config.origin.clone(), &config.root);
        assert!(parsed.errors.is_empty(), "{:?} in\n{text}", parsed.errors);
        let mut back = parsed.config.expect("no errors");
        for (rule, original) in back.rules.iter_mut().zip(&config.rules) {
            rule.line = original.line;
        }
        back
    }

    #[test]
    fn what_is_detected_reads_back_as_the_same() {
        let package = "[package]\nname = \"shop\"\n";
        let projects: [&[(&str, &str)]; 6] = [
            &[
                ("go.mod", "module x\n"),
                ("main.go", "package main"),
                ("a.html", ""),
            ],
            &[("Cargo.toml", package), ("src/main.rs", "")],
            &[
                (
                    "package.json",
                    r#"{ "scripts": { "start": "A=\"b 'c\" node x.js" } }"#,
                ),
                ("x.js", ""),
            ],
            &[
                (
                    "package.json",
                    r#"{ "scripts": { "start": "node x.js > \"log\"" } }"#,
                ),
                ("x.js", ""),
            ],
            &[
                ("pyproject.toml", "[project.scripts]\nx = \"x.cli:main\"\n"),
                ("src/x/cli.py", ""),
            ],
            &[("app.py", "")],
        ];
        for files in projects {
            let folder = tree(files);
            let config = detect(folder.path(), None).expect("one answer");
            assert_eq!(read_back(&config), config, "{files:?}");
        }
    }

    #[test]
    fn the_written_file_explains_itself() {
        let folder = tree(&[("go.mod", "module shop\n"), ("main.go", "package main")]);
        let config = detect(folder.path(), None).expect("one answer");
        expect![[r##"
            # What devwatch watches, builds and serves. `devwatch check` says how it is understood.
            # Detected: a Go project, from go.mod.

            # A change of these files runs the command, if there is one, and then restarts the server.
            [[rule]]
            name = "build"
            # Globs from this folder: `**` crosses folders, `!` excludes.
            files = ["**/*.go", "go.mod", "go.sum", "!**/*_test.go"]
            # Program and arguments; a plain string would go through the shell.
            run = ["go", "build", "-buildvcs=false", "-o", ".devwatch/bin/shop", "."]
            # What it writes: when that comes out as it was, nothing is restarted.
            outputs = [".devwatch/bin/shop"]

            [server]
            run = [".devwatch/bin/shop"]
            # Held by devwatch and handed on as LISTEN_FDS, so that no request is refused during a restart:
            # listen = ["127.0.0.1:8080"]
            # env_file = ".env"
        "##]].assert_eq(&render(&config));
        let folder = tree(&[("app.py", "")]);
        let config = detect(folder.path(), None).expect("one answer");
        expect![[r##"
            # What devwatch watches, builds and serves. `devwatch check` says how it is understood.
            # Detected: a Python project, from app.py.

            # A change of these files runs the command, if there is one, and then restarts the server.
            [[rule]]
            name = "sources"
            # Globs from this folder: `**` crosses folders, `!` excludes.
            files = ["**/*.py", "!.venv/**", "!venv/**", "!**/__pycache__/**"]
            then = "restart"

            [server]
            run = ["python3", "app.py"]
            # Held by devwatch and handed on as LISTEN_FDS, so that no request is refused during a restart:
            # listen = ["127.0.0.1:8080"]
            env = { PYTHONUNBUFFERED = "1" }
            # env_file = ".env"
        "##]].assert_eq(&render(&config));
    }

    #[test]
    fn the_lines_of_a_message_are_a_config() {
        let folder = tree(&[("package.json", "{}"), ("index.js", ""), ("app.js", "")]);
        let text = detect(folder.path(), None).expect_err("two").to_string();
        let (_, blocks) = text.split_once("devwatch.toml:\n").expect("lines to paste");
        for block in blocks
            .split("\n# as ")
            .filter(|block| !block.trim().is_empty())
        {
            let parsed = parse(
                &format!("# {block}"),
                crate::config::Origin::CommandLine,
                folder.path(),
            );
            assert!(parsed.errors.is_empty(), "{:?} in\n{block}", parsed.errors);
        }
    }

    #[test]
    fn every_flag_that_a_message_offers_is_an_answer() {
        let folder = tree(&[
            ("go.mod", "module x\n"),
            ("cmd/a/main.go", "package main"),
            ("cmd/b c/main.go", "package main"),
            ("package.json", r#"{ "scripts": { "start": "node x.js" } }"#),
            ("Cargo.toml", "[package]\nname = \"r\"\n"),
            ("src/bin/p.rs", ""),
            ("src/bin/q.rs", ""),
            (
                "pyproject.toml",
                "[project.scripts]\nx = \"x.cli:main\"\ny = \"x.cli:main\"\n",
            ),
        ]);
        let text = detect(folder.path(), None).expect_err("many").to_string();
        let flags: Vec<&str> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("devwatch --as "))
            .collect();
        assert_eq!(flags.len(), 7, "{text}");
        for line in flags {
            let flag = shlex::split(line.split("   ").next().expect("a flag"))
                .expect("quoted well")
                .concat();
            detect(folder.path(), Some(&flag.parse::<As>().expect("a flag"))).expect("one answer");
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tree(&[("go.mod", "module shop\n"), ("main.go", "package main")]);
        let config = detect(folder.path(), None).expect("one answer");
        let path = write(&config, folder.path()).expect("nothing is there yet");
        let loaded = load(&path, folder.path()).expect("it is good");
        assert!(
            loaded.warnings.is_empty() && loaded.survey().is_empty(),
            "{}",
            loaded.survey()
        );
        let text = std::fs::read_to_string(&path).expect("the file");
        let error = write(&config, folder.path()).expect_err("there is one");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), text);

        let folder = tree(&[(".config/devwatch.toml", "")]);
        let error = write(&config, folder.path()).expect_err("there is one");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(!folder.path().join(NAME).exists());
    }

    #[test]
    fn a_command_line_reads_back_as_the_same() {
        let folder = tree(&[("x", "")]);
        let config = from_command(
            folder.path(),
            vec!["./x".into(), "it's \"\u{7f}\t\n".into()],
        );
        assert_eq!(read_back(&config), config);
    }

    /// Configs that use every key.
    const WHOLE: &str = r#"
jobs = 61
[watch]
ignore = ["docs/**"]
debounce = "20ms"
max_wait = "1.5s"
poll = "off"
[[rule]]
name = "a"
files = ["**/*.go", "!x"]
run = "make 'x'"
outputs = ["bin/x"]
after = ["it's z", "rule-4"]
cache = false
then = "cold"
env = { A = "1", "B.c" = "two\nlines" }
cwd = "sub/folder"
timeout = "2m"
problems = "off"
[[rule]]
files = ["y"]
then = "nothing"
[[rule]]
name = "it's z"
files = ["z"]
run = ["z"]
problems = ["go", "my tool"]
[[rule]]
files = ["w"]
run = ["w"]
problems = "gnu"
[[problem]]
pattern = '^(?<file>.+?)@(?<line>\d+)'
[[problem]]
name = "my tool"
pattern = '"(?<file>.+)", line (?<line>\d+): (?<message>.*)'
severity = "warning"
base = "root"
[[problem]]
pattern = '(?<file>.+)#(?<line>\d+)'
severity = "info"
base = "/src of it"
[server]
run = ["./x", "-v"]
listen = [":80", "grpc://[::1]:0", "unix:run/a.sock", "b://unix:/run/b.sock"]
env = { PATH = "/bin" }
env_file = [".env", "/etc/env"]
cwd = "/srv"
stop = { signal = "INT" }
ready = { READY, timeout = "3s" }
[server.hot]
mode = "adopt"
preset = "grace"
signal = "USR2"
drain = "0ms"
on_failure = "cold"
"#;

    #[test]
    fn every_key_reads_back_as_the_same() {
        let ready = [
            "log = 'on \"(\\d+)\"'",
            "http = \"/healthz?a=b\"",
            "notify = true",
            "delay = \"1.5s\"",
            "timeout = \"3s\"",
        ];
        for by in ready {
            let text = match by.starts_with("timeout") {
                true => WHOLE.replace("READY, timeout = \"3s\"", by),
                false => WHOLE.replace("READY", by),
            };
            let origin = crate::config::Origin::CommandLine;
            let parsed = parse(&text, origin, Path::new("/work/app"));
            assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
            let config = parsed.config.expect("no errors");
            assert_eq!(read_back(&config), config);
        }
    }

    proptest! {
        #[test]
        fn any_word_can_be_written(word in "[^\\x00]{1,20}") {
            let config = from_command(Path::new("/"), vec!["x".into(), word]);
            prop_assert_eq!(read_back(&config), config);
        }
    }
}
