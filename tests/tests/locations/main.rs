//! What a location does around its group: large bodies, subrequests, internal redirects, a cache. Each under switches to and
//! fro, with every answer checked.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bodies;
mod cache;
mod redirects;
mod subrequests;

use cutover_core::counters::Counters;
use cutover_tests::{TestEdge, wait};

/// Waits until this many requests have ended well in both slots together, which is all that they were given.
async fn counted(edge: &TestEdge, requests: u64) {
    let sum = async |count: fn(&Counters) -> u64| {
        let group = edge.nginx.admin().group("shop").await.unwrap();
        group.slots.iter().map(|slot| count(&slot.counters)).sum::<u64>()
    };
    let ended = async || {
        sum(|now| now.responses.success).await == requests
            && sum(|now| now.requests).await == requests
            && sum(|now| now.in_flight).await == 0
    };
    wait::until_async(wait::PATIENCE, &format!("{requests} requests in the counters"), ended).await.unwrap();
}
