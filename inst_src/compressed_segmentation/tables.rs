//! Finds tables that a channel holds already.

use super::label::Label;

/// A table that was written: where, and how many labels.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// The channel that filled the slot; any other number means that the slot is free.
    epoch: u32,
    /// Offset in words from the start of the channel.
    offset: u32,
    len: u32,
    hash: u32,
}

/// A hash table over the tables of one channel. Its keys are the written bytes themselves.
#[derive(Default)]
pub(super) struct TableIndex {
    slots: Vec<Slot>,
    used: usize,
    epoch: u32,
}

fn hash<T: Label>(labels: &[T]) -> u64 {
    // Multiply and fold, as in wyhash: all bits of each label reach all bits of the result.
    labels.iter().fold(labels.len() as u64 ^ 0x9e37_79b9_7f4a_7c15, |state, label| {
        let product = u128::from(state ^ label.widen() ^ 0xa076_1d64_78bd_642f) * 0xe703_7ed1_a0b4_28db_u128;
        (product >> 64) as u64 ^ product as u64
    })
}

impl TableIndex {
    /// Forgets all tables, without touching memory.
    pub(super) fn clear(&mut self) {
        self.used = 0;
        if self.slots.is_empty() {
            self.slots = vec![Slot::default(); 1024];
        }
        self.epoch = self.epoch.checked_add(1).unwrap_or_else(|| {
            self.slots.fill(Slot::default());
            1
        });
    }

    /// Offset of `labels` in words: of an equal table in `channel`, or else `end`, where the caller must then append it.
    pub(super) fn find_or_insert<T: Label>(&mut self, labels: &[T], channel: &[u8], end: u32) -> u32 {
        if 2 * self.used >= self.slots.len() {
            self.grow();
        }
        let hash = hash(labels) as u32;
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = &mut self.slots[at];
            if slot.epoch != self.epoch {
                *slot = Slot { epoch: self.epoch, offset: end, len: labels.len() as u32, hash };
                self.used += 1;
                return end;
            }
            if slot.hash == hash && slot.len as usize == labels.len() {
                let stored = &channel[4 * slot.offset as usize..];
                let size = 4 * T::WORDS;
                if stored.chunks_exact(size).zip(labels).all(|(bytes, &label)| T::read(bytes) == label) {
                    return slot.offset;
                }
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let bigger = vec![Slot::default(); 2 * self.slots.len()];
        let old = std::mem::replace(&mut self.slots, bigger);
        let mask = self.slots.len() - 1;
        for slot in old.into_iter().filter(|slot| slot.epoch == self.epoch) {
            let mut at = slot.hash as usize & mask;
            while self.slots[at].epoch == self.epoch {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot;
        }
    }
}

/// Numbers the distinct labels of a block in the order in which they come.
#[derive(Default)]
pub(super) struct Numbering<T> {
    /// Label, and its number beside the block that it belongs to: `epoch << 32 | number`.
    slots: Vec<(T, u64)>,
    epoch: u64,
    /// The labels and their numbers.
    pub(super) labels: Vec<(T, u32)>,
}

impl<T: Label> Numbering<T> {
    /// Forgets all labels; at most `voxels` will follow.
    pub(super) fn clear(&mut self, voxels: usize) {
        let needed = (2 * voxels).next_power_of_two().max(16);
        if self.slots.len() < needed {
            self.slots = vec![(T::default(), 0); needed];
            self.epoch = 0;
        }
        // 2^32 blocks later an old slot could pass for a new one.
        if self.epoch == u64::from(u32::MAX) {
            self.slots.fill((T::default(), 0));
            self.epoch = 0;
        }
        self.epoch += 1;
        self.labels.clear();
    }

    /// The number of `label`.
    #[inline]
    pub(super) fn number(&mut self, label: T) -> u32 {
        let mask = self.slots.len() - 1;
        let mixed = label.widen().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut at = (mixed >> 40) as usize & mask;
        loop {
            let (stored, tag) = self.slots[at];
            if tag >> 32 != self.epoch {
                let number = self.labels.len() as u32;
                self.slots[at] = (label, self.epoch << 32 | u64::from(number));
                self.labels.push((label, number));
                return number;
            }
            if stored == label {
                return tag as u32;
            }
            at = (at + 1) & mask;
        }
    }
}
