//! The roles of the chart: an operator with its ServiceAccount does all that it can do, and uses each right.

use cutover_tests::flavour::program;
use cutover_tests::kubernetes::agent::{apply_token, edge};
use cutover_tests::kubernetes::front::apply_ingresses;
use cutover_tests::kubernetes::operator::{
    apply_shop, apply_slots, text, until_ended, until_soaking, until_status,
};
use cutover_tests::kubernetes::{
    self, Agent, ArgoRollouts, Chart, Cluster, IngressNginx, Kubelet, NODE, Namespace, Right, Server, Shop,
    Snippets, Traefik, jobs,
};
use serde_json::{Value, json};

use crate::argo_rollouts::driven;
use crate::ingress_nginx::until_answered_by;

const ACCOUNT: &str = "cutover";

/// Where no Pod starts.
const ELSEWHERE: &str = "elsewhere";

/// Starts the operator with the arguments that the chart gives it.
async fn start(cluster: &Cluster, home: &Namespace<'_>, chart: &Chart) -> Server {
    let kubeconfig = cluster.kubeconfig_of(home.name(), ACCOUNT).await.unwrap();
    let deployment = chart.only("Deployment").unwrap();
    let arguments =
        deployment.pointer("/spec/template/spec/containers/0/args").and_then(Value::as_array).unwrap();
    let mut words = vec![
        format!("KUBECONFIG={}", kubeconfig.display()),
        "POD_NAME=cutover-0".to_owned(),
        format!("POD_NAMESPACE={}", home.name()),
        "RUST_LOG=info,cutover_operator=debug".to_owned(),
        program("cutover-operator").unwrap().display().to_string(),
    ];
    words.extend(arguments.iter().filter_map(Value::as_str).map(str::to_owned));
    cluster.machine().start("operator", std::path::Path::new("/usr/bin/env"), &words).unwrap()
}

/// A spec that deploys to Pods on this node.
fn spec(version: &str, node: &str, more: Value) -> Value {
    let mut spec = json!({
        "template": { "image": format!("shop:{version}"), "patch": { "spec": { "nodeName": node } } },
        "policy": {
            "probe": { "interval": "200ms", "deadline": "20s" },
            "soak": { "duration": "1s", "interval": "200ms" },
            "drain": { "deadline": "1s" },
            "warm": "1s",
        },
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn migrations() -> Value {
    json!({ "migrations": { "migrate": { "command": ["/bin/migrate"] }, "revert": { "command": ["/bin/revert"] } } })
}

/// A migration that fails, Pods that do not start, and a revert whose Job has failed before.
async fn failures(namespace: &Namespace<'_>) {
    apply_shop(namespace, "3", &spec("3", ELSEWHERE, migrations())).await.unwrap();
    jobs::end(namespace, 3).await.unwrap();
    let status = until_ended(namespace, "3", "failed").await.unwrap();
    assert!(text(&status, "/history/0/message").contains("exit code 3"), "{status}");

    let late = spec("4", ELSEWHERE, json!({ "provisionDeadline": "2s" }));
    apply_shop(namespace, "4", &late).await.unwrap();
    until_ended(namespace, "4", "failed").await.unwrap();

    let mut aborted = spec("5", NODE, migrations());
    aborted["policy"]["soak"]["duration"] = json!("60s");
    apply_shop(namespace, "5", &aborted).await.unwrap();
    let soaks = until_soaking(namespace).await.unwrap();
    let job = format!("{}-revert", text(&soaks, "/deployment/id"));
    let before = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": job },
        "spec": { "backoffLimit": 0, "template": { "spec": {
            "nodeName": ELSEWHERE,
            "restartPolicy": "Never",
            "containers": [{ "name": "shop", "image": "shop:5" }],
        } } },
    });
    namespace.kubectl().apply(&before.to_string()).await.unwrap();
    jobs::end(namespace, 3).await.unwrap();
    let words = ["wait", "--for=condition=Failed", "job", job.as_str(), "--timeout=60s"];
    namespace.kubectl().run(&words).await.unwrap();
    namespace.kubectl().run(&["annotate", "bluegreen", "shop", "cutover.dev/abort=a test"]).await.unwrap();
    until_ended(namespace, "5", "rolled_back").await.unwrap();
    namespace
        .kubectl()
        .run(&["wait", "--for=condition=Complete", "job", &job, "--timeout=60s"])
        .await
        .unwrap();
}

/// As many past deployments as the status has room for.
async fn fill_history(namespace: &Namespace<'_>) {
    let past = |number: u32| {
        json!({
            "id": format!("shop-20261101-1000{number:02}"), "version": "0", "slot": "blue", "outcome": "completed",
            "message": "", "requestedBy": "a test", "started": "", "ended": "", "wanted": "",
        })
    };
    let history: Vec<Value> = (0..10).rev().map(past).collect();
    let status = json!({ "status": { "history": history } }).to_string();
    let words = ["patch", "bluegreen", "shop", "--subresource=status", "--type=merge", "--patch", &status];
    namespace.kubectl().run(&words).await.unwrap();
}

/// The six deployments of this test have six older ones moved to the ConfigMap.
async fn old_deployments_are_kept(namespace: &Namespace<'_>) {
    let mut kept = Vec::new();
    kubernetes::until("the older deployments to be in the ConfigMap", async || {
        let map = namespace.kubectl().get(&["configmap", "shop-history"]).await.unwrap_or_default();
        kept = map["data"].as_object().into_iter().flatten().map(|(id, _)| id.clone()).collect();
        kept.len() == 6
    })
    .await
    .unwrap();
    let oldest: Vec<String> = (0..6).map(|number| format!("shop-20261101-1000{number:02}")).collect();
    assert_eq!(kept, oldest);
    let shop = namespace.kubectl().get(&["bluegreen", "shop"]).await.unwrap();
    assert_eq!(shop["status"]["history"].as_array().map(Vec::len), Some(10));
}

async fn good_releases(namespace: &Namespace<'_>) {
    let mut hooked = migrations();
    hooked["hooks"] = json!({ "switched": { "command": ["/bin/fails"], "args": ["a test"] } });
    apply_shop(namespace, "6", &spec("6", NODE, hooked)).await.unwrap();
    until_ended(namespace, "6", "completed").await.unwrap();
    until_status(namespace, "the hook to be told", |status| !text(status, "/told/failed").is_empty())
        .await
        .unwrap();

    let backend = json!({ "service": { "name": "shop", "port": { "name": "http" } } });
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": "shop" },
        "spec": { "rules": [{ "host": "shop.test", "http": { "paths": [
            { "path": "/", "pathType": "Prefix", "backend": backend },
        ] } }] },
    });
    namespace.kubectl().apply(&ingress.to_string()).await.unwrap();
    let canary = |version, edge: Value| {
        let mut spec = spec(version, NODE, json!({ "edge": edge }));
        spec["policy"]["steps"] = json!(["10% 1s", "50% 1s", "100%"]);
        spec
    };
    let edge = json!({ "ingressCanary": { "ingress": "shop" } });
    apply_shop(namespace, "7", &canary("7", edge)).await.unwrap();
    until_ended(namespace, "7", "completed").await.unwrap();

    let _traefik = Traefik::start(namespace).await.unwrap();
    let backend =
        |slot: &str, weight: u32| json!({ "name": format!("shop-{slot}"), "port": 80, "weight": weight });
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "name": "shop" },
        "spec": {
            "parentRefs": [{ "name": Traefik::GATEWAY }],
            "rules": [{ "backendRefs": [backend("blue", 100), backend("green", 0)] }],
        },
    });
    namespace.kubectl().apply(&route.to_string()).await.unwrap();
    let edge = json!({ "gateway": { "route": "shop" } });
    apply_shop(namespace, "8", &canary("8", edge)).await.unwrap();
    until_ended(namespace, "8", "completed").await.unwrap();
}

#[test]
fn the_operator_uses_each_right_of_its_role_and_asks_for_no_other() {
    Cluster::alone(async |cluster| {
        let home = cluster.namespace().await.unwrap();
        // The Pods have 8080 here.
        let values = ["edges.ingressCanary=true", "edges.gateway=true", "port=18080"];
        let chart = Chart::render(home.name(), &values).unwrap();
        cluster.kubectl().anywhere().apply(chart.yaml()).await.unwrap();
        let namespace = cluster.namespace().await.unwrap();
        apply_slots(&namespace, "shop:1", 1).await.unwrap();
        let _kubelet = Kubelet::start(&namespace);
        apply_shop(&namespace, "1", &spec("1", NODE, json!({}))).await.unwrap();
        fill_history(&namespace).await;
        let operator = start(cluster, &home, &chart).await;
        until_status(&namespace, "version 1", |status| text(status, "/version") == "1").await.unwrap();
        failures(&namespace).await;
        good_releases(&namespace).await;
        old_deployments_are_kept(&namespace).await;
        namespace.kubectl().run(&["delete", "bluegreen", "shop", "--timeout=60s"]).await.unwrap();

        let used = cluster.used_by(home.name(), ACCOUNT).unwrap();
        assert_eq!(used.forbidden, [].into(), "{}", operator.log_tail());
        let may = chart.rights_of(ACCOUNT).unwrap();
        let missing: Vec<_> = used.rights.difference(&may).collect();
        let idle: Vec<_> = may.difference(&used.rights).collect();
        assert!(missing.is_empty() && idle.is_empty(), "no rule gives {missing:#?}; nobody used {idle:#?}");
    });
}

/// In one namespace, with a Role of it.
#[test]
fn the_operator_of_one_namespace_uses_each_right_of_its_role_to_drive_rollouts() {
    Cluster::alone(async |cluster| {
        let (home, namespace) = (cluster.namespace().await.unwrap(), cluster.namespace().await.unwrap());
        let only = format!("namespace={}", namespace.name());
        let values = ["edges.argoRollouts=true", &only, "migrations=false", "port=18080"];
        let chart = Chart::render(home.name(), &values).unwrap();
        assert!(chart.of_kind("ClusterRoleBinding").is_empty());
        cluster.kubectl().anywhere().apply(chart.yaml()).await.unwrap();
        let _argo = ArgoRollouts::start(cluster).await.unwrap();
        driven::rolled_out(&namespace).await;
        let _kubelet = Kubelet::start(&namespace);
        let operator = start(cluster, &home, &chart).await;
        let spec = driven::spec();
        apply_shop(&namespace, "1", &spec).await.unwrap();
        until_status(&namespace, "version 1", |status| text(status, "/version") == "1").await.unwrap();
        for (version, outcome) in [("2", "completed"), ("3-broken", "rolled_back"), ("4-sick", "failed")] {
            apply_shop(&namespace, version, &spec).await.unwrap();
            until_ended(&namespace, version, outcome).await.unwrap();
        }

        let used = cluster.used_by(home.name(), ACCOUNT).unwrap();
        assert_eq!(used.forbidden, [].into(), "{}", operator.log_tail());
        let may = chart.rights_of(ACCOUNT).unwrap();
        assert!(used.rights.is_subset(&may), "no rule gives {:#?}", used.rights.difference(&may));
        let of_rollouts = |right: &&Right| {
            right.group == "argoproj.io" || matches!(right.resource.as_str(), "replicasets" | "pods")
        };
        let idle: Vec<_> = may.difference(&used.rights).filter(of_rollouts).collect();
        assert!(idle.is_empty(), "nobody used {idle:#?}");
    });
}

/// The ServiceAccount of the Pods of ingress-nginx.
const CONTROLLER: &str = "ingress-nginx";

#[test]
fn an_agent_uses_each_right_of_its_role_and_asks_for_no_other() {
    Cluster::alone(async |cluster| {
        let (home, namespace) = (cluster.namespace().await.unwrap(), cluster.namespace().await.unwrap());
        let of_controller = format!("edges.ingressNginx.namespace={}", namespace.name());
        let values = ["edges.ingressNginx.enabled=true", &of_controller, "port=18080"];
        let chart = Chart::render(home.name(), &values).unwrap();
        cluster.kubectl().anywhere().apply(chart.yaml()).await.unwrap();
        namespace.kubectl().run(&["create", "serviceaccount", CONTROLLER]).await.unwrap();
        let operator = start(cluster, &home, &chart).await;

        apply_slots(&namespace, "shop:1", 1).await.unwrap();
        apply_token(&namespace).await.unwrap();
        let _kubelet = Kubelet::start(&namespace);
        let controller = IngressNginx::start(&namespace, &Snippets::of_shop(&namespace)).await.unwrap();
        apply_ingresses(&namespace, controller.class()).await.unwrap();
        until_answered_by(&controller, Shop::HOST, "1").await;
        let kubeconfig = cluster.kubeconfig_of(namespace.name(), CONTROLLER).await.unwrap();
        let agent = Agent::start_as(&namespace, &controller, &kubeconfig).await.unwrap();

        let with_edge = |version| {
            let mut spec = spec(version, NODE, json!({ "edge": edge(&namespace) }));
            spec["policy"]["soak"]["on_inconclusive"] = json!("promote");
            spec
        };
        apply_shop(&namespace, "1", &with_edge("1")).await.unwrap();
        until_status(&namespace, "version 1", |status| text(status, "/version") == "1").await.unwrap();
        apply_shop(&namespace, "2", &with_edge("2")).await.unwrap();
        until_ended(&namespace, "2", "completed").await.unwrap();
        drop(agent);

        let used = cluster.used_by(namespace.name(), CONTROLLER).unwrap();
        assert_eq!(used.forbidden, [].into());
        assert_eq!(used.rights, chart.rights_of(CONTROLLER).unwrap());
        let used = cluster.used_by(home.name(), ACCOUNT).unwrap();
        assert_eq!(used.forbidden, [].into(), "{}", operator.log_tail());
        let token = Right { group: String::new(), resource: "secrets".to_owned(), verb: "get".to_owned() };
        assert!(used.rights.contains(&token) && used.rights.is_subset(&chart.rights_of(ACCOUNT).unwrap()));
        controller.stop().await.unwrap();
    });
}
