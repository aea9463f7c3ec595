//! The index arrays on a device: built and uploaded at the first use of an index there, and kept beside it.

use std::any::Any;
use std::cmp::Reverse;
use std::sync::{Arc, Mutex, PoisonError};

use burn_cubecl::CubeRuntime;
use burn_cubecl::cubecl::prelude::CubeElement;
use burn_cubecl::cubecl::server::Handle;

use crate::kernel::index::{Ids, Index, Orientation};

/// One orientation of an index in one buffer of words, since a stage may bind few buffers. Sections:
///
/// | section | entries |
/// |---|---|
/// | where the entries of each line start, and where the last ends | lines + 1 |
/// | the lines, long ones first: those that run side by side have about the same length | lines |
/// | the ids of the other side, two in a word if 16 bits hold them | links |
/// | by output: the link that each entry is; by input: the line, packed as ids are | links |
#[derive(Clone)]
pub(super) struct Lines {
    pub(super) words: Handle,
    pub(super) length: usize,
    pub(super) lines: usize,
    pub(super) ids: usize,
    pub(super) last: usize,
    pub(super) short_ids: bool,
    pub(super) short_last: bool,
}

/// The arrays of an index on one device.
pub(super) struct Arrays<R: CubeRuntime> {
    device: R::CubeDevice,
    pub(super) by_input: Lines,
    pub(super) by_output: Lines,
}

/// What has been uploaded of an index. A copy of the index starts with nothing, and no index differs by it.
#[derive(Default)]
pub(in crate::kernel) struct Uploads(Mutex<Vec<Arc<dyn Any + Send + Sync>>>);

impl Clone for Uploads {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Uploads {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Uploads {}

impl<R: CubeRuntime> Arrays<R> {
    /// The arrays of `index` on `device`, uploaded if they are not there yet.
    pub(super) fn of(index: &Index, device: &R::CubeDevice) -> Arc<Self> {
        let mut uploads = index.uploads.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = uploads.iter().filter_map(|arrays| Arc::clone(arrays).downcast::<Self>().ok());
        if let Some(arrays) = known.into_iter().find(|arrays| arrays.device == *device) {
            return arrays;
        }
        let upload = |words: Words| {
            let Words { words, lines, ids, last, short_ids, short_last } = words;
            let handle = R::client(device).create_from_slice(u32::as_bytes(&words));
            Lines { words: handle, length: words.len(), lines, ids, last, short_ids, short_last }
        };
        let arrays = Arc::new(Self {
            device: device.clone(),
            by_input: upload(Words::by_input(index)),
            by_output: upload(Words::by_output(index)),
        });
        uploads.push(Arc::clone(&arrays) as _);
        arrays
    }
}

/// [`Lines`] on the host.
struct Words {
    words: Vec<u32>,
    lines: usize,
    ids: usize,
    last: usize,
    short_ids: bool,
    short_last: bool,
}

impl Words {
    fn by_input(index: &Index) -> Self {
        let lines = index.by_input.offsets.windows(2).enumerate();
        let rows =
            lines.flat_map(|(line, ends)| std::iter::repeat_n(line as u32, (ends[1] - ends[0]) as usize));
        let rows = Ids::new(rows, index.shape()[0]);
        Self::new(&index.by_input, &packed(&rows), matches!(rows, Ids::Short(_)))
    }

    fn by_output(index: &Index) -> Self {
        Self::new(&index.by_output, &index.order, false)
    }

    fn new(orientation: &Orientation, last: &[u32], short_last: bool) -> Self {
        let Orientation { offsets, ids } = orientation;
        let lines = offsets.len() - 1;
        let mut order: Vec<u32> = (0..lines as u32).collect();
        order.sort_by_key(|&line| Reverse(offsets[line as usize + 1] - offsets[line as usize]));
        let packed_ids = packed(ids);
        let short_ids = matches!(ids, Ids::Short(_));
        let ids = offsets.len() + lines;
        let words = [offsets, &order, &packed_ids[..], last].concat();
        Self { words, lines, ids, last: ids + packed_ids.len(), short_ids, short_last }
    }
}

/// Ids as words: the lower half of a word comes first.
fn packed(ids: &Ids) -> Vec<u32> {
    match ids {
        Ids::Long(ids) => ids.clone(),
        Ids::Short(ids) => {
            let pair = |pair: &[u16]| u32::from(pair[0]) | u32::from(pair.get(1).copied().unwrap_or(0)) << 16;
            ids.chunks(2).map(pair).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Links;

    #[test]
    fn sections_follow_each_other_with_long_lines_first_and_short_ids_in_pairs() {
        let links = Links::try_from_positions([3, 5], vec![4, 5, 7, 9, 10]).unwrap();
        let index = Index::try_new(&links).unwrap();
        let Words { words, lines, ids, last, short_ids, short_last } = Words::by_input(&index);
        assert_eq!((lines, ids, last, short_ids, short_last), (3, 7, 10, true, true));
        assert_eq!(words[..4], [0, 1, 4, 5], "where lines start");
        assert_eq!(words[4..7], [1, 0, 2], "the longest line first");
        assert_eq!(words[7..10], [4, 2 | 4 << 16, 0], "columns");
        assert_eq!(words[10..], [1 << 16, 1 | 1 << 16, 2], "rows");

        let Words { words, lines, ids, last, short_last, .. } = Words::by_output(&index);
        assert_eq!((lines, ids, last, short_last), (5, 11, 14, false));
        assert_eq!(words[..6], [0, 2, 2, 3, 3, 5]);
        assert_eq!(words[6..11], [0, 4, 2, 1, 3]);
        assert_eq!(words[11..14], [1 | 2 << 16, 1, 1], "rows");
        assert_eq!(words[14..], index.order);
    }
}
