//! Keeps what parsers find: each problem once, counted however many there are, kept up to a limit.

use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use super::{Base, Files, Found, From, MOST_PROBLEMS, Problem, Problems, Severity, Sink, join};

pub(super) struct Collector {
    base: Base,
    files: Files,
    /// Folders that the command goes to, and below them those that make says it is in.
    folders: Vec<PathBuf>,
    /// How many of them the command names.
    named: usize,
    /// Which problems have been seen, by hash.
    seen: HashSet<u64>,
    /// Where a path was found; the same file is named again and again.
    looked_up: HashMap<(String, From), Option<PathBuf>>,
    problems: Problems,
    /// How many of each severity are kept.
    kept: [usize; 3],
}

impl Collector {
    pub(super) fn new(base: Base, folders: Vec<PathBuf>, files: Files) -> Collector {
        Collector {
            base,
            files,
            named: folders.len(),
            folders,
            seen: HashSet::new(),
            looked_up: HashMap::new(),
            problems: Problems::default(),
            kept: [0; 3],
        }
    }

    /// make, or whoever says so, is now in `folder`.
    pub(super) fn enter(&mut self, folder: &str) {
        if self.folders.len() - self.named < MOST_FOLDERS {
            self.folders.push(join(&self.base.cwd, Path::new(folder)));
        }
        self.looked_up.clear();
    }

    /// It has left the folder.
    pub(super) fn leave(&mut self) {
        if self.folders.len() > self.named {
            self.folders.pop();
        }
        self.looked_up.clear();
    }

    /// What was found.
    pub(super) fn finish(&mut self) -> Problems {
        let mut problems = std::mem::take(&mut self.problems);
        problems.list = in_order(problems.list);
        problems
    }

    /// How many bytes are kept.
    pub(super) fn held(&self) -> usize {
        let problem = |problem: &Problem| {
            let texts = [&problem.path, &problem.message, &problem.tool];
            let more = [&problem.code, &problem.rendered];
            size_of::<Problem>()
                + texts.iter().map(|text| text.capacity()).sum::<usize>()
                + more
                    .into_iter()
                    .flatten()
                    .map(String::capacity)
                    .sum::<usize>()
                + problem.file.as_ref().map_or(0, PathBuf::capacity)
        };
        let looked_up = |((path, _), found): (&(String, From), &Option<PathBuf>)| {
            size_of::<((String, From), Option<PathBuf>)>()
                + path.capacity()
                + found.as_ref().map_or(0, PathBuf::capacity)
        };
        self.problems.list.iter().map(problem).sum::<usize>()
            + self.looked_up.iter().map(looked_up).sum::<usize>()
            + self.seen.capacity() * (size_of::<u64>() + 1)
            + self
                .folders
                .iter()
                .map(|folder| size_of::<PathBuf>() + folder.capacity())
                .sum::<usize>()
    }

    fn look_up(&mut self, path: &str, from: &From) -> Option<PathBuf> {
        if self.looked_up.len() >= MOST_LOOKED_UP {
            self.looked_up.clear();
        }
        match self.looked_up.entry((path.to_owned(), from.clone())) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(unknown) => {
                let found = self.files.find(path, from, &self.folders, &self.base);
                unknown.insert(found).clone()
            }
        }
    }

    /// Keeps a problem if there is room, or something less bad that gives way.
    fn keep(&mut self, problem: Problem) {
        let list = &mut self.problems.list;
        if list.len() == MOST_PROBLEMS {
            let worse = (problem.severity as usize + 1..3)
                .rev()
                .find(|&severity| self.kept[severity] > 0);
            let Some(worse) = worse else { return };
            let last = list
                .iter()
                .rposition(|kept| kept.severity as usize == worse);
            list.remove(last.expect("one of them is counted"));
            self.kept[worse] -= 1;
        }
        self.kept[problem.severity as usize] += 1;
        list.push(problem);
    }
}

impl Sink for Collector {
    fn add(&mut self, found: Found) -> bool {
        // A place without a word about it: a line that was cut off, or no problem.
        if found.message.is_empty() {
            return false;
        }
        let file = self.look_up(&found.path, &found.from);
        if found.doubtful && file.is_none() {
            return false;
        }
        let mut hash = DefaultHasher::new();
        match &file {
            Some(file) => file.hash(&mut hash),
            None => found.path.hash(&mut hash),
        }
        let what = (found.line, found.column, found.severity);
        (what, &found.message, &found.code).hash(&mut hash);
        let hash = hash.finish();
        let new = match self.seen.len() < MOST_SEEN {
            true => self.seen.insert(hash),
            false => !self.seen.contains(&hash),
        };
        if !new {
            return false;
        }
        match found.severity {
            Severity::Error => self.problems.errors += 1,
            Severity::Warning => self.problems.warnings += 1,
            Severity::Info => self.problems.infos += 1,
        }
        self.keep(Problem {
            path: found.path,
            file,
            line: found.line,
            column: found.column,
            end: found.end,
            severity: found.severity,
            message: found.message,
            code: found.code,
            tool: found.tool,
            rendered: found.rendered,
        });
        true
    }

    fn base(&self) -> &Base {
        &self.base
    }
}

/// Grouped by file, files with errors first, in a file errors first and then from top to bottom.
pub(super) fn in_order(list: Vec<Problem>) -> Vec<Problem> {
    let mut first: HashMap<&Path, (Severity, usize)> = HashMap::new();
    for (at, problem) in list.iter().enumerate() {
        let known = first
            .entry(place(problem))
            .or_insert((problem.severity, at));
        known.0 = known.0.min(problem.severity);
    }
    let mut order: Vec<_> = list
        .iter()
        .map(|problem| {
            let (worst, at) = first[place(problem)];
            (worst, at, (problem.severity, problem.line, problem.column))
        })
        .zip(0..)
        .collect();
    order.sort();
    let mut list: Vec<Option<Problem>> = list.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(|(_, at): (_, usize)| list[at].take())
        .collect()
}

/// The file of a problem, or what it is called where there is none.
fn place(problem: &Problem) -> &Path {
    problem.file.as_deref().unwrap_or(Path::new(&problem.path))
}

/// make does not go deeper; unbalanced lines cost no more.
const MOST_FOLDERS: usize = 32;
/// Beyond it, a problem that is printed twice is counted twice.
const MOST_SEEN: usize = 1 << 17;
/// As many files as a build complains about; then the memory of them begins anew.
const MOST_LOOKED_UP: usize = 1 << 10;
