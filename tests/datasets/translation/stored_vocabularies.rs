//! Vocabularies as files.

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

#[test]
fn a_file_with_a_byte_order_mark_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocabulary.json");
    let (_, vocabularies) = everyday();
    vocabularies.save(&path).unwrap();
    std::fs::write(&path, [b"\xef\xbb\xbf", std::fs::read(&path).unwrap().as_slice()].concat()).unwrap();
    assert_eq!(&Vocabularies::load(&path).unwrap(), vocabularies);
}
