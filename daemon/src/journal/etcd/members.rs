//! Calls to the members of an etcd cluster.
//!
//! One member is asked at a time. A member that does not answer is left for the next one, and each member is tried once. A call
//! whose reply was lost may have had its effect, so a caller sends only what may be done twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error, GetOptions, GetResponse, Txn, TxnResponse};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::EtcdError;

/// The code of gRPC for a user that etcd does not know, or no longer knows.
const UNAUTHENTICATED: i32 = 16;
/// Codes of gRPC for a member that cannot answer now: deadline exceeded, aborted, internal, unavailable, unknown, cancelled.
const TRANSIENT: [i32; 6] = [4, 10, 13, 14, 2, 1];

/// What is asked of a member.
trait Call<T>: Fn(Client) -> BoxFuture<'static, Result<T, Error>> + Send + Sync {}

impl<T, F: Fn(Client) -> BoxFuture<'static, Result<T, Error>> + Send + Sync> Call<T> for F {}

/// The members of a cluster, in the order of the configuration.
pub(super) struct Members {
    all: Vec<Member>,
    current: AtomicUsize,
    options: ConnectOptions,
    limit: Duration,
}

struct Member {
    endpoint: String,
    client: Mutex<Option<Client>>,
}

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all.iter().map(|member| &member.endpoint)).finish()
    }
}

impl Members {
    /// `limit`: how long one member may take to answer a call.
    pub(super) fn new(endpoints: &[String], options: ConnectOptions, limit: Duration) -> Self {
        let member = |endpoint: &String| Member { endpoint: endpoint.clone(), client: Mutex::default() };
        Self {
            all: endpoints.iter().map(member).collect(),
            current: AtomicUsize::default(),
            options: options.with_timeout(limit).with_connect_timeout(limit),
            limit,
        }
    }

    /// Makes a transaction. It may have been made although this fails.
    pub(super) async fn txn(&self, txn: Txn) -> Result<TxnResponse, EtcdError> {
        let call = |mut client: Client| {
            let txn = txn.clone();
            async move { client.txn(txn).await }.boxed()
        };
        self.call(call).await
    }

    /// Reads a key or a range.
    pub(super) async fn get(&self, key: &str, options: GetOptions) -> Result<GetResponse, EtcdError> {
        let call = |mut client: Client| {
            let (key, options) = (key.to_owned(), options.clone());
            async move { client.get(key, Some(options)).await }.boxed()
        };
        self.call(call).await
    }

    /// Creates a lease. Returns its id.
    pub(super) async fn grant(&self, ttl: Duration) -> Result<i64, EtcdError> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let call =
            |mut client: Client| async move { Ok(client.lease_grant(seconds, None).await?.id()) }.boxed();
        self.call(call).await
    }

    /// Extends a lease. `false`: it is over.
    pub(super) async fn renew(&self, lease: i64) -> Result<bool, EtcdError> {
        let call = |mut client: Client| {
            let renewed = async move {
                match client.lease_keep_alive(lease).await {
                    Ok(_) => Ok(true),
                    Err(Error::LeaseKeepAliveError(_)) => Ok(false),
                    Err(error) => Err(error),
                }
            };
            renewed.boxed()
        };
        self.call(call).await
    }

    async fn call<T>(&self, call: impl Call<T>) -> Result<T, EtcdError> {
        let mut failed = Vec::new();
        let first = self.current.load(Ordering::Relaxed);
        for turn in 0..self.all.len() {
            let at = (first + turn) % self.all.len().max(1);
            let Some(member) = self.all.get(at) else { continue };
            let asked = tokio::time::timeout(self.limit, self.ask(member, &call)).await;
            let why = match asked {
                Ok(Ok(answer)) => {
                    self.current.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Ok(Err(Error::GRpcStatus(status))) if !TRANSIENT.contains(&(status.code() as i32)) => {
                    return Err(EtcdError::Refused {
                        endpoint: member.endpoint.clone(),
                        why: status.message().to_owned(),
                    });
                }
                Ok(Err(Error::GRpcStatus(status))) => status.message().to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} ms", self.limit.as_millis()),
            };
            // The next call connects anew: names are resolved again, and certificates are read again.
            *member.client.lock() = None;
            failed.push(format!("{}: {why}", member.endpoint));
        }
        Err(EtcdError::Away(failed.join("; ")))
    }

    async fn ask<T>(&self, member: &Member, call: &impl Call<T>) -> Result<T, Error> {
        match call(self.client(member).await?).await {
            Err(Error::GRpcStatus(status)) if status.code() as i32 == UNAUTHENTICATED => {
                *member.client.lock() = None;
                call(self.client(member).await?).await
            }
            done => done,
        }
    }

    async fn client(&self, member: &Member) -> Result<Client, Error> {
        let connected = member.client.lock().clone();
        if let Some(client) = connected {
            return Ok(client);
        }
        let client = Client::connect([&member.endpoint], Some(self.options.clone())).await?;
        *member.client.lock() = Some(client.clone());
        Ok(client)
    }
}
