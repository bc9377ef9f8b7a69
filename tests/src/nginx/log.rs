//! The error log, and the teardown's check of it.
//!
//! No line may contain `[alert]`, `[emerg]` or "exited on signal" unless the test expects it. Each expected line must be
//! there.

use std::sync::PoisonError;

use super::Nginx;

impl Nginx {
    /// The error log so far.
    pub fn error_log(&self) -> String {
        let raw = std::fs::read(self.prefix().join("error.log")).unwrap_or_default();
        String::from_utf8_lossy(&raw).into_owned()
    }

    /// Allows and requires a line with `text`, which would otherwise fail the teardown.
    pub fn expect_in_log(&self, text: &str) {
        self.expected_in_log.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
    }

    /// The last lines of the error log, for messages.
    pub fn log_tail(&self) -> String {
        let log = self.error_log();
        let lines: Vec<_> = log.lines().collect();
        lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n")
    }

    /// Unexpected lines and missing ones; empty when the log is as expected.
    pub fn complaints(&self) -> Vec<String> {
        let expected = self.expected_in_log.lock().unwrap_or_else(PoisonError::into_inner);
        complaints(&self.error_log(), &expected)
    }
}

/// The same of any error log.
pub(crate) fn complaints(log: &str, expected: &[String]) -> Vec<String> {
    let bad = |line: &&str| {
        ["[alert]", "[emerg]", "exited on signal"].iter().any(|word| line.contains(word))
            && !expected.iter().any(|text| line.contains(text.as_str()))
    };
    let missing = expected.iter().filter(|text| !log.contains(text.as_str()));
    log.lines().filter(bad).map(str::to_owned).chain(missing.map(|text| format!("missing: {text}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::complaints;

    const LOG: &str = "\
2026/01/01 00:00:00 [notice] 1#1: start worker process 2
2026/01/01 00:00:01 [alert] 1#1: worker process 2 exited on signal 9
2026/01/01 00:00:02 [error] 3#3: connect() failed
";

    #[test]
    fn an_unexpected_alert_is_a_complaint() {
        assert_eq!(complaints(LOG, &[]).len(), 1);
        assert_eq!(complaints(LOG, &["exited on signal 9".into()]), Vec::<String>::new());
    }

    #[test]
    fn a_missing_expected_line_is_a_complaint() {
        let found = complaints("", &["exited on signal 11".into()]);
        assert_eq!(found, ["missing: exited on signal 11"]);
    }
}
