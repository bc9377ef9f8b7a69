//! The edge `ingressNginx`: two controllers, each with an agent beside its nginx, and the operator.

use cutover_core::api::{Group, RouteChange};
use cutover_tests::kubernetes::front::{apply_ingresses, with_edge};
use cutover_tests::kubernetes::operator::{
    Operator, apply_shop, condition, selected, text, until_ended, until_soaking, until_status,
};
use cutover_tests::kubernetes::{self, Agent, Cluster, Front, IngressNginx, Kubelet, Namespace, Snippets};
use cutover_tests::load::Plan;
use cutover_tests::process::Signal;
use cutover_tests::{Load, SlotOracle};
use serde_json::{Value, json};

/// Two controllers with their agents in front of `shop`, whose version 1 is live in blue.
async fn start(namespace: &Namespace<'_>, spec: &Value) -> Front {
    start_with(namespace, spec, &[Snippets::of_shop(namespace), Snippets::of_shop(namespace)]).await
}

/// A controller with each of these snippets.
async fn start_with(namespace: &Namespace<'_>, spec: &Value, all: &[Snippets]) -> Front {
    Front::start(namespace, Kubelet::start(namespace), all, ("1", spec, "/")).await.unwrap()
}

fn load(front: &Front, oracle: &std::sync::Arc<SlotOracle>) -> Vec<Load> {
    let plan = |controller: &IngressNginx| Plan::new(controller.address()).connections(2, 1);
    front.controllers.iter().map(|controller| Load::start(plan(controller), oracle)).collect()
}

async fn group(controller: &IngressNginx) -> Group {
    let answer = controller.call("GET", "/v1/groups/shop", "").await.unwrap();
    serde_json::from_slice(&answer.body).unwrap()
}

fn policy(soak: &str) -> Value {
    json!({ "policy": {
        "probe": { "interval": "200ms", "deadline": "20s" },
        "soak": { "duration": soak, "interval": "200ms", "min_requests": 20 },
        "drain": { "deadline": "5s" },
        "warm": "2s",
    } })
}

/// The same without users in the soak.
fn without_users() -> Value {
    let mut spec = policy("2s");
    spec["policy"]["soak"]["on_inconclusive"] = json!("promote");
    spec
}

/// The agents as the status shows them, in the order of their Pods.
fn agents(status: &Value) -> Vec<&Value> {
    let mut agents: Vec<&Value> = status["agents"].as_array().into_iter().flatten().collect();
    agents.sort_by_key(|agent| text(agent, "/pod"));
    agents
}

/// The reason of a condition; empty if there is none.
fn reason<'a>(status: &'a Value, kind: &str) -> &'a str {
    let conditions = status.get("conditions").and_then(Value::as_array).into_iter().flatten();
    let mut of_kind = conditions.filter(|one| text(one, "/type") == kind);
    of_kind.next().map_or("", |one| text(one, "/reason"))
}

/// A policy with this lease, and a soak that is too long to end by itself before what the test does.
fn long_soak(lease: &str) -> Value {
    let mut spec = policy("20s");
    spec["policy"]["trial"] = json!({ "lease": lease, "rescue": false });
    spec
}

async fn begin_soak(namespace: &Namespace<'_>, version: &str, spec: &Value) {
    apply_shop(namespace, version, &with_edge(namespace, spec)).await.unwrap();
    let is_soaking = |status: &Value| {
        text(status, "/phase") == "Soaking" && text(status, "/deployment/version") == version
    };
    until_status(namespace, "the soak", is_soaking).await.unwrap();
}

#[test]
fn a_good_release_moves_in_all_controllers_and_no_request_fails() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = policy("3s");
        let front = start(&namespace, &spec).await;
        let oracle = SlotOracle::new("1");
        let loads = load(&front, &oracle);
        for load in &loads {
            load.answers(50).await.unwrap();
        }
        let call = oracle.announce("2");
        apply_shop(&namespace, "2", &with_edge(&namespace, &spec)).await.unwrap();
        until_soaking(&namespace).await.unwrap();
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
        front.stop().await.unwrap();
    });
}

#[test]
fn the_guard_of_one_nginx_brings_all_of_them_back() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = long_soak("60s");
        let front = start(&namespace, &spec).await;
        begin_soak(&namespace, "2-broken", &spec).await;
        assert_eq!(front.slots().await.unwrap(), ["green", "green"]);
        // Only one of the two has users: the guard of the other one sees nothing.
        let oracle = SlotOracle::new("1");
        let call = oracle.announce("2-broken");
        let load = Load::start(Plan::new(front.controllers[0].address()).connections(2, 1), &oracle);
        let status = until_ended(&namespace, "2-broken", "rolled_back").await.unwrap();
        call.withdraw("1");
        assert_eq!(front.slots().await.unwrap(), ["blue", "blue"]);
        assert!(text(&status, "/history/0/message").contains("guard"), "{status}");
        let report = load.stop().await;
        assert!((10..60).contains(&report.failed()), "{report}");
        front.stop().await.unwrap();
    });
}

#[test]
fn nothing_moves_when_one_nginx_could_not() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = policy("2s");
        let mut other = Snippets::of_shop(&namespace);
        other.http = other.http.replace("cutover shop {", "cutover other {");
        let front = start_with(&namespace, &spec, &[Snippets::of_shop(&namespace), other]).await;
        apply_shop(&namespace, "2", &with_edge(&namespace, &spec)).await.unwrap();
        let status = until_ended(&namespace, "2", "failed").await.unwrap();
        let message = text(&status, "/history/0/message");
        let pod = front.agents[1].pod();
        assert!(message.contains(&format!("Pod \"{pod}\": nginx has no group \"shop\": write")), "{status}");
        let other = group(&front.controllers[0]).await;
        let has_moved = other.events.iter().any(|event| event.to == "green");
        assert!(other.route.is_all_on("blue") && !has_moved, "the other one has not moved: {other:?}");
        assert!(status.get("pending").is_none(), "the question is withdrawn: {status}");
        front.stop().await.unwrap();
    });
}

#[test]
fn an_agent_that_is_late_stops_a_release_before_anything_moves() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = without_users();
        let mut front = start(&namespace, &spec).await;
        front.agents[1].server().signal(Signal::STOP).unwrap();
        apply_shop(&namespace, "2", &with_edge(&namespace, &spec)).await.unwrap();
        let status = until_ended(&namespace, "2", "failed").await.unwrap();
        let message = text(&status, "/history/0/message");
        let pod = front.agents[1].pod();
        assert!(message.contains(&format!("Pod \"{pod}\": its agent does not answer")), "{status}");
        assert_eq!(front.slots().await.unwrap(), ["blue", "blue"]);
        front.agents[1].server().signal(Signal::CONT).unwrap();
        apply_shop(&namespace, "3", &with_edge(&namespace, &spec)).await.unwrap();
        until_ended(&namespace, "3", "completed").await.unwrap();
        assert_eq!(front.slots().await.unwrap(), ["green", "green"]);
        front.stop().await.unwrap();
    });
}

#[test]
fn an_agent_that_is_dead_is_shown_by_the_operator_until_its_nginx_follows_again() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = without_users();
        let mut front = start(&namespace, &spec).await;
        front.agents[1].server().kill();
        let pod = front.agents[1].pod().to_owned();
        let is_shown = |status: &Value| reason(status, "Degraded") == "AgentLags";
        let status = until_status(&namespace, "the dead agent to be shown", is_shown).await.unwrap();
        assert_eq!(
            (condition(&status, "Degraded"), condition(&status, "Ready")),
            ("True", "True"),
            "{status}"
        );
        let message = text(&status, "/message");
        assert!(message.starts_with("version 1 is live; not every nginx has the route: "), "{status}");
        assert!(message.contains(&format!("Pod \"{pod}\": its agent does not answer")), "{status}");
        let log = format!("kubectl logs {pod} -n {} -c cutover-agent", namespace.name());
        assert!(message.contains(&log), "{status}");

        front.agents[1].start_again(&namespace).unwrap();
        let follows = |status: &Value| condition(status, "Degraded") == "False";
        let status = until_status(&namespace, "the agent to follow", follows).await.unwrap();
        assert_eq!(text(&status, "/message"), "version 1 is live", "{status}");
        for (reason, said) in
            [("AgentLags", pod.as_str()), ("AgentsFollow", "every nginx has the route again")]
        {
            let field = format!("--field-selector=reason={reason}");
            let events = namespace.kubectl().get(&["events", &field]).await.unwrap();
            let all = events.pointer("/items").and_then(Value::as_array).cloned().unwrap_or_default();
            assert_eq!(all.len(), 1, "{events}");
            assert!(text(&all[0], "/message").contains(said), "{events}");
        }
        front.stop().await.unwrap();
    });
}

#[test]
fn an_nginx_that_somebody_has_moved_by_hand_is_moved_back_by_its_agent() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = without_users();
        let front = start(&namespace, &spec).await;
        let change = serde_json::to_string(&RouteChange::to("green", "by hand")).unwrap();
        let answer = front.controllers[1].call("PUT", "/v1/groups/shop/route", &change).await.unwrap();
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let is_back = async || front.slots().await.unwrap() == ["blue", "blue"];
        kubernetes::until("the agent to move its nginx back", is_back).await.unwrap();
        let moved: Vec<String> =
            group(&front.controllers[1]).await.events.into_iter().map(|event| event.to).collect();
        assert!(moved.ends_with(&["green".to_owned(), "blue".to_owned()]), "{moved:?}");
        let untouched = group(&front.controllers[0]).await;
        assert!(untouched.events.iter().all(|event| event.to == "blue"), "{untouched:?}");
        // Nothing is left of it: the next release is like any other.
        apply_shop(&namespace, "2", &with_edge(&namespace, &spec)).await.unwrap();
        until_ended(&namespace, "2", "completed").await.unwrap();
        assert_eq!(front.slots().await.unwrap(), ["green", "green"]);
        front.stop().await.unwrap();
    });
}

#[test]
fn an_agent_that_was_killed_knows_what_its_nginx_has() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = long_soak("60s");
        let mut front = start(&namespace, &spec).await;
        begin_soak(&namespace, "2", &spec).await;
        let before = group(&front.controllers[1]).await.route;
        front.agents[1].server().kill();
        front.agents[1].start_again(&namespace).unwrap();
        let agent = &front.agents[1];
        kubernetes::until("the agent to be ready", async || agent.is_ready().await).await.unwrap();
        let shown = agent.shop(&namespace).await.unwrap();
        let status = until_status(&namespace, "the status", |_| true).await.unwrap();
        assert_eq!(shown.pointer("/agent/applied"), status.pointer("/route/seq"), "{shown}");
        let after = group(&front.controllers[1]).await.route;
        assert_eq!(
            (after.active, after.generation),
            (before.active, before.generation),
            "nothing is made twice"
        );
        assert!(after.trial.is_some(), "the trial goes on");
        assert_eq!(
            agent.get_with("/v1/groups/x/shop", "another-token-than-theirs").await.unwrap().status,
            401
        );
        front.stop().await.unwrap();
    });
}

#[test]
fn an_nginx_whose_lease_was_not_renewed_brings_all_back_when_its_agent_is_there_again() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = long_soak("5s");
        let mut front = start(&namespace, &spec).await;
        begin_soak(&namespace, "2", &spec).await;
        front.agents[1].server().signal(Signal::STOP).unwrap();
        let is_back = async || front.slots().await.unwrap() == ["green", "blue"];
        kubernetes::until("the nginx without agent to take its traffic back", is_back).await.unwrap();
        front.agents[1].server().signal(Signal::CONT).unwrap();
        let status = until_ended(&namespace, "2", "rolled_back").await.unwrap();
        assert!(text(&status, "/history/0/message").contains("lease"), "{status}");
        assert_eq!(front.slots().await.unwrap(), ["blue", "blue"]);
        front.stop().await.unwrap();
    });
}

#[test]
fn a_trial_ends_by_itself_while_the_api_server_is_away() {
    Cluster::alone(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = long_soak("5s");
        let mut front = start(&namespace, &spec).await;
        begin_soak(&namespace, "2", &spec).await;
        assert_eq!(front.slots().await.unwrap(), ["green", "green"]);
        cluster.stop_api_server();
        let is_back = async || front.slots().await.unwrap() == ["blue", "blue"];
        kubernetes::until("both nginx to take the traffic back", is_back).await.unwrap();

        // An agent that knows nothing yet is not ready, and leaves its nginx alone.
        front.agents[1].server().kill();
        front.agents[1].start_again(&namespace).unwrap();
        let agent = &front.agents[1];
        kubernetes::until("the agent to answer", async || agent.get("/healthz").await.is_ok()).await.unwrap();
        let answer = agent.get("/readyz").await.unwrap();
        assert_eq!(answer.status, 503);
        assert!(
            String::from_utf8_lossy(&answer.body).contains("the API server has not told the BlueGreens yet")
        );

        cluster.start_api_server().await.unwrap();
        let status = until_ended(&namespace, "2", "rolled_back").await.unwrap();
        assert_eq!(text(&status, "/activeSlot"), "blue", "{status}");
        assert_eq!(front.slots().await.unwrap(), ["blue", "blue"]);
        kubernetes::until("the agent to be ready", async || agent.is_ready().await).await.unwrap();
        front.stop().await.unwrap();
    });
}

#[test]
fn a_new_nginx_has_the_route_before_its_pod_is_ready() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let spec = without_users();
        let mut front = start(&namespace, &spec).await;
        apply_shop(&namespace, "2", &with_edge(&namespace, &spec)).await.unwrap();
        until_ended(&namespace, "2", "completed").await.unwrap();
        // Its configuration says blue, as that of the others did.
        let third = IngressNginx::start(&namespace, &Snippets::of_shop(&namespace)).await.unwrap();
        let answers = async || third.call("GET", "/v1/groups", "").await.is_ok();
        kubernetes::until("the module to answer", answers).await.unwrap();
        assert_eq!(group(&third).await.route.active, "blue");
        apply_ingresses(&namespace, third.class()).await.unwrap();
        let agent = Agent::start(&namespace, &third).await.unwrap();
        kubernetes::until("the agent to be ready", async || agent.is_ready().await).await.unwrap();
        assert_eq!(group(&third).await.route.active, "green");

        // A Pod that is gone is forgotten at the next change.
        let first = front.controllers.remove(0);
        let gone = front.agents.remove(0);
        namespace.kubectl().run(&["delete", "pod", gone.pod(), "--wait=true"]).await.unwrap();
        front.controllers.push(third);
        front.agents.push(agent);
        apply_shop(&namespace, "3", &with_edge(&namespace, &spec)).await.unwrap();
        let status = until_ended(&namespace, "3", "completed").await.unwrap();
        assert_eq!(front.slots().await.unwrap(), ["blue", "blue"]);
        let pods: Vec<&str> = agents(&status).into_iter().map(|agent| text(agent, "/pod")).collect();
        assert!(!pods.contains(&gone.pod()) && pods.len() == 2, "{status}");
        drop(gone);
        first.stop().await.unwrap();
        front.stop().await.unwrap();
    });
}

#[test]
fn steps_move_in_all_controllers_and_another_operator_goes_on_with_them() {
    Cluster::shared(async |cluster| {
        let namespace = cluster.namespace().await.unwrap();
        let mut spec = policy("3s");
        spec["policy"]["steps"] = json!(["20% 4s", "100%"]);
        let mut front = start(&namespace, &spec).await;
        let oracle = SlotOracle::new("1");
        let loads = load(&front, &oracle);
        let call = oracle.announce("2");
        begin_soak(&namespace, "2", &spec).await;
        for controller in &front.controllers {
            let route = group(controller).await.route;
            assert_eq!(
                (route.active.as_str(), route.share("green").map(|share| share.parts())),
                ("blue", Some(2_000))
            );
            assert!(route.trial.is_some());
        }
        let kubeconfig = namespace.kubectl().kubeconfig().clone();
        let next = Operator::start_as(&namespace, "operator-1", &kubeconfig).unwrap();
        front.operator.server().kill();
        front.operator = next;
        let status = until_ended(&namespace, "2", "completed").await.unwrap();
        call.acknowledge();
        assert_eq!(front.slots().await.unwrap(), ["green", "green"]);
        assert_eq!(text(&status, "/route/active"), "green");
        for load in loads {
            load.answers(50).await.unwrap();
            let report = load.stop().await;
            assert_eq!((report.failed(), report.stale), (0, 0), "{report}");
        }
        front.stop().await.unwrap();
    });
}
