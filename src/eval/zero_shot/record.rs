//! Records of a task's data: lines of JSON, plain or compressed, in one file or in an archive of several; labels may
//! stand in a file of their own.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::task_file::DataFile;
use crate::error::{Error, Result};
use crate::file::{Input, fault, missing_in, plain_name, plain_or_compressed};

/// Maximum number of bytes of a record.
const LONGEST_LINE: usize = 1 << 26;
/// Maximum number of bytes of a file inside an archive, which is held in memory.
const LARGEST_FILE: u64 = 1 << 28;

/// One record, and where it stood. Records that one was unrolled to share what they have in common: copies of it would
/// take memory that grows with the square of the file.
#[derive(Debug, Clone)]
pub(super) struct Record {
    value: Arc<Value>,
    /// Lists that were unrolled, with the item that takes the list's place here.
    unrolled: Vec<(Arc<str>, Arc<Value>)>,
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
        Self { value: Arc::new(value), unrolled: Vec::new(), line: 1 }
    }

    /// An error about this record of the file at `path`.
    pub(super) fn error(&self, path: &Path, reason: &str) -> Error {
        Error::data(path, format!("line {}: {reason}", self.line))
    }

    /// A field, named with dots if it is inside others.
    pub(super) fn field(&self, path: &str) -> Result<&Value, String> {
        let (at, rest) = self.place(path);
        let value = at.map_or(&*self.value, |at| &*self.unrolled[at].1);
        let found =
            rest.into_iter().flat_map(|rest| rest.split('.')).try_fold(value, |value, name| value.get(name));
        found.ok_or_else(|| format!("there is no field `{path}`"))
    }

    /// The unrolled item that `path` leads into, the innermost, and the rest of the path inside of it.
    fn place<'a>(&self, path: &'a str) -> (Option<usize>, Option<&'a str>) {
        let inside = |list: &str| match path.strip_prefix(list)? {
            "" => Some(None),
            rest => rest.strip_prefix('.').map(Some),
        };
        let mut items = self.unrolled.iter().enumerate().rev();
        let found = items.find_map(|(at, (list, _))| inside(list).map(|rest| (Some(at), rest)));
        found.unwrap_or((None, Some(path)))
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
        let (at, rest) = self.place(path);
        let value = Arc::make_mut(at.map_or(&mut self.value, |at| &mut self.unrolled[at].1));
        let mut names = rest.into_iter().flat_map(|rest| rest.split('.'));
        let slot = names.try_fold(value, |value, name| value.get_mut(name));
        let Some(Value::Array(items)) = slot.map(Value::take) else {
            return Err(format!("field `{path}` is missing or no list"));
        };
        let list = Arc::from(path);
        let record = |item| {
            let mut record = self.clone();
            record.unrolled.push((Arc::clone(&list), Arc::new(item)));
            record
        };
        Ok(items.into_iter().map(record).collect())
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

/// The first of the files `names` that lies in `folder`: there or, if it lies in no folder of its own, by its last part;
/// as it is or with `.gz` or `.zst` behind it.
fn find(folder: &Path, names: &[String]) -> Option<PathBuf> {
    let places = names.iter().flat_map(|name| {
        let last = Path::new(name).file_name().map(|last| last.to_string_lossy().into_owned());
        std::iter::once(name.clone()).chain(last)
    });
    places.into_iter().find_map(|place| plain_or_compressed(folder, &place))
}

fn missing(folder: &Path, names: &[String]) -> Error {
    let reason = format!(
        "no {} here, plain or with .gz or .zst: datasets/README.md says where each task's files are got",
        names.join(" or ")
    );
    missing_in(folder, reason)
}

/// Reads the records of a task: those of its file of lines of JSON, or of every file of such lines in its `.tar`
/// archive, by name. Of each file at most the first `limit`. A record without the field `label` is given that of its
/// line in the file of labels, if the task has one.
///
/// # Errors
/// [`Error::Io`] or [`Error::Data`], with the file and the line.
pub(super) fn read(
    folder: &Path,
    data: &DataFile,
    label: Option<&str>,
    limit: Option<usize>,
) -> Result<Vec<Group>> {
    let names = data.file.names();
    let file = find(folder, names).ok_or_else(|| missing(folder, names))?;
    let input = Input::open(&file)?;
    let name = plain_name(&file);
    let mut groups = match name.ends_with(".tar") || name.ends_with(".tgz") {
        true => read_archive(input, limit)?,
        false => vec![read_lines(input, limit)?],
    };
    groups.sort_by(|one, other| one.name.cmp(&other.name));
    if groups.iter().all(|group| group.records.is_empty()) {
        return Err(Error::data(file, "there is no record in it"));
    }
    if let (Some(labels), Some(label)) = (&data.labels, label) {
        add_labels(folder, labels.names(), &mut groups, label, limit)?;
    }
    for group in &mut groups {
        group.unroll(&data.unroll, limit)?;
    }
    Ok(groups)
}

fn read_archive(input: Input, limit: Option<usize>) -> Result<Vec<Group>> {
    let file = input.name().to_path_buf();
    let failed = fault(&file);
    let mut archive = tar::Archive::new(input);
    let mut groups = Vec::new();
    for entry in archive.entries().map_err(&failed)? {
        let mut entry = entry.map_err(&failed)?;
        let inside = entry.path().map_err(&failed)?.into_owned();
        let name = plain_name(&inside);
        if ![".jsonl", ".ndjson", ".json"].iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        let path = file.join(inside);
        let mut bytes = Vec::new();
        entry.by_ref().take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(&failed)?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(Error::data(
                path,
                format!("larger than {LARGEST_FILE} bytes, the most in an archive"),
            ));
        }
        groups.push(read_lines(Input::memory(&path.to_string_lossy(), bytes)?, limit)?);
    }
    // An archive ends before its file does, where the checksum of a compressed one stands.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(&failed)?;
    Ok(groups)
}

fn read_lines(input: Input, limit: Option<usize>) -> Result<Group> {
    let path = input.name().to_path_buf();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.split('.').next().unwrap_or_default().to_owned();
    let mut lines = input.lines(LONGEST_LINE);
    let mut records = Vec::new();
    while limit.is_none_or(|limit| records.len() < limit)
        && let Some(line) = lines.next_line()?
    {
        if line.trim().is_empty() {
            continue;
        }
        let value = serde_json::from_str(line).map_err(|error| error.to_string());
        let value = value.map_err(|error| lines.error(format!("no JSON: {error}")))?;
        records.push(Record { value: Arc::new(value), unrolled: Vec::new(), line: lines.number() });
    }
    Ok(Group { name, path, records })
}

/// Gives every record that lacks the field `label` the one of its line in the file of labels.
fn add_labels(
    folder: &Path,
    names: &[String],
    groups: &mut [Group],
    label: &str,
    limit: Option<usize>,
) -> Result<()> {
    let [group] = groups else { return Ok(()) };
    let Some(unlabelled) = group.records.iter().find(|record| record.value.get(label).is_none()) else {
        return Ok(());
    };
    let Some(file) = find(folder, names) else {
        let reason =
            format!("there is no field `{label}`, and no {} in {}", names.join(" or "), folder.display());
        return Err(unlabelled.error(&group.path, &reason));
    };
    let mut lines = Input::open(&file)?.lines(LONGEST_LINE);
    let mut labels = Vec::new();
    while let Some(line) = lines.next_line()? {
        let text = line.trim();
        if !text.is_empty() {
            labels.push(text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from));
        }
    }
    let (found, records) = (labels.len(), group.records.len());
    if found < records || (limit.is_none() && found != records) {
        let reason = format!("{found} labels for the {records} records of {}", group.path.display());
        return Err(Error::data(file, reason));
    }
    for (record, value) in group.records.iter_mut().zip(labels) {
        if let Value::Object(fields) = Arc::make_mut(&mut record.value) {
            fields.entry(label).or_insert(value);
        }
    }
    Ok(())
}

impl Group {
    /// A record for each item of the lists at `paths`, the first `limit` of them.
    fn unroll(&mut self, paths: &[String], limit: Option<usize>) -> Result<()> {
        for field in paths {
            let mut unrolled = Vec::new();
            for record in std::mem::take(&mut self.records) {
                let line = record.line;
                let items = record.unroll(field);
                unrolled.extend(
                    items.map_err(|reason| Error::data(&self.path, format!("line {line}: {reason}")))?,
                );
            }
            self.records = unrolled;
        }
        self.records.truncate(limit.unwrap_or(usize::MAX));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn data(toml: &str) -> DataFile {
        toml::from_str(toml).unwrap()
    }

    fn numbers(groups: &[Group]) -> Vec<usize> {
        groups[0].records.iter().map(|record| record.number("x").unwrap()).collect()
    }

    #[test]
    fn records_come_from_lines_of_json_compressed_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let data = data("file = \"some/where/a.jsonl\"");
        let lines = "\u{feff}{\"x\": 1}\n\n{\"x\": 2}\r\n{\"x\": 3}\n";
        fs::write(folder.path().join("a.jsonl"), lines).unwrap();
        let all = read(folder.path(), &data, None, None).unwrap();
        assert_eq!(all[0].name, "a");
        assert_eq!(numbers(&all), [1, 2, 3]);
        assert_eq!(numbers(&read(folder.path(), &data, None, Some(2)).unwrap()), [1, 2]);
        fs::remove_file(folder.path().join("a.jsonl")).unwrap();
        fs::write(folder.path().join("a.jsonl.zst"), zstd::encode_all(lines.as_bytes(), 0).unwrap()).unwrap();
        assert_eq!(numbers(&read(folder.path(), &data, None, None).unwrap()), [1, 2, 3]);
    }

    #[test]
    fn of_several_names_the_first_that_is_there_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let data = data("file = [\"a.jsonl\", \"b.jsonl\"]");
        let error = read(folder.path(), &data, None, None).unwrap_err().to_string();
        assert!(error.contains("no a.jsonl or b.jsonl here"), "{error}");
        fs::write(folder.path().join("b.jsonl"), "{\"x\": 2}").unwrap();
        assert_eq!(numbers(&read(folder.path(), &data, None, None).unwrap()), [2]);
        fs::write(folder.path().join("a.jsonl"), "{\"x\": 1}").unwrap();
        assert_eq!(numbers(&read(folder.path(), &data, None, None).unwrap()), [1]);
    }

    #[test]
    fn labels_in_a_file_of_their_own_become_a_field_of_the_records_that_lack_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = data("file = \"a.jsonl\"\nlabels = \"a-labels.lst\"");
        let read = |limit| read(folder.path(), &data, Some("label"), limit);
        let labels = |limit| -> Vec<Value> {
            let groups = read(limit).unwrap();
            groups[0].records.iter().map(|record| record.field("label").unwrap().clone()).collect()
        };
        fs::write(folder.path().join("a.jsonl"), "{\"x\": 1}\n{\"x\": 2}\n{\"x\": 3}\n").unwrap();
        let error = read(None).unwrap_err().to_string();
        assert!(error.contains("a.jsonl: line 1: ") && error.contains("a-labels.lst"), "{error}");
        fs::write(folder.path().join("a-labels.lst"), "1\r\n0\r\nmaybe\r\n").unwrap();
        assert_eq!(labels(None), [json!(1), json!(0), json!("maybe")]);
        assert_eq!(labels(Some(2)), [json!(1), json!(0)]);
        fs::write(folder.path().join("a-labels.lst"), "1\n0\n").unwrap();
        assert_eq!(labels(Some(2)), [json!(1), json!(0)]);
        let error = read(None).unwrap_err().to_string();
        assert!(error.contains("a-labels.lst: 2 labels for the 3 records of "), "{error}");
        // Where records have labels, those hold, and no other file is looked at.
        fs::write(folder.path().join("a.jsonl"), "{\"label\": 7}\n{\"label\": 8}\n").unwrap();
        fs::remove_file(folder.path().join("a-labels.lst")).unwrap();
        assert_eq!(labels(None), [json!(7), json!(8)]);
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
        let path = folder.path().join("pairs.tar.gz");
        fs::write(&path, &bytes).unwrap();
        let read = || read(folder.path(), &data("file = \"pairs.tar\""), None, None);
        let groups = read().unwrap();
        let found: Vec<(&str, usize)> = groups.iter().map(|g| (g.name.as_str(), g.records.len())).collect();
        assert_eq!(found, [("a", 1), ("b", 2)]);
        fs::write(&path, &bytes[..bytes.len() - 12]).unwrap();
        assert!(matches!(read(), Err(Error::Data { path: named, .. }) if named == path));
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
    fn records_unrolled_from_one_share_what_they_have_in_common() {
        let record =
            Record::new(json!({"text": "t", "rows": [{"x": 1, "items": [2, 3]}, {"x": 4, "items": [5]}]}));
        let rows = record.unroll("rows").unwrap();
        assert!(Arc::ptr_eq(&rows[0].value, &rows[1].value));
        let items = rows[0].clone().unroll("rows.items").unwrap();
        assert!(Arc::ptr_eq(&items[0].value, &items[1].value));
        assert!(Arc::ptr_eq(&items[0].unrolled[0].1, &items[1].unrolled[0].1));
        let numbers = |path: &str| items.iter().map(|item| item.number(path).unwrap()).collect::<Vec<_>>();
        assert_eq!((numbers("rows.items"), numbers("rows.x")), (vec![2, 3], vec![1, 1]));
        assert_eq!(
            rows[1].texts("rows.items").unwrap_err(),
            "field `rows.items` is a list, expected a list of texts"
        );
        // Another list with a name that begins alike is not inside of it.
        assert!(items[0].field("rows.itemsets").is_err());
        // Lists side by side: each item of the one with each of the other.
        let sides = Record::new(json!({"a": [1, 2], "b": [3, 4]})).unroll("a").unwrap();
        let pairs = sides.into_iter().flat_map(|side| side.unroll("b").unwrap());
        let pairs =
            pairs.map(|pair| (pair.number("a").unwrap(), pair.number("b").unwrap())).collect::<Vec<_>>();
        assert_eq!(pairs, [(1, 3), (1, 4), (2, 3), (2, 4)]);
    }

    #[test]
    fn a_broken_line_is_named_and_an_empty_file_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |bytes: &[u8]| {
            fs::write(folder.path().join("a.jsonl"), bytes).unwrap();
            read(folder.path(), &data("file = \"a.jsonl\""), None, None).unwrap_err().to_string()
        };
        for (bytes, said) in [
            (&b"{\"x\": 1}\n{\"x\": \n"[..], "a.jsonl: line 2: no JSON: "),
            (b"{\"x\": 1}\n{\"x\": \"\xff\"}", "a.jsonl: line 2: not UTF-8 at byte 8 of the line"),
            (b"\n", "a.jsonl: there is no record in it"),
        ] {
            let error = refused(bytes);
            assert!(error.contains(said), "{error}");
        }
    }
}
