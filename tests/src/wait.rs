//! Bounded waits: they poll a condition and end with a sentence when it never comes true.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What a start, a stop or a reload may take before the wait for it fails; far above what it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(15);

const STEP: Duration = Duration::from_millis(5);

/// Waits until `condition` holds; an error that names `what` after [`PATIENCE`].
pub async fn until(what: &str, condition: impl FnMut() -> bool) -> Result<()> {
    until_within(PATIENCE, what, condition).await
}

/// Waits until `condition` holds; an error that names `what` after `limit`.
pub async fn until_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    until_some(limit, what, || condition().then_some(())).await
}

/// Waits until `find` finds something; an error that names `what` after `limit`.
pub async fn until_some<T>(limit: Duration, what: &str, mut find: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = find() {
            return Ok(found);
        }
        if start.elapsed() > limit {
            bail!("waited {limit:?} in vain: {what}");
        }
        tokio::time::sleep(STEP).await;
    }
}

/// Waits until the asynchronous `check` holds; an error that names `what` after `limit`.
pub async fn until_async(limit: Duration, what: &str, mut check: impl AsyncFnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !check().await {
        if start.elapsed() > limit {
            bail!("waited {limit:?} in vain: {what}");
        }
        tokio::time::sleep(STEP).await;
    }
    Ok(())
}
