//! What the tests of this station share: real servers in other languages, each gone when its test is over.
#![expect(
    clippy::disallowed_methods,
    reason = "tests start small servers themselves and wait with a deadline"
)]

use std::env;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::BorrowedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

/// How long anything may take here that should take milliseconds, on a machine that is busy with other things.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// Whether all `programs` are there. If not, says so; where everything is required, that is a failure.
pub(super) fn have(programs: &[&str]) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let missing = programs
        .iter()
        .find(|program| !env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    let Some(missing) = missing else {
        return true;
    };
    assert_ne!(
        env::var("DEVWATCH_REQUIRE_ALL").as_deref(),
        Ok("1"),
        "{missing} is not on PATH"
    );
    println!("skipped: {missing} is not on PATH");
    false
}

/// A server of another language. Killed and waited for on drop.
pub(super) struct Server {
    child: Child,
    lines: Receiver<String>,
}

impl Server {
    /// Runs `argv`; with `socket`, that is its descriptor 3.
    pub(super) fn start(argv: &[&str], socket: Option<BorrowedFd<'_>>) -> Server {
        let mut command = Command::new("sh");
        match socket {
            // Passed as stdin, which std duplicates in the child alone: no other test's child can inherit it.
            Some(fd) => command
                .args(["-c", r#"exec "$@" 3<&0 </dev/null"#, "sh"])
                .stdin(Stdio::from(
                    fd.try_clone_to_owned()
                        .expect("a descriptor can be duplicated"),
                )),
            None => command
                .args(["-c", r#"exec "$@""#, "sh"])
                .stdin(Stdio::null()),
        };
        let mut child = command
            .args(argv)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh is there");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, lines) = mpsc::channel();
        // Ends with the pipe; a line that nobody waits for any more is dropped.
        thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Server { child, lines }
    }

    /// Runs a Python script; `arguments` are its `sys.argv[1:]`.
    pub(super) fn python(
        script: &str,
        arguments: &[&str],
        socket: Option<BorrowedFd<'_>>,
    ) -> Server {
        let mut argv = vec!["python3", "-u", "-c", script];
        argv.extend(arguments);
        Server::start(&argv, socket)
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("pids are positive"))
    }

    /// The next line it prints.
    pub(super) fn line(&mut self) -> String {
        self.lines
            .recv_timeout(DEADLINE)
            .expect("the server prints another line")
    }

    /// Waits until it has ended by itself.
    pub(super) fn ended(mut self) {
        self.child.wait().expect("it is our child");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        assert!(
            nix::sys::signal::kill(self.pid(), None).is_err(),
            "the server is still there"
        );
    }
}

/// Waits until `condition` gives something.
pub(super) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(
            begun.elapsed() < DEADLINE,
            "waited {DEADLINE:?} for: {what}"
        );
        thread::sleep(Duration::from_millis(2));
    }
}

/// Whether this machine has an IPv6 loopback.
pub(super) fn have_ipv6() -> bool {
    let have = TcpListener::bind("[::1]:0").is_ok();
    if !have {
        println!("skipped: no IPv6 loopback");
    }
    have
}

/// Compiling two programs at once on a small machine only makes both late.
pub(super) fn go_build(folder: &std::path::Path, source: &str) -> String {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    std::fs::write(folder.join("go.mod"), "module trial\n\ngo 1.21\n")
        .expect("the folder can be written to");
    std::fs::write(folder.join("main.go"), source).expect("the folder can be written to");
    let built = Command::new("go")
        .args(["build", "-buildvcs=false", "-o", "server", "."])
        .env("GOFLAGS", "-mod=mod")
        .env("GOTOOLCHAIN", "local")
        .current_dir(folder)
        .output()
        .expect("go is on PATH");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    folder
        .join("server")
        .to_str()
        .expect("temp folders have plain names")
        .to_owned()
}
