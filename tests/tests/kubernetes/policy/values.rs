//! Values of a policy: right ones in all their forms, and wrong ones.

use serde_json::{Value, json};

/// Keys of one kind, right values, and wrong ones.
pub(super) type Kind = (Vec<&'static str>, Vec<Value>, Vec<Value>);

fn values<T: Into<Value>>(all: impl IntoIterator<Item = T>) -> Vec<Value> {
    all.into_iter().map(Into::into).collect()
}

const DURATIONS: [&str; 32] = [
    "1s",
    "500ms",
    "90s",
    "1m",
    "2min",
    "3mins",
    "1minute",
    "5minutes",
    "1h",
    "1hr",
    "2hrs",
    "1hour",
    "2hours",
    "1d",
    "1day",
    "2days",
    "1h 30m",
    "1h30m",
    " 5 s ",
    "1.5h",
    "2 s",
    "1sec",
    "2secs",
    "1second",
    "2seconds",
    "100millis",
    "7msec",
    "5000000ns",
    "6000us",
    "7000µs",
    "1d 2h 3m 4s 5ms",
    "0.5s",
];

const BAD_DURATIONS: [&str; 9] = ["", "soon", "5", "-1s", "5 parsecs", "s", "1h-2m", "1,5h", "1.s"];

/// Each kind of value, with all keys that have it.
pub(super) fn by_kind() -> Vec<Kind> {
    let bad_texts = || [json!(3), json!(true), json!(["1s"]), json!({ "s": 1 })];
    let durations = || values(DURATIONS);
    let bad_durations = || values(BAD_DURATIONS).into_iter().chain(bad_texts()).collect::<Vec<_>>();
    let count = || values([1, 7, 200]);
    let bad_count =
        || vec![json!(0), json!(-1), json!(1.5), json!("2"), json!(4_294_967_296_u64), json!(true)];
    let ratio = || vec![json!(0), json!(1), json!(0.01), json!(1.0)];
    let bad_ratio = || vec![json!(-0.1), json!(1.1), json!("0.1"), json!(100), json!(false)];
    let path = || values(["/", "/health?deep=1", "/{slot}/{version}"]);
    let bad_path = || vec![json!("health"), json!(""), json!(1), json!(["/"])];
    let map = || vec![json!({}), json!({ "x-a": "1" })];
    let bad_map = || vec![json!({ "x-a": 1 }), json!("x"), json!([])];
    let expect = || {
        vec![
            json!({}),
            json!({ "status": 200, "headers": { "a": "b" }, "body_contains": "x", "json": { "/a": null, "/b": [1] } }),
        ]
    };
    let switch = || vec![json!(true), json!(false)];
    let bad_switch = || vec![json!("true"), json!(1), json!({})];
    vec![
        (
            vec![
                "soak.duration",
                "soak.interval",
                "soak.patience",
                "soak.baseline",
                "soak.extend_limit",
                "soak.synthetic.interval",
                "soak.synthetic.timeout",
                "soak.signals.p99.max",
                "probe.interval",
                "probe.timeout",
                "probe.deadline",
                "smoke.0.timeout",
                "drain.deadline",
                "warm.duration",
                "retry_after",
                "warmup.deadline",
                "warmup.until_p99",
            ],
            durations(),
            bad_durations(),
        ),
        (
            vec!["signal.0.window", "signal.0.for", "signal.0.interval", "signal.0.timeout"],
            values(DURATIONS.into_iter().filter(|text| !text.contains('d'))),
            bad_durations(),
        ),
        (
            vec!["warm"],
            durations().into_iter().chain([json!("0"), json!({}), json!({ "on_bad": "alert" })]).collect(),
            values(BAD_DURATIONS),
        ),
        (vec!["warm.on_bad"], values(["alert", "rollback"]), vec![json!("panic"), json!(true)]),
        (
            vec![
                "probe.healthy",
                "probe.unhealthy",
                "soak.min_requests",
                "soak.min_bad",
                "warmup.requests",
                "warmup.concurrency",
                "trial.guard.min_requests",
            ],
            count(),
            bad_count(),
        ),
        (vec!["warmup.concurrency"], values([1, 256]), values([257])),
        (
            vec![
                "soak.max_error_ratio",
                "soak.max_failed_attempts_ratio",
                "soak.alpha",
                "soak.signals.errors.max",
                "trial.guard.max_error_ratio",
            ],
            ratio(),
            bad_ratio(),
        ),
        (
            vec!["soak.tolerance"],
            vec![json!(1.0), json!(1.5), json!(100.0)],
            vec![json!(0.9), json!(101), json!("1.5")],
        ),
        (
            vec!["probe.path", "smoke.0.path", "soak.synthetic.path"],
            path()
                .into_iter()
                .filter(|path| !path.as_str().is_some_and(|path| path.contains("version")))
                .collect(),
            bad_path(),
        ),
        (vec!["smoke.0.path", "soak.synthetic.path"], path(), vec![]),
        (vec!["warmup.paths"], vec![json!(["/"]), json!(["/a", "/{slot}"])], vec![json!([]), json!("/")]),
        (
            vec!["probe.headers", "smoke.0.headers", "soak.synthetic.headers", "signal.0.headers"],
            map(),
            bad_map(),
        ),
        (
            vec!["probe.expect", "smoke.0.expect", "soak.synthetic.expect"],
            expect(),
            vec![json!("200"), json!(true)],
        ),
        (
            vec!["probe.expect.status", "smoke.0.expect.status", "soak.synthetic.expect.status"],
            vec![json!(200), json!("200-299"), json!("204"), json!([200, "300 - 399"]), json!([404])],
            vec![json!(99), json!(600), json!("2xx"), json!("200-700"), json!([]), json!(1000)],
        ),
        (
            vec!["probe.method", "smoke.0.method"],
            values(["GET", "HEAD", "M-SEARCH"]),
            vec![json!(""), json!("G ET"), json!(1)],
        ),
        (
            vec!["probe.port", "smoke.0.port"],
            vec![json!(1), json!(9001), json!(65535), json!({ "blue": 9001, "green": 9002 })],
            vec![json!(0), json!(65536), json!({})],
        ),
        (
            vec!["probe.through", "smoke.0.through"],
            vec![
                json!("http://127.0.0.1:8081"),
                json!("https://nginx"),
                json!({ "blue": "http://a:1", "green": "HTTP://b:2" }),
            ],
            vec![json!("nginx:80"), json!("ftp://a"), json!({})],
        ),
        (
            vec!["probe.tls", "smoke.0.tls"],
            vec![
                json!({}),
                json!({ "ca": "/ca.pem", "sni": "a.b", "client_cert": "/c", "client_key": "/k" }),
                json!({ "insecure": true }),
            ],
            vec![json!(true), json!("on")],
        ),
        (vec!["probe.tls.ca", "smoke.0.tls.ca"], values(["/etc/ca.pem"]), vec![json!("ca.pem"), json!(1)]),
        (vec!["probe.tls.sni", "smoke.0.tls.sni"], values(["shop.example"]), vec![json!(""), json!("a b")]),
        (
            vec!["probe.http2", "smoke.0.http2", "probe.tls.insecure", "soak.synthetic.smoke"],
            vec![json!(false)],
            bad_switch(),
        ),
        (vec!["probe.http2", "smoke.0.http2", "trial.rescue"], switch(), bad_switch()),
        (vec!["probe.kind", "smoke.0.kind"], values(["http", "tcp", "grpc"]), vec![json!("udp"), json!(1)]),
        (vec!["probe.service", "smoke.0.service"], values(["shop.Api"]), vec![json!(1)]),
        (
            vec!["probe.require"],
            values(["all", "majority", "one", "1%", "80%", "100%", "007%", "80 %"]),
            values(["most", "0%", "101%", "80", "", "+5%"]),
        ),
        (vec!["smoke.0.name"], values(["front page"]), vec![json!(""), json!(1)]),
        (
            vec!["smoke.0.capture"],
            vec![
                json!({}),
                json!({ "id": { "json": "/id" }, "at": { "header": "location" }, "no": { "regex": "id=([0-9]+)" } }),
            ],
            vec![json!([])],
        ),
        (
            vec!["smoke.0.capture.id"],
            vec![json!({ "json": "" })],
            vec![json!({}), json!({ "json": "/a", "header": "b" }), json!("x")],
        ),
        (
            vec!["capacity"],
            values(["100%", "50%", "33.33%", "0", "0%", "1e1%"]),
            vec![json!("50"), json!("half"), json!(""), json!("-1%"), json!(50), json!(1)],
        ),
        (
            vec!["steps"],
            vec![
                json!(["100%"]),
                json!(["1% 2m", "10% manual", "100%"]),
                json!(["0.01% 500ms", "100.0%"]),
                json!([" 5%  1h 30m ", " 100% "]),
                json!(["1% 1s", "1e1% 1s", "1e2%"]),
                json!(["+1% 1.5h", "+100%"]),
            ],
            vec![
                json!([]),
                json!("100%"),
                json!(["10% 5m"]),
                json!([100]),
                json!(["10 5m", "100%"]),
                json!(["10% soon", "100%"]),
                json!(["100% 5m"]),
            ],
        ),
        (vec!["host"], values(["shop.example", "*.shop:8080"]), vec![json!(""), json!("a b"), json!(1)]),
        (
            vec!["soak.on_inconclusive"],
            values(["extend", "rollback", "promote"]),
            vec![json!("wait"), json!(false)],
        ),
        (
            vec!["soak.signals.errors", "soak.signals.client_errors"],
            vec![json!(false), json!(true), json!({ "max": 0.1, "times": 2.0, "alone": 0.5 })],
            vec![json!({}), json!({ "times": 2.0 })],
        ),
        (
            vec!["soak.signals.p50", "soak.signals.whole_p95"],
            vec![json!(false), json!({ "max": "300ms", "times": 3.0 })],
            vec![json!({})],
        ),
        (vec!["soak.signals.p99.times"], vec![], vec![json!(0.5), json!(101), json!("2")]),
        (vec!["soak.signals.errors.times"], vec![], vec![json!(0.5), json!(101), json!("2")]),
        (vec!["signal.0.name", "signal.0.promql"], values(["up"]), vec![json!(""), json!(1)]),
        (
            vec!["signal.0.url"],
            values(["http://p:9090", "https://prometheus.example/behind"]),
            vec![json!("p:9090"), json!("ftp://p"), json!(1)],
        ),
        (vec!["signal.0.limit"], vec![json!(0), json!(-1.5), json!(1e9)], vec![json!("1"), json!(true)]),
        (vec!["signal.0.compare"], vec![], vec![json!("new"), json!(true)]),
        (vec!["signal.0.ca", "signal.0.token_file"], vec![], vec![json!("token"), json!(1)]),
        (vec!["trial.lease"], values(["off", "30s", "1m 30s"]), vec![json!("never"), json!(30), json!("")]),
        (vec!["trial.guard"], vec![json!(true), json!(false)], vec![]),
        (vec!["trial.guard.window"], values(["100ms", "10s", "1h"]), values(["soon", ""])),
    ]
}

/// What a rule over several keys refuses, and what it says.
pub(super) fn rules() -> Vec<(Value, &'static str)> {
    let smoke = |test: Value| json!({ "smoke": [test] });
    vec![
        (
            json!({ "steps": ["10% 5m", "50% 5m"] }),
            "the last step is \"100%\", and spec.policy.soak.duration says",
        ),
        (
            json!({ "smoke": [{ "name": "a", "path": "/" }], "soak": { "synthetic": { "smoke": true, "path": "/a" } } }),
            "the smoke tests say what is sent",
        ),
        (
            json!({ "probe": { "kind": "tcp", "path": "/" } }),
            "of kind tcp has no other keys of a check than port and tls",
        ),
        (
            smoke(json!({ "name": "a", "kind": "tcp", "headers": { "a": "b" } })),
            "of kind tcp has no other keys",
        ),
        (
            json!({ "probe": { "kind": "grpc", "path": "/" } }),
            "of kind grpc has no other keys of a check than service",
        ),
        (smoke(json!({ "name": "a", "service": "s", "expect": {} })), "of kind grpc has no other keys"),
        (smoke(json!({ "name": "a" })), "a smoke test needs a path"),
        (
            json!({ "probe": { "tls": { "client_cert": "/c" } } }),
            "client_cert and client_key belong together",
        ),
        (
            smoke(json!({ "name": "a", "path": "/", "tls": { "insecure": true, "ca": "/ca" } })),
            "so ca is not allowed",
        ),
    ]
}

/// A policy with as many keys as are allowed together.
pub(super) fn full() -> Value {
    let check = || {
        let headers = json!({ "a": "b" });
        json!({ "path": "/a", "method": "POST", "headers": headers, "body": "{}", "http2": true, "tls": { "sni": "a" } })
    };
    let mut probe = check();
    probe
        .as_object_mut()
        .unwrap()
        .extend([("interval".to_owned(), json!("1s")), ("require".to_owned(), json!("majority"))]);
    let mut smoke = check();
    smoke
        .as_object_mut()
        .unwrap()
        .extend([("name".to_owned(), json!("a")), ("timeout".to_owned(), json!("2s"))]);
    json!({
        "steps": ["1% 5m", "10% manual", "100%"], "warm": { "duration": "1h", "on_bad": "rollback" }, "retry_after": "0s",
        "host": "shop.example", "probe": probe, "capacity": "50%", "smoke": [smoke, { "name": "b", "kind": "tcp" }],
        "warmup": { "paths": ["/"], "requests": 10, "concurrency": 2, "until_p99": "100ms", "deadline": "5s" },
        "soak": {
            "duration": "10m", "min_requests": 5, "max_error_ratio": 0.1, "on_inconclusive": "extend", "extend_limit": "5m",
            "signals": { "errors": { "max": 0.1 }, "p99": { "max": "1s" }, "slower": false },
            "synthetic": { "path": "/b", "interval": "2s" },
        },
        "signal": [
            { "name": "a", "promql": "x{slot=\"{slot}\"}", "url": "https://p", "limit": 0.5, "window": "30s", "for": "5s",
              "compare": "old", "headers": { "a": "b" }, "token_file": "/t", "ca": "/ca" },
        ],
        "trial": { "lease": "off", "guard": { "min_requests": 5, "max_error_ratio": 0.5, "window": "3s" }, "rescue": false },
        "drain": { "deadline": "5s" },
    })
}
