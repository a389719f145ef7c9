//! How weights are stored.

/// How the weights of layers are stored.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Packing {
    /// For speed: on CPUs, 3×3 convolutions may keep weights that are transformed already.
    #[default]
    Fast,
    /// For memory: on CPUs, large 3×3 convolutions transform their weights in each call, and weights that are f16 stay f16 and
    /// are converted in each call.
    Compact,
}
