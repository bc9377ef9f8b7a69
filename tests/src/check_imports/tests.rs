//! Small crates, written into a temporary folder.

use std::collections::BTreeSet;
use std::fs;

use cutover_tests::temp::TempDir;

use crate::circles::{Circle, circles};
use crate::imports::imports;
use crate::layers;
use crate::targets::Target;
use crate::tree::Tree;

/// A crate `one` of these files. A file of another crate begins with that crate's name and a colon.
fn tree(files: &[(&str, &str)]) -> Tree {
    let folder = TempDir::new().unwrap();
    let mut targets = BTreeSet::new();
    for (file, text) in files {
        let (name, file) = file.split_once(':').unwrap_or(("one", file));
        let path = folder.path().join(name).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        targets.insert(name.to_owned());
    }
    let targets = targets.into_iter().map(|name| {
        let root = folder.path().join(&name).join("lib.rs");
        Target { name, is_library: true, root }
    });
    Tree::read(folder.path(), &targets.collect::<Vec<_>>()).unwrap()
}

fn found(files: &[(&str, &str)]) -> Vec<Circle> {
    let tree = tree(files);
    circles(&mut imports(&tree), &tree)
}

/// Each circle as `from -> to: names`.
fn arrows(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let circles = found(files).into_iter().map(|circle| {
        let arrows = circle.arrows.into_iter().map(|(from, to, names)| {
            let short = |file: &str| file.strip_prefix("one/").unwrap_or(file).to_owned();
            format!(
                "{} -> {}: {}",
                short(&from),
                short(&to),
                names.into_iter().collect::<Vec<_>>().join(", ")
            )
        });
        arrows.collect()
    });
    circles.collect()
}

/// The imports of `a.rs`, where nothing else imports anything.
fn taken_by_a(a: &str, others: &[(&str, &str)]) -> Vec<String> {
    let files = [others, &[("a.rs", a)]].concat();
    let tree = tree(&files);
    let imports = imports(&tree);
    let taken = imports.of("one/a.rs").map(|(file, names)| {
        let file = file.strip_prefix("one/").unwrap_or(file);
        format!("{file}: {}", names.iter().cloned().collect::<Vec<_>>().join(", "))
    });
    taken.collect()
}

#[test]
fn two_files_that_import_each_other_are_a_circle() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; pub struct A; fn a(b: B) {}"),
        ("b.rs", "pub struct B; fn b(_: &crate::a::A) {}"),
    ];
    assert_eq!(arrows(&files), [["a.rs -> b.rs: B", "b.rs -> a.rs: A"]]);
}

#[test]
fn three_files_are_a_circle_and_what_hangs_on_them_is_not_part_of_it() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod above; mod below;"),
        ("above.rs", "use crate::a::A;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use crate::c::C; pub struct B;"),
        ("c.rs", "use crate::{a::A, below::Below}; pub struct C;"),
        ("below.rs", "pub struct Below;"),
    ];
    assert_eq!(arrows(&files), [["a.rs -> b.rs: B", "b.rs -> c.rs: C", "c.rs -> a.rs: A"]]);
}

#[test]
fn a_name_counts_for_the_file_that_defines_it_and_not_for_one_that_re_exports_it() {
    let files = [
        ("lib.rs", "mod a; mod b; mod face;"),
        ("face.rs", "pub use crate::b::B; pub use crate::a::*;"),
        ("a.rs", "use crate::face::B; pub struct A;"),
        ("b.rs", "use crate::face::A; pub struct B;"),
    ];
    assert_eq!(arrows(&files), [["a.rs -> b.rs: B", "b.rs -> a.rs: A"]]);
}

#[test]
fn a_re_export_alone_is_no_circle() {
    let files = [
        ("lib.rs", "mod a; mod b; pub use a::A; pub struct Root;"),
        ("a.rs", "pub use crate::b::B; pub(crate) use crate::b::inner::*; pub struct A(crate::Root);"),
        ("b.rs", "pub mod inner; use crate::a::A; pub struct B;"),
        ("b/inner.rs", "pub struct Inner; fn inner(_: crate::a::A) {}"),
    ];
    assert_eq!(arrows(&files), [[""; 0]; 0]);
}

#[test]
fn siblings_that_meet_through_super_are_a_circle() {
    let files = [
        ("lib.rs", "mod a;"),
        ("a.rs", "mod left; mod right;"),
        ("a/left.rs", "use super::right; pub fn left() { right::right() }"),
        ("a/right.rs", "pub fn right() { super::left::left() }"),
    ];
    assert_eq!(arrows(&files), [["a/left.rs -> a/right.rs: right", "a/right.rs -> a/left.rs: left"]]);
}

#[test]
fn a_circle_inside_macro_calls_is_found() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", r#"pub const A: u8 = 1; fn a() -> String { format!("{}", crate::b::most(1)) }"#),
        ("b.rs", "pub fn most(of: u8) -> bool { let found = assert!(matches!(of, 0..=super::a::A)); true }"),
    ];
    assert_eq!(arrows(&files), [["a.rs -> b.rs: most", "b.rs -> a.rs: A"]]);
}

#[test]
fn a_file_may_use_the_module_that_it_is_part_of() {
    let files = [
        ("lib.rs", "mod a;"),
        ("a.rs", "mod part; mod other; pub struct A; fn a() { part::part() }"),
        ("a/part.rs", "pub fn part() -> super::A { super::other::other() }"),
        ("a/other.rs", "pub fn other() -> super::A { super::A }"),
    ];
    assert_eq!(arrows(&files), [[""; 0]; 0]);
}

#[test]
fn a_circle_that_leads_out_of_a_module_and_back_is_found() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "mod part; pub struct A; fn a() { part::part() }"),
        ("a/part.rs", "use crate::b::B; pub fn part() {}"),
        ("b.rs", "use crate::a::A; pub struct B;"),
    ];
    assert_eq!(arrows(&files), [["a.rs -> a/part.rs: part", "a/part.rs -> b.rs: B", "b.rs -> a.rs: A"]]);
}

#[test]
fn the_root_of_a_crate_is_a_file_like_others() {
    let files = [
        ("lib.rs", "mod a; pub struct Root; fn root() { a::a() }"),
        ("a.rs", "pub fn a() -> crate::Root { crate::Root }"),
    ];
    assert_eq!(arrows(&files), [["a.rs -> lib.rs: Root", "lib.rs -> a.rs: a"]]);
}

#[test]
fn names_of_other_crates_are_followed() {
    let files = [
        ("lib.rs", "mod a;"),
        ("a.rs", "use two::{deep::Deep, Shown}; fn a() -> std::string::String { two::deep::make() }"),
        ("two:lib.rs", "pub mod deep; pub use deep::Deep as Shown;"),
        ("two:deep.rs", "pub struct Deep; pub fn make() {}"),
    ];
    let tree = tree(&files);
    let imports = imports(&tree);
    let taken = imports.of("one/a.rs").collect::<Vec<_>>();
    assert_eq!(taken, [(&"two/deep.rs".to_owned(), &BTreeSet::from(["Deep".to_owned(), "make".to_owned()]))]);
}

#[test]
fn tests_are_left_out() {
    let files = [
        ("lib.rs", "mod a; mod b; #[cfg(test)] mod tests;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        (
            "b.rs",
            "pub struct B; #[cfg(test)] use crate::a::A; #[cfg(all(test, unix))] mod tests { use crate::a::A; }
             impl B { #[cfg(test)] fn b(_: crate::a::A) {} }
             enum Kind { One, #[cfg(test)] Two(crate::a::A) }",
        ),
        ("tests.rs", "use crate::a::A;"),
    ];
    assert_eq!(arrows(&files), [[""; 0]; 0]);
    assert!(!tree(&files).files().contains_key("one/tests.rs"));
}

#[test]
fn names_reach_a_file_in_many_ways() {
    let others = [
        ("lib.rs", "mod a; mod b; mod c;"),
        (
            "b.rs",
            "pub struct B; pub enum Kind { Big } pub fn b() {} pub const MOST: u8 = 1; pub mod inside { pub fn deep() {} }",
        ),
        ("c.rs", "pub use crate::b::*; pub use crate::b as again; pub type Alias = u8;"),
    ];
    for (text, expected) in [
        ("use crate::b;", vec![]),
        ("use crate::b; fn a() { b::b() }", vec!["b.rs: b"]),
        ("use crate::b as other; fn a() { other::b() }", vec!["b.rs: b"]),
        ("use crate::b::{self, B}; fn a() { b::b() }", vec!["b.rs: B, b"]),
        ("fn a() { crate::b::inside::deep() }", vec!["b.rs: deep"]),
        ("fn a() { crate::b::Kind::Big; }", vec!["b.rs: Kind"]),
        ("use crate::b::Kind::*;", vec!["b.rs: Kind"]),
        ("fn a() { use crate::c::Kind; Kind::Big; }", vec!["b.rs: Kind"]),
        ("fn a() { use crate::b; b::b() }", vec!["b.rs: b"]),
        ("fn a() { use crate::c::*; b() }", vec!["b.rs: b"]),
        ("use crate::c::*; fn a() { struct B; B; }", vec![]),
        ("use crate::c::*; fn a(_: B) {}", vec!["b.rs: B"]),
        ("use crate::c::*; fn a() { let b = 1; b + 1; }", vec![]),
        ("use crate::c::*; fn a() { let b = b(); }", vec!["b.rs: b"]),
        ("use crate::c::*; fn a(x: u8) { match x { MOST => {} _ => {} } }", vec!["b.rs: MOST"]),
        ("fn a() { crate::c::again::b() }", vec!["b.rs: b"]),
        ("fn a(_: crate::c::Alias) {}", vec!["c.rs: Alias"]),
        ("fn a<T: Into<crate::b::B>>(_: Vec<T>) {}", vec!["b.rs: B"]),
        (
            "#[serde(with = \"crate::b::inside\", default = \"crate::b::b\")] struct A;",
            vec!["b.rs: b, serialize"],
        ),
        ("#[derive(Debug)] struct A { #[arg(value_parser = crate::b::b)] a: u8 }", vec!["b.rs: b"]),
        ("macro_rules! make { () => { $crate::b::b() } }", vec!["b.rs: b"]),
        ("fn a() { crate::b::made_by_a_macro() }", vec!["b.rs: made_by_a_macro"]),
        ("mod inner { use super::super::b::B; fn a(_: B) {} }", vec!["b.rs: B"]),
        ("pub use crate::b::B;", vec![]),
        ("pub use crate::b::B; fn a(_: B) {}", vec!["b.rs: B"]),
        ("struct B; fn a(_: B) {}", vec![]),
        ("use std::b::B; fn a(_: B) {}", vec![]),
        ("/// [`crate::b::B`]\nfn a() {}", vec![]),
    ] {
        assert_eq!(taken_by_a(text, &others), expected, "{text}");
    }
}

#[test]
fn a_module_and_its_function_may_have_one_name() {
    let others = [("lib.rs", "mod a; mod follow;"), ("follow.rs", "pub fn follow() {} pub fn more() {}")];
    let text = "use crate::follow::{self, follow}; fn a() { follow(); follow::more() }";
    assert_eq!(taken_by_a(text, &others), ["follow.rs: follow, more"]);
}

#[test]
fn imports_that_lead_round_in_a_loop_end() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub use crate::b::*; pub use crate::b::Nothing; fn a(_: Nothing, _: None) {}"),
        ("b.rs", "pub use crate::a::*; pub use crate::a::Nothing;"),
    ];
    assert_eq!(arrows(&files), [[""; 0]; 0]);
}

#[test]
fn a_file_is_a_layer_above_what_it_imports() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; fn root() { c::c() }"),
        ("a.rs", "pub fn a() {}"),
        ("b.rs", "pub fn b() {}"),
        ("c.rs", "pub fn c() { crate::b::b() }"),
    ];
    let tree = tree(&files);
    let expected = "one\n   3  one/lib.rs\n   2  one/c.rs\n   1  one/a.rs, one/b.rs\n";
    assert_eq!(layers::render(&imports(&tree), &tree), expected);
}

#[test]
fn a_module_without_a_file_is_an_error() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("lib.rs");
    fs::write(&root, "mod a;").unwrap();
    let error = Tree::read(folder.path(), &[Target { name: "one".to_owned(), is_library: true, root }])
        .err()
        .unwrap();
    assert_eq!(error.to_string(), "lib.rs declares \"mod a;\", but has no file for it");
}
