//! An editor in front of the screen: it has the terminal alone, and devwatch has it back afterwards.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Sitting, program, simple};
use crate::project::Project;

/// Says that it is there, and does as it is told.
const EDITOR: &str = r#"
echo "editing $1"
trap 'echo interrupted' INT
# A signal interrupts what is being read.
while :; do
    read -r line || continue
    echo "$line" >>"$HERE/typed"
    case $line in
    save) cp "$HERE/good" "$2" ;;
    leave) exit 0 ;;
    fail) exit 3 ;;
    esac
done
"#;

/// A build has failed, and the editor is this one.
fn failed(editor: impl FnOnce(&Project) -> String) -> Sitting {
    let project = simple();
    let good = project.read("api/source.sh");
    project.write("good", &good);
    project.write("api/source.sh", &format!("{good}true no_name\n"));
    let editor = editor(&project);
    let mut sitting = Sitting::start_with(project, (24, 80), &[("VISUAL", editor)]);
    sitting.state("BUILD FAILED");
    sitting
}

fn with_editor() -> Sitting {
    failed(|project| program(project, "editor", EDITOR))
}

#[test]
fn an_editor_gets_every_key_and_what_it_saves_is_built() {
    let mut sitting = with_editor();
    let before = sitting.state("BUILD FAILED").text();
    sitting.press("\r");
    sitting.shows("editing +2");
    // Each of these letters means something to devwatch.
    let typed: String = (1..=50)
        .map(|line| format!("{line} rRpqxcmzf?h/\\\n"))
        .collect();
    sitting.press(&typed);
    assert_eq!(sitting.file_holds("typed", "50 rRpqxcmzf?h/\\\n"), typed);
    sitting.press("leave\n");
    let seen = sitting.state("BUILD FAILED");
    assert!(seen.screen.alternate_screen() && seen.screen.hide_cursor());
    // The screen is whole again, and nothing has happened to it.
    assert_eq!(seen.text(), before);
    sitting.press("1");
    sitting.shows("editing +2");
    sitting.press("save\nleave\n");
    let seen = sitting.state("SERVING");
    assert!(seen.contains("build #2 ok"), "{:?}", seen.rows);
    sitting.quit();
}

#[test]
fn a_build_goes_on_behind_an_editor() {
    let mut sitting = with_editor();
    sitting.press("\r");
    sitting.shows("editing +2");
    sitting.press("save\n");
    // Nothing is drawn over the editor meanwhile.
    let built = |project: &Project| project.path("api/built.sh").exists();
    assert!(crate::project::eventually(crate::project::PATIENCE, || {
        built(&sitting.project)
    }));
    assert!(!sitting.terminal.screen().alternate_screen());
    sitting.press("leave\n");
    sitting.state("SERVING");
    sitting.quit();
}

#[test]
fn ctrl_c_in_an_editor_is_the_editors() {
    let mut sitting = with_editor();
    sitting.press("\r");
    sitting.shows("editing +2");
    sitting.press("\x03");
    sitting.shows("interrupted");
    sitting.press("still here\n");
    sitting.file_holds("typed", "still here\n");
    sitting.press("leave\n");
    sitting.state("BUILD FAILED");
    sitting.quit();
}

#[test]
fn an_editor_that_fails_says_so() {
    let mut sitting = with_editor();
    sitting.press("\r");
    sitting.shows("editing +2");
    sitting.press("fail\n");
    let seen = sitting.until("a word on it", |seen| {
        seen.last_row()
            .ends_with("/editor ended with exit status 3")
    });
    assert!(seen.is("BUILD FAILED"), "{:?}", seen.rows);
    sitting.quit();
}

#[test]
fn an_editor_that_is_not_there_is_missed() {
    let mut sitting = failed(|_| "no-such-editor".to_owned());
    sitting.press("\r");
    let seen = sitting.until("a word on it", |seen| {
        seen.last_row().starts_with("cannot run no-such-editor: ")
    });
    assert!(seen.is("BUILD FAILED"), "{:?}", seen.rows);
    // What was on the terminal before, there was nothing of.
    sitting.press("?");
    sitting.shows("─ keys · esc closes");
    sitting.press("?");
    sitting.lacks("─ keys · esc closes");
    sitting.quit();
}

#[test]
fn devwatch_ends_although_an_editor_has_the_terminal() {
    let mut sitting = with_editor();
    sitting.press("\r");
    sitting.shows("editing +2");
    let devwatch = sitting.project.read("api/.devwatch/lock");
    let devwatch = Pid::from_raw(devwatch.trim().parse().expect("a pid"));
    kill(devwatch, Signal::SIGTERM).expect("it can be told");
    sitting.shows("left with 143");
}
