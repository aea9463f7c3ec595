//! Files of JSON lines that a run appends to and a resumed run continues.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::file::write_atomically;

/// A file with one JSON value a line, open for appending.
#[derive(Debug)]
pub(super) struct JsonLines {
    path: PathBuf,
    file: File,
}

impl JsonLines {
    /// Opens or makes the file at `path` and returns its values. Lines that `keep` refuses are dropped first, and so is
    /// a last line without an end, which a killed process left; the others stay as they are, byte for byte.
    pub(super) fn open<T: DeserializeOwned>(
        path: &Path,
        keep: impl Fn(&T) -> bool,
    ) -> Result<(Self, Vec<T>)> {
        let old = text(path)?;
        let (kept, values): (Vec<&str>, Vec<T>) = parse(path, &old, keep)?.into_iter().unzip();
        let kept = kept.concat();
        if kept != old {
            write_atomically(path, kept.as_bytes())?;
        }
        let file = File::options().create(true).append(true).open(path).map_err(Error::io(path))?;
        Ok((Self { path: path.to_path_buf(), file }, values))
    }

    /// Appends one line per value, all in one write.
    pub(super) fn append<T: Serialize>(&mut self, values: &[T]) -> Result<()> {
        let mut lines = Vec::new();
        for value in values {
            serde_json::to_writer(&mut lines, value)
                .map_err(|error| Error::data(&self.path, format!("a line could not be made: {error}")))?;
            lines.push(b'\n');
        }
        self.file.write_all(&lines).map_err(Error::io(&self.path))
    }
}

/// The values of the file at `path` that `keep` wants; none if it is not there. Nothing is written.
pub(super) fn read<T: DeserializeOwned>(path: &Path, keep: impl Fn(&T) -> bool) -> Result<Vec<T>> {
    Ok(parse(path, &text(path)?, keep)?.into_iter().map(|(_, value)| value).collect())
}

fn text(path: &Path) -> Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Error::data(path, "not a text file")),
        text => text.map_err(Error::io(path)),
    }
}

/// Whole lines with their values, those that `keep` wants.
fn parse<'a, T: DeserializeOwned>(
    path: &Path,
    text: &'a str,
    keep: impl Fn(&T) -> bool,
) -> Result<Vec<(&'a str, T)>> {
    let mut kept = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate().filter(|(_, line)| line.ends_with('\n')) {
        let value = serde_json::from_str(line)
            .map_err(|error| Error::data(path, format!("line {}: {error}", index + 1)))?;
        if keep(&value) {
            kept.push((line, value));
        }
    }
    Ok(kept)
}

#[cfg(test)]
impl JsonLines {
    /// A file whose every write fails, as on a full disk.
    pub(super) fn unwritable(path: &Path) -> Self {
        fs::write(path, "").unwrap();
        Self { path: path.to_path_buf(), file: File::open(path).unwrap() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reopen(path: &Path, keep: impl Fn(&u32) -> bool) -> (JsonLines, Vec<u32>) {
        JsonLines::open(path, keep).unwrap()
    }

    #[test]
    fn lines_are_appended_after_those_that_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.jsonl");
        let (mut lines, values) = reopen(&path, |_| true);
        assert!(values.is_empty());
        lines.append(&[1, 2]).unwrap();
        lines.append(&[3, 4]).unwrap();
        assert_eq!(read(&path, |value: &u32| *value > 1).unwrap(), [2, 3, 4]);
        let (mut lines, values) = reopen(&path, |value| value % 2 == 0);
        assert_eq!(values, [2, 4]);
        lines.append(&[5]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n4\n5\n");
    }

    #[test]
    fn a_last_line_without_an_end_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.jsonl");
        for cut in ["7\n12", "7\n{\"upd", "7\n"] {
            fs::write(&path, cut).unwrap();
            let (mut lines, values) = reopen(&path, |_| true);
            assert_eq!(values, [7], "{cut}");
            lines.append(&[8]).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "7\n8\n", "{cut}");
        }
    }

    #[test]
    fn a_line_that_is_no_json_and_a_file_that_is_no_text_are_errors_that_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.jsonl");
        fs::write(&path, "7\nnonsense\n8\n").unwrap();
        let error = JsonLines::open::<u32>(&path, |_| true).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{}: line 2:", path.display())), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "7\nnonsense\n8\n");
        fs::write(&path, [0xff, 0xfe, b'\n']).unwrap();
        let error = JsonLines::open::<u32>(&path, |_| true).unwrap_err();
        assert!(matches!(&error, Error::Data { path: named, .. } if *named == path), "{error}");
    }
}
