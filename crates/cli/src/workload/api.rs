//! Tenant `api`, the server's side: every request is a member of its user's group.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};
use crossbeam_channel::{Receiver, Sender, select};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    soak::{
        bench::{Bench, Compute as _},
        cancel::Cancel,
        dropper::Batch,
        gate::Generation,
        lookup::Lookups,
        operation::Operation,
        sample::{Latencies, Sampler},
        stage::{Stage, Who},
        tree,
    },
    sync::{Arc, Flag},
    workload::protocol::{Answer, Request},
};

/// The listening socket, and the flag that ends it.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
    closing: Flag,
}

/// A thread that serves one connection after the other.
#[derive(Debug)]
pub(crate) struct Worker<'a> {
    stage: &'a Stage,
    bench: Bench,
    cancel: Arc<Cancel>,
    connections: Receiver<TcpStream>,
    dropper: Sender<Batch>,
    sampler: Sampler,
    lookups: Lookups<'a>,
}

impl Server {
    /// Listens on `port` of the loopback address; 0 takes any free one.
    ///
    /// # Errors
    ///
    /// Names the address, and says so when it is in use.
    pub(crate) fn listen(port: u16) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => anyhow::anyhow!(
                "cannot listen on {address}: the address is in use; \
                 choose another with --port, or 0 for any free one"
            ),
            _ => anyhow::Error::new(error).context(format!("cannot listen on {address}")),
        })?;
        let address = listener.local_addr().context("cannot tell the address listened on")?;
        Ok(Self { listener, address, closing: Flag::default() })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections and passes them on, until closed.
    ///
    /// # Errors
    ///
    /// Those of accepting, but for a client that was gone before it was accepted.
    pub(crate) fn accept(&self, connections: &Sender<TcpStream>) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok(_) if self.closing.is_raised() => return Ok(()),
                // Nobody receives once all workers have failed; their errors say why.
                Ok((stream, _)) => drop(connections.send(stream)),
                Err(error) if is_transient(&error) => {}
                Err(error) => {
                    return Err(error).context(format!("cannot accept on {}", self.address));
                }
            }
        }
    }

    /// Ends [`Server::accept`], with a connection that wakes it.
    pub(crate) fn close(&self) {
        self.closing.raise();
        // An error means that nobody listens any more.
        TcpStream::connect(self.address).ok();
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

impl<'a> Worker<'a> {
    /// Made on the thread that works: lookups are its own.
    ///
    /// # Errors
    ///
    /// Those of making a task.
    pub(crate) fn new(
        stage: &'a Stage,
        index: u32,
        connections: Receiver<TcpStream>,
        dropper: Sender<Batch>,
    ) -> Result<Self> {
        let bench = Bench::new(stage, Who::Api, &format!("api-{index}"))?;
        let cancel = Cancel::new(&stage.tenant(Who::Api).tally);
        bench.watch(&cancel)?;
        let (sampler, lookups) = (stage.sampler(), Lookups::new(stage));
        Ok(Self { stage, bench, cancel, connections, dropper, sampler, lookups })
    }

    /// Works until the soak ends, whatever is killed meanwhile.
    ///
    /// # Errors
    ///
    /// Those of the registry.
    pub(crate) fn run(mut self) -> Result<Latencies> {
        let gate = &self.stage.tenant(Who::Api).gate;
        while let Some(inside) =
            gate.enter(|now| tree::enter(self.stage, Who::Api, self.bench.task(), &now.group))?
        {
            while let Some(stream) = self.next_connection() {
                self.serve(stream, &inside.generation)?;
            }
            self.stage.trees.leave(self.bench.task())?;
            self.cancel.reset();
            self.bench.watch(&self.cancel)?;
        }
        Ok(self.sampler.into_latencies())
    }

    /// Waits for a connection; `None` after a kill or when the server is closed.
    fn next_connection(&self) -> Option<TcpStream> {
        if self.cancel.is_cancelled() {
            return None;
        }
        select! {
            recv(self.connections) -> stream => stream.ok(),
            recv(self.cancel.woken()) -> _ => None,
        }
    }

    /// Answers requests until the connection ends, for whatever reason.
    fn serve(&mut self, mut stream: TcpStream, generation: &Generation) -> Result<()> {
        let Ok(watched) = prepare(&stream) else { return Ok(()) };
        self.cancel.watch(Some(watched));
        while let Ok(Some(request)) = Request::read(&mut stream) {
            let Some(answer) = self.answer(&request, generation)? else { break };
            if answer.write(&mut stream).is_err() {
                break;
            }
        }
        self.cancel.watch(None);
        Ok(())
    }

    /// Computes an answer, as a member of the user's group.
    ///
    /// `None` for a request that makes no sense, or that was killed.
    fn answer(&mut self, request: &Request, generation: &Generation) -> Result<Option<Answer>> {
        let Self { stage, bench, cancel, dropper, sampler, lookups, .. } = self;
        let Some(user) = generation.users.get(request.user as usize) else { return Ok(None) };
        let task = stage.trees.registry.create_task(&format!("request-{}", request.id))?;
        cancel.stop_with(&task);
        // What computes for it goes along.
        stage.trees.join_all(&[&task, bench.task()], user)?;

        let mut operation = Operation::begin(stage, Who::Api, &task, dropper, sampler)?;
        let mut bytes = 0;
        let first = request.first as usize;
        let rows = first..first + request.count.min(MAX_ROWS) as usize;
        for row in rows.clone() {
            let text = stage.input.data.text(row..row + 1);
            let Some(text) = text.filter(|_| !cancel.is_cancelled()) else {
                operation.hand_over()?;
                return Ok(None);
            };
            operation.charge(1, text.len() as u64, sampler, lookups)?;
            bytes += text.len() as u64;
        }
        let data = Arc::clone(&stage.input.data);
        let hash = bench.run(move || xxh3_64(data.text(rows).unwrap_or_default()))?;
        if hash.is_some() {
            operation.count(bytes);
        }
        operation.hand_over()?;
        Ok(hash.map(|hash| Answer { id: request.id, hash }))
    }
}

/// Sets a connection up; returns a second handle to it.
fn prepare(stream: &TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE))?;
    stream.try_clone()
}

/// How many rows a request may ask for.
pub(crate) const MAX_ROWS: u32 = 32;

/// How long a connection may be silent: a stranger who connects does not keep a worker for longer.
const IDLE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    use crate::sync::thread;

    #[test]
    fn a_port_in_use_is_named() {
        let server = Server::listen(0).unwrap();
        let error = Server::listen(server.address().port()).unwrap_err().to_string();
        assert!(error.contains(&server.address().to_string()), "{error}");
        assert!(error.contains("in use"), "{error}");
    }

    #[test]
    fn connections_are_passed_on_until_the_server_closes() {
        let server = Server::listen(0).unwrap();
        let (sender, connections) = crossbeam_channel::unbounded();
        thread::scope(|scope| {
            let accepting = scope.spawn(|| server.accept(&sender));
            let client = TcpStream::connect(server.address()).unwrap();
            let accepted = connections.recv().unwrap();
            assert_eq!(accepted.peer_addr().unwrap(), client.local_addr().unwrap());
            server.close();
            accepting.join().unwrap().unwrap();
        });
    }
}
