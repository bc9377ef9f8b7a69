//! Errors for keys that had another name before.

use toml::{Table, Value};

/// What to write in place of a key that a file has by its former name. `None`: it has no such key.
pub(super) fn renamed(text: &str) -> Option<String> {
    let file: Table = text.parse().ok()?;
    nginx(&file).or_else(|| inconclusive(&file))
}

/// `[nginx]`, now `[edge.NAME]`.
fn nginx(file: &Table) -> Option<String> {
    let keys = file.get("nginx")?.as_table()?.iter().map(|(key, value)| format!("{key} = {value}"));
    let section = keys.collect::<Vec<_>>().join("\n");
    Some(format!("[nginx] is now called [edge.NAME]; write:\n\n[edge.nginx]\n{section}"))
}

/// `soak.inconclusive`, now `soak.on_inconclusive`.
fn inconclusive(file: &Table) -> Option<String> {
    let groups = file.get("group")?.as_table()?;
    groups.iter().find_map(|(name, group)| {
        let value = match group.get("soak")?.get("inconclusive")? {
            Value::String(word) if word == "complete" => "promote",
            _ => "rollback",
        };
        let section = |name: &str, content| Table::from_iter([(name.to_owned(), content)]);
        let soak = section("soak", Value::Table(section("on_inconclusive", Value::from(value))));
        let section = section("group", Value::Table(section(name, Value::Table(soak))));
        Some(format!("inconclusive is now called on_inconclusive; write:\n\n{section}"))
    })
}
