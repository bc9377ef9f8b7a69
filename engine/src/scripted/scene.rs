//! The state of the world: what tests can see and set.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::api::{Group, Peer, TrialState};
use cutover_core::counters::{Counters, Previews};
use cutover_core::deployment::TakenBackBy;
use cutover_core::fraction::Percent;

use tokio::time::Instant;

use super::usual::peer;
use crate::edge::Shift;

/// A change of the scene by a test.
pub struct Hook(
    /// The change.
    pub Box<dyn FnOnce(&mut Scene) + Send>,
);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

/// A fault of a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The switch is done, and the reply is lost.
    LostDone,
    /// The switch is not done, and the reply is lost.
    LostUndone,
    /// The reply is lost, and the switch is done later, see [`Scene::deliver`].
    Late,
    /// The switch is done in memory, but not on disk.
    NotDurable,
    /// The edge is not reachable.
    NotSent,
    /// The edge refuses the switch.
    Refused,
    /// Somebody else has moved the route to the new slot and back just before.
    OtherFirst,
}

/// Why an edge does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// Its host is down: it serves nobody. It keeps its route.
    Down,
    /// The network is cut. It serves its users.
    Cut,
    /// It is stopped. It gets what was sent meanwhile when it goes on, see [`Scene::back`].
    Paused,
}

/// A call in transit.
#[derive(Clone, Debug)]
pub(super) enum Late {
    Shift(Box<Shift>),
    Renewal(Duration),
    Confirmation,
}

/// What a query for a slot gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A value.
    Value(f64),
    /// No result.
    Nothing,
    /// An error.
    Fails(String),
    /// No answer.
    Hangs,
}

/// The state of the world.
#[derive(Debug)]
pub struct Scene {
    /// The slot that has the traffic.
    pub active: String,
    /// Number of moves of the route.
    pub generation: u32,
    /// Slots that run, and the version in each.
    pub running: BTreeMap<String, String>,
    /// Slots that run and answer 503 to probes.
    pub sick: Vec<String>,
    /// A version that answers 500 to users.
    pub bad_version: Option<String>,
    /// Whether smoke tests get the answer 500.
    pub bad_smoke: bool,
    /// Whether a smoke test makes the new slot sick.
    pub sick_after_smoke: bool,
    /// Number of requests between two readings of the group.
    pub traffic: u64,
    /// Deployments whose migration is in the database, in order.
    pub database: Vec<String>,
    /// Moves of the route.
    pub moves: Vec<String>,
    /// Commands, in order.
    pub commands: Vec<String>,
    /// Number of failures to come of each command and of reading the `group`.
    pub faults: BTreeMap<String, u32>,
    /// The exit code of the next run of a command.
    pub exit_code: BTreeMap<String, i32>,
    /// Commands that never end.
    pub hanging: Vec<String>,
    /// What commands write.
    pub outputs: BTreeMap<String, String>,
    /// The environment of the last run of each command.
    pub environments: BTreeMap<String, BTreeMap<String, String>>,
    /// Faults of the next switches.
    pub switch_faults: Vec<Fault>,
    /// Number of requests that a slot without traffic holds.
    pub held: u64,
    /// A slot that becomes sick when green gets the traffic.
    pub sick_after_switch: Option<String>,
    /// Number of readings of the group until somebody else moves the route, and the slot that gets it.
    pub moved_after: Option<(u32, String)>,
    /// Number of readings of the group that fail after green got the traffic.
    pub blind_after_switch: u32,
    /// Servers of each slot, in the order of the configuration.
    pub slots: Vec<(String, Vec<Peer>)>,
    /// Servers that refuse connections.
    pub dead: Vec<String>,
    /// A slot with a share, and the share.
    pub split: Option<(String, Percent)>,
    /// The trial of the last change.
    pub trial: Option<TrialState>,
    /// Failed probes of the fallback of a trial. After some, nothing may move the traffic there.
    pub(super) sick_probes: u32,
    /// When the lease of the trial ends.
    pub(super) lease: Option<Instant>,
    /// The slot that was chosen as standby.
    pub standby: Option<String>,
    /// Requests and upgraded connections that slots without traffic hold.
    pub holds: BTreeMap<String, (u64, u64)>,
    /// What the edge counts of previews of a slot. A stopped slot holds none.
    pub previews: BTreeMap<String, Previews>,
    /// Other groups of the edge.
    pub others: Vec<Group>,
    /// A version, and the percentage of its answers that are 500.
    pub errors: Option<(String, u64)>,
    /// The percentage of answers of every version that are 500.
    pub(super) errors_of_both: Option<u64>,
    /// A version, and the percentage of its requests that get no answer.
    pub hangs: Option<(String, u64)>,
    /// A version, and the percentage of its answers that are 404.
    pub not_found: Option<(String, u64)>,
    /// A version, and the number of answers after which it answers only 500.
    pub bad_after: Option<(String, u64)>,
    /// Servers that die when green gets the traffic.
    pub dead_after_switch: Vec<String>,
    /// Whether the edge takes the traffic back before it answers the switch. The answer does not say so.
    pub taken_back_in_reply: bool,
    /// Number of readings of the group until the edge takes the traffic back to blue.
    pub taken_back_after: Option<u32>,
    /// The rule by which the edge does so.
    pub(super) takes_back_by: TakenBackBy,
    /// The rule by which the edge made the last move of the route.
    pub taken_back: Option<TakenBackBy>,
    /// The reason that the last move of the route was given.
    pub reason: Option<String>,
    /// Whether an operator may start the version of a slot with traffic again.
    pub may_start_active: bool,
    /// Whether the edge counts answers.
    pub counts: bool,
    /// Whether the edge has changes on trial.
    pub trials: bool,
    /// Whether the edge can give a slot a share.
    pub shares: bool,
    /// A command, and a change of the scene after it has run.
    pub after_command: Option<(String, Hook)>,
    /// Calls in transit, and the generations that they expect.
    pub(super) late: Vec<(Late, u32)>,
    /// Why the edge does not answer.
    pub away: Option<Away>,
    pub(super) counters: BTreeMap<String, Counters>,
    /// The servers that synthetic requests were sent to, in order.
    pub synthetic: Vec<String>,
    /// How long the edge takes for each answer.
    pub delay: Duration,
    /// What queries for each slot give, while it has traffic, and for the time when it had. Absent: no result.
    pub signals: BTreeMap<String, Said>,
    /// The queries, and how long before their time they were to be evaluated.
    pub asked: Vec<(String, Duration)>,
    /// Violations of the promises.
    pub violations: Vec<String>,
}

impl Default for Scene {
    /// Version 1 runs in blue, which has the traffic.
    fn default() -> Self {
        Self {
            active: "blue".to_owned(),
            generation: 4,
            running: [("blue".to_owned(), "1".to_owned())].into(),
            sick: Vec::new(),
            bad_version: None,
            bad_smoke: false,
            sick_after_smoke: false,
            traffic: 100,
            database: Vec::new(),
            moves: Vec::new(),
            commands: Vec::new(),
            faults: BTreeMap::new(),
            exit_code: BTreeMap::new(),
            hanging: Vec::new(),
            outputs: BTreeMap::new(),
            environments: BTreeMap::new(),
            switch_faults: Vec::new(),
            held: 0,
            sick_after_switch: None,
            moved_after: None,
            blind_after_switch: 0,
            slots: [("blue", 1), ("green", 2)].map(|(name, port)| (name.to_owned(), vec![peer(port)])).into(),
            dead: Vec::new(),
            split: None,
            trial: None,
            sick_probes: 0,
            lease: None,
            standby: None,
            holds: BTreeMap::new(),
            previews: BTreeMap::new(),
            others: Vec::new(),
            errors: None,
            errors_of_both: None,
            hangs: None,
            not_found: None,
            bad_after: None,
            dead_after_switch: Vec::new(),
            taken_back_in_reply: false,
            taken_back_after: None,
            takes_back_by: TakenBackBy::Guard,
            taken_back: None,
            reason: None,
            may_start_active: false,
            counts: true,
            trials: true,
            shares: true,
            after_command: None,
            late: Vec::new(),
            away: None,
            counters: BTreeMap::new(),
            synthetic: Vec::new(),
            delay: Duration::from_millis(1),
            signals: BTreeMap::new(),
            asked: Vec::new(),
            violations: Vec::new(),
        }
    }
}

impl Scene {
    /// Lets the next runs of a command, or the next readings of the `group`, fail.
    pub fn fail(&mut self, what: &str, times: u32) {
        self.faults.insert(what.to_owned(), times);
    }

    /// Moves the route as somebody else.
    pub fn move_route(&mut self, to: &str) {
        self.active = to.to_owned();
        self.taken_back = None;
        self.reason = None;
        self.split = None;
        self.trial = None;
        self.lease = None;
        self.generation += 1;
    }

    /// After this number of readings with traffic on green, the edge takes the traffic back to blue by this rule.
    pub fn taken_back_by(&mut self, rule: TakenBackBy, readings: u32) {
        self.takes_back_by = rule;
        self.taken_back_after = Some(readings);
    }

    /// Both versions answer this percentage of requests with 500.
    pub fn errors_of_both(&mut self, percent: u64) {
        self.errors_of_both = Some(percent);
    }

    pub(super) fn fails(&mut self, what: &str) -> bool {
        match self.faults.get_mut(what) {
            Some(0) | None => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    pub(super) fn healthy(&self, slot: &str) -> bool {
        self.running.contains_key(slot) && !self.sick.iter().any(|sick| sick == slot)
    }

    /// Whether requests of users go to a slot, or may at any moment.
    pub(super) fn has_users(&self, slot: &str) -> bool {
        self.active == slot
            || self.split.as_ref().is_some_and(|(second, _)| second == slot)
            || self.trial.as_ref().is_some_and(|trial| trial.fallback == slot)
    }

    /// Requests and upgraded connections that a slot without traffic holds. A stopped slot holds none.
    pub(super) fn held_by(&self, slot: &str) -> (u64, u64) {
        let holds = self.holds.get(slot).copied().unwrap_or((self.held, 0));
        if self.running.contains_key(slot) { holds } else { (0, 0) }
    }

    /// What the edge counts of previews of a slot.
    pub(super) fn previews_of(&self, slot: &str) -> Previews {
        let previews = self.previews.get(slot).copied().unwrap_or_default();
        if self.running.contains_key(slot) {
            previews
        } else {
            Previews { in_flight: 0, upgraded: 0, ..previews }
        }
    }
}
