//! MedSegDB's evaluation: folders in, DSC, HD95 and NSD out, in the published report format.

pub mod distance;
pub mod metrics;
