//! Parquet: a record a document.

mod footer;

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;

use super::text::{Piece, Pieces};
use crate::error::{Error, Result};
use crate::file::unless_compressed;
use crate::panic::without_panic;

/// What stands in the column `field` of every record.
pub(super) fn pieces(path: &Path, field: &str) -> Result<Pieces> {
    let damaged = |error: String| {
        unless_compressed(path, Error::data(path, format!("no Parquet file, or a damaged one: {error}")))
    };
    let mut file = File::open(path).map_err(Error::io(path))?;
    if let Some(bytes) = footer_of(&mut file).map_err(Error::io(path))? {
        footer::check(&bytes).map_err(damaged)?;
    }
    let reader = without_panic(|| SerializedFileReader::new(Bounded(file))).map_err(damaged)?;
    let schema = reader.metadata().file_metadata().schema_descr().root_schema().clone();
    let columns = schema.get_fields();
    let Some(column) = columns.iter().find(|column| column.name() == field) else {
        let names = columns.iter().map(|column| column.name()).collect::<Vec<_>>().join(", ");
        return Err(Error::data(path, format!("there is no column `{field}`; there are: {names}")));
    };
    if let Some(compression) = unsupported_compression(reader.metadata(), field) {
        let reason = format!(
            "column `{field}` is compressed by {compression}, which is not supported; supported: Snappy, gzip, Zstandard \
             and none"
        );
        return Err(Error::data(path, reason));
    }
    let projection = Type::group_type_builder(schema.name()).with_fields(vec![column.clone()]).build();
    let rows = || RowIter::from_file_into(Box::new(reader)).project(Some(projection?));
    let mut rows = without_panic(rows).map_err(damaged)?;
    let (path, field, mut record) = (path.to_path_buf(), field.to_owned(), 0);
    Ok(Box::new(std::iter::from_fn(move || {
        record += 1;
        let refused = |what: String| Error::data(&path, format!("record {record}: {what}"));
        let row = match without_panic(|| rows.next().transpose()) {
            Ok(row) => row?,
            Err(error) => return Some(Err(refused(format!("damaged: {error}")))),
        };
        Some(match row.into_columns().pop() {
            Some((_, Field::Str(text))) => Ok(Piece::document(text)),
            Some((_, Field::Bytes(bytes))) => match bytes.as_utf8() {
                Ok(text) => Ok(Piece::document(text.into())),
                Err(_) => Err(refused(format!("column `{field}` is not UTF-8 text"))),
            },
            _ => Err(refused(format!("column `{field}` holds no text"))),
        })
    })))
}

/// The footer of the file; none if it does not end as Parquet does, of which the reader says more.
fn footer_of(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    let size = file.seek(SeekFrom::End(0))?;
    if size < END {
        return Ok(None);
    }
    let mut end = [0; END as usize];
    file.seek(SeekFrom::Start(size - END))?;
    file.read_exact(&mut end)?;
    let length = u32::from_le_bytes([end[0], end[1], end[2], end[3]]);
    if end[4..] != *b"PAR1" || u64::from(length) > size - END {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(size - END - u64::from(length)))?;
    let mut footer = vec![0; length as usize];
    file.read_exact(&mut footer)?;
    file.rewind()?;
    Ok(Some(footer))
}

/// Bytes of the length of the footer and of the letters behind it.
const END: u64 = 8;

/// A file behind whose end nothing is asked for: the crate skips as many values as a header claims, one by one, though
/// there are no more, and reserves as many bytes.
struct Bounded(File);

impl Length for Bounded {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Bounded {
    type T = NoEnd<<File as ChunkReader>::T>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        self.0.get_read(start).map(NoEnd)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.len()) {
            let reason = format!("{length} bytes from byte {start} on, of {} there are", self.len());
            return Err(ParquetError::EOF(reason));
        }
        self.0.get_bytes(start, length)
    }
}

/// A reader whose end is an error.
struct NoEnd<R>(R);

impl<R: Read> Read for NoEnd<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into)? {
            0 if !into.is_empty() => Err(ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}

/// The compression of the column, if it is one that is not compiled in.
fn unsupported_compression(metadata: &ParquetMetaData, field: &str) -> Option<&'static str> {
    let chunks = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
    let own = chunks.filter(|chunk| chunk.column_path().parts().first().is_some_and(|name| name == field));
    own.map(ColumnChunkMetaData::compression).find_map(|compression| match compression {
        Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_) | Compression::ZSTD(_) => None,
        Compression::BROTLI(_) => Some("Brotli"),
        Compression::LZ4 | Compression::LZ4_RAW => Some("LZ4"),
        Compression::LZO => Some("LZO"),
    })
}
