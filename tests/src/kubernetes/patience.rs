//! How long to wait for what controllers do.

use std::time::Duration;

use anyhow::Result;

use crate::wait;

/// A start or a change takes seconds, and much longer on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Between two attempts: each starts a kubectl, which would keep a controller from its work.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until `check` holds. Fails with `what` after [`PATIENCE`].
pub async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) -> Result<()> {
    let paced = async || {
        let holds = check().await;
        if !holds {
            tokio::time::sleep(PAUSE).await;
        }
        holds
    };
    wait::until_async(PATIENCE, what, paced).await
}

/// The same limit for kubectl.
pub(super) fn timeout() -> String {
    format!("--timeout={}s", PATIENCE.as_secs())
}
