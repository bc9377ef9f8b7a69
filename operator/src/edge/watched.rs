//! The Services and EndpointSlices of the namespaces of BlueGreens, kept in memory by a watch for each namespace.
//!
//! Every look at every edge needs them, and they change seldom. What carries a route is never read here: a look must see the last
//! change.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::{pending, ready};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use cutover_engine::edge::EdgeError;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::errors::API;
use super::{Endpoints, Names};

/// How long the first answer of a watch may take.
const FIRST: Duration = Duration::from_secs(10);

/// What is watched, by namespace. A watch begins when somebody asks for its namespace.
pub struct Watched {
    client: Client,
    namespaces: Mutex<BTreeMap<String, Arc<InNamespace>>>,
}

struct InNamespace {
    services: Kept<Service>,
    slices: Kept<EndpointSlice>,
}

/// Objects of one kind in one namespace.
struct Kept<K: Resource + Clone + 'static>
where
    K::DynamicType: Hash + Eq,
{
    store: Store<K>,
    /// Whether the first answer is there. The store itself wakes only one of those who wait for that.
    is_known: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Watched {
    /// Watches nothing yet.
    pub fn new(client: Client) -> Self {
        Self { client, namespaces: Mutex::default() }
    }

    /// The API.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The ready Pods of a Service.
    pub async fn endpoints(&self, names: &Names, service: &str) -> Result<Endpoints, EdgeError> {
        let slices = &self.namespace(&names.namespace).slices;
        slices.until_known("EndpointSlices", names).await?;
        let is_its = |slice: &Arc<EndpointSlice>| {
            let labels = slice.metadata.labels.as_ref();
            labels
                .and_then(|labels| labels.get("kubernetes.io/service-name"))
                .is_some_and(|its| its == service)
        };
        let own: Vec<_> = slices.store.state().into_iter().filter(is_its).collect();
        Ok(Endpoints::of(own.iter().map(AsRef::as_ref), names.port.as_deref()))
    }

    /// A Service. `None`: there is none with this name.
    pub(super) async fn service(
        &self,
        names: &Names,
        service: &str,
    ) -> Result<Option<Arc<Service>>, EdgeError> {
        let services = &self.namespace(&names.namespace).services;
        services.until_known("Services", names).await?;
        Ok(services.store.get(&ObjectRef::new(service).within(&names.namespace)))
    }

    fn namespace(&self, name: &str) -> Arc<InNamespace> {
        let mut namespaces = self.namespaces.lock();
        let watched = namespaces.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(InNamespace {
                services: Kept::new(Api::namespaced(self.client.clone(), name)),
                slices: Kept::new(Api::namespaced(self.client.clone(), name)),
            })
        });
        Arc::clone(watched)
    }
}

impl<K> Kept<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    fn new(api: Api<K>) -> Self {
        let (store, writer) = reflector::store();
        let (known, is_known) = watch::channel(false);
        let events = watcher(api, watcher::Config::default())
            .default_backoff()
            // Nobody reads them, and they are most of an object.
            .modify(|object| object.meta_mut().managed_fields = None)
            .reflect(writer);
        let first: Store<K> = store.clone();
        let task = tokio::spawn(async move {
            let announced = async {
                if first.wait_until_ready().await.is_ok() {
                    known.send_replace(true);
                }
                pending::<()>().await;
            };
            let failed = |event: Result<watcher::Event<K>, watcher::Error>| {
                if let Err(error) = event {
                    tracing::warn!(%error, "a watch has failed; it begins again");
                }
                ready(())
            };
            tokio::select! {
                () = announced => {}
                () = events.for_each(failed) => {}
            }
        });
        Self { store, is_known, task }
    }

    async fn until_known(&self, what: &str, names: &Names) -> Result<(), EdgeError> {
        let mut is_known = self.is_known.clone();
        let known = tokio::time::timeout(FIRST, is_known.wait_for(|is_known| *is_known)).await;
        if matches!(known, Ok(Ok(_))) {
            return Ok(());
        }
        Err(EdgeError::Unreachable {
            subject: API,
            address: format!("the {what} of namespace \"{}\"", names.namespace),
            why: format!(
                "they are not known after {}: may the operator list and watch them?",
                humantime::format_duration(FIRST)
            ),
        })
    }
}

impl<K: Resource + Clone + 'static> Drop for Kept<K>
where
    K::DynamicType: Hash + Eq,
{
    fn drop(&mut self) {
        self.task.abort();
    }
}
