//! A group as the API shows it.

use cutover_core::api::{
    Group as Described, GuardTerms, RouteState, Shares, Slot as DescribedSlot, TrialPhase, TrialState,
};
use cutover_core::counters::Previews;
use cutover_core::exposition::{GroupMetrics, SlotMetrics};
use cutover_core::fraction::{Percent, Share};
use cutover_core::latency::Latency;
use cutover_core::route::{Reading, Route};
use cutover_core::shard::Sum;
use cutover_core::trial::Stage;

use super::peers::peers;
use crate::clock;
use crate::group::{Group, Slot};
use crate::memory::Living;
use crate::trial;
use crate::upstream::choice;

/// Which processes live, for the gauges; one answer for all groups of a call.
pub(super) fn living(groups: &[Box<Group>]) -> Option<Living> {
    Some(groups.first()?.memory()?.memfd.living())
}

/// One group as it is now, with its events.
pub(super) fn with_events(one: &Group) -> Described {
    let slots = one.slots.iter().map(|slot| slot.name.as_str());
    let events = one.events().into_iter().map(|event| event.with_names(slots.clone())).collect();
    Described { events, ..group(one) }
}

/// One group as it is now.
pub(super) fn group(one: &Group) -> Described {
    let living = one.memory().map(|memory| memory.memfd.living());
    one_of_many(one, living.as_ref())
}

/// The same for a call that knows already which processes live.
pub(super) fn one_of_many(group: &Group, living: Option<&Living>) -> Described {
    let reading = group.reading();
    let split = match reading {
        Reading::Set(route) => shares(group, route),
        Reading::Unset | Reading::Damaged => None,
    };
    Described {
        name: group.name.clone(),
        route: RouteState {
            active: group.name_in(reading).to_owned(),
            generation: reading.generation(),
            split,
            trial: trial_state(group, reading),
            standby: standby(group, reading),
        },
        slots: group.slots.iter().map(|one| slot(group, one, living)).collect(),
        events: Vec::new(),
    }
}

fn standby(group: &Group, reading: Reading) -> Option<String> {
    let choice = choice::standby(group, reading);
    group.slots.get(choice.slot).filter(|_| group.slots.len() > 1).map(|slot| slot.name.clone())
}

fn shares(group: &Group, route: Route) -> Option<Shares> {
    let split = route.to.split?;
    let second = split.share().get();
    let parts = [(route.to.active, Share::WHOLE - second), (split.second(), second)];
    let named = parts
        .into_iter()
        .filter_map(|(id, parts)| Some((group.name_of(id).to_owned(), Percent::from_parts(parts)?)));
    Some(named.collect())
}

fn trial_state(group: &Group, reading: Reading) -> Option<TrialState> {
    let on_trial = trial::of(group, reading)?;
    let phase = match on_trial.trial.stage {
        Stage::Armed => TrialPhase::Armed,
        Stage::Held => TrialPhase::Held,
        Stage::Tripped | Stage::Expired => TrialPhase::GoingBack,
        Stage::Confirmed => return None,
    };
    let terms = on_trial.terms();
    Some(TrialState {
        slot: group.name_of(terms.slot).to_owned(),
        fallback: group.name_of(terms.fallback).to_owned(),
        phase,
        guard: terms.guard.map(GuardTerms::from),
        lease_left_ms: on_trial.trial.lease.map(|lease| lease.left(clock::monotonic_ms())),
        rescue: terms.rescue,
        figures: on_trial.figures(),
    })
}

fn sum(group: &Group, slot: &Slot, living: Option<&Living>) -> Option<Sum> {
    group.memory()?.memfd.sum(slot.users.cell()?, living?)
}

fn previews(group: &Group, slot: &Slot, living: Option<&Living>) -> Option<Previews> {
    group.memory()?.memfd.previews(slot.previews.cell()?, living?)
}

fn slot(group: &Group, slot: &Slot, living: Option<&Living>) -> DescribedSlot {
    let sum = sum(group, slot, living).unwrap_or_default();
    // SAFETY: an upstream of the configuration that serves this request.
    let peers = slot.upstream.get().map(|upstream| peers(unsafe { upstream.as_ref() }));
    DescribedSlot {
        name: slot.name.clone(),
        upstream: slot.upstream_name.clone(),
        peers: peers.unwrap_or_default(),
        counters: sum.counters,
        failures: sum.failures,
        server_errors: sum.server_errors,
        bytes: sum.bytes,
        upgraded: sum.upgraded,
        first_byte: Latency::from(&sum.first_byte),
        whole: Latency::from(&sum.whole),
        previews: previews(group, slot, living).unwrap_or_default(),
        // A switch reaches old workers, too.
        ..DescribedSlot::default()
    }
}

/// The same group for the page of metrics.
pub(super) fn metrics<'a>(group: &'a Group, living: Option<&Living>) -> GroupMetrics<'a> {
    let reading = group.reading();
    let active = group.active_id(reading);
    let split = match reading {
        Reading::Set(route) => route.to.split,
        Reading::Unset | Reading::Damaged => None,
    };
    let second = split.map_or(0, |split| split.share().get());
    let parts = |slot: &Slot| {
        let id = slot.id.get();
        if id.is_none() {
            0
        } else if id == split.map(|split| split.second()) {
            second
        } else if id == active {
            Share::WHOLE - second
        } else {
            0
        }
    };
    let slots = group.slots.iter();
    let stage = trial::of(group, reading).map(|on_trial| on_trial.trial.stage);
    GroupMetrics {
        name: &group.name,
        generation: reading.generation(),
        on_trial: stage == Some(Stage::Armed),
        held: stage == Some(Stage::Held),
        slots: slots
            .map(|slot| SlotMetrics {
                name: &slot.name,
                parts: parts(slot),
                sum: sum(group, slot, living),
                previews: previews(group, slot, living),
            })
            .collect(),
    }
}
