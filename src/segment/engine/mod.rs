//! A session and what follows its decoder, on whichever device the model is. On a GPU the logits stay there unless
//! asked for: counts and masks come down.

#[cfg(feature = "cuda")]
mod device;
mod host;
mod interface;

use std::sync::Arc;

#[cfg(feature = "cuda")]
use device::OnDevice;
use host::OnHost;
pub use interface::Fetch;
pub(super) use interface::{Engine, Pass, Source};

use crate::backend::cpu::Cpu;
#[cfg(feature = "cuda")]
use crate::backend::cuda::{Cuda, driver::Driver};
use crate::error::Result;
use crate::executor::{Network, Session, SessionOptions};
#[cfg(feature = "cuda")]
use crate::segment::frame::Filter;

/// A session on the CPU.
pub(super) fn on_host(network: &Arc<Network<Cpu>>, options: SessionOptions) -> Result<Box<dyn Engine>> {
    Ok(Box::new(OnHost::new(Session::new(Arc::clone(network), options)?)?))
}

/// A session on a CUDA device.
#[cfg(feature = "cuda")]
pub(super) fn on_device<D: Driver>(
    network: &Arc<Network<Cuda<D>>>,
    options: SessionOptions,
) -> Result<Box<dyn Engine>> {
    let session = Session::new(Arc::clone(network), options)?;
    // There is no kernel that shrinks a picture by means over areas.
    match Filter::of(network.config().kind) {
        Filter::Area => Ok(Box::new(OnHost::new(session)?)),
        Filter::Bilinear => Ok(Box::new(OnDevice::new(session)?)),
    }
}
