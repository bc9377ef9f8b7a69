//! The names of nginx's structures and of what is in them, as bindgen gives them.
//!
//! nginx-sys keeps its bindings to itself. So bindgen, in the same version, reads the same headers once more. Should the two
//! differ, then a name is asserted that nginx-sys does not have, and that does not compile.

use std::collections::HashMap;

use syn::{Fields, ImplItem, Item, Type};

use crate::headers::Headers;

/// A structure or union.
pub(crate) struct Structure {
    /// Its name in the bindings.
    pub(crate) rust: String,
    /// Its type in C.
    pub(crate) c: String,
    pub(crate) fields: Vec<Field>,
    /// Bitfields: the bindings have methods for them, not fields.
    pub(crate) bitfields: Vec<Field>,
    /// Every method of the bindings that reads or writes a bitfield.
    pub(crate) accessors: Vec<String>,
}

/// One thing in a structure.
pub(crate) struct Field {
    pub(crate) rust: String,
    pub(crate) c: String,
}

impl Field {
    fn new(rust: String) -> Self {
        let c = name_in_c(&rust).to_owned();
        Self { rust, c }
    }
}

/// bindgen puts a line behind what is a word of Rust (`type_`); no field of nginx ends in one.
fn name_in_c(field: &str) -> &str {
    field.trim_end_matches('_')
}

/// All structures of nginx's core and http parts.
pub(crate) fn read(headers: &Headers) -> Result<Vec<Structure>, String> {
    let bindings = bindgen::Builder::default()
        .header_contents("nginx.h", "#include <ngx_config.h>\n#include <ngx_core.h>\n#include <ngx_http.h>\n")
        .clang_args(headers.includes().chain(headers.preprocessor.iter().cloned()))
        .allowlist_type("ngx_.*")
        .layout_tests(false)
        .generate()
        .map_err(|error| format!("bindgen failed to read nginx's headers: {error}"))?;
    let file = syn::parse_file(&bindings.to_string())
        .map_err(|error| format!("bindgen's output is not valid Rust: {error}"))?;
    Ok(structures(&file.items))
}

fn structures(items: &[Item]) -> Vec<Structure> {
    let mut typedefs = HashMap::new();
    let mut methods: HashMap<String, Vec<String>> = HashMap::new();
    for item in items {
        match item {
            Item::Type(alias) => {
                if let Some(tag) = last_name(&alias.ty) {
                    typedefs.entry(tag).or_insert_with(|| alias.ident.to_string());
                }
            }
            Item::Impl(block) if block.trait_.is_none() => {
                let names = block.items.iter().filter_map(|item| match item {
                    ImplItem::Fn(method) => Some(method.sig.ident.to_string()),
                    _ => None,
                });
                methods.entry(last_name(&block.self_ty).unwrap_or_default()).or_default().extend(names);
            }
            _ => {}
        }
    }
    let defined = items.iter().filter_map(|item| match item {
        Item::Struct(one) => match &one.fields {
            Fields::Named(fields) => Some((one.ident.to_string(), fields)),
            _ => None,
        },
        Item::Union(one) => Some((one.ident.to_string(), &one.fields)),
        _ => None,
    });
    defined
        .filter(|(name, _)| name.starts_with("ngx_") && !name.contains("__bindgen"))
        .map(|(rust, fields)| {
            let accessors = methods.remove(&rust).unwrap_or_default();
            Structure {
                c: in_c(&rust, &typedefs),
                fields: named(fields),
                bitfields: bitfields(&accessors),
                rust,
                accessors,
            }
        })
        // Of what is only declared in these headers nothing is known.
        .filter(|one| !(one.fields.is_empty() && one.bitfields.is_empty()))
        .collect()
}

/// What C can name, too: not bindgen's stand-ins for padding, bitfields and what has no name.
fn named(fields: &syn::FieldsNamed) -> Vec<Field> {
    let names = fields.named.iter().filter_map(|field| Some(field.ident.as_ref()?.to_string()));
    names.filter(|name| !name.starts_with('_')).map(Field::new).collect()
}

/// Each bitfield `x` has a method `x` and a method `set_x`; a bitfield `type` has `type_` and `set_type`.
fn bitfields(methods: &[String]) -> Vec<Field> {
    let has = |name: &str| methods.iter().any(|method| method == name);
    methods
        .iter()
        .filter(|name| !name.ends_with("_raw") && has(&format!("set_{}", name_in_c(name))))
        .cloned()
        .map(Field::new)
        .collect()
}

/// Tags of nginx end in `_s`, or `_u` for a union, and most have a name without `struct`, too.
fn in_c(name: &str, typedefs: &HashMap<String, String>) -> String {
    let keyword = match name.rsplit('_').next() {
        Some("s") => "struct",
        Some("u") => "union",
        _ => return name.to_owned(),
    };
    typedefs.get(name).cloned().unwrap_or_else(|| format!("{keyword} {name}"))
}

fn last_name(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        _ => None,
    }
}
