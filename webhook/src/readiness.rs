//! Whether the server accepts requests.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// Ready if every gate is open and the server is not draining. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    draining: AtomicBool,
    gates: Mutex<Vec<Gate>>,
}

impl Readiness {
    /// Ready until a gate is added.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition that is not met yet. `/readyz` reports `name` while it is not met.
    pub fn gate(&self, name: &'static str) -> Gate {
        let gate = Gate { name, open: Arc::default() };
        self.gates().push(gate.clone());
        gate
    }

    /// Returns why the server is not ready.
    pub fn check(&self) -> Result<(), String> {
        if self.is_draining() {
            return Err("draining".to_owned());
        }
        let closed: Vec<_> =
            self.gates().iter().filter(|gate| !gate.is_open()).map(|gate| gate.name).collect();
        if closed.is_empty() { Ok(()) } else { Err(format!("waiting for {}", closed.join(", "))) }
    }

    /// Not ready from now on, and every answer closes its connection.
    pub(crate) fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    fn gates(&self) -> std::sync::MutexGuard<'_, Vec<Gate>> {
        self.shared.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One condition of readiness, for example that the namespaces are in the cache.
#[derive(Clone, Debug)]
pub struct Gate {
    name: &'static str,
    open: Arc<AtomicBool>,
}

impl Gate {
    /// Marks the condition as met.
    pub fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    /// Marks the condition as not met.
    pub fn close(&self) {
        self.open.store(false, Ordering::Relaxed);
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_gates_must_be_open() {
        let readiness = Readiness::new();
        let (first, second) = (readiness.gate("namespaces"), readiness.gate("certificate"));
        assert_eq!(readiness.check(), Err("waiting for namespaces, certificate".to_owned()));
        first.open();
        assert_eq!(readiness.check(), Err("waiting for certificate".to_owned()));
        second.open();
        assert_eq!(readiness.check(), Ok(()));
        first.close();
        assert_eq!(readiness.check(), Err("waiting for namespaces".to_owned()));
    }

    #[test]
    fn a_draining_server_is_not_ready() {
        let readiness = Readiness::new();
        readiness.drain();
        assert_eq!(readiness.check(), Err("draining".to_owned()));
    }
}
