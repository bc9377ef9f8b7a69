//! Flagger's webhooks, answered from verdicts.
//!
//! | hook | 200 means to Flagger | answered if the verdict is |
//! |---|---|---|
//! | `confirm-rollout` | the canary may begin | anything but bad |
//! | `confirm-promotion` | the canary may become the primary | good |
//! | `rollback` | the canary is to go back | bad |
//!
//! All else is 409 with the reason, which Flagger shows as an event of its Canary, and asks again.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kube::Client;
use serde::Deserialize;

use super::{Answer, Verdict, answer, status_of};

/// What Flagger sends: `CanaryWebhookPayload` of its API `v1beta1`.
#[derive(Debug, Deserialize)]
pub(super) struct Payload {
    /// The Canary.
    name: String,
    namespace: String,
    /// `bluegreen`: the BlueGreen, if it has another name. `version`: the version that is meant.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

pub(super) async fn confirm_rollout(client: State<Client>, payload: Json<Payload>) -> Response {
    answered(client, payload, |verdict| verdict != Verdict::Bad).await
}

pub(super) async fn confirm_promotion(client: State<Client>, payload: Json<Payload>) -> Response {
    answered(client, payload, |verdict| verdict == Verdict::Good).await
}

pub(super) async fn rollback(client: State<Client>, payload: Json<Payload>) -> Response {
    answered(client, payload, |verdict| verdict == Verdict::Bad).await
}

async fn answered(
    State(client): State<Client>,
    Json(payload): Json<Payload>,
    is_so: impl Fn(Verdict) -> bool,
) -> Response {
    let name = payload.metadata.get("bluegreen").unwrap_or(&payload.name);
    let status = match status_of(client, &payload.namespace, name).await {
        Ok(status) => status,
        Err(refusal) => return refusal.into_response(),
    };
    let Answer { verdict, version, message, .. } =
        answer(&status, payload.metadata.get("version").map(String::as_str));
    let code = if is_so(verdict) { StatusCode::OK } else { StatusCode::CONFLICT };
    let text = match verdict {
        Verdict::Good => "good",
        Verdict::Bad => "bad",
        Verdict::Pending => "not judged yet",
        Verdict::Unknown => "not known",
    };
    (code, format!("BlueGreen \"{name}\": version {version} is {text}: {message}\n")).into_response()
}
