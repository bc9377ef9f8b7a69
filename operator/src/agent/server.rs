//! What an agent answers: whether it lives, whether its nginx may get traffic, and how each group stands.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cutover_core::token;
use kube::ResourceExt;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;

use super::{Agent, claims};

/// Answers for ever.
pub(super) async fn serve(listener: TcpListener, agent: Arc<Agent>) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/v1/groups/{namespace}/{name}", get(group))
        .with_state(agent);
    Ok(axum::serve(listener, router).await?)
}

/// Whether nginx has had the route of every group. Stays so: what breaks later is no reason to take all traffic from this Pod.
async fn ready(State(agent): State<Arc<Agent>>) -> Response {
    if agent.is_ready.load(Ordering::Acquire) {
        return "ok\n".into_response();
    }
    let why = match agent.watched.borrow().resources {
        None => "the API server has not told the BlueGreens yet".to_owned(),
        Some(_) => {
            let memory = agent.reports.borrow();
            let errors: Vec<&str> = memory.values().filter_map(|report| report.error()).collect();
            format!("nginx does not have the route of each group yet: {}", errors.join("; "))
        }
    };
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}

async fn group(
    State(agent): State<Arc<Agent>>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Err((status, why)) = authorized(&headers, &agent.settings.token_file).await {
        return (status, format!("{why}\n")).into_response();
    }
    let watched = agent.watched.borrow().clone();
    let claims = match &watched.resources {
        Some(resources) => claims::of(resources, &agent.settings.namespace, &watched.labels),
        None => Vec::new(),
    };
    let is_asked = |claim: &&claims::Claim| {
        claim.resource.name_any() == name && claim.resource.namespace().as_ref() == Some(&namespace)
    };
    let Some(claim) = claims.iter().find(is_asked) else {
        let why = format!(
            "the agent in Pod \"{}\" knows no BlueGreen \"{name}\" in namespace \"{namespace}\" with this controller\n",
            agent.settings.pod
        );
        return (StatusCode::NOT_FOUND, why).into_response();
    };
    Json(agent.show(claim).await).into_response()
}

/// Checks the token of a caller.
async fn authorized(headers: &HeaderMap, file: &FilePath) -> Result<(), (StatusCode, String)> {
    let content = tokio::fs::read(file).await;
    let shown = file.display();
    let content = content
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{shown} cannot be read: {error}")))?;
    let expected = token::parse(&content)
        .map_err(|bad| (StatusCode::INTERNAL_SERVER_ERROR, format!("{shown} {bad}")))?;
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
    match bool::from(given.ct_eq(expected)) {
        true => Ok(()),
        false => Err((StatusCode::UNAUTHORIZED, "this needs the token of the module's admin API".to_owned())),
    }
}
