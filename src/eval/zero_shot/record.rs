//! Records of a task's data: lines of JSON, plain or compressed, in one file or in an archive of several.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::data::open::open;
use crate::error::{Error, Result};

/// One record, and where it stood.
#[derive(Debug, Clone)]
pub(super) struct Record {
    value: Value,
    line: usize,
}

/// The records of one file.
#[derive(Debug)]
pub(super) struct Group {
    /// The file's name without its ending.
    pub(super) name: String,
    /// The file that was read, for errors.
    pub(super) path: PathBuf,
    pub(super) records: Vec<Record>,
}

impl Record {
    #[cfg(test)]
    pub(super) fn new(value: Value) -> Self {
        Self { value, line: 1 }
    }

    /// An error about this record of the file at `path`.
    pub(super) fn error(&self, path: &Path, reason: &str) -> Error {
        Error::data(path, format!("line {}: {reason}", self.line))
    }

    /// A field, named with dots if it is inside others.
    pub(super) fn field(&self, path: &str) -> Result<&Value, String> {
        path.split('.')
            .try_fold(&self.value, |value, name| value.get(name))
            .ok_or_else(|| format!("there is no field `{path}`"))
    }

    /// A field that is text, a number or true or false, as text.
    pub(super) fn text(&self, path: &str) -> Result<String, String> {
        match self.field(path)? {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(truth) => Ok(truth.to_string()),
            other => Err(format!("field `{path}` is {}, expected text or a number", kind(other))),
        }
    }

    /// A field that is a count.
    pub(super) fn number(&self, path: &str) -> Result<usize, String> {
        let value = self.field(path)?;
        value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| format!("field `{path}` is {value}, expected a whole number of at least 0"))
    }

    /// A field that is a list of texts.
    pub(super) fn texts(&self, path: &str) -> Result<Vec<&str>, String> {
        let value = self.field(path)?;
        value
            .as_array()
            .and_then(|items| items.iter().map(Value::as_str).collect())
            .ok_or_else(|| format!("field `{path}` is {}, expected a list of texts", kind(value)))
    }

    /// One record for each item of the list at `path`, which the item takes the place of.
    fn unroll(mut self, path: &str) -> Result<Vec<Self>, String> {
        let slot = path.split('.').try_fold(&mut self.value, |value, name| value.get_mut(name));
        let Some(Value::Array(items)) = slot.map(Value::take) else {
            return Err(format!("field `{path}` is missing or no list"));
        };
        Ok(items
            .into_iter()
            .map(|item| {
                let mut record = self.clone();
                let slot = path.split('.').try_fold(&mut record.value, |value, name| value.get_mut(name));
                if let Some(slot) = slot {
                    *slot = item;
                }
                record
            })
            .collect())
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The file that `name` stands for in `folder`: there or, if it lies in no folder of its own, by its last part; as it
/// is or with `.gz` or `.zst` behind it.
///
/// # Errors
/// [`Error::Data`] when there is none.
pub(super) fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let last = Path::new(name).file_name().map(PathBuf::from);
    let places = std::iter::once(PathBuf::from(name)).chain(last).map(|place| folder.join(place));
    places
        .flat_map(|place| {
            ["", ".gz", ".zst"].map(|ending| {
                let mut file = place.clone().into_os_string();
                file.push(ending);
                PathBuf::from(file)
            })
        })
        .find(|file| file.is_file())
        .ok_or_else(|| {
            Error::data(folder.join(name), "there is no such file, nor one with .gz or .zst behind its name")
        })
}

/// Reads the records of a file: of lines of JSON, or of every `.jsonl` file of a `.tar` archive, by name. Of each
/// file at most the first `limit`, each unrolled at the `unroll` paths.
///
/// # Errors
/// [`Error::Io`] or [`Error::Data`], with the file and the line.
pub(super) fn read(file: &Path, unroll: &[String], limit: Option<usize>) -> Result<Vec<Group>> {
    let source = open(file)?;
    let archive = Path::new(file.file_name().unwrap_or_default()).to_string_lossy().contains(".tar");
    let mut groups = if archive {
        read_archive(file, source, unroll, limit)?
    } else {
        vec![read_lines(file, source, unroll, limit)?]
    };
    groups.sort_by(|one, other| one.name.cmp(&other.name));
    if groups.iter().all(|group| group.records.is_empty()) {
        return Err(Error::data(file, "there is no record in it"));
    }
    Ok(groups)
}

fn read_archive(
    file: &Path,
    source: Box<dyn BufRead + Send>,
    unroll: &[String],
    limit: Option<usize>,
) -> Result<Vec<Group>> {
    let mut archive = tar::Archive::new(source);
    let mut groups = Vec::new();
    for entry in archive.entries().map_err(Error::io(file))? {
        let entry = entry.map_err(Error::io(file))?;
        let inside = entry.path().map_err(Error::io(file))?.into_owned();
        if inside.extension().is_some_and(|ending| ending == "jsonl") {
            groups.push(read_lines(&file.join(inside), BufReader::new(entry), unroll, limit)?);
        }
    }
    Ok(groups)
}

fn read_lines(path: &Path, source: impl BufRead, unroll: &[String], limit: Option<usize>) -> Result<Group> {
    let mut records = Vec::new();
    for (at, line) in source.lines().enumerate() {
        if limit.is_some_and(|limit| records.len() >= limit) {
            break;
        }
        let line = line.map_err(Error::io(path))?;
        if line.trim().is_empty() {
            continue;
        }
        let value = serde_json::from_str(&line)
            .map_err(|error| Error::data(path, format!("line {}: {error}", at + 1)))?;
        let mut unrolled = vec![Record { value, line: at + 1 }];
        for field in unroll {
            unrolled = unrolled
                .into_iter()
                .map(|record| record.unroll(field))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|reason| Error::data(path, format!("line {}: {reason}", at + 1)))?
                .concat();
        }
        records.extend(unrolled);
    }
    records.truncate(limit.unwrap_or(usize::MAX));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.split('.').next().unwrap_or_default().to_owned();
    Ok(Group { name, path: path.to_path_buf(), records })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn records_come_from_lines_of_json() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.jsonl"), "{\"x\": 1}\n\n{\"x\": 2}\n{\"x\": 3}\n").unwrap();
        let file = find(folder.path(), "some/where/a.jsonl").unwrap();
        let all = read(&file, &[], None).unwrap();
        assert_eq!(all[0].name, "a");
        assert_eq!(all[0].records.iter().map(|r| r.number("x").unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(read(&file, &[], Some(2)).unwrap()[0].records.len(), 2);
    }

    #[test]
    fn an_archive_has_a_group_for_each_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut builder = tar::Builder::new(gzip);
        for (name, text) in
            [("b.jsonl", "{\"x\": 1}\n{\"x\": 2}"), ("a.jsonl", "{\"x\": 3}"), ("LICENSE", "no")]
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            builder.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        let bytes = builder.into_inner().unwrap().finish().unwrap();
        fs::write(folder.path().join("pairs.tar.gz"), bytes).unwrap();
        let groups = read(&find(folder.path(), "pairs.tar").unwrap(), &[], None).unwrap();
        let found: Vec<(&str, usize)> = groups.iter().map(|g| (g.name.as_str(), g.records.len())).collect();
        assert_eq!(found, [("a", 1), ("b", 2)]);
    }

    #[test]
    fn lists_inside_lists_are_unrolled() {
        let record = Record::new(json!({"text": "t", "questions": [
            {"q": "one", "answers": [{"a": "x"}, {"a": "y"}]}, {"q": "two", "answers": [{"a": "z"}]}]}));
        let rows: Vec<String> = record
            .unroll("questions")
            .unwrap()
            .into_iter()
            .flat_map(|record| record.unroll("questions.answers").unwrap())
            .map(|r| ["text", "questions.q", "questions.answers.a"].map(|f| r.text(f).unwrap()).join(" "))
            .collect();
        assert_eq!(rows, ["t one x", "t one y", "t two z"]);
    }

    #[test]
    fn a_broken_line_and_a_missing_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.jsonl"), "{\"x\": 1}\n{\"x\": \n").unwrap();
        let error = read(&folder.path().join("a.jsonl"), &[], None).unwrap_err().to_string();
        assert!(error.contains("a.jsonl: line 2"), "{error}");
        let error = find(folder.path(), "b.jsonl").unwrap_err().to_string();
        assert!(error.contains("b.jsonl"), "{error}");
    }

    #[test]
    fn an_empty_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.jsonl"), "\n").unwrap();
        assert!(matches!(read(&folder.path().join("a.jsonl"), &[], None), Err(Error::Data { .. })));
    }
}
