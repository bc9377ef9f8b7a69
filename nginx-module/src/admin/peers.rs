//! The servers of an upstream as nginx balances over them now.

use cutover_core::api::Peer;
#[cfg(ngx_feature = "http_upstream_zone")]
use ngx::ffi::{
    ngx_http_upstream_rr_peer_t, ngx_http_upstream_rr_peers_t, ngx_rwlock_rlock, ngx_rwlock_unlock,
};
use ngx::ffi::{ngx_http_upstream_server_t, ngx_str_t};

use crate::callbacks::Upstream;
use crate::ext::{elements, text};
use crate::layout::bits;

#[cfg(ngx_feature = "http_upstream_zone")]
pub(super) fn peers(upstream: &Upstream) -> Vec<Peer> {
    if upstream.shm_zone.is_null() { configured_peers(upstream) } else { shared_peers(upstream) }
}

/// An nginx without ngx_http_upstream_zone_module keeps no peers in shared memory.
#[cfg(not(ngx_feature = "http_upstream_zone"))]
pub(super) fn peers(upstream: &Upstream) -> Vec<Peer> {
    configured_peers(upstream)
}

/// What the configuration calls a server, if that is more than its address.
fn named(server: &ngx_str_t, address: &ngx_str_t) -> Option<String> {
    (server.as_bytes() != address.as_bytes()).then(|| text(server))
}

/// Without a zone the servers are those of the configuration.
fn configured_peers(upstream: &Upstream) -> Vec<Peer> {
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
fn shared_peers(upstream: &Upstream) -> Vec<Peer> {
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
