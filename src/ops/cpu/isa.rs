//! The instruction set to use.

use crate::by_name::ByName;
use std::sync::OnceLock;

/// An instruction set that has kernels. On x86-64, each includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Isa {
    /// Plain Rust.
    Portable,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX-512 F, BW, DQ, VL and BF16.
    Avx512Bf16,
    /// NEON, which every 64-bit ARM CPU has.
    Neon,
}

/// The names that `TXT2IMG_ISA` takes.
impl ByName for Isa {
    const ALL: &'static [(&'static str, Self)] = &[
        ("portable", Isa::Portable),
        ("avx2", Isa::Avx2),
        ("avx512", Isa::Avx512),
        ("avx512bf16", Isa::Avx512Bf16),
        ("neon", Isa::Neon),
    ];
}

impl Isa {
    /// The number of f32 in a vector of the GEMM kernels.
    pub fn lanes(self) -> usize {
        match self {
            Isa::Portable | Isa::Avx2 | Isa::Neon => 8,
            Isa::Avx512 | Isa::Avx512Bf16 => 16,
        }
    }

    /// Detects the best instruction set of this CPU.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            let avx2 =
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
            if avx2 && avx512 && is_x86_feature_detected!("avx512bf16") {
                return Isa::Avx512Bf16;
            }
            if avx2 && avx512 {
                return Isa::Avx512;
            }
            if avx2 {
                return Isa::Avx2;
            }
        }
        if cfg!(target_arch = "aarch64") { Isa::Neon } else { Isa::Portable }
    }

    /// Whether every CPU with this instruction set has `other` too.
    pub fn includes(self, other: Self) -> bool {
        match self {
            Isa::Neon => matches!(other, Isa::Portable | Isa::Neon),
            _ => other <= self,
        }
    }
}

/// The instruction set in use: the one that `TXT2IMG_ISA` names, if this CPU has it, else the best.
pub fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        let best = Isa::best();
        let name = std::env::var("TXT2IMG_ISA").unwrap_or_default();
        Isa::from_name(&name).filter(|&isa| best.includes(isa)).unwrap_or(best)
    })
}
