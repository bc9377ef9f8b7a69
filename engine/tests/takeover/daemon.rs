//! A daemon: whether it leads, and how far its driver is.

use super::MOST_EDGES;
use super::edge::{Reply, Seen, Slot};
use super::records::{Generations, Record};

/// A daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Daemon {
    /// Whether its process is stopped, and goes on later with what it had in mind.
    pub(crate) is_paused: bool,
    /// Whether its lease in the store has run out while it was paused.
    pub(crate) is_over: bool,
    /// Its epoch; 0 if it does not lead.
    pub(crate) epoch: u8,
    /// The last record, as it knows it.
    pub(crate) record: Record,
    /// The edges that did not answer the last time.
    pub(crate) away: [bool; MOST_EDGES],
    /// How far its driver is.
    pub(crate) stage: Stage,
}

/// How far a driver is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// There is nothing to drive.
    Idle,
    /// It takes over.
    TakesOver(Fencing),
    /// It has sent fences.
    Fences { asked: [Asked; MOST_EDGES], so_far: Fencing },
    /// It begins the work of its phase. These edges have confirmed the switch.
    Begins { confirmed: [bool; MOST_EDGES], round: u8 },
    /// It moves the routes forward.
    Switches([Try; MOST_EDGES]),
    /// It has sent confirmations to the edges that are as it has left them.
    Confirms { asked: [Asked; MOST_EDGES], confirmed: [bool; MOST_EDGES], round: u8 },
    /// It moves the routes back.
    GoesBack([Asked; MOST_EDGES]),
    /// It has sent fences to the edges that its rollback has not moved.
    Closes([Asked; MOST_EDGES]),
    /// It is about to stop a slot, which no edge used when it looked.
    Stops(Slot),
    /// It has sent a record. It is written, but the daemon was paused when the reply came.
    Records { next: Record, is_written: bool },
}

/// How far a driver is that takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fencing {
    /// The edges that are still to be fenced.
    pub(crate) left: [bool; MOST_EDGES],
    /// The generations of those that are.
    pub(crate) fenced: Generations,
    /// Those among them on which the switch of the driver before had taken effect.
    pub(crate) arrived: [bool; MOST_EDGES],
    /// Number of tries so far.
    pub(crate) round: u8,
}

/// A change that was sent to an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    /// None was sent.
    Not,
    /// The edge was away and is read once more.
    Reads,
    /// The edge was away again.
    Away,
    Waits,
    Done(Seen),
    /// It failed, or the reply was lost.
    Failed,
}

/// `shift_until_known` on one edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Try {
    /// The edge is none of the deployment.
    None,
    /// The route is to be read.
    Reads { failed: u8, is_sent: bool },
    /// The change was sent. `is_there`: it is only to be confirmed.
    Waits { failed: u8, is_sent: bool, is_there: bool },
    /// It has an outcome.
    Ends(Shifted),
}

/// The outcome of a change forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Shifted {
    /// It is made. Holds the generation.
    Done(u8),
    NotDone,
    Elsewhere(Seen),
    Uncertain,
}

/// The driver tries a change up to eight times. More than two tries of the model show nothing new.
const MOST_TRIES: u8 = 2;

impl Daemon {
    pub(crate) fn new(record: Record) -> Self {
        Self {
            is_paused: false,
            is_over: false,
            epoch: 0,
            record,
            away: [false; MOST_EDGES],
            stage: Stage::Idle,
        }
    }

    /// Whether it acts as a leader now.
    pub(crate) fn drives(&self) -> bool {
        self.epoch > 0 && !self.is_paused
    }

    /// Begins the work of the phase of its record.
    pub(crate) fn begin(&mut self, ended: bool) {
        self.stage = match ended {
            true => Stage::Idle,
            false => Stage::Begins { confirmed: [false; MOST_EDGES], round: 0 },
        };
    }

    /// The reply to a change arrives. `None`: it is lost.
    pub(crate) fn hears(&mut self, edge: usize, reply: Option<Reply>) {
        let answered = |asked: &mut Asked| {
            if *asked == Asked::Waits {
                *asked = match reply {
                    Some(Reply::Done(seen)) => Asked::Done(seen),
                    _ => Asked::Failed,
                };
            }
        };
        match &mut self.stage {
            Stage::Fences { asked, .. }
            | Stage::Confirms { asked, .. }
            | Stage::GoesBack(asked)
            | Stage::Closes(asked) => {
                answered(&mut asked[edge]);
            }
            Stage::Switches(tries) => tries[edge].hears(reply),
            _ => {}
        }
    }

    /// Whether all changes of this stage have an outcome.
    pub(crate) fn may_conclude(&self) -> bool {
        let waits = |asked: &[Asked]| asked.iter().any(|asked| matches!(asked, Asked::Waits | Asked::Reads));
        match &self.stage {
            Stage::Fences { asked, .. }
            | Stage::Confirms { asked, .. }
            | Stage::GoesBack(asked)
            | Stage::Closes(asked) => !waits(asked),
            Stage::Switches(tries) => tries.iter().all(|one| matches!(one, Try::None | Try::Ends(_))),
            _ => false,
        }
    }

    /// Whether it waits for the reply of this edge.
    pub(crate) fn waits_for(&self, edge: usize) -> bool {
        match &self.stage {
            Stage::Fences { asked, .. }
            | Stage::Confirms { asked, .. }
            | Stage::GoesBack(asked)
            | Stage::Closes(asked) => asked[edge] == Asked::Waits,
            Stage::Switches(tries) => matches!(tries[edge], Try::Waits { .. }),
            _ => false,
        }
    }

    /// Whether it is to read this edge alone.
    pub(crate) fn reads(&self, edge: usize) -> bool {
        match &self.stage {
            Stage::GoesBack(asked) | Stage::Closes(asked) => asked[edge] == Asked::Reads,
            Stage::Switches(tries) => matches!(tries[edge], Try::Reads { .. }),
            _ => false,
        }
    }
}

impl Try {
    fn hears(&mut self, reply: Option<Reply>) {
        let Self::Waits { failed, is_sent, is_there } = *self else { return };
        let failed = failed + 1;
        let again = |is_sent| match failed < MOST_TRIES {
            true => Self::Reads { failed, is_sent },
            false => Self::Ends(Shifted::Uncertain),
        };
        *self = match reply {
            Some(Reply::Done(seen)) if seen.on == Slot::New => Self::Ends(Shifted::Done(seen.generation)),
            Some(Reply::Done(_)) => again(is_sent),
            Some(Reply::Refused) if !is_there && !is_sent => Self::Ends(Shifted::NotDone),
            Some(Reply::Moved) => again(is_sent),
            Some(Reply::Refused) | None => again(true),
        };
    }
}
