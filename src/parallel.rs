//! The same work on many things at once.

use std::sync::atomic::{AtomicUsize, Ordering};

/// So many items occupy a thread for about as long as starting it takes.
const ITEMS_PER_THREAD: usize = 24;

/// More threads than cores: on a network drive they mostly wait.
const THREADS: usize = 8;

/// Maps `items` on a few threads, all of which have ended on return: the caller may fork.
pub(crate) fn parallel<T: Sync, R: Send>(items: &[T], map: impl Fn(&T) -> R + Sync) -> Vec<R> {
    on_threads(items.len().div_ceil(ITEMS_PER_THREAD).min(THREADS), items, map)
}

/// The same where each item is work for a while.
pub(crate) fn parallel_work<T: Sync, R: Send>(items: &[T], map: impl Fn(&T) -> R + Sync) -> Vec<R> {
    on_threads(items.len().min(THREADS), items, map)
}

fn on_threads<T: Sync, R: Send>(threads: usize, items: &[T], map: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return done;
            };
            done.push((index, map(item)));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for helper in helpers {
            done.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
