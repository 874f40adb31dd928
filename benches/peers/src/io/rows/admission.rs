//! W1 to W3: what an operation costs that is let through at once, beside one atomic addition.

use std::{
    hint::{black_box, spin_loop},
    num::NonZeroU32,
    pin::pin,
    task::{Context as Polling, Waker},
};

use anyhow::Result;
use async_speed_limit::{Limiter as Speed, clock::StandardClock};
use benches::{
    io::{Addition, Admitted},
    pair::Pair,
    race,
};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use ratelimit::Ratelimiter;
use tokio::sync::Semaphore;

use super::{Aim, Case, Entrant, Gate, Relative};
use crate::cpu::figures::Figure;

const PAIRS: u32 = 20_000;
/// What an operation reads, where bytes are limited.
const BYTES: usize = 4 << 10;
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

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (row, name, most, entrants) in [
        ("W1", "one limit", 1.6, one as fn(usize) -> Vec<Entrant>),
        ("W2", "no limit", 0.5, none),
        ("W3", "eight limited levels", 2.0, eight),
    ] {
        for (threads, shown) in [(1, "one thread"), (2, "two threads")] {
            let of = Entrant::new("atomic addition", |_| time(&Addition::default(), 1));
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

/// Times pairs, on so many threads that share it.
fn time(pair: &dyn Pair, threads: usize) -> Result<Vec<Figure>> {
    let each = vec![pair; threads];
    Ok(vec![Figure::new("each", "ns", race::nanoseconds(&each, PAIRS))])
}

/// Returns an entrant that makes something and then times what is done with it.
fn entrant<P: Pair>(
    name: &'static str,
    threads: usize,
    make: impl Fn() -> Result<P> + 'static,
) -> Entrant {
    Entrant::new(name, move |_| time(&make()?, threads))
}

fn fief(threads: usize, levels: usize) -> Entrant {
    entrant("fief", threads, move || Ok(Admitted::new(levels)))
}

fn one(threads: usize) -> Vec<Entrant> {
    vec![
        fief(threads, 1),
        entrant("governor", threads, || Ok(Call(checked([governor()])))),
        entrant("leaky-bucket, no waiting", threads, || {
            let limiter = leaky(false);
            // It refuses as well while somebody else is inside.
            Ok(Call(move || {
                while !black_box(&limiter).try_acquire(BYTES) {
                    spin_loop();
                }
            }))
        }),
        entrant("leaky-bucket", threads, || {
            let limiter = leaky(true);
            Ok(Call(move || ready(black_box(&limiter).acquire(BYTES))))
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
    move || ready(black_box(&limiter).consume(BYTES))
}

/// Polls a future once, which is enough where nobody else is about; else until it is.
fn ready<T>(future: impl Future<Output = T>) {
    let mut future = pin!(future);
    while future.as_mut().poll(&mut Polling::from_waker(Waker::noop())).is_pending() {
        spin_loop();
    }
}

fn ensured(is_through: bool) {
    assert!(is_through, "there is plenty");
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

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
    fn everybody_is_compared_with_an_addition() {
        for case in cases() {
            let names: Vec<_> = case.entrants[..2].iter().map(|entrant| entrant.name).collect();
            assert_eq!(names, ["atomic addition", "fief"], "{}", case.name);
        }
    }
}
