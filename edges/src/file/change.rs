//! A change of the upstream file, from the test to the new workers, and what becomes of one that was left open.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::program::{ProgramError, run};
use super::{
    Cause, Disk, EdgeError, FileEdge, FileGroup, Look, Revision, Shift, ShiftError, Worker, kept_reason,
    looked, revision, route_of, seen, unusable,
};

/// Pause between two looks at the processes of nginx.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a change that could not be settled is left alone.
const AGAIN: Duration = Duration::from_secs(5);

/// Why nginx does not run with the new file.
enum NotLoaded {
    /// It refuses the file, and was not reloaded.
    Refused(ProgramError),
    /// The reload has failed, or has not had its effect.
    Reload(String),
}

impl FileEdge {
    /// Makes a change. Returns when it is on disk and only workers that have read it accept connections.
    pub(super) async fn change(
        &self,
        group: &FileGroup,
        shift: &Shift,
        expected: &Revision,
    ) -> Result<Look, ShiftError> {
        let _changing = self.0.changing.lock().await;
        let disk = Disk::of(group);
        if disk.is_open() {
            self.settle(group).await.map_err(ShiftError::NotSent)?;
        }
        let refused = |error: EdgeError| ShiftError::Refused(error.to_string());
        let failed =
            |error: std::io::Error| refused(unusable(&disk, format!("{error}; nothing has changed")));
        let before = self.workers().map_err(ShiftError::NotSent)?;
        if let Some(pid) = self.0.workers.upgrade() {
            return Err(ShiftError::Refused(format!(
                "{} exists: a binary upgrade of nginx is under way, and workers of both programs accept connections; end it first",
                pid.display()
            )));
        }
        let now = seen(disk.read(), &disk, group).map_err(refused)?;
        if now.revision != *expected {
            return Err(ShiftError::Moved(Box::new(looked(now, group))));
        }
        let route =
            route_of(shift, &now.file.route, self.0.settings.weighs, group).map_err(ShiftError::Refused)?;
        let moves = (route.active, route.second) != (now.file.route.active, now.file.route.second);
        if !moves && !shift.fence {
            disk.flush()
                .map_err(|error| ShiftError::NotDurable(format!("{}: {error}", disk.file.display())))?;
            return Ok(looked(now, group));
        }
        let reason = kept_reason(&shift.reason).to_owned();
        let cause = Cause {
            follows: Some(expected.clone()),
            reason: Some(reason).filter(|reason| !reason.is_empty()),
        };
        let text = now.file.render(&route, &cause, group);
        if !moves {
            // The workers need not read a new first line.
            disk.replace(&text).map_err(failed)?;
            return seen(disk.read(), &disk, group)
                .map(|seen| looked(seen, group))
                .map_err(ShiftError::Unknown);
        }
        disk.keep().map_err(failed)?;
        let replaced = disk.replace(&text);
        let is_expected = disk.read_before().is_ok_and(|bytes| revision(&bytes) == *expected);
        if replaced.is_err() || !is_expected {
            self.undo(&disk).map_err(ShiftError::Unknown)?;
            return Err(match replaced {
                Err(error) => failed(error),
                Ok(()) => ShiftError::Refused(format!(
                    "{} was edited just now; nothing has changed",
                    disk.file.display()
                )),
            });
        }
        match self.load(&before).await {
            Ok(()) => {
                disk.forget()
                    .map_err(|error| ShiftError::NotDurable(format!("{}: {error}", disk.file.display())))?;
                if let Err(error) = disk.set_aside() {
                    tracing::warn!(group = group.name, %error, "no room is set aside for the way back");
                }
                seen(disk.read(), &disk, group).map(|seen| looked(seen, group)).map_err(ShiftError::Unknown)
            }
            Err(NotLoaded::Refused(error)) => {
                self.undo(&disk).map_err(ShiftError::Unknown)?;
                Err(ShiftError::Refused(format!(
                    "nginx was not reloaded, and the old file is back at {}: {error}",
                    disk.file.display()
                )))
            }
            Err(NotLoaded::Reload(why)) => Err(self.take_back(&disk, &before, why).await),
        }
    }

    /// Tests the file, reloads nginx, and waits until only new workers accept connections.
    async fn load(&self, before: &[Worker]) -> Result<(), NotLoaded> {
        let settings = &self.0.settings;
        run(&settings.test, settings.timeout).await.map_err(NotLoaded::Refused)?;
        self.reload(before).await.map_err(NotLoaded::Reload)
    }

    async fn reload(&self, before: &[Worker]) -> Result<(), String> {
        let settings = &self.0.settings;
        run(&settings.reload, settings.timeout).await.map_err(|error| error.to_string())?;
        let deadline = Instant::now() + settings.timeout;
        // A worker changes its title just before it closes its listening sockets, so one reading more is waited for.
        let mut good = 0;
        while good < 2 {
            let workers = self.0.workers.all().unwrap_or_default();
            let is_new = |worker: &&Worker| before.iter().all(|old| old.pid != worker.pid);
            let accepting = workers.iter().filter(|worker| worker.accepts);
            let (new, old): (Vec<&Worker>, Vec<&Worker>) = accepting.partition(is_new);
            good = if old.is_empty() && !new.is_empty() { good + 1 } else { 0 };
            if Instant::now() >= deadline && good == 0 {
                return Err(format!(
                    "nginx did not replace its workers within {} of \"{}\"; its error log says why",
                    humantime::format_duration(settings.timeout),
                    settings.reload.join(" ")
                ));
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Puts the old file back after a change that nginx has not loaded.
    fn undo(&self, disk: &Disk) -> Result<(), EdgeError> {
        disk.put_back().and_then(|()| disk.forget()).map_err(|error| {
            let why = format!(
                "the old file could not be put back: {error}; it is kept beside it, ending with \"-before\""
            );
            unusable(disk, why)
        })
    }

    /// Puts the old file back after a reload that has failed. Workers that have read the new one are replaced again.
    async fn take_back(&self, disk: &Disk, before: &[Worker], why: String) -> ShiftError {
        if let Err(error) = disk.put_back() {
            return ShiftError::Unknown(unusable(
                disk,
                format!("{why}; and the old file could not be put back: {error}"),
            ));
        }
        let now = self.0.workers.all().unwrap_or_default();
        let is_new = |worker: &Worker| before.iter().all(|old| old.pid != worker.pid);
        let again = match now.iter().any(is_new) {
            true => self.reload(&now).await,
            false => Ok(()),
        };
        if let Err(second) = again {
            let why = format!("{why}; the old file is back, but nginx may not have loaded it: {second}");
            return ShiftError::Unknown(unusable(disk, why));
        }
        match disk.forget() {
            Ok(()) => ShiftError::Refused(format!("{why}; the old file is back at {}", disk.file.display())),
            Err(error) => ShiftError::Unknown(unusable(disk, error.to_string())),
        }
    }

    /// Ends a change that was left open, by a daemon that died or by a reload that failed. The caller holds the lock.
    pub(super) async fn settle(&self, group: &FileGroup) -> Result<(), EdgeError> {
        let disk = Disk::of(group);
        if let Some((_, error)) = self.0.unsettled.lock().clone().filter(|(at, _)| at.elapsed() < AGAIN) {
            return Err(error);
        }
        let settled = self.settle_now(&disk).await.map_err(|why| {
            unusable(
                &disk,
                format!("a change was left half done, and the old file is not loaded again: {why}"),
            )
        });
        match &settled {
            Ok(how) => {
                tracing::warn!(group = group.name, file = %disk.file.display(), "a change was left half done: {how}")
            }
            Err(error) => tracing::error!(group = group.name, %error, "failed to settle a change"),
        }
        *self.0.unsettled.lock() = settled.as_ref().err().map(|error| (Instant::now(), error.clone()));
        settled.map(drop)
    }

    async fn settle_now(&self, disk: &Disk) -> Result<&'static str, String> {
        let told = |error: std::io::Error| error.to_string();
        let workers = self.0.workers.all();
        if !disk.is_as_before().map_err(told)? {
            let changed = disk.changed().map_err(told)?;
            let has_loaded = |workers: &Vec<Worker>| {
                let mut accepting = workers.iter().filter(|worker| worker.accepts).peekable();
                accepting.peek().is_some() && accepting.all(|worker| worker.started >= changed)
            };
            if workers.as_ref().is_ok_and(has_loaded) {
                disk.forget().map_err(told)?;
                return Ok("nginx had loaded the new file, so it stays");
            }
            disk.put_back().map_err(told)?;
        }
        // A reload may be on its way to nginx. Another one after it loads the old file for certain.
        if let Ok(before) = workers {
            self.reload(&before).await?;
        }
        disk.forget().map_err(told)?;
        Ok("the old file is back, and nginx has loaded it")
    }
}
