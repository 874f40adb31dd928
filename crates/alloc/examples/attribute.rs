//! Who has the memory: three tenants, by thread and by future, and what nobody has.
//!
//! `cargo run -p fief-alloc --example attribute`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    error::Error,
    pin::pin,
    task::{Context, Waker},
    thread,
};

use fief_alloc::{Ambient, GroupAlloc, is_installed, settle, stats};
use fief_core::{Limit, Registry, Removal};
use fief_memory::Memory;

#[global_allocator]
static ALLOCATOR: GroupAlloc = GroupAlloc::new();

const KIB: usize = 1 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    if !is_installed() {
        return Err("another allocator is installed".into());
    }
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let memory = registry.register(Memory::new())?;
    memory.bind(&tenants)?;
    let [web, batch] = ["web", "batch"].map(|name| tenants.root().create_child(name));
    let (web, batch) = (web?, batch?);
    let [web_css, batch_css] = [&web, &batch].map(|group| memory.css(group));
    let (web_css, batch_css) = (web_css.ok_or("removed")?, batch_css.ok_or("removed")?);
    batch_css.set_max(Limit::At(1 << 20));
    let (in_web, in_batch) = (Ambient::of(&web_css)?, Ambient::of(&batch_css)?);

    // A thread is in a group for as long as a scope is there.
    let page = in_web.run(|| vec![b' '; 600 * KIB]);
    // A future is, in its polls, on whatever thread they are.
    let mut query = pin!(in_batch.wrap(async { vec![0_u8; 2_000 * KIB] }));
    let mut context = Context::from_waker(Waker::noop());
    let rows = query.as_mut().poll(&mut context);
    let nobodys = vec![0_u8; 300 * KIB];

    println!("web    {:>8} bytes, charged {:>8}", in_web.live(), web_css.current());
    println!("batch  {:>8} bytes, charged {:>8}", in_batch.live(), batch_css.current());
    println!("nobody {:>8} bytes in large blocks", stats().orphan);
    if let Err(error) = batch_css.try_charge(1) {
        println!("batch may not reserve more: {error}");
    }

    // Who frees does not matter: neither this thread nor its scope.
    let scope = in_batch.enter();
    thread::spawn(|| drop(page)).join().map_err(|_| "it panicked")?;
    drop(scope);
    settle();
    println!("web    {:>8} bytes, charged {:>8}", in_web.live(), web_css.current());

    // What a group leaves behind is its parent's.
    drop(batch_css);
    batch.remove(Removal::Detach)?;
    let root = memory.css(&tenants.root()).ok_or("removed")?;
    println!("root   {:>8} bytes charged, with batch gone", root.current());
    drop((rows, nobodys));
    settle();
    println!("root   {:>8} bytes charged at the end", root.current());
    Ok(())
}
