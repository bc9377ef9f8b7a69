//! What runs in pods: a backend for each pod that has an address, which behaves as the tag of its image says.
//!
//! | image | behaviour |
//! |---|---|
//! | `shop:2` | answers with 200, and names `2` |
//! | `shop:2-broken` | answers with 500, but is healthy |
//! | `shop:2-sick` | is not healthy |
//! | `shop:2-hangs` | does not answer, but is healthy |

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::namespace::Namespace;
use crate::Backend;
use crate::backend::{Action, Truth};

const PORT: u16 = 8080;

/// How often it looks for new pods.
const ROUND: Duration = Duration::from_millis(150);

/// Runs the pods of a namespace. Drop ends what runs in them.
#[derive(Debug)]
pub struct Kubelet {
    pods: Arc<Mutex<BTreeMap<String, Running>>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Running {
    tag: String,
    backend: Backend,
}

impl Kubelet {
    /// Runs the pods that are there and those that come.
    pub fn start(namespace: &Namespace<'_>) -> Self {
        let pods = Arc::<Mutex<BTreeMap<String, Running>>>::default();
        let (kubectl, running) = (namespace.kubectl().clone(), Arc::clone(&pods));
        let task = tokio::spawn(async move {
            loop {
                // The API server may be stopped: pods run on.
                if let Ok(list) = kubectl.get(&["pods", "--request-timeout=5s"]).await {
                    let _ = run(&list, &running).await;
                }
                tokio::time::sleep(ROUND).await;
            }
        });
        Self { pods, task }
    }

    /// The tags of the images that run, by how many pods.
    pub fn tags(&self) -> BTreeMap<String, usize> {
        let mut tags = BTreeMap::new();
        for running in lock(&self.pods).values() {
            *tags.entry(running.tag.clone()).or_default() += 1;
        }
        tags
    }

    /// What the pods of an image have received and sent.
    pub fn truth(&self, tag: &str) -> Vec<Truth> {
        lock(&self.pods)
            .values()
            .filter(|running| running.tag == tag)
            .map(|one| one.backend.truth())
            .collect()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(pods: &Mutex<BTreeMap<String, Running>>) -> std::sync::MutexGuard<'_, BTreeMap<String, Running>> {
    pods.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn run(list: &Value, running: &Mutex<BTreeMap<String, Running>>) -> Result<()> {
    let mut there = Vec::new();
    for pod in list.get("items").and_then(Value::as_array).into_iter().flatten() {
        let text =
            |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, address) = (text("/metadata/name"), text("/status/podIP"));
        if address.is_empty() || text("/status/phase") != "Running" {
            continue;
        }
        there.push(name.clone());
        if lock(running).contains_key(&name) {
            continue;
        }
        let image = text("/spec/containers/0/image");
        let tag = image.rsplit_once(':').map_or("latest", |(_, tag)| tag).to_owned();
        let backend = Backend::start_at(&tag, SocketAddr::new(address.parse()?, PORT)).await?;
        let healthy = || Action::status(200);
        match tag.rsplit_once('-').map(|(_, how)| how) {
            Some("broken") => {
                backend.on("/", Action::status(500));
                backend.on("/health", healthy());
            }
            Some("sick") => backend.on("/health", Action::status(503)),
            Some("hangs") => {
                backend.on("/", healthy().after(Duration::from_secs(600)));
                backend.on("/health", healthy());
            }
            _ => {}
        }
        lock(running).insert(name, Running { tag, backend });
    }
    lock(running).retain(|name, _| there.contains(name));
    Ok(())
}
