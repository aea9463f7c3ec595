//! Configurations that are a JSON object in a file.

use std::io::ErrorKind;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Input;
use crate::error::{Error, Result};

/// The longest configuration, in bytes.
const LONGEST: usize = 1 << 28;

/// An object, and the file that it stands in.
pub(crate) struct JsonObject {
    pub(crate) path: PathBuf,
    pub(crate) entries: Map<String, Value>,
}

impl JsonObject {
    /// Reads a file. Of a key that is there twice, the last counts.
    pub(crate) fn read(path: PathBuf) -> Result<Self> {
        let text = Input::open(&path)?.text(LONGEST)?;
        match serde_json::from_str(&text) {
            Ok(entries) => Ok(Self { path, entries }),
            Err(error) => Err(Error::data(path, format!("not a JSON object: {error}"))),
        }
    }

    /// Reads a file, if there is one.
    pub(crate) fn read_if_there(path: PathBuf) -> Result<Option<Self>> {
        match Self::read(path) {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// The value of `key`; none if it is missing or null. What is not of that type is an error that says what is
    /// `allowed`.
    pub(crate) fn find<T: DeserializeOwned>(&self, key: &str, allowed: &str) -> Result<Option<T>> {
        match self.entries.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|_| self.wrong(key, value, allowed)),
        }
    }

    /// The error of a value that is not allowed.
    pub(crate) fn wrong(&self, key: &str, value: &Value, allowed: &str) -> Error {
        Error::data(&self.path, format!("`{key}` is {value}; allowed: {allowed}"))
    }
}
