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
    /// Six times the volume enclosed by a closed mesh, in cubic units; positive if its faces look outward.
    #[must_use]
    pub fn volume6(&self) -> i128 {
        self.faces
            .iter()
            .map(|face| {
                let [a, b, c] = face.map(|v| self.positions[v as usize].map(i128::from));
                a[0] * (b[1] * c[2] - b[2] * c[1])
                    + a[1] * (b[2] * c[0] - b[0] * c[2])
                    + a[2] * (b[0] * c[1] - b[1] * c[0])
            })
            .sum()
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
