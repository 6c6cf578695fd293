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
//! | 2 plan | [`rules`] | changed paths become a plan: which rules, and what it means for the server |
//! | 3 decide | [`supervisor`] | facts become orders; all policy, pure |
//! | 4 build | [`process`], [`outputs`] | a guardian process runs commands; what they wrote is read |
//! | 5 restart | [`restart`] | sockets that outlive servers, and the evidence that a server accepts |
//! | 6 show | [`plain`] | reports become lines |
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

pub mod cli;
pub mod config;
pub mod event_loop;
pub mod keys;
pub mod outputs;
pub mod performer;
pub mod plain;
pub mod process;
pub mod restart;
pub mod rules;
pub mod signals;
pub mod state;
pub mod supervisor;
pub mod watch;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use cli::{Action, Cli, Place};
use config::detect::DetectError;
use config::file::{FindError, LoadError};
use config::{Config, Origin, detect, file, init};
use event_loop::Setup;
use plain::Console;
use restart::sockets::BindError;
use state::{State, StateError};

/// Does what was typed. The exit code.
pub fn run(cli: Cli) -> i32 {
    match attempt(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", message(&error));
            exit_code(&error)
        }
    }
}

fn attempt(cli: Cli) -> Result<i32> {
    if let Some(dir) = &cli.place.dir {
        std::env::set_current_dir(dir)
            .with_context(|| format!("cannot change to {}", dir.display()))?;
    }
    let here = std::env::current_dir().context("the working directory is gone")?;
    let here = here
        .canonicalize()
        .context("the working directory is gone")?;
    match cli.action {
        Some(Action::Check) => check(&here, &cli.place),
        Some(Action::Init) => {
            let config = detect::detect(&here, cli.place.kind.as_ref())?;
            let path = init::write(&config, &here)?;
            println!("wrote {}", path.display());
            Ok(0)
        }
        None if cli.command.is_empty() => {
            let (config, settings) = understand(&here, &cli.place)?;
            watch_and_serve(config, settings, cli.plain)
        }
        None => watch_and_serve(
            detect::from_command(&here, cli.command),
            Vec::new(),
            cli.plain,
        ),
    }
}

/// Says what was understood; mistakes in the config are errors and come before that.
fn check(here: &Path, place: &Place) -> Result<i32> {
    let config = match config_file(here, place)? {
        Some((path, root)) => {
            let loaded = file::load(&path, &root)?;
            for hints in [&loaded.warnings, &loaded.survey()] {
                if !hints.is_empty() {
                    eprintln!("{hints}");
                }
            }
            loaded.config
        }
        None => detect::detect(here, place.kind.as_ref())?,
    };
    println!("{}", detect::describe(&config));
    Ok(0)
}

/// The config of the project around `here`, and the files that would change it.
fn understand(here: &Path, place: &Place) -> Result<(Config, Vec<PathBuf>)> {
    let Some((path, root)) = config_file(here, place)? else {
        return Ok((detect::detect(here, place.kind.as_ref())?, Vec::new()));
    };
    let loaded = file::load(&path, &root)?;
    if !loaded.warnings.is_empty() {
        eprintln!("{}", loaded.warnings);
    }
    Ok((loaded.config, vec![path]))
}

/// The config file that holds here, and the root of its project.
fn config_file(here: &Path, place: &Place) -> Result<Option<(PathBuf, PathBuf)>> {
    if let Some(path) = &place.config {
        return Ok(Some((here.join(path), here.to_owned())));
    }
    if place.kind.is_some() {
        return Ok(None);
    }
    let found = file::find(here)?;
    Ok(found.map(|path| {
        let root = file::root_of(&path);
        (path, root)
    }))
}

fn watch_and_serve(config: Config, settings: Vec<PathBuf>, plain: bool) -> Result<i32> {
    let console = Console::new();
    if !matches!(config.origin, Origin::File(_)) {
        for line in detect::describe(&config).lines() {
            console.line(&format!("note: {line}"));
        }
    }
    let state = State::open(&config.root)?;
    let keys = !plain && may_read_keys();
    event_loop::run(Setup {
        config,
        settings,
        state,
        console,
        keys,
    })
}

/// Keys belong to devwatch only where a person sits in front of it.
fn may_read_keys() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let foreground = || {
        nix::unistd::tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == nix::unistd::getpgrp())
    };
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    terminal && !dumb && std::env::var_os("CI").is_none() && foreground()
}

fn message(error: &anyhow::Error) -> String {
    if let Some(LoadError::Invalid(diagnostics)) = error.downcast_ref() {
        return diagnostics.to_string();
    }
    format!("devwatch: {error:#}")
}

/// Each way to end has a number that scripts can tell apart.
fn exit_code(error: &anyhow::Error) -> i32 {
    if error.is::<LoadError>() || error.is::<FindError>() || error.is::<DetectError>() {
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
