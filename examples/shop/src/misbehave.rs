//! Answers as slowly as the release does, and as badly as its fault wants.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::shop::Shop;
use crate::stamp::Content;
use crate::trouble::Harm;

/// Answers a request as slowly as the shop does, and as badly as its fault wants. The request of a user has an
/// `x-request-id`, which probes and smoke tests have not.
pub(crate) async fn misbehave(State(shop): State<Arc<Shop>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    rest(Duration::from_millis(shop.takes_ms)).await;
    if !request.headers().contains_key("x-request-id") {
        return next.run(request).await;
    }
    match shop.trouble.harm() {
        Some(Harm::Hang) => std::future::pending().await,
        Some(Harm::NotFound) => {
            Content::new(StatusCode::NOT_FOUND, json!({ "error": "no such shop" })).into_response()
        }
        Some(Harm::Error) => {
            let error = json!({ "error": "the price service answers nonsense" });
            Content::new(StatusCode::INTERNAL_SERVER_ERROR, error).into_response()
        }
        None => {
            let response = next.run(request).await;
            rest(begun.elapsed() * shop.trouble.slower().saturating_sub(1)).await;
            response
        }
    }
}

/// A sleep of no time would last a millisecond.
async fn rest(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}
