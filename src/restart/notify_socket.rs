//! Where a server may say that it is ready: systemd's notification protocol.
//!
//! One socket per generation, so an old server can never speak for a new one. Its path goes to the server as
//! `NOTIFY_SOCKET`; what arrives goes to `ready`. Descriptors that are sent along are never taken.

use std::env;
use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::socket::{MsgFlags, recvmsg};
use nix::unistd::{Pid, Uid};

/// What the folder of every such socket begins with; then pid of its devwatch and a count.
const FOLDER: &str = "devwatch-notify-";

/// The longest path of a unix socket, in bytes.
const LONGEST_PATH: usize = 107;

/// The receiving end of `NOTIFY_SOCKET`. Dropping it removes the path.
#[derive(Debug)]
pub struct NotifySocket {
    socket: UnixDatagram,
    path: PathBuf,
}

/// One notification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// `READY=1`.
    pub ready: bool,
    /// `STATUS=`: what the server is doing, for people.
    pub status: Option<String>,
    /// `MAINPID=`: the process it wants to be known by.
    pub main_pid: Option<Pid>,
    /// Who sent it, from the kernel; `None` where the system does not tell.
    pub sender: Option<Pid>,
}

impl NotifySocket {
    /// Binds a socket in a new folder that only this user may enter: under `XDG_RUNTIME_DIR`, the temp folder or
    /// `/tmp`, the first that can be used. Also removes what a killed devwatch left there.
    ///
    /// # Errors: none of them can be written to.
    pub fn bind() -> io::Result<NotifySocket> {
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        let runtime = env::var_os("XDG_RUNTIME_DIR")
            .filter(|folder| !folder.is_empty())
            .map(PathBuf::from);
        for base in runtime
            .into_iter()
            .chain([env::temp_dir(), PathBuf::from("/tmp")])
        {
            match NotifySocket::bind_under(&base) {
                Ok(socket) => return Ok(socket),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn bind_under(base: &Path) -> io::Result<NotifySocket> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep(base);
        let folder = loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let folder = base.join(format!("{FOLDER}{}-{count}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => break folder,
                // Left by an earlier process with our pid, or put there by somebody else.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        };
        let path = folder.join("s");
        if path.as_os_str().len() > LONGEST_PATH {
            let _ = fs::remove_dir(&folder);
            return Err(io::Error::from(io::ErrorKind::InvalidFilename));
        }
        let bound = UnixDatagram::bind(&path).and_then(|socket| {
            socket.set_nonblocking(true)?;
            pass_credentials(&socket)?;
            Ok(socket)
        });
        match bound {
            Ok(socket) => Ok(NotifySocket { socket, path }),
            Err(error) => {
                let _ = fs::remove_file(&path);
                let _ = fs::remove_dir(&folder);
                Err(error)
            }
        }
    }

    /// What to set `NOTIFY_SOCKET` to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next notification that has arrived; `None` when there is none. Never waits.
    pub fn receive(&self) -> Option<Notice> {
        let mut buffer = [0; 4096];
        loop {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let mut control = control_space();
            let received = recvmsg::<()>(
                self.socket.as_raw_fd(),
                &mut slices,
                Some(&mut control),
                MsgFlags::MSG_CMSG_CLOEXEC,
            );
            let (length, sender) = match received {
                Ok(message) => (message.bytes, sender_of(&message)),
                Err(Errno::EINTR) => continue,
                Err(_) => return None,
            };
            return Some(Notice {
                sender,
                ..parse(&buffer[..length])
            });
        }
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        if let Some(folder) = self.path.parent() {
            let _ = fs::remove_dir(folder);
        }
    }
}

impl Notice {
    /// Whether it was sent by the server whose processes are `tree`. A sender that is gone again counts:
    /// `systemd-notify` in a shell script has left before anybody can look, and only this server was told the path.
    pub fn is_from(&self, tree: &[Pid]) -> bool {
        self.sender
            .is_none_or(|sender| tree.contains(&sender) || kill(sender, None) == Err(Errno::ESRCH))
    }
}

/// Reads a datagram: lines of `NAME=value`; what is unknown or malformed is passed over.
pub fn parse(datagram: &[u8]) -> Notice {
    let mut notice = Notice::default();
    for line in datagram.split(|byte| *byte == b'\n') {
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let value = String::from_utf8_lossy(&line[equals + 1..]);
        match &line[..equals] {
            b"READY" => notice.ready |= value == "1",
            // Shown on a terminal, so nothing in it may be obeyed by one.
            b"STATUS" => notice.status = Some(value.chars().filter(|c| !c.is_control()).collect()),
            b"MAINPID" => {
                notice.main_pid = value.parse().ok().filter(|pid| *pid > 0).map(Pid::from_raw)
            }
            _ => {}
        }
    }
    notice
}

/// Removes the folders of devwatches that are gone: a killed one could not.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| {
            name.strip_prefix(FOLDER)?
                .split_once('-')?
                .0
                .parse::<i32>()
                .ok()
        });
        let Some(pid) = pid.filter(|pid| *pid > 0) else {
            continue;
        };
        let ours = fs::symlink_metadata(entry.path())
            .is_ok_and(|found| found.is_dir() && found.uid() == Uid::effective().as_raw());
        if ours && kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
            let _ = fs::remove_file(entry.path().join("s"));
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(target_os = "linux")]
fn pass_credentials(socket: &UnixDatagram) -> io::Result<()> {
    Ok(nix::sys::socket::setsockopt(
        socket,
        nix::sys::socket::sockopt::PassCred,
        &true,
    )?)
}

#[cfg(target_os = "linux")]
fn control_space() -> Vec<u8> {
    // Room for the credentials alone: descriptors that come along (FDSTORE=1) do not fit, and the kernel drops them.
    nix::cmsg_space!(nix::sys::socket::UnixCredentials)
}

#[cfg(target_os = "linux")]
fn sender_of(message: &nix::sys::socket::RecvMsg<'_, '_, ()>) -> Option<Pid> {
    use nix::sys::socket::ControlMessageOwned;
    message.cmsgs().ok()?.find_map(|control| {
        let ControlMessageOwned::ScmCredentials(sender) = control else {
            return None;
        };
        // 0 for a process of another pid namespace.
        (sender.pid() > 0).then(|| Pid::from_raw(sender.pid()))
    })
}

/// Elsewhere nobody is told who sends; the folder that only this user may enter has to do.
#[cfg(not(target_os = "linux"))]
fn pass_credentials(_socket: &UnixDatagram) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn control_space() -> Vec<u8> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn sender_of(_message: &nix::sys::socket::RecvMsg<'_, '_, ()>) -> Option<Pid> {
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::trial::Server;
    use super::*;

    fn send(socket: &NotifySocket, text: &str) {
        let sender = UnixDatagram::unbound().expect("a socket");
        sender
            .send_to(text.as_bytes(), socket.path())
            .expect("it is bound");
    }

    #[test]
    fn a_notification_comes_with_the_pid_of_its_sender() {
        let socket = NotifySocket::bind().expect("a temp folder");
        assert_eq!(socket.receive(), None);
        send(&socket, "STATUS=warming \x1b[31mup\nMAINPID=42\nREADY=1");
        let notice = socket.receive().expect("it was sent");
        assert_eq!(
            (notice.ready, notice.main_pid),
            (true, Some(Pid::from_raw(42)))
        );
        assert_eq!(notice.status.as_deref(), Some("warming [31mup"));
        assert_eq!(notice.sender, cfg!(target_os = "linux").then(Pid::this));
        assert!(notice.is_from(&[Pid::this()]));
        assert_eq!(
            notice.is_from(&[]),
            !cfg!(target_os = "linux"),
            "a living stranger is not believed"
        );
        assert_eq!(socket.receive(), None);
    }

    #[test]
    fn what_makes_no_sense_is_passed_over() {
        for text in [
            "",
            "READY",
            "READY=0",
            "READY=1 ",
            "XREADY=1",
            "MAINPID=-1",
            "MAINPID=x",
            "=",
            "\n\n=\n",
        ] {
            assert_eq!(parse(text.as_bytes()), Notice::default(), "{text:?}");
        }
        assert!(parse(b"\xff\xfe=\xff\nREADY=1\n").ready);
    }

    #[test]
    fn only_this_user_may_reach_it_and_nothing_remains() {
        let socket = NotifySocket::bind().expect("a temp folder");
        let folder = socket
            .path()
            .parent()
            .expect("it is in a folder")
            .to_owned();
        assert_eq!(
            fs::metadata(&folder)
                .expect("it is there")
                .permissions()
                .mode()
                & 0o777,
            0o700
        );
        drop(socket);
        assert!(!folder.exists());
    }

    #[test]
    fn what_a_killed_devwatch_left_is_swept_away() {
        let base = tempfile::tempdir().expect("a temp folder");
        let server = Server::start(&["true"], None);
        let (dead, alive) = (server.pid(), std::process::id());
        server.ended();
        let left = base.path().join(format!("{FOLDER}{dead}-0"));
        let ours = base.path().join(format!("{FOLDER}{alive}-99999"));
        for folder in [&left, &ours] {
            fs::create_dir(folder).expect("writable");
            fs::write(folder.join("s"), "").expect("writable");
        }
        let socket = NotifySocket::bind_under(base.path()).expect("writable");
        assert!(!left.exists() && ours.exists());
        drop(socket);
    }
}
