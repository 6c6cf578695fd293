//! What rules have written: their outputs by content.
//!
//! [`look`] reads the disk, everything else compares what was read. It decides nothing: whether the server is
//! owed anything for it is the supervisor's business.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use ignore::WalkBuilder;
use xxhash_rust::xxh3::Xxh3;

use crate::config::Config;
use crate::rules;
use crate::supervisor::event::{Digest, Produced};
use crate::supervisor::plan::RuleId;
use crate::watch::fingerprint::{self, Fingerprint};

/// The outputs of one rule as they were found. Handed to threads and kept side by side, so a copy costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written(Arc<BTreeMap<PathBuf, Output>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Output {
    stamp: Stamp,
    content: Fingerprint,
}

/// What `lstat` says without reading: as long as it is the same, so is the content.
type Stamp = (u64, i64, i64, u64);

impl Written {
    /// Whether `path` (relative to the root) has just this content.
    pub fn holds(&self, path: &Path, content: Option<Fingerprint>) -> bool {
        self.0.get(path).map(|output| output.content) == content
    }

    /// Whether `path` has the same content as in `other`.
    pub fn holds_as(&self, path: &Path, other: &Written) -> bool {
        let content = other.0.get(path).map(|output| output.content);
        content.is_some() && self.holds(path, content)
    }

    /// Every output and its content, sorted by path.
    pub fn contents(&self) -> impl Iterator<Item = (&Path, Fingerprint)> {
        let contents = self.0.iter();
        contents.map(|(path, output)| (path.as_path(), output.content))
    }

    /// Whether these are exactly the outputs there are.
    pub fn is<'a>(&self, files: impl Iterator<Item = (&'a Path, Fingerprint)>) -> bool {
        let files: BTreeMap<&Path, Fingerprint> = files.collect();
        self.0.len() == files.len() && self.contents().eq(files)
    }

    /// The outputs that are not among `files`.
    pub fn beside<'a>(&self, files: impl Iterator<Item = (&'a Path, Fingerprint)>) -> Vec<PathBuf> {
        let files: BTreeSet<&Path> = files.map(|(path, _)| path).collect();
        let extra = self.0.keys().filter(|path| !files.contains(path.as_path()));
        extra.cloned().collect()
    }

    /// Of all outputs; none if there are none.
    pub fn digest(&self) -> Option<Digest> {
        self.digest_of(|_| true)
    }

    /// What changed between `before` and this, in terms that the supervisor understands.
    pub fn produced(&self, config: &Config, rule: RuleId, before: &Written) -> Produced {
        let is_final = |path: &Path| config.is_final_output(rule, path);
        let changed = |path: &&PathBuf| {
            let content = |written: &Written| written.0.get(*path).map(|output| output.content);
            content(self) != content(before)
        };
        let dirtied = self.0.keys().chain(before.0.keys()).filter(changed);
        let dirtied = dirtied
            .flat_map(|path| rules::takes(config, path))
            .filter(|other| *other != rule)
            .collect();
        Produced {
            finals: self.digest_of(is_final),
            all: self.digest(),
            dirtied,
        }
    }

    fn digest_of(&self, counts: impl Fn(&Path) -> bool) -> Option<Digest> {
        let mut hash = Xxh3::new();
        let mut any = false;
        for (path, output) in self.0.iter().filter(|(path, _)| counts(path)) {
            any = true;
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update(&[0]);
            hash.update(&output.content.to_bytes());
        }
        any.then(|| Digest(hash.digest128()))
    }
}

/// Reads the outputs of `rule` as they are now. What has the same stamp as in `trusted` is not read again: right
/// between cycles, when nobody should have written them, but not after the rule's own command.
pub fn look(config: &Config, rule: RuleId, trusted: Option<&Written>) -> Written {
    let outputs = &config.rules[rule.0].outputs;
    let mut found = BTreeMap::new();
    for start in starting_points(&outputs.patterns) {
        let walk = WalkBuilder::new(config.root.join(&start))
            .standard_filters(false)
            .follow_links(false)
            .build();
        for entry in walk.flatten() {
            let Some(path) = relative(&config.root, &start, entry.path()) else {
                continue;
            };
            let Ok(metadata) = entry.path().symlink_metadata() else {
                continue;
            };
            if metadata.is_dir() || !outputs.matches(&path) {
                continue;
            }
            let stamp = stamp(&metadata);
            let known = trusted
                .and_then(|written| written.0.get(&path))
                .filter(|output| output.stamp == stamp);
            let content = match known {
                Some(output) => Some(output.content),
                None => fingerprint::of_file(entry.path()).ok().flatten(),
            };
            if let Some(content) = content {
                found.insert(path, Output { stamp, content });
            }
        }
    }
    Written(Arc::new(found))
}

/// The paths below which the patterns can match: a pattern without wildcards is one itself.
fn starting_points(patterns: &[String]) -> Vec<PathBuf> {
    let plain = patterns.iter().filter(|pattern| !pattern.starts_with('!'));
    plain.map(|pattern| literal_prefix(pattern)).collect()
}

fn literal_prefix(pattern: &str) -> PathBuf {
    let special = |component: &Component<'_>| {
        component
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .any(|byte| b"*?[{\\".contains(byte))
    };
    Path::new(pattern)
        .components()
        .take_while(|component| !special(component))
        .collect()
}

/// Back from the path that was walked to the one that globs know: `../lib` stays `../lib`.
fn relative(root: &Path, start: &Path, found: &Path) -> Option<PathBuf> {
    let below = found.strip_prefix(root.join(start)).ok()?;
    Some(if below.as_os_str().is_empty() {
        start.to_owned()
    } else {
        start.join(below)
    })
}

fn stamp(metadata: &Metadata) -> Stamp {
    (
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ino(),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{Command, Globs, Rule, detect};

    const GENERATE: RuleId = RuleId(0);
    const BUILD: RuleId = RuleId(1);

    /// `generate` writes Go files and a list that nobody takes; `build` takes the Go files.
    fn config(root: &Path) -> Config {
        let globs = |patterns: &[&str]| Globs::new(patterns).expect("good globs");
        let mut config = detect::from_command(root, vec!["true".to_owned()]);
        let rule = |name, files: &[&str], outputs: &[&str]| {
            let mut rule = Rule::new(name, globs(files), root);
            rule.run = Some(Command::Shell("true".to_owned()));
            rule.outputs = globs(outputs);
            rule
        };
        config.rules = vec![
            rule("generate", &["*.proto"], &["gen/**", "!gen/*.tmp"]),
            rule("build", &["**/*.go"], &["bin/api"]),
        ];
        config
    }

    #[test]
    fn new_content_dirties_whom_it_feeds_and_the_same_content_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        fs::create_dir_all(folder.path().join("gen/deep")).expect("folders");
        let write =
            |path: &str, text: &str| fs::write(folder.path().join(path), text).expect("writes");
        let nothing = look(&config, GENERATE, None);
        assert_eq!(nothing, Written::default());
        write("gen/deep/a.go", "1");
        write("gen/list.txt", "1");
        write("gen/x.tmp", "1");
        let first = look(&config, GENERATE, None);
        let produced = first.produced(&config, GENERATE, &nothing);
        assert_eq!(produced.dirtied, [BUILD].into());
        write("gen/deep/a.go", "1");
        write("gen/x.tmp", "2");
        let same = look(&config, GENERATE, None);
        let again = same.produced(&config, GENERATE, &first);
        assert_eq!((again.finals, again.all), (produced.finals, produced.all));
        assert_eq!(again.dirtied, [].into());
        write("gen/deep/a.go", "2");
        let changed = look(&config, GENERATE, None).produced(&config, GENERATE, &first);
        assert_eq!(
            changed.finals, produced.finals,
            "only what nobody takes is final"
        );
        assert_ne!(changed.all, produced.all);
        fs::remove_file(folder.path().join("gen/list.txt")).expect("removes");
        let fewer = look(&config, GENERATE, None).produced(&config, GENERATE, &first);
        assert_eq!(fewer.finals, None);
    }

    #[test]
    fn a_glance_between_cycles_sees_what_somebody_else_did() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        fs::create_dir(folder.path().join("bin")).expect("a folder");
        let artefact = folder.path().join("bin/api");
        fs::write(&artefact, "good").expect("writes");
        let known = look(&config, BUILD, None);
        assert_eq!(look(&config, BUILD, Some(&known)), known);
        assert!(known.holds(
            Path::new("bin/api"),
            fingerprint::of_file(&artefact).expect("reads")
        ));
        fs::write(&artefact, "other").expect("writes");
        assert_ne!(look(&config, BUILD, Some(&known)), known);
        fs::remove_file(&artefact).expect("removes");
        assert_ne!(look(&config, BUILD, Some(&known)), known);
    }
}
