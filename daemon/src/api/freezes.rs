//! Freezes of one group, or of all.

use axum::Json;
use axum::extract::State;
use cutover_engine::policy;
use cutover_engine::world::World;
use serde::{Deserialize, Serialize};

use super::asking::{Asked, checked};
use super::caller::Caller;
use super::text::GroupName;
use super::{Body, Refusal};
use crate::control::{Control, Froze, Thawed};

/// Body of a request to freeze.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FreezeRequest {
    /// The reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long the freeze lasts. `None`: until somebody ends it.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<policy::Duration>,
}

pub(super) async fn freeze<W: World>(
    State(control): State<Control<W>>,
    GroupName(group): GroupName,
    caller: Caller,
    Body(request): Body<FreezeRequest>,
) -> Result<Json<Froze>, Refusal> {
    let by = (caller.to_string(), checked(request.reason)?);
    control.freeze(Some(&group), request.lasts, by).await.map(Json)
}

pub(super) async fn freeze_all<W: World>(
    State(control): State<Control<W>>,
    caller: Caller,
    Body(request): Body<FreezeRequest>,
) -> Result<Json<Froze>, Refusal> {
    let by = (caller.to_string(), checked(request.reason)?);
    control.freeze(None, request.lasts, by).await.map(Json)
}

pub(super) async fn unfreeze<W: World>(
    State(control): State<Control<W>>,
    GroupName(group): GroupName,
    Asked { who, reason }: Asked,
) -> Result<Json<Thawed>, Refusal> {
    control.unfreeze(Some(&group), (&who, &reason)).await.map(Json)
}

pub(super) async fn unfreeze_all<W: World>(
    State(control): State<Control<W>>,
    Asked { who, reason }: Asked,
) -> Result<Json<Thawed>, Refusal> {
    control.unfreeze(None, (&who, &reason)).await.map(Json)
}
