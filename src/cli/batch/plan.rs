//! Which cases this process runs, and how much memory they take.

use std::collections::HashSet;
use std::path::Path;
use std::str::FromStr;

use medsegx::Error;
use medsegx::volume::{OpenOptions, Opening};

use super::case::Case;

/// Part `index` of `count`, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    pub index: usize,
    pub count: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Shard, String> {
        let shape = || "needs i/n, as 0/4 to 3/4 for four shards".to_string();
        let (index, count) = text.split_once('/').ok_or_else(shape)?;
        let (index, count): (usize, usize) = (index.parse().map_err(|_| shape())?, count.parse().map_err(|_| shape())?);
        if index < count {
            return Ok(Shard { index, count });
        }
        Err(match count {
            0 => shape(),
            _ => format!("shard {index} of {count}: needs 0 to {}", count - 1),
        })
    }
}

impl Shard {
    /// The cases of this shard, in their order: the costliest first, each to the shard that has the least so far. All
    /// shards of one list come to the same division.
    pub fn of(self, cases: &[Case]) -> Vec<usize> {
        let costs: Vec<u64> = cases.iter().map(cost).collect();
        let mut order: Vec<usize> = (0..cases.len()).collect();
        order.sort_by(|&a, &b| (costs[b], &cases[a].output).cmp(&(costs[a], &cases[b].output)));
        let mut load = vec![0_u64; self.count];
        let mut own = Vec::new();
        for case in order {
            let (_, least) = load.iter().zip(0..).min().unwrap_or((&0, 0));
            load[least] = load[least].saturating_add(costs[case]);
            if least == self.index {
                own.push(case);
            }
        }
        own.sort_unstable();
        own
    }
}

/// Slices that a whole volume is taken for where its header says nothing.
const UNKNOWN_SLICES: u64 = 64;
/// Bytes of a file whose reading takes as long as one slice in the network, about.
const BYTES_OF_A_SLICE: u64 = 4 << 20;

/// What a case takes, in slices through the network: by its prompt, its files' sizes, and for a rough mask the image's
/// header.
fn cost(case: &Case) -> u64 {
    let slices = slices(case).unwrap_or(UNKNOWN_SLICES);
    let bytes = std::fs::metadata(&case.image).map_or(0, |found| found.len());
    slices.saturating_mul(16) + bytes / (BYTES_OF_A_SLICE / 16)
}

fn slices(case: &Case) -> Option<u64> {
    let value = |flag: &str| {
        let at = case.settings.iter().position(|word| word == flag);
        let next = at.and_then(|at| case.settings.get(at + 1)).map(String::as_str);
        next.or_else(|| case.settings.iter().find_map(|word| word.strip_prefix(flag)?.strip_prefix('=')))
    };
    if let Some(text) = value("--box3d") {
        return depth(text.split(',').filter_map(|number| number.trim().parse().ok()));
    }
    let read = |flag: &str| case.reads.iter().find(|(name, _)| name == flag).map(|(_, path)| path);
    if let Some(path) = read("--boxes") {
        return of_boxes(path);
    }
    if read("--rough").is_none() {
        return Some(1);
    }
    let header = Opening::open(&case.image, &OpenOptions::default()).ok()?;
    Some(header.info().dims()[2] as u64)
}

/// Slices of a box `x0, y0, z0, x1, y1, z1`.
fn depth(numbers: impl Iterator<Item = f64>) -> Option<u64> {
    let [_, _, from, _, _, to] = numbers.collect::<Vec<_>>().try_into().ok()?;
    Some((to - from).abs() as u64 + 1)
}

fn of_boxes(path: &Path) -> Option<u64> {
    let bytes = std::fs::read(path).ok().filter(|bytes| bytes.len() as u64 <= medsegx::prompt::LARGEST_FILE)?;
    let file: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    let of_target = |target: &serde_json::Value| {
        let whole = target["box3d"].as_array().and_then(|numbers| depth(numbers.iter().filter_map(|n| n.as_f64())));
        whole.unwrap_or_else(|| target["slices"].as_object().map_or(1, |slices| slices.len() as u64))
    };
    Some(file["targets"].as_array()?.iter().map(of_target).sum())
}

/// The cases that a CSV file names in its column `case`; with a column `decision` those whose decision is `redo`.
///
/// # Errors
/// A file without that column; a case that is not in the list.
pub fn only(path: &Path, cases: &[Case]) -> medsegx::Result<HashSet<usize>> {
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let wrong = |error: csv::Error| Error::file(path, "list of cases", "CSV, UTF-8, as many cells a line", error);
    let columns = reader.headers().map_err(wrong)?.clone();
    let column = |name: &str| columns.iter().position(|column| column.trim_start_matches('\u{feff}') == name);
    let missing = || Error::file(path, "list of cases", "a column 'case'", "none");
    let (case, decision) = (column("case").ok_or_else(missing)?, column("decision"));
    let mut chosen = HashSet::new();
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let wanted = decision.is_none_or(|decision| record.get(decision) == Some("redo"));
        let name = record.get(case).unwrap_or_default();
        // A guard against formulas stands before the name.
        let is = |case: &Case| case.name == name || name.strip_prefix('\'') == Some(&case.name);
        match cases.iter().position(is) {
            Some(index) if wanted => drop(chosen.insert(index)),
            Some(_) => {}
            None => {
                let found = format!("'{}'", name.escape_debug());
                return Err(Error::file(path, "case", "one of the manifest", found));
            }
        }
    }
    Ok(chosen)
}

/// What a case takes beside the model and its session, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    voxels: u64,
    /// Its labels, and the masks of a batch of slices at their own size.
    masks: u64,
    /// Whether the voxels are wanted until its files are written.
    keeps: bool,
}

/// What each of `cases` takes with `batch` slices in a batch, `sheets` for the page of the batch among its files;
/// `None` for one whose header does not say.
pub fn taken(cases: &[&Case], batch: u64, sheets: bool) -> Vec<Option<Taken>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let part = cases.len().div_ceil(threads).max(1);
    let of_case = |case: &&Case| {
        let writes = case.writes.iter().any(|(flag, _)| flag == "--stats" || flag == "--preview");
        of_header(case, batch).map(|taken| Taken { keeps: sheets || writes, ..taken })
    };
    std::thread::scope(|scope| {
        let of = |part: &[&Case]| part.iter().map(of_case).collect::<Vec<_>>();
        // A thread that cannot be had is done without.
        let start = |part| (part, std::thread::Builder::new().spawn_scoped(scope, move || of(part)));
        let parts: Vec<_> = cases.chunks(part).map(start).collect();
        let read = |(part, thread): (_, std::io::Result<std::thread::ScopedJoinHandle<'_, Vec<_>>>)| match thread {
            Ok(thread) => thread.join().unwrap_or_default(),
            Err(_) => of(part),
        };
        parts.into_iter().flat_map(read).collect()
    })
}

/// The most that masks of a batch take; of larger slices fewer are made at once.
const MASKS_OF_A_BATCH: u64 = 32 << 20;
/// Masks of one prompt.
const MASKS: u64 = 3;

fn of_header(case: &Case, batch: u64) -> Option<Taken> {
    if case.image.is_dir() {
        // A folder of pictures of medical size, two bytes a pixel, rather than reading all their headers.
        let files = std::fs::read_dir(&case.image).ok()?.count() as u64;
        let of_batch = ((batch * MASKS) << 18).min(MASKS_OF_A_BATCH);
        return Some(Taken { voxels: files << 19, masks: (files << 18) + of_batch, keeps: false });
    }
    // With several time points one is read; which one does not change its size.
    let options = OpenOptions { time_point: Some(0), ..OpenOptions::default() };
    let opening = Opening::open(&case.image, &options).ok()?;
    let info = opening.info();
    let mut dims = info.dims().map(|n| n as u64);
    let voxels = dims.iter().product::<u64>();
    dims.sort_unstable();
    let plane = dims[1] * dims[2];
    let of_batch = (batch * MASKS * plane).min(MASKS_OF_A_BATCH.max(MASKS * plane));
    let bytes = voxels * info.channels() as u64 * info.data_type().bytes();
    Some(Taken { voxels: bytes, masks: voxels + of_batch, keeps: false })
}

/// The most that neighbours of the list take together: one runs, while the one before is written and then the next
/// is read.
pub fn peak(cases: &[Option<Taken>]) -> u64 {
    let of = |index: Option<usize>| index.and_then(|index| *cases.get(index)?).unwrap_or_default();
    let together = |index: usize| {
        let [written, runs, read] = [of(index.checked_sub(1)), of(Some(index)), of(Some(index + 1))];
        let written = written.masks + if written.keeps { written.voxels } else { 0 };
        runs.voxels + runs.masks + written.max(read.voxels)
    };
    (0..cases.len()).map(together).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::case::cases;
    use super::super::line::{Flags, Line};
    use super::*;

    fn list(depths: &[usize]) -> Vec<Case> {
        let line = |(index, depth): (usize, &usize)| Line {
            image: format!("{index}.nii"),
            flags: Flags::Text(format!("--box3d 0,0,0,9,9,{}", depth - 1)),
            ..Line::default()
        };
        cases(depths.iter().enumerate().map(line).collect(), &[]).unwrap()
    }

    #[test]
    fn shards_are_balanced_and_have_each_case_once() {
        let cases = list(&[100, 1, 1, 50, 50, 1, 1, 96]);
        let shards: Vec<Vec<usize>> = (0..3).map(|index| Shard { index, count: 3 }.of(&cases)).collect();
        let mut all = shards.concat();
        all.sort_unstable();
        assert_eq!(all, (0..8).collect::<Vec<_>>());
        let slices = |shard: &Vec<usize>| shard.iter().map(|&case| slices(&cases[case]).unwrap()).sum::<u64>();
        assert_eq!(shards.iter().map(slices).collect::<Vec<_>>(), [100, 100, 100]);
    }

    #[test]
    fn a_shard_out_of_range_is_refused() {
        assert_eq!("3/4".parse(), Ok(Shard { index: 3, count: 4 }));
        for text in ["4/4", "0/0", "-1/4", "1", "a/b", "1/4/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
        assert!("4/4".parse::<Shard>().unwrap_err().contains("0 to 3"));
    }

    #[test]
    fn the_peak_is_of_neighbours() {
        let taken = |voxels, masks| Some(Taken { voxels, masks, keeps: false });
        assert_eq!(peak(&[taken(10, 1), None, taken(100, 10), taken(20, 2), taken(1, 1)]), 130);
        assert_eq!(peak(&[taken(10, 90), taken(100, 10)]), 200);
        assert_eq!(peak(&[]), 0);
        let kept = Some(Taken { voxels: 10, masks: 90, keeps: true });
        assert_eq!(peak(&[kept, taken(100, 10)]), 210);
    }
}
