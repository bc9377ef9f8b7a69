//! A load far below the machine's capacity, so that disturbances show in the latency.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::exchange::{self, Exchange};
use crate::sample::Sample;

/// Number of connections.
pub(super) const CONNECTIONS: u32 = 4;
/// Time between two requests of a connection.
pub(super) const PERIOD: Duration = Duration::from_millis(2);

/// Runs the load. Returns the latencies, and the number of requests without an answer of status 200.
pub(super) async fn run(
    address: SocketAddr,
    path: &'static str,
    duration: Duration,
) -> Result<(Sample, u64)> {
    let begin = Instant::now();
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            // The connections' requests are spread over the period.
            let first = begin + PERIOD * number / CONNECTIONS;
            tokio::task::spawn_blocking(move || ask(address, path, first, begin + duration))
        })
        .collect();
    let (mut times, mut failed) = (Vec::new(), 0);
    for connection in connections {
        let (own, lost) = connection.await??;
        times.extend(own);
        failed += lost;
    }
    Ok((times.into_iter().collect(), failed))
}

fn ask(address: SocketAddr, path: &str, first: Instant, end: Instant) -> Result<(Vec<Duration>, u64)> {
    let request = exchange::request("GET", "shop.test", path, None, "");
    let mut exchange = Exchange::tcp(address)?;
    let (mut times, mut failed) = (Vec::new(), 0);
    let mut due = first;
    while due < end {
        // If the last answer was late, the time counts from when this request was due. If this thread woke late, it does not.
        let early = due.checked_duration_since(Instant::now());
        early.into_iter().for_each(std::thread::sleep);
        let sent = if early.is_some() { Instant::now() } else { due };
        match exchange.request(&request) {
            Ok(answer) if answer.status == 200 => times.push(sent.elapsed()),
            Ok(_) => failed += 1,
            Err(_) => {
                failed += 1;
                exchange = Exchange::tcp(address)?;
            }
        }
        due += PERIOD;
    }
    Ok((times, failed))
}
