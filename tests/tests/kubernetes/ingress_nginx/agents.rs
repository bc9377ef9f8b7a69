//! The edge `ingressNginx`: two controllers, each with an agent beside its nginx, and the operator.

use cutover_tests::kubernetes::agent::{apply_token, edge};
use cutover_tests::kubernetes::operator::{
    Operator, apply_shop, apply_slots, install, selected, text, until_ended, until_status,
};
use cutover_tests::kubernetes::{Agent, Cluster, IngressNginx, Kubelet, Namespace, Shop};
use cutover_tests::load::Plan;
use cutover_tests::{Load, SlotOracle};
use serde_json::{Value, json};

use super::{snippets, until_answered_by};

/// Two controllers with their agents in front of `shop`, whose version 1 is live in blue.
struct Front {
    controllers: Vec<IngressNginx>,
    agents: Vec<Agent>,
    _kubelet: Kubelet,
    operator: Operator,
}

impl Front {
    async fn start(namespace: &Namespace<'_>, spec: &Value) -> Self {
        apply_slots(namespace, "shop:1", 2).await.unwrap();
        apply_token(namespace).await.unwrap();
        install(namespace).await.unwrap();
        let kubelet = Kubelet::start(namespace);
        let (mut controllers, mut agents) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let controller = IngressNginx::start(namespace, &snippets(namespace)).await.unwrap();
            apply_ingresses(namespace, controller.class()).await;
            until_answered_by(&controller, Shop::HOST, "1").await;
            agents.push(Agent::start(namespace, &controller).await.unwrap());
            controllers.push(controller);
        }
        let operator = Operator::start(namespace).await.unwrap();
        apply_shop(namespace, "1", &with_edge(namespace, spec)).await.unwrap();
        let is_live =
            |status: &Value| text(status, "/version") == "1" && text(status, "/route/active") == "blue";
        until_status(namespace, "version 1 to be live", is_live).await.unwrap();
        Self { controllers, agents, _kubelet: kubelet, operator }
    }

    fn load(&self, oracle: &std::sync::Arc<SlotOracle>) -> Vec<Load> {
        let plan = |controller: &IngressNginx| Plan::new(controller.address()).connections(2, 1);
        self.controllers.iter().map(|controller| Load::start(plan(controller), oracle)).collect()
    }

    async fn stop(self) {
        drop(self.operator);
        drop(self.agents);
        for controller in self.controllers {
            controller.stop().await.unwrap();
        }
    }
}

fn with_edge(namespace: &Namespace<'_>, spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["edge"] = edge(namespace);
    spec
}

fn policy(soak: &str) -> Value {
    json!({ "policy": {
        "probe": { "interval": "200ms", "deadline": "20s" },
        "soak": { "duration": soak, "interval": "200ms", "min_requests": 20 },
        "drain": { "deadline": "5s" },
        "warm": "2s",
    } })
}

/// The users' Ingress, and the one that makes backends of the slots' Services.
async fn apply_ingresses(namespace: &Namespace<'_>, class: &str) {
    let rule = |host: &str, service: &str| {
        let backend = json!({ "service": { "name": service, "port": { "name": "http" } } });
        json!({ "host": host, "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] } })
    };
    let ingress = |name: String, rules: Vec<Value>| {
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": { "name": name },
            "spec": { "ingressClassName": class, "rules": rules },
        })
    };
    let slots = ["blue", "green"].map(|slot| rule(&format!("{slot}.shop.internal"), &format!("shop-{slot}")));
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        ingress(format!("shop-{class}"), vec![rule(Shop::HOST, "shop")]),
        ingress(format!("slots-{class}"), slots.into()),
    ] });
    namespace.kubectl().apply(&list.to_string()).await.unwrap();
}

/// The agents as the status shows them, in the order of their Pods.
fn agents(status: &Value) -> Vec<&Value> {
    let mut agents: Vec<&Value> = status["agents"].as_array().into_iter().flatten().collect();
    agents.sort_by_key(|agent| text(agent, "/pod"));
    agents
}

#[test]
fn a_good_release_moves_in_all_controllers_and_no_request_fails() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = policy("3s");
        let front = Front::start(&namespace, &spec).await;
        let oracle = SlotOracle::new("1");
        let loads = front.load(&oracle);
        for load in &loads {
            load.answers(50).await.unwrap();
        }
        let call = oracle.announce("2");
        apply_shop(&namespace, "2", &with_edge(&namespace, &spec)).await.unwrap();
        until_status(&namespace, "the soak", |status| text(status, "/phase") == "Soaking").await.unwrap();
        call.acknowledge();
        let status = until_ended(&namespace, "2", "completed").await.unwrap();
        assert_eq!((text(&status, "/activeSlot"), text(&status, "/route/active")), ("green", "green"));
        assert!(status.pointer("/route/trial").is_none() && status.get("pending").is_none(), "{status}");
        let seq = status.pointer("/route/seq").cloned();
        assert_eq!(agents(&status).len(), 2, "{status}");
        for agent in agents(&status) {
            assert_eq!((agent.get("applied").cloned(), agent.get("error")), (seq.clone(), None), "{status}");
        }
        for load in loads {
            load.answers(50).await.unwrap();
            let report = load.stop().await;
            assert_eq!((report.failed(), report.stale), (0, 0), "{report}");
        }
        assert_eq!(selected(&namespace).await.unwrap(), "green", "traffic inside the cluster follows");
        front.stop().await;
    });
}
