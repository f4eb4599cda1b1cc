//! The order of the values: a second walk over the surface, which the decoder can make as well.

use super::corner_table::{Corners, Face, NONE, PASSED, next, prev};

/// Takes the vertices in their order.
pub(super) trait Sink {
    fn emitted(&self, vertex: u32) -> bool;
    fn boundary(&self, faces: &[Face], vertex: u32) -> bool;
    /// `entered` says that the face across the edge opposite to the corner has been passed.
    fn emit(&mut self, faces: &[Face], vertex: u32, corner: u32, entered: bool);
}

fn offer(faces: &[Face], corner: u32, entered: bool, sink: &mut impl Sink) -> bool {
    let vertex = faces.vertex(corner);
    let fresh = !sink.emitted(vertex);
    if fresh {
        sink.emit(faces, vertex, corner, entered);
    }
    fresh
}

/// Walk depth first from every start whose face has not been passed.
pub(super) fn depth_first(
    faces: &mut [Face],
    starts: impl Iterator<Item = u32>,
    stack: &mut Vec<u32>,
    sink: &mut impl Sink,
) {
    for start in starts {
        if faces.closed(start, PASSED) {
            continue;
        }
        offer(faces, next(start), false, sink);
        offer(faces, prev(start), false, sink);
        stack.clear();
        stack.push(start);
        let mut entered = false;
        while let Some(&top) = stack.last() {
            if faces.closed(top, PASSED) {
                stack.pop();
                continue;
            }
            let mut corner = top;
            loop {
                *faces[(corner >> 2) as usize].mark() |= PASSED;
                let vertex = faces.vertex(corner);
                let (right, left) = (faces.right(corner), faces.left(corner));
                if !sink.emitted(vertex) {
                    sink.emit(faces, vertex, corner, entered);
                    if !sink.boundary(faces, vertex) && right != NONE {
                        entered = true;
                        corner = right;
                        continue;
                    }
                }
                entered = true;
                match (faces.closed(right, PASSED), faces.closed(left, PASSED)) {
                    (true, true) => {
                        stack.pop();
                        break;
                    }
                    (true, false) => corner = left,
                    (false, true) => corner = right,
                    (false, false) => {
                        stack.pop();
                        stack.push(left);
                        stack.push(right);
                        break;
                    }
                }
            }
        }
    }
}

/// Walk so that vertices which several known faces predict come first.
pub(super) fn prediction_degree(
    faces: &mut [Face],
    vertices: usize,
    starts: impl Iterator<Item = u32>,
    sink: &mut impl Sink,
) {
    let mut degrees = vec![0u32; vertices];
    let mut priority = |faces: &[Face], corner: u32, sink: &mut _| {
        let vertex = faces.vertex(corner);
        if Sink::emitted(sink, vertex) {
            return 0;
        }
        let degree = &mut degrees[vertex as usize];
        *degree = degree.saturating_add(1);
        if *degree > 1 { 1 } else { 2 }
    };
    let mut stacks: [Vec<u32>; 3] = Default::default();
    for start in starts {
        if faces.closed(start, PASSED) {
            continue;
        }
        offer(faces, next(start), false, sink);
        offer(faces, prev(start), false, sink);
        offer(faces, start, false, sink);
        stacks[0].push(start);
        let mut best = 0;
        while let Some(level) = (best..3).find(|&level| !stacks[level].is_empty()) {
            best = level;
            let Some(mut corner) = stacks[level].pop() else { break };
            if faces.closed(corner, PASSED) {
                continue;
            }
            loop {
                *faces[(corner >> 2) as usize].mark() |= PASSED;
                offer(faces, corner, true, sink);
                let (right, left) = (faces.right(corner), faces.left(corner));
                let right_closed = faces.closed(right, PASSED);
                if !faces.closed(left, PASSED) {
                    let level = priority(faces, left, sink);
                    if right_closed && level <= best {
                        corner = left;
                        continue;
                    }
                    stacks[level].push(left);
                    best = best.min(level);
                }
                if !right_closed {
                    let level = priority(faces, right, sink);
                    if level <= best {
                        corner = right;
                        continue;
                    }
                    stacks[level].push(right);
                    best = best.min(level);
                }
                break;
            }
        }
    }
}
