//! What runs after a deployment is over: commands that run again, and changes of a database by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::deployment::Phase;
use cutover_engine::world::World;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Rerun;
use crate::control::running::live;
use crate::control::{Control, NotRun, Refusal};

const PAUSE: Duration = Duration::from_millis(50);

/// Commands that are running again, by group and slot. A command for the database alone has no slot.
pub(in crate::control) type Reruns = BTreeMap<(String, Option<String>), Rerunning>;

/// A command that is running again.
#[derive(Debug)]
pub(in crate::control) struct Rerunning {
    pub(in crate::control) deployment: String,
    pub(in crate::control) which: Rerun,
    pub(super) task: AbortHandle,
}

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
            let (key, control) = ((group.to_owned(), slot), self.clone());
            let mut reruns = self.reruns();
            let name = key.clone();
            let task = tokio::spawn(async move {
                let done = work.await;
                control.reruns().remove(&name);
                done
            });
            let which = Rerun::Database;
            reruns.insert(
                key,
                Rerunning { deployment: deployment.to_owned(), which, task: task.abort_handle() },
            );
            task
        };
        let ended = "it was ended by cutover abort, or by the end of the daemon";
        task.await.unwrap_or_else(|_| Err(Refusal::Interrupted(ended.to_owned())))
    }

    /// The slots of a group that a command is starting or stopping again.
    pub(in crate::control) fn slots_of_reruns(&self, group: &str) -> Vec<(String, &'static str)> {
        let reruns = self.reruns();
        let of_group = reruns.iter().filter(|((name, _), _)| name == group);
        of_group.filter_map(|((_, slot), running)| Some((slot.clone()?, running.which.as_str()))).collect()
    }

    /// Fails if a command of the group is running again.
    pub(in crate::control) fn nothing_reruns(&self, group: &str) -> Result<(), Refusal> {
        self.none_of_reruns(group, |_, _| true)
    }

    /// Fails if a command on this slot, or on the database, is running again.
    pub(in crate::control) fn nothing_reruns_on(&self, group: &str, slot: &str) -> Result<(), Refusal> {
        self.none_of_reruns(group, |its, running| running.changes_database() || running.is_on(its, slot))
    }

    /// Fails if a command is in the way of a switch by hand to this slot. A change of the database is not, if the operator forces
    /// the switch and the slot does not hold the version whose migrations are reverted.
    pub(in crate::control) fn may_switch_beside(
        &self,
        group: &str,
        slot: &str,
        force: bool,
    ) -> Result<(), Refusal> {
        self.none_of_reruns(group, |its, running| match running.changes_database() {
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
            Some((_, running)) => {
                let (group, which) = (group.to_owned(), running.which.as_str());
                Err(NotRun::Rerunning { group, which, by_force: None }.into())
            }
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
        let reverts = || self.reruns().values().any(Rerunning::changes_database);
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
    /// Whether it changes the database.
    pub(in crate::control) fn changes_database(&self) -> bool {
        matches!(self.which, Rerun::Revert | Rerun::Database)
    }

    /// Whether it concerns a slot. `its`: its own slot; one without a slot concerns all.
    fn is_on(&self, its: Option<&str>, slot: &str) -> bool {
        its.is_none_or(|its| its == slot)
    }
}
