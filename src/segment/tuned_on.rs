//! What a model was tuned on, and how that was shown to it: a model is good for what looks alike.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::codes::{Code, Warning};
use crate::volume::{Intensity, SliceFrame, VolumeInfo};
use crate::weights::tuned::Tuned;

/// Metadata of a tuned file: rules of intensity, axes across which slices lie, and where their columns and rows run to.
const RULES: &str = "intensity";
const AXES: &str = "axis";
const VIEWS: &str = "view";
/// The view of an image that does not say how it lies.
const UNKNOWN: &str = "unknown";
/// Stored axes as the command line's --axis has them.
const LETTERS: [&str; 3] = ["i", "j", "k"];

/// How slices are shown to a model that is tuned on them. What is not known of them is not compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Setting {
    rules: Vec<Intensity>,
    axes: Vec<usize>,
    views: Vec<String>,
}

impl Setting {
    /// Adds slices of a volume.
    pub fn add(&mut self, image: &VolumeInfo, frame: &SliceFrame, rule: Intensity) {
        let view = image.view(frame).unwrap_or_else(|| UNKNOWN.into());
        if !self.axes.contains(&frame.axis()) {
            self.axes.push(frame.axis());
        }
        if !self.views.contains(&view) {
            self.views.push(view);
        }
        self.add_rule(rule);
    }

    /// Adds a slice of which no more is known.
    pub(crate) fn add_rule(&mut self, rule: Intensity) {
        if !self.has_rule(rule) {
            self.rules.push(rule);
        }
    }

    /// Adds what is known to the metadata of a tuned file.
    pub(crate) fn write(&self, metadata: &mut BTreeMap<String, String>) {
        for (key, words) in [(RULES, self.rules()), (AXES, self.axes()), (VIEWS, self.views.join(" "))] {
            if !words.is_empty() {
                metadata.insert(key.into(), words);
            }
        }
    }

    /// Reads it back: nothing of what an older file does not say.
    fn read(metadata: &BTreeMap<String, String>) -> Setting {
        let words = |key: &str| metadata.get(key).into_iter().flat_map(|words| words.split(' '));
        let axis = |word: &str| LETTERS.iter().position(|letter| *letter == word);
        Setting {
            rules: words(RULES).map(str::parse).collect::<Result<_>>().unwrap_or_default(),
            axes: words(AXES).map(axis).collect::<Option<_>>().unwrap_or_default(),
            views: words(VIEWS).map(String::from).collect(),
        }
    }

    fn rules(&self) -> String {
        self.rules.iter().map(Intensity::to_string).collect::<Vec<_>>().join(" ")
    }

    fn axes(&self) -> String {
        self.axes.iter().filter_map(|&axis| LETTERS.get(axis).copied()).collect::<Vec<_>>().join(" ")
    }

    fn has_rule(&self, rule: Intensity) -> bool {
        self.rules.iter().any(|own| own.is_alike(rule))
    }

    /// Whether a rule of intensity is none of those that it was tuned with.
    pub(crate) fn is_other_rule(&self, rule: Intensity) -> bool {
        !self.rules.is_empty() && !self.has_rule(rule)
    }

    /// Whether slices across `axis` lie otherwise. How they lie in the patient says more than the axis, where both
    /// sides know it.
    pub(crate) fn is_other_cut(&self, axis: usize, view: Option<&str>) -> bool {
        match view {
            Some(view) if !self.views.is_empty() && !self.views.iter().any(|own| own == UNKNOWN) => {
                !self.views.iter().any(|own| own == view)
            }
            _ => !self.axes.is_empty() && !self.axes.contains(&axis),
        }
    }
}

/// What a model was tuned on.
#[derive(Clone, Debug)]
pub struct TunedOn {
    file: PathBuf,
    /// SHA-256 of the images.
    images: Vec<String>,
    by_volume: bool,
    pub(crate) setting: Setting,
}

impl TunedOn {
    /// What a tuned file says of itself.
    pub(crate) fn of((file, metadata): (&Path, &BTreeMap<String, String>)) -> TunedOn {
        let images = metadata.get(Tuned::IMAGES).into_iter().flat_map(|hashes| hashes.split(' '));
        TunedOn {
            file: file.into(),
            images: images.map(String::from).collect(),
            by_volume: metadata.get(Tuned::VALIDATION).is_some_and(|of| of == Tuned::BY_VOLUME),
            setting: Setting::read(metadata),
        }
    }

    /// A tuning in memory.
    #[cfg(feature = "capi")]
    pub(crate) fn here(setting: Setting) -> TunedOn {
        TunedOn { file: "<tuning>".into(), images: Vec::new(), by_volume: false, setting }
    }

    /// A warning where slices of `image` are shown in another way than those that it was tuned on.
    pub fn otherwise(&self, image: &VolumeInfo, frame: &SliceFrame, rule: Intensity) -> Option<Warning> {
        let (own, view) = (&self.setting, image.view(frame));
        let mut differ: Vec<String> = self.differing_rule(rule).into_iter().collect();
        if own.is_other_cut(frame.axis(), view.as_deref()) {
            let shown = |axes: &str, views: &str| match views {
                "" => format!("across {axes}"),
                views => format!("across {axes} (columns and rows to {views})"),
            };
            let here = shown(LETTERS.get(frame.axis()).copied().unwrap_or_default(), view.as_deref().unwrap_or(""));
            let there = shown(&own.axes(), &own.views.join(" "));
            differ.push(format!("tuned on slices {there}, used on slices {here}"));
        }
        (!differ.is_empty()).then(|| self.used_otherwise(&differ.join("; ")))
    }

    /// As [`TunedOn::otherwise`], of a slice alone: nothing is known of the volume that it is cut from.
    pub fn other_rule(&self, rule: Intensity) -> Option<Warning> {
        self.differing_rule(rule).map(|differs| self.used_otherwise(&differs))
    }

    fn differing_rule(&self, rule: Intensity) -> Option<String> {
        let own = &self.setting;
        own.is_other_rule(rule).then(|| format!("tuned with intensity {}, used with {rule}", own.rules()))
    }

    fn used_otherwise(&self, differs: &str) -> Warning {
        let message = format!("{}: {differs}: masks may be worse than without it", self.file.display());
        Warning::new(Code::TunedOtherwise, message)
    }

    /// A warning where it was tuned on other images than `image`, of this SHA-256, and not validated on images that it
    /// was not tuned on.
    ///
    /// # Errors
    /// Those of `hash`, which is not called where whole images were held out.
    pub fn elsewhere(&self, image: &Path, hash: impl FnOnce() -> Result<String>) -> Result<Option<Warning>> {
        if self.by_volume || self.images.contains(&hash()?) {
            return Ok(None);
        }
        let message = format!(
            "{}: tuned on other images than {}, and not validated on images of its own: masks may be worse here than \
             without it",
            self.file.display(),
            image.display()
        );
        Ok(Some(Warning::new(Code::TunedElsewhere, message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::{Affine, DataType, Orientation};

    fn image(affine: Option<Affine>) -> VolumeInfo {
        let info = VolumeInfo::of_array("image", [5, 4, 3], 1, DataType::I16, false).unwrap();
        affine.map_or(info.clone(), |affine| info.placed(affine).unwrap())
    }

    /// Axes towards R or L, A or P, S.
    fn placed(x: f64, y: f64) -> VolumeInfo {
        image(Some([[x, 0.0, 0.0, 0.0], [0.0, y, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]]))
    }

    fn tuned(all: &[(&VolumeInfo, usize, Orientation, Intensity)]) -> TunedOn {
        let mut setting = Setting::default();
        for (image, axis, orient, rule) in all {
            setting.add(image, &image.frame(*axis, *orient).unwrap(), *rule);
        }
        let mut metadata = BTreeMap::new();
        setting.write(&mut metadata);
        assert_eq!(Setting::read(&metadata), setting);
        TunedOn { file: "a.safetensors".into(), images: vec!["12".into()], by_volume: false, setting }
    }

    fn said(tuned: &TunedOn, image: &VolumeInfo, axis: usize, orient: Orientation, rule: Intensity) -> Option<String> {
        let warning = tuned.otherwise(image, &image.frame(axis, orient).unwrap(), rule)?;
        assert_eq!(warning.code, Code::TunedOtherwise);
        Some(warning.message)
    }

    #[test]
    fn intensity_axis_and_orientation_are_compared() {
        use Intensity::{MinMax, Soft, Window};
        use Orientation::{Ras, Stored};
        let (ras, lps, nowhere) = (placed(1.0, 1.0), placed(-1.0, -1.0), image(None));
        let on = tuned(&[(&ras, 2, Stored, MinMax)]);
        assert_eq!(said(&on, &ras, 2, Stored, MinMax), None);
        assert_eq!(said(&on, &lps, 2, Ras, MinMax), None);
        assert_eq!(said(&on, &nowhere, 2, Stored, MinMax), None);
        let soft = said(&on, &ras, 2, Stored, Soft).unwrap();
        assert!(soft.starts_with("a.safetensors: tuned with intensity minmax, used with soft: "), "{soft}");
        assert_eq!((on.other_rule(Soft).map(|warning| warning.message), on.other_rule(MinMax)), (Some(soft), None));
        let turned = said(&on, &lps, 2, Stored, MinMax).unwrap();
        let words =
            "tuned on slices across k (columns and rows to RA), used on slices across k (columns and rows to LP)";
        assert!(turned.contains(words), "{turned}");
        let across = said(&on, &nowhere, 0, Stored, Soft).unwrap();
        assert!(across.contains("used with soft; ") && across.contains("used on slices across i:"), "{across}");

        // A window is what it does, not what it is called; any of several is enough.
        let both = tuned(&[(&ras, 2, Stored, Soft), (&lps, 2, Stored, MinMax)]);
        assert_eq!(said(&both, &lps, 2, Stored, Window { level: 40.0, width: 400.0 }), None);
        assert_eq!(said(&both, &ras, 2, Stored, MinMax), None);
        // An image among them that does not say how it lies may lie in any way.
        let unknown = tuned(&[(&ras, 2, Stored, MinMax), (&nowhere, 2, Stored, MinMax)]);
        assert_eq!(said(&unknown, &lps, 2, Stored, MinMax), None);
        assert!(said(&unknown, &lps, 1, Stored, MinMax).is_some());
    }

    #[test]
    fn what_a_file_does_not_say_is_not_compared() {
        let nothing = TunedOn { setting: Setting::read(&BTreeMap::new()), ..tuned(&[]) };
        assert_eq!(said(&nothing, &placed(1.0, 1.0), 0, Orientation::Stored, Intensity::Bone), None);
        let odd = BTreeMap::from([(RULES, "minmax later"), (AXES, "k w")].map(|(key, word)| (key.into(), word.into())));
        assert_eq!(Setting::read(&odd), Setting::default());
        let mut rule = Setting::default();
        rule.add_rule(Intensity::Raw);
        assert!(rule.is_other_rule(Intensity::Soft) && !rule.is_other_cut(0, Some("RA")));
    }

    #[test]
    fn other_images_are_told_by_their_hash() {
        let on = tuned(&[]);
        let told = |on: &TunedOn, hash: &str| on.elsewhere(Path::new("ct.nii"), || Ok(hash.into())).unwrap();
        assert_eq!(told(&on, "12"), None);
        assert_eq!(told(&on, "13").unwrap().code, Code::TunedElsewhere);
        let by_volume = TunedOn { by_volume: true, ..on };
        assert_eq!(told(&by_volume, "13"), None);
    }
}
