//! The interface of all measured proxies: two slots behind one address, and a switch between them.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use cutover_tests::{client, wait};

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Blue,
    Green,
}

impl Slot {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    /// The element of this slot.
    pub(crate) fn of<T: Copy>(self, [blue, green]: [T; 2]) -> T {
        match self {
            Self::Blue => blue,
            Self::Green => green,
        }
    }
}

/// A running proxy. At first all traffic goes to [`Slot::Blue`]. It stops on drop.
pub(crate) trait Proxy: Send {
    /// Its name in the table.
    fn name(&self) -> &'static str;

    /// The address for clients.
    fn address(&self) -> SocketAddr;

    /// The number of switches in a round, which is even. A proxy that reloads its configuration gets fewer.
    fn switches_a_round(&self) -> usize;

    /// Moves the traffic. Returns when the proxy has acknowledged it.
    fn switch(&mut self, to: Slot) -> Result<()>;

    /// Flushes a page of a file in the folder of the proxy's state; `None` if it has no state on disk.
    fn bare_flush(&mut self) -> Option<Result<std::time::Duration>> {
        None
    }
}

/// A running program. Drop ends it by its id.
#[derive(Debug)]
pub(crate) struct Program(Child);

impl Program {
    /// Starts a program and waits until `address` answers.
    pub(crate) async fn start(command: &mut Command, address: SocketAddr) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let name = command.get_program().to_string_lossy().into_owned();
        let program =
            Self(child.with_context(|| format!("failed to run {name}: run scripts/install-packages"))?);
        let answers = async || client::get(address, "/").await.is_ok_and(|answer| answer.status == 200);
        wait::until_async(wait::PATIENCE, &format!("an answer of {name}"), answers).await?;
        Ok(program)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
