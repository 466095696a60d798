//! What a session is asked, and whether it fits the model.

use crate::error::{Error, Result};
use crate::model::{Adapters, Config, Prompts};

/// One picture for the encoder.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    /// `[S, S, 3]`.
    pub pixels: &'a [u8],
    /// Three scales, three offsets (`pixel * scale + offset`), valid height, valid width.
    pub scaling: [f32; 8],
    /// Modality, three organ indices, task. Ignored by models without adapters.
    pub context: [i32; 5],
}

/// A point of a prompt, in pixels of the model's frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Column.
    pub x: f32,
    /// Row.
    pub y: f32,
    /// -1 not a point, 0 background, 1 foreground, 2 and 3 the corners of a box.
    pub label: i32,
}

/// One question to the decoder.
#[derive(Clone, Copy, Debug)]
pub struct Prompt<'a> {
    /// Which slice of the last [`Session::encode`](super::Session::encode).
    pub slot: usize,
    /// Points, then the corners of a box (labels 2 and 3); without a box one more point, labelled -1.
    pub points: &'a [Point],
    /// `[4g, 4g]` logits, g the side of the token grid.
    pub mask: Option<&'a [f32]>,
}

impl Slice<'_> {
    pub(super) fn check(&self, config: &Config) -> Result<()> {
        check_len("pixels", self.pixels.len(), config.image_size * config.image_size * 3)?;
        self.check_values(config)
    }

    /// As [`Slice::check`], of all but the pixels.
    pub(super) fn check_values(&self, config: &Config) -> Result<()> {
        if let Some(found) = self.scaling.iter().find(|x| !x.is_finite()) {
            return Err(argument("scaling", "finite numbers", found));
        }
        config.adapters.as_ref().map_or(Ok(()), |adapters| check_context(adapters, &self.context))
    }
}

fn check_context(adapters: &Adapters, context: &[i32; 5]) -> Result<()> {
    let rows = [adapters.modalities].into_iter().chain(adapters.organ_rows[1..].iter().copied());
    let names = ["modality", "organ level 1", "organ level 2", "organ level 3", "task"];
    for ((name, rows), &index) in names.into_iter().zip(rows).zip(context) {
        if usize::try_from(index).map_or(true, |index| index >= rows) {
            return Err(argument(name, format!("an index below {rows}"), index));
        }
    }
    Ok(())
}

impl Prompt<'_> {
    pub(super) fn check(&self, config: &Config, variant: &Prompts, encoded: usize) -> Result<()> {
        if self.slot >= encoded {
            return Err(argument("slot", format!("one of {encoded} encoded slices"), self.slot));
        }
        if self.points.len() != variant.points {
            let expected = format!("{} points, as the first prompt of the call", variant.points);
            return Err(argument("points", expected, self.points.len()));
        }
        for point in self.points {
            if !(-1..=3).contains(&point.label) {
                return Err(argument("label", "-1 to 3", point.label));
            }
            if !(point.x.is_finite() && point.y.is_finite()) {
                return Err(argument("point", "finite coordinates", format!("{}, {}", point.x, point.y)));
            }
        }
        match (self.mask, variant.mask) {
            (Some(mask), true) => check_len("mask", mask.len(), (4 * config.grid()).pow(2)),
            (None, false) => Ok(()),
            (Some(_), false) => Err(argument("mask", "none, as the first prompt of the call", "a mask")),
            (None, true) => Err(argument("mask", "a mask, as the first prompt of the call", "none")),
        }
    }
}

fn argument(name: &'static str, expected: impl ToString, found: impl ToString) -> Error {
    Error::Argument { name, expected: expected.to_string(), found: found.to_string() }
}

pub(super) fn check_count(name: &'static str, found: usize, capacity: usize) -> Result<()> {
    if (1..=capacity).contains(&found) { Ok(()) } else { Err(argument(name, format!("1 to {capacity}"), found)) }
}

pub(super) fn check_len(name: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected { Ok(()) } else { Err(argument(name, format!("{expected} elements"), found)) }
}
