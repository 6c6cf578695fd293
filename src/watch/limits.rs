//! Which limit of the kernel was met, and the line that raises it.

use std::fs;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};

/// What the kernel allows this user, and where that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit {
    name: &'static str,
    value: u64,
}

/// Says what is missing: `no_instance` if the kernel gave no inotify instance at all, else it gave too few watches:
/// `placed` of the `wanted`.
pub(super) fn sentence(no_instance: bool, placed: usize, wanted: usize) -> String {
    if !no_instance {
        let limit = smaller("fs.inotify.max_user_watches", "user.max_inotify_watches");
        return watches(limit, placed, wanted);
    }
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as u64;
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft <= open + ROOM
    {
        return files(open, soft, hard);
    }
    instances(smaller(
        "fs.inotify.max_user_instances",
        "user.max_inotify_instances",
    ))
}

/// File descriptors that an inotify instance takes, with what its reader needs, and a few more.
const ROOM: u64 = 8;

fn watches(limit: Option<Limit>, placed: usize, wanted: usize) -> String {
    let least = (wanted as u64 * 2).next_power_of_two().max(524_288);
    let remedy = remedy(limit, least, "fs.inotify.max_user_watches");
    format!(
        "the kernel gives no more inotify watches: {wanted} folders need one and {placed} have one{remedy}, or ignore \
         folders that need no watching"
    )
}

fn instances(limit: Option<Limit>) -> String {
    let remedy = remedy(limit, 1024, "fs.inotify.max_user_instances");
    format!("the kernel gives no inotify instance: 1 is needed and 0 are to be had{remedy}")
}

fn files(open: u64, soft: u64, hard: u64) -> String {
    let enough = (soft * 4).max(1024);
    let remedy = if enough <= hard {
        format!("`ulimit -n {enough}`")
    } else {
        "a higher hard limit (limits.conf)".to_owned()
    };
    format!(
        "no inotify instance: devwatch has {open} files open, may have {soft} and needs {} more; raise that with \
         {remedy}",
        ROOM
    )
}

fn remedy(limit: Option<Limit>, least: u64, name: &str) -> String {
    let (name, is) = match limit {
        Some(Limit { name, value }) => (name, format!("{name} is {value}")),
        None => (name, format!("see {name}")),
    };
    format!(
        "; {is}: raise it with `sudo sysctl -w {name}={least}` (for good: `echo {name}={least} | sudo tee \
         /etc/sysctl.d/60-devwatch.conf`)"
    )
}

/// The limit of the whole machine, or that of this user namespace if it is smaller.
fn smaller(machine: &'static str, namespace: &'static str) -> Option<Limit> {
    let limits = [machine, namespace].into_iter().filter_map(|name| {
        let file = Path::new("/proc/sys").join(name.replace('.', "/"));
        let value = fs::read_to_string(file).ok()?.trim().parse().ok()?;
        Some(Limit { name, value })
    });
    // The first of equal ones: both are the same number outside of namespaces.
    limits.min_by_key(|limit| limit.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn each_limit_is_named_with_what_is_there_what_is_needed_and_what_to_do() {
        let limit = |name, value| Some(Limit { name, value });
        let told = [
            watches(limit("fs.inotify.max_user_watches", 8192), 8000, 9500),
            watches(limit("user.max_inotify_watches", 5), 5, 900_000),
            watches(None, 0, 3),
            instances(limit("fs.inotify.max_user_instances", 128)),
            files(61, 64, 1_048_576),
            files(61, 64, 64),
        ];
        expect![[r#"
            the kernel gives no more inotify watches: 9500 folders need one and 8000 have one; fs.inotify.max_user_watches is 8192: raise it with `sudo sysctl -w fs.inotify.max_user_watches=524288` (for good: `echo fs.inotify.max_user_watches=524288 | sudo tee /etc/sysctl.d/60-devwatch.conf`), or ignore folders that need no watching
            the kernel gives no more inotify watches: 900000 folders need one and 5 have one; user.max_inotify_watches is 5: raise it with `sudo sysctl -w user.max_inotify_watches=2097152` (for good: `echo user.max_inotify_watches=2097152 | sudo tee /etc/sysctl.d/60-devwatch.conf`), or ignore folders that need no watching
            the kernel gives no more inotify watches: 3 folders need one and 0 have one; see fs.inotify.max_user_watches: raise it with `sudo sysctl -w fs.inotify.max_user_watches=524288` (for good: `echo fs.inotify.max_user_watches=524288 | sudo tee /etc/sysctl.d/60-devwatch.conf`), or ignore folders that need no watching
            the kernel gives no inotify instance: 1 is needed and 0 are to be had; fs.inotify.max_user_instances is 128: raise it with `sudo sysctl -w fs.inotify.max_user_instances=1024` (for good: `echo fs.inotify.max_user_instances=1024 | sudo tee /etc/sysctl.d/60-devwatch.conf`)
            no inotify instance: devwatch has 61 files open, may have 64 and needs 8 more; raise that with `ulimit -n 1024`
            no inotify instance: devwatch has 61 files open, may have 64 and needs 8 more; raise that with a higher hard limit (limits.conf)"#]]
        .assert_eq(&told.join("\n"));
    }
}
