//! The bounds within which a frame is read.
//!
//! Plain data: whoever reads from a network passes the limits of that side. Every limit exists
//! because without it a stranger's bytes decide how much memory, stack or time we spend.

/// The deepest nesting that the scanner can follow: it keeps one bit per level in a `u128`.
pub(crate) const DEPTH_CEILING: u32 = 128;

/// Bounds of one frame or batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The deepest nesting of objects and arrays, the frame itself being level 1. Values above 128
    /// act as 128, which is also where `serde_json`, and so most backends written in Rust, stops.
    pub depth_max: u32,
    /// The most bytes of one frame, or of one whole batch.
    pub bytes_max: usize,
    /// The most frames of one batch.
    pub batch_max: usize,
}

// === impl Limits ===

impl Limits {
    /// What a client may send: 4 MiB leaves room for an image in tool arguments, depth 64 is four
    /// times what the deepest schema among the conformance fixtures needs, and 32 calls at once is
    /// beyond what any known 2025-03-26 client batches.
    pub const REQUEST: Self = Self { depth_max: 64, bytes_max: 4 << 20, batch_max: 32 };
    /// What a backend may answer: results carry files, so four times the request's bytes.
    pub const ANSWER: Self = Self { depth_max: 64, bytes_max: 16 << 20, batch_max: 32 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::REQUEST
    }
}
