//! A save costs what it must and nothing more: which rules run for which edit, and what becomes of the server.
//!
//! Each rule writes its name into a list when it runs, so that what ran is counted by those who know.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::project::{Devwatch, PATIENCE, Project, eventually, field, get, have, port_of};

/// The list of the rules that ran.
const RUNS: &str = ".devwatch/runs";

/// A project, devwatch in it, and what is known of both between two edits.
struct Bench {
    project: Project,
    devwatch: Option<Devwatch>,
    /// The number of the last build.
    build: u32,
    port: u16,
    /// How many results are kept.
    kept: usize,
}

/// What an edit is to cost.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// The rules that run, in order.
    runs: &'static [&'static str],
    /// The rules whose results come out of the cache.
    cached: &'static str,
    /// Of those that run, how many leave what nobody has kept yet.
    new: usize,
    /// How the cycle ends.
    end: &'static str,
}

impl Bench {
    fn new(project: Project) -> Bench {
        fs::create_dir_all(project.path(".devwatch")).expect("a folder");
        Bench {
            project,
            devwatch: None,
            build: 0,
            port: 0,
            kept: 0,
        }
    }

    #[track_caller]
    fn start(&mut self, cost: Cost) {
        self.build = 0;
        self.devwatch = Some(self.project.devwatch(&[]));
        self.cycle("start", cost);
    }

    fn stop(&mut self) {
        let devwatch = self.devwatch.take().expect("it runs");
        assert_eq!(devwatch.terminate().code(), Some(143));
    }

    /// The next build is this one, and costs just that.
    #[track_caller]
    fn cycle(&mut self, cause: &str, cost: Cost) {
        let devwatch = self.devwatch.as_mut().expect("it runs");
        self.build += 1;
        let begin = format!("devwatch: build {} begin ({cause})", self.build);
        let line = devwatch.line_where("a begin", |line| line.contains(" begin ("));
        assert_eq!(line, begin, "{}", devwatch.story());
        let line = devwatch.line_where("an end", |line| line.starts_with("devwatch: build "));
        let end = format!("devwatch: build {} end {} ", self.build, cost.end);
        assert!(line.starts_with(&end), "{end}\n{}", devwatch.story());
        assert_eq!(field(&line, "cached").unwrap_or(""), cost.cached, "{line}");
        if cost.end == "serving" {
            self.port = port_of(&line);
        }
        let runs = fs::read_to_string(self.project.path(RUNS)).unwrap_or_default();
        let _ = fs::remove_file(self.project.path(RUNS));
        let runs: Vec<&str> = runs.lines().collect();
        assert_eq!(runs, cost.runs, "{}", devwatch.story());
        // A run is remembered when it is certain that nothing has changed meanwhile, which may be after the end.
        self.kept += cost.new;
        let entries = self.project.path(".devwatch/cache/entries");
        let count = || fs::read_dir(&entries).map_or(0, Iterator::count);
        assert!(
            eventually(PATIENCE, || count() == self.kept),
            "{} are kept, not {}\n{}",
            count(),
            self.kept,
            devwatch.story()
        );
    }

    /// This edit is one cycle, which costs just that.
    #[track_caller]
    fn edit(&mut self, files: &str, cost: Cost, edit: impl FnOnce(&Project)) {
        edit(&self.project);
        let many = files.split(", ").count();
        let noun = if many == 1 { "file" } else { "files" };
        self.cycle(&format!("{many} {noun}: {files}"), cost);
    }

    #[track_caller]
    fn serves(&self, expected: &str) {
        assert_eq!(get(self.port).expect("an answer"), expected);
    }
}

/// A server whose answer is made of its own code, of generated code and of a page.
const MAIN_GO: &str = r#"package main

import (
	"io"
	"net"
	"net/http"
	"os"

	"example/api"
)

const greeting = "hello"

func main() {
	listener, err := net.FileListener(os.NewFile(3, ""))
	if err != nil {
		panic(err)
	}
	page, _ := os.ReadFile(".devwatch/page.html")
	http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, greeting+" "+api.Name+extra+" "+string(page))
	}))
}

var extra string
"#;

fn go_project() -> Project {
    let project = Project::new();
    project.write("go.mod", "module example\n\ngo 1.21\n");
    project.write("main.go", MAIN_GO);
    project.write("api.txt", "# the name of it\nfirst\n");
    project.write("page.tmpl", "page one\n");
    project.write(
        "generate.sh",
        "name=$(grep -v '^#' api.txt)\nmkdir -p api\nprintf 'package api\\n\\nconst Name = \"%s\"\\n' \"$name\" > api/api.go\n",
    );
    config(&project, "");
    project
}

fn config(project: &Project, flags: &str) {
    project.write(
        "devwatch.toml",
        &format!(
            "[watch]\ndebounce = \"200ms\"\nmax_wait = \"10s\"\n\
             [[rule]]\nname = \"generate\"\nfiles = [\"api.txt\"]\noutputs = [\"api/api.go\"]\n\
             run = \"echo generate >> {RUNS}; sh -e generate.sh\"\n\
             [[rule]]\nname = \"build\"\nfiles = [\"**/*.go\", \"go.mod\"]\noutputs = [\".devwatch/bin/app\"]\n\
             run = \"echo build >> {RUNS}; go build -buildvcs=false{flags} -o .devwatch/bin/app .\"\n\
             [[rule]]\nname = \"assets\"\nfiles = [\"*.tmpl\"]\noutputs = [\".devwatch/page.html\"]\n\
             run = \"echo assets >> {RUNS}; tr a-z A-Z < page.tmpl > .devwatch/page.html\"\n\
             [server]\nrun = [\".devwatch/bin/app\"]\nlisten = [\"127.0.0.1:0\"]\n"
        ),
    );
}

#[test]
fn each_edit_of_a_go_project_with_three_rules_costs_what_it_must() {
    if !have("go") {
        return;
    }
    let serving = |runs: &'static [&'static str], new| Cost {
        runs,
        new,
        end: "serving",
        ..Cost::default()
    };
    let unchanged = |runs: &'static [&'static str], new| Cost {
        runs,
        new,
        end: "unchanged",
        ..Cost::default()
    };
    let cached = |end: &'static str, cached: &'static str| Cost {
        cached,
        end,
        ..Cost::default()
    };
    let mut bench = Bench::new(go_project());

    // 1: nothing was ever built.
    bench.start(serving(&["generate", "build", "assets"], 3));
    bench.serves("hello first PAGE ONE\n");

    // 2 to 4: what changes no content costs nothing. The next cycle is that of the next edit.
    bench
        .project
        .shell("touch main.go api.txt page.tmpl api/api.go");
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(bench.project.path("main.go"), mode).expect("chmod");
    bench.project.write("page.tmpl", "page one\n");

    // 5: a comment comes out as another program, because Go writes down what it was made of.
    bench.edit("main.go", serving(&["build"], 1), |project| {
        project.edit(
            "main.go",
            "func main() {",
            "func main() { // here it begins",
        );
    });

    // 6: another command makes another program; the other rules are asked and are as they were.
    bench.edit("devwatch.toml", serving(&["build"], 1), |project| {
        config(project, " -ldflags=-buildid=");
    });

    // 7: without that a comment comes out the same, and restarts nothing.
    bench.edit("main.go", unchanged(&["build"], 1), |project| {
        project.edit("main.go", "// here it begins", "// it begins here");
    });

    // 8 to 10: a change, back, and there again.
    bench.edit("main.go", serving(&["build"], 1), |project| {
        project.edit("main.go", "\"hello\"", "\"good day\"");
    });
    bench.serves("good day first PAGE ONE\n");
    bench.edit("main.go", cached("serving", "build"), |project| {
        project.edit("main.go", "\"good day\"", "\"hello\"");
    });
    bench.serves("hello first PAGE ONE\n");
    bench.edit("main.go", cached("serving", "build"), |project| {
        project.edit("main.go", "\"hello\"", "\"good day\"");
    });
    bench.serves("good day first PAGE ONE\n");

    // 11, 12: a page, and back.
    bench.edit("page.tmpl", serving(&["assets"], 1), |project| {
        project.write("page.tmpl", "page two\n");
    });
    bench.serves("good day first PAGE TWO\n");
    bench.edit("page.tmpl", cached("serving", "assets"), |project| {
        project.write("page.tmpl", "page one\n");
    });
    bench.serves("good day first PAGE ONE\n");

    // 13, 14: what is generated goes on to the build, if it comes out new.
    bench.edit("api.txt", serving(&["generate", "build"], 2), |project| {
        project.write("api.txt", "# the name of it\nsecond\n");
    });
    bench.serves("good day second PAGE ONE\n");
    bench.edit("api.txt", unchanged(&["generate"], 1), |project| {
        project.write("api.txt", "# another comment\nsecond\n");
    });

    // 15: a generated file that was edited by hand is made again, and nobody takes notice.
    bench.edit("api/api.go", cached("unchanged", "generate"), |project| {
        project.edit("api/api.go", "second", "by hand");
    });
    assert!(bench.project.read("api/api.go").contains("second"));

    // 16: a program that was deleted, of which nothing tells, is back with the next cycle.
    bench.edit(
        "page.tmpl",
        Cost {
            cached: "build",
            ..serving(&["assets"], 1)
        },
        |project| {
            fs::remove_file(project.path(".devwatch/bin/app")).expect("removes");
            project.write("page.tmpl", "page three\n");
        },
    );
    bench.serves("good day second PAGE THREE\n");

    // 17: what belongs to the build belongs to the build.
    bench.edit("go.mod", unchanged(&["build"], 1), |project| {
        project.edit(
            "go.mod",
            "module example",
            "module example // of what it costs",
        );
    });

    // 18, 19: broken, and undone without a build.
    bench.edit(
        "main.go",
        Cost {
            runs: &["build"],
            end: "failed",
            ..Cost::default()
        },
        |project| project.edit("main.go", "func main() {", "func main() { nowhere()"),
    );
    bench.edit("main.go", cached("unchanged", ""), |project| {
        project.edit("main.go", "func main() { nowhere()", "func main() {");
    });

    // 20 to 22: a new file, another name for it, and away with it.
    let more = "package main\n\nfunc init() { extra = \"!\" }\n";
    bench.edit("more.go", serving(&["build"], 1), |project| {
        project.write("more.go", more)
    });
    bench.serves("good day second! PAGE THREE\n");
    bench.edit("more.go, other.go", serving(&["build"], 1), |project| {
        fs::rename(project.path("more.go"), project.path("other.go")).expect("renames");
    });
    bench.edit("other.go", cached("serving", "build"), |project| {
        fs::remove_file(project.path("other.go")).expect("removes");
    });
    bench.serves("good day second PAGE THREE\n");

    // 23: an up-to-date tree is served at once.
    bench.stop();
    bench.start(cached("serving", ""));
    bench.serves("good day second PAGE THREE\n");

    // 24: a script that the command names is part of it, although no rule takes it.
    bench.stop();
    bench.project.edit(
        "generate.sh",
        "mkdir -p api",
        "mkdir -p api # where it goes",
    );
    bench.start(serving(&["generate"], 1));

    // 25: a branch that was switched while nobody looked.
    bench.stop();
    bench.project.edit("main.go", "\"good day\"", "\"hello\"");
    bench.start(serving(&["build"], 1));
    bench.serves("hello second PAGE THREE\n");
    bench.stop();
    bench.project.edit("main.go", "\"hello\"", "\"good day\"");
    bench.start(cached("serving", "build"));
    bench.serves("good day second PAGE THREE\n");
    bench.stop();

    // 26, 27: once, without a server.
    let (status, _, said) = bench.project.once(&["build"]);
    assert!(status.success(), "{said}");
    assert!(!bench.project.path(RUNS).exists(), "{said}");
    let (status, _, said) = bench.project.once(&["build", "--force"]);
    assert!(status.success(), "{said}");
    assert_eq!(bench.project.read(RUNS), "generate\nbuild\nassets\n");
}

// ---------------------------------------------------------------- branches

/// Files on each of two branches; 50 more are only on the one, and 50 only on the other.
const ON_BOTH: usize = 400;

#[test]
fn a_branch_switched_with_500_files_is_one_build_and_the_way_back_none() {
    if !have("git") {
        return;
    }
    let project = Project::new();
    let text = |branch: &str, number: usize| format!("{branch} {number}\n");
    let put = |branch: &str, others: usize| {
        let numbers = (0..ON_BOTH).chain(others..others + 50);
        for number in numbers {
            project.write(&format!("src/f{number:03}"), &text(branch, number));
        }
    };
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]\nname = \"list\"\nfiles = [\"src/**\"]\noutputs = [\"all.list\"]\n\
             run = \"echo list >> {RUNS}; cat src/* > all.list\"\n\
             [server]\nrun = {}\nlisten = [\"127.0.0.1:0\"]\n",
            project.child_list(&["listen", "fd", "serve-file", "all.list"]),
        ),
    );
    project.write(".gitignore", "all.list\n.devwatch\n");
    let git = |line: &str| {
        let who = "-c user.name=one -c user.email=one@example.org -c commit.gpgsign=false";
        project.shell(&format!("git {who} {line}"));
    };
    git("init -q -b main");
    put("main", 400);
    git("add -A");
    git("commit -q -m main");
    git("switch -q -c other");
    git("rm -q src/f40? src/f41? src/f42? src/f43? src/f44?");
    put("other", 450);
    git("add -A");
    git("commit -q -m other");
    git("switch -q main");

    let expected = |branch: &str, others: usize| {
        let numbers = (0..ON_BOTH).chain(others..others + 50);
        numbers
            .map(|number| text(branch, number))
            .collect::<String>()
    };
    let (main, other) = (expected("main", 400), expected("other", 450));
    let built = Cost {
        runs: &["list"],
        new: 1,
        end: "serving",
        ..Cost::default()
    };
    let cached = Cost {
        cached: "list",
        end: "serving",
        ..Cost::default()
    };
    let mut bench = Bench::new(project);
    bench.start(built);
    bench.serves(&main);
    // Each switch is one cycle with all of it: the next one that begins is the next switch's.
    let first: Vec<String> = (0..8).map(|number| format!("src/f{number:03}")).collect();
    let all = format!("500 files: {}, ...", first.join(", "));
    let mut switch = |branch: &str, cost: Cost, content: &str| {
        bench.project.shell(&format!("git switch -q {branch}"));
        bench.cycle(&all, cost);
        bench.serves(content);
    };
    switch("other", built, &other);
    switch("main", cached, &main);
    switch("other", cached, &other);
    switch("main", cached, &main);
    // And what was switched while nobody looked.
    bench.stop();
    bench.project.shell("git switch -q other");
    bench.start(cached);
    bench.serves(&other);
    bench.stop();
}

/// Rules that stand alone, each of which ends only when the other has begun.
#[test]
fn rules_that_wait_for_nobody_run_at_the_same_time_as_far_as_jobs_goes() {
    let waiting = |own: &str, other: &str| {
        format!(
            "[[rule]]\nname = \"{own}\"\nfiles = [\"src/{own}\"]\nafter = []\nrun = \"touch {own}.began; n=0; \
             until [ -e {other}.began ]; do sleep 0.02; n=$((n+1)); [ $n -lt 3000 ] || exit 1; done\"\n"
        )
    };
    let project = Project::new();
    project.write(
        "devwatch.toml",
        &format!("jobs = 2\n{}{}", waiting("a", "b"), waiting("b", "a")),
    );
    let (status, _, said) = project.once(&["build"]);
    assert!(status.success(), "{said}");

    let alone = |own: &str| {
        format!(
            "[[rule]]\nname = \"{own}\"\nfiles = [\"src/{own}\"]\nafter = []\n\
             run = \"echo {own} >> order; sleep 0.05; echo {own} >> order\"\n"
        )
    };
    let project = Project::new();
    project.write(
        "devwatch.toml",
        &format!("jobs = 1\n{}{}", alone("a"), alone("b")),
    );
    let (status, _, said) = project.once(&["build"]);
    assert!(status.success(), "{said}");
    assert_eq!(project.read("order"), "a\na\nb\nb\n");
}

#[test]
fn a_rule_that_fails_takes_along_only_those_that_need_it() {
    let project = Project::new();
    project.write(
        "devwatch.toml",
        "jobs = 4\n\
         [[rule]]\nname = \"bad\"\nfiles = [\"src/*\"]\nrun = \"exit 3\"\nafter = []\n\
         [[rule]]\nname = \"good\"\nfiles = [\"src/*\"]\nrun = \"sleep 0.1; touch good.txt\"\nafter = []\n\
         [[rule]]\nname = \"needs-bad\"\nfiles = [\"src/*\"]\nrun = \"touch never.txt\"\nafter = \"bad\"\n\
         [[rule]]\nname = \"needs-good\"\nfiles = [\"src/*\"]\nrun = \"touch also.txt\"\nafter = \"good\"\n",
    );
    let (status, _, said) = project.once(&["build"]);
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains(" end failed ") && said.contains("rule=bad exit=3"),
        "{said}"
    );
    let there = |file: &str| project.path(file).exists();
    assert!(
        there("good.txt") && there("also.txt") && !there("never.txt"),
        "{said}"
    );
}

#[test]
fn a_build_beside_a_running_devwatch_is_refused() {
    let project = Project::new();
    project.write(
        "devwatch.toml",
        "[[rule]]\nfiles = [\"src/*\"]\nrun = \"true\"\n",
    );
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("ok");
    let (status, _, said) = project.once(&["build", "--force"]);
    assert_eq!(status.code(), Some(6), "{said}");
    assert!(said.contains("another devwatch already runs"), "{said}");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

/// Whose globs miss what it writes: if that goes, nobody sees it.
#[test]
fn a_rule_without_any_of_its_outputs_is_never_taken_for_up_to_date() {
    let project = Project::new();
    project.write(
        "devwatch.toml",
        "[[rule]]\nname = \"build\"\nfiles = [\"src/*\"]\noutputs = [\"dist/*\"]\n\
         run = \"echo build >> runs; mkdir -p bin; touch bin/app\"\n",
    );
    for runs in ["build\n", "build\nbuild\n"] {
        let (status, _, said) = project.once(&["build"]);
        assert!(status.success(), "{said}");
        assert_eq!(project.read("runs"), runs);
    }
}
