//! Which file uses names of which file.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{
    Arm, Attribute, Block, Expr, ExprBlock, ExprCall, ExprClosure, ExprPath, Field, ImplItem, ImplItemFn,
    Item, ItemFn, ItemMod, ItemUse, LitStr, Local, Macro, Meta, PatIdent, Path, TraitItemFn, Variant,
    Visibility,
};

use crate::names::{attributes, is_test_only, leaves};
use crate::scope::Scope;
use crate::tree::Tree;

/// From file to file, with the names that the first takes from the second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Imports(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Imports {
    /// How many files import how many: each pair once.
    pub(crate) fn count(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// The files that a file imports, with the names.
    pub(crate) fn of<'a>(
        &'a self,
        file: &str,
    ) -> impl Iterator<Item = (&'a String, &'a BTreeSet<String>)> + use<'a> {
        self.0.get(file).into_iter().flatten()
    }

    pub(crate) fn add(&mut self, from: &str, to: &str, name: &str) {
        if from != to {
            let targets = self.0.entry(from.to_owned()).or_default();
            targets.entry(to.to_owned()).or_default().insert(name.to_owned());
        }
    }

    pub(crate) fn remove(&mut self, from: &str, to: &str) {
        if let Some(targets) = self.0.get_mut(from) {
            targets.remove(to);
        }
    }
}

/// The imports of all files.
pub(crate) fn imports(tree: &Tree) -> Imports {
    let mut imports = Imports::default();
    for (file, source) in tree.files() {
        let mut reader = Reader { file, scope: Scope::of(tree, &source.module), imports: &mut imports };
        for item in &source.items {
            reader.visit_item(item);
        }
    }
    imports
}

/// Reads one file.
struct Reader<'a> {
    file: &'a str,
    scope: Scope<'a>,
    imports: &'a mut Imports,
}

impl Reader<'_> {
    fn record(&mut self, path: &[String]) {
        for definition in self.scope.definitions(path) {
            self.imports.add(self.file, &definition.file, &definition.name);
        }
    }

    fn record_path(&mut self, path: &Path) {
        self.record(&segments(path));
    }

    fn record_tokens(&mut self, tokens: &TokenStream) {
        for candidate in crate::tokens::candidates(tokens.clone()) {
            let is_variable = match candidate.path.as_slice() {
                [name] => !candidate.is_called && self.scope.is_variable(name),
                _ => false,
            };
            if !is_variable {
                self.record(&candidate.path);
            }
        }
    }

    /// Paths in strings, as in `#[serde(with = "seconds")]`.
    fn record_quoted(&mut self, tokens: &TokenStream) {
        for token in tokens.clone() {
            if let TokenTree::Literal(literal) = token
                && let Ok(text) = syn::parse_str::<LitStr>(&literal.to_string())
                && let Ok(path) = text.parse::<Path>()
            {
                // Of a module serde takes this function. What is associated with a function is that function.
                self.record(&[segments(&path), vec!["serialize".to_owned()]].concat());
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test_only(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    /// A file of its own is read by itself.
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let Some((_, items)) = &item.content else { return };
        self.scope.enter_module(item.ident.to_string());
        for item in items {
            self.visit_item(item);
        }
        self.scope.leave_module();
    }

    /// A re-export counts where it is used.
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if matches!(item.vis, Visibility::Inherited) {
            for leaf in leaves(&item.tree) {
                self.record(&leaf.path);
            }
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        self.record_path(path);
        visit::visit_path(self, path);
    }

    /// A macro with a short name is not looked for: a function may have the same name. A `use` of it is an import.
    fn visit_macro(&mut self, call: &'ast Macro) {
        if call.path.get_ident().is_none() {
            self.record_path(&call.path);
        }
        self.record_tokens(&call.tokens);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        match &attribute.meta {
            Meta::Path(_) => {}
            Meta::List(list) => {
                self.record_tokens(&list.tokens);
                if list.path.is_ident("serde") {
                    self.record_quoted(&list.tokens);
                }
            }
            Meta::NameValue(pair) => self.visit_expr(&pair.value),
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        self.scope.enter_block(block);
        visit::visit_block(self, block);
        self.scope.leave_block();
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.scope.enter_function(|variables| variables.visit_item_fn(function));
        visit::visit_item_fn(self, function);
        self.scope.leave_function();
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.scope.enter_function(|variables| variables.visit_impl_item_fn(function));
        visit::visit_impl_item_fn(self, function);
        self.scope.leave_function();
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        self.scope.enter_function(|variables| variables.visit_trait_item_fn(function));
        visit::visit_trait_item_fn(self, function);
        self.scope.leave_function();
    }

    fn visit_expr_closure(&mut self, closure: &'ast ExprClosure) {
        self.scope.enter_function(|variables| variables.visit_expr_closure(closure));
        visit::visit_expr_closure(self, closure);
        self.scope.leave_function();
    }

    /// What is called is a function, also where a variable has its name.
    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Expr::Path(function) = &*call.func {
            self.record_path(&function.path);
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_path(&mut self, expression: &'ast ExprPath) {
        let is_variable =
            expression.path.get_ident().is_some_and(|name| self.scope.is_variable(&name.to_string()));
        if !is_variable {
            visit::visit_expr_path(self, expression);
        }
    }

    /// A constant or a variant, where it begins with a capital.
    fn visit_pat_ident(&mut self, pattern: &'ast PatIdent) {
        let name = pattern.ident.to_string();
        if name.starts_with(|first: char| first.is_uppercase()) {
            self.record(&[name]);
        }
        visit::visit_pat_ident(self, pattern);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => item.attrs.as_slice(),
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            ImplItem::Macro(item) => &item.attrs,
            _ => &[],
        };
        if !is_test_only(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast Field) {
        if !is_test_only(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast Variant) {
        if !is_test_only(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        if !is_test_only(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_local(&mut self, local: &'ast Local) {
        if !is_test_only(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_expr_block(&mut self, block: &'ast ExprBlock) {
        if !is_test_only(&block.attrs) {
            visit::visit_expr_block(self, block);
        }
    }
}

fn segments(path: &Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}
