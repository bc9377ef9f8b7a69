//! What all edges have in common: two slots behind an address, and a way to move the traffic from one to the other.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use cutover_tests::{client, wait};

/// One of the two.
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

    /// Its place among the addresses of both.
    pub(crate) fn of<T: Copy>(self, [blue, green]: [T; 2]) -> T {
        match self {
            Self::Blue => blue,
            Self::Green => green,
        }
    }
}

/// An edge that runs; all traffic goes to [`Slot::Blue`] at first. It ends when it goes.
pub(crate) trait Proxy: Send {
    /// As the table names it.
    fn name(&self) -> &'static str;

    /// Where the traffic arrives.
    fn address(&self) -> SocketAddr;

    /// How often it is switched in a round, there and back: what reloads everything gets fewer.
    fn switches_a_round(&self) -> usize;

    /// Moves the traffic; returns when the edge says that it has.
    fn switch(&mut self, to: Slot) -> Result<()>;

    /// Flushes a page of a file where the edge keeps what it must not forget; `None` if it keeps nothing.
    fn bare_flush(&mut self) -> Option<Result<std::time::Duration>> {
        None
    }
}

/// A program that is ended, by its id, when this goes.
#[derive(Debug)]
pub(crate) struct Program(Child);

impl Program {
    /// Starts it and waits until something answers at `address`.
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
