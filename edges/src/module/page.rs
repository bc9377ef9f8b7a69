//! The pages by which nginx itself refuses a connection, before the module sees the request.

use std::path::Path;

use cutover_core::smoke::Answer;

/// The status of these pages. nginx has statuses of its own for them (494 to 497), and sends this one.
const BAD_REQUEST: u16 = 400;

/// Why nginx refuses the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// `ssl_verify_client` asks for a certificate, and there was none.
    NoCertificate,
    /// nginx could not verify the certificate.
    BadCertificate,
    /// The port speaks TLS, and the request was without.
    NeedsTls,
}

/// Reads an answer without a JSON error. `None`: it is not such a page.
pub(super) fn refusal(answer: &Answer) -> Option<Refusal> {
    let page = String::from_utf8_lossy(&answer.body);
    // The titles in ngx_http_special_response.c.
    let pages = [
        ("No required SSL certificate was sent", Refusal::NoCertificate),
        ("The SSL certificate error", Refusal::BadCertificate),
        ("The plain HTTP request was sent to HTTPS port", Refusal::NeedsTls),
    ];
    let is = |title: &str| page.contains(&format!("<title>{BAD_REQUEST} {title}</title>"));
    let found = pages.into_iter().find(|(title, _)| is(title)).map(|(_, refusal)| refusal);
    found.filter(|_| answer.status == BAD_REQUEST)
}

impl Refusal {
    /// A clause that says what to do. `shown` is the address, `section` the section of the edge.
    pub(super) fn text(self, shown: &str, section: &str, client_cert: Option<&Path>) -> String {
        match (self, client_cert) {
            (Self::NoCertificate, None) => format!(
                "{shown} requires a client certificate (ssl_verify_client): set {section}.client_cert and {section}.client_key"
            ),
            (Self::NoCertificate, Some(path)) => format!(
                "{shown} requires a client certificate (ssl_verify_client), but not of the kind of {section}.client_cert \
                 \"{}\": use a key of another kind, such as EC prime256v1",
                path.display()
            ),
            (Self::BadCertificate, path) => {
                let path = path.map(|path| format!(" \"{}\"", path.display())).unwrap_or_default();
                format!(
                    "{shown} does not accept the certificate of {section}.client_cert{path}: it has expired, or its CA is not in \
                     the file that \"ssl_client_certificate\" names there; nginx's error log has the reason at level info"
                )
            }
            (Self::NeedsTls, _) => format!("{shown} needs TLS: set {section}.admin to its https URL"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(status: u16, title: &str) -> Option<Refusal> {
        let body =
            format!("<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n</body>\r\n</html>\r\n");
        refusal(&Answer { status, headers: Vec::new(), body: body.into_bytes() })
    }

    #[test]
    fn pages_of_nginx() {
        assert_eq!(page(400, "400 No required SSL certificate was sent"), Some(Refusal::NoCertificate));
        assert_eq!(page(400, "400 The SSL certificate error"), Some(Refusal::BadCertificate));
        assert_eq!(page(400, "400 The plain HTTP request was sent to HTTPS port"), Some(Refusal::NeedsTls));
        assert_eq!(page(400, "400 Bad Request"), None);
        assert_eq!(page(403, "400 The SSL certificate error"), None);
    }
}
