//! Types of the values of the daemon's configuration. Each checks its value while it is parsed, and its error quotes the value.

use std::borrow::Borrow;
use std::fmt;
use std::net::SocketAddr;

use cutover_core::name;
use cutover_core::verdict::reading::SYNTHETIC;
use serde::{Deserialize, Deserializer, de};

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

/// The name of an edge: a bare key of TOML.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EdgeName(String);

impl EdgeName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EdgeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EdgeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if text.is_empty() || !text.chars().all(is_bare) {
            return Err(de::Error::custom(format!("edge \"{text}\" is not a name, as in \"nginx\"")));
        }
        // The name of evidence that is from no edge.
        if text == SYNTHETIC {
            return Err(de::Error::custom(format!("edge \"{text}\" has a reserved name: choose another")));
        }
        Ok(Self(text))
    }
}

/// A loopback address with a port.
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
