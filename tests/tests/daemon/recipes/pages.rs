//! The pages of docs/recipes install each of their files where its first line says.

use std::collections::BTreeSet;
use std::fs;

use cutover_tests::flavour::root;

use super::installed::place;

#[test]
fn each_page_installs_its_files_where_they_say_that_they_belong() {
    let recipes = root().join("docs/recipes");
    let mut pages = BTreeSet::new();
    for entry in fs::read_dir(&recipes).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let page = fs::read_to_string(recipes.join(format!("{name}.md"))).unwrap();
        for file in
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
        {
            let file_name = file.file_name().unwrap().to_str().unwrap();
            let path = format!("{name}/{file_name}");
            let text = fs::read_to_string(&file).unwrap();
            let place = place(&text).unwrap_or_else(|| panic!("{path} does not say where it belongs"));
            let installs = |line: &&str| line.starts_with("install ") && line.contains(&format!(" {path} "));
            let line =
                page.lines().find(installs).unwrap_or_else(|| panic!("the page does not install {path}"));
            let to = line.rsplit(' ').next().unwrap();
            assert!(place == to || place == format!("{to}{file_name}"), "{path} says {place}, the page {to}");
            let mode = if text.starts_with("#!") { "-m 0755" } else { "-m 0" };
            assert!(line.contains(mode), "{line}");
        }
        pages.insert(name);
    }
    assert_eq!(pages.len(), 8, "{pages:?}");
}
