//! Parameters: how each is made from checkpoint tensors when the weights are loaded, whole or piece by piece.

mod norms;
mod reader;
mod recipe;
mod tensors;
mod whole;

pub use reader::Reader;
pub use recipe::{Param, Recipe};
pub use tensors::{Half, InMemory, Numbers, Tensors};
