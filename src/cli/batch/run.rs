//! The three stages of a batch, each on a thread of its own: one case runs while the one before is written and then
//! the next one is read. Never more than two are in memory.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use medsegx::mask::MaskChoice;
use medsegx::segment::{Capacity, Model, Segmenter};
use medsegx::weights::Hashing;
use medsegx::{Error, Result};

use super::case::Case;
use super::failure;
use super::lock::{Lock, Taken};
use super::state::{Common, Stamp, Store, Trust, inputs, size_of};
use super::summary::{Hashes, Row, Status};
use crate::cli::interrupt::Interrupt;
use crate::cli::model_args::ModelArgs;
use crate::cli::progress::Progress;
use crate::cli::segment::{self, Job, Ran, infer};
use crate::cli::weights_source::WeightsSource;
use medsegx::volume::Incoming;

/// Cases in memory: one that runs, and the one before it or behind it.
const TOGETHER: usize = 2;
/// How often a case that another worker has is asked for again.
const AGAIN: Duration = Duration::from_millis(200);

/// What all stages share.
pub struct Batch {
    pub cases: Vec<Case>,
    pub store: Store,
    /// Computed beside the first cases.
    pub common: Hashing<Common>,
    /// Whether a page wants a picture of each case.
    pub sheets: bool,
    pub model_args: ModelArgs,
    pub source: WeightsSource,
    pub model: Arc<Model>,
    pub interrupt: Interrupt,
    /// Whether cases that are done by now are left as they are, and how that is known; none where all are done again.
    pub resume: Option<Trust>,
    /// Held while files of a case take their names: who holds it at the end of a stopped run knows that nothing
    /// follows.
    pub gate: Mutex<()>,
    pub places: Arc<Places>,
    /// Files of the case that takes its names at the moment, as far as they were not there before.
    pub writing: Mutex<Vec<PathBuf>>,
}

/// How many cases are in memory.
#[derive(Default)]
pub struct Places {
    taken: Mutex<usize>,
    left: Condvar,
}

/// One of them, for as long as this lives.
struct Place(Arc<Places>);

impl Places {
    /// Waits for one.
    fn take(self: &Arc<Places>) -> Place {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = self.left.wait_while(taken, |taken| *taken >= TOGETHER).unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Place(Arc::clone(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.left.notify_one();
    }
}

/// What the stages tell.
pub enum Event {
    /// The row of case `.0`; another worker's where it was done meanwhile.
    Row(usize, Box<Row>),
    /// No later case can run.
    Lost(anyhow::Error),
    /// The user asked to stop.
    Stop,
}

/// A case that can run: its voxels are on their way.
struct Ready {
    index: usize,
    start: Instant,
    _place: Place,
    _lock: Option<Lock>,
    args: segment::Args,
    job: Job,
    inputs: Vec<Stamp>,
}

impl Batch {
    /// Begins to run the cases `todo`, in this order as far as other workers leave them. The events end when all are
    /// told of, or soon after an interrupt.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(self: &Arc<Batch>, todo: Vec<usize>, events: Arc<Sender<Event>>) -> Result<Vec<JoinHandle<()>>> {
        let (to_run, ready) = sync_channel(0);
        let (to_write, ran) = sync_channel(0);
        let [reader, runner, writer] = [(); 3].map(|()| (Arc::clone(self), events.clone()));
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let refused = |e| Error::io(&self.store.out, "start a thread for its cases", e);
            std::thread::Builder::new().name(name.into()).spawn(work).map_err(refused)
        };
        Ok(vec![
            spawn("medsegx-cases", Box::new(move || reader.0.read(todo, &to_run, &reader.1)))?,
            spawn("medsegx-run", Box::new(move || runner.0.run(&ready, &to_write, &runner.1)))?,
            spawn("medsegx-keep", Box::new(move || writer.0.write(&ran, &writer.1)))?,
        ])
    }

    /// Waits for the files of a case to be whole; whoever has this keeps others from beginning.
    fn gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, todo: Vec<usize>, to_run: &SyncSender<(Ready, Incoming)>, events: &Sender<Event>) {
        let (mut todo, mut others) = (VecDeque::from(todo), VecDeque::new());
        while !self.interrupt.requested() {
            let Some(index) = todo.pop_front() else {
                if others.is_empty() {
                    return;
                }
                std::thread::sleep(AGAIN);
                todo.append(&mut others);
                continue;
            };
            let place = self.places.take();
            if self.interrupt.requested() {
                return;
            }
            let start = Instant::now();
            let case = &self.cases[index];
            let lock = match self.lock(case) {
                Ok(Taken::Busy) => {
                    others.push_back(index);
                    continue;
                }
                Ok(Taken::Held(lock)) => Some(lock),
                Ok(Taken::Without) => None,
                Err(error) => {
                    self.fail(index, Vec::new(), &error.into(), start, events);
                    continue;
                }
            };
            if let Some(row) = self.done_meanwhile(case) {
                let _ = events.send(Event::Row(index, Box::new(row)));
                continue;
            }
            let mut stamps = Vec::new();
            match guarded(|| self.prepare(case, &mut stamps)) {
                Ok((args, job, voxels)) => {
                    let ready = Ready { index, start, _place: place, _lock: lock, args, job, inputs: stamps };
                    if to_run.send((ready, voxels)).is_err() {
                        return;
                    }
                }
                Err(error) => self.fail(index, stamps, &error, start, events),
            }
        }
    }

    fn lock(&self, case: &Case) -> Result<Taken> {
        let path = self.store.lock_file(case);
        Lock::take(&path).map_err(|e| Error::io(path, "lock", e))
    }

    /// The row of a case that is done, looked at under its lock.
    fn done_meanwhile(&self, case: &Case) -> Option<Row> {
        let trust = self.resume?;
        self.store.read(case)?;
        self.store.done(case, self.common.wait().ok()?, trust).map(|record| record.row)
    }

    fn prepare(&self, case: &Case, stamps: &mut Vec<Stamp>) -> anyhow::Result<(segment::Args, Job, Incoming)> {
        let mut args = case.arguments(&self.store.out, &self.model_args)?;
        args.after.keep_image = self.sheets;
        // Before the hashes, which take a while: whatever changes later is found out at the end.
        *stamps = self.store.stamps(case, self.resume.unwrap_or(Trust::Changed))?;
        for output in case.outputs() {
            if let Some(folder) = self.store.out.join(output).parent() {
                std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", e))?;
            }
        }
        args.check_outputs()?;
        let (job, voxels) = Job::prepare(&args, self.source.clone(), self.model.config())?;
        Ok((args, job, voxels))
    }

    fn run(&self, ready: &Receiver<(Ready, Incoming)>, to_write: &SyncSender<(Ready, Ran)>, events: &Sender<Event>) {
        let mut session = None;
        while let Ok((mut ready, voxels)) = ready.recv() {
            if self.interrupt.requested() {
                return;
            }
            let ran = guarded(|| {
                let segmenter = self.session(&mut session, &ready)?;
                infer(&ready.args, &mut ready.job, voxels, segmenter, self.interrupt.clone(), Progress::hidden())
            });
            match ran {
                Ok(ran) => {
                    if to_write.send((ready, ran)).is_err() {
                        return;
                    }
                }
                Err(_) if self.interrupt.requested() => return,
                Err(error) => {
                    let last = failure::is_final(&error);
                    self.fail(ready.index, ready.inputs, &error, ready.start, events);
                    if last {
                        let _ = events.send(Event::Lost(error));
                        return;
                    }
                    // What a failure leaves in a session is not known.
                    session = None;
                }
            }
        }
    }

    /// The session of the case before, where it suits this one.
    fn session<'a>(
        &self,
        session: &'a mut Option<(Segmenter, MaskChoice, usize)>,
        Ready { args, job, .. }: &Ready,
    ) -> anyhow::Result<&'a mut Segmenter> {
        /// Prompts of one case that a GPU may take at once.
        const TOGETHER: usize = 64;
        let points = job.points();
        let suits = |(_, choice, room): &(Segmenter, MaskChoice, usize)| *choice == args.mask && *room >= points;
        let made = match session.take().filter(suits) {
            Some(made) => made,
            None => {
                let capacity = Capacity { points, ..Capacity::default() };
                let capacity = self.model_args.capacity(&self.model, capacity, args.mask, TOGETHER)?;
                (Segmenter::new(&self.model, capacity, args.mask)?, args.mask, points)
            }
        };
        Ok(&mut session.insert(made).0)
    }

    fn write(&self, ran: &Receiver<(Ready, Ran)>, events: &Sender<Event>) {
        while let Ok((ready, ran)) = ran.recv() {
            let common = match self.common.wait() {
                Ok(common) => common,
                // No case could say what it follows from.
                Err(error) => return drop(events.send(Event::Lost(error.into()))),
            };
            let gate = self.gate();
            if self.interrupt.requested() {
                return;
            }
            match guarded(|| self.keep(&ready, ran, common)) {
                Ok(row) => {
                    // What is done stays, whoever is found in the middle of its files later.
                    self.writing().clear();
                    // While the gate is held, so that whoever has it next has heard of all that is done.
                    let _ = events.send(Event::Row(ready.index, Box::new(row)));
                    drop(gate);
                }
                Err(error) => {
                    drop(gate);
                    self.fail(ready.index, ready.inputs, &error, ready.start, events)
                }
            }
        }
    }

    /// Writes the files of a case and, when they are there, its record.
    fn keep(&self, ready: &Ready, ran: Ran, common: &Common) -> anyhow::Result<Row> {
        let Ready { args, job, inputs: stamps, .. } = ready;
        let case = &self.cases[ready.index];
        for (path, stamp) in inputs(case).zip(stamps) {
            if size_of(path)? != stamp.size {
                return Err(Error::file(path, "file", "the one that was opened", "another size or time").into());
            }
        }
        *self.writing() = self.names(case).filter(|path| !path.exists()).collect();
        let mut hashes = hashes(stamps, &common.weights);
        let known = segment::Hashes {
            input: hashes.image.clone(),
            weights: hashes.weights.clone(),
            tuned: common.weights.get(1).map(|stamp| stamp.sha256.clone()),
        };
        let sheet = if self.sheets { ran.contact(job)? } else { None };
        let written = ran.write(args, job, &self.model, Some(Hashing::done(known)))?;
        let mut row = Row::new(case, Status::Done);
        if let Some(report) = &written.report {
            row.take(report);
        }
        row.seconds = Some((ready.start.elapsed().as_secs_f64() * 1e3).round() / 1e3);
        let mut record = self.store.record(case, stamps.clone(), common, row)?;
        hashes.output = record.output_hash();
        record.row.sha256 = hashes;
        record.sheet = sheet.map(|sheet| self.store.keep_sheet(case, sheet)).transpose()?;
        self.store.write(case, &record)?;
        Ok(record.row)
    }

    fn writing(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every file that a case leaves.
    fn names(&self, case: &Case) -> impl Iterator<Item = PathBuf> {
        let outputs = case.outputs().map(|path| self.store.out.join(path));
        outputs.chain([self.store.sheet_file(case), self.store.record_file(case)])
    }

    /// Removes what a case has left that was in the middle of its files when the run was stopped. The process ends
    /// next.
    pub fn undo(&self) {
        self.writing().iter().for_each(|path| drop(std::fs::remove_file(path)));
    }

    /// Notes that a case failed, and why.
    fn fail(&self, index: usize, stamps: Vec<Stamp>, error: &anyhow::Error, start: Instant, events: &Sender<Event>) {
        let _gate = self.gate();
        if self.interrupt.requested() {
            return;
        }
        let case = &self.cases[index];
        let mut row = Row::new(case, Status::Failed);
        row.code = failure::code(error).into();
        row.message = crate::cli::console::message(error);
        row.seconds = Some((start.elapsed().as_secs_f64() * 1e3).round() / 1e3);
        let common = self.common.wait();
        row.sha256 = hashes(&stamps, common.as_ref().map_or(&[], |common| &common.weights));
        // Where it cannot be written the row is still in the summary, and a later run tries the case again either way.
        let written = common
            .and_then(|common| self.store.record(case, stamps, common, row.clone()))
            .and_then(|record| self.store.write(case, &record));
        let _ = (written, events.send(Event::Row(index, Box::new(row))));
    }
}

/// Of the files of a case, its output's still to come.
fn hashes(stamps: &[Stamp], weights: &[Stamp]) -> Hashes {
    let joined = |stamps: &[Stamp]| stamps.iter().map(|stamp| stamp.sha256.as_str()).collect::<Vec<_>>().join(" ");
    let (image, prompts) = stamps.split_at(stamps.len().min(1));
    let (base, tuned) = weights.split_at(weights.len().min(1));
    Hashes {
        image: joined(image),
        prompts: joined(prompts),
        weights: joined(base),
        tuned: joined(tuned),
        output: String::new(),
    }
}

/// A panic is a failure of one case like any other; what was said of it is on stderr.
fn guarded<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::internal("a case of a batch", "it panicked").into()))
}
