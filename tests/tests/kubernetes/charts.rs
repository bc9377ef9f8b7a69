//! The chart: what it renders is what the API server takes, also where only restricted Pods may run.

use cutover_tests::flavour::{program, root};
use cutover_tests::kubernetes::operator::{
    Operator, apply_shop, apply_slots, text, until_ended, until_status,
};
use cutover_tests::kubernetes::{self, Chart, Cluster, Kubelet, Namespace, fetched, helm};
use serde_json::{Value, json};

/// All that can be switched on, but for what needs definitions of others.
const ALL: [&str; 4] = [
    "edges.ingressCanary=true",
    "edges.gateway=true",
    "edges.argoRollouts=true",
    "edges.ingressNginx.enabled=true",
];

fn folder() -> String {
    root().join("charts/cutover").display().to_string()
}

#[test]
fn helm_finds_nothing_to_complain_of() {
    helm(&["lint", "--strict", &folder()]).unwrap();
    let all = ALL.join(",");
    helm(&[
        "lint",
        "--strict",
        &folder(),
        "--set",
        &all,
        "--set",
        "namespace=web,metrics.serviceMonitor.enabled=true",
    ])
    .unwrap();
}

#[test]
fn a_value_that_cannot_be_is_refused_by_its_name() {
    for (value, named) in [
        ("replicas=0", "replicas"),
        ("replcias=2", "replcias"),
        ("leaseSeconds=1", "leaseSeconds"),
        ("edges.gatway=true", "gatway"),
        ("image.digest=latest", "image"),
        ("serviceAccount.create=false", "serviceAccount.name is needed"),
    ] {
        let why = Chart::render("web", &[value]).expect_err(value).to_string();
        assert!(why.contains(named), "{value}: {why}");
    }
}

#[test]
fn the_definition_is_the_one_that_the_operator_prints() {
    let printed =
        std::process::Command::new(program("cutover-operator").unwrap()).arg("crd").output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let file = std::fs::read_to_string(root().join("charts/cutover/files/crd.yaml")).unwrap();
    assert!(
        file == printed,
        "charts/cutover/files/crd.yaml is old; type: cutover-operator crd > charts/cutover/files/crd.yaml"
    );
    let chart = Chart::render("web", &[]).unwrap();
    let rendered = chart.only("CustomResourceDefinition").unwrap();
    let kept = json!({ "helm.sh/resource-policy": "keep" });
    assert_eq!(rendered.pointer("/metadata/annotations"), Some(&kept));
    let printed = kubernetes::documents(&printed).unwrap();
    assert_eq!(rendered.get("spec"), printed[0].get("spec"));
    assert!(
        Chart::render("web", &["crd.install=false"]).unwrap().of_kind("CustomResourceDefinition").is_empty()
    );
}

/// Only restricted Pods may run there from now on.
async fn restrict(namespace: &Namespace<'_>) {
    let enforced = "pod-security.kubernetes.io/enforce=restricted";
    namespace.cluster().kubectl().run(&["label", "namespace", namespace.name(), enforced]).await.unwrap();
}

#[test]
fn its_pods_run_where_only_restricted_ones_may() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        restrict(&namespace).await;
        // The label does something.
        let rooted = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": "rooted" },
            "spec": { "containers": [{ "name": "rooted", "image": "rooted" }] },
        });
        let refused = namespace.kubectl().would_apply(&rooted.to_string()).await.unwrap_err().to_string();
        assert!(refused.contains("violates PodSecurity"), "{refused}");

        let chart = Chart::render(namespace.name(), &[&format!("namespace={}", namespace.name())]).unwrap();
        namespace.kubectl().would_apply(chart.yaml()).await.unwrap();
        namespace.kubectl().apply(chart.yaml()).await.unwrap();
        let pods = async || {
            let pods =
                namespace.kubectl().get(&["pods", "-l", "app.kubernetes.io/name=cutover"]).await.unwrap();
            pods.pointer("/items").and_then(Value::as_array).map_or(0, Vec::len)
        };
        kubernetes::until("two Pods of the operator", async || pods().await == 2).await.unwrap();
        let budget = namespace.kubectl().get(&["poddisruptionbudget", "cutover"]).await.unwrap();
        assert_eq!(budget.pointer("/spec/maxUnavailable"), Some(&json!(1)));
    });
}

#[test]
fn the_api_server_takes_all_that_can_be_switched_on() {
    Cluster::shared(async |cluster| {
        for namespace in ["ingress-nginx", "cutover"] {
            let object =
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
            cluster.kubectl().apply(&object.to_string()).await.unwrap();
        }
        for more in ["namespace=default", "replicas=3"] {
            let chart = Chart::render("cutover", &[ALL.as_slice(), &[more]].concat()).unwrap();
            cluster.kubectl().anywhere().would_apply(chart.yaml()).await.unwrap();
        }
    });
}

/// The chart of ingress-nginx with the values that add the module and the agents.
fn ingress_nginx() -> Chart {
    let chart = fetched("ingress-nginx-files", "chart").display().to_string();
    let values = root().join("charts/ingress-nginx.yaml").display().to_string();
    let words = ["template", "ingress-nginx", &chart, "--namespace", "ingress-nginx", "--values", &values];
    Chart::of(helm(&words).unwrap()).unwrap()
}

#[test]
fn the_values_for_ingress_nginx_give_each_of_its_pods_the_module_and_an_agent() {
    let rendered = ingress_nginx();
    let deployment = rendered.only("Deployment").unwrap();
    let names = |pointer: &str| -> Vec<&str> {
        let list = deployment.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|one| one.get("name").and_then(Value::as_str)).collect()
    };
    assert_eq!(names("/spec/template/spec/initContainers"), ["cutover"]);
    assert_eq!(names("/spec/template/spec/containers"), ["controller", "cutover-agent"]);
    // The operator asks it where the definition says.
    let definition = Chart::render("web", &[]).unwrap();
    let definition = definition.only("CustomResourceDefinition").unwrap();
    let edge =
        "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/edge/properties/ingressNginx";
    let port = definition.pointer(&format!("{edge}/properties/controller/properties/agentPort/default"));
    let listens = deployment.pointer("/spec/template/spec/containers/1/ports/0/containerPort");
    assert_eq!((port, listens), (Some(&json!(18181)), Some(&json!(18181))));
    let config =
        rendered.of_kind("ConfigMap").into_iter().find(|map| map.pointer("/data/http-snippet").is_some());
    let config = config.expect("no ConfigMap has http-snippet");
    for (key, line) in [
        ("main-snippet", "load_module /modules_mount/cutover/ngx_http_cutover_module.so;"),
        ("http-snippet", "cutover_state /modules_mount/cutover/state;"),
        ("location-snippet", "set $proxy_upstream_name $cutover_upstream;"),
    ] {
        let text = config.pointer(&format!("/data/{key}")).and_then(Value::as_str).unwrap_or_default();
        assert!(text.contains(line), "{key}: {text}");
    }
    Cluster::shared(async |cluster| {
        let object =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "ingress-nginx" } });
        cluster.kubectl().apply(&object.to_string()).await.unwrap();
        cluster.kubectl().anywhere().would_apply(rendered.yaml()).await.unwrap();
    });
}

/// Whether labels are among others.
fn is_among(labels: &Value, all: &Value) -> bool {
    let (labels, all) = (labels.as_object().unwrap(), all.as_object().unwrap());
    !labels.is_empty() && labels.iter().all(|(key, value)| all.get(key) == Some(value))
}

#[test]
fn prometheus_finds_the_metrics_and_the_policy_of_the_network_lets_it_in() {
    let monitoring = r#"networkPolicy.from=[{"namespaceSelector":{"matchLabels":{"name":"monitoring"}}}]"#;
    for port in [8080, 9090] {
        let chart = rendered_with(port, monitoring);
        let pod = &chart.only("Deployment").unwrap()["spec"]["template"];
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["ports"], json!([{ "name": "http", "containerPort": port }]));
        let listens = json!(format!("--listen=0.0.0.0:{port}"));
        assert!(container["args"].as_array().unwrap().contains(&listens), "{container}");

        let service = chart.only("Service").unwrap();
        assert!(is_among(&service["spec"]["selector"], &pod["metadata"]["labels"]), "{service}");
        assert_eq!(service["spec"]["ports"], json!([{ "name": "http", "port": port, "targetPort": "http" }]));

        // It selects Services, of its own namespace.
        let monitor = chart.only("ServiceMonitor").unwrap();
        assert!(is_among(&monitor["spec"]["selector"]["matchLabels"], &service["metadata"]["labels"]));
        assert_eq!(monitor["metadata"]["namespace"], service["metadata"]["namespace"]);
        let endpoints = json!([{ "port": "http", "path": "/metrics", "interval": "30s" }]);
        assert_eq!(monitor["spec"]["endpoints"], endpoints);

        let network = chart.only("NetworkPolicy").unwrap();
        let selector = &network["spec"]["podSelector"]["matchLabels"];
        assert!(is_among(selector, &pod["metadata"]["labels"]), "{network}");
        let from = json!([{ "namespaceSelector": { "matchLabels": { "name": "monitoring" } } }]);
        let ports = json!([{ "port": "http", "protocol": "TCP" }]);
        assert_eq!(network["spec"]["ingress"], json!([{ "ports": ports, "from": from }]));
        assert_eq!(network["spec"]["policyTypes"], json!(["Ingress"]), "it may reach all Pods");
    }
    let without = Chart::render("web", &["networkPolicy.enabled=false"]).unwrap();
    assert!(without.of_kind("NetworkPolicy").is_empty() && without.of_kind("ServiceMonitor").is_empty());
}

fn rendered_with(port: u16, from: &str) -> Chart {
    let values = ["metrics.serviceMonitor.enabled=true", &format!("port={port}")];
    let mut words = vec!["template".to_owned(), "cutover".to_owned(), folder(), "--namespace=web".to_owned()];
    words.extend(values.iter().map(|value| format!("--set={value}")));
    words.push(format!("--set-json={from}"));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Chart::of(helm(&words).unwrap()).unwrap()
}

#[test]
fn the_agent_the_module_and_a_job_run_where_only_restricted_pods_may() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        apply_slots(&namespace, "shop:1", 1).await.unwrap();
        let _kubelet = Kubelet::start(&namespace);
        let _operator = Operator::start(&namespace).await.unwrap();
        apply_shop(&namespace, "1", &json!({})).await.unwrap();
        until_status(&namespace, "version 1", |status| text(status, "/version") == "1").await.unwrap();
        restrict(&namespace).await;

        // The API server judges a Pod; of a Deployment it only warns.
        let rendered = ingress_nginx();
        let template = &rendered.only("Deployment").unwrap()["spec"]["template"];
        let account = text(template, "/spec/serviceAccountName");
        namespace.kubectl().run(&["create", "serviceaccount", account]).await.unwrap();
        let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "spec": template["spec"] });
        pod["metadata"] = json!({ "name": "controller", "labels": template["metadata"]["labels"] });
        namespace.kubectl().would_apply(&pod.to_string()).await.unwrap();

        // A Job is as restricted as the Pods of the new version.
        let container = json!({
            "name": "shop",
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        });
        let patch = json!({ "spec": {
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [container],
        } });
        let spec = json!({
            "template": { "image": "shop:2", "patch": patch },
            "migrations": { "migrate": { "command": ["/bin/says"] }, "deadline": "30s" },
        });
        apply_shop(&namespace, "2", &spec).await.unwrap();
        let status = until_ended(&namespace, "2", "completed").await.unwrap();
        let job = format!("{}-migrate", text(&status, "/history/0/id"));
        let job = namespace.kubectl().get(&["job", &job]).await.unwrap();
        assert_eq!(job.pointer("/status/succeeded"), Some(&json!(1)), "{job}");
    });
}
