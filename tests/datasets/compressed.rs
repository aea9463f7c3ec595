//! Files that are compressed where their format is read as it is: the compression is named, and what to do.

use std::fs;
use std::path::Path;

use burn::backend::Flex;
use burn_cht::data::ImageSource;
use burn_cht::data::language::{LanguageSource, Tokenizer};
use burn_cht::data::translation::TranslationTask;
use burn_cht::interchange::{ImportedLinks, load_dense, load_sparse};
use burn_cht::model::llama::LlamaConfig;
use burn_cht::model::llama::checkpoint::{read_hugging_face, read_llama2c, write_hugging_face};
use burn_cht::model::mlp::{Mlp, MlpConfig};
use burn_cht::nn::Layout;
use burn_cht::{Error, Result};

type Read = fn(&Path) -> Result<()>;

fn mlp() -> Mlp<Flex> {
    MlpConfig::new(6, vec![8], 3).with_density(0.5).init(&Default::default())
}

/// Files by their names, and who reads them.
const READERS: [(&str, Read); 12] = [
    ("a.parquet", |path| LanguageSource::Files.find(Some(path), "text").map(drop)),
    ("a.parquet.gz", |path| LanguageSource::Files.find(Some(path), "text").map(drop)),
    ("a.model", |path| Tokenizer::load(path).map(drop)),
    ("a.bin", |path| Tokenizer::load(path).map(drop)),
    ("tokenizer.json.gz", |path| Tokenizer::load(path).map(drop)),
    ("stories.bin", |path| read_llama2c::<Flex>(path, Layout::Auto, &Default::default()).map(drop)),
    ("dense.safetensors", |path| load_dense(mlp(), path, ImportedLinks::Nonzero).map(drop)),
    ("sparse.safetensors", |path| load_sparse(mlp(), path).map(drop)),
    // Archives in place of folders.
    ("mnist.tar.gz", |path| ImageSource::Mnist.load(Some(path)).map(drop)),
    ("cifar.tgz", |path| ImageSource::Cifar10.load(Some(path)).map(drop)),
    ("multi30k.tgz", |path| TranslationTask::load(path, "en", "de").map(drop)),
    ("wikitext.zip", |path| LanguageSource::WikiText2.find(Some(path), "text").map(drop)),
];

fn refused(path: &Path, read: impl Fn(&Path) -> Result<()>, named: &Path) {
    for (start, compression) in
        [(&b"\x1f\x8b\x08\0"[..], "gzip"), (b"\x28\xb5\x2f\xfd\x04", "Zstandard"), (b"PK\x03\x04", "zip")]
    {
        fs::write(named, [start, &[7; 60]].concat()).unwrap();
        match read(path) {
            Err(Error::Data { path, reason }) => {
                assert_eq!(path, named);
                assert_eq!(reason, format!("compressed by {compression}: decompress it first"));
            }
            other => panic!("{}: {other:?}", named.display()),
        }
    }
}

#[test]
fn a_compressed_file_of_a_format_that_is_read_as_it_is_is_told_from_a_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    for (name, read) in READERS {
        let path = folder.path().join(name);
        refused(&path, read, &path);
    }
    write_hugging_face(&LlamaConfig::new(6, 8, 8, 1, 2).init::<Flex>(&Default::default()), folder.path())
        .unwrap();
    let read = |path: &Path| read_hugging_face::<Flex>(path, Layout::Auto, &Default::default()).map(drop);
    let weights = folder.path().join("model.safetensors");
    refused(folder.path(), read, &weights);
    fs::remove_file(&weights).unwrap();
    refused(folder.path(), read, &folder.path().join("model.safetensors.zst"));
}

#[test]
fn a_damaged_file_that_is_not_compressed_is_called_damaged() {
    let folder = tempfile::tempdir().unwrap();
    for (name, read) in READERS {
        let path = folder.path().join(name);
        fs::write(&path, [7; 64]).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && !error.contains("compressed"), "{error}");
    }
}
