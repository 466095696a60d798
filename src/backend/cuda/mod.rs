//! The CUDA backend: hand-written PTX, launched through a small [`Driver`]. One file a kernel, with the stem of its
//! template in `kernels/`.
//!
//! The residual stream, LayerNorm statistics, gates, the embedding and the logits are f32; operands of tensor cores
//! are f16, converted with saturation, and what did not fit is counted ([`Cuda::saturated`]).

mod arena;
mod attention;
mod ceiling;
mod conv3x3;
pub mod dependent;
mod dispatch;
pub mod driver;
pub mod dry_run;
mod gemm;
pub mod grey_level;
mod image_source;
pub mod intake;
pub mod kernels;
mod layer_norm;
mod lower;
mod mask_embed;
pub mod measure;
mod patch_embed;
pub mod picture;
pub mod resize;
mod step;
mod storage;
mod table;
mod token_heads;
mod tokens;
mod upscale;
pub mod whole;

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use half::f16;

pub use self::arena::Arena;
pub use self::ceiling::Ceiling;
pub use self::dispatch::param_bytes;
use self::driver::nvidia::Nvidia;
use self::driver::{Arg, Driver, Queue};
use self::step::Step;
use super::{Backend, Launches};
use crate::error::{Error, Result};
use crate::graph::{Graph, ParamId, Plan, Storage, ValueId};
use crate::params::Numbers;

/// A device with its kernels, loaded when first launched.
pub struct Cuda<D: Driver> {
    driver: D,
    resident: Arc<Resident<D>>,
    saturated_by_host: AtomicU64,
}

/// What launches use besides a session's arena and parameters.
struct Resident<D: Driver> {
    /// One a kernel of the table.
    functions: Vec<OnceLock<D::Function>>,
    /// u32 on the device, counted up by every kernel that writes f16.
    saturated: D::Buffer,
    /// u32 a prompt, 0 between launches: the blocks of one step of one prompt count themselves, and the last one ends it.
    counters: D::Buffer,
}

/// Most blocks along the second axis of a launch, which counts prompts.
const MOST_PROMPTS: usize = 65535;

/// A parameter in device memory, in the storage that [`dispatch::param`] says.
pub struct Param<D: Driver> {
    buffer: D::Buffer,
}

/// The launches of one run, with a share in all memory that they use. The launches are dropped first.
pub struct Recording<D: Driver> {
    launches: D::Recording,
    _params: Vec<Arc<Param<D>>>,
    _others: Vec<Arc<dyn Any + Send + Sync>>,
    _memory: Arc<arena::Memory<D>>,
    _resident: Arc<Resident<D>>,
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
        let counters = driver.allocate(MOST_PROMPTS * size_of::<u32>())?;
        driver.write(&counters, 0, &vec![0; MOST_PROMPTS * size_of::<u32>()])?;
        let functions = std::iter::repeat_with(OnceLock::new).take(kernels::count()).collect();
        let resident = Arc::new(Resident { functions, saturated, counters });
        Ok(Cuda { driver, resident, saturated_by_host: AtomicU64::new(0) })
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
        let function = self.driver.load(kernel, &dependent::text(kernel, ptx, self.driver.launches())?)?;
        Ok(kept.get_or_init(|| function))
    }

    /// The one place that launches kernels.
    #[allow(unsafe_code, reason = "running a kernel is the hardware boundary")]
    fn launch(&self, capture: Option<&D::Capture>, entry: &str, grid: [u32; 3], args: &[Arg]) -> Result<()> {
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

    /// A recording of captured launches, with its share in the memory that they use.
    fn recording(
        &self,
        launches: D::Recording,
        params: Vec<Arc<Param<D>>>,
        arena: &Arena<D>,
        others: Vec<Arc<dyn Any + Send + Sync>>,
    ) -> Recording<D> {
        let (memory, resident) = (Arc::clone(&arena.memory), Arc::clone(&self.resident));
        Recording { launches, _params: params, _others: others, _memory: memory, _resident: resident }
    }

    #[allow(unsafe_code, reason = "running kernels is the hardware boundary")]
    fn replay_launches(&self, recording: &Recording<D>) -> Result<()> {
        // SAFETY: the recording has a share in all memory that its launches use.
        unsafe { self.driver.replay(&recording.launches) }
    }

    /// Runs every step, or captures its launches.
    fn all_steps(
        &self,
        capture: Option<&D::Capture>,
        arena: &Arena<D>,
        plan: &Plan,
        params: &[Arc<Param<D>>],
        active: usize,
        redirects: &[(ValueId, u64)],
    ) -> Result<()> {
        (0..plan.graph.nodes.len()).try_for_each(|step| {
            let node = &plan.graph.nodes[step];
            let step_of = Step { cuda: self, arena, plan, params, node, redirects, active, capture };
            dispatch::launch(&node.op, &step_of)
        })
    }
}

impl<D: Driver> Backend for Cuda<D> {
    type Param = Param<D>;
    type Arena = Arena<D>;
    type Recording = Recording<D>;
    type Mark = D::Event;

    fn name(&self) -> String {
        self.driver.name()
    }

    fn lower(&self, graph: Graph) -> Graph {
        lower::lower(graph)
    }

    fn prepare(&self, graph: &Graph, id: ParamId, numbers: &mut dyn Numbers) -> Result<Param<D>> {
        let (stored, packing) = dispatch::param(graph, id);
        let data = storage::pack(packing, &graph[id], numbers.all()?);
        let upload = |bytes: &[u8]| {
            let buffer = self.driver.allocate(bytes.len())?;
            self.driver.write(&buffer, 0, bytes)?;
            Ok(Param { buffer })
        };
        match stored {
            Storage::Native => upload(bytemuck::cast_slice(&data)),
            Storage::F16 | Storage::Bf16 => {
                let (halves, saturated) = storage::to_half(&data);
                self.saturated_by_host.fetch_add(saturated, Ordering::Relaxed);
                upload(bytemuck::cast_slice(&halves))
            }
        }
    }

    fn arena(&self, plans: &[&Plan]) -> Result<Arena<D>> {
        Arena::new(&self.driver, plans)
    }

    fn arena_bytes(&self, plans: &[&Plan]) -> usize {
        arena::sizes(plans).iter().sum()
    }

    fn free_bytes(&self) -> Result<Option<usize>> {
        let memory = self.driver.memory()?;
        Ok(memory.map(|memory| usize::try_from(memory.free).unwrap_or(usize::MAX)))
    }

    fn write(&self, arena: &mut Arena<D>, plan: &Plan, id: ValueId, first: usize, bytes: &[u8]) -> Result<()> {
        let value = &plan.graph[id];
        let skipped = first * value.stride();
        let limit = (value.len() - skipped.min(value.len())) * value.element.bytes();
        if bytes.len() > limit {
            return Err(self.out_of_range(&value.name, bytes.len(), limit));
        }
        let offset = skipped * value.storage.bytes(value.element);
        match value.storage {
            Storage::Native => arena.take(&self.driver, plan, id, offset, bytes),
            Storage::F16 | Storage::Bf16 => {
                let words = bytes.chunks_exact(size_of::<f32>());
                let data: Vec<f32> = words.map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect();
                let (halves, saturated) = storage::to_half(&data);
                self.saturated_by_host.fetch_add(saturated, Ordering::Relaxed);
                arena.take(&self.driver, plan, id, offset, bytemuck::cast_slice(&halves))
            }
        }
    }

    fn read(&self, arena: &mut Arena<D>, plan: &Plan, id: ValueId, bytes: &mut [u8]) -> Result<()> {
        let limit = plan.graph[id].len() * plan.graph[id].element.bytes();
        if bytes.len() > limit {
            return Err(self.out_of_range(&plan.graph[id].name, bytes.len(), limit));
        }
        arena.flush(&self.driver)?;
        let (buffer, offset) = arena.memory.place(plan, id);
        match plan.graph[id].storage {
            Storage::Native => self.driver.read(buffer, offset, bytes)?,
            Storage::F16 | Storage::Bf16 => {
                let mut halves = vec![f16::ZERO; bytes.len() / size_of::<f32>()];
                self.driver.read(buffer, offset, bytemuck::cast_slice_mut(&mut halves))?;
                for (out, half) in bytes.chunks_exact_mut(size_of::<f32>()).zip(halves) {
                    out.copy_from_slice(&half.to_f32().to_ne_bytes());
                }
            }
        }
        arena.waited();
        Ok(())
    }

    fn run_all(&self, arena: &mut Arena<D>, plan: &Plan, params: &[Arc<Param<D>>], active: usize) -> Result<()> {
        arena.flush(&self.driver)?;
        self.all_steps(None, arena, plan, params, active, &[])
    }

    fn record(
        &self,
        arena: &mut Arena<D>,
        plan: &Plan,
        params: &[Arc<Param<D>>],
        active: usize,
    ) -> Result<Option<Recording<D>>> {
        let capture = self.driver.begin_capture()?;
        let captured = self.all_steps(Some(&capture), arena, plan, params, active, &[]);
        // Ended in any case: a queue must not stay in capture.
        let launches = self.driver.end_capture(capture);
        captured?;
        Ok(Some(self.recording(launches?, params.to_vec(), arena, Vec::new())))
    }

    fn replay(&self, arena: &mut Arena<D>, recording: &Recording<D>) -> Result<()> {
        arena.flush(&self.driver)?;
        self.replay_launches(recording)
    }

    fn mark(&self) -> Result<D::Event> {
        self.driver.record_event(Queue::Run, None)
    }

    fn between(&self, start: &D::Event, end: &D::Event) -> Result<Duration> {
        self.driver.elapsed(start, end)
    }

    fn run(
        &self,
        arena: &mut Arena<D>,
        plan: &Plan,
        params: &[Arc<Param<D>>],
        step: usize,
        active: usize,
    ) -> Result<()> {
        arena.flush(&self.driver)?;
        let node = &plan.graph.nodes[step];
        let step = Step { cuda: self, arena, plan, params, node, redirects: &[], active, capture: None };
        dispatch::launch(&node.op, &step)
    }
}
