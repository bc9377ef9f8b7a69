//! One of several operators drives: the holder of a Lease.
//!
//! The Lease only says who should drive. What keeps an operator that has slept from writing is the epoch, see
//! [`ledger`](crate::ledger).

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use kube_lease_manager::{DurationSeconds, LeaseManager, LeaseManagerBuilder};

use crate::metrics;

/// Pause after an error of the API server.
const PAUSE: Duration = Duration::from_secs(1);

/// How operators agree on one that drives.
#[derive(Clone, Debug)]
pub struct Election {
    /// The namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub lease: String,
    /// Who this is: the name of the Pod.
    pub identity: String,
    /// How long the Lease lasts without a renewal, in seconds.
    pub duration: DurationSeconds,
}

impl Election {
    /// Whether the Lease is this operator's as the API server has it now. An operator that has slept may not have heard yet that it
    /// is another's.
    pub async fn is_held(&self, client: &Client) -> kube::Result<bool> {
        let leases: Api<Lease> = Api::namespaced(client.clone(), &self.namespace);
        let holder = leases.get(&self.lease).await?.spec.and_then(|spec| spec.holder_identity);
        Ok(holder.as_ref() == Some(&self.identity))
    }
}

/// Waits until this operator holds the Lease, and does the work while it does. Returns when the Lease is another's.
pub async fn lead<F: Future<Output = ()>>(
    client: Client,
    election: &Election,
    work: impl FnOnce() -> F,
) -> anyhow::Result<()> {
    let manager = LeaseManagerBuilder::new(client, &election.lease)
        .with_namespace(&election.namespace)
        .with_identity(&election.identity)
        .with_duration(election.duration)
        .with_grace((election.duration / 3).max(1))
        .build()
        .await?;
    until(&manager, true).await;
    metrics::leads(true);
    tracing::info!(lease = election.lease, identity = election.identity, "this operator drives now");
    tokio::select! {
        () = work() => {}
        () = until(&manager, false) => tracing::warn!(lease = election.lease, "the Lease is another operator's now"),
    }
    metrics::leads(false);
    // A Lease that is given back ends the wait of the others. One that cannot be given back ends by itself.
    if let Err(error) = manager.release().await {
        tracing::debug!(%error, "the Lease is not given back");
    }
    Ok(())
}

/// Waits until this operator holds the Lease, or does not hold it any more. While the API server is away nobody else can take it.
async fn until(manager: &LeaseManager, holds: bool) {
    loop {
        match manager.changed().await {
            Ok(is_held) if is_held == holds => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the Lease cannot be read or renewed");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
