//! What a run would launch, on machines without a device.

use std::sync::Arc;

use super::driver::Driver;
use super::driver::null::{Launched, Null};
use super::{Cuda, Param};
use crate::backend::Backend;
use crate::error::Result;
use crate::graph::{Graph, Plan};

/// The plan that the CUDA backend makes of `graph`, and the launches of each of its steps for a full batch, on a device
/// that has `wgmma` or not.
///
/// # Errors
/// A shape that the kernels do not have.
pub fn launches(graph: Graph, wgmma: bool) -> Result<(Plan, Vec<Vec<Launched>>)> {
    let cuda = Cuda::new(Null::noting(wgmma))?;
    let plan = Plan::new(cuda.lower(graph));
    let param = |_| Ok(Arc::new(Param { buffer: cuda.driver().allocate(0)? }));
    let params: Vec<_> = plan.graph.params.iter().map(param).collect::<Result<_>>()?;
    let mut arena = cuda.arena(&[&plan])?;
    let steps = (0..plan.graph.nodes.len()).map(|step| {
        cuda.run(&mut arena, &plan, &params, step, plan.graph.batch)?;
        Ok(cuda.driver().take_launches())
    });
    let steps = steps.collect::<Result<_>>()?;
    Ok((plan, steps))
}
