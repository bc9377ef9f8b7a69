//! `store` of `[daemon]`, and the section `[daemon.etcd]`.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time;

use cutover_engine::policy::Duration;
use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use serde::{Deserialize, Deserializer, de};

use super::Config;
use crate::journal;

/// The time that the next leader needs after the end of a lease: to see that nobody leads, and to fence the routes.
pub const TAKEOVER: time::Duration = time::Duration::from_secs(5);
/// etcd makes no lease shorter than this with its usual settings.
const LEAST_TTL: u64 = 2;
const MOST_TTL: u64 = 60;

/// Where the journal is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// In the state folder, for one daemon.
    #[default]
    Sqlite,
    /// In etcd, for several daemons.
    Etcd,
}

/// `[daemon.etcd]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcdSection {
    /// The members, as `https://HOST:PORT`, or `http://ADDRESS:PORT` on loopback.
    #[serde(deserialize_with = "endpoints")]
    pub endpoints: Vec<String>,
    /// The beginning of all keys.
    #[serde(default = "prefix_default", deserialize_with = "prefix")]
    pub prefix: String,
    /// The user of etcd.
    pub user: Option<String>,
    /// The file with the password of the user.
    pub password_file: Option<PathBuf>,
    /// The certificates that sign those of the members.
    pub ca: Option<PathBuf>,
    /// The certificate of this daemon.
    pub client_cert: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
    /// How long a leader that dies blocks the next one.
    #[serde(default = "ttl_default", deserialize_with = "ttl")]
    pub ttl: Duration,
}

impl EtcdSection {
    /// The settings of the store. Reads the files. The error names the key.
    pub fn settings(&self) -> Result<journal::Settings, String> {
        let mut options = ConnectOptions::new();
        if let (Some(user), Some(file)) = (&self.user, &self.password_file) {
            let password = String::from_utf8(read("password_file", file)?)
                .map_err(|_| format!("daemon.etcd.password_file \"{}\" is not UTF-8", file.display()))?;
            options = options.with_user(user, password.trim_end_matches(['\r', '\n']));
        }
        if self.is_tls() {
            let mut tls = TlsOptions::new();
            if let Some(ca) = &self.ca {
                tls = tls.ca_certificate(Certificate::from_pem(read("ca", ca)?));
            }
            if let (Some(certificate), Some(key)) = (&self.client_cert, &self.client_key) {
                let certificate = read("client_cert", certificate)?;
                tls = tls.identity(Identity::from_pem(certificate, read("client_key", key)?));
            }
            options = options.with_tls(tls);
        }
        Ok(journal::Settings {
            endpoints: self.endpoints.clone(),
            prefix: self.prefix.clone(),
            ttl: self.ttl.get(),
            options,
        })
    }

    fn is_tls(&self) -> bool {
        self.endpoints.first().is_some_and(|endpoint| endpoint.starts_with("https://"))
    }

    /// What is wrong with the keys together.
    fn contradiction(&self) -> Option<String> {
        let pair = |one: (&str, bool), other: (&str, bool)| {
            let (there, missing) = if one.1 { (one.0, other.0) } else { (other.0, one.0) };
            (one.1 != other.1).then(|| format!("daemon.etcd.{there} needs daemon.etcd.{missing}"))
        };
        let files = [("ca", &self.ca), ("client_cert", &self.client_cert), ("client_key", &self.client_key)];
        let for_tls = files.iter().find(|(_, file)| file.is_some()).map(|(key, _)| *key);
        let plain = self.endpoints.iter().find(|endpoint| endpoint.starts_with("http://"));
        pair(("user", self.user.is_some()), ("password_file", self.password_file.is_some()))
            .or_else(|| {
                pair(("client_cert", self.client_cert.is_some()), ("client_key", self.client_key.is_some()))
            })
            .or_else(|| match (plain, for_tls) {
                (Some(endpoint), Some(key)) => Some(format!(
                    "daemon.etcd.{key} is for TLS, but daemon.etcd.endpoints has \"{endpoint}\": write \"https://..\""
                )),
                (Some(endpoint), None) if self.is_tls() => Some(format!(
                    "daemon.etcd.endpoints has \"{endpoint}\" beside \"https://..\": all need TLS, or none"
                )),
                (None, _) if self.ca.is_none() => Some(
                    "daemon.etcd.endpoints has \"https://..\", so daemon.etcd.ca must name the file with the certificates that \
                     sign those of the members"
                        .to_owned(),
                ),
                _ => None,
            })
    }
}

impl Config {
    /// The section of the store in etcd. `None` if the journal is on this host.
    pub fn etcd(&self) -> Option<&EtcdSection> {
        self.daemon.etcd.as_ref().filter(|_| self.daemon.store == StoreKind::Etcd)
    }

    /// What is wrong with the store, or with the groups for this store.
    pub(super) fn store_contradiction(&self) -> Option<String> {
        let section = match (self.daemon.store, &self.daemon.etcd) {
            (StoreKind::Sqlite, None) => return None,
            (StoreKind::Etcd, Some(section)) => section,
            (StoreKind::Etcd, None) => {
                return Some(
                    "daemon.store = \"etcd\" needs the section [daemon.etcd], as in\n\n[daemon.etcd]\nendpoints = \
                     [\"https://10.0.0.1:2379\", \"https://10.0.0.2:2379\", \"https://10.0.0.3:2379\"]"
                        .to_owned(),
                );
            }
            (StoreKind::Sqlite, Some(_)) => {
                return Some("[daemon.etcd] is read only with daemon.store = \"etcd\"".to_owned());
            }
        };
        let ttl = section.ttl;
        let least = ttl.get() + TAKEOVER;
        let too_short = self.group.iter().find_map(|(name, policy)| {
            let lease = policy.trial.lease.filter(|lease| lease.get() <= least)?;
            Some((name.as_str(), lease))
        });
        section.contradiction().or_else(|| {
            let (group, lease) = too_short?;
            Some(format!(
                "group.{group}.trial.lease is \"{lease}\" and daemon.etcd.ttl is \"{ttl}\": nginx would take a good release back \
                 while another daemon takes over, which needs up to the ttl and {} s; set the lease to more than \"{} s\", or \
                 the ttl to less than \"{} s\"",
                TAKEOVER.as_secs(),
                least.as_secs(),
                lease.get().saturating_sub(TAKEOVER).as_secs(),
            ))
        })
    }
}

fn read(key: &str, file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("daemon.etcd.{key} \"{}\": {error}", file.display()))
}

fn prefix_default() -> String {
    "/cutover/".to_owned()
}

fn ttl_default() -> Duration {
    Duration::seconds(5)
}

fn endpoints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let endpoints = Vec::<String>::deserialize(deserializer)?;
    if endpoints.is_empty() {
        return Err(de::Error::custom(
            "endpoints is empty: name the members, as in \"https://10.0.0.1:2379\"",
        ));
    }
    endpoints.iter().try_for_each(|endpoint| check_endpoint(endpoint).map_err(de::Error::custom))?;
    Ok(endpoints)
}

fn check_endpoint(endpoint: &str) -> Result<(), String> {
    let shape = || format!("\"{endpoint}\" is not a member of etcd, as in \"https://10.0.0.1:2379\"");
    let uri: http::Uri = endpoint.parse().map_err(|_| shape())?;
    let (Some(host), Some(_), "/") = (uri.host(), uri.port_u16(), uri.path()) else { return Err(shape()) };
    let is_here = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_here => Ok(()),
        Some("http") => Err(format!(
            "\"{endpoint}\" is not on loopback: over plain HTTP everybody in the network could read the journal, which has the \
             variables of commands; write \"https://..\""
        )),
        _ => Err(shape()),
    }
}

fn prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() > 1 && text.starts_with('/') && text.ends_with('/') {
        return Ok(text);
    }
    Err(de::Error::custom(format!("\"{text}\" is not a prefix of keys, as in \"/cutover/\"")))
}

fn ttl<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let ttl = Duration::deserialize(deserializer)?;
    let whole = ttl.get().subsec_nanos() == 0;
    if whole && (LEAST_TTL..=MOST_TTL).contains(&ttl.get().as_secs()) {
        return Ok(ttl);
    }
    Err(de::Error::custom(format!(
        "\"{ttl}\" is not a ttl: expected whole seconds from \"{LEAST_TTL}s\" to \"{MOST_TTL}s\""
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETCD: &str = "[daemon]\nstore = \"etcd\"\n[daemon.etcd]\n";
    const ENDPOINTS: &str = "endpoints = [\"http://127.0.0.1:2379\"]\n";

    fn parse(text: &str) -> Result<Config, String> {
        let text = format!("{text}\n[edge.nginx]\nadmin = \"unix:/a\"\n");
        Config::parse(&text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_store_in_etcd() {
        let config = parse(&format!(
            "{ETCD}endpoints = [\"https://10.0.0.1:2379\", \"https://etcd2:2379\"]\nttl = \"10s\"\nca = \"/ca\"\n\
             client_cert = \"/c\"\nclient_key = \"/k\"\nuser = \"cutover\"\npassword_file = \"/p\"\n"
        ))
        .unwrap();
        let section = config.etcd().unwrap();
        assert_eq!((section.prefix.as_str(), section.ttl), ("/cutover/", Duration::seconds(10)));
        assert!(section.settings().err().unwrap().starts_with("daemon.etcd.password_file \"/p\": "));
        assert!(parse("").unwrap().etcd().is_none());
    }

    #[test]
    fn errors_name_the_keys_and_what_is_right() {
        let group = |lease: &str| format!("[group.shop.trial]\nlease = \"{lease}\"\n");
        for (text, said) in [
            ("[daemon]\nstore = \"etcd\"\n".to_owned(), "needs the section [daemon.etcd], as in"),
            ("[daemon]\nstore = \"consul\"\n".to_owned(), "expected `sqlite` or `etcd`"),
            (format!("[daemon.etcd]\n{ENDPOINTS}"), "is read only with daemon.store = \"etcd\""),
            (format!("{ETCD}endpoints = []\n"), "endpoints is empty"),
            (format!("{ETCD}endpoints = [\"10.0.0.1:2379\"]\n"), "\"10.0.0.1:2379\" is not a member of etcd"),
            (
                format!("{ETCD}endpoints = [\"http://10.0.0.1:2379\"]\n"),
                "is not on loopback: over plain HTTP",
            ),
            (format!("{ETCD}{ENDPOINTS}ca = \"/ca\"\n"), "daemon.etcd.ca is for TLS, but"),
            (format!("{ETCD}{ENDPOINTS}user = \"me\"\n"), "daemon.etcd.user needs daemon.etcd.password_file"),
            (
                format!("{ETCD}endpoints = [\"https://a:1\"]\nclient_key = \"/k\"\n"),
                "daemon.etcd.client_key needs daemon.etcd.client_cert",
            ),
            (format!("{ETCD}endpoints = [\"https://a:1\"]\n"), "so daemon.etcd.ca must name the file"),
            (
                format!("{ETCD}endpoints = [\"https://a:1\", \"http://127.0.0.1:1\"]\n"),
                "beside \"https://..\": all need TLS, or none",
            ),
            (format!("{ETCD}{ENDPOINTS}prefix = \"cutover\"\n"), "\"cutover\" is not a prefix of keys"),
            (format!("{ETCD}{ENDPOINTS}ttl = \"1500ms\"\n"), "expected whole seconds from \"2s\" to \"60s\""),
            (format!("{ETCD}{ENDPOINTS}ttl = \"1s\"\n"), "\"1s\" is not a ttl"),
            (
                format!("{ETCD}{ENDPOINTS}{}", group("10s")),
                "group.shop.trial.lease is \"10s\" and daemon.etcd.ttl is \"5s\"",
            ),
            (
                format!("{ETCD}{ENDPOINTS}{}", group("10s")),
                "the lease to more than \"10 s\", or the ttl to less than \"5 s\"",
            ),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        for lease in ["11s", "off"] {
            parse(&format!("{ETCD}{ENDPOINTS}{}", group(lease))).unwrap();
        }
    }
}
