//! The short table that is printed last.

use std::fmt::Write as _;

use serde_json::Value;

/// A table of what was found.
pub fn of(found: &Value) -> String {
    let mut out = String::new();
    let about = &found["device"];
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let _ = writeln!(
        out,
        "\n{} ({}), ceilings {:.4} TFLOP/s of mma.sync, {:.3} GB/s",
        text(&about["device"]),
        text(&about["description"]),
        number(&about["tensor_ceiling_tflops"]),
        number(&about["copy_ceiling_gbytes"])
    );
    let _ = writeln!(out, "checks: {}", text(&found["checks"]["result"]));
    let _ = writeln!(
        out,
        "{:8} {:>5} {:>10} {:>10} {:>10}   PyTorch, slices/s",
        "model", "batch", "ms", "slices/s", "of ceiling"
    );
    for model in list(&found["models"]) {
        for row in list(&model["rows"]) {
            let _ = writeln!(
                out,
                "{:8} {:>5} {:>10.3} {:>10.1} {:>8.1} %   {}",
                text(&model["config"]),
                row["batch"],
                number(&row["ms"]),
                number(&row["slices_per_second"]),
                100.0 * number(&row["share_of_ceiling"]),
                torch(&found["torch"], &model["config"], &row["batch"])
            );
        }
    }
    dependent(&mut out, &found["dependent"]);
    let launches = &found["choices"]["launches"];
    if let Some(why) = launches["why"].as_str() {
        let recommended = launches["recommended"].as_str().unwrap_or("none");
        let _ = writeln!(out, "recommended launches: {recommended} ({why})");
    }
    let products = &found["choices"]["products"];
    if let Some(why) = products["why"].as_str() {
        let recommended = products["recommended"].as_str().unwrap_or("none");
        let _ = writeln!(out, "recommended products: {recommended} ({why})");
    }
    let blocks = &found["choices"]["blocks"];
    if let Some(why) = blocks["why"].as_str() {
        let _ = writeln!(out, "blocks a multiprocessor: {why}");
    }
    for row in list(&blocks["recommended"]) {
        let [config, op, shapes] = ["config", "op", "shapes"].map(|key| text(&row[key]));
        let [us, fewer, more] = ["us", "fewer_us", "more_us"].map(|key| number(&row[key]));
        let _ = writeln!(out, "  {config} {op} {shapes}: {us:.1} us, one fewer {fewer:.1}, one more {more:.1}");
    }
    for row in list(&found["volumes"]) {
        let seconds = &row["seconds"];
        let inside = ["encode", "decode", "restore"].map(|stage| number(&seconds[stage])).iter().sum::<f64>();
        let _ = writeln!(
            out,
            "{} to {}: {:.2} s, of it network and masks {inside:.2} s, loading the model {:.2} s, writing {:.2} s",
            row["dims"],
            text(&row["output"]),
            number(&seconds["total"]),
            number(&seconds["load"]),
            number(&seconds["write"])
        );
    }
    out
}

/// The rows of dependent launches, or why there are none.
fn dependent(out: &mut String, found: &Value) {
    if let Some(why) = found["skipped"].as_str() {
        let _ = writeln!(out, "dependent launches: none: {why}");
    }
    for model in list(&found["models"]) {
        for row in list(&model["rows"]) {
            let [ms, rate] = ["ms", "slices_per_second"].map(|key| row[key].as_f64().unwrap_or(f64::NAN));
            let config = text(&model["config"]);
            let _ = writeln!(out, "{config:8} {:>5} {ms:>10.3} {rate:>10.1}   with dependent launches", row["batch"]);
        }
    }
}

/// PyTorch's rates for a model and batch, mode by mode, or why there are none.
fn torch(found: &Value, config: &Value, batch: &Value) -> String {
    let Some(of_model) = list(found).iter().find(|run| run["config"] == *config) else { return "-".into() };
    if let Some(why) = of_model["skipped"].as_str() {
        return format!("none: {why}");
    }
    let rows = list(&of_model["rows"]).iter().filter(|row| row["batch"] == *batch);
    let cells = rows.map(|row| match row["slices_per_second"].as_f64() {
        Some(rate) => format!("{} {rate:.1}", text(&row["mode"])),
        None => format!("{}: {}", text(&row["mode"]), text(&row["error"])),
    });
    cells.collect::<Vec<_>>().join(", ")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}
