//! What the server and the rules find in their environment.
//!
//! Pure, but for [`read_env_files`]. The inherited variables come from the caller, the configured ones from the
//! config; the result goes to whoever executes the program. `LISTEN_PID` is removed here and never set: it must be
//! the pid of the process that consumes it, so the one that execs sets it, between fork and exec.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::supervisor::generation::GenerationId;

/// Variables by which other supervisors and frameworks hand sockets over, and ours. Inherited ones are about a
/// hand-over that is not this one: a server that believes them takes a descriptor that is something else.
const HAND_OVER: &[&str] = &[
    "DEVWATCH",
    "DEVWATCH_GENERATION",
    "GUNICORN_FD",
    "GUNICORN_PID",
    "NGINX",
    "NODE_CHANNEL_FD",
    "NODE_UNIQUE_ID",
    "NOTIFY_SOCKET",
];

/// The same by prefix.
const HAND_OVER_PREFIXES: &[&str] = &[
    "EINHORN_",
    "ENDLESS_",
    "GOAGAIN_",
    "LISTEN_",
    "OVERSEER_",
    "PUMA_INHERIT_",
    "SERVER_STARTER_",
    "TABLEFLIP_",
];

/// What tells tools that colour is welcome although they write into a pipe: each only where nothing of that name is
/// set, and none of them beside a NO_COLOR. Node, given both, takes the colour and prints a warning about it.
pub const COLOR_HINTS: &[(&str, &str)] = &[
    ("CARGO_TERM_COLOR", "always"),
    ("CLICOLOR_FORCE", "1"),
    ("FORCE_COLOR", "1"),
];

/// What a server is told about its start.
#[derive(Clone, Copy, Debug)]
pub struct ServerEnv<'a> {
    /// The generation that is started: `DEVWATCH_GENERATION`.
    pub generation: GenerationId,
    /// The names of the sockets it gets from descriptor 3 on: `LISTEN_FDS` and `LISTEN_FDNAMES`; none without
    /// sockets.
    pub listen_names: &'a [String],
    /// Where it may say READY=1: `NOTIFY_SOCKET`.
    pub notify: Option<&'a Path>,
    /// The port of the first held TCP socket: `PORT`.
    pub port: Option<u16>,
    /// What the contract by which it takes its sockets over needs; none without such a contract. Over everything
    /// else: these are the only hand-over variables of that kind that are true.
    pub hand_over: &'a [(String, String)],
    /// Whether it is told that colour is welcome, see [`COLOR_HINTS`].
    pub color_hints: bool,
}

/// The environment of a server, sorted by name.
///
/// Of one variable, the first that is set wins: those of a hand-over contract, the sockets' variables and `DEVWATCH*`, `configured` (`[server]
/// env`), `PORT` of a held socket, `base` (what devwatch inherited), `from_files` (of these the last). So a real
/// variable wins over the file, as dotenv does it, and only the config's own `env` can overrule the port that is
/// really held. Two are 1 unless one of them says otherwise: `PYTHONUNBUFFERED`, because output in a pipe would
/// arrive only when the server ends, and `PYTHONDONTWRITEBYTECODE`, because Python takes what it has compiled for
/// new as long as size and second of the source are the same: of two saves in one second the first would serve on.
pub fn server(
    base: impl Iterator<Item = (OsString, OsString)>,
    from_files: Vec<(String, String)>,
    configured: &BTreeMap<String, String>,
    ctx: ServerEnv<'_>,
) -> Vec<(OsString, OsString)> {
    let mut set: BTreeMap<OsString, OsString> = BTreeMap::new();
    let mut put = |name: &str, value: OsString| {
        set.insert(name.into(), value);
    };
    put("PYTHONDONTWRITEBYTECODE", "1".into());
    put("PYTHONUNBUFFERED", "1".into());
    for (name, value) in from_files {
        put(&name, value.into());
    }
    set.extend(inherited(base));
    let mut put = |name: &str, value: OsString| {
        set.insert(name.into(), value);
    };
    if let Some(port) = ctx.port {
        put("PORT", port.to_string().into());
    }
    for (name, value) in configured {
        put(name, value.into());
    }
    if !ctx.listen_names.is_empty() {
        put("LISTEN_FDS", ctx.listen_names.len().to_string().into());
        put("LISTEN_FDNAMES", ctx.listen_names.join(":").into());
    }
    if let Some(path) = ctx.notify {
        put("NOTIFY_SOCKET", path.into());
    }
    put("DEVWATCH", "1".into());
    put("DEVWATCH_GENERATION", ctx.generation.to_string().into());
    for (name, value) in ctx.hand_over {
        put(name, value.into());
    }
    if ctx.color_hints {
        welcome_color(&mut set);
    }
    set.into_iter().collect()
}

/// The environment of a rule's command, sorted by name: what devwatch inherited, without hand-over variables, and
/// over it `configured` (the rule's `env`); below both, if so wanted, [`COLOR_HINTS`].
pub fn rule(
    base: impl Iterator<Item = (OsString, OsString)>,
    configured: &BTreeMap<String, String>,
    color_hints: bool,
) -> Vec<(OsString, OsString)> {
    let mut set: BTreeMap<OsString, OsString> = inherited(base).collect();
    set.extend(
        configured
            .iter()
            .map(|(name, value)| (name.into(), value.into())),
    );
    if color_hints {
        welcome_color(&mut set);
    }
    set.into_iter().collect()
}

/// The variables of dotenv files, in order: where one is named twice, the later counts. A missing file has none.
///
/// # Errors: a file cannot be read, or a line of it makes no sense.
pub fn read_env_files(paths: &[PathBuf]) -> Result<Vec<(String, String)>, EnvFileError> {
    let mut all = Vec::new();
    for path in paths {
        let text = match read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(EnvFileError {
                    path: path.clone(),
                    cause: EnvFileFailure::Unreadable(error),
                });
            }
        };
        let variables = parse_env(&text).map_err(|cause| EnvFileError {
            path: path.clone(),
            cause,
        })?;
        all.extend(variables);
    }
    Ok(all)
}

/// Reads a regular file: opening a pipe would wait for its writer, and reading a device has no end.
fn read(path: &Path) -> io::Result<String> {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// A dotenv file that cannot be used.
#[derive(Debug)]
pub struct EnvFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub cause: EnvFileFailure,
}

/// What is wrong with a dotenv file.
#[derive(Debug)]
pub enum EnvFileFailure {
    /// It cannot be read, or is not UTF-8.
    Unreadable(io::Error),
    /// This line (from 1) is no `NAME=value`.
    Line(usize, String),
}

impl fmt::Display for EnvFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.cause {
            EnvFileFailure::Unreadable(error) => write!(f, "{path}: cannot be read: {error}"),
            EnvFileFailure::Line(line, text) => {
                write!(
                    f,
                    "{path}:{line}: cannot understand {text:?}; write NAME=value, with quotes around spaces"
                )
            }
        }
    }
}

impl std::error::Error for EnvFileError {}

fn welcome_color(set: &mut BTreeMap<OsString, OsString>) {
    let refused = set.get(OsStr::new("NO_COLOR"));
    if refused.is_some_and(|value| !value.is_empty()) {
        return;
    }
    for (name, value) in COLOR_HINTS {
        set.entry(name.into()).or_insert_with(|| value.into());
    }
}

fn inherited(
    base: impl Iterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, OsString)> {
    base.filter(|(name, _)| !is_hand_over(name))
}

fn is_hand_over(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    HAND_OVER.contains(&name)
        || HAND_OVER_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

fn parse_env(text: &str) -> Result<Vec<(String, String)>, EnvFileFailure> {
    // Windows editors put a byte order mark in front, which would become part of the first name.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let taken = Cell::new(0);
    let mut variables = dotenvy::from_read_iter(LineByLine {
        rest: text,
        taken: &taken,
    });
    let mut all = Vec::new();
    loop {
        let before = taken.get();
        match variables.next() {
            None => return Ok(all),
            Some(Ok(variable)) => all.push(variable),
            Some(Err(dotenvy::Error::LineParse(..))) => {
                let rejected = text.lines().enumerate().skip(before).find(|(_, line)| {
                    let line = line.trim_start();
                    !line.is_empty() && !line.starts_with('#')
                });
                let (index, line) = rejected.unwrap_or((before, ""));
                return Err(EnvFileFailure::Line(index + 1, line.to_owned()));
            }
            Some(Err(error)) => return Err(EnvFileFailure::Unreadable(io::Error::other(error))),
        }
    }
}

/// Gives dotenvy one line at a time and counts them: its errors hold a piece of the text, but not where it stands.
struct LineByLine<'a> {
    rest: &'a str,
    taken: &'a Cell<usize>,
}

impl Read for LineByLine<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self.rest.find('\n').map_or(self.rest.len(), |end| end + 1);
        // A line longer than the reader's buffer goes in parts; only its end counts.
        let length = (0..=line.min(buffer.len()))
            .rev()
            .find(|&at| self.rest.is_char_boundary(at))
            .unwrap_or(0);
        let (now, rest) = self.rest.split_at(length);
        buffer[..length].copy_from_slice(now.as_bytes());
        self.rest = rest;
        if length == line && line > 0 {
            self.taken.set(self.taken.get() + 1);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn base(pairs: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
        let owned: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect();
        owned.into_iter()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    fn show(environment: &[(OsString, OsString)]) -> String {
        let line = |(name, value): &(OsString, OsString)| {
            format!("{}={}\n", name.display(), value.display())
        };
        environment.iter().map(line).collect()
    }

    const ALONE: ServerEnv<'_> = ServerEnv {
        generation: GenerationId(7),
        listen_names: &[],
        notify: None,
        port: None,
        hand_over: &[],
        color_hints: false,
    };

    #[test]
    fn hand_over_variables_of_others_are_not_passed_on() {
        let inherited = base(&[
            ("DEVWATCH_GENERATION", "3"),
            ("EINHORN_FD_0", "5"),
            ("ENDLESS_CONTINUE", "1"),
            ("GOAGAIN_FD", "3"),
            ("GUNICORN_FD", "4"),
            ("GUNICORN_PID", "4"),
            ("GUNICORN_CMD_ARGS", "--reload"),
            ("HOME", "/home/me"),
            ("LISTEN_FDS", "2"),
            ("LISTEN_FDS_FIRST_FD", "3"),
            ("LISTEN_PID", "1"),
            ("NGINX", "3;"),
            ("NGINX_HOST", "x"),
            ("NODE_CHANNEL_FD", "3"),
            ("NODE_ENV", "development"),
            ("NODE_UNIQUE_ID", "1"),
            ("NOTIFY_SOCKET", "/run/systemd/notify"),
            ("OVERSEER_IS_SLAVE", "1"),
            ("PUMA_INHERIT_0", "3:tcp"),
            ("SERVER_STARTER_PORT", "80=3"),
            ("TABLEFLIP_HAS_PARENT_7DIU3", "yes"),
        ]);
        let kept =
            "GUNICORN_CMD_ARGS=--reload\nHOME=/home/me\nNGINX_HOST=x\nNODE_ENV=development\n";
        let inherited: Vec<_> = inherited.collect();
        assert_eq!(
            show(&rule(
                inherited.clone().into_iter(),
                &BTreeMap::new(),
                false
            )),
            kept
        );
        let server = server(inherited.into_iter(), Vec::new(), &BTreeMap::new(), ALONE);
        assert_eq!(
            show(&server),
            format!(
                "DEVWATCH=1\nDEVWATCH_GENERATION=7\n{kept}PYTHONDONTWRITEBYTECODE=1\nPYTHONUNBUFFERED=1\n"
            )
        );
    }

    #[test]
    fn a_server_is_told_of_its_sockets() {
        let names = ["http".to_owned(), "admin".to_owned()];
        let ctx = ServerEnv {
            listen_names: &names,
            notify: Some(Path::new("/run/s")),
            port: Some(8080),
            ..ALONE
        };
        assert_eq!(
            show(&server(
                base(&[("PORT", "1")]),
                pairs(&[("PORT", "2")]),
                &BTreeMap::new(),
                ctx
            )),
            "DEVWATCH=1\nDEVWATCH_GENERATION=7\nLISTEN_FDNAMES=http:admin\nLISTEN_FDS=2\nNOTIFY_SOCKET=/run/s\n\
             PORT=8080\nPYTHONDONTWRITEBYTECODE=1\nPYTHONUNBUFFERED=1\n"
        );
    }

    #[test]
    fn what_a_contract_sets_is_the_only_hand_over() {
        let hand_over = pairs(&[("ENDLESS_CONTINUE", "1"), ("LISTEN_FDS", "2")]);
        let ctx = ServerEnv {
            hand_over: &hand_over,
            ..ALONE
        };
        let inherited = base(&[("ENDLESS_CONTINUE", "0"), ("ENDLESS_SOCKET_ORDER", ":1,:2")]);
        let configured = BTreeMap::from([("LISTEN_FDS".to_owned(), "9".to_owned())]);
        assert_eq!(
            show(&server(inherited, Vec::new(), &configured, ctx)),
            "DEVWATCH=1\nDEVWATCH_GENERATION=7\nENDLESS_CONTINUE=1\nLISTEN_FDS=2\nPYTHONDONTWRITEBYTECODE=1\nPYTHONUNBUFFERED=1\n"
        );
    }

    #[test]
    fn config_wins_over_inherited_and_inherited_over_files() {
        let files = pairs(&[
            ("A", "file"),
            ("B", "file"),
            ("C", "file"),
            ("C", "later file"),
            ("PYTHONDONTWRITEBYTECODE", "0"),
            ("PYTHONUNBUFFERED", ""),
        ]);
        let inherited = base(&[("A", "inherited"), ("B", "inherited")]);
        let configured = BTreeMap::from([
            ("A".to_owned(), "config".to_owned()),
            ("PORT".to_owned(), "9".to_owned()),
        ]);
        let ctx = ServerEnv {
            port: Some(8080),
            ..ALONE
        };
        assert_eq!(
            show(&server(inherited, files, &configured, ctx)),
            "A=config\nB=inherited\nC=later file\nDEVWATCH=1\nDEVWATCH_GENERATION=7\nPORT=9\nPYTHONDONTWRITEBYTECODE=0\nPYTHONUNBUFFERED=\n"
        );
        let inherited = base(&[("A", "inherited"), ("B", "inherited")]);
        assert_eq!(
            show(&rule(inherited, &configured, false)),
            "A=config\nB=inherited\nPORT=9\n"
        );
    }

    #[test]
    fn colour_is_welcome_only_where_nobody_has_said_anything_about_it() {
        let none = || BTreeMap::<String, String>::new();
        let all = "CARGO_TERM_COLOR=always\nCLICOLOR_FORCE=1\nFORCE_COLOR=1\n";
        assert_eq!(show(&rule(base(&[]), &none(), true)), all);
        assert_eq!(show(&rule(base(&[]), &none(), false)), "");
        // What is set stays, even if it is set to nothing.
        let said = base(&[("CARGO_TERM_COLOR", "never"), ("FORCE_COLOR", "")]);
        assert_eq!(
            show(&rule(said, &none(), true)),
            "CARGO_TERM_COLOR=never\nCLICOLOR_FORCE=1\nFORCE_COLOR=\n"
        );
        let refused = BTreeMap::from([("NO_COLOR".to_owned(), "1".to_owned())]);
        assert_eq!(show(&rule(base(&[]), &refused, true)), "NO_COLOR=1\n");
        let taken_back = base(&[("NO_COLOR", "")]);
        assert_eq!(
            show(&rule(taken_back, &none(), true)),
            format!("{all}NO_COLOR=\n")
        );
        let ctx = ServerEnv {
            color_hints: true,
            ..ALONE
        };
        let python = "PYTHONDONTWRITEBYTECODE=1\nPYTHONUNBUFFERED=1\n";
        let own = "DEVWATCH=1\nDEVWATCH_GENERATION=7\n";
        assert_eq!(
            show(&server(base(&[]), Vec::new(), &none(), ctx)),
            format!("CARGO_TERM_COLOR=always\nCLICOLOR_FORCE=1\n{own}FORCE_COLOR=1\n{python}")
        );
        let files = pairs(&[("NO_COLOR", "1")]);
        assert_eq!(
            show(&server(base(&[]), files, &none(), ctx)),
            format!("{own}NO_COLOR=1\n{python}")
        );
    }

    #[test]
    fn later_env_files_come_later_and_missing_ones_are_nothing() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let (first, second) = (folder.path().join(".env"), folder.path().join(".env.local"));
        fs::write(
            &first,
            "\u{feff}# comment\nA=1\nexport B='two words'\n\nC=\"x\ny\"\n",
        )
        .expect("writable");
        fs::write(&second, "A=2\n").expect("writable");
        let read =
            read_env_files(&[first, folder.path().join("missing"), second]).expect("good files");
        assert_eq!(
            read,
            pairs(&[("A", "1"), ("B", "two words"), ("C", "x\ny"), ("A", "2")])
        );
    }

    #[test]
    fn a_bad_line_is_told_by_file_and_number() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join(".env");
        fs::write(&path, "A=1\nM=\"x\ny\"\nB=two words\nC=1\n").expect("writable");
        let error = read_env_files(std::slice::from_ref(&path))
            .expect_err("line 4 is bad")
            .to_string();
        let expected =
            "cannot understand \"B=two words\"; write NAME=value, with quotes around spaces";
        assert_eq!(error, format!("{}:4: {expected}", path.display()));
        fs::write(&path, "A=1\n\n# that's it\nB=\"open\nC=1\n").expect("writable");
        let error = read_env_files(std::slice::from_ref(&path))
            .expect_err("no end")
            .to_string();
        assert!(
            error.starts_with(&format!("{}:4: ", path.display())),
            "{error}"
        );
        fs::write(&path, [0xff, 0xfe, b'A']).expect("writable");
        let error = read_env_files(std::slice::from_ref(&path))
            .expect_err("no text")
            .to_string();
        assert!(
            error.starts_with(&format!("{}: cannot be read: ", path.display())),
            "{error}"
        );
    }

    #[test]
    fn an_env_file_that_is_a_pipe_is_refused_without_waiting_for_its_writer() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join(".env");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let error = read_env_files(std::slice::from_ref(&path)).expect_err("no file");
        let expected = format!("{}: cannot be read: not a regular file", path.display());
        assert_eq!(error.to_string(), expected);
        let folder = folder.path().to_owned();
        let error = read_env_files(std::slice::from_ref(&folder)).expect_err("no file");
        assert!(error.to_string().ends_with("not a regular file"), "{error}");
    }
}
