//! What runs after a deployment is over: commands that run again, and changes of a database by hand.

use std::time::Duration;

use cutover_core::deployment::Phase;
use cutover_engine::world::World;
use tokio::time::Instant;

use super::rerunning::{Rerunning, Work, end_of};
use crate::control::running::live;
use crate::control::{Control, Refusal};

const PAUSE: Duration = Duration::from_millis(50);

impl<W: World> Control<W> {
    /// Does something with the database of a group while no deployment of the group runs or begins. It goes on if the caller
    /// disconnects. `begin` says whether it may be done, and which slot holds the version whose migrations are reverted; nothing
    /// else begins meanwhile.
    pub(in crate::control) async fn alone<T: Send + 'static, F>(
        &self,
        group: &str,
        deployment: &str,
        begin: impl Future<Output = Result<(Option<String>, F), Refusal>> + Send,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Refusal>> + Send + 'static,
    {
        let current = self.current(group);
        let task = {
            let current = current.lock().await;
            self.nothing_reruns(group)?;
            if let Some((running, phase)) = live(&current).await {
                return Err(match self.busy(group, &current).await {
                    Some(busy) => busy,
                    None => {
                        let when = match phase {
                            Phase::Warm { .. } => "when the warm window is over",
                            _ => "when it has ended",
                        };
                        running.refusal(format!("the database can be changed {when}")).await
                    }
                });
            }
            let (slot, work) = begin.await?;
            self.run_in((group.to_owned(), slot), (deployment.to_owned(), Work::Database), work)
        };
        end_of(Work::Database, task).await
    }

    /// The slots of a group that a command is starting or stopping again.
    pub(in crate::control) fn slots_of_reruns(&self, group: &str) -> Vec<(String, &'static str)> {
        let reruns = self.reruns();
        let of_group = reruns.iter().filter(|((name, _), _)| name == group);
        of_group.filter_map(|((_, slot), running)| Some((slot.clone()?, running.work.name()))).collect()
    }

    /// Fails if a command of the group is running again.
    pub(in crate::control) fn nothing_reruns(&self, group: &str) -> Result<(), Refusal> {
        self.none_of_reruns(group, |_, _| true)
    }

    /// Fails if a command on this slot, or on the database, is running again.
    pub(in crate::control) fn nothing_reruns_on(&self, group: &str, slot: &str) -> Result<(), Refusal> {
        self.none_of_reruns(group, |its, running| running.work.changes_database() || running.is_on(its, slot))
    }

    /// Fails if a command is in the way of a switch by hand to this slot. A change of the database is not, if the operator forces
    /// the switch and the slot does not hold the version whose migrations are reverted.
    pub(in crate::control) fn may_switch_beside(
        &self,
        group: &str,
        slot: &str,
        force: bool,
    ) -> Result<(), Refusal> {
        self.none_of_reruns(group, |its, running| match running.work.changes_database() {
            true => its == Some(slot),
            false => running.is_on(its, slot),
        })?;
        match force {
            true => Ok(()),
            false => self.nothing_reruns_on(group, slot).map_err(|refused| refused.or_by_force(slot)),
        }
    }

    fn none_of_reruns(
        &self,
        group: &str,
        is_in_the_way: impl Fn(Option<&str>, &Rerunning) -> bool,
    ) -> Result<(), Refusal> {
        let reruns = self.reruns();
        let mut of_group = reruns.iter().filter(|((name, _), _)| name == group);
        match of_group.find(|((_, slot), running)| is_in_the_way(slot.as_deref(), running)) {
            Some((_, running)) => Err(running.refusal(group)),
            None => Ok(()),
        }
    }

    /// Ends the commands of a group that are running again. Returns the last one.
    pub(in crate::control) async fn end_reruns_of(&self, group: &str) -> Option<Rerunning> {
        let ended: Vec<Rerunning> = {
            let mut reruns = self.reruns();
            let keys: Vec<_> = reruns.keys().filter(|(name, _)| name == group).cloned().collect();
            keys.iter().filter_map(|key| reruns.remove(key)).collect()
        };
        for Rerunning { deployment, task, .. } in &ended {
            task.abort();
            self.end_commands(deployment).await;
        }
        ended.into_iter().next_back()
    }

    /// Ends all commands that are running again. Waits until `patience` for those that change a database.
    pub(in crate::control) async fn end_reruns(&self, patience: Instant) {
        let reverts = || self.reruns().values().any(|running| running.work.changes_database());
        while reverts() && Instant::now() < patience {
            tokio::time::sleep(PAUSE).await;
        }
        let all = std::mem::take(&mut *self.reruns());
        for Rerunning { deployment, task, .. } in all.into_values() {
            task.abort();
            self.end_commands(&deployment).await;
        }
    }
}

impl Rerunning {
    /// Whether it concerns a slot. `its`: its own slot; one without a slot concerns all.
    fn is_on(&self, its: Option<&str>, slot: &str) -> bool {
        its.is_none_or(|its| its == slot)
    }
}
