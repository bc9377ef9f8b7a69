//! Many BlueGreens on one operator: all end right, and what that costs.
//!
//! Nothing runs in their Pods: one backend answers for all their addresses.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use cutover_tests::footprint::Footprint;
use cutover_tests::kubernetes::operator::{Operator, install, shop};
use cutover_tests::kubernetes::{Cluster, NODE, Namespace};
use cutover_tests::{Backend, wait};
use serde_json::{Value, json};

/// Port of all Pods. All their addresses belong to the machine, so one listener has them.
const PORT: u16 = 8080;

/// Renames a thing of the shop to that of a number.
fn numbered(text: &str, number: usize) -> String {
    text.replace("shop", &format!("shop{number}"))
}

fn objects(number: usize) -> Vec<Value> {
    let name = |suffix: &str| numbered(&format!("shop{suffix}"), number);
    let service = |suffix: &str, slot: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name(suffix) },
            "spec": {
                "selector": { "app": name(""), "slot": slot },
                "ports": [{ "name": "http", "port": 80, "targetPort": PORT }],
            },
        })
    };
    let deployment = |slot: &str, replicas: u32| {
        let labels = json!({ "app": name(""), "slot": slot });
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name(&format!("-{slot}")) },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": { "nodeName": NODE, "containers": [{ "name": "shop", "image": "shop:1" }] },
                },
            },
        })
    };
    vec![
        service("", "blue"),
        service("-blue", "blue"),
        service("-green", "green"),
        deployment("blue", 1),
        deployment("green", 0),
    ]
}

fn blue_green(number: usize, version: &str) -> Value {
    let more = json!({ "policy": {
        "probe": { "deadline": "120s" },
        "soak": { "duration": "10s" },
        "drain": { "deadline": "1s" },
        "warm": "20s",
    } });
    let mut resource: Value =
        serde_json::from_str(&numbered(&shop(version, &more).to_string(), number)).unwrap();
    resource["spec"]["template"] = json!({ "image": format!("shop:{version}") });
    resource
}

async fn apply(namespace: &Namespace<'_>, objects: Vec<Value>) {
    for some in objects.chunks(250) {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": some });
        namespace.kubectl().apply(&list.to_string()).await.unwrap();
    }
}

/// How many BlueGreens have a status that is so.
async fn count(namespace: &Namespace<'_>, is: impl Fn(&Value) -> bool) -> usize {
    let all = namespace.kubectl().get(&["bluegreens"]).await.unwrap();
    all["items"].as_array().unwrap().iter().filter(|one| is(&one["status"])).count()
}

/// Requests to the API server by verb and resource, of all clients.
async fn requests(namespace: &Namespace<'_>) -> BTreeMap<String, u64> {
    let page = namespace.kubectl().run(&["get", "--raw=/metrics"]).await.unwrap();
    let mut sums = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let label = |key: &str| {
            let (_, rest) = line.split_once(&format!("{key}=\"")).unwrap_or_default();
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        let resource = format!(
            "{} {}{}",
            label("verb"),
            label("resource"),
            match label("subresource") {
                sub if sub.is_empty() => String::new(),
                sub => format!("/{sub}"),
            }
        );
        let number = line.rsplit(' ').next().and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let number = number as u64;
        *sums.entry(resource).or_default() += number;
    }
    sums
}

/// What only an operator asks for.
const OF_THE_OPERATOR: [&str; 5] =
    ["GET services", "LIST endpointslices", "GET deployments", "LIST bluegreens", "APPLY bluegreens/status"];

/// Deploys version 2 of all of them at once.
fn deploy_at_once(many: usize, patience: Duration) {
    Cluster::alone(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        install(&namespace).await.unwrap();
        let _pods = Backend::start_at("pod", (std::net::Ipv4Addr::UNSPECIFIED, PORT).into()).await.unwrap();
        apply(&namespace, (0..many).flat_map(objects).collect()).await;
        let mut operator =
            Operator::start_as(&namespace, "operator-0", namespace.kubectl().kubeconfig()).unwrap();
        apply(&namespace, (0..many).map(|number| blue_green(number, "1")).collect()).await;
        let live = |version: &'static str| {
            move |status: &Value| status["version"] == version && status.get("deployment").is_none()
        };
        let all_live = async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            count(&namespace, live("1")).await == many
        };
        wait::until_async(patience, "version 1 of all", all_live).await.unwrap();
        let pid = operator.server().pid().unwrap();
        let idle_from = (Instant::now(), requests(&namespace).await);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let idle_to = (Instant::now(), requests(&namespace).await);

        let begin = Instant::now();
        apply(&namespace, (0..many).map(|number| blue_green(number, "2")).collect()).await;
        let all_done = async || {
            tokio::time::sleep(Duration::from_secs(2)).await;
            count(&namespace, live("2")).await == many
        };
        wait::until_async(patience, "version 2 of all", all_done).await.unwrap();
        let took = begin.elapsed();
        let after = requests(&namespace).await;
        let completed = |status: &Value| {
            status["activeSlot"] == "green"
                && status["history"][0]["outcome"] == "completed"
                && status["history"].as_array().is_some_and(|all| all.len() == 1)
        };
        assert_eq!(count(&namespace, completed).await, many);

        let mut table = String::new();
        let rate = |to: &BTreeMap<String, u64>, from: &BTreeMap<String, u64>, key: &str, time: Duration| {
            let all = to.get(key).copied().unwrap_or_default() - from.get(key).copied().unwrap_or_default();
            #[expect(clippy::cast_precision_loss, reason = "a rate to look at")]
            let rate = all as f64 / time.as_secs_f64();
            rate
        };
        for key in OF_THE_OPERATOR {
            let idle = rate(&idle_to.1, &idle_from.1, key, idle_to.0 - idle_from.0);
            let busy = rate(&after, &idle_to.1, key, took);
            writeln!(table, "{key:26} {idle:8.1} {busy:8.1}").unwrap();
        }
        let memory = Footprint::of(pid).unwrap().resident / 1024;
        println!("{many} BlueGreens at once: {took:.0?}, the operator has {memory} MB");
        println!("requests a second            idle deploying\n{table}");
    });
}

#[test]
fn twenty_at_once_all_end_right() {
    deploy_at_once(20, Duration::from_secs(240));
}

#[test]
#[ignore = "takes minutes"]
fn two_hundred_at_once_all_end_right() {
    deploy_at_once(200, Duration::from_secs(1_200));
}
