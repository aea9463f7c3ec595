//! Sharing the work among threads: how many, and who does which part.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Below this many link-times-batch-row products for each thread, waking another costs more than it saves.
const GRAIN: usize = 150_000;

/// Threads worth using for `work` products, at most `limit` and at most those of rayon's global pool.
pub(crate) fn threads(work: usize, limit: usize) -> usize {
    let worth = work / GRAIN;
    if worth <= 1 { 1 } else { worth.min(limit).min(rayon::current_num_threads()) }
}

/// Runs `task` for every number below `tasks`, each once, on this thread and others of rayon's, together as many as its pool
/// has.
///
/// Whoever is free claims the next number. This thread waits for claimed tasks alone, not for helpers to wake up: where
/// they are late, or the machine is busy, it does the work itself. That and one wake-up fewer is what this has over
/// `rayon::join`, for regions as short as 20 µs.
pub(crate) fn run<F: Fn(usize) + Sync>(tasks: usize, task: &F) {
    if tasks <= 1 {
        (0..tasks).for_each(task);
        return;
    }
    /// # Safety
    ///
    /// `task` points to a living `F`.
    unsafe fn call<F: Fn(usize)>(task: *const (), number: usize) {
        // SAFETY: the caller's promise.
        unsafe { (*task.cast::<F>())(number) }
    }
    let job = Arc::new(Job {
        next: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        tasks,
        task: std::ptr::from_ref(task).cast(),
        call: call::<F>,
    });
    for _ in 1..tasks.min(rayon::current_num_threads()) {
        let job = job.clone();
        rayon::spawn(move || job.work());
    }
    let _wait = Wait(&job);
    job.work();
}

/// Runs `task` on every piece, on this thread and others, and gives the results in the order of the pieces: on this
/// thread alone if there is only one, since waking others takes longer than a piece does. A panic of a task goes on in
/// this thread.
pub(crate) fn each<T: Send, R: Send>(pieces: Vec<T>, task: impl Fn(T) -> R + Sync) -> Vec<R> {
    if pieces.len() <= 1 {
        return pieces.into_iter().map(task).collect();
    }
    // A number is given to one thread alone: the locks are always free.
    let pieces: Vec<_> = pieces.into_iter().map(|piece| Mutex::new(Some(piece))).collect();
    let results: Vec<_> = pieces.iter().map(|_| Mutex::new(None)).collect();
    run(pieces.len(), &|number| {
        let piece = lock(&pieces[number]).take();
        // Unwinding out of a thread of the pool would end the process.
        let result = piece.map(|piece| catch_unwind(AssertUnwindSafe(|| task(piece))));
        *lock(&results[number]) = result;
    });
    let results = results.into_iter().filter_map(|result| lock(&result).take());
    results.map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tasks that several threads share.
struct Job {
    next: AtomicUsize,
    done: AtomicUsize,
    tasks: usize,
    task: *const (),
    call: unsafe fn(*const (), usize),
}

// SAFETY: `task` points to a closure that is `Sync`, and is only used as `Job::work` says; the rest is `Send`.
unsafe impl Send for Job {}
// SAFETY: as above.
unsafe impl Sync for Job {}

impl Job {
    /// Claims and runs tasks until there are none.
    fn work(&self) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.tasks {
                return;
            }
            let _done = Done(&self.done);
            // SAFETY: `run` does not return, nor unwind, before every claimed task is done (`Wait`), so the closure
            // lives. A helper that comes later claims nothing and does not touch it.
            unsafe { (self.call)(self.task, number) };
        }
    }
}

/// Counts a claimed task as done, even if it panics.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Lets nobody claim a task any more and waits for those claimed.
struct Wait<'a>(&'a Job);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let claimed = self.0.next.fetch_max(self.0.tasks, Ordering::Relaxed).min(self.0.tasks);
        let mut turns = 0u32;
        while self.0.done.load(Ordering::Acquire) < claimed {
            // A helper takes about as long as this thread did; if the system has suspended it, let it have the core.
            turns += 1;
            if turns < 20_000 { std::hint::spin_loop() } else { std::thread::yield_now() }
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

impl Output {
    /// The place `offset` numbers on. By value, so that a closure captures the whole of `self`.
    pub(super) fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

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
                prop_assert!(rows.start == count || rows.start.is_multiple_of(16));
                next = rows.end;
            }
            prop_assert_eq!(next, count);
        }
    }

    #[test]
    fn results_come_in_the_order_of_the_pieces() {
        for count in [0, 1, 2, 100] {
            let found = each((0..count).collect(), |piece: usize| piece * piece);
            assert_eq!(found, (0..count).map(|piece| piece * piece).collect::<Vec<_>>());
        }
    }

    #[test]
    #[should_panic(expected = "piece 63 fails")]
    fn a_panic_in_a_piece_goes_on_in_the_thread_that_asked() {
        each((0..64).collect(), |piece: usize| assert!(piece < 63, "piece {piece} fails"));
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
