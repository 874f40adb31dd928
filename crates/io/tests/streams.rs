//! Streams: what is admitted, who waits, and what is given back.

use std::{
    error::Error,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use fief_core::{Registry, Removal, VirtualClock};
use fief_io::{Device, Io, Limits, Op, Refusal};

type Checked = Result<(), Box<dyn Error>>;

#[test]
fn a_limit_holds_and_time_lets_those_who_wait_go_on() -> Checked {
    let clock = Arc::new(VirtualClock::new());
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let io = registry.register(Io::builder().clock(Arc::clone(&clock) as _).build())?;
    io.bind(&tenants)?;
    let disk = Device::builder("disk").register(&io)?;
    let web = tenants.root().create_child("web")?;
    let css = io.css(&web).ok_or("removed")?;
    css.set_limits(&disk, Limits::new().rbps(1_000_000))?;

    let stream = disk.stream(&web)?;
    while stream.try_acquire(Op::read(10_000)).is_ok() {}
    let error = stream.try_acquire(Op::read(10_000)).unwrap_err();
    assert!(matches!(error.why, Refusal::WouldBlock { retry_in: Some(_) | None }), "{error}");

    let mut waiting = Box::pin(stream.acquire(Op::read(10_000)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    clock.advance(Duration::from_secs(1));
    io.subsystem().tick();
    let Poll::Ready(permit) = waiting.as_mut().poll(&mut cx) else {
        return Err("it waits still".into());
    };
    permit?.done(10);
    drop(waiting);
    drop(stream);
    drop(css);
    web.remove(Removal::Detach)?;
    Ok(())
}
