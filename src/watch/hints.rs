//! The edge to `notify`: kernel events in, hints out into one bounded channel.
//!
//! A hint says "look at this path", never what is true there. The callback runs on notify's own thread: it must
//! not block and must not place watches (that waits for its own thread). What does not fit into the channel
//! sets a flag, and the whole tree is compared instead: nothing is lost, only looked for.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::file::{Reading, Stamp};

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
    /// What came of reading files that had these stamps when they were seen.
    Baseline(Vec<(PathBuf, Stamp, Reading)>),
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
    /// Nobody knows that any was lost; whoever watches asks to make sure.
    pub(super) doubted: AtomicBool,
    /// Who waits to be told that everything so far was reported, since the coordinating thread last looked.
    pub(super) asked: Mutex<Vec<u64>>,
    /// The watcher was dropped.
    pub(super) stop: AtomicBool,
    /// Held while many files are read: opening one is an event, too, and waking the thread that takes events for each
    /// costs more than the reading.
    pub(super) gate: Arc<Mutex<()>>,
}

impl Flags {
    /// Raises `flag` so that the receiver is sure to see it: either the wake-up goes in, or the channel
    /// is full and what is in it will be received after the flag was set.
    pub(super) fn raise(flag: &AtomicBool, inbox: &SyncSender<Message>) {
        flag.store(true, Ordering::SeqCst);
        let _ = inbox.try_send(Message::Wake);
    }
}

/// Who places the watches. Several threads may ask at once, each on a lane of its own.
pub(super) trait Place {
    /// Watches one directory, not what is below it. Placing it twice is harmless.
    fn watch(&self, dir: &Path, is_root: bool, lane: Lane) -> Placed;
    /// Forgets it. Unknown directories are passed over.
    fn unwatch(&self, dir: &Path, lane: Lane);
    /// The lanes that events may come on by now. Each keeps its own order, and knows nothing of the others.
    fn lanes(&self) -> Vec<Lane>;
    /// Whoever holds this lock keeps events from being handed on. Placing a watch meanwhile would wait for ever.
    fn gate(&self) -> Arc<Mutex<()>>;
    /// Why [`Placed::Full`] was said and what to do about it: sentences. `placed` of `wanted` directories have a watch.
    fn limit(&self, placed: usize, wanted: usize) -> String;
}

/// One of several kernel queues: placing a watch waits for its queue's thread, so those who place many use many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lane(pub(super) u8);

impl Lane {
    /// Lanes are numbered from 0 to below this.
    pub(super) const COUNT: u8 = 4;
}

/// What came of [`Place::watch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// On this lane.
    Watched(Lane),
    /// The directory is not there any more.
    Gone,
    /// The system gives no more watches: it has to be polled.
    Full,
    /// It may not be watched (permissions); a change of its attributes is seen by its parent.
    Refused,
    /// Nobody asked: everything is polled.
    Unwanted,
}

/// The kernel's watches. Lane 0 is opened at once, the others by who needs them.
pub(super) struct Kernel {
    lanes: [Mutex<Option<RecommendedWatcher>>; Lane::COUNT as usize],
    /// Why there is no lane 0: every directory has to be polled.
    refused: Option<notify::Error>,
    inbox: SyncSender<Message>,
    flags: Arc<Flags>,
}

/// Lets events be handed on, thousands of them, by whoever has just let go of the [`Place::gate`]: the lock alone would be
/// taken again before anybody else wakes up.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing is waited for: it is others' turn"
)]
pub(super) fn let_others_go_on() {
    thread::sleep(Duration::from_millis(2));
}

impl Kernel {
    /// Opens the first inotify instance of the tree.
    pub(super) fn new(inbox: SyncSender<Message>, flags: Arc<Flags>) -> Kernel {
        let mut kernel = Kernel {
            lanes: Default::default(),
            refused: None,
            inbox,
            flags,
        };
        match kernel.open() {
            Ok(watcher) => *kernel.lane(Lane(0)) = Some(watcher),
            Err(error) => kernel.refused = Some(error),
        }
        kernel
    }

    fn open(&self) -> notify::Result<RecommendedWatcher> {
        let config = notify::Config::default().with_follow_symlinks(false);
        RecommendedWatcher::new(
            callback(self.inbox.clone(), Arc::clone(&self.flags)),
            config,
        )
    }

    fn lane(&self, lane: Lane) -> MutexGuard<'_, Option<RecommendedWatcher>> {
        self.lanes[usize::from(lane.0)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn open_lanes(&self) -> Vec<Lane> {
        let lanes = (0..Lane::COUNT).map(Lane);
        lanes.filter(|lane| self.lane(*lane).is_some()).collect()
    }

    fn watch_on(&self, dir: &Path, lane: Lane, mode: RecursiveMode) -> Placed {
        if self.refused.is_some() {
            return Placed::Full;
        }
        let mut watcher = self.lane(lane);
        if watcher.is_none() {
            *watcher = self.open().ok();
        }
        match &mut *watcher {
            Some(watcher) => placed(watcher.watch(dir, mode), lane),
            None => {
                drop(watcher);
                // No further instance is to be had: the first one serves all.
                self.watch_on(dir, Lane(0), mode)
            }
        }
    }
}

#[cfg(target_os = "linux")]
impl Place for Kernel {
    fn watch(&self, dir: &Path, _is_root: bool, lane: Lane) -> Placed {
        self.watch_on(dir, lane, RecursiveMode::NonRecursive)
    }

    fn unwatch(&self, dir: &Path, lane: Lane) {
        if let Some(watcher) = &mut *self.lane(lane) {
            // Usually it is gone already, together with its directory.
            let _ = watcher.unwatch(dir);
        }
    }

    fn lanes(&self) -> Vec<Lane> {
        self.open_lanes()
    }

    fn gate(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.flags.gate)
    }

    fn limit(&self, placed: usize, wanted: usize) -> String {
        super::limits::sentence(self.refused.is_some(), placed, wanted)
    }
}

/// Elsewhere a watch per directory is not to be had (FSEvents starts its stream anew for each): one recursive watch
/// per root, and the same filter throws away what comes from ignored directories. Files closed after writing are not told
/// apart there, so every save waits for the whole quiet time.
#[cfg(not(target_os = "linux"))]
impl Place for Kernel {
    fn watch(&self, dir: &Path, is_root: bool, _lane: Lane) -> Placed {
        if is_root {
            self.watch_on(dir, Lane(0), RecursiveMode::Recursive)
        } else {
            Placed::Watched(Lane(0))
        }
    }

    fn unwatch(&self, dir: &Path, _lane: Lane) {
        if let Some(watcher) = &mut *self.lane(Lane(0)) {
            let _ = watcher.unwatch(dir);
        }
    }

    fn lanes(&self) -> Vec<Lane> {
        self.open_lanes()
    }

    fn gate(&self) -> Arc<Mutex<()>> {
        Arc::clone(&self.flags.gate)
    }

    fn limit(&self, placed: usize, wanted: usize) -> String {
        format!("the system gives no more watches ({placed} of {wanted} folders have one)")
    }
}

fn placed(result: notify::Result<()>, lane: Lane) -> Placed {
    let Err(error) = result else {
        return Placed::Watched(lane);
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
        drop(flags.gate.lock().unwrap_or_else(PoisonError::into_inner));
        let event = match result {
            Ok(event) if event.need_rescan() => {
                log::debug!(target: "watch", "the kernel has lost events");
                return Flags::raise(&flags.overflow, &inbox);
            }
            Ok(event) => event,
            // Whatever went wrong, events may be missing.
            Err(error) => {
                log::debug!(target: "watch", "events may be missing: {error}");
                return Flags::raise(&flags.overflow, &inbox);
            }
        };
        let Some(what) = what(event.kind) else {
            log::debug!(target: "watch", "{:?} {:?}: dropped, changes nothing", event.kind, event.paths);
            return;
        };
        log::debug!(target: "watch", "{:?} {:?}: {what:?}", event.kind, event.paths);
        let at = Instant::now();
        for path in event.paths {
            if let Err(TrySendError::Full(_)) =
                inbox.try_send(Message::Hint(Hint { path, what, at }))
            {
                log::debug!(target: "watch", "no room for more events: every file will be compared");
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
