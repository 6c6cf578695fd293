//! Random edits on random rule graphs: after quiet every output is what a clean build from scratch would make, and no rule
//! ran whose inputs were those of its last success.
//!
//! `DEVWATCH_GRAPHS=200 cargo test --test it graphs` plays more of them; DEVWATCH_SEED, which is printed, plays the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::project::{Devwatch, PATIENCE, Project, eventually, tree};

/// Each takes a few seconds.
const GRAPHS: u64 = 6;
const ROUNDS: u64 = 8;

/// What every rule runs: NAME LOSES FOLDER... It notes what it has read, and writes that down, or only how many lines
/// it were.
const COMMAND: &str = "
name=$1 loses=$2
shift 2
files=$(find \"$@\" -type f 2>/dev/null | LC_ALL=C sort)
text=$(echo \"$files\" | xargs -r cat)
echo \"$name $(printf %s \"$files$text\" | cksum)\" >> .devwatch/runs
if [ \"$loses\" = yes ]; then text=$(printf %s \"$text\" | wc -l); fi
mkdir -p \"out/$name\"
printf '%s\\n' \"$name\" \"$text\" > \"out/$name/new\"
mv \"out/$name/new\" \"out/$name/result\"
";

#[derive(Debug)]
struct Rule {
    /// Takes what these write.
    feeders: Vec<usize>,
    loses: bool,
    cached: bool,
    after: Option<Vec<usize>>,
}

#[derive(Debug)]
struct Graph {
    rules: Vec<Rule>,
    /// Each after those that feed it.
    order: Vec<usize>,
    jobs: u64,
}

impl Graph {
    fn random(dice: &mut Dice) -> Graph {
        let many = 2 + dice.below(4) as usize;
        let mut order: Vec<usize> = Vec::new();
        for rule in 0..many {
            order.insert(dice.below(rule as u64 + 1) as usize, rule);
        }
        let says_after = dice.percent(50);
        let mut rules: Vec<Rule> = Vec::new();
        rules.resize_with(many, || Rule {
            feeders: Vec::new(),
            loses: false,
            cached: true,
            after: None,
        });
        for (place, &rule) in order.iter().enumerate() {
            let mut some = |chance| {
                let earlier = order[..place].iter().copied();
                earlier.filter(|_| dice.percent(chance)).collect::<Vec<_>>()
            };
            let (feeders, after) = (some(50), some(30));
            rules[rule] = Rule {
                feeders,
                loses: dice.percent(40),
                cached: dice.percent(80),
                after: (says_after && dice.percent(60)).then_some(after),
            };
        }
        let jobs = 1 + dice.below(3);
        Graph { rules, order, jobs }
    }

    /// The folders that a rule reads, in the order in which their files are.
    fn folders(&self, rule: usize) -> Vec<String> {
        let fed = self.rules[rule]
            .feeders
            .iter()
            .map(|other| format!("out/r{other}"));
        fed.chain([format!("src/r{rule}")]).collect()
    }

    fn config(&self) -> String {
        let mut text = format!(
            "jobs = {}\n[watch]\ndebounce = \"20ms\"\nmax_wait = \"5s\"\n",
            self.jobs
        );
        for (place, rule) in self.rules.iter().enumerate() {
            let folders = self.folders(place);
            let globs: Vec<String> = folders
                .iter()
                .map(|folder| format!("{folder}/**"))
                .collect();
            let loses = if rule.loses { "yes" } else { "no" };
            let mut run = vec!["sh".to_owned(), "-e".to_owned(), "rule.sh".to_owned()];
            run.extend([format!("r{place}"), loses.to_owned()]);
            run.extend(folders);
            text += &format!(
                "[[rule]]\nname = \"r{place}\"\nfiles = {globs:?}\nrun = {run:?}\noutputs = [\"out/r{place}/**\"]\n"
            );
            if !rule.cached {
                text += "cache = false\n";
            }
            if let Some(after) = &rule.after {
                let after: Vec<String> = after.iter().map(|other| format!("r{other}")).collect();
                text += &format!("after = {after:?}\n");
            }
        }
        text += "[[rule]]\nname = \"marker\"\nfiles = [\"marker/*\"]\nrun = \"cp marker/token .devwatch/marked\"\n";
        text
    }

    /// What a clean build makes of what is there.
    fn clean(&self, root: &Path) -> BTreeMap<usize, String> {
        let mut made: BTreeMap<usize, String> = BTreeMap::new();
        for &rule in &self.order {
            let mut text = String::new();
            // `out/r0/result` comes before `src/r0/f1`, as `sort` has it.
            let feeders: BTreeSet<usize> = self.rules[rule].feeders.iter().copied().collect();
            for feeder in feeders {
                text += made[&feeder].as_str();
            }
            for content in tree(&root.join(format!("src/r{rule}"))).into_values() {
                text += &String::from_utf8_lossy(&content);
            }
            let mut text = text.trim_end_matches('\n').to_owned();
            if self.rules[rule].loses {
                text = text.matches('\n').count().to_string();
            }
            made.insert(rule, format!("r{rule}\n{text}\n"));
        }
        made
    }
}

/// Nothing fails here.
fn catch_up(devwatch: &mut Devwatch) {
    while let Some(line) = devwatch.next_line(Duration::ZERO) {
        assert!(!line.contains(" end failed "), "{}", devwatch.story());
    }
}

/// Writes, removes, touches or undoes something that a rule takes, or removes what one has made: which.
fn edit(project: &Project, graph: &Graph, dice: &mut Dice) -> Option<u64> {
    let rule = dice.below(graph.rules.len() as u64);
    let path = format!("src/r{rule}/f{}", dice.below(3));
    let text = ["one\n", "two\n", "two\nlines\n", ""];
    match dice.below(10) {
        0..7 => project.replace(&path, dice.one::<&str>(&text)),
        7 => drop(fs::remove_file(project.path(&path))),
        8 => project.shell(&format!("if [ -e {path} ]; then touch {path}; fi")),
        _ => {
            let _ = fs::remove_dir_all(project.path(&format!("out/r{rule}")));
            return Some(rule);
        }
    }
    None
}

#[test]
fn random_edits_on_random_rule_graphs_end_in_what_a_clean_build_makes() {
    let graphs = std::env::var("DEVWATCH_GRAPHS").map_or(GRAPHS, |graphs| {
        graphs.parse().expect("DEVWATCH_GRAPHS is a number")
    });
    let mut dice = Dice::seeded();
    let (mut runs, mut cycles) = (0, 0);
    for _ in 0..graphs {
        let (more_runs, more_cycles) = play(&mut dice);
        runs += more_runs;
        cycles += more_cycles;
    }
    println!("{cycles} cycles, {runs} runs");
}

fn play(dice: &mut Dice) -> (usize, usize) {
    let graph = Graph::random(dice);
    let project = Project::new();
    project.write("rule.sh", COMMAND);
    project.write(".devwatch/runs", "");
    project.write("marker/token", "first\n");
    for rule in 0..graph.rules.len() {
        project.write(&format!("src/r{rule}/f0"), "first\n");
    }
    project.write("devwatch.toml", &graph.config());
    let mut devwatch = project.devwatch_with(&[], |command| {
        command.env("DEVWATCH_LOG", "incremental=debug");
    });
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    let mut counted = 0;
    for round in 0..ROUNDS {
        // While everything is quiet, or while rules run.
        let calm = round == 0 || dice.percent(70);
        let mut removed = None;
        if round > 0 {
            for _ in 0..1 + dice.below(if calm { 1 } else { 6 }) {
                removed = edit(&project, &graph, dice).map(|rule| format!("r{rule}"));
                if !calm && dice.percent(50) {
                    devwatch.next_line(Duration::from_millis(dice.below(30)));
                }
            }
        }
        let runs_of = |project: &Project| -> Vec<(String, String)> {
            let text = project.read(".devwatch/runs");
            let run = |line: &str| {
                line.split_once(' ')
                    .map(|(rule, sum)| (rule.to_owned(), sum.to_owned()))
            };
            text.lines().filter_map(run).collect()
        };
        let rests = eventually(PATIENCE, || {
            catch_up(&mut devwatch);
            let made = graph.clean(project.root());
            made.iter().all(|(rule, text)| {
                fs::read_to_string(project.path(&format!("out/r{rule}/result")))
                    .is_ok_and(|found| found == *text)
            })
        });
        assert!(
            rests,
            "not what a clean build makes: {graph:#?}\n{}",
            devwatch.story()
        );
        // An edit that changes nothing begins no cycle, so the next is only done when what ran is settled.
        quiet(&project, &mut devwatch, &runs_of);
        let runs = runs_of(&project);
        for (rule, sum) in &runs[counted..] {
            let before = last.insert(rule.clone(), sum.clone());
            if calm && removed.as_ref() != Some(rule) {
                assert_ne!(
                    before.as_ref(),
                    Some(sum),
                    "{rule} ran again for nothing: {graph:#?}\n{}\n{}",
                    project.read(".devwatch/runs"),
                    devwatch.story()
                );
            }
        }
        counted = runs.len();
    }
    let cycles = devwatch
        .said()
        .iter()
        .filter(|line| line.contains(" begin ("))
        .count();
    assert_eq!(devwatch.terminate().code(), Some(143));
    (counted, cycles)
}

/// Waits until two further edits, of a file that only a rule of its own takes, have come through: the first may share a
/// cycle with what came before it, and with the second all of that is remembered.
fn quiet(
    project: &Project,
    devwatch: &mut Devwatch,
    runs_of: &impl Fn(&Project) -> Vec<(String, String)>,
) {
    let mut runs = usize::MAX;
    loop {
        let token = project.path("marker/token");
        let _ = fs::remove_file(project.path(".devwatch/marked"));
        project.replace("marker/token", &format!("{runs} {:?}\n", Instant::now()));
        let marked = eventually(PATIENCE, || {
            catch_up(devwatch);
            let content = fs::read(&token).expect("the token");
            fs::read(project.path(".devwatch/marked")).is_ok_and(|found| found == content)
        });
        assert!(marked, "{}", devwatch.story());
        let now = runs_of(project).len();
        if now == runs {
            return;
        }
        runs = now;
    }
}
