//! `devwatch fds -- CMD...`: the last link of a shell pipeline that hands sockets on.
//!
//! `LISTEN_PID` must be the pid of the process that takes the sockets. devwatch sets it to the pid of what it starts;
//! where that is a shell which starts the server as a child, the server finds somebody else's pid and leaves the
//! sockets alone. This becomes the server, with its pid stamped in.
#![expect(
    clippy::disallowed_methods,
    reason = "nothing is started: this process becomes the command"
)]

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;
use std::process::{self, Command};

/// Becomes the command: program and arguments, looked for in PATH, with `LISTEN_PID` set to this process if
/// `LISTEN_FDS` names sockets. Without them it becomes the command all the same. Returns only what went wrong.
///
/// # Errors: no command, a socket is missing, or the command cannot be executed.
pub fn fds(argv: &[OsString]) -> io::Error {
    let Some((program, arguments)) = argv.split_first() else {
        return invalid("no command to become; write devwatch fds -- COMMAND");
    };
    let mut command = Command::new(program);
    command.args(arguments);
    match stamp(env::var_os("LISTEN_FDS").as_deref(), is_socket) {
        Ok(true) => command.env("LISTEN_PID", process::id().to_string()),
        Ok(false) => command.env_remove("LISTEN_PID"),
        Err(error) => return error,
    };
    let error = command.exec();
    let program = program.display().to_string();
    io::Error::new(error.kind(), format!("cannot become {program:?}: {error}"))
}

/// Whether there are sockets to stamp; `is_socket` tells what a descriptor is.
fn stamp(listen_fds: Option<&OsStr>, is_socket: impl Fn(u32) -> bool) -> io::Result<bool> {
    let Some(text) = listen_fds else {
        return Ok(false);
    };
    let count: u32 = text
        .to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            invalid(&format!(
                "LISTEN_FDS is {:?}, which is no number",
                text.display().to_string()
            ))
        })?;
    // The server would say no more than "bad file descriptor".
    match (3..3u32.saturating_add(count)).find(|&fd| !is_socket(fd)) {
        None => Ok(count > 0),
        Some(fd) => Err(invalid(&format!(
            "LISTEN_FDS is {count}, but descriptor {fd} is no socket; what stands before devwatch fds has closed or \
             replaced it"
        ))),
    }
}

fn is_socket(fd: u32) -> bool {
    fs::metadata(format!("/dev/fd/{fd}")).is_ok_and(|file| file.file_type().is_socket())
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    use super::super::trial::{Server, have};
    use super::*;

    #[test]
    fn sockets_are_stamped_only_if_all_are_there() {
        let three_and_four = |fd| fd == 3 || fd == 4;
        let with = |text: &str| {
            stamp(Some(OsStr::new(text)), three_and_four).map_err(|error| error.to_string())
        };
        assert!(!stamp(None, three_and_four).expect("nothing is wrong"));
        assert_eq!(
            (with("0"), with("1"), with("2")),
            (Ok(false), Ok(true), Ok(true))
        );
        let error = with("3").expect_err("5 is missing");
        assert!(
            error.starts_with("LISTEN_FDS is 3, but descriptor 5 is no socket"),
            "{error}"
        );
        for text in ["", "-1", "x", "4294967296"] {
            assert!(with(text).is_err(), "{text:?}");
        }
        assert!(with("4294967295").is_err());
    }

    #[test]
    fn nothing_is_no_command() {
        assert_eq!(fds(&[]).kind(), io::ErrorKind::InvalidInput);
        let error = fds(&["dw-no-such-program".into()]);
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(
            error
                .to_string()
                .starts_with("cannot become \"dw-no-such-program\": ")
        );
    }

    /// Not a test: what the next one starts.
    #[test]
    #[ignore = "run by another test"]
    fn becomes_the_command() {
        let script =
            "echo; echo stamped $LISTEN_PID $$ $LISTEN_FDS; test -S /dev/fd/3 && echo socket";
        let error = fds(&["sh", "-c", script].map(OsString::from));
        panic!("{error}");
    }

    #[test]
    fn the_end_of_a_pipeline_gets_its_sockets() {
        if !have(&["sh"]) {
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let this = env::current_exe().expect("this file");
        let this = this.to_str().expect("a plain name");
        // A shell that stays, as in a pipeline, so the pid that it has is not the server's.
        let script = "export LISTEN_FDS=1 LISTEN_PID=$$; echo shell $$; \"$@\" | cat; :";
        let argv = [
            "sh",
            "-c",
            script,
            "sh",
            this,
            "restart::fds::tests::becomes_the_command",
            "--exact",
            "--ignored",
            "--nocapture",
        ];
        let mut server = Server::start(&argv, Some(listener.as_fd()));
        let shell = server.line();
        let shell = shell.strip_prefix("shell ").expect("the shell's pid");
        let stamped = loop {
            if let Some(stamped) = server.line().strip_prefix("stamped ") {
                break stamped.to_owned();
            }
        };
        let words: Vec<&str> = stamped.split(' ').collect();
        assert_eq!((words[0], words[2]), (words[1], "1"));
        assert_ne!(words[0], shell);
        assert_eq!(server.line(), "socket");
        server.ended();
    }
}
