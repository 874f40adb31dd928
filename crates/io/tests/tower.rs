//! Services whose requests are charged to a group.
#![cfg(feature = "tower")]

#[path = "support/bench.rs"]
mod bench;

use std::{
    future::{Ready, ready},
    io::Write as _,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use fief_core::Removal;
use fief_io::{Device, IoLayer, LimitError, Limits, Op, Refusal};
use tower_layer::Layer as _;
use tower_service::Service;

use bench::{Bench, Checked};

/// Answers with the length of what it is asked, or fails if that is empty.
#[derive(Clone, Default)]
struct Store {
    calls: Arc<AtomicU32>,
    /// Whether `poll_ready` is pending.
    is_busy: Arc<AtomicBool>,
    /// Whether responses are pending.
    is_slow: Arc<AtomicBool>,
}

impl Service<Vec<u8>> for Store {
    type Response = usize;
    type Error = String;
    type Future = Response;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        if self.is_busy.load(Ordering::Relaxed) { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn call(&mut self, request: Vec<u8>) -> Response {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Response { len: request.len(), is_slow: Arc::clone(&self.is_slow) }
    }
}

struct Response {
    len: usize,
    is_slow: Arc<AtomicBool>,
}

impl Future for Response {
    type Output = Result<usize, String>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.len {
            _ if self.is_slow.load(Ordering::Relaxed) => Poll::Pending,
            0 => Poll::Ready(Err("empty".to_owned())),
            len => Poll::Ready(Ok(len)),
        }
    }
}

#[expect(clippy::ptr_arg, reason = "it is of a request")]
fn cost(request: &Vec<u8>) -> Op {
    Op::write(request.len() as u64)
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn requests_are_charged_by_what_they_say() -> Checked {
    let bench = Bench::new(Device::builder("store"))?;
    let store = Store::default();
    let mut service = IoLayer::new(&bench.stream, cost).layer(store.clone());
    let mut clone = service.clone();
    assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(poll(pin!(service.call(vec![0; 100]))), Poll::Ready(Ok(100)));
    assert_eq!(poll(pin!(clone.call(vec![0; 20]))), Poll::Ready(Ok(20)));
    assert_eq!(bench.charged()?.written, (120, 2));
    let failed = LimitError::Inner("empty".to_owned());
    assert_eq!(poll(pin!(service.call(Vec::new()))), Poll::Ready(Err(failed)));
    assert_eq!(bench.charged()?.written, (120, 3), "it was admitted");
    drop(service.call(vec![0; 50]));
    assert_eq!(bench.charged()?.written, (120, 3), "nobody polled it");
    assert_eq!(store.calls.load(Ordering::Relaxed), 3);
    Ok(())
}

#[test]
fn a_request_waits_before_the_inner_service_is_asked() -> Checked {
    let bench = Bench::new(Device::builder("store"))?;
    bench.limit(Limits::new().wbps(100_000))?;
    drop(bench.stream.charge_urgent(Op::write(150_000))?);
    let store = Store::default();
    let mut service = IoLayer::new(&bench.stream, cost).layer(store.clone());
    let mut waiting = pin!(service.call(vec![0; 100]));
    assert!(poll(waiting.as_mut()).is_pending());
    let mut given_up = Box::pin(service.call(vec![0; 77]));
    assert!(poll(given_up.as_mut()).is_pending());
    assert_eq!(store.calls.load(Ordering::Relaxed), 0);
    drop(given_up);
    bench.pass(Duration::from_secs(1));
    assert_eq!(poll(waiting), Poll::Ready(Ok(100)));
    assert_eq!(bench.charged()?.written, (150_100, 2), "and nothing of what was given up");
    Ok(())
}

#[test]
fn the_permit_is_kept_until_the_response_is_there() -> Checked {
    let bench = Bench::new(Device::builder("store").depth(1))?;
    let store = Store::default();
    let mut service = IoLayer::new(&bench.stream, cost).layer(store.clone());
    store.is_busy.store(true, Ordering::Relaxed);
    store.is_slow.store(true, Ordering::Relaxed);
    let mut first = Box::pin(service.call(vec![0; 10]));
    let mut second = Box::pin(service.call(vec![0; 20]));
    assert!(poll(first.as_mut()).is_pending(), "the service is not ready");
    store.is_busy.store(false, Ordering::Relaxed);
    for _ in 0..3 {
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    }
    assert_eq!((store.calls.load(Ordering::Relaxed), bench.in_flight()?), (1, 1));
    store.is_slow.store(false, Ordering::Relaxed);
    assert_eq!(poll(first.as_mut()), Poll::Ready(Ok(10)));
    // It is there, though the future is not dropped yet.
    assert_eq!(poll(second.as_mut()), Poll::Ready(Ok(20)));
    assert_eq!((bench.in_flight()?, bench.charged()?.written), (0, (30, 2)));
    Ok(())
}

#[test]
fn a_request_that_is_given_up_in_any_stage_leaves_nothing_in_flight() -> Checked {
    let bench = Bench::new(Device::builder("store").depth(1))?;
    let store = Store::default();
    let mut service = IoLayer::new(&bench.stream, cost).layer(store.clone());
    let (is_busy, is_slow) = (&store.is_busy, &store.is_slow);
    for stage in ["ready", "response"] {
        is_busy.store(stage == "ready", Ordering::Relaxed);
        is_slow.store(true, Ordering::Relaxed);
        let mut future = Box::pin(service.call(vec![0; 10]));
        assert!(poll(future.as_mut()).is_pending());
        assert_eq!(bench.in_flight()?, 1, "{stage}");
        drop(future);
        assert_eq!(bench.in_flight()?, 0, "{stage}");
    }
    assert_eq!(bench.charged()?.written, (20, 2), "they were admitted");
    Ok(())
}

#[test]
fn a_refused_request_never_reaches_the_inner_service() -> Checked {
    let bench = Bench::new(Device::builder("store"))?;
    let gone = bench.web.create_child("gone")?;
    let css = bench.io.css(&gone).ok_or("removed")?;
    let stream = bench.disk.stream_at(&css)?;
    drop(css);
    let store = Store::default();
    let mut service = IoLayer::new(&stream, cost).layer(store.clone());
    gone.remove(Removal::Detach)?;
    let Poll::Ready(Err(LimitError::Refused(error))) = poll(pin!(service.call(vec![0; 10]))) else {
        return Err("it was not refused".into());
    };
    assert_eq!(error.why, Refusal::Removed);
    assert_eq!(store.calls.load(Ordering::Relaxed), 0);
    Ok(())
}

#[test]
fn trap_12_a_layer_over_a_wrapped_file_charges_once() -> Checked {
    #[derive(Clone)]
    struct Files(fief_io::Stream);

    impl Service<Vec<u8>> for Files {
        type Response = ();
        type Error = std::io::Error;
        type Future = Ready<Result<(), std::io::Error>>;

        fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Vec<u8>) -> Self::Future {
            ready(self.0.limit(Vec::new()).write_all(&request))
        }
    }

    let bench = Bench::new(Device::builder("store"))?;
    let layer = IoLayer::new(&bench.stream, cost);
    let mut service = layer.layer(Files(bench.stream.clone()));
    assert!(matches!(poll(pin!(service.call(vec![0; 10]))), Poll::Ready(Ok(()))));
    assert_eq!(bench.charged()?.written, (10, 1));

    // A layer over a layer.
    let mut twice = layer.layer(layer.layer(Store::default()));
    assert_eq!(poll(pin!(twice.call(vec![0; 5]))), Poll::Ready(Ok(5)));
    assert_eq!(bench.charged()?.written, (15, 2));
    Ok(())
}
