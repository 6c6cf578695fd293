//! 5 RESTART. What the station knows and holds; what it decides is the supervisor's.
//!
//! `sockets` holds what the server listens on, `environment` says what a server is started with, `evidence` reads
//! from the kernel who takes connections, `notify_socket` hears a server say that it is ready, and `ready` watches a
//! new generation until one of these shows it. `contract` holds what is known of servers that hand over by
//! themselves, `successor` finds whom such a server has started, and `fds` is the last link of a shell pipeline that
//! hands sockets on.

pub mod contract;
mod diag;
pub mod environment;
pub mod evidence;
pub mod fds;
pub mod notify_socket;
pub mod ready;
pub mod sockets;
pub mod successor;

#[cfg(test)]
mod trial;
