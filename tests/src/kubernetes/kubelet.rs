//! What runs in pods: a backend for each pod that has an address, which behaves as the tag of its image says.
//!
//! | image | behaviour |
//! |---|---|
//! | `shop:2` | answers with 200, and names `2` |
//! | `shop:2-broken` | answers with 500, but is healthy |
//! | `shop:2-sick` | is not healthy |
//! | `shop:2-hangs` | does not answer, but is healthy |
//! | `shop:2-slow` | takes a second for each answer |

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
pub struct Kubelet<P = Backend> {
    pods: Arc<Mutex<Pods<P>>>,
    task: JoinHandle<()>,
}

type Pods<P> = BTreeMap<String, Running<P>>;

#[derive(Debug)]
struct Running<P> {
    tag: String,
    program: P,
}

/// The container of a pod, and where it is to listen.
#[derive(Clone, Debug)]
pub struct Container {
    /// The name of its image.
    pub image: String,
    /// The tag of its image.
    pub tag: String,
    /// The label `slot` of the pod.
    pub slot: String,
    /// The address of the pod.
    pub address: SocketAddr,
}

impl Kubelet {
    /// Runs the pods that are there and those that come.
    pub fn start(namespace: &Namespace<'_>) -> Self {
        Self::start_with(namespace, async |container| behave(&container).await)
    }

    /// What the pods of an image have received and sent.
    pub fn truth(&self, tag: &str) -> Vec<Truth> {
        self.map(tag, Backend::truth)
    }
}

impl<P: Send + 'static> Kubelet<P> {
    /// Runs this program in each pod.
    pub fn start_with<F>(
        namespace: &Namespace<'_>,
        run: impl Fn(Container) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<P>> + Send,
    {
        let pods = Arc::<Mutex<Pods<P>>>::default();
        let (kubectl, running) = (namespace.kubectl().clone(), Arc::clone(&pods));
        let task = tokio::spawn(async move {
            loop {
                // The API server may be stopped: pods run on.
                if let Ok(list) = kubectl.get(&["pods", "--request-timeout=5s"]).await {
                    let _ = follow(&list, &running, &run).await;
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

    /// Something of each program that runs of an image with this tag.
    pub fn map<T>(&self, tag: &str, what: impl Fn(&P) -> T) -> Vec<T> {
        let pods = lock(&self.pods);
        pods.values().filter(|running| running.tag == tag).map(|one| what(&one.program)).collect()
    }
}

impl<P> Drop for Kubelet<P> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<P>(pods: &Mutex<Pods<P>>) -> MutexGuard<'_, Pods<P>> {
    pods.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn follow<P, F>(list: &Value, running: &Mutex<Pods<P>>, run: &impl Fn(Container) -> F) -> Result<()>
where
    F: Future<Output = Result<P>>,
{
    let text_of = |pod: &Value, pointer: &str| {
        pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let all = list.get("items").and_then(Value::as_array).into_iter().flatten();
    let runs = |pod: &&Value| {
        !text_of(pod, "/status/podIP").is_empty() && text_of(pod, "/status/phase") == "Running"
    };
    let pods: Vec<&Value> = all.filter(runs).collect();
    // The ones that are gone end first: a new Pod may have the address of one of them.
    lock(running).retain(|name, _| pods.iter().any(|pod| text_of(pod, "/metadata/name") == *name));
    for pod in pods {
        let text = |pointer: &str| text_of(pod, pointer);
        let (name, address) = (text("/metadata/name"), text("/status/podIP"));
        if lock(running).contains_key(&name) {
            continue;
        }
        let image = text("/spec/containers/0/image");
        let (image, tag) = image.rsplit_once(':').unwrap_or((&image, "latest"));
        let (image, tag) = (image.to_owned(), tag.to_owned());
        let address = SocketAddr::new(address.parse()?, PORT);
        let slot = text("/metadata/labels/slot");
        let program = run(Container { image, tag: tag.clone(), slot, address }).await?;
        lock(running).insert(name, Running { tag, program });
    }
    Ok(())
}

/// A backend that behaves as the tag says.
async fn behave(container: &Container) -> Result<Backend> {
    let Container { tag, address, .. } = container;
    let backend = Backend::start_at(tag, *address).await?;
    let healthy = || Action::status(200);
    match tag.rsplit_once('-').map(|(_, how)| how) {
        Some("broken") => {
            backend.on("/", Action::status(500));
            backend.on("/health", healthy());
        }
        Some("sick") => backend.on("/health", Action::status(503)),
        Some("slow") => backend.on("/", Action::status(200).after(Duration::from_secs(1))),
        Some("hangs") => {
            backend.on("/", healthy().after(Duration::from_secs(600)));
            backend.on("/health", healthy());
        }
        _ => {}
    }
    Ok(backend)
}
