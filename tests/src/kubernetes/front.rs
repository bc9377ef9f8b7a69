//! All that is in front of the Pods of a shop with the edge `ingressNginx`: controllers with their agents, and the operator.

use anyhow::Result;
use serde_json::{Value, json};

use super::agent::{self, Agent};
use super::ingress_nginx::{IngressNginx, Snippets};
use super::kubelet::Kubelet;
use super::namespace::Namespace;
use super::operator::{self, Operator, apply_shop, apply_slots, text, until_status};
use super::patience;
use super::shop::{Shop, ingress, rule};
use crate::Backend;

/// Controllers in front of `shop`, whose first version is live in blue. Drop kills everything.
#[derive(Debug)]
pub struct Front<P = Backend> {
    /// The operator. It goes before what it looks at.
    pub operator: Operator,
    /// The agent of each controller.
    pub agents: Vec<Agent>,
    /// The controllers.
    pub controllers: Vec<IngressNginx>,
    /// What runs in the Pods.
    pub kubelet: Kubelet<P>,
}

impl<P: Send + 'static> Front<P> {
    /// Starts a controller with each of these snippets, and deploys the first version with a spec, to which the edge is added. The
    /// shop answers at `path`.
    pub async fn start(
        namespace: &Namespace<'_>,
        kubelet: Kubelet<P>,
        all: &[Snippets],
        (version, spec, path): (&str, &Value, &str),
    ) -> Result<Self> {
        apply_slots(namespace, &format!("shop:{version}"), 2).await?;
        agent::apply_token(namespace).await?;
        operator::install(namespace).await?;
        let (mut controllers, mut agents) = (Vec::new(), Vec::new());
        for snippets in all {
            let controller = IngressNginx::start(namespace, snippets).await?;
            apply_ingresses(namespace, controller.class()).await?;
            patience::until("the shop to answer", async || {
                controller.get(Shop::HOST, path).await.is_ok_and(|answer| answer.status == 200)
            })
            .await?;
            agents.push(Agent::start(namespace, &controller).await?);
            controllers.push(controller);
        }
        let operator = Operator::start(namespace).await?;
        apply_shop(namespace, version, &with_edge(namespace, spec)).await?;
        let is_live =
            |status: &Value| text(status, "/version") == version && text(status, "/route/active") == "blue";
        until_status(namespace, "the first version to be live", is_live).await?;
        Ok(Self { operator, agents, controllers, kubelet })
    }

    /// The slot that has all the traffic in each nginx, as the module says.
    pub async fn slots(&self) -> Result<Vec<String>> {
        let mut slots = Vec::new();
        for controller in &self.controllers {
            slots.push(controller.api().group("shop").await?.route.active);
        }
        Ok(slots)
    }

    /// Stops everything, and checks the error logs of nginx.
    pub async fn stop(self) -> Result<()> {
        drop(self.operator);
        drop(self.agents);
        for controller in self.controllers {
            controller.stop().await?;
        }
        Ok(())
    }
}

/// A spec whose edge is the controllers.
pub fn with_edge(namespace: &Namespace<'_>, spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.insert("edge".to_owned(), agent::edge(namespace));
    }
    spec
}

/// The users' Ingress, and the one that makes backends of the slots' Services.
pub async fn apply_ingresses(namespace: &Namespace<'_>, class: &str) -> Result<()> {
    let slots = ["blue", "green"].map(|slot| rule(&format!("{slot}.shop.internal"), &format!("shop-{slot}")));
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        ingress(&format!("shop-{class}"), class, &[rule(Shop::HOST, "shop")]),
        ingress(&format!("slots-{class}"), class, &slots),
    ] });
    namespace.kubectl().apply(&list.to_string()).await
}
