//! Products with a sparse matrix on slices: shapes checked, work shared among threads, instruction set dispatched.

use pulp::Arch;

use super::backward::BackwardPart;
use super::forward::ForwardPart;
use super::matvec::{Gather, Gradient, Scatter};
use super::panel::Scratch;
use super::parallel::{Output, lines, rows, run, threads};
use crate::kernel::index::{Id, Ids, Index};

/// Up to so many threads a batch of one is faster from one of them, input by input: values are then read in the order
/// in which they lie, 2.5 times as fast as by output (256 × 688 at 5 %).
const SCATTER: usize = 2;

/// From here on the weight gradient is added up over two halves of the batch, which two threads can take. The halves
/// do not depend on the number of threads, so the rounding does not either.
const HALVES: usize = 64;

/// How the kernels run. Results do not depend on the number of threads, bit for bit; they differ in rounding between
/// instruction sets.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    arch: Arch,
    threads: usize,
}

/// The operands of `y = x · W (+ b)`, or of its positive part.
#[derive(Debug, Clone, Copy)]
pub struct Forward<'a> {
    /// Where the links of `W` are.
    pub index: &'a Index,
    /// Rows of `x` and `y`.
    pub batch: usize,
    /// `x`, row-major `[batch, d_input]`.
    pub input: &'a [f32],
    /// `W` at the links, in link order.
    pub values: &'a [f32],
    /// `b`, `[d_output]`.
    pub bias: Option<&'a [f32]>,
    /// Whether negative outputs become 0.
    pub relu: bool,
}

/// The operands of the gradients of `y = x · W (+ b)`, or of its positive part.
#[derive(Debug, Clone, Copy)]
pub struct Backward<'a> {
    /// Where the links of `W` are.
    pub index: &'a Index,
    /// Rows of `x` and `y`.
    pub batch: usize,
    /// `x`, row-major `[batch, d_input]`; needed for the gradient of the values alone and otherwise free to be empty.
    pub input: &'a [f32],
    /// `W` at the links, in link order; needed for the gradient of the input alone.
    pub values: &'a [f32],
    /// `y`, if it is a positive part: where it is not positive its gradient counts as 0.
    pub relu_output: Option<&'a [f32]>,
    /// `dy`, row-major `[batch, d_output]`.
    pub output_gradient: &'a [f32],
    /// Which gradients to compute.
    pub wanted: Wanted,
}

/// Which gradients [`Kernel::backward`] computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// `dx`, `[batch, d_input]`.
    pub input: bool,
    /// `dW` at the links, one a link.
    pub values: bool,
    /// The column sums of `dy`, `[d_output]`.
    pub bias: bool,
}

/// What [`Kernel::backward`] computed; `None` for what was not wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// `dx[b, i] = Σ_o dy[b, o] · W[i, o]`, row-major `[batch, d_input]`.
    pub input: Option<Vec<f32>>,
    /// `dW[i, o] = Σ_b x[b, i] · dy[b, o]` for every link, in link order.
    pub values: Option<Vec<f32>>,
    /// `db[o] = Σ_b dy[b, o]`.
    pub bias: Option<Vec<f32>>,
}

impl Default for Kernel {
    fn default() -> Self {
        Self::new()
    }
}

impl Kernel {
    /// The best instruction set of this CPU, as many threads as the work is worth.
    #[must_use]
    pub fn new() -> Self {
        Self { arch: Arch::new(), threads: usize::MAX }
    }

    /// With another instruction set, one that this CPU has.
    #[must_use]
    pub fn with_arch(self, arch: Arch) -> Self {
        Self { arch, ..self }
    }

    /// With at most so many threads, all of rayon's global pool.
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self }
    }

    /// `y`, row-major `[batch, d_output]`.
    ///
    /// O(batch · (nnz + d_input + d_output)); allocates the result and nothing else once a thread has run it before.
    ///
    /// # Panics
    ///
    /// If a length does not fit the index and the batch.
    #[must_use]
    pub fn forward(&self, operands: Forward<'_>) -> Vec<f32> {
        let Forward { index, batch, input, values, bias, .. } = operands;
        let [inputs, outputs] = index.shape();
        assert_eq!(input.len(), batch * inputs, "the input must be [{batch}, {inputs}]");
        assert_eq!(values.len(), index.nnz(), "there must be one value a link");
        assert!(bias.is_none_or(|bias| bias.len() == outputs), "the bias must be [{outputs}]");
        let threads = threads((index.nnz() + inputs + outputs) * batch, self.threads);
        // SAFETY: every element is written: by the scattering at its start; or each task covers all its rows of all its
        // outputs, and the tasks all rows of all outputs.
        unsafe {
            if batch == 1 && threads <= SCATTER {
                return fill(outputs, |y| match &index.by_input.ids {
                    Ids::Short(ids) => self.scatter(operands, ids, y),
                    Ids::Long(ids) => self.scatter(operands, ids, y),
                });
            }
            fill(batch * outputs, |y| match &index.by_output.ids {
                Ids::Short(ids) => self.gather(operands, ids, threads, y),
                Ids::Long(ids) => self.gather(operands, ids, threads, y),
            })
        }
    }

    /// A batch of one, input by input.
    fn scatter<I: Id>(&self, operands: Forward<'_>, ids: &[I], y: Output) {
        let offsets = &operands.index.by_input.offsets;
        assert!(ids.len() == operands.index.nnz() && offsets.len() == operands.index.shape()[0] + 1);
        self.arch.dispatch(Scatter { operands, ids, y });
    }

    /// Output by output.
    fn gather<I: Id>(&self, operands: Forward<'_>, ids: &[I], threads: usize, y: Output) {
        let Forward { index, batch, .. } = operands;
        let offsets = &index.by_output.offsets[..];
        assert!(ids.len() == index.nnz() && offsets.len() == index.shape()[1] + 1);
        if batch <= 1 {
            run(threads, &|task| {
                let outputs = lines(offsets, task, threads);
                self.arch.dispatch(Gather { operands, ids, y, outputs });
            });
            return;
        }
        let halves = if threads > 1 && batch >= HALVES { 2 } else { 1 };
        let parts = (threads / halves).max(1);
        run(halves * parts, &|task| {
            let rows = rows(batch, 16, task % halves, halves);
            let outputs = lines(offsets, task / halves, parts);
            self.arch.dispatch(ForwardPart::new(operands, ids, y, rows, outputs));
        });
    }

    /// The gradients that are wanted. Cost as [`Kernel::forward`] for each of the two products, with the loads shared.
    ///
    /// # Panics
    ///
    /// If a length that is needed does not fit the index and the batch.
    #[must_use]
    pub fn backward(&self, operands: Backward<'_>) -> Gradients {
        let Backward { index, batch, input, values, relu_output, output_gradient, wanted } = operands;
        let [inputs, outputs] = index.shape();
        assert_eq!(output_gradient.len(), batch * outputs, "the gradient must be [{batch}, {outputs}]");
        assert!(!wanted.values || input.len() == batch * inputs, "the input must be [{batch}, {inputs}]");
        assert!(!wanted.input || values.len() == index.nnz(), "there must be one value a link");
        assert!(
            relu_output.is_none_or(|output| output.len() == batch * outputs),
            "the output must be [{batch}, {outputs}]"
        );
        if batch == 0 {
            return Gradients {
                input: wanted.input.then(Vec::new),
                values: wanted.values.then(|| vec![0.0; index.nnz()]),
                bias: wanted.bias.then(|| vec![0.0; outputs]),
            };
        }
        let mut dx = wanted.input.then(|| Vec::with_capacity(batch * inputs));
        let mut dw = wanted.values.then(|| Vec::with_capacity(index.nnz()));
        let mut db = wanted.bias.then(|| Vec::with_capacity(outputs));
        let targets =
            [&mut dx, &mut dw, &mut db].map(|target| target.as_mut().map(|v| Output(v.as_mut_ptr())));
        match &index.by_input.ids {
            Ids::Short(ids) => self.gradients(operands, ids, targets),
            Ids::Long(ids) => self.gradients(operands, ids, targets),
        }
        // SAFETY: there was at least one row, so every element was written: the tasks cover all rows of all inputs, all
        // links, and the sums of all outputs.
        unsafe {
            dx.iter_mut().for_each(|dx| dx.set_len(batch * inputs));
            dw.iter_mut().for_each(|dw| dw.set_len(index.nnz()));
            db.iter_mut().for_each(|db| db.set_len(outputs));
        }
        Gradients { input: dx, values: dw, bias: db }
    }

    fn gradients<I: Id>(&self, operands: Backward<'_>, ids: &[I], targets: [Option<Output>; 3]) {
        let Backward { index, batch, .. } = operands;
        let ([inputs, outputs], nnz) = (index.shape(), index.nnz());
        let offsets = &index.by_input.offsets[..];
        assert!(ids.len() == nnz && offsets.len() == inputs + 1);
        let threads = threads((2 * nnz + inputs + outputs) * batch, self.threads);
        match batch {
            1 => self.gradients_of_one(operands, ids, threads, targets),
            _ => self.gradients_of_several(operands, ids, threads, targets),
        }
    }

    fn gradients_of_one<I: Id>(
        &self,
        operands: Backward<'_>,
        ids: &[I],
        threads: usize,
        [dx, dw, db]: [Option<Output>; 3],
    ) {
        let offsets = &operands.index.by_input.offsets[..];
        let gated: Vec<f32>;
        let output_gradient = match operands.relu_output {
            None => operands.output_gradient,
            Some(output) => {
                gated = relu_gradient(output, operands.output_gradient);
                &gated
            }
        };
        if let Some(db) = db {
            // SAFETY: `db` has room for as many sums as the gradient of the one row has numbers.
            unsafe { std::ptr::copy_nonoverlapping(output_gradient.as_ptr(), db.0, output_gradient.len()) };
        }
        let operands = Backward { output_gradient, ..operands };
        run(threads, &|task| {
            let inputs = lines(offsets, task, threads);
            self.arch.dispatch(Gradient { operands, ids, dx, dw, inputs });
        });
    }

    fn gradients_of_several<I: Id>(
        &self,
        operands: Backward<'_>,
        ids: &[I],
        threads: usize,
        [dx, dw, db]: [Option<Output>; 3],
    ) {
        let Backward { index, batch, .. } = operands;
        let (nnz, outputs) = (index.nnz(), index.shape()[1]);
        let offsets = &index.by_input.offsets[..];
        let halves = if batch >= HALVES { 2 } else { 1 };
        let parts = threads.div_ceil(halves);
        let mut scratch = Scratch::new(if halves == 2 { nnz + outputs } else { 0 });
        let second = Output(scratch.floats().as_mut_ptr());
        run(if threads == 1 { 1 } else { halves * parts }, &|task| {
            for half in 0..halves {
                if threads > 1 && half != task % halves {
                    continue;
                }
                let part = if threads == 1 { 0 } else { task / halves };
                let rows = rows(batch, 16, half, halves);
                let inputs = lines(offsets, part, parts);
                let (dw, own_db) = match half {
                    0 => (dw, db),
                    // The scratch has room for `nnz` and then `outputs` sums, asked for if there are two halves.
                    _ => (dw.map(|_| second), db.map(|_| Output(second.at(nnz)))),
                };
                let db = if part == 0 { own_db } else { None };
                self.arch.dispatch(BackwardPart::new(operands, ids, [dx, dw, db], rows, inputs));
            }
        });
        if halves == 2 {
            // SAFETY: both halves have written all their sums, and no thread is at work on them any more.
            unsafe {
                dw.iter().for_each(|dw| add(dw.0, second.0, nnz));
                db.iter().for_each(|db| add(db.0, second.at(nnz), outputs));
            }
        }
    }
}

/// The gradient before ReLU, of its output and the gradient of that.
pub(crate) fn relu_gradient(output: &[f32], output_gradient: &[f32]) -> Vec<f32> {
    output.iter().zip(output_gradient).map(|(&y, &dy)| if y > 0.0 { dy } else { 0.0 }).collect()
}

/// A vector of `length` floats written by `write`.
///
/// # Safety
///
/// `write` writes every element.
unsafe fn fill(length: usize, write: impl FnOnce(Output)) -> Vec<f32> {
    let mut floats = Vec::with_capacity(length);
    write(Output(floats.as_mut_ptr()));
    // SAFETY: the caller's promise.
    unsafe { floats.set_len(length) };
    floats
}

/// # Safety
///
/// Both pointers are to `length` initialised floats, not overlapping.
unsafe fn add(target: *mut f32, source: *const f32, length: usize) {
    // SAFETY: the caller's promise.
    let (target, source) = unsafe {
        (std::slice::from_raw_parts_mut(target, length), std::slice::from_raw_parts(source, length))
    };
    target.iter_mut().zip(source).for_each(|(target, source)| *target += source);
}
