//! Structs that grow. The first field of each is its size as the caller knows it, so that fields can be added at the end:
//! what an older caller does not know keeps its default, and nothing is written past its struct.

use super::boundary::{Outcome, null};
use super::status::medsegx_error;

/// A struct that starts with its own size. `FIRST_SIZE` is its size in version 1 of the ABI.
///
/// # Safety
/// The type is `repr(C)`, starts with a `u32` size, and every bit pattern of its fields is valid.
pub(super) unsafe trait Versioned: Copy {
    const NAME: &'static str;
    const FIRST_SIZE: usize;
    /// Every field at its default.
    fn initial() -> Self;
}

/// Declares that a struct of the header is [`Versioned`], with the defaults of the fields after the size.
macro_rules! versioned {
    ($name:ident, $first_size:literal, { $($field:ident: $default:expr,)* }) => {
        const _: () = assert!(size_of::<$name>() >= $first_size && std::mem::offset_of!($name, struct_size) == 0);

        // SAFETY: repr(C), the size is first, and integers, floats, raw pointers and optional functions of the host,
        // which it promises to be valid, may be copied from any caller.
        unsafe impl Versioned for $name {
            const NAME: &'static str = stringify!($name);
            const FIRST_SIZE: usize = $first_size;
            fn initial() -> Self {
                $name { struct_size: size_of::<$name>() as u32, $($field: $default,)* }
            }
        }
    };
}
pub(super) use versioned;

/// Fills a caller's struct with defaults, and with zeros behind what this version knows. NULL, and a size below the first
/// one, are ignored.
///
/// # Safety
/// `out` is NULL or points at `struct_size` writable bytes.
pub(super) unsafe fn initialise<T: Versioned>(out: *mut T, struct_size: u32) {
    let known = struct_size as usize;
    if out.is_null() || known < T::FIRST_SIZE {
        return;
    }
    let value = T::initial();
    // SAFETY: the caller's promise; each copy is within both structs, the size is the first field.
    unsafe {
        out.cast::<u8>().write_bytes(0, known);
        std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), out.cast::<u8>(), known.min(size_of::<T>()));
        out.cast::<u32>().write_unaligned(struct_size);
    }
}

/// Reads a caller's struct: the fields that it knows, defaults for the rest. NULL is all defaults.
///
/// # Safety
/// `pointer` is NULL or points at `struct_size` readable bytes.
pub(super) unsafe fn read<T: Versioned>(pointer: *const T) -> Outcome<T> {
    let mut value = T::initial();
    if pointer.is_null() {
        return Ok(value);
    }
    // SAFETY: the caller's promise.
    let size = unsafe { size_of_caller(pointer) }?;
    // SAFETY: both are valid for the smaller of the two sizes, and every bit pattern is valid (Versioned).
    unsafe {
        std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut value).cast::<u8>(), size.min(size_of::<T>()));
    }
    Ok(value)
}

/// As [`read`], but NULL is an error that names the argument.
///
/// # Safety
/// As [`read`].
pub(super) unsafe fn required<T: Versioned>(name: &str, pointer: *const T) -> Outcome<T> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: the caller's promise.
    unsafe { read(pointer) }
}

/// Writes the fields that the caller's struct has room for; its size stays.
///
/// # Safety
/// `pointer` is NULL or points at `struct_size` writable bytes.
pub(super) unsafe fn write<T: Versioned>(pointer: *mut T, value: &T) -> Outcome {
    if pointer.is_null() {
        return Err(null(T::NAME));
    }
    // SAFETY: the caller's promise.
    let size = unsafe { size_of_caller(pointer) }?.min(size_of::<T>());
    let skip = size_of::<u32>();
    // SAFETY: as above; `size` is at least FIRST_SIZE, which is more than the size field.
    unsafe {
        let (from, to) = ((&raw const *value).cast::<u8>(), pointer.cast::<u8>());
        std::ptr::copy_nonoverlapping(from.add(skip), to.add(skip), size - skip);
    }
    Ok(())
}

/// # Safety
/// `pointer` points at a readable `u32` at least.
unsafe fn size_of_caller<T: Versioned>(pointer: *const T) -> Outcome<usize> {
    if !pointer.is_aligned() {
        return Err(medsegx_error::argument(T::NAME, "an aligned pointer", "another address"));
    }
    // SAFETY: aligned for T, whose first field is a u32.
    let size = unsafe { pointer.cast::<u32>().read() } as usize;
    if size < T::FIRST_SIZE {
        let expected = format!("struct_size of at least {}", T::FIRST_SIZE);
        return Err(medsegx_error::argument(T::NAME, &expected, &size.to_string()));
    }
    Ok(size)
}
