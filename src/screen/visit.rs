//! Other programs in front of the screen: an editor at a problem, a pager on the log; and those beside it: a browser,
//! the clipboard.
//!
//! Whoever gets the terminal is a foreground job of its own, as under a shell, so that Ctrl-C in a pager is the pager's.
//! These are the only processes that the guardian does not know: an editor is the user's, and outlives devwatch.
#![expect(
    clippy::disallowed_methods,
    reason = "these processes belong to the user"
)]

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgrp, tcsetpgrp};

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// It has a window of its own, and needs no terminal.
    pub windowed: bool,
}

/// How to open a place in an editor. `editor` is the setting or what `VISUAL` or `EDITOR` says: a template with
/// `{file}`, `{line}` and `{column}`, or a command, which is told the place in the way that it understands.
pub fn editor(editor: &str, file: &Path, line: u32, column: u32) -> Option<Visit> {
    let words = shlex::split(editor)?;
    let program = words.first()?;
    let name = Path::new(program)
        .file_name()?
        .to_string_lossy()
        .into_owned();
    let name = name.trim_end_matches(".exe");
    let windowed = WINDOWED.contains(&name) || name.starts_with("idea");
    let path = file.to_string_lossy();
    let fill = |word: &String| {
        let word = word.replace("{line}", &line.to_string());
        let word = word.replace("{column}", &column.to_string());
        OsString::from(word.replace("{file}", &path))
    };
    let mut argv: Vec<OsString> = words.iter().map(fill).collect();
    if !words.iter().any(|word| word.contains("{file}")) {
        let place = format!("{path}:{line}:{column}");
        let file = file.as_os_str().to_owned();
        match name {
            "code" | "code-insiders" | "codium" | "cursor" | "windsurf" => {
                argv.extend(["-g".into(), place.into()]);
            }
            "hx" | "helix" | "subl" | "zed" | "zeditor" | "micro" => argv.push(place.into()),
            "emacs" | "emacsclient" => argv.extend([format!("+{line}:{column}").into(), file]),
            "nano" => argv.extend([format!("+{line},{column}").into(), file]),
            "vim" | "nvim" | "gvim" => {
                argv.extend([format!("+call cursor({line},{column})").into(), file]);
            }
            _ if name.starts_with("idea") => {
                argv.extend(["--line".into(), line.to_string().into(), file]);
            }
            _ => argv.extend([format!("+{line}").into(), file]),
        }
    }
    Some(Visit { argv, windowed })
}

/// How to show a file in a pager.
pub fn pager(pager: &str, file: &Path) -> Option<Visit> {
    let words = shlex::split(pager)?;
    words.first()?;
    let mut argv: Vec<OsString> = words.iter().map(OsString::from).collect();
    // As after the last page of a book: what came last is what somebody wants to read first.
    let name = Path::new(&words[0])
        .file_name()?
        .to_string_lossy()
        .into_owned();
    if name == "less" {
        argv.extend(["-R", "+G"].map(OsString::from));
    }
    argv.push(file.as_os_str().to_owned());
    Some(Visit {
        argv,
        windowed: false,
    })
}

/// Who has the terminal instead of devwatch; 0 if nobody.
static VISITOR: AtomicI32 = AtomicI32::new(0);

/// devwatch ends: whoever has the terminal is told that it hangs up. An editor keeps what it has.
pub(super) fn hang_up() {
    let visitor = VISITOR.load(Ordering::SeqCst);
    if visitor > 0 {
        let _ = killpg(Pid::from_raw(visitor), Signal::SIGHUP);
    }
}

/// Runs it in the foreground until it ends. The screen has been left, and nobody reads the terminal.
///
/// # Errors
/// It cannot be started, or says that it failed.
pub(super) fn receive(visit: &Visit) -> Result<()> {
    let (program, arguments) = visit.argv.split_first().context("nothing to run")?;
    let mut child = Command::new(program)
        .args(arguments)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {}", program.to_string_lossy()))?;
    let pid = Pid::from_raw(child.id().cast_signed());
    VISITOR.store(pid.as_raw(), Ordering::SeqCst);
    give_terminal(pid);
    let status = loop {
        match waitpid(pid, Some(WaitPidFlag::WUNTRACED)) {
            // There is no shell to go back to: it goes on.
            Ok(WaitStatus::Stopped(..)) => give_terminal(pid),
            Err(nix::errno::Errno::EINTR) => {}
            ended => break ended,
        }
    };
    VISITOR.store(0, Ordering::SeqCst);
    give_terminal(getpgrp());
    // It has been waited for above; this only keeps the handle from complaining.
    let _ = child.try_wait();
    match status {
        Ok(WaitStatus::Exited(_, 0)) | Err(_) => Ok(()),
        Ok(WaitStatus::Exited(_, code)) => {
            bail!(
                "{} ended with exit status {code}",
                program.to_string_lossy()
            )
        }
        Ok(_) => bail!("{} was killed", program.to_string_lossy()),
    }
}

/// Makes `group` the foreground job. If it had touched the terminal before, the kernel stopped it.
fn give_terminal(group: Pid) {
    let mut stop = SigSet::empty();
    stop.add(Signal::SIGTTOU);
    let _ = stop.thread_block();
    let _ = tcsetpgrp(io::stdin(), group);
    let _ = stop.thread_unblock();
    if group != getpgrp() {
        let _ = killpg(group, Signal::SIGCONT);
    }
}

/// Starts something with a window of its own, and does not wait for it.
///
/// # Errors
/// It cannot be started.
pub(super) fn launch(argv: &[OsString], input: Option<String>) -> Result<()> {
    let (program, arguments) = argv.split_first().context("nothing to run")?;
    let stdin = match input {
        Some(_) => Stdio::piped(),
        None => Stdio::null(),
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {}", program.to_string_lossy()))?;
    thread::spawn(move || {
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
            let _ = pipe.write_all(input.as_bytes());
        }
        let _ = child.wait();
    });
    Ok(())
}

/// What opens an address in the browser. `chosen` is what `BROWSER` says: commands in order of preference, separated by
/// colons; `%s` stands for the address.
pub(super) fn browser(chosen: Option<&str>, url: &str) -> Vec<OsString> {
    let opener = match cfg!(target_os = "macos") {
        true => "open",
        false => "xdg-open",
    };
    let first = chosen.and_then(|chosen| chosen.split(':').find(|command| !command.is_empty()));
    let mut words = shlex::split(first.unwrap_or(opener)).unwrap_or_default();
    if words.is_empty() {
        words.push(opener.to_owned());
    }
    if !words.iter().any(|word| word.contains("%s")) {
        words.push("%s".to_owned());
    }
    words
        .iter()
        .map(|word| word.replace("%s", url).into())
        .collect()
}

/// Programs that put text into the clipboard of the desktop that devwatch runs on, if it runs on one.
pub(super) fn clipboard() -> Option<Vec<OsString>> {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if set("SSH_CONNECTION") {
        return None;
    }
    let words: &[&str] = if cfg!(target_os = "macos") {
        &["pbcopy"]
    } else if set("WAYLAND_DISPLAY") {
        &["wl-copy"]
    } else if set("DISPLAY") {
        &["xclip", "-selection", "clipboard"]
    } else {
        return None;
    };
    Some(words.iter().map(OsString::from).collect())
}

/// Editors with windows of their own, beside the screen.
const WINDOWED: &[&str] = &[
    "code",
    "code-insiders",
    "codium",
    "cursor",
    "windsurf",
    "subl",
    "zed",
    "zeditor",
    "gvim",
    "mate",
    "gedit",
    "kate",
    "gnome-text-editor",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(command: &str, expected: &[&str]) {
        let visit = editor(command, Path::new("/a b/c.go"), 31, 9).expect("a command");
        assert_eq!(visit.argv, expected);
    }

    #[test]
    fn each_editor_is_told_the_place_in_its_own_way() {
        check("vi", &["vi", "+31", "/a b/c.go"]);
        check(
            "/usr/bin/nvim -p",
            &["/usr/bin/nvim", "-p", "+call cursor(31,9)", "/a b/c.go"],
        );
        check("code --wait", &["code", "--wait", "-g", "/a b/c.go:31:9"]);
        check("hx", &["hx", "/a b/c.go:31:9"]);
        check(
            "emacsclient -t",
            &["emacsclient", "-t", "+31:9", "/a b/c.go"],
        );
        check(
            "my --at={line}:{column} '{file}'",
            &["my", "--at=31:9", "/a b/c.go"],
        );
        assert_eq!(editor("", Path::new("/a"), 1, 1), None);
        assert_eq!(editor("'unclosed", Path::new("/a"), 1, 1), None);
    }

    #[test]
    fn a_window_of_its_own_needs_no_terminal() {
        let windowed = |command| {
            editor(command, Path::new("/a"), 1, 1)
                .expect("a command")
                .windowed
        };
        assert!(windowed("code") && windowed("idea.sh") && !windowed("vim"));
    }

    #[test]
    fn the_browser_is_the_first_that_was_chosen() {
        let argv = |chosen| browser(Some(chosen), "http://x/");
        assert_eq!(
            argv("firefox --new-tab:lynx"),
            ["firefox", "--new-tab", "http://x/"]
        );
        assert_eq!(argv(":open-it '%s' now"), ["open-it", "http://x/", "now"]);
        assert_eq!(argv("")[1], "http://x/");
    }

    #[test]
    fn a_pager_begins_at_the_end() {
        let visit = pager("less", Path::new("/log")).expect("a command");
        assert_eq!(visit.argv, ["less", "-R", "+G", "/log"]);
        let visit = pager("more -d", Path::new("/log")).expect("a command");
        assert_eq!(visit.argv, ["more", "-d", "/log"]);
    }
}
