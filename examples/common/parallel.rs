//! Data parallel training: the ranks of a run, and what rank 0's learner tells the others, who have none.

use std::cell::Cell;
use std::env;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::prelude::{Backend, DeviceOps};
use burn::tensor::backend::DeviceId;
use burn::train::Interrupter;
use burn_cht::ranks::{DataParallel, Ranks, threads};
use burn_cht::{Error, Result};
use clap::Args;

use super::{exit, output};

/// On how many devices or processes a run trains; none of it changes the run but for rounding.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Data parallel")]
pub struct ParallelOptions {
    /// Devices of this process to train on, each with a part of every batch; on the CPU, threads. Processes of several
    /// machines are started with mpirun (feature mpi) instead
    #[arg(long, default_value_t = 1)]
    pub devices: usize,
    /// Seconds that ranks wait for one that hangs or is dead
    #[arg(long, default_value_t = 120.0, value_name = "SECONDS")]
    pub rank_timeout: f64,
    /// Ranks whose links or weights differ from rank 0's take them from it, instead of ending the run
    #[arg(long)]
    pub mend_ranks: bool,
}

/// The ranks that this process holds.
pub struct Connection {
    /// One for each thread; none where nothing is parallel.
    pub ranks: Vec<Arc<dyn Ranks>>,
    pub timeout: Duration,
    pub mends: bool,
    /// Whether all jobs have been done.
    pub done: Cell<bool>,
}

impl Drop for Connection {
    /// Has other ranks end with this one.
    fn drop(&mut self) {
        if !self.done.get() {
            self.ranks.iter().for_each(|rank| rank.fail("an error before training, which it prints itself"));
        }
    }
}

impl ParallelOptions {
    pub fn connect(&self) -> Result<Connection> {
        let allowed = "seconds, more than 0";
        let timeout =
            Duration::try_from_secs_f64(self.rank_timeout).ok().filter(|timeout| !timeout.is_zero());
        let timeout = timeout.ok_or_else(|| Error::argument("rank_timeout", self.rank_timeout, allowed))?;
        if self.devices == 0 {
            return Err(Error::argument("devices", 0, "at least 1"));
        }
        let ranks = match (launched(), self.devices) {
            (Some(variable), 2..) => {
                let allowed = format!("1, as {variable} says that processes are the ranks");
                return Err(Error::argument("devices", self.devices, allowed));
            }
            (Some(_), _) => processes(timeout)?,
            (None, 1) => Vec::new(),
            (None, devices) => threads(devices, timeout),
        };
        let connection = Connection { ranks, timeout, mends: self.mend_ranks, done: Cell::new(false) };
        if !connection.is_first() {
            output::silence();
        }
        Ok(connection)
    }
}

/// How a program ends that may be one of several: the launcher ends all with the first one, and the others still have to
/// say why they end.
pub fn exit(result: Result<()>) -> ExitCode {
    let failed = result.is_err();
    let code = exit::code(result);
    if failed && launched().is_some() {
        std::thread::sleep(Duration::from_secs(2));
    }
    code
}

/// The variable by which a launcher of MPI tells its processes that they are several.
fn launched() -> Option<&'static str> {
    let several =
        |name: &str| env::var(name).is_ok_and(|size| size.parse::<usize>().is_ok_and(|size| size > 1));
    ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"].into_iter().find(|name| several(name))
}

#[cfg(feature = "mpi")]
fn processes(timeout: Duration) -> Result<Vec<Arc<dyn Ranks>>> {
    Ok(vec![burn_cht::ranks::mpi(timeout)?])
}

#[cfg(not(feature = "mpi"))]
fn processes(_timeout: Duration) -> Result<Vec<Arc<dyn Ranks>>> {
    Err(Error::argument("features", "no `mpi`", "`--features mpi`, to be started by mpirun or srun"))
}

impl Connection {
    /// Whether this process prints.
    pub fn is_first(&self) -> bool {
        self.ranks.first().is_none_or(|rank| rank.rank() == 0)
    }
}

/// One rank of a run.
#[derive(Debug, Clone)]
pub struct Rank {
    pub parallel: DataParallel,
    pub timeout: Duration,
    /// Whether other ranks are threads of this process, which share the backend's generator.
    pub is_thread: bool,
}

impl Rank {
    /// The device of this rank: those of a machine are shared out among the ranks there.
    pub fn device<B: Backend>(&self) -> B::Device {
        let id = B::Device::default().to_id();
        let count = B::device_count(id.type_id).max(1);
        let local = ["OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID", "MPI_LOCALRANKID"];
        let local = local.into_iter().find_map(|name| env::var(name).ok()?.parse().ok());
        let own = local.filter(|_| !self.is_thread).unwrap_or_else(|| self.parallel.ranks().rank());
        match own % count {
            0 => B::Device::default(),
            index => B::Device::from_id(DeviceId::new(id.type_id, index as u16)),
        }
    }
}

/// What the other ranks are to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Rank 0 is busy with what it does alone.
    Wait,
    /// Train an epoch.
    Train,
    /// The run has ended.
    End,
}

impl Order {
    /// Rank 0's side.
    pub fn give(self, parallel: &DataParallel) -> Result<()> {
        parallel.ranks().broadcast(vec![self as u8])?;
        Ok(())
    }

    /// The others' side: the next order but to wait.
    pub fn receive(parallel: &DataParallel) -> Result<Self> {
        loop {
            match parallel.ranks().broadcast(Vec::new())?.as_slice() {
                [order] if *order == Self::Train as u8 => return Ok(Self::Train),
                [order] if *order == Self::Wait as u8 => {}
                _ => return Ok(Self::End),
            }
        }
    }
}

/// Has the other ranks wait for as long as this lives.
pub struct Waiting {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Waiting {
    pub fn new(rank: &Rank) -> Self {
        let (stop, stopped) = channel();
        let (parallel, pause) = (rank.parallel.clone(), rank.timeout / 4);
        let thread = std::thread::spawn(move || {
            // What fails here fails at the next collective call too.
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout)
                && Order::Wait.give(&parallel).is_ok()
            {}
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

/// What rank 0 does with the other ranks when an epoch of a loader begins.
#[derive(Clone)]
enum Announcement {
    /// They train too; an error stops the learner.
    Training(Interrupter),
    /// They wait.
    Validation,
}

/// The loader of rank 0's learner, which announces its epochs to the other ranks.
pub struct Announced<B: Backend, O> {
    loader: Arc<dyn DataLoader<B, O>>,
    rank: Rank,
    announcement: Announcement,
}

impl<B: Backend, O> Announced<B, O> {
    pub fn training(loader: Arc<dyn DataLoader<B, O>>, rank: &Rank, interrupter: &Interrupter) -> Self {
        Self { loader, rank: rank.clone(), announcement: Announcement::Training(interrupter.clone()) }
    }

    pub fn validation(loader: Arc<dyn DataLoader<B, O>>, rank: &Rank) -> Self {
        Self { loader, rank: rank.clone(), announcement: Announcement::Validation }
    }

    fn of(&self, loader: Arc<dyn DataLoader<B, O>>) -> Arc<Self> {
        Arc::new(Self { loader, rank: self.rank.clone(), announcement: self.announcement.clone() })
    }
}

impl<B: Backend, O: 'static> DataLoader<B, O> for Announced<B, O> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<O> + 'a> {
        let waiting = match &self.announcement {
            Announcement::Validation => Some(Waiting::new(&self.rank)),
            Announcement::Training(interrupter) => {
                if let Err(error) = Order::Train.give(&self.rank.parallel) {
                    interrupter.stop(Some(&error.report()));
                }
                None
            }
        };
        Box::new(Epoch { batches: self.loader.iter(), _waiting: waiting })
    }

    fn num_items(&self) -> usize {
        self.loader.num_items()
    }

    fn to_device(&self, device: &B::Device) -> Arc<dyn DataLoader<B, O>> {
        self.of(self.loader.to_device(device))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<B, O>> {
        self.of(self.loader.slice(start, end))
    }
}

struct Epoch<'a, O> {
    batches: Box<dyn DataLoaderIterator<O> + 'a>,
    _waiting: Option<Waiting>,
}

impl<O> Iterator for Epoch<'_, O> {
    type Item = O;

    fn next(&mut self) -> Option<O> {
        self.batches.next()
    }
}

impl<O> DataLoaderIterator<O> for Epoch<'_, O> {
    fn progress(&self) -> Progress {
        self.batches.progress()
    }
}
