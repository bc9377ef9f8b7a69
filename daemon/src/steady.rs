//! A clock that goes on over restarts of the daemon.
//!
//! Deadlines in the journal are points in time. A wall clock that is set between two runs of the daemon would end a warm window
//! early, or prolong it. So the first daemon after a boot notes the wall time beside the kernel's time since the boot, which nobody
//! can set, and a later one goes on from there. After a reboot, and when no deployment is open, the wall clock counts.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use cutover_core::deployment::Time;
use cutover_engine::clock::Clock;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Identifies a boot of the kernel.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// One moment on both clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Moment {
    boot: String,
    since_boot_ms: u64,
    time: Time,
}

/// The clock of a daemon whose state is in `folder`. `goes_on`: whether a deployment is open, whose deadlines depend on it.
pub(crate) fn clock(folder: &Path, goes_on: bool) -> Clock {
    let path = folder.join("clock");
    let wall = Clock::start();
    let Some(mut now) = now(wall.now()) else { return wall };
    let before = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Moment>(&text).ok());
    if let Some(time) = before.filter(|_| goes_on).and_then(|before| before.at(&now)) {
        now.time = time;
    }
    if let Err(error) = write(&path, &now) {
        tracing::warn!(file = %path.display(), %error, "failed to note the time; the next daemon uses the wall clock");
    }
    Clock::starting_at(now.time)
}

impl Moment {
    /// The time at a later moment of the same boot.
    fn at(&self, now: &Self) -> Option<Time> {
        let passed = now.since_boot_ms.checked_sub(self.since_boot_ms).filter(|_| self.boot == now.boot)?;
        Some(self.time.after(Duration::from_millis(passed)))
    }
}

fn now(time: Time) -> Option<Moment> {
    let boot = fs::read_to_string(BOOT_ID).ok()?.trim().to_owned();
    let uptime = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(uptime.tv_sec).ok()?;
    let milliseconds = u64::try_from(uptime.tv_nsec).ok()? / 1_000_000;
    Some(Moment { boot, since_boot_ms: seconds * 1_000 + milliseconds, time })
}

fn write(path: &Path, moment: &Moment) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(moment)?)?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(boot: &str, since_boot_ms: u64, time: u64) -> Moment {
        Moment { boot: boot.to_owned(), since_boot_ms, time: Time(time) }
    }

    #[test]
    fn only_the_same_boot_goes_on() {
        let before = moment("a", 5_000, 1_000_000);
        for (now, time) in [
            (moment("a", 65_000, 9_000_000), Some(Time(1_060_000))),
            (moment("a", 65_000, 0), Some(Time(1_060_000))),
            (moment("a", 4_000, 1_000_000), None),
            (moment("b", 65_000, 1_060_000), None),
        ] {
            assert_eq!(before.at(&now), time, "{now:?}");
        }
    }

    #[test]
    fn a_set_clock_changes_nothing_while_a_deployment_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clock");
        let mut noted = now(Time(5_000)).unwrap();
        for (goes_on, text, expected) in [
            (true, Some(serde_json::to_vec(&noted).unwrap()), true),
            (false, Some(serde_json::to_vec(&noted).unwrap()), false),
            (true, Some(b"half a fi".to_vec()), false),
            (true, None, false),
        ] {
            let _ = fs::remove_file(&path);
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            let time = clock(folder.path(), goes_on).now();
            assert_eq!(time < Time(1_000_000), expected, "{goes_on}: {time:?}");
            let kept: Moment = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            assert_eq!(kept.time < Time(1_000_000), expected);
        }
        noted.boot = "another".to_owned();
        fs::write(&path, serde_json::to_vec(&noted).unwrap()).unwrap();
        assert!(clock(folder.path(), true).now() > Time(1_000_000), "after a reboot the wall clock counts");
    }
}
