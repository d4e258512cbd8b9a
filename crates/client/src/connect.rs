//! From an address to a stream that HTTP can be spoken on: TCP, the proxy, TLS.

use std::{io, sync::Arc};

use http_body_util::Empty;
use hyper::{Request, body::Bytes, client::conn::http1, header, upgrade};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{Address, ErrorKind, Proxy, SetupError, proxy::Way};

/// What HTTP is spoken on.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections to one address.
pub(crate) struct Connector {
    address: Address,
    way: Option<Way>,
    /// None for plain HTTP.
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Connector {
    pub(crate) fn new(
        address: Address,
        proxy: Option<&Proxy>,
        tls: &Arc<ClientConfig>,
    ) -> Result<Self, SetupError> {
        let tls = if address.is_https() {
            let name = ServerName::try_from(address.host().to_owned())
                .map_err(|_| SetupError::Host(address.host().to_owned()))?;
            Some((TlsConnector::from(Arc::clone(tls)), name))
        } else {
            None
        };
        let way = proxy.and_then(|proxy| proxy.way_to(&address));
        Ok(Self { address, way, tls })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// A new connection. Waits without a limit of its own.
    pub(crate) async fn connect(&self) -> Result<Box<dyn Stream>, ErrorKind> {
        let stream: Box<dyn Stream> = match &self.way {
            None => Box::new(tcp(self.address.host(), self.address.port()).await?),
            Some(way) => Box::new(self.tunnel(way).await?),
        };
        let Some((tls, name)) = &self.tls else {
            return Ok(stream);
        };
        match tls.connect(name.clone(), stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(self.tls_error(error)),
        }
    }

    /// Asks the proxy for a tunnel.
    async fn tunnel(&self, way: &Way) -> Result<TokioIo<upgrade::Upgraded>, ErrorKind> {
        let stream = tcp(&way.host, way.port).await?;
        let refused = |status| ErrorKind::Proxy {
            proxy: format!("{}:{}", way.host, way.port),
            address: self.address.host_and_port(),
            status,
        };
        // A proxy that hangs up may be one that is being restarted; one that does not speak HTTP is none.
        let failed = |error: hyper::Error| {
            if error.is_parse() {
                return refused(0);
            }
            ErrorKind::Broken { address: format!("{}:{}", way.host, way.port), source: error.into() }
        };
        let (mut sender, connection) =
            http1::Builder::new().handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(failed)?;
        tokio::spawn(connection.with_upgrades());
        let response = match sender.send_request(self.connect_request(way)).await {
            Ok(response) if response.status().is_success() => response,
            Ok(response) => return Err(refused(response.status().as_u16())),
            Err(error) => return Err(failed(error)),
        };
        let upgraded = upgrade::on(response).await.map_err(failed)?;
        Ok(TokioIo::new(upgraded))
    }

    fn connect_request(&self, way: &Way) -> Request<Empty<Bytes>> {
        let target = self.address.host_and_port();
        let mut request = Request::connect(&target).header(header::HOST, &target);
        if let Some(authorization) = &way.authorization {
            request = request.header(header::PROXY_AUTHORIZATION, authorization);
        }
        request.body(Empty::new()).expect("an address is a host and a port")
    }

    fn tls_error(&self, error: io::Error) -> ErrorKind {
        let address = self.address.host_and_port();
        match error.downcast::<rustls::Error>() {
            Ok(source) => ErrorKind::Tls { address, source },
            Err(source) => ErrorKind::Unreachable { address, source },
        }
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, ErrorKind> {
    let connect = async {
        let stream = TcpStream::connect((host, port)).await?;
        // Requests are small and each is waited for.
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    connect.await.map_err(|source| ErrorKind::Unreachable { address: format!("{host}:{port}"), source })
}
