//! The sockets that devwatch holds for the server: bound once, before the first build, so that requests wait in the
//! backlog while a server is away instead of being refused.
//!
//! They come from `[server] listen`; their descriptors go to whoever starts the server, in order, from 3. devwatch
//! never accepts on them. Also here: who holds an address that cannot be had.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike,
    SockaddrStorage, UnixAddr, bind, connect, getsockname, getsockopt, listen, setsockopt, socket,
    sockopt,
};
use nix::sys::stat::fstat;
use nix::unistd::Pid;

use crate::config::{Address, Listen};
use crate::overview::Place;

use super::evidence::{self, TcpState};
use super::ready::is_service;

/// How many connections may wait on each socket; the kernel caps it at `net.core.somaxconn`. With 128, 32 clients in
/// a closed loop lost nothing in 1.6 s without a server; with 1 they stalled for up to 18 s.
const BACKLOG: i32 = 4096;

/// The longest path of a unix socket, in bytes: `sun_path` less its final NUL.
const LONGEST_PATH: usize = 107;

/// The sockets that devwatch holds. Dropping it closes them and removes the paths of unix sockets that are still its
/// own.
#[derive(Debug, Default)]
pub struct Held {
    sockets: Vec<Socket>,
}

/// What a readiness probe must know of held sockets; both lists in the order of `[server] listen`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldView {
    /// The sockets' inodes.
    pub inodes: Vec<u64>,
    /// Where they really listen.
    pub addresses: Vec<Address>,
}

impl Held {
    /// Binds every entry and listens on it.
    ///
    /// # Errors: the first address that cannot be had; then nothing is held.
    pub fn bind(entries: &[Listen]) -> Result<Held, BindError> {
        let sockets = entries.iter().map(Socket::bind).collect::<Result<_, _>>()?;
        Ok(Held { sockets })
    }

    /// Makes the held sockets those of `entries`. One whose configured address is unchanged stays the same socket,
    /// with what waits in its backlog.
    ///
    /// # Errors: the first address that cannot be had; then the old sockets are held as before. (Where an old address
    /// had to make room for a new one, as `127.0.0.1:80` for `0.0.0.0:80`, it is bound again, but its backlog is
    /// gone.)
    pub fn rebind(&mut self, entries: &[Listen]) -> Result<(), BindError> {
        let mut old: Vec<Option<Socket>> = std::mem::take(&mut self.sockets)
            .into_iter()
            .map(Some)
            .collect();
        let mut displaced = Vec::new();
        match next_of(&mut old, &mut displaced, entries) {
            Ok(next) => {
                for (next, entry) in next.into_iter().zip(entries) {
                    let mut socket = match next {
                        Next::New(socket) => socket,
                        Next::Kept(index) => {
                            old[index].take().expect("an entry claims a socket once")
                        }
                    };
                    socket.name.clone_from(&entry.name);
                    self.sockets.push(socket);
                }
                Ok(())
            }
            Err(error) => {
                for (index, name, configured, actual) in displaced {
                    old[index] = Socket::at(&name, &configured, &actual).ok();
                }
                self.sockets = old.into_iter().flatten().collect();
                Err(error)
            }
        }
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// The descriptors, in order; the server gets them from 3 on. They close on exec until somebody duplicates them.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.sockets
            .iter()
            .map(|socket| socket.fd.as_fd())
            .collect()
    }

    /// Their names for `LISTEN_FDNAMES`, in order. A colon or control character, which would shift the names after
    /// it, becomes `_`.
    pub fn names(&self) -> Vec<String> {
        let clean = |c: char| {
            if c == ':' || c.is_control() || !c.is_ascii() {
                '_'
            } else {
                c
            }
        };
        self.sockets
            .iter()
            .map(|socket| socket.name.chars().map(clean).collect())
            .collect()
    }

    /// The inodes by which `/proc` knows them, in order.
    pub fn inodes(&self) -> Vec<u64> {
        self.sockets.iter().map(Socket::inode).collect()
    }

    /// Where they really listen, in order: port 0 is the chosen one.
    pub fn addresses(&self) -> Vec<Address> {
        self.sockets
            .iter()
            .map(|socket| socket.actual.clone())
            .collect()
    }

    /// What a readiness probe must know of them.
    pub fn view(&self) -> HeldView {
        HeldView {
            inodes: self.inodes(),
            addresses: self.addresses(),
        }
    }

    /// The port of the first TCP socket: `PORT`.
    pub fn port(&self) -> Option<u16> {
        self.sockets.iter().find_map(|socket| match &socket.actual {
            Address::Tcp(address) => Some(address.port()),
            Address::Unix(_) => None,
        })
    }

    /// What to open in a browser: the first TCP entry named `http` or `https`; a wildcard host is shown as loopback.
    pub fn url(&self) -> Option<String> {
        self.sockets.iter().find_map(|socket| match &socket.actual {
            Address::Tcp(address) if socket.name == "http" || socket.name == "https" => Some(
                format!("{}://{}/", socket.name, evidence::reachable(*address)),
            ),
            Address::Tcp(_) | Address::Unix(_) => None,
        })
    }

    /// Where they can be reached, for people; those of a browser as it wants them.
    pub fn places(&self) -> Vec<Place> {
        let place = |socket: &Socket| match &socket.actual {
            Address::Tcp(address) if socket.name == "http" || socket.name == "https" => {
                let text = format!("{}://{}", socket.name, evidence::reachable(*address));
                let url = Some(format!("{text}/"));
                Place { text, url }
            }
            Address::Tcp(address) => Place {
                text: format!("{} {address}", socket.name),
                url: None,
            },
            Address::Unix(path) => Place {
                text: format!("unix:{}", path.display()),
                url: None,
            },
        };
        self.sockets.iter().map(place).collect()
    }

    /// How many connections wait at them for somebody to accept them, where the system says it: TCP, on Linux.
    pub fn waiting(&self) -> usize {
        let tcp = |socket: &Socket| match socket.actual {
            Address::Tcp(address) => Some((address, unaccepted(&socket.fd))),
            Address::Unix(_) => None,
        };
        let queues = self.sockets.iter().filter_map(tcp);
        // Most of the time nobody waits, and the table of all connections need not be read.
        let asked: Vec<SocketAddr> = queues
            .filter(|(_, queue)| *queue > 0)
            .map(|(address, _)| address)
            .collect();
        if asked.is_empty() {
            0
        } else {
            evidence::unaccepted(&asked)
        }
    }

    /// The addresses that other machines may reach, for a warning.
    pub fn exposed(&self) -> Vec<String> {
        self.sockets
            .iter()
            .filter_map(|socket| match &socket.actual {
                Address::Tcp(address) if !address.ip().to_canonical().is_loopback() => {
                    Some(address.to_string())
                }
                Address::Tcp(_) | Address::Unix(_) => None,
            })
            .collect()
    }

    /// Makes the sockets as a first server would find them. Only while no generation is alive: the file flags belong
    /// to the socket, so clearing O_NONBLOCK would block a living server in its next accept.
    ///
    /// Returns a warning for each socket that the last server had damaged. A damaged one may have been replaced, so
    /// [`fds`](Held::fds), [`inodes`](Held::inodes) and [`view`](Held::view) must be asked again.
    pub fn prepare(&mut self) -> Vec<String> {
        self.sockets
            .iter_mut()
            .filter_map(Socket::prepare)
            .collect()
    }
}

/// An address that cannot be held. Says who holds it, where that can be seen.
#[derive(Debug)]
pub struct BindError {
    /// The address as configured.
    pub address: Address,
    /// What is in the way.
    pub cause: BindFailure,
}

/// What keeps devwatch from an address.
#[derive(Debug)]
pub enum BindFailure {
    /// This process holds it.
    HeldBy(Holder),
    /// Something holds it that cannot be seen; its user, if that is known.
    HeldUnseen(Option<u32>),
    /// The port needs privilege.
    Privileged,
    /// The host is no address of this machine.
    NotLocal,
    /// The path is taken by something that is no socket.
    NotASocket,
    /// The path's folder does not exist.
    NoFolder,
    /// The path has this many bytes too many.
    TooLong(usize),
    /// Anything else.
    Os(Errno),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(address) => write!(f, "cannot listen on {address}: ")?,
            Address::Unix(path) => write!(f, "cannot listen on unix:{}: ", path.display())?,
        }
        match &self.cause {
            BindFailure::HeldBy(holder) => {
                write!(f, "held by {holder}; stop it, or change \"listen\"")
            }
            BindFailure::HeldUnseen(Some(uid)) => write!(
                f,
                "held by a process of user {uid} that cannot be seen from here; stop it, or change \"listen\""
            ),
            BindFailure::HeldUnseen(None) => f.write_str(
                "held by a process that cannot be seen from here; stop it, or change \"listen\"",
            ),
            BindFailure::Privileged => f.write_str("this needs privilege; use a port from 1024 on"),
            BindFailure::NotLocal => {
                f.write_str("this machine has no such address; change \"listen\"")
            }
            BindFailure::NotASocket => {
                f.write_str("there is a file that is no socket; move it away, or change \"listen\"")
            }
            BindFailure::NoFolder => {
                f.write_str("its folder does not exist; create it, or change \"listen\"")
            }
            BindFailure::TooLong(bytes) => {
                write!(
                    f,
                    "the path is {bytes} bytes too long for a unix socket; use a shorter one"
                )
            }
            BindFailure::Os(errno) => f.write_str(errno.desc()),
        }
    }
}

impl std::error::Error for BindError {}

/// A process that holds an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its pid.
    pub pid: Pid,
    /// Its command line, at most 80 characters; empty when it could not be read.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)?;
        if !self.command.is_empty() {
            write!(f, " ({})", self.command)?;
        }
        Ok(())
    }
}

/// Who holds `address`, or a wildcard address that covers it; for a server that died of "address already in use".
/// `None` when nobody does or it cannot be seen.
pub fn holder(address: SocketAddr) -> Option<Holder> {
    match tcp_holder(address)? {
        BindFailure::HeldBy(holder) => Some(holder),
        BindFailure::HeldUnseen(_)
        | BindFailure::Privileged
        | BindFailure::NotLocal
        | BindFailure::NotASocket
        | BindFailure::NoFolder
        | BindFailure::TooLong(_)
        | BindFailure::Os(_) => None,
    }
}

/// Copies of the sockets on which a server listens that has bound them itself, in the order of its descriptors: for
/// a successor that devwatch starts in its stead. They close on exec. Sockets of tools (Node's inspector) stay out.
///
/// The file flags belong to the socket, so a copy is as blocking as the server has made it.
///
/// # Errors: the process is gone, belongs to another user, or may not be looked into (Yama, seccomp); the kernel is
/// older than 5.6; or this is not Linux.
pub fn take_listeners(pid: Pid) -> io::Result<Vec<(OwnedFd, Address)>> {
    let pidfd = pidfd_open(pid)?;
    let mut taken: Vec<(u64, OwnedFd, Address)> = Vec::new();
    for (number, listener) in evidence::listening_files(pid) {
        let known = taken.iter().any(|(inode, _, _)| *inode == listener.inode);
        if known || !is_service(&listener.address) {
            continue;
        }
        match pidfd_getfd(&pidfd, number) {
            // What has the number by now may be something else.
            Ok(fd) if fstat(&fd)?.st_ino == listener.inode => {
                taken.push((listener.inode, fd, listener.address));
            }
            Ok(_) | Err(Errno::EBADF) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(taken
        .into_iter()
        .map(|(_, fd, address)| (fd, address))
        .collect())
}

#[cfg(target_os = "linux")]
fn pidfd_open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and gives a new descriptor or an error.
    let opened = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(opened as RawFd) })
}

#[cfg(target_os = "linux")]
fn pidfd_getfd(pidfd: &OwnedFd, number: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: pidfd_getfd takes three integers and gives a new descriptor, which closes on exec, or an error.
    let copied = Errno::result(unsafe {
        libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0)
    })?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copied as RawFd) })
}

/// Elsewhere nobody can copy another process's descriptors.
#[cfg(not(target_os = "linux"))]
fn pidfd_open(_pid: Pid) -> nix::Result<OwnedFd> {
    Err(Errno::ENOTSUP)
}

#[cfg(not(target_os = "linux"))]
fn pidfd_getfd(_pidfd: &OwnedFd, _number: RawFd) -> nix::Result<OwnedFd> {
    Err(Errno::ENOTSUP)
}

/// Connects without waiting for room in the backlog.
pub(super) fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let fd = new_socket(AddressFamily::Unix)?;
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(true)?;
    connect(stream.as_raw_fd(), &UnixAddr::new(path)?)?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// One held socket.
#[derive(Debug)]
struct Socket {
    name: String,
    configured: Address,
    actual: Address,
    /// The file of a unix socket: device and inode, by which its path is still ours.
    file: Option<(u64, u64)>,
    fd: OwnedFd,
}

impl Socket {
    fn bind(entry: &Listen) -> Result<Socket, BindError> {
        Socket::at(&entry.name, &entry.address, &entry.address)
    }

    /// A socket for the entry `configured` that listens at `wanted`.
    fn at(name: &str, configured: &Address, wanted: &Address) -> Result<Socket, BindError> {
        let made = match wanted {
            Address::Tcp(address) => {
                listen_tcp(*address).map(|(fd, actual)| (fd, Address::Tcp(actual), None))
            }
            Address::Unix(path) => {
                listen_unix(path).map(|(fd, file)| (fd, Address::Unix(path.clone()), Some(file)))
            }
        };
        match made {
            Ok((fd, actual, file)) => Ok(Socket {
                name: name.to_owned(),
                configured: configured.clone(),
                actual,
                file,
                fd,
            }),
            Err(cause) => Err(BindError {
                address: wanted.clone(),
                cause,
            }),
        }
    }

    fn inode(&self) -> u64 {
        fstat(&self.fd)
            .expect("an open descriptor has a status")
            .st_ino
    }

    fn prepare(&mut self) -> Option<String> {
        let warning = self.repair();
        set_blocking(&self.fd);
        warning
    }

    /// Revives what a server shut down or unlinked. `None` when nothing was wrong.
    fn repair(&mut self) -> Option<String> {
        match self.actual.clone() {
            Address::Tcp(address) => {
                if getsockopt(&self.fd, sockopt::AcceptConn).unwrap_or(true) {
                    return None;
                }
                // Listening again revives it, except that a port the kernel had chosen is given up by shutdown.
                let revived =
                    listen(&self.fd, backlog()).is_ok() && bound_to(&self.fd) == Some(address);
                if !revived && let Err(error) = self.replace() {
                    return Some(format!(
                        "the last server shut down the held socket {address}; {error}"
                    ));
                }
                Some(format!(
                    "the last server shut down the held socket {address}; devwatch listens on it again"
                ))
            }
            Address::Unix(path) => {
                let shown = path.display();
                // A unix socket that was shut down still calls itself a listener, but nothing revives it.
                let damage = if is_shut_down(&self.fd) {
                    "shut down"
                } else if self.file != file_at(&path) {
                    "removed"
                } else {
                    return None;
                };
                match self.replace() {
                    Ok(()) => Some(format!(
                        "the last server {damage} the held socket {shown}; devwatch made it anew"
                    )),
                    Err(error) => Some(format!(
                        "the last server {damage} the held socket {shown}; {error}"
                    )),
                }
            }
        }
    }

    /// A new socket where this one listened. The old descriptor goes first where the two would collide.
    fn replace(&mut self) -> Result<(), BindError> {
        if let (Address::Unix(path), Some(_)) = (&self.actual, self.file)
            && self.file == file_at(path)
        {
            // Ours, and dead: it must not look alive to the check for strangers.
            let _ = fs::remove_file(path);
        }
        let new = Socket::at(&self.name, &self.configured, &self.actual)?;
        *self = new;
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // While the descriptor is open its file's inode cannot be given to another file, so equal means ours.
        if let (Address::Unix(path), Some(_)) = (&self.actual, self.file)
            && self.file == file_at(path)
        {
            let _ = fs::remove_file(path);
        }
    }
}

/// Where a socket of the next set comes from.
enum Next {
    Kept(usize),
    New(Socket),
}

/// What it takes to bind a socket again that had to make room: its slot, name, configured and actual address.
type Displaced = (usize, String, Address, Address);

/// Binds what is new in `entries`. Takes from `old` only what is in the way and no entry wants, and notes it in
/// `displaced`; on an error everything new is closed again on return, so that those can go back.
fn next_of(
    old: &mut [Option<Socket>],
    displaced: &mut Vec<Displaced>,
    entries: &[Listen],
) -> Result<Vec<Next>, BindError> {
    let mut next: Vec<Next> = Vec::new();
    for entry in entries {
        let unclaimed = |index: usize| {
            !next
                .iter()
                .any(|next| matches!(next, Next::Kept(taken) if *taken == index))
        };
        let same = |slot: &Option<Socket>| {
            slot.as_ref()
                .is_some_and(|socket| socket.configured == entry.address)
        };
        let kept = old
            .iter()
            .enumerate()
            .find(|(index, slot)| same(slot) && unclaimed(*index));
        if let Some((index, _)) = kept {
            next.push(Next::Kept(index));
            continue;
        }
        let bound = Socket::bind(entry).or_else(|error| {
            let Some(index) = in_the_way(old, entries, entry, &error) else {
                return Err(error);
            };
            let leaving = old[index].take().expect("what is in the way is there");
            displaced.push((
                index,
                leaving.name.clone(),
                leaving.configured.clone(),
                leaving.actual.clone(),
            ));
            drop(leaving);
            Socket::bind(entry)
        });
        next.push(Next::New(bound?));
    }
    Ok(next)
}

/// The slot of an old socket that no entry wants any more and that may be why `entry` cannot be bound.
fn in_the_way(
    old: &[Option<Socket>],
    entries: &[Listen],
    entry: &Listen,
    error: &BindError,
) -> Option<usize> {
    let Address::Tcp(wanted) = &entry.address else {
        return None;
    };
    if !matches!(
        error.cause,
        BindFailure::HeldBy(_) | BindFailure::HeldUnseen(_)
    ) {
        return None;
    }
    old.iter().position(|slot| {
        slot.as_ref().is_some_and(|socket| {
            matches!(&socket.actual, Address::Tcp(actual) if actual.port() == wanted.port())
                && entries
                    .iter()
                    .all(|entry| entry.address != socket.configured)
        })
    })
}

fn listen_tcp(address: SocketAddr) -> Result<(OwnedFd, SocketAddr), BindFailure> {
    let bound = || -> nix::Result<(OwnedFd, SocketAddr)> {
        let (family, to): (_, Box<dyn SockaddrLike>) = match address {
            SocketAddr::V4(v4) => (AddressFamily::Inet, Box::new(SockaddrIn::from(v4))),
            SocketAddr::V6(v6) => (AddressFamily::Inet6, Box::new(SockaddrIn6::from(v6))),
        };
        let fd = new_socket(family)?;
        // Not SO_REUSEPORT: with it a second devwatch would bind too and take half of the requests.
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        if address.is_ipv6() {
            // One entry is one family, whatever net.ipv6.bindv6only says.
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
        }
        bind(fd.as_raw_fd(), &*to)?;
        listen(&fd, backlog())?;
        let actual = bound_to(&fd).ok_or(Errno::EAFNOSUPPORT)?;
        Ok((fd, actual))
    };
    bound().map_err(|errno| {
        if errno == Errno::EADDRINUSE {
            tcp_holder(address).unwrap_or(BindFailure::HeldUnseen(None))
        } else if errno == Errno::EACCES || errno == Errno::EPERM {
            BindFailure::Privileged
        } else if errno == Errno::EADDRNOTAVAIL {
            BindFailure::NotLocal
        } else {
            BindFailure::Os(errno)
        }
    })
}

fn listen_unix(path: &Path) -> Result<(OwnedFd, (u64, u64)), BindFailure> {
    refuse_what_lives_at(path)?;
    // Bound under a name of its own and renamed: nobody ever finds the path missing, or a socket that does not
    // listen.
    let temporary = temporary_beside(path);
    let longest = path.as_os_str().len().max(temporary.as_os_str().len());
    if longest > LONGEST_PATH {
        return Err(BindFailure::TooLong(longest - LONGEST_PATH));
    }
    let made = || -> Result<(OwnedFd, (u64, u64)), Errno> {
        let fd = new_socket(AddressFamily::Unix)?;
        // Left by a devwatch that had our pid and was killed between the two steps.
        let _ = fs::remove_file(&temporary);
        bind(fd.as_raw_fd(), &UnixAddr::new(&temporary)?)?;
        listen(&fd, backlog())?;
        let file = file_at(&temporary).ok_or(Errno::ENOENT)?;
        fs::rename(&temporary, path)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
        Ok((fd, file))
    };
    made().map_err(|errno| {
        let _ = fs::remove_file(&temporary);
        if errno == Errno::ENOENT {
            BindFailure::NoFolder
        } else {
            BindFailure::Os(errno)
        }
    })
}

/// A socket file that nobody listens on may be replaced; anything else at `path` is in the way.
fn refuse_what_lives_at(path: &Path) -> Result<(), BindFailure> {
    match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(found) if !found.file_type().is_socket() => return Err(BindFailure::NotASocket),
        Ok(_) => {}
    }
    match connect_unix(path) {
        Ok(peer) => Err(unix_holder(path, Some(&peer))),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(()),
            // A full backlog, a socket of another type, no permission: somebody lives there.
            _ => Err(unix_holder(path, None)),
        },
    }
}

/// A short name in the folder of `path` that no other devwatch uses.
fn temporary_beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".dw{:x}-{count:x}", std::process::id()))
}

/// Device and inode of what is at `path`, a symlink not followed.
fn file_at(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path)
        .ok()
        .map(|found| (found.dev(), found.ino()))
}

/// Who listens on something that keeps `address` from being bound. `None` when the tables show nobody.
fn tcp_holder(address: SocketAddr) -> Option<BindFailure> {
    let rows = evidence::tcp_rows();
    let covers = |there: IpAddr| {
        let (there, here) = (there.to_canonical(), address.ip().to_canonical());
        there == here
            || there.is_unspecified() && (there.is_ipv6() || here.is_ipv4())
            || here.is_unspecified() && there.is_ipv4() == here.is_ipv4()
    };
    let on_port = || {
        rows.iter()
            .filter(|row| row.local.port() == address.port() && row.inode != 0)
    };
    // A connection that outlived its listener keeps the port too, unless both sides asked for SO_REUSEADDR.
    let row = on_port()
        .find(|row| row.state == TcpState::Listen && covers(row.local.ip()))
        .or_else(|| on_port().find(|row| covers(row.local.ip())))?;
    Some(match evidence::owner(row.inode) {
        Some(pid) => BindFailure::HeldBy(Holder {
            pid,
            command: command_of(pid),
        }),
        None => BindFailure::HeldUnseen(Some(row.uid)),
    })
}

/// Who listens on the unix socket at `path`. The kernel tells a connected peer who called `listen`; the table helps
/// where connecting failed, and only if the socket was not renamed since.
fn unix_holder(path: &Path, peer: Option<&UnixStream>) -> BindFailure {
    let listed = || {
        let row = evidence::unix_rows()
            .into_iter()
            .find(|row| row.inode != 0 && !row.connected && row.path == path)?;
        evidence::owner(row.inode)
    };
    match peer.and_then(listener_of).or_else(listed) {
        Some(pid) => BindFailure::HeldBy(Holder {
            pid,
            command: command_of(pid),
        }),
        None => BindFailure::HeldUnseen(None),
    }
}

#[cfg(target_os = "linux")]
fn listener_of(peer: &UnixStream) -> Option<Pid> {
    let credentials = getsockopt(peer, sockopt::PeerCredentials).ok()?;
    // 0 for a process of another pid namespace.
    (credentials.pid() > 0).then(|| Pid::from_raw(credentials.pid()))
}

/// Elsewhere the holder of a unix socket is not named.
#[cfg(not(target_os = "linux"))]
fn listener_of(_peer: &UnixStream) -> Option<Pid> {
    None
}

/// The command line of a process, at most 80 characters, nothing in it that a terminal would obey.
fn command_of(pid: Pid) -> String {
    const LONGEST: usize = 80;
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    let text: String = text
        .trim_end()
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some(_) => text.chars().take(LONGEST - 1).chain(['…']).collect(),
    }
}

/// A stream socket that closes on exec.
fn new_socket(family: AddressFamily) -> nix::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    return socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    // Two steps where there is no flag for it; the guardian starts processes, not this one, so nothing slips between.
    #[cfg(not(target_os = "linux"))]
    {
        let fd = socket(family, SockType::Stream, SockFlag::empty(), None)?;
        fcntl(&fd, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
        Ok(fd)
    }
}

fn backlog() -> Backlog {
    Backlog::new(BACKLOG.min(libc::SOMAXCONN)).expect("within the system's limit")
}

fn bound_to(fd: &OwnedFd) -> Option<SocketAddr> {
    let name: SockaddrStorage = getsockname(fd.as_raw_fd()).ok()?;
    let v4 = name.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| {
        name.as_sockaddr_in6()
            .map(|v6| SocketAddr::V6((*v6).into()))
    })
}

/// Blocking is systemd's convention for sockets that are handed on. A blocking server dies of EAGAIN on a nonblocking
/// one, while Go, tokio, Node and asyncio set the flag themselves.
fn set_blocking(fd: &OwnedFd) {
    if let Ok(flags) = fcntl(fd, FcntlArg::F_GETFL) {
        let flags = OFlag::from_bits_retain(flags);
        if flags.contains(OFlag::O_NONBLOCK) {
            let _ = fcntl(fd, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK));
        }
    }
}

/// Whether a unix socket was shut down; asks without waiting.
fn is_shut_down(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let polled = poll(&mut fds, PollTimeout::ZERO);
    polled.is_ok()
        && fds[0]
            .revents()
            .is_some_and(|seen| seen.contains(PollFlags::POLLHUP))
}

/// How many connections a listening socket has that nobody has accepted, with those that have hung up since.
#[cfg(target_os = "linux")]
fn unaccepted(socket: &OwnedFd) -> usize {
    // SAFETY: all fields of a tcp_info are numbers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `size` bytes into `info`, which is as large.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut size,
        )
    };
    // Of a listening socket this field is the length of its queue (tcp_get_info in the kernel).
    if result == 0 {
        info.tcpi_unacked as usize
    } else {
        0
    }
}

/// Nobody says it here.
#[cfg(not(target_os = "linux"))]
fn unaccepted(_socket: &OwnedFd) -> usize {
    0
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "measures how long connecting takes"
)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;
    use std::time::{Duration, Instant};

    use nix::fcntl::FdFlag;
    use nix::sys::socket::{Shutdown, shutdown};

    use super::super::trial::{Server, have, have_ipv6, until};
    use super::*;

    fn tcp(address: &str) -> Listen {
        Listen {
            name: "http".to_owned(),
            address: Address::Tcp(address.parse().expect("an address")),
        }
    }

    fn unix(path: &Path) -> Listen {
        Listen {
            name: "http".to_owned(),
            address: Address::Unix(path.to_owned()),
        }
    }

    fn held(entries: &[Listen]) -> Held {
        Held::bind(entries).unwrap_or_else(|error| panic!("{error}"))
    }

    fn address_of(held: &Held, index: usize) -> SocketAddr {
        match &held.addresses()[index] {
            Address::Tcp(address) => *address,
            Address::Unix(path) => panic!("{} is no TCP address", path.display()),
        }
    }

    fn refused(entry: &Listen) -> String {
        Held::bind(std::slice::from_ref(entry))
            .expect_err("it is held")
            .to_string()
    }

    fn raw(held: &Held) -> Vec<i32> {
        held.fds().iter().map(AsRawFd::as_raw_fd).collect()
    }

    #[test]
    fn port_zero_is_chosen_and_told() {
        let held = held(&[tcp("127.0.0.1:0")]);
        let port = held.port().expect("a TCP socket");
        assert_ne!(port, 0);
        assert_eq!(held.url(), Some(format!("http://127.0.0.1:{port}/")));
        assert_eq!(address_of(&held, 0).port(), port);
        assert_eq!(held.inodes().len(), 1);
    }

    #[test]
    fn descriptors_close_on_exec_and_block_and_are_not_shared_by_port() {
        let held = held(&[tcp("127.0.0.1:0")]);
        let fd = held.fds()[0];
        let flags = FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD).expect("open"));
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
        let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).expect("open"));
        assert!(!flags.contains(OFlag::O_NONBLOCK));
        assert!(!getsockopt(&fd, sockopt::ReusePort).expect("a socket"));
    }

    #[test]
    fn two_hundred_requests_wait_without_a_server() {
        let held = held(&[tcp("127.0.0.1:0")]);
        let address = address_of(&held, 0);
        let begun = Instant::now();
        // With std's backlog of 128 the kernel would drop the SYN of the 130th: a second each.
        let waiting: Vec<TcpStream> = (0..200)
            .map(|_| {
                TcpStream::connect_timeout(&address, Duration::from_secs(10))
                    .expect("the backlog has room")
            })
            .collect();
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?} for {}",
            begun.elapsed(),
            waiting.len()
        );
    }

    #[test]
    fn a_holder_is_named_with_pid_and_command() {
        if !have(&["python3"]) {
            return;
        }
        let mut server = Server::start(
            &[
                "python3",
                "-u",
                "-m",
                "http.server",
                "0",
                "--bind",
                "127.0.0.1",
            ],
            None,
        );
        let line = server.line();
        let port: u16 = line
            .split(' ')
            .nth(5)
            .and_then(|port| port.parse().ok())
            .expect("Serving HTTP on .. port N");
        let error = refused(&tcp(&format!("127.0.0.1:{port}")));
        let begin = format!(
            "cannot listen on 127.0.0.1:{port}: held by pid {} (",
            server.pid()
        );
        assert!(error.starts_with(&begin), "{error}");
        assert!(error.contains("-m http.server"), "{error}");
        assert!(
            error.ends_with("); stop it, or change \"listen\""),
            "{error}"
        );
        assert_eq!(
            holder(([127, 0, 0, 1], port).into()).map(|holder| holder.pid),
            Some(server.pid())
        );
        // A wildcard cannot be had either, and the holder is the same.
        assert!(refused(&tcp(&format!("0.0.0.0:{port}"))).contains(&begin[begin.len() - 12..]));
    }

    #[test]
    fn a_holder_on_the_wildcard_is_found_from_loopback() {
        let other = TcpListener::bind("0.0.0.0:0").expect("a free port");
        let port = other.local_addr().expect("bound").port();
        assert_eq!(
            holder(([127, 0, 0, 1], port).into()).map(|holder| holder.pid),
            Some(Pid::this())
        );
        assert_eq!(holder(([192, 0, 2, 1], 1).into()), None);
    }

    #[test]
    fn an_address_of_another_machine_is_refused_with_what_to_do() {
        assert_eq!(
            refused(&tcp("192.0.2.1:8080")),
            "cannot listen on 192.0.2.1:8080: this machine has no such address; change \"listen\""
        );
    }

    #[test]
    fn both_families_may_have_the_same_port() {
        if !have_ipv6() {
            return;
        }
        let v4 = held(&[tcp("0.0.0.0:0")]);
        let port = v4.port().expect("a TCP socket");
        let v6 = held(&[tcp(&format!("[::]:{port}"))]);
        TcpStream::connect(("::1", port)).expect("IPv6 is served");
        assert_eq!(v6.url(), Some(format!("http://[::1]:{port}/")));
        assert_eq!(v4.exposed(), [format!("0.0.0.0:{port}")]);
        assert_eq!(v6.exposed(), [format!("[::]:{port}")]);
        assert_eq!(
            held(&[tcp("127.0.0.1:0"), tcp("[::1]:0")]).exposed(),
            Vec::<String>::new()
        );
    }

    #[test]
    fn rebinding_keeps_the_sockets_that_did_not_change() {
        let mut held = held(&[tcp("127.0.0.1:0"), tcp("127.0.0.2:0")]);
        let (first, second) = (held.inodes()[0], address_of(&held, 1));
        let descriptor = raw(&held)[0];
        let mut admin = tcp("127.0.0.1:0");
        admin.name = "ad:min".to_owned();
        held.rebind(&[tcp("127.0.0.3:0"), admin])
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((held.inodes()[1], raw(&held)[1]), (first, descriptor));
        assert_eq!(held.names(), ["http", "ad_min"]);
        // Until it execs, a child that another test starts right now holds a copy.
        until("the old one to be closed", || {
            TcpStream::connect(second).is_err().then_some(())
        });
    }

    #[test]
    fn a_failed_rebind_leaves_everything_as_it_was() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let taken = taken
            .local_addr()
            .map(|address| (taken, address))
            .expect("bound");
        let mut held = held(&[tcp("127.0.0.1:0")]);
        let address = address_of(&held, 0);
        held.rebind(&[tcp(&address.to_string())])
            .unwrap_or_else(|error| panic!("{error}"));
        let before = held.view();
        let wildcard = tcp(&format!("0.0.0.0:{}", address.port()));
        until("the second to fail, not the first", || {
            // Until it execs, a child that another test starts right now holds a copy of the first.
            let error = held
                .rebind(&[wildcard.clone(), tcp(&taken.1.to_string())])
                .expect_err("taken");
            (error.address == Address::Tcp(taken.1)).then_some(())
        });
        // The wildcard had displaced it: same place, though another socket.
        assert_eq!(held.addresses(), before.addresses);
        TcpStream::connect(address).expect("still held");
        let before = held.view();
        held.rebind(&[tcp("127.0.0.9:0"), tcp(&taken.1.to_string())])
            .expect_err("the second is taken");
        assert_eq!(
            held.view(),
            before,
            "nothing was in the way, so not even the socket changed"
        );
        let twice = [tcp(&address.to_string()), tcp(&address.to_string())];
        held.rebind(&twice)
            .expect_err("one address cannot be had twice");
        assert_eq!(held.view(), before);
    }

    #[test]
    fn rebinding_to_the_wildcard_of_the_same_port_works() {
        let mut held = held(&[tcp("127.0.0.1:0")]);
        let wildcard = format!("0.0.0.0:{}", held.port().expect("a TCP socket"));
        // Until it execs, a child that another test starts right now holds a copy.
        until("the port to be free", || {
            held.rebind(&[tcp(&wildcard)]).ok()
        });
        assert_eq!(
            held.addresses(),
            [Address::Tcp(wildcard.parse().expect("an address"))]
        );
    }

    #[test]
    fn a_unix_socket_is_there_while_it_is_held() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("app.sock");
        let held = held(&[unix(&path)]);
        UnixStream::connect(&path).expect("it listens");
        assert_eq!((held.port(), held.url()), (None, None));
        drop(held);
        assert_eq!(
            fs::read_dir(folder.path()).expect("the folder").count(),
            0,
            "nothing remains"
        );
    }

    #[test]
    fn a_path_that_is_no_longer_ours_is_left_alone() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("app.sock");
        let held = held(&[unix(&path)]);
        fs::remove_file(&path).expect("it is there");
        let other = UnixListener::bind(&path).expect("the path is free");
        drop(held);
        UnixStream::connect(&path).expect("the other one still listens");
        drop(other);
    }

    #[test]
    fn only_a_stale_socket_file_is_replaced() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("app.sock");
        let shown = path.display().to_string();
        let other = UnixListener::bind(&path).expect("the path is free");
        let error = refused(&unix(&path));
        let begin = format!(
            "cannot listen on unix:{shown}: held by pid {} (",
            std::process::id()
        );
        assert!(error.starts_with(&begin), "{error}");
        drop(other);
        // A child that another test starts right now holds a copy until it execs.
        drop(until("the path to be free", || {
            Held::bind(&[unix(&path)]).ok()
        }));
        let _datagram = std::os::unix::net::UnixDatagram::bind(&path).expect("the path is free");
        assert!(
            refused(&unix(&path)).starts_with(&begin),
            "a socket of another type is alive too"
        );
        fs::remove_file(&path).expect("it is there");
        fs::write(&path, "text").expect("the path is free");
        assert!(refused(&unix(&path)).ends_with("no socket; move it away, or change \"listen\""));
        assert!(
            refused(&unix(&folder.path().join("no/app.sock")))
                .contains("its folder does not exist")
        );
        assert!(
            refused(&unix(&folder.path().join("x".repeat(120))))
                .contains("too long for a unix socket")
        );
    }

    #[test]
    fn a_nonblocking_socket_blocks_again_before_the_next_server() {
        let mut held = held(&[tcp("127.0.0.1:0")]);
        fcntl(held.fds()[0], FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("open");
        assert_eq!(held.prepare(), Vec::<String>::new());
        let flags = OFlag::from_bits_retain(fcntl(held.fds()[0], FcntlArg::F_GETFL).expect("open"));
        assert!(!flags.contains(OFlag::O_NONBLOCK));
    }

    #[test]
    fn a_socket_that_a_server_shut_down_listens_again_on_the_same_port() {
        let mut chosen = held(&[tcp("127.0.0.1:0")]);
        let address = address_of(&chosen, 0);
        let warning = format!(
            "the last server shut down the held socket {address}; devwatch listens on it again"
        );
        shutdown(raw(&chosen)[0], Shutdown::Both).expect("a socket");
        assert!(TcpStream::connect(address).is_err(), "it is shut down");
        assert_eq!(chosen.prepare(), [warning.as_str()]);
        assert_eq!(address_of(&chosen, 0), address);
        TcpStream::connect(address).expect("it listens again");
        drop(chosen);
        let mut fixed = held(&[tcp(&address.to_string())]);
        let inode = fixed.inodes()[0];
        shutdown(raw(&fixed)[0], Shutdown::Both).expect("a socket");
        assert_eq!(fixed.prepare(), [warning]);
        TcpStream::connect(address).expect("it listens again");
        assert_eq!(fixed.inodes(), [inode], "the socket is the same");
    }

    #[test]
    fn a_unix_socket_that_a_server_damaged_is_made_anew() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("app.sock");
        let mut held = held(&[unix(&path)]);
        shutdown(raw(&held)[0], Shutdown::Both).expect("a socket");
        assert!(UnixStream::connect(&path).is_err(), "it is shut down");
        let warnings = held.prepare();
        assert!(
            warnings[0].contains("shut down the held socket")
                && warnings[0].ends_with("made it anew")
        );
        UnixStream::connect(&path).expect("it listens again");
        fs::remove_file(&path).expect("it is there");
        let warnings = held.prepare();
        assert!(
            warnings[0].contains("removed the held socket")
                && warnings[0].ends_with("made it anew")
        );
        UnixStream::connect(&path).expect("it listens again");
        assert_eq!(held.prepare(), Vec::<String>::new());
        drop(held);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_server_listens_on_is_taken_from_it_and_outlives_it() {
        if !have(&["python3"]) {
            return;
        }
        let script = "
import os, socket
a, b = (socket.create_server(('127.0.0.1', 0)) for _ in 'ab')
c = socket.create_connection(a.getsockname())
again = os.dup(a.fileno())
print(a.getsockname()[1], b.getsockname()[1])
accepted = a.accept()[0]; accepted.recv(1)
";
        let mut server = Server::python(script, &[], None);
        let line = server.line();
        let ports: Vec<u16> = line
            .split(' ')
            .map(|port| port.parse().expect("a port"))
            .collect();
        let taken = take_listeners(server.pid()).expect("our own child");
        let of = |address: &Address| match address {
            Address::Tcp(address) => address.port(),
            Address::Unix(path) => panic!("{} is no TCP address", path.display()),
        };
        let told: Vec<u16> = taken.iter().map(|(_, address)| of(address)).collect();
        assert_eq!(told, ports);
        drop(server);
        for (fd, address) in taken {
            let flags = FdFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFD).expect("open"));
            assert!(flags.contains(FdFlag::FD_CLOEXEC));
            let listener = TcpListener::from(fd);
            let _client = TcpStream::connect(("127.0.0.1", of(&address))).expect("still held");
            listener.accept().expect("ours");
        }
        let error = take_listeners(Pid::from_raw(i32::MAX)).expect_err("nobody");
        assert_eq!(error.raw_os_error(), Some(Errno::ESRCH as i32));
    }

    #[test]
    fn a_child_serves_what_waited_before_it_was_started() {
        if !have(&["python3"]) {
            return;
        }
        let held = held(&[tcp("127.0.0.1:0")]);
        let mut client = TcpStream::connect(address_of(&held, 0)).expect("held");
        let script = "import socket; s = socket.socket(fileno=3); s.accept()[0].sendall(b'hello')";
        let server = Server::python(script, &[], Some(held.fds()[0]));
        let mut answer = String::new();
        io::Read::read_to_string(&mut client, &mut answer).expect("an answer");
        assert_eq!(answer, "hello");
        server.ended();
        until("the socket to be ours alone", || {
            (evidence::owner(held.inodes()[0])? == Pid::this()).then_some(())
        });
    }
}
