//! No config needed: derives a [`Config`] from the files that the project has anyway.
//!
//! Reads manifests, never runs a tool, and never guesses between two answers: several candidates are an error that
//! says what to type. One file for each kind of project; all that they know of each other is here.

mod cargo;
mod go;
mod node;
mod python;

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::file::sources;
use super::value::nearest;
use super::{Command, Config, Globs, HotMode, Origin, Rule, Server, Watch, default_jobs, init};
use crate::supervisor::plan::{RuleId, Then};

/// A kind of project that devwatch knows how to build and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `go.mod`.
    Go,
    /// `Cargo.toml`.
    Cargo,
    /// `package.json`.
    Node,
    /// `pyproject.toml`, `manage.py` or a well-known file such as `app.py`.
    Python,
}

/// `--as KIND[:TARGET]`: which kind of project this is, and which of its programs to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct As {
    /// The kind.
    pub kind: Kind,
    /// A package (`./cmd/api`), a binary (`server`), a script or a file (`app.py`).
    pub target: Option<String>,
}

/// One way to build and run a project.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The flag that chooses it.
    pub choose: As,
    /// What it leads to.
    pub config: Config,
}

/// Why nothing could be derived.
#[derive(Debug)]
pub enum DetectError {
    /// There is more than one answer.
    Several {
        /// At least two.
        candidates: Vec<Candidate>,
    },
    /// There is none.
    Nothing {
        /// The folder that was looked at.
        root: PathBuf,
        /// What was seen there, and why it was not enough; or what lies near.
        seen: Vec<String>,
    },
    /// The folder cannot be read.
    Io {
        /// The folder.
        root: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
}

/// What to do where nothing was found.
const SAY_WHAT: &str = r#"say what to serve:
  devwatch -- ./my-server --its-flags
or write this into devwatch.toml:

[[rule]]
name = "build"
files = ["src/**"]
run = ["make"]

[server]
run = ["./my-server"]"#;

/// Derives a config for the project in `root`; `as_` narrows it down where there are several answers.
///
/// # Errors
/// Several answers, or none; the message says what to type instead.
pub fn detect(root: &Path, as_: Option<&As>) -> Result<Config, DetectError> {
    detect_with(root, as_, cargo::Environment::from_process())
}

/// `devwatch -- CMD...`: `argv` is the server, and every change of a file restarts it. What servers themselves write
/// beside their sources (logs, databases) does not count: it would restart them for ever.
pub fn from_command(root: &Path, argv: Vec<String>) -> Config {
    let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
    let written_by_servers = [
        "!**/*.log",
        "!**/*.pid",
        "!**/*.sock",
        "!**/*.db",
        "!**/*.db-*",
        "!**/*.sqlite*",
    ];
    let mut files = vec!["**/*".to_string()];
    files.extend(written_by_servers.map(String::from));
    let rule = Rule::new("files", globs(&files), &root);
    let server = Server::new(Command::Argv(argv), &root);
    Config {
        origin: Origin::CommandLine,
        jobs: default_jobs(),
        watch: Watch::default(),
        rules: vec![rule],
        server: Some(server),
        patterns: Vec::new(),
        root,
    }
}

/// A few lines for people: where the config comes from, what is built, served and watched. Ends without a newline.
pub fn describe(config: &Config) -> String {
    let shown = |path: &Path| config.relative(path).display().to_string();
    let mut lines = vec![match &config.origin {
        Origin::File(path) => format!("config {}", shown(path)),
        Origin::Detected { kind, marker } => format!("{kind} project, from {}", shown(marker)),
        Origin::CommandLine => "from the command line".to_string(),
    }];
    let mut say = |label: &str, text: String| lines.push(format!("  {label:<6} {text}"));
    let names = |rules: &[RuleId]| -> String {
        let name = |rule: &RuleId| super::quoted(&config.rules[rule.0].name);
        rules.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let row = config.row();
    match config.is_in_a_row() {
        // Only where somebody could expect something else.
        true if !row.is_sorted() => say("order", names(&row)),
        false if config.jobs != default_jobs() => {
            say("jobs", format!("at most {} rules at a time", config.jobs));
        }
        true | false => {}
    }
    for rule in &config.rules {
        let globs = rule.files.patterns.join(" ");
        let then = match rule.then {
            Then::Restart => "restart",
            Then::Nothing => "nothing",
            Then::Reload => "reload",
            Then::Cold => "cold restart",
        };
        match &rule.run {
            Some(run) => {
                say("run", run.display());
                if rule.cwd != config.root {
                    say("", format!("in {}", shown(&rule.cwd)));
                }
                say("", format!("when {globs}"));
                if let Some(after) = &rule.after {
                    let after: Vec<_> = after.iter().map(|name| super::quoted(name)).collect();
                    let after = match after.is_empty() {
                        true => "nobody".to_owned(),
                        false => after.join(", "),
                    };
                    say("", format!("after {after}"));
                }
                if !rule.cache {
                    say("", "never from the cache".to_owned());
                }
                if rule.then != Then::Restart {
                    say("", format!("then {then}"));
                }
            }
            None => {
                say("watch", globs);
                say("", format!("then {then}"));
            }
        }
    }
    match &config.server {
        None => say("serve", "nothing: the rules are the task".to_string()),
        Some(server) => {
            say("serve", server.run.display());
            if server.cwd != config.root {
                say("", format!("in {}", shown(&server.cwd)));
            }
            for (name, value) in &server.env {
                say("", format!("with {name}={}", super::quoted(value)));
            }
            for file in &server.env_file {
                say("", format!("with {}", shown(file)));
            }
            match server.hands_over() {
                None => {}
                Some(HotMode::SelfFork) => say(
                    "hot",
                    format!("it forks its successor on {}", server.hot_signal()),
                ),
                Some(HotMode::Overlap) => say("hot", "a successor starts beside it".to_owned()),
                Some(HotMode::Adopt) => say(
                    "hot",
                    "devwatch starts its successor in its stead".to_owned(),
                ),
            }
            for listen in &server.listen {
                say("listen", listen.to_string());
            }
        }
    }
    lines.join("\n")
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Go, Kind::Cargo, Kind::Node, Kind::Python];

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Go => "Go",
            Kind::Cargo => "Rust",
            Kind::Node => "Node",
            Kind::Python => "Python",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Kind::Go => "go",
            Kind::Cargo => "cargo",
            Kind::Node => "node",
            Kind::Python => "python",
        }
    }
}

impl FromStr for As {
    type Err = String;

    fn from_str(text: &str) -> Result<As, String> {
        let (kind, target) = match text.split_once(':') {
            Some((kind, target)) => (kind, Some(target)),
            None => (text, None),
        };
        let found = match kind {
            "rust" => Some(Kind::Cargo),
            kind => Kind::ALL.into_iter().find(|known| known.flag() == kind),
        };
        let kind = found.ok_or_else(|| {
            let near = nearest(kind, Kind::ALL.into_iter().map(Kind::flag));
            let hint = near.map(|near| format!("did you mean {near}? ")).unwrap_or_default();
            format!("unknown kind of project {kind:?}; {hint}known are go, cargo, node, python, each with an optional :TARGET")
        })?;
        if target == Some("") {
            return Err(format!(
                "empty target; write {text}NAME, or {} alone",
                kind.flag()
            ));
        }
        Ok(As {
            kind,
            target: target.map(String::from),
        })
    }
}

impl fmt::Display for As {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Some(target) => write!(f, "{}:{target}", self.kind.flag()),
            None => f.write_str(self.kind.flag()),
        }
    }
}

impl fmt::Display for DetectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DetectError::Several { candidates } => {
                writeln!(f, "several programs could be served here; choose one:")?;
                let flags: Vec<String> = candidates
                    .iter()
                    .map(|candidate| typed(&candidate.choose))
                    .collect();
                let width = flags.iter().map(String::len).max().unwrap_or(0);
                for (flag, candidate) in flags.iter().zip(&candidates[..]) {
                    let run = candidate
                        .config
                        .server
                        .as_ref()
                        .map(|server| server.run.display());
                    writeln!(f, "  {flag:width$}   serves {}", run.unwrap_or_default())?;
                }
                write!(f, "or write one of these into devwatch.toml:")?;
                for (flag, candidate) in flags.iter().zip(&candidates[..]) {
                    write!(
                        f,
                        "\n\n# as {flag}\n{}",
                        init::body(&candidate.config, false).trim_end()
                    )?;
                }
                Ok(())
            }
            DetectError::Nothing { root, seen } => {
                writeln!(f, "no program to serve found in {}", root.display())?;
                for seen in seen {
                    writeln!(f, "  {seen}")?;
                }
                f.write_str(SAY_WHAT)
            }
            DetectError::Io { root, error } => {
                write!(f, "cannot look into {}: {error}", root.display())
            }
        }
    }
}

impl std::error::Error for DetectError {}

/// The command that chooses it, as one would type it.
fn typed(choose: &As) -> String {
    Command::Argv(
        ["devwatch", "--as", &choose.to_string()]
            .map(String::from)
            .to_vec(),
    )
    .display()
}

/// What the kinds look at.
struct Project {
    /// Absolute, symlinks resolved.
    root: PathBuf,
    environment: cargo::Environment,
}

/// What one kind found.
struct Answer {
    /// The target that chooses it.
    target: String,
    marker: PathBuf,
    rules: Vec<Rule>,
    server: Server,
}

/// Why a kind has no answer although its files are there.
type NotEnough = String;

fn detect_with(
    root: &Path,
    as_: Option<&As>,
    environment: cargo::Environment,
) -> Result<Config, DetectError> {
    let root = fs::canonicalize(root).map_err(|error| DetectError::Io {
        root: root.to_path_buf(),
        error,
    })?;
    let project = Project {
        root: root.clone(),
        environment,
    };
    let mut seen = Vec::new();
    let mut candidates: Vec<Candidate> = Vec::new();
    for kind in Kind::ALL
        .into_iter()
        .filter(|kind| as_.is_none_or(|wanted| wanted.kind == *kind))
    {
        let target = as_.and_then(|wanted| wanted.target.as_deref());
        let answers = match kind {
            Kind::Go => go::look(&project, target),
            Kind::Cargo => cargo::look(&project, target),
            Kind::Node => node::look(&project, target),
            // A helper script in a project of another kind is no second answer.
            Kind::Python
                if as_.is_none() && !candidates.is_empty() && !python::is_declared(&project) =>
            {
                Ok(Vec::new())
            }
            Kind::Python => python::look(&project, target),
        };
        match answers {
            Ok(answers) => candidates.extend(answers.into_iter().map(|answer| Candidate {
                choose: As {
                    kind,
                    target: Some(answer.target),
                },
                config: Config {
                    root: root.clone(),
                    origin: Origin::Detected {
                        kind: kind.name(),
                        marker: answer.marker,
                    },
                    jobs: default_jobs(),
                    watch: Watch::default(),
                    rules: answer.rules,
                    server: Some(answer.server),
                    patterns: Vec::new(),
                },
            })),
            Err(not_enough) => seen.push(not_enough),
        }
    }
    if candidates.len() > 1 {
        return Err(DetectError::Several { candidates });
    }
    match candidates.pop() {
        Some(candidate) => Ok(candidate.config),
        None => {
            if seen.is_empty() {
                seen = nearby(&root);
            }
            if let Some(wanted) = as_.filter(|_| seen.is_empty()) {
                seen.push(format!(
                    "nothing of a {} project is here",
                    wanted.kind.name()
                ));
            }
            Err(DetectError::Nothing { root, seen })
        }
    }
}

impl Project {
    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    fn has(&self, name: impl AsRef<Path>) -> bool {
        self.path(name).is_file()
    }

    fn read(&self, name: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.path(name)).ok()
    }

    /// Which of `extensions` occur among the sources.
    fn extensions_present<'e>(&self, extensions: &[&'e str]) -> Vec<&'e str> {
        let mut missing = extensions.to_vec();
        for path in sources(&self.root) {
            missing.retain(|extension| path.extension() != Some(OsStr::new(extension)));
            if missing.is_empty() {
                break;
            }
        }
        extensions
            .iter()
            .copied()
            .filter(|extension| !missing.contains(extension))
            .collect()
    }
}

/// Folders below `folder`, sorted by name, hidden ones left out.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut folders: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && !name_of(path).starts_with('.'))
        .collect();
    folders.sort();
    folders
}

/// Files in `folder`, sorted by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default()
}

/// A glob that matches the path `name` and nothing else, whatever is in it.
fn escaped(name: &str) -> String {
    let escaped = globset::escape(&name.replace('\\', "\\\\"));
    // A leading `!` would exclude.
    if escaped.starts_with('!') {
        format!("./{escaped}")
    } else {
        escaped
    }
}

/// Globs of our own making.
fn globs<S: AsRef<str>>(patterns: &[S]) -> Globs {
    Globs::new(patterns).expect("detection writes good globs and escapes names")
}

fn words(words: &[&str]) -> Command {
    Command::Argv(words.iter().map(|word| word.to_string()).collect())
}

/// Markers one folder up or down, for whoever stands one folder off.
fn nearby(root: &Path) -> Vec<String> {
    let markers = [
        "go.mod",
        "Cargo.toml",
        "package.json",
        "pyproject.toml",
        "manage.py",
    ];
    let mut seen = Vec::new();
    for marker in markers {
        for folder in folders(root)
            .into_iter()
            .filter(|folder| folder.join(marker).is_file())
        {
            let name = name_of(&folder).to_string();
            seen.push(format!(
                "{name}/{marker} is one folder down: devwatch -C {}",
                super::quoted(&name)
            ));
        }
        if let Some(above) = root
            .ancestors()
            .skip(1)
            .take(4)
            .position(|folder| folder.join(marker).is_file())
        {
            let up = vec![".."; above + 1].join("/");
            seen.push(format!("{up}/{marker} is further up: devwatch -C {up}"));
        }
    }
    // Kinds that devwatch does not derive a config from, so that silence is not taken for blindness.
    for marker in [
        "deno.json",
        "mix.exs",
        "Gemfile",
        "composer.json",
        "pom.xml",
        "build.gradle",
        "CMakeLists.txt",
        "Makefile",
        "justfile",
        "go.work",
    ] {
        if root.join(marker).is_file() {
            seen.push(format!(
                "{marker} is here, but devwatch derives nothing from it"
            ));
        }
    }
    seen
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use tempfile::TempDir;

    /// A project on disk.
    pub(in crate::config) fn tree(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().expect("a temp folder");
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("below the temp folder")).expect("folders");
            fs::write(path, text).expect("a file");
        }
        folder
    }

    fn answer(
        folder: &TempDir,
        at: &str,
        as_: Option<&str>,
        environment: cargo::Environment,
    ) -> String {
        let as_ = as_.map(|text| text.parse::<As>().expect("a good flag"));
        let root = fs::canonicalize(folder.path().join(at)).expect("the root");
        let text = match detect_with(&root, as_.as_ref(), environment) {
            Ok(config) => {
                let artefact = config
                    .artefact()
                    .map(|path| config.relative(&path).display().to_string());
                format!(
                    "{}\nartefact {}\n",
                    describe(&config),
                    artefact.unwrap_or("none".into())
                )
            }
            Err(error) => format!("{error}\n"),
        };
        text.replace(&root.display().to_string(), "ROOT")
    }

    fn check(files: &[(&str, &str)], as_: Option<&str>, expected: Expect) {
        expected.assert_eq(&answer(
            &tree(files),
            "",
            as_,
            cargo::Environment::default(),
        ));
    }

    const GO_MAIN: &str = "// a server\npackage main\n\nfunc main() {}\n";
    const PACKAGE: &str = "[package]\nname = \"shop\"\nversion = \"0.1.0\"\n";

    #[test]
    fn go_with_package_main_in_the_root() {
        check(
            &[
                ("go.mod", "module example.com/shop/v2\n"),
                ("main.go", GO_MAIN),
                ("web/index.tmpl", ""),
                ("tools/gen.go", "//go:build ignore\n\npackage main\n"),
                ("cmd/tool/main.go", GO_MAIN),
            ],
            None,
            expect![[r#"
                Go project, from go.mod
                  run    go build -buildvcs=false -o .devwatch/bin/shop .
                         when **/*.go go.mod go.sum **/*.tmpl !**/*_test.go
                  serve  .devwatch/bin/shop
                artefact .devwatch/bin/shop
            "#]],
        );
    }

    #[test]
    fn go_with_the_only_command() {
        let files = [
            ("go.mod", "module shop\n"),
            ("go.work", "go 1.22\nuse .\n"),
            ("shop.go", "package shop\n"),
            ("cmd/api/main.go", GO_MAIN),
            ("cmd/internal/x.go", "package internal\n"),
        ];
        check(
            &files,
            None,
            expect![[r#"
                Go project, from go.mod
                  run    go build -buildvcs=false -o .devwatch/bin/api ./cmd/api
                         when **/*.go go.mod go.sum go.work !**/*_test.go
                  serve  .devwatch/bin/api
                artefact .devwatch/bin/api
            "#]],
        );
    }

    #[test]
    fn go_with_several_commands_lists_them() {
        let files = [
            ("go.mod", "module shop\n"),
            ("cmd/api/main.go", GO_MAIN),
            ("cmd/worker/main.go", GO_MAIN),
        ];
        check(
            &files,
            None,
            expect![[r#"
            several programs could be served here; choose one:
              devwatch --as go:./cmd/api      serves .devwatch/bin/api
              devwatch --as go:./cmd/worker   serves .devwatch/bin/worker
            or write one of these into devwatch.toml:

            # as devwatch --as go:./cmd/api
            [[rule]]
            name = "build"
            files = ["**/*.go", "go.mod", "go.sum", "!**/*_test.go"]
            run = ["go", "build", "-buildvcs=false", "-o", ".devwatch/bin/api", "./cmd/api"]
            outputs = [".devwatch/bin/api"]

            [server]
            run = [".devwatch/bin/api"]

            # as devwatch --as go:./cmd/worker
            [[rule]]
            name = "build"
            files = ["**/*.go", "go.mod", "go.sum", "!**/*_test.go"]
            run = ["go", "build", "-buildvcs=false", "-o", ".devwatch/bin/worker", "./cmd/worker"]
            outputs = [".devwatch/bin/worker"]

            [server]
            run = [".devwatch/bin/worker"]
        "#]],
        );
        check(
            &files,
            Some("go:cmd/worker"),
            expect![[r#"
                Go project, from go.mod
                  run    go build -buildvcs=false -o .devwatch/bin/worker ./cmd/worker
                         when **/*.go go.mod go.sum !**/*_test.go
                  serve  .devwatch/bin/worker
                artefact .devwatch/bin/worker
            "#]],
        );
        check(
            &files,
            Some("go:nope"),
            expect![[r#"
            no program to serve found in ROOT
              go.mod is here, but ./nope has no package main
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
    }

    #[test]
    fn go_without_a_program_names_those_elsewhere() {
        check(
            &[("go.mod", "module shop\n"), ("server/x.go", GO_MAIN)],
            None,
            expect![[r#"
                no program to serve found in ROOT
                  go.mod is here, but no package main in . or cmd/*; elsewhere: devwatch --as go:./server
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
        check(
            &[("go.mod", "module shop\n"), ("x.go", "package shop")],
            None,
            expect![[r#"
                no program to serve found in ROOT
                  go.mod is here, but no package main
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
    }

    #[test]
    fn rust_with_one_binary() {
        check(
            &[("Cargo.toml", PACKAGE), ("src/main.rs", "")],
            None,
            expect![[r#"
                Rust project, from Cargo.toml
                  run    cargo build --bin shop
                         when **/*.rs **/Cargo.toml Cargo.lock !target/**
                  serve  target/debug/shop
                artefact target/debug/shop
            "#]],
        );
    }

    #[test]
    fn rust_with_several_binaries_lists_them_unless_one_is_the_default() {
        let several = [
            ("Cargo.toml", PACKAGE),
            ("src/main.rs", ""),
            ("src/bin/tool.rs", ""),
            ("src/bin/admin/main.rs", ""),
        ];
        check(
            &several,
            None,
            expect![[r#"
            several programs could be served here; choose one:
              devwatch --as cargo:shop    serves target/debug/shop
              devwatch --as cargo:tool    serves target/debug/tool
              devwatch --as cargo:admin   serves target/debug/admin
            or write one of these into devwatch.toml:

            # as devwatch --as cargo:shop
            [[rule]]
            name = "build"
            files = ["**/*.rs", "**/Cargo.toml", "Cargo.lock", "!target/**"]
            run = ["cargo", "build", "--bin", "shop"]
            outputs = ["target/debug/shop"]

            [server]
            run = ["target/debug/shop"]

            # as devwatch --as cargo:tool
            [[rule]]
            name = "build"
            files = ["**/*.rs", "**/Cargo.toml", "Cargo.lock", "!target/**"]
            run = ["cargo", "build", "--bin", "tool"]
            outputs = ["target/debug/tool"]

            [server]
            run = ["target/debug/tool"]

            # as devwatch --as cargo:admin
            [[rule]]
            name = "build"
            files = ["**/*.rs", "**/Cargo.toml", "Cargo.lock", "!target/**"]
            run = ["cargo", "build", "--bin", "admin"]
            outputs = ["target/debug/admin"]

            [server]
            run = ["target/debug/admin"]
        "#]],
        );
        check(
            &several,
            Some("rust:admin"),
            expect![[r#"
                Rust project, from Cargo.toml
                  run    cargo build --bin admin
                         when **/*.rs **/Cargo.toml Cargo.lock !target/**
                  serve  target/debug/admin
                artefact target/debug/admin
            "#]],
        );
        check(
            &several,
            Some("cargo:nope"),
            expect![[r#"
            no program to serve found in ROOT
              Cargo.toml is here, but no binary "nope"; there are shop, tool, admin
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
        let manifest = format!(
            "{PACKAGE}default-run = \"srv\"\n[[bin]]\nname = \"srv\"\npath = \"src/main.rs\"\n"
        );
        check(
            &[
                ("Cargo.toml", &manifest),
                ("src/main.rs", ""),
                ("src/bin/tool.rs", ""),
            ],
            None,
            expect![[r#"
                Rust project, from Cargo.toml
                  run    cargo build --bin srv
                         when **/*.rs **/Cargo.toml Cargo.lock !target/**
                  serve  target/debug/srv
                artefact target/debug/srv
            "#]],
        );
    }

    #[test]
    fn rust_workspaces_are_searched_for_binaries() {
        let files = [
            (
                "Cargo.toml",
                "[workspace]\nmembers = [\"crates/*\"]\nexclude = [\"crates/old\"]\n",
            ),
            ("crates/lib/Cargo.toml", "[package]\nname = \"lib\"\n"),
            ("crates/lib/src/lib.rs", ""),
            ("crates/shop/Cargo.toml", PACKAGE),
            ("crates/shop/src/main.rs", ""),
            ("crates/old/Cargo.toml", "[package]\nname = \"old\"\n"),
            ("crates/old/src/main.rs", ""),
        ];
        check(
            &files,
            None,
            expect![[r#"
                Rust project, from Cargo.toml
                  run    cargo build -p shop --bin shop
                         when **/*.rs **/Cargo.toml Cargo.lock !target/**
                  serve  target/debug/shop
                artefact target/debug/shop
            "#]],
        );
    }

    #[test]
    fn a_member_of_a_workspace_builds_into_the_workspace_and_watches_what_it_depends_on() {
        let shop = format!("{PACKAGE}[dependencies]\nlib.workspace = true\nserde = \"1\"\n");
        let folder = tree(&[
            (
                "Cargo.toml",
                "[workspace]\nmembers = [\"shop\", \"lib\"]\n[workspace.dependencies]\nlib = { path = \"lib\" }\n",
            ),
            (
                "lib/Cargo.toml",
                "[package]\nname = \"lib\"\n[dependencies]\ndeep = { path = \"../deep\" }\n",
            ),
            ("deep/Cargo.toml", "[package]\nname = \"deep\"\n"),
            ("shop/Cargo.toml", &shop),
            ("shop/src/main.rs", ""),
        ]);
        expect![[r#"
            Rust project, from Cargo.toml
              run    cargo build --bin shop
                     when **/*.rs **/Cargo.toml Cargo.lock ../Cargo.toml ../Cargo.lock ../deep/**/*.rs ../deep/Cargo.toml !../deep/target/** ../lib/**/*.rs ../lib/Cargo.toml !../lib/target/** !target/**
              serve  ../target/debug/shop
            artefact ../target/debug/shop
        "#]].assert_eq(&answer(
            &folder,
            "shop",
            None,
            cargo::Environment::default(),
        ));
    }

    #[test]
    fn the_target_folder_follows_the_environment_and_cargos_config() {
        let files = [("app/Cargo.toml", PACKAGE), ("app/src/main.rs", "")];
        let folder = tree(&files);
        let outside = cargo::Environment::with_target_dir(
            fs::canonicalize(folder.path()).expect("root").join("out"),
        );
        expect![[r#"
            Rust project, from Cargo.toml
              run    cargo build --bin shop
                     when **/*.rs **/Cargo.toml Cargo.lock !target/**
              serve  ../out/debug/shop
            artefact ../out/debug/shop
        "#]]
        .assert_eq(&answer(&folder, "app", None, outside));
        let inside = cargo::Environment::with_target_dir("build/rust");
        expect![[r#"
            Rust project, from Cargo.toml
              run    cargo build --bin shop
                     when **/*.rs **/Cargo.toml Cargo.lock !build/rust/**
              serve  build/rust/debug/shop
            artefact build/rust/debug/shop
        "#]]
        .assert_eq(&answer(&folder, "app", None, inside));
        fs::create_dir(folder.path().join(".cargo")).expect("a folder");
        let config = "[build]\ntarget-dir = \"shared\"\ntarget = \"x86_64-unknown-linux-musl\"\n";
        fs::write(folder.path().join(".cargo/config.toml"), config).expect("a file");
        expect![[r#"
            Rust project, from Cargo.toml
              run    cargo build --bin shop
                     when **/*.rs **/Cargo.toml Cargo.lock !target/**
              serve  ../shared/x86_64-unknown-linux-musl/debug/shop
            artefact ../shared/x86_64-unknown-linux-musl/debug/shop
        "#]]
        .assert_eq(&answer(&folder, "app", None, cargo::Environment::default()));
    }

    #[test]
    fn node_with_a_simple_start_script() {
        check(
            &[
                (
                    "package.json",
                    r#"{ "scripts": { "start": "NODE_ENV=development node server.js --port 80" } }"#,
                ),
                ("server.js", ""),
            ],
            None,
            expect![[r#"
                Node project, from package.json
                  watch  **/*.js **/*.json package.json !node_modules/**
                         then restart
                  serve  node server.js --port 80
                         with NODE_ENV=development
                artefact none
            "#]],
        );
    }

    #[test]
    fn node_with_a_start_script_for_the_shell() {
        check(
            &[
                (
                    "package.json",
                    r#"{ "scripts": { "start": "echo hi && tsx src/a.ts" } }"#,
                ),
                ("node_modules/.bin/tsx", ""),
                ("src/a.ts", ""),
            ],
            None,
            expect![[r#"
                Node project, from package.json
                  watch  **/*.ts **/*.json package.json !node_modules/**
                         then restart
                  serve  export PATH="$PWD/node_modules/.bin:$PATH"; echo hi && tsx src/a.ts
                artefact none
            "#]],
        );
        check(
            &[
                (
                    "package.json",
                    r#"{ "scripts": { "start": "tsx src/a.ts" } }"#,
                ),
                ("node_modules/.bin/tsx", ""),
                ("src/a.ts", ""),
            ],
            None,
            expect![[r#"
                Node project, from package.json
                  watch  **/*.ts **/*.json package.json !node_modules/**
                         then restart
                  serve  node_modules/.bin/tsx src/a.ts
                artefact none
            "#]],
        );
    }

    #[test]
    fn node_never_takes_a_watcher() {
        let scripts = r#"{ "scripts": { "start": "nodemon server.js", "dev": "vite" } }"#;
        check(
            &[("package.json", scripts)],
            None,
            expect![[r#"
            no program to serve found in ROOT
              package.json is here, but no start script, no main, and no server.js, index.js or app.js; scripts.start is itself a watcher (nodemon)
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
        check(
            &[("package.json", scripts)],
            Some("node:dev"),
            expect![[r#"
            no program to serve found in ROOT
              scripts.dev of package.json is itself a watcher (vite)
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
        check(
            &[("package.json", scripts), ("server.js", "")],
            None,
            expect![[r#"
                Node project, from package.json
                  watch  **/*.js **/*.json package.json !node_modules/**
                         then restart
                  serve  node server.js
                artefact none
            "#]],
        );
    }

    #[test]
    fn node_builds_what_it_starts() {
        check(
            &[
                (
                    "package.json",
                    r#"{ "scripts": { "build": "tsc -p .", "start": "node -r dotenv/config ./dist/server.js" } }"#,
                ),
                (
                    "tsconfig.json",
                    "{ // comment\n \"compilerOptions\": {\n \"outDir\": \"./dist\",\n } }",
                ),
                ("node_modules/.bin/tsc", ""),
                ("src/server.ts", ""),
            ],
            None,
            expect![[r#"
                Node project, from package.json
                  run    node_modules/.bin/tsc -p .
                         when **/*.ts **/*.json package.json !node_modules/** !dist/**
                  serve  node -r dotenv/config ./dist/server.js
                artefact none
            "#]],
        );
        check(
            &[
                (
                    "package.json",
                    r#"{ "scripts": { "build": "esbuild src/a.ts --outfile=out/a.js" }, "main": "out/a.js" }"#,
                ),
                ("src/a.ts", ""),
            ],
            None,
            expect![[r#"
                Node project, from package.json
                  run    esbuild src/a.ts --outfile=out/a.js
                         when **/*.ts **/*.json package.json !node_modules/** !out/**
                  serve  node out/a.js
                artefact none
            "#]],
        );
    }

    #[test]
    fn node_with_main_or_an_obvious_file() {
        check(
            &[
                ("package.json", r#"{ "main": "./lib/run" }"#),
                ("lib/run.js", ""),
            ],
            None,
            expect![[r#"
                Node project, from package.json
                  watch  **/*.js **/*.json package.json !node_modules/**
                         then restart
                  serve  node lib/run.js
                artefact none
            "#]],
        );
        check(
            &[("package.json", "{}"), ("index.js", ""), ("app.js", "")],
            None,
            expect![[r#"
                several programs could be served here; choose one:
                  devwatch --as node:index.js   serves node index.js
                  devwatch --as node:app.js     serves node app.js
                or write one of these into devwatch.toml:

                # as devwatch --as node:index.js
                [[rule]]
                name = "sources"
                files = ["**/*.js", "**/*.json", "package.json", "!node_modules/**"]

                [server]
                run = ["node", "index.js"]

                # as devwatch --as node:app.js
                [[rule]]
                name = "sources"
                files = ["**/*.js", "**/*.json", "package.json", "!node_modules/**"]

                [server]
                run = ["node", "app.js"]
            "#]],
        );
        check(
            &[("package.json", "{}"), ("index.js", ""), ("app.js", "")],
            Some("node:app.js"),
            expect![[r#"
                Node project, from package.json
                  watch  **/*.js **/*.json package.json !node_modules/**
                         then restart
                  serve  node app.js
                artefact none
            "#]],
        );
        check(
            &[("package.json", "{")],
            None,
            expect![[r#"
            no program to serve found in ROOT
              package.json is not JSON: EOF while parsing an object at line 1 column 1
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
    }

    #[test]
    fn python_entry_points() {
        check(
            &[("manage.py", ""), ("app.py", ""), (".venv/bin/python", "")],
            None,
            expect![[r#"
                Python project, from manage.py
                  watch  **/*.py !.venv/** !venv/** !**/__pycache__/**
                         then restart
                  serve  .venv/bin/python manage.py runserver --noreload
                         with PYTHONUNBUFFERED=1
                artefact none
            "#]],
        );
        check(
            &[("app.py", "print()"), ("templates/a.html", "")],
            None,
            expect![[r#"
                Python project, from app.py
                  watch  **/*.py **/*.html !.venv/** !venv/** !**/__pycache__/**
                         then restart
                  serve  python3 app.py
                         with PYTHONUNBUFFERED=1
                artefact none
            "#]],
        );
        check(
            &[("main.py", "from fastapi import FastAPI\napi = FastAPI()\n")],
            None,
            expect![[r#"
                Python project, from main.py
                  watch  **/*.py !.venv/** !venv/** !**/__pycache__/**
                         then restart
                  serve  python3 -m uvicorn main:api
                         with PYTHONUNBUFFERED=1
                artefact none
            "#]],
        );
        check(
            &[
                (
                    "pyproject.toml",
                    "[project.scripts]\nshop = \"shop.cli:main\"\n",
                ),
                ("src/shop/cli.py", ""),
            ],
            None,
            expect![[r#"
                Python project, from pyproject.toml
                  watch  **/*.py pyproject.toml !.venv/** !venv/** !**/__pycache__/**
                         then restart
                  serve  python3 -c 'import sys; from shop.cli import main; sys.exit(main())'
                         with PYTHONPATH=src
                         with PYTHONUNBUFFERED=1
                artefact none
            "#]],
        );
        check(
            &[("shop/__main__.py", ""), ("shop/x.py", "")],
            None,
            expect![[r#"
                Python project, from shop/__main__.py
                  watch  **/*.py !.venv/** !venv/** !**/__pycache__/**
                         then restart
                  serve  python3 -m shop
                         with PYTHONUNBUFFERED=1
                artefact none
            "#]],
        );
        check(
            &[("pyproject.toml", "[tool.ruff]\n")],
            None,
            expect![[r#"
            no program to serve found in ROOT
              pyproject.toml is here, but no manage.py, no [project.scripts], no app.py, main.py or server.py, and no package with a __main__.py
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
        check(
            &[("a/b.py", "")],
            Some("python:a/b.py"),
            expect![[r#"
                Python project, from a/b.py
                  watch  **/*.py !.venv/** !venv/** !**/__pycache__/**
                         then restart
                  serve  python3 a/b.py
                         with PYTHONUNBUFFERED=1
                artefact none
            "#]],
        );
    }

    #[test]
    fn several_kinds_are_an_error_that_says_what_to_type() {
        let files = [
            ("go.mod", "module shop\n"),
            ("main.go", GO_MAIN),
            (
                "package.json",
                r#"{ "scripts": { "start": "node server.js" } }"#,
            ),
            ("server.js", ""),
            ("main.py", ""),
        ];
        check(
            &files,
            None,
            expect![[r#"
            several programs could be served here; choose one:
              devwatch --as go:.         serves .devwatch/bin/shop
              devwatch --as node:start   serves node server.js
            or write one of these into devwatch.toml:

            # as devwatch --as go:.
            [[rule]]
            name = "build"
            files = ["**/*.go", "go.mod", "go.sum", "!**/*_test.go"]
            run = ["go", "build", "-buildvcs=false", "-o", ".devwatch/bin/shop", "."]
            outputs = [".devwatch/bin/shop"]

            [server]
            run = [".devwatch/bin/shop"]

            # as devwatch --as node:start
            [[rule]]
            name = "sources"
            files = ["**/*.js", "**/*.json", "package.json", "!node_modules/**"]

            [server]
            run = ["node", "server.js"]
        "#]],
        );
        check(
            &files,
            Some("go"),
            expect![[r#"
                Go project, from go.mod
                  run    go build -buildvcs=false -o .devwatch/bin/shop .
                         when **/*.go go.mod go.sum !**/*_test.go
                  serve  .devwatch/bin/shop
                artefact .devwatch/bin/shop
            "#]],
        );
    }

    #[test]
    fn a_kind_without_a_program_does_not_stand_in_the_way() {
        check(
            &[
                ("go.mod", "module shop\n"),
                ("main.go", GO_MAIN),
                ("package.json", r#"{ "scripts": { "dev": "vite" } }"#),
                ("main.py", ""),
            ],
            None,
            expect![[r#"
                Go project, from go.mod
                  run    go build -buildvcs=false -o .devwatch/bin/shop .
                         when **/*.go go.mod go.sum !**/*_test.go
                  serve  .devwatch/bin/shop
                artefact .devwatch/bin/shop
            "#]],
        );
    }

    #[test]
    fn nothing_names_what_is_near_and_what_to_write() {
        let folder = tree(&[
            ("back end/go.mod", ""),
            ("Makefile", ""),
            ("go.mod", ""),
            ("here/sub/x", ""),
            ("here/Makefile", ""),
        ]);
        expect![[r#"
            no program to serve found in ROOT
              ../go.mod is further up: devwatch -C ..
              Makefile is here, but devwatch derives nothing from it
            say what to serve:
              devwatch -- ./my-server --its-flags
            or write this into devwatch.toml:

            [[rule]]
            name = "build"
            files = ["src/**"]
            run = ["make"]

            [server]
            run = ["./my-server"]
        "#]]
        .assert_eq(&answer(
            &folder,
            "here",
            None,
            cargo::Environment::default(),
        ));
        expect![[r#"
            no program to serve found in ROOT
              back end/go.mod is one folder down: devwatch -C 'back end'
            say what to serve:
              devwatch -- ./my-server --its-flags
            or write this into devwatch.toml:

            [[rule]]
            name = "build"
            files = ["src/**"]
            run = ["make"]

            [server]
            run = ["./my-server"]
        "#]]
        .assert_eq(&answer(
            &tree(&[("back end/go.mod", "")]),
            "",
            None,
            cargo::Environment::default(),
        ));
        expect![[r#"
            no program to serve found in ROOT
              nothing of a Python project is here
            say what to serve:
              devwatch -- ./my-server --its-flags
            or write this into devwatch.toml:

            [[rule]]
            name = "build"
            files = ["src/**"]
            run = ["make"]

            [server]
            run = ["./my-server"]
        "#]]
        .assert_eq(&answer(
            &tree(&[]),
            "",
            Some("python"),
            cargo::Environment::default(),
        ));
        assert!(matches!(
            detect(Path::new("/nowhere/at/all"), None),
            Err(DetectError::Io { .. })
        ));
    }

    #[test]
    fn any_name_can_be_a_glob() {
        for name in ["a b", "a[b", "{x}", "x\\", "!x", "a/*?", "é"] {
            let globs = globs(&[escaped(name)]);
            assert!(globs.matches(Path::new(name)), "{name}");
            assert!(!globs.matches(Path::new("a/b")), "{name}");
        }
    }

    #[test]
    fn the_flag_is_read_as_it_is_written() {
        for text in [
            "go",
            "cargo",
            "node:server.js",
            "python:a:b",
            "go:./cmd/api",
        ] {
            assert_eq!(text.parse::<As>().expect(text).to_string(), text);
        }
        assert_eq!("rust:x".parse::<As>().expect("rust").to_string(), "cargo:x");
        let refused: Vec<String> = ["", "gO", "ruby", "pyton", "go:"]
            .map(|text| text.parse::<As>().expect_err(text))
            .into();
        expect![[r#"
            unknown kind of project ""; known are go, cargo, node, python, each with an optional :TARGET
            unknown kind of project "gO"; did you mean go? known are go, cargo, node, python, each with an optional :TARGET
            unknown kind of project "ruby"; known are go, cargo, node, python, each with an optional :TARGET
            unknown kind of project "pyton"; did you mean python? known are go, cargo, node, python, each with an optional :TARGET
            empty target; write go:NAME, or go alone
        "#]].assert_eq(&(refused.join("\n") + "\n"));
    }

    #[test]
    fn a_command_is_served_and_restarted_on_any_source() {
        let folder = tree(&[("x", "")]);
        let config = from_command(folder.path(), vec!["./x".into(), "a b".into()]);
        expect![[r#"
            from the command line
              watch  **/* !**/*.log !**/*.pid !**/*.sock !**/*.db !**/*.db-* !**/*.sqlite*
                     then restart
              serve  ./x 'a b'"#]]
        .assert_eq(&describe(&config));
        let files = &config.rules[0].files;
        assert!(files.matches(Path::new("a/b.rb")) && files.matches(Path::new(".env")));
        assert!(
            !files.matches(Path::new("log/dev.log"))
                && !files.matches(Path::new("dev.sqlite3-wal"))
        );
    }
}
