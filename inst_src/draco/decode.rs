//! Decoding, of bytes that may be anything.

use super::connectivity::{Surface, check_limits, read};
use super::corner_table::{Corners, Face, NONE, next, prev};
use super::order::{Sink, depth_first, prediction_degree};
use super::predict::{Wrap, parallelogram, signed};
use super::reader::{Reader, damaged};
use super::symbols::{BinaryDecoder, symbols};
use super::{
    DELTA, DEPTH_FIRST, EDGEBREAKER, MAGIC, MULTI_PARALLELOGRAM, PARALLELOGRAM, PREDICTION_DEGREE, SEQUENTIAL,
    TRIANGLES, UNPREDICTED,
};
use crate::error::{Error, Result};
use crate::mesh::Mesh;

/// Flag: metadata follow the header.
const METADATA: u32 = 0x8000;
/// Data type of single-precision numbers.
const FLOAT32: u8 = 9;
/// Coder of a value: integers as they are.
const INTEGERS: u8 = 1;
/// Coder of a value: numbers as steps of a lattice.
const QUANTIZED: u8 = 2;
/// Most parallelograms that one value is predicted from.
const MAX_PARALLELOGRAMS: usize = 4;

/// Decode a mesh of at most so many faces and vertices.
///
/// All that Google's encoder writes for triangles with three-dimensional positions alone is read. Positions stored
/// as floating-point numbers on a lattice come as the integers on that lattice. Memory is taken as the mesh grows,
/// not as the header claims. Bytes after the mesh are not looked at.
///
/// # Errors
/// [`Error::Format`] if the bytes are something else, are damaged, or hold more than is allowed.
pub fn decode(bytes: &[u8], max_faces: usize, max_vertices: usize) -> Result<Mesh> {
    let mut reader = Reader::new(bytes);
    let magic = reader.bytes(MAGIC.len())?;
    if magic[..5] != MAGIC[..5] {
        return Err(damaged("it does not begin with DRACO"));
    }
    if magic != MAGIC {
        return Err(Error::Format(format!("Draco version {}.{} is not supported, only 2.2", magic[5], magic[6])));
    }
    let (geometry, method, flags) = (reader.byte()?, reader.byte()?, reader.uint(2)?);
    if geometry != TRIANGLES {
        return Err(damaged("it is not a triangle mesh"));
    }
    if flags & !METADATA != 0 {
        return Err(damaged(format!("flags {flags:#x} do not exist")));
    }
    if flags & METADATA != 0 {
        skip_metadata(&mut reader)?;
    }
    match method {
        EDGEBREAKER => {
            let surface = read(&mut reader, max_faces, max_vertices)?;
            surface_values(&mut reader, surface, max_vertices)
        }
        SEQUENTIAL => sequential(&mut reader, max_faces, max_vertices),
        other => Err(damaged(format!("connectivity method {other} does not exist"))),
    }
}

/// Pass over metadata: those of attributes, each after the attribute's id, then those of the mesh.
fn skip_metadata(reader: &mut Reader<'_>) -> Result<()> {
    for _ in 0..reader.varint()? {
        reader.varint()?;
        skip_element(reader)?;
    }
    skip_element(reader)
}

/// Pass over named values, and over named elements of the same kind, nested to any depth.
fn skip_element(reader: &mut Reader<'_>) -> Result<()> {
    fn name(reader: &mut Reader<'_>) -> Result<()> {
        let length = reader.byte()?;
        reader.bytes(length.into()).map(drop)
    }
    fn values(reader: &mut Reader<'_>) -> Result<u32> {
        for _ in 0..reader.varint()? {
            name(reader)?;
            let size = reader.varint()?;
            reader.bytes(size as usize)?;
        }
        reader.varint()
    }
    // elements still to come, per depth; each depth takes bytes, so there are no more than the stream is long
    let mut left = vec![values(reader)?];
    while let Some(count) = left.last_mut() {
        if *count == 0 {
            left.pop();
            continue;
        }
        *count -= 1;
        name(reader)?;
        left.push(values(reader)?);
    }
    Ok(())
}

/// What the stream says about its one attribute.
struct Attribute {
    data_type: u8,
    coder: u8,
}

impl Attribute {
    /// Read the description of one group that holds nothing but positions.
    fn read(reader: &mut Reader<'_>) -> Result<Attribute> {
        if reader.varint()? != 1 || reader.byte()? != 0 {
            return Err(damaged("only positions are supported as attributes"));
        }
        let (data_type, components) = (reader.byte()?, reader.byte()?);
        let _normalized = reader.byte()?;
        let _unique_id = reader.varint()?;
        let coder = reader.byte()?;
        if components != 3 {
            return Err(damaged(format!("positions with {components} components")));
        }
        if !(matches!((data_type, coder), (1..=6, INTEGERS) | (FLOAT32, QUANTIZED))) {
            return Err(damaged(format!("positions of data type {data_type} with coder {coder} are not supported")));
        }
        Ok(Attribute { data_type, coder })
    }

    /// Check what follows the values, and the values.
    fn finish(&self, reader: &mut Reader<'_>, positions: &[[i32; 3]]) -> Result<()> {
        if self.coder == QUANTIZED {
            // origin, extent and bits of the lattice, which a caller has to know
            reader.bytes(17)?;
        }
        if matches!(self.data_type, 2 | 4 | 6) && positions.iter().flatten().any(|&value| value < 0) {
            return Err(damaged("a coordinate is beyond 2147483647"));
        }
        Ok(())
    }
}

/// How the values of an attribute are coded.
struct Coding {
    prediction: u8,
    symbols: Vec<[u32; 3]>,
}

impl Coding {
    /// Read prediction, transform and the symbols of `count` values.
    fn read(reader: &mut Reader<'_>, count: usize) -> Result<Coding> {
        let prediction = reader.byte()?;
        if prediction != UNPREDICTED && reader.byte()? != 1 {
            return Err(damaged("only the wrap transform of differences is supported"));
        }
        let mut values = Vec::new();
        if reader.byte()? != 0 {
            let mut group = [0; 3];
            let mut filled = 0;
            symbols(reader, count, 3, |symbol| {
                group[filled] = symbol;
                filled += 1;
                if filled == 3 {
                    values.push(group);
                    filled = 0;
                }
                Ok(())
            })?;
        } else {
            let width = usize::from(reader.byte()?);
            if !(1..=4).contains(&width) || count > reader.remaining() / (3 * width) {
                return Err(damaged(format!("{count} values of {width} bytes are not there")));
            }
            for _ in 0..count {
                values.push([reader.uint(width)?, reader.uint(width)?, reader.uint(width)?]);
            }
        }
        Ok(Coding { prediction, symbols: values })
    }

    /// The values, where each is predicted to be as the one before.
    fn in_sequence(self, reader: &mut Reader<'_>) -> Result<Vec<[i32; 3]>> {
        if self.prediction == UNPREDICTED {
            return Ok(self.symbols.into_iter().map(|symbols| symbols.map(signed)).collect());
        }
        if self.prediction != DELTA {
            return Err(damaged(format!("prediction {} is not supported here", self.prediction)));
        }
        let wrap = read_wrap(reader)?;
        let mut last = [0; 3];
        let value = |symbols: [u32; 3]| {
            last = std::array::from_fn(|axis| wrap.value(symbols[axis], last[axis]));
            last
        };
        Ok(self.symbols.into_iter().map(value).collect())
    }
}

fn read_wrap(reader: &mut Reader<'_>) -> Result<Wrap> {
    let (min, max) = (reader.uint(4)? as i32, reader.uint(4)? as i32);
    Wrap::new(min, max).ok_or_else(|| damaged(format!("values from {min} to {max}")))
}

/// Collects the vertices in the order of their values.
struct Order {
    leftmost: Vec<u32>,
    /// By vertex.
    value: Vec<u32>,
    /// By value: the corner that it is predicted at.
    corners: Vec<u32>,
}

impl Sink for Order {
    fn emitted(&self, vertex: u32) -> bool {
        self.value[vertex as usize] != NONE
    }

    fn boundary(&self, faces: &[Face], vertex: u32) -> bool {
        faces.swing_left(self.leftmost[vertex as usize]) == NONE
    }

    fn emit(&mut self, _: &[Face], vertex: u32, corner: u32, _: bool) {
        self.value[vertex as usize] = self.corners.len() as u32;
        self.corners.push(corner);
    }
}

/// Read the positions of a surface.
fn surface_values(reader: &mut Reader<'_>, surface: Surface, max_vertices: usize) -> Result<Mesh> {
    let (groups, _connectivity, element, order) = (reader.byte()?, reader.byte()?, reader.byte()?, reader.byte()?);
    if groups != 1 || element != 0 {
        return Err(damaged("only positions are supported as attributes"));
    }
    let attribute = Attribute::read(reader)?;
    let Surface { mut faces, leftmost, starts } = surface;
    let vertices = leftmost.len();
    let mut sink = Order { leftmost, value: vec![NONE; vertices], corners: Vec::new() };
    match order {
        DEPTH_FIRST => depth_first(&mut faces, starts.into_iter(), &mut Vec::new(), &mut sink),
        PREDICTION_DEGREE => prediction_degree(&mut faces, vertices, starts.into_iter(), &mut sink),
        other => return Err(damaged(format!("order {other} of values does not exist"))),
    }
    let Order { value, corners, .. } = sink;
    if corners.len() > max_vertices {
        return Err(Error::Format(format!("the Draco mesh has more than the {max_vertices} vertices allowed")));
    }
    // from here on, vertices are named by their values
    for corner in (0..faces.len() as u32).flat_map(|face| [4 * face, 4 * face + 1, 4 * face + 2]) {
        let value = value[faces.vertex(corner) as usize];
        if value == NONE {
            // the walk passes an edge whose ends differ on its two sides
            return Err(damaged("a vertex has no position"));
        }
        faces.set_vertex(corner, value);
    }
    let coding = Coding::read(reader, corners.len())?;
    let positions = match coding.prediction {
        PARALLELOGRAM => {
            let wrap = read_wrap(reader)?;
            restore(&coding.symbols, &corners, wrap, |positions, corner| {
                Ok(predict(&faces, positions, corner).or(positions.last().copied()).unwrap_or_default())
            })?
        }
        MULTI_PARALLELOGRAM => {
            let mut unused = read_unused(reader, 3 * faces.len())?;
            let wrap = read_wrap(reader)?;
            restore(&coding.symbols, &corners, wrap, |positions, corner| {
                multi_predict(&faces, positions, corner, &mut unused)
            })?
        }
        _ => coding.in_sequence(reader)?,
    };
    attribute.finish(reader, &positions)?;
    Ok(Mesh { positions, faces: faces.iter().map(Face::vertices).collect() })
}

/// Turn symbols into values, each predicted from those before.
fn restore(
    symbols: &[[u32; 3]],
    corners: &[u32],
    wrap: Wrap,
    mut predict: impl FnMut(&[[i32; 3]], u32) -> Result<[i32; 3]>,
) -> Result<Vec<[i32; 3]>> {
    let mut positions = Vec::with_capacity(symbols.len());
    for (symbols, &corner) in symbols.iter().zip(corners) {
        let predicted = predict(&positions, corner)?;
        positions.push(std::array::from_fn(|axis| wrap.value(symbols[axis], predicted[axis])));
    }
    Ok(positions)
}

/// What the face across the edge opposite to a corner lets expect, if all its positions are known.
fn predict(faces: &[Face], positions: &[[i32; 3]], corner: u32) -> Option<[i32; 3]> {
    let opposite = faces.opposite(corner);
    if opposite == NONE {
        return None;
    }
    let at = |corner| positions.get(faces.vertex(corner) as usize).copied();
    Some(parallelogram(at(next(opposite))?, at(prev(opposite))?, at(opposite)?))
}

/// The flags of the constrained prediction: lists for 1 to 4 parallelograms.
struct Unused<'a> {
    lists: [Option<BinaryDecoder<'a>>; MAX_PARALLELOGRAMS],
    left: [usize; MAX_PARALLELOGRAMS],
}

fn read_unused<'a>(reader: &mut Reader<'a>, limit: usize) -> Result<Unused<'a>> {
    let mut unused = Unused { lists: Default::default(), left: [0; MAX_PARALLELOGRAMS] };
    for (list, left) in unused.lists.iter_mut().zip(&mut unused.left) {
        *left = reader.count(limit, "flags")?;
        if *left > 0 {
            *list = Some(BinaryDecoder::new(reader)?);
        }
    }
    Ok(unused)
}

/// The mean of what up to four faces around a corner's vertex let expect; flags say which are left out.
fn multi_predict(faces: &[Face], positions: &[[i32; 3]], start: u32, unused: &mut Unused<'_>) -> Result<[i32; 3]> {
    let Some(&last) = positions.last() else { return Ok([0; 3]) };
    let mut found = [[0; 3]; MAX_PARALLELOGRAMS];
    let mut count = 0;
    let mut corner = start;
    let mut leftward = true;
    while corner != NONE {
        if let Some(predicted) = predict(faces, positions, corner) {
            found[count] = predicted;
            count += 1;
            if count == MAX_PARALLELOGRAMS {
                break;
            }
        }
        corner = if leftward { faces.swing_left(corner) } else { faces.swing_right(corner) };
        if corner == start {
            break;
        }
        if corner == NONE && leftward {
            leftward = false;
            corner = faces.swing_right(start);
        }
    }
    let mut sum = [0i32; 3];
    let mut used = 0;
    for predicted in &found[..count] {
        let (Some(list), Some(left)) = (&mut unused.lists[count - 1], unused.left[count - 1].checked_sub(1)) else {
            return Err(damaged("a list of flags is shorter than needed"));
        };
        unused.left[count - 1] = left;
        if !list.take() {
            used += 1;
            sum = std::array::from_fn(|axis| sum[axis].wrapping_add(predicted[axis]));
        }
    }
    Ok(if used == 0 { last } else { sum.map(|sum| sum / used) })
}

/// Read faces as indices, and positions without a surface to predict them from.
fn sequential(reader: &mut Reader<'_>, max_faces: usize, max_vertices: usize) -> Result<Mesh> {
    let face_count = reader.varint()? as usize;
    let count = reader.varint()? as usize;
    check_limits(face_count, count, max_faces, max_vertices)?;
    let mut faces: Vec<[u32; 3]> = Vec::new();
    let mut group = [0; 3];
    let mut filled = 0;
    let mut put = |index: u32| {
        if index as usize >= count {
            return Err(damaged(format!("a face names vertex {index} of {count}")));
        }
        group[filled] = index;
        filled += 1;
        if filled == 3 {
            faces.push(group);
            filled = 0;
        }
        Ok(())
    };
    if reader.byte()? == 0 {
        let mut last = 0u32;
        symbols(reader, 3 * face_count, 1, |symbol| {
            let step = symbol >> 1;
            let index = if symbol & 1 == 1 { last.checked_sub(step) } else { last.checked_add(step) };
            last = index.ok_or_else(|| damaged("an index has more than 32 bits"))?;
            put(last)
        })?;
    } else {
        for _ in 0..3 * face_count {
            put(match count {
                0..0x100 => reader.uint(1)?,
                0x100..0x1_0000 => reader.uint(2)?,
                0x1_0000..0x20_0000 => reader.varint()?,
                _ => reader.uint(4)?,
            })?;
        }
    }
    if reader.byte()? != 1 {
        return Err(damaged("only positions are supported as attributes"));
    }
    let attribute = Attribute::read(reader)?;
    let coding = Coding::read(reader, count)?;
    let positions = coding.in_sequence(reader)?;
    attribute.finish(reader, &positions)?;
    Ok(Mesh { positions, faces })
}
