//! `Mutex`, `RwLock` and `Condvar` without poisoning.
//!
//! A panic in a recorder thread is caught and ends the run with a message. Until then the other
//! threads must count their lines and write the ledger, so a lock that the panicking thread held
//! must not make them panic too. The types have the interface of the unstable
//! `std::sync::nonpoison` and can be replaced by it once that is stable.

use std::sync::{self, MutexGuard, PoisonError, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// [`std::sync::Mutex`] whose `lock` cannot fail.
#[derive(Debug, Default)]
pub struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// [`std::sync::RwLock`] whose `read` and `write` cannot fail.
#[derive(Debug, Default)]
pub struct RwLock<T>(sync::RwLock<T>);

impl<T> RwLock<T> {
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// [`std::sync::Condvar`] whose waits cannot fail.
#[derive(Debug, Default)]
pub struct Condvar(sync::Condvar);

impl Condvar {
    pub const fn new() -> Self {
        Self(sync::Condvar::new())
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until notified or until `timeout` has passed. The caller checks which, as wakeups
    /// can be spurious.
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> MutexGuard<'a, T> {
        let (guard, _) = self
            .0
            .wait_timeout(guard, timeout)
            .unwrap_or_else(PoisonError::into_inner);
        guard
    }

    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn locks_work_after_a_panic_of_their_holder() {
        let shared = Arc::new((Mutex::new(1), RwLock::<i32>::default(), Condvar::new()));
        let holder = Arc::clone(&shared);
        let panicked = std::thread::spawn(move || {
            let _mutex = holder.0.lock();
            let _lock = holder.1.write();
            panic!("while holding both locks");
        });
        assert!(panicked.join().is_err());
        let (mutex, lock, condvar) = &*shared;
        *lock.write() += 1;
        assert_eq!(*lock.read(), 1);
        let guard = condvar.wait_timeout(mutex.lock(), Duration::from_millis(1));
        assert_eq!(*guard, 1);
    }

    #[test]
    fn a_notified_thread_wakes_up() {
        let (mutex, condvar) = (Mutex::new(false), Condvar::new());
        std::thread::scope(|threads| {
            threads.spawn(|| {
                *mutex.lock() = true;
                condvar.notify_all();
            });
            let mut guard = mutex.lock();
            while !*guard {
                guard = condvar.wait(guard);
            }
        });
    }
}
