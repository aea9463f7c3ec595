//! Lengths of pairs, and what is left out for them.

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
    assert_eq!(dataset.clone().with_max_length(third).unwrap().num_pairs(), 4);
    for (positions, line) in [(second, 3), (second - 1, 2)] {
        let Err(Error::Data { path, reason }) = dataset.clone().with_max_length(positions) else { panic!() };
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
