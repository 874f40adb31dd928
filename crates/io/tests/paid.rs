//! Trap 12: an operation that passes several wrappers of one device is charged once.

#[path = "support/bench.rs"]
mod bench;

use std::{
    io::{BufReader, Cursor, Read, Write},
    os::unix::fs::FileExt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
};

use fief_io::{Device, Op};

use bench::{Bench, Checked, charged};

fn bench() -> Result<Bench, Box<dyn std::error::Error>> {
    Bench::new(Device::builder("disk"))
}

#[test]
fn trap_12_a_wrapper_in_a_wrapper_charges_once() -> Checked {
    let bench = bench()?;
    let inner = bench.stream.limit(tempfile::tempfile()?);
    inner.write_all_at(&[1; 100], 0)?;
    let mut outer = bench.stream.limit(BufReader::with_capacity(16, inner));
    let mut buf = [0; 100];
    outer.read_exact(&mut buf)?;
    assert_eq!(buf, [1; 100]);
    assert_eq!(bench.charged()?.read, (100, 1));

    // Positioned ones, and those for whom the outer one pays later.
    let nested = bench.stream.limit(bench.stream.limit(tempfile::tempfile()?));
    nested.write_all_at(&[1; 100], 0)?;
    assert_eq!(bench.charged()?.written, (200, 2));
    let mut socket = bench.stream.limit_socket(bench.stream.limit_socket(Cursor::new([0; 50])));
    assert_eq!(socket.read(&mut buf)?, 50);
    assert_eq!(bench.charged()?.read, (150, 2));
    Ok(())
}

#[test]
fn wrappers_of_two_devices_charge_both() -> Checked {
    let bench = bench()?;
    let net = Device::builder("net").register(&bench.io)?;
    let mut both = net.stream(&bench.web)?.limit(bench.stream.limit(Vec::new()));
    both.write_all(&[0; 10])?;
    assert_eq!(bench.charged()?.written, (10, 1));
    assert_eq!(charged(&bench.web, "net")?.written, (10, 1));
    Ok(())
}

#[test]
fn the_wrapper_further_out_pays_whoever_it_is() -> Checked {
    let bench = bench()?;
    let other = bench.tenants.root().create_child("other")?;
    let mut outer = bench.disk.stream(&other)?.limit(bench.stream.limit(Vec::new()));
    outer.write_all(&[0; 10])?;
    assert_eq!(bench.charged()?.written, (0, 0));
    assert_eq!(charged(&other, "disk")?.written, (10, 1));
    Ok(())
}

#[test]
fn a_permit_pays_for_what_is_done_under_its_cover() -> Checked {
    let bench = bench()?;
    let mut file = bench.stream.limit(Vec::new());
    let permit = bench.stream.try_acquire(Op::write(1_000))?;
    permit.cover(|| file.write_all(&[0; 600]))?;
    let nested = bench.stream.try_acquire(Op::write(10))?;
    nested.cover(|| permit.cover(|| file.write_all(&[0; 100])))?;
    nested.done(0);
    permit.done(700);
    assert_eq!(bench.charged()?.written, (700, 2));
    file.write_all(&[0; 5])?;
    assert_eq!(bench.charged()?.written, (705, 3), "it is over");
    Ok(())
}

#[test]
fn a_cover_ends_with_a_panic_and_does_not_reach_other_threads() -> Checked {
    let bench = bench()?;
    let mut file = bench.stream.limit(Vec::new());
    let permit = bench.stream.try_acquire(Op::write(0))?.into_owned();
    let panic = catch_unwind(AssertUnwindSafe(|| permit.cover(|| panic!("on purpose"))));
    assert!(panic.is_err());
    file.write_all(&[0; 5])?;
    assert_eq!(bench.charged()?.written.0, 5, "the cover is gone");
    permit
        .cover(|| thread::scope(|scope| scope.spawn(|| file.write_all(&[0; 7])).join()))
        .map_err(|_| "the thread panicked")??;
    assert_eq!(bench.charged()?.written.0, 12, "another thread");
    Ok(())
}

#[test]
fn a_future_is_covered_while_it_is_polled_only() -> Checked {
    let bench = bench()?;
    let mut file = bench.stream.limit(Vec::new());
    let mut beside = bench.stream.limit(Vec::new());
    let permit = bench.stream.try_acquire(Op::write(100))?;
    {
        let mut covered = pin!(permit.cover_future(async {
            file.write_all(&[0; 10])?;
            yield_once().await;
            file.write_all(&[0; 20])
        }));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(covered.as_mut().poll(cx).is_pending());
        beside.write_all(&[0; 5])?;
        assert_eq!(bench.charged()?.written, (105, 2), "it is not polled now");
        let Poll::Ready(result) = covered.as_mut().poll(cx) else {
            return Err("it waits still".into());
        };
        result?;
    }
    permit.done(30);
    assert_eq!(bench.charged()?.written, (35, 2));
    Ok(())
}

async fn yield_once() {
    let mut is_first = true;
    std::future::poll_fn(|_| {
        if std::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}
