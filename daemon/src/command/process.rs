//! A process group that may outlive the daemon, and how to be sure that it is still the same one.

use std::fs;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde::{Deserialize, Serialize};

/// How long a group may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// The leader of a process group. An id alone may have passed on to another process; an id, a start time and a boot have not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// The process id, which is the group's id too.
    pub pid: u32,
    /// `BOOT/START`: the kernel's boot id, and field 22 of /proc/PID/stat.
    pub birth: String,
}

impl Leader {
    /// Looks a live process up.
    pub fn of(pid: u32) -> Option<Self> {
        let (_, start) = stat(pid)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(Self { pid, birth: format!("{}/{start}", boot.trim()) })
    }

    /// Whether this very process still runs.
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|(state, _)| state != 'Z' && state != 'X')
            && Self::of(self.pid).as_ref() == Some(self)
    }
}

/// Ends the group of a leader that still is the same process: SIGTERM, and SIGKILL for whatever is left after five seconds.
/// A leader that has ended leaves its group alone: what a command has put into the background on purpose is the operator's.
pub async fn end_group(leader: &Leader) {
    let Some(group) = i32::try_from(leader.pid).ok().and_then(Pid::from_raw) else { return };
    if !leader.is_alive() {
        return;
    }
    let _ = kill_process_group(group, Signal::TERM);
    let grace = tokio::time::timeout(GRACE, async {
        while test_kill_process_group(group) != Err(Errno::SRCH) && leader.is_alive() {
            tokio::time::sleep(PAUSE).await;
        }
    });
    let _ = grace.await;
    let _ = kill_process_group(group, Signal::KILL);
}

/// State and start time of a process.
fn stat(pid: u32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, parentheses too.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((state, start))
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
