//! JSON Schema (draft 7), as far as the published schemas of the reference use it.
//!
//! They are not part of the source. They are read from the directory that `NATS_SCHEMAS` names, or
//! from `../shared/reference/schemas` beside the source; where there is none, nothing is tested.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A schema, if it is here.
pub fn schema(name: &str) -> Option<Value> {
    let named = std::env::var_os("NATS_SCHEMAS").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference/schemas");
    let path = named.unwrap_or_else(beside).join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap()),
        Err(_) => {
            eprintln!("skipped: no {}", path.display());
            None
        }
    }
}

/// What is wrong with a value, each fault with its place.
pub fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(schema, value, "$", &mut faults);
    faults
}

/// Fails unless a value is as the schema of that name has it, if that is here.
pub fn assert_valid(name: &str, value: &Value) {
    if let Some(schema) = schema(name) {
        let faults = faults(&schema, value);
        assert!(faults.is_empty(), "{name}: {faults:#?} in {value:#}");
    }
}

fn check(schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let Some(rules) = schema.as_object() else {
        return;
    };
    let mut fault = |text: String| faults.push(format!("{at}: {text}"));
    for (rule, wanted) in rules {
        match &**rule {
            "type" => {
                if !types(wanted).any(|name| is_of(name, value)) {
                    fault(format!("{value} is not of type {wanted}"));
                }
            }
            "const" if wanted != value => fault(format!("{value} is not {wanted}")),
            "enum" if !wanted.as_array().unwrap().contains(value) => {
                fault(format!("{value} is none of {wanted}"));
            }
            "required" if value.is_object() => {
                for name in wanted.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        fault(format!("{name} is missing"));
                    }
                }
            }
            "minLength" => {
                let short = |text: &str| (text.chars().count() as u64) < wanted.as_u64().unwrap();
                if value.as_str().is_some_and(short) {
                    fault("too short".into());
                }
            }
            "maxLength" => {
                let long = |text: &str| (text.chars().count() as u64) > wanted.as_u64().unwrap();
                if value.as_str().is_some_and(long) {
                    fault("too long".into());
                }
            }
            "minimum" if value.as_f64() < wanted.as_f64() && value.is_number() => {
                fault(format!("{value} is below {wanted}"));
            }
            "maximum" if value.as_f64() > wanted.as_f64() && value.is_number() => {
                fault(format!("{value} is above {wanted}"));
            }
            // What remains says nothing of values, or is looked at below.
            "properties" | "patternProperties" | "additionalProperties" | "items" => {}
            "oneOf" | "allOf" => {}
            "const" | "enum" | "required" | "minimum" | "maximum" => {}
            "$schema" | "$id" | "$comment" | "description" | "title" | "format" => {}
            "default" | "deprecationMessage" => {}
            // Fields that one schema has beside its `properties`.
            "missing" | "offline" => {}
            // Regular expressions, all of which are about names that tests choose.
            "pattern" => {}
            other => panic!("the rule {other} is not known"),
        }
    }
    let list = |rule: &str| {
        rules
            .get(rule)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    for schema in list("allOf") {
        check(schema, value, at, faults);
    }
    if rules.contains_key("oneOf") {
        let found: Vec<_> = list("oneOf")
            .map(|schema| {
                let mut faults = Vec::new();
                check(schema, value, at, &mut faults);
                faults
            })
            .collect();
        if found.iter().filter(|faults| faults.is_empty()).count() != 1 {
            faults.push(format!("{at}: is not just one of several: {found:?}"));
        }
    }
    if let (Some(items), Some(values)) = (rules.get("items"), value.as_array()) {
        for (i, value) in values.iter().enumerate() {
            check(items, value, &format!("{at}[{i}]"), faults);
        }
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        let known = rules.get("properties").and_then(|p| p.get(name));
        let any = rules.get("patternProperties").and_then(Value::as_object);
        match (known, any, rules.get("additionalProperties")) {
            (Some(schema), ..) => check(schema, value, &at, faults),
            (None, Some(patterns), _) if !patterns.is_empty() => {
                patterns
                    .values()
                    .for_each(|schema| check(schema, value, &at, faults));
            }
            (None, _, Some(Value::Bool(false))) => faults.push(format!("{at}: is not known")),
            (None, _, Some(schema)) => check(schema, value, &at, faults),
            _ => {}
        }
    }
}

fn types(wanted: &Value) -> impl Iterator<Item = &str> {
    let several = wanted.as_array().map_or(&[][..], |list| list);
    wanted
        .as_str()
        .into_iter()
        .chain(several.iter().filter_map(Value::as_str))
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("the type {other} is not known"),
    }
}

#[test]
fn faults_are_found() {
    let schema = serde_json::json!({
        "type": "object",
        "required": ["a"],
        "additionalProperties": false,
        "properties": {
            "a": {"type": "integer", "minimum": 1},
            "b": {"type": "array", "items": {"enum": ["x", "y"]}},
        },
    });
    let found = |value: Value| faults(&schema, &value).len();
    assert_eq!(found(serde_json::json!({"a": 1, "b": ["x", "y"]})), 0);
    assert_eq!(found(serde_json::json!({"a": 0})), 1);
    assert_eq!(found(serde_json::json!({"a": 1.5, "b": ["z"]})), 2);
    assert_eq!(found(serde_json::json!({"c": 1})), 2);
    assert_eq!(found(serde_json::json!([])), 1);
    let either = serde_json::json!({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
    let found = |value: Value| faults(&either, &value).len();
    assert_eq!(found(serde_json::json!({"a": 1})), 0);
    assert_eq!(found(serde_json::json!({})), 1);
    assert_eq!(found(serde_json::json!({"a": 1, "b": 1})), 1);
    let both = serde_json::json!({"allOf": [{"required": ["a"]}, {"maxLength": 1}]});
    assert_eq!(faults(&both, &serde_json::json!({})).len(), 1);
    assert_eq!(faults(&both, &serde_json::json!("ab")).len(), 1);
}
