//! `check-imports`: proves that no file of the workspace imports a file that imports it, straight or through others.
//!
//! An import is a name that one file uses and another file defines. A re-export is no import: its user imports the file that
//! defines the name. A file may use names of the module that it is part of, see [`circles::circles`]. Methods and
//! implementations of traits are not followed. Test code is left out. `cargo metadata` names the crates.

#![forbid(unsafe_code)]

mod circles;
mod definitions;
mod imports;
mod layers;
mod names;
mod scope;
mod targets;
#[cfg(test)]
mod tests;
mod tokens;
mod tree;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::circles::{Circle, circles};
use crate::imports::imports;
use crate::tree::Tree;

/// Checks that no file imports a file that imports it
#[derive(Debug, Parser)]
#[command(name = "check-imports")]
struct Arguments {
    /// Print the layers of each crate: a file imports files of lower layers only
    #[arg(long)]
    layers: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let (root, targets) = targets::of_workspace()?;
    let tree = Tree::read(&root, &targets)?;
    let mut imports = imports(&tree);
    let arrows = imports.count();
    let circles = circles(&mut imports, &tree);
    if arguments.layers {
        print!("{}", layers::render(&imports, &tree));
    }
    if circles.is_empty() {
        println!("{} files, {arrows} imports between them, no circle", tree.files().len());
        return Ok(ExitCode::SUCCESS);
    }
    for (number, circle) in circles.iter().enumerate() {
        print!("{}", render(number + 1, circle));
    }
    eprintln!(
        "check-imports: {} of files that import each other, straight or through others; move what they share to a lower file",
        if let [_] = circles.as_slice() {
            "1 circle".to_owned()
        } else {
            format!("{} circles", circles.len())
        }
    );
    Ok(ExitCode::FAILURE)
}

fn render(number: usize, circle: &Circle) -> String {
    let mut text = format!("circle {number}: {} files\n", circle.files.len());
    for (from, to, names) in &circle.arrows {
        let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        text += &format!("  {from} -> {to}: {names}\n");
    }
    text
}
