//! The layers of each crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::circles::tied;
use crate::imports::Imports;
use crate::tree::Tree;

/// Prints the files of each crate by layer, the highest first. A file is one layer above the highest file of its crate that it
/// imports; the files of a circle are in one layer.
pub(crate) fn render(imports: &Imports, tree: &Tree) -> String {
    let mut crates = BTreeMap::<&str, BTreeSet<String>>::new();
    for (file, source) in tree.files() {
        if let Some(name) = source.module.first() {
            crates.entry(name).or_default().insert(file.clone());
        }
    }
    let mut text = String::new();
    for (name, files) in crates {
        let _ = writeln!(text, "{name}");
        let mut layers = BTreeMap::<usize, Vec<&str>>::new();
        let heights = heights(&files, imports);
        for (file, height) in &heights {
            layers.entry(*height).or_default().push(file);
        }
        for (layer, files) in layers.iter().rev() {
            let _ = writeln!(text, "  {layer:>2}  {}", files.join(", "));
        }
    }
    text
}

fn heights(files: &BTreeSet<String>, imports: &Imports) -> BTreeMap<String, usize> {
    let circles = tied(files, imports);
    // The first file of a circle stands for all of it.
    let one_for = |file: &String| {
        let circle = circles.iter().find(|circle| circle.contains(file));
        circle.and_then(BTreeSet::first).unwrap_or(file).clone()
    };
    let mut heights = files.iter().map(|file| (one_for(file), 1)).collect::<BTreeMap<_, usize>>();
    loop {
        let mut is_done = true;
        for file in files {
            let from = one_for(file);
            let below = imports.of(file).map(|(to, _)| one_for(to)).filter(|to| *to != from);
            let least = below.filter_map(|to| heights.get(&to)).max().map_or(1, |highest| highest + 1);
            if let Some(height) = heights.get_mut(&from)
                && *height < least
            {
                *height = least;
                is_done = false;
            }
        }
        if is_done {
            break;
        }
    }
    files.iter().map(|file| (file.clone(), heights.get(&one_for(file)).copied().unwrap_or(1))).collect()
}
