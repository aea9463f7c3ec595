//! Files that are, at any moment, either the old one or the new one, and whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// Makes `bytes` the content of the file at `path`.
///
/// They are written to another file in the same folder, brought to the disk and renamed, so that whoever opens `path`
/// sees the old content or the new one, also after a crash, a full disk or a power cut in between.
///
/// # Errors
///
/// [`Error::Io`]; the file at `path` is then untouched and nothing else is left behind.
pub fn write_atomically(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    replace(path, |file| file.write_all(bytes).map_err(Error::io(path)))
}

/// As [`write_atomically`], with the content written by `write`.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let Some(name) = path.file_name() else {
        return Err(Error::argument("path", path.display(), "the path of a file"));
    };
    let mut partial = OsString::from(".");
    partial.push(name);
    partial.push(".partial");
    // The same for every attempt: what a killed process left behind is overwritten by the next one.
    let partial = path.with_file_name(partial);
    let written = File::create(&partial).map_err(Error::io(path)).and_then(|mut file| {
        write(&mut file)?;
        file.sync_all().map_err(Error::io(path))?;
        fs::rename(&partial, path).map_err(Error::io(path))
    });
    match written {
        Ok(()) => {
            sync_folder(path);
            Ok(())
        }
        Err(error) => {
            fs::remove_file(&partial).ok();
            Err(error)
        }
    }
}

/// Brings the renaming to the disk. File systems that cannot have renamed all the same, so a refusal is no error.
fn sync_folder(path: &Path) {
    if cfg!(unix)
        && let Some(folder) = path.parent()
    {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder).and_then(|folder| folder.sync_all()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_and_nothing_else_remains() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        write_atomically(&path, b"old and longer").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["summary.json"]);
    }

    #[test]
    fn a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model-3.sealed");
        write_atomically(&path, b"old").unwrap();
        let failed = replace(&path, |file| {
            file.write_all(b"half").unwrap();
            Err(Error::io(&path)(std::io::Error::from(std::io::ErrorKind::StorageFull)))
        });
        let Err(Error::Io { path: named, source }) = failed else { panic!("{failed:?}") };
        assert_eq!(named, path);
        assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["model-3.sealed"]);
    }

    #[test]
    fn a_write_that_never_finished_is_invisible_and_overwritten_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model-3.sealed");
        fs::write(
            folder.path().join(".model-3.sealed.partial"),
            b"what a killed process left, which is long",
        )
        .unwrap();
        assert!(!path.exists());
        write_atomically(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(folder.path()), ["model-3.sealed"]);
    }

    #[test]
    fn a_missing_folder_and_a_folder_in_the_files_place_are_errors_that_name_the_path() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("none/summary.json"), folder.path().join("taken")] {
            fs::create_dir_all(folder.path().join("taken/full")).unwrap();
            let error = write_atomically(&path, b"new").unwrap_err();
            assert!(error.to_string().ends_with(&path.display().to_string()), "{error}");
        }
        assert_eq!(names(folder.path()), ["taken"]);
    }
}
