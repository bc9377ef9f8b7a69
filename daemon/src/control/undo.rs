//! Aborts and rollbacks of a running deployment, and of those that move together with it.

use cutover_core::deployment::{Event, Phase, Progress};
use cutover_core::shell::quoted;
use cutover_engine::world::World;

use super::run::Work;
use super::running::{Running, live};
use super::{Control, Refusal};

/// What an abort has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aborted {
    /// A deployment, which goes back now; or the command with which one that is over stops a slot.
    Deployment(String),
    /// What an operator was doing to the database.
    ByHand {
        /// The deployment under whose name it was done.
        deployment: String,
        /// What has ended, and the command that shows how far it came.
        text: String,
    },
}

impl<W: World> Control<W> {
    /// Starts to abort the running deployment of a group, and those that move together with it. Without one it ends the commands
    /// that run again, and changes of the database by hand.
    pub async fn abort(&self, group: &str, asked_by: &str) -> Result<Aborted, Refusal> {
        self.leading()?;
        self.policy_or_last(group).await?;
        let locked = self.moving_with(group).await;
        let (current, others) = locked.guards().await;
        let Some((running, phase)) = live(&current).await else {
            let ended = self.end_by_hand(group, asked_by).await;
            return ended.ok_or(Refusal::NothingUnderWay { group: group.to_owned(), verb: "abort" });
        };
        if phase.outcome().is_some() && running.stopping().await.is_none() {
            if let Some(ended) = self.end_by_hand(group, asked_by).await {
                return Ok(ended);
            }
            return Err(Refusal::AlreadyCompleted { id: running.id.clone(), group: group.to_owned() });
        }
        self.verify_way_back(group, running).await?;
        let progress = running.state().await.progress(false);
        // Otherwise only a command of this group is left.
        if progress.is_some_and(|progress| progress < Progress::Over) {
            for other in running.companions_in(&others) {
                let verified = self.verify_way_back(&other.plan().group, other).await;
                verified.map_err(|refusal| named(other, refusal))?;
            }
        }
        // The others follow when they see that this one goes back. Asked directly, one that follows already would end its revert.
        running.ask(Event::Abort(format!("aborted by {asked_by}"))).await?;
        Ok(Aborted::Deployment(running.id.clone()))
    }

    async fn end_by_hand(&self, group: &str, asked_by: &str) -> Option<Aborted> {
        let ended = self.end_reruns_of(group).await?;
        let which = ended.work.name();
        tracing::warn!(group, asked_by, deployment = ended.deployment, "ended {which}");
        if !ended.work.changes_database() {
            return Some(Aborted::Deployment(ended.deployment));
        }
        let look = match ended.work {
            Work::Database => format!("cutover database status {}", quoted(group)),
            _ => format!("cutover logs {}", quoted(&ended.deployment)),
        };
        let text = format!("{which} of group \"{group}\" is ended; to see how far it came: {look}");
        Some(Aborted::ByHand { deployment: ended.deployment, text })
    }

    /// Starts to roll back the deployment of a group, and those that move together with it. If that has begun already, this is no
    /// refusal: what is asked for is on its way. Returns its id.
    pub async fn rollback(&self, group: &str, asked_by: &str) -> Result<String, Refusal> {
        self.leading()?;
        let policy = self.policy_or_last(group).await?;
        let locked = self.moving_with(group).await;
        let (current, others) = locked.guards().await;
        let Some((running, phase)) = live(&current).await else {
            return Err(self.no_way_back(group, &policy).await?);
        };
        if matches!(phase, Phase::RollingBack { .. }) {
            return Ok(self.goes_back_already(running, &phase, asked_by).await);
        }
        self.may_roll_back(group, running, &phase).await?;
        for other in running.companions_in(&others) {
            match other.phase().await {
                // These have not moved traffic yet, or go back already.
                phase if phase.cause().is_some() || matches!(phase, Phase::Switching(_)) => {}
                phase => {
                    let refused = self.may_roll_back(&other.plan().group, other, &phase).await;
                    refused.map_err(|refusal| named(other, refusal))?;
                }
            }
        }
        running.ask(Event::Rollback(format!("requested by {asked_by}"))).await?;
        Ok(running.id.clone())
    }

    /// Records who wanted back, too. It changes nothing, so a failure is only logged.
    async fn goes_back_already(&self, running: &Running, phase: &Phase, asked_by: &str) -> String {
        let message = format!("it was rolling back already when a rollback was requested by {asked_by}");
        if let Err(error) = self.journal.note(&running.id, self.clock.now(), phase.name(), &message).await {
            tracing::warn!(deployment = running.id, %error, "failed to write a note");
        }
        running.id.clone()
    }

    async fn may_roll_back(&self, group: &str, running: &Running, phase: &Phase) -> Result<(), Refusal> {
        match phase {
            Phase::Warm { .. } | Phase::Soaking { .. } | Phase::Confirming(_) | Phase::Draining { .. } => {
                self.verify_way_back(group, running).await
            }
            Phase::Decommissioning(_) => {
                let (slot, state) = (&running.plan().from, running.state().await);
                Err(Refusal::being_stopped(group, slot, &running.deployment, &state))
            }
            Phase::RollingBack { .. } | Phase::TearingDown { .. } => {
                let follow =
                    format!("it is already being undone; to follow it: cutover watch {}", quoted(group));
                Err(running.refusal(follow).await)
            }
            // Users are on the new version already, with the share of an earlier step.
            Phase::Switching(_) if running.has_share() => Ok(()),
            _ => Err(Refusal::NotSwitchedYet { id: running.id.clone(), group: group.to_owned() }),
        }
    }
}

fn named(other: &Running, refusal: Refusal) -> Refusal {
    Refusal::OfGroup { group: other.plan().group.clone(), refusal: Box::new(refusal) }
}
