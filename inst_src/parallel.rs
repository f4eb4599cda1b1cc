//! Work over indices on a few scoped threads.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Kernels keep their scratch on the heap; address space may be limited.
const STACK_BYTES: usize = 1 << 20;

/// Calls `work(state, i)` once for every `i` in `0..n`, on at most `threads` threads.
///
/// `make` builds one state (scratch buffers) per thread. Which thread takes
/// which index is not fixed, so results must depend on the index alone; they
/// come back in index order. The caller's thread is one of the workers.
pub fn map_indexed<S, R, M, W>(n: usize, threads: usize, make: M, work: W) -> Vec<R>
where
    R: Send,
    M: Fn() -> S + Sync,
    W: Fn(&mut S, usize) -> R + Sync,
{
    let threads = threads.clamp(1, n.max(1));
    if threads == 1 {
        let mut state = make();
        return (0..n).map(|i| work(&mut state, i)).collect();
    }
    let next = AtomicUsize::new(0);
    let run = || {
        let mut state = make();
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= n {
                return done;
            }
            done.push((i, work(&mut state, i)));
        }
    };
    let mut parts = std::thread::scope(|scope| {
        // where the system gives no further thread, those that there are do the work
        let others: Vec<_> = (1..threads)
            .map_while(|_| std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, run).ok())
            .collect();
        let mut all = run();
        for other in others {
            match other.join() {
                Ok(part) => all.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    parts.sort_unstable_by_key(|(i, _)| *i);
    parts.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_index_order_for_any_number_of_threads() {
        for threads in [0, 1, 2, 7] {
            let squares = map_indexed(100, threads, || (), |(), i| i * i);
            assert_eq!(squares, (0..100).map(|i| i * i).collect::<Vec<_>>());
        }
        assert!(map_indexed(0, 4, || (), |(), i| i).is_empty());
    }
}
