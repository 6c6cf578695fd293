//! A switch of debug builds by which a test has a thread panic, to see what becomes of the terminal and the children.
//!
//! With `DEVWATCH_FAILPOINT=NAME:FILE` the thread of that name (`main`, `screen`, `keys`, `reader`, ...) panics as soon
//! as it comes by and the file is there: so it can be made to happen at a chosen moment. In a release build nothing of
//! this exists. It is never used to change what devwatch does otherwise.

use std::path::Path;
use std::thread;

/// Panics if this thread has been chosen. Each thread that lives as long as devwatch passes here whenever it has
/// something to do.
///
/// # Panics
/// That is what it is for.
pub fn pass() {
    if !cfg!(debug_assertions) {
        return;
    }
    let Some(wanted) = std::env::var_os("DEVWATCH_FAILPOINT") else {
        return;
    };
    let wanted = wanted.to_string_lossy();
    if let Some((name, file)) = wanted.split_once(':')
        && thread::current().name() == Some(name)
        && Path::new(file).exists()
    {
        panic!("failpoint {name}");
    }
}
