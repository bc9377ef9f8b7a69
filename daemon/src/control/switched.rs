//! The hook `switched` of a group: a command that is told where the traffic goes, whoever has moved it.
//!
//! ```text
//! vigil's look of each round --+
//! driver, switch by hand ------+-> does the journal say that the hook knows it? -> no: run the hook -> journal -> look again
//! ```
//!
//! The hook follows the route, not the deployment. What it was told last is in the journal, so it is told of each change at least
//! once, also over a restart and by the next leader. One hook of a group runs at a time, so the order is kept; of what happens
//! meanwhile, it is told the last state. Nothing waits for it: neither a way back nor the next deployment.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use cutover_core::deployment::{Revision, State, Time};
use cutover_engine::commands::{Failed, Job};
use cutover_engine::fleet::View;
use cutover_engine::metrics;
use cutover_engine::policy::Switched;
use cutover_engine::standing::Standing;
use cutover_engine::world::World;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::running::SETTLING;
use super::{Control, NotRun, Refusal, Rerun};
use crate::journal::{JournalError, Told};

mod status;

pub use status::HookStatus;

/// Pause between two looks at a task.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// Its name in messages, in metrics, and of the file of its output.
const NAME: &str = "switched";

/// The hooks of all groups.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    groups: Mutex<BTreeMap<String, OfGroup>>,
    /// Whether the abandoned hooks of the daemon before have ended, so that new ones may run.
    may_run: AtomicBool,
}

/// The hook of one group.
#[derive(Debug, Default)]
struct OfGroup {
    /// The routes of which the hook has nothing to be told, by edge.
    known: Option<BTreeMap<String, Revision>>,
    telling: Option<Telling>,
    /// What it was told, while the journal cannot be written: it is not told that again.
    unwritten: Option<Told>,
}

impl OfGroup {
    /// Whether a task tells it. One that has panicked does not.
    fn is_telling(&self) -> bool {
        self.telling.as_ref().is_some_and(|telling| !telling.task.is_finished())
    }
}

/// A task that tells it.
#[derive(Debug)]
struct Telling {
    task: AbortHandle,
    /// Since when the hook runs. `None`: the task only looks.
    since: Option<Time>,
}

/// What came of a look at the route.
enum Looked {
    /// The hook was told. The route may have moved meanwhile.
    Told,
    /// It has nothing to be told.
    Known,
}

/// The id under which the commands of a group's hook run. No deployment has such an id, so none ends them.
fn id(group: &str) -> String {
    format!("{group}.{NAME}")
}

impl<W: World> Control<W> {
    /// Looks at a reading of a group, and begins to tell its hook what that does not know. Waits for nothing.
    pub(super) fn notice(&self, group: &str, view: &View) {
        let mut hooks = self.hooks.groups.lock();
        let its = hooks.entry(group.to_owned()).or_default();
        if !self.journal.leads() {
            // Another daemon tells.
            its.known = None;
            return;
        }
        let may_run = self.hooks.may_run.load(Ordering::Acquire);
        if !may_run || its.is_telling() || its.known.as_ref() == Some(&view.revisions()) {
            return;
        }
        let (control, name) = (self.clone(), group.to_owned());
        let task = tokio::spawn(async move {
            let known = control.tell_all(&name).await;
            let mut hooks = control.hooks.groups.lock();
            if let Some(its) = hooks.get_mut(&name) {
                // While its record is not written, each round tries again.
                its.known = known.filter(|_| its.unwritten.is_none());
                its.telling = None;
            }
        });
        its.telling = Some(Telling { task: task.abort_handle(), since: None });
    }

    /// Looks at a group whose traffic may just have moved, so that its hook is told at once.
    pub(super) async fn nudge(&self, group: &str) {
        if self.policy(group).is_ok_and(|policy| policy.switched.is_some())
            && let Ok(view) = self.fleet(group).look_quickly(group).await
        {
            self.notice(group, &view);
        }
    }

    /// Looks at the group with each new state of a deployment.
    pub(super) fn nudge_along(&self, group: &str, mut state: watch::Receiver<State>) {
        let (control, group) = (self.clone(), group.to_owned());
        tokio::spawn(async move {
            while state.changed().await.is_ok() {
                control.nudge(&group).await;
            }
        });
    }

    /// Tells the hook until it knows the route. Returns the route that it knows. `None`: that is not certain, and the next round
    /// looks again.
    async fn tell_all(&self, group: &str) -> Option<BTreeMap<String, Revision>> {
        loop {
            let view = self.fleet(group).look_quickly(group).await.ok()?;
            match self.tell_one(group, &view).await {
                Ok(Looked::Told) => {}
                Ok(Looked::Known) => return Some(view.revisions()),
                Err(error) => {
                    tracing::warn!(group, %error, "the hook cannot be told of the route; trying again");
                    return None;
                }
            }
        }
    }

    async fn tell_one(&self, group: &str, view: &View) -> Result<Looked, JournalError> {
        let Ok(policy) = self.policy(group) else { return Ok(Looked::Known) };
        let hook = policy.switched.as_ref();
        let journal = self.journal.pinned();
        let last = match self.unwritten(group).await {
            Some(told) => Some(told),
            None => journal.told(group).await?,
        };
        let is_first = last.is_none();
        let standing = match is_first {
            true => Standing::of(view, Standing::active),
            false if hook.is_some_and(|hook| hook.each_step) => Standing::of(view, Standing::step),
            false => Standing::of(view, Standing::whole),
        };
        let Some(standing) = standing else { return Ok(Looked::Known) };
        let to_version = journal.version_in(group, &standing.slot).await?.unwrap_or_default();
        let begun = last.as_ref().filter(|last| standing.is_in(last.last_told(), &to_version));
        if begun.is_some_and(|last| !last.is_begun) {
            return Ok(Looked::Known);
        }
        let (from, from_version) = match (&standing.rest, begun.or(last.as_ref())) {
            // It is told this again.
            (_, Some(last)) if begun.is_some() => (last.from.clone(), last.from_version.clone()),
            (Some(rest), _) => (rest.clone(), journal.version_in(group, rest).await?.unwrap_or_default()),
            (None, Some(last)) => standing.before(last.last_told()),
            (None, None) => Default::default(),
        };
        let under_way = journal.open_deployments().await?;
        let under_way = under_way.into_iter().find(|entry| entry.deployment.plan.group == group);
        let told = Told {
            group: group.to_owned(),
            at: self.clock.now(),
            from,
            from_version,
            to: standing.slot,
            to_version,
            share: standing.share,
            reason: standing.reason,
            deployment: under_way.map(|entry| entry.deployment.id),
            is_begun: false,
            failed: None,
        };
        // What was there before the daemon is no change. Without a hook there is nobody to tell, now or later.
        let failed = match hook.filter(|_| !is_first) {
            Some(hook) => {
                // The hook may know it from here on, whatever becomes of this daemon.
                self.write_told(Told { is_begun: true, ..told.clone() }).await;
                self.run_hook(hook, &told).await.err()
            }
            None => None,
        };
        let failed = failed.map(|failed| failed.reason);
        self.write_told(Told { failed, ..told }).await;
        Ok(if is_first { Looked::Known } else { Looked::Told })
    }

    /// Records what a hook was told, or remembers it while the journal cannot be written.
    async fn write_told(&self, told: Told) {
        let written = self.journal.pinned().tell(told.clone()).await;
        let mut hooks = self.hooks.groups.lock();
        let Some(its) = hooks.get_mut(&told.group) else { return };
        its.unwritten = written.is_err().then_some(told);
        if let Err(error) = written {
            tracing::warn!(%error, "failed to record what a hook was told; trying again");
        }
    }

    /// What the hook was told and the journal does not have. Tries to write it.
    async fn unwritten(&self, group: &str) -> Option<Told> {
        let told = self.hooks.groups.lock().get(group)?.unwritten.clone()?;
        self.write_told(told.clone()).await;
        Some(told)
    }

    /// Runs the hook, and notes if it fails.
    async fn run_hook(&self, hook: &Switched, told: &Told) -> Result<(), Failed> {
        let Told { group, from, to, share, .. } = told;
        let id = id(group);
        // A daemon that was killed may have left one. Its output is not kept: a hook runs for years.
        if let Err(error) = self.world.end(&id).await {
            tracing::warn!(group, error, "failed to end an abandoned hook");
        }
        self.world.forget(&id).await;
        if let Some(telling) = self.hooks.groups.lock().get_mut(group).and_then(|its| its.telling.as_mut()) {
            telling.since = Some(self.clock.now());
        }
        let job = Job {
            name: NAME.to_owned(),
            deployment: id,
            command: hook.to_run(),
            environment: self.environment(told),
        };
        let done = self.world.run(&job).await;
        metrics::hook(group, NAME, done.is_ok());
        match &done {
            Ok(()) => tracing::info!(group, from, to, %share, "the hook \"switched\" was told"),
            Err(failed) => self.note_failure(told, failed).await,
        }
        done
    }

    fn environment(&self, told: &Told) -> BTreeMap<String, String> {
        let Told { group, from, from_version, to, to_version, share, reason, deployment, .. } = told;
        let variables = self.policy(group).map(|policy| policy.env).unwrap_or_default();
        let own = [
            ("CUTOVER_GROUP", group.clone()),
            ("CUTOVER_FROM", from.clone()),
            ("CUTOVER_FROM_VERSION", from_version.clone()),
            ("CUTOVER_TO", to.clone()),
            ("CUTOVER_TO_VERSION", to_version.clone()),
            ("CUTOVER_SHARE", f64::from(*share).to_string()),
            ("CUTOVER_REASON", reason.clone()),
            ("CUTOVER_DEPLOYMENT", deployment.clone().unwrap_or_default()),
        ];
        variables.into_iter().chain(own.map(|(name, value)| (name.to_owned(), value))).collect()
    }

    async fn note_failure(&self, told: &Told, failed: &Failed) {
        let group = &told.group;
        let again = status::again(group);
        let why = &failed.reason;
        tracing::warn!(
            group,
            from = told.from,
            to = told.to,
            why,
            "the hook \"switched\" has failed; to run it again: {again}"
        );
        let Some(id) = &told.deployment else { return };
        let Ok(Some(entry)) = self.journal.entry(id).await else { return };
        let below = failed.below();
        let message = format!("{why}; nothing waits for it; to run it again, type: {again}{below}");
        let noted = self.journal.note(id, self.clock.now(), entry.state.phase.name(), &message).await;
        if let Err(error) = noted {
            tracing::warn!(deployment = id, %error, "failed to write a note");
        }
    }

    /// Tells the hook once more what it was told last, and waits for its end. Returns the id under which it has run.
    pub(super) async fn tell_again(&self, group: &str) -> Result<String, Refusal> {
        if !self.hooks.may_run.load(Ordering::Acquire) {
            return Err(Refusal::Resuming);
        }
        let policy = self.policy(group)?;
        let which = Rerun::Switched.as_str();
        let nothing = || NotRun::NothingToRun { group: group.to_owned(), which, wanted: None };
        let hook = policy.switched.ok_or_else(nothing)?;
        let last = self.journal.told(group).await?.ok_or_else(nothing)?;
        self.looked(group).await;
        let task = {
            let mut hooks = self.hooks.groups.lock();
            let its = hooks.entry(group.to_owned()).or_default();
            if its.is_telling() {
                return Err(NotRun::Rerunning {
                    group: group.to_owned(),
                    which,
                    ends: false,
                    by_force: None,
                }
                .into());
            }
            let control = self.clone();
            let task = tokio::spawn(async move {
                let told = Told { at: control.clock.now(), is_begun: false, failed: None, ..last };
                let done = control.run_hook(&hook, &told).await;
                let failed = done.as_ref().err().map(|failed| failed.reason.clone());
                let group = told.group.clone();
                control.write_told(Told { failed, ..told }).await;
                if let Some(its) = control.hooks.groups.lock().get_mut(&group) {
                    // The next round looks at the route.
                    (its.known, its.telling) = (None, None);
                }
                match done {
                    Ok(()) => Ok(()),
                    Err(failed) => Err(NotRun::failed(failed).into()),
                }
            });
            its.telling = Some(Telling { task: task.abort_handle(), since: None });
            task
        };
        let done = task.await;
        done.unwrap_or_else(|_| Err(Refusal::Interrupted(format!("{which} was ended"))))?;
        Ok(id(group))
    }

    /// Waits for a task that only looks at the route, which takes a moment.
    async fn looked(&self, group: &str) {
        let only_looks = || {
            let hooks = self.hooks.groups.lock();
            let telling =
                hooks.get(group).filter(|its| its.is_telling()).and_then(|its| its.telling.as_ref());
            telling.is_some_and(|telling| telling.since.is_none())
        };
        let looked = async {
            while only_looks() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let _ = tokio::time::timeout(SETTLING, looked).await;
    }

    /// Lets hooks run from now on.
    pub(super) fn begin_hooks(&self) {
        self.hooks.may_run.store(true, Ordering::Release);
    }

    /// Ends the hooks that run, and begins none. The next daemon, or the next leader, tells them again.
    pub(super) async fn end_hooks(&self) {
        self.hooks.may_run.store(false, Ordering::Release);
        let all = std::mem::take(&mut *self.hooks.groups.lock());
        for (group, its) in all {
            if let Some(telling) = its.telling {
                telling.task.abort();
                self.end_commands(&id(&group)).await;
            }
        }
    }
}
