//! Node: `package.json` with a `start` script or a `main`, or the one file that is obviously the server.
//!
//! Never a script that is itself a watcher: two watchers restart the same server at odds.

use std::collections::BTreeMap;
use std::path::Path;

use regex::Regex;
use serde_json::Value;

use super::{Answer, NotEnough, Project, escaped, globs, words};
use crate::config::{Command, Rule, Server};

/// Where a server usually is when nothing names it.
const OBVIOUS: &[&str] = &[
    "server.js",
    "server.mjs",
    "server.cjs",
    "index.js",
    "index.mjs",
    "index.cjs",
    "app.js",
    "app.mjs",
    "app.cjs",
    "src/server.js",
    "src/index.js",
    "src/app.js",
];

/// Programs that watch by themselves, whatever their arguments.
const WATCHERS: &[&str] = &[
    "nodemon",
    "ts-node-dev",
    "tsnd",
    "node-dev",
    "supervisor",
    "webpack-dev-server",
    "live-server",
    "browser-sync",
    "react-scripts",
    "forever",
    "pm2",
    "pm2-dev",
    "devwatch",
    "watchexec",
    "chokidar",
    "onchange",
    "vite-node",
];

/// Programs that watch when their first argument is one of these; an empty one stands for no argument at all.
const WATCH_WORDS: &[(&str, &[&str])] = &[
    ("vite", &["", "dev", "serve"]),
    ("next", &["", "dev"]),
    ("nuxt", &["", "dev"]),
    ("nuxi", &["dev"]),
    ("astro", &["", "dev"]),
    ("remix", &["dev"]),
    ("svelte-kit", &["dev"]),
    ("gatsby", &["develop"]),
    ("tsx", &["watch"]),
    ("ng", &["serve"]),
    ("vue-cli-service", &["serve"]),
    ("webpack", &["serve"]),
    ("parcel", &["", "serve", "watch"]),
    ("wrangler", &["dev"]),
    ("turbo", &["dev", "watch"]),
];

/// What the shell would have to read.
const SHELL_SIGNS: &[char] = &[
    '|', '&', ';', '<', '>', '(', ')', '$', '`', '*', '?', '[', '~', '#', '\n', '{', '!',
];

/// What a script turned out to be.
struct Script {
    run: Command,
    env: BTreeMap<String, String>,
    /// The words of its simple command, for what they tell; empty for a shell line.
    words: Vec<String>,
}

pub(super) fn look(project: &Project, target: Option<&str>) -> Result<Vec<Answer>, NotEnough> {
    let Some(text) = project.read("package.json") else {
        return Ok(Vec::new());
    };
    let package: Value = serde_json::from_str(&text)
        .map_err(|error| format!("package.json is not JSON: {error}"))?;
    if let Some(target) = target {
        if project.has(target) {
            return Ok(vec![from_file(project, &package, target, target)]);
        }
        return match script_line(&package, target) {
            Some(line) => match watcher(&package, line, 0) {
                Some(watcher) => Err(format!(
                    "scripts.{target} of package.json is itself a watcher ({watcher})"
                )),
                None => Ok(vec![from_script(project, &package, target, line)]),
            },
            None => Err(format!(
                "package.json is here, but {target:?} is neither a file nor one of its scripts"
            )),
        };
    }
    let mut passed_over = String::new();
    match script_line(&package, "start") {
        Some(line) => match watcher(&package, line, 0) {
            Some(watcher) => {
                passed_over = format!("; scripts.start is itself a watcher ({watcher})")
            }
            None => return Ok(vec![from_script(project, &package, "start", line)]),
        },
        None => {
            let dev = script_line(&package, "dev").and_then(|line| watcher(&package, line, 0));
            if let Some(watcher) = dev {
                passed_over = format!("; scripts.dev is itself a watcher ({watcher})");
            }
        }
    }
    if let Some(main) = package
        .get("main")
        .and_then(Value::as_str)
        .map(|main| main.trim_start_matches("./"))
    {
        let built = build_rule(project, &package, main).is_some();
        let with_extension = [
            main.to_string(),
            format!("{main}.js"),
            format!("{main}/index.js"),
        ];
        if let Some(file) = with_extension.iter().find(|file| project.has(file)) {
            return Ok(vec![from_file(project, &package, file, file)]);
        }
        if built {
            return Ok(vec![from_file(project, &package, main, main)]);
        }
    }
    let obvious: Vec<&&str> = OBVIOUS.iter().filter(|file| project.has(file)).collect();
    if obvious.is_empty() {
        return Err(format!(
            "package.json is here, but no start script, no main, and no server.js, index.js or app.js{passed_over}"
        ));
    }
    Ok(obvious
        .iter()
        .map(|file| from_file(project, &package, file, file))
        .collect())
}

fn from_script(project: &Project, package: &Value, name: &str, line: &str) -> Answer {
    let script = understand(project, line);
    let mut server = Server::new(script.run, &project.root);
    server.env = script.env;
    Answer {
        target: name.to_string(),
        marker: project.path("package.json"),
        rules: rules(project, package, line),
        server,
    }
}

fn from_file(project: &Project, package: &Value, target: &str, file: &str) -> Answer {
    Answer {
        target: target.to_string(),
        marker: project.path("package.json"),
        rules: rules(project, package, file),
        server: Server::new(words(&["node", file]), &project.root),
    }
}

/// `started` is what will be run: a file, or a line with one in it.
fn rules(project: &Project, package: &Value, started: &str) -> Vec<Rule> {
    if let Some(build) = build_rule(project, package, started) {
        return vec![build];
    }
    let extensions =
        project.extensions_present(&["js", "mjs", "cjs", "jsx", "ts", "mts", "cts", "tsx", "json"]);
    let mut patterns: Vec<String> = extensions
        .iter()
        .map(|extension| format!("**/*.{extension}"))
        .collect();
    patterns.extend(["package.json".to_string(), "!node_modules/**".into()]);
    vec![Rule::new("sources", globs(&patterns), &project.root)]
}

/// The rule for `scripts.build`, where a compiler writes what is started.
fn build_rule(project: &Project, package: &Value, started: &str) -> Option<Rule> {
    let line = script_line(package, "build")?;
    let script = understand(project, line);
    let program = script
        .words
        .first()
        .map(|word| word.rsplit('/').next().unwrap_or(word))?;
    if !["tsc", "esbuild", "swc"].contains(&program) || watcher(package, line, 0).is_some() {
        return None;
    }
    let output = output_folder(project, &script.words)?;
    // Any word, not only the first: `node -r dotenv/config dist/server.js`.
    let needs_it = started
        .split_whitespace()
        .any(|word| Path::new(word.trim_start_matches("./")).starts_with(&output));
    if !needs_it {
        return None;
    }
    let extensions =
        project.extensions_present(&["ts", "mts", "cts", "tsx", "js", "mjs", "jsx", "json"]);
    let mut patterns: Vec<String> = extensions
        .iter()
        .map(|extension| format!("**/*.{extension}"))
        .collect();
    let output = escaped(&output);
    patterns.extend([
        "package.json".to_string(),
        "!node_modules/**".into(),
        format!("!{output}/**"),
    ]);
    let mut rule = Rule::new("build", globs(&patterns), &project.root);
    rule.run = Some(script.run);
    rule.env = script.env;
    rule.outputs = globs(&[format!("{output}/**")]);
    Some(rule)
}

/// Where the compiler of a build script writes to, as its arguments or `tsconfig.json` say.
fn output_folder(project: &Project, words: &[String]) -> Option<String> {
    let mut folder = None;
    let mut config = "tsconfig.json".to_string();
    for (index, word) in words.iter().enumerate() {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_string())),
            None => (word.as_str(), words.get(index + 1).cloned()),
        };
        match flag {
            "--outDir" | "--outdir" | "-d" | "--out-dir" => folder = value,
            "--outfile" => {
                folder = value.and_then(|file| {
                    Path::new(&file)
                        .parent()
                        .map(|folder| folder.display().to_string())
                });
            }
            "-p" | "--project" => {
                if let Some(value) = value {
                    config = if value.ends_with(".json") {
                        value
                    } else {
                        format!("{value}/tsconfig.json")
                    };
                }
            }
            _ => {}
        }
    }
    let folder = folder.or_else(|| {
        // tsconfig.json has comments and commas that JSON has not, so it is searched, not parsed.
        let text = project.read(&config)?;
        let found = Regex::new(r#"(?m)^[^/\n]*"outDir"\s*:\s*"([^"]+)""#)
            .expect("a good expression")
            .captures(&text)?;
        let base = Path::new(&config).parent().unwrap_or(Path::new(""));
        Some(base.join(&found[1]).display().to_string())
    })?;
    let plain: Vec<&str> = folder
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    (!plain.is_empty() && plain[0] != "..").then(|| plain.join("/"))
}

fn script_line<'p>(package: &'p Value, name: &str) -> Option<&'p str> {
    package
        .get("scripts")?
        .get(name)?
        .as_str()
        .map(str::trim)
        .filter(|line| !line.is_empty())
}

/// A script as words where it is one simple command, so that signals reach the program itself; else for the shell.
/// npm puts `node_modules/.bin` into `PATH`; here the program is named by its path instead.
fn understand(project: &Project, line: &str) -> Script {
    let bin = "node_modules/.bin";
    let split = if line.contains(SHELL_SIGNS) {
        None
    } else {
        shlex::split(line)
    };
    if let Some(mut rest) = split {
        let mut env = BTreeMap::new();
        while let Some((name, value)) = rest.first().and_then(|word| assignment(word)) {
            env.insert(name, value);
            rest.remove(0);
        }
        if let Some(program) = rest.first().cloned() {
            let words = rest.clone();
            let local = format!("{bin}/{program}");
            if !program.contains('/') && project.has(&local) {
                rest[0] = local;
            }
            return Script {
                run: Command::Argv(rest),
                env,
                words,
            };
        }
    }
    let run = match project.path(bin).is_dir() {
        true => Command::Shell(format!("export PATH=\"$PWD/{bin}:$PATH\"; {line}")),
        false => Command::Shell(line.to_string()),
    };
    Script {
        run,
        env: BTreeMap::new(),
        words: Vec::new(),
    }
}

fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = !name.is_empty()
        && name.chars().all(is_name)
        && !name.starts_with(|c: char| c.is_ascii_digit());
    good.then(|| (name.to_string(), value.to_string()))
}

/// The watcher that a script comes down to, if any: also inside of `a && b`, and behind `npm run x`.
fn watcher(package: &Value, line: &str, depth: usize) -> Option<String> {
    for part in line.split(['&', '|', ';', '\n', '(', ')']) {
        let words: Vec<String> = shlex::split(part)
            .unwrap_or_else(|| part.split_whitespace().map(String::from).collect());
        let wrappers = ["npx", "cross-env", "env", "exec", "dotenv", "--", "bunx"];
        let mut rest = words
            .iter()
            .map(String::as_str)
            .skip_while(|word| assignment(word).is_some() || wrappers.contains(word));
        let Some(program) = rest.next() else { continue };
        let program = program.rsplit('/').next().unwrap_or(program);
        let arguments: Vec<&str> = rest.collect();
        let first = arguments
            .iter()
            .copied()
            .find(|word| !word.starts_with('-'))
            .unwrap_or("");
        if WATCHERS.contains(&program) {
            return Some(program.to_string());
        }
        let watch_flags = ["--watch", "--watch-path", "--hot", "--reload", "--serve"];
        if let Some(flag) = arguments
            .iter()
            .find(|word| watch_flags.contains(&word.split('=').next().unwrap_or(word)))
        {
            return Some(format!("{program} {flag}"));
        }
        if program == "tsc" && arguments.contains(&"-w") {
            return Some("tsc -w".to_string());
        }
        // `vite --port 3000` has no subcommand, whatever its flags take.
        let bare = arguments.first().is_none_or(|word| word.starts_with('-'));
        let watches = WATCH_WORDS.iter().any(|(name, subcommands)| {
            *name == program
                && (subcommands.contains(&first) || (bare && subcommands.contains(&"")))
        });
        let first = if bare { "" } else { first };
        if watches {
            return Some(format!("{program} {first}").trim_end().to_string());
        }
        if depth < 5 && ["npm", "yarn", "pnpm", "bun"].contains(&program) {
            let named = arguments
                .iter()
                .copied()
                .find(|word| !word.starts_with('-') && *word != "run");
            if let Some(watcher) = named
                .and_then(|name| script_line(package, name))
                .and_then(|line| watcher(package, line, depth + 1))
            {
                return Some(watcher);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_that_watch_are_told_from_those_that_serve() {
        let package: Value = serde_json::json!({ "scripts": {
            "dev": "nodemon server.js", "loop": "npm run loop", "chain": "yarn dev", "serve": "node server.js",
        } });
        for (line, expected) in [
            ("node server.js", None),
            ("node --watch server.js", Some("node --watch")),
            (
                "node --watch-path=./src server.js",
                Some("node --watch-path=./src"),
            ),
            ("nodemon", Some("nodemon")),
            ("NODE_ENV=dev npx nodemon server.js", Some("nodemon")),
            ("cross-env A=b nodemon x", Some("nodemon")),
            ("./node_modules/.bin/nodemon", Some("nodemon")),
            ("vite", Some("vite")),
            ("vite --port 3000", Some("vite")),
            ("vite build", None),
            ("vite preview", None),
            ("next dev -p 80", Some("next dev")),
            ("next start", None),
            ("tsx watch src/a.ts", Some("tsx watch")),
            ("tsx src/a.ts", None),
            ("ts-node-dev --respawn a.ts", Some("ts-node-dev")),
            ("tsc && node dist/a.js", None),
            ("tsc -w & node dist/a.js", Some("tsc -w")),
            ("npm run dev", Some("nodemon")),
            ("npm run chain", Some("nodemon")),
            ("npm run -s serve", None),
            ("npm run loop", None),
            ("nest start", None),
            ("nest start --watch", Some("nest --watch")),
            ("", None),
            ("node 'unclosed", None),
        ] {
            assert_eq!(watcher(&package, line, 0).as_deref(), expected, "{line}");
        }
    }
}
