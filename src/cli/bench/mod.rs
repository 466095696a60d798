//! `medsegx bench`: how fast the model and its kernels are, checked before they are timed.

#[cfg(feature = "cuda")]
mod cards;
mod common;
#[cfg(feature = "cuda")]
mod device;
#[cfg(feature = "cuda")]
mod floors;
mod kernels;
mod model;
#[cfg(feature = "cuda")]
mod paper;
mod read;
mod tune;
mod turns;
#[cfg(feature = "dicom")]
mod write;

use clap::Subcommand;
#[cfg(feature = "cuda")]
use medsegx::backend::cuda::Cuda;
use medsegx::segment::Device;

/// Measure the model and its kernels
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Milliseconds a slice at several batch sizes, and the time of each stage
    Model(model::Args),
    /// Every operation at the model's shapes: time, rate, and share of this machine's measured ceiling
    Kernels(kernels::Args),
    /// The time of a run on a GPU on paper: FLOP, bytes, floors, and what the instructions of the kernels say
    #[cfg(feature = "cuda")]
    Floors(floors::Args),
    /// An image from its files to voxels in memory: milliseconds, and the most that it took
    Read(read::Args),
    /// A step of tuning as a multiple of the forward pass of the same batch, both in turns; and its memory
    Tune(tune::Args),
    /// One slice for each line of standard input, its milliseconds to standard output: for taking turns with other
    /// engines
    Turns(turns::Args),
    /// A label map to a DICOM mask of its series: milliseconds, and the memory that it took
    #[cfg(feature = "dicom")]
    Write(write::Args),
}

/// Runs one of the benches.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.what {
        What::Model(args) => match args.common.device {
            Device::Cpu => model::run(&args),
            #[cfg(feature = "cuda")]
            Device::Cuda(at, launches) => device::model(&args.common, &args.batch, Cuda::open(at, launches)?),
            #[cfg(feature = "ptxvm")]
            Device::Ptxvm(checks, launches) => {
                device::model(&args.common, &args.batch, args.common.ptxvm(checks, launches)?)
            }
            other => Err(args.common.refuse(other)),
        },
        What::Kernels(args) => match args.common.device {
            Device::Cpu => kernels::run(&args),
            #[cfg(feature = "cuda")]
            Device::Cuda(at, launches) => device::kernels(&args, Cuda::open(at, launches)?),
            #[cfg(feature = "ptxvm")]
            Device::Ptxvm(checks, launches) => device::kernels(&args, args.common.ptxvm(checks, launches)?),
            other => Err(args.common.refuse(other)),
        },
        #[cfg(feature = "cuda")]
        What::Floors(args) => floors::run(&args),
        What::Read(args) => read::run(&args),
        What::Tune(args) => tune::run(&args),
        What::Turns(args) => turns::run(&args),
        #[cfg(feature = "dicom")]
        What::Write(args) => write::run(&args),
    }
}
