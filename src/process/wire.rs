//! The words that devwatch, its guardian and the keepers exchange, and how they travel.
//!
//! Two kinds of line. Between devwatch and the guardian: frames of any length, with descriptors beside them
//! (`SCM_RIGHTS`). Between devwatch and each keeper: messages of 16 bytes. All ends are the same executable,
//! so there is no version; bytes that make no sense are an error, which the reader takes for the end of the line.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// How many descriptors one frame may carry. The kernel's limit is 253.
pub(super) const MOST_DESCRIPTORS: usize = 200;

/// Longest frame. The kernel takes 2 MiB of arguments and environment by default; this is far beyond.
const LONGEST_FRAME: u32 = 64 << 20;

/// What devwatch asks of the guardian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// The first frame: what the terminal must look like when devwatch is gone.
    Hello(Option<Modes>),
    /// Whether devwatch has drawn its full screen on the terminal. Not, before the first of these.
    Screen(bool),
    /// Start a keeper for a job. Beside it travel: the keeper's end of its line, the write ends for stdout and
    /// stderr, the read end for stdin if it has one, then what the job inherits from descriptor 3 on.
    Spawn(Spawn),
}

/// A terminal's settings, and who may expect to find them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Modes {
    /// devwatch's session and process group: if another group has the terminal by the time devwatch is gone,
    /// the shell has taken it back and set it up for itself.
    pub session: i32,
    pub group: i32,
    /// The process groups of devwatch's ancestors within its session: whoever of them gets the terminal back
    /// expects its main screen. Empty where there is no process table.
    pub ancestors: Vec<i32>,
    /// Input, output, control and local flags.
    pub flags: [u64; 4],
    pub control_chars: Vec<u8>,
}

/// A job, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spawn {
    pub job: u64,
    pub program: Vec<u8>,
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value`.
    pub env: Vec<Vec<u8>>,
    pub cwd: Vec<u8>,
    /// Whether a descriptor for stdin travels beside it.
    pub stdin: bool,
}

/// What the guardian tells devwatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// No keeper could be forked.
    NotKept { job: u64, errno: i32 },
    /// The keeper has ended, and nothing that hung below it is left.
    KeeperGone { job: u64 },
}

/// What devwatch tells a keeper. The end of the line is an order too: kill everything and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Signal the main process or everything.
    Signal { signal: i32, tree: bool },
    /// SIGKILL everything until nothing is left.
    KillTree,
    /// Signal this process, if it is below the keeper.
    Process { pid: i32, signal: i32 },
    /// Say when this process ends.
    Follow { pid: i32 },
    /// SIGKILL everything but this process and what is below it.
    KillExcept { keep: i32 },
}

/// What a keeper tells devwatch, in the order in which it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The main process executes its program.
    Spawned { pid: i32, keeper: i32 },
    /// It could not. Nothing follows.
    Failed { stage: Stage, errno: i32 },
    /// The main process ended: a wait status as wait(2) gives it.
    Exited { status: i32 },
    /// Somebody sent the keeper a signal: a server that takes its parent for its predecessor.
    Signalled { signal: i32, by: i32 },
    /// Nothing is left below the keeper. Nothing follows.
    Empty,
    /// A followed process ended: its wait status, unless another parent has taken it.
    Ended { pid: i32, status: Option<i32> },
}

/// Where the start of a process failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// fork(2).
    Fork,
    /// Session, descriptors, signals.
    Setup,
    /// The working directory.
    Chdir,
    /// execve(2).
    Exec,
}

/// Bytes of one message between devwatch and a keeper.
pub(super) const MESSAGE: usize = 16;

/// Sends one frame and, with its first byte, `descriptors`.
///
/// # Errors
/// The other end is gone, or more than [`MOST_DESCRIPTORS`].
pub(super) fn send(
    mut line: &UnixStream,
    frame: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let length = u32::try_from(frame.len())
        .ok()
        .filter(|&n| n <= LONGEST_FRAME);
    let Some(length) = length.filter(|_| descriptors.len() <= MOST_DESCRIPTORS) else {
        return Err(io::Error::from(Errno::E2BIG));
    };
    let header = length.to_le_bytes();
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights[..] };
    let parts = [IoSlice::new(&header), IoSlice::new(frame)];
    let sent = loop {
        match sendmsg::<()>(line.as_raw_fd(), &parts, control, MsgFlags::empty(), None) {
            Err(Errno::EINTR) => {}
            sent => break sent?,
        }
    };
    // The descriptors are over with the first byte; the rest of a long frame follows as plain bytes.
    let whole = [&header[..], frame].concat();
    line.write_all(&whole[sent..])
}

/// Receives one frame; nothing at the end of the line.
///
/// # Errors
/// The line broke in the middle of a frame.
pub(super) fn receive(mut line: &UnixStream) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut header = [0; 4];
    let mut descriptors = Vec::new();
    let mut have = 0;
    while have < header.len() {
        let got = receive_some(line, &mut header[have..], &mut descriptors)?;
        if got == 0 && have == 0 {
            return Ok(None);
        }
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        have += got;
    }
    let length = u32::from_le_bytes(header);
    if length > LONGEST_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; length as usize];
    line.read_exact(&mut frame)?;
    Ok(Some((frame, descriptors)))
}

fn receive_some(
    line: &UnixStream,
    bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let mut parts = [IoSliceMut::new(bytes)];
    #[cfg(target_os = "linux")]
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    // Elsewhere the flag is set below; the guardian, the only one to receive any, has but one thread.
    #[cfg(not(target_os = "linux"))]
    let flags = MsgFlags::empty();
    let message = loop {
        match recvmsg::<()>(line.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Err(Errno::EINTR) => {}
            message => break message?,
        }
    };
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            for fd in received {
                // SAFETY: the kernel has just installed this descriptor for us; nobody else owns it.
                let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                #[cfg(not(target_os = "linux"))]
                nix::fcntl::fcntl(
                    &fd,
                    nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
                )?;
                descriptors.push(fd);
            }
        }
    }
    Ok(message.bytes)
}

impl Request {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut frame = Frame::default();
        match self {
            Request::Hello(None) => frame.number(0),
            Request::Hello(Some(modes)) => {
                frame.number(1);
                frame.number(modes.session as u64);
                frame.number(modes.group as u64);
                frame.number(modes.ancestors.len() as u64);
                let ancestors = modes.ancestors.iter();
                ancestors.for_each(|&group| frame.number(group as u64));
                modes.flags.iter().for_each(|&flags| frame.number(flags));
                frame.bytes(&modes.control_chars);
            }
            Request::Spawn(spawn) => {
                frame.number(2);
                frame.number(spawn.job);
                frame.bytes(&spawn.program);
                frame.list(&spawn.argv);
                frame.list(&spawn.env);
                frame.bytes(&spawn.cwd);
                frame.number(spawn.stdin.into());
            }
            Request::Screen(up) => {
                frame.number(3);
                frame.number((*up).into());
            }
        }
        frame.0
    }

    pub(super) fn decode(frame: &[u8]) -> Option<Request> {
        let mut rest = Rest(frame);
        let request = match rest.number()? {
            0 => Request::Hello(None),
            1 => Request::Hello(Some(Modes {
                session: rest.number()? as i32,
                group: rest.number()? as i32,
                ancestors: rest.numbers()?.iter().map(|&group| group as i32).collect(),
                flags: [
                    rest.number()?,
                    rest.number()?,
                    rest.number()?,
                    rest.number()?,
                ],
                control_chars: rest.bytes()?,
            })),
            2 => Request::Spawn(Spawn {
                job: rest.number()?,
                program: rest.bytes()?,
                argv: rest.list()?,
                env: rest.list()?,
                cwd: rest.bytes()?,
                stdin: rest.number()? != 0,
            }),
            3 => Request::Screen(rest.number()? != 0),
            _ => return None,
        };
        rest.0.is_empty().then_some(request)
    }
}

impl Answer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut frame = Frame::default();
        match *self {
            Answer::NotKept { job, errno } => {
                frame.number(0);
                frame.number(job);
                frame.number(errno as u64);
            }
            Answer::KeeperGone { job } => {
                frame.number(1);
                frame.number(job);
            }
        }
        frame.0
    }

    pub(super) fn decode(frame: &[u8]) -> Option<Answer> {
        let mut rest = Rest(frame);
        let answer = match rest.number()? {
            0 => Answer::NotKept {
                job: rest.number()?,
                errno: rest.number()? as i32,
            },
            1 => Answer::KeeperGone {
                job: rest.number()?,
            },
            _ => return None,
        };
        rest.0.is_empty().then_some(answer)
    }
}

impl Order {
    pub(super) fn encode(&self) -> [u8; MESSAGE] {
        match *self {
            Order::Signal { signal, tree } => message([0, signal, i32::from(tree), 0]),
            Order::KillTree => message([1, 0, 0, 0]),
            Order::Process { pid, signal } => message([2, pid, signal, 0]),
            Order::Follow { pid } => message([3, pid, 0, 0]),
            Order::KillExcept { keep } => message([4, keep, 0, 0]),
        }
    }

    pub(super) fn decode(bytes: [u8; MESSAGE]) -> Option<Order> {
        match numbers(bytes) {
            [0, signal, tree, 0] => Some(Order::Signal {
                signal,
                tree: tree != 0,
            }),
            [1, 0, 0, 0] => Some(Order::KillTree),
            [2, pid, signal, 0] => Some(Order::Process { pid, signal }),
            [3, pid, 0, 0] => Some(Order::Follow { pid }),
            [4, keep, 0, 0] => Some(Order::KillExcept { keep }),
            _ => None,
        }
    }
}

impl Kept {
    pub(super) fn encode(&self) -> [u8; MESSAGE] {
        match *self {
            Kept::Spawned { pid, keeper } => message([0, pid, keeper, 0]),
            Kept::Failed { stage, errno } => message([1, stage.number(), errno, 0]),
            Kept::Exited { status } => message([2, status, 0, 0]),
            Kept::Signalled { signal, by } => message([3, signal, by, 0]),
            Kept::Empty => message([4, 0, 0, 0]),
            Kept::Ended { pid, status } => message([
                5,
                pid,
                i32::from(status.is_some()),
                status.unwrap_or_default(),
            ]),
        }
    }

    pub(super) fn decode(bytes: [u8; MESSAGE]) -> Option<Kept> {
        match numbers(bytes) {
            [0, pid, keeper, 0] => Some(Kept::Spawned { pid, keeper }),
            [1, stage, errno, 0] => Some(Kept::Failed {
                stage: Stage::from_number(stage)?,
                errno,
            }),
            [2, status, 0, 0] => Some(Kept::Exited { status }),
            [3, signal, by, 0] => Some(Kept::Signalled { signal, by }),
            [4, 0, 0, 0] => Some(Kept::Empty),
            [5, pid, 0, 0] => Some(Kept::Ended { pid, status: None }),
            [5, pid, 1, status] => Some(Kept::Ended {
                pid,
                status: Some(status),
            }),
            _ => None,
        }
    }
}

impl Stage {
    pub(super) fn number(self) -> i32 {
        match self {
            Stage::Fork => 0,
            Stage::Setup => 1,
            Stage::Chdir => 2,
            Stage::Exec => 3,
        }
    }

    pub(super) fn from_number(number: i32) -> Option<Stage> {
        [Stage::Fork, Stage::Setup, Stage::Chdir, Stage::Exec]
            .into_iter()
            .find(|stage| stage.number() == number)
    }
}

fn message(numbers: [i32; 4]) -> [u8; MESSAGE] {
    let mut bytes = [0; MESSAGE];
    for (place, number) in bytes.chunks_exact_mut(4).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

fn numbers(bytes: [u8; MESSAGE]) -> [i32; 4] {
    let at = |i: usize| i32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
    [at(0), at(4), at(8), at(12)]
}

/// A frame being written: numbers of eight bytes, byte strings with their length before them.
#[derive(Default)]
struct Frame(Vec<u8>);

impl Frame {
    fn number(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn list(&mut self, list: &[Vec<u8>]) {
        self.number(list.len() as u64);
        list.iter().for_each(|bytes| self.bytes(bytes));
    }
}

/// A frame being read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes.to_vec())
    }

    fn numbers(&mut self) -> Option<Vec<u64>> {
        // Collected one by one: a wrong count must not reserve memory.
        (0..self.number()?).map(|_| self.number()).collect()
    }

    fn list(&mut self) -> Option<Vec<Vec<u8>>> {
        // As above.
        (0..self.number()?).map(|_| self.bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

    use super::{Answer, Kept, Modes, Order, Request, Spawn, Stage, receive, send};

    fn requests() -> impl Strategy<Value = Request> {
        let list = || prop::collection::vec(any::<Vec<u8>>(), 0..8);
        prop_oneof![
            Just(Request::Hello(None)),
            (
                any::<i32>(),
                any::<i32>(),
                any::<Vec<i32>>(),
                any::<[u64; 4]>(),
                any::<Vec<u8>>()
            )
                .prop_map(|(session, group, ancestors, flags, control_chars)| {
                    Request::Hello(Some(Modes {
                        session,
                        group,
                        ancestors,
                        flags,
                        control_chars,
                    }))
                }),
            any::<bool>().prop_map(Request::Screen),
            (
                any::<u64>(),
                list(),
                list(),
                any::<Vec<u8>>(),
                any::<bool>()
            )
                .prop_map(|(job, argv, env, cwd, stdin)| {
                    Request::Spawn(Spawn {
                        job,
                        program: argv.first().cloned().unwrap_or_default(),
                        argv,
                        env,
                        cwd,
                        stdin,
                    })
                }),
        ]
    }

    proptest! {
        #[test]
        fn requests_come_back_as_they_went(request in requests()) {
            prop_assert_eq!(Request::decode(&request.encode()), Some(request));
        }

        #[test]
        fn answers_come_back_as_they_went(job: u64, errno: i32) {
            for answer in [Answer::NotKept { job, errno }, Answer::KeeperGone { job }] {
                prop_assert_eq!(Answer::decode(&answer.encode()), Some(answer));
            }
        }

        #[test]
        fn messages_come_back_as_they_went(a: i32, b: i32, tree: bool) {
            let orders = [
                Order::Signal { signal: a, tree },
                Order::KillTree,
                Order::Process { pid: a, signal: b },
                Order::Follow { pid: a },
                Order::KillExcept { keep: a },
            ];
            for order in orders {
                prop_assert_eq!(Order::decode(order.encode()), Some(order));
            }
            let stages = [Stage::Fork, Stage::Setup, Stage::Chdir, Stage::Exec];
            let kept = [
                Kept::Spawned { pid: a, keeper: b },
                Kept::Exited { status: a },
                Kept::Signalled { signal: a, by: b },
                Kept::Empty,
                Kept::Ended { pid: a, status: Some(b) },
                Kept::Ended { pid: a, status: None },
            ];
            for kept in kept.into_iter().chain(stages.map(|stage| Kept::Failed { stage, errno: a })) {
                prop_assert_eq!(Kept::decode(kept.encode()), Some(kept));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, message: [u8; 16]) {
            let _ = (Request::decode(&bytes), Answer::decode(&bytes), Order::decode(message), Kept::decode(message));
        }

        #[test]
        fn a_cut_request_is_no_request(request in requests(), keep in 0.0..1.0) {
            let frame = request.encode();
            prop_assert_eq!(Request::decode(&frame[..(frame.len() as f64 * keep) as usize]), None);
        }
    }

    #[test]
    fn descriptors_travel_with_their_own_frame() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let (one, mut one_end) = UnixStream::pair().expect("a pair");
        // Larger than any socket buffer, so that it travels in many pieces.
        let long = vec![7; 3 << 20];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                send(&here, b"", &[]).expect("sent");
                send(&here, &long, &[one.as_fd(), one.as_fd()]).expect("sent");
                send(&here, b"last", &[]).expect("sent");
                here.shutdown(std::net::Shutdown::Write).expect("closed");
            });
            let (frame, descriptors) = receive(&there).expect("received").expect("a frame");
            assert_eq!((frame.len(), descriptors.len()), (0, 0));
            let (frame, mut descriptors) = receive(&there).expect("received").expect("a frame");
            assert_eq!((frame == long, descriptors.len()), (true, 2));
            UnixStream::from(descriptors.remove(0))
                .write_all(b"x")
                .expect("the descriptor works");
            let (frame, descriptors) = receive(&there).expect("received").expect("a frame");
            assert_eq!((frame, descriptors.len()), (b"last".to_vec(), 0));
            assert!(receive(&there).expect("the end").is_none());
        });
        let mut byte = [0];
        one_end.read_exact(&mut byte).expect("it arrived");
    }

    #[test]
    fn a_line_that_breaks_within_a_frame_is_an_error() {
        let (mut here, there) = UnixStream::pair().expect("a pair");
        here.write_all(&[9, 0, 0, 0, 1, 2]).expect("written");
        drop(here);
        assert!(receive(&there).is_err());
    }
}
