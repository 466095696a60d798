//! Where numbers come from, and how a backend asks for those of a parameter.

use std::ops::Range;

use crate::error::{Error, Result};

/// Numbers of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The upper half of binary32.
    Bf16,
    /// IEEE binary16.
    F16,
}

/// Where checkpoint tensors come from.
pub trait Tensors: Sync {
    /// All numbers of the tensor `name`, row-major.
    ///
    /// # Errors
    /// No such tensor, NaN or infinity in it, and what reading returns.
    fn load(&self, name: &str) -> Result<Vec<f32>>;

    /// How many numbers the tensor `name` has.
    ///
    /// # Errors
    /// No such tensor.
    fn count(&self, name: &str) -> Result<usize> {
        Ok(self.load(name)?.len())
    }

    /// The 16 bits as which the numbers of the tensor `name` are stored, where they are.
    fn half(&self, _name: &str) -> Option<Half> {
        None
    }

    /// Reads numbers of the tensor `name` from `first` on. They may be NaN or infinite.
    ///
    /// # Errors
    /// No such tensor or numbers, and what reading returns.
    fn read_part(&self, name: &str, first: usize, out: &mut [f32]) -> Result<()> {
        let data = self.load(name)?;
        let part = data.get(first..first + out.len());
        out.copy_from_slice(part.ok_or_else(|| mismatch(name, format!("{} elements", first + out.len()), data.len()))?);
        Ok(())
    }
}

/// The numbers of a parameter, row-major, for backends that convert them a piece at a time.
pub trait Numbers {
    /// All of them.
    ///
    /// # Errors
    /// What reading them returns.
    fn all(&mut self) -> Result<Vec<f32>>;

    /// The columns of the matrices that stand side by side in a matrix of `columns`, zeros between them.
    ///
    /// # Errors
    /// Matrices that do not fit.
    fn bands(&self, columns: usize) -> Result<Vec<Range<usize>>> {
        Ok(std::iter::once(0..columns).collect())
    }

    /// The 16 bits as which all of them are stored, where they are.
    fn half(&self) -> Option<Half> {
        None
    }

    /// `len` numbers of whole rows of a band, from its element `first` on. They may be NaN or infinite: who finds one
    /// asks [`Numbers::check`].
    ///
    /// # Errors
    /// What reading them returns.
    fn part(&mut self, band: usize, first: usize, len: usize) -> Result<&[f32]>;

    /// Refuses NaN and infinity where they come from a file, by the name of the tensor.
    ///
    /// # Errors
    /// Such a value; what reading returns.
    fn check(&mut self) -> Result<()>;
}

/// Numbers that are in memory already.
pub struct InMemory(pub Vec<f32>);

impl Numbers for InMemory {
    fn all(&mut self) -> Result<Vec<f32>> {
        Ok(std::mem::take(&mut self.0))
    }

    fn part(&mut self, _band: usize, first: usize, len: usize) -> Result<&[f32]> {
        let found = self.0.len();
        let short = || mismatch("a parameter", format!("{} elements", first + len), found);
        self.0.get(first..first + len).ok_or_else(short)
    }

    fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

pub(super) fn mismatch(name: &str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Tensor { name: name.into(), expected: expected.to_string(), found: found.to_string() }
}
