//! The fixture of the end-to-end tests: a project on disk, a devwatch that runs in it, a client that asks the
//! server. It waits for lines and answers with a deadline, never for time.
//!
//! Everything that a test starts carries the path of its project somewhere (working directory, arguments or
//! executable), so that the end of a test can prove that nothing of it is left.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long anything may take before a test has failed. Generous: two cores, and every test at once.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A project in a folder of its own, gone with the test.
pub struct Project {
    root: PathBuf,
    _folder: TempDir,
}

impl Project {
    /// An empty one.
    pub fn new() -> Project {
        let folder = tempfile::Builder::new()
            .prefix("devwatch-it-")
            .tempdir()
            .expect("a temporary folder");
        let root = folder.path().canonicalize().expect("its real path");
        Project {
            root,
            _folder: folder,
        }
    }

    /// A copy of `examples/NAME` without its config and without what was built there.
    pub fn example(name: &str) -> Project {
        let project = Project::example_as_it_is(name);
        let _ = fs::remove_file(project.root.join("devwatch.toml"));
        project
    }

    /// A copy of `examples/NAME` with its own config, without what was built there.
    pub fn example_as_it_is(name: &str) -> Project {
        let project = Project::new();
        project.copy_from_package(&format!("examples/{name}"), "");
        project
    }

    /// Copies a folder of this package into the project, without what was built there.
    pub fn copy_from_package(&self, from: &str, to: &str) {
        let target = self.path(to);
        fs::create_dir_all(&target).expect("a folder");
        copy_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join(from), &target);
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Writes a file, as a simple editor does: truncate and write.
    pub fn write(&self, relative: &str, content: &str) {
        let path = self.path(relative);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).expect("a folder for the file");
        }
        fs::write(path, content).expect("the file is written");
    }

    /// Writes a file beside it and renames that over it, as a careful editor does.
    pub fn replace(&self, relative: &str, content: &str) {
        let path = self.path(relative);
        let mut beside = path.clone().into_os_string();
        beside.push(".tmp4x7");
        fs::write(&beside, content).expect("the new file is written");
        fs::rename(&beside, path).expect("it is renamed over the old one");
    }

    pub fn read(&self, relative: &str) -> String {
        fs::read_to_string(self.path(relative)).expect("the file is there")
    }

    /// Replaces `from` by `to` in a file; panics when there is nothing to replace.
    pub fn edit(&self, relative: &str, from: &str, to: &str) {
        let text = self.read(relative);
        assert!(text.contains(from), "{relative} has no {from:?}:\n{text}");
        self.write(relative, &text.replace(from, to));
    }

    /// Starts devwatch in the project.
    pub fn devwatch(&self, arguments: &[&str]) -> Devwatch {
        self.devwatch_with(arguments, |_| {})
    }

    /// Starts devwatch, after `prepare` has had its way with the command.
    pub fn devwatch_with(
        &self,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Devwatch {
        let mut command = Command::new(env!("CARGO_BIN_EXE_devwatch"));
        command
            .args(arguments)
            .current_dir(&self.root)
            .stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // Cargo and people set these, and they would reach the builds of the projects.
        for variable in [
            "CARGO_TARGET_DIR",
            "CARGO_MANIFEST_DIR",
            "RUSTFLAGS",
            "PORT",
            "DEVWATCH_LOG",
            // They would hide what Python does by itself.
            "PYTHONDONTWRITEBYTECODE",
            "PYTHONUNBUFFERED",
        ] {
            command.env_remove(variable);
        }
        prepare(&mut command);
        Devwatch::run(command)
    }

    /// Runs devwatch to its end: exit status, stdout, stderr.
    pub fn once(&self, arguments: &[&str]) -> (ExitStatus, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_devwatch"));
        command
            .args(arguments)
            .current_dir(&self.root)
            .stdin(Stdio::null());
        let (out, err) = (Self::sink(), Self::sink());
        command.stdout(out.try_clone().expect("a copy"));
        command.stderr(err.try_clone().expect("a copy"));
        let mut child = command.spawn().expect("devwatch runs");
        let mut status = None;
        eventually(PATIENCE, || {
            status = child.try_wait().expect("its status");
            status.is_some()
        });
        let text = |mut file: fs::File| {
            let mut bytes = Vec::new();
            file.rewind().expect("a file");
            file.read_to_end(&mut bytes).expect("what it printed");
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (out, err) = (text(out), text(err));
        let Some(status) = status else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("devwatch {arguments:?} does not end\n{out}{err}");
        };
        (status, out, err)
    }

    /// A file for what a process prints, so that nobody has to read while it runs.
    fn sink() -> fs::File {
        tempfile::tempfile().expect("a temporary file")
    }

    /// Runs a command in the project to its end, which must be a good one.
    pub fn shell(&self, line: &str) {
        let status = Command::new("sh")
            .args(["-c", line])
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .output();
        let output = status.expect("sh runs");
        assert!(
            output.status.success(),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Processes that belong to this project, as `pid command`.
    pub fn processes(&self) -> Vec<String> {
        let marker = self.root.as_os_str().as_encoded_bytes();
        let mine = |pid: &str| {
            let below = Path::new("/proc").join(pid);
            let link = |name: &str| {
                fs::read_link(below.join(name)).is_ok_and(|path| path.starts_with(&self.root))
            };
            let command = fs::read(below.join("cmdline")).unwrap_or_default();
            link("cwd")
                || link("exe")
                || command.windows(marker.len()).any(|window| window == marker)
        };
        let zombie = |pid: &str| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.trim_start().starts_with('Z'))
        };
        let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let pids = pids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        let own = std::process::id().to_string();
        pids.filter(|pid| *pid != own && mine(pid) && !zombie(pid))
            .map(|pid| {
                let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                format!(
                    "{pid} {}",
                    String::from_utf8_lossy(&command).replace('\0', " ")
                )
            })
            .collect()
    }

    /// Fails unless every process of this project is gone within `limit`.
    #[track_caller]
    pub fn nothing_left(&self, limit: Duration) {
        if !eventually(limit, || self.processes().is_empty()) {
            let left = self.processes();
            self.end_all();
            panic!("left behind after {limit:?}:\n{}", left.join("\n"));
        }
    }

    /// Ends whatever still runs, for tests that expect something to be left.
    pub fn end_all(&self) {
        for process in self.processes() {
            let pid = process
                .split(' ')
                .next()
                .and_then(|pid| pid.parse().ok())
                .expect("a pid");
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Projects without a compiler: the build copies a script, and the server is what the script says.
impl Project {
    /// One rule copies `source.sh` to `built.sh`, which is the server; `server` is more of its table. The script
    /// becomes the ill-behaved child with these verbs.
    pub fn scripted(server: &str, verbs: &[&str]) -> Project {
        let project = Project::new();
        project.write(
            "devwatch.toml",
            &format!(
                "[[rule]]\nname = \"copy\"\nfiles = [\"source.sh\"]\nrun = [\"cp\", \"source.sh\", \"built.sh\"]\n\
                 outputs = [\"built.sh\"]\n[server]\nrun = [\"sh\", \"built.sh\"]\n{server}\n"
            ),
        );
        project.script(verbs);
        project
    }

    /// Saves the script anew: from the next restart on the server is the child with these verbs.
    pub fn script(&self, verbs: &[&str]) {
        self.write("source.sh", &format!("exec {}\n", self.child_line(verbs)));
    }

    /// The child with these verbs as a line for the shell. It carries this project's path, as do its descendants.
    pub fn child_line(&self, verbs: &[&str]) -> String {
        let words = self.child_words(verbs);
        shlex::try_join(words.iter().map(String::as_str)).expect("no zero bytes")
    }

    /// The same as a list for a config.
    pub fn child_list(&self, verbs: &[&str]) -> String {
        let words = self.child_words(verbs);
        let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
        format!("[{}]", quoted.join(", "))
    }

    fn child_words(&self, verbs: &[&str]) -> Vec<String> {
        let program = built_example("child").display().to_string();
        let root = self.root.display().to_string();
        let tag = [program, "tag".to_owned(), root];
        tag.into_iter()
            .chain(verbs.iter().map(|&verb| verb.to_owned()))
            .collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.nothing_left(Duration::from_secs(10));
        }
        self.end_all();
    }
}

/// A devwatch that runs.
pub struct Devwatch {
    child: Child,
    lines: Receiver<(From, String)>,
    seen: VecDeque<String>,
    /// Everything, for the message of a test that fails.
    transcript: Vec<String>,
}

/// Where a line came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Stdout,
    Stderr,
}

impl Devwatch {
    /// Starts `command` and reads both of its streams.
    pub fn run(mut command: Command) -> Devwatch {
        let mut child = command.spawn().expect("devwatch starts");
        let (sender, lines) = channel();
        let out = child
            .stdout
            .take()
            .map(|stream| Box::new(stream) as Box<dyn std::io::Read + Send>);
        let err = child
            .stderr
            .take()
            .map(|stream| Box::new(stream) as Box<dyn std::io::Read + Send>);
        for (from, stream) in [(From::Stdout, out), (From::Stderr, err)] {
            let (Some(stream), sender) = (stream, sender.clone()) else {
                continue;
            };
            thread::spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    if sender
                        .send((from, String::from_utf8_lossy(&line).into_owned()))
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
        Devwatch {
            child,
            lines,
            seen: VecDeque::new(),
            transcript: Vec::new(),
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Waits for a line that contains `text`; every line up to it is used up.
    #[track_caller]
    pub fn line(&mut self, text: &str) -> String {
        self.line_where(text, |line| line.contains(text))
    }

    /// Waits for the end line of a cycle with this word, past ends of `superseded` cycles.
    #[track_caller]
    pub fn end(&mut self, word: &str) -> String {
        let line = self.line_where(&format!("end {word}"), |line| {
            line.starts_with("devwatch: build ")
                && line.contains(" end ")
                && !line.contains(" end superseded")
        });
        assert!(
            line.contains(&format!(" end {word}")),
            "not {word}: {line}\n{}",
            self.story()
        );
        line
    }

    /// Waits for a line that fits.
    #[track_caller]
    pub fn line_where(&mut self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(line) = self.seen.pop_front() {
                if fits(&line) {
                    return line;
                }
            }
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok((_, line)) => self.take(line),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no line with {what:?} came\n{}", self.story())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended before {what:?}\n{}", self.story())
                }
            }
        }
    }

    /// The next line, if one comes within `limit`.
    ///
    /// A pause that ends early when something happens: what a test concludes may not depend on its length.
    pub fn next_line(&mut self, limit: Duration) -> Option<String> {
        if self.seen.is_empty()
            && let Ok((_, line)) = self.lines.recv_timeout(limit)
        {
            self.take(line);
        }
        self.seen.pop_front()
    }

    /// The next line that fits, if one comes within `limit`; the others are used up.
    pub fn next_line_where(
        &mut self,
        limit: Duration,
        fits: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let deadline = Instant::now() + limit;
        loop {
            let line = self.next_line(deadline.saturating_duration_since(Instant::now()))?;
            if fits(&line) {
                return Some(line);
            }
        }
    }

    /// Waits for a line that contains `text`, wherever it stands among those that were not used up, and uses up
    /// that one alone. For lines of both streams, between which no order holds.
    #[track_caller]
    pub fn find(&mut self, text: &str) -> String {
        self.find_where(text, |line| line.contains(text))
    }

    /// The same with any condition.
    #[track_caller]
    pub fn find_where(&mut self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut looked_at = 0;
        loop {
            if let Some(place) = self.seen.iter().skip(looked_at).position(|line| fits(line)) {
                let line = self.seen.remove(looked_at + place);
                return line.expect("found just now");
            }
            looked_at = self.seen.len();
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok((_, line)) => self.take(line),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no line with {what:?} came\n{}", self.story())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended before {what:?}\n{}", self.story())
                }
            }
        }
    }

    /// As [`Devwatch::find_where`], if it comes within `limit`.
    pub fn find_within(&mut self, limit: Duration, fits: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + limit;
        let mut looked_at = 0;
        loop {
            if let Some(place) = self.seen.iter().skip(looked_at).position(|line| fits(line)) {
                return self.seen.remove(looked_at + place);
            }
            looked_at = self.seen.len();
            let left = deadline.saturating_duration_since(Instant::now());
            let (_, line) = self.lines.recv_timeout(left).ok()?;
            self.take(line);
        }
    }

    /// The lines that have come so far and were not used up.
    pub fn rest(&mut self) -> Vec<String> {
        while let Ok((_, line)) = self.lines.try_recv() {
            self.take(line);
        }
        self.seen.drain(..).collect()
    }

    fn take(&mut self, line: String) {
        self.transcript.push(line.clone());
        self.seen.push_back(line);
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("devwatch can be signalled");
    }

    /// Waits until devwatch has ended.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        let done = eventually(PATIENCE, || {
            status = self.child.try_wait().expect("its status");
            status.is_some()
        });
        assert!(done, "devwatch does not end\n{}", self.story());
        status.expect("it has ended")
    }

    /// TERM, and the end.
    #[track_caller]
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// Every line that it has printed so far.
    pub fn said(&mut self) -> &[String] {
        while let Ok((_, line)) = self.lines.try_recv() {
            self.take(line);
        }
        &self.transcript
    }

    /// Everything it printed so far.
    pub fn story(&mut self) -> String {
        while let Ok((_, line)) = self.lines.try_recv() {
            self.take(line);
        }
        format!("--- devwatch printed:\n{}\n---", self.transcript.join("\n"))
    }
}

impl Drop for Devwatch {
    fn drop(&mut self) {
        // Its guardian ends what it had started.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls a condition until it holds or the limit has passed.
pub fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Asks `GET /` on a connection of its own.
pub fn get(port: u16) -> std::io::Result<String> {
    get_path(port, "/")
}

/// Asks `GET PATH` on a connection of its own. The body.
pub fn get_path(port: u16, path: &str) -> std::io::Result<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.") => Ok(body.to_owned()),
        _ => Err(std::io::Error::other(format!("not an answer: {answer:?}"))),
    }
}

/// A port that is free now. Where devwatch may choose, port 0 is better.
///
/// Below the range from which the kernel takes the ports of clients, and never twice in one run: nobody else
/// gets it before the server does.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 10_000;
    const MANY: u16 = 20_000;
    // Two runs at the same time begin at different places.
    let begin = std::process::id() * 64 % u32::from(MANY);
    loop {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + ((begin + step) % u32::from(MANY)) as u16;
        if port_is_free(port) {
            return port;
        }
    }
}

/// The port in the `url=` of an end line.
#[track_caller]
pub fn port_of(line: &str) -> u16 {
    let url = field(line, "url").unwrap_or_else(|| panic!("no url: {line}"));
    let port = url.trim_end_matches('/').rsplit(':').next();
    port.and_then(|port| port.parse().ok())
        .unwrap_or_else(|| panic!("no port: {line}"))
}

/// Whether nobody listens there any more.
pub fn port_is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// The path of an example of this package that `cargo test` has built.
pub fn built_example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("this test's path");
    let path = tests
        .ancestors()
        .nth(2)
        .expect("target/debug")
        .join("examples")
        .join(name);
    assert!(
        path.exists(),
        "{} is missing: cargo build --example {name}",
        path.display()
    );
    path
}

/// A server of `examples/hot`, built once for all tests.
pub fn hot_server(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hot");
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--quiet", "--locked", "--bins", "--target-dir"])
            .arg(&target)
            .current_dir(package().join("examples/hot"));
        succeed(cargo);
        target.join("debug")
    });
    folder.join(name)
}

/// A server of `examples/hot-go`, built once for all tests. None: there is no Go, which has been said.
pub fn hot_go_server(name: &str) -> Option<PathBuf> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if !have("go") {
        return None;
    }
    let folder = BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hot-go");
        fs::create_dir_all(&folder).expect("a folder");
        for arguments in [
            &["mod", "download"][..],
            &["build", "-buildvcs=false", "-o"],
        ] {
            let mut go = Command::new("go");
            go.args(arguments)
                .current_dir(package().join("examples/hot-go"));
            if arguments[0] == "build" {
                // A folder, by its end: each program gets its own name in it.
                go.arg(folder.join("")).arg("./cmd/...");
            }
            succeed(go);
        }
        folder
    });
    Some(folder.join(name))
}

/// Where this package is.
fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command to its good end.
fn succeed(mut command: Command) {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The most memory that devwatch itself has had at once, in bytes.
pub fn peak_memory(pid: impl std::fmt::Display) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number
        .and_then(|number| number.parse::<usize>().ok())
        .expect("kilobytes")
        << 10
}

/// Whether a tool is there. Skipping prints why; under DEVWATCH_REQUIRE_ALL a skip is a failure.
pub fn have(tool: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&paths).any(|folder| folder.join(tool).is_file()) {
        return true;
    }
    assert!(
        std::env::var_os("DEVWATCH_REQUIRE_ALL").is_none(),
        "{tool} is not on PATH, and every test is required"
    );
    eprintln!("skipped: {tool} is not on PATH");
    false
}

/// Every file below a folder with its content, and every link with where it points: what one folder has to have in
/// common with its copy. What goes while this reads is as good as gone.
pub fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            let content = match entry.file_type() {
                Ok(kind) if kind.is_dir() => {
                    folders.push(path);
                    continue;
                }
                Ok(kind) if kind.is_symlink() => fs::read_link(&path)
                    .map(|target| [b"-> ", target.as_os_str().as_bytes()].concat()),
                Ok(_) => fs::read(&path),
                Err(error) => Err(error),
            };
            let name = path.strip_prefix(folder).expect("below it").to_owned();
            if let Ok(content) = content {
                found.insert(name, content);
            }
        }
    }
    found
}

/// The value of `key=` in a line.
pub fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let start = line.find(&format!(" {key}="))? + key.len() + 2;
    line[start..].split(' ').next()
}

/// A duration as devwatch prints it: `12ms`, `1.31s`, `2m05s`.
pub fn duration(text: &str) -> Duration {
    if let Some(millis) = text.strip_suffix("ms") {
        return Duration::from_millis(millis.parse().expect("milliseconds"));
    }
    let rest = text.strip_suffix('s').expect("a duration");
    let (minutes, seconds) = rest.split_once('m').unwrap_or(("0", rest));
    let minutes: f64 = minutes.parse().expect("minutes");
    Duration::from_secs_f64(minutes * 60.0 + seconds.parse::<f64>().expect("seconds"))
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the example is there").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let name = entry.file_name();
        if ["target", ".devwatch", "__pycache__", "node_modules"]
            .iter()
            .any(|skip| name == *skip)
        {
            continue;
        }
        if path.is_dir() {
            fs::create_dir_all(&target).expect("a folder");
            copy_tree(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a file");
        }
    }
}
