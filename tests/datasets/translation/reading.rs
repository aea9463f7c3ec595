//! Files of sentence pairs, and what of them is refused.

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
        ParallelText::from_files(
            file(&folder, "bom.en.gz", &gzipped(format!("\u{feff}{source}").as_bytes())),
            file(&folder, "members.de", &[gzipped(b"Eine Katze.\n"), gzipped(b"Der Hund.\nJa.\n")].concat()),
        ),
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
    assert_eq!(
        (path, reason.as_str()),
        (bad, "line 3: not UTF-8 at byte 2 of the line (byte offset 5 of the text): convert it to UTF-8")
    );
    let bad = file(&folder, "latin-1.tsv.gz", &gzipped(b"girl\tM\xe4dchen\n"));
    let (path, reason) = refusal(ParallelText::from_tsv(&bad));
    assert_eq!(
        (path, reason.as_str()),
        (bad, "line 1: not UTF-8 at byte 7 of the line (byte offset 6 of the text): convert it to UTF-8")
    );
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
        ("a\tb\nc\n", "line 2: 1 columns, expected 2: a sentence, a tab, its translation"),
        ("a\tb\tc\n", "line 1: 3 columns, expected 2: a sentence, a tab, its translation"),
        ("a\tb\nc\t \td\n", "line 2: 3 columns, expected 2: a sentence, a tab, its translation"),
        ("a\tb\n\tc\n", "line 2: 1 columns, expected 2: a sentence, a tab, its translation"),
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
    assert!(reason.starts_with("line 2: longer than 1048576 bytes"), "{reason}");
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
    let missing = folder.path().join("missing");
    for text in [ParallelText::from_files(&missing, &missing), ParallelText::from_tsv(&missing)] {
        let Err(Error::Io { path, .. }) = text else { panic!("{text:?}") };
        assert_eq!(path, missing);
    }
    for (bad, said) in [
        (cut, "cut off: the gzip stream ends too early"),
        (flipped, "damaged gzip stream"),
        (folder.path().into(), "a folder, expected a file"),
    ] {
        for text in [ParallelText::from_files(&bad, &bad), ParallelText::from_tsv(&bad)] {
            let (path, reason) = refusal(text);
            assert_eq!(path, bad);
            assert!(reason.starts_with(said), "{reason}");
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
