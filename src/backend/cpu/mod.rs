//! The processor as a backend: f32 on threads of its own, with the widest instructions at hand.
//!
//! One file an operation or family, all on the tile of `product`. Neither the number of threads nor the batch changes
//! a bit of any result on one [`Level`].

mod attend;
mod attention;
mod ceiling;
mod conv3x3;
mod convolution;
mod dense;
mod depthwise;
mod dispatch;
mod fused;
mod gate;
mod image_source;
mod imaging;
mod inverted_bottleneck;
mod keys;
mod layer_norm;
mod level;
mod linear;
mod mask_embed;
mod math;
mod memory;
mod packed;
mod patch_embed;
mod precision;
mod product;
mod prompt_tokens;
mod simd;
mod step;
mod threads;
mod token_attention;
mod token_heads;
pub(crate) mod training;
mod upscale;
mod window_attention;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

pub use ceiling::Ceiling;
pub use level::{Level, has_bf16};
pub use memory::Arena;
use memory::Pool;
pub use precision::Precision;
pub use step::Param;
use step::Step;
#[cfg(all(test, feature = "capi"))]
pub(crate) use threads::LOOKS;
use threads::{Team, Threads};

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::graph::{Graph, Op, ParamId, Plan, Storage, ValueId};
use crate::params::Numbers;

/// How a [`Cpu`] runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuOptions {
    /// Numbers of the large products.
    pub precision: Precision,
    /// Threads; as many as the processor runs at once where absent.
    pub threads: Option<usize>,
    /// Instructions; the widest at hand where absent.
    pub level: Option<Level>,
}

/// The processor.
pub struct Cpu {
    level: Level,
    precision: Precision,
    threads: Threads,
    /// Memory of the parameters.
    pool: Pool,
}

impl Cpu {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`Error::Argument`] where the processor lacks the level, [`Error::Device`] where threads cannot be started.
    pub fn new(options: CpuOptions) -> Result<Cpu> {
        let level = options.level.unwrap_or_else(Level::detect);
        if !level.is_available() {
            let expected = format!("one of {:?}, which this processor has", Level::available());
            return Err(Error::Argument { name: "level", expected, found: level.to_string() });
        }
        let at_hand = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = Threads::new(options.threads.unwrap_or_else(at_hand).max(1))?;
        let precision = options.precision;
        if precision == Precision::Bf16 && !(level == Level::Avx512 && has_bf16()) {
            let found = format!("{level} of a processor with {}", Level::detect());
            return Err(Error::Argument { name: "precision bf16", expected: "AVX512-BF16".into(), found });
        }
        Ok(Cpu { level, precision, threads, pool: Pool::default() })
    }

    /// The numbers of the large products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The instructions in use.
    pub fn level(&self) -> Level {
        self.level
    }

    /// True where `op` of a lowered graph is a product of bf16.
    pub fn multiplies_pairs(&self, graph: &Graph, op: &Op) -> bool {
        matches!(op, Op::Linear(op) if graph[op.input].storage == Storage::Bf16)
    }

    /// Bytes of a parameter of a lowered graph once it is prepared, from tensors that are `stored_half` in 16 bits.
    pub fn param_bytes(&self, graph: &Graph, id: ParamId, stored_half: bool) -> usize {
        size_of::<f32>() * dispatch::prepared(self.level, graph, id, stored_half)
    }

    /// Bytes that preparing a parameter needs for a moment, beside what it is prepared to.
    pub fn loading_bytes(&self, graph: &Graph, id: ParamId) -> usize {
        size_of::<f32>() * dispatch::loading(self.level, graph, id)
    }

    /// f32 of scratch that a thread needs for any step of `plans`.
    fn scratch(&self, plans: &[&Plan]) -> usize {
        let nodes = plans.iter().flat_map(|plan| plan.graph.nodes.iter().map(|node| (&plan.graph, &node.op)));
        nodes.map(|(graph, op)| dispatch::kernel(op).scratch(self.level, graph)).max().unwrap_or(0)
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    fn step(
        &self,
        threads: &Team<'_>,
        arena: &mut Arena,
        plan: &Plan,
        params: &[Arc<Param>],
        step: usize,
        active: usize,
    ) -> Result<()> {
        let (views, scratch) = arena.views(plan);
        let (level, graph) = (self.level, &plan.graph);
        let step_of = Step { level, threads, graph, params, active, scratch };
        dispatch::kernel(&graph.nodes[step].op).run(&step_of, views)
    }
}

impl Backend for Cpu {
    type Param = Param;
    type Arena = Arena;
    type Mark = Instant;

    fn name(&self) -> String {
        "cpu".into()
    }

    fn arithmetic(&self) -> String {
        format!("cpu {} {:?}", self.level, self.precision)
    }

    fn lower(&self, mut graph: Graph) -> Graph {
        let halves: Vec<bool> = (0..graph.values.len()).map(|id| self.precision.halves(&graph, ValueId(id))).collect();
        for (value, _) in graph.values.iter_mut().zip(halves).filter(|(_, half)| *half) {
            value.storage = Storage::Bf16;
        }
        graph
    }

    fn prepare(&self, graph: &Graph, id: ParamId, numbers: &mut dyn Numbers) -> Result<Param> {
        Param::prepare(self.level, &self.pool, graph, id, numbers)
    }

    fn arena(&self, plans: &[&Plan]) -> Result<Arena> {
        let bytes = plans.iter().map(|plan| plan.arena_bytes).max().unwrap_or(0);
        let embedding_bytes = plans.iter().map(|plan| plan.embedding_bytes()).max().unwrap_or(0);
        Arena::new(bytes, embedding_bytes, self.scratch(plans), self.threads())
    }

    fn arena_bytes(&self, plans: &[&Plan]) -> usize {
        let most = |bytes: &dyn Fn(&Plan) -> usize| plans.iter().map(|plan| bytes(plan)).max().unwrap_or(0);
        let scratch = size_of::<f32>() * self.scratch(plans) * self.threads();
        most(&|plan| plan.arena_bytes) + most(&|plan| plan.embedding_bytes()) + scratch
    }

    fn free_bytes(&self) -> Result<Option<usize>> {
        Ok(None)
    }

    fn write(&self, arena: &mut Arena, plan: &Plan, id: ValueId, first: usize, bytes: &[u8]) -> Result<()> {
        let value = &plan.graph[id];
        let start = first * value.stride() * value.element.bytes();
        let room = arena.bytes_mut(plan, id)?.get_mut(start..start + bytes.len());
        room.ok_or_else(|| outside(&value.name))?.copy_from_slice(bytes);
        Ok(())
    }

    fn read(&self, arena: &mut Arena, plan: &Plan, id: ValueId, bytes: &mut [u8]) -> Result<()> {
        if plan.graph[id].storage == Storage::Bf16 {
            let halves: &[u16] = bytemuck::cast_slice(arena.bytes_mut(plan, id)?);
            let words = bytes.chunks_exact_mut(size_of::<f32>()).zip(halves);
            words.for_each(|(to, half)| to.copy_from_slice(&(u32::from(*half) << 16).to_ne_bytes()));
            return Ok(());
        }
        let value = arena.bytes_mut(plan, id)?.get(..bytes.len());
        bytes.copy_from_slice(value.ok_or_else(|| outside(&plan.graph[id].name))?);
        Ok(())
    }

    fn set_stop(&self, arena: &mut Arena, stop: Option<Arc<AtomicBool>>) {
        arena.stop = stop;
    }

    fn run_all(&self, arena: &mut Arena, plan: &Plan, params: &[Arc<Param>], active: usize) -> Result<()> {
        let mut steps = 0..plan.graph.nodes.len();
        let stop = arena.stop.clone();
        self.threads.inside(stop.as_deref(), |team| {
            steps.try_for_each(|step| {
                self.step(team, arena, plan, params, step, active)?;
                team.check()
            })
        })
    }

    fn mark(&self) -> Result<Instant> {
        Ok(Instant::now())
    }

    fn between(&self, start: &Instant, end: &Instant) -> Result<Duration> {
        Ok(end.duration_since(*start))
    }

    fn loaders(&self) -> usize {
        self.threads()
    }

    fn run(&self, arena: &mut Arena, plan: &Plan, params: &[Arc<Param>], step: usize, active: usize) -> Result<()> {
        self.threads.inside(None, |team| self.step(team, arena, plan, params, step, active))
    }
}

fn outside(name: &str) -> Error {
    Error::Internal { place: "backend::cpu".into(), what: format!("access outside value {name}") }
}
