//! Sharing the work among threads: how many, and who does which part.

use std::ops::Range;

/// Below this many link-times-batch-row products for each thread, waking another costs more than it saves.
const GRAIN: usize = 150_000;

/// Threads worth using for `work` products, at most `limit` and at most those of rayon's global pool.
pub(super) fn threads(work: usize, limit: usize) -> usize {
    let worth = work / GRAIN;
    if worth <= 1 { 1 } else { worth.min(limit).min(rayon::current_num_threads()) }
}

/// Runs `task` for every number below `tasks`, in parallel if there are several.
pub(super) fn run(tasks: usize, task: &(impl Fn(usize) + Sync)) {
    split(0..tasks, task);
}

fn split(tasks: Range<usize>, task: &(impl Fn(usize) + Sync)) {
    match tasks.len() {
        0 => {}
        1 => task(tasks.start),
        count => {
            let middle = tasks.start + count / 2;
            rayon::join(|| split(tasks.start..middle, task), || split(middle..tasks.end, task));
        }
    }
}

/// Part `part` of `parts` of the lines that `offsets` describes, with about the same work in each: a line costs its
/// links and a constant, so a hub fills a part of its own instead of stalling a thread.
pub(super) fn lines(offsets: &[u32], part: usize, parts: usize) -> Range<usize> {
    /// What a line costs apart from its links, in links: packing and unpacking its activations.
    const LINE: usize = 4;
    let count = offsets.len() - 1;
    let total = offsets[count] as usize + LINE * count;
    let start = |part: usize| {
        let share = (total as u128 * part as u128 / parts as u128) as usize;
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = (low + high) / 2;
            if (offsets[middle] as usize + LINE * middle) < share { low = middle + 1 } else { high = middle }
        }
        low
    };
    start(part)..if part + 1 == parts { count } else { start(part + 1) }
}

/// Part `part` of `parts` of `count` batch rows, cut at multiples of `lanes`.
pub(super) fn rows(count: usize, lanes: usize, part: usize, parts: usize) -> Range<usize> {
    let registers = count.div_ceil(lanes);
    (registers * part / parts * lanes).min(count)..(registers * (part + 1) / parts * lanes).min(count)
}

/// A pointer to output that several threads write at disjoint places.
#[derive(Clone, Copy)]
pub(super) struct Output(pub(super) *mut f32);

// SAFETY: the pointer is only an address; whoever writes through it promises that no place is written by two threads.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_of_lines_cover_every_line_once_and_weigh_the_same(
            degrees in proptest::collection::vec(0u32..50, 1..60), parts in 1usize..9
        ) {
            let mut offsets = vec![0];
            degrees.iter().for_each(|degree| offsets.push(offsets[offsets.len() - 1] + degree));
            let total: usize = degrees.iter().map(|&degree| degree as usize + 4).sum();
            let heaviest = degrees.iter().map(|&degree| degree as usize + 4).max().unwrap();
            let mut next = 0;
            for part in 0..parts {
                let lines = lines(&offsets, part, parts);
                prop_assert_eq!(lines.start, next);
                next = lines.end;
                let weight: usize = degrees[lines].iter().map(|&degree| degree as usize + 4).sum();
                prop_assert!(weight <= total / parts + heaviest + 1);
            }
            prop_assert_eq!(next, degrees.len());
        }

        #[test]
        fn parts_of_the_batch_cover_every_row_once(count in 0usize..300, parts in 1usize..9) {
            let mut next = 0;
            for part in 0..parts {
                let rows = rows(count, 16, part, parts);
                prop_assert_eq!(rows.start, next);
                prop_assert!(rows.start == count || rows.start % 16 == 0);
                next = rows.end;
            }
            prop_assert_eq!(next, count);
        }
    }

    #[test]
    fn every_task_runs_once() {
        let counts: Vec<_> = (0..13).map(|_| std::sync::atomic::AtomicUsize::new(0)).collect();
        run(13, &|task| {
            counts[task].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(counts.iter().all(|count| count.load(std::sync::atomic::Ordering::Relaxed) == 1));
    }
}
