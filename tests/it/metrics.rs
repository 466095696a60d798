//! DSC, HD95 and NSD against the published code's values.

use crate::common;

use medsegx::eval::metrics::Label;
use safetensors::SafeTensors;
use serde_json::Value;

const SIDE: usize = 256;

#[test]
fn all_published_pairs() {
    let Some(values) = common::shared("metrics of 23 mask pairs", "oracle/metrics.json") else { return };
    let Some(masks) = common::shared("metrics of 23 mask pairs", "oracle/metrics.safetensors") else { return };
    let values: Vec<Value> = serde_json::from_slice(&std::fs::read(values).unwrap()).unwrap();
    let masks = std::fs::read(masks).unwrap();
    let masks = SafeTensors::deserialize(&masks).unwrap();
    let mask = |name: &str, index: usize| {
        let tensor = masks.tensor(name).unwrap();
        assert_eq!(tensor.shape(), [23, SIDE, SIDE]);
        tensor.data()[index * SIDE * SIDE..][..SIDE * SIDE].iter().map(|&byte| byte > 0).collect::<Vec<bool>>()
    };
    let mut failures = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let name = value["name"].as_str().unwrap();
        let label = Label::new(mask("ground_truth", index), SIDE, SIDE).unwrap();
        let scores = label.score(&mask("prediction", index)).unwrap();
        // Published as float32. Equal to the bit, which is stricter than the 1e-6 (DSC, NSD) and 1e-4 (HD95) asked for.
        for (metric, found) in [("dsc", scores.dsc), ("hd95", scores.hd95), ("nsd2", scores.nsd)] {
            let expected = value[metric].as_f64().unwrap();
            if found as f32 != expected as f32 {
                failures.push(format!("{name}.{metric}: expected {expected}, found {found}"));
            }
        }
    }
    assert_eq!(values.len(), 23);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
