//! The kernels on slices against dense arithmetic in f64.

use burn_cht::kernel::{Backward, Forward, Gradients, Index, Kernel, Wanted, levels};
use burn_cht::topology::Links;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const ALL: Wanted = Wanted { input: true, values: true, bias: true };

#[derive(Debug)]
struct Case {
    links: Links,
    index: Index,
    batch: usize,
    x: Vec<f32>,
    values: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
}

/// Results in f64, each with the sum of the magnitudes that went into it: what its rounding error scales with.
type Exact = Vec<(f64, f64)>;

fn case(shape: [usize; 2], batch: usize, density: f64, seed: u64) -> Case {
    let mut rng = StdRng::seed_from_u64(seed);
    let mask: Vec<bool> = (0..shape[0] * shape[1]).map(|_| rng.random_bool(density)).collect();
    with_links(Links::try_from_mask(shape, &mask).unwrap(), batch, &mut rng)
}

fn with_links(links: Links, batch: usize, rng: &mut StdRng) -> Case {
    let [inputs, outputs] = links.shape();
    let mut floats = |count: usize| (0..count).map(|_| rng.random_range(-1.0f32..1.0)).collect::<Vec<_>>();
    Case {
        index: Index::try_new(&links).unwrap(),
        batch,
        x: floats(batch * inputs),
        values: floats(links.nnz()),
        bias: floats(outputs),
        dy: floats(batch * outputs),
        links,
    }
}

impl Case {
    fn forward(&self, bias: bool) -> Exact {
        let [inputs, outputs] = self.links.shape();
        let mut y = vec![(0.0, 0.0); self.batch * outputs];
        for row in 0..self.batch {
            if bias {
                (0..outputs).for_each(|output| add(&mut y[row * outputs + output], self.bias[output], 1.0));
            }
            for (link, (input, output)) in self.links.iter().enumerate() {
                add(&mut y[row * outputs + output], self.x[row * inputs + input], self.values[link]);
            }
        }
        y
    }

    fn backward(&self) -> [Exact; 3] {
        let [inputs, outputs] = self.links.shape();
        let mut dx = vec![(0.0, 0.0); self.batch * inputs];
        let mut dw = vec![(0.0, 0.0); self.links.nnz()];
        let mut db = vec![(0.0, 0.0); outputs];
        for row in 0..self.batch {
            for (link, (input, output)) in self.links.iter().enumerate() {
                add(&mut dx[row * inputs + input], self.dy[row * outputs + output], self.values[link]);
                add(&mut dw[link], self.x[row * inputs + input], self.dy[row * outputs + output]);
            }
            (0..outputs).for_each(|output| add(&mut db[output], self.dy[row * outputs + output], 1.0));
        }
        [dx, dw, db]
    }

    fn operands(&self) -> Forward<'_> {
        let Self { index, batch, x, values, bias, .. } = self;
        Forward { index, batch: *batch, input: x, values, bias: Some(bias), relu: false }
    }

    fn gradient_operands(&self) -> Backward<'_> {
        let Self { index, batch, x, values, dy, .. } = self;
        Backward {
            index,
            batch: *batch,
            input: x,
            values,
            relu_output: None,
            output_gradient: dy,
            wanted: ALL,
        }
    }

    fn run(&self, kernel: Kernel) -> (Vec<f32>, Gradients) {
        (kernel.forward(self.operands()), kernel.backward(self.gradient_operands()))
    }

    fn check(&self, kernel: Kernel) -> Result<(), TestCaseError> {
        let (y, gradients) = self.run(kernel);
        let [dx, dw, db] = self.backward();
        close("y", &y, &self.forward(true))?;
        close("dx", &gradients.input.unwrap(), &dx)?;
        close("dw", &gradients.values.unwrap(), &dw)?;
        close("db", &gradients.bias.unwrap(), &db)?;
        let plain = kernel.forward(Forward { bias: None, ..self.operands() });
        close("y without bias", &plain, &self.forward(false))
    }
}

fn add((sum, magnitude): &mut (f64, f64), a: f32, b: f32) {
    *sum += f64::from(a) * f64::from(b);
    *magnitude += (f64::from(a) * f64::from(b)).abs();
}

/// Every element within f32 rounding of the magnitudes that were added up; what nothing was added to is exactly 0.
fn close(what: &str, found: &[f32], expected: &Exact) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    for (position, (&found, &(expected, magnitude))) in found.iter().zip(expected).enumerate() {
        let allowed = 2e-6 * magnitude;
        prop_assert!(
            (f64::from(found) - expected).abs() <= allowed,
            "{what}[{position}] is {found}, expected {expected} ± {allowed}"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_kernel_agrees_with_dense_arithmetic(
        inputs in 1usize..300, outputs in 1usize..90, batch in 0usize..140, root in 0.03f64..1.0, seed in any::<u64>()
    ) {
        let case = case([inputs, outputs], batch, root * root, seed);
        for level in levels() {
            case.check(Kernel::new().with_arch(level))?;
        }
    }

    #[test]
    fn unwanted_gradients_change_nothing_about_the_wanted(
        inputs in 1usize..40, outputs in 1usize..40, batch in 1usize..80, density in 0.01f64..1.0, seed in any::<u64>()
    ) {
        let case = case([inputs, outputs], batch, density, seed);
        let kernel = Kernel::new();
        let all = case.run(kernel).1;
        for bits in 0..8 {
            let wanted = Wanted { input: bits & 1 > 0, values: bits & 2 > 0, bias: bits & 4 > 0 };
            let input = if wanted.values { &case.x[..] } else { &[] };
            let values = if wanted.input { &case.values[..] } else { &[] };
            let some = kernel.backward(Backward { input, values, wanted, ..case.gradient_operands() });
            prop_assert_eq!(some.input, all.input.clone().filter(|_| wanted.input));
            prop_assert_eq!(some.values, all.values.clone().filter(|_| wanted.values));
            prop_assert_eq!(some.bias, all.bias.clone().filter(|_| wanted.bias));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_rectified_product_is_the_positive_part_and_its_gradients_those_of_the_positive_outputs_to_the_bit(
        inputs in 1usize..60, outputs in 1usize..60, batch in 0usize..100, root in 0.1f64..1.0, seed in any::<u64>()
    ) {
        let mut case = case([inputs, outputs], batch, root * root, seed);
        for level in levels() {
            let kernel = Kernel::new().with_arch(level);
            let y = kernel.forward(case.operands());
            let positive = kernel.forward(Forward { relu: true, ..case.operands() });
            let expected: Vec<f32> = y.iter().map(|&y| if y > 0.0 { y } else { 0.0 }).collect();
            prop_assert_eq!(&positive, &expected);
            let relu_output = Some(&positive[..]);
            let found = kernel.backward(Backward { relu_output, ..case.gradient_operands() });
            let whole = std::mem::take(&mut case.dy);
            case.dy = whole.iter().zip(&y).map(|(&dy, &y)| if y > 0.0 { dy } else { 0.0 }).collect();
            let expected = case.run(kernel).1;
            case.dy = whole;
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn full_and_nearly_empty_layers_of_every_batch_up_to_seventy_agree_with_dense_arithmetic() {
    for batch in 1..=70 {
        for density in [0.001, 1.0] {
            case([37, 21], batch, density, batch as u64).check(Kernel::new()).unwrap();
        }
    }
}

#[test]
fn rows_and_columns_without_links_get_the_bias_and_zero_gradients() {
    let links = Links::try_from_positions([40, 40], vec![0, 39, 20 * 40 + 3, 20 * 40 + 4]).unwrap();
    for batch in [1, 33, 70] {
        let case = with_links(links.clone(), batch, &mut StdRng::seed_from_u64(1));
        case.check(Kernel::new()).unwrap();
        let (y, gradients) = case.run(Kernel::new());
        let dx = gradients.input.unwrap();
        for row in 0..batch {
            assert_eq!(y[row * 40 + 7], case.bias[7]);
            assert_eq!(dx[row * 40 + 19].to_bits(), 0);
        }
    }
}

#[test]
fn a_layer_without_links_returns_its_bias() {
    for batch in [1, 20] {
        let case = with_links(Links::empty([5, 3]), batch, &mut StdRng::seed_from_u64(1));
        let (y, gradients) = case.run(Kernel::new());
        assert!(y.chunks(3).all(|row| row == case.bias));
        assert_eq!(gradients.values, Some(vec![]));
        assert_eq!(gradients.input, Some(vec![0.0; 5 * batch]));
    }
}

#[test]
fn more_than_sixty_five_thousand_inputs_or_outputs_are_indexed_right() {
    for shape in [[70_000, 4], [4, 70_000]] {
        let positions = (0..280_000).step_by(6_151).collect();
        let links = Links::try_from_positions(shape, positions).unwrap();
        with_links(links, 18, &mut StdRng::seed_from_u64(3)).check(Kernel::new()).unwrap();
    }
}

/// Large enough that several threads are used, with a hub input and a hub output.
fn large(batch: usize) -> Case {
    let mut rng = StdRng::seed_from_u64(batch as u64);
    let [inputs, outputs] = [300, 260];
    let mask: Vec<bool> = (0..inputs * outputs)
        .map(|position| position / outputs == 17 || position % outputs == 250 || rng.random_bool(0.2))
        .collect();
    with_links(Links::try_from_mask([inputs, outputs], &mask).unwrap(), batch, &mut rng)
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(7).build().unwrap();
    for batch in [1, 2, 31, 32, 63, 64, 65, 128, 200] {
        let case = large(batch);
        for level in levels() {
            let kernel = Kernel::new().with_arch(level);
            let bits = |(y, gradients): (Vec<f32>, Gradients)| {
                [y, gradients.input.unwrap(), gradients.values.unwrap(), gradients.bias.unwrap()]
                    .map(|floats| floats.into_iter().map(f32::to_bits).collect::<Vec<_>>())
            };
            let one = bits(case.run(kernel.with_threads(1)));
            for threads in 2..=7 {
                let several = pool.install(|| bits(case.run(kernel.with_threads(threads))));
                assert!(several == one, "{threads} threads, batch {batch}, {level:?}");
            }
            case.check(kernel).unwrap();
        }
    }
}

#[test]
fn finite_differences_in_f64_confirm_the_gradients_and_refute_wrong_ones() {
    let [inputs, outputs, batch] = [7, 6, 5];
    let case = case([inputs, outputs], batch, 0.5, 11);
    let loss = |x: &[f64], values: &[f64]| -> f64 {
        let mut y = vec![0.0; batch * outputs];
        for row in 0..batch {
            for (link, (input, output)) in case.links.iter().enumerate() {
                y[row * outputs + output] += x[row * inputs + input] * values[link];
            }
        }
        // The square makes the differences depend on where they are taken.
        y.iter().zip(&case.dy).map(|(y, &dy)| y * y * f64::from(dy) / 2.0).sum()
    };
    let wide = |floats: &[f32]| floats.iter().map(|&float| f64::from(float)).collect::<Vec<_>>();
    let (x, values) = (wide(&case.x), wide(&case.values));
    let moved = |base: &[f64], at: usize, by: f64| {
        let mut moved = base.to_vec();
        moved[at] += by;
        moved
    };
    let slope = |of: &dyn Fn(f64) -> f64| (of(1e-4) - of(-1e-4)) / 2e-4;
    let dx: Vec<f64> = (0..x.len()).map(|i| slope(&|by| loss(&moved(&x, i, by), &values))).collect();
    let dw: Vec<f64> = (0..values.len()).map(|i| slope(&|by| loss(&x, &moved(&values, i, by)))).collect();
    let agree = |found: &[f32], slopes: &[f64]| {
        assert_eq!(found.len(), slopes.len());
        found.iter().zip(slopes).all(|(&found, slope)| (f64::from(found) - slope).abs() < 1e-5)
    };

    let y = Kernel::new().forward(Forward { bias: None, ..case.operands() });
    let dy: Vec<f32> = y.iter().zip(&case.dy).map(|(y, dy)| y * dy).collect();
    let gradients = |values: &[f32]| {
        Kernel::new().backward(Backward { values, output_gradient: &dy, ..case.gradient_operands() })
    };
    let right = gradients(&case.values);
    let right_values = right.values.unwrap();
    assert!(agree(right.input.as_ref().unwrap(), &dx));
    assert!(agree(&right_values, &dw));

    // The control: values in another link order, and their gradients, must not pass.
    let reverse = |floats: &[f32]| floats.iter().rev().copied().collect::<Vec<_>>();
    assert!(!agree(&reverse(&right_values), &dw));
    assert!(!agree(&gradients(&reverse(&case.values)).input.unwrap(), &dx));
}
