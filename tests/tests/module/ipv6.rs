//! IPv6: the admin API on the loopback address, groups with IPv6 servers, and IPv4 clients of an IPv6 socket.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use cutover_core::api::{ErrorCode, Failure, Group};
use cutover_tests::{Backend, Client, Flavour, Load, Nginx, Plan, Switcher, TestEdge, certificate, ports};

const TOKEN: &str = "aW52aXNpYmxlIGVsZXBoYW50";

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream shop_blue { server %%blue%%; keepalive 32; }
    upstream shop_green { server %%green%%; keepalive 32; }
    cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    server {
        listen %%main%%;
        location / { proxy_pass http://shop; add_header x-cutover-slot $cutover_slot always; }
    }
    # A client can pretend to be on another host.
    set_real_ip_from ::1;
    set_real_ip_from 127.0.0.1;
    real_ip_header X-Real-IP;
    server { listen %%open%%; location / { cutover_api write=on; } }
    server { listen %%closed%%; location / { cutover_api write=on token_file=%%prefix%%/token; } }
    %%remote_server%%
    server { listen [::ffff:127.0.0.1]:%%both%% ipv6only=off; location / { cutover_api write=on; } }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

/// Clients of other hosts need TLS.
const REMOTE: &str = "
    server {
        listen %%remote%% ssl;
        ssl_certificate %%prefix%%/cert.pem;
        ssl_certificate_key %%prefix%%/key.pem;
        location / { cutover_api write=on remote=on token_file=%%prefix%%/token; }
    }
";

struct Ipv6Edge {
    edge: TestEdge,
    main: SocketAddr,
    open: SocketAddr,
    closed: SocketAddr,
    remote: SocketAddr,
    /// An IPv6 socket that accepts IPv4 clients and shows IPv4-mapped addresses.
    both: SocketAddr,
}

/// A port that is free on both loopback addresses. Returns `None` and prints why when there is no IPv6.
fn free() -> Option<SocketAddr> {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        println!("SKIPPED: this machine has no IPv6 loopback address");
        return None;
    }
    let port = || ports::free().unwrap().port();
    let address = std::iter::repeat_with(|| SocketAddr::from((Ipv6Addr::LOCALHOST, port())));
    address.take(100).find(|address| TcpListener::bind(address).is_ok())
}

impl Ipv6Edge {
    async fn start() -> Option<Self> {
        let blue = Backend::start_at("blue", free()?).await.unwrap();
        let green = Backend::start_at("green", free()?).await.unwrap();
        let (main, open, closed, remote) = (free()?, free()?, free()?, free()?);
        let both = SocketAddr::from((Ipv4Addr::LOCALHOST, free()?.port()));
        let mut builder = Nginx::builder().set("both", both.port());
        for (name, address) in [
            ("blue", blue.address()),
            ("green", green.address()),
            ("main", main),
            ("open", open),
            ("closed", closed),
            ("remote", remote),
        ] {
            builder = builder.set(name, address);
        }
        let has_tls = Flavour::from_env().unwrap().has_tls().unwrap();
        let http = HTTP.replace("%%remote_server%%", if has_tls { REMOTE } else { "" });
        let nginx = builder.http(&http).build().unwrap();
        certificate::make(nginx.prefix(), "edge.test").unwrap();
        let token = nginx.prefix().join("token");
        fs::write(&token, TOKEN).unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        nginx.start().await.unwrap();
        let shop = Switcher::new(&nginx, "shop", &["blue", "green"]);
        Some(Self { edge: TestEdge { blue, green, nginx, shop }, main, open, closed, remote, both })
    }
}

/// Status and error code of a reply.
type StatusAndCode = (u16, Option<ErrorCode>);

const OK: StatusAndCode = (200, None);
const FORBIDDEN: StatusAndCode = (403, Some(ErrorCode::Forbidden));
const UNAUTHORIZED: StatusAndCode = (401, Some(ErrorCode::Unauthorized));

async fn get(listener: SocketAddr, headers: &[(&str, &str)]) -> StatusAndCode {
    ask(listener, "GET", "/v1/groups/shop", headers, "").await
}

async fn put(listener: SocketAddr, headers: &[(&str, &str)]) -> StatusAndCode {
    ask(listener, "PUT", "/v1/groups/shop/route", headers, r#"{"active":"green","fence":true}"#).await
}

async fn ask(
    listener: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> StatusAndCode {
    let host = listener.to_string();
    let mut all = vec![("content-type", "application/json"), ("host", host.as_str())];
    all.extend(headers);
    let mut client = Client::connect(listener).await.unwrap();
    let answer = client.request_with(method, target, &all, body).await.unwrap();
    let failure = serde_json::from_slice::<Failure>(&answer.body).ok();
    (answer.status, failure.map(|failure| failure.error.code))
}

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_ipv6_servers_are_switched_under_load() {
    let Some(ipv6) = Ipv6Edge::start().await else { return };
    let group: Group = ipv6.edge.nginx.admin().group("shop").await.unwrap();
    let peers: Vec<_> = group.slots.iter().flat_map(|slot| &slot.peers).map(|peer| &peer.address).collect();
    assert_eq!(peers, [&ipv6.edge.blue.address().to_string(), &ipv6.edge.green.address().to_string()]);
    assert!(peers[0].starts_with("[::1]:"), "{peers:?}");
    let load = Load::start(Plan::new(ipv6.main), ipv6.edge.oracle());
    for _ in 0..3 {
        ipv6.edge.shop.switch_times(&load, 5).await.unwrap();
        ipv6.edge.nginx.reload().await.unwrap();
    }
    let report = load.stop().await;
    ipv6.edge.assert_exact("IPv6 at both ends, 15 switches", &report).unwrap();
    ipv6.edge.shop.assert_settled().await.unwrap();
}

#[tokio::test]
async fn the_ipv6_loopback_address_reads_and_changes_with_a_token() {
    let Some(ipv6) = Ipv6Edge::start().await else { return };
    let right = bearer();
    let right = ("authorization", right.as_str());
    assert_eq!(get(ipv6.open, &[]).await, OK);
    assert_eq!(put(ipv6.open, &[]).await, FORBIDDEN);
    assert_eq!(put(ipv6.closed, &[]).await, UNAUTHORIZED);
    assert_eq!(put(ipv6.closed, &[("authorization", "Bearer aW52aXNpYmxlIGVsZXBoYW51")]).await, UNAUTHORIZED);
    assert_eq!(ipv6.edge.nginx.admin().group("shop").await.unwrap().route.generation, 0);
    assert_eq!(put(ipv6.closed, &[right]).await, OK);
    let group = ipv6.edge.nginx.admin().group("shop").await.unwrap();
    assert_eq!((group.route.active.as_str(), group.events[0].who.as_str()), ("green", "token"));
}

#[tokio::test]
async fn without_a_token_the_host_header_must_be_local_over_ipv6() {
    let Some(ipv6) = Ipv6Edge::start().await else { return };
    let page = (403, Some(ErrorCode::FromAPage));
    for host in ["localhost", "[::1]", "[0:0:0:0:0:0:0:1]:80", "127.0.0.1:80"] {
        assert_eq!(ask_as(host, ipv6.open).await, OK, "{host}");
    }
    for host in ["evil.test", "ip6-localhost", "1.evil.test"] {
        assert_eq!(ask_as(host, ipv6.open).await, page, "{host}");
    }
}

async fn ask_as(host: &str, listener: SocketAddr) -> StatusAndCode {
    let mut client = Client::connect(listener).await.unwrap();
    let answer = client.request("GET", "/v1/groups", &[("host", host)]).await.unwrap();
    let failure = serde_json::from_slice::<Failure>(&answer.body).ok();
    (answer.status, failure.map(|failure| failure.error.code))
}

#[tokio::test]
async fn ipv6_clients_of_other_hosts_are_not_taken_for_local_ones() {
    let Some(ipv6) = Ipv6Edge::start().await else { return };
    let right = bearer();
    let right = ("authorization", right.as_str());
    for elsewhere in ["2001:db8::7", "::2", "::ffff:192.0.2.7", "fe80::1"] {
        let elsewhere = ("x-real-ip", elsewhere);
        assert_eq!(get(ipv6.open, &[elsewhere]).await, FORBIDDEN, "{elsewhere:?}");
        assert_eq!(put(ipv6.closed, &[elsewhere, right]).await, FORBIDDEN, "{elsewhere:?}");
    }
    if !ipv6.edge.nginx.flavour().has_tls().unwrap() {
        println!("SKIPPED: this nginx has no TLS");
        return;
    }
    for elsewhere in ["2001:db8::7", "::2", "::ffff:192.0.2.7", "fe80::1"] {
        let elsewhere = ("x-real-ip", elsewhere);
        assert_eq!(status_over_tls(ipv6.remote, &[elsewhere]), "401", "{elsewhere:?}");
        assert_eq!(status_over_tls(ipv6.remote, &[elsewhere, right]), "200", "{elsewhere:?}");
    }
}

/// The status of a change by curl, which does TLS.
fn status_over_tls(listener: SocketAddr, headers: &[(&str, &str)]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-ksS", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}", "-X", "PUT"]);
    curl.args(["-H", "content-type: application/json", "-d", r#"{"active":"green","fence":true}"#]);
    for (name, value) in headers {
        curl.arg("-H").arg(format!("{name}: {value}"));
    }
    let output = curl.arg(format!("https://{listener}/v1/groups/shop/route")).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// On such a socket the client 127.0.0.1 appears as ::ffff:127.0.0.1.
#[tokio::test]
async fn ipv4_clients_of_an_ipv6_socket_are_local() {
    let Some(ipv6) = Ipv6Edge::start().await else { return };
    assert_eq!(get(ipv6.both, &[]).await, OK);
    assert_eq!(put(ipv6.both, &[]).await, FORBIDDEN);
    assert_eq!(get(ipv6.both, &[("x-real-ip", "::ffff:192.0.2.7")]).await, FORBIDDEN);
}
