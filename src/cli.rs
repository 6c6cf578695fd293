//! What was typed. The one source of help; what it means is `run`'s business.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::detect::As;
use crate::show::{Color, Wanted};

/// Rebuilds and restarts your server when you save, and proves that the new code is what answers.
///
/// Without a config devwatch recognises Go, Rust, Node and Python projects. While it runs: q quits, r rebuilds,
/// R restarts from cold; Ctrl-C quits, a second one at once.
#[derive(Debug, Parser)]
#[command(version, override_usage = USAGE, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do; without a subcommand: watch, build, serve.
    #[command(subcommand)]
    pub action: Option<Action>,

    /// Where from and how.
    #[command(flatten)]
    pub place: Place,

    /// As what devwatch shows itself.
    #[command(flatten)]
    pub show: Show,

    /// Run CMD as the server, and restart it when any source changes; no config is read
    #[arg(last = true, value_name = "CMD", conflicts_with_all = ["config", "kind"])]
    pub command: Vec<String>,
}

/// Which project, and how it is understood.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// Read this config; its paths count from the working directory
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Change to DIR first
    #[arg(short = 'C', long = "dir", value_name = "DIR", global = true)]
    pub dir: Option<PathBuf>,

    /// Take the project for KIND (go, cargo, node or python), and TARGET for what it runs: go:./cmd/api
    #[arg(
        long = "as",
        value_name = "KIND[:TARGET]",
        global = true,
        conflicts_with = "config"
    )]
    pub kind: Option<As>,
}

/// As what devwatch shows itself, and in colour or not.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// Show the screen (full), lines (plain) or events (json); auto: the screen if a person sits in front of it
    #[arg(
        long,
        value_name = "MODE",
        value_enum,
        global = true,
        hide_possible_values = true
    )]
    ui: Option<Wanted>,

    /// Print plain lines and read no keys, even on a terminal: --ui plain
    #[arg(long, alias = "no-tui", global = true, conflicts_with = "ui")]
    plain: bool,

    /// Use colour always, never, or (auto) as NO_COLOR and FORCE_COLOR say, else on a terminal
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        global = true,
        hide_possible_values = true
    )]
    pub color: Option<Color>,
}

impl Show {
    /// As what devwatch is wanted to show itself, where that was typed.
    pub fn ui(&self) -> Option<Wanted> {
        if self.plain {
            return Some(Wanted::Plain);
        }
        self.ui
    }
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Read the config, report every mistake in it, and say what was understood
    Check,
    /// Run the rules that are due, once, without a server: exit code 1 if one fails
    Build {
        /// Run every rule, whatever it made last
        #[arg(long)]
        force: bool,
    },
    /// Write a commented devwatch.toml for the project found here
    Init,
    /// Take on the sockets handed down a shell pipeline: stamp LISTEN_PID and become CMD
    Fds {
        /// The server, at the end of the pipeline
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
}

const USAGE: &str = "\
devwatch [OPTIONS] [-- CMD...]
       devwatch [OPTIONS] <COMMAND>";

const EXAMPLES: &str = "\
Examples:
  devwatch                         in a Go, Rust, Node or Python project
  devwatch -- ./server --port 80   this command, restarted on every save
  devwatch --as go:./cmd/api       one of several programs
  devwatch init                    write down what was detected, to change it

Exit codes: 0 quit, 1 a rule failed (build), 2 usage or config, 6 another devwatch runs here, 7 cannot watch, 128+n signal n.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
