//! Switches one group and tells the oracle.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::load::Load;
use crate::nginx::Nginx;
use crate::{Admin, SlotOracle};

/// Answers between two switches: enough that each kind of connection reaches each slot.
const ANSWERS: u64 = 20;

/// The only switcher of a group: the oracle does not know about other switches.
#[derive(Debug)]
pub struct Switcher {
    admin: Admin,
    group: String,
    slots: Vec<String>,
    expected: Arc<SlotOracle>,
}

impl Switcher {
    /// A switcher for a group; the first of `slots` is active.
    pub fn new(nginx: &Nginx, group: &str, slots: &[&str]) -> Self {
        let slots: Vec<String> = slots.iter().map(|slot| (*slot).to_owned()).collect();
        let expected = SlotOracle::new(slots.first().map_or("", String::as_str));
        Self { admin: nginx.admin(), group: group.to_owned(), slots, expected }
    }

    /// The oracle of slots.
    pub fn oracle(&self) -> &Arc<SlotOracle> {
        &self.expected
    }

    /// The target of [`switch`](Self::switch): the slot after the active one.
    pub fn next(&self) -> String {
        let active = self.expected.settled();
        let at = self.slots.iter().position(|slot| *slot == active).unwrap_or(0);
        self.slots.get(at + 1).or(self.slots.first()).cloned().unwrap_or_default()
    }

    /// Switches to the next slot.
    pub async fn switch(&self) -> Result<()> {
        self.switch_to(&self.next()).await
    }

    /// Switches to this slot.
    pub async fn switch_to(&self, slot: &str) -> Result<()> {
        let call = self.expected.announce(slot);
        let group = self.admin.switch(&self.group, slot).await?;
        call.acknowledge();
        ensure!(group.route.active == slot, "switched to {slot}, but active is {}", group.route.active);
        Ok(())
    }

    /// Switches this many times, from slot to slot, and waits for answers to `load` after each.
    pub async fn switch_times(&self, load: &Load, times: u32) -> Result<()> {
        for number in 0..times {
            self.switch().await.with_context(|| format!("switch {number}"))?;
            load.answers(ANSWERS).await?;
        }
        Ok(())
    }

    /// Asserts that the active slot is the one of the last switch.
    pub async fn assert_settled(&self) -> Result<()> {
        let route = self.admin.group(&self.group).await?.route;
        let expected = self.expected.settled();
        ensure!(route.active == expected, "the active slot is {}, not {expected}", route.active);
        Ok(())
    }
}
