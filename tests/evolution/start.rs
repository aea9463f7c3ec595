//! What layers start with: as the method says, or by hand and checked.

use burn_cht::nn::SparseLinearConfig;
use burn_cht::prelude::*;
use burn_cht::topology::init::{Degrees, FeatureCorrelation};
use burn_cht::topology::{FirstLinks, Links, TopologyInit};

use crate::net::*;

fn links(config: &SparseLinearConfig) -> Links {
    (**config.init::<B>(&Default::default()).weight.links()).clone()
}

const FIELD: TopologyInit = TopologyInit::ReceptiveField { r: 0.25, degrees: Degrees::Fixed };

#[test]
fn a_layer_of_the_configuration_has_the_methods_first_links_and_density() {
    for (method, init, density) in [
        (Method::Static, TopologyInit::ErdosRenyi, 0.1),
        (Method::Set, TopologyInit::ErdosRenyi, 0.1),
        (Method::Rigl, TopologyInit::ErdosRenyi, 0.1),
        (Method::Mest, TopologyInit::ErdosRenyi, 0.15),
        (Method::Granet, TopologyInit::ErdosRenyi, 0.5),
        (Method::Cht, TopologyInit::SmallWorld { beta: 0.25 }, 0.1),
        (Method::Chts, FIELD, 0.1),
        (Method::Chtss, FIELD, 0.5),
    ] {
        let topology = TopologyConfig::new(method, 1000).with_sparsity(0.9);
        let links = links(&topology.layer(20, 30));
        assert_eq!(links.initialiser(), Some(&init), "{method}");
        assert_eq!(links.nnz(), (600.0 * density) as usize, "{method}");
    }
    for method in [Method::Gmp, Method::Dense] {
        let links = links(&TopologyConfig::new(method, 1000).with_sparsity(0.9).layer(20, 30));
        assert_eq!((links.nnz(), links.initialiser()), (600, None), "{method}");
    }
    // No sparsity: the density that layers have without a method.
    assert_eq!(links(&TopologyConfig::new(Method::Set, 1000).layer(20, 30)).nnz(), 60);
    let message = TopologyConfig::new(Method::Chtss, 1000).try_layer(20, 30).unwrap_err().to_string();
    assert_eq!(message, "`sparsity` is not given; allowed: [0, 1): the density of `chtss` decays to it");
}

#[test]
fn given_features_choose_the_first_links_of_those_methods_that_look_at_them() {
    let samples = [[0.0, 1.0, 3.0], [1.0, 3.0, 1.0], [2.0, 4.0, 2.0], [3.0, 5.0, 0.0]];
    let features = FeatureCorrelation::from_samples(3, samples).unwrap();
    for method in Method::ALL {
        let topology = TopologyConfig::new(method, 1000).with_sparsity(0.5).with_features(features.clone());
        let expected = matches!(method, Method::Cht | Method::Chts);
        let found = matches!(topology.first_links(), TopologyInit::Correlation(_));
        assert_eq!(found, expected, "{method}");
        assert_eq!(topology.composition().first_links.uses_features(), expected);
    }
    let own = TopologyConfig::new(Method::Chts, 1000).with_features(features).with_first_links(FIELD);
    assert_eq!(own.first_links(), FIELD);
}

#[test]
fn layers_of_one_configuration_differ_and_are_the_same_in_every_run() {
    let config = || TopologyConfig::new(Method::Chts, 1000).with_sparsity(0.9).with_seed(7);
    let three = |topology: &TopologyConfig| [(); 3].map(|()| links(&topology.layer(20, 30)));
    let topology = config();
    let first = three(&topology);
    assert!(first[0] != first[1] && first[1] != first[2] && first[0] != first[2]);
    assert_eq!(three(&config()), first);
    // A clone goes on from where it was made, and the count is no part of what a configuration is.
    let clone = topology.clone();
    assert_eq!(three(&clone), three(&topology));
    assert_eq!(topology, config());
    assert_eq!(serde_json::to_string(&topology).unwrap(), serde_json::to_string(&config()).unwrap());
    assert_ne!(three(&config().with_seed(8)), first);
}

fn by_hand(method: Method, layers: [SparseLinearConfig; 2]) -> (Setup, Net<B>) {
    let setup = Setup::new(method, 100, 0.25);
    let mut net = setup.net();
    net.encoder.layers = layers.iter().map(|layer| layer.init(&Default::default())).collect();
    (setup, net)
}

#[test]
fn a_layer_made_by_hand_at_another_density_is_refused_by_its_name() {
    let layer = |d_input, d_output, density| SparseLinearConfig::new(d_input, d_output).with_density(density);
    for method in [Method::Set, Method::Chts, Method::Dense] {
        let (setup, net) = by_hand(method, [layer(12, 16, 0.25), layer(16, 10, 0.1)]);
        let message = setup.optim(sgd()).bind(&net).unwrap_err().to_string();
        assert!(message.starts_with("density of the model's sparse layers does not belong"), "{message}");
        assert!(message.contains(&format!("`{}` with 0.100000", PATHS[1])), "{message}");
        assert!(
            message.contains("`TopologyConfig::layer`") && message.contains("with_density("),
            "{message}"
        );
    }
    // Densities of their own are fine where the total fits: 24 and 64 of 352 positions.
    let (setup, net) = by_hand(Method::Set, [layer(12, 16, 24.0 / 192.0), layer(16, 10, 64.0 / 160.0)]);
    assert!(setup.optim(sgd()).bind(&net).is_ok());
    // Without a sparsity nothing is known to be wrong.
    let (setup, net) = by_hand(Method::Set, [layer(12, 16, 0.5), layer(16, 10, 0.1)]);
    let unknown = TopologyConfig::new(Method::Set, 100);
    assert!(setup.with(|_| unknown).optim(sgd()).bind(&net).is_ok());
}

#[test]
fn first_links_of_another_kind_are_a_warning_that_names_the_layer_and_the_mend() {
    let field = |d_input, d_output| SparseLinearConfig::new(d_input, d_output).with_density(0.25);
    let (setup, net) =
        by_hand(Method::Set, [field(12, 16).with_topology(TopologyInit::ErdosRenyi), field(16, 10)]);
    let mut optim = setup.optim(sgd());
    assert!(optim.warnings().is_empty());
    optim.bind(&net).unwrap();
    let [warning] = optim.warnings() else { panic!("{:?}", optim.warnings()) };
    assert_eq!(
        warning,
        "the first links of `encoder.layers.1` are BRF (r 0.25, fixed degrees), those of `set` are ER: make the \
         layer with `TopologyConfig::layer`, or tell the configuration by `with_first_links`"
    );
    // The same kind with other settings is meant, and so is what the configuration was told.
    let wide = TopologyInit::ReceptiveField { r: 0.5, degrees: Degrees::Uniform };
    let (setup, net) = by_hand(Method::Chts, [field(12, 16).with_topology(wide), field(16, 10)]);
    let mut optim = setup.optim(sgd());
    optim.bind(&net).unwrap();
    assert!(optim.warnings().is_empty());
    let (setup, net) = by_hand(Method::Set, [field(12, 16), field(16, 10)]);
    let mut optim = setup.with(|topology| topology.with_first_links(FirstLinks::Of(FIELD))).optim(sgd());
    optim.bind(&net).unwrap();
    assert!(optim.warnings().is_empty());
}

#[test]
fn nothing_is_said_of_a_resumed_run() {
    use burn::optim::Optimizer;

    let field = |d_input, d_output| SparseLinearConfig::new(d_input, d_output).with_density(0.25);
    let (setup, net) = by_hand(Method::Set, [field(12, 16), field(16, 10)]);
    let mut run = Training { net, optim: setup.optim(sgd()), widths: setup.widths, done: 0 };
    run.steps(3);
    assert_eq!(run.optim.warnings().len(), 2);
    let mut resumed = setup.optim(sgd()).load_record(run.optim.to_record());
    resumed.bind(&run.net).unwrap();
    assert!(resumed.warnings().is_empty());
}
