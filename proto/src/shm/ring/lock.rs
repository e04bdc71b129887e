//! The lock of the producer's page: a robust, process-shared mutex (pthread_mutexattr_setrobust(3)).
//!
//! It keeps two generations of the API in a takeover, and two threads, from writing at two private heads. If an owner dies
//! with the lock, the next owner learns that and loses nothing: an unfinished append has no effect.

use super::tail::LOCK;
use crate::shm::segment::ReadWrite;
use std::{io, marker::PhantomData, mem::MaybeUninit};

/// Creates the lock, in a page that is not in use yet.
///
/// # Errors
/// If the C library does not support such mutexes.
pub(crate) fn init(page: &ReadWrite) -> io::Result<()> {
    const { assert!(size_of::<libc::pthread_mutex_t>() <= 64, "the lock must fit its cache line") };
    let mutex = page.address(LOCK).cast::<libc::pthread_mutex_t>();
    let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    let check = |code: libc::c_int| {
        if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
    };
    // SAFETY: valid memory of the right type, to be initialised.
    check(unsafe { libc::pthread_mutexattr_init(attributes) })?;
    // SAFETY: initialised by the call above.
    check(unsafe { libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) })?;
    // SAFETY: as above.
    check(unsafe { libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) })?;
    // SAFETY: `mutex` is in the mapping (asserted by `address`), page-aligned, large enough (asserted above), and not in
    // use yet.
    check(unsafe { libc::pthread_mutex_init(mutex, attributes) })?;
    // SAFETY: initialised above, and not used afterwards.
    check(unsafe { libc::pthread_mutexattr_destroy(attributes) })
}

/// The lock, held until dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    page: &'a ReadWrite,
    /// The thread that locked a pthread mutex must unlock it: not `Send`.
    thread: PhantomData<*mut ()>,
}

/// Waits for the lock. The death of an owner is not an error, because every owner reloads the tail anyway.
///
/// # Errors
/// The error number of the C library, if the lock was never created or is not usable any more.
pub(super) fn hold(page: &ReadWrite) -> Result<Held<'_>, libc::c_int> {
    let mutex = page.address(LOCK).cast::<libc::pthread_mutex_t>();
    // SAFETY: created by `init` before any worker was started; mapped as long as `page`, which the guard borrows.
    match unsafe { libc::pthread_mutex_lock(mutex) } {
        0 => {}
        libc::EOWNERDEAD => {
            // SAFETY: this thread owns the mutex, as EOWNERDEAD says.
            let code = unsafe { libc::pthread_mutex_consistent(mutex) };
            if code != 0 {
                return Err(code);
            }
        }
        code => return Err(code),
    }
    Ok(Held { page, thread: PhantomData })
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mutex = self.page.address(LOCK).cast::<libc::pthread_mutex_t>();
        // SAFETY: locked by this thread: only `hold` creates `Held`, and `Held` is not `Send`.
        unsafe { libc::pthread_mutex_unlock(mutex) };
    }
}
