//! Stock nginx and the daemon with an edge of kind "file". The slots are backends in the test process.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::daemon::{Daemon, Deployed};
use crate::load::{Load, Plan};
use crate::nginx::{Builder, Nginx};
use crate::{Backend, SlotOracle};

/// The tables of group `shop`: a short soak, and a long warm window.
pub const GROUP: &str = r#"
    [group.shop]
    warm = "1h"
    retry_after = "0s"
    [group.shop.probe]
    interval = "50ms"
    deadline = "3s"
    [group.shop.soak]
    duration = "500ms"
    interval = "50ms"
    min_requests = 5
    [group.shop.drain]
    deadline = "10s"
"#;

/// The format of the access log that the documentation gives.
pub const LOG_FORMAT: &str = "log_format cutover '$upstream_addr $status $request_time $upstream_header_time \
                              $upstream_response_time $upstream_status';";

/// The servers of nginx: users connect to `%%listen:main%%`.
pub const HTTP: &str = "
    include %%prefix%%/conf.d/*.conf;
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    server {
        listen %%listen:main%%;
        location / { proxy_pass http://backend; }
        location /socket {
            proxy_pass http://backend;
            proxy_set_header Connection upgrade;
            proxy_set_header Upgrade $http_upgrade;
        }
    }
";

/// [`HTTP`] with an access log of this format.
pub fn http_with_log(format: &str) -> String {
    let listen = "listen %%listen:main%%;";
    format!(
        "{format}\n{}",
        HTTP.replace(listen, &format!("{listen} access_log %%prefix%%/access.log cutover;"))
    )
}

/// The settings that differ between hosts. Texts may hold `%%folder%%`.
#[derive(Clone, Debug)]
pub struct FileSettings {
    /// The content of `http { }`.
    pub http: String,
    /// More keys of the edge. They come before its groups.
    pub keys: String,
    /// The tables of the groups.
    pub groups: String,
    /// The command that reloads nginx. `None`: `nginx -s reload`.
    pub reload: Option<String>,
    /// The upstream file. `%%blue%%` stands for the server of slot `blue`.
    pub file: String,
    /// The folder of the upstream file. `None`: `conf.d` below the prefix.
    pub folder: Option<PathBuf>,
}

impl Default for FileSettings {
    fn default() -> Self {
        Self {
            http: HTTP.to_owned(),
            keys: String::new(),
            groups: GROUP.to_owned(),
            reload: None,
            file: "upstream backend {\n    server %%blue%%;\n    keepalive 32;\n}\n".to_owned(),
            folder: None,
        }
    }
}

/// nginx without the module, the daemon, and two backends. All end on drop.
#[derive(Debug)]
pub struct FileHost {
    /// The daemon.
    pub daemon: Daemon,
    /// The nginx.
    pub nginx: Nginx,
    /// The server of slot `blue`, which has the traffic.
    pub blue: Backend,
    /// The server of slot `green`.
    pub green: Backend,
    folder: PathBuf,
}

impl FileSettings {
    /// The same with the access log that the documentation describes.
    pub fn with_log() -> Self {
        let keys = "log = \"%%folder%%/access.log\"".to_owned();
        Self { http: http_with_log(LOG_FORMAT), keys, ..Self::default() }
    }
}

impl FileHost {
    /// Starts all of them.
    pub async fn start(settings: FileSettings) -> Result<Self> {
        Self::start_with(settings, Nginx::builder().without_module()).await
    }

    /// Starts all of them, with an nginx that the builder describes.
    pub async fn start_with(settings: FileSettings, nginx: Builder) -> Result<Self> {
        let (blue, green) = (Backend::start("blue").await?, Backend::start("green").await?);
        let addresses = [("%%blue%%", blue.address()), ("%%green%%", green.address())];
        let filled = |text: &str| {
            addresses
                .iter()
                .fold(text.to_owned(), |text, (name, address)| text.replace(name, &address.to_string()))
        };
        let nginx =
            nginx.set("blue", blue.address()).set("green", green.address()).http(&settings.http).build()?;
        let folder = settings.folder.clone().unwrap_or_else(|| nginx.prefix().join("conf.d"));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("backend.conf"), filled(&settings.file))?;
        nginx.start().await?;
        let edge = filled(&edge(&nginx, &settings, &folder)?);
        let daemon = Daemon::start_with(nginx.prefix(), &edge, &settings.groups).await?;
        Ok(Self { daemon, nginx, blue, green, folder })
    }

    /// The upstream file.
    pub fn file(&self) -> PathBuf {
        self.folder.join("backend.conf")
    }

    /// The text of the upstream file.
    pub fn text(&self) -> Result<String> {
        fs::read_to_string(self.file()).context("failed to read the upstream file")
    }

    /// The names in the folder of the upstream file, apart from the room that is set aside.
    pub fn files(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.retain(|name| !name.ends_with("-spare"));
        names.sort();
        Ok(names)
    }

    /// Deploys a version and waits for the end.
    pub async fn deploy(&self, version: &str) -> Result<Deployed> {
        self.daemon.deploy("shop", version).await
    }

    /// The slot that has the traffic, as the daemon says.
    pub fn active(&self) -> Result<String> {
        let status = self.daemon.status("shop")?;
        let active = status.get("active").and_then(|active| active.as_str());
        active.map(str::to_owned).with_context(|| format!("no active slot: {status}"))
    }

    /// A file or folder below the prefix of nginx.
    pub fn path(&self, name: &str) -> PathBuf {
        self.nginx.prefix().join(name)
    }

    /// A load of GETs for `/`. Both slots may answer: a reload is not exact.
    pub fn load(&self) -> Result<Load> {
        let oracle = SlotOracle::new("blue");
        oracle.observe(&["blue", "green"], std::time::Instant::now());
        Ok(Load::start(Plan::new(self.nginx.address("main")?), &oracle))
    }

    /// Sends one GET for `/` on a new connection, and returns the slot that has answered.
    pub async fn answering(&self) -> Result<String> {
        let answer = crate::client::get(self.nginx.address("main")?, "/").await?;
        Ok(answer.slot().to_owned())
    }
}

/// The keys of `[edge.nginx]` and its group.
fn edge(nginx: &Nginx, settings: &FileSettings, folder: &Path) -> Result<String> {
    let reload = match &settings.reload {
        Some(reload) => reload.clone(),
        None => nginx.command_line(&["-s", "reload"])?,
    };
    let prefix: &Path = nginx.prefix();
    Ok(format!(
        "kind = \"file\"
        test = {test}
        reload = {reload}
        pid = \"{prefix}/nginx.pid\"
        {keys}
        [edge.nginx.group.shop]
        file = \"{folder}/backend.conf\"
        upstream = \"backend\"
        slots = {{ blue = [\"%%blue%%\"], green = [\"%%green%%\"] }}",
        test = nginx.command_line(&["-t"])?,
        prefix = prefix.display(),
        folder = folder.display(),
        keys = settings.keys,
    ))
}
