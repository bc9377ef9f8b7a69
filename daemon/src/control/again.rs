//! Refuses a version that was taken back a short time ago, so that a CI job that tries again does not expose users to it again.

use cutover_core::deployment::{Outcome, Phase};
use cutover_engine::clock::rfc3339;
use cutover_engine::policy::Policy;
use cutover_engine::world::World;

use super::refusal::TakenBack;
use super::{Control, LOOK_BACK, NewDeployment, Refusal};

impl<W: World> Control<W> {
    /// Fails if the version was bad and was taken back within `retry_after`, unless it has gone live since.
    pub(super) async fn was_not_taken_back(
        &self,
        group: &str,
        policy: &Policy,
        wanted: &NewDeployment,
    ) -> Result<(), Refusal> {
        if wanted.again || wanted.version.is_empty() {
            return Ok(());
        }
        let all = self.journal.history(Some(group), LOOK_BACK).await?;
        for entry in all.into_iter().filter(|entry| entry.deployment.version == wanted.version) {
            let cause = match entry.state.phase {
                Phase::RollingBack { cause, .. } | Phase::RolledBack { cause, .. }
                    if cause.blames_version =>
                {
                    cause
                }
                _ if entry.outcome == Some(Outcome::Completed) => return Ok(()),
                _ => continue,
            };
            if entry.updated.until(self.clock.now()) >= policy.retry_after.get() {
                return Ok(());
            }
            return Err(Refusal::TakenBack(Box::new(TakenBack {
                group: group.to_owned(),
                version: wanted.version.clone(),
                to: wanted.to.clone(),
                id: entry.deployment.id,
                at: rfc3339(entry.updated),
                why: cause.text,
            })));
        }
        Ok(())
    }
}
