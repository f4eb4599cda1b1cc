//! Positions as differences from what the neighbours let expect.

use super::corner_table::{Corners, Face, NONE, Vertex, next, prev};
use super::order::Sink;

/// The transform of differences into a range as wide as that of the values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wrap {
    pub(super) min: i32,
    pub(super) max: i32,
    width: i32,
    lowest: i32,
    highest: i32,
}

impl Wrap {
    /// None if the range is empty or wider than the format allows.
    pub(super) fn new(min: i32, max: i32) -> Option<Wrap> {
        let width = i64::from(max) - i64::from(min) + 1;
        let width = i32::try_from(width).ok().filter(|&width| width > 0)?;
        Some(Wrap { min, max, width, lowest: -(width / 2), highest: (width - 1) / 2 })
    }

    /// Whether decoders that add in 32 bits get every value right: before they wrap it into the range, it can lie
    /// outside by up to the width.
    pub(super) fn fits(&self) -> bool {
        self.max.checked_add(self.width).is_some() && self.min.checked_sub(self.width).is_some()
    }

    /// The symbol that stands for a value, given what is predicted.
    pub(super) fn symbol(&self, value: i32, predicted: i32) -> u32 {
        let mut difference = value.wrapping_sub(predicted.clamp(self.min, self.max));
        if difference < self.lowest {
            difference += self.width;
        } else if difference > self.highest {
            difference -= self.width;
        }
        (difference << 1 ^ difference >> 31) as u32
    }

    /// The value that a symbol stands for.
    pub(super) fn value(&self, symbol: u32, predicted: i32) -> i32 {
        let value = i64::from(predicted.clamp(self.min, self.max)) + i64::from(signed(symbol));
        let width = i64::from(self.width);
        if value > i64::from(self.max) {
            (value - width) as i32
        } else if value < i64::from(self.min) {
            (value + width) as i32
        } else {
            value as i32
        }
    }
}

/// 0, 1, 2, 3, ... as 0, -1, 1, -2, ...
pub(super) fn signed(symbol: u32) -> i32 {
    (symbol >> 1) as i32 ^ -((symbol & 1) as i32)
}

/// The fourth corner of the parallelogram over the edge `a`, `b` from the corner `c` on its other side.
///
/// Sums wrap as those of the decoders do; what is predicted is cut to the range of the values anyway.
pub(super) fn parallelogram(a: [i32; 3], b: [i32; 3], c: [i32; 3]) -> [i32; 3] {
    std::array::from_fn(|axis| a[axis].wrapping_add(b[axis]).wrapping_sub(c[axis]))
}

/// Turns vertices, as they come, into symbols.
pub(super) struct Predictor<'a> {
    pub(super) vertices: &'a mut [Vertex],
    pub(super) symbols: &'a mut Vec<u32>,
    pub(super) last: [i32; 3],
    pub(super) wrap: Wrap,
}

impl Sink for Predictor<'_> {
    fn emitted(&self, vertex: u32) -> bool {
        self.vertices[vertex as usize].emitted
    }

    fn boundary(&self, _: &[Face], vertex: u32) -> bool {
        self.vertices[vertex as usize].boundary
    }

    fn emit(&mut self, faces: &[Face], vertex: u32, corner: u32, entered: bool) {
        let at = |vertex: u32| self.vertices[vertex as usize];
        let opposite = faces.opposite(corner);
        let known = entered
            || (opposite != NONE && faces[(opposite >> 2) as usize].vertices().into_iter().all(|v| at(v).emitted));
        let predicted = if known {
            let (a, b) = (at(faces.vertex(next(corner))), at(faces.vertex(prev(corner))));
            parallelogram(a.position, b.position, at(faces.vertex(opposite)).position)
        } else {
            self.last
        };
        let Vertex { position, emitted, .. } = &mut self.vertices[vertex as usize];
        *emitted = true;
        self.last = *position;
        self.symbols.extend((0..3).map(|axis| self.wrap.symbol(position[axis], predicted[axis])));
    }
}
