//! Freed memory kept for the next step.

use std::hint::black_box;

/// The largest block whose release still teaches glibc something.
const BLOCK: usize = 31 << 20;

/// Has the system's allocator keep what a training step frees for the next one. A program that trains compressed layers on
/// glibc should call it once at its start; a library should leave that to the program.
///
/// glibc hands free memory at the end of its heap back to the system beyond twice the size of the largest block that
/// it has ever mapped and released. A dense network releases blocks of many megabytes sooner or later; a compressed
/// one has none, so its few megabytes of activations would be handed back and faulted in again, page by page, at every
/// step: a third to a half of the step's time at batch 128. This maps and releases one large block, untouched, which
/// takes microseconds, no memory, and has no effect where the allocator is another one.
pub fn keep_freed_memory() {
    drop(black_box(Vec::<u8>::with_capacity(BLOCK)));
}
