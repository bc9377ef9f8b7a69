//! Fixed layouts of bytes that end with a checksum.

/// Fills a buffer from its front; what does not fit is left out.
pub(crate) struct Writer<'a>(pub(crate) &'a mut [u8]);

impl Writer<'_> {
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let room = std::mem::take(&mut self.0);
        if let Some((place, rest)) = room.split_at_mut_checked(bytes.len()) {
            place.copy_from_slice(bytes);
            self.0 = rest;
        }
    }
}

/// Takes values from the front of a buffer.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl Reader<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

/// Bytes of a checksum.
const CRC_SIZE: usize = 4;

/// Puts the CRC-32 of what comes before into the last four bytes.
pub(crate) fn seal(bytes: &mut [u8]) {
    seal_for("", bytes);
}

/// Whether the last four bytes are right.
pub(crate) fn sealed(bytes: &[u8]) -> bool {
    sealed_for("", bytes)
}

/// The same, in the name of an owner: for another one the last four bytes are wrong.
pub(crate) fn seal_for(owner: &str, bytes: &mut [u8]) {
    if let Some((content, crc)) = bytes.split_last_chunk_mut::<CRC_SIZE>() {
        *crc = checksum(owner, content);
    }
}

/// Whether the last four bytes are right for this owner.
pub(crate) fn sealed_for(owner: &str, bytes: &[u8]) -> bool {
    bytes.split_last_chunk::<CRC_SIZE>().is_some_and(|(content, crc)| checksum(owner, content) == *crc)
}

fn checksum(owner: &str, content: &[u8]) -> [u8; CRC_SIZE] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(content);
    hasher.update(owner.as_bytes());
    hasher.finalize().to_le_bytes()
}
