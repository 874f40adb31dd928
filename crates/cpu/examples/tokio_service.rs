//! A small TCP service for two tenants, in which `tokio::spawn` was replaced by `group.spawn`.
//!
//! A client sends a line with its tenant's name and how much it wants computed, and has an answer. `batch`
//! asks for much, `web` for little, and does not wait for `batch`'s polls.
#![expect(clippy::print_stdout, reason = "it is an example")]

use std::{collections::HashMap, error::Error, sync::Arc, time::Duration};

use fief_core::Registry;
use fief_cpu::{Cpu, Group, Pool};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    runtime::Handle,
};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("by-tenant")?;
    let cpu = registry.register(Cpu::new())?;
    cpu.bind(&hierarchy)?;
    // The workers poll; the runtime's own threads drive its sockets, and rescue who is in a hurry.
    let pool = Pool::builder(&cpu).tokio(Handle::current()).start()?;
    let mut tenants = HashMap::new();
    for name in ["web", "batch"] {
        tenants.insert(name.to_owned(), pool.group(&hierarchy.root().create_child(name)?)?);
    }
    let tenants = Arc::new(tenants);
    tenants["web"].css().set_latency(Duration::from_millis(1))?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let accepting = tokio::spawn(accept(listener, Arc::clone(&tenants)));

    let clients: Vec<_> = (0..8)
        .map(|number| {
            let request = if number == 0 { "web 1000\n" } else { "batch 300000\n" };
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(request.as_bytes()).await?;
                let mut answer = String::new();
                BufReader::new(stream).read_line(&mut answer).await?;
                Ok::<_, std::io::Error>(answer)
            })
        })
        .collect();
    for client in clients {
        print!("{}", client.await??);
    }
    accepting.abort();
    for (name, group) in &*tenants {
        let used = group.css().usage();
        println!(
            "{name} has used {used:?}, and was rescued {} times",
            group.css().stats().own_nr_rescues
        );
    }
    Ok(())
}

/// Reads who it is for, and leaves the rest to the tenant's own jobs.
async fn accept(
    listener: TcpListener,
    tenants: Arc<HashMap<String, Group>>,
) -> Result<(), Failure> {
    loop {
        let (stream, _) = listener.accept().await?;
        let tenants = Arc::clone(&tenants);
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let (name, rest) = line.trim_end().split_once(' ').ok_or("a request has two words")?;
            let count: u64 = rest.parse()?;
            let group = tenants.get(name).ok_or("no such tenant")?;
            let name = name.to_owned();
            // Here it said `tokio::spawn`.
            group.spawn(async move { serve(stream, &name, count).await })?.await??;
            Ok::<_, Failure>(())
        });
    }
}

async fn serve(mut stream: BufReader<TcpStream>, name: &str, count: u64) -> std::io::Result<()> {
    let mut sum: u64 = 0;
    for number in 0..count {
        sum = sum.wrapping_mul(31).wrapping_add(number);
        if number % 10_000 == 0 {
            tokio::task::yield_now().await;
        }
    }
    stream.write_all(format!("{name}: {count} steps to {sum:x}\n").as_bytes()).await
}
