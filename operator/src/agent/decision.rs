//! What an agent does next with one group.

use cutover_core::api::{Group, TrialPhase};
use cutover_core::deployment::TakenBackBy;

use super::standing::Standing;
use crate::resource::{PendingRoute, RouteStatus};

/// The next act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Nothing,
    /// Look again: nginx is about to say what has moved its route.
    Wait,
    /// Give the route to nginx.
    Apply,
    /// Renew the lease of its trial.
    Renew,
    /// End its trial: the change stays.
    Confirm,
}

/// What to do about the route. `newest`: the last change that this agent has seen. `renewed`: the last renewal that it has made.
pub(super) fn next(
    route: &RouteStatus,
    group: &Group,
    standing: Standing,
    newest: i64,
    renewed: Option<i64>,
) -> Step {
    // A view of the API server that is older than what this agent has seen.
    if route.seq < newest || standing.seq().is_some_and(|seq| seq > route.seq) {
        return Step::Nothing;
    }
    match standing {
        Standing::Unsettled => Step::Wait,
        Standing::At(seq) if seq == route.seq => {
            let trial = group.route.trial.as_ref();
            match (&route.trial, trial) {
                (None, Some(_)) => Step::Confirm,
                (Some(terms), Some(trial))
                    if terms.lease_ms.is_some()
                        && trial.phase == TrialPhase::Armed
                        && renewed != Some(route.renewals) =>
                {
                    Step::Renew
                }
                _ => Step::Nothing,
            }
        }
        // What the guard took back stays back. So does a trial whose lease was not renewed: the operator decides.
        Standing::TakenBack(seq, by) if seq == route.seq => match by {
            TakenBackBy::Lease if route.trial.is_none() => Step::Apply,
            _ => Step::Nothing,
        },
        Standing::At(_) | Standing::TakenBack(..) | Standing::Other => Step::Apply,
    }
}

/// Whether nginx could make the pending change now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// It could.
    Able,
    /// Not yet, and why.
    NotYet(String),
    /// It could not, and why.
    Unable(String),
}

/// Checks a pending change. `route`: the route before it.
pub(super) fn check(
    pending: &PendingRoute,
    route: Option<&RouteStatus>,
    group: &Group,
    standing: Standing,
) -> Check {
    let name = &group.name;
    let Some(slot) = group.slot(&pending.slot) else {
        return Check::Unable(format!("group \"{name}\" of nginx has no slot \"{}\"", pending.slot));
    };
    if let Some(trial) = &group.route.trial
        && standing.seq().is_none()
    {
        return Check::Unable(format!(
            "somebody else has slot \"{}\" of group \"{name}\" on trial: end that trial first",
            trial.slot
        ));
    }
    if let Some(route) = route
        && standing != Standing::At(route.seq)
    {
        return Check::NotYet(format!("nginx does not have change {} yet", route.seq));
    }
    let is_known = |address: &&String| slot.primaries().any(|peer| peer.address == **address);
    match pending.endpoints.iter().find(|address| !is_known(address)) {
        Some(missing) => {
            Check::NotYet(format!("nginx does not know server {missing} of slot \"{}\" yet", pending.slot))
        }
        None if slot.primaries().next().is_none() => {
            Check::NotYet(format!("nginx knows no server of slot \"{}\" yet", pending.slot))
        }
        None => Check::Able,
    }
}

#[cfg(test)]
mod tests {
    use cutover_core::api::{Peer, RouteState, Slot, TrialState};
    use cutover_core::guard::Figures;

    use super::*;
    use crate::resource::TrialStatus;

    fn group(trial: Option<TrialPhase>, servers: &[&str]) -> Group {
        let peer = |address: &&str| Peer {
            address: (*address).to_owned(),
            server: None,
            backup: false,
            down: false,
        };
        let slot = |name: &str| Slot {
            name: name.to_owned(),
            peers: servers.iter().map(peer).collect(),
            ..Slot::default()
        };
        let trial = trial.map(|phase| TrialState {
            slot: "green".to_owned(),
            fallback: "blue".to_owned(),
            phase,
            guard: None,
            lease_left_ms: Some(1),
            rescue: false,
            figures: Figures::default(),
        });
        Group {
            name: "shop".to_owned(),
            route: RouteState {
                active: "green".to_owned(),
                generation: 3,
                split: None,
                trial,
                standby: None,
            },
            slots: ["blue", "green"].map(slot).into(),
            events: Vec::new(),
        }
    }

    fn route(seq: i64, is_on_trial: bool) -> RouteStatus {
        let trial = is_on_trial.then_some(TrialStatus { lease_ms: Some(30_000), guard: None, rescue: false });
        RouteStatus { seq, active: "green".to_owned(), trial, renewals: 2, ..RouteStatus::default() }
    }

    #[test]
    fn next_steps() {
        use Standing::{At, Other, TakenBack, Unsettled};
        use TakenBackBy::{Guard, Lease};
        let armed = Some(TrialPhase::Armed);
        for (name, is_on_trial, trial, standing, renewed, expected) in [
            ("a change that nginx does not have", false, None, Other, None, Step::Apply),
            ("the change before", true, None, At(6), None, Step::Apply),
            ("the change before was taken back", false, None, TakenBack(6, Guard), None, Step::Apply),
            ("made", false, None, At(7), None, Step::Nothing),
            ("made, and its lease is renewed", true, armed, At(7), Some(2), Step::Nothing),
            ("made, and the operator renews", true, armed, At(7), Some(1), Step::Renew),
            ("held: nothing to renew", true, Some(TrialPhase::Held), At(7), Some(1), Step::Nothing),
            ("made, and confirmed", false, armed, At(7), Some(2), Step::Confirm),
            ("a newer change than this view has", false, None, At(8), None, Step::Nothing),
            ("the same, taken back", false, None, TakenBack(8, Guard), None, Step::Nothing),
            ("taken back by the guard", true, None, TakenBack(7, Guard), Some(2), Step::Nothing),
            ("by the guard as it was confirmed", false, None, TakenBack(7, Guard), Some(2), Step::Nothing),
            ("taken back by the lease", true, None, TakenBack(7, Lease), Some(2), Step::Nothing),
            ("by the lease, and it is confirmed", false, None, TakenBack(7, Lease), Some(2), Step::Apply),
            ("not written yet", true, None, Unsettled, Some(2), Step::Wait),
        ] {
            let step = next(&route(7, is_on_trial), &group(trial, &[]), standing, 7, renewed);
            assert_eq!(step, expected, "{name}");
        }
    }

    #[test]
    fn an_older_route_is_never_applied() {
        assert_eq!(next(&route(6, false), &group(None, &[]), Standing::Other, 7, None), Step::Nothing);
    }

    fn pending(slot: &str, endpoints: &[&str]) -> PendingRoute {
        let endpoints = endpoints.iter().map(|address| (*address).to_owned()).collect();
        PendingRoute { route: route(8, true), slot: slot.to_owned(), endpoints }
    }

    #[test]
    fn a_pending_change() {
        let at = Standing::At(7);
        let checked = |pending: &PendingRoute, group: &Group, standing| {
            check(pending, Some(&route(7, false)), group, standing)
        };
        let two = group(None, &["10.0.0.1:80", "10.0.0.2:80"]);
        assert_eq!(checked(&pending("green", &["10.0.0.2:80"]), &two, at), Check::Able);
        assert_eq!(
            check(&pending("green", &[]), None, &two, Standing::Other),
            Check::Able,
            "the first change"
        );
        for (pending, group, standing, said) in [
            (pending("green", &["10.0.0.3:80"]), &two, at, "does not know server 10.0.0.3:80"),
            (pending("green", &[]), &group(None, &[]), at, "knows no server of slot \"green\""),
            (pending("green", &[]), &two, Standing::At(6), "does not have change 7 yet"),
            (pending("green", &[]), &two, Standing::Other, "does not have change 7 yet"),
        ] {
            let Check::NotYet(why) = checked(&pending, group, standing) else { panic!("{said}") };
            assert!(why.contains(said), "{why}");
        }
        for (pending, group, standing, said) in [
            (pending("red", &[]), &two, at, "has no slot \"red\""),
            (
                pending("green", &[]),
                &group(Some(TrialPhase::Armed), &["10.0.0.1:80"]),
                Standing::Other,
                "somebody else has slot \"green\"",
            ),
        ] {
            let Check::Unable(why) = checked(&pending, group, standing) else { panic!("{said}") };
            assert!(why.contains(said), "{why}");
        }
    }
}
