//! Reconciles each `BlueGreen`: begins the deployment that its spec asks for, drives it, and says where the traffic is.
//!
//! ```text
//! watch -> reconcile -> ledger (epoch) -> resume | begin | ask the driver | let go
//!                            ^                       |
//!                            +---- journal <---------+ engine
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cutover_core::deployment::{Event, Phase};
use cutover_engine::clock::Clock;
use cutover_engine::journal::JournalError;
use futures_util::StreamExt;
use kube::api::{Patch, PatchParams};
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::clash::clash;
use crate::conditions;
use crate::edge::{MANAGER, Watched, told};
use crate::journal::unfinished;
use crate::leader::Election;
use crate::ledger::Ledger;
use crate::metrics;
use crate::resource::{BlueGreen, BlueGreenStatus};
use crate::running::Running;
use crate::setup::Setup;
use crate::words;

mod adopt;
mod begin;
mod deletion;
mod history;
mod lagging;
mod observe;
mod reverting;
mod standby;
mod telling;
mod verbs;

pub use verbs::Verb;

/// The finalizer of a resource.
const FINALIZER: &str = "cutover.dev/traffic";

/// How often a resource is looked at without a change.
const ROUND: Duration = Duration::from_secs(10);

/// How soon a resource is looked at while something is under way.
const SOON: Duration = Duration::from_secs(1);

/// Why a resource is not reconciled. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Unreconciled {
    /// The API server failed.
    #[error("{0}")]
    Api(String),
    /// The status cannot be written.
    #[error("status: {0}")]
    Journal(#[from] JournalError),
    /// Another operator leads.
    #[error("the Lease is another operator's now")]
    Led,
}

impl From<kube::Error> for Unreconciled {
    fn from(error: kube::Error) -> Self {
        Self::Api(told(&error))
    }
}

/// What all reconciliations share.
pub struct Context {
    client: Client,
    watched: Arc<Watched>,
    /// All resources that are watched.
    resources: Store<BlueGreen>,
    clock: Clock,
    election: Election,
    /// By the unique id of the resource.
    driven: Mutex<BTreeMap<String, Arc<Driven>>>,
}

/// A resource that this operator drives.
struct Driven {
    ledger: Arc<Ledger>,
    running: Mutex<Option<Arc<Running>>>,
    /// Since when an nginx does not have the route.
    behind: Mutex<Option<Instant>>,
}

impl Driven {
    /// The deployment that is under way.
    fn running(&self) -> Option<Arc<Running>> {
        let mut running = self.running.lock();
        if running.as_ref().is_some_and(|running| running.is_over()) {
            *running = None;
        }
        running.clone()
    }
}

/// Reconciles all resources until the task is ended, as the one that leads.
pub async fn run(client: Client, namespace: Option<&str>, election: Election) {
    let resources: Api<BlueGreen> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let controller = Controller::new(resources, watcher::Config::default());
    let context = Arc::new(Context {
        watched: Arc::new(Watched::new(client.clone())),
        client,
        resources: controller.store(),
        clock: Clock::start(),
        election,
        driven: Mutex::default(),
    });
    controller
        .run(reconcile, error_policy, context)
        .for_each(|done| async move {
            if let Err(error) = done {
                tracing::debug!(%error, "a reconciliation ended");
            }
        })
        .await;
}

async fn reconcile(resource: Arc<BlueGreen>, context: Arc<Context>) -> Result<Action, Unreconciled> {
    let begin = Instant::now();
    let reconciled = reconcile_one(&resource, &context).await;
    metrics::reconciled(reconciled.is_ok(), begin.elapsed());
    reconciled
}

async fn reconcile_one(resource: &BlueGreen, context: &Context) -> Result<Action, Unreconciled> {
    let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
    let Some(uid) = resource.uid() else { return Ok(Action::await_change()) };
    if resource.metadata.deletion_timestamp.is_some() && !has_finalizer(resource) {
        context.driven.lock().remove(&uid);
        metrics::phase(&namespace, &name, None);
        return Ok(Action::await_change());
    }
    let driven = match context.take(&uid) {
        Some(driven) => driven,
        None => context.open(resource, &uid).await?,
    };
    let reconciled = context.reconcile(resource, &driven).await;
    if let Err(Unreconciled::Journal(JournalError::Closed(why))) = &reconciled {
        tracing::warn!(resource = resource.name_any(), why, "another operator drives this resource");
        context.driven.lock().remove(&uid);
    }
    let is_driven = context.driven.lock().contains_key(&uid);
    let status = driven.ledger.status().await;
    metrics::phase(&namespace, &name, status.phase.as_deref().filter(|_| is_driven));
    reconciled
}

fn error_policy(resource: Arc<BlueGreen>, error: &Unreconciled, _: Arc<Context>) -> Action {
    tracing::warn!(resource = resource.name_any(), namespace = resource.namespace(), %error, "failed to reconcile");
    Action::requeue(SOON)
}

fn has_finalizer(resource: &BlueGreen) -> bool {
    resource.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

impl Context {
    fn take(&self, uid: &str) -> Option<Arc<Driven>> {
        self.driven.lock().get(uid).map(Arc::clone)
    }

    /// Takes the right to write the status, and resumes what an operator before has left open.
    async fn open(&self, resource: &BlueGreen, uid: &str) -> Result<Arc<Driven>, Unreconciled> {
        let newest = self.api(resource).get(&resource.name_any()).await?;
        // Another one that leads may have opened it, and would lose it again. What it does after this look, the ledger sees.
        if !self.election.is_held(&self.client).await? {
            return Err(Unreconciled::Led);
        }
        let ledger = Arc::new(Ledger::open(self.client.clone(), &newest).await?);
        let entry = ledger.status().await.deployment;
        let resumed = match entry.as_ref().map(unfinished) {
            Some(Ok(read)) => Some(self.start(&ledger, read, true)),
            Some(Err(why)) => {
                // Traffic stays where it is: nobody knows what to do with it.
                let at = self.clock.now();
                let forget =
                    words::verb("forget", &resource.name_any(), &resource.namespace().unwrap_or_default());
                let told = format!("{why}; to give it up, and leave the traffic where it is, type: {forget}");
                ledger
                    .write(|status| {
                        conditions::set(status, "Degraded", true, conditions::UNREADABLE, &told, at)
                    })
                    .await?;
                None
            }
            None => None,
        };
        let driven = Arc::new(Driven { ledger, running: Mutex::new(resumed), behind: Mutex::default() });
        self.driven.lock().insert(uid.to_owned(), Arc::clone(&driven));
        Ok(driven)
    }

    fn start(
        &self,
        ledger: &Arc<Ledger>,
        read: (cutover_engine::journal::Unfinished, Setup),
        takes_over: bool,
    ) -> Arc<Running> {
        Arc::new(Running::start(&self.watched, ledger, read, self.clock, takes_over))
    }

    async fn reconcile(&self, resource: &BlueGreen, driven: &Driven) -> Result<Action, Unreconciled> {
        let is_reverting = self.follow_revert(resource, driven).await?;
        if resource.metadata.deletion_timestamp.is_some() {
            return match is_reverting {
                true => Ok(Action::requeue(SOON)),
                false => self.let_go(resource, driven).await,
            };
        }
        if !has_finalizer(resource) {
            self.add_finalizer(resource).await?;
        }
        self.handle_verbs(resource, driven).await?;
        let setup = Setup::of(resource);
        let policy = match self.valid(resource) {
            Ok(policy) => policy,
            Err(why) => {
                self.not_ready(driven, resource, "InvalidSpec", &why).await?;
                return Ok(Action::requeue(ROUND));
            }
        };
        if let Some(running) = driven.running() {
            self.follow_spec(resource, driven, &running, &setup).await?;
            driven.follow_standby(&running).await;
        }
        let is_unread = driven.running().is_none() && driven.ledger.status().await.deployment.is_some();
        let is_ready = match (driven.running().is_none() && !is_unread) || self.is_idle(driven) {
            true => self.adopt_or_begin(resource, driven, setup, policy).await?,
            false => true,
        };
        self.observe(resource, driven, is_ready).await?;
        self.shorten_history(resource, driven).await?;
        let status = driven.ledger.status().await;
        let has_job = telling::is_telling(&status) || reverting::is_reverting(&status);
        let is_busy = driven.running().is_some() || has_job || driven.is_falling_behind();
        Ok(Action::requeue(if is_busy { SOON } else { ROUND }))
    }

    /// Whether the last deployment only keeps the old version warm, so another one may begin.
    fn is_idle(&self, driven: &Driven) -> bool {
        driven.running().is_some_and(|running| matches!(running.state().phase, Phase::Warm { .. }))
    }

    /// Ends a deployment whose version the spec does not ask for any more.
    async fn follow_spec(
        &self,
        resource: &BlueGreen,
        driven: &Driven,
        running: &Running,
        setup: &Setup,
    ) -> Result<(), Unreconciled> {
        let (wanted, state) = (setup.wanted(), running.state());
        if running.setup.wanted() == wanted || state.phase.cause().is_some() {
            return Ok(());
        }
        let status = driven.ledger.status().await;
        let is_warm = matches!(state.phase, Phase::Warm { .. });
        let event = match is_warm {
            // The version before is still up: this is the way back.
            true if status.before.as_deref() == Some(&wanted) => {
                Event::Rollback(format!("the spec asks for version {} again", setup.version))
            }
            true => return Ok(()),
            false => Event::Abort(format!("the spec asks for version {} now", setup.version)),
        };
        if let Err(why) = running.ask(event).await {
            let name = resource.name_any();
            tracing::info!(resource = name, deployment = running.id, why, "the deployment goes on for now");
        }
        Ok(())
    }

    async fn add_finalizer(&self, resource: &BlueGreen) -> Result<(), Unreconciled> {
        let mut finalizers = resource.finalizers().to_vec();
        finalizers.push(FINALIZER.to_owned());
        self.patch(
            resource,
            json!({ "metadata": {
            "resourceVersion": resource.resource_version(),
            "finalizers": finalizers,
        } }),
        )
        .await
    }

    async fn patch(&self, resource: &BlueGreen, patch: Value) -> Result<(), Unreconciled> {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.api(resource).patch(&resource.name_any(), &params, &Patch::Merge(patch)).await?;
        Ok(())
    }

    fn api(&self, resource: &BlueGreen) -> Api<BlueGreen> {
        Api::namespaced(self.client.clone(), &resource.namespace().unwrap_or_default())
    }

    /// The policy of a valid spec, or what is wrong with it in one line.
    fn valid(&self, resource: &BlueGreen) -> Result<cutover_engine::policy::Policy, String> {
        let policy = crate::policy::policy(&resource.spec).map_err(|refused| refused.to_string())?;
        let others = self.resources.state();
        let is_other = |other: &&Arc<BlueGreen>| {
            other.namespace() == resource.namespace() && other.uid() != resource.uid()
        };
        let clash = others.iter().filter(is_other).find_map(|other| {
            let is_older = (&other.metadata.creation_timestamp, other.uid())
                < (&resource.metadata.creation_timestamp, resource.uid());
            is_older.then(|| clash(&resource.spec, other)).flatten().map(|clash| clash.to_string())
        });
        clash.map_or(Ok(policy), Err)
    }

    /// Says in the condition `Ready` why the resource is not ready. Returns that: `false`.
    async fn not_ready(
        &self,
        driven: &Driven,
        resource: &BlueGreen,
        reason: &str,
        why: &str,
    ) -> Result<bool, Unreconciled> {
        let at = self.clock.now();
        let before = driven.ledger.status().await;
        let is_new = before.conditions.iter().all(|one| one.type_ != "Ready" || one.message != why);
        driven
            .ledger
            .write(|status| {
                status.observed_generation = resource.metadata.generation;
                conditions::set(status, "Ready", false, reason, why, at);
                if status.deployment.is_none() {
                    say(status, reason, why);
                }
            })
            .await?;
        if is_new {
            driven.ledger.publish(reason, why, true).await;
        }
        Ok(false)
    }
}

/// Shows a phase and a message.
fn say(status: &mut BlueGreenStatus, phase: &str, message: &str) {
    status.phase = Some(phase.to_owned());
    conditions::say(status, message);
}
