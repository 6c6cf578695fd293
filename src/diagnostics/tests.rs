//! What real tools really printed, and what is read in it; and what comes of anything else.
//!
//! The transcripts were captured from the tools in projects below `/home/me/my app`, a path with a space: go 1.26,
//! cargo 1.95, gcc 12.2, javac 17, tsc 5.9 and 7.0, eslint 10, node 20, python 3.11, pytest 9, mypy and ruff of 2026.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::process::Stream::{Err, Out};

const ROOT: &str = "/home/me/my app";

/// Every file of the projects that a problem could be in.
const FILES: &[&str] = &[
    "go/main.go",
    "go/main_test.go",
    "go/go.mod",
    "go/internal/store/db.go",
    "go/internal/store/db_test.go",
    "cargo/Cargo.toml",
    "cargo/src/lib.rs",
    "cargo/src/main.rs",
    "cargo/src/deep/mod.rs",
    "c/bad.mk",
    "c/Makefile",
    "c/src/main.c",
    "c/src/part.h",
    "c/src/inc.c",
    "c/src/link.c",
    "c/src/Makefile",
    "java/demo/Main.java",
    "py/app.py",
    "py/parse.py",
    "py/test_unit.py",
    "py/pkg/work.py",
    "py/pkg/broken.py",
    "py/pkg/indent.py",
    "py/tests/test_work.py",
    "py/tests/test_broken.py",
    "py/tests/test_import.py",
    "ts/src/a.ts",
    "ts/src/b.ts",
    "js/app.js",
    "js/bad.mjs",
    "js/gone.js",
    "js/gone.mjs",
    "js/late.js",
    "js/x.test.js",
    "js/src/a.js",
    "js/src/broken.js",
    "js/src/load.js",
];

macro_rules! transcripts {
    ($($name:literal $folder:literal $command:literal,)*) => {
        /// Name, the folder it was captured in, the command, and what that printed.
        const TRANSCRIPTS: &[(&str, &str, &str, &str)] = &[
            $(($name, $folder, $command, include_str!(concat!("transcripts/", $name, ".txt"))),)*
        ];
    };
}

transcripts! {
    "go-build" "go" "go build -o x .",
    "go-build-json" "go" "go build -json -o x .",
    "go-syntax" "go" "go build -o x .",
    "go-vet" "go" "go vet ./...",
    "go-modules" "go" "go build ./...",
    "go-modules-mod" "go" "go build ./...",
    "go-test" "go" "go test ./...",
    "go-test-v" "go" "go test -v ./internal/...",
    "go-test-json" "go" "go test -json ./...",
    "go-test-build" "go" "go test ./...",
    "go-test-build-json" "go" "go test -json ./...",
    "go-panic" "go" "go run .",
    "cargo-human" "cargo" "cargo build",
    "cargo-short" "cargo" "cargo build --message-format=short",
    "cargo-color" "cargo" "cargo build --color always",
    "cargo-json" "cargo" "cargo build --message-format=json",
    "cargo-json-ansi-two-targets" "cargo" "cargo test --no-run --message-format=json-diagnostic-rendered-ansi",
    "cargo-test" "cargo" "cargo test",
    "cargo-manifest" "cargo" "cargo build",
    "rust-panic" "cargo" "cargo run",
    "gcc" "c" "gcc -Wall -c src/main.c",
    "gcc-color" "c" "gcc -Wall -c src/main.c",
    "gcc-link" "c" "gcc -g src/link.c",
    "gcc-include" "c" "gcc -c src/inc.c",
    "make" "c" "make",
    "make-syntax" "c" "make -f bad.mk",
    "javac" "java" "javac -Xlint:all demo/Main.java",
    "python-traceback" "py" "python3 app.py",
    "python-foreign" "py" "python3 -c 'import json'",
    "python-library" "py" "python3 parse.py",
    "python-syntax" "py" "python3 pkg/broken.py",
    "python-compileall" "py" "python3 -m compileall -q app.py pkg",
    "unittest" "py" "python3 -m unittest test_unit",
    "pytest" "py" "pytest tests/test_work.py",
    "pytest-short" "py" "pytest --tb=short tests/test_work.py",
    "pytest-line" "py" "pytest -q --tb=line tests/test_work.py",
    "pytest-color" "py" "pytest --color=yes tests/test_work.py",
    "pytest-collect" "py" "pytest",
    "mypy" "py" "mypy .",
    "mypy-pretty" "py" "mypy --pretty --show-column-numbers pkg",
    "ruff" "py" "ruff check .",
    "ruff-concise" "py" "ruff check --output-format concise .",
    "ruff-syntax" "py" "ruff check pkg/broken.py",
    "tsc" "ts" "npx tsc -p .",
    "tsc-pretty" "ts" "npx tsc -p . --pretty",
    "tsc7-pretty" "ts" "npx tsc -p . --pretty",
    "eslint" "js" "eslint src",
    "eslint-color" "js" "eslint --color src",
    "eslint-json" "js" "eslint -f json src",
    "node-syntax" "js" "node src/broken.js",
    "node-syntax-esm" "js" "node imp.mjs",
    "node-throw" "js" "node app.js",
    "node-reject" "js" "node late.js",
    "node-missing" "js" "node gone.js",
    "node-missing-esm" "js" "node gone.mjs",
}

fn transcript(name: &str) -> (&'static str, &'static str, &'static str) {
    let found = TRANSCRIPTS.iter().find(|(known, ..)| *known == name);
    let (_, folder, command, text) = found.expect("a known transcript");
    (folder, command, text)
}

fn files() -> Files {
    static ALL: LazyLock<HashSet<PathBuf>> = LazyLock::new(|| {
        FILES
            .iter()
            .map(|file| Path::new(ROOT).join(file))
            .collect()
    });
    Files::new(|path| ALL.contains(path), || ALL.iter().cloned())
}

fn base(folder: &str) -> Base {
    Base {
        cwd: join(Path::new(ROOT), Path::new(folder)),
        root: ROOT.into(),
    }
}

fn words(command: &str) -> Vec<String> {
    shlex::split(command).expect("words")
}

/// What `recipe` finds in `text`, and what it shows of it.
fn read(recipe: &Recipe, text: &[u8]) -> (String, Problems) {
    let mut reader = Reader::new(recipe, files());
    let mut shown = reader.push(Out, text).to_vec();
    let (rest, problems) = reader.finish();
    shown.extend(rest);
    (String::from_utf8_lossy(&shown).into_owned(), problems)
}

fn auto(folder: &str, command: &str) -> Recipe {
    Recipe::auto(&words(command), &[], base(folder))
}

/// A line per problem: what exists is named from the root, what does not as the tool named it.
fn listed(problems: &Problems) -> String {
    let mut text = String::new();
    for problem in &problems.list {
        let file = match &problem.file {
            Some(file) => file
                .strip_prefix(ROOT)
                .expect("below the root")
                .display()
                .to_string(),
            None => format!("? {}", problem.path),
        };
        let column = problem
            .column
            .map_or(String::new(), |column| format!(":{column}"));
        let end = problem
            .end
            .map_or(String::new(), |(line, column)| format!("-{line}:{column}"));
        let code = problem
            .code
            .as_ref()
            .map_or(String::new(), |code| format!(" [{code}]"));
        writeln!(
            text,
            "{} {file}:{}{column}{end} {}{code} ({})",
            problem.severity, problem.line, problem.message, problem.tool
        )
        .expect("room");
    }
    writeln!(
        text,
        "{} errors, {} warnings",
        problems.errors, problems.warnings
    )
    .expect("room");
    text
}

#[track_caller]
fn check(name: &str, expected: Expect) {
    let (folder, command, text) = transcript(name);
    let (_, problems) = read(&auto(folder, command), text.as_bytes());
    expected.assert_eq(&listed(&problems));
}

#[track_caller]
fn check_shown(name: &str, expected: Expect) {
    let (folder, command, text) = transcript(name);
    let (shown, _) = read(&auto(folder, command), text.as_bytes());
    expected.assert_eq(&shown);
}

#[test]
fn go_is_read() {
    check(
        "go-build",
        expect![[r#"
        error go/main.go:10:2 declared and not used: name (go)
        error go/main.go:11:14 undefined: usr (go)
        2 errors, 0 warnings
    "#]],
    );
    check(
        "go-build-json",
        expect![[r#"
        error go/main.go:10:2 declared and not used: name (go)
        error go/main.go:11:14 undefined: usr (go)
        2 errors, 0 warnings
    "#]],
    );
    check(
        "go-syntax",
        expect![[r#"
        error go/main.go:10:26 syntax error: unexpected newline in argument list; possibly missing comma or ) (go)
        1 errors, 0 warnings
    "#]],
    );
    check(
        "go-vet",
        expect![[r#"
        error go/internal/store/db.go:6:14 fmt.Printf format %d has arg "text" of wrong type string (go)
        error go/main.go:10:14 fmt.Printf format %d has arg "a" of wrong type string (go)
        2 errors, 0 warnings
    "#]],
    );
    check(
        "go-modules",
        expect![[r#"
        error go/main.go:6:2 no required module provides package github.com/nobody/nothing; to add it: go get github.com/nobody/nothing (go)
        error go/main.go:7:2 no required module provides package example.com/demo/internal/gone; to add it: go get example.com/demo/internal/gone (go)
        2 errors, 0 warnings
    "#]],
    );
    check(
        "go-modules-mod",
        expect![[r#"
        error go/main.go:6:2 cannot find module providing package github.com/nobody/nothing: module lookup disabled by GOPROXY=off (go)
        error go/main.go:7:2 cannot find module providing package example.com/demo/internal/gone: module lookup disabled by GOPROXY=off (go)
        2 errors, 0 warnings
    "#]],
    );
    check(
        "go-test",
        expect![[r#"
        error go/main.go:12 panic: assignment to entry in nil map [recovered, repanicked] (go)
        error go/internal/store/db_test.go:7 Open() = "open", want closed (go)
        error go/internal/store/db_test.go:10 bad second line (go)
        3 errors, 0 warnings
    "#]],
    );
    check(
        "go-test-v",
        expect![[r#"
        error go/internal/store/db_test.go:7 Open() = "open", want closed (go)
        error go/internal/store/db_test.go:10 bad second line (go)
        2 errors, 0 warnings
    "#]],
    );
    check(
        "go-test-json",
        expect![[r#"
        error go/internal/store/db_test.go:7 Open() = "open", want closed (go)
        error go/internal/store/db_test.go:10 bad second line (go)
        error go/main.go:12 panic: assignment to entry in nil map [recovered, repanicked] (go)
        3 errors, 0 warnings
    "#]],
    );
    check(
        "go-test-build",
        expect![[r#"
        error go/main_test.go:6:2 undefined: undefinedThing (go)
        error go/main_test.go:7:6 declared and not used: unused (go)
        error go/internal/store/db_test.go:7 Open() = "open", want closed (go)
        error go/internal/store/db_test.go:10 bad second line (go)
        4 errors, 0 warnings
    "#]],
    );
    check(
        "go-test-build-json",
        expect![[r#"
        error go/main_test.go:6:2 undefined: undefinedThing (go)
        error go/main_test.go:7:6 declared and not used: unused (go)
        error go/internal/store/db_test.go:7 Open() = "open", want closed (go)
        error go/internal/store/db_test.go:10 bad second line (go)
        4 errors, 0 warnings
    "#]],
    );
    check(
        "go-panic",
        expect![[r#"
        error go/main.go:12 panic: assignment to entry in nil map (go)
        1 errors, 0 warnings
    "#]],
    );
}

#[test]
fn cargo_is_read() {
    check(
        "cargo-human",
        expect![[r#"
        error cargo/src/deep/mod.rs:2:18 mismatched types [E0308] (cargo)
        error cargo/src/deep/mod.rs:3:5 cannot find value `y` in this scope [E0425] (cargo)
        warning cargo/src/lib.rs:3:9 unused variable: `unused` (cargo)
        2 errors, 1 warnings
    "#]],
    );
    check(
        "cargo-short",
        expect![[r#"
        error cargo/src/deep/mod.rs:2:18 mismatched types: expected `u32`, found `&str` [E0308] (cargo)
        error cargo/src/deep/mod.rs:3:5 cannot find value `y` in this scope [E0425] (cargo)
        warning cargo/src/lib.rs:3:9 unused variable: `unused`: help: if this is intentional, prefix it with an underscore: `_unused` (cargo)
        2 errors, 1 warnings
    "#]],
    );
    check(
        "cargo-color",
        expect![[r#"
        error cargo/src/deep/mod.rs:2:18 mismatched types [E0308] (cargo)
        error cargo/src/deep/mod.rs:3:5 cannot find value `y` in this scope [E0425] (cargo)
        warning cargo/src/lib.rs:3:9 unused variable: `unused` (cargo)
        2 errors, 1 warnings
    "#]],
    );
    check(
        "cargo-json",
        expect![[r#"
        error cargo/src/deep/mod.rs:2:18-2:23 mismatched types [E0308] (cargo)
        error cargo/src/deep/mod.rs:3:5-3:6 cannot find value `y` in this scope [E0425] (cargo)
        warning cargo/src/lib.rs:3:9-3:15 unused variable: `unused` [unused_variables] (cargo)
        2 errors, 1 warnings
    "#]],
    );
    check(
        "cargo-json-ansi-two-targets",
        expect![[r#"
        error cargo/src/deep/mod.rs:2:18-2:23 mismatched types [E0308] (cargo)
        error cargo/src/deep/mod.rs:3:5-3:6 cannot find value `y` in this scope [E0425] (cargo)
        warning cargo/src/lib.rs:3:9-3:15 unused variable: `unused` [unused_variables] (cargo)
        2 errors, 1 warnings
    "#]],
    );
    check(
        "cargo-test",
        expect![[r#"
        error cargo/src/lib.rs:8:5 assertion `left == right` failed: twice two left: 4 right: 5 (rust)
        warning cargo/src/lib.rs:3:9 unused variable: `unused` (cargo)
        error cargo/src/deep/mod.rs:6:25 called `Result::unwrap()` on an `Err` value: ParseIntError { kind: InvalidDigit } (rust)
        warning cargo/src/deep/mod.rs:1:8 function `text` is never used (cargo)
        2 errors, 2 warnings
    "#]],
    );
    check(
        "cargo-manifest",
        expect![[r#"
        error cargo/Cargo.toml:5:1 duplicate key (cargo)
        1 errors, 0 warnings
    "#]],
    );
    check(
        "rust-panic",
        expect![[r#"
        error cargo/src/main.rs:3:21 index out of bounds: the len is 0 but the index is 3 (rust)
        warning cargo/src/lib.rs:3:9 unused variable: `unused` (cargo)
        warning cargo/src/deep/mod.rs:1:8 function `text` is never used (cargo)
        1 errors, 2 warnings
    "#]],
    );
}

#[test]
fn gcc_and_make_are_read() {
    check(
        "gcc",
        expect![[r#"
        error c/src/main.c:4:12 ‘missing’ undeclared (first use in this function) (gnu)
        warning c/src/main.c:3:9 unused variable ‘unused’ [-Wunused-variable] (gnu)
        warning c/src/main.c:4:27 passing argument 1 of ‘part’ makes integer from pointer without a cast [-Wint-conversion] (gnu)
        info c/src/main.c:4:12 each undeclared identifier is reported only once for each function it appears in (gnu)
        info c/src/part.h:1:14 expected ‘int’ but argument is of type ‘char *’ (gnu)
        1 errors, 2 warnings
    "#]],
    );
    check(
        "gcc-color",
        expect![[r#"
        error c/src/main.c:4:12 ‘missing’ undeclared (first use in this function) (gnu)
        warning c/src/main.c:3:9 unused variable ‘unused’ [-Wunused-variable] (gnu)
        warning c/src/main.c:4:27 passing argument 1 of ‘part’ makes integer from pointer without a cast [-Wint-conversion] (gnu)
        info c/src/main.c:4:12 each undeclared identifier is reported only once for each function it appears in (gnu)
        info c/src/part.h:1:14 expected ‘int’ but argument is of type ‘char *’ (gnu)
        1 errors, 2 warnings
    "#]],
    );
    check(
        "gcc-link",
        expect![[r#"
        error c/src/link.c:3 undefined reference to `gone' (gnu)
        1 errors, 0 warnings
    "#]],
    );
    check(
        "gcc-include",
        expect![[r#"
        error c/src/inc.c:1:1 unknown type name ‘import’ (gnu)
        error c/src/inc.c:2:10 nothing.h: No such file or directory (gnu)
        2 errors, 0 warnings
    "#]],
    );
    check(
        "make",
        expect![[r#"
        error c/src/main.c:4:12 ‘missing’ undeclared (first use in this function) (gnu)
        warning c/src/main.c:3:9 unused variable ‘unused’ [-Wunused-variable] (gnu)
        warning c/src/main.c:4:27 passing argument 1 of ‘part’ makes integer from pointer without a cast [-Wint-conversion] (gnu)
        info c/src/main.c:4:12 each undeclared identifier is reported only once for each function it appears in (gnu)
        info c/src/part.h:1:14 expected ‘int’ but argument is of type ‘char *’ (gnu)
        1 errors, 2 warnings
    "#]],
    );
    check(
        "make-syntax",
        expect![[r#"
        error c/bad.mk:2 missing separator.  Stop. (make)
        1 errors, 0 warnings
    "#]],
    );
}

#[test]
fn javac_is_read() {
    check(
        "javac",
        expect![[r#"
        error java/demo/Main.java:5:17 incompatible types: String cannot be converted to int (javac)
        error java/demo/Main.java:6:28 cannot find symbol (javac)
        warning java/demo/Main.java:7:9 found raw type: List [rawtypes] (javac)
        warning java/demo/Main.java:7:24 found raw type: ArrayList [rawtypes] (javac)
        warning java/demo/Main.java:7:44 unchecked call to add(E) as a member of the raw type List [unchecked] (javac)
        2 errors, 3 warnings
    "#]],
    );
}

#[test]
fn python_is_read() {
    check(
        "python-traceback",
        expect![[r#"
        error py/pkg/work.py:6 ZeroDivisionError: division by zero (python)
        error py/app.py:8 ValueError: cannot run (python)
        2 errors, 0 warnings
    "#]],
    );
    check(
        "python-foreign",
        expect![[r#"
        error ? /usr/lib/python3.11/json/decoder.py:353 json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1) (python)
        1 errors, 0 warnings
    "#]],
    );
    check(
        "python-library",
        expect![[r#"
        error py/parse.py:3 json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1) (python)
        1 errors, 0 warnings
    "#]],
    );
    check(
        "python-syntax",
        expect![[r#"
        error py/pkg/broken.py:2 SyntaxError: '(' was never closed (python)
        1 errors, 0 warnings
    "#]],
    );
    check(
        "python-compileall",
        expect![[r#"
        error py/pkg/broken.py:2 SyntaxError: '(' was never closed (python)
        error py/pkg/indent.py:2 IndentationError: expected an indented block after function definition on line 1 (python)
        2 errors, 0 warnings
    "#]],
    );
    check(
        "unittest",
        expect![[r#"
        error py/pkg/work.py:6 ZeroDivisionError: division by zero (python)
        error py/test_unit.py:5 AssertionError: 1.0 != 2 (python)
        2 errors, 0 warnings
    "#]],
    );
}

#[test]
fn pytest_is_read() {
    check(
        "pytest",
        expect![[r#"
        error py/tests/test_work.py:8 AssertionError: assert 0.5 == '1' (pytest)
        warning py/tests/test_work.py:7 old way [DeprecationWarning] (python)
        error py/pkg/work.py:6 ZeroDivisionError: division by zero (pytest)
        2 errors, 1 warnings
    "#]],
    );
    check(
        "pytest-short",
        expect![[r#"
        error py/tests/test_work.py:8 AssertionError: assert 0.5 == '1' (pytest)
        warning py/tests/test_work.py:7 old way [DeprecationWarning] (python)
        error py/pkg/work.py:6 ZeroDivisionError: division by zero (pytest)
        2 errors, 1 warnings
    "#]],
    );
    check(
        "pytest-line",
        expect![[r#"
        error py/tests/test_work.py:8 AssertionError: assert 0.5 == '1' (pytest)
        warning py/tests/test_work.py:7 old way [DeprecationWarning] (python)
        error py/pkg/work.py:6 ZeroDivisionError: division by zero (pytest)
        2 errors, 1 warnings
    "#]],
    );
    check(
        "pytest-color",
        expect![[r#"
        error py/tests/test_work.py:8 AssertionError: assert 0.5 == '1' (pytest)
        warning py/tests/test_work.py:7 old way [DeprecationWarning] (python)
        error py/pkg/work.py:6 ZeroDivisionError: division by zero (pytest)
        2 errors, 1 warnings
    "#]],
    );
    check(
        "pytest-collect",
        expect![[r#"
        error py/tests/test_broken.py:1 SyntaxError: invalid syntax (pytest)
        error py/tests/test_import.py:1 ModuleNotFoundError: No module named 'nothing' (pytest)
        2 errors, 0 warnings
    "#]],
    );
}

#[test]
fn mypy_and_ruff_are_read() {
    check(
        "mypy",
        expect![[r#"
        error py/pkg/work.py:6 Incompatible return value type (got "float", expected "str") [return-value] (gnu)
        1 errors, 0 warnings
    "#]],
    );
    check(
        "mypy-pretty",
        expect![[r#"
        error py/pkg/work.py:6:12 Incompatible return value type (got "float", expected (gnu)
        1 errors, 0 warnings
    "#]],
    );
    check(
        "ruff",
        expect![[r#"
        error py/pkg/work.py:1:8 `json` imported but unused [F401] (ruff)
        error py/pkg/work.py:2:8 `os` imported but unused [F401] (ruff)
        2 errors, 0 warnings
    "#]],
    );
    check(
        "ruff-concise",
        expect![[r#"
        error py/pkg/work.py:1:8 `json` imported but unused [F401] (gnu)
        error py/pkg/work.py:2:8 `os` imported but unused [F401] (gnu)
        2 errors, 0 warnings
    "#]],
    );
    check(
        "ruff-syntax",
        expect![[r#"
        error py/pkg/broken.py:2:15 Expected `)`, found newline [invalid-syntax] (ruff)
        error py/pkg/broken.py:4:8 Expected `:`, found newline [invalid-syntax] (ruff)
        2 errors, 0 warnings
    "#]],
    );
}

#[test]
fn tsc_is_read() {
    check(
        "tsc",
        expect![[r#"
        error ts/src/a.ts:2:7 Type 'string' is not assignable to type 'number'. [TS2322] (tsc)
        error ts/src/a.ts:3:44 Type 'string' is not assignable to type 'number'. [TS2322] (tsc)
        error ts/src/b.ts:2:19 Parameter 'x' implicitly has an 'any' type. [TS7006] (tsc)
        3 errors, 0 warnings
    "#]],
    );
    check(
        "tsc-pretty",
        expect![[r#"
        error ts/src/a.ts:2:7 Type 'string' is not assignable to type 'number'. [TS2322] (tsc)
        error ts/src/a.ts:3:44 Type 'string' is not assignable to type 'number'. [TS2322] (tsc)
        error ts/src/b.ts:2:19 Parameter 'x' implicitly has an 'any' type. [TS7006] (tsc)
        3 errors, 0 warnings
    "#]],
    );
    check(
        "tsc7-pretty",
        expect![[r#"
        error ts/src/a.ts:2:7 Type 'string' is not assignable to type 'number'. [TS2322] (tsc)
        error ts/src/a.ts:3:44 Type 'string' is not assignable to type 'number'. [TS2322] (tsc)
        error ts/src/b.ts:2:19 Parameter 'x' implicitly has an 'any' type. [TS7006] (tsc)
        3 errors, 0 warnings
    "#]],
    );
}

#[test]
fn eslint_is_read() {
    check(
        "eslint",
        expect![[r#"
        error js/src/a.js:2:5 'missing' is not defined [no-undef] (eslint)
        error js/src/a.js:2:13 Expected '===' and instead saw '==' [eqeqeq] (eslint)
        error js/src/a.js:3:3 'other' is not defined [no-undef] (eslint)
        warning js/src/a.js:1:7 'unused' is assigned a value but never used [no-unused-vars] (eslint)
        error js/src/broken.js:1:7 Parsing error: Unexpected token = (eslint)
        4 errors, 1 warnings
    "#]],
    );
    check(
        "eslint-color",
        expect![[r#"
        error js/src/a.js:2:5 'missing' is not defined [no-undef] (eslint)
        error js/src/a.js:2:13 Expected '===' and instead saw '==' [eqeqeq] (eslint)
        error js/src/a.js:3:3 'other' is not defined [no-undef] (eslint)
        warning js/src/a.js:1:7 'unused' is assigned a value but never used [no-unused-vars] (eslint)
        error js/src/broken.js:1:7 Parsing error: Unexpected token = (eslint)
        4 errors, 1 warnings
    "#]],
    );
    check(
        "eslint-json",
        expect![[r#"
        error js/src/a.js:2:5-2:12 'missing' is not defined. [no-undef] (eslint)
        error js/src/a.js:2:13-2:15 Expected '===' and instead saw '=='. [eqeqeq] (eslint)
        error js/src/a.js:3:3-3:8 'other' is not defined. [no-undef] (eslint)
        warning js/src/a.js:1:7-1:13 'unused' is assigned a value but never used. [no-unused-vars] (eslint)
        error js/src/broken.js:1:7 Parsing error: Unexpected token = (eslint)
        4 errors, 1 warnings
    "#]],
    );
}

#[test]
fn node_is_read() {
    check(
        "node-syntax",
        expect![[r#"
        error js/src/broken.js:1:7 SyntaxError: Unexpected token '=' (node)
        1 errors, 0 warnings
    "#]],
    );
    check(
        "node-syntax-esm",
        expect![[r#"
        error js/bad.mjs:1:18 SyntaxError: Unexpected token ';' (node)
        1 errors, 0 warnings
    "#]],
    );
    check(
        "node-throw",
        expect![[r#"
        error js/src/load.js:2:15 SyntaxError: Expected property name or '}' in JSON at position 1 (node)
        1 errors, 0 warnings
    "#]],
    );
    check(
        "node-reject",
        expect![[r#"
        error js/late.js:1:16 TypeError: late (node)
        1 errors, 0 warnings
    "#]],
    );
    check(
        "node-missing",
        expect![[r#"
        error js/gone.js:1:1 Error: Cannot find module './nothing' (node)
        1 errors, 0 warnings
    "#]],
    );
    check(
        "node-missing-esm",
        expect![[r#"
        error js/gone.mjs:1 Error [ERR_MODULE_NOT_FOUND]: Cannot find module '/home/me/my app/js/src/nothing.mjs' imported from /home/me/my app/js/gone.mjs (node)
        1 errors, 0 warnings
    "#]],
    );
}

#[test]
fn the_lines_alone_tell_as_much_as_the_command() {
    for (name, folder, command, text) in TRANSCRIPTS {
        let (_, known) = read(&auto(folder, command), text.as_bytes());
        let (_, unknown) = read(&auto(folder, "./build.sh"), text.as_bytes());
        assert_eq!(listed(&unknown), listed(&known), "{name}");
        assert!(
            known.errors > 0,
            "{name}: every tool complained about something"
        );
    }
}

#[test]
fn each_kind_reads_its_own_tool_when_it_is_named() {
    for (name, kind) in [
        ("cargo-human", Kind::Cargo),
        ("go-build", Kind::Go),
        ("tsc", Kind::Tsc),
        ("eslint", Kind::Eslint),
        ("gcc", Kind::Gnu),
        ("python-traceback", Kind::Python),
        ("node-syntax", Kind::Node),
        ("javac", Kind::Javac),
    ] {
        let (folder, command, text) = transcript(name);
        let (_, auto) = read(&auto(folder, command), text.as_bytes());
        for other in Kind::ALL {
            let recipe = Recipe::named(&[other], &[], &words(command), base(folder));
            let (_, named) = read(&recipe, text.as_bytes());
            if other == kind {
                assert_eq!(named, auto, "{name} as {}", kind.name());
            }
        }
        let (_, none) = read(&Recipe::named(&[], &[], &[], base(folder)), text.as_bytes());
        assert_eq!(none, Problems::default(), "{name} as nothing");
    }
}

/// Lines of builds and of what they run that look like problems and are none.
const NO_PROBLEMS: &[&str] = &[
    "",
    ":",
    "::1:2: error: x",
    "2026/11/22 12:00:05: started",
    "2026/11/22 12:00:05 main.go:12: started",
    "2026/11/22 12:00:05 main.go:12: error: not a place of the build",
    "2026-11-22T12:00:05.123Z INFO server listening",
    "12:00:05.123 error: cannot connect",
    "[12:00:05] src/a.ts: changed",
    "[12:00:05] error: x",
    "server.go:12: listening on :8080",
    "listening on http://127.0.0.1:8080: ok",
    "http://localhost:8080:1: error: x",
    "127.0.0.1:8080: error: connection refused",
    "localhost:8080: connection refused",
    "dial tcp 127.0.0.1:8080: connect: connection refused",
    "GET /users:12: 200",
    "Compiling demo v0.1.0 (/home/me/my app/cargo)",
    "    Finished `dev` profile [unoptimized + debuginfo] target(s) in 0.11s",
    "     Running unittests src/lib.rs (/home/me/target/debug/deps/demo-8348ca7a80742723)",
    "warning: `demo` (lib) generated 1 warning",
    "error: could not compile `demo` (lib) due to 2 previous errors; 1 warning emitted",
    "test src/lib.rs - twice (line 3) ... ok",
    "  --> src/lib.rs:3:9",
    "note: the lint level is defined here",
    "  ::: src/lib.rs:3:9",
    "make: *** [Makefile:2: all] Error 1",
    "make[1]: *** [Makefile:2: main.o] Error 1",
    "make[1]: Nothing to be done for 'all'.",
    "In file included from src/main.c:1:",
    "                 from src/main.c:2:",
    "src/main.c: In function ‘main’:",
    "    4 |     return missing + part(\"x\");",
    "      |            ^~~~~~~",
    "collect2: error: ld returned 1 exit status",
    "/usr/bin/ld: /tmp/ccpO7Nee.o: in function `main':",
    "compilation terminated.",
    "src/a.c:12:int main(void) {",
    "src/a.c:12:    return 1;",
    "-rw-r--r-- 1 me me 120 Nov 22 12:00:05 main.go",
    "    main.go:12: what a passing test says, or anybody",
    "=== RUN   TestOpen",
    "--- PASS: TestOpen (0.00s)",
    "ok  \texample.com/demo\t0.003s",
    "?   \texample.com/demo\t[no test files]",
    "# example.com/demo",
    "go: downloading golang.org/x/net v0.30.0",
    "go: finding module for package github.com/nobody/nothing",
    "\t/home/me/my app/go/main.go:12 +0x65",
    "goroutine 1 [running]:",
    "exit status 2",
    "error TS18003: No inputs were found in config file '/x/tsconfig.json'.",
    "Found 3 errors in 2 files.",
    "     2  src/a.ts:2",
    "  src/a.ts:3:21 - The expected type comes from property 'y'",
    "[12:00:05 AM] File change detected. Starting incremental compilation...",
    "  1:7  error  without a file above  no-rule",
    "✖ 5 problems (4 errors, 1 warning)",
    "    at f (/home/me/my app/js/app.js:3:11)",
    "TypeError: without a stack",
    "Node.js v20.20.2",
    "/home/me/my app/js/app.js:3",
    "ValueError: without a traceback",
    "E   without a report",
    "FAILED tests/test_work.py::test_run - AssertionError",
    "Found 1 error in 1 file (checked 2 source files)",
    "All checks passed!",
    "F401 without an arrow",
    "thread 'main' panicked at nowhere",
    "panic: without a stack",
    "java.lang.IllegalStateException: at demo.Main.main(Main.java:3)",
    "{\"reason\":\"compiler-artifact\"}",
    "{\"reason\":",
    "{\"Action\":\"output\"}",
    "[{\"filePath\":\"x\"",
    "[{\"filePath\":3}]",
    "v1.2:3:4: done",
    "step 3:4: done",
    "ratio 1:2: fine",
    "at line 12:5: done",
    "nowhere.xyz:3:4: what looks like a place and is no file",
];

#[test]
fn what_only_looks_like_a_problem_is_none() {
    let known = [
        "cargo test",
        "go test ./...",
        "tsc",
        "eslint .",
        "gcc a.c",
        "pytest",
        "node a.js",
        "javac A.java",
        "make",
    ];
    for command in known {
        let recipe = auto("go", command);
        for line in NO_PROBLEMS {
            // Indented so, it is what a failed test says, and `go test` says nothing of others without -v.
            if command.starts_with("go ") && line.starts_with("    main.go:12:") {
                continue;
            }
            for around in [
                (*line).to_owned(),
                format!("{line}\n"),
                format!("x\n{line}\ny\n"),
            ] {
                let (_, problems) = read(&recipe, around.as_bytes());
                assert_eq!(problems, Problems::default(), "{command}: {line:?}");
            }
        }
        let all = NO_PROBLEMS.join("\n\n");
        let (_, problems) = read(&recipe, all.as_bytes());
        if !command.starts_with("go ") {
            assert_eq!(problems, Problems::default(), "{command}: all of them");
        }
    }
}

#[test]
fn json_is_shown_as_text_for_people() {
    check_shown(
        "cargo-json",
        expect![[r#"
        error[E0425]: cannot find value `y` in this scope
         --> src/deep/mod.rs:3:5
          |
        3 |     y + 1
          |     ^
          |
        help: a local variable with a similar name exists
          |
        3 -     y + 1
        3 +     n + 1
          |

        error[E0308]: mismatched types
         --> src/deep/mod.rs:2:18
          |
        2 |     let n: u32 = "one";
          |            ---   ^^^^^ expected `u32`, found `&str`
          |            |
          |            expected due to this

        warning: unused variable: `unused`
         --> src/lib.rs:3:9
          |
        3 |     let unused = 1;
          |         ^^^^^^ help: if this is intentional, prefix it with an underscore: `_unused`
          |
          = note: `#[warn(unused_variables)]` (part of `#[warn(unused)]`) on by default

    "#]],
    );
    check_shown(
        "eslint-json",
        expect![[r#"
        /home/me/my app/js/src/a.js:1:7: warning: 'unused' is assigned a value but never used. [no-unused-vars]
        /home/me/my app/js/src/a.js:2:5: error: 'missing' is not defined. [no-undef]
        /home/me/my app/js/src/a.js:2:13: error: Expected '===' and instead saw '=='. [eqeqeq]
        /home/me/my app/js/src/a.js:3:3: error: 'other' is not defined. [no-undef]
        /home/me/my app/js/src/broken.js:1:7: error: Parsing error: Unexpected token =
    "#]],
    );
    check_shown(
        "go-build-json",
        expect![[r#"
        # example.com/demo
        ./main.go:10:2: declared and not used: name
        ./main.go:11:14: undefined: usr
    "#]],
    );
    check_shown(
        "go-test-build-json",
        expect![[r##"
        # example.com/demo [example.com/demo.test]
        ./main_test.go:6:2: undefined: undefinedThing
        ./main_test.go:7:6: declared and not used: unused
        FAIL	example.com/demo [build failed]
        === RUN   TestOpen
            db_test.go:7: Open() = "open", want closed
        === RUN   TestOpen/sub
            db_test.go:10: bad
                second line
        --- FAIL: TestOpen/sub (0.00s)
        --- FAIL: TestOpen (0.00s)
        === RUN   TestLog
            db_test.go:15: only a log line
        --- PASS: TestLog (0.00s)
        FAIL
        FAIL	example.com/demo/internal/store	0.003s
    "##]],
    );
}

#[test]
fn own_patterns_come_first_and_say_where_their_paths_hang() {
    let pattern = |expression: &str| Pattern::new(expression).expect("a good pattern");
    let mut first = pattern(
        r"^(?<severity>[EW])/(?<file>.+?)@(?<line>\d+)(?:-(?<end_line>\d+))?(?:,(?<col>\d+))? (?<message>.*?)(?: #(?<code>\w+))?$",
    );
    first.name = Some("mine".into());
    first.base = PatternBase::Root;
    let mut second = pattern(r"^(?<file>\S+) (?<line>\d+)");
    second.severity = Severity::Warning;
    second.base = PatternBase::Folder(Path::new(ROOT).join("py"));
    let text = "W/c/src/main.c@4-5,12 odd \x1b[1mthing\x1b[0m #X1\nE/c/bad.mk@2 worse\npkg/work.py 6 here\n\
                src/main.c:4:12: error: still read\nE/@3 no file\nE/c/bad.mk@0 no line\n";
    let own = [first, second];
    let auto = Recipe::auto(&words("gcc"), &own, base("c"));
    let (shown, problems) = read(&auto, text.as_bytes());
    assert_eq!(shown, text);
    expect![[r#"
        error c/src/main.c:4:12 still read (gnu)
        warning c/src/main.c:4:12 odd thing [X1] (mine)
        error c/bad.mk:2 worse (mine)
        warning py/pkg/work.py:6 pkg/work.py 6 here (own)
        2 errors, 2 warnings
    "#]]
    .assert_eq(&listed(&problems));
    let named = Recipe::named(&[], &own[1..], &words("gcc"), base("c"));
    expect![[r#"
        warning py/pkg/work.py:6 pkg/work.py 6 here (own)
        0 errors, 1 warnings
    "#]]
    .assert_eq(&listed(&read(&named, text.as_bytes()).1));
}

#[test]
fn a_pattern_that_cannot_find_problems_is_refused() {
    let check = |expression: &str, expected: &str| {
        let bad = Pattern::new(expression).expect_err("a bad pattern");
        assert_eq!(bad.to_string(), expected);
    };
    check("(", "no regular expression: unclosed group");
    check("(?<line>1)", "no group (?<file>...)");
    check("(?<file>a)", "no group (?<line>...)");
    check(
        "(?<file>a)(?<line>1)(?<column>2)",
        "unknown group (?<column>...)",
    );
}

#[test]
fn the_same_problem_counts_once_however_it_is_named() {
    let text = "./main.go:10:2: twice\nmain.go:10:2: twice\n/home/me/my app/go/main.go:10:2: twice\nmain.go:10:3: twice\n";
    let (_, problems) = read(&auto("go", "go vet ."), text.as_bytes());
    expect![[r#"
        error go/main.go:10:2 twice (go)
        error go/main.go:10:3 twice (go)
        2 errors, 0 warnings
    "#]]
    .assert_eq(&listed(&problems));
}

#[test]
fn errors_take_the_room_of_warnings_and_all_are_counted() {
    let mut text = String::new();
    for n in 1..=1500 {
        writeln!(text, "src/main.c:{n}:1: note: n").expect("room");
        writeln!(text, "src/main.c:{n}:1: warning: w").expect("room");
    }
    for n in 1..=999 {
        writeln!(text, "src/main.c:{n}:1: error: e").expect("room");
    }
    let (_, problems) = read(&auto("c", "gcc"), text.as_bytes());
    assert_eq!(
        (problems.errors, problems.warnings, problems.infos),
        (999, 1500, 1500)
    );
    assert_eq!((problems.list.len(), problems.left_out()), (1000, 2999));
    let errors = problems
        .list
        .iter()
        .take_while(|problem| problem.severity == Severity::Error);
    assert_eq!(errors.count(), 999);
    assert_eq!(problems.list[999].severity, Severity::Warning);
}

#[test]
fn two_streams_do_not_share_a_line_but_the_folder_that_make_is_in() {
    let mut reader = Reader::new(&auto("c", "make"), files());
    reader.push(
        Out,
        b"make[1]: Entering directory '/home/me/my app/c/src'\nhalf a li",
    );
    reader.push(Err, b"main.c:4:12: error: whole\npart.h:1:1: er");
    reader.push(Out, b"ne of main.c:4:12: error: no\n");
    reader.push(Err, b"ror: halved\n");
    reader.push(Out, b"make[1]: Leaving directory '/home/me/my app/c/src'\n");
    reader.push(Err, b"inc.c:1:1: error: found by its name alone\n");
    reader.push(Out, b"ninja: Entering directory `src'\n");
    reader.push(Err, b"link.c:1:1: error: below where make runs\n");
    let (_, problems) = reader.finish();
    expect![[r#"
        error c/src/main.c:4:12 whole (gnu)
        error ? half a line of main.c:4:12 no (gnu)
        error c/src/part.h:1:1 halved (gnu)
        error c/src/inc.c:1:1 found by its name alone (gnu)
        error c/src/link.c:1:1 below where make runs (gnu)
        5 errors, 0 warnings
    "#]]
    .assert_eq(&listed(&problems));
}

#[test]
fn a_title_that_never_ends_hides_nothing_below_it() {
    let text = "\x1b]0;title never ended\nsrc/main.c:4:12: error: seen\n\x1bP\u{9b}\nsrc/main.c:5:1: error: seen too";
    let (shown, problems) = read(&auto("c", "gcc"), text.as_bytes());
    assert_eq!((shown.as_str(), problems.errors), (text, 2));
}

#[test]
fn what_no_tool_writes_as_json_is_shown_as_it_is() {
    let texts = [
        "{\"reason\":\"x\n",
        "{\"reason\":\"compiler-message\"}\n",
        "{\"Action\":\"output\"}\n{}\n{",
        "{\"Time\":\"",
        "[{\"filePath\":\"a\"}]\n",
        "[{\"filePath\":\"a\n[1]\n",
        "[{\"filePa",
    ];
    for text in texts {
        let (shown, _) = read(&auto("js", "make"), text.as_bytes());
        // Of a list that eslint might have written, the brackets around the records are not shown.
        let bare = text
            .replace("[{\"filePath", "{\"filePath")
            .replace("}]\n", "}");
        assert!(shown == text || shown == bare, "{text:?} became {shown:?}");
    }
    let long = format!(
        "{{\"reason\":\"{}\"}}\nafter\n",
        "x".repeat(3 * LONGEST_RECORD)
    );
    assert_eq!(read(&auto("js", "make"), long.as_bytes()).0, long);
    let long = format!(
        "[{{\"filePath\":\"{}\"}}]\nafter\n",
        "x".repeat(3 * LONGEST_RECORD)
    );
    assert_eq!(read(&auto("js", "make"), long.as_bytes()).0, long[1..]);
}

/// What is found and shown must not depend on how the bytes are cut.
fn cut(recipe: &Recipe, text: &[u8], cuts: impl Iterator<Item = usize>) -> (String, Problems) {
    let mut reader = Reader::new(recipe, files());
    let mut shown = Vec::new();
    let mut rest = text;
    for cut in cuts.chain(std::iter::repeat(1)) {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(cut.clamp(1, rest.len()));
        shown.extend(reader.push(Out, piece));
        rest = after;
    }
    let (end, problems) = reader.finish();
    shown.extend(end);
    (String::from_utf8_lossy(&shown).into_owned(), problems)
}

#[test]
fn transcripts_read_the_same_byte_by_byte() {
    for (name, folder, command, text) in TRANSCRIPTS {
        for command in [*command, "make"] {
            let recipe = auto(folder, command);
            let whole = read(&recipe, text.as_bytes());
            assert_eq!(
                cut(&recipe, text.as_bytes(), std::iter::empty()),
                whole,
                "{name}"
            );
        }
    }
}

/// Text that is made of what tools print, and of what breaks them.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let lines: Vec<&'static str> = TRANSCRIPTS
        .iter()
        .flat_map(|(.., text)| text.split_inclusive('\n'))
        .filter(|line| line.len() < 2_000)
        .collect();
    let torn = (
        prop::sample::select(lines.clone()),
        any::<prop::sample::Index>(),
    );
    let torn = torn.prop_map(|(line, at)| line.as_bytes()[..at.index(line.len())].to_vec());
    let piece = prop_oneof![
        8 => prop::sample::select(lines).prop_map(|line| line.as_bytes().to_vec()),
        2 => torn,
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::sample::select(NO_PROBLEMS.to_vec()).prop_map(|line| format!("{line}\n").into_bytes()),
        1 => Just(b"\n".to_vec()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

const COMMANDS: &[&str] = &[
    "make",
    "cargo test",
    "go test ./...",
    "tsc",
    "eslint .",
    "gcc",
    "python -m pytest",
    "node x.js",
    "javac",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_printed_is_read_the_same_however_it_is_cut(
        text in noise(),
        cuts in prop::collection::vec(1..50usize, 0..60),
        command in prop::sample::select(COMMANDS),
    ) {
        let recipe = auto("go", command);
        let whole = read(&recipe, &text);
        prop_assert_eq!(&cut(&recipe, &text, cuts.into_iter()), &whole);

        // A line of text is one problem at most; a record holds what it holds.
        let (shown, problems) = whole;
        let found = problems.errors + problems.warnings + problems.infos;
        let records = text.split(|&b| b == b'\n').any(|line| line.starts_with(b"[{") || line.starts_with(b"{\""));
        let lines = text.split(|&b| b == b'\n').count();
        prop_assert!(records || found <= lines, "{} of {} lines", found, lines);
        if !records {
            prop_assert_eq!(shown, String::from_utf8_lossy(&text));
        }
        for problem in &problems.list {
            let breaks = problem.message.contains(['\n', '\r']);
            prop_assert!(problem.line > 0 && !problem.message.is_empty() && !breaks);
            let line = plain_line(problem).unwrap_or_default() + &location_line(problem).unwrap_or_default();
            prop_assert!(!line.contains(char::is_control));
        }
    }

    #[test]
    fn arbitrary_bytes_are_read(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        command in prop::sample::select(COMMANDS),
    ) {
        let recipe = auto("go", command);
        let whole = read(&recipe, &bytes);
        prop_assert_eq!(cut(&recipe, &bytes, std::iter::empty()), whole);
    }
}

/// The most that a reader may keep, whatever comes: a thousand problems with their drawings, the hashes of those
/// that were seen, two records, a page of lines per parser.
const MOST_HELD: usize = 24 << 20;

/// Pushes `text` again and again, each time with other numbers in it, and gives the most that was ever held.
fn flood(
    command: &str,
    total: usize,
    line: &mut dyn FnMut(usize, &mut String),
) -> (usize, Problems) {
    let mut reader = Reader::new(&auto("c", command), files());
    let (mut pushed, mut n, mut most) = (0, 0, 0);
    let mut chunk = String::new();
    while pushed < total {
        chunk.clear();
        while chunk.len() < 64 << 10 {
            line(n, &mut chunk);
            n += 1;
        }
        reader.push(
            if n.is_multiple_of(2) { Out } else { Err },
            chunk.as_bytes(),
        );
        pushed += chunk.len();
        most = most.max(reader.held());
    }
    (most, reader.finish().1)
}

#[test]
fn a_hundred_thousand_problems_are_counted_in_flat_memory() {
    let mut most = Vec::new();
    for total in [1_000_000, 3_000_000, 10_000_000] {
        let (held, problems) = flood("make", total, &mut |n, text| {
            writeln!(text, "src/{n}.c:{}:1: error: {n} [-Wmany]", n + 1).expect("room");
            writeln!(text, "src/file.c:{}:1: warning: {n}", n + 1).expect("room");
        });
        assert_eq!(problems.errors, problems.warnings);
        assert_eq!(problems.list.len(), MOST_PROBLEMS);
        most.push((problems.errors, held));
    }
    assert!(most[2].0 > 100_000, "{most:?}");
    assert!(most.iter().all(|(_, held)| *held < MOST_HELD), "{most:?}");
    // What grows are the hashes of what was seen, and they end.
    assert!(most[2].1 - most[0].1 < 3 << 20, "{most:?}");
}

/// A gigabyte in small; it is the same again and again, so what is held by then is held in the end.
const LONG_LOG: usize = if cfg!(debug_assertions) {
    24 << 20
} else {
    256 << 20
};

#[test]
fn an_endless_log_is_read_in_flat_memory() {
    let all: Vec<&str> = TRANSCRIPTS
        .iter()
        .flat_map(|(.., text)| text.split_inclusive('\n'))
        .collect();
    let (held, problems) = flood("make", LONG_LOG, &mut |n, text| {
        text.push_str(all[n % all.len()])
    });
    assert!(held < 4 << 20, "{held}");
    assert!(problems.errors > 50, "{problems:?}");
    // Without a newline, without an end of a record, of a sequence, of a failed test, of a traceback.
    let endless: &[(&str, &str)] = &[
        ("make", "x"),
        ("make", "\x1b]0;"),
        ("cargo build", "{\"reason\":\"x"),
        ("eslint -f json .", "[{\"filePath\":\"{{"),
        ("go test", "    a_test.go:7: a failed test says much\n"),
        (
            "go test",
            "=== RUN   TestX\n    a_test.go:7: and another one\n        that goes on\n",
        ),
        (
            "make",
            "Traceback (most recent call last):\n  File \"/home/me/my app/py/app.py\", line 6, in main\n",
        ),
        (
            "make",
            "panic: x\n\ngoroutine 1 [running]:\n\t/usr/x.go:1 +0x65\n",
        ),
        (
            "make",
            "make: Entering directory '/a/folder/so/deep/that/nobody/wants/to/be/told/again/and/again'\n",
        ),
        ("make", "thread 'main' panicked at src/x.rs:1:1:\n"),
        ("make", "error: never an arrow\n"),
        ("pytest", "=== FAILURES ===\nE   x\na.py:1: in x\n"),
        ("make", "/a.js:1\n\nError: x\n"),
    ];
    for (command, text) in endless {
        // What no parser looks at is read fast, so there can be more of it.
        let fast = !text.contains('\n') || text.starts_with("make: ");
        let total = if fast { LONG_LOG } else { LONG_LOG / 8 };
        let (held, _) = flood(command, total, &mut |_, chunk| chunk.push_str(text));
        assert!(held < 8 << 20, "{command}: {text:?}: {held}");
    }
    // Packages that never end, as JSON, each with a line that never ends.
    let (held, _) = flood("go test -json", LONG_LOG / 8, &mut |n, chunk| {
        let event =
            format!("{{\"Action\":\"output\",\"Package\":\"p{n}\",\"Output\":\"never an end\"}}\n");
        chunk.push_str(&event);
    });
    assert!(held < 8 << 20, "{held}");
}

#[test]
fn what_another_tool_says_in_between_is_no_part_of_a_message() {
    let text =
        "thread 'main' panicked at src/main.rs:3:21:\nsrc/a.ts(1,2): error TS1: other\nand on\n";
    let (_, problems) = read(&auto("cargo", "make"), text.as_bytes());
    expect![[r#"
        error cargo/src/main.rs:3:21 panicked (rust)
        error ts/src/a.ts:1:2 other [TS1] (tsc)
        2 errors, 0 warnings
    "#]]
    .assert_eq(&listed(&problems));
}

#[test]
fn a_place_without_a_word_about_it_is_no_problem() {
    let (_, problems) = read(
        &auto("ts", "tsc"),
        b"src/a.ts(2,7): error TS2322: \nsrc/a.ts(2,8): error TS2322:  \n",
    );
    assert_eq!(problems, Problems::default());
}

#[test]
fn a_reader_can_go_to_the_thread_that_reads() {
    fn goes<T: Send>(_: &T) {}
    goes(&Reader::new(&auto("go", "make"), files()));
}
