//! Files that nobody should have, each refused for what is wrong with it.

use crate::*;

/// A tensor as the format's description has it, written here once more.
#[derive(Clone)]
struct Piece {
    name: String,
    dtype: &'static str,
    shape: Vec<u64>,
    bytes: Vec<u8>,
}

fn pieces() -> Vec<Piece> {
    let piece = |name: &str, dtype, shape: &[u64], bytes| Piece {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
        bytes,
    };
    let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
    vec![
        piece("hidden.weight.shape", "I64", &[2], longs(&[3, 4])),
        piece("hidden.weight.crow_indices", "I32", &[4], ints(&[0, 1, 3, 4])),
        piece("hidden.weight.col_indices", "I32", &[4], ints(&[1, 0, 2, 3])),
        piece("hidden.weight.values", "F32", &[4], floats(&VALUES)),
        piece("hidden.bias", "F32", &[4], floats(&[0.0; 4])),
        piece("head.weight", "F32", &[4, 2], floats(&[0.5; 8])),
        piece("head.bias", "F32", &[2], floats(&[0.0; 2])),
    ]
}

fn ints(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn longs(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn seal(pieces: &[Piece]) -> String {
    let mut pieces: Vec<_> = pieces.iter().collect();
    pieces.sort_by_key(|piece| piece.name.as_bytes());
    let mut crc = flate2::Crc::new();
    for piece in pieces {
        crc.update(format!("{}\0{}\0", piece.name, piece.dtype).as_bytes());
        piece.shape.iter().for_each(|side| crc.update(&side.to_le_bytes()));
        crc.update(&piece.bytes);
    }
    format!("1 crc32 {:08x}", crc.sum())
}

fn assemble(pieces: &[Piece], seal: Option<&str>) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    if let Some(seal) = seal {
        header.insert("__metadata__".into(), serde_json::json!({ "burn_cht.sparse": seal }));
    }
    let mut data = Vec::new();
    for piece in pieces {
        let begin = data.len();
        data.extend_from_slice(&piece.bytes);
        let entry = serde_json::json!({
            "dtype": piece.dtype, "shape": piece.shape, "data_offsets": [begin, data.len()],
        });
        header.insert(piece.name.clone(), entry);
    }
    with_header(&serde_json::Value::Object(header).to_string(), &data)
}

fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn sealed(pieces: &[Piece]) -> Vec<u8> {
    assemble(pieces, Some(&seal(pieces)))
}

fn message<M>(result: Result<M>) -> String {
    match result {
        Err(error @ Error::Interchange { .. }) => error.to_string(),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => "accepted".into(),
    }
}

fn read(bytes: &[u8]) -> String {
    let found: Vec<String> =
        LAYOUTS.map(|layout| message(from_sparse(blank(layout), bytes))).into_iter().collect();
    assert_eq!(found[0], found[1], "both layouts say the same");
    found[0].clone()
}

#[test]
fn tensors_may_lie_in_any_order() {
    let mut reversed = pieces();
    assert_eq!(read(&sealed(&reversed)), "accepted");
    reversed.reverse();
    assert_eq!(read(&sealed(&reversed)), "accepted");
}

#[test]
fn weights_that_break_the_format_are_refused_for_what_is_wrong_with_them() {
    let crow = "tensor `hidden.weight.crow_indices`: ";
    let col = "tensor `hidden.weight.col_indices`: ";
    /// Index of the tensor that is exchanged, its new type, shape and bytes, and the error.
    type Case<'a> = (usize, &'static str, &'a [u64], Vec<u8>, String);
    let cases: &[Case] = &[
        (
            0,
            "I64",
            &[2],
            longs(&[3, 5]),
            "tensor `hidden.weight.shape`: is [3, 5], the module has [3, 4]".into(),
        ),
        (
            0,
            "I64",
            &[2],
            longs(&[i64::MIN, -1]),
            format!("tensor `hidden.weight.shape`: is [{}, -1], the module has [3, 4]", i64::MIN),
        ),
        (
            0,
            "I64",
            &[1, 2],
            longs(&[3, 4]),
            "tensor `hidden.weight.shape`: has the shape [1, 2], expected [2]".into(),
        ),
        (0, "I32", &[2], ints(&[3, 4]), "tensor `hidden.weight.shape`: is of type I32, expected I64".into()),
        (1, "I32", &[4], ints(&[1, 1, 3, 4]), format!("{crow}starts at 1, expected 0")),
        (1, "I32", &[4], ints(&[-1, 1, 3, 4]), format!("{crow}starts at -1, expected 0")),
        (1, "I32", &[4], ints(&[0, 3, 1, 4]), format!("{col}row 0: column 0 is out of order or twice there")),
        (1, "I32", &[4], ints(&[0, 1, 0, 4]), format!("{crow}row 1 spans links 1..0 of 4")),
        (1, "I32", &[4], ints(&[0, 1, i32::MIN, 4]), format!("{crow}row 1 spans links 1..{} of 4", i32::MIN)),
        (1, "I32", &[4], ints(&[0, 1, i32::MAX, 4]), format!("{crow}row 1 spans links 1..{} of 4", i32::MAX)),
        (1, "I32", &[4], ints(&[0, 1, 3, 3]), format!("{crow}ends at 3, there are 4 links")),
        (1, "I32", &[5], ints(&[0, 1, 3, 4, 4]), format!("{crow}has the shape [5], expected [4]")),
        (1, "U32", &[4], ints(&[0, 1, 3, 4]), format!("{crow}is of type U32, expected I32")),
        (2, "I32", &[4], ints(&[4, 0, 2, 3]), format!("{col}row 0 links to column 4, there are 4")),
        (2, "I32", &[4], ints(&[-1, 0, 2, 3]), format!("{col}row 0 links to column -1, there are 4")),
        (2, "I32", &[4], ints(&[1, 2, 2, 3]), format!("{col}row 1: column 2 is out of order or twice there")),
        (2, "I32", &[4], ints(&[1, 2, 0, 3]), format!("{col}row 1: column 0 is out of order or twice there")),
        (2, "I32", &[3], ints(&[1, 0, 2]), format!("{col}has the shape [3], expected [4]")),
        (2, "I32", &[2, 2], ints(&[1, 0, 2, 3]), format!("{col}has the shape [2, 2], expected [4]")),
        (
            3,
            "F64",
            &[4],
            longs(&[0; 4]),
            "tensor `hidden.weight.values`: is of type F64, expected F32".into(),
        ),
        (
            3,
            "F32",
            &[2, 2],
            ints(&[0; 4]),
            "tensor `hidden.weight.values`: has the shape [2, 2], expected [4]".into(),
        ),
        (3, "F32", &[0], vec![], format!("{col}has the shape [4], expected [0]")),
        (
            4,
            "I32",
            &[4],
            ints(&[0; 4]),
            "tensor `hidden.bias`: is of type I32, expected F16, BF16, F32 or F64".into(),
        ),
        (
            5,
            "F32",
            &[2, 4],
            ints(&[0; 8]),
            "tensor `head.weight`: has the shape [2, 4], expected [4, 2]".into(),
        ),
    ];
    for (piece, dtype, shape, bytes, expected) in cases {
        let mut pieces = pieces();
        (pieces[*piece].dtype, pieces[*piece].shape, pieces[*piece].bytes) =
            (dtype, shape.to_vec(), bytes.clone());
        assert_eq!(&read(&sealed(&pieces)), expected);
    }

    let mut empty = pieces();
    for piece in [2, 3] {
        (empty[piece].shape, empty[piece].bytes) = (vec![0], vec![]);
    }
    empty[1].bytes = ints(&[0; 4]);
    assert_eq!(
        read(&sealed(&empty)),
        "tensor `hidden.weight.values`: is empty: a weight has at least one link"
    );
}

#[test]
fn files_with_other_tensors_or_another_seal_are_refused() {
    let whole = pieces();
    for missing in 0..whole.len() {
        let mut pieces = whole.clone();
        let name = pieces.remove(missing).name;
        let expected = format!("tensor `{name}`: is not there, but the module has that parameter");
        assert_eq!(read(&sealed(&pieces)), expected);
    }
    let mut extra = whole.clone();
    extra.push(Piece { name: "tail.weight".into(), ..whole[6].clone() });
    assert_eq!(read(&sealed(&extra)), "tensor `tail.weight`: is there, but the module has no such parameter");

    let right = seal(&whole);
    let with = |seal: &str| read(&assemble(&whole, Some(seal)));
    assert_eq!(with(&right), "accepted");
    assert_eq!(read(&assemble(&whole, None)), "safetensors: no `burn_cht.sparse` in the metadata");
    let crc = &right[8..];
    assert_eq!(with(&format!("2 crc32 {crc}")), "safetensors: version 2 of the format, expected 1");
    assert_eq!(with("1 crc32 00000000"), format!("safetensors: checksum {crc}, recorded as 00000000"));
    for wrong in ["", "1", "1 crc32 ", "1 crc32 0", "1 crc32 000000000", "1 crc64 00000000"] {
        assert_eq!(
            with(wrong),
            format!("safetensors: `burn_cht.sparse` is `{wrong}`, expected `1 crc32 xxxxxxxx`")
        );
    }
}

#[test]
fn bytes_that_are_no_safetensors_are_refused_in_both_forms() {
    let tensor = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"hidden.weight": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}}}"#)
    };
    let deep = "[".repeat(100_000);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("header too small", vec![]),
        ("header too small", vec![7; 7]),
        ("invalid header length", vec![1, 0, 0, 0, 0, 0, 0, 0]),
        ("invalid header length", with_header("{}", &[])[..9].to_vec()),
        ("header too large", vec![255; 8]),
        ("header too large", [100_000_001u64.to_le_bytes().to_vec(), vec![b'{'; 20]].concat()),
        ("invalid UTF-8 in header", [2u64.to_le_bytes().to_vec(), vec![255, 255]].concat()),
        ("invalid JSON in header", with_header("", &[])),
        ("invalid JSON in header", with_header("[]", &[])),
        ("invalid JSON in header", with_header(&deep, &[])),
        ("invalid JSON in header", with_header(&format!("{{\"a\": {deep}"), &[])),
        ("invalid JSON in header", with_header(&tensor("F33", "[1]", "[0, 4]"), &[0; 4])),
        ("invalid JSON in header", with_header(&tensor("F32", "[-1]", "[0, 4]"), &[0; 4])),
        ("invalid JSON in header", with_header(&tensor("F32", "[1e400]", "[0, 4]"), &[0; 4])),
        ("invalid JSON in header", with_header(&tensor("F32", "[18446744073709551616]", "[0, 4]"), &[0; 4])),
        (
            "overflow computing buffer size",
            with_header(&tensor("F32", "[9223372036854775808, 2]", "[0, 4]"), &[0; 4]),
        ),
        (
            "overflow computing buffer size",
            with_header(&tensor("F32", "[4611686018427387904]", "[0, 0]"), &[]),
        ),
        ("invalid shape, data type, or offset", with_header(&tensor("F32", "[2]", "[0, 4]"), &[0; 4])),
        (
            "invalid shape, data type, or offset",
            with_header(&tensor("F32", "[4611686018427387903, 0]", "[0, 4]"), &[0; 4]),
        ),
        ("invalid offset for tensor", with_header(&tensor("F32", "[1]", "[4, 8]"), &[0; 8])),
        ("invalid offset for tensor", with_header(&tensor("F32", "[1]", "[4, 0]"), &[0; 4])),
        ("incomplete metadata", with_header(&tensor("F32", "[1]", "[0, 4]"), &[0; 3])),
        ("incomplete metadata", with_header(&tensor("F32", "[1]", "[0, 4]"), &[0; 5])),
        ("incomplete metadata", with_header("{}", &[0])),
    ];
    for (expected, bytes) in cases {
        let sparse = read(&bytes);
        let dense = message(from_dense(blank(Layout::Auto), &bytes, ImportedLinks::Nonzero));
        assert_eq!(sparse, dense);
        assert!(sparse.starts_with("safetensors: ") && sparse.contains(expected), "{expected}: {sparse}");
    }
}

#[test]
fn dense_files_of_other_shapes_types_and_without_weights_are_refused() {
    let floats = |count: usize| vec![0; 4 * count];
    let base = || {
        let mut pieces = pieces();
        pieces.drain(..4);
        pieces.push(Piece {
            name: "hidden.weight".into(),
            dtype: "F32",
            shape: vec![3, 4],
            bytes: floats(12),
        });
        pieces
    };
    let read = |pieces: &[Piece]| {
        message(from_dense(blank(Layout::Auto), &assemble(pieces, None), ImportedLinks::Nonzero))
    };
    assert_eq!(read(&base()), "tensor `hidden.weight`: is zero everywhere: a weight has at least one link");
    let mut negative = base();
    negative[3].bytes[3] = 0x80;
    assert!(read(&negative).contains("is zero everywhere"), "a zero with a sign is one");
    let mut transposed = base();
    transposed[3].shape = vec![4, 3];
    assert_eq!(read(&transposed), "tensor `hidden.weight`: has the shape [4, 3], expected [3, 4]");
    let mut integers = base();
    integers[3].dtype = "I32";
    assert!(read(&integers).contains("is of type I32, expected F16, BF16, F32 or F64"));
    let mut nan = base();
    nan[3].bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(read(&nan), "accepted");
}

#[test]
fn every_float_type_is_read() {
    let values = [0.5f32, -2.0, 0.0, 3.25];
    let types: [(&'static str, Vec<u8>); 4] = [
        ("F16", values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect()),
        ("BF16", values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect()),
        ("F32", values.iter().flat_map(|&v| v.to_le_bytes()).collect()),
        ("F64", values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect()),
    ];
    for (dtype, bytes) in types {
        let mut pieces = pieces();
        (pieces[4].dtype, pieces[4].bytes) = (dtype, bytes);
        let loaded = from_sparse(blank(Layout::Auto), &sealed(&pieces)).unwrap();
        let bias: Vec<f32> = loaded.hidden.bias.unwrap().val().into_data().into_vec().unwrap();
        assert_eq!(bias, values, "{dtype}");
    }
}

#[test]
fn no_byte_of_a_compact_file_can_be_flipped_unnoticed() {
    let bytes = file("sparse.safetensors");
    let mut harmless = 0;
    for at in 0..bytes.len() {
        for flip in [0x01, 0x20, 0x80, 0xFF] {
            let mut broken = bytes.clone();
            broken[at] ^= flip;
            if let Ok(loaded) = from_sparse(blank(Layout::Auto), &broken) {
                // White space of another kind at most.
                assert_eq!(to_sparse(&loaded).unwrap(), bytes, "byte {at}");
                harmless += 1;
            }
        }
    }
    assert!(harmless * 50 < 4 * bytes.len(), "{harmless} flips went by");
}

#[test]
fn no_file_that_was_cut_loads() {
    for name in ["sparse.safetensors", "dense.safetensors"] {
        let bytes = file(name);
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            assert!(from_sparse(blank(Layout::Auto), cut).is_err());
            assert!(from_dense(blank(Layout::Auto), cut, ImportedLinks::Nonzero).is_err());
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_loading_panic(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)
    ) {
        for name in ["sparse.safetensors", "dense.safetensors"] {
            let mut bytes = file(name);
            for (at, value) in &flips {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            let _ = from_sparse(blank(Layout::Auto), &bytes);
            let _ = from_dense(blank(Layout::Auto), &bytes, ImportedLinks::Nonzero);
        }
    }
}
