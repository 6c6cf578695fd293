//! skeleton
pub mod config;
pub mod process;
pub mod restart;
pub mod supervisor;
pub mod watch;
