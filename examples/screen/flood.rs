//! A server that prints: nothing, so many lines a second, or a gigabyte.

use std::io::{BufWriter, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use super::Outcome;

/// Prints as `load` says, and then waits to be stopped.
pub(super) fn flood(load: &[String]) -> Outcome {
    let mut out = BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    writeln!(out, "ready")?;
    out.flush()?;
    match load.first().map_or("0", String::as_str) {
        "0" => {}
        "gigabyte" => {
            let mut written = 0;
            let mut number = 0;
            while written < 1 << 30 {
                written += line(&mut out, number)?;
                number += 1;
            }
            writeln!(out, "flooded")?;
        }
        rate => {
            let rate: u64 = rate.parse()?;
            let begun = Instant::now();
            // As loggers do: in bursts, a hundred times a second.
            for burst in 0.. {
                for number in 0..rate / 100 {
                    line(&mut out, burst * (rate / 100) + number)?;
                }
                out.flush()?;
                let next = begun + Duration::from_millis(10 * (burst + 1));
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }
    }
    out.flush()?;
    loop {
        thread::park();
    }
}

/// 80 columns, with a colour, as servers print them. How many bytes that is.
fn line(out: &mut impl std::io::Write, number: u64) -> Outcome<usize> {
    let text = format!(
        "14:02:03.114 \x1b[32mINFO\x1b[0m  line {number:>9} GET /api/orders?user=7 200 214ms rows=20 ok\n"
    );
    out.write_all(text.as_bytes())?;
    Ok(text.len())
}
