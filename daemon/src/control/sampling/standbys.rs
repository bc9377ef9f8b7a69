//! The health of the slots without traffic: they are probed as long as no deployment works on them.
//!
//! A slot without traffic may well be stopped, so nothing is logged and nobody is alarmed.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::api::{Group as Seen, Slot};
use cutover_core::deployment::Time;
use cutover_core::probe::{self, Health};
use cutover_engine::clock::rfc3339;
use cutover_engine::policy::{Policy, Probe};
use cutover_engine::prober::{Prober, Round};
use cutover_engine::versions::Versions;
use cutover_engine::world::World;
use futures_util::future::join_all;
use parking_lot::Mutex;

use super::rounds::side_by_side;
use crate::control::{Control, HealthState, HealthStatus};

/// Slots without traffic are probed at most so often.
const LEAST: Duration = Duration::from_secs(1);

/// The slots without traffic, by group and slot.
#[derive(Debug, Default)]
pub(super) struct Standbys(Mutex<BTreeMap<(String, String), Standby>>);

#[derive(Debug)]
struct Standby {
    probe: Probe,
    probes: probe::Slot,
    state: HealthState,
    since: Time,
    probed: Time,
}

impl Standbys {
    /// The health of a slot. Unknown if its last round was too long ago to say how it is now.
    pub(super) fn health(&self, now: Time, group: &str, slot: &str) -> HealthStatus {
        let standbys = self.0.lock();
        let standby = standbys.get(&(group.to_owned(), slot.to_owned()));
        let Some(standby) = standby.filter(|standby| standby.probed.until(now) <= standby.probe.lasts())
        else {
            return HealthStatus::default();
        };
        let is_well = standby.state == HealthState::Healthy;
        HealthStatus {
            state: standby.state,
            why: Some(standby.probes.why()).filter(|why| !is_well && !why.is_empty()),
            since: Some(rfc3339(standby.since)).filter(|_| standby.state != HealthState::Unknown),
            next: None,
        }
    }

    /// Whether a slot is to be probed now.
    fn is_due(&self, group: &str, slot: &str, now: Time, policy: &Policy) -> bool {
        let interval = policy.probe.interval.get().max(LEAST);
        let standbys = self.0.lock();
        let standby = standbys.get(&(group.to_owned(), slot.to_owned()));
        standby.is_none_or(|standby| standby.probed.until(now) >= interval)
    }

    fn observe(&self, group: &str, slot: &str, round: Round, now: Time, policy: &Policy) {
        let mut standbys = self.0.lock();
        let new = || Standby {
            probe: policy.probe.clone(),
            probes: probe::Slot::new(policy.probe.thresholds(), policy.probe.require),
            state: HealthState::Unknown,
            since: now,
            probed: now,
        };
        let standby = standbys.entry((group.to_owned(), slot.to_owned())).or_insert_with(new);
        if standby.probe != policy.probe {
            *standby = new();
        }
        standby.probed = now;
        standby.probes.observe(round.results);
        let state = match standby.probes.health() {
            Health::Healthy => HealthState::Healthy,
            Health::Sick if standby.probes.healthy() == 0 => HealthState::Dead,
            Health::Sick => HealthState::Degraded,
            Health::Unknown => standby.state,
        };
        if state != standby.state {
            (standby.state, standby.since) = (state, now);
        }
    }

    /// Forgets the slots of a group that are not probed now.
    fn keep_only(&self, group: &str, is_kept: impl Fn(&str) -> bool) {
        self.0.lock().retain(|(of, slot), _| of != group || is_kept(slot));
    }
}

impl<W: World> Control<W> {
    /// Probes the slots without traffic of all groups, for ever.
    pub(super) async fn probe_standbys(self) {
        side_by_side(LEAST, || self.groups(), |group| self.probe_standbys_of(group)).await;
    }

    async fn probe_standbys_of(&self, group: String) {
        let group = group.as_str();
        let standbys = &self.samples.standbys;
        let seen = self.sampled(group).filter(|_| !self.vigils.is_driven(group));
        let (Some(seen), Ok(policy)) = (seen, self.policy(group)) else {
            return standbys.keep_only(group, |_| false);
        };
        let active = &seen.route.active;
        standbys.keep_only(group, |slot| slot != active && seen.slot(slot).is_some());
        let others: Vec<&Slot> = seen.slots.iter().filter(|slot| slot.name != *active).collect();
        join_all(others.into_iter().map(|slot| self.probe_standby(&seen, slot, &policy))).await;
    }

    async fn probe_standby(&self, seen: &Seen, slot: &Slot, policy: &Policy) {
        let (group, standbys) = (&seen.name, &self.samples.standbys);
        if !standbys.is_due(group, &slot.name, self.clock.now(), policy) {
            return;
        }
        let versions = match policy.probe_needs_version() {
            true => self.versions_in(seen).await.unwrap_or_default(),
            false => Versions::default(),
        };
        let round = Prober { world: &*self.world, group, policy, versions }.uncounted_round(slot).await;
        standbys.observe(group, &slot.name, round, self.clock.now(), policy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_that_is_too_old_is_not_shown() {
        let (standbys, policy) =
            (Standbys::default(), crate::config::tests::loaded().config.group.into_values().next().unwrap());
        for second in [0, 1, 2] {
            let results = vec![("127.0.0.1:1".to_owned(), Ok(()))];
            let round = Round { results, ..Round::default() };
            standbys.observe("shop", "green", round, Time(second * 1000), &policy);
        }
        let lasts = policy.probe.lasts();
        let state = |after| standbys.health(Time(2000).after(after), "shop", "green").state;
        assert_eq!(state(lasts), HealthState::Healthy);
        assert_eq!(state(lasts + Duration::from_secs(1)), HealthState::Unknown);
    }
}
