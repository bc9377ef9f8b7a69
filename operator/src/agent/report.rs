//! What an agent says about itself: in the status of each resource, and to the operator.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::api::Group;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::claims::Claim;
use crate::resource::{AgentStatus, BlueGreen};

/// How long the API server may take for one report.
const LIMIT: Duration = Duration::from_secs(5);

/// Pause before a report is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest name of a field manager.
const MOST_NAME: usize = 128;

/// The answer of an agent about one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentReport {
    /// The agent.
    pub agent: AgentStatus,
    /// The group as nginx has it now, if it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// Which reading of nginx it is.
    pub reading: ReadingNumber,
}

/// Orders the readings of one nginx by one agent: answers may arrive in another order, and then counters seem to fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReadingNumber {
    /// When the agent was started, in milliseconds since 1970.
    pub started: u64,
    /// Counts its readings.
    pub number: u64,
}

/// What is said in the status of one resource.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    namespace: String,
    name: String,
    status: AgentStatus,
}

impl Report {
    /// What is wrong, in one line.
    pub(super) fn error(&self) -> Option<&str> {
        self.status.error.as_deref()
    }
}

/// By the unique id of the resource.
pub(super) type Reports = BTreeMap<String, Report>;

impl Claim {
    pub(super) fn report(&self, status: &AgentStatus) -> Report {
        let namespace = self.resource.namespace().unwrap_or_default();
        Report { namespace, name: self.resource.name_any(), status: status.clone() }
    }
}

/// Publishes what is new for ever. A report that fails is tried again with what is newest then.
pub(super) async fn publish(client: Client, pod: &str, mut reports: watch::Receiver<Reports>) {
    let mut published = Reports::new();
    loop {
        let now = reports.borrow_and_update().clone();
        published.retain(|uid, _| now.contains_key(uid));
        let mut is_whole = true;
        for (uid, report) in &now {
            if published.get(uid) == Some(report) {
                continue;
            }
            let agents = json!([report.status]);
            let patched = patch(&client, &report.namespace, &report.name, (uid, pod), &agents);
            match tokio::time::timeout(LIMIT, patched).await {
                Ok(Ok(())) => {
                    published.insert(uid.clone(), report.clone());
                }
                Ok(Err(error)) => {
                    is_whole = false;
                    tracing::warn!(resource = report.name, %error, "failed to write how far this agent is");
                }
                Err(_) => is_whole = false,
            }
        }
        if is_whole {
            if reports.changed().await.is_err() {
                return;
            }
        } else {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Removes what the agent of a Pod that is gone has said.
pub(crate) async fn remove(
    client: &Client,
    (namespace, name, uid): (&str, &str, &str),
    pod: &str,
) -> Result<(), kube::Error> {
    patch(client, namespace, name, (uid, pod), &json!([])).await
}

async fn patch(
    client: &Client,
    namespace: &str,
    name: &str,
    (uid, pod): (&str, &str),
    agents: &Value,
) -> Result<(), kube::Error> {
    let api: Api<BlueGreen> = Api::namespaced(client.clone(), namespace);
    // A resource of the same name with another id is another one.
    let body = json!({
        "apiVersion": BlueGreen::api_version(&()),
        "kind": BlueGreen::kind(&()),
        "metadata": { "name": name, "namespace": namespace, "uid": uid },
        "status": { "agents": agents },
    });
    let params = PatchParams::apply(&manager(pod)).force();
    api.patch_status(name, &params, &Patch::Apply(body)).await.map(drop)
}

/// The field manager of the agent in a Pod.
fn manager(pod: &str) -> String {
    let name = format!("cutover-agent-{pod}");
    // The end of the name of a Pod is what differs.
    let begin = name.len().saturating_sub(MOST_NAME);
    name.get(begin..).unwrap_or(&name).to_owned()
}
