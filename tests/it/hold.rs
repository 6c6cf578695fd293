//! With `listen` devwatch holds the socket: requests wait while the server is away, and none is refused. Without
//! it the end line says how long nobody was there.

use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::project::{
    Devwatch, PATIENCE, Project, eventually, field, free_port, get, have, port_is_free,
};

/// What `examples/rust` answers. Its versions differ in the last character, and so do the binaries.
const GREETING: &str = "hello from Rust, version ";

/// Clients that ask again when they were answered.
const CLIENTS: usize = 32;

/// ... and have read the answer. Without it two cores have no time left for what else is tested; the gap between two
/// servers still sees requests of most clients.
const READING: Duration = Duration::from_millis(10);

const RESTARTS: usize = 20;

#[test]
fn twenty_restarts_under_load_refuse_no_request() {
    if !have("cargo") {
        return;
    }
    restart_under_load(|_| false);
}

#[test]
fn twenty_restarts_under_load_break_no_kept_connection() {
    if !have("cargo") {
        return;
    }
    restart_under_load(|client| client % 2 == 0);
}

#[test]
fn without_listen_the_end_line_says_how_long_nobody_was_there() {
    if !have("cargo") {
        return;
    }
    let port = free_port();
    let project = greeting_project(&format!("env = {{ PORT = \"{port}\" }}"));
    let mut devwatch = project.devwatch(&[]);
    let first = devwatch.end("serving");
    assert_eq!(field(&first, "restart"), None, "{first}");
    save_version(&project, 1);
    let end = devwatch.end("serving");
    assert_eq!(field(&end, "restart"), Some("cold"), "{end}");
    assert!(field(&end, "gap").is_some(), "{end}");
    assert_eq!(field(&end, "gap"), field(&end, "accept"), "{end}");
    assert_eq!(
        get(port).expect("an answer"),
        format!("{GREETING}{}\n", letter(1))
    );
    assert_eq!(devwatch.terminate().code(), Some(143));
    assert!(port_is_free(port));
}

#[test]
fn a_server_finds_its_sockets_from_three_on_and_is_told_about_them() {
    let verbs = [
        "fds",
        "pid",
        "env",
        "LISTEN_FDS",
        "env",
        "LISTEN_PID",
        "env",
        "LISTEN_FDNAMES",
        "env",
        "PORT",
        "env",
        "DEVWATCH",
        "env",
        "DEVWATCH_GENERATION",
        "listen",
        "fd",
        "serve",
        "one",
    ];
    let project = Project::scripted("listen = [\"127.0.0.1:0\", \"grpc://127.0.0.1:0\"]", &verbs);
    // Somebody else's hand-over must not reach the server.
    let mut devwatch = project.devwatch_with(&[], |command| {
        command
            .env("LISTEN_FDS", "7")
            .env("LISTEN_PID", "1")
            .env("LISTEN_FDNAMES", "x")
            .env("PORT", "9");
    });
    let mut ports = Vec::new();
    for generation in 1..=2 {
        assert_eq!(devwatch.find("fds "), "fds 0 1 2 3 4");
        let pid = devwatch.find("pid ").replace("pid ", "");
        assert_eq!(devwatch.find("LISTEN_FDS"), "LISTEN_FDS=2");
        assert_eq!(devwatch.find("LISTEN_PID"), format!("LISTEN_PID={pid}"));
        assert_eq!(devwatch.find("LISTEN_FDNAMES"), "LISTEN_FDNAMES=http:grpc");
        let port: u16 = devwatch
            .find("PORT=")
            .replace("PORT=", "")
            .parse()
            .expect("a port");
        assert_eq!(
            devwatch.find_where("DEVWATCH", |line| line.starts_with("DEVWATCH=")),
            "DEVWATCH=1"
        );
        assert_eq!(
            devwatch.find("DEVWATCH_GENERATION"),
            format!("DEVWATCH_GENERATION={generation}")
        );
        let first: SocketAddr = devwatch
            .find("listening ")
            .replace("listening ", "")
            .parse()
            .expect("an address");
        let second: SocketAddr = devwatch
            .find("listening ")
            .replace("listening ", "")
            .parse()
            .expect("an address");
        assert_eq!(first.port(), port);
        assert_ne!(port, 9);
        let end = devwatch.find_where("an end", |line| line.contains(" end "));
        assert!(end.contains(" end serving "), "{end}");
        assert_eq!(field(&end, "pid"), Some(pid.as_str()));
        assert_eq!(
            field(&end, "url"),
            Some(format!("http://127.0.0.1:{port}/").as_str())
        );
        assert_eq!(get(port).expect("an answer"), "one");
        assert_eq!(get(second.port()).expect("an answer"), "one");
        ports.push((port, second.port()));
        if generation == 1 {
            let script = project.read("source.sh");
            project.write("source.sh", &format!("# again\n{script}"));
        }
    }
    assert_eq!(ports[0], ports[1], "a restart keeps the ports");
    assert_eq!(devwatch.terminate().code(), Some(143));
    assert!(port_is_free(ports[0].0) && port_is_free(ports[0].1));
}

#[test]
fn without_listen_a_server_is_told_of_no_sockets() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let project = Project::scripted(
        "",
        &[
            "fds",
            "env",
            "LISTEN_FDS",
            "env",
            "LISTEN_PID",
            "env",
            "DEVWATCH",
            "listen",
            &address,
            "serve",
            "one",
        ],
    );
    let mut devwatch = project.devwatch_with(&[], |command| {
        command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    });
    assert_eq!(devwatch.find("fds "), "fds 0 1 2");
    assert_eq!(devwatch.find("LISTEN_FDS"), "LISTEN_FDS unset");
    assert_eq!(devwatch.find("LISTEN_PID"), "LISTEN_PID unset");
    assert_eq!(devwatch.find("DEVWATCH="), "DEVWATCH=1");
    devwatch.find(" end serving ");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_socket_of_ipv6_is_held() {
    if let Err(error) = TcpListener::bind("[::1]:0") {
        assert!(
            std::env::var_os("DEVWATCH_REQUIRE_ALL").is_none(),
            "no IPv6: {error}"
        );
        eprintln!("skipped: no IPv6 here: {error}");
        return;
    }
    let project = Project::scripted("listen = \"[::1]:0\"", &["listen", "fd", "serve", "six"]);
    let mut devwatch = project.devwatch(&[]);
    let address: SocketAddr = devwatch
        .find("listening ")
        .replace("listening ", "")
        .parse()
        .expect("an address");
    assert!(address.is_ipv6(), "{address}");
    let end = devwatch.find(" end serving ");
    assert_eq!(
        field(&end, "url"),
        Some(format!("http://{address}/").as_str()),
        "{end}"
    );
    let stream = TcpStream::connect(address).expect("a connection");
    assert_eq!(ask_on(&stream).expect("an answer").0, "six");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn a_unix_socket_is_held_through_a_restart_and_gone_in_the_end() {
    let project = Project::scripted(
        "listen = \"unix:run.sock\"",
        &["listen", "fd", "serve", "one"],
    );
    let path = project.path("run.sock");
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("serving");
    let inode = |path: &Path| {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(path).expect("the socket is there").ino()
    };
    let before = inode(&path);
    assert_eq!(ask_unix(&path).expect("an answer"), "one");
    project.script(&["listen", "fd", "serve", "two"]);
    let end = devwatch.end("serving");
    assert_eq!(field(&end, "restart"), Some("hold"), "{end}");
    assert_eq!(ask_unix(&path).expect("an answer"), "two");
    assert_eq!(inode(&path), before, "it is the same socket");
    assert_eq!(devwatch.terminate().code(), Some(143));
    assert!(!path.exists(), "the socket's file stays behind");
}

#[test]
fn a_unix_socket_that_a_killed_devwatch_left_is_taken_over() {
    let project = Project::scripted(
        "listen = \"unix:run.sock\"",
        &["listen", "fd", "serve", "one"],
    );
    let path = project.path("run.sock");
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("serving");
    devwatch.signal(nix::sys::signal::Signal::SIGKILL);
    devwatch.ended();
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("serving");
    assert_eq!(ask_unix(&path).expect("an answer"), "one");
    assert_eq!(devwatch.terminate().code(), Some(143));
    assert!(!path.exists(), "the socket's file stays behind");
}

#[test]
fn a_port_that_somebody_holds_is_refused_with_their_name() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = holder.local_addr().expect("its address").port();
    let project = Project::scripted(
        &format!("listen = \"127.0.0.1:{port}\""),
        &["listen", "fd", "serve", "one"],
    );
    let (status, out, err) = project.once(&[]);
    assert_eq!(status.code(), Some(2), "{err}");
    assert_eq!(out, "");
    let program = std::env::current_exe().expect("this test's path");
    let program = program
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let beginning = format!(
        "devwatch: cannot listen on 127.0.0.1:{port}: held by pid {} (",
        std::process::id()
    );
    assert!(err.contains(&beginning), "{err}");
    assert!(err.contains(&program), "{err}");
    assert!(err.contains("stop it, or change \"listen\""), "{err}");
    drop(holder);
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("serving");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn requests_that_come_before_the_first_build_is_done_are_answered() {
    let port = free_port();
    let project = Project::new();
    let build = project.child_line(&["wait-file", "go"]);
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]\nname = \"slow\"\nfiles = [\"source.txt\"]\nrun = \"{build} && cp source.txt built.txt\"\n\
             outputs = [\"built.txt\"]\n[server]\nlisten = \"127.0.0.1:{port}\"\nrun = {}\n",
            project.child_list(&["listen", "fd", "serve-file", "built.txt"])
        ),
    );
    project.write("source.txt", "first");
    let mut devwatch = project.devwatch(&[]);
    devwatch.line("build 1 begin (start)");
    let streams: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("nobody is refused");
            write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("the request is sent");
            stream
        })
        .collect();
    project.write("go", "");
    for stream in &streams {
        let (text, _) = read_answer(stream).expect("an answer");
        assert_eq!(text, "first");
    }
    devwatch.end("serving");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

#[test]
fn requests_wait_while_the_build_of_a_crashed_server_is_mended() {
    let port = free_port();
    let project = Project::scripted(
        &format!("listen = \"127.0.0.1:{port}\""),
        &["listen", "fd", "exit", "0"],
    );
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("ok");
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("nobody is refused");
    write!(&stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("the request is sent");
    project.script(&["listen", "fd", "serve", "mended"]);
    devwatch.end("serving");
    assert_eq!(read_answer(&stream).expect("an answer").0, "mended");
    assert_eq!(devwatch.terminate().code(), Some(143));
}

// ---------------------------------------------------------------- the load

fn restart_under_load(keeps: fn(usize) -> bool) {
    // One after the other: a client that gets no processor for a second is a client that has gone silent.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let port = free_port();
    let project = greeting_project(&format!("listen = \"127.0.0.1:{port}\""));
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("serving");
    let load = Load::start(port, keeps);
    load.everybody_has(0, &mut devwatch);
    for version in 1..=RESTARTS {
        save_version(&project, version);
        let end = devwatch.end("serving");
        assert_eq!(field(&end, "restart"), Some("hold"), "{end}");
        assert_eq!(field(&end, "gap"), None, "{end}");
        // From here on nobody may hear an older one.
        load.newest.store(version, Ordering::SeqCst);
        load.everybody_has(version, &mut devwatch);
    }
    let tally = load.stop();
    assert_eq!(
        (tally.refused, tally.reset, tally.ended, tally.stale),
        (0, 0, 0, 0),
        "{tally:?}\n{}",
        devwatch.story()
    );
    assert!(tally.other.is_empty(), "{tally:?}");
    assert!(tally.answered > CLIENTS * RESTARTS, "{tally:?}");
    assert_eq!(devwatch.terminate().code(), Some(143));
    assert!(port_is_free(port));
}

/// Clients in a closed loop.
struct Load {
    stop: Arc<AtomicBool>,
    /// The version that is in service for certain.
    newest: Arc<AtomicUsize>,
    /// What each client heard last.
    heard: Arc<Vec<AtomicUsize>>,
    clients: Vec<JoinHandle<Tally>>,
}

#[derive(Debug, Default)]
struct Tally {
    answered: usize,
    refused: usize,
    reset: usize,
    ended: usize,
    stale: usize,
    other: Vec<String>,
}

impl Load {
    fn start(port: u16, keeps: fn(usize) -> bool) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let newest = Arc::new(AtomicUsize::new(0));
        let nothing = || AtomicUsize::new(usize::MAX);
        let heard: Arc<Vec<AtomicUsize>> = Arc::new((0..CLIENTS).map(|_| nothing()).collect());
        let clients = (0..CLIENTS)
            .map(|client| {
                let (stop, newest, heard) =
                    (Arc::clone(&stop), Arc::clone(&newest), Arc::clone(&heard));
                thread::spawn(move || {
                    let mut tally = Tally::default();
                    let mut kept = None;
                    while !stop.load(Ordering::SeqCst) {
                        let at_least = newest.load(Ordering::SeqCst);
                        match ask(port, &mut kept, keeps(client)) {
                            Ok(version) => {
                                tally.answered += 1;
                                tally.stale += usize::from(version < at_least);
                                heard[client].store(version, Ordering::SeqCst);
                                thread::sleep(READING);
                            }
                            Err(error) => {
                                kept = None;
                                tally.count(&error);
                            }
                        }
                    }
                    tally
                })
            })
            .collect();
        Load {
            stop,
            newest,
            heard,
            clients,
        }
    }

    #[track_caller]
    fn everybody_has(&self, version: usize, devwatch: &mut Devwatch) {
        let all = || {
            self.heard
                .iter()
                .all(|heard| heard.load(Ordering::SeqCst) == version)
        };
        assert!(
            eventually(PATIENCE, all),
            "not everybody hears version {version}: {:?}\n{}",
            self.heard,
            devwatch.story()
        );
    }

    fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::SeqCst);
        let mut sum = Tally::default();
        for client in self.clients.drain(..) {
            let tally = client.join().expect("a client does not panic");
            sum.answered += tally.answered;
            sum.refused += tally.refused;
            sum.reset += tally.reset;
            sum.ended += tally.ended;
            sum.stale += tally.stale;
            sum.other.extend(tally.other);
        }
        sum
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

impl Tally {
    fn count(&mut self, error: &io::Error) {
        if error.kind() == ErrorKind::ConnectionRefused {
            self.refused += 1;
        } else if matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ) {
            self.reset += 1;
        } else if error.kind() == ErrorKind::UnexpectedEof {
            self.ended += 1;
        } else {
            self.other.push(error.to_string());
        }
    }
}

/// One request, on the kept connection if there is one. The version that answered.
fn ask(port: u16, kept: &mut Option<TcpStream>, keep: bool) -> io::Result<usize> {
    let stream = match kept.take() {
        Some(stream) => stream,
        None => TcpStream::connect(("127.0.0.1", port))?,
    };
    let connection = if keep { "keep-alive" } else { "close" };
    // Unbuffered, so it goes out in pieces: the server is often told to stop in the middle of a request.
    write!(
        &stream,
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n"
    )?;
    let (text, last) = read_answer(&stream)?;
    if keep && !last {
        *kept = Some(stream);
    }
    let version = text.trim_end().strip_prefix(GREETING);
    version
        .and_then(|version| (0..=RESTARTS).find(|n| version == letter(*n).to_string()))
        .ok_or_else(|| io::Error::other(format!("an answer of no version: {text:?}")))
}

/// Body, and whether the server closes the connection.
fn read_answer(mut stream: &TcpStream) -> io::Result<(String, bool)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&answer[..end]).into_owned();
            if !head.starts_with("HTTP/1.1 200 ") {
                return Err(io::Error::other(head));
            }
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "))
                .and_then(|length| length.parse::<usize>().ok());
            let length = length.ok_or_else(|| io::Error::other("an answer without length"))?;
            if answer.len() >= end + 4 + length {
                let body = &answer[end + 4..end + 4 + length];
                let body = String::from_utf8_lossy(body).into_owned();
                return Ok((body, head.contains("Connection: close")));
            }
        }
        match stream.read(&mut chunk)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => answer.extend_from_slice(&chunk[..count]),
        }
    }
}

fn ask_on(mut stream: &TcpStream) -> io::Result<(String, bool)> {
    write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
    read_answer(stream)
}

fn ask_unix(path: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::other(format!("not an answer: {answer:?}")))?;
    Ok(body.to_owned())
}

// ---------------------------------------------------------------- the server

/// A project whose "compiler" hands out real binaries of `examples/rust`.
fn greeting_project(server: &str) -> Project {
    let project = Project::new();
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]\nname = \"build\"\nfiles = [\"compiled\"]\nrun = {}\noutputs = [\"hello\"]\n\
             [server]\nrun = [\"./hello\"]\n{server}\n",
            project.child_list(&["copy", "compiled", "hello"])
        ),
    );
    save_version(&project, 0);
    project
}

fn save_version(project: &Project, version: usize) {
    let old = format!("{GREETING}1").into_bytes();
    let new = format!("{GREETING}{}", letter(version)).into_bytes();
    let mut binary = example_binary().to_vec();
    let mut places = 0;
    for at in 0..binary.len() - old.len() {
        if binary[at..].starts_with(&old) {
            binary[at..at + new.len()].copy_from_slice(&new);
            places += 1;
        }
    }
    assert!(places > 0, "the binary does not hold its greeting");
    // By rename, so that the copy never takes half of it.
    let beside = project.path("compiled~");
    fs::write(&beside, binary).expect("the binary is written");
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).expect("its mode is set");
    fs::rename(&beside, project.path("compiled")).expect("it takes its place");
}

/// Of the same length for each version.
fn letter(version: usize) -> char {
    char::from(b'a' + u8::try_from(version).expect("fewer than 26 versions"))
}

/// `examples/rust`, built once. Stripped of what only a debugger reads, as it is copied a lot.
fn example_binary() -> &'static [u8] {
    static BINARY: OnceLock<Vec<u8>> = OnceLock::new();
    BINARY.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hello");
        let output = Command::new("cargo")
            .args([
                "build",
                "--locked",
                "--quiet",
                "--config",
                "profile.dev.strip=true",
            ])
            .arg("--manifest-path")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/examples/rust/Cargo.toml"
            ))
            .arg("--target-dir")
            .arg(&target)
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::read(target.join("debug/hello")).expect("the binary is there")
    })
}
