//! The calls of `cutover database`.

use axum::Json;
use axum::extract::State;
use cutover_engine::world::World;
use serde::{Deserialize, Serialize};

use super::asking::checked;
use super::caller::Caller;
use super::text::GroupName;
use super::{Body, QueryOf};
use crate::control::{Control, DatabaseDone, DatabaseStatus, Refusal, RevertRequest, Text};

/// Body of a migration by hand.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigrateRequest {
    /// The version whose migrations are applied.
    pub version: String,
    /// Whether the operator knows that the version that has the traffic can live with them.
    #[serde(default)]
    pub yes: bool,
    /// The reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of what an operator says about an interrupted migration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettleRequest {
    /// Its number.
    pub number: u64,
    /// Whether all of it is in the database. Otherwise nothing of it is.
    pub applied: bool,
    /// The reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct OfVersion {
    version: Option<String>,
}

pub(super) async fn look<W: World>(
    State(control): State<Control<W>>,
    GroupName(group): GroupName,
    QueryOf(OfVersion { version }): QueryOf<OfVersion>,
) -> Result<Json<DatabaseStatus>, Refusal> {
    let version = version.map(|version| Text::Version.check(version)).transpose()?;
    control.database(&group, version.as_deref()).await.map(Json)
}

pub(super) async fn migrate<W: World>(
    State(control): State<Control<W>>,
    GroupName(group): GroupName,
    caller: Caller,
    Body(request): Body<MigrateRequest>,
) -> Result<Json<DatabaseDone>, Refusal> {
    let version = Text::Version.check(request.version)?;
    let asked_by = caller.because(&checked(request.reason)?);
    control.migrate_database(&group, &version, request.yes, &asked_by).await.map(Json)
}

pub(super) async fn revert<W: World>(
    State(control): State<Control<W>>,
    GroupName(group): GroupName,
    caller: Caller,
    Body(mut request): Body<RevertRequest>,
) -> Result<Json<DatabaseDone>, Refusal> {
    request.deployment = request.deployment.map(|id| Text::Deployment.check(id)).transpose()?;
    request.version = request.version.map(|version| Text::Version.check(version)).transpose()?;
    let asked_by = caller.because(&checked(request.reason.take())?);
    control.revert_database(&group, request, &asked_by).await.map(Json)
}

pub(super) async fn settle<W: World>(
    State(control): State<Control<W>>,
    GroupName(group): GroupName,
    caller: Caller,
    Body(SettleRequest { number, applied, reason }): Body<SettleRequest>,
) -> Result<Json<DatabaseDone>, Refusal> {
    let asked_by = caller.because(&checked(reason)?);
    control.settle_database(&group, number, applied, &asked_by).await.map(Json)
}
