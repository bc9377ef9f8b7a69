//! nginx can turn one client request into several: slices, SSI, `addition`, `auth_request`, `mirror`, `error_page`,
//! `X-Accel-Redirect`, named locations. All parts go to one slot, as with a variable of stock nginx's `split_clients`.

mod fixed;
mod going_back;
mod held;
mod named;
mod pages;
mod parts;

use std::collections::BTreeMap;

use cutover_tests::{Action, Backend, Nginx, TestEdge};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Size of the file that nginx fetches in slices of 1 KB.
pub(crate) const FILE: usize = 10 * 1024 + 1;

/// A location for each way to turn one client request into several; `PASS` is the upstream.
const LOCATIONS: &str = "
    ssi_types *;
    addition_types *;
    recursive_error_pages on;
    proxy_intercept_errors on;
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    proxy_set_header X-Request-Id $request_id;
    location / { proxy_pass PASS; }
    location /page { ssi on; proxy_pass PASS; }
    location /static/ { ssi on; root %%prefix%%; }
    location /added { add_before_body /part/before; add_after_body /part/after; proxy_pass PASS; }
    location /authorized { auth_request /auth; proxy_pass PASS; }
    location = /auth { internal; proxy_pass PASS; }
    location /mirrored { mirror /mirror; proxy_pass PASS; }
    location = /mirror { internal; proxy_pass PASS; }
    location /broken { error_page 503 = @excuse; proxy_pass PASS; }
    location @excuse { rewrite ^ /excuse break; proxy_pass PASS; }
    location /moved { error_page 503 = /excuse; proxy_pass PASS; }
    location /denied { auth_request /login; error_page 401 = @login; proxy_pass PASS; }
    location = /login { internal; proxy_pass PASS; }
    location @login { rewrite ^ /form break; proxy_pass PASS; }
    location /accel { proxy_pass PASS; }
    location /kept/ { internal; proxy_pass PASS; }
    location /sliced {
        slice 1k;
        proxy_set_header Connection '';
        proxy_set_header X-Request-Id $request_id;
        proxy_set_header Range $slice_range;
        proxy_pass PASS;
    }
";

/// A target, and the number of requests to the slots that it causes.
pub(crate) const CASES: [(&str, u64); 11] = [
    ("/plain", 1),
    ("/page", 5),
    ("/static/page.html", 2),
    ("/added", 3),
    ("/authorized", 2),
    ("/mirrored", 2),
    ("/broken", 2),
    ("/moved", 2),
    ("/denied", 2),
    ("/accel/twice", 3),
    ("/sliced", 11),
];

/// Sets the actions of a backend for all targets of [`CASES`].
pub(crate) fn set_actions(backend: &Backend) {
    let page = |text: &str| Action::status(200).body(text);
    backend.on(
        "/page",
        page(concat!(
            r#"<!--# include virtual="/part/a" wait="yes" -->"#,
            r#"<!--# include virtual="/part/b" -->"#,
            r#"<!--# include virtual="/page/nested" -->"#,
        )),
    );
    backend.on("/page/nested", page(r#"<!--# include virtual="/part/c" -->"#));
    backend.on("/broken", Action::status(503));
    backend.on("/moved", Action::status(503));
    backend.on("/login", Action::status(401));
    backend.on("/accel/twice", Action::status(200).header("x-accel-redirect", "/kept/first"));
    backend.on("/kept/first", Action::status(200).header("x-accel-redirect", "/kept/second"));
    backend.on("/sliced", Action::File(FILE));
}

/// `http {}` with a group, these locations, and `more` in the server.
pub(crate) fn http(more: &str) -> String {
    TestEdge::http(
        cutover_tests::test_edge::UPSTREAMS,
        &format!("{}{more}", LOCATIONS.replace("PASS", "http://shop")),
    )
    .replace("proxy_http_version 1.1;\n            proxy_set_header Connection '';", "")
}

/// Starts nginx and backends with their actions.
pub(crate) async fn start(more: &str) -> TestEdge {
    let edge = start_with(Nginx::builder().http(&http(more))).await;
    set_actions(&edge.blue);
    set_actions(&edge.green);
    edge
}

async fn start_with(builder: cutover_tests::nginx::Builder) -> TestEdge {
    let edge = TestEdge::start_with(builder).await.unwrap();
    write_static(&edge.nginx);
    edge
}

/// Writes a static page that includes two parts from the slots.
fn write_static(nginx: &Nginx) {
    let folder = nginx.prefix().join("static");
    std::fs::create_dir(&folder).unwrap();
    let page = r#"<!--# include virtual="/part/a" wait="yes" --><!--# include virtual="/part/b" -->"#;
    std::fs::write(folder.join("page.html"), page).unwrap();
}

/// The number of requests with each id at blue and at green.
pub(crate) fn by_id(blue: &Backend, green: &Backend) -> BTreeMap<String, (u64, u64)> {
    let mut ids: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (id, count) in blue.truth().ids {
        ids.entry(id).or_default().0 += count;
    }
    for (id, count) in green.truth().ids {
        ids.entry(id).or_default().1 += count;
    }
    ids
}

/// A POST whose body is sent later than its head.
pub(crate) struct Upload(TcpStream);

impl Upload {
    /// Sends the head.
    pub(crate) async fn begin(edge: &TestEdge, target: &str) -> Self {
        let mut stream = TcpStream::connect(edge.nginx.address("main").unwrap()).await.unwrap();
        let head =
            format!("POST {target} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-length: 3\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        Self(stream)
    }

    /// Sends the body. Returns the answer as text.
    pub(crate) async fn finish(mut self) -> String {
        self.0.write_all(b"abc").await.unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.unwrap();
        answer
    }
}
