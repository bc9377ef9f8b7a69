//! What a revert does, and whether it may run without an operator.

use serde::{Deserialize, Serialize};

use super::{Drops, Folder, Measure, Migration, Record, Rows, Script, Stage, Thing};

/// When a deployment that goes back reverts its migrations: `revert = "auto"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRevert {
    /// By itself, if nothing would be lost.
    #[default]
    Auto,
    /// When an operator says so.
    Ask,
    /// Never: the old version lives with the migrations.
    Never,
}

/// One migration to revert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// What the database knows about it.
    pub record: Record,
    /// The file that reverts it, from the folder of the version that applied it.
    pub down: Option<Script>,
    /// Whether its `.up.sql` has another content than when it was applied.
    pub changed: bool,
    /// Whether one of its scripts is marked as destructive.
    pub destructive: bool,
    /// What the file would drop.
    pub drops: Drops,
}

/// Why a revert does not run by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It was interrupted.
    #[error("{0} was interrupted, and how far it came is not known")]
    Half(String),
    /// There is nothing to run.
    #[error("{0} has no .down.sql: write that file first")]
    NoDown(String),
    /// Another deployment has applied a migration since.
    #[error("deployment \"{deployment}\" has applied {later} after {shown}, and may need it")]
    Later {
        /// The migration to revert.
        shown: String,
        /// The later one.
        later: String,
        /// Its deployment.
        deployment: String,
    },
    /// The folder is not the one that was applied.
    #[error("{0}.up.sql was changed since it was applied, so its .down.sql may not fit")]
    Changed(String),
    /// It is marked.
    #[error("{0} is marked as destructive")]
    Destructive(String),
    /// It is not certain what would be lost.
    #[error("{shown}: {why}")]
    Unclear {
        /// The migration.
        shown: String,
        /// What is not certain.
        why: String,
    },
    /// Rows were written to what would be dropped.
    #[error(
        "{shown} would drop {thing}, where {written} {} written since the deployment",
        if *written == 1 { "row was" } else { "rows were" }
    )]
    Written {
        /// The migration.
        shown: String,
        /// What would be dropped.
        thing: Thing,
        /// The number of rows that are more than after the migration.
        written: u64,
    },
    /// Rows of what would be dropped were changed.
    #[error(
        "{shown} would drop {thing}, whose rows were changed since the deployment: {then} then, {now} now"
    )]
    Rewritten {
        /// The migration.
        shown: String,
        /// What would be dropped.
        thing: Thing,
        /// Rows after the migration.
        then: u64,
        /// Rows now.
        now: u64,
    },
    /// The policy says so.
    #[error("revert = \"ask\"")]
    Policy,
}

impl Reason {
    /// Whether the consent of an operator is enough. Otherwise the reason itself has to go away.
    pub fn yields(&self) -> bool {
        !matches!(self, Self::Half(_) | Self::NoDown(_))
    }
}

/// What a deployment has applied, the newest first. `records` are in the order in which they were applied. `read` says what the
/// scripts of a migration drop.
pub fn undo(
    folder: &Folder,
    records: &[Record],
    deployment: &str,
    read: impl Fn(&Migration) -> Drops,
) -> Vec<Undo> {
    let own = records.iter().rev().filter(|record| record.deployment == deployment);
    own.map(|record| {
        let migration = folder.get(record.number);
        let down = migration.and_then(|its| its.down.clone());
        Undo {
            record: record.clone(),
            changed: migration.is_some_and(|its| its.up.checksum != record.checksum),
            destructive: migration.is_some_and(|its| its.up.marks.destructive)
                || down.as_ref().is_some_and(|down| down.marks.destructive),
            drops: migration.filter(|_| down.is_some()).map(&read).unwrap_or_default(),
            down,
        }
    })
    .collect()
}

/// Why one of the migrations must not be reverted without an operator. `None`: all may be. `now`: what is in the tables and columns
/// that would be dropped.
pub fn why_ask(on: OnRevert, undo: &[Undo], records: &[Record], now: &Rows) -> Option<Reason> {
    let all = || undo.iter();
    let half =
        all().find(|its| its.record.stage != Stage::Applied).map(|its| Reason::Half(its.record.shown()));
    half.or_else(|| all().find(|its| its.down.is_none()).map(|its| Reason::NoDown(its.record.shown())))
        .or_else(|| later(undo, records))
        .or_else(|| all().find(|its| its.changed).map(|its| Reason::Changed(its.record.shown())))
        .or_else(|| all().find(|its| its.destructive).map(|its| Reason::Destructive(its.record.shown())))
        .or_else(|| all().find_map(|its| would_lose(its, now)))
        .or_else(|| (on != OnRevert::Auto && !undo.is_empty()).then_some(Reason::Policy))
}

/// A migration of another deployment that came after one of these.
fn later(undo: &[Undo], records: &[Record]) -> Option<Reason> {
    let first = undo.last()?;
    let after = records.iter().skip_while(|record| record.number != first.record.number);
    let later = after.into_iter().find(|record| record.deployment != first.record.deployment)?;
    Some(Reason::Later {
        shown: first.record.shown(),
        later: later.shown(),
        deployment: later.deployment.clone(),
    })
}

/// Why data may be lost.
fn would_lose(undo: &Undo, now: &Rows) -> Option<Reason> {
    let shown = || undo.record.shown();
    if undo.down.as_ref().is_some_and(|down| down.marks.safe) {
        return None;
    }
    if let Some(why) = &undo.drops.unclear {
        return Some(Reason::Unclear { shown: shown(), why: why.clone() });
    }
    undo.drops.things.iter().find_map(|thing| {
        let unclear = |why: String| Some(Reason::Unclear { shown: shown(), why });
        // What is not there cannot be lost.
        let now = now.get(thing)?;
        let Some(then) = undo.record.rows.get(thing) else {
            return unclear(format!(
                "it would drop {thing}, and what was in it after the migration is not known"
            ));
        };
        if then.was_there {
            return unclear(format!("it would drop {thing}, which was there before the migration"));
        }
        written(shown(), then, now)
    })
}

fn written(shown: String, then: &Measure, now: &Measure) -> Option<Reason> {
    let thing = then.thing.clone();
    match now.rows.checked_sub(then.rows) {
        Some(0) if now.sum == then.sum => None,
        Some(written @ 1..) => Some(Reason::Written { shown, thing, written }),
        _ => Some(Reason::Rewritten { shown, thing, then: then.rows, now: now.rows }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::{folder, record};
    use super::*;

    fn thing(table: &str, column: Option<&str>) -> Thing {
        Thing { table: table.to_owned(), column: column.map(str::to_owned) }
    }

    fn measure(rows: u64, sum: &str) -> Measure {
        Measure { thing: thing("gifts", None), rows, sum: sum.to_owned(), was_there: false }
    }

    fn drops(_: &Migration) -> Drops {
        Drops { things: [thing("gifts", None)].into(), unclear: None }
    }

    /// One migration, which creates "gifts", with this many rows after it.
    fn one(then: Measure) -> (Vec<Undo>, Vec<Record>) {
        let records = vec![Record { rows: Rows(vec![then]), ..record(3, "gifts", "shop-1") }];
        (undo(&folder(&[("0003", "gifts")]), &records, "shop-1", drops), records)
    }

    fn said((undo, records): &(Vec<Undo>, Vec<Record>), now: Measure) -> String {
        why_ask(OnRevert::Auto, undo, records, &Rows(vec![now]))
            .map(|why| why.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn only_what_this_deployment_applied_is_reverted_the_newest_first() {
        let records =
            [record(1, "a", "d1"), record(2, "b", "d2"), record(5, "e", "d2"), record(4, "d", "d2")];
        let found =
            undo(&folder(&[("1", "a"), ("2", "b"), ("4", "d")]), &records, "d2", |_| Drops::default());
        let seen: Vec<_> = found.iter().map(|its| (its.record.number, its.down.is_some())).collect();
        assert_eq!(seen, [(4, true), (5, false), (2, true)]);
        let why = why_ask(OnRevert::Auto, &found, &records, &Rows::default());
        assert_eq!(why, Some(Reason::NoDown("0005_e".to_owned())));
    }

    #[test]
    fn rows_that_were_written_since_are_never_dropped_without_an_operator() {
        let case = one(measure(2, "a"));
        assert_eq!(said(&case, measure(2, "a")), "");
        assert_eq!(
            said(&case, measure(9, "b")),
            "0003_gifts would drop table \"gifts\", where 7 rows were written since the deployment"
        );
        assert!(said(&case, measure(3, "b")).contains("where 1 row was written since"));
        let changed = "whose rows were changed since the deployment: 2 then, 2 now";
        assert!(said(&case, measure(2, "b")).contains(changed));
        assert!(said(&case, measure(1, "b")).contains("2 then, 1 now"));
        let gone = why_ask(OnRevert::Auto, &case.0, &case.1, &Rows::default());
        assert_eq!(gone, None, "a table that is not there cannot be lost");
    }

    #[test]
    fn what_is_not_certain_is_asked() {
        let there_before = one(Measure { was_there: true, ..measure(2, "a") });
        assert!(said(&there_before, measure(2, "a")).contains("which was there before the migration"));
        let mut case = one(measure(2, "a"));
        case.0[0].record.rows = Rows::default();
        assert!(said(&case, measure(2, "a")).contains("what was in it after the migration is not known"));
        let mut case = one(measure(2, "a"));
        case.0[0].drops.unclear = Some("DELETE may lose rows".to_owned());
        assert_eq!(said(&case, measure(2, "a")), "0003_gifts: DELETE may lose rows");
        case.0[0].down.as_mut().unwrap().marks.safe = true;
        assert_eq!(said(&case, measure(9, "b")), "", "the author says that it is safe");
        case.0[0].destructive = true;
        assert_eq!(said(&case, measure(2, "a")), "0003_gifts is marked as destructive");
        case.0[0].changed = true;
        assert!(said(&case, measure(2, "a")).starts_with("0003_gifts.up.sql was changed since"));
        case.1.push(record(4, "more", "shop-2"));
        assert!(
            said(&case, measure(2, "a"))
                .starts_with("deployment \"shop-2\" has applied 0004_more after 0003_gifts")
        );
        case.0[0].record.stage = Stage::Begun;
        assert!(said(&case, measure(2, "a")).contains("was interrupted"));
    }

    #[test]
    fn the_policy_asks_last_and_consent_is_not_enough_for_everything() {
        let (undo, records) = one(measure(2, "a"));
        let why = why_ask(OnRevert::Ask, &undo, &records, &Rows(vec![measure(2, "a")])).unwrap();
        assert_eq!((why.to_string().as_str(), why.yields()), ("revert = \"ask\"", true));
        assert!(!Reason::NoDown(String::new()).yields() && !Reason::Half(String::new()).yields());
        assert_eq!(why_ask(OnRevert::Ask, &[], &[], &Rows::default()), None, "nothing was applied");
    }
}
