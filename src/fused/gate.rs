//! The gate of SwiGLU.

use burn::prelude::*;
use burn::tensor::activation::silu;
use pulp::{Arch, Simd, WithSimd};

use super::ablation::{Fused, is_off};
use crate::kernel::Part;
use crate::kernel::backend::{Operation, Pass, apply, primitive};
use crate::kernel::cpu::exp::sigmoid;
use crate::kernel::cpu::parallel::each;

/// Elements that a thread takes at a time.
const PIECE: usize = 1 << 14;

/// `silu(gate) · x`, elementwise (SwiGLU, arXiv 2002.05202).
///
/// # Panics
///
/// If the shapes differ.
pub fn gate<B: Backend, const D: usize>(gate: Tensor<B, D>, x: Tensor<B, D>) -> Tensor<B, D> {
    assert_eq!(gate.dims(), x.dims(), "gate: what is gated has the shape of the gate");
    let fused =
        if is_off(Fused::Gate) { None } else { apply::<B, _, 2, D>(Gate, [primitive(&gate), primitive(&x)]) };
    fused.unwrap_or_else(|| silu(gate) * x)
}

#[derive(Debug, Clone)]
struct Gate;

impl Operation<2> for Gate {
    type Saved = ();

    const PART: Part = Part::Elementwise;

    fn forward(&self, [gate, x]: [&[f32]; 2]) -> (Vec<f32>, ()) {
        let mut y = vec![0.0; x.len()];
        let arch = Arch::new();
        let pieces = y.chunks_mut(PIECE).zip(gate.chunks(PIECE).zip(x.chunks(PIECE)));
        let pieces = pieces.map(|(y, (gate, x))| Forward { gate, x, y });
        each(pieces.collect(), |piece: Forward<'_>| arch.dispatch(piece));
        (y, ())
    }

    fn backward(&self, pass: Pass<'_, (), 2>) -> [Option<Vec<f32>>; 2] {
        let Pass { inputs: [gate, x], output_gradient, wanted, .. } = pass;
        let (mut gate_gradient, mut x_gradient) = (vec![0.0; gate.len()], vec![0.0; x.len()]);
        let arch = Arch::new();
        let inputs = gate.chunks(PIECE).zip(x.chunks(PIECE)).zip(output_gradient.chunks(PIECE));
        let pieces = gate_gradient.chunks_mut(PIECE).zip(x_gradient.chunks_mut(PIECE)).zip(inputs);
        let pieces = pieces.map(|((gate_gradient, x_gradient), ((gate, x), output_gradient))| Backward {
            gate,
            x,
            output_gradient,
            gate_gradient,
            x_gradient,
        });
        each(pieces.collect(), |piece: Backward<'_>| arch.dispatch(piece));
        [wanted[0].then_some(gate_gradient), wanted[1].then_some(x_gradient)]
    }
}

struct Forward<'a> {
    gate: &'a [f32],
    x: &'a [f32],
    y: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for ((y, gate), x) in self.y.iter_mut().zip(self.gate).zip(self.x) {
            *y = gate * sigmoid(*gate) * x;
        }
    }
}

/// `d(g·σ(g)) = σ(g)·(1 + g·(1 − σ(g)))`
struct Backward<'a> {
    gate: &'a [f32],
    x: &'a [f32],
    output_gradient: &'a [f32],
    gate_gradient: &'a mut [f32],
    x_gradient: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { gate, x, output_gradient, gate_gradient, x_gradient } = self;
        let outputs = gate_gradient.iter_mut().zip(x_gradient.iter_mut());
        for (((gate_gradient, x_gradient), (gate, x)), output_gradient) in
            outputs.zip(gate.iter().zip(x)).zip(output_gradient)
        {
            let open = sigmoid(*gate);
            *gate_gradient = output_gradient * x * open * (1.0 + gate * (1.0 - open));
            *x_gradient = output_gradient * gate * open;
        }
    }
}
