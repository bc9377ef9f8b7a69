//! Repairs one edge of several that is not as the others are: it was away when they moved, or somebody has moved it alone.
//!
//! The slot that all edges should be on is in the journal. While a driver moves the traffic or watches a new version, it decides
//! itself, and nothing is repaired.

use cutover_core::deployment::{Phase, RollbackStep, State, Store};
use cutover_engine::edge::{Look, Shift};
use cutover_engine::fleet::View;
use cutover_engine::metrics;
use cutover_engine::policy::Policy;
use cutover_engine::prober::Prober;
use cutover_engine::shifting::{Fit, ShiftRequest, Shifted};
use cutover_engine::versions::Versions;
use cutover_engine::world::World;

use super::Control;
use crate::journal::{Entry, JournalError};

/// Maximum number of tries of one repair. The next round tries again.
const MOST_TRIES: u32 = 2;

/// Checks that the slot is healthy as the edge sees it.
struct Healthy<'a, W> {
    prober: Prober<'a, W>,
    slot: &'a str,
}

impl<W: World> Fit for Healthy<'_, W> {
    async fn check(&self, look: &Look) -> Result<(), String> {
        self.prober.verify(&look.group, self.slot).await
    }
}

impl<W: World> Control<W> {
    /// Moves each edge that is not as the others are to the slot that they are on.
    pub(super) async fn repair(&self, group: &str, policy: &Policy, view: Option<&View>) {
        let fleet = self.fleet(group);
        if !fleet.is_several() {
            return;
        }
        let names: Vec<&str> = fleet.names().collect();
        let Some(view) = view else { return metrics::edges(group, &names, None, false) };
        let is_on = |look: &Look, slot: &str| look.route().is_all_on(slot);
        let first = view.edges.values().next().map(|look| look.route().active.clone()).unwrap_or_default();
        let differ = !view.edges.values().all(|look| is_on(look, &first));
        metrics::edges(group, &names, Some(view), differ);
        // Another daemon repairs.
        if !differ || !self.journal.leads() {
            return;
        }
        let Ok(Some((slot, entry))) = self.desired(group).await else { return };
        // If none is there, somebody has moved them all.
        if !view.edges.values().any(|look| is_on(look, &slot)) {
            return;
        }
        for (edge, look) in view.edges.iter().filter(|(_, look)| !is_on(look, &slot)) {
            self.repair_one((group, policy), (edge, look), &slot, entry.as_ref()).await;
        }
    }

    async fn repair_one(
        &self,
        (group, policy): (&str, &Policy),
        (edge, look): (&str, &Look),
        slot: &str,
        entry: Option<&Entry>,
    ) {
        let versions = match self.versions_in(&look.group).await {
            Ok(versions) => versions,
            Err(_) if !policy.probe_needs_version() => Versions::default(),
            Err(_) => return,
        };
        let reason = format!("edge \"{edge}\" was not as the others are");
        let shift = Shift { to: slot.to_owned(), share: None, reason, trial: None, fence: true };
        let request = ShiftRequest {
            group,
            shift: &shift,
            expected: &look.revision,
            tries: MOST_TRIES,
            patience: policy.fleet.patience.get(),
        };
        let healthy = Healthy { prober: Prober { world: &*self.world, group, policy, versions }, slot };
        let was = look.route();
        let why = match self.fleet(group).repair(edge, &request, &healthy).await {
            Some(Shifted::Done(_) | Shifted::NotDurable(_)) => {
                metrics::repaired(group, edge);
                let message = format!(
                    "edge \"{edge}\" was not as the others are ({was}); it now sends its traffic to slot \"{slot}\""
                );
                tracing::warn!(group, edge, slot, "{message}");
                if let Some(entry) = entry {
                    let (id, phase) = (&entry.deployment.id, entry.state.phase.name());
                    if let Err(error) = self.journal.note(id, self.clock.now(), phase, &message).await {
                        tracing::warn!(deployment = id, %error, "failed to write a note");
                    }
                }
                return;
            }
            // Somebody moves it now. The next round sees where to.
            Some(Shifted::Elsewhere(_)) | None => return,
            Some(Shifted::NotDone(why) | Shifted::Uncertain(why)) => why,
        };
        tracing::warn!(group, edge, slot, why, "the edge is not as the others are, and is not repaired yet");
    }

    /// The slot that all edges should be on, and the deployment that says so. `None` if nothing says so, or a driver decides.
    async fn desired(&self, group: &str) -> Result<Option<(String, Option<Entry>)>, JournalError> {
        let last = self.journal.history(Some(group), 1).await?.pop();
        let switch = self.journal.switches(Some(group), 1).await?.pop();
        Ok(match (last, switch) {
            (Some(entry), Some(switch)) if switch.at >= entry.deployment.started => {
                is_decided(&entry.state).then_some((switch.to, Some(entry)))
            }
            (Some(entry), _) => {
                let slot = settled_on(&entry);
                slot.map(|slot| (slot, Some(entry)))
            }
            (None, Some(switch)) => Some((switch.to, None)),
            (None, None) => None,
        })
    }
}

/// Whether the deployment no longer moves traffic by itself.
fn is_decided(state: &State) -> bool {
    state.phase.is_final() || matches!(state.phase, Phase::Warm { .. } | Phase::Decommissioning(_))
}

/// The slot on which a deployment has left the traffic, when it is certain.
fn settled_on(entry: &Entry) -> Option<String> {
    let plan = &entry.deployment.plan;
    match &entry.state.phase {
        Phase::Draining { .. } | Phase::Warm { .. } | Phase::Decommissioning(_) | Phase::Completed { .. } => {
            Some(plan.to.clone())
        }
        Phase::RollingBack { step: RollbackStep::SwitchBack, .. } => None,
        Phase::RollingBack { .. }
        | Phase::RolledBack { .. }
        | Phase::TearingDown { .. }
        | Phase::Failed(_) => Some(plan.from.clone()),
        // No traffic has moved yet.
        Phase::Migrating | Phase::Provisioning | Phase::Probing { .. } | Phase::Smoking => {
            Some(plan.from.clone())
        }
        Phase::Switching(Store::Reading) | Phase::Stuck { .. } if entry.state.marks.is_none() => {
            Some(plan.from.clone())
        }
        Phase::Switching(_) | Phase::Soaking { .. } | Phase::Confirming(_) | Phase::Stuck { .. } => None,
    }
}
