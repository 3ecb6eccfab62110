//! The same work on many things at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// So many items occupy a thread for about as long as starting it takes.
const ITEMS_PER_THREAD: usize = 24;

/// More threads than cores: on a network drive they mostly wait.
const THREADS: usize = 8;

/// Maps `items` on a few threads, all of which have ended on return: the caller may fork.
pub(crate) fn parallel<T: Sync, R: Send>(items: &[T], map: impl Fn(&T) -> R + Sync) -> Vec<R> {
    on_threads(threads_for(items), 0, items, map)
}

/// The same where each item is work for a while.
pub(crate) fn parallel_work<T: Sync, R: Send>(items: &[T], map: impl Fn(&T) -> R + Sync) -> Vec<R> {
    on_threads(items.len().min(THREADS), 0, items, map)
}

/// The same where each item asks a cache, which may be on a drive that is far away: then most threads wait, and more of them
/// wait side by side.
pub(crate) fn parallel_asking<T: Sync, R: Send>(items: &[T], map: impl Fn(&T) -> R + Sync) -> Vec<R> {
    on_threads(threads_for(items), WAITING_THREADS, items, map)
}

/// So many threads wait side by side for a slow drive.
const WAITING_THREADS: usize = 48;

/// Whoever takes as long for an item waits for a drive.
const SLOW: Duration = Duration::from_millis(2);

fn threads_for<T>(items: &[T]) -> usize {
    items.len().div_ceil(ITEMS_PER_THREAD).min(THREADS)
}

/// `most`: so many threads where items are slow.
fn on_threads<T: Sync, R: Send>(
    threads: usize,
    most: usize,
    items: &[T],
    map: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let one = || {
        let index = next.fetch_add(1, Ordering::Relaxed);
        items.get(index).map(|item| (index, map(item)))
    };
    let work = || std::iter::from_fn(one).collect::<Vec<_>>();
    let mut done = std::thread::scope(|scope| {
        let mut helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let (mut done, mut started) = (Vec::new(), Instant::now());
        while let Some(result) = one() {
            done.push(result);
            if started.elapsed() > SLOW {
                let running = helpers.len() + 1;
                helpers.extend((running..most.min(2 * running)).map(|_| scope.spawn(work)));
            }
            started = Instant::now();
        }
        for helper in helpers {
            done.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_out_is_in_the_order_of_what_went_in() {
        let items: Vec<usize> = (0..1000).collect();
        let doubled: Vec<usize> = (0..2000).step_by(2).collect();
        assert_eq!(parallel(&items, |item| item * 2), doubled);
        assert_eq!(parallel_work(&items, |item| item * 2), doubled);
        assert!(parallel(&[], |item: &usize| *item).is_empty());
    }

    #[test]
    fn those_who_wait_for_a_drive_get_company() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items: Vec<usize> = (0..200).collect();
        let waited = parallel_asking(&items, |item| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(SLOW * 2);
            now.fetch_sub(1, Ordering::SeqCst);
            *item
        });
        assert_eq!(waited, items);
        assert!(most.into_inner() > THREADS);
    }
}
