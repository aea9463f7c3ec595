//! JSON objects with a CRC-32 of themselves as their last field, so that a damaged digit is not read as another number.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::file::Input;

/// The name of the field.
const FIELD: &str = "crc32";
/// Maximum number of bytes of a file.
const LONGEST: usize = 1 << 28;

/// `json` with a checksum of all before it as its last field; what is no object, or an empty one, stays as it is.
pub(super) fn add(json: &str) -> String {
    let (body, last) = match (json.strip_suffix("\n}"), json.strip_suffix('}')) {
        (Some(body), _) => (body, format!(",\n  \"{FIELD}\": \"{}\"\n}}", crc32(body))),
        (None, Some(body)) if body.len() > 1 => (body, format!(",\"{FIELD}\":\"{}\"}}", crc32(body))),
        _ => return json.to_string(),
    };
    format!("{body}{last}")
}

/// Why `json` is not what was written: its checksum is not that of its content. An object without one is taken as it
/// is.
pub(super) fn check(json: &str) -> Result<(), String> {
    match split(json) {
        Some((body, digits)) if crc32(body) != digits => {
            Err(format!("the content does not match its checksum {digits}: damaged, or changed by hand"))
        }
        _ => Ok(()),
    }
}

/// The value in the file at `path`, checked, without its checksum. An object without one is refused.
pub(super) fn read_sealed(path: &Path) -> Result<Value> {
    let (value, sealed) = parse(path)?;
    if value.is_object() && !sealed {
        return Err(Error::data(
            path,
            format!("its checksum `{FIELD}` is missing: damaged, or written by hand"),
        ));
    }
    Ok(value)
}

/// As [`read_sealed`], but an object may have no checksum: one that was written by hand.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let (value, _) = parse(path)?;
    serde_json::from_value(value).map_err(|error| Error::data(path, error.to_string()))
}

/// The value in the file at `path` without its checksum, and whether it had one.
fn parse(path: &Path) -> Result<(Value, bool)> {
    let text = Input::open(path)?.text(LONGEST)?;
    let mut value: Value =
        serde_json::from_str(&text).map_err(|error| Error::data(path, format!("not JSON: {error}")))?;
    check(&text).map_err(|reason| Error::data(path, reason))?;
    let sealed = split(&text).is_some();
    if let Value::Object(fields) = &mut value
        && sealed
    {
        fields.remove(FIELD);
    }
    Ok((value, sealed))
}

/// The part of `json` that its checksum is of, and the checksum.
fn split(json: &str) -> Option<(&str, &str)> {
    let end = json.trim_end().strip_suffix('}')?.trim_end().strip_suffix('"')?;
    let (rest, digits) = end.rsplit_once('"')?;
    let rest = rest.trim_end().strip_suffix(':')?.strip_suffix('"')?.strip_suffix(FIELD)?;
    let body = rest.strip_suffix('"')?.trim_end().strip_suffix(',')?;
    Some((body, digits))
}

fn crc32(body: &str) -> String {
    let mut crc = flate2::Crc::new();
    crc.update(body.as_bytes());
    format!("{:08x}", crc.sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_checksum_is_the_last_field_of_an_object_and_of_nothing_else() {
        let value = json!({"a": [1, 2], "b": {"c": 0.5}});
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let with = add(&text);
            let mut read: Value = serde_json::from_str(&with).unwrap();
            assert_eq!(read.as_object_mut().unwrap().remove(FIELD).unwrap().as_str().unwrap().len(), 8);
            assert_eq!(read, value);
            check(&with).unwrap();
        }
        for text in ["7", "{}", "[1]", "\"}\"", "{\"a\":1"] {
            assert_eq!(add(text), text);
        }
        // CRC-32 of "123456789" is known: cbf43926.
        assert_eq!(crc32("123456789"), "cbf43926");
    }

    #[test]
    fn a_flipped_bit_is_found_or_changes_nothing() {
        let value = json!({"a": [1, 2], "b": {"c": 0.5}, "d": "text"});
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let with = add(&text);
            for at in 0..8 * with.len() {
                let mut bytes = with.clone().into_bytes();
                bytes[at / 8] ^= 1 << (at % 8);
                let Ok(text) = String::from_utf8(bytes) else { continue };
                let Ok(mut read) = serde_json::from_str::<Value>(&text) else { continue };
                if check(&text).is_ok() {
                    read.as_object_mut().unwrap().retain(|name, _| name.len() == 1);
                    assert_eq!(read, value, "{text}");
                }
            }
        }
    }
}
