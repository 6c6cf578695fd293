//! Asks the kernel about TCP sockets by netlink (`sock_diag`): the same as `/proc/net/tcp` shows, but only what is
//! asked for.
//!
//! For `evidence`. The files in `/proc` walk the whole table of connections at every read, which takes some 10 ms
//! each, however few there are; this takes some 10 µs. Where it cannot be asked (no such module, a sandbox, not
//! Linux) the answer is `None`, and `/proc` is read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::evidence::{TcpRow, TcpState};

/// The socket of `local` that is connected to `remote`. The inner `None`: there is none.
#[cfg(target_os = "linux")]
pub(super) fn connection(local: SocketAddr, remote: SocketAddr) -> Option<Option<TcpRow>> {
    match ask(&request(Question::Connection(local, remote)))? {
        Answer::Rows(rows) => Some(
            rows.into_iter()
                // Without a connection the kernel names who would accept it.
                .find(|row| row.state != TcpState::Listen),
        ),
        Answer::NoSuchSocket => Some(None),
    }
}

/// The sockets that listen, IPv4 before IPv6.
#[cfg(target_os = "linux")]
pub(super) fn listening() -> Option<Vec<TcpRow>> {
    let mut all = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        match ask(&request(Question::Listening(family as u8)))? {
            Answer::Rows(rows) => all.extend(rows),
            // No IPv6 here.
            Answer::NoSuchSocket => {}
        }
    }
    Some(all)
}

/// Elsewhere nobody answers.
#[cfg(not(target_os = "linux"))]
pub(super) fn connection(_local: SocketAddr, _remote: SocketAddr) -> Option<Option<TcpRow>> {
    None
}

/// Elsewhere nobody answers.
#[cfg(not(target_os = "linux"))]
pub(super) fn listening() -> Option<Vec<TcpRow>> {
    None
}

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct inet_diag_msg`.
const ROW: usize = 72;
/// `SOCK_DIAG_BY_FAMILY`, as question and as answer.
const BY_FAMILY: u16 = 20;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `TCP_LISTEN`.
const LISTEN: u8 = 10;

enum Question {
    Connection(SocketAddr, SocketAddr),
    /// Of this address family.
    Listening(u8),
}

enum Answer {
    Rows(Vec<TcpRow>),
    NoSuchSocket,
}

/// What one datagram of the kernel's says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Part {
    rows: Vec<TcpRow>,
    /// More datagrams follow.
    more: bool,
    error: Option<i32>,
}

#[cfg(target_os = "linux")]
fn ask(request: &[u8]) -> Option<Answer> {
    use std::os::fd::AsRawFd;

    use nix::errno::Errno;
    use nix::sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
        socket,
    };

    let flags = SockFlag::SOCK_CLOEXEC;
    let protocol = SockProtocol::NetlinkSockDiag;
    let line = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).ok()?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(line.as_raw_fd(), request, &kernel, MsgFlags::empty()).ok()?;
    let mut rows = Vec::new();
    let mut bytes = vec![0; 32 << 10];
    loop {
        // The kernel has answered by the time that sending returns, or does so within this call.
        let got = match recv(line.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            Ok(got) => got,
            Err(Errno::EINTR) => continue,
            Err(_) => return None,
        };
        let part = parse(&bytes[..got])?;
        match part.error {
            Some(libc::ENOENT) => return Some(Answer::NoSuchSocket),
            Some(_) => return None,
            None => {}
        }
        rows.extend(part.rows);
        if !part.more {
            return Some(Answer::Rows(rows));
        }
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(question: Question) -> Vec<u8> {
    const REQUEST: u16 = 1;
    const DUMP: u16 = 0x300;
    let any: SocketAddr = (Ipv4Addr::UNSPECIFIED, 0).into();
    let (family, states, flags, local, remote) = match question {
        Question::Connection(local, remote) => {
            let (local, remote) = (canonical(local), canonical(remote));
            let family = if local.is_ipv4() {
                libc::AF_INET
            } else {
                libc::AF_INET6
            };
            (family as u8, u32::MAX, REQUEST, local, remote)
        }
        Question::Listening(family) => (family, 1 << LISTEN, REQUEST | DUMP, any, any),
    };
    let mut bytes = Vec::new();
    bytes.extend(72u32.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family, libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    for ip in [local.ip(), remote.ip()] {
        let octets = match ip {
            IpAddr::V4(v4) => [&v4.octets()[..], &[0; 12]].concat(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        bytes.extend(octets);
    }
    // Any interface, and whatever its cookie.
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    bytes
}

/// Reads one datagram; `None` if it makes no sense.
fn parse(mut datagram: &[u8]) -> Option<Part> {
    let mut part = Part::default();
    while !datagram.is_empty() {
        let length = usize::try_from(number(datagram, 0)?).ok()?;
        let kind = u16::from_ne_bytes(piece(datagram, 4)?);
        let flags = u16::from_ne_bytes(piece(datagram, 6)?);
        let message = datagram.get(HEADER..length)?;
        match kind {
            DONE => {
                part.more = false;
                return Some(part);
            }
            ERROR => {
                part.error = Some((number(message, 0)? as i32).wrapping_neg());
                return Some(part);
            }
            BY_FAMILY => {
                part.rows.extend(row(message)?);
                const MULTI: u16 = 2;
                part.more = flags & MULTI != 0;
            }
            _ => return None,
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Some(part)
}

/// One `struct inet_diag_msg`; the inner `None`: of a family that is none of ours.
fn row(message: &[u8]) -> Option<Option<TcpRow>> {
    let message = message.get(..ROW)?;
    let ip = |at: usize| -> Option<Option<IpAddr>> {
        Some(match libc::c_int::from(message[0]) {
            libc::AF_INET => Some(Ipv4Addr::from(piece::<4>(message, at)?).into()),
            libc::AF_INET6 => Some(Ipv6Addr::from(piece::<16>(message, at)?).into()),
            _ => None,
        })
    };
    let port = |at: usize| Some(u16::from_be_bytes(piece(message, at)?));
    let (Some(local), Some(remote)) = (ip(8)?, ip(24)?) else {
        return Some(None);
    };
    Some(Some(TcpRow {
        local: SocketAddr::new(local, port(4)?),
        remote: SocketAddr::new(remote, port(6)?),
        state: TcpState::of(message[1]),
        uid: number(message, 64)?,
        inode: number(message, 68)?.into(),
    }))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(piece(bytes, at)?))
}

fn piece<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The kernel finds the IPv4 client of a dual-stack socket by its IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use proptest::prelude::*;

    use super::super::evidence::tcp_rows;
    use super::super::trial::{have_ipv6, until};
    use super::*;

    fn inode(socket: &impl AsFd) -> u64 {
        nix::sys::stat::fstat(socket).expect("open").st_ino
    }

    #[test]
    fn the_kernel_tells_by_netlink_what_it_shows_in_proc() {
        let mut hosts = vec!["127.0.0.1:0", "0.0.0.0:0"];
        hosts.extend(["[::1]:0", "[::]:0"].iter().filter(|_| have_ipv6()));
        for host in hosts {
            let listener = TcpListener::bind(host).expect("a free port");
            let address = listener.local_addr().expect("bound");
            let Some(listening) = listening() else {
                return println!("skipped: no sock_diag here");
            };
            let ours = |rows: &[TcpRow]| -> Vec<TcpRow> {
                let ours = rows.iter().filter(|row| row.inode == inode(&listener));
                ours.copied().collect()
            };
            assert_eq!(ours(&listening), ours(&tcp_rows()), "{host}");
            assert_eq!(ours(&listening).len(), 1, "{host}");
            // To a dual-stack socket by IPv4.
            let to = SocketAddr::new(
                if host == "[::1]:0" {
                    Ipv6Addr::LOCALHOST.into()
                } else {
                    Ipv4Addr::LOCALHOST.into()
                },
                address.port(),
            );
            let client = TcpStream::connect(to).expect("it listens");
            let ask = || {
                let (server, client) = (client.peer_addr(), client.local_addr());
                connection(server.expect("connected"), client.expect("connected"))
                    .expect("it answered before")
            };
            let queued = until("it is queued", ask);
            assert_eq!((queued.state, queued.inode), (TcpState::Established, 0));
            let (accepted, _) = listener.accept().expect("it is queued");
            let row = ask().expect("it is connected");
            assert_eq!(row.inode, inode(&accepted), "{host}");
            let shown = tcp_rows();
            let shown = shown.iter().find(|shown| shown.inode == row.inode);
            assert_eq!(shown.map(|row| row.state), Some(row.state));
            // Somebody who is not there, although the socket listens.
            let nobody = SocketAddr::new(to.ip(), 1);
            assert_eq!(connection(to, nobody), Some(None), "{host}");
        }
        let nobody = SocketAddr::from(([127, 0, 0, 9], 9));
        assert_eq!(connection(nobody, nobody), Some(None));
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_parser_panic(length in 0..200u32, kind in 0..24u16, rest: Vec<u8>) {
            let mut datagram = length.to_ne_bytes().to_vec();
            datagram.extend(kind.to_ne_bytes());
            datagram.extend(rest);
            parse(&datagram);
        }
    }
}
