//! What training needs of the processor besides the steps of a plan.
//!
//! Of the decoder: products of matrices that change from step to step, and the derivatives of what the plan fuses. That
//! runs on the calling thread, so that whoever trains decides what is done at once. Of the encoder, most of whose
//! weights are frozen: products with these as inference packs them and the ways back, on all threads of a [`Crew`].
//! Nothing here depends on how many threads there are.

mod adam;
mod attention;
mod convolution;
mod crew;
mod frozen_norm;
mod matrix;
mod padding;
mod product;
mod relative;
mod rows;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use adam::{AdamStep, Factors, Gradient};
pub(crate) use attention::{Heads, attend, attend_back};
pub(crate) use crew::{Crew, Workshop};
pub(crate) use frozen_norm::Affine;
pub(crate) use matrix::{Finish, Frozen, Side, scratch};
pub(crate) use product::{Multiplier, Right};
pub(crate) use relative::Relative;
pub(crate) use rows::{back_of_dots, gelu, norm, norm_back, scale, sigmoid_sums};
