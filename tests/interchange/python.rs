//! Files that Python wrote, and ours beside them.

use crate::*;

#[test]
fn the_bytes_are_those_that_python_writes() {
    for layout in LAYOUTS {
        assert_eq!(to_dense(&golden(layout)).unwrap(), file("dense.safetensors"));
        assert_eq!(to_sparse(&golden(layout)).unwrap(), file("sparse.safetensors"));
    }
}

#[test]
fn what_python_writes_is_read() {
    for layout in LAYOUTS {
        let sparse = from_sparse(blank(layout), &file("sparse.safetensors")).unwrap();
        assert_eq!(to_sparse(&sparse).unwrap(), file("sparse.safetensors"));
        assert_eq!(sparse.hidden.weight.links().positions().collect::<Vec<_>>(), POSITIONS);

        let dense = from_dense(blank(layout), &file("dense.safetensors"), ImportedLinks::Nonzero).unwrap();
        assert_eq!(to_dense(&dense).unwrap(), file("dense.safetensors"));
        // The dense form cannot tell a link that weighs nothing.
        assert_eq!(dense.hidden.weight.links().positions().collect::<Vec<_>>(), [1, 4, 11]);
    }
}

#[test]
fn fixed_links_stay_whatever_weighs_nothing_and_refuse_what_lies_off_them() {
    let bytes = file("dense.safetensors");
    for layout in LAYOUTS {
        let loaded = from_dense(golden(layout), &bytes, ImportedLinks::Fixed).unwrap();
        assert_eq!(loaded.hidden.weight.links().positions().collect::<Vec<_>>(), POSITIONS);
        assert_eq!(loaded.hidden.weight.link_values(), VALUES);

        let mut other = golden(layout);
        let links = Links::try_from_positions([3, 4], vec![0, 1, 6, 11]).unwrap();
        other.hidden.weight = other.hidden.weight.rewire(Arc::new(links), &[]).unwrap();
        let error = from_dense(other, &bytes, ImportedLinks::Fixed).unwrap_err();
        assert_eq!(
            error.to_string(),
            "tensor `hidden.weight`: is -2 at (1, 0), where the module has no link"
        );
    }
}

#[test]
fn the_compact_form_is_as_small_as_the_links_are_few() {
    let device = Default::default();
    let layer = SparseLinearConfig::new(500, 500).with_density(0.01).init::<Flex>(&device);
    let sparse = to_sparse(&layer).unwrap().len();
    assert!(sparse < 8 * layer.nnz() + 4 * 501 + 4 * 500 + 600, "{sparse}");
}

#[test]
fn files_are_written_whole_and_named_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let module = golden(Layout::Compressed);
    save_dense(&module, at("dense")).unwrap();
    save_sparse(&module, at("sparse")).unwrap();
    let bits = |module: &Golden<Flex>| to_dense(module).unwrap();
    let dense = load_dense(blank(Layout::Auto), at("dense"), ImportedLinks::Nonzero).unwrap();
    let sparse = load_sparse(blank(Layout::Auto), at("sparse")).unwrap();
    assert_eq!(bits(&dense), bits(&module));
    assert_eq!(bits(&sparse), bits(&module));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);

    let error = save_sparse(&module, at("none/sparse")).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if *path == at("none/sparse")), "{error}");
    let error = load_sparse(blank(Layout::Auto), at("none")).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if *path == at("none")), "{error}");
    let error = load_sparse(blank(Layout::Auto), at("dense")).unwrap_err();
    assert!(matches!(&error, Error::Data { path, reason } if *path == at("dense")
        && reason == "safetensors: no `burn_cht.sparse` in the metadata"));
    let error = load_dense(blank(Layout::Auto), at("sparse"), ImportedLinks::Nonzero).unwrap_err();
    assert!(error.to_string().contains("tensor `hidden.weight`: is not there"), "{error}");
}
