//! Ranks that are threads of one process.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{RankError, Ranks};

/// `size` ranks for as many threads of this process; each thread takes one. Sums are added in the order of the ranks,
/// so that a run repeats to the bit. A call that all have come to succeeds on all, also where one fails right after it:
/// an error comes at the same call of every rank.
///
/// ```
/// use std::time::Duration;
/// use burn_cht::ranks::threads;
///
/// let sums: Vec<_> = std::thread::scope(|scope| {
///     let ranks = threads(3, Duration::from_secs(10)).into_iter();
///     let workers: Vec<_> = ranks
///         .map(|rank| {
///             scope.spawn(move || {
///                 let mut values = vec![1.0, rank.rank() as f32];
///                 rank.sum(&mut values).map(|()| values)
///             })
///         })
///         .collect();
///     workers.into_iter().map(|worker| worker.join().unwrap().unwrap()).collect()
/// });
/// assert_eq!(sums, vec![[3.0, 3.0]; 3]);
/// ```
///
/// # Panics
///
/// If `size` is 0.
#[must_use]
pub fn threads(size: usize, timeout: Duration) -> Vec<Arc<dyn Ranks>> {
    assert!(size > 0, "there is at least one rank");
    let state =
        State { brought: (0..size).map(|_| None).collect(), results: None, to_leave: 0, failure: None };
    let meeting = Arc::new(Meeting { state: Mutex::new(state), changed: Condvar::new(), timeout });
    (0..size)
        .map(|rank| Arc::new(Thread { rank, size, meeting: Arc::clone(&meeting) }) as Arc<dyn Ranks>)
        .collect()
}

/// What a rank brings to a collective call.
#[derive(Debug, Clone)]
enum Payload {
    Sum(Vec<f32>),
    Gather(Vec<u64>),
    Broadcast(Vec<u8>),
}

impl Payload {
    fn name(&self) -> &'static str {
        match self {
            Self::Sum(_) => "a sum",
            Self::Gather(_) => "a comparison",
            Self::Broadcast(_) => "a broadcast",
        }
    }

    /// What all ranks have to bring alike.
    fn kind(&self) -> String {
        match self {
            Self::Sum(values) => format!("a sum of {} values", values.len()),
            Self::Gather(numbers) => format!("a comparison of {} numbers", numbers.len()),
            Self::Broadcast(_) => "a broadcast".into(),
        }
    }
}

struct State {
    brought: Vec<Option<Payload>>,
    /// Of the call that all have come to, until all have seen it.
    results: Option<Arc<Vec<Payload>>>,
    to_leave: usize,
    failure: Option<RankError>,
}

/// Where threads meet.
struct Meeting {
    state: Mutex<State>,
    changed: Condvar,
    timeout: Duration,
}

impl Meeting {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all ranks have brought, in the order of the ranks.
    fn exchange(&self, rank: usize, payload: Payload) -> Result<Arc<Vec<Payload>>, RankError> {
        let (what, deadline) = (payload.name(), Instant::now() + self.timeout);
        let mut state = self.lock();
        // The call before is over once all have left it.
        while state.results.is_some() && state.failure.is_none() {
            state = self.wait(state, deadline, what)?;
        }
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        state.brought[rank] = Some(payload);
        if state.brought.iter().all(Option::is_some) {
            let all: Vec<_> = state.brought.iter_mut().filter_map(Option::take).collect();
            state.to_leave = all.len();
            state.results = Some(Arc::new(all));
            self.changed.notify_all();
        }
        loop {
            // Before the failure: these are of a call that all came to, and one that left it early may have failed since.
            if let Some(results) = state.results.clone() {
                state.to_leave -= 1;
                if state.to_leave == 0 {
                    state.results = None;
                    self.changed.notify_all();
                }
                return alike(results);
            }
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            state = self.wait(state, deadline, what)?;
        }
    }

    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        deadline: Instant,
        what: &str,
    ) -> Result<MutexGuard<'a, State>, RankError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let mut state = state;
            let missing = (0..state.brought.len()).filter(|&rank| state.brought[rank].is_none()).collect();
            let error =
                RankError::TimedOut { what: what.into(), missing, seconds: self.timeout.as_secs_f64() };
            let error = state.failure.get_or_insert(error).clone();
            self.changed.notify_all();
            return Err(error);
        }
        let waited = self.changed.wait_timeout(state, left);
        Ok(waited.map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state))
    }
}

/// `results`, if all ranks have come to the same call.
fn alike(results: Arc<Vec<Payload>>) -> Result<Arc<Vec<Payload>>, RankError> {
    let expected = results[0].kind();
    match results.iter().position(|payload| payload.kind() != expected) {
        None => Ok(results),
        Some(rank) => Err(RankError::Differs {
            what: "collective call".into(),
            rank,
            found: results[rank].kind(),
            expected,
        }),
    }
}

struct Thread {
    rank: usize,
    size: usize,
    meeting: Arc<Meeting>,
}

impl Ranks for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum(&self, values: &mut Vec<f32>) -> Result<(), RankError> {
        let all = self.meeting.exchange(self.rank, Payload::Sum(std::mem::take(values)))?;
        for payload in all.iter() {
            let Payload::Sum(part) = payload else { continue };
            if values.is_empty() {
                values.clone_from(part);
            } else {
                values.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
            }
        }
        Ok(())
    }

    fn gather(&self, own: Vec<u64>) -> Result<Vec<u64>, RankError> {
        let all = self.meeting.exchange(self.rank, Payload::Gather(own))?;
        let numbers = |payload: &Payload| match payload {
            Payload::Gather(numbers) => numbers.clone(),
            _ => Vec::new(),
        };
        Ok(all.iter().flat_map(numbers).collect())
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>, RankError> {
        let own = if self.rank == 0 { bytes } else { Vec::new() };
        let all = self.meeting.exchange(self.rank, Payload::Broadcast(own))?;
        match &all[0] {
            Payload::Broadcast(bytes) => Ok(bytes.clone()),
            _ => Ok(Vec::new()),
        }
    }

    fn fail(&self, reason: &str) {
        let failure = RankError::Failed { rank: self.rank, reason: reason.into() };
        self.meeting.lock().failure.get_or_insert(failure);
        self.meeting.changed.notify_all();
    }
}
