//! Folders in the manner of `transformers`: whole ones, and those that are not.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use burn::backend::Flex;
use burn_cht::Error;
use burn_cht::model::llama::Llama;
use burn_cht::model::llama::checkpoint::{read_hugging_face, write_hugging_face};
use burn_cht::nn::Layout;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use tempfile::TempDir;

use super::{assert_close, logits, small};

const TEXT: [u32; 6] = [1, 5, 60, 42, 17, 3];
const FILE: &str = "model.safetensors";

fn read(folder: &Path) -> Result<Llama<Flex>, Error> {
    read_hugging_face(folder, Layout::Auto, &Default::default())
}

fn written() -> (Llama<Flex>, TempDir) {
    let model = small().init(&Default::default());
    let folder = tempfile::tempdir().unwrap();
    write_hugging_face(&model, folder.path()).unwrap();
    (model, folder)
}

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn tensors(folder: &Path) -> Tensors {
    let bytes = fs::read(folder.join(FILE)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let parts = |(name, view): (String, TensorView)| {
        (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
    };
    file.tensors().into_iter().map(parts).collect()
}

fn save(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    fs::write(path, serialize(views, None).unwrap()).unwrap();
}

#[test]
fn a_written_model_is_read_back_to_the_bit() {
    for config in [small(), small().with_tied_head(true).with_layout(Layout::Compressed)] {
        let model = config.init(&Default::default());
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new");
        write_hugging_face(&model, &folder).unwrap();
        let dense = read(&folder).unwrap();
        assert_eq!(dense.config().sparse.density, 1.0);
        for (ours, theirs) in model.layers.iter().zip(&dense.layers) {
            let (ours, theirs) = (&ours.feed_forward.down, &theirs.feed_forward.down);
            assert_eq!(ours.dense_weight().into_data(), theirs.dense_weight().into_data());
        }
        assert_close(&logits(&dense, &TEXT).concat(), &logits(&model, &TEXT).concat(), 1e-5);
    }
}

#[test]
fn half_precision_is_read_as_the_numbers_it_holds() {
    let (_, folder) = written();
    let single = tensors(folder.path());
    let rounded = |dtype: Dtype, round: fn(f32) -> ([u8; 2], f32)| {
        let (mut short, mut long) = (single.clone(), single.clone());
        for (name, (_, _, bytes)) in &single {
            let values: Vec<f32> =
                bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
            let both = values.iter().map(|&value| round(value));
            let (halves, values): (Vec<[u8; 2]>, Vec<f32>) = both.unzip();
            short.get_mut(name).unwrap().0 = dtype;
            short.get_mut(name).unwrap().2 = halves.concat();
            long.get_mut(name).unwrap().2 = values.into_iter().flat_map(f32::to_le_bytes).collect();
        }
        let read = |tensors: &Tensors| {
            save(&folder.path().join(FILE), tensors);
            logits(&read(folder.path()).unwrap(), &TEXT)
        };
        assert_eq!(read(&short), read(&long));
        assert_ne!(read(&short), read(&single));
    };
    rounded(Dtype::F16, |value| (f16::from_f32(value).to_le_bytes(), f16::from_f32(value).to_f32()));
    rounded(Dtype::BF16, |value| (bf16::from_f32(value).to_le_bytes(), bf16::from_f32(value).to_f32()));
}

#[test]
fn tensors_spread_over_several_files_are_found_by_the_index() {
    let (model, folder) = written();
    let all = tensors(folder.path());
    fs::remove_file(folder.path().join(FILE)).unwrap();
    let mut map = HashMap::new();
    for part in 0..2 {
        let file = format!("model-0000{}-of-00002.safetensors", part + 1);
        let of_part = all.iter().enumerate().filter(|(index, _)| index % 2 == part);
        let of_part: Tensors = of_part.map(|(_, (name, tensor))| (name.clone(), tensor.clone())).collect();
        save(&folder.path().join(&file), &of_part);
        map.extend(of_part.into_keys().map(|name| (name, file.clone())));
    }
    let index = folder.path().join("model.safetensors.index.json");
    let write = |map: &HashMap<String, String>| {
        fs::write(&index, serde_json::json!({ "metadata": {}, "weight_map": map }).to_string()).unwrap();
    };
    write(&map);
    assert_close(
        &logits(&read(folder.path()).unwrap(), &TEXT).concat(),
        &logits(&model, &TEXT).concat(),
        1e-5,
    );
    let mut without = map.clone();
    without.remove("model.norm.weight");
    write(&without);
    assert!(refused(folder.path(), "index.json").contains("`model.norm.weight`"));
    map.insert("model.norm.weight".into(), "../elsewhere.safetensors".into());
    write(&map);
    assert!(refused(folder.path(), "index.json").contains("`../elsewhere.safetensors`"));
}

/// The reason for which a folder is refused, which names a file of this ending.
#[track_caller]
fn refused(folder: &Path, ending: &str) -> String {
    match read(folder) {
        Err(Error::Data { path, reason }) => {
            assert!(path.to_string_lossy().ends_with(ending), "{}", path.display());
            reason
        }
        other => panic!("{:?}", other.map(|_| "a model")),
    }
}

#[test]
fn a_file_cut_short_is_named() {
    let (_, folder) = written();
    let path = folder.path().join(FILE);
    let bytes = fs::read(&path).unwrap();
    for length in [0, 7, 100, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(refused(folder.path(), FILE).contains("not a whole safetensors file"), "{length}");
    }
}

#[test]
fn a_tensor_that_is_missing_or_of_another_shape_or_type_is_named() {
    let (_, folder) = written();
    let name = "model.layers.1.mlp.down_proj.weight";
    let all = tensors(folder.path());
    let with = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = all.clone();
        change(&mut tensors);
        save(&folder.path().join(FILE), &tensors);
        refused(folder.path(), FILE)
    };
    assert!(with(&|tensors| drop(tensors.remove(name))).contains(&format!("no tensor `{name}`")));
    assert!(with(&|tensors| drop(tensors.remove("lm_head.weight"))).contains("no tensor `lm_head.weight`"));
    let turned = with(&|tensors| tensors.get_mut(name).unwrap().1.reverse());
    assert!(turned.contains(&format!("`{name}` has shape [72, 32]; [32, 72] is expected")), "{turned}");
    assert!(with(&|tensors| tensors.get_mut(name).unwrap().0 = Dtype::I32).contains("I32"));
}

#[test]
fn a_folder_without_safetensors_says_so_and_what_to_do() {
    let (_, folder) = written();
    fs::remove_file(folder.path().join(FILE)).unwrap();
    let reason = || match read(folder.path()) {
        Err(Error::Data { path, reason }) if path == folder.path() => reason,
        other => panic!("{:?}", other.map(|_| "a model")),
    };
    assert_eq!(reason(), "holds neither model.safetensors nor model.safetensors.index.json");
    fs::write(folder.path().join("pytorch_model.bin"), "").unwrap();
    let found = reason();
    assert!(found.contains("pytorch_model.bin is not read: `save_pretrained` of transformers"), "{found}");
}

#[test]
fn a_folder_without_a_configuration_is_refused_by_its_name() {
    let (_, folder) = written();
    fs::remove_file(folder.path().join("config.json")).unwrap();
    match read(folder.path()) {
        Err(Error::Io { path, .. }) => assert!(path.ends_with("config.json"), "{}", path.display()),
        other => panic!("{:?}", other.map(|_| "a model")),
    }
}

#[test]
fn tokens_that_begin_and_end_a_text_are_written_and_kept_from_an_imported_model() {
    let ids = |folder: &Path, file: &str| {
        let json: serde_json::Value = serde_json::from_slice(&fs::read(folder.join(file)).unwrap()).unwrap();
        [json["bos_token_id"].clone(), json["eos_token_id"].clone()]
    };
    for (bos, eos, expected) in [
        (Some(0), vec![1], [serde_json::json!(0), serde_json::json!(1)]),
        (None, vec![1, 7], [serde_json::Value::Null, serde_json::json!([1, 7])]),
        (None, vec![], [serde_json::Value::Null, serde_json::Value::Null]),
    ] {
        let model: Llama<Flex> = small().with_bos(bos).with_eos(eos).init(&Default::default());
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_hugging_face(&model, first.path()).unwrap();
        write_hugging_face(&read(first.path()).unwrap(), second.path()).unwrap();
        for folder in [&first, &second] {
            for file in ["config.json", "generation_config.json"] {
                assert_eq!(ids(folder.path(), file), expected, "{file}");
            }
        }
    }
    let (_, folder) = written();
    let other = read(folder.path()).unwrap().with_special_tokens(Some(4), vec![5]);
    assert_eq!((other.config().bos, &other.config().eos[..]), (Some(4), &[5][..]));
}
