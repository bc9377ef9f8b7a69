//! `cutover-operator check`: each finding is there when something is wrong, and goes with what it proposes.

use std::process::Stdio;

use cutover_tests::flavour::program;
use cutover_tests::kubernetes::operator::{apply_slots, install};
use cutover_tests::kubernetes::{Chart, Cluster, Namespace, documents, fetched};
use cutover_tests::page::Page;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

mod definition;
mod edges;
mod ingress_nginx;
mod slots;

/// What a check has printed, with `--json`.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) code: i32,
    said: Value,
}

/// A finding: the kind and the name of its object, and the field.
pub(crate) type Place<'a> = (&'a str, &'a str, &'a str);

impl Report {
    /// All findings.
    pub(crate) fn findings(&self) -> &[Value] {
        self.said["findings"].as_array().unwrap()
    }

    /// The finding at a place.
    pub(crate) fn at(&self, (kind, name, field): Place<'_>) -> Option<&Value> {
        let is = |finding: &&Value| {
            finding["kind"] == kind
                && finding["name"] == name
                && finding["field"].as_str().unwrap_or_default() == field
        };
        self.findings().iter().find(is)
    }
}

/// Runs the verb over files that are given on the standard input; over the cluster without any.
async fn run(namespace: &Namespace<'_>, files: Option<&str>, more: &[&str]) -> (i32, String) {
    let mut command = tokio::process::Command::new(program("cutover-operator").unwrap());
    command.env("KUBECONFIG", namespace.kubectl().kubeconfig()).args([
        "check",
        "--namespace",
        namespace.name(),
    ]);
    if files.is_some() {
        command.args(["--filename", "-"]);
    }
    command.args(more).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(files.unwrap_or_default().as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.is_empty(), "{errors}");
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// Checks a BlueGreen that is not applied.
pub(crate) async fn check(namespace: &Namespace<'_>, file: &Value, more: &[&str]) -> Report {
    let more = [&["--json"], more].concat();
    let (code, said) = run(namespace, Some(&file.to_string()), &more).await;
    Report { code, said: serde_json::from_str(&said).unwrap_or_else(|why| panic!("{why}: {said}")) }
}

/// Types a command as the user would.
pub(crate) async fn type_command(namespace: &Namespace<'_>, command: &str) -> String {
    let script = format!(
        "set -eu -o pipefail; export KUBECONFIG={}\nkubectl() {{ {} \"$@\"; }}\ncutover-operator() {{ {} \"$@\"; }}\n{command}\n",
        namespace.kubectl().kubeconfig().display(),
        fetched("kubernetes", "kubectl").display(),
        program("cutover-operator").unwrap().display(),
    );
    let typed = tokio::process::Command::new("bash").arg("-c").arg(&script).output().await.unwrap();
    let errors = String::from_utf8_lossy(&typed.stderr);
    assert!(typed.status.success(), "{command}: {errors}");
    String::from_utf8(typed.stdout).unwrap()
}

/// Does what a finding proposes. Returns the file, which may have changed.
pub(crate) async fn heal(namespace: &Namespace<'_>, file: &Value, finding: &Value) -> Value {
    let fix = finding.get("fix").unwrap_or_else(|| panic!("nothing helps: {finding}"));
    if let Some(yaml) = fix.get("apply").and_then(Value::as_str) {
        namespace.kubectl().apply(yaml).await.unwrap_or_else(|why| panic!("{why:#}\n{yaml}"));
    } else if let Some(command) = fix.get("type").and_then(Value::as_str) {
        type_command(namespace, command).await;
    } else {
        let keys = documents(fix["write"].as_str().unwrap()).unwrap();
        return merged(file, &keys[0]);
    }
    file.clone()
}

/// A file with keys written over it. `null` removes one.
fn merged(file: &Value, keys: &Value) -> Value {
    let (Value::Object(file), Value::Object(keys)) = (file, keys) else { return keys.clone() };
    let mut all = file.clone();
    for (key, value) in keys {
        match value {
            Value::Null => drop(all.remove(key)),
            value => drop(all.insert(key.clone(), merged(file.get(key).unwrap_or(&Value::Null), value))),
        }
    }
    Value::Object(all)
}

/// There is a finding at a place, it says this, and it goes with what it proposes. Returns the file, which may have changed.
pub(crate) async fn heals(namespace: &Namespace<'_>, file: &Value, place: Place<'_>, says: &str) -> Value {
    let before = check(namespace, file, &[]).await;
    let finding = before.at(place).unwrap_or_else(|| panic!("no finding at {place:?}: {before:#?}"));
    assert!(finding["text"].as_str().unwrap().contains(says), "{says}: {finding}");
    assert!(before.code == 1 || finding["severity"] == "warning", "{before:?}");
    let healed = heal(namespace, file, finding).await;
    let after = check(namespace, &healed, &[]).await;
    // Something else may be found there now.
    let left = after.at(place).filter(|left| left["text"] == finding["text"]);
    assert!(left.is_none(), "still there: {finding:#?}");
    healed
}

/// The objects and the BlueGreen of the page about the first deployment, in this namespace.
fn page(namespace: &Namespace<'_>) -> (String, String) {
    let page = Page::read("docs/kubernetes/services.md").unwrap();
    let page = page.with("namespace: shop", format!("namespace: {}", namespace.name())).unwrap();
    let [objects, resource] = page.section("What you need").unwrap().blocks_of("yaml").unwrap();
    (objects, resource)
}

/// Applies the objects of an operator that drives this namespace only, with these values.
pub(crate) async fn with_operator(namespace: &Namespace<'_>, values: &[&str]) {
    let only = format!("namespace={}", namespace.name());
    let chart = Chart::render(namespace.name(), &[values, &[&only]].concat()).unwrap();
    namespace.kubectl().apply(chart.yaml()).await.unwrap();
}

#[test]
fn what_is_right_has_no_finding_and_ends_with_what_a_deployment_does() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        with_operator(&namespace, &[]).await;
        let (objects, resource) = page(&namespace);
        // Nothing of it is applied.
        let both = format!("{objects}---\n{resource}");
        let (code, said) = run(&namespace, Some(&both), &[]).await;
        assert!(
            said.starts_with("1 BlueGreen checked, no problem, no warning\n\na deployment of group shop"),
            "{said}"
        );
        assert_eq!(code, 0, "{said}");
        for part in [
            "to slot \"green\" would:\n   1. provision     Deployment shop-green gets image registry.example.com/shop:2.0",
            "probe         /health/ready of each Pod",
            "smoke         the front page answers: /",
            "switch        all traffic from \"blue\" to \"green\"\n",
            "decommission  scale Deployment shop-blue of \"blue\" to 0",
            "way back      if it is bad: all traffic to \"blue\"",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        // The same once it is applied.
        namespace.kubectl().apply(&both).await.unwrap();
        let (code, said) = run(&namespace, None, &[]).await;
        assert!(
            said.starts_with("1 BlueGreen checked, no problem, no warning\n\na deployment of group shop"),
            "{said}"
        );
        assert_eq!(code, 0, "{said}");
    });
}

#[test]
fn what_is_printed_can_be_typed_and_applied() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        with_operator(&namespace, &[]).await;
        let (objects, resource) = page(&namespace);
        namespace.kubectl().apply(&objects).await.unwrap();
        namespace.kubectl().run(&["delete", "deployment", "shop-green"]).await.unwrap();
        let patch = json!({ "spec": { "selector": { "slot": "yellow" } } }).to_string();
        namespace.kubectl().run(&["patch", "service", "shop-blue", "-p", &patch]).await.unwrap();
        let (code, said) = run(&namespace, Some(&resource), &[]).await;
        assert_eq!(code, 1, "{said}");
        // Below a finding stands what helps, indented as a whole.
        let (_, after) = said.split_once("\n  apply:\n").expect(&said);
        let yaml: Vec<&str> = after.lines().take_while(|line| line.starts_with("    ")).collect();
        namespace.kubectl().apply(&yaml.join("\n")).await.unwrap();
        let (_, after) = said.split_once("\n  type:\n    kubectl").expect(&said);
        type_command(&namespace, &format!("kubectl{}", after.lines().next().unwrap())).await;
        let (code, said) = run(&namespace, Some(&resource), &[]).await;
        assert_eq!(code, 0, "{said}");
    });
}

#[test]
fn an_operator_without_a_right_is_found_and_a_role_helps() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        apply_slots(&namespace, "shop:1", 0).await.unwrap();
        with_operator(&namespace, &["migrations=false"]).await;
        let account = ("ServiceAccount", "cutover", "");
        let mut file = slots::shop(&json!({}));
        assert!(check(&namespace, &file, &[]).await.at(account).is_none());
        file["spec"]["edge"] = json!({ "gateway": { "route": "shop" } });
        heals(&namespace, &file, account, "edges.gateway=true: get, patch of httproutes").await;
        file["spec"]["edge"] = json!({ "service": {} });
        file["spec"]["migrations"] = json!({ "migrate": { "command": ["/bin/migrate"] } });
        heals(&namespace, &file, account, "migrations=true: get, list, create, delete of jobs").await;
        // Another account has no right at all.
        let other = format!("{}/default", namespace.name());
        let named = check(&namespace, &file, &["--service-account", &other]).await;
        let finding = named.at(("ServiceAccount", "default", "")).unwrap();
        assert!(finding["text"].as_str().unwrap().contains("patch of bluegreens/status"), "{finding}");
    });
}

#[test]
fn an_operator_of_another_namespace_does_not_help() {
    Cluster::shared(async |cluster| {
        let (namespace, home) = (cluster.namespace().await.unwrap(), cluster.namespace().await.unwrap());
        install(&namespace).await.unwrap();
        apply_slots(&namespace, "shop:1", 0).await.unwrap();
        with_operator(&home, &[]).await;
        let found = check(&namespace, &slots::shop(&json!({})), &[]).await;
        let finding = found.at(("Namespace", namespace.name(), "")).unwrap();
        assert!(finding["text"].as_str().unwrap().contains("no operator drives its BlueGreens"), "{finding}");
    });
}

#[test]
fn what_cannot_be_checked_is_an_error_with_the_next_step() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        for (file, said) in [
            ("kind: Service\nmetadata: { name: a }\n", "no object of kind BlueGreen: give one with -f"),
            ("a: b\n", "-: a document has no kind"),
        ] {
            let mut command = tokio::process::Command::new(program("cutover-operator").unwrap());
            command.env("KUBECONFIG", namespace.kubectl().kubeconfig()).args(["check", "-f", "-"]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(file.as_bytes()).await.unwrap();
            let output = child.wait_with_output().await.unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(errors.contains(said) && !output.status.success(), "{said}: {errors}");
        }
        let mut command = tokio::process::Command::new(program("cutover-operator").unwrap());
        command.env("KUBECONFIG", namespace.kubectl().kubeconfig()).args(["check", "--context", "nowhere"]);
        let errors = command.output().await.unwrap().stderr;
        assert!(String::from_utf8_lossy(&errors).contains("no usable context \"nowhere\""));
    });
}
