//! Markdown tables, and the format of figures.

use std::fmt;

/// A table with `N` columns.
#[derive(Clone, Debug)]
pub(crate) struct Table<const N: usize> {
    head: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(head: [&'static str; N]) -> Self {
        Self { head, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {} |", self.head.join(" | "))?;
        // The first column is what was measured, the others are figures.
        writeln!(f, "|---|{}", "---:|".repeat(N.saturating_sub(1)))?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}

/// A time with a suitable unit.
pub(crate) fn seconds(value: f64) -> String {
    match value {
        value if value.is_nan() => "-".to_owned(),
        value if value < 0.000_999_5 => format!("{:.0} µs", value * 1e6),
        value if value < 0.099_95 => format!("{:.2} ms", value * 1e3),
        value if value < 0.999_5 => format!("{:.0} ms", value * 1e3),
        value => format!("{value:.2} s"),
    }
}

/// A whole number with separators.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes as MB.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// A difference in percent, with its sign.
pub(crate) fn percent(share: f64) -> String {
    format!("{:+.2} %", share * 100.0)
}

/// Whether a goal is met, as words.
pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        assert_eq!(seconds(0.000_05), "50 µs");
        assert_eq!(seconds(0.001_234), "1.23 ms");
        assert_eq!(seconds(0.25), "250 ms");
        assert_eq!(seconds(2.5), "2.50 s");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
        assert_eq!(percent(0.0123), "+1.23 %");
    }

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(["way", "a", "b"]);
        table.row(["x".into(), "1".into(), "2".into()]);
        assert_eq!(table.to_string(), "| way | a | b |\n|---|---:|---:|\n| x | 1 | 2 |\n");
    }
}
