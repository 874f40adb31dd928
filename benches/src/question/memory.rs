//! What `ratios` asks about the memory controller.

use super::{Peer, Question, Target, Unit, question};

/// Those with a target first.
pub(super) const QUESTIONS: &[Question] = {
    use Peer::{Budget, Figure};
    use Target::AtMost;
    use Unit::{Bytes, Count, Nanoseconds as Time};
    const BUDGET: Option<Target> = Some(AtMost(1.0));
    const CHARGE: Option<Target> = Some(AtMost(0.22));
    const CHARGE_BESIDE_OTHERS: Option<Target> = Some(AtMost(0.25));
    const ATOMIC: Peer = Figure("atomic pair");
    &[
        question("memory charge+uncharge, 1 level / atomic pair", Time, "memory", ATOMIC, CHARGE),
        question(
            "memory charge+uncharge, 8 levels / atomic pair",
            Time,
            "memory, 8 levels",
            ATOMIC,
            CHARGE,
        ),
        question(
            "memory charge+uncharge, 2 threads on one group / atomic pair",
            Time,
            "memory, 2 threads",
            ATOMIC,
            CHARGE_BESIDE_OTHERS,
        ),
        question(
            "memory charge+uncharge, 4 threads on one group / atomic pair",
            Time,
            "memory, 4 threads",
            ATOMIC,
            CHARGE_BESIDE_OTHERS,
        ),
        question(
            "memory charge+uncharge, 64 groups in turn / atomic pair",
            Time,
            "memory, 64 in turn",
            ATOMIC,
            Some(AtMost(0.28)),
        ),
        question(
            "Reservation grow+shrink / atomic pair",
            Time,
            "reservation",
            ATOMIC,
            Some(AtMost(0.1)),
        ),
        question(
            "memory at the limit, 4 threads, an attempt / 100 ns",
            Time,
            "at the limit",
            Budget(100.0),
            BUDGET,
        ),
        question(
            "memory always refused, 4 threads, an attempt / 100 ns",
            Time,
            "memory refused",
            Budget(100.0),
            BUDGET,
        ),
        question(
            "memory drain beside 4 busy threads, p99 / 100 µs",
            Time,
            "drain, p99",
            Budget(1e5),
            BUDGET,
        ),
        question(
            "everybody waits to victim, p90 / 10 ms",
            Time,
            "victim, p90",
            Budget(1e7),
            BUDGET,
        ),
        question(
            "a memory group, beyond the core's own / 512 B",
            Bytes,
            "memory group, charged",
            Budget(512.0),
            BUDGET,
        ),
        question(
            "a thread that charges 32 groups / 2 KiB",
            Bytes,
            "memory thread, 32 groups",
            Budget(2048.0),
            BUDGET,
        ),
        question(
            "malloc+free of 64 B, from 1 KiB on attributed / plain",
            Time,
            "block, hooked",
            Figure("block"),
            Some(AtMost(1.19)),
        ),
        question(
            "malloc+free of 64 B, all attributed / plain",
            Time,
            "block, all hooked",
            Figure("block"),
            Some(AtMost(1.38)),
        ),
        question("malloc+free of 64 B / atomic pair", Time, "block", ATOMIC, None),
        question(
            "a thread that charges 64 groups / 2 KiB",
            Bytes,
            "memory thread, 64 groups",
            Budget(2048.0),
            None,
        ),
        question(
            "a memory group never charged / 512 B",
            Bytes,
            "memory group",
            Budget(512.0),
            None,
        ),
        question(
            "memory charge+uncharge, 8 levels / a walk over 8 counters",
            Time,
            "memory, 8 levels",
            Figure("walk, 8 levels"),
            None,
        ),
        question("a walk over 8 counters / atomic pair", Time, "walk, 8 levels", ATOMIC, None),
        question(
            "memory charge+uncharge, 128 groups in turn / atomic pair",
            Time,
            "memory, 128 in turn",
            ATOMIC,
            None,
        ),
        question(
            "memory at the limit, refused in 1,000 attempts / 1",
            Count,
            "at the limit, refused",
            Budget(1.0),
            None,
        ),
        question(
            "memory at the limit, drains in 1,000 attempts / 1",
            Count,
            "at the limit, drains",
            Budget(1.0),
            None,
        ),
        question(
            "memory drain beside 4 busy threads, median / 100 µs",
            Time,
            "drain",
            Budget(1e5),
            None,
        ),
        question("everybody waits to victim, median / 10 ms", Time, "victim", Budget(1e7), None),
    ]
};
