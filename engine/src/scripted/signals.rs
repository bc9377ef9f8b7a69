//! The signals of the world: each slot has a value.

use std::time::Duration;

use super::scene::Said;
use super::world::Scripted;
use crate::policy::Signal;
use crate::signals::Signals;

impl Signals for Scripted {
    async fn value(&self, signal: &Signal, query: &str, ago: Duration) -> Result<Option<f64>, String> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let said = {
            let mut scene = self.scene();
            scene.asked.push((query.to_owned(), ago));
            let slot = scene.slots.iter().map(|(slot, _)| slot).find(|slot| query.contains(slot.as_str()));
            let slot = slot.cloned().unwrap_or_default();
            let has_traffic = ago > Duration::ZERO || scene.has_users(&slot);
            let said = scene.signals.get(&slot).cloned().unwrap_or(Said::Nothing);
            if has_traffic { said } else { Said::Nothing }
        };
        match said {
            Said::Value(value) => Ok(Some(value)),
            Said::Nothing => Ok(None),
            Said::Fails(why) => Err(why),
            // The client of the real system has a time limit; this one does not keep to it.
            Said::Hangs => {
                tokio::time::sleep(signal.timeout.get() * 1000).await;
                Ok(Some(0.0))
            }
        }
    }
}
