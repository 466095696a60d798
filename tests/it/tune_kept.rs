//! What of a tuning is kept: which slices are held out together, what a stop on the way leaves, and what a tuned file
//! that is tuned on hands on.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use crate::common::command::{medsegx, message};
use crate::tune::{label, unit};
use medsegx::model::Preset;
use medsegx::segment::Frame;
use medsegx::tune::{AdamW, Example, Observer, Options, Outcome, Trainer, TrainerOptions, Validate, Validation, tune};
use medsegx::volume::{OpenOptions, Volume};
use medsegx::weights::Weights;
use medsegx::weights::tuned::Tuned;
use safetensors::SafeTensors;

const IMAGE: &str = "tests/data/phantom.nii.gz";
const LABELS: &str = "tests/data/phantom_labels.nii.gz";

/// Counts steps, and ends the tuning behind one of them.
struct Until(usize, Vec<usize>);

impl Observer for Until {
    fn step(&mut self, done: usize, total: usize, _: f64) -> ControlFlow<()> {
        self.1.push(total);
        if done >= self.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// A small trainer, and an example of each of `volumes`: all alike, so that what is learnt of some helps with the
/// others.
fn small(volumes: &[usize]) -> (Trainer, Vec<Example>) {
    let config = Preset::Tiny.medsegx();
    let adam = AdamW { rate: 1e-3, ..AdamW::default() };
    let options = TrainerOptions { threads: Some(2), adam, ..TrainerOptions::default() };
    let trainer = Trainer::new(&Weights::synthetic(&config, 0), options).unwrap();
    let (frame, length) = (Frame::new(&config, 256, 256).unwrap(), config.tokens() * config.prompt_width);
    let embedding: Vec<f32> = (0..length).map(|i| unit("embedding.0", i) as f32).collect();
    let example = |(slice, &volume): (usize, &usize)| {
        let sample = trainer.sample(&embedding, &frame, &label(11)).unwrap();
        Example { sample, volume, slice }
    };
    let examples = volumes.iter().enumerate().map(example).collect();
    (trainer, examples)
}

fn run(volumes: &[usize], options: Options, last: usize) -> (Trainer, Vec<Example>, Outcome, Vec<usize>) {
    let (mut trainer, examples) = small(volumes);
    let mut observer = Until(last, Vec::new());
    let outcome = tune(&mut trainer, &examples, options, &mut observer).unwrap();
    (trainer, examples, outcome, observer.1)
}

const SIXTY: Options = Options { steps: 60, batch: 4, jitter: 0, seed: 1, validate: Validate::Auto };

#[test]
fn what_a_stop_in_the_last_phase_keeps_is_what_its_dice_is_of() {
    let volumes = [0; 2];
    let (_, _, whole, _) = run(&volumes, SIXTY, usize::MAX);
    assert_eq!(whole.validation, Validation::LeaveOneOut);
    assert!(whole.steps > 6, "the best moment lies late enough to be stopped before it: {whole:?}");
    // Two are left out in turn, 60 steps each; a moment is each sixth step.
    for taken in [5, whole.steps - 5, whole.steps - 1] {
        let (mut trainer, examples, outcome, _) = run(&volumes, SIXTY, 120 + taken);
        assert!(outcome.stopped && outcome.steps <= taken && outcome.steps % 6 == 0, "{taken}: {outcome:?}");
        assert!(outcome.steps == 0 || outcome.after.choice > outcome.before.choice, "{taken}: {outcome:?}");
        // What is kept is what so many steps from the base make, and not what they were stopped at.
        let only = Options { steps: outcome.steps.max(1), validate: Validate::Never, ..SIXTY };
        let (mut expected, ..) = if outcome.steps > 0 {
            let (trainer, examples, outcome, _) = run(&volumes, only, usize::MAX);
            (trainer, examples, outcome)
        } else {
            let (trainer, examples) = small(&volumes);
            (trainer, examples, outcome)
        };
        let samples: Vec<_> = examples.iter().map(|example| &example.sample).collect();
        assert!(trainer.logits(&samples).unwrap() == expected.logits(&samples).unwrap(), "{taken}: other parameters");
    }
    let (_, _, complete, _) = run(&volumes, SIXTY, 120 + whole.steps);
    assert_eq!((complete.steps, complete.after.choice), (whole.steps, whole.after.choice));
}

#[test]
fn volumes_are_left_out_whole_and_a_share_is_what_was_asked_for() {
    // Two volumes of four slices: two rounds and a last one, where four slices alone make four.
    let (.., outcome, totals) = run(&[5, 5, 9, 5], SIXTY, usize::MAX);
    assert_eq!((outcome.validation, totals[0]), (Validation::LeaveOneOut, 60 * 3));
    let (.., totals) = run(&[5; 4], SIXTY, usize::MAX);
    assert_eq!(totals[0], 60 * 5);
    let half = Options { validate: Validate::Share(0.5), ..SIXTY };
    for (volumes, expected) in [([0; 4], Validation::Slices(2)), ([3, 3, 8, 8], Validation::Volumes(1))] {
        let (.., outcome, totals) = run(&volumes, half, usize::MAX);
        assert_eq!((outcome.validation, totals[0]), (expected, 60));
    }
}

/// Runs `tune` on two slices of the sample volume.
fn command(labels: &str, output: &Path, more: &[&str]) -> std::process::Output {
    let fixed = ["tune", IMAGE, "--labels", labels, "--label", "1=CT_Liver", "--slices", "8,11", "--validate", "none"];
    let output = ["-o", output.to_str().unwrap(), "--device", "cpu"];
    medsegx(&[&fixed[..], &output, more].concat())
}

#[test]
fn a_tuned_file_that_is_tuned_on_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let [adapters, both] = ["adapters.safetensors", "both.safetensors"].map(|name| folder.path().join(name));
    let steps = ["--steps", "1", "--rate", "1e-3"];
    let first = command(LABELS, &adapters, &[&steps[..], &["--train", "adapters"]].concat());
    assert!(first.status.success(), "{}", message(&first));
    let below = ["--tuned", adapters.to_str().unwrap()];
    let second = command(LABELS, &both, &[&steps[..], &below].concat());
    assert!(second.status.success(), "{}", message(&second));
    let [first, second] = [&adapters, &both].map(|path| Tuned::open(path).unwrap());
    assert_eq!(
        (first.metadata()["groups"].as_str(), second.metadata()["groups"].as_str()),
        ("adapters", "adapters decoder")
    );
    assert_eq!(first.images().collect::<Vec<_>>(), second.images().collect::<Vec<_>>());
    let (first, second) = (tensors(&adapters), tensors(&both));
    assert!(second.keys().any(|name| name.starts_with("mask_decoder.")));
    for (name, values) in first {
        assert!(second.get(&name) == Some(&values), "{name} is lost");
    }
}

/// The bytes of every tensor of a file.
fn tensors(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let read = SafeTensors::deserialize(&bytes).unwrap();
    read.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
}

#[test]
fn labels_that_rounding_moved_are_labels() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let labels = Volume::open(LABELS, &OpenOptions::default()).unwrap();
    let [x, y, z] = labels.dims();
    // Version 1.0 of .npy, x fastest, as floats: what nibabel makes of a mask in 0 and 1 under a slope of 1 / 255.
    let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({z}, {y}, {x}), }}");
    let npy = |name: &str, soft: f64| {
        let mut bytes = [b"\x93NUMPY\x01\x00".as_slice(), &118_u16.to_le_bytes()].concat();
        bytes.extend_from_slice(format!("{header:<117}\n").as_bytes());
        for index in 0..x * y * z {
            let value = labels.voxels().get(index).unwrap();
            bytes.extend_from_slice(&(if value == 1.0 { 1.0 + soft } else { value }).to_le_bytes());
        }
        fs::write(path(name), bytes).unwrap();
        path(name).display().to_string()
    };
    let mut made = Vec::new();
    for (name, soft, said) in [("plain", 0.0, false), ("moved", 6e-8, false), ("soft", -0.3, true)] {
        let file = npy(&format!("{name}.npy"), soft);
        let output = path(&format!("{name}.safetensors"));
        let found = command(&file, &output, &["--steps", "1"]);
        assert!(found.status.success(), "{name}: {}", message(&found));
        assert_eq!(message(&found).contains("between whole numbers"), said, "{name}: {}", message(&found));
        made.push(tensors(&output));
    }
    assert!(made[0] == made[1] && made[0] == made[2], "other masks were tuned on");
}
