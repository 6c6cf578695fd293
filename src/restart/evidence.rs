//! What the kernel shows about who takes connections: from `/proc` and from one connection of our own.
//!
//! For `ready`, which asks until a new generation is proven to accept, and for a hand-over, which must know *which*
//! process answers while two generations share a socket. A successful `connect` alone is never evidence: the kernel
//! completes it into the backlog with nobody there. Pure parsers and thin readers; nothing here fails: what cannot be
//! read (another user's process, `hidepid`, not Linux) is reported as not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Pid;

use crate::config::Address;

use super::diag;
use super::sockets::connect_unix;

/// Whether this system shows other processes' sockets at all. Elsewhere every question here is answered with "not
/// seen".
pub const VISIBLE: bool = cfg!(target_os = "linux");

/// How long a connection of our own may take. On loopback it is immediate or the backlog is full.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);

/// What `/proc` shows about one listening socket and a set of processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accepting {
    /// None of them has it open.
    #[default]
    No,
    /// This one has it open, as every process does that inherited it; nothing shows that it waits for connections.
    Open(Pid),
    /// This one has it open and waits in poll or select, on what could not be read, or uses io_uring. Ask
    /// [`AttributedProbe`].
    Unclear(Pid),
    /// An epoll descriptor of this one waits for input on it. Go and tokio register when they *bind*, which may be
    /// long before they accept, so a caller that is about to stop an old server asks [`AttributedProbe`] too.
    Registered(Pid),
    /// A thread of this one sits in `accept` on it, or in poll or select for its input.
    By(Pid),
}

impl Accepting {
    /// The process it is about.
    pub fn pid(self) -> Option<Pid> {
        match self {
            Accepting::No => None,
            Accepting::Open(pid)
            | Accepting::Unclear(pid)
            | Accepting::Registered(pid)
            | Accepting::By(pid) => Some(pid),
        }
    }
}

/// The best that `/proc` shows for each of `inodes` (socket inodes of listening sockets), in their order, among
/// `pids`. Of equals the first pid wins.
pub fn accepting(pids: &[Pid], inodes: &[u64]) -> Vec<Accepting> {
    let mut best = vec![Accepting::No; inodes.len()];
    for &pid in pids {
        let files = open_files(pid);
        let open: BTreeSet<u64> = files
            .values()
            .filter_map(|file| file.socket())
            .filter(|inode| inodes.contains(inode))
            .collect();
        if open.is_empty() {
            continue;
        }
        let uring = files.values().any(|file| *file == File::IoUring);
        let registered: BTreeSet<u64> = files
            .iter()
            .filter(|(_, file)| **file == File::Epoll)
            .flat_map(|(fd, _)| epoll_inputs(&read(&format!("/proc/{pid}/fdinfo/{fd}"))))
            .collect();
        let mut polls = false;
        let mut accepted = BTreeSet::new();
        for thread in numbered(&format!("/proc/{pid}/task")) {
            match waits_in(&read(&format!("/proc/{pid}/task/{thread}/syscall"))) {
                Some(Waits::Accept(fd)) => {
                    accepted.extend(files.get(&fd).and_then(|file| file.socket()))
                }
                Some(Waits::Poll(set)) => {
                    polls = true;
                    let waits = set.inputs(&mut |at, buffer| read_memory(pid, at, buffer));
                    accepted.extend(
                        waits
                            .iter()
                            .filter_map(|fd| files.get(fd).and_then(|file| file.socket())),
                    );
                }
                None => {}
            }
        }
        for (inode, best) in inodes.iter().zip(&mut best) {
            if !open.contains(inode) {
                continue;
            }
            let seen = if accepted.contains(inode) {
                Accepting::By(pid)
            } else if registered.contains(inode) {
                Accepting::Registered(pid)
            } else if polls || uring {
                Accepting::Unclear(pid)
            } else {
                Accepting::Open(pid)
            };
            if rank(seen) > rank(*best) {
                *best = seen;
            }
        }
    }
    best
}

/// A listening socket of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Who has it open; the first of the pids asked about.
    pub pid: Pid,
    /// The socket's inode.
    pub inode: u64,
    /// Where it listens; a unix path is the one it was bound to, which may be relative or long renamed. Abstract
    /// names begin with `@`.
    pub address: Address,
}

/// The sockets on which `pids` listen, TCP first, each once.
pub fn listeners(pids: &[Pid]) -> Vec<Listener> {
    let owners = socket_owners(pids);
    if owners.is_empty() {
        return Vec::new();
    }
    let tcp = diag::listening()
        .unwrap_or_else(|| tcp_rows_with(" 0A "))
        .into_iter()
        .filter(|row| row.state == TcpState::Listen)
        .map(|row| (row.inode, Address::Tcp(row.local)));
    let unix = unix_rows()
        .into_iter()
        .filter(|row| row.listens)
        .map(|row| (row.inode, Address::Unix(row.path)));
    tcp.chain(unix)
        .filter_map(|(inode, address)| {
            owners.get(&inode).map(|&pid| Listener {
                pid,
                inode,
                address,
            })
        })
        .collect()
}

/// How many clients are connected to `pids` at the local ports of `listening`: what a drain still waits for. TCP
/// only.
pub fn connections(pids: &[Pid], listening: &[SocketAddr]) -> usize {
    let owners = socket_owners(pids);
    if owners.is_empty() {
        return 0;
    }
    connected(listening, |row, _| owners.contains_key(&row.inode))
}

/// How many clients are connected to one of these addresses and have not been accepted. Those that have hung up are in
/// the socket's queue too, but wait for nothing; devwatch's own probes wait for evidence, not for an answer.
pub fn unaccepted(listening: &[SocketAddr]) -> usize {
    let own = socket_owners(&[Pid::this()]);
    let probes =
        |other: &TcpRow, row: &TcpRow| other.local == row.remote && own.contains_key(&other.inode);
    connected(listening, |row, rows| {
        row.inode == 0 && !rows.iter().any(|other| probes(other, row))
    })
}

/// How many connections to these addresses `count`, given the rows of both ends of all that have to do with the port.
fn connected(listening: &[SocketAddr], counts: impl Fn(&TcpRow, &[TcpRow]) -> bool) -> usize {
    let ports: BTreeSet<u16> = listening.iter().map(SocketAddr::port).collect();
    let at = |port: u16| {
        let rows = rows_at(port);
        let here = |row: &&TcpRow| row.state == TcpState::Established && row.local.port() == port;
        rows.iter()
            .filter(here)
            .filter(|row| counts(row, &rows))
            .count()
    };
    ports.into_iter().map(at).sum()
}

/// The process, of all that can be seen, that has the socket with this inode open; the lowest pid.
pub fn owner(inode: u64) -> Option<Pid> {
    all_pids()
        .into_iter()
        .find(|&pid| sockets_of(pid).contains(&inode))
}

/// A connection of our own that is kept open, so that the kernel can tell who accepted it.
///
/// To the server it is a client that says nothing and leaves: no request, no log line in the servers tried.
pub struct AttributedProbe {
    connection: Connection,
    /// Unix only: the connections that were accepted before ours, by inode.
    before: BTreeSet<u64>,
    /// Unix only: the inode of the listening socket.
    listening: u64,
}

/// The connection of an [`AttributedProbe`].
#[derive(Debug)]
pub enum Connection {
    /// To a TCP socket.
    Tcp(TcpStream),
    /// To a unix socket.
    Unix(UnixStream),
}

/// What became of an [`AttributedProbe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attributed {
    /// It waits in the backlog: nobody has accepted it.
    Queued,
    /// This process accepted it (or was given it by the one that did).
    By(Pid),
    /// Somebody accepted it who is not among the processes asked about: during a hand-over, the other generation.
    Other,
    /// The server has closed it already; try another.
    Closed,
    /// The kernel shows no such row. For an instant that is normal; it stays so with TCP_DEFER_ACCEPT, which holds a
    /// silent connection back, and across network namespaces.
    Untold,
}

impl AttributedProbe {
    /// Connects to the socket that listens at `address` and has the inode `listening`. A wildcard host is reached
    /// through loopback. Takes at most 100 ms.
    ///
    /// # Errors: refused, backlog full (`WouldBlock` or `TimedOut`), no route, no permission.
    pub fn connect(address: &Address, listening: u64) -> io::Result<AttributedProbe> {
        let before = match address {
            Address::Tcp(_) => BTreeSet::new(),
            Address::Unix(_) => accepted_unix(listening),
        };
        Ok(AttributedProbe {
            connection: connect(address)?,
            before,
            listening,
        })
    }

    /// Who of `pids` has accepted it.
    pub fn look(&self, pids: &[Pid]) -> Attributed {
        match &self.connection {
            Connection::Tcp(stream) => {
                let (Ok(ours), Ok(theirs)) = (stream.local_addr(), stream.peer_addr()) else {
                    return Attributed::Closed;
                };
                let rows = match diag::connection(theirs, ours) {
                    Some(row) => row.into_iter().collect(),
                    None => rows_at(ours.port()),
                };
                match server_side(&rows, theirs, ours) {
                    ServerSide::Queued => Attributed::Queued,
                    ServerSide::Accepted(inode) => socket_owners(pids)
                        .get(&inode)
                        .map_or(Attributed::Other, |&pid| Attributed::By(pid)),
                    ServerSide::Closed => Attributed::Closed,
                    ServerSide::Unknown => Attributed::Untold,
                }
            }
            Connection::Unix(_) => {
                // /proc/net/unix does not say which client a row belongs to. None is needed: whoever owns a
                // connection that was not there before has accepted on this very socket.
                let fresh: BTreeSet<u64> = accepted_unix(self.listening)
                    .difference(&self.before)
                    .copied()
                    .collect();
                if fresh.is_empty() {
                    return if unix_bound(&unix_rows(), self.listening).is_some() {
                        Attributed::Queued
                    } else {
                        Attributed::Untold
                    };
                }
                let owners = socket_owners(pids);
                fresh
                    .iter()
                    .find_map(|inode| owners.get(inode))
                    .map_or(Attributed::Other, |&pid| Attributed::By(pid))
            }
        }
    }

    /// The connection, to send a request on.
    pub fn into_connection(self) -> Connection {
        self.connection
    }
}

/// One row of `/proc/net/tcp` or `tcp6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpRow {
    /// Local side.
    pub local: SocketAddr,
    /// Remote side; unspecified with port 0 for a listener.
    pub remote: SocketAddr,
    /// State.
    pub state: TcpState,
    /// The user that made the socket.
    pub uid: u32,
    /// Inode of the socket; 0 while no process has it (queued, or closed and still being torn down).
    pub inode: u64,
}

/// The states that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpState {
    /// Both sides are there.
    Established,
    /// The hand-shake is not done, or done and deferred.
    Opening,
    /// Any state of saying goodbye.
    Closing,
    /// Accepts connections.
    Listen,
}

impl TcpState {
    /// The state that has this number in the kernel.
    pub(super) fn of(number: u8) -> TcpState {
        match number {
            0x01 => TcpState::Established,
            0x02 | 0x03 | 0x0c => TcpState::Opening,
            0x0a => TcpState::Listen,
            _ => TcpState::Closing,
        }
    }
}

/// The rows of `/proc/net/tcp` or `/proc/net/tcp6`. Lines that are not rows are left out.
pub fn parse_tcp(text: &str) -> Vec<TcpRow> {
    text.lines().filter_map(parse_tcp_row).collect()
}

/// One row of `/proc/net/unix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixRow {
    /// Inode of the socket; 0 while it waits to be accepted.
    pub inode: u64,
    /// The path it was bound to (an accepted one: its listener's), empty without one, `@...` for abstract names.
    pub path: PathBuf,
    /// Whether it accepts connections.
    pub listens: bool,
    /// Whether it is a connection, accepted or made.
    pub connected: bool,
}

/// The rows of `/proc/net/unix`. Lines that are not rows are left out.
pub fn parse_unix(text: &str) -> Vec<UnixRow> {
    text.lines().filter_map(parse_unix_row).collect()
}

/// The inodes for whose input an epoll descriptor waits, from its `fdinfo`.
pub fn epoll_inputs(fdinfo: &str) -> BTreeSet<u64> {
    // tfd:        3 events:       19 data:                3  pos:0 ino:3c61 sdev:9
    const EPOLLIN: u64 = 1;
    fdinfo
        .lines()
        .filter(|line| line.starts_with("tfd:"))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let events = words
                .by_ref()
                .skip_while(|word| *word != "events:")
                .nth(1)?;
            let inode = words.find_map(|word| word.strip_prefix("ino:"))?;
            // A server that pauses, or a one-shot that fired, is still listed but asks for nothing.
            (u64::from_str_radix(events, 16).ok()? & EPOLLIN != 0)
                .then_some(u64::from_str_radix(inode, 16).ok()?)
        })
        .collect()
}

/// What a thread waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// accept or accept4 on this descriptor.
    Accept(i32),
    /// poll, select or one of their kind, for these descriptors.
    Poll(WaitSet),
}

/// The descriptors that a thread in poll or select waits for: where its own memory says so.
///
/// A connection of ours would tell too, in the end: but a server that waits beside an older one for the same socket
/// loses it every time, because who has just accepted stands first in the kernel's queue again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitSet {
    /// An array of `struct pollfd`.
    Array {
        /// Its address.
        at: u64,
        /// How many there are.
        count: u64,
    },
    /// An `fd_set` to read from.
    Bits {
        /// Its address; 0 is none.
        at: u64,
        /// One more than the highest descriptor in it.
        count: u64,
    },
}

impl WaitSet {
    /// Descriptors for whose input the thread waits. `read` fills a buffer from an address, or says that it cannot.
    pub fn inputs(self, read: &mut dyn FnMut(u64, &mut [u8]) -> bool) -> Vec<i32> {
        // More is no server's accept loop, and the numbers come from another process.
        const MOST: u64 = 4096;
        const POLLIN: i16 = libc::POLLIN;
        match self {
            WaitSet::Array { count, .. } | WaitSet::Bits { count, .. } if count > MOST => {
                Vec::new()
            }
            WaitSet::Array { at, count } => {
                let mut entries = vec![0; count as usize * 8];
                if !read(at, &mut entries) {
                    return Vec::new();
                }
                // int fd; short events; short revents
                let entry = |entry: &[u8]| {
                    let fd = i32::from_ne_bytes(entry[..4].try_into().ok()?);
                    let events = i16::from_ne_bytes(entry[4..6].try_into().ok()?);
                    (events & POLLIN != 0).then_some(fd)
                };
                entries.chunks_exact(8).filter_map(entry).collect()
            }
            WaitSet::Bits { at: 0, .. } => Vec::new(),
            WaitSet::Bits { at, count } => {
                // The kernel reads longs, little-endian ones in all but name: by longs it is right on both.
                let mut longs = vec![0; (count as usize).div_ceil(64) * 8];
                if !read(at, &mut longs) {
                    return Vec::new();
                }
                let long = |long: &[u8]| u64::from_ne_bytes(long.try_into().unwrap_or_default());
                let longs: Vec<u64> = longs.chunks_exact(8).map(long).collect();
                (0..count as usize)
                    .filter(|fd| longs[fd / 64] >> (fd % 64) & 1 == 1)
                    .map(|fd| fd as i32)
                    .collect()
            }
        }
    }
}

/// What `/proc/PID/task/T/syscall` says of a thread; `None` when it runs or waits in anything else.
pub fn waits_in(syscall: &str) -> Option<Waits> {
    // 43 0x3 0x0 0x0 0x0 0x0 0x0 0x7ffd.. 0x7f..; "running"; "-1 0x7ffd.. 0x7f.." outside of a call
    let mut words = syscall.split_whitespace();
    let number: libc::c_long = words.next()?.parse().ok()?;
    let kind = kind_of(number)?;
    let mut argument = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    // What the upper half of the register holds is undefined where the argument is a C int.
    const INT: u64 = 0xffff_ffff;
    match kind {
        Kind::Accept => Some(Waits::Accept((argument()? & INT) as u32 as i32)),
        Kind::Poll => {
            let (at, count) = (argument()?, argument()? & INT);
            Some(Waits::Poll(WaitSet::Array { at, count }))
        }
        Kind::Select => {
            let (count, at) = (argument()? & INT, argument()?);
            Some(Waits::Poll(WaitSet::Bits { at, count }))
        }
    }
}

/// The inodes of the sockets that a process has open.
pub(super) fn sockets_of(pid: Pid) -> BTreeSet<u64> {
    open_files(pid).values().filter_map(File::socket).collect()
}

/// The sockets on which a process listens, by descriptor: its number, the socket's inode, and where. A socket that
/// it has open twice comes twice.
pub(super) fn listening_files(pid: Pid) -> Vec<(i32, Listener)> {
    let listeners = listeners(&[pid]);
    open_files(pid)
        .into_iter()
        .filter_map(|(fd, file)| {
            let inode = file.socket()?;
            let listener = listeners.iter().find(|listener| listener.inode == inode)?;
            Some((fd, listener.clone()))
        })
        .collect()
}

/// Every process that can be seen, ascending.
pub(super) fn all_pids() -> Vec<Pid> {
    numbered("/proc").into_iter().map(Pid::from_raw).collect()
}

/// Connects to the socket that listens at `address`; a wildcard host is reached through loopback. Takes at most
/// 100 ms.
pub(super) fn connect(address: &Address) -> io::Result<Connection> {
    match address {
        Address::Tcp(address) => Ok(Connection::Tcp(connect_tcp(*address)?)),
        Address::Unix(path) => Ok(Connection::Unix(connect_unix(path)?)),
    }
}

/// All rows of the TCP tables; empty where there are none.
pub(super) fn tcp_rows() -> Vec<TcpRow> {
    let mut rows = parse_tcp(&read("/proc/net/tcp"));
    rows.extend(parse_tcp(&read("/proc/net/tcp6")));
    rows
}

/// The rows of the TCP tables whose text holds `part`. Under load the tables hold tens of thousands of connections that
/// are being torn down, and to parse them all would take longer than the server takes to start.
fn tcp_rows_with(part: &str) -> Vec<TcpRow> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(read);
    let lines = tables.iter().flat_map(|table| table.lines());
    lines
        .filter(|line| line.contains(part))
        .filter_map(parse_tcp_row)
        .collect()
}

/// The rows of both ends of the connections that have one at this port.
fn rows_at(port: u16) -> Vec<TcpRow> {
    tcp_rows_with(&format!(":{port:04X} "))
}

/// All rows of the unix table; empty where there is none.
pub(super) fn unix_rows() -> Vec<UnixRow> {
    parse_unix(&read("/proc/net/unix"))
}

fn rank(seen: Accepting) -> u8 {
    match seen {
        Accepting::No => 0,
        Accepting::Open(_) => 1,
        Accepting::Unclear(_) => 2,
        Accepting::Registered(_) => 3,
        Accepting::By(_) => 4,
    }
}

/// What an open descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    Socket(u64),
    Epoll,
    IoUring,
}

impl File {
    fn socket(&self) -> Option<u64> {
        match self {
            File::Socket(inode) => Some(*inode),
            File::Epoll | File::IoUring => None,
        }
    }

    fn parse(link: &str) -> Option<File> {
        match link {
            "anon_inode:[eventpoll]" => Some(File::Epoll),
            "anon_inode:[io_uring]" => Some(File::IoUring),
            _ => Some(File::Socket(
                link.strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .parse()
                    .ok()?,
            )),
        }
    }
}

/// The descriptors of a process that matter here.
fn open_files(pid: Pid) -> BTreeMap<i32, File> {
    let files = files_in(&format!("/proc/{pid}"));
    if !files.is_empty() {
        return files;
    }
    // When the main thread has left, the process shows no descriptors although its other threads share them.
    numbered(&format!("/proc/{pid}/task"))
        .into_iter()
        .map(|thread| files_in(&format!("/proc/{pid}/task/{thread}")))
        .find(|files| !files.is_empty())
        .unwrap_or_default()
}

fn files_in(process: &str) -> BTreeMap<i32, File> {
    numbered(&format!("{process}/fd"))
        .into_iter()
        .filter_map(|fd| {
            let link = fs::read_link(format!("{process}/fd/{fd}")).ok()?;
            Some((fd, File::parse(link.to_str()?)?))
        })
        .collect()
}

/// The sockets that `pids` have open, each with the first of them that does.
fn socket_owners(pids: &[Pid]) -> BTreeMap<u64, Pid> {
    let mut owners = BTreeMap::new();
    for &pid in pids {
        for inode in open_files(pid).values().filter_map(File::socket) {
            owners.entry(inode).or_insert(pid);
        }
    }
    owners
}

enum ServerSide {
    Queued,
    Accepted(u64),
    Closed,
    Unknown,
}

/// The other end of our connection from `client` to `server`.
fn server_side(rows: &[TcpRow], server: SocketAddr, client: SocketAddr) -> ServerSide {
    let (server, client) = (canonical(server), canonical(client));
    let row = rows
        .iter()
        .find(|row| canonical(row.local) == server && canonical(row.remote) == client);
    match row {
        None => ServerSide::Unknown,
        Some(row) if row.inode != 0 => ServerSide::Accepted(row.inode),
        Some(row) => match row.state {
            TcpState::Established => ServerSide::Queued,
            TcpState::Opening | TcpState::Listen => ServerSide::Unknown,
            TcpState::Closing => ServerSide::Closed,
        },
    }
}

/// A dual-stack socket shows an IPv4 client as `::ffff:127.0.0.1`; scope ids are in no table.
fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

/// The inodes of the connections accepted on the unix socket that listens with this inode.
fn accepted_unix(listening: u64) -> BTreeSet<u64> {
    let rows = unix_rows();
    let Some(bound) = unix_bound(&rows, listening) else {
        return BTreeSet::new();
    };
    rows.iter()
        .filter(|row| row.connected && row.inode != 0 && row.path == bound)
        .map(|row| row.inode)
        .collect()
}

/// The path a listening unix socket was bound to: what its connections carry, whatever it was renamed to since.
fn unix_bound(rows: &[UnixRow], listening: u64) -> Option<&Path> {
    rows.iter()
        .find(|row| row.listens && row.inode == listening)
        .map(|row| row.path.as_path())
}

/// An address to reach a listening one by: a wildcard is reached through loopback.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        reachable.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    reachable
}

fn connect_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let target = reachable(address);
    TcpStream::connect_timeout(&target, CONNECT_TIMEOUT).or_else(|error| {
        // A dual-stack socket on a machine whose loopback has no IPv6 address.
        if error.kind() == io::ErrorKind::AddrNotAvailable
            && address.is_ipv6()
            && address.ip().is_unspecified()
        {
            return TcpStream::connect_timeout(
                &(Ipv4Addr::LOCALHOST, address.port()).into(),
                CONNECT_TIMEOUT,
            );
        }
        Err(error)
    })
}

fn parse_tcp_row(line: &str) -> Option<TcpRow> {
    // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...
    let mut words = line.split_ascii_whitespace();
    if !words.next()?.ends_with(':') {
        return None;
    }
    let local = parse_endpoint(words.next()?)?;
    let remote = parse_endpoint(words.next()?)?;
    let state = TcpState::of(u8::from_str_radix(words.next()?, 16).ok()?);
    let uid = words.nth(3)?.parse().ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    Some(TcpRow {
        local,
        remote,
        state,
        uid,
        inode,
    })
}

/// `0100007F:1F90`: words in the machine's byte order that hold bytes in the network's.
fn parse_endpoint(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        Some(
            u32::from_str_radix(host.get(at..at + 8)?, 16)
                .ok()?
                .to_ne_bytes(),
        )
    };
    let ip = match host.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            IpAddr::from(bytes)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn parse_unix_row(line: &str) -> Option<UnixRow> {
    // Num RefCount Protocol Flags Type St Inode Path; the path may hold spaces, so the rest of the line is the path.
    const ACCEPTS: u32 = 0x0001_0000;
    let mut rest = line;
    let mut word = || {
        rest = rest.trim_start_matches(' ');
        let (word, after) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
        rest = after;
        word
    };
    if !word().ends_with(':') {
        return None;
    }
    let (_references, _protocol) = (word(), word());
    let flags = u32::from_str_radix(word(), 16).ok()?;
    let _kind = word();
    let state = u8::from_str_radix(word(), 16).ok()?;
    let inode = word().parse().ok()?;
    let path = PathBuf::from(rest.strip_prefix(' ').unwrap_or(rest));
    Some(UnixRow {
        inode,
        path,
        listens: flags & ACCEPTS != 0,
        connected: state == 3,
    })
}

enum Kind {
    Accept,
    Poll,
    Select,
}

#[cfg(target_os = "linux")]
fn kind_of(number: libc::c_long) -> Option<Kind> {
    const ACCEPTS: &[libc::c_long] = &[libc::SYS_accept, libc::SYS_accept4];
    // The older calls exist on x86 only; newer architectures never had them.
    #[cfg(target_arch = "x86_64")]
    const POLLS: &[libc::c_long] = &[libc::SYS_ppoll, libc::SYS_poll];
    #[cfg(not(target_arch = "x86_64"))]
    const POLLS: &[libc::c_long] = &[libc::SYS_ppoll];
    #[cfg(target_arch = "x86_64")]
    const SELECTS: &[libc::c_long] = &[libc::SYS_pselect6, libc::SYS_select];
    #[cfg(not(target_arch = "x86_64"))]
    const SELECTS: &[libc::c_long] = &[libc::SYS_pselect6];
    let is_in = |calls: &[libc::c_long]| calls.contains(&number);
    if is_in(ACCEPTS) {
        Some(Kind::Accept)
    } else if is_in(POLLS) {
        Some(Kind::Poll)
    } else if is_in(SELECTS) {
        Some(Kind::Select)
    } else {
        None
    }
}

/// Without /proc there is nothing to read, and so no number to know.
#[cfg(not(target_os = "linux"))]
fn kind_of(_number: libc::c_long) -> Option<Kind> {
    None
}

/// Reads another process's memory, for which the kernel asks the same right as for its `syscall` file. False: it
/// could not be read.
fn read_memory(pid: Pid, at: u64, buffer: &mut [u8]) -> bool {
    fs::File::open(format!("/proc/{pid}/mem"))
        .and_then(|memory| memory.read_exact_at(buffer, at))
        .is_ok()
}

/// A file of /proc; empty when it cannot be read, which is the same as not seeing.
fn read(path: &str) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// The entries of a /proc folder that are numbers, ascending.
fn numbered(folder: &str) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut numbers: Vec<i32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use nix::sys::stat::fstat;
    use proptest::prelude::*;

    use super::super::trial::{have_ipv6, until};
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 1582 1 000000009d46c2fd 100 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0000000000000000 20 4
";
    const TCP6: &str = "\
   0: 0000000000000000FFFF00000100007F:0050 00000000000000000000000001000000:0051 08 0:0 00:0 0     7        0 99 1
";
    const UNIX: &str = "\
Num       RefCount Protocol Flags    Type St Inode Path
00000000ecdec752: 00000002 00000000 00010000 0001 01 15464 /tmp/e sock
00000000c01170aa: 00000003 00000000 00000000 0001 02     0 /tmp/e sock
00000000c01170ab: 00000003 00000000 00000000 0001 03 15467
";

    fn inode(socket: &impl AsFd) -> u64 {
        fstat(socket).expect("open").st_ino
    }

    fn tcp_listener() -> (TcpListener, Address) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = Address::Tcp(listener.local_addr().expect("bound"));
        (listener, address)
    }

    fn probe(address: &Address, listening: u64) -> AttributedProbe {
        AttributedProbe::connect(address, listening).expect("somebody listens")
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_probe_of_our_own_waits_for_nothing_and_neither_does_one_who_hung_up() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = listener.local_addr().expect("an address");
        let probe = std::net::TcpStream::connect(address).expect("a connection");
        assert_eq!(unaccepted(&[address]), 0);
        // It is there, and nobody has accepted it.
        let waits = |row: &TcpRow| row.local == address && row.inode == 0;
        assert!(rows_at(address.port()).iter().any(waits));
        drop(probe);
        assert_eq!(unaccepted(&[address]), 0);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_tables_of_the_kernel_are_understood() {
        let rows = parse_tcp(TCP);
        let local = "127.0.0.1:8080".parse().expect("an address");
        let listening = TcpRow {
            local,
            remote: "0.0.0.0:0".parse().expect("an address"),
            state: TcpState::Listen,
            uid: 1000,
            inode: 1582,
        };
        let remote = "127.0.0.1:50000".parse().expect("an address");
        let queued = TcpRow {
            remote,
            state: TcpState::Established,
            uid: 0,
            inode: 0,
            ..listening
        };
        assert_eq!(rows, [listening, queued]);
        assert!(matches!(
            server_side(&rows, local, remote),
            ServerSide::Queued
        ));
        assert!(matches!(
            server_side(&rows, remote, local),
            ServerSide::Unknown
        ));
        let row = parse_tcp(TCP6)[0];
        assert_eq!(
            (row.local.to_string(), row.remote.to_string()),
            ("[::ffff:127.0.0.1]:80".into(), "[::1]:81".into())
        );
        assert_eq!((row.state, row.uid, row.inode), (TcpState::Closing, 7, 99));
        let path = PathBuf::from("/tmp/e sock");
        assert_eq!(
            parse_unix(UNIX),
            [
                UnixRow {
                    inode: 15464,
                    path: path.clone(),
                    listens: true,
                    connected: false
                },
                UnixRow {
                    inode: 0,
                    path,
                    listens: false,
                    connected: false
                },
                UnixRow {
                    inode: 15467,
                    path: PathBuf::new(),
                    listens: false,
                    connected: true
                },
            ]
        );
    }

    #[test]
    fn an_epoll_descriptor_tells_for_whose_input_it_waits() {
        let fdinfo = "pos:\t0\nflags:\t02000002\nmnt_id:\t17\nino:\t1039\n\
            tfd:        3 events:       19 data:                3  pos:0 ino:3c61 sdev:9\n\
            tfd:        4 events: 80002005 data:     7f00deadbeef  pos:0 ino:3c62 sdev:9\n\
            tfd:        5 events: 40000000 data:                5  pos:0 ino:3c63 sdev:9\n";
        assert_eq!(epoll_inputs(fdinfo), BTreeSet::from([0x3c61, 0x3c62]));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_tells_what_it_waits_in() {
        let accept = format!(
            "{} 0x3 0x0 0x0 0x0 0x0 0x0 0x7ffd1 0x7f2\n",
            libc::SYS_accept4
        );
        assert_eq!(waits_in(&accept), Some(Waits::Accept(3)));
        assert_eq!(
            waits_in(&format!("{} 0xffffffff00000005 0x0", libc::SYS_accept)),
            Some(Waits::Accept(5))
        );
        assert_eq!(
            waits_in(&format!("{} 0x7f10 0x2 0x0", libc::SYS_ppoll)),
            Some(Waits::Poll(WaitSet::Array {
                at: 0x7f10,
                count: 2
            }))
        );
        assert_eq!(
            waits_in(&format!("{} 0x9 0x7f20 0x0", libc::SYS_pselect6)),
            Some(Waits::Poll(WaitSet::Bits {
                at: 0x7f20,
                count: 9
            }))
        );
        assert_eq!(waits_in("running\n"), None);
        assert_eq!(waits_in("-1 0x7ffd1 0x7f2\n"), None);
        assert_eq!(waits_in(&format!("{} 0x3 0x0", libc::SYS_read)), None);
    }

    /// Lines of the real tables with a piece replaced: nearer to the parsers than noise.
    fn damaged() -> impl Strategy<Value = String> {
        let whole = format!(
            "{TCP}{TCP6}{UNIX}tfd: 3 events: 19 data: 3 pos:0 ino:3c61 sdev:9\n43 0x3 0x0\n"
        );
        let ends = 0..whole.len();
        (ends.clone(), ends, "[ -~é:0-9A-Fx]{0,12}").prop_map(move |(a, b, piece)| {
            format!("{}{piece}{}", &whole[..a.min(b)], &whole[a.max(b)..])
        })
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in prop_oneof![damaged(), "(?s).{0,300}"]) {
            parse_tcp(&text);
            parse_unix(&text);
            epoll_inputs(&text);
            for line in text.lines() {
                waits_in(line);
                File::parse(line);
            }
        }
    }

    #[test]
    fn a_wait_set_tells_the_descriptors_it_reads_from() {
        let mut entries = Vec::new();
        for (fd, events) in [(5_i32, libc::POLLIN), (6, libc::POLLOUT), (7, libc::POLLIN)] {
            entries.extend(fd.to_ne_bytes());
            entries.extend(events.to_ne_bytes());
            entries.extend([0, 0]);
        }
        let array = WaitSet::Array { at: 16, count: 3 };
        let mut memory = |at: u64, buffer: &mut [u8]| {
            buffer.copy_from_slice(&entries[..buffer.len()]);
            at == 16
        };
        assert_eq!(array.inputs(&mut memory), [5, 7]);
        let unreadable = WaitSet::Array { at: 8, count: 3 };
        assert!(unreadable.inputs(&mut memory).is_empty());
        let endless = WaitSet::Array {
            at: 16,
            count: u64::from(u32::MAX),
        };
        assert!(endless.inputs(&mut memory).is_empty());

        let mut bits = |_, buffer: &mut [u8]| {
            buffer.copy_from_slice(&(1_u64 << 3 | 1 << 9).to_ne_bytes());
            true
        };
        assert_eq!(
            WaitSet::Bits { at: 16, count: 10 }.inputs(&mut bits),
            [3, 9]
        );
        assert_eq!(WaitSet::Bits { at: 16, count: 9 }.inputs(&mut bits), [3]);
        assert!(
            WaitSet::Bits { at: 0, count: 9 }
                .inputs(&mut bits)
                .is_empty()
        );
    }

    #[test]
    fn a_thread_in_accept_is_seen() {
        let (listener, address) = tcp_listener();
        let inode = inode(&listener);
        // Other tests' threads share this process and may sit in poll, so only the weaker half is certain.
        let before = accepting(&[Pid::this()], &[inode, 1])[0];
        assert!(
            matches!(before, Accepting::Open(_) | Accepting::Unclear(_)),
            "{before:?}"
        );
        let accepts = thread::spawn(move || listener.accept().map(|(stream, _)| stream));
        let by = until("the thread to accept", || {
            match accepting(&[Pid::this()], &[1, inode])[1] {
                Accepting::By(pid) => Some(pid),
                Accepting::No
                | Accepting::Open(_)
                | Accepting::Unclear(_)
                | Accepting::Registered(_) => None,
            }
        });
        assert_eq!(by, Pid::this());
        assert_eq!(
            accepting(&[Pid::from_raw(i32::MAX)], &[inode]),
            [Accepting::No]
        );
        drop(probe(&address, inode));
        accepts.join().expect("no panic").expect("accepted");
    }

    #[test]
    fn a_connection_tells_who_accepted_it() {
        let (listener, address) = tcp_listener();
        let inode = inode(&listener);
        let probe = probe(&address, inode);
        until("the kernel to queue it", || {
            (probe.look(&[Pid::this()]) == Attributed::Queued).then_some(())
        });
        let (accepted, _) = listener.accept().expect("it is queued");
        assert_eq!(probe.look(&[Pid::this()]), Attributed::By(Pid::this()));
        assert_eq!(probe.look(&[]), Attributed::Other);
        let Address::Tcp(address) = address else {
            panic!("a TCP address")
        };
        assert_eq!(connections(&[Pid::this()], &[address]), 1);
        assert_eq!(connections(&[], &[address]), 0);
        drop(accepted);
        until("the kernel to close it", || {
            (probe.look(&[Pid::this()]) == Attributed::Closed).then_some(())
        });
        assert_eq!(connections(&[Pid::this()], &[address]), 0);
    }

    #[test]
    fn a_wildcard_socket_is_asked_through_loopback() {
        let mut hosts = vec!["0.0.0.0:0"];
        hosts.extend(have_ipv6().then_some("[::]:0"));
        for host in hosts {
            let listener = TcpListener::bind(host).expect("a free port");
            let address = Address::Tcp(listener.local_addr().expect("bound"));
            let probe = probe(&address, inode(&listener));
            let _accepted = listener.accept().expect("it is queued");
            assert_eq!(
                probe.look(&[Pid::this()]),
                Attributed::By(Pid::this()),
                "{host}"
            );
        }
    }

    #[test]
    fn a_unix_connection_tells_who_accepted_it() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let (bound, path) = (folder.path().join("bound"), folder.path().join("app.sock"));
        let listener = UnixListener::bind(&bound).expect("the path is free");
        std::fs::rename(&bound, &path).expect("it is there");
        let (inode, address) = (inode(&listener), Address::Unix(path));
        let _earlier = probe(&address, inode);
        let _accepted = listener.accept().expect("it is queued");
        let probe = probe(&address, inode);
        assert_eq!(
            probe.look(&[Pid::this()]),
            Attributed::Queued,
            "the earlier one is no evidence"
        );
        let _accepted_too = listener.accept().expect("it is queued");
        assert_eq!(probe.look(&[Pid::this()]), Attributed::By(Pid::this()));
        assert_eq!(probe.look(&[]), Attributed::Other);
    }

    #[test]
    fn the_sockets_that_a_process_listens_on_are_found() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("app.sock");
        let unix = UnixListener::bind(&path).expect("the path is free");
        let (tcp, address) = tcp_listener();
        let found = listeners(&[Pid::this()]);
        let this = |inode, address| Listener {
            pid: Pid::this(),
            inode,
            address,
        };
        assert!(found.contains(&this(inode(&tcp), address)), "{found:?}");
        assert!(
            found.contains(&this(inode(&unix), Address::Unix(path))),
            "{found:?}"
        );
        assert_eq!(listeners(&[]), []);
        assert_eq!(owner(inode(&tcp)), Some(Pid::this()));
        let gone = inode(&tcp);
        drop(tcp);
        assert!(
            listeners(&[Pid::this()])
                .iter()
                .all(|listener| listener.inode != gone)
        );
    }
}
