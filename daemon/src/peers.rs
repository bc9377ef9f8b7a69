//! The servers of upstreams as this host reaches them: over sockets, and by commands of the operator.

use std::time::Duration;

use cutover_edges::peers::SocketPeers;
use cutover_engine::peers::{Call, CheckError, Peers, Reply, What};

use crate::command::Checker;

/// Checks servers from this host.
#[derive(Debug)]
pub struct HostPeers {
    sockets: SocketPeers,
    checker: Checker,
}

impl HostPeers {
    /// A client that runs commands with this checker.
    pub fn new(checker: Checker) -> Self {
        Self { sockets: SocketPeers::default(), checker }
    }
}

impl Peers for HostPeers {
    async fn check(&self, peer: &str, call: Call, limit: Duration) -> Result<Reply, CheckError> {
        match call.what {
            what @ What::Command { .. } => self.checker.run(what, limit).await,
            _ => self.sockets.check(peer, call, limit).await,
        }
    }
}
