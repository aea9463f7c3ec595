//! Comparison of a saved configuration with the current one.

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// `config` as it is written to a file.
pub(crate) fn to_json(config: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(config)
        .map_err(|error| Error::argument("configuration", error, "whatever JSON can hold"))
}

/// Refuses a saved configuration that differs from one's own, but for the fields in `may_differ` and all below them.
/// Fields are named by their path, joined by dots.
pub(crate) fn check_same(saved: &Value, own: &Value, may_differ: &[&str]) -> Result<()> {
    match difference(saved, own, "", may_differ) {
        None => Ok(()),
        Some((what, found, expected)) => {
            Err(Error::Mismatch { what, found: show(found), expected: show(expected) })
        }
    }
}

type Difference<'a> = (String, Option<&'a Value>, Option<&'a Value>);

fn difference<'a>(
    saved: &'a Value,
    own: &'a Value,
    path: &str,
    may_differ: &[&str],
) -> Option<Difference<'a>> {
    let below = |name: &str| if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
    let child = |name: String, saved: Option<&'a Value>, own: Option<&'a Value>| match (saved, own) {
        _ if may_differ.contains(&name.as_str()) => None,
        (Some(saved), Some(own)) => difference(saved, own, &name, may_differ),
        (saved, own) => Some((name, saved, own)),
    };
    match (saved, own) {
        (Value::Object(saved), Value::Object(own)) => {
            let gone = saved.keys().filter(|name| !own.contains_key(*name));
            // Of two methods the names say most, and other data explain what else differs.
            let first = own.keys().filter(|name| *name == "name" || name.ends_with("_data"));
            first
                .chain(own.keys())
                .chain(gone)
                .find_map(|name| child(below(name), saved.get(name), own.get(name)))
        }
        (Value::Array(saved), Value::Array(own)) => (0..saved.len().max(own.len()))
            .find_map(|index| child(below(&index.to_string()), saved.get(index), own.get(index))),
        _ if saved == own => None,
        _ if path.is_empty() => Some(("configuration".into(), Some(saved), Some(own))),
        _ => Some((path.to_string(), Some(saved), Some(own))),
    }
}

fn show(value: Option<&Value>) -> String {
    match value {
        None => "nothing".into(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(saved: Value, own: Value, may_differ: &[&str]) -> (String, String, String) {
        match check_same(&saved, &own, may_differ) {
            Err(Error::Mismatch { what, found, expected }) => (what, found, expected),
            other => panic!("{other:?}"),
        }
    }

    fn own() -> Value {
        json!({ "model": { "hidden": [64, 32], "bias": true }, "method": "chts", "seed": 7, "rate": 0.1 })
    }

    #[test]
    fn equal_configurations_are_the_same_whatever_the_order_of_their_fields() {
        let saved = json!({ "seed": 7, "rate": 0.1, "method": "chts", "model": { "bias": true, "hidden": [64, 32] } });
        check_same(&saved, &own(), &[]).unwrap();
    }

    #[test]
    fn every_kind_of_difference_is_named_with_both_values() {
        for (pointer, other, expected) in [
            ("/method", json!("set"), ("method", "set", "chts")),
            ("/seed", json!(8), ("seed", "8", "7")),
            ("/rate", json!(0.2), ("rate", "0.2", "0.1")),
            ("/model/bias", json!(false), ("model.bias", "false", "true")),
            ("/model/hidden/1", json!(16), ("model.hidden.1", "16", "32")),
            ("/model/hidden", json!([64]), ("model.hidden.1", "nothing", "32")),
            ("/model/hidden", json!([64, 32, 8]), ("model.hidden.2", "8", "nothing")),
            ("/model", json!(null), ("model", "null", r#"{"bias":true,"hidden":[64,32]}"#)),
        ] {
            let mut saved = own();
            *saved.pointer_mut(pointer).unwrap() = other;
            let (what, found, wanted) = refused(saved, own(), &[]);
            assert_eq!((what.as_str(), found.as_str(), wanted.as_str()), expected);
        }
    }

    #[test]
    fn of_several_differences_another_method_or_other_data_are_named() {
        let saved = json!({ "model": { "vocabulary": 300 }, "test_data": "ab", "name": "set" });
        let own = json!({ "model": { "vocabulary": 301 }, "test_data": "ac", "name": "set" });
        assert_eq!(refused(saved, own.clone(), &[]).0, "test_data");
        let saved = json!({ "model": { "vocabulary": 300 }, "test_data": "ac", "name": "chts" });
        assert_eq!(refused(saved, own, &[]).0, "name");
    }

    #[test]
    fn a_field_that_only_one_of_the_two_has_is_a_difference() {
        let mut more = own();
        more["extra"] = json!(1);
        assert_eq!(refused(own(), more.clone(), &[]), ("extra".into(), "nothing".into(), "1".into()));
        assert_eq!(refused(more, own(), &[]), ("extra".into(), "1".into(), "nothing".into()));
        assert_eq!(refused(json!(1), json!(2), &[]).0, "configuration");
    }

    #[test]
    fn fields_that_may_differ_do_with_all_below_them_and_no_others() {
        let mut saved = own();
        saved["model"]["hidden"] = json!([1]);
        saved["seed"] = json!(8);
        assert_eq!(refused(saved.clone(), own(), &["seed"]).0, "model.hidden.0");
        assert_eq!(refused(saved.clone(), own(), &["hidden", "seed"]).0, "model.hidden.0");
        check_same(&saved, &own(), &["seed", "model.hidden"]).unwrap();
        check_same(&saved, &own(), &["model", "seed"]).unwrap();
    }
}
