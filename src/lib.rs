//! devwatch rebuilds and restarts a server when its sources are saved, and proves that the new code is what
//! answers.
//!
//! # The way through the house
//!
//! A saved file flows in one direction, and the modules are its stations:
//!
//! | station | module | what it does |
//! |---|---|---|
//! | 1 see | [`watch`] | kernel events become changed paths whose content differs |
//! | 2 plan | [`rules`], [`readers`] | changed paths become a plan: which rules, and what it means for the server |
//! | 3 decide | [`supervisor`] | facts become orders; all policy, pure |
//! | 4 build | [`builds`], [`process`] | rules at work; a guardian process runs their commands |
//! |   | [`incremental`] | what need not be built: outputs by content, what earlier runs made of which inputs |
//! |   | [`diagnostics`] | what rules print becomes problems: file, line, column |
//! | 5 restart | [`restart`], [`servers`] | sockets that outlive servers, and the evidence that a server accepts |
//! | 6 show | [`teller`] | what is known is put together, what happens is told |
//! |   | [`console`], [`plain`] | reports become lines |
//! |   | [`events`] | what happens becomes JSON for programs |
//! |   | [`overview`], [`history`], [`screen`] | what is and what was becomes cells |
//!
//! [`config`] describes what to do, [`event_loop`] is the only loop and the only clock, [`performer`] carries
//! out what the supervisor orders. The edges know only the supervisor's vocabulary; the supervisor knows nobody.
//!
//! # What always holds
//!
//! * The supervisor reads no clock, does no IO and cannot fail; the same facts give the same orders.
//! * Events from the kernel are hints: the tree itself, compared with a snapshot, says what changed.
//! * Nothing touches the serving process before every rule has succeeded and what it serves from differs.
//! * Every build and server is a descendant of the guardian, which ends them when devwatch ends, however it does.
//! * A process is gone when it was reaped, never because a pipe was closed.

pub mod builds;
pub mod cli;
pub mod config;
pub mod console;
pub mod diagnostics;
pub mod event_loop;
pub mod events;
pub mod failpoint;
pub mod gaps;
pub mod history;
pub mod incremental;
pub mod logging;
pub mod overview;
pub mod performer;
pub mod plain;
pub mod process;
pub mod readers;
pub mod restart;
pub mod rules;
pub mod screen;
pub mod servers;
pub mod show;
pub mod signals;
pub mod state;
pub mod supervisor;
pub mod teller;
pub mod terminal;
pub mod watch;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use cli::{Action, Cli, Place};
use config::detect::DetectError;
use config::file::{FindError, LoadError, Loaded};
use config::user::User;
use config::{Config, Origin, detect, file, init, user};
use console::Console;
use event_loop::{Setup, Task};
use restart::sockets::BindError;
use screen::Printed;
use show::{Color, Mode, Surroundings, Wanted};
use state::{State, StateError};

/// Does what was typed. The exit code.
pub fn run(cli: Cli) -> i32 {
    match attempt(cli) {
        Ok(code) => code,
        Err(error) => {
            complain(&message(&error));
            exit_code(&error)
        }
    }
}

fn attempt(cli: Cli) -> Result<i32> {
    if let Some(dir) = &cli.place.dir {
        std::env::set_current_dir(dir)
            .map_err(|error| Usage(format!("cannot change to {}: {error}", dir.display())))?;
    }
    let here = std::env::current_dir().context("the working directory is gone")?;
    let here = here
        .canonicalize()
        .context("the working directory is gone")?;
    match cli.action {
        Some(Action::Check) => {
            let understood = understand(&here, &cli.place)?;
            if let Some(loaded) = &understood.loaded {
                let survey = loaded.survey();
                if !survey.is_empty() {
                    complain(&survey.to_string());
                }
            }
            user::load()?;
            say(&detect::describe(&understood.config));
            Ok(0)
        }
        Some(Action::Build { force }) => {
            let look = look(&cli.show, Task::Once { force })?;
            let Understood {
                mut config,
                settings: _,
                ..
            } = understand(&here, &cli.place)?;
            config.server = None;
            go(config, Vec::new(), look, Task::Once { force })
        }
        Some(Action::Init) => {
            if let Some(path) = &cli.place.config {
                let why = format!(
                    "init writes devwatch.toml in the working directory, not {}; leave -c out, or say where with -C DIR",
                    path.display()
                );
                return Err(Usage(why).into());
            }
            // Said first: that a config is there explains more than that nothing could be detected.
            init::free_path(&here)?;
            let config = detect::detect(&here, cli.place.kind.as_ref())?;
            let path = init::write(&config, &here)?;
            say(&format!("wrote {}", path.display()));
            Ok(0)
        }
        Some(Action::Fds { command }) => {
            let program = command
                .first()
                .map(|program| program.to_string_lossy().into_owned());
            // It comes back only where it could not become the command.
            Err(restart::fds::fds(&command))
                .with_context(|| format!("cannot run {}", program.unwrap_or_default()))
        }
        None => {
            let look = look(&cli.show, Task::UntilQuit)?;
            if !cli.command.is_empty() {
                let config = detect::from_command(&here, cli.command);
                return go(config, Vec::new(), look, Task::UntilQuit);
            }
            let understood = understand(&here, &cli.place)?;
            go(
                understood.config,
                understood.settings,
                look,
                Task::UntilQuit,
            )
        }
    }
}

/// What is known of a project before anything runs.
struct Understood {
    config: Config,
    /// The files that would change it.
    settings: Vec<PathBuf>,
    /// The file it was read from, for more to be said about it.
    loaded: Option<Loaded>,
}

/// The config of the project around `here`.
fn understand(here: &Path, place: &Place) -> Result<Understood> {
    let found = match &place.config {
        Some(path) => Some((here.join(path), here.to_owned())),
        None if place.kind.is_some() => None,
        None => file::find(here)?.map(|path| {
            let root = file::root_of(&path);
            (path, root)
        }),
    };
    let Some((path, root)) = found else {
        let config = detect::detect(here, place.kind.as_ref())?;
        return Ok(Understood {
            config,
            settings: Vec::new(),
            loaded: None,
        });
    };
    let loaded = file::load(&path, &root)?;
    if !loaded.warnings.is_empty() {
        complain(&loaded.warnings.to_string());
    }
    Ok(Understood {
        config: loaded.config.clone(),
        settings: vec![path],
        loaded: Some(loaded),
    })
}

/// How devwatch shows itself, and to whom.
struct Look {
    show: Mode,
    colors: bool,
    color_hints: bool,
    user: User,
}

/// What was typed counts, then what the user's own file says.
fn look(typed: &cli::Show, task: Task) -> Result<Look> {
    let user = user::load()?;
    let around = Surroundings::look();
    let color = typed.color.unwrap_or(user.ui.color);
    let show = match task {
        Task::UntilQuit => {
            show::mode(typed.ui(), user.ui.mode, &around).map_err(|why| Usage(why.to_string()))?
        }
        Task::Once { .. } => {
            if typed.ui() == Some(Wanted::Full) {
                let why = "build runs once and shows no screen; leave --ui full out";
                return Err(Usage(why.to_string()).into());
            }
            match typed.ui().unwrap_or(user.ui.mode) {
                Wanted::Json => Mode::Json,
                Wanted::Auto | Wanted::Full | Wanted::Plain => Mode::Plain,
            }
        }
    };
    let colors = match show {
        Mode::Full => show::colors(color, &around, around.stdout),
        // Scripts and editors read these lines, so nothing but an order colours them.
        Mode::Plain => color == Color::Always,
        Mode::Json => false,
    };
    Ok(Look {
        show,
        colors,
        color_hints: show::color_hints(show, color, &around),
        user,
    })
}

/// A framework that hands over by itself, seen in `go.mod`: said, never applied by itself.
fn suggest_preset(config: &Config, console: &Console) {
    let plain = config
        .server
        .as_ref()
        .is_some_and(|server| server.hands_over().is_none() && server.hot.preset.is_none());
    let go_mod = std::fs::read_to_string(config.root.join("go.mod")).unwrap_or_default();
    if let Some(preset) = restart::contract::suggested(&go_mod).filter(|_| plain) {
        console.note(&format!(
            "go.mod requires {preset}, which hands its socket over: restart = \"hot\" under [server] and \
             preset = \"{preset}\" under [server.hot] would restart it without a gap"
        ));
    }
}

fn go(config: Config, settings: Vec<PathBuf>, look: Look, task: Task) -> Result<i32> {
    let printed = Printed::new();
    let console = match look.show {
        Mode::Full => Console::screen(printed.clone()),
        Mode::Plain => Console::new(),
        Mode::Json => Console::events(),
    };
    logging::start(&console);
    if !matches!(config.origin, Origin::File(_)) {
        for line in detect::describe(&config).lines() {
            console.note(line);
        }
    }
    suggest_preset(&config, &console);
    let state = State::open(&config.root)?;
    let screen = match look.show {
        Mode::Full => {
            let mut files = settings.clone();
            files.extend(user::path().filter(|path| path.exists()));
            let scratch = state::folder(&config.root);
            let settings = screen::Settings::new(&look.user, look.colors, &files, scratch);
            Some((settings, printed))
        }
        Mode::Plain | Mode::Json => None,
    };
    event_loop::run(Setup {
        config,
        settings,
        state,
        console,
        color_hints: look.color_hints,
        screen,
        task,
    })
}

/// Prints an answer. Whoever asked and reads no more (`| head -1`) has what they wanted.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}

/// What was typed makes no sense here.
#[derive(Debug)]
struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

fn message(error: &anyhow::Error) -> String {
    if let Some(LoadError::Invalid(diagnostics)) = error.downcast_ref() {
        return diagnostics.to_string();
    }
    format!("devwatch: {error:#}")
}

/// Each way to end has a number that scripts can tell apart.
fn exit_code(error: &anyhow::Error) -> i32 {
    let config = error.is::<FindError>() || error.is::<LoadError>() || error.is::<DetectError>();
    if error.is::<Usage>() || config {
        2
    } else if let Some(StateError::Taken { .. }) = error.downcast_ref() {
        6
    } else if error.is::<performer::CannotWatch>() {
        7
    } else if error.is::<BindError>() {
        2
    } else {
        1
    }
}
