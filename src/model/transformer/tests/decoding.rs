use burn::tensor::Tolerance;
use burn::tensor::activation::log_softmax;

use super::*;
use crate::Error;

/// ln P of every token after `beginning` and then `target`, by the whole model at once.
fn log_probabilities(model: &Transformer<Flex>, source: &[u32], target: &[u32]) -> Vec<Vec<f32>> {
    let logits = model.forward(batch(&[(source, target)]));
    log_softmax(logits, 2).into_data().to_vec::<f32>().unwrap().chunks(TARGET).map(<[f32]>::to_vec).collect()
}

#[test]
fn decoding_with_caches_gives_the_logits_of_the_whole_model() {
    for config in variants() {
        let model = opinionated::<Flex>(&config);
        let pairs: [(&[u32], &[u32]); 2] = [(&[5, 6], &[7, 8, 4, 4]), (&[4, 8, 6, 7], &[4, 5, 6, 7])];
        let expected = model.forward(batch(&pairs));
        let TranslationBatch { source, source_padding, target, .. } = batch(&pairs);
        let memory = model.encode(source, &source_padding);
        let mut state = model.decoder.start(&memory, source_padding);
        for position in 0..5 {
            let read = target.clone().slice([0..2, position..position + 1]).reshape([2]);
            let logits = model.step(read, position, &mut state);
            let expected =
                expected.clone().slice([0..2, position..position + 1, 0..TARGET]).reshape([2, TARGET]);
            logits.into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-5));
        }
    }
}

#[test]
fn a_beam_of_one_takes_the_most_probable_token_every_time() {
    for seed in 0..6 {
        let model = opinionated::<Flex>(&tiny().with_seed(seed));
        let source = [4, 5, 6, 7][..1 + seed as usize % 4].to_vec();
        let mut expected: Vec<u32> = Vec::new();
        while expected.len() < 12 {
            let scores = log_probabilities(&model, &source, &expected).swap_remove(expected.len());
            let allowed = (0..TARGET as u32).filter(|token| ![PAD, BOS].contains(token));
            let best = allowed
                .max_by(|&one, &other| scores[one as usize].total_cmp(&scores[other as usize]))
                .unwrap();
            if best == EOS {
                break;
            }
            expected.push(best);
        }
        let config = DecodeConfig::new().with_beam_width(1).with_max_length(12);
        assert_eq!(model.translate(&[source], &config).unwrap(), [expected], "seed {seed}");
    }
}

/// Every translation of up to `longest` tokens.
fn all_translations(longest: usize) -> Vec<Vec<u32>> {
    let words: Vec<u32> = (0..TARGET as u32).filter(|token| ![PAD, BOS, EOS].contains(token)).collect();
    let mut all = vec![vec![]];
    let mut last: Vec<Vec<u32>> = vec![vec![]];
    for _ in 0..longest {
        last = last
            .iter()
            .flat_map(|beginning| words.iter().map(move |&word| [&beginning[..], &[word]].concat()))
            .collect();
        all.extend_from_slice(&last);
    }
    all
}

#[test]
fn a_wide_beam_finds_what_trying_all_translations_finds() {
    for (seed, alpha) in [(0, 0.0), (1, 0.6), (2, 1.0), (3, 2.5)] {
        let model = opinionated::<Flex>(&tiny().with_seed(seed));
        let source = vec![5, 9, 6];
        let mut scored: Vec<(f64, f64, Vec<u32>)> = Vec::new();
        for translation in all_translations(3) {
            let scores = log_probabilities(&model, &source, &translation);
            let ended = translation.iter().chain(&[EOS]);
            let sum: f64 = ended.zip(&scores).map(|(&token, scores)| f64::from(scores[token as usize])).sum();
            let penalty = ((5 + translation.len() + 1) as f64 / 6.0).powf(alpha);
            scored.push((sum / penalty, sum, translation));
        }
        scored.sort_by(|one, other| other.0.total_cmp(&one.0));
        let config =
            DecodeConfig::new().with_beam_width(scored.len()).with_length_penalty(alpha).with_max_length(3);
        let best = model.translate(std::slice::from_ref(&source), &config).unwrap();
        assert_eq!(best, [scored[0].2.clone()], "seed {seed}");
        let all = model.hypotheses(&[source], &config).unwrap().remove(0);
        assert_eq!(all.len(), scored.len());
        for (found, (score, log_probability, tokens)) in all.iter().zip(&scored).take(50) {
            assert!(
                (found.score - score).abs() < 1e-4 && (found.log_probability - log_probability).abs() < 1e-4
            );
            assert_eq!(&found.tokens, tokens);
        }
    }
}

#[test]
fn a_wider_beam_never_ends_with_a_worse_best_when_it_holds_everything() {
    let model = opinionated::<Flex>(&tiny().with_seed(7));
    let best = |beam| {
        let config = DecodeConfig::new().with_beam_width(beam).with_max_length(3);
        model.hypotheses(&[vec![4, 4]], &config).unwrap()[0][0].score
    };
    assert!(best(300) >= best(1).max(best(2)).max(best(5)) - 1e-4);
}

#[test]
fn neither_the_order_of_sentences_nor_their_company_changes_a_translation() {
    let model = opinionated::<Flex>(&tiny());
    let sources: Vec<Vec<u32>> =
        vec![vec![5], vec![4, 5, 6, 7, 8, 9], vec![], vec![9, 9, 9], vec![4, 5, 6], vec![10, 11, 1]];
    for beam in [1, 3] {
        let config = DecodeConfig::new().with_beam_width(beam).with_max_length(8);
        let together = model.translate(&sources, &config).unwrap();
        let in_pairs = model.translate(&sources, &config.clone().with_batch(2)).unwrap();
        let alone: Vec<_> = sources
            .iter()
            .map(|source| model.translate(std::slice::from_ref(source), &config).unwrap().remove(0))
            .collect();
        let backwards: Vec<Vec<u32>> = sources.iter().rev().cloned().collect();
        let mut backwards = model.translate(&backwards, &config).unwrap();
        backwards.reverse();
        assert_eq!(together, alone);
        assert_eq!(together, in_pairs);
        assert_eq!(together, backwards);
    }
    assert!(model.translate(&[], &DecodeConfig::new()).unwrap().is_empty());
}

#[test]
fn an_end_is_added_where_there_is_none_and_kept_where_there_is() {
    let model = opinionated::<Flex>(&tiny());
    let config = DecodeConfig::new().with_max_length(8);
    let found = model.hypotheses(&[vec![5, 6], vec![5, 6, EOS]], &config).unwrap();
    assert_eq!(found[0], found[1]);
}

#[test]
fn what_cannot_be_translated_is_refused_by_sentence() {
    let model = tiny().with_max_length(6).init::<Flex>(&Default::default());
    let refused = |sources: &[Vec<u32>], config: DecodeConfig| match model.translate(sources, &config) {
        Err(Error::Argument { name, place, value, .. }) => {
            format!("{}{name} = {value}", place.map(|place| place + " ").unwrap_or_default())
        }
        other => panic!("{other:?}"),
    };
    let config = DecodeConfig::new;
    assert!(model.translate(&[vec![5; 5]], &config()).is_ok());
    assert!(refused(&[vec![], vec![5; 6]], config()).contains("sentence 2"));
    assert!(refused(&[vec![SOURCE as u32]], config()).contains("= 12"));
    assert_eq!(refused(&[], config().with_beam_width(0)), "beam_width = 0");
    assert_eq!(refused(&[], config().with_batch(0)), "batch = 0");
    assert_eq!(refused(&[], config().with_max_length(0)), "max_length = 0");
    assert_eq!(refused(&[], config().with_length_penalty(-1.0)), "length_penalty = -1");
}

#[test]
fn a_model_of_nan_translates_to_nothing() {
    let mut model = tiny().init::<Flex>(&Default::default());
    model.generator.bias = model.generator.bias.map(|bias| bias * f32::NAN);
    assert_eq!(model.translate(&[vec![5]], &DecodeConfig::new()).unwrap(), [Vec::<u32>::new()]);
}
