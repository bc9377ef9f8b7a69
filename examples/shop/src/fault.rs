//! The ways in which a release may be bad.

use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

/// What is wrong with this release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `never-ready`: its start never completes, as when a service it needs cannot be reached.
    NeverReady,
    /// `bad-catalogue`: healthy, but its catalogue is empty.
    BadCatalogue,
    /// `errors-after=N`: from the Nth request on it no longer gives database connections back. A few probes and smoke
    /// requests pass; real traffic uses them all up and gets 500.
    ErrorsAfter(u32),
    /// `exit-after=N`: the process dies amid the Nth request.
    ExitAfter(u32),
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count = |count: &str| {
            count.parse().map_err(|error| format!("{count:?} is no count of requests: {error}"))
        };
        match text.split_once('=') {
            None if text == "never-ready" => Ok(Self::NeverReady),
            None if text == "bad-catalogue" => Ok(Self::BadCatalogue),
            Some(("errors-after", requests)) => Ok(Self::ErrorsAfter(count(requests)?)),
            Some(("exit-after", requests)) => Ok(Self::ExitAfter(count(requests)?)),
            _ => Err("it is one of never-ready, bad-catalogue, errors-after=N, exit-after=N".to_owned()),
        }
    }
}

/// Acts out a fault as requests come.
#[derive(Debug)]
pub(crate) struct Trouble {
    fault: Option<Fault>,
    requests: AtomicU32,
}

impl Trouble {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        Self { fault, requests: AtomicU32::new(0) }
    }

    pub(crate) fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Counts a request that uses the database; whether its connection is lost to the pool.
    pub(crate) fn leaks(&self) -> bool {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        match self.fault {
            Some(Fault::ExitAfter(last)) if number >= last => {
                eprintln!("out of memory at request {number}");
                std::process::exit(137)
            }
            Some(Fault::ErrorsAfter(last)) => number >= last,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_names() {
        assert_eq!("never-ready".parse(), Ok(Fault::NeverReady));
        assert_eq!("errors-after=40".parse(), Ok(Fault::ErrorsAfter(40)));
        assert_eq!("exit-after=3".parse(), Ok(Fault::ExitAfter(3)));
        for wrong in ["", "exit-after", "exit-after=x", "never-ready=3"] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn connections_leak_from_the_nth_request_on() {
        let trouble = Trouble::new(Some(Fault::ErrorsAfter(3)));
        let leaks: Vec<_> = (0..4).map(|_| trouble.leaks()).collect();
        assert_eq!(leaks, [false, false, true, true]);
    }
}
