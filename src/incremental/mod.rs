//! What need not be built: the outputs of rules by content, and what earlier runs made of which inputs.
//!
//! Nothing in here runs a command or decides that one runs: it says what is there, and whether that is what the
//! command would make.

pub mod outputs;
