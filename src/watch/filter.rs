//! Which files are watched and which directories are entered: the ignore chain, matched as git does.
//!
//! From the strongest to the weakest, the first that says anything decides: `[watch] ignore`, `.ignore` (deepest
//! first), `.gitignore` (deepest first, not beyond the repository), `.git/info/exclude`, git's global excludes,
//! the built-in table. Within one of them the last match wins, and `!` includes again. Dot files are not hidden.
//! What is below a directory that is not entered cannot be included again, except for pinned files.
//!
//! Only the last component of a path is ever matched, because the parent of everything asked about was entered.
//! Reads ignore files, decides, and changes nothing.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder, Glob, gitconfig_excludes_path};

use super::fingerprint::{self, Fingerprint};

/// One line of what nobody wants to build for.
struct Builtin {
    /// A gitignore line for the last component.
    line: &'static str,
    /// Only where this file lies in the same directory.
    beside: Option<&'static str>,
    /// Why.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "each line owes its reason; a test asks for it")
    )]
    why: &'static str,
}

const fn always(line: &'static str, why: &'static str) -> Builtin {
    Builtin {
        line,
        beside: None,
        why,
    }
}

/// What is ignored by default: the weakest level, so any ignore file or `[watch] ignore` can include it again.
/// Transient names without a pattern of their own (`sedAb3xYz`, `.f.x8Kq2p`) need no line: they are gone when the tree is
/// compared. `dist`, `build` and `vendor` are left to ignore files: `vendor` is source in Go.
const BUILTIN: &[Builtin] = &[
    always("*~", "backups of vim and emacs"),
    always(".*.sw?", "vim's swap files"),
    always(".*.sw?x", "vim probing for a free swap file"),
    always("4913", "vim probing whether it may create files here"),
    always("*.un~", "vim's undo files"),
    always(".#*", "emacs' locks: dangling symlinks"),
    always("\\#*#", "emacs' autosaves"),
    always("*___jb_tmp___", "JetBrains' safe write, new content"),
    always("*___jb_old___", "JetBrains' safe write, old content"),
    always(".*.kate-swp", "Kate's swap files"),
    always(".goutputstream-*", "GLib writing a file before renaming it"),
    always(".~lock.*#", "LibreOffice's locks"),
    always(".nfs*", "removed on NFS while still open"),
    always(".fuse_hidden*", "removed on FUSE while still open"),
    always(".DS_Store", "the macOS Finder's view settings"),
    always("*.py[co]", "Python's compiled modules"),
    always("__pycache__/", "Python's compiled modules"),
    always(".mypy_cache/", "mypy's cache"),
    always(".pytest_cache/", "pytest's cache"),
    always(".venv/", "a Python environment: installed, not written"),
    always("venv/", "a Python environment: installed, not written"),
    always("node_modules/", "npm's packages: installed, not written"),
    always(".gradle/", "Gradle's cache"),
    always(".next/", "Next.js' output"),
    always(".nuxt/", "Nuxt's output"),
    Builtin {
        line: "target/",
        beside: Some("Cargo.toml"),
        why: "cargo's output",
    },
];

/// Never entered nor reported, whatever any line says; only a pinned file leads inside.
/// devwatch's own folder, and what version control writes while it works.
const NEVER: &[&str] = &[
    ".devwatch",
    ".git",
    ".hg",
    ".svn",
    ".jj",
    ".pijul",
    "_darcs",
    ".bzr",
];

/// The names whose content decides about others.
const IGNORE_FILES: [&str; 2] = [".ignore", ".gitignore"];

/// Files that are watched even where an ignore rule would hide them, and how to get to them.
#[derive(Debug, Default)]
pub(super) struct Pins {
    /// Reported like any other file.
    always: HashSet<PathBuf>,
    /// Directories on the way to a pinned file.
    passages: HashSet<PathBuf>,
}

impl Pins {
    /// `always` are reported as changes; on the way to `hints` events are needed, no more.
    pub(super) fn new<'a>(
        always: &'a [PathBuf],
        hints: impl IntoIterator<Item = &'a PathBuf>,
    ) -> Pins {
        let passages = always
            .iter()
            .chain(hints)
            .flat_map(|file| file.ancestors().skip(1))
            .map(Path::to_owned)
            .collect();
        Pins {
            always: always.iter().cloned().collect(),
            passages,
        }
    }
}

/// What to do with a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Watch it and everything in it that is not ignored.
    Enter,
    /// Watch it for the pinned files below it alone.
    Pass,
    /// Leave it alone.
    Skip,
}

/// The part of the rules that is the same in every directory.
#[derive(Debug)]
pub(super) struct Filter {
    root: PathBuf,
    lines: Gitignore,
    builtin: Gitignore,
    pins: Pins,
}

/// The rules in force inside one directory; shared by all directories that add none of their own.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// `.ignore` files, deepest first.
    ignore: Option<Arc<Link>>,
    /// `.gitignore` files of this repository, deepest first.
    git: Option<Arc<Link>>,
    /// `.git/info/exclude` of this repository and git's global excludes, in this order.
    weakest: Arc<[Gitignore; 2]>,
    /// Nothing but pinned files is watched from here on.
    sealed: bool,
}

#[derive(Debug)]
struct Link {
    rules: Gitignore,
    up: Option<Arc<Link>>,
}

/// What in a directory decided about its chain; if it differs, the chain must be built anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources {
    files: [Option<Fingerprint>; 2],
    repository: bool,
}

impl Filter {
    /// `lines` are gitignore lines anchored at `root`; one that is no glob is passed over, as git does.
    pub(super) fn new(root: &Path, lines: &[String], pins: Pins) -> Filter {
        Filter {
            root: root.to_owned(),
            // Paths are matched relative to the root, so that `../lib/gen/` can name a folder of an extra root.
            lines: rules(Path::new(""), None, lines.iter().map(String::as_str)),
            builtin: rules(
                Path::new(""),
                None,
                BUILTIN
                    .iter()
                    .filter(|row| row.beside.is_none())
                    .map(|row| row.line),
            ),
            pins,
        }
    }

    /// The chain above the watched root `top`: ignore files from the repository's top down to it, exclusively.
    /// Without a repository nothing above `top` counts.
    pub(super) fn above(&self, top: &Path) -> Chain {
        let empty = Chain {
            ignore: None,
            git: None,
            weakest: Arc::new([Gitignore::empty(), global()]),
            sealed: false,
        };
        if is_repository(top) {
            return empty;
        }
        let Some(repository) = repository_of(top) else {
            return empty;
        };
        let mut between: Vec<&Path> = top
            .ancestors()
            .skip(1)
            .take_while(|dir| dir.starts_with(&repository))
            .collect();
        between.reverse();
        between.into_iter().fold(empty, |chain, dir| {
            self.enter(&chain, dir, Entry::Enter, |_| true).0
        })
    }

    /// Files outside of the roots' trees whose content decides about files inside.
    pub(super) fn outside_sources(tops: &[PathBuf]) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = gitconfig_excludes_path().into_iter().collect();
        for top in tops {
            let Some(repository) = repository_of(top) else {
                continue;
            };
            found.extend(git_dir(&repository).map(|dir| dir.join("info/exclude")));
            for dir in top
                .ancestors()
                .skip(1)
                .take_while(|dir| dir.starts_with(&repository))
            {
                found.extend(IGNORE_FILES.map(|name| dir.join(name)));
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// The chain inside of `dir`, whose parent has `chain`, and what it was made from. `holds` tells whether an
    /// entry of that name may be in it: most directories hold no ignore file, and whoever has listed them knows.
    pub(super) fn enter(
        &self,
        chain: &Chain,
        dir: &Path,
        entry: Entry,
        holds: impl Fn(&str) -> bool,
    ) -> (Chain, Sources) {
        if chain.sealed || entry != Entry::Enter {
            return (
                Chain {
                    sealed: true,
                    ..chain.clone()
                },
                Sources::default(),
            );
        }
        let mut inside = chain.clone();
        let mut sources = Sources {
            files: [None; 2],
            repository: holds(".git") && is_repository(dir),
        };
        if sources.repository {
            // A repository inside another one has its own rules, as git sees it.
            inside.git = None;
            let exclude = git_dir(dir).map(|git| dir_rules(dir, &git.join("info/exclude")).0);
            inside.weakest = Arc::new([
                exclude.unwrap_or_else(Gitignore::empty),
                chain.weakest[1].clone(),
            ]);
        }
        for (at, name) in IGNORE_FILES.iter().enumerate() {
            if !holds(name) {
                continue;
            }
            let (rules, source) = dir_rules(dir, &dir.join(name));
            sources.files[at] = source;
            if rules.is_empty() {
                continue;
            }
            let link = if at == 0 {
                &mut inside.ignore
            } else {
                &mut inside.git
            };
            *link = Some(Arc::new(Link {
                rules,
                up: link.take(),
            }));
        }
        (inside, sources)
    }

    /// What [`Filter::enter`] would be made from now.
    pub(super) fn sources(dir: &Path) -> Sources {
        let files = IGNORE_FILES.map(|name| {
            fs::read(dir.join(name))
                .ok()
                .map(|bytes| fingerprint::of_bytes(&bytes))
        });
        Sources {
            files,
            repository: is_repository(dir),
        }
    }

    /// Whether an event on this name may mean that the chain of its directory changed.
    pub(super) fn is_source(name: &OsStr) -> bool {
        name == ".git" || IGNORE_FILES.iter().any(|file| name == *file)
    }

    /// Whether the file (or symlink) `path` is watched, in a directory whose chain is `chain`.
    pub(super) fn keeps_file(&self, chain: &Chain, path: &Path) -> bool {
        !self.ignores(chain, path, false) || self.pins.always.contains(path)
    }

    /// What to do with the directory `path`, in a directory whose chain is `chain`.
    pub(super) fn entry(&self, chain: &Chain, path: &Path) -> Entry {
        if !self.ignores(chain, path, true) {
            Entry::Enter
        } else if self.pins.passages.contains(path) {
            Entry::Pass
        } else {
            Entry::Skip
        }
    }

    fn ignores(&self, chain: &Chain, path: &Path, is_dir: bool) -> bool {
        self.ignored_by(chain, path, is_dir).is_some()
    }

    /// What ignores the file or directory `path`, in a directory whose chain is `chain`.
    pub(super) fn ignored_by<'a>(
        &'a self,
        chain: &'a Chain,
        path: &Path,
        is_dir: bool,
    ) -> Option<Ignored<'a>> {
        let name = path.file_name()?;
        if chain.sealed {
            return Some(Ignored::Sealed);
        }
        if NEVER.iter().any(|never| name == *never) {
            return Some(Ignored::Never);
        }
        let said = if self.lines.is_empty() {
            Match::None
        } else {
            self.lines
                .matched(super::relative(&self.root, path), is_dir)
        };
        let said = said
            .or(said_by(&chain.ignore, path, is_dir))
            .or(said_by(&chain.git, path, is_dir))
            .or(chain.weakest[0].matched(path, is_dir))
            .or(chain.weakest[1].matched(path, is_dir));
        match said {
            Match::Ignore(line) => Some(Ignored::Line(line)),
            Match::Whitelist(_) => None,
            Match::None => match self.builtin.matched(Path::new(name), is_dir) {
                Match::Ignore(line) => Some(Ignored::Builtin(line)),
                Match::None | Match::Whitelist(_) => {
                    beside(path, name, is_dir).map(Ignored::Beside)
                }
            },
        }
    }
}

/// Why a path is not watched.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ignored<'a> {
    /// It lies where only pinned files are watched.
    Sealed,
    /// By its name, whatever any line says.
    Never,
    /// By this line of an ignore file or of `[watch] ignore`.
    Line(&'a Glob),
    /// By this line of the built-in table.
    Builtin(&'a Glob),
    /// By this line of the built-in table, because of its neighbour.
    Beside(&'static str),
}

impl fmt::Display for Ignored<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ignored::Sealed => f.write_str("only pinned files are watched here"),
            Ignored::Never => f.write_str("this name is never watched"),
            Ignored::Line(line) => match line.from() {
                Some(file) => write!(f, "`{}` in {}", line.original(), file.display()),
                None => write!(f, "`{}` in [watch] ignore", line.original()),
            },
            Ignored::Builtin(line) => write!(f, "`{}` by default", line.original()),
            Ignored::Beside(line) => write!(f, "`{line}` beside what makes it, by default"),
        }
    }
}

/// The lines of the built-in table that depend on a neighbour.
fn beside(path: &Path, name: &OsStr, is_dir: bool) -> Option<&'static str> {
    let mut rows = BUILTIN.iter().filter(|_| is_dir);
    let row = rows.find(|row| {
        let is_it = |neighbour: &str| {
            name == row.line.trim_end_matches('/') && path.with_file_name(neighbour).is_file()
        };
        row.beside.is_some_and(is_it)
    })?;
    Some(row.line)
}

fn said_by<'a>(link: &'a Option<Arc<Link>>, path: &Path, is_dir: bool) -> Match<&'a Glob> {
    let mut next = link.as_ref();
    while let Some(link) = next {
        let said = link.rules.matched(path, is_dir);
        if !said.is_none() {
            return said;
        }
        next = link.up.as_ref();
    }
    Match::None
}

/// The rules that `file` holds for `dir`. A file that is absent or unreadable holds none.
fn dir_rules(dir: &Path, file: &Path) -> (Gitignore, Option<Fingerprint>) {
    let Ok(bytes) = fs::read(file) else {
        return (Gitignore::empty(), None);
    };
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    // Line by line: one line that is not UTF-8 must not take the others with it.
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok());
    (
        rules(dir, Some(file.to_owned()), lines),
        Some(fingerprint::of_bytes(&bytes)),
    )
}

fn global() -> Gitignore {
    gitconfig_excludes_path()
        .map_or_else(Gitignore::empty, |file| dir_rules(Path::new(""), &file).0)
}

fn rules<'a>(dir: &Path, from: Option<PathBuf>, lines: impl Iterator<Item = &'a str>) -> Gitignore {
    let mut builder = GitignoreBuilder::new(dir);
    for line in lines {
        // A line that is no glob ignores nothing, as in git; the others still count.
        let _ = builder.add_line(from.clone(), line);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

/// The nearest directory upwards, `dir` included, that is a repository's top.
fn repository_of(dir: &Path) -> Option<PathBuf> {
    dir.ancestors()
        .find(|dir| is_repository(dir))
        .map(Path::to_owned)
}

fn is_repository(dir: &Path) -> bool {
    dir.join(".git").symlink_metadata().is_ok()
}

/// Where git keeps what belongs to the tree that contains `dir`: `.git`, of a linked worktree its own folder.
pub(super) fn own_git_dir_of(dir: &Path) -> Option<PathBuf> {
    own_git_dir(&repository_of(dir)?)
}

/// The folder with the configuration shared by all worktrees.
fn git_dir(top: &Path) -> Option<PathBuf> {
    let own = own_git_dir(top)?;
    match fs::read_to_string(own.join("commondir")) {
        Ok(common) => Some(own.join(common.trim_end_matches('\n'))),
        Err(_) => Some(own),
    }
}

/// `.git` itself, or where a `.git` file (worktree, submodule) points to.
fn own_git_dir(top: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let git = top.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = fs::read(&git).ok()?;
    let target = text.strip_prefix(b"gitdir: ")?;
    let target = target.strip_suffix(b"\n").unwrap_or(target);
    Some(top.join(OsStr::from_bytes(target)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// All files the filter keeps below `top`.
    fn kept(filter: &Filter, top: &Path) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let (chain, _) = filter.enter(&filter.above(top), top, Entry::Enter, |_| true);
        let mut stack = vec![(top.to_owned(), chain)];
        while let Some((dir, chain)) = stack.pop() {
            for entry in fs::read_dir(&dir).expect("list") {
                let entry = entry.expect("entry");
                let path = entry.path();
                if entry.file_type().expect("type").is_dir() {
                    let verdict = filter.entry(&chain, &path);
                    if verdict != Entry::Skip {
                        let inside = filter.enter(&chain, &path, verdict, |_| true).0;
                        stack.push((path, inside));
                    }
                } else if filter.keeps_file(&chain, &path) {
                    found.insert(path.strip_prefix(top).expect("below").to_owned());
                }
            }
        }
        found
    }

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("temp dir");
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
            fs::write(path, text).expect("write");
        }
        dir
    }

    fn check(files: &[(&str, &str)], lines: &[&str], expected: &[&str]) {
        let dir = tree(files);
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let filter = Filter::new(dir.path(), &lines, Pins::default());
        let expected: BTreeSet<PathBuf> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(kept(&filter, dir.path()), expected);
    }

    #[test]
    fn every_builtin_line_has_a_reason_and_ignores_something() {
        for row in BUILTIN {
            assert!(row.why.len() > 5, "{}", row.line);
            assert!(
                !rules(Path::new(""), None, [row.line].into_iter()).is_empty(),
                "{} is no glob",
                row.line
            );
        }
        let names = [
            "f~",
            ".f.swp",
            ".f.swx",
            ".f.swpx",
            "4913",
            ".f.un~",
            ".#f",
            "#f#",
            "f___jb_tmp___",
            "f___jb_old___",
            ".f.kate-swp",
            ".goutputstream-X",
            ".~lock.f#",
            ".nfs0001",
            ".fuse_hidden01",
            ".DS_Store",
            "f.pyc",
            "f.pyo",
            "__pycache__/f",
            ".venv/f",
            "node_modules/f",
            ".git/HEAD",
            ".devwatch/state",
            ".hg/x",
            ".jj/x",
        ];
        let files: Vec<(&str, &str)> = names
            .iter()
            .map(|name| (*name, ""))
            .chain([("f", ""), (".env", "")])
            .collect();
        check(&files, &[], &["f", ".env"]);
    }

    #[test]
    fn target_is_ignored_beside_a_cargo_toml_only() {
        check(
            &[
                ("Cargo.toml", ""),
                ("target/x", ""),
                ("lib/target/y", ""),
                ("lib/z", ""),
            ],
            &[],
            &["Cargo.toml", "lib/target/y", "lib/z"],
        );
    }

    #[test]
    fn deeper_ignore_files_win_and_watch_ignore_wins_over_all() {
        check(
            &[
                (".gitignore", "*.log\n/gen/\n!keep.log\nbad[\nx\r\n"),
                ("a.log", ""),
                ("x", ""),
                ("keep.log", ""),
                ("gen/a", ""),
                ("sub/gen/a", ""),
                ("sub/.gitignore", "!a.log\nkeep.log"),
                ("sub/a.log", ""),
                ("sub/keep.log", ""),
                ("sub/b.tmp", ""),
                ("b.tmp", ""),
                (".ignore", "a.log\n"),
            ],
            &["*.tmp", "!sub/b.tmp"],
            &[
                ".gitignore",
                ".ignore",
                "keep.log",
                "sub/gen/a",
                "sub/.gitignore",
                "sub/b.tmp",
            ],
        );
    }

    #[test]
    fn builtin_lines_can_be_included_again_and_git_cannot() {
        check(
            &[
                (".gitignore", "!node_modules/\n!.git/\n"),
                ("node_modules/a", ""),
                (".git/HEAD", ""),
            ],
            &["!.git"],
            &[".gitignore", "node_modules/a"],
        );
    }

    #[test]
    fn ignore_files_above_the_root_count_within_the_repository_only() {
        let dir = tree(&[
            (".gitignore", "a"),
            ("repo/.git/info/exclude", "b"),
            ("repo/.gitignore", "/app/c\n"),
            ("repo/app/a", ""),
            ("repo/app/b", ""),
            ("repo/app/c", ""),
            ("repo/app/inner/.git", "gitdir: elsewhere"),
            ("repo/app/inner/b", ""),
        ]);
        let root = dir.path().join("repo/app");
        let filter = Filter::new(&root, &[], Pins::default());
        assert_eq!(
            kept(&filter, &root),
            BTreeSet::from(["a".into(), "inner/b".into()])
        );
        let outside = Filter::outside_sources(std::slice::from_ref(&root));
        assert!(outside.contains(&dir.path().join("repo/.gitignore")));
        assert!(outside.contains(&dir.path().join("repo/.git/info/exclude")));
        assert!(!outside.contains(&dir.path().join(".gitignore")));
    }

    #[test]
    fn pinned_files_are_kept_inside_ignored_folders_and_nothing_else_there() {
        let dir = tree(&[
            (".gitignore", "dist\n"),
            ("dist/a/pin", ""),
            ("dist/a/other", ""),
            ("dist/b/c", ""),
        ]);
        let pins = Pins::new(&[dir.path().join("dist/a/pin")], &[]);
        let filter = Filter::new(dir.path(), &[], pins);
        assert_eq!(
            kept(&filter, dir.path()),
            BTreeSet::from([".gitignore".into(), "dist/a/pin".into()])
        );
    }

    #[test]
    fn watch_ignore_reaches_into_extra_roots() {
        let dir = tree(&[("app/x", ""), ("lib/gen/a", ""), ("lib/b", "")]);
        let filter = Filter::new(
            &dir.path().join("app"),
            &["../lib/gen/".to_owned()],
            Pins::default(),
        );
        assert_eq!(
            kept(&filter, &dir.path().join("lib")),
            BTreeSet::from(["b".into()])
        );
    }

    #[test]
    fn a_linked_worktree_has_its_own_lock_and_the_shared_exclude() {
        let dir = tree(&[
            ("main/.git/worktrees/w/commondir", "../..\n"),
            ("main/.git/info/exclude", "secret"),
            ("w/secret", ""),
            ("w/x", ""),
        ]);
        let own = dir.path().join("main/.git/worktrees/w");
        fs::write(
            dir.path().join("w/.git"),
            format!("gitdir: {}\n", own.display()),
        )
        .expect("write");
        let root = dir.path().join("w");
        assert_eq!(own_git_dir_of(&root), Some(own));
        assert_eq!(
            kept(&Filter::new(&root, &[], Pins::default()), &root),
            BTreeSet::from(["x".into()])
        );
    }

    /// The matcher of ripgrep, which walks by itself, must choose the same files. Random ignore files, random trees.
    #[test]
    fn chooses_what_ripgrep_would_choose() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut pick = |n: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 33) as usize % n
        };
        const NAMES: [&str; 6] = ["a", "b", "c.x", "d.y", ".h", "gen"];
        const LINES: [&str; 14] = [
            "a", "/a", "a/", "!a", "*.x", "!*.x", "gen/", "/gen", "b/c.x", "**/b/d.y", "gen/**",
            "!.h", ".h", "a/*/gen",
        ];
        for round in 0..60 {
            let dir = tempfile::tempdir().expect("temp dir");
            if round % 2 == 0 {
                fs::create_dir(dir.path().join(".git")).expect("mkdir");
            }
            for _ in 0..40 {
                let depth = 1 + pick(4);
                let mut path = dir.path().to_owned();
                for _ in 0..depth {
                    path.push(NAMES[pick(NAMES.len())]);
                }
                let parent = path.parent().expect("parent").to_owned();
                if fs::create_dir_all(&parent).is_err() {
                    continue;
                }
                let _ = fs::write(&path, "");
                if pick(4) == 0 {
                    let text: Vec<&str> =
                        (0..1 + pick(3)).map(|_| LINES[pick(LINES.len())]).collect();
                    let _ = fs::write(parent.join(IGNORE_FILES[pick(2)]), text.join("\n"));
                }
            }
            let walk = ignore::WalkBuilder::new(dir.path())
                .hidden(false)
                .require_git(false)
                .build();
            let expected: BTreeSet<PathBuf> = walk
                .map(|entry| entry.expect("entry"))
                .filter(|entry| !entry.file_type().is_some_and(|kind| kind.is_dir()))
                .map(|entry| {
                    entry
                        .path()
                        .strip_prefix(dir.path())
                        .expect("below")
                        .to_owned()
                })
                .collect();
            assert_eq!(
                kept(&Filter::new(dir.path(), &[], Pins::default()), dir.path()),
                expected,
                "round {round}"
            );
        }
    }
}
