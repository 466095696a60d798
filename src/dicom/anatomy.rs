//! Codes of structures by their names.

use sha2::{Digest, Sha256};

use super::write::Set;

/// What a code is of: scheme, value and meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    pub scheme: &'static str,
    pub value: String,
    pub meaning: String,
}

impl Code {
    pub fn new(scheme: &'static str, value: impl Into<String>, meaning: impl Into<String>) -> Code {
        Code { scheme, value: value.into(), meaning: meaning.into() }
    }

    pub fn item(&self) -> Set {
        let mut item = Set::new();
        item.text(0x0008_0100, b"SH", &self.value).text(0x0008_0102, b"SH", self.scheme).text(
            0x0008_0104,
            b"LO",
            &self.meaning,
        );
        item
    }
}

/// What a segment is, as DICOM has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    pub category: Code,
    pub kind: Code,
    /// Left or right.
    pub modifier: Option<Code>,
}

/// Where no code is known.
const PRIVATE: &str = "99MEDSEGX";
const SNOMED: &str = "SCT";
const ANATOMY: (&str, &str) = ("123037004", "Anatomical Structure");
const ABNORMAL: (&str, &str) = ("49755003", "Morphologically Abnormal Structure");

/// SNOMED CT codes from `totalsegmentator_snomed_mapping.csv` of TotalSegmentator 2.18.0 (Apache-2.0): words of a name,
/// each of which may stand for it, code and meaning.
const STRUCTURES: &[(&[&str], &str, &str)] = &[
    (&["adrenalgland", "adrenal"], "23451007", "Adrenal gland"),
    (&["aorta"], "15825003", "Aorta"),
    (&["brain"], "12738006", "Brain"),
    (&["clavicle", "clavicula", "collarbone"], "51299004", "Clavicle"),
    (&["colon"], "71854001", "Colon"),
    (&["duodenum"], "38848004", "Duodenum"),
    (&["esophagus", "oesophagus"], "32849002", "Esophagus"),
    (&["face"], "89545001", "Face"),
    (&["femur", "femurbone"], "71341001", "Femur"),
    (&["gallbladder"], "28231008", "Gallbladder"),
    (&["heart"], "80891009", "Heart"),
    (&["hip"], "29836001", "Hip"),
    (&["humerus"], "85050009", "Humerus"),
    (&["inferiorvenacava", "postcava"], "64131007", "Inferior vena cava"),
    (&["kidney"], "64033007", "Kidney"),
    (&["liver"], "10200004", "Liver"),
    (&["myocardium", "heartmyocardium"], "74281007", "Myocardium"),
    (&["pancreas"], "15776009", "Pancreas"),
    (&["patella"], "64234005", "Patella"),
    (&["prostate"], "41216001", "Prostate"),
    (&["pulmonaryartery"], "81040000", "Pulmonary artery"),
    (&["pulmonaryvein"], "122972007", "Pulmonary vein"),
    (&["sacrum"], "54735007", "Sacrum"),
    (&["scapula"], "79601000", "Scapula"),
    (&["skull"], "89546000", "Skull"),
    (&["smallbowel", "smallintestine"], "30315005", "Small Intestine"),
    (&["spinalcord"], "2748008", "Spinal cord"),
    (&["spleen"], "78961009", "Spleen"),
    (&["sternum"], "56873002", "Sternum"),
    (&["stomach"], "69695003", "Stomach"),
    (&["superiorvenacava"], "48345005", "Superior vena cava"),
    (&["thyroidgland", "thyroid", "glndthyroid"], "69748006", "Thyroid gland"),
    (&["tibia", "tibiabone"], "12611008", "Tibia"),
    (&["trachea"], "44567001", "Trachea"),
    (&["bladder", "urinarybladder"], "89837001", "Urinary bladder"),
];

/// The chambers of the heart, whose side is part of their code.
const SIDED: &[(&str, &str, &str)] = &[
    ("leftatrium", "82471001", "Left atrium"),
    ("rightatrium", "73829009", "Right atrium"),
    ("leftventricle", "87878005", "Left ventricle of heart"),
    ("rightventricle", "53085002", "Right ventricle of heart"),
];

/// Words of a task's name that say how it was pictured.
const MODALITIES: [&str; 10] = ["cbct", "ct", "cta", "mri", "mr", "us", "xray", "fundus", "endos", "colonos"];

/// The property of a structure of this `name`: a code of SNOMED CT where the name is known, else one of a private
/// scheme that is the same for the same name.
pub fn property(name: &str) -> Property {
    let mut words: Vec<String> = words(name);
    if words.len() > 1 && MODALITIES.contains(&words[0].as_str()) {
        words.remove(0);
    }
    let all = words.concat();
    let anatomy = || Code::new(SNOMED, ANATOMY.0, ANATOMY.1);
    let sorted = |sides: &[&str]| {
        let at = words.iter().position(|word| sides.contains(&word.as_str()))?;
        let rest: String = words.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, word)| word.as_str()).collect();
        Some(rest)
    };
    let (left, right) = (sorted(&["left", "l"]), sorted(&["right", "r"]));
    let (rest, side) = match (&left, &right) {
        (Some(rest), None) => (rest, Some(Code::new(SNOMED, "7771000", "Left"))),
        (None, Some(rest)) => (rest, Some(Code::new(SNOMED, "24028007", "Right"))),
        _ => (&all, None),
    };
    let side_first =
        format!("{}{rest}", side.as_ref().map_or("", |s| if s.meaning == "Left" { "left" } else { "right" }));
    if let Some((_, value, meaning)) = SIDED.iter().find(|row| row.0 == side_first.replacen("heart", "", 1)) {
        return Property { category: anatomy(), kind: Code::new(SNOMED, *value, *meaning), modifier: None };
    }
    if let Some((_, value, meaning)) = STRUCTURES.iter().find(|row| row.0.contains(&rest.as_str())) {
        return Property { category: anatomy(), kind: Code::new(SNOMED, *value, *meaning), modifier: side };
    }
    if words.last().is_some_and(|word| matches!(word.as_str(), "tumor" | "tumour" | "neoplasm")) {
        let kind = Code::new(SNOMED, "108369006", "Neoplasm");
        return Property { category: Code::new(SNOMED, ABNORMAL.0, ABNORMAL.1), kind, modifier: None };
    }
    let digest = Sha256::digest(name.as_bytes());
    let value = digest.iter().take(6).fold(String::from("T"), |text, byte| text + &format!("{byte:02X}"));
    let kind = Code::new(PRIVATE, value, name);
    Property { category: Code::new(PRIVATE, "TARGET", "Target of a segmentation"), kind, modifier: None }
}

/// Lower-case words, parted by whatever is no letter or digit, and where small letters are followed by a capital.
fn words(name: &str) -> Vec<String> {
    let (mut found, mut word, mut small) = (Vec::new(), String::new(), false);
    for c in name.chars() {
        if !word.is_empty() && (!c.is_alphanumeric() || (small && c.is_uppercase())) {
            found.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        small = c.is_lowercase();
    }
    found.extend(Some(word).filter(|word| !word.is_empty()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(name: &str) -> (String, String) {
        let found = property(name);
        (found.kind.value, found.modifier.map(|m| m.meaning).unwrap_or_default())
    }

    #[test]
    fn names_are_known_however_they_are_spelt() {
        for name in ["CT_Liver", "liver", "Liver", "MRI_Liver"] {
            assert_eq!(code(name), ("10200004".into(), String::new()), "{name}");
        }
        for name in ["kidney_left", "LeftKidney", "CT_LeftKidney", "Left kidney", "kidney-L"] {
            assert_eq!(code(name), ("64033007".into(), "Left".into()), "{name}");
        }
        for name in ["heart_ventricle_right", "RightVentricle", "MRI_RightVentricle"] {
            assert_eq!(code(name), ("53085002".into(), String::new()), "{name}");
        }
        assert_eq!(code("CT_GallBladder").0, "28231008");
        assert_eq!(code("KidneyTumor").0, "108369006");
    }

    #[test]
    fn other_names_have_codes_of_a_private_scheme() {
        let (one, other) = (property("LVMyocardialScars"), property("LVMyocardialEdema"));
        assert_eq!([one.kind.scheme, one.category.scheme], [PRIVATE, PRIVATE]);
        assert!(one.kind.value != other.kind.value && one.kind.value.len() <= 16);
        assert_eq!(property("LVMyocardialScars"), one);
        assert_eq!(property("").kind.scheme, PRIVATE);
    }
}
