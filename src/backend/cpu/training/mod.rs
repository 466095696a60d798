//! What training needs of the processor besides the steps of a plan: products of matrices that change from step to
//! step, and the derivatives of what the plan fuses. All of it runs on the calling thread, so that whoever trains
//! decides what is done at once; nothing here depends on how many threads there are.

mod attention;
mod product;
mod rows;

pub(crate) use attention::{Heads, attend, attend_back};
pub(crate) use product::{Multiplier, Right};
pub(crate) use rows::{gelu, norm, norm_back, sigmoid_sums};
