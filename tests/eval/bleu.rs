//! BLEU and chrF against figures of sacreBLEU and of `multi-bleu-detok.perl`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use burn_cht::Error;
use burn_cht::eval::bleu::{Bleu, BleuScore, BleuTokenizer, MultiBleuDetok, Smoothing};
use burn_cht::eval::chrf::{Chrf, ChrfScore};
use flate2::read::GzDecoder;
use proptest::prelude::*;
use serde_json::Value;

/// Scores agree to this, relatively.
const TOLERANCE: f64 = 1e-9;

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= TOLERANCE * expected.abs()
}

/// Every figure that is given for a score.
fn assert_bleu(found: &BleuScore, expected: &Value, case: &str) {
    assert!(close(found.score, number(&expected["score"])), "{case}: {found:?}\n{expected}");
    assert_eq!(found.signature(), expected["signature"], "{case}");
    if let Some(precisions) = expected["precisions"].as_array() {
        for (&found, expected) in found.precisions.iter().zip(precisions) {
            assert!(close(found, number(expected)), "{case}: precision {found}, expected {expected}");
        }
    }
    if expected.get("counts").is_some() {
        assert_eq!(serde_json::json!(found.counts), expected["counts"], "{case}");
        assert_eq!(serde_json::json!(found.totals), expected["totals"], "{case}");
        assert_eq!(found.hypothesis_length, expected["sys_len"], "{case}");
        assert_eq!(found.reference_length, expected["ref_len"], "{case}");
        assert!(close(found.brevity_penalty, number(&expected["bp"])), "{case}");
        assert_eq!(found.to_string(), expected["printed"], "{case}");
    }
}

fn assert_chrf(found: &ChrfScore, expected: &Value, case: &str) {
    assert!(close(found.score, number(&expected["score"])), "{case}: {found:?}\n{expected}");
    assert_eq!(found.signature(), expected["signature"], "{case}");
    if let Some(printed) = expected["printed"].as_str() {
        assert_eq!(found.to_string(), printed, "{case}");
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

struct Case {
    name: String,
    hypotheses: Vec<String>,
    references: Vec<Vec<String>>,
    scores: Value,
}

impl Case {
    fn references(&self) -> Vec<&[String]> {
        self.references.iter().map(Vec::as_slice).collect()
    }
}

fn cases() -> Vec<Case> {
    cases_of(include_str!("../data/bleu/cases.json"))
}

fn cases_of(file: &str) -> Vec<Case> {
    let file: Value = serde_json::from_str(file).unwrap();
    let strings =
        |lines: &Value| lines.as_array().unwrap().iter().map(|line| line.as_str().unwrap().into()).collect();
    let cases: Vec<Case> = file["cases"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, case)| Case {
            name: name.clone(),
            hypotheses: strings(&case["hypotheses"]),
            references: case["references"].as_array().unwrap().iter().map(strings).collect(),
            scores: case.clone(),
        })
        .collect();
    assert!(cases.len() >= 40);
    cases
}

#[test]
fn bleu_is_that_of_sacrebleu() {
    let bleu = Bleu::new();
    let settings = [
        ("default", bleu),
        ("lowercase", bleu.with_lowercase(true)),
        ("effective order", bleu.with_effective_order(true)),
        ("none", bleu.with_smoothing(Smoothing::None)),
        ("floor", bleu.with_smoothing(Smoothing::Floor(0.1))),
        ("floor 0.5", bleu.with_smoothing(Smoothing::Floor(0.5))),
        ("add-k", bleu.with_smoothing(Smoothing::AddK(1.0))),
        ("add-k 0.25 effective order", bleu.with_smoothing(Smoothing::AddK(0.25)).with_effective_order(true)),
    ];
    for case in cases() {
        assert_eq!(case.scores["bleu"].as_object().unwrap().len(), settings.len());
        for (setting, bleu) in settings {
            let found = bleu.corpus(&case.hypotheses, &case.references()).unwrap();
            assert_bleu(&found, &case.scores["bleu"][setting], &format!("{}, {setting}", case.name));
        }
    }
}

#[test]
fn bleu_under_every_tokenizer_is_that_of_sacrebleu() {
    for case in cases_of(include_str!("../data/bleu/tokenizers.json")) {
        let scores = case.scores["bleu"].as_object().unwrap();
        assert_eq!(scores.len(), BleuTokenizer::ALL.len() - 1);
        for (name, expected) in scores {
            let bleu = Bleu::new().with_tokenizer(name.parse().unwrap());
            let found = bleu.corpus(&case.hypotheses, &case.references()).unwrap();
            assert_bleu(&found, expected, &format!("{}, {name}", case.name));
        }
    }
}

#[test]
fn chrf_is_that_of_sacrebleu() {
    let chrf = Chrf::new();
    let settings = [
        ("chrF2", chrf),
        ("chrF2 lowercase", chrf.with_lowercase(true)),
        ("chrF2+", chrf.with_word_order(1)),
        ("chrF2++", chrf.with_word_order(2)),
        ("chrF2++ lowercase", chrf.with_word_order(2).with_lowercase(true)),
    ];
    for case in cases() {
        assert_eq!(case.scores["chrf"].as_object().unwrap().len(), settings.len());
        for (setting, chrf) in settings {
            let found = chrf.corpus(&case.hypotheses, &case.references()).unwrap();
            assert_chrf(&found, &case.scores["chrf"][setting], &format!("{}, {setting}", case.name));
        }
    }
}

#[test]
fn multi_bleu_detok_prints_what_the_script_prints() {
    let mut printed = 0;
    for case in cases() {
        let found = MultiBleuDetok::corpus(&case.hypotheses, &case.references()).unwrap();
        match case.scores["multi_bleu_detok"].as_str() {
            Some(expected) => assert_eq!(found.to_string(), expected, "{}", case.name),
            None => assert_eq!((found.score, found.hypothesis_length), (0.0, 0), "{}", case.name),
        }
        printed += usize::from(!case.scores["multi_bleu_detok"].is_null());
    }
    assert!(printed >= 40);
}

#[test]
fn translations_of_multi30k_score_as_by_sacrebleu() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden");
    let Ok(file) = std::fs::read_to_string(folder.join("bleu.json")) else {
        println!("skipped: no {}", folder.display());
        return;
    };
    let file: Value = serde_json::from_str(&file).unwrap();
    for (name, scores) in file["cases"].as_object().unwrap() {
        let hypotheses = lines(folder.join(format!("bleu/{name}.hyp.gz")));
        let references = lines(folder.join(format!("bleu/{name}.ref.gz")));
        assert_eq!(hypotheses.len(), scores["lines"], "{name}");
        let references: &[&[String]] = &[&references];
        for (key, bleu) in [
            ("bleu_13a", Bleu::new()),
            ("bleu_13a_lc", Bleu::new().with_lowercase(true)),
            ("bleu_13a_smooth_none", Bleu::new().with_smoothing(Smoothing::None)),
            ("bleu_13a_smooth_floor", Bleu::new().with_smoothing(Smoothing::Floor(0.1))),
            ("bleu_13a_smooth_add_k", Bleu::new().with_smoothing(Smoothing::AddK(1.0))),
        ] {
            let found = bleu.corpus(&hypotheses, references).unwrap();
            assert_bleu(&found, &scores[key], &format!("{name}, {key}"));
        }
        let found = Chrf::new().corpus(&hypotheses, references).unwrap();
        assert_chrf(&found, &scores["chrf2"], name);
    }
}

fn lines(path: PathBuf) -> Vec<String> {
    let mut text = String::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text.strip_suffix('\n').unwrap().split('\n').map(String::from).collect()
}

#[test]
fn a_sentence_scores_as_a_corpus_of_one_line() {
    let references = ["Zwei Kinder spielen im Schnee.", "Im Schnee spielen zwei Kinder."];
    let hypothesis = "Zwei Kinder spielen im tiefen Schnee.";
    let streams: [&[&str]; 2] = [&references[..1], &references[1..]];
    let bleu = Bleu::new().with_effective_order(true);
    assert_eq!(
        bleu.sentence(hypothesis, &references).unwrap(),
        bleu.corpus(&[hypothesis], &streams).unwrap()
    );
    let chrf = Chrf::new();
    assert_eq!(
        chrf.sentence(hypothesis, &references).unwrap(),
        chrf.corpus(&[hypothesis], &streams).unwrap()
    );
}

#[test]
fn mismatched_line_counts_are_named() {
    let check = |error: Error, named: &str, value: &str| match error {
        Error::Argument { name, place, value: found, .. } => {
            let name = place.map_or(name.to_string(), |place| format!("{name} {place}"));
            assert_eq!((name.as_str(), found.as_str()), (named, value))
        }
        other => panic!("{other}"),
    };
    let (two, three) = (["a", "b"], ["a", "b", "c"]);
    let references: [&[&str]; 2] = [&two, &three];
    let none: [&str; 0] = [];
    check(Bleu::new().corpus(&two, &references).unwrap_err(), "references stream 1", "3 lines");
    check(Chrf::new().corpus(&two, &references).unwrap_err(), "references stream 1", "3 lines");
    check(MultiBleuDetok::corpus(&three, &references).unwrap_err(), "references stream 0", "2 lines");
    check(Bleu::new().corpus::<_, &str>(&two, &[]).unwrap_err(), "references", "none");
    check(Bleu::new().corpus(&none, &[&none]).unwrap_err(), "hypotheses", "0 lines");
    check(Bleu::new().sentence("a", &none).unwrap_err(), "references", "none");
}

#[test]
fn settings_without_meaning_are_refused() {
    for smoothing in [Smoothing::Floor(-0.1), Smoothing::AddK(f64::NAN), Smoothing::Floor(f64::INFINITY)] {
        let error = Bleu::new().with_smoothing(smoothing).sentence("a", &["a"]).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{error}");
    }
    let error = Chrf::new().with_word_order(usize::MAX).sentence("a", &["a"]).unwrap_err();
    assert!(matches!(error, Error::Argument { .. }), "{error}");
}

/// Lines of words and punctuation that share enough n-grams to match by chance.
fn corpus(lines: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(String, String)>> {
    let word = prop::sample::select(vec![
        "der", "Hund", "ein", "Ein", "3.5", "3-4", "läuft,", "ist.", "(so)", "&amp;",
    ]);
    let line = || prop::collection::vec(word.clone(), 0..12).prop_map(|words| words.join(" "));
    prop::collection::vec((line(), line()), lines)
}

proptest! {
    #[test]
    fn a_corpus_scores_100_against_itself(pairs in corpus(1..8), long in "[a-z]{1,3}( [a-z]{1,3}){3,6}") {
        let mut lines: Vec<String> = pairs.into_iter().map(|(line, _)| line).collect();
        lines.push(long);
        let bleu = Bleu::new().corpus(&lines, &[&lines]).unwrap();
        prop_assert!((bleu.score - 100.0).abs() < 1e-9);
        prop_assert_eq!(bleu.counts, bleu.totals);
        let chrf = Chrf::new().with_word_order(2).corpus(&lines, &[&lines]).unwrap();
        prop_assert!((chrf.score - 100.0).abs() < 1e-9);
    }

    #[test]
    fn the_order_of_the_lines_does_not_matter(
        (pairs, shuffled) in corpus(1..8).prop_flat_map(|pairs| (Just(pairs.clone()), Just(pairs).prop_shuffle())),
    ) {
        let score = |pairs: Vec<(String, String)>| {
            let (hypotheses, references): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            (
                Bleu::new().corpus(&hypotheses, &[&references]).unwrap(),
                Chrf::new().corpus(&hypotheses, &[&references]).unwrap(),
                MultiBleuDetok::corpus(&hypotheses, &[&references]).unwrap(),
            )
        };
        prop_assert_eq!(score(pairs), score(shuffled));
    }

    #[test]
    fn another_reference_never_matches_less(pairs in corpus(1..6), others in corpus(6..7)) {
        let (hypotheses, references): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let others: Vec<String> = others.into_iter().take(hypotheses.len()).map(|(line, _)| line).collect();
        let one = Bleu::new().corpus(&hypotheses, &[&references]).unwrap();
        let two = Bleu::new().corpus(&hypotheses, &[&references, &others]).unwrap();
        prop_assert_eq!(one.totals, two.totals);
        prop_assert!(one.counts.iter().zip(two.counts).all(|(&one, two)| one <= two));
    }

    #[test]
    fn any_text_has_a_score_between_0_and_100(lines in prop::collection::vec((any::<String>(), any::<String>()), 1..4)) {
        let (hypotheses, references): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
        let bound = 0.0..=100.0 + 1e-9;
        prop_assert!(bound.contains(&Bleu::new().with_lowercase(true).corpus(&hypotheses, &[&references]).unwrap().score));
        prop_assert!(bound.contains(&Chrf::new().with_word_order(2).corpus(&hypotheses, &[&references]).unwrap().score));
        prop_assert!(bound.contains(&MultiBleuDetok::corpus(&hypotheses, &[&references]).unwrap().score));
    }
}
