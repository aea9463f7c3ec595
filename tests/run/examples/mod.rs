//! The examples as programs: what they leave behind, say and refuse.

mod export;
mod language_model;
mod messages;
mod other_data;
mod rates;
mod saved;
mod tools;
mod translation;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where cargo puts the example `name`.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("examples").join(name)
}

/// Whether there is a program of `report` or `zero_shot`: `cargo test` builds their own tests in its place. What needs
/// one is skipped where there is none.
fn is_built(name: &str) -> bool {
    let built = program(name).is_file();
    if !built {
        eprintln!("skipped what needs the example {name}: cargo build --release --examples");
    }
    built
}

/// The example `name`, which `cargo test` has built beside this test.
///
/// `cargo test --test run` builds no examples: it finds those of the last `cargo build --release --examples`.
fn binary(name: &str) -> PathBuf {
    let built = program(name);
    assert!(built.is_file(), "{} is not built: cargo build --release --examples", built.display());
    built
}

fn example<S: AsRef<str>>(name: &str, arguments: &[S]) -> Output {
    Command::new(binary(name)).args(arguments.iter().map(AsRef::as_ref)).output().unwrap()
}

/// What an example that succeeds prints to the standard output and to the standard error.
#[track_caller]
fn succeeds<S: AsRef<str>>(name: &str, arguments: &[S]) -> (String, String) {
    let output = example(name, arguments);
    let (out, error) = texts(&output);
    assert!(output.status.success(), "{out}\n{error}");
    (out, error)
}

/// What an example that fails prints to the standard error.
#[track_caller]
fn fails<S: AsRef<str>>(name: &str, arguments: &[S]) -> String {
    let output = example(name, arguments);
    let (out, error) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}\n{error}");
    error
}

/// What an example prints to the standard output that is given `input` on the standard input.
#[track_caller]
fn fed<S: AsRef<str>>(name: &str, arguments: &[S], input: &[u8]) -> String {
    let mut command = Command::new(binary(name));
    command.args(arguments.iter().map(AsRef::as_ref));
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(input).unwrap();
    let output = process.wait_with_output().unwrap();
    let (out, error) = texts(&output);
    assert!(output.status.success(), "{out}\n{error}");
    out
}

/// `bytes` behind a byte order mark.
fn marked(bytes: &[u8]) -> Vec<u8> {
    [b"\xef\xbb\xbf", bytes].concat()
}

/// `bytes` compressed.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Writes files, by name and content, into a new folder.
fn folder(files: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn path(folder: &tempfile::TempDir, name: &str) -> String {
    PathBuf::from(folder.path()).join(name).display().to_string()
}
