//! Draco streams (version 2.2) of one kind: triangles with integer positions and nothing else.
//!
//! That is what the multi-resolution mesh format of Neuroglancer stores. Positions come back exactly, faces keep
//! their orientation; the order of vertices and faces is not kept, and a vertex at which several sheets of the
//! surface meet comes back once per sheet.

mod connectivity;
mod corner_table;
mod decode;
mod entropy;
mod order;
mod predict;
mod reader;
mod symbols;
#[cfg(test)]
mod tests;
mod traversal;

pub use decode::decode;

use crate::error::{Error, Result};
use corner_table::CornerTable;
use entropy::{BitWriter, SymbolCoder, put_binary, put_varint};
use predict::{Predictor, Wrap};
use traversal::{C, E, L, R, S, Traversal};

/// First bytes: the name, version 2.2.
const MAGIC: [u8; 7] = *b"DRACO\x02\x02";
/// Type of geometry: triangles.
const TRIANGLES: u8 = 1;
/// Method of connectivity: faces as lists of indices.
const SEQUENTIAL: u8 = 0;
/// Method of connectivity: a walk over the surface.
const EDGEBREAKER: u8 = 1;

/// Coding of the symbols: each for itself.
const STANDARD: u8 = 0;
/// Coding of the symbols: by the valence of the vertex ahead.
const VALENCE: u8 = 2;

/// Order of the values.
const DEPTH_FIRST: u8 = 0;
const PREDICTION_DEGREE: u8 = 1;

/// Data types of integers.
const INT32: u8 = 5;
const UINT32: u8 = 6;

/// What a value is expected to be: nothing, the one before, from one parallelogram, from several.
const UNPREDICTED: u8 = 0xfe;
const DELTA: u8 = 0;
const PARALLELOGRAM: u8 = 1;
const MULTI_PARALLELOGRAM: u8 = 4;

/// Bits of the symbols C, S, L, R, E where each stands for itself, low bit first, and how many.
const PATTERNS: [(u32, u32); 5] = [(0, 1), (1, 3), (3, 3), (5, 3), (7, 3)];
const _: () = assert!(C == 0 && S == 1 && L == 2 && R == 3 && E == 4);

/// Buffers of the encoder, used again from mesh to mesh; keep one per thread.
#[derive(Debug, Default)]
pub struct Scratch {
    table: CornerTable,
    traversal: Traversal,
    stack: Vec<u32>,
    symbols: Vec<u32>,
    coder: SymbolCoder,
    valence: Vec<u8>,
}

/// Encode a mesh: edgebreaker connectivity and parallelogram prediction, each in the variant that needs fewer bytes.
///
/// Faces with a repeated index are left out, as are vertices that no face uses. The same mesh gives the same bytes
/// on every machine.
///
/// # Errors
/// [`Error::Argument`] if an index is out of range, no face is left, or the coordinates are so far apart
/// that decoders would overflow: from 0 to 2^30 - 1 and from -2^29 to 2^29 all are good.
pub fn encode(positions: &[[i32; 3]], faces: &[[u32; 3]], scratch: &mut Scratch) -> Result<Vec<u8>> {
    let Scratch { table, traversal, stack, symbols, coder, valence } = scratch;
    table.build(positions, faces)?;
    let (min, max) = range(table);
    let wrap = Wrap::new(min, max).filter(Wrap::fits).ok_or_else(|| {
        Error::Argument(format!(
            "coordinates from {min} to {max} cannot be decoded everywhere: twice the range, from either end, must \
             stay within 32 bits"
        ))
    })?;
    traversal.run(table);
    symbols.clear();
    symbols.reserve(3 * table.vertices.len());
    let starts = traversal.corners.iter().rev().chain(&traversal.interior_corners).copied();
    let mut predictor = Predictor { vertices: &mut table.vertices, symbols, last: [0; 3], wrap };
    order::depth_first(&mut table.faces, starts, stack, &mut predictor);

    valence.clear();
    put_binary(&traversal.interior, valence);
    for list in &traversal.contexts {
        put_varint(list.len() as u64, valence);
        if !list.is_empty() {
            coder.put(list, 1, valence);
        }
    }
    let standard_bits = traversal.symbols.iter().map(|&symbol| u64::from(PATTERNS[usize::from(symbol)].1)).sum();
    let mut standard = Vec::new();
    put_standard(traversal, standard_bits, valence.len(), &mut standard);

    let mut out = Vec::with_capacity(valence.len() + 2 * symbols.len() + 64);
    out.extend_from_slice(&MAGIC);
    let coding = if standard.is_empty() { VALENCE } else { STANDARD };
    out.extend_from_slice(&[TRIANGLES, EDGEBREAKER, 0, 0, coding]);
    put_varint(table.vertices.len() as u64, &mut out);
    put_varint(table.faces.len() as u64, &mut out);
    out.push(0);
    put_varint(traversal.symbols.len() as u64, &mut out);
    put_varint(u64::from(traversal.splits), &mut out);
    put_events(traversal, &mut out);
    out.extend_from_slice(if standard.is_empty() { valence } else { &standard });

    let data_type = if min < 0 { INT32 } else { UINT32 };
    // one group of attributes, at the vertices: a position, three components, integer coder
    out.extend_from_slice(&[1, 0xff, 0, DEPTH_FIRST, 1, 0, data_type, 3, 0, 0, 1, PARALLELOGRAM, 1, 1]);
    coder.put(symbols, 3, &mut out);
    out.extend_from_slice(&min.to_le_bytes());
    out.extend_from_slice(&max.to_le_bytes());
    Ok(out)
}

/// Least and largest coordinate of the vertices that faces use.
fn range(table: &CornerTable) -> (i32, i32) {
    let (mut low, mut high) = ([i32::MAX; 3], [i32::MIN; 3]);
    for vertex in &table.vertices {
        for axis in 0..3 {
            low[axis] = low[axis].min(vertex.position[axis]);
            high[axis] = high[axis].max(vertex.position[axis]);
        }
    }
    let [a, b, c] = low;
    let [x, y, z] = high;
    (a.min(b).min(c), x.max(y).max(z))
}

/// Append symbols each for itself, unless that takes more than `limit` bytes; then nothing is appended.
fn put_standard(traversal: &Traversal, bits: u64, limit: usize, out: &mut Vec<u8>) {
    let bytes = bits.div_ceil(8);
    if bytes > limit as u64 {
        return;
    }
    out.reserve(bytes as usize + 16);
    put_varint(bytes, out);
    let mut writer = BitWriter::new(out);
    for &symbol in traversal.symbols.iter().rev() {
        let (bits, count) = PATTERNS[usize::from(symbol)];
        writer.put(bits, count);
    }
    writer.finish();
    put_binary(&traversal.interior, out);
    if out.len() > limit {
        out.clear();
    }
}

fn put_events(traversal: &Traversal, out: &mut Vec<u8>) {
    put_varint(traversal.events.len() as u64, out);
    let mut last = 0;
    for event in &traversal.events {
        put_varint(u64::from(event.source - last), out);
        put_varint(u64::from(event.source - event.split), out);
        last = event.source;
    }
    let mut writer = BitWriter::new(out);
    for event in &traversal.events {
        writer.put(u32::from(event.right), 1);
    }
    writer.finish();
}
