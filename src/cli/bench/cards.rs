//! GPUs that models of time are made for. Figures are those of the makers' data sheets: dense f16 products with f32
//! sums at the boost clock.

/// One GPU.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Card {
    /// How it is asked for.
    pub name: &'static str,
    /// The architecture in kernels/machine_code.tsv whose code it runs, or the nearest to it.
    pub architecture: &'static str,
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Boost clock.
    pub ghz: f64,
    /// Dense f16 products with f32 sums.
    pub tensor_tflops: f64,
    /// What `mma.sync`, which the kernels use, reaches of it at most: on Hopper the rest is for `wgmma` alone
    /// (arXiv:2501.12084, table of mma throughputs).
    pub mma_sync_share: f64,
    /// What `wgmma` reaches of it at most, where the kernels use that (same source).
    pub wgmma_share: Option<f64>,
    /// Memory bandwidth.
    pub gbytes: f64,
    /// Second-level cache.
    pub l2_mbytes: f64,
}

/// The known cards.
pub const CARDS: [Card; 5] = [
    Card {
        name: "a100",
        architecture: "80",
        multiprocessors: 108,
        ghz: 1.41,
        tensor_tflops: 312.0,
        mma_sync_share: 1.0,
        wgmma_share: None,
        gbytes: 2039.0,
        l2_mbytes: 40.0,
    },
    Card {
        name: "h100",
        architecture: "90",
        multiprocessors: 132,
        ghz: 1.83,
        tensor_tflops: 989.4,
        mma_sync_share: 0.63,
        wgmma_share: Some(0.96),
        gbytes: 3352.0,
        l2_mbytes: 50.0,
    },
    Card {
        name: "h200",
        architecture: "90",
        multiprocessors: 132,
        ghz: 1.83,
        tensor_tflops: 989.4,
        mma_sync_share: 0.63,
        wgmma_share: Some(0.96),
        gbytes: 4800.0,
        l2_mbytes: 50.0,
    },
    Card {
        name: "rtx4090",
        architecture: "80",
        multiprocessors: 128,
        ghz: 2.52,
        tensor_tflops: 165.2,
        mma_sync_share: 1.0,
        wgmma_share: None,
        gbytes: 1008.0,
        l2_mbytes: 72.0,
    },
    Card {
        name: "rtx5090",
        architecture: "120",
        multiprocessors: 170,
        ghz: 2.41,
        tensor_tflops: 209.5,
        mma_sync_share: 1.0,
        wgmma_share: None,
        gbytes: 1792.0,
        l2_mbytes: 96.0,
    },
];

/// What a kernel multiplies by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arithmetic {
    /// Ordinary instructions.
    Fma,
    /// `mma.sync` of a warp.
    MmaSync,
    /// `wgmma` of four warps.
    Wgmma,
}

/// A card by its name.
pub fn card(text: &str) -> Result<Card, String> {
    let known = || CARDS.map(|card| card.name).join(", ");
    CARDS.into_iter().find(|card| card.name == text).ok_or_else(|| format!("needs one of {}", known()))
}

impl Card {
    /// Seconds of `flop` floating-point operations at the best rate.
    pub fn seconds_of_flop(&self, flop: u64, by: Arithmetic) -> f64 {
        let tensor = |share: f64| self.tensor_tflops * share * 1e12;
        let rate = match by {
            // A multiprocessor does 128 f32 multiply-adds a clock.
            Arithmetic::Fma => 2.0 * 128.0 * f64::from(self.multiprocessors) * self.ghz * 1e9,
            Arithmetic::MmaSync => tensor(self.mma_sync_share),
            Arithmetic::Wgmma => tensor(self.wgmma_share.unwrap_or(self.mma_sync_share)),
        };
        flop as f64 / rate
    }

    /// Seconds of moving parameters and values. Values that fill less than half of the second-level cache stay there.
    pub fn seconds_of_bytes(&self, params: u64, values: u64) -> f64 {
        let from_memory = if values as f64 > 0.5e6 * self.l2_mbytes { params + values } else { params };
        from_memory as f64 / (self.gbytes * 1e9)
    }
}
