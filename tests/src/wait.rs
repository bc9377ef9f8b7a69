//! Bounded waits: they poll a condition and fail with a sentence when it does not become true in time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time limit of a start, stop or reload: far more than a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// How much shorter or longer a time is for nginx than for a test: nginx reads `CLOCK_MONOTONIC_COARSE`, which goes on with each
/// tick of the kernel, every 10 ms or more often (`ngx_monotonic_time`).
pub const NGINX_TICK: Duration = Duration::from_millis(10);

const STEP: Duration = Duration::from_millis(5);

/// Waits until `condition` holds. Fails with `what` after [`PATIENCE`].
pub async fn until(what: &str, condition: impl FnMut() -> bool) -> Result<()> {
    until_within(PATIENCE, what, condition).await
}

/// Waits until `condition` holds. Fails with `what` after `limit`.
pub async fn until_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    until_some(limit, what, || condition().then_some(())).await
}

/// Waits until `find` returns a value. Fails with `what` after `limit`.
pub async fn until_some<T>(limit: Duration, what: &str, mut find: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = find() {
            return Ok(found);
        }
        if start.elapsed() > limit {
            bail!("waited {limit:?} for {what}");
        }
        tokio::time::sleep(STEP).await;
    }
}

/// Waits until the asynchronous `check` holds. Fails with `what` after `limit`.
pub async fn until_async(limit: Duration, what: &str, mut check: impl AsyncFnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !check().await {
        if start.elapsed() > limit {
            bail!("waited {limit:?} for {what}");
        }
        tokio::time::sleep(STEP).await;
    }
    Ok(())
}
