//! Which tokens a window has, and where their numbers are.

/// The real tokens of a window.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub grid: usize,
    /// g.
    pub side: usize,
    pub top: usize,
    pub left: usize,
    /// Real rows and columns.
    pub height: usize,
    pub width: usize,
}

impl Window {
    pub fn new(row: usize, column: usize, side: usize, grid: usize) -> Window {
        let (top, left) = (row * side, column * side);
        Window { grid, side, top, left, height: side.min(grid - top), width: side.min(grid - left) }
    }

    pub fn tokens(&self) -> usize {
        self.height * self.width
    }

    /// Row of the grid's array for the window's real token `index`.
    #[inline(always)]
    pub fn token(&self, index: usize) -> usize {
        (self.top + index / self.width) * self.grid + self.left + index % self.width
    }

    pub fn is_padded(&self) -> bool {
        self.height < self.side || self.width < self.side
    }
}

/// One head of one slice.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pub qkv: &'a [f32],
    pub bias: &'a [f32],
    /// D.
    pub width: usize,
    pub head: usize,
    pub head_dim: usize,
    /// First row of the slice.
    pub base: usize,
}

impl<'a> Head<'a> {
    /// q, k or v (`part` 0, 1, 2) of a token.
    #[inline(always)]
    pub fn row(&self, part: usize, token: usize) -> &'a [f32] {
        &self.qkv[((self.base + token) * 3 + part) * self.width + self.head * self.head_dim..][..self.head_dim]
    }

    pub fn bias(&self, part: usize) -> &'a [f32] {
        &self.bias[part * self.width + self.head * self.head_dim..][..self.head_dim]
    }
}
