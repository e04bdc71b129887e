//! A folder of JSON files, `NUMBER.json` each, that the supervisor alone writes. Others hold it read-only, by its fd.

use rustix::{
    fs::{Dir, Mode, OFlags, fstat, openat},
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

/// The end of a file's name.
const SUFFIX: &str = ".json";

/// What a file holds.
pub trait Record: Serialize + DeserializeOwned {
    /// What tells it from the others.
    type Number: Copy + Ord + Debug + Display + FromStr + Serialize + DeserializeOwned;
    /// The longest file that is read, in bytes.
    const MAX_FILE: u64;
    /// How they are listed.
    const ORDER: Order;

    /// Its number.
    fn number(&self) -> Self::Number;

    /// As lists show it.
    #[must_use]
    fn summary(self) -> Self;
}

/// An order of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Rising.
    OldestFirst,
    /// Falling.
    NewestFirst,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Page<T: Record> {
    /// What is on it.
    pub items: Vec<T>,
    /// Behind which one the next page begins, if there is one.
    pub next: Option<T::Number>,
}

/// The folder, for reading.
#[derive(Debug)]
pub struct RecordStore<T> {
    fd: OwnedFd,
    of: PhantomData<fn() -> T>,
}

impl<T> From<OwnedFd> for RecordStore<T> {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, of: PhantomData }
    }
}

impl<T> From<RecordStore<T>> for OwnedFd {
    fn from(folder: RecordStore<T>) -> Self {
        folder.fd
    }
}

/// The name of a file.
#[must_use]
pub fn file_name(number: impl Display) -> String {
    format!("{number}{SUFFIX}")
}

impl<T: Record> RecordStore<T> {
    /// Opens it.
    ///
    /// # Errors
    /// When it is not there, or no folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
    }

    /// The numbers that are there, in order. Other files are passed over.
    ///
    /// # Errors
    /// When the folder cannot be read, or was deleted.
    pub fn numbers(&self) -> io::Result<Vec<T::Number>> {
        self.is_there()?;
        let mut numbers: Vec<T::Number> = Vec::new();
        for item in Dir::read_from(&self.fd)? {
            let item = item?;
            let Ok(name) = item.file_name().to_str() else { continue };
            let number = name.strip_suffix(SUFFIX).and_then(|number| number.parse::<T::Number>().ok());
            // As it is written: `+7.json` and `007.json` are not number 7.
            numbers.extend(number.filter(|number| file_name(number) == name));
        }
        numbers.sort_unstable();
        match T::ORDER {
            Order::OldestFirst => {}
            Order::NewestFirst => numbers.reverse(),
        }
        Ok(numbers)
    }

    /// The first ones, or those behind `after`, at most so many, in summary. What was removed meanwhile or cannot be read is
    /// left out.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn page(&self, after: Option<T::Number>, most: usize) -> io::Result<Page<T>> {
        let mut numbers = self.numbers()?;
        numbers.retain(|number| {
            after.is_none_or(|after| match T::ORDER {
                Order::OldestFirst => *number > after,
                Order::NewestFirst => *number < after,
            })
        });
        let more = numbers.len() > most;
        numbers.truncate(most);
        let next = numbers.last().copied().filter(|_| more);
        let items = numbers.into_iter().filter_map(|number| self.read(number).ok().flatten());
        Ok(Page { items: items.map(T::summary).collect(), next })
    }

    /// A folder that was deleted would look empty for ever, though there is another one at its place.
    fn is_there(&self) -> io::Result<()> {
        if fstat(&self.fd)?.st_nlink == 0 {
            let what = "their folder was deleted: whoever holds it must be restarted to see the one that is there now";
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        Ok(())
    }

    /// One of them; none when it is not (or no longer) there.
    ///
    /// # Errors
    /// When it cannot be read, or is not what the supervisor writes.
    pub fn read(&self, number: T::Number) -> io::Result<Option<T>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match openat(self.fd.as_fd(), file_name(number), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return self.is_there().map(|()| None),
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
            Err(damaged(format!("it speaks of number {}", item.number())))
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

    /// A folder with these files, and others.
    fn folder(numbers: &[u64]) -> tempfile::TempDir {
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
    fn a_folder_shows_what_it_holds_by_number_and_passes_over_other_files() {
        let path = folder(&[30, 4, 100]);
        let folder = RecordStore::<Rising>::open(path.path()).unwrap();
        assert_eq!(folder.numbers().unwrap(), [Seq(4), Seq(30), Seq(100)]);
        assert_eq!(folder.numbers().unwrap().len(), 3, "and again");
        assert_eq!(folder.read(Seq(30)).unwrap(), Some(Rising(Seq(30))));
        assert_eq!(folder.read(Seq(5)).unwrap(), None);
    }

    #[test]
    fn pages_follow_one_another_in_either_order_and_the_last_one_says_so() {
        let path = folder(&[1, 2, 3]);
        let rising = RecordStore::<Rising>::open(path.path()).unwrap();
        let page = Page { items: vec![Rising(Seq(1)), Rising(Seq(2))], next: Some(Seq(2)) };
        assert_eq!(rising.page(None, 2).unwrap(), page);
        assert_eq!(rising.page(Some(Seq(2)), 2).unwrap(), Page { items: vec![Rising(Seq(3))], next: None });
        let falling = RecordStore::<Falling>::open(path.path()).unwrap();
        let page = Page { items: vec![Falling(CrashId(3)), Falling(CrashId(2))], next: Some(CrashId(2)) };
        assert_eq!(falling.page(None, 2).unwrap(), page);
        let page = Page { items: vec![Falling(CrashId(1))], next: None };
        assert_eq!(falling.page(Some(CrashId(2)), 2).unwrap(), page);
    }

    #[test]
    fn a_folder_that_was_deleted_says_so_instead_of_being_empty() {
        let path = folder(&[1]);
        let folder = RecordStore::<Rising>::open(path.path()).unwrap();
        std::fs::remove_dir_all(path.path()).unwrap();
        std::fs::create_dir(path.path()).unwrap();
        assert!(folder.page(None, 2).unwrap_err().to_string().contains("deleted"));
        assert!(folder.read(Seq(1)).unwrap_err().to_string().contains("deleted"));
    }

    #[test]
    fn a_file_that_is_no_item_or_another_one_is_an_error() {
        let path = tempfile::tempdir().unwrap();
        let folder = RecordStore::<Rising>::open(path.path()).unwrap();
        for text in ["", "{}", "8", &" ".repeat(1000)] {
            std::fs::write(path.path().join(file_name(7)), text).unwrap();
            assert!(folder.read(Seq(7)).is_err(), "{text}");
        }
    }
}
