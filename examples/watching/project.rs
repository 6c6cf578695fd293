//! The whole devwatch, in a folder with a config.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::contender::lines;
use crate::proc::{children, clock, exe};
use crate::{Outcome, PATIENCE};

/// A devwatch. Ended with this, together with everything it has started.
pub(crate) struct Project {
    /// Just before it was executed, in ns.
    pub(crate) began: u64,
    pub(crate) pid: u32,
    child: Child,
    lines: Receiver<String>,
}

impl Project {
    pub(crate) fn start(folder: &Path) -> Outcome<Project> {
        let devwatch = beside()?;
        let began = clock()?;
        let mut child = Command::new(devwatch)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let lines = lines(child.stderr.take().ok_or("no stderr")?);
        Ok(Project {
            began,
            pid: child.id(),
            child,
            lines,
        })
    }

    pub(crate) fn line(&self) -> Outcome<String> {
        let line = self.lines.recv_timeout(PATIENCE);
        line.map_err(|_| "devwatch says nothing".into())
    }

    /// The next line, if one comes within `time`.
    pub(crate) fn line_within(&self, time: Duration) -> Outcome<Option<String>> {
        match self.lines.recv_timeout(time) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err("devwatch has ended".into()),
        }
    }

    /// devwatch, its guardian and its keepers; not what they have started.
    pub(crate) fn processes(&self) -> Vec<(&'static str, u32)> {
        let own = exe(self.pid);
        let guardians = children(self.pid);
        let keepers = guardians.iter().flat_map(|guardian| children(*guardian));
        let mut processes = vec![("devwatch", self.pid)];
        processes.extend(guardians.iter().map(|pid| ("guardian", *pid)));
        processes.extend(keepers.map(|pid| ("keeper", pid)));
        processes.retain(|(_, pid)| exe(*pid) == own);
        processes
    }

    pub(crate) fn end(mut self) -> Outcome {
        kill(Pid::from_raw(self.pid.cast_signed()), Signal::SIGTERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // Its guardian ends what it had started.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The devwatch that was built with the same profile: `target/release/devwatch`.
pub(crate) fn beside() -> Outcome<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own
        .ancestors()
        .nth(2)
        .ok_or("this program stands nowhere")?
        .join("devwatch");
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!(
            "{} is missing; build it first: cargo build --release",
            path.display()
        )
        .into())
    }
}
