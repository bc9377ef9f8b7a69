//! Circles of files.

use std::collections::BTreeSet;

use crate::imports::Imports;
use crate::tree::Tree;

/// Files of which each imports each other one, straight or through others.
#[derive(Debug)]
pub(crate) struct Circle {
    pub(crate) files: BTreeSet<String>,
    /// From, to, and the names.
    pub(crate) arrows: Vec<(String, String, BTreeSet<String>)>,
}

/// Finds all circles.
///
/// A file may use names of the module that it is part of (`journal/schema.rs` those of `journal.rs`), although that module uses
/// its names in turn: such imports are taken out of `imports`. They count where the circle leads out of that module.
pub(crate) fn circles(imports: &mut Imports, tree: &Tree) -> Vec<Circle> {
    let mut circles = Vec::new();
    let mut open = vec![tree.files().keys().cloned().collect::<BTreeSet<_>>()];
    while let Some(files) = open.pop() {
        for files in tied(&files, imports) {
            let head = files
                .iter()
                .find(|head| files.iter().all(|file| file == *head || tree.is_part_of(file, head)));
            match head {
                Some(head) => {
                    for file in &files {
                        imports.remove(file, head);
                    }
                    open.push(files);
                }
                None => circles.push(Circle { arrows: arrows(&files, imports), files }),
            }
        }
    }
    circles.sort_by(|one, other| one.files.cmp(&other.files));
    circles
}

/// The sets of more than one file of which each reaches each other one, by imports between `files`.
pub(crate) fn tied(files: &BTreeSet<String>, imports: &Imports) -> Vec<BTreeSet<String>> {
    let reached = |start: &String| {
        let mut reached = BTreeSet::new();
        let mut open = vec![start];
        while let Some(file) = open.pop() {
            for (target, _) in imports.of(file) {
                if files.contains(target) && reached.insert(target.clone()) {
                    open.push(target);
                }
            }
        }
        reached
    };
    let reached =
        files.iter().map(|file| (file, reached(file))).collect::<std::collections::BTreeMap<_, _>>();
    let mut seen = BTreeSet::new();
    let mut sets = Vec::new();
    for (file, targets) in &reached {
        if !targets.contains(*file) || seen.contains(*file) {
            continue;
        }
        let reaches_back = |target: &&String| reached.get(target).is_some_and(|back| back.contains(*file));
        let set = targets.iter().filter(reaches_back).cloned().collect::<BTreeSet<_>>();
        seen.extend(set.iter().cloned());
        sets.push(set);
    }
    sets
}

fn arrows(files: &BTreeSet<String>, imports: &Imports) -> Vec<(String, String, BTreeSet<String>)> {
    let mut arrows = Vec::new();
    for from in files {
        for (to, names) in imports.of(from).filter(|(to, _)| files.contains(*to)) {
            arrows.push((from.clone(), to.clone(), names.clone()));
        }
    }
    arrows
}
