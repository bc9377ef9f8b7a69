//! A freeze: while it lasts, no new version gets traffic.

use cutover_core::deployment::Time;
use serde::{Deserialize, Serialize};

/// Who has frozen what, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// The group. `None`: all groups, those that come later included.
    pub group: Option<String>,
    /// When it was frozen.
    pub at: Time,
    /// When the freeze ends by itself. `None`: when somebody ends it.
    pub until: Option<Time>,
    /// Who has frozen it.
    pub who: String,
    /// Why; empty if no reason was given.
    pub reason: String,
}

impl Freeze {
    /// Whether it still lasts.
    pub fn lasts(&self, now: Time) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether it is about this group.
    pub fn is_of(&self, group: &str) -> bool {
        self.group.as_ref().is_none_or(|frozen| frozen == group)
    }
}
