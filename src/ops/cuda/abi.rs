//! The numbers that Rust and the kernels share, which `build.rs` translates from `kernels/abi.cuh`.

include!(concat!(env!("OUT_DIR"), "/abi.rs"));
