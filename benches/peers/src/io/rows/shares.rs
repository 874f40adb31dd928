//! W7: how far two groups' shares of a real disk are from their weights.

use std::time::Duration;

use anyhow::Result;

use super::{Aim, Case, Context, Entrant, Gate, Outcome};
use crate::{
    cpu::figures::Figure,
    io::{
        disk::{
            Raw, Shared, Sharing,
            load::{Load, Way},
            target::Target,
        },
        windows::{percent, worst},
    },
};

/// Enough that a group of nine tenths has more to do than a depth of 8 takes.
const READERS: usize = 32;
const PIECE: usize = 128 << 10;
const WARM_UP: Duration = Duration::from_secs(1);
const SPAN: Duration = Duration::from_secs(4);

pub(super) fn cases() -> Vec<Case> {
    [("1:3", &[100, 300]), ("1:9", &[100, 900])]
        .map(|(shown, weights)| Case {
            row: "W7",
            name: format!("two groups of 16 bulk readers, 128 KiB, weights {shown}"),
            gate: Gate::Given,
            aims: vec![("worst 1 s", Aim::Within(1.0)), ("worst 100 ms", Aim::Within(2.0))],
            relative: Vec::new(),
            entrants: vec![
                Entrant::on_disk("raw", move |context, target| {
                    run(context, target, &Raw, *weights).map(Outcome::Figures)
                }),
                fief("fief, depth 4", 4, weights),
                fief("fief, depth 8", 8, weights),
            ],
        })
        .into()
}

fn fief(name: &'static str, depth: u32, weights: &'static [u32; 2]) -> Entrant {
    let sharing = Sharing { depth: Some(depth), quantum: PIECE, weights, ..Sharing::default() };
    Entrant::on_disk(name, move |context, target| {
        let shared = Shared::new(target, &sharing, READERS)?;
        run(context, target, &shared, *weights).map(Outcome::Figures)
    })
}

fn run(
    context: &Context,
    target: &Target,
    way: &dyn Way,
    weights: [u32; 2],
) -> Result<Vec<Figure>> {
    let load = Load {
        readers: READERS,
        bytes: PIECE,
        is_light: false,
        warm_up: context.span(WARM_UP),
        span: context.span(SPAN),
        seed: context.seed,
    };
    let found = load.run(target, way)?;
    // Bytes of the readers of each group, by windows: they take turns.
    let windows = |group: usize, slots: usize| {
        let readers = found.windows.iter().skip(group).step_by(weights.len());
        readers.map(|windows| windows.windows(slots)).reduce(|mut sum, windows| {
            sum.iter_mut().zip(windows).for_each(|(sum, bytes)| *sum += bytes);
            sum
        })
    };
    let slots = found.windows[0].windows(1).len();
    let error = |slots: usize| {
        let [light, heavy] = [0, 1].map(|group| windows(group, slots).unwrap_or_default());
        let windows = light.into_iter().zip(heavy);
        worst(windows.flat_map(|(light, heavy)| errors([light, heavy], weights)))
    };
    Ok(vec![
        Figure::new("error", "%", error(slots)),
        Figure::new("worst 1 s", "%", error(slots.min(100))),
        Figure::new("worst 100 ms", "%", error(10)),
        Figure::new("bulk", "MB/s", found.bulk as f64 / 1e6),
    ])
}

/// Returns how far each share is from its weight's, in per cent of that; −100 where nothing was read at all.
fn errors(bytes: [u64; 2], weights: [u32; 2]) -> [f64; 2] {
    let total = bytes.iter().sum::<u64>().max(1) as f64;
    let sum = f64::from(weights.iter().sum::<u32>());
    [0, 1].map(|group| percent(bytes[group] as f64 / total, f64::from(weights[group]) / sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_of_the_share() {
        assert_eq!(errors([25, 75], [100, 300]).map(f64::round), [0.0, 0.0]);
        assert_eq!(errors([50, 50], [100, 300]).map(f64::round), [100.0, -33.0]);
        assert_eq!(errors([0, 0], [100, 300]).map(f64::round), [-100.0, -100.0]);
    }
}
