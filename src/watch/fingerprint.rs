//! The content of a file as one number, so that "did it change" is a question about bytes.
//!
//! Times and inode numbers only tell that a file may have changed; `touch`, a formatter without effect and
//! a rewrite of the same bytes change them too. This module never follows a symlink and never blocks on
//! what is not a file. Used for what is watched and for what rules write.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_128, xxh3_128_with_seed};

/// xxh3_128 of a content. Not cryptographic: it tells saves apart, nobody attacks it, and it costs less than the read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The same on every machine.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

/// Little-endian bytes: without the alignment of a `u128`, which would cost every watched file a third of its memory.
impl From<u128> for Fingerprint {
    fn from(hash: u128) -> Fingerprint {
        Fingerprint(hash.to_le_bytes())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_le_bytes(self.0))
    }
}

/// A link and a file with the same bytes are different things.
const LINK_SEED: u64 = 1;

/// How often a path may turn into something else between the look and the open before that is an error.
const TRIES: usize = 8;

/// The content of the file at `path`; of a symlink, its target text. `None` if there is neither: nothing, a
/// directory, a socket, a pipe or a device.
///
/// # Errors
/// The file is there and cannot be read.
pub fn of_file(path: &Path) -> io::Result<Option<Fingerprint>> {
    let mut last = None;
    for _ in 0..TRIES {
        let Some(meta) = absent_as_none(fs::symlink_metadata(path))? else {
            return Ok(None);
        };
        match read(path, &meta) {
            Err(error) if is_other_kind(&error) => last = Some(error),
            read => return read,
        }
    }
    Err(last.expect("every try ended in an error"))
}

/// The fingerprint of these bytes: what [`of_file`] gives for a file that holds them.
pub fn of_bytes(bytes: &[u8]) -> Fingerprint {
    Fingerprint::from(xxh3_128(bytes))
}

/// The fingerprint of a symlink with this target text: what [`of_file`] gives for it.
pub fn of_link(target: &OsStr) -> Fingerprint {
    Fingerprint::from(xxh3_128_with_seed(target.as_bytes(), LINK_SEED))
}

/// As [`of_file`], of a path that `meta` was just taken from by `lstat`.
///
/// # Errors
/// The file is there and cannot be read.
pub fn of_seen(path: &Path, meta: &Metadata) -> io::Result<Option<Fingerprint>> {
    match read(path, meta) {
        // Replaced since.
        Err(error) if is_other_kind(&error) => of_file(path),
        read => read,
    }
}

/// ELOOP is a file that became a link, EINVAL a link that became a file.
fn is_other_kind(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ELOOP | libc::EINVAL))
}

fn read(path: &Path, meta: &Metadata) -> io::Result<Option<Fingerprint>> {
    if meta.is_symlink() {
        let target = absent_as_none(fs::read_link(path))?;
        return Ok(target.map(|target| of_link(target.as_os_str())));
    }
    if !meta.is_file() {
        return Ok(None);
    }
    // O_NONBLOCK: if a pipe has taken its place since, opening it must not wait for a writer.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let Some(file) = absent_as_none(opened)? else {
        return Ok(None);
    };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    of_open(file, meta.len()).map(Some)
}

/// The content of an open file from where it stands to its end. `expected` is how many bytes that should be; one
/// that is wrong costs time and nothing else.
///
/// # Errors
/// It cannot be read.
pub fn of_open(mut file: File, expected: u64) -> io::Result<Fingerprint> {
    // Small files in one read and one hash, large ones in pieces, so that memory stays bounded.
    const PIECE: usize = 64 * 1024;
    // One byte more than it should have: a read that leaves it empty has met the end.
    let mut piece = vec![0; (expected as usize).saturating_add(1).min(PIECE)];
    let mut hash: Option<Xxh3> = None;
    loop {
        match file.read(&mut piece) {
            Ok(read) if read < piece.len() && hash.is_none() => {
                return Ok(of_bytes(&piece[..read]));
            }
            Ok(read) => {
                let hash = hash.get_or_insert_default();
                hash.update(&piece[..read]);
                if read == 0 {
                    return Ok(Fingerprint::from(hash.digest128()));
                }
                piece.resize(PIECE, 0);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn absent_as_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn same_bytes_are_the_same_whatever_the_size() {
        let dir = tempfile::tempdir().expect("temp dir");
        for size in [0, 1, 65_535, 65_536, 65_537, 3_000_000] {
            let bytes: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
            fs::write(dir.path().join("a"), &bytes).expect("write");
            fs::write(dir.path().join("b"), &bytes).expect("write");
            let a = of_file(&dir.path().join("a")).expect("read");
            assert_eq!(a, of_file(&dir.path().join("b")).expect("read"), "{size}");
            assert_eq!(a, Some(of_bytes(&bytes)), "{size}");
            fs::write(dir.path().join("b"), [&bytes[..], b"x"].concat()).expect("write");
            assert_ne!(a, of_file(&dir.path().join("b")).expect("read"), "{size}");
        }
    }

    #[test]
    fn a_link_is_its_target_text_and_differs_from_a_file_with_that_text() {
        let dir = tempfile::tempdir().expect("temp dir");
        symlink("nowhere", dir.path().join("a")).expect("link");
        symlink("nowhere", dir.path().join("b")).expect("link");
        symlink("elsewhere", dir.path().join("c")).expect("link");
        fs::write(dir.path().join("d"), "nowhere").expect("write");
        let of = |name: &str| of_file(&dir.path().join(name)).expect("read");
        assert!(of("a").is_some());
        assert_eq!(of("a"), of("b"));
        assert_eq!(of("a"), Some(of_link(OsStr::new("nowhere"))));
        assert_ne!(of("a"), of("c"));
        assert_ne!(of("a"), of("d"));
    }

    #[test]
    fn what_is_no_file_has_no_content_and_never_blocks() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join("file"), "x").expect("write");
        nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU)
            .expect("mkfifo");
        for name in ["", "absent", "pipe", "file/below"] {
            assert_eq!(of_file(&dir.path().join(name)).expect(name), None, "{name}");
        }
    }
}
