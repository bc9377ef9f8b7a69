//! Verbs for a host whose daemon is away: they read the configuration and talk with the edges themselves.
//!
//! nginx serves without the daemon, so nothing here is urgent for users. What is safe, and why:
//!
//! - `status` only reads. It probes each slot once.
//! - `switch` holds the lock of `daemon.state` from its first look until the route has moved, so no daemon of this host drives a
//!   deployment meanwhile, and none begins. The slot is probed, the route must have the revision that was read, and a lost reply is
//!   followed by a fence, as in the daemon.
//! - The journal is read, and not written: its files belong to the daemon's user. nginx's events and log say who moved the route.
//!   A daemon that starts finds that the route has moved, and ends an open deployment.
//! - With a journal in etcd, another host may lead, so nothing is moved.

use std::path::PathBuf;

use cutover_edges::host::HostEdge;
use cutover_engine::fleet::{Fleet, Member};

use super::client::ClientError;
use super::{CliError, Place};
use crate::config::Loaded;
use crate::journal::JournalError;
use crate::serve::ServeError;

mod status;
mod switch;

pub(super) use status::status;
pub(super) use switch::switch;

/// Why nothing can be done without the daemon. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum DirectError {
    /// Another host may lead.
    #[error(
        "the journal is in etcd, so the daemon of another host may lead: ask that one, with --host ssh://HOST"
    )]
    Etcd,
    /// A daemon lives and does not answer.
    #[error(
        "a daemon has locked daemon.state \"{}\" but does not answer at its socket, so nothing is moved behind its back: it \
         starts, ends, or hangs; look at it, as by: systemctl status cutover",
        .0.display()
    )]
    Locked(PathBuf),
    /// The folder cannot be locked.
    #[error(
        "{0}; without its lock it is not known that no daemon runs, so nothing is moved; run the command as root or as the \
         daemon's user"
    )]
    NoLock(ServeError),
    /// The journal cannot be read.
    #[error("journal: {0}; to switch all the same: --force")]
    Journal(JournalError),
    /// A deployment goes on when the daemon is back.
    #[error(
        "deployment {id} is in phase \"{phase}\" and goes on when the daemon runs again; start the daemon, or, if the traffic \
         cannot wait: --force"
    )]
    Open {
        /// The deployment.
        id: String,
        /// Its phase.
        phase: &'static str,
    },
    /// A command of the daemon may have outlived it.
    #[error(
        "a command of deployment {0} may still run, and may start or stop a slot; start the daemon, which ends it, or: --force"
    )]
    Busy(String),
    /// No new version may get traffic. What leads back is not known without the daemon.
    #[error("{0}; start the daemon, which knows the way back, or, if the traffic cannot wait: --force")]
    Frozen(String),
}

/// The configuration and the edges of this host.
struct Host {
    loaded: Loaded,
    edges: Vec<Member<HostEdge>>,
}

impl Host {
    fn of(place: &Place, reading: bool) -> Result<Self, CliError> {
        let loaded = place.loaded()?;
        let edges = loaded.config.edge.iter().map(|(name, section)| {
            Member::new(if reading {
                section.reading_edge(name.as_str())
            } else {
                section.edge(name.as_str())
            })
        });
        let edges = edges.collect();
        Ok(Self { loaded, edges })
    }

    fn fleet(&self, names: &[String]) -> Fleet<'_, HostEdge> {
        Fleet::new(&self.edges, names)
    }
}

/// Whether no daemon of this host answers, so that a verb may do without it.
pub(super) fn is_away(error: &ClientError, place: &Place) -> bool {
    matches!(error, ClientError::Down { .. }) && place.is_here()
}
