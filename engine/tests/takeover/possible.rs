//! What can happen in a situation.

use super::daemon::{Daemon, Stage};
use super::edge::What;
use super::situation::{Action, Situation, Version};
use super::{Bug, Takeover};

impl Situation {
    /// All that can happen.
    pub(crate) fn actions(&self, of: &Takeover, actions: &mut Vec<Action>) {
        if self.broken.is_some() {
            return;
        }
        self.happenings(of, actions);
        for (at, daemon) in self.daemons.iter().enumerate() {
            if daemon.epoch == 0 && !daemon.is_paused && self.store.leads == 0 {
                actions.push(Action::Leads(at));
            }
            for edge in 0..of.edges {
                if daemon.waits_for(edge) && (self.edges[edge].is_away || self.left.lost > 0) {
                    actions.push(Action::TimesOut { daemon: at, edge });
                }
            }
            if matches!(daemon.stage, Stage::Records { is_written: false, .. })
                || self.finds_own_record(daemon)
            {
                actions.push(Action::Writes(at));
            }
            if daemon.drives() {
                self.steps(of, at, actions);
            }
        }
    }

    fn finds_own_record(&self, daemon: &Daemon) -> bool {
        daemon.drives() && matches!(daemon.stage, Stage::Records { is_written: true, .. })
    }

    /// What happens without a daemon.
    fn happenings(&self, of: &Takeover, actions: &mut Vec<Action>) {
        let mut last = None;
        for put in &self.transit {
            let edge = &self.edges[usize::from(put.edge)];
            if last == Some(put) || edge.is_away {
                continue;
            }
            last = Some(put);
            actions.push(Action::Arrives { put: *put, again: false });
            if self.left.doubled > 0 {
                actions.push(Action::Arrives { put: *put, again: true });
            }
        }
        for (at, edge) in self.edges.iter().enumerate().take(of.edges) {
            if edge.on_trial {
                actions.push(Action::LeaseEnds(at));
            }
            if edge.is_away {
                actions.push(Action::Heals(at));
            } else if self.left.cut > 0 {
                actions.push(Action::Cut(at));
            }
        }
        if self.left.sick > 0 && self.new == Version::Healthy {
            actions.push(Action::Sickens);
        }
        for (at, daemon) in self.daemons.iter().enumerate() {
            if daemon.is_paused {
                actions.push(Action::Wakes(at));
            } else if daemon.epoch > 0 {
                if self.left.crashes > 0 {
                    actions.push(Action::Crashes(at));
                }
                if self.left.pauses > 0 {
                    actions.push(Action::Pauses(at));
                }
            }
        }
        let leads = self.store.leads;
        if leads > 0 {
            let renews = self.daemons.iter().any(|daemon| daemon.epoch == leads && !daemon.is_paused);
            if !renews || self.left.lapses > 0 {
                actions.push(Action::KeyEnds);
            }
        }
        for (at, (epoch, _)) in self.store.late.iter().enumerate() {
            if *epoch == self.store.leads || of.bug == Some(Bug::NoEpoch) {
                actions.push(Action::WritesLate(at));
            }
        }
    }

    /// What a daemon that leads can do.
    fn steps(&self, of: &Takeover, at: usize, actions: &mut Vec<Action>) {
        let daemon = &self.daemons[at];
        match &daemon.stage {
            Stage::TakesOver(_) => actions.push(Action::Looks(at, 0)),
            Stage::Begins { .. } => {
                let ways = self.next(of, at).len();
                actions.extend((0..ways).map(|way| Action::Looks(at, way as u8)));
            }
            Stage::Stops(_) => actions.push(Action::Stops(at)),
            _ => {}
        }
        if daemon.may_conclude() {
            let ways = self.conclusions(of, at).len();
            actions.extend((0..ways).map(|way| Action::Concludes(at, way as u8)));
        }
        for edge in 0..of.edges {
            if daemon.reads(edge) {
                actions.push(Action::Reads(at, edge));
            }
            if self.repair(of, at, edge).is_some() {
                actions.push(Action::Repairs(at, edge));
            }
        }
    }

    /// Whether nothing more happens until somebody asks for it, except faults, and changes that arrive too late. The driver waits
    /// for a repair, so that is none of them.
    pub(crate) fn is_quiet(&self, of: &Takeover) -> bool {
        let mut actions = Vec::new();
        self.actions(of, &mut actions);
        actions.iter().all(|action| match action {
            Action::Arrives { again: true, .. }
            | Action::Cut(_)
            | Action::Sickens
            | Action::Crashes(_)
            | Action::Pauses(_) => true,
            Action::KeyEnds => {
                self.daemons.iter().any(|daemon| daemon.epoch == self.store.leads && !daemon.is_paused)
            }
            Action::Arrives { put, again: false } => {
                let is_repair = matches!(put.what, What::Repair(_));
                put.waits.is_none()
                    && !(is_repair && put.expects == self.edges[usize::from(put.edge)].generation)
            }
            _ => false,
        })
    }
}
