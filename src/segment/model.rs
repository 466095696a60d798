//! A loaded model on a device: immutable, shared by all sessions.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "capi")]
use super::Setting;
use super::TunedOn;
use super::engine::{self, Engine};
use crate::backend::Launches;
use crate::backend::cpu::{Cpu, CpuOptions};
#[cfg(feature = "ptxvm")]
use crate::backend::cuda::driver::ptxvm::{Checks, Interpreter};
#[cfg(feature = "cuda")]
use crate::backend::cuda::{
    Cuda,
    driver::{Driver, nvidia::Nvidia},
};
use crate::backend::imaging::Imaging;
use crate::error::{Error, Result};
use crate::executor::{Network, SessionOptions, session_bytes};
use crate::model::Config;
use crate::weights::{Access, Weights};

/// Where to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The first usable CUDA device, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of this ordinal.
    Cuda(usize, Launches),
    /// The CUDA backend's kernels, interpreted on the CPU: slow, for checking them without a GPU.
    #[cfg(feature = "ptxvm")]
    Ptxvm(Checks, Launches),
}

/// What [`Device`] is parsed from. `:dependent` behind a CUDA device is for whoever measures, and not named here.
const DEVICES: &str =
    if cfg!(feature = "ptxvm") { "auto, cpu, cuda, cuda:N, ptxvm or ptxvm:fast" } else { "auto, cpu, cuda or cuda:N" };

impl std::str::FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::Argument { name: "device", expected: DEVICES.into(), found: format!("'{text}'") };
        let text = text.to_lowercase();
        let (device, launches) = match text.strip_suffix(":dependent") {
            Some(device) => (device, Launches::Dependent),
            None => (text.as_str(), Launches::Ordered),
        };
        match (device, launches) {
            ("auto", Launches::Ordered) => Ok(Device::Auto),
            ("cpu", Launches::Ordered) => Ok(Device::Cpu),
            ("cuda", _) => Ok(Device::Cuda(0, launches)),
            #[cfg(feature = "ptxvm")]
            ("ptxvm", _) => Ok(Device::Ptxvm(Checks::Full, launches)),
            #[cfg(feature = "ptxvm")]
            ("ptxvm:fast", _) => Ok(Device::Ptxvm(Checks::Fast, launches)),
            _ => {
                let ordinal = device.strip_prefix("cuda:").and_then(|n| n.parse().ok());
                ordinal.map(|ordinal| Device::Cuda(ordinal, launches)).ok_or_else(wrong)
            }
        }
    }
}

/// How a model is loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct ModelOptions {
    /// Where to run.
    pub device: Device,
    /// The CPU backend's options.
    pub cpu: CpuOptions,
}

/// A loaded model.
pub struct Model {
    pub(super) network: Box<dyn Loaded>,
    config: Config,
    device: String,
    /// Why `Device::Auto` did not take a GPU.
    fallback: Option<String>,
    tuned_on: Option<TunedOn>,
    /// Whether what the encoder makes of a slice is not what the base's makes of it.
    has_tuned_encoder: bool,
}

/// A network on its device, whichever that is.
pub(super) trait Loaded: Send + Sync {
    fn device(&self) -> String;
    fn arithmetic(&self) -> String;
    fn free_bytes(&self) -> Result<Option<usize>>;
    fn session_bytes(&self, options: SessionOptions) -> Result<usize>;
    fn start(&self, options: SessionOptions) -> Result<Box<dyn Engine>>;
    /// The network, where it is on the CPU.
    fn on_cpu(&self) -> Option<&Arc<Network<Cpu>>>;
    /// The same with the tuned tensors of `weights`; whatever is not made of those is shared.
    fn with_tuned(&self, weights: &Weights) -> Result<Box<dyn Loaded>>;
}

impl<B: Imaging> Loaded for Arc<Network<B>> {
    fn device(&self) -> String {
        self.backend().name()
    }

    fn arithmetic(&self) -> String {
        self.backend().arithmetic()
    }

    fn free_bytes(&self) -> Result<Option<usize>> {
        self.backend().free_bytes()
    }

    fn session_bytes(&self, options: SessionOptions) -> Result<usize> {
        session_bytes(self, options)
    }

    fn start(&self, options: SessionOptions) -> Result<Box<dyn Engine>> {
        engine::start(self, options)
    }

    fn on_cpu(&self) -> Option<&Arc<Network<Cpu>>> {
        (self as &dyn Any).downcast_ref()
    }

    fn with_tuned(&self, weights: &Weights) -> Result<Box<dyn Loaded>> {
        Ok(Box::new(Arc::new(self.with_changed(weights, &|name| weights.is_tuned(name))?)))
    }
}

impl Model {
    /// Opens a weights file and loads it on a device.
    ///
    /// # Errors
    /// What [`Weights::open`] refuses; a device that is missing or out of memory.
    pub fn open(path: &Path, access: Access, options: &ModelOptions) -> Result<Model> {
        Model::load(&Weights::open(path, access)?, options)
    }

    /// Loads opened weights on a device; they can be dropped afterwards.
    ///
    /// # Errors
    /// Weights with NaN or infinite values; a device that is missing or out of memory.
    pub fn load(weights: &Weights, options: &ModelOptions) -> Result<Model> {
        let (network, fallback) = match options.device {
            Device::Cpu => (cpu(weights, options)?, None),
            Device::Cuda(ordinal, launches) => (cuda(weights, ordinal, launches)?, None),
            #[cfg(feature = "ptxvm")]
            Device::Ptxvm(checks, launches) => (ptxvm(weights, options, checks, launches)?, None),
            Device::Auto => match cuda(weights, 0, Launches::Ordered) {
                Ok(network) => (network, None),
                Err(error @ (Error::Device { .. } | Error::DeviceLost { .. })) => {
                    (cpu(weights, options)?, Some(error.to_string()))
                }
                Err(error) => return Err(error),
            },
        };
        Ok(Model::of(network, weights, fallback))
    }

    fn of(network: Box<dyn Loaded>, weights: &Weights, fallback: Option<String>) -> Model {
        let (config, tuned_on) = (weights.config().clone(), weights.tuned_file().map(TunedOn::of));
        let has_tuned_encoder = weights.tuned_tensors().any(|(name, _)| name.starts_with("image_encoder."));
        Model { device: network.device(), network, config, fallback, tuned_on, has_tuned_encoder }
    }

    /// The same model with the tuned tensors of `weights`, which are those that it was loaded from: it shares with this
    /// one the device and every parameter that was not tuned, for as long as one of both is there.
    ///
    /// # Errors
    /// [`Error::Argument`] for weights of other sizes; as [`Model::load`].
    pub fn with_tuned(&self, weights: &Weights) -> Result<Model> {
        if *weights.config() != self.config {
            let (expected, found) = ("those of the model".into(), format!("weights of {:?}", weights.config().kind));
            return Err(Error::Argument { name: "weights", expected, found });
        }
        Ok(Model::of(self.network.with_tuned(weights)?, weights, self.fallback.clone()))
    }

    /// The same, as tuned on slices that were shown in this way.
    #[cfg(feature = "capi")]
    pub(crate) fn tuned_here(self, setting: Setting) -> Model {
        Model { tuned_on: Some(TunedOn::here(setting)), ..self }
    }

    /// Loads opened weights on a driver of the caller's.
    ///
    /// # Errors
    /// As [`Model::load`].
    #[cfg(feature = "cuda")]
    pub fn on_driver(weights: &Weights, driver: impl Driver) -> Result<Model> {
        Ok(Model::of(on_driver(weights, driver)?, weights, None))
    }

    /// Every size of the network.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What it runs on: `cpu`, `cuda:0`.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// All that decides which bits come out of the same weights and inputs: `cpu AVX2 F32`, `cuda:0`.
    pub fn arithmetic(&self) -> String {
        self.network.arithmetic()
    }

    /// Memory that sessions may take on a device with memory of its own.
    ///
    /// # Errors
    /// A device that fails.
    pub fn free_bytes(&self) -> Result<Option<usize>> {
        self.network.free_bytes()
    }

    /// The network, where it is on the CPU.
    pub(crate) fn on_cpu(&self) -> Option<&Arc<Network<Cpu>>> {
        self.network.on_cpu()
    }

    /// Bytes of a session.
    pub(super) fn session_bytes(&self, options: SessionOptions) -> Result<usize> {
        self.network.session_bytes(options)
    }

    /// Why [`Device::Auto`] did not take a GPU, if it did not.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// Whether tuned tensors of the image encoder are on top of its weights: it makes other embeddings than its base.
    pub fn has_tuned_encoder(&self) -> bool {
        self.has_tuned_encoder
    }

    /// What it was tuned on, if a tuned file is on top of its weights.
    pub fn tuned_on(&self) -> Option<&TunedOn> {
        self.tuned_on.as_ref()
    }
}

fn cpu(weights: &Weights, options: &ModelOptions) -> Result<Box<dyn Loaded>> {
    let backend = Cpu::new(options.cpu)?;
    Ok(Box::new(Arc::new(Network::load(weights, backend)?)))
}

#[cfg(feature = "cuda")]
fn cuda(weights: &Weights, ordinal: usize, launches: Launches) -> Result<Box<dyn Loaded>> {
    on_driver(weights, Nvidia::open(ordinal, launches)?)
}

#[cfg(feature = "cuda")]
fn on_driver(weights: &Weights, driver: impl Driver) -> Result<Box<dyn Loaded>> {
    Ok(Box::new(Arc::new(Network::load(weights, Cuda::new(driver)?)?)))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_weights: &Weights, ordinal: usize, _launches: Launches) -> Result<Box<dyn Loaded>> {
    let message = "this build has no CUDA backend".to_string();
    Err(Error::Device { device: format!("cuda:{ordinal}"), operation: "open".into(), message })
}

/// The interpreter on as many threads as the CPU backend would take.
#[cfg(feature = "ptxvm")]
fn ptxvm(weights: &Weights, options: &ModelOptions, checks: Checks, launches: Launches) -> Result<Box<dyn Loaded>> {
    let threads = options.cpu.threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    on_driver(weights, Interpreter::new(threads.unwrap_or(1), checks).with_launches(launches))
}
