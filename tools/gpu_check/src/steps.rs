//! What is checked and timed, each step by the program that users run.

use std::process::Command;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{Job, child, volume};

fn bench(job: &Job, device: &str, what: &str, config: &str, batches: &[usize], repeats: usize) -> Command {
    let mut command = Command::new(job.medsegx());
    command.args(["bench", what, "--json", "--device", device, "--config", config]);
    let batches: Vec<String> = batches.iter().map(usize::to_string).collect();
    command.args(["--batch", &batches.join(","), "--repeats", &repeats.to_string()]);
    command
}

/// The device and its ceilings; refuses a machine without one.
pub fn device(job: &Job) -> anyhow::Result<Value> {
    let mut about = child::json(&mut bench(job, &job.device, "model", "tiny", &[1], 1)).with_context(|| {
        format!("no usable device {}. The bundle is complete; take it to a machine with an NVIDIA GPU", job.device)
    })?;
    if let Some(about) = about.as_object_mut() {
        about.retain(|key, _| !["config", "rows", "load_seconds", "distance_from_cpu"].contains(&key.as_str()));
    }
    Ok(about)
}

/// Every operation, the golden tensors, agreement with the interpreter, masks and scores.
pub fn checks(job: &Job) -> anyhow::Result<Value> {
    // `cargo test` has them on ptxvm; they take minutes.
    let long = ["every_operation", "goldens_of_the_large_network", "networks_with_a_tiny_vit"];
    checks_on(job, &job.device, &[], if job.interpreted() { &long } else { &[] })
}

/// The tests whose names contain one of `wanted`, or all, on `device`.
fn checks_on(job: &Job, device: &str, wanted: &[&str], skipped: &[&str]) -> anyhow::Result<Value> {
    let mut command = Command::new(job.checks());
    command.args(["--nocapture", "--test-threads", "1"]).args(wanted);
    command.args(skipped.iter().flat_map(|name| ["--skip", name]));
    command.env("MEDSEGX_TEST_DEVICE", device).env("MEDSEGX_TEST_ROOT", &job.bundle);
    let output = child::run(&mut command)?;
    let lines: Vec<&str> = output.stdout.lines().collect();
    let result = lines.iter().rev().find(|line| line.starts_with("test result: ")).copied().unwrap_or("no result");
    Ok(json!({ "passed": output.success, "result": result, "lines": lines }))
}

/// Whole forward passes.
pub fn models(job: &Job) -> anyhow::Result<Value> {
    let repeats = if job.interpreted() { 1 } else { 30 };
    let one = |config: &String| child::json(&mut bench(job, &job.device, "model", config, &job.batches, repeats));
    job.configs.iter().map(one).collect()
}

/// The same with dependent launches at the smallest batch, where the gaps between launches weigh most, if the recorded
/// runs pass their checks with them.
pub fn dependent(job: &Job) -> Value {
    let measured = || -> anyhow::Result<Value> {
        let device = format!("{}:dependent", job.device);
        let recorded: &[&str] = if job.interpreted() { &["a_whole_run"] } else { &["a_whole_run", "the_same_bits"] };
        let checks = checks_on(job, &device, recorded, &[])?;
        if checks["passed"] != json!(true) {
            return Ok(json!({ "checks": checks, "skipped": "their checks failed" }));
        }
        let (repeats, least) = (if job.interpreted() { 1 } else { 30 }, job.batches.iter().min().copied());
        let batches: Vec<usize> = least.into_iter().collect();
        let one = |config: &String| child::json(&mut bench(job, &device, "model", config, &batches, repeats));
        let models = job.configs.iter().map(one).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(json!({ "checks": checks, "models": models }))
    };
    measured().unwrap_or_else(|error| json!({ "skipped": format!("{error:#}") }))
}

/// Every step at the smallest batch and at the largest below 64.
pub fn kernels(job: &Job) -> anyhow::Result<Value> {
    let repeats = if job.interpreted() { 1 } else { 15 };
    let least = job.batches.iter().min().copied();
    let most = job.batches.iter().copied().filter(|&batch| batch <= 64).max().filter(|_| !job.interpreted());
    let mut batches: Vec<usize> = least.into_iter().chain(most).collect();
    batches.dedup();
    let runs = job.configs.iter().flat_map(|config| batches.iter().map(move |&batch| (config, batch)));
    runs.map(|(config, batch)| child::json(&mut bench(job, &job.device, "kernels", config, &[batch], repeats)))
        .collect()
}

/// Every step at the smallest batch with one block a multiprocessor fewer and more than each kernel asks for: `[fewer,
/// more]`, each as [`kernels`].
pub fn blocks(job: &Job) -> Value {
    let (repeats, least) = (if job.interpreted() { 1 } else { 15 }, job.batches.iter().min().copied());
    let batches: Vec<usize> = least.into_iter().collect();
    let one = |config: &String, more: &str| {
        child::json(bench(job, &job.device, "kernels", config, &batches, repeats).args(["--more-blocks", more]))
    };
    let all = |more| job.configs.iter().map(|config| one(config, more)).collect::<anyhow::Result<Value>>();
    let measured = || anyhow::Ok(json!([all("-1")?, all("1")?]));
    measured().unwrap_or_else(|error| json!({ "skipped": format!("{error:#}") }))
}

/// Every step at the largest batch that [`kernels`] has, with products by mma.sync on a device that has wgmma.
pub fn mma_sync(job: &Job, kernels: &Value) -> Value {
    let models = kernels.as_array().map_or(&[][..], Vec::as_slice);
    let most = models.iter().filter_map(|model| model["batch"].as_u64()).max();
    let full: Vec<&Value> = models.iter().filter(|model| model["batch"].as_u64() == most).collect();
    if full.iter().any(|model| model["products"] != "wgmma") {
        return json!({ "skipped": "the device has no wgmma" });
    }
    let one = |model: &&Value| {
        let config = model["config"].as_str().unwrap_or_default();
        let batch = usize::try_from(most.unwrap_or(1))?;
        child::json(bench(job, &job.device, "kernels", config, &[batch], 15).arg("--mma-sync"))
    };
    let measured = || full.iter().map(one).collect::<anyhow::Result<Value>>();
    measured().unwrap_or_else(|error| json!({ "skipped": format!("{error:#}") }))
}

/// File to file: a volume of 512 x 512 x 300 with one box a slice.
pub fn volumes(job: &Job) -> anyhow::Result<Value> {
    let dims = if job.interpreted() { [64, 48, 2] } else { [512, 512, 300] };
    let folder = job.scratch.path();
    let image = folder.join("ct.nii");
    volume::write(&image, dims)?;
    let Some(config) = job.configs.first() else { return Ok(json!([])) };
    let weights = folder.join("weights.safetensors");
    let mut synth = Command::new(job.medsegx());
    synth.args(["synth", "--config", config, "-o"]).arg(&weights);
    anyhow::ensure!(child::run(&mut synth)?.success, "weights cannot be made");
    let [x, y, z] = dims.map(|n| n - 1);
    let region = format!("{},{},0,{},{},{z}", x / 8, y / 8, x - x / 8, y - y / 8);
    let mut rows = Vec::new();
    for output in ["mask.nii", "mask.nii.gz"] {
        let report = folder.join(format!("{output}.json"));
        let mut segment = Command::new(job.medsegx());
        segment.arg("segment").arg(&image).arg("-o").arg(folder.join(output)).arg("--weights").arg(&weights);
        segment.args(["--task", "CT_Liver", "--box3d", &region, "--device", &job.device, "--quiet", "--report"]);
        anyhow::ensure!(child::run(segment.arg(&report))?.success, "the volume cannot be segmented");
        let report: Value = serde_json::from_str(&std::fs::read_to_string(&report)?)?;
        rows.push(json!({ "config": config, "dims": dims, "output": output, "seconds": report["seconds"] }));
    }
    Ok(json!(rows))
}

/// The same network in PyTorch, where this machine has it.
pub fn torch(job: &Job) -> Value {
    let script = job.bundle.join("torch_compare.py");
    let batches: Vec<String> = job.batches.iter().map(usize::to_string).collect();
    let one = |config: &String| {
        let mut python = Command::new(&job.python);
        python.arg(&script).args(["--config", config, "--batch", &batches.join(",")]);
        if job.interpreted() {
            python.args(["--device", "cpu", "--modes", "eager,sdpa", "--repeats", "1"]);
        } else {
            python.args(["--device", &job.device]);
        }
        child::json(&mut python).unwrap_or_else(|error| json!({ "config": config, "skipped": format!("{error:#}") }))
    };
    job.configs.iter().map(one).collect()
}
