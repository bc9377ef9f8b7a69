//! What has to be written so that a file knows a configuration, and when a configuration must be refused.

use std::collections::HashMap;

use super::{CAPACITY_STEP, GROUP_SIZE, MAX_CAPACITY, Names, Record, configured_mask};
use crate::name::{self, SLOT_SIZE, is_stored_slot};
use crate::route::Reading;
use crate::slot::SlotId;
use crate::split::Split;

/// One group of the configuration that is being loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredGroup<'a> {
    /// Its checked name.
    pub group: &'a str,
    /// The checked names of its slots.
    pub slots: Vec<&'a str>,
}

impl ConfiguredGroup<'_> {
    /// Whether one of its slots has this stored name.
    fn has(&self, stored: &str) -> bool {
        self.slots.iter().any(|slot| is_stored_slot(stored, slot))
    }
}

/// What to do so that the file knows the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Records the file must have.
    pub capacity: u32,
    /// Names to write, by record.
    pub writes: Vec<(u32, Names)>,
    /// For each wanted group, in order: its record and its names.
    pub groups: Vec<(u32, Names)>,
}

/// Why a configuration cannot be loaded over this file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// It would leave the traffic without a slot.
    #[error(
        "group \"{group}\" has no slot \"{slot}\", which is active now: keep the slot, or switch to another one first"
    )]
    DropsActive {
        /// The group.
        group: String,
        /// The slot that is active now.
        slot: String,
    },
    /// More names than the file can tell apart while old workers finish.
    #[error(
        "group \"{group}\" replaces too many slots at once: drop the old slots, confirm what is on trial, reload, \
         then add the new ones"
    )]
    TooManySlots {
        /// The group.
        group: String,
    },
    /// More groups than a file can hold.
    #[error("more than {MAX_CAPACITY} groups")]
    TooManyGroups,
}

/// Finds or makes a record for each wanted group; nothing is written if any is refused.
pub fn plan(records: &[Record], wanted: &[ConfiguredGroup<'_>]) -> Result<Plan, Conflict> {
    let by_group = by_group(records);
    let mut free = (0u32..).zip(records.iter().map(Some).chain(std::iter::repeat(None)));
    let mut plan = Plan { capacity: records.len() as u32, writes: Vec::new(), groups: Vec::new() };
    for group in wanted {
        let stored = name::stored::<GROUP_SIZE>(group.group);
        let (index, old, route) = match by_group.get(stored.as_str()) {
            Some((index, record)) => (*index, record.names.clone(), record.route),
            None => {
                let next = free.find(|(_, record)| record.is_none_or(|r| r.names.group.is_empty()));
                let (index, _) = next.filter(|(i, _)| *i < MAX_CAPACITY).ok_or(Conflict::TooManyGroups)?;
                (index, Names::FREE, Reading::Unset)
            }
        };
        let new = old.configure(group, route)?;
        if new != old {
            plan.writes.push((index, new.clone()));
        }
        plan.capacity = plan.capacity.max(index + 1);
        plan.groups.push((index, new));
    }
    plan.capacity = plan.capacity.max(1).next_multiple_of(CAPACITY_STEP);
    Ok(plan)
}

/// The records that are taken, by their group: one look for each of a configuration's groups, of which there may be thousands.
fn by_group(records: &[Record]) -> HashMap<&str, (u32, &Record)> {
    let mut known = HashMap::with_capacity(records.len());
    for (index, record) in (0u32..).zip(records).filter(|(_, record)| !record.names.group.is_empty()) {
        known.entry(record.names.group.as_str()).or_insert((index, record));
    }
    known
}

impl Names {
    fn configure(&self, wanted: &ConfiguredGroup<'_>, route: Reading) -> Result<Names, Conflict> {
        let too_many = || Conflict::TooManySlots { group: wanted.group.to_owned() };
        let in_use = match route {
            Reading::Set(route) => [Some(route.to.active), route.to.split.map(Split::second)],
            Reading::Unset | Reading::Damaged => [None, None],
        };
        let in_use = in_use.into_iter().flatten().filter_map(|id| self.slot(id));
        let mut dropped = in_use.filter(|slot| !wanted.has(slot));
        if let Some(slot) = dropped.next() {
            return Err(Conflict::DropsActive { group: wanted.group.to_owned(), slot: name::shown(slot) });
        }
        let mut names = self.clone();
        names.group = name::stored::<GROUP_SIZE>(wanted.group);
        for slot in &wanted.slots {
            let id = names.id_of(slot).or_else(|| names.free_id(self, wanted, route)).ok_or_else(too_many)?;
            if let Some(place) = names.slots.get_mut(id.index()) {
                *place = name::stored::<SLOT_SIZE>(slot);
            }
        }
        Ok(names)
    }

    /// An id without a name; else one whose name neither this configuration nor the one that runs has, because workers know
    /// those. None of these while a change is on trial: it may go back to a slot that was dropped, and must not find another.
    fn free_id(&self, before: &Names, wanted: &ConfiguredGroup<'_>, route: Reading) -> Option<SlotId> {
        let unused = SlotId::all().find(|id| self.slot(*id).is_none());
        let on_trial = matches!(route, Reading::Set(route) if route.to.armed);
        unused.or_else(|| {
            if on_trial {
                return None;
            }
            SlotId::all().find(|id| {
                let dropped = self.slot(*id).is_some_and(|name| !wanted.has(name));
                dropped && before.configured & configured_mask(&[*id]) == 0
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Destination, Route};

    fn wanted<'a>(group: &'a str, slots: &[&'a str]) -> ConfiguredGroup<'a> {
        ConfiguredGroup { group, slots: slots.to_vec() }
    }

    /// As after the planned configuration has been loaded, with these slots.
    fn record(plan: &Plan, slots: &[&str], active: u8) -> Record {
        let names = &plan.groups[0].1;
        let ids: Vec<SlotId> = slots.iter().map(|slot| names.id_of(slot).unwrap()).collect();
        let route = SlotId::new(active)
            .map(|active| Reading::Set(Route { to: Destination::from(active), generation: 3 }));
        Record { names: names.with_configured(&ids), route: route.unwrap_or(Reading::Unset) }
    }

    #[test]
    fn ids_stay_with_names_in_any_order() {
        let first = plan(&[], &[wanted("shop", &["blue", "green"])]).unwrap();
        assert_eq!((first.capacity, first.writes.len()), (64, 1));
        let blue = first.groups[0].1.id_of("blue").unwrap();

        let turned =
            plan(&[record(&first, &["blue", "green"], 1)], &[wanted("shop", &["red", "green", "blue"])])
                .unwrap();
        assert_eq!(turned.groups[0].1.id_of("blue"), Some(blue));
        assert_eq!(turned.groups[0].1.id_of("red").unwrap().get(), 3);

        let same =
            plan(&[record(&first, &["blue", "green"], 1)], &[wanted("shop", &["green", "blue"])]).unwrap();
        assert_eq!(same.writes, [], "nothing to write when nothing is new");
    }

    #[test]
    fn the_active_slot_cannot_be_dropped() {
        let first = plan(&[], &[wanted("shop", &["blue", "green"])]).unwrap();
        let error = plan(&[record(&first, &["blue", "green"], 2)], &[wanted("shop", &["blue"])]).unwrap_err();
        assert_eq!(error, Conflict::DropsActive { group: "shop".into(), slot: "green".into() });
        assert!(plan(&[record(&first, &["blue", "green"], 1)], &[wanted("shop", &["blue"])]).is_ok());
        assert!(
            plan(&[record(&first, &["blue", "green"], 0)], &[wanted("shop", &["red"])]).is_ok(),
            "never switched"
        );
    }

    #[test]
    fn long_names_find_their_records_and_ids() {
        let group = "g".repeat(255);
        let other = format!("{}h", "g".repeat(254));
        let slots = ["release-20241129-canary-a", "release-20241129-canary-b"];
        let first = plan(&[], &[wanted(&group, &slots), wanted(&other, &slots)]).unwrap();
        let records: Vec<Record> = first
            .groups
            .iter()
            .map(|(_, names)| Record {
                names: Names::decode(&names.encode()).unwrap(),
                route: Reading::Unset,
            })
            .collect();
        let again = plan(&records, &[wanted(&other, &slots), wanted(&group, &slots)]).unwrap();
        assert_eq!(again.groups.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 0]);
        let names = &again.groups[0].1;
        let ids = slots.map(|slot| names.id_of(slot).unwrap());
        assert_ne!(ids[0], ids[1]);
        assert!(names.is_slot(ids[0], slots[0]) && !names.is_slot(ids[0], slots[1]));
        let active = record(&first, &slots, 2);
        assert_eq!(
            plan(&[active], &[wanted(&group, &slots[..1])]),
            Err(Conflict::DropsActive { group, slot: "releas..".into() })
        );
    }

    #[test]
    fn a_group_that_left_keeps_its_record() {
        let first = plan(&[], &[wanted("shop", &["blue", "green"])]).unwrap();
        let second = plan(&[record(&first, &["blue", "green"], 2)], &[wanted("blog", &["a", "b"])]).unwrap();
        assert_eq!(second.groups[0].0, 1);
        let back = plan(
            &[record(&first, &["blue", "green"], 2), record(&second, &["a", "b"], 0)],
            &[wanted("shop", &["blue", "green"])],
        );
        assert_eq!(back.unwrap().groups[0].0, 0);
    }

    #[test]
    fn no_slot_gets_an_id_that_a_trial_may_go_back_to() {
        let names: Vec<String> = (0..14).map(|n| format!("v{n}")).collect();
        let mut plan_now = plan(&[], &[wanted("shop", &["blue"])]).unwrap();
        let mut slots = vec!["blue"];
        for name in &names {
            plan_now = plan(&[record(&plan_now, &slots, 1)], &[wanted("shop", &["blue", name])]).unwrap();
            slots = vec!["blue", name];
        }
        let next = [wanted("shop", &["blue", "red"])];
        let mut record = record(&plan_now, &slots, 1);
        assert!(plan(&[record.clone()], &next).is_ok(), "all ids are taken, and most belong to nobody");
        let Reading::Set(route) = record.route else { unreachable!() };
        record.route = Reading::Set(Route { to: Destination { armed: true, ..route.to }, ..route });
        assert_eq!(plan(&[record], &next), Err(Conflict::TooManySlots { group: "shop".into() }));
    }

    #[test]
    fn free_records_are_used_in_order() {
        let names = ["a", "b", "c"];
        let all: Vec<_> = names.iter().map(|name| wanted(name, &["x", "y"])).collect();
        let plan = plan(&[], &all).unwrap();
        assert_eq!(plan.groups.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn ten_thousand_groups_find_their_records() {
        let names: Vec<String> = (0..10_000).map(|number| format!("group-{number}")).collect();
        let mut all: Vec<_> = names.iter().map(|name| wanted(name, &["blue", "green"])).collect();
        let first = plan(&[], &all).unwrap();
        let taken = |(_, names): &(u32, Names)| Record { names: names.clone(), route: Reading::Unset };
        let mut records: Vec<Record> = first.groups.iter().map(taken).collect();
        records.resize(first.capacity as usize, Record { names: Names::FREE, route: Reading::Unset });

        all.reverse();
        all.push(wanted("another", &["blue"]));
        let next = plan(&records, &all).unwrap();
        assert!(next.groups.iter().map(|(index, _)| *index).eq((0..10_000).rev().chain([10_000])));
        assert_eq!(next.writes.len(), 1);
    }

    #[test]
    fn ids_are_reused_only_when_no_old_worker_knows_them() {
        let mut plan_now = plan(&[], &[wanted("shop", &["blue"])]).unwrap();
        let names: Vec<String> = (0..40).map(|n| format!("v{n}")).collect();
        let mut slots = vec!["blue"];
        for name in &names {
            let next = plan(&[record(&plan_now, &slots, 1)], &[wanted("shop", &["blue", name])]).unwrap();
            let kept = slots.get(1).map(|old| next.groups[0].1.id_of(old));
            assert_ne!(kept, Some(None), "workers that run know \"{}\" still", slots[slots.len() - 1]);
            plan_now = next;
            slots = vec!["blue", name];
        }
        assert_eq!(plan_now.groups[0].1.id_of("blue").unwrap().get(), 1);
        assert!(plan_now.groups[0].1.id_of("v39").is_some());
        assert_eq!(plan_now.groups[0].1.id_of("v0"), None);

        let eight: Vec<String> = (0..8).map(|n| format!("a{n}")).collect();
        let others: Vec<String> = (0..8).map(|n| format!("b{n}")).collect();
        let eight: Vec<&str> = eight.iter().map(String::as_str).collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let first = plan(&[], &[wanted("shop", &eight)]).unwrap();
        assert_eq!(
            plan(&[record(&first, &eight, 0)], &[wanted("shop", &others)]),
            Err(Conflict::TooManySlots { group: "shop".into() })
        );
    }
}
