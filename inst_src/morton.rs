//! Compressed Morton codes: the keys of chunks and of annotation cells in the sharded format.
//!
//! For bit 0, 1, 2, ... and for each dimension in order: if `2^bit` is less than the number of cells along the
//! dimension, that bit of the cell's index is the next bit of the code, from the least significant end.

use crate::{Error, Result};

/// A grid of cells of any rank whose codes fit in 64 bits.
#[derive(Debug, Clone)]
pub struct MortonGrid {
    cells: Vec<u64>,
    /// For each bit of the code, from the lowest: the dimension and the bit of its index.
    bits: Vec<(usize, u32)>,
}

impl MortonGrid {
    /// The grid with `cells[d]` cells along dimension `d`.
    ///
    /// # Errors
    /// [`Error::Argument`] if a dimension has no cells, there is no dimension, or codes would need more than 64 bits.
    pub fn new(cells: &[u64]) -> Result<Self> {
        if cells.is_empty() || cells.contains(&0) {
            return Err(Error::Argument(format!(
                "the grid {cells:?} has no cells; every dimension needs at least one"
            )));
        }
        let widths: Vec<u32> = cells.iter().map(|&n| u64::BITS - (n - 1).leading_zeros()).collect();
        let total: u32 = widths.iter().sum();
        if total > u64::BITS {
            return Err(Error::Argument(format!(
                "codes of the grid {cells:?} would need {total} bits, but keys have 64; use larger chunks"
            )));
        }
        let order =
            |bit: u32| widths.iter().enumerate().filter(move |(_, width)| bit < **width).map(move |(d, _)| (d, bit));
        Ok(MortonGrid { cells: cells.to_vec(), bits: (0..u64::BITS).flat_map(order).collect() })
    }

    /// Number of dimensions.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.cells.len()
    }

    /// The code of `cell`.
    ///
    /// # Errors
    /// [`Error::Argument`] if the cell does not lie in the grid.
    pub fn encode(&self, cell: &[u64]) -> Result<u64> {
        if cell.len() != self.rank() || cell.iter().zip(&self.cells).any(|(index, cells)| index >= cells) {
            return Err(Error::Argument(format!("the cell {cell:?} does not lie in the grid {:?}", self.cells)));
        }
        Ok(self.bits.iter().enumerate().fold(0, |code, (i, &(d, bit))| code | (cell[d] >> bit & 1) << i))
    }

    /// Writes the cell of `code` to `cell`.
    ///
    /// # Errors
    /// [`Error::Format`] if no cell of the grid has the code; [`Error::Argument`] if `cell` has another rank.
    pub fn decode(&self, code: u64, cell: &mut [u64]) -> Result<()> {
        if cell.len() != self.rank() {
            return Err(Error::Argument(format!("{} indices are needed for a cell, not {}", self.rank(), cell.len())));
        }
        cell.fill(0);
        for (i, &(d, bit)) in self.bits.iter().enumerate() {
            cell[d] |= (code >> i & 1) << bit;
        }
        let extra = self.bits.len() < 64 && code >> self.bits.len() != 0;
        if extra || cell.iter().zip(&self.cells).any(|(index, cells)| index >= cells) {
            return Err(Error::Format(format!("no cell of the grid {:?} has the code {code}", self.cells)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_a_bijection_onto_the_grid() {
        for grid in [&[5u64, 3, 9][..], &[1, 1, 1], &[2, 1, 3, 4], &[17], &[1, 8]] {
            let morton = MortonGrid::new(grid).unwrap();
            let total: u64 = grid.iter().product();
            let mut seen = std::collections::BTreeSet::new();
            for i in 0..total {
                let mut rest = i;
                let cell: Vec<u64> = grid
                    .iter()
                    .map(|n| {
                        let index = rest % n;
                        rest /= n;
                        index
                    })
                    .collect();
                let code = morton.encode(&cell).unwrap();
                let mut back = vec![0; grid.len()];
                morton.decode(code, &mut back).unwrap();
                assert_eq!(back, cell);
                assert!(seen.insert(code));
            }
            let limit = seen.last().unwrap().next_power_of_two() * 4 + 4;
            let mut cell = vec![0; grid.len()];
            let valid = (0..limit).filter(|&code| morton.decode(code, &mut cell).is_ok()).count();
            assert_eq!(valid as u64, total, "only codes of cells decode");
        }
    }

    #[test]
    fn sixty_four_bits_are_the_limit() {
        let morton = MortonGrid::new(&[1 << 32, 1 << 32]).unwrap();
        assert_eq!(morton.encode(&[u32::MAX.into(), u32::MAX.into()]).unwrap(), u64::MAX);
        assert_eq!(MortonGrid::new(&[u64::MAX]).unwrap().encode(&[u64::MAX - 1]).unwrap(), u64::MAX - 1);
        assert!(MortonGrid::new(&[1 << 32, (1 << 32) + 1]).is_err());
        assert!(MortonGrid::new(&[]).is_err());
        assert!(MortonGrid::new(&[4, 0]).is_err());
        assert!(morton.encode(&[1 << 32, 0]).is_err());
        assert!(morton.encode(&[1]).is_err());
    }
}
