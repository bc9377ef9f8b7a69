//! The standard conditions of the status.
//!
//! ```text
//! Ready        the spec can be carried out, and the route is known
//! Progressing  a deployment is under way
//! Completed    the version that the spec asks for is live
//! Degraded     the last deployment did not complete, or an operator must act
//! ```

use cutover_core::deployment::{Outcome, Phase, State, Time};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time as Stamp};
use k8s_openapi::jiff::Timestamp;

use crate::resource::BlueGreenStatus;
use crate::words;

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
    let is_bad = match state.phase.outcome() {
        Some(Outcome::Failed | Outcome::RolledBack | Outcome::Stuck) => true,
        Some(Outcome::Completed) | None => state.phase.cause().is_some(),
    };
    set(status, "Degraded", is_bad, &phase, message, at);
}
