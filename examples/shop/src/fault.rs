//! The ways in which a release may be bad.

use std::str::FromStr;

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
    /// `errors=2%`: this share of the users' requests gets 500.
    Errors(Share),
    /// `hangs=30%`: this share of the users' requests gets no answer.
    Hangs(Share),
    /// `not-found`: users get 404 for everything.
    NotFound,
    /// `slower=N`: users wait N times as long as they would.
    Slower(u32),
}

/// A share of the users' requests, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share(u64);

impl Share {
    /// Whether the Nth request belongs to the share. The requests of the share are spread evenly.
    pub(crate) fn has(self, number: u64) -> bool {
        number * self.0 / 100 > number.saturating_sub(1) * self.0 / 100
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count =
            |count: &str| count.parse().map_err(|error| format!("{count:?} is no whole number: {error}"));
        match text.split_once('=') {
            None if text == "never-ready" => Ok(Self::NeverReady),
            None if text == "bad-catalogue" => Ok(Self::BadCatalogue),
            None if text == "not-found" => Ok(Self::NotFound),
            Some(("errors-after", requests)) => Ok(Self::ErrorsAfter(count(requests)?)),
            Some(("exit-after", requests)) => Ok(Self::ExitAfter(count(requests)?)),
            Some(("errors", share)) => Ok(Self::Errors(share.parse()?)),
            Some(("hangs", share)) => Ok(Self::Hangs(share.parse()?)),
            Some(("slower", times)) => Ok(Self::Slower(count(times)?)),
            _ => Err("it is one of never-ready, bad-catalogue, errors-after=N, exit-after=N, errors=N%, hangs=N%, \
                      not-found, slower=N"
                .to_owned()),
        }
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.strip_suffix('%').and_then(|number| number.parse().ok());
        match percent {
            Some(percent @ 1..=100) => Ok(Self(percent)),
            _ => Err(format!("{text:?} is no share from 1% to 100%")),
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
        assert_eq!("errors=2%".parse(), Ok(Fault::Errors(Share(2))));
        assert_eq!("hangs=100%".parse(), Ok(Fault::Hangs(Share(100))));
        assert_eq!("not-found".parse(), Ok(Fault::NotFound));
        assert_eq!("slower=10".parse(), Ok(Fault::Slower(10)));
        for wrong in [
            "",
            "exit-after",
            "exit-after=x",
            "never-ready=3",
            "errors=2",
            "hangs=0%",
            "hangs=101%",
            "slower",
        ] {
            assert!(wrong.parse::<Fault>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_is_spread_evenly() {
        let of = |share: u64, requests: u64| {
            (1..=requests).filter(|number| Share(share).has(*number)).collect::<Vec<_>>()
        };
        assert_eq!(of(2, 150), [50, 100, 150]);
        assert_eq!(of(30, 10), [4, 7, 10]);
        assert_eq!(of(100, 3), [1, 2, 3]);
    }
}
