//! What the server says. Change it, save, and look at http://127.0.0.1:8080/ again.

/// The answer to `GET /`.
pub const GREETING: &str = "hello from Rust, version 1";
