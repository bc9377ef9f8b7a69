//! What `cutover check` says of queries, and how Prometheus is reached.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cutover_tests::certificate::{Authority, Validity};
use cutover_tests::flavour::Flavour;
use cutover_tests::process::Signal;
use cutover_tests::temp::TempDir;
use cutover_tests::{Nginx, TestHost, ports};

use super::{GROUP, SIGNAL, Site};

/// The signal with another query and another Prometheus.
fn signal(promql: &str, url: &str) -> String {
    let signal = SIGNAL.replace("%%prometheus%%", url);
    let (before, rest) = signal.split_once("'''").unwrap();
    let (_, after) = rest.split_once("'''").unwrap();
    format!("{before}'''{promql}'''{after}")
}

#[tokio::test(flavor = "multi_thread")]
async fn check_asks_each_query_once() {
    let site = Site::start(&format!("{GROUP}{SIGNAL}")).await;
    let (url, nobody) = (site.prometheus.url(), format!("http://{}", ports::free().unwrap()));
    let (lines, ok) = site.host.check().unwrap();
    assert!(ok && !lines.iter().any(|line| line.contains("signal")), "{lines:#?}");
    for (promql, url, is_ok, finding) in [
        (
            "sum(shop_checkouts_total{slot=\"{slot}\"",
            &url,
            false,
            "Prometheus refuses the query: invalid parameter \"query\": 1:",
        ),
        (
            "shop_queue_length",
            &url,
            false,
            "the result has 2 series: a signal needs one number; aggregate them",
        ),
        ("shop_queue_length[{window}]", &url, false, "the result is a range: a signal needs one number"),
        ("up", &nobody, false, "no connection: "),
        ("absent(up)", &url, true, "it has no value now for slot \"blue\", which has the traffic"),
        (
            "0 / vector(0)",
            &url,
            true,
            "it has no value now for slot \"blue\", which has the traffic: the result is NaN",
        ),
        (
            "1 / vector(0)",
            &url,
            true,
            "it is +Inf for slot \"blue\", which has the traffic, and that is above its limit 0.1",
        ),
        ("vector(0.1)", &url, true, ""),
    ] {
        let lines = check_with(&site.host, &signal(promql, url), is_ok);
        let signals: Vec<&String> =
            lines.iter().filter(|line| line.contains("signal \"checkout errors\"")).collect();
        match finding {
            "" => assert_eq!(signals, [""; 0]),
            _ => assert!(signals.len() == 1 && signals[0].contains(finding), "{promql}: {lines:#?}"),
        }
    }
    site.prometheus.signal(Signal::STOP).unwrap();
    let lines = check_with(&site.host, &signal("up", &url), false);
    assert!(lines.iter().any(|line| line.contains("no answer within 1s")), "{lines:#?}");
}

/// Writes a configuration with these signals and runs `cutover check` on it.
fn check_with(host: &TestHost, signals: &str, is_ok: bool) -> Vec<String> {
    let text = fs::read_to_string(host.daemon.config()).unwrap();
    let (head, _) = text.split_once("[[group.shop.signal]]").unwrap();
    fs::write(host.daemon.config(), format!("{head}{signals}")).unwrap();
    let (lines, ok) = host.check().unwrap();
    assert_eq!(ok, is_ok, "{signals}\n{lines:#?}");
    lines
}

/// Each query in docs/signals.md has a value, with the applications that the page describes.
#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_documentation_have_values() {
    let site = Site::start(&format!("{}{SIGNAL}", GROUP.replace("7s", "6s"))).await;
    // The version of a slot is known after a deployment.
    site.deploy("2").finish().await.unwrap().assert_ended("completed", 0).unwrap();
    site.green.fail();
    site.prometheus.until("rate(shop_checkouts_total{result=\"failed\"}[3s])").await.unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/signals.md");
    let page = fs::read_to_string(page).unwrap();
    let examples = page.split("```toml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let examples: String = examples.collect::<Vec<_>>().join("\n");
    assert_eq!(examples.matches("[[group.shop.signal]]").count(), 8, "{examples}");
    assert!(examples.matches("promql = ").count() == 8 && examples.contains("{version}"), "{examples}");
    let (soak, signals) = examples.split_once("[[group.shop.signal]]").unwrap();
    assert!(soak.contains("duration = \"2m\""), "{soak}");
    // Every limit is one that the values keep to, so that each finding is one about the query.
    let signals = signals.replace("http://127.0.0.1:9090", &site.prometheus.url());
    let signals = signals.replace("[[group.shop.signal]]", "window = \"30s\"\n[[group.shop.signal]]");
    let text = fs::read_to_string(site.host.daemon.config()).unwrap().replace("\"6s\"", "\"2m\"");
    fs::write(site.host.daemon.config(), text).unwrap();
    let signals = format!("[[group.shop.signal]]{signals}\nwindow = \"30s\"\n");
    let lines = check_with(&site.host, &signals, true);
    assert!(!lines.iter().any(|line| line.contains("signal")), "{lines:#?}");
}

/// Prometheus behind a path of a proxy that wants a token.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_and_a_token() {
    let site = Site::start(&format!("{GROUP}{SIGNAL}")).await;
    let proxy = "server { listen %%listen:proxy%%; location /behind/ {
        if ($http_authorization != 'Bearer a-token-of-this-test') { return 401; }
        proxy_pass http://%%prometheus%%/;
    } }";
    let proxy =
        Nginx::builder().http(proxy).set("prometheus", site.prometheus.address()).start().await.unwrap();
    let url = format!("http://{}/behind/", proxy.address("proxy").unwrap());
    let finding = |lines: &[String]| lines.iter().find(|line| line.contains("signal \"")).cloned();
    let lines = check_with(&site.host, &signal("vector(0)", &url), false);
    let said = finding(&lines).unwrap();
    assert!(
        said.contains("/behind: status 401: it does not let the daemon in; set token_file, or headers"),
        "{said}"
    );

    let token = proxy.prefix().join("token");
    let with_token = format!("{}    token_file = \"{}\"\n", signal("vector(0)", &url), token.display());
    let said = finding(&check_with(&site.host, &with_token, false)).unwrap();
    assert!(said.contains("token_file") && said.contains("cannot be read: No such file"), "{said}");
    fs::write(&token, "a-token-of-this-test\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let said = finding(&check_with(&site.host, &with_token, false)).unwrap();
    assert!(said.contains("can be read or written by others (mode 0644)"), "{said}");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(finding(&check_with(&site.host, &with_token, true)), None);
    let with_header = format!(
        "{}    headers = {{ authorization = \"Bearer a-token-of-this-test\" }}\n",
        signal("vector(0)", &url)
    );
    assert_eq!(finding(&check_with(&site.host, &with_header, true)), None);
}

/// Prometheus behind a proxy that speaks TLS, with a certificate of a private CA.
#[tokio::test(flavor = "multi_thread")]
async fn over_tls() {
    if !Flavour::from_env().unwrap().has_tls().unwrap() {
        println!("SKIPPED: this nginx has no TLS");
        return;
    }
    let site = Site::start(&format!("{GROUP}{SIGNAL}")).await;
    let folder = TempDir::new().unwrap();
    let authority = Authority::make(folder.path(), "authority").unwrap();
    let server = authority.issue("prometheus", "IP:127.0.0.1", Validity::Days(2)).unwrap();
    let proxy = "server {
        listen %%listen:proxy%% ssl;
        ssl_certificate %%certificate%%;
        ssl_certificate_key %%key%%;
        location / { proxy_pass http://%%prometheus%%; }
    }";
    let proxy = Nginx::builder()
        .http(proxy)
        .set("prometheus", site.prometheus.address())
        .set("certificate", server.certificate.display())
        .set("key", server.key.display())
        .start()
        .await
        .unwrap();
    let url = format!("https://{}", proxy.address("proxy").unwrap());
    let finding = |lines: &[String]| lines.iter().find(|line| line.contains("signal \"")).cloned();
    let plain = signal("vector(0)", &url);
    let said = finding(&check_with(&site.host, &plain, false)).unwrap();
    assert!(said.contains("is not signed by a CA that this host trusts"), "{said}");
    let with_ca = format!("{plain}    ca = \"{}\"\n", authority.own.certificate.display());
    assert_eq!(finding(&check_with(&site.host, &with_ca, true)), None);
}
