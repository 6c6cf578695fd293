//! What a rule's command depends on besides the files it takes: what is executed, where, with which variables, by
//! which tools.
//!
//! A tool is known by its place, its size and its time: asking each for its version would start a process at every
//! save. What hides behind a tool (the compiler behind `npx`, the toolchain behind a rustup proxy) is not seen.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use xxhash_rust::xxh3::Xxh3;

use crate::config::{Command, Config, resolve};
use crate::rules;
use crate::supervisor::plan::RuleId;
use crate::watch::fingerprint;

/// The number of all of that. Two recipes with the same number do the same to the same files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe(pub u128);

/// The recipe of `rule` as it is now, in the environment `variable` that its command inherits. Looks at a few files: the tools, and
/// files of the project that the command names, such as a script. None for a rule without a command.
pub fn recipe(
    config: &Config,
    rule: RuleId,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<Recipe> {
    let id = rule;
    let rule = &config.rules[id.0];
    let command = rule.run.as_ref()?;
    let mut hash = Parts(Xxh3::new());
    let words = match command {
        Command::Argv(argv) => {
            hash.part(b"argv");
            argv.iter().for_each(|word| hash.part(word.as_bytes()));
            argv.clone()
        }
        Command::Shell(line) => {
            hash.part(b"shell");
            hash.part(line.as_bytes());
            // A line that only the shell understands still names its tools, mostly.
            shlex::split(line)
                .unwrap_or_else(|| line.split_whitespace().map(str::to_owned).collect())
        }
    };
    hash.part(b"in");
    hash.part(rule.cwd.as_os_str().as_bytes());
    hash.part(b"outputs");
    for glob in &rule.outputs.patterns {
        hash.part(glob.as_bytes());
    }
    hash.part(b"env");
    for (name, value) in &rule.env {
        hash.part(name.as_bytes());
        hash.part(value.as_bytes());
    }
    let text = words.join(" ");
    for name in named(&text).filter(|name| !rule.env.contains_key(*name)) {
        hash.part(name.as_bytes());
        match variable(name) {
            Some(value) => hash.part(value.as_bytes()),
            None => hash.part(b"\0unset"),
        }
    }
    let path = rule
        .env
        .get("PATH")
        .map(OsString::from)
        .or_else(|| variable("PATH"));
    let looked_up: BTreeSet<&str> = programs(command, &words).collect();
    let tools = looked_up
        .iter()
        .filter_map(|program| find(program, &rule.cwd, path.as_deref()));
    let (own, others): (Vec<PathBuf>, Vec<PathBuf>) =
        tools.partition(|tool| tool.starts_with(&config.root));
    for tool in others {
        hash.part(b"tool");
        hash.part(tool.as_os_str().as_bytes());
        if let Ok(found) = fs::metadata(&tool) {
            let stamp = [found.len() as i64, found.mtime(), found.mtime_nsec()];
            stamp
                .iter()
                .for_each(|number| hash.part(&number.to_le_bytes()));
        }
    }
    // A script is what it says. What a rule takes is counted already, and what it writes is not what it is made of.
    let scripts: BTreeSet<PathBuf> = words
        .iter()
        .flat_map(|word| word.split('='))
        .filter(|word| !word.is_empty())
        .map(|word| resolve(&rule.cwd, Path::new(word)))
        .chain(own)
        .map(|path| config.relative(&path))
        .filter(|path| !path.starts_with("..") && !rule.files.matches(path))
        .filter(|path| rules::makers(config, path).next().is_none())
        .collect();
    for script in scripts {
        if let Ok(Some(content)) = fingerprint::of_file(&config.root.join(&script)) {
            hash.part(b"script");
            hash.part(script.as_os_str().as_bytes());
            hash.part(&content.to_bytes());
        }
    }
    Some(Recipe(hash.0.digest128()))
}

/// Parts one after the other, each told apart from the next.
struct Parts(Xxh3);

impl Parts {
    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

/// The variables that a text asks for: `$NAME`, `${NAME...}`.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let mut names: Vec<&str> = text
        .split('$')
        .skip(1)
        .map(|rest| rest.strip_prefix('{').unwrap_or(rest))
        .map(|rest| {
            let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
            &rest[..end.unwrap_or(rest.len())]
        })
        .filter(|name| name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic()))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter()
}

/// The words in the place of a program. In a line for the shell, that is the first of each part.
fn programs<'a>(command: &Command, words: &'a [String]) -> impl Iterator<Item = &'a str> {
    let of_shell = matches!(command, Command::Shell(_));
    let mut is_first = true;
    words
        .iter()
        .map(String::as_str)
        .filter(move |word| {
            let joins = matches!(
                *word,
                "&&" | "||"
                    | "|"
                    | ";"
                    | "&"
                    | "("
                    | "{"
                    | "!"
                    | "if"
                    | "elif"
                    | "then"
                    | "else"
                    | "while"
                    | "until"
                    | "do"
                    | "exec"
            );
            let sets = word.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty()
                    && name
                        .bytes()
                        .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
            });
            let is_program = is_first && !joins && !sets;
            is_first = of_shell && (joins || word.ends_with(';') || (is_first && sets));
            is_program
        })
        .map(|word| word.trim_end_matches(';'))
}

/// Where the program of that name lies, symlinks resolved.
fn find(program: &str, cwd: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    let folders = match program.contains('/') {
        true => vec![cwd.to_owned()],
        false => std::env::split_paths(path?)
            .map(|folder| cwd.join(folder))
            .collect(),
    };
    folders
        .into_iter()
        .map(|folder| folder.join(program))
        .find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok())?
        .canonicalize()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::config::{Globs, Rule, detect};

    /// A project with a script, a tool beside it, and one rule.
    struct Bench {
        _folder: tempfile::TempDir,
        config: Config,
        variables: BTreeMap<&'static str, OsString>,
    }

    impl Bench {
        fn new(run: Command) -> Bench {
            let folder = tempfile::tempdir().expect("a folder");
            let base = folder.path().canonicalize().expect("resolves");
            let root = base.join("app");
            for (path, text) in [
                ("app/build.sh", "cc\n"),
                ("app/main.c", "1\n"),
                ("app/out/app", "made\n"),
                ("bin/cc", "a compiler\n"),
                ("bin/ld", "a linker\n"),
            ] {
                let path = base.join(path);
                fs::create_dir_all(path.parent().expect("has one")).expect("folders");
                fs::write(&path, text).expect("writes");
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
            }
            let mut config = detect::from_command(&root, vec!["true".to_owned()]);
            let mut rule = Rule::new("build", globs(&["*.c"]), &root);
            rule.run = Some(run);
            rule.outputs = globs(&["out/**"]);
            config.rules = vec![rule];
            let path = base.join("bin").into_os_string();
            let variables = BTreeMap::from([("PATH", path), ("MODE", "fast".into())]);
            Bench {
                _folder: folder,
                config,
                variables,
            }
        }

        fn rule(&mut self) -> &mut Rule {
            &mut self.config.rules[0]
        }

        fn write(&self, path: &str, text: &str) {
            fs::write(self.config.root.join(path), text).expect("writes");
        }

        fn recipe(&self) -> Recipe {
            let variable = |name: &str| self.variables.get(name).cloned();
            recipe(&self.config, RuleId(0), variable).expect("it has a command")
        }
    }

    fn globs(patterns: &[&str]) -> Globs {
        Globs::new(patterns).expect("good globs")
    }

    fn shell(line: &str) -> Command {
        Command::Shell(line.to_owned())
    }

    fn argv(words: &[&str]) -> Command {
        Command::Argv(words.iter().map(|word| (*word).to_owned()).collect())
    }

    /// Whether `change` makes the recipe another one.
    fn differs(run: Command, change: impl FnOnce(&mut Bench)) -> bool {
        let mut bench = Bench::new(run);
        let before = bench.recipe();
        assert_eq!(bench.recipe(), before, "nothing has changed yet");
        change(&mut bench);
        bench.recipe() != before
    }

    #[test]
    fn the_command_and_where_it_runs_count() {
        let cc = || argv(&["cc", "-o", "out/app", "main.c"]);
        assert!(differs(cc(), |bench| {
            bench.rule().run = Some(argv(&["cc", "-o", "out/app main.c"]));
        }));
        assert!(differs(argv(&["cc"]), |bench| bench.rule().run = Some(shell("cc"))));
        assert!(differs(cc(), |bench| bench.rule().cwd = "/".into()));
        assert!(differs(cc(), |bench| bench.rule().outputs = globs(&["out/app"])));
        assert!(!differs(cc(), |bench| bench.rule().name = "other".to_owned()));
    }

    #[test]
    fn variables_count_that_the_rule_sets_or_the_command_names() {
        for line in [
            "cc -D$MODE",
            "cc -D${MODE}",
            "cc -D\"${MODE:-slow}\"",
            "$MODE",
        ] {
            assert!(
                differs(shell(line), |bench| _ =
                    bench.variables.insert("MODE", "slow".into())),
                "{line}"
            );
            assert!(
                differs(shell(line), |bench| _ = bench.variables.remove("MODE")),
                "{line}"
            );
        }
        assert!(!differs(shell("cc -D$OTHER ${X"), |bench| _ =
            bench.variables.remove("MODE")));
        let set = |bench: &mut Bench, value: &str| {
            _ = bench.rule().env.insert("MODE".to_owned(), value.to_owned())
        };
        assert!(differs(shell("cc"), |bench| set(bench, "slow")));
        let mut bench = Bench::new(shell("cc -D$MODE"));
        set(&mut bench, "set");
        let before = bench.recipe();
        bench.variables.remove("MODE");
        assert_eq!(bench.recipe(), before, "the rule's own value holds");
    }

    #[test]
    fn a_tool_counts_wherever_it_stands() {
        let newer = |name: &'static str| {
            move |bench: &mut Bench| bench.write(&format!("../bin/{name}"), "a newer one\n")
        };
        assert!(differs(argv(&["cc", "main.c"]), newer("cc")));
        assert!(!differs(argv(&["cc", "main.c"]), newer("ld")));
        for line in [
            "true; ld x",
            "true && ld x",
            "true | ld x",
            "LANG=C ld x",
            "if cc; then ld; fi",
            "cc; A=1 ld;",
        ] {
            assert!(differs(shell(line), newer("ld")), "{line}");
        }
        assert!(
            !differs(shell("cc -fuse=ld main.c ld"), newer("ld")),
            "an argument is no tool"
        );
        assert!(
            differs(argv(&["cc"]), |bench| {
                let root = bench.config.root.clone();
                let other = root.join("cc");
                symlink(root.join("../bin/ld"), &other).expect("links");
                bench.variables.insert("PATH", root.into_os_string());
            }),
            "another one comes first"
        );
        assert!(!differs(argv(&["nowhere"]), newer("cc")));
    }

    #[test]
    fn a_script_of_the_project_counts_by_what_it_says() {
        let edit = |path: &'static str| move |bench: &mut Bench| bench.write(path, "other\n");
        for run in [
            argv(&["sh", "-e", "build.sh"]),
            argv(&["./build.sh"]),
            shell("sh ./build.sh --fast"),
            argv(&["cc", "--spec=build.sh"]),
        ] {
            assert!(differs(run.clone(), edit("build.sh")), "{run:?}");
            assert!(!differs(run, edit("out/app")));
        }
        let again = |bench: &mut Bench| bench.write("build.sh", "cc\n");
        assert!(
            !differs(argv(&["./build.sh"]), again),
            "the same again, at another time"
        );
        assert!(
            !differs(argv(&["cc", "main.c", "-o", "out/app"]), edit("main.c")),
            "a file of the rule is counted there"
        );
        assert!(
            !differs(argv(&["cc", "main.c", "-o", "out/app"]), edit("out/app")),
            "what it makes is not what it is made of"
        );
    }
}
