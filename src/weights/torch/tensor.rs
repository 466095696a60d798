//! What a pickled tensor says about itself: element type, and the view of its storage.

use super::super::Dtype;

/// Element types of torch storages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Element {
    const ALL: [(Element, &'static str, &'static str, u64); 10] = [
        (Element::F64, "DoubleStorage", "float64", 8),
        (Element::F32, "FloatStorage", "float32", 4),
        (Element::F16, "HalfStorage", "float16", 2),
        (Element::BF16, "BFloat16Storage", "bfloat16", 2),
        (Element::I64, "LongStorage", "int64", 8),
        (Element::I32, "IntStorage", "int32", 4),
        (Element::I16, "ShortStorage", "int16", 2),
        (Element::I8, "CharStorage", "int8", 1),
        (Element::U8, "ByteStorage", "uint8", 1),
        (Element::Bool, "BoolStorage", "bool", 1),
    ];

    /// The type whose storage class in module `torch` has this name.
    pub fn of_storage(class: &str) -> Option<Self> {
        Self::ALL.iter().find(|row| row.1 == class).map(|row| row.0)
    }

    fn row(self) -> &'static (Element, &'static str, &'static str, u64) {
        &Self::ALL[self as usize] // the rows stand in the order of the variants
    }

    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Bytes of one value.
    pub fn size(self) -> u64 {
        self.row().3
    }

    /// The same in a weights file; `None` for what no weight is.
    pub fn dtype(self) -> Option<Dtype> {
        match self {
            Element::F32 => Some(Dtype::F32),
            Element::F16 => Some(Dtype::F16),
            Element::BF16 => Some(Dtype::BF16),
            _ => None,
        }
    }
}

/// Which values of its storage a tensor has, in values.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub offset: u64,
    pub shape: Vec<u64>,
    pub strides: Vec<u64>,
}

impl View {
    /// The shape, if every value lies within a storage of `length` values and the tensor has no more values than that,
    /// so that a view cannot blow up a small file. The error is what is wrong.
    pub fn check(&self, length: u64) -> Result<Vec<usize>, String> {
        let found = || format!("offset {}, shape {:?}, strides {:?}", self.offset, self.shape, self.strides);
        let count = self.shape.iter().try_fold(1u64, |n, &axis| n.checked_mul(axis));
        if self.shape.len() != self.strides.len() || count.is_none_or(|n| n > length) {
            return Err(found());
        }
        if count != Some(0) {
            let span = |last: u64, (&axis, &stride): (&u64, &u64)| last.checked_add((axis - 1).checked_mul(stride)?);
            let last = self.shape.iter().zip(&self.strides).try_fold(self.offset, span);
            if last.is_none_or(|last| last >= length) {
                return Err(found());
            }
        }
        self.shape.iter().map(|&axis| usize::try_from(axis).map_err(|_| found())).collect()
    }

    /// Whether the tensor is the whole storage of `length` values in order.
    pub fn is_whole(&self, length: usize) -> bool {
        if self.shape.contains(&0) {
            return false;
        }
        let mut expected = 1;
        for (&axis, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if axis != 1 && stride != expected {
                return false;
            }
            expected *= axis;
        }
        self.offset == 0 && expected == length as u64
    }

    /// Calls `visit` with the place of every value in the storage, row-major. [`View::check`] has passed.
    pub fn each(&self, mut visit: impl FnMut(usize)) {
        if self.shape.contains(&0) {
            return;
        }
        let mut index = vec![0; self.shape.len()];
        let mut place = self.offset;
        loop {
            visit(place as usize); // below the storage's length
            let mut axis = self.shape.len();
            loop {
                let Some(next) = axis.checked_sub(1) else { return };
                axis = next;
                if index[axis] + 1 < self.shape[axis] {
                    index[axis] += 1;
                    place += self.strides[axis];
                    break;
                }
                place -= index[axis] * self.strides[axis];
                index[axis] = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(offset: u64, shape: &[u64], strides: &[u64]) -> View {
        View { offset, shape: shape.to_vec(), strides: strides.to_vec() }
    }

    fn places(view: &View) -> Vec<usize> {
        let mut places = Vec::new();
        view.each(|place| places.push(place));
        places
    }

    #[test]
    fn the_rows_stand_in_order() {
        for (element, class, ..) in Element::ALL {
            assert_eq!(Element::of_storage(class), Some(element));
            assert_eq!(element.row().0, element);
        }
    }

    #[test]
    fn values_in_order() {
        assert_eq!(places(&view(0, &[2, 3], &[3, 1])), [0, 1, 2, 3, 4, 5]);
        assert_eq!(places(&view(1, &[3, 2], &[1, 3])), [1, 4, 2, 5, 3, 6]);
        assert_eq!(places(&view(7, &[], &[])), [7]);
        assert_eq!(places(&view(0, &[2, 0], &[1, 1])), [0; 0]);
        assert_eq!(places(&view(0, &[2, 2], &[0, 1])), [0, 1, 0, 1]);
    }

    #[test]
    fn whole_storages() {
        assert!(view(0, &[2, 3], &[3, 1]).is_whole(6));
        assert!(view(0, &[2, 1, 3], &[3, 99, 1]).is_whole(6));
        assert!(!view(0, &[2, 3], &[3, 1]).is_whole(7));
        assert!(!view(1, &[2, 3], &[3, 1]).is_whole(6));
        assert!(!view(0, &[3, 2], &[1, 3]).is_whole(6));
        assert!(!view(0, &[0, 1 << 40, 1 << 40], &[1, 1, 1]).is_whole(0));
    }

    #[test]
    fn views_outside_the_storage_are_refused() {
        assert_eq!(view(1, &[2, 2], &[2, 1]).check(5), Ok(vec![2, 2]));
        for bad in [
            view(2, &[2, 2], &[2, 1]),
            view(0, &[2, 3], &[3, 1]),
            view(0, &[2, 2], &[4, 1]),
            view(0, &[2, 2], &[2]),
            view(u64::MAX, &[1], &[1]),
            view(0, &[u64::MAX, 2], &[0, 0]),
            view(0, &[6], &[0]),
            view(0, &[2, 2], &[u64::MAX, 1]),
            view(1, &[2], &[u64::MAX]),
        ] {
            assert!(bad.check(5).is_err(), "{bad:?}");
        }
        assert_eq!(view(9, &[0], &[1]).check(5), Ok(vec![0]));
    }
}
