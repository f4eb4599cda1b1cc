//! The numerical core of precast.
//!
//! Every kernel takes borrowed, strided views and returns or fills plain
//! buffers. Nothing here knows Python, files, JSON, logging or global state,
//! and nothing panics on the bytes that it is given.
//!
//! Arrays have the axis order `(c, z, y, x)` with x contiguous; small vectors
//! such as block sizes and factors have the order `[x, y, z]`.

pub mod chunks;
pub mod compressed_segmentation;
pub mod digest;
pub mod downsample;
pub mod draco;
pub mod error;
pub mod fragments;
pub mod gzip;
pub mod label_table;
pub mod mesh;
pub mod morton;
pub mod murmur;
pub mod parallel;
pub mod pieces;
pub mod simd;
pub mod simplify;
pub mod surface;
pub mod view;
pub mod weld;

pub use error::{Error, Result};
