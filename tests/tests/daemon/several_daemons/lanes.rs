//! Rows of a table, several side by side: each lane has a network, an nginx, an etcd and two daemons of its own.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use cutover_tests::{Hosts, Network};

use super::bench::{Bench, Row, Version, When};
use super::fault::Fault;

/// A row to make.
pub(crate) type Wanted = (Fault, Version, When);

/// Makes the rows in so many lanes, and prints the table. Panics if a row has failed, after all others.
pub(crate) fn run(lanes: usize, wanted: Vec<Wanted>) -> Vec<Row> {
    let begin = Instant::now();
    let queue = Mutex::new(VecDeque::from(wanted));
    let rows = Mutex::new(Vec::new());
    let failures = Mutex::new(Vec::new());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let lane = || {
        // A row that fails may leave anything behind: the next one begins anew.
        while let Some(first) = next() {
            Network::run(async |network| {
                let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
                let mut bench = Bench::start(network, &hosts, false).await.unwrap();
                let mut wanted = Some(first);
                while let Some((fault, version, when)) = wanted.take() {
                    match bench.row(fault, version, when).await {
                        Ok(Some(row)) => {
                            println!("{}", line(&row));
                            rows.lock().unwrap().push(row);
                        }
                        Ok(None) => {
                            println!("{fault:?} after {when:?}, {version:?}: there is no such record")
                        }
                        Err(error) => {
                            println!("FAILED {error:#}");
                            failures.lock().unwrap().push(format!("{error:#}"));
                            return;
                        }
                    }
                    wanted = next();
                }
            });
        }
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().for_each(|lane| lane.join().unwrap());
    });
    let failures = failures.into_inner().unwrap();
    let rows = rows.into_inner().unwrap();
    println!("{} rows in {:?}", rows.len(), begin.elapsed());
    assert!(failures.is_empty(), "{} rows have failed:\n{}", failures.len(), failures.join("\n"));
    rows
}

/// A line of the table.
pub(crate) fn line(row: &Row) -> String {
    let Row { fault, version, record, label, outcome, without, errors, late, .. } = row;
    let without = without.map_or_else(|| "-".to_owned(), |without| format!("{:.1}", without.as_secs_f64()));
    format!("| {fault:?} | {version:?} | {record} | {label} | {outcome} | {without} | {errors} | {late} |")
}
