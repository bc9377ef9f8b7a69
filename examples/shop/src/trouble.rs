//! Counts requests, and says which of them a fault hits.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::fault::Fault;

/// The fault of a release, and the requests so far.
#[derive(Debug)]
pub(crate) struct Trouble {
    fault: Option<Fault>,
    queries: AtomicU32,
    from_users: AtomicU64,
}

impl Trouble {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        Self { fault, queries: AtomicU32::new(0), from_users: AtomicU64::new(0) }
    }

    pub(crate) fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Counts a request that uses the database; whether its connection is lost to the pool.
    pub(crate) fn leaks(&self) -> bool {
        let number = self.queries.fetch_add(1, Ordering::Relaxed) + 1;
        match self.fault {
            Some(Fault::ExitAfter(last)) if number >= last => {
                eprintln!("out of memory at request {number}");
                std::process::exit(137)
            }
            Some(Fault::ErrorsAfter(last)) => number >= last,
            _ => false,
        }
    }

    /// Counts a request of a user; what happens to it in place of an answer.
    pub(crate) fn harm(&self) -> Option<Harm> {
        let number = self.from_users.fetch_add(1, Ordering::Relaxed) + 1;
        match self.fault? {
            Fault::Errors(share) if share.has(number) => Some(Harm::Error),
            Fault::Hangs(share) if share.has(number) => Some(Harm::Hang),
            Fault::NotFound => Some(Harm::NotFound),
            _ => None,
        }
    }

    /// How many times as long as they would users wait.
    pub(crate) fn slower(&self) -> u32 {
        if let Some(Fault::Slower(times)) = self.fault { times } else { 1 }
    }
}

/// What a user gets in place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Status 500.
    Error,
    /// Nothing.
    Hang,
    /// Status 404.
    NotFound,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leak_from_the_nth_request_on() {
        let trouble = Trouble::new(Some(Fault::ErrorsAfter(3)));
        let leaks: Vec<_> = (0..4).map(|_| trouble.leaks()).collect();
        assert_eq!(leaks, [false, false, true, true]);
    }

    #[test]
    fn a_share_of_the_users_is_harmed() {
        let trouble = Trouble::new("hangs=50%".parse().ok());
        let harms: Vec<_> = (0..4).map(|_| trouble.harm()).collect();
        assert_eq!(harms, [None, Some(Harm::Hang), None, Some(Harm::Hang)]);
        assert_eq!(Trouble::new("slower=10".parse().ok()).harm(), None);
    }
}
