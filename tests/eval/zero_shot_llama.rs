//! stories260K on BLiMP, COPA and RTE, against figures that other programs computed.

use std::fs;
use std::path::{Path, PathBuf};

use burn::backend::Flex;
use burn_cht::data::language::Tokenizer;
use burn_cht::eval::zero_shot::{Encode, Evaluation, LanguageModel, Request, Scorer, Task, evaluate};
use burn_cht::model::llama::checkpoint::read_llama2c;
use burn_cht::model::llama::{Llama, LlamaConfig};
use burn_cht::nn::Layout;
use serde_json::Value;

const TOLERANCE: f64 = 5e-4;
/// Pairs of each BLiMP file, and items of RTE, that the tests score.
const FIRST_PAIRS: usize = 5;
const FIRST_ITEMS: usize = 60;

/// What `tests/data/zero_shot/pytorch.py` computed.
fn pytorch() -> Value {
    serde_json::from_str(include_str!("../data/zero_shot/stories260k.json")).unwrap()
}

/// Figures of the shared golden file.
fn golden(shared: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(shared.join("golden/zero_shot.json")).unwrap()).unwrap()
}

fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    if path.join("data/stories260K").exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

fn model(shared: &Path) -> (Llama<Flex>, Tokenizer) {
    let folder = shared.join("data/stories260K");
    let model = read_llama2c(folder.join("stories260K.bin"), Layout::Auto, &Default::default()).unwrap();
    (model, Tokenizer::load(folder.join("tok512.bin")).unwrap())
}

fn put(task: &Task, folder: &Path, limit: Option<usize>, shared: &Path) -> Evaluation {
    let (model, tokenizer) = model(shared);
    let scorer = Scorer::<Flex, _, _>::new(&model, &tokenizer, true, &Default::default());
    evaluate(task, folder, limit, &scorer).unwrap()
}

fn assert_log_likelihoods(found: &Evaluation, expected: &Value) {
    for (at, outcome) in found.outcomes.iter().enumerate() {
        for (choice, score) in outcome.scores.iter().enumerate() {
            let expected = expected[at][choice].as_f64().unwrap();
            let difference = (score.log_likelihood - expected).abs();
            assert!(difference < TOLERANCE, "{at}, {choice}: {} {expected}", score.log_likelihood);
        }
    }
}

#[test]
fn copa_gives_the_log_likelihoods_and_accuracies_of_pytorch() {
    let Some(shared) = shared() else { return };
    let found = put(&Task::built_in("copa").unwrap(), &shared.join("data"), None, &shared);
    let expected = &pytorch()["copa"];
    assert_log_likelihoods(&found, &expected["log_likelihoods"]);
    let report = &found.report;
    assert_eq!(report.items, 100);
    assert_eq!(report.accuracy.value, expected["right"].as_f64().unwrap() / 100.0);
    assert_eq!(report.accuracy_norm.unwrap().value, expected["right_norm"].as_f64().unwrap() / 100.0);
    assert_eq!(report.tokens, expected["tokens"].as_u64().unwrap() as usize);
    for (share, predicted) in report.labels.iter().zip(expected["predicted"].as_array().unwrap()) {
        assert_eq!(share.predicted as u64, predicted.as_u64().unwrap());
    }
}

#[test]
fn rte_gives_the_log_likelihoods_of_pytorch_and_truncates_as_it() {
    let Some(shared) = shared() else { return };
    let found = put(&Task::built_in("rte").unwrap(), &shared.join("data"), Some(FIRST_ITEMS), &shared);
    assert_log_likelihoods(&found, &pytorch()["rte"]["log_likelihoods"]);
    assert!(found.report.truncated > 0, "a context that is too long is among the first");
    // The model says True to everything, and is right as often as that is.
    let report = &found.report;
    assert_eq!(report.labels[0].predicted, FIRST_ITEMS);
    assert_eq!(report.accuracy.value, report.labels[0].gold as f64 / FIRST_ITEMS as f64);
    assert_eq!(report.mcc.unwrap().value, 0.0);
}

#[test]
fn every_part_of_blimp_gives_the_log_likelihoods_of_pytorch_and_of_the_golden_file() {
    let Some(shared) = shared() else { return };
    let blimp = Task::built_in("blimp").unwrap();
    let found = put(&blimp, &shared.join("data"), Some(FIRST_PAIRS), &shared);
    let (pytorch, golden) = (pytorch(), golden(&shared));
    assert_eq!(found.report.groups.len(), 67);
    let mut compared = 0;
    for (group, outcomes) in found.report.groups.iter().zip(found.outcomes.chunks(FIRST_PAIRS)) {
        let part = Evaluation { report: found.report.clone(), outcomes: outcomes.to_vec() };
        assert_log_likelihoods(&part, &pytorch["blimp"][&group.name]);
        for (at, pair) in
            golden["blimp"]["files"][&group.name]["first"].as_array().into_iter().flatten().enumerate()
        {
            for (choice, name) in ["good", "bad"].into_iter().enumerate() {
                let score = outcomes[at].scores[choice];
                assert!((score.log_likelihood - pair[name].as_f64().unwrap()).abs() < TOLERANCE);
                assert_eq!(score.tokens as u64, pair[format!("{name}_tokens")].as_u64().unwrap());
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 5 * 3 * 2);
}

#[test]
fn blimp_files_give_the_accuracies_of_the_golden_file() {
    let Some(shared) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let archive = fs::File::open(shared.join("data/blimp/blimp.tar.gz")).unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(archive)).unpack(folder.path()).unwrap();
    let text = "name = 'pairs'\nsource = 'BLiMP'\nprompt = ''\ndelimiter = ''\nmetrics = ['accuracy']\n\
                choices = ['{sentence_good}', '{sentence_bad}']\ntarget.always = 0\ndata.file = 'FILE.jsonl'";
    for (name, expected) in golden(&shared)["blimp"]["files"].as_object().unwrap() {
        let task = Task::parse(Path::new("pairs.toml"), &text.replace("FILE", name)).unwrap();
        let report = put(&task, folder.path(), None, &shared).report;
        let right = (report.accuracy.value * 1000.0).round() as i64;
        let close = expected["margin_below_1e-3"].as_i64().unwrap();
        assert_eq!(report.items, 1000);
        assert!((right - expected["correct"].as_i64().unwrap()).abs() <= close, "{name}: {right}");
    }
}

#[test]
fn neither_neighbours_nor_padding_change_a_scored_sentence() {
    struct Bytes;
    impl Encode for Bytes {
        fn encode(&self, text: &str) -> burn_cht::Result<Vec<u32>> {
            Ok(text.bytes().map(u32::from).collect())
        }
        fn bos(&self) -> Option<u32> {
            Some(1)
        }
    }
    let model = LlamaConfig::new(128, 32, 64, 2, 4)
        .with_context(48)
        .with_density(0.3)
        .init::<Flex>(&Default::default());
    assert_eq!(
        (LanguageModel::<Flex>::vocabulary(&model), LanguageModel::<Flex>::context(&model)),
        (128, 48)
    );
    let scorer = Scorer::<Flex, _, _>::new(&model, &Bytes, true, &Default::default());
    let requests: Vec<Request> =
        ["a cat", "a", "", "a cat sat on the mat and then on another mat, purring all day"]
            .iter()
            .flat_map(|context| {
                [" on", " on the mat", "."]
                    .map(|text| Request { context: (*context).into(), continuation: text.into() })
            })
            .collect();
    for (request, together) in requests.iter().zip(scorer.score(&requests).unwrap()) {
        let alone = scorer.score(std::slice::from_ref(request)).unwrap()[0];
        assert!((alone.log_likelihood - together.log_likelihood).abs() < 1e-4, "{request:?}");
        assert_eq!((alone.tokens, alone.truncated), (together.tokens, together.truncated));
    }
}
