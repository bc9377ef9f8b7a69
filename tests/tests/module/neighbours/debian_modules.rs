//! Debian's dynamic modules in the same nginx: Lua as the balancer of a slot, as the source of subrequests and redirects, and
//! as a reader of the module's variables; headers-more; `stream`. They are built for Debian's nginx only.

use cutover_tests::load::Request;
use cutover_tests::test_edge::TestEdge;
use cutover_tests::{Flavour, Load, Nginx, client};

const OTHERS: &str = "
    load_module /usr/lib/nginx/modules/ndk_http_module.so;
    load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
    load_module /usr/lib/nginx/modules/ngx_http_headers_more_filter_module.so;
    load_module /usr/lib/nginx/modules/ngx_stream_module.so;
";

const STREAM: &str = "
    stream {
        upstream shop { server %%blue%%; }
        server { listen %%listen:stream%%; proxy_pass shop; }
    }
";

const UPSTREAMS: &str = r#"
    lua_shared_dict seen 64k;
    upstream shop_blue {
        server 0.0.0.1;
        balancer_by_lua_block {
            local address, port = ("%%blue%%"):match("(.+):(.+)")
            assert(ngx.var.cutover_slot == "blue", "the slot in the balancer")
            assert(require("ngx.balancer").set_current_peer(address, tonumber(port)))
        }
        keepalive 8;
    }
    upstream shop_green { server %%green%%; keepalive 8; }
"#;

const LOCATIONS: &str = r#"
    more_set_headers "x-cutover-slot: $cutover_slot";
    location / {
        proxy_pass http://shop;
        header_filter_by_lua_block { ngx.header["x-in-lua"] = ngx.var.cutover_slot }
        log_by_lua_block {
            ngx.shared.seen:incr(ngx.var.cutover_group .. " " .. ngx.var.cutover_slot, 1, 0)
        }
    }
    location /captured {
        content_by_lua_block {
            local answer = ngx.location.capture("/inner")
            ngx.status = answer.status
            ngx.header["x-slot"] = answer.header["x-slot"]
            ngx.header["x-cutover-slot"] = answer.header["x-slot"]
            ngx.print(answer.body)
        }
        more_clear_headers "x-cutover-slot";
    }
    location /several {
        content_by_lua_block {
            local one, two = ngx.location.capture_multi({ {"/inner"}, {"/inner"} })
            ngx.header["x-slot"] = two.header["x-slot"]
            ngx.print(two.body)
        }
        more_clear_headers "x-cutover-slot";
    }
    location /executed { content_by_lua_block { ngx.exec("/inner") } }
    location /named {
        set $name "";
        access_by_lua_block { ngx.var.name = "shop" }
        proxy_pass http://$name;
    }
    location /inner { proxy_pass http://shop; }
    location = /seen {
        more_clear_headers "x-cutover-slot";
        content_by_lua_block {
            ngx.say(ngx.shared.seen:get("shop blue"), " ", ngx.shared.seen:get("shop green"))
        }
    }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn loaded_before_the_others() {
    beside_the_others(Nginx::builder().main(&format!("{OTHERS}{STREAM}"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loaded_after_the_others() {
    let main = format!("{OTHERS} load_module %%module%%; {STREAM}");
    beside_the_others(Nginx::builder().without_module().main(&main)).await;
}

async fn beside_the_others(builder: cutover_tests::nginx::Builder) {
    if Flavour::from_env().unwrap() != Flavour::Debian {
        println!(
            "SKIPPED: Debian's dynamic modules load into Debian's nginx only; run it with CUTOVER_NGINX=debian"
        );
        return;
    }
    let http = TestEdge::http(UPSTREAMS, LOCATIONS);
    let edge = TestEdge::start_with(builder.http(&http)).await.unwrap();
    let targets = ["/", "/captured", "/several", "/executed", "/named"];
    let plan = edge.plan().unwrap().requests(targets.map(Request::get).to_vec());
    let load = Load::start(plan, edge.oracle());
    let work = async {
        edge.nginx.reload().await?;
        load.answers(300).await?;
        edge.nginx.upgrade().await?;
        load.answers(300).await?;
        edge.nginx.reload().await?;
        load.answers(300).await
    };
    let switches = edge.switch_during(&load, work).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact(&format!("Lua, headers-more and stream, {switches} switches"), &report).unwrap();
    assert!(switches >= 10, "only {switches} switches");

    let address = edge.nginx.address("main").unwrap();
    let answer = client::get(address, "/").await.unwrap();
    assert_eq!(answer.head.header("x-in-lua"), answer.head.header("x-slot"));
    let seen = String::from_utf8(client::get(address, "/seen").await.unwrap().body).unwrap();
    let seen: Vec<u64> = seen.split_whitespace().map(|number| number.parse().unwrap_or(0)).collect();
    assert!(seen.iter().all(|number| *number > 0), "the slots in the log phase: {seen:?}");
    let stream = client::get(edge.nginx.address("stream").unwrap(), "/").await.unwrap();
    assert_eq!((stream.status, stream.head.header("x-slot")), (200, Some("blue")));
}
