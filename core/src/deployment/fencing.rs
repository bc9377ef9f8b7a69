//! The revision at which a deployment expects the route. A driver that takes over from another process moves it, so that a change
//! by that process which is still in transit can no longer take effect.

use super::{Mark, Phase, Revision, State, Store};

impl State {
    /// The revision of the route on an edge at which a change by an earlier driver of this deployment could take effect. `None` if
    /// no such change can be in transit, or if the work of the phase begins with a fence.
    pub fn fences_at(&self, edge: &str) -> Option<&Revision> {
        let mark = self.marks.as_ref()?.edges.get(edge)?;
        match &self.phase {
            Phase::Switching(Store::Storing) => Some(&mark.expected),
            // Without a share the deployment has not changed the route yet.
            Phase::Switching(Store::Reading) => Some(&mark.expected).filter(|_| mark.moved),
            Phase::Soaking { .. }
            | Phase::Confirming(_)
            | Phase::Draining { .. }
            | Phase::Warm { .. }
            | Phase::Decommissioning(_) => mark.switched.as_ref(),
            Phase::Migrating
            | Phase::Provisioning
            | Phase::Probing { .. }
            | Phase::Smoking
            | Phase::TearingDown { .. }
            | Phase::RollingBack { .. }
            | Phase::Completed { .. }
            | Phase::Failed(_)
            | Phase::RolledBack { .. }
            | Phase::Stuck { .. } => None,
        }
    }

    /// The state after a fence on this edge.
    pub fn fenced(mut self, edge: &str, revision: Revision) -> Self {
        let is_switching = matches!(self.phase, Phase::Switching(_));
        let marks = self.marks.as_mut();
        if let Some(mark) = marks.and_then(|marks| marks.edges.get_mut(edge)) {
            let Mark { expected, switched, .. } = mark;
            if is_switching {
                *expected = revision;
            } else {
                *switched = Some(revision);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Marks, Retry, Time};
    use super::*;

    fn state(phase: Phase, moved: bool) -> State {
        let mark = Mark {
            expected: Revision::new("generation 4"),
            switched: Some(Revision::new("generation 5")),
            moved,
            ..Mark::default()
        };
        let marks = Marks { edges: [("nginx".to_owned(), mark)].into(), ..Marks::default() };
        State { marks: Some(marks), ..State::new(phase) }
    }

    #[test]
    fn each_phase_has_the_revision_at_which_a_late_change_counts() {
        let until = Time(9);
        for (phase, moved, at) in [
            (Phase::Smoking, false, None),
            (Phase::Switching(Store::Reading), false, None),
            (Phase::Switching(Store::Reading), true, Some("generation 4")),
            (Phase::Switching(Store::Storing), false, Some("generation 4")),
            (Phase::Soaking { until: Some(until) }, false, Some("generation 5")),
            (Phase::Confirming(Retry::default()), false, Some("generation 5")),
            (Phase::Draining { until }, false, Some("generation 5")),
            (Phase::Warm { until }, false, Some("generation 5")),
            (Phase::Decommissioning(Retry::default()), false, Some("generation 5")),
            (Phase::Completed { note: None }, false, None),
        ] {
            let before = state(phase, moved);
            assert_eq!(before.fences_at("nginx").map(Revision::as_str), at, "{before:?}");
            assert_eq!(before.fences_at("another"), None);
            let after = before.clone().fenced("nginx", Revision::new("generation 9"));
            if at.is_some() {
                assert_eq!(after.fences_at("nginx").map(Revision::as_str), Some("generation 9"));
            }
            assert_eq!(after.phase, before.phase);
        }
    }
}
