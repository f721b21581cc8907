//! Several of a thing that threads take turns with.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Things that one thread at a time uses each.
#[derive(Debug)]
pub struct Turns<T> {
    all: Vec<Mutex<T>>,
    next: AtomicUsize,
}

impl<T> Turns<T> {
    /// Takes them over.
    pub fn new(all: impl IntoIterator<Item = T>) -> Turns<T> {
        Turns { all: all.into_iter().map(Mutex::new).collect(), next: AtomicUsize::new(0) }
    }

    /// One that is free, or the next, once it is; nothing where there are none.
    pub fn take(&self) -> Option<MutexGuard<'_, T>> {
        if let Some(free) = self.all.iter().find_map(|one| one.try_lock().ok()) {
            return Some(free);
        }
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.at(next % self.all.len().max(1))
    }

    /// This one, once it is free; nothing where there are not so many.
    pub fn at(&self, place: usize) -> Option<MutexGuard<'_, T>> {
        self.all.get(place).map(|one| one.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_gets_what_is_free() {
        let turns = Turns::new([1, 2]);
        let first = turns.take().unwrap();
        assert_eq!(*turns.take().unwrap(), 2);
        drop(first);
        assert_eq!(*turns.take().unwrap(), 1);
        assert_eq!(*turns.at(1).unwrap(), 2);
        assert!(turns.at(2).is_none() && Turns::<u8>::new([]).take().is_none());
    }

    #[test]
    fn nobody_waits_for_ever_where_all_are_taken() {
        let turns = Turns::new([0usize, 0]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| *turns.take().unwrap() += 1));
            }
        });
        assert_eq!(*turns.at(0).unwrap() + *turns.at(1).unwrap(), 400);
    }
}
