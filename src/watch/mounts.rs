//! Which filesystems tell of every change, by their kind.
//!
//! inotify reports what this kernel does. What another machine, a hypervisor's host or a FUSE server changes by
//! itself gives no event here, so such folders are polled beside their events. The kind alone decides; nobody
//! measures. Reads the kernel's table of mounts and nothing else.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

/// A kind of filesystem whose files others change, too.
struct Remote {
    /// As the table of mounts names it; a trailing `*` stands for any rest.
    kind: &'static str,
    /// Who changes files there without an event.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "each line owes its reason; a test asks for it")
    )]
    why: &'static str,
}

const fn remote(kind: &'static str, why: &'static str) -> Remote {
    Remote { kind, why }
}

/// Everything else is taken for local: ext4, btrfs, xfs, zfs, tmpfs, overlay (a container's own files), fuseblk
/// (ntfs-3g on a local disk).
const REMOTE: &[Remote] = &[
    remote("nfs", "other clients and the server"),
    remote("nfs4", "other clients and the server"),
    remote("cifs", "other clients and the server"),
    remote("smb3", "other clients and the server"),
    remote("smbfs", "other clients and the server"),
    remote("ncpfs", "other clients and the server"),
    remote("afs", "other clients and the server"),
    remote("coda", "other clients and the server"),
    remote("ceph", "other clients"),
    remote("lustre", "other clients"),
    remote("glusterfs", "other clients"),
    remote("gfs2", "other nodes"),
    remote("ocfs2", "other nodes"),
    remote("9p", "the host of a virtual machine; Windows under WSL 2"),
    remote("drvfs", "Windows under WSL 1"),
    remote("virtiofs", "the host of a virtual machine"),
    remote("vboxsf", "the host of VirtualBox"),
    remote("vmhgfs", "the host of VMware"),
    remote("prl_fs", "the host of Parallels"),
    remote("fuse", "whoever serves it: sshfs, rclone"),
    remote("fuse.*", "whoever serves it: sshfs, rclone, Docker Desktop"),
];

/// The kinds of the mounted filesystems, by their device numbers.
#[derive(Debug)]
pub(super) struct Mounts {
    table: PathBuf,
    kinds: HashMap<u64, String>,
    /// Devices that were looked up, and whether they are remote.
    asked: HashMap<u64, bool>,
}

impl Mounts {
    /// `table`: a file like `/proc/self/mountinfo`. One that is missing makes everything local.
    pub(super) fn new(table: PathBuf) -> Mounts {
        Mounts {
            table,
            kinds: HashMap::new(),
            asked: HashMap::new(),
        }
    }

    /// The kind of the filesystem on `device`, if changes on it may give no event.
    pub(super) fn remote(&mut self, device: u64) -> Option<&str> {
        let remote = match self.asked.get(&device) {
            Some(remote) => *remote,
            None => {
                // Not seen before: it may have been mounted since.
                let text = fs::read_to_string(&self.table).unwrap_or_default();
                self.kinds = kinds(&text).collect();
                let remote = self.kinds.get(&device).is_some_and(|kind| is_remote(kind));
                self.asked.insert(device, remote);
                remote
            }
        };
        if !remote {
            return None;
        }
        self.kinds.get(&device).map(String::as_str)
    }
}

fn is_remote(kind: &str) -> bool {
    REMOTE.iter().any(|row| match row.kind.strip_suffix('*') {
        Some(beginning) => kind.starts_with(beginning),
        None => kind == row.kind,
    })
}

/// Device number and kind of each line: `36 35 98:0 /mnt1 /mnt2 rw master:1 - ext3 /dev/root rw` (proc(5)).
fn kinds(text: &str) -> impl Iterator<Item = (u64, String)> {
    text.lines().filter_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let (major, minor) = front.split(' ').nth(2)?.split_once(':')?;
        let device = nix::sys::stat::makedev(major.parse().ok()?, minor.parse().ok()?);
        Some((device, back.split(' ').next()?.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_owes_its_reason_and_is_named_once() {
        let mut kinds: Vec<&str> = REMOTE.iter().map(|row| row.kind).collect();
        assert!(REMOTE.iter().all(|row| !row.why.is_empty()));
        kinds.sort_unstable();
        let all = kinds.len();
        kinds.dedup();
        assert_eq!(kinds.len(), all);
    }

    #[test]
    fn the_kind_is_found_by_the_device() {
        let dir = tempfile::tempdir().expect("temp dir");
        let table = dir.path().join("mountinfo");
        let text = "\
            22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
            28 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
            damaged\n\
            40 28 0:33 / /mnt/c rw,noatime - 9p drvfs rw,dirsync,aname=drvfs;path=C:\\;uid=1000\n\
            41 28 0:34 /a\\040b /home/me/far rw shared:9 master:1 - fuse.sshfs me@host:/ - rw\n\
            42 28 0:35 / /media/usb rw - fuseblk /dev/sdb1 rw\n\
            43 28 0:36 / /merged rw - overlay overlay rw\n";
        fs::write(&table, text).expect("write");
        let mut mounts = Mounts::new(table);
        let mut kind = |major, minor| {
            mounts
                .remote(nix::sys::stat::makedev(major, minor))
                .map(str::to_owned)
        };
        assert_eq!(kind(0, 33).as_deref(), Some("9p"));
        assert_eq!(kind(0, 34).as_deref(), Some("fuse.sshfs"));
        for local in [(254, 0), (0, 35), (0, 36), (0, 99)] {
            assert_eq!(kind(local.0, local.1), None, "{local:?}");
        }
    }

    #[test]
    fn what_is_mounted_later_is_known_then_and_without_a_table_everything_is_local() {
        let dir = tempfile::tempdir().expect("temp dir");
        let table = dir.path().join("mountinfo");
        let mut mounts = Mounts::new(table.clone());
        let (early, late) = (
            nix::sys::stat::makedev(0, 50),
            nix::sys::stat::makedev(0, 51),
        );
        assert_eq!(mounts.remote(early), None);
        fs::write(&table, "1 1 0:51 / /far rw - nfs4 host:/ rw\n").expect("write");
        assert_eq!(mounts.remote(late), Some("nfs4"));
    }
}
