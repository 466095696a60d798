//! MedSegDB's tree behind the C ABI: names to indices, and the list of tasks.

use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

use super::boundary::{Outcome, guard, optional_text, required};
use super::status::{ErrorObject, Status, c_string};
use super::structs::{self, ContextIndices, ContextNames};
use crate::taxonomy::{self, Context, Query};

/// `medsegx_context_from_names`: looks names up in MedSegDB's tree; forgiving in case and underscores.
///
/// # Safety
/// Pointers are NULL or valid as the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_context_from_names(
    names: *const ContextNames,
    out: *mut ContextIndices,
    error: *mut *mut ErrorObject,
) -> Status {
    // SAFETY: the caller's promise, for every pointer of this function.
    unsafe {
        guard(error, || {
            required("names", names)?;
            let names = structs::read(names)?;
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
            structs::write(out, &indices(&taxonomy::resolve(&query)?))
        })
    }
}

/// `medsegx_task_count`: how many targets the tree has.
#[unsafe(no_mangle)]
pub extern "C" fn medsegx_task_count() -> usize {
    taxonomy::TARGETS.len()
}

/// `medsegx_task_name`: the name of target `index`, NULL beyond the last; valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn medsegx_task_name(index: usize) -> *const c_char {
    static NAMES: OnceLock<Vec<std::ffi::CString>> = OnceLock::new();
    let names = NAMES.get_or_init(|| taxonomy::TARGETS.iter().map(|target| c_string(target.name)).collect());
    names.get(index).map_or(std::ptr::null(), |name| AsRef::<CStr>::as_ref(name).as_ptr())
}

fn indices(context: &Context) -> ContextIndices {
    let mut answer = structs::initial::<ContextIndices>();
    let [body_part, subregion, organ] = context.organ;
    answer.modality = context.modality as u32;
    answer.body_part = body_part as u32;
    answer.subregion = subregion as u32;
    answer.organ = organ as u32;
    answer.task = context.task as u32;
    answer
}

/// The engine's form of a caller's indices; the segmenter checks them against the model's tables.
pub(super) fn context(indices: &ContextIndices) -> Context {
    Context {
        modality: indices.modality as usize,
        organ: [indices.body_part as usize, indices.subregion as usize, indices.organ as usize],
        task: indices.task as usize,
    }
}
