//! Folders of three texts.

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
