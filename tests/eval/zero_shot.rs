//! Zero-shot scoring against models whose probabilities are known.

use std::fs;
use std::path::Path;

use burn::backend::Flex;
use burn::prelude::*;
use burn_cht::eval::zero_shot::{
    Encode, Encoder, Evaluation, LanguageModel, Request, Score, Scorer, Task, evaluate,
};
use burn_cht::{Error, Result};

const VOCABULARY: usize = 6;
/// Probabilities of the next token after each: begin, a, b, c, d, space.
const TABLE: [[f64; VOCABULARY]; VOCABULARY] = [
    [0.1, 0.3, 0.2, 0.2, 0.1, 0.1],
    [0.05, 0.5, 0.15, 0.1, 0.1, 0.1],
    [0.2, 0.1, 0.1, 0.4, 0.1, 0.1],
    [0.1, 0.1, 0.25, 0.05, 0.3, 0.2],
    [0.3, 0.1, 0.1, 0.1, 0.2, 0.2],
    [0.1, 0.1, 0.2, 0.3, 0.25, 0.05],
];

/// Letters a to d and the space, one token each; 0 begins.
pub struct Letters;

impl Encode for Letters {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let of = |letter| "abcd ".find(letter).map(|at| at as u32 + 1);
        Ok(text.chars().filter_map(of).collect())
    }

    fn bos(&self) -> Option<u32> {
        Some(0)
    }
}

/// A model whose next token depends on the last one, or on the sum of all so far.
pub struct Toy {
    pub context: usize,
    pub remembers: bool,
}

impl Toy {
    /// The row of the table for what stands after some tokens.
    fn row(&self, tokens: &[i64]) -> usize {
        let state = if self.remembers { tokens.iter().sum() } else { *tokens.last().unwrap() };
        state as usize % VOCABULARY
    }

    /// ln p of the last `count` tokens, each after the at most `context` before it in the window of the whole.
    fn by_hand(&self, tokens: &[u32], count: usize) -> f64 {
        let tokens: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
        let start = (tokens.len() - 1).saturating_sub(self.context);
        let window = &tokens[start..];
        (window.len() - count..window.len())
            .map(|at| TABLE[self.row(&window[..at])][window[at] as usize].ln())
            .sum()
    }
}

impl<B: Backend> LanguageModel<B> for Toy {
    fn vocabulary(&self) -> usize {
        VOCABULARY
    }

    fn context(&self) -> usize {
        self.context
    }

    fn logits(&self, tokens: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let [batch, length] = tokens.dims();
        let device = tokens.device();
        let tokens: Vec<i64> = tokens.into_data().iter::<i64>().collect();
        let mut logits = Vec::new();
        for row in tokens.chunks(length) {
            for at in 0..length {
                // A constant more does not change a probability.
                logits.extend(TABLE[self.row(&row[..=at])].iter().map(|p| (p.ln() + 3.0) as f32));
            }
        }
        Tensor::from_data(TensorData::new(logits, [batch, length, VOCABULARY]), &device)
    }
}

fn request(context: &str, continuation: &str) -> Request {
    Request { context: context.into(), continuation: continuation.into() }
}

fn score(model: &Toy, beginning: bool, requests: &[Request]) -> Result<Vec<Score>> {
    Scorer::<Flex, _, _>::new(model, &Letters, beginning, &Default::default()).score(requests)
}

/// A task of pairs in `good` and `bad`, put to the toy model.
fn pairs(records: &str, extra: &str) -> Result<Evaluation> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pairs.jsonl"), records).unwrap();
    let text = format!(
        "name = 'toy'\nsource = 'none'\nprompt = ''\ndelimiter = ''\nchoices = ['{{good}}', '{{bad}}']\n\
         data.file = 'pairs.jsonl'\n{extra}"
    );
    let task = Task::parse(Path::new("toy.toml"), &text)?;
    let model = Toy { context: 8, remembers: false };
    let scorer = Scorer::<Flex, _, _>::new(&model, &Letters, true, &Default::default());
    evaluate(&task, folder.path(), None, &scorer)
}

#[test]
fn a_log_likelihood_is_the_sum_over_the_tokens_of_the_continuation() {
    let model = Toy { context: 8, remembers: false };
    let scores =
        score(&model, true, &[request("", "ab"), request("ab", " cd"), request("ab ", "cd")]).unwrap();
    let sums = [
        0.3_f64.ln() + 0.15_f64.ln(),
        0.1_f64.ln() + 0.3_f64.ln() + 0.3_f64.ln(),
        0.1_f64.ln() + 0.3_f64.ln() + 0.3_f64.ln(),
    ];
    for (score, sum) in scores.iter().zip(sums) {
        assert!((score.log_likelihood - sum).abs() < 1e-6, "{score:?} {sum}");
    }
    assert_eq!(scores.iter().map(|score| score.tokens).collect::<Vec<_>>(), [2, 3, 3]);
    assert_eq!(scores[1], scores[2]);
}

#[test]
fn a_continuation_is_greedy_if_each_of_its_tokens_is_the_likeliest() {
    let model = Toy { context: 8, remembers: false };
    let scores = score(&model, true, &[request("b", "cd"), request("b", "ca"), request("a", "aa")]).unwrap();
    assert_eq!(scores.iter().map(|score| score.greedy).collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn neither_neighbours_nor_padding_change_a_score() {
    let model = Toy { context: 40, remembers: true };
    let words =
        ["a", "bb", "cab", "dada", "b c d a b c d a b c d", "", "d d", "abcdabcdabcdabcdabcdabcdabcd"];
    let requests: Vec<Request> = words
        .iter()
        .flat_map(|context| ["a", " b", "cd", "dd a"].map(|word| request(context, word)))
        .collect();
    let together = score(&model, true, &requests).unwrap();
    for (asked, score_together) in requests.iter().zip(&together) {
        assert_eq!(score(&model, true, std::slice::from_ref(asked)).unwrap()[0], *score_together);
        let encoded = Encoder::new(&Letters, true).encode(asked).unwrap();
        let by_hand = model.by_hand(&encoded.tokens, encoded.tokens.len() - encoded.continuation);
        assert!((score_together.log_likelihood - by_hand).abs() < 1e-5, "{asked:?}");
    }
}

#[test]
fn thousands_of_requests_go_in_several_batches_and_come_back_in_order() {
    let model = Toy { context: 64, remembers: true };
    let letters = ["a", "b", "c", "d"];
    let requests: Vec<Request> =
        (0..3000).map(|at| request(&letters[at % 4].repeat(1 + at * 7 % 23), letters[at / 4 % 4])).collect();
    for (asked, score) in requests.iter().zip(score(&model, false, &requests).unwrap()) {
        let tokens = Letters.encode(&format!("{}{}", asked.context, asked.continuation)).unwrap();
        assert!((score.log_likelihood - model.by_hand(&tokens, 1)).abs() < 1e-5, "{asked:?}");
    }
}

#[test]
fn the_size_of_a_batch_changes_no_score() {
    let model = Toy { context: 64, remembers: true };
    let requests: Vec<Request> =
        (0..60).map(|at| request(&"abcd ".repeat(1 + at % 7), ["a", "bc", "d d"][at % 3])).collect();
    let scorer = || Scorer::<Flex, _, _>::new(&model, &Letters, true, &Default::default());
    let usual = scorer().score(&requests).unwrap();
    for tokens in [1, 37, 1000] {
        assert_eq!(scorer().with_batch_tokens(tokens).unwrap().score(&requests).unwrap(), usual);
    }
    assert!(matches!(scorer().with_batch_tokens(0), Err(Error::Argument { .. })));
}

#[test]
fn a_long_context_is_cut_on_the_left_and_counted() {
    // The model remembers the sum of what it reads, so it notices what is cut off.
    let model = Toy { context: 5, remembers: true };
    let scores =
        score(&model, true, &[request("abcd", "a"), request("abcd", "ab"), request("dcbabcd", "abc")])
            .unwrap();
    assert_eq!(scores.iter().map(|score| score.truncated).collect::<Vec<_>>(), [0, 1, 5]);
    let tokens = [0, 4, 3, 2, 1, 2, 3, 4, 1, 2, 3];
    assert!((scores[2].log_likelihood - model.by_hand(&tokens, 3)).abs() < 1e-6);
}

#[test]
fn a_continuation_longer_than_the_model_is_an_error() {
    let model = Toy { context: 3, remembers: false };
    assert!(score(&model, true, &[request("a", "bcd")]).is_ok());
    let error = score(&model, true, &[request("a", "bcda")]).unwrap_err();
    assert!(matches!(&error, Error::Argument { allowed, .. } if allowed.contains("at most 3")), "{error}");
}

/// Gives tokens 1 and 6 for everything.
struct Foreign {
    beginning: Option<u32>,
}

impl Encode for Foreign {
    fn encode(&self, _: &str) -> Result<Vec<u32>> {
        Ok(vec![1, 6])
    }

    fn bos(&self) -> Option<u32> {
        self.beginning
    }
}

#[test]
fn a_tokeniser_that_knows_more_than_the_model_is_an_error() {
    let model = Toy { context: 8, remembers: false };
    let foreign = Foreign { beginning: Some(0) };
    let scorer = Scorer::<Flex, _, _>::new(&model, &foreign, true, &Default::default());
    let error = scorer.score(&[request("", "a")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`token of the text` is 6; allowed: below 6, the number of the model's embeddings"
    );
}

#[test]
fn an_empty_context_needs_a_token_to_begin_with() {
    let model = Toy { context: 8, remembers: false };
    let foreign = Foreign { beginning: None };
    let scorer = Scorer::<Flex, _, _>::new(&model, &foreign, true, &Default::default());
    let error = scorer.score(&[request("", "a")]).unwrap_err();
    assert!(matches!(&error, Error::Argument { name: "context", .. }), "{error}");
}

#[test]
fn logits_that_are_no_numbers_are_an_error() {
    struct Broken;
    impl LanguageModel<Flex> for Broken {
        fn vocabulary(&self) -> usize {
            VOCABULARY
        }
        fn context(&self) -> usize {
            8
        }
        fn logits(&self, tokens: Tensor<Flex, 2, Int>) -> Tensor<Flex, 3> {
            let [batch, length] = tokens.dims();
            Tensor::full([batch, length, VOCABULARY], f32::NAN, &tokens.device())
        }
    }
    let scorer = Scorer::<Flex, _, _>::new(&Broken, &Letters, true, &Default::default());
    assert!(matches!(scorer.score(&[request("a", "b")]), Err(Error::Argument { .. })));
}

#[test]
fn of_equals_the_first_is_predicted_and_ties_are_counted() {
    // ln p: "a" −1.204, "b" and "c" −1.609 each, "d" −2.303.
    let records = r#"{"good": "a", "bad": "b"}
        {"good": "b", "bad": "c"}
        {"good": "c", "bad": "b"}
        {"good": "d", "bad": "a"}
        {"good": "aa", "bad": "aa"}"#;
    let Evaluation { report, outcomes } =
        pairs(records, "metrics = ['accuracy']\ntarget.always = 0").unwrap();
    let predicted: Vec<usize> = outcomes.iter().map(|outcome| outcome.predicted).collect();
    assert_eq!(predicted, [0, 0, 0, 1, 0]);
    assert_eq!((report.ties, report.identical, report.items), (3, 1, 5));
    assert_eq!(report.accuracy.value, 0.8);
    assert!((report.accuracy.standard_error.unwrap() - (0.16_f64 / 4.0).sqrt()).abs() < 1e-12);
    assert!(report.labels.is_empty() && report.majority.is_none());
}

#[test]
fn lengths_decide_normalised_accuracy() {
    // ln p: "a" −1.204; "aaa" −1.204 − 2·0.693 = −2.590, −0.863 a letter.
    let Evaluation { report, .. } =
        pairs(r#"{"good": "aaa", "bad": "a"}"#, "metrics = ['accuracy']\ntarget.always = 0").unwrap();
    assert_eq!(report.accuracy.value, 0.0);
    for normalised in [report.accuracy_norm, report.accuracy_per_byte, report.accuracy_per_token] {
        assert_eq!(normalised.unwrap().value, 1.0);
    }
    // "é" is nothing to the tokeniser, one character, two bytes: −1.204 over 2, over 3 and over 1; "b" −1.609.
    let Evaluation { report, .. } =
        pairs(r#"{"good": "ac", "bad": "déé"}"#, "metrics = ['accuracy']\ntarget.always = 0").unwrap();
    let (good, bad) = (0.3_f64.ln() + 0.1_f64.ln(), 0.1_f64.ln());
    let right = |good_length: f64, bad_length: f64| f64::from(good / good_length >= bad / bad_length);
    assert_eq!(report.accuracy_norm.unwrap().value, right(2.0, 3.0));
    assert_eq!(report.accuracy_per_byte.unwrap().value, right(2.0, 5.0));
    assert_eq!(report.accuracy_per_token.unwrap().value, right(2.0, 1.0));
}

#[test]
fn labels_stand_beside_the_figures_that_they_explain() {
    // The first choice is always likelier: four of six are labelled so.
    let records: String = [0, 0, 1, 0, 1, 0]
        .iter()
        .map(|label| format!("{{\"good\": \"a\", \"bad\": \"d\", \"label\": {label}}}\n"))
        .collect();
    let extra = "metrics = ['accuracy', 'f1', 'mcc']\ntarget = { field = 'label', values = [[0], [1]] }";
    let Evaluation { report, .. } = pairs(&records, extra).unwrap();
    let shares: Vec<(usize, usize)> =
        report.labels.iter().map(|share| (share.gold, share.predicted)).collect();
    assert_eq!(shares, [(4, 6), (2, 0)]);
    assert_eq!((report.accuracy.value, report.majority), (4.0 / 6.0, Some(4.0 / 6.0)));
    assert_eq!((report.mcc.unwrap().value, report.f1.unwrap().value), (0.0, 0.0));
    assert_eq!(report.row().len(), burn_cht::eval::zero_shot::TaskReport::HEADER.len());
}

#[test]
fn the_last_word_is_right_if_greedy_and_has_a_perplexity() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("lambada_test.jsonl"), "{\"text\": \"a b\"}\n{\"text\": \"a c\"}\n")
        .unwrap();
    let model = Toy { context: 8, remembers: false };
    let scorer = Scorer::<Flex, _, _>::new(&model, &Letters, true, &Default::default());
    let report = evaluate(&Task::built_in("lambada").unwrap(), folder.path(), None, &scorer).unwrap().report;
    // After "a" the space is never the likeliest.
    assert_eq!(report.accuracy.value, 0.0);
    let mean = (0.1_f64.ln() + 0.2_f64.ln() + 0.1_f64.ln() + 0.3_f64.ln()) / 2.0;
    assert!((report.perplexity.unwrap().value - (-mean).exp()).abs() < 1e-4);
    assert!(report.accuracy_norm.is_none());
}

#[test]
fn a_record_without_a_field_is_named_by_file_and_line() {
    let error = pairs(
        "{\"good\": \"a\", \"bad\": \"b\"}\n{\"good\": \"a\"}\n",
        "metrics = ['accuracy']\ntarget.always = 0",
    )
    .unwrap_err()
    .to_string();
    assert!(error.contains("pairs.jsonl: line 2") && error.contains("`bad`"), "{error}");
}

#[test]
fn labels_of_piqa_are_those_of_the_file_beside_its_records() {
    let model = Toy { context: 8, remembers: false };
    let scorer = Scorer::<Flex, _, _>::new(&model, &Letters, true, &Default::default());
    let record = |goal: &str| format!("{{\"goal\": \"{goal}\", \"sol1\": \"b\", \"sol2\": \"c\"}}\n");
    let records = ["a", "b", "d"].map(record).concat();
    let piqa = Task::built_in("piqa").unwrap();
    for place in ["piqa", "."] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join(place);
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("valid.jsonl"), &records).unwrap();
        let error = evaluate(&piqa, folder.path(), None, &scorer).unwrap_err().to_string();
        let here = folder.path().display().to_string();
        assert!(error.contains("valid-labels.lst") && error.ends_with(&format!(" in {here}")), "{error}");
        fs::write(data.join("valid-labels.lst"), "\u{feff}0\r\n1\r\n1\r\n").unwrap();
        let golds = |limit| {
            let outcomes = evaluate(&piqa, folder.path(), limit, &scorer).unwrap().outcomes;
            outcomes.iter().map(|outcome| outcome.gold).collect::<Vec<_>>()
        };
        assert_eq!(golds(None), [0, 1, 1]);
        assert_eq!(golds(Some(2)), [0, 1]);
        fs::write(data.join("valid-labels.lst"), "0\n7\n1\n").unwrap();
        let error = evaluate(&piqa, folder.path(), None, &scorer).unwrap_err().to_string();
        assert!(
            error.ends_with("line 2: field `label` is 7, which is none of the task's labels: 0, 1"),
            "{error}"
        );
    }
}

#[test]
fn datasets_readme_has_every_file_that_a_task_reads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("datasets/README.md")).unwrap();
    let mut files = 0;
    for entry in fs::read_dir(root.join("src/eval/zero_shot/tasks")).unwrap() {
        let path = entry.unwrap().path();
        let task: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        let names = |key: &str| match task["data"].get(key) {
            None => Vec::new(),
            Some(toml::Value::String(name)) => vec![name.clone()],
            Some(names) => {
                names.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
            }
        };
        let name = task["name"].as_str().unwrap();
        assert!(readme.contains(&format!("| `{name}` | `{}`", names("file")[0])), "{name}");
        // Files of labels lie beside the records.
        let labels = names("labels").into_iter().map(|label| label.rsplit('/').next().unwrap().to_owned());
        for file in names("file").into_iter().chain(labels) {
            assert!(readme.contains(&format!("`{file}`")), "{file} of {}", path.display());
            files += 1;
        }
    }
    assert!(files > 22, "{files}");
}

#[test]
fn a_task_without_its_data_says_which_file_it_wants() {
    let folder = tempfile::tempdir().unwrap();
    let model = Toy { context: 8, remembers: false };
    let scorer = Scorer::<Flex, _, _>::new(&model, &Letters, true, &Default::default());
    let error = evaluate(&Task::built_in("rte").unwrap(), folder.path(), None, &scorer).unwrap_err();
    assert!(error.to_string().contains("RTE.val.jsonl"), "{error}");
    let error = evaluate(&Task::built_in("rte").unwrap(), folder.path(), Some(0), &scorer).unwrap_err();
    assert!(matches!(&error, Error::Argument { name: "limit", .. }), "{error}");
}

#[test]
fn a_report_is_written_as_json() {
    let extra = "metrics = ['accuracy']\ntarget.always = 0";
    let Evaluation { report, .. } = pairs(r#"{"good": "a", "bad": "b"}"#, extra).unwrap();
    let report = burn_cht::eval::zero_shot::ZeroShotReport { tasks: vec![report] };
    let json: serde_json::Value = serde_json::to_value(&report).unwrap();
    assert_eq!(json["tasks"][0]["accuracy"]["value"], 1.0);
    assert_eq!(json["tasks"][0]["requests"], 2);
}
