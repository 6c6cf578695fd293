//! The ill-behaved child: does what its command line says, one verb after the other, and ends with code 0.
//!
//! Tests run it where devwatch expects a build or a server. It is driven by its arguments alone, needs no crate
//! that only tests have, and never stays: after its safety time (120 s) it ends, whatever it was told.
//!
//! ```text
//! child print hello ignore SIGTERM listen 127.0.0.1:0 serve v1
//! ```
//!
//! Times are in milliseconds. SIGNAL is a name, with or without `SIG`.
//!
//! Talking
//! * `print TEXT`, `eprint TEXT`: a line on stdout, on stderr.
//! * `print-hex HEX`: these bytes on stdout, and nothing after them: `print-hex fffe0a`.
//! * `flood BYTES`: that many bytes on stdout without a newline.
//! * `flood-lines N`: that many numbered lines of 80 bytes, newline included.
//! * `pid`, `cwd`, `fds`, `signals`, `env NAME`: a line `pid 12`, `cwd /x`, `fds 0 1 2 3`, `NAME=value` (`NAME unset`),
//!   and the lines `SigBlk`, `SigIgn`, `SigCgt` of /proc/self/status (SIGPIPE is ignored by every Rust program).
//!
//! Waiting and files
//! * `sleep MS`, `wait` (until killed), `wait-file FILE` (until it exists).
//! * `touch FILE` (created, or its times set), `append FILE TEXT` (a line, in one write).
//! * `copy FROM TO`: with its mode, into a new file: what runs from the old one runs on.
//!
//! Signals and ends
//! * `ignore SIGNAL`: from here on, descendants included.
//! * `trap SIGNAL MS CODE`: on the signal, exits with CODE after that time.
//! * `crash-after MS CODE|SIGNAL`: goes on, and dies of it then.
//! * `exit CODE`; `kill-self SIGNAL`; `stop-self` (SIGSTOP).
//!
//! Descendants. All carry `tag NAME` in their arguments if it was given before, and live until killed.
//! * `tag NAME`: how a test finds them in /proc.
//! * `safety MS`: another safety time, for this process and all its descendants, wherever it stands.
//! * `fork-hold-stdout MS`: a child that keeps stdout and stderr open for that time.
//! * `tree`: prints `main PID`, then starts and prints `child` (same group), `group` (its own), `session` (its own),
//!   `daemon` and `daemon-empty-env` (forked twice into a session of their own). Six processes; goes on at once.
//! * `double-fork`, `double-fork-empty-env`: one such daemon; prints `daemon PID` or `daemon-empty-env PID`.
//! * `setsid`: moves into a session of its own; fails in the leader of a group.
//!
//! Serving
//! * `listen ADDR`: opens `host:port` or `unix:PATH`; `listen fd` takes every socket of LISTEN_FDS, which must name
//!   this process in LISTEN_PID. Prints `listening ADDRESS` for each.
//! * `serve TEXT`: answers every HTTP request on them with TEXT, one per connection, until killed: it drains nothing.
//! * `serve-file PATH`: the same with what the file holds now, not later.
//! * `notify-ready`: READY=1 to NOTIFY_SOCKET.
//!
//! Exit codes of its own: 2 for a wrong command line (nothing was done then), 3 when a verb failed, 124 after the
//! safety time (SIGKILL a second later if it cannot even exit, stopped for example).

#![expect(
    clippy::disallowed_methods,
    reason = "this program is what tests start in place of a build or a server: it sleeps, and has children of its own"
)]

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command, ExitCode, Stdio};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{self, SigHandler, Signal};
use nix::unistd::{self, Pid};
use signal_hook::iterator::Signals;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// How long this process and each of its descendants may exist at most.
const SAFETY: Duration = Duration::from_secs(120);

/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let verbs = match parse(env::args_os().skip(1)) {
        Ok(verbs) => verbs,
        Err(error) => {
            eprintln!("child: {error}");
            return ExitCode::from(2);
        }
    };
    let mut child = Child::default();
    for verb in &verbs {
        if let Verb::Safety(time) = verb {
            child.safety = *time;
        }
    }
    end_after(child.safety);
    for verb in &verbs {
        if let Err(error) = child.perform(verb) {
            eprintln!("child: {verb:?}: {error}");
            return ExitCode::from(3);
        }
    }
    ExitCode::SUCCESS
}

/// One thing to do.
#[derive(Debug)]
enum Verb {
    Print(String),
    Eprint(String),
    PrintHex(Vec<u8>),
    Flood(u64),
    FloodLines(u64),
    Pid,
    Cwd,
    Fds,
    Signals,
    Env(String),
    Sleep(Duration),
    Wait,
    WaitFile(String),
    Touch(String),
    Append(String, String),
    Copy(String, String),
    Ignore(Signal),
    Trap(Signal, Duration, i32),
    CrashAfter(Duration, Death),
    Exit(i32),
    KillSelf(Signal),
    Tag(String),
    Safety(Duration),
    ForkHoldStdout(Duration),
    Tree,
    DoubleFork(Environment),
    /// The middle of a double fork; not for people.
    LeaveDaemon(Environment),
    Setsid,
    Listen(String),
    Serve(String),
    ServeFile(String),
    NotifyReady,
}

/// How to die.
#[derive(Clone, Copy, Debug)]
enum Death {
    Code(i32),
    Signal(Signal),
}

/// What environment a daemon gets.
#[derive(Clone, Copy, Debug)]
enum Environment {
    Inherited,
    Empty,
}

impl Environment {
    /// What the daemon is called in the output, and the verb that leaves it behind.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Environment::Inherited => ("daemon", "leave-daemon"),
            Environment::Empty => ("daemon-empty-env", "leave-daemon-empty-env"),
        }
    }
}

fn parse(words: impl Iterator<Item = OsString>) -> Outcome<Vec<Verb>> {
    let mut words = Words(words);
    let mut verbs = Vec::new();
    while let Some(name) = words.0.next() {
        let name = name
            .into_string()
            .map_err(|name| format!("{name:?} is no verb"))?;
        verbs.push(verb(&name, &mut words).map_err(|error| format!("{name}: {error}"))?);
    }
    Ok(verbs)
}

fn verb(name: &str, words: &mut Words<impl Iterator<Item = OsString>>) -> Outcome<Verb> {
    Ok(match name {
        "print" => Verb::Print(words.text()?),
        "eprint" => Verb::Eprint(words.text()?),
        "print-hex" => Verb::PrintHex(bytes(&words.text()?)?),
        "flood" => Verb::Flood(words.number()?),
        "flood-lines" => Verb::FloodLines(words.number()?),
        "pid" => Verb::Pid,
        "cwd" => Verb::Cwd,
        "fds" => Verb::Fds,
        "signals" => Verb::Signals,
        "env" => Verb::Env(words.text()?),
        "sleep" => Verb::Sleep(words.time()?),
        "wait" => Verb::Wait,
        "wait-file" => Verb::WaitFile(words.text()?),
        "touch" => Verb::Touch(words.text()?),
        "append" => Verb::Append(words.text()?, words.text()?),
        "copy" => Verb::Copy(words.text()?, words.text()?),
        "ignore" => Verb::Ignore(words.signal()?),
        "trap" => Verb::Trap(words.signal()?, words.time()?, words.number()?),
        "crash-after" => Verb::CrashAfter(words.time()?, words.death()?),
        "exit" => Verb::Exit(words.number()?),
        "kill-self" => Verb::KillSelf(words.signal()?),
        "stop-self" => Verb::KillSelf(Signal::SIGSTOP),
        "tag" => Verb::Tag(words.text()?),
        "safety" => Verb::Safety(words.time()?),
        "fork-hold-stdout" => Verb::ForkHoldStdout(words.time()?),
        "tree" => Verb::Tree,
        "double-fork" => Verb::DoubleFork(Environment::Inherited),
        "double-fork-empty-env" => Verb::DoubleFork(Environment::Empty),
        "leave-daemon" => Verb::LeaveDaemon(Environment::Inherited),
        "leave-daemon-empty-env" => Verb::LeaveDaemon(Environment::Empty),
        "setsid" => Verb::Setsid,
        "listen" => Verb::Listen(words.text()?),
        "serve" => Verb::Serve(words.text()?),
        "serve-file" => Verb::ServeFile(words.text()?),
        "notify-ready" => Verb::NotifyReady,
        _ => return Err("no such verb; the head of examples/child.rs lists them".into()),
    })
}

/// The rest of the command line.
struct Words<I>(I);

impl<I: Iterator<Item = OsString>> Words<I> {
    fn text(&mut self) -> Outcome<String> {
        let word = self.0.next().ok_or("it lacks an argument")?;
        word.into_string()
            .map_err(|word| format!("{word:?} is not UTF-8").into())
    }

    fn number<N: FromStr>(&mut self) -> Outcome<N> {
        let word = self.text()?;
        word.parse()
            .map_err(|_| format!("{word} is no number that fits").into())
    }

    fn time(&mut self) -> Outcome<Duration> {
        Ok(Duration::from_millis(self.number()?))
    }

    fn signal(&mut self) -> Outcome<Signal> {
        signal_named(&self.text()?)
    }

    fn death(&mut self) -> Outcome<Death> {
        let word = self.text()?;
        match word.parse() {
            Ok(code) => Ok(Death::Code(code)),
            Err(_) => Ok(Death::Signal(signal_named(&word)?)),
        }
    }
}

fn signal_named(name: &str) -> Outcome<Signal> {
    let whole = if name.starts_with("SIG") {
        name.to_owned()
    } else {
        format!("SIG{name}")
    };
    Signal::from_str(&whole).map_err(|_| format!("{name} is no signal").into())
}

fn bytes(hex: &str) -> Outcome<Vec<u8>> {
    let pairs: Vec<char> = hex.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).ok();
    match pairs.len() % 2 {
        0 => pairs
            .chunks(2)
            .map(byte)
            .collect::<Option<_>>()
            .ok_or_else(|| format!("{hex} is not hex").into()),
        _ => Err(format!("{hex} has half a byte").into()),
    }
}

/// What the verbs so far have left.
struct Child {
    safety: Duration,
    tag: Option<String>,
    sockets: Vec<Socket>,
}

impl Default for Child {
    fn default() -> Child {
        Child {
            safety: SAFETY,
            tag: None,
            sockets: Vec::new(),
        }
    }
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Child {
    fn perform(&mut self, verb: &Verb) -> Outcome {
        match verb {
            Verb::Print(text) => say(text)?,
            Verb::Eprint(text) => eprintln!("{text}"),
            Verb::PrintHex(bytes) => {
                io::stdout().write_all(bytes)?;
                io::stdout().flush()?;
            }
            Verb::Flood(bytes) => {
                io::copy(&mut io::repeat(b'x').take(*bytes), &mut io::stdout())?;
                io::stdout().flush()?;
            }
            Verb::FloodLines(count) => flood_lines(*count)?,
            Verb::Pid => say(&format!("pid {}", process::id()))?,
            Verb::Cwd => say(&format!("cwd {}", env::current_dir()?.display()))?,
            Verb::Fds => say(&format!("fds {}", open_descriptors()?))?,
            Verb::Signals => {
                let status = fs::read_to_string("/proc/self/status")?;
                let wanted = ["SigBlk:", "SigIgn:", "SigCgt:"];
                for line in status
                    .lines()
                    .filter(|line| wanted.iter().any(|name| line.starts_with(name)))
                {
                    say(line)?;
                }
            }
            Verb::Env(name) => match env::var_os(name) {
                Some(value) => say(&format!("{name}={}", value.display()))?,
                None => say(&format!("{name} unset"))?,
            },
            Verb::Sleep(time) => thread::sleep(*time),
            Verb::Wait => wait(),
            Verb::WaitFile(path) => {
                while !Path::new(path).exists() {
                    thread::sleep(Duration::from_millis(2));
                }
            }
            Verb::Touch(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                file.set_modified(SystemTime::now())?;
            }
            Verb::Append(path, text) => {
                let mut file = OpenOptions::new().create(true).append(true).open(path)?;
                file.write_all(format!("{text}\n").as_bytes())?;
            }
            Verb::Copy(from, to) => copy(from, to)?,
            Verb::Ignore(signal) => set_action(*signal, SigHandler::SigIgn)?,
            Verb::Trap(signal, delay, code) => trap(*signal, *delay, *code)?,
            Verb::CrashAfter(delay, death) => {
                let (delay, death) = (*delay, *death);
                thread::spawn(move || {
                    thread::sleep(delay);
                    die(death);
                });
            }
            Verb::Exit(code) => process::exit(*code),
            Verb::KillSelf(signal) => signal::kill(Pid::this(), *signal)?,
            Verb::Tag(name) => self.tag = Some(name.clone()),
            // Known before the first verb was performed.
            Verb::Safety(_) => {}
            Verb::ForkHoldStdout(time) => {
                self.descendant(&["sleep", &time.as_millis().to_string()])?
                    .stdin(Stdio::null())
                    .spawn()?;
            }
            Verb::Tree => self.tree()?,
            Verb::DoubleFork(environment) => self.double_fork(*environment)?,
            Verb::LeaveDaemon(environment) => self.leave_daemon(*environment)?,
            Verb::Setsid => {
                unistd::setsid()?;
            }
            Verb::Listen(address) => self.listen(address)?,
            Verb::Serve(text) => self.serve(text.clone().into_bytes())?,
            Verb::ServeFile(path) => self.serve(fs::read(path)?)?,
            Verb::NotifyReady => notify_ready()?,
        }
        Ok(())
    }

    /// This program again, with these verbs after its tag and safety time.
    fn descendant(&self, verbs: &[&str]) -> Outcome<Command> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["safety", &self.safety.as_millis().to_string()]);
        if let Some(tag) = &self.tag {
            command.args(["tag", tag]);
        }
        command.args(verbs);
        Ok(command)
    }

    fn tree(&self) -> Outcome {
        say(&format!("main {}", process::id()))?;
        let child = self.descendant(&["wait"])?.spawn()?;
        say(&format!("child {}", child.id()))?;
        let group = self.descendant(&["wait"])?.process_group(0).spawn()?;
        say(&format!("group {}", group.id()))?;
        let session = self.descendant(&["setsid", "wait"])?.spawn()?;
        until_leader_of_session(Pid::from_raw(session.id().cast_signed()))?;
        say(&format!("session {}", session.id()))?;
        self.double_fork(Environment::Inherited)?;
        self.double_fork(Environment::Empty)
    }

    /// The first fork: a process that leaves the daemon behind, tells its pid and is gone.
    fn double_fork(&self, environment: Environment) -> Outcome {
        let (name, leave) = environment.words();
        let middle = self
            .descendant(&[leave])?
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        if !middle.status.success() {
            return Err(format!("the middle process ended with {}", middle.status).into());
        }
        say(&format!(
            "{name} {}",
            String::from_utf8(middle.stdout)?.trim()
        ))
    }

    /// The second fork, in a session of its own that the daemon does not lead.
    fn leave_daemon(&self, environment: Environment) -> Outcome {
        unistd::setsid()?;
        let mut command = self.descendant(&["wait"])?;
        match environment {
            Environment::Inherited => {}
            Environment::Empty => {
                command.env_clear();
            }
        }
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        say(&command.spawn()?.id().to_string())
    }

    fn listen(&mut self, address: &str) -> Outcome {
        let opened = if address == "fd" {
            handed_on()?
        } else if let Some(path) = address.strip_prefix("unix:") {
            vec![Socket::Unix(UnixListener::bind(path)?)]
        } else {
            vec![Socket::Tcp(TcpListener::bind(address)?)]
        };
        for socket in opened {
            match &socket {
                Socket::Tcp(listener) => say(&format!("listening {}", listener.local_addr()?))?,
                Socket::Unix(listener) => match listener.local_addr()?.as_pathname() {
                    Some(path) => say(&format!("listening unix:{}", path.display()))?,
                    None => say("listening unix:")?,
                },
            }
            self.sockets.push(socket);
        }
        Ok(())
    }

    fn serve(&mut self, text: Vec<u8>) -> Outcome {
        if self.sockets.is_empty() {
            return Err("nothing to serve on; say `listen` first".into());
        }
        for socket in self.sockets.drain(..) {
            let text = text.clone();
            thread::spawn(move || accept_for_ever(&socket, &text));
        }
        wait();
        Ok(())
    }
}

/// The sockets of LISTEN_FDS.
fn handed_on() -> Outcome<Vec<Socket>> {
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let pid = variable("LISTEN_PID")?;
    if pid != process::id().to_string() {
        return Err(format!(
            "LISTEN_PID={pid} is not this process, which is {}",
            process::id()
        )
        .into());
    }
    let count: usize = variable("LISTEN_FDS")?.parse()?;
    let mut sockets = Vec::new();
    for fd in (3..).take(count) {
        // SAFETY: LISTEN_PID says that these descriptors are meant for this process, and each is taken once:
        // a second `listen fd` would find the first one's sockets, which tests have no use for.
        let listener = unsafe { TcpListener::from_raw_fd(fd) };
        sockets.push(match listener.local_addr() {
            Ok(_) => Socket::Tcp(listener),
            // The address of a unix socket is none that std knows for TCP.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                Socket::Unix(UnixListener::from(OwnedFd::from(listener)))
            }
            Err(error) => return Err(format!("descriptor {fd}: {error}").into()),
        });
    }
    Ok(sockets)
}

fn accept_for_ever(socket: &Socket, text: &[u8]) {
    loop {
        // A client that goes wrong concerns nobody else, and an accept that does is soon tried again.
        let accepted = match socket {
            Socket::Tcp(listener) => listener.accept().and_then(|(stream, _)| {
                stream.set_read_timeout(Some(PATIENCE))?;
                spawn_answer(stream, text)
            }),
            Socket::Unix(listener) => listener.accept().and_then(|(stream, _)| {
                stream.set_read_timeout(Some(PATIENCE))?;
                spawn_answer(stream, text)
            }),
        };
        if let Err(error) = accepted {
            eprintln!("child: accept: {error}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn spawn_answer(mut stream: impl Read + Write + Send + 'static, text: &[u8]) -> io::Result<()> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    )
    .into_bytes();
    answer.extend_from_slice(text);
    thread::Builder::new().spawn(move || {
        // The whole head is read first: to close over unread bytes would reset the answer away.
        let mut head = Vec::new();
        let mut chunk = [0; 4096];
        while !head.windows(4).any(|four| four == b"\r\n\r\n") && head.len() < 1 << 16 {
            match stream.read(&mut chunk) {
                Ok(count) if count > 0 => head.extend_from_slice(&chunk[..count]),
                Ok(_) | Err(_) => return,
            }
        }
        let _ = stream.write_all(&answer);
    })?;
    Ok(())
}

fn notify_ready() -> Outcome {
    let address = env::var("NOTIFY_SOCKET").map_err(|error| format!("NOTIFY_SOCKET: {error}"))?;
    let socket = UnixDatagram::unbound()?;
    match address.strip_prefix('@') {
        None => socket.send_to(b"READY=1\n", address)?,
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            use std::os::unix::net::SocketAddr;
            socket.send_to_addr(b"READY=1\n", &SocketAddr::from_abstract_name(name)?)?
        }
        #[cfg(not(target_os = "linux"))]
        Some(_) => return Err("only Linux has abstract sockets".into()),
    };
    Ok(())
}

fn trap(signal: Signal, delay: Duration, code: i32) -> Outcome {
    // Taken here, not in the thread: the next verb may already provoke it.
    let mut signals = Signals::new([signal as i32])?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            thread::sleep(delay);
            process::exit(code);
        }
    });
    Ok(())
}

fn die(death: Death) {
    match death {
        Death::Code(code) => process::exit(code),
        Death::Signal(signal) => {
            // No core file in the folder that a test watches. And Rust's own handler of SIGSEGV would take the
            // first one for an accident of the stack and let the process go on.
            let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
            let _ = set_action(signal, SigHandler::SigDfl);
            let _ = signal::kill(Pid::this(), signal);
        }
    }
}

/// `action` is to ignore or the default, never a function.
fn set_action(signal: Signal, action: SigHandler) -> Outcome {
    if matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
        // Nobody can, and nobody has to.
        return Ok(());
    }
    // SAFETY: no function of ours is installed, so nothing can run at a bad moment.
    unsafe { signal::signal(signal, action) }?;
    Ok(())
}

fn copy(from: &str, to: &str) -> Outcome {
    match fs::remove_file(to) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    fs::copy(from, to)?;
    Ok(())
}

fn flood_lines(count: u64) -> Outcome {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout());
    for number in 1..=count {
        writeln!(out, "{:x<79}", format!("line {number:08} "))?;
    }
    Ok(out.flush()?)
}

fn open_descriptors() -> Outcome<String> {
    let mut open = Vec::new();
    for entry in fs::read_dir("/dev/fd")? {
        if let Ok(fd) = entry?.file_name().to_string_lossy().parse::<i32>() {
            open.push(fd);
        }
    }
    open.sort_unstable();
    // The listing's own descriptor is closed by now.
    open.retain(|fd| fs::symlink_metadata(format!("/dev/fd/{fd}")).is_ok());
    Ok(open
        .iter()
        .map(i32::to_string)
        .collect::<Vec<_>>()
        .join(" "))
}

fn until_leader_of_session(pid: Pid) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(10);
    while unistd::getsid(Some(pid))? != pid {
        if Instant::now() > deadline {
            return Err(format!("{pid} does not get a session of its own").into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A line on stdout, at once.
fn say(line: &str) -> Outcome {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// For ever; the safety time ends it.
fn wait() {
    loop {
        thread::park();
    }
}

fn end_after(safety: Duration) {
    kill_after(safety + Duration::from_secs(1));
    thread::spawn(move || {
        thread::sleep(safety);
        eprintln!(
            "child: still here after its safety time of {} ms; leaving",
            safety.as_millis()
        );
        process::exit(124);
    });
}

/// Has the kernel kill this process: a stopped one runs no thread that could end it.
#[cfg(target_os = "linux")]
fn kill_after(time: Duration) {
    // SAFETY: both structures are plain numbers, for which zero is a value, and live through the calls. The timer
    // belongs to this process and ends with it.
    unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGKILL;
        let mut timer: libc::timer_t = std::mem::zeroed();
        let mut when: libc::itimerspec = std::mem::zeroed();
        when.it_value.tv_sec = libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX);
        when.it_value.tv_nsec = libc::c_long::from(time.subsec_nanos().cast_signed());
        if libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) != 0
            || libc::timer_settime(timer, 0, &when, std::ptr::null_mut()) != 0
        {
            eprintln!(
                "child: no timer: {}; a stopped child would stay",
                io::Error::last_os_error()
            );
        }
    }
}

/// Elsewhere there is no such timer: a stopped child stays until somebody continues it.
#[cfg(not(target_os = "linux"))]
fn kill_after(_time: Duration) {}
