#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use super::*;

fn group() -> FileGroup {
    let slot = |name: &str, servers: &[&str]| FileSlot {
        name: name.to_owned(),
        servers: servers.iter().map(|server| Server::parse(server).unwrap()).collect(),
    };
    FileGroup {
        name: "shop".to_owned(),
        file: "/etc/nginx/conf.d/backend.conf".into(),
        upstream: "backend".to_owned(),
        slots: vec![slot("blue", &["127.0.0.1:3000"]), slot("green", &["127.0.0.1:3001"])],
    }
}

fn parse(text: &str) -> Result<UpstreamFile, String> {
    UpstreamFile::parse(text.as_bytes(), &group())
}

/// The file after a change.
fn changed(text: &str, active: usize, second: Option<(usize, f64)>) -> String {
    let file = parse(text).unwrap();
    let second = second.map(|(at, percent)| (at, Percent::try_from(percent).unwrap()));
    let route = FileRoute { active, second, generation: file.route.generation + 1 };
    let cause = Cause { follows: Some(Revision::new("0123456789abcdef")), reason: Some("a test".to_owned()) };
    file.render(&route, &cause, &group())
}

const PLAIN: &str = "upstream backend {\n    server 127.0.0.1:3000;\n    keepalive 32;\n}\n";

const BLUE: &str = "\
# Written by cutover; slot blue is active, generation 1.
# It follows 0123456789abcdef: a test
upstream backend {
    # blue (active)
    server 127.0.0.1:3000;
    # green
    # server 127.0.0.1:3001;
    keepalive 32;
}
";

#[test]
fn a_plain_file_is_adopted() {
    let file = parse(PLAIN).unwrap();
    assert_eq!(file.route, FileRoute { active: 0, second: None, generation: 0 });
    assert_eq!(changed(PLAIN, 0, None), BLUE);
    let green = parse(&PLAIN.replace("3000", "3001")).unwrap();
    assert_eq!(green.route.active, 1);
}

#[test]
fn a_switch_and_back() {
    let green = changed(BLUE, 1, None);
    let file = parse(&green).unwrap();
    assert_eq!(file.route, FileRoute { active: 1, second: None, generation: 2 });
    assert_eq!(file.cause.follows.unwrap().as_str(), "0123456789abcdef");
    assert_eq!(file.cause.reason.unwrap(), "a test");
    assert!(green.contains(
        "    # blue\n    # server 127.0.0.1:3000;\n    # green (active)\n    server 127.0.0.1:3001;\n"
    ));
    assert_eq!(changed(&green, 0, None), BLUE.replace("generation 1", "generation 3"));
}

#[test]
fn all_other_lines_stay_byte_for_byte() {
    let whole = "user www-data; # é\r\nhttp {\n\tserver_tokens off;\n\n\tupstream backend { # mine\n\t\tzone b 64k;\n\n\
                 \t\tleast_conn;\n\t\tserver 127.0.0.1:3000;\n\t\t# a note about \"it\";  \n\t\tkeepalive\n\t\t\t32;\n\t}\n\n\
                 \tserver { listen 1; location / { proxy_pass http://backend; } }\n}";
    let green = changed(whole, 1, None);
    let is_managed = |line: &&str| {
        let text = line.trim_start_matches(['\t', '#', ' ']);
        ["server 127", "blue", "green", "Written by", "It follows"]
            .iter()
            .any(|start| text.starts_with(start))
    };
    let kept = |text: &str| text.split_inclusive('\n').filter(|line| !is_managed(line)).collect::<String>();
    assert_eq!(kept(&green), kept(whole));
    assert!(green.contains("\t# Written by cutover; slot green is active, generation 1.\n"), "{green}");
    let managed = "# blue\n\t\t# server 127.0.0.1:3000;\n\t\t# green (active)\n\t\tserver 127.0.0.1:3001;";
    assert!(green.contains(&format!("least_conn;\n\t\t{managed}\n\t\t# a note")), "{green}");
    parse(&green).unwrap();
}

#[test]
fn lines_with_carriage_returns_stay_so() {
    let windows = PLAIN.replace('\n', "\r\n");
    let green = changed(&windows, 1, None);
    assert_eq!(green.matches('\n').count(), green.matches("\r\n").count());
    assert_eq!(parse(&green).unwrap().route.active, 1);
}

#[test]
fn shares_are_weights() {
    for (percent, weights) in [(10.0, (9, 1)), (50.0, (1, 1)), (0.01, (9999, 1)), (12.5, (7, 1))] {
        let split = changed(BLUE, 0, Some((1, percent)));
        assert!(split.contains(&format!("server 127.0.0.1:3000 weight={};", weights.0)), "{split}");
        assert!(split.contains(&format!("server 127.0.0.1:3001 weight={};", weights.1)), "{split}");
        let file = parse(&split).unwrap();
        assert_eq!(file.route.second, Some((1, Percent::try_from(percent).unwrap())), "{split}");
        assert!(changed(&split, 1, None).contains("# blue\n    # server 127.0.0.1:3000;"));
    }
    let split = changed(BLUE, 0, Some((1, 10.0)));
    assert!(split.contains("slot blue is active with 90 %, green has 10 %, generation 2."), "{split}");
    assert!(split.contains("# blue (active, 90 %)") && split.contains("# green (10 %)"), "{split}");
}

#[test]
fn weights_balance_different_numbers_of_servers() {
    let mut group = group();
    group.slots[1].servers.push(Server::parse("127.0.0.1:3002").unwrap());
    let route = FileRoute { active: 0, second: Some((1, Percent::try_from(20.0).unwrap())), generation: 1 };
    // 8 of 10 for the one server, 1 of 10 for each of the two.
    assert_eq!(weights(&route, &group), Some((8, 1)));
}

#[test]
fn an_edit_of_other_lines_is_welcome() {
    for edited in [
        BLUE.replace("keepalive 32", "keepalive 64"),
        BLUE.replace("    keepalive 32;\n", ""),
        BLUE.replace("    # blue", "    zone backend 64k;\n    # blue"),
        format!("# mine\n{BLUE}server {{ listen 1; }}\n"),
    ] {
        assert_eq!(parse(&edited).unwrap().route.generation, 1, "{edited}");
        assert_ne!(revision(edited.as_bytes()), revision(BLUE.as_bytes()));
    }
}

#[test]
fn an_edit_of_a_server_is_shown_as_a_difference() {
    for (edited, said) in [
        (BLUE.replace("server 127.0.0.1:3000", "server 127.0.0.1:3009"), "-    server 127.0.0.1:3009;"),
        (BLUE.replace("# server", "server"), "-    server 127.0.0.1:3001;\n+    # server 127.0.0.1:3001;"),
        (BLUE.replace("3000;", "3000 max_fails=3;"), "-    server 127.0.0.1:3000 max_fails=3;"),
        (BLUE.replace("blue (active)", "blue"), "-    # blue\n+    # blue (active)"),
        (BLUE.replace("slot blue", "slot green"), "+    # green (active)"),
        (BLUE.replace("    # green\n", "    # green\n    # mine\n"), "-    # mine"),
    ] {
        let error = parse(&edited).unwrap_err();
        assert!(
            error.contains(said) && error.contains("undo the edit, or delete its line"),
            "{edited}: {error}"
        );
    }
}

#[test]
fn the_way_out_of_an_edit_is_to_delete_the_first_line() {
    let edited = BLUE
        .replace("server 127.0.0.1:3000", "# server 127.0.0.1:3000")
        .replace("# server 127.0.0.1:3001", "server 127.0.0.1:3001");
    assert!(parse(&edited).is_err());
    let without = edited.replace("# Written by cutover; slot blue is active, generation 1.\n", "");
    assert_eq!(parse(&without).unwrap().route, FileRoute { active: 1, second: None, generation: 0 });
}

#[test]
fn files_that_stand_for_no_route_say_why() {
    for (text, said) in [
        (PLAIN.replace("3000", "3009"), "its servers are not those of one slot"),
        (
            PLAIN.replace("    keepalive", "    server 127.0.0.1:3001;\n    keepalive"),
            "it has servers of several slots",
        ),
        (
            PLAIN.replace("    keepalive", "    server 127.0.0.1:3000;\n    keepalive"),
            "its servers are not those of one slot",
        ),
        (PLAIN.replace("3000;", "3000; # main"), "line 2: \"server ..;\" must be alone on its line"),
        (PLAIN.replace("backend", "other"), "it has no block \"upstream backend { .. }\""),
        (
            BLUE.replace("slot blue is", "slot red is"),
            "fits no route of group \"shop\", which has the slots \"blue\" and \"green\"",
        ),
        (BLUE.replace("generation 1.", "generation x."), "fits no route"),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(error.contains(said), "{text}: {error}");
    }
    assert!(
        UpstreamFile::parse(b"upstream backend {\n # \xff\n}\n", &group()).unwrap_err().contains("not UTF-8")
    );
}

#[test]
fn a_reason_stays_on_its_line() {
    let file = parse(PLAIN).unwrap();
    let cause = Cause { follows: Some(Revision::new("1")), reason: Some("a\n}\tb".to_owned()) };
    let text = file.render(&FileRoute { active: 1, second: None, generation: 1 }, &cause, &group());
    assert!(text.contains("# It follows 1: a } b\n"), "{text}");
    parse(&text).unwrap();
}
