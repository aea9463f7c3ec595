//! What a device refuses, and what becomes of a run whose device is lost.

use burn::backend::Autodiff;
use burn::prelude::*;
use burn_cht::prelude::*;
use burn_cht::topology::Links;
use burn_cubecl::element::BoolElement;
use burn_cubecl::{CubeBackend, CubeRuntime, FloatElement, IntElement};

use crate::backend::Card;

type B = Autodiff<Card>;

/// Bytes of the largest buffer that the device has.
trait Limited: Backend {
    fn largest_buffer(device: &Self::Device) -> u64;
}

impl<R: CubeRuntime, F: FloatElement, I: IntElement, BT: BoolElement> Limited for CubeBackend<R, F, I, BT> {
    fn largest_buffer(device: &Self::Device) -> u64 {
        R::client(device).properties().memory.max_page_size
    }
}

#[cfg(feature = "fusion")]
impl<R: CubeRuntime, F: FloatElement, I: IntElement, BT: BoolElement> Limited
    for burn_fusion::Fusion<CubeBackend<R, F, I, BT>>
{
    fn largest_buffer(device: &Self::Device) -> u64 {
        <CubeBackend<R, F, I, BT> as Limited>::largest_buffer(device)
    }
}

#[test]
fn a_layer_whose_index_exceeds_the_devices_largest_buffer_is_refused_before_anything_is_sent_there() {
    let device = adapter_or_skip!();
    let largest = Card::<f32>::largest_buffer(&device);
    // Two words a link.
    let rows = (largest / 8).div_ceil(4096) as usize;
    if rows > 1 << 13 {
        println!("skipped: buffers of {largest} bytes hold more links than a test should have");
        return;
    }
    let config = SparseLinearConfig::new(rows, 4096).with_density(1.0).with_layout(Layout::Compressed);
    let error = config.try_init::<B>(&device).unwrap_err();
    assert!(matches!(&error, Error::Capacity { requested, .. } if *requested == rows * 4096), "{error}");
    assert!(error.to_string().contains(&format!("has {largest} bytes")), "{error}");
}

#[test]
fn a_bound_of_ones_own_decides_the_layout_and_is_told() {
    let device = adapter_or_skip!();
    let layer = |bound, density| {
        let config = SparseLinearConfig::new(40, 30).with_density(density);
        config.with_layout(Layout::CompressedUpTo(bound)).init::<B>(&device).weight
    };
    let (compressed, masked) = (layer(0.3, 0.25), layer(0.3, 0.5));
    assert_eq!(compressed.layout(), Layout::Compressed);
    assert_eq!(compressed.explain_layout(), "compressed: density 0.2500 is at most 0.3, the bound asked for");
    assert_eq!(masked.layout(), Layout::Masked);
    let fuller = compressed.rewire(Links::full([40, 30]).into(), &[]).unwrap();
    assert_eq!(fuller.layout(), Layout::Masked);
}

// No other runtime lets a test lose its device.
#[cfg(not(feature = "cuda"))]
mod lost {
    use std::env;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;
    use std::process::Command;

    use burn::backend::Flex;
    use burn::backend::wgpu::graphics::AutoGraphicsApi;
    use burn::backend::wgpu::init_setup;
    use burn::optim::{Adam, AdamConfig, GradientsParams};
    use burn::record::Recorder;
    use burn_cht::run::SealedRecorder;

    use super::*;
    use crate::backend::CardDevice;
    use crate::drawn;
    use crate::net::{BATCH, INPUTS, Net, blank, link_values, topology};

    const FOLDER: &str = "BURN_CHT_CHECKPOINTS";
    const LOST_IN: &str = "BURN_CHT_LOST_IN";

    /// Steps before the device is lost; the next one has an update.
    const STEPS: usize = 5;

    struct Run {
        model: Net<B>,
        optim: SparseOptimizer<Adam, Net<B>, B>,
    }

    impl Run {
        fn new(device: &CardDevice) -> Self {
            let optim = SparseOptimizer::new(AdamConfig::new().init(), topology(Method::Chts).init());
            Self { model: Net::new(0.1, Layout::Compressed, device), optim }
        }

        fn gradients(&self, device: &CardDevice) -> GradientsParams {
            let input = Tensor::from_data(drawn([BATCH, INPUTS], 1.0, 1), device);
            let loss = self.model.forward(input).powi_scalar(2).mean();
            GradientsParams::from_grads(loss.backward(), &self.model)
        }

        fn step(&mut self, gradients: GradientsParams) -> Result<(), Error> {
            let stepped = self.optim.try_step(0.01, self.model.clone(), gradients);
            self.model = stepped.map_err(|failed| failed.into_parts().1)?;
            Ok(())
        }
    }

    /// Trains on a device of its own, with a checkpoint after every step, and loses it.
    #[test]
    #[ignore = "run by other tests in a process of its own: it loses its device"]
    fn train() {
        let (Ok(folder), Ok(lost_in)) = (env::var(FOLDER), env::var(LOST_IN)) else { return };
        let device = CardDevice::default();
        let setup = init_setup::<AutoGraphicsApi>(&device, Default::default());
        let mut run = Run::new(&device);
        for step in 1..=STEPS {
            let gradients = run.gradients(&device);
            run.step(gradients).unwrap();
            let path = Path::new(&folder).join(format!("model-{step}"));
            Recorder::<B>::record(&SealedRecorder::new(), run.model.clone().into_record(), path).unwrap();
        }
        assert_eq!(run.optim.manager().steps_to_update(), Some(1));
        let lose = || setup.device.destroy();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            if lost_in == "pass" {
                lose();
            }
            let gradients = run.gradients(&device);
            if lost_in == "update" {
                Card::<f32>::sync(&device).unwrap();
                lose();
            }
            run.step(gradients)
        }));
        match outcome {
            Ok(Ok(())) => println!("outcome: it was not noticed"),
            Ok(Err(error)) => println!("outcome: {error:?}"),
            Err(_) => println!("outcome: a panic"),
        }
    }

    /// What becomes of a run whose device is lost there. Its last checkpoint is what as many steps lead to.
    fn lose(lost_in: &str) -> Option<String> {
        let device = crate::backend::adapter()?;
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", "failing::lost::train", "--ignored", "--nocapture"]);
        let output = child.env(FOLDER, folder.path()).env(LOST_IN, lost_in).output().unwrap();
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));

        let path = folder.path().join(format!("model-{STEPS}"));
        assert!(!folder.path().join(format!("model-{}", STEPS + 1)).exists());
        let record = Recorder::<Flex>::load(&SealedRecorder::new(), path, &Default::default()).unwrap();
        let saved = blank::<Flex>(Layout::Auto, &Default::default()).load_record(record);
        let mut run = Run::new(&device);
        for _ in 0..STEPS {
            let gradients = run.gradients(&device);
            run.step(gradients).unwrap();
        }
        assert_eq!(saved.links(), run.model.links());
        assert_eq!(link_values(&saved), link_values(&run.model));

        let outcome =
            stdout.lines().find_map(|line| line.split_once("outcome: ").map(|(_, outcome)| outcome));
        let outcome = outcome.unwrap_or_else(|| panic!("no outcome in `{stdout}`, `{stderr}`"));
        println!("{outcome}\n{stderr}");
        Some(outcome.to_owned())
    }

    #[test]
    fn a_device_lost_before_an_update_is_an_error_and_the_last_checkpoint_is_intact() {
        if let Some(outcome) = lose("update") {
            assert!(outcome.starts_with("Device {"), "{outcome}");
        }
    }

    #[test]
    fn a_device_lost_before_a_forward_pass_does_not_go_unnoticed_and_the_last_checkpoint_is_intact() {
        if let Some(outcome) = lose("pass") {
            assert!(outcome.starts_with("Device {") || outcome == "a panic", "{outcome}");
        }
    }
}
