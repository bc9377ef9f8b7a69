//! The wire types of the module's admin API: JSON over HTTP, on the socket of a location with `cutover_api`.
//!
//! | call | answer |
//! |---|---|
//! | `GET /v1/groups` | [`Groups`] |
//! | `GET /v1/groups/NAME` | [`Group`] |
//! | `PUT /v1/groups/NAME/route` with [`RouteChange`] | [`Group`] as it is after the change |
//!
//! Each [`Group`] comes with `ETag: "GENERATION"`. A change may carry `If-Match: "GENERATION"`; when the route has moved
//! since, the answer is 412 with a [`Failure`] that holds the current group. Every other failure is a [`Failure`] too.

use serde::{Deserialize, Serialize};

use crate::counters::Counters;

mod call;

pub use call::{Call, parse_call, parse_if_match, parse_route_change};

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
}

/// One slot of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Name in the configuration: `slot NAME UPSTREAM`.
    pub name: String,
    /// The nginx upstream behind the slot.
    pub upstream: String,
    /// The servers of that upstream as nginx balances over them now.
    pub peers: Vec<Peer>,
    /// What this slot has been sent and has answered since nginx started; kept over reloads.
    pub counters: Counters,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// `IP:PORT`, `[IP6]:PORT` or `unix:PATH`.
    pub address: String,
    /// Tried only when the others are not available.
    pub backup: bool,
    /// Marked `down` in the configuration: gets no traffic.
    pub down: bool,
}

/// Body of `PUT /v1/groups/NAME/route`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteChange {
    /// The slot that shall take all traffic.
    pub active: String,
    /// Moves the generation also when the slot is active already: from then on an older `If-Match` fits no more. For callers
    /// who do not know whether an earlier change of theirs is still under way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fence: bool,
    /// Why, for the log: at most 200 characters are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    pub error: ErrorBody,
    /// With [`ErrorCode::GenerationMismatch`]: the group as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
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
    /// 403: this user, or this kind of connection, may not use the API.
    Forbidden,
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
            Self::Forbidden | Self::ReadOnly => 403,
            Self::NotFound | Self::UnknownGroup => 404,
            Self::MethodNotAllowed => 405,
            Self::GenerationMismatch => 412,
            Self::BodyTooLarge => 413,
            Self::BadContentType => 415,
            Self::UnknownSlot => 422,
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
