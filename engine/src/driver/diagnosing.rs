//! The command `diagnose`: it looks at the new version that has failed, before that is stopped.
//!
//! ```text
//! before the switch   Failed, or TearingDown: first diagnose, then revert and teardown
//! after the switch    RollingBack: traffic goes back -> drain, and diagnose meanwhile -> revert and teardown
//! stuck               diagnose, then the record, so that those who wait see what it says
//! ```
//!
//! It decides nothing, and traffic never waits for it.

use std::sync::atomic::Ordering;

use cutover_core::deployment::{CauseKind, Phase, RollbackStep, State};

use tokio::sync::mpsc;

use super::jobs::job_for_new;
use super::work::Work;
use super::{Driven, Request};
use crate::journal::Journal;
use crate::metrics;
use crate::world::World;

/// Its name in messages, in metrics, and of the file of its output.
const NAME: &str = "diagnose";

impl<W: World, J: Journal> Work<W, J> {
    /// Notes what `diagnose` says about the new slot, once for each run of the daemon. Does nothing where it has nothing to say.
    pub(super) async fn diagnose(&self, state: &State) {
        let Some(diagnose) = &self.deployment.policy.diagnose else { return };
        let Some(why) = failure(state) else { return };
        if self.diagnosed.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut job = job_for_new(&self.deployment, NAME, &diagnose.to_run());
        job.environment.insert("CUTOVER_REASON".to_owned(), why.to_owned());
        let done = self.world.output(&job).await;
        metrics::hook(&self.deployment.plan.group, NAME, done.is_ok());
        let slot = &self.deployment.plan.to;
        let message = match done {
            Ok(said) if said.trim().is_empty() => format!("diagnose says nothing about slot \"{slot}\""),
            Ok(said) => format!("diagnose of slot \"{slot}\":\n{said}"),
            Err(failed) => format!("{}{}", failed.reason, failed.below()),
        };
        self.note(state.phase.name(), &message).await;
    }
}

impl<W: World, J: Journal> Driven<W, J> {
    /// Lets `diagnose` look at a version that is left running when the deployment ends. A request of an operator comes first, and
    /// is returned.
    pub(super) async fn diagnose_at_end(
        &self,
        next: &State,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Option<Request> {
        if !next.phase.is_final() {
            return None;
        }
        let diagnosing = self.work.diagnose(next);
        tokio::pin!(diagnosing);
        loop {
            tokio::select! {
                biased;
                () = &mut diagnosing => return None,
                request = requests.recv() => match request {
                    // The last state is in the journal.
                    Some(Request { event: None, reply }) => drop(reply.send(Ok(()))),
                    Some(request) => {
                        self.end_commands().await;
                        return Some(request);
                    }
                    None => {
                        diagnosing.await;
                        return None;
                    }
                }
            }
        }
    }
}

/// Why the new version, which this deployment has started, is given up. `None`: it is not, it has traffic that goes back first, or
/// it is not to blame.
fn failure(state: &State) -> Option<&str> {
    let cause = match &state.phase {
        _ if !state.provisioned => return None,
        Phase::Stuck { reason, .. } => return Some(reason),
        Phase::RollingBack { step: RollbackStep::SwitchBack | RollbackStep::Watch { .. }, .. } => {
            return None;
        }
        Phase::TearingDown { cause, .. } | Phase::Failed(cause) | Phase::RollingBack { cause, .. } => cause,
        _ => return None,
    };
    let is_abort = cause.kind == CauseKind::Operator && !matches!(state.phase, Phase::RollingBack { .. });
    (!is_abort && cause.kind != CauseKind::Companion).then_some(&cause.text)
}
