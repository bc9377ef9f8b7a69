//! What is to be applied, and whether it may be.

use super::record::shown;
use super::{BadVersion, Folder, Migration, Range, Record, Stage, Version};

/// What a migration to the version of a folder does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To apply, in this order.
    pub apply: Vec<Migration>,
    /// Applied already.
    pub applied: Vec<Record>,
    /// Applied, and not in the folder: by a later version, or the file was removed.
    pub not_here: Vec<Record>,
}

/// Why nothing may be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// An applied file has another content now.
    #[error(
        "{file} was changed after deployment \"{deployment}\" applied it, so the database is not what the file says: restore the \
         file, and put the change into a new migration"
    )]
    Changed {
        /// The file.
        file: String,
        /// The deployment.
        deployment: String,
    },
    /// A migration was interrupted where the database could not undo it.
    #[error("{}", half_text(.record, *.reverting))]
    Half {
        /// Its record.
        record: Box<Record>,
        /// Whether it was being reverted.
        reverting: bool,
    },
    /// The version that has the traffic cannot live with a migration.
    #[error(
        "{file} requires version {range} of what has the traffic, and that is {version}: deploy a version first that works before \
         and after the migration, and then this one (expand first, contract later)"
    )]
    TooOld {
        /// The file.
        file: String,
        /// The range.
        range: Range,
        /// The version that has the traffic.
        version: String,
    },
    /// It is not known which version has the traffic.
    #[error(
        "{file} requires version {range} of what has the traffic, and it is not known which version that is, because cutover has \
         not deployed it: deploy a version without {file} first"
    )]
    Unknown {
        /// The file.
        file: String,
        /// The range.
        range: Range,
    },
    /// The version that has the traffic is a text that has no order.
    #[error(
        "{file} requires version {range} of what has the traffic, which cannot be compared: {why}; deploy with such versions, or \
         remove the mark"
    )]
    NoOrder {
        /// The file.
        file: String,
        /// The range.
        range: Range,
        /// What is wrong with the version.
        why: BadVersion,
    },
}

/// Compares a folder with the records of the database. Fails if nothing may be applied.
pub fn plan(folder: &Folder, records: &[Record]) -> Result<Plan, Refused> {
    let mut plan = Plan::default();
    for record in records {
        if record.stage != Stage::Applied {
            let reverting = record.stage == Stage::Reverting;
            return Err(Refused::Half { record: Box::new(record.clone()), reverting });
        }
        match folder.get(record.number) {
            Some(migration) if migration.up.checksum != record.checksum => {
                let file = migration.up.file.clone();
                return Err(Refused::Changed { file, deployment: record.deployment.clone() });
            }
            Some(_) => plan.applied.push(record.clone()),
            None => plan.not_here.push(record.clone()),
        }
    }
    let is_new = |migration: &&Migration| !records.iter().any(|record| record.number == migration.number);
    plan.apply = folder.migrations.iter().filter(is_new).cloned().collect();
    Ok(plan)
}

/// Fails if the version that has the traffic could not live with what is to be applied. `live`: that version;
/// empty if it is not known.
pub fn too_old(folder: &Folder, plan: &Plan, live: &str) -> Result<(), Refused> {
    for migration in &plan.apply {
        let file = || migration.up.file.clone();
        for range in folder.requires.iter().chain(&migration.up.marks.requires) {
            if live.is_empty() {
                return Err(Refused::Unknown { file: file(), range: range.clone() });
            }
            match live.parse::<Version>() {
                Ok(version) if range.has(&version) => {}
                Ok(_) => {
                    let version = live.to_owned();
                    return Err(Refused::TooOld { file: file(), range: range.clone(), version });
                }
                Err(why) => return Err(Refused::NoOrder { file: file(), range: range.clone(), why }),
            }
        }
    }
    Ok(())
}

impl Plan {
    /// One clause for people: what is applied.
    pub fn clause(&self) -> String {
        let names: Vec<String> = self.apply.iter().map(|its| shown(its.number, &its.name)).collect();
        match names.as_slice() {
            [] => "no migrations to apply".to_owned(),
            [one] => format!("one migration to apply: {one}"),
            all => format!("{} migrations to apply: {}", all.len(), all.join(", ")),
        }
    }

    /// Those to apply whose number is below one that is applied already: two branches were merged.
    pub fn late(&self) -> Vec<&Migration> {
        let newest = self.applied.iter().chain(&self.not_here).map(|record| record.number).max();
        self.apply.iter().filter(|its| newest.is_some_and(|newest| its.number < newest)).collect()
    }
}

fn half_text(record: &Record, reverting: bool) -> String {
    let (shown, deployment) = (record.shown(), &record.deployment);
    let (what, whole, none) = match reverting {
        true => ("revert of", "it is reverted", "nothing of it is reverted"),
        false => ("migration", "it is applied", "nothing of it is applied"),
    };
    format!(
        "the {what} {shown} by deployment \"{deployment}\" was interrupted, and how far it came is not known: look at the \
         database; make sure that {whole}, or that {none}, and say which"
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Rows;
    use super::super::folder::tests::source;
    use super::*;
    use crate::deployment::Time;

    pub(in crate::migration) fn record(number: u64, name: &str, deployment: &str) -> Record {
        Record {
            number,
            name: name.to_owned(),
            checksum: format!("sum of {name}"),
            deployment: deployment.to_owned(),
            version: "2.0".to_owned(),
            stage: Stage::Applied,
            at: Time(number),
            rows: Rows::default(),
        }
    }

    /// A folder whose files contain their names.
    pub(in crate::migration) fn folder(names: &[(&str, &str)]) -> Folder {
        let files = names.iter().flat_map(|(number, name)| {
            [
                source(&format!("{number}_{name}.up.sql"), name),
                source(&format!("{number}_{name}.down.sql"), &format!("down {name}")),
            ]
        });
        Folder::parse(files).unwrap()
    }

    #[test]
    fn what_is_not_applied_is_to_be_applied_in_order() {
        let folder = folder(&[("0001", "a"), ("0002", "b"), ("0003", "c"), ("0005", "e")]);
        let found =
            plan(&folder, &[record(1, "a", "d1"), record(3, "c", "d1"), record(7, "x", "d2")]).unwrap();
        let numbers = |all: &[Migration]| all.iter().map(|its| its.number).collect::<Vec<_>>();
        assert_eq!(numbers(&found.apply), [2, 5]);
        assert_eq!(found.clause(), "2 migrations to apply: 0002_b, 0005_e");
        assert_eq!(found.late().len(), 2, "below 7, which a later version has applied");
        assert_eq!(found.not_here.len(), 1);
        let all: Vec<Record> =
            [(1, "a"), (2, "b"), (3, "c"), (5, "e")].map(|(number, name)| record(number, name, "d")).into();
        assert_eq!(plan(&folder, &all).unwrap().clause(), "no migrations to apply");
    }

    #[test]
    fn a_changed_file_and_an_interrupted_migration_are_refused() {
        let folder = folder(&[("0001", "a")]);
        let changed = Record { checksum: "other".to_owned(), ..record(1, "a", "shop-1") };
        let said = plan(&folder, &[changed]).unwrap_err().to_string();
        assert!(
            said.starts_with("0001_a.up.sql was changed after deployment \"shop-1\" applied it"),
            "{said}"
        );
        let begun = Record { stage: Stage::Begun, ..record(1, "a", "shop-1") };
        let said = plan(&folder, &[begun]).unwrap_err().to_string();
        assert!(said.starts_with("the migration 0001_a by deployment \"shop-1\" was interrupted"), "{said}");
        let reverting = Record { stage: Stage::Reverting, ..record(1, "a", "shop-1") };
        let said = plan(&folder, &[reverting]).unwrap_err().to_string();
        assert!(said.contains("make sure that it is reverted, or that nothing of it is reverted"), "{said}");
        let renamed = Record { name: "old".to_owned(), ..record(1, "a", "shop-1") };
        assert!(plan(&folder, &[renamed]).is_ok(), "the content counts, not the name");
    }

    #[test]
    fn a_version_that_could_not_live_with_it_is_refused_before_anything_moves() {
        let up = source("0002_b.up.sql", "-- cutover: requires-version >= 1.8\n");
        let mut folder = Folder::parse([source("0001_a.up.sql", "a"), up]).unwrap();
        let all = plan(&folder, &[]).unwrap();
        let said =
            |folder: &Folder, live: &str| too_old(folder, &all, live).map_err(|refused| refused.to_string());
        assert_eq!(said(&folder, "1.8.0"), Ok(()));
        for (live, part) in [
            (
                "1.7.3",
                "0002_b.up.sql requires version >= 1.8 of what has the traffic, and that is 1.7.3: deploy a version first",
            ),
            ("", "it is not known which version that is"),
            ("nightly", "\"nightly\" is not a version: expected numbers"),
        ] {
            let text = said(&folder, live).unwrap_err();
            assert!(text.contains(part), "{text}");
        }
        let second = plan(&folder, &[record(2, "-- cutover: requires-version >= 1.8\n", "d")]).unwrap();
        assert_eq!(too_old(&folder, &second, ""), Ok(()), "what is applied already requires nothing");
        folder.requires = vec!["1.8..2.0".parse().unwrap()];
        assert!(said(&folder, "2.1").unwrap_err().starts_with("0001_a.up.sql requires version 1.8..2.0"));
        assert_eq!(said(&folder, "1.9"), Ok(()));
    }
}
