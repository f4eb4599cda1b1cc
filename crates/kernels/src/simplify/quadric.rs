//! Squared distances to a set of planes, as one quadratic form per vertex.

use super::geometry::{Vec3, add, cross, dot, scale};

/// The sum over planes of weight times squared distance, as a function of the offset from the vertex that owns it.
///
/// Relative to the vertex, the numbers stay small, and single precision is enough.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quadric {
    /// xx, yy, zz, xy, xz, yz.
    a: [f32; 6],
    b: Vec3,
    c: f32,
    /// Sum of the weights.
    pub weight: f32,
}

/// The plane of a triangle, with what its quadrics have in common wherever their owners are.
pub struct Plane {
    /// Twice the area of the triangle along its normal.
    pub area: Vec3,
    w: Vec3,
    inverse_length: f32,
    a: [f32; 6],
    weight: f32,
}

impl Plane {
    /// The plane of a triangle that has an area.
    #[inline(always)]
    pub fn new(area: Vec3) -> Option<Self> {
        let length2 = dot(area, area);
        if length2 == 0.0 {
            return None;
        }
        let inverse_length = 1.0 / length2.sqrt();
        // unit normal times square root of the weight, twice: n n^T w = area area^T / |area|
        let w = scale(area, inverse_length);
        let a = [w[0] * area[0], w[1] * area[1], w[2] * area[2], w[0] * area[1], w[0] * area[2], w[1] * area[2]];
        Some(Self { area, w, inverse_length, a, weight: dot(w, area) })
    }
}

impl Quadric {
    /// Adds a plane so many times; `offset` leads from the owner to it.
    #[inline(always)]
    pub fn add_plane(&mut self, plane: &Plane, offset: Vec3, times: f32) {
        let Plane { area, w, inverse_length, a, weight } = plane;
        let d = -dot(*area, offset);
        for (sum, part) in self.a.iter_mut().zip(a) {
            *sum += part * times;
        }
        self.b = add(self.b, scale(*w, d * times));
        self.c += inverse_length * d * d * times;
        self.weight += weight * times;
    }

    #[inline(always)]
    fn times(&self, x: Vec3) -> Vec3 {
        let a = &self.a;
        [
            a[0] * x[0] + a[3] * x[1] + a[4] * x[2],
            a[3] * x[0] + a[1] * x[1] + a[5] * x[2],
            a[4] * x[0] + a[5] * x[1] + a[2] * x[2],
        ]
    }

    /// Value at an offset from the owner; never negative.
    #[inline(always)]
    pub fn value(&self, x: Vec3) -> f32 {
        let ax = self.times(x);
        (dot(add(ax, scale(self.b, 2.0)), x) + self.c).max(0.0)
    }

    /// Value at the owner itself.
    #[inline(always)]
    pub fn here(&self) -> f32 {
        self.c
    }

    /// The owner moves by `x`.
    #[inline(always)]
    pub fn shift(&mut self, x: Vec3) {
        let ax = self.times(x);
        self.c = (dot(add(ax, scale(self.b, 2.0)), x) + self.c).max(0.0);
        self.b = add(self.b, ax);
    }

    #[inline(always)]
    pub fn plus(&self, other: &Quadric) -> Quadric {
        Quadric {
            a: std::array::from_fn(|k| self.a[k] + other.a[k]),
            b: add(self.b, other.b),
            c: self.c + other.c,
            weight: self.weight + other.weight,
        }
    }

    /// Offset of the least value, drawn slightly towards the owner where the planes leave a direction open.
    pub fn minimum(&self) -> Option<Vec3> {
        // of unit size, so that the determinant neither overflows nor vanishes
        let unit = 1.0 / self.weight;
        let a = self.a.map(|v| v * unit);
        let pull = 2e-3 * (a[0] + a[1] + a[2]);
        let rows = [[a[0] + pull, a[3], a[4]], [a[3], a[1] + pull, a[5]], [a[4], a[5], a[2] + pull]];
        let inverse = [cross(rows[1], rows[2]), cross(rows[2], rows[0]), cross(rows[0], rows[1])];
        let determinant = dot(rows[0], inverse[0]);
        if !(determinant > 0.0 && determinant.is_finite()) {
            return None;
        }
        let right = scale(self.b, -unit / determinant);
        let x = [dot(inverse[0], right), dot(inverse[1], right), dot(inverse[2], right)];
        x.iter().all(|v| v.is_finite()).then_some(x)
    }
}
