//! What the agents have said, all at about the same time.

use std::collections::BTreeSet;

use cutover_core::api::Group;
use cutover_core::deployment::TakenBackBy;

use super::pods::ControllerPod;
use crate::agent::{AgentReport, ReadingNumber};
use crate::resource::RouteStatus;

/// The Secret in the namespace of the controller with the token of the agents. A fixed name: who may write a `BlueGreen` must not
/// make the operator read another Secret.
pub const SECRET: &str = "cutover-agent";

/// The container of an agent, as charts/ingress-nginx.yaml names it.
const CONTAINER: &str = "cutover-agent";

/// Why nobody is asked.
const NO_POD: &str = "no Pod of the controller is ready";

/// A Pod, and what its agent has said.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub(super) pod: ControllerPod,
    pub(super) report: Result<AgentReport, NoReport>,
}

impl From<(ControllerPod, Result<AgentReport, NoReport>)> for Reading {
    fn from((pod, report): (ControllerPod, Result<AgentReport, NoReport>)) -> Self {
        Self { pod, report }
    }
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Readings(Vec<Reading>);

/// How far all agents are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All have come so far.
    All,
    /// One has not yet, and why.
    Waits(String),
    /// One will not, and why.
    Refused(String),
}

impl Reading {
    /// nginx's group.
    pub(super) fn group(&self) -> Option<&Group> {
        self.report.as_ref().ok()?.group.as_ref()
    }

    /// Which reading of its nginx it is.
    pub(super) fn number(&self) -> ReadingNumber {
        self.report.as_ref().map(|report| report.reading).unwrap_or_default()
    }

    /// What is wrong, in one line.
    fn trouble(&self) -> String {
        let pod = &self.pod.name;
        match &self.report {
            Err(why) => format!("Pod \"{pod}\": {why}"),
            Ok(report) => match &report.agent.error {
                Some(error) => format!("Pod \"{pod}\": {error}"),
                None => format!("Pod \"{pod}\": its agent has not seen the change yet"),
            },
        }
    }

    /// Whether its nginx has the route, or no such group.
    pub(super) fn has(&self, route: &RouteStatus) -> bool {
        let Ok(report) = &self.report else { return false };
        if report.agent.without_group {
            return true;
        }
        let is_ended =
            route.trial.is_some() || report.group.as_ref().is_some_and(|group| group.route.trial.is_none());
        report.agent.applied == Some(route.seq) && report.agent.taken_back.is_none() && is_ended
    }
}

impl Readings {
    pub(super) fn new(readings: Vec<Reading>) -> Self {
        Self(readings)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Reading> {
        self.0.iter()
    }

    /// Those that users reach.
    fn ready(&self) -> impl Iterator<Item = &Reading> {
        self.0.iter().filter(|reading| reading.pod.is_ready)
    }

    /// The groups of those that answer.
    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.0.iter().filter_map(Reading::group)
    }

    /// Whether every nginx that users reach could make a pending change.
    pub(super) fn seen(&self, seq: i64) -> Progress {
        let refused = |reading: &&Reading| {
            reading.report.as_ref().is_ok_and(|report| report.agent.refused == Some(seq))
        };
        if let Some(refusing) = self.ready().find(refused) {
            return Progress::Refused(refusing.trouble());
        }
        let late =
            |reading: &&Reading| !reading.report.as_ref().is_ok_and(|report| report.agent.seen == Some(seq));
        self.first(late, NO_POD)
    }

    /// Whether every nginx that users reach has these servers of a slot, and no others. Refused: one has others now.
    pub(super) fn given(&self, slot: &str, servers: &BTreeSet<String>) -> Progress {
        let of = |reading: &Reading| -> Option<BTreeSet<String>> {
            let slot = reading.group()?.slot(slot)?;
            Some(slot.primaries().map(|peer| peer.address.clone()).collect())
        };
        for reading in self.ready() {
            let others: Vec<String> = of(reading).unwrap_or_default().difference(servers).cloned().collect();
            if !others.is_empty() {
                let (pod, others) = (&reading.pod.name, others.join(", "));
                return Progress::Refused(format!(
                    "nginx in Pod \"{pod}\" still has {others}, which its Service does not have any more"
                ));
            }
        }
        let is_late = |reading: &&Reading| {
            let is_without = reading.report.as_ref().is_ok_and(|report| report.agent.without_group);
            !is_without && of(reading).as_ref() != Some(servers)
        };
        self.first(is_late, NO_POD)
    }

    /// Whether every nginx that users reach has the route.
    pub(super) fn applied(&self, route: &RouteStatus) -> Progress {
        self.first(|reading| !reading.has(route), NO_POD)
    }

    /// Why an nginx that users reach does not have the route, and what to look at. `None`: all have it.
    pub(super) fn lagging(&self, route: &RouteStatus) -> Option<String> {
        let Some(late) = self.ready().find(|reading| !reading.has(route)) else {
            return match self.applied(route) {
                Progress::All => None,
                Progress::Waits(why) | Progress::Refused(why) => Some(why),
            };
        };
        let ControllerPod { name, namespace, .. } = &late.pod;
        Some(format!("{}; its log: kubectl logs {name} -n {namespace} -c {CONTAINER}", late.trouble()))
    }

    fn first(&self, is_late: impl FnMut(&&Reading) -> bool, none: &str) -> Progress {
        if self.ready().next().is_none() {
            return Progress::Waits(none.to_owned());
        }
        match self.ready().find(is_late) {
            Some(late) => Progress::Waits(late.trouble()),
            None => Progress::All,
        }
    }

    /// A Pod whose nginx has taken this route back by itself, and the slot that has the traffic there. The guard counts more than
    /// the lease.
    pub(super) fn taken_back(&self, route: &RouteStatus) -> Option<(&str, TakenBackBy, &str)> {
        let all = self.0.iter().filter_map(|reading| {
            let (report, group) = (reading.report.as_ref().ok()?, reading.group()?);
            let by = report.agent.taken_back.filter(|_| report.agent.applied == Some(route.seq))?;
            // A confirmed change stays whatever a lease says: its agent makes it again.
            let counts = by == TakenBackBy::Guard || route.trial.is_some();
            counts.then_some((reading.pod.name.as_str(), by, group.route.active.as_str()))
        });
        all.max_by_key(|(_, by, _)| *by)
    }

    /// The error of one that does not answer, if none does.
    pub(super) fn silence(&self) -> Option<String> {
        match self.groups().next() {
            Some(_) => None,
            None => Some(self.0.first().map(Reading::trouble).unwrap_or_default()),
        }
    }
}

/// Why an agent has said nothing. The text follows the Pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoReport {
    /// It does not answer.
    #[error("{0}")]
    Silent(String),
    /// It has another token.
    #[error("its agent does not take the token of Secret \"{SECRET}\": it must be the one in its token file")]
    Unauthorized,
}

#[cfg(test)]
pub(super) mod tests {
    use cutover_core::api::{Peer, RouteState, Slot, TrialPhase, TrialState};
    use cutover_core::counters::Counters;
    use cutover_core::guard::Figures;

    use super::*;
    use crate::resource::{AgentStatus, TrialStatus};

    pub(in crate::edge::ingress_nginx) fn pod(name: &str) -> ControllerPod {
        ControllerPod {
            name: name.to_owned(),
            namespace: "ingress-nginx".to_owned(),
            uid: format!("uid-{name}"),
            agent: ([10, 0, 0, 1], 1).into(),
            is_ready: true,
        }
    }

    pub(in crate::edge::ingress_nginx) fn group(active: &str, requests: u64) -> Group {
        let slot = |name: &str| Slot {
            name: name.to_owned(),
            counters: Counters { requests, in_flight: 1, ..Counters::default() },
            ..Slot::default()
        };
        Group {
            name: "front".to_owned(),
            route: RouteState {
                active: active.to_owned(),
                generation: 3,
                split: None,
                trial: None,
                standby: None,
            },
            slots: ["blue", "green"].map(slot).into(),
            events: Vec::new(),
        }
    }

    pub(in crate::edge::ingress_nginx) fn reading(name: &str, applied: i64, group: Group) -> Reading {
        let agent = AgentStatus { pod: name.to_owned(), applied: Some(applied), ..AgentStatus::default() };
        let report = AgentReport { agent, group: Some(group), reading: ReadingNumber::default() };
        Reading { pod: pod(name), report: Ok(report) }
    }

    pub(in crate::edge::ingress_nginx) fn without_group(name: &str) -> Reading {
        let agent = AgentStatus { pod: name.to_owned(), without_group: true, ..AgentStatus::default() };
        let report = AgentReport { agent, group: None, reading: ReadingNumber::default() };
        Reading { pod: pod(name), report: Ok(report) }
    }

    pub(in crate::edge::ingress_nginx) fn numbered(mut reading: Reading, number: u64) -> Reading {
        if let Ok(report) = &mut reading.report {
            report.reading.number = number;
        }
        reading
    }

    pub(in crate::edge::ingress_nginx) fn silent(name: &str) -> Reading {
        Reading { pod: pod(name), report: Err(NoReport::Silent("its agent is away".to_owned())) }
    }

    pub(in crate::edge::ingress_nginx) fn taken_back(mut reading: Reading, by: TakenBackBy) -> Reading {
        if let Ok(report) = &mut reading.report {
            report.agent.taken_back = Some(by);
        }
        reading
    }

    pub(in crate::edge::ingress_nginx) fn route(seq: i64, active: &str, is_on_trial: bool) -> RouteStatus {
        let trial = is_on_trial.then_some(TrialStatus { lease_ms: Some(30_000), guard: None, rescue: false });
        RouteStatus { seq, active: active.to_owned(), trial, ..RouteStatus::default() }
    }

    #[test]
    fn all_that_users_reach_must_have_seen_it() {
        let with = |seen: Option<i64>, refused: Option<i64>| {
            let mut reading = reading("a", 7, group("blue", 0));
            if let Ok(report) = &mut reading.report {
                (report.agent.seen, report.agent.refused) = (seen, refused);
                report.agent.error = refused.map(|_| "no such slot".to_owned());
            }
            reading
        };
        let seen = |readings: Vec<Reading>| Readings::new(readings).seen(8);
        assert_eq!(seen(vec![with(Some(8), None)]), Progress::All);
        assert!(matches!(seen(vec![with(Some(8), None), with(Some(7), None)]), Progress::Waits(_)));
        let refused = seen(vec![silent("b"), with(Some(7), Some(8))]);
        assert_eq!(refused, Progress::Refused("Pod \"a\": no such slot".to_owned()));
        assert_eq!(
            seen(vec![with(Some(8), None), silent("b")]),
            Progress::Waits("Pod \"b\": its agent is away".to_owned())
        );
        let mut leaving = silent("c");
        leaving.pod.is_ready = false;
        assert_eq!(seen(vec![with(Some(8), None), leaving.clone()]), Progress::All);
        assert!(matches!(seen(vec![leaving]), Progress::Waits(_)), "nobody is asked");
    }

    #[test]
    fn an_nginx_without_the_route_is_named_with_its_log() {
        let lagging = |readings: Vec<Reading>| Readings::new(readings).lagging(&route(7, "green", false));
        let has = || reading("a", 7, group("green", 0));
        assert_eq!(lagging(vec![has(), without_group("b")]), None);
        assert_eq!(
            lagging(vec![has(), silent("b")]).unwrap(),
            "Pod \"b\": its agent is away; its log: kubectl logs b -n ingress-nginx -c cutover-agent"
        );
        assert!(lagging(vec![reading("c", 6, group("blue", 0)), has()]).unwrap().contains("Pod \"c\""));
        let mut leaving = silent("b");
        leaving.pod.is_ready = false;
        assert_eq!(lagging(vec![has(), leaving.clone()]), None, "users do not reach it");
        assert_eq!(lagging(vec![leaving]).unwrap(), NO_POD);
    }

    #[test]
    fn each_nginx_has_the_servers_of_the_slot_and_no_others() {
        let with = |servers: &[&str]| {
            let mut group = group("blue", 0);
            let peer = |address: &&str| Peer {
                address: (*address).to_owned(),
                server: None,
                backup: false,
                down: false,
            };
            group.slots[1].peers = servers.iter().map(peer).collect();
            reading("a", 7, group)
        };
        let given = |readings: Vec<Reading>| {
            let servers = ["10.0.0.1:80", "10.0.0.2:80"].map(str::to_owned).into();
            Readings::new(readings).given("green", &servers)
        };
        let all = || with(&["10.0.0.2:80", "10.0.0.1:80"]);
        assert_eq!(given(vec![all(), without_group("b")]), Progress::All);
        let stale = given(vec![all(), with(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.9:80"]), silent("b")]);
        assert!(matches!(&stale, Progress::Refused(why) if why.contains("10.0.0.9:80")), "{stale:?}");
        for late in [with(&[]), with(&["10.0.0.1:80"]), silent("b")] {
            assert!(matches!(given(vec![all(), late]), Progress::Waits(_)));
        }
    }

    #[test]
    fn a_confirmed_change_has_no_trial_left() {
        let mut on_trial = group("green", 0);
        on_trial.route.trial = Some(TrialState {
            slot: "green".to_owned(),
            fallback: "blue".to_owned(),
            phase: TrialPhase::Armed,
            guard: None,
            lease_left_ms: Some(1),
            rescue: false,
            figures: Figures::default(),
        });
        let armed = reading("a", 7, on_trial);
        assert!(armed.has(&route(7, "green", true)) && !armed.has(&route(7, "green", false)));
        assert!(reading("a", 7, group("green", 0)).has(&route(7, "green", false)));
        assert!(!reading("a", 6, group("green", 0)).has(&route(7, "green", true)));
        assert!(without_group("a").has(&route(7, "green", true)), "it follows no route");
    }

    #[test]
    fn the_guard_of_one_judges_for_all() {
        let readings = Readings::new(vec![
            reading("a", 7, group("green", 0)),
            taken_back(reading("b", 7, group("blue", 0)), TakenBackBy::Lease),
            taken_back(reading("c", 7, group("blue", 0)), TakenBackBy::Guard),
            taken_back(reading("d", 6, group("blue", 0)), TakenBackBy::Guard),
        ]);
        assert_eq!(readings.taken_back(&route(7, "green", true)), Some(("c", TakenBackBy::Guard, "blue")));
        assert_eq!(readings.taken_back(&route(8, "green", true)), None, "of a change before");
        let lease = Readings::new(vec![taken_back(reading("b", 7, group("blue", 0)), TakenBackBy::Lease)]);
        assert!(lease.taken_back(&route(7, "green", true)).is_some());
        assert_eq!(
            lease.taken_back(&route(7, "green", false)),
            None,
            "it is confirmed: the agent makes it again"
        );
    }
}
