//! One number: the exit code in the last event of `--json` is that of the process.
//!
//! An event has the exit code of `cutover deploy`. For `cutover rollback` a deployment that was rolled back is a success, and of
//! several deployments that are followed at once, the process ends with the worst code.

use std::sync::Arc;

use cutover_core::deployment::Outcome;
use parking_lot::Mutex;
use serde_json::json;

use crate::api::DeploymentEvent;

/// The exit codes of a verb, for the events that it prints. Clones share what has ended.
#[derive(Clone, Debug)]
pub(super) struct Codes {
    of: fn(Outcome) -> u8,
    tally: Arc<Mutex<Tally>>,
}

#[derive(Debug, Default)]
struct Tally {
    /// Deployments that have not ended.
    left: usize,
    worst: u8,
}

impl Codes {
    /// The codes of a verb.
    pub(super) fn new(of: fn(Outcome) -> u8) -> Self {
        Self { of, tally: Arc::default() }
    }

    /// So many deployments are followed.
    pub(super) fn expects(&self, deployments: usize) {
        self.tally.lock().left = deployments;
    }

    /// The line of an event as it is printed.
    pub(super) fn line(&self, line: &str, event: &DeploymentEvent) -> String {
        match event.outcome {
            Some(outcome) => {
                let event = DeploymentEvent { exit_code: Some(self.ended(outcome)), ..event.clone() };
                json!(event).to_string()
            }
            None => line.to_owned(),
        }
    }

    /// The last line for a deployment whose outcome is in no event that was printed, because it had ended before.
    pub(super) fn closing(&self, group: &str, deployment: &str, outcome: Outcome) -> String {
        json!({"deployment": deployment, "group": group, "outcome": outcome, "exit_code": self.ended(outcome)})
            .to_string()
    }

    /// The code of this outcome, or for the last deployment the one of the process.
    fn ended(&self, outcome: Outcome) -> u8 {
        let code = (self.of)(outcome);
        let mut tally = self.tally.lock();
        tally.worst = tally.worst.max(code);
        tally.left = tally.left.saturating_sub(1);
        if tally.left == 0 { tally.worst } else { code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(outcome: Option<Outcome>) -> DeploymentEvent {
        DeploymentEvent {
            time: String::new(),
            deployment: "shop-1".to_owned(),
            group: "shop".to_owned(),
            phase: "warm".to_owned(),
            message: String::new(),
            seq: 1,
            outcome,
            exit_code: outcome.map(Outcome::exit_code),
            glance: None,
            tries: 0,
            ending: None,
        }
    }

    fn code(line: &str) -> Option<u64> {
        serde_json::from_str::<serde_json::Value>(line).unwrap().get("exit_code")?.as_u64()
    }

    #[test]
    fn the_last_event_has_the_code_of_the_process() {
        let back = |outcome| if outcome == Outcome::RolledBack { 0 } else { 4 };
        let one = Codes::new(back);
        one.expects(1);
        assert_eq!(one.line("as it came", &event(None)), "as it came");
        assert_eq!(code(&one.line("", &event(Some(Outcome::RolledBack)))), Some(0));
        let several = Codes::new(Outcome::exit_code);
        several.expects(2);
        assert_eq!(code(&several.line("", &event(Some(Outcome::Stuck)))), Some(5));
        assert_eq!(code(&several.closing("books", "books-1", Outcome::Completed)), Some(5));
    }
}
