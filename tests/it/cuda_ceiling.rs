//! The kernels that measure a device's ceilings compute what they say, on ptxvm with all its checks.
#![cfg(feature = "cuda")]

use medsegx::backend::cuda::Cuda;
use medsegx::backend::cuda::driver::ptxvm::Interpreter;
use ptxvm::Class;

#[test]
fn ceilings_are_measured_by_products_and_copies_alone() {
    let cuda = Cuda::new(Interpreter::new(2, ptxvm::Checks::Full).counting()).unwrap();
    // Refuses sums that are not those of its products, and copies that are none.
    let ceiling = cuda.ceiling().unwrap();
    assert!(ceiling.tflops > 0.0 && ceiling.gbytes > 0.0);
    let reports = cuda.driver().take_reports();
    let (_, products) = reports.iter().find(|(entry, _)| *entry == "ceiling_mma").unwrap();
    // Two rounds of eight products in each warp, beside a subtraction, a comparison and a branch.
    let rounds = 2 * products.ctas * u64::from(products.warps);
    assert_eq!(products.counters.class(Class::Mma), 8 * rounds);
    let in_the_loop = products.counters.lines.iter().filter(|line| line.issued == rounds).count();
    assert_eq!(in_the_loop, 8 + 3, "instructions of a round");
    let (_, copies) = reports.iter().find(|(entry, _)| *entry == "ceiling_copy").unwrap();
    assert_eq!(copies.counters.sectors, copies.counters.sectors_ideal);
}
