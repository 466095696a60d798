//! `--layout`: how the folders of MedSegDB lie.

use clap::ValueEnum;
use medsegx::medsegdb::Layout;

/// Values of the flag.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FolderLayout {
    Internal,
    External,
}

impl From<FolderLayout> for Layout {
    fn from(layout: FolderLayout) -> Layout {
        match layout {
            FolderLayout::Internal => Layout::Internal,
            FolderLayout::External => Layout::External,
        }
    }
}
