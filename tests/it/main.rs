//! devwatch as a whole and its parts that only real processes can prove.
//!
//! Nothing here sleeps for a guess: everything waits for an event or a condition, with a deadline.

mod guardian;
