//! Whether the databases of the groups can be read.

use crate::check::Finding;
use crate::config::Config;
use crate::databases::Place;

/// Connects to each database, and reads what is applied.
pub async fn check_databases(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
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
