//! Processes by id: whether they run, their titles, their open files, and how to end them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{kill_process, kill_process_group};

use crate::wait;

pub use rustix::process::{Pid, Signal};

/// Whether the process runs. A zombie does not run, unless one of its threads has not ended: then its files are still open.
pub fn alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in brackets may contain brackets: the state follows the last one.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    match state {
        None | Some('X') => false,
        Some('Z') => fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|threads| threads.count() > 1),
        Some(_) => true,
    }
}

/// The command line as `ps` shows it; nginx writes a process's role there. Empty once the process has ended.
pub fn title(pid: Pid) -> String {
    let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&raw).replace('\0', " ").trim_end().to_owned()
}

/// Sends a signal. Fails when there is no such process.
pub fn signal(pid: Pid, signal: Signal) -> Result<()> {
    kill_process(pid, signal).with_context(|| format!("failed to send signal {signal:?} to process {pid}"))
}

/// Sends a signal to a process group, if it still exists.
pub fn signal_group(leader: Pid, signal: Signal) {
    let _ = kill_process_group(leader, signal);
}

/// Reads a pid file.
pub fn from_file(path: &Path) -> Result<Pid> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    text.trim()
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .with_context(|| format!("failed to find a process id in {}: {text:?}", path.display()))
}

/// The live processes with this name (`comm`) that have `file` open, ordered by id. Needs permission to read their `fd`
/// folders.
pub fn holding(comm: &str, file: &Path) -> Vec<Pid> {
    let mut found = named(&[comm]);
    found.retain(|pid| holds(*pid, file) && alive(*pid));
    found
}

/// The live processes with one of these names (`comm`) whose command line names `path` or what is under it, ordered by id.
pub fn mentioning(comms: &[&str], path: &Path) -> Vec<Pid> {
    let path = path.display().to_string();
    let mut found = named(comms);
    found.retain(|pid| mentions(&title(*pid), &path) && alive(*pid));
    found
}

/// Whether `path` stands in the text and does not go on there, as `/tmp/site-1` does in `/tmp/site-10`.
fn mentions(text: &str, path: &str) -> bool {
    let mut ends = text.match_indices(path).map(|(at, found)| at + found.len());
    ends.any(|end| !text.get(end..).is_some_and(|rest| rest.starts_with(char::is_alphanumeric)))
}

/// The processes with one of these names (`comm`), ordered by id.
pub fn named(comms: &[&str]) -> Vec<Pid> {
    all(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| comms.contains(&name.trim())))
}

/// The processes that this one has started and not waited for, ordered by id.
pub fn children(of: Pid) -> Vec<Pid> {
    all(|pid| parent(pid) == Some(of))
}

/// All processes that are so, ordered by id.
fn all(are: impl Fn(Pid) -> bool) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<Pid> = entries
        .filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .filter(|pid| are(*pid))
        .collect();
    found.sort_by_key(|pid| pid.as_raw_nonzero());
    found
}

fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may contain brackets: the state and the parent follow the last one.
    Pid::from_raw(stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?)
}

fn holds(pid: Pid, file: &Path) -> bool {
    let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).any(|target| target == file)
}

/// Waits until none of the processes runs.
pub async fn gone(pids: &[Pid], limit: Duration) -> Result<()> {
    let names: Vec<_> = pids.iter().map(|pid| format!("{pid} ({})", title(*pid))).collect();
    let what = format!("the end of {}", names.join(", "));
    wait::until_within(limit, &what, || !pids.iter().any(|pid| alive(*pid))).await
}

/// Kills the processes and blocks until they have ended: for `Drop`, which cannot be asynchronous.
pub fn kill_now(pids: &[Pid]) {
    for pid in pids {
        let _ = kill_process(*pid, Signal::KILL);
    }
    for _ in 0..400 {
        if !pids.iter().any(|pid| alive(*pid)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn a_folder_is_not_another_one_whose_name_is_longer() {
        let path = "/tmp/cutover-9-1";
        assert!(!mentions("shop serve --database /tmp/cutover-9-10/shop.sqlite", path));
        assert!(mentions("shop serve --database /tmp/cutover-9-1/shop.sqlite", path));
        assert!(mentions("simulate slot start --prefix /tmp/cutover-9-1", path));
        assert!(mentions("cp /tmp/cutover-9-10 /tmp/cutover-9-1", path));
    }
}
