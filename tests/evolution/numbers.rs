//! Numbers at the ends of their ranges, and those that are none.

use burn::backend::Flex;
use burn::lr_scheduler::LrScheduler;
use burn::module::Module;
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{GradientsParams, Optimizer};
use burn::prelude::*;
use burn::record::{
    FullPrecisionSettings, HalfPrecisionSettings, NamedMpkBytesRecorder, PrettyJsonFileRecorder, Recorder,
};
use burn_cht::nn::{SparseLinearConfig, SparseWeight};
use burn_cht::optim::{CarriesMoments, FusedAdamConfig, LearningRateSchedule};
use burn_cht::prelude::*;
use burn_cht::topology::init::{Degrees, nnz_at};
use burn_cht::topology::{Links, TopologyInit, stream};
use serde_json::Value;

use crate::net::*;
use crate::resume::LAYOUTS;

fn grads(net: &Net<B>, step: usize, scale: f32) -> GradientsParams {
    let loss = loss(net, batch([12, 16, 10], step)).mul_scalar(scale);
    GradientsParams::from_grads(loss.backward(), net)
}

#[test]
fn a_learning_rate_that_is_not_finite_is_named_with_its_step_before_it_reaches_a_weight() {
    for layout in LAYOUTS {
        let setup = Setup { layout, ..Setup::new(Method::Chts, 16, 0.2) };
        let mut run = setup.train(adam());
        run.steps(3);
        for (rate, shown) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf")] {
            let grads = grads(&run.net, 4, 1.0);
            let (net, error) = run.optim.try_step(rate, run.net.clone(), grads).unwrap_err().into_parts();
            assert!(matches!(error, Error::NotFinite { step: 4, .. }), "{error}");
            assert_eq!(
                error.to_string(),
                format!("the learning rate is {shown} at step 4: the run is stopped")
            );
            assert_eq!(bits(&net.values()), bits(&run.net.values()));
        }
        // The step was not taken, and can be.
        let mut whole = setup.train(adam());
        whole.steps(8);
        run.steps(5);
        assert_eq!(bits(&run.net.values()), bits(&whole.net.values()));
    }
}

#[test]
fn an_infinite_gradient_is_named_with_layer_and_step_when_links_are_chosen() {
    for layout in LAYOUTS {
        for (method, interval) in [(Method::Set, 4), (Method::Rigl, 4), (Method::Mest, 4)] {
            let mut run = Setup { layout, ..Setup::new(method, 16, 0.2) }.train(sgd());
            run.steps(interval - 1);
            let grads = grads(&run.net, interval, f32::INFINITY);
            let failed = run.optim.try_step(0.05, run.net.clone(), grads).unwrap_err();
            let message = failed.error().to_string();
            assert!(matches!(failed.error(), Error::NotFinite { step: 4, .. }), "{message}");
            assert!(message.contains("`encoder.layers.0`"), "{message}");
            let (net, _) = failed.into_parts();
            assert_eq!(net.masks(), run.net.masks(), "links as they were");
        }
    }
}

fn weight(values: &[f32], layout: Layout) -> SparseWeight<B> {
    let links = Links::try_from_positions([3, 4], (0..values.len()).map(|at| 2 * at).collect()).unwrap();
    SparseWeight::try_new(links.into(), values.to_vec(), layout, &Default::default()).unwrap()
}

#[test]
fn a_weight_that_half_precision_rounds_to_zero_keeps_its_link_and_learns_again() {
    let recorder = NamedMpkBytesRecorder::<HalfPrecisionSettings>::default();
    let device = Default::default();
    for from in LAYOUTS {
        for into in LAYOUTS {
            // The smallest of f16 is 6e-8; 65,504 its largest.
            let saved = weight(&[1e-9, -1e-30, 0.1, 65_504.0], from);
            let bytes = Recorder::<B>::record(&recorder, saved.clone().into_record(), ()).unwrap();
            let record = Recorder::<B>::load(&recorder, bytes, &device).unwrap();
            let loaded = weight(&[1.0], into).load_record(record);
            assert_eq!(loaded.links(), saved.links());
            assert_eq!(loaded.mask().into_data(), saved.mask().into_data());
            assert_eq!(loaded.link_values(), [0.0, 0.0, half::f16::from_f32(0.1).to_f32(), 65_504.0]);
            let output = loaded.linear(Tensor::ones([1, 3], &device), None).sum();
            let gradients = GradientsParams::from_grads(output.backward(), &loaded);
            assert_eq!(gradients.len(), 1);
        }
    }
}

#[test]
fn a_weight_beyond_half_precision_is_refused_by_whoever_loads_it() {
    let recorder = NamedMpkBytesRecorder::<HalfPrecisionSettings>::default();
    let device: <Flex as burn::tensor::backend::BackendTypes>::Device = Default::default();
    for (value, shown) in [(1e5, "inf"), (-1e5, "-inf"), (f32::NAN, "NaN")] {
        let saved = weight(&[0.5, value], Layout::Compressed);
        let bytes = Recorder::<B>::record(&recorder, saved.into_record(), ()).unwrap();
        let loaded: Result<<SparseWeight<B> as Module<B>>::Record, _> =
            Recorder::<B>::load(&recorder, bytes, &device);
        let error = loaded.map(drop).unwrap_err().to_string();
        assert!(error.contains(&format!("a value of {shown} in f16, which ends at 65504")), "{error}");
    }
    let full = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
    let saved = weight(&[0.5, 1e5], Layout::Masked);
    let bytes = Recorder::<B>::record(&full, saved.clone().into_record(), ()).unwrap();
    let record = Recorder::<B>::load(&full, bytes, &device).unwrap();
    assert_eq!(weight(&[1.0], Layout::Masked).load_record(record).link_values(), saved.link_values());
}

#[test]
fn a_batch_without_a_row_has_no_output_and_no_gradient_and_one_of_a_row_is_that_row() {
    let device = Default::default();
    for layout in LAYOUTS {
        let layer = SparseLinearConfig::new(10, 7).with_density(0.3).with_layout(layout).init::<B>(&device);
        let rows = Tensor::<B, 2>::from_data(TensorData::new(noise(3, 0, 50), [5, 10]), &device);
        let empty = layer.forward(Tensor::<B, 2>::zeros([0, 10], &device));
        assert_eq!(empty.dims(), [0, 7]);
        assert_eq!(layer.forward_relu(Tensor::<B, 2>::zeros([0, 10], &device)).dims(), [0, 7]);
        let gradients = GradientsParams::from_grads(empty.sum().backward(), &layer);
        let gradient = match layout {
            Layout::Masked => gradients.get::<Flex, 2>(layer.weight.id()).unwrap().into_data(),
            _ => gradients.get::<Flex, 1>(layer.weight.id()).unwrap().into_data(),
        };
        assert!(gradient.iter::<f32>().all(|value| value == 0.0));

        // A short last batch: each row of it comes to what it comes to among others.
        let whole: Vec<f32> = layer.forward(rows.clone()).into_data().to_vec().unwrap();
        for row in 0..5 {
            let alone = layer.forward(rows.clone().slice([row..row + 1, 0..10]));
            let alone: Vec<f32> = alone.into_data().to_vec().unwrap();
            for (alone, whole) in alone.iter().zip(&whole[7 * row..]) {
                assert!((alone - whole).abs() <= 1e-6 * whole.abs().max(1.0), "{layout:?} {row}");
            }
        }
    }
}

/// Every count of steps in `record` moved on by `by`.
fn move_on(record: &mut Value, by: u64) {
    match record {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value.as_u64()) {
                    ("step" | "last_update" | "time", Some(steps)) => *value = (steps + by).into(),
                    _ => move_on(value, by),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| move_on(item, by)),
        _ => {}
    }
}

/// What a run comes to that is stopped after 6 steps, told that it has done `by` more, and goes on for 8.
fn gone_on<O: CarriesMoments<Flex>>(
    setup: &Setup,
    inner: impl Fn() -> OptimizerAdaptor<O, Net<B>, B>,
    by: u64,
) -> Training<O> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("optim.json");
    let recorder = PrettyJsonFileRecorder::<FullPrecisionSettings>::new();
    let device = Default::default();
    let mut run = setup.train(inner());
    run.steps(6);
    Recorder::<B>::record(&recorder, run.optim.to_record(), file.clone()).unwrap();
    let mut record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    move_on(&mut record, by);
    std::fs::write(&file, record.to_string()).unwrap();
    let record = Recorder::<B>::load(&recorder, file, &device).unwrap();
    run.optim = setup.optim(inner()).load_record(record);
    run.steps(8);
    assert_eq!(run.optim.manager().step() as u64, 14 + by);
    assert_eq!(run.optim.monitor().latest().unwrap().step as u64, 12 + by);
    run
}

#[test]
fn a_run_past_two_to_the_32_steps_goes_on_as_it_did_before() {
    const FAR: u64 = 1 << 32;
    for layout in LAYOUTS {
        for method in [Method::Set, Method::Rigl, Method::Chts] {
            // No schedule depends on the step here but that of updates.
            let setup = Setup { layout, ..Setup::new(method, FAR as usize * 4, 0.25) };
            let setup = setup.with(|topology| {
                topology.with_end_step(FAR as usize * 4).with_fraction(0.3).with_learning_rate_ramp(3)
            });
            let (near, far) = (gone_on(&setup, sgd, 0), gone_on(&setup, sgd, FAR));
            assert_eq!(far.optim.manager().updates(), 3, "{method} {layout:?}");
            if method == Method::Set {
                assert_eq!(bits(&far.net.values()), bits(&near.net.values()), "{method} {layout:?}");
            }
            assert!(far.net.values().iter().flatten().all(|value| value.is_finite()));
            // Adam's corrections have come to 1 long before, whatever it counts with.
            let adam = || FusedAdamConfig::new().init();
            let [early, late] = [1 << 28, FAR].map(|by| gone_on(&setup, adam, by));
            if method == Method::Set {
                assert_eq!(bits(&late.net.values()), bits(&early.net.values()), "{method} {layout:?}");
            }
            assert!(late.net.values() != setup.net().values());
        }
    }
}

#[test]
fn schedules_past_two_to_the_32_steps_stand_where_the_same_share_of_a_short_run_does() {
    const LONG: usize = 1 << 36;
    let share = |at: usize| at as f64 / 64.0;
    let density = |make: fn(f64, f64, usize, usize) -> DensitySchedule| {
        let (short, long) = (make(0.5, 0.9, 0, 64), make(0.5, 0.9, 0, LONG));
        for at in 0..=64 {
            let (short, long) = (short.sparsity_at(at), long.sparsity_at(LONG / 64 * at));
            assert!((short - long).abs() < 1e-12, "{at}: {short} {long}");
        }
    };
    density(DensitySchedule::linear);
    density(DensitySchedule::cubic);
    density(DensitySchedule::sigmoid);
    for at in 1..=64 {
        let mut schedule = LearningRateSchedule::warmup_cosine(0.1, 0, LONG, 0.1).unwrap();
        schedule = schedule.load_record::<Flex>(LONG / 64 * at - 1);
        let expected = 0.1 * (0.1 + 0.9 * (1.0 + (std::f64::consts::PI * share(at)).cos()) / 2.0);
        assert!((schedule.step() - expected).abs() < 1e-9, "{at}");
        let mut schedule = LearningRateSchedule::noam(1.0, 4000, 512).unwrap();
        schedule = schedule.load_record::<Flex>(LONG / 64 * at - 1);
        let expected = 512f64.powf(-0.5) * ((LONG / 64 * at) as f64).powf(-0.5);
        assert!((schedule.step() / expected - 1.0).abs() < 1e-6, "{at}");
    }
}

#[test]
fn a_density_that_leaves_one_link_leaves_one_under_every_method() {
    for layout in LAYOUTS {
        for method in Method::ALL {
            if method == Method::Dense {
                continue;
            }
            // 192 and 160 positions.
            let mut run = Setup { layout, ..Setup::new(method, 16, 1.0 / 176.0) }.train(sgd());
            run.steps(16);
            let links: Vec<usize> = run.net.links().iter().map(|links| links.nnz()).collect();
            assert_eq!(links, [1, 1], "{method} {layout:?}");
            assert!(run.net.values().iter().flatten().all(|value| value.is_finite()), "{method}");
        }
    }
}

#[test]
fn a_layer_of_one_position_keeps_its_link_and_trains() {
    for layout in LAYOUTS {
        for method in [Method::Static, Method::Set, Method::Rigl, Method::Cht, Method::Chts, Method::Dense] {
            let mut setup = Setup::new(method, 16, 1.0);
            (setup.layout, setup.widths) = (layout, [1, 1, 1]);
            // A negative weight after a ReLU has no gradient.
            while setup.net().values()[1][0] <= 0.0 {
                setup.seed += 1;
            }
            let before = setup.net().values();
            let mut run = setup.train(adam());
            run.steps(16);
            assert_eq!(run.net.masks(), [[true], [true]], "{method} {layout:?}");
            assert!(run.net.values().iter().flatten().all(|value| value.is_finite()), "{method}");
            assert_ne!(bits(&run.net.values()), bits(&before), "{method} {layout:?}");
        }
    }
    for init in initialisers() {
        let links = init.links([1, 1], 1, &mut stream(1, "links", 0)).unwrap();
        assert_eq!(links.to_mask(), [true], "{init}");
    }
}

fn initialisers() -> [TopologyInit; 4] {
    [
        TopologyInit::ErdosRenyi,
        TopologyInit::SmallWorld { beta: 0.25 },
        TopologyInit::ReceptiveField { r: 0.25, degrees: Degrees::Uniform },
        TopologyInit::ScaleFree,
    ]
}

#[test]
fn two_to_the_31_positions_are_refused_before_anything_is_allocated() {
    // Most of them could not be allocated.
    let (half, wide) = (1 << 16, 1 << 40);
    for shape in [[1 << 31, 1], [1, 1 << 31], [half, half / 2], [wide, wide], [wide, 0], [usize::MAX; 2]] {
        let of_shape = |error: Error| {
            let message = error.to_string();
            assert!(message.contains("at most 2147483647 positions"), "{message}");
            assert!(message.contains(&format!("{} × {}", shape[0], shape[1])), "{message}");
        };
        of_shape(nnz_at(shape, 1.0).unwrap_err());
        let layer = SparseLinearConfig::new(shape[0], shape[1]).with_density(1.0);
        of_shape(layer.try_init::<B>(&Default::default()).map(drop).unwrap_err());
        for init in initialisers() {
            of_shape(init.links(shape, 1, &mut stream(1, "links", 0)).unwrap_err());
        }
        of_shape(Links::try_from_csr(shape, vec![0], vec![]).unwrap_err());
        of_shape(Links::try_from_positions(shape, vec![0]).unwrap_err());
        of_shape(Links::try_from_mask(shape, &[]).unwrap_err());
    }
    // One less is a layer like another.
    let links = Links::try_from_positions([1, (1 << 31) - 1], vec![(1 << 31) - 2]).unwrap();
    assert_eq!((links.nnz(), links.capacity()), (1, (1 << 31) - 1));
}
