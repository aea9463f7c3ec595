//! Modules that both forms carry, whatever lies in them.

use crate::*;

/// Every way that a parameter can lie in a module.
#[derive(Module, Debug)]
struct Net<B: Backend> {
    stem: SparseLinear<B>,
    blocks: Vec<Block<B>>,
    normalisation: BatchNorm<B>,
    head: Option<Linear<B>>,
}

#[derive(Module, Debug)]
struct Block<B: Backend> {
    mixing: SparseWeight<B>,
    gain: (Param<Tensor<B, 1>>, Param<Tensor<B, 3>>),
}

fn net(layout: Layout, seed: u64) -> Net<B> {
    let device = Default::default();
    let random =
        |count: usize| Tensor::<B, 1>::from_floats(&noise(seed, count)[..], &device).reshape([count as i32]);
    let block = |seed| Block {
        mixing: layer([9, 9], layout, seed).init(&device).weight,
        gain: (Param::from_tensor(random(4)), Param::from_tensor(random(12).reshape([2, 3, 2]))),
    };
    Net {
        stem: layer([13, 9], layout, seed).init(&device),
        blocks: vec![block(seed + 10), block(seed + 20)],
        normalisation: BatchNormConfig::new(9).init(&device),
        head: Some(LinearConfig::new(9, 4).with_layout(LinearLayout::Col).init(&device)),
    }
}

fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

impl<B: Backend> Net<B> {
    fn sparse(&self) -> Vec<&SparseWeight<B>> {
        std::iter::once(&self.stem.weight).chain(self.blocks.iter().map(|block| &block.mixing)).collect()
    }
}

fn assert_same_sparse(found: &Net<B>, expected: &Net<B>) {
    for (found, expected) in found.sparse().into_iter().zip(expected.sparse()) {
        assert_eq!(found.links(), expected.links());
        let bits =
            |weight: &SparseWeight<B>| weight.link_values().into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(found), bits(expected));
    }
}

#[test]
fn both_forms_carry_a_whole_module_bit_by_bit_into_either_layout() {
    for from in LAYOUTS {
        for into in LAYOUTS {
            let saved = net(from, 1);
            let dense = from_dense(net(into, 2), &to_dense(&saved).unwrap(), ImportedLinks::Nonzero).unwrap();
            let sparse = from_sparse(net(into, 2), &to_sparse(&saved).unwrap()).unwrap();
            for loaded in [dense, sparse] {
                assert_same_sparse(&loaded, &saved);
                assert!(loaded.sparse().iter().all(|weight| weight.layout() == into));
                // What was written from the copy is what was written from the original.
                assert_eq!(to_sparse(&loaded).unwrap(), to_sparse(&saved).unwrap());
                let output = |net: &Net<B>| {
                    let x = Tensor::<B, 1>::from_floats(&noise(5, 9 * 3)[..], &Default::default());
                    net.head.as_ref().unwrap().forward(x.reshape([3, 9])).into_data()
                };
                assert_eq!(output(&loaded), output(&saved));
            }
        }
    }
}

/// How many parameters a backward pass has gradients for.
fn trained(net: &Net<B>) -> usize {
    let y = net.stem.forward(Tensor::<B, 2>::ones([4, 13], &Default::default()));
    let y = net.blocks.iter().fold(y, |y, block| block.mixing.linear(y, None));
    let grads = net.head.as_ref().unwrap().forward(y).sum().backward();
    GradientsParams::from_grads(grads, net).len()
}

#[test]
fn a_loaded_module_keeps_its_identities_and_trains_what_trained() {
    for layout in LAYOUTS {
        let mut saved = net(layout, 1);
        saved.head = Some(LinearConfig::new(9, 4).init(&Default::default()));
        let (sparse, dense) = (to_sparse(&saved).unwrap(), to_dense(&saved).unwrap());
        let mut whole = net(layout, 2);
        // Burn 0.21 does not train the weight of a layer in columns until it is loaded.
        whole.head = Some(LinearConfig::new(9, 4).init(&Default::default()));
        let mut frozen = whole.clone();
        frozen.blocks[1].mixing = frozen.blocks[1].mixing.clone().no_grad();
        assert_eq!([trained(&whole), trained(&frozen)], [6, 5]);
        for other in [whole, frozen] {
            for loaded in [
                from_sparse(other.clone(), &sparse).unwrap(),
                from_dense(other.clone(), &dense, ImportedLinks::Nonzero).unwrap(),
            ] {
                assert_eq!(burn::module::list_param_ids(&loaded), burn::module::list_param_ids(&other));
                assert_eq!(trained(&loaded), trained(&other));
            }
        }
    }
}

#[test]
fn one_weight_in_two_places_is_refused() {
    let mut twice = net(Layout::Compressed, 1);
    twice.blocks[1].mixing = twice.blocks[0].mixing.clone();
    assert!(matches!(to_dense(&twice), Err(Error::Argument { .. })));
    assert!(matches!(to_sparse(&twice), Err(Error::Argument { .. })));
}
