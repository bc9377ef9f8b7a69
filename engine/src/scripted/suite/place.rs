//! The place of a journal, and a deployment that is driven there.

use std::sync::Arc;

use cutover_core::deployment::{State, Time};

use crate::clock::Clock;
use crate::driver::Driver;
use crate::journal::{Deployment, Journal, JournalError};
use crate::scripted::{Scripted, deployment};

/// The place of a journal, such as a folder. It survives the process that writes the journal.
pub trait Place {
    /// The journal.
    type Journal: Journal;

    /// Opens the journal, as a process does when it starts.
    fn open(&self) -> Self::Journal;

    /// Writes a new deployment and its first state.
    fn begin(
        &self,
        journal: &Self::Journal,
        deployment: Deployment,
        state: &State,
    ) -> impl Future<Output = ()> + Send;
}

/// Opens the journal and begins the usual deployment.
pub(super) async fn begin<P: Place>(place: &P) -> P::Journal {
    begin_this(place, deployment()).await
}

/// Opens the journal and begins a deployment.
pub(super) async fn begin_this<P: Place>(place: &P, deployment: Deployment) -> P::Journal {
    let journal = place.open();
    let state = deployment.plan.begin(Time(1_000));
    place.begin(&journal, deployment, &state).await;
    journal
}

/// Drives the open deployment like a process that has just started. `None` if there is no open deployment.
pub(super) async fn drive<J: Journal>(
    world: &Arc<Scripted>,
    journal: J,
    now: u64,
) -> Option<Result<State, JournalError>> {
    let entry = journal.open().await.expect("the journal can be read").pop()?;
    let clock = Clock::starting_at(Time(now));
    let (driver, _handle) = Driver::new(Arc::clone(world), journal, clock, entry);
    Some(driver.run().await)
}
