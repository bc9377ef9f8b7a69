//! The edge: whatever moves the traffic. One adapter so far, the nginx module's admin API.

use cutover_core::api::{Group, Groups, RouteChange};

mod module;
mod token;

pub use module::Module;
pub use token::{TokenError, TokenFile};

/// Why the edge could not be read. Text completes "nginx ..".
#[derive(Clone, Debug, thiserror::Error)]
pub enum EdgeError {
    /// No answer: it may be down, or about to come back.
    #[error("does not answer at {address}: {why}")]
    Unreachable {
        /// Where it should.
        address: String,
        /// What was tried.
        why: String,
    },
    /// It refused.
    #[error("refuses: {0}")]
    Refused(String),
    /// It asks for a token, and there is none to send.
    #[error("cannot be asked: {0}")]
    NoToken(TokenError),
    /// It answered something else than the admin API does.
    #[error("gave an answer that is not the admin API's at {address}: {why}")]
    Alien {
        /// Where.
        address: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Why the route is not confirmed to have moved.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SwitchError {
    /// Another change came first: the group as it is.
    #[error("the route has moved meanwhile: \"{}\" is active, generation {}", .0.route.active, .0.route.generation)]
    Moved(Box<Group>),
    /// Refused: the route is where it was.
    #[error("nginx refuses: {0}")]
    Refused(String),
    /// Nothing was sent: the route is where it was.
    #[error("nginx {0}")]
    NotSent(EdgeError),
    /// The reply was lost: the route has moved or not.
    #[error("nginx {0}")]
    Unknown(EdgeError),
    /// The route has moved, but a power loss would move it back.
    #[error("nginx could not write the switch to disk: {0}")]
    NotDurable(String),
}

/// An adapter.
pub trait Edge: Send + Sync + 'static {
    /// All groups.
    fn groups(&self) -> impl Future<Output = Result<Groups, EdgeError>> + Send;

    /// One group.
    fn group(&self, name: &str) -> impl Future<Output = Result<Group, EdgeError>> + Send;

    /// Lets `cutover_slot standby` lead to this slot. Moves no traffic.
    fn stand_by(&self, group: &str, slot: &str) -> impl Future<Output = Result<(), EdgeError>> + Send;

    /// Moves the route of a group to a slot if its generation is the expected one. The group as it is after the store. With a
    /// fence the generation moves even if the slot is active already, so no older change can be carried out any more.
    fn switch(
        &self,
        group: &str,
        change: &RouteChange,
        expected: u32,
    ) -> impl Future<Output = Result<Group, SwitchError>> + Send;
}
