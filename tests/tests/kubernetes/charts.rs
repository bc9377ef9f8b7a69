//! The chart: what it renders is what the API server takes, also where only restricted Pods may run.

use cutover_tests::flavour::{program, root};
use cutover_tests::kubernetes::{self, Chart, Cluster, fetched, helm};
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

#[test]
fn its_pods_run_where_only_restricted_ones_may() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let enforced = "pod-security.kubernetes.io/enforce=restricted";
        cluster.kubectl().run(&["label", "namespace", namespace.name(), enforced]).await.unwrap();
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

#[test]
fn the_values_for_ingress_nginx_give_each_of_its_pods_the_module_and_an_agent() {
    let chart = fetched("ingress-nginx-files", "chart").display().to_string();
    let values = root().join("charts/ingress-nginx.yaml").display().to_string();
    let words = ["template", "ingress-nginx", &chart, "--namespace", "ingress-nginx", "--values", &values];
    let rendered = Chart::of(helm(&words).unwrap()).unwrap();
    let deployment = rendered.only("Deployment").unwrap();
    let names = |pointer: &str| -> Vec<&str> {
        let list = deployment.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|one| one.get("name").and_then(Value::as_str)).collect()
    };
    assert_eq!(names("/spec/template/spec/initContainers"), ["cutover"]);
    assert_eq!(names("/spec/template/spec/containers"), ["controller", "cutover-agent"]);
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
