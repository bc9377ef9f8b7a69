//! What Ingresses ask of the controller goes on while their application is deployed.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use cutover_core::api::Slot;
use cutover_tests::client::{Answer, Client};
use cutover_tests::kubernetes::front::with_edge;
use cutover_tests::kubernetes::operator::{
    apply_shop, apply_slots_of, blue_green, text, until_ended, until_status, until_status_of,
};
use cutover_tests::kubernetes::{
    self, Cluster, Container, Front, IngressNginx, Kubelet, Namespace, Shop, Snippets,
};
use cutover_tests::load::Plan;
use cutover_tests::{Action, Backend, GrpcServer, Load, SlotOracle};
use serde_json::{Value, json};

/// How often each thing is asked for.
const TIMES: u64 = 10;

/// What runs in a Pod.
enum Program {
    Web(Backend),
    Grpc { _server: GrpcServer },
}

impl Program {
    async fn start(container: Container) -> anyhow::Result<Self> {
        let Container { image, tag, address, .. } = container;
        if image == "grpc" {
            return Ok(Self::Grpc { _server: GrpcServer::start_at(&tag, address).await? });
        }
        let name = if image == "shop" { &tag } else { &image };
        let backend = Backend::start_at(name, address).await?;
        match image.as_str() {
            "auth" => backend.on("/", Action::status(401).unless_header("x-user", "known")),
            "pages" => backend.on("/", Action::status(500)),
            _ => {
                backend.on("/broken", Action::status(500));
                backend.on("/chat", Action::Upgrade);
            }
        }
        Ok(Self::Web(backend))
    }

    /// How many requests it got for a target.
    fn got(&self, target: &str) -> u64 {
        match self {
            Self::Web(backend) => backend.truth().targets.get(target).copied().unwrap_or_default(),
            Self::Grpc { .. } => 0,
        }
    }
}

/// One controller in front of `shop` and `grpc`, with an Ingress for each feature.
struct Features<'a> {
    namespace: &'a Namespace<'a>,
    front: Front<Program>,
}

impl<'a> Features<'a> {
    async fn start(namespace: &'a Namespace<'a>) -> Self {
        apply_slots_of(namespace, "grpc", "grpc:1", 1).await.unwrap();
        let kubelet = Kubelet::start_with(namespace, Program::start);
        let mut snippets = Snippets::of_shop(namespace);
        snippets.http += &snippets.http.replace("shop", "grpc");
        let front = Front::start(namespace, kubelet, &[snippets], ("1", &spec(2, "/"), "/")).await.unwrap();
        let started = Self { namespace, front };
        let auth = started.pod("auth").await;
        started.pod("pages").await;
        for (host, annotations, path, service) in [
            ("auth", json!({ "auth-url": format!("http://{auth}/auth") }), "/", "shop"),
            ("pages", json!({ "custom-http-errors": "500,503", "default-backend": "pages" }), "/", "shop"),
            ("rewrite", json!({ "rewrite-target": "/$2", "use-regex": "true" }), "/api(/|$)(.*)", "shop"),
            ("chat", json!({}), "/", "shop"),
            ("grpc", json!({ "backend-protocol": "GRPC" }), "/", "grpc"),
            ("blue.grpc", json!({ "backend-protocol": "GRPC" }), "/", "grpc-blue"),
            ("green.grpc", json!({ "backend-protocol": "GRPC" }), "/", "grpc-green"),
        ] {
            started.apply_ingress(host, &annotations, path, service).await;
        }
        let ready = async || {
            let all =
                [("auth", "/", "known"), ("pages", "/", ""), ("rewrite", "/api/", ""), ("chat", "/", "")];
            for (host, target, user) in all {
                if !started.get(host, target, user).await.is_ok_and(|answer| answer.status == 200) {
                    return false;
                }
            }
            started.call().await.is_ok_and(|answer| answer.status == 200)
        };
        kubernetes::until("all Ingresses to be served", ready).await.unwrap();
        let grpc = with_edge(namespace, &grpc_spec());
        namespace.kubectl().apply(&blue_green("grpc", "1", &grpc).to_string()).await.unwrap();
        let is_live = |status: &Value| text(status, "/version") == "1";
        until_status_of(namespace, "grpc", "version 1 of grpc", is_live).await.unwrap();
        started
    }

    fn controller(&self) -> &IngressNginx {
        &self.front.controllers[0]
    }

    /// Starts the only Pod of an application and its Service. Returns where it listens.
    async fn pod(&self, app: &str) -> SocketAddr {
        apply_slots_of(self.namespace, app, &format!("{app}:1"), 1).await.unwrap();
        let pods = self.namespace.pods(&format!("app={app}")).await.unwrap();
        SocketAddr::new(pods[0].address, 8080)
    }

    async fn apply_ingress(&self, host: &str, annotations: &Value, path: &str, service: &str) {
        let annotations: BTreeMap<String, &Value> = annotations
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (format!("nginx.ingress.kubernetes.io/{key}"), value))
            .collect();
        let backend = json!({ "service": { "name": service, "port": { "name": "http" } } });
        let ingress = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": { "name": host, "annotations": annotations },
            "spec": { "ingressClassName": self.controller().class(), "rules": [{
                "host": format!("{host}.test"),
                "http": { "paths": [{ "path": path, "pathType": "ImplementationSpecific", "backend": backend }] },
            }] },
        });
        self.namespace.kubectl().apply(&ingress.to_string()).await.unwrap();
    }

    async fn get(&self, host: &str, target: &str, user: &str) -> anyhow::Result<Answer> {
        let host = format!("{host}.test");
        let mut client = Client::connect(self.controller().address()).await?;
        client.request("GET", target, &[("host", &host), ("x-user", user)]).await
    }

    /// A gRPC call with an empty message. The client speaks HTTP/1.1, because Debian's nginx has no `http2 on`.
    async fn call(&self) -> anyhow::Result<Answer> {
        let headers = [("host", "grpc.test"), ("content-type", "application/grpc"), ("te", "trailers")];
        let mut client = Client::connect(self.controller().address()).await?;
        client.request_with("POST", "/shop.Catalogue/List", &headers, "\0\0\0\0\0").await
    }

    /// A slot of a group as the module counts it.
    async fn slot(&self, group: &str, slot: &str) -> Slot {
        self.controller().api().group(group).await.unwrap().slot(slot).unwrap().clone()
    }

    /// How many more requests a slot of the shop gets, and how many more answers of these statuses, while something is done.
    async fn counted(&self, slot: &str, work: impl Future<Output = ()>) -> [u64; 4] {
        let figures = |slot: &Slot| {
            let responses = slot.counters.responses;
            [slot.counters.requests, responses.success, responses.client_error, responses.server_error]
        };
        let before = figures(&self.slot("shop", slot).await);
        work.await;
        let after = figures(&self.slot("shop", slot).await);
        std::array::from_fn(|index| after[index] - before[index])
    }

    /// Each feature, while this version has the traffic in this slot.
    async fn all_work(&self, version: &str, slot: &str) {
        let other = if slot == "blue" { "green" } else { "blue" };
        let of_other = self.slot("shop", other).await.counters;
        let ask = async |host: &str, target: &str, user: &str, expected: (u16, &str)| {
            for _ in 0..TIMES {
                let answer = self.get(host, target, user).await.unwrap();
                assert_eq!(answer.status_and_slot(), expected, "{host} {target} with {version}");
            }
        };
        let allowed = self.counted(slot, ask("auth", "/", "known", (200, version))).await;
        assert_eq!(allowed, [TIMES, TIMES, 0, 0], "the questions to auth-url are not the slot's");
        let denied = self.counted(slot, ask("auth", "/", "unknown", (401, ""))).await;
        assert_eq!(denied, [0; 4], "what was denied has not reached the slot");
        let broken = self.counted(slot, ask("pages", "/broken", "", (500, "pages"))).await;
        assert_eq!(broken, [TIMES, 0, 0, TIMES], "an error with a page is the slot's error");
        let rewritten = self.counted(slot, ask("rewrite", "/api/tea", "", (200, version))).await;
        assert_eq!(rewritten, [TIMES, TIMES, 0, 0]);
        let got: u64 = self.front.kubelet.map(version, |program| program.got("/tea")).iter().sum();
        assert_eq!(got, TIMES, "the path is rewritten");
        assert_eq!(self.slot("shop", other).await.counters, of_other, "the other slot got nothing");

        let before = self.slot("grpc", slot).await.counters;
        for _ in 0..TIMES {
            let answer = self.call().await.unwrap();
            assert_eq!((answer.status_and_slot(), answer.body.as_slice()), ((200, version), &[0_u8; 5][..]));
        }
        let after = self.slot("grpc", slot).await.counters;
        assert_eq!(after.requests - before.requests, TIMES);
        assert_eq!(
            after.responses.success - before.responses.success,
            TIMES,
            "each call ended with status 0"
        );
    }

    async fn websocket(&self) -> (String, Client) {
        let mut client = Client::connect(self.controller().address()).await.unwrap();
        let headers = [("host", "chat.test"), ("connection", "upgrade"), ("upgrade", "echo")];
        let answer = client.request("GET", "/chat", &headers).await.unwrap();
        assert_eq!(answer.status, 101);
        (answer.slot().to_owned(), client)
    }

    async fn deploy(&self, version: &str, spec: &Value) {
        apply_shop(self.namespace, version, &with_edge(self.namespace, spec)).await.unwrap();
    }

    async fn until_phase(&self, phase: &str, version: &str) {
        let is = |status: &Value| {
            text(status, "/phase") == phase && text(status, "/deployment/version") == version
        };
        until_status(self.namespace, phase, is).await.unwrap();
    }
}

/// A policy without users in its soak of so many seconds.
fn spec(soak: u32, probe: &str) -> Value {
    json!({ "policy": {
        "probe": { "path": probe, "interval": "200ms", "deadline": "20s" },
        "soak": { "duration": format!("{soak}s"), "interval": "200ms", "min_requests": 20, "on_inconclusive": "promote" },
        "drain": { "deadline": "2s" },
        "warm": "1h",
    } })
}

fn grpc_spec() -> Value {
    let mut spec = spec(2, "/");
    spec["policy"]["probe"] = json!({ "kind": "grpc", "interval": "200ms", "deadline": "20s" });
    spec
}

/// Deploys version 2 of both, with a WebSocket to version 1. Returns that.
async fn a_switch(features: &Features<'_>) -> Client {
    let (slot, mut old) = features.websocket().await;
    assert_eq!((slot.as_str(), features.slot("shop", "blue").await.upgraded), ("1", 1));
    let grpc = with_edge(features.namespace, &grpc_spec());
    features.namespace.kubectl().apply(&blue_green("grpc", "2", &grpc).to_string()).await.unwrap();
    features.deploy("2", &spec(2, "/")).await;
    features.until_phase("Draining", "2").await;
    assert_eq!(old.echo(b"draining").await.unwrap(), b"draining");
    let (slot, mut new) = features.websocket().await;
    assert_eq!(slot, "2");
    features.until_phase("Warm", "2").await;
    assert_eq!(features.slot("shop", "blue").await.upgraded, 1);
    assert_eq!(old.echo(b"past the limit of the drain").await.unwrap(), b"past the limit of the drain");
    assert_eq!(new.echo(b"here").await.unwrap(), b"here");
    let is_warm = |status: &Value| text(status, "/phase") == "Warm";
    until_status_of(features.namespace, "grpc", "version 2 of grpc", is_warm).await.unwrap();
    old
}

/// Deploys version 3 under load. In its soak the controller reloads nginx for a new host.
async fn a_reload_in_the_soak(features: &Features<'_>) {
    let controller = features.controller();
    let reloads = || controller.log().matches("Backend successfully reloaded").count();
    let (blue, green) = (features.slot("shop", "blue").await, features.slot("shop", "green").await);
    let oracle = SlotOracle::new("2");
    let load = Load::start(Plan::new(controller.address()).connections(3, 1), &oracle);
    load.answers(50).await.unwrap();
    let before = reloads();
    let call = oracle.announce("3");
    features.deploy("3", &spec(8, "/")).await;
    features.until_phase("Soaking", "3").await;
    call.acknowledge();
    features.apply_ingress("other", &json!({}), "/", "shop").await;
    let is_served =
        async || features.get("other", "/", "").await.is_ok_and(|one| one.status_and_slot() == (200, "3"));
    kubernetes::until("the new host", is_served).await.unwrap();
    let status = until_status(features.namespace, "the status", |_| true).await.unwrap();
    assert_eq!(text(&status, "/phase"), "Soaking", "the reload is in the soak: {status}");
    assert_eq!(reloads(), before + 1);
    features.until_phase("Warm", "3").await;
    let asked = load.stop().await;
    assert_eq!((asked.failed(), asked.stale), (0, 0), "{asked}");
    let more = async |slot: &str, before: &Slot| {
        features.slot("shop", slot).await.counters.requests - before.counters.requests
    };
    assert_eq!(more("green", &green).await, asked.by_slot["2"], "{asked}");
    let others =
        "and one of the new host, and the WebSocket to version 1, which is counted now that it has ended";
    assert_eq!(more("blue", &blue).await, asked.by_slot["3"] + 2, "{others}: {asked}");
}

/// The controller does not know the Pods of the other slot.
async fn a_slot_without_endpoints(features: &Features<'_>) {
    let slots = format!("slots-{}", features.controller().class());
    let green = r#"[{ "op": "remove", "path": "/spec/rules/1" }]"#;
    let words = ["patch", "ingress", &slots, "--type=json", "--patch", green];
    features.namespace.kubectl().run(&words).await.unwrap();
    let before = features.controller().api().group("shop").await.unwrap();
    features.deploy("4", &spec(2, "/")).await;
    let status = until_ended(features.namespace, "4", "failed").await.unwrap();
    let message = text(&status, "/history/0/message");
    assert!(
        message.contains("slot \"green\" was not healthy within 20s: ingress-nginx knows no Pod of it"),
        "{status}"
    );
    let after = features.controller().api().group("shop").await.unwrap();
    assert_eq!((after.route, after.events), (before.route, before.events), "nothing has moved");
}

#[test]
fn features_of_ingresses_go_on_over_deployments() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let features = Features::start(&namespace).await;
        features.all_work("1", "blue").await;
        let mut old = a_switch(&features).await;
        features.all_work("2", "green").await;
        a_reload_in_the_soak(&features).await;
        assert!(old.echo(b"gone").await.is_err(), "a WebSocket ends with its Pod");
        a_slot_without_endpoints(&features).await;
        assert_eq!(features.front.slots().await.unwrap(), ["blue"]);
        let answer = features.controller().get(Shop::HOST, "/").await.unwrap();
        assert_eq!(answer.status_and_slot(), (200, "3"));
        features.front.stop().await.unwrap();
    });
}
