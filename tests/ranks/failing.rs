//! Ranks that do not come, end, or were started in another way.

use std::time::{Duration, Instant};

use burn_cht::Error;
use burn_cht::prelude::*;
use burn_cht::ranks::{DataParallel, RankError, threads};
use serde_json::json;

use crate::net::{PATIENCE, Setup, on_threads};

fn rank_error(error: Error) -> RankError {
    match error {
        Error::Rank(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn a_rank_that_does_not_come_is_named_within_the_time_out() {
    let timeout = Duration::from_millis(400);
    let started = Instant::now();
    let errors = on_threads(threads(3, timeout), |rank| {
        let mut values = vec![1.0];
        (rank.rank() != 1).then(|| rank.sum(&mut values).unwrap_err())
    });
    let expected = RankError::TimedOut { what: "a sum".into(), missing: vec![1], seconds: 0.4 };
    assert_eq!(errors, [Some(expected.clone()), None, Some(expected)]);
    assert!(started.elapsed() >= timeout && started.elapsed() < PATIENCE);
}

#[test]
fn nothing_is_exchanged_after_a_time_out() {
    let ranks = threads(2, Duration::from_millis(50));
    let first = ranks[0].gather(vec![1]).unwrap_err();
    assert_eq!(ranks[1].gather(vec![1]).unwrap_err(), first);
}

#[test]
fn a_rank_that_ends_with_an_error_tells_it_to_all() {
    let setup = Setup::new(Method::Chts, Layout::Masked);
    let errors = on_threads(threads(3, PATIENCE), |rank| {
        let number = rank.rank();
        let parallel = DataParallel::new(rank);
        let trained = setup.train(Some(&parallel), |step, model| {
            if number == 2 && step == 5 {
                parallel.ranks().fail("no space left");
            }
            model
        });
        rank_error(trained.unwrap_err())
    });
    let expected = RankError::Failed { rank: 2, reason: "no space left".into() };
    assert!(errors.iter().all(|error| *error == expected), "{errors:?}");
    assert_eq!(expected.to_string(), "rank 2 has ended: no space left");
}

#[test]
fn a_call_that_all_came_to_succeeds_on_all_whoever_fails_right_after_it() {
    let failed = RankError::Failed { rank: 1, reason: "no space left".into() };
    for _ in 0..200 {
        let ends = on_threads(threads(3, PATIENCE), |rank| {
            let mut values = vec![1.0];
            let summed = rank.sum(&mut values);
            if rank.rank() == 1 {
                rank.fail("no space left");
            }
            (summed, values, rank.gather(vec![0]))
        });
        for end in ends {
            assert_eq!(end, (Ok(()), vec![3.0], Err(failed.clone())));
        }
    }
}

#[test]
fn an_error_of_a_step_ends_all_ranks() {
    use burn::backend::{Autodiff, Flex};
    use burn::optim::{GradientsParams, SgdConfig};
    use burn::prelude::*;

    let errors = on_threads(threads(2, PATIENCE), |rank| {
        let rate = if rank.rank() == 1 { f64::NAN } else { 0.1 };
        let topology = TopologyConfig::new(Method::Set, 10);
        let layer = topology.layer(10, 10).init::<Autodiff<Flex>>(&Default::default());
        let mut optim = SparseOptimizer::new(SgdConfig::new().init(), topology.init())
            .with_ranks(&DataParallel::new(rank));
        let layer = optim.shared(layer).unwrap();
        let loss = layer.forward(Tensor::<_, 2>::ones([1, 10], &Default::default())).sum();
        let grads = GradientsParams::from_grads(loss.backward(), &layer);
        optim.try_step(rate, layer, grads).unwrap_err().into_parts().1.to_string()
    });
    assert_eq!(errors[1], "the learning rate is NaN at step 1: the run is stopped");
    assert_eq!(errors[0], format!("rank 1 has ended: {}", errors[1]));
}

#[test]
fn ranks_of_another_configuration_are_refused_by_the_name_of_the_field() {
    let errors = on_threads(threads(3, PATIENCE), |rank| {
        let seed = if rank.rank() == 1 { 8 } else { 7 };
        let configuration = json!({ "model": { "width": 64 }, "seed": seed, "rate": 0.1 });
        rank_error(DataParallel::new(rank).check_same(&configuration).unwrap_err())
    });
    let expected = RankError::Differs {
        what: "`configuration.seed`".into(),
        rank: 1,
        found: "8".into(),
        expected: "7".into(),
    };
    assert_eq!(expected.to_string(), "`configuration.seed` of rank 1: 8, but 7 on rank 0");
    let told = RankError::Failed { rank: 1, reason: expected.to_string() };
    for error in [&errors[0], &errors[2]] {
        assert_eq!(*error, told);
    }
    assert_eq!(errors[1], expected);
    let same =
        on_threads(threads(2, PATIENCE), |rank| DataParallel::new(rank).check_same(&json!({ "rate": 0.1 })));
    assert!(same.iter().all(Result::is_ok));
}

#[test]
fn ranks_that_come_to_different_calls_are_told_so() {
    let errors = on_threads(threads(2, PATIENCE), |rank| {
        let mut values = vec![0.0; 3 + rank.rank()];
        rank.sum(&mut values).unwrap_err().to_string()
    });
    let expected = "collective call of rank 1: a sum of 4 values, but a sum of 3 values on rank 0";
    assert_eq!(errors, [expected, expected]);
}
