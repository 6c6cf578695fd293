//! Timelines: facts on the left, orders on the right, as the trace prints them.
//!
//! A script line is `SECONDS FACT`. `elapsed` lines may be left out: the supervisor's own deadlines are kept
//! between two lines, and what they cause is shown at their time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use expect_test::{Expect, expect};

use super::event::{
    Digest, Effect, Event, Evidence, Exit, HotMode, HotPolicy, Policy, Produced, ReadyPolicy,
    Report, Request, Reuse, RulePolicy, ServerPolicy,
};
use super::generation::JobId;
use super::plan::{Plan, RuleId, Then};
use super::{Supervisor, trace};

#[expect(
    clippy::disallowed_methods,
    reason = "an origin for virtual time; only differences count"
)]
fn origin() -> Instant {
    Instant::now()
}

/// A build with outputs, then a restart.
fn build_and_serve() -> Policy {
    in_a_row(vec![rule("build", true, true)], Some(server()))
}

/// Each rule needs all above it, as where none says otherwise.
fn in_a_row(mut rules: Vec<RulePolicy>, server: Option<ServerPolicy>) -> Policy {
    for (place, rule) in rules.iter_mut().enumerate() {
        rule.needs = (0..place).map(RuleId).collect();
    }
    Policy {
        rules,
        jobs: 4,
        server,
    }
}

fn rule(name: &str, runs: bool, outputs: bool) -> RulePolicy {
    RulePolicy {
        name: name.to_owned(),
        then: Then::Restart,
        runs,
        outputs,
        timeout: None,
        needs: BTreeSet::new(),
    }
}

fn server() -> ServerPolicy {
    ServerPolicy {
        holds: true,
        stop_timeout: Duration::from_secs(5),
        ready_timeout: Duration::from_secs(10),
        ready: ReadyPolicy::Accepting,
        silent: false,
        hot: None,
    }
}

fn hot(mode: HotMode) -> Policy {
    let hot = HotPolicy {
        mode,
        drain: Duration::from_secs(5),
        fork_timeout: Duration::from_secs(2),
        cold_on_failure: false,
    };
    let mut policy = build_and_serve();
    policy.server.as_mut().expect("has a server").hot = Some(hot);
    policy
}

fn fact(text: &str, now: Instant) -> Event {
    let words: Vec<&str> = text.split_whitespace().collect();
    let job = |place: usize| JobId(words[place].parse().expect("a job number"));
    match words[0] {
        "began" => Event::Began,
        // changed RULES THEN FILE...
        "changed" => Event::Changed {
            plan: Plan {
                rules: words[1]
                    .split('+')
                    .filter(|r| *r != "-")
                    .map(|r| RuleId(r.parse().expect("a rule")))
                    .collect(),
                forced: BTreeSet::new(),
                then: match words[2] {
                    "cold" => Then::Cold,
                    "reload" => Then::Reload,
                    _ => Then::Nothing,
                },
            },
            files: words[3..].iter().map(PathBuf::from).collect(),
            since: now,
        },
        "withheld" => Event::Withheld {
            plan: Plan {
                rules: [RuleId(words[1].parse().expect("a rule"))].into(),
                ..Plan::default()
            },
            since: now,
        },
        "spawned" => Event::Spawned(job(1), 100 + job(1).0 as i32),
        "spawn-failed" => Event::SpawnFailed(job(1), "no such program".to_owned()),
        "exited" => Event::Exited(
            job(1),
            match words[2].strip_prefix('-') {
                Some(signal) => Exit::Signal(signal.parse().expect("a signal")),
                None => Exit::Code(words[2].parse().expect("a code")),
            },
        ),
        "gone" => Event::TreeGone(job(1)),
        "produced" => Event::Produced(job(1), produced(&words[2..])),
        "reused" => Event::Reused(
            job(1),
            match words[2] {
                "current" => Reuse::Current(produced(&words[3..])),
                "restored" => Reuse::Restored(produced(&words[3..])),
                _ => Reuse::Nothing,
            },
        ),
        "listening" => Event::Listening(job(1)),
        "ready" => Event::Ready(job(1), Evidence::Proven),
        "kept" => Event::Kept(job(1)),
        "refused" => Event::Refused(job(1), "the server does not handle SIGHUP".to_owned()),
        "took-over" => Event::TookOver(job(1), 777),
        "build" => Event::Asked(Request::Build),
        "restart" => Event::Asked(Request::Restart),
        "stop" => Event::Asked(Request::Stop),
        "pause" => Event::Asked(Request::Pause),
        "resume" => Event::Asked(Request::Resume),
        "configured" => Event::Configured {
            policy: build_and_serve(),
            server_changed: false,
            file: PathBuf::from("devwatch.toml"),
            since: now,
        },
        "quit" => Event::Asked(Request::Quit { code: 0 }),
        "elapsed" => Event::Elapsed,
        other => panic!("no fact is called {other}"),
    }
}

/// DIGEST [DIRTIED]
fn produced(words: &[&str]) -> Produced {
    let digest = Some(Digest(words[0].parse().expect("a digest")));
    let dirtied = words.get(1).into_iter();
    Produced {
        finals: digest,
        all: digest,
        dirtied: dirtied
            .map(|r| RuleId(r.parse().expect("a rule")))
            .collect(),
    }
}

/// Plays `script`, in a world where no rule can ever do without its command, and shows what was ordered when.
#[track_caller]
fn check(policy: Policy, script: &str, expected: Expect) {
    expected.assert_eq(&shown(policy, script, without_reuse));
}

/// Plays `script` and shows what was ordered when.
#[track_caller]
fn check_reuse(policy: Policy, script: &str, expected: Expect) {
    expected.assert_eq(&shown(policy, script, Supervisor::step));
}

/// A step, where no rule can ever do without its command.
fn without_reuse(supervisor: &mut Supervisor, now: Instant, event: Event) -> Vec<Effect> {
    let mut effects = supervisor.step(now, event);
    while let Some(place) = effects
        .iter()
        .position(|effect| matches!(effect, Effect::Reuse { .. }))
    {
        let Effect::Reuse { job, .. } = effects.remove(place) else {
            unreachable!("just found")
        };
        effects.extend(supervisor.step(now, Event::Reused(job, Reuse::Nothing)));
    }
    effects
}

/// What was ordered when.
fn shown(
    policy: Policy,
    script: &str,
    step: impl Fn(&mut Supervisor, Instant, Event) -> Vec<Effect>,
) -> String {
    let origin = origin();
    let mut supervisor = Supervisor::new(policy);
    let mut shown = String::new();
    let mut show = |at: Duration, fact: &str, effects: Vec<Effect>| {
        let orders: Vec<String> = effects.iter().map(trace::effect).collect();
        let line = format!("{:<5}{fact:<24} -> {}", at.as_secs_f64(), orders.join(", "));
        shown += line.trim_end();
        shown.push('\n');
    };
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let (at, text) = line.split_once(' ').expect("SECONDS FACT");
        let at = Duration::from_secs_f64(at.parse().expect("seconds"));
        while let Some(due) = supervisor.deadline().filter(|due| *due < origin + at) {
            let effects = step(&mut supervisor, due, Event::Elapsed);
            show(due - origin, "", effects);
        }
        let fact = fact(text.trim(), origin + at);
        let effects = step(&mut supervisor, origin + at, fact);
        show(at, text.trim(), effects);
    }
    shown
}

/// The lines that bring `build_and_serve` into service.
const SERVING: &str = "
    0.0 began
    0.5 exited 1 0
    0.5 gone 1
    0.5 produced 1 7
    0.5 spawned 2
    0.6 ready 2
";

/// The same where rules are asked first whether they can do without their commands.
const REUSE_SERVING: &str = "
    0.0 began
    0.0 reused 1 nothing
    0.5 exited 1 0
    0.5 gone 1
    0.5 produced 1 7
    0.5 spawned 2
    0.6 ready 2
";

#[test]
fn the_first_cycle_builds_and_serves() {
    check(
        build_and_serve(),
        SERVING,
        expect![[r#"
        0    began                    -> [begin 1 start], run 1 rule 0
        0.5  exited 1 0               -> inspect 1
        0.5  gone 1                   ->
        0.5  produced 1 7             -> start 2 gen 1
        0.5  spawned 2                ->
        0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
    "#]],
    );
}

#[test]
fn a_change_builds_then_stops_the_old_then_starts_the_new() {
    let script = format!(
        "{SERVING}
        5.0 changed 0 - a.go
        5.4 exited 3 0
        5.4 produced 3 8
        5.5 exited 2 0
        5.5 gone 2
        5.5 spawned 4
        5.6 ready 4"
    );
    check(
        build_and_serve(),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            5    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            5.4  exited 3 0               -> inspect 3
            5.4  produced 3 8             -> stop 2
            5.5  exited 2 0               -> stop 2 tree
            5.5  gone 2                   -> start 4 gen 2
            5.5  spawned 4                ->
            5.6  ready 4                  -> [end 2 serving gen 2 hold Proven]
        "#]],
    );
}

#[test]
fn a_change_while_building_cancels_and_waits_until_the_old_build_is_gone() {
    let script = "
        0.0 began
        0.4 changed 0 - a.go
        0.45 exited 1 143
        0.5 gone 1
        1.7 exited 2 0
        1.7 produced 2 9
        2.0 ready 3";
    check(
        build_and_serve(),
        script,
        expect![[r#"
        0    began                    -> [begin 1 start], run 1 rule 0
        0.4  changed 0 - a.go         -> stop 1 tree, [end 1 superseded], [begin 2 a.go]
        0.45 exited 1 143             -> stop 1 tree
        0.5  gone 1                   -> run 2 rule 0
        1.7  exited 2 0               -> inspect 2
        1.7  produced 2 9             -> start 3 gen 1
        2    ready 3                  -> [end 2 serving gen 1 first Proven]
    "#]],
    );
}

#[test]
fn a_failed_build_leaves_the_server_alone() {
    let script = format!(
        "{SERVING}
        5.0 changed 0 - a.go
        5.4 exited 3 1
        5.4 produced 3 7
        9.0 changed 0 - a.go
        9.4 exited 4 0
        9.4 produced 4 8"
    );
    check(
        build_and_serve(),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            5    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            5.4  exited 3 1               -> [end 2 failed rule 0 1 serving 1], [stale gen 1], inspect 3
            5.4  produced 3 7             ->
            9    changed 0 - a.go         -> [begin 3 a.go], run 4 rule 0
            9.4  exited 4 0               -> inspect 4
            9.4  produced 4 8             -> stop 2
        "#]],
    );
}

#[test]
fn identical_outputs_restart_nothing() {
    let script = format!(
        "{SERVING}
        5.0 changed 0 - a.go
        5.4 exited 3 0
        5.4 produced 3 7"
    );
    check(
        build_and_serve(),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            5    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            5.4  exited 3 0               -> inspect 3
            5.4  produced 3 7             -> [end 2 unchanged gen 1]
        "#]],
    );
}

#[test]
fn a_server_that_ignores_its_stop_signal_is_killed_after_its_grace() {
    let script = format!(
        "{SERVING}
        1.0 changed 0 - a.go
        1.4 exited 3 0
        1.4 produced 3 8
        7.0 exited 2 -9
        7.0 gone 2
        7.1 ready 4"
    );
    check(
        build_and_serve(),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            1    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            1.4  exited 3 0               -> inspect 3
            1.4  produced 3 8             -> keep 2, stop 2
            6.4                           -> kill 2, [killed gen 1 after 5s]
            7    exited 2 -9              ->
            7    gone 2                   -> start 4 gen 2
            7.1  ready 4                  -> [end 2 serving gen 2 hold Proven]
        "#]],
    );
}

#[test]
fn a_crash_backs_off_and_a_save_starts_at_once() {
    let script = format!(
        "{SERVING}
        3.0 exited 2 2
        3.0 gone 2
        3.2 exited 3 2
        3.2 gone 3
        3.25 changed 0 - a.go
        3.6 exited 4 0
        3.6 produced 4 8
        3.7 ready 5"
    );
    check(
        build_and_serve(),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            3    exited 2 2               -> kill 2, [down gen 1 2 again in 100ms]
            3    gone 2                   ->
            3.1                           -> [begin 2 crash], start 3 gen 2
            3.2  exited 3 2               -> kill 3, [end 2 crashed gen 2 2 again in 200ms]
            3.2  gone 3                   ->
            3.25 changed 0 - a.go         -> [begin 3 a.go], run 4 rule 0
            3.6  exited 4 0               -> inspect 4
            3.6  produced 4 8             -> start 5 gen 3
            3.7  ready 5                  -> [end 3 serving gen 3 first Proven]
        "#]],
    );
}

#[test]
fn five_crashes_in_ten_seconds_wait_for_a_change() {
    let script = format!(
        "{SERVING}
        1.0 exited 2 -11
        1.0 gone 2
        1.2 exited 3 -11
        1.2 gone 3
        1.5 exited 4 -11
        1.5 gone 4
        2.1 exited 5 -11
        2.1 gone 5
        3.0 exited 6 -11
        3.0 gone 6
        60.0 elapsed"
    );
    check(
        build_and_serve(),
        &script,
        expect![[r#"
        0    began                    -> [begin 1 start], run 1 rule 0
        0.5  exited 1 0               -> inspect 1
        0.5  gone 1                   ->
        0.5  produced 1 7             -> start 2 gen 1
        0.5  spawned 2                ->
        0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
        1    exited 2 -11             -> kill 2, [down gen 1 SIGSEGV again in 100ms]
        1    gone 2                   ->
        1.1                           -> [begin 2 crash], start 3 gen 2
        1.2  exited 3 -11             -> kill 3, [end 2 crashed gen 2 SIGSEGV again in 200ms]
        1.2  gone 3                   ->
        1.4                           -> [begin 3 crash], start 4 gen 3
        1.5  exited 4 -11             -> kill 4, [end 3 crashed gen 3 SIGSEGV again in 400ms]
        1.5  gone 4                   ->
        1.9                           -> [begin 4 crash], start 5 gen 4
        2.1  exited 5 -11             -> kill 5, [end 4 crashed gen 4 SIGSEGV again in 800ms]
        2.1  gone 5                   ->
        2.9                           -> [begin 5 crash], start 6 gen 5
        3    exited 6 -11             -> kill 6, [end 5 crashed gen 5 SIGSEGV until a change]
        3    gone 6                   ->
        60   elapsed                  ->
    "#]],
    );
}

#[test]
fn a_crash_while_the_tree_is_broken_brings_the_last_good_build_back() {
    let script = format!(
        "{SERVING}
        3.0 changed 0 - a.go
        3.4 exited 3 1
        3.4 produced 3 7
        4.0 exited 2 2
        4.0 gone 2
        4.3 ready 4"
    );
    check(
        build_and_serve(),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            3    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            3.4  exited 3 1               -> [end 2 failed rule 0 1 serving 1], [stale gen 1], inspect 3
            3.4  produced 3 7             ->
            4    exited 2 2               -> kill 2, [down gen 1 2 again in 100ms]
            4    gone 2                   ->
            4.1                           -> [begin 3 crash], start 4 gen 2
            4.3  ready 4                  -> [end 3 failed rule 0 Some("not built since") serving 2]
        "#]],
    );
}

#[test]
fn a_half_written_artefact_is_never_started() {
    let script = format!(
        "{SERVING}
        3.0 changed 0 - a.go
        3.4 exited 3 1
        3.4 produced 3 99
        4.0 exited 2 2
        4.0 gone 2
        9.0 elapsed"
    );
    check(
        build_and_serve(),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            3    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            3.4  exited 3 1               -> [end 2 failed rule 0 1 serving 1], [stale gen 1], inspect 3
            3.4  produced 3 99            ->
            4    exited 2 2               -> kill 2, [down gen 1 2 again in 100ms]
            4    gone 2                   ->
            4.1                           ->
            9    elapsed                  ->
        "#]],
    );
}

#[test]
fn a_server_that_exits_with_zero_stays_down_until_something_changes() {
    let script = format!(
        "{SERVING}
        3.0 exited 2 0
        3.0 gone 2
        60.0 changed 0 - a.go
        60.4 exited 3 0
        60.4 produced 3 7"
    );
    check(
        build_and_serve(),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            3    exited 2 0               -> kill 2, [down gen 1 0 until a change]
            3    gone 2                   ->
            60   changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            60.4 exited 3 0               -> inspect 3
            60.4 produced 3 7             -> start 4 gen 2
        "#]],
    );
}

#[test]
fn a_program_that_ends_with_zero_before_it_is_ready_is_ok() {
    let script = "
        0.0 began
        0.5 exited 1 0
        0.5 produced 1 7
        0.6 exited 2 0
        0.6 gone 2";
    check(
        build_and_serve(),
        script,
        expect![[r#"
        0    began                    -> [begin 1 start], run 1 rule 0
        0.5  exited 1 0               -> inspect 1
        0.5  produced 1 7             -> start 2 gen 1
        0.6  exited 2 0               -> kill 2, [end 1 ok, gen 1 exited]
        0.6  gone 2                   ->
    "#]],
    );
}

#[test]
fn a_server_that_never_accepts_on_a_held_socket_is_killed() {
    let script = "
        0.0 began
        0.5 exited 1 0
        0.5 produced 1 7
        0.5 spawned 2
        10.6 exited 2 -9
        10.6 gone 2
        60.0 elapsed";
    check(
        build_and_serve(),
        script,
        expect![[r#"
        0    began                    -> [begin 1 start], run 1 rule 0
        0.5  exited 1 0               -> inspect 1
        0.5  produced 1 7             -> start 2 gen 1
        0.5  spawned 2                ->
        10.5                          -> kill 2, [end 1 crashed gen 1 Some("did not accept within 10 s; killed") until a change]
        10.6 exited 2 -9              ->
        10.6 gone 2                   ->
        60   elapsed                  ->
    "#]],
    );
}

#[test]
fn a_server_that_listens_nowhere_is_assumed_and_remembered() {
    let mut policy = build_and_serve();
    policy.server.as_mut().expect("has a server").holds = false;
    let script = "
        0.0 began
        0.5 exited 1 0
        0.5 produced 1 7
        0.5 spawned 2
        20.0 changed 0 - a.go
        20.4 exited 3 0
        20.4 produced 3 8
        20.5 exited 2 0
        20.5 gone 2
        20.5 spawned 4
        21.0 elapsed";
    check(
        policy,
        script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            10.5                          -> remember listens=false, [end 1 serving gen 1 first Assumed]
            12.5                          -> keep 2
            20   changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            20.4 exited 3 0               -> inspect 3
            20.4 produced 3 8             -> stop 2
            20.5 exited 2 0               -> stop 2 tree
            20.5 gone 2                   -> start 4 gen 2
            20.5 spawned 4                ->
            20.8                          -> [end 2 serving gen 2 cold Assumed]
            21   elapsed                  ->
        "#]],
    );
}

#[test]
fn an_owed_cold_start_survives_a_broken_build() {
    let script = format!(
        "{SERVING}
        3.0 changed 0 cold .env
        3.4 exited 3 1
        3.4 produced 3 7
        5.0 changed 0 - a.go
        5.4 exited 4 0
        5.4 produced 4 7"
    );
    check(
        build_and_serve(),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            3    changed 0 cold .env      -> [begin 2 .env], run 3 rule 0
            3.4  exited 3 1               -> [end 2 failed rule 0 1 serving 1], [stale gen 1], inspect 3
            3.4  produced 3 7             ->
            5    changed 0 - a.go         -> [begin 3 a.go], run 4 rule 0
            5.4  exited 4 0               -> inspect 4
            5.4  produced 4 7             -> stop 2
        "#]],
    );
}

#[test]
fn a_change_while_the_old_server_stops_lets_the_restart_finish_first() {
    let script = format!(
        "{SERVING}
        3.0 changed 0 - a.go
        3.4 exited 3 0
        3.4 produced 3 8
        3.5 changed 0 - b.go
        3.6 exited 2 0
        3.6 gone 2
        3.65 spawned 4
        3.7 ready 4
        3.9 exited 5 0
        3.9 produced 5 9
        4.0 exited 4 0
        4.0 gone 4
        4.1 ready 6"
    );
    check(
        build_and_serve(),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            3    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            3.4  exited 3 0               -> inspect 3
            3.4  produced 3 8             -> stop 2
            3.5  changed 0 - b.go         -> [end 2 superseded], [begin 3 a.go+b.go]
            3.6  exited 2 0               -> stop 2 tree
            3.6  gone 2                   -> start 4 gen 2
            3.65 spawned 4                -> run 5 rule 0
            3.7  ready 4                  -> [interim gen 2 hold Proven]
            3.9  exited 5 0               -> inspect 5
            3.9  produced 5 9             -> keep 4, stop 4
            4    exited 4 0               -> stop 4 tree
            4    gone 4                   -> start 6 gen 3
            4.1  ready 6                  -> [end 3 serving gen 3 hold Proven]
        "#]],
    );
}

#[test]
fn what_was_made_before_a_cycle_was_superseded_still_reaches_whom_it_feeds() {
    let policy = in_a_row(
        vec![
            rule("schema", true, true),
            rule("generate", true, true),
            rule("build", true, true),
        ],
        Some(server()),
    );
    // The second run of rule 1 makes the same as the first, whose product rule 2 has not seen.
    check(
        policy,
        "0.0 began
         0.1 exited 1 0
         0.1 produced 1 7
         0.2 exited 2 0
         0.2 produced 2 7
         0.3 exited 3 0
         0.3 produced 3 7
         0.4 ready 4
         1.0 changed 1 - g
         1.1 exited 5 0
         1.2 changed 0+1 - s
         1.3 produced 5 8 2
         1.4 exited 6 0
         1.4 produced 6 7
         1.5 exited 7 0
         1.5 produced 7 8
         1.6 exited 8 0
         1.6 produced 8 8",
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.1  exited 1 0               -> inspect 1
            0.1  produced 1 7             -> run 2 rule 1
            0.2  exited 2 0               -> inspect 2
            0.2  produced 2 7             -> run 3 rule 2
            0.3  exited 3 0               -> inspect 3
            0.3  produced 3 7             -> start 4 gen 1
            0.4  ready 4                  -> [end 1 serving gen 1 first Proven]
            1    changed 1 - g            -> [begin 2 g], run 5 rule 1
            1.1  exited 5 0               -> inspect 5
            1.2  changed 0+1 - s          -> [end 2 superseded], [begin 3 g+s], run 6 rule 0
            1.3  produced 5 8 2           ->
            1.4  exited 6 0               -> inspect 6
            1.4  produced 6 7             -> run 7 rule 1
            1.5  exited 7 0               -> inspect 7
            1.5  produced 7 8             -> run 8 rule 2
            1.6  exited 8 0               -> inspect 8
            1.6  produced 8 8             -> keep 4, stop 4
        "#]],
    );
}

#[test]
fn rules_run_top_to_bottom_and_new_outputs_dirty_the_rules_they_feed() {
    let policy = in_a_row(
        vec![
            RulePolicy {
                then: Then::Nothing,
                ..rule("generate", true, true)
            },
            rule("build", true, true),
            RulePolicy {
                then: Then::Reload,
                ..rule("assets", false, false)
            },
        ],
        Some(server()),
    );
    let script = "
        0.0 began
        0.1 exited 1 0
        0.1 produced 1 5
        0.2 exited 2 0
        0.2 produced 2 6
        0.3 ready 3
        1.0 changed 0 - x.proto
        1.1 exited 4 0
        1.1 produced 4 55 1
        1.2 exited 5 0
        1.2 produced 5 66
        1.3 gone 3
        1.4 ready 6
        2.0 changed 2 - a.css
        3.0 changed 0 - x.proto
        3.1 exited 7 0
        3.1 produced 7 55";
    check(
        policy,
        script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.1  exited 1 0               -> inspect 1
            0.1  produced 1 5             -> run 2 rule 1
            0.2  exited 2 0               -> inspect 2
            0.2  produced 2 6             -> start 3 gen 1
            0.3  ready 3                  -> [end 1 serving gen 1 first Proven]
            1    changed 0 - x.proto      -> [begin 2 x.proto], run 4 rule 0
            1.1  exited 4 0               -> inspect 4
            1.1  produced 4 55 1          -> run 5 rule 1
            1.2  exited 5 0               -> inspect 5
            1.2  produced 5 66            -> keep 3, stop 3
            1.3  gone 3                   -> start 6 gen 2
            1.4  ready 6                  -> [end 2 serving gen 2 hold Proven]
            2    changed 2 - a.css        -> [begin 3 a.css], [end 3 ok]
            3    changed 0 - x.proto      -> [begin 4 x.proto], run 7 rule 0
            3.1  exited 7 0               -> inspect 7
            3.1  produced 7 55            -> [end 4 ok]
        "#]],
    );
}

#[test]
fn an_up_to_date_tree_goes_straight_to_serving() {
    check_reuse(
        build_and_serve(),
        "0.0 began
         0.01 reused 1 current 7
         0.05 ready 2
         9.0 changed 0 - a.go
         9.01 reused 3 current 7",
        expect![[r#"
            0    began                    -> [begin 1 start], reuse 1 rule 0
            0.01 reused 1 current 7       -> start 2 gen 1
            0.05 ready 2                  -> [end 1 serving gen 1 first Proven]
            2.05                          -> keep 2
            9    changed 0 - a.go         -> [begin 2 a.go], reuse 3 rule 0
            9.01 reused 3 current 7       -> [end 2 unchanged gen 1]
        "#]],
    );
}

#[test]
fn what_was_kept_is_served_without_a_build() {
    let script = format!(
        "{REUSE_SERVING}
        5.0 changed 0 - a.go
        5.01 reused 3 restored 8
        5.02 gone 2
        5.1 ready 4"
    );
    check_reuse(
        build_and_serve(),
        &script,
        expect![[r#"
        0    began                    -> [begin 1 start], reuse 1 rule 0
        0    reused 1 nothing         -> run 1 rule 0
        0.5  exited 1 0               -> inspect 1
        0.5  gone 1                   ->
        0.5  produced 1 7             -> start 2 gen 1
        0.5  spawned 2                ->
        0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
        2.6                           -> keep 2
        5    changed 0 - a.go         -> [begin 2 a.go], reuse 3 rule 0
        5.01 reused 3 restored 8      -> stop 2
        5.02 gone 2                   -> start 4 gen 2
        5.1  ready 4                  -> [end 2 serving gen 2 hold Proven restored 0]
    "#]],
    );
}

#[test]
fn undoing_what_broke_a_build_clears_it() {
    let script = format!(
        "{REUSE_SERVING}
        5.0 changed 0 - a.go
        5.01 reused 3 nothing
        5.4 exited 3 1
        5.4 produced 3 99
        7.0 changed 0 - a.go
        7.1 reused 4 current 7"
    );
    check_reuse(
        build_and_serve(),
        &script,
        expect![[r#"
        0    began                    -> [begin 1 start], reuse 1 rule 0
        0    reused 1 nothing         -> run 1 rule 0
        0.5  exited 1 0               -> inspect 1
        0.5  gone 1                   ->
        0.5  produced 1 7             -> start 2 gen 1
        0.5  spawned 2                ->
        0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
        2.6                           -> keep 2
        5    changed 0 - a.go         -> [begin 2 a.go], reuse 3 rule 0
        5.01 reused 3 nothing         -> run 3 rule 0
        5.4  exited 3 1               -> [end 2 failed rule 0 1 serving 1], [stale gen 1], inspect 3
        5.4  produced 3 99            ->
        7    changed 0 - a.go         -> [begin 3 a.go], reuse 4 rule 0
        7.1  reused 4 current 7       -> [end 3 unchanged gen 1]
    "#]],
    );
}

#[test]
fn a_change_during_the_look_is_looked_at_anew() {
    let script = format!(
        "{REUSE_SERVING}
        5.0 changed 0 - a.go
        5.01 changed 0 - b.go
        5.02 reused 3 current 7
        5.03 reused 4 nothing
        5.04 changed 0 - c.go
        5.05 gone 4
        5.06 reused 5 restored 8
        5.07 gone 2
        5.1 ready 6"
    );
    check_reuse(
        build_and_serve(),
        &script,
        expect![[r#"
        0    began                    -> [begin 1 start], reuse 1 rule 0
        0    reused 1 nothing         -> run 1 rule 0
        0.5  exited 1 0               -> inspect 1
        0.5  gone 1                   ->
        0.5  produced 1 7             -> start 2 gen 1
        0.5  spawned 2                ->
        0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
        2.6                           -> keep 2
        5    changed 0 - a.go         -> [begin 2 a.go], reuse 3 rule 0
        5.01 changed 0 - b.go         -> [end 2 superseded], [begin 3 a.go+b.go]
        5.02 reused 3 current 7       -> reuse 4 rule 0
        5.03 reused 4 nothing         -> run 4 rule 0
        5.04 changed 0 - c.go         -> stop 4 tree, [end 3 superseded], [begin 4 a.go+b.go+c.go]
        5.05 gone 4                   -> reuse 5 rule 0
        5.06 reused 5 restored 8      -> stop 2
        5.07 gone 2                   -> start 6 gen 2
        5.1  ready 6                  -> [end 4 serving gen 2 hold Proven restored 0]
    "#]],
    );
}

#[test]
fn a_request_runs_every_rule_whatever_it_made_last() {
    let script = format!(
        "{REUSE_SERVING}
        5.0 build
        5.1 changed 0 - a.go
        5.2 gone 3
        5.3 exited 4 0
        5.3 produced 4 7"
    );
    check_reuse(
        build_and_serve(),
        &script,
        expect![[r#"
        0    began                    -> [begin 1 start], reuse 1 rule 0
        0    reused 1 nothing         -> run 1 rule 0
        0.5  exited 1 0               -> inspect 1
        0.5  gone 1                   ->
        0.5  produced 1 7             -> start 2 gen 1
        0.5  spawned 2                ->
        0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
        2.6                           -> keep 2
        5    build                    -> [begin 2 request], run 3 rule 0
        5.1  changed 0 - a.go         -> stop 3 tree, [end 2 superseded], [begin 3 a.go]
        5.2  gone 3                   -> run 4 rule 0
        5.3  exited 4 0               -> inspect 4
        5.3  produced 4 7             -> [end 3 unchanged gen 1]
    "#]],
    );
}

/// `schema` feeds `api`, `lint` stands alone, and `bundle` needs all of them.
fn a_graph(jobs: usize) -> Policy {
    let needs = |needs: &[usize], rule: RulePolicy| RulePolicy {
        needs: needs.iter().copied().map(RuleId).collect(),
        ..rule
    };
    Policy {
        rules: vec![
            rule("schema", true, true),
            needs(&[0], rule("api", true, true)),
            rule("lint", true, false),
            needs(&[0, 1, 2], rule("bundle", true, true)),
        ],
        jobs,
        server: None,
    }
}

#[test]
fn rules_that_do_not_need_one_another_run_at_the_same_time() {
    check(
        a_graph(2),
        "0.0 began
         0.1 exited 2 0
         0.2 exited 1 0
         0.2 produced 1 7
         0.3 exited 3 0
         0.3 produced 3 7
         0.4 exited 4 0
         0.4 produced 4 7",
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0, run 2 rule 2
            0.1  exited 2 0               ->
            0.2  exited 1 0               -> inspect 1
            0.2  produced 1 7             -> run 3 rule 1
            0.3  exited 3 0               -> inspect 3
            0.3  produced 3 7             -> run 4 rule 3
            0.4  exited 4 0               -> inspect 4
            0.4  produced 4 7             -> [end 1 ok]
        "#]],
    );
    check(
        a_graph(1),
        "0.0 began
         0.2 exited 1 0
         0.2 produced 1 7
         0.3 exited 2 0",
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.2  exited 1 0               -> inspect 1
            0.2  produced 1 7             -> run 2 rule 1
            0.3  exited 2 0               -> inspect 2
        "#]],
    );
}

#[test]
fn of_rules_that_run_at_the_same_time_the_others_end_before_a_failure_is_told() {
    check(
        a_graph(2),
        "0.0 began
         0.1 exited 2 2
         0.2 exited 1 0
         0.2 produced 1 7
         0.3 exited 3 1
         0.3 produced 3 7
         1.0 changed 2 - a.go
         1.1 exited 4 0
         1.1 produced 4 7
         1.2 exited 5 0
         1.3 exited 6 0
         1.3 produced 6 7",
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0, run 2 rule 2
            0.1  exited 2 2               ->
            0.2  exited 1 0               -> inspect 1
            0.2  produced 1 7             -> run 3 rule 1
            0.3  exited 3 1               -> [end 1 failed rule 1 1 serving none], inspect 3
            0.3  produced 3 7             ->
            1    changed 2 - a.go         -> [begin 2 a.go], run 4 rule 1, run 5 rule 2
            1.1  exited 4 0               -> inspect 4
            1.1  produced 4 7             ->
            1.2  exited 5 0               -> run 6 rule 3
            1.3  exited 6 0               -> inspect 6
            1.3  produced 6 7             -> [end 2 ok]
        "#]],
    );
}

#[test]
fn a_rule_that_runs_on_runs_again_if_what_it_needs_came_out_new() {
    check(
        a_graph(4),
        "0.0 began
         0.1 exited 1 0
         0.1 produced 1 7
         0.2 changed 0 - x.proto
         0.3 exited 3 0
         0.3 produced 3 7
         0.4 exited 4 0
         0.4 produced 4 8 1
         0.5 exited 2 0",
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0, run 2 rule 2
            0.1  exited 1 0               -> inspect 1
            0.1  produced 1 7             -> run 3 rule 1
            0.2  changed 0 - x.proto      -> [end 1 superseded], [begin 2 x.proto]
            0.3  exited 3 0               -> inspect 3
            0.3  produced 3 7             -> run 4 rule 0
            0.4  exited 4 0               -> inspect 4
            0.4  produced 4 8 1           -> run 5 rule 1
            0.5  exited 2 0               ->
        "#]],
    );
}

/// A rule that changes its own files: what serves is not called fresh, and the next cycle takes it along.
#[test]
fn what_is_withheld_waits_for_something_else_and_is_said() {
    let policy = in_a_row(
        vec![rule("stamp", true, true), rule("build", true, true)],
        Some(server()),
    );
    check(
        policy,
        "0.0 began
         0.1 exited 1 0
         0.1 produced 1 7
         0.15 withheld 0
         0.2 exited 2 0
         0.2 produced 2 7
         0.3 ready 3
         1.0 withheld 0
         2.0 changed 1 - a.go
         2.1 exited 4 0
         2.1 produced 4 8
         2.2 exited 5 0
         2.2 produced 5 7
         3.0 withheld 1",
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.1  exited 1 0               -> inspect 1
            0.1  produced 1 7             -> run 2 rule 1
            0.15 withheld 0               ->
            0.2  exited 2 0               -> inspect 2
            0.2  produced 2 7             -> start 3 gen 1
            0.3  ready 3                  -> [end 1 serving gen 1 first Proven], [stale gen 1]
            1    withheld 0               -> [stale gen 1]
            2    changed 1 - a.go         -> [begin 2 a.go], run 4 rule 0
            2.1  exited 4 0               -> inspect 4
            2.1  produced 4 8             -> run 5 rule 1
            2.2  exited 5 0               -> inspect 5
            2.2  produced 5 7             -> keep 3, stop 3
            3    withheld 1               ->
        "#]],
    );
}

#[test]
fn what_is_withheld_during_a_cycle_outlives_it() {
    let mut policy = build_and_serve();
    policy.rules.push(rule("assets", true, true));
    let script = "
        0.0 began
        0.1 exited 1 0
        0.1 produced 1 7
        0.2 exited 2 0
        0.2 produced 2 9
        0.3 ready 3
        5.0 changed 1 - a.css
        5.1 withheld 0
        5.2 exited 4 0
        5.2 produced 4 9
        9.0 changed 1 - b.css";
    check(
        policy,
        script,
        expect![[r#"
        0    began                    -> [begin 1 start], run 1 rule 0, run 2 rule 1
        0.1  exited 1 0               -> inspect 1
        0.1  produced 1 7             ->
        0.2  exited 2 0               -> inspect 2
        0.2  produced 2 9             -> start 3 gen 1
        0.3  ready 3                  -> [end 1 serving gen 1 first Proven]
        2.3                           -> keep 3
        5    changed 1 - a.css        -> [begin 2 a.css], run 4 rule 1
        5.1  withheld 0               ->
        5.2  exited 4 0               -> inspect 4
        5.2  produced 4 9             -> [end 2 unchanged gen 1], [stale gen 1]
        9    changed 1 - b.css        -> [begin 3 b.css], run 5 rule 0, run 6 rule 1
    "#]],
    );
}

#[test]
fn without_a_server_rules_are_a_task() {
    let policy = in_a_row(vec![rule("test", true, false)], None);
    let script = "
        0.0 began
        0.5 exited 1 0
        1.0 changed 0 - a.go
        1.5 exited 2 1";
    check(
        policy,
        script,
        expect![[r#"
        0    began                    -> [begin 1 start], run 1 rule 0
        0.5  exited 1 0               -> [end 1 ok]
        1    changed 0 - a.go         -> [begin 2 a.go], run 2 rule 0
        1.5  exited 2 1               -> [end 2 failed rule 0 1 serving none]
    "#]],
    );
}

#[test]
fn quitting_stops_everything_and_a_second_time_at_once() {
    let script = format!(
        "{SERVING}
        1.0 changed 0 - a.go
        1.2 quit
        1.3 exited 3 143
        1.3 gone 3
        1.4 quit
        1.5 gone 2"
    );
    check(
        build_and_serve(),
        &script,
        expect![[r#"
        0    began                    -> [begin 1 start], run 1 rule 0
        0.5  exited 1 0               -> inspect 1
        0.5  gone 1                   ->
        0.5  produced 1 7             -> start 2 gen 1
        0.5  spawned 2                ->
        0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
        1    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
        1.2  quit                     -> stop 3 tree, [end 2 superseded], stop 2
        1.3  exited 3 143             -> stop 3 tree
        1.3  gone 3                   ->
        1.4  quit                     -> kill 2
        1.5  gone 2                   -> exit 0
    "#]],
    );
}

#[test]
fn a_command_that_takes_longer_than_its_timeout_has_failed() {
    let mut policy = build_and_serve();
    policy.rules[0].timeout = Some(Duration::from_secs(3));
    let script = "
        0.0 began
        9.0 gone 1
        9.5 changed 0 - a.go";
    check(
        policy,
        script,
        expect![[r#"
        0    began                    -> [begin 1 start], run 1 rule 0
        3                             -> stop 1 tree, [end 1 failed rule 0 Some("took longer than its timeout") serving none]
        5                             -> kill 1, [killed rule 0 after 2s]
        7                             -> [stuck rule 0], inspect 1
        9    gone 1                   ->
        9.5  changed 0 - a.go         -> [begin 2 a.go], run 2 rule 0
    "#]],
    );
}

#[test]
fn a_server_that_cannot_be_started_is_not_tried_again_until_a_change() {
    let script = "
        0.0 began
        0.5 exited 1 0
        0.5 produced 1 7
        0.6 spawn-failed 2
        60.0 build
        60.5 exited 3 0
        60.5 produced 3 7
        60.6 ready 4";
    check(
        build_and_serve(),
        script,
        expect![[r#"
        0    began                    -> [begin 1 start], run 1 rule 0
        0.5  exited 1 0               -> inspect 1
        0.5  produced 1 7             -> start 2 gen 1
        0.6  spawn-failed 2           -> [end 1 crashed gen 1 Some("no such program") until a change]
        60   build                    -> [begin 2 request], run 3 rule 0
        60.5 exited 3 0               -> inspect 3
        60.5 produced 3 7             -> start 4 gen 2
        60.6 ready 4                  -> [end 2 serving gen 2 first Proven]
    "#]],
    );
}

#[test]
fn a_server_forks_its_successor_and_is_fresh_when_the_old_one_is_gone() {
    let script = format!(
        "{SERVING}
        5.0 changed 0 - a.go
        5.4 exited 3 0
        5.4 produced 3 8
        5.41 spawned 4
        5.42 ready 4
        5.6 exited 2 0
        5.6 gone 2"
    );
    check(
        hot(HotMode::SelfFork),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            5    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            5.4  exited 3 0               -> inspect 3
            5.4  produced 3 8             -> hand-over 2 to 4 gen 2
            5.41 spawned 4                ->
            5.42 ready 4                  -> retire 2, [gen 2 accepts, gen 1 drains]
            5.6  exited 2 0               ->
            5.6  gone 2                   -> [end 2 serving gen 2 hot(selffork) Proven]
        "#]],
    );
}

#[test]
fn the_old_process_may_go_before_its_successor_is_seen() {
    let script = format!(
        "{SERVING}
        5.0 changed 0 - a.go
        5.4 exited 3 0
        5.4 produced 3 8
        5.41 exited 2 0
        5.42 spawned 4
        5.43 ready 4
        5.44 gone 2"
    );
    check(
        hot(HotMode::SelfFork),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            5    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            5.4  exited 3 0               -> inspect 3
            5.4  produced 3 8             -> hand-over 2 to 4 gen 2
            5.41 exited 2 0               ->
            5.42 spawned 4                ->
            5.43 ready 4                  ->
            5.44 gone 2                   -> [end 2 serving gen 2 hot(selffork) Proven]
        "#]],
    );
}

#[test]
fn no_new_process_leaves_the_old_one_serving_and_the_next_restart_is_cold() {
    let script = format!(
        "{SERVING}
        5.0 changed 0 - a.go
        5.4 exited 3 0
        5.4 produced 3 8
        7.5 gone 4
        8.0 changed 0 - b.go
        8.4 exited 5 0
        8.4 produced 5 9
        8.5 exited 2 0
        8.5 gone 2
        8.6 spawned 6
        8.7 ready 6"
    );
    check(
        hot(HotMode::SelfFork),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            5    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            5.4  exited 3 0               -> inspect 3
            5.4  produced 3 8             -> hand-over 2 to 4 gen 2
            7.4                           -> kill 4, [end 2 crashed gen 2 Some("no new process appeared within 2 s") serving 1 until a change], [stale gen 1]
            7.5  gone 4                   ->
            8    changed 0 - b.go         -> [begin 3 b.go], run 5 rule 0
            8.4  exited 5 0               -> inspect 5
            8.4  produced 5 9             -> stop 2
            8.5  exited 2 0               -> stop 2 tree
            8.5  gone 2                   -> start 6 gen 3
            8.6  spawned 6                ->
            8.7  ready 6                  -> [end 3 serving gen 3 hold Proven "its last hand-over failed"]
        "#]],
    );
}

#[test]
fn a_server_that_does_not_handle_its_signal_is_not_sent_it() {
    let script = format!(
        "{SERVING}
        5.0 changed 0 - a.go
        5.4 exited 3 0
        5.4 produced 3 8
        5.4 refused 4
        5.5 exited 2 0
        5.5 gone 2
        5.6 spawned 5
        5.7 ready 5"
    );
    check(
        hot(HotMode::SelfFork),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            5    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            5.4  exited 3 0               -> inspect 3
            5.4  produced 3 8             -> hand-over 2 to 4 gen 2
            5.4  refused 4                -> stop 2
            5.5  exited 2 0               -> stop 2 tree
            5.5  gone 2                   -> start 5 gen 3
            5.6  spawned 5                ->
            5.7  ready 5                  -> [end 2 serving gen 3 hold Proven "the server does not handle SIGHUP"]
        "#]],
    );
}

#[test]
fn an_overlapping_successor_accepts_before_the_old_one_is_stopped() {
    let script = format!(
        "{SERVING}
        5.0 changed 0 - a.go
        5.4 exited 3 0
        5.4 produced 3 8
        5.41 spawned 4
        5.7 ready 4
        5.9 exited 2 0
        5.9 gone 2"
    );
    check(
        hot(HotMode::Overlap),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            5    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            5.4  exited 3 0               -> inspect 3
            5.4  produced 3 8             -> start 4 gen 2
            5.41 spawned 4                ->
            5.7  ready 4                  -> retire 2, [gen 2 accepts, gen 1 drains]
            5.9  exited 2 0               -> stop 2 tree
            5.9  gone 2                   -> [end 2 serving gen 2 hot(overlap) Proven]
        "#]],
    );
}

#[test]
fn a_successor_that_crashes_leaves_the_old_one_serving() {
    let script = format!(
        "{SERVING}
        5.0 changed 0 - a.go
        5.4 exited 3 0
        5.4 produced 3 8
        5.41 spawned 4
        5.5 exited 4 2
        5.5 gone 4
        9.0 changed 0 - a.go
        9.4 exited 5 0
        9.4 produced 5 9
        9.41 spawned 6
        9.5 ready 6
        9.6 gone 2"
    );
    check(
        hot(HotMode::Overlap),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            5    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            5.4  exited 3 0               -> inspect 3
            5.4  produced 3 8             -> start 4 gen 2
            5.41 spawned 4                ->
            5.5  exited 4 2               -> kill 4, [end 2 crashed gen 2 2 serving 1 until a change], [stale gen 1]
            5.5  gone 4                   ->
            9    changed 0 - a.go         -> [begin 3 a.go], run 5 rule 0
            9.4  exited 5 0               -> inspect 5
            9.4  produced 5 9             -> start 6 gen 3
            9.41 spawned 6                ->
            9.5  ready 6                  -> retire 2, [gen 3 accepts, gen 1 drains]
            9.6  gone 2                   -> [end 3 serving gen 3 hot(overlap) Proven]
        "#]],
    );
}

#[test]
fn an_old_process_that_never_drains_is_told_then_killed() {
    let script = format!(
        "{SERVING}
        5.0 changed 0 - a.go
        5.4 exited 3 0
        5.4 produced 3 8
        5.41 spawned 4
        5.42 ready 4
        30.0 gone 2"
    );
    check(
        hot(HotMode::SelfFork),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            5    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            5.4  exited 3 0               -> inspect 3
            5.4  produced 3 8             -> hand-over 2 to 4 gen 2
            5.41 spawned 4                ->
            5.42 ready 4                  -> retire 2, [gen 2 accepts, gen 1 drains]
            7.42                          -> keep 4
            10.42                         -> stop 2, [overdue gen 1 after 5s]
            15.42                         -> kill 2, [killed gen 1 after 5s]
            17.42                         -> [stuck gen 1], [end 2 serving gen 2 hot(selffork) Proven]
            30   gone 2                   ->
        "#]],
    );
}

#[test]
fn a_change_during_a_drain_waits_for_the_old_process_to_go() {
    let script = format!(
        "{SERVING}
        5.0 changed 0 - a.go
        5.4 exited 3 0
        5.4 produced 3 8
        5.41 spawned 4
        5.5 ready 4
        5.6 changed 0 - b.go
        6.0 exited 5 0
        6.0 produced 5 9
        7.0 gone 2
        7.1 spawned 6
        7.2 ready 6
        7.3 gone 4"
    );
    check(
        hot(HotMode::Overlap),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            5    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            5.4  exited 3 0               -> inspect 3
            5.4  produced 3 8             -> start 4 gen 2
            5.41 spawned 4                ->
            5.5  ready 4                  -> retire 2, [gen 2 accepts, gen 1 drains]
            5.6  changed 0 - b.go         -> [end 2 superseded], [begin 3 a.go+b.go], run 5 rule 0
            6    exited 5 0               -> inspect 5
            6    produced 5 9             ->
            7    gone 2                   -> [interim gen 2 hot(overlap) Proven], keep 4, start 6 gen 3
            7.1  spawned 6                ->
            7.2  ready 6                  -> retire 4, [gen 3 accepts, gen 2 drains]
            7.3  gone 4                   -> [end 3 serving gen 3 hot(overlap) Proven]
        "#]],
    );
}

#[test]
fn a_hand_over_that_somebody_else_asked_for_is_recognised() {
    let script = format!(
        "{SERVING}
        5.0 took-over 2
        6.0 changed 0 - a.go
        6.4 exited 4 0
        6.4 produced 4 8
        6.5 spawned 5
        6.6 ready 5
        6.7 gone 3"
    );
    check(
        hot(HotMode::SelfFork),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            5    took-over 2              -> recognise 2 as 3 gen 2 pid 777, [took over gen 2 pid 777]
            6    changed 0 - a.go         -> [begin 2 a.go], run 4 rule 0
            6.4  exited 4 0               -> inspect 4
            6.4  produced 4 8             -> keep 3, hand-over 3 to 5 gen 3
            6.5  spawned 5                ->
            6.6  ready 5                  -> retire 3, [gen 3 accepts, gen 2 drains]
            6.7  gone 3                   -> [end 2 serving gen 3 hot(selffork) Proven]
        "#]],
    );
}

#[test]
fn an_owed_cold_start_is_never_a_hand_over() {
    let script = format!(
        "{SERVING}
        5.0 changed 0 cold .env
        5.4 exited 3 1
        5.4 produced 3 7
        6.0 changed 0 - a.go
        6.4 exited 4 0
        6.4 produced 4 8
        6.5 gone 2"
    );
    check(
        hot(HotMode::Overlap),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            5    changed 0 cold .env      -> [begin 2 .env], run 3 rule 0
            5.4  exited 3 1               -> [end 2 failed rule 0 1 serving 1], [stale gen 1], inspect 3
            5.4  produced 3 7             ->
            6    changed 0 - a.go         -> [begin 3 a.go], run 4 rule 0
            6.4  exited 4 0               -> inspect 4
            6.4  produced 4 8             -> stop 2
            6.5  gone 2                   -> start 5 gen 2
        "#]],
    );
}

#[test]
fn the_old_process_dies_and_the_new_one_never_comes() {
    let script = format!(
        "{SERVING}
        5.0 changed 0 - a.go
        5.4 exited 3 0
        5.4 produced 3 8
        5.5 exited 2 2
        5.5 gone 2
        7.45 gone 4
        7.5 spawned 5
        7.6 ready 5"
    );
    check(
        hot(HotMode::SelfFork),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            5    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            5.4  exited 3 0               -> inspect 3
            5.4  produced 3 8             -> hand-over 2 to 4 gen 2
            5.5  exited 2 2               ->
            5.5  gone 2                   ->
            7.4                           -> kill 4, [end 2 crashed gen 2 Some("no new process appeared within 2 s") again in 100ms]
            7.45 gone 4                   ->
            7.5  spawned 5                -> [begin 3 crash], start 5 gen 3
            7.6  ready 5                  -> [end 3 serving gen 3 first Proven]
        "#]],
    );
}

#[test]
fn a_generation_that_dies_young_gives_way_to_the_last_good_one() {
    let script = format!(
        "{SERVING}
        2.7 kept 2
        5.0 changed 0 - a.go
        5.4 exited 3 0
        5.4 produced 3 8
        5.5 gone 2
        5.5 spawned 4
        5.6 ready 4
        5.9 exited 4 2
        5.9 gone 4
        5.95 spawned 5
        6.0 ready 5
        9.0 changed 0 - a.go
        9.4 exited 6 0
        9.4 produced 6 9"
    );
    check(
        build_and_serve(),
        &script,
        expect![[r#"
            0    began                    -> [begin 1 start], run 1 rule 0
            0.5  exited 1 0               -> inspect 1
            0.5  gone 1                   ->
            0.5  produced 1 7             -> start 2 gen 1
            0.5  spawned 2                ->
            0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
            2.6                           -> keep 2
            2.7  kept 2                   ->
            5    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            5.4  exited 3 0               -> inspect 3
            5.4  produced 3 8             -> stop 2
            5.5  gone 2                   -> start 4 gen 2
            5.5  spawned 4                ->
            5.6  ready 4                  -> [end 2 serving gen 2 hold Proven]
            5.9  exited 4 2               -> kill 4, [down gen 2 2 last good instead], [begin 3 crash]
            5.9  gone 4                   -> start 5 gen 3 last good
            5.95 spawned 5                ->
            6    ready 5                  -> [end 3 crashed gen 2 2 serving 3 until a change], [stale gen 3]
            9    changed 0 - a.go         -> [begin 4 a.go], run 6 rule 0
            9.4  exited 6 0               -> inspect 6
            9.4  produced 6 9             -> stop 5
        "#]],
    );
}

#[test]
fn what_was_built_anew_is_tried_before_what_had_worked() {
    let script = format!(
        "{SERVING}
        2.7 kept 2
        5.0 changed 0 - a.go
        5.4 exited 3 0
        5.4 produced 3 8
        5.5 gone 2
        5.5 spawned 4
        5.6 ready 4
        5.7 changed 0 - b.go
        5.9 exited 4 2
        5.9 gone 4
        6.0 exited 5 0
        6.0 produced 5 9"
    );
    check(
        build_and_serve(),
        &script,
        expect![[r#"
        0    began                    -> [begin 1 start], run 1 rule 0
        0.5  exited 1 0               -> inspect 1
        0.5  gone 1                   ->
        0.5  produced 1 7             -> start 2 gen 1
        0.5  spawned 2                ->
        0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
        2.6                           -> keep 2
        2.7  kept 2                   ->
        5    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
        5.4  exited 3 0               -> inspect 3
        5.4  produced 3 8             -> stop 2
        5.5  gone 2                   -> start 4 gen 2
        5.5  spawned 4                ->
        5.6  ready 4                  -> [end 2 serving gen 2 hold Proven]
        5.7  changed 0 - b.go         -> [begin 3 b.go], run 5 rule 0
        5.9  exited 4 2               -> kill 4, [down gen 2 2 last good instead]
        5.9  gone 4                   ->
        6    exited 5 0               -> inspect 5
        6    produced 5 9             -> start 6 gen 3
    "#]],
    );
}

#[test]
fn a_crash_after_a_failed_hand_over_starts_what_had_worked() {
    let script = format!(
        "{SERVING}
        2.7 kept 2
        5.0 changed 0 - a.go
        5.4 exited 3 0
        5.4 produced 3 8
        5.4 spawned 4
        5.5 exited 4 2
        5.5 gone 4
        9.0 exited 2 -11
        9.0 gone 2
        9.1 spawned 5
        9.2 ready 5"
    );
    check(
        hot(HotMode::Overlap),
        &script,
        expect![[r#"
        0    began                    -> [begin 1 start], run 1 rule 0
        0.5  exited 1 0               -> inspect 1
        0.5  gone 1                   ->
        0.5  produced 1 7             -> start 2 gen 1
        0.5  spawned 2                ->
        0.6  ready 2                  -> [end 1 serving gen 1 first Proven]
        2.6                           -> keep 2
        2.7  kept 2                   ->
        5    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
        5.4  exited 3 0               -> inspect 3
        5.4  produced 3 8             -> start 4 gen 2
        5.4  spawned 4                ->
        5.5  exited 4 2               -> kill 4, [end 2 crashed gen 2 2 serving 1 until a change], [stale gen 1]
        5.5  gone 4                   ->
        9    exited 2 -11             -> kill 2, [down gen 1 SIGSEGV last good instead], [begin 3 crash]
        9    gone 2                   -> start 5 gen 3 last good
        9.1  spawned 5                ->
        9.2  ready 5                  -> [end 3 crashed gen 1 SIGSEGV serving 3 until a change], [stale gen 3]
    "#]],
    );
}

/// Plays `script` after [`SERVING`] and shows what was ordered from then on.
#[track_caller]
fn check_serving(policy: Policy, script: &str, expected: Expect) {
    let shown = shown(policy, &format!("{SERVING}{script}"), without_reuse);
    let known = SERVING.trim().lines().count();
    let rest: String = shown.split_inclusive('\n').skip(known).collect();
    expected.assert_eq(&rest);
}

#[test]
fn while_paused_changes_wait_and_are_taken_up_as_one() {
    check_serving(
        build_and_serve(),
        "
        1.0 pause
        1.1 pause
        1.5 changed 0 - a.go
        1.6 changed 0 - b.go
        1.7 changed - cold .env
        5.0 resume
        5.4 exited 3 0
        5.4 produced 3 7
        5.5 gone 2
        5.6 ready 4
        6.0 resume",
        expect![[r#"
            1    pause                    -> [paused]
            1.1  pause                    ->
            1.5  changed 0 - a.go         -> [stale gen 1]
            1.6  changed 0 - b.go         ->
            1.7  changed - cold .env      ->
            2.6                           -> keep 2
            5    resume                   -> [resumed 3 files], [begin 2 .env+a.go+b.go], run 3 rule 0
            5.4  exited 3 0               -> inspect 3
            5.4  produced 3 7             -> stop 2
            5.5  gone 2                   -> start 4 gen 2
            5.6  ready 4                  -> [end 2 serving gen 2 hold Proven]
            6    resume                   ->
        "#]],
    );
}

#[test]
fn a_cycle_under_way_goes_on_while_paused_and_what_it_lacks_is_said() {
    check_serving(
        build_and_serve(),
        "
        1.0 changed 0 - a.go
        1.1 pause
        1.2 changed 0 - b.go
        1.4 exited 3 0
        1.4 produced 3 8
        1.5 gone 2
        1.6 ready 4
        5.0 resume
        5.4 exited 5 0
        5.4 produced 5 8",
        expect![[r#"
            1    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            1.1  pause                    -> [paused]
            1.2  changed 0 - b.go         ->
            1.4  exited 3 0               -> inspect 3
            1.4  produced 3 8             -> keep 2, stop 2
            1.5  gone 2                   -> start 4 gen 2
            1.6  ready 4                  -> [end 2 serving gen 2 hold Proven], [stale gen 2]
            3.6                           -> keep 4
            5    resume                   -> [resumed 1 files], [begin 3 b.go], run 5 rule 0
            5.4  exited 5 0               -> inspect 5
            5.4  produced 5 8             -> [end 3 unchanged gen 2]
        "#]],
    );
}

#[test]
fn a_request_while_paused_takes_up_what_waits_and_what_comes_then_waits_again() {
    check_serving(
        build_and_serve(),
        "
        1.0 pause
        1.5 changed 0 - a.go
        2.0 restart
        2.4 exited 3 0
        2.4 produced 3 8
        2.5 gone 2
        2.6 ready 4
        3.0 changed 0 - b.go
        4.0 build
        4.4 exited 5 0
        4.4 produced 5 8
        5.0 resume",
        expect![[r#"
            1    pause                    -> [paused]
            1.5  changed 0 - a.go         -> [stale gen 1]
            2    restart                  -> [begin 2 a.go], run 3 rule 0
            2.4  exited 3 0               -> inspect 3
            2.4  produced 3 8             -> keep 2, stop 2
            2.5  gone 2                   -> start 4 gen 2
            2.6  ready 4                  -> [end 2 serving gen 2 hold Proven]
            3    changed 0 - b.go         -> [stale gen 2]
            4    build                    -> [begin 3 b.go], run 5 rule 0
            4.4  exited 5 0               -> inspect 5
            4.4  produced 5 8             -> [end 3 unchanged gen 2]
            4.6                           -> keep 4
            5    resume                   -> [resumed 0 files]
        "#]],
    );
}

#[test]
fn a_change_that_does_not_concern_the_server_waits_without_making_it_stale() {
    let mut policy = build_and_serve();
    let mut docs = rule("docs", true, false);
    docs.then = Then::Nothing;
    policy.rules.push(docs);
    let script = "
        0.0 began
        0.2 exited 2 0
        0.5 exited 1 0
        0.5 produced 1 7
        0.6 ready 3
        1.0 pause
        1.1 changed 1 - a.md
        1.2 build
        1.3 exited 4 0
        1.3 produced 4 7
        1.4 changed 1 - b.md
        1.5 exited 5 0
        2.0 resume";
    check(
        policy,
        script,
        expect![[r#"
        0    began                    -> [begin 1 start], run 1 rule 0, run 2 rule 1
        0.2  exited 2 0               ->
        0.5  exited 1 0               -> inspect 1
        0.5  produced 1 7             -> start 3 gen 1
        0.6  ready 3                  -> [end 1 serving gen 1 first Proven]
        1    pause                    -> [paused]
        1.1  changed 1 - a.md         ->
        1.2  build                    -> [begin 2 a.md], run 4 rule 0, run 5 rule 1
        1.3  exited 4 0               -> inspect 4
        1.3  produced 4 7             ->
        1.4  changed 1 - b.md         ->
        1.5  exited 5 0               -> [end 2 unchanged gen 1]
        2    resume                   -> [resumed 1 files], [begin 3 b.md], run 6 rule 1
    "#]],
    );
}

#[test]
fn a_server_that_crashes_while_paused_is_started_again() {
    check_serving(
        build_and_serve(),
        "
        3.0 pause
        3.1 exited 2 2
        3.1 gone 2
        3.15 changed 0 - a.go
        3.3 ready 3
        4.0 resume",
        expect![[r#"
            2.6                           -> keep 2
            3    pause                    -> [paused]
            3.1  exited 2 2               -> kill 2, [down gen 1 2 again in 100ms]
            3.1  gone 2                   ->
            3.15 changed 0 - a.go         ->
            3.2                           -> [begin 2 crash], start 3 gen 2
            3.3  ready 3                  -> [end 2 serving gen 2 first Proven], [stale gen 2]
            4    resume                   -> [resumed 1 files], [begin 3 a.go], run 4 rule 0
        "#]],
    );
}

#[test]
fn a_new_config_waits_as_well() {
    check_serving(
        build_and_serve(),
        "
        1.0 pause
        1.1 configured
        1.2 changed 0 - a.go
        1.3 withheld 0
        2.0 resume
        2.4 exited 3 0
        2.4 produced 3 7",
        expect![[r#"
            1    pause                    -> [paused]
            1.1  configured               -> [stale gen 1]
            1.2  changed 0 - a.go         ->
            1.3  withheld 0               -> [stale gen 1]
            2    resume                   -> [resumed 2 files], configure, [begin 2 a.go+devwatch.toml], run 3 rule 0
            2.4  exited 3 0               -> inspect 3
            2.4  produced 3 7             -> [end 2 unchanged gen 1]
        "#]],
    );
}

#[test]
fn quitting_while_paused_leaves_what_waits() {
    check_serving(
        build_and_serve(),
        "
        1.0 pause
        1.5 changed 0 - a.go
        2.0 quit
        2.1 resume
        2.2 gone 2",
        expect![[r#"
            1    pause                    -> [paused]
            1.5  changed 0 - a.go         -> [stale gen 1]
            2    quit                     -> stop 2
            2.1  resume                   ->
            2.2  gone 2                   -> exit 0
        "#]],
    );
}

#[test]
fn a_server_that_is_stopped_on_request_stays_down_until_something_changes() {
    check_serving(
        build_and_serve(),
        "
        3.0 stop
        3.1 exited 2 143
        3.1 gone 2
        4.0 stop
        90.0 changed 0 - a.go
        90.4 exited 3 0
        90.4 produced 3 7
        90.5 ready 4",
        expect![[r#"
            2.6                           -> keep 2
            3    stop                     -> stop 2, [stopped gen 1]
            3.1  exited 2 143             -> stop 2 tree
            3.1  gone 2                   ->
            4    stop                     ->
            90   changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            90.4 exited 3 0               -> inspect 3
            90.4 produced 3 7             -> start 4 gen 2
            90.5 ready 4                  -> [end 2 serving gen 2 first Proven]
        "#]],
    );
}

#[test]
fn a_stopped_server_is_started_by_a_request() {
    check_serving(
        build_and_serve(),
        "
        3.0 stop
        3.1 gone 2
        5.0 restart
        5.2 ready 3",
        expect![[r#"
            2.6                           -> keep 2
            3    stop                     -> stop 2, [stopped gen 1]
            3.1  gone 2                   ->
            5    restart                  -> [begin 2 request], start 3 gen 2
            5.2  ready 3                  -> [end 2 serving gen 2 first Proven]
        "#]],
    );
}

#[test]
fn rules_that_run_when_the_server_is_stopped_start_it_when_they_succeed() {
    check_serving(
        build_and_serve(),
        "
        3.0 changed 0 - a.go
        3.1 stop
        3.2 gone 2
        3.4 exited 3 1
        3.5 produced 3 7
        9.0 changed 0 - a.go
        9.1 stop
        9.4 exited 4 0
        9.4 produced 4 7
        9.6 ready 5",
        expect![[r#"
            2.6                           -> keep 2
            3    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            3.1  stop                     -> stop 2, [stopped gen 1, rules go on]
            3.2  gone 2                   ->
            3.4  exited 3 1               -> [end 2 failed rule 0 1 serving none], inspect 3
            3.5  produced 3 7             ->
            9    changed 0 - a.go         -> [begin 3 a.go], run 4 rule 0
            9.1  stop                     ->
            9.4  exited 4 0               -> inspect 4
            9.4  produced 4 7             -> start 5 gen 2
            9.6  ready 5                  -> [end 3 serving gen 2 first Proven]
        "#]],
    );
}

#[test]
fn a_stop_calls_off_a_restart_after_a_crash() {
    check_serving(
        build_and_serve(),
        "
        3.0 exited 2 2
        3.0 gone 2
        3.05 stop
        9.0 build",
        expect![[r#"
            2.6                           -> keep 2
            3    exited 2 2               -> kill 2, [down gen 1 2 again in 100ms]
            3    gone 2                   ->
            3.05 stop                     -> [stopped nothing]
            9    build                    -> [begin 2 request], run 3 rule 0
        "#]],
    );
}

#[test]
fn a_stop_during_a_cold_restart_ends_its_cycle_and_what_was_owed_is_owed() {
    check_serving(
        hot(HotMode::Overlap),
        "
        3.0 changed - cold .env
        3.1 stop
        3.2 gone 2
        5.0 changed 0 - a.go
        5.1 exited 3 0
        5.1 produced 3 7
        5.2 stop
        5.3 exited 4 143
        5.3 gone 4",
        expect![[r#"
            2.6                           -> keep 2
            3    changed - cold .env      -> [begin 2 .env], stop 2
            3.1  stop                     -> [end 2 superseded], [stopped nothing]
            3.2  gone 2                   ->
            5    changed 0 - a.go         -> [begin 3 a.go], run 3 rule 0
            5.1  exited 3 0               -> inspect 3
            5.1  produced 3 7             -> start 4 gen 2
            5.2  stop                     -> stop 4, [end 3 superseded], [stopped gen 2]
            5.3  exited 4 143             -> stop 4 tree
            5.3  gone 4                   ->
        "#]],
    );
}

#[test]
fn a_stop_during_a_hand_over_stops_both() {
    check_serving(
        hot(HotMode::Adopt),
        "
        3.0 changed 0 - a.go
        3.1 exited 3 0
        3.1 produced 3 8
        3.2 spawned 4
        3.3 stop
        3.4 gone 2
        3.4 gone 4
        9.0 restart
        9.1 ready 5",
        expect![[r#"
            2.6                           -> keep 2
            3    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            3.1  exited 3 0               -> inspect 3
            3.1  produced 3 8             -> start 4 gen 2
            3.2  spawned 4                ->
            3.3  stop                     -> stop 4, stop 2, [end 2 superseded], [stopped gen 1]
            3.4  gone 2                   ->
            3.4  gone 4                   ->
            9    restart                  -> [begin 3 request], start 5 gen 3
            9.1  ready 5                  -> [end 3 serving gen 3 first Proven]
        "#]],
    );
}

#[test]
fn a_stop_during_a_drain_stops_the_old_one_too_and_the_build_that_waited_for_it() {
    check_serving(
        hot(HotMode::Adopt),
        "
        3.0 changed 0 - a.go
        3.1 exited 3 0
        3.1 produced 3 8
        3.2 ready 4
        3.3 changed 0 - b.go
        3.4 exited 5 0
        3.4 produced 5 9
        3.5 stop
        3.6 gone 2
        3.6 gone 4
        9.0 restart
        9.1 ready 6",
        expect![[r#"
            2.6                           -> keep 2
            3    changed 0 - a.go         -> [begin 2 a.go], run 3 rule 0
            3.1  exited 3 0               -> inspect 3
            3.1  produced 3 8             -> start 4 gen 2
            3.2  ready 4                  -> retire 2, [gen 2 accepts, gen 1 drains]
            3.3  changed 0 - b.go         -> [end 2 superseded], [begin 3 a.go+b.go], run 5 rule 0
            3.4  exited 5 0               -> inspect 5
            3.4  produced 5 9             ->
            3.5  stop                     -> stop 4, [end 3 superseded], [stopped gen 2], stop 2, [overdue gen 1 after 300ms]
            3.6  gone 2                   ->
            3.6  gone 4                   ->
            9    restart                  -> [begin 4 request], start 6 gen 3
            9.1  ready 6                  -> [end 4 serving gen 3 first Proven]
        "#]],
    );
}

#[test]
fn an_end_says_how_long_its_rules_took_and_how_long_ago_the_change_was() {
    let origin = origin();
    let at = |seconds: f64| origin + Duration::from_secs_f64(seconds);
    let mut supervisor = Supervisor::new(build_and_serve());
    let mut ends = Vec::new();
    let mut play = |seconds: f64, text: &str, since: Option<f64>| {
        let mut event = fact(text, at(seconds));
        if let (Event::Changed { since: told, .. }, Some(since)) = (&mut event, since) {
            *told = at(since);
        }
        for effect in without_reuse(&mut supervisor, at(seconds), event) {
            if let Effect::Report(Report::End {
                took,
                built,
                waited,
                ..
            }) = effect
            {
                let millis = |time: Duration| time.as_millis();
                ends.push((millis(took), built.map(millis), millis(waited)));
            }
        }
    };
    play(0.0, "began", None);
    play(0.5, "exited 1 0", None);
    play(0.6, "produced 1 7", None);
    play(0.9, "ready 2", None);
    // It fails: it never was built.
    play(2.0, "changed 0 - a.go", Some(1.8));
    play(2.4, "exited 3 1", None);
    // Superseded, and the change of the first cycle is the first of the second.
    play(3.0, "changed 0 - a.go", Some(2.9));
    play(3.1, "changed 0 - b.go", Some(3.05));
    play(3.1, "gone 4", None);
    play(3.4, "exited 5 0", None);
    play(3.5, "produced 5 8", None);
    play(3.6, "gone 2", None);
    play(4.0, "ready 6", None);
    assert_eq!(
        ends,
        [
            (900, Some(600), 900),
            (400, None, 600),
            (100, None, 200),
            (900, Some(400), 1100),
        ]
    );
}

#[test]
fn joining_plans_is_a_least_upper_bound() {
    let plan = |rules: &[usize], then| Plan {
        forced: rules.iter().take(1).copied().map(RuleId).collect(),
        rules: rules.iter().copied().map(RuleId).collect(),
        then,
    };
    let plans = [
        plan(&[], Then::Nothing),
        plan(&[1], Then::Cold),
        plan(&[0, 2], Then::Reload),
        plan(&[2], Then::Restart),
    ];
    let join = |a: &Plan, b: &Plan| {
        let mut joined = a.clone();
        joined.join(b.clone());
        joined
    };
    for a in &plans {
        assert_eq!(join(a, a), *a);
        for b in &plans {
            assert_eq!(join(a, b), join(b, a));
            for c in &plans {
                assert_eq!(join(&join(a, b), c), join(a, &join(b, c)));
            }
        }
    }
}
