//! The group over all Pods as the engine sees it.

use cutover_core::api::{Group, RouteState, Shares, TrialPhase, TrialState};
use cutover_core::deployment::Revision;
use cutover_core::fraction::{Percent, Share};
use cutover_engine::edge::{EdgeError, Look};

use super::readings::{Reading, Readings};
use crate::resource::RouteStatus;

/// The revision of a route.
pub(super) fn revision(seq: i64) -> Revision {
    Revision::new(format!("generation {seq}"))
}

/// The look at a group. `all`: its counters over all Pods.
///
/// Its route is the one that all agents have been told. What an nginx that lags may still send to a slot is shown as old workers of
/// that slot, so nothing there is stopped.
pub(super) fn look(name: &str, route: &RouteStatus, readings: &Readings, mut all: Group) -> Look {
    for slot in &mut all.slots {
        let late = readings.iter().filter(|reading| may_send(reading, route, &slot.name));
        slot.old_workers = u32::try_from(late.count()).unwrap_or(u32::MAX);
    }
    name.clone_into(&mut all.name);
    all.events = Vec::new();
    all.route = RouteState {
        active: route.active.clone(),
        generation: u32::try_from(route.seq).unwrap_or(u32::MAX),
        split: shares(route),
        trial: trial(readings, route),
        standby: None,
    };
    Look {
        group: all,
        revision: revision(route.seq),
        follows: route.follows.map(revision),
        taken_back: route.taken_back,
        reason: Some(route.reason.clone()).filter(|reason| !reason.is_empty()),
    }
}

/// The route before the first change: the one that all nginx have. Fails if they differ.
pub(super) fn first(readings: &Readings, slots: &[String]) -> Result<String, EdgeError> {
    let unusable = |what: String, why: String| EdgeError::Unusable { what, why };
    let mut groups = readings.iter().filter_map(|reading| Some((&reading.pod.name, reading.group()?)));
    let Some((pod, group)) = groups.next() else {
        return Err(unusable(
            "the controller".to_owned(),
            readings.silence().unwrap_or_else(|| "it has no Pod".to_owned()),
        ));
    };
    let active = &group.route.active;
    if let Some((other, differs)) = groups.find(|(_, other)| !other.route.is_all_on(active)) {
        return Err(unusable(
            format!("group \"{}\" of nginx", group.name),
            format!(
                "its Pods differ: \"{pod}\" has {}, \"{other}\" has {}: give all of them the same slot with its admin API first",
                group.route, differs.route
            ),
        ));
    }
    match slots.contains(active) && group.route.is_all_on(active) {
        true => Ok(active.clone()),
        false => Err(unusable(
            format!("group \"{}\" of nginx", group.name),
            format!("its route is {}: all traffic must be on one of {}", group.route, slots.join(", ")),
        )),
    }
}

/// Whether an nginx may send requests to a slot that the route does not send it.
fn may_send(reading: &Reading, route: &RouteStatus, slot: &str) -> bool {
    if route.routes_to(slot) {
        return false;
    }
    let is_without = reading.report.as_ref().is_ok_and(|report| report.agent.without_group);
    match reading.group() {
        None if is_without => false,
        Some(group) => group.route.routes_to(slot).is_some() && !is_fallback(group, slot),
        None => reading.pod.is_ready,
    }
}

fn is_fallback(group: &Group, slot: &str) -> bool {
    group.route.trial.as_ref().is_some_and(|trial| trial.fallback == slot)
        && group.route.active != slot
        && group.route.share(slot).is_none()
}

fn shares(route: &RouteStatus) -> Option<Shares> {
    let second = route.second.as_ref()?;
    let rest = Percent::from_parts(Share::WHOLE.checked_sub(second.percent.parts())?)?;
    Some([(second.slot.clone(), second.percent), (route.active.clone(), rest)].into())
}

/// The trial of the route: held as soon as one nginx holds it.
fn trial(readings: &Readings, route: &RouteStatus) -> Option<TrialState> {
    let trials = readings.iter().filter(|reading| {
        reading.report.as_ref().is_ok_and(|report| report.agent.applied == Some(route.seq))
    });
    let trials = trials.filter_map(|reading| reading.group()?.route.trial.clone());
    trials.max_by_key(|trial| match trial.phase {
        TrialPhase::Held => 2,
        TrialPhase::Armed => 1,
        TrialPhase::GoingBack => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::super::readings::tests::{group, reading, route, silent, without_group};
    use super::super::sums::Sums;
    use super::*;

    fn seen(route: &RouteStatus, readings: Vec<Reading>) -> Look {
        let readings = Readings::new(readings);
        let all = Sums::default().add(&readings).unwrap();
        look("shop", route, &readings, all)
    }

    #[test]
    fn the_route_is_the_one_that_all_were_told() {
        let look = seen(
            &route(7, "green", false),
            vec![reading("a", 7, group("green", 5)), reading("b", 7, group("green", 7))],
        );
        assert_eq!((look.group.name.as_str(), look.revision.as_str()), ("shop", "generation 7"));
        assert!(look.route().is_all_on("green"));
        assert_eq!(look.group.slot("green").unwrap().counters.requests, 12);
        assert!(look.group.has_traffic("blue").is_some_and(|traffic| !traffic.is_routed()), "in flight");
    }

    #[test]
    fn a_slot_that_a_late_nginx_may_use_is_not_free() {
        let late = seen(
            &route(7, "green", false),
            vec![
                reading("a", 7, group("green", 5)),
                reading("b", 6, group("blue", 7)),
                silent("c"),
                without_group("d"),
            ],
        );
        assert!(late.route().is_all_on("green"), "the others go on");
        assert_eq!(late.group.slot("blue").unwrap().old_workers, 2);
        assert_eq!(late.group.slot("green").unwrap().old_workers, 0);
    }

    #[test]
    fn a_split() {
        let mut split = route(7, "blue", false);
        split.second = Some(crate::resource::SecondStatus {
            slot: "green".to_owned(),
            percent: Percent::from_parts(1_000).unwrap(),
        });
        let look = seen(&split, vec![reading("a", 7, group("blue", 0))]);
        assert_eq!(look.route().share("green").map(Percent::parts), Some(1_000));
        assert_eq!(look.route().share("blue"), None, "it has the rest");
    }

    #[test]
    fn the_first_route_is_the_one_that_all_have() {
        let slots = ["blue".to_owned(), "green".to_owned()];
        let found = |readings| first(&Readings::new(readings), &slots);
        let of = |name, active| reading(name, 0, group(active, 0));
        assert_eq!(found(vec![of("a", "green"), silent("b"), of("c", "green")]).unwrap(), "green");
        let differ = found(vec![of("a", "green"), of("b", "blue")]).unwrap_err().to_string();
        assert!(differ.contains("its Pods differ: \"a\" has"), "{differ}");
        let other = found(vec![of("a", "red")]).unwrap_err().to_string();
        assert!(other.contains("must be on one of blue, green"), "{other}");
        assert!(found(vec![silent("b")]).unwrap_err().to_string().contains("its agent is away"));
    }
}
