//! Every state, reached with a real project.

use expect_test::expect;

use super::{Seen, Sitting, api, config, server, simple};
use crate::project::{free_port, get};

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
        seen.is("BUILDING") && seen.contains("running 0.")
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
    sitting.shows("gen 2 ·");
    sitting.write("api/source.sh", &format!("{source}# 3\n"));
    sitting.shows("gen 3 ·");
    // Three are known, and none took as long as this one.
    sitting.write("hold", "");
    sitting.write("api/source.sh", &format!("{source}# 4\n"));
    let seen = sitting.until("it takes longer", |seen| {
        seen.is("BUILDING") && seen.row(4).contains(", +")
    });
    expect![[r#"
        [BUILDING] · api · gen 3 · pid P · up T · STALE T · hot 0 cold 2
        build #4 running T (median T) · save→serve T · source.sh
        http://127.0.0.1:PORT · N files in N dirs
        ─ build #4 · sh ../build.sh ──
        █░  T (median T, +N%)
        ─ app log · gen 3 still serving ──
        listening 127.0.0.1:PORT
        listening 127.0.0.1:PORT
        devwatch: note: gen 2 accepts; a newer change is being built
        listening 127.0.0.1:PORT

        r rebuild  R cold restart  p pause  e problems  l log  / search  ? help  q quit
    "#]]
    .assert_eq(&seen.text());
    sitting.project.shell("rm hold");
    sitting.shows("gen 4 ·");
    let seen = sitting.state("SERVING");
    expect![[r#"
        [SERVING] · api · gen 4 · pid P · up T · FRESH · hot 0 cold 3
        build #4 ok T (median T) · save→serve T ▁▂▃
        http://127.0.0.1:PORT · N files in N dirs · follow
        ─ app log · gen 4 ──
        … 1 line (25 B) of generation 1 and before dropped …
        listening 127.0.0.1:PORT
        devwatch: note: gen 2 accepts; a newer change is being built
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
        █░  T / ~T  N%
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
