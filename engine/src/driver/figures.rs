//! Keeps a point of the figures at each look, from the first traffic of the new version until the old one has drained.

use cutover_core::deployment::{Phase, State};
use cutover_core::verdict::{EdgeReading, Reading};

use super::work::Work;
use crate::figures::Point;
use crate::journal::Journal;
use crate::world::World;

impl<W: World, J: Journal> Work<W, J> {
    /// Counts from here: the new version is about to get its first traffic. A driver that begins later counts from its first look,
    /// because what came before is kept already.
    pub(super) fn begin_figures(&self, state: &State) {
        let marks = state.marks.iter().flat_map(|marks| &marks.edges);
        let edges = marks.map(|(edge, mark)| EdgeReading {
            edge: edge.clone(),
            new: Some(mark.baseline.clone()),
            old: mark.old.clone(),
        });
        self.counted.lock().get_or_insert_with(|| (self.clock.now(), edges.collect()));
    }

    /// Keeps what both slots did since the last look.
    pub(super) fn keep_point(&self, reading: &Reading, state: &State) {
        if matches!(state.phase, Phase::Warm { .. }) {
            return;
        }
        let now = (self.clock.now(), reading.edges.clone());
        let Some(before) = self.counted.lock().replace(now.clone()) else { return };
        let point = Point::between((before.0, &before.1), (now.0, &now.1));
        self.world.keep_figures(&self.deployment.id, point);
    }
}
