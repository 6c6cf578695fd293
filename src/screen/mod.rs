//! 6 SHOW. The screen on a terminal.

pub mod find;
pub mod keys;
pub mod log;
pub mod sanitise;
