//! The processes of nginx, found by its pid file and `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// Ticks of a second in `/proc/PID/stat`: `USER_HZ`, the same on every Linux.
const TICKS: u64 = 100;
/// The title of a worker that accepts connections, see nginx's `ngx_worker_process_cycle`.
const ACCEPTS: &str = "nginx: worker process";
/// The title of a worker that finishes its requests, see the same function.
const SHUTS_DOWN: &str = "nginx: worker process is shutting down";

/// A worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Worker {
    /// Its process id.
    pub(super) pid: u32,
    /// When it was started.
    pub(super) started: SystemTime,
    /// Whether it accepts connections. Otherwise it is shutting down.
    pub(super) accepts: bool,
}

/// The workers of one nginx.
#[derive(Debug)]
pub(super) struct Workers {
    pid_file: PathBuf,
    /// Since when each worker is known to shut down.
    seen: Mutex<BTreeMap<u32, Instant>>,
}

impl Workers {
    pub(super) fn new(pid_file: &Path) -> Self {
        Self { pid_file: pid_file.to_owned(), seen: Mutex::default() }
    }

    /// The process id of the master. The error is a clause.
    pub(super) fn master(&self) -> Result<u32, String> {
        let text = fs::read_to_string(&self.pid_file).map_err(|error| error.to_string())?;
        let pid =
            text.trim().parse().map_err(|_| format!("it contains \"{}\" and no process id", text.trim()))?;
        let title = title(pid).ok_or_else(|| format!("it names process {pid}, which does not run"))?;
        match title.starts_with("nginx: master process") {
            true => Ok(pid),
            false => Err(format!("it names process {pid}, which is \"{title}\" and no master of nginx")),
        }
    }

    /// The pid file of the old master, while a binary upgrade is under way.
    pub(super) fn upgrade(&self) -> Option<PathBuf> {
        let mut name = self.pid_file.clone().into_os_string();
        name.push(".oldbin");
        Some(PathBuf::from(name)).filter(|path| path.exists())
    }

    /// All workers of the master. The error is a clause.
    pub(super) fn all(&self) -> Result<Vec<Worker>, String> {
        let master = self.master()?;
        let boot = boot().ok_or("/proc/uptime cannot be read")?;
        let processes = fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?;
        let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let workers: Vec<Worker> = pids.filter_map(|pid| worker(pid, master, boot)).collect();
        let mut seen = self.seen.lock();
        seen.retain(|pid, _| workers.iter().any(|worker| worker.pid == *pid && !worker.accepts));
        for worker in workers.iter().filter(|worker| !worker.accepts) {
            seen.entry(worker.pid).or_insert_with(Instant::now);
        }
        Ok(workers)
    }

    /// How long a worker has been shutting down, as far as that was seen.
    pub(super) fn shutting_down_for(&self, worker: &Worker) -> Duration {
        self.seen.lock().get(&worker.pid).map(Instant::elapsed).unwrap_or_default()
    }
}

fn worker(pid: u32, master: u32, boot: SystemTime) -> Option<Worker> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let is_zombie = fields.next()? == "Z";
    let parent: u32 = fields.next()?.parse().ok()?;
    if parent != master || is_zombie {
        return None;
    }
    let ticks: u64 = fields.nth(17)?.parse().ok()?;
    let started = boot + Duration::from_millis(ticks.saturating_mul(1000 / TICKS));
    let accepts = match title(pid)?.as_str() {
        ACCEPTS => true,
        SHUTS_DOWN => false,
        _ => return None,
    };
    Some(Worker { pid, started, accepts })
}

fn title(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// When the machine was booted, on today's clock.
fn boot() -> Option<SystemTime> {
    let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let up = Duration::new(u64::try_from(since.tv_sec).ok()?, u32::try_from(since.tv_nsec).ok()?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(UNIX_EPOCH + now.checked_sub(up)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_that_names_no_master_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nginx.pid");
        let workers = Workers::new(&path);
        for (text, said) in [
            (None, "No such file".to_owned()),
            (Some("x\n".to_owned()), "contains \"x\" and no process id".to_owned()),
            (Some("4194999".to_owned()), "names process 4194999, which does not run".to_owned()),
            (Some(std::process::id().to_string()), "and no master of nginx".to_owned()),
        ] {
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            let error = workers.all().unwrap_err();
            assert!(error.contains(&said), "{error}");
        }
        assert!(workers.upgrade().is_none());
        fs::write(folder.path().join("nginx.pid.oldbin"), "1").unwrap();
        assert!(workers.upgrade().is_some());
    }

    #[test]
    fn a_process_knows_when_it_was_started() {
        let before = SystemTime::now() - Duration::from_millis(50);
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let ticks: u64 =
            stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().nth(19).unwrap().parse().unwrap();
        let started = boot().unwrap() + Duration::from_millis(ticks * 1000 / TICKS);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(before <= started && started <= SystemTime::now() + Duration::from_millis(50), "{started:?}");
    }
}
