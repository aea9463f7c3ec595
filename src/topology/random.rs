//! Where all draws of the topology come from.

use chacha20::ChaCha12Rng;
use rand::SeedableRng;

/// The random stream that belongs to (`seed`, `path`, `update`): equal arguments give equal streams on every
/// backend, replica and thread count; any difference gives an unrelated stream.
///
/// `path` is the layer's module path, optionally followed by the purpose of the draw.
///
/// The generator is named, and its first numbers stand in a test: links and checkpoints of one version must be those of
/// the next, which `rand` does not promise for its `StdRng`.
#[must_use]
pub fn stream(seed: u64, path: &str, update: u64) -> ChaCha12Rng {
    // FNV-1a with four different bases fills the 256-bit seed; ChaCha does the mixing.
    let mut key = [0u8; 32];
    for (lane, chunk) in key.chunks_exact_mut(8).enumerate() {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ (lane as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bytes = seed.to_le_bytes().into_iter().chain(update.to_le_bytes()).chain(path.bytes());
        for byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        chunk.copy_from_slice(&hash.to_le_bytes());
    }
    ChaCha12Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn the_first_numbers_of_a_stream_are_those_of_every_version() {
        let first = |mut rng: ChaCha12Rng| [(); 4].map(|()| rng.next_u64());
        let expected =
            [0xd081_7058_1c73_d15f, 0x8587_b3f1_7555_0e64, 0x6bd0_2937_a08a_64a9, 0x9e2a_9118_e04e_3cea];
        assert_eq!(first(stream(7, "a.b", 3)), expected);
        let expected =
            [0x3ddc_dd19_72a8_fb8e, 0x3a46_0e83_4164_e8dd, 0x3219_6474_2fc9_b3ab, 0x3f08_9dab_fe43_0abe];
        assert_eq!(first(stream(0, "", 0)), expected);
    }

    #[test]
    fn equal_arguments_give_equal_streams_and_any_difference_another() {
        let first = |seed, path, update| stream(seed, path, update).next_u64();
        assert_eq!(first(7, "a.b", 3), first(7, "a.b", 3));
        let others = [first(8, "a.b", 3), first(7, "a.c", 3), first(7, "a.b", 4)];
        assert!(others.iter().all(|&other| other != first(7, "a.b", 3)));
    }
}
