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

impl Quadric {
    /// Adds the plane of a triangle: `area` is twice its area along its normal, `offset` leads from the owner to it.
    #[inline(always)]
    pub fn add_plane(&mut self, area: Vec3, inverse_length: f32, offset: Vec3, times: f32) {
        // unit normal times square root of the weight, twice: n n^T w = area area^T / |area|
        let w = scale(area, inverse_length * times);
        let d = -dot(area, offset);
        self.a[0] += w[0] * area[0];
        self.a[1] += w[1] * area[1];
        self.a[2] += w[2] * area[2];
        self.a[3] += w[0] * area[1];
        self.a[4] += w[0] * area[2];
        self.a[5] += w[1] * area[2];
        self.b[0] += w[0] * d;
        self.b[1] += w[1] * d;
        self.b[2] += w[2] * d;
        self.c += inverse_length * times * d * d;
        self.weight += dot(w, area);
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
