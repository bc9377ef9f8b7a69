//! What the module's code gets of it.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::names::Structure;
use crate::probe::Places;

/// Writes OUT_DIR/layout.rs and OUT_DIR/clippy.toml.
pub(crate) fn write(structures: &[Structure], places: &Places, out: &Path) -> Result<(), String> {
    write_file(&out.join("layout.rs"), &layout(structures, places)?)?;
    write_file(&out.join("clippy.toml"), &clippy(structures)?)
}

fn write_file(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("failed to write {}: {error}", path.display()))
}

fn layout(structures: &[Structure], places: &Places) -> Result<String, String> {
    let mut text = String::new();
    for one in structures {
        assertions(one, places, &mut text)?;
        constants(one, places, &mut text)?;
    }
    Ok(text)
}

/// One constant for each structure: the compiler stops at the first assertion that fails, and goes on to the next one.
fn assertions(one: &Structure, places: &Places, text: &mut String) -> Result<(), String> {
    let (rust, c) = (&one.rust, &one.c);
    let _ = writeln!(text, "const _: () = {{");
    for field in &one.fields {
        let name = &field.rust;
        let (at, size) = place(&places.fields, one, name)?;
        let _ = writeln!(
            text,
            "    assert!(offset_of!(nginx_sys::{rust}, {name}) == {at} \
             && size_of_field(|s: *const nginx_sys::{rust}| unsafe {{ &raw const (*s).{name} }}) == {size}, \
             \"{c}.{name}: nginx's C compiler has it at byte {at} with {size} bytes, the bindings have not; {NEXT}\");"
        );
    }
    let size = places.sizes.get(rust).ok_or_else(|| format!("the C compiler said no size of {c}"))?;
    let _ = writeln!(
        text,
        "    assert!(size_of::<nginx_sys::{rust}>() == {size}, \
         \"{c}: nginx's C compiler gives it {size} bytes, the bindings do not; {NEXT}\");\n}};"
    );
    Ok(())
}

fn constants(one: &Structure, places: &Places, text: &mut String) -> Result<(), String> {
    if one.bitfields.is_empty() {
        return Ok(());
    }
    let name = one.c.trim_start_matches("struct ").trim_start_matches("union ");
    let _ = writeln!(text, "pub(crate) mod {name} {{");
    for field in &one.bitfields {
        if let Some((kind, at, mask)) = constant(place(&places.bitfields, one, &field.rust)?) {
            let (name, rust) = (field.c.to_uppercase(), &one.rust);
            let _ = writeln!(
                text,
                "    pub(crate) const {name}: super::{kind}<nginx_sys::{rust}> = super::{kind}::new({at}, {mask:#x});"
            );
        }
    }
    text.push_str("}\n");
    Ok(())
}

fn place<'a, T>(
    all: &'a HashMap<(String, String), T>,
    structure: &Structure,
    field: &str,
) -> Result<&'a T, String> {
    all.get(&(structure.rust.clone(), field.to_owned()))
        .ok_or_else(|| format!("the C compiler said no place of {}.{field}", structure.c))
}

const NEXT: &str = "the module would read wrong memory of this nginx, so it is not built: please report the version of nginx";

/// One bit is a flag, in a byte. More are a number, in an aligned word. What is in two words has no constant: code that
/// uses it does not compile.
fn constant(bytes: &[(usize, u8)]) -> Option<(&'static str, usize, u32)> {
    if let [(at, mask)] = bytes
        && mask.count_ones() == 1
    {
        return Some(("Flag", *at, u32::from(*mask)));
    }
    let word = bytes.first()?.0 & !3;
    let mut parts = [0; 4];
    for (at, mask) in bytes {
        *parts.get_mut(at.checked_sub(word)?)? = *mask;
    }
    Some(("Bits", word, u32::from_ne_bytes(parts)))
}

/// The module's own clippy.toml, with the accessors of bitfields among what it forbids.
fn clippy(structures: &[Structure]) -> Result<String, String> {
    const LIST: &str = "disallowed-methods = [\n";
    println!("cargo::rerun-if-changed=clippy.toml");
    let own =
        fs::read_to_string("clippy.toml").map_err(|error| format!("failed to read clippy.toml: {error}"))?;
    let mut entries = LIST.to_owned();
    for one in structures.iter().filter(|one| !one.bitfields.is_empty()) {
        for method in &one.accessors {
            let _ = writeln!(
                entries,
                "    {{ path = \"nginx_sys::{}::{method}\", reason = \"bindgen places bitfields by itself: use crate::layout\" }},",
                one.rust
            );
        }
    }
    match own.split_once(LIST) {
        Some((before, after)) => Ok(format!("{before}{entries}{after}")),
        None => Err(format!("clippy.toml has no line \"{}\"", LIST.trim_end())),
    }
}
