//! What operators ask of a deployment that is under way: to end, to go back, to wait, to go on.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cutover_core::deployment::Companion;
use cutover_engine::journal::with_reason;
use cutover_engine::world::World;
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::text::GroupName;
use super::{Accepted, OfGroup, QueryOf, refused};
use crate::control::{Aborted, Control, Refusal, Steering, Text};

/// Body of a request to abort, to roll back, to pause, to resume or to promote. It may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AskRequest {
    /// The reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Who asks, and why; empty if no reason was given.
pub(super) struct Asked {
    pub(super) who: String,
    pub(super) reason: String,
}

impl Asked {
    /// Both in one text.
    fn in_words(&self) -> String {
        with_reason(&self.who, &self.reason)
    }
}

impl<S: Send + Sync> FromRequest<S> for Asked {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let Ok(caller) =
            <Caller as axum::extract::FromRequestParts<S>>::from_request_parts(&mut parts, state).await;
        let body = Bytes::from_request(Request::from_parts(parts, body), state).await;
        let body = body.map_err(|bad: BytesRejection| refused(bad.status(), "bad_body", bad.body_text()))?;
        let asked = match body.is_empty() {
            true => None,
            false => serde_json::from_slice::<Option<AskRequest>>(&body).map_err(|error| {
                refused(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "bad_body",
                    format!("the body is not a request: {error}"),
                )
            })?,
        };
        let reason = checked(asked.and_then(|asked| asked.reason)).map_err(IntoResponse::into_response)?;
        Ok(Self { who: caller.to_string(), reason })
    }
}

/// A reason that may be kept; empty if there is none.
pub(super) fn checked(reason: Option<String>) -> Result<String, Refusal> {
    Ok(Text::Reason.check(reason.unwrap_or_default())?)
}

type Answer = Result<(StatusCode, Json<Accepted>), Refusal>;

/// What takes a version back.
#[derive(Clone, Copy, Debug)]
enum Undo {
    Abort,
    Rollback,
}

pub(super) async fn abort<W: World>(
    State(control): State<Control<W>>,
    GroupName(group): GroupName,
    asked: Asked,
) -> Answer {
    undo(&control, &group, Undo::Abort, asked).await
}

pub(super) async fn rollback<W: World>(
    State(control): State<Control<W>>,
    GroupName(group): GroupName,
    asked: Asked,
) -> Answer {
    undo(&control, &group, Undo::Rollback, asked).await
}

async fn undo<W: World>(control: &Control<W>, group: &str, which: Undo, asked: Asked) -> Answer {
    let (mut after, mut with) = (control.last_event(group).await?, moving_with(control, group).await?);
    let who = asked.in_words();
    let (deployment, ended) = match which {
        Undo::Abort => match control.abort(group, &who).await? {
            Aborted::Deployment(deployment) => (deployment, None),
            Aborted::ByHand { deployment, text } => (deployment, Some(text)),
        },
        Undo::Rollback => (control.rollback(group, &who).await?, None),
    };
    let its_own = (&deployment, &mut after);
    for (id, after) in with.iter_mut().map(|other| (&other.deployment, &mut other.after)).chain([its_own]) {
        *after = match which {
            Undo::Abort => control.before_outcome(id, *after).await?,
            Undo::Rollback => control.past_completion(id, *after).await?,
        };
    }
    Ok((StatusCode::ACCEPTED, Json(Accepted { deployment, after, with, ended })))
}

/// The deployments that a request has an effect on, too, and their last events.
async fn moving_with<W: World>(control: &Control<W>, group: &str) -> Result<Vec<OfGroup>, Refusal> {
    let mut with = Vec::new();
    for Companion { group, deployment } in control.companions(group).await? {
        let after = control.last_event(&group).await?;
        with.push(OfGroup { group, deployment, after });
    }
    Ok(with)
}

#[derive(Deserialize)]
pub(super) struct Promotion {
    /// The step to end, from 1.
    step: Option<usize>,
}

pub(super) async fn pause<W: World>(
    State(control): State<Control<W>>,
    GroupName(group): GroupName,
    asked: Asked,
) -> Answer {
    steer(&control, &group, (Steering::Pause, None), asked).await
}

pub(super) async fn resume<W: World>(
    State(control): State<Control<W>>,
    GroupName(group): GroupName,
    asked: Asked,
) -> Answer {
    steer(&control, &group, (Steering::Resume, None), asked).await
}

pub(super) async fn promote<W: World>(
    State(control): State<Control<W>>,
    GroupName(group): GroupName,
    QueryOf(Promotion { step }): QueryOf<Promotion>,
    asked: Asked,
) -> Answer {
    steer(&control, &group, (Steering::Promote, step), asked).await
}

async fn steer<W: World>(
    control: &Control<W>,
    group: &str,
    (which, step): (Steering, Option<usize>),
    asked: Asked,
) -> Answer {
    let after = control.last_event(group).await?;
    let with = moving_with(control, group).await?;
    let deployment = control.steer(group, which, step, &asked.in_words()).await?;
    Ok((StatusCode::ACCEPTED, Json(Accepted { deployment, after, with, ended: None })))
}
