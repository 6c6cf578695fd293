//! 3 DECIDE. skeleton
pub mod generation;
pub mod plan;
