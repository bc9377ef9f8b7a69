//! A JSON Schema as Kubernetes takes it: a structural one.
//!
//! ```text
//! default: X                     the description says it: the API server would write it into each object
//! anyOf: [T, null]               T, nullable
//! oneOf: [{ const, description}] an enum, whose description lists what each means
//! oneOf: [{ one property }]      an object with all of these properties, of which one is there
//! type: [integer, string]        x-kubernetes-int-or-string
//! type: [string, object]         no type. The other keywords each look at values of one type only
//! an object with properties      keeps what it does not know, so that the operator can refuse it by name
//! ```

use serde_json::{Map, Value, json};

/// What a key that is not known is kept by.
const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// Makes a schema structural.
pub(super) fn structural(schema: &mut Value) {
    let Some(keys) = schema.as_object_mut() else { return };
    for unknown in ["$schema", "title", "format"] {
        keys.remove(unknown);
    }
    match keys.get("additionalProperties") {
        Some(Value::Bool(true)) => {
            keys.remove("additionalProperties");
            keys.insert(PRESERVE.to_owned(), json!(true));
        }
        Some(Value::Bool(false)) => drop(keys.remove("additionalProperties")),
        _ => {}
    }
    without_null(keys);
    one_of_words(keys);
    one_of_tables(keys);
    say_default(keys);
    one_type(keys);
    for inner in ["items", "additionalProperties"] {
        let Some(inner) = keys.get_mut(inner) else { continue };
        structural(inner);
        // The key says what is in it.
        inner.as_object_mut().and_then(|inner| inner.remove("description"));
    }
    let properties = keys.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(Map::values_mut).for_each(structural);
    if keys.contains_key("properties") {
        keys.insert(PRESERVE.to_owned(), json!(true));
    }
}

/// `anyOf` of something and null.
fn without_null(keys: &mut Map<String, Value>) {
    let Some(Value::Array(options)) = keys.remove("anyOf") else { return };
    let is_null = |option: &Value| option.get("type").is_some_and(|kind| kind == "null");
    let some = options.into_iter().find(|option| !is_null(option));
    for (key, value) in some.as_ref().and_then(Value::as_object).into_iter().flatten() {
        keys.entry(key.clone()).or_insert_with(|| value.clone());
    }
    keys.insert("nullable".to_owned(), json!(true));
}

/// An enum of words, each with a description.
fn one_of_words(keys: &mut Map<String, Value>) {
    let Some(options) = keys.get("oneOf").and_then(Value::as_array) else { return };
    let mut words = Vec::new();
    let mut says = keys.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    for option in options {
        let Some(word) = option.get("const").and_then(Value::as_str) else { return };
        let what = option.get("description").and_then(Value::as_str).unwrap_or_default();
        says = format!("{says} `{word}`: {what}").trim().to_owned();
        words.push(word.to_owned());
    }
    keys.remove("oneOf");
    keys.insert("type".to_owned(), json!("string"));
    keys.insert("enum".to_owned(), json!(words));
    keys.insert("description".to_owned(), json!(says));
}

/// An enum of tables with one key each.
fn one_of_tables(keys: &mut Map<String, Value>) {
    let Some(Value::Array(options)) = keys.remove("oneOf") else { return };
    let mut properties = Map::new();
    for option in &options {
        for (key, value) in option.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let mut value = value.clone();
            if let (Some(keys), Some(says)) = (value.as_object_mut(), option.get("description")) {
                keys.insert("description".to_owned(), says.clone());
            }
            properties.insert(key.clone(), value);
        }
    }
    keys.insert("type".to_owned(), json!("object"));
    keys.insert("properties".to_owned(), Value::Object(properties));
    keys.insert("minProperties".to_owned(), json!(1));
    keys.insert("maxProperties".to_owned(), json!(1));
}

fn say_default(keys: &mut Map<String, Value>) {
    let Some(usual) = keys.remove("default") else { return };
    let is_empty = match &usual {
        Value::Null => true,
        // Each key of a table has a default of its own.
        Value::Object(_) => true,
        Value::Array(values) => values.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    if !is_empty {
        let says = keys.get("description").and_then(Value::as_str).unwrap_or_default();
        let says = format!("{says} Default: {usual}.").trim().to_owned();
        keys.insert("description".to_owned(), json!(says));
    }
}

fn one_type(keys: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = keys.get("type") else { return };
    let mut types: Vec<String> = types.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let before = types.len();
    types.retain(|kind| kind != "null");
    if types.len() < before {
        keys.insert("nullable".to_owned(), json!(true));
    }
    types.sort();
    match &types[..] {
        [one] => drop(keys.insert("type".to_owned(), json!(one))),
        [integer, string] if integer == "integer" && string == "string" => {
            keys.remove("type");
            keys.insert("x-kubernetes-int-or-string".to_owned(), json!(true));
        }
        _ => {
            keys.remove("type");
            keys.insert(PRESERVE.to_owned(), json!(true));
        }
    }
}
