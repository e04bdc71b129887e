//! Bytes as a list of choices. After the end of the bytes, every choice is 0.

/// The remaining choices.
#[derive(Clone, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All choices.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether no choices are left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The remaining bytes, unchanged.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_at(self.0.len().min(N));
        self.0 = rest;
        let mut bytes = [0; N];
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    /// One of 256.
    pub fn byte(&mut self) -> u8 {
        let [byte] = self.take();
        byte
    }

    /// A number below `count`; 0 if `count` is 0.
    pub fn below(&mut self, count: usize) -> usize {
        usize::from(u16::from_le_bytes(self.take())).checked_rem(count).unwrap_or(0)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// At most `limit` bytes.
    pub fn bytes(&mut self, limit: usize) -> &'a [u8] {
        let length = self.below(limit + 1).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }
}
