//! The same work on many things at once.

use std::num::NonZero;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// More threads than cores: on a network drive they mostly wait.
const THREADS: usize = 8;

/// So many wait side by side for a cache on a slow drive.
const WAITING_THREADS: usize = 48;

/// Asked once: Rust reads the files of all control groups for it.
static CORES: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get));

/// Work that takes longer than this gets one more thread, for starting one takes a quarter of it.
const WORTH_A_THREAD: Duration = Duration::from_micros(200);

/// Whoever takes as long for an item, or for each entry of one, waits for a drive.
const SLOW: Duration = Duration::from_millis(2);

/// So many times as many threads wait for it then.
const GROWTH: usize = 4;

/// Maps `items`, with the help of a few threads if that takes longer. All have ended on return: the caller may fork.
pub(crate) fn parallel<T: Sync, R: Send>(items: &[T], map: impl Fn(&T) -> R + Sync) -> Vec<R> {
    on_threads(&Threads { first: 1, slow: THREADS }, items, |_| 1, map)
}

/// The same where each item changes so many entries of a disk.
pub(crate) fn parallel_changing<T: Sync, R: Send>(
    items: &[T],
    entries: impl Fn(&T) -> usize,
    map: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    on_threads(&Threads { first: 1, slow: THREADS }, items, entries, map)
}

/// The same where each item is work for a while.
pub(crate) fn parallel_work<T: Sync, R: Send>(items: &[T], map: impl Fn(&T) -> R + Sync) -> Vec<R> {
    on_threads(&Threads { first: THREADS, slow: THREADS }, items, |_| 1, map)
}

/// The same where each item asks a cache, which may be on a drive that is far away: then most threads wait, and more of them
/// wait side by side.
pub(crate) fn parallel_asking<T: Sync, R: Send>(items: &[T], map: impl Fn(&T) -> R + Sync) -> Vec<R> {
    on_threads(&Threads { first: 1, slow: WAITING_THREADS }, items, |_| 1, map)
}

/// How many threads there are in the beginning, and where items are slow. Where there is much to do that is not, there is one for each
/// core: more would wait for each other's locks (btrfs), and for a core, which looks as if they waited for a drive.
struct Threads {
    first: usize,
    slow: usize,
}

/// `entries`: what an item counts for.
fn on_threads<T: Sync, R: Send>(
    threads: &Threads,
    items: &[T],
    entries: impl Fn(&T) -> usize,
    map: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let one = || {
        let index = next.fetch_add(1, Ordering::Relaxed);
        items.get(index).map(|item| (index, map(item)))
    };
    let work = || std::iter::from_fn(one).collect::<Vec<_>>();
    let mut done = thread::scope(|scope| {
        // Where no thread can be had, those that are there do it.
        let spawn = |count| (0..count).filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok());
        let mut helpers: Vec<_> = spawn(threads.first.min(items.len()).saturating_sub(1)).collect();
        let (mut done, mut grown, mut started) = (Vec::new(), Instant::now(), Instant::now());
        while let Some((index, result)) = one() {
            done.push((index, result));
            let entries = items.get(index).map_or(1, &entries);
            let (now, running) = (Instant::now(), helpers.len() + 1);
            let wanted = if now - started > SLOW.saturating_mul(u32::try_from(entries).unwrap_or(u32::MAX)) {
                threads.slow.min(GROWTH * running)
            } else if now - grown > WORTH_A_THREAD && running < THREADS.min(*CORES) {
                running + 1
            } else {
                running
            };
            let left = items.len().saturating_sub(next.load(Ordering::Relaxed));
            if wanted > running && left > 0 {
                helpers.extend(spawn(left.min(wanted - running)));
                grown = Instant::now();
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
            thread::sleep(SLOW * 2);
            now.fetch_sub(1, Ordering::SeqCst);
            *item
        });
        assert_eq!(waited, items);
        assert!(most.into_inner() > THREADS);
    }

    #[test]
    fn no_more_start_than_there_is_left_to_do() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        parallel_asking(&[(); 3], |()| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(SLOW * 2);
            now.fetch_sub(1, Ordering::SeqCst);
        });
        assert_eq!(most.into_inner(), 2);
    }
}
