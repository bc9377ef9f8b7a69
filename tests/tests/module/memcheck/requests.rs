//! One request of each kind that reaches the module.

use std::process::Command;

use cutover_tests::client::{self, Client};
use cutover_tests::nginx::{Builder, Nginx};
use cutover_tests::{Action, Backend, certificate, ports, temp::TempDir, wait};
use hyper::Method;

use super::trials;
use crate::protocols::packets;

const WHOLE: &str = "
%%load_module%%
daemon off; %%main%%
pid %%prefix%%/nginx.pid; error_log %%prefix%%/error.log info;
events { worker_connections 512; }
http {
    log_format decided '$uri $status $cutover_group $cutover_slot $cutover_generation';
    access_log %%prefix%%/access.log decided;
    client_body_temp_path %%prefix%%/client_body; proxy_temp_path %%prefix%%/proxy;
    fastcgi_temp_path %%prefix%%/fastcgi; uwsgi_temp_path %%prefix%%/uwsgi; scgi_temp_path %%prefix%%/scgi;
    proxy_cache_path %%prefix%%/cache keys_zone=answers:1m;
    cutover_state %%prefix%%/state;
    client_body_buffer_size 4k;

    upstream blue { server %%blue%%; keepalive 4; }
    upstream green { zone green 128k; least_conn; server %%dead%% max_fails=0; server %%green%% max_fails=0; }
    upstream hash { hash $arg_k consistent; server %%green%%; }
    upstream random { zone random 128k; random two; server %%blue%%; server %%green%%; }
    upstream address { ip_hash; server %%blue%%; }
    upstream dead { server %%dead%%; }
    cutover shop {
        slot blue blue; slot green green; slot hash hash; slot random random; slot address address; slot dead dead;
        active blue;
    }
    upstream tls_one { server %%listen:tls%%; } upstream tls_two { zone tls 128k; server %%listen:tls%%; }
    cutover tls { slot one tls_one; slot two tls_two; active one; }
    upstream h2 { server %%listen:h2%%; keepalive 2; }
    cutover grpc { slot one h2; active one; }
    upstream f { server %%fastcgi%%; } upstream u { server %%uwsgi%%; } upstream s { server %%scgi%%; }
    cutover fastcgi { slot one f; active one; } cutover uwsgi { slot one u; active one; }
    cutover scgi { slot one s; active one; }

    map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
    proxy_http_version 1.1;
    proxy_set_header Connection $connection_upgrade;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header X-Chosen $cutover_slot;
    server { listen %%listen:tls%% ssl; ssl_certificate %%cert%%; ssl_certificate_key %%key%%; location / { return 200 tls; } }
    server { listen %%listen:h2%% http2; location / { return 200 h2; } }
    server {
        listen %%listen:main%%;
        cutover_slot $arg_slot;
        location / { proxy_pass http://shop; add_header X-Decided $cutover_group/$cutover_slot always; }
        location /named { set $group shop; proxy_pass http://$group; }
        location /standby { cutover_slot standby; proxy_pass http://shop; }
        location /unbuffered { proxy_request_buffering off; proxy_buffering off; proxy_pass http://shop; }
        location /kept/ { internal; proxy_pass http://shop; }
        location /excused { error_page 502 = @excuse; cutover_slot dead; proxy_pass http://shop; }
        location @excuse { cutover_slot blue; proxy_pass http://shop; }
        location /guarded { auth_request /auth; mirror /mirror; proxy_pass http://shop; }
        location = /auth { internal; proxy_pass http://shop; }
        location = /mirror { internal; proxy_pass http://shop; }
        location /cached {
            proxy_cache answers; proxy_cache_valid 200 1m; proxy_cache_lock on;
            proxy_cache_key $uri$cutover_slot; proxy_pass http://shop;
        }
        location /page { ssi on; ssi_types *; proxy_pass http://shop; }
        location /sliced { slice 1k; proxy_set_header Range $slice_range; proxy_pass http://shop; }
        location /files { root %%prefix%%/$cutover_slot_of_shop; try_files $uri @excuse; }
        location /told { cutover_group shop; return 200 $cutover_slot/$cutover_slot_of_scgi; }
        location /tls { proxy_pass https://tls; }
        location /fastcgi { fastcgi_pass fastcgi; fastcgi_param REQUEST_METHOD GET; }
        location /uwsgi { uwsgi_pass uwsgi; uwsgi_param REQUEST_METHOD GET; }
        location /scgi { scgi_pass scgi; scgi_param REQUEST_METHOD GET; }
    }
    server { listen %%listen:grpc%% http2; location / { grpc_pass grpc://grpc; } }
    server { listen %%admin%%; location / { cutover_api write=on; } location = /measures { cutover_metrics; } }
}
";

/// The servers of all slots.
pub(crate) struct Servers {
    blue: Backend,
    green: Backend,
    packets: [(&'static str, std::net::SocketAddr); 3],
    certificate: certificate::Certificate,
    _folder: TempDir,
}

impl Servers {
    pub(crate) async fn start() -> Self {
        let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
        for backend in [&blue, &green] {
            backend.on("/file", Action::status(200).header("x-accel-redirect", "/kept/file"));
            let page = concat!(
                r#"<!--# include virtual="/a" wait="yes" -->"#,
                r#"<!--# include virtual="/page/b" -->"#,
                r#"<!--# include virtual="/c" -->"#,
            );
            backend.on("/page", Action::status(200).body(page));
            backend.on("/page/b", Action::status(200));
            backend.on("/sliced", Action::File(5000));
            backend.on("/upgrade", Action::Upgrade);
            backend.on("/hang", Action::Hang);
            backend.on("/cut", Action::Cut);
            backend.on("/half", Action::CutBody);
        }
        let folder = TempDir::new().unwrap();
        let certificate = certificate::make(folder.path(), "shop.example").unwrap();
        let packets = [
            ("fastcgi", packets::fastcgi("one").await),
            ("uwsgi", packets::uwsgi("one").await),
            ("scgi", packets::scgi("one").await),
        ];
        Self { blue, green, packets, certificate, _folder: folder }
    }

    pub(crate) fn describe(&self, builder: Builder) -> Builder {
        let builder = builder.set("blue", self.blue.address()).set("green", self.green.address());
        let builder = builder.set("dead", ports::free().unwrap());
        let builder = builder.set("cert", self.certificate.certificate.display());
        let builder = builder.set("key", self.certificate.key.display());
        let add = |builder: Builder, (name, address): &(&str, _)| builder.set(name, address);
        self.packets.iter().fold(builder, add).whole(WHOLE)
    }

    pub(crate) async fn ask_everything(&self, nginx: &Nginx) {
        nginx.admin().switch("shop", "blue").await.unwrap();
        self.ask_each_slot(nginx).await;
        self.ask_each_protocol(nginx).await;
        self.end_early(nginx).await;
        ask_admin_api(nginx).await;
        trials::ask(nginx).await;
    }

    async fn ask_each_slot(&self, nginx: &Nginx) {
        let address = nginx.address("main").unwrap();
        for (slot, status) in
            [("blue", 200), ("green", 200), ("hash", 200), ("random", 200), ("address", 200), ("dead", 502)]
        {
            nginx.admin().switch("shop", slot).await.unwrap();
            for target in ["/", "/named", "/?k=1", "/cached", "/cached", "/guarded", "/file"] {
                // auth_request turns a 502 into a 500.
                let status = if (slot, target) == ("dead", "/guarded") { 500 } else { status };
                assert_eq!(client::get(address, target).await.unwrap().status, status, "{slot} {target}");
            }
            assert_eq!(client::get(address, "/excused").await.unwrap().status, 200);
        }
        nginx.admin().switch("shop", "blue").await.unwrap();
        for target in [
            "/?slot=green",
            "/?slot=standby",
            "/?slot=none",
            "/standby",
            "/page",
            "/page?slot=standby",
            "/sliced",
            "/files",
            "/told",
        ] {
            assert_eq!(client::get(address, target).await.unwrap().status, 200, "{target}");
        }
    }

    async fn ask_each_protocol(&self, nginx: &Nginx) {
        let address = nginx.address("main").unwrap();
        for slot in ["one", "two", "one"] {
            nginx.admin().switch("tls", slot).await.unwrap();
            for target in ["/tls", "/tls", "/fastcgi", "/uwsgi", "/scgi"] {
                assert_eq!(client::get(address, target).await.unwrap().status, 200, "{target}");
            }
        }
        let url = format!("http://{}/", nginx.address("grpc").unwrap());
        let curl = ["-s", "-m", "20", "--http2-prior-knowledge", "-d", "message", &url];
        let output = Command::new("curl").args(curl).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "h2");
        for target in ["/", "/unbuffered"] {
            for bytes in [10, 100_000] {
                let (url, body) = (format!("http://{address}{target}"), "x".repeat(bytes));
                let curl = ["-s", "-m", "20", "-w", "%{http_code}", "-o", "/dev/null", "-d", &body, &url];
                let output = Command::new("curl").args(curl).output().unwrap();
                assert_eq!(String::from_utf8(output.stdout).unwrap(), "200", "{target}");
            }
        }
        let mut client = Client::connect(address).await.unwrap();
        let upgrade = [("connection", "upgrade"), ("upgrade", "echo")];
        assert_eq!(client.request("GET", "/upgrade", &upgrade).await.unwrap().status, 101);
        nginx.admin().switch("shop", "green").await.unwrap();
        assert_eq!(client.echo(b"hello").await.unwrap(), b"hello");
        nginx.admin().switch("shop", "blue").await.unwrap();
    }

    /// Clients that disconnect, servers that break off.
    async fn end_early(&self, nginx: &Nginx) {
        let address = nginx.address("main").unwrap();
        let mut client = Client::connect(address).await.unwrap();
        client.send("GET", "/hang", &[]).await.unwrap();
        wait::until("the request at the slot", || self.blue.truth().in_flight == 1).await.unwrap();
        drop(client);
        wait::until("nginx to close its connection", || self.blue.truth().in_flight == 0).await.unwrap();
        assert_eq!(client::get(address, "/cut").await.unwrap().status, 502);
        client::get(address, "/half").await.unwrap_err();
    }
}

async fn ask_admin_api(nginx: &Nginx) {
    let json = ("content-type", "application/json");
    let large = format!("{{\"active\": \"green\", \"reason\": \"{}\"}}", "x".repeat(20_000));
    let too_large = "x".repeat(70_000);
    let admin = nginx.admin();
    assert_eq!(admin.groups().await.unwrap().groups.len(), 6);
    for (method, path, headers, body, status) in [
        (Method::GET, "/v1/groups/shop", vec![], "", 200),
        (Method::HEAD, "/v1/groups/shop", vec![], "", 200),
        (Method::GET, "/v1/groups/none", vec![], "", 404),
        (Method::GET, "/nothing", vec![], "", 404),
        (Method::DELETE, "/v1/groups/shop", vec![], "", 405),
        (Method::PUT, "/v1/groups/shop/route", vec![json], "{\"active\": \"green\"}", 200),
        (Method::PUT, "/v1/groups/shop/route", vec![json], "{\"active\": \"green\"}", 200),
        (Method::PUT, "/v1/groups/shop/route", vec![json], "{\"active\": \"blue\", \"fence\": true}", 200),
        (Method::PUT, "/v1/groups/shop/route", vec![json], &large, 200),
        (Method::PUT, "/v1/groups/shop/route", vec![json], &too_large, 413),
        (Method::PUT, "/v1/groups/shop/route", vec![json], "nonsense", 400),
        (Method::PUT, "/v1/groups/shop/route", vec![json], "{\"active\": \"none\"}", 422),
        (Method::PUT, "/v1/groups/shop/route", vec![], "{\"active\": \"blue\"}", 415),
        (
            Method::PUT,
            "/v1/groups/shop/route",
            vec![json, ("if-match", "\"1000000\"")],
            "{\"active\": \"blue\"}",
            412,
        ),
        (Method::PUT, "/v1/groups/shop/route", vec![json, ("if-match", "x")], "{\"active\": \"blue\"}", 400),
    ] {
        let reply = admin.raw(method.clone(), path, &headers, body).await.unwrap();
        assert_eq!(reply.status, status, "{method} {path} {headers:?}: {}", reply.body);
    }
}
