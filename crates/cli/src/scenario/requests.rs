//! A tenant that answers requests over TCP, as a tokio server does; each runs in its user's group.

use std::{
    hint::black_box,
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::{Context as _, Result, anyhow};
use fief_core::Cgroup;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    disk::{self, Way},
    member::Member,
    tenant::Tenant,
    world::World,
};
use crate::{
    sync::Arc,
    workload::drive::{BLOCK, Buffer, LIGHT},
};

/// What a client asks: to hash rows, and to read a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// Of the part of the file that is for this.
    pub(crate) block: u32,
}

/// What it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) id: u64,
    pub(crate) hash: u64,
}

/// Memory that a request uses.
const ROOM: u64 = 64 << 10;

/// Opens the port, and serves as many connections as there are users, each a member of a group of its own.
///
/// # Errors
///
/// Names the address, and says so when it is in use; and those of the registry.
pub(crate) fn listen(
    world: &Arc<World>,
    tenant: &Arc<Tenant>,
    users: u32,
    port: u16,
) -> Result<SocketAddr> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = std::net::TcpListener::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow!(
            "cannot listen on {address}: the address is in use; \
             choose another with --port, or 0 for any free one"
        ),
        _ => anyhow::Error::new(error).context(format!("cannot listen on {address}")),
    })?;
    listener.set_nonblocking(true).context("cannot set up the socket")?;
    let address = listener.local_addr().context("cannot tell the address listened on")?;
    let mut members = Vec::new();
    for user in 0..users {
        members.push(world.fork(tenant, &format!("user-{user}"))?);
    }
    let (world, tenant) = (Arc::clone(world), Arc::clone(tenant));
    world.runtime.clone().spawn(async move {
        let served = accept(&world, &tenant, listener, members).await;
        served.unwrap_or_else(|error| world.fail(error));
    });
    Ok(address)
}

async fn accept(
    world: &Arc<World>,
    tenant: &Arc<Tenant>,
    listener: std::net::TcpListener,
    members: Vec<(Member, Vec<Cgroup>)>,
) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    for (member, groups) in members {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (world, tenant) = (Arc::clone(world), Arc::clone(tenant));
        tokio::spawn(async move {
            let served = serve(&world, &tenant, &member, socket).await;
            let gone = world.unfork(&tenant, member, &groups);
            served.and(gone).unwrap_or_else(|error| world.fail(error));
        });
    }
    Ok(())
}

/// Answers requests until the client hangs up.
async fn serve(
    world: &Arc<World>,
    tenant: &Arc<Tenant>,
    member: &Member,
    socket: TcpStream,
) -> Result<()> {
    let (mut requests, writer) = socket.into_split();
    let (answers, to_write) = unbounded_channel();
    let writing = tokio::spawn(write(writer, to_write));
    while let Some(request) = Request::read(&mut requests).await? {
        let job =
            answer(Arc::clone(world), Arc::clone(tenant), member.clone(), request, answers.clone());
        drop(member.spawn(world, tenant, job)?);
    }
    drop(answers);
    writing.await?
}

async fn write(mut writer: OwnedWriteHalf, mut answers: UnboundedReceiver<Answer>) -> Result<()> {
    while let Some(answer) = answers.recv().await {
        // A client that has hung up does not want it.
        if writer.write_all(&answer.to_bytes()).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

async fn answer(
    world: Arc<World>,
    tenant: Arc<Tenant>,
    member: Member,
    request: Request,
    answers: UnboundedSender<Answer>,
) {
    match compute(&world, &tenant, &member, request).await {
        // An error means that the client has hung up.
        Ok(answer) => drop(answers.send(answer)),
        // What is removed answers nobody.
        Err(_) if tenant.is_removed.is_raised() => {}
        Err(error) => world.fail(error),
    }
}

async fn compute(
    world: &Arc<World>,
    tenant: &Arc<Tenant>,
    member: &Member,
    request: Request,
) -> Result<Answer> {
    let mut room = member.reserve(world)?;
    room.grow_async(ROOM).await?;
    let first = request.first as usize;
    let text = world.data.text(first..first + request.count as usize);
    let hash = xxh3_64(black_box(text.unwrap_or_default()));
    let place = LIGHT.start + u64::from(request.block) * BLOCK as u64;
    let read = move |world: &World| {
        let mut block = Buffer::new(BLOCK);
        world.drive.read(block.bytes_mut(), place).map(|()| block.is_block(0, place))
    };
    let of = (Way::Read, BLOCK as u64, place);
    let is_right = disk::operate((world, tenant, member), of, read).await?;
    Ok(Answer { id: request.id, hash: if is_right { hash } else { !hash } })
}

impl Request {
    pub(crate) const BYTES: usize = 20;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        let numbers = [self.first, self.count, self.block];
        for (place, number) in bytes[8..].chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Reads one; `None` at the end.
    async fn read(from: &mut OwnedReadHalf) -> Result<Option<Self>> {
        let Ok(id) = from.read_u64_le().await else { return Ok(None) };
        let mut numbers = [0; 3];
        for number in &mut numbers {
            *number = from.read_u32_le().await?;
        }
        let [first, count, block] = numbers;
        Ok(Some(Self { id, first, count, block }))
    }
}

impl Answer {
    pub(crate) const BYTES: usize = 16;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..].copy_from_slice(&self.hash.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let [id, hash] =
            [&bytes[..8], &bytes[8..]].map(|half| half.try_into().map_or(0, u64::from_le_bytes));
        Self { id, hash }
    }
}
