//! Which tools a command runs, where that is certain, and in which folders.
//!
//! Reads the words of the command alone, also those inside `sh -c`. A program that it does not know, or anything
//! that only a shell understands, makes it say that it does not know: then the lines themselves have to tell.

use std::path::PathBuf;

use super::Kind;

/// What a command says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// How it prints problems; None where a part of it is not known.
    pub(super) kinds: Option<Vec<Kind>>,
    /// Folders that it goes to, as written, in order.
    pub(super) folders: Vec<PathBuf>,
}

/// What `argv` runs.
pub(super) fn read(argv: &[String]) -> Known {
    let mut known = Known {
        kinds: Some(Vec::new()),
        folders: Vec::new(),
    };
    known.simple(argv, 0);
    // Nothing but `cd` and `mkdir` prints no problems of a kind that could be named.
    known.kinds = known.kinds.filter(|kinds| !kinds.is_empty());
    known
}

impl Known {
    /// One command: a program and its arguments, perhaps behind others that run it.
    fn simple(&mut self, words: &[String], depth: usize) {
        let mut words = words;
        // A variable in front of a command is no word of it.
        while words.first().is_some_and(|word| is_assignment(word)) {
            words = &words[1..];
        }
        let Some((program, arguments)) = words.split_first() else {
            return;
        };
        if depth == DEEPEST {
            self.kinds = None;
            return;
        }
        let name = program.rsplit('/').next().unwrap_or(program);
        let first = || arguments.iter().position(|word| !word.starts_with('-'));
        let value = |flags: &[&str]| flag_value(arguments, flags);
        match name {
            "sh" | "bash" | "dash" | "zsh" | "ash" => match script(arguments) {
                Some(text) => self.script(text, depth),
                None => self.kinds = None,
            },
            "env" | "exec" | "command" | "nice" | "time" | "nohup" | "ccache" | "sccache"
            | "npx" | "bunx" | "pnpx" | "uvx" | "stdbuf" | "ionice" | "setsid" => {
                let rest = first().map_or(&[][..], |at| &arguments[at..]);
                match rest.is_empty() {
                    true => self.kinds = None,
                    false => self.simple(rest, depth + 1),
                }
            }
            "timeout" => {
                // The first word that is no flag is the time.
                let rest = first().map_or(&[][..], |at| &arguments[at + 1..]);
                self.simple(rest, depth + 1);
            }
            "npm" | "pnpm" | "yarn" | "bun" | "uv" | "poetry" | "pipenv" | "rye" | "hatch" => {
                self.folders.extend(value(&[
                    "--prefix",
                    "--cwd",
                    "-C",
                    "--directory",
                    "--project",
                ]));
                self.runner(arguments, depth);
            }
            "cd" => self.folders.extend(arguments.last().map(PathBuf::from)),
            "mkdir" | "rm" | "cp" | "mv" | "ln" | "touch" | "echo" | "printf" | "set"
            | "export" | "true" | ":" | "test" | "[" | "chmod" | "unset" | "umask" | "sleep" => {}
            _ => match self.tool(name, arguments) {
                Some(kinds) => {
                    for kind in kinds {
                        self.add(kind);
                    }
                }
                None => self.kinds = None,
            },
        }
    }

    /// A program whose lines are known.
    fn tool(&mut self, name: &str, arguments: &[String]) -> Option<Vec<Kind>> {
        let value = |flags: &[&str]| flag_value(arguments, flags);
        let stem = name.strip_suffix(".exe").unwrap_or(name);
        let kinds: &[Kind] = match stem {
            "cargo" | "cross" => {
                let manifest = value(&["--manifest-path"]);
                let folder = manifest.and_then(|path| path.parent().map(PathBuf::from));
                self.folders
                    .extend(folder.filter(|path| !path.as_os_str().is_empty()));
                self.folders.extend(value(&["-C"]));
                &[Kind::Cargo]
            }
            "rustc" | "rustdoc" | "clippy-driver" => &[Kind::Cargo],
            "go" => {
                self.folders.extend(value(&["-C"]));
                match arguments.iter().find(|word| !word.starts_with('-')) {
                    // They run whatever the sources say.
                    Some(verb) if ["generate", "run", "tool"].contains(&verb.as_str()) => {
                        return None;
                    }
                    _ => &[Kind::Go],
                }
            }
            "gofmt" | "goimports" | "staticcheck" | "golangci-lint" | "gotestsum" | "templ" => {
                &[Kind::Go, Kind::Gnu]
            }
            "tsc" | "vue-tsc" | "tsgo" => &[Kind::Tsc],
            "eslint" => &[Kind::Eslint, Kind::Node],
            "cc" | "c++" | "gcc" | "g++" | "clang" | "clang++" | "clang-tidy" | "tcc" | "zig"
            | "swiftc" | "ld" | "as" | "bison" | "flex" | "shellcheck" | "yamllint" => &[Kind::Gnu],
            "mypy" | "ruff" | "ty" | "flake8" | "pylint" | "pyflakes" | "pycodestyle"
            | "basedpyright" | "pyright" => &[Kind::Gnu, Kind::Python],
            "pytest" | "py.test" => &[Kind::Python],
            "python" | "python3" | "pypy" | "pypy3" => {
                let module = arguments.iter().position(|word| word == "-m");
                return match module.and_then(|at| arguments.get(at + 1)) {
                    Some(module) => {
                        let modules = self.tool(module, &[]);
                        Some(modules.unwrap_or_else(|| vec![Kind::Python]))
                    }
                    None => Some(vec![Kind::Python]),
                };
            }
            "node" | "nodejs" | "mocha" | "jest" | "vitest" => &[Kind::Node],
            "ts-node" | "tsx" | "deno" => &[Kind::Tsc, Kind::Node],
            "javac" | "mvn" | "mvnw" | "gradle" | "gradlew" => &[Kind::Javac],
            _ if is_compiler(stem) => &[Kind::Gnu],
            _ if is_version(stem, "python") => &[Kind::Python],
            _ => return None,
        };
        Some(kinds.to_vec())
    }

    /// `npm exec -- tsc`, `yarn tsc`, `uv run mypy`: a tool, if it is known; a script, which may run anything.
    fn runner(&mut self, arguments: &[String], depth: usize) {
        let plain = |from: usize| {
            let rest = arguments.get(from..)?;
            let at = rest.iter().position(|word| !word.starts_with('-'))?;
            Some(from + at)
        };
        let mut at = plain(0);
        if let Some(verb) = at.and_then(|at| arguments.get(at))
            && ["exec", "x", "dlx", "run", "run-script"].contains(&verb.as_str())
        {
            let scripts = verb.starts_with("run");
            at = at.and_then(|at| plain(at + 1));
            // A script called tsc is likely to run tsc, and says so in its lines if not.
            let words = at.map_or(&[][..], |at| &arguments[at..]);
            if scripts && words.len() == 1 {
                self.kinds = None;
                return;
            }
        }
        match at {
            Some(at) => self.simple(&arguments[at..], depth + 1),
            None => self.kinds = None,
        }
    }

    /// What a shell is told to do.
    fn script(&mut self, text: &str, depth: usize) {
        for command in commands(text) {
            // What a shell puts in by itself cannot be read here.
            if command.contains(['$', '`', '(', ')', '{', '}']) {
                self.kinds = None;
            }
            match shlex::split(&command) {
                Some(words) => self.simple(&words, depth + 1),
                None => self.kinds = None,
            }
        }
    }

    fn add(&mut self, kind: Kind) {
        if let Some(kinds) = &mut self.kinds
            && !kinds.contains(&kind)
        {
            kinds.push(kind);
        }
    }
}

/// The commands of a shell line, cut at operators outside of quotes.
fn commands(text: &str) -> Vec<String> {
    let mut commands = vec![String::new()];
    let mut quote = None;
    let mut escaped = false;
    for c in text.chars() {
        let cuts = quote.is_none() && !escaped && matches!(c, ';' | '&' | '|' | '\n');
        if cuts {
            commands.push(String::new());
            continue;
        }
        match (c, quote) {
            _ if escaped => escaped = false,
            ('\\', None | Some('"')) => escaped = true,
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
        commands.last_mut().expect("one from the start").push(c);
    }
    commands
}

/// The text behind `-c`; None for a script in a file.
fn script(arguments: &[String]) -> Option<&str> {
    let at = arguments.iter().position(|word| {
        // Flags come in bunches: -ec, -lc, -euxc.
        word.starts_with('-') && !word.starts_with("--") && word.ends_with('c')
    })?;
    arguments.get(at + 1).map(String::as_str)
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !name.is_empty()
            && name.chars().all(plain)
            && !name.starts_with(|c: char| c.is_ascii_digit())
    })
}

/// `-C dir`, `--prefix=dir`.
fn flag_value(arguments: &[String], flags: &[&str]) -> Option<PathBuf> {
    arguments.iter().enumerate().find_map(|(at, word)| {
        if flags.contains(&word.as_str()) {
            return arguments.get(at + 1).map(PathBuf::from);
        }
        let (flag, value) = word.split_once('=')?;
        flags.contains(&flag).then(|| PathBuf::from(value))
    })
}

/// `x86_64-linux-gnu-gcc-12`, `clang++-17`.
fn is_compiler(name: &str) -> bool {
    let name = name
        .rsplit_once('-')
        .filter(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()))
        .map_or(name, |(name, _)| name);
    let last = name.rsplit_once('-').map_or(name, |(_, last)| last);
    ["gcc", "g++", "cc", "c++", "clang", "clang++", "clang-tidy"].contains(&last)
}

/// `python3.12`.
fn is_version(name: &str, program: &str) -> bool {
    name.strip_prefix(program)
        .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// A command that runs a command that runs a command.
const DEEPEST: usize = 8;

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(commands: &[&str], expected: Expect) {
        let mut text = String::new();
        for command in commands {
            let argv = match command.strip_prefix("$ ") {
                Some(line) => vec!["sh".into(), "-c".into(), line.to_owned()],
                None => shlex::split(command).expect("words"),
            };
            let known = read(&argv);
            let kinds = known.kinds.map_or("?".to_owned(), |kinds| {
                kinds
                    .iter()
                    .map(|kind| kind.name())
                    .collect::<Vec<_>>()
                    .join(" ")
            });
            let folders = known
                .folders
                .iter()
                .map(|folder| format!(" in {}", folder.display()));
            text += &format!("{command}: {kinds}{}\n", folders.collect::<String>());
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn a_command_says_which_tool_it_runs() {
        check(
            &[
                "cargo build --manifest-path examples/rust/Cargo.toml",
                "cargo test",
                "/usr/local/go/bin/go -C sub build ./...",
                "go vet ./...",
                "go generate ./...",
                "tsc -p .",
                "npx --no-install tsc --noEmit",
                "npm exec -- eslint src",
                "yarn eslint",
                "pnpm --prefix web run build",
                "uv run mypy .",
                "python3.12 -m pytest -q",
                "python -m mypy .",
                "python3 -m compileall -q .",
                "node build.js",
                "x86_64-linux-gnu-gcc-12 -c a.c",
                "env A=1 timeout 5 gcc a.c",
                "./gradlew build",
                "make -j4",
                "buf generate",
                "./build.sh",
            ],
            expect![[r#"
                cargo build --manifest-path examples/rust/Cargo.toml: cargo in examples/rust
                cargo test: cargo
                /usr/local/go/bin/go -C sub build ./...: go in sub
                go vet ./...: go
                go generate ./...: ?
                tsc -p .: tsc
                npx --no-install tsc --noEmit: tsc
                npm exec -- eslint src: eslint node
                yarn eslint: eslint node
                pnpm --prefix web run build: ? in web
                uv run mypy .: gnu python
                python3.12 -m pytest -q: python
                python -m mypy .: gnu python
                python3 -m compileall -q .: python
                node build.js: node
                x86_64-linux-gnu-gcc-12 -c a.c: gnu
                env A=1 timeout 5 gcc a.c: gnu
                ./gradlew build: javac
                make -j4: ?
                buf generate: ?
                ./build.sh: ?
            "#]],
        );
    }

    #[test]
    fn a_shell_line_is_known_when_all_of_it_is() {
        check(
            &[
                "$ exec go build ./cmd/api",
                "$ cd 'my app'&&go vet ./...; go build .",
                "$ mkdir -p out && CGO_ENABLED=0 go build -ldflags \"-X main.v=a;b\" .",
                "$ tsc -p . && eslint src | tee log",
                "$ tsc -p . && eslint src",
                "$ go build -o $OUT .",
                "$ for f in *.c; do gcc -c \"$f\"; done",
                "$ npm run build",
                "$ 'unfinished",
                "$ ",
                "bash -euo pipefail -c 'cargo build'",
                "bash build.sh",
                "sh -c \"sh -c 'exec cargo build'\"",
            ],
            expect![[r#"
                $ exec go build ./cmd/api: go
                $ cd 'my app'&&go vet ./...; go build .: go in my app
                $ mkdir -p out && CGO_ENABLED=0 go build -ldflags "-X main.v=a;b" .: go
                $ tsc -p . && eslint src | tee log: ?
                $ tsc -p . && eslint src: tsc eslint node
                $ go build -o $OUT .: ?
                $ for f in *.c; do gcc -c "$f"; done: ?
                $ npm run build: ?
                $ 'unfinished: ?
                $ : ?
                bash -euo pipefail -c 'cargo build': cargo
                bash build.sh: ?
                sh -c "sh -c 'exec cargo build'": cargo
            "#]],
        );
    }

    proptest::proptest! {
        #[test]
        fn any_command_is_read(words in proptest::collection::vec("[a-z$;&'\"= \\\\-]{0,12}|sh|-c|npm|run|env|timeout|cd", 0..8)) {
            read(&words);
        }
    }
}
