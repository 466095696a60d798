//! A device with its kernels, and the one place that launches them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::driver::nvidia::Nvidia;
use super::driver::{Arg, Driver};
use super::{dependent, kernels, occupancy};
use crate::backend::Launches;
use crate::error::{Error, Result};

/// A device with its kernels, loaded when first launched.
pub struct Cuda<D: Driver> {
    pub(super) driver: D,
    pub(super) resident: Arc<Resident<D>>,
    pub(super) saturated_by_host: AtomicU64,
    /// Blocks a multiprocessor that kernels ask for besides those of their templates.
    more_blocks: i8,
    /// Whether products may take the kernels of sm_90a.
    pub(super) wgmma: bool,
}

/// What launches use besides a session's arena and parameters.
pub(super) struct Resident<D: Driver> {
    /// One a kernel of the table.
    pub functions: Vec<OnceLock<D::Function>>,
    /// u32 on the device, counted up by every kernel that writes f16.
    pub saturated: D::Buffer,
    /// [`COUNTERS`] u32 a prompt, 0 between launches: the blocks of one step of one prompt count themselves, and the
    /// last one ends it.
    pub counters: D::Buffer,
}

/// Most blocks along the second axis of a launch, which counts prompts.
const MOST_PROMPTS: usize = 65535;

/// Counts of a prompt: the heads of its tokens are four steps in one launch.
const COUNTERS: usize = 4;

/// A parameter in device memory, in the storage that `dispatch::param` says.
pub struct Param<D: Driver> {
    pub(super) buffer: D::Buffer,
}

/// How many values f16 could not hold, so that they were stored as the largest f16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saturated {
    /// Weights while loading, and inputs.
    pub by_host: u64,
    /// Activations, since the backend was made; modulo 2^32.
    pub values: u64,
}

impl Cuda<Nvidia> {
    /// The backend on NVIDIA device `ordinal`.
    ///
    /// # Errors
    /// As [`Nvidia::open`].
    pub fn open(ordinal: usize, launches: Launches) -> Result<Self> {
        Cuda::new(Nvidia::open(ordinal, launches)?)
    }
}

impl<D: Driver> Cuda<D> {
    /// A backend on `driver`.
    ///
    /// # Errors
    /// A device that fails.
    pub fn new(driver: D) -> Result<Self> {
        let saturated = driver.allocate(size_of::<u32>())?;
        driver.write(&saturated, 0, &0u32.to_ne_bytes())?;
        let zeros = vec![0; COUNTERS * MOST_PROMPTS * size_of::<u32>()];
        let counters = driver.allocate(zeros.len())?;
        driver.write(&counters, 0, &zeros)?;
        let functions = std::iter::repeat_with(OnceLock::new).take(kernels::count()).collect();
        let resident = Arc::new(Resident { functions, saturated, counters });
        let wgmma = driver.wgmma();
        Ok(Cuda { driver, resident, saturated_by_host: AtomicU64::new(0), more_blocks: 0, wgmma })
    }

    /// The same with kernels that ask for so many more blocks a multiprocessor than their templates do: for whoever
    /// measures.
    pub fn with_more_blocks(self, more_blocks: i8) -> Self {
        Cuda { more_blocks, ..self }
    }

    /// The same with products by `mma.sync` alone, on a device that has `wgmma` too: for whoever measures.
    pub fn with_mma_sync(self) -> Self {
        Cuda { wgmma: false, ..self }
    }

    /// Whether products of a full batch are those of `wgmma`.
    pub fn has_wgmma(&self) -> bool {
        self.wgmma
    }

    /// The device.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// How many values f16 could not hold so far.
    ///
    /// # Errors
    /// A device that fails.
    pub fn saturated(&self) -> Result<Saturated> {
        let mut bytes = [0; size_of::<u32>()];
        self.driver.read(&self.resident.saturated, 0, &mut bytes)?;
        let by_host = self.saturated_by_host.load(Ordering::Relaxed);
        Ok(Saturated { by_host, values: u32::from_ne_bytes(bytes).into() })
    }

    /// The loaded kernel of index `index`.
    fn function(&self, index: usize, kernel: &'static kernels::Kernel, ptx: &str) -> Result<&D::Function> {
        let kept = &self.resident.functions[index];
        if let Some(function) = kept.get() {
            return Ok(function);
        }
        let text = dependent::text(kernel, ptx, self.driver.launches())?;
        let function = self.driver.load(kernel, &occupancy::text(kernel, text, self.more_blocks)?)?;
        Ok(kept.get_or_init(|| function))
    }

    /// The one place that launches kernels.
    #[allow(unsafe_code, reason = "running a kernel is the hardware boundary")]
    pub(super) fn launch(&self, capture: Option<&D::Capture>, entry: &str, grid: [u32; 3], args: &[Arg]) -> Result<()> {
        let (index, kernel, ptx) = kernels::find(entry)?;
        if !args.iter().map(Arg::kind).eq(kernels::params(index).iter().map(|&(_, kind)| kind)) {
            return Err(Error::Internal { place: entry.into(), what: "arguments do not match the kernel".into() });
        }
        if grid.contains(&0) {
            return Ok(());
        }
        let function = self.function(index, kernel, ptx)?;
        // SAFETY: the types were just compared with those that the PTX declares; addresses and sizes
        // come from a plan's values and parameters, whose buffers the caller's borrow of arena and parameters keeps,
        // and a recording its share in them.
        unsafe { self.driver.launch(capture, function, grid, args) }
    }
}
