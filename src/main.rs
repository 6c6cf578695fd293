//! Arguments in, exit code out.

use std::process::exit;

use clap::Parser as _;
use devwatch::cli::Cli;

fn main() {
    // The same executable is devwatch's guardian: it must not wait for anything else.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == "__guardian")
    {
        devwatch::process::guardian_main();
    }
    exit(devwatch::run(Cli::parse()));
}
