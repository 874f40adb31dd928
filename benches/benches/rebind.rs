//! What does it cost to move a controller to another tree, and members to another group?
//!
//! Expected: a rebind of 10,000 groups takes 2 ms, most of it for comparing the trees and telling each css
//! where it is; the shape makes no difference. 10,000 members cost it a look at their places each, a tenth
//! of that in all. A member that is attached costs ten times more: 200 to 300 ns.

use benches::{
    compare::{criterion, group},
    rebound::{Crew, DEEP, Shape, Twins},
};

fn main() {
    let mut criterion = criterion();
    let mut rebinds = group(&mut criterion, "rebind/10,000 groups");
    let flat = Shape::Flat(10_000);
    for (name, twins) in [
        ("flat", Twins::new(flat)),
        ("3 levels", Twins::new(DEEP)),
        ("flat, 10,000 members", Twins::new(flat).with_members()),
    ] {
        rebinds.bench_function(name, |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| twins.rebind().all).sum());
        });
    }
    rebinds.finish();
    let mut moves = group(&mut criterion, "rebind/attach_all, 2 controllers");
    for members in [1, 100, 10_000] {
        let crew = Crew::new(2, members);
        moves.bench_function(format!("{members} members"), |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| crew.attach_all()).sum());
        });
    }
    moves.finish();
    criterion.final_summary();
}
