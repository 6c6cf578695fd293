//! devwatch as a whole and its parts that only real processes can prove.
//!
//! Nothing here sleeps for a guess: everything waits for an event or a condition, with a deadline.
#![expect(
    clippy::disallowed_methods,
    reason = "tests start processes, read the clock for deadlines and poll conditions"
)]
#![allow(
    unreachable_pub,
    reason = "one binary; pub marks what a test may use of the fixture"
)]

mod command_line;
mod damage;
mod diagnostics;
mod dice;
mod editor_problems;
mod editors;
mod edits;
mod events;
mod faults;
mod guardian;
mod hand_over;
mod hand_over_faults;
mod hold;
mod hostile;
mod incremental;
mod kill;
mod loop_projects;
mod own_inputs;
mod problems;
mod project;
mod pty;
mod rule_graphs;
mod saves;
mod screen;
mod settings;
mod smoke;
mod terminal;
mod terminal_bytes;
mod terminal_ends;
mod watching;
