//! The modules of each crate, the file of each, and the names in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use syn::{Item, ItemMod, Lit, Meta};

use crate::names::{Names, is_test_only};
use crate::targets::Target;

/// Where a module is: its crate, then the modules down to it.
pub(crate) type ModulePath = Vec<String>;

/// Every module of every crate, without those for tests.
#[derive(Default)]
pub(crate) struct Tree {
    modules: BTreeMap<ModulePath, Module>,
    /// Each file with its module.
    files: BTreeMap<String, Source>,
    libraries: Vec<String>,
}

/// One module, in a file of its own or inside one.
pub(crate) struct Module {
    /// Relative to the workspace.
    pub(crate) file: String,
    pub(crate) names: Names,
}

/// A file's module and what the file holds.
pub(crate) struct Source {
    pub(crate) module: ModulePath,
    pub(crate) items: Vec<Item>,
}

impl Tree {
    /// Reads the crates' files. `workspace` is what their names are relative to.
    pub(crate) fn read(workspace: &Path, targets: &[Target]) -> Result<Self> {
        let mut tree = Self::default();
        for target in targets {
            if target.is_library {
                tree.libraries.push(target.name.clone());
            }
            let folder = target.root.parent().unwrap_or(workspace);
            tree.read_file(workspace, &target.root, folder, vec![target.name.clone()])?;
        }
        Ok(tree)
    }

    /// The module at a path.
    pub(crate) fn module(&self, path: &[String]) -> Option<&Module> {
        self.modules.get(path)
    }

    /// Every file.
    pub(crate) fn files(&self) -> &BTreeMap<String, Source> {
        &self.files
    }

    /// Whether other crates can name this one.
    pub(crate) fn is_library(&self, name: &str) -> bool {
        self.libraries.iter().any(|library| library == name)
    }

    /// Whether `file` is part of the module that `head` begins: `journal/draft.rs` of `journal.rs`. The root of a crate is not
    /// such a head: everything would be part of it.
    pub(crate) fn is_part_of(&self, file: &str, head: &str) -> bool {
        let (Some(file), Some(head)) = (self.files.get(file), self.files.get(head)) else { return false };
        head.module.len() > 1
            && file.module.len() > head.module.len()
            && file.module.starts_with(&head.module)
    }

    /// `folder` holds the files of its child modules.
    fn read_file(&mut self, workspace: &Path, file: &Path, folder: &Path, module: ModulePath) -> Result<()> {
        let text = fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
        let parsed = syn::parse_file(&text).with_context(|| format!("failed to parse {}", file.display()))?;
        if is_test_only(&parsed.attrs) {
            return Ok(());
        }
        let name = file.strip_prefix(workspace).unwrap_or(file).display().to_string();
        self.read_items(workspace, &parsed.items, &Place { file, name: &name, folder }, &module)?;
        self.files.insert(name, Source { module, items: parsed.items });
        Ok(())
    }

    fn read_items(
        &mut self,
        workspace: &Path,
        items: &[Item],
        place: &Place<'_>,
        module: &[String],
    ) -> Result<()> {
        self.modules
            .insert(module.to_owned(), Module { file: place.name.to_owned(), names: Names::of(items) });
        for item in items {
            let Item::Mod(child) = item else { continue };
            if is_test_only(&child.attrs) {
                continue;
            }
            let name = child.ident.to_string();
            let path = [module, std::slice::from_ref(&name)].concat();
            let folder = place.folder.join(&name);
            match &child.content {
                Some((_, items)) => {
                    self.read_items(workspace, items, &Place { folder: &folder, ..*place }, &path)?;
                }
                None => {
                    let file = file_of(child, place)?;
                    // A file with the name of its folder.
                    let is_inside = file.file_name().is_some_and(|name| name == "mod.rs");
                    let folder = if is_inside { file.parent().unwrap_or(&folder) } else { &folder };
                    self.read_file(workspace, &file, folder, path)?;
                }
            }
        }
        Ok(())
    }
}

/// Where items are written.
struct Place<'a> {
    file: &'a Path,
    name: &'a str,
    folder: &'a Path,
}

/// The file of `mod child;`.
fn file_of(child: &ItemMod, place: &Place<'_>) -> Result<PathBuf> {
    let given = child.attrs.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: Lit::Str(path), .. }) => Some(path.value()),
            _ => None,
        },
        _ => None,
    });
    if let Some(path) = given {
        return Ok(place.file.with_file_name(path));
    }
    let name = child.ident.to_string();
    let candidates = [place.folder.join(format!("{name}.rs")), place.folder.join(&name).join("mod.rs")];
    match candidates.iter().find(|file| file.is_file()) {
        Some(file) => Ok(file.clone()),
        None => bail!("{} declares \"mod {name};\", but has no file for it", place.name),
    }
}
