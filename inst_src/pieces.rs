//! The surfaces of all labels of a block, each simplified at once: the pieces that objects are put together from.
//!
//! The full surface of a label exists for the time of one call only. What the block shares with its neighbours, the
//! vertices on its open borders, stays as it is.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::label_table::Label;
use crate::mesh::Mesh;
use crate::simplify::{self, Options, Simplified};
use crate::surface::{self, Block, Select};
use crate::weld::open_vertices;
use crate::{Error, Result};

/// Buffers that are kept from block to block.
#[derive(Default)]
pub struct Scratch {
    surface: surface::Scratch,
    simplify: simplify::Scratch,
}

/// One piece per label, in ascending order of ids; indices of faces count from the first vertex of the piece.
#[derive(Debug, Default)]
pub struct Pieces {
    /// The labels.
    pub ids: Vec<u64>,
    /// Where the vertices of each piece begin, and the end of the last.
    pub vertex_offsets: Vec<u64>,
    /// Where the faces of each piece begin, and the end of the last.
    pub face_offsets: Vec<u64>,
    /// x, y, z of all vertices, in units of the lattice.
    pub positions: Vec<[i32; 3]>,
    /// All faces.
    pub faces: Vec<[u32; 3]>,
    /// Distance to the full surface, per piece, in nm.
    pub errors_nm: Vec<f64>,
    /// Faces of the full surface, per piece.
    pub full_faces: Vec<u64>,
    /// Labels whose piece could not be made, and why.
    pub failures: Vec<(u64, String)>,
}

/// Extracts and simplifies the surfaces of a block.
///
/// `units` is the number of lattice units in half a voxel. Of the labels in `keep`, ascending, pieces that other blocks
/// continue stay as they are: a piece of a small object has no shape of its own that simplification could preserve.
/// A label that fails is told in `failures`; the others are not concerned.
///
/// # Errors
/// [`Error::Argument`] if the block cannot be, or its coordinates do not fit 32 bits in units of the lattice.
pub fn mesh_block<T: Label>(
    block: Block<'_, T>,
    select: &Select<'_>,
    units: i32,
    keep: &[u64],
    options: &Options,
    scratch: &mut Scratch,
) -> Result<Pieces> {
    let shape = block.labels.shape();
    for d in 0..3 {
        let far = (i64::from(block.start[d]).abs() + shape[3 - d] as i64 + 1) * 2 * i64::from(units);
        if units < 1 || far > i64::from(i32::MAX) {
            return Err(Error::Argument(format!(
                "the coordinates of a block at {:?} do not fit 32 bits in units of 1/{} voxel",
                block.start,
                2 * i64::from(units)
            )));
        }
    }
    let surfaces = surface::extract(block, select, &mut scratch.surface)?;
    let mut pieces = Pieces { vertex_offsets: vec![0], face_offsets: vec![0], ..Pieces::default() };
    let mut mesh = Mesh::default();
    for surface in surfaces.iter() {
        mesh.positions.clear();
        mesh.positions.extend(surface.positions.iter().map(|p| p.map(|x| x * units)));
        mesh.faces.clear();
        mesh.faces.extend_from_slice(surface.faces);
        // a fault in one object must not take the others with it; what it left behind is thrown away
        let made = catch_unwind(AssertUnwindSafe(|| {
            if keep.binary_search(&surface.id).is_ok() && open_vertices(&mesh)?.contains(&true) {
                return Ok(Simplified { mesh: mesh.clone(), error_nm: 0.0 });
            }
            simplify::simplify(&mesh, options, None, &mut scratch.simplify)
        }));
        let made = made.unwrap_or_else(|_| {
            scratch.simplify = simplify::Scratch::default();
            Err(Error::Argument("an internal fault of the simplification".to_string()))
        });
        match made {
            Ok(simple) => {
                pieces.ids.push(surface.id);
                pieces.positions.extend_from_slice(&simple.mesh.positions);
                pieces.faces.extend_from_slice(&simple.mesh.faces);
                pieces.vertex_offsets.push(pieces.positions.len() as u64);
                pieces.face_offsets.push(pieces.faces.len() as u64);
                pieces.errors_nm.push(simple.error_nm);
                pieces.full_faces.push(surface.faces.len() as u64);
            }
            Err(error) => pieces.failures.push((surface.id, error.to_string())),
        }
    }
    Ok(pieces)
}
