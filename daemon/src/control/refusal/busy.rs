//! What is in the way of a request, and will be over.

use std::fmt;
use std::time::Duration;

use cutover_core::deployment::Time;
use cutover_core::shell::quoted;
use cutover_engine::clock::rfc3339;
use cutover_engine::journal::with_reason;
use serde::{Deserialize, Serialize};

use super::advice::or;
use super::{NotRun, Refusal};
use crate::journal::JournalError;

/// A deployment, a command or another caller in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// The deployment. `None`: another caller waits for its turn.
    pub id: Option<String>,
    /// The group, if it is known.
    pub group: Option<String>,
    /// The version; empty if it is not known or has no name.
    pub version: String,
    /// The phase.
    pub phase: String,
    /// Who has begun it; empty if it is not known.
    pub who: String,
    /// Why; empty if no reason was given.
    pub reason: String,
    /// When it began.
    pub since: Option<Time>,
    /// When this was found.
    pub now: Time,
    /// Whether it can be aborted now.
    pub may_abort: bool,
}

/// The same for programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BusyAnswer {
    /// The deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// The group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The phase, or `waiting` for a caller that waits for its turn.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// Who.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub who: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Since when, as RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

impl BusyAnswer {
    /// The command that follows what is in the way.
    pub fn follow(&self) -> Option<String> {
        self.deployment.as_ref()?;
        Some(format!("cutover watch {}", quoted(self.group.as_ref()?)))
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ago = self.since.map(|since| ago(since.until(self.now)));
        let who = with_reason(&self.who, &self.reason);
        let Some(id) = &self.id else {
            let ago = ago.map(|ago| format!(" for {ago}")).unwrap_or_default();
            return write!(f, "{who} came first and has waited{ago}: wait, too, as with --wait");
        };
        write!(f, "deployment \"{id}\"")?;
        if !self.version.is_empty() {
            write!(f, " of version \"{}\"", self.version)?;
        }
        write!(f, " is {}", self.phase)?;
        match (self.who.as_str(), ago) {
            ("", _) | (_, None) => {}
            (_, Some(ago)) => write!(f, ", begun {ago} ago by {who}")?,
        }
        write!(f, ": wait until it ends, as with --wait{}", or(self.group.as_deref(), self.may_abort))
    }
}

/// A time that has passed, in its largest unit.
fn ago(passed: Duration) -> String {
    let counted = |number: u64, noun: &str| format!("{number} {noun}");
    match passed.as_secs() {
        seconds @ 0..120 => counted(seconds, "s"),
        seconds @ 120..7200 => counted(seconds / 60, "min"),
        seconds @ 7200..172_800 => counted(seconds / 3600, "h"),
        seconds => counted(seconds / 86_400, "days"),
    }
}

/// A deployment for whose end a caller has waited was rolled back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "while this command waited, deployment \"{id}\" of version \"{version}\" ended as {outcome}: {message}; nothing was begun \
     after that; to do it all the same: {again}"
)]
pub struct Overtaken {
    /// The deployment.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its outcome, in words.
    pub outcome: String,
    /// Its last message.
    pub message: String,
    /// The command that does it all the same.
    pub again: String,
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::NotLeading => Self::NotLeading(None),
            JournalError::Open(id) => Self::Busy(Box::new(Busy {
                id: Some(id),
                group: None,
                version: String::new(),
                phase: "not finished".to_owned(),
                who: String::new(),
                reason: String::new(),
                since: None,
                now: Time(0),
                may_abort: false,
            })),
            error => Self::Journal(error),
        }
    }
}

impl Refusal {
    /// What is in the way, if it will be over by itself.
    pub fn busy(&self) -> Option<BusyAnswer> {
        let of = |group: &str, phase: &str| BusyAnswer {
            group: Some(group.to_owned()),
            phase: phase.to_owned(),
            ..BusyAnswer::default()
        };
        Some(match self {
            Self::OfGroup { refusal, .. } => return refusal.busy(),
            Self::Busy(busy) => BusyAnswer {
                deployment: busy.id.clone(),
                group: busy.group.clone(),
                version: busy.version.clone(),
                phase: busy.phase.clone(),
                who: busy.who.clone(),
                reason: busy.reason.clone(),
                since: busy.since.map(rfc3339),
            },
            Self::SharedBusy { group, id, .. } => {
                BusyAnswer { deployment: Some(id.clone()), ..of(group, "") }
            }
            Self::BeingStopped { group, id, .. } => {
                BusyAnswer { deployment: Some(id.clone()), ..of(group, "decommissioning") }
            }
            Self::NotRun(why) => match &**why {
                NotRun::Rerunning { group, which, .. } => of(group, which),
                _ => return None,
            },
            Self::Resuming => BusyAnswer { phase: "resuming".to_owned(), ..BusyAnswer::default() },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_what_since_when_and_the_phase() {
        let busy = Busy {
            id: Some("shop-1".to_owned()),
            group: Some("shop".to_owned()),
            version: "2".to_owned(),
            phase: "soaking".to_owned(),
            who: "alice (as root)".to_owned(),
            reason: "the fix".to_owned(),
            since: Some(Time(0)),
            now: Time(185_000),
            may_abort: true,
        };
        assert_eq!(
            busy.to_string(),
            "deployment \"shop-1\" of version \"2\" is soaking, begun 3 min ago by alice (as root), reason \"the fix\": wait until \
             it ends, as with --wait; to follow it: cutover watch shop; to end it: cutover abort shop"
        );
        let first = Busy { id: None, reason: String::new(), may_abort: false, ..busy };
        assert_eq!(
            first.to_string(),
            "alice (as root) came first and has waited for 3 min: wait, too, as with --wait"
        );
    }

    #[test]
    fn times_that_have_passed() {
        for (seconds, said) in
            [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (300_000, "3 days")]
        {
            assert_eq!(ago(Duration::from_secs(seconds)), said);
        }
    }
}
