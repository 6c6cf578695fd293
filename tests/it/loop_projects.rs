//! The loop in real projects: save, build, restart, the answer of the new code. One per language that devwatch
//! knows, without a config first, then with the config that the example has.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use regex::Regex;

use crate::project::{Devwatch, Project, field, free_port, get, have, port_is_free, port_of};

/// Where an example says what it answers.
struct Language {
    /// The folder of the example.
    name: &'static str,
    /// The file with the version.
    file: &'static str,
    /// What stands around the version in that file.
    around: (&'static str, &'static str),
    /// What stands around it in the answer.
    answer: (&'static str, &'static str),
}

const GO: Language = Language {
    name: "go",
    file: "internal/site/site.go",
    around: ("const Version = \"", "\"\n"),
    answer: ("version ", "</p>"),
};
const RUST: Language = Language {
    name: "rust",
    file: "src/greeting.rs",
    around: ("hello from Rust, version ", "\";"),
    answer: ("version ", ""),
};
const NODE: Language = Language {
    name: "node",
    file: "lib/greeting.js",
    around: ("hello from Node, version ", "\";"),
    answer: ("version ", "\n"),
};
const PYTHON: Language = Language {
    name: "python",
    file: "hello/__init__.py",
    around: ("hello from Python, version ", "\"\n"),
    answer: ("version ", "\n"),
};

/// A project, a devwatch in it, and the version that was saved last.
struct Loop {
    language: Language,
    /// Where the example stands in the project: "" or "examples/rust/".
    folder: &'static str,
    devwatch: Devwatch,
    project: Project,
    port: u16,
    version: u32,
    /// The generation that serves.
    generation: String,
}

impl Loop {
    /// Without a config: detection, and a server that opens $PORT by itself.
    fn without_config(language: Language) -> Loop {
        let project = Project::example(language.name);
        let port = free_port();
        let mut devwatch = project.devwatch_with(&[], |command| {
            offline(command).env("PORT", port.to_string());
        });
        let end = devwatch.end("serving");
        assert_eq!(port_of(&end), port);
        Loop::begun(language, "", project, devwatch, &end)
    }

    /// With the config that the example brings, but for the port.
    fn with_config(
        language: Language,
        folder: &'static str,
        project: Project,
        config: &str,
    ) -> Loop {
        project.edit(config, "127.0.0.1:8080", "127.0.0.1:0");
        let mut devwatch = project.devwatch_with(&[], |command| {
            offline(command);
        });
        let end = devwatch.end("serving");
        Loop::begun(language, folder, project, devwatch, &end)
    }

    fn begun(
        language: Language,
        folder: &'static str,
        project: Project,
        devwatch: Devwatch,
        end: &str,
    ) -> Loop {
        let mut running = Loop {
            port: port_of(end),
            generation: generation(end),
            language,
            folder,
            project,
            devwatch,
            version: 1,
        };
        running.answers();
        running
    }

    fn file(&self) -> String {
        format!("{}{}", self.folder, self.language.file)
    }

    /// Saves the next version. What it was before may be broken.
    fn save(&mut self) {
        let (before, after) = self.language.around;
        let old = format!("{before}{}{after}", self.version);
        self.version += 1;
        let new = format!("{before}{}{after}", self.version);
        self.project.edit(&self.file(), &old, &new);
    }

    /// The next end is a new generation, which answers with what was saved last.
    #[track_caller]
    fn serves(&mut self) {
        let end = self.devwatch.end("serving");
        let generation = generation(&end);
        assert_ne!(generation, self.generation, "{end}");
        self.generation = generation;
        self.answers();
    }

    #[track_caller]
    fn answers(&mut self) {
        let answer = get(self.port).expect("an answer");
        let (before, after) = self.language.answer;
        let expected = format!("{before}{}{after}", self.version);
        let found = if after.is_empty() {
            answer.trim_end().ends_with(&expected)
        } else {
            answer.contains(&expected)
        };
        assert!(
            found,
            "not {expected:?}: {answer:?}\n{}",
            self.devwatch.story()
        );
    }

    /// Saves what no compiler takes; the old server goes on, and devwatch says so.
    #[track_caller]
    fn breaks(&mut self) {
        let file = self.file();
        let broken = format!("(((\n{}", self.project.read(&file));
        self.project.write(&file, &broken);
        let end = self.devwatch.end("failed");
        assert_eq!(
            field(&end, "serving"),
            Some(&*format!("gen{}", self.generation)),
            "{end}"
        );
        assert!(field(&end, "exit").is_some_and(|code| code != "0"), "{end}");
        let stale = self.devwatch.line("still serves");
        let expected = format!(
            "^devwatch: note: gen {} still serves, STALE since \\d\\d:\\d\\d:\\d\\d$",
            self.generation
        );
        let expected = Regex::new(&expected).expect("a pattern");
        assert!(expected.is_match(&stale), "{stale}");
        self.answers();
    }

    /// A broken save that is taken back ends as if nothing had been; one that is fixed into something new goes
    /// into service.
    #[track_caller]
    fn survives_broken_saves(&mut self) {
        let file = self.file();
        let good = self.project.read(&file);
        self.breaks();
        self.project.write(&file, &good);
        let end = self.devwatch.end("unchanged");
        assert_eq!(field(&end, "gen"), Some(&*self.generation), "{end}");
        self.answers();
        self.breaks();
        let (before, after) = self.language.around;
        let old = format!("{before}{}{after}", self.version);
        self.version += 1;
        let new = format!("{before}{}{after}", self.version);
        assert!(good.contains(&old), "{good}");
        self.project.write(&file, &good.replace(&old, &new));
        self.serves();
    }

    /// TERM: exit 143, every process gone, the port free.
    #[track_caller]
    fn ends(mut self) {
        self.devwatch.signal(Signal::SIGTERM);
        assert_eq!(self.devwatch.ended().code(), Some(143));
        self.project.nothing_left(Duration::from_secs(1));
        assert!(port_is_free(self.port));
    }
}

#[track_caller]
fn generation(end: &str) -> String {
    field(end, "gen").expect("a generation").to_owned()
}

/// What the example needs was fetched when this package was built.
fn offline(command: &mut Command) -> &mut Command {
    command
        .env("CARGO_NET_OFFLINE", "true")
        .env("GOFLAGS", "-mod=mod")
        .env("GOPROXY", "off")
}

#[test]
fn go_without_a_config_serves_every_save() {
    if !have("go") {
        return;
    }
    let mut go = Loop::without_config(GO);
    for _ in 0..20 {
        go.save();
        go.serves();
    }
    go.survives_broken_saves();
    go.ends();
}

#[test]
fn rust_without_a_config_serves_every_save() {
    let mut rust = Loop::without_config(RUST);
    for _ in 0..20 {
        rust.save();
        rust.serves();
    }
    rust.survives_broken_saves();
    rust.ends();
}

#[test]
fn node_without_a_config_serves_every_save() {
    if !have("node") {
        return;
    }
    let mut node = Loop::without_config(NODE);
    for _ in 0..5 {
        node.save();
        node.serves();
    }
    node.ends();
}

#[test]
fn python_without_a_config_serves_every_save() {
    if !have("python3") {
        return;
    }
    let mut python = Loop::without_config(PYTHON);
    for _ in 0..5 {
        python.save();
        python.serves();
    }
    python.ends();
}

#[test]
fn go_with_the_config_of_the_example() {
    if !have("go") {
        return;
    }
    let project = Project::example_as_it_is("go");
    let mut go = Loop::with_config(GO, "", project, "devwatch.toml");
    for _ in 0..3 {
        go.save();
        go.serves();
    }
    // Embedded in the binary, so a change of it is a change of the code.
    go.project
        .edit("internal/site/page.html", "<p>", "<p>good morning, ");
    go.serves();
    assert!(get(go.port).expect("an answer").contains("good morning"));
    go.survives_broken_saves();
    go.ends();
}

#[test]
fn rust_with_the_config_of_the_repository() {
    let project = Project::new();
    project.copy_from_package("examples/rust", "examples/rust");
    project.copy_from_package(".config", ".config");
    let mut rust = Loop::with_config(RUST, "examples/rust/", project, ".config/devwatch.toml");
    for _ in 0..3 {
        rust.save();
        rust.serves();
    }
    // As the config promises: it builds, and restarts nothing.
    let file = rust.file();
    let commented = rust.project.read(&file) + "// A comment at the end.\n";
    rust.project.write(&file, &commented);
    let end = rust.devwatch.end("unchanged");
    assert_eq!(field(&end, "gen"), Some(&*rust.generation), "{end}");
    rust.answers();
    rust.survives_broken_saves();
    rust.ends();
}

#[test]
fn node_with_the_config_of_the_example() {
    if !have("node") {
        return;
    }
    let project = Project::example_as_it_is("node");
    let mut node = Loop::with_config(NODE, "", project, "devwatch.toml");
    for _ in 0..3 {
        node.save();
        node.serves();
    }
    node.ends();
}

#[test]
fn python_with_the_config_of_the_example() {
    if !have("python3") {
        return;
    }
    let project = Project::example_as_it_is("python");
    let mut python = Loop::with_config(PYTHON, "", project, "devwatch.toml");
    for _ in 0..3 {
        python.save();
        python.serves();
    }
    // Its second rule compiles what the server will read.
    let file = python.file();
    let good = python.project.read(&file);
    python.breaks();
    python.project.write(&file, &good);
    python.serves();
    python.ends();
}
