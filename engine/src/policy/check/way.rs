//! How a check reaches a server: at its own address, at another port, or through nginx.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::super::url::HttpUrl;
use super::Tls;

/// The way to a server. Without a key it is the address that nginx has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Way {
    /// Another port of the server.
    pub port: Option<BySlot<Port>>,
    /// Speaks TLS.
    pub tls: Option<Tls>,
    /// A server of nginx's own that sends the request to a server of the slot.
    pub through: Option<BySlot<HttpUrl>>,
}

/// A value for all slots, or one for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BySlot<T> {
    /// The same for all.
    All(T),
    /// By the name of the slot.
    Each(BTreeMap<String, T>),
}

impl<T> BySlot<T> {
    /// The value for a slot. `None`: it is not named.
    pub fn of(&self, slot: &str) -> Option<&T> {
        match self {
            Self::All(value) => Some(value),
            Self::Each(values) => values.get(slot),
        }
    }

    /// All values.
    pub fn values(&self) -> Vec<&T> {
        match self {
            Self::All(value) => vec![value],
            Self::Each(values) => values.values().collect(),
        }
    }
}

/// A value that can differ by slot.
pub(super) trait Written {
    /// What is right, for errors.
    const RIGHT: &'static str;
}

impl Written for Port {
    const RIGHT: &'static str =
        "a port, as in 9001, or one for each slot, as in { blue = 9001, green = 9002 }";
}

impl Written for HttpUrl {
    const RIGHT: &'static str = "the URL of a server of nginx, as in \"http://127.0.0.1:8081\", or one for each slot, as in \
                                 { blue = \"http://127.0.0.1:8081\", green = \"http://127.0.0.1:8082\" }";
}

/// A port of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Port(NonZeroU16);

impl Port {
    /// The number.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        let port = u16::try_from(number).ok().and_then(NonZeroU16::new);
        port.map(Self).ok_or_else(|| de::Error::custom(format!("{number} is not a port from 1 to 65535")))
    }
}

impl<T: Serialize> Serialize for BySlot<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All(value) => value.serialize(serializer),
            Self::Each(values) => values.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de> + Written> Deserialize<'de> for BySlot<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrEach(std::marker::PhantomData))
    }
}

struct OneOrEach<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de> + Written> Visitor<'de> for OneOrEach<T> {
    type Value = BySlot<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::RIGHT)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<BySlot<T>, E> {
        T::deserialize(number.into_deserializer()).map(BySlot::All)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<BySlot<T>, E> {
        T::deserialize(number.into_deserializer()).map(BySlot::All)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<BySlot<T>, E> {
        T::deserialize(text.into_deserializer()).map(BySlot::All)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<BySlot<T>, A::Error> {
        let values = BTreeMap::<String, T>::deserialize(MapAccessDeserializer::new(map))?;
        if values.is_empty() {
            return Err(de::Error::custom(format!("no slot is named: expected {}", T::RIGHT)));
        }
        Ok(BySlot::Each(values))
    }
}
