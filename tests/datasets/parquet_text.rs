//! Texts in Parquet: files as others write them, and files that claim more than they hold.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::language::{documents, file};

/// As C4 and OpenWebText come: several row groups, Zstandard, a column of text among others.
pub(super) fn parquet_file(path: &Path, texts: &[&str]) {
    let schema =
        parse_message_type("message c4 { optional int32 id; required binary text (UTF8); }").unwrap();
    let compression = parquet::basic::Compression::ZSTD(Default::default());
    let properties = WriterProperties::builder().set_compression(compression).build();
    let file = fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).unwrap();
    for (at, text) in texts.iter().enumerate() {
        let mut group = writer.next_row_group().unwrap();
        let mut ids = group.next_column().unwrap().unwrap();
        ids.typed::<Int32Type>().write_batch(&[at as i32], Some(&[1]), None).unwrap();
        ids.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[ByteArray::from(*text)], None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

/// The header of its only page has a list of two thousand million numbers, none of which is there. Found by fuzzing.
#[test]
fn a_page_of_parquet_that_claims_a_list_without_an_end_is_an_error() {
    let digits = concat!(
        "b3b3b3b3b3b3b3b3b3b3b3b30d0d0d0d0d000610191807636f6e74656e7415001608166c166cdaf7ffffff78787878787878",
        "b3b3b3b3b3b3b3b3060000020000000801070000004f6e6520c3a92e000000000300000074776f0b00000074687265652077",
        "6f7264731502192c4806736368656d61150200150c25021804746578742500001608191c191c26081c150c19350006101918",
        "04746578741500160816781678260800001678160800004500000050415231",
    );
    let error = error_of_parquet(digits);
    assert!(error.starts_with("a.parquet: record 1: damaged"), "{error}");
}

/// Found by fuzzing: the crate would reserve gigabytes for the first, and count for seconds in the second.
#[test]
fn a_footer_of_parquet_that_claims_more_than_it_has_is_an_error() {
    let children = concat!(
        "5241527315000001000032000000001502192c4806316368656d6115feffeafb25004104746578742500001608191c191c26",
        "081c150cefca0006101918047465787415acacac008a01168a0100082600168a01160800004800000050415231",
    );
    let booleans = concat!(
        "514152311500154a15682c1508150015061506636f001608191c191c41081c150c19350d0d02001f8b0800000000000000f2",
        "002a2a2a2a2a2a2a2a2a2a2a2b2b2b7e272b2b2b2b2b2b2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a000000cb2a2a51949aaa",
        "509ef9f9f9ca5f94520c001047357d25001502192c4806736368656d61150200150c25001804746578742500001608191c19",
        "1c26081c150c193500061019f1fb8b9a787415041608168a01168a0126080000168a01160800004800000050415231",
    );
    for (digits, expected) in [(children, "116 bytes claimed where 47 are left"), (booleans, "claimed where")]
    {
        let error = error_of_parquet(digits);
        assert!(error.starts_with("a.parquet: no Parquet file, or a damaged one: "), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

/// What is said of a file of these bytes, from its name on.
fn error_of_parquet(digits: &str) -> String {
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    fs::write(&path, (0..digits.len()).step_by(2).map(digit).collect::<Vec<_>>()).unwrap();
    let error = documents(&file(&path)).unwrap_err().to_string();
    error.strip_prefix(&format!("{}/", folder.path().display())).unwrap_or(&error).to_string()
}
