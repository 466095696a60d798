//! Runs that come again, replayed at the cost of one launch.

use std::any::Any;
use std::sync::Arc;

use super::Cuda;
use super::driver::Driver;
use crate::error::Result;

/// A share in memory that launches use.
pub(super) type Held = Arc<dyn Any + Send + Sync>;

/// The launches of one run, with a share in all memory that they use. The launches are dropped first.
pub(super) struct Recording<D: Driver> {
    launches: D::Recording,
    _held: Vec<Held>,
}

/// A run that comes once, as the last of a volume may, is not worth a recording; and a first run outside of one loads
/// the kernels and names the step that fails.
pub(super) enum Run<D: Driver> {
    Once,
    Recorded(Recording<D>),
}

/// Runs by what has to be the same for a recording to be replayed.
pub(super) type Runs<D, K> = Vec<(K, Run<D>)>;

impl<D: Driver> Cuda<D> {
    /// Does what `launch` launches: by it when `key` comes first, as it is captured then from the second time on.
    #[allow(unsafe_code, reason = "running kernels is the hardware boundary")]
    pub(super) fn run_recorded<K: Clone + PartialEq>(
        &self,
        runs: &mut Runs<D, K>,
        key: &K,
        held: impl FnOnce() -> Vec<Held>,
        launch: impl Fn(Option<&D::Capture>) -> Result<()>,
    ) -> Result<()> {
        let Some((_, run)) = runs.iter_mut().find(|(of, _)| of == key) else {
            launch(None)?;
            runs.push((key.clone(), Run::Once));
            return Ok(());
        };
        if let Run::Once = run {
            let capture = self.driver.begin_capture()?;
            let captured = launch(Some(&capture));
            // Ended in any case: a queue must not stay in capture.
            let launches = self.driver.end_capture(capture);
            captured?;
            *run = Run::Recorded(Recording { launches: launches?, _held: held() });
        }
        if let Run::Recorded(recording) = run {
            // SAFETY: the recording has a share in all memory that its launches use.
            unsafe { self.driver.replay(&recording.launches) }?;
        }
        Ok(())
    }
}
