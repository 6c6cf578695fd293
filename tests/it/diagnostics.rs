//! Real tools in their real failures: each has two problems in a project whose path has a space, and both are found
//! where they are.
//!
//! What is not installed is read from its transcript alone, and has to be there where every test is required.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use devwatch::diagnostics::{Base, Files, Problems, Reader, Recipe, locations, plain_line};
use devwatch::process::Stream;

use crate::project::{Project, have};

/// A project in a folder with a space in its path.
struct App {
    project: Project,
    root: PathBuf,
}

impl App {
    fn new(files: &[(&str, &str)]) -> App {
        let project = Project::new();
        for (name, content) in files {
            project.write(&format!("my app/{name}"), content);
        }
        let root = project.path("my app");
        App { project, root }
    }

    /// Runs a command in a folder of the project and reads what it prints, as a rule of devwatch would be read.
    #[track_caller]
    fn run(&self, folder: &str, argv: &[&str]) -> Problems {
        let cwd = self.root.join(folder);
        let mut command = Command::new(argv[0]);
        command.args(&argv[1..]).current_dir(&cwd);
        command.stdin(Stdio::null());
        // Where tests of this package are built is no place for a project's.
        command.env("CARGO_TARGET_DIR", self.project.path("target"));
        command.env("GOFLAGS", "-mod=mod").env("GOPROXY", "off");
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.env_remove("RUST_BACKTRACE");
        let output = command.output().expect("it runs");
        let argv: Vec<String> = argv.iter().map(|&word| word.to_owned()).collect();
        let base = Base {
            cwd,
            root: self.root.clone(),
        };
        let root = self.root.clone();
        let files = Files::new(Path::is_file, move || walk(&root));
        let mut reader = Reader::new(&Recipe::auto(&argv, &[], base), files);
        for (stream, bytes) in [(Stream::Err, &output.stderr), (Stream::Out, &output.stdout)] {
            for piece in bytes.chunks(7) {
                reader.push(stream, piece);
            }
        }
        let (_, problems) = reader.finish();
        let printed = [output.stderr, output.stdout].concat();
        let printed = String::from_utf8_lossy(&printed);
        assert!(!output.status.success(), "{argv:?} succeeded:\n{printed}");
        problems
    }

    /// Runs it and compares what was found: `error src/a.c:3:5 [code]`, paths from the project's root.
    #[track_caller]
    fn check(&self, folder: &str, argv: &[&str], expected: &[&str]) {
        let problems = self.run(folder, argv);
        let mut found: Vec<String> = Vec::new();
        for problem in &problems.list {
            let file = problem.file.as_deref().unwrap_or(Path::new("nowhere"));
            assert!(file.is_file(), "{argv:?}: {problem:?}");
            let column = problem
                .column
                .map_or(String::new(), |column| format!(":{column}"));
            let code = problem
                .code
                .as_ref()
                .map_or(String::new(), |code| format!(" [{code}]"));
            let file = file
                .strip_prefix(&self.root)
                .expect("below the root")
                .display();
            found.push(format!(
                "{} {file}:{}{column}{code}",
                problem.severity, problem.line
            ));
            // What editors get is one line with the whole path.
            let line = plain_line(problem).expect("it has a file");
            assert!(
                line.starts_with(&format!("{}/", self.root.display())),
                "{line}"
            );
        }
        assert_eq!(found, expected, "{argv:?}: {:#?}", problems.list);
        assert_eq!(locations(&problems).lines().count(), expected.len());
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => files.extend(walk(&path)),
            false => files.push(path),
        }
    }
    files
}

#[test]
fn go_is_read_as_it_is() {
    if !have("go") {
        return;
    }
    let app = App::new(&[
        ("go.mod", "module example.com/demo\n\ngo 1.21\n"),
        (
            "main.go",
            "package main\n\nfunc main() {\n\tname := \"x\"\n\tprintln(usr.Name)\n}\n",
        ),
        (
            "store/db.go",
            "package store\n\nimport \"fmt\"\n\nfunc Open() {\n\tfmt.Printf(\"%d\\n\", \"x\")\n\tfmt.Printf(\"%s\\n\", 1)\n}\n",
        ),
        (
            "work/work.go",
            "package work\n\nfunc Two() int { return 3 }\n\nfunc Crash() { var m map[string]int; m[\"x\"] = 1 }\n",
        ),
        (
            "work/work_test.go",
            "package work\n\nimport \"testing\"\n\nfunc TestTwo(t *testing.T) {\n\tif Two() != 2 {\n\t\tt.Errorf(\"Two() = %d\", Two())\n\t}\n}\n\nfunc TestCrash(t *testing.T) {\n\tCrash()\n}\n",
        ),
    ]);
    let both = ["error main.go:4:2", "error main.go:5:10"];
    app.check("", &["go", "build", "-o", "x", "."], &both);
    app.check("", &["sh", "-c", "cd . && exec go build -o x ."], &both);
    app.check("", &["go", "build", "-json", "-o", "x", "."], &both);
    app.check("store", &["go", "build", "-o", "x", ".."], &both);
    let vetted = ["error store/db.go:6:14", "error store/db.go:7:14"];
    app.check("", &["go", "vet", "./store"], &vetted);
    let tested = ["error work/work_test.go:7", "error work/work.go:5"];
    for argv in [
        &["go", "test", "./work"][..],
        &["go", "test", "-json", "./work"],
        &["go", "test", "-v", "./work"],
    ] {
        let mut found: Vec<String> = app
            .run("", argv)
            .list
            .iter()
            .map(|problem| {
                let file = problem.file.as_deref().expect("it exists");
                let file = file
                    .strip_prefix(&app.root)
                    .expect("below the root")
                    .display();
                format!("{} {file}:{}", problem.severity, problem.line)
            })
            .collect();
        found.sort_by_key(|line| tested.iter().position(|expected| line == expected));
        assert_eq!(found, tested, "{argv:?}");
    }
}

#[test]
fn cargo_is_read_as_it_is() {
    let app = App::new(&[
        (
            "Cargo.toml",
            "[workspace]\nmembers = [\"member\"]\nresolver = \"3\"\n",
        ),
        (
            "member/Cargo.toml",
            "[package]\nname = \"member\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
        ),
        (
            "member/src/lib.rs",
            "mod deep;\n\npub fn number() -> u32 {\n    \"one\"\n}\n",
        ),
        (
            "member/src/deep.rs",
            "pub fn text() -> u32 {\n    y + 1\n}\n",
        ),
    ]);
    let both = [
        "error member/src/deep.rs:2:5 [E0425]",
        "error member/src/lib.rs:4:5 [E0308]",
    ];
    // Paths hang on the workspace, wherever cargo is called.
    for folder in ["", "member", "member/src"] {
        for form in ["json", "human", "short", "json-diagnostic-rendered-ansi"] {
            let form = format!("--message-format={form}");
            app.check(
                folder,
                &["cargo", "test", "--offline", "--no-run", &form],
                &both,
            );
        }
    }
    let manifest = app.root.join("member/Cargo.toml");
    let manifest = manifest.to_str().expect("text");
    app.project.write("elsewhere/x", "");
    app.check(
        "../elsewhere",
        &["cargo", "check", "--offline", "--manifest-path", manifest],
        &both,
    );

    let app = App::new(&[
        (
            "Cargo.toml",
            "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n",
        ),
        (
            "src/lib.rs",
            "#[test]\nfn two() {\n    assert_eq!(1 + 1, 3);\n}\n#[test]\nfn none() {\n    None::<u32>.unwrap();\n}\n",
        ),
    ]);
    let argv = [
        "cargo",
        "test",
        "--offline",
        "-q",
        "--lib",
        "--",
        "--test-threads=1",
    ];
    app.check(
        "",
        &argv,
        &["error src/lib.rs:3:5", "error src/lib.rs:7:17"],
    );
}

#[test]
fn cc_and_make_are_read_as_they_are() {
    if !have("cc") || !have("make") {
        return;
    }
    let app = App::new(&[
        (
            "src/main.c",
            "int main(void) {\n    int unused;\n    return missing;\n}\n",
        ),
        ("src/Makefile", "main.o: main.c\n\tcc -Wall -c main.c\n"),
        ("Makefile", "all:\n\t$(MAKE) -C src\n"),
    ]);
    let errors = |problems: Problems| {
        let mut places: Vec<_> = problems
            .list
            .iter()
            .filter(|problem| problem.severity != devwatch::diagnostics::Severity::Info)
            .map(|problem| {
                (
                    problem.severity.word(),
                    problem.file.clone(),
                    problem.line,
                    problem.column,
                )
            })
            .collect();
        places.sort();
        places
    };
    let file = Some(app.root.join("src/main.c"));
    let expected = [
        ("error", file.clone(), 3, Some(12)),
        ("warning", file, 2, Some(9)),
    ];
    assert_eq!(
        errors(app.run("", &["cc", "-Wall", "-c", "src/main.c"])),
        expected
    );
    assert_eq!(
        errors(app.run("src", &["cc", "-Wall", "-c", "main.c"])),
        expected
    );
    assert_eq!(errors(app.run("", &["make"])), expected);
    assert_eq!(
        errors(app.run("", &["sh", "-c", "cd src && make"])),
        expected
    );
}

#[test]
fn python_is_read_as_it_is() {
    if !have("python3") {
        return;
    }
    let app = App::new(&[
        (
            "app.py",
            "from pkg.work import run\n\ntry:\n    run(0)\nexcept ZeroDivisionError as error:\n    raise ValueError(\"no\") from error\n",
        ),
        ("pkg/__init__.py", ""),
        ("pkg/work.py", "def run(n):\n    return 1 / n\n"),
        ("bad/broken.py", "def f():\n    return (1,\n"),
        ("bad/open.py", "x = 1\ny = = 2\n"),
    ]);
    app.check(
        "",
        &["python3", "app.py"],
        &["error pkg/work.py:2", "error app.py:6"],
    );
    let both = ["error bad/broken.py:2", "error bad/open.py:2"];
    app.check("", &["python3", "-m", "compileall", "-q", "bad"], &both);
    app.check("bad", &["python3", "-m", "compileall", "-q", "."], &both);
}

#[test]
fn pytest_mypy_and_ruff_are_read_as_they_are() {
    let app = App::new(&[
        (
            "test_work.py",
            "import os\n\n\ndef test_two():\n    assert 1 + 1 == 3\n\n\ndef test_key():\n    {}[\"x\"]\n",
        ),
        ("typed.py", "x: int = \"one\"\ny: str = 2\n"),
    ]);
    if have("pytest") {
        let both = ["error test_work.py:5", "error test_work.py:9"];
        for form in ["long", "short", "line", "native"] {
            let form = format!("--tb={form}");
            app.check("", &["pytest", "-p", "no:cacheprovider", &form], &both);
        }
    }
    if have("mypy") {
        let argv = ["mypy", "--show-column-numbers", "typed.py"];
        let both = [
            "error typed.py:1:10 [assignment]",
            "error typed.py:2:10 [assignment]",
        ];
        app.check("", &argv, &both);
    }
    if have("ruff") {
        for form in ["full", "concise"] {
            let argv = ["ruff", "check", "--no-cache", "--output-format", form, "."];
            app.check("", &argv, &["error test_work.py:1:8 [F401]"]);
        }
    }
}

#[test]
fn node_is_read_as_it_is() {
    if !have("node") {
        return;
    }
    let app = App::new(&[
        ("broken.js", "const = 3;\n"),
        ("app.js", "const load = require('./lib/load');\nload();\n"),
        (
            "lib/load.js",
            "module.exports = function () {\n  return null.x;\n};\n",
        ),
        ("bad.mjs", "import './lib/half.mjs';\n"),
        ("lib/half.mjs", "export const x = ;\n"),
    ]);
    app.check("", &["node", "broken.js"], &["error broken.js:1:7"]);
    app.check("", &["node", "app.js"], &["error lib/load.js:2:15"]);
    app.check("", &["node", "bad.mjs"], &["error lib/half.mjs:1:18"]);
}

#[test]
fn tsc_is_read_as_it_is() {
    if !have("tsc") {
        return;
    }
    let app = App::new(&[
        (
            "tsconfig.json",
            "{ \"compilerOptions\": { \"strict\": true, \"noEmit\": true }, \"include\": [\"src\"] }\n",
        ),
        ("src/a.ts", "const n: number = \"one\";\n"),
        ("src/b.ts", "export function f(x) { return x; }\n"),
    ]);
    let both = [
        "error src/a.ts:1:7 [TS2322]",
        "error src/b.ts:1:19 [TS7006]",
    ];
    for form in ["true", "false"] {
        app.check("", &["tsc", "-p", ".", "--pretty", form], &both);
    }
}

#[test]
fn eslint_is_read_as_it_is() {
    if !have("eslint") {
        return;
    }
    let app = App::new(&[
        (
            "eslint.config.mjs",
            "export default [{ rules: { \"no-unused-vars\": \"warn\", eqeqeq: \"error\" } }];\n",
        ),
        (
            "src/a.js",
            "const unused = 1;\nif (globalThis.x == 2) {\n}\n",
        ),
    ]);
    let both = [
        "error src/a.js:2:18 [eqeqeq]",
        "warning src/a.js:1:7 [no-unused-vars]",
    ];
    app.check("", &["eslint", "src"], &both);
    app.check("", &["eslint", "-f", "json", "src"], &both);
}

#[test]
fn javac_is_read_as_it_is() {
    if !have("javac") {
        return;
    }
    let app = App::new(&[(
        "demo/Main.java",
        "package demo;\n\nclass Main {\n    int n = \"one\";\n    int m = missing;\n}\n",
    )]);
    let both = ["error demo/Main.java:4:13", "error demo/Main.java:5:13"];
    app.check("", &["javac", "demo/Main.java"], &both);
}
