//! Where every value of a graph lives: lifetimes and arena offsets, computed once, so that a run allocates nothing.
//! Storage, scratch and fused operations are the lowered graph's: nothing is inferred from a plan afterwards.

use super::{Graph, Role, Value, ValueId};

/// Offsets are multiples of this, for vector loads on a CPU and whole sectors on a GPU.
pub const ALIGNMENT: usize = 256;

/// Where a value lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Bytes from the start of the arena.
    Arena(usize),
    /// In the embedding buffer, which outlives a run.
    Embedding,
}

/// A graph and the place of each of its values.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The steps, in execution order.
    pub graph: Graph,
    /// One a value.
    pub places: Vec<Place>,
    /// Size of the arena.
    pub arena_bytes: usize,
}

struct Block {
    offset: usize,
    bytes: usize,
    dies: usize,
}

impl Plan {
    /// Places the values of a `graph` that its backend has lowered.
    pub fn new(graph: Graph) -> Plan {
        let (births, deaths) = lifetimes(&graph);
        let mut places: Vec<Option<Place>> = vec![None; graph.values.len()];
        let mut live: Vec<Block> = Vec::new();
        let mut arena_bytes = 0;
        for step in 0..graph.nodes.len().max(1) {
            live.retain(|block| block.dies >= step);
            for id in 0..graph.values.len() {
                if places[id].is_some() || births[id] > step {
                    continue;
                }
                if graph.values[id].role == Role::Embedding {
                    places[id] = Some(Place::Embedding);
                    continue;
                }
                let bytes = graph.values[id].bytes();
                let offset = match replaced_by(&graph, step, ValueId(id), &deaths).map(|r| places[r.0]) {
                    Some(Some(Place::Arena(offset))) => offset,
                    _ => first_fit(&live, bytes),
                };
                live.push(Block { offset, bytes, dies: deaths[id] });
                arena_bytes = arena_bytes.max(offset + bytes);
                places[id] = Some(Place::Arena(offset));
            }
        }
        // A value that no step writes or reads is never placed above; it takes no room.
        let places = places.into_iter().map(|p| p.unwrap_or(Place::Arena(0))).collect();
        Plan { graph, places, arena_bytes: arena_bytes.next_multiple_of(ALIGNMENT) }
    }

    /// A plan in which no two values share memory, so that each can be read after a run.
    pub fn separate(graph: Graph) -> Plan {
        let mut arena_bytes: usize = 0;
        let place = |value: &Value| match value.role {
            Role::Embedding => Place::Embedding,
            _ => {
                let offset = arena_bytes;
                arena_bytes = (offset + value.bytes()).next_multiple_of(ALIGNMENT);
                Place::Arena(offset)
            }
        };
        let places = graph.values.iter().map(place).collect();
        Plan { graph, places, arena_bytes }
    }

    /// Bytes of the embedding buffer that this plan asks for.
    pub fn embedding_bytes(&self) -> usize {
        let embeddings = self.graph.values.iter().zip(&self.places).filter(|(_, place)| **place == Place::Embedding);
        embeddings.map(|(value, _)| value.bytes()).max().unwrap_or(0)
    }
}

/// First and last step at which each value must exist. Inputs exist from the start and outputs to the end.
fn lifetimes(graph: &Graph) -> (Vec<usize>, Vec<usize>) {
    let mut births = vec![usize::MAX; graph.values.len()];
    let mut deaths = vec![0; graph.values.len()];
    for (step, node) in graph.nodes.iter().enumerate() {
        for id in node.op.writes().into_iter().chain(node.op.reads()).chain(node.scratch) {
            births[id.0] = births[id.0].min(step);
            deaths[id.0] = deaths[id.0].max(step);
        }
    }
    for (id, value) in graph.values.iter().enumerate() {
        match value.role {
            Role::Input => births[id] = 0,
            Role::Output => deaths[id] = graph.nodes.len(),
            Role::Intermediate | Role::Embedding => {}
        }
    }
    (births, deaths)
}

/// The value whose memory `id` may take over at `step`, because it is replaced element by element and dies here.
fn replaced_by(graph: &Graph, step: usize, id: ValueId, deaths: &[usize]) -> Option<ValueId> {
    let [old, new] = graph.nodes.get(step)?.op.replaces()?;
    let dies = deaths[old.0] == step && graph[old].role == Role::Intermediate;
    (new == id && dies && graph[old].bytes() == graph[new].bytes()).then_some(old)
}

/// Lowest aligned offset where `bytes` fit between the live blocks.
fn first_fit(live: &[Block], bytes: usize) -> usize {
    let mut sorted: Vec<&Block> = live.iter().collect();
    sorted.sort_by_key(|block| block.offset);
    let mut offset: usize = 0;
    for block in sorted {
        if offset + bytes <= block.offset {
            break;
        }
        offset = offset.max((block.offset + block.bytes).next_multiple_of(ALIGNMENT));
    }
    offset
}
