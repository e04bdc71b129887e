//! A directory of JSON files `NUMBER.json` that only the supervisor writes. Other processes read it through an inherited
//! read-only fd.

use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags, fstat, openat, statat},
    io::Errno,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fmt::{Debug, Display},
    fs::File,
    io::{self, Read as _},
    marker::PhantomData,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    str::FromStr,
};

/// The suffix of a file name.
const SUFFIX: &str = ".json";

/// The content of a file.
pub trait Record: Serialize + DeserializeOwned {
    /// The number of the record, unique in the directory.
    type Number: Copy + Ord + Debug + Display + FromStr + Serialize + DeserializeOwned;
    /// The longest file that is read, in bytes.
    const MAX_FILE: u64;
    /// The order in which records are listed.
    const ORDER: Order;

    /// The number of this record.
    fn number(&self) -> Self::Number;

    /// The record as lists show it.
    #[must_use]
    fn summary(self) -> Self;
}

/// An order of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Rising numbers.
    OldestFirst,
    /// Falling numbers.
    NewestFirst,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Page<T: Record> {
    /// The records of the page.
    pub items: Vec<T>,
    /// The cursor of the next page (the number of the last record of this page), if there is a next page.
    pub next: Option<T::Number>,
}

/// The directory, for reading.
#[derive(Debug)]
pub struct RecordStore<T> {
    fd: OwnedFd,
    records: PhantomData<fn() -> T>,
}

impl<T> From<OwnedFd> for RecordStore<T> {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, records: PhantomData }
    }
}

impl<T> From<RecordStore<T>> for OwnedFd {
    fn from(store: RecordStore<T>) -> Self {
        store.fd
    }
}

/// The name of the file of the record with this number.
#[must_use]
pub fn file_name(number: impl Display) -> String {
    format!("{number}{SUFFIX}")
}

impl<T: Record> RecordStore<T> {
    /// Opens the directory.
    ///
    /// # Errors
    /// If `path` does not exist or is not a directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
    }

    /// The numbers of all records, in order. Other files are ignored.
    ///
    /// # Errors
    /// If the directory cannot be read, or was deleted.
    pub fn numbers(&self) -> io::Result<Vec<T::Number>> {
        self.check_exists()?;
        let mut numbers: Vec<T::Number> = Vec::new();
        for item in Dir::read_from(&self.fd)? {
            let item = item?;
            let Ok(name) = item.file_name().to_str() else { continue };
            let number = name.strip_suffix(SUFFIX).and_then(|number| number.parse::<T::Number>().ok());
            // Only names as this program writes them: `+7.json` and `007.json` are not number 7.
            numbers.extend(number.filter(|number| file_name(number) == name));
        }
        numbers.sort_unstable();
        match T::ORDER {
            Order::OldestFirst => {}
            Order::NewestFirst => numbers.reverse(),
        }
        Ok(numbers)
    }

    /// The length of these records in bytes, together. A record that was removed in the meantime has none.
    ///
    /// # Errors
    /// If the directory cannot be searched.
    pub fn bytes_of(&self, numbers: &[T::Number]) -> io::Result<u64> {
        let sizes = numbers.iter().map(|number| {
            match statat(&self.fd, file_name(number), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Ok(stat.st_size.unsigned_abs()),
                Err(Errno::NOENT) => Ok(0),
                Err(error) => Err(error.into()),
            }
        });
        sizes.sum()
    }

    /// Summaries of the first records that `matches` selects, or of those that follow `after`, at most `most` of them.
    /// Omits a record that was removed in the meantime or cannot be read. Reads each record up to the end of the page, and
    /// up to the next one that is selected.
    ///
    /// # Errors
    /// If the directory cannot be read, or was deleted.
    pub fn page(
        &self,
        after: Option<T::Number>,
        most: usize,
        matches: impl Fn(&T) -> bool,
    ) -> io::Result<Page<T>> {
        let numbers = self.numbers()?.into_iter().filter(|number| {
            after.is_none_or(|after| match T::ORDER {
                Order::OldestFirst => *number > after,
                Order::NewestFirst => *number < after,
            })
        });
        let mut selected = numbers.filter_map(|number| self.read(number).ok().flatten()).filter(matches);
        let items: Vec<T> = selected.by_ref().take(most).map(T::summary).collect();
        let next = items.last().map(T::number).filter(|_| selected.next().is_some());
        Ok(Page { items, next })
    }

    /// Without this check, a deleted directory would look empty forever, even if a new one is at the same path.
    fn check_exists(&self) -> io::Result<()> {
        if fstat(&self.fd)?.st_nlink == 0 {
            let what =
                "the directory was deleted; restart this process to open the one that is at its path now";
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        Ok(())
    }

    /// Reads one record. `None` if it does not exist or was removed.
    ///
    /// # Errors
    /// If the file cannot be read, or is not what the supervisor writes.
    pub fn read(&self, number: T::Number) -> io::Result<Option<T>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match openat(self.fd.as_fd(), file_name(number), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return self.check_exists().map(|()| None),
            Err(error) => return Err(error.into()),
        };
        let damaged = |what: String| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", file_name(number)))
        };
        let mut text = String::new();
        file.take(T::MAX_FILE).read_to_string(&mut text).map_err(|error| damaged(error.to_string()))?;
        let item: T = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if item.number() == number {
            Ok(Some(item))
        } else {
            Err(damaged(format!("the file holds record {}", item.number())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ids::{CrashId, Seq};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Rising(Seq);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Falling(CrashId);

    impl Record for Rising {
        type Number = Seq;
        const MAX_FILE: u64 = 100;
        const ORDER: Order = Order::OldestFirst;

        fn number(&self) -> Seq {
            self.0
        }

        fn summary(self) -> Self {
            self
        }
    }

    impl Record for Falling {
        type Number = CrashId;
        const MAX_FILE: u64 = 100;
        const ORDER: Order = Order::NewestFirst;

        fn number(&self) -> CrashId {
            self.0
        }

        fn summary(self) -> Self {
            self
        }
    }

    /// A directory with these records, and with files that are not records.
    fn directory(numbers: &[u64]) -> tempfile::TempDir {
        let path = tempfile::tempdir().unwrap();
        for number in numbers {
            std::fs::write(path.path().join(file_name(number)), number.to_string()).unwrap();
        }
        for other in ["7.new", "x.json", "+4.json", "007.json", "README"] {
            std::fs::write(path.path().join(other), "other").unwrap();
        }
        path
    }

    #[test]
    fn a_store_lists_its_records_by_number_and_ignores_other_files() {
        let path = directory(&[30, 4, 100]);
        let store = RecordStore::<Rising>::open(path.path()).unwrap();
        assert_eq!(store.numbers().unwrap(), [Seq(4), Seq(30), Seq(100)]);
        assert_eq!(store.numbers().unwrap().len(), 3, "a second listing");
        assert_eq!(
            store.bytes_of(&[Seq(4), Seq(5), Seq(100)]).unwrap(),
            4,
            "one digit, no file, three digits"
        );
        assert_eq!(store.read(Seq(30)).unwrap(), Some(Rising(Seq(30))));
        assert_eq!(store.read(Seq(5)).unwrap(), None);
    }

    #[test]
    fn pages_follow_one_another_in_either_order_and_the_last_page_has_no_cursor() {
        let path = directory(&[1, 2, 3]);
        let rising = RecordStore::<Rising>::open(path.path()).unwrap();
        let page = Page { items: vec![Rising(Seq(1)), Rising(Seq(2))], next: Some(Seq(2)) };
        assert_eq!(rising.page(None, 2, |_| true).unwrap(), page);
        assert_eq!(
            rising.page(Some(Seq(2)), 2, |_| true).unwrap(),
            Page { items: vec![Rising(Seq(3))], next: None }
        );
        let falling = RecordStore::<Falling>::open(path.path()).unwrap();
        let page = Page { items: vec![Falling(CrashId(3)), Falling(CrashId(2))], next: Some(CrashId(2)) };
        assert_eq!(falling.page(None, 2, |_| true).unwrap(), page);
        let page = Page { items: vec![Falling(CrashId(1))], next: None };
        assert_eq!(falling.page(Some(CrashId(2)), 2, |_| true).unwrap(), page);
    }

    #[test]
    fn a_page_holds_selected_records_only_and_has_a_cursor_if_another_one_follows() {
        let path = directory(&[1, 2, 3, 4, 5, 6]);
        let store = RecordStore::<Falling>::open(path.path()).unwrap();
        std::fs::write(path.path().join("7.json"), "damaged").unwrap();
        let even = |record: &Falling| record.0.0.is_multiple_of(2);
        let page = |items: &[u64], next: Option<u64>| Page {
            items: items.iter().map(|id| Falling(CrashId(*id))).collect(),
            next: next.map(CrashId),
        };
        assert_eq!(store.page(None, 2, even).unwrap(), page(&[6, 4], Some(4)));
        assert_eq!(store.page(Some(CrashId(4)), 2, even).unwrap(), page(&[2], None));
        assert_eq!(store.page(None, 3, even).unwrap(), page(&[6, 4, 2], None), "no even record follows 2");
    }

    #[test]
    fn a_deleted_directory_is_an_error_and_not_an_empty_list() {
        let path = directory(&[1]);
        let store = RecordStore::<Rising>::open(path.path()).unwrap();
        std::fs::remove_dir_all(path.path()).unwrap();
        std::fs::create_dir(path.path()).unwrap();
        assert!(store.page(None, 2, |_| true).unwrap_err().to_string().contains("deleted"));
        assert!(store.read(Seq(1)).unwrap_err().to_string().contains("deleted"));
    }

    #[test]
    fn a_file_that_is_not_the_named_record_is_an_error() {
        let path = tempfile::tempdir().unwrap();
        let store = RecordStore::<Rising>::open(path.path()).unwrap();
        for text in ["", "{}", "8", &" ".repeat(1000)] {
            std::fs::write(path.path().join(file_name(7)), text).unwrap();
            assert!(store.read(Seq(7)).is_err(), "{text}");
        }
    }
}
