//! The kernels on slices: shapes checked, work shared among threads, instruction set dispatched.

use pulp::Arch;

use super::backward::Backward;
use super::clock::{Part, timed};
use super::forward::Forward;
use super::index::{Id, Ids, Index};
use super::narrow::{NarrowBackward, NarrowForward, NarrowScatter};
use super::panel::Scratch;
use super::parallel::{Output, lines, rows, run, threads};

/// Batches up to here go row by row through the compressed rows. From two rows on, packing pays at 10 % density and
/// costs little at 1 % (1568 × 1568).
const NARROW: usize = 1;

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

    /// `y = x · W (+ bias)`, row-major `[batch, d_output]`.
    ///
    /// `x` is row-major `[batch, d_input]`, `values` one a link in link order, `bias` `[d_output]`.
    /// O(batch · (nnz + d_input + d_output)); allocates the result and nothing else once a thread has run it before.
    ///
    /// # Panics
    ///
    /// If a length does not fit the index and the batch.
    #[must_use]
    pub fn forward(
        &self,
        index: &Index,
        batch: usize,
        x: &[f32],
        values: &[f32],
        bias: Option<&[f32]>,
    ) -> Vec<f32> {
        timed(Part::Products, || self.output(index, batch, x, values, bias, false))
    }

    /// `y = max(0, x · W (+ bias))`, as [`Kernel::forward`] and at its cost.
    ///
    /// # Panics
    ///
    /// As [`Kernel::forward`].
    #[must_use]
    pub fn forward_relu(
        &self,
        index: &Index,
        batch: usize,
        x: &[f32],
        values: &[f32],
        bias: Option<&[f32]>,
    ) -> Vec<f32> {
        timed(Part::Products, || self.output(index, batch, x, values, bias, true))
    }

    fn output(
        &self,
        index: &Index,
        batch: usize,
        x: &[f32],
        values: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
    ) -> Vec<f32> {
        let [inputs, outputs] = index.shape();
        assert_eq!(x.len(), batch * inputs, "x must be [{batch}, {inputs}]");
        assert_eq!(values.len(), index.nnz(), "there must be one value a link");
        assert!(bias.is_none_or(|bias| bias.len() == outputs), "the bias must be [{outputs}]");
        // SAFETY: every element is written: by the scattering at its start; or each task covers all its rows of all its
        // outputs, and the tasks all rows of all outputs.
        unsafe {
            if batch == 1 && self.forward_threads(index, batch) <= SCATTER {
                return fill(outputs, |y| match &index.by_input.ids {
                    Ids::Short(ids) => self.scatter_with(index, ids, x, values, bias, relu, y),
                    Ids::Long(ids) => self.scatter_with(index, ids, x, values, bias, relu, y),
                });
            }
            fill(batch * outputs, |y| match &index.by_output.ids {
                Ids::Short(ids) => self.forward_with(index, ids, batch, x, values, bias, relu, y),
                Ids::Long(ids) => self.forward_with(index, ids, batch, x, values, bias, relu, y),
            })
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the operands of one product, each of its own length")]
    fn forward_with<I: Id>(
        &self,
        index: &Index,
        ids: &[I],
        batch: usize,
        x: &[f32],
        values: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        y: Output,
    ) {
        let (shape, offsets, order) = (index.shape(), &index.by_output.offsets[..], &index.order[..]);
        assert!(ids.len() == index.nnz() && offsets.len() == shape[1] + 1);
        let threads = self.forward_threads(index, batch);
        if batch <= NARROW {
            run(threads, &|task| {
                let outputs = lines(offsets, task, threads);
                self.arch.dispatch(NarrowForward {
                    shape,
                    batch,
                    x,
                    values,
                    bias,
                    offsets,
                    ids,
                    order,
                    y,
                    outputs,
                    relu,
                });
            });
            return;
        }
        let halves = if threads > 1 && batch >= HALVES { 2 } else { 1 };
        let parts = (threads / halves).max(1);
        run(halves * parts, &|task| {
            let rows = rows(batch, 16, task % halves, halves);
            let outputs = lines(offsets, task / halves, parts);
            self.arch.dispatch(Forward {
                shape,
                x,
                values,
                bias,
                cuts: &index.cuts,
                ids,
                order,
                y,
                rows,
                outputs,
                relu,
            });
        });
    }

    fn forward_threads(&self, index: &Index, batch: usize) -> usize {
        let [inputs, outputs] = index.shape();
        threads((index.nnz() + inputs + outputs) * batch, self.threads)
    }

    #[allow(clippy::too_many_arguments, reason = "the operands of one product, each of its own length")]
    fn scatter_with<I: Id>(
        &self,
        index: &Index,
        ids: &[I],
        x: &[f32],
        values: &[f32],
        bias: Option<&[f32]>,
        relu: bool,
        y: Output,
    ) {
        let (shape, offsets) = (index.shape(), &index.by_input.offsets[..]);
        assert!(ids.len() == index.nnz() && offsets.len() == shape[0] + 1);
        self.arch.dispatch(NarrowScatter { shape, x, values, bias, offsets, ids, y, relu });
    }

    /// The gradients of `y = x · W (+ bias)` for the gradient `dy` of `y`, those that are wanted.
    ///
    /// `x` is row-major `[batch, d_input]`, needed for the values' gradient alone and otherwise free to be empty; `dy`
    /// is row-major `[batch, d_output]`; `values` are needed for the input's gradient alone. Cost as
    /// [`Kernel::forward`] for each of the two, with the loads shared.
    ///
    /// # Panics
    ///
    /// If a length that is needed does not fit the index and the batch.
    #[must_use]
    pub fn backward(
        &self,
        index: &Index,
        batch: usize,
        x: &[f32],
        values: &[f32],
        dy: &[f32],
        wanted: Wanted,
    ) -> Gradients {
        timed(Part::Products, || self.gradients(index, batch, x, values, None, dy, wanted))
    }

    /// The gradients of `y = max(0, x · W (+ bias))`, whose output was `y`: those of [`Kernel::backward`] for `dy`
    /// where `y` is positive and 0 elsewhere.
    ///
    /// # Panics
    ///
    /// As [`Kernel::backward`].
    #[must_use]
    #[allow(clippy::too_many_arguments, reason = "the operands of one product, each of its own length")]
    pub fn backward_relu(
        &self,
        index: &Index,
        batch: usize,
        x: &[f32],
        values: &[f32],
        y: &[f32],
        dy: &[f32],
        wanted: Wanted,
    ) -> Gradients {
        assert_eq!(y.len(), dy.len(), "y must be as dy");
        timed(Part::Products, || {
            if batch > NARROW {
                return self.gradients(index, batch, x, values, Some(y), dy, wanted);
            }
            let gated: Vec<f32> = y.iter().zip(dy).map(|(&y, &dy)| if y > 0.0 { dy } else { 0.0 }).collect();
            self.gradients(index, batch, x, values, None, &gated, wanted)
        })
    }

    #[allow(clippy::too_many_arguments, reason = "the operands of one product, each of its own length")]
    fn gradients(
        &self,
        index: &Index,
        batch: usize,
        x: &[f32],
        values: &[f32],
        y: Option<&[f32]>,
        dy: &[f32],
        wanted: Wanted,
    ) -> Gradients {
        let [inputs, outputs] = index.shape();
        assert_eq!(dy.len(), batch * outputs, "dy must be [{batch}, {outputs}]");
        assert!(!wanted.values || x.len() == batch * inputs, "x must be [{batch}, {inputs}]");
        assert!(!wanted.input || values.len() == index.nnz(), "there must be one value a link");
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
        let pointers =
            [&mut dx, &mut dw, &mut db].map(|target| target.as_mut().map(|v| Output(v.as_mut_ptr())));
        match &index.by_input.ids {
            Ids::Short(ids) => self.backward_with(index, ids, batch, x, values, y, dy, pointers),
            Ids::Long(ids) => self.backward_with(index, ids, batch, x, values, y, dy, pointers),
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

    #[allow(clippy::too_many_arguments, reason = "the operands of one product, each of its own length")]
    fn backward_with<I: Id>(
        &self,
        index: &Index,
        ids: &[I],
        batch: usize,
        x: &[f32],
        values: &[f32],
        y: Option<&[f32]>,
        dy: &[f32],
        [dx, dw, db]: [Option<Output>; 3],
    ) {
        let (shape, offsets) = (index.shape(), &index.by_input.offsets[..]);
        let (nnz, outputs) = (index.nnz(), shape[1]);
        assert!(ids.len() == nnz && offsets.len() == shape[0] + 1);
        let threads = threads((2 * nnz + shape[0] + outputs) * batch, self.threads);
        if batch <= NARROW {
            if let Some(db) = db {
                for output in 0..outputs {
                    let sum = (0..batch).map(|row| dy[row * outputs + output]).sum();
                    // SAFETY: `db` has room for `outputs` sums.
                    unsafe { db.0.add(output).write(sum) };
                }
            }
            run(threads, &|task| {
                let inputs = lines(offsets, task, threads);
                self.arch.dispatch(NarrowBackward {
                    shape,
                    batch,
                    x,
                    dy,
                    values,
                    offsets,
                    ids,
                    dx,
                    dw,
                    inputs,
                });
            });
            return;
        }
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
                    _ => (
                        dw.map(|_| second),
                        // SAFETY: the scratch has room for `nnz` and then `outputs` sums, asked for if there are two
                        // halves.
                        db.map(|_| Output(unsafe { second.0.add(nnz) })),
                    ),
                };
                let db = if part == 0 { own_db } else { None };
                self.arch.dispatch(Backward {
                    shape,
                    x,
                    dy,
                    y,
                    values,
                    offsets,
                    ids,
                    dx,
                    dw,
                    db,
                    rows,
                    inputs,
                });
            }
        });
        if halves == 2 {
            // SAFETY: both halves have written all their sums, and no thread is at work on them any more.
            unsafe {
                dw.iter().for_each(|dw| add(dw.0, second.0, nnz));
                db.iter().for_each(|db| add(db.0, second.0.add(nnz), outputs));
            }
        }
    }
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
