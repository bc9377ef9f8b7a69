//! The file that remembers the routes: its layout, and what a configuration may do to it.
//!
//! ```text
//! offset 0     header     magic, version, capacity, CRC-32 (64 bytes); the rest of the page is reserved
//! offset 4096  record 0   512 bytes: one group
//! offset 4608  record 1   ..
//!
//! record:  0    route word (see `route`)      moved by workers through the mapping
//!          8    the slot before (see `route::RouteWord`)
//!          16   the trial of that route (see `trial`)
//!          64   names: group 64 | 15 slots of 24 | ids that run 2 | reserved 18 | CRC-32    written by the master
//! ```
//!
//! Names that do not fit are cut, with a hash (see `name::stored`).
//!
//! A record is one disk sector and its names never share a page boundary, so neither a kill nor a power loss leaves half of
//! them. Records are never removed: a group that comes back finds its route. This module only reads and makes bytes; the
//! nginx module does the input and output.

use crate::name::{self, FixedName, SLOT_SIZE, is_stored_slot};
use crate::route::{Reading, Route, RouteWord};
use crate::sealed::{Reader, Writer, seal, sealed};
use crate::slot::SlotId;
use crate::split::Split;
use crate::trial::TrialWords;

mod plan;

pub use plan::{ConfiguredGroup, Conflict, Plan, plan};

/// Bytes before the first record.
pub const HEADER_SIZE: usize = 4096;
/// Bytes of a record.
pub const RECORD_SIZE: usize = 512;
/// Where a record's names begin.
pub const NAMES_OFFSET: usize = 64;
/// Bytes of a record's names.
pub const NAMES_SIZE: usize = RECORD_SIZE - NAMES_OFFSET;
/// Records a file is made, and grows, by.
pub const CAPACITY_STEP: u32 = 64;
/// The most records a file may have.
pub const MAX_CAPACITY: u32 = 1 << 20;

/// The first bytes of a state file.
pub const MAGIC: [u8; 8] = *b"cutover\0";
const VERSION: u32 = 1;
const HEADER_USED: usize = 64;
const GROUP_SIZE: usize = 64;

/// Why a file cannot be used. The text completes "state file PATH ..".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It does not begin as a state file does.
    #[error("is not a cutover state file")]
    Foreign,
    /// Another version of the module wrote it.
    #[error("has format version {0}, this module reads version {VERSION}")]
    Version(u32),
    /// It is shorter than its header says.
    #[error("is cut off: it has {actual} bytes, its header says {expected}")]
    Truncated {
        /// Bytes there are.
        actual: u64,
        /// Bytes there should be.
        expected: u64,
    },
    /// Its header does not match its checksum.
    #[error("is damaged: the checksum of its header does not match")]
    Header,
    /// A record does not match its checksum, or holds a route no module has written.
    #[error(
        "is damaged: {what} of record {index}{} cannot be read",
        group.as_deref().map(|g| format!(" (group \"{g}\")")).unwrap_or_default()
    )]
    Record {
        /// Position in the file.
        index: u32,
        /// Its group, if that much can be read.
        group: Option<String>,
        /// The part that cannot be read.
        what: &'static str,
    },
}

/// Bytes of a file with this many records.
pub fn file_size(capacity: u32) -> u64 {
    HEADER_SIZE as u64 + u64::from(capacity) * RECORD_SIZE as u64
}

/// Where record `index` begins.
pub fn record_offset(index: u32) -> usize {
    HEADER_SIZE + index as usize * RECORD_SIZE
}

/// The first bytes of a file for `capacity` records.
pub fn encode_header(capacity: u32) -> [u8; HEADER_USED] {
    let mut bytes = [0; HEADER_USED];
    let mut rest = Writer(&mut bytes);
    rest.put(&MAGIC);
    rest.put(&VERSION.to_le_bytes());
    rest.put(&capacity.to_le_bytes());
    seal(&mut bytes);
    bytes
}

/// Reads a header; the answer is the number of records. `size` is the size of the whole file in bytes.
pub fn decode_header(file: &[u8], size: u64) -> Result<u32, Damage> {
    let Some(bytes) = file.get(..HEADER_USED) else {
        let truncated = Damage::Truncated { actual: size, expected: file_size(CAPACITY_STEP) };
        return Err(if file.is_empty() || MAGIC.starts_with(file) { truncated } else { Damage::Foreign });
    };
    let mut rest = Reader(bytes);
    if rest.take::<8>() != Some(MAGIC) {
        return Err(Damage::Foreign);
    }
    let version = rest.u32().unwrap_or(0);
    let capacity = rest.u32().unwrap_or(0);
    if !sealed(bytes) {
        return Err(Damage::Header);
    }
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    if capacity == 0 || capacity > MAX_CAPACITY {
        return Err(Damage::Header);
    }
    if size < file_size(capacity) {
        return Err(Damage::Truncated { actual: size, expected: file_size(capacity) });
    }
    Ok(capacity)
}

/// The names of a group and of its slots, by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The group; empty: the record is free.
    pub group: FixedName<GROUP_SIZE>,
    slots: [FixedName<SLOT_SIZE>; SlotId::MAX as usize],
    configured: u16,
}

impl Names {
    /// A free record.
    pub const FREE: Self =
        Self { group: FixedName::EMPTY, slots: [FixedName::EMPTY; SlotId::MAX as usize], configured: 0 };

    /// The name of the slot with this id as it is stored, if it has been given to one.
    pub fn slot(&self, id: SlotId) -> Option<&str> {
        self.slots.get(id.index()).map(FixedName::as_str).filter(|name| !name.is_empty())
    }

    /// Whether the id is that of the slot of this name.
    pub fn is_slot(&self, id: SlotId, name: &str) -> bool {
        self.slot(id).is_some_and(|known| is_stored_slot(known, name))
    }

    /// The id of the slot of this name.
    pub fn id_of(&self, slot: &str) -> Option<SlotId> {
        let stored = name::stored::<SLOT_SIZE>(slot);
        SlotId::all().find(|id| self.slot(*id) == Some(stored.as_str()))
    }

    /// The slots of the configuration that runs.
    pub fn configured(&self) -> Vec<SlotId> {
        SlotId::all().filter(|id| self.configured & configured_mask(&[*id]) != 0).collect()
    }

    /// The same names, with these slots as those of the configuration that runs.
    pub fn with_configured(&self, slots: &[SlotId]) -> Self {
        Self { configured: configured_mask(slots), ..self.clone() }
    }

    /// As stored.
    pub fn encode(&self) -> [u8; NAMES_SIZE] {
        let mut bytes = [0; NAMES_SIZE];
        if *self == Self::FREE {
            return bytes;
        }
        let mut rest = Writer(&mut bytes);
        rest.put(self.group.as_bytes());
        for slot in &self.slots {
            rest.put(slot.as_bytes());
        }
        rest.put(&self.configured.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// Reads them back; `None`: damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Some(Self::FREE);
        }
        if !sealed(bytes) {
            return None;
        }
        let mut rest = Reader(bytes);
        let mut names = Self { group: FixedName::from_bytes(rest.take()?)?, ..Self::FREE };
        for slot in &mut names.slots {
            *slot = FixedName::from_bytes(rest.take()?)?;
        }
        names.configured = rest.u16()?;
        (!names.group.is_empty()).then_some(names)
    }
}

/// Where in a record the mask of the slots that the running configuration has is stored: a little-endian `u16`, bit n for
/// id n.
pub const CONFIGURED_OFFSET: usize = NAMES_OFFSET + GROUP_SIZE + SLOT_SIZE * SlotId::MAX as usize;

/// The mask of these slots.
pub fn configured_mask(slots: &[SlotId]) -> u16 {
    slots.iter().fold(0, |mask, id| mask | 1 << id.get())
}

/// What workers change of a record, through the mapping: one cache line.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Head {
    /// What decides.
    pub route: RouteWord,
    /// Its trial.
    pub trial: TrialWords,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Head>() == NAMES_OFFSET);

/// One record as found in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who it belongs to.
    pub names: Names,
    /// Where its traffic goes.
    pub route: Reading,
}

/// Reads the records of a whole file whose header says `capacity`.
pub fn decode_records(file: &[u8], capacity: u32) -> Result<Vec<Record>, Damage> {
    let records = file.get(HEADER_SIZE..).unwrap_or_default().chunks_exact(RECORD_SIZE);
    (0..capacity).zip(records).map(|(index, bytes)| decode_record(index, bytes)).collect()
}

fn decode_record(index: u32, bytes: &[u8]) -> Result<Record, Damage> {
    let names = bytes.get(NAMES_OFFSET..).and_then(Names::decode);
    let names = names.ok_or(Damage::Record { index, group: None, what: "the names" })?;
    let route = Reading::of(Reader(bytes).take().map_or(0, u64::from_ne_bytes));
    let readable = match route {
        Reading::Unset => true,
        Reading::Set(Route { to, .. }) => {
            let second = to.split.map(Split::second);
            [Some(to.active), second].into_iter().flatten().all(|slot| names.slot(slot).is_some())
        }
        Reading::Damaged => false,
    };
    if !readable {
        let group = Some(name::shown(names.group.as_str())).filter(|name| !name.is_empty());
        return Err(Damage::Record { index, group, what: "the route" });
    }
    Ok(Record { names, route })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Destination;

    fn shop() -> Names {
        let wanted = [ConfiguredGroup { group: "shop", slots: vec!["blue", "green"] }];
        plan(&[], &wanted).unwrap().writes[0].1.clone()
    }

    fn file(names: &Names, word: u64) -> Vec<u8> {
        let mut bytes = vec![0; file_size(1) as usize];
        bytes[..64].copy_from_slice(&encode_header(1));
        bytes[4096..4104].copy_from_slice(&word.to_ne_bytes());
        bytes[4096 + NAMES_OFFSET..].copy_from_slice(&names.encode());
        bytes
    }

    #[test]
    fn a_file_survives_its_bytes() {
        let route = Route { to: Destination::from(SlotId::new(2).unwrap()), generation: 7 };
        let bytes = file(&shop(), route.encode());
        assert_eq!(decode_header(&bytes, bytes.len() as u64), Ok(1));
        let records = decode_records(&bytes, 1).unwrap();
        assert_eq!(records, [Record { names: shop(), route: Reading::Set(route) }]);
        assert_eq!(records[0].names.slot(route.active()), Some("green"));
    }

    #[test]
    fn free_records_are_zeroes() {
        assert_eq!(Names::FREE.encode(), [0; NAMES_SIZE]);
        assert_eq!(Names::decode(&[0; NAMES_SIZE]), Some(Names::FREE));
    }

    #[test]
    fn bad_headers_are_told_apart() {
        let good = file(&shop(), 0);
        let size = good.len() as u64;
        assert_eq!(decode_header(&[], 0), Err(Damage::Truncated { actual: 0, expected: file_size(64) }));
        assert_eq!(
            decode_header(&good[..20], 20),
            Err(Damage::Foreign),
            "20 bytes that are more than the magic are somebody else's"
        );
        assert_eq!(decode_header(&[b'x'; 4096], 4096), Err(Damage::Foreign));
        assert_eq!(
            decode_header(&good, size - 1),
            Err(Damage::Truncated { actual: size - 1, expected: size })
        );

        let mut flipped = good.clone();
        flipped[12] ^= 1;
        assert_eq!(decode_header(&flipped, size), Err(Damage::Header));

        let mut newer = good;
        newer[8..12].copy_from_slice(&2u32.to_le_bytes());
        let (header, _) = newer.split_at_mut(64);
        seal(header);
        assert_eq!(decode_header(&newer, size), Err(Damage::Version(2)));
    }

    #[test]
    fn a_flipped_bit_anywhere_in_the_names_is_damage() {
        let good = file(&shop(), 0);
        for byte in 4096 + NAMES_OFFSET..good.len() {
            let mut bad = good.clone();
            bad[byte] ^= 0x10;
            assert!(matches!(decode_records(&bad, 1), Err(Damage::Record { .. })), "byte {byte}");
        }
    }

    #[test]
    fn a_route_to_a_slot_without_a_name_is_damage() {
        let route = Route { to: Destination::from(SlotId::new(9).unwrap()), generation: 7 };
        let error = decode_records(&file(&shop(), route.encode()), 1).unwrap_err();
        assert_eq!(error.to_string(), "is damaged: the route of record 0 (group \"shop\") cannot be read");
    }
}
