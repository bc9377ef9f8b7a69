//! Whether each group has a database of its own, which can be read.

use crate::check::Finding;
use crate::config::Config;
use crate::migrations::{Place, SharedDatabase};

/// Compares the databases of the groups, connects to each, and reads what is applied.
pub async fn check_databases(config: &Config) -> Vec<Finding> {
    let shared = SharedDatabase::all(&config.group);
    let mut findings: Vec<_> = shared.iter().map(|shared| Finding::Problem(shared.to_string())).collect();
    for (group, policy) in &config.group {
        let Some(database) = &policy.database else { continue };
        let named = |why: String| format!("group \"{}\": {why}", group.as_str());
        match Place::of(database, &policy.env) {
            // The daemon may have the variable, and be able to read the file.
            Err(why) => findings.push(Finding::Warning(named(why))),
            Ok(place) => {
                if let Err(why) = place.records().await {
                    findings.push(Finding::Problem(named(format!("its database cannot be read: {why}"))));
                }
            }
        }
    }
    findings
}
