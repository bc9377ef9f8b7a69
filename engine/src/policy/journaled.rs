//! A policy as the journal has it. A key that is missing there means what its default was when the policy was written.

use cutover_core::smoke::Statuses;
use serde_json::Value;

use super::{Capacity, Policy};

impl Policy {
    /// Reads a policy of the journal, of this version or of an earlier one.
    pub fn from_journal(written: Value) -> Result<Self, serde_json::Error> {
        // Policies have it since the guard exists. Older ones are from a time when probes took a redirect for a good answer.
        let has_capacity = written.get("capacity").is_some();
        let mut policy: Self = serde_json::from_value(written)?;
        if !has_capacity {
            policy.capacity = Capacity::OFF;
            if let Some(expect) = policy.probe.check.expect_mut() {
                expect.status.get_or_insert(Statuses::from(200..=399));
            }
        }
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use cutover_core::smoke::{Answer, OF_CHECK};
    use serde_json::json;

    use super::*;

    /// Whether a probe takes this status for a good one.
    fn passes(policy: &Policy, status: u16) -> bool {
        let headers = vec![("server".to_owned(), "shop".to_owned())];
        let answer = Answer { status, headers, ..Answer::default() };
        policy.probe.check.expect().unwrap().check(&answer, &OF_CHECK).is_ok()
    }

    /// As a daemon without the guard has written it.
    fn older() -> Value {
        json!({
            "fleet": {"patience": "5s", "on_missing": "refuse"},
            "warm": {"duration": "1h", "on_bad": "alert"},
            "retry_after": "1h",
            "env": {},
            "probe": {
                "path": "/health/ready", "interval": "1s", "timeout": "2s", "healthy": 2, "unhealthy": 3, "deadline": "1min",
                "require": "all", "expect": {"headers": {"server": "shop"}}
            },
            "smoke": [{"name": "a", "path": "/a"}],
            "soak": {
                "duration": "1min", "interval": "1s", "min_requests": 50, "max_error_ratio": 0.01, "alpha": 0.01, "min_bad": 3,
                "tolerance": 1.5, "baseline": "10min", "on_inconclusive": "rollback", "extend_limit": "10min"
            },
            "trial": {"lease": "30s", "guard": true},
            "drain": {"deadline": "30s"}
        })
    }

    #[test]
    fn an_older_policy_keeps_the_defaults_of_its_time() {
        let policy = Policy::from_journal(older()).unwrap();
        assert!(policy.capacity.is_off());
        for (status, expected) in [(200, true), (302, true), (399, true), (404, false)] {
            assert_eq!(passes(&policy, status), expected, "{status}");
        }
        // It stays so when it is written again.
        let again = Policy::from_journal(serde_json::to_value(&policy).unwrap()).unwrap();
        assert_eq!(again, policy);
    }

    #[test]
    fn what_an_older_policy_says_itself_counts() {
        let mut written = older();
        written["probe"]["expect"] = json!({"status": 204});
        let policy = Policy::from_journal(written).unwrap();
        assert!(passes(&policy, 204) && !passes(&policy, 200));
    }

    #[test]
    fn a_policy_of_today_has_the_defaults_of_today() {
        let policy = Policy::default();
        let read = Policy::from_journal(serde_json::to_value(&policy).unwrap()).unwrap();
        assert_eq!(read, policy);
        assert!(!read.capacity.is_off() && !passes(&read, 302));
    }
}
