//! The device: memory and launches.

mod cta;
mod memory;
mod shared;
pub mod warp;

pub use memory::{Buffer, GlobalMemory};
pub use shared::{Shared, SharedFault};

use std::sync::Arc;

use crate::counters::Report;
use crate::error::{Error, Result};
use crate::module::{Inner, Module};

/// First address of the shared window. Not zero, so that kernels do not come to rely on it: on sm_90 the driver keeps
/// the first KiB for itself.
pub const SHARED_BASE: u32 = 1024;

/// Start of shared memory in the generic address space.
pub const SHARED_WINDOW: u64 = 0x7e00_0000_0000;

/// How much a launch checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checks {
    /// Everything: bounds, alignment, unwritten registers and bytes, copies in flight, races; counts bank conflicts and
    /// sectors.
    #[default]
    Full,
    /// Bounds, alignment, barriers and convergence only; counts instructions only.
    Fast,
}

/// Grid, block and dynamic shared memory of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// CTAs in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a CTA in x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory, on top of the entry's static one.
    pub shared_bytes: u32,
}

/// The interpreter: a device with global memory.
#[derive(Debug)]
pub struct Machine {
    memory: GlobalMemory,
    threads: usize,
    checks: Checks,
    budget: u64,
    max_shared: u32,
    /// Addresses of the variables of modules launched so far.
    variables: Vec<(Arc<Inner>, Vec<u64>)>,
}

impl Default for Machine {
    fn default() -> Self {
        Machine {
            memory: GlobalMemory::default(),
            threads: 1,
            checks: Checks::Full,
            budget: 1 << 28,
            max_shared: 227 * 1024,
            variables: Vec::new(),
        }
    }
}

impl Machine {
    /// A device with nothing in memory, one host thread and full checks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs the CTAs of a launch on `n` host threads. With one, the order of atomics is the same every time.
    #[must_use]
    pub fn threads(mut self, n: usize) -> Self {
        self.threads = n.max(1);
        self
    }

    /// How much launches check.
    #[must_use]
    pub fn checks(mut self, checks: Checks) -> Self {
        self.checks = checks;
        self
    }

    /// Instructions that a warp may run before it counts as an infinite loop.
    #[must_use]
    pub fn budget(mut self, instructions: u64) -> Self {
        self.budget = instructions;
        self
    }

    /// Shared memory that a CTA may have, in bytes: 227 KiB as on H100 unless said otherwise.
    #[must_use]
    pub fn max_shared(mut self, bytes: u32) -> Self {
        self.max_shared = bytes.min(1 << 20);
        self
    }

    /// A new buffer; its bytes count as unwritten.
    pub fn alloc(&mut self, bytes: u64) -> Result<u64> {
        self.memory.alloc(bytes)
    }

    /// Gives back a whole buffer.
    pub fn free(&mut self, address: u64) -> Result<()> {
        self.memory.free(address)
    }

    /// Copies to the device.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        self.memory.write(address, bytes)
    }

    /// Copies from the device. Unwritten bytes read as 0xff, a NaN in every float format.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<()> {
        self.memory.read(address, out)
    }

    /// The first byte of a range that nobody wrote, as an offset from `address`.
    pub fn first_unwritten(&self, address: u64, bytes: u64) -> Result<Option<u64>> {
        self.memory.first_unwritten(address, bytes)
    }

    /// Makes a range count as unwritten again: an arena calls it where a value's life ends.
    pub fn forget(&mut self, address: u64, bytes: u64) -> Result<()> {
        self.memory.forget(address, bytes)
    }

    /// Runs a kernel to its end. `params` is the parameter block, laid out as the entry's `.param` list says.
    pub fn launch(&mut self, module: &Module, entry: &str, launch: Launch, params: &[u8]) -> Result<Report> {
        let index = module.index(entry)?;
        let variables = self.variables(module)?;
        check(&module.inner.entries[index], launch, params, self.max_shared)?;
        cta::Grid {
            module: &module.inner,
            entry: &module.inner.entries[index],
            launch,
            params,
            variables: &variables,
            memory: &self.memory,
            checks: self.checks,
            budget: self.budget,
        }
        .run(self.threads)
    }

    /// Addresses of the module's variables; they get their memory at the module's first launch.
    fn variables(&mut self, module: &Module) -> Result<Vec<u64>> {
        if let Some((_, known)) = self.variables.iter().find(|(m, _)| Arc::ptr_eq(m, &module.inner)) {
            return Ok(known.clone());
        }
        let mut addresses = Vec::new();
        for var in &module.inner.variables {
            let address = self.memory.alloc(var.bytes.len().max(1) as u64)?;
            self.memory.write(address, &var.bytes)?;
            if var.read_only {
                self.memory.protect(address);
            }
            addresses.push(address);
        }
        self.variables.push((Arc::clone(&module.inner), addresses.clone()));
        Ok(addresses)
    }
}

fn check(entry: &crate::decode::Entry, launch: Launch, params: &[u8], max_shared: u32) -> Result<()> {
    let fail =
        |what, expected: String, found: String| Err(Error::Launch { entry: entry.name.clone(), what, expected, found });
    let threads = launch.block.iter().fold(1u64, |n, &d| n.saturating_mul(u64::from(d)));
    let most = u64::from(entry.max_threads().min(1024));
    if threads == 0 || threads > most || launch.block[2] > 64 {
        return fail("threads of a CTA", format!("1 to {most}"), format!("{:?}", launch.block));
    }
    if let Some(required) = entry.reqntid.filter(|&r| r != launch.block) {
        return fail("block", format!(".reqntid {required:?}"), format!("{:?}", launch.block));
    }
    let [x, y, z] = launch.grid;
    if x == 0 || y == 0 || z == 0 || x > i32::MAX as u32 || y > 65535 || z > 65535 {
        return fail("grid", "1 to 2147483647, 65535, 65535".into(), format!("{:?}", launch.grid));
    }
    if params.len() != entry.param_bytes as usize {
        return fail("bytes of parameters", entry.param_bytes.to_string(), params.len().to_string());
    }
    if launch.shared_bytes > 0 && !entry.dynamic_shared {
        return fail("dynamic shared memory", "none".into(), launch.shared_bytes.to_string());
    }
    let total = u64::from(entry.dynamic_start.max(entry.static_shared)) + u64::from(launch.shared_bytes);
    if total > u64::from(max_shared) {
        return fail("bytes of shared memory", format!("at most {max_shared}"), total.to_string());
    }
    if entry.static_shared > 48 * 1024 {
        return fail("bytes of static shared memory", "at most 49152".into(), entry.static_shared.to_string());
    }
    Ok(())
}
