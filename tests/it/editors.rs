//! How editors, formatters and git save: each is exactly one build, of exactly the files that it has changed.
//!
//! Real programs where they are to be had, else what was recorded of them, replayed with its pauses. Each twice:
//! with a patient devwatch, where no load of the machine can make two builds of one save, and as devwatch comes,
//! which shows that its own quiet time is enough for what these programs really do.

use std::fs;
use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use crate::project::{Project, have, tree};
use crate::saves::{PATIENT, Saves};

/// Makes `src/main.go` hold this word, in the way of the program of this name.
type Save<'a> = (&'a str, &'a dyn Fn(&Project, &str));

/// As devwatch comes, a machine that stops a program for longer than the quiet time may tear its save in two: what
/// happens each of so many times is not the machine's doing.
const ATTEMPTS: usize = 5;

/// A file with a word for the saves to change, and a neighbour that none of them touches.
fn sources() -> Project {
    let project = Project::new();
    project.write("src/main.go", &text("first"));
    project.write("src/other.go", &text("other"));
    project
}

fn text(word: &str) -> String {
    format!("package main\n\n// word-{word}\nvar x = 1\n")
}

/// Each save is one build of `src/main.go` and of nothing else.
#[track_caller]
fn each_is_one_build(saves: &[Save<'_>]) {
    let mut patient = Saves::mirroring(sources(), PATIENT);
    for (name, save) in saves {
        save(&patient.project, name);
        patient.builds("1 file: src/main.go");
        assert_eq!(patient.project.read("out/main.go"), text(name));
    }
    patient.project.write("src/other.go", "last");
    patient.builds("1 file: src/other.go");
    patient.ends();

    let mut usual = Saves::mirroring(sources(), "");
    for (name, save) in saves {
        one_build(&mut usual, ATTEMPTS, &["src/main.go"], |usual, attempt| {
            save(&usual.project, &format!("{name}{attempt}"));
        });
    }
    usual.ends();
}

/// What `change` does is one build of these files, at one of so many attempts.
#[track_caller]
fn one_build(
    saves: &mut Saves,
    attempts: usize,
    files: &[&str],
    change: impl Fn(&mut Saves, usize),
) {
    let expected = one_build_of(files);
    for attempt in 0..attempts {
        change(saves, attempt);
        let reasons = reasons(saves, files[0]);
        if reasons == expected {
            return;
        }
        eprintln!("attempt {attempt}: {reasons:?} instead of {expected:?}");
    }
    panic!("never one build\n{}", saves.devwatch.story());
}

/// What happened was one build of these files.
#[track_caller]
fn one_more(saves: &mut Saves, files: &[&str]) {
    assert_eq!(
        reasons(saves, files[0]),
        one_build_of(files),
        "{}",
        saves.devwatch.story()
    );
}

/// The reasons of every build for what happened, of which one names `file`, and that of a save after it.
#[track_caller]
fn reasons(saves: &mut Saves, file: &str) -> Vec<String> {
    let mut reasons = saves.reasons_until(file);
    // Were there more to come, it would stand beside this one or have a build of its own before it.
    let after = format!("after build {}", saves.build);
    saves.project.write("src/end-of-save", &after);
    reasons.extend(saves.reasons_until("src/end-of-save"));
    let [from, to] = ["src", "out"].map(|folder| tree(&saves.project.path(folder)));
    assert_eq!(from, to);
    reasons
}

fn one_build_of(files: &[&str]) -> [String; 2] {
    [reason(files), reason(&["src/end-of-save"])]
}

/// How a begin line names these files.
fn reason(files: &[&str]) -> String {
    let plural = if files.len() == 1 { "" } else { "s" };
    format!("({} file{plural}: {})", files.len(), files.join(", "))
}

// ---------------------------------------------------------------- editors

#[test]
fn vim_saves_once_whatever_its_backups() {
    if !have("vim") {
        return;
    }
    let mut settings = Vec::new();
    for backup in ["yes", "no", "auto"] {
        for more in ["", " backup writebackup", " nowritebackup", " noswapfile"] {
            settings.push(format!("backupcopy={backup}{more}"));
        }
    }
    let vim = |setting: &str| {
        let setting = setting.to_owned();
        move |project: &Project, word: &str| {
            // In the temporary folder vim makes no backups unless told to.
            project.shell(&format!(
                "vim -N -u NONE -i NONE -es -c 'set backupskip= directory=. backupdir=. {setting}' \
                 -c '%s/word-.*/word-{word}/' -c wq src/main.go"
            ));
        }
    };
    let vims: Vec<_> = settings.iter().map(|setting| vim(setting)).collect();
    let names: Vec<String> = (0..vims.len()).map(|at| format!("vim{at}")).collect();
    let saves = names.iter().zip(&vims);
    let saves: Vec<Save<'_>> = saves.map(|(name, vim)| (&**name, vim as _)).collect();
    each_is_one_build(&saves);
}

/// An Emacs that changes the word, then does `more`. It syncs what it writes, as it does with somebody before it; in
/// the temporary folder it makes no backups unless told to.
fn emacs(word: &str, settings: &str, more: &str) -> String {
    format!(
        r#"emacs --batch -Q --eval '(progn
            (setq backup-enable-predicate (lambda (_) t) write-region-inhibit-fsync nil {settings})
            (find-file "src/main.go")
            (re-search-forward "word-.*")
            (replace-match "word-{word}")
            {more})' 2>&1"#
    )
}

#[test]
fn emacs_saves_once_whatever_its_backups() {
    if !have("emacs") {
        return;
    }
    let with = |settings: &'static str| {
        move |project: &Project, word: &str| {
            project.shell(&emacs(word, settings, "(save-buffer)"));
        }
    };
    each_is_one_build(&[
        ("renames", &with("")),
        ("copies", &with("backup-by-copying t")),
        ("precious", &with("file-precious-flag t")),
        ("none", &with("make-backup-files nil")),
        ("numbered", &with("version-control t")),
    ]);
}

#[test]
fn what_emacs_leaves_about_while_somebody_types_builds_nothing() {
    if !have("emacs") {
        return;
    }
    let project = sources();
    let mut saves = Saves::mirroring(project, PATIENT);
    for round in 0..3 {
        // Its lock and its automatic save stay, because it is killed.
        let killed = "(auto-save-mode 1) (do-auto-save) (signal-process (emacs-pid) 9)";
        let typed = emacs("typed", "", killed);
        saves.project.shell(&format!("{typed}; test $? = 137"));
        let left = ["src/.#main.go", "src/#main.go#"];
        for left in left {
            let left = saves.project.path(left);
            assert!(left.symlink_metadata().is_ok(), "no {}", left.display());
        }
        let saved = emacs(&round.to_string(), "", "(save-buffer)");
        saves.project.shell(&saved);
        saves.builds("1 file: src/main.go");
        assert_eq!(saves.project.read("out/main.go"), text(&round.to_string()));
    }
    saves.project.write("src/other.go", "last");
    saves.builds("1 file: src/other.go");
    saves.ends();
}

/// A pause that was recorded between two calls of an editor.
fn pause(microseconds: u64) {
    thread::sleep(Duration::from_micros(microseconds));
}

/// Writes and closes, as Node does: created or truncated first, in a call of its own.
fn write_as_node(project: &Project, path: &str, content: &str) {
    let mut file = fs::File::create(project.path(path)).expect("opened");
    pause(250);
    file.write_all(content.as_bytes()).expect("written");
    pause(150);
}

#[test]
fn recorded_saves_of_vs_code_and_jetbrains_are_one_build_each() {
    let rename = |project: &Project, from: &str, to: &str| {
        fs::rename(project.path(from), project.path(to)).expect("renamed");
    };
    each_is_one_build(&[
        ("code", &|project, word| {
            write_as_node(project, "src/main.go", &text(word));
        }),
        ("code-atomic", &|project, word| {
            write_as_node(project, "src/main.go.vsctmp", &text(word));
            pause(1900);
            rename(project, "src/main.go.vsctmp", "src/main.go");
        }),
        ("jetbrains", &|project, word| {
            write_as_node(project, "src/main.go___jb_tmp___", &text(word));
            pause(1500);
            rename(project, "src/main.go", "src/main.go___jb_old___");
            pause(1500);
            rename(project, "src/main.go___jb_tmp___", "src/main.go");
            pause(1500);
            fs::remove_file(project.path("src/main.go___jb_old___")).expect("removed");
        }),
    ]);
}

// ---------------------------------------------------------------- programs that change files

#[test]
fn sed_and_perl_in_place_are_one_build() {
    let sed = |project: &Project, word: &str| {
        project.shell(&format!("sed -i 's/word-.*/word-{word}/' src/main.go"));
    };
    let perl = |project: &Project, word: &str| {
        project.shell(&format!("perl -pi -e 's/word-.*/word-{word}/' src/main.go"));
    };
    let mut saves: Vec<Save<'_>> = vec![("sed", &sed)];
    if have("perl") {
        saves.push(("perl", &perl));
    }
    each_is_one_build(&saves);
}

#[test]
fn rsync_beside_and_in_place_is_one_build() {
    if !have("rsync") {
        return;
    }
    // Its own judgement is by size and time, which may well be the same here.
    let rsync = |options: &'static str| {
        move |project: &Project, word: &str| {
            project.write("elsewhere/main.go", &text(word));
            project.shell(&format!(
                "rsync -a --ignore-times {options} elsewhere/ src/"
            ));
        }
    };
    each_is_one_build(&[("beside", &rsync("")), ("in-place", &rsync("--inplace"))]);
}

#[test]
fn a_formatter_is_a_build_when_it_changes_something_and_none_when_it_does_not() {
    if !have("gofmt") {
        return;
    }
    for (watch, attempts) in [(PATIENT, 1), ("", ATTEMPTS)] {
        let mut saves = Saves::mirroring(sources(), watch);
        for round in 0..3 {
            one_build(&mut saves, attempts, &["src/main.go"], |saves, attempt| {
                let sloppy = text(&format!("{round}.{attempt}")).replace(" = ", "   =   ");
                saves.project.write("src/main.go", &sloppy);
                saves.reasons_until("src/main.go");
                saves.project.shell("gofmt -w src/main.go");
            });
            // It is in order now.
            saves.project.shell("gofmt -w src/main.go");
            saves
                .project
                .write("src/other.go", &text(&format!("{round}")));
            let reasons = saves.reasons_until("src/other.go");
            assert_eq!(reasons, [reason(&["src/other.go"])]);
        }
        saves.ends();
    }
}

// ---------------------------------------------------------------- git

/// A repository with these files, committed on `main`, that knows who commits; what devwatch makes is ignored.
fn repository(files: &[&str]) -> Project {
    let project = Project::new();
    project.shell(
        "git init -q -b main && git config user.name me && git config user.email me@example.com \
         && git config commit.gpgSign false && git config core.hooksPath none && git config core.fsmonitor false",
    );
    project.write(".gitignore", "out/\ndevwatch.toml\nsrc/end-of-save\n");
    for file in files {
        project.write(file, &lines(file, "main", "main"));
    }
    commit(&project, "main");
    project
}

/// A file whose top and bottom can be changed on two branches without a conflict.
fn lines(file: &str, top: &str, bottom: &str) -> String {
    let middle: String = (0..20).map(|line| format!("{line}\n")).collect();
    format!("{file} top {top}\n{middle}{file} bottom {bottom}\n")
}

fn commit(project: &Project, message: &str) {
    project.shell(&format!("git add . && git commit -qm '{message}'"));
}

#[test]
fn a_checkout_and_a_switch_of_branch_are_one_build_each() {
    if !have("git") {
        return;
    }
    let project = repository(&["src/a", "src/b", "src/sub/c", "src/gone"]);
    project.shell("git checkout -qb other");
    project.write("src/b", "other\n");
    project.write("src/sub/c", "other\n");
    project.write("src/new/d", "other\n");
    project.shell("git rm -q src/gone");
    commit(&project, "other");
    project.shell("git switch -q main");

    let mut saves = Saves::mirroring(project, "");
    let switched = ["src/b", "src/gone", "src/new/d", "src/sub/c"];
    for command in [
        "checkout other",
        "checkout main",
        "switch other",
        "switch -",
    ] {
        one_build(&mut saves, ATTEMPTS, &switched, |saves, attempt| {
            if attempt > 0 {
                saves.project.shell("git switch -q -");
                saves.reasons_until("src/sub/c");
            }
            saves.project.shell(&format!("git {command} -q"));
        });
    }
    saves.ends();
}

#[test]
fn a_stash_and_its_pop_are_one_build_each() {
    if have("git") {
        stash_and_pop("", ATTEMPTS, "", &["src/a", "src/sub/c"]);
    }
}

#[test]
fn a_stash_of_untracked_files_and_its_pop_are_one_build_each() {
    if have("git") {
        // What git did not know comes back in a process of its own, after its lock is gone.
        let files = ["src/a", "src/sub/c", "src/untracked"];
        stash_and_pop(PATIENT, 1, "-u", &files);
    }
}

#[track_caller]
fn stash_and_pop(watch: &str, attempts: usize, options: &str, edited: &[&str]) {
    let project = repository(&["src/a", "src/b", "src/sub/c"]);
    for file in edited {
        project.write(file, "edited\n");
    }
    let mut saves = Saves::mirroring(project, watch);
    for _ in 0..3 {
        one_build(&mut saves, attempts, edited, |saves, attempt| {
            if attempt > 0 {
                saves.project.shell("git stash pop -q");
                saves.reasons_until("src/sub/c");
            }
            saves.project.shell(&format!("git stash -q {options}"));
        });
        one_build(&mut saves, attempts, edited, |saves, attempt| {
            if attempt > 0 {
                saves.project.shell("git stash -q");
                saves.reasons_until("src/sub/c");
            }
            saves.project.shell("git stash pop -q");
        });
    }
    saves.ends();
}

/// A repository whose branch `feature` has thirty commits over three files, from before the last commit of `main`,
/// which changed two of these at another place, and a fourth.
fn two_branches() -> Project {
    let project = repository(&["src/a", "src/b", "src/sub/c", "src/main"]);
    project.shell("git checkout -qb feature");
    for number in 0..30 {
        let file = ["src/a", "src/b", "src/sub/c"][number % 3];
        let bottom = format!("feature {number}");
        project.write(file, &lines(file, "main", &bottom));
        commit(&project, &bottom);
    }
    project.shell("git checkout -q main");
    for file in ["src/a", "src/b", "src/main"] {
        project.write(file, &lines(file, "moved on", "main"));
    }
    commit(&project, "moved on");
    project.shell("git checkout -q feature");
    project
}

#[test]
fn a_rebase_of_several_commits_is_one_build() {
    if !have("git") {
        return;
    }
    let mut saves = Saves::mirroring(two_branches(), "");
    // `c` is what it was before, though it came and went meanwhile.
    let moved = ["src/a", "src/b", "src/main"];
    for command in [
        "rebase -q main",
        "reset -q --hard ORIG_HEAD",
        "rebase -q --no-ff main",
        "reset -q --hard ORIG_HEAD",
        "rebase -q --apply main",
        "reset -q --hard ORIG_HEAD",
        "pull -q --rebase . main",
    ] {
        saves.project.shell(&format!("git {command}"));
        one_more(&mut saves, &moved);
    }
    saves.ends();
}

#[test]
fn a_rebase_that_stops_for_somebody_is_one_build_and_holds_up_no_save() {
    if !have("git") {
        return;
    }
    let project = two_branches();
    project.write("src/b", &lines("src/b", "feature", "feature"));
    commit(&project, "in conflict with main");
    project.write("src/a", &lines("src/a", "main", "the last"));
    commit(&project, "after the conflict");
    let mut saves = Saves::mirroring(project, "");
    saves
        .project
        .shell("git rebase -q main > rebase.log 2>&1; test -d .git/rebase-merge");
    // It was stopped before the last commit, and `c` is what it was.
    one_more(&mut saves, &["src/a", "src/b", "src/main"]);
    assert!(saves.project.read("out/b").contains("<<<<<<<"));

    // While it waits nothing else does. The machine may be busy at times, but not each time.
    let mut waited = Vec::new();
    for save in 0..5 {
        let since = Instant::now();
        saves.project.write("src/main", &format!("{save}\n"));
        saves.reasons_until("src/main");
        waited.push(since.elapsed());
    }
    let least = waited.iter().min().expect("five");
    assert!(*least < Duration::from_millis(400), "{waited:?}");

    let mended = lines("src/b", "moved on", "feature");
    saves.project.write("src/b", &mended);
    assert_eq!(saves.reasons_until("src/b"), [reason(&["src/b"])]);
    saves.project.shell("git checkout -q src/main");
    assert_eq!(saves.reasons_until("src/main"), [reason(&["src/main"])]);
    saves
        .project
        .shell("git add src/b && GIT_EDITOR=true git rebase --continue");
    one_more(&mut saves, &["src/a"]);
    saves.ends();
}
