//! Runs a network: parameters prepared once ([`Network`]), plans and memory made once ([`Session`]), then the steps
//! of the plan one after another. Nothing else.

mod forward;
mod network;
mod request;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use network::{Network, every_graph};
pub use request::{Point, Prompt, Slice};
use request::{check_count, check_len};

use crate::backend::Backend;
use crate::backend::imaging::{Decoded, Encoder};
use crate::error::{Error, Result};
use crate::graph::{Graph, Plan, ValueId};
use crate::model::{Config, Masks, Prompts, image_encoder, mask_decoder};

/// What a session makes room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Slices that [`Session::encode`] can take at once.
    pub slices: usize,
    /// Prompts that [`Session::decode`] can take at once.
    pub prompts: usize,
    /// Most points of a prompt: a box is two; where there are points and no box one more, labelled -1. The prompts of
    /// one call all have the same number.
    pub points: usize,
    /// True where prompts may bring a mask: all of a call, or none.
    pub mask_prompt: bool,
    /// Which masks are returned.
    pub masks: Masks,
}

/// Plans and memory for runs of a network. Everything is allocated by [`Session::new`].
pub struct Session<B: Backend> {
    network: Arc<Network<B>>,
    options: SessionOptions,
    encoder: Stage<B>,
    /// One for each number of points and each of with and without a mask.
    decoders: Vec<(Prompts, Stage<B>)>,
    arena: B::Arena,
    encoded: usize,
    /// The decoder that ran last, where none was encoded since.
    decoded_last: Option<usize>,
    staging: Staging,
}

/// A plan with its parameters.
struct Stage<B: Backend> {
    plan: Plan,
    params: Vec<Arc<B::Param>>,
}

impl<B: Backend> Stage<B> {
    fn new(network: &Network<B>, plan: Plan) -> Result<Self> {
        Ok(Stage { params: network.params_of(&plan.graph)?, plan })
    }

    /// Runs every step for the first `active` slices or prompts, at least 1 and at most the capacity.
    fn run(&self, backend: &B, arena: &mut B::Arena, active: usize) -> Result<()> {
        backend.run_all(arena, &self.plan, &self.params, active)
    }
}

/// Prompts of one run, side by side; of a forward pass also their masks, and what its slices bring besides pixels.
struct Staging {
    scaling: Vec<[f32; 8]>,
    context: Vec<[i32; 5]>,
    /// Grows with the first masks that come.
    masks: Vec<f32>,
    slots: Vec<i32>,
    points: Vec<[f32; 2]>,
    labels: Vec<i32>,
}

impl<B: Backend> Session<B> {
    /// Plans both graphs and allocates everything that runs need.
    ///
    /// # Errors
    /// A capacity of zero, memory, or a device that fails.
    pub fn new(network: Arc<Network<B>>, options: SessionOptions) -> Result<Session<B>> {
        Session::with_plan(network, options, Plan::new)
    }

    /// A session whose values never share memory, so that [`Session::probe`] can read any of them.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn for_probing(network: Arc<Network<B>>, options: SessionOptions) -> Result<Session<B>> {
        Session::with_plan(network, options, Plan::separate)
    }

    fn with_plan(
        network: Arc<Network<B>>,
        options: SessionOptions,
        plan: impl Fn(Graph) -> Plan,
    ) -> Result<Session<B>> {
        let place = |graph: Graph| {
            graph.check()?;
            Ok(plan(network.backend().lower(graph)))
        };
        let (encoder, decoders) = graphs(network.config(), options)?;
        let encoder = Stage::new(&network, place(encoder)?)?;
        let stage = |(variant, graph)| Ok((variant, Stage::new(&network, place(graph)?)?));
        let decoders: Vec<(Prompts, Stage<B>)> = decoders.into_iter().map(stage).collect::<Result<_>>()?;
        let plans: Vec<&Plan> =
            [&encoder].into_iter().chain(decoders.iter().map(|(_, s)| s)).map(|s| &s.plan).collect();
        let arena = network.backend().arena(&plans)?;
        let SessionOptions { prompts, points, .. } = options;
        let staging = Staging {
            scaling: Vec::with_capacity(options.slices),
            context: Vec::with_capacity(options.slices),
            masks: Vec::new(),
            slots: Vec::with_capacity(prompts),
            points: Vec::with_capacity(prompts * points),
            labels: Vec::with_capacity(prompts * points),
        };
        Ok(Session { network, options, encoder, decoders, arena, encoded: 0, decoded_last: None, staging })
    }

    /// The network that this session runs.
    pub fn network(&self) -> &Arc<Network<B>> {
        &self.network
    }

    /// Makes later runs end with [`Error::Cancelled`] soon after `stop` is set, where the device can.
    pub fn set_stop(&mut self, stop: Option<Arc<AtomicBool>>) {
        self.network.backend().set_stop(&mut self.arena, stop);
    }

    /// What this session has room for.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// Encodes `slices`; slice i becomes slot i of the prompts that follow.
    ///
    /// # Errors
    /// Too many slices, pixels of the wrong size, an index that the model's tables do not have, or a device that fails.
    pub fn encode(&mut self, slices: &[Slice<'_>]) -> Result<()> {
        self.encoded = 0;
        check_count("slices", slices.len(), self.options.slices)?;
        slices.iter().try_for_each(|slice| slice.check(self.network.config()))?;
        let plan = &self.encoder.plan;
        let pixels = find(plan, image_encoder::io::PIXELS)?;
        for (i, slice) in slices.iter().enumerate() {
            self.network.backend().write(&mut self.arena, plan, pixels, i, slice.pixels)?;
        }
        self.encode_with(slices, |_, _| Ok(()))
    }

    /// As [`Session::encode`], of pictures that `give` brings or makes behind the upload of all else that `slices` say.
    /// It gets the plan and the values of pixels and scaling.
    ///
    /// # Errors
    /// As [`Session::encode`], and what `give` returns.
    pub(crate) fn encode_with(
        &mut self,
        slices: &[Slice<'_>],
        give: impl FnOnce(&B, Encoder<'_, B>) -> Result<()>,
    ) -> Result<()> {
        use image_encoder::io;
        self.encoded = 0;
        check_count("slices", slices.len(), self.options.slices)?;
        slices.iter().try_for_each(|slice| slice.check_values(self.network.config()))?;
        let (plan, backend) = (&self.encoder.plan, self.network.backend());
        let scaling = find(plan, io::SCALING)?;
        // Input by input: what lies side by side on the device goes there in one copy.
        for (i, slice) in slices.iter().enumerate() {
            backend.write(&mut self.arena, plan, scaling, i, bytemuck::bytes_of(&slice.scaling))?;
        }
        if let Some(context) = plan.graph.find(io::CONTEXT) {
            for (i, slice) in slices.iter().enumerate() {
                backend.write(&mut self.arena, plan, context, i, bytemuck::bytes_of(&slice.context))?;
            }
        }
        self.decoded_last = None;
        give(backend, (&mut self.arena, plan, [find(plan, io::PIXELS)?, scaling]))?;
        self.encoder.run(backend, &mut self.arena, slices.len())?;
        self.encoded = slices.len();
        Ok(())
    }

    /// Numbers of one slice's embedding, `[N, P]`.
    pub fn embedding_len(&self) -> usize {
        self.network.config().embedding_len()
    }

    /// Embeddings of the first slices encoded last, as many as `values` `[b, N, P]` holds.
    ///
    /// # Errors
    /// More than were encoded; a device that fails.
    pub fn embeddings(&mut self, values: &mut [f32]) -> Result<()> {
        let count = values.len() / self.embedding_len().max(1);
        check_count("slices", count, self.encoded)?;
        check_len("embeddings", values.len(), count * self.embedding_len())?;
        let plan = &self.encoder.plan;
        let id = find(plan, image_encoder::io::EMBEDDING)?;
        self.network.backend().read(&mut self.arena, plan, id, bytemuck::cast_slice_mut(values))
    }

    /// Takes embeddings `[b, N, P]` that [`Session::embeddings`] gave in place of encoding their slices: the i-th
    /// becomes slot i of the prompts that follow.
    ///
    /// # Errors
    /// Too many, or no whole number of them; a device that fails.
    pub fn set_embeddings(&mut self, values: &[f32]) -> Result<()> {
        (self.encoded, self.decoded_last) = (0, None);
        let count = values.len() / self.embedding_len().max(1);
        check_count("slices", count, self.options.slices)?;
        check_len("embeddings", values.len(), count * self.embedding_len())?;
        let plan = &self.encoder.plan;
        let id = find(plan, image_encoder::io::EMBEDDING)?;
        self.network.backend().write(&mut self.arena, plan, id, 0, bytemuck::cast_slice(values))?;
        self.encoded = count;
        Ok(())
    }

    /// Answers `prompts` on the slices encoded last: `logits` is `[b, M, L, L]` and `iou` `[b, 4]`, b the number of
    /// prompts.
    ///
    /// # Errors
    /// As [`Session::answer`]; answers of the wrong size.
    pub fn decode(&mut self, prompts: &[Prompt<'_>], logits: &mut [f32], iou: &mut [f32]) -> Result<()> {
        let (count, config) = (prompts.len(), self.network.config());
        check_len("logits", logits.len(), count * self.options.masks.count() * config.logits_size().pow(2))?;
        check_len("iou", iou.len(), count * 4)?;
        self.answer(prompts)?;
        self.logits(logits)?;
        self.iou(iou)
    }

    /// Answers `prompts` on the slices encoded last; the answers stay on the device.
    ///
    /// # Errors
    /// Too many prompts, a prompt that does not fit the session's options, or a device that fails.
    pub fn answer(&mut self, prompts: &[Prompt<'_>]) -> Result<()> {
        use mask_decoder::io;
        let (count, which) = (prompts.len(), self.decoder_of(prompts, self.encoded)?);
        self.staging.fill(prompts);
        let (decoder, backend) = (&self.decoders[which].1, self.network.backend());
        let plan = &decoder.plan;
        for (name, bytes) in self.staging.inputs() {
            backend.write(&mut self.arena, plan, find(plan, name)?, 0, bytes)?;
        }
        for (i, mask) in prompts.iter().enumerate().filter_map(|(i, prompt)| Some((i, prompt.mask?))) {
            backend.write(&mut self.arena, plan, find(plan, io::MASK)?, i, bytemuck::cast_slice(mask))?;
        }
        self.decoded_last = Some(which);
        decoder.run(backend, &mut self.arena, count)
    }

    /// Which decoder answers `prompts` on `encoded` slices, once all of them are checked.
    fn decoder_of(&self, prompts: &[Prompt<'_>], encoded: usize) -> Result<usize> {
        check_count("prompts", prompts.len(), self.options.prompts)?;
        let variant = variant_of(prompts, &self.options);
        prompts.iter().try_for_each(|prompt| prompt.check(self.network.config(), &variant, encoded))?;
        self.decoders.iter().position(|(of, _)| *of == variant).ok_or_else(|| {
            let expected = format!("1 to {} points, mask prompts {}", self.options.points, self.options.mask_prompt);
            let found = format!("{} points, mask prompts {}", variant.points, variant.mask);
            Error::Argument { name: "prompts", expected, found }
        })
    }

    /// Logits of the first prompts answered last, as many as `logits` `[b, M, L, L]` holds.
    ///
    /// # Errors
    /// Nothing answered, more prompts than there is room for; a device that fails.
    pub fn logits(&mut self, logits: &mut [f32]) -> Result<()> {
        let (backend, (arena, plan, id)) = self.decoded()?;
        backend.read(arena, plan, id, bytemuck::cast_slice_mut(logits))
    }

    /// Predicted IoU of all four masks of the first prompts answered last, as many as `iou` `[b, 4]` holds.
    ///
    /// # Errors
    /// As [`Session::logits`].
    pub fn iou(&mut self, iou: &mut [f32]) -> Result<()> {
        let (backend, (arena, plan, _)) = self.decoded()?;
        backend.read(arena, plan, find(plan, mask_decoder::io::IOU)?, bytemuck::cast_slice_mut(iou))
    }

    /// The logits of the last answers, where they are.
    pub(crate) fn decoded(&mut self) -> Result<(&B, Decoded<'_, B>)> {
        let which = self.decoded_last.ok_or_else(|| Error::internal("executor", "nothing was decoded"))?;
        let plan = &self.decoders[which].1.plan;
        Ok((self.network.backend(), (&mut self.arena, plan, find(plan, mask_decoder::io::LOGITS)?)))
    }

    /// The f32 value `name` of the run before, all slices of its capacity. For tests of a session made by
    /// [`Session::for_probing`]: elsewhere its memory may hold another value by now.
    ///
    /// # Errors
    /// A name that the last run's graph does not have, or a device that fails.
    pub fn probe(&mut self, name: &str) -> Result<Vec<f32>> {
        let stage = self.decoded_last.map_or(&self.encoder, |which| &self.decoders[which].1);
        let plan = &stage.plan;
        let id = find(plan, name)?;
        let mut data = vec![0.0; plan.graph[id].len()];
        self.network.backend().read(&mut self.arena, plan, id, bytemuck::cast_slice_mut(&mut data))?;
        Ok(data)
    }
}

/// Bytes of the arena of a session that would be made with `options`.
///
/// # Errors
/// A capacity of zero.
pub fn session_bytes<B: Backend>(network: &Network<B>, options: SessionOptions) -> Result<usize> {
    let (encoder, decoders) = graphs(network.config(), options)?;
    let graphs = std::iter::once(encoder).chain(decoders.into_iter().map(|(_, graph)| graph));
    let plans = graphs.map(|graph| Plan::new(network.backend().lower(graph)));
    Ok(network.backend().arena_bytes(&plans.collect::<Vec<_>>().iter().collect::<Vec<_>>()))
}

/// The encoder, and a decoder for each number of points and each of with and without a mask.
fn graphs(config: &Config, options: SessionOptions) -> Result<(Graph, Vec<(Prompts, Graph)>)> {
    let SessionOptions { slices, prompts, points, mask_prompt, masks } = options;
    for (name, found) in [("slices", slices), ("prompts", prompts)] {
        if found == 0 {
            return Err(Error::Argument { name, expected: "at least 1".into(), found: "0".into() });
        }
    }
    let mut decoders = Vec::new();
    for mask in [mask_prompt, false].into_iter().take(1 + usize::from(mask_prompt)) {
        // A mask alone has no prompt token; without a mask a prompt has at least one.
        for points in usize::from(!mask && points > 0)..=points {
            let variant = Prompts { points, mask, masks };
            decoders.push((variant, mask_decoder::graph(config, prompts, slices, variant)));
        }
    }
    Ok((image_encoder::graph(config, slices), decoders))
}

/// Single steps, for benches of kernels.
impl<B: Backend> Session<B> {
    /// The encoder's plan and that of the decoder for the largest prompts.
    pub fn plans(&self) -> [&Plan; 2] {
        [&self.encoder.plan, &self.decoders[self.largest()].1.plan]
    }

    fn largest(&self) -> usize {
        let SessionOptions { points, mask_prompt, .. } = self.options;
        self.decoders.iter().position(|(of, _)| of.points == points && of.mask == mask_prompt).unwrap_or(0)
    }

    /// Time of encoding `slices` and answering `prompts` on a device that has the pictures: without their upload, which
    /// no step's time depends on, and without any download. The small inputs are uploaded.
    ///
    /// # Errors
    /// As [`Session::encode`] and [`Session::answer`].
    pub fn time_run(&mut self, slices: &[Slice<'_>], prompts: &[Prompt<'_>]) -> Result<Duration> {
        let start = self.network.backend().mark()?;
        self.encode_with(slices, |_, _| Ok(()))?;
        self.answer(prompts)?;
        let backend = self.network.backend();
        backend.between(&start, &backend.mark()?)
    }

    /// Time of each step of the encoder's or the decoder's plan as they follow each other in a run. `cover` runs go
    /// ahead, so that a device with a queue does not wait for the host. For a session made by [`Session::for_probing`],
    /// on what its inputs hold by now: elsewhere a run leaves other values in their memory.
    ///
    /// # Errors
    /// A device that fails.
    pub fn time_steps(&mut self, decoder: bool, active: usize, cover: usize) -> Result<Vec<Duration>> {
        let largest = self.largest();
        let stage = if decoder { &self.decoders[largest].1 } else { &self.encoder };
        let backend = self.network.backend();
        for _ in 0..cover {
            stage.run(backend, &mut self.arena, active)?;
        }
        let mut marks = vec![backend.mark()?];
        for step in 0..stage.plan.graph.nodes.len() {
            backend.run(&mut self.arena, &stage.plan, &stage.params, step, active)?;
            marks.push(backend.mark()?);
        }
        self.decoded_last = decoder.then_some(largest);
        marks.windows(2).map(|pair| backend.between(&pair[0], &pair[1])).collect()
    }

    /// Runs one step of the encoder's (`decoder` false) or the decoder's plan `times` times on what its inputs hold by
    /// now, and waits for the last.
    ///
    /// # Errors
    /// No such step, or a device that fails.
    pub fn repeat_step(&mut self, decoder: bool, step: usize, active: usize, times: usize) -> Result<()> {
        let largest = self.largest();
        let stage = if decoder { &self.decoders[largest].1 } else { &self.encoder };
        let node = stage
            .plan
            .graph
            .nodes
            .get(step)
            .ok_or_else(|| Error::internal("executor", format!("there is no step {step}")))?;
        let backend = self.network.backend();
        for _ in 0..times {
            backend.run(&mut self.arena, &stage.plan, &stage.params, step, active)?;
        }
        self.decoded_last = decoder.then_some(largest);
        match node.op.writes().first() {
            Some(&out) => backend.read(&mut self.arena, &stage.plan, out, &mut [0; 4]),
            None => Ok(()),
        }
    }
}

/// The decoder that the first of `prompts` needs; the others have to be like it.
fn variant_of(prompts: &[Prompt<'_>], options: &SessionOptions) -> Prompts {
    let first = prompts.first();
    Prompts {
        points: first.map_or(0, |prompt| prompt.points.len()),
        mask: first.is_some_and(|prompt| prompt.mask.is_some()),
        masks: options.masks,
    }
}

fn find(plan: &Plan, name: &str) -> Result<ValueId> {
    plan.graph.find(name).ok_or_else(|| Error::internal("executor", format!("the graph has no value {name}")))
}

impl Staging {
    fn fill(&mut self, prompts: &[Prompt<'_>]) {
        let points = || prompts.iter().flat_map(|prompt| prompt.points);
        self.slots.clear();
        self.slots.extend(prompts.iter().map(|prompt| prompt.slot as i32));
        self.points.clear();
        self.points.extend(points().map(|point| [point.x, point.y]));
        self.labels.clear();
        self.labels.extend(points().map(|point| point.label));
    }

    fn fill_forward(&mut self, slices: &[Slice<'_>], prompts: &[Prompt<'_>]) {
        self.scaling.clear();
        self.scaling.extend(slices.iter().map(|slice| slice.scaling));
        self.context.clear();
        self.context.extend(slices.iter().map(|slice| slice.context));
        self.masks.clear();
        self.masks.extend(prompts.iter().filter_map(|prompt| prompt.mask).flatten());
    }

    fn inputs(&self) -> [(&'static str, &[u8]); 3] {
        use mask_decoder::io;
        [
            (io::SLOT, bytemuck::cast_slice(&self.slots)),
            (io::POINTS, bytemuck::cast_slice(&self.points)),
            (io::LABELS, bytemuck::cast_slice(&self.labels)),
        ]
    }
}
