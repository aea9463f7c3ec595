//! What vocabularies learn, and what they do with a sentence.

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
    let vocabulary = Vocabulary::train(["<s> </s> <pad> <unk> <s> </s> <pad> <unk>"], 1000, false).unwrap();
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
        assert!(error.starts_with(&format!("`vocabulary size` is {size}; allowed: 260 (four")), "{error}");
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
