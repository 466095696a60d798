//! MedSegDB's tree behind the C ABI: names to rows and back, and the lists of targets and modalities.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::sync::OnceLock;

use super::boundary::{Outcome, guard, optional_text};
use super::status::{c_string, medsegx_error, medsegx_status};
use super::structs::{medsegx_context, medsegx_context_names};
use super::versioned::{self, Versioned};
use crate::taxonomy::{self, BODY_PARTS, Context, MODALITIES, ORGANS, Query, SUBREGIONS, TARGETS, UNSEEN};

/// Looks names up in MedSegDB's tree; case, underscores, hyphens and spaces do not count.
///
/// `names` and `out` are required. Any thread. Fails with MEDSEGX_STATUS_UNKNOWN_NAME, which suggests the nearest name,
/// and MEDSEGX_STATUS_INVALID_ARGUMENT for text that is not UTF-8 and for a level that nothing names; `out` then keeps
/// what it had.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_context_from_names(
    names: *const medsegx_context_names,
    out: *mut medsegx_context,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let names = versioned::required("names", names)?;
            let owned = |name: &str, text: *const c_char| -> Outcome<Option<String>> {
                Ok(optional_text(name, text)?.map(str::to_string))
            };
            let query = Query {
                task: owned("task", names.task)?,
                modality: owned("modality", names.modality)?,
                body_part: owned("body_part", names.body_part)?,
                subregion: owned("subregion", names.subregion)?,
                organ: owned("organ", names.organ)?,
                target: owned("target", names.target)?,
            };
            versioned::write(out, &rows(&taxonomy::resolve(&query)?))
        })
    }
}

/// The names behind rows of the tree: static text, "?" for a row that the tree does not have, NULL for `task`.
///
/// `context` and `out` are required. Any thread. Fails with MEDSEGX_STATUS_INVALID_ARGUMENT only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_context_describe(
    context: *const medsegx_context,
    out: *mut medsegx_context_names,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let names = to_engine(&versioned::required("context", context)?).names();
            let mut answer = medsegx_context_names::initial();
            answer.modality = static_text(names.modality);
            answer.body_part = static_text(names.body_part);
            answer.subregion = static_text(names.subregion);
            answer.organ = static_text(names.organ);
            answer.target = static_text(names.task);
            versioned::write(out, &answer)
        })
    }
}

/// How many targets the tree has. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn medsegx_task_count() -> usize {
    TARGETS.len()
}

/// The name of target `index`, as "Liver"; NULL beyond the last. Static text. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn medsegx_task_name(index: usize) -> *const c_char {
    TARGETS.get(index).map_or(std::ptr::null(), |target| static_text(target.name))
}

/// Where target `index` stands in the tree: `out` gets the rows of body part, subregion, organ and task, which
/// medsegx_context_describe names. Its modality is left unset; the host sets the one that it has.
///
/// `out` is required. Any thread. Fails with MEDSEGX_STATUS_INVALID_ARGUMENT beyond the last target.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_task_describe(
    index: usize,
    out: *mut medsegx_context,
    error: *mut *mut medsegx_error,
) -> medsegx_status {
    // SAFETY: every pointer is NULL or valid, as the header asks.
    unsafe {
        guard(error, || {
            let beyond = || {
                let expected = format!("below {}, the number of targets", TARGETS.len());
                medsegx_error::argument("index", &expected, &index.to_string())
            };
            let target = TARGETS.get(index).ok_or_else(beyond)?;
            let organ = &ORGANS[target.organ];
            let task = target.task.unwrap_or(taxonomy::UNSEEN_TASK);
            let organs = [organ.body_part, organ.subregion, target.organ];
            let mut answer = rows(&Context { modality: 0, organ: organs, task });
            answer.modality = medsegx_context::initial().modality;
            versioned::write(out, &answer)
        })
    }
}

/// How many modalities the tree has. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn medsegx_modality_count() -> usize {
    MODALITIES.len()
}

/// The name of the modality of row `index`, as "CT"; NULL beyond the last. Static text. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn medsegx_modality_name(index: usize) -> *const c_char {
    MODALITIES.get(index).map_or(std::ptr::null(), |modality| static_text(modality.name))
}

/// A name of the tree as C text.
fn static_text(name: &'static str) -> *const c_char {
    static ALL: OnceLock<BTreeMap<&'static str, CString>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let targets = TARGETS.iter().map(|target| target.name);
        let organs = ORGANS.iter().map(|organ| organ.name);
        let modalities = MODALITIES.iter().map(|modality| modality.name);
        let parts = BODY_PARTS.iter().chain(&SUBREGIONS).copied();
        let names = targets.chain(organs).chain(modalities).chain(parts).chain(["?", UNSEEN]);
        names.map(|name| (name, c_string(name))).collect()
    });
    all.get(name).map_or(std::ptr::null(), |text| text.as_ptr())
}

fn rows(context: &Context) -> medsegx_context {
    let mut answer = medsegx_context::initial();
    let [body_part, subregion, organ] = context.organ;
    answer.modality = context.modality as u32;
    answer.body_part = body_part as u32;
    answer.subregion = subregion as u32;
    answer.organ = organ as u32;
    answer.task = context.task as u32;
    answer
}

/// The engine's form of a caller's rows; the segmenter checks them against the model's tables.
pub(super) fn to_engine(rows: &medsegx_context) -> Context {
    Context {
        modality: rows.modality as usize,
        organ: [rows.body_part as usize, rows.subregion as usize, rows.organ as usize],
        task: rows.task as usize,
    }
}
