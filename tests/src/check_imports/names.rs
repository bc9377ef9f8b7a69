//! The names that a list of items brings into scope: what it defines, its child modules, and what it imports.

use std::collections::BTreeMap;

use syn::punctuated::Punctuated;
use syn::{Attribute, ForeignItem, Item, Meta, Token, UseTree};

/// Names in scope. One name may be a module, a type and a function at once.
#[derive(Debug, Default)]
pub(crate) struct Names {
    named: BTreeMap<String, Vec<Name>>,
    /// The modules and enums that are imported with `*`.
    pub(crate) globs: Vec<Vec<String>>,
}

/// What a name stands for.
#[derive(Debug)]
pub(crate) enum Name {
    /// It is defined here.
    Item,
    /// It is a child module.
    Module,
    /// It is imported from this path.
    Import(Vec<String>),
}

/// One leaf of a `use`.
pub(crate) struct Leaf {
    pub(crate) path: Vec<String>,
    /// What it is called from now on; none for `*`.
    name: Option<String>,
}

impl Names {
    /// Those of some items, without what is for tests only.
    pub(crate) fn of<'a>(items: impl IntoIterator<Item = &'a Item>) -> Self {
        let mut names = Self::default();
        for item in items {
            if !is_test_only(attributes(item)) {
                names.add(item);
            }
        }
        names
    }

    /// All meanings of a name, but for those that a glob brings.
    pub(crate) fn get(&self, name: &str) -> &[Name] {
        self.named.get(name).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, item: &Item) {
        let name = match item {
            Item::Const(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Fn(item) => &item.sig.ident,
            Item::Static(item) => &item.ident,
            Item::Struct(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::TraitAlias(item) => &item.ident,
            Item::Type(item) => &item.ident,
            Item::Union(item) => &item.ident,
            Item::Macro(item) => match &item.ident {
                Some(name) => name,
                None => return,
            },
            Item::Mod(item) => return self.insert(item.ident.to_string(), Name::Module),
            Item::ForeignMod(block) => {
                for item in &block.items {
                    match item {
                        ForeignItem::Fn(item) => self.insert(item.sig.ident.to_string(), Name::Item),
                        ForeignItem::Static(item) => self.insert(item.ident.to_string(), Name::Item),
                        ForeignItem::Type(item) => self.insert(item.ident.to_string(), Name::Item),
                        _ => {}
                    }
                }
                return;
            }
            Item::Use(item) => {
                for leaf in leaves(&item.tree) {
                    match leaf.name {
                        Some(name) => self.insert(name, Name::Import(leaf.path)),
                        None => self.globs.push(leaf.path),
                    }
                }
                return;
            }
            _ => return,
        };
        self.insert(name.to_string(), Name::Item);
    }

    fn insert(&mut self, name: String, meaning: Name) {
        self.named.entry(name).or_default().push(meaning);
    }
}

/// The leaves of a `use`, each with its whole path.
pub(crate) fn leaves(tree: &UseTree) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    collect(tree, &mut Vec::new(), &mut leaves);
    leaves
}

fn collect(tree: &UseTree, path: &mut Vec<String>, leaves: &mut Vec<Leaf>) {
    let mut add = |segment: String, name: String| {
        // `use a::{self}` imports `a`.
        let path = if segment == "self" && !path.is_empty() {
            path.clone()
        } else {
            [path.as_slice(), &[segment]].concat()
        };
        let name = if name == "self" { path.last().cloned().unwrap_or_default() } else { name };
        leaves.push(Leaf { path, name: Some(name) });
    };
    match tree {
        UseTree::Name(leaf) => add(leaf.ident.to_string(), leaf.ident.to_string()),
        UseTree::Rename(leaf) => add(leaf.ident.to_string(), leaf.rename.to_string()),
        UseTree::Glob(_) => leaves.push(Leaf { path: path.clone(), name: None }),
        UseTree::Path(branch) => {
            path.push(branch.ident.to_string());
            collect(&branch.tree, path, leaves);
            path.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                collect(tree, path, leaves);
            }
        }
    }
}

/// Whether it is compiled for tests only.
pub(crate) fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args().is_ok_and(|condition| wants_test(&condition))
    })
}

fn wants_test(condition: &Meta) -> bool {
    let parts = |list: &syn::MetaList| {
        list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).unwrap_or_default()
    };
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => parts(list).iter().any(wants_test),
        Meta::List(list) if list.path.is_ident("any") => parts(list).iter().all(wants_test),
        _ => false,
    }
}

/// The attributes of an item.
pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
