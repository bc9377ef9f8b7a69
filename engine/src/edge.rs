//! The trait of an edge: nginx with the module, or another system that moves a group from slot to slot.

use std::time::Duration;

use cutover_core::api::{Group, GuardTerms, RouteState};
use cutover_core::deployment::{Moved, Plan, Revision, TakenBackBy};
use cutover_core::event;
use cutover_core::fraction::Percent;

use crate::policy::Policy;

/// An edge.
pub trait Edge: Send + Sync + 'static {
    /// Its name in the configuration. Marks use the name as key.
    fn name(&self) -> &str;

    /// The abilities of the edge.
    fn abilities(&self) -> Abilities;

    /// Reads all groups.
    fn groups(&self) -> impl Future<Output = Result<Vec<Group>, EdgeError>> + Send;

    /// Reads one group.
    fn look(&self, group: &str) -> impl Future<Output = Result<Look, EdgeError>> + Send;

    /// Directs previews of the standby to a slot. Moves no traffic.
    fn stand_by(&self, group: &str, slot: &str) -> impl Future<Output = Result<(), EdgeError>> + Send;

    /// Moves the traffic of a group if its route has the expected revision. Returns the group after the change, when the
    /// change is on disk.
    fn shift(
        &self,
        group: &str,
        shift: &Shift,
        expected: &Revision,
    ) -> impl Future<Output = Result<Look, ShiftError>> + Send;

    /// Moves the end of the lease of a change on trial to this much from now. An edge without trials only reads the group.
    fn renew(
        &self,
        group: &str,
        lease: Duration,
        expected: &Revision,
    ) -> impl Future<Output = Result<Look, ShiftError>> + Send;

    /// Makes a change on trial permanent. Returns the group, when that is on disk. A change that is permanent already stays so.
    fn confirm(
        &self,
        group: &str,
        reason: &str,
        expected: &Revision,
    ) -> impl Future<Output = Result<Look, ShiftError>> + Send;
}

/// The words for a version of which nothing is seen but its probes.
pub const PROBES_ONLY: &str = "watched by probes only";

/// The abilities of an edge. A deployment that needs more is refused before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// When requests follow a shift.
    pub follow: Follow,
    /// It can take a bad change back by itself.
    pub trials: bool,
    /// It counts answers by slot.
    pub counters: bool,
    /// It can give a slot a part of the traffic.
    pub shares: bool,
}

/// When requests follow a shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Follow {
    /// After the shift has returned, no new request goes to the old slot.
    AtOnce,
    /// The edge reloads nginx, and its old workers go on with the old slot.
    NewWorkers,
    /// Proxies hear of the shift from somebody else, each at its own time.
    Propagated,
}

impl Follow {
    /// What that costs, in one clause.
    fn price(self) -> Option<&'static str> {
        match self {
            Self::AtOnce => None,
            Self::NewWorkers => Some(
                "this edge reloads nginx, so workers that are shutting down may use the old slot for a while",
            ),
            Self::Propagated => Some(
                "this edge tells its proxies, so some may use the old slot for a moment after the change",
            ),
        }
    }
}

impl Abilities {
    /// What a deployment goes without on this edge, one clause each.
    pub fn goes_without(self, policy: &Policy) -> Vec<&'static str> {
        let clauses = [
            (
                !self.trials && policy.wants_trial(),
                "this edge cannot take a bad version back by itself, so that waits for the daemon",
            ),
            (self.leaves_probes_only(policy), PROBES_ONLY),
        ];
        let told = clauses.into_iter().filter_map(|(is_so, clause)| is_so.then_some(clause));
        self.follow.price().into_iter().chain(told).collect()
    }

    /// Whether nothing but probes shows how a new version does.
    pub fn leaves_probes_only(self, policy: &Policy) -> bool {
        !self.counters && policy.soak.synthetic.is_none() && policy.signal.is_empty()
    }

    /// An ability that a plan needs and this edge does not have. The text completes "the edge ..".
    pub fn missing_for(self, plan: &Plan) -> Option<&'static str> {
        (!self.shares && plan.steps.last() > 0)
            .then_some("moves all traffic at once, so it cannot move it in steps")
    }
}

/// A reading of a group from an edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The group: its route and its slots.
    pub group: Group,
    /// The revision of its route.
    pub revision: Revision,
    /// The revision before this one, if the edge knows it.
    pub follows: Option<Revision>,
    /// The rule by which the edge itself made the last move of the route, if it did.
    pub taken_back: Option<TakenBackBy>,
    /// The reason that the last move of the route was given, if the edge knows it.
    pub reason: Option<String>,
}

impl Look {
    /// The route.
    pub fn route(&self) -> &RouteState {
        &self.group.route
    }

    /// Why the traffic goes there, in the words of the edge; empty if it does not know. Where the edge keeps events, a fence that
    /// came later and moved nothing is no reason.
    pub fn why(&self) -> String {
        let is_known =
            self.group.events.last().is_some_and(|last| last.generation == self.route().generation);
        let (by, given) = match event::last_move(&self.group.events).filter(|_| is_known) {
            Some(moved) => (moved.taken_back_by(), Some(&moved.reason)),
            None => (self.taken_back, self.reason.as_ref()),
        };
        let given = given.cloned().unwrap_or_default();
        match by {
            Some(by) if given.is_empty() => by.to_string(),
            Some(by) => format!("{by}: {given}"),
            None => given,
        }
    }

    /// The route, described as moved by somebody else.
    pub fn moved(&self) -> Moved {
        moved(&self.group)
    }
}

/// The route of a group, described as moved by somebody else.
pub fn moved(group: &Group) -> Moved {
    let route = &group.route;
    Moved {
        text: format!("somebody else moved the route of group \"{}\": {route}", group.name),
        active: route.active.clone(),
        settled: route.is_all_on(&route.active),
    }
}

/// A change of a route that gives traffic to a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    /// The slot.
    pub to: String,
    /// The share that it gets. `None`: all traffic.
    pub share: Option<Partial>,
    /// The reason, for the edge's log.
    pub reason: String,
    /// When the edge takes the traffic back by itself; `None`: never.
    pub trial: Option<TrialTerms>,
    /// Whether the revision changes even if the slot already has all the traffic. Then an older change that is still in
    /// transit can no longer take effect.
    pub fence: bool,
}

/// A part of the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// The share.
    pub percent: Percent,
    /// The slot that keeps the rest.
    pub rest: String,
}

impl Shift {
    /// Whether a route is as this shift makes it.
    pub fn is_on(&self, route: &RouteState) -> bool {
        is_on(route, &self.to, self.share.as_ref())
    }
}

/// Whether a route gives a slot this share. `None`: all traffic.
pub fn is_on(route: &RouteState, to: &str, share: Option<&Partial>) -> bool {
    match share {
        Some(Partial { percent, rest }) => route.active == *rest && route.share(to) == Some(*percent),
        None => route.active == to,
    }
}

/// The terms of a change on trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrialTerms {
    /// The traffic goes back unless the change is confirmed or renewed in this time.
    pub lease: Option<Duration>,
    /// The traffic goes back when too many requests fail.
    pub guard: Option<GuardTerms>,
    /// A request that fails is tried again on the slot that had the traffic.
    pub rescue: bool,
}

impl TrialTerms {
    /// Whether they ask for anything.
    pub fn is_armed(&self) -> bool {
        self.lease.is_some() || self.guard.is_some() || self.rescue
    }
}

/// Why an edge could not be read. The text is a whole clause and names the edge's subject.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EdgeError {
    /// The edge does not answer. It may be restarting.
    #[error("{subject} does not answer at {address}: {why}")]
    Unreachable {
        /// The subject, as in `nginx`.
        subject: &'static str,
        /// The address that was tried.
        address: String,
        /// The reason.
        why: String,
    },
    /// The edge refused.
    #[error("{subject} refuses: {why}")]
    Refused {
        /// The subject.
        subject: &'static str,
        /// The edge's own message.
        why: String,
    },
    /// The credentials cannot be read.
    #[error("no credentials for {subject}: {why}")]
    NoCredentials {
        /// The subject.
        subject: &'static str,
        /// Why they cannot be read.
        why: String,
    },
    /// There is no edge to ask.
    #[error("the group has no edge")]
    NoEdge,
    /// One edge of several did not answer in time.
    #[error("there is no answer within {}", humantime::format_duration(*limit))]
    Late {
        /// How long it had.
        limit: Duration,
    },
    /// An error of one edge of several that stands for all. Errors by edge do not name it.
    #[error("edge \"{edge}\": {error}")]
    OfOne {
        /// The edge.
        edge: String,
        /// The error.
        error: Box<EdgeError>,
    },
    /// A file or a program of the edge cannot be used.
    #[error("{what} cannot be used: {why}")]
    Unusable {
        /// The file or the program.
        what: String,
        /// The reason and the next step.
        why: String,
    },
    /// The answer has an unexpected form.
    #[error("{subject} gave an unexpected answer at {address}: {why}")]
    Unrecognised {
        /// The subject.
        subject: &'static str,
        /// The address.
        address: String,
        /// The difference.
        why: String,
    },
}

impl EdgeError {
    /// The error as that of one edge of several.
    pub fn of(self, edge: &str) -> Self {
        Self::OfOne { edge: edge.to_owned(), error: Box::new(self) }
    }
}

/// Why a shift is not confirmed. The text is a whole clause.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ShiftError {
    /// Another change came first. Holds the current group.
    #[error("the route was moved in the meantime: {}", .0.route())]
    Moved(Box<Look>),
    /// The edge refused, and the route has not moved.
    #[error("{0}")]
    Refused(String),
    /// Nothing was sent, so the route has not moved.
    #[error("{0}")]
    NotSent(EdgeError),
    /// The reply was lost. The route may or may not have moved.
    #[error("{0}")]
    Unknown(EdgeError),
    /// The route has moved, but a power loss would move it back.
    #[error("{0}")]
    NotDurable(String),
}
