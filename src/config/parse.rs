//! The text of a `devwatch.toml` becomes a [`Config`], or a list of everything that is wrong with it.
//!
//! Pure: reads no file. A walk over the spanned document rather than serde, because serde stops at the first error
//! and a person with three typos wants to see three.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ignore::gitignore::GitignoreBuilder;
use nix::sys::signal::Signal;
use regex::Regex;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::value::{self, nearest};
use super::{
    Address, Command, Config, Globs, Hot, HotMode, Listen, MOST_JOBS, OnFailure, Origin, Poll,
    Problems, Ready, ReadyBy, Restart, Rule, Server, Stop, Watch, default_jobs, order, resolve,
};
use crate::diagnostics::{BadPattern, Kind, Pattern, PatternBase, Severity};
use crate::restart::contract;
use crate::supervisor::plan::Then;

const TOP_KEYS: &[&str] = &["version", "jobs", "watch", "rule", "server", "problem"];
const WATCH_KEYS: &[&str] = &["ignore", "debounce", "max_wait", "poll", "follow_symlinks"];
const RULE_KEYS: &[&str] = &[
    "name", "files", "run", "outputs", "after", "cache", "then", "env", "cwd", "timeout",
    "problems",
];
const SERVER_KEYS: &[&str] = &[
    "run", "restart", "listen", "env", "env_file", "cwd", "stop", "ready", "hot",
];
const STOP_KEYS: &[&str] = &["signal", "timeout"];
const READY_KEYS: &[&str] = &["log", "http", "notify", "delay", "timeout"];
const HOT_KEYS: &[&str] = &[
    "mode",
    "preset",
    "signal",
    "drain",
    "fork_timeout",
    "on_failure",
];

const PROBLEM_KEYS: &[&str] = &["name", "pattern", "severity", "base"];

/// The place of the topmost keys; left out of messages.
pub(super) const THE_FILE: &str = "the file";

/// Words that people bring along from other watchers, and what they are called here.
const CALLED_OTHERWISE: &[(&str, &str)] = &[
    ("app", "server"),
    ("build", "rule"),
    ("task", "rule"),
    ("rules", "rule"),
    ("problems", "problem"),
    ("problem_matcher", "problem"),
    ("regexp", "pattern"),
    ("regex", "pattern"),
    ("cmd", "run"),
    ("command", "run"),
    ("bin", "run"),
    ("exec", "run"),
    ("glob", "files"),
    ("globs", "files"),
    ("paths", "files"),
    ("watch", "files"),
    ("include", "files"),
    ("out", "outputs"),
    ("depends_on", "after"),
    ("deps", "after"),
    ("needs", "after"),
    ("parallel", "jobs"),
    ("do", "then"),
    ("action", "then"),
    ("exclude", "ignore"),
    ("delay", "debounce"),
    ("dir", "cwd"),
    ("workdir", "cwd"),
    ("environment", "env"),
    ("dotenv", "env_file"),
    ("port", "listen"),
    ("grace", "timeout"),
];

/// What a text says.
pub(crate) struct Parsed {
    /// What was understood; None with errors.
    pub(crate) config: Option<Config>,
    /// In the order of the file.
    pub(crate) errors: Vec<Diagnostic>,
    /// In the order of the file.
    pub(crate) warnings: Vec<Diagnostic>,
    /// Where each glob of `files` stands.
    pub(crate) globs: Vec<GlobAt>,
}

/// A glob of a rule's `files`, and where it stands in the text.
#[derive(Clone, Debug)]
pub(crate) struct GlobAt {
    /// The rule's index.
    pub(crate) rule: usize,
    /// As written.
    pub(crate) pattern: String,
    /// The bytes of its string, quotes included.
    pub(crate) span: Range<usize>,
}

/// Reads `text`; relative paths in it hang on `root`, which is absolute.
pub(crate) fn parse(text: &str, origin: Origin, root: &Path) -> Parsed {
    let (document, syntax) = DeTable::parse_recoverable(text);
    let mut walk = Walk::new(text, root, THE_USERS);
    let Document {
        jobs,
        watch,
        rules,
        server,
        patterns,
    } = walk.document(document.get_ref());

    let (errors, warnings, globs) = walk.end(syntax);
    let config = errors.is_empty().then(|| Config {
        root: root.to_path_buf(),
        origin,
        jobs,
        watch,
        rules,
        server,
        patterns,
    });
    Parsed {
        config,
        errors,
        warnings,
        globs,
    }
}

/// What the tables say.
struct Document {
    jobs: usize,
    watch: Watch,
    rules: Vec<Rule>,
    server: Option<Server>,
    patterns: Vec<Pattern>,
}

/// The walk over a document, which collects what is wrong with it.
pub(super) struct Walk<'t> {
    text: &'t str,
    root: &'t Path,
    elsewhere: &'static Elsewhere,
    /// With the byte up to which the document must be sound for the finding to be true.
    found: Vec<(usize, Diagnostic)>,
    warnings: Vec<Diagnostic>,
    globs: Vec<GlobAt>,
}

/// Topmost keys that belong into another file.
pub(super) struct Elsewhere {
    pub(super) keys: &'static [&'static str],
    /// What is wrong with them here, behind the key.
    pub(super) message: &'static str,
    /// Where to put them.
    pub(super) label: &'static str,
    /// Why.
    pub(super) help: &'static str,
}

const THE_USERS: &Elsewhere = &Elsewhere {
    keys: &["ui", "keys"],
    message: "is for each person to say, not for a project",
    label: "put it into your own file, ~/.config/devwatch/config.toml",
    help: "that file has [ui] and [keys]; this one says what is watched, run and served",
};

/// One key of a table, with all that a message needs.
#[derive(Clone, Copy)]
pub(super) struct Entry<'v> {
    pub(super) key: &'v str,
    pub(super) place: &'v str,
    pub(super) value: &'v Spanned<DeValue<'v>>,
}

impl Entry<'_> {
    pub(super) fn span(&self) -> Range<usize> {
        self.value.span()
    }

    pub(super) fn name(&self) -> String {
        match self.place {
            THE_FILE => format!("`{}`", self.key),
            place => format!("`{}` in {place}", self.key),
        }
    }
}

pub(super) fn entry<'v>(table: &'v DeTable<'v>, place: &'v str, key: &'v str) -> Option<Entry<'v>> {
    table.get(key).map(|value| Entry { key, place, value })
}

impl<'t> Walk<'t> {
    /// Nothing has been read of `text` yet. `elsewhere` are topmost keys that belong into another file.
    pub(super) fn new(text: &'t str, root: &'t Path, elsewhere: &'static Elsewhere) -> Walk<'t> {
        Walk {
            text,
            root,
            elsewhere,
            found: Vec::new(),
            warnings: Vec::new(),
            globs: Vec::new(),
        }
    }

    /// All has been read. The errors and the warnings, each in the order of the file; and where globs stand.
    pub(super) fn end(
        mut self,
        syntax: Vec<toml::de::Error>,
    ) -> (Vec<Diagnostic>, Vec<Diagnostic>, Vec<GlobAt>) {
        // Behind the first syntax error the document is a guess, so only what ends before it is reported as well.
        let sure_until = syntax
            .iter()
            .map(|error| error.span().map_or(0, |span| span.start))
            .min()
            .unwrap_or(usize::MAX);
        let mut errors: Vec<Diagnostic> = self
            .found
            .into_iter()
            .filter(|(end, _)| *end <= sure_until)
            .map(|(_, item)| item)
            .collect();
        let mut broken_lines = Vec::new();
        let mut last_message = String::new();
        for error in syntax {
            // An array that is never closed complains about every line up to the end.
            let repeats =
                error.message() == last_message && last_message.starts_with("missing comma");
            last_message = error.message().to_string();
            let span = error.span().unwrap_or(0..0);
            let item = Diagnostic::error(self.text, span, format!("not TOML: {last_message}"));
            // One slip makes several complaints about its line; the first is the one that helps.
            if !repeats && !broken_lines.contains(&item.line) {
                broken_lines.push(item.line);
                errors.push(item);
            }
        }
        errors.sort_by_key(|item| item.offset);
        self.warnings.sort_by_key(|item| item.offset);
        (errors, self.warnings, self.globs)
    }
}

impl Walk<'_> {
    fn document(&mut self, table: &DeTable<'_>) -> Document {
        let place = THE_FILE;
        self.only(table, place, TOP_KEYS);
        if let Some(entry) = entry(table, place, "version")
            && entry
                .value
                .get_ref()
                .as_integer()
                .is_none_or(|version| version.as_str() != "1")
        {
            self.error(entry.span(), "unknown version of the config")
                .label("this devwatch reads `version = 1`");
        }
        let jobs = entry(table, place, "jobs").map_or_else(default_jobs, |entry| self.jobs(entry));
        let watch =
            entry(table, place, "watch").map_or_else(Watch::default, |entry| self.watch(entry));
        let patterns =
            entry(table, place, "problem").map_or_else(Vec::new, |entry| self.patterns(entry));
        let rules =
            entry(table, place, "rule").map_or_else(Vec::new, |entry| self.rules(entry, &patterns));
        let server = entry(table, place, "server").and_then(|entry| self.server(entry));
        if !table.contains_key("rule") && !table.contains_key("server") {
            self.absent(0..0, "nothing to do: neither [[rule]] nor [server]")
                .help("`devwatch init` writes a config for this project; [server] run = [\"./my-server\"] is the least");
        } else if !table.contains_key("rule")
            && let Some(server) = table.get("server")
        {
            let item = Diagnostic::warning(
                self.text,
                server.span(),
                "no [[rule]]: no change ever restarts the server",
            );
            self.warnings.push(
                item.help("[[rule]] with files = [\"src/**\"] restarts it on every change there"),
            );
        }
        Document {
            jobs,
            watch,
            rules,
            server,
            patterns: patterns
                .into_iter()
                .filter_map(|known| known.pattern)
                .collect(),
        }
    }

    fn jobs(&mut self, entry: Entry<'_>) -> usize {
        let Some(integer) = entry.value.get_ref().as_integer() else {
            self.wrong(entry, "a number").label("write jobs = 4");
            return default_jobs();
        };
        let number = usize::from_str_radix(integer.as_str(), integer.radix());
        match number {
            Ok(jobs) if (1..=MOST_JOBS).contains(&jobs) => jobs,
            Ok(_) | Err(_) => {
                self.error(entry.span(), format!("{} is out of range", entry.name()))
                    .label(format!(
                        "write 1 to {MOST_JOBS}; 1 is one rule after another"
                    ));
                default_jobs()
            }
        }
    }

    fn watch(&mut self, entry: Entry<'_>) -> Watch {
        let mut watch = Watch::default();
        let place = "[watch]";
        let Some(table) = self.table(entry, "[watch]") else {
            return watch;
        };
        self.only(table, place, WATCH_KEYS);
        if let Some(entry) = self::entry(table, place, "ignore") {
            for (line, span) in self.strings(entry, "gitignore lines", "docs/**") {
                match GitignoreBuilder::new(self.root).add_line(None, &line) {
                    Ok(_) => watch.ignore.push(line),
                    Err(error) => {
                        self.error(
                            span,
                            format!("bad gitignore line in {}: {error}", entry.name()),
                        );
                    }
                }
            }
        }
        if let Some(duration) = self.duration(table, place, "debounce") {
            watch.debounce = duration;
        }
        if let Some(duration) = self.duration(table, place, "max_wait") {
            watch.max_wait = duration;
        }
        if let Some(entry) = self::entry(table, place, "poll")
            && let Some(text) = self.string(entry, "\"auto\", \"off\" or an interval")
        {
            watch.poll = match text {
                "auto" => Poll::Auto,
                "off" => Poll::Off,
                text => match value::duration(text) {
                    Ok(Duration::ZERO) => {
                        self.error(entry.span(), "an interval of 0 would never rest")
                            .label("write \"1s\", or \"off\"");
                        Poll::Auto
                    }
                    Ok(interval) => Poll::Every(interval),
                    Err(_) => {
                        self.error(entry.span(), format!("{} is no interval", entry.name()))
                            .label("write \"auto\", \"off\" or an interval such as \"1s\"");
                        Poll::Auto
                    }
                },
            };
        }
        if let Some(entry) = self::entry(table, place, "follow_symlinks") {
            watch.follow_symlinks = self.boolean(entry).unwrap_or(watch.follow_symlinks);
        }
        watch
    }

    fn rules(&mut self, entry: Entry<'_>, patterns: &[Known]) -> Vec<Rule> {
        let Some(elements) = entry.value.get_ref().as_array() else {
            if entry.value.get_ref().is_table() {
                self.error(entry.span(), "rules are a list")
                    .label("write [[rule]]");
            } else {
                self.wrong(entry, "a list of tables")
                    .label("write [[rule]]");
            }
            return Vec::new();
        };
        let sound = self.found.len();
        let mut rules: Vec<Rule> = Vec::new();
        let mut tables = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            let default_name = format!("rule-{}", index + 1);
            let Some(table) = element.get_ref().as_table() else {
                self.error(
                    element.span(),
                    format!("a rule is a table, not {}", kind(element.get_ref())),
                )
                .label("write [[rule]]");
                continue;
            };
            let place = match table.get("name").and_then(|name| name.get_ref().as_str()) {
                Some(name) => format!("rule {name:?}"),
                None => default_name.clone(),
            };
            let rule = self.rule(table, &place, index, element.span(), default_name, patterns);
            if let Some(earlier) = rules.iter().find(|earlier| earlier.name == rule.name) {
                let span = table.get("name").map_or(element.span(), Spanned::span);
                let line = earlier.line;
                self.error(span, format!("two rules are named {:?}", rule.name))
                    .label(format!("the first stands in line {line}"));
            }
            rules.push(rule);
            tables.push((table, place, element.span()));
        }
        let names: Vec<String> = rules.iter().map(|rule| rule.name.clone()).collect();
        for (rule, (table, place, _)) in rules.iter_mut().zip(&tables) {
            if let Some(entry) = self::entry(table, place, "after") {
                rule.after = Some(self.after(entry, &rule.name, &names));
            }
        }
        // Rules that are not what was meant wait for others than was meant.
        if self.found.len() == sound {
            for circle in order::circles(&rules) {
                let (_, _, at) = &tables[circle.rule];
                let item = self.absent(at.clone(), circle.message);
                let mut remedies = circle.remedies.into_iter();
                let item = item.label(remedies.next().unwrap_or_default());
                let others: Vec<String> = remedies.collect();
                if !others.is_empty() {
                    item.help(format!("or {}", others.join(", or ")));
                }
            }
        }
        rules
    }

    /// `after`: the names of other rules, none, one or several. Read when all are known, because one further down may
    /// be named as well.
    fn after(&mut self, entry: Entry<'_>, own: &str, names: &[String]) -> Vec<String> {
        let others = names.iter().map(String::as_str);
        let others: Vec<&str> = others.filter(|name| *name != own).collect();
        let mut after = Vec::new();
        for (name, span) in self.one_or_more(entry, "a name or a list of names", "generate") {
            if name == own {
                self.error(span, format!("{} names the rule itself", entry.name()))
                    .label("name those that have to be done before it");
            } else if others.contains(&name.as_str()) {
                after.push(name);
            } else if others.is_empty() {
                self.error(span, format!("unknown value {name:?} of {}", entry.name()))
                    .label("there is no other rule");
            } else {
                self.unknown_word(&entry, span, &name, &others);
            }
        }
        after
    }

    fn rule(
        &mut self,
        table: &DeTable<'_>,
        place: &str,
        index: usize,
        at: Range<usize>,
        name: String,
        patterns: &[Known],
    ) -> Rule {
        self.only(table, place, RULE_KEYS);
        let mut rule = Rule::new(name, Globs::default(), self.root);
        rule.line = Diagnostic::error(self.text, at.clone(), "").line;
        if let Some(entry) = entry(table, place, "name")
            && let Some(name) = self.string(entry, "a string")
        {
            if name.is_empty() || name.chars().any(char::is_control) {
                self.error(entry.span(), "a rule's name is one line, and not empty");
            }
            rule.name = name.to_string();
        }
        match entry(table, place, "files") {
            Some(entry) => rule.files = self.globs(entry, Some(index)),
            None => {
                self.absent(at, format!("{place} has no `files`"))
                    .label("add files = [\"src/**\"]");
            }
        }
        rule.run = entry(table, place, "run").and_then(|entry| self.command(entry));
        if let Some(entry) = entry(table, place, "outputs") {
            rule.outputs = self.globs(entry, None);
        }
        if let Some(entry) = entry(table, place, "cache") {
            let said = self.boolean(entry);
            rule.cache = said.unwrap_or(rule.cache);
            if said == Some(true) && table.contains_key("run") && !table.contains_key("outputs") {
                let message = format!("`cache` keeps nothing in {place}: it has no `outputs`");
                let item = Diagnostic::warning(self.text, entry.span(), message);
                self.warnings
                    .push(item.label("add `outputs`, or leave it out"));
            }
        }
        if let Some(entry) = entry(table, place, "then") {
            let words = [
                ("restart", Then::Restart),
                ("cold", Then::Cold),
                ("reload", Then::Reload),
                ("nothing", Then::Nothing),
            ];
            rule.then = self.word(entry, &words).unwrap_or(Then::Restart);
        }
        rule.env = self.env(table, place);
        rule.cwd = self.cwd(table, place);
        rule.timeout = self.positive_duration(table, place, "timeout");
        if let Some(entry) = entry(table, place, "problems") {
            rule.problems = self.problems(entry, patterns);
        }
        if !table.contains_key("run") {
            for key in [
                "outputs", "after", "cache", "env", "cwd", "timeout", "problems",
            ] {
                if let Some((key, _)) = table.get_key_value(key) {
                    self.missing_run(
                        key.span(),
                        format!("`{}` means nothing in {place} without `run`", key.get_ref()),
                    );
                }
            }
        }
        rule
    }

    /// `problems`: "auto", "off", or the names of readers, one or several.
    fn problems(&mut self, entry: Entry<'_>, patterns: &[Known]) -> Problems {
        let own = patterns.iter().filter_map(|known| known.name.as_deref());
        let kinds = Kind::ALL.into_iter().map(|kind| -> &str { kind.name() });
        let names: Vec<&str> = kinds.chain(own).collect();
        let words: Vec<&str> = ["auto", "off"]
            .into_iter()
            .chain(names.iter().copied())
            .collect();
        let is_list = entry.value.get_ref().is_array();
        let mut named: Vec<String> = Vec::new();
        for (name, span) in self.one_or_more(entry, "a name or a list of names", "go") {
            match name.as_str() {
                "auto" if !is_list => return Problems::Auto,
                "off" if !is_list => return Problems::Off,
                "auto" | "off" => {
                    self.error(span, format!("{name:?} in {} stands alone", entry.name()))
                        .label(format!("write problems = {name:?}"));
                }
                known if names.contains(&known) => named.push(name),
                _ => self.unknown_word(&entry, span, &name, if is_list { &names } else { &words }),
            }
        }
        if is_list
            && entry
                .value
                .get_ref()
                .as_array()
                .is_some_and(|list| list.is_empty())
        {
            self.error(entry.span(), format!("{} is empty", entry.name()))
                .label("write \"off\" to read nothing");
        }
        match named.is_empty() {
            true => Problems::Auto,
            false => Problems::Named(named),
        }
    }

    /// `[[problem]]`.
    fn patterns(&mut self, entry: Entry<'_>) -> Vec<Known> {
        let Some(elements) = entry.value.get_ref().as_array() else {
            self.wrong(entry, "a list of tables")
                .label("write [[problem]]");
            return Vec::new();
        };
        let mut all: Vec<Known> = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            let Some(table) = element.get_ref().as_table() else {
                let what = kind(element.get_ref());
                self.error(element.span(), format!("a problem is a table, not {what}"))
                    .label("write [[problem]]");
                continue;
            };
            let place = match table.get("name").and_then(|name| name.get_ref().as_str()) {
                Some(name) => format!("problem {name:?}"),
                None => format!("problem-{}", index + 1),
            };
            let known = self.pattern(table, &place, element.span(), &all);
            all.push(known);
        }
        all
    }

    fn pattern(
        &mut self,
        table: &DeTable<'_>,
        place: &str,
        at: Range<usize>,
        earlier: &[Known],
    ) -> Known {
        self.only(table, place, PROBLEM_KEYS);
        let mut name = None;
        if let Some(entry) = entry(table, place, "name")
            && let Some(text) = self.string(entry, "a string")
        {
            if text.is_empty() || text.chars().any(char::is_control) {
                self.error(entry.span(), "a problem's name is one line, and not empty");
            } else if Kind::named(text).is_some() || ["auto", "off"].contains(&text) {
                self.error(entry.span(), format!("{text:?} already means something"))
                    .label("choose another name");
            } else if earlier
                .iter()
                .any(|known| known.name.as_deref() == Some(text))
            {
                self.error(entry.span(), format!("two problems are named {text:?}"));
            } else {
                name = Some(text.to_string());
            }
        }
        let severity = entry(table, place, "severity").and_then(|entry| {
            let all = [Severity::Error, Severity::Warning, Severity::Info];
            self.word(entry, &all.map(|severity| (severity.word(), severity)))
        });
        let base = entry(table, place, "base")
            .map_or_else(PatternBase::default, |entry| self.pattern_base(entry));
        let pattern = match entry(table, place, "pattern") {
            Some(entry) => self.expression(entry),
            None => {
                self.absent(at, format!("{place} has no `pattern`"))
                    .label("add pattern = '^(?<file>.+?):(?<line>\\d+): (?<message>.*)$'");
                None
            }
        };
        let pattern = pattern.map(|mut pattern| {
            pattern.name.clone_from(&name);
            pattern.severity = severity.unwrap_or(pattern.severity);
            pattern.base = base;
            pattern
        });
        Known { name, pattern }
    }

    fn expression(&mut self, entry: Entry<'_>) -> Option<Pattern> {
        let text = self.string(entry, "a regular expression")?;
        let name = entry.name();
        let bad = match Pattern::new(text) {
            Ok(pattern) => return Some(pattern),
            Err(bad) => bad,
        };
        match bad {
            BadPattern::Syntax(why) => {
                self.error(
                    entry.span(),
                    format!("{name} is no regular expression: {why}"),
                );
            }
            BadPattern::Without(group) => {
                let example = match group {
                    "file" => "(?<file>.+?)",
                    _ => r"(?<line>\d+)",
                };
                self.error(entry.span(), format!("{name} has no group \"{group}\""))
                    .label(format!("write {example} where it stands"));
            }
            BadPattern::Unknown(group) => {
                let near = nearest(&group, Pattern::GROUPS);
                let help = format!("groups: {}", Pattern::GROUPS.join(", "));
                let item = self
                    .error(
                        entry.span(),
                        format!("{name} has an unknown group {group:?}"),
                    )
                    .help(help);
                if let Some(near) = near {
                    item.label(format!("did you mean {near:?}?"));
                }
            }
        }
        None
    }

    /// `base`: "cwd", "root", or an absolute path.
    fn pattern_base(&mut self, entry: Entry<'_>) -> PatternBase {
        let expected = "\"cwd\", \"root\" or an absolute path";
        match self.string(entry, expected) {
            None | Some("cwd") => PatternBase::Cwd,
            Some("root") => PatternBase::Root,
            Some(path) if path.starts_with('/') && self.is_path(path, entry.span(), entry) => {
                PatternBase::Folder(resolve(self.root, Path::new(path)))
            }
            Some(path) => {
                if !path.starts_with('/') {
                    self.error(
                        entry.span(),
                        format!("unknown value {path:?} of {}", entry.name()),
                    )
                    .label(format!("use {expected}"));
                }
                PatternBase::Cwd
            }
        }
    }

    fn server(&mut self, entry: Entry<'_>) -> Option<Server> {
        let place = "[server]";
        let table = self.table(entry, place)?;
        self.only(table, place, SERVER_KEYS);
        let run = match self::entry(table, place, "run") {
            Some(entry) => self.command(entry),
            None => {
                self.absent(entry.span(), "[server] has no `run`")
                    .label("add run = [\"./my-server\"]");
                None
            }
        };
        // Read on without a command: there may be more to report.
        let mut server = Server::new(
            run.clone().unwrap_or(Command::Shell(String::new())),
            self.root,
        );
        if let Some(entry) = self::entry(table, place, "restart") {
            server.restart = self
                .word(entry, &[("cold", Restart::Cold), ("hot", Restart::Hot)])
                .unwrap_or_default();
        }
        if let Some(entry) = self::entry(table, place, "listen") {
            server.listen = self.listen(entry);
        }
        server.env = self.env(table, place);
        if let Some(entry) = self::entry(table, place, "env_file") {
            for (path, span) in self.one_or_more(entry, "a path or a list of paths", ".env") {
                if self.is_path(&path, span, entry) {
                    server.env_file.push(resolve(self.root, Path::new(&path)));
                }
            }
        }
        server.cwd = self.cwd(table, place);
        if let Some(entry) = self::entry(table, place, "stop") {
            server.stop = self.stop(entry);
        }
        if let Some(entry) = self::entry(table, place, "ready") {
            server.ready = self.ready(entry);
        }
        if let Some(entry) = self::entry(table, place, "hot") {
            server.hot = self.hot(
                entry,
                !server.listen.is_empty() || table.contains_key("listen"),
            );
        }
        if let (Some(restart), Some(_)) = (self::entry(table, place, "restart"), &run) {
            let run = self::entry(table, place, "run").map(|entry| entry.span());
            self.check_hot(&server, restart.span(), run);
        }
        run.map(|_| server)
    }

    /// What cannot hand over as configured is said here, with the line to write instead.
    fn check_hot(&mut self, server: &Server, restart: Range<usize>, run: Option<Range<usize>>) {
        let Some(mode) = server.hands_over() else {
            return;
        };
        if mode == HotMode::Adopt
            && server
                .contract()
                .is_none_or(|contract| contract.adopt.is_none())
        {
            self.error(restart, "mode \"adopt\" plays the old process of a known contract, and none is named that can be played")
                .label("add `preset` to [server.hot], or choose another `mode`");
            return;
        }
        let between = in_between(&server.run).filter(|_| mode == HotMode::SelfFork);
        if let (Some((what, instead)), Some(run)) = (between, run) {
            self.error(run, format!("{what} stands between devwatch and the server: the signal would not reach it"))
                .label(instead)
                .help("the built program itself as `run`, or `listen` in [server]: then devwatch hands the socket on");
        }
    }

    fn listen(&mut self, entry: Entry<'_>) -> Vec<Listen> {
        if entry.value.get_ref().is_integer() {
            let port = &self.text[entry.span()];
            self.wrong(entry, "an address or a list of addresses")
                .label(format!("write \":{port}\""));
            return Vec::new();
        }
        let mut listens: Vec<Listen> = Vec::new();
        for (text, span) in
            self.one_or_more(entry, "an address or a list of addresses", "127.0.0.1:8080")
        {
            let listen = match value::listen(&text, self.root) {
                Ok(listen) => listen,
                Err(label) => {
                    self.error(
                        span,
                        format!("{} cannot be read as an address: {text:?}", entry.name()),
                    )
                    .label(label);
                    continue;
                }
            };
            let same = |other: &Listen| match &listen.address {
                // Each port 0 becomes a port of its own.
                Address::Tcp(address) => address.port() != 0 && other.address == listen.address,
                Address::Unix(_) => other.address == listen.address,
            };
            if listens.iter().any(same) {
                self.error(
                    span.clone(),
                    format!("{} holds the same address twice", entry.name()),
                );
            }
            if let Address::Tcp(address) = listen.address
                && !address.ip().is_loopback()
            {
                let item = Diagnostic::warning(
                    self.text,
                    span,
                    format!("{address} can be reached from other machines"),
                );
                self.warnings
                    .push(item.label(format!("\":{}\" listens on this one alone", address.port())));
            }
            listens.push(listen);
        }
        listens
    }

    fn stop(&mut self, entry: Entry<'_>) -> Stop {
        let mut stop = Stop::default();
        let place = "[server.stop]";
        let Some(table) = self.table(entry, "{ signal = \"SIGTERM\", timeout = \"5s\" }") else {
            return stop;
        };
        self.only(table, place, STOP_KEYS);
        if let Some(signal) = self.signal(table, place) {
            stop.signal = signal;
        }
        if let Some(timeout) = self.duration(table, place, "timeout") {
            stop.timeout = timeout;
        }
        stop
    }

    fn ready(&mut self, entry: Entry<'_>) -> Ready {
        let mut ready = Ready::default();
        let place = "[server.ready]";
        let Some(table) = self.table(entry, "{ http = \"/healthz\", timeout = \"10s\" }") else {
            return ready;
        };
        self.only(table, place, READY_KEYS);
        let mut given: Vec<&Spanned<_>> = ["log", "http", "notify", "delay"]
            .iter()
            .filter_map(|key| table.get_key_value(*key).map(|(key, _)| key))
            .collect();
        given.sort_by_key(|key| key.span().start);
        if let [first, second, ..] = given[..] {
            self.error(
                second.span(),
                format!(
                    "`{}` and `{}` in {place}",
                    first.get_ref(),
                    second.get_ref()
                ),
            )
            .label("only one can decide")
            .help("one of log, http, notify, delay; and timeout");
        }
        if table.is_empty() {
            self.absent(entry.span(), format!("{place} says nothing"))
                .help("one of log, http, notify, delay; and timeout");
        }
        if let Some(entry) = self::entry(table, place, "log")
            && let Some(text) = self.string(entry, "a regular expression")
        {
            match Regex::new(text) {
                Ok(_) if text.is_empty() => {
                    self.error(entry.span(), "an empty expression is found in every line");
                }
                Ok(regex) => ready.by = ReadyBy::Log(regex),
                Err(error) => {
                    self.error(
                        entry.span(),
                        format!(
                            "{} is no regular expression: {}",
                            entry.name(),
                            regex_error(&error)
                        ),
                    );
                }
            }
        }
        if let Some(entry) = self::entry(table, place, "http")
            && let Some(path) = self.string(entry, "a path")
        {
            if path.starts_with('/') && !path.chars().any(|c| c.is_control() || c.is_whitespace()) {
                ready.by = ReadyBy::Http(path.to_string());
            } else {
                self.error(
                    entry.span(),
                    format!("{} is a path, not {path:?}", entry.name()),
                )
                .label("write \"/healthz\"; devwatch knows where the server listens");
            }
        }
        if let Some(entry) = self::entry(table, place, "notify") {
            match entry.value.get_ref().as_bool() {
                Some(true) => ready.by = ReadyBy::Notify,
                Some(false) => {
                    self.error(
                        entry.span(),
                        format!("{} is true, or left out", entry.name()),
                    );
                }
                None => {
                    self.wrong(entry, "a boolean").label("write true");
                }
            }
        }
        let delay = self.duration(table, place, "delay");
        if let Some(delay) = delay {
            ready.by = ReadyBy::Delay(delay);
        }
        if let Some(timeout) = self.positive_duration(table, place, "timeout") {
            ready.timeout = timeout;
        }
        if let (Some(delay), Some(entry)) = (delay, self::entry(table, place, "delay"))
            && delay > ready.timeout
        {
            let timeout = value::duration_text(ready.timeout);
            self.error(
                entry.span(),
                format!("{} is longer than the timeout of {timeout}", entry.name()),
            )
            .label("raise `timeout`, or wait less");
        }
        ready
    }

    fn hot(&mut self, entry: Entry<'_>, listens: bool) -> Hot {
        let mut hot = Hot::default();
        let place = "[server.hot]";
        let Some(table) = self.table(entry, place) else {
            return hot;
        };
        self.only(table, place, HOT_KEYS);
        if let Some(entry) = self::entry(table, place, "mode") {
            let words = [
                ("self", HotMode::SelfFork),
                ("overlap", HotMode::Overlap),
                ("adopt", HotMode::Adopt),
            ];
            hot.mode = self.word(entry, &words);
            match hot.mode {
                Some(HotMode::Overlap) if !listens => {
                    self.absent(
                        entry.span(),
                        "mode \"overlap\" hands on a socket that devwatch holds",
                    )
                    .label("add `listen` to [server]");
                }
                Some(HotMode::SelfFork | HotMode::Overlap | HotMode::Adopt) | None => {}
            }
        }
        if let Some(entry) = self::entry(table, place, "preset") {
            let words: Vec<(&str, &str)> = contract::presets().map(|name| (name, name)).collect();
            hot.preset = self.word(entry, &words).map(String::from);
        }
        if let Some(signal) = self.signal(table, place) {
            hot.signal = Some(signal);
        }
        if let Some(drain) = self.duration(table, place, "drain") {
            hot.drain = drain;
        }
        if let Some(timeout) = self.positive_duration(table, place, "fork_timeout") {
            hot.fork_timeout = timeout;
        }
        if let Some(entry) = self::entry(table, place, "on_failure") {
            hot.on_failure = self
                .word(
                    entry,
                    &[("keep", OnFailure::Keep), ("cold", OnFailure::Cold)],
                )
                .unwrap_or_default();
        }
        hot
    }

    fn globs(&mut self, entry: Entry<'_>, rule: Option<usize>) -> Globs {
        let mut patterns = Vec::new();
        for (pattern, span) in self.strings(entry, "globs", "src/**") {
            match Globs::new(&[&pattern]) {
                Ok(_) => {
                    if let Some(rule) = rule {
                        self.globs.push(GlobAt {
                            rule,
                            pattern: pattern.clone(),
                            span,
                        });
                    }
                    patterns.push(pattern);
                }
                Err(bad) => {
                    let span = match bad.offset {
                        Some(offset) => self.inside(&span, &pattern, offset),
                        None => span,
                    };
                    self.error(
                        span,
                        format!("bad glob {pattern:?} in {}: {}", entry.name(), bad.message),
                    );
                }
            }
        }
        let elements = entry
            .value
            .get_ref()
            .as_array()
            .map_or(0, |elements| elements.len());
        if elements == 0 && entry.value.get_ref().is_array() && rule.is_some() {
            self.error(
                entry.span(),
                format!(
                    "{} is empty: no change would ever belong to it",
                    entry.name()
                ),
            );
        }
        if elements > 0
            && patterns.len() == elements
            && patterns.iter().all(|pattern| pattern.starts_with('!'))
        {
            self.error(entry.span(), format!("{} only excludes", entry.name()))
                .label("add a glob without `!`, such as \"**/*\"");
        }
        match Globs::new(&patterns) {
            Ok(globs) => globs,
            Err(bad) => {
                self.error(
                    entry.span(),
                    format!("{} cannot be compiled: {}", entry.name(), bad.message),
                );
                Globs::default()
            }
        }
    }

    fn command(&mut self, entry: Entry<'_>) -> Option<Command> {
        if let Some(line) = entry.value.get_ref().as_str() {
            if line.trim().is_empty() || line.contains('\0') {
                self.error(entry.span(), format!("{} is empty", entry.name()))
                    .label("write [\"program\", \"argument\"]");
                return None;
            }
            return Some(Command::Shell(line.to_string()));
        }
        let Some(elements) = entry.value.get_ref().as_array() else {
            self.wrong(entry, "a command")
                .label("write [\"program\", \"argument\"], or a line for the shell");
            return None;
        };
        if elements.is_empty() {
            self.error(entry.span(), format!("{} is empty", entry.name()))
                .label("write [\"program\", \"argument\"]");
            return None;
        }
        let words = self.strings(entry, "words", "program");
        if words.len() < elements.len() {
            return None;
        }
        for (index, (word, span)) in words.iter().enumerate() {
            if word.contains('\0') || (index == 0 && word.is_empty()) {
                let what = if index == 0 {
                    "is no program"
                } else {
                    "holds a NUL byte"
                };
                self.error(span.clone(), format!("{word:?} in {} {what}", entry.name()));
                return None;
            }
        }
        Some(Command::Argv(
            words.into_iter().map(|(word, _)| word).collect(),
        ))
    }

    fn env(&mut self, table: &DeTable<'_>, place: &str) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let Some(entry) = entry(table, place, "env") else {
            return env;
        };
        let Some(table) = self.table(entry, "{ NAME = \"value\" }") else {
            return env;
        };
        for (name, value) in table {
            let key = name.get_ref().as_ref();
            if key.is_empty() || key.contains(['=', '\0']) {
                self.error(name.span(), format!("{key:?} is no name for a variable"));
                continue;
            }
            match value.get_ref().as_str() {
                Some(text) if text.contains('\0') => {
                    self.error(value.span(), format!("the value of {key} holds a NUL byte"));
                }
                Some(text) => {
                    env.insert(key.to_string(), text.to_string());
                }
                None => {
                    let written = self.text.get(value.span()).unwrap_or_default().to_string();
                    let item = self.error(
                        value.span(),
                        format!(
                            "the value of {key} in {} is {}, not a string",
                            entry.name(),
                            kind(value.get_ref())
                        ),
                    );
                    if !value.get_ref().is_array() && !value.get_ref().is_table() {
                        item.label(format!("write \"{written}\""));
                    }
                }
            }
        }
        env
    }

    fn cwd(&mut self, table: &DeTable<'_>, place: &str) -> PathBuf {
        if let Some(entry) = entry(table, place, "cwd")
            && let Some(path) = self.string(entry, "a path")
            && self.is_path(path, entry.span(), entry)
        {
            return resolve(self.root, Path::new(path));
        }
        self.root.to_path_buf()
    }

    fn is_path(&mut self, path: &str, span: Range<usize>, entry: Entry<'_>) -> bool {
        if path.is_empty() || path.contains('\0') {
            self.error(span, format!("{path:?} in {} is no path", entry.name()));
            return false;
        }
        if path.starts_with("~/") || path == "~" {
            self.error(span, format!("`~` in {} is not expanded", entry.name()))
                .label("write an absolute path, or one from the root");
            return false;
        }
        true
    }

    fn signal(&mut self, table: &DeTable<'_>, place: &str) -> Option<Signal> {
        let entry = entry(table, place, "signal")?;
        let text = self.string(entry, "the name of a signal")?;
        match value::signal(text) {
            Ok(signal) => Some(signal),
            Err(label) => {
                self.error(
                    entry.span(),
                    format!("unknown signal {text:?} in {}", entry.name()),
                )
                .label(label);
                None
            }
        }
    }

    fn positive_duration(
        &mut self,
        table: &DeTable<'_>,
        place: &str,
        key: &str,
    ) -> Option<Duration> {
        let duration = self.duration(table, place, key)?;
        if duration.is_zero()
            && let Some(entry) = entry(table, place, key)
        {
            self.error(
                entry.span(),
                format!("{} must be longer than 0", entry.name()),
            );
            return None;
        }
        Some(duration)
    }

    fn duration(&mut self, table: &DeTable<'_>, place: &str, key: &str) -> Option<Duration> {
        let entry = entry(table, place, key)?;
        let Some(text) = entry.value.get_ref().as_str() else {
            let written = self.text.get(entry.span()).unwrap_or_default().to_string();
            let is_number = entry.value.get_ref().is_integer() || entry.value.get_ref().is_float();
            let item = self.wrong(entry, "a duration");
            match is_number {
                true => item.label(format!("write \"{written}ms\" or \"{written}s\"")),
                false => item.label("write a number and its unit: \"30ms\", \"1.5s\", \"2m\""),
            };
            return None;
        };
        match value::duration(text) {
            Ok(duration) => Some(duration),
            Err(label) => {
                self.error(
                    entry.span(),
                    format!("{} is no duration: {text:?}", entry.name()),
                )
                .label(label);
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, entry: Entry<'_>) -> Option<bool> {
        let said = entry.value.get_ref().as_bool();
        if said.is_none() {
            self.wrong(entry, "a boolean").label("write true or false");
        }
        said
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, entry: Entry<'_>, words: &[(&str, T)]) -> Option<T> {
        let all = words
            .iter()
            .map(|(word, _)| format!("{word:?}"))
            .collect::<Vec<_>>()
            .join(", ");
        let text = self.string(entry, &format!("one of {all}"))?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*meaning);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.unknown_word(&entry, entry.span(), text, &names);
        None
    }

    /// Reports that `text` is none of `words`.
    pub(super) fn unknown_word(
        &mut self,
        entry: &Entry<'_>,
        span: Range<usize>,
        text: &str,
        words: &[&str],
    ) {
        let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
        let all = quoted.join(", ");
        let near = nearest(text, words.iter().copied());
        let item = self.error(span, format!("unknown value {text:?} of {}", entry.name()));
        match near {
            Some(near) => item
                .label(format!("did you mean {near:?}?"))
                .help(format!("one of {all}")),
            None => item.label(format!("use one of {all}")),
        };
    }

    pub(super) fn string<'v>(&mut self, entry: Entry<'v>, expected: &str) -> Option<&'v str> {
        let text = entry.value.get_ref().as_str();
        if text.is_none() {
            self.wrong(entry, expected);
        }
        text
    }

    /// A string or an array of strings; what is neither is reported and left out.
    fn one_or_more(
        &mut self,
        entry: Entry<'_>,
        expected: &str,
        example: &str,
    ) -> Vec<(String, Range<usize>)> {
        match entry.value.get_ref().as_str() {
            Some(text) => vec![(text.to_string(), entry.span())],
            None => self.strings(entry, expected, example),
        }
    }

    /// An array of strings; what is none is reported and left out.
    fn strings(
        &mut self,
        entry: Entry<'_>,
        expected: &str,
        example: &str,
    ) -> Vec<(String, Range<usize>)> {
        let Some(elements) = entry.value.get_ref().as_array() else {
            let label = match entry.value.get_ref().is_str() {
                true => format!(
                    "write [{}]",
                    self.text.get(entry.span()).unwrap_or_default()
                ),
                false => format!("write [{example:?}]"),
            };
            let expected = match expected.starts_with("a") {
                true => expected.to_string(),
                false => format!("an array of {expected}"),
            };
            self.wrong(entry, &expected).label(label);
            return Vec::new();
        };
        let mut strings = Vec::new();
        for element in elements {
            match element.get_ref().as_str() {
                Some(text) => strings.push((text.to_string(), element.span())),
                None => {
                    self.error(
                        element.span(),
                        format!(
                            "{} in {} is not a string",
                            kind(element.get_ref()),
                            entry.name()
                        ),
                    );
                }
            }
        }
        strings
    }

    pub(super) fn table<'v>(&mut self, entry: Entry<'v>, example: &str) -> Option<&'v DeTable<'v>> {
        let table = entry.value.get_ref().as_table();
        if table.is_none() {
            let item = self.wrong(entry, "a table");
            item.label(format!("write {example}"));
        }
        table
    }

    /// Reports the keys of `table` that nobody reads.
    pub(super) fn only(&mut self, table: &DeTable<'_>, place: &str, allowed: &[&'static str]) {
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if allowed.contains(&name) {
                continue;
            }
            let elsewhere = self.elsewhere;
            if place == THE_FILE && elsewhere.keys.contains(&name) {
                self.error(key.span(), format!("`{name}` {}", elsewhere.message))
                    .label(elsewhere.label)
                    .help(elsewhere.help);
                continue;
            }
            let plain = name.to_lowercase().replace('-', "_");
            let near = CALLED_OTHERWISE
                .iter()
                .filter(|(other, ours)| *other == plain && allowed.contains(ours))
                .map(|(_, ours)| *ours)
                .next()
                .or_else(|| nearest(&plain, allowed.iter().copied()));
            let place = if place == THE_FILE {
                String::new()
            } else {
                format!(" in {place}")
            };
            let item = self
                .error(key.span(), format!("unknown key `{name}`{place}"))
                .help(format!("allowed keys: {}", allowed.join(", ")));
            match near {
                // Behind a heading a key belongs to that table, which is easily forgotten.
                _ if name == "jobs" && !elsewhere.keys.contains(&name) => {
                    item.label("it stands at the top of the file, above the first table");
                }
                Some("rule") => {
                    item.label("did you mean [[rule]]?");
                }
                Some(near) => {
                    item.label(format!("did you mean `{near}`?"));
                }
                None => {}
            }
        }
    }

    /// Where byte `offset` of `value` stands in the text, for a string written plainly; else the whole string.
    fn inside(&self, span: &Range<usize>, value: &str, offset: usize) -> Range<usize> {
        let written = self.text.get(span.clone()).unwrap_or_default();
        // With escapes or three quotes the bytes do not stand where one would count them.
        match written.len() == value.len() + 2 && written.get(1..written.len() - 1) == Some(value) {
            true => span.start + 1 + offset..span.end - 1,
            false => span.clone(),
        }
    }

    pub(super) fn wrong(&mut self, entry: Entry<'_>, expected: &str) -> Found<'_> {
        let message = format!(
            "{} is {}, not {expected}",
            entry.name(),
            kind(entry.value.get_ref())
        );
        self.error(entry.span(), message)
    }

    fn missing_run(&mut self, span: Range<usize>, message: String) {
        self.absent(span, message)
            .label("add `run`, or leave it out");
    }

    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>) -> Found<'_> {
        self.push(span.end, span, message.into())
    }

    /// An error about something that is not there: true only when the whole document could be read.
    pub(super) fn absent(&mut self, span: Range<usize>, message: impl Into<String>) -> Found<'_> {
        self.push(usize::MAX, span, message.into())
    }

    fn push(&mut self, sure: usize, span: Range<usize>, message: String) -> Found<'_> {
        self.found
            .push((sure, Diagnostic::error(self.text, span, message)));
        let (_, item) = self.found.last_mut().expect("pushed above");
        Found(item)
    }
}

/// One `[[problem]]`, even if its pattern is wrong: a rule may name it all the same.
struct Known {
    name: Option<String>,
    pattern: Option<Pattern>,
}

/// The finding that was reported last, to be said more about.
pub(super) struct Found<'w>(&'w mut Diagnostic);

impl Found<'_> {
    pub(super) fn label(self, label: impl Into<String>) -> Self {
        self.0.label = Some(label.into());
        self
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }
}

pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// regex draws several lines; its last one says it.
fn regex_error(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_string()
}

/// A program that runs the server below itself and does not pass signals on, and what to write instead.
fn in_between(run: &Command) -> Option<(&'static str, &'static str)> {
    let mut argv = run.argv();
    if let Command::Shell(_) = run
        && let Some(line) = argv.last().and_then(|line| line.strip_prefix("exec "))
    {
        // The shell gives way to it, so it is what counts.
        argv = shlex::split(line).unwrap_or_default();
    }
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let program = words
        .first()
        .map(|program| program.rsplit('/').next().unwrap_or(program))?;
    match (program, words.get(1..).unwrap_or_default()) {
        ("sh" | "bash" | "dash" | "zsh", ["-c", line, ..]) if !line.starts_with("exec ") => Some((
            "a shell",
            "write a list, or one command that the shell can exec",
        )),
        ("go", ["run", ..]) => Some((
            "`go run`",
            "write [\".devwatch/bin/NAME\"], and build it in a [[rule]]",
        )),
        ("npm" | "yarn" | "pnpm", _) => {
            Some(("a package manager", "write [\"node\", \"server.js\"]"))
        }
        ("cargo", ["run" | "r", ..]) => Some((
            "`cargo run`",
            "write [\"target/debug/NAME\"], and build it in a [[rule]]",
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diagnostic::Diagnostics;
    use crate::supervisor::plan::RuleId;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    const ROOT: &str = "/work/app";

    fn read(text: &str) -> Parsed {
        parse(
            text,
            Origin::File(PathBuf::from("/work/app/devwatch.toml")),
            Path::new(ROOT),
        )
    }

    fn good(text: &str) -> Config {
        let parsed = read(text);
        assert!(parsed.errors.is_empty(), "{}", shown(parsed.errors));
        parsed.config.expect("no errors, so a config")
    }

    fn shown(items: Vec<Diagnostic>) -> String {
        Diagnostics {
            file: PathBuf::from("devwatch.toml"),
            items,
        }
        .to_string()
    }

    fn check(text: &str, expected: Expect) {
        expected.assert_eq(&shown(read(text).errors));
    }

    fn check_lines(text: &str, expected: Expect) {
        let errors = Diagnostics {
            file: PathBuf::from("devwatch.toml"),
            items: read(text).errors,
        };
        expected.assert_eq(&errors.lines().map(|line| line + "\n").collect::<String>());
    }

    #[test]
    fn what_is_the_users_own_is_told_where_it_belongs() {
        check(
            "[server]\nrun = \"./x\"\n[ui]\nmode = 3\n[keys]\nq = \"none\"\n[[rule]]\nfiles = [\"**/*\"]\nui = 1\n",
            expect![[r#"
                error: `ui` is for each person to say, not for a project
                 --> devwatch.toml:3:2
                  |
                3 | [ui]
                  |  ^^ put it into your own file, ~/.config/devwatch/config.toml
                  |
                help: that file has [ui] and [keys]; this one says what is watched, run and served

                error: `keys` is for each person to say, not for a project
                 --> devwatch.toml:5:2
                  |
                5 | [keys]
                  |  ^^^^ put it into your own file, ~/.config/devwatch/config.toml
                  |
                help: that file has [ui] and [keys]; this one says what is watched, run and served

                error: unknown key `ui` in rule-1
                 --> devwatch.toml:9:1
                  |
                9 | ui = 1
                  | ^^
                  |
                help: allowed keys: name, files, run, outputs, after, cache, then, env, cwd, timeout, problems
            "#]],
        );
    }

    /// Every key once, as in the design; `restart` aside, which this version refuses.
    const FULL: &str = r#"
version = 1
jobs = 3
[watch]
ignore = ["docs/**", "!docs/keep"]
debounce = "20ms"
max_wait = "1.5s"
poll = "2s"
follow_symlinks = true

[[rule]]
name = "proto"
files = ["proto/**/*.proto"]
run = ["buf", "generate"]
outputs = ["gen/**"]

[[rule]]
name = "build"
files = ["**/*.go", "go.mod", "!**/*_test.go"]
run = "go build -o .devwatch/bin/api ./cmd/api"
outputs = [".devwatch/bin/api"]
after = ["proto"]
cache = false
problems = "go"
env = { CGO_ENABLED = "0" }
cwd = "sub"
timeout = "2m"

[[rule]]
files = ["web/**/*.tmpl"]
then = "reload"

[server]
run = [".devwatch/bin/api", "-config", "dev.yaml"]
restart = "cold"
listen = ["127.0.0.1:8080", "grpc://[::1]:0", "unix:run/app.sock"]
env_file = ".env"
cwd = "."
stop = { signal = "INT", timeout = "3s" }
ready = { log = "listening on", timeout = "20s" }
[server.env]
LOG = "debug"
[server.hot]
mode = "self"
preset = "falcore"
signal = "SIGUSR2"
drain = "9s"
fork_timeout = "1s"
on_failure = "cold"
"#;

    #[test]
    fn every_key_is_understood() {
        let config = good(FULL);
        assert_eq!(config.jobs, 3);
        assert_eq!(config.watch.ignore, ["docs/**", "!docs/keep"]);
        assert_eq!(config.watch.debounce, Duration::from_millis(20));
        assert_eq!(config.watch.max_wait, Duration::from_millis(1500));
        assert_eq!(config.watch.poll, Poll::Every(Duration::from_secs(2)));
        assert!(config.watch.follow_symlinks);

        let [proto, build, templates] = &config.rules[..] else {
            panic!("three rules")
        };
        assert_eq!((proto.name.as_str(), proto.line), ("proto", 11));
        assert_eq!((build.name.as_str(), build.line), ("build", 17));
        assert_eq!((templates.name.as_str(), templates.line), ("rule-3", 29));
        assert_eq!(
            proto.run,
            Some(Command::Argv(vec!["buf".into(), "generate".into()]))
        );
        assert_eq!(
            build.run,
            Some(Command::Shell(
                "go build -o .devwatch/bin/api ./cmd/api".into()
            ))
        );
        assert_eq!(build.problems, Problems::Named(vec!["go".into()]));
        assert_eq!(
            (build.after.as_deref(), build.cache),
            (Some(&["proto".to_owned()][..]), false)
        );
        assert_eq!((proto.after.as_deref(), proto.cache), (None, true));
        assert_eq!(build.env["CGO_ENABLED"], "0");
        assert_eq!(build.cwd, Path::new("/work/app/sub"));
        assert_eq!(build.timeout, Some(Duration::from_secs(120)));
        assert_eq!((build.then, templates.then), (Then::Restart, Then::Reload));
        assert!(
            build.files.matches(Path::new("cmd/a.go"))
                && !build.files.matches(Path::new("a_test.go"))
        );

        let server = config.server.as_ref().expect("a server");
        assert_eq!(server.listen[1].to_string(), "grpc://[::1]:0");
        assert_eq!(server.listen[2].to_string(), "unix:/work/app/run/app.sock");
        assert_eq!(server.env["LOG"], "debug");
        assert_eq!(server.env_file, [Path::new("/work/app/.env")]);
        assert_eq!(server.cwd, Path::new(ROOT));
        assert_eq!(
            server.stop,
            Stop {
                signal: Signal::SIGINT,
                timeout: Duration::from_secs(3)
            }
        );
        assert_eq!(
            server.ready.by,
            ReadyBy::Log(Regex::new("listening on").expect("regex"))
        );
        assert_eq!(server.ready.timeout, Duration::from_secs(20));
        let hot = Hot {
            mode: Some(HotMode::SelfFork),
            preset: Some("falcore".into()),
            signal: Some(Signal::SIGUSR2),
            drain: Duration::from_secs(9),
            fork_timeout: Duration::from_secs(1),
            on_failure: OnFailure::Cold,
        };
        assert_eq!(server.hot, hot);
        assert_eq!(
            config.artefact(),
            Some(PathBuf::from("/work/app/.devwatch/bin/api"))
        );
        assert!(config.is_final_output(RuleId(1), Path::new(".devwatch/bin/api")));
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let config = good("[[rule]]\nfiles = [\"**/*\"]\n[server]\nrun = \"./x\"\n");
        assert_eq!(config.watch, Watch::default());
        assert_eq!(config.jobs, default_jobs());
        assert!((1..=MOST_JOBS).contains(&config.jobs));
        let files = config.rules[0].files.clone();
        assert_eq!(
            config.rules,
            [Rule {
                line: 1,
                ..Rule::new("rule-1", files, Path::new(ROOT))
            }]
        );
        assert_eq!(
            config.server,
            Some(Server::new(Command::Shell("./x".into()), Path::new(ROOT)))
        );
    }

    #[test]
    fn eight_mistakes_are_eight_reports() {
        check(
            r#"
[watch]
debounce = 30
ignroe = ["x"]

[[rule]]
name = "build"
files = ["src/{*.rs", "**/*.go"]
run = []

[[rule]]
name = "build"
files = ["web/**"]
then = "restrt"

[server]
run = ["./x"]
restrat = "hot"
stop = { signal = "SIGTREM" }
"#,
            expect![[r#"
                error: `debounce` in [watch] is an integer, not a duration
                 --> devwatch.toml:3:12
                  |
                3 | debounce = 30
                  |            ^^ write "30ms" or "30s"

                error: unknown key `ignroe` in [watch]
                 --> devwatch.toml:4:1
                  |
                4 | ignroe = ["x"]
                  | ^^^^^^ did you mean `ignore`?
                  |
                help: allowed keys: ignore, debounce, max_wait, poll, follow_symlinks

                error: bad glob "src/{*.rs" in `files` in rule "build": unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)
                 --> devwatch.toml:8:15
                  |
                8 | files = ["src/{*.rs", "**/*.go"]
                  |               ^^^^^

                error: `run` in rule "build" is empty
                 --> devwatch.toml:9:7
                  |
                9 | run = []
                  |       ^^ write ["program", "argument"]

                error: two rules are named "build"
                  --> devwatch.toml:12:8
                   |
                12 | name = "build"
                   |        ^^^^^^^ the first stands in line 6

                error: unknown value "restrt" of `then` in rule "build"
                  --> devwatch.toml:14:8
                   |
                14 | then = "restrt"
                   |        ^^^^^^^^ did you mean "restart"?
                   |
                help: one of "restart", "cold", "reload", "nothing"

                error: unknown key `restrat` in [server]
                  --> devwatch.toml:18:1
                   |
                18 | restrat = "hot"
                   | ^^^^^^^ did you mean `restart`?
                   |
                help: allowed keys: run, restart, listen, env, env_file, cwd, stop, ready, hot

                error: unknown signal "SIGTREM" in `signal` in [server.stop]
                  --> devwatch.toml:19:19
                   |
                19 | stop = { signal = "SIGTREM" }
                   |                   ^^^^^^^^^ did you mean "SIGTERM"?
            "#]],
        );
    }

    #[test]
    fn the_keys_of_hot_are_checked() {
        check(
            r#"
[server]
run = ["./x"]
restart = "hot"
[server.hot]
mode = "overlap"
drain = "5"
"#,
            expect![[r#"
                error: mode "overlap" hands on a socket that devwatch holds
                 --> devwatch.toml:6:8
                  |
                6 | mode = "overlap"
                  |        ^^^^^^^^^ add `listen` to [server]

                error: `drain` in [server.hot] is no duration: "5"
                 --> devwatch.toml:7:9
                  |
                7 | drain = "5"
                  |         ^^^ without a unit; write "5ms" or "5s"
            "#]],
        );
    }

    #[test]
    fn wrong_types_say_what_to_write() {
        check_lines(
            r#"
version = "1"
rule = { files = ["x"] }
[watch]
ignore = "docs"
poll = 5
max_wait = true
debounce = "soon"
[server]
run = 5
restart = true
listen = 8080
env = { PORT = 8080, "A=B" = "x", LIST = [] }
env_file = 1
cwd = "~/x"
stop = "SIGTERM"
ready = "/healthz"
hot = 1
"#,
            expect![[r#"
                devwatch.toml:2:11: error: unknown version of the config; this devwatch reads `version = 1`
                devwatch.toml:3:8: error: rules are a list; write [[rule]]
                devwatch.toml:5:10: error: `ignore` in [watch] is a string, not an array of gitignore lines; write ["docs"]
                devwatch.toml:6:8: error: `poll` in [watch] is an integer, not "auto", "off" or an interval
                devwatch.toml:7:12: error: `max_wait` in [watch] is a boolean, not a duration; write a number and its unit: "30ms", "1.5s", "2m"
                devwatch.toml:8:12: error: `debounce` in [watch] is no duration: "soon"; write a number and its unit: "30ms", "1.5s", "2m"
                devwatch.toml:10:7: error: `run` in [server] is an integer, not a command; write ["program", "argument"], or a line for the shell
                devwatch.toml:11:11: error: `restart` in [server] is a boolean, not one of "cold", "hot"
                devwatch.toml:12:10: error: `listen` in [server] is an integer, not an address or a list of addresses; write ":8080"
                devwatch.toml:13:16: error: the value of PORT in `env` in [server] is an integer, not a string; write "8080"
                devwatch.toml:13:22: error: "A=B" is no name for a variable
                devwatch.toml:13:42: error: the value of LIST in `env` in [server] is an array, not a string
                devwatch.toml:14:12: error: `env_file` in [server] is an integer, not a path or a list of paths; write [".env"]
                devwatch.toml:15:7: error: `~` in `cwd` in [server] is not expanded; write an absolute path, or one from the root
                devwatch.toml:16:8: error: `stop` in [server] is a string, not a table; write { signal = "SIGTERM", timeout = "5s" }
                devwatch.toml:17:9: error: `ready` in [server] is a string, not a table; write { http = "/healthz", timeout = "10s" }
                devwatch.toml:18:7: error: `hot` in [server] is an integer, not a table; write [server.hot]
            "#]],
        );
        check_lines(
            "rule = [1, { files = [1], run = [\"a\", 2] }]\nserver = []\nwatch = 2",
            expect![[r#"
                devwatch.toml:1:9: error: a rule is a table, not an integer; write [[rule]]
                devwatch.toml:1:23: error: an integer in `files` in rule-2 is not a string
                devwatch.toml:1:39: error: an integer in `run` in rule-2 is not a string
                devwatch.toml:2:10: error: `server` is an array, not a table; write [server]
                devwatch.toml:3:9: error: `watch` is an integer, not a table; write [watch]
            "#]],
        );
    }

    #[test]
    fn rules_are_checked() {
        check_lines(
            r#"
[[rule]]
[[rule]]
name = ""
files = []
outputs = ["x"]
timeout = "1s"
[[rule]]
files = ["!x"]
run = " "
timeout = "0s"
problems = "rustc"
then = "hot"
[[rule]]
files = ["/src/**", "a/../b", "ok\tthen[a"]
run = ["", "x"]
[[rule]]
name = "rule-1"
files = ["x"]
cwd = ""
"#,
            expect![[r#"
                devwatch.toml:2:1: error: rule-1 has no `files`; add files = ["src/**"]
                devwatch.toml:4:8: error: a rule's name is one line, and not empty
                devwatch.toml:5:9: error: `files` in rule "" is empty: no change would ever belong to it
                devwatch.toml:6:1: error: `outputs` means nothing in rule "" without `run`; add `run`, or leave it out
                devwatch.toml:7:1: error: `timeout` means nothing in rule "" without `run`; add `run`, or leave it out
                devwatch.toml:9:9: error: `files` in rule-3 only excludes; add a glob without `!`, such as "**/*"
                devwatch.toml:10:7: error: `run` in rule-3 is empty; write ["program", "argument"]
                devwatch.toml:11:11: error: `timeout` in rule-3 must be longer than 0
                devwatch.toml:12:12: error: unknown value "rustc" of `problems` in rule-3; use one of "auto", "off", "cargo", "go", "tsc", "eslint", "gnu", "python", "node", "javac"
                devwatch.toml:13:8: error: unknown value "hot" of `then` in rule-3; use one of "restart", "cold", "reload", "nothing"
                devwatch.toml:15:11: error: bad glob "/src/**" in `files` in rule-4: globs are relative to the root and never begin with "/"
                devwatch.toml:15:24: error: bad glob "a/../b" in `files` in rule-4: ".." can only stand at the beginning
                devwatch.toml:15:31: error: bad glob "ok\tthen[a" in `files` in rule-4: unclosed character class; missing ']'
                devwatch.toml:16:8: error: "" in `run` in rule-4 is no program
                devwatch.toml:18:8: error: two rules are named "rule-1"; the first stands in line 2
                devwatch.toml:20:1: error: `cwd` means nothing in rule "rule-1" without `run`; add `run`, or leave it out
                devwatch.toml:20:7: error: "" in `cwd` in rule "rule-1" is no path
            "#]],
        );
    }

    #[test]
    fn order_jobs_and_cache_are_checked() {
        check_lines(
            r#"
jobs = 0
[watch]
jobs = 4
[[rule]]
name = "gen"
files = ["x"]
run = "x"
after = ["build", "gen", "biuld", "rule-3", 1]
cache = "no"
[[rule]]
name = "build"
files = ["x"]
run = "x"
after = []
[[rule]]
files = ["x"]
after = "gen"
cache = false
[[rule]]
files = ["x"]
run = "x"
depends_on = "gen"
after = true
"#,
            expect![[r#"
                devwatch.toml:2:8: error: `jobs` is out of range; write 1 to 64; 1 is one rule after another
                devwatch.toml:4:1: error: unknown key `jobs` in [watch]; it stands at the top of the file, above the first table
                devwatch.toml:9:19: error: `after` in rule "gen" names the rule itself; name those that have to be done before it
                devwatch.toml:9:26: error: unknown value "biuld" of `after` in rule "gen"; did you mean "build"?
                devwatch.toml:9:45: error: an integer in `after` in rule "gen" is not a string
                devwatch.toml:10:9: error: `cache` in rule "gen" is a string, not a boolean; write true or false
                devwatch.toml:18:1: error: `after` means nothing in rule-3 without `run`; add `run`, or leave it out
                devwatch.toml:19:1: error: `cache` means nothing in rule-3 without `run`; add `run`, or leave it out
                devwatch.toml:23:1: error: unknown key `depends_on` in rule-4; did you mean `after`?
                devwatch.toml:24:9: error: `after` in rule-4 is a boolean, not a name or a list of names; write ["generate"]
            "#]],
        );
        for (jobs, expected) in [("1", Some(1)), ("64", Some(64)), ("0x10", Some(16))] {
            let config = good(&format!("jobs = {jobs}\n[server]\nrun = \"x\"\n"));
            assert_eq!(Some(config.jobs), expected, "{jobs}");
        }
        check_lines(
            "jobs = 65\n[[rule]]\nfiles = [\"x\"]\nrun = \"x\"\nafter = \"rule-2\"",
            expect![[r#"
                devwatch.toml:1:8: error: `jobs` is out of range; write 1 to 64; 1 is one rule after another
                devwatch.toml:5:9: error: unknown value "rule-2" of `after` in rule-1; there is no other rule
            "#]],
        );
        check_lines(
            "jobs = -1\n[server]\nrun = \"x\"",
            expect![[r#"
            devwatch.toml:1:8: error: `jobs` is out of range; write 1 to 64; 1 is one rule after another
        "#]],
        );
        check_lines(
            "jobs = \"all\"\n[server]\nrun = \"x\"",
            expect![[r#"
            devwatch.toml:1:8: error: `jobs` is a string, not a number; write jobs = 4
        "#]],
        );
    }

    #[test]
    fn a_rule_may_be_after_one_further_down() {
        let config = good(
            r#"
[[rule]]
files = ["a"]
run = "a"
after = ["z", "rule-2"]
[[rule]]
files = ["b"]
run = "b"
[[rule]]
name = "z"
files = ["z"]
run = "z"
"#,
        );
        assert_eq!(
            config.rules[0].after.as_deref(),
            Some(&["z".to_owned(), "rule-2".to_owned()][..])
        );
        assert_eq!(config.needs()[0], [RuleId(1), RuleId(2)].into());
    }

    #[test]
    fn a_circle_of_rules_is_refused_with_its_path_and_what_breaks_it() {
        let text = r#"
[[rule]]
name = "gen"
files = ["**/*.go"]
run = "gen"
outputs = ["gen/**"]
[[rule]]
name = "build"
files = ["**/*.go"]
run = "build"
outputs = ["api/**"]
"#;
        check(
            text,
            expect![[r#"
            error: rules wait for each other in a circle: "gen" writes gen/x.go, which "build" takes; "build" writes api/x.go, which "gen" takes
             --> devwatch.toml:2:1
              |
            2 | [[rule]]
              | ^^^^^^^^ add "!api/**" to the files of "gen"
              |
            help: or add "!gen/**" to the files of "build", or make one rule of them
        "#]],
        );
        check_lines(
            text,
            expect![[r#"
            devwatch.toml:2:1: error: rules wait for each other in a circle: "gen" writes gen/x.go, which "build" takes; "build" writes api/x.go, which "gen" takes; add "!api/**" to the files of "gen"
        "#]],
        );
        // With rules that are wrong anyway, it is not said who waits for whom; nor in half a document.
        check_lines(
            &text.replace("run = \"gen\"", "rum = \"gen\""),
            expect![[r#"
            devwatch.toml:5:1: error: unknown key `rum` in rule "gen"; did you mean `run`?
            devwatch.toml:6:1: error: `outputs` means nothing in rule "gen" without `run`; add `run`, or leave it out
        "#]],
        );
        check_lines(
            &format!("{text}a ="),
            expect![[r#"
            devwatch.toml:12:1: error: unknown key `a` in rule "build"
            devwatch.toml:12:4: error: not TOML: string values must be quoted, expected literal string
        "#]],
        );
        let mended = text.replacen("[\"**/*.go\"]", "[\"**/*.go\", \"!api/**\"]", 1);
        assert_eq!(good(&mended).needs(), [[].into(), [RuleId(0)].into()]);
    }

    #[test]
    fn a_rule_is_read_by_what_it_names() {
        let config = good(
            r#"
[[problem]]
name = "protoc"
pattern = '^(?<file>.+?):(?<line>\d+): (?<message>.*)$'
severity = "warning"
base = "root"
[[problem]]
pattern = '(?<file>.+)@(?<line>\d+)'
base = "/src/../gen"
[[rule]]
files = ["a"]
run = ["a"]
problems = ["go", "protoc"]
[[rule]]
files = ["b"]
run = ["b"]
problems = "protoc"
[[rule]]
files = ["c"]
run = ["c"]
problems = "off"
[[rule]]
files = ["d"]
run = ["d"]
[[rule]]
files = ["e"]
"#,
        );
        let [named, nameless] = &config.patterns[..] else {
            panic!("two patterns")
        };
        assert_eq!(named.name.as_deref(), Some("protoc"));
        assert_eq!(named.severity, Severity::Warning);
        assert_eq!(named.base, PatternBase::Root);
        assert_eq!(nameless.name, None);
        assert_eq!(nameless.severity, Severity::Error);
        assert_eq!(nameless.base, PatternBase::Folder("/gen".into()));
        let names = |names: &[&str]| Problems::Named(names.iter().map(|n| n.to_string()).collect());
        let read: Vec<&Problems> = config.rules.iter().map(|rule| &rule.problems).collect();
        assert_eq!(*read[0], names(&["go", "protoc"]));
        assert_eq!(*read[1], names(&["protoc"]));
        assert_eq!((read[2], read[3]), (&Problems::Off, &Problems::Auto));
        let recipes: Vec<bool> = config
            .rules
            .iter()
            .map(|rule| config.recipe(rule).is_some())
            .collect();
        assert_eq!(recipes, [true, true, false, true, false]);
    }

    #[test]
    fn problems_are_checked() {
        check_lines(
            r#"
[[problem]]
[[problem]]
name = "go"
pattern = "("
severity = "bad"
base = "src"
[[problem]]
name = "mine"
pattern = "(?<path>x)(?<line>1)"
regexp = "x"
[[problem]]
name = "mine"
pattern = '(?<line>\d+)'
base = "~/x"
[[problem]]
name = ""
pattern = '(?<file>.+)'
severity = "warn"
[[rule]]
files = ["x"]
run = ["x"]
problems = "gnuu"
[[rule]]
files = ["x"]
run = ["x"]
problems = ["mine", "auto", "rustc", 3]
[[rule]]
files = ["x"]
run = ["x"]
problems = []
[[rule]]
files = ["x"]
run = ["x"]
problems = true
"#,
            expect![[r#"
                devwatch.toml:2:1: error: problem-1 has no `pattern`; add pattern = '^(?<file>.+?):(?<line>\d+): (?<message>.*)$'
                devwatch.toml:4:8: error: "go" already means something; choose another name
                devwatch.toml:5:11: error: `pattern` in problem "go" is no regular expression: unclosed group
                devwatch.toml:6:12: error: unknown value "bad" of `severity` in problem "go"; use one of "error", "warning", "info"
                devwatch.toml:7:8: error: unknown value "src" of `base` in problem "go"; use "cwd", "root" or an absolute path
                devwatch.toml:10:11: error: `pattern` in problem "mine" has an unknown group "path"
                devwatch.toml:11:1: error: unknown key `regexp` in problem "mine"; did you mean `pattern`?
                devwatch.toml:13:8: error: two problems are named "mine"
                devwatch.toml:14:11: error: `pattern` in problem "mine" has no group "file"; write (?<file>.+?) where it stands
                devwatch.toml:15:8: error: unknown value "~/x" of `base` in problem "mine"; use "cwd", "root" or an absolute path
                devwatch.toml:17:8: error: a problem's name is one line, and not empty
                devwatch.toml:18:11: error: `pattern` in problem "" has no group "line"; write (?<line>\d+) where it stands
                devwatch.toml:19:12: error: unknown value "warn" of `severity` in problem ""; use one of "error", "warning", "info"
                devwatch.toml:23:12: error: unknown value "gnuu" of `problems` in rule-1; did you mean "gnu"?
                devwatch.toml:27:21: error: "auto" in `problems` in rule-2 stands alone; write problems = "auto"
                devwatch.toml:27:29: error: unknown value "rustc" of `problems` in rule-2; use one of "cargo", "go", "tsc", "eslint", "gnu", "python", "node", "javac", "mine"
                devwatch.toml:27:38: error: an integer in `problems` in rule-2 is not a string
                devwatch.toml:31:12: error: `problems` in rule-3 is empty; write "off" to read nothing
                devwatch.toml:35:12: error: `problems` in rule-4 is a boolean, not a name or a list of names; write ["go"]
            "#]],
        );
        check(
            "problem = 3\n[server]\nrun = 'x'",
            expect![[r#"
            error: `problem` is an integer, not a list of tables
             --> devwatch.toml:1:11
              |
            1 | problem = 3
              |           ^ write [[problem]]
        "#]],
        );
        check(
            "[[problem]]\npattern = '(?<file>.+):(?<ligne>\\d+)'\n[server]\nrun = 'x'\n[[rule]]\nfiles = ['x']",
            expect![[r#"
                error: `pattern` in problem-1 has an unknown group "ligne"
                 --> devwatch.toml:2:11
                  |
                2 | pattern = '(?<file>.+):(?<ligne>\d+)'
                  |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^ did you mean "line"?
                  |
                help: groups: file, line, col, end_line, end_col, severity, message, code
            "#]],
        );
    }

    #[test]
    fn the_server_is_checked() {
        check_lines(
            r#"
[server]
cmd = "./x"
env-file = ".env"
listen = ["example.org:80", "127.0.0.1:80", "http://:80", ":0", ":0"]
ready = { log = "(", http = "healthz", notify = false, delay = "20s", tcp = true }
stop = { timeout = "5" }
[server.hot]
mode = "warm"
preset = "falcon"
signal = "HUPP"
fork_timeout = "0ms"
on_failure = "kep"
"#,
            expect![[r#"
                devwatch.toml:2:1: error: [server] has no `run`; add run = ["./my-server"]
                devwatch.toml:3:1: error: unknown key `cmd` in [server]; did you mean `run`?
                devwatch.toml:4:1: error: unknown key `env-file` in [server]; did you mean `env_file`?
                devwatch.toml:5:11: error: `listen` in [server] cannot be read as an address: "example.org:80"; the host is an IP address, "localhost" or nothing
                devwatch.toml:5:45: error: `listen` in [server] holds the same address twice
                devwatch.toml:6:17: error: `log` in [server.ready] is no regular expression: unclosed group
                devwatch.toml:6:22: error: `log` and `http` in [server.ready]; only one can decide
                devwatch.toml:6:29: error: `http` in [server.ready] is a path, not "healthz"; write "/healthz"; devwatch knows where the server listens
                devwatch.toml:6:49: error: `notify` in [server.ready] is true, or left out
                devwatch.toml:6:64: error: `delay` in [server.ready] is longer than the timeout of 10s; raise `timeout`, or wait less
                devwatch.toml:6:71: error: unknown key `tcp` in [server.ready]
                devwatch.toml:7:20: error: `timeout` in [server.stop] is no duration: "5"; without a unit; write "5ms" or "5s"
                devwatch.toml:9:8: error: unknown value "warm" of `mode` in [server.hot]; use one of "self", "overlap", "adopt"
                devwatch.toml:10:10: error: unknown value "falcon" of `preset` in [server.hot]; did you mean "falcore"?
                devwatch.toml:11:10: error: unknown signal "HUPP" in `signal` in [server.hot]; did you mean "SIGHUP"?
                devwatch.toml:12:16: error: `fork_timeout` in [server.hot] must be longer than 0
                devwatch.toml:13:14: error: unknown value "kep" of `on_failure` in [server.hot]; did you mean "keep"?
            "#]],
        );
        check_lines(
            "[server]\nrun = \"x\"\nready = {}",
            expect![[r#"
                devwatch.toml:3:9: error: [server.ready] says nothing
            "#]],
        );
        good("[server]\nrun = \"x\"\nready = { timeout = \"30s\" }");
    }

    #[test]
    fn keys_of_other_watchers_are_translated() {
        check_lines(
            "[app]\nx = 1\n[build]\ny = 1\n[Server]\n[frobnicate]",
            expect![[r#"
                devwatch.toml:1:1: error: nothing to do: neither [[rule]] nor [server]
                devwatch.toml:1:2: error: unknown key `app`; did you mean `server`?
                devwatch.toml:3:2: error: unknown key `build`; did you mean [[rule]]?
                devwatch.toml:5:2: error: unknown key `Server`; did you mean `server`?
                devwatch.toml:6:2: error: unknown key `frobnicate`
            "#]],
        );
    }

    #[test]
    fn an_empty_file_says_what_is_missing() {
        check(
            "",
            expect![[r#"
            error: nothing to do: neither [[rule]] nor [server]
             --> devwatch.toml:1:1
              |
            1 |
              | ^
              |
            help: `devwatch init` writes a config for this project; [server] run = ["./my-server"] is the least
        "#]],
        );
    }

    #[test]
    fn syntax_errors_come_in_the_same_form_and_silence_only_what_stands_behind() {
        check(
            r#"
[watch]
debonce = "30ms"
[server]
run = ["./x"
restart = "cold"
[[rule
files = 1
"#,
            expect![[r#"
                error: unknown key `debonce` in [watch]
                 --> devwatch.toml:3:1
                  |
                3 | debonce = "30ms"
                  | ^^^^^^^ did you mean `debounce`?
                  |
                help: allowed keys: ignore, debounce, max_wait, poll, follow_symlinks

                error: not TOML: missing comma between array elements, expected `,`
                 --> devwatch.toml:6:1
                  |
                6 | restart = "cold"
                  | ^

                error: not TOML: string values must be quoted, expected literal string
                 --> devwatch.toml:7:3
                  |
                7 | [[rule
                  |   ^^^^

                error: not TOML: unexpected `=` in array, expected value, `]`
                 --> devwatch.toml:8:7
                  |
                8 | files = 1
                  |       ^
            "#]],
        );
        check_lines(
            "a = \n[server]\nrun = \"\nx = 'a",
            expect![[r#"
                devwatch.toml:1:1: error: unknown key `a`
                devwatch.toml:1:5: error: not TOML: string values must be quoted, expected literal string
                devwatch.toml:3:8: error: not TOML: invalid basic string, expected `"`
                devwatch.toml:4:7: error: not TOML: invalid literal string, expected `'`
            "#]],
        );
    }

    #[test]
    fn the_carets_of_a_glob_stand_in_its_string_unless_escapes_move_them() {
        check_lines(
            "[[rule]]\nfiles = [\"\\u0061[b\", 'a[b', '''c[d''']",
            expect![[r#"
                devwatch.toml:2:10: error: bad glob "a[b" in `files` in rule-1: unclosed character class; missing ']'
                devwatch.toml:2:24: error: bad glob "a[b" in `files` in rule-1: unclosed character class; missing ']'
                devwatch.toml:2:29: error: bad glob "c[d" in `files` in rule-1: unclosed character class; missing ']'
            "#]],
        );
    }

    #[test]
    fn warnings_leave_the_config_usable() {
        let parsed = read("[server]\nrun = \"x\"\nlisten = [\"0.0.0.0:80\", \":81\", \"[::]:82\"]");
        assert!(parsed.config.is_some());
        expect![[r#"
            warning: no [[rule]]: no change ever restarts the server
             --> devwatch.toml:1:1
              |
            1 | [server]
              | ^^^^^^^^
              |
            help: [[rule]] with files = ["src/**"] restarts it on every change there

            warning: 0.0.0.0:80 can be reached from other machines
             --> devwatch.toml:3:11
              |
            3 | listen = ["0.0.0.0:80", ":81", "[::]:82"]
              |           ^^^^^^^^^^^^ ":80" listens on this one alone

            warning: [::]:82 can be reached from other machines
             --> devwatch.toml:3:32
              |
            3 | listen = ["0.0.0.0:80", ":81", "[::]:82"]
              |                                ^^^^^^^^^ ":82" listens on this one alone
        "#]]
        .assert_eq(&shown(parsed.warnings));
        let rule = "[[rule]]\nfiles = [\"x\"]\nrun = \"x\"\n";
        for (more, warns) in [
            ("cache = true", true),
            ("cache = false", false),
            ("", false),
            ("cache = true\noutputs = [\"y\"]", false),
        ] {
            let parsed = read(&format!("{rule}{more}"));
            assert!(parsed.config.is_some());
            assert_eq!(!parsed.warnings.is_empty(), warns, "{more}");
        }
        let parsed = read(&format!("{rule}cache = true"));
        expect![[r#"
            warning: `cache` keeps nothing in rule-1: it has no `outputs`
             --> devwatch.toml:4:9
              |
            4 | cache = true
              |         ^^^^ add `outputs`, or leave it out
        "#]]
        .assert_eq(&shown(parsed.warnings));
    }

    /// Documents that are nearly right: lines of the full config, cut, doubled and mixed.
    fn nearly_right() -> impl Strategy<Value = String> {
        let line = (0..FULL.lines().count(), 0usize..60, "[ -~é\"]{0,3}").prop_map(
            |(index, cut, noise)| {
                let line = FULL.lines().nth(index).unwrap_or_default();
                let cut = cut.min(line.len());
                format!("{}{noise}{}", &line[..cut], &line[cut..])
            },
        );
        prop::collection::vec(line, 0..25).prop_map(|lines| lines.join("\n"))
    }

    fn every_error_has_a_place_inside(text: &str) -> Result<(), TestCaseError> {
        let parsed = read(text);
        prop_assert_eq!(parsed.config.is_none(), !parsed.errors.is_empty());
        let mut last = 0;
        for item in parsed.errors.iter().chain(&parsed.warnings) {
            prop_assert!(item.line >= 1 && item.line <= text.split('\n').count());
            let line = text.split('\n').nth(item.line - 1).unwrap_or_default();
            prop_assert!(item.column >= 1 && item.column <= line.chars().count() + 1);
            prop_assert!(!item.message.contains('\n'), "{:?}", item.message);
        }
        for item in &parsed.errors {
            prop_assert!(item.offset >= last);
            last = item.offset;
        }
        shown(parsed.errors);
        Ok(())
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            every_error_has_a_place_inside(&text)?;
        }

        #[test]
        fn nearly_right_text_never_panics(text in nearly_right()) {
            every_error_has_a_place_inside(&text)?;
        }
    }
}
