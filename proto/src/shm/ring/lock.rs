//! The lock of the producer's page: a robust, process-shared mutex (pthread_mutexattr_setrobust(3)).
//!
//! It keeps two API generations in a hand-over, or two threads, from holding two private heads. When an owner dies with
//! it, the next one is told, and loses nothing: an append has no intermediate state that counts.

use super::tail::LOCK;
use crate::shm::segment::ReadWrite;
use std::{io, marker::PhantomData, mem::MaybeUninit};

/// Makes the lock, in a page that nobody uses yet.
///
/// # Errors
/// When the C library has no such mutexes.
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
    // SAFETY: `mutex` is in the mapping (asserted by `address`), aligned to a page, large enough (asserted above), and
    // nobody else uses it yet.
    check(unsafe { libc::pthread_mutex_init(mutex, attributes) })?;
    // SAFETY: initialised above, and not needed any more.
    check(unsafe { libc::pthread_mutexattr_destroy(attributes) })
}

/// The lock, held until dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    page: &'a ReadWrite,
    /// A pthread mutex is unlocked by the thread that locked it: not `Send`.
    thread: PhantomData<*mut ()>,
}

/// Waits for the lock. A former owner's death is no error: the tail is reloaded by every owner anyway.
///
/// # Errors
/// The C library's error number, when the lock was never made or cannot be used any more.
pub(super) fn hold(page: &ReadWrite) -> Result<Held<'_>, libc::c_int> {
    let mutex = page.address(LOCK).cast::<libc::pthread_mutex_t>();
    // SAFETY: made by `init` before any worker was started; mapped as long as `page` lives, which the guard borrows.
    match unsafe { libc::pthread_mutex_lock(mutex) } {
        0 => {}
        libc::EOWNERDEAD => {
            // SAFETY: we own it now, as EOWNERDEAD says.
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
        // SAFETY: locked by this thread: `Held` is made by `hold` alone and is not `Send`.
        unsafe { libc::pthread_mutex_unlock(mutex) };
    }
}
