//! 6 SHOW. The screen on a terminal.

pub mod keys;
