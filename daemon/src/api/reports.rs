//! What is kept of one deployment.

use std::convert::Infallible;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use cutover_engine::world::World;
use futures_util::stream;
use serde::Deserialize;
use tokio::io::AsyncReadExt;

use super::text::DeploymentId;
use super::{QueryOf, Refusal};
use crate::control::{Control, OutputStatus, Report};

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

pub(super) async fn report<W: World>(
    State(control): State<Control<W>>,
    DeploymentId(id): DeploymentId,
) -> Result<Json<Report>, Refusal> {
    control.report(&id).await.map(Json)
}

pub(super) async fn outputs<W: World>(
    State(control): State<Control<W>>,
    DeploymentId(id): DeploymentId,
) -> Result<Json<Vec<OutputStatus>>, Refusal> {
    control.outputs(&id).await.map(Json)
}

#[derive(Deserialize)]
pub(super) struct Which {
    name: String,
}

/// Streams the output as it is now. What a command writes meanwhile is not part of it.
pub(super) async fn output<W: World>(
    State(control): State<Control<W>>,
    DeploymentId(id): DeploymentId,
    QueryOf(Which { name }): QueryOf<Which>,
) -> Result<Response, Refusal> {
    let (file, bytes) = control.open_output(&id, &name).await?;
    let chunks = stream::unfold(file.take(bytes), async |mut file| {
        let mut chunk = vec![0; CHUNK];
        let length = file.read(&mut chunk).await.ok().filter(|length| *length > 0)?;
        chunk.truncate(length);
        Some((Ok::<_, Infallible>(Bytes::from(chunk)), file))
    });
    Ok(([(CONTENT_TYPE, "text/plain")], Body::from_stream(chunks)).into_response())
}
