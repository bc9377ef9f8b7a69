//! Extractors that check the texts in paths.

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::refused;
use crate::control::{Refusal, Text};

/// The name of a group in a path.
pub(super) struct GroupName(pub(super) String);

/// The id of a deployment in a path.
pub(super) struct DeploymentId(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for GroupName {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        in_path(parts, state, Text::Group).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DeploymentId {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        in_path(parts, state, Text::Deployment).await.map(Self)
    }
}

async fn in_path<S: Send + Sync>(parts: &mut Parts, state: &S, what: Text) -> Result<String, Response> {
    let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|bad| {
        let status = StatusCode::BAD_REQUEST;
        refused(status, "bad_text", format!("the {what} in the path cannot be read: {}", bad.body_text()))
    })?;
    what.check(text).map_err(|bad| Refusal::from(bad).into_response())
}
