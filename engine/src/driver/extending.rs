//! A soak without a verdict goes on for a while, if the policy says so.

use cutover_core::deployment::Time;
use cutover_core::verdict::Verdict;

use super::work::Work;
use crate::clock::rfc3339;
use crate::journal::Journal;
use crate::world::World;

impl<W: World, J: Journal> Work<W, J> {
    /// Whether a soak goes on that should have ended at `until`. Notes that the first time; `said` keeps whether it has.
    pub(super) async fn extends(&self, verdict: &Verdict, until: Time, now: Time, said: &mut bool) -> bool {
        let (Verdict::Inconclusive(why), Some(limit)) = (verdict, self.deployment.policy.soak.extended_by())
        else {
            return false;
        };
        let end = until.after(limit);
        if now >= end {
            return false;
        }
        if !std::mem::replace(said, true) {
            let message =
                format!("the soak goes on until there is a verdict, at most until {}: {why}", rfc3339(end));
            self.note("soaking", &message).await;
        }
        true
    }
}
