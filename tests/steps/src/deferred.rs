//! A memory that records its stores, so that they can be applied later, in another order or in part. It
//! produces the state that a death leaves behind, and the wrong store orders of the faulty scenarios.

use anyhow::Result;
use bulkhead_proto::shm::{
    access::{ReadWords, WriteWords},
    table::TableMemory,
};
use std::{cell::RefCell, io, rc::Rc, sync::atomic::Ordering};

/// One store.
#[derive(Clone, Debug)]
pub enum Write {
    /// A store of one word, by its index.
    Word(usize, u64),
    /// A store of bytes, from the word with this index on.
    Bytes(usize, Vec<u8>),
}

/// Reads the underlying memory and records stores. Clones share the recorded stores.
#[derive(Debug)]
pub struct Deferred<M> {
    memory: Rc<M>,
    writes: Rc<RefCell<Vec<Write>>>,
}

impl<M> Clone for Deferred<M> {
    fn clone(&self) -> Self {
        Self { memory: Rc::clone(&self.memory), writes: Rc::clone(&self.writes) }
    }
}

impl<M> Deferred<M> {
    /// Begins to record.
    pub fn new(memory: M) -> Self {
        Self { memory: Rc::new(memory), writes: Rc::default() }
    }

    /// Takes the stores that were recorded so far.
    pub fn take(&self) -> Vec<Write> {
        self.writes.take()
    }

    fn record(&self, write: Write) {
        self.writes.borrow_mut().push(write);
    }
}

impl<M: TableMemory> Deferred<M> {
    /// Applies one store to a state table.
    ///
    /// # Errors
    /// When the system refuses to write a body.
    pub fn apply_in_table(&self, write: &Write) -> Result<()> {
        match write {
            Write::Word(word, value) => self.memory.store(*word, *value, Ordering::Relaxed),
            Write::Bytes(word, bytes) => self.memory.write_body(*word, bytes)?,
        }
        Ok(())
    }
}

impl<M: WriteWords> Deferred<M> {
    /// Applies one store.
    pub fn apply(&self, write: &Write) {
        match write {
            Write::Word(word, value) => self.memory.store(*word, *value, Ordering::Relaxed),
            Write::Bytes(word, bytes) => self.memory.write_bytes(*word, bytes),
        }
    }
}

// A recorded word reads as if it were stored. Recorded bytes do not: no writer reads a body back before it is
// committed.
impl<M: ReadWords> ReadWords for Deferred<M> {
    fn words(&self) -> usize {
        self.memory.words()
    }

    fn load(&self, word: usize, order: Ordering) -> u64 {
        let recorded = |write: &Write| match write {
            Write::Word(at, value) if *at == word => Some(*value),
            Write::Word(..) | Write::Bytes(..) => None,
        };
        let recorded = self.writes.borrow().iter().rev().find_map(recorded);
        recorded.unwrap_or_else(|| self.memory.load(word, order))
    }

    fn read_bytes(&self, word: usize, into: &mut [u8]) {
        self.memory.read_bytes(word, into);
    }
}

impl<M: ReadWords> TableMemory for Deferred<M> {
    fn store(&self, word: usize, value: u64, _: Ordering) {
        self.record(Write::Word(word, value));
    }

    fn write_body(&self, word: usize, bytes: &[u8]) -> io::Result<()> {
        self.record(Write::Bytes(word, bytes.to_vec()));
        Ok(())
    }

    // What is released is not read any more.
    fn release(&self, _: usize, _: usize) {}
}

impl<M: WriteWords> WriteWords for Deferred<M> {
    fn store(&self, word: usize, value: u64, _: Ordering) {
        self.record(Write::Word(word, value));
    }

    fn write_bytes(&self, word: usize, from: &[u8]) {
        self.record(Write::Bytes(word, from.to_vec()));
    }
}
