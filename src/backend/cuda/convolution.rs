//! Operations of the TinyViT encoder, which have no kernels here yet: a model with them is refused before it is loaded.

use super::driver::Driver;
use super::step::{Launch, Step};
use crate::error::Result;
use crate::graph::op::{Convolution, Depthwise, InvertedBottleneck, Operation, WindowAttention};

macro_rules! without_kernels {
    ($($op:ident),*) => {$(
        impl Launch for $op {
            fn launch<D: Driver>(&self, step: &Step<D>) -> Result<()> {
                Err(step.unsupported("an operation with a kernel", self.name()))
            }
        }
    )*};
}

without_kernels!(Convolution, Depthwise, InvertedBottleneck, WindowAttention);
