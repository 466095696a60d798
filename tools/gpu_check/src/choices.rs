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
