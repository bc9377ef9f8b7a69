//! What must hold in every situation.

use stateright::{Expectation, Property};

use super::Takeover;
use super::edge::{Edge, Slot};
use super::records::{self, Job};
use super::situation::{Broken, Situation, Version};

pub(crate) const PROVEN: &str = "traffic moves only to a slot that a probe has found healthy and that runs";
pub(crate) const IN_USE: &str = "no slot is stopped while an edge sends it traffic";
pub(crate) const ONE_DRIVER: &str = "no edge makes a change of an epoch after it was fenced in a newer one";
pub(crate) const ONE_RECORD: &str = "the store takes no record of an epoch that is not the newest";
pub(crate) const LEASED: &str = "before the commit, every edge with the new version has a lease that runs";
pub(crate) const ALL: &str = "the journal says that all edges have switched only after each of them has";
pub(crate) const ONE_OUTCOME: &str =
    "when all is quiet, the deployment has ended and all edges are where it says";
pub(crate) const GOES_ON: &str = "one daemon that is gone leaves nothing to an operator";
const COMPLETES: &str = "a deployment can complete";

pub(crate) fn all() -> Vec<Property<Takeover>> {
    let mut all = vec![
        always(PROVEN, |_, now| now.broken != Some(Broken::Unproven)),
        always(IN_USE, |_, now| now.broken != Some(Broken::StoppedInUse)),
        always(ONE_DRIVER, |_, now| now.broken != Some(Broken::OldChange)),
        always(ONE_RECORD, |_, now| now.broken != Some(Broken::OldRecord)),
        always(LEASED, |_, now| {
            now.store.is_committed || now.edges.iter().all(|edge| edge.on == Slot::Old || edge.on_trial)
        }),
        always(ALL, |of, now| {
            let has_switched = |edge: &Edge| edge.has_switched;
            let is_watched = matches!(records::said(now.store.record).job, Job::Soak | Job::Confirm);
            !is_watched || now.edges.iter().take(of.edges).all(has_switched)
        }),
        always(ONE_OUTCOME, |of, now| now.broken.is_some() || !now.is_quiet(of) || has_one_outcome(of, now)),
        always(GOES_ON, |of, now| {
            of.faults.disturbs_an_edge()
                || of.faults.takeovers() > 1
                || records::said(now.store.record).is_well
        }),
    ];
    all.push(Property::sometimes(COMPLETES, |_, now: &Situation| {
        records::said(now.store.record).ended == Some(Some(Slot::New))
    }));
    all
}

/// The names of the properties that do not hold.
pub(crate) fn broken<T>(found: &[(&'static str, T)]) -> Vec<&'static str> {
    let named =
        |name: &&str| all().iter().any(|one| one.name == *name && one.expectation == Expectation::Always);
    found.iter().map(|(name, _)| *name).filter(named).collect()
}

/// Whether something that should be possible was found.
pub(crate) fn completes<T>(found: &[(&'static str, T)]) -> bool {
    found.iter().any(|(name, _)| *name == COMPLETES)
}

fn always(name: &'static str, holds: fn(&Takeover, &Situation) -> bool) -> Property<Takeover> {
    Property::always(name, holds)
}

fn has_one_outcome(of: &Takeover, now: &Situation) -> bool {
    match records::said(now.store.record).ended {
        // An edge is not repaired while the slot fails its probes.
        Some(Some(Slot::New)) if now.new == Version::Sick => true,
        Some(Some(slot)) => now.edges.iter().take(of.edges).all(|edge| edge.on == slot),
        // An operator must act.
        Some(None) => true,
        None => false,
    }
}
