//! A row of the launch table.

/// One kernel.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// `.entry` name, and stem of the file that `medsegx kernels --dump` writes.
    pub entry: &'static str,
    /// Stem of the template: `kernels/{template}.ptx.j2`, launched by `src/backend/cuda/{template}.rs`.
    pub template: &'static str,
    /// Named constants of the template; it also sees `entry`, `threads` and `shared`.
    pub constants: &'static [(&'static str, i64)],
    /// What one block computes.
    pub tile: &'static str,
    /// Threads of a block: `.reqntid`.
    pub threads: u32,
    /// Bytes of dynamic shared memory a block is launched with.
    pub shared: u32,
    /// What the kernel waits for when it runs well: `tensor cores`, `memory`, `latency`.
    pub bound: &'static str,
}

impl Kernel {
    /// `.target` of its PTX. What `wgmma` computes runs on sm_90 alone, and no other is forced to have it.
    pub fn target(&self) -> &'static str {
        if self.constants.contains(&("wgmma", 1)) { "sm_90a" } else { "sm_80" }
    }
}
