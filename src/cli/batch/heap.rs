//! Memory that a process of many cases gives back: what one case has freed, and weights that have been loaded.

/// Bytes from which an allocation has pages of its own, which go back to the system when it is freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_PAGES: i32 = 1 << 18;

/// Lets freed voxels go back to the system in a process of many cases. Left alone, glibc takes the largest block that
/// was freed, up to 32 MiB, as the size from which blocks have pages of their own, and from then on each thread that
/// reads keeps the voxels of a case that is done.
pub fn return_what_is_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: two integers by value; glibc takes its own lock, and what it refuses it leaves as it was.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES) };
    }
}

/// Lets go of the pages of weights that lie in the program itself, once they have been loaded: the system reads them
/// from the program's file should anybody look again.
#[cfg(feature = "demo-weights")]
pub fn return_pages_of(weights: &'static [u8]) {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: an integer by value.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0).max(1);
        let first = weights.as_ptr().addr().next_multiple_of(page);
        let end = weights.as_ptr_range().end.addr() / page * page;
        if first < end {
            let (first, bytes) = (weights.as_ptr().with_addr(first).cast_mut().cast(), end - first);
            // SAFETY: whole pages of constants in a private mapping of the program's file, which nothing writes: what
            // is dropped comes back as it was. What the system refuses it leaves as it is.
            unsafe { libc::madvise(first, bytes, libc::MADV_DONTNEED) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = weights;
}
