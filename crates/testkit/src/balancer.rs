//! Emulates a Service for its clients: one address, and a changing set of backends.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

/// Distributes TCP connections over its backends in turn. Stops on drop; open connections continue.
///
/// A control plane without a network reaches it by a Service of type `ExternalName` with the name
/// `localhost`, and the port in a webhook's configuration. Like a Service, it keeps a connection
/// when its backend is removed, and it does not try another backend when one does not answer.
pub struct Balancer {
    address: SocketAddr,
    backends: Arc<Mutex<Backends>>,
    cuts: Arc<Notify>,
    accepting: JoinHandle<()>,
}

impl Balancer {
    /// Listens on a free port of the loopback address, without backends. Needs a tokio runtime, on
    /// which it runs.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let backends = Arc::new(Mutex::new(Backends::default()));
        let cuts = Arc::new(Notify::new());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&backends), Arc::clone(&cuts)));
        Ok(Self { address, backends, cuts, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the backends for new connections; without backends they are reset.
    pub fn set_backends(&self, addresses: impl IntoIterator<Item = SocketAddr>) {
        lock(&self.backends).addresses = addresses.into_iter().collect();
    }

    /// Ends the connections that are open.
    pub fn cut(&self) {
        self.cuts.notify_waiters();
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Default)]
struct Backends {
    addresses: Vec<SocketAddr>,
    turn: usize,
}

impl Backends {
    fn next(&mut self) -> Option<SocketAddr> {
        let chosen = self.addresses.get(self.turn % self.addresses.len().max(1)).copied();
        self.turn = self.turn.wrapping_add(1);
        chosen
    }
}

/// No code panics while the lock is held.
fn lock(backends: &Mutex<Backends>) -> MutexGuard<'_, Backends> {
    backends.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, backends: Arc<Mutex<Backends>>, cuts: Arc<Notify>) {
    // A failed accept only affects that connection.
    loop {
        if let Ok((client, _)) = listener.accept().await {
            let backend = lock(&backends).next();
            let cuts = Arc::clone(&cuts);
            tokio::spawn(async move {
                tokio::select! {
                    () = connect(client, backend) => {}
                    () = cuts.notified() => {}
                }
            });
        }
    }
}

async fn connect(mut client: TcpStream, backend: Option<SocketAddr>) {
    let server = match backend {
        Some(address) => TcpStream::connect(address).await.ok(),
        None => None,
    };
    match server {
        Some(mut server) => {
            // An error ends the connection, which both sides observe.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
        None => {
            // A reset instead of an orderly end, so that the client knows at once that there was no
            // backend.
            let _ = client.set_zero_linger();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A server that sends a letter on each connection, and then echoes.
    async fn greeter(letter: u8) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    stream.write_all(&[letter]).await.unwrap();
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    async fn greeting(balancer: &Balancer) -> (char, TcpStream) {
        let mut stream = TcpStream::connect(balancer.address()).await.unwrap();
        (char::from(stream.read_u8().await.unwrap()), stream)
    }

    #[tokio::test]
    async fn connections_alternate_between_backends() {
        let balancer = Balancer::start().await.unwrap();
        balancer.set_backends([greeter(b'a').await, greeter(b'b').await]);
        let mut greetings = String::new();
        for _ in 0..4 {
            greetings.push(greeting(&balancer).await.0);
        }
        assert_eq!(greetings, "abab");
    }

    #[tokio::test]
    async fn a_removed_backend_only_keeps_its_connections() {
        let balancer = Balancer::start().await.unwrap();
        balancer.set_backends([greeter(b'a').await]);
        let (_, mut open) = greeting(&balancer).await;
        balancer.set_backends([greeter(b'b').await]);
        assert_eq!(greeting(&balancer).await.0, 'b');
        open.write_all(b"still there").await.unwrap();
        let mut said = [0; 11];
        open.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"still there");
    }

    #[tokio::test]
    async fn without_a_backend_a_connection_is_reset() {
        let balancer = Balancer::start().await.unwrap();
        for backends in [vec![], vec![closed_port().await]] {
            balancer.set_backends(backends);
            let mut stream = TcpStream::connect(balancer.address()).await.unwrap();
            let error = stream.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    }

    async fn closed_port() -> SocketAddr {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap()
    }
}
