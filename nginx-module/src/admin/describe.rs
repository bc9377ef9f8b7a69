//! A group as the API shows it.

use std::ptr;

use cutover_core::api::{
    Group as Described, GuardTerms, Peer, RouteState, Shares, Slot as DescribedSlot, TrialPhase, TrialState,
};
use cutover_core::exposition::{GroupMetrics, SlotMetrics};
use cutover_core::latency::Latency;
use cutover_core::route::{Reading, Route};
use cutover_core::shard::Sum;
use cutover_core::split::{Percent, Share};
use cutover_core::trial::Phase;
#[cfg(ngx_feature = "http_upstream_zone")]
use ngx::ffi::{
    ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t, ngx_rwlock_rlock, ngx_rwlock_unlock,
};
use ngx::ffi::{ngx_http_upstream_server_t, ngx_http_upstream_srv_conf_t, ngx_str_t};

use crate::counters::Living;
use crate::ext::{elements, text};
use crate::group::{Choice, Group, Slot};
use crate::layout::bits;
use crate::trial;

/// Which processes live, for the gauges; one answer for all groups of a call.
pub(super) fn living(groups: &[Box<Group>]) -> Option<Living> {
    Some(groups.first()?.shared()?.counters.living())
}

/// One group as it is now, with its events.
pub(super) fn with_events(one: &Group) -> Described {
    let events = one.shared().map(|shared| shared.events.read(one)).unwrap_or_default();
    let slots = one.slots.iter().map(|slot| slot.name.as_str());
    let events = events.into_iter().map(|event| event.with_names(slots.clone())).collect();
    Described { events, ..group(one) }
}

/// One group as it is now.
pub(super) fn group(one: &Group) -> Described {
    let living = one.shared().map(|shared| shared.counters.living());
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
    let Choice { slot, .. } = group.standby(reading, ptr::null_mut());
    group.slots.get(slot).filter(|_| group.slots.len() > 1).map(|slot| slot.name.clone())
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
    let (route, trial, _) = trial::of(group, reading)?;
    let phase = match trial.phase {
        Phase::Armed => TrialPhase::Armed,
        Phase::Held => TrialPhase::Held,
        Phase::Tripped | Phase::Expired => TrialPhase::GoingBack,
        Phase::Confirmed => return None,
    };
    Some(TrialState {
        slot: group.name_of(trial.terms.slot).to_owned(),
        fallback: group.name_of(trial.terms.fallback).to_owned(),
        phase,
        guard: trial.terms.guard.map(GuardTerms::from),
        lease_left_ms: trial.lease.map(|lease| lease.left(trial::now().monotonic_ms)),
        rescue: trial.terms.rescue,
        figures: trial::figures(group, route, &trial.terms, trial.terms.slot),
    })
}

fn sum(group: &Group, slot: &Slot, living: Option<&Living>) -> Option<Sum> {
    group.shared()?.counters.sum(slot.cell.get()?, living?)
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
    let phase = trial::of(group, reading).map(|(_, trial, _)| trial.phase);
    GroupMetrics {
        name: &group.name,
        generation: reading.generation(),
        on_trial: phase == Some(Phase::Armed),
        held: phase == Some(Phase::Held),
        slots: slots
            .map(|slot| SlotMetrics { name: &slot.name, parts: parts(slot), sum: sum(group, slot, living) })
            .collect(),
    }
}

#[cfg(ngx_feature = "http_upstream_zone")]
fn peers(upstream: &ngx_http_upstream_srv_conf_t) -> Vec<Peer> {
    if upstream.shm_zone.is_null() { configured_peers(upstream) } else { shared_peers(upstream) }
}

/// An nginx without ngx_http_upstream_zone_module keeps no peers in shared memory.
#[cfg(not(ngx_feature = "http_upstream_zone"))]
fn peers(upstream: &ngx_http_upstream_srv_conf_t) -> Vec<Peer> {
    configured_peers(upstream)
}

/// What the configuration calls a server, if that is more than its address.
fn named(server: &ngx_str_t, address: &ngx_str_t) -> Option<String> {
    (server.as_bytes() != address.as_bytes()).then(|| text(server))
}

/// Without a zone the servers are those of the configuration.
fn configured_peers(upstream: &ngx_http_upstream_srv_conf_t) -> Vec<Peer> {
    // SAFETY: the servers of an upstream are ngx_http_upstream_server_t.
    let servers: &[ngx_http_upstream_server_t] = unsafe { elements(upstream.servers) };
    let mut peers = Vec::new();
    for server in servers {
        let addresses = if server.addrs.is_null() {
            &[][..]
        } else {
            // SAFETY: nginx resolved the name to that many addresses.
            unsafe { std::slice::from_raw_parts(server.addrs, server.naddrs) }
        };
        peers.extend(addresses.iter().map(|address| Peer {
            address: text(&address.name),
            server: named(&server.name, &address.name),
            backup: bits::ngx_http_upstream_server_t::BACKUP.is_set(server),
            down: server.down != 0,
        }));
    }
    peers
}

/// With a zone they are in shared memory, where names are resolved anew while nginx runs.
#[cfg(ngx_feature = "http_upstream_zone")]
fn shared_peers(upstream: &ngx_http_upstream_srv_conf_t) -> Vec<Peer> {
    let mut found = Vec::new();
    let mut next: *mut ngx_http_upstream_rr_peers_t = upstream.peer.data.cast();
    let mut backup = false;
    // SAFETY: an upstream with a zone keeps its peers there (ngx_http_upstream_init_zone), the backup ones linked behind.
    while let Some(peers) = unsafe { next.as_mut() } {
        // SAFETY: the lock is part of the peers.
        unsafe { ngx_rwlock_rlock(&raw mut peers.rwlock) };
        let mut peer: *mut ngx_http_upstream_rr_peer_t = peers.peer;
        // SAFETY: nginx ends the list with null and does not change it while the lock is held.
        while let Some(one) = unsafe { peer.as_ref() } {
            let server = named(&one.server, &one.name);
            found.push(Peer { address: text(&one.name), server, backup, down: one.down != 0 });
            peer = one.next;
        }
        // SAFETY: locked above.
        unsafe { ngx_rwlock_unlock(&raw mut peers.rwlock) };
        next = peers.next;
        backup = true;
    }
    found
}
