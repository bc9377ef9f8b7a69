//! The versions in the slots of a group, as far as they are known.

use std::collections::BTreeMap;

use cutover_core::placeholder::Values;

use crate::journal::Deployment;

/// Versions by slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions(BTreeMap<String, String>);

impl Versions {
    /// The versions in the slots of a deployment.
    pub fn of(deployment: &Deployment) -> Self {
        let plan = &deployment.plan;
        [(plan.from.clone(), deployment.previous.clone()), (plan.to.clone(), deployment.version.clone())]
            .into_iter()
            .collect()
    }

    /// What placeholders stand for in a request to this slot.
    pub fn values<'a>(&'a self, slot: &'a str) -> Values<'a> {
        Values { version: self.0.get(slot).map(String::as_str), slot, ..Values::default() }
    }
}

/// An empty version is not known.
impl FromIterator<(String, String)> for Versions {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(versions: I) -> Self {
        Self(versions.into_iter().filter(|(_, version)| !version.is_empty()).collect())
    }
}
