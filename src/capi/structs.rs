//! Structs that C callers fill or read, with their defaults.

use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};

use super::codes::{
    medsegx_device, medsegx_instructions, medsegx_intensity, medsegx_mask, medsegx_pixel, medsegx_precision,
};
use super::versioned::{Versioned, initialise, versioned};

/// Receives a message: `level` is a medsegx_log, `message` is valid during the call. Called on the thread of the call that
/// has something to say, with no lock held; it must not call medsegx with the model that is being made.
pub type medsegx_log_callback = Option<unsafe extern "C" fn(user: *mut c_void, level: i32, message: *const c_char)>;

/// Hears how many slices of a volume's targets are done, of how many; anything but 0 as an answer cancels. Called on the
/// calling thread after each batch, with no lock held. A call with the session that is running is refused; others are allowed.
pub type medsegx_progress_callback = Option<unsafe extern "C" fn(user: *mut c_void, done: u64, total: u64) -> i32>;

/// Writes `size` bytes of a weights file, from byte `offset` on, to `buffer`; anything but 0 as an answer is a failure.
/// Called on the calling thread, with ascending offsets, no byte twice.
pub type medsegx_read_callback =
    Option<unsafe extern "C" fn(user: *mut c_void, offset: u64, buffer: *mut c_void, size: usize) -> i32>;

/// How a model is loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct medsegx_model_options {
    /// sizeof this struct, set by medsegx_model_options_init.
    pub struct_size: u32,
    /// A medsegx_device; default MEDSEGX_DEVICE_AUTO.
    pub device: i32,
    /// Ordinal of the CUDA device; default 0.
    pub device_index: u32,
    /// A medsegx_precision; default MEDSEGX_PRECISION_F32.
    pub precision: i32,
    /// CPU threads of the model's own pool; default 0, as many as the processor runs at once.
    pub threads: u32,
    /// A medsegx_instructions; default MEDSEGX_INSTRUCTIONS_WIDEST.
    pub instructions: i32,
    /// Where messages go; default NULL, nowhere.
    pub log: medsegx_log_callback,
    /// Handed to `log`.
    pub log_user: *mut c_void,
    /// File of `medsegx tune`, UTF-8, whose tensors go on top of the weights that they were tuned from; default NULL, none.
    /// Read while the model is opened.
    pub tuned: *const c_char,
}

versioned!(medsegx_model_options, 40, {
    device: medsegx_device::Auto as i32,
    device_index: 0,
    precision: medsegx_precision::F32 as i32,
    threads: 0,
    instructions: medsegx_instructions::Widest as i32,
    log: None,
    log_user: null_mut(),
    tuned: null(),
});

/// What a model is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct medsegx_model_info {
    /// sizeof this struct, set by medsegx_model_info_init.
    pub struct_size: u32,
    /// A medsegx_kind.
    pub kind: i32,
    /// Side of the model's picture, pixels.
    pub image_size: u32,
    /// Side of a logit map, pixels.
    pub logits_size: u32,
    /// 1 where slices need a medsegx_context.
    pub needs_context: i32,
    /// Blocks of the encoder.
    pub depth: u32,
    /// Channels of the encoder.
    pub width: u32,
}

versioned!(medsegx_model_info, 28, {
    kind: 0,
    image_size: 0,
    logits_size: 0,
    needs_context: 0,
    depth: 0,
    width: 0,
});

/// How much a session can hold. All its memory is taken when it is made.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct medsegx_session_options {
    /// sizeof this struct, set by medsegx_session_options_init.
    pub struct_size: u32,
    /// Rows of the largest slice; default 512. Slices of exactly max_height x max_width allocate nothing from the first
    /// call on; another size makes its tables when it is first seen.
    pub max_height: u32,
    /// Columns of the largest slice; default 512.
    pub max_width: u32,
    /// Prompt points of one prompt; a box takes two; default 2.
    pub max_points: u32,
    /// Which mask is taken: MEDSEGX_MASK_AUTO, the default, or 0 to 3.
    pub mask: i32,
    /// 1 where mask prompts will be given; default 0.
    pub mask_prompts: i32,
    /// Slices in one batch of a volume, and prompts in one of medsegx_session_prompt; default 1.
    pub batch: u32,
    /// Slices whose embeddings are kept when others come: a slice that comes again with the same context is not encoded
    /// again. The one that was not used for longest goes. Each takes 4 N P bytes (256 KB at 256 px); default 0.
    pub kept_slices: u32,
}

versioned!(medsegx_session_options, 28, {
    max_height: 512,
    max_width: 512,
    max_points: 2,
    mask: medsegx_mask::Auto as i32,
    mask_prompts: 0,
    batch: 1,
    kept_slices: 0,
});

/// Where a target stands in MedSegDB's tree: rows of the model's context embeddings. medsegx_context_init sets none of
/// them, and a model that needs the context refuses the ones that are not set.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct medsegx_context {
    /// sizeof this struct, set by medsegx_context_init.
    pub struct_size: u32,
    /// Row of the modality.
    pub modality: u32,
    /// Row of the body part.
    pub body_part: u32,
    /// Row of the body subregion.
    pub subregion: u32,
    /// Row of the organ or tissue.
    pub organ: u32,
    /// Row of the task.
    pub task: u32,
}

/// A row that nobody set. No table has it, so a model that needs the context refuses it by name.
const UNSET: u32 = u32::MAX;

versioned!(medsegx_context, 24, {
    modality: UNSET,
    body_part: UNSET,
    subregion: UNSET,
    organ: UNSET,
    task: UNSET,
});

/// Names of MedSegDB's tree in UTF-8; NULL where nothing is said.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct medsegx_context_names {
    /// sizeof this struct, set by medsegx_context_names_init.
    pub struct_size: u32,
    /// 0
    pub reserved: u32,
    /// Modality and target, as "CT_Liver". It implies the rest; the other names override it.
    pub task: *const c_char,
    /// Modality.
    pub modality: *const c_char,
    /// Body part.
    pub body_part: *const c_char,
    /// Body subregion.
    pub subregion: *const c_char,
    /// Organ or tissue.
    pub organ: *const c_char,
    /// Target, or "unseen" for the spare task row.
    pub target: *const c_char,
}

versioned!(medsegx_context_names, 56, {
    reserved: 0,
    task: null(),
    modality: null(),
    body_part: null(),
    subregion: null(),
    organ: null(),
    target: null(),
});

/// One slice: pixels, and how they become grey levels. Pixels are only read.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct medsegx_slice {
    /// sizeof this struct, set by medsegx_slice_init.
    pub struct_size: u32,
    /// A medsegx_pixel; default MEDSEGX_PIXEL_U8.
    pub pixel_type: i32,
    /// First pixel of the first row.
    pub pixels: *const c_void,
    /// Bytes from one row to the next; default 0, rows are packed.
    pub row_stride: usize,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// 1 grey, the default, or 3 interleaved colour.
    pub channels: u32,
    /// A medsegx_intensity; default MEDSEGX_INTENSITY_MINMAX.
    pub intensity: i32,
    /// Multiplies a pixel before the rule; default 1.
    pub slope: f64,
    /// Is added after that; default 0.
    pub intercept: f64,
    /// Black of MEDSEGX_INTENSITY_WINDOW; default 0.
    pub low: f64,
    /// White of MEDSEGX_INTENSITY_WINDOW; default 255.
    pub high: f64,
    /// Value, slope and intercept applied, of pixels that are NaN or infinite; default NaN: a slice with such is refused.
    pub nan_value: f64,
}

versioned!(medsegx_slice, 72, {
    pixel_type: medsegx_pixel::U8 as i32,
    pixels: null(),
    row_stride: 0,
    height: 0,
    width: 0,
    channels: 1,
    intensity: medsegx_intensity::Minmax as i32,
    slope: 1.0,
    intercept: 0.0,
    low: 0.0,
    high: 255.0,
    nan_value: f64::NAN,
});

/// A point of a slice.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct medsegx_point {
    /// Column; the middle of pixel 3 is 3.0.
    pub x: f64,
    /// Row.
    pub y: f64,
    /// 1 object, 0 background.
    pub label: i32,
    /// 0
    pub reserved: i32,
}

/// What to segment on a slice: a box, points, a mask, or any of them together.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct medsegx_prompt {
    /// sizeof this struct, set by medsegx_prompt_init.
    pub struct_size: u32,
    /// 1 where there is a box; default 0.
    pub has_box: i32,
    /// x0, y0, x1, y1: inclusive pixel indices, corners in any order. A fraction names the pixel whose centre is nearest;
    /// exactly between two, the one inside the box. Both are warnings.
    pub r#box: [f64; 4],
    /// Points, or NULL.
    pub points: *const medsegx_point,
    /// How many points.
    pub point_count: usize,
    /// Logits of an earlier mask, a square of side image_size / 4, or NULL.
    pub mask: *const f32,
}

versioned!(medsegx_prompt, 64, {
    has_box: 0,
    r#box: [0.0; 4],
    points: null(),
    point_count: 0,
    mask: null(),
});

/// Where the answer for a slice goes, and the answer. Fields marked "in" are the caller's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct medsegx_result {
    /// sizeof this struct, set by medsegx_result_init.
    pub struct_size: u32,
    /// Out: the mask that was taken, 0 to 3.
    pub chosen: i32,
    /// In: height * width bytes, which become 0 or 1; or NULL.
    pub mask: *mut u8,
    /// In: bytes of `mask`.
    pub mask_size: usize,
    /// In: room for the raw logits of all decoded masks, mask_count * logits_size * logits_size floats; or NULL.
    pub logits: *mut f32,
    /// In: floats of `logits`.
    pub logits_count: usize,
    /// Out: foreground pixels.
    pub pixels: u64,
    /// Out: masks that were decoded: 3, or 1 for mask 0.
    pub mask_count: u32,
    /// Out: number of the first of them: 1, or 0.
    pub first_token: u32,
    /// Out: score of each decoded mask by the rule that chose.
    pub scores: [f64; 4],
    /// Out: mean Dice among the masks; low where the result is doubtful; -1 where the mask is empty.
    pub agreement: f64,
    /// Out, of the chosen mask: IoU of its tight box with the prompt's, times the part inside.
    pub box_agreement: f64,
    /// Out, of the chosen mask: area above logit +1 over area above -1.
    pub stability: f64,
    /// Out: what is doubtful; bit n is the warning of number n, see medsegx_warning_name.
    pub warnings: u64,
}

versioned!(medsegx_result, 112, {
    chosen: 0,
    mask: null_mut(),
    mask_size: 0,
    logits: null_mut(),
    logits_count: 0,
    pixels: 0,
    mask_count: 0,
    first_token: 0,
    scores: [0.0; 4],
    agreement: 0.0,
    box_agreement: 0.0,
    stability: 0.0,
    warnings: 0,
});

/// A volume of voxels, x fastest, then y, then z, and how they become grey levels. Voxels are only read.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct medsegx_volume {
    /// sizeof this struct, set by medsegx_volume_init.
    pub struct_size: u32,
    /// A medsegx_pixel; default MEDSEGX_PIXEL_U8.
    pub pixel_type: i32,
    /// The voxels.
    pub voxels: *const c_void,
    /// Bytes of `voxels`.
    pub size: usize,
    /// Voxels along x, y, z.
    pub dims: [u32; 3],
    /// 1 grey, the default, or 3 interleaved colour.
    pub channels: u32,
    /// The axis that slices lie across: 0, 1 or 2; default 2.
    pub axis: u32,
    /// A medsegx_intensity, over the whole volume; default MEDSEGX_INTENSITY_MINMAX.
    pub intensity: i32,
    /// As in medsegx_slice.
    pub slope: f64,
    /// As in medsegx_slice.
    pub intercept: f64,
    /// As in medsegx_slice.
    pub low: f64,
    /// As in medsegx_slice.
    pub high: f64,
    /// As in medsegx_slice.
    pub nan_value: f64,
}

versioned!(medsegx_volume, 80, {
    pixel_type: medsegx_pixel::U8 as i32,
    voxels: null(),
    size: 0,
    dims: [0; 3],
    channels: 1,
    axis: 2,
    intensity: medsegx_intensity::Minmax as i32,
    slope: 1.0,
    intercept: 0.0,
    low: 0.0,
    high: 255.0,
    nan_value: f64::NAN,
});

/// A rectangle on one slice of a volume, voxel indices, inclusive.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct medsegx_slice_box {
    /// Index of the slice along the volume's axis.
    pub slice: i64,
    /// x0, y0: a corner, along the volume's axes that are left, in their order.
    pub low: [i64; 2],
    /// x1, y1: the other corner. Where one is below that of `low`, they are swapped, with a warning.
    pub high: [i64; 2],
}

/// One thing to segment in a volume: the same rectangle on a run of slices, or a rectangle for each of its slices. Later
/// versions may add fields at the end: calls take the size of an element.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct medsegx_target {
    /// Value in the label array, 1 to 65535.
    pub label: u32,
    /// Rows of the tree, as in medsegx_context.
    pub modality: u32,
    /// Row of the body part.
    pub body_part: u32,
    /// Row of the body subregion.
    pub subregion: u32,
    /// Row of the organ or tissue.
    pub organ: u32,
    /// Row of the task.
    pub task: u32,
    /// x0, y0, z0: voxel indices of a corner of the box, inclusive.
    pub low: [i64; 3],
    /// x1, y1, z1: voxel indices of the other corner, inclusive. Where one is below that of `low`, they are swapped, with a
    /// warning.
    pub high: [i64; 3],
    /// `box_count` rectangles, at most one a slice, in any order; NULL where `low` and `high` say it all.
    pub boxes: *const medsegx_slice_box,
    /// Number of `boxes`. Above 0 `low` and `high` are not looked at.
    pub box_count: usize,
}

/// What the fields are that a caller's element does not have.
pub(super) const NO_TARGET: medsegx_target = medsegx_target {
    label: 0,
    modality: 0,
    body_part: 0,
    subregion: 0,
    organ: 0,
    task: 0,
    low: [0; 3],
    high: [0; 3],
    boxes: std::ptr::null(),
    box_count: 0,
};

/// Size of a medsegx_target of version 1.
pub(super) const FIRST_TARGET_SIZE: usize = 72;
const _: () = assert!(std::mem::offset_of!(medsegx_target, boxes) == FIRST_TARGET_SIZE);

/// What is known of one slice of one target. Later versions may add fields at the end: calls take the size of an element.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct medsegx_outcome {
    /// Index of the target in the call's array.
    pub target: u32,
    /// Index of the slice along the volume's axis.
    pub slice: u32,
    /// The mask that was taken, 0 to 3.
    pub chosen: i32,
    /// Masks that were decoded: 3, or 1 for mask 0.
    pub mask_count: u32,
    /// Number of the first of them: 1, or 0.
    pub first_token: u32,
    /// 0
    pub reserved: u32,
    /// Foreground pixels of the mask, before later targets are painted over it.
    pub pixels: u64,
    /// Score of each decoded mask by the rule that chose. Neighbouring slices take part in the choice too.
    pub scores: [f64; 4],
    /// As in medsegx_result.
    pub agreement: f64,
    /// As in medsegx_result.
    pub box_agreement: f64,
    /// As in medsegx_result.
    pub stability: f64,
    /// Mean Dice of the mask with those of the target's neighbouring slices; -1 where there are none.
    pub continuity: f64,
    /// As in medsegx_result. Not written where outcome_size is that of version 1, without this field.
    pub warnings: u64,
}

/// Bytes of a medsegx_outcome in version 1 of the ABI, which a caller's elements have at least.
pub(super) const FIRST_OUTCOME_SIZE: usize = 96;
const _: () = assert!(std::mem::offset_of!(medsegx_outcome, warnings) == FIRST_OUTCOME_SIZE);

/// Where the answer for a volume goes, and the answer. Fields marked "in" are the caller's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct medsegx_volume_result {
    /// sizeof this struct, set by medsegx_volume_result_init.
    pub struct_size: u32,
    /// In: sizeof(medsegx_outcome), where there are outcomes; default 0.
    pub outcome_size: u32,
    /// In: dims[0] * dims[1] * dims[2] values, which become 0 where nothing is. Where targets overlap the later one wins.
    pub labels: *mut u16,
    /// In: values of `labels`.
    pub labels_count: usize,
    /// In: room for an outcome of every slice of every target, outcome_size bytes apart; or NULL.
    pub outcomes: *mut medsegx_outcome,
    /// In: elements of `outcomes`.
    pub outcomes_room: usize,
    /// Out: how many outcomes there are, by ascending slice, then in the order of targets.
    pub outcomes_count: usize,
    /// Out: what is doubtful about the voxels, a box or any slice of any target, as in medsegx_result; bit 26 where targets
    /// overlap.
    pub warnings: u64,
    /// In: room for the voxels of each target in `labels`, after later targets were painted over it; or NULL.
    pub voxels: *mut u64,
    /// In: elements of `voxels`; at least the number of targets where there are any.
    pub voxels_room: usize,
}

versioned!(medsegx_volume_result, 48, {
    outcome_size: 0,
    labels: null_mut(),
    labels_count: 0,
    outcomes: null_mut(),
    outcomes_room: 0,
    outcomes_count: 0,
    warnings: 0,
    voxels: null_mut(),
    voxels_room: 0,
});

/// Sets `out` to its defaults; struct_size is sizeof *out. NULL is ignored. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_model_options_init(out: *mut medsegx_model_options, struct_size: u32) {
    // SAFETY: `out` is NULL or has room for `struct_size` bytes, as the header asks; so too in the functions below.
    unsafe { initialise(out, struct_size) };
}

/// As medsegx_model_options_init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_model_info_init(out: *mut medsegx_model_info, struct_size: u32) {
    // SAFETY: as above.
    unsafe { initialise(out, struct_size) };
}

/// As medsegx_model_options_init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_session_options_init(out: *mut medsegx_session_options, struct_size: u32) {
    // SAFETY: as above.
    unsafe { initialise(out, struct_size) };
}

/// As medsegx_model_options_init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_context_init(out: *mut medsegx_context, struct_size: u32) {
    // SAFETY: as above.
    unsafe { initialise(out, struct_size) };
}

/// As medsegx_model_options_init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_context_names_init(out: *mut medsegx_context_names, struct_size: u32) {
    // SAFETY: as above.
    unsafe { initialise(out, struct_size) };
}

/// As medsegx_model_options_init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_slice_init(out: *mut medsegx_slice, struct_size: u32) {
    // SAFETY: as above.
    unsafe { initialise(out, struct_size) };
}

/// As medsegx_model_options_init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_prompt_init(out: *mut medsegx_prompt, struct_size: u32) {
    // SAFETY: as above.
    unsafe { initialise(out, struct_size) };
}

/// As medsegx_model_options_init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_result_init(out: *mut medsegx_result, struct_size: u32) {
    // SAFETY: as above.
    unsafe { initialise(out, struct_size) };
}

/// As medsegx_model_options_init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_volume_init(out: *mut medsegx_volume, struct_size: u32) {
    // SAFETY: as above.
    unsafe { initialise(out, struct_size) };
}

/// As medsegx_model_options_init.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn medsegx_volume_result_init(out: *mut medsegx_volume_result, struct_size: u32) {
    // SAFETY: as above.
    unsafe { initialise(out, struct_size) };
}
