//! devwatch in a terminal of its own, seen from the other end.

use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use super::Outcome;

/// The far end of devwatch's terminal.
pub(super) struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn std::io::Write + Send>,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    _master: Box<dyn MasterPty + Send>,
}

struct Seen {
    parser: vt100::Parser,
    bytes: u64,
}

/// The devwatch that was built beside this program.
pub(super) fn devwatch(own: &Path) -> Outcome<PathBuf> {
    let folder = own
        .parent()
        .and_then(Path::parent)
        .ok_or("no target folder")?;
    let path = folder.join("devwatch");
    match path.exists() {
        true => Ok(path),
        false => Err(format!("{} is not there; build devwatch first", path.display()).into()),
    }
}

impl Terminal {
    pub(super) fn start(devwatch: &Path, folder: &Path, cols: u16, rows: u16) -> Outcome<Terminal> {
        let size = PtySize {
            rows,
            cols,
            ..PtySize::default()
        };
        let pair = native_pty_system().openpty(size)?;
        let mut command = CommandBuilder::new(devwatch);
        command.args(["--ui", "full"]);
        command.cwd(folder);
        command.env("TERM", "xterm-256color");
        command.env("XDG_CONFIG_HOME", folder);
        let child = pair.slave.spawn_command(command)?;
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader()?;
        let size = |cells| NonZero::new(cells).ok_or("a terminal without cells");
        let (height, width) = (size(rows)?, size(cols)?);
        let seen = Arc::new((
            Mutex::new(Seen {
                parser: vt100::Parser::new(height, width, 0),
                bytes: 0,
            }),
            Condvar::new(),
        ));
        let reads = Arc::clone(&seen);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(got @ 1..) = reader.read(&mut buffer) {
                let mut seen = reads.0.lock().unwrap_or_else(PoisonError::into_inner);
                seen.parser.process(&buffer[..got]);
                seen.bytes += got as u64;
                reads.1.notify_all();
            }
        });
        Ok(Terminal {
            child,
            keys: pair.master.take_writer()?,
            seen,
            _master: pair.master,
        })
    }

    /// Waits until the screen is as it should be.
    pub(super) fn wait(&self, patience: Duration, good: impl Fn(&str) -> bool) -> Outcome {
        let deadline = Instant::now() + patience;
        let mut seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !good(&seen.parser.screen().contents()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("in vain:\n{}", seen.parser.screen().contents()).into());
            }
            seen = self
                .seen
                .1
                .wait_timeout(seen, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Ok(())
    }

    /// Types, and says how long it was until the screen was as it should be.
    pub(super) fn press(
        &mut self,
        text: &str,
        patience: Duration,
        good: impl Fn(&str) -> bool,
    ) -> Outcome<Duration> {
        let pressed = Instant::now();
        self.keys.write_all(text.as_bytes())?;
        self.keys.flush()?;
        self.wait(patience, good)?;
        Ok(pressed.elapsed())
    }

    pub(super) fn contents(&self) -> String {
        let seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.parser.screen().contents()
    }

    /// How many bytes devwatch has written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.seen
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .bytes
    }

    /// The most memory that devwatch itself has had, in bytes.
    pub(super) fn peak(&self) -> Outcome<u64> {
        let pid = self.child.process_id().ok_or("it has ended")?;
        Ok(super::proc::memory(pid)?.peak << 10)
    }

    /// Waits until devwatch has ended.
    pub(super) fn ends(&mut self, patience: Duration) -> Outcome {
        let deadline = Instant::now() + patience;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.child.kill()?;
                return Err("it does not end".into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}
