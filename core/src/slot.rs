//! The number of a slot.

/// A slot's number in the state file: stable for as long as its name is known, whatever the order in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(u8);

impl SlotId {
    /// The largest id.
    pub const MAX: u8 = 15;

    /// 1 to [`MAX`](Self::MAX).
    pub fn new(id: u8) -> Option<Self> {
        (1..=Self::MAX).contains(&id).then_some(Self(id))
    }

    /// Every id there is.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=Self::MAX).map(Self)
    }

    /// The number itself.
    pub fn get(self) -> u8 {
        self.0
    }

    /// Position in a table that begins with id 1.
    pub fn index(self) -> usize {
        usize::from(self.0) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fit_their_bits() {
        assert_eq!(SlotId::new(0), None);
        assert_eq!(SlotId::new(16), None);
        assert_eq!(SlotId::all().count(), 15);
        assert_eq!(SlotId::new(15).unwrap().index(), 14);
    }
}
