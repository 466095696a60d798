//! What the times recommend where medsegx has a choice.

use serde_json::{Value, json};

/// A choice is recommended where it takes at most this share of the other's time; less is taken for noise.
const WORTH_IT: f64 = 0.99;

/// Dependent launches beside ordered ones, model by model at the batch that both were timed at. Times of the
/// interpreter mean nothing, and no choice is recommended by them.
pub fn dependent_launches(found: &Value, interpreted: bool) -> Value {
    if let Some(why) = found["dependent"]["skipped"].as_str() {
        return json!({ "recommended": Value::Null, "why": format!("not timed: {why}") });
    }
    let mut rows = Vec::new();
    for with in list(&found["dependent"]["models"]) {
        let ordered = list(&found["models"]).iter().find(|model| model["config"] == with["config"]);
        let ordered = ordered.map_or(&[][..], |model| list(&model["rows"]));
        for row in list(&with["rows"]) {
            let other = ordered.iter().find(|other| other["batch"] == row["batch"]);
            let times = (row["ms"].as_f64(), other.and_then(|other| other["ms"].as_f64()));
            let (Some(dependent_ms), Some(ordered_ms)) = times else { continue };
            rows.push(json!({
                "config": with["config"],
                "batch": row["batch"],
                "ordered_ms": ordered_ms,
                "dependent_ms": dependent_ms,
                "ratio": dependent_ms / ordered_ms,
            }));
        }
    }
    let (recommended, why) = if interpreted {
        (Value::Null, "times of the interpreter mean nothing")
    } else if rows.is_empty() {
        (Value::Null, "nothing was timed both ways")
    } else if rows.iter().all(|row| row["ratio"].as_f64().is_some_and(|ratio| ratio <= WORTH_IT)) {
        (json!("dependent"), "faster with every model")
    } else {
        (json!("ordered"), "dependent launches are not faster with every model")
    };
    json!({ "recommended": recommended, "why": why, "rows": rows })
}

/// One block a multiprocessor fewer or more beside what each kernel asks for, step by step at the batch that all three
/// were timed at: a step is recommended another number where that is worth it, in the row of its model and shapes.
pub fn blocks(found: &Value, interpreted: bool) -> Value {
    if let Some(why) = found["blocks"]["skipped"].as_str() {
        return json!({ "recommended": Value::Null, "why": format!("not timed: {why}") });
    }
    if interpreted {
        return json!({ "recommended": Value::Null, "why": "times of the interpreter mean nothing" });
    }
    let microseconds = |models: &Value, of: &Value, row: &Value| {
        let same = |model: &&Value| ["config", "batch"].iter().all(|&key| model[key] == of[key]);
        let rows = list(models).iter().find(same).map_or(&[][..], |model| list(&model["rows"]));
        let same = |other: &&Value| ["op", "shapes"].iter().all(|&key| other[key] == row[key]);
        rows.iter().find(same).and_then(|other| other["microseconds"].as_f64())
    };
    let mut rows = Vec::new();
    for model in list(&found["kernels"]) {
        for row in list(&model["rows"]) {
            let others = [0, 1].map(|which| microseconds(&found["blocks"][which], model, row));
            let (Some(own), [Some(fewer), Some(more)]) = (row["microseconds"].as_f64(), others) else { continue };
            let (best, change) = if fewer < more { (fewer, -1) } else { (more, 1) };
            let change = if best <= WORTH_IT * own { change } else { 0 };
            let mut row =
                json!({ "config": model["config"], "batch": model["batch"], "op": row["op"], "shapes": row["shapes"] });
            (row["us"], row["fewer_us"], row["more_us"]) = (json!(own), json!(fewer), json!(more));
            row["change"] = json!(change);
            rows.push(row);
        }
    }
    let worth_it: Vec<&Value> = rows.iter().filter(|row| row["change"] != json!(0)).collect();
    let why = match (rows.len(), worth_it.len()) {
        (0, _) => "nothing was timed in all three ways".into(),
        (steps, changes) => format!("{changes} of {steps} steps are faster by a hundredth or more"),
    };
    json!({ "recommended": worth_it, "why": why, "rows": rows })
}

/// Products by wgmma beside mma.sync, model by model at the largest batch: the time of all its products.
pub fn products(found: &Value, interpreted: bool) -> Value {
    let skipped = found["mma_sync"]["skipped"].as_str().map(|why| format!("not timed: {why}"));
    if let Some(why) = skipped.or(interpreted.then(|| "times of the interpreter mean nothing".into())) {
        return json!({ "recommended": Value::Null, "why": why });
    }
    let time = |model: &Value| -> f64 {
        let products = list(&model["rows"]).iter().filter(|row| row["op"] == "linear");
        products.filter_map(|row| Some(row["count"].as_f64()? * row["microseconds"].as_f64()?)).sum()
    };
    let mut rows = Vec::new();
    for without in list(&found["mma_sync"]) {
        let same = |model: &&Value| ["config", "batch"].iter().all(|&key| model[key] == without[key]);
        let Some(with) = list(&found["kernels"]).iter().find(same) else { continue };
        let (wgmma_us, mma_sync_us) = (time(with), time(without));
        rows.push(json!({
            "config": with["config"],
            "batch": with["batch"],
            "wgmma_us": wgmma_us,
            "mma_sync_us": mma_sync_us,
            "ratio": wgmma_us / mma_sync_us,
        }));
    }
    let faster = |row: &Value| row["ratio"].as_f64().is_some_and(|ratio| ratio <= WORTH_IT);
    let (recommended, why) = match (rows.is_empty(), rows.iter().all(faster)) {
        (true, _) => (Value::Null, "nothing was timed both ways"),
        (false, true) => (json!("wgmma"), "faster with every model"),
        (false, false) => (json!("mma.sync"), "wgmma is not faster with every model"),
    };
    json!({ "recommended": recommended, "why": why, "rows": rows })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(ordered: &[f64], dependent: &[f64]) -> Value {
        let models = |ms: &[f64]| -> Vec<Value> {
            let one = |(i, ms)| json!({ "config": format!("model {i}"), "rows": [{ "batch": 1, "ms": ms }] });
            ms.iter().enumerate().map(one).collect()
        };
        json!({ "models": models(ordered), "dependent": { "models": models(dependent) } })
    }

    #[test]
    fn dependent_launches_are_recommended_where_every_model_gains() {
        for (dependent, expected) in [([0.9, 1.8], "dependent"), ([0.9, 2.0], "ordered"), ([1.1, 2.2], "ordered")] {
            let choice = dependent_launches(&found(&[1.0, 2.0], &dependent), false);
            assert_eq!(choice["recommended"], expected, "{dependent:?}");
            assert_eq!(choice["rows"][1]["ratio"], dependent[1] / 2.0);
        }
    }

    #[test]
    fn a_step_is_recommended_another_number_of_blocks_where_that_is_faster() {
        let times = |us: [f64; 3]| -> Value {
            let one = |(i, us)| json!({ "op": "linear", "shapes": format!("{i}"), "microseconds": us });
            let rows: Vec<Value> = us.into_iter().enumerate().map(one).collect();
            json!([{ "config": "vit_b", "batch": 1, "rows": rows }])
        };
        // Faster with fewer, no faster by a hundredth, faster with more.
        let found = json!({
            "kernels": times([10.0, 10.0, 10.0]),
            "blocks": [times([9.0, 9.95, 11.0]), times([9.5, 9.91, 8.0])],
        });
        let choice = blocks(&found, false);
        assert_eq!(choice["rows"].as_array().unwrap().len(), 3, "{choice}");
        let changes: Vec<&Value> = list(&choice["recommended"]).iter().map(|row| &row["change"]).collect();
        assert_eq!(changes, [&json!(-1), &json!(1)], "{choice}");
        assert!(blocks(&found, true)["recommended"].is_null());
        assert!(blocks(&json!({ "blocks": { "skipped": "no" } }), false)["recommended"].is_null());
    }

    #[test]
    fn wgmma_is_recommended_where_the_products_of_every_model_gain() {
        let models = |us: [f64; 2]| -> Value {
            let rows = |us| json!([{ "op": "linear", "count": 2, "microseconds": us }, { "op": "other", "count": 9, "microseconds": 1.0 }]);
            let one = |(i, us)| json!({ "config": format!("model {i}"), "batch": 32, "rows": rows(us) });
            us.into_iter().enumerate().map(one).collect()
        };
        for (wgmma, expected) in [([0.6, 0.98], "wgmma"), ([0.6, 1.0], "mma.sync")] {
            let found = json!({ "kernels": models(wgmma), "mma_sync": models([1.0, 1.0]) });
            let choice = products(&found, false);
            assert_eq!(choice["recommended"], expected, "{choice}");
            assert_eq!((&choice["rows"][0]["wgmma_us"], &choice["rows"][0]["mma_sync_us"]), (&json!(1.2), &json!(2.0)));
            assert!(products(&found, true)["recommended"].is_null());
        }
        let skipped = json!({ "kernels": [], "mma_sync": { "skipped": "the device has no wgmma" } });
        assert!(products(&skipped, false)["recommended"].is_null());
        assert!(products(&json!({ "kernels": [], "mma_sync": [] }), false)["recommended"].is_null());
    }

    #[test]
    fn nothing_is_recommended_without_times_that_mean_something() {
        let skipped = json!({ "models": [], "dependent": { "skipped": "sm_80" } });
        let cases = [(found(&[1.0], &[0.5]), true), (skipped, false), (found(&[1.0], &[]), false)];
        for (found, interpreted) in cases {
            let choice = dependent_launches(&found, interpreted);
            assert!(choice["recommended"].is_null(), "{choice}");
            assert!(choice["why"].is_string(), "{choice}");
        }
    }
}
