//! W10: 10,000 groups on one device: what each costs in memory, and what a grant costs; ours only.

use std::{
    collections::VecDeque,
    pin::Pin,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    task::{Context as Polling, Poll, Wake, Waker},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use benches::system::resident;
use fief_core::CssRef;
use fief_io::{AcquireOwned, IoCss, Limits, Op, OwnedPermit, Stream};

use super::{Aim, Case, Context, Entrant, Gate};
use crate::{cpu::figures::Figure, io::world::World};

/// Tenants, and groups of each.
const WIDE: usize = 100;
const GRANTS: u32 = 50_000;
/// More than is asked for.
const FAST: Limits = Limits::new().rbps(1 << 50);

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        row: "W10",
        name: "10,000 groups below 100, on one device".to_owned(),
        gate: Gate::Given,
        aims: vec![("bytes each", Aim::AtMost(1_536.0))],
        relative: Vec::new(),
        entrants: vec![Entrant::new("fief", run)],
    }]
}

fn run(context: &Context) -> Result<Vec<Figure>> {
    let wide = if context.is_brief { 10 } else { WIDE };
    let output = measured_alone(wide)?;
    let bytes: Vec<f64> = output.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [each, stream] = bytes[..] else { bail!("{output:?} are not two figures") };

    let world = World::new(|device| device.depth(1))?;
    let all = groups(&world, wide)?;
    let start = Instant::now();
    let streams =
        all.iter().map(|css| Ok(world.device.stream_at(css)?)).collect::<Result<Vec<_>>>()?;
    let made = start.elapsed().as_secs_f64() * 1e6 / streams.len() as f64;
    let grants = if context.is_brief { GRANTS / 100 } else { GRANTS };
    let few: Vec<_> = streams.iter().step_by(wide).cloned().collect();
    let some = grant(&few, grants)?;
    let all = grant(&streams, grants)?;
    Ok(vec![
        Figure::new("bytes each", "B", each),
        Figure::new("a stream", "B", stream),
        Figure::new("made", "µs", made),
        Figure::new("a grant, 1 % wait", "ns", some),
        Figure::new("a grant, all wait", "ns", all),
    ])
}

/// Has a process of its own print its [`footprint`].
fn measured_alone(wide: usize) -> Result<String> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(["--footprint", &wide.to_string()]).output();
    let output = output.context("cannot start itself")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Makes groups of two levels and returns the css of the lower ones, which know nothing of the device.
fn groups(world: &World, wide: usize) -> Result<Vec<CssRef<IoCss>>> {
    let mut all = Vec::with_capacity(wide * wide);
    for tenant in 0..wide {
        let tenant = World::group(&world.root, &format!("tenant{tenant}"))?;
        for number in 0..wide {
            let group = World::group(&tenant, &number.to_string())?;
            all.push(world.css(&group)?);
        }
    }
    Ok(all)
}

/// Returns what each group takes in memory, in bytes, and what a stream takes beside.
///
/// A group that has a limit on the device, and has used it on two threads; to be asked in a process that has done
/// nothing else.
///
/// # Errors
///
/// What the controller refuses.
pub fn footprint(wide: usize) -> Result<String> {
    let world = World::new(|device| device)?;
    let all = groups(&world, wide)?;
    let touch = |css: &CssRef<IoCss>| -> Result<()> {
        drop(world.device.stream_at(css)?.try_acquire(Op::read(1))?);
        Ok(())
    };
    let mut streams: Vec<Stream> = Vec::with_capacity(all.len());
    let before = resident();
    thread::scope(|scope| -> Result<()> {
        for css in &all {
            css.set_limits(&world.device, FAST)?;
            touch(css)?;
        }
        let other = scope.spawn(|| all.iter().try_for_each(touch));
        other.join().expect("it does not panic")
    })?;
    let each = resident() - before;
    let before = resident();
    for css in &all {
        streams.push(world.device.stream_at(css)?);
    }
    let stream = resident() - before;
    let count = all.len() as f64;
    Ok(format!("{} {}", each as f64 / count, stream as f64 / count))
}

/// Says who is woken.
struct Told {
    number: usize,
    woken: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).push_back(self.number);
    }
}

/// Returns what it takes, in nanoseconds, that an operation ends, another is granted, and its stream asks again.
fn grant(streams: &[Stream], grants: u32) -> Result<f64> {
    let woken = Arc::new(Mutex::new(VecDeque::new()));
    let waker = |number| Waker::from(Arc::new(Told { number, woken: Arc::clone(&woken) }));
    let wakers: Vec<_> = (0..streams.len()).map(waker).collect();
    let ask = |number: usize| streams[number].acquire_owned(Op::read(4_096));
    let poll = |waits: &mut AcquireOwned, number: usize| {
        Pin::new(waits).poll(&mut Polling::from_waker(&wakers[number]))
    };
    // One is in flight, and the others wait.
    let mut permit: OwnedPermit = match poll(&mut ask(0), 0) {
        Poll::Ready(permit) => permit?,
        Poll::Pending => bail!("somebody is in flight"),
    };
    let mut waits: Vec<_> = (0..streams.len()).map(ask).collect();
    for (number, waits) in waits.iter_mut().enumerate() {
        ensure!(poll(waits, number).is_pending(), "the depth is 1");
    }
    let start = Instant::now();
    for _ in 0..grants {
        drop(permit);
        let next = woken.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let number = next.context("nobody was woken")?;
        let Poll::Ready(granted) = poll(&mut waits[number], number) else {
            bail!("it was woken for nothing")
        };
        permit = granted?;
        waits[number] = ask(number);
        ensure!(poll(&mut waits[number], number).is_pending(), "the depth is 1");
    }
    let time = start.elapsed().as_secs_f64() * 1e9 / f64::from(grants);
    waits.clear();
    drop(permit);
    Ok(time)
}
