//! Compiles the driver of the C API, against the committed header.

fn main() {
    println!("cargo::rerun-if-changed=../include/medsegx.h");
    println!("cargo::rerun-if-changed=fuzz_targets/capi.c");
    cc::Build::new().file("fuzz_targets/capi.c").include("../include").warnings(true).compile("drive_capi");
}
