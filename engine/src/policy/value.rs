//! Types of the values of a policy. Each checks its value while it is parsed, and its error quotes the value.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use cutover_core::placeholder::{Values, fill_path};
use cutover_core::shell::quoted;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration in text form, as in `"30s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(std::time::Duration);

impl Duration {
    /// A constant, for defaults.
    pub const fn seconds(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// The duration as a type of the standard library.
    pub fn get(self) -> std::time::Duration {
        self.0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration)
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

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = humantime::parse_duration(text).map(Self);
        parsed.map_err(|error| format!("\"{text}\" is not a duration, as in \"30s\": {error}"))
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_str(Text("a duration, as in \"30s\""))?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Reads a text. The error for another type says what is right.
struct Text(&'static str);

impl de::Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

/// Deserializes a duration of at least one millisecond, for intervals and time limits.
pub(super) fn not_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let duration = Duration::deserialize(deserializer)?;
    if duration.0 < std::time::Duration::from_millis(1) {
        return Err(de::Error::custom(format!("\"{duration}\" is too short: at least \"1ms\"")));
    }
    Ok(duration)
}

/// An integer of at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Count(u32);

impl Count {
    /// A constant of at least 1, for defaults.
    pub const fn new(count: u32) -> Self {
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

/// Reads a number. The error for another type says what is right.
struct Number(&'static str);

impl de::Visitor<'_> for Number {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<f64, E> {
        Ok(number)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<f64, E> {
        Ok(number as f64)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<f64, E> {
        Ok(number as f64)
    }
}

/// Deserializes a number that is neither infinite nor NaN.
pub(super) fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = deserializer.deserialize_any(Number("a number, as in 0.01"))?;
    if number.is_finite() {
        Ok(number)
    } else {
        Err(de::Error::custom(format!("{number} is not a limit, as in 0.01")))
    }
}

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Ratio(f64);

impl Ratio {
    /// A constant, for defaults.
    pub const fn new(ratio: f64) -> Self {
        Self(ratio)
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ratio = deserializer.deserialize_any(Number("a number from 0 to 1, as in 0.01"))?;
        if !(0.0..=1.0).contains(&ratio) {
            return Err(de::Error::custom(format!("{ratio} is not a ratio from 0 to 1, as in 0.01")));
        }
        Ok(Self(ratio))
    }
}

/// The path of a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct UrlPath(String);

impl UrlPath {
    /// A constant, for defaults.
    pub(super) fn fixed(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// The path, including a query.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path with values in place of the placeholders.
    pub fn filled(&self, values: &Values<'_>) -> Self {
        Self(fill_path(&self.0, values))
    }
}

impl<'de> Deserialize<'de> for UrlPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if !text.starts_with('/') {
            return Err(de::Error::custom(format!("\"{text}\" does not begin with \"/\"")));
        }
        if text.parse::<http::uri::PathAndQuery>().is_err() {
            return Err(de::Error::custom(format!(
                "\"{text}\" contains characters that a path must not have"
            )));
        }
        Ok(Self(text))
    }
}

/// Length in bytes that an argument or a variable of a program must stay below on Linux: MAX_ARG_STRLEN includes the final
/// zero byte.
pub const MAX_STRING: usize = 128 * 1024;

/// A program and its arguments. No shell interprets them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Argv(Vec<String>);

impl Argv {
    /// Checks the words of a command line.
    pub(crate) fn parse(words: Vec<String>) -> Result<Self, String> {
        let Some(program) = words.first() else {
            return Err("a command needs at least a program: [\"/path/to/program\"]".to_owned());
        };
        if !program.starts_with('/') {
            return Err(format!(
                "\"{program}\" is not an absolute path: to search PATH, write [\"/usr/bin/env\", \"{program}\"]"
            ));
        }
        if let Some(word) = words.iter().find(|word| word.contains('\0')) {
            return Err(format!("{word:?} contains a zero byte"));
        }
        if let Some(word) = words.iter().find(|word| word.len() >= MAX_STRING) {
            let (begin, length) = (word.get(..20).unwrap_or_default(), word.len());
            return Err(format!(
                "{begin:?}.. has {length} bytes: an argument of a command must be shorter than {MAX_STRING}"
            ));
        }
        Ok(Self(words))
    }

    /// The program: an absolute path.
    pub fn program(&self) -> &Path {
        Path::new(self.0.first().map_or("", String::as_str))
    }

    /// The arguments.
    pub fn arguments(&self) -> &[String] {
        self.0.get(1..).unwrap_or_default()
    }

    /// The command line, quoted for a shell.
    pub fn typed(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|word| quoted(word)).collect();
        words.join(" ")
    }
}

impl<'de> Deserialize<'de> for Argv {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(Vec::deserialize(deserializer)?).map_err(de::Error::custom)
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
