//! A [`Task`] on tensors: transpositions, grids, launches.

use std::marker::PhantomData;

use burn::prelude::*;
use burn::tensor::{DType, TensorMetadata, bf16, f16};
use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::calculate_cube_count_elemwise;
use burn_cubecl::cubecl::client::ComputeClient;
use burn_cubecl::cubecl::prelude::{ArrayArg, CubeCount, CubeDim, CubeElement, Float};
use burn_cubecl::cubecl::server::Handle;
use burn_cubecl::tensor::CubeTensor;

use super::arrays::{Arrays, Lines};
use super::kernels::{self, TILE, TILE_ROWS};
use crate::kernel::device::{Call, Task};

/// Units of a workgroup that computes a product: 8 planes where these are 32 wide.
const UNITS: usize = 256;

/// Units of a workgroup that computes the gradient at the links: its shared memory has to fit the smallest there is, 16 KiB.
const GRADIENT_UNITS: usize = 64;

/// The widest row of units that share an index and a value.
const LANES: usize = 32;

/// Numbers in a buffer.
struct Floats<F> {
    handle: Handle,
    length: usize,
    numbers: PhantomData<F>,
}

impl<F> Floats<F> {
    fn of<R: CubeRuntime>(tensor: &CubeTensor<R>) -> Self {
        Self {
            handle: tensor.handle.clone(),
            length: tensor.handle.size_in_used() as usize / size_of::<F>(),
            numbers: PhantomData,
        }
    }

    fn new<R: CubeRuntime>(client: &ComputeClient<R>, length: usize) -> Self {
        Self { handle: client.empty(length * size_of::<F>()), length, numbers: PhantomData }
    }

    fn arg<R: CubeRuntime>(&self) -> ArrayArg<R> {
        // SAFETY: the buffer holds so many numbers.
        unsafe { ArrayArg::from_raw_parts(self.handle.clone(), self.length) }
    }
}

impl Lines {
    pub(super) fn arg<R: CubeRuntime>(&self) -> ArrayArg<R> {
        // SAFETY: the buffer holds so many words.
        unsafe { ArrayArg::from_raw_parts(self.words.clone(), self.length) }
    }
}

/// Runs a call on tensors of one type of float none of which is empty, of an index with links.
pub(super) fn run<R: CubeRuntime>(call: &Call, inputs: &[CubeTensor<R>]) -> CubeTensor<R> {
    match inputs[0].dtype() {
        DType::F16 => run_as::<R, f16>(call, inputs),
        DType::BF16 => run_as::<R, bf16>(call, inputs),
        dtype => {
            assert_eq!(dtype, DType::F32, "no other tensors come here");
            run_as::<R, f32>(call, inputs)
        }
    }
}

fn run_as<R: CubeRuntime, F: Float + CubeElement>(call: &Call, inputs: &[CubeTensor<R>]) -> CubeTensor<R> {
    let on = On::<R, F> { client: &inputs[0].client, device: &inputs[0].device, call, numbers: PhantomData };
    let arrays = Arrays::<R>::of(&call.index, on.device);
    let output = match &call.task {
        Task::Forward { relu } => {
            let [input, values] = [&inputs[0], &inputs[1]];
            on.product(&arrays.by_output, Some(arrays.by_output.last), input, values, inputs.get(2), *relu)
        }
        Task::InputGradient => on.product(&arrays.by_input, None, &inputs[0], &inputs[1], None, false),
        Task::LinkGradient => on.link_gradient(&arrays.by_input, &inputs[0], &inputs[1]),
        Task::Spread => on.spread(&arrays.by_input, &inputs[0]),
        Task::Gather => on.gather(&arrays.by_input, &inputs[0]),
    };
    let (shape, dtype) = (call.shape(inputs[0].shape()), inputs[0].dtype());
    CubeTensor::new_contiguous(on.client.clone(), on.device.clone(), shape, output.handle, dtype)
}

/// A grid of one unit for each of `count`, and a few more.
pub(super) fn one_each<R: CubeRuntime>(client: &ComputeClient<R>, count: usize) -> (CubeCount, CubeDim) {
    let units = CubeDim::new(client, count);
    (calculate_cube_count_elemwise(client, count, units), units)
}

/// Where a call runs, on what numbers.
struct On<'a, R: CubeRuntime, F> {
    client: &'a ComputeClient<R>,
    device: &'a R::CubeDevice,
    call: &'a Call,
    numbers: PhantomData<F>,
}

impl<R: CubeRuntime, F: Float + CubeElement> On<'_, R, F> {
    fn nnz(&self) -> usize {
        self.call.index.nnz()
    }

    /// A grid of `count` workgroups, perhaps of a few more: one dimension of a grid holds 65,535 at most.
    fn grid(&self, count: usize, units: CubeDim) -> CubeCount {
        calculate_cube_count_elemwise(self.client, count * units.num_elems() as usize, units)
    }

    /// A row-major `[columns, rows]` of a `[rows, columns]` matrix.
    fn transposed(&self, matrix: &Floats<F>, [rows, columns]: [usize; 2], strides: [usize; 2]) -> Floats<F> {
        let output = Floats::new(self.client, rows * columns);
        let units = CubeDim::new_2d(TILE as u32, TILE_ROWS as u32);
        let grid = self.grid(rows.div_ceil(TILE) * columns.div_ceil(TILE), units);
        // SAFETY: units outside of the matrix neither read nor write.
        unsafe {
            kernels::transpose::launch_unchecked::<F, R>(
                self.client,
                grid,
                units,
                matrix.arg(),
                output.arg(),
                rows,
                columns,
                strides[0],
                strides[1],
            );
        }
        output
    }

    /// A `[batch, width]` matrix with the batch innermost, and the stride of its rows: the matrix itself if it lies so.
    fn batch_innermost(&self, matrix: &CubeTensor<R>) -> (Floats<F>, usize) {
        let ([batch, width], strides) = (sides(matrix), strides(matrix));
        let floats = Floats::of(matrix);
        if batch == 1 || strides[0] == 1 {
            return (floats, strides[1]);
        }
        (self.transposed(&floats, [batch, width], strides), batch)
    }

    /// One number a link, in order.
    fn in_order(&self, values: &CubeTensor<R>) -> Floats<F> {
        Floats::of(&burn_cubecl::kernel::into_contiguous(values.clone()))
    }

    fn product(
        &self,
        lines: &Lines,
        links: Option<usize>,
        input: &CubeTensor<R>,
        values: &CubeTensor<R>,
        bias: Option<&CubeTensor<R>>,
        relu: bool,
    ) -> Floats<F> {
        let [batch, _] = sides(input);
        let (input, stride) = self.batch_innermost(input);
        let values = self.in_order(values);
        let bias = bias.map(|bias| self.in_order(bias));
        let output = Floats::new(self.client, batch * lines.lines);
        let lanes = batch.next_power_of_two().min(LANES);
        let per_lane = batch.div_ceil(LANES).next_power_of_two().min(4);
        let units = CubeDim::new_2d(lanes as u32, (UNITS / lanes) as u32);
        let count = lines.lines.div_ceil(UNITS / lanes) * batch.div_ceil(lanes * per_lane);
        // SAFETY: units outside of the lines or the batch write nothing and read what is inside; the sections are those
        // of the arrays.
        unsafe {
            kernels::product::launch_unchecked::<F, R>(
                self.client,
                self.grid(count, units),
                units,
                input.arg(),
                values.arg(),
                lines.arg(),
                // A stage binds one buffer an argument, needed or not.
                bias.as_ref().unwrap_or(&values).arg(),
                output.arg(),
                batch,
                stride,
                lines.lines,
                lines.ids,
                links.unwrap_or_default(),
                lanes,
                per_lane,
                lines.short_ids,
                links.is_some(),
                bias.is_some(),
                relu,
            );
        }
        if batch == 1 || lines.lines == 1 {
            return output;
        }
        self.transposed(&output, [lines.lines, batch], [batch, 1])
    }

    fn link_gradient(&self, lines: &Lines, input: &CubeTensor<R>, gradient: &CubeTensor<R>) -> Floats<F> {
        let [batch, _] = sides(input);
        let (input, input_stride) = self.batch_innermost(input);
        let (gradient, gradient_stride) = self.batch_innermost(gradient);
        let output = Floats::new(self.client, self.nnz());
        let lanes = batch.next_power_of_two().min(LANES);
        let groups = GRADIENT_UNITS / lanes;
        let units = CubeDim::new_2d(lanes as u32, groups as u32);
        // SAFETY: units beyond the links neither read nor write; the sections are those of the arrays.
        unsafe {
            kernels::link_gradient::launch_unchecked::<F, R>(
                self.client,
                self.grid(self.nnz().div_ceil(GRADIENT_UNITS), units),
                units,
                input.arg(),
                gradient.arg(),
                lines.arg(),
                output.arg(),
                batch,
                input_stride,
                gradient_stride,
                self.nnz(),
                lines.ids,
                lines.last,
                lanes,
                groups,
                lines.short_ids,
                lines.short_last,
            );
        }
        output
    }

    fn spread(&self, lines: &Lines, values: &CubeTensor<R>) -> Floats<F> {
        let [inputs, outputs] = self.call.index.shape();
        let device = self.device.clone();
        let zeros =
            burn_cubecl::ops::numeric::zeros::<R>(device, Shape::new([inputs * outputs]), values.dtype());
        let (output, values) = (Floats::of(&zeros), self.in_order(values));
        let (grid, units) = one_each(self.client, self.nnz());
        // SAFETY: units beyond the links neither read nor write; links lie in the matrix.
        unsafe {
            kernels::spread::launch_unchecked::<F, R>(
                self.client,
                grid,
                units,
                values.arg(),
                lines.arg(),
                output.arg(),
                self.nnz(),
                outputs,
                lines.ids,
                lines.last,
                lines.short_ids,
                lines.short_last,
            );
        }
        output
    }

    fn gather(&self, lines: &Lines, dense: &CubeTensor<R>) -> Floats<F> {
        let output = Floats::new(self.client, self.nnz());
        let [row_stride, column_stride] = strides(dense);
        let (grid, units) = one_each(self.client, self.nnz());
        // SAFETY: units beyond the links neither read nor write; links lie in the matrix.
        unsafe {
            kernels::gather::launch_unchecked::<F, R>(
                self.client,
                grid,
                units,
                Floats::<F>::of(dense).arg(),
                lines.arg(),
                output.arg(),
                self.nnz(),
                row_stride,
                column_stride,
                lines.ids,
                lines.last,
                lines.short_ids,
                lines.short_last,
            );
        }
        output
    }
}

fn sides<R: CubeRuntime>(matrix: &CubeTensor<R>) -> [usize; 2] {
    [matrix.meta.shape()[0], matrix.meta.shape()[1]]
}

fn strides<R: CubeRuntime>(matrix: &CubeTensor<R>) -> [usize; 2] {
    [matrix.meta.strides()[0], matrix.meta.strides()[1]]
}
