//! From files of sentence pairs to batches: what is refused, what is repeated, what is kept.
#![cfg(all(feature = "flex", feature = "text"))]

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::backend::Flex;
use burn::data::dataloader::DataLoader;
use burn_cht::Error;
use burn_cht::data::translation::{
    BOS, EOS, PAD, ParallelText, SMALLEST_VOCABULARY, TranslationBatch, TranslationDataset,
    TranslationLoader, TranslationTask, UNK, Vocabularies, Vocabulary, VocabularyConfig,
};
use proptest::prelude::*;
use tempfile::TempDir;

fn file(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn gzipped(text: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text).unwrap();
    gzip.finish().unwrap()
}

/// Text of a file that is not looked at further.
fn tsv(pairs: &[(&str, &str)]) -> ParallelText {
    let folder = tempfile::tempdir().unwrap();
    let text = pairs.iter().map(|(source, target)| format!("{source}\t{target}\n")).collect::<String>();
    ParallelText::from_tsv(file(&folder, "pairs.tsv", text.as_bytes())).unwrap()
}

/// The error's path and reason.
fn refusal(text: burn_cht::Result<ParallelText>) -> (PathBuf, String) {
    match text.unwrap_err() {
        Error::Data { path, reason } => (path, reason),
        other => panic!("{other}"),
    }
}

fn everyday() -> &'static (TranslationTask, Vocabularies) {
    static TASK: std::sync::LazyLock<(TranslationTask, Vocabularies)> = std::sync::LazyLock::new(|| {
        let task = TranslationTask::embedded().unwrap();
        let vocabularies = VocabularyConfig::new().with_size(500).train(&task.train).unwrap();
        (task, vocabularies)
    });
    &TASK
}

mod reading {
    use super::*;

    #[test]
    fn two_files_and_a_tsv_plain_or_compressed_give_the_same_pairs() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = ("A cat.\n The  dog. \r\nYes.", "Eine Katze.\nDer Hund.\nJa.\n");
        let joined = "A cat.\tEine Katze.\nThe  dog.\t Der Hund.\nYes.\tJa.\n";
        let files = [
            ParallelText::from_files(
                file(&folder, "en", source.as_bytes()),
                file(&folder, "de", target.as_bytes()),
            ),
            ParallelText::from_files(
                file(&folder, "en.gz", &gzipped(source.as_bytes())),
                file(&folder, "de.zst", &zstd::encode_all(target.as_bytes(), 0).unwrap()),
            ),
            ParallelText::from_tsv(file(&folder, "tsv", joined.as_bytes())),
            ParallelText::from_tsv(file(&folder, "tsv.gz", &gzipped(joined.as_bytes()))),
            ParallelText::from_tsv(file(&folder, "bom.tsv", format!("\u{feff}{joined}").as_bytes())),
        ];
        for text in files {
            let text = text.unwrap();
            assert_eq!(text.source(), ["A cat.", "The  dog.", "Yes."]);
            assert_eq!(text.target(), ["Eine Katze.", "Der Hund.", "Ja."]);
        }
    }

    #[test]
    fn only_a_line_feed_ends_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let odd = "one\u{2028}still\u{b}one\u{85}and\rthis\ttarget\nsecond\ttarget\n";
        let text = ParallelText::from_tsv(file(&folder, "odd.tsv", odd.as_bytes())).unwrap();
        assert_eq!(text.num_pairs(), 2);
    }

    #[test]
    fn a_file_that_ends_early_is_named_with_its_last_line_and_the_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let long = file(&folder, "long", b"a\nb\nc\n");
        let short = file(&folder, "short", b"a\nb\n");
        for text in [ParallelText::from_files(&long, &short), ParallelText::from_files(&short, &long)] {
            let (path, reason) = refusal(text);
            assert_eq!(path, short);
            let goes_on = format!("ends after line 2, but {} goes on with line 3", long.display());
            assert!(reason.starts_with(&goes_on), "{reason}");
        }
    }

    #[test]
    fn an_empty_line_and_one_of_spaces_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let good = file(&folder, "good", b"a\nb\nc\n");
        for (name, bytes, line) in
            [("empty", "a\n\nc\n", 2), ("spaces", "a\nb\n \t\u{a0}\r\n", 3), ("first", "\nb\nc\n", 1)]
        {
            let bad = file(&folder, name, bytes.as_bytes());
            for text in [ParallelText::from_files(&good, &bad), ParallelText::from_files(&bad, &good)] {
                let (path, reason) = refusal(text);
                assert_eq!(path, bad);
                assert_eq!(reason, format!("line {line}: empty: every line must hold a sentence"));
            }
        }
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_named_by_line_and_position() {
        let folder = tempfile::tempdir().unwrap();
        let bad = file(&folder, "latin-1", b"a\nb\nM\xe4dchen\n");
        let (path, reason) = refusal(ParallelText::from_files(&bad, &bad));
        assert_eq!((path, reason.as_str()), (bad, "line 3: not UTF-8 at byte 2"));
        let bad = file(&folder, "latin-1.tsv.gz", &gzipped(b"girl\tM\xe4dchen\n"));
        let (path, reason) = refusal(ParallelText::from_tsv(&bad));
        assert_eq!((path, reason.as_str()), (bad, "line 1: not UTF-8 at byte 7"));
    }

    #[test]
    fn a_file_without_a_line_is_an_empty_corpus() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [("nothing", vec![]), ("nothing.gz", gzipped(b""))] {
            let empty = file(&folder, name, &bytes);
            for text in [ParallelText::from_files(&empty, &empty), ParallelText::from_tsv(&empty)] {
                let (path, reason) = refusal(text);
                assert_eq!((path, reason.as_str()), (empty.clone(), "empty: not one sentence"));
            }
        }
    }

    #[test]
    fn a_tsv_must_have_two_filled_columns_in_every_line() {
        let folder = tempfile::tempdir().unwrap();
        for (bytes, expected) in [
            ("a\tb\nc\n", "line 2: 1 columns, expected 2"),
            ("a\tb\tc\n", "line 1: 3 columns, expected 2"),
            ("a\tb\nc\t \td\n", "line 2: 3 columns, expected 2"),
            ("a\tb\n\tc\n", "line 2: 1 columns, expected 2"),
            ("a\tb\nc\t\u{a0}\u{2003}x\nd\t.\t", "line 3: 2 columns"),
        ] {
            let text = ParallelText::from_tsv(file(&folder, "bad.tsv", bytes.as_bytes()));
            match expected.strip_suffix(": 2 columns") {
                // White space at the end of a line is no column.
                Some(_) => assert_eq!(text.unwrap().num_pairs(), 3),
                None => assert_eq!(refusal(text).1, expected, "{bytes:?}"),
            }
        }
    }

    #[test]
    fn a_line_beyond_a_mebibyte_is_no_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let longest = "a".repeat((1 << 20) - 1);
        let fits = file(&folder, "fits", format!("{longest}\n").as_bytes());
        assert_eq!(ParallelText::from_files(&fits, &fits).unwrap().num_pairs(), 1);
        let bad = file(&folder, "bad.gz", &gzipped(format!("a\n{longest}a\n").as_bytes()));
        let (path, reason) = refusal(ParallelText::from_files(&bad, &bad));
        assert_eq!(path, bad);
        assert!(reason.starts_with("line 2: more than 1048576 bytes"), "{reason}");
    }

    #[test]
    fn a_missing_a_cut_and_a_damaged_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let whole = gzipped("A cat sleeps.\tEine Katze schläft.\n".repeat(50).as_bytes());
        let cut = file(&folder, "cut.gz", &whole[..whole.len() - 9]);
        let mut flipped = whole.clone();
        let checksum = flipped.len() - 8;
        flipped[checksum] ^= 1;
        let flipped = file(&folder, "flipped.gz", &flipped);
        for bad in [folder.path().join("missing"), cut, flipped, folder.path().into()] {
            for text in [ParallelText::from_files(&bad, &bad), ParallelText::from_tsv(&bad)] {
                let Err(Error::Io { path, .. }) = text else { panic!("{text:?}") };
                assert_eq!(path, bad);
            }
        }
    }

    #[test]
    fn the_first_pairs_are_as_many_as_asked_for() {
        let text = tsv(&[("a", "b"), ("c", "d")]);
        assert_eq!(text.first(1).unwrap().source(), ["a"]);
        assert_eq!(text.first(2).unwrap(), text);
        for count in [0, 3] {
            let expected = format!("`number of pairs` is {count}; allowed: 1 to 2");
            assert_eq!(text.first(count).unwrap_err().to_string(), expected);
        }
    }
}

mod tasks {
    use super::*;

    #[test]
    fn a_folder_is_read_by_the_names_of_multi30k_or_by_plainer_ones() {
        for (valid, test) in [("val", "test_2016_flickr"), ("valid", "test"), ("dev", "test")] {
            let folder = tempfile::tempdir().unwrap();
            for (part, text) in [("train", "one"), (valid, "two"), (test, "three")] {
                file(&folder, &format!("{part}.en.gz"), &gzipped(text.as_bytes()));
                file(&folder, &format!("{part}.de"), text.as_bytes());
            }
            let task = TranslationTask::load(folder.path(), "en", "de").unwrap();
            for (text, expected) in [(task.train, "one"), (task.valid, "two"), (task.test, "three")] {
                assert_eq!((text.source(), text.target()), (&[expected.into()][..], &[expected.into()][..]));
            }
        }
    }

    #[test]
    fn a_missing_file_is_named_by_all_the_names_it_may_have() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["train.en", "train.de", "val.en"] {
            file(&folder, name, b"a\n");
        }
        let (path, reason) = match TranslationTask::load(folder.path(), "en", "de").unwrap_err() {
            Error::Data { path, reason } => (path, reason),
            other => panic!("{other}"),
        };
        assert_eq!(path, folder.path());
        assert!(reason.starts_with("no val.de, valid.de, dev.de here"), "{reason}");
    }

    #[test]
    fn the_embedded_pairs_are_distinct_and_what_is_tested_can_be_known_from_training() {
        let (task, _) = everyday();
        let parts = [&task.train, &task.valid, &task.test];
        assert_eq!(parts.map(ParallelText::num_pairs), [640, 80, 80]);
        let sources = parts.iter().flat_map(|part| part.source()).collect::<HashSet<_>>();
        assert_eq!(sources.len(), 800);
        let words = |sentences: &[String]| {
            let word = |word: &str| word.to_lowercase().replace(['.', '?', ','], "");
            sentences.iter().flat_map(|line| line.split(' ')).map(word).collect::<HashSet<_>>()
        };
        for part in [&task.valid, &task.test] {
            assert!(words(part.source()).is_subset(&words(task.train.source())));
            assert!(words(part.target()).is_subset(&words(task.train.target())));
        }
    }

    #[test]
    fn multi30k_is_read_where_it_is() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/multi30k");
        if !folder.is_dir() {
            println!("skipped: no {}", folder.display());
            return;
        }
        let task = TranslationTask::load(folder, "en", "de").unwrap();
        let counts = [&task.train, &task.valid, &task.test].map(ParallelText::num_pairs);
        assert_eq!(counts, [29_000, 1014, 1000]);
        assert_eq!(
            (task.train.source()[2].as_str(), task.train.target()[2].as_str()),
            (
                "A little girl climbing into a wooden playhouse.",
                "Ein kleines Mädchen klettert in ein Spielhaus aus Holz."
            )
        );
    }
}

mod vocabularies {
    use super::*;

    #[test]
    fn the_same_sentences_in_any_order_give_the_same_file() {
        let (task, first) = everyday();
        let folder = tempfile::tempdir().unwrap();
        let bytes = |vocabularies: &Vocabularies| {
            let path = folder.path().join("vocabulary.json");
            vocabularies.save(&path).unwrap();
            std::fs::read(path).unwrap()
        };
        let backwards = task
            .train
            .source()
            .iter()
            .zip(task.train.target())
            .rev()
            .map(|(source, target)| (source.as_str(), target.as_str()))
            .collect::<Vec<_>>();
        let backwards = tsv(&backwards);
        for _ in 0..3 {
            for text in [&task.train, &backwards] {
                assert!(bytes(&VocabularyConfig::new().with_size(500).train(text).unwrap()) == bytes(first));
            }
        }
        assert!(bytes(&VocabularyConfig::new().with_size(501).train(&task.train).unwrap()) != bytes(first));
    }

    #[test]
    fn special_tokens_bytes_and_merges_have_their_identities() {
        let vocabulary = Vocabulary::train(["aab aab"], 1000, false).unwrap();
        assert_eq!([PAD, UNK, BOS, EOS], [0, 1, 2, 3]);
        // `aab` is learned in three merges: all begin with a space, which is a byte of the word after it.
        assert_eq!(vocabulary.size(), SMALLEST_VOCABULARY + 3);
        let word = SMALLEST_VOCABULARY as u32 + 2;
        assert_eq!(vocabulary.encode("aab aab").unwrap(), [word, word]);
        assert_eq!(vocabulary.decode(&[BOS, word, UNK, word, EOS, PAD]).unwrap(), "aab aab");
    }

    #[test]
    fn a_vocabulary_has_the_size_it_was_asked_for_or_all_there_is_to_learn() {
        let (task, _) = everyday();
        for size in [SMALLEST_VOCABULARY, 400] {
            assert_eq!(Vocabulary::train(task.train.source(), size, false).unwrap().size(), size);
        }
        assert!(Vocabulary::train(task.train.source(), 100_000, false).unwrap().size() < 2000);
    }

    #[test]
    fn names_of_special_tokens_in_a_text_are_text() {
        let (_, vocabularies) = everyday();
        let vocabulary =
            Vocabulary::train(["<s> </s> <pad> <unk> <s> </s> <pad> <unk>"], 1000, false).unwrap();
        for vocabulary in [&vocabulary, vocabularies.source()] {
            let text = "</s><s> <pad> <unk>";
            let tokens = vocabulary.encode(text).unwrap();
            assert!(tokens.iter().all(|&token| token > EOS), "{tokens:?}");
            assert_eq!(vocabulary.decode(&tokens).unwrap(), text);
        }
    }

    #[test]
    fn words_never_seen_and_other_scripts_come_back_as_they_were() {
        let (_, vocabularies) = everyday();
        let source = vocabularies.source();
        for text in [
            "Der Mann liest ein Buch.",
            "Donaudampfschifffahrtsgesellschaft!",
            "naïve “quotes” – and… 日本語, русский, عربى 👩‍👩‍👧",
            "  two  spaces and an end ",
            "tab\tand\u{a0}no-break, e\u{301}",
            "'s don't I'll 12,345.67",
            "",
            " ",
            "\u{0}\u{1b}[0m",
        ] {
            assert_eq!(source.decode(&source.encode(text).unwrap()).unwrap(), text);
        }
        assert_eq!(source.encode("").unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn decoding_gives_the_text_that_was_encoded(text in any::<String>(), spaced in "[ a-zäß.,'\n]{0,40}") {
            let (_, vocabularies) = everyday();
            for text in [text, spaced] {
                let tokens = vocabularies.target().encode(&text).unwrap();
                prop_assert_eq!(vocabularies.target().decode(&tokens).unwrap(), text);
            }
        }
    }

    #[test]
    fn many_sentences_are_encoded_as_one_at_a_time() {
        let (task, vocabularies) = everyday();
        let all = vocabularies.target().encode_all(task.test.target()).unwrap();
        for (sentence, tokens) in task.test.target().iter().zip(all) {
            assert_eq!(vocabularies.target().encode(sentence).unwrap(), tokens);
        }
    }

    #[test]
    fn lower_case_is_a_setting() {
        let (task, written) = everyday();
        let lower = VocabularyConfig::new().with_size(500).with_lowercase(true).train(&task.train).unwrap();
        let source = lower.source();
        assert_eq!(source.encode("ÄRZTIN Der").unwrap(), source.encode("ärztin der").unwrap());
        assert_eq!(source.decode(&source.encode("ÄRZTIN Der").unwrap()).unwrap(), "ärztin der");
        assert!(source.is_lowercase() && !written.source().is_lowercase());
    }

    #[test]
    fn one_vocabulary_serves_both_languages_or_each_has_its_own() {
        let (task, joint) = everyday();
        let separate = VocabularyConfig::new().with_size(500).with_joint(false).train(&task.train).unwrap();
        assert!(joint.is_joint() && joint.source() == joint.target());
        assert!(!separate.is_joint() && separate.source() != separate.target());
        assert_ne!(joint.checksum(), separate.checksum());
    }

    #[test]
    fn a_size_without_room_for_all_bytes_is_refused() {
        let (task, _) = everyday();
        for size in [0, SMALLEST_VOCABULARY - 1] {
            let error = VocabularyConfig::new().with_size(size).train(&task.train).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`vocabulary size` is {size}; allowed: 260 (four")),
                "{error}"
            );
        }
        let none: [&str; 0] = [];
        assert!(matches!(Vocabulary::train(none, 300, false), Err(Error::Argument { .. })));
    }

    #[test]
    fn a_token_that_there_is_not_is_refused() {
        let (_, vocabularies) = everyday();
        assert_eq!(vocabularies.source().size(), 500);
        let error = vocabularies.source().decode(&[4, 500]).unwrap_err().to_string();
        assert_eq!(error, "`token` is 500; allowed: 0 to 499");
    }
}

mod stored_vocabularies {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_joint_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vocabulary.json");
        let (task, joint) = everyday();
        let separate = VocabularyConfig::new().with_size(400).with_joint(false).train(&task.train).unwrap();
        for vocabularies in [joint, &separate] {
            vocabularies.save(&path).unwrap();
            let loaded = Vocabularies::load(&path).unwrap();
            assert_eq!(&loaded, vocabularies);
            assert_eq!(loaded.is_joint(), vocabularies.is_joint());
            loaded.verify(&vocabularies.checksum()).unwrap();
            let text = "Der alte Mann schläft.";
            assert_eq!(loaded.target().encode(text).unwrap(), vocabularies.target().encode(text).unwrap());
        }
        let error = joint.verify(&separate.checksum()).unwrap_err();
        assert!(matches!(&error, Error::Mismatch { what, found, expected }
            if what == "vocabulary" && *found == joint.checksum() && *expected == separate.checksum()));
    }

    #[test]
    fn a_changed_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vocabulary.json");
        let (_, vocabularies) = everyday();
        vocabularies.save(&path).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        let changes = [
            (good.replace("\"lowercase\": false", "\"lowercase\": true"), "damaged: checksum"),
            (good[..good.len() / 2].to_string(), "not a vocabulary: "),
            (good.replace("\"target\": null", "\"surprise\": 1"), "not a vocabulary: unknown field"),
            (good.replacen("\"e n\"", "\"e <s>\"", 1), "merge "),
            (good.replacen("\"e n\"", "\"en\"", 1), "merge "),
            (good.replacen("\"e n\"", "\"e zzzz\"", 1), "merge "),
            (good.replacen("\"e n\"", "\"e q\"", 1), ""),
            (String::new(), "not a vocabulary: "),
            ("[1, 2]".into(), "not a vocabulary: "),
        ];
        for (text, expected) in changes {
            assert_ne!(text, good);
            std::fs::write(&path, text).unwrap();
            let Err(Error::Data { path: named, reason }) = Vocabularies::load(&path) else { panic!() };
            assert_eq!(named, path);
            assert!(reason.starts_with(expected), "{reason}");
        }
        let missing = folder.path().join("none.json");
        assert!(matches!(Vocabularies::load(&missing), Err(Error::Io { path, .. }) if path == missing));
    }
}

mod lengths {
    use super::*;

    fn dataset() -> TranslationDataset {
        let text = tsv(&[("a", "b"), ("a b c d", "b"), ("a b", "b c d e f"), ("a", "b c")]);
        let vocabularies = Vocabularies::clone(&VocabularyConfig::new().train(&text).unwrap());
        TranslationDataset::new(&text, &vocabularies).unwrap()
    }

    #[test]
    fn the_length_of_a_pair_is_its_longer_side_and_a_mark() {
        let dataset = dataset();
        for at in 0..dataset.num_pairs() {
            let (source, target) = (dataset.source(at).len(), dataset.target(at).len());
            assert_eq!(dataset.length(at), source.max(target) + 1);
            assert_eq!(dataset.line(at), at + 1);
        }
    }

    #[test]
    fn a_pair_longer_than_the_position_table_is_named_by_file_and_line() {
        let dataset = dataset();
        let (second, third) = (dataset.length(1), dataset.length(2));
        assert!(third > second);
        assert_eq!(dataset.clone().within(third).unwrap().num_pairs(), 4);
        for (positions, line) in [(second, 3), (second - 1, 2)] {
            let Err(Error::Data { path, reason }) = dataset.clone().within(positions) else { panic!() };
            assert_eq!(path.file_name().unwrap(), "pairs.tsv");
            let tokens = dataset.length(line - 1) - 1;
            let expected = format!("line {line}: {tokens} tokens and a mark, longer than the {positions} ");
            assert!(reason.starts_with(&expected), "{reason}");
        }
    }

    #[test]
    fn longer_pairs_are_dropped_on_request_and_counted() {
        let dataset = dataset();
        let kept = dataset.clone().drop_longer(dataset.length(1)).unwrap();
        assert_eq!((kept.num_pairs(), kept.dropped()), (3, 1));
        assert_eq!((0..3).map(|at| kept.line(at)).collect::<Vec<_>>(), [1, 2, 4]);
        let fewer = kept.drop_longer(dataset.length(3)).unwrap();
        assert_eq!((fewer.num_pairs(), fewer.dropped()), (2, 2));
        let shortest = dataset.length(0);
        let error = dataset.drop_longer(shortest - 1).unwrap_err().to_string();
        let expected = format!("`positions` is {}; allowed: at least {shortest}, the", shortest - 1);
        assert!(error.starts_with(&expected), "{error}");
    }
}

mod batches {
    use super::*;

    type Loader = TranslationLoader<Flex>;

    /// Pairs of which the first side is its own number of words.
    fn dataset(lengths: &[usize]) -> TranslationDataset {
        let pairs = lengths.iter().enumerate().map(|(at, &length)| (format!("p{at}"), "x ".repeat(length)));
        let pairs = pairs.collect::<Vec<_>>();
        let text =
            tsv(&pairs.iter().map(|(source, target)| (source.as_str(), target.as_str())).collect::<Vec<_>>());
        let vocabularies = VocabularyConfig::new().with_size(300).train(&text).unwrap();
        TranslationDataset::new(&text, &vocabularies).unwrap()
    }

    fn loader(dataset: &TranslationDataset, tokens: usize) -> Loader {
        TranslationLoader::new(dataset.clone(), tokens, &Default::default()).unwrap()
    }

    fn longest(dataset: &TranslationDataset) -> usize {
        (0..dataset.num_pairs()).map(|at| dataset.length(at)).max().unwrap()
    }

    fn ints(batch: &TranslationBatch<Flex>) -> (Vec<Vec<i64>>, Vec<Vec<i64>>) {
        let rows = |tensor: &burn::tensor::Tensor<Flex, 2, burn::tensor::Int>| {
            let [_, width] = tensor.dims();
            let values = tensor.to_data().iter::<i64>().collect::<Vec<_>>();
            values.chunks(width).map(<[i64]>::to_vec).collect()
        };
        (rows(&batch.source), rows(&batch.target))
    }

    /// What a batch holds, for comparison.
    fn epoch(loader: &(impl DataLoader<Flex, TranslationBatch<Flex>> + ?Sized)) -> Vec<Vec<Vec<i64>>> {
        loader.iter().map(|batch| ints(&batch).0).collect()
    }

    fn sorted_sources(batches: &[Vec<Vec<i64>>]) -> Vec<Vec<i64>> {
        let mut all = batches
            .concat()
            .into_iter()
            .map(|row| row.into_iter().filter(|&token| token != i64::from(PAD)).collect::<Vec<_>>())
            .collect::<Vec<_>>();
        all.sort();
        all
    }

    #[test]
    fn a_batch_holds_marks_padding_and_its_masks() {
        let dataset = dataset(&[2, 1]);
        let batch = dataset.batch::<Flex>(&[1, 0], &Default::default());
        let (source, target) = ints(&batch);
        let row = |tokens: &[u32], begin: bool, width: usize| {
            let mut row = if begin { vec![i64::from(BOS)] } else { vec![] };
            row.extend(tokens.iter().map(|&token| i64::from(token)));
            row.push(i64::from(EOS));
            row.resize(width, i64::from(PAD));
            row
        };
        for (at, pair) in [1, 0].into_iter().enumerate() {
            assert_eq!(source[at], row(dataset.source(pair), false, source[0].len()));
            assert_eq!(target[at], row(dataset.target(pair), true, target[0].len()));
        }
        let masks = [(&batch.source_padding, &source), (&batch.target_padding, &target)];
        for (mask, tokens) in masks {
            let mask = mask.to_data().iter::<bool>().collect::<Vec<_>>();
            let padding = tokens.concat().iter().map(|&token| token == i64::from(PAD)).collect::<Vec<_>>();
            assert_eq!(mask, padding);
        }
        assert_eq!(batch.tokens, dataset.target(0).len() + dataset.target(1).len() + 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn every_pass_has_each_pair_once_and_no_batch_more_tokens_than_allowed(
            lengths in prop::collection::vec(1usize..12, 1..60), room in 0usize..60, seed: u64,
        ) {
            let dataset = dataset(&lengths);
            let tokens = longest(&dataset) + room;
            let everything = sorted_sources(&epoch(&loader(&dataset, usize::MAX)));
            for loader in [loader(&dataset, tokens), loader(&dataset, tokens).shuffled(seed)] {
                for _ in 0..2 {
                    let batches = loader.iter().collect::<Vec<_>>();
                    prop_assert_eq!(batches.len(), loader.num_batches());
                    for batch in &batches {
                        let ([pairs, source], [_, target]) = (batch.source.dims(), batch.target.dims());
                        prop_assert!(pairs * source <= tokens && pairs * (target - 1) <= tokens);
                    }
                    let sources = batches.iter().map(|batch| ints(batch).0).collect::<Vec<_>>();
                    prop_assert_eq!(sorted_sources(&sources), everything.clone());
                }
            }
        }

        #[test]
        fn a_run_resumed_at_any_epoch_sees_the_batches_of_one_that_was_not_interrupted(
            first in 1usize..9, steps in prop::option::of(1usize..25), seed: u64,
        ) {
            let dataset = dataset(&[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6]);
            let loader = || {
                let loader = loader(&dataset, 2 * longest(&dataset)).shuffled(seed);
                match steps {
                    Some(steps) => loader.with_batches_per_epoch(steps).unwrap(),
                    None => loader,
                }
            };
            let whole = loader();
            let uninterrupted = (1..=10).map(|_| epoch(&whole)).collect::<Vec<_>>();
            let resumed = loader().with_first_epoch(first);
            let resumed = (first..=10).map(|_| epoch(&resumed)).collect::<Vec<_>>();
            prop_assert_eq!(&resumed[..], &uninterrupted[first - 1..]);
        }

        #[test]
        fn epochs_of_any_number_of_steps_cut_the_same_stream(steps in 1usize..25, seed: u64) {
            let dataset = dataset(&[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6]);
            let passes = loader(&dataset, 2 * longest(&dataset)).shuffled(seed);
            let stream = (0..steps + 2).flat_map(|_| epoch(&passes)).collect::<Vec<_>>();
            let cut = loader(&dataset, 2 * longest(&dataset)).shuffled(seed);
            let cut = cut.with_batches_per_epoch(steps).unwrap();
            for at in 0..passes.num_batches() {
                prop_assert_eq!(&epoch(&cut)[..], &stream[at * steps..][..steps]);
            }
        }
    }

    #[test]
    fn passes_differ_and_depend_on_nothing_but_seed_and_number() {
        let (task, vocabularies) = everyday();
        let dataset = TranslationDataset::new(&task.train, vocabularies).unwrap();
        let pass = |seed, at| epoch(&loader(&dataset, 400).shuffled(seed).with_first_epoch(at));
        assert_eq!(pass(3, 2), pass(3, 2));
        assert_ne!(pass(3, 2), pass(3, 1));
        assert_ne!(pass(3, 2), pass(4, 2));
        assert_eq!(pass(3, 2).len(), pass(4, 1).len());
    }

    #[test]
    fn batches_hold_sentences_of_about_one_length() {
        let (task, vocabularies) = everyday();
        let dataset = TranslationDataset::new(&task.train, vocabularies).unwrap();
        let batches = loader(&dataset, 600).shuffled(1).iter().collect::<Vec<_>>();
        let used = batches.iter().map(|batch| batch.tokens).sum::<usize>();
        let padded =
            batches.iter().map(|batch| batch.target.dims()).map(|[pairs, width]| pairs * (width - 1));
        assert!(used as f64 > 0.85 * padded.sum::<usize>() as f64);
    }

    #[test]
    fn a_batch_too_small_for_the_longest_pair_is_refused_with_its_line() {
        let dataset = dataset(&[1, 7, 2]);
        let longest = longest(&dataset);
        assert!(TranslationLoader::<Flex>::new(dataset.clone(), longest, &Default::default()).is_ok());
        let refused = TranslationLoader::<Flex>::new(dataset, longest - 1, &Default::default());
        let Err(Error::Argument { name, value, allowed }) = refused else { panic!() };
        assert_eq!((name.as_str(), value), ("batch_tokens", (longest - 1).to_string()));
        assert!(allowed.starts_with(&format!("at least {longest}, the longest pair's (")), "{allowed}");
        assert!(allowed.ends_with("pairs.tsv line 2)"), "{allowed}");
    }

    #[test]
    fn slices_part_the_pairs_and_are_shuffled_each_in_its_own_way() {
        let dataset = dataset(&[2; 40]);
        let whole = loader(&dataset, 4 * longest(&dataset)).shuffled(5);
        let everything = sorted_sources(&epoch(&whole));
        let (left, right) = (whole.slice(0, 20), whole.slice(20, 90));
        assert_eq!((left.num_items(), right.num_items()), (20, 20));
        let both = [epoch(&*left), epoch(&*right)].concat();
        assert_eq!(sorted_sources(&both), everything);
        assert_eq!(epoch(&*whole.slice(40, 50)).len(), 0);
        let cut = loader(&dataset, 100).with_batches_per_epoch(3).unwrap();
        assert_eq!(epoch(&*cut.slice(40, 50)).len(), 0);
        let device = Default::default();
        assert_eq!(epoch(&*whole.to_device(&device)), epoch(&whole));
    }

    #[test]
    fn an_epoch_without_batches_is_refused() {
        let loader = loader(&dataset(&[1]), 100).with_batches_per_epoch(0);
        assert!(matches!(loader, Err(Error::Argument { name, .. }) if name == "batches_per_epoch"));
    }

    #[test]
    fn progress_counts_batches_to_the_end() {
        let loader = loader(&dataset(&[1, 2, 3, 4]), 20).with_batches_per_epoch(7).unwrap();
        let mut epoch = loader.iter();
        for given in 0..=7 {
            let progress = epoch.progress();
            assert_eq!((progress.items_processed, progress.items_total), (given, 7));
            assert_eq!(epoch.next().is_some(), given < 7);
        }
    }
}
