//! `nginx -t` refuses every mistake in the configuration with a line that names the directive and the value.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cutover_tests::nginx::Nginx;

const UPSTREAMS: &str = "
    upstream b { server 127.0.0.1:1; }
    upstream g { server 127.0.0.1:2; }
";

fn refused(http: &str, why: &str) {
    let http = format!("{UPSTREAMS}{http}");
    let nginx = Nginx::builder().http(&http).build().unwrap();
    nginx.expect_in_log(why);
    let answer = nginx.check().unwrap();
    assert!(!answer.ok, "accepted:\n{http}");
    assert!(answer.output.contains(why), "expected {why:?} for:\n{http}\nbut got:\n{}", answer.output);
    assert!(answer.output.contains("nginx.conf:"), "no file and line in: {}", answer.output);
    assert_eq!(fs::read_dir(nginx.prefix().join("state")).unwrap().count(), 0, "nginx -t created something");
}

fn with_state(http: &str, why: &str) {
    refused(&format!("cutover_state %%prefix%%/state;\n{http}"), why);
}

#[test]
fn names_of_groups_in_locations_and_variables() {
    const SHOP: &str =
        "cutover shop { slot blue b; active blue; } cutover blog { slot blue b; active blue; }";
    for (http, why) in [
        (
            "server { location / { cutover_group shop; cutover_group blog; } }",
            "\"cutover_group\" is duplicate",
        ),
        (
            "server { location / { cutover_group shoop; } }",
            "\"cutover_group shoop\": there is no group of that name; the groups are \"shop\", \"blog\"",
        ),
    ] {
        with_state(&format!("{SHOP}{http}"), why);
    }
    let variable = "server { location / { root /srv/$cutover_slot_of_shoop; } }";
    let why = "unknown group in variable \"$cutover_slot_of_shoop\": the groups are \"shop\", \"blog\"";
    with_state(&format!("{SHOP}{variable}"), why);
}

#[test]
fn files_in_a_group() {
    let start = |lines: &str, more: &str| {
        let http = format!(
            "{UPSTREAMS} cutover_state %%prefix%%/state;
            cutover shop {{ include %%prefix%%/slots/*.conf; include %%prefix%%/active.conf; {more} }}"
        );
        let nginx = Nginx::builder().http(&http).build().unwrap();
        fs::create_dir(nginx.prefix().join("slots")).unwrap();
        for (file, line) in [("a", "slot blue b;"), ("b", lines)] {
            fs::write(nginx.prefix().join(format!("slots/{file}.conf")), line).unwrap();
        }
        fs::write(nginx.prefix().join("active.conf"), "active green;").unwrap();
        nginx
    };
    let nginx = start("slot green g;", "");
    let answer = nginx.check().unwrap();
    assert!(answer.ok, "{}", answer.output);
    for (lines, more, why) in [
        ("slot green nowhere;", "", "unknown upstream \"nowhere\" for slot \"green\" of group \"shop\""),
        ("slot blue g;", "", "duplicate slot \"blue\" in group \"shop\" in"),
        ("slot green g;", "active blue;", "\"active\" is duplicate in group \"shop\""),
        ("slot green g;", "include a b;", "invalid number of arguments in \"include\" of group \"shop\""),
        ("server 127.0.0.1;", "", "unknown directive \"server\" in group \"shop\""),
    ] {
        let nginx = start(lines, more);
        nginx.expect_in_log(why);
        let answer = nginx.check().unwrap();
        assert!(!answer.ok && answer.output.contains(why), "{}", answer.output);
    }
    let nginx = start("slot green nowhere;", "");
    nginx.expect_in_log("unknown upstream");
    assert!(nginx.check().unwrap().output.contains("slots/b.conf:1"), "the file and line");
}

#[test]
fn names_that_are_not_utf8() {
    for (config, why) in [
        (
            &b"cutover caf\xe9 { slot blue b; active blue; }"[..],
            "the name of group \"caf\u{fffd}\" must be UTF-8 without control characters and \"/\"",
        ),
        (
            &b"cutover shop { slot bl\xfc b; active blue; }"[..],
            "the name of slot \"bl\u{fffd}\" of group \"shop\" must be UTF-8 without control characters and \"/\"",
        ),
        (
            &b"cutover shop { backend caf\xe9; slot blue b; active blue; }"[..],
            "\"backend caf\u{fffd}\" of group \"shop\" must be UTF-8",
        ),
    ] {
        let http = format!("{UPSTREAMS} cutover_state %%prefix%%/state; include %%prefix%%/groups.conf;");
        let nginx = Nginx::builder().http(&http).build().unwrap();
        fs::write(nginx.prefix().join("groups.conf"), config).unwrap();
        nginx.expect_in_log("must be UTF-8");
        let answer = nginx.check().unwrap();
        assert!(!answer.ok && answer.output.contains(why), "{}", answer.output);
    }
}

#[test]
fn groups() {
    for (http, why) in [
        (
            "cutover shop { slot blue b; slot green nowhere; active blue; }",
            "unknown upstream \"nowhere\" for slot \"green\" of group \"shop\"",
        ),
        (
            "cutover a { slot blue b; active blue; } cutover shop { slot blue a; active blue; }",
            "slot \"blue\" of group \"shop\" names the group \"a\"",
        ),
        (
            "cutover shop { slot blue a; active blue; } cutover a { slot blue b; active blue; }",
            "slot \"blue\" of group \"shop\" names the group \"a\"",
        ),
        ("cutover shop { slot blue shop; active blue; }", "names the group \"shop\""),
        (
            "cutover shop { slot blue b; slot blue g; active blue; }",
            "duplicate slot \"blue\" in group \"shop\"",
        ),
        (
            "cutover shop { slot blue b; active blue; } cutover shop { slot blue b; active blue; }",
            "duplicate group \"shop\"",
        ),
        (
            "cutover shop { backend x; slot blue b; active blue; } cutover Shop { backend y; slot blue b; active blue; }",
            "duplicate group \"Shop\": there is \"shop\" already, and nginx makes no difference between cases",
        ),
        ("cutover b { slot blue g; active blue; }", "duplicate upstream \"b\""),
        ("cutover shop { active blue; }", "group \"shop\" has no slot"),
        ("cutover shop { slot blue b; }", "group \"shop\" has no \"active\""),
        (
            "cutover shop { slot blue b; active red; }",
            "\"active red\": group \"shop\" has no slot \"red\"; it has \"blue\"",
        ),
        (
            "cutover shop { slot blue b; active blue; active blue; }",
            "\"active\" is duplicate in group \"shop\"",
        ),
        (
            "cutover shop { slot blue; active blue; }",
            "invalid number of arguments in \"slot\" of group \"shop\"",
        ),
        (
            "cutover shop { slot blue b; active; }",
            "invalid number of arguments in \"active\" of group \"shop\"",
        ),
        (
            "cutover shop { slot blue b; active blue; server 127.0.0.1; }",
            "unknown directive \"server\" in group \"shop\"",
        ),
        (
            "cutover shop { slot blue b; active blue; split_key $arg_a; split_key $arg_b; }",
            "\"split_key\" is duplicate in group \"shop\"",
        ),
        (
            "cutover shop { slot blue b; active blue; split_key; }",
            "invalid number of arguments in \"split_key\"",
        ),
        ("cutover shop { backend x; backend y; slot blue b; active blue; }", "\"backend\" is duplicate"),
        (
            "cutover shop { backend x; slot blue b; active blue; } cutover blog { backend x; slot blue b; active blue; }",
            "\"backend x\" is that of group \"shop\" already",
        ),
        (
            "cutover sh/op { slot blue b; active blue; }",
            "the name of group \"sh/op\" must be UTF-8 without control characters and",
        ),
        (
            "cutover shop { slot standby b; active standby; }",
            "the name of slot \"standby\" of group \"shop\" is a word with a meaning",
        ),
        ("cutover .. { slot blue b; active blue; }", "the name of group \"..\" is what means a folder"),
        ("cutover \"\" { slot blue b; active blue; }", "the name of group \"\" is empty"),
    ] {
        with_state(http, why);
    }
    let long = "x".repeat(256);
    with_state(&format!("cutover shop {{ slot {long} b; active x; }}"), "is longer than 255 bytes");
}

#[test]
fn a_ninth_slot() {
    let slots: String = (1..=9).map(|n| format!("slot s{n} b; ")).collect();
    with_state(
        &format!("cutover shop {{ {slots} active s1; }}"),
        "slot \"s9\" is one too many: group \"shop\" may have 8 slots",
    );
    let slots: String = (1..=8).map(|n| format!("slot s{n} b; ")).collect();
    let http = format!("cutover_state %%prefix%%/state; {UPSTREAMS} cutover shop {{ {slots} active s8; }}");
    let answer = Nginx::builder().http(&http).build().unwrap().check().unwrap();
    assert!(answer.ok, "{}", answer.output);
}

#[test]
fn locations() {
    const SHOP: &str = "cutover shop { slot blue b; slot green g; active blue; }";
    for (location, why) in [
        ("cutover_slot purple;", "\"cutover_slot purple\": no group has a slot of that name"),
        ("cutover_slot blue; cutover_slot green;", "\"cutover_slot\" is duplicate"),
        ("cutover_slot;", "invalid number of arguments in \"cutover_slot\""),
        ("cutover_api; cutover_api;", "\"cutover_api\" is duplicate"),
        (
            "cutover_metrics; cutover_metrics;",
            "\"cutover_metrics\" in a location that has its content from another",
        ),
        (
            "proxy_pass http://b; cutover_api;",
            "\"cutover_api\" in a location that has its content from another directive too: give it a location of its own",
        ),
        (
            "cutover_api; proxy_pass http://b;",
            "\"cutover_api\" in a location that has its content from another",
        ),
        (
            "cutover_metrics; return 200; stub_status;",
            "\"cutover_metrics\" in a location that has its content from another",
        ),
        ("cutover_api write=yes;", "invalid value \"yes\" of \"write\" in \"cutover_api\": on or off"),
        ("cutover_api uid=nobody-at-all;", "invalid value \"nobody-at-all\" of \"uid\" in \"cutover_api\""),
        ("cutover_api token_file=;", "\"token_file\" in \"cutover_api\" is empty"),
        (
            "cutover_api token_file=/nowhere;",
            "\"token_file=/nowhere\" in \"cutover_api\" cannot be read: No such file",
        ),
        (
            "cutover_api token_file=/etc/passwd;",
            "\"token_file=/etc/passwd\" in \"cutover_api\" can be read or written by others",
        ),
        ("cutover_api remote=yes;", "invalid value \"yes\" of \"remote\" in \"cutover_api\": on or off"),
        ("cutover_api remote=on;", "\"remote=on\" in \"cutover_api\" needs a \"token_file\""),
        ("cutover_metrics on;", "invalid number of arguments in \"cutover_metrics\""),
        ("cutover_api readonly;", "invalid parameter \"readonly\" in \"cutover_api\""),
    ] {
        with_state(&format!("{SHOP} server {{ listen %%listen:a%%; location / {{ {location} }} }}"), why);
    }
    with_state(
        &format!("{SHOP} server {{ listen %%listen:a%%; cutover_api; }}"),
        "\"cutover_api\" directive is not allowed here",
    );
}

/// A token that crosses a network without TLS is known to the network.
#[test]
fn clients_of_other_hosts_need_tls() {
    let http = "cutover_state %%prefix%%/state;
        server { listen %%listen:a%%; location / { cutover_api remote=on token_file=%%prefix%%/token; } }";
    let nginx = Nginx::builder().http(http).build().unwrap();
    let token = nginx.prefix().join("token");
    fs::write(&token, "0123456789abcdef").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    nginx.expect_in_log("needs TLS");
    let answer = nginx.check().unwrap();
    let why = "\"remote=on\" in \"cutover_api\" needs TLS: add \"ssl\" to a \"listen\" of this server";
    assert!(!answer.ok && answer.output.contains(why), "{}", answer.output);
    assert!(answer.output.contains("nginx.conf:"), "{}", answer.output);
}

#[test]
fn state_folders() {
    const SHOP: &str = "cutover shop { slot blue b; active blue; }";
    refused(SHOP, "\"cutover_state\" is missing: group \"shop\" needs");
    for (state, why) in [
        ("cutover_state %%prefix%%/none;", "/none\" cannot be used: No such file or directory"),
        ("cutover_state %%prefix%%/nginx.conf;", "/nginx.conf\" cannot be used: it is not a folder"),
        ("cutover_state %%prefix%%/state; cutover_state /tmp;", "\"cutover_state\" is duplicate"),
        ("cutover_state '';", "\"cutover_state\" is empty"),
        ("cutover_state;", "invalid number of arguments in \"cutover_state\""),
    ] {
        refused(&format!("{state} {SHOP}"), why);
    }
}

#[test]
fn a_folder_that_others_can_write() {
    let http =
        format!("cutover_state %%prefix%%/state; {UPSTREAMS} cutover shop {{ slot blue b; active blue; }}");
    let nginx = Nginx::builder().http(&http).build().unwrap();
    let folder = nginx.prefix().join("state");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    nginx.expect_in_log("others may write to it (mode 0777)");
    assert!(!nginx.check().unwrap().ok);

    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&folder, Some(12345), None).unwrap();
    nginx.expect_in_log("it belongs to the user with id 12345");
    assert!(!nginx.check().unwrap().ok);
}

#[test]
fn a_configuration_without_cutover_is_accepted() {
    let answer = Nginx::builder().http("").build().unwrap().check().unwrap();
    assert!(answer.ok, "{}", answer.output);
    let nginx =
        Nginx::builder().whole("%%load_module%% pid %%prefix%%/nginx.pid; events {}").build().unwrap();
    assert!(nginx.check().unwrap().ok);
}
