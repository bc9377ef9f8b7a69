//! The page about controllers that could not be had: nginx with the module reads its snippets where they would stand.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use cutover_tests::flavour::Flavour;
use cutover_tests::kubernetes::documents;
use cutover_tests::kubernetes::operator::text;
use cutover_tests::page::Page;
use cutover_tests::temp::TempDir;
use serde_json::Value;

/// What a controller writes, by context.
#[derive(Debug, Default)]
struct Snippets {
    main: String,
    http: String,
    server: String,
    /// The upstreams that it makes of Services.
    upstreams: [String; 2],
}

fn object(page: &Page, language: &str) -> Value {
    let [block] = page.blocks_of(language).unwrap();
    documents(&block).unwrap().remove(0)
}

/// Puts the snippets where the controller would, and lets nginx read them.
fn nginx_reads(snippets: &Snippets) {
    let flavour = Flavour::from_env().unwrap();
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::create_dir(at("state")).unwrap();
    fs::write(at("token"), "0123456789abcdef0123456789abcdef").unwrap();
    fs::set_permissions(at("token"), Permissions::from_mode(0o600)).unwrap();
    let Snippets { main, http, server, upstreams } = snippets;
    let upstreams =
        upstreams.each_ref().map(|name| format!("upstream {name} {{ server 127.0.0.1:1; }}\n")).concat();
    // Both controllers write a location for what no rule matches.
    let whole = format!(
        "{main}\npid {};\nerror_log stderr;\nevents {{ }}\nhttp {{\n{http}\n{upstreams}server {{\n\
         listen unix:{};\n{server}\nlocation / {{ return 404; }}\n}}\n}}\n",
        at("pid"),
        at("socket"),
    );
    let here = whole
        .replace("modules/ngx_http_cutover_module.so", &flavour.module().display().to_string())
        .replace("/var/lib/cutover", &at("state"))
        .replace("/etc/cutover/token", &at("token"));
    fs::write(at("nginx.conf"), &here).unwrap();
    let tested = Command::new(flavour.nginx()).args(["-t", "-c", &at("nginx.conf")]).output().unwrap();
    let said = String::from_utf8_lossy(&tested.stderr);
    assert!(tested.status.success(), "{said}\n{here}");
}

#[test]
fn nginx_reads_what_the_page_proposes() {
    let page = Page::read("docs/kubernetes/other-controllers.md").unwrap();
    let (map, server) = (object(&page, "yaml"), object(&page, "yaml f5"));
    nginx_reads(&Snippets {
        main: text(&map, "/data/main-snippets").to_owned(),
        http: format!("{}{}", text(&map, "/data/http-snippets"), text(&server, "/spec/http-snippets")),
        server: text(&server, "/spec/server-snippets").to_owned(),
        upstreams: ["blue", "green"].map(|name| format!("vs_shop_shop_{name}")),
    });

    let filter = object(&page, "yaml ngf");
    let of = |context: &str| {
        let all = filter.pointer("/spec/snippets").and_then(Value::as_array).unwrap();
        let found = all.iter().find(|one| text(one, "/context") == context).unwrap();
        text(found, "/value").to_owned()
    };
    nginx_reads(&Snippets {
        main: of("main"),
        http: of("http"),
        server: of("http.server"),
        upstreams: ["blue", "green"].map(|slot| format!("shop_shop-{slot}_80")),
    });
}
