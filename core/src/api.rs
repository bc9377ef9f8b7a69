//! The wire types of the module's admin API: JSON over HTTP, on the socket of a location with `cutover_api`.
//!
//! | call | answer |
//! |---|---|
//! | `GET /v1/groups` | [`Groups`] |
//! | `GET /v1/groups/NAME` | [`Group`], with its events |
//! | `PUT /v1/groups/NAME/route` with [`RouteChange`] | [`Group`] as it is after the change |
//! | `POST /v1/groups/NAME/confirm` with [`Confirmation`] | the same: the change on trial stays |
//! | `POST /v1/groups/NAME/renew` with [`Renewal`] | the same: its lease ends later |
//! | `PUT /v1/groups/NAME/standby` with [`StandbyChoice`] | the same: previews reach another slot |
//! | `GET /metrics` | Prometheus text, see [`exposition`](crate::exposition) |
//!
//! Each [`Group`] comes with `ETag: "GENERATION"`. A change may carry `If-Match: "GENERATION"`; when the route has moved
//! since, the answer is 412 with a [`Failure`] that holds the current group. Every other failure is a [`Failure`] too.

use serde::{Deserialize, Serialize};

use crate::counters::{Bytes, Counters, Failures, Previews, ServerErrors};
use crate::event::RouteEvent;
use crate::fraction::Fraction;
use crate::guard::Figures;
use crate::latency::Latency;

mod call;
mod change;
mod merged;
mod reason;
mod shared;
mod shares;
mod traffic;

pub use call::{Action, BadCall, Call, parse_call, parse_change, parse_if_match};
pub use change::{Change, SlotNames, check_lease};
pub use reason::{MAX_REASON, kept_reason, reason_with};
pub use shared::Shared;
pub use shares::Shares;
pub use traffic::{Traffic, next_standby};

/// The largest request body the admin API reads, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// Answer to `GET /v1/groups`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// Version of the module that answers, as in `0.1.0`.
    pub module: String,
    /// Version of the nginx that runs it, as in `1.28.3`.
    pub nginx: String,
    /// Every group of the configuration, in its order.
    pub groups: Vec<Group>,
}

/// One group: where its traffic goes, and what its slots are doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Name in the configuration: `cutover NAME { .. }`.
    pub name: String,
    /// What decides the slot of a new request.
    pub route: RouteState,
    /// In the order of the configuration.
    pub slots: Vec<Slot>,
    /// What happened to the route, oldest first; only where one group is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<RouteEvent>,
}

impl Group {
    /// The slot of this name, if the configuration has one.
    pub fn slot(&self, name: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.name == name)
    }
}

/// What decides the slot of a new request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteState {
    /// The slot that takes the traffic.
    pub active: String,
    /// How many times the route has changed; 0 while `active` still comes from the configuration.
    pub generation: u32,
    /// Both slots' parts, while a second one has a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Shares>,
    /// The last change, while it is on trial, and how its trial ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialState>,
    /// The slot that `cutover_slot standby` leads to; absent where there is one slot only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<String>,
}

/// A change on trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialState {
    /// The slot that the change gave traffic to.
    pub slot: String,
    /// The slot that takes all of it back.
    pub fallback: String,
    /// How far the trial has come.
    pub phase: TrialPhase,
    /// When the workers take the traffic back by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardTerms>,
    /// Milliseconds until the lease ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_left_ms: Option<u64>,
    /// Whether failed attempts are tried again on the fallback.
    pub rescue: bool,
    /// What the slot did in the guard's window that ends now.
    pub figures: Figures,
}

/// How far a trial has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialPhase {
    /// Guard, lease and rescue are at work.
    Armed,
    /// The traffic should have gone back, but the fallback was failing too. It stays until an operator decides.
    Held,
    /// The traffic is about to go back.
    GoingBack,
}

/// A guard on the wire; see [`guard`](crate::guard).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardTerms {
    /// Fewer finished requests in the window are no verdict: 1 to 1048575.
    pub min_requests: u32,
    /// The largest part of the requests that may fail, 0 to 1 in steps of 0.0001.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_error_ratio: Option<Fraction>,
    /// How far back the guard looks, in milliseconds: 100 to 3600000.
    pub window_ms: u32,
    /// The largest part of the requests that may be slow, 0 to 1 in steps of 0.0001.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_slow_ratio: Option<Fraction>,
    /// What is slow: a first byte after more than this many milliseconds, 1 to 3600000. Goes with `max_slow_ratio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_ms: Option<u32>,
}

/// One slot of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Name in the configuration: `slot NAME UPSTREAM`.
    pub name: String,
    /// The nginx upstream behind the slot.
    pub upstream: String,
    /// The servers of that upstream as nginx balances over them now.
    pub peers: Vec<Peer>,
    /// What this slot has been sent and has answered since nginx started; kept over reloads. So is what follows. All but
    /// `previews` is of users' requests only.
    pub counters: Counters,
    /// Failed attempts by what was wrong.
    #[serde(default)]
    pub failures: Failures,
    /// 5xx answers by status.
    #[serde(default)]
    pub server_errors: ServerErrors,
    /// What went over the connections to the slot.
    #[serde(default)]
    pub bytes: Bytes,
    /// Upgraded connections (WebSockets) that are open now.
    #[serde(default)]
    pub upgraded: u64,
    /// From the begin of an attempt to the first byte of its answer.
    #[serde(default)]
    pub first_byte: Latency,
    /// From the begin of an attempt to the end of its answer, upgraded connections left out.
    #[serde(default)]
    pub whole: Latency,
    /// Requests whose slot `cutover_slot` has fixed. An older module counts them with the users' requests.
    #[serde(default)]
    pub previews: Previews,
    /// Workers of nginx that are shutting down and may still send requests to this slot although the route does not. Only an edge
    /// that reloads nginx has them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub old_workers: u32,
    /// For how many seconds the oldest of them has been shutting down, as far as that is known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub old_workers_for_s: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// `IP:PORT`, `[IP6]:PORT` or `unix:PATH`.
    pub address: String,
    /// The server as the configuration names it, as in `localhost:3000`: a name may stand for several addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Tried only when the others are not available.
    pub backup: bool,
    /// Marked `down` in the configuration: gets no traffic.
    pub down: bool,
}

/// Body of `PUT /v1/groups/NAME/route`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteChange {
    /// The slot that shall take all traffic, or what a split leaves. Needed unless there is a split; then it is the active
    /// slot as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// Percent of the traffic by slot, for two slots, 100 together. One of them is the active slot.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "shares::each_slot_once")]
    pub split: Option<Shares>,
    /// Puts the change on trial: the workers take it back when the slot that it gives traffic to fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardTerms>,
    /// Puts the change on trial: unless confirmed or renewed it is taken back after so many milliseconds, 100 to 86400000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u32>,
    /// Puts the change on trial: failed attempts on the slot that it gives traffic to are tried again on the other one, where
    /// nginx itself would try again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rescue: bool,
    /// Moves the generation also when nothing changes: from then on an older `If-Match` fits no more. For callers who do not
    /// know whether an earlier change of theirs is still under way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fence: bool,
    /// Why, for the log: at most [`MAX_REASON`] characters are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl RouteChange {
    /// All traffic to this slot, for good.
    pub fn to(slot: &str, reason: impl Into<String>) -> Self {
        Self { active: Some(slot.to_owned()), reason: Some(reason.into()), ..Self::default() }
    }

    /// The same as a fence.
    pub fn fenced(self, fence: bool) -> Self {
        Self { fence, ..self }
    }
}

/// Body of `POST /v1/groups/NAME/confirm`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// Why, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `POST /v1/groups/NAME/renew`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// The lease ends so many milliseconds from now, 100 to 86400000, or when it would have, if that is later.
    pub lease_ms: u32,
}

/// Body of `PUT /v1/groups/NAME/standby`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandbyChoice {
    /// The slot that `cutover_slot standby` leads to from now on, as long as it is not the active one and none has a share.
    /// Forgotten when nginx ends.
    pub slot: String,
}

/// Body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    pub error: ErrorBody,
    /// With [`ErrorCode::GenerationMismatch`], [`ErrorCode::NotArmed`] and [`ErrorCode::NotDurable`]: the group as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Box<Group>>,
}

/// What went wrong: a word for programs and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Stable: programs may match it.
    pub code: ErrorCode,
    /// For people: quotes the value and says what would be right.
    pub message: String,
}

/// Why the admin API refused, as the `code` of a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 404: no such path in this API.
    NotFound,
    /// 404: the configuration has no group of this name.
    UnknownGroup,
    /// 422: the group has no slot of this name.
    UnknownSlot,
    /// 422: the slot has the traffic, so it cannot stand by.
    SlotIsActive,
    /// 422: the shares of a split do not make a split.
    BadSplit,
    /// 422: a guard or a lease that cannot be, or one with nothing to try.
    BadTrial,
    /// 409: there is no trial that this could be done to.
    NotArmed,
    /// 409: the worker goes by a state folder that nginx has left for another one.
    LeftBehind,
    /// 405: the path exists, for another method.
    MethodNotAllowed,
    /// 400: the body is not the JSON that is expected here.
    BadBody,
    /// 415: the body's type is not `application/json`.
    BadContentType,
    /// 400: `If-Match` is not a quoted generation.
    BadIfMatch,
    /// 413: the body is larger than [`MAX_BODY`].
    BodyTooLarge,
    /// 412: the route has changed since the generation in `If-Match`.
    GenerationMismatch,
    /// 401: the token is missing or wrong.
    Unauthorized,
    /// 403: this user, or this kind of connection, may not use the API.
    Forbidden,
    /// 403: the request comes from a web page.
    FromAPage,
    /// 403: this location only reads; changes need `cutover_api write=on`.
    ReadOnly,
    /// 500: nginx could not do it; its error log says why.
    Internal,
    /// 507: the route has moved in memory, but the state file could not be flushed to disk.
    NotDurable,
}

impl ErrorCode {
    /// The HTTP status that goes with the code.
    pub fn status(self) -> u16 {
        match self {
            Self::BadBody | Self::BadIfMatch => 400,
            Self::Unauthorized => 401,
            Self::Forbidden | Self::FromAPage | Self::ReadOnly => 403,
            Self::NotFound | Self::UnknownGroup => 404,
            Self::MethodNotAllowed => 405,
            Self::NotArmed | Self::LeftBehind => 409,
            Self::GenerationMismatch => 412,
            Self::BodyTooLarge => 413,
            Self::BadContentType => 415,
            Self::UnknownSlot | Self::SlotIsActive | Self::BadSplit | Self::BadTrial => 422,
            Self::Internal => 500,
            Self::NotDurable => 507,
        }
    }
}

impl Failure {
    /// A failure without a group attached.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { error: ErrorBody { code, message: message.into() }, group: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Responses;

    #[test]
    fn a_slot_of_an_older_module_is_read() {
        let counters = r#"{"requests":7,"attempts":7,"attempts_failed":0,"in_flight":1,
            "responses":{"1xx":0,"2xx":6,"3xx":0,"4xx":0,"5xx":0,"aborted":0}}"#;
        let json = format!(r#"{{"name":"blue","upstream":"shop_blue","peers":[],"counters":{counters}}}"#);
        let slot: Slot = serde_json::from_str(&json).unwrap();
        assert_eq!((slot.counters.requests, slot.previews), (7, Previews::default()));
        assert_eq!(slot.in_flight(), 1);
    }

    #[test]
    fn previews_come_back_as_they_were_sent() {
        let responses = Responses { success: 2, server_error: 1, ..Responses::default() };
        let previews = Previews { requests: 5, responses, in_flight: 2, upgraded: 1 };
        let json = serde_json::to_value(Slot { previews, ..Slot::default() }).unwrap();
        assert_eq!(json["previews"]["responses"]["5xx"], 1);
        assert_eq!(json["counters"]["requests"], 0, "they are no requests of users");
        assert_eq!(serde_json::from_value::<Slot>(json).unwrap().previews, previews);
    }
}
