//! The alert rules for Prometheus.

use std::fs;
use std::path::Path;
use std::process::Command;

use cutover_tests::flavour;

#[test]
fn they_are_valid_and_name_metrics_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let rules = root.join("host/alerts.yml");
    let checked = Command::new(flavour::tool("promtool").unwrap())
        .args(["check", "rules"])
        .arg(&rules)
        .output()
        .unwrap();
    let said = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
    assert!(checked.status.success() && said.contains("6 rules found"), "{said}");
    let metrics = fs::read_to_string(root.join("docs/metrics.md")).unwrap();
    let text = fs::read_to_string(rules).unwrap();
    let exprs = text.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    for expr in exprs {
        let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
        let name = expr.split(|c| !is_word(c)).find(|word| word.starts_with("cutover_")).unwrap();
        assert!(metrics.contains(&format!("| `{name}` |")), "{name} of {expr}");
    }
}
