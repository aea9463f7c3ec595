//! The gate of SwiGLU.

use burn::prelude::*;
use burn::tensor::TensorPrimitive;
use burn::tensor::activation::silu;
use pulp::{Arch, Simd, WithSimd};

use super::super::Part;
use super::super::ablation::{Fused, is_off};
use super::exponential::sigmoid;
use super::operation::{Operation, each, run};

/// Numbers that a thread takes at a time.
const CHUNK: usize = 16_384;

/// `gate · σ(gate) · x`, elementwise (Shazeer 2020, SwiGLU).
///
/// # Panics
///
/// If the shapes differ, as Burn's own operations do.
pub fn gate<B: Backend, const D: usize>(gate: Tensor<B, D>, x: Tensor<B, D>) -> Tensor<B, D> {
    if is_off(Fused::Gate) {
        return composed_gate(gate, x);
    }
    assert_eq!(gate.dims(), x.dims(), "gate: what is gated has the shape of the gate");
    let float = |primitive| TensorPrimitive::Float(primitive);
    match run::<B, _, 2>(Gate, [gate.into_primitive().tensor(), x.into_primitive().tensor()]) {
        Ok(y) => Tensor::from_primitive(float(y)),
        Err([gate, x]) => {
            composed_gate(Tensor::from_primitive(float(gate)), Tensor::from_primitive(float(x)))
        }
    }
}

/// [`gate`] in plain tensor operations.
pub fn composed_gate<B: Backend, const D: usize>(gate: Tensor<B, D>, x: Tensor<B, D>) -> Tensor<B, D> {
    silu(gate) * x
}

#[derive(Debug, Clone)]
struct Gate;

impl Operation<2> for Gate {
    const PART: Part = Part::Elementwise;

    type Kept = ();

    fn forward(&self, [gate, x]: [&[f32]; 2]) -> (Vec<f32>, ()) {
        let mut y = vec![0.0; x.len()];
        let arch = Arch::new();
        let pieces = y.chunks_mut(CHUNK).zip(gate.chunks(CHUNK).zip(x.chunks(CHUNK)));
        each(pieces.collect(), |(y, (gate, x))| arch.dispatch(Forward { gate, x, y }));
        (y, ())
    }

    fn backward(
        &self,
        [gate, x]: [&[f32]; 2],
        (): &(),
        dy: &[f32],
        wanted: [bool; 2],
    ) -> [Option<Vec<f32>>; 2] {
        let (mut dgate, mut dx) = (vec![0.0; gate.len()], vec![0.0; x.len()]);
        let arch = Arch::new();
        let inputs = gate.chunks(CHUNK).zip(x.chunks(CHUNK)).zip(dy.chunks(CHUNK));
        let pieces = dgate.chunks_mut(CHUNK).zip(dx.chunks_mut(CHUNK)).zip(inputs);
        each(pieces.collect(), |((dgate, dx), ((gate, x), dy))| {
            arch.dispatch(Backward { gate, x, dy, dgate, dx });
        });
        [wanted[0].then_some(dgate), wanted[1].then_some(dx)]
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
    dy: &'a [f32],
    dgate: &'a mut [f32],
    dx: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { gate, x, dy, dgate, dx } = self;
        let outputs = dgate.iter_mut().zip(dx.iter_mut());
        for (((dgate, dx), (gate, x)), dy) in outputs.zip(gate.iter().zip(x)).zip(dy) {
            let open = sigmoid(*gate);
            *dgate = dy * x * open * (1.0 + gate * (1.0 - open));
            *dx = dy * gate * open;
        }
    }
}
