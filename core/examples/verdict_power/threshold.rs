//! A threshold at each look, for comparison: simple, and wrong the more often the more often it is looked at.

/// Whether more than 1 % of at least 50 answers were errors, or all of the first ten.
pub(crate) fn is_over(errors: u64, answers: u64) -> bool {
    (answers >= 10 && errors == answers) || (answers >= 50 && errors * 100 > answers)
}
