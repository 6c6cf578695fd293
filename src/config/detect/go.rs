//! Go: `go.mod`, and a package main in `.` or the only one in `cmd/`.

use std::fs;
use std::path::Path;

use super::{Answer, NotEnough, Project, escaped, files, folders, globs, name_of, sources, words};
use crate::config::{Rule, Server};

/// What `//go:embed` is used for most, templates read at the start, and what cgo and the assembler take.
const BESIDE_THE_CODE: &[&str] = &["tmpl", "gohtml", "html", "sql", "c", "h", "s"];

pub(super) fn look(project: &Project, target: Option<&str>) -> Result<Vec<Answer>, NotEnough> {
    let Some(module) = project.read("go.mod") else {
        return Ok(Vec::new());
    };
    if let Some(target) = target {
        let package = normal(target);
        return match is_main(&project.path(&package)) {
            true => Ok(vec![answer(project, &module, &package)]),
            false => Err(format!("go.mod is here, but {package} has no package main")),
        };
    }
    if is_main(&project.root) {
        return Ok(vec![answer(project, &module, ".")]);
    }
    let mut packages: Vec<String> = folders(&project.path("cmd"))
        .iter()
        .filter(|folder| is_main(folder))
        .map(|folder| format!("./cmd/{}", name_of(folder)))
        .collect();
    if packages.is_empty() && is_main(&project.path("cmd")) {
        packages.push("./cmd".to_string());
    }
    if packages.is_empty() {
        let elsewhere = mains_elsewhere(project);
        return Err(match &elsewhere[..] {
            [] => "go.mod is here, but no package main".to_string(),
            found => {
                let flags: Vec<String> = found
                    .iter()
                    .map(|package| format!("devwatch --as go:{package}"))
                    .collect();
                format!(
                    "go.mod is here, but no package main in . or cmd/*; elsewhere: {}",
                    flags.join(", ")
                )
            }
        });
    }
    Ok(packages
        .iter()
        .map(|package| answer(project, &module, package))
        .collect())
}

fn answer(project: &Project, module: &str, package: &str) -> Answer {
    let name = match package {
        "." => module_name(module).unwrap_or_else(|| name_of(&project.root).to_string()),
        package => name_of(Path::new(package)).to_string(),
    };
    let name = if name.is_empty() {
        "app".to_string()
    } else {
        name
    };
    let output = format!(".devwatch/bin/{name}");
    let mut patterns = vec!["**/*.go".to_string(), "go.mod".into(), "go.sum".into()];
    if project.has("go.work") {
        patterns.push("go.work".into());
    }
    patterns.extend(
        project
            .extensions_present(BESIDE_THE_CODE)
            .iter()
            .map(|extension| format!("**/*.{extension}")),
    );
    patterns.push("!**/*_test.go".into());

    let mut build = Rule::new("build", globs(&patterns), &project.root);
    // Without -buildvcs=false every build asks git, and a commit alone changes the binary.
    build.run = Some(words(&[
        "go",
        "build",
        "-buildvcs=false",
        "-o",
        &output,
        package,
    ]));
    build.outputs = globs(&[escaped(&output)]);
    Answer {
        target: package.to_string(),
        marker: project.path("go.mod"),
        rules: vec![build],
        server: Server::new(words(&[&output]), &project.root),
    }
}

/// `cmd/api`, `./cmd/api/` and so on as `./cmd/api`; the root as `.`.
fn normal(target: &str) -> String {
    let plain: Vec<&str> = target
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if plain.is_empty() {
        ".".to_string()
    } else {
        format!("./{}", plain.join("/"))
    }
}

/// What `go build` would call the binary: the last name of the module's path, a version left out.
fn module_name(module: &str) -> Option<String> {
    let path = module
        .lines()
        .find_map(|line| line.trim().strip_prefix("module "))?;
    let path = path.split("//").next()?.trim().trim_matches(['"', '`']);
    let is_version = |part: &&str| {
        part.strip_prefix('v')
            .is_some_and(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()))
    };
    path.split('/')
        .rev()
        .find(|part| !is_version(part))
        .filter(|name| !name.is_empty())
        .map(String::from)
}

fn is_main(folder: &Path) -> bool {
    files(folder).iter().any(|file| {
        let name = name_of(file);
        // The names that the go tool leaves out.
        name.ends_with(".go")
            && !name.ends_with("_test.go")
            && !name.starts_with(['_', '.'])
            && fs::read_to_string(file).is_ok_and(|text| declares_main(&text))
    })
}

/// Whether the file belongs to package main in an ordinary build. A generator in the folder of a library says
/// `//go:build ignore` above its `package main`.
fn declares_main(text: &str) -> bool {
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    loop {
        if let Some(comment) = rest.strip_prefix("//") {
            let line = comment.lines().next().unwrap_or_default();
            let constraint = line
                .strip_prefix("go:build")
                .or_else(|| line.trim().strip_prefix("+build"));
            if constraint.is_some_and(|words| words.split_whitespace().any(|word| word == "ignore"))
            {
                return false;
            }
            rest = comment
                .split_once('\n')
                .map_or("", |(_, rest)| rest)
                .trim_start();
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment
                .split_once("*/")
                .map_or("", |(_, rest)| rest)
                .trim_start();
        } else {
            break;
        }
    }
    let Some(name) = rest
        .strip_prefix("package")
        .filter(|name| name.starts_with(char::is_whitespace))
    else {
        return false;
    };
    let name = name.trim_start();
    name.strip_prefix("main")
        .is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Packages main that are neither in `.` nor in `cmd/*`; a few, for a message.
fn mains_elsewhere(project: &Project) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for file in sources(&project.root) {
        let Some(folder) = file
            .parent()
            .and_then(|folder| folder.strip_prefix(&project.root).ok())
        else {
            continue;
        };
        let package = format!("./{}", folder.display());
        if file.extension().is_some_and(|extension| extension == "go")
            && !found.contains(&package)
            && is_main(&project.path(folder))
        {
            found.push(package);
        }
        if found.len() == 5 {
            break;
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_main_may_follow_comments_and_is_not_a_generator() {
        for (text, expected) in [
            ("package main", true),
            ("package main\n", true),
            (
                "\u{feff}// a\n/* package x\n*/ // b\n\npackage main // c",
                true,
            ),
            ("//go:build linux\n\npackage main", true),
            ("package /* x */ main", false),
            ("//go:build ignore\n\npackage main", false),
            ("// +build ignore\n\npackage main", false),
            ("package maintenance", false),
            ("packagemain", false),
            ("// package main", false),
            ("/* package main", false),
            ("", false),
        ] {
            assert_eq!(declares_main(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_binary_is_named_as_go_would() {
        for (module, expected) in [
            ("module example.com/shop\n", Some("shop")),
            (
                "// x\nmodule \"example.com/shop/v2\" // y\ngo 1.22\n",
                Some("shop"),
            ),
            ("module shop", Some("shop")),
            ("go 1.22", None),
        ] {
            assert_eq!(module_name(module).as_deref(), expected);
        }
    }

    #[test]
    fn packages_are_written_one_way() {
        for (target, expected) in [
            ("cmd/api", "./cmd/api"),
            ("./cmd/api/", "./cmd/api"),
            (".", "."),
            ("./", "."),
        ] {
            assert_eq!(normal(target), expected);
        }
    }
}
