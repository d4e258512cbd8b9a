//! A replica's certificate as TLS clients receive it.

use std::{collections::BTreeSet, io, net::SocketAddr};

use rustls::pki_types::{CertificateDer, ServerName};
use scaivault_certs::client_config;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::{
    extensions::ParsedExtension,
    prelude::{FromDer as _, X509Certificate},
};

use crate::fleet::HOST;

/// Connects as an API server that trusts `authorities` (PEM), and returns the server's certificate.
pub(crate) async fn handshake(address: SocketAddr, authorities: &str) -> io::Result<CertificateDer<'static>> {
    let connector = TlsConnector::from(client_config(authorities.as_bytes()).map_err(io::Error::other)?);
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
    let stream = connector.connect(name, stream).await?;
    let (_, connection) = stream.get_ref();
    let leaf = connection.peer_certificates().and_then(|chain| chain.first());
    Ok(leaf.expect("a server always shows its certificate").clone().into_owned())
}

/// The certificates that were received.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Their serial numbers.
    pub(crate) leaves: BTreeSet<Vec<u8>>,
    /// The key identifiers of the authorities that signed them.
    pub(crate) authorities: BTreeSet<Vec<u8>>,
}

impl Census {
    /// Records a received leaf.
    pub(crate) fn count(&mut self, leaf: &CertificateDer<'_>) {
        let (_, parsed) = X509Certificate::from_der(leaf).unwrap();
        self.leaves.insert(parsed.raw_serial().to_vec());
        let signer = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(signer) => signer.key_identifier.as_ref(),
            _ => None,
        });
        self.authorities.insert(signer.expect("a leaf names its authority's key").0.to_vec());
    }
}
