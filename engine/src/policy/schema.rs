//! The JSON Schema of values whose serde is written by hand.
//!
//! A value of several types is written as one schema with all of them in `type`, because Kubernetes has no types within `anyOf`: a
//! `pattern` is for texts only, `minimum` for numbers, and `properties` for tables.

use std::borrow::Cow;

use cutover_core::verdict::Signal as Kind;
use cutover_core::verdict::limits::{LimitMut, Signals};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::check::{BySlot, Port};
use super::soak::{LatencySetting, RateSetting};
use super::trial::{Guard, GuardLimits};
use super::url::HttpUrl;
use super::value::{Count, Duration, Ratio, UrlPath};
use super::warm::{Table, Warm};
use super::{Capacity, Steps};

/// What `humantime` reads, as in `1h 30m`: numbers with units. The macro lets patterns be put together.
macro_rules! duration {
    () => {
        concat!(
            r"0|(\s*[0-9][0-9\s]*([.][0-9\s]+)?(n(anos|s|sec)|u(s|sec)|µs|m(illis|s|sec)|s(ec(ond)?s?)?|m(in(ute)?s?)?",
            r"|h((ou)?rs?)?|d(ays?)?|w(eeks?|ks?)?|M|months?|y(ears?|rs?)?)\s*)+"
        )
    };
}

/// A number of percent.
macro_rules! percent {
    () => {
        r"[+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?%"
    };
}

/// The most that a text of a step may have.
const STEP: u32 = 100;

/// Implements the schema of a type that is written in one way.
macro_rules! written {
    ($($type:ty: $schema:tt,)*) => {
        $(impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })*
    };
}

written! {
    Duration: { "type": "string", "pattern": concat!("^(", duration!(), ")$") },
    Count: { "type": "integer", "minimum": 1, "maximum": u32::MAX },
    Ratio: { "type": "number", "minimum": 0, "maximum": 1 },
    UrlPath: { "type": "string", "pattern": "^/" },
    HttpUrl: { "type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://." },
    Port: { "type": "integer", "minimum": 1, "maximum": u16::MAX },
    Capacity: { "type": "string", "pattern": concat!("^(0|", percent!(), ")$") },
    Steps: {
        "type": "array",
        "minItems": 1,
        "maxItems": cutover_core::deployment::MOST_STEPS + 1,
        "items": {
            "type": "string",
            "maxLength": STEP,
            "pattern": concat!(r"^\s*", percent!(), r"(\s+(manual|", duration!(), r"))?\s*$"),
        },
    },
}

/// Implements the schema of a type that is a table, or something shorter.
macro_rules! or_table {
    ($($type:ty: $short:tt or $table:ty,)*) => {
        $(impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                table::<$table>(generator, json!($short))
            }
        })*
    };
}

or_table! {
    Warm: { "type": ["string", "object"], "pattern": concat!("^(", duration!(), ")$") } or Table,
    Guard: { "type": ["boolean", "object"] } or GuardLimits,
}

/// The schema of a table that may also be written shorter.
fn table<T: JsonSchema>(generator: &mut SchemaGenerator, short: Value) -> Schema {
    let mut schema = T::json_schema(generator);
    for (key, value) in short.as_object().cloned().unwrap_or_default() {
        schema.insert(key, value);
    }
    schema
}

impl<T: JsonSchema> JsonSchema for BySlot<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("BySlot_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = T::json_schema(generator);
        let mut all = one.clone();
        let kind = one.get("type").cloned().unwrap_or_default();
        all.insert("type".to_owned(), json!([kind, "object"]));
        all.insert("minProperties".to_owned(), json!(1));
        all.insert("additionalProperties".to_owned(), one.to_value());
        all
    }
}

/// `soak.signals`: each signal has a limit of its own kind.
pub(super) fn signals(generator: &mut SchemaGenerator) -> Schema {
    let described = Kind::json_schema(generator);
    let variants = described.get("oneOf").and_then(Value::as_array);
    let says = |name: &Value| {
        let mut of_name = variants.into_iter().flatten().filter(|variant| variant.get("const") == Some(name));
        of_name.find_map(|variant| variant.get("description").cloned()).unwrap_or_default()
    };
    let mut defaults = Signals::default();
    let mut properties = Map::new();
    for kind in Kind::ALL {
        let switch = json!({ "type": ["boolean", "object"] });
        let mut setting = match defaults.limit_mut(kind) {
            LimitMut::Rate(_) => table::<RateSetting>(generator, switch),
            LimitMut::Latency(_) => table::<LatencySetting>(generator, switch),
        };
        let name = serde_json::to_value(kind).unwrap_or_default();
        setting.insert("description".to_owned(), says(&name));
        properties.insert(name.as_str().unwrap_or_default().to_owned(), setting.to_value());
    }
    json_schema!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// `trial.lease`
pub(super) fn lease(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": concat!("^(off|", duration!(), ")$") })
}
