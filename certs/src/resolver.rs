//! Selects the certificate of a handshake.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Serves one certificate for all requested names. It can be replaced at any time without a lock;
/// open connections keep theirs.
#[derive(Default)]
pub struct CertResolver {
    current: ArcSwapOption<CertifiedKey>,
}

impl CertResolver {
    /// Starts with a certificate.
    pub fn new(key: CertifiedKey) -> Self {
        Self { current: ArcSwapOption::from_pointee(key) }
    }

    /// Starts without a certificate: handshakes fail until one is set.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Sets the certificate for later handshakes.
    pub fn replace(&self, key: CertifiedKey) {
        self.current.store(Some(Arc::new(key)));
    }

    /// The certificate that a handshake would get now.
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
