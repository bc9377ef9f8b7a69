//! One line of the access log.
//!
//! ```text
//! log_format cutover '$upstream_addr $status $request_time $upstream_header_time $upstream_response_time $upstream_status';
//! 127.0.0.1:3000, 127.0.0.1:3001 200 0.012 0.001, 0.010 0.001, 0.010 502, 200
//! ```
//!
//! nginx joins the tries of one upstream by a comma, and those before and after an internal redirect by a colon, see
//! `ngx_http_upstream_addr_variable`. The first three fields are needed; what follows the sixth is not read.

use std::str::SplitAsciiWhitespace;
use std::time::Duration;

/// The status that nginx gives a request whose client has closed the connection.
pub(super) const CLIENT_CLOSED: u16 = 499;

/// One part of a request: what one upstream was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) attempts: Vec<Attempt<'a>>,
    /// How it ended.
    pub(super) status: u16,
}

/// One try of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt<'a> {
    /// The server, or the name of the upstream if none of its servers could be tried.
    pub(super) address: &'a str,
    /// The status of its answer, or the one that nginx gave for it. `None`: it is not in the line.
    pub(super) status: Option<u16>,
    /// The time to the head of its answer. `None`: there was none.
    pub(super) first_byte: Option<Duration>,
    /// The time to the end of its answer.
    pub(super) whole: Option<Duration>,
}

/// The parts of a line. `None`: the line has another format. Empty: nginx answered by itself.
pub(super) fn parse(line: &str) -> Option<Vec<Part<'_>>> {
    let mut words = line.split_ascii_whitespace();
    let addresses = list(&mut words)?;
    let status = status_of(words.next()?)?;
    let took = time_of(words.next()?)?;
    let mut field = || list(&mut words).unwrap_or_default();
    let (heads, wholes, statuses) = (field(), field(), field());
    if addresses.iter().flatten().all(|address| *address == "-") {
        return Some(Vec::new());
    }
    let last_part = addresses.len() - 1;
    let parts = addresses.iter().enumerate().map(|(at, tries)| {
        let word = |field: &[Vec<&'_ str>], of: usize| {
            field.get(at).and_then(|tries| tries.get(of)).map(|word| (*word).to_owned())
        };
        let attempts = tries.iter().enumerate().map(|(of, address)| {
            // A short line says only how long the whole request took.
            let is_only = at == last_part && of + 1 == tries.len() && heads.is_empty();
            let time = |field: &[Vec<&str>]| match is_only {
                true => Some(took),
                false => word(field, of).as_deref().and_then(time_of),
            };
            let status = word(&statuses, of).as_deref().and_then(status_of);
            Attempt { address, status, first_byte: time(&heads), whole: time(&wholes) }
        });
        let attempts: Vec<Attempt<'_>> = attempts.collect();
        let its = attempts.last().and_then(|last| last.status);
        Part { status: if at == last_part { status } else { its.unwrap_or(status) }, attempts }
    });
    Some(parts.collect())
}

/// A field with the tries of each part.
fn list<'a>(words: &mut SplitAsciiWhitespace<'a>) -> Option<Vec<Vec<&'a str>>> {
    let mut parts = vec![Vec::new()];
    loop {
        let word = words.next()?;
        let tries = parts.last_mut()?;
        if let Some(word) = word.strip_suffix(',') {
            tries.push(word);
            continue;
        }
        tries.push(word);
        let mut ahead = words.clone();
        if ahead.next() != Some(":") {
            return Some(parts);
        }
        *words = ahead;
        parts.push(Vec::new());
    }
}

fn status_of(word: &str) -> Option<u16> {
    word.parse().ok().filter(|status| (100..600).contains(status))
}

/// A time in seconds, with three digits for the milliseconds.
fn time_of(word: &str) -> Option<Duration> {
    let (seconds, milliseconds) = word.split_once('.')?;
    let milliseconds = milliseconds.parse::<u64>().ok().filter(|_| milliseconds.len() == 3)?;
    Some(Duration::from_secs(seconds.parse().ok()?) + Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(
        address: &str,
        status: Option<u16>,
        first_byte: Option<u64>,
        whole: Option<u64>,
    ) -> Attempt<'_> {
        let time = |ms: Option<u64>| ms.map(Duration::from_millis);
        Attempt { address, status, first_byte: time(first_byte), whole: time(whole) }
    }

    #[test]
    fn tries_and_redirects() {
        let one = parse("127.0.0.1:3000 200 0.012 0.010 0.011 200").unwrap();
        assert_eq!(
            one,
            [Part { attempts: vec![attempt("127.0.0.1:3000", Some(200), Some(10), Some(11))], status: 200 }]
        );
        let two =
            parse("127.0.0.1:3000, unix:/run/b.sock 200 0.012 -, 0.010 0.001, 0.011 502, 200 more fields")
                .unwrap();
        let first = attempt("127.0.0.1:3000", Some(502), None, Some(1));
        assert_eq!(
            two,
            [Part {
                attempts: vec![first, attempt("unix:/run/b.sock", Some(200), Some(10), Some(11))],
                status: 200
            }]
        );
        let redirect = "[::1]:1, [::1]:2 : 10.0.0.1:3 201 1.002 0.001, 0.002 : 0.003 0.001, 0.002 : 0.003 503, 500 : 201";
        let redirect = parse(redirect).unwrap();
        assert_eq!(
            redirect.iter().map(|part| (part.attempts.len(), part.status)).collect::<Vec<_>>(),
            [(2, 500), (1, 201)]
        );
    }

    #[test]
    fn short_lines() {
        let short = parse("127.0.0.1:3000, 127.0.0.1:3001 504 1.500").unwrap();
        let attempts = &short[0].attempts;
        assert_eq!(attempts[0], attempt("127.0.0.1:3000", None, None, None));
        assert_eq!(attempts[1], attempt("127.0.0.1:3001", None, Some(1500), Some(1500)));
        assert_eq!(parse("- 404 0.000 - - -"), Some(Vec::new()));
        assert_eq!(parse("backend 502 0.000 - 0.000 502").unwrap()[0].attempts[0].address, "backend");
    }

    #[test]
    fn lines_of_other_formats() {
        for line in [
            "",
            "127.0.0.1:3000",
            "127.0.0.1:3000 200",
            "127.0.0.1 - - [30/Nov/2026:04:00:00 +0000] \"GET / HTTP/1.1\" 200 612 \"-\" \"curl\"",
            "127.0.0.1:3000 2000 0.001",
            "127.0.0.1:3000 200 1",
            "127.0.0.1:3000,",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
