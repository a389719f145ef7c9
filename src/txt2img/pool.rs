//! Tasks shared out among workers: each takes the next when it is done with one; what one fails at, another takes.

use anyhow::{Error, Result};
use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// What is left to do.
struct Queue<T, I> {
    state: Mutex<State<T, I>>,
    changed: Condvar,
}

struct State<T, I> {
    tasks: I,
    /// By workers that failed.
    returned: Vec<T>,
    /// How many tasks are being worked at.
    under_way: usize,
    /// Whether nothing more is to be begun.
    is_stopped: bool,
}

/// Has all tasks done. One worker works on this thread, several have threads of their own. A worker that fails gets no
/// more tasks, and `failed` is told of it by its number; unless `stops` says of its error that it ends everything.
///
/// # Errors
/// That one; or the last worker's.
pub fn run<T: Send>(
    tasks: impl Iterator<Item = T> + Send,
    mut workers: Vec<impl FnMut(&mut T) -> Result<()> + Send>,
    stops: impl Fn(&Error) -> bool + Sync,
    failed: impl Fn(usize, &Error) + Sync,
) -> Result<()> {
    if let [worker] = &mut workers[..] {
        return tasks.into_iter().try_for_each(|mut task| worker(&mut task));
    }
    let queue = Queue::new(tasks);
    let ends = thread::scope(|scope| {
        let work = |(number, mut worker)| {
            let (queue, stops, failed) = (&queue, &stops, &failed);
            let report = move |error: &Error| {
                if !stops(error) {
                    failed(number, error)
                }
            };
            scope.spawn(move || queue.work(&mut worker, stops).inspect_err(report))
        };
        let threads: Vec<_> = workers.into_iter().enumerate().map(work).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect::<Vec<_>>()
    });
    let is_done = queue.is_done();
    match ends.into_iter().filter_map(Result::err).reduce(|one, other| if stops(&one) { one } else { other }) {
        Some(error) if !is_done => Err(error),
        _ => Ok(()),
    }
}

/// Counts a task until it is dropped: a worker that panics leaves nobody waiting.
struct UnderWay<'a, T, I: Iterator<Item = T>>(&'a Queue<T, I>);

impl<T, I: Iterator<Item = T>> Drop for UnderWay<'_, T, I> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.under_way -= 1;
        state.is_stopped |= thread::panicking();
        drop(state);
        self.0.changed.notify_all();
    }
}

impl<T, I: Iterator<Item = T>> Queue<T, I> {
    fn new(tasks: I) -> Self {
        let state = State { tasks, returned: vec![], under_way: 0, is_stopped: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn work(&self, worker: &mut impl FnMut(&mut T) -> Result<()>, stops: impl Fn(&Error) -> bool) -> Result<()> {
        while let Some(mut task) = self.next() {
            let under_way = UnderWay(self);
            let done = worker(&mut task);
            if let Err(error) = &done {
                let mut state = self.lock();
                state.is_stopped |= stops(error);
                state.returned.push(task);
            }
            drop(under_way);
            done?;
        }
        Ok(())
    }

    /// The next task, waited for while one that is under way may still come back.
    fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.is_stopped {
                return None;
            }
            let returned = state.returned.pop();
            if let Some(task) = returned.or_else(|| state.tasks.next()) {
                state.under_way += 1;
                return Some(task);
            }
            if state.under_way == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_done(&self) -> bool {
        let mut state = self.lock();
        !state.is_stopped && state.returned.is_empty() && state.tasks.next().is_none()
    }

    fn lock(&self) -> MutexGuard<'_, State<T, I>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{anyhow, ensure};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;

    type Worker<'a> = Box<dyn FnMut(&mut usize) -> Result<()> + Send + 'a>;

    /// Which tasks were done, and by whom, by workers of which the i-th fails at its `lasts[i]`-th task.
    fn shared(n: usize, lasts: &[usize]) -> (Result<()>, Vec<(usize, usize)>, Vec<usize>) {
        let (done, failures) = (Mutex::new(vec![]), Mutex::new(vec![]));
        let worker = |(i, last): (usize, &usize)| {
            let (mut left, done) = (*last, &done);
            Box::new(move |task: &mut usize| {
                thread::sleep(Duration::from_micros(200));
                ensure!(left > 0, "worker {i} broke");
                left -= 1;
                done.lock().unwrap().push((*task, i));
                Ok(())
            }) as Worker
        };
        let workers = lasts.iter().enumerate().map(worker).collect();
        let end = run(0..n, workers, |_| false, |i, _| failures.lock().unwrap().push(i));
        let mut done = done.into_inner().unwrap();
        done.sort();
        (end, done, failures.into_inner().unwrap())
    }

    fn tasks(done: &[(usize, usize)]) -> Vec<usize> {
        done.iter().map(|(task, _)| *task).collect()
    }

    #[test]
    fn every_task_is_done_once() {
        for workers in 1..5 {
            let (end, done, failures) = shared(50, &vec![usize::MAX; workers]);
            assert!(end.is_ok() && failures.is_empty());
            assert_eq!(tasks(&done), (0..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn several_workers_share_the_work() {
        let (_, done, _) = shared(50, &[usize::MAX; 2]);
        assert!((0..2).all(|i| done.iter().filter(|(_, worker)| *worker == i).count() > 5), "{done:?}");
    }

    #[test]
    fn what_a_worker_fails_at_another_does() {
        for failing in [vec![3, usize::MAX], vec![0, 5, usize::MAX], vec![usize::MAX, 49]] {
            let (end, done, failures) = shared(50, &failing);
            assert!(end.is_ok());
            assert_eq!(tasks(&done), (0..50).collect::<Vec<_>>());
            assert!(failures.len() < failing.len());
        }
    }

    #[test]
    fn the_last_task_may_come_back() {
        let workers: Vec<Worker> = vec![
            Box::new(|_| Err(anyhow!("broke")).inspect_err(|_| thread::sleep(Duration::from_millis(50)))),
            Box::new(|_| Ok(())),
        ];
        run(0..2, workers, |_| false, |_, _| ()).unwrap();
    }

    #[test]
    fn without_workers_left_the_last_error_is_told() {
        let (end, done, failures) = shared(50, &[2, 3]);
        assert!(end.unwrap_err().to_string().ends_with("broke"));
        assert_eq!((done.len(), failures.len()), (5, 2));
        assert_eq!(shared(50, &[2]).0.unwrap_err().to_string(), "worker 0 broke");
    }

    #[test]
    #[should_panic(expected = "the worst")]
    fn a_panic_leaves_nobody_waiting() {
        let worker = |_| -> Worker { Box::new(|task| if *task == 3 { panic!("the worst") } else { Ok(()) }) };
        let _ = run(0..10, (0..3).map(worker).collect(), |_| false, |_, _| ());
    }

    #[test]
    fn some_errors_end_everything() {
        let begun = AtomicUsize::new(0);
        let worker = |_| -> Worker {
            Box::new(|task| {
                begun.fetch_add(1, Relaxed);
                thread::sleep(Duration::from_millis(1));
                if *task == 3 { Err(anyhow!("the end")) } else { Ok(()) }
            })
        };
        let end = run(0..1000, (0..3).map(worker).collect(), |_| true, |_, _| panic!("it is no failure"));
        assert_eq!(end.unwrap_err().to_string(), "the end");
        assert!(begun.into_inner() < 10);
    }
}
