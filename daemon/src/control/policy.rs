//! What the configuration says about groups and their edges.

use cutover_edges::module::AdminAddress;
use cutover_engine::fleet::Fleet;
use cutover_engine::policy::Policy;
use cutover_engine::world::World;

use super::{Control, Refusal};
use crate::config::{EdgeSection, Loaded, ModuleSection};
use crate::migrations::SharedDatabase;

impl<W: World> Control<W> {
    /// The names of the groups in the configuration.
    pub(super) fn groups(&self) -> Vec<String> {
        self.loaded.load().0.config.group.keys().map(|name| name.as_str().to_owned()).collect()
    }

    /// The policy of a group for a new deployment. Fails if the configuration does not have the group.
    pub(super) fn policy(&self, group: &str) -> Result<Policy, Refusal> {
        let loaded = self.loaded.load();
        let (Loaded { config, path, broken, .. }, _) = &**loaded;
        match (config.group(group), broken) {
            (Some(policy), _) => Ok(policy.clone()),
            (None, Some(why)) => Err(Refusal::BrokenConfiguration { file: path.clone(), why: why.clone() }),
            (None, None) => Err(self.unknown_group(group)),
        }
    }

    /// The policy of a group, or of its last deployment if the group is no longer in the configuration.
    pub(super) async fn policy_or_last(&self, group: &str) -> Result<Policy, Refusal> {
        match self.policy(group) {
            Ok(policy) => Ok(policy),
            Err(refused) => {
                let last = self.journal.history(Some(group), 1).await?.pop();
                last.map(|entry| entry.deployment.policy).ok_or(refused)
            }
        }
    }

    /// Fails if another group of the configuration has the same database.
    pub(super) fn has_own_database(&self, group: &str) -> Result<(), Refusal> {
        let shared = SharedDatabase::all(&self.loaded.load().0.config.group);
        let own = shared.into_iter().find(|shared| shared.is_of(group));
        own.map_or(Ok(()), |shared| Err(Refusal::Database(shared.to_string())))
    }

    fn unknown_group(&self, group: &str) -> Refusal {
        Refusal::UnknownGroup { group: group.to_owned(), known: self.groups() }
    }

    /// The edges of a group. A group that is no longer in the configuration is looked for on all edges.
    pub(super) fn fleet(&self, group: &str) -> Fleet<'_, W::Edge> {
        let loaded = self.loaded.load();
        let names = loaded.0.config.group(group).map(|policy| policy.edges.clone()).unwrap_or_default();
        self.world.fleet(&names)
    }

    /// Fails if this daemon can only read an edge of the group.
    pub(super) async fn writable(&self, policy: &Policy) -> Result<(), Refusal> {
        let edges = self.loaded.load().0.config.edge.clone();
        for (name, section) in edges.iter().filter(|(name, _)| policy.is_on(name.as_str())) {
            if let EdgeSection::Module(ModuleSection {
                admin: admin @ AdminAddress::Tcp(_),
                token_file: None,
                ..
            }) = section
            {
                return Err(Refusal::ReadsOnly { edge: name.to_string(), admin: admin.to_string() });
            }
            // Running deployments use the last token that nginx accepted. A new one needs a readable token.
            section.edge(name.as_str()).check_access().await?;
        }
        Ok(())
    }
}
