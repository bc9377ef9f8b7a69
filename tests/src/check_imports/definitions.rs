//! Follows a path to the file that defines what it names, through imports and re-exports.

use crate::names::Name;
use crate::tree::{ModulePath, Tree};

/// A name that a file of the workspace defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) file: String,
    pub(crate) name: String,
}

/// What a path leads to. A path that leads out of the workspace leads to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Module(ModulePath),
    Item(Definition),
}

/// One question to the tree.
pub(crate) struct Search<'a> {
    tree: &'a Tree,
    /// The imports that are being followed, each with the module that it is in and the name that was asked for: a name can be
    /// imported in a loop.
    followed: Vec<(ModulePath, Vec<String>, String)>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(tree: &'a Tree) -> Self {
        Self { tree, followed: Vec::new() }
    }

    /// What a path that is written in a module leads to.
    pub(crate) fn path(&mut self, from: &[String], path: &[String]) -> Vec<Found> {
        let Some((first, rest)) = path.split_first() else { return Vec::new() };
        let found = match first.as_str() {
            "crate" => from.first().map(|name| Found::Module(vec![name.clone()])).into_iter().collect(),
            "self" => vec![Found::Module(from.to_owned())],
            "super" => parent(from).into_iter().collect(),
            name => match self.name(from, name) {
                Some(found) => found,
                None if self.tree.is_library(name) => vec![Found::Module(vec![name.to_owned()])],
                None => Vec::new(),
            },
        };
        self.rest(found, rest)
    }

    /// What the rest of a path leads to.
    pub(crate) fn rest(&mut self, mut found: Vec<Found>, rest: &[String]) -> Vec<Found> {
        for segment in rest {
            // A function and a module may have one name; only the module has names inside.
            if found.iter().any(|found| matches!(found, Found::Module(_))) {
                found.retain(|found| matches!(found, Found::Module(_)));
            }
            let mut next = Vec::new();
            for found in found {
                match found {
                    Found::Module(module) if segment == "super" => next.extend(parent(&module)),
                    Found::Module(module) => match self.name(&module, segment) {
                        Some(found) => next.extend(found),
                        None => next.extend(self.made_by_macro(&module, segment)),
                    },
                    // A variant, or what is associated with a type.
                    item @ Found::Item(_) => next.push(item),
                }
            }
            found = next;
        }
        found
    }

    /// The meanings of a name in a module; none if the module has no such name.
    pub(crate) fn name(&mut self, path: &[String], name: &str) -> Option<Vec<Found>> {
        let module = self.tree.module(path)?;
        let meanings = module.names.get(name);
        if meanings.is_empty() {
            return self.through_globs(path, &module.names.globs, name);
        }
        let mut found = Vec::new();
        for meaning in meanings {
            match meaning {
                Name::Item => {
                    found.push(Found::Item(Definition { file: module.file.clone(), name: name.to_owned() }));
                }
                Name::Module => {
                    let child = [path, &[name.to_owned()]].concat();
                    found.extend(self.tree.module(&child).is_some().then_some(Found::Module(child)));
                }
                Name::Import(target) => {
                    found.extend(self.once(path, target, name, |search| search.path(path, target)));
                }
            }
        }
        Some(found)
    }

    /// The meanings of a name that `*` imports.
    pub(crate) fn through_globs(
        &mut self,
        path: &[String],
        globs: &[Vec<String>],
        name: &str,
    ) -> Option<Vec<Found>> {
        let mut all = None;
        for glob in globs {
            let modules = self.once(path, glob, name, |search| {
                let mut found = Vec::new();
                for module in search.path(path, glob) {
                    if let Found::Module(module) = module
                        && let Some(meanings) = search.name(&module, name)
                    {
                        found.push(meanings);
                    }
                }
                found
            });
            for found in modules {
                all.get_or_insert_with(Vec::new).extend(found);
            }
        }
        all
    }

    /// A module defines a name that is not written in it, unless it imports `*` from another crate.
    fn made_by_macro(&mut self, path: &[String], name: &str) -> Option<Found> {
        let module = self.tree.module(path)?;
        let is_foreign = module.names.globs.iter().any(|glob| self.path(path, glob).is_empty());
        let item = Definition { file: module.file.clone(), name: name.to_owned() };
        (!is_foreign).then_some(Found::Item(item))
    }

    /// Follows an import unless it is being followed already.
    fn once<T>(
        &mut self,
        path: &[String],
        import: &[String],
        name: &str,
        follow: impl FnOnce(&mut Self) -> Vec<T>,
    ) -> Vec<T> {
        let step = (path.to_owned(), import.to_owned(), name.to_owned());
        if self.followed.contains(&step) {
            return Vec::new();
        }
        self.followed.push(step);
        let found = follow(self);
        self.followed.pop();
        found
    }
}

fn parent(module: &[String]) -> Option<Found> {
    match module.split_last() {
        Some((_, parent)) if !parent.is_empty() => Some(Found::Module(parent.to_owned())),
        _ => None,
    }
}
