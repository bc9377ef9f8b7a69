//! After the warm window, a slot that holds sessions can stay up until they have ended. A session is an upgraded connection,
//! such as a WebSocket.

use cutover_core::api::{Slot, Traffic};
use cutover_core::deployment::Time;

use super::work::Work;
use crate::clock::rfc3339;
use crate::journal::Journal;
use crate::world::World;

impl<W: World, J: Journal> Work<W, J> {
    /// Waits until the warm window is over, and then until the old slot holds no session, as long as the policy says. Notes
    /// what it waits for once.
    pub(super) async fn window_over(&self, until: Time) {
        self.clock.sleep_until(until).await;
        self.while_bad(until).await;
        let Some(limit) = self.deployment.policy.waits_for_sessions() else { return };
        let end = until.after(limit);
        let slot = &self.deployment.plan.from;
        let mut said = false;
        while self.clock.now() < end {
            // What cannot be read may hold sessions.
            if let Ok(look) = self.look_at_all().await {
                let held = look.group.slot(slot).map_or(0, Slot::upgraded);
                if held == 0 {
                    return;
                }
                if !std::mem::replace(&mut said, true) {
                    let held = Traffic::InFlight { requests: 0, upgraded: held };
                    let message = format!(
                        "the warm window is over, but slot \"{slot}\" {held}, so it stays up until they have ended, at most \
                         until {}",
                        rfc3339(end)
                    );
                    self.note("warm", &message).await;
                }
            }
            let left = self.clock.now().until(end);
            tokio::time::sleep(self.deployment.policy.probe.interval.get().min(left)).await;
        }
    }
}
