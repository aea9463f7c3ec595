//! A layer frozen by Burn's `no_grad` keeps its links and values.

use burn::backend::{Autodiff, Flex};
use burn::module::Module;
use burn::nn::LinearConfig;
use burn::optim::{Optimizer, SgdConfig};
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn_cht::prelude::*;

use crate::net::*;

const LAYOUTS: [Layout; 2] = [Layout::Masked, Layout::Compressed];

fn frozen(mut net: Net<B>) -> Net<B> {
    let layer = net.encoder.layers.remove(0).no_grad();
    net.encoder.layers.insert(0, layer);
    net
}

fn first(net: &Net<B>) -> (Vec<bool>, Vec<u32>) {
    (net.masks().remove(0), bits(&net.values()).remove(0))
}

fn changes(method: Method) -> bool {
    !matches!(method, Method::Static | Method::Dense)
}

#[test]
fn a_frozen_layer_keeps_links_and_values_under_every_method_and_the_others_evolve() {
    for method in Method::ALL {
        for layout in LAYOUTS {
            let setup = Setup { layout, ..Setup::new(method, 24, 0.2) };
            let mut run = setup.train(adam());
            run.net = frozen(run.net);
            let before = run.net.clone();
            run.steps(24);
            assert_eq!(first(&run.net), first(&before), "{method} {layout:?}");
            assert_eq!(run.net.masks()[1] != before.masks()[1], changes(method), "{method} {layout:?}");
            assert_ne!(bits(&run.net.values())[1], bits(&before.values())[1], "{method} {layout:?}");
        }
    }
}

#[test]
fn a_layer_frozen_amid_a_run_stays_as_it_then_is_until_it_is_trained_again() {
    for method in Method::ALL {
        for layout in LAYOUTS {
            let setup = Setup { layout, ..Setup::new(method, 48, 0.2) };
            let mut run = setup.train(sgd());
            run.steps(6);
            run.net = frozen(run.net.clone());
            let then = first(&run.net);
            run.steps(7);
            assert_eq!(first(&run.net), then, "{method} {layout:?}");
            let nnz = then.0.iter().filter(|&&link| link).count();
            if let Some(report) = run.optim.monitor().latest() {
                assert_eq!((report.layers[0].nnz, report.layers[0].target_nnz), (nnz, nnz), "{method}");
            }
            let mut layers = run.net.encoder.layers.clone();
            layers[0].weight = layers[0].weight.clone().map(&mut Trained);
            run.net.encoder.layers = layers;
            // The next update is early enough for a cosine to leave something to remove.
            run.steps(3);
            assert_ne!(first(&run.net).1, then.1, "{method} {layout:?}: it learns again");
            let report = run.optim.monitor().latest().unwrap();
            let moved = report.layers[0].pruned + report.layers[0].removed;
            assert_eq!(moved > 0, changes(method), "{method} {layout:?}");
        }
    }
}

/// What `no_grad` has no opposite of.
struct Trained;

impl burn::module::ModuleMapper<B> for Trained {
    fn map_float<const D: usize>(
        &mut self,
        param: burn::module::Param<Tensor<B, D>>,
    ) -> burn::module::Param<Tensor<B, D>> {
        param.set_require_grad(true)
    }
}

#[test]
fn a_run_with_a_layer_frozen_on_the_way_resumes_bit_for_bit() {
    for method in Method::ALL {
        let setup = Setup { layout: Layout::Compressed, ..Setup::new(method, 24, 0.2) };
        let mut whole = setup.train(adam());
        whole.steps(6);
        whole.net = frozen(whole.net.clone());
        whole.steps(5);
        let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
        let net = Recorder::<B>::record(&recorder, whole.net.clone().into_record(), ()).unwrap();
        let optim = Recorder::<B>::record(&recorder, whole.optim.to_record(), ()).unwrap();
        whole.steps(13);

        let device = Default::default();
        let fresh = Setup { seed: 9, ..setup.clone() }.train(adam());
        let net = fresh.net.load_record(Recorder::<B>::load(&recorder, net, &device).unwrap());
        let optim = fresh.optim.load_record(Recorder::<B>::load(&recorder, optim, &device).unwrap());
        let mut resumed = Training { net: frozen(net), optim, done: 11, widths: setup.widths };
        resumed.steps(13);
        assert_eq!(resumed.net.masks(), whole.net.masks(), "{method}");
        assert_eq!(bits(&resumed.net.values()), bits(&whole.net.values()), "{method}");
    }
}

#[test]
fn a_compressed_layer_without_a_kernel_is_refused_and_auto_is_regrown_by_gradient_there() {
    /// A backend without kernels.
    type Plain = Autodiff<Autodiff<Flex>>;

    #[derive(Module, Debug)]
    struct Two<B: Backend> {
        hidden: SparseLinear<B>,
        head: burn::nn::Linear<B>,
    }

    let device = Default::default();
    let hidden = |layout| SparseLinearConfig::new(6, 5).with_density(0.4).with_layout(layout);
    for layout in [Layout::Masked, Layout::Auto] {
        let model = Two::<Plain> {
            hidden: hidden(layout).init(&device),
            head: LinearConfig::new(5, 2).init(&device),
        };
        let topology = TopologyConfig::new(Method::Rigl, 40).with_update_interval(5).with_sparsity(0.6);
        SparseOptimizer::new(SgdConfig::new().init(), topology.init()).bind(&model).unwrap();
    }
    let error = hidden(Layout::Compressed).try_init::<Plain>(&device).unwrap_err();
    assert!(matches!(error, Error::Argument { name: "layout", .. }), "{error}");
    let message = error.to_string();
    assert!(
        message.contains("autodiff<autodiff<flex>>") && message.contains("`Layout::Masked`"),
        "{message}"
    );
}
