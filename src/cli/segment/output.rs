//! The mask's file: what can be said against it before the run, and how it is written.

use std::path::PathBuf;

use medsegx::codes::Warning;
use medsegx::volume::{LabelTable, LabelVolume, Legend, Segment, VolumeInfo, mask_writer};

use super::args::{Args, NameReader, SegKind};
use super::targets::JobTarget;
use crate::cli::console::usage;

/// Where the mask goes.
pub struct Output {
    #[cfg(feature = "dicom")]
    dicom: Option<medsegx::volume::DicomMask>,
    /// What the mask's file calls its labels.
    pub legend: Legend,
}

/// Refuses names of outputs that no mask can have.
pub fn check_name(args: &Args, image: &VolumeInfo) -> anyhow::Result<()> {
    #[cfg(feature = "dicom")]
    if args.untilt && medsegx::volume::is_dicom_name(&args.output) {
        return Err(usage("--untilt: needs an output that is no DICOM object, whose frames are those of the series"));
    }
    if args.png_values && !args.output.to_string_lossy().to_lowercase().ends_with(".png") {
        return Err(usage("--png-values: needs an output whose name ends in .png"));
    }
    #[cfg(feature = "dicom")]
    if medsegx::volume::is_dicom_name(&args.output) && !medsegx::volume::is_rtstruct_name(&args.output) {
        return Ok(());
    }
    if args.dicom.seg.is_some() || args.dicom.split || args.dicom.deflate {
        return Err(usage(
            "--seg, --split and --deflate: needs an output whose name ends in .dcm, and not in .rtstruct.dcm",
        ));
    }
    #[cfg(feature = "dicom")]
    if medsegx::volume::is_dicom_name(&args.output) {
        return Ok(());
    }
    Ok(mask_writer::check(image, &args.output)?)
}

impl Output {
    /// Refuses what cannot be written.
    pub fn prepare(args: &Args, image: &VolumeInfo, targets: &[JobTarget]) -> anyhow::Result<Output> {
        let segment = |target: &JobTarget| Segment { label: target.label, name: target.name.clone() };
        let segments: Vec<Segment> = targets.iter().map(segment).collect();
        let table = args.label_names.map_or_else(LabelTable::default, NameReader::table);
        #[cfg(feature = "dicom")]
        if medsegx::volume::is_dicom_name(&args.output) {
            let options = medsegx::volume::DicomOptions {
                series: args.series_of_mask(),
                label_map: args.dicom.seg == Some(SegKind::Labelmap),
                split: args.dicom.split,
                deflated: args.dicom.deflate,
            };
            let dicom = medsegx::volume::DicomMask::prepare(image, &args.output, &options)?;
            let mut labels: Vec<u16> = segments.iter().map(|segment| segment.label).collect();
            labels.sort_unstable();
            labels.dedup();
            dicom.check_labels(&args.output, &labels)?;
            args.check_parts(&dicom.paths(&args.output, &labels))?;
            return Ok(Output { dicom: Some(dicom), legend: Legend { segments, table } });
        }
        let _ = image;
        Ok(Output {
            #[cfg(feature = "dicom")]
            dicom: None,
            legend: Legend { segments, table },
        })
    }

    /// Writes the mask, and says what is doubtful about its file.
    pub fn write(&self, args: &Args, image: &VolumeInfo, mask: &LabelVolume) -> medsegx::Result<Vec<Warning>> {
        #[cfg(feature = "dicom")]
        if let Some(dicom) = &self.dicom {
            return dicom.write(mask, &self.legend.segments, &args.output, args.force);
        }
        if args.png_values {
            mask_writer::write_values(image, mask, &args.output, args.force)?;
            return Ok(Vec::new());
        }
        mask_writer::write_named(image, mask, &self.legend, &args.output, args.force).map(|()| Vec::new())
    }
}

impl Args {
    /// Whether `--series` names the series that a mask belongs to, whose image is no DICOM.
    #[cfg(feature = "dicom")]
    fn series_of_mask(&self) -> Option<PathBuf> {
        let image = medsegx::dicom::is_input(&self.input);
        self.series.as_ref().filter(|_| !image).map(PathBuf::from)
    }

    #[cfg(not(feature = "dicom"))]
    fn series_of_mask(&self) -> Option<PathBuf> {
        None
    }

    /// The series of the image that is chosen.
    pub fn series_of_image(&self) -> Option<String> {
        let of_mask = self.output.to_string_lossy().to_lowercase().ends_with(".dcm") && self.series_of_mask().is_some();
        self.series.clone().filter(|_| !of_mask)
    }
}
