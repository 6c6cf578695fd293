//! Random rules that take one another's outputs, and random edits of what they are made of: in the end every output is
//! that of a clean build, and no rule has run that did not have to.
//!
//! A rule adds up the words of all that it reads; some keep only a few of them, so that what is below has nothing to
//! do. What a clean build would leave is worked out here, and what each command has really read it tells itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::dice::Dice;
use crate::project::{Devwatch, PATIENCE, Project, eventually, get, port_of};

/// Graphs in one test run; DEVWATCH_GRAPHS=1000 asks for more of them.
const GRAPHS: usize = 14;

/// What the commands tell, beside all globs: which of them begins and ends, and what it has read.
const RUNS: &str = ".devwatch/runs";

/// Names that a rule's own sources can have.
const SOURCES: [&str; 3] = ["a", "b", "c"];

#[test]
fn random_edits_on_random_rules_end_as_a_clean_build_and_run_what_they_must() {
    let mut dice = Dice::seeded();
    let many =
        std::env::var("DEVWATCH_GRAPHS").map_or(GRAPHS, |many| many.parse().expect("a number"));
    let mut tally = Tally::default();
    for number in 0..many {
        println!("graph {number}");
        one_graph(&mut dice, &mut tally);
    }
    println!("{tally:?}");
    // What the test is about has happened at all.
    assert!(tally.runs > 0 && tally.cached > 0 && tally.cut_off > 0);
    assert!(many < GRAPHS || (tally.failed > 0 && tally.superseded > 0));
}

fn one_graph(dice: &mut Dice, tally: &mut Tally) {
    let mut bench = Bench::new(dice);
    let nothing = bench.keys();
    bench.start();
    bench.wait_until_remembered(0, &nothing);
    bench.is_remembered();
    for _ in 0..3 {
        for _ in 0..6 {
            bench.quiet_round(dice);
        }
        bench.mended();
        bench.noisy_round(dice);
        // What is remembered of a run that was disturbed nobody knows: what begins now is asked for all of it.
        bench.restarted();
    }
    for _ in 0..4 {
        bench.quiet_round(dice);
    }
    bench.mended();
    bench.restarted();
    // Everything is known by now.
    let before = bench.told.len();
    bench.restarted();
    assert!(bench.told.len() == before, "{}", bench.story());
    bench.stop();

    let (status, _, said) = bench.project.once(&["build"]);
    assert!(status.success(), "{said}");
    bench.listen();
    assert!(bench.told.len() == before, "{said}\n{}", bench.story());
    let (status, _, said) = bench.project.once(&["build", "--force"]);
    assert!(status.success(), "{said}");
    bench.listen();
    assert_eq!(bench.told[before..].len(), 2 * bench.rules.len(), "{said}");
    assert!(bench.is_as_a_clean_build(), "{}", bench.story());
    tally.add(&bench.tally);
}

/// How often things have happened.
#[derive(Debug, Default)]
struct Tally {
    rounds: usize,
    runs: usize,
    cached: usize,
    /// Rules that had no reason to run because what they take had come out the same.
    cut_off: usize,
    failed: usize,
    superseded: usize,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.rounds += other.rounds;
        self.runs += other.runs;
        self.cached += other.cached;
        self.cut_off += other.cut_off;
        self.failed += other.failed;
        self.superseded += other.superseded;
    }
}

/// As in the config, where its number is its place.
#[derive(Debug)]
struct Rule {
    name: String,
    /// Rules whose outputs it takes.
    takes: BTreeSet<usize>,
    output: Option<String>,
    /// It keeps only the words that begin with `k`, each once.
    loses: bool,
    cache: bool,
    /// How it stands in the config, if it does.
    after: Option<Vec<String>>,
    /// What it sleeps in the middle of its writing, in seconds.
    sleeps: &'static str,
}

/// What a command has told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    ended: bool,
    rule: usize,
    /// The files that it has read, and the words in them.
    read: String,
}

/// A graph on disk, devwatch in it, and what is known of both.
struct Bench {
    project: Project,
    devwatch: Option<Devwatch>,
    rules: Vec<Rule>,
    /// An order in which each rule comes after those that it takes from.
    order: Vec<usize>,
    /// The rule whose output is served.
    served: Option<usize>,
    port: u16,
    /// What is in `src`, by path.
    sources: BTreeMap<String, String>,
    /// What it was after earlier rounds, to go back to.
    earlier: Vec<BTreeMap<String, String>>,
    told: Vec<Told>,
    /// What each rule is known to be remembered to have succeeded with: the last of it is the last.
    remembered: Vec<Vec<String>>,
    open: bool,
    last_end: String,
    tally: Tally,
}

impl Bench {
    fn new(dice: &mut Dice) -> Bench {
        let many = 2 + dice.below(5) as usize;
        // Not as in the file: edges go upward, too.
        let mut order: Vec<usize> = (0..many).collect();
        for place in (1..many).rev() {
            order.swap(place, dice.below(place as u64 + 1) as usize);
        }
        let says_after = dice.percent(60);
        let folder = *dice.one(&["out", ".devwatch/out"]);
        let mut rules: Vec<Rule> = (0..many)
            .map(|number| Rule {
                name: format!("r{number}"),
                takes: BTreeSet::new(),
                output: (!dice.percent(12)).then(|| format!("{folder}/r{number}")),
                loses: dice.percent(45),
                cache: !dice.percent(25),
                after: None,
                sleeps: dice.one::<&str>(&["0", "0", "0.01", "0.03"]),
            })
            .collect();
        for (place, &number) in order.iter().enumerate() {
            for &before in &order[..place] {
                let other = &rules[before];
                if other.output.is_some() && dice.percent(45) {
                    rules[number].takes.insert(before);
                }
            }
            if says_after && dice.percent(60) {
                let before = order[..place].iter().filter(|_| dice.percent(25));
                rules[number].after = Some(before.map(|before| format!("r{before}")).collect());
            }
        }
        // What another rule takes is for that rule and not for the server.
        let is_final = |rule: &usize| {
            let is_taken = rules.iter().any(|other| other.takes.contains(rule));
            rules[*rule].output.is_some() && !is_taken
        };
        let finals: Vec<usize> = (0..many).filter(is_final).collect();
        let served = (!finals.is_empty() && dice.percent(40)).then(|| *dice.one(&finals));
        let project = Project::new();
        fs::create_dir_all(project.path(folder)).expect("a folder");
        let mut config = format!("jobs = {}\n", 1 + dice.below(3));
        for (number, rule) in rules.iter().enumerate() {
            let taken = rule
                .takes
                .iter()
                .filter_map(|other| rules[*other].output.as_deref());
            let taken: Vec<&str> = taken.collect();
            project.write(&format!("r{number}.sh"), &script(rule, &taken));
            let mut files = vec![format!("src/{}/[a-c]", rule.name)];
            files.extend(taken.iter().map(|path| (*path).to_owned()));
            config += &format!(
                "[[rule]]\nname = {:?}\nfiles = {files:?}\nrun = [\"sh\", \"-e\", \"r{number}.sh\"]\n",
                rule.name
            );
            if let Some(output) = &rule.output {
                config += &format!("outputs = [{output:?}]\ncache = {}\n", rule.cache);
            }
            if let Some(after) = &rule.after {
                config += &format!("after = {after:?}\n");
            }
        }
        if let Some(output) = served.and_then(|rule| rules[rule].output.as_deref()) {
            let server = project.child_list(&["listen", "fd", "serve-file", output]);
            config += &format!("[server]\nrun = {server}\nlisten = [\"127.0.0.1:0\"]\n");
        }
        project.write("devwatch.toml", &config);
        project.write(RUNS, "");
        let mut bench = Bench {
            project,
            devwatch: None,
            remembered: vec![Vec::new(); many],
            rules,
            order,
            served,
            port: 0,
            sources: BTreeMap::new(),
            earlier: Vec::new(),
            told: Vec::new(),
            open: false,
            last_end: String::new(),
            tally: Tally::default(),
        };
        for number in 0..many {
            for name in &SOURCES[..2] {
                bench.save(&format!("src/r{number}/{name}"), Some(&words(dice)));
            }
        }
        bench
    }

    // --- devwatch ---

    #[track_caller]
    fn start(&mut self) {
        self.devwatch = Some(self.project.devwatch(&[]));
        (self.open, self.port) = (false, 0);
        self.wait_for_end();
    }

    #[track_caller]
    fn stop(&mut self) {
        let devwatch = self.devwatch.take().expect("it runs");
        assert_eq!(devwatch.terminate().code(), Some(143));
        self.listen();
    }

    /// Ends and begins again; after that everything there is is remembered.
    #[track_caller]
    fn restarted(&mut self) {
        self.stop();
        let keys = self.keys();
        let before = self.told.len();
        self.start();
        assert!(self.is_as_a_clean_build(), "{}", self.story());
        self.wait_until_remembered(before, &keys);
        self.is_remembered();
    }

    /// Every rule has succeeded with what there is, and that is known.
    fn is_remembered(&mut self) {
        for rule in 0..self.rules.len() {
            let read = self.clean(rule).expect("nothing is broken").0;
            self.remembered[rule].push(read);
        }
    }

    /// One line of devwatch.
    #[track_caller]
    fn hear(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("devwatch: build ") else {
            return;
        };
        let words: Vec<&str> = rest.splitn(4, ' ').collect();
        self.open = words[1] == "begin";
        if self.open {
            return;
        }
        self.tally.cached += usize::from(line.contains(" cached="));
        self.tally.superseded += usize::from(words[2] == "superseded");
        words[2].clone_into(&mut self.last_end);
        if words[2] == "serving" {
            self.port = port_of(line);
        }
    }

    /// Waits for the end of a cycle that nothing has superseded.
    #[track_caller]
    fn wait_for_end(&mut self) {
        let what = |line: &str| line.starts_with("devwatch: build ");
        loop {
            let devwatch = self.devwatch.as_mut().expect("it runs");
            let line = devwatch.line_where("the end of a build", what);
            self.hear(&line);
            if !self.open && self.last_end != "superseded" {
                break;
            }
        }
        self.listen();
    }

    fn catch_up(&mut self) {
        let devwatch = self.devwatch.as_mut().expect("it runs");
        for line in devwatch.rest() {
            self.hear(&line);
        }
    }

    // --- what the commands tell ---

    fn listen(&mut self) {
        let text = self.project.read(RUNS);
        let told = text.lines().map(|line| {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().unwrap_or_default();
            let (what, rule, read) = (word(), word(), word());
            let rule = rule[1..].parse().expect("a rule");
            let (ended, read) = (what == "end", read.to_owned());
            Told { ended, rule, read }
        });
        self.told = told.collect();
    }

    /// The last success that a rule has told.
    fn last_read(&self, rule: usize) -> Option<&str> {
        let mut ends = self
            .told
            .iter()
            .filter(|told| told.ended && told.rule == rule);
        ends.next_back().map(|told| told.read.as_str())
    }

    // --- what is right ---

    /// What a clean build reads and leaves; none where it fails on the way.
    fn clean(&self, wanted: usize) -> Option<(String, String)> {
        let mut made: BTreeMap<usize, (String, String)> = BTreeMap::new();
        for &number in &self.order {
            let rule = &self.rules[number];
            let own = format!("src/{}/", rule.name);
            let own = self
                .sources
                .iter()
                .filter(|(path, _)| path.starts_with(&own));
            let own = own.map(|(path, text)| (path.as_str(), text.as_str()));
            let taken = rule.takes.iter().map(|other| {
                let (_, left) = made.get(other)?;
                Some((self.rules[*other].output.as_deref()?, left.as_str()))
            });
            // Of what could not be made nothing can be.
            let Some(taken) = taken.collect::<Option<Vec<_>>>() else {
                continue;
            };
            let files: Vec<(&str, &str)> = own.chain(taken).collect();
            let read: String = files
                .iter()
                .map(|(path, text)| format!("[{path} {text}]"))
                .collect();
            let words = files.iter().flat_map(|(_, text)| text.split(' '));
            let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
            if words.contains(&"broken") {
                continue;
            }
            let mut left: Vec<&str> = Vec::new();
            for word in words {
                if !rule.loses || (word.starts_with('k') && !left.contains(&word)) {
                    left.push(word);
                }
            }
            made.insert(number, (read, left.join(" ")));
        }
        made.remove(&wanted)
    }

    fn is_broken(&self) -> bool {
        self.sources.values().any(|text| text.contains("broken"))
    }

    /// Whether all that is there is what a clean build would leave, what was done elsewhere and what is served included.
    fn is_as_a_clean_build(&self) -> bool {
        let is_right = |number: usize| {
            let (read, left) = self.clean(number).expect("nothing is broken");
            match &self.rules[number].output {
                None => self.last_read(number) == Some(&read),
                Some(output) => {
                    let there = fs::read_to_string(self.project.path(output));
                    there.is_ok_and(|there| there == format!("{left}\n"))
                }
            }
        };
        let serves_right = |rule: usize| {
            let left = self.clean(rule).expect("nothing is broken").1;
            get(self.port).is_ok_and(|answer| answer == format!("{left}\n"))
        };
        (0..self.rules.len()).all(is_right)
            && (self.devwatch.is_none() || self.served.is_none_or(serves_right))
    }

    // --- what is remembered ---

    /// The key of the last success of each rule.
    fn keys(&self) -> Vec<Option<String>> {
        let state = fs::read(self.project.path(".devwatch/state")).unwrap_or_default();
        let state: Value = serde_json::from_slice(&state).unwrap_or_default();
        let key = |rule: &Rule| {
            let key = &state["rules"][&rule.name]["success"]["key"];
            key.as_str().map(str::to_owned)
        };
        self.rules.iter().map(key).collect()
    }

    /// Each success since then is remembered, and kept where it is to be.
    #[track_caller]
    fn wait_until_remembered(&mut self, since: usize, keys: &[Option<String>]) {
        let done: BTreeSet<usize> = self.told[since..]
            .iter()
            .filter(|told| told.ended)
            .map(|told| told.rule)
            .collect();
        let is_kept = |rule: usize, key: &str| {
            let entry = self.project.path(".devwatch/cache/entries").join(key);
            let Rule { output, cache, .. } = &self.rules[rule];
            output.is_none() || !cache || entry.exists()
        };
        let remembered = eventually(PATIENCE, || {
            let now = self.keys();
            done.iter().all(|&rule| {
                let key = now[rule].as_deref();
                key != keys[rule].as_deref() && key.is_some_and(|key| is_kept(rule, key))
            })
        });
        assert!(remembered, "{done:?} {keys:?}\n{}", self.story());
    }

    // --- rounds ---

    /// One edit while nothing runs, after which everything that did not have to run has not.
    #[track_caller]
    fn quiet_round(&mut self, dice: &mut Dice) {
        let (before, keys, since) = (self.sources.clone(), self.keys(), self.told.len());
        let clean: Vec<_> = (0..self.rules.len()).map(|rule| self.clean(rule)).collect();
        let broken = self.is_broken();
        if broken {
            self.mend();
        } else {
            self.edit_one(dice, true);
        }
        if self.sources == before {
            // It costs nothing, not even a cycle; which would come in between in the next round.
            return;
        }
        self.wait_for_end();
        self.tally.rounds += 1;
        let new = self.told[since..].to_vec();
        for (rule, known) in self.remembered.clone().iter().enumerate() {
            let Rule {
                output,
                cache,
                takes,
                ..
            } = &self.rules[rule];
            let begun: Vec<&Told> = new
                .iter()
                .filter(|told| told.rule == rule && !told.ended)
                .collect();
            assert!(
                begun.len() <= 1,
                "r{rule} ran more than once\n{}",
                self.story()
            );
            // What is kept is kept of all that was ever made.
            let known = match output.is_some() && *cache {
                true => &known[..],
                false => &known[known.len().saturating_sub(1)..],
            };
            if let [told] = begun[..] {
                self.tally.runs += 1;
                assert!(
                    !known.contains(&told.read),
                    "r{rule} ran for nothing\n{}",
                    self.story()
                );
            }
            let own = |sources: &BTreeMap<String, String>| -> Vec<String> {
                let own = format!("src/r{rule}/");
                sources
                    .iter()
                    .filter(|(path, _)| path.starts_with(&own))
                    .map(|(_, text)| text.clone())
                    .collect()
            };
            let above_ran = new
                .iter()
                .any(|told| told.ended && takes.contains(&told.rule));
            let is_same = self.clean(rule).is_some()
                && self.clean(rule) == clean[rule]
                && own(&before) == own(&self.sources);
            self.tally.cut_off += usize::from(above_ran && is_same);
            // Half of what a rule does elsewhere may have been done.
            if !begun.is_empty() && output.is_none() {
                self.remembered[rule].clear();
            }
        }
        if self.is_broken() {
            assert!(self.last_end == "failed", "{}", self.story());
            self.tally.failed += 1;
        } else {
            assert!(self.is_as_a_clean_build(), "{}", self.story());
        }
        self.wait_until_remembered(since, &keys);
        for told in new.iter().filter(|told| told.ended) {
            self.remembered[told.rule].push(told.read.clone());
        }
        if !self.is_broken() {
            // Also of what came out of the cache.
            self.is_remembered();
            self.earlier.push(self.sources.clone());
        }
    }

    /// Nothing is broken any more.
    #[track_caller]
    fn mended(&mut self) {
        if self.is_broken() {
            self.mend();
            self.wait_for_end();
        }
    }

    /// Edits at random moments, most of them while something runs.
    #[track_caller]
    fn noisy_round(&mut self, dice: &mut Dice) {
        for _ in 0..3 + dice.below(12) {
            match dice.below(8) {
                // Many at once, and back.
                0 if !self.earlier.is_empty() => {
                    let earlier = dice.one(&self.earlier).clone();
                    self.go_to(&earlier);
                }
                _ => self.edit_one(dice, false),
            }
            let limit = match dice.below(10) {
                0..3 => 0,
                3..6 => dice.below(8),
                _ => dice.below(80),
            };
            let until = Instant::now() + Duration::from_millis(limit);
            let devwatch = self.devwatch.as_mut().expect("it runs");
            // Early, where something happens.
            if let Some(line) = devwatch.next_line(until.saturating_duration_since(Instant::now()))
            {
                self.hear(&line);
            }
            self.catch_up();
        }
        self.mend();
        let rests = eventually(PATIENCE, || {
            self.listen();
            let right = self.is_as_a_clean_build();
            self.catch_up();
            right && !self.open && matches!(&*self.last_end, "ok" | "serving" | "unchanged")
        });
        assert!(
            rests,
            "it does not come to what is on disk\n{}",
            self.story()
        );
        self.earlier.push(self.sources.clone());
    }

    // --- edits ---

    /// Whether as a careful editor, in one step, or as a simple one.
    fn edit_one(&mut self, dice: &mut Dice, careful: bool) {
        let rule = dice.below(self.rules.len() as u64);
        let path = format!("src/r{rule}/{}", dice.one(&SOURCES));
        let earlier = |dice: &mut Dice| {
            let earlier = dice.one(&self.earlier);
            earlier.get(&path).cloned()
        };
        let content = match dice.below(100) {
            0..10 => None,
            10..18 => Some("broken".to_owned()),
            18..40 if !self.earlier.is_empty() => earlier(dice),
            40..45 => self.sources.get(&path).cloned(),
            _ => Some(words(dice)),
        };
        if !careful && dice.percent(50) {
            self.sources.remove(&path);
            if let Some(content) = &content {
                self.sources.insert(path.clone(), content.clone());
                self.project.write(&path, &format!("{content}\n"));
                return;
            }
        }
        self.save(&path, content.as_deref());
    }

    fn save(&mut self, path: &str, content: Option<&str>) {
        match content {
            Some(content) => {
                if !self.project.path(path).exists() {
                    self.project.write(&format!("{path}.tmp4x7"), "");
                }
                self.project.replace(path, &format!("{content}\n"));
                self.sources.insert(path.to_owned(), content.to_owned());
            }
            None => {
                let _ = fs::remove_file(self.project.path(path));
                self.sources.remove(path);
            }
        }
    }

    fn go_to(&mut self, sources: &BTreeMap<String, String>) {
        let paths: BTreeSet<String> = self.sources.keys().chain(sources.keys()).cloned().collect();
        for path in paths {
            if self.sources.get(&path) != sources.get(&path) {
                self.save(&path, sources.get(&path).map(String::as_str));
            }
        }
    }

    /// At most one is ever broken in quiet.
    fn mend(&mut self) {
        for (path, text) in self.sources.clone() {
            if text.contains("broken") {
                self.save(&path, Some("mended"));
            }
        }
    }

    fn story(&mut self) -> String {
        let config = self.project.read("devwatch.toml");
        let clean: Vec<_> = (0..self.rules.len()).map(|rule| self.clean(rule)).collect();
        let told: Vec<String> = self
            .told
            .iter()
            .rev()
            .take(40)
            .rev()
            .map(|told| format!("{told:?}"))
            .collect();
        let devwatch = self.devwatch.as_mut().map(Devwatch::story);
        format!(
            "{config}\nsources {:#?}\nclean {clean:#?}\ntold {}\n{}",
            self.sources,
            told.join("\n"),
            devwatch.unwrap_or_default()
        )
    }
}

/// Tells what it reads, and writes in place.
fn script(rule: &Rule, taken: &[&str]) -> String {
    let Rule {
        name,
        output,
        sleeps,
        ..
    } = rule;
    let keep = match rule.loses {
        false => "left=$all".to_owned(),
        true => {
            "left=; for word in $all; do case $word in k*) case \" $left \" in *\" $word \"*) ;; \
                 *) left=\"$left${left:+ }$word\" ;; esac ;; esac; done"
                .to_owned()
        }
    };
    let write = output.as_ref().map_or_else(
        || format!("sleep {sleeps}\n"),
        |output| format!("echo half > {output}\nsleep {sleeps}\necho \"$left\" > {output}\n"),
    );
    // A file may go while this reads: that is told in time.
    format!(
        "all= seen=\nfor file in src/{name}/[a-c] {}; do\n\
         [ -e $file ] || continue\nline=; {{ read -r line < $file; }} 2>/dev/null || :\n\
         all=\"$all${{all:+${{line:+ }}}}$line\" seen=\"$seen[$file $line]\"\ndone\n\
         echo \"begin {name} $seen\" >> {RUNS}\n\
         case \" $all \" in *' broken '*) exit 1 ;; esac\n\
         {keep}\n{write}echo \"end {name} $seen\" >> {RUNS}\n",
        taken.join(" ")
    )
}

/// Two or three, of few: so that what is kept of them is often the same.
fn words(dice: &mut Dice) -> String {
    let word = |dice: &mut Dice| format!("{}{}", dice.one(&["k", "c"]), dice.below(4));
    let many = 1 + dice.below(3);
    let words: Vec<String> = (0..many).map(|_| word(dice)).collect();
    words.join(" ")
}
