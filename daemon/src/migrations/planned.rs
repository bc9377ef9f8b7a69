//! What a new deployment would apply.

use cutover_core::migration::{Folder, Plan, too_old};
use cutover_engine::policy::Policy;

use super::Place;

/// What the folder of a version and its database say together.
#[derive(Debug)]
pub(crate) struct Planned {
    folder: Folder,
    plan: Plan,
}

impl Planned {
    /// Asks the database. `None`: the group has none. Fails with one line if no deployment of the version may begin.
    pub(crate) async fn of(policy: &Policy, version: &str) -> Result<Option<Self>, String> {
        let Some(database) = &policy.database else { return Ok(None) };
        let place = Place::of(database, &policy.env)?;
        let folder = place.folder(version).await?;
        let found = place.look(&folder).await?;
        let plan = found.plan.map_err(|refused| refused.to_string())?;
        Ok(Some(Self { folder, plan }))
    }

    /// What it applies, as a clause. Fails with one line if the version that has the traffic cannot live with it. `live`: that
    /// version; empty if it is not known.
    pub(crate) fn clause(&self, live: &str) -> Result<String, String> {
        too_old(&self.folder, &self.plan, live).map_err(|refused| refused.to_string())?;
        Ok(self.plan.clause())
    }
}
