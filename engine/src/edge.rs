//! The edge: what moves the traffic. An nginx with the module, or anything else that can move a group from slot to slot.

use cutover_core::api::{Group, RouteState};
use cutover_core::deployment::{Moved, Plan, Revision, TakenBackBy};

/// An edge.
pub trait Edge: Send + Sync + 'static {
    /// Its name in the configuration. Marks are kept by it.
    fn name(&self) -> &str;

    /// What it can do.
    fn abilities(&self) -> Abilities;

    /// Reads all groups.
    fn groups(&self) -> impl Future<Output = Result<Vec<Group>, EdgeError>> + Send;

    /// Reads one group.
    fn look(&self, group: &str) -> impl Future<Output = Result<Look, EdgeError>> + Send;

    /// Directs previews of the standby to this slot. Moves no traffic.
    fn stand_by(&self, group: &str, slot: &str) -> impl Future<Output = Result<(), EdgeError>> + Send;

    /// Moves the traffic of a group if its route has the expected revision. Returns the group as it is afterwards, once the change
    /// is on disk.
    fn shift(
        &self,
        group: &str,
        shift: &Shift,
        expected: &Revision,
    ) -> impl Future<Output = Result<Look, ShiftError>> + Send;
}

/// What an edge can do. A plan that needs more is refused at its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Once a shift has returned, no request goes to the old slot any more.
    pub exact: bool,
    /// It can give a second slot a share of the traffic.
    pub shares: bool,
    /// It takes a bad change back by itself.
    pub trials: bool,
    /// It counts answers by slot.
    pub counters: bool,
}

impl Abilities {
    /// What a plan needs and this edge cannot do. The text completes "the edge ..".
    pub fn missing_for(self, plan: &Plan) -> Option<&'static str> {
        if !self.exact {
            Some("does not move all requests at once")
        } else if !self.counters && !plan.soak.is_zero() {
            Some("counts no answers, so the new version cannot be watched")
        } else {
            None
        }
    }
}

/// A group as an edge sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The group: its route and its slots.
    pub group: Group,
    /// The revision of its route.
    pub revision: Revision,
    /// The revision that this one replaced, if the edge knows it.
    pub follows: Option<Revision>,
    /// What made the last move of the route, if it was the edge itself.
    pub taken_back: Option<TakenBackBy>,
}

impl Look {
    /// The route.
    pub fn route(&self) -> &RouteState {
        &self.group.route
    }

    /// What is said about a route that somebody else moved.
    pub fn moved(&self) -> Moved {
        moved(&self.group)
    }
}

/// The same for a group that was read among others.
pub fn moved(group: &Group) -> Moved {
    let route = &group.route;
    Moved {
        text: format!("somebody else moved the route of group \"{}\": {route}", group.name),
        active: route.active.clone(),
        settled: route.is_all_on(&route.active),
    }
}

/// A change of a route: all traffic to one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    /// The slot.
    pub to: String,
    /// Why, for the edge's log.
    pub reason: String,
    /// Whether the revision changes even if the slot has all the traffic already. An older change that is still under way can no
    /// longer be carried out after that.
    pub fence: bool,
}

/// Why an edge could not be read. The text is a whole clause and names what it speaks of.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EdgeError {
    /// No answer: it may be down, or about to come back.
    #[error("{subject} does not answer at {address}: {why}")]
    Unreachable {
        /// What does not answer, as in `nginx`.
        subject: &'static str,
        /// Where it should.
        address: String,
        /// What was tried.
        why: String,
    },
    /// It refused.
    #[error("{subject} refuses: {why}")]
    Refused {
        /// What refused.
        subject: &'static str,
        /// In its own words.
        why: String,
    },
    /// There are no credentials to send.
    #[error("no credentials for {subject}: {why}")]
    NoCredentials {
        /// What cannot be asked.
        subject: &'static str,
        /// What is wrong with the credentials.
        why: String,
    },
    /// The answer is not of the expected kind.
    #[error("{subject} gave an unexpected answer at {address}: {why}")]
    Unrecognised {
        /// What answered.
        subject: &'static str,
        /// Where.
        address: String,
        /// What is wrong with the answer.
        why: String,
    },
}

/// Why a route is not confirmed to have moved. The text is a whole clause.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ShiftError {
    /// Another change came first: the group as it is.
    #[error("the route was moved in the meantime: {}", .0.route())]
    Moved(Box<Look>),
    /// Refused: the route is where it was.
    #[error("{0}")]
    Refused(String),
    /// Nothing was sent: the route is where it was.
    #[error("{0}")]
    NotSent(EdgeError),
    /// The reply was lost: the route has moved or not.
    #[error("{0}")]
    Unknown(EdgeError),
    /// The route has moved, but a power loss would move it back.
    #[error("{0}")]
    NotDurable(String),
}
