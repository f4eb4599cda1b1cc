//! Triangle meshes on an integer lattice: what the meshing kernels hand to each other.
//!
//! Positions are integers, so that pieces are welded, cut and compared exactly. What a unit is, the function that
//! makes the mesh says: half a voxel after extraction, a step of the quantised format in a fragment.

/// Triangles over shared vertices. A face lists its corners counter-clockwise as seen from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mesh {
    /// x, y, z of every vertex, in units of the lattice.
    pub positions: Vec<[i32; 3]>,
    /// Three indices into `positions` each.
    pub faces: Vec<[u32; 3]>,
}

impl Mesh {
    /// Six times the volume of the tetrahedron between a face and the origin.
    #[must_use]
    pub fn face_volume6(&self, face: &[u32; 3]) -> i128 {
        let [a, b, c] = face.map(|v| self.positions[v as usize].map(i128::from));
        a[0] * (b[1] * c[2] - b[2] * c[1]) + a[1] * (b[2] * c[0] - b[0] * c[2]) + a[2] * (b[0] * c[1] - b[1] * c[0])
    }

    /// Six times the volume enclosed by a closed mesh, in cubic units; positive if its faces look outward.
    #[must_use]
    pub fn volume6(&self) -> i128 {
        self.faces.iter().map(|face| self.face_volume6(face)).sum()
    }

    /// Area of the surface if a unit is `unit` long on x, y, z.
    #[must_use]
    pub fn area(&self, unit: [f64; 3]) -> f64 {
        let sum: f64 = self
            .faces
            .iter()
            .map(|face| {
                let [a, b, c] = face.map(|v| self.positions[v as usize]);
                let edge = |p: [i32; 3]| [0, 1, 2].map(|d| (f64::from(p[d]) - f64::from(a[d])) * unit[d]);
                let (u, v) = (edge(b), edge(c));
                let n = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
                (n[0] * n[0] + n[1] * n[1] + n[2] * n[2]).sqrt()
            })
            .sum();
        sum / 2.0
    }

    /// Lowest and highest coordinate per axis, or nothing for a mesh without vertices.
    #[must_use]
    pub fn bounds(&self) -> Option<([i32; 3], [i32; 3])> {
        let first = *self.positions.first()?;
        Some(self.positions.iter().fold((first, first), |(low, high), p| {
            ([0, 1, 2].map(|d| low[d].min(p[d])), [0, 1, 2].map(|d| high[d].max(p[d])))
        }))
    }

    /// Removes vertices that no face uses; the others keep their order. Returns the new number of every vertex, `u32::MAX`
    /// for those that are gone.
    pub fn drop_unused_vertices(&mut self) -> Vec<u32> {
        let mut number = vec![u32::MAX; self.positions.len()];
        for face in &self.faces {
            for &v in face {
                number[v as usize] = 0;
            }
        }
        let mut next = 0;
        let mut kept = Vec::new();
        for (slot, position) in number.iter_mut().zip(&self.positions) {
            if *slot == 0 {
                *slot = next;
                next += 1;
                kept.push(*position);
            }
        }
        self.positions = kept;
        for face in &mut self.faces {
            *face = face.map(|v| number[v as usize]);
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_of_a_tetrahedron() {
        let mesh = Mesh {
            positions: vec![[0, 0, 0], [2, 0, 0], [0, 3, 0], [0, 0, 5]],
            faces: vec![[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]],
        };
        assert_eq!(mesh.volume6(), 30);
    }
}
