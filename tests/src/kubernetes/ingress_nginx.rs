//! The real controller ingress-nginx 1.11.0 with Debian's nginx and the module, in the place of its image.
//!
//! ```text
//! a folder as root, in mount and process namespaces of its own
//! /nginx-ingress-controller                 built from its sources
//! /etc/nginx/{lua,nginx.conf,template}      of its sources; the template without `stream`, for which Debian has no Lua module
//! /etc/nginx/lua/resty                      ours: tests/kubernetes/lua stands in for libraries that Debian does not have
//! /modules_mount/cutover/{ngx_http_cutover_module.so,token,state}
//! ```
//!
//! Weights, consistent hashing and the details of cookies are those of the stand-ins, and musl and the patches of the image's nginx
//! are not covered.

mod image;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::task::JoinHandle;

use super::NODE;
use super::control_plane::flag;
use super::machine::Server;
use super::namespace::Namespace;
use super::patience::PATIENCE;
use crate::client::{self, Answer, Client};
use crate::nginx::log::complaints;
use crate::process::{self, Pid, Signal};
use crate::{Admin, ports, wait};

/// The token of the module's admin API.
pub const TOKEN: &str = "token-of-the-controller";

/// The modules of Debian that the controller's configuration needs, in the order that nginx wants.
const DEBIAN_MODULES: [&str; 3] =
    ["ndk_http_module.so", "ngx_http_lua_module.so", "ngx_http_headers_more_filter_module.so"];

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A controller that watches one namespace. Drop kills it and its nginx.
#[derive(Debug)]
pub struct IngressNginx {
    class: String,
    root: PathBuf,
    http: SocketAddr,
    admin: SocketAddr,
    status: SocketAddr,
    server: Server,
    /// Takes what the controller sends to the part of nginx that is not there.
    sink: JoinHandle<()>,
}

/// The part of the controller's ConfigMap that is about the module.
#[derive(Clone, Debug)]
pub struct Snippets {
    /// What the module needs in `http`, such as `cutover shop { .. }`. The state file and the admin API are there already.
    pub http: String,
    /// What it needs in each location.
    pub location: String,
}

impl Snippets {
    /// A group `shop` over the backends that ingress-nginx has for the Services `shop`, `shop-blue` and `shop-green`.
    pub fn of_shop(namespace: &Namespace<'_>) -> Self {
        let backend = |service: &str| format!("{}-{service}-http", namespace.name());
        Self {
            http: format!(
                "cutover shop {{ backend {}; slot blue {}; slot green {}; active blue; }}",
                backend("shop"),
                backend("shop-blue"),
                backend("shop-green")
            ),
            location: "set $proxy_upstream_name $cutover_upstream;".to_owned(),
        }
    }
}

impl IngressNginx {
    /// Starts a controller for the Ingresses of this namespace. Returns when its nginx serves them.
    pub async fn start(namespace: &Namespace<'_>, snippets: &Snippets) -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Unique on this machine: it leads to the process.
        let class = format!("nginx-{}-{number}", std::process::id());
        let admin = ports::free()?;
        let machine = namespace.cluster().machine();
        let root = machine.folder().join(&class);
        image::build(&root, machine.folder())?;
        apply_objects(namespace, &class, &config(admin, snippets)).await?;

        let [http, https, healthz, profiler, status, stream, default_server] =
            [(); 7].map(|()| ports::free());
        let (http, status, stream) = (http?, status?, stream?);
        let kubeconfig = namespace.kubectl().kubeconfig();
        let flags = [
            flag("kubeconfig", &kubeconfig.display().to_string()),
            flag("configmap", &format!("{}/{class}", namespace.name())),
            flag("watch-namespace", namespace.name()),
            flag("controller-class", &format!("k8s.io/{class}")),
            flag("ingress-class", &class),
            flag("http-port", &http.port().to_string()),
            flag("https-port", &https?.port().to_string()),
            flag("healthz-host", "127.0.0.1"),
            flag("healthz-port", &healthz?.port().to_string()),
            flag("profiler-port", &profiler?.port().to_string()),
            flag("status-port", &status.port().to_string()),
            flag("stream-port", &stream.port().to_string()),
            flag("default-server-port", &default_server?.port().to_string()),
            flag("update-status", "false"),
            flag("disable-leader-election", "true"),
            flag("enable-metrics", "false"),
            flag("post-shutdown-grace-period", "0"),
        ];
        let (program, arguments) = image::command(&root, machine.folder(), namespace.name(), &class, &flags);
        let server = machine.start(&class, &program, &arguments)?;
        // The controller refuses to start while its port is taken, and sends to it later.
        until_logged(&server, "Starting NGINX process").await?;
        let sink = tokio::spawn(swallow(ports::listen(stream).await?));
        let started = Self { class, root, http, admin, status, server, sink };
        until_logged(&started.server, "Backend successfully reloaded").await?;
        Ok(started)
    }

    /// The class of its Ingresses.
    pub fn class(&self) -> &str {
        &self.class
    }

    /// Where it serves Ingresses.
    pub fn address(&self) -> SocketAddr {
        self.http
    }

    /// Where the module's admin API listens, with [`TOKEN`].
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where the controller tells its backends.
    pub fn status(&self) -> SocketAddr {
        self.status
    }

    /// The folder that is `/modules_mount` for the controller.
    pub fn modules_mount(&self) -> PathBuf {
        self.root.join("modules_mount")
    }

    /// The backends that nginx's workers know, by name.
    pub async fn backends(&self) -> Result<serde_json::Value> {
        let answer = client::get(self.status, "/configuration/backends").await?;
        ensure!(answer.status == 200, "status {}", answer.status);
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// A client of the module's admin API.
    pub fn api(&self) -> Admin {
        Admin::with_token(self.admin, TOKEN)
    }

    /// A call of the module's admin API.
    pub async fn call(&self, method: &str, target: &str, body: &str) -> Result<Answer> {
        let token = format!("Bearer {TOKEN}");
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        Client::connect(self.admin).await?.request_with(method, target, &headers, body).await
    }

    /// A request for a host.
    pub async fn get(&self, host: &str, target: &str) -> Result<Answer> {
        Client::connect(self.http).await?.request("GET", target, &[("host", host)]).await
    }

    /// nginx's error log.
    pub fn error_log(&self) -> String {
        fs::read_to_string(self.root.join("var/log/nginx/error.log")).unwrap_or_default()
    }

    /// What the controller has printed.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// The controller's process.
    pub fn controller(&self) -> Result<Pid> {
        let found =
            process::mentioning(&["nginx-ingress-c"], &PathBuf::from(format!("k8s.io/{}", self.class)));
        found.first().copied().context("the controller does not run")
    }

    /// Stops the controller and its nginx as Kubernetes does, and checks nginx's error log.
    pub async fn stop(mut self) -> Result<()> {
        process::signal(self.controller()?, Signal::TERM)?;
        let ended = wait::until_within(PATIENCE, "the end of the controller", || !self.server.runs()).await;
        ended.with_context(|| self.server.log_tail())?;
        self.server.kill();
        let wrong = complaints(&self.error_log(), &[]);
        ensure!(wrong.is_empty(), "nginx's error log: {wrong:#?}");
        Ok(())
    }
}

impl Drop for IngressNginx {
    fn drop(&mut self) {
        self.sink.abort();
        if std::thread::panicking() {
            eprintln!("{}\nnginx's error log:\n{}", self.server.log_tail(), self.error_log());
        }
    }
}

/// The ConfigMap's entries.
fn config(admin: SocketAddr, snippets: &Snippets) -> serde_json::Value {
    let mut modules = String::new();
    for module in DEBIAN_MODULES {
        modules.push_str(&format!("load_module {}/{module};\n", image::DEBIAN_MODULES));
    }
    json!({
        "main-snippet": format!("{modules}load_module {}/ngx_http_cutover_module.so;\n", image::MODULE),
        "http-snippet": format!(
            "cutover_state {folder}/state;\n{}\nserver {{ listen {admin}; access_log off; \
             location / {{ cutover_api write=on token_file={folder}/token; }} }}\n",
            snippets.http,
            folder = image::MODULE,
        ),
        "location-snippet": snippets.location,
        // Debian's nginx 1.22 does not have the directive yet.
        "use-http2": "false",
        "worker-processes": "2",
    })
}

/// The class, the ConfigMap, and the pod that the controller takes itself for.
async fn apply_objects(namespace: &Namespace<'_>, class: &str, config: &serde_json::Value) -> Result<()> {
    let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": { "name": class },
            "spec": { "controller": format!("k8s.io/{class}") },
        },
        { "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": class }, "data": config },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": class, "labels": { "app": class } },
            "spec": { "nodeName": NODE, "containers": [{ "name": "controller", "image": "controller" }] },
        },
    ] });
    namespace.kubectl().apply(&objects.to_string()).await
}

async fn until_logged(server: &Server, text: &str) -> Result<()> {
    let what = format!("the controller to log {text:?}");
    wait::until_within(PATIENCE, &what, || server.log().contains(text) || !server.runs())
        .await
        .with_context(|| server.log_tail())?;
    ensure!(server.runs(), "the controller has ended: {}", server.log_tail());
    Ok(())
}

async fn swallow(listener: tokio::net::TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
}

/// Gives a file or folder to the user of the controller.
fn own(path: &Path) -> Result<()> {
    crate::postgres::own(path, image::USER)
}
