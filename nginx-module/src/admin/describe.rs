//! A group as the API shows it.

use cutover_core::api::{Group as Described, Peer, RouteState, Slot as DescribedSlot};
use ngx::ffi::{
    ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t, ngx_http_upstream_server_t,
    ngx_http_upstream_srv_conf_t, ngx_rwlock_rlock, ngx_rwlock_unlock,
};

use crate::ext::{elements, text};
use crate::group::{Group, Slot};

/// All that is known of a group now.
pub(super) fn group(group: &Group) -> Described {
    let reading = group.reading();
    Described {
        name: group.name.clone(),
        route: RouteState { active: group.name_in(reading).to_owned(), generation: reading.generation() },
        slots: group.slots.iter().map(|one| slot(group, one)).collect(),
    }
}

fn slot(group: &Group, slot: &Slot) -> DescribedSlot {
    let counters = slot.id.get().and_then(|id| Some(group.counters.get()?.sum(id)));
    // SAFETY: an upstream of the configuration that serves this request.
    let peers = slot.upstream.get().map(|upstream| peers(unsafe { upstream.as_ref() }));
    DescribedSlot {
        name: slot.name.clone(),
        upstream: slot.upstream_name.clone(),
        peers: peers.unwrap_or_default(),
        counters: counters.unwrap_or_default(),
    }
}

fn peers(upstream: &ngx_http_upstream_srv_conf_t) -> Vec<Peer> {
    if upstream.shm_zone.is_null() { configured_peers(upstream) } else { shared_peers(upstream) }
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
            backup: server.backup() != 0,
            down: server.down != 0,
        }));
    }
    peers
}

/// With a zone they are in shared memory, where names are resolved anew while nginx runs.
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
            found.push(Peer { address: text(&one.name), backup, down: one.down != 0 });
            peer = one.next;
        }
        // SAFETY: locked above.
        unsafe { ngx_rwlock_unlock(&raw mut peers.rwlock) };
        next = peers.next;
        backup = true;
    }
    found
}
