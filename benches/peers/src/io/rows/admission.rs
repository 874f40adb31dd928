//! W1 to W3: what an operation costs that is let through at once, beside one atomic addition.

use std::{
    hint::black_box,
    num::NonZeroU32,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context as Polling, Waker},
    time::{Duration, Instant},
};

use anyhow::Result;
use async_speed_limit::{Limiter as Speed, clock::StandardClock};
use benches::{
    io::{Addition, Admitted},
    pair::Pair,
    race,
    statistic::median,
};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use ratelimit::Ratelimiter;
use tokio::sync::Semaphore;

use super::{Aim, Case, Context, Entrant, Gate, Outcome, Relative};
use crate::cpu::figures::Figure;

const PAIRS: u32 = 20_000;
/// Long enough to tell what others have of the processors meanwhile.
const TURN: Duration = Duration::from_millis(400);
/// What an operation reads, where bytes are limited.
const BYTES: usize = 4 << 10;
/// How often somebody is asked before it is given up.
const PATIENCE: u32 = 10_000;
/// More than is asked for.
const PLENTY: usize = 1 << 52;
const CELLS: NonZeroU32 = NonZeroU32::new(1_000_000_000).expect("some");

/// A pair is one call.
struct Call<F>(F);

impl<F: Fn() + Sync> Pair for Call<F> {
    fn run(&self, pairs: u64) {
        (0..pairs).for_each(|_| (self.0)());
    }
}

/// A pair is one call, or more of them if it is refused.
struct Patient<F> {
    call: F,
    /// Whether it is of no use to ask any more.
    has_lost: AtomicBool,
}

impl<F: Fn() -> bool + Sync> Pair for Patient<F> {
    fn run(&self, pairs: u64) {
        let is_through = |_| (self.call)() || (1..PATIENCE).any(|_| (self.call)());
        // Ordering: Relaxed: a flag that may be seen late.
        if !self.has_lost.load(Ordering::Relaxed) && !(0..pairs).all(is_through) {
            self.has_lost.store(true, Ordering::Relaxed);
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (row, name, most, entrants) in [
        ("W1", "one limit", 1.6, one as fn(usize) -> Vec<Entrant>),
        ("W2", "no limit", 0.5, none),
        ("W3", "eight limited levels", 2.0, eight),
    ] {
        for (threads, shown) in [(1, "one thread"), (2, "two threads")] {
            let of = Entrant::new("atomic addition", |context| {
                Ok(time(context, &Addition::default(), 1))
            });
            let entrants = [of].into_iter().chain(entrants(threads)).collect();
            cases.push(Case {
                row,
                name: format!("an operation let through at once, {name}, {shown}"),
                gate: Gate::Given,
                aims: vec![("/ addition", Aim::AtMost(most))],
                relative: vec![Relative { of: "each", name: "/ addition", unit: "" }],
                entrants,
            });
        }
    }
    cases
}

/// Times pairs, on so many threads that share it: the median of what fits into a turn.
fn time(context: &Context, pair: &dyn Pair, threads: usize) -> Vec<Figure> {
    let (start, each) = (Instant::now(), vec![pair; threads]);
    let mut times = vec![race::nanoseconds(&each, PAIRS)];
    while start.elapsed() < context.span(TURN) {
        times.push(race::nanoseconds(&each, PAIRS));
    }
    vec![Figure::new("each", "ns", median(&times))]
}

/// Returns an entrant that makes something and then times what is done with it.
fn entrant<P: Pair>(
    name: &'static str,
    threads: usize,
    make: impl Fn() -> Result<P> + 'static,
) -> Entrant {
    Entrant::new(name, move |context| Ok(time(context, &make()?, threads)))
}

/// Returns an entrant that is asked again when it refuses, as long as there is hope.
///
/// leaky-bucket 1.1.2 may lose its balance while two threads ask it: who does not wait stores what it found when
/// it gives up, which is nothing while the other is inside. From then on it refuses.
fn patient<F: Fn() -> bool + Sync>(
    name: &'static str,
    threads: usize,
    make: impl Fn() -> F + 'static,
) -> Entrant {
    Entrant::maybe(name, move |context| {
        let patient = Patient { call: make(), has_lost: AtomicBool::new(false) };
        let figures = time(context, &patient, threads);
        Ok(if patient.has_lost.into_inner() {
            Outcome::Skipped("it refused for good, with plenty left".to_owned())
        } else {
            Outcome::Figures(figures)
        })
    })
}

fn fief(threads: usize, levels: usize) -> Entrant {
    entrant("fief", threads, move || Ok(Admitted::new(levels)))
}

fn one(threads: usize) -> Vec<Entrant> {
    vec![
        fief(threads, 1),
        entrant("governor", threads, || Ok(Call(checked([governor()])))),
        patient("leaky-bucket, no waiting", threads, || {
            let limiter = leaky(false);
            move || black_box(&limiter).try_acquire(BYTES)
        }),
        patient("leaky-bucket", threads, || {
            let limiter = leaky(true);
            move || is_ready(black_box(&limiter).acquire(BYTES))
        }),
        entrant("async-speed-limit", threads, || Ok(Call(speed(1e18)))),
        entrant("ratelimit", threads, || {
            // A token is a nanosecond: more than calls take.
            let plenty = u64::from(CELLS.get());
            let builder = Ratelimiter::builder(plenty).max_tokens(plenty);
            let limiter = builder.initial_available(plenty).build()?;
            Ok(Call(move || {
                ensured(black_box(&limiter).try_wait().is_ok());
            }))
        }),
        entrant("tokio's semaphore", threads, || {
            let semaphore = Semaphore::new(1 << 20);
            Ok(Call(move || match black_box(&semaphore).try_acquire() {
                Ok(permit) => drop(black_box(permit)),
                Err(error) => panic!("plenty: {error}"),
            }))
        }),
    ]
}

fn none(threads: usize) -> Vec<Entrant> {
    vec![fief(threads, 0), entrant("async-speed-limit", threads, || Ok(Call(speed(f64::INFINITY))))]
}

fn eight(threads: usize) -> Vec<Entrant> {
    vec![
        fief(threads, 8),
        entrant("eight governors", threads, || {
            Ok(Call(checked(std::array::from_fn::<_, 8, _>(|_| governor()))))
        }),
    ]
}

/// A cell for each operation: a cell takes no less than a nanosecond, which bytes would not fit in.
fn governor() -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_second(CELLS))
}

fn checked<const N: usize>(limiters: [DefaultDirectRateLimiter; N]) -> impl Fn() + Sync {
    move || ensured(black_box(&limiters).iter().all(|limiter| limiter.check().is_ok()))
}

fn leaky(is_fair: bool) -> leaky_bucket::RateLimiter {
    leaky_bucket::RateLimiter::builder().max(PLENTY).initial(PLENTY).fair(is_fair).build()
}

fn speed(rate: f64) -> impl Fn() + Sync {
    let limiter: Speed<StandardClock> = Speed::new(rate);
    move || ensured(is_ready(black_box(&limiter).consume(BYTES)))
}

/// Polls a future until it is ready, once where nobody else is about; returns whether it is.
fn is_ready<T>(future: impl Future<Output = T>) -> bool {
    let (mut future, mut waker) = (pin!(future), Polling::from_waker(Waker::noop()));
    (0..PATIENCE).any(|_| future.as_mut().poll(&mut waker).is_ready())
}

fn ensured(is_through: bool) {
    assert!(is_through, "there is plenty");
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn calls_are_made_as_often_as_asked() {
        let count = AtomicU64::new(0);
        let call = || {
            count.fetch_add(1, Ordering::Relaxed);
        };
        Call(call).run(7);
        assert_eq!(count.into_inner(), 7);
    }

    #[test]
    fn who_refuses_for_good_is_given_up() {
        let patient = |most: u64| {
            let asked = AtomicU64::new(0);
            let call = move || asked.fetch_add(1, Ordering::Relaxed) % 3 == 2 && most > 0;
            let patient = Patient { call, has_lost: AtomicBool::new(false) };
            patient.run(5);
            patient.has_lost.into_inner()
        };
        assert!(!patient(1), "every third is let through");
        assert!(patient(0));
    }

    #[test]
    fn everybody_is_compared_with_an_addition() {
        for case in cases() {
            let names: Vec<_> = case.entrants[..2].iter().map(|entrant| entrant.name).collect();
            assert_eq!(names, ["atomic addition", "fief"], "{}", case.name);
        }
    }
}
