//! The records of one deployment. The transitions are those of core; a record is a number here, so that a situation stays small.
//!
//! The time stands still and no wait has a length, so any wait may end at any moment. Texts are left out, because no decision
//! depends on them. Of the tries of a step the first two and the last one are kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cutover_core::deployment::{
    CauseKind, Event, Mark, Marks, Moved, Old, Phase, Plan, Retry, Revision, RollbackStep, State, Steps,
    Store, TakenBackBy, TeardownStep, Time,
};

use super::MOST_EDGES;
use super::edge::Slot;

/// A record, by its number.
pub(crate) type Record = u16;
/// A generation by edge; 0 if there is none.
pub(crate) type Generations = [u8; MOST_EDGES];

const NAMES: [&str; MOST_EDGES] = ["a", "b", "c"];
/// A step that failed so often is at its last try.
const FAILED_TWICE: u32 = 2;
/// The largest number of tries that core counts.
const LAST_SWITCH: u32 = 7;
const LAST_COMMAND: u32 = 5;

/// What the driver does in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Smoke,
    Read,
    Switch,
    Soak,
    Confirm,
    DrainOld,
    StopOld,
    StopNew,
    GoBack,
    DrainNew,
    Nothing,
}

/// What a record says.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) job: Job,
    /// The generations that the switch expects.
    pub(crate) expected: Generations,
    /// The generations after the switch.
    pub(crate) switched: Generations,
    /// The generations at which a change of an earlier driver could take effect.
    pub(crate) fences_at: Generations,
    /// Whether the traffic goes back because an edge has taken it back.
    pub(crate) is_taken_back: bool,
    /// Whether a switch may have been sent, and is undone.
    pub(crate) closes: bool,
    /// Whether the new version stays.
    pub(crate) is_committed: bool,
    /// The slot that every edge should be on, if no driver decides.
    pub(crate) desired: Option<Slot>,
    /// Where the deployment ended, if it has. `Some(None)`: an operator must act.
    pub(crate) ended: Option<Option<Slot>>,
    /// Whether no operator has to act.
    pub(crate) is_well: bool,
}

/// The result of the work of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Result {
    SmokePassed,
    SmokeFailed,
    RouteRead(Generations),
    Switched(Generations),
    NotSwitched,
    SwitchUncertain,
    RouteMoved,
    TakenBack(TakenBackBy),
    Confirmed,
    SoakPassed,
    SoakBad,
    SoakBlind,
    Drained,
    DrainTimedOut,
    Stopped,
    SwitchedBack,
    StepFailed,
}

#[derive(Default)]
struct Records {
    known: Vec<(State, Said)>,
    numbers: HashMap<String, Record>,
    steps: HashMap<(Record, Result), Record>,
    fences: HashMap<(Record, Generations), Record>,
}

static RECORDS: LazyLock<Mutex<Records>> = LazyLock::new(Mutex::default);
static PLAN: LazyLock<Plan> = LazyLock::new(plan);

fn records() -> MutexGuard<'static, Records> {
    RECORDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The record of a deployment whose new slot is healthy.
pub(crate) fn first() -> Record {
    let mut state = PLAN.begin(Time(0));
    for event in [Event::Provisioned, Event::Ready] {
        state = PLAN.step(&state, event, Time(0)).unwrap();
    }
    records().number(state)
}

/// What a record says.
pub(crate) fn said(record: Record) -> Said {
    records().known[usize::from(record)].1.clone()
}

/// The record that follows from a result.
pub(crate) fn after(record: Record, result: Result) -> Record {
    let mut records = records();
    if let Some(next) = records.steps.get(&(record, result)) {
        return *next;
    }
    let state = records.known[usize::from(record)].0.clone();
    let next = PLAN
        .step(&state, result.event(&state), Time(0))
        .unwrap_or_else(|illegal| panic!("{illegal} in {:?}", state.phase));
    let next = records.number(without_details(next));
    records.steps.insert((record, result), next);
    next
}

/// The record after fences of a driver that has taken over.
pub(crate) fn fenced(record: Record, generations: Generations) -> Record {
    let mut records = records();
    if let Some(next) = records.fences.get(&(record, generations)) {
        return *next;
    }
    let mut state = records.known[usize::from(record)].0.clone();
    for (edge, generation) in named(&generations) {
        state = state.fenced(&edge, generation);
    }
    let next = records.number(state);
    records.fences.insert((record, generations), next);
    next
}

impl Records {
    fn number(&mut self, state: State) -> Record {
        let text = serde_json::to_string(&state).unwrap();
        let Self { known, numbers, .. } = self;
        *numbers.entry(text).or_insert_with(|| {
            let said = Said::of(&state);
            known.push((state, said));
            Record::try_from(known.len() - 1).unwrap()
        })
    }
}

impl Result {
    fn event(self, state: &State) -> Event {
        let why = String::new;
        match self {
            Self::SmokePassed => Event::SmokePassed,
            Self::SmokeFailed => Event::SmokeFailed(why()),
            Self::RouteRead(generations) => Event::RouteRead(Box::new(marks(&generations))),
            Self::Switched(generations) => Event::Switched { revisions: named(&generations).collect() },
            Self::NotSwitched => Event::NotSwitched(why()),
            Self::SwitchUncertain => Event::SwitchUncertain(why()),
            Self::RouteMoved => Event::RouteMoved(Moved { text: why(), active: why(), settled: false }),
            Self::TakenBack(by) => Event::TakenBack(by),
            Self::Confirmed => Event::Confirmed,
            Self::SoakPassed => Event::SoakPassed,
            Self::SoakBad => Event::SoakBad(why()),
            Self::SoakBlind => Event::SoakBlind(why()),
            Self::Drained => Event::Drained,
            Self::DrainTimedOut => Event::DrainTimedOut(why()),
            Self::Stopped => match state.phase {
                Phase::Decommissioning(_) => Event::Decommissioned,
                _ => Event::TornDown,
            },
            Self::SwitchedBack => Event::SwitchedBack,
            Self::StepFailed => Event::StepFailed(why()),
        }
    }
}

impl Said {
    fn of(state: &State) -> Self {
        let mark = |edge: usize| state.marks.as_ref()?.edges.get(NAMES[edge]);
        let expected = std::array::from_fn(|edge| mark(edge).map_or(0, |mark| generation(&mark.expected)));
        let switched = std::array::from_fn(|edge| {
            mark(edge).and_then(|mark| mark.switched.as_ref()).map_or(0, generation)
        });
        let job = job(&state.phase);
        Self {
            job,
            expected,
            switched,
            fences_at: std::array::from_fn(|edge| state.fences_at(NAMES[edge]).map_or(0, generation)),
            is_taken_back: state.phase.cause().is_some_and(|cause| cause.kind == CauseKind::TakenBack),
            closes: state.marks.is_some(),
            is_committed: matches!(job, Job::Confirm | Job::DrainOld | Job::StopOld)
                || matches!(state.phase, Phase::Completed { .. }),
            desired: desired(state),
            is_well: !state.phase.needs_operator(),
            ended: match &state.phase {
                Phase::Completed { .. } => Some(Some(Slot::New)),
                Phase::Failed(_) | Phase::RolledBack { .. } => Some(Some(Slot::Old)),
                Phase::Stuck { .. } => Some(None),
                _ => None,
            },
        }
    }
}

fn job(phase: &Phase) -> Job {
    match phase {
        Phase::Smoking => Job::Smoke,
        Phase::Switching(Store::Reading) => Job::Read,
        Phase::Switching(Store::Storing) => Job::Switch,
        Phase::Soaking { .. } => Job::Soak,
        Phase::Confirming(_) => Job::Confirm,
        Phase::Draining { .. } => Job::DrainOld,
        Phase::Decommissioning(_) => Job::StopOld,
        Phase::TearingDown { step: TeardownStep::Teardown, .. }
        | Phase::RollingBack { step: RollbackStep::Teardown, .. } => Job::StopNew,
        Phase::RollingBack { step: RollbackStep::SwitchBack, .. } => Job::GoBack,
        Phase::RollingBack { step: RollbackStep::Drain { .. }, .. } => Job::DrainNew,
        phase if phase.is_final() => Job::Nothing,
        phase => panic!("the plan has no such phase: {phase:?}"),
    }
}

/// As `settled_on` of the daemon's repair.
fn desired(state: &State) -> Option<Slot> {
    match &state.phase {
        Phase::Draining { .. } | Phase::Decommissioning(_) | Phase::Completed { .. } => Some(Slot::New),
        Phase::RollingBack { step: RollbackStep::SwitchBack, .. } => None,
        Phase::RollingBack { .. }
        | Phase::RolledBack { .. }
        | Phase::TearingDown { .. }
        | Phase::Failed(_)
        | Phase::Smoking => Some(Slot::Old),
        _ if state.marks.is_none() => Some(Slot::Old),
        _ => None,
    }
}

/// The state without texts, and with a short count of tries.
fn without_details(mut state: State) -> State {
    let shorten = |retry: &mut Retry, last| {
        retry.at = Time(0);
        if retry.failed >= FAILED_TWICE {
            retry.failed = last;
        }
    };
    match &mut state.phase {
        Phase::Confirming(retry) => shorten(retry, LAST_SWITCH),
        Phase::Decommissioning(retry) => shorten(retry, LAST_COMMAND),
        Phase::TearingDown { cause, retry, .. } => {
            cause.text.clear();
            shorten(retry, LAST_COMMAND);
        }
        Phase::RollingBack { cause, step, retry, .. } => {
            cause.text.clear();
            let is_switch = matches!(step, RollbackStep::SwitchBack);
            shorten(retry, if is_switch { LAST_SWITCH } else { LAST_COMMAND });
        }
        Phase::Failed(cause) | Phase::RolledBack { cause, .. } => cause.text.clear(),
        Phase::Completed { note } => *note = None,
        Phase::Stuck { reason, next, .. } => {
            reason.clear();
            next.clear();
        }
        _ => {}
    }
    state
}

fn marks(generations: &Generations) -> Marks {
    let edges: BTreeMap<String, Mark> =
        named(generations).map(|(edge, expected)| (edge, Mark { expected, ..Mark::default() })).collect();
    Marks { edges, old: Old { servers: 1, healthy: 1, ..Old::default() }, ..Marks::default() }
}

fn named(generations: &Generations) -> impl Iterator<Item = (String, Revision)> {
    let known = NAMES.iter().zip(*generations).filter(|(_, generation)| *generation > 0);
    known.map(|(name, generation)| ((*name).to_owned(), Revision::new(generation.to_string())))
}

fn generation(revision: &Revision) -> u8 {
    revision.as_str().parse().unwrap()
}

fn plan() -> Plan {
    Plan {
        group: "shop".to_owned(),
        from: "old".to_owned(),
        to: "new".to_owned(),
        migrate: false,
        provision: true,
        revert: false,
        decommission: true,
        probe_deadline: Duration::ZERO,
        steps: Steps::default(),
        soak: Duration::ZERO,
        extend: Duration::ZERO,
        accept_inconclusive: false,
        drain: Duration::ZERO,
        warm: Duration::ZERO,
        served: BTreeMap::new(),
        known: Default::default(),
        probes_only: false,
        excluded: Vec::new(),
        with: Default::default(),
    }
}
