//! Faces from edgebreaker symbols: the walk of the encoder, backwards.

use std::collections::HashMap;

use super::corner_table::{Corners, Face, MAX_FACES, NONE, next, prev};
use super::reader::{BitReader, Reader, damaged};
use super::symbols::{BinaryDecoder, symbols};
use super::traversal::{C, CONTEXTS, E, L, R, S, SplitEvent, context};
use super::{STANDARD, VALENCE};
use crate::error::{Error, Result};

/// A surface without positions.
pub(super) struct Surface {
    pub(super) faces: Vec<Face>,
    /// Per vertex the corner that has no neighbour to its left, if its fan is open; else any of its corners.
    pub(super) leftmost: Vec<u32>,
    /// The corners from which the order of the values starts.
    pub(super) starts: Vec<u32>,
}

/// Where the symbols come from.
enum Source<'a> {
    Standard(BitReader<'a>),
    Valence {
        lists: [Vec<u8>; CONTEXTS],
        /// By vertex, of what has been built.
        valences: Vec<i32>,
        /// The list of the next symbol, and the symbol before.
        ahead: Option<(usize, u8)>,
    },
}

impl Source<'_> {
    fn take(&mut self) -> Result<u8> {
        match self {
            Source::Standard(bits) => Ok(if bits.take(1)? == 0 { C } else { [S, L, R, E][bits.take(2)? as usize] }),
            Source::Valence { lists, ahead, .. } => {
                let symbol = match *ahead {
                    None => E,
                    Some((list, _)) => {
                        lists[list].pop().ok_or_else(|| damaged("a list of symbols is shorter than needed"))?
                    }
                };
                *ahead = Some((0, symbol));
                Ok(symbol)
            }
        }
    }

    /// Note the vertices of the face that the last symbol made: at its corner, after and before it.
    fn built(&mut self, tip: u32, after: u32, before: u32) {
        if let Source::Valence { valences, ahead: Some((list, symbol)), .. } = self {
            let [a, b, c] = match *symbol {
                C | S => [0, 1, 1],
                R => [1, 1, 2],
                L => [1, 2, 1],
                _ => [2, 2, 2],
            };
            let most = tip.max(after).max(before) as usize;
            if valences.len() <= most {
                valences.resize(most + 1, 0);
            }
            valences[tip as usize] += a;
            valences[after as usize] += b;
            valences[before as usize] += c;
            *list = context(valences[after as usize]);
        }
    }

    fn merge(&mut self, kept: u32, dropped: u32) {
        if let Source::Valence { valences, .. } = self {
            valences[kept as usize] = valences[kept as usize].saturating_add(valences[dropped as usize]);
        }
    }
}

/// Read the connectivity of a surface with at most so many faces and vertices.
pub(super) fn read(reader: &mut Reader<'_>, max_faces: usize, max_vertices: usize) -> Result<Surface> {
    let coding = reader.byte()?;
    let vertices = reader.varint()? as usize;
    let face_count = reader.varint()? as usize;
    check_limits(face_count, vertices, max_faces, max_vertices)?;
    if vertices > 3 * face_count {
        return Err(damaged(format!("{face_count} faces cannot have {vertices} vertices")));
    }
    if reader.byte()? != 0 {
        return Err(damaged("attributes with seams are not supported"));
    }
    let symbol_count = reader.count(face_count, "symbols")?;
    if face_count > symbol_count + symbol_count / 3 {
        return Err(damaged(format!("{symbol_count} symbols cannot make {face_count} faces")));
    }
    let splits = reader.count(symbol_count, "splits")?;
    let events = read_events(reader, face_count)?;
    let (mut source, mut interior) = match coding {
        STANDARD => {
            let symbols = reader.block()?;
            (Source::Standard(BitReader::new(Reader::new(symbols))), BinaryDecoder::new(reader)?)
        }
        VALENCE => {
            let interior = BinaryDecoder::new(reader)?;
            let mut lists: [Vec<u8>; CONTEXTS] = Default::default();
            let mut left = symbol_count;
            for list in &mut lists {
                let count = reader.count(left, "symbols in a list")?;
                left -= count;
                symbols(reader, count, 1, |symbol| {
                    if symbol > u32::from(E) {
                        return Err(damaged(format!("edgebreaker symbol {symbol} does not exist")));
                    }
                    list.push(symbol as u8);
                    Ok(())
                })?;
            }
            (Source::Valence { lists, valences: Vec::new(), ahead: None }, interior)
        }
        other => return Err(damaged(format!("coding {other} of edgebreaker symbols does not exist"))),
    };
    let mut builder = Builder { max_vertices: vertices + splits, ..Builder::default() };
    let mut events = events.into_iter().rev().peekable();
    for decoded in 0..symbol_count as u32 {
        let symbol = source.take()?;
        builder.add(symbol, decoded, &mut source)?;
        let number = symbol_count as u32 - 1 - decoded;
        if matches!(symbol, L | R | E) {
            while let Some(event) = events.next_if(|event| event.source == number) {
                let top = builder.top()?;
                let edge = if event.right { next(top) } else { prev(top) };
                // symbols are numbered from the other end here
                builder.held.insert(symbol_count as u32 - 1 - event.split, edge);
            }
            if events.peek().is_some_and(|event| event.source > number) {
                return Err(damaged("a split is noted at a symbol that does not close anything"));
            }
        }
    }
    builder.finish(face_count, &mut interior)
}

/// Refuse a mesh that is larger than the caller allows.
pub(super) fn check_limits(faces: usize, vertices: usize, max_faces: usize, max_vertices: usize) -> Result<()> {
    let max_faces = max_faces.min(MAX_FACES);
    if faces > max_faces {
        return Err(Error::Format(format!("the Draco mesh has {faces} faces, more than the {max_faces} allowed")));
    }
    if vertices > max_vertices {
        return Err(Error::Format(format!(
            "the Draco mesh has {vertices} vertices, more than the {max_vertices} allowed"
        )));
    }
    Ok(())
}

fn read_events(reader: &mut Reader<'_>, faces: usize) -> Result<Vec<SplitEvent>> {
    let count = reader.count(faces, "split events")?;
    let mut events = Vec::new();
    let mut source = 0u32;
    for _ in 0..count {
        source =
            source.checked_add(reader.varint()?).ok_or_else(|| damaged("a symbol number has more than 32 bits"))?;
        let split = source.checked_sub(reader.varint()?).ok_or_else(|| damaged("a split comes after its use"))?;
        if source as usize >= faces {
            return Err(damaged(format!("a split is noted at symbol {source}")));
        }
        events.push(SplitEvent { source, split, right: false });
    }
    let mut bits = BitReader::new(*reader);
    for event in &mut events {
        event.right = bits.take(1)? == 1;
    }
    *reader = bits.finish();
    Ok(events)
}

/// The part of the surface that has been built, and the edges where it goes on.
#[derive(Default)]
struct Builder {
    faces: Vec<Face>,
    leftmost: Vec<u32>,
    /// Vertices that turned out to be one: the other, or itself.
    merged: Vec<u32>,
    active: Vec<u32>,
    /// Edges of split events, by the decoder's number of the symbol that takes them.
    held: HashMap<u32, u32>,
    max_vertices: usize,
}

impl Builder {
    fn top(&self) -> Result<u32> {
        self.active.last().copied().ok_or_else(|| damaged("a face has nothing to be joined to"))
    }

    fn vertex(&mut self, corner: u32) -> u32 {
        let mut vertex = self.faces.vertex(corner);
        loop {
            let other = self.merged[vertex as usize];
            if other == vertex {
                return vertex;
            }
            let further = self.merged[other as usize];
            self.merged[vertex as usize] = further;
            vertex = further;
        }
    }

    fn add_vertex(&mut self, corner: u32) -> Result<u32> {
        let vertex = self.leftmost.len();
        if vertex >= self.max_vertices {
            return Err(damaged("there are more vertices than announced"));
        }
        self.leftmost.push(corner);
        self.merged.push(vertex as u32);
        Ok(vertex as u32)
    }

    fn join(&mut self, a: u32, b: u32) {
        self.faces.set_opposite(a, b);
        self.faces.set_opposite(b, a);
    }

    /// Corners must be free of a neighbour, and different.
    fn check_free(&self, corners: &[u32]) -> Result<()> {
        let distinct = corners.iter().enumerate().all(|(i, corner)| !corners[..i].contains(corner));
        if distinct && corners.iter().all(|&corner| self.faces.opposite(corner) == NONE) {
            Ok(())
        } else {
            Err(damaged("two faces claim the same edge"))
        }
    }

    /// Add a face. The vertices must be different, for the walks around them to end.
    fn push(&mut self, vertices: [u32; 3]) -> Result<()> {
        let [a, b, c] = vertices;
        if a == b || b == c || c == a {
            return Err(damaged("a face has a vertex twice"));
        }
        self.faces.push(Face::new(vertices));
        Ok(())
    }

    fn add(&mut self, symbol: u8, number: u32, source: &mut Source<'_>) -> Result<()> {
        let corner = 4 * self.faces.len() as u32;
        match symbol {
            C => {
                let a = self.top()?;
                let tip = self.vertex(next(a));
                let b = next(self.leftmost[tip as usize]);
                self.check_free(&[a, b])?;
                let (before, after) = (self.vertex(prev(a)), self.vertex(next(b)));
                self.push([tip, after, before])?;
                self.join(a, corner + 1);
                self.join(b, corner + 2);
                self.leftmost[before as usize] = corner + 2;
            }
            R | L => {
                let a = self.top()?;
                self.check_free(&[a])?;
                let (before, after) = (self.vertex(prev(a)), self.vertex(next(a)));
                let fresh = if symbol == R { corner + 2 } else { corner + 1 };
                let vertex = self.add_vertex(fresh)?;
                if symbol == R {
                    self.push([before, after, vertex])?;
                    self.leftmost[before as usize] = corner;
                } else {
                    self.push([after, vertex, before])?;
                    self.leftmost[before as usize] = corner + 2;
                }
                self.join(a, fresh);
            }
            S => {
                let b = self.top()?;
                self.active.pop();
                self.active.extend(self.held.remove(&number));
                let a = self.top()?;
                self.check_free(&[a, b])?;
                let (tip, after) = (self.vertex(prev(a)), self.vertex(next(a)));
                let (before, dropped) = (self.vertex(prev(b)), self.vertex(next(b)));
                self.push([tip, after, before])?;
                self.join(a, corner + 2);
                self.join(b, corner + 1);
                self.leftmost[before as usize] = corner + 2;
                if tip != dropped {
                    source.merge(tip, dropped);
                    self.leftmost[tip as usize] = self.leftmost[dropped as usize];
                    self.merged[dropped as usize] = tip;
                }
            }
            _ => {
                let vertices = [self.add_vertex(corner)?, self.add_vertex(corner + 1)?, self.add_vertex(corner + 2)?];
                self.push(vertices)?;
                self.active.push(corner);
            }
        }
        *self.active.last_mut().expect("every branch leaves one") = corner;
        let [tip, after, before] = [corner, next(corner), prev(corner)].map(|corner| self.vertex(corner));
        source.built(tip, after, before);
        Ok(())
    }

    /// Close the components whose first face lies inside, and name the vertices for good.
    fn finish(mut self, face_count: usize, interior: &mut BinaryDecoder<'_>) -> Result<Surface> {
        let mut starts: Vec<u32> = (0..self.faces.len() as u32).map(|face| 4 * face).collect();
        while let Some(a) = self.active.pop() {
            if !interior.take() {
                continue;
            }
            let vertex_n = self.vertex(next(a));
            let b = next(self.leftmost[vertex_n as usize]);
            let vertex_x = self.vertex(next(b));
            let c = next(self.leftmost[vertex_x as usize]);
            self.check_free(&[a, b, c])?;
            let vertex_p = self.vertex(next(c));
            let corner = 4 * self.faces.len() as u32;
            if self.faces.len() == face_count {
                return Err(damaged("there are more faces than announced"));
            }
            self.push([vertex_x, vertex_p, vertex_n])?;
            self.join(a, corner);
            self.join(b, corner + 1);
            self.join(c, corner + 2);
            starts.push(corner);
        }
        if self.faces.len() != face_count {
            return Err(damaged(format!("{} faces instead of {face_count}", self.faces.len())));
        }
        for face in 0..face_count as u32 {
            let corners = [4 * face, 4 * face + 1, 4 * face + 2];
            let [a, b, c] = corners.map(|corner| self.vertex(corner));
            if a == b || b == c || c == a {
                return Err(damaged("a face has a vertex twice"));
            }
            for (corner, vertex) in corners.into_iter().zip([a, b, c]) {
                self.faces.set_vertex(corner, vertex);
            }
        }
        Ok(Surface { faces: self.faces, leftmost: self.leftmost, starts })
    }
}
