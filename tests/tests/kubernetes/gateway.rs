//! Traefik as a gateway: what an edge over HTTPRoutes has to do with.

use cutover_tests::kubernetes::{self, Cluster, Namespace, Shop, Traefik};
use serde_json::{Value, json};

/// The shop's route, with these weights of its slots.
fn route(blue: u32, green: u32) -> Value {
    let backend =
        |slot: &str, weight: u32| json!({ "name": format!("shop-{slot}"), "port": 80, "weight": weight });
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "name": "shop" },
        "spec": {
            "parentRefs": [{ "name": Traefik::GATEWAY }],
            "hostnames": [Shop::HOST],
            "rules": [{ "backendRefs": [backend("blue", blue), backend("green", green)] }],
        },
    })
}

async fn until_answered_by(traefik: &Traefik, slot: &str) {
    kubernetes::until(&format!("ten answers of {slot} in a row"), async || {
        for _ in 0..10 {
            let answer = traefik.get(Shop::HOST, "/").await;
            if !answer.is_ok_and(|answer| answer.status_and_slot() == (200, slot)) {
                return false;
            }
        }
        true
    })
    .await
    .unwrap();
}

async fn apply(namespace: &Namespace<'_>, route: &Value) {
    namespace.kubectl().apply(&route.to_string()).await.unwrap();
}

#[test]
fn weights_of_a_route_move_the_traffic_of_a_gateway() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let _shop = Shop::start(&namespace, 2).await.unwrap();
        let traefik = Traefik::start(&namespace).await.unwrap();
        apply(&namespace, &route(100, 0)).await;
        until_answered_by(&traefik, "blue").await;
        apply(&namespace, &route(0, 100)).await;
        until_answered_by(&traefik, "green").await;
    });
}
