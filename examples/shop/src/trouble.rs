//! Acts out a fault as requests come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::fault::Fault;
use crate::shop::Shop;
use crate::stamp::Content;

/// Acts out a fault as requests come.
#[derive(Debug)]
pub(crate) struct Trouble {
    fault: Option<Fault>,
    queries: AtomicU32,
    from_users: AtomicU64,
}

impl Trouble {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        Self { fault, queries: AtomicU32::new(0), from_users: AtomicU64::new(0) }
    }

    pub(crate) fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Counts a request that uses the database; whether its connection is lost to the pool.
    pub(crate) fn leaks(&self) -> bool {
        let number = self.queries.fetch_add(1, Ordering::Relaxed) + 1;
        match self.fault {
            Some(Fault::ExitAfter(last)) if number >= last => {
                eprintln!("out of memory at request {number}");
                std::process::exit(137)
            }
            Some(Fault::ErrorsAfter(last)) => number >= last,
            _ => false,
        }
    }

    /// Counts a request of a user; what happens to it in place of an answer.
    fn harm(&self) -> Option<Harm> {
        let number = self.from_users.fetch_add(1, Ordering::Relaxed) + 1;
        match self.fault? {
            Fault::Errors(share) if share.has(number) => Some(Harm::Error),
            Fault::Hangs(share) if share.has(number) => Some(Harm::Hang),
            Fault::NotFound => Some(Harm::NotFound),
            _ => None,
        }
    }

    fn slower(&self) -> u32 {
        if let Some(Fault::Slower(times)) = self.fault { times } else { 1 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Error,
    Hang,
    NotFound,
}

/// Answers a request as slowly as the shop does, and as badly as its fault wants. The request of a user has an
/// `x-request-id`, which probes and smoke tests have not.
pub(crate) async fn act_out(State(shop): State<Arc<Shop>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    rest(Duration::from_millis(shop.takes_ms)).await;
    if !request.headers().contains_key("x-request-id") {
        return next.run(request).await;
    }
    match shop.trouble.harm() {
        Some(Harm::Hang) => std::future::pending().await,
        Some(Harm::NotFound) => {
            Content::new(StatusCode::NOT_FOUND, json!({ "error": "no such shop" })).into_response()
        }
        Some(Harm::Error) => {
            let error = json!({ "error": "the price service answers nonsense" });
            Content::new(StatusCode::INTERNAL_SERVER_ERROR, error).into_response()
        }
        None => {
            let response = next.run(request).await;
            rest(begun.elapsed() * shop.trouble.slower().saturating_sub(1)).await;
            response
        }
    }
}

/// A sleep of no time would last a millisecond.
async fn rest(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leak_from_the_nth_request_on() {
        let trouble = Trouble::new(Some(Fault::ErrorsAfter(3)));
        let leaks: Vec<_> = (0..4).map(|_| trouble.leaks()).collect();
        assert_eq!(leaks, [false, false, true, true]);
    }

    #[test]
    fn a_share_of_the_users_is_harmed() {
        let trouble = Trouble::new("hangs=50%".parse().ok());
        let harms: Vec<_> = (0..4).map(|_| trouble.harm()).collect();
        assert_eq!(harms, [None, Some(Harm::Hang), None, Some(Harm::Hang)]);
        assert_eq!(Trouble::new("slower=10".parse().ok()).harm(), None);
    }
}
