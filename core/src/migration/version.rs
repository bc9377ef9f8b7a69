//! Versions of the application, and ranges of them: `1.8`, `>= 1.8, < 2`, `1.8..2.0`.
//!
//! Versions of applications are not always those of semver.org, so the numbers may be fewer or more than three. The order is that
//! of semver: missing numbers are 0, `2.0-rc1` comes before `2.0`, and what follows a `+` does not count.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A version.
#[derive(Clone, Debug)]
pub struct Version {
    text: String,
    numbers: Vec<u64>,
    /// The parts after a `-`. Empty: it is a release.
    before_release: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    // Numbers come before words, as semver has it.
    Number(u64),
    Word(String),
}

/// A range of versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    text: String,
    bounds: Vec<(Bound, Version)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    AtLeast,
    MoreThan,
    AtMost,
    LessThan,
    Exactly,
}

/// A text that is no version, or no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadVersion {
    /// Not a version.
    #[error("\"{0}\" is not a version: expected numbers with dots, as in 1.8 or v2.0.1-rc1")]
    Version(String),
    /// Not a range.
    #[error(
        "\"{0}\" is not a range of versions: expected as in \">= 1.8\", \">= 1.8, < 2.0\" or \"1.8..2.0\""
    )]
    Range(String),
}

impl FromStr for Version {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let bad = || BadVersion::Version(text.to_owned());
        let core = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let core = core.split_once('+').map_or(core, |(version, _)| version);
        let (numbers, before) = match core.split_once('-') {
            Some((numbers, before)) => (numbers, Some(before)),
            None => (core, None),
        };
        let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse().ok(),
            false => None,
        };
        let numbers: Option<Vec<u64>> = numbers.split('.').map(number).collect();
        let part = |part: &str| match (part.is_empty(), number(part)) {
            (true, _) => None,
            (false, Some(number)) => Some(Part::Number(number)),
            (false, None) => Some(Part::Word(part.to_owned())),
        };
        let before: Option<Vec<Part>> =
            before.map_or(Some(Vec::new()), |before| before.split('.').map(part).collect());
        let mut numbers = numbers.ok_or_else(bad)?;
        while numbers.len() > 1 && numbers.last() == Some(&0) {
            numbers.pop();
        }
        Ok(Self { text: text.to_owned(), numbers, before_release: before.ok_or_else(bad)? })
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_release = match (self.before_release.is_empty(), other.before_release.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => self.before_release.cmp(&other.before_release),
        };
        self.numbers.cmp(&other.numbers).then(by_release)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Range {
    /// Whether a version is in the range.
    pub fn has(&self, version: &Version) -> bool {
        self.bounds.iter().all(|(bound, limit)| match bound {
            Bound::AtLeast => version >= limit,
            Bound::MoreThan => version > limit,
            Bound::AtMost => version <= limit,
            Bound::LessThan => version < limit,
            Bound::Exactly => version == limit,
        })
    }
}

impl FromStr for Range {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let bad = |_| BadVersion::Range(text.to_owned());
        let version = |text: &str| text.trim().parse::<Version>().map_err(bad);
        if let Some((from, to)) = text.split_once("..") {
            let bounds = vec![(Bound::AtLeast, version(from)?), (Bound::LessThan, version(to)?)];
            return Ok(Self { text: text.to_owned(), bounds });
        }
        let bound = |part: &str| {
            let part = part.trim();
            // Those of two characters first.
            let signs = [
                (">=", Bound::AtLeast),
                ("<=", Bound::AtMost),
                (">", Bound::MoreThan),
                ("<", Bound::LessThan),
                ("=", Bound::Exactly),
            ];
            let found = signs.into_iter().find_map(|(sign, bound)| Some((bound, part.strip_prefix(sign)?)));
            match found {
                Some((bound, rest)) => Ok((bound, version(rest)?)),
                None => Err(BadVersion::Range(text.to_owned())),
            }
        };
        Ok(Self { text: text.to_owned(), bounds: text.split(',').map(bound).collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_order_of_semver_and_any_number_of_numbers() {
        let ordered = [
            "0.9",
            "1",
            "1.8-rc.2",
            "1.8-rc.10",
            "v1.8",
            "1.8.0.1",
            "1.9",
            "1.10",
            "2.0-beta",
            "2.0.0+build7",
        ];
        for pair in ordered.windows(2) {
            let [one, other] = pair else { panic!("two") };
            assert!(one.parse::<Version>().unwrap() < other.parse().unwrap(), "{one} {other}");
        }
        for (one, other) in [("1", "1.0.0"), ("v2.0", "2"), ("2.0+a", "2.0+b")] {
            assert_eq!(one.parse::<Version>().unwrap(), other.parse().unwrap(), "{one} {other}");
        }
        for bad in ["", "latest", "1.x", "1..2", "1.8-", "main-a1b2", "+1", "1.-2", "2026_11"] {
            let said = bad.parse::<Version>().unwrap_err().to_string();
            assert!(said.contains(&format!("\"{bad}\" is not a version")), "{said}");
        }
    }

    #[test]
    fn a_range_is_what_it_says() {
        for (range, version, has) in [
            (">= 1.8", "1.8", true),
            (">= 1.8", "1.7.9", false),
            (">= 1.8", "1.8-rc1", false),
            (">=1.8,<2", "1.99", true),
            (">=1.8, < 2", "2.0", false),
            ("1.8..2.0", "1.8", true),
            ("1.8..2.0", "2.0", false),
            ("1.8 .. 2.0", "1.9", true),
            ("= 3", "3.0.0", true),
            ("<= 3", "3.0.1", false),
            ("> 3", "3.0.1", true),
        ] {
            let range: Range = range.parse().unwrap();
            assert_eq!(range.has(&version.parse().unwrap()), has, "{range} {version}");
        }
        for bad in ["1.8", "", ">= x", "1.8..", "..2", ">= 1.8,", "~1.8", "1.8..2.0..3"] {
            let said = bad.parse::<Range>().unwrap_err().to_string();
            assert!(said.contains("is not a range of versions"), "{bad}: {said}");
        }
    }
}
