//! Stable codes of what a run says although it goes on: it is probably not what its user meant. One table for the
//! command line, its reports, the C library and `docs/codes.md`.
//!
//! A code's name and number never change their meaning and are never used again; new ones come at the end.

#[cfg(feature = "capi")]
use std::ffi::CStr;
use std::fmt::Write as _;

use serde::Serialize;

/// Declares the codes. The number is the bit of the C results' `warnings`.
macro_rules! codes {
    ($($number:literal $variant:ident $name:literal $place:ident $meaning:literal)*) => {
        /// Names of the codes in `bits`.
pub fn names_of(bits: u64) -> Vec<&'static str> {
    Code::ALL.iter().filter(|code| bits & code.bit() != 0).map(|code| code.name()).collect()
}

/// What a warning is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $meaning] $variant = $number,)*
        }

        impl Code {
            /// All codes, by number.
            pub const ALL: &[Code] = &[$(Code::$variant),*];

            /// The stable name, as in reports.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// What it means, in a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $meaning,)* }
            }

            #[cfg(feature = "capi")]
            pub(crate) fn c_name(self) -> &'static CStr {
                c_text(match self { $(Code::$variant => concat!($name, "\0"),)* })
            }

            #[cfg(feature = "capi")]
            pub(crate) fn c_meaning(self) -> &'static CStr {
                c_text(match self { $(Code::$variant => concat!($meaning, "\0"),)* })
            }

            /// Where it can show.
            pub fn place(self) -> Place {
                match self { $(Code::$variant => Place::$place,)* }
            }
        }
    };
}

codes! {
    0 NameDiffers "name-differs" Image "The file's name promises another format than its contents have."
    1 TrailingBytes "trailing-bytes" Image "Bytes follow the voxels that the header announces."
    2 AlphaIgnored "alpha-ignored" Image "The picture has an alpha channel, which is left out."
    3 ColourRounded "colour-rounded" Image "Colour of 16 bits is rounded to 8."
    4 AnimationFirst "animation-first" Image "The picture is an animation, of which the first picture is read."
    5 AxisOfFour "axis-of-four" Image "The last axis of the array is 4: it is read as an axis of the image, not as colour with alpha."
    6 HeaderOdd "header-odd" Image "A field of the header has a value that is not defined; what it counts as is said."
    7 SlopeIgnored "slope-ignored" Image "The header's slope is 0 or not finite: voxels are taken as stored."
    8 NoOrientation "no-orientation" Image "The header says nothing of the patient's orientation: left and right are a guess."
    9 FormsDiffer "forms-differ" Image "The qform and the sform of the header lie apart: tools differ in which of them they read."
    10 SpacingOdd "spacing-odd" Image "The spacing is not that of a medical image, or the header contradicts itself about it."
    11 AxesSkewed "axes-skewed" Image "The axes are not at right angles, or the affine is singular: other tools may refuse the file."
    12 UnitsOdd "units-odd" Image "Lengths are not in millimetres; other tools may take them for millimetres."
    13 TimePoints "time-points" Image "The file has several time points, of which one is used."
    14 NotFinite "not-finite" Image "Voxels are NaN or infinite."
    15 AllEqual "all-equal" Image "All voxels have the same value."
    16 FewLevels "few-levels" Image "The picture makes use of few of the 256 grey levels that the network sees."
    17 LevelsCrowded "levels-crowded" Image "Most voxels share few grey levels, as few voxels far from the others set the range."
    18 BoxCut "box-cut" Prompt "A box reaches beyond the image and is cut to it."
    19 BoxOblique "box-oblique" Prompt "The image is oblique to the box: the voxels' box encloses the one given."
    20 CornersSwapped "corners-swapped" Prompt "Corners of a box were given in another order than lowest, highest."
    21 BoxRounded "box-rounded" Prompt "A box was given with fractions of voxels: the voxels that it touches are taken."
    22 RoughThreshold "rough-threshold" Prompt "The rough mask has values between whole numbers: those above the threshold are inside."
    23 RoughMoved "rough-moved" Prompt "The rough mask lies on another grid and is brought over by its header, nearest voxel."
    24 RoughByIndex "rough-by-index" Prompt "The rough mask or the image has no geometry: voxels are taken by their indices."
    25 RoughWholeSlice "rough-whole-slice" Prompt "Boxes of the rough mask cover whole slices: its background may be inside."
    26 TargetsOverlap "targets-overlap" Result "Masks of targets overlap: the later target has the voxels."
    27 MaskEmpty "mask-empty" Result "A mask is empty."
    28 MaskFillsBox "mask-fills-box" Result "A mask fills its box to the corners."
    29 MaskFillsSlice "mask-fills-slice" Result "A mask covers nearly the whole slice."
    30 SliceBlank "slice-blank" Result "The picture inside the box has one grey level: there is nothing to segment by."
    31 CpuFallback "cpu-fallback" Device "No GPU is usable: the run is on the CPU. On the command line with --verbose only; always in reports."
    32 TunedElsewhere "tuned-elsewhere" Result "The tuned file was tuned on other images than this one, and not validated on images of its own."
    33 LabelsLost "labels-lost" Prompt "A label to tune on is lost at the model's size, or fills it: these slices are left out."
    34 EmbeddingsUnwritten "embeddings-unwritten" Device "The folder of embeddings did not take all of them: a later run encodes those slices again."
    35 DicomScales "dicom-scales" Image "Slices of a DICOM series have slopes and intercepts of their own: each one's are applied."
    36 DicomModalityTable "dicom-modality-table" Image "Values come from the modality lookup table of a DICOM file."
    37 DicomInverted "dicom-inverted" Image "MONOCHROME1: stored values are turned before the rescale, as ITK does."
    38 DicomPadding "dicom-padding" Image "A stored value is padding and does not count for the range of values."
    39 DicomSpacing "dicom-spacing" Image "The spacing within slices is that of the detector or film, not of the patient."
    40 DicomOneSlice "dicom-one-slice" Image "One slice has no distance to a next: its thickness stands for it, or an unknown number."
    41 DicomNoPlace "dicom-no-place" Image "The DICOM files do not say where in the patient their voxels lie."
    42 DicomTilt "dicom-tilt" Image "Slices do not lie at a right angle to their stack (tilted gantry): the affine is sheared."
    43 DicomUnreadable "dicom-unreadable" Image "A DICOM file could not be read and is left out."
    44 DicomGap "dicom-gap" Image "Refused: slices of a DICOM series are missing."
    45 DicomUneven "dicom-uneven" Image "Refused: slices of a DICOM series do not lie evenly on a line."
    46 DicomDuplicates "dicom-duplicates" Image "Refused: slices of a DICOM series share a place, and no index tells them apart."
    47 DicomKinds "dicom-kinds" Image "Refused: a DICOM series has too many sizes, orientations and spacings."
    48 NanReplaced "nan-replaced" Image "Voxels that are NaN or infinite were replaced by the value that was asked for."
    49 SegRagged "seg-ragged" Result "The frames of a DICOM SEG fill no whole number of bytes: some readers lose voxels at their end."
    50 SegOverlap "seg-overlap" Prompt "Segments of a DICOM SEG or RTSTRUCT overlap: of each voxel the later segment counts."
    51 SegOutside "seg-outside" Prompt "Parts of a DICOM SEG or RTSTRUCT lie outside the image and are left out."
    52 ContoursLeftOut "contours-left-out" Prompt "Points and open contours of an RTSTRUCT are no area and are left out."
    53 ContoursNested "contours-nested" Prompt "Contours of a structure lie within each other or overlap: what an odd number of them holds is inside, which not every program does."
    54 TargetRemoved "target-removed" Result "Nothing of a target's mask was left by what was asked for after the network."
    55 MarkupOdd "markup-odd" Prompt "A field of a markup is passed over or contradicts another, or points are left out: what counts is said."
    56 Untilted "untilted" Image "A tilted stack was resampled onto an upright grid, as was asked for: boxes in voxels and the mask are of that grid."
    57 ModalityDiffers "modality-differs" Prompt "The DICOM header names another modality than the task: the network is told the task's."
    58 TunedOtherwise "tuned-otherwise" Result "The tuned file was tuned with another rule of intensity, or on slices that lie otherwise, than it is used with."
}

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The input file and its voxels.
    Image,
    /// Boxes and rough masks.
    Prompt,
    /// The masks.
    Result,
    /// Where the run takes place.
    Device,
}

impl Place {
    fn words(self) -> &'static str {
        match self {
            Place::Image => "image",
            Place::Prompt => "prompt",
            Place::Result => "result",
            Place::Device => "device",
        }
    }
}

/// Text that ends with its only NUL.
#[cfg(feature = "capi")]
fn c_text(text: &'static str) -> &'static CStr {
    CStr::from_bytes_with_nul(text.as_bytes()).unwrap_or_default()
}

impl Code {
    /// The code of a number.
    pub fn of(number: u32) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.number() == number)
    }

    /// The number, 0 to 63: bit `number` of the `warnings` of the C library's results.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// `1 << number`.
    pub fn bit(self) -> u64 {
        1 << self.number()
    }
}

/// One thing that looks wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is about.
    pub code: Code,
    /// A line that says it with its numbers.
    pub message: String,
}

impl Warning {
    /// A warning.
    pub fn new(code: Code, message: impl Into<String>) -> Warning {
        Warning { code, message: message.into() }
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Serialize for Warning {
    /// The message alone, as `medsegx info --json` lists them.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.message)
    }
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// The text of `docs/codes.md`.
pub fn document() -> String {
    let mut text = String::from(
        "# Codes of warnings\n\n\
         Generated from `src/codes.rs`: `MEDSEGX_WRITE_DOCS=1 cargo test --test it codes`.\n\n\
         A run that is probably not what its user meant says so, and goes on: one line on stderr (none with --quiet), an\n\
         entry with the code in the report's `warnings`, and in the C library bit `number` of the result's `warnings`\n\
         (`medsegx_warning_name`, `medsegx_warning_meaning`). Codes and numbers keep their meaning for ever.\n\n\
         | number | code | about | meaning |\n|---|---|---|---|\n",
    );
    for code in Code::ALL {
        // Writing to a String does not fail.
        let _ =
            writeln!(text, "| {} | `{}` | {} | {} |", code.number(), code.name(), code.place().words(), code.meaning());
    }
    text
}
