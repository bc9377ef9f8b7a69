//! The control API: HTTP with JSON on the daemon's unix socket.
//!
//! | call | answer |
//! |---|---|
//! | `GET /v1/status` | [`GroupStatus`] of all groups |
//! | `GET /v1/groups/NAME` | [`GroupStatus`] |
//! | `GET /v1/configuration` | [`ConfigurationStatus`] |
//! | `POST /v1/groups/NAME/deployments` with [`DeployRequest`] | 201, [`Accepted`] |
//! | `POST /v1/deployments` with [`TogetherRequest`] | 201, [`Begun`]: several groups, which move together |
//! | `POST /v1/groups/NAME/abort`, `.../rollback`, `.../pause`, `.../resume`, `.../promote?step=N` | 202, [`Accepted`] |
//! | `POST /v1/groups/NAME/run` with [`RunRequest`] | [`Accepted`], after the command has succeeded |
//! | `POST /v1/groups/NAME/switch` with [`SwitchRequest`] | the group after the switch, in the format of nginx's admin API |
//! | `POST /v1/groups/NAME/freeze` or `/v1/freeze` with [`FreezeRequest`] | [`Froze`](crate::control::Froze) |
//! | `POST /v1/groups/NAME/unfreeze` or `/v1/unfreeze` | [`Thawed`](crate::control::Thawed) |
//! | `GET /v1/groups/NAME/database?version=V` | [`crate::control::DatabaseStatus`], with what the version would apply |
//! | `POST /v1/groups/NAME/database/migrate`, `.../revert`, `.../settle` | [`crate::control::DatabaseDone`] |
//! | `GET /v1/deployments?group=NAME&limit=N` | [`DeploymentStatus`] of each, the newest first |
//! | `GET /v1/switches?group=NAME&limit=N` | [`SwitchStatus`] of each, the newest first |
//! | `GET /v1/acts?group=NAME&limit=N` | [`ActStatus`] of each, the newest first: freezes, and changes of databases by hand |
//! | `GET /v1/deployments/ID` | [`DeploymentStatus`] |
//! | `GET /v1/deployments/ID/events?after=SEQ` | [`DeploymentEvent`]s, one per line, until the next outcome |
//! | `GET /v1/deployments/ID/report` | [`Report`](crate::control::Report) |
//! | `GET /v1/deployments/ID/logs` | [`OutputStatus`](crate::control::OutputStatus) of each command |
//! | `GET /v1/deployments/ID/log?name=NAME` | the output of a command, as text |
//!
//! Every failure is an [`ErrorAnswer`].

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Query, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::control::{
    ActStatus, BusyAnswer, ConfigurationStatus, Control, DeploymentStatus, GroupStatus, ManualSwitch,
    NewDeployment, Refusal, Rerun, SwitchStatus, Text, Waiting,
};
use cutover_engine::journal::Deployment;
use cutover_engine::world::World;

mod advice;
mod asking;
mod caller;
mod database;
mod events;
mod freezes;
mod reports;
#[cfg(test)]
mod tests;
mod text;

pub use advice::command_in;
pub use asking::AskRequest;
use asking::checked;
use caller::Caller;
pub use caller::{CLAIM, Peer};
pub use database::{MigrateRequest, SettleRequest};
pub use events::DeploymentEvent;
pub use freezes::FreezeRequest;
use text::{DeploymentId, GroupName};

/// Maximum length of a body in bytes. The longest version fits with every character escaped.
const MAX_BODY: usize = 1024 * 1024;

/// Body of a new deployment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeployRequest {
    /// The version; the commands receive it.
    pub version: String,
    /// The slot. `None` lets the daemon choose one without traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Whether to deploy a version that was taken back a short time ago.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// The reason, for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What a caller that waits for its turn has seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// Body of new deployments of several groups, which move together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TogetherRequest {
    /// The groups.
    pub groups: Vec<String>,
    /// The version of all; the commands receive it.
    #[serde(default)]
    pub version: String,
    /// The slot of all. `None` lets the daemon choose one without traffic for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Whether to deploy a version that was taken back a short time ago.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// The reason, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What a caller that waits for its turn has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// Body of a switch by hand.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchRequest {
    /// The slot.
    pub to: String,
    /// The reason, for the log and the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether to switch even if the slot is not healthy.
    #[serde(default)]
    pub force: bool,
    /// What a caller that waits for its turn has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// Body of a request to run a command of a deployment again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// The command.
    pub command: Rerun,
    /// The deployment. `None` is the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// The reason, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What a caller that waits for its turn has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// The answer to a request that the daemon has accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// The deployment.
    pub deployment: String,
    /// Sequence number of the last event before the request took effect. A follower continues after it.
    pub after: i64,
    /// The same for deployments of other groups, which move together with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<OfGroup>,
    /// What an abort has ended, if that is no deployment. Then there is nothing to follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

impl Accepted {
    /// All deployments that the request has an effect on. `group`: that of the first one.
    pub fn all(self, group: &str) -> Vec<OfGroup> {
        let own = OfGroup { group: group.to_owned(), deployment: self.deployment, after: self.after };
        std::iter::once(own).chain(self.with).collect()
    }
}

/// A deployment that a request has begun or has an effect on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OfGroup {
    /// Its group.
    pub group: String,
    /// The deployment.
    pub deployment: String,
    /// Sequence number of the last event before the request took effect. A follower continues after it.
    pub after: i64,
}

/// The answer to a request for deployments that move together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Begun {
    /// The deployments, in the order of their groups' names.
    pub deployments: Vec<OfGroup>,
}

/// The body of every failure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// A code word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// The command that helps, or shows more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What is in the way, if it will be over by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<BusyAnswer>,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = self.to_string();
        let answer = ErrorAnswer {
            code: self.code().to_owned(),
            next: self.busy().and_then(|busy| busy.follow()).or_else(|| command_in(&message)),
            busy: self.busy(),
            message,
        };
        (status, Json(answer)).into_response()
    }
}

/// A JSON body whose errors become an [`ErrorAnswer`].
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = BadBody;

    async fn from_request(request: Request, state: &S) -> Result<Self, BadBody> {
        Json::from_request(request, state).await.map(|Json(body)| Self(body)).map_err(BadBody)
    }
}

/// A query whose errors become an [`ErrorAnswer`].
struct QueryOf<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(bad) => Err(refused(bad.status(), "bad_query", bad.body_text())),
        }
    }
}

fn refused(status: StatusCode, code: &str, message: String) -> Response {
    let answer = ErrorAnswer { code: code.to_owned(), message, next: None, busy: None };
    (status, Json(answer)).into_response()
}

struct BadBody(JsonRejection);

impl IntoResponse for BadBody {
    fn into_response(self) -> Response {
        let (status, why) = (self.0.status(), self.0.body_text());
        let message = match status {
            StatusCode::PAYLOAD_TOO_LARGE => {
                format!("the body is larger than {MAX_BODY} bytes: {why}")
            }
            _ => why,
        };
        refused(status, "bad_body", message)
    }
}

/// Routes the control API to a [`Control`].
pub fn router<W: World>(control: Control<W>) -> Router {
    Router::new()
        .route("/v1/status", get(status::<W>))
        .route("/v1/configuration", get(configuration::<W>))
        .route("/v1/groups/{group}", get(group::<W>))
        .route("/v1/groups/{group}/deployments", post(deploy::<W>))
        .route("/v1/groups/{group}/abort", post(asking::abort::<W>))
        .route("/v1/groups/{group}/rollback", post(asking::rollback::<W>))
        .route("/v1/groups/{group}/pause", post(asking::pause::<W>))
        .route("/v1/groups/{group}/resume", post(asking::resume::<W>))
        .route("/v1/groups/{group}/promote", post(asking::promote::<W>))
        .route("/v1/groups/{group}/run", post(run::<W>))
        .route("/v1/groups/{group}/switch", post(switch::<W>))
        .route("/v1/groups/{group}/freeze", post(freezes::freeze::<W>))
        .route("/v1/groups/{group}/unfreeze", post(freezes::unfreeze::<W>))
        .route("/v1/freeze", post(freezes::freeze_all::<W>))
        .route("/v1/unfreeze", post(freezes::unfreeze_all::<W>))
        .route("/v1/groups/{group}/database", get(database::look::<W>))
        .route("/v1/groups/{group}/database/migrate", post(database::migrate::<W>))
        .route("/v1/groups/{group}/database/revert", post(database::revert::<W>))
        .route("/v1/groups/{group}/database/settle", post(database::settle::<W>))
        .route("/v1/deployments", get(history::<W>).post(deploy_together::<W>))
        .route("/v1/switches", get(switches::<W>))
        .route("/v1/acts", get(acts::<W>))
        .route("/v1/deployments/{id}", get(deployment::<W>))
        .route("/v1/deployments/{id}/events", get(events::follow::<W>))
        .route("/v1/deployments/{id}/report", get(reports::report::<W>))
        .route("/v1/deployments/{id}/logs", get(reports::outputs::<W>))
        .route("/v1/deployments/{id}/log", get(reports::output::<W>))
        .fallback(async || {
            let message = "unknown path: the paths of this API begin with /v1/status, /v1/configuration, /v1/groups, \
                           /v1/deployments, /v1/switches, /v1/acts";
            refused(StatusCode::NOT_FOUND, "not_found", message.to_owned())
        })
        .method_not_allowed_fallback(async |request: Request| {
            let message = format!("method {} is not allowed for {}", request.method(), request.uri().path());
            refused(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(control)
}

async fn status<W: World>(State(control): State<Control<W>>) -> Result<Json<Vec<GroupStatus>>, Refusal> {
    control.status().await.map(Json)
}

async fn configuration<W: World>(State(control): State<Control<W>>) -> Json<ConfigurationStatus> {
    Json(control.configuration())
}

async fn group<W: World>(
    State(control): State<Control<W>>,
    GroupName(group): GroupName,
) -> Result<Json<GroupStatus>, Refusal> {
    control.group_status(&group).await.map(Json)
}

async fn deploy<W: World>(
    State(control): State<Control<W>>,
    GroupName(group): GroupName,
    caller: Caller,
    Body(request): Body<DeployRequest>,
) -> Result<(StatusCode, Json<Accepted>), Refusal> {
    let version = Text::Version.check(request.version)?;
    let to = request.to.map(|slot| Text::Slot.check(slot)).transpose()?;
    let (again, asked_by, reason) = (request.again, caller.to_string(), checked(request.reason)?);
    let wanted = NewDeployment { version, to, again, asked_by, reason, waiting: request.waiting };
    // The task continues if the caller disconnects, so a deployment is never half begun.
    let begun = tokio::spawn(async move {
        let (groups, waiting, who) = ([group.clone()], wanted.waiting.clone(), wanted.asked_by.clone());
        control.in_turn(&groups, waiting.as_ref(), &who, control.deploy(&group, wanted)).await
    });
    let deployment = begun.await.unwrap_or_else(|error| Err(Refusal::Interrupted(error.to_string())))?;
    Ok((
        StatusCode::CREATED,
        Json(Accepted { deployment: deployment.id, after: 0, with: Vec::new(), ended: None }),
    ))
}

async fn deploy_together<W: World>(
    State(control): State<Control<W>>,
    caller: Caller,
    Body(request): Body<TogetherRequest>,
) -> Result<(StatusCode, Json<Begun>), Refusal> {
    let version = Text::Version.check(request.version)?;
    let to = request.to.map(|slot| Text::Slot.check(slot)).transpose()?;
    let groups = request.groups.into_iter().map(|group| Text::Group.check(group));
    let groups = groups.collect::<Result<Vec<_>, _>>()?;
    let (again, asked_by, reason) = (request.again, caller.to_string(), checked(request.reason)?);
    let wanted = NewDeployment { version, to, again, asked_by, reason, waiting: request.waiting };
    // The task continues if the caller disconnects, so a deployment is never half begun.
    let begun = tokio::spawn(async move {
        let (waiting, who) = (wanted.waiting.clone(), wanted.asked_by.clone());
        control.in_turn(&groups, waiting.as_ref(), &who, control.deploy_together(&groups, wanted)).await
    });
    let begun = begun.await.unwrap_or_else(|error| Err(Refusal::Interrupted(error.to_string())))?;
    let of_group =
        |Deployment { id, plan, .. }: Deployment| OfGroup { group: plan.group, deployment: id, after: 0 };
    Ok((StatusCode::CREATED, Json(Begun { deployments: begun.into_iter().map(of_group).collect() })))
}

async fn run<W: World>(
    State(control): State<Control<W>>,
    GroupName(group): GroupName,
    caller: Caller,
    Body(request): Body<RunRequest>,
) -> Result<Json<Accepted>, Refusal> {
    let after = control.last_event(&group).await?;
    let wanted = request.deployment.map(|id| Text::Deployment.check(id)).transpose()?;
    let who = caller.because(&checked(request.reason)?);
    // The task continues if the caller disconnects, so a change of the database is not interrupted.
    let running = tokio::spawn(async move {
        let (groups, waiting) = ([group.clone()], request.waiting);
        let run = control.run(&group, request.command, wanted.as_deref(), &who);
        match &waiting {
            // A command may be urgent.
            None => run.await,
            Some(_) => control.in_turn(&groups, waiting.as_ref(), &who, run).await,
        }
    });
    let deployment = running.await.unwrap_or_else(|error| Err(Refusal::Interrupted(error.to_string())))?;
    Ok(Json(Accepted { deployment, after, with: Vec::new(), ended: None }))
}

async fn switch<W: World>(
    State(control): State<Control<W>>,
    GroupName(group): GroupName,
    caller: Caller,
    Body(request): Body<SwitchRequest>,
) -> Result<Json<cutover_core::api::Group>, Refusal> {
    let wanted = ManualSwitch {
        to: Text::Slot.check(request.to)?,
        reason: Text::Reason.check(request.reason.unwrap_or_else(|| "by hand".to_owned()))?,
        force: request.force,
        asked_by: caller.to_string(),
        waiting: request.waiting,
    };
    let switched = tokio::spawn(async move {
        let (groups, waiting, who) = ([group.clone()], wanted.waiting.clone(), wanted.asked_by.clone());
        let switch = control.switch(&group, wanted);
        match &waiting {
            // A switch by hand may be urgent.
            None => switch.await,
            Some(_) => control.in_turn(&groups, waiting.as_ref(), &who, switch).await,
        }
    });
    switched.await.unwrap_or_else(|error| Err(Refusal::Interrupted(error.to_string()))).map(Json)
}

#[derive(Deserialize)]
struct HistoryQuery {
    group: Option<String>,
    limit: Option<u32>,
}

impl HistoryQuery {
    fn group(&self) -> Result<Option<String>, Refusal> {
        Ok(self.group.clone().map(|group| Text::Group.check(group)).transpose()?)
    }
}

async fn history<W: World>(
    State(control): State<Control<W>>,
    QueryOf(query): QueryOf<HistoryQuery>,
) -> Result<Json<Vec<DeploymentStatus>>, Refusal> {
    control.history(query.group()?.as_deref(), query.limit.unwrap_or(20)).await.map(Json)
}

async fn switches<W: World>(
    State(control): State<Control<W>>,
    QueryOf(query): QueryOf<HistoryQuery>,
) -> Result<Json<Vec<SwitchStatus>>, Refusal> {
    control.switches(query.group()?.as_deref(), query.limit.unwrap_or(20)).await.map(Json)
}

async fn acts<W: World>(
    State(control): State<Control<W>>,
    QueryOf(query): QueryOf<HistoryQuery>,
) -> Result<Json<Vec<ActStatus>>, Refusal> {
    control.acts(query.group()?.as_deref(), query.limit.unwrap_or(20)).await.map(Json)
}

async fn deployment<W: World>(
    State(control): State<Control<W>>,
    DeploymentId(id): DeploymentId,
) -> Result<Json<DeploymentStatus>, Refusal> {
    control.deployment(&id).await.map(Json)
}
