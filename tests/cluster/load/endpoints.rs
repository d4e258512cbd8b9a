//! Emulates the kubelet's probes and a Service's endpoints for the replicas of a Deployment.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use scaivault_testkit::balancer::Balancer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

use crate::support::injector::Injector;

/// The interval between two checks of /readyz: short compared with every drain delay.
const INTERVAL: Duration = Duration::from_millis(50);

/// A balancer in front of the replicas that are ready.
pub(crate) struct Endpoints {
    /// The address for the API server.
    pub(crate) address: SocketAddr,
    members: Arc<Mutex<Vec<Member>>>,
    following: JoinHandle<()>,
}

#[derive(Clone, Copy)]
struct Member {
    address: SocketAddr,
    ops_address: SocketAddr,
}

impl Endpoints {
    /// Starts without replicas. Needs a multi-threaded runtime, because tests block a thread now
    /// and then.
    pub(crate) async fn start() -> Self {
        let balancer = Balancer::start().await.unwrap();
        let (address, members) = (balancer.address(), Arc::default());
        let following = tokio::spawn(follow(balancer, Arc::clone(&members)));
        Self { address, members, following }
    }

    /// Starts probing its /readyz.
    pub(crate) fn add(&self, injector: &Injector) {
        let member = Member { address: injector.address, ops_address: injector.ops_address };
        self.members.lock().unwrap().push(member);
    }

    /// Removes a replica that has ended, because other processes may get its ports.
    pub(crate) fn remove(&self, address: SocketAddr) {
        self.members.lock().unwrap().retain(|member| member.address != address);
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        self.following.abort();
    }
}

async fn follow(balancer: Balancer, members: Arc<Mutex<Vec<Member>>>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        let looked_at = members.lock().unwrap().clone();
        let mut ready = Vec::new();
        for member in looked_at {
            if is_ready(member.ops_address).await.unwrap_or_default() {
                ready.push(member.address);
            }
        }
        balancer.set_backends(ready);
    }
}

async fn is_ready(ops_address: SocketAddr) -> io::Result<bool> {
    let mut ops = TcpStream::connect(ops_address).await?;
    ops.write_all(b"GET /readyz HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    ops.read_to_string(&mut answer).await?;
    Ok(answer.starts_with("HTTP/1.1 200 "))
}
