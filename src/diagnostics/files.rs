//! Which file a tool means: its paths hang on folders that it does not name.
//!
//! Pure: what exists and what is watched is asked of whoever made it.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use super::{Base, From, join};

/// What is known of the files of a project.
pub struct Files {
    is_file: Box<dyn Fn(&Path) -> bool + Send>,
    /// Watched files by their names. Made when a path is found nowhere else, which most builds never need.
    watched: LazyCell<ByName, Box<dyn FnOnce() -> ByName + Send>>,
}

type ByName = HashMap<OsString, Vec<PathBuf>>;

impl Files {
    /// `is_file` says whether an absolute path is a file; `watched` names the watched files, absolute.
    pub fn new<I>(
        is_file: impl Fn(&Path) -> bool + Send + 'static,
        watched: impl FnOnce() -> I + Send + 'static,
    ) -> Files
    where
        I: IntoIterator<Item = PathBuf>,
    {
        let by_name = || {
            let mut by_name = ByName::new();
            for path in watched() {
                if let Some(name) = path.file_name() {
                    by_name.entry(name.to_owned()).or_default().push(path);
                }
            }
            by_name
        };
        Files {
            is_file: Box::new(is_file),
            watched: LazyCell::new(Box::new(by_name)),
        }
    }

    /// The file that a tool calls `path`: absolute; else where it says that its paths hang, in `folders`, in the
    /// working directory or above it up to the root; else the only watched one that ends so.
    pub(super) fn find(
        &self,
        path: &str,
        from: &From,
        folders: &[PathBuf],
        base: &Base,
    ) -> Option<PathBuf> {
        let whole = self.look(Path::new(path), from, folders, base);
        whole.or_else(|| {
            // Whoever runs tools side by side puts a name in front: `web: src/a.ts`, `[web] src/a.ts`.
            let starts = path
                .match_indices([':', ']'])
                .filter_map(|(at, _)| path.get(at + 1..)?.strip_prefix(' '));
            starts
                .take(MOST_PREFIXES)
                .filter(|rest| !rest.is_empty())
                .find_map(|rest| self.look(Path::new(rest), from, folders, base))
        })
    }

    fn look(&self, path: &Path, from: &From, folders: &[PathBuf], base: &Base) -> Option<PathBuf> {
        let there = |folder: &Path| Some(join(folder, path)).filter(|path| (self.is_file)(path));
        if path.is_absolute() {
            return there(&base.root);
        }
        let said = match from {
            From::Nothing => None,
            From::Above(folder) => join(&base.cwd, folder).ancestors().find_map(there),
            From::Package(package) => self.in_package(package, path, folders, base),
        };
        let above_cwd = || {
            base.cwd
                .ancestors()
                .take_while(|folder| folder.starts_with(&base.root))
                .find_map(there)
        };
        said.or_else(|| folders.iter().rev().find_map(|folder| there(folder)))
            .or_else(|| there(&base.cwd))
            .or_else(above_cwd)
            .or_else(|| there(&base.root))
            .or_else(|| self.ending_in(path))
    }

    /// Of `example.com/demo/store` only the end is a folder; which part, only the files tell.
    fn in_package(
        &self,
        package: &str,
        path: &Path,
        folders: &[PathBuf],
        base: &Base,
    ) -> Option<PathBuf> {
        let bases = folders.iter().rev().chain([&base.cwd, &base.root]);
        let parts: Vec<&str> = package.split('/').take(MOST_PARTS).collect();
        bases.into_iter().find_map(|base| {
            (0..=parts.len()).find_map(|skipped| {
                let folder = parts[skipped..].iter().collect::<PathBuf>();
                Some(join(&base.join(folder), path)).filter(|path| (self.is_file)(path))
            })
        })
    }

    fn ending_in(&self, path: &Path) -> Option<PathBuf> {
        let end: PathBuf = path
            .components()
            .skip_while(|part| matches!(part, Component::CurDir | Component::ParentDir))
            .collect();
        let name = end.file_name()?;
        let mut all = self.watched.get(name)?.iter();
        let mut ending = all.by_ref().filter(|path| path.ends_with(&end));
        let only = ending.next()?;
        ending.next().is_none().then(|| only.clone())
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

/// Nobody stacks more names in front of a path; a sentence full of colons costs no more looks.
const MOST_PREFIXES: usize = 4;
/// No package lies deeper.
const MOST_PARTS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &[&str] = &[
        "/p/my app/src/a.c",
        "/p/my app/a.c",
        "/p/my app/sub/src/lib.rs",
        "/p/my app/sub/member/src/lib.rs",
        "/p/my app/sub/member/only.rs",
        "/p/my app/internal/store/db_test.go",
        "/p/my app/main_test.go",
        "/p/my app/web/deep/page.tsx",
        "/p/my app/web/other/index.ts",
        "/p/my app/web/deep/index.ts",
    ];

    fn files() -> Files {
        let all = || FILES.iter().map(PathBuf::from);
        Files::new(|path| FILES.iter().any(|file| Path::new(file) == path), all)
    }

    #[track_caller]
    fn check(path: &str, from: From, cwd: &str, expected: Option<&str>) {
        let base = Base {
            cwd: cwd.into(),
            root: "/p/my app".into(),
        };
        let found = files().find(path, &from, &[], &base);
        assert_eq!(found, expected.map(PathBuf::from), "{path}");
    }

    #[test]
    fn a_path_hangs_on_the_first_folder_that_has_it() {
        let root = "/p/my app";
        let nothing = || From::Nothing;
        check(
            "/p/my app/src/../a.c",
            nothing(),
            root,
            Some("/p/my app/a.c"),
        );
        check(
            "./a.c",
            nothing(),
            "/p/my app/src",
            Some("/p/my app/src/a.c"),
        );
        check("a.c", nothing(), "/p/my app/web", Some("/p/my app/a.c"));
        check("../a.c", nothing(), "/p/my app/src", Some("/p/my app/a.c"));
        let member = "/p/my app/sub/member";
        check(
            "src/lib.rs",
            nothing(),
            member,
            Some("/p/my app/sub/member/src/lib.rs"),
        );
        // cargo counts from the workspace, wherever it was called.
        check(
            "member/src/lib.rs",
            nothing(),
            member,
            Some("/p/my app/sub/member/src/lib.rs"),
        );
        let above = From::Above("/p/my app/sub/member".into());
        check(
            "member/only.rs",
            above,
            root,
            Some("/p/my app/sub/member/only.rs"),
        );
    }

    #[test]
    fn a_go_package_ends_in_its_folder() {
        let package = |name: &str| From::Package(name.to_owned());
        let root = "/p/my app";
        let store = Some("/p/my app/internal/store/db_test.go");
        check(
            "db_test.go",
            package("example.com/demo/internal/store"),
            root,
            store,
        );
        check(
            "main_test.go",
            package("example.com/demo"),
            root,
            Some("/p/my app/main_test.go"),
        );
    }

    #[test]
    fn what_is_nowhere_may_be_the_only_watched_one_that_ends_so() {
        let root = "/p/my app";
        check(
            "deep/page.tsx",
            From::Nothing,
            root,
            Some("/p/my app/web/deep/page.tsx"),
        );
        check("../x/page.tsx", From::Nothing, root, None);
        check("index.ts", From::Nothing, root, None);
        check(
            "other/index.ts",
            From::Nothing,
            root,
            Some("/p/my app/web/other/index.ts"),
        );
        check("eep/page.tsx", From::Nothing, root, None);
        check("/elsewhere/deep/page.tsx", From::Nothing, root, None);
    }

    #[test]
    fn a_name_in_front_is_no_part_of_the_path() {
        let root = "/p/my app";
        check(
            "web: src/a.c",
            From::Nothing,
            root,
            Some("/p/my app/src/a.c"),
        );
        check(
            "[1] web:build: src/a.c",
            From::Nothing,
            root,
            Some("/p/my app/src/a.c"),
        );
        check("x src/a.c", From::Nothing, root, None);
        check("", From::Nothing, root, None);
        check(": ", From::Nothing, root, None);
    }
}
