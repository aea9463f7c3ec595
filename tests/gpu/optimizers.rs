//! Optimizers, ages of links and clipping on values that are vectors on the device: the courses they take on Flex.

use burn::backend::{Autodiff, Flex};
use burn::nn::loss::CrossEntropyLoss;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, SgdConfig};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;
use burn_cht::optim::{CarriesMoments, FusedAdamConfig, FusedSgdConfig};
use burn_cht::prelude::*;

use crate::backend::Card;
use crate::drawn;
use crate::net::{CLASSES, INPUTS, Net, link_values, topology};

type Gpu = Autodiff<Card>;
type Cpu = Autodiff<Flex>;

const STEPS: usize = 7;

/// What is done with the optimizer beside stepping.
#[derive(Clone, Copy)]
struct Ways {
    ages: bool,
    norm: Option<f64>,
}

const PLAIN: Ways = Ways { ages: false, norm: None };
const AGES: Ways = Ways { ages: true, norm: None };
const CLIPPED: Ways = Ways { ages: false, norm: Some(0.05) };

/// Losses, and the values of the links after two updates of the topology.
fn course<B: AutodiffBackend, O: CarriesMoments<B::InnerBackend>>(
    inner: OptimizerAdaptor<O, Net<B>, B>,
    ways: Ways,
    device: &B::Device,
) -> (Vec<f32>, Net<B>) {
    let mut model = Net::<B>::new(0.1, Layout::Compressed, device);
    let mut optim = SparseOptimizer::new(inner, topology(Method::Set).init()).with_link_ages(ways.ages);
    if let Some(norm) = ways.norm {
        optim = optim.with_max_gradient_norm(norm).unwrap();
    }
    let mut losses = Vec::new();
    for step in 0..STEPS {
        let input = Tensor::from_data(drawn([16, INPUTS], 1.0, 100 + step as u64), device);
        let classes = (0..16).map(|item| ((item + step) % CLASSES) as i32).collect::<Vec<_>>();
        let targets = Tensor::<B, 1, Int>::from_ints(classes.as_slice(), device);
        let loss = CrossEntropyLoss::new(None, device).forward(model.forward(input), targets);
        losses.push(loss.clone().into_scalar().elem::<f32>());
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        model = optim.try_step(0.005, model, grads).unwrap_or_else(|failed| panic!("{failed}"));
    }
    assert_eq!(optim.manager().updates(), 2);
    (losses, model)
}

fn compare<G, C>(
    gpu: impl Fn() -> OptimizerAdaptor<G, Net<Gpu>, Gpu>,
    cpu: impl Fn() -> OptimizerAdaptor<C, Net<Cpu>, Cpu>,
    ways: &[Ways],
) where
    G: CarriesMoments<Card>,
    C: CarriesMoments<Flex>,
{
    let device = adapter_or_skip!();
    for &ways in ways {
        let (found, gpu) = course(gpu(), ways, &device);
        let (expected, cpu) = course(cpu(), ways, &Default::default());
        assert_eq!(gpu.links(), cpu.links());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-4 * expected, "{found} instead of {expected}");
        }
        let (found, expected) = (link_values(&gpu), link_values(&cpu));
        let apart =
            found.iter().zip(&expected).filter(|(found, expected)| (**found - **expected).abs() > 1e-4);
        // Where a gradient is next to zero, Adam's first step goes by the sign of a rounding.
        let apart = apart.count();
        assert!(apart * 200 <= found.len(), "{apart} of {} values apart", found.len());
        assert!(gpu.trunk.layers.iter().all(|layer| layer.weight.layout() == Layout::Compressed));
    }
}

#[test]
fn adam_takes_the_course_it_takes_on_flex_with_ages_and_without() {
    compare(|| AdamConfig::new().init(), || AdamConfig::new().init(), &[PLAIN, AGES]);
}

#[test]
fn adamw_takes_the_course_it_takes_on_flex_clipped_and_with_ages() {
    let config = AdamWConfig::new().with_weight_decay(0.1);
    compare(|| config.init(), || config.init(), &[AGES, CLIPPED]);
}

#[test]
fn sgd_with_momentum_takes_the_course_it_takes_on_flex_clipped_and_not() {
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let config = SgdConfig::new().with_momentum(Some(momentum));
    compare(|| config.init(), || config.init(), &[PLAIN, CLIPPED]);
}

#[test]
fn the_fused_optimizers_take_the_course_they_take_on_flex() {
    let adam = FusedAdamConfig::new();
    compare(|| adam.init(), || adam.init(), &[AGES, CLIPPED]);
    let sgd = FusedSgdConfig::new().with_momentum(0.9).with_weight_decay(5e-4);
    compare(|| sgd.init(), || sgd.init(), &[PLAIN, CLIPPED]);
}
