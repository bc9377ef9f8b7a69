//! What the drivers of deployments that move together know of each other.
//!
//! Each driver publishes its state when that is in the journal, and says when its work waits for the others. Nobody passes a point
//! that not all have reached, see [`cutover_core::deployment::Progress`].

use std::collections::BTreeMap;
use std::sync::Arc;

use cutover_core::deployment::{CauseKind, Departure, State};
use tokio::sync::watch;

use crate::journal::{Deployment, Unfinished};

/// The deployments that move together. Clones share it.
#[derive(Clone, Debug)]
pub struct Companions {
    all: Arc<watch::Sender<BTreeMap<String, Seen>>>,
}

/// A deployment as its companions see it.
#[derive(Clone, Debug)]
struct Seen {
    deployment: Arc<Deployment>,
    state: State,
    /// Whether the work of its phase waits for the others.
    is_ready: bool,
}

/// A companion that goes forward no more.
#[derive(Clone, Debug)]
pub(crate) struct Departed {
    pub(crate) deployment: Arc<Deployment>,
    pub(crate) how: Departure,
}

impl Companions {
    /// Deployments that move together, with their last states. The ones that have ended are among them.
    pub fn new(entries: impl IntoIterator<Item = Unfinished>) -> Self {
        let seen = |Unfinished { deployment, state }| {
            (deployment.id.clone(), Seen { deployment: Arc::new(deployment), state, is_ready: false })
        };
        Self { all: Arc::new(watch::Sender::new(entries.into_iter().map(seen).collect())) }
    }

    /// Shows the last state of a deployment that something else than its driver has ended.
    pub fn ended(&self, deployment: &str, state: &State) {
        self.of(deployment).publish(state);
    }

    /// How one of the deployments sees the others.
    pub(crate) fn of(&self, deployment: &str) -> Others {
        Others { own: deployment.to_owned(), companions: self.clone() }
    }
}

/// The companions of one deployment.
#[derive(Clone, Debug)]
pub(crate) struct Others {
    own: String,
    companions: Companions,
}

impl Others {
    /// Publishes the state of this deployment, whose work begins.
    pub(crate) fn publish(&self, state: &State) {
        self.companions.all.send_modify(|all| {
            if let Some(seen) = all.get_mut(&self.own) {
                (seen.state, seen.is_ready) = (state.clone(), false);
            }
        });
    }

    /// Says that this deployment waits where it is, and returns when all have reached that point.
    pub(crate) async fn all_here(&self) {
        self.companions.all.send_if_modified(|all| {
            let own = all.get_mut(&self.own);
            own.is_some_and(|seen| !std::mem::replace(&mut seen.is_ready, true))
        });
        let mut changes = self.companions.all.subscribe();
        // The sender is in `self`.
        let _ = changes.wait_for(|all| self.is_open(all)).await;
    }

    /// Stops waiting. Returns false if all have reached the point meanwhile: others may have passed it, so this one must, too.
    pub(crate) fn leaves(&self) -> bool {
        let mut leaves = false;
        self.companions.all.send_if_modified(|all| {
            leaves = !self.is_open(all);
            if let Some(seen) = all.get_mut(&self.own).filter(|_| leaves) {
                seen.is_ready = false;
            }
            leaves
        });
        leaves
    }

    /// Waits until a companion that `counts` does not go forward any more.
    pub(crate) async fn departed(&self, counts: impl Fn(&Departed) -> bool) -> Departed {
        let mut changes = self.companions.all.subscribe();
        loop {
            if let Some(departed) = self.first_departed(&changes.borrow_and_update(), &counts) {
                return departed;
            }
            // The sender is in `self`.
            let _ = changes.changed().await;
        }
    }

    /// The companions that go back or have gone back.
    pub(crate) fn gone_back(&self) -> Vec<Arc<Deployment>> {
        let all = self.companions.all.borrow();
        let others = all.iter().filter(|(id, _)| **id != self.own).map(|(_, seen)| seen);
        let back = others.filter(|seen| matches!(seen.state.departure(), Some(Departure::Back(_))));
        back.map(|seen| Arc::clone(&seen.deployment)).collect()
    }

    fn is_open(&self, all: &BTreeMap<String, Seen>) -> bool {
        let Some(own) = all.get(&self.own) else { return false };
        let others = all.iter().filter(|(id, _)| **id != self.own).map(|(_, seen)| seen);
        own.is_ready && own.state.may_pass(others.map(|seen| seen.state.progress(seen.is_ready)))
    }

    /// The one that went first, as far as the causes say.
    fn first_departed(
        &self,
        all: &BTreeMap<String, Seen>,
        counts: impl Fn(&Departed) -> bool,
    ) -> Option<Departed> {
        let others = all.iter().filter(|(id, _)| **id != self.own).map(|(_, seen)| seen);
        let departed = others.filter_map(|seen| {
            let how = seen.state.departure()?;
            Some(Departed { deployment: Arc::clone(&seen.deployment), how })
        });
        let has_followed = |departed: &Departed| match &departed.how {
            Departure::Back(cause) => cause.kind == CauseKind::Companion,
            Departure::Stuck(_) => true,
        };
        departed.filter(counts).min_by_key(has_followed)
    }
}
