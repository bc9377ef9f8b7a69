//! The commands that run by hand, or beside another deployment, at this moment. Each holds a place, so that nothing begins that it
//! would disturb. The place is free again however the command ends, by a panic too.

use std::collections::BTreeMap;
use std::sync::Arc;

use cutover_engine::world::World;
use parking_lot::Mutex;
use tokio::task::{AbortHandle, JoinHandle};

use super::Rerun;
use crate::control::{Control, NotRun, Refusal};

/// By group and slot. A command for the database alone has no slot.
pub(in crate::control) type Reruns = BTreeMap<Place, Rerunning>;

/// The group, and the slot if the command concerns one.
pub(super) type Place = (String, Option<String>);

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Work {
    /// A command of a deployment.
    Command(Rerun),
    /// `cutover database`, by a migration or a revert of the daemon itself.
    Database,
}

/// A command that runs.
#[derive(Debug)]
pub(in crate::control) struct Rerunning {
    /// The deployment whose command it is.
    pub(in crate::control) deployment: String,
    pub(in crate::control) work: Work,
    pub(super) task: AbortHandle,
    /// Its own, by address: the place may have gone to the next command.
    token: Arc<()>,
}

/// Frees a place when it is dropped, unless the place has gone to another command.
struct Freed {
    reruns: Arc<Mutex<Reruns>>,
    place: Place,
    token: Arc<()>,
}

impl Drop for Freed {
    fn drop(&mut self) {
        let mut reruns = self.reruns.lock();
        if reruns.get(&self.place).is_some_and(|running| Arc::ptr_eq(&running.token, &self.token)) {
            reruns.remove(&self.place);
        }
    }
}

impl Work {
    /// Its name, as it is typed.
    pub(in crate::control) fn name(self) -> &'static str {
        match self {
            Self::Command(command) => command.as_str(),
            Self::Database => "cutover database",
        }
    }

    /// Whether it changes the database.
    pub(in crate::control) fn changes_database(self) -> bool {
        matches!(self, Self::Database | Self::Command(Rerun::Revert))
    }
}

impl Rerunning {
    /// Why nothing else is begun for the group.
    pub(super) fn refusal(&self, group: &str) -> Refusal {
        let ends = self.work != Work::Command(Rerun::Switched);
        NotRun::Rerunning { group: group.to_owned(), which: self.work.name(), ends, by_force: None }.into()
    }
}

impl<W: World> Control<W> {
    /// Runs something in a place until its end. It goes on if the caller disconnects.
    pub(super) fn run_in<T: Send + 'static>(
        &self,
        place: Place,
        (deployment, work): (String, Work),
        running: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> JoinHandle<Result<T, Refusal>> {
        let (token, mut reruns) = (Arc::new(()), self.reruns());
        let (all, of_task) = (Arc::clone(&self.reruns), (place.clone(), Arc::clone(&token)));
        let task = tokio::spawn(async move {
            // Made here, so that a task which a runtime drops at once does not wait for the lock that is held below.
            let (place, token) = of_task;
            let _freed = Freed { reruns: all, place, token };
            running.await
        });
        reruns.insert(place, Rerunning { deployment, work, task: task.abort_handle(), token });
        task
    }
}

/// What the work has come to.
pub(super) async fn end_of<T>(work: Work, task: JoinHandle<Result<T, Refusal>>) -> Result<T, Refusal> {
    task.await.unwrap_or_else(|error| {
        let name = work.name();
        Err(Refusal::Interrupted(match error.is_panic() {
            true => {
                format!("a bug of the daemon has ended {name}, and its log says more; see: cutover status")
            }
            false => format!("{name} was ended, by an abort or by the end of the daemon"),
        }))
    })
}
