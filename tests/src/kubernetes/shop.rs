//! A shop with two slots on Kubernetes: what a group of an operator is over.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::NODE;
use super::namespace::Namespace;
use crate::Backend;

const PORT: u16 = 8080;

/// Deployments, Services and listening backends of two slots, and the Service `shop` over the active one.
#[derive(Debug)]
pub struct Shop {
    blue: Vec<Backend>,
    green: Vec<Backend>,
}

impl Shop {
    /// The host of its Ingress or route.
    pub const HOST: &str = "shop.test";

    /// Applies its objects and starts a backend for each pod, whose answers name the slot. Returns when the Services have their
    /// endpoints. Blue is active.
    pub async fn start(namespace: &Namespace<'_>, replicas: u32) -> Result<Self> {
        let mut objects = vec![service("shop", &json!({ "app": "shop", "slot": "blue" }))];
        for slot in ["blue", "green"] {
            let labels = json!({ "app": "shop", "slot": slot });
            objects.push(service(&format!("shop-{slot}"), &labels));
            objects.push(deployment(&format!("shop-{slot}"), &labels, replicas));
        }
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        namespace.kubectl().apply(&list.to_string()).await?;
        let blue = backends(namespace, "blue").await?;
        let green = backends(namespace, "green").await?;
        for (service, backends) in [("shop", &blue), ("shop-blue", &blue), ("shop-green", &green)] {
            let addresses: Vec<SocketAddr> = backends.iter().map(Backend::address).collect();
            namespace.until_endpoints(service, &addresses).await?;
        }
        Ok(Self { blue, green })
    }

    /// The backends of a slot.
    pub fn backends(&self, slot: &str) -> &[Backend] {
        if slot == "blue" { &self.blue } else { &self.green }
    }

    /// An Ingress of a class for the Service `shop` at [`HOST`](Self::HOST), and one that names the slots' Services, because a
    /// controller knows no others: at `blue.shop.internal` and `green.shop.internal`.
    pub async fn add_ingress(&self, namespace: &Namespace<'_>, class: &str) -> Result<()> {
        let slots =
            ["blue", "green"].map(|slot| rule(&format!("{slot}.shop.internal"), &format!("shop-{slot}")));
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
            ingress("shop", class, &[rule(Self::HOST, "shop")]),
            ingress("shop-slots", class, &slots),
        ] });
        namespace.kubectl().apply(&list.to_string()).await
    }
}

async fn backends(namespace: &Namespace<'_>, slot: &str) -> Result<Vec<Backend>> {
    namespace.until_rolled_out(&format!("shop-{slot}")).await?;
    let mut started = Vec::new();
    for pod in namespace.pods(&format!("app=shop,slot={slot}")).await? {
        let address = SocketAddr::new(pod.address, PORT);
        started.push(Backend::start_at(slot, address).await.with_context(|| format!("for {}", pod.name))?);
    }
    Ok(started)
}

fn service(name: &str, selector: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": { "selector": selector, "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] },
    })
}

fn deployment(name: &str, labels: &Value, replicas: u32) -> Value {
    let container =
        json!({ "name": "shop", "image": "shop:1", "ports": [{ "name": "http", "containerPort": PORT }] });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "labels": labels },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "nodeName": NODE, "containers": [container] },
            },
        },
    })
}

/// An Ingress of a class.
pub(super) fn ingress(name: &str, class: &str, rules: &[Value]) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": name },
        "spec": { "ingressClassName": class, "rules": rules },
    })
}

/// All paths of a host go to a Service.
pub(super) fn rule(host: &str, service: &str) -> Value {
    let backend = json!({ "service": { "name": service, "port": { "name": "http" } } });
    json!({ "host": host, "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] } })
}
