//! The capacity guard: the slot that is about to get traffic has enough healthy servers, compared with the slot that has it.
//!
//! A slot of two servers may pass its probes and still be too small for the users of ten. Servers that are `backup` or `down` do
//! not count in either slot. The way back is never guarded: it is better than what users have.

use cutover_core::api::Group;
use cutover_core::probe::Require;

use crate::peers::Peers;
use crate::prober::Prober;

/// Fails with one line if a slot has too few healthy servers to take over from another one. `to` has just passed its probes. Probes
/// both in up to this many rounds, and not at all if the number of servers is enough to know.
pub async fn check<W: Peers>(
    prober: &Prober<'_, W>,
    group: &Group,
    (from, to): (&str, &str),
    rounds: u32,
) -> Result<(), String> {
    let capacity = prober.policy.capacity;
    let (Some(old), Some(new)) = (group.slot(from), group.slot(to)) else { return Ok(()) };
    let is_whole = prober.policy.probe.require == Require::All;
    if capacity.is_off() || (is_whole && new.primaries().count() >= capacity.of(old.primaries().count())) {
        return Ok(());
    }
    let mut round = 1;
    loop {
        let (old, new) = tokio::join!(prober.found(old), prober.found(new));
        let wanted = capacity.of(old.healthy);
        if new.healthy >= wanted {
            return Ok(());
        }
        if round >= rounds {
            let rest = if new.why.is_empty() { String::new() } else { format!(" ({})", new.why) };
            return Err(format!(
                "slot \"{to}\" has {}{rest}, and slot \"{from}\" has {}: capacity = \"{capacity}\" wants at least {wanted}",
                healthy(new.healthy),
                healthy(old.healthy),
            ));
        }
        round += 1;
        tokio::time::sleep(prober.policy.probe.interval.get()).await;
    }
}

fn healthy(servers: usize) -> String {
    match servers {
        1 => "1 healthy server".to_owned(),
        many => format!("{many} healthy servers"),
    }
}
