//! Who sends requests, when they are due, whether or not earlier ones were answered; and checks the answers.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    ops::Range,
    time::Duration,
};

use anyhow::{Context as _, Result};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    arrivals::{Arrival, Arrivals},
    config::Requests,
    requests::{Answer, Request},
    tenant::Tenant,
    world::World,
};
use crate::{
    sync::{Arc, Mutex, thread},
    workload::drive::{BLOCK, LIGHT},
};

/// A client with a connection for each user.
#[derive(Debug)]
pub(crate) struct Client {
    world: Arc<World>,
    tenant: Arc<Tenant>,
    requests: Requests,
    connections: Vec<TcpStream>,
    rng: fastrand::Rng,
    /// The rows of requests that are out.
    asked: Mutex<HashMap<u64, Range<usize>>>,
}

/// How long answers are waited for, once nobody asks any more.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a client looks whether that is so.
const LOOK: Duration = Duration::from_millis(200);

impl Client {
    /// Connects for each user.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached.
    pub(crate) fn connect(
        world: &Arc<World>,
        tenant: &Arc<Tenant>,
        requests: &Requests,
        address: SocketAddr,
        seed: u64,
    ) -> Result<Self> {
        let mut connections = Vec::new();
        for _ in 0..*requests.users.get_ref() {
            let connection = TcpStream::connect(address);
            let connection = connection.with_context(|| format!("cannot connect to {address}"))?;
            connection.set_nodelay(true).context("cannot set up a connection")?;
            connections.push(connection);
        }
        let (world, tenant) = (Arc::clone(world), Arc::clone(tenant));
        let rng = fastrand::Rng::with_seed(seed);
        Ok(Self {
            world,
            tenant,
            requests: requests.clone(),
            connections,
            rng,
            asked: Mutex::default(),
        })
    }

    /// Asks until the tenant stops, then waits for the answers.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub(crate) fn run(mut self, arrivals: Arrivals) -> Result<()> {
        let connections = std::mem::take(&mut self.connections);
        thread::scope(|scope| {
            let readers: Vec<_> = connections
                .iter()
                .map(|connection| scope.spawn(|| self.check(connection)))
                .collect();
            let mut rng = self.rng.clone();
            let asked = self.ask(&connections, arrivals, &mut rng);
            for connection in &connections {
                connection.shutdown(Shutdown::Write).ok();
            }
            let checked = readers.into_iter().try_for_each(|reader| {
                reader.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a client panicked")))
            });
            asked.and(checked)
        })
    }

    /// Sends each request when it is due.
    fn ask(
        &self,
        connections: &[TcpStream],
        arrivals: Arrivals,
        rng: &mut fastrand::Rng,
    ) -> Result<()> {
        let start = self.world.now();
        let mut before = Duration::ZERO;
        for arrival in arrivals {
            // Each has a time of its own, which is its name.
            let due = (start + arrival.at).max(before + Duration::from_nanos(1));
            before = due;
            while let Some(left) = due.checked_sub(self.world.now()).filter(|left| !left.is_zero())
            {
                if !self.is_asking() {
                    return Ok(());
                }
                thread::sleep(left.min(Duration::from_millis(50)));
            }
            if !self.is_asking() {
                return Ok(());
            }
            let request = self.request(due, &arrival, rng);
            let mut connection = &connections[rng.usize(..connections.len())];
            let first = request.first as usize;
            self.asked.lock().insert(request.id, first..first + request.count as usize);
            self.tenant.record.offer(due);
            if connection.write_all(&request.to_bytes()).is_err() {
                // Its server was removed.
                return Ok(());
            }
        }
        Ok(())
    }

    fn is_asking(&self) -> bool {
        self.tenant.is_running.is_raised() && !self.world.has_failed()
    }

    fn request(&self, due: Duration, arrival: &Arrival, rng: &mut fastrand::Rng) -> Request {
        let most = u32::try_from(self.world.data.len()).unwrap_or(u32::MAX);
        let count = arrival.rows.unwrap_or(*self.requests.rows.get_ref()).clamp(1, most.min(4096));
        let blocks = u32::try_from((LIGHT.end - LIGHT.start) / BLOCK as u64).unwrap_or(1);
        Request {
            id: u64::try_from(due.as_nanos()).unwrap_or(u64::MAX),
            first: rng.u32(..=most - count),
            count,
            block: rng.u32(..blocks),
        }
    }

    /// Reads answers until the server hangs up, or none comes any more.
    fn check(&self, connection: &TcpStream) -> Result<()> {
        connection.set_read_timeout(Some(LOOK)).context("cannot set up a connection")?;
        let mut waited = Duration::ZERO;
        let mut bytes = [0; Answer::BYTES];
        let mut filled = 0;
        loop {
            match (&*connection).read(&mut bytes[filled..]) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    waited = Duration::ZERO;
                    filled += count;
                    if filled == Answer::BYTES {
                        filled = 0;
                        self.note(Answer::from_bytes(bytes));
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        waited = if self.is_asking() { Duration::ZERO } else { waited + LOOK };
                        if waited > PATIENCE {
                            return Ok(());
                        }
                    }
                    ErrorKind::ConnectionReset => return Ok(()),
                    ErrorKind::Interrupted => {}
                    _ => return Err(error).context("cannot read answers"),
                },
            }
        }
    }

    fn note(&self, answer: Answer) {
        let due = Duration::from_nanos(answer.id);
        let took = self.world.now().saturating_sub(due);
        self.tenant.record.answer(due, took, self.requests.objective);
        self.tenant.tally.operations.add(1);
        let asked = self.asked.lock().remove(&answer.id);
        let text = asked.and_then(|rows| self.world.data.text(rows));
        let is_right = text.is_some_and(|text| xxh3_64(text) == answer.hash);
        self.tenant.tally.wrong.add(u64::from(!is_right));
    }
}
