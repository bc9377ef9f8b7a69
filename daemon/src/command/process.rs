//! Process groups that may outlive the daemon, and their identity.

use std::fs;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// How long a process group may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// The leader of a process group. The kernel reuses process ids, so the start time and the boot id identify the process too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The process id, which is also the group's id.
    pub pid: u32,
    /// `BOOT/START`: the kernel's boot id, and field 22 of /proc/PID/stat.
    pub birth: String,
}

impl Leader {
    /// Looks up a process. `None` if it does not exist.
    pub fn of(pid: u32) -> Option<Self> {
        let start = stat(pid)?.start;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Self { pid, birth: format!("{}/{start}", boot.trim()) })
    }

    /// Whether this process still runs.
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.runs()) && Self::of(self.pid).as_ref() == Some(self)
    }
}

/// Ends a process group if its leader still runs: SIGTERM, then SIGKILL after five seconds. If the leader has ended, the group is
/// left alone, because a successful command may leave processes in the background on purpose.
pub async fn end_group(leader: &Leader) {
    if leader.is_alive() {
        end(leader).await;
    }
}

/// Ends the rest of a process group whose leader has just been waited for. The kernel does not reuse the id while the group has a
/// member.
pub(super) async fn end_rest(leader: &Leader) {
    end(leader).await;
}

async fn end(leader: &Leader) {
    let Some(group) = i32::try_from(leader.pid).ok().and_then(Pid::from_raw) else { return };
    if !has_members(leader) {
        return;
    }
    let _ = kill_process_group(group, Signal::TERM);
    let grace = tokio::time::timeout(GRACE, async {
        while has_members(leader) {
            tokio::time::sleep(PAUSE).await;
        }
    });
    if grace.await.is_err() {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Whether a process of this group still runs. Zombies do not count.
fn has_members(leader: &Leader) -> bool {
    let Some(group) = i32::try_from(leader.pid).ok().and_then(Pid::from_raw) else { return false };
    if test_kill_process_group(group) == Err(Errno::SRCH) {
        return false;
    }
    let Ok(processes) = fs::read_dir("/proc") else { return true };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    leader.is_alive() || pids.filter_map(stat).any(|stat| stat.group == leader.pid && stat.runs())
}

/// Fields of /proc/PID/stat.
struct Stat {
    state: char,
    group: u32,
    start: u64,
}

impl Stat {
    fn runs(&self) -> bool {
        self.state != 'Z' && self.state != 'X'
    }
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain parentheses.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    let start = fields.nth(16)?.parse().ok()?;
    Some(Stat { state, group, start })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;

    #[test]
    fn this_process_is_itself() {
        let me = Leader::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        let other = Leader { birth: "another boot/1".to_owned(), ..me };
        assert!(!other.is_alive());
    }

    #[tokio::test]
    async fn a_stranger_with_the_same_id_is_left_alone() {
        let mut child = std::process::Command::new("/bin/sleep").arg("60").process_group(0).spawn().unwrap();
        let leader = Leader::of(child.id()).unwrap();
        end_group(&Leader { birth: "another boot/1".to_owned(), ..leader.clone() }).await;
        assert!(leader.is_alive());
        end_group(&leader).await;
        assert!(!leader.is_alive());
        child.wait().unwrap();
    }
}
