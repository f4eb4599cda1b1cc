//! Fewer triangles for the same surface, within a checked distance.
//!
//! # What is kept
//! * The topology: components, Euler numbers, edges with two faces. Every step is one that contracts a disc.
//! * Open edges and their vertices, exactly, so that neighbouring pieces go on meeting; vertices around which the
//!   input is not a surface stay too.
//! * The orientation: no face turns over, and no closed component loses its volume or turns inside out.
//! * The distance, both ways, measured at the end. Where it is too large, the surface goes back to the input's
//!   vertices and is reduced anew, more carefully.
//!
//! # How
//! 1. **Patches**: vertices connected within a block of a coarse lattice become one, if their patch is a disc whose
//!    planes meet well within the limit.
//! 2. **Quadrics**: every vertex carries the squared distances to the planes of the faces it stands for.
//! 3. **Collapses** of edges in passes, each up to a threshold from a histogram: no heap, no sort. Every vertex knows
//!    its neighbours in order, so that a collapse looks at two short lists and nothing else.
//! 4. **Placement** of every merged vertex where its planes meet best, on a coarse lattice, and as much farther out as
//!    gives its component the volume back.
//! 5. **Checks** of distances and volumes; clusters that fail are taken apart.
//!
//! The reduced mesh is always the image of the input's faces under a map of vertices. That makes the checks simple:
//! the map says where to look for what is near, and any cluster can be taken apart without touching the others.

mod collapse;
mod distance;
mod geometry;
mod patches;
mod placement;
mod quadric;
mod rings;
mod split;
#[cfg(test)]
mod tests;
mod volume;
mod work;

use crate::mesh::Mesh;
use crate::{Error, Result};
use geometry::Vec3;
use split::Care;
use work::{Fine, Frame, NONE, Work};

/// How far to go.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Length of a lattice unit along x, y, z.
    pub unit_nm: [f64; 3],
    /// Greatest distance between the surfaces, both ways; may be infinite.
    pub max_error_nm: f64,
    /// Where to stop within that bound: root mean square distance, of the part of the input that a vertex stands for,
    /// to the planes of its faces; may be infinite.
    pub max_rms_nm: f64,
    /// Stop at so many faces even if the distance would allow fewer; 0: as far as it allows.
    pub target_faces: usize,
    /// Edge, in lattice units, of the blocks within which vertices are merged first; 0: none.
    pub patch: u32,
    /// Vertices that are moved come to lie on multiples of this many lattice units; powers of two.
    pub snap: [u32; 3],
}

/// The reduced mesh.
#[derive(Debug, Clone, PartialEq)]
pub struct Simplified {
    pub mesh: Mesh,
    /// Measured: no vertex of the input, and no vertex, edge midpoint or centre of a face of the output is farther from
    /// the other surface.
    pub error_nm: f64,
}

/// Memory that is used again from call to call.
#[derive(Default)]
pub struct Scratch {
    positions: Vec<Vec3>,
    work: Work,
    patches: patches::Patches,
    collapser: collapse::Collapser,
    distances: distance::Distances,
    volumes: volume::Volumes,
}

/// Share of the bound that the root mean square distance to the planes may reach in a collapse: the greatest distance
/// is larger than the mean, and whatever goes beyond the bound costs another round.
const CAUTION: f64 = 0.6;

/// Share of the limit up to which a patch may be merged before all others have had their chance.
const PATCH_SHARE: f32 = 0.3;

/// With so many, lists of neighbours with all that is added to them in a round stay within 32-bit indices.
const MOST_FACES: usize = 1 << 28;

/// Rounds of taking apart and reducing anew, before the input is given back as it is.
const ROUNDS: usize = 16;

/// How a cluster is taken apart the first time, the second, and so on.
const CARE: [Care; 5] = [
    Care { share: 0.5, all: false },
    Care { share: 0.25, all: false },
    Care { share: 0.25, all: true },
    Care { share: 0.0625, all: true },
    Care { share: 0.0, all: true },
];

/// How, before anything has merged into patches.
const NO_CARE: [Care; 1] = [Care { share: 1.0, all: false }];

/// From this round on every cluster at a fault is taken apart, before only the largest.
const THOROUGH: usize = 5;

/// From this round on whatever is taken apart stays so.
const LAST: usize = 10;

/// Where a mesh may change: at some vertices, and what is at most so many edges from them.
#[derive(Debug, Clone, Copy)]
pub struct Near<'a> {
    pub vertices: &'a [u32],
    pub edges: usize,
}

/// Reduces a mesh; see the module for what is kept.
///
/// With `near`, nothing changes elsewhere; patches are not merged then.
///
/// # Errors
/// If an index is out of range, an option cannot be used, or the mesh is too large for 32-bit corners.
pub fn simplify(mesh: &Mesh, options: &Options, near: Option<Near<'_>>, scratch: &mut Scratch) -> Result<Simplified> {
    check(mesh, options)?;
    if near.is_some_and(|near| near.vertices.iter().any(|&v| v as usize >= mesh.positions.len())) {
        return Err(Error::Argument("a vertex to simplify near to is not there".to_owned()));
    }
    if near.is_some_and(|near| near.vertices.is_empty()) {
        return Ok(unchanged(mesh));
    }
    let target = options.target_faces;
    if mesh.faces.is_empty() || (target > 0 && mesh.faces.len() <= target) || options.max_error_nm == 0.0 {
        return Ok(unchanged(mesh));
    }
    let (frame, length, extent) = frame(mesh, options);
    // what rounding in single precision may hide
    let slack = extent * 2f64.powi(-20);
    let bound = options.max_error_nm / length - slack;
    if bound <= 0.0 {
        return Ok(unchanged(mesh));
    }
    let bound2 = ((bound * bound) as f32).min(f32::MAX);
    let stop = (bound * CAUTION).min(options.max_rms_nm / length);
    let limit = ((stop * stop) as f32).min(f32::MAX);

    let Scratch { positions, work, patches, collapser, distances, volumes } = scratch;
    positions.clear();
    positions.extend(mesh.positions.iter().map(|&spot| frame.place(spot)));
    let fine = Fine { mesh, positions };
    let mut patch = if near.is_some() { 0 } else { options.patch };
    // a closed surface has about two faces per vertex: smaller patches if these would leave too few faces
    while 2 * patches.find(mesh, patch, &mut work.rep) < target && patch > 0 {
        patch /= 2;
    }
    work.thorough = false;
    work.start(&fine, &frame, limit, PATCH_SHARE * limit);
    work.repair(&fine, &NO_CARE);
    volumes.start(work);
    if volumes.check(work) {
        work.split(&fine, &NO_CARE);
        work.repair(&fine, &NO_CARE);
    }
    work.flags.iter_mut().for_each(|flags| flags.splits = 0);
    if let Some(near) = near {
        work.lock_far(near.vertices, near.edges);
    }
    distances.start();
    for round in 0..ROUNDS {
        work.lock_edges();
        work.thorough = round >= THOROUGH;
        let excess = target > 0 && work.live_faces() > target + target / 20;
        collapser.run(work, target, round == 0 || excess);
        work.remap();
        work.settle(&frame);
        volumes.measure(work);
        work.swell(&frame, volumes);
        let error2 = distances.measure(&fine, work, bound2, options.max_error_nm.is_finite());
        if !volumes.check(work) && error2 <= bound2 {
            let error = f64::from(distances.kept).sqrt() + slack;
            return Ok(finish(work, error * length));
        }
        work.flags.iter_mut().for_each(|flags| flags.near = false);
        let care = if round < LAST { &CARE[..] } else { &CARE[CARE.len() - 1..] };
        work.split(&fine, care);
        work.repair(&fine, care);
    }
    Ok(unchanged(mesh))
}

fn check(mesh: &Mesh, options: &Options) -> Result<()> {
    let fail = |text: &str| Err(Error::Argument(text.to_owned()));
    if mesh.positions.len() > MOST_FACES || mesh.faces.len() > MOST_FACES {
        return Err(Error::Limit("a mesh to be simplified may have 268,435,456 faces and vertices".to_owned()));
    }
    if mesh.faces.iter().flatten().any(|&v| v as usize >= mesh.positions.len()) {
        return fail("a face names a vertex that the mesh does not have");
    }
    if !options.unit_nm.iter().all(|unit| *unit > 0.0 && unit.is_finite()) {
        return fail("unit_nm must be positive and finite");
    }
    if options.max_error_nm.is_nan() || options.max_error_nm < 0.0 {
        return fail("max_error_nm must not be negative");
    }
    if options.max_rms_nm.is_nan() || options.max_rms_nm < 0.0 {
        return fail("max_rms_nm must not be negative");
    }
    if !options.snap.iter().all(|step| step.is_power_of_two()) {
        return fail("snap must be powers of two");
    }
    Ok(())
}

/// The frame, the nanometres of a length of one in it, and the greatest coordinate in it.
fn frame(mesh: &Mesh, options: &Options) -> (Frame, f64, f64) {
    let (mut low, mut high) = ([i32::MAX; 3], [i32::MIN; 3]);
    for spot in &mesh.positions {
        for k in 0..3 {
            low[k] = low[k].min(spot[k]);
            high[k] = high[k].max(spot[k]);
        }
    }
    // sixteenths of voxels are a usual lattice: lengths about one keep products far from the ends of the range
    let length = 16.0 * options.unit_nm.iter().fold(0.0, |a: f64, &b| a.max(b));
    let middle = std::array::from_fn(|k| ((i64::from(low[k]) + i64::from(high[k])) / 2) as i32);
    let unit = options.unit_nm.map(|unit| (unit / length) as f32);
    let extent = (0..3)
        .map(|k| (i64::from(high[k]) - i64::from(low[k])) as f64 * 0.5 * options.unit_nm[k] / length)
        .fold(0.0, f64::max);
    (Frame { centre: middle, unit, snap: options.snap.map(i64::from) }, length, extent)
}

fn unchanged(mesh: &Mesh) -> Simplified {
    Simplified { mesh: mesh.clone(), error_nm: 0.0 }
}

/// The reduced mesh without the vertices that no face uses.
fn finish(work: &mut Work, error_nm: f64) -> Simplified {
    let mut mesh = Mesh::default();
    let ids = &mut work.root;
    ids.fill(NONE);
    for face in work.faces.iter().filter(|face| face[0] != NONE) {
        for &v in face {
            ids[v as usize] = 0;
        }
    }
    for (id, &spot) in ids.iter_mut().zip(&work.spots) {
        if *id != NONE {
            *id = mesh.positions.len() as u32;
            mesh.positions.push(spot);
        }
    }
    let live = work.faces.iter().filter(|face| face[0] != NONE);
    mesh.faces.extend(live.map(|face| face.map(|v| ids[v as usize])));
    Simplified { mesh, error_nm }
}
