//! `medsegx batch`: many cases with one loaded model, a folder of masks and a table out.

mod case;
mod failure;
mod folder;
mod heap;
mod line;
mod lock;
mod manifest;
mod merge;
mod plan;
mod qc;
mod run;
mod state;
mod summary;
mod sweep;

pub use failure::NotAll;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use medsegx::atomic::Keep;
use medsegx::segment::Model;
use medsegx::weights::{Hashing, Weights};
use medsegx::{Error, Result};

use super::interrupt::Interrupt;
use super::model_args::ModelArgs;
use super::progress::Progress;
use super::weights_source::WeightsSource;
use case::Case;
use plan::Shard;
use run::{Batch, Event};
use state::{Common, Stamp, Store, Trust};
use summary::{Row, Status};

/// Segment many images with one loaded model: masks and a table of all cases out. One bad case does not stop the others
#[derive(clap::Args)]
pub struct Args {
    /// A case a line: .csv with the columns image, boxes, rough, task, output and flags (image is a must; flags are
    /// those of `medsegx segment`), or .jsonl with these keys. Or a folder of images, or of a BIDS data set. Paths are
    /// those of the manifest's folder, outputs those of --out
    pub manifest: PathBuf,
    /// Folder of the results: masks, summary.csv, summary.jsonl
    #[arg(long, value_name = "DIR", required_unless_present = "merge")]
    pub out: Option<PathBuf>,
    /// Run no case: check that each has a result in one of these folders, copy what is not in --out (or the first of
    /// them), and write one table. May run at any time
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with_all = ["shard", "only", "force"])]
    pub merge: Vec<PathBuf>,
    /// Of a folder the images whose path below it fits: * within a folder, ** across folders [default: those that lie
    /// in it]
    #[arg(long, value_name = "GLOB")]
    pub pattern: Option<String>,
    /// Leave cases that are done: same image, prompt, weights, settings and version, by content, and their files
    /// untouched
    #[arg(long)]
    pub resume: bool,
    /// With --resume or --merge: hash all files again, not only those that changed in size or time
    #[arg(long, conflicts_with_all = ["force", "only"])]
    pub rehash: bool,
    /// Do all cases again and replace their files
    #[arg(long, conflicts_with = "resume")]
    pub force: bool,
    /// Only part i of n, from 0/n to (n-1)/n, of about the same cost each
    #[arg(long, value_name = "i/n")]
    pub shard: Option<Shard>,
    /// Only the cases that this file names in its column `case`, again; with a column `decision` those to `redo`
    #[arg(long, value_name = "FILE.csv", conflicts_with = "shard")]
    pub only: Option<PathBuf>,
    /// Write qc.html too: a page to look through the cases, accept them or note what to redo. It needs nothing else and
    /// says nothing of a patient. With --resume, cases that were done without it are done again
    #[arg(long)]
    pub qc: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Only say what went wrong
    #[arg(short, long)]
    pub quiet: bool,

    #[command(flatten)]
    pub model: ModelArgs,

    /// Flags of `medsegx segment` for all cases; a case's own take their place. {case}, {image} and {folder} stand for
    /// its output and its image without endings, and the image's folder
    #[arg(last = true, value_name = "FLAGS")]
    pub flags: Vec<String>,
}

/// Slices in a batch on a CPU; on a GPU masks of many are the device's.
const BATCH: u16 = 4;
/// Bytes of a mask that wait to be compressed, and what readers and writers take beside voxels.
const PIECES: u64 = 20 << 20;

/// How long stages get to end by themselves once the run is asked to stop.
const GRACE: Duration = Duration::from_millis(15);

/// Runs the subcommand.
pub fn run(mut args: Args) -> anyhow::Result<()> {
    let interrupt = Interrupt::listen_once()?;
    // Nothing is written before the first case.
    interrupt.at_once(Some(Box::new(|| end(|| ()))));
    heap::return_what_is_freed();
    let cases = case::cases(manifest::read(&args.manifest, args.pattern.as_deref())?, &args.flags)?;
    if !args.merge.is_empty() {
        return merge(args, cases, interrupt);
    }
    let chosen = chosen(&args, &cases)?;
    if args.model.threads.is_none() {
        let threads = super::threads::allowed();
        args.say(&format!("{} threads: {}", threads.count, threads.reason));
        args.model.threads = Some(u16::try_from(threads.count).unwrap_or(u16::MAX).min(1024));
    }
    let source = WeightsSource::choose(args.model.weights.as_deref(), args.quiet)?;
    let out = args.out.clone().unwrap_or(".".into());
    if args.dry_run {
        return dry_run(&args, &source, &Store::at(&out), &cases, &chosen);
    }
    let store = Store::create(&out)?;
    let _worker = sweep::begin(&store.out, &cases)?;
    let common = args.common_of_records(&source, &store, &cases)?;
    let rows = known_rows(&args, &store, &cases, &chosen, common.as_ref())?;
    Session { args, store, cases, chosen, rows, interrupt }.all(source, common)
}

/// Says what there is to do, and the memory that it takes.
fn dry_run(args: &Args, source: &WeightsSource, store: &Store, cases: &[Case], chosen: &[usize]) -> anyhow::Result<()> {
    let common = args.common_of_records(source, store, cases)?;
    let rows = known_rows(args, store, cases, chosen, common.as_ref())?;
    let is_open = |index: &&usize| args.only.is_some() || rows[**index].status == Status::Pending;
    let todo: Vec<usize> = chosen.iter().filter(is_open).copied().collect();
    let memory = args.memory(args.model.open(source)?.config(), cases, &todo)?;
    let done = chosen.len() - todo.len();
    let done = if done > 0 { format!(", {done} are done") } else { String::new() };
    super::console::print(&format!("{} of {} cases{done}; {memory}\n", todo.len(), cases.len()))
}

/// Ends the process as one that was stopped, after `clear`.
fn end(clear: impl FnOnce()) {
    super::console::say("medsegx: stopped; --resume goes on from here");
    clear();
    std::process::exit(i32::from(super::interrupt::EXIT_CODE));
}

/// Puts results together.
fn merge(mut args: Args, cases: Vec<Case>, interrupt: Interrupt) -> anyhow::Result<()> {
    let out = args.out.take().or_else(|| args.merge.first().cloned()).unwrap_or_default();
    let store = Store::create(&out)?;
    interrupt.at_once(leaving_nothing(&store, &cases));
    let rows = merge::rows(&cases, &args.merge, &store, args.rehash)?;
    merge::name_missing(&rows);
    let session = Session { args, store, chosen: (0..cases.len()).collect(), cases, rows, interrupt };
    session.summary(Keep::Now)?;
    session.page()?;
    session.verdict()
}

/// What a signal does while files are written that no stage writes.
fn leaving_nothing(store: &Store, cases: &[Case]) -> Option<Box<dyn FnOnce() + Send>> {
    let (out, cases) = (store.out.clone(), cases.to_vec());
    Some(Box::new(move || end(|| sweep::own(&out, &cases))))
}

/// The cases of this run, in their order.
fn chosen(args: &Args, cases: &[Case]) -> Result<Vec<usize>> {
    match (args.shard, &args.only) {
        (Some(shard), _) => Ok(shard.of(cases)),
        (None, Some(path)) => {
            let only: HashSet<usize> = plan::only(path, cases)?;
            Ok((0..cases.len()).filter(|index| only.contains(index)).collect())
        }
        (None, None) => Ok((0..cases.len()).collect()),
    }
}

/// The row of each case that is known before the run.
///
/// # Errors
/// Results are there, and nothing says what to do with them.
fn known_rows(
    args: &Args,
    store: &Store,
    cases: &[Case],
    chosen: &[usize],
    common: Option<&Common>,
) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = cases.iter().map(|case| Row::new(case, Status::Pending)).collect();
    if args.only.is_some() {
        let others = (0..cases.len()).filter(|index| chosen.binary_search(index).is_err());
        others
            .filter_map(|index| Some((index, store.read(&cases[index])?)))
            .for_each(|(i, record)| rows[i] = record.row);
        return Ok(rows);
    }
    for &index in chosen {
        let case = &cases[index];
        if args.resume && !args.rehash {
            if let Some(record) = common.and_then(|common| store.done(case, common, Trust::Seen)) {
                rows[index] = record.row;
            }
        } else if !args.resume && !args.force && (store.out.join(&case.output).exists() || store.read(case).is_some()) {
            let path = store.out.join(&case.output);
            return Err(Error::file(path, "result", "none yet, or --resume or --force", "one of an earlier run"));
        }
    }
    Ok(rows)
}

impl Args {
    fn say(&self, line: &str) {
        if !self.quiet {
            super::console::say(&format!("medsegx: {line}"));
        }
    }

    /// What the files of all cases follow from, where an earlier run left records of them: hashes of weights that did
    /// not change since are taken from these.
    fn common_of_records(&self, source: &WeightsSource, store: &Store, cases: &[Case]) -> Result<Option<Common>> {
        let read = || cases.iter().find_map(|case| store.read(case));
        let Some(before) = (self.resume && !self.rehash).then(read).flatten() else { return Ok(None) };
        let mut known: HashMap<String, Stamp> = HashMap::new();
        before.weights_into(&mut known);
        let of_file = |path: &PathBuf| state::stamp_or(path, case::text(path), known.get(&case::text(path)));
        let mut weights = match source {
            WeightsSource::File(path) => vec![of_file(path)?],
            #[cfg(feature = "demo-weights")]
            WeightsSource::Demo => vec![Stamp { sha256: source.sha256()?, ..of_demo_weights() }],
        };
        weights.extend(self.model.tuned.as_ref().map(of_file).transpose()?);
        Ok(Some(self.common(weights)))
    }

    fn common(&self, weights: Vec<Stamp>) -> Common {
        let mut model = vec![format!("{:?}", self.model.precision), format!("{:?}", self.model.device)];
        model.extend(self.model.level.map(|level| level.to_string()));
        Common { weights, model, sheets: self.qc }
    }

    /// Weights and the tuned file, of which the first is not hashed yet.
    fn stamps(&self, source: &WeightsSource) -> Result<Vec<Stamp>> {
        let base = match source {
            WeightsSource::File(path) => {
                Stamp { path: case::text(path), size: state::size_of(path)?, sha256: String::new() }
            }
            #[cfg(feature = "demo-weights")]
            WeightsSource::Demo => of_demo_weights(),
        };
        let tuned = self.model.tuned.as_ref().map(|path| state::stamp(path, case::text(path))).transpose()?;
        Ok([base].into_iter().chain(tuned).collect())
    }

    /// The most memory that the run takes, in words.
    fn memory(&self, config: &medsegx::model::Config, cases: &[Case], todo: &[usize]) -> anyhow::Result<String> {
        let todo: Vec<_> = todo.iter().map(|&index| &cases[index]).collect();
        let taken = plan::taken(&todo, u64::from(self.model.batch.unwrap_or(BATCH)), self.qc);
        let unknown = taken.iter().filter(|taken| taken.is_none()).count();
        let (model, voxels) = (super::plan::bound(config, &self.model)? as u64, plan::peak(&taken));
        let program = std::env::current_exe().and_then(std::fs::metadata).map_or(0, |found| found.len());
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let own = mib(program + PIECES);
        let mut text = format!(
            "memory at most {} MiB: {own} of the program, {} of the model and its session, {} of voxels and masks of \
             neighbouring cases",
            own + mib(model) + mib(voxels),
            mib(model),
            mib(voxels)
        );
        if unknown > 0 {
            text += &format!(" (without {unknown} whose header cannot be read)");
        }
        Ok(text)
    }

    /// Name of a file that this run writes at its end, without its ending.
    fn named(&self, name: &str) -> String {
        self.shard.map_or_else(|| name.into(), |shard| format!("{name}-shard-{}-of-{}", shard.index, shard.count))
    }
}

/// Not hashed yet.
#[cfg(feature = "demo-weights")]
fn of_demo_weights() -> Stamp {
    let size = state::Size { bytes: medsegx::weights::demo::FILE.len() as u64, time: 0 };
    Stamp { path: "demo".into(), size, sha256: String::new() }
}

/// `common`, whose first stamp is to get the hash of the file that was opened, wherever its name leads by the time that
/// it is computed. Its size and time were taken before, so that the hash is never taken for a later file's.
fn hashing(common: Common, weights: &Weights) -> Hashing<Common> {
    let digest = weights.digest();
    Hashing::later(move || {
        let mut common = common.clone();
        if let (Some(digest), Some(base)) = (&digest, common.weights.first_mut()) {
            base.sha256 = digest.compute(Path::new(&base.path))?;
        }
        Ok(common)
    })
}

fn counted(cases: usize) -> String {
    format!("{cases} case{}", if cases == 1 { "" } else { "s" })
}

fn is_stopped(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Cancelled))
}

/// A run and what it has come to.
struct Session {
    args: Args,
    store: Store,
    cases: Vec<Case>,
    chosen: Vec<usize>,
    /// One a case.
    rows: Vec<Row>,
    interrupt: Interrupt,
}

impl Session {
    fn all(&mut self, source: WeightsSource, common: Option<Common>) -> anyhow::Result<()> {
        let is_left = |index: &usize| self.rows[*index].status != Status::Done;
        let todo: Vec<usize> = self.chosen.iter().copied().filter(is_left).collect();
        let (count, left) = (counted(self.chosen.len()), todo.len());
        let ended = if todo.is_empty() {
            self.args.say(&format!("{count}, all done"));
            Ok(())
        } else {
            let common = match common {
                Some(common) => common,
                None => self.args.common(self.args.stamps(&source)?),
            };
            let weights = self.args.model.open(&source)?;
            let common = hashing(common, &weights);
            let memory = self.args.memory(weights.config(), &self.cases, &todo)?;
            self.args.say(&format!("{count}, {left} to do; {memory}"));
            let model = Arc::new(Model::load(&weights, &self.args.model.options())?);
            drop(weights);
            #[cfg(feature = "demo-weights")]
            if matches!(source, WeightsSource::Demo) {
                // What hashes them later would read their pages again.
                common.wait()?;
                heap::return_pages_of(medsegx::weights::demo::FILE);
            }
            self.run(todo, model, source, common)
        };
        if ended.as_ref().is_err_and(is_stopped) {
            return ended;
        }
        let written = self.summary(Keep::Now);
        ended.and(written)?;
        self.interrupt.at_once(leaving_nothing(&self.store, &self.cases));
        self.page()?;
        self.verdict()
    }

    fn run(
        &mut self,
        todo: Vec<usize>,
        model: Arc<Model>,
        source: WeightsSource,
        common: Hashing<Common>,
    ) -> anyhow::Result<()> {
        let Args { resume, rehash, only, model: model_args, quiet, .. } = &self.args;
        let trust = if *rehash { Trust::Nothing } else { Trust::Changed };
        let batch = Arc::new(Batch {
            cases: self.cases.clone(),
            store: Store { out: self.store.out.clone() },
            common,
            sheets: self.args.qc,
            model_args: model_args.clone(),
            source,
            model,
            interrupt: self.interrupt.clone(),
            resume: (*resume && only.is_none()).then_some(trust),
            gate: Mutex::new(()),
            places: Arc::default(),
            writing: Mutex::default(),
        });
        let progress = Progress::new(todo.len(), "cases", *quiet);
        let (sender, events) = channel();
        let sender = Arc::new(sender);
        // Weak: events end with the stages.
        let stopped = Arc::downgrade(&sender);
        // Ahead of the stages: from their first file on a signal must not end the process where it stands.
        self.interrupt.at_once(Some(Box::new(move || {
            let _ = stopped.upgrade().map(|sender| sender.send(Event::Stop));
        })));
        let threads = batch.start(todo, sender)?;
        // Not beside loading, which the first case waits for. Behind the stages, which cannot do without their threads.
        batch.common.begin();
        let mut done = 0;
        progress.set(0);
        let ended = loop {
            // Ahead of waiting: a signal that came before somebody listened sends nothing.
            if self.interrupt.requested() {
                if let Err(error) = self.stop(&batch, &threads, &events, &progress) {
                    progress.say(&format!("medsegx: {}", super::console::message(&error)));
                }
                break Err(anyhow::Error::from(Error::Cancelled).context("stopped; --resume goes on from here"));
            }
            match events.recv() {
                Ok(Event::Row(index, row)) => {
                    done += 1;
                    self.take(index, *row, &progress);
                    progress.set(done);
                }
                Ok(Event::Lost(error)) => break Err(error),
                Ok(Event::Stop) => {}
                // Stages that were stopped end as those that have nothing left.
                Err(_) if self.interrupt.requested() => {}
                Err(_) => break Ok(()),
            }
        };
        progress.finish();
        ended
    }

    fn take(&mut self, index: usize, row: Row, progress: &Progress) {
        if row.status == Status::Failed {
            progress.say(&format!("medsegx: {}: {} [{}]", row.case, row.message, row.code));
        }
        self.rows[index] = row;
    }

    /// Waits for a moment until all stages have ended, then leaves them: what they had begun leaves nothing.
    ///
    /// # Errors
    /// The tables cannot be written.
    fn stop(
        &mut self,
        batch: &Batch,
        threads: &[JoinHandle<()>],
        events: &Receiver<Event>,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let is_early = || begun.elapsed() < GRACE || (begun.elapsed() < 2 * GRACE && batch.gate.try_lock().is_err());
        while !threads.iter().all(JoinHandle::is_finished) && is_early() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Whoever writes at the moment may end; nobody begins after that.
        let gate = batch.gate.try_lock();
        while let Ok(event) = events.try_recv() {
            if let Event::Row(index, row) = event {
                self.take(index, *row, progress);
            }
        }
        // What was stopped is not kept waiting for the disk: records have all that the tables have.
        let written = self.summary(Keep::Soon);
        if gate.is_err() {
            batch.undo();
        }
        sweep::own(&self.store.out, &self.cases);
        // The process ends with this held.
        std::mem::forget(gate);
        written
    }

    fn summary(&self, keep: Keep) -> anyhow::Result<()> {
        let rows: Vec<Row> = match self.args.shard {
            Some(_) => self.chosen.iter().map(|&index| self.rows[index].clone()).collect(),
            None => self.rows.clone(),
        };
        Ok(summary::write(&self.store.out, &self.args.named("summary"), &rows, keep)?)
    }

    /// The page of the cases of this run, where it was asked for. A run that was stopped has none.
    fn page(&self) -> anyhow::Result<()> {
        let all: Vec<usize> = match self.args.shard {
            Some(_) => self.chosen.clone(),
            None => (0..self.cases.len()).collect(),
        };
        let cases: Vec<_> = all.iter().map(|&index| (&self.cases[index], &self.rows[index])).collect();
        if self.args.qc { Ok(qc::write(&self.store, &self.args.named("qc"), &cases)?) } else { Ok(()) }
    }

    /// What it came to, and whether that is all.
    fn verdict(&self) -> anyhow::Result<()> {
        let count = |status| self.chosen.iter().filter(|&&index| self.rows[index].status == status).count();
        let (done, failed, left) = (count(Status::Done), count(Status::Failed), count(Status::Pending));
        let table = self.store.out.join(self.args.named("summary") + ".csv");
        if failed + left > 0 {
            let text =
                format!("{failed} of {} failed, {left} not run; see {}", counted(self.chosen.len()), table.display());
            return Err(NotAll(text).into());
        }
        if !self.args.quiet {
            super::console::print(&format!("{} done; see {}\n", counted(done), table.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use medsegx::weights::{Access, sha256_of};

    use super::*;

    #[test]
    fn the_hash_is_of_the_weights_that_were_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/demo.safetensors"), &path).unwrap();
        let (expected, size) = (sha256_of(&path).unwrap(), state::size_of(&path).unwrap());
        let weights = Weights::open(&path, Access::default()).unwrap();
        let stamp = Stamp { path: case::text(&path), size, sha256: String::new() };
        let later = hashing(Common { weights: vec![stamp], ..Common::default() }, &weights);
        // Another file takes the name while the first is being loaded.
        std::fs::write(folder.path().join("other"), b"other weights").unwrap();
        std::fs::rename(folder.path().join("other"), &path).unwrap();
        let found = later.join().unwrap();
        assert_eq!((found.weights[0].sha256.clone(), found.weights[0].size), (expected, size));
    }
}
