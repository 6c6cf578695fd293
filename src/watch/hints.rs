//! The edge to `notify`: kernel events in, hints out into one bounded channel.
//!
//! A hint says "look at this path", never what is true there. The callback runs on notify's own thread: it must
//! not block and must not place watches (that waits for its own thread). What does not fit into the channel
//! sets a flag, and the whole tree is compared instead: nothing is lost, only looked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::fingerprint::Fingerprint;
use super::tree::{Place, Placed, Stamp};

/// One kernel event about one path.
#[derive(Clone, Debug)]
pub(super) struct Hint {
    /// Absolute.
    pub(super) path: PathBuf,
    pub(super) what: What,
    /// When the callback got it.
    pub(super) at: Instant,
}

/// What the kernel said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Created,
    Written,
    /// Closed after writing.
    Closed,
    MovedIn,
    MovedAway,
    Removed,
    Attributes,
    /// Something; backends other than inotify do not always say what.
    Unsure,
}

/// What the coordinating thread receives.
#[derive(Debug)]
pub(super) enum Message {
    Hint(Hint),
    /// Contents of files whose stamp was as given before and after the reading.
    Baseline(Vec<(PathBuf, Stamp, Fingerprint)>),
    /// The debouncer of the settings: something there has been quiet for its time.
    Settings,
    /// Look at the flags.
    Wake,
}

/// What the callback and the coordinating thread share besides the channel.
#[derive(Debug, Default)]
pub(super) struct Flags {
    /// Events were lost: compare the whole tree.
    pub(super) overflow: AtomicBool,
    /// The watcher was dropped.
    pub(super) stop: AtomicBool,
}

impl Flags {
    /// Raises `flag` so that the receiver is sure to see it: either the wake-up goes in, or the channel
    /// is full and what is in it will be received after the flag was set.
    pub(super) fn raise(flag: &AtomicBool, inbox: &SyncSender<Message>) {
        flag.store(true, Ordering::SeqCst);
        let _ = inbox.try_send(Message::Wake);
    }
}

/// The kernel's watches. If it gives no watcher at all, every directory has to be polled.
pub(super) struct Kernel(Result<RecommendedWatcher, notify::Error>);

impl Kernel {
    /// Opens the one inotify instance of the tree.
    pub(super) fn new(inbox: SyncSender<Message>, flags: Arc<Flags>) -> Kernel {
        let config = notify::Config::default().with_follow_symlinks(false);
        Kernel(RecommendedWatcher::new(callback(inbox, flags), config))
    }

    fn limit(&self) -> String {
        match &self.0 {
            Ok(_) => {
                let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches")
                    .unwrap_or_default();
                format!(
                    "inotify watch limit reached ({}); raise fs.inotify.max_user_watches or ignore the largest folders",
                    limit.trim()
                )
            }
            Err(error) => format!(
                "the kernel gives no inotify instance ({error}); raise fs.inotify.max_user_instances or \"ulimit -n\""
            ),
        }
    }
}

#[cfg(target_os = "linux")]
impl Place for Kernel {
    fn watch(&mut self, dir: &Path, _is_root: bool) -> Placed {
        let Ok(watcher) = &mut self.0 else {
            return Placed::Full;
        };
        placed(watcher.watch(dir, RecursiveMode::NonRecursive))
    }

    fn unwatch(&mut self, dir: &Path) {
        if let Ok(watcher) = &mut self.0 {
            // Usually it is gone already, together with its directory.
            let _ = watcher.unwatch(dir);
        }
    }

    fn limit(&self) -> String {
        Kernel::limit(self)
    }
}

/// Elsewhere a watch per directory is not to be had (FSEvents starts its stream anew for each): one recursive watch
/// per root, and the same filter throws away what comes from ignored directories. Files closed after writing are not told
/// apart there, so every save waits for the whole quiet time.
#[cfg(not(target_os = "linux"))]
impl Place for Kernel {
    fn watch(&mut self, dir: &Path, is_root: bool) -> Placed {
        let Ok(watcher) = &mut self.0 else {
            return Placed::Full;
        };
        if is_root {
            placed(watcher.watch(dir, RecursiveMode::Recursive))
        } else {
            Placed::Watched
        }
    }

    fn unwatch(&mut self, dir: &Path) {
        if let Ok(watcher) = &mut self.0 {
            let _ = watcher.unwatch(dir);
        }
    }

    fn limit(&self) -> String {
        Kernel::limit(self)
    }
}

fn placed(result: notify::Result<()>) -> Placed {
    let Err(error) = result else {
        return Placed::Watched;
    };
    match error.kind {
        ErrorKind::MaxFilesWatch => Placed::Full,
        ErrorKind::PathNotFound => Placed::Gone,
        ErrorKind::Io(error) if error.kind() == std::io::ErrorKind::NotFound => Placed::Gone,
        ErrorKind::Io(_)
        | ErrorKind::Generic(_)
        | ErrorKind::WatchNotFound
        | ErrorKind::InvalidConfig(_) => Placed::Refused,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge where the kernel's events get their time"
)]
fn callback(
    inbox: SyncSender<Message>,
    flags: Arc<Flags>,
) -> impl FnMut(notify::Result<Event>) + Send + 'static {
    move |result| {
        let event = match result {
            Ok(event) if event.need_rescan() => return Flags::raise(&flags.overflow, &inbox),
            Ok(event) => event,
            // Whatever went wrong, events may be missing.
            Err(_) => return Flags::raise(&flags.overflow, &inbox),
        };
        let Some(what) = what(event.kind) else { return };
        let at = Instant::now();
        for path in event.paths {
            if let Err(TrySendError::Full(_)) =
                inbox.try_send(Message::Hint(Hint { path, what, at }))
            {
                Flags::raise(&flags.overflow, &inbox);
            }
        }
    }
}

/// `None` for what cannot be a change: being read, and the second telling of a rename.
fn what(kind: EventKind) -> Option<What> {
    match kind {
        EventKind::Create(_) => Some(What::Created),
        EventKind::Remove(_) => Some(What::Removed),
        EventKind::Modify(ModifyKind::Metadata(_)) => Some(What::Attributes),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Some(What::MovedAway),
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(What::MovedIn),
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) if cfg!(target_os = "linux") => None,
        EventKind::Modify(ModifyKind::Name(_)) => Some(What::Unsure),
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any | ModifyKind::Other) => {
            Some(What::Written)
        }
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(What::Closed),
        EventKind::Access(_) => None,
        EventKind::Any | EventKind::Other => Some(What::Unsure),
    }
}
