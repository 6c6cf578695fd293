//! `DEVWATCH_LOG`: what goes on inside, line by line, for whoever looks for the reason of something.
//!
//! `DEVWATCH_LOG=watch=debug` traces every event of the kernel, what it became and why it was dropped;
//! `supervisor=debug` each fact and the orders that followed, as the timelines in the tests have them; `debug` both.
//! The lines go the way of all lines, so they never break into one that an app has not finished.

use std::time::Instant;

use crate::console::Console;

/// Writes what `DEVWATCH_LOG` asks for on `console` from now on: `target=level`, separated by commas. A second call
/// changes nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "times in the log count from here"
)]
pub fn start(console: &Console) {
    let (console, begun) = (console.clone(), Instant::now());
    let _ = env_logger::Builder::new()
        .parse_env("DEVWATCH_LOG")
        .format(move |_, record| {
            console.line(&format!(
                "{}: {:<8.3} {}: {}",
                record.level().as_str().to_lowercase(),
                begun.elapsed().as_secs_f64(),
                record.target(),
                record.args()
            ));
            Ok(())
        })
        .try_init();
}
