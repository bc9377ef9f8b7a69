//! The admin API for clients of other hosts: over TLS, with the token, and with the client's certificate if nginx asks for one.

use std::process::Command;

use cutover_core::api::{ErrorCode, Failure};
use cutover_tests::certificate::{Authority, Certificate, Validity};
use cutover_tests::hosts::{Host, TOKEN};
use cutover_tests::{Hosts, Network};
use serde_json::Value;

const ROUTE: &str = "/v1/groups/shop/route";
const SWITCH: &str = r#"{"active":"green","fence":true,"reason":"a test"}"#;

/// One call by curl.
struct Call<'a> {
    hosts: &'a Hosts,
    url: String,
    token: Option<&'a str>,
    certificate: Option<&'a Certificate>,
    headers: Vec<&'a str>,
    through: Vec<String>,
}

impl<'a> Call<'a> {
    /// A call with everything that a host asks for.
    fn to(hosts: &'a Hosts, host: &Host) -> Self {
        Self {
            hosts,
            url: host.admin_url(),
            token: Some(TOKEN),
            certificate: Some(&hosts.client),
            headers: Vec::new(),
            through: Vec::new(),
        }
    }

    fn at(self, url: impl Into<String>) -> Self {
        Self { url: url.into(), ..self }
    }

    fn with_token(self, token: Option<&'a str>) -> Self {
        Self { token, ..self }
    }

    fn with_certificate(self, certificate: Option<&'a Certificate>) -> Self {
        Self { certificate, ..self }
    }

    fn with_header(mut self, header: &'a str) -> Self {
        self.headers.push(header);
        self
    }

    /// Runs on a host instead of the test's own.
    fn on(self, host: &Host) -> Self {
        Self { through: host.network.through().to_vec(), ..self }
    }

    /// Status and body.
    fn send(&self, path: &str, more: &[&str]) -> (u16, String) {
        // "env" runs the rest on this host.
        let through = self.through.iter().map(String::as_str).chain(["curl"]);
        let mut curl = Command::new("env");
        curl.args(through).args(["-sS", "--max-time", "10", "-w", "\n%{http_code}"]);
        curl.arg("--cacert").arg(&self.hosts.authority.own.certificate);
        if let Some(Certificate { certificate, key }) = self.certificate {
            curl.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        if let Some(token) = self.token {
            curl.arg("-H").arg(format!("Authorization: Bearer {token}"));
        }
        for header in &self.headers {
            curl.arg("-H").arg(header);
        }
        let output = curl.args(more).arg(format!("{}{path}", self.url)).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (status.parse().unwrap(), body.to_owned())
    }

    fn get(&self) -> (u16, String) {
        self.send("/v1/groups/shop", &[])
    }

    fn put(&self) -> (u16, String) {
        self.send(ROUTE, &["-X", "PUT", "-H", "Content-Type: application/json", "-d", SWITCH])
    }

    /// Sends a read and a change. Both must be refused by the module with this code. Returns the message.
    fn refused(&self, status: u16, code: ErrorCode) -> String {
        let messages = [self.get(), self.put()].map(|(got, body)| {
            let failure: Failure = serde_json::from_str(&body).unwrap();
            assert_eq!((got, failure.error.code), (status, code), "{body}");
            failure.error.message
        });
        assert_eq!(messages[0], messages[1]);
        messages[0].clone()
    }

    /// Sends a read and a change. Both must be refused by nginx itself with this title.
    fn refused_by_nginx(&self, title: &str) {
        for (status, body) in [self.get(), self.put()] {
            assert_eq!(status, 400, "{body}");
            assert!(body.contains(&format!("<title>400 {title}</title>")), "{body}");
        }
    }
}

/// What a test puts in place of the server with the admin API.
const SERVER: &str = "
    server {
        listen %%remote%% ssl;
        listen %%plain%%;
        listen 127.0.0.1:9080;
        %%server%%
        ssl_certificate %%certificate%%;
        ssl_certificate_key %%key%%;
        ssl_client_certificate %%ca%%;
        location / { cutover_api write=on %%remote_on%% token_file=%%token%%; }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
    cutover_state %%prefix%%/state;
    upstream shop_blue { server %%blue%%; }
    upstream shop_green { server %%green%%; }
    cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
";

/// Reloads nginx with other lines in its server, which listens without TLS, too.
async fn with_server(host: &Host, lines: &str, remote_on: &str) {
    host.nginx.set("plain", format!("{}:9080", host.address()));
    host.nginx.write_http(&SERVER.replace("%%server%%", lines).replace("%%remote_on%%", remote_on)).unwrap();
    host.nginx.reload().await.unwrap();
}

#[test]
fn the_token_and_a_verified_certificate_read_and_change() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        assert_eq!(Call::to(&hosts, host).get().0, 200);
        let (status, body) = Call::to(&hosts, host).put();
        let group: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &group["route"]["active"]), (200, &Value::from("green")), "{body}");
        assert_eq!(Call::to(&hosts, host).send("/metrics", &[]).0, 200);
        // The name of the request is not that of a local host: with a token it does not matter.
        assert_eq!(Call::to(&hosts, host).with_header("Host: edge1").get().0, 200);
        let events = host.group().await.unwrap().events;
        assert_eq!(events[0].who, "token from 10.77.0.254");
        let log = host.nginx.error_log();
        let line = "generation 1, by token from 10.77.0.254 with the certificate \"CN=deployer\", reason: \"a test\"";
        assert!(log.contains(line), "{log}");
    });
}

#[test]
fn without_the_token_nothing_is_shown() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        for token in [None, Some("dGhlIHdyb25nIG9uZQ"), Some("")] {
            let call = Call::to(&hosts, host).with_token(token);
            call.refused(401, ErrorCode::Unauthorized);
            let (status, body) = call.send("/metrics", &[]);
            assert_eq!(status, 401, "{body}");
        }
        Call::to(&hosts, host)
            .with_header("Origin: https://10.77.0.1:9443")
            .refused(403, ErrorCode::FromAPage);
        assert_eq!(host.group().await.unwrap().route.generation, 0);
        assert!(!host.nginx.error_log().contains(TOKEN));
    });
}

#[test]
fn nginx_refuses_a_client_without_a_valid_certificate() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        let stranger = Authority::make(&hosts.folder(), "stranger").unwrap();
        let foreign = stranger.issue("foreign", "", Validity::Days(20)).unwrap();
        let expired = hosts.authority.issue("expired", "", Validity::Expired).unwrap();
        let early = hosts.authority.issue("early", "", Validity::NotYet).unwrap();
        Call::to(&hosts, host)
            .with_certificate(None)
            .refused_by_nginx("No required SSL certificate was sent");
        for bad in [&foreign, &expired, &early] {
            Call::to(&hosts, host).with_certificate(Some(bad)).refused_by_nginx("The SSL certificate error");
        }
        assert_eq!(host.group().await.unwrap().route.generation, 0);
    });
}

/// What `ssl_verify_client` decides, and what the module does.
#[test]
fn a_certificate_that_nginx_could_not_verify_is_refused_by_the_module() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        let stranger = Authority::make(&hosts.folder(), "stranger").unwrap();
        let foreign = stranger.issue("foreign", "", Validity::Days(20)).unwrap();
        with_server(host, "ssl_verify_client optional_no_ca;", "remote=on").await;
        let message =
            Call::to(&hosts, host).with_certificate(Some(&foreign)).refused(403, ErrorCode::Forbidden);
        assert!(message.contains("nginx could not verify the certificate of this client: "), "{message}");
        assert!(message.contains("ssl_client_certificate"), "{message}");
        assert_eq!(Call::to(&hosts, host).put().0, 200);
        assert!(host.nginx.error_log().contains("with the certificate \"CN=deployer\""));
        // Without a certificate, and where nginx asks for none, the token alone decides.
        for verify in ["optional_no_ca", "off"] {
            with_server(host, &format!("ssl_verify_client {verify};"), "remote=on").await;
            let call = Call::to(&hosts, host).with_certificate(None);
            assert_eq!(call.put().0, 200, "{verify}");
            call.with_token(None).refused(401, ErrorCode::Unauthorized);
        }
    });
}

#[test]
fn without_tls_a_client_of_another_host_is_refused_and_told_that_its_token_is_known() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        with_server(host, "ssl_verify_client on;", "remote=on").await;
        let plain = format!("http://{}:9080", host.address());
        let call = || Call::to(&hosts, host).at(&plain);
        let message = call().refused(403, ErrorCode::Forbidden);
        assert!(message.contains("clients of other hosts need TLS: use \"https://\""), "{message}");
        assert!(message.ends_with("; the token was sent without encryption, so replace it"), "{message}");
        let message = call().with_token(None).refused(403, ErrorCode::Forbidden);
        assert!(!message.contains("the token was sent"), "{message}");
        // A header does not make a connection one with TLS, and an address of this host is not another host.
        call().with_header("X-Forwarded-Proto: https").refused(403, ErrorCode::Forbidden);
        assert_eq!(call().at("http://127.0.0.1:9080").on(host).put().0, 200);
        assert!(host.group().await.unwrap().events.iter().all(|event| event.who == "token"));
        // By its own address of the network a host is like any other.
        call().on(host).refused(403, ErrorCode::Forbidden);
    });
}

#[test]
fn without_remote_on_tls_does_not_help() {
    Network::run(async |network| {
        let Some(hosts) = Hosts::start(network, 1).await.unwrap() else { return };
        let host = hosts.host(1).unwrap();
        for remote in ["", "remote=off"] {
            with_server(host, "ssl_verify_client on;", remote).await;
            let message = Call::to(&hosts, host).refused(403, ErrorCode::Forbidden);
            assert_eq!(message, "this API is for this host only");
        }
        let who = host.group().await.unwrap().events;
        assert!(who.is_empty(), "{who:?}");
    });
}
