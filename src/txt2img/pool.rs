//! A pool of workers with one queue of tasks. The task of a worker that fails goes back to the queue, for the others.

use anyhow::{Error, Result};
use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The queue of tasks.
struct Queue<T, I> {
    state: Mutex<State<T, I>>,
    /// Notified when a task is done or returned.
    changed: Condvar,
}

struct State<T, I> {
    tasks: I,
    /// The tasks of workers that failed.
    returned: Vec<T>,
    /// The number of tasks in progress.
    in_progress: usize,
    /// Whether no more tasks may be started.
    is_stopped: bool,
}

/// Runs all tasks. A single worker runs on this thread, several run on threads of their own. A worker that fails gets no
/// more tasks and is reported to `on_failure` by its index, unless its error satisfies `is_final`, which stops all workers.
///
/// # Errors
/// If an error satisfies `is_final`, or no worker is left.
pub fn run<T: Send>(
    tasks: impl Iterator<Item = T> + Send,
    mut workers: Vec<impl FnMut(&mut T) -> Result<()> + Send>,
    is_final: impl Fn(&Error) -> bool + Sync,
    on_failure: impl Fn(usize, &Error) + Sync,
) -> Result<()> {
    if let [worker] = &mut workers[..] {
        return tasks.into_iter().try_for_each(|mut task| worker(&mut task));
    }
    let queue = Queue::new(tasks);
    let ends = thread::scope(|scope| {
        let work = |(i, mut worker)| {
            let (queue, is_final, on_failure) = (&queue, &is_final, &on_failure);
            let report = move |error: &Error| {
                if !is_final(error) {
                    on_failure(i, error)
                }
            };
            scope.spawn(move || queue.work(&mut worker, is_final).inspect_err(report))
        };
        let threads: Vec<_> = workers.into_iter().enumerate().map(work).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect::<Vec<_>>()
    });
    let is_done = queue.is_done();
    match ends.into_iter().filter_map(Result::err).reduce(|first, second| if is_final(&first) { first } else { second })
    {
        Some(error) if !is_done => Err(error),
        _ => Ok(()),
    }
}

/// Counts a task as in progress until dropped, so that the others do not wait for a worker that panics.
struct InProgress<'a, T, I: Iterator<Item = T>>(&'a Queue<T, I>);

impl<T, I: Iterator<Item = T>> Drop for InProgress<'_, T, I> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.in_progress -= 1;
        state.is_stopped |= thread::panicking();
        drop(state);
        self.0.changed.notify_all();
    }
}

impl<T, I: Iterator<Item = T>> Queue<T, I> {
    fn new(tasks: I) -> Self {
        let state = State { tasks, returned: vec![], in_progress: 0, is_stopped: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Runs tasks until none is left or the worker fails.
    fn work(&self, worker: &mut impl FnMut(&mut T) -> Result<()>, is_final: impl Fn(&Error) -> bool) -> Result<()> {
        while let Some(mut task) = self.next() {
            let in_progress = InProgress(self);
            let done = worker(&mut task);
            if let Err(error) = &done {
                let mut state = self.lock();
                state.is_stopped |= is_final(error);
                state.returned.push(task);
            }
            drop(in_progress);
            done?;
        }
        Ok(())
    }

    /// Returns the next task. Waits while tasks in progress may still be returned.
    fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.is_stopped {
                return None;
            }
            let returned = state.returned.pop();
            if let Some(task) = returned.or_else(|| state.tasks.next()) {
                state.in_progress += 1;
                return Some(task);
            }
            if state.in_progress == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether all tasks are done.
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
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;

    type Worker<'a> = Box<dyn FnMut(&mut usize) -> Result<()> + Send + 'a>;

    /// Runs `n` tasks on workers of which the i-th fails after `limits[i]` tasks. Returns the result, the tasks done with their
    /// workers, and the workers that failed.
    fn run_limited(n: usize, limits: &[usize]) -> (Result<()>, Vec<(usize, usize)>, Vec<usize>) {
        let (done, failures) = (Mutex::new(vec![]), Mutex::new(vec![]));
        let worker = |(i, limit): (usize, &usize)| {
            let (mut left, done) = (*limit, &done);
            Box::new(move |task: &mut usize| {
                thread::sleep(Duration::from_micros(200));
                ensure!(left > 0, "worker {i} broke");
                left -= 1;
                done.lock().unwrap().push((*task, i));
                Ok(())
            }) as Worker
        };
        let workers = limits.iter().enumerate().map(worker).collect();
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
            let (end, done, failures) = run_limited(50, &vec![usize::MAX; workers]);
            assert!(end.is_ok() && failures.is_empty());
            assert_eq!(tasks(&done), (0..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn several_workers_share_the_work() {
        let (_, done, _) = run_limited(50, &[usize::MAX; 2]);
        assert!((0..2).all(|i| done.iter().filter(|(_, worker)| *worker == i).count() > 5), "{done:?}");
    }

    #[test]
    fn another_worker_takes_the_task_of_one_that_fails() {
        for failing in [vec![3, usize::MAX], vec![0, 5, usize::MAX], vec![usize::MAX, 49]] {
            let (end, done, failures) = run_limited(50, &failing);
            assert!(end.is_ok());
            assert_eq!(tasks(&done), (0..50).collect::<Vec<_>>());
            assert!(failures.len() < failing.len());
        }
    }

    #[test]
    fn a_worker_waits_for_the_last_task_of_another() {
        let workers: Vec<Worker> = vec![
            Box::new(|_| Err(anyhow!("broke")).inspect_err(|_| thread::sleep(Duration::from_millis(50)))),
            Box::new(|_| Ok(())),
        ];
        run(0..2, workers, |_| false, |_, _| ()).unwrap();
    }

    #[test]
    fn without_workers_left_the_last_error_is_returned() {
        let (end, done, failures) = run_limited(50, &[2, 3]);
        assert!(end.unwrap_err().to_string().ends_with("broke"));
        assert_eq!((done.len(), failures.len()), (5, 2));
        assert_eq!(run_limited(50, &[2]).0.unwrap_err().to_string(), "worker 0 broke");
    }

    #[test]
    #[should_panic(expected = "a bug")]
    fn a_panic_of_a_worker_ends_the_others() {
        let worker = |_| -> Worker { Box::new(|task| if *task == 3 { panic!("a bug") } else { Ok(()) }) };
        let _ = run(0..10, (0..3).map(worker).collect(), |_| false, |_, _| ());
    }

    #[test]
    fn a_final_error_stops_all_workers() {
        let (started, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let worker = |_| -> Worker {
            Box::new(|task| {
                started.fetch_add(1, Relaxed);
                ensure!(*task != 3, "the end");
                // Later tasks last until the error is known, however slow the machine is.
                while *task > 3 && !is_over.load(Relaxed) {
                    thread::yield_now();
                }
                Ok(())
            })
        };
        let end = run(
            0..1000,
            (0..3).map(worker).collect(),
            |_| {
                is_over.store(true, Relaxed);
                true
            },
            |_, _| panic!("a final error was reported as a failure"),
        );
        assert_eq!(end.unwrap_err().to_string(), "the end");
        assert!(started.into_inner() < 10);
    }
}
