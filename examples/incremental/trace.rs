//! How many processes something starts, counted by strace, which needs no rights beyond those over one's own
//! processes. The time of what is traced is nobody's: it is three times what it would be.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;

/// A command to be, and a file that tells of each process that it starts.
pub(crate) struct Trace {
    file: PathBuf,
    read: u64,
    /// Of the threads that strace has told of in two lines, between the two: whether a process is to come of it.
    begun: HashMap<String, bool>,
}

impl Trace {
    /// Whether there is a strace, and it may trace, and what it says is understood.
    pub(crate) fn possible(place: &Path) -> bool {
        let Ok(mut trace) = Trace::new(place, "probe") else {
            return false;
        };
        let status = trace
            .command("sh")
            .args(["-c", "(:); (:); :"])
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success()) && trace.started().is_ok_and(|count| count == 2)
    }

    pub(crate) fn new(place: &Path, name: &str) -> Outcome<Trace> {
        let file = place.join(name).with_extension("trace");
        File::create(&file)?;
        Ok(Trace {
            file,
            read: 0,
            begun: HashMap::new(),
        })
    }

    /// `program`, traced with all that it starts. It has ended when all of that has.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq", "-e", "signal=none"])
            // Not every machine has the calls with a question mark.
            .args(["-e", "trace=?fork,?vfork,clone,?clone3", "-o"])
            .arg(&self.file)
            .arg(program.as_ref());
        command
    }

    /// The same, but strace is not in between: the child is `program` itself, and signals reach it.
    pub(crate) fn around(&self, program: impl AsRef<Path>) -> Command {
        let plain = self.command(program);
        let mut command = Command::new(plain.get_program());
        command.arg("-D").args(plain.get_args());
        command
    }

    /// How many processes have been started since this was last asked. Not threads.
    pub(crate) fn started(&mut self) -> Outcome<usize> {
        let mut text = String::new();
        let mut file = File::open(&self.file)?;
        file.seek(SeekFrom::Start(self.read))?;
        file.read_to_string(&mut text)?;
        // A line that is being written is for the next time.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.read += whole as u64;
        Ok(text[..whole]
            .lines()
            .filter(|line| self.is_start(line))
            .count())
    }

    /// Such as `42 vfork() = 43`, or in two lines, `42 clone(... flags=CLONE_VM|CLONE_THREAD <unfinished ...>` and
    /// `42 <... clone resumed>) = 43`.
    fn is_start(&mut self, line: &str) -> bool {
        let Some((thread, call)) = line.split_once(' ') else {
            return false;
        };
        let call = call.trim_start();
        let process = if call.starts_with("<... ") {
            self.begun.remove(thread).unwrap_or(false)
        } else {
            !call.contains("CLONE_THREAD")
        };
        if call.ends_with("<unfinished ...>") {
            self.begun.insert(thread.to_owned(), process);
            return false;
        }
        let result = call
            .rsplit_once(" = ")
            .map(|(_, result)| result.parse::<u32>());
        process && matches!(result, Some(Ok(1..)))
    }
}
