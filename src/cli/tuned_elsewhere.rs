//! A tuned file in use on an image that it was not tuned on.

use std::path::Path;

use medsegx::codes::{Code, Warning};
use medsegx::weights::tuned::Tuned;

/// Warns where `tuned` was tuned on other images than `image` and not validated on other images than those it was tuned
/// on.
pub fn warn(tuned: &Path, image: &Path) -> medsegx::Result<()> {
    let found = Tuned::open(tuned)?;
    if found.is_validated_by_volume() {
        return Ok(());
    }
    let own = super::digest::sha256(image)?;
    if found.images().any(|hash| hash == own) {
        return Ok(());
    }
    let message = format!(
        "{}: tuned on other images than {}, and not validated on images of its own: masks may be worse here than without it",
        tuned.display(),
        image.display()
    );
    super::console::warn(&Warning::new(Code::TunedElsewhere, message));
    Ok(())
}
