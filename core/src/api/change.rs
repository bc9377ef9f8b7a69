//! What a change asks for, once its names are known to be those of a group.

use super::{ErrorCode, Failure, GuardTerms, RouteChange, Shares};
use crate::fraction::Share;
use crate::guard::Guard;
use crate::route::Destination;
use crate::slot::SlotId;
use crate::split::Split;
use crate::trial::{MAX_LEASE_MS, MIN_LEASE_MS, Terms};

/// The slots of a group, for the reader of a change.
pub trait SlotNames {
    /// The name of the group.
    fn group(&self) -> &str;

    /// The id of the slot of this name.
    fn id_of(&self, slot: &str) -> Option<SlotId>;

    /// All names, for the text of an error.
    fn all(&self) -> Vec<&str>;

    /// Whether the module stands between nginx and the group's balancers, so that it can send a request elsewhere.
    fn can_rescue(&self) -> bool;
}

/// A change as the route and the trial take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where the route goes.
    pub to: Destination,
    /// What is armed with it.
    pub terms: Option<Terms>,
    /// How long its lease is.
    pub lease_ms: Option<u32>,
}

impl Change {
    /// Reads a change of a group whose active slot is `active` now. `fallback`: where the trial of that slot goes back to, if it
    /// has all the traffic and is on trial.
    pub fn plan(
        asked: &RouteChange,
        slots: &impl SlotNames,
        active: SlotId,
        fallback: Option<SlotId>,
    ) -> Result<Self, Failure> {
        let wanted = asked.active.as_deref().map(|slot| id_of(slots, slot)).transpose()?;
        let (to, split) = match &asked.split {
            None => (wanted.ok_or_else(nothing_asked)?, None),
            Some(shares) => split(shares, slots, wanted, active)?,
        };
        let on_trial = asked.guard.is_some() || asked.lease_ms.is_some() || asked.rescue;
        let mut change =
            Self { to: Destination { active: to, split, armed: on_trial }, terms: None, lease_ms: None };
        if on_trial {
            if asked.rescue && !slots.can_rescue() {
                let group = slots.group();
                return Err(bad_trial(format!(
                    "\"rescue\" is not for group \"{group}\": it is one of backend names, whose requests another balancer sends"
                )));
            }
            // A fence does not move the traffic, so the trial keeps its way back.
            change.terms = Some(terms(asked, change.to, active, fallback.filter(|_| asked.fence))?);
            change.lease_ms = asked.lease_ms.map(check_lease).transpose()?;
        }
        Ok(change)
    }
}

fn nothing_asked() -> Failure {
    Failure::new(ErrorCode::BadBody, "the change names neither \"active\" nor \"split\"")
}

fn id_of(slots: &impl SlotNames, slot: &str) -> Result<SlotId, Failure> {
    slots.id_of(slot).ok_or_else(|| {
        let known = slots.all().join(", ");
        let message = format!("group \"{}\" has no slot \"{slot}\"; it has: {known}", slots.group());
        Failure::new(ErrorCode::UnknownSlot, message)
    })
}

/// The active slot, and the other one with its share. Nothing for one of them is no split.
fn split(
    shares: &Shares,
    slots: &impl SlotNames,
    wanted: Option<SlotId>,
    active: SlotId,
) -> Result<(SlotId, Option<Split>), Failure> {
    let bad = |why: String| Failure::new(ErrorCode::BadSplit, format!("\"split\" {why}"));
    let mut ids = Vec::with_capacity(shares.len());
    for (slot, percent) in shares {
        ids.push((id_of(slots, slot)?, percent.parts()));
    }
    let total: u32 = ids.iter().map(|(_, parts)| u32::from(*parts)).sum();
    if total != u32::from(Share::WHOLE) {
        return Err(bad(format!("adds up to {} %: the parts must make 100", f64::from(total) / 100.0)));
    }
    if let Some((all, _)) = ids.iter().find(|(_, parts)| *parts == Share::WHOLE) {
        return match wanted.filter(|wanted| wanted != all) {
            None => Ok((*all, None)),
            Some(_) => Err(bad("gives everything to a slot that \"active\" does not name".to_owned())),
        };
    }
    ids.retain(|(_, parts)| *parts != 0);
    let first = wanted.unwrap_or(active);
    match ids.as_slice() {
        [(one, _), (other, parts)] | [(other, parts), (one, _)] if *one == first => {
            let split = Share::new(*parts).and_then(|share| Split::new(*one, *other, share));
            Ok((first, split))
        }
        [_, _] => Err(bad(
            "leaves the active slot out: give it a part, or name another one as \"active\"".to_owned()
        )),
        _ => Err(bad(format!("has {} slots: two can share the traffic", ids.len()))),
    }
}

/// What is on trial is the slot that the change gives traffic to.
fn terms(
    asked: &RouteChange,
    to: Destination,
    before: SlotId,
    fallback: Option<SlotId>,
) -> Result<Terms, Failure> {
    let slots = if to.active == before {
        let second = to.split.map(|split| (split.second(), to.active));
        second.or(fallback.map(|fallback| (to.active, fallback)))
    } else {
        Some((to.active, before))
    };
    let Some((slot, fallback)) = slots else {
        return Err(bad_trial(
            "\"guard\", \"lease_ms\" and \"rescue\" need a slot that gets traffic by this change".to_owned(),
        ));
    };
    let guard = asked.guard.as_ref().map(Guard::try_from).transpose()?;
    Ok(Terms { slot, fallback, guard, rescue: asked.rescue })
}

fn bad_trial(message: String) -> Failure {
    Failure::new(ErrorCode::BadTrial, message)
}

/// Checks the length of a lease.
pub fn check_lease(lease_ms: u32) -> Result<u32, Failure> {
    within("lease_ms", lease_ms, MIN_LEASE_MS, MAX_LEASE_MS)
}

fn within(key: &str, value: u32, min: u32, max: u32) -> Result<u32, Failure> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(bad_trial(format!("\"{key}\" is {value}: expected {min} to {max}")))
    }
}

impl TryFrom<&GuardTerms> for Guard {
    type Error = Failure;

    fn try_from(terms: &GuardTerms) -> Result<Self, Failure> {
        let slow_ms = match (terms.max_slow_ratio, terms.slow_ms) {
            (Some(_), Some(slow_ms)) => within("slow_ms", slow_ms, 1, Self::MAX_MS)?,
            (None, None) => 0,
            _ => return Err(bad_trial("\"max_slow_ratio\" and \"slow_ms\" go together".to_owned())),
        };
        if terms.max_error_ratio.is_none() && terms.max_slow_ratio.is_none() {
            return Err(bad_trial("\"guard\" needs \"max_error_ratio\" or \"max_slow_ratio\"".to_owned()));
        }
        Ok(Self {
            min_requests: within("min_requests", terms.min_requests, 1, Self::MAX_REQUESTS)?,
            max_error_ratio: terms.max_error_ratio,
            max_slow_ratio: terms.max_slow_ratio,
            slow_ms,
            window_ms: within("window_ms", terms.window_ms, Self::MIN_WINDOW_MS, Self::MAX_MS)?,
        })
    }
}

impl From<Guard> for GuardTerms {
    fn from(guard: Guard) -> Self {
        Self {
            min_requests: guard.min_requests,
            max_error_ratio: guard.max_error_ratio,
            window_ms: guard.window_ms,
            max_slow_ratio: guard.max_slow_ratio,
            slow_ms: guard.max_slow_ratio.map(|_| guard.slow_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shop;

    impl SlotNames for Shop {
        fn group(&self) -> &str {
            "shop"
        }

        fn id_of(&self, slot: &str) -> Option<SlotId> {
            let at = self.all().iter().position(|known| *known == slot)?;
            SlotId::new(at as u8 + 1)
        }

        fn all(&self) -> Vec<&str> {
            vec!["blue", "green", "red"]
        }

        fn can_rescue(&self) -> bool {
            true
        }
    }

    fn id(slot: &str) -> SlotId {
        Shop.id_of(slot).unwrap()
    }

    /// While blue is active.
    fn plan(json: &str) -> Result<Change, Failure> {
        Change::plan(&serde_json::from_str(json).unwrap(), &Shop, id("blue"), None)
    }

    fn split(second: &str, parts: u16) -> Option<Split> {
        Split::new(id("blue"), id(second), Share::new(parts).unwrap())
    }

    #[test]
    fn plain_changes() {
        let to = |slot| Change { to: id(slot).into(), terms: None, lease_ms: None };
        assert_eq!(plan(r#"{"active":"green"}"#), Ok(to("green")));
        assert_eq!(plan(r#"{"split":{"green":100}}"#), Ok(to("green")));
        assert_eq!(plan(r#"{"split":{"blue":0,"green":100}}"#), Ok(to("green")));
        assert_eq!(plan(r#"{"split":{"blue":100,"green":0}}"#), Ok(to("blue")));
    }

    #[test]
    fn splits() {
        let small = plan(r#"{"split":{"blue":99.99,"green":0.01}}"#).unwrap();
        assert_eq!((small.to.active, small.to.split), (id("blue"), split("green", 1)));
        let large = plan(r#"{"split":{"blue":10,"red":90}}"#).unwrap();
        assert_eq!((large.to.active, large.to.split), (id("blue"), split("red", 9_000)));
        let turned = plan(r#"{"active":"green","split":{"blue":10,"green":90}}"#).unwrap();
        assert_eq!(turned.to.active, id("green"));
        assert_eq!(turned.to.split.unwrap().second(), id("blue"));
        for (bad, named) in [
            (r#"{"split":{"blue":50,"green":49}}"#, "99 %"),
            (r#"{"split":{"blue":50,"green":25,"red":25}}"#, "3 slots"),
            (r#"{"split":{"green":50,"red":50}}"#, "leaves the active slot out"),
            (r#"{"split":{}}"#, "0 %"),
            (r#"{"active":"blue","split":{"green":100}}"#, "active"),
        ] {
            let failure = plan(bad).unwrap_err().error;
            assert_eq!(failure.code, ErrorCode::BadSplit, "{bad}");
            assert!(failure.message.contains(named), "{bad}: {}", failure.message);
        }
        assert_eq!(
            plan(r#"{"split":{"blue":50,"pink":50}}"#).unwrap_err().error.code,
            ErrorCode::UnknownSlot
        );
        assert_eq!(plan("{}").unwrap_err().error.code, ErrorCode::BadBody);
    }

    #[test]
    fn a_split_names_each_slot_once() {
        let read = serde_json::from_str::<RouteChange>;
        let twice = read(r#"{"split":{"blue":95,"green":5,"blue":1}}"#).unwrap_err().to_string();
        assert!(twice.starts_with("\"split\" names slot \"blue\" twice"), "{twice}");
        let list = read(r#"{"split":[95,5]}"#).unwrap_err().to_string();
        assert!(list.contains(r#"expected percent by slot, as in {"blue":95,"green":5}"#), "{list}");
        assert_eq!(read(r#"{"active":"blue","split":null}"#).unwrap().split, None);
    }

    #[test]
    fn the_slot_that_gets_traffic_is_on_trial() {
        let switch = plan(r#"{"active":"green","lease_ms":30000,"rescue":true}"#).unwrap();
        let terms = switch.terms.unwrap();
        assert_eq!((terms.slot, terms.fallback, terms.rescue), (id("green"), id("blue"), true));
        assert_eq!((switch.lease_ms, switch.to.armed), (Some(30_000), true));
        let guard = r#"{"min_requests":20,"max_error_ratio":0.05,"window_ms":10000}"#;
        let split = plan(&format!(r#"{{"split":{{"blue":95,"green":5}},"guard":{guard}}}"#)).unwrap();
        let terms = split.terms.unwrap();
        assert_eq!((terms.slot, terms.fallback), (id("green"), id("blue")));
        assert_eq!(terms.guard.unwrap().max_error_ratio.unwrap().parts(), 500);
        let turned = plan(r#"{"active":"green","split":{"blue":5,"green":95},"lease_ms":1000}"#).unwrap();
        let terms = turned.terms.unwrap();
        assert_eq!(
            (terms.slot, terms.fallback),
            (id("green"), id("blue")),
            "the new active slot, not the rest"
        );
    }

    #[test]
    fn a_fence_keeps_the_way_back_of_a_trial() {
        let with = |json: &str, fallback: Option<&str>| {
            Change::plan(&serde_json::from_str(json).unwrap(), &Shop, id("blue"), fallback.map(id))
        };
        let fence = r#"{"active":"blue","lease_ms":30000,"fence":true}"#;
        let terms = with(fence, Some("red")).unwrap().terms.unwrap();
        assert_eq!((terms.slot, terms.fallback), (id("blue"), id("red")));
        assert_eq!(with(fence, None).unwrap_err().error.code, ErrorCode::BadTrial, "it is not on trial");
        let again = r#"{"active":"blue","lease_ms":30000}"#;
        assert_eq!(with(again, Some("red")).unwrap_err().error.code, ErrorCode::BadTrial, "it is no fence");
        let moved = r#"{"active":"green","lease_ms":30000,"fence":true}"#;
        let terms = with(moved, Some("red")).unwrap().terms.unwrap();
        assert_eq!((terms.slot, terms.fallback), (id("green"), id("blue")), "it moves the traffic");
    }

    #[test]
    fn trials_that_cannot_be() {
        for (bad, named) in [
            (r#"{"active":"blue","lease_ms":1000}"#, "gets traffic"),
            (r#"{"active":"green","lease_ms":99}"#, "\"lease_ms\" is 99"),
            (r#"{"active":"green","lease_ms":86400001}"#, "86400000"),
            (r#"{"active":"green","guard":{"min_requests":1,"window_ms":1000}}"#, "max_error_ratio"),
            (
                r#"{"active":"green","guard":{"min_requests":0,"window_ms":1000,"max_error_ratio":0.1}}"#,
                "\"min_requests\" is 0",
            ),
            (
                r#"{"active":"green","guard":{"min_requests":1,"window_ms":99,"max_error_ratio":0.1}}"#,
                "\"window_ms\" is 99",
            ),
            (
                r#"{"active":"green","guard":{"min_requests":1,"window_ms":1000,"max_slow_ratio":0.1}}"#,
                "go together",
            ),
            (
                r#"{"active":"green","guard":{"min_requests":1,"window_ms":1000,"max_slow_ratio":0.1,"slow_ms":0}}"#,
                "\"slow_ms\" is 0",
            ),
        ] {
            let failure = plan(bad).unwrap_err().error;
            assert_eq!(failure.code, ErrorCode::BadTrial, "{bad}");
            assert!(failure.message.contains(named), "{bad}: {}", failure.message);
        }
    }
}
