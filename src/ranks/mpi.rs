//! Ranks that are processes, on one machine or many, through MPI.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ::mpi::Threading;
use ::mpi::collective::SystemOperation;
use ::mpi::point_to_point::MatchedReceiveVec;
use ::mpi::request::{Request, Scope, StaticScope, scope};
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Buffer, Communicator, CommunicatorCollectives, Destination, Equivalence, Root, Source};

use super::{RankError, Ranks};

/// Elements of one MPI call at most; its counts have 31 bits.
const LARGEST: usize = 1 << 26;
/// Tags of the messages beside the collective calls.
const FAILED: i32 = 1;
const ASKED: i32 = 2;
const HERE: i32 = 3;
/// How long a call is polled without a pause.
const BUSY: Duration = Duration::from_millis(5);
/// Time to receive answers.
const GRACE: Duration = Duration::from_secs(1);

/// The ranks that `mpirun` or `srun` has started this process among; a process that was started by itself is rank 0 of 1.
///
/// A rank that does not come to a call within `timeout` is an error on all others, which ask each other who is there and
/// name it. All calls are made on one thread of their own, as MPI libraries without thread support demand. MPI ends when the
/// value is dropped, unless there was an error: then the process has to end, and `mpirun` ends the
/// others: one that is to print its error needs a moment before the first of them ends.
///
/// Sums are added in an order that the MPI library chooses: a run repeats to the bit with the same library and number of
/// ranks, not with another.
///
/// # Errors
///
/// [`RankError::Unavailable`] if MPI cannot be started, or was before.
pub fn mpi(timeout: Duration) -> Result<Arc<dyn Ranks>, RankError> {
    let (calls, received) = channel();
    let (told, started) = channel();
    let thread = thread::Builder::new().name("mpi".into()).spawn(move || serve(&received, &told, timeout));
    let unavailable = |reason: String| RankError::Unavailable { reason };
    let thread = thread.map_err(|error| unavailable(error.to_string()))?;
    let (rank, size) = started.recv().map_err(|_| unavailable("MPI has started before".into()))?;
    let ended = AtomicBool::new(false);
    Ok(Arc::new(Mpi { rank, size, calls: Mutex::new(calls), ended, thread: Some(thread) }))
}

enum Call {
    Sum(Vec<f32>, Sender<Result<Vec<f32>, RankError>>),
    Gather(Vec<u64>, Sender<Result<Vec<u64>, RankError>>),
    Broadcast(Vec<u8>, Sender<Result<Vec<u8>, RankError>>),
    Fail(String, Sender<()>),
    End,
}

struct Mpi {
    rank: usize,
    size: usize,
    calls: Mutex<Sender<Call>>,
    /// After an error the thread answers no more.
    ended: AtomicBool,
    thread: Option<JoinHandle<()>>,
}

impl Mpi {
    fn send(&self, call: Call) {
        // If the thread has ended, so has the channel for its answer.
        let _ = self.calls.lock().unwrap_or_else(PoisonError::into_inner).send(call);
    }

    fn call<T>(&self, call: impl FnOnce(Sender<Result<T, RankError>>) -> Call) -> Result<T, RankError> {
        let gone = || RankError::Unavailable { reason: "MPI has ended after an error".into() };
        if self.ended.load(Ordering::Relaxed) {
            return Err(gone());
        }
        let (reply, answer) = channel();
        self.send(call(reply));
        let answer = answer.recv().unwrap_or_else(|_| Err(gone()));
        if answer.is_err() {
            self.ended.store(true, Ordering::Relaxed);
        }
        answer
    }
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum(&self, values: &mut Vec<f32>) -> Result<(), RankError> {
        let own = std::mem::take(values);
        *values = self.call(|reply| Call::Sum(own, reply))?;
        Ok(())
    }

    fn gather(&self, own: Vec<u64>) -> Result<Vec<u64>, RankError> {
        self.call(|reply| Call::Gather(own, reply))
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>, RankError> {
        self.call(|reply| Call::Broadcast(bytes, reply))
    }

    fn fail(&self, reason: &str) {
        if !self.ended.swap(true, Ordering::Relaxed) {
            let (reply, done) = channel();
            self.send(Call::Fail(reason.into(), reply));
            let _ = done.recv();
        }
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        if self.ended.load(Ordering::Relaxed) {
            return;
        }
        self.send(Call::End);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

/// The thread that speaks MPI.
fn serve(calls: &Receiver<Call>, told: &Sender<(usize, usize)>, timeout: Duration) {
    let Some((universe, _)) = ::mpi::initialize_with_threading(Threading::Funneled) else { return };
    let world = universe.world();
    let (rank, size) = (world.rank() as usize, world.size() as usize);
    if told.send((rank, size)).is_err() {
        return;
    }
    let line = Line { world, rank, size, timeout };
    let mut spare = Vec::new();
    let mut call = 0;
    while let Ok(next) = calls.recv() {
        call += 1;
        match next {
            Call::Sum(mut values, reply) => {
                spare.resize(values.len(), 0.0);
                for (own, sum) in values.chunks(LARGEST).zip(spare.chunks_mut(LARGEST)) {
                    scope(|scope| {
                        let operation = SystemOperation::sum();
                        let request = line.world.immediate_all_reduce_into(scope, own, sum, operation);
                        line.wait(request, "a sum", call, &reply);
                    });
                }
                std::mem::swap(&mut values, &mut spare);
                let _ = reply.send(Ok(values));
            }
            Call::Gather(own, reply) => {
                let mut all = vec![0; own.len() * size];
                scope(|scope| {
                    let request = line.world.immediate_all_gather_into(scope, &own[..], &mut all[..]);
                    line.wait(request, "a comparison", call, &reply);
                });
                let _ = reply.send(Ok(all));
            }
            Call::Broadcast(mut bytes, reply) => {
                let root = line.world.process_at_rank(0);
                let mut length = bytes.len() as u64;
                scope(|scope| {
                    let request = root.immediate_broadcast_into(scope, &mut length);
                    line.wait(request, "a broadcast", call, &reply);
                });
                bytes.resize(length as usize, 0);
                for chunk in bytes.chunks_mut(LARGEST) {
                    scope(|scope| {
                        let request = root.immediate_broadcast_into(scope, chunk);
                        line.wait(request, "a broadcast", call, &reply);
                    });
                }
                let _ = reply.send(Ok(bytes));
            }
            Call::Fail(reason, reply) => {
                line.tell_failure(&reason);
                let _ = reply.send(());
                park();
            }
            Call::End => break,
        }
    }
}

/// MPI may still write into the buffers of a call that was given up, and cannot be ended in order: the thread stays until
/// the process ends.
fn park() -> ! {
    loop {
        thread::park();
    }
}

struct Line {
    world: SimpleCommunicator,
    rank: usize,
    size: usize,
    timeout: Duration,
}

impl Line {
    /// Waits for the end of a collective call; does not return if there is an error, which goes to `reply`.
    fn wait<'a, D: ?Sized, S: Scope<'a>, T>(
        &self,
        request: Request<'a, D, S>,
        what: &str,
        call: u64,
        reply: &Sender<Result<T, RankError>>,
    ) {
        let started = Instant::now();
        let mut request = request;
        // Who else waits, once the time is up.
        let mut present: Option<Vec<bool>> = None;
        loop {
            for _ in 0..32 {
                match request.test() {
                    Ok(_) => return,
                    Err(pending) => request = pending,
                }
            }
            let waited = started.elapsed();
            let error = self.failure().or_else(|| {
                self.answer(call, present.as_deref_mut());
                if waited > self.timeout && present.is_none() {
                    let mut own = vec![false; self.size];
                    own[self.rank] = true;
                    present = Some(own);
                    self.tell(ASKED, vec![call]);
                }
                let present = present.as_ref().filter(|_| waited > self.timeout + GRACE)?;
                let missing = (0..self.size).filter(|&rank| !present[rank]).collect();
                let seconds = self.timeout.as_secs_f64();
                let error = RankError::TimedOut { what: what.into(), missing, seconds };
                self.tell_failure(&error.to_string());
                Some(error)
            });
            if let Some(error) = error {
                let _ = reply.send(Err(error));
                // A request that is dropped before its end aborts the process.
                std::mem::forget(request);
                park();
            }
            if waited > BUSY {
                thread::sleep(Duration::from_micros(100));
            } else {
                thread::yield_now();
            }
        }
    }

    /// The end of another rank, if one has told it.
    fn failure(&self) -> Option<RankError> {
        let message = self.world.any_process().immediate_matched_probe_with_tag(FAILED)?;
        let (reason, status) = message.matched_receive_vec::<u8>();
        let reason = String::from_utf8_lossy(&reason).into_owned();
        Some(RankError::Failed { rank: status.source_rank() as usize, reason })
    }

    /// Answers those who ask whether this rank is at `call`, and notes who is.
    fn answer(&self, call: u64, present: Option<&mut [bool]>) {
        let mut there = Vec::new();
        while let Some(message) = self.world.any_process().immediate_matched_probe_with_tag(ASKED) {
            let (of, status) = message.matched_receive_vec::<u64>();
            if of == [call] {
                there.push(status.source_rank());
                self.tell_one(status.source_rank(), HERE, vec![call]);
            }
        }
        while let Some(message) = self.world.any_process().immediate_matched_probe_with_tag(HERE) {
            let (of, status) = message.matched_receive_vec::<u64>();
            if of == [call] {
                there.push(status.source_rank());
            }
        }
        if let Some(present) = present {
            there.into_iter().for_each(|rank| present[rank as usize] = true);
        }
    }

    fn tell_failure(&self, reason: &str) {
        self.tell(FAILED, reason.as_bytes().to_vec());
    }

    fn tell<T>(&self, tag: i32, message: Vec<T>)
    where
        T: Equivalence + Clone + 'static,
        [T]: Buffer,
    {
        for rank in (0..self.size).filter(|&rank| rank != self.rank) {
            self.tell_one(rank as i32, tag, message.clone());
        }
    }

    /// Sends without waiting for the receiver, who may be gone: few bytes, left to MPI for good.
    fn tell_one<T>(&self, rank: i32, tag: i32, message: Vec<T>)
    where
        T: Equivalence + 'static,
        [T]: Buffer,
    {
        let message: &'static [T] = message.leak();
        let sending = self.world.process_at_rank(rank).immediate_send_with_tag(StaticScope, message, tag);
        if let Err(pending) = sending.test() {
            std::mem::forget(pending);
        }
    }
}
