//! What tests of all edges need: a live version, a load, and how long the old version is given requests after each shift.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cutover_tests::kubernetes::operator::{Operator, apply_shop, text, until_status};
use cutover_tests::kubernetes::timeline::{Moment, last_given};
use cutover_tests::kubernetes::{Kubectl, Kubelet, Namespace};
use cutover_tests::load::{Plan, Report};
use cutover_tests::{Load, SlotOracle};
use serde_json::{Value, json};

/// A policy of a test: with requests of its own, because these edges count nothing.
pub(crate) fn policy(steps: &[&str]) -> Value {
    let mut policy = json!({
        "probe": { "interval": "200ms", "deadline": "10s" },
        "soak": { "duration": "4s", "interval": "200ms", "min_requests": 10, "synthetic": { "interval": "100ms" } },
        "drain": { "deadline": "1s" },
        "warm": "3s",
    });
    if !steps.is_empty() {
        policy["steps"] = json!(steps);
    }
    policy
}

/// The keys of a spec.
pub(crate) fn spec(edge: Value, policy: Value) -> Value {
    json!({ "edge": edge, "policy": policy })
}

/// Starts the operator over version 1, which is live in blue.
pub(crate) async fn live(namespace: &Namespace<'_>, spec: &Value) -> (Kubelet, Operator) {
    let kubelet = Kubelet::start(namespace);
    let operator = Operator::start(namespace).await.unwrap();
    apply_shop(namespace, "1", spec).await.unwrap();
    until_status(namespace, "version 1 to be live", |status| text(status, "/version") == "1").await.unwrap();
    (kubelet, operator)
}

/// A load whose answers may come from each of these versions.
pub(crate) fn load(address: SocketAddr, versions: &[&str]) -> Load {
    let oracle = SlotOracle::new(versions[0]);
    oracle.observe(versions, std::time::Instant::now());
    Load::start(Plan::new(address).connections(4, 1).pause(Duration::from_millis(5)), &oracle)
}

/// No request has failed.
pub(crate) fn assert_all_answered(report: &Report) {
    assert_eq!((report.failed(), report.stale), (0, 0), "{report}");
    assert!(report.total > 100, "{report}");
}

/// A change of a route by Cutover.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stamp {
    pub(crate) generation: u64,
    /// As in `blue, green 10 %`.
    pub(crate) route: String,
    pub(crate) at: SystemTime,
}

/// The changes of the route of an object, in order. Drop ends the watch.
pub(crate) struct Stamps {
    seen: Arc<Mutex<Vec<Stamp>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Stamps {
    /// Watches an object, as in `["httproute", "shop"]`.
    pub(crate) fn watch(kubectl: &Kubectl, object: [&'static str; 2]) -> Self {
        let seen = Arc::<Mutex<Vec<Stamp>>>::default();
        let (kubectl, stamps) = (kubectl.clone(), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            loop {
                if let Ok(object) = kubectl.get(&object).await
                    && let Some(stamp) = stamp(&object)
                {
                    let mut stamps = stamps.lock().unwrap();
                    if stamps.last() != Some(&stamp) {
                        stamps.push(stamp);
                    }
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        Self { seen, task }
    }

    /// Those that were seen.
    pub(crate) fn seen(&self) -> Vec<Stamp> {
        self.seen.lock().unwrap().clone()
    }

    /// The routes, as in `blue, green 10 %`.
    pub(crate) fn routes(&self) -> Vec<String> {
        self.seen().into_iter().map(|stamp| stamp.route).collect()
    }
}

impl Drop for Stamps {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The stamp of an object.
pub(crate) fn stamp(object: &Value) -> Option<Stamp> {
    let text = object.pointer("/metadata/annotations/cutover.dev~1route")?.as_str()?;
    let stamp: Value = serde_json::from_str(text).ok()?;
    Some(Stamp {
        generation: stamp.get("generation")?.as_u64()?,
        route: stamp.get("route")?.as_str()?.to_owned(),
        at: UNIX_EPOCH + Duration::from_millis(stamp.get("at")?.as_u64()?),
    })
}

/// Prints for each change after which a version gets nothing how long it was still given requests. Returns the longest time.
pub(crate) fn print_last_given(
    edge: &str,
    moments: &[Moment],
    stamps: &[Stamp],
    versions: [(&str, &str); 2],
) -> Duration {
    let mut longest = Duration::ZERO;
    for (at, stamp) in stamps.iter().enumerate().filter(|(_, stamp)| !stamp.route.contains(',')) {
        let until = stamps.get(at + 1).map_or_else(SystemTime::now, |next| next.at);
        let loser =
            versions.iter().find(|(slot, _)| *slot != stamp.route).map(|(_, version)| *version).unwrap();
        let last = last_given(moments, loser, stamp.at, until);
        println!(
            "{edge}: version {loser} was given requests until {last:?} after the change to {:?}",
            stamp.route
        );
        longest = longest.max(last);
    }
    longest
}
