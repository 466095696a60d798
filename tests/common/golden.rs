//! Golden tensors and the pictures they were computed from.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;

use super::tolerance::{self, Tolerance};
use super::{relative_l2, shared};

/// A file of golden tensors and its list of cases.
pub struct Golden {
    name: String,
    bytes: Vec<u8>,
    /// `cases`, and sizes that differ from the named configuration.
    pub meta: Value,
    table: &'static [Tolerance],
}

/// Prompt and context of a case.
#[derive(Clone)]
pub struct Case {
    /// u8 `[256, 256, 3]`.
    pub pixels: Vec<u8>,
    /// x0, y0, x1, y1.
    pub rectangle: [f32; 4],
    /// Modality, three organ indices, task.
    pub context: [i32; 5],
}

impl Golden {
    /// A file of ../shared/oracle, or `None` where that is not there.
    pub fn shared(name: &str, table: &'static [Tolerance]) -> Option<Golden> {
        let path = shared(&format!("golden {name}"), &format!("oracle/{name}.safetensors"))?;
        let meta = serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
        Some(Golden { name: name.into(), bytes: std::fs::read(path).unwrap(), meta, table })
    }

    /// The logits of the merged checkpoint pair of ../shared/oracle, whose one case stands in the file itself.
    pub fn merged_checkpoint(table: &'static [Tolerance]) -> Option<Golden> {
        let path = shared("golden micro_logits", "oracle/checkpoints/micro_logits.safetensors")?;
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let case: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["meta"]).unwrap();
        Some(Golden { name: "micro_logits".into(), bytes, meta: serde_json::json!({ "cases": [case] }), table })
    }

    /// One of the files that stand in the project.
    pub fn portable(name: &str, table: &'static [Tolerance]) -> Golden {
        // Test executables that were carried to another machine find their data where this variable says.
        let root = std::env::var_os("MEDSEGX_TEST_ROOT").map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let folder = root.join("tests/data/portable");
        let meta = serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
        let bytes = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
        Golden { name: format!("portable {name}"), bytes, meta, table }
    }

    /// The tolerance of `stage`.
    pub fn limit(&self, stage: &str) -> f64 {
        tolerance::find(self.table, stage).limit
    }

    /// Number of cases.
    pub fn cases(&self) -> usize {
        self.meta["cases"].as_array().unwrap().len()
    }

    /// A case, with its picture from ../shared/data or made up.
    pub fn case(&self, index: usize) -> Case {
        let case = &self.meta["cases"][index];
        let numbers = |key: &str| case[key].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
        let organ = numbers("organ");
        let modality = case["modal"].as_i64().unwrap() as i32;
        let context = [modality, organ[0] as i32, organ[1] as i32, organ[2] as i32, organ[3] as i32];
        let corners: Vec<f32> = numbers("box").iter().map(|&x| x as f32).collect();
        Case { pixels: self.case_pixels(index), rectangle: corners.try_into().unwrap(), context }
    }

    /// The picture of a case, u8 `[256, 256, 3]`.
    pub fn case_pixels(&self, index: usize) -> Vec<u8> {
        match self.meta["cases"][index]["img"].as_str() {
            Some(image) => {
                let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/medsegdb-example");
                npy_pixels(&root.join(image))
            }
            None => made_up(index),
        }
    }

    /// A tensor by name and its shape.
    pub fn tensor(&self, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = tensors.tensor(name).ok()?;
        let data = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Some((tensor.shape().to_vec(), data))
    }

    /// Compares with the tensor `name`; a distance above the tolerance of `stage` is printed with its share of it.
    /// Returns false where it is too far.
    #[must_use]
    pub fn check(&self, stage: &str, name: &str, found: &[f32]) -> bool {
        let (_, expected) = self.tensor(name).unwrap_or_else(|| panic!("{}: no tensor {name}", self.name));
        self.compare(stage, name, found, &expected)
    }

    /// As [`Golden::check`], with expected numbers that were rearranged.
    #[must_use]
    pub fn compare(&self, stage: &str, name: &str, found: &[f32], expected: &[f32]) -> bool {
        let row = tolerance::find(self.table, stage);
        let distance = relative_l2(found, expected);
        let good = distance <= row.limit;
        let share = 100.0 * distance / row.limit;
        let verdict = if good { "ok" } else { "TOO FAR" };
        println!("{}: {name}: {distance:.2e}, {share:.0} % of the tolerance ({}): {verdict}", self.name, row.reason);
        good
    }
}

/// The pixels of a uint8 `[256, 256, 3]` npy file.
fn npy_pixels(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!(bytes.len() - header, 256 * 256 * 3, "{}", path.display());
    bytes[header..].to_vec()
}

/// The made-up picture of a case, channels last.
fn made_up(case: usize) -> Vec<u8> {
    let planes = medsegx::weights::synth::image(case);
    let area = planes.len() / 3;
    (0..3 * area).map(|i| planes[i % 3 * area + i / 3]).collect()
}
