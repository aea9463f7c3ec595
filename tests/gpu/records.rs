//! Records between layouts and backends, in all directions.

use burn::backend::{Autodiff, Flex};
use burn::nn::loss::CrossEntropyLoss;
use burn::optim::{Adam, AdamConfig, GradientsParams, Optimizer};
use burn::prelude::*;
use burn::record::{BinBytesRecorder, CompactRecorder, DefaultRecorder, FullPrecisionSettings, Recorder};
use burn::tensor::backend::AutodiffBackend;
use burn_cht::prelude::*;

use crate::backend::Card;
use crate::drawn;
use crate::net::{BATCH, CLASSES, INPUTS, Net, blank, link_values, topology};

const LAYOUTS: [Layout; 2] = [Layout::Masked, Layout::Compressed];

#[test]
fn a_record_of_any_layout_on_the_gpu_loads_on_flex_in_any_other_and_back() {
    let device = adapter_or_skip!();
    let folder = tempfile::tempdir().unwrap();
    let recorder = DefaultRecorder::default();
    for (number, layout) in LAYOUTS.into_iter().enumerate() {
        let gpu = Net::<Card>::new(0.1, layout, &device);
        let path = folder.path().join(format!("full-{number}"));
        gpu.clone().save_file(&path, &recorder).unwrap();
        for on_flex in LAYOUTS {
            let cpu = blank::<Flex>(on_flex, &Default::default());
            let cpu = cpu.load_file(&path, &recorder, &Default::default()).unwrap();
            assert_eq!(cpu.links(), gpu.links());
            assert!(cpu.trunk.layers.iter().all(|layer| layer.weight.layout() == on_flex));
            assert_eq!(link_values(&cpu), link_values(&gpu));

            let back = folder.path().join(format!("back-{number}"));
            cpu.save_file(&back, &recorder).unwrap();
            for into in LAYOUTS {
                let back = blank::<Card>(into, &device).load_file(&back, &recorder, &device).unwrap();
                assert_eq!(back.links(), gpu.links());
                assert!(back.trunk.layers.iter().all(|layer| layer.weight.layout() == into));
                assert_eq!(link_values(&back), link_values(&gpu));
            }
        }
    }
}

#[test]
fn moments_recorded_on_the_gpu_in_either_layout_go_on_on_flex_and_back() {
    type Gpu = Autodiff<Card>;
    type Cpu = Autodiff<Flex>;
    let device = adapter_or_skip!();
    let topology = topology(Method::Set);
    for (layout, other) in [(Layout::Compressed, Layout::Masked), (Layout::Masked, Layout::Compressed)] {
        let mut gpu = Adaptive::<Gpu>::new(&topology, layout, &device);
        let before: Vec<f32> = (0..5).map(|_| gpu.step(&device)).collect();
        let saved = gpu.save();
        let after: Vec<f32> = (0..7).map(|_| gpu.step(&device)).collect();
        assert!(after[6] < before[0], "{before:?} {after:?}");

        let mut cpu = Adaptive::<Cpu>::new(&topology, other, &Default::default());
        cpu.load(&saved, &Default::default());
        let resaved = cpu.save();
        let there: Vec<f32> = (0..7).map(|_| cpu.step(&Default::default())).collect();
        let mut back = Adaptive::<Gpu>::new(&topology, layout, &device);
        back.load(&resaved, &device);
        let back: Vec<f32> = (0..7).map(|_| back.step(&device)).collect();
        for ((after, there), back) in after.iter().zip(&there).zip(&back) {
            assert!((after - there).abs() <= 1e-4 * after, "{after} on the GPU, {there} on Flex");
            assert!((after - back).abs() <= 1e-4 * after, "{after}, {back} after the way back");
        }
    }
}

/// Training with Adam that can be saved and loaded.
struct Adaptive<B: AutodiffBackend> {
    model: Net<B>,
    optim: SparseOptimizer<Adam, Net<B>, B>,
    step: usize,
}

impl<B: AutodiffBackend> Adaptive<B> {
    fn new(topology: &TopologyConfig, layout: Layout, device: &B::Device) -> Self {
        let optim = SparseOptimizer::new(AdamConfig::new().init(), topology.init());
        Self { model: Net::new(0.1, layout, device), optim, step: 0 }
    }

    fn step(&mut self, device: &B::Device) -> f32 {
        let input = Tensor::from_data(drawn([BATCH, INPUTS], 1.0, 100), device);
        let classes = (0..BATCH).map(|item| (item % CLASSES) as i32).collect::<Vec<_>>();
        let targets = Tensor::<B, 1, Int>::from_ints(classes.as_slice(), device);
        let loss = CrossEntropyLoss::new(None, device).forward(self.model.forward(input), targets);
        let value = loss.clone().into_scalar().elem::<f32>();
        let grads = GradientsParams::from_grads(loss.backward(), &self.model);
        self.model = self.optim.step(0.01, self.model.clone(), grads);
        self.step += 1;
        value
    }

    fn save(&self) -> [Vec<u8>; 2] {
        let recorder = BinBytesRecorder::<FullPrecisionSettings>::default();
        [
            Recorder::<B>::record(&recorder, self.model.clone().into_record(), ()).unwrap(),
            Recorder::<B>::record(&recorder, self.optim.to_record(), ()).unwrap(),
        ]
    }

    fn load(&mut self, [model, optim]: &[Vec<u8>; 2], device: &B::Device) {
        let recorder = BinBytesRecorder::<FullPrecisionSettings>::default();
        let model = Recorder::<B>::load(&recorder, model.clone(), device).unwrap();
        self.model = self.model.clone().load_record(model);
        let optim = Recorder::<B>::load(&recorder, optim.clone(), device).unwrap();
        self.optim = self.optim.clone().load_record(optim);
    }
}

#[test]
fn the_mask_survives_half_precision_between_gpu_and_flex() {
    let device = adapter_or_skip!();
    let folder = tempfile::tempdir().unwrap();
    for layout in LAYOUTS {
        let gpu = Net::<Card>::new(0.1, layout, &device);
        let recorder = CompactRecorder::new();
        let path = folder.path().join("compact");
        gpu.clone().save_file(&path, &recorder).unwrap();
        let cpu = blank::<Flex>(Layout::Auto, &Default::default());
        let cpu = cpu.load_file(&path, &recorder, &Default::default()).unwrap();
        assert_eq!(cpu.links(), gpu.links());
        for (cpu, gpu) in link_values(&cpu).iter().zip(link_values(&gpu)) {
            assert!((cpu - gpu).abs() <= gpu.abs() / 1024.0 + 1e-7, "{cpu} instead of {gpu}");
        }
    }
}
