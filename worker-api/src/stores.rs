//! The record stores that the supervisor writes and the API reads.

use bulkhead_proto::{
    crash,
    fds::{FdName, Inherited},
    folder::{Folder, Numbered},
    quarantine,
};
use serde::Deserialize;

/// The default and the largest number of items on a page.
pub(crate) const PAGE_LIMIT: usize = 100;

/// The stores that the supervisor could open.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    pub(crate) quarantine: Option<quarantine::Folder>,
    pub(crate) crashes: Option<crash::Folder>,
}

/// The query of a list request.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, bound = "")]
pub(crate) struct PageQuery<T: Numbered> {
    pub(crate) limit: usize,
    pub(crate) after: Option<T::Number>,
}

impl<T: Numbered> Default for PageQuery<T> {
    fn default() -> Self {
        Self { limit: PAGE_LIMIT, after: None }
    }
}

impl Stores {
    pub(crate) fn take(inherited: &mut Inherited) -> Self {
        Self {
            quarantine: inherited.take_if_given(FdName::Quarantine).map(Folder::from),
            crashes: inherited.take_if_given(FdName::Crashes).map(Folder::from),
        }
    }
}
