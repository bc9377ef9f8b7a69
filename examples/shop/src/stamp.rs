//! What every answer carries, in one place: which slot and version gave it, and to which request.
//!
//! In headers and again in the body, so that a load can check strictly who answered what.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use crate::shop::Shop;

/// What a route has to say: a status, and the members of a JSON object.
#[derive(Clone, Debug)]
pub(crate) struct Content(pub(crate) StatusCode, pub(crate) Map<String, Value>);

impl Content {
    /// A JSON object; anything else than an object becomes empty.
    pub(crate) fn new(status: StatusCode, value: Value) -> Self {
        let Value::Object(members) = value else { return Self(status, Map::new()) };
        Self(status, members)
    }
}

impl IntoResponse for Content {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the body, stamped.
pub(crate) async fn stamp(State(shop): State<Arc<Shop>>, request: Request, next: Next) -> Response {
    let id = request.headers().get("x-request-id").cloned().unwrap_or_else(|| HeaderValue::from_static(""));
    let mut response = next.run(request).await;
    let status = response.status();
    let content = response.extensions_mut().remove::<Content>();
    let Content(status, mut members) = content.unwrap_or_else(|| {
        Content::new(status, serde_json::json!({ "error": status.canonical_reason().unwrap_or("error") }))
    });
    members.insert("slot".to_owned(), shop.slot.clone().into());
    members.insert("version".to_owned(), shop.version.clone().into());
    members.insert("request_id".to_owned(), String::from_utf8_lossy(id.as_bytes()).into());
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("x-request-id", id);
    for (name, value) in [("x-slot", &shop.slot), ("x-version", &shop.version)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    (status, headers, Value::Object(members).to_string()).into_response()
}
