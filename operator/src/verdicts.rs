//! The verdict over a version, for programs that ask: Argo Rollouts and Flagger.
//!
//! ```text
//! status of a BlueGreen -> Verdict -+- GET  /v1/verdicts/NAMESPACE/NAME   JSON, for Argo's web metrics
//!                                   +- POST /v1/flagger/..                a status, for Flagger's webhooks
//! ```
//!
//! Nothing here changes anything, and nothing is said that `kubectl get bluegreen` does not say.

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use cutover_core::deployment::Outcome;
use kube::{Api, Client};
use serde::{Deserialize, Serialize};

use crate::edge::told;
use crate::resource::{BlueGreen, BlueGreenStatus};

mod flagger;

/// What is known about a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It has passed its soak, or is live.
    Good,
    /// It goes back, or did not get that far.
    Bad,
    /// Its deployment is under way.
    Pending,
    /// Nothing is known about it.
    Unknown,
}

/// The answer to a question for a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The verdict.
    pub verdict: Verdict,
    /// The version that it is about.
    pub version: String,
    /// Why, in one line.
    pub message: String,
    /// The phase in the status.
    pub phase: String,
}

/// Which version a question is about. Without one, the newest that was deployed or is under way.
#[derive(Clone, Debug, Default, Deserialize)]
struct About {
    version: Option<String>,
}

/// The paths.
pub fn router(client: Client) -> Router {
    Router::new()
        .route("/v1/verdicts/{namespace}/{name}", get(verdict))
        .route("/v1/flagger/confirm-rollout", post(flagger::confirm_rollout))
        .route("/v1/flagger/confirm-promotion", post(flagger::confirm_promotion))
        .route("/v1/flagger/rollback", post(flagger::rollback))
        .with_state(client)
}

async fn verdict(
    State(client): State<Client>,
    Path((namespace, name)): Path<(String, String)>,
    Query(about): Query<About>,
) -> Response {
    match status_of(client, &namespace, &name).await {
        Ok(status) => Json(answer(&status, about.version.as_deref())).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// Why there is no answer. The text is one line.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

async fn status_of(client: Client, namespace: &str, name: &str) -> Result<BlueGreenStatus, Refusal> {
    let api: Api<BlueGreen> = Api::namespaced(client, namespace);
    match api.get_opt(name).await {
        Ok(Some(resource)) => Ok(resource.status.unwrap_or_default()),
        Ok(None) => Err(Refusal(
            StatusCode::NOT_FOUND,
            format!(
                "there is no BlueGreen \"{name}\" in namespace \"{namespace}\"; to see all: kubectl get bluegreens -A"
            ),
        )),
        Err(error) => Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, told(&error))),
    }
}

/// The verdict over a version, as a status says.
pub fn answer(status: &BlueGreenStatus, version: Option<&str>) -> Answer {
    let phase = status.phase.clone().unwrap_or_default();
    let is_meant = |one: &str| version.is_none_or(|version| version == one);
    if let Some(deployment) = status.deployment.as_ref().filter(|its| is_meant(&its.version)) {
        let verdict = match phase.as_str() {
            "Draining" | "Warm" | "Decommissioning" => Verdict::Good,
            "TearingDown" | "RollingBack" | "Stuck" => Verdict::Bad,
            _ => Verdict::Pending,
        };
        let message = status.message.clone().unwrap_or_default();
        return Answer { verdict, version: deployment.version.clone(), message, phase };
    }
    if let Some(past) = status.history.iter().find(|past| is_meant(&past.version)) {
        let is_good = past.outcome == Outcome::Completed.as_str();
        let verdict = if is_good { Verdict::Good } else { Verdict::Bad };
        return Answer { verdict, version: past.version.clone(), message: past.message.clone(), phase };
    }
    match status.version.as_ref().filter(|live| is_meant(live)) {
        Some(live) => {
            let message = format!("version {live} is live");
            Answer { verdict: Verdict::Good, version: live.clone(), message, phase }
        }
        None => Answer {
            verdict: Verdict::Unknown,
            version: version.unwrap_or_default().to_owned(),
            message: "it was not deployed yet".to_owned(),
            phase,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(json: serde_json::Value) -> BlueGreenStatus {
        serde_json::from_value(json).unwrap()
    }

    fn deploying(phase: &str) -> BlueGreenStatus {
        let entry = json!({ "id": "shop-1", "version": "2", "slot": "green", "started": "", "entry": {}, "state": {} });
        status(json!({ "phase": phase, "message": "why", "version": "1", "deployment": entry }))
    }

    fn past(version: &str, outcome: &str) -> serde_json::Value {
        json!({
            "id": "x", "version": version, "slot": "green", "outcome": outcome, "message": "why", "started": "", "ended": "",
            "wanted": "",
        })
    }

    #[test]
    fn a_version_under_way_is_pending_until_its_soak_is_over() {
        for (phase, verdict) in [
            ("Provisioning", Verdict::Pending),
            ("Soaking", Verdict::Pending),
            ("Confirming", Verdict::Pending),
            ("Draining", Verdict::Good),
            ("Warm", Verdict::Good),
            ("RollingBack", Verdict::Bad),
            ("TearingDown", Verdict::Bad),
        ] {
            let answered = answer(&deploying(phase), None);
            assert_eq!((answered.verdict, answered.version.as_str()), (verdict, "2"), "{phase}");
        }
        assert_eq!(answer(&deploying("Soaking"), Some("1")).verdict, Verdict::Good, "that is live");
        assert_eq!(answer(&deploying("Soaking"), Some("3")).verdict, Verdict::Unknown);
    }

    #[test]
    fn the_newest_try_of_a_version_counts() {
        let status = status(json!({
            "phase": "Ready", "version": "3",
            "history": [past("3", "completed"), past("2", "rolled_back"), past("3", "failed")],
        }));
        assert_eq!(answer(&status, None).verdict, Verdict::Good);
        assert_eq!(answer(&status, Some("3")).verdict, Verdict::Good);
        assert_eq!(answer(&status, Some("2")).verdict, Verdict::Bad);
        assert_eq!(answer(&BlueGreenStatus::default(), None).verdict, Verdict::Unknown);
    }
}
