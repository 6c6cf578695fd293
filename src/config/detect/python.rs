//! Python: `manage.py`, a script of `pyproject.toml`, a well-known file, or a package with a `__main__.py`.

use std::fs;
use std::path::Path;

use regex::Regex;
use toml::{Table, Value};

use super::{Answer, NotEnough, Project, folders, globs, name_of, words};
use crate::config::{Command, Rule, Server};

/// Files that are a server by their name.
const WELL_KNOWN: &[&str] = &["app.py", "main.py", "server.py", "wsgi.py", "asgi.py"];

/// What makes a folder a Python project even where another kind is found too.
const DECLARATIONS: &[&str] = &[
    "manage.py",
    "pyproject.toml",
    "requirements.txt",
    "setup.py",
    "setup.cfg",
    "Pipfile",
];

/// Read at the start, or cached by the templates' engine.
const BESIDE_THE_CODE: &[&str] = &["html", "jinja", "j2"];

pub(super) fn is_declared(project: &Project) -> bool {
    DECLARATIONS.iter().any(|name| project.has(name))
}

pub(super) fn look(project: &Project, target: Option<&str>) -> Result<Vec<Answer>, NotEnough> {
    let scripts = scripts(project)?;
    if let Some(target) = target {
        if project.has(target) {
            return Ok(vec![from_file(project, target)]);
        }
        if let Some((name, entry)) = scripts.iter().find(|(name, _)| name == target) {
            return from_entry(project, name, entry).map(|answer| vec![answer]);
        }
        let package = target.replace('.', "/");
        return match ["", "src"]
            .iter()
            .find(|base| project.has(Path::new(base).join(&package).join("__main__.py")))
        {
            Some(base) => Ok(vec![from_package(project, target, base)]),
            None => Err(format!(
                "{target:?} is no file, no script of pyproject.toml, and no package with a __main__.py"
            )),
        };
    }
    if project.has("manage.py") {
        return Ok(vec![from_file(project, "manage.py")]);
    }
    if !scripts.is_empty() {
        return scripts
            .iter()
            .map(|(name, entry)| from_entry(project, name, entry))
            .collect();
    }
    let well_known: Vec<&&str> = WELL_KNOWN.iter().filter(|name| project.has(name)).collect();
    if !well_known.is_empty() {
        return Ok(well_known
            .iter()
            .map(|name| from_file(project, name))
            .collect());
    }
    let packages: Vec<Answer> = ["", "src"]
        .iter()
        .flat_map(|base| {
            folders(&project.path(base))
                .into_iter()
                .map(move |folder| (base, folder))
        })
        .filter(|(_, folder)| folder.join("__main__.py").is_file())
        .map(|(base, folder)| from_package(project, name_of(&folder), base))
        .collect();
    match DECLARATIONS.iter().find(|name| project.has(name)) {
        Some(marker) if packages.is_empty() => Err(format!(
            "{marker} is here, but no manage.py, no [project.scripts], no app.py, main.py or server.py, and no package with a __main__.py"
        )),
        Some(_) | None => Ok(packages),
    }
}

fn from_file(project: &Project, file: &str) -> Answer {
    let python = interpreter(project);
    let text = project.read(file).unwrap_or_default();
    let module = file.trim_end_matches(".py").replace('/', ".");
    let run = match (file, framework(&text)) {
        // Its own reloader would be a second watcher.
        ("manage.py", _) => words(&[python, file, "runserver", "--noreload"]),
        (_, Some(("Flask", app))) => words(&[
            python,
            "-m",
            "flask",
            "--app",
            &format!("{module}:{app}"),
            "run",
        ]),
        (_, Some((_, app))) => words(&[python, "-m", "uvicorn", &format!("{module}:{app}")]),
        (_, None) => words(&[python, file]),
    };
    answer(project, file, file, run)
}

fn from_entry(project: &Project, name: &str, entry: &str) -> Result<Answer, NotEnough> {
    let installed = [".venv/bin", "venv/bin"]
        .iter()
        .map(|bin| format!("{bin}/{name}"))
        .find(|path| project.has(path));
    if let Some(path) = installed {
        return Ok(answer(project, name, "pyproject.toml", words(&[&path])));
    }
    // What pip would write into the script.
    let Some((module, function)) = entry
        .split('[')
        .next()
        .unwrap_or(entry)
        .trim()
        .split_once(':')
    else {
        return Err(format!(
            "project.scripts.{name} of pyproject.toml is no module:function: {entry:?}"
        ));
    };
    let (module, function) = (module.trim(), function.trim());
    let first = function.split('.').next().unwrap_or(function);
    let code = format!("import sys; from {module} import {first}; sys.exit({function}())");
    let mut answer = answer(
        project,
        name,
        "pyproject.toml",
        words(&[interpreter(project), "-c", &code]),
    );
    let package = module.split('.').next().unwrap_or(module);
    if project.path("src").join(package).exists() || project.has(format!("src/{package}.py")) {
        answer.server.env.insert("PYTHONPATH".into(), "src".into());
    }
    Ok(answer)
}

fn from_package(project: &Project, package: &str, base: &str) -> Answer {
    let marker = Path::new(base)
        .join(package.replace('.', "/"))
        .join("__main__.py")
        .display()
        .to_string();
    let mut answer = answer(
        project,
        package,
        &marker,
        words(&[interpreter(project), "-m", package]),
    );
    if !base.is_empty() {
        answer.server.env.insert("PYTHONPATH".into(), base.into());
    }
    answer
}

fn answer(project: &Project, target: &str, marker: &str, run: Command) -> Answer {
    let mut patterns = vec!["**/*.py".to_string()];
    patterns.extend(
        project
            .extensions_present(BESIDE_THE_CODE)
            .iter()
            .map(|extension| format!("**/*.{extension}")),
    );
    if project.has("pyproject.toml") {
        patterns.push("pyproject.toml".into());
    }
    patterns.extend([
        "!.venv/**".to_string(),
        "!venv/**".into(),
        "!**/__pycache__/**".into(),
    ]);
    let mut server = Server::new(run, &project.root);
    // Into a pipe Python writes by blocks, and the log would come minutes late.
    server.env.insert("PYTHONUNBUFFERED".into(), "1".into());
    Answer {
        target: target.to_string(),
        marker: project.path(marker),
        rules: vec![Rule::new("sources", globs(&patterns), &project.root)],
        server,
    }
}

fn interpreter(project: &Project) -> &'static str {
    let local = [".venv/bin/python", "venv/bin/python"];
    // The link is asked, not what it leads to: a venv's interpreter lies elsewhere.
    local
        .into_iter()
        .find(|path| fs::symlink_metadata(project.path(path)).is_ok())
        .unwrap_or("python3")
}

/// `[project.scripts]`, name and `module:function`.
fn scripts(project: &Project) -> Result<Vec<(String, String)>, NotEnough> {
    let Some(text) = project.read("pyproject.toml") else {
        return Ok(Vec::new());
    };
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        format!("pyproject.toml is not TOML: {}", error.message())
    })?;
    let scripts = table
        .get("project")
        .and_then(|project| project.get("scripts"))
        .and_then(Value::as_table);
    let pairs = scripts.into_iter().flatten();
    Ok(pairs
        .filter_map(|(name, entry)| Some((name.clone(), entry.as_str()?.to_string())))
        .collect())
}

/// The application that a file only defines and does not run, and of which framework.
fn framework(text: &str) -> Option<(&'static str, String)> {
    if text.contains("__main__") {
        return None;
    }
    let definition =
        Regex::new(r"(?m)^(\w+)\s*(?::[^=\n]+)?=\s*(?:\w+\.)?(Flask|FastAPI|Starlette)\(")
            .expect("a good expression");
    let found = definition.captures(text)?;
    let app = found[1].to_string();
    match &found[2] {
        "Flask" => Some(("Flask", app)),
        "FastAPI" => Some(("FastAPI", app)),
        _ => Some(("Starlette", app)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_that_nobody_runs_is_found_with_its_name() {
        for (text, expected) in [
            (
                "from flask import Flask\napp = Flask(__name__)\n",
                Some(("Flask", "app")),
            ),
            (
                "api: FastAPI = fastapi.FastAPI(\n)",
                Some(("FastAPI", "api")),
            ),
            (
                "app = Flask(__name__)\nif __name__ == '__main__':\n  app.run()",
                None,
            ),
            ("  app = Flask(x)", None),
            ("import http.server", None),
        ] {
            assert_eq!(
                framework(text),
                expected.map(|(kind, app)| (kind, app.to_string())),
                "{text}"
            );
        }
    }
}
