//! Three who wait for each other, and the one of them that has to give its memory back.

use std::{
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use fief_core::Limit;
use fief_memory::{ChargeError, MemoryCss};

use super::Grove;

/// How often it is tried.
const TIMES: usize = 15;
/// What they have of a hundred, and what each wants beside.
const HELD: u64 = 30;
const WANTED: u64 = 20;
/// In which the first two have begun to wait.
const PAUSE: Duration = Duration::from_millis(12);

/// Returns the times from the moment at which the last of three begins to wait until one of them is told.
#[must_use]
pub fn delays() -> Vec<Duration> {
    let grove = Grove::new();
    let groups = grove.siblings(3);
    let root = grove.css(&grove.hierarchy.root());
    root.set_max(Limit::At(100));
    let (sender, told) = channel();
    let _workers: Vec<_> = groups.iter().map(|css| css.enter()).collect();
    let _callbacks: Vec<_> = groups
        .iter()
        .map(|css| {
            let sender = sender.clone();
            css.on_kill(move || sender.send(Instant::now()).expect("somebody listens"))
        })
        .collect();
    let delay = |_| {
        groups.iter().for_each(|css| css.try_charge(HELD).expect("there is as much"));
        thread::scope(|scope| {
            groups[1..].iter().for_each(|css| drop(scope.spawn(|| want(css))));
            thread::sleep(PAUSE);
            let start = Instant::now();
            want(&groups[0]);
            told.recv().expect("one is the victim").saturating_duration_since(start)
        })
    };
    (0..TIMES).map(delay).collect()
}

/// Waits for more, and gives all back.
fn want(css: &MemoryCss) {
    let more = match css.charge_blocking(WANTED, None) {
        Ok(()) => WANTED,
        Err(ChargeError::Killed { .. }) => 0,
        Err(error) => panic!("{error}"),
    };
    css.uncharge(HELD + more);
}
