//! Which flushes may be reported as durable.
//!
//! The kernel reports a page that could not be written once for each opening of a file, and takes the page for clean then. If
//! several flushes run at once, one gets the report, and the change of any of them may be the one that is lost. So a flush that
//! succeeded counts only if no flush by this opening has failed since before the change was made; and it is not reported before
//! all those have ended that were under way with it.

use std::collections::BTreeSet;

/// How many flushes had failed before a change was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// The flushes of one process by one opening of a file. `W` waits for one of them.
#[derive(Clone, Debug)]
pub struct Ledger<W> {
    failures: u64,
    begun: u64,
    under_way: BTreeSet<u64>,
    held: Vec<Held<W>>,
}

/// A flush that succeeded, while others have not ended yet.
#[derive(Clone, Debug)]
struct Held<W> {
    ticket: Ticket,
    /// The latest flush that was under way.
    after: u64,
    waits: W,
}

impl<W> Default for Ledger<W> {
    fn default() -> Self {
        Self { failures: 0, begun: 0, under_way: BTreeSet::new(), held: Vec::new() }
    }
}

impl<W> Ledger<W> {
    /// A ticket, to be taken before a change is made.
    pub fn ticket(&self) -> Ticket {
        Ticket(self.failures)
    }

    /// Notes that a flush has begun; returns its number.
    pub fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.under_way.insert(self.begun);
        self.begun
    }

    /// A flush has ended. Returns all flushes that can be reported now, each with whether its change is on disk.
    pub fn end(&mut self, number: u64, went_well: bool, ticket: Ticket, waits: W) -> Vec<(W, bool)> {
        self.under_way.remove(&number);
        if !went_well {
            self.failures += 1;
        }
        self.held.push(Held { ticket, after: self.begun, waits });
        let first = self.under_way.first().copied().unwrap_or(u64::MAX);
        let failures = self.failures;
        let known = |held: &mut Held<W>| held.ticket.0 != failures || held.after < first;
        self.held.extract_if(.., known).map(|held| (held.waits, held.ticket.0 == failures)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other() {
        let mut ledger = Ledger::default();
        for went_well in [true, false, true] {
            let ticket = ledger.ticket();
            let number = ledger.begin();
            assert_eq!(ledger.end(number, went_well, ticket, "one"), [("one", went_well)]);
        }
    }

    #[test]
    fn of_two_at_once_both_fail_whoever_is_told_of_it() {
        for (first, last) in [(true, false), (false, true)] {
            let mut ledger = Ledger::default();
            let ticket = ledger.ticket();
            let (one, other) = (ledger.begin(), ledger.begin());
            let mut known = ledger.end(one, first, ticket, "one");
            assert_eq!(known.len(), usize::from(!first), "what went well waits for the other");
            known.extend(ledger.end(other, last, ticket, "other"));
            assert_eq!(known, [("one", false), ("other", false)]);
        }
    }

    #[test]
    fn a_flush_that_fails_after_the_change_spoils_one_that_begins_later() {
        let mut ledger = Ledger::default();
        let before = ledger.begin();
        let ticket = ledger.ticket();
        assert_eq!(ledger.end(before, false, ticket, "before"), [("before", false)]);
        let number = ledger.begin();
        assert_eq!(ledger.end(number, true, ticket, "changed before that"), [("changed before that", false)]);
    }

    #[test]
    fn nobody_waits_for_those_that_begin_later() {
        let mut ledger = Ledger::default();
        let ticket = ledger.ticket();
        let (one, other) = (ledger.begin(), ledger.begin());
        assert_eq!(ledger.end(one, true, ticket, "one"), []);
        let later = ledger.begin();
        assert_eq!(ledger.end(other, true, ticket, "other"), [("one", true)]);
        assert_eq!(ledger.end(later, true, ticket, "later"), [("other", true), ("later", true)]);
    }
}
