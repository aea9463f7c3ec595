//! The format of a text file, told by its name.

use std::path::Path;

use crate::error::{Error, Result};
use crate::file::{Input, plain_name};

/// How the texts of a file are parted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    JsonLines,
    Parquet,
}

const ENDINGS: [(&str, Format); 6] = [
    ("txt", Format::Plain),
    ("text", Format::Plain),
    ("jsonl", Format::JsonLines),
    ("ndjson", Format::JsonLines),
    ("json", Format::JsonLines),
    ("parquet", Format::Parquet),
];

impl Format {
    /// The format of the file at `path`, by the ending of its name, in capitals or not, before `.gz` or `.zst`.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] for an ending that is not known, unless something worse is the matter with the file.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let name = plain_name(path);
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        if let Some((_, format)) = ENDINGS.iter().find(|(known, _)| *known == ending) {
            return Ok(*format);
        }
        // A file that is missing, or compressed in a way that cannot be read, is not to be renamed.
        Input::open(path)?;
        let known = ENDINGS.map(|(ending, _)| format!(".{ending}")).join(", ");
        let reason = match ending {
            "" => "its name has no ending that tells its format".into(),
            ending => format!("`.{ending}` is not the ending of a known format"),
        };
        Err(Error::data(
            path,
            format!("{reason}; known: {known}, all but Parquet also with .gz or .zst behind"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_told_by_the_ending_before_that_of_a_compression() {
        for (name, format) in [
            ("train.txt", Format::Plain),
            ("train-00.TXT.gz", Format::Plain),
            ("a.b/train.JSONL", Format::JsonLines),
            ("train.ndjson.ZST", Format::JsonLines),
            ("train.json", Format::JsonLines),
            ("train-00000-of-00002.Parquet", Format::Parquet),
        ] {
            assert_eq!(Format::of(Path::new(name)).unwrap(), format, "{name}");
        }
    }

    #[test]
    fn an_ending_that_is_not_known_is_refused_with_those_that_are() {
        let folder = tempfile::tempdir().unwrap();
        for (name, said) in [("train.csv", "`.csv`"), ("train", "no ending"), ("train.arrow.gz", "`.arrow`")]
        {
            let path = folder.path().join(name);
            std::fs::write(&path, "text").unwrap();
            let error = Format::of(&path).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}: ", path.display())) && error.contains(said), "{error}");
            for (ending, _) in ENDINGS {
                assert!(error.contains(&format!(".{ending}")), "{error}");
            }
        }
        let missing = Format::of(&folder.path().join("missing.csv")).unwrap_err();
        assert!(matches!(missing, Error::Io { .. }), "{missing}");
    }
}
