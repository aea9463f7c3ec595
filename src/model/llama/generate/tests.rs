use burn::backend::Flex;

use super::*;
use crate::model::llama::LlamaConfig;

fn model() -> Llama<Flex> {
    // Weights ten times larger than a first draw's, so that tokens differ clearly.
    LlamaConfig::new(50, 16, 40, 2, 4)
        .with_kv_heads(Some(2))
        .with_context(24)
        .with_density(0.3)
        .with_weights(crate::topology::init::WeightInit::Normal { std: 0.3 })
        .with_seed(5)
        .init(&Default::default())
}

fn text(generation: &Generation) -> Generated {
    model().generate(&[1, 7, 3], generation, |_| true).unwrap()
}

fn sampled(seed: u64) -> Generation {
    Generation { max_tokens: Some(12), sampling: Sampling::at(1.0), seed, ..Default::default() }
}

#[test]
fn greedy_takes_the_most_likely_token_of_the_whole_text() {
    let model = model();
    let greedy = text(&Generation { max_tokens: Some(10), ..Default::default() });
    let mut read = vec![1, 7, 3];
    for token in &greedy.tokens {
        let length = read.len();
        let logits = model.forward(model.tensor(&read)).narrow(1, length - 1, 1);
        let best: i64 = logits.argmax(2).into_scalar().elem();
        assert_eq!(best, i64::from(*token));
        read.push(*token);
    }
    assert_eq!((greedy.tokens.len(), greedy.finish_reason), (10, FinishReason::Length));
}

#[test]
fn top_k_one_is_greedy() {
    let greedy = Generation { sampling: Sampling::greedy(), ..sampled(1) };
    let top = Generation { sampling: Sampling { top_k: Some(1), ..Sampling::at(1.0) }, ..sampled(1) };
    assert_eq!(text(&greedy), text(&top));
}

#[test]
fn a_seed_gives_one_text_and_another_seed_another() {
    assert_eq!(text(&sampled(1)), text(&sampled(1)));
    assert_ne!(text(&sampled(1)), text(&sampled(2)));
}

#[test]
fn tokens_are_handed_out_as_they_come_until_the_receiver_has_enough() {
    let all = text(&sampled(1)).tokens;
    let mut received = Vec::new();
    let stopped = model().generate(&[1, 7, 3], &sampled(1), |token| {
        received.push(token);
        received.len() < 4
    });
    assert_eq!(received, all[..4]);
    assert_eq!(stopped.unwrap(), Generated { tokens: received, finish_reason: FinishReason::Receiver });
}

#[test]
fn a_stop_token_ends_the_text_and_is_no_part_of_it() {
    let all = text(&sampled(1)).tokens;
    let stop = all[5];
    let before = all.iter().position(|&token| token == stop).unwrap();
    let stopped = text(&Generation { stop: vec![stop], ..sampled(1) });
    assert_eq!(
        stopped,
        Generated { tokens: all[..before].to_vec(), finish_reason: FinishReason::Stop(stop) }
    );
}

#[test]
fn a_text_ends_where_the_context_does() {
    // The last token is chosen by 24 positions and never read.
    let filled = text(&Generation::default());
    assert_eq!((filled.tokens.len(), filled.finish_reason), (24 - 3 + 1, FinishReason::Context));
}

#[test]
fn a_prompt_that_does_not_fit_is_refused() {
    let refused = |prompt: &[u32]| match model().generate(prompt, &Generation::default(), |_| true) {
        Err(Error::Argument { name, value, .. }) => (name, value),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&[]), ("length of the prompt", "0".into()));
    assert_eq!(refused(&[1; 25]), ("length of the prompt", "25".into()));
    assert_eq!(refused(&[1, 50]), ("token of the prompt", "50".into()));
}
