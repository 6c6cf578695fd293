//! Rust: `Cargo.toml`, and its `default-run` or only binary; in a workspace, those of its members.
//!
//! Reads manifests as cargo does, without running it: `cargo metadata` would take the lock and may reach for the net.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use globset::Glob;
use toml::{Table, Value};

use super::{Answer, NotEnough, Project, escaped, files, folders, globs, name_of, words};
use crate::config::{Rule, Server, relative, resolve};

/// What cargo takes from the environment and what changes where a binary comes out.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    target_dir: Option<PathBuf>,
    target: Option<String>,
    /// `CARGO_HOME`, whose `config.toml` comes after those of the project.
    home: Option<PathBuf>,
}

/// A program of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Binary {
    name: String,
    package: String,
    /// Whether the package lies in the root itself, so that `--bin` alone finds it.
    is_own: bool,
    is_default_run: bool,
}

impl Environment {
    pub(super) fn from_process() -> Environment {
        let get = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Environment {
            target_dir: get("CARGO_TARGET_DIR")
                .or_else(|| get("CARGO_BUILD_TARGET_DIR"))
                .map(PathBuf::from),
            target: get("CARGO_BUILD_TARGET"),
            home: get("CARGO_HOME")
                .map(PathBuf::from)
                .or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))),
        }
    }
}

pub(super) fn look(project: &Project, target: Option<&str>) -> Result<Vec<Answer>, NotEnough> {
    let Some(text) = project.read("Cargo.toml") else {
        return Ok(Vec::new());
    };
    let manifest: Table = text
        .parse()
        .map_err(|error: toml::de::Error| format!("Cargo.toml is not TOML: {}", error.message()))?;
    let own = binaries(&project.root, &manifest, true);
    let of_members: Vec<Binary> = members(&project.root, &manifest, target.is_none())
        .iter()
        .filter_map(|folder| {
            read_manifest(folder).map(|manifest| binaries(folder, &manifest, false))
        })
        .flatten()
        .collect();

    let chosen: Vec<Binary> = match target {
        Some(target) => {
            let all: Vec<Binary> = own.into_iter().chain(of_members).collect();
            let named: Vec<Binary> = all
                .iter()
                .filter(|binary| binary.name == target)
                .cloned()
                .collect();
            match named.len() {
                0 if all.is_empty() => return Err("Cargo.toml is here, but no binary".to_string()),
                0 => {
                    let names: Vec<&str> = all.iter().map(|binary| binary.name.as_str()).collect();
                    return Err(format!(
                        "Cargo.toml is here, but no binary {target:?}; there are {}",
                        names.join(", ")
                    ));
                }
                1 => named,
                _ => {
                    return Err(format!(
                        "two packages of the workspace have a binary {target:?}; go to one of them with -C"
                    ));
                }
            }
        }
        // As `cargo run`: what the package in the root offers comes before its members.
        None => preferred(own)
            .or_else(|| preferred(of_members))
            .unwrap_or_default(),
    };
    if chosen.is_empty() {
        return Err(
            "Cargo.toml is here, but no binary: no src/main.rs, [[bin]] or src/bin".to_string(),
        );
    }
    Ok(chosen
        .iter()
        .map(|binary| answer(project, &manifest, binary))
        .collect())
}

/// The `default-run` where there is exactly one, else all.
fn preferred(binaries: Vec<Binary>) -> Option<Vec<Binary>> {
    let mut default_run = binaries.iter().filter(|binary| binary.is_default_run);
    match (default_run.next(), default_run.next()) {
        (Some(only), None) => Some(vec![only.clone()]),
        (None, _) | (Some(_), Some(_)) => (!binaries.is_empty()).then_some(binaries),
    }
}

fn answer(project: &Project, manifest: &Table, binary: &Binary) -> Answer {
    let workspace = workspace_of(&project.root, manifest);
    let target_folder = target_folder(project, &workspace);
    let output = relative(&project.root, &target_folder)
        .join("debug")
        .join(&binary.name)
        .display()
        .to_string();

    let mut argv = vec!["cargo", "build"];
    if !binary.is_own {
        argv.extend(["-p", &binary.package]);
    }
    argv.extend(["--bin", &binary.name]);

    let mut patterns: Vec<String> = ["**/*.rs", "**/Cargo.toml", "Cargo.lock"]
        .map(String::from)
        .to_vec();
    for name in [
        ".cargo/config.toml",
        "rust-toolchain.toml",
        "rust-toolchain",
    ] {
        if project.has(name) {
            patterns.push(name.to_string());
        }
    }
    // A package of a workspace is also built from what lies beside it.
    if workspace != project.root {
        let up = relative(&project.root, &workspace).display().to_string();
        patterns.extend([format!("{up}/Cargo.toml"), format!("{up}/Cargo.lock")]);
    }
    for folder in dependencies_outside(&project.root) {
        let folder = escaped(&relative(&project.root, &folder).display().to_string());
        patterns.extend([
            format!("{folder}/**/*.rs"),
            format!("{folder}/Cargo.toml"),
            format!("!{folder}/target/**"),
        ]);
    }
    let inside = target_folder_inside(project, &workspace);
    patterns.push(format!("!{}/**", escaped(&inside)));

    let mut build = Rule::new("build", globs(&patterns), &project.root);
    build.run = Some(words(&argv));
    build.outputs = globs(&[escaped(&output)]);
    Answer {
        target: binary.name.clone(),
        marker: project.path("Cargo.toml"),
        rules: vec![build],
        server: Server::new(words(&[&output]), &project.root),
    }
}

/// The binaries of the package in `folder`, by cargo's rules; none for a virtual manifest.
fn binaries(folder: &Path, manifest: &Table, is_own: bool) -> Vec<Binary> {
    let Some(package) = manifest.get("package").and_then(Value::as_table) else {
        return Vec::new();
    };
    let Some(package_name) = package.get("name").and_then(Value::as_str) else {
        return Vec::new();
    };
    let default_run = package.get("default-run").and_then(Value::as_str);
    let mut names: Vec<String> = Vec::new();
    if package.get("autobins").and_then(Value::as_bool) != Some(false) {
        if folder.join("src/main.rs").is_file() {
            names.push(package_name.to_string());
        }
        let bin = folder.join("src/bin");
        names.extend(
            files(&bin)
                .iter()
                .filter_map(|file| name_of(file).strip_suffix(".rs").map(String::from)),
        );
        names.extend(
            folders(&bin)
                .iter()
                .filter(|folder| folder.join("main.rs").is_file())
                .map(|folder| name_of(folder).to_string()),
        );
    }
    for bin in manifest
        .get("bin")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let Some(name) = bin.get("name").and_then(Value::as_str) else {
            continue;
        };
        // A [[bin]] for src/main.rs or src/bin/x.rs renames it.
        if let Some(path) = bin.get("path").and_then(Value::as_str) {
            let implied = match path {
                "src/main.rs" => Some(package_name),
                path => path.strip_prefix("src/bin/").and_then(|rest| {
                    rest.strip_suffix("/main.rs")
                        .or_else(|| rest.strip_suffix(".rs"))
                }),
            };
            names.retain(|known| Some(known.as_str()) != implied);
        }
        if !names.iter().any(|known| known == name) {
            names.push(name.to_string());
        }
    }
    names
        .into_iter()
        .map(|name| Binary {
            is_default_run: default_run == Some(name.as_str()),
            name,
            package: package_name.to_string(),
            is_own,
        })
        .collect()
}

/// The folders of a workspace's members: those that cargo builds by default, or all.
fn members(root: &Path, manifest: &Table, by_default: bool) -> Vec<PathBuf> {
    let Some(workspace) = manifest.get("workspace").and_then(Value::as_table) else {
        return Vec::new();
    };
    let strings = |key: &str| -> Option<Vec<&str>> {
        Some(
            workspace
                .get(key)?
                .as_array()?
                .iter()
                .filter_map(Value::as_str)
                .collect(),
        )
    };
    let listed = strings("default-members")
        .filter(|_| by_default)
        .or_else(|| strings("members"))
        .unwrap_or_default();
    let excluded: Vec<PathBuf> = strings("exclude")
        .unwrap_or_default()
        .iter()
        .map(|path| resolve(root, Path::new(path)))
        .collect();
    let found: BTreeSet<PathBuf> = listed
        .iter()
        .flat_map(|pattern| expand(root, pattern))
        .collect();
    found
        .into_iter()
        .filter(|folder| {
            folder != root && !excluded.iter().any(|excluded| folder.starts_with(excluded))
        })
        .collect()
}

/// The folders that `crates/*` means.
fn expand(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![root.to_path_buf()];
    for part in pattern.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if !part.contains(['*', '?', '[', '{']) {
            found = found
                .iter()
                .map(|folder| resolve(folder, Path::new(part)))
                .collect();
            continue;
        }
        let Ok(glob) = Glob::new(part) else {
            return Vec::new();
        };
        let matcher = glob.compile_matcher();
        found = found
            .iter()
            .flat_map(|folder| folders(folder))
            .filter(|path| matcher.is_match(name_of(path)))
            .collect();
    }
    found
}

/// The workspace's root that a package in `folder` belongs to; the folder itself where it belongs to none.
fn workspace_of(folder: &Path, manifest: &Table) -> PathBuf {
    if manifest.contains_key("workspace") {
        return folder.to_path_buf();
    }
    let named = manifest
        .get("package")
        .and_then(|package| package.get("workspace"))
        .and_then(Value::as_str);
    if let Some(named) = named {
        return resolve(folder, Path::new(named));
    }
    for above in folder.ancestors().skip(1) {
        let Some(manifest) =
            read_manifest(above).filter(|manifest| manifest.contains_key("workspace"))
        else {
            continue;
        };
        // A path dependency of a member is a member too, so all but the excluded are taken for members.
        let excluded = manifest["workspace"]
            .get("exclude")
            .and_then(Value::as_array);
        let is_excluded = excluded.into_iter().flatten().filter_map(Value::as_str);
        if is_excluded
            .into_iter()
            .any(|path| folder.starts_with(resolve(above, Path::new(path))))
        {
            return folder.to_path_buf();
        }
        return above.to_path_buf();
    }
    folder.to_path_buf()
}

/// Where cargo puts what it builds, with the folder of a foreign target.
fn target_folder(project: &Project, workspace: &Path) -> PathBuf {
    let folder = target_folder_alone(project, workspace);
    let target = project
        .environment
        .target
        .clone()
        .or_else(|| configured(project, "target").map(|(_, value)| value));
    match target {
        // A custom target is a file, and its folder bears the file's name.
        Some(target) => folder.join(
            Path::new(&target)
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .as_ref(),
        ),
        None => folder,
    }
}

fn target_folder_alone(project: &Project, workspace: &Path) -> PathBuf {
    match &project.environment.target_dir {
        Some(folder) => resolve(&project.root, folder),
        None => match configured(project, "target-dir") {
            Some((base, folder)) => resolve(&base, Path::new(&folder)),
            None => workspace.join("target"),
        },
    }
}

/// The target folder as an exclusion: by its place below the root, or `target` where it lies elsewhere.
fn target_folder_inside(project: &Project, workspace: &Path) -> String {
    let folder = target_folder_alone(project, workspace);
    match folder.strip_prefix(&project.root) {
        Ok(inside) if !inside.as_os_str().is_empty() => inside.display().to_string(),
        Ok(_) | Err(_) => "target".to_string(),
    }
}

/// `[build] key` of the nearest `.cargo/config.toml`, with the folder that it is relative to.
fn configured(project: &Project, key: &str) -> Option<(PathBuf, String)> {
    let above = project.root.ancestors().map(|folder| folder.join(".cargo"));
    above
        .chain(project.environment.home.clone())
        .find_map(|folder| {
            let text = std::fs::read_to_string(folder.join("config.toml")).ok()?;
            let config: Table = text.parse().ok()?;
            let value = config.get("build")?.get(key)?.as_str()?.to_string();
            Some((folder.parent()?.to_path_buf(), value))
        })
}

/// Path dependencies that lie outside the root, those of dependencies included.
fn dependencies_outside(root: &Path) -> BTreeSet<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        let Some(manifest) = read_manifest(&folder) else {
            continue;
        };
        let workspace = workspace_of(&folder, &manifest);
        let shared = read_manifest(&workspace);
        for table in ["dependencies", "build-dependencies"] {
            for (name, dependency) in manifest
                .get(table)
                .and_then(Value::as_table)
                .into_iter()
                .flatten()
            {
                let inherited = dependency.get("workspace").and_then(Value::as_bool) == Some(true);
                let path = match inherited {
                    false => dependency.get("path").map(|path| (folder.as_path(), path)),
                    true => shared
                        .as_ref()
                        .and_then(|shared| {
                            shared
                                .get("workspace")?
                                .get("dependencies")?
                                .get(name)?
                                .get("path")
                        })
                        .map(|path| (workspace.as_path(), path)),
                };
                let Some((base, path)) = path.and_then(|(base, path)| Some((base, path.as_str()?)))
                else {
                    continue;
                };
                let path = resolve(base, Path::new(path));
                if path != root && seen.insert(path.clone()) {
                    open.push(path);
                }
            }
        }
    }
    seen.retain(|folder| !folder.starts_with(root));
    seen
}

fn read_manifest(folder: &Path) -> Option<Table> {
    std::fs::read_to_string(folder.join("Cargo.toml"))
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
impl Environment {
    pub(super) fn with_target_dir(folder: impl Into<PathBuf>) -> Environment {
        Environment {
            target_dir: Some(folder.into()),
            ..Environment::default()
        }
    }
}
