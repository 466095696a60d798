//! Structs that C callers fill or read. The first field of each is its size as the caller knows it, so that fields can be
//! added at the end: what an older caller does not know keeps its default, and nothing is written past its struct.

use std::ffi::{c_char, c_void};

use super::boundary::Outcome;
use super::status::ErrorObject;

/// A struct that starts with its own size. `FIRST_SIZE` is its size in version 1 of the ABI.
///
/// # Safety
/// The type is `repr(C)`, starts with a `u32` size, and every bit pattern of its fields is valid.
pub(super) unsafe trait Versioned: Copy {
    const NAME: &'static str;
    const FIRST_SIZE: usize;
    fn initial() -> Self;
}

/// Reads a caller's struct: the fields that it knows, defaults for the rest. NULL is all defaults.
///
/// # Safety
/// `pointer` is NULL or points at `struct_size` readable bytes.
pub(super) unsafe fn read<T: Versioned>(pointer: *const T) -> Outcome<T> {
    let mut value = T::initial();
    if pointer.is_null() {
        return Ok(value);
    }
    // SAFETY: the caller's promise; the size is the first field.
    let size = unsafe { size_of_caller(pointer) }?;
    // SAFETY: both are valid for the smaller of the two sizes, and every bit pattern is valid (Versioned).
    unsafe {
        std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut value).cast::<u8>(), size.min(size_of::<T>()));
    }
    Ok(value)
}

/// Writes the fields that the caller's struct has room for; its size stays.
///
/// # Safety
/// `pointer` is NULL or points at `struct_size` writable bytes.
pub(super) unsafe fn write<T: Versioned>(pointer: *mut T, value: &T) -> Outcome {
    if pointer.is_null() {
        return Err(ErrorObject::argument(T::NAME, "a pointer", "NULL"));
    }
    // SAFETY: the caller's promise; the size is the first field.
    let size = unsafe { size_of_caller(pointer) }?.min(size_of::<T>());
    let skip = size_of::<u32>();
    // SAFETY: as above; `size` is at least FIRST_SIZE, which is more than the size field.
    unsafe {
        let (from, to) = ((&raw const *value).cast::<u8>(), pointer.cast::<u8>());
        std::ptr::copy_nonoverlapping(from.add(skip), to.add(skip), size - skip);
    }
    Ok(())
}

/// # Safety
/// `pointer` points at a readable `u32` at least.
unsafe fn size_of_caller<T: Versioned>(pointer: *const T) -> Outcome<usize> {
    if !pointer.is_aligned() {
        return Err(ErrorObject::argument(T::NAME, "an aligned pointer", "another address"));
    }
    // SAFETY: aligned for T, whose first field is a u32.
    let size = unsafe { pointer.cast::<u32>().read() } as usize;
    if size < T::FIRST_SIZE {
        let expected = format!("struct_size of at least {}", T::FIRST_SIZE);
        return Err(ErrorObject::argument(T::NAME, &expected, &size.to_string()));
    }
    Ok(size)
}

/// Declares a C struct, its defaults and its frozen size.
macro_rules! versioned {
    ($(#[$doc:meta])* $name:ident, $c_name:literal, $first_size:literal, $init:ident,
     { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub struct $name {
            /// Size of this struct as the caller knows it, in bytes.
            pub struct_size: u32,
            $($(#[$field_doc])* pub $field: $type,)*
        }

        const _: () = assert!(size_of::<$name>() >= $first_size);

        // SAFETY: repr(C), the size is first, and integers, floats and raw pointers are valid in every bit pattern.
        unsafe impl Versioned for $name {
            const NAME: &'static str = $c_name;
            const FIRST_SIZE: usize = $first_size;
            fn initial() -> Self {
                $name { struct_size: size_of::<$name>() as u32, $($field: $default,)* }
            }
        }

        /// Fills a struct of `struct_size` bytes with defaults; NULL is ignored.
        ///
        /// # Safety
        /// `out` is NULL or points at `struct_size` writable bytes.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $init(out: *mut $name, struct_size: u32) {
            if out.is_null() || (struct_size as usize) < $first_size {
                return;
            }
            let mut value = $name::initial();
            value.struct_size = struct_size;
            let size = (struct_size as usize).min(size_of::<$name>());
            // SAFETY: the caller's promise; size is within both.
            unsafe { std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), out.cast::<u8>(), size) };
        }
    };
}

/// Called with a level (1 error, 2 warning, 3 information) and a message that is valid during the call.
pub type LogCallback = Option<unsafe extern "C" fn(user: *mut c_void, level: i32, message: *const c_char)>;

/// Called between batches; anything but 0 cancels.
pub type ProgressCallback = Option<unsafe extern "C" fn(user: *mut c_void, done: u64, total: u64) -> i32>;

/// Choose a GPU if there is one, else the CPU.
pub const DEVICE_AUTO: i32 = 0;
/// The CPU.
pub const DEVICE_CPU: i32 = 1;
/// A CUDA device.
pub const DEVICE_CUDA: i32 = 2;

/// `medsegx_mask_choice`: the rule of the model's kind.
pub const MASK_AUTO: i32 = -1;

versioned!(
    /// How a model is loaded.
    ModelOptions, "medsegx_model_options", 40, medsegx_model_options_init, {
        /// One of the device constants.
        device: i32 = DEVICE_AUTO,
        /// Ordinal of the CUDA device.
        device_index: u32 = 0,
        /// 0 f32, 1 bf16 products (CPU).
        precision: i32 = 0,
        /// CPU threads; 0 is all.
        threads: u32 = 0,
        /// Explicit padding.
        reserved: u32 = 0,
        /// Where messages go; NULL is nowhere.
        log: LogCallback = None,
        /// Handed to `log`.
        log_user: *mut c_void = std::ptr::null_mut(),
    }
);

versioned!(
    /// What a model is.
    ModelInfo, "medsegx_model_info", 28, medsegx_model_info_init, {
        /// 0 medsegx, 1 sam, 2 medsam.
        kind: i32 = 0,
        /// S, pixels.
        image_size: u32 = 0,
        /// L, pixels of a logit map's side.
        logits_size: u32 = 0,
        /// 1 when slices need a context.
        needs_context: i32 = 0,
        /// Blocks of the encoder.
        depth: u32 = 0,
        /// D.
        width: u32 = 0,
    }
);

versioned!(
    /// How much a session can hold. All its memory is taken when it is made.
    SessionOptions, "medsegx_session_options", 28, medsegx_session_options_init, {
        /// Rows of the largest slice.
        max_height: u32 = 512,
        /// Columns of the largest slice.
        max_width: u32 = 512,
        /// Prompt points of one prompt; a box takes two.
        max_points: u32 = 2,
        /// -1 automatic, else the mask token 0 to 3.
        mask: i32 = MASK_AUTO,
        /// 1 when mask prompts will be given.
        mask_prompts: i32 = 0,
        /// Slices that a volume's batch holds.
        batch: u32 = 1,
    }
);

versioned!(
    /// Where a target stands in MedSegDB's tree: rows of the context embeddings.
    ContextIndices, "medsegx_context", 24, medsegx_context_init, {
        /// Row of the modality.
        modality: u32 = 0,
        /// Row of the body part.
        body_part: u32 = 0,
        /// Row of the body subregion.
        subregion: u32 = 0,
        /// Row of the organ or tissue.
        organ: u32 = 0,
        /// Row of the task.
        task: u32 = 0,
    }
);

versioned!(
    /// Names of MedSegDB's tree; NULL where nothing is said.
    ContextNames, "medsegx_context_names", 56, medsegx_context_names_init, {
        /// Explicit padding.
        reserved: u32 = 0,
        /// `CT_Liver`; implies the rest.
        task: *const c_char = std::ptr::null(),
        /// Overrides what `task` implies, as do the next four.
        modality: *const c_char = std::ptr::null(),
        /// Body part.
        body_part: *const c_char = std::ptr::null(),
        /// Body subregion.
        subregion: *const c_char = std::ptr::null(),
        /// Organ or tissue.
        organ: *const c_char = std::ptr::null(),
        /// Target, or `unseen`.
        target: *const c_char = std::ptr::null(),
    }
);

versioned!(
    /// One slice: pixels and how they become grey levels.
    SliceView, "medsegx_slice", 72, medsegx_slice_init, {
        /// One of the pixel types: 0 u8, 1 i16, 2 u16, 3 f32.
        pixel_type: i32 = 0,
        /// First pixel of the first row.
        pixels: *const c_void = std::ptr::null(),
        /// Bytes from one row to the next; 0 when rows are packed.
        row_stride: usize = 0,
        /// Rows.
        height: u32 = 0,
        /// Columns.
        width: u32 = 0,
        /// 1 grey, 3 interleaved colour.
        channels: u32 = 1,
        /// Intensity rule: 0 minmax of the slice, 1 percentile, 2 window (low..high), 3 raw, 4 soft, 5 lung, 6 brain,
        /// 7 bone, 8 mediastinum.
        intensity: i32 = 0,
        /// Multiplies a pixel before the rule.
        slope: f64 = 1.0,
        /// Added after that.
        intercept: f64 = 0.0,
        /// Value that becomes black, for the window rule.
        low: f64 = 0.0,
        /// Value that becomes white, for the window rule.
        high: f64 = 255.0,
    }
);

/// A point of a slice.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PointPrompt {
    /// Column; the middle of pixel 3 is 3.0.
    pub x: f64,
    /// Row.
    pub y: f64,
    /// 1 object, 0 background.
    pub label: i32,
    /// Explicit padding.
    pub reserved: i32,
}

versioned!(
    /// What to segment on a slice.
    PromptView, "medsegx_prompt", 64, medsegx_prompt_init, {
        /// 1 when there is a box.
        has_box: i32 = 0,
        /// x0, y0, x1, y1: inclusive pixel indices.
        region: [f64; 4] = [0.0; 4],
        /// Points, or NULL.
        points: *const PointPrompt = std::ptr::null(),
        /// How many points.
        point_count: usize = 0,
        /// Logits of an earlier mask, `[S/4, S/4]`, or NULL.
        mask: *const f32 = std::ptr::null(),
    }
);

versioned!(
    /// Where the answer goes, and the answer.
    SliceResult, "medsegx_result", 112, medsegx_result_init, {
        /// Out: the chosen mask token, 0 to 3.
        chosen: i32 = 0,
        /// In: height x width bytes for the mask (0 or 1), or NULL.
        mask: *mut u8 = std::ptr::null_mut(),
        /// In: bytes of `mask`.
        mask_size: usize = 0,
        /// In: room for the raw logits `[M, L, L]`, or NULL.
        logits: *mut f32 = std::ptr::null_mut(),
        /// In: floats of `logits`.
        logits_count: usize = 0,
        /// Out: foreground pixels of the mask.
        pixels: u64 = 0,
        /// Out: masks that the decoder gave, M.
        mask_count: u32 = 0,
        /// Out: token of the first of them.
        first_token: u32 = 0,
        /// Out: score of each mask by the rule that chose.
        scores: [f64; 4] = [0.0; 4],
        /// Out: mean Dice among the masks, 1 where they agree.
        agreement: f64 = 0.0,
        /// Out: IoU of each mask's tight box with the prompt box, less mass outside.
        box_agreement: f64 = 0.0,
        /// Out: area above logit +1 over area above -1 of the chosen mask.
        stability: f64 = 0.0,
    }
);

versioned!(
    /// A volume of voxels, x fastest, then y, then z.
    VolumeView, "medsegx_volume", 80, medsegx_volume_init, {
        /// As in a slice.
        pixel_type: i32 = 0,
        /// The voxels.
        voxels: *const c_void = std::ptr::null(),
        /// Bytes of `voxels`.
        size: usize = 0,
        /// Voxels along x, y, z.
        dims: [u32; 3] = [0; 3],
        /// 1 grey, 3 interleaved colour.
        channels: u32 = 1,
        /// Axis that slices lie across: 0, 1, 2.
        axis: u32 = 2,
        /// As in a slice, but over the whole volume.
        intensity: i32 = 0,
        /// As in a slice.
        slope: f64 = 1.0,
        /// As in a slice.
        intercept: f64 = 0.0,
        /// As in a slice.
        low: f64 = 0.0,
        /// As in a slice.
        high: f64 = 255.0,
    }
);

/// One thing to segment in a volume: the same rectangle on a run of slices. It carries no size: the call says how far
/// apart the elements of its array are.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct VolumeTarget {
    /// Value in the label array, 1 to 65535.
    pub label: u32,
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
    /// x0, y0, z0: lowest voxel indices of the box.
    pub low: [i64; 3],
    /// x1, y1, z1: highest voxel indices of the box, inclusive.
    pub high: [i64; 3],
}

/// A struct with every field at its default.
pub(super) fn initial<T: Versioned>() -> T {
    T::initial()
}
