//! The leader is killed in each phase of a deployment, with each edge: the next operator brings it to the same end.

use std::time::{Duration, Instant};

use cutover_tests::kubernetes::front::with_edge;
use cutover_tests::kubernetes::operator::{Operator, apply_shop, apply_slots, selected, text, until_ended};
use cutover_tests::kubernetes::{Cluster, Front, Kubelet, Namespace, Seen, Snippets, StatusWatch, Traefik};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::{argo_rollouts, edges, gateway, ingress_canary};

/// How many namespaces with two operators each a small machine runs at once.
const AT_ONCE: usize = 4;

/// After the end of the Lease, another operator takes it and reads what is there, on a busy machine.
const TAKEOVER: Duration = Duration::from_secs(10);

/// Where the leader is killed: as soon as a status says so.
#[derive(Clone, Copy, Debug)]
struct Kill {
    phase: &'static str,
    /// Words of the message; any if empty.
    words: &'static str,
}

const fn at(phase: &'static str, words: &'static str) -> Kill {
    Kill { phase, words }
}

/// What is deployed, where the leader is killed meanwhile, and how it ends all the same.
const DEPLOYMENTS: [(&str, &[Kill], &str); 3] = [
    (
        "",
        &[
            at("Provisioning", ""),
            at("Probing", ""),
            at("Smoking", ""),
            at("Switching", ""),
            at("Soaking", ""),
            at("Confirming", ""),
            at("Draining", ""),
            at("Warm", ""),
            at("Decommissioning", ""),
        ],
        "completed",
    ),
    // It fails its first requests.
    (
        "-broken",
        &[
            at("Soaking", ""),
            at("RollingBack", ""),
            at("RollingBack", "traffic is back"),
            at("RollingBack", "drained"),
        ],
        "rolled_back",
    ),
    // It is never healthy.
    ("-sick", &[at("Probing", ""), at("TearingDown", "")], "failed"),
];

/// All rows: the version's tag behind its number, the kill, and the outcome.
fn rows() -> impl Iterator<Item = (&'static str, Kill, &'static str)> {
    let of = |(tag, kills, outcome): (&'static str, &'static [Kill], &'static str)| {
        kills.iter().map(move |kill| (tag, *kill, outcome))
    };
    DEPLOYMENTS.into_iter().flat_map(of)
}

/// Deploys a version, kills the leader at a status, and waits for the end. Returns the slot with the traffic.
async fn kill(
    namespace: &Namespace<'_>,
    leader: &mut Operator,
    (version, spec): (&str, &Value),
    (kill, outcome): (Kill, &str),
) -> String {
    let mut status = StatusWatch::begin(namespace.kubectl()).unwrap();
    apply_shop(namespace, version, spec).await.unwrap();
    let mut until = async |is: &dyn Fn(&Seen) -> bool| loop {
        let seen = status.next().await.unwrap_or_else(|error| panic!("{kill:?} of {version}: {error:#}"));
        if is(&seen) {
            return seen;
        }
    };
    let is_there = |seen: &Seen| {
        seen.version == version && seen.phase == kill.phase && seen.message.contains(kill.words)
    };
    let epoch = until(&is_there).await.epoch;
    leader.server().kill();
    let killed = Instant::now();
    until(&|seen| seen.epoch > epoch).await;
    let (alone, limit) = (killed.elapsed(), Operator::LEASE + TAKEOVER);
    println!("killed in {kill:?} of version {version}: nobody drove for {alone:.1?}");
    assert!(alone < limit, "{kill:?}: nobody drove for {alone:?}, longer than {limit:?}");
    let status = until_ended(namespace, version, outcome).await.unwrap();
    let history = status.pointer("/history").and_then(Value::as_array).cloned().unwrap_or_default();
    let of_it = history.iter().filter(|one| text(one, "/version") == version).count();
    assert_eq!(of_it, 1, "{kill:?}: {status}");
    text(&status, "/activeSlot").to_owned()
}

fn policy(steps: &[&str]) -> Value {
    let mut policy = edges::policy(steps);
    policy["probe"]["deadline"] = json!("4s");
    // Over before another operator leads: that one watches it anew.
    policy["soak"]["duration"] = json!("3s");
    policy["warm"] = json!("2s");
    policy
}

/// Each row in a namespace of its own, some at once.
fn over_a_service(is_run: fn(&Kill) -> bool) {
    Cluster::shared(async |cluster| {
        let rows = rows().filter(|(_, its, _)| is_run(its)).map(async |(tag, its, outcome)| {
            let namespace = cluster.namespace().await.unwrap();
            apply_slots(&namespace, "shop:1", 1).await.unwrap();
            let spec = edges::spec(json!({ "service": {} }), policy(&[]));
            let (_kubelet, mut leader) = edges::live(&namespace, &spec).await;
            let kubeconfig = namespace.kubectl().kubeconfig();
            let _next = Operator::start_as(&namespace, "operator-1", kubeconfig).unwrap();
            let version = format!("2{tag}");
            let active = kill(&namespace, &mut leader, (&version, &spec), (its, outcome)).await;
            assert_eq!(active, if outcome == "completed" { "green" } else { "blue" }, "{its:?}");
            assert_eq!(selected(&namespace).await.unwrap(), active, "{its:?}");
        });
        stream::iter(rows).buffer_unordered(AT_ONCE).count().await;
    });
}

/// Left to the long run are phases in which the driver does what it does in one of these, too: it runs checks, waits, stops a slot.
#[test]
fn in_most_phases_over_a_service() {
    over_a_service(|kill| !matches!(kill.phase, "Smoking" | "Draining" | "Decommissioning" | "TearingDown"));
}

#[test]
#[ignore = "takes minutes: each phase"]
fn in_each_phase_over_a_service() {
    over_a_service(|_| true);
}

/// Each row after the other, because what carries the traffic is one. `live` is the slot that it names.
async fn one_after_the_other(
    namespace: &Namespace<'_>,
    (mut leader, spec): (Operator, &Value),
    carried: impl AsyncFn() -> String,
) {
    let kubeconfig = namespace.kubectl().kubeconfig().clone();
    let mut before = carried().await;
    for (at, (tag, its, outcome)) in rows().enumerate() {
        let next = Operator::start_as(namespace, &format!("operator-{}", at + 1), &kubeconfig).unwrap();
        let version = format!("{}{tag}", at + 2);
        let active = kill(namespace, &mut leader, (&version, spec), (its, outcome)).await;
        assert_eq!(active != before, outcome == "completed", "{its:?}: from {before} to {active}");
        assert_eq!(carried().await, active, "{its:?}");
        println!("killed in {its:?} of version {version}: {outcome}, the traffic is on {active}");
        (before, leader) = (active, next);
    }
}

#[test]
#[ignore = "takes minutes: each phase, one after the other"]
fn in_each_phase_over_a_canary_ingress() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        apply_slots(&namespace, "shop:1", 1).await.unwrap();
        ingress_canary::apply_users(&namespace).await;
        let spec = edges::spec(ingress_canary::edge(), policy(&["10% 1s", "100%"]));
        let (_kubelet, leader) = edges::live(&namespace, &spec).await;
        one_after_the_other(&namespace, (leader, &spec), async || {
            assert!(ingress_canary::canaries(&namespace).await.is_empty());
            selected(&namespace).await.unwrap()
        })
        .await;
    });
}

#[test]
#[ignore = "takes minutes: each phase, one after the other"]
fn in_each_phase_over_a_gateway() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        apply_slots(&namespace, "shop:1", 1).await.unwrap();
        let _traefik = Traefik::start(&namespace).await.unwrap();
        gateway::apply(&namespace, &gateway::weighted(100, 0)).await;
        let spec = edges::spec(gateway::edge(), policy(&["10% 1s", "100%"]));
        let (_kubelet, leader) = edges::live(&namespace, &spec).await;
        one_after_the_other(&namespace, (leader, &spec), async || {
            let weights = gateway::weights(&namespace).await;
            let whole = weights.iter().flatten().filter(|(_, weight)| *weight > 0).collect::<Vec<_>>();
            assert_eq!(whole.len(), 1, "{weights:?}");
            whole[0].0.trim_start_matches("shop-").to_owned()
        })
        .await;
    });
}

#[test]
#[ignore = "takes minutes: each phase, one after the other"]
fn in_each_phase_over_two_controllers_of_ingress_nginx() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let mut spec = edges::spec(json!({}), policy(&[]));
        let snippets = [Snippets::of_shop(&namespace), Snippets::of_shop(&namespace)];
        let front = Front::start(&namespace, Kubelet::start(&namespace), &snippets, ("1", &spec, "/"));
        let Front { operator, agents, controllers, kubelet: _kubelet } = front.await.unwrap();
        spec = with_edge(&namespace, &spec);
        one_after_the_other(&namespace, (operator, &spec), async || {
            let mut slots = Vec::new();
            for controller in &controllers {
                let route = controller.api().group("shop").await.unwrap().route;
                assert!(route.split.is_none(), "{route:?}");
                slots.push(route.active);
            }
            assert_eq!(slots[0], slots[1]);
            slots.remove(0)
        })
        .await;
        drop(agents);
        for controller in controllers {
            controller.stop().await.unwrap();
        }
    });
}

#[test]
#[ignore = "takes minutes: each phase, one after the other"]
fn in_each_phase_over_a_rollout_of_argo() {
    Cluster::alone(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let (_argo, _kubelet, leader, traefik) = argo_rollouts::driven::live(&namespace).await;
        let mut spec = argo_rollouts::driven::spec();
        spec["policy"] = policy(&[]);
        let live = async || {
            argo_rollouts::driven::until_healthy(&namespace).await;
            let image = argo_rollouts::driven::image(&namespace).await;
            let version = image.rsplit_once(':').unwrap().1.to_owned();
            gateway::until_answered_by(&traefik, &version).await;
            let shop = namespace.kubectl().get(&["bluegreen", "shop"]).await.unwrap();
            assert_eq!(text(&shop, "/status/version"), version);
            text(&shop, "/status/activeSlot").to_owned()
        };
        one_after_the_other(&namespace, (leader, &spec), live).await;
    });
}
