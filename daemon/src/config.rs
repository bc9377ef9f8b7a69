//! The configuration file: TOML, parsed into types that cannot be wrong.
//!
//! What a value must look like is checked while it is read, so an error points at the line in the file. Unknown keys are
//! errors: a misspelt limit would otherwise be no limit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

mod group;
mod value;

pub use group::{Command, Drain, Group, Probe, Smoke, SmokeKind, SmokeRequest, Soak};
pub use value::{AdminAddress, Argv, Count, Duration, GroupName, Loopback, MAX_STRING, Mode, Ratio, UrlPath};

/// Where the configuration is unless `--config` or `CUTOVER_CONFIG` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/cutover/cutover.toml";

/// Where the control socket is unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/cutover/cutover.sock";

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[daemon]`
    #[serde(default)]
    pub daemon: Daemon,
    /// `[nginx]`
    pub nginx: Nginx,
    /// `[group.NAME]`
    #[serde(default)]
    pub group: BTreeMap<GroupName, Group>,
}

/// `[daemon]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Daemon {
    /// The control API's unix socket.
    pub socket: PathBuf,
    /// Its mode.
    pub socket_mode: Mode,
    /// Folder for the journal and the output of commands.
    pub state: PathBuf,
    /// Where Prometheus may read metrics; absent: nowhere.
    pub metrics: Option<Loopback>,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            socket: DEFAULT_SOCKET.into(),
            socket_mode: Mode::OWNER,
            state: "/var/lib/cutover-daemon".into(),
            metrics: None,
        }
    }
}

/// `[nginx]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nginx {
    /// Where the module's admin API listens.
    pub admin: AdminAddress,
    /// The file with the token that the module asks for over TCP.
    #[serde(default, deserialize_with = "value::absolute")]
    pub token_file: Option<PathBuf>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("failed to parse the configuration {}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, key and what is right.
        source: Box<toml::de::Error>,
    },
}

impl Config {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })
    }

    /// Parses the text of a file.
    pub fn parse(text: &str) -> Result<Self, Box<toml::de::Error>> {
        toml::from_str(text).map_err(Box::new)
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.group.get(name)
    }
}

#[cfg(test)]
mod tests {
    use std::time;

    use super::*;

    const WHOLE: &str = r#"
        [daemon]
        socket = "/tmp/c.sock"
        socket_mode = "0660"
        state = "/tmp/state"
        metrics = "127.0.0.1:9119"
        [nginx]
        admin = "unix:/run/cutover/nginx.sock"
        [group.shop]
        warm = "1h"
        env = { DATABASE_URL = "sqlite:shop" }
        host = "shop.example"
        [group.shop.migrate]
        command = ["/bin/migrate", "up"]
        timeout = "5m"
        cwd = "/srv"
        [group.shop.revert]
        command = ["/bin/migrate", "down"]
        [group.shop.provision]
        command = ["/bin/start"]
        [group.shop.decommission]
        command = ["/bin/stop"]
        [group.shop.probe]
        path = "/health/ready"
        interval = "1s"
        timeout = "2s"
        healthy = 2
        unhealthy = 3
        deadline = "60s"
        require = "80%"
        [[group.shop.smoke]]
        name = "catalogue answers"
        path = "/products"
        headers = { accept = "application/json" }
        expect = { status = 200, headers = { content-type = "application/json" }, body_contains = "tea", json = { "/0/name" = "tea", "/0/price" = 3 } }
        [[group.shop.smoke]]
        name = "external script"
        command = ["/bin/smoke"]
        timeout = "60s"
        [group.shop.soak]
        duration = "60s"
        interval = "1s"
        min_requests = 50
        max_error_ratio = 0.01
        max_failed_attempts_ratio = 0.05
        inconclusive = "rollback"
        [group.shop.drain]
        deadline = "30s"
    "#;

    #[test]
    fn a_whole_file() {
        let config = Config::parse(WHOLE).unwrap();
        let shop = config.group("shop").unwrap();
        assert_eq!(config.daemon.socket_mode.bits(), 0o660);
        assert_eq!(shop.warm.get(), time::Duration::from_secs(3600));
        assert_eq!(shop.smoke.len(), 2);
        assert!(matches!(shop.smoke[1].kind(), SmokeKind::Command(_)));
        assert_eq!(shop.migrate.as_ref().unwrap().timeout.get(), time::Duration::from_secs(300));
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let text = "[nginx]\nadmin = \"http://127.0.0.1:8081\"\n[group.shop]\n";
        let config = Config::parse(text).unwrap();
        let shop = config.group("shop").unwrap();
        assert_eq!(config.daemon.socket_mode.bits(), 0o600);
        assert_eq!(shop.probe.path.as_str(), "/health/ready");
        assert_eq!(shop.probe.thresholds().healthy, 2);
        assert_eq!(shop.soak.limits(shop.probe.require).min_requests, 50);
        assert!(!shop.soak.accepts_inconclusive());
    }

    #[test]
    fn a_group_survives_the_journal() {
        let config = Config::parse(WHOLE).unwrap();
        let shop = config.group("shop").unwrap();
        let json = serde_json::to_string(shop).unwrap();
        let back: Group = serde_json::from_str(&json).unwrap();
        assert_eq!(&back, shop);
    }

    #[test]
    fn what_no_command_can_be_given() {
        for (room, said) in [(1, None), (0, Some("131072"))] {
            let word = "x".repeat(MAX_STRING - room);
            let value = "x".repeat(MAX_STRING - room - "A=".len());
            for text in [
                format!("[group.shop]\nenv = {{ A = \"{value}\" }}\n"),
                format!("[group.shop.migrate]\ncommand = [\"/bin/true\", \"{word}\"]\n"),
            ] {
                let parsed = Config::parse(&format!("[nginx]\nadmin = \"unix:/a\"\n{text}"));
                let error = parsed.err().map(|error| error.message().to_owned());
                assert_eq!(error.is_some(), said.is_some(), "{error:?}");
                assert!(error.is_none_or(|error| error.contains(said.unwrap()) && error.len() < 200));
            }
        }
    }

    #[test]
    fn errors_quote_the_value_and_say_what_is_right() {
        let minimal = "[nginx]\nadmin = \"unix:/a\"\n";
        for (wrong, said) in [
            ("[daemon]\nsockt = \"/a\"\n", "unknown field `sockt`, expected one of `socket`"),
            ("[daemon]\nsocket_mode = \"abc\"\n", "\"abc\" is not a mode, as in \"0600\""),
            ("[daemon]\nmetrics = \"0.0.0.0:9119\"\n", "\"0.0.0.0:9119\" is not a loopback address"),
            ("[group.shop]\nwarm = \"1 parsec\"\n", "\"1 parsec\" is not a duration, as in \"30s\""),
            ("[group.\"sh/op\"]\n", "group \"sh/op\" must be UTF-8 without control characters and"),
            (
                "[group.shop.revert]\ncommand = [\"/r\"]\nnothing_applied = 10\n",
                "\"nothing_applied\" goes with migrate only",
            ),
            ("[group.shop.migrate]\ncommand = []\n", "a command needs at least a program"),
            ("[group.shop.migrate]\ncommand = [\"migrate\"]\n", "\"migrate\" is not an absolute path"),
            ("[group.shop.probe]\npath = \"health\"\n", "\"health\" does not begin with \"/\""),
            ("[group.shop.probe]\ninterval = \"0s\"\n", "\"0s\" is too short"),
            ("[group.shop.probe]\nhealthy = 0\n", "0 is not a number from 1"),
            ("[group.shop.probe]\nrequire = \"most\"\n", "\"most\" is not how many servers must be healthy"),
            ("[group.shop.soak]\nmax_error_ratio = 1.5\n", "1.5 is not a ratio from 0 to 1"),
            ("[group.shop.soak]\nmin_requests = 0\n", "0 is not a number from 1"),
            ("[group.shop.soak]\ninconclusive = \"pass\"\n", "expected `rollback` or `complete`"),
            ("[[group.shop.smoke]]\nname = \"x\"\n", "smoke \"x\" needs a path or a command"),
            (
                "[[group.shop.smoke]]\nname = \"x\"\npath = \"/\"\ncommand = [\"/bin/x\"]\n",
                "smoke \"x\" has a command: \"path\" does not go with it",
            ),
            (
                "[[group.shop.smoke]]\nname = \"x\"\npath = \"/\"\nmethod = \"GE T\"\n",
                "\"GE T\" is not a method",
            ),
            (
                "[[group.shop.smoke]]\nname = \"x\"\npath = \"/\"\ntimeout = \"0s\"\n",
                "smoke \"x\": timeout \"0s\" is too short: at least \"1ms\"",
            ),
            (
                "[[group.shop.smoke]]\nname = \"x\"\npath = \"/\"\nexpect = { status = 600 }\n",
                "smoke \"x\": expect.status 600 is not a status from 100 to 599",
            ),
            (
                "[[group.shop.smoke]]\nname = \"x\"\npath = \"/\"\nexpect = { json = { name = 1 } }\n",
                "smoke \"x\": expect.json \"name\" is not a JSON pointer, as in \"/name\"",
            ),
            ("[group.shop]\nhost = \"\"\n", "host \"\" is not a host, as in \"shop.example\""),
            ("[group.shop]\nhost = \"a\\nb\"\n", "host \"a\\nb\" is not a host"),
            ("[group.shop]\nenv = { CUTOVER_SLOT = \"a\" }\n", "\"CUTOVER_SLOT\" is set by cutover"),
            ("[group.shop]\nenv = { \"A=B\" = \"a\" }\n", "\"A=B\" is not a variable's name"),
        ] {
            let error = Config::parse(&format!("{minimal}{wrong}")).unwrap_err().to_string();
            assert!(error.contains(said), "{wrong}: {error}");
        }
        for (wrong, said) in [
            ("[nginx]\nadmin = \"/run/nginx.sock\"\n", "\"/run/nginx.sock\" is neither \"unix:/PATH\" nor"),
            ("[nginx]\nadmin = \"http://10.0.0.1:80\"\n", "not a loopback address"),
            ("[nginx]\n", "missing field `admin`"),
            (
                "[nginx]\nadmin = \"unix:/a\"\ntoken_file = \"token\"\n",
                "\"token\" is not an absolute path, as in \"/etc/nginx/cutover.token\"",
            ),
        ] {
            let error = Config::parse(wrong).unwrap_err().to_string();
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }
}
