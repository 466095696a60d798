//! Where every value of a graph lives: lifetimes and arena offsets, computed once, so that a run allocates nothing.

use super::{Graph, Role, ValueId};

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
    /// Bytes a value takes in this backend's storage.
    pub bytes: Vec<usize>,
    /// Size of the arena.
    pub arena_bytes: usize,
}

struct Block {
    offset: usize,
    bytes: usize,
    dies: usize,
}

impl Plan {
    /// Places the values of `graph`. `element_bytes` is what one element of a value takes in the backend's storage.
    pub fn new(graph: Graph, element_bytes: impl Fn(&Graph, ValueId) -> usize) -> Plan {
        let bytes: Vec<usize> =
            graph.values.iter().enumerate().map(|(id, v)| v.len() * element_bytes(&graph, ValueId(id))).collect();
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
                let offset = match replaced_by(&graph, step, ValueId(id), &deaths, &bytes).map(|r| places[r.0]) {
                    Some(Some(Place::Arena(offset))) => offset,
                    _ => first_fit(&live, bytes[id]),
                };
                live.push(Block { offset, bytes: bytes[id], dies: deaths[id] });
                arena_bytes = arena_bytes.max(offset + bytes[id]);
                places[id] = Some(Place::Arena(offset));
            }
        }
        // A value that no step writes or reads is never placed above; it takes no room.
        let places = places.into_iter().map(|p| p.unwrap_or(Place::Arena(0))).collect();
        Plan { graph, places, bytes, arena_bytes: arena_bytes.next_multiple_of(ALIGNMENT) }
    }

    /// A plan in which no two values share memory, so that each can be read after a run.
    pub fn separate(graph: Graph, element_bytes: impl Fn(&Graph, ValueId) -> usize) -> Plan {
        let mut plan = Plan { places: Vec::new(), bytes: Vec::new(), arena_bytes: 0, graph };
        for (id, value) in plan.graph.values.iter().enumerate() {
            let bytes = value.len() * element_bytes(&plan.graph, ValueId(id));
            plan.bytes.push(bytes);
            if value.role == Role::Embedding {
                plan.places.push(Place::Embedding);
            } else {
                plan.places.push(Place::Arena(plan.arena_bytes));
                plan.arena_bytes = (plan.arena_bytes + bytes).next_multiple_of(ALIGNMENT);
            }
        }
        plan
    }

    /// Bytes of the embedding buffer that this plan asks for.
    pub fn embedding_bytes(&self) -> usize {
        let embeddings = self.places.iter().zip(&self.bytes).filter(|(place, _)| **place == Place::Embedding);
        embeddings.map(|(_, bytes)| *bytes).max().unwrap_or(0)
    }

    /// A plan whose values are stored as the graph says.
    pub fn native(graph: Graph) -> Plan {
        Plan::new(graph, |graph, id| graph[id].element.bytes())
    }
}

/// First and last step at which each value must exist. Inputs exist from the start and outputs to the end.
fn lifetimes(graph: &Graph) -> (Vec<usize>, Vec<usize>) {
    let mut births = vec![usize::MAX; graph.values.len()];
    let mut deaths = vec![0; graph.values.len()];
    for (step, node) in graph.nodes.iter().enumerate() {
        for id in node.op.writes().into_iter().chain(node.op.reads()) {
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
fn replaced_by(graph: &Graph, step: usize, id: ValueId, deaths: &[usize], bytes: &[usize]) -> Option<ValueId> {
    let [old, new] = graph.nodes.get(step)?.op.replaces()?;
    let dies = deaths[old.0] == step && graph[old].role == Role::Intermediate;
    (new == id && dies && bytes[old.0] == bytes[new.0]).then_some(old)
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
