//! Reload, binary upgrade, and kills.

use anyhow::{Context, Result};

use super::Nginx;
use crate::process::{self, Pid, Signal};
use crate::wait;

impl Nginx {
    /// Reloads the configuration (HUP). Returns when the new workers accept connections and the old ones no longer do; old
    /// workers live on while they hold connections. Fails when nginx refuses the configuration.
    pub async fn reload(&self) -> Result<()> {
        let (old, log_before) = (self.workers(), self.error_log().len());
        process::signal(self.master()?, Signal::HUP)?;
        self.wait_for_workers(&old, log_before).await?;
        wait::until("the old workers to stop accepting connections", || {
            self.workers().iter().all(|pid| !old.contains(pid))
        })
        .await
    }

    /// Replaces the running program (USR2, then WINCH and QUIT for the old master). Returns when the old master has ended.
    /// nginx accepts connections all the time.
    pub async fn upgrade(&self) -> Result<()> {
        let old = self.begin_upgrade().await?;
        self.retire(old).await
    }

    /// Begins an upgrade: two masters run, and the workers of both accept connections. Returns the old master.
    pub async fn begin_upgrade(&self) -> Result<Pid> {
        let old = self.master()?;
        let (old_workers, log_before) = (self.workers(), self.error_log().len());
        process::signal(old, Signal::USR2)?;
        wait::until("the new master's pid file", || {
            self.prefix().join("nginx.pid.oldbin").exists() && self.master().is_ok_and(|new| new != old)
        })
        .await
        .with_context(|| format!("the end of the error log:\n{}", self.log_tail()))?;
        self.wait_for_workers(&old_workers, log_before).await?;
        Ok(old)
    }

    /// Completes an upgrade: the old master's workers finish their requests, then the old master ends.
    pub async fn retire(&self, old: Pid) -> Result<()> {
        process::signal(old, Signal::WINCH)?;
        process::signal(old, Signal::QUIT)?;
        process::gone(&[old], wait::PATIENCE).await
    }

    /// Takes an upgrade back: the new master ends, and the old one continues. If the old master's workers have been told
    /// to stop, send it HUP first.
    pub async fn take_back(&self, old: Pid) -> Result<()> {
        let new = self.master()?;
        process::signal(new, Signal::QUIT)?;
        process::gone(&[new], wait::PATIENCE).await?;
        wait::until("the old master's pid file", || self.master().is_ok_and(|master| master == old)).await
    }

    /// Sends SIGKILL to all processes. No process is left to log it.
    pub async fn kill_all(&self) -> Result<()> {
        let pids = self.pids();
        // The master first, because it would log the end of its workers and start others.
        let master = self.master()?;
        process::signal(master, Signal::KILL)?;
        pids.iter().filter(|pid| **pid != master).for_each(|pid| {
            let _ = process::signal(*pid, Signal::KILL);
        });
        process::gone(&pids, wait::PATIENCE).await
    }

    /// Sends SIGKILL to one worker. Returns when the master has started another one. Expects the alert in the log.
    pub async fn kill_worker(&self) -> Result<Pid> {
        let before = self.workers();
        let victim = *before.first().context("nginx has no worker")?;
        self.expect_in_log("exited on signal 9");
        process::signal(victim, Signal::KILL)?;
        wait::until("another worker in place of the killed one", || {
            let now = self.workers();
            now.len() >= before.len() && !now.contains(&victim)
        })
        .await?;
        Ok(victim)
    }

    /// Sends SIGKILL to the master; its workers run on.
    pub async fn kill_master(&self) -> Result<Pid> {
        let master = self.master()?;
        process::signal(master, Signal::KILL)?;
        process::gone(&[master], wait::PATIENCE).await?;
        Ok(master)
    }

    /// Sends TERM to the masters and waits up to two seconds, so that nginx can log its own end.
    pub(super) fn terminate(&self) {
        let pids = self.pids();
        for pid in &pids {
            if process::title(*pid).starts_with("nginx: master") {
                let _ = process::signal(*pid, Signal::TERM);
            }
        }
        for _ in 0..400 {
            if !pids.iter().any(|pid| process::alive(*pid)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}
