//! The person at the other end of the socket.
//!
//! The kernel gives the user id of the caller's process, and the passwd database its name. Behind `sudo` that is root for
//! everybody, so the command line tells who typed the command. Only root is believed: root could change the journal anyway, and
//! nobody else can use another person's name.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::serve::IncomingStream;
use cutover_engine::journal::with_reason;
use nix::unistd::{Uid, User};
use tokio::net::UnixListener;

/// The header in which the command line tells who has become root.
pub const CLAIM: &str = "cutover-user";

/// Maximum number of characters of a name that the command line tells.
const LONGEST: usize = 64;

/// How long the passwd database may take. It can be in a network, and a rollback must not wait for that.
const PATIENCE: Duration = Duration::from_millis(500);

/// The user id of the caller's process, from the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub(super) uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|credentials| credentials.uid()) }
    }
}

/// Who makes a request: `alice`, `uid 1001` if that user has no name, or `alice (as root)` if root says so.
#[derive(Clone, Debug)]
pub(super) struct Caller(String);

impl Caller {
    /// The caller, and the reason that was given.
    pub(super) fn because(&self, reason: &str) -> String {
        with_reason(&self.0, reason)
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let peer = ConnectInfo::<Peer>::from_request_parts(parts, state).await;
        let Some(uid) = peer.ok().and_then(|ConnectInfo(peer)| peer.uid) else {
            return Ok(Self("an unknown user".to_owned()));
        };
        let claim = parts.headers.get(CLAIM).and_then(|claim| claim.to_str().ok());
        Ok(Self(match claim.filter(|claim| uid == 0 && is_name(claim)) {
            Some(claim) => format!("{claim} (as {})", name_of(uid).await),
            None => name_of(uid).await,
        }))
    }
}

/// Whether a text is the name of a user, and nothing that looks like more than that.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || "._-@+$\\".contains(c);
    !text.is_empty() && text.chars().count() <= LONGEST && text.chars().all(is_plain)
}

/// The name of a user, or `uid 1001`.
async fn name_of(uid: u32) -> String {
    let asked = tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(uid)));
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(Ok(Some(user)))) => user.name,
        _ => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    /// The caller of a request from a process of this user with this header.
    async fn caller(uid: Option<u32>, claim: Option<&str>) -> String {
        let mut request = Request::builder();
        if let Some(claim) = claim {
            request = request.header(CLAIM, claim);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(ConnectInfo(Peer { uid }));
        let Ok(caller) = Caller::from_request_parts(&mut parts, &()).await;
        caller.to_string()
    }

    #[tokio::test]
    async fn only_root_may_say_who_it_is() {
        let unknown = 4_000_000_123;
        for (uid, claim, said) in [
            (Some(0), None, "root".to_owned()),
            (Some(0), Some("alice"), "alice (as root)".to_owned()),
            (Some(0), Some("CORP\\alice@x"), "CORP\\alice@x (as root)".to_owned()),
            (Some(unknown), None, format!("uid {unknown}")),
            (Some(unknown), Some("alice"), format!("uid {unknown}")),
            (None, Some("alice"), "an unknown user".to_owned()),
        ] {
            assert_eq!(caller(uid, claim).await, said, "{uid:?} {claim:?}");
        }
    }

    #[tokio::test]
    async fn a_name_is_a_name() {
        for claim in ["", "a b", "alice (as root", "x\"y", "a,b", "a:b", &"x".repeat(65)] {
            assert_eq!(caller(Some(0), Some(claim)).await, "root", "{claim}");
        }
    }
}
