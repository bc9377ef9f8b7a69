//! Splits, and changes on trial: confirmed, renewed, taken back by the guard and by the lease.

use cutover_tests::{Nginx, client, wait};
use hyper::Method;

const GUARD: &str = r#""guard":{"min_requests":3,"max_error_ratio":0.2,"window_ms":60000}"#;

pub(crate) async fn ask(nginx: &Nginx) {
    nginx.admin().switch("shop", "blue").await.unwrap();
    change(nginx, r#"{"split":{"blue":50,"green":50}}"#).await;
    get(nginx, 8, &[200]).await;
    change(nginx, r#"{"active":"green","lease_ms":600000,"rescue":true}"#).await;
    get(nginx, 4, &[200]).await;
    post(nginx, "renew", r#"{"lease_ms":600000}"#).await;
    post(nginx, "confirm", r#"{"reason":"good"}"#).await;
    // Requests that the dead slot fails are rescued, then the guard takes the traffic back.
    change(nginx, &format!(r#"{{"active":"dead",{GUARD},"rescue":true}}"#)).await;
    get(nginx, 3, &[200, 502]).await;
    until_active(nginx, "green").await;
    change(nginx, r#"{"active":"blue","lease_ms":100}"#).await;
    until_active(nginx, "green").await;
    for path in ["/metrics", "/measures", "/v1/groups/shop"] {
        assert_eq!(nginx.admin().raw(Method::GET, path, &[], "").await.unwrap().status, 200, "{path}");
    }
}

/// The last change of a process: nobody looks, so a timer finds the end of a lease, and nobody asks for the flush of that.
pub(crate) async fn leave_to_a_timer(nginx: &Nginx) {
    let ends = || nginx.error_log().matches("by the lease, reason").count();
    nginx.admin().switch("shop", "green").await.unwrap();
    let before = ends();
    change(nginx, r#"{"active":"blue","lease_ms":100}"#).await;
    wait::until("the lease to take the traffic back", || ends() > before).await.unwrap();
}

async fn change(nginx: &Nginx, json: &str) {
    nginx.admin().change_json("shop", json).await.unwrap();
}

async fn post(nginx: &Nginx, what: &str, json: &str) {
    let headers = [("content-type", "application/json")];
    let path = format!("/v1/groups/shop/{what}");
    let reply = nginx.admin().raw(Method::POST, &path, &headers, json).await.unwrap();
    assert_eq!(reply.status, 200, "{what}: {}", reply.body);
}

async fn get(nginx: &Nginx, times: u32, allowed: &[u16]) {
    for _ in 0..times {
        let status = client::get(nginx.address("main").unwrap(), "/").await.unwrap().status;
        assert!(allowed.contains(&status), "{status}");
    }
}

async fn until_active(nginx: &Nginx, slot: &str) {
    let back = async || nginx.admin().group("shop").await.unwrap().route.active == slot;
    wait::until_async(wait::PATIENCE, &format!("the traffic to be back on {slot}"), back).await.unwrap();
}
