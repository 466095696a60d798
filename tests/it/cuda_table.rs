//! The launch table against the PTX: names, parameters, threads, shared memory; and what a machine without a device
//! says.
#![cfg(feature = "cuda")]

use medsegx::backend::Launches;
use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::kernels::{self, Type};

#[test]
fn the_table_agrees_with_the_ptx() {
    for (index, (kernel, ptx)) in kernels::texts().enumerate() {
        let module = ptxvm::Module::parse(ptx).unwrap_or_else(|e| panic!("{}: {e}", kernel.entry));
        let [entry] = module.entries() else { panic!("{}: expected one entry", kernel.entry) };
        assert_eq!(entry.name, kernel.entry);
        let found: Vec<(&str, u32)> = entry.params.iter().map(|p| (p.name.as_str(), p.bytes)).collect();
        let size = |kind| if kind == Type::Pointer { 8 } else { 4 };
        let expected: Vec<(&str, u32)> =
            kernels::params(index).iter().map(|&(name, kind)| (name, size(kind))).collect();
        assert_eq!(found, expected, "{}: parameters", kernel.entry);
        assert_eq!(entry.reqntid, Some([kernel.threads, 1, 1]), "{}: .reqntid", kernel.entry);
        assert_eq!(entry.dynamic_shared, kernel.shared > 0, "{}: dynamic shared memory", kernel.entry);
        // The smallest limits among sm_80 and later are those of sm_86, sm_89 and sm_120.
        assert!(entry.static_shared + kernel.shared <= 99 << 10, "{}: shared memory", kernel.entry);
    }
}

#[test]
fn every_header_names_its_parameters() {
    for (kernel, ptx) in kernels::texts() {
        let header: String = ptx.lines().take_while(|line| !line.starts_with(".version")).collect();
        assert!(header.starts_with(&format!("// {}: ", kernel.entry)), "{}: the first line names it", kernel.entry);
        for word in ["Tile: ", "Grid: ", "Shared memory", "Bound: "] {
            assert!(header.contains(word), "{}: the header lacks '{word}'", kernel.entry);
        }
        assert!(header.contains(&format!("Bound: {}", kernel.bound)), "{}: bound {}", kernel.entry, kernel.bound);
    }
}

#[test]
fn no_driver_is_an_answer() {
    // On a machine with a device there is nothing to refuse but a device that is not there.
    let Err(error) = Cuda::open(4096, Launches::Ordered) else { panic!("device 4096 exists") };
    let text = error.to_string();
    assert!(text.starts_with("device cuda:4096: "), "{text}");
    assert!(text.contains("driver"), "{text}");
}
