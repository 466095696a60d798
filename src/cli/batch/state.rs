//! What is known of finished cases: a record a case beside the results, written when its files are there. A later run
//! needs nothing else, and no file that is written at the end.

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use medsegx::atomic::write_atomically;
use medsegx::weights::sha256;
use medsegx::{Error, Result};
use serde::{Deserialize, Serialize};

use super::case::{Case, text};
use super::summary::{Row, Status};
use crate::cli::segment::Contact;

/// The folder of records and locks, below that of the results.
pub const FOLDER: &str = ".medsegx";

/// Changes with what a record holds.
const VERSION: u32 = 1;

/// A file and what was in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub path: String,
    #[serde(flatten)]
    pub size: Size,
    /// In lower-case hexadecimal.
    pub sha256: String,
}

/// By which a file counts as unchanged since it was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub bytes: u64,
    /// Last change, in nanoseconds since 1970. Of a folder that of its newest file.
    pub time: u64,
}

/// What became of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// Hash of all that its files follow from.
    key: String,
    /// Hash of the part of it that the manifest says.
    wanted: String,
    /// The image, then the files of the prompt.
    inputs: Vec<Stamp>,
    weights: Vec<Stamp>,
    /// The mask, then the others, below the folder of the results.
    outputs: Vec<Stamp>,
    /// What the page of the batch shows, where one was asked for.
    #[serde(default)]
    pub sheet: Option<Picture>,
    pub row: Row,
}

/// A contact sheet beside the records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pub bytes: u64,
    pub sha256: String,
}

impl Picture {
    /// Whether it is there as it was left.
    pub fn is_at(&self, path: &Path) -> bool {
        fs::read(path).is_ok_and(|png| sha256(&png) == self.sha256)
    }
}

/// How a file is known to be the one that was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Size and time of all files have to be those that were seen; otherwise nobody knows.
    Seen,
    /// What changed in size or time is hashed.
    Changed,
    /// Everything is hashed.
    Nothing,
}

/// What all cases have in common, as far as their files follow from it.
#[derive(Clone, Debug, Default)]
pub struct Common {
    /// Weights, and the tuned file.
    pub weights: Vec<Stamp>,
    /// Flags of the model that can change bits.
    pub model: Vec<String>,
    /// Whether a case counts as done only with a picture for the page; no other file follows from it.
    pub sheets: bool,
}

/// Size and time of a file, or of all files of a folder.
pub fn size_of(path: &Path) -> Result<Size> {
    let failed = |e| Error::io(path, "open", e);
    let found = fs::metadata(path).map_err(failed)?;
    let time = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let time = time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    if !found.is_dir() {
        return Ok(Size { bytes: found.len(), time });
    }
    let mut all = Size { bytes: 0, time };
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        if !(entry.is_symlink() && entry.is_dir()) {
            let one = size_of(&entry)?;
            all = Size { bytes: all.bytes.wrapping_add(one.bytes), time: all.time.max(one.time) };
        }
    }
    Ok(all)
}

/// Hashes a file or folder, which `named` names.
pub fn stamp(path: &Path, named: String) -> Result<Stamp> {
    Ok(Stamp { path: named, size: size_of(path)?, sha256: medsegx::weights::sha256_of(path)? })
}

/// As [`stamp`], without reading where `before` has the hash of a file of that size and time.
pub fn stamp_or(path: &Path, named: String, before: Option<&Stamp>) -> Result<Stamp> {
    let size = size_of(path)?;
    match before.filter(|before| before.size == size && before.path == named) {
        Some(before) => Ok(before.clone()),
        None => Ok(Stamp { path: named, size, sha256: medsegx::weights::sha256_of(path)? }),
    }
}

/// The records below a folder of results.
pub struct Store {
    pub out: PathBuf,
}

impl Store {
    /// Makes the folders.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn create(out: &Path) -> Result<Store> {
        let store = Store::at(out);
        for name in ["cases", "locks", "sheets"] {
            let folder = out.join(FOLDER).join(name);
            fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create", e))?;
        }
        Ok(store)
    }

    /// What may be there: nothing is made.
    pub fn at(out: &Path) -> Store {
        Store { out: out.to_path_buf() }
    }

    /// The file of a case among `kind`, by its output.
    fn file(&self, case: &Case, kind: &str, ending: &str) -> PathBuf {
        let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '.') { c } else { '_' };
        let name: String = case.name.chars().map(plain).take(60).collect();
        let hash = sha256(case.output.as_bytes());
        self.out.join(FOLDER).join(kind).join(format!("{name}-{}.{ending}", &hash[..12]))
    }

    pub fn lock_file(&self, case: &Case) -> PathBuf {
        self.file(case, "locks", "lock")
    }

    pub fn record_file(&self, case: &Case) -> PathBuf {
        self.file(case, "cases", "json")
    }

    /// A small file of a case that its page shows.
    pub fn sheet_file(&self, case: &Case) -> PathBuf {
        self.file(case, "sheets", "png")
    }

    /// Writes the picture of a case.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub fn keep_sheet(&self, case: &Case, sheet: Contact) -> Result<Picture> {
        write_atomically(&self.sheet_file(case), true, |file| file.write_all(&sheet.png))?;
        let Contact { width, height, png } = sheet;
        Ok(Picture { width, height, bytes: png.len() as u64, sha256: sha256(&png) })
    }

    /// The record of a case; none where there is none of this version, or not a whole one.
    pub fn read(&self, case: &Case) -> Option<Record> {
        let mut bytes = Vec::new();
        fs::File::open(self.record_file(case)).ok()?.read_to_end(&mut bytes).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        (record.version == VERSION && record.row.output == case.output).then_some(record)
    }

    /// Writes the record of a case: from now on it counts as done, or as failed.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub fn write(&self, case: &Case, record: &Record) -> Result<()> {
        let path = self.record_file(case);
        let json = serde_json::to_vec(record).map_err(|e| Error::internal("the record of a case", e.to_string()))?;
        write_atomically(&path, true, |file| file.write_all(&json))
    }

    /// The record of a case whose files are there.
    ///
    /// # Errors
    /// An output cannot be read.
    pub fn record(&self, case: &Case, inputs: Vec<Stamp>, common: &Common, row: Row) -> Result<Record> {
        let outputs = case.outputs().filter(|_| row.status == Status::Done);
        let outputs = outputs.map(|path| stamp(&self.out.join(path), path.to_string())).collect::<Result<_>>()?;
        let key = key(case, &inputs, common);
        Ok(Record {
            version: VERSION,
            key,
            wanted: wanted(case),
            inputs,
            weights: common.weights.clone(),
            outputs,
            sheet: None,
            row,
        })
    }

    /// The record of `case`, if its files are there and follow from what is asked for now. What had to be hashed anew
    /// is noted in it.
    pub fn done(&self, case: &Case, common: &Common, trust: Trust) -> Option<Record> {
        let mut record = self.read(case).filter(|record| record.row.status == Status::Done)?;
        if common.sheets
            && !record
                .sheet
                .as_ref()
                .is_some_and(|sheet| size_of(&self.sheet_file(case)).is_ok_and(|size| size.bytes == sheet.bytes))
        {
            return None;
        }
        let outputs: Vec<&str> = case.outputs().collect();
        let inputs: Vec<&Path> = inputs(case).collect();
        if record.outputs.len() != outputs.len() || record.inputs.len() != inputs.len() {
            return None;
        }
        let again = |path: &Path, named: String, before: &Stamp| match trust {
            Trust::Seen => (size_of(path).ok()? == before.size && named == before.path).then(|| before.clone()),
            Trust::Changed => stamp_or(path, named, Some(before)).ok(),
            Trust::Nothing => stamp(path, named).ok(),
        };
        let now = inputs.iter().zip(&record.inputs).map(|(path, before)| again(path, text(path), before));
        let now: Vec<Stamp> = now.collect::<Option<_>>()?;
        if key(case, &now, common) != record.key {
            return None;
        }
        let files = outputs.iter().zip(&record.outputs);
        let files = files.map(|(path, before)| again(&self.out.join(path), path.to_string(), before));
        let files: Vec<Stamp> = files.collect::<Option<_>>()?;
        if files.iter().zip(&record.outputs).any(|(now, before)| now.sha256 != before.sha256) {
            return None;
        }
        if now != record.inputs || files != record.outputs {
            (record.inputs, record.outputs) = (now, files);
            // It only saves hashing the next time.
            let _ = self.write(case, &record);
        }
        Some(record)
    }

    /// Stamps of the files that `case` reads; `trust` says whether the hashes of an older record may stand.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn stamps(&self, case: &Case, trust: Trust) -> Result<Vec<Stamp>> {
        let before = if trust == Trust::Nothing { None } else { self.read(case) };
        let before = before.map_or_else(Vec::new, |record| record.inputs);
        inputs(case).enumerate().map(|(index, path)| stamp_or(path, text(path), before.get(index))).collect()
    }
}

impl Record {
    /// Of the mask.
    pub fn output_hash(&self) -> String {
        self.outputs.first().map_or_else(String::new, |stamp| stamp.sha256.clone())
    }

    /// Hashes of weights by path, size and time, as far as earlier runs knew them.
    pub fn weights_into(&self, known: &mut HashMap<String, Stamp>) {
        for stamp in &self.weights {
            known.entry(stamp.path.clone()).or_insert_with(|| stamp.clone());
        }
    }

    /// Whether the mask and the other files are there as they were left, by size and time or by hash.
    pub fn outputs_stand(&self, out: &Path, rehash: bool) -> bool {
        self.outputs.iter().all(|before| {
            let path = out.join(&before.path);
            match size_of(&path) {
                Ok(size) if size == before.size && !rehash => true,
                Ok(_) => medsegx::weights::sha256_of(&path).is_ok_and(|hash| hash == before.sha256),
                Err(_) => false,
            }
        })
    }

    /// Whether it was made from the files and by the flags that `case` has now. A file that is not here, as on another
    /// host, is taken for the one that was.
    pub fn is_of(&self, case: &Case, rehash: bool) -> bool {
        let files: Vec<&Path> = inputs(case).collect();
        if files.len() != self.inputs.len() || self.wanted != wanted(case) {
            return false;
        }
        files.iter().zip(&self.inputs).all(|(path, before)| match size_of(path) {
            Ok(size) if size == before.size && !rehash => true,
            Ok(_) => medsegx::weights::sha256_of(path).is_ok_and(|hash| hash == before.sha256),
            Err(_) => true,
        })
    }

    /// Whether it was made with the weights of `other`.
    pub fn is_like(&self, other: &Record) -> bool {
        let hashes = |record: &Record| record.weights.iter().map(|stamp| stamp.sha256.clone()).collect::<Vec<_>>();
        hashes(self) == hashes(other)
    }
}

/// The files that a case reads, the image first.
pub fn inputs(case: &Case) -> impl Iterator<Item = &Path> {
    std::iter::once(case.image.as_path()).chain(case.reads.iter().map(|(_, path)| path.as_path()))
}

/// Hash of the flags of a case, without what is in its files.
fn wanted(case: &Case) -> String {
    let flags: Vec<&String> = case.reads.iter().map(|(flag, _)| flag).collect();
    sha256(serde_json::json!([flags, case.settings, case.writes]).to_string().as_bytes())
}

/// Hash of all that the files of a case follow from.
fn key(case: &Case, inputs: &[Stamp], common: &Common) -> String {
    let hashes = |stamps: &[Stamp]| stamps.iter().map(|stamp| stamp.sha256.clone()).collect::<Vec<_>>();
    let all = [hashes(inputs), hashes(&common.weights), common.model.clone()];
    sha256(serde_json::json!([medsegx::VERSION, all, wanted(case)]).to_string().as_bytes())
}
