//! The shortest way through the house.

use nix::sys::signal::Signal;

use crate::project::{Project, built_example, free_port, get};

/// A rule that copies, and a server that answers with what was copied: a build that takes no time.
fn copying(port: u16) -> Project {
    let project = Project::new();
    let child = built_example("child");
    project.write(
        "devwatch.toml",
        &format!(
            "[[rule]]\nname = \"copy\"\nfiles = [\"source.txt\"]\nrun = [\"cp\", \"source.txt\", \"built.txt\"]\noutputs = [\"built.txt\"]\n\
             [server]\nrun = [\"{}\", \"tag\", \"{}\", \"listen\", \"127.0.0.1:{port}\", \"serve-file\", \"built.txt\"]\n",
            child.display(),
            project.root().display(),
        ),
    );
    project.write("source.txt", "one");
    project
}

#[test]
fn a_save_is_built_and_served_and_nothing_is_left() {
    let port = free_port();
    let project = copying(port);
    let mut devwatch = project.devwatch(&[]);
    devwatch.end("serving");
    assert_eq!(get(port).expect("an answer"), "one");
    project.write("source.txt", "two");
    devwatch.end("serving");
    assert_eq!(get(port).expect("an answer"), "two");
    devwatch.signal(Signal::SIGTERM);
    assert_eq!(devwatch.ended().code(), Some(143));
}
