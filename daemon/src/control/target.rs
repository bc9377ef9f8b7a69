//! The slot that a deployment goes to.

use std::collections::BTreeMap;

use cutover_core::api::{Group as Seen, Traffic};
use cutover_core::counters::Counters;
use cutover_core::deployment::{Known, NoTarget, Phase, Target, Time};
use cutover_core::shell::quoted;
use tokio::sync::MutexGuard;

use super::{Control, LOOK_BACK, Refusal, Running, live};
use crate::journal::JournalError;
use crate::world::World;

/// From where to where, and at what price.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) from: String,
    pub(super) to: String,
    /// Counters of the old slot.
    pub(super) served: Counters,
    /// What the deployment gives up, a clause each.
    pub(super) gives_up: Vec<String>,
}

impl<W: World> Control<W> {
    /// Chooses a slot without traffic, or refuses with what would help.
    pub(super) async fn target(
        &self,
        group: &str,
        wanted: Option<&str>,
        seat: &MutexGuard<'_, Option<Running>>,
    ) -> Result<Chosen, Refusal> {
        let groups = self.world.groups().await?.groups;
        let Some(seen) = groups.iter().find(|seen| seen.name == group) else {
            return Err(Refusal::NotInNginx {
                group: group.to_owned(),
                known: groups.into_iter().map(|seen| seen.name).collect(),
            });
        };
        let last_used = self.last_used(group).await?;
        let warm = self.warm(seat).await?;
        let known = Known {
            warm: warm.as_ref().map(|(slot, _)| slot.as_str()),
            last_used: |slot: &str| last_used.get(slot).copied().unwrap_or_default(),
        };
        let target = Target::choose(seen, wanted, &known).map_err(|why| refusal(seen, why))?;
        if let Some(shared) = seen.shared_with(&target.slot, &groups) {
            let other = groups.iter().find(|other| other.name == shared.group);
            // A command that the daemon would refuse is no help.
            let helps =
                other.filter(|other| self.config.group(&other.name).is_some()).and_then(Seen::standby);
            let helps = helps.map(|standby| {
                format!("cutover switch {} --to {}", quoted(&shared.group), quoted(&standby.name))
            });
            return Err(Refusal::Shared { slot: target.slot, shared: shared.into(), helps });
        }
        let from = seen.route.active.clone();
        let served = seen.slot(&from).map(|slot| slot.counters).unwrap_or_default();
        Ok(Chosen { from, gives_up: gives_up(&target, warm.as_ref()), to: target.slot, served })
    }

    /// The slot that is kept warm, and its version.
    async fn warm(
        &self,
        seat: &MutexGuard<'_, Option<Running>>,
    ) -> Result<Option<(String, String)>, JournalError> {
        let Some(running) = live(seat).await else { return Ok(None) };
        if !matches!(running.phase().await, Phase::Warm { .. }) {
            return Ok(None);
        }
        let entry = self.journal.entry(&running.id).await?;
        Ok(entry.map(|entry| (entry.deployment.plan.from, entry.deployment.previous)))
    }

    /// When a deployment or a switch by hand last had to do with a slot.
    async fn last_used(&self, group: &str) -> Result<BTreeMap<String, Time>, JournalError> {
        let mut last = BTreeMap::<String, Time>::new();
        let mut used = |slot: String, at: Time| {
            let known = last.entry(slot).or_default();
            *known = (*known).max(at);
        };
        for entry in self.journal.history(Some(group), LOOK_BACK).await? {
            let plan = entry.deployment.plan;
            used(plan.from, entry.updated);
            used(plan.to, entry.updated);
        }
        for switch in self.journal.switches(Some(group), LOOK_BACK).await? {
            used(switch.from, switch.at);
            used(switch.to, switch.at);
        }
        Ok(last)
    }
}

fn gives_up(target: &Target, warm: Option<&(String, String)>) -> Vec<String> {
    let mut clauses = Vec::new();
    if target.ends_way_back {
        let version = warm.map(|(_, version)| version.as_str()).unwrap_or_default();
        clauses.push(match version {
            "" => format!("the way back to slot \"{}\" ends", target.slot),
            version => format!("the way back to version \"{version}\" ends"),
        });
    }
    if let Some(Traffic::InFlight { requests, upgraded }) = &target.cuts {
        let noun = if requests == upgraded { "connection" } else { "request" };
        let plural = if *requests == 1 { "" } else { "s" };
        clauses.push(format!("{requests} {noun}{plural} will be cut"));
    }
    clauses
}

fn refusal(seen: &Seen, why: NoTarget) -> Refusal {
    let group = seen.name.clone();
    match why {
        NoTarget::Unknown(slot) => Refusal::no_such_slot(seen, &slot),
        NoTarget::OnlyOne => Refusal::NoStandby(group),
        NoTarget::HasTraffic(slot, Traffic::Active) => Refusal::Active { slot, group },
        NoTarget::HasTraffic(slot, traffic) => {
            // Both end with it: a split, and a trial. The slot that is active has all traffic then, for good.
            let helps = format!("cutover switch {} --to {}", quoted(&group), quoted(&seen.route.active));
            Refusal::HasTraffic { slot, group, traffic, helps }
        }
    }
}
