//! What the API server says: the resources, and the labels of the agent's own Pod. While it is away, what it has said last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_resources};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

use super::Settings;
use crate::resource::BlueGreen;

/// Pause after an error.
const PAUSE: Duration = Duration::from_secs(1);

/// By the unique id.
type Resources = BTreeMap<String, Arc<BlueGreen>>;

/// What is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    /// The resources. `None`: not known yet.
    pub(super) resources: Option<Arc<Resources>>,
    /// The labels of the agent's Pod.
    pub(super) labels: Arc<BTreeMap<String, String>>,
}

/// Follows the API server for ever.
pub(super) async fn follow(client: Client, settings: &Settings, known: watch::Sender<Watched>) {
    let labels = own_labels(&client, settings).await;
    known.send_modify(|known| known.labels = Arc::new(labels));
    let api: Api<BlueGreen> = match &settings.watched {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let events = watch_resources(api, watcher::Config::default()).backoff(Steady);
    let mut events = std::pin::pin!(events);
    let (mut now, mut listed) = (Resources::new(), Resources::new());
    while let Some(event) = events.next().await {
        let changed = match event {
            Ok(Event::Init) => {
                listed = Resources::new();
                false
            }
            Ok(Event::InitApply(resource)) => {
                listed.insert(resource.uid().unwrap_or_default(), Arc::new(resource));
                false
            }
            Ok(Event::InitDone) => {
                now = std::mem::take(&mut listed);
                true
            }
            Ok(Event::Apply(resource)) => {
                now.insert(resource.uid().unwrap_or_default(), Arc::new(resource));
                true
            }
            Ok(Event::Delete(resource)) => now.remove(&resource.uid().unwrap_or_default()).is_some(),
            Err(error) => {
                tracing::warn!(%error, "the API server does not tell about BlueGreens; going on with what is known");
                false
            }
        };
        if changed {
            known.send_modify(|known| known.resources = Some(Arc::new(now.clone())));
        }
    }
}

async fn own_labels(client: &Client, settings: &Settings) -> BTreeMap<String, String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &settings.namespace);
    loop {
        match pods.get(&settings.pod).await {
            Ok(pod) => return pod.labels().clone(),
            Err(error) => {
                tracing::warn!(pod = settings.pod, %error, "failed to read the labels of this Pod; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The same pause each time: users wait for the change that comes after an outage.
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(PAUSE)
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}
