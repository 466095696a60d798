//! Programmatic dependent launch: every kernel has such a text, and the interpreter, which refuses a kernel that
//! touches global memory before it has waited, computes the same bits with it.
#![cfg(feature = "cuda")]

use crate::common::answers;

use std::sync::Arc;

use medsegx::Error;
use medsegx::backend::Launches;
use medsegx::backend::cuda::{dependent, kernels, occupancy};
use medsegx::mask::MaskChoice;
use medsegx::segment::{Capacity, Device, Model, ModelOptions, Segmenter};
use medsegx::weights::Weights;

#[test]
fn every_kernel_waits_before_anything_else() {
    for (kernel, ptx) in kernels::texts() {
        assert_eq!(dependent::text(kernel, ptx, Launches::Ordered).unwrap(), ptx);
        let text = dependent::text(kernel, ptx, Launches::Dependent).unwrap();
        let module = ptxvm::Module::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", kernel.entry));
        let header = if kernel.target() == "sm_80" { ("7.8", "sm_90") } else { ("8.0", "sm_90a") };
        assert_eq!((module.version(), module.target()), header, "{}", kernel.entry);
        let (_, body) = text.split_once("\n{\n").unwrap();
        let instructions = body.lines().map(|line| line.split("//").next().unwrap().trim());
        let first: Vec<&str> = instructions.filter(|line| !line.is_empty() && !line.starts_with('.')).take(2).collect();
        assert_eq!(first, ["griddepcontrol.wait;", "griddepcontrol.launch_dependents;"], "{}", kernel.entry);
    }
}

#[test]
fn every_kernel_may_be_asked_for_another_number_of_blocks() {
    for (kernel, ptx) in kernels::texts() {
        let asked = |text: &str| -> i32 {
            let numbers: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(".minnctapersm ")).collect();
            assert_eq!(numbers.len(), 1, "{}", kernel.entry);
            numbers[0].trim().parse().unwrap()
        };
        for more in [-8, -1, 0, 1] {
            let text = occupancy::text(kernel, ptx.into(), more).unwrap();
            ptxvm::Module::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", kernel.entry));
            assert_eq!(asked(&text), (asked(ptx) + i32::from(more)).max(1), "{}", kernel.entry);
            assert_eq!(text.lines().count(), ptx.lines().count(), "{}", kernel.entry);
        }
        let refused = occupancy::text(kernel, ptx.replace(".minnctapersm", ".maxnctapersm").into(), 1);
        assert!(matches!(refused, Err(Error::Internal { .. })), "{refused:?}");
    }
}

#[test]
fn a_text_that_begins_otherwise_is_refused() {
    let (kernel, ptx) = kernels::texts().next().unwrap();
    for text in [ptx.replace("sm_80", "sm_86"), ptx.replacen("\n{\n", "\n{ \n", 1)] {
        let refused = dependent::text(kernel, &text, Launches::Dependent);
        assert!(matches!(refused, Err(Error::Internal { .. })), "{refused:?}");
    }
}

#[test]
fn dependent_launches_change_no_bit() {
    let weights = Weights::synthetic(&answers::config(), 22);
    let [mut dependent, mut ordered] = ["ptxvm:fast:dependent", "ptxvm:fast"].map(|name| {
        let device: Device = name.parse().unwrap();
        let model = Arc::new(Model::load(&weights, &ModelOptions { device, ..ModelOptions::default() }).unwrap());
        Segmenter::new(&model, Capacity { batch: 2, ..Capacity::default() }, MaskChoice::Auto).unwrap()
    });
    let volume = answers::volume();
    // Outside of a recording, recorded, replayed.
    for pair in [[0, 1], [2, 3], [4, 5]] {
        let found = answers::answers(&mut dependent, &volume, &pair, true);
        assert!(found == answers::answers(&mut ordered, &volume, &pair, true), "slices {pair:?}: other bits");
    }
}

#[test]
fn only_cuda_devices_have_dependent_launches() {
    assert_eq!("cuda:1:dependent".parse::<Device>().unwrap(), Device::Cuda(1, Launches::Dependent));
    assert_eq!("cuda:dependent".parse::<Device>().unwrap(), Device::Cuda(0, Launches::Dependent));
    assert_eq!("cuda:1".parse::<Device>().unwrap(), Device::Cuda(1, Launches::Ordered));
    for name in ["cpu:dependent", "auto:dependent", ":dependent", "cuda:x:dependent", "cuda:1:dependent:dependent"] {
        assert!(name.parse::<Device>().is_err(), "{name}");
    }
}
