//! Rows of a table, several side by side: each lane has a network, an nginx, an etcd and two daemons of its own.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use cutover_tests::{Backend, Hosts, Network};

use super::bench::{Bench, Version};
use super::fault::Fault;
use super::row::{Row, When};

/// A row to make.
pub(crate) type Wanted = (Fault, Version, When);

/// What a lane has besides etcd and the daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    /// One nginx, reached by its unix socket.
    OneEdge,
    /// Three nginx, reached over the network.
    ThreeEdges,
    /// Three nginx, reached by their unix sockets, so that changes can be late.
    ThreeSockets,
    /// One nginx with two groups that are deployed together.
    TwoGroups,
}

/// The content of `http {}` with two groups.
const TWO_GROUPS: &str = "
    cutover_state %%prefix%%/state;
    upstream shop_blue { server %%blue%%; keepalive 32; }
    upstream shop_green { server %%green%%; keepalive 32; }
    upstream api_blue { server %%api_blue%%; keepalive 32; }
    upstream api_green { server %%api_green%%; keepalive 32; }
    cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
    cutover api { slot blue api_blue; slot green api_green; active blue; }
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    server {
        listen %%main%%;
        location /shop/ { proxy_pass http://shop; }
        location /api/ { proxy_pass http://api; }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

/// Ports of the slots of the second group.
const API: [u16; 2] = [3002, 3003];

/// Lanes that other tests beside them bear.
const FEW: usize = 2;
static MANY: Mutex<()> = Mutex::new(());

/// Makes the rows in so many lanes, and prints the table. Panics if a row has failed, after all others.
pub(crate) fn run(setup: Setup, lanes: usize, wanted: Vec<Wanted>) -> Vec<Row> {
    // Tables with many lanes are made one after the other, and those with few beside other tests.
    let _only = (lanes > FEW).then(|| MANY.lock().unwrap_or_else(PoisonError::into_inner));
    let begin = Instant::now();
    let queue = Mutex::new(VecDeque::from(wanted));
    let rows = Mutex::new(Vec::new());
    let failures = Mutex::new(Vec::new());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let lane = || {
        // A row that fails may leave anything behind: the next one begins anew.
        while let Some(first) = next() {
            Network::run(async |network| {
                let fixture = Fixture::start(network, setup).await.unwrap();
                let Some(fixture) = fixture else { return };
                let mut bench = fixture.bench(network, setup).await.unwrap();
                let mut wanted = Some(first);
                while let Some((fault, version, when)) = wanted.take() {
                    match bench.row(fault, version, when).await {
                        Ok(Some(row)) => {
                            println!("{}", line(&row));
                            rows.lock().unwrap().push(row);
                        }
                        Ok(None) => {
                            let what =
                                format!("{fault:?} after {when:?}, {version:?}: there is no such record");
                            println!("{what}");
                            if matches!(when, When::Label(_)) {
                                failures.lock().unwrap().push(what);
                            }
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

/// What a bench borrows.
struct Fixture {
    hosts: Hosts,
    api: [Backend; 2],
}

impl Fixture {
    async fn start(network: &Network, setup: Setup) -> Result<Option<Self>> {
        let addresses = API.map(|port| SocketAddr::from((Network::TEST, port)));
        let [blue, green] = addresses;
        let api = [Backend::start_at("blue", blue).await?, Backend::start_at("green", green).await?];
        let hosts = match setup {
            Setup::OneEdge => Hosts::start(network, 1).await?,
            Setup::ThreeEdges | Setup::ThreeSockets => Hosts::start(network, 3).await?,
            Setup::TwoGroups => {
                let variables = [("api_blue", blue.to_string()), ("api_green", green.to_string())];
                Hosts::start_with(network, 1, TWO_GROUPS, &variables).await?
            }
        };
        Ok(hosts.map(|hosts| Self { hosts, api }))
    }

    async fn bench(&self, network: &Network, setup: Setup) -> Result<Bench<'_>> {
        let mut backends = BTreeMap::from([("shop", [&self.hosts.blue, &self.hosts.green])]);
        if setup == Setup::TwoGroups {
            let [blue, green] = &self.api;
            backends.insert("api", [blue, green]);
        }
        Bench::start(network, &self.hosts, setup == Setup::ThreeEdges, backends).await
    }
}

/// A line of the table.
pub(crate) fn line(row: &Row) -> String {
    let Row { fault, version, record, label, outcome, without, mixed, errors, late, .. } = row;
    let without = without.map_or_else(|| "-".to_owned(), |without| format!("{:.1}", without.as_secs_f64()));
    format!(
        "| {fault:?} | {version:?} | {record} | {label} | {outcome} | {without} | {mixed} | {errors} | {late} |"
    )
}
