//! Reload, binary upgrade, and the ways to be killed.

use anyhow::{Context, Result};

use super::Nginx;
use crate::process::{self, Pid, Signal};
use crate::wait;

impl Nginx {
    /// Reloads the configuration (HUP). Returns when the new workers take connections and the old ones have stopped doing
    /// so; old workers may live on as long as they hold connections. An error when nginx refuses the configuration.
    pub async fn reload(&self) -> Result<()> {
        let (old, log_before) = (self.workers(), self.error_log().len());
        process::signal(self.master()?, Signal::HUP)?;
        self.wait_for_workers(&old, log_before).await?;
        wait::until("the old workers to stop taking connections", || {
            self.workers().iter().all(|pid| !old.contains(pid))
        })
        .await
    }

    /// Replaces the running program (USR2, then WINCH and QUIT for the old master). Returns when the new one is alone in
    /// taking connections and the old master has ended; all without a connection refused.
    pub async fn upgrade(&self) -> Result<()> {
        let old = self.begin_upgrade().await?;
        self.retire(old).await
    }

    /// The first half: two masters run, and the workers of both take connections. Returns the old master.
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

    /// The second half: the old master's workers finish what they hold, and it ends.
    pub async fn retire(&self, old: Pid) -> Result<()> {
        process::signal(old, Signal::WINCH)?;
        process::signal(old, Signal::QUIT)?;
        process::gone(&[old], wait::PATIENCE).await
    }

    /// The other second half: the new master ends, and the old one is in charge again. If its workers were dismissed, HUP it
    /// before.
    pub async fn take_back(&self, old: Pid) -> Result<()> {
        let new = self.master()?;
        process::signal(new, Signal::QUIT)?;
        process::gone(&[new], wait::PATIENCE).await?;
        wait::until("the old master's pid file", || self.master().is_ok_and(|master| master == old)).await
    }

    /// SIGKILL to every process. To be expected in the log: nothing, since nobody is left to write it.
    pub async fn kill_all(&self) -> Result<()> {
        let pids = self.pids();
        // The master first: it would log the death of its workers and start others.
        let master = self.master()?;
        process::signal(master, Signal::KILL)?;
        pids.iter().filter(|pid| **pid != master).for_each(|pid| {
            let _ = process::signal(*pid, Signal::KILL);
        });
        process::gone(&pids, wait::PATIENCE).await
    }

    /// SIGKILL to one worker; returns when the master has started another. Allows the alert that this writes.
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

    /// SIGKILL to the master alone: its workers run on without one.
    pub async fn kill_master(&self) -> Result<Pid> {
        let master = self.master()?;
        process::signal(master, Signal::KILL)?;
        process::gone(&[master], wait::PATIENCE).await?;
        Ok(master)
    }

    /// TERM to the masters, and a moment to end: a fast, clean end, so that the log of the teardown is nginx's own.
    pub(super) fn end_politely(&self) {
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
