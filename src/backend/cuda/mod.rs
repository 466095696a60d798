//! The CUDA backend: hand-written PTX, launched through a small [`Driver`]. One file a kernel, with the stem of its
//! template in `kernels/`.
//!
//! The residual stream, LayerNorm statistics, gates, the embedding and the logits are f32; operands of tensor cores
//! are f16, converted with saturation, and what did not fit is counted ([`Cuda::saturated`]).

mod arena;
mod attention;
mod ceiling;
mod conv3x3;
mod convolution;
pub mod dependent;
mod depthwise;
mod device;
mod dispatch;
pub mod driver;
pub mod dry_run;
pub mod forward;
mod gemm;
pub mod grey_level;
mod image_source;
mod imaging;
mod inverted_bottleneck;
pub mod kernels;
mod layer_norm;
mod lower;
mod mask_embed;
pub mod measure;
pub mod occupancy;
mod patch_embed;
pub mod picture;
mod recording;
pub mod resize;
pub mod slice_staging;
mod step;
mod storage;
mod table;
mod token_heads;
mod tokens;
mod upscale;
mod window_attention;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use half::f16;

pub use self::arena::Arena;
pub use self::ceiling::Ceiling;
pub use self::device::{Cuda, Param, Saturated};
pub use self::dispatch::param_bytes;
use self::driver::{Driver, Queue};
use self::recording::Held;
use self::step::Step;
use super::Backend;
use crate::error::Result;
use crate::graph::{Graph, ParamId, Plan, Storage, ValueId};
use crate::params::Numbers;

impl<D: Driver> Cuda<D> {
    /// A share in all memory that the steps of a plan use.
    fn held(&self, arena: &Arena<D>, params: &[Arc<Param<D>>]) -> Vec<Held> {
        let params = params.iter().map(|param| Arc::clone(param) as Held);
        params.chain([Arc::clone(&arena.memory) as Held, Arc::clone(&self.resident) as Held]).collect()
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
        // Of a plan that moves with its session the nodes stay where they are.
        let (key, mut runs) = ((plan.graph.nodes.as_ptr() as usize, active), std::mem::take(&mut arena.runs));
        let held = || self.held(arena, params);
        let launch = |capture: Option<&D::Capture>| self.all_steps(capture, arena, plan, params, active, &[]);
        let done = self.run_recorded(&mut runs, &key, held, launch);
        arena.runs = runs;
        done
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
