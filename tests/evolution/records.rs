//! Saving and loading: every recorder, both layouts, bytes that went bad.

use burn::backend::Flex;
use burn::module::Module;
use burn::prelude::*;
use burn::record::{
    BinFileRecorder, CompactRecorder, DefaultRecorder, FileRecorder, FullPrecisionSettings,
    HalfPrecisionSettings, NamedMpkBytesRecorder, PrettyJsonFileRecorder, Recorder,
};
use burn_cht::nn::SparseLinearConfig;
use burn_cht::prelude::*;
use proptest::prelude::*;

use crate::net::{B, noise};

const LAYOUTS: [Layout; 2] = [Layout::Masked, Layout::Compressed];

fn config(shape: [usize; 2], layout: Layout) -> SparseLinearConfig {
    SparseLinearConfig::new(shape[0], shape[1]).with_density(0.1).with_layout(layout)
}

/// Saves a layer of one layout and loads it into a layer with other links, in the other layout.
fn round_trip<R: FileRecorder<B>>(
    recorder: &R,
    shape: [usize; 2],
    from: Layout,
    into: Layout,
    tolerance: f32,
) {
    let folder = tempfile::tempdir().unwrap();
    let device = Default::default();
    let saved = config(shape, from).with_seed(1).init::<B>(&device);
    saved.clone().save_file(folder.path().join("layer"), recorder).unwrap();
    let other = config(shape, into).with_seed(2).init::<B>(&device);
    assert_ne!(other.weight.links(), saved.weight.links());
    let loaded = other.load_file(folder.path().join("layer"), recorder, &device).unwrap();
    assert_eq!(loaded.weight.links(), saved.weight.links());
    assert_eq!(loaded.mask().into_data(), saved.mask().into_data());
    assert_eq!(loaded.weight.layout(), into);
    assert_eq!(loaded.weight.id(), saved.weight.id());
    let (before, after) = (saved.weight.link_values(), loaded.weight.link_values());
    assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() <= tolerance * a.abs().max(1e-3)));
    // It trains on.
    let grads = loaded.forward(Tensor::<B, 2>::ones([2, shape[0]], &device)).sum().backward();
    assert_eq!(burn::optim::GradientsParams::from_grads(grads, &loaded).len(), 2);
}

#[test]
fn masks_survive_every_recorder_in_and_across_layouts() {
    // Beyond column 32,767 CompactRecorder's 16-bit integers would end.
    for shape in [[9, 13], [2, 40_000], [40_000, 2]] {
        for from in LAYOUTS {
            for into in LAYOUTS {
                round_trip(&DefaultRecorder::new(), shape, from, into, 0.0);
                // Half precision keeps 11 bits of a value.
                round_trip(&CompactRecorder::new(), shape, from, into, 1e-3);
            }
        }
    }
    let [from, into] = LAYOUTS;
    round_trip(&PrettyJsonFileRecorder::<FullPrecisionSettings>::new(), [9, 13], from, into, 0.0);
    // Bincode does not describe itself: what is read must be laid out exactly as it was written.
    round_trip(&BinFileRecorder::<FullPrecisionSettings>::new(), [9, 13], from, into, 0.0);
}

#[test]
fn a_record_is_as_small_as_the_links_are_few() {
    let bytes = |density, layout| {
        let layer = SparseLinearConfig::new(300, 300).with_density(density).with_layout(layout);
        let record = layer.init::<Flex>(&Default::default()).into_record();
        let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
        Recorder::<Flex>::record(&recorder, record, ()).unwrap().len()
    };
    for layout in LAYOUTS {
        assert!(bytes(0.01, layout) < 300 * 300 * 4 / 20, "{}", bytes(0.01, layout));
    }
}

#[test]
fn a_layer_that_must_not_train_still_must_not_after_loading() {
    let device = Default::default();
    for layout in LAYOUTS {
        let record = config([9, 13], layout).with_seed(1).init::<B>(&device).into_record();
        let layer = config([9, 13], layout).with_seed(2).init::<B>(&device).no_grad().load_record(record);
        let x = Tensor::<B, 2>::ones([2, 9], &device).require_grad();
        let grads = layer.forward(x).sum().backward();
        assert!(burn::optim::GradientsParams::from_grads(grads, &layer).is_empty());
    }
}

fn bytes_of(layer: &SparseLinear<Flex>) -> Vec<u8> {
    let recorder = NamedMpkBytesRecorder::<HalfPrecisionSettings>::default();
    Recorder::<Flex>::record(&recorder, layer.clone().into_record(), ()).unwrap()
}

/// Loads bytes into a layer and looks at all of it; an error is as good as a sound layer.
fn load(bytes: Vec<u8>, layout: Layout) -> Result<SparseLinear<Flex>, burn::record::RecorderError> {
    let device = Default::default();
    let recorder = NamedMpkBytesRecorder::<HalfPrecisionSettings>::default();
    let record = Recorder::<Flex>::load(&recorder, bytes, &device)?;
    let layer = config([9, 13], layout).init::<Flex>(&device).load_record(record);
    assert_eq!(layer.weight.link_values().len(), layer.nnz());
    assert_eq!(layer.mask().int().sum().into_scalar() as usize, layer.nnz());
    Ok(layer)
}

/// Where the record of the sparse weight lies among the bytes; the rest is Burn's.
fn weight_range(bytes: &[u8]) -> std::ops::Range<usize> {
    let find = |text: &[u8]| bytes.windows(text.len()).position(|window| window == text).unwrap();
    let (weight, bias) = (find(b"weight"), find(b"bias"));
    if weight < bias { weight + 6..bias } else { weight + 6..bytes.len() }
}

#[test]
fn no_byte_of_a_saved_weight_can_be_flipped_unnoticed() {
    let layer = config([9, 13], Layout::Masked).init::<Flex>(&Default::default());
    let bytes = bytes_of(&layer);
    load(bytes.clone(), Layout::Masked).unwrap();
    let mut harmless = 0;
    for at in weight_range(&bytes) {
        for flip in [0x01, 0x80, 0xFF] {
            let mut broken = bytes.clone();
            broken[at] ^= flip;
            for layout in LAYOUTS {
                // What is not refused, an integer in another width say, says the same as before.
                if let Ok(loaded) = load(broken.clone(), layout) {
                    assert_eq!(loaded.weight.links(), layer.weight.links(), "byte {at}");
                    assert_eq!(loaded.weight.id(), layer.weight.id(), "byte {at}");
                    harmless += 1;
                }
            }
        }
    }
    assert!(harmless * 20 < 6 * weight_range(&bytes).len(), "{harmless} flips went by");
}

#[test]
fn no_record_that_was_cut_loads() {
    let bytes = bytes_of(&config([9, 13], Layout::Masked).init::<Flex>(&Default::default()));
    for length in 0..bytes.len() {
        assert!(load(bytes[..length].to_vec(), Layout::Compressed).is_err(), "{length} bytes");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_loading_panic(
        seed in any::<u64>(), count in 1usize..30, layout in prop_oneof![Just(Layout::Masked), Just(Layout::Compressed)],
    ) {
        let mut bytes = bytes_of(&config([9, 13], Layout::Masked).init::<Flex>(&Default::default()));
        let range = weight_range(&bytes);
        for (where_to, what) in noise(seed, 0, count).into_iter().zip(noise(seed, 1, count)) {
            let at = range.start + ((where_to + 1.0) / 2.0 * (range.len() - 1) as f32) as usize;
            bytes[at] = ((what + 1.0) * 127.9) as u8;
        }
        let _ = load(bytes, layout);
    }
}

#[test]
fn an_inconsistent_record_is_refused_for_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let device = Default::default();
    let recorder = PrettyJsonFileRecorder::<FullPrecisionSettings>::new();
    let layer = SparseLinearConfig::new(3, 4).with_density(0.5).init::<Flex>(&device);
    layer.clone().save_file(folder.path().join("layer"), &recorder).unwrap();
    let text = std::fs::read_to_string(folder.path().join("layer.json")).unwrap();
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        change(&mut json["item"]["weight"]);
        std::fs::write(folder.path().join("broken.json"), json.to_string()).unwrap();
        let loaded = layer.clone().load_file(folder.path().join("broken"), &recorder, &device);
        loaded.map(|_| ()).unwrap_err().to_string()
    };
    let message = refused(&|weight| weight["shape"][1] = 5.into());
    assert!(message.contains("checksum"), "{message}");
    let message = refused(&|weight| weight["columns"][0] = 9.into());
    assert!(message.contains("row 0 links to column 9, there are 4"), "{message}");
    let message = refused(&|weight| weight["row_degrees"][0] = 90.into());
    assert!(message.contains("there are 6 links"), "{message}");
    let message = refused(&|weight| weight["shape"][0] = 7.into());
    assert!(message.contains("3 row degrees for 7 rows"), "{message}");
    let message = refused(&|weight| weight["id"] = "not an id!".into());
    assert!(message.contains("`not an id!` is no parameter id"), "{message}");
    // Read by Burn's own type, the shape would get room for as many sides as a file claims.
    let message = refused(&|weight| weight["values"]["shape"] = serde_json::json!([]));
    assert!(message.contains("a shape of one side"), "{message}");
    // A value that is not whole made the conversion of all of them panic.
    let message = refused(&|weight| drop(weight["values"]["bytes"].as_array_mut().unwrap().pop()));
    assert!(message.contains("23 bytes of values"), "{message}");
    let message = refused(&|weight| weight["checksum"] = 1.into());
    assert!(message.contains("recorded as 00000001"), "{message}");
}
