//! The neighbours of every vertex, in the order in which its faces follow each other.

use super::work::NONE;

/// How the faces lie around a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fan {
    /// There are none.
    Empty,
    /// One cycle of at least three: inside a surface.
    Closed,
    /// One chain: on an open edge.
    Open,
    /// Anything else.
    Odd,
}

/// Open fans with more faces count as odd, which is always safe: to find where they start takes quadratic time.
const LONGEST_CHAIN: usize = 256;

#[derive(Debug, Clone, Copy, Default)]
struct Span {
    first: u32,
    len: u32,
}

/// Lists of neighbours, counter-clockwise seen from outside. A closed fan of `k` faces has `k` neighbours, an open one
/// one more; the lists of others are empty.
#[derive(Default)]
pub struct Rings {
    spans: Vec<Span>,
    list: Vec<u32>,
    spare: Vec<u32>,
    /// For every neighbour the next; all `NONE` between uses.
    next: Vec<u32>,
}

impl Rings {
    /// No neighbours yet.
    pub fn start(&mut self) {
        self.spans.clear();
        self.list.clear();
        self.next.clear();
    }

    /// There are `n` vertices from now on.
    pub fn grow(&mut self, n: usize) {
        self.spans.resize(n, Span::default());
        self.next.resize(n, NONE);
    }

    #[inline(always)]
    pub fn of(&self, v: u32) -> &[u32] {
        let Span { first, len } = self.spans[v as usize];
        &self.list[first as usize..(first + len) as usize]
    }

    #[inline(always)]
    fn of_mut(&mut self, v: u32) -> &mut [u32] {
        let Span { first, len } = self.spans[v as usize];
        &mut self.list[first as usize..(first + len) as usize]
    }

    pub fn forget(&mut self, v: u32) {
        self.spans[v as usize].len = 0;
    }

    /// Orders the neighbours of a vertex; `pairs` are the second and the third corner of each of its faces.
    pub fn arrange(&mut self, v: u32, pairs: &[(u32, u32)]) -> Fan {
        let first = self.list.len();
        let fan = self.chain(pairs);
        if !matches!(fan, Fan::Closed | Fan::Open) {
            self.list.truncate(first);
        }
        self.spans[v as usize] = Span { first: first as u32, len: (self.list.len() - first) as u32 };
        fan
    }

    fn chain(&mut self, pairs: &[(u32, u32)]) -> Fan {
        let Some(&(from, _)) = pairs.first() else { return Fan::Empty };
        for &(n, p) in pairs {
            self.next[n as usize] = p;
        }
        let first = self.list.len();
        let end = self.walk(from, pairs.len());
        let mut fan = Fan::Odd;
        if end == from {
            if self.list.len() - first == pairs.len() && pairs.len() >= 3 {
                fan = Fan::Closed;
            }
        } else if pairs.len() <= LONGEST_CHAIN {
            // a chain starts at the one neighbour that no face ends with
            let mut starts = pairs.iter().map(|pair| pair.0).filter(|&n| pairs.iter().all(|pair| pair.1 != n));
            if let (Some(start), None) = (starts.next(), starts.next()) {
                self.list.truncate(first);
                let last = self.walk(start, pairs.len());
                // all steps taken without meeting a neighbour twice, and nothing follows the last
                if last != NONE && self.list.len() - first == pairs.len() && self.next[last as usize] == NONE {
                    self.list.push(last);
                    fan = Fan::Open;
                }
            }
        }
        for &(n, _) in pairs {
            self.next[n as usize] = NONE;
        }
        fan
    }

    /// Lists what follows a neighbour, and returns where it ended: at the beginning, at `NONE`, or after `most` steps.
    fn walk(&mut self, from: u32, most: usize) -> u32 {
        let mut at = from;
        for _ in 0..most {
            let next = self.next[at as usize];
            if next == NONE {
                return NONE;
            }
            self.list.push(at);
            at = next;
            if at == from {
                break;
            }
        }
        at
    }

    /// `u` goes where its neighbour `v` is. Both have, and go on having, a closed fan or an open one; `ring` is that of
    /// `u`, and `k` the place of `v` in it.
    pub fn collapse(&mut self, u: u32, v: u32, ring: &[u32], k: usize) {
        let len = ring.len();
        let turned = |i: usize| ring[if k + i < len { k + i } else { k + i - len }];
        let (after, before) = (turned(1), turned(len - 1));
        // what v takes over, in order: the neighbours of u beyond the two that both know
        let taken = len - 3;
        let Span { first, len: old } = self.spans[v as usize];
        let (first, old) = (first as usize, old as usize);
        let place = self.of(v).iter().position(|&w| w == u).expect("neighbours know each other");
        if taken <= 1 {
            // no longer than before
            if taken == 1 {
                self.list[first + place] = turned(2);
            } else {
                self.list.copy_within(first + place + 1..first + old, first + place);
                self.spans[v as usize].len -= 1;
            }
        } else {
            let start = self.list.len();
            self.list.extend_from_within(first..first + place);
            self.list.extend((2..len - 1).map(turned));
            self.list.extend_from_within(first + place + 1..first + old);
            self.spans[v as usize] = Span { first: start as u32, len: (self.list.len() - start) as u32 };
        }
        for i in 2..len - 1 {
            for w in self.of_mut(turned(i)) {
                if *w == u {
                    *w = v;
                }
            }
        }
        for w in [after, before] {
            let ring = self.of_mut(w);
            // the rings of odd vertices are empty
            if let Some(place) = ring.iter().position(|&x| x == u) {
                ring.copy_within(place + 1.., place);
                self.spans[w as usize].len -= 1;
            }
        }
        self.forget(u);
    }

    /// Lists without gaps again, if there are many.
    pub fn compact(&mut self) {
        let live: usize = self.spans.iter().map(|span| span.len as usize).sum();
        if self.list.len() < 2 * live + 64 {
            return;
        }
        self.spare.clear();
        self.spare.reserve(live);
        for span in &mut self.spans {
            let first = self.spare.len() as u32;
            self.spare.extend_from_slice(&self.list[span.first as usize..(span.first + span.len) as usize]);
            span.first = first;
        }
        std::mem::swap(&mut self.list, &mut self.spare);
    }
}
