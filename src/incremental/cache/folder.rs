//! A folder that was reached without following a symlink, and what is done in it.
//!
//! `.devwatch` may have come with the project, and so may symlinks in the place of outputs: what is kept, restored
//! and cleared away goes through open folders, one name at a time, so that nothing that is put in the way meanwhile
//! leads elsewhere either. It decides nothing.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Seek as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fstat, fstatat, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use crate::watch::fingerprint::{self, Fingerprint};

pub(super) struct Folder {
    fd: OwnedFd,
    mount: OnceCell<Mount>,
}

/// What there is under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) kind: SeenKind,
    /// In bytes.
    pub(super) size: u64,
    /// When its content changed last: seconds and nanoseconds since 1970.
    pub(super) modified: (i64, i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeenKind {
    File,
    Link,
    /// A folder, a pipe, a socket, a device.
    Other,
}

/// Nothing is renamed from one mount to another. The device alone would not tell: a folder that is mounted into a
/// container from the same disk has the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    device: u64,
    number: Option<String>,
}

/// What to do about a folder that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Fails,
    IsMade,
}

impl Folder {
    /// The folder at `path`, wherever it leads: whoever names a root means that.
    pub(super) fn root(path: &Path) -> io::Result<Folder> {
        let opened = openat(
            nix::fcntl::AT_FDCWD,
            path,
            PASS | OFlag::O_CLOEXEC,
            Mode::empty(),
        );
        opened.map(Folder::new).map_err(|errno| about(path, errno))
    }

    /// The folder at `path` from here. No symlink is followed on the way.
    pub(super) fn below(&self, path: &Path, missing: Missing) -> io::Result<Folder> {
        let mut folder = Folder::new(self.fd.try_clone()?);
        for component in path.components() {
            let name = component.as_os_str();
            let opened = match folder.open(name) {
                Err(Errno::ENOENT) if missing == Missing::IsMade => folder.make(name),
                opened => opened,
            };
            folder = opened.map_err(|errno| {
                if !matches!(errno, Errno::ENOTDIR | Errno::ELOOP) {
                    return about(path, errno);
                }
                let (path, name) = (path.display(), name.display());
                let why = format!("{path}: {name} is a symlink, or no folder");
                io::Error::new(ErrorKind::NotADirectory, why)
            })?;
        }
        Ok(folder)
    }

    fn open(&self, name: &OsStr) -> nix::Result<Folder> {
        let flags = PASS | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.fd, name, flags, Mode::empty()).map(Folder::new)
    }

    fn make(&self, name: &OsStr) -> nix::Result<Folder> {
        step()?;
        match mkdirat(&self.fd, name, Mode::from_bits_truncate(0o777)) {
            Ok(()) | Err(Errno::EEXIST) => self.open(name),
            Err(errno) => Err(errno),
        }
    }

    fn new(fd: OwnedFd) -> Folder {
        let mount = OnceCell::new();
        Folder { fd, mount }
    }

    /// The names in it, sorted.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = Dir::openat(&self.fd, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// What is under `name`, if anything is.
    pub(super) fn look(&self, name: &OsStr) -> io::Result<Option<Seen>> {
        let found = match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(None),
            found => found?,
        };
        let kind = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits());
        let kind = match kind {
            SFlag::S_IFREG => SeenKind::File,
            SFlag::S_IFLNK => SeenKind::Link,
            _ => SeenKind::Other,
        };
        Ok(Some(Seen {
            kind,
            size: found.st_size as u64,
            modified: (found.st_mtime, found.st_mtime_nsec),
        }))
    }

    /// A file, for reading. Whatever else has its name is an error, and is not waited for.
    pub(super) fn read(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.fd, name, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        Ok(file)
    }

    /// The target text of a symlink.
    pub(super) fn target(&self, name: &OsStr) -> io::Result<OsString> {
        Ok(readlinkat(&self.fd, name)?)
    }

    /// Which mount it is on.
    pub(super) fn mount(&self) -> io::Result<&Mount> {
        if let Some(mount) = self.mount.get() {
            return Ok(mount);
        }
        let device = fstat(&self.fd)?.st_dev as u64;
        let number = mount_number(&self.fd);
        Ok(self.mount.get_or_init(|| Mount { device, number }))
    }

    // --- changes ---

    /// A new file for reading and writing that nobody else may read. What is there already is an error.
    pub(super) fn create(&self, name: &OsStr) -> io::Result<File> {
        step()?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o600);
        Ok(File::from(openat(&self.fd, name, flags, mode)?))
    }

    /// A new symlink. What is there already is an error.
    pub(super) fn link(&self, name: &OsStr, target: &OsStr) -> io::Result<()> {
        step()?;
        Ok(symlinkat(target, &self.fd, name)?)
    }

    /// Moves `name` to `new` in `to`, in place of the file or symlink that is there.
    pub(super) fn rename(&self, name: &OsStr, to: &Folder, new: &OsStr) -> io::Result<()> {
        step()?;
        Ok(renameat(&self.fd, name, &to.fd, new)?)
    }

    /// Removes a file or symlink.
    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        step()?;
        Ok(unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Makes now the time at which `name` was modified.
    pub(super) fn touch(&self, name: &OsStr) -> io::Result<()> {
        step()?;
        let now = TimeSpec::UTIME_NOW;
        let flags = UtimensatFlags::NoFollowSymlink;
        Ok(utimensat(&self.fd, name, &now, &now, flags)?)
    }
}

/// Fills the new file `copy` with the first `size` bytes of `from` and gives it `mode`. What the copy holds then is
/// read from the copy. Where the filesystem can, the two share their blocks until one is written to.
pub(super) fn copy(from: &File, size: u64, mut copy: File, mode: u32) -> io::Result<Fingerprint> {
    step()?;
    io::copy(&mut io::Read::take(from, size), &mut copy)?;
    step()?;
    copy.set_permissions(Permissions::from_mode(mode))?;
    copy.rewind()?;
    fingerprint::of_open(copy, size)
}

/// The folder of one path after the other. Paths in order share their folders, so the last one is kept open.
pub(super) struct Parents<'a> {
    root: &'a Folder,
    missing: Missing,
    last: Option<(PathBuf, Folder)>,
}

impl<'a> Parents<'a> {
    pub(super) fn new(root: &'a Folder, missing: Missing) -> Parents<'a> {
        let last = None;
        Parents {
            root,
            missing,
            last,
        }
    }

    /// The folder that the file at `path` is in, and its name there.
    pub(super) fn of<'b>(&mut self, path: &'b Path) -> io::Result<(&Folder, &'b OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let last = self.last.take().filter(|(path, _)| path == parent);
        let last = match last {
            Some(last) => last,
            None => (parent.to_owned(), self.root.below(parent, self.missing)?),
        };
        Ok((&self.last.insert(last).1, name))
    }
}

fn about(path: &Path, errno: Errno) -> io::Error {
    let error = io::Error::from(errno);
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A folder that one may pass through need not be one that one may list.
#[cfg(target_os = "linux")]
const PASS: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);
/// Elsewhere it must be one that one may list.
#[cfg(not(target_os = "linux"))]
const PASS: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY);

/// The kernel's number of the mount that an open folder is on (proc(5), fdinfo).
#[cfg(target_os = "linux")]
fn mount_number(fd: &OwnedFd) -> Option<String> {
    let number = std::os::fd::AsRawFd::as_raw_fd(fd);
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    line.map(|number| number.trim().to_owned())
}

/// Elsewhere only the device tells two mounts apart.
#[cfg(not(target_os = "linux"))]
fn mount_number(_fd: &OwnedFd) -> Option<String> {
    None
}

/// Every change of the disk comes by here first, so that tests can stop between any two of them, as a kill does:
/// from then on nothing changes any more, not even by what clears up after an error.
#[cfg(not(test))]
fn step() -> nix::Result<()> {
    Ok(())
}

#[cfg(test)]
fn step() -> nix::Result<()> {
    kill::step()
}

/// A devwatch that is killed between two changes of the disk, for tests.
#[cfg(test)]
pub(super) mod kill {
    use std::cell::Cell;

    use nix::errno::Errno;

    thread_local! {
        /// How many changes this thread may still make, and whether it wanted to make more.
        static LEFT: Cell<(u32, bool)> = const { Cell::new((u32::MAX, false)) };
    }

    pub(super) fn step() -> nix::Result<()> {
        let (left, killed) = LEFT.get();
        LEFT.set((left.saturating_sub(1), killed || left == 0));
        if left == 0 {
            return Err(Errno::EOWNERDEAD);
        }
        Ok(())
    }

    /// Does `work` as far as its first `changes` of the disk. Whether there would have been more.
    pub(in crate::incremental::cache) fn after<T>(
        changes: u32,
        work: impl FnOnce() -> T,
    ) -> (T, bool) {
        LEFT.set((changes, false));
        let done = work();
        let (_, killed) = LEFT.replace((u32::MAX, false));
        (done, killed)
    }
}
