//! What only the Linux kernel offers, one function each, and beside it what remains elsewhere.
//!
//! Elsewhere (macOS) there is no subreaper, no parent-death signal and no pidfd: a process that leaves its
//! job's process group and loses its parent is out of reach there.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::tree::Process;

/// Makes the calling process the parent of every descendant whose own parent ends.
#[cfg(target_os = "linux")]
pub(super) fn become_subreaper() -> Result<(), Errno> {
    nix::sys::prctl::set_child_subreaper(true)
}

/// Elsewhere orphans fall to process 1, and devwatch loses sight of them.
#[cfg(not(target_os = "linux"))]
pub(super) fn become_subreaper() -> Result<(), Errno> {
    Ok(())
}

/// Sets what `ps` and `pkill` call this process. At most 15 bytes count.
#[cfg(target_os = "linux")]
pub(super) fn set_name(name: &CStr) {
    // A wrong name harms nobody.
    let _ = nix::sys::prctl::set_name(name);
}

/// Elsewhere the name stays that of the executable.
#[cfg(not(target_os = "linux"))]
pub(super) fn set_name(_name: &CStr) {}

/// Makes the kernel kill the calling process when `parent`, which forked it, has ended. Async-signal-safe.
/// The parent must be single-threaded: the kernel watches the thread that forked.
///
/// # Errors
/// `ESRCH` if the parent is already gone, which the kernel would never tell.
#[cfg(target_os = "linux")]
pub(super) fn die_with(parent: Pid) -> Result<(), Errno> {
    // SAFETY: prctl with these arguments touches no memory of ours.
    let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    Errno::result(done)?;
    if Pid::parent() == parent {
        Ok(())
    } else {
        Err(Errno::ESRCH)
    }
}

/// Elsewhere a process outlives its parent.
#[cfg(not(target_os = "linux"))]
pub(super) fn die_with(_parent: Pid) -> Result<(), Errno> {
    Ok(())
}

/// Another description of an open terminal, to write to: what is set on it is not set for anybody else.
///
/// # Errors
/// It belongs to another user.
#[cfg(target_os = "linux")]
pub(crate) fn reopen(terminal: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    use nix::fcntl::{OFlag, open};
    use std::os::fd::AsRawFd;

    let flags = OFlag::O_WRONLY | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let path = format!("/proc/self/fd/{}", terminal.as_raw_fd());
    open(path.as_str(), flags, nix::sys::stat::Mode::empty())
}

/// Elsewhere by its name.
#[cfg(not(target_os = "linux"))]
pub(crate) fn reopen(terminal: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    use nix::fcntl::{OFlag, open};

    let flags = OFlag::O_WRONLY | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let path = nix::unistd::ttyname(terminal)?;
    open(&path, flags, nix::sys::stat::Mode::empty())
}

/// Closes every descriptor of the calling process except `keep`.
pub(super) fn close_all_but(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|&fd| u32::try_from(fd).ok())
        .collect();
    keep.sort_unstable();
    let mut from = 0;
    for kept in keep {
        if kept > from {
            close_range(from, kept - 1);
        }
        from = from.max(kept + 1);
    }
    close_range(from, u32::MAX);
}

#[cfg(target_os = "linux")]
fn close_range(first: u32, last: u32) {
    // SAFETY: only descriptors that nobody in this process uses any more are in the range; see the callers.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if done < 0 {
        // Before Linux 5.9, or behind a seccomp filter that does not know the call.
        close_one_by_one(first, last);
    }
}

#[cfg(not(target_os = "linux"))]
fn close_range(first: u32, last: u32) {
    close_one_by_one(first, last);
}

fn close_one_by_one(first: u32, last: u32) {
    // 65,536 is beyond any descriptor that a freshly started guardian can have inherited in practice.
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .map_or(1024, |(soft, _)| soft.min(65_536));
    let limit = u32::try_from(limit).unwrap_or(1024);
    for fd in first..=last.min(limit) {
        // SAFETY: as above; closing a number that is not open does nothing.
        unsafe { libc::close(fd as RawFd) };
    }
}

/// Sends `signal` to exactly this process: a successor that took over its number is not touched.
///
/// # Errors
/// `ESRCH` if it is gone, `EPERM` if it belongs to somebody else (sudo).
#[cfg(target_os = "linux")]
pub(super) fn signal_exactly(process: &Process, signal: i32) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;

    let Some(pidfd) = pidfd_of(process)? else {
        return signal_by_number(process.pid, signal);
    };
    // SAFETY: a null siginfo makes the kernel fill it in as kill(2) does.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(sent).map(drop)
}

/// Elsewhere a number is all there is.
#[cfg(not(target_os = "linux"))]
pub(super) fn signal_exactly(process: &Process, signal: i32) -> Result<(), Errno> {
    signal_by_number(process.pid, signal)
}

/// A descriptor that becomes readable when exactly this process has ended, threads included, whoever its parent
/// is and whether or not it is reaped. Nothing where the kernel has none: before Linux 5.3, or behind a seccomp
/// filter.
///
/// # Errors
/// `ESRCH` if it is gone.
#[cfg(target_os = "linux")]
pub(super) fn pidfd_of(process: &Process) -> Result<Option<OwnedFd>, Errno> {
    use std::os::fd::FromRawFd;

    // SAFETY: pidfd_open takes two integers and gives a new descriptor or an error.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, process.pid.as_raw(), 0) };
    let pidfd = match Errno::result(opened) {
        // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
        Ok(fd) => Some(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }),
        // The check below is then all there is.
        Err(Errno::ENOSYS | Errno::EPERM) => None,
        Err(error) => return Err(error),
    };
    // The pidfd pins whoever has the number now; the start time says whether that is the one we mean.
    if super::tree::start_time(process.pid) != Some(process.start) {
        return Err(Errno::ESRCH);
    }
    Ok(pidfd)
}

/// Elsewhere there is none.
#[cfg(not(target_os = "linux"))]
pub(super) fn pidfd_of(_process: &Process) -> Result<Option<OwnedFd>, Errno> {
    Ok(None)
}

/// The wait status of a process that was reaped by somebody else, which Linux remembers from 6.15 on.
#[cfg(target_os = "linux")]
pub(super) fn status_of_reaped(pidfd: &OwnedFd) -> Option<i32> {
    use std::os::fd::AsRawFd;

    /// The kernel's `struct pidfd_info` in its first version, as long as which every later one is at least.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        status: i32,
    }
    const EXIT: u64 = 1 << 3;
    // Its number is made of the size of what it fills in.
    nix::ioctl_readwrite!(pidfd_get_info, 0xff, 11, Info);
    let mut info = Info {
        mask: EXIT,
        ..Info::default()
    };
    // SAFETY: the kernel fills in as many bytes as the number says, which is the size of `info`.
    unsafe { pidfd_get_info(pidfd.as_raw_fd(), &mut info) }.ok()?;
    (info.mask & EXIT != 0).then_some(info.status)
}

/// Elsewhere it is lost.
#[cfg(not(target_os = "linux"))]
pub(super) fn status_of_reaped(_pidfd: &OwnedFd) -> Option<i32> {
    None
}

/// Sends `signal` to `pid`: right only for a child that has not been reaped, whose number is therefore pinned.
///
/// # Errors
/// As kill(2).
pub(super) fn signal_by_number(pid: Pid, signal: i32) -> Result<(), Errno> {
    // SAFETY: kill takes two integers.
    Errno::result(unsafe { libc::kill(pid.as_raw(), signal) }).map(drop)
}
