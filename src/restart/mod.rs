//! 5 RESTART. What the station knows and holds; what it decides is the supervisor's.
//!
//! `sockets` holds what the server listens on, `environment` says what a server is started with, `evidence` reads
//! from the kernel who takes connections, `notify_socket` hears a server say that it is ready, and `ready` watches a
//! new generation until one of these shows it.

pub mod environment;
pub mod evidence;
pub mod notify_socket;
pub mod ready;
pub mod sockets;

#[cfg(test)]
mod trial;
