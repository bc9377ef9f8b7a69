//! Servers that speak TLS.

use cutover_tests::certificate::{Authority, Certificate, Validity};
use cutover_tests::temp::TempDir;
use cutover_tests::{Backend, TestHost, TlsFront};

use super::{backends, failed, group, nginx};

/// Two applications that speak TLS, with a certificate for shop.test.
struct Applications {
    host: TestHost,
    _fronts: [TlsFront; 2],
    _backends: (Backend, Backend),
    _folder: TempDir,
}

async fn applications(issue: impl Fn(&Authority) -> Certificate, probe: &str) -> Applications {
    let folder = TempDir::new().unwrap();
    let authority = Authority::make(folder.path(), "ca").unwrap();
    let certificate = issue(&authority);
    let backends = backends().await;
    let blue = TlsFront::start(backends.0.address(), &certificate, &[]).await.unwrap();
    let green = TlsFront::start(backends.1.address(), &certificate, &[]).await.unwrap();
    let probe = probe.replace("%%ca%%", &authority.own.certificate.display().to_string());
    let builder = nginx(blue.address(), green.address(), "proxy_pass https://shop;");
    let host = TestHost::start(builder, &group(&probe)).await.unwrap();
    Applications { host, _fronts: [blue, green], _backends: backends, _folder: folder }
}

fn for_shop(authority: &Authority) -> Certificate {
    authority.issue("app", "DNS:shop.test", Validity::Days(2)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_checked_or_not_as_the_probe_says() {
    for (probe, says) in [
        ("tls = { ca = \"%%ca%%\", sni = \"shop.test\" }", None),
        ("tls = { insecure = true }", None),
        ("kind = \"tcp\"\ntls = { ca = \"%%ca%%\", sni = \"shop.test\" }", None),
        ("kind = \"tcp\"", None),
        (
            "tls = { ca = \"%%ca%%\", sni = \"other.test\" }",
            Some("the certificate of the server is not valid for \"other.test\"; it is for \"shop.test\""),
        ),
        (
            "tls = { sni = \"shop.test\" }",
            Some("set tls.ca to a file with the CA that has signed it, or tls.insecure = true"),
        ),
        ("", Some("it answers TLS: write tls = {}")),
        ("http2 = true", Some("it answers TLS: write tls = {}")),
        ("http2 = true\ntls = { insecure = true }", Some("offers no HTTP/2 (ALPN \"h2\") there")),
    ] {
        let applications = applications(for_shop, probe).await;
        let deployed = applications.host.deploy("2").await.unwrap();
        match says {
            None => deployed.assert_ended("completed", 0).unwrap(),
            Some(says) => assert!(failed(&deployed).contains(says), "{probe}: {deployed:#?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_told_apart() {
    let (blue, green) = backends().await;
    let host = super::host(blue.address(), green.address(), &group("tls = { insecure = true }")).await;
    let deployed = host.deploy("2").await.unwrap();
    assert!(failed(&deployed).contains("the server does not speak TLS: remove tls"), "{deployed:#?}");
}
