//! Where the listening sockets come from: handed on as LISTEN_FDS, under a number, or our own.

use std::env;
use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, RawFd};
use std::process;

use crate::say;

/// The first descriptor after stdin, stdout and stderr.
pub const FIRST_FD: RawFd = 3;

/// What the command line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `-addr HOST:PORT`: where to open a socket of our own.
    pub addr: Option<String>,
    /// `-socket FD`: a socket that the predecessor has opened.
    pub socket: Option<RawFd>,
}

/// Where the sockets come from, which decides what becomes of their queue when we leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Whoever started us has opened them, and keeps them open.
    HandedOn,
    /// We have.
    Own,
}

impl Arguments {
    /// Those of this process. Wrong ones are the end of it.
    pub fn of_this_process() -> Arguments {
        Arguments::parse(env::args().skip(1)).unwrap_or_else(|error| {
            eprintln!("{error}; usage: [-addr HOST:PORT] [-socket FD]");
            process::exit(2)
        })
    }

    fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments::default();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} has no value"))?;
            match word.trim_start_matches('-') {
                "addr" => arguments.addr = Some(value),
                "socket" => {
                    let fd = value.parse().ok().filter(|fd| *fd >= FIRST_FD);
                    arguments.socket =
                        Some(fd.ok_or_else(|| format!("\"{value}\" is no descriptor"))?);
                }
                _ => return Err(format!("unknown argument {word}")),
            }
        }
        Ok(arguments)
    }
}

/// The sockets in LISTEN_FDS, or one of our own.
///
/// # Errors
/// A variable is no number, a descriptor is no TCP socket, or the port is taken.
pub fn given_or_own(arguments: &Arguments) -> io::Result<(Vec<TcpListener>, Origin)> {
    let meant_for = number("LISTEN_PID")?;
    let count = match meant_for.is_none_or(|pid| pid == process::id()) {
        true => number("LISTEN_FDS")?.unwrap_or(0),
        false => 0,
    };
    if count == 0 {
        return Ok((vec![own(arguments)?], Origin::Own));
    }
    let given: io::Result<Vec<_>> = (FIRST_FD..).take(count as usize).map(given).collect();
    Ok((given?, Origin::HandedOn))
}

/// The socket that we were given as this descriptor.
///
/// # Errors
/// It is no TCP socket.
pub fn given(fd: RawFd) -> io::Result<TcpListener> {
    // SAFETY: whoever started us says that this descriptor is for us; each is taken once, before we open any.
    let listener = unsafe { TcpListener::from_raw_fd(fd) };
    match listener.local_addr() {
        Ok(address) => {
            say(format_args!("got http://{address} as descriptor {fd}"));
            Ok(listener)
        }
        Err(error) => {
            // Not ours to close, whatever it is.
            std::mem::forget(listener);
            Err(io::Error::new(
                error.kind(),
                format!("descriptor {fd} is no TCP socket: {error}"),
            ))
        }
    }
}

/// A socket of our own.
///
/// # Errors
/// The port is taken, or is none.
pub fn own(arguments: &Arguments) -> io::Result<TcpListener> {
    let address = match &arguments.addr {
        Some(address) => address.clone(),
        None => format!("127.0.0.1:{}", number("PORT")?.unwrap_or(8080)),
    };
    let listener = TcpListener::bind(&address).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })?;
    say(format_args!("opened http://{}", listener.local_addr()?));
    Ok(listener)
}

fn number(name: &str) -> io::Result<Option<u32>> {
    match env::var_os(name) {
        None => Ok(None),
        Some(text) => match text.to_str().and_then(|text| text.parse().ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(io::Error::other(format!("{name}={text:?} is no number"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;

    #[test]
    fn arguments_come_with_one_dash_or_two() {
        let parse = |line: &str| Arguments::parse(line.split_whitespace().map(str::to_owned));
        let both = parse("-socket 3 --addr 127.0.0.1:0").expect("good");
        assert_eq!(both.socket, Some(3));
        assert_eq!(both.addr.as_deref(), Some("127.0.0.1:0"));
        for line in ["-socket", "-socket 2", "-socket x", "-port 1"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
