//! Refusals while a group is frozen.

use cutover_core::shell::quoted;
use cutover_engine::clock::rfc3339;
use cutover_engine::journal::with_reason;

use crate::journal::Freeze;

/// The group of a request is frozen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "group \"{group}\" is frozen{}: no new version gets traffic; the way back stays open, by cutover rollback {of} or cutover \
     abort {of}; to end the freeze: {}",
    told(freeze),
    thaw(freeze),
    of = quoted(group)
)]
pub struct Frozen {
    /// The group of the request.
    pub group: String,
    /// The freeze.
    pub freeze: Freeze,
}

/// The group, or all groups, has no freeze of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{}",
    match group {
        Some(group) => format!(
            "group \"{group}\" is frozen together with all groups{}; to end that freeze: cutover unfreeze --all",
            told(freeze)
        ),
        None => format!(
            "the groups are not frozen as a whole, but group \"{}\" is{}; to end that freeze: {}",
            freeze.group.as_deref().unwrap_or_default(),
            told(freeze),
            thaw(freeze)
        ),
    }
)]
pub struct NotFrozen {
    /// The group of the request. `None`: all groups.
    pub group: Option<String>,
    /// The freeze that it may have meant.
    pub freeze: Freeze,
}

/// By whom, until when, and why.
pub(in crate::control) fn told(freeze: &Freeze) -> String {
    let until = freeze.until.map(|until| format!(" until {}", rfc3339(until))).unwrap_or_default();
    let since = rfc3339(freeze.at);
    format!(" since {since}{until} by {}", with_reason(&freeze.who, &freeze.reason))
}

/// The command that ends it.
fn thaw(freeze: &Freeze) -> String {
    match &freeze.group {
        Some(group) => format!("cutover unfreeze {}", quoted(group)),
        None => "cutover unfreeze --all".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use cutover_core::deployment::Time;

    use super::*;

    #[test]
    fn who_why_until_when_and_what_ends_it() {
        let freeze = Freeze {
            group: None,
            at: Time(0),
            until: Some(Time(7_200_000)),
            who: "alice".to_owned(),
            reason: "the sale".to_owned(),
        };
        let frozen = Frozen { group: "shop".to_owned(), freeze: freeze.clone() };
        assert_eq!(
            frozen.to_string(),
            "group \"shop\" is frozen since 1970-01-01T00:00:00.000Z until 1970-01-01T02:00:00.000Z by alice, reason \"the sale\": \
             no new version gets traffic; the way back stays open, by cutover rollback shop or cutover abort shop; to end \
             the freeze: cutover unfreeze --all"
        );
        let own = Freeze { group: Some("a b".to_owned()), until: None, reason: String::new(), ..freeze };
        let said = NotFrozen { group: None, freeze: own }.to_string();
        assert!(said.ends_with("by alice; to end that freeze: cutover unfreeze 'a b'"), "{said}");
    }
}
