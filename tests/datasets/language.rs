//! Texts, shards and sequences: what goes in comes out, once, in the same order; what is damaged is refused.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::backend::Flex;
use burn::data::dataloader::DataLoader;
use burn_cht::Error;
use burn_cht::data::language::{
    Arrangement, Corpus, LanguageSource, Sequence, SequenceBatch, SequenceLoader, Sequences, Texts, Tokenizer,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::parquet_text::parquet_file;

fn bytes() -> Tokenizer {
    Tokenizer::bytes().unwrap()
}

fn memory(text: &str) -> Texts {
    Texts::Memory("text", Arc::from(text))
}

pub(super) fn file(path: &Path) -> Texts {
    Texts::Files(vec![path.into()], "text".into())
}

pub(super) fn documents(texts: &Texts) -> Result<Vec<String>, Error> {
    texts.pieces(Arrangement::Documents).map(|piece| piece.map(|piece| piece.text)).collect()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_format_gives_the_same_documents() {
    let folder = tempfile::tempdir().unwrap();
    let texts = ["a first document", "a second — ünï 😀", "and\u{2003}a third"];
    let plain = texts.join("\n\n");
    let json = texts.map(|text| serde_json::json!({"url": 1, "text": text}).to_string()).join("\n\n") + "\n";
    let written: [(&str, Vec<u8>); 14] = [
        ("a.txt", plain.as_bytes().to_vec()),
        ("a.txt.gz", gzipped(plain.as_bytes())),
        ("a.txt.zst", zstd::encode_all(plain.as_bytes(), 3).unwrap()),
        ("b.jsonl", json.as_bytes().to_vec()),
        ("b.json.gz", gzipped(json.as_bytes())),
        ("b.jsonl.zst", zstd::encode_all(json.as_bytes(), 3).unwrap()),
        ("B.JSONL", json.as_bytes().to_vec()),
        ("b.ndjson", json.as_bytes().to_vec()),
        ("b.NDJSON.GZ", gzipped(json.as_bytes())),
        // A byte order mark is no part of the text.
        ("a.txt", format!("\u{feff}{plain}").into_bytes()),
        ("b.jsonl", format!("\u{feff}{json}").into_bytes()),
        // Compression is told by the content, and may come in parts.
        ("b.jsonl", gzipped(json.as_bytes())),
        ("b.jsonl", [gzipped(&json.as_bytes()[..30]), gzipped(&json.as_bytes()[30..]), vec![0; 9]].concat()),
        (
            "a.txt",
            [b"\x51\x2a\x4d\x18\x02\0\0\0ab".to_vec(), zstd::encode_all(plain.as_bytes(), 3).unwrap()]
                .concat(),
        ),
    ];
    for (name, bytes) in written {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert_eq!(documents(&file(&path)).unwrap(), texts, "{name}");
    }
    let path = folder.path().join("c.parquet");
    parquet_file(&path, &texts);
    assert_eq!(documents(&file(&path)).unwrap(), texts);
    let all = Texts::Files(vec![folder.path().join("a.txt"), path], "text".into());
    assert_eq!(documents(&all).unwrap(), [texts, texts].concat());
}

#[test]
fn a_long_text_is_read_in_pieces_that_make_it_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.txt");
    let lines = "a line of some length, é\n".repeat(20_000);
    for text in [lines.clone(), lines.replace('\n', " "), "é".repeat(200_001), "x\n".into()] {
        fs::write(&path, &text).unwrap();
        let pieces = file(&path).pieces(Arrangement::Packed).map(|piece| piece.unwrap()).collect::<Vec<_>>();
        assert_eq!(pieces.iter().map(|piece| piece.text.as_str()).collect::<String>(), text);
        assert!(pieces.iter().all(|piece| piece.text.len() <= 1 << 18));
        let count = pieces.len();
        for (at, piece) in pieces.iter().enumerate() {
            assert_eq!((piece.begins, piece.ends), (at == 0, at == count - 1));
        }
    }
}

#[test]
fn text_that_is_not_what_it_should_be_is_refused_by_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, bytes: &[u8], expected: &str| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = documents(&file(&path)).unwrap_err();
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    };
    refused("a.txt", b"fine\n\xff", "line 2: not UTF-8 at byte 1 of the line (byte offset 5 of the text)");
    refused("a.jsonl", b"{\"text\": \"x\"}\n{\"text\": 1}\n", "line 2: field `text` is no text");
    refused("b.jsonl", b"\n{\"words\": 1}\n", "line 2: there is no field `text`; there are: words");
    refused("c.jsonl", b"{\"text\": \"x\"", "line 1: no JSON object");
    refused("d.jsonl", b"{\"text\": \"\xff\"}", "line 1: not UTF-8 at byte 11 of the line");
    refused("e.jsonl", b"[]\n", "line 1: no JSON object: every line must be one");
    refused("f.txt", b"\xff\xfea\0", "text in UTF-16");
    refused(
        "a.csv",
        b"text",
        "`.csv` is not the ending of a known format; known: .txt, .text, .jsonl, .ndjson,",
    );
    refused("a.txt.xz", b"\xfd7zXZ\0\0\x04", "compressed by xz, which is not supported");
    refused("a.jsonl.bz2", b"BZh91AY&SY", "compressed by bzip2, which is not supported");
    refused("a.parquet", b"PAR1", "no Parquet file");
    let mut cut = gzipped("text\n".repeat(10_000).as_bytes());
    cut.truncate(60);
    refused("cut.txt.gz", &cut, "cut off: the gzip stream ends too early");
    let path = folder.path().join("good.parquet");
    parquet_file(&path, &["a"]);
    let column = |name: &str| Texts::Files(vec![path.clone()], name.into());
    let message = documents(&column("content")).unwrap_err().to_string();
    assert!(message.ends_with("there is no column `content`; there are: id, text"), "{message}");
    let message = documents(&column("id")).unwrap_err().to_string();
    assert!(message.ends_with("record 1: column `id` holds no text"), "{message}");
    let mut damaged = fs::read(&path).unwrap();
    damaged.truncate(damaged.len() - 9);
    refused("cut.parquet", &damaged, "no Parquet file");
    // Only what the file says of its compression is another one.
    let mut brotli = fs::read(&path).unwrap();
    let said = b"\x18\x04text\x15\x0c";
    let at = brotli.windows(said.len()).rposition(|bytes| bytes == said).unwrap();
    brotli[at + said.len() - 1] = 8;
    refused("brotli.parquet", &brotli, "column `text` is compressed by Brotli, which is not supported");
    assert!(matches!(documents(&file(&folder.path().join("none"))), Err(Error::Io { .. })));
}

#[test]
fn a_document_begins_and_ends_with_its_tokens_and_its_words_are_counted() {
    let corpus = Corpus::in_memory(&memory("ab c\n"), &bytes(), Arrangement::Packed).unwrap();
    let text = [b'a', b'b', b' ', b'c', b'\n'].map(|byte| u32::from(byte) + 2);
    assert_eq!(corpus.tokens(0..100), [&[0], &text[..], &[1]].concat());
    assert_eq!((corpus.num_tokens(), corpus.num_words()), (7, 3));
    let lines = Corpus::in_memory(&memory("ab\n\nc\n"), &bytes(), Arrangement::Documents).unwrap();
    assert_eq!(lines.tokens(0..100), [0, text[0], text[1], 1, 0, text[3], 1]);
}

#[test]
fn a_line_is_a_document_however_long_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.txt");
    let long = "many words ".repeat(30_000);
    let lines = ["before", long.trim_end(), "after"];
    fs::write(&path, lines.join("\n")).unwrap();
    assert_eq!(documents(&file(&path)).unwrap(), lines);
}

#[test]
fn a_document_with_nothing_to_predict_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    // A byte is a token here, and nothing begins or ends a text.
    let tokenizer = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": false},
        "post_processor": null, "decoder": null, "model": {"type": "WordLevel", "vocab": {"?": 0, "a": 1, "b": 2},
        "unk_token": "?"}}"#;
    fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    let path = folder.path().join("train.jsonl");
    let lines = ["ab", "", "a", "b", "ba"].map(|text| serde_json::json!({ "text": text }).to_string() + "\n");
    fs::write(&path, lines.concat()).unwrap();
    let corpus = Corpus::in_memory(&file(&path), &tokenizer, Arrangement::Documents).unwrap();
    let sequences = Sequences::new(corpus, 4).unwrap();
    assert_eq!(all(&sequences).iter().map(|one| one.tokens.clone()).collect::<Vec<_>>(), [[1, 2], [2, 1]]);
    assert!(loader_of(sequences, 1).iter().all(|batch| batch.predicted == 1));
    // Packed, all of them count.
    let packed = Corpus::in_memory(&file(&path), &tokenizer, Arrangement::Packed).unwrap();
    assert_eq!(packed.tokens(0..9), [1, 2, 1, 2, 2, 1]);
}

#[test]
fn shards_of_another_text_of_the_same_name_and_size_are_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let shards = folder.path().join("shards");
    let prepare = |text: &str, name: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let corpus = Corpus::prepare(&file(&path), &bytes(), Arrangement::Packed, &shards, "train").unwrap();
        let written = fs::metadata(shards.join("train-00000.shard")).unwrap().modified().unwrap();
        (corpus.tokens(1..4).iter().map(|&token| (token - 2) as u8).collect::<Vec<_>>(), written)
    };
    let (first, written) = prepare("abc", "a/train.txt");
    assert_eq!(first, b"abc");
    // The same text is not read anew, wherever it lies.
    assert_eq!(prepare("abc", "b/other.txt"), (first, written));
    assert_eq!(prepare("xyz", "a/train.txt").0, b"xyz");
    assert_eq!(prepare("xyz", "b/other.txt").0, b"xyz");
}

#[test]
fn texts_have_one_checksum_if_they_have_one_content() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name)
    };
    let line = "{\"text\": \"a\"}\n";
    let (one, same) = (write("one.jsonl", line), write("same.ndjson", line));
    let (plain, two) = (write("plain.txt", line), write("two.jsonl", &line.repeat(2)));
    let of = |paths: &[&PathBuf], field: &str| {
        Texts::Files(paths.iter().map(|&path| path.clone()).collect(), field.into()).checksum().unwrap()
    };
    assert_eq!(of(&[&one], "text"), of(&[&same], "text"));
    let others = [
        of(&[&one], "text"),
        of(&[&one], "content"),
        of(&[&plain], "text"),
        of(&[&two], "text"),
        of(&[&one, &one], "text"),
        of(&[&one, &two], "text"),
        of(&[&two, &one], "text"),
        Texts::Records(one.clone(), "text".into(), 0..1).checksum().unwrap(),
        Texts::Records(one.clone(), "text".into(), 0..2).checksum().unwrap(),
        memory(line).checksum().unwrap(),
    ];
    assert_eq!(others.iter().collect::<std::collections::HashSet<_>>().len(), others.len());
}

#[test]
fn a_single_file_of_records_is_split_between_records() {
    let folder = tempfile::tempdir().unwrap();
    let texts = (0..23).map(|at| format!("record {at}")).collect::<Vec<_>>();
    let lines =
        texts.iter().map(|text| serde_json::json!({ "text": text }).to_string() + "\n").collect::<String>();
    let json = folder.path().join("Any.JsonL.gz");
    fs::write(&json, gzipped(lines.as_bytes())).unwrap();
    let parquet = folder.path().join("any.parquet");
    parquet_file(&parquet, &texts.iter().map(String::as_str).collect::<Vec<_>>());
    for path in [json, parquet] {
        let task = LanguageSource::Files.find(Some(&path), "text").unwrap();
        assert_eq!(documents(&task.train).unwrap(), texts[..21], "{}", path.display());
        assert_eq!(documents(&task.validation).unwrap(), texts[21..], "{}", path.display());
    }
    let few = folder.path().join("few.jsonl");
    fs::write(&few, "{\"text\": \"a\"}\n{\"text\": \"b\"}\n").unwrap();
    let task = LanguageSource::Files.find(Some(&few), "text").unwrap();
    assert_eq!(
        (documents(&task.train).unwrap(), documents(&task.validation).unwrap()),
        (vec!["a".into()], vec!["b".into()])
    );
    fs::write(&few, "{\"text\": \"a\"}\n").unwrap();
    let error = LanguageSource::Files.find(Some(&few), "text").unwrap_err().to_string();
    assert!(error.contains("few.jsonl: 1 records, expected at least 2"), "{error}");
    fs::write(&few, "{\"text\": \"a\"}\nnonsense\n").unwrap();
    let error = LanguageSource::Files.find(Some(&few), "text").unwrap_err().to_string();
    assert!(error.contains("few.jsonl: line 2: no JSON"), "{error}");
}

#[test]
fn shards_are_written_once_and_give_what_memory_gives() {
    let folder = tempfile::tempdir().unwrap();
    let texts = memory(&"to be or not to be\n".repeat(9_000));
    let prepare =
        |texts: &Texts| Corpus::prepare(texts, &bytes(), Arrangement::Packed, folder.path(), "train");
    let first = prepare(&texts).unwrap();
    let kept = Corpus::in_memory(&texts, &bytes(), Arrangement::Packed).unwrap();
    assert_eq!(first.tokens(0..usize::MAX), kept.tokens(0..usize::MAX));
    assert_eq!(first.num_words(), 9_000 * 7);
    let shard = folder.path().join("train-00000.shard");
    let written = fs::metadata(&shard).unwrap().modified().unwrap();
    assert_eq!(prepare(&texts).unwrap().num_tokens(), first.num_tokens());
    assert_eq!(fs::metadata(&shard).unwrap().modified().unwrap(), written);
    // Another text replaces it; whoever has mapped the old one still reads that.
    let second = prepare(&memory("other words\n")).unwrap();
    assert_eq!(second.num_tokens(), 14);
    assert_eq!(first.tokens(0..usize::MAX), kept.tokens(0..usize::MAX));
    // Shards that were never finished are made again.
    fs::remove_file(folder.path().join("train.json")).unwrap();
    assert!(matches!(Corpus::open(folder.path(), "train", &bytes()), Err(Error::Data { .. })));
    assert_eq!(prepare(&texts).unwrap().num_tokens(), first.num_tokens());
}

#[test]
fn a_shard_that_is_damaged_cut_or_of_another_tokeniser_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let texts = memory("some words to be kept\n");
    Corpus::prepare(&texts, &bytes(), Arrangement::Packed, folder.path(), "train").unwrap();
    let shard = folder.path().join("train-00000.shard");
    let good = fs::read(&shard).unwrap();
    let open = |content: &[u8]| {
        fs::write(&shard, content).unwrap();
        Corpus::open(folder.path(), "train", &bytes())
    };
    let refused = |content: &[u8]| {
        let error = open(content).unwrap_err();
        assert!(matches!(error, Error::Data { .. }), "{error}");
        assert!(error.to_string().starts_with(&shard.display().to_string()), "{error}");
    };
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at % 8);
        refused(&flipped);
        refused(&good[..at]);
    }
    refused(&[&good[..], &[0]].concat());
    assert!(open(&good).is_ok());
    let other = Tokenizer::train_bpe(["aa aa"].iter(), 259).unwrap();
    for error in [
        Corpus::open(folder.path(), "train", &other).unwrap_err(),
        Corpus::prepare(&texts, &other, Arrangement::Packed, folder.path(), "train").unwrap_err(),
    ] {
        assert!(matches!(error, Error::Mismatch { .. }), "{error}");
        assert!(error.to_string().contains("train-00000.shard"), "{error}");
    }
    fs::remove_file(&shard).unwrap();
    assert!(matches!(Corpus::open(folder.path(), "train", &bytes()), Err(Error::Io { .. })));
}

/// Two shards of 2⁶³ words would sum to more than a number holds.
#[test]
fn a_shard_that_claims_more_words_than_any_text_has_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Corpus::prepare(&memory("one two\n"), &bytes(), Arrangement::Packed, folder.path(), "train").unwrap();
    let shard = folder.path().join("train-00000.shard");
    let mut content = fs::read(&shard).unwrap();
    // The last number of the last span; the checksum is that of all but itself.
    let words = content.len() - 8;
    content[words..].copy_from_slice(&(1_u64 << 63).to_le_bytes());
    let digest = Sha256::new().chain_update(&content[..64]).chain_update(&content[96..]).finalize();
    content[64..96].copy_from_slice(&digest);
    fs::write(&shard, &content).unwrap();
    fs::write(folder.path().join("train-00001.shard"), &content).unwrap();
    let manifest = r#"{"shards": 2, "arrangement": "packed", "origin": ""}"#;
    fs::write(folder.path().join("train.json"), manifest).unwrap();
    let error = Corpus::open(folder.path(), "train", &bytes()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: it claims", shard.display())), "{error}");
    assert!(error.contains("9223372036854775808 words; allowed: fewer than 1099511627776"), "{error}");
}

fn sequences(text: &str, length: usize, arrangement: Arrangement) -> Sequences {
    Sequences::new(Corpus::in_memory(&memory(text), &bytes(), arrangement).unwrap(), length).unwrap()
}

fn all(sequences: &Sequences) -> Vec<Sequence> {
    (0..sequences.len()).map(|at| sequences.get(at)).collect()
}

#[test]
fn documents_kept_apart_are_cut_off_and_filled_up() {
    let sequences = sequences("abcdef\n\nx y\n", 4, Arrangement::Documents);
    let token = |byte: u8| u32::from(byte) + 2;
    let expected = [
        vec![0, token(b'a'), token(b'b'), token(b'c'), token(b'd')],
        vec![0, token(b'x'), token(b' '), token(b'y'), 1],
    ];
    assert_eq!(all(&sequences).into_iter().map(|sequence| sequence.tokens).collect::<Vec<_>>(), expected);
    let loader = loader_of(sequences_of_two_lengths(), 2);
    let batch = loader.iter().next().unwrap();
    assert_eq!(tokens(&batch), [0, 99, 1, 0, 0, 0, 99, 100, 101, 102]);
    let padding = batch.padding.unwrap().to_data().to_vec::<bool>().unwrap();
    assert_eq!(padding, [false, false, false, true, true, false, false, false, false, false]);
    // Of the long word a part is predicted, which is none.
    assert_eq!((batch.predicted, batch.words), (2 + 4, 1));
}

fn sequences_of_two_lengths() -> Sequences {
    sequences("a\nabcdefg\n", 4, Arrangement::Documents)
}

fn loader_of(sequences: Sequences, batch: usize) -> SequenceLoader<Flex> {
    SequenceLoader::validation(Arc::new(sequences), batch, None, &Default::default()).unwrap()
}

#[test]
fn a_text_shorter_than_one_sequence_is_refused() {
    let corpus = |text: &str| Corpus::in_memory(&memory(text), &bytes(), Arrangement::Packed).unwrap();
    assert!(Sequences::new(corpus("abc"), 4).is_ok());
    for (text, length) in [("abc", 5), ("abc", 0), ("", 1)] {
        let error = Sequences::new(corpus(text), length).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{error}");
    }
    let nothing = Corpus::in_memory(&memory("\n \n"), &bytes(), Arrangement::Documents).unwrap();
    assert!(matches!(Sequences::new(nothing, 4), Err(Error::Argument { .. })));
}

fn tokens(batch: &SequenceBatch<Flex>) -> Vec<i64> {
    batch.tokens.to_data().iter::<i64>().collect()
}

fn training(epoch: usize, batches: usize) -> SequenceLoader<Flex> {
    let text = (0..26_u8).map(|at| char::from(b'a' + at)).collect::<String>();
    let sequences = Arc::new(sequences(&text, 3, Arrangement::Packed));
    assert_eq!(sequences.len(), 9);
    SequenceLoader::training(sequences, 2, batches, 5, &Default::default()).unwrap().with_first_epoch(epoch)
}

#[test]
fn an_epoch_is_a_number_of_batches_and_a_resumed_stream_is_the_tail_of_a_whole_one() {
    let stream = |first: usize, batches: usize, epochs: usize| {
        let loader = training(first, batches);
        (0..epochs)
            .flat_map(|_| loader.iter().map(|batch| tokens(&batch)).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    let whole = stream(1, 4, 6);
    assert_eq!(whole.len(), 24);
    for first in 1..=6 {
        assert_eq!(stream(first, 4, 7 - first), whole[(first - 1) * 4..], "from epoch {first}");
    }
    // However long the epochs are, the stream is the same one.
    assert_eq!(stream(1, 1, 24), whole);
    assert_eq!(stream(1, 24, 1), whole);
    // Parts of an epoch make it up.
    let loader = training(2, 4);
    let parts = [loader.slice(0, 4), loader.slice(4, 8)];
    let parts = parts.iter().flat_map(|part| part.iter().map(|batch| tokens(&batch)).collect::<Vec<_>>());
    assert_eq!(parts.collect::<Vec<_>>(), whole[4..8]);
    assert_ne!(whole[..4], whole[4..8]);
}

#[test]
fn validation_is_the_same_every_time_and_may_end_early() {
    let sequences = Arc::new(sequences(&"a word\n".repeat(9), 10, Arrangement::Packed));
    let loader =
        |batches| SequenceLoader::<Flex>::validation(sequences.clone(), 3, batches, &Default::default());
    let all = loader(None).unwrap();
    let words: usize = all.iter().map(|batch| batch.words).sum();
    let predicted: usize = all.iter().map(|batch| batch.predicted).sum();
    assert_eq!((words, predicted, all.num_items()), (9 * 3, 9 * 7 + 1, 7));
    let again = loader(None).unwrap();
    assert_eq!(
        all.iter().map(|batch| tokens(&batch)).collect::<Vec<_>>(),
        again.iter().map(|batch| tokens(&batch)).collect::<Vec<_>>()
    );
    assert_eq!(loader(Some(2)).unwrap().iter().count(), 2);
    assert!(matches!(loader(Some(0)), Err(Error::Argument { .. })));
    assert!(SequenceLoader::<Flex>::training(sequences.clone(), 0, 1, 0, &Default::default()).is_err());
    assert!(SequenceLoader::<Flex>::training(sequences.clone(), 1, 0, 0, &Default::default()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn packed_sequences_predict_every_token_once_in_every_pass(
        text in "[a-c \n]{8,80}",
        length in 1_usize..8,
        batch in 1_usize..4,
        seed: u64,
    ) {
        let corpus = Corpus::in_memory(&memory(&text), &bytes(), Arrangement::Packed).unwrap();
        let expected = corpus.tokens(0..usize::MAX);
        let sequences = Sequences::new(corpus, length).unwrap();
        let predicted = all(&sequences).iter().flat_map(|one| one.tokens[1..].to_vec()).collect::<Vec<_>>();
        prop_assert_eq!(&predicted, &expected[1..]);
        let words: usize = all(&sequences).iter().map(|one| one.words).sum();
        let counted = text.split_whitespace().count() + text.matches('\n').count();
        prop_assert_eq!(words, counted);
        // A pass, shuffled and in batches that do not end with it.
        let count = sequences.len();
        let loader = SequenceLoader::<Flex>::training(
            Arc::new(sequences.clone()), batch, count.div_ceil(batch), seed, &Default::default(),
        ).unwrap();
        let mut seen = loader.iter().flat_map(|batch| {
            let width = batch.tokens.dims()[1];
            tokens(&batch).chunks(width).map(<[i64]>::to_vec).collect::<Vec<_>>()
        }).take(count).collect::<Vec<_>>();
        let mut wanted = all(&sequences).iter().map(|one| {
            let mut tokens = one.tokens.iter().map(|&token| i64::from(token)).collect::<Vec<_>>();
            tokens.resize(length + 1, 0);
            tokens
        }).collect::<Vec<_>>();
        seen.sort();
        wanted.sort();
        prop_assert_eq!(seen, wanted);
    }

    #[test]
    fn shards_hold_what_was_encoded(lines in proptest::collection::vec("\\PC{0,12}", 1..12), documents: bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.jsonl");
        let json = lines.iter().map(|line| serde_json::json!({"text": line}).to_string() + "\n").collect::<String>();
        fs::write(&path, json).unwrap();
        let arrangement = if documents { Arrangement::Documents } else { Arrangement::Packed };
        let corpus = Corpus::prepare(&file(&path), &bytes(), arrangement, folder.path(), "set").unwrap();
        let mut expected = Vec::new();
        for line in &lines {
            expected.push(0);
            expected.extend(line.bytes().map(|byte| u32::from(byte) + 2));
            expected.push(1);
        }
        prop_assert_eq!(corpus.tokens(0..usize::MAX), expected);
        let words: usize = lines.iter().map(|line| line.split_whitespace().count()).sum();
        prop_assert_eq!(corpus.num_words(), words as u64);
    }
}

#[test]
fn the_embedded_text_is_the_one_that_was_converted() {
    let task = LanguageSource::default().find(None, "text").unwrap();
    let text = |texts: &Texts| documents_joined(texts);
    let (train, validation) = (text(&task.train), text(&task.validation));
    assert_eq!(train.len() + validation.len(), 276_729);
    assert!(train.ends_with('\n') && (27_000..28_000).contains(&validation.len()));
    let mut crc = flate2::Crc::new();
    crc.update(train.as_bytes());
    crc.update(validation.as_bytes());
    assert_eq!(crc.sum(), CRC);
    let words = [&task.train, &task.validation]
        .map(|texts| Corpus::in_memory(texts, &bytes(), Arrangement::Packed).unwrap().num_words());
    assert_eq!(words.iter().sum::<u64>(), 53_563 + 2_408);
    let learn = || task.train_bpe(400).unwrap();
    assert_eq!(learn().vocabulary_size(), 400);
    assert_eq!(learn().checksum(), learn().checksum());
}

const CRC: u32 = 0xbaa1_36e8;

fn documents_joined(texts: &Texts) -> String {
    texts.pieces(Arrangement::Packed).map(|piece| piece.unwrap().text).collect()
}

#[test]
fn texts_are_found_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let find = |source: LanguageSource| source.find(Some(folder.path()), "text");
    for (source, missing) in [
        (LanguageSource::WikiText2, "train.txt"),
        (LanguageSource::TinyShakespeare, "input.txt"),
        (LanguageSource::Files, "`train`"),
    ] {
        let error = find(source).unwrap_err();
        assert!(matches!(error, Error::Data { .. }) && error.to_string().contains(missing), "{error}");
        assert_eq!(source.to_string().parse::<LanguageSource>().unwrap(), source);
    }
    assert!("wikitext".parse::<LanguageSource>().unwrap_err().to_string().contains("wikitext-2"));
    for name in ["train-1.txt", "train-0.jsonl.gz", "valid.txt"] {
        fs::write(folder.path().join(name), "{\"text\": \"x\"}\n").unwrap();
    }
    let Texts::Files(train, _) = find(LanguageSource::Files).unwrap().train else { panic!("no files") };
    assert_eq!(train, ["train-0.jsonl.gz", "train-1.txt"].map(|name| folder.path().join(name)));
    fs::write(folder.path().join("train.csv"), "text").unwrap();
    let error = find(LanguageSource::Files).unwrap_err().to_string();
    assert!(error.contains("train.csv: `.csv` is not the ending of a known format"), "{error}");
    let single = LanguageSource::Files.find(Some(&folder.path().join("valid.txt")), "text").unwrap();
    assert_eq!(
        documents_joined(&single.train) + &documents_joined(&single.validation),
        "{\"text\": \"x\"}\n"
    );
}

fn shared() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let found = folder.is_dir();
    if !found {
        eprintln!("skipped: no shared data here");
    }
    found.then_some(folder)
}

#[test]
fn wikitext_2_has_the_published_number_of_words() {
    let Some(shared) = shared() else { return };
    let task = LanguageSource::WikiText2.find(Some(&shared.join("wikitext-2")), "text").unwrap();
    let corpus = Corpus::in_memory(&task.validation, &bytes(), Arrangement::Packed).unwrap();
    assert_eq!(corpus.num_words(), 217_646);
    let task = LanguageSource::TinyShakespeare.find(Some(&shared.join("tinyshakespeare")), "text").unwrap();
    let length = documents_joined(&task.train).len() + documents_joined(&task.validation).len();
    assert_eq!(length, 1_115_394);
}
