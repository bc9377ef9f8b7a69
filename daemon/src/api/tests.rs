//! Requests to the router and their answers, without a socket.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::connect_info::MockConnectInfo;
use axum::http::Request;
use cutover_core::deployment::Time;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::journal::SqliteJournal;
use cutover_engine::clock::Clock;
use cutover_engine::scripted::Scripted;

struct Bench {
    router: Router,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::open(folder.path()).unwrap();
        let clock = Clock::starting_at(Time(1_000_000));
        let control =
            Control::resume(crate::config::tests::loaded(), Arc::new(Scripted::new()), journal, clock).await;
        let router = router(control.unwrap()).layer(MockConnectInfo(Peer { uid: Some(4_000_000_007) }));
        Self { router, _folder: folder }
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn json(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, text) = self.call(method, path, body).await;
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_and_its_events() {
    let bench = Bench::new().await;
    let (status, accepted) = bench.json("POST", "/v1/groups/shop/deployments", r#"{"version":"2"}"#).await;
    assert_eq!((status, &accepted["after"]), (201, &json!(0)));
    let id = accepted["deployment"].as_str().unwrap();

    let (status, busy) = bench.json("POST", "/v1/groups/shop/deployments", "{}").await;
    assert_eq!((status, &busy["code"]), (409, &json!("busy")));
    assert!(busy["message"].as_str().unwrap().contains(id), "{busy}");

    let (_, events) = bench.call("GET", &format!("/v1/deployments/{id}/events"), "").await;
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = events.first().unwrap();
    assert_eq!((first["phase"].as_str(), first["group"].as_str()), (Some("migrating"), Some("shop")));
    assert!(first["message"].as_str().unwrap().contains("requested by uid 4000000007"), "{first}");
    let last = events.last().unwrap();
    assert_eq!((&last["outcome"], &last["exit_code"]), (&json!("completed"), &json!(0)));
    assert_eq!(last["phase"], "warm");
    assert_eq!(events.iter().filter(|event| event.get("outcome").is_some()).count(), 1);

    let after = events[3]["seq"].as_i64().unwrap();
    let (_, rest) = bench.call("GET", &format!("/v1/deployments/{id}/events?after={after}"), "").await;
    assert_eq!(rest.lines().count(), events.len() - 4, "a follower goes on where it was");

    let (_, status) = bench.json("GET", "/v1/groups/shop", "").await;
    assert_eq!((&status["active"], &status["deployment"]["phase"]), (&json!("green"), &json!("warm")));
    assert_eq!(status["slots"][1]["version"], "2");

    let (status, accepted) = bench.json("POST", "/v1/groups/shop/rollback", "null").await;
    assert_eq!((status, accepted["deployment"].as_str()), (202, Some(id)));
    let after = accepted["after"].as_i64().unwrap();
    let (_, events) = bench.call("GET", &format!("/v1/deployments/{id}/events?after={after}"), "").await;
    let last: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!((&last["outcome"], &last["exit_code"]), (&json!("rolled_back"), &json!(4)));

    let (_, history) = bench.json("GET", "/v1/deployments?group=shop", "").await;
    assert_eq!(history[0]["outcome"], "rolled_back");
    let seq = last["seq"].as_i64().unwrap();
    let (status, rest) = bench.call("GET", &format!("/v1/deployments/{id}/events?after={seq}"), "").await;
    assert_eq!((status, rest.as_str()), (200, ""), "nothing more can come, so the stream ends");
}

#[tokio::test(start_paused = true)]
async fn refusals_are_json() {
    let bench = Bench::new().await;
    let long_version = json!({ "version": "v".repeat(crate::control::MAX_VERSION + 1) }).to_string();
    let long_body = json!({ "version": "v".repeat(MAX_BODY) }).to_string();
    for (method, path, body, status, code) in [
        ("GET", "/v2", "", 404, "not_found"),
        ("PUT", "/v1/status", "", 405, "method_not_allowed"),
        ("GET", "/v1/deployments?limit=many", "", 400, "bad_query"),
        ("GET", "/v1/deployments/shop-7/events?after=x", "", 400, "bad_query"),
        ("POST", "/v1/groups/shopp/abort", "null", 404, "unknown_group"),
        ("GET", "/v1/groups/shopp", "", 404, "unknown_group"),
        ("GET", "/v1/deployments/shop-7", "", 404, "unknown_deployment"),
        ("GET", "/v1/deployments/shop-7/events", "", 404, "unknown_deployment"),
        ("POST", "/v1/groups/shop/abort", "null", 409, "nothing_under_way"),
        ("POST", "/v1/groups/shop/rollback", "null", 409, "no_way_back"),
        ("POST", "/v1/groups/shop/deployments", "{\"verison\":\"2\"}", 422, "bad_body"),
        ("POST", "/v1/groups/shop/deployments", "{", 400, "bad_body"),
        ("POST", "/v1/groups/shop/switch", "{\"to\":\"green\"}", 409, "sick"),
        ("POST", "/v1/groups/shop/switch", "{\"to\":\"red\"}", 422, "unknown_slot"),
        ("POST", "/v1/groups/shop/deployments", r#"{"version":"2\u0000"}"#, 422, "bad_text"),
        ("POST", "/v1/groups/shop/deployments", r#"{"version":"2\n3"}"#, 422, "bad_text"),
        ("POST", "/v1/groups/shop/deployments", r#"{"to":"green\u007f"}"#, 422, "bad_text"),
        ("POST", "/v1/groups/shop/deployments", &long_version, 422, "bad_text"),
        ("POST", "/v1/groups/shop/deployments", &long_body, 413, "bad_body"),
        ("POST", "/v1/groups/shop/switch", r#"{"to":"green","reason":"a\u009bb"}"#, 422, "bad_text"),
        ("POST", "/v1/groups/sh%0Aop/abort", "null", 422, "bad_text"),
        ("GET", "/v1/groups/%ff", "", 400, "bad_text"),
        ("GET", "/v1/deployments?group=%1b", "", 422, "bad_text"),
        ("GET", "/v1/deployments/%00", "", 422, "bad_text"),
        ("GET", "/v1/deployments/%00/events", "", 422, "bad_text"),
    ] {
        let (found, answer) = bench.json(method, path, body).await;
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{method} {path}: {answer}");
        assert!(!answer["message"].as_str().unwrap().is_empty());
    }
}
