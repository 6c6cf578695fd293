//! Facts and orders as one line of text each: what `DEVWATCH_LOG` writes and what the timelines in the tests
//! hold, so that a bug report is a test.

use std::collections::BTreeSet;

use super::event::{
    Cause, Effect, Event, Outcome, Report, Request, Retry, Reuse, Serving, Target, Who,
};
use super::plan::RuleId;

/// One fact, e.g. `exited 2 143`.
pub fn event(event: &Event) -> String {
    match event {
        Event::Began => "began".to_owned(),
        Event::Changed { plan, files, .. } => {
            format!("changed {} {:?} {files:?}", numbers(&plan.rules), plan.then)
        }
        Event::Withheld { plan, .. } => format!("withheld {}", numbers(&plan.rules)),
        Event::Configured { server_changed, .. } => {
            format!("configured server_changed={server_changed}")
        }
        Event::Spawned(job, pid) => format!("spawned {job} {pid}"),
        Event::SpawnFailed(job, reason) => format!("spawn-failed {job} {reason:?}"),
        Event::Exited(job, exit) => format!("exited {job} {exit}"),
        Event::TreeGone(job) => format!("gone {job}"),
        Event::Reused(job, Reuse::Current(_)) => format!("reused {job} current"),
        Event::Reused(job, Reuse::Restored(_)) => format!("reused {job} restored"),
        Event::Reused(job, Reuse::Nothing) => format!("reused {job} nothing"),
        Event::Produced(job, produced) => format!("produced {job} {produced:?}"),
        Event::Listening(job) => format!("listening {job}"),
        Event::Ready(job, evidence) => format!("ready {job} {evidence:?}"),
        Event::Refused(job, reason) => format!("refused {job} {reason:?}"),
        Event::TookOver(job, pid) => format!("took-over {job} {pid}"),
        Event::Kept(job) => format!("kept {job}"),
        Event::Asked(Request::Build) => "asked build".to_owned(),
        Event::Asked(Request::Restart) => "asked restart".to_owned(),
        Event::Asked(Request::Stop) => "asked stop".to_owned(),
        Event::Asked(Request::Pause) => "asked pause".to_owned(),
        Event::Asked(Request::Resume) => "asked resume".to_owned(),
        Event::Asked(Request::Quit { code }) => format!("asked quit {code}"),
        Event::Elapsed => "elapsed".to_owned(),
    }
}

/// One order, e.g. `run 2 rule 0`.
pub fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Reuse { job, rule } => format!("reuse {job} rule {}", rule.0),
        Effect::Run { job, rule } => format!("run {job} rule {}", rule.0),
        Effect::Start {
            job,
            generation,
            last_good: false,
        } => format!("start {job} gen {generation}"),
        Effect::Start {
            job,
            generation,
            last_good: true,
        } => format!("start {job} gen {generation} last good"),
        Effect::Keep { job } => format!("keep {job}"),
        Effect::Stop {
            job,
            target: Target::Main,
        } => format!("stop {job}"),
        Effect::Stop {
            job,
            target: Target::Tree,
        } => format!("stop {job} tree"),
        Effect::HandOver {
            from,
            to,
            generation,
        } => format!("hand-over {from} to {to} gen {generation}"),
        Effect::Recognise {
            from,
            to,
            generation,
            pid,
        } => {
            format!("recognise {from} as {to} gen {generation} pid {pid}")
        }
        Effect::Retire { job } => format!("retire {job}"),
        Effect::Kill { job } => format!("kill {job}"),
        Effect::Inspect { job, .. } => format!("inspect {job}"),
        Effect::Configure => "configure".to_owned(),
        Effect::Remember { listens } => format!("remember listens={listens}"),
        Effect::Report(report) => format!("[{}]", self::report(report)),
        Effect::Exit(code) => format!("exit {code}"),
    }
}

fn report(report: &Report) -> String {
    match report {
        Report::Begin { build, cause } => format!("begin {build} {}", cause_word(cause)),
        Report::End {
            build,
            outcome,
            restored,
            ..
        } => {
            let restored = match restored.is_empty() {
                true => String::new(),
                false => format!(" restored {}", numbers(restored)),
            };
            format!("end {build} {}{restored}", outcome_words(outcome))
        }
        Report::Stale { generation, .. } => format!("stale gen {generation}"),
        Report::Paused => "paused".to_owned(),
        Report::Resumed { files } => format!("resumed {files} files"),
        Report::Stopped {
            generation,
            building,
        } => {
            let what = generation.map_or_else(|| "nothing".to_owned(), |it| format!("gen {it}"));
            let building = if *building { ", rules go on" } else { "" };
            format!("stopped {what}{building}")
        }
        Report::Down {
            generation,
            exit,
            reason,
            retry,
            ..
        } => {
            let how = exit.map_or_else(|| format!("{reason:?}"), |exit| exit.to_string());
            format!("down gen {generation} {how} {}", retry_words(retry))
        }
        Report::Interim(serving) => format!("interim {}", serving_words(serving)),
        Report::Draining {
            generation, old, ..
        } => {
            format!("gen {generation} accepts, gen {old} drains")
        }
        Report::TookOver { generation, pid } => format!("took over gen {generation} pid {pid}"),
        Report::Overdue { who, after } => format!("overdue {} after {after:?}", who_words(who)),
        Report::Killed { who, after } => format!("killed {} after {after:?}", who_words(who)),
        Report::Stuck { who } => format!("stuck {}", who_words(who)),
    }
}

fn numbers(rules: &BTreeSet<RuleId>) -> String {
    let rules: Vec<String> = rules.iter().map(|rule| rule.0.to_string()).collect();
    rules.join("+")
}

fn cause_word(cause: &Cause) -> String {
    match cause {
        Cause::Start => "start".to_owned(),
        Cause::Request => "request".to_owned(),
        Cause::Crash => "crash".to_owned(),
        Cause::Files(files) => files
            .iter()
            .map(|file| file.display().to_string())
            .collect::<Vec<_>>()
            .join("+"),
    }
}

fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Serving(serving) => format!("serving {}", serving_words(serving)),
        Outcome::Ok { exited: None } => "ok".to_owned(),
        Outcome::Ok {
            exited: Some(generation),
        } => format!("ok, gen {generation} exited"),
        Outcome::Unchanged { serving } => format!("unchanged gen {serving}"),
        Outcome::Failed {
            rule,
            exit,
            reason,
            serving,
        } => {
            let how = exit.map_or_else(|| format!("{reason:?}"), |exit| exit.to_string());
            let serving =
                serving.map_or_else(|| "none".to_owned(), |generation| generation.to_string());
            format!("failed rule {} {how} serving {serving}", rule.0)
        }
        Outcome::Crashed {
            generation,
            exit,
            reason,
            serving,
            retry,
        } => {
            let how = exit.map_or_else(|| format!("{reason:?}"), |exit| exit.to_string());
            let still = serving.map_or_else(String::new, |serving| format!("serving {serving} "));
            format!(
                "crashed gen {generation} {how} {still}{}",
                retry_words(retry)
            )
        }
        Outcome::Superseded => "superseded".to_owned(),
    }
}

fn serving_words(serving: &Serving) -> String {
    let how = serving.restart.map_or_else(
        || "first".to_owned(),
        |kind| format!("{kind:?}").to_lowercase(),
    );
    let reason = serving
        .reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(" {reason:?}"));
    format!(
        "gen {} {how} {:?}{reason}",
        serving.generation, serving.ready
    )
}

fn retry_words(retry: &Retry) -> String {
    match retry {
        Retry::In(delay) => format!("again in {delay:?}"),
        Retry::OnChange => "until a change".to_owned(),
        Retry::LastGood => "last good instead".to_owned(),
    }
}

fn who_words(who: &Who) -> String {
    match who {
        Who::Server(generation) => format!("gen {generation}"),
        Who::Rule(rule) => format!("rule {}", rule.0),
    }
}
