//! What `ratios` asks about the io controller.

use super::{Peer, Question, Target, Unit, question};

/// Those with a target first.
pub(super) const QUESTIONS: &[Question] = {
    use Target::AtMost;
    use Unit::Nanoseconds as Time;
    const ADDITION: Peer = Peer::Figure("addition");
    const NOTHING: Option<Target> = Some(AtMost(0.5));
    const ONE: Option<Target> = Some(AtMost(1.6));
    const EIGHT: Option<Target> = Some(AtMost(2.0));
    &[
        question("io without limits / atomic addition", Time, "io", ADDITION, NOTHING),
        question("io, 1 limit / atomic addition", Time, "io, 1 limit", ADDITION, ONE),
        question("io, 8 limits / atomic addition", Time, "io, 8 limits", ADDITION, EIGHT),
        question(
            "io, 1 limit, 2 threads / atomic addition",
            Time,
            "io, 1 limit, 2 threads",
            ADDITION,
            ONE,
        ),
        question(
            "io, 8 limits, 2 threads / atomic addition",
            Time,
            "io, 8 limits, 2 threads",
            ADDITION,
            EIGHT,
        ),
    ]
};
