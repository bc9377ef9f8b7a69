//! The JSON Schema of types whose serde is written by hand.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::probe::Require;
use crate::smoke::Statuses;

/// A status from 100 to 599, or a range of them.
const STATUSES: &str = r"^\s*[+0]*[1-5][0-9][0-9]\s*(-\s*[+0]*[1-5][0-9][0-9]\s*)?$";

impl JsonSchema for Require {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Require".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^(all|majority|one|0*([1-9]|[1-9][0-9]|100)\s*%)$" })
    }
}

impl JsonSchema for Statuses {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Statuses".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string", "array"],
            "minimum": 100,
            "maximum": 599,
            "pattern": STATUSES,
            "minItems": 1,
            "items": { "type": ["integer", "string"], "minimum": 100, "maximum": 599, "pattern": STATUSES },
        })
    }
}
