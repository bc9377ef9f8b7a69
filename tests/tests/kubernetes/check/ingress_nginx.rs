//! Findings about ingress-nginx with the module: its Pods, its ConfigMap and the Ingresses.

use cutover_tests::flavour::Flavour;
use cutover_tests::kubernetes::operator::{apply_slots, install};
use cutover_tests::kubernetes::{Cluster, NODE, Namespace};
use serde_json::{Value, json};

use super::slots::shop;
use super::{check, heals};

const CONTROLLER: &str = "registry.k8s.io/ingress-nginx/controller:v1.11.0";

/// A Pod as the chart of ingress-nginx makes it, with these containers beside the controller.
async fn apply_controller(namespace: &Namespace<'_>, more: &[Value]) {
    let controller = json!({
        "name": "controller",
        "image": CONTROLLER,
        "args": ["/nginx-ingress-controller", "--configmap=$(POD_NAMESPACE)/mine"],
    });
    let containers: Vec<Value> = [controller].into_iter().chain(more.iter().cloned()).collect();
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "controller", "labels": { "app.kubernetes.io/component": "controller" } },
        "spec": { "nodeName": NODE, "containers": containers },
    });
    namespace.kubectl().run(&["delete", "pod", "controller", "--ignore-not-found", "--now"]).await.unwrap();
    namespace.kubectl().apply(&pod.to_string()).await.unwrap();
}

#[test]
fn an_installation_becomes_right_by_what_it_proposes() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        apply_slots(&namespace, "shop:1", 0).await.unwrap();
        let controller = json!({ "controller": { "namespace": namespace.name() } });
        let file = shop(&json!({ "edge": { "ingressNginx": controller } }));
        let pods = ("BlueGreen", "shop", "spec.edge.ingressNginx.controller");
        let found = check(&namespace, &file, &[]).await;
        let finding = found.at(pods).unwrap_or_else(|| panic!("{found:#?}"));
        assert!(finding["text"].as_str().unwrap().contains("none of them runs"), "{finding}");

        apply_controller(&namespace, &[]).await;
        let found = check(&namespace, &file, &[]).await;
        assert!(
            found.at(pods).is_none() && found.at(("Pod", "controller", "spec.containers")).is_some(),
            "{found:#?}"
        );
        let agent = json!({ "name": "cutover-agent", "image": "agent", "args": ["agent"] });
        apply_controller(&namespace, &[agent]).await;
        heals(&namespace, &file, ("Secret", "cutover-agent", ""), "it does not exist").await;
        heals(&namespace, &file, ("ConfigMap", "mine", ""), "Pod controller reads it").await;
        for service in ["shop", "shop-blue", "shop-green"] {
            heals(&namespace, &file, ("Service", service, ""), "no Ingress").await;
        }
        for (key, says) in [
            ("main-snippet", "does not load the module"),
            ("location-snippet", "no request follows the route"),
            ("http-snippet", "no cutover_state"),
        ] {
            heals_text(&namespace, &file, ("ConfigMap", "mine", &format!("data.{key}")), says).await;
        }
        for says in ["no server with cutover_api", "has no group shop"] {
            heals_text(&namespace, &file, ("ConfigMap", "mine", "data.http-snippet"), says).await;
        }
        let map = namespace.kubectl().get(&["configmap", "mine"]).await.unwrap();
        let snippet = map["data"]["http-snippet"].as_str().unwrap();
        assert!(snippet.contains(&format!("slot green {}-shop-green-http;", namespace.name())), "{snippet}");

        let account = ("ServiceAccount", "default", "");
        let rights = check(&namespace, &file, &[]).await;
        assert!(rights.at(account).is_some(), "{rights:#?}");
        let there = format!("edges.ingressNginx.namespace={}", namespace.name());
        let values = ["edges.ingressNginx.enabled=true", "edges.ingressNginx.serviceAccount=default", &there];
        super::with_operator(&namespace, &values).await;
        let found = check(&namespace, &file, &[]).await;
        assert_eq!(found.code, 0, "{found:#?}");
        nginx_reads_the_snippets(&namespace, &file).await;

        let annotate = async |ingress: &str, key: &str, value: &str| {
            let annotation = format!("nginx.ingress.kubernetes.io/{key}={value}");
            namespace
                .kubectl()
                .run(&["annotate", "ingress", ingress, &annotation, "--overwrite"])
                .await
                .unwrap();
            format!("metadata.annotations.nginx.ingress.kubernetes.io/{key}")
        };
        for (ingress, key, value, says) in [
            ("shop", "affinity", "cookie", "put it on the Ingress of the slots"),
            ("shop", "upstream-hash-by", "$remote_addr", "put it on the Ingress of the slots"),
            ("shop-blue", "service-upstream", "true", "in place of its Pods"),
        ] {
            let field = annotate(ingress, key, value).await;
            heals(&namespace, &file, ("Ingress", ingress, &field), says).await;
        }
        let field = annotate("shop-blue", "upstream-hash-by", "$remote_addr").await;
        let cautious = json!({ "data": { "annotations-risk-level": "Medium" } }).to_string();
        namespace
            .kubectl()
            .run(&["patch", "configmap", "mine", "--type=merge", "-p", &cautious])
            .await
            .unwrap();
        heals(&namespace, &file, ("Ingress", "shop-blue", &field), "does not read this Ingress").await;
        let field = annotate("shop", "server-snippet", "more_set_headers").await;
        heals(&namespace, &file, ("Ingress", "shop", &field), "does not read this Ingress").await;
        let bold = json!({ "data": { "annotations-risk-level": "Critical" } }).to_string();
        namespace.kubectl().run(&["patch", "configmap", "mine", "--type=merge", "-p", &bold]).await.unwrap();
        let field = annotate("shop", "server-snippet", "more_set_headers").await;
        heals(&namespace, &file, ("Ingress", "shop", &field), "refuses or ignores it").await;
        let canary = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": { "name": "canary", "annotations": { "nginx.ingress.kubernetes.io/canary": "true" } },
            "spec": { "rules": [{ "host": "shop.example.com", "http": { "paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": { "service": { "name": "shop-green", "port": { "name": "http" } } },
            }] } }] },
        });
        namespace.kubectl().apply(&canary.to_string()).await.unwrap();
        heals(&namespace, &file, ("Ingress", "canary", ""), "it is a canary for a host of Ingress shop")
            .await;
    });
}

/// A real nginx with the module finds nothing, then a directive that it does not know, in its line. What is no module, or no nginx,
/// is told as such.
async fn nginx_reads_the_snippets(namespace: &Namespace<'_>, file: &Value) {
    let flavour = Flavour::from_env().unwrap();
    let (nginx, module) = (flavour.nginx().display().to_string(), flavour.module().display().to_string());
    let by = ["--nginx", &nginx, "--module", &module];
    let right = check(namespace, file, &by).await;
    assert!(right.code == 0 && right.findings().iter().all(|one| one["kind"] != "ConfigMap"), "{right:#?}");

    let map = namespace.kubectl().get(&["configmap", "mine"]).await.unwrap();
    let snippet = map["data"]["http-snippet"].as_str().unwrap().to_owned();
    let write = async |snippet: String| {
        let patch = json!({ "data": { "http-snippet": snippet } }).to_string();
        namespace.kubectl().run(&["patch", "configmap", "mine", "--type=merge", "-p", &patch]).await.unwrap();
    };
    write(format!("{snippet}cutover_nonsense on;\n")).await;
    assert_eq!(check(namespace, file, &[]).await.code, 0, "only nginx knows its directives");
    let wrong = check(namespace, file, &by).await;
    let finding =
        wrong.at(("ConfigMap", "mine", "data.http-snippet")).unwrap_or_else(|| panic!("{wrong:#?}"));
    assert_eq!((wrong.code, finding["value"].as_str()), (1, Some("cutover_nonsense on;")));
    let says = format!("nginx refuses line {}: unknown directive", snippet.lines().count() + 1);
    assert!(finding["text"].as_str().unwrap().starts_with(&says), "{finding}");
    write(snippet).await;

    for (program, module, says) in [
        (&*nginx, &*nginx, "build the module for this nginx: scripts/build-module"),
        (&*nginx, "/nowhere.so", "No such file or directory (os error 2); build it: scripts/build-module"),
        ("/nowhere", &*module, "it cannot be started"),
    ] {
        let report = check(namespace, file, &["--nginx", program, "--module", module]).await;
        let finding = report.at(("ConfigMap", "mine", "")).unwrap_or_else(|| panic!("{report:#?}"));
        assert!(finding["text"].as_str().unwrap().contains(says), "{says}: {finding}");
    }
}

/// The same as `heals` where one place can have several findings.
async fn heals_text(namespace: &Namespace<'_>, file: &Value, place: super::Place<'_>, says: &str) {
    let said = |report: &super::Report| {
        let all = report.findings().iter();
        let at =
            all.filter(|one| one["kind"] == place.0 && one["name"] == place.1 && one["field"] == place.2);
        at.into_iter().find(|one| one["text"].as_str().unwrap().contains(says)).cloned()
    };
    let before = check(namespace, file, &[]).await;
    let finding = said(&before).unwrap_or_else(|| panic!("{says}: {before:#?}"));
    super::heal(namespace, file, &finding).await;
    let after = check(namespace, file, &[]).await;
    assert_eq!(said(&after), None);
}
