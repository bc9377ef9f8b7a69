//! The names in scope at one place of a file: those of its module, and those that blocks around it import.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};
use syn::{Block, PatIdent, Stmt};

use crate::definitions::{Definition, Found, Search};
use crate::names::{Name, Names};
use crate::tree::{ModulePath, Tree};

/// A place in a file.
pub(crate) struct Scope<'a> {
    tree: &'a Tree,
    module: ModulePath,
    blocks: Vec<Names>,
    /// The variables of the functions around the place.
    variables: Vec<BTreeSet<String>>,
}

impl<'a> Scope<'a> {
    /// The scope of a module.
    pub(crate) fn of(tree: &'a Tree, module: &[String]) -> Self {
        Self { tree, module: module.to_owned(), blocks: Vec::new(), variables: Vec::new() }
    }

    /// Enters a module inside the file.
    pub(crate) fn enter_module(&mut self, name: String) {
        self.module.push(name);
    }

    pub(crate) fn leave_module(&mut self) {
        self.module.pop();
    }

    pub(crate) fn enter_block(&mut self, block: &Block) {
        self.blocks.push(Names::of(block.stmts.iter().filter_map(|statement| match statement {
            Stmt::Item(item) => Some(item),
            _ => None,
        })));
    }

    pub(crate) fn leave_block(&mut self) {
        self.blocks.pop();
    }

    /// Enters a function, which `visit` shows to a visitor.
    pub(crate) fn enter_function(&mut self, visit: impl FnOnce(&mut Variables)) {
        let mut variables = Variables::default();
        visit(&mut variables);
        self.variables.push(variables.0);
    }

    pub(crate) fn leave_function(&mut self) {
        self.variables.pop();
    }

    /// Whether a variable of a function around the place has this name.
    pub(crate) fn is_variable(&self, name: &str) -> bool {
        self.variables.iter().any(|variables| variables.contains(name))
    }

    /// What a path at this place names.
    pub(crate) fn definitions(&self, path: &[String]) -> Vec<Definition> {
        let items = self.find(path).into_iter().filter_map(|found| match found {
            Found::Item(definition) => Some(definition),
            Found::Module(_) => None,
        });
        items.collect()
    }

    fn find(&self, path: &[String]) -> Vec<Found> {
        let Some((first, rest)) = path.split_first() else { return Vec::new() };
        let mut search = Search::new(self.tree);
        for names in self.blocks.iter().rev() {
            let meanings = names.get(first);
            if meanings.is_empty() {
                if let Some(found) = search.through_globs(&self.module, &names.globs, first) {
                    return search.rest(found, rest);
                }
                continue;
            }
            // What the block defines itself is in this file.
            let imports = meanings.iter().filter_map(|meaning| match meaning {
                Name::Import(target) => Some([target, rest].concat()),
                Name::Item | Name::Module => None,
            });
            return imports.flat_map(|path| search.path(&self.module, &path)).collect();
        }
        search.path(&self.module, path)
    }
}

/// Collects the variables that patterns bind.
#[derive(Default)]
pub(crate) struct Variables(BTreeSet<String>);

impl Visit<'_> for Variables {
    fn visit_pat_ident(&mut self, pattern: &PatIdent) {
        self.0.insert(pattern.ident.to_string());
        visit::visit_pat_ident(self, pattern);
    }
}
