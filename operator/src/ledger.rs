//! The status of one resource, and the right to write it.
//!
//! An operator that begins to drive a resource raises its epoch. Each write names the resource version that the writer has seen
//! last, so a write after somebody else's is refused. The writer then reads the epoch: if another operator has raised it, this one
//! never writes again.

use std::sync::atomic::{AtomicBool, Ordering};

use cutover_engine::journal::JournalError;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tokio::sync::Mutex;

use crate::edge::{MANAGER, told};
use crate::resource::{AgentStatus, BlueGreen, BlueGreenStatus};

/// Longest note of an event, in bytes.
const MOST_NOTE: usize = 1000;

/// How often a write is tried again after somebody else's write of the same resource.
const TRIES: u32 = 20;

/// The status of one resource.
pub struct Ledger {
    client: Client,
    namespace: String,
    name: String,
    uid: String,
    /// The resource in events.
    about: ObjectReference,
    epoch: i64,
    inner: Mutex<Inner>,
    is_closed: AtomicBool,
}

#[derive(Debug)]
struct Inner {
    status: BlueGreenStatus,
    resource_version: String,
    /// The reply to the last write was lost, so the API server may have another status.
    is_uncertain: bool,
}

impl Ledger {
    /// Takes the right to write the status of a resource: the epoch rises.
    pub async fn open(client: Client, resource: &BlueGreen) -> Result<Self, JournalError> {
        let status = own(resource);
        let ledger = Self {
            client,
            namespace: resource.namespace().unwrap_or_default(),
            name: resource.name_any(),
            uid: resource.uid().unwrap_or_default(),
            about: resource.object_ref(&()),
            epoch: status.epoch + 1,
            inner: Mutex::new(Inner {
                status,
                resource_version: resource.resource_version().unwrap_or_default(),
                is_uncertain: false,
            }),
            is_closed: AtomicBool::new(false),
        };
        let mut inner = ledger.inner.lock().await;
        let next = BlueGreenStatus { epoch: ledger.epoch, ..inner.status.clone() };
        // The resource may be an older one from a watch: whoever has read the newest one opens it.
        match ledger.put(&next, &inner.resource_version).await {
            Ok(version) => {
                *inner = Inner { status: next, resource_version: version, is_uncertain: false };
            }
            Err(error) => return Err(JournalError::Failed(told(&error))),
        }
        drop(inner);
        Ok(ledger)
    }

    /// The unique id of the resource.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The epoch of this operator for the resource.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// The status as it was written last.
    pub async fn status(&self) -> BlueGreenStatus {
        self.inner.lock().await.status.clone()
    }

    /// Changes the status. The API server has it when this returns.
    pub async fn write(&self, change: impl FnOnce(&mut BlueGreenStatus)) -> Result<(), JournalError> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(self.closed());
        }
        let mut inner = self.inner.lock().await;
        if inner.is_uncertain {
            self.read_again(&mut inner).await?;
        }
        let mut next = inner.status.clone();
        change(&mut next);
        if next == inner.status {
            return Ok(());
        }
        for _ in 0..TRIES {
            match self.put(&next, &inner.resource_version).await {
                Ok(version) => {
                    *inner = Inner { status: next, resource_version: version, is_uncertain: false };
                    return Ok(());
                }
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    inner.resource_version = self.newest().await?.resource_version().unwrap_or_default();
                }
                Err(error) => {
                    inner.is_uncertain = !matches!(&error, kube::Error::Api(status) if status.code < 500);
                    return Err(self.failed(&error));
                }
            }
        }
        Err(JournalError::Failed(format!(
            "BlueGreen \"{}\" in namespace \"{}\" changes too often: {TRIES} writes of its status met another change",
            self.name, self.namespace
        )))
    }

    /// Fails if another operator drives the resource now, or if nobody can tell.
    pub async fn verify(&self) -> Result<(), JournalError> {
        self.newest().await.map(drop)
    }

    /// The agents as they have written about themselves, and are not told in [`status`](Self::status).
    pub async fn agents(&self) -> Result<Vec<AgentStatus>, JournalError> {
        let now = self.newest().await?;
        Ok(now.status.map(|status| status.agents).unwrap_or_default())
    }

    /// Learns whether a write has arrived whose reply was lost.
    async fn read_again(&self, inner: &mut Inner) -> Result<(), JournalError> {
        let now = self.newest().await?;
        *inner = Inner {
            status: own(&now),
            resource_version: now.resource_version().unwrap_or_default(),
            is_uncertain: false,
        };
        Ok(())
    }

    /// The resource as the API server has it. Fails when another operator drives it.
    async fn newest(&self) -> Result<BlueGreen, JournalError> {
        let now = self.api().get(&self.name).await.map_err(|error| self.failed(&error))?;
        let epoch = now.status.as_ref().map(|status| status.epoch).unwrap_or_default();
        if epoch != self.epoch || now.uid().as_deref() != Some(&self.uid) {
            self.is_closed.store(true, Ordering::Release);
            return Err(self.closed());
        }
        Ok(now)
    }

    /// Publishes an event of the resource. A failure is only logged: the status has the message, too.
    pub async fn publish(&self, reason: &str, message: &str, is_warning: bool) {
        let end = (0..=MOST_NOTE.min(message.len())).rev().find(|end| message.is_char_boundary(*end));
        let event = Event {
            type_: if is_warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: message.get(..end.unwrap_or_default()).map(str::to_owned),
            action: reason.to_owned(),
            secondary: None,
        };
        // A recorder counts events with the same reason as one, whatever they say. So each has its own.
        let reporter = Reporter { controller: MANAGER.to_owned(), instance: None };
        let recorder = Recorder::new(self.client.clone(), reporter);
        if let Err(error) = recorder.publish(&event, &self.about).await {
            tracing::warn!(resource = self.name, namespace = self.namespace, %error, "failed to publish an event");
        }
    }

    async fn put(&self, status: &BlueGreenStatus, resource_version: &str) -> Result<String, kube::Error> {
        let body = json!({
            "apiVersion": BlueGreen::api_version(&()),
            "kind": BlueGreen::kind(&()),
            "metadata": { "name": self.name, "namespace": self.namespace, "resourceVersion": resource_version },
            "status": status,
        });
        let params = PatchParams::apply(MANAGER).force();
        let written = self.api().patch_status(&self.name, &params, &Patch::Apply(body)).await?;
        let is_left = written.status.as_ref().is_some_and(|written| written.deployment.is_some());
        let version = written.resource_version().unwrap_or_default();
        if status.deployment.is_some() || !is_left {
            return Ok(version);
        }
        // Somebody else has written the same deployment, so it stays until it is removed by name.
        let patch = json!({ "metadata": { "resourceVersion": version }, "status": { "deployment": null } });
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let written = self.api().patch_status(&self.name, &params, &Patch::Merge(patch)).await?;
        Ok(written.resource_version().unwrap_or_default())
    }

    fn failed(&self, error: &kube::Error) -> JournalError {
        match error {
            kube::Error::Api(status) if status.code == 404 => {
                self.is_closed.store(true, Ordering::Release);
                JournalError::Closed(format!("BlueGreen \"{}\" is gone", self.name))
            }
            error => JournalError::Failed(told(error)),
        }
    }

    fn closed(&self) -> JournalError {
        JournalError::Closed(format!("another operator drives BlueGreen \"{}\"", self.name))
    }

    fn api(&self) -> Api<BlueGreen> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// The part of the status that is the operator's: the agents write about themselves.
fn own(resource: &BlueGreen) -> BlueGreenStatus {
    BlueGreenStatus { agents: Vec::new(), ..resource.status.clone().unwrap_or_default() }
}
