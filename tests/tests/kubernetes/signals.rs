//! Soaks on an edge that counts nothing, judged by a real Prometheus that scrapes what the Pods have answered.

use std::net::SocketAddr;
use std::time::Duration;

use cutover_tests::kubernetes::operator::{apply_shop, apply_slots, text, until_ended};
use cutover_tests::kubernetes::{Cluster, Kubelet, Traefik};
use cutover_tests::load::Plan;
use cutover_tests::{Action, Backend, Load, Prometheus, SlotOracle, ports};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::edges::live;
use crate::gateway;

/// What the Pods have answered, by version and status, as an application would count it.
struct Exporter {
    task: JoinHandle<()>,
}

impl Exporter {
    async fn start(at: SocketAddr, kubelet: Kubelet) -> Self {
        let backend = Backend::start_at("exporter", at).await.unwrap();
        let task = tokio::spawn(async move {
            loop {
                let mut page = String::new();
                for (tag, _) in kubelet.tags() {
                    let truths = kubelet.truth(&tag);
                    for status in [200, 500] {
                        let sum: u64 = truths.iter().filter_map(|truth| truth.answered.get(&status)).sum();
                        page +=
                            &format!("shop_answers_total{{version=\"{tag}\",status=\"{status}\"}} {sum}\n");
                    }
                }
                backend.on("/metrics", Action::status(200).body(&page));
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        Self { task }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The share of failed answers of a version, of a metric with this name.
fn spec(prometheus: &Prometheus, metric: &str) -> Value {
    let rate = |labels: &str| format!("sum(rate({metric}{{version=\"{{version}}\"{labels}}}[{{window}}]))");
    json!({
        "edge": { "gateway": { "route": "shop" } },
        "policy": {
            "probe": { "interval": "200ms", "deadline": "20s" },
            "steps": ["20% 8s", "100%"],
            "soak": { "duration": "12s", "interval": "200ms" },
            "drain": { "deadline": "1s" },
            "warm": "1s",
            "signal": [{
                "name": "errors of the shop",
                "url": prometheus.url(),
                "promql": format!("{} / {}", rate(",status=\"500\""), rate("")),
                "limit": 0.05,
                "window": "4s",
                "for": "2s",
                "interval": "500ms",
                "timeout": "2s",
            }],
        },
    })
}

#[test]
fn a_prometheus_judges_where_nothing_is_counted() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        apply_slots(&namespace, "shop:1", 2).await.unwrap();
        let traefik = Traefik::start(&namespace).await.unwrap();
        gateway::apply(&namespace, &gateway::weighted(100, 0)).await;
        let at = ports::free().unwrap();
        let prometheus = Prometheus::start(&[(at, json!({}))]).await.unwrap();
        let spec = |metric: &str| spec(&prometheus, metric);
        let good = spec("shop_answers_total");
        let (kubelet, _operator) = live(&namespace, &good).await;
        let _exporter = Exporter::start(at, kubelet).await;
        gateway::until_answered_by(&traefik, "1").await;
        let oracle = SlotOracle::new("1");
        let load = Load::start(
            Plan::new(traefik.address()).connections(4, 0).pause(Duration::from_millis(10)),
            &oracle,
        );
        prometheus.until("rate(shop_answers_total{version=\"1\",status=\"200\"}[4s]) > 0").await.unwrap();

        apply_shop(&namespace, "2", &good).await.unwrap();
        let status = until_ended(&namespace, "2", "completed").await.unwrap();
        assert_eq!(text(&status, "/activeSlot"), "green");

        apply_shop(&namespace, "3-broken", &good).await.unwrap();
        let status = until_ended(&namespace, "3-broken", "rolled_back").await.unwrap();
        let message = text(&status, "/history/0/message");
        assert!(
            message.contains("signal \"errors of the shop\" is") && message.contains("above its limit 0.05"),
            "{message}"
        );
        assert_eq!(text(&status, "/activeSlot"), "green");

        let nothing = spec("shop_answers_of_nobody_total");
        apply_shop(&namespace, "4", &nothing).await.unwrap();
        let status = until_ended(&namespace, "4", "rolled_back").await.unwrap();
        let message = text(&status, "/history/0/message");
        assert!(message.contains("inconclusive") && message.contains("errors of the shop"), "{message}");
        assert_eq!(text(&status, "/activeSlot"), "green");
        load.stop().await;
    });
}
