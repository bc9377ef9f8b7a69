//! Groups that name the same database. Each would take the migrations of the other for its own.

use std::collections::BTreeMap;

use cutover_engine::policy::Policy;

use super::Place;
use crate::config::GroupName;

/// Two groups have the same database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "groups \"{}\" and \"{}\" have the same database {url}, and one table cutover_migrations cannot say what each of them has \
     applied: give each a database of its own, or keep [group.NAME.database] in one of them, with the migrations of both",
    groups[0], groups[1]
)]
pub(crate) struct SharedDatabase {
    groups: [String; 2],
    /// Without a password.
    url: String,
}

impl SharedDatabase {
    /// All pairs of groups that share a database, as far as the URLs tell. URLs that cannot be read are left out.
    pub(crate) fn all(groups: &BTreeMap<GroupName, Policy>) -> Vec<Self> {
        let places: Vec<(&str, Place)> = groups
            .iter()
            .filter_map(|(name, policy)| {
                let database = policy.database.as_ref()?;
                Some((name.as_str(), Place::of(database, &policy.env).ok()?))
            })
            .collect();
        let pairs = places.iter().enumerate().flat_map(|(at, one)| {
            let others = places.iter().skip(at + 1).filter(|(_, other)| one.1.is_same(other));
            others.map(|(other, _)| Self {
                groups: [one.0.to_owned(), (*other).to_owned()],
                url: one.1.shown(),
            })
        });
        pairs.collect()
    }

    /// Whether it is about this group.
    pub(crate) fn is_of(&self, group: &str) -> bool {
        self.groups.iter().any(|its| its == group)
    }
}
