//! Clipping: by the norm of all gradients together, and Burn's, a parameter at a time.

use std::collections::HashSet;

use burn::grad_clipping::GradientClippingConfig;
use burn::module::{AutodiffModule, ModuleVisitor, Param, ParamId};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{GradientsParams, SimpleOptimizer};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use crate::kernel::is_on_host;

/// Keeps the norm from dividing zero, as PyTorch's `clip_grad_norm_` does.
const EPSILON: f64 = 1e-6;

/// `optim` for a module, with Burn's clipping of each parameter's gradient if there is one.
pub(super) fn adaptor<O, M, B>(
    optim: O,
    clipping: Option<&GradientClippingConfig>,
) -> OptimizerAdaptor<O, M, B>
where
    O: SimpleOptimizer<B::InnerBackend>,
    M: AutodiffModule<B>,
    B: AutodiffBackend,
{
    let optim = OptimizerAdaptor::from(optim);
    match clipping {
        Some(clipping) => optim.with_grad_clipping(clipping.init()),
        None => optim,
    }
}

/// Multiplies every gradient of `model` by `min(1, max_norm / (norm + 1e-6))`, where `norm` is the L2 norm of all of
/// them as one vector. `Err` is a norm that is not finite, with the gradients as they were.
///
/// On the host the norm is read and gradients below it are left alone. On another device nothing is read back: a norm
/// that is not finite then reaches the weights as NaN, and the loss of the next step tells.
///
/// Cost: one pass over the gradients, and a second one where they are scaled.
pub(super) fn clip<B: AutodiffBackend, M: AutodiffModule<B>>(
    model: &M,
    grads: &mut GradientsParams,
    max_norm: f64,
) -> Result<(), f64> {
    let mut squares = Squares::<B> { grads, seen: HashSet::new(), sum: None };
    model.visit(&mut squares);
    let Some(sum) = squares.sum else { return Ok(()) };
    let norm = sum.sqrt();
    let factor = if is_on_host::<B>() {
        let norm = norm.into_data().iter::<f64>().next().unwrap_or(f64::NAN);
        let factor = max_norm / (norm + EPSILON);
        match norm.is_finite() {
            false => return Err(norm),
            true if factor >= 1.0 => return Ok(()),
            true => Factor::Number(factor),
        }
    } else {
        let factor = (norm + EPSILON).recip() * max_norm;
        // A comparison with NaN is false, so that clamping might hide it.
        let is_nan = factor.clone().is_nan();
        Factor::OnDevice(factor.clamp_max(1.0).mask_fill(is_nan, f32::NAN))
    };
    model.visit(&mut Scaling::<B> { grads, seen: HashSet::new(), factor });
    Ok(())
}

/// Sums the squares of all gradients. A parameter that a walk meets twice counts once.
struct Squares<'a, B: AutodiffBackend> {
    grads: &'a GradientsParams,
    seen: HashSet<ParamId>,
    sum: Option<Tensor<B::InnerBackend, 1>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Squares<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let Some(grad) = self.grads.get::<B::InnerBackend, D>(param.id) else { return };
        if !self.seen.insert(param.id) {
            return;
        }
        let square = (grad.clone() * grad).sum();
        self.sum = Some(match self.sum.take() {
            Some(sum) => {
                let device = sum.device();
                sum + square.to_device(&device)
            }
            None => square,
        });
    }
}

enum Factor<B: Backend> {
    Number(f64),
    OnDevice(Tensor<B, 1>),
}

struct Scaling<'a, B: AutodiffBackend> {
    grads: &'a mut GradientsParams,
    seen: HashSet<ParamId>,
    factor: Factor<B::InnerBackend>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Scaling<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if !self.seen.insert(param.id) {
            return;
        }
        let Some(grad) = self.grads.remove::<B::InnerBackend, D>(param.id) else { return };
        let scaled = match &self.factor {
            Factor::Number(factor) => grad * *factor,
            Factor::OnDevice(factor) => {
                let factor = factor.clone().to_device(&grad.device()).reshape([1; D]);
                grad * factor
            }
        };
        self.grads.register::<B::InnerBackend, D>(param.id, scaled);
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::nn::{Linear, LinearConfig};

    use super::*;

    type B = Autodiff<Flex>;

    #[derive(Module, Debug)]
    struct Net<B: Backend> {
        layers: Vec<Linear<B>>,
    }

    fn net() -> Net<B> {
        let device = Default::default();
        Net { layers: vec![LinearConfig::new(3, 4).init(&device), LinearConfig::new(4, 2).init(&device)] }
    }

    /// Gradients `1, 2, 3, …` over all parameters, times `scale`, and their norm.
    fn gradients(net: &Net<B>, scale: f64) -> (GradientsParams, f64) {
        let device = Default::default();
        let (mut grads, mut count, mut square) = (GradientsParams::new(), 0.0_f64, 0.0);
        let mut next = |elements: usize| -> Vec<f32> {
            let value = |_| {
                count += 1.0;
                square += (scale * count).powi(2);
                (scale * count) as f32
            };
            (0..elements).map(value).collect()
        };
        for layer in &net.layers {
            let shape = layer.weight.dims();
            let data = TensorData::new(next(shape[0] * shape[1]), shape);
            grads.register::<Flex, 2>(layer.weight.id, Tensor::from_data(data, &device));
            let bias = layer.bias.as_ref().unwrap();
            let data = TensorData::new(next(shape[1]), [shape[1]]);
            grads.register::<Flex, 1>(bias.id, Tensor::from_data(data, &device));
        }
        (grads, square.sqrt())
    }

    fn values(net: &Net<B>, grads: &GradientsParams) -> Vec<f64> {
        let read = |data: TensorData| data.iter::<f64>().collect::<Vec<_>>();
        let of = |layer: &Linear<B>| {
            let mut values = read(grads.get::<Flex, 2>(layer.weight.id).unwrap().into_data());
            values.extend(read(grads.get::<Flex, 1>(layer.bias.as_ref().unwrap().id).unwrap().into_data()));
            values
        };
        net.layers.iter().flat_map(of).collect()
    }

    #[test]
    fn all_gradients_are_scaled_by_one_factor_to_the_largest_norm_allowed() {
        let net = net();
        let (mut grads, norm) = gradients(&net, 1.0);
        clip::<B, _>(&net, &mut grads, 2.0).unwrap();
        let clipped = values(&net, &grads);
        assert_eq!(clipped.len(), 26);
        for (index, value) in clipped.iter().enumerate() {
            let expected = (index + 1) as f64 * 2.0 / (norm + EPSILON);
            assert!((value - expected).abs() < 1e-6 * expected, "{index}: {value}, not {expected}");
        }
    }

    #[test]
    fn gradients_below_the_norm_are_left_as_they_are_to_the_bit() {
        let net = net();
        let (mut grads, norm) = gradients(&net, 1.0);
        clip::<B, _>(&net, &mut grads, norm * 1.001).unwrap();
        assert_eq!(values(&net, &grads), (1..=26).map(f64::from).collect::<Vec<_>>());
        clip::<B, _>(&net, &mut GradientsParams::new(), 1.0).unwrap();
    }

    #[test]
    fn a_norm_that_is_not_finite_is_told_and_touches_nothing() {
        let net = net();
        for (scale, check) in [(f64::NAN, f64::is_nan as fn(f64) -> bool), (1e30, f64::is_infinite)] {
            let (mut grads, _) = gradients(&net, scale);
            let before = values(&net, &grads);
            let norm = clip::<B, _>(&net, &mut grads, 1.0).unwrap_err();
            assert!(check(norm), "{norm}");
            assert_eq!(format!("{before:?}"), format!("{:?}", values(&net, &grads)));
        }
    }
}
