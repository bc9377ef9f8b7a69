//! Rounds of many groups, again and again.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;

/// Rounds at the same time. A round waits for slow servers for as long as a probe may take, so others go on beside it.
const AT_ONCE: usize = 64;

/// Begins a round of each group after each pause, for ever, except of a group whose last round goes on. So a slow group delays
/// itself only.
pub(super) async fn side_by_side<F: Future<Output = ()>>(
    pause: Duration,
    groups: impl Fn() -> Vec<String>,
    round: impl Fn(String) -> F,
) {
    let limit = Semaphore::new(AT_ONCE);
    let (mut running, mut under_way) = (FuturesUnordered::new(), BTreeSet::new());
    loop {
        for group in groups() {
            if under_way.insert(group.clone()) {
                let (round, limit) = (round(group.clone()), &limit);
                running.push(async move {
                    let _turn = limit.acquire().await;
                    round.await;
                    group
                });
            }
        }
        let over = tokio::time::sleep(pause);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => break,
                Some(group) = running.next(), if !running.is_empty() => {
                    under_way.remove(&group);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_group_delays_itself_only() {
        let begun = Mutex::new(Vec::new());
        let (second, slow) = (Duration::from_secs(1), Duration::from_secs(30));
        let groups = || vec!["slow".to_owned(), "quick".to_owned()];
        let rounds = side_by_side(second, groups, |group| {
            let begun = &begun;
            async move {
                begun.lock().push(group.clone());
                tokio::time::sleep(if group == "slow" { slow } else { Duration::ZERO }).await;
            }
        });
        let _ = tokio::time::timeout(slow - second / 2, rounds).await;
        let of = |name: &str| begun.lock().iter().filter(|group| *group == name).count();
        assert_eq!((of("slow"), of("quick")), (1, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_at_once() {
        let most = Mutex::new((0, 0));
        let groups = || Vec::from_iter((0..AT_ONCE * 2).map(|number| format!("group-{number}")));
        let rounds = side_by_side(Duration::from_secs(1), groups, |_| async {
            {
                let mut most = most.lock();
                most.0 += 1;
                most.1 = most.0.max(most.1);
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
            most.lock().0 -= 1;
        });
        let _ = tokio::time::timeout(Duration::from_secs(30), rounds).await;
        assert_eq!(most.lock().1, AT_ONCE);
    }
}
