//! Checks the certificates of an edge that is reached over TLS.

use std::time::{Duration, SystemTime};

use cutover_edges::module::Module;
use cutover_edges::tls::{Certificate, Handshake};

use super::Finding;
use crate::config::{EdgeName, ModuleSection};

/// A certificate that ends sooner is reported.
const SOON: Duration = Duration::from_secs(14 * DAY);
const DAY: u64 = 24 * 60 * 60;

/// Connects, and checks the dates of both certificates and whether nginx asks for the client's. Without a connection there are
/// no findings: reading the groups reports why.
pub async fn check_tls(name: &EdgeName, section: &ModuleSection, module: &Module) -> Vec<Finding> {
    let Some(Ok(handshake)) = module.inspect_tls().await else { return Vec::new() };
    let admin = &section.admin;
    let mut findings = Vec::new();
    let now = SystemTime::now();
    findings.extend(check_dates(
        &format!("edge.{name}: the certificate of {admin}"),
        "renew it there, and reload nginx",
        &handshake.server,
        now,
    ));
    let Handshake { client, wants_client, .. } = &handshake;
    if let (Some(client), Some(files)) = (client, &section.tls.client) {
        let subject = format!("edge.{name}.client_cert \"{}\"", files.certificate.display());
        findings.extend(check_dates(
            &subject,
            "replace it and client_key; a restart is not needed",
            client,
            now,
        ));
    }
    match (client, wants_client) {
        (Some(_), false) => findings.push(Finding::Warning(format!(
            "edge.{name}: nginx at {admin} does not ask for the certificate of client_cert, so the token alone is enough there: \
             set \"ssl_client_certificate\" and \"ssl_verify_client on\" in its server"
        ))),
        (None, false) => findings.push(Finding::Hint(format!(
            "edge.{name}: the token alone is enough at {admin}; \"ssl_verify_client on\" there and client_cert here add a second \
             condition"
        ))),
        (_, true) => {}
    }
    findings
}

/// What the dates of a certificate mean now. `subject` begins the text, `next` says what to do.
fn check_dates(subject: &str, next: &str, certificate: &Certificate, now: SystemTime) -> Option<Finding> {
    let Certificate { not_before, not_after, subject: name } = certificate;
    let of = format!("{subject} ({name})");
    if let Some(wait) = not_before.from(now).filter(|wait| !wait.is_zero()) {
        let wait = days(wait);
        return Some(Finding::Problem(format!("{of} is valid only from {not_before} on, in {wait}: {next}")));
    }
    match not_after.from(now) {
        None => Some(Finding::Problem(format!("{of} has expired on {not_after}: {next}"))),
        Some(left) if left < SOON => {
            let left = days(left);
            Some(Finding::Warning(format!("{of} expires on {not_after}, in {left}: {next}")))
        }
        Some(_) => None,
    }
}

fn days(duration: Duration) -> String {
    match duration.as_secs() / DAY {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        more => format!("{more} days"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use cutover_edges::tls::Date;

    use super::*;

    #[test]
    fn dates_of_a_certificate() {
        let certificate = Certificate {
            subject: "CN=edge".to_owned(),
            not_before: Date::from_unix(100 * DAY),
            not_after: Date::from_unix(130 * DAY),
        };
        for (day, said) in [
            (99, Some("problem: X (CN=edge) is valid only from 1970-04-11 00:00:00 UTC on, in 1 day: do it")),
            (100, None),
            (115, None),
            (117, Some("warning: X (CN=edge) expires on 1970-05-11 00:00:00 UTC, in 13 days: do it")),
            (130, Some("warning: X (CN=edge) expires on 1970-05-11 00:00:00 UTC, in less than a day: do it")),
            (131, Some("problem: X (CN=edge) has expired on 1970-05-11 00:00:00 UTC: do it")),
        ] {
            let now = UNIX_EPOCH + Duration::from_secs(day * DAY);
            let found = check_dates("X", "do it", &certificate, now).map(|finding| finding.to_string());
            assert_eq!(found.as_deref(), said, "day {day}");
        }
    }
}
