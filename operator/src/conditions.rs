//! The standard conditions of the status.
//!
//! ```text
//! Ready        the spec can be carried out, and the route is known
//! Progressing  a deployment is under way
//! Completed    the version that the spec asks for is live
//! Degraded     the last deployment did not complete, an nginx lags, or an operator must act
//! ```

use cutover_core::deployment::{Outcome, Phase, State, Time};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time as Stamp};
use k8s_openapi::jiff::Timestamp;

use crate::resource::BlueGreenStatus;
use crate::words;

/// The reason of `Degraded` while an nginx does not have the route.
pub const LAGS: &str = "AgentLags";

/// The reason of `Degraded` while the record of a deployment cannot be read.
pub const UNREADABLE: &str = "Unreadable";

/// What stands between the message of the status and what lags.
const BUT: &str = "; not every nginx has the route: ";

/// Longest message of a condition, in bytes.
const MOST_MESSAGE: usize = 2000;

/// Sets a condition. The time of its last transition changes only with its status.
pub fn set(status: &mut BlueGreenStatus, kind: &str, is_so: bool, reason: &str, message: &str, at: Time) {
    let text = if is_so { "True" } else { "False" };
    let before = status.conditions.iter().find(|condition| condition.type_ == kind);
    let since =
        before.filter(|before| before.status == text).map(|before| before.last_transition_time.clone());
    let milliseconds = i64::try_from(at.0).unwrap_or(i64::MAX);
    // The API keeps seconds. A finer time would come back changed.
    let now = || Stamp(Timestamp::from_second(milliseconds / 1000).unwrap_or(Timestamp::UNIX_EPOCH));
    let end = (0..=MOST_MESSAGE.min(message.len())).rev().find(|end| message.is_char_boundary(*end));
    let condition = Condition {
        type_: kind.to_owned(),
        status: text.to_owned(),
        reason: reason.to_owned(),
        message: message.get(..end.unwrap_or_default()).unwrap_or_default().to_owned(),
        last_transition_time: since.unwrap_or_else(now),
        observed_generation: status.observed_generation,
    };
    match status.conditions.iter_mut().find(|condition| condition.type_ == kind) {
        Some(before) => *before = condition,
        None => status.conditions.push(condition),
    }
}

/// Sets the conditions that the state of a deployment says.
pub fn of_state(status: &mut BlueGreenStatus, state: &State, at: Time, message: &str) {
    let phase = words::phase(&state.phase);
    let is_live =
        matches!(state.phase, Phase::Warm { .. } | Phase::Completed { .. } | Phase::Decommissioning(_));
    set(status, "Progressing", !state.phase.is_final() && !is_live, &phase, message, at);
    set(status, "Completed", is_live, &phase, message, at);
    // What lags needs somebody now. The phase says the rest until all follow.
    if !is_lagging(status) {
        set(status, "Degraded", is_bad(state), &phase, message, at);
    }
}

fn is_bad(state: &State) -> bool {
    match state.phase.outcome() {
        Some(Outcome::Failed | Outcome::RolledBack | Outcome::Stuck) => true,
        Some(Outcome::Completed) | None => state.phase.cause().is_some(),
    }
}

/// Sets the message of the status. What lags stays behind it.
pub fn say(status: &mut BlueGreenStatus, message: &str) {
    let lag = status.message.as_ref().and_then(|message| message.split_once(BUT)).map(|(_, lag)| lag);
    status.message = Some(match lag {
        Some(lag) if is_lagging(status) => format!("{message}{BUT}{lag}"),
        _ => message.to_owned(),
    });
}

/// Whether the status says that an nginx does not have the route.
pub fn is_lagging(status: &BlueGreenStatus) -> bool {
    status.conditions.iter().any(|one| one.type_ == "Degraded" && one.reason == LAGS)
}

/// Says that an nginx does not have the route.
pub fn lag(status: &mut BlueGreenStatus, why: &str, at: Time) {
    let is_unread = status.conditions.iter().any(|one| one.type_ == "Degraded" && one.reason == UNREADABLE);
    if is_unread {
        return;
    }
    set(status, "Degraded", true, LAGS, &format!("not every nginx has the route: {why}"), at);
    let message = status.message.take().unwrap_or_default();
    let before = message.split_once(BUT).map_or(message.as_str(), |(before, _)| before);
    status.message = Some(format!("{before}{BUT}{why}"));
}

/// Says that all have it: `Degraded` is as the deployment that is under way, or the last one, has left it.
pub fn end_lag(status: &mut BlueGreenStatus, state: Option<&State>, at: Time) {
    if let Some((before, _)) = status.message.as_ref().and_then(|message| message.split_once(BUT)) {
        status.message = Some(before.to_owned());
    }
    let is_live = status.conditions.iter().any(|one| one.type_ == "Completed" && one.status == "True");
    let last = status.history.first().filter(|last| !is_live && last.outcome != Outcome::Completed.as_str());
    let (is_bad, reason, message) = match (state, last) {
        (Some(state), _) => {
            (is_bad(state), words::phase(&state.phase), status.message.clone().unwrap_or_default())
        }
        (None, Some(last)) => (true, words::camel(&last.outcome), last.message.clone()),
        (None, None) => (false, "AgentsFollow".to_owned(), "every nginx has the route".to_owned()),
    };
    set(status, "Degraded", is_bad, &reason, &message, at);
}

#[cfg(test)]
mod tests {
    use cutover_core::deployment::Plan;
    use cutover_engine::policy::Policy;
    use serde_json::json;

    use super::*;

    fn degraded(status: &BlueGreenStatus) -> (&str, &str) {
        let found = status.conditions.iter().find(|one| one.type_ == "Degraded");
        found.map_or(("", ""), |one| (one.status.as_str(), one.reason.as_str()))
    }

    fn plan() -> Plan {
        Policy::default().plan("shop", "blue", "green")
    }

    #[test]
    fn what_lags_stays_until_all_follow() {
        let mut status = BlueGreenStatus::default();
        say(&mut status, "version 1 is live");
        lag(&mut status, "Pod \"a\": away", Time(0));
        assert_eq!(degraded(&status), ("True", "AgentLags"));
        let told = "version 1 is live; not every nginx has the route: Pod \"a\": away";
        assert_eq!(status.message.as_deref(), Some(told));
        let before = status.clone();
        lag(&mut status, "Pod \"a\": away", Time(9_000));
        assert_eq!(status, before, "nothing is written twice");

        let state = plan().begin(Time(0));
        of_state(&mut status, &state, Time(0), "it begins");
        say(&mut status, "it begins");
        assert_eq!(degraded(&status), ("True", "AgentLags"));
        assert_eq!(
            status.message.as_deref(),
            Some("it begins; not every nginx has the route: Pod \"a\": away")
        );
        end_lag(&mut status, Some(&state), Time(0));
        assert_eq!((degraded(&status).0, status.message.as_deref()), ("False", Some("it begins")));
        say(&mut status, "on");
        assert_eq!(status.message.as_deref(), Some("on"));
    }

    #[test]
    fn after_a_lag_a_failed_deployment_is_what_it_was() {
        let mut status: BlueGreenStatus = serde_json::from_value(json!({ "history": [{
            "id": "shop-1", "version": "2", "slot": "green", "outcome": "rolled_back", "message": "it was bad",
            "started": "", "ended": "", "wanted": "x",
        }] }))
        .unwrap();
        lag(&mut status, "Pod \"a\": away", Time(0));
        end_lag(&mut status, None, Time(0));
        assert_eq!(degraded(&status), ("True", "RolledBack"));
        set(&mut status, "Completed", true, "Live", "version 1 is live", Time(0));
        lag(&mut status, "Pod \"a\": away", Time(0));
        end_lag(&mut status, None, Time(0));
        assert_eq!(degraded(&status), ("False", "AgentsFollow"), "the spec asks for what is live");
    }

    #[test]
    fn a_record_that_cannot_be_read_counts_more_than_what_lags() {
        let mut status = BlueGreenStatus::default();
        set(&mut status, "Degraded", true, UNREADABLE, "no record", Time(0));
        lag(&mut status, "Pod \"a\": away", Time(0));
        assert_eq!(degraded(&status), ("True", "Unreadable"));
    }
}
