//! The kernels that measure a device's ceilings compute what they say, on ptxvm with all its checks.
#![cfg(feature = "cuda")]

use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::interpreter::Interpreter;
use ptxvm::Class;

#[test]
fn ceilings_are_measured_by_products_and_copies_alone() {
    let cuda = Cuda::new(Interpreter::new(2, ptxvm::Checks::Full).counting()).unwrap();
    // Refuses sums that are not those of its products, and copies that are none.
    let ceiling = cuda.ceiling().unwrap();
    assert!(ceiling.tflops > 0.0 && ceiling.gbytes > 0.0);
    let reports = cuda.driver().take_reports();
    let (_, products) = reports.iter().find(|(entry, _)| *entry == "ceiling_mma").unwrap();
    // Eight products a round beside a subtraction, a comparison and a branch; the rest is start and end.
    let rounds = products.counters.class(Class::Branch) as f64;
    let loops = products.counters.class(Class::Mma) as f64 / rounds;
    assert_eq!(loops, 8.0, "products a round");
    let (_, copies) = reports.iter().find(|(entry, _)| *entry == "ceiling_copy").unwrap();
    assert_eq!(copies.counters.sectors, copies.counters.sectors_ideal);
}
