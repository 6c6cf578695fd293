//! Finds, trusts and reads `devwatch.toml`.
//!
//! The edge of the config: `parse` judges the text, this module touches the disk. It never writes and never runs
//! anything. What it finds goes to the command line at the start, and to the event loop on every later change.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

use super::diagnostic::{Diagnostic, Diagnostics};
use super::globs::literal_prefix;
use super::parse::{GlobAt, parse};
use super::value::nearest;
use super::{Config, Origin};

/// The name of the config file.
pub const NAME: &str = "devwatch.toml";

/// What marks the top of a repository.
const REPOSITORY_MARKS: &[&str] = &[".git", ".hg", ".svn", ".jj"];

/// Folders that hold no sources of this project, beside what the ignore files say.
const NEVER_SURVEYED: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    ".jj",
    ".devwatch",
    "node_modules",
    "target",
    ".venv",
    "venv",
    "__pycache__",
];

/// Nobody writes a config of this size; a device or a dump has it easily.
const LARGEST: u64 = 1 << 20;

/// A config file that could be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What it probably does not mean, from the text alone. See also [`survey`](Loaded::survey).
    pub warnings: Diagnostics,
    text: String,
    globs: Vec<GlobAt>,
}

/// Why a config file cannot be used.
#[derive(Debug)]
pub enum LoadError {
    /// It cannot be read.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Somebody else could have written it.
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Who, and what to do.
        why: String,
    },
    /// It says something that devwatch does not understand.
    Invalid(Diagnostics),
}

/// Why no config file could be chosen.
#[derive(Debug)]
pub enum FindError {
    /// `devwatch.toml` and `.config/devwatch.toml` in one folder.
    Two {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder cannot be looked into.
    Io {
        /// The file that was looked for.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// The nearest `devwatch.toml` or `.config/devwatch.toml` from `start`, an absolute folder, upwards; not beyond the
/// repository root nor the home folder.
///
/// # Errors
/// Both in one folder; a folder that may not be looked into.
pub fn find(start: &Path) -> Result<Option<PathBuf>, FindError> {
    find_below(start, std::env::home_dir().as_deref())
}

/// The root that belongs to a config file that was found: its folder, or the parent of `.config/`. Not for
/// `-c FILE`, where the working directory is the root.
pub fn root_of(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new("/"));
    match folder.parent() {
        Some(parent) if folder.ends_with(".config") => parent.to_path_buf(),
        _ => folder.to_path_buf(),
    }
}

/// Reads the config file at `path`; relative paths in it hang on `root`, whose symlinks are resolved.
///
/// # Errors
/// It cannot be read, is not trusted (world-writable, or another user's; root accepts any owner), or is not
/// understood: then all that is wrong with it.
pub fn load(path: &Path, root: &Path) -> Result<Loaded, LoadError> {
    let root = fs::canonicalize(root).map_err(io(root))?;
    load_again(path, root)
}

fn io(path: &Path) -> impl FnOnce(io::Error) -> LoadError {
    let path = path.to_path_buf();
    move |error| LoadError::Io { path, error }
}

/// As [`load`], for a `root` that was resolved before: what lies there now may be a symlink for a while, and the project
/// stays where it is.
///
/// # Errors
/// As [`load`].
pub fn load_again(path: &Path, root: PathBuf) -> Result<Loaded, LoadError> {
    let Text { path, shown, text } = text(path)?;
    let parsed = parse(&text, Origin::File(path), &root);
    match parsed.config {
        Some(config) => Ok(Loaded {
            config,
            warnings: Diagnostics {
                file: shown,
                items: parsed.warnings,
            },
            text,
            globs: parsed.globs,
        }),
        None => Err(LoadError::Invalid(Diagnostics {
            file: shown,
            items: parsed.errors,
        })),
    }
}

/// What stands in a config file that may be trusted.
pub(super) struct Text {
    /// Absolute.
    path: PathBuf,
    /// The same as a person would write it.
    pub(super) shown: PathBuf,
    pub(super) text: String,
}

/// Reads a config file, the project's or the user's own, if nobody else can have written it.
///
/// # Errors
/// As [`load`]; of what it says, only whether it is UTF-8.
pub(super) fn text(path: &Path) -> Result<Text, LoadError> {
    let path = std::path::absolute(path).map_err(io(path))?;
    // Without O_NONBLOCK a pipe put in its place would hold up the loop for ever.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .map_err(io(&path))?;
    // Asked of the opened file, so that what is judged is what is read.
    let metadata = file.metadata().map_err(io(&path))?;
    if !metadata.is_file() {
        return Err(io(&path)(io::Error::new(
            io::ErrorKind::InvalidInput,
            "is not a regular file",
        )));
    }
    let user = nix::unistd::geteuid().as_raw();
    if let Some(why) = distrust(metadata.uid(), metadata.mode(), user) {
        return Err(LoadError::Untrusted { path, why });
    }
    let bytes = read(file).map_err(io(&path))?;
    let shown = shown(&path);
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Text { path, shown, text }),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            // The part before is what it was, so the place is right although the rest is replaced.
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let item = Diagnostic::error(&text, at..at, "the file is not UTF-8");
            Err(LoadError::Invalid(Diagnostics {
                file: shown,
                items: vec![item],
            }))
        }
    }
}

impl Loaded {
    /// Looks through the tree for globs that match nothing, or less than they seem to: for `devwatch check`, because
    /// it takes as long as a walk over the tree. Ignored folders are not looked into.
    pub fn survey(&self) -> Diagnostics {
        let seen = self.files_on_disk();
        let mut items = Vec::new();
        for at in self.globs.iter().filter(|at| !at.pattern.starts_with('!')) {
            items.extend(
                self.survey_folders(at)
                    .or_else(|| self.survey_glob(at, &seen)),
            );
        }
        Diagnostics {
            file: self.warnings.file.clone(),
            items,
        }
    }

    /// Warnings that need no more than a look at the folders.
    fn survey_folders(&self, at: &GlobAt) -> Option<Diagnostic> {
        let (path, whole) = literal_prefix(&at.pattern);
        if !whole {
            return None;
        }
        let absolute = self.config.absolute(&path);
        let warning = |message: String| Diagnostic::warning(&self.text, at.span.clone(), message);
        if absolute.is_dir() {
            let pattern = &at.pattern;
            return Some(
                warning(format!("{pattern:?} is a folder"))
                    .label(format!("write \"{pattern}/**\"")),
            );
        }
        if absolute.exists() {
            return None;
        }
        // A name that is not there yet is allowed (go.sum, .env); one that is nearly there is a typo.
        let folder = absolute.parent()?;
        let Ok(entries) = fs::read_dir(folder) else {
            return Some(warning(format!(
                "{:?} matches no file: its folder does not exist",
                at.pattern
            )));
        };
        let names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        let near = nearest(
            absolute.file_name()?.to_str()?,
            names.iter().map(String::as_str),
        )?;
        let near = path.with_file_name(near);
        Some(
            warning(format!("{:?} does not exist", at.pattern))
                .label(format!("did you mean {near:?}?")),
        )
    }

    fn survey_glob(&self, at: &GlobAt, seen: &[PathBuf]) -> Option<Diagnostic> {
        let (prefix, whole) = literal_prefix(&at.pattern);
        let globs = super::Globs::new(&[&at.pattern]).ok()?;
        let warning = |message: String| Diagnostic::warning(&self.text, at.span.clone(), message);
        // `*.go` in the root says nothing about cmd/main.go, which is nearly always a surprise.
        let deep = format!("**/{}", at.pattern);
        if at.pattern.starts_with("*.") && !at.pattern.contains('/') {
            let deeper = super::Globs::new(&[&deep]).ok()?;
            let rule = &self.config.rules[at.rule].files;
            let excluded = |path: &Path| {
                let plain = rule
                    .patterns
                    .iter()
                    .filter(|pattern| pattern.starts_with('!'));
                let excluding: Vec<&str> = plain.map(|pattern| &pattern[1..]).collect();
                super::Globs::new(&excluding).is_ok_and(|globs| globs.matches(path))
            };
            let missed = seen.iter().find(|path| {
                deeper.matches(path)
                    && !path.starts_with("..")
                    && !rule.matches(path)
                    && !excluded(path)
            });
            if let Some(missed) = missed {
                return Some(
                    warning(format!(
                        "{:?} matches in the root alone, not {:?}",
                        at.pattern,
                        missed.as_path()
                    ))
                    .label(format!("did you mean {deep:?}?")),
                );
            }
        }
        // What a rule will write may not be there yet.
        let outputs = self
            .config
            .rules
            .iter()
            .flat_map(|rule| &rule.outputs.patterns);
        let may_be_output = outputs.into_iter().any(|output| {
            let (folder, _) = literal_prefix(output);
            let below = |inner: &Path, outer: &Path| {
                !outer.as_os_str().is_empty() && inner.starts_with(outer)
            };
            *output == at.pattern || below(&folder, &prefix) || below(&prefix, &folder)
        });
        if whole || may_be_output || seen.iter().any(|path| globs.matches(path)) {
            return None;
        }
        Some(
            warning(format!("{:?} matches no file", at.pattern))
                .label("ignored folders do not count"),
        )
    }

    /// All files that may be watched, relative to the root.
    fn files_on_disk(&self) -> Vec<PathBuf> {
        let roots = std::iter::once(self.config.root.clone()).chain(self.config.watch_roots());
        let mut seen = BTreeSet::new();
        for root in roots {
            seen.extend(sources(&root).map(|path| self.config.relative(&path)));
        }
        seen.into_iter().collect()
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Io { path, error } => write!(f, "cannot read {}: {error}", path.display()),
            LoadError::Untrusted { path, why } => {
                write!(f, "not trusting {}: {why}", path.display())
            }
            LoadError::Invalid(diagnostics) => diagnostics.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FindError::Two { folder } => write!(
                f,
                "{0}/{NAME} and {0}/.config/{NAME} both exist; remove one, or name one with -c FILE",
                folder.display()
            ),
            FindError::Io { path, error } => {
                write!(f, "cannot look for {}: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for FindError {}

/// The files below `root` that are likely to be sources, as `root` is written: nothing that an ignore file hides, and
/// nothing of the folders that tools fill. An estimate for messages, detection and problems without a folder; `watch` decides what is watched.
pub fn sources(root: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let walk = WalkBuilder::new(root)
        .hidden(false)
        .filter_entry(|entry| !NEVER_SURVEYED.iter().any(|name| entry.file_name() == *name))
        .build();
    // What cannot be read cannot be watched either; the watcher says so.
    walk.flatten()
        .filter(|entry| entry.file_type().is_some_and(|kind| !kind.is_dir()))
        .map(|entry| entry.into_path())
}

fn find_below(start: &Path, home: Option<&Path>) -> Result<Option<PathBuf>, FindError> {
    for folder in start.ancestors() {
        let plain = folder.join(NAME);
        let tucked_away = folder.join(".config").join(NAME);
        match (exists(&plain)?, exists(&tucked_away)?) {
            (true, true) => {
                return Err(FindError::Two {
                    folder: folder.to_path_buf(),
                });
            }
            (true, false) => return Ok(Some(plain)),
            (false, true) => return Ok(Some(tucked_away)),
            (false, false) => {}
        }
        // `.git` may be a file: in worktrees and submodules.
        let is_top = REPOSITORY_MARKS
            .iter()
            .any(|mark| folder.join(mark).exists());
        if is_top || home.is_some_and(|home| home == folder) {
            return Ok(None);
        }
    }
    Ok(None)
}

fn exists(path: &Path) -> Result<bool, FindError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(false)
        }
        // Not to be taken for absent: devwatch would run something else than the project asks for.
        Err(error) => Err(FindError::Io {
            path: path.to_path_buf(),
            error,
        }),
    }
}

/// Why a config of this owner and mode is not trusted by `user`: whoever can write it runs commands as `user`.
fn distrust(owner: u32, mode: u32, user: u32) -> Option<String> {
    if mode & 0o002 != 0 {
        return Some(
            "everybody may write it, and what it says is run; take that right away with chmod o-w"
                .into(),
        );
    }
    if user != 0 && owner != user {
        return Some(format!(
            "it belongs to user {owner}, and what it says would run as user {user}; chown or copy it"
        ));
    }
    None
}

fn read(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "larger than 1 MiB",
        ));
    }
    Ok(bytes)
}

/// `path` as a person in the working directory would write it.
fn shown(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    let short = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf));
    short
        .filter(|short| !short.as_os_str().is_empty())
        .unwrap_or_else(|| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    fn tree(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().expect("a temp folder");
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("below the temp folder")).expect("folders");
            fs::write(path, text).expect("a file");
        }
        folder
    }

    /// `text` with the temp folder called ROOT, however it is shown from where the tests run.
    fn anonymous(text: &str, root: &Path) -> String {
        let text = text.replace(&root.display().to_string(), "ROOT");
        text.replace(&shown(root).display().to_string(), "ROOT")
    }

    const GOOD: &str = "[server]\nrun = \"./x\"\n[[rule]]\nfiles = [\"**/*\"]\n";

    #[test]
    fn the_nearest_config_upwards_is_found_up_to_the_top_of_the_repository() {
        let tree = tree(&[
            ("devwatch.toml", ""),
            ("repo/.git/HEAD", ""),
            ("repo/a/b/c/x", ""),
            ("repo/a/.config/devwatch.toml", ""),
            ("home/work/x", ""),
            ("worktree/.git", "gitdir: elsewhere"),
            ("top/.jj/x", ""),
            ("top/devwatch.toml", ""),
        ]);
        let root = tree.path();
        let home = root.join("home");
        for (start, expected) in [
            ("repo/a/b/c", Some("repo/a/.config/devwatch.toml")),
            ("repo/a", Some("repo/a/.config/devwatch.toml")),
            ("repo", None),
            ("worktree", None),
            ("home/work", None),
            ("top", Some("top/devwatch.toml")),
            ("", Some("devwatch.toml")),
        ] {
            let found = find_below(&root.join(start), Some(&home)).expect("no error");
            assert_eq!(
                found,
                expected.map(|path| root.join(path)),
                "from {start:?}"
            );
        }
    }

    #[test]
    fn two_configs_in_one_folder_are_an_error() {
        let tree = tree(&[
            ("devwatch.toml", ""),
            (".config/devwatch.toml", ""),
            ("sub/x", ""),
        ]);
        let error = find_below(&tree.path().join("sub"), None).expect_err("two");
        let text = anonymous(&error.to_string(), tree.path());
        expect!["ROOT/devwatch.toml and ROOT/.config/devwatch.toml both exist; remove one, or name one with -c FILE"].assert_eq(&text);
    }

    #[test]
    fn the_root_is_the_folder_of_the_file_or_the_parent_of_dot_config() {
        assert_eq!(root_of(Path::new("/a/b/devwatch.toml")), Path::new("/a/b"));
        assert_eq!(
            root_of(Path::new("/a/b/.config/devwatch.toml")),
            Path::new("/a/b")
        );
        assert_eq!(root_of(Path::new("/devwatch.toml")), Path::new("/"));
    }

    #[test]
    fn a_good_file_is_loaded_with_symlinks_of_the_root_resolved() {
        let tree = tree(&[("real/devwatch.toml", GOOD)]);
        let link = tree.path().join("link");
        std::os::unix::fs::symlink(tree.path().join("real"), &link).expect("a link");
        let loaded = load(&link.join(NAME), &link).expect("good");
        assert_eq!(
            loaded.config.root,
            fs::canonicalize(tree.path().join("real")).expect("real")
        );
        assert_eq!(loaded.config.origin, Origin::File(link.join(NAME)));
        assert!(loaded.warnings.is_empty());
    }

    #[test]
    fn a_world_writable_config_is_refused_and_a_group_writable_one_is_not() {
        let tree = tree(&[(NAME, GOOD)]);
        let path = tree.path().join(NAME);
        let set_mode =
            |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        set_mode(0o664);
        load(&path, tree.path()).expect("group-writable");
        set_mode(0o666);
        let error = load(&path, tree.path()).expect_err("world-writable");
        assert!(matches!(error, LoadError::Untrusted { .. }), "{error}");
        assert!(error.to_string().contains("chmod o-w"), "{error}");
    }

    #[test]
    fn the_owner_decides_unless_root_asks() {
        assert_eq!(distrust(1000, 0o644, 1000), None);
        assert_eq!(distrust(1000, 0o664, 0), None);
        assert!(distrust(1001, 0o644, 1000).is_some());
        assert!(distrust(0, 0o644, 1000).is_some());
        assert!(distrust(0, 0o646, 0).is_some());
    }

    #[test]
    fn what_is_no_config_is_refused_without_hanging() {
        let tree = tree(&[
            ("bytes.toml", ""),
            ("big.toml", &"#".repeat(LARGEST as usize + 1)),
        ]);
        let root = tree.path();
        fs::write(root.join("bytes.toml"), b"a = 1\n# \xff\n").expect("bytes");
        nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let error = |name: &str| {
            let text = load(&root.join(name), root).expect_err(name).to_string();
            anonymous(&text, root).replace('\u{fffd}', "<?>")
        };
        expect![[r#"
            error: the file is not UTF-8
             --> ROOT/bytes.toml:2:3
              |
            2 | # <?>
              |   ^
        "#]]
        .assert_eq(&error("bytes.toml"));
        expect!["cannot read ROOT/pipe: is not a regular file"].assert_eq(&error("pipe"));
        expect!["cannot read ROOT/big.toml: larger than 1 MiB"].assert_eq(&error("big.toml"));
        expect!["cannot read ROOT/none.toml: No such file or directory (os error 2)"]
            .assert_eq(&error("none.toml"));
    }

    #[test]
    fn errors_name_the_file_and_its_lines() {
        let tree = tree(&[(NAME, "[server]\nrun = 1\n")]);
        let LoadError::Invalid(found) =
            load(&tree.path().join(NAME), tree.path()).expect_err("bad")
        else {
            panic!("not invalid")
        };
        let line = found.lines().next().expect("one finding");
        assert!(
            line.contains(
                "/devwatch.toml:2:7: error: `run` in [server] is an integer, not a command"
            ),
            "{line}"
        );
    }

    #[test]
    fn a_survey_finds_globs_that_match_less_than_they_seem_to() {
        let text = r#"
[[rule]]
name = "proto"
files = ["proto/**/*.proto", "*.proto"]
run = "buf"
outputs = ["gen/**"]
[[rule]]
files = ["*.go", "**/*.rs", "gen/**/*.go", "srv", "go.mdo", "go.sum", "lost/x.toml", "../lib/**", "ignored/**", "!*.x"]
[[rule]]
files = ["*.go", "!cmd/**"]
[server]
run = "./x"
"#;
        let tree = tree(&[
            ("app/devwatch.toml", text),
            ("app/main.go", ""),
            ("app/cmd/main.go", ""),
            ("app/srv/x", ""),
            ("app/go.mod", ""),
            ("app/proto/a.proto", ""),
            ("app/.git/HEAD", ""),
            ("app/.gitignore", "ignored\n"),
            ("app/ignored/x", ""),
            ("lib/x.go", ""),
        ]);
        let root = tree.path().join("app");
        let survey = load(&root.join(NAME), &root).expect("good").survey();
        let text = survey.lines().collect::<Vec<_>>().join("\n");
        expect![[r#"
            ROOT/devwatch.toml:4:30: warning: "*.proto" matches no file; ignored folders do not count
            ROOT/devwatch.toml:8:10: warning: "*.go" matches in the root alone, not "cmd/main.go"; did you mean "**/*.go"?
            ROOT/devwatch.toml:8:18: warning: "**/*.rs" matches no file; ignored folders do not count
            ROOT/devwatch.toml:8:44: warning: "srv" is a folder; write "srv/**"
            ROOT/devwatch.toml:8:51: warning: "go.mdo" does not exist; did you mean "go.mod"?
            ROOT/devwatch.toml:8:71: warning: "lost/x.toml" matches no file: its folder does not exist
            ROOT/devwatch.toml:8:99: warning: "ignored/**" matches no file; ignored folders do not count"#]].assert_eq(&anonymous(&text, &root));
    }
}
