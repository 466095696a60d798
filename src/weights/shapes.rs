//! Shapes of tensors by name, and what they say of sizes.

use std::collections::BTreeMap;

/// Shapes by name, of whatever kind of file.
pub(crate) type Shapes<'a> = BTreeMap<&'a str, &'a [usize]>;

/// Beyond this an index in a name is not believed, so that the table stays small. vit_h has 32 blocks.
pub(super) const MAX_BLOCKS: usize = 256;

/// Reads sizes off shapes.
pub(super) struct Reader<'a> {
    pub shapes: &'a Shapes<'a>,
}

impl Reader<'_> {
    /// One axis of a tensor that is there with the rank it should have.
    pub fn axis(&self, name: &str, rank: usize, axis: usize) -> Option<usize> {
        self.shapes.get(name).filter(|shape| shape.len() == rank).map(|shape| shape[axis])
    }

    /// Whether any name begins so.
    pub fn any(&self, prefix: &str) -> bool {
        self.shapes.range(prefix..).next().is_some_and(|(name, _)| name.starts_with(prefix))
    }

    /// One more than the largest number below `limit` that follows `prefix`.
    pub fn count(&self, prefix: &str, limit: usize) -> usize {
        let numbers = self.shapes.range(prefix..).map_while(|(name, _)| name.strip_prefix(prefix));
        let numbers = numbers.filter_map(|rest| rest.split('.').next()?.parse::<usize>().ok());
        numbers.filter(|&number| number < limit).max().map_or(0, |number| number + 1)
    }
}

/// The value that occurs most often; of equals the smallest.
pub(super) fn most_common(values: impl Iterator<Item = usize>) -> Option<usize> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_insert(0) += 1;
    }
    let most = *counts.values().max()?;
    counts.into_iter().find(|&(_, count)| count == most).map(|(value, _)| value)
}
