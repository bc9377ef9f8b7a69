//! An error on a terminal: one clause a line if it is too long for one.

use super::{Line, Style};

/// The lines of an error. `width`: of the terminal, if standard error is one.
pub(in crate::cli) fn lines(error: &str, width: Option<usize>) -> Vec<Line> {
    let whole = format!("cutover: {error}");
    let is_short = width.is_none_or(|width| console::measure_text_width(&whole) <= width);
    if is_short || error.contains('\n') {
        return whole.lines().map(|row| Line::new(2).text(row).whole()).collect();
    }
    let mut clauses = error.split("; ");
    let first = Line::new(2).add(Style::Bad, format!("cutover: {}", clauses.next().unwrap_or_default()));
    let others = clauses.map(|clause| Line::new(4).text(format!("  {clause}")));
    std::iter::once(first).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_has_a_line_for_each_clause() {
        let error = "the deployment goes on; to follow it: cutover watch shop; to end it: cutover abort shop";
        let rows = |width| -> Vec<String> {
            lines(error, width).iter().flat_map(|line| line.rows(width, false)).collect()
        };
        assert_eq!(rows(None), [format!("cutover: {error}")]);
        assert_eq!(
            rows(Some(80)),
            [
                "cutover: the deployment goes on",
                "  to follow it: cutover watch shop",
                "  to end it: cutover abort shop",
            ]
        );
        let with_lines = lines("bad key\n  | x = 1\n  |     ^", Some(20));
        assert_eq!(with_lines.len(), 3, "a caret stays below its text");
    }
}
