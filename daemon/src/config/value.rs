//! Values of the configuration. Each is checked while it is read, and its error quotes it.

use std::borrow::Borrow;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cutover_core::name;
use cutover_core::shell::quoted;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time: text, as in `"30s"`. At least a millisecond where it paces something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(std::time::Duration);

impl Duration {
    /// A default.
    pub const fn seconds(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// As the standard library has it.
    pub fn get(self) -> std::time::Duration {
        self.0
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|error| {
            de::Error::custom(format!("\"{text}\" is not a duration, as in \"30s\": {error}"))
        })
    }
}

/// For durations that pace a loop or end a wait.
pub(super) fn not_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let duration = Duration::deserialize(deserializer)?;
    if duration.0 < std::time::Duration::from_millis(1) {
        return Err(de::Error::custom(format!("\"{duration}\" is too short: at least \"1ms\"")));
    }
    Ok(duration)
}

/// A path that does not depend on where the daemon was started.
pub(super) fn absolute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    if path.is_absolute() {
        return Ok(Some(path));
    }
    let path = path.display();
    Err(de::Error::custom(format!("\"{path}\" is not an absolute path, as in \"/etc/nginx/cutover.token\"")))
}

/// A number from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Count(u32);

impl Count {
    /// A default; at least 1.
    pub(super) const fn new(count: u32) -> Self {
        Self(count)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        u32::try_from(number)
            .ok()
            .filter(|count| *count > 0)
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("{number} is not a number from 1 to {}", u32::MAX)))
    }
}

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Ratio(f64);

impl Ratio {
    /// A default.
    pub(super) const fn new(ratio: f64) -> Self {
        Self(ratio)
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ratio = f64::deserialize(deserializer)?;
        if !(0.0..=1.0).contains(&ratio) {
            return Err(de::Error::custom(format!("{ratio} is not a ratio from 0 to 1, as in 0.01")));
        }
        Ok(Self(ratio))
    }
}

/// The mode of a file, in octal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(u32);

impl Mode {
    /// 0600
    pub const OWNER: Self = Self(0o600);

    /// The number.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u32::from_str_radix(&text, 8)
            .ok()
            .filter(|bits| *bits <= 0o777)
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("\"{text}\" is not a mode, as in \"0600\"")))
    }
}

/// A group's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupName(String);

impl GroupName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for GroupName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for GroupName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match name::check_group(text.as_bytes()) {
            Ok(_) => Ok(Self(text)),
            Err(bad) => Err(de::Error::custom(format!("group \"{text}\" {bad}"))),
        }
    }
}

/// Where the module's admin API listens: `unix:/PATH`, or `http://ADDRESS:PORT` on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// A loopback address.
    Tcp(SocketAddr),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "http://{address}"),
        }
    }
}

impl<'de> Deserialize<'de> for AdminAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(path.into()));
        }
        let address = text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        match address.and_then(|address| address.parse::<SocketAddr>().ok()) {
            Some(address) if address.ip().is_loopback() => Ok(Self::Tcp(address)),
            Some(_) => Err(de::Error::custom(format!(
                "\"{text}\" is not a loopback address: the admin API has no other protection there"
            ))),
            None => Err(de::Error::custom(format!(
                "\"{text}\" is neither \"unix:/PATH\" nor \"http://127.0.0.1:PORT\""
            ))),
        }
    }
}

/// An address that only this host can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loopback(SocketAddr);

impl Loopback {
    /// The address.
    pub fn get(self) -> SocketAddr {
        self.0
    }
}

impl<'de> Deserialize<'de> for Loopback {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback()).map(Self).ok_or_else(
            || de::Error::custom(format!("\"{text}\" is not a loopback address, as in \"127.0.0.1:9119\"")),
        )
    }
}

/// A path of an URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct UrlPath(String);

impl UrlPath {
    pub(super) fn ready() -> Self {
        Self("/health/ready".to_owned())
    }

    /// The path, with its query if it has one.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for UrlPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if !text.starts_with('/') {
            return Err(de::Error::custom(format!("\"{text}\" does not begin with \"/\"")));
        }
        if text.parse::<http::uri::PathAndQuery>().is_err() {
            return Err(de::Error::custom(format!("\"{text}\" has characters that a path must not have")));
        }
        Ok(Self(text))
    }
}

/// Linux gives no program an argument or a variable of so many bytes, its final zero byte left out (MAX_ARG_STRLEN).
pub const MAX_STRING: usize = 128 * 1024;

/// A program and its arguments; no shell reads them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Argv(Vec<String>);

impl Argv {
    /// The program: an absolute path.
    pub fn program(&self) -> &Path {
        Path::new(self.0.first().map_or("", String::as_str))
    }

    /// The arguments.
    pub fn arguments(&self) -> &[String] {
        self.0.get(1..).unwrap_or_default()
    }

    /// As one would type it into a shell.
    pub fn typed(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|word| quoted(word)).collect();
        words.join(" ")
    }
}

impl<'de> Deserialize<'de> for Argv {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        let Some(program) = words.first() else {
            return Err(de::Error::custom("a command needs at least a program: [\"/path/to/program\"]"));
        };
        if !program.starts_with('/') {
            return Err(de::Error::custom(format!(
                "\"{program}\" is not an absolute path: no shell looks it up, as in [\"/usr/bin/env\", \"{program}\"]"
            )));
        }
        if let Some(word) = words.iter().find(|word| word.contains('\0')) {
            return Err(de::Error::custom(format!("{word:?} holds a zero byte")));
        }
        if let Some(word) = words.iter().find(|word| word.len() >= MAX_STRING) {
            let (begin, length) = (word.get(..20).unwrap_or_default(), word.len());
            return Err(de::Error::custom(format!(
                "{begin:?}.. has {length} bytes: no argument of a command may have {MAX_STRING}"
            )));
        }
        Ok(Self(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_as_typed() {
        let argv = Argv(["/bin/sh", "-c", "echo 'a b'", ""].map(str::to_owned).to_vec());
        assert_eq!(argv.typed(), r"/bin/sh -c 'echo '\''a b'\''' ''");
    }
}
