//! A memory whose stores are only noted down, to be carried out later, in another order, or in part: it makes what a
//! death leaves behind, and the faults that are planted in the rig's child.

use anyhow::Result;
use bulkhead_proto::shm::{
    access::{ReadWords, WriteWords},
    table::TableMemory,
};
use std::{cell::RefCell, io, rc::Rc, sync::atomic::Ordering};

/// One store.
#[derive(Clone, Debug)]
pub enum Write {
    /// Of one word.
    Word(usize, u64),
    /// Of bytes, beginning at a word.
    Bytes(usize, Vec<u8>),
}

/// Reads what is there; notes down what is to be written. Clones share their notes.
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
    /// Begins to note down.
    pub fn new(memory: M) -> Self {
        Self { memory: Rc::new(memory), writes: Rc::default() }
    }

    /// What was noted down so far; it is forgotten.
    pub fn take(&self) -> Vec<Write> {
        self.writes.take()
    }

    fn note(&self, write: Write) {
        self.writes.borrow_mut().push(write);
    }
}

impl<M: TableMemory> Deferred<M> {
    /// Carries out one store in a state table.
    ///
    /// # Errors
    /// When the system refuses to write a body.
    pub fn carry_out_in_table(&self, write: &Write) -> Result<()> {
        match write {
            Write::Word(word, value) => self.memory.store(*word, *value, Ordering::Relaxed),
            Write::Bytes(word, bytes) => self.memory.write_body(*word, bytes)?,
        }
        Ok(())
    }
}

impl<M: WriteWords> Deferred<M> {
    /// Carries out one store.
    pub fn carry_out(&self, write: &Write) {
        match write {
            Write::Word(word, value) => self.memory.store(*word, *value, Ordering::Relaxed),
            Write::Bytes(word, bytes) => self.memory.write_bytes(*word, bytes),
        }
    }
}

// What is noted down is read as if it were there: words alone, for nobody reads bodies back before they are committed.
impl<M: ReadWords> ReadWords for Deferred<M> {
    fn words(&self) -> usize {
        self.memory.words()
    }

    fn load(&self, word: usize, order: Ordering) -> u64 {
        let noted = |write: &Write| match write {
            Write::Word(at, value) if *at == word => Some(*value),
            Write::Word(..) | Write::Bytes(..) => None,
        };
        let noted = self.writes.borrow().iter().rev().find_map(noted);
        noted.unwrap_or_else(|| self.memory.load(word, order))
    }

    fn read_bytes(&self, word: usize, into: &mut [u8]) {
        self.memory.read_bytes(word, into);
    }
}

impl<M: ReadWords> TableMemory for Deferred<M> {
    fn store(&self, word: usize, value: u64, _: Ordering) {
        self.note(Write::Word(word, value));
    }

    fn write_body(&self, word: usize, bytes: &[u8]) -> io::Result<()> {
        self.note(Write::Bytes(word, bytes.to_vec()));
        Ok(())
    }
}

impl<M: WriteWords> WriteWords for Deferred<M> {
    fn store(&self, word: usize, value: u64, _: Ordering) {
        self.note(Write::Word(word, value));
    }

    fn write_bytes(&self, word: usize, from: &[u8]) {
        self.note(Write::Bytes(word, from.to_vec()));
    }
}
