//! Tools that apply what is in git: helm, as its page says, and what the others are told to leave alone.

use std::path::Path;

use cutover_tests::flavour::root;
use cutover_tests::kubernetes::operator::{Operator, selected, text, until_ended, until_status};
use cutover_tests::kubernetes::{Cluster, Kubelet, NODE, Namespace, documents, helm};
use cutover_tests::page::Page;
use cutover_tests::temp::TempDir;
use serde_json::{Value, json};

use crate::pages::shell;

const CHART: &str = "docs/kubernetes/shop-chart";

/// What a test needs: no scheduler, no five minutes.
fn values(folder: &Path, env: &Value, warm: &str) -> String {
    let file = folder.join("shop.yaml");
    let values = json!({
        "image": "registry.example.com/shop",
        "env": env,
        "pod": { "nodeName": NODE },
        "policy": {
            "probe": { "path": "/health", "interval": "200ms", "deadline": "10s" },
            "soak": { "duration": "1s", "interval": "200ms" },
            "drain": { "deadline": "1s" },
            "warm": warm,
        },
    });
    std::fs::write(&file, values.to_string()).unwrap();
    file.display().to_string()
}

async fn slot(namespace: &Namespace<'_>, slot: &str) -> Value {
    namespace.kubectl().get(&["deployment", &format!("shop-{slot}")]).await.unwrap()
}

/// The image and the environment of the Pods of a slot.
async fn pods(namespace: &Namespace<'_>, of: &str) -> (String, Value) {
    let deployment = slot(namespace, of).await;
    let container = deployment.pointer("/spec/template/spec/containers/0").unwrap();
    (text(container, "/image").to_owned(), container.get("env").cloned().unwrap_or(Value::Null))
}

#[test]
fn a_chart_is_installed_upgraded_rolled_back_and_removed_as_its_page_says() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let folder = TempDir::new().unwrap();
        let page = Page::read("docs/kubernetes/gitops.md").unwrap();
        let page = page.with("--namespace shop", format!("--namespace {}", namespace.name())).unwrap();
        let page = page.with("-n shop", format!("-n {}", namespace.name())).unwrap();
        let page = page.with(CHART, root().join(CHART).display().to_string()).unwrap();
        let section = page.section("Helm").unwrap();
        let [install, upgrade, back, remove] = section.blocks_of("sh").unwrap();
        let shell = shell(&namespace, &folder);
        let run = |script: &str| tokio::task::block_in_place(|| shell.run(script)).unwrap();

        let _kubelet = Kubelet::start(&namespace);
        let _operator = Operator::start(&namespace).await.unwrap();
        let variables = |values: &Value| {
            let all = values.as_object().unwrap().iter();
            Value::from(all.map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>())
        };
        let (old, new) = (json!({ "COLOUR": "red", "GONE": "yes" }), json!({ "COLOUR": "green" }));
        values(folder.path(), &old, "60s");
        run(&install);
        until_status(&namespace, "version 1", |status| text(status, "/version") == "1").await.unwrap();

        values(folder.path(), &new, "60s");
        run(&upgrade);
        let image = |version: u32| format!("registry.example.com/shop:{version}");
        assert_eq!(selected(&namespace).await.unwrap(), "green");
        assert_eq!(pods(&namespace, "green").await, (image(2), variables(&new)));
        assert_eq!(pods(&namespace, "blue").await, (image(1), variables(&old)), "the old slot is as it was");

        // At once, because the old version is still up.
        run(&back);
        until_ended(&namespace, "2", "rolled_back").await.unwrap();
        assert_eq!(selected(&namespace).await.unwrap(), "blue");

        // A variable that the slot has from version 2 must not stay in it.
        values(folder.path(), &json!({ "OTHER": "1" }), "60s");
        run(&upgrade.replace("version=2", "version=3"));
        until_status(&namespace, "version 3", |status| text(status, "/version") == "3").await.unwrap();
        assert_eq!(pods(&namespace, "green").await, (image(3), variables(&json!({ "OTHER": "1" }))));

        let (uninstall, delete) = remove.split_once('\n').unwrap();
        run(uninstall);
        namespace.kubectl().run(&["wait", "--for=delete", "bluegreen/shop", "--timeout=60s"]).await.unwrap();
        assert_eq!(selected(&namespace).await.unwrap(), "green", "the traffic stays");
        let uid = async || text(&slot(&namespace, "green").await, "/metadata/uid").to_owned();
        let before = uid().await;
        let (code, said) = tokio::task::block_in_place(|| shell.try_run(&install)).unwrap();
        assert!(code != 0 && said.contains("conflict with \"cutover-operator\""), "{said}");
        assert_eq!(uid().await, before, "helm has deleted a slot with traffic: {said}");
        run(delete);
        assert!(namespace.kubectl().get(&["service", "shop"]).await.is_err());
    });
}

/// The fields that the page tells Argo CD to ignore, by kind and name. Without a name: of all of this kind.
fn ignored() -> Vec<(String, Option<String>, Vec<String>)> {
    let page = Page::read("docs/kubernetes/gitops.md").unwrap();
    let block = page.blocks().unwrap().into_iter().find(|block| block.language == "yaml argocd").unwrap();
    let application = documents(&block.text).unwrap().remove(0);
    let rules = application.pointer("/spec/ignoreDifferences").and_then(Value::as_array).unwrap().clone();
    let pointers = |rule: &Value| {
        let all = rule.get("jsonPointers").and_then(Value::as_array).unwrap().iter();
        all.map(|pointer| pointer.as_str().unwrap().to_owned()).collect()
    };
    let name = |rule: &Value| rule.get("name").and_then(Value::as_str).map(str::to_owned);
    rules.iter().map(|rule| (text(rule, "/kind").to_owned(), name(rule), pointers(rule))).collect()
}

/// The spec of an object without these fields.
fn without(object: &Value, pointers: &[String]) -> Value {
    let mut object = object.clone();
    for (parent, key) in pointers.iter().filter_map(|pointer| pointer.rsplit_once('/')) {
        if let Some(parent) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
            parent.remove(key);
        }
    }
    json!({ "name": object.pointer("/metadata/name"), "spec": object.get("spec") })
}

#[test]
fn the_operator_changes_no_field_but_those_that_argo_cd_ignores() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let folder = TempDir::new().unwrap();
        let chart = root().join(CHART).display().to_string();
        let file = values(folder.path(), &json!({}), "2s");
        let rendered = |version: &str| {
            let version = format!("version={version}");
            let values = ["--values", &file, "--set", "once=false", "--set-string", &version];
            helm(&[&["template", "shop", &chart], &values[..]].concat()).unwrap()
        };
        let version_one = rendered("1");
        assert!(!version_one.contains("helm.sh/hook"), "{version_one}");
        let _kubelet = Kubelet::start(&namespace);
        let _operator = Operator::start(&namespace).await.unwrap();
        namespace.kubectl().apply(&version_one).await.unwrap();
        until_status(&namespace, "version 1", |status| text(status, "/version") == "1").await.unwrap();
        let rules = ignored();
        let all = async || {
            let mut objects = Vec::new();
            for (kind, name, pointers) in &rules {
                let list = namespace.kubectl().get(&[&kind.to_lowercase(), "--selector=app=shop"]).await;
                let list = list.unwrap();
                for object in list.get("items").and_then(Value::as_array).unwrap() {
                    let is_it = name.as_deref().is_none_or(|name| name == text(object, "/metadata/name"));
                    objects.push(without(object, if is_it { pointers } else { &[] }));
                }
            }
            objects
        };
        let before = all().await;
        assert_eq!(before.len(), 5);
        let blue_green = documents(&rendered("2")).unwrap();
        let blue_green = blue_green.iter().find(|one| text(one, "/kind") == "BlueGreen").unwrap();
        namespace.kubectl().apply(&blue_green.to_string()).await.unwrap();
        until_ended(&namespace, "2", "completed").await.unwrap();
        assert_eq!(selected(&namespace).await.unwrap(), "green");
        assert_eq!(all().await, before);
    });
}

#[test]
fn helm_takes_the_values_of_the_page() {
    let folder = TempDir::new().unwrap();
    let page = Page::read("docs/kubernetes/gitops.md").unwrap();
    let block = page.blocks().unwrap().into_iter().find(|block| block.language == "yaml shop").unwrap();
    let file = folder.path().join("shop.yaml");
    std::fs::write(&file, &block.text).unwrap();
    let (chart, file) = (root().join(CHART).display().to_string(), file.display().to_string());
    helm(&["lint", "--strict", &chart, "--values", &file]).unwrap();
    let rendered = helm(&["template", "shop", &chart, "--values", &file]).unwrap();
    assert!(rendered.contains(r#"- { name: COLOUR, value: "red" }"#), "{rendered}");
}
