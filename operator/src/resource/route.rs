//! The route of an edge that has agents, and what the agents have made of it.
//!
//! ```text
//! pending    the next change; each agent says whether its nginx could make it
//! route      what each agent gives to its nginx
//! agents[]   how far each agent has come, written by itself
//! ```

#![allow(unreachable_pub, reason = "the derive of the schema copies the struct into a function")]

use cutover_core::api::GuardTerms;
use cutover_core::deployment::TakenBackBy;
use cutover_core::fraction::{Percent, Share};
use cutover_engine::edge::{Partial, Shift, TrialTerms};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which slots get the traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// Counts the changes, from 1. A number is never used twice.
    pub seq: i64,
    /// The epoch of the operator that has made it.
    pub epoch: i64,
    /// The slot that has what the other one leaves.
    pub active: String,
    /// The slot with a share, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<SecondStatus>,
    /// When nginx takes the change back by itself. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialStatus>,
    /// Rises with each renewal of the trial's lease.
    #[serde(default)]
    pub renewals: i64,
    /// The nginx of one Pod has taken the change before this one back, so this one takes it back everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub taken_back: Option<TakenBackBy>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The change before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<i64>,
}

/// The slot with a share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecondStatus {
    /// The slot.
    pub slot: String,
    /// Its percent of the traffic.
    #[schemars(with = "f64")]
    pub percent: Percent,
}

/// The terms of a change on trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrialStatus {
    /// nginx takes the traffic back unless the lease is renewed in so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u32>,
    /// nginx takes it back when too many requests fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "guard")]
    pub guard: Option<GuardTerms>,
    /// nginx tries a request that fails again on the other slot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rescue: bool,
}

/// A change that is about to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingRoute {
    /// The route after it.
    pub route: RouteStatus,
    /// The slot that gets traffic.
    pub slot: String,
    /// The endpoints of that slot that nginx must know, as in `10.244.0.7:8080`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
}

/// How far the agent of one Pod has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// The Pod.
    pub pod: String,
    /// The pending change that its nginx could make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<i64>,
    /// The pending change that its nginx could not make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<i64>,
    /// The change that its nginx has made last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<i64>,
    /// Its nginx has taken that change back by itself, by this rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub taken_back: Option<TakenBackBy>,
    /// Its nginx has no such group, so it follows no route.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_group: bool,
    /// What is wrong, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl RouteStatus {
    /// The route after a shift, which gets this number.
    pub fn after(&self, shift: &Shift, seq: i64, epoch: i64) -> Self {
        let (active, second) = match &shift.share {
            Some(Partial { percent, rest }) if percent.parts() < Share::WHOLE => {
                let second = SecondStatus { slot: shift.to.clone(), percent: *percent };
                (rest.clone(), Some(second).filter(|second| second.percent.parts() > 0))
            }
            _ => (shift.to.clone(), None),
        };
        Self {
            seq,
            epoch,
            active,
            second,
            trial: shift.trial.map(TrialStatus::from),
            renewals: 0,
            taken_back: None,
            reason: shift.reason.clone(),
            follows: Some(self.seq).filter(|seq| *seq > 0),
        }
    }

    /// Whether the traffic is the same.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.active, &self.second) == (&other.active, &other.second)
    }

    /// The slot that the last change gave traffic to, and its share. `None`: all of the traffic.
    pub fn given(&self) -> (&str, Option<Partial>) {
        match &self.second {
            Some(SecondStatus { slot, percent }) => {
                (slot, Some(Partial { percent: *percent, rest: self.active.clone() }))
            }
            None => (&self.active, None),
        }
    }

    /// Whether requests of users go to a slot.
    pub fn routes_to(&self, slot: &str) -> bool {
        self.active == slot || self.second.as_ref().is_some_and(|second| second.slot == slot)
    }
}

impl From<TrialTerms> for TrialStatus {
    fn from(terms: TrialTerms) -> Self {
        let lease_ms = terms.lease.map(|lease| u32::try_from(lease.as_millis()).unwrap_or(u32::MAX));
        Self { lease_ms, guard: terms.guard, rescue: terms.rescue }
    }
}

impl TrialStatus {
    /// The terms, as the edge of one nginx takes them.
    pub fn terms(&self) -> TrialTerms {
        let lease = self.lease_ms.map(|ms| std::time::Duration::from_millis(u64::from(ms)));
        TrialTerms { lease, guard: self.guard, rescue: self.rescue }
    }
}

fn guard(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shift(to: &str, share: Option<(u16, &str)>) -> Shift {
        let share = share.map(|(parts, rest)| Partial {
            percent: Percent::from_parts(parts).unwrap(),
            rest: rest.to_owned(),
        });
        let (to, reason) = (to.to_owned(), "a test".to_owned());
        Shift { to, share, reason, trial: None, fence: false }
    }

    #[test]
    fn a_change_has_its_number_and_names_the_one_before() {
        let blue = RouteStatus { seq: 4, active: "blue".to_owned(), ..RouteStatus::default() };
        let green = blue.after(&shift("green", None), 5, 2);
        assert_eq!((green.seq, green.epoch, green.follows), (5, 2, Some(4)));
        assert_eq!((green.active.as_str(), &green.second), ("green", &None));
        assert!(green.routes_to("green") && !green.routes_to("blue"));
    }

    #[test]
    fn a_share_leaves_the_rest() {
        let blue = RouteStatus { active: "blue".to_owned(), ..RouteStatus::default() };
        let split = blue.after(&shift("green", Some((1_000, "blue"))), 1, 1);
        assert_eq!(split.active, "blue");
        let (slot, share) = split.given();
        assert_eq!((slot, share.unwrap().rest.as_str()), ("green", "blue"));
        assert!(split.routes_to("green") && split.routes_to("blue") && !split.is_same(&blue));
        assert!(blue.after(&shift("green", Some((10_000, "blue"))), 2, 1).second.is_none(), "all of it");
        assert!(blue.after(&shift("green", Some((0, "blue"))), 3, 1).is_same(&blue), "nothing of it");
    }

    #[test]
    fn terms_come_back_as_they_were_written() {
        let terms = TrialTerms {
            lease: Some(std::time::Duration::from_secs(30)),
            guard: Some(GuardTerms {
                min_requests: 10,
                max_error_ratio: cutover_core::fraction::Fraction::from_parts(2_000),
                window_ms: 10_000,
                max_slow_ratio: None,
                slow_ms: None,
            }),
            rescue: false,
        };
        let written = serde_json::to_string(&TrialStatus::from(terms)).unwrap();
        assert_eq!(serde_json::from_str::<TrialStatus>(&written).unwrap().terms(), terms);
    }
}
