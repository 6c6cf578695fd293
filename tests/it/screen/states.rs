//! Every state, reached with a real project.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;

use expect_test::expect;
use nix::sys::signal::{Signal, kill};
use regex::Regex;

use super::{Seen, Sitting, api, capture, server, simple};
use crate::project::{free_port, get, have, hot_server};

#[test]
fn a_server_starts_and_serves() {
    // Until it is told to go on.
    let project = api("ready = { log = \"up\" }", "");
    project.write(
        "api/source.sh",
        "echo hello\nread x <../gate\necho up\nexec sleep 1000\n",
    );
    project.shell("mkfifo gate");
    let mut sitting = Sitting::start(project);
    let seen = sitting.until("it starts", |seen| {
        seen.is("STARTING") && seen.contains("hello")
    });
    expect![[r#"
        [STARTING] · api · gen 1 · pid P · NOT SERVING
        build #1 ok T
        N files in N dirs · follow
        ─ app log · gen 1 ──
        hello

        r rebuild  R cold restart  p pause  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.write("gate", "go\n");
    let seen = sitting.until("it serves", |seen| {
        seen.is("SERVING") && seen.contains("up")
    });
    expect![[r#"
        [SERVING] · api · gen 1 · pid P · up T · FRESH
        build #1 ok T
        N files in N dirs · follow
        ─ app log · gen 1 ──
        hello
        up

        r rebuild  R cold restart  p pause  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.quit();
}

#[test]
fn a_build_is_measured_against_the_ones_before() {
    let mut sitting = Sitting::serving(simple());
    // Nobody knows yet how long it takes.
    sitting.write("hold", "");
    let source = sitting.project.read("api/source.sh");
    sitting.write("api/source.sh", &format!("{source}# 2\n"));
    let seen = sitting.until("it builds", |seen| {
        seen.is("BUILDING") && seen.row(4).starts_with("running ")
    });
    expect![[r#"
        [BUILDING] · api · gen 1 · pid P · up T · STALE T
        build #2 running T · source.sh
        http://127.0.0.1:PORT · N files in N dirs
        ─ build #2 · sh ../build.sh ──
        running T
        ─ app log · gen 1 still serving ──
        listening 127.0.0.1:PORT

        r rebuild  R cold restart  p pause  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.project.shell("rm hold");
    serves(&mut sitting, 2);
    sitting.write("api/source.sh", &format!("{source}# 3\n"));
    serves(&mut sitting, 3);
    // Three are known, and none took as long as this one.
    sitting.write("hold", "");
    sitting.write("api/source.sh", &format!("{source}# 4\n"));
    let seen = sitting.until("it takes longer", |seen| {
        seen.is("BUILDING") && seen.row(4).contains(", +")
    });
    expect![[r#"
        [BUILDING] · api · gen 3 · pid P · up T · STALE T · hot 0 cold 2
        build #4 running T (median T) · save→serve T ▁▂▃ · source.sh
        http://127.0.0.1:PORT · N files in N dirs
        ─ build #4 · sh ../build.sh ──
        █░  T (median T, +N%)
        ─ app log · gen 3 still serving ──
        listening 127.0.0.1:PORT
        listening 127.0.0.1:PORT
        listening 127.0.0.1:PORT

        r rebuild  R cold restart  p pause  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.project.shell("rm hold");
    serves(&mut sitting, 4);
    let seen = sitting.state("SERVING");
    expect![[r#"
        [SERVING] · api · gen 4 · pid P · up T · FRESH · hot 0 cold 3
        build #4 ok T (median T) · save→serve T ▁▂▃
        http://127.0.0.1:PORT · N files in N dirs · follow
        ─ app log · gen 4 ──
        … 1 line (25 B) of generation 1 and before dropped …
        listening 127.0.0.1:PORT
        listening 127.0.0.1:PORT
        listening 127.0.0.1:PORT

        r rebuild  R cold restart  p pause  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.quit();
}

#[test]
fn a_build_has_a_bar_that_grows() {
    let project = simple();
    // As three builds of a minute leave it.
    let root = project.path("api").display().to_string();
    project.write(
        "api/.devwatch/state",
        &format!(
            "{{\"listens\":true,\"root\":{root:?},\"version\":2,\"rules\":{{\"build\":{{\"success\":null,\
             \"took\":[60000,60000,60000]}}}}}}"
        ),
    );
    project.write("hold", "");
    let mut sitting = Sitting::start(project);
    let seen = sitting.until("a bar", |seen| {
        seen.is("BUILDING") && seen.row(4).contains("█")
    });
    expect![[r#"
        [BUILDING] · api · NOT SERVING
        build #1 running T (median T)
        N files in N dirs
        ─ build #1 · sh ../build.sh ──
        █░  T / ~T N%
        ─ build output · #1 ──

        r rebuild  R cold restart  p pause  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    let full = |seen: &Seen| seen.row(4).chars().filter(|cell| *cell == '█').count();
    let before = full(&seen);
    sitting.until("more of it", |seen| full(seen) > before);
    sitting.project.shell("rm hold");
    sitting.state("SERVING");
    sitting.quit();
}

#[test]
fn what_is_told_before_there_is_a_screen_is_on_it() {
    let project = simple();
    project.write("api/.devwatch/state", "damaged");
    project.write("hold", "");
    let mut sitting = Sitting::start(project);
    let seen = sitting.state("BUILDING");
    assert!(
        seen.contains("note: .devwatch/state is damaged;"),
        "{:?}",
        seen.rows
    );
    sitting.project.shell("rm hold");
    sitting.state("SERVING");
    sitting.quit();
}

const BROKEN: &str = "\n# as it was\ntrue no_name one\n";

#[test]
fn a_failed_build_leaves_the_old_generation_and_shows_the_first_problem_first() {
    let mut sitting = Sitting::serving(simple());
    let old = sitting.state("SERVING").pid();
    let source = sitting.project.read("api/source.sh");
    sitting.write(
        "api/source.sh",
        &format!("{source}{BROKEN}true no_name two\ntrue spare_name\n"),
    );
    let seen = sitting.state("BUILD FAILED");
    expect![[r#"
        [BUILD FAILED] · api · gen 1 · pid P · up T · STALE since HH:MM:SS
        build #2 failed T · 2 errors 1 warning · source.sh
        http://127.0.0.1:PORT · N files in N dirs
        ─ problems · 2 errors, 1 warning · build #2 ──
         1 error  source.sh:4:6    undefined: no_name
            3 │ # as it was
            4 │ true no_name one
              │      ^

         2 error  source.sh:5:6    undefined: no_name
            5 │ true no_name two
              │      ^

         3 warn   source.sh:6:6    unused: spare_name

        ─ app log · gen 1 still serving (STALE) ──
        listening 127.0.0.1:PORT

        enter open  n/N next  l log  r rebuild  p pause  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    assert_eq!(seen.pid(), old);
    assert!(seen.is_focused("─ problems"), "{:?}", seen.rows);
    // Repaired, nothing of it is left.
    sitting.write("api/source.sh", &source.replace("one", "two"));
    let seen = sitting.until("new code", |seen| {
        seen.is("SERVING") && seen.contains("gen 2 ·")
    });
    expect![[r#"
        [SERVING] · api · gen 2 · pid P · up T · FRESH · hot 0 cold 1
        build #3 ok T · save→serve T
        http://127.0.0.1:PORT · N files in N dirs · follow
        ─ app log · gen 2 ──
        listening 127.0.0.1:PORT
        listening 127.0.0.1:PORT

        r rebuild  R cold restart  p pause  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.quit();
}

#[test]
fn a_build_that_fails_without_a_problem_speaks_for_itself() {
    let mut sitting = Sitting::serving(simple());
    sitting.write("build.sh", "echo nobody understands this; exit 7\n");
    sitting.write("api/source.sh", "true\n");
    let seen = sitting.state("BUILD FAILED");
    expect![[r#"
        [BUILD FAILED] · api · gen 1 · pid P · up T · STALE since HH:MM:SS
        build #2 failed T · source.sh
        http://127.0.0.1:PORT · N files in N dirs
        ─ build #2 · output ──
        nobody understands this
        exit status 7 after T

        ─ app log · gen 1 still serving (STALE) ──
        listening 127.0.0.1:PORT

        enter open  n/N next  l log  r rebuild  p pause  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.quit();
}

#[test]
fn a_small_screen_puts_the_message_first() {
    let project = simple();
    let source = project.read("api/source.sh");
    project.write("api/source.sh", &format!("{source}{BROKEN}"));
    let mut sitting = Sitting::start_with(project, (12, 40), &[]);
    let seen = sitting.state("BUILD FAILED");
    expect![[r#"
        [BUILD FAILED] · api · NOT SERVING
        build #1 failed T · 1 error
        ─ problems · 1 error · build #1 ──
         1 error  undefined: no_name
           source.sh:4:6
            3 │ # as it was
            4 │ true no_name one
              │      ^

        ─ build output · #1 ──
        source.sh:4:6: error: undefined: no_name
        enter open  n/N next  r  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.write("api/source.sh", &source);
    let seen = sitting.state("SERVING");
    expect![[r#"
        [SERVING] · api · gen 1 · FRESH
        build #2 ok T · save→serve T
        ─ app log · gen 1 ──
        listening 127.0.0.1:PORT

        r rebuild  R  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.quit();
}

#[test]
fn a_screen_of_three_rows_has_one_line() {
    let project = simple();
    let source = project.read("api/source.sh");
    let mut sitting = Sitting::start_with(project, (3, 60), &[]);
    let seen = sitting.state("SERVING");
    expect![[r#"
        [SERVING] api gen 1 pid P up T FRESH

    "#]]
    .assert_eq(&seen.text());
    sitting.write("api/source.sh", &format!("{source}{BROKEN}"));
    let seen = sitting.state("BUILD FAILED");
    expect![[r#"
        [BUILD FAILED] api gen 1 pid P STALE since HH:MM:SS

    "#]]
    // With a short pid there is room for it.
    .assert_eq(&seen.text().replace(" up T", ""));
    sitting.quit();
}

#[test]
fn a_tall_screen_shows_what_has_happened() {
    let project = simple();
    let source = project.read("api/source.sh");
    let mut sitting = Sitting::start_with(project, (40, 120), &[]);
    sitting.state("SERVING");
    sitting.write("api/source.sh", &format!("{source}{BROKEN}"));
    sitting.state("BUILD FAILED");
    sitting.write("api/source.sh", &source);
    sitting.until("repaired", |seen| {
        seen.is("SERVING") && seen.row(1).contains("#3")
    });
    sitting.write("api/source.sh", &source.replace("one", "two"));
    let seen = sitting.until("new code", |seen| {
        seen.is("SERVING") && seen.row(1).contains("#4") && listening(seen) == 2
    });
    expect![[r#"
        [SERVING] · api · gen 2 · pid P · up T · FRESH · hot 0 cold 1
        build #4 ok T · save→serve T
        http://127.0.0.1:PORT · N files in N dirs · follow
        ─ app log · gen 2 ──
        listening 127.0.0.1:PORT
        listening 127.0.0.1:PORT

        ─ history ──
        HH:MM:SS #4 source.sh                      build T restart cold T serving T
        HH:MM:SS #3 source.sh                      no build     unchanged
        HH:MM:SS #2 source.sh                      build FAILED T 1 error     (gen 1 kept serving)
        HH:MM:SS #1 start                          build T start T

        r rebuild  R cold restart  p pause  e problems  l log  / search  o open url  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.quit();
}

#[test]
fn a_cold_restart_shows_who_goes_and_who_waits() {
    let project = api(
        "listen = [\"127.0.0.1:0\"]\nstop = { timeout = \"100s\" }\nready = { timeout = \"100s\" }",
        "",
    );
    // The old one takes its time to go, and its successor waits for us.
    let verbs = [
        "trap", "SIGTERM", "3000", "0", "listen", "fd", "serve", "one",
    ];
    let source = format!(
        "while [ -e ../wait ]; do sleep 0.02; done\nexec {}\n",
        project.child_line(&verbs)
    );
    project.write("api/source.sh", &source);
    let mut sitting = Sitting::serving(project);
    sitting.write("wait", "");
    let port = capture(r"127\.0\.0\.1:(\d+)", sitting.state("SERVING").row(2)).expect("a port");
    let port: u16 = port.parse().expect("a number");
    sitting.write("api/source.sh", &format!("{source}# two\n"));
    let seen = sitting.until("the old one goes", |seen| {
        seen.is("COLD RESTART") && seen.contains("stopping")
    });
    expect![[r#"
        [COLD RESTART] · api · NOT SERVING
        build #2 ok T · source.sh
        http://127.0.0.1:PORT · N files in N dirs
        ─ restart #1 cold · requests wait ──
        gen 1 pid P  stopping   T / T
        the next one starts when nothing of it is left
        ─ app log ──
        listening 127.0.0.1:PORT

        r rebuild  R cold restart  p pause  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.until("nobody serves", |seen| {
        seen.contains("NOT SERVING") && seen.contains("starting ")
    });
    let clients = [(); 2].map(|()| std::thread::spawn(move || get(port)));
    let seen = sitting.until("clients wait", |seen| {
        seen.is("COLD RESTART") && seen.contains("held: 2 waiting")
    });
    expect![[r#"
        [COLD RESTART] · api · gen 2 · pid P · NOT SERVING
        build #2 ok T · source.sh
        http://127.0.0.1:PORT (held: 2 waiting) · N files in N dirs
        ─ restart #1 cold · requests wait ──
        gen 2 pid P  starting T
        ─ app log · gen 2 ──
        listening 127.0.0.1:PORT

        r rebuild  R cold restart  p pause  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.project.shell("rm wait");
    for client in clients {
        let answer = client.join().expect("no panic").expect("an answer");
        assert_eq!(answer, "one");
    }
    let seen = sitting.state("SERVING");
    expect![[r#"
        [SERVING] · api · gen 2 · pid P · up T · FRESH · hot 0 cold 1
        build #2 ok T · save→serve T
        http://127.0.0.1:PORT · N files in N dirs · follow
        ─ app log · gen 2 ──
        listening 127.0.0.1:PORT
        listening 127.0.0.1:PORT

        r rebuild  R cold restart  p pause  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.quit();
}

#[test]
fn a_crash_shows_the_last_words_and_the_place() {
    let project = api("", "");
    project.write(
        "api/worker.py",
        "def work():\n    raise ValueError('not today')\n\n\nwork()\n",
    );
    project.write("api/source.sh", "echo starting\nexec python3 worker.py\n");
    if !have("python3") {
        return;
    }
    let mut sitting = Sitting::start(project);
    let seen = sitting.until("it waits for a change", |seen| {
        seen.is("CRASHED") && seen.contains("waiting for a change")
    });
    expect![[r#"
        [CRASHED] · api · gen 5 down · exit 1 · NOT SERVING
        build #1 ok T
        N files in N dirs
        ─ exit · gen 5 · exit status 1 · waiting for a change (r to restart) ──
        Traceback (most recent call last):
         1 error  worker.py:2    ValueError: not today
            2 │     raise ValueError('not today')
    "#]]
    .assert_eq(&before(&seen, "  File "));
    let source = server(&sitting.project, free_port(), "one", &[]);
    sitting.write("api/source.sh", &source);
    sitting.state("SERVING");
    sitting.quit();
}

#[test]
fn a_server_that_dies_is_started_again() {
    let project = simple();
    let mut sitting = Sitting::serving(project);
    // Sooner, the last good build would be put in its place.
    let stable = |seen: &Seen| {
        capture(r"up (\d+)s", seen.row(0)).is_some_and(|up| up != "0" && up != "1" && up != "2")
    };
    let pid = sitting.until("it is stable", stable).pid();
    kill(pid, Signal::SIGKILL).expect("it can be killed");
    let seen = sitting.until("another one", |seen| {
        seen.is("SERVING") && seen.contains("gen 2 ·")
    });
    assert_ne!(seen.pid(), pid);
    expect![[r#"
        [SERVING] · api · gen 2 · pid P · up T · FRESH
        build #1 ok T · 1 crash
        http://127.0.0.1:PORT · N files in N dirs · follow
        ─ app log · gen 2 ──
        listening 127.0.0.1:PORT
        devwatch: gen 1 crashed exit=SIGKILL after=T
        devwatch: note: starting it again in T
        listening 127.0.0.1:PORT

        r rebuild  R cold restart  p pause  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.quit();
}

#[test]
fn a_config_with_a_mistake_is_shown_and_not_applied() {
    let project = simple();
    let good = project.read("api/devwatch.toml");
    let mut sitting = Sitting::serving(project);
    sitting.write("api/devwatch.toml", &format!("{good}restrat = \"hot\"\n"));
    let seen = sitting.state("CONFIG ERROR");
    expect![[r#"
        [CONFIG ERROR] · api · gen 1 · pid P · up T · FRESH
        build #1 ok T · old config in force · devwatch.toml
        http://127.0.0.1:PORT · N files in N dirs
        ─ devwatch.toml · not applied, old config in force ──
        error: unknown key `restrat` in [server]
          --> devwatch.toml:10:1
           |
        10 | restrat = "hot"
           | ^^^^^^^ did you mean `restart`?
           |
        help: allowed keys: run, restart, listen, env, env_file, cwd, stop, ready, hot

    "#]]
    .assert_eq(&above_the_log(&seen));
    sitting.write("api/devwatch.toml", &good);
    let seen = sitting.state("SERVING");
    expect![[r#"
        [SERVING] · api · gen 1 · pid P · up T · FRESH
        build #2 unchanged
        http://127.0.0.1:PORT · N files in N dirs · follow
    "#]]
    .assert_eq(&above_the_log(&seen));
    sitting.quit();
}

#[test]
fn changes_are_counted_while_paused() {
    let mut sitting = Sitting::serving(simple());
    sitting.press("p");
    let seen = sitting.state("PAUSED");
    expect![[r#"
        [PAUSED] · api · gen 1 · pid P · up T · FRESH
        build #1 ok T
        http://127.0.0.1:PORT · N files in N dirs · paused: 0 changes waiting · follow
        ─ app log · gen 1 ──
        listening 127.0.0.1:PORT
        devwatch: note: paused; changes wait until resumed, or until a build is asked fo
        r

        r rebuild  R cold restart  p resume  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    let source = sitting.project.read("api/source.sh");
    sitting.write("api/source.sh", &source.replace("one", "two"));
    let seen = sitting.shows("paused: 1 change waiting");
    expect![[r#"
        [PAUSED] · api · gen 1 · pid P · up T · STALE since HH:MM:SS
        build #1 ok T
        http://127.0.0.1:PORT · N files in N dirs · paused: 1 change waiting · follow
        ─ app log · gen 1 ──
        listening 127.0.0.1:PORT
        devwatch: note: paused; changes wait until resumed, or until a build is asked fo
        r

        r rebuild  R cold restart  p resume  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.press("p");
    sitting.until("new code", |seen| {
        seen.is("SERVING") && seen.contains("gen 2 ·")
    });
    sitting.quit();
}

#[test]
fn a_task_without_a_server_is_idle() {
    let project = api("", "first\n");
    let config = project.read("api/devwatch.toml");
    let task = config.split("[server]").next().expect("a rule");
    project.write("api/devwatch.toml", task);
    project.write(
        "build.sh",
        "echo checking; cat source.sh; cp source.sh built.sh\n",
    );
    let mut sitting = Sitting::start(project);
    let seen = sitting.until("done", |seen| seen.is("IDLE") && seen.contains("first"));
    expect![[r#"
        [IDLE] · api
        build #1 ok T
        N files in N dirs · follow
        ─ build output · #1 ──
        checking
        first

        r rebuild  p pause  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.write("api/source.sh", "second\n");
    sitting.until("done again", |seen| {
        seen.is("IDLE") && seen.contains("second")
    });
    sitting.quit();
}

#[test]
fn a_stopped_server_is_idle() {
    let mut sitting = Sitting::serving(simple());
    sitting.press("x");
    let seen = sitting.until("nobody serves", |seen| seen.is("IDLE"));
    expect![[r#"
        [IDLE] · api · NOT SERVING
        build #1 ok T
        http://127.0.0.1:PORT · N files in N dirs · follow
        ─ app log ──
        listening 127.0.0.1:PORT
        devwatch: note: gen 1 is told to stop; it stays down until something changes or
        a build is asked for

        r rebuild  R cold restart  p pause  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.quit();
}

#[test]
fn a_server_that_is_slow_to_stop_is_waited_for() {
    let project = api(
        "ready = { log = \"up\" }\nstop = { timeout = \"100s\" }",
        "",
    );
    project.write(
        "api/source.sh",
        "trap 'echo not yet' TERM\necho up\nwhile :; do sleep 1000 & wait; done\n",
    );
    let mut sitting = Sitting::serving(project);
    sitting.press("q");
    let seen = sitting.until("it stops", |seen| {
        seen.is("STOPPING") && seen.contains("not yet")
    });
    expect![[r#"
        [STOPPING] · api · NOT SERVING
        build #1 ok T
        N files in N dirs · follow
        ─ app log ──
        up
        not yet

        r rebuild  R cold restart  p pause  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.press("q");
    sitting.shows("left with 0");
}

#[test]
fn a_server_that_forks_itself_drains() {
    drains(
        "restart = \"hot\"",
        hot_server("falcore-like"),
        "[server.hot]\npreset = \"falcore\"\ndrain = \"100s\"",
        &|seen| {
            expect![[r#"
                [HOT RESTART] · api · gen 1→2 · pid P→P · STALE T
                build #2 ok T · source.sh
                http://127.0.0.1:PORT · N files in N dirs
                ─ restart #1 hot · SIGHUP + fd inheritance ──
                gen 1 pid P  draining   1 conn left   T / T
                gen 2 pid P  ready T accepting
            "#]]
            .assert_eq(&above_the_log(seen));
        },
    );
}

#[test]
fn two_generations_overlap() {
    drains(
        "restart = \"hot\"\nlisten = [\"127.0.0.1:PORT\"]",
        hot_server("drains"),
        "[server.hot]\ndrain = \"100s\"",
        &|seen| {
            expect![[r#"
                [HOT RESTART] · api · gen 1→2 · pid P→P · STALE T
                build #2 ok T · source.sh
                http://127.0.0.1:PORT · N files in N dirs
                ─ restart #1 hot · both on the held sockets ──
                gen 1 pid P  draining   1 conn left   T / T
                gen 2 pid P  ready T accepting
            "#]]
            .assert_eq(&above_the_log(seen));
        },
    );
}

/// Waits until this generation serves alone, and what it has printed is there.
#[track_caller]
fn serves(sitting: &mut Sitting, generation: usize) {
    let number = format!("gen {generation} ·");
    sitting.until(&number, |seen| {
        seen.is("SERVING") && seen.row(0).contains(&number) && listening(seen) == generation.min(3)
    });
}

fn listening(seen: &Seen) -> usize {
    let rows = seen.rows.iter();
    rows.filter(|row| row.starts_with("listening ")).count()
}

/// Without what two generations print at the same time, or what is as long as the path of a temporary folder.
fn above_the_log(seen: &Seen) -> String {
    before(seen, "─ app log")
}

fn before(seen: &Seen, text: &str) -> String {
    let all = seen.text();
    all.split(text).next().unwrap_or_default().to_owned()
}

/// One client keeps the old generation busy, and the screen shows both.
fn drains(table: &str, binary: PathBuf, hot: &str, expected: &dyn Fn(&Seen)) {
    let port = free_port();
    let table = format!("env = {{ PORT = \"{port}\" }}\n{table}\n{hot}")
        .replace(":PORT", &format!(":{port}"));
    let project = api(&table, "v1");
    project.write(
        "build.sh",
        &format!(
            "cp '{}' out.tmp; printf VERSION:%s $(cat source.sh) >>out.tmp; mv out.tmp built.sh",
            binary.display()
        ),
    );
    let config = project
        .read("api/devwatch.toml")
        .replace("[\"sh\", \"built.sh\"]", "[\"./built.sh\"]");
    project.write("api/devwatch.toml", &config);
    let mut sitting = Sitting::serving(project);
    let old = sitting.state("SERVING").pid();
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    client
        .write_all(b"GET /slow?ms=8000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("it is asked");
    // Whoever comes later is accepted later.
    get(port).expect("an answer");
    sitting.write("api/source.sh", "v2");
    let seen = sitting.until("it drains", |seen| {
        seen.is("HOT RESTART") && seen.contains("1 conn left") && seen.contains("accepting")
    });
    expected(&seen);
    let pids = Regex::new(r"pid (\d+)→(\d+)").expect("a regex");
    let pids = pids.captures(seen.row(0)).expect("both pids");
    assert_eq!(pids[1], old.to_string());
    assert!(
        seen.contains(&format!("gen 1 pid {old}  draining"))
            && seen.contains(&format!("gen 2 pid {}  ", &pids[2])),
        "{:?}",
        seen.rows
    );
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("v1, slept 8000 ms"), "{answer}");
    let seen = sitting.until("the new one alone", |seen| {
        seen.is("SERVING") && seen.contains("FRESH")
    });
    assert!(seen.contains("hot 1 cold 0"), "{:?}", seen.rows);
    sitting.quit();
}
