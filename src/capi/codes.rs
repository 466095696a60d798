//! Numbers of the header that a caller puts into its structs. They come in as plain integers, since a Rust enum must never
//! hold a number that it does not have.

/// Declares which numbers of an enum exist.
macro_rules! codes {
    ($name:ident: $($variant:ident)*) => {
        impl $name {
            /// The code behind a caller's number.
            pub(super) fn of(number: i32) -> Option<Self> {
                [$($name::$variant,)*].into_iter().find(|code| *code as i32 == number)
            }
        }
    };
}

/// Where a model runs.
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum medsegx_device {
    /// The first usable GPU, else the CPU; the log says why it is the CPU.
    Auto = 0,
    /// The CPU.
    Cpu = 1,
    /// The CUDA device of `device_index`, or an error.
    Cuda = 2,
}
codes!(medsegx_device: Auto Cpu Cuda);

/// Numbers of the large products on the CPU.
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum medsegx_precision {
    /// 32 bits everywhere.
    F32 = 0,
    /// bf16 products with f32 sums, on a processor that has them.
    Bf16 = 1,
}
codes!(medsegx_precision: F32 Bf16);

/// Instructions of the CPU. Results are the same bits for any number of threads, but only for one of these.
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum medsegx_instructions {
    /// The widest that the processor has.
    Widest = 0,
    /// What every processor of the target has.
    Portable = 1,
    /// AVX2 and FMA.
    Avx2 = 2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512 = 3,
}
codes!(medsegx_instructions: Widest Portable Avx2 Avx512);

/// What a model is.
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum medsegx_kind {
    /// MedSegX, with or without adapters.
    Medsegx = 0,
    /// Plain SAM.
    Sam = 1,
    /// MedSAM.
    Medsam = 2,
    /// LiteMedSAM.
    Litemedsam = 3,
}

/// The mask that a session takes, where it is none of 0 to 3.
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum medsegx_mask {
    /// The one that scores best by the rule of the model's kind.
    Auto = -1,
}

/// Type of a pixel or voxel, in the machine's byte order.
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum medsegx_pixel {
    /// uint8_t
    U8 = 0,
    /// int16_t
    I16 = 1,
    /// uint16_t
    U16 = 2,
    /// float
    F32 = 3,
}
codes!(medsegx_pixel: U8 I16 U16 F32);

/// How values, slope * pixel + intercept, become the grey levels 0..255.
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum medsegx_intensity {
    /// The least value becomes 0, the greatest 255: of the slice, or of the volume.
    Minmax = 0,
    /// The 0.5th percentile of the values above 0 becomes 0, the 99.5th 255: of the slice, or of the volume.
    Percentile = 1,
    /// `low` becomes 0, `high` 255.
    Window = 2,
    /// Values that are 0..255 already. Fractions of at most 1 are refused: they would become black.
    Raw = 3,
    /// CT soft tissue: level 40, width 400.
    Soft = 4,
    /// CT lung: level -600, width 1500.
    Lung = 5,
    /// CT brain: level 40, width 80.
    Brain = 6,
    /// CT bone: level 400, width 1800.
    Bone = 7,
    /// CT mediastinum: level 50, width 350.
    Mediastinum = 8,
    /// Values from 0 to 1.
    Unit = 9,
    /// As MINMAX, but padding values and isolated extremes are set aside.
    Robust = 10,
}
codes!(medsegx_intensity: Minmax Percentile Window Raw Soft Lung Brain Bone Mediastinum Unit Robust);

/// How much a message of the log matters. What fails is returned and not logged.
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum medsegx_log {
    /// Something is not as it could be.
    Warning = 2,
    /// Good to know.
    Information = 3,
}

/// What a tuning trains.
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum medsegx_train {
    /// The mask decoder: each slice is encoded once.
    Decoder = 0,
    /// The encoder's adapter experts, their gates and the embeddings of the task tree.
    Adapters = 1,
    /// Both, as the published fine-tuning.
    All = 2,
}
codes!(medsegx_train: Decoder Adapters All);

/// How a tuning finds out whether it helps.
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum medsegx_validate {
    /// Slices are held out: a share of them, whole volumes where there are several; below five slices each once.
    Auto = 0,
    /// Not at all: the last step is kept.
    None = 1,
}
codes!(medsegx_validate: Auto None);

/// What a tuning held out.
#[repr(i32)]
#[derive(Clone, Copy, Debug)]
pub enum medsegx_held_out {
    /// Nothing.
    Nothing = 0,
    /// Slices of the same volumes.
    Slices = 1,
    /// Whole volumes.
    Volumes = 2,
    /// Each slice once; then all were trained on.
    LeaveOneOut = 3,
}
