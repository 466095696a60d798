//! Parameters of the loaded model that are read as they are in the graph.

use std::ops::Deref;
use std::sync::Arc;

use crate::Result;
use crate::backend::cpu::Param;
use crate::error::Error;

/// The first numbers of one.
pub(super) struct Plain {
    param: Arc<Param>,
    len: usize,
}

impl Plain {
    /// # Errors
    /// A parameter in another form, or a shorter one.
    pub fn new(param: Arc<Param>, len: usize) -> Result<Plain> {
        let is_there = matches!(&*param, Param::Plain(data) if data.len() >= len);
        if is_there { Ok(Plain { param, len }) } else { Err(Error::internal("tune", "no plain parameter")) }
    }
}

impl Deref for Plain {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.param {
            Param::Plain(data) => &data[..self.len],
            _ => &[],
        }
    }
}
