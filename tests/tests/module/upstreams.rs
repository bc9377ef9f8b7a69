//! A group is an upstream: every `*_pass` directive works with it, and the features of the slots' upstreams keep working.

use std::net::SocketAddr;
use std::process::Command;

use cutover_core::counters::Counters;
use cutover_tests::nginx::Nginx;
use cutover_tests::{Backend, certificate, ports, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The slots' servers, in the same nginx because they need HTTP/2 and TLS.
const SERVERS: &str = "
    server { listen %%listen:h2-blue%% http2; location / { return 200 'h2 blue'; } }
    server { listen %%listen:h2-green%% http2; location / { return 200 'h2 green'; } }
    server {
        listen %%listen:tls-blue%% ssl; ssl_certificate %%cert%%; ssl_certificate_key %%key%%;
        location / { return 200 'tls blue reused=$ssl_session_reused sni=$ssl_server_name'; }
    }
    server {
        listen %%listen:tls-green%% ssl; ssl_certificate %%cert%%; ssl_certificate_key %%key%%;
        location / { return 200 'tls green reused=$ssl_session_reused sni=$ssl_server_name'; }
    }
";

async fn switch(nginx: &Nginx, group: &str, to: &str) {
    nginx.admin().switch(group, to).await.unwrap();
}

fn curl(nginx: &Nginx, arguments: &[&str], path: &str) -> String {
    let url = format!("http://{}{path}", nginx.address("main").unwrap());
    let output = Command::new("curl").args(["-s", "-m", "10"]).args(arguments).arg(url).output().unwrap();
    assert!(output.status.success(), "curl {path}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_pass() {
    let http = format!(
        "{SERVERS}
        cutover_state %%prefix%%/state;
        upstream b {{ server %%listen:h2-blue%%; keepalive 4; }}
        upstream g {{ server %%listen:h2-green%%; }}
        server {{ listen %%listen:main%% http2; location / {{ grpc_pass grpc://shop; }} location /bare {{ grpc_pass shop; }} }}
        cutover shop {{ slot blue b; slot green g; active blue; }}
        server {{ listen %%admin%%; location / {{ cutover_api write=on; }} }}"
    );
    let nginx = with_certificate(&http).await;
    let h2 = ["--http2-prior-knowledge"];
    assert_eq!(curl(&nginx, &h2, "/"), "h2 blue");
    switch(&nginx, "shop", "green").await;
    assert_eq!(curl(&nginx, &h2, "/"), "h2 green");
    assert_eq!(curl(&nginx, &h2, "/bare"), "h2 green");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_upstreams_with_session_reuse() {
    let http = format!(
        "{SERVERS}
        cutover_state %%prefix%%/state;
        upstream b {{ server %%listen:tls-blue%%; }}
        upstream g {{ zone g 64k; server %%listen:tls-green%%; }}
        cutover shop {{ slot blue b; slot green g; active blue; }}
        server {{
            listen %%listen:main%%;
            # Only a new connection can reuse a session, and newer nginx keeps connections by default.
            proxy_set_header Connection close;
            location / {{ proxy_ssl_server_name on; proxy_ssl_name shop.example; proxy_pass https://shop; }}
        }}
        server {{ listen %%admin%%; location / {{ cutover_api write=on; }} }}"
    );
    let nginx = with_certificate(&http).await;
    for slot in ["blue", "green", "blue"] {
        switch(&nginx, "shop", slot).await;
        let answers: Vec<String> = (0..20).map(|_| curl(&nginx, &[], "/")).collect();
        assert!(answers.iter().all(|answer| answer.starts_with(&format!("tls {slot} "))), "{answers:?}");
        assert!(answers.iter().all(|answer| answer.ends_with("sni=shop.example")), "{answers:?}");
        assert!(
            answers.iter().any(|answer| answer.contains("reused=r")),
            "no session was reused: {answers:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fastcgi_uwsgi_and_scgi_pass() {
    let mut servers = Vec::new();
    for slot in ["blue", "green"] {
        servers.push((format!("f-{slot}"), serve(format!("fastcgi {slot}"), fastcgi).await));
        servers.push((format!("u-{slot}"), serve(format!("uwsgi {slot}"), plain).await));
        servers.push((format!("s-{slot}"), serve(format!("scgi {slot}"), plain).await));
    }
    let mut builder = Nginx::builder();
    for (name, address) in &servers {
        builder = builder.set(name, address);
    }
    let groups: String = ["f", "u", "s"]
        .iter()
        .map(|kind| {
            format!(
                "upstream {kind}b {{ server %%{kind}-blue%%; }} upstream {kind}g {{ server %%{kind}-green%%; }}
                 cutover {kind} {{ slot blue {kind}b; slot green {kind}g; active blue; }}\n"
            )
        })
        .collect();
    let http = format!(
        "cutover_state %%prefix%%/state; {groups}
        server {{
            listen %%listen:main%%;
            location /f {{ fastcgi_pass f; fastcgi_param REQUEST_METHOD GET; }}
            location /u {{ uwsgi_pass u; uwsgi_param REQUEST_METHOD GET; }}
            location /s {{ scgi_pass s; scgi_param REQUEST_METHOD GET; }}
        }}
        server {{ listen %%admin%%; location / {{ cutover_api write=on; }} }}"
    );
    let nginx = builder.http(&http).start().await.unwrap();
    for slot in ["blue", "green"] {
        for (group, kind) in [("f", "fastcgi"), ("u", "uwsgi"), ("s", "scgi")] {
            switch(&nginx, group, slot).await;
            assert_eq!(curl(&nginx, &[], &format!("/{group}")), format!("{kind} {slot}"));
        }
    }
}

/// Each balancing method, with two peers, one of them dead, so that nginx also retries.
#[tokio::test(flavor = "multi_thread")]
async fn balancing_keepalive_and_retries_are_the_upstreams_own() {
    let blue = Backend::start("blue").await.unwrap();
    let green = Backend::start("green").await.unwrap();
    for balancing in [
        "",
        "least_conn;",
        "ip_hash;",
        "hash $request_uri consistent;",
        "random two;",
        "zone z%%n%% 128k; least_conn;",
        "zone z%%n%% 128k; random two least_conn;",
        "keepalive 8;",
        "least_conn; keepalive 8; keepalive_requests 3;",
    ] {
        let upstream = |name: &str, slot: &str| {
            let zone = balancing.replace("%%n%%", name);
            format!(
                "upstream {name} {{ {zone} server %%{slot}%% max_fails=0; server %%dead%% max_fails=0; }}"
            )
        };
        let http = format!(
            "cutover_state %%prefix%%/state; {} {}
            cutover shop {{ slot blue b; slot green g; active blue; }}
            proxy_http_version 1.1; proxy_set_header Connection '';
            server {{ listen %%listen:main%%; location / {{ proxy_pass http://shop; }} }}
            server {{ listen %%admin%%; location / {{ cutover_api write=on; }} }}",
            upstream("b", "blue"),
            upstream("g", "green")
        );
        let dead = ports::free().unwrap();
        let builder =
            Nginx::builder().set("blue", blue.address()).set("green", green.address()).set("dead", dead);
        let nginx = builder.http(&http).start().await.unwrap();
        for slot in ["blue", "green", "blue"] {
            switch(&nginx, "shop", slot).await;
            for n in 0..12 {
                let answer = curl(&nginx, &[], &format!("/{n}"));
                assert!(answer.contains(slot), "{balancing}: {answer}");
            }
        }
        // nginx counts when an upstream request ends, shortly after the client has received the last byte.
        let mut blue = Counters::default();
        let check = async || {
            blue = nginx.admin().group("shop").await.unwrap().slot("blue").unwrap().counters;
            blue.responses.total() == 24
        };
        wait::until_async(wait::PATIENCE, "24 answers of blue", check).await.unwrap();
        assert_eq!((blue.requests, blue.responses.success), (24, 24), "{balancing}");
        assert_eq!(blue.attempts, 24 + blue.attempts_failed, "{balancing}");
        // With ip_hash the one client has one peer, perhaps the live one.
        assert!(
            blue.attempts_failed > 0 || balancing == "ip_hash;",
            "{balancing}: the dead peer was never tried"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_slot_are_kept_over_switches() {
    let blue = Backend::start("blue").await.unwrap();
    let green = Backend::start("green").await.unwrap();
    // Each of the two workers keeps one connection to each slot.
    let nginx = Nginx::builder()
        .set("blue", blue.address())
        .set("green", green.address())
        .http(
            "cutover_state %%prefix%%/state;
            upstream b { server %%blue%%; keepalive 8; } upstream g { server %%green%%; keepalive 8; }
            cutover shop { slot blue b; slot green g; active blue; }
            proxy_http_version 1.1; proxy_set_header Connection '';
            server { listen %%listen:main%%; location / { proxy_pass http://shop; } }
            server { listen %%admin%%; location / { cutover_api write=on; } }",
        )
        .start()
        .await
        .unwrap();
    for n in 0..40 {
        switch(&nginx, "shop", if n % 2 == 0 { "green" } else { "blue" }).await;
        curl(&nginx, &[], "/");
    }
    assert!(blue.truth().connections <= 2, "{:?}", blue.truth());
    assert!(green.truth().connections <= 2, "{:?}", green.truth());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_can_choose_its_slot() {
    let mut builder = Nginx::builder();
    let mut backends = Vec::new();
    for slot in ["blue", "green", "red"] {
        let backend = Backend::start(slot).await.unwrap();
        builder = builder.set(slot, backend.address());
        backends.push(backend);
    }
    let nginx = builder
        .http(
            "cutover_state %%prefix%%/state;
            upstream b { server %%blue%%; } upstream g { server %%green%%; } upstream r { server %%red%%; }
            cutover shop { slot blue b; slot green g; slot red r; active blue; }
            map $http_x_preview $preview { default ''; secret green; wrong purple; next standby; now active; }
            server {
                listen %%listen:main%%;
                cutover_slot $preview;
                location / { proxy_pass http://shop; }
                location /red { cutover_slot red; proxy_pass http://shop; }
                location /standby { cutover_slot standby; proxy_pass http://shop; }
                location /variable { set $name shop; proxy_pass http://$name; }
            }
            server { listen %%admin%%; location / { cutover_api write=on; } }",
        )
        .start()
        .await
        .unwrap();
    let slot = |arguments: &[&str], path: &str| {
        let answer: serde_json::Value = serde_json::from_str(&curl(&nginx, arguments, path)).unwrap();
        answer["slot"].as_str().unwrap().to_owned()
    };
    assert_eq!(slot(&[], "/"), "blue");
    assert_eq!(slot(&[], "/red"), "red");
    assert_eq!(slot(&[], "/standby"), "green");
    assert_eq!(slot(&[], "/variable"), "blue");
    assert_eq!(slot(&["-H", "x-preview: secret"], "/"), "green");
    assert_eq!(slot(&["-H", "x-preview: next"], "/"), "green");
    assert_eq!(slot(&["-H", "x-preview: now"], "/"), "blue");
    assert_eq!(slot(&["-H", "x-preview: wrong"], "/"), "blue", "the route decides");
    assert!(nginx.error_log().contains("[info]"));
    assert!(
        nginx.error_log().contains("cutover_slot: group \"shop\" has no slot \"purple\"; the route decides")
    );
    switch(&nginx, "shop", "red").await;
    assert_eq!(slot(&[], "/"), "red");
    assert_eq!(slot(&[], "/standby"), "blue", "the slot after the active one");
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_show_the_chosen_slot() {
    let blue = Backend::start("blue").await.unwrap();
    let nginx = Nginx::builder()
        .set("blue", blue.address())
        .set("dead", ports::free().unwrap())
        .http(
            "cutover_state %%prefix%%/state;
            log_format decided '$uri $status [$cutover_group|$cutover_slot|$cutover_generation]';
            upstream b { server %%listen:echo%%; } upstream g { server %%dead%%; }
            cutover shop { slot blue b; slot green g; active blue; }
            cutover other { slot one b; slot two b; active two; }
            server { listen %%listen:echo%%; location / { return 200 'to $http_x_slot $http_x_generation'; } }
            server {
                listen %%listen:main%%;
                access_log %%prefix%%/access.log decided;
                proxy_set_header X-Slot $cutover_slot;
                proxy_set_header X-Generation $cutover_generation;
                location / { proxy_pass http://shop; add_header X-Was $cutover_group/$cutover_slot always; }
                location /static { return 204; }
                location /fallback { error_page 502 = @other; proxy_pass http://shop; }
                location @other { proxy_pass http://other; }
            }
            server { listen %%admin%%; location / { cutover_api write=on; } }",
        )
        .start()
        .await
        .unwrap();
    let answer = curl(&nginx, &["-i"], "/a");
    assert!(answer.contains("X-Was: shop/blue") && answer.ends_with("to blue 0"), "{answer}");
    curl(&nginx, &[], "/static");
    switch(&nginx, "shop", "green").await;
    switch(&nginx, "shop", "blue").await;
    assert!(curl(&nginx, &[], "/b").ends_with("to blue 2"));
    switch(&nginx, "shop", "green").await;
    assert!(curl(&nginx, &["-i"], "/c").contains("X-Was: shop/green"));
    assert!(curl(&nginx, &[], "/fallback").ends_with("to two 0"));
    nginx.stop().await.unwrap();
    let log = std::fs::read_to_string(nginx.prefix().join("access.log")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines,
        [
            "/a 200 [shop|blue|0]",
            "/static 204 [-|-|-]",
            "/b 200 [shop|blue|2]",
            "/c 502 [shop|green|3]",
            "/fallback 200 [other|two|0]"
        ]
    );
}

async fn with_certificate(http: &str) -> Nginx {
    let builder = Nginx::builder().set("cert", "cert.pem").set("key", "key.pem");
    let nginx = builder.http(http).build().unwrap();
    certificate::make(nginx.prefix(), "shop.example").unwrap();
    nginx.start().await.unwrap();
    nginx
}

/// Starts a server that answers each connection with `answer(text)` when it has received something.
async fn serve(text: String, answer: fn(&str) -> Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(reply(stream, answer(&text)));
        }
    });
    address
}

async fn reply(mut stream: TcpStream, answer: Vec<u8>) {
    let mut request = [0; 4096];
    if stream.read(&mut request).await.is_ok() {
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
    }
}

/// An answer that is valid for uwsgi (HTTP) and for SCGI (CGI).
fn plain(text: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nStatus: 200 OK\r\nContent-Type: text/plain\r\n\r\n{text}").into_bytes()
}

/// The two records of a FastCGI answer: standard output, then the end of the request.
fn fastcgi(text: &str) -> Vec<u8> {
    let output = format!("Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n{text}");
    let mut answer = vec![1, 6, 0, 1, 0, output.len() as u8, 0, 0];
    answer.extend_from_slice(output.as_bytes());
    answer.extend_from_slice(&[1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    answer
}
