//! Features of a location with a group: large bodies, subrequests, internal redirects, a cache. Each is tested under
//! switches to and fro, with every answer checked.

mod bodies;
mod cache;
mod redirects;
mod subrequests;

use cutover_tests::TestEdge;
use cutover_tests::load::{Load, Report};

/// Switches and reloads under this load, until it has stopped; every answer must be right.
async fn switch_and_reload(edge: &TestEdge, load: Load, what: &str) -> Report {
    let work = async {
        for _ in 0..3 {
            load.answers(300).await?;
            edge.nginx.reload().await?;
        }
        Ok(())
    };
    let switches = edge.switch_during(&load, work).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact(&format!("{what}, {switches} switches"), &report).unwrap();
    report
}

/// Waits until both slots together have answered this many requests, and asserts that they were given no others.
async fn counted(edge: &TestEdge, requests: u64) {
    let group = edge.until_counted(requests).await.unwrap();
    assert_eq!(group.slots.iter().map(|slot| slot.counters.requests).sum::<u64>(), requests);
}
