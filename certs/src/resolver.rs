//! Which certificate a handshake gets.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Serves one certificate, whatever name the client asks for; it can be replaced at any time without a lock. Open
/// connections keep what they were given.
#[derive(Default)]
pub struct CertResolver {
    current: ArcSwapOption<CertifiedKey>,
}

impl CertResolver {
    /// Starts with this certificate.
    pub fn new(key: CertifiedKey) -> Self {
        Self { current: ArcSwapOption::from_pointee(key) }
    }

    /// Starts without a certificate: handshakes fail until one is given.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Handshakes from now on get this certificate.
    pub fn replace(&self, key: CertifiedKey) {
        self.current.store(Some(Arc::new(key)));
    }

    /// What a handshake would get now.
    pub fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

impl ResolvesServerCert for CertResolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

impl fmt::Debug for CertResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertResolver").finish_non_exhaustive()
    }
}
