//! Memory that one case has freed, for the next.

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
