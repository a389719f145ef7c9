//! A network that is in memory all the time, or only while it is needed.

use anyhow::Result;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A network of a model.
pub struct Part<'a, T> {
    network: Mutex<Option<Arc<T>>>,
    /// Loads the network again after it was freed. `None` if it is never freed.
    load: Option<Box<dyn Fn() -> Result<T> + Send + Sync + 'a>>,
}

impl<'a, T> Part<'a, T> {
    /// Returns a network that stays in memory.
    pub fn kept(network: T) -> Self {
        Self { network: Mutex::new(Some(Arc::new(network))), load: None }
    }

    /// Returns a network that is loaded when it is needed.
    pub fn on_demand(load: impl Fn() -> Result<T> + Send + Sync + 'a) -> Self {
        Self { network: Mutex::default(), load: Some(Box::new(load)) }
    }

    /// Returns the network. Loads it if it is not in memory.
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub fn get(&self) -> Result<Arc<T>> {
        let mut network = self.lock();
        Ok(match (&*network, &self.load) {
            (Some(network), _) => network.clone(),
            (None, Some(load)) => network.insert(Arc::new(load()?)).clone(),
            (None, None) => unreachable!("a network without a loader is never freed"),
        })
    }

    /// Frees the memory of the network if it can be loaded again.
    pub fn free(&self) {
        if self.load.is_some() {
            *self.lock() = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<T>>> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    #[test]
    fn a_network_on_demand_is_loaded_again_after_it_was_freed() {
        let loads = AtomicUsize::new(0);
        let part = Part::on_demand(|| Ok(loads.fetch_add(1, Relaxed)));
        assert_eq!((*part.get().unwrap(), *part.get().unwrap()), (0, 0));
        part.free();
        assert_eq!(*part.get().unwrap(), 1);
    }

    #[test]
    fn a_kept_network_is_not_freed() {
        let part = Part::kept(5);
        part.free();
        assert_eq!(*part.get().unwrap(), 5);
    }
}
