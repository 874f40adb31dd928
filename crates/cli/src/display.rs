//! What is shown while the soak runs: live lines on a terminal, else plain ones.

use std::{
    fmt,
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    display::{
        cpu::{Cpu, Gauge},
        disk::Disk,
    },
    output::Output,
    soak::{
        cpu as turns,
        memory::{Changed, Usage},
        schedule,
        stage::{ByTenant, Stage, Who},
        tree::{Bound, Killed},
    },
};

mod cpu;
mod disk;

pub(crate) use cpu::percent;

/// Shows how the tenants do.
#[derive(Debug)]
pub(crate) struct Display<'a> {
    stage: &'a Stage,
    start: Instant,
    meters: ByTenant<Meter>,
    gauge: Gauge,
    disk: disk::Gauge,
    apart: Duration,
    next: Instant,
    live: Option<Live>,
}

/// The lines of a terminal that are drawn over and over.
#[derive(Debug)]
struct Live {
    lines: MultiProgress,
    time: ProgressBar,
    tenants: ByTenant<ProgressBar>,
    memory: ProgressBar,
    cpu: ProgressBar,
    disk: ProgressBar,
    notices: ProgressBar,
    trees: ProgressBar,
}

/// What a tenant had done when it was last shown.
#[derive(Clone, Copy, Debug)]
struct Meter {
    at: Instant,
    operations: u64,
    taken: u64,
}

/// What came to the release agent so far.
#[derive(Clone, Copy, Debug)]
struct Notices {
    made: u64,
    removed: u64,
}

/// Where the controllers are, and how often they were moved.
#[derive(Clone, Debug)]
struct Whereabouts {
    tree: Option<String>,
    rebinds: u64,
}

/// How a tenant does, in operations and references per second.
#[derive(Clone, Copy, Debug)]
struct Pace {
    who: Who,
    operations: u64,
    references: u64,
    groups: u64,
}

impl<'a> Display<'a> {
    /// A display that starts now.
    pub(crate) fn new(stage: &'a Stage, start: Instant) -> Self {
        let plain = stage.options.plain || !io::stdout().is_terminal();
        let live = (!plain).then(|| Live::new(stage.options.seconds));
        let apart = match live {
            Some(_) => REDRAW,
            None => schedule::lines_apart(stage.options.seconds),
        };
        let meter = Meter { at: start, operations: 0, taken: 0 };
        let (meters, gauge) = (Who::ALL.map(|_| meter), Gauge::new(start));
        let disk = disk::Gauge::new(start);
        Self { stage, start, meters, gauge, disk, apart, next: start + apart, live }
    }

    /// When there is next something to show.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Shows how the tenants do, if it is time.
    pub(crate) fn show(&mut self, now: Instant, output: &mut Output) {
        if now < self.next {
            return;
        }
        while self.next <= now {
            self.next += self.apart;
        }
        let paces = Who::ALL.map(|who| self.pace(who, now));
        let memory = Usage::of(self.stage);
        let cpu = self.gauge.read(now, turns::Usage::of(self.stage));
        let disk = self.disk.read(now, self.stage.disk.pace());
        let notices = self.notices();
        let whereabouts = self.whereabouts();
        let since = now - self.start;
        match &self.live {
            Some(live) => live.draw(since, paces, (memory, cpu, disk), (notices, &whereabouts)),
            None => {
                let [first, others @ ..] = paces;
                output.line(format_args!("{}  {first}", Seconds(since)));
                for pace in others {
                    output.line(format_args!("{:9}{pace}", ""));
                }
                output.line(format_args!("{:9}{memory}", ""));
                output.line(format_args!("{:9}{cpu}", ""));
                output.line(format_args!("{:9}{disk}", ""));
                output.line(format_args!("{:9}{notices}", ""));
                output.line(format_args!("{:9}{whereabouts}", ""));
            }
        }
    }

    /// Shows something that happened just now.
    pub(crate) fn tell(&mut self, what: &dyn fmt::Display, output: &mut Output) {
        let line = format!("{}  {what}", Seconds(self.start.elapsed()));
        match &self.live {
            Some(live) => output.note(live.lines.println(line)),
            None => output.line(line),
        }
    }

    /// Takes the live lines off the screen.
    pub(crate) fn clear(&self) {
        if let Some(live) = &self.live {
            // The report says the same, and finds out what is wrong with the terminal.
            live.lines.clear().ok();
        }
    }

    fn notices(&self) -> Notices {
        let removed = |who| self.stage.tenant(who).tally.groups_on_notice.get();
        let removed = Who::ALL.into_iter().map(removed).sum();
        Notices { made: self.stage.trees.registry.stats().notices, removed }
    }

    fn whereabouts(&self) -> Whereabouts {
        let tree = self.stage.queries.hierarchy().map(|tree| tree.name());
        Whereabouts { tree, rebinds: self.stage.rebinds.get() }
    }

    fn pace(&mut self, who: Who, now: Instant) -> Pace {
        let tally = &self.stage.tenant(who).tally;
        let current =
            Meter { at: now, operations: tally.operations.get(), taken: tally.taken.get() };
        let before = std::mem::replace(&mut self.meters[who as usize], current);
        let seconds = (now - before.at).as_secs_f64();
        let rate = |now: u64, before: u64| per_second(now - before, seconds);
        let removed = tally.groups_removed();
        Pace {
            who,
            operations: rate(current.operations, before.operations),
            references: rate(current.taken, before.taken),
            groups: tally.groups_made.get().saturating_sub(removed),
        }
    }
}

impl Live {
    fn new(seconds: u64) -> Self {
        let target = ProgressDrawTarget::stdout();
        let lines = MultiProgress::with_draw_target(target);
        let style = |template| {
            ProgressStyle::with_template(template).expect("the template is a constant that parses")
        };
        let time = ProgressBar::new(seconds * 1000).with_style(style("[{bar:50}] {msg}"));
        let line = || lines.add(ProgressBar::new(0).with_style(style("{msg}")));
        let tenants = Who::ALL.map(|_| line());
        let [memory, cpu, disk, notices, trees] = [(); 5].map(|()| line());
        let time = lines.insert(0, time);
        Self { lines, time, tenants, memory, cpu, disk, notices, trees }
    }

    fn draw(
        &self,
        since: Duration,
        paces: ByTenant<Pace>,
        (memory, cpu, disk): (Usage, Cpu, Disk),
        (notices, whereabouts): (Notices, &Whereabouts),
    ) {
        let total = self.time.length().unwrap_or_default() / 1000;
        self.time.set_position(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        self.time.set_message(format!("{} of {total} s", Seconds(since)));
        for (line, pace) in self.tenants.iter().zip(paces) {
            line.set_message(pace.to_string());
        }
        self.memory.set_message(memory.to_string());
        self.cpu.set_message(cpu.to_string());
        self.disk.set_message(disk.to_string());
        self.notices.set_message(notices.to_string());
        self.trees.set_message(whereabouts.to_string());
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "/{:9} {:>9} {:10} {:>10} references/s {:>4} groups",
            self.who.name(),
            HumanCount(self.operations).to_string(),
            format!("{}/s", self.who.operations()),
            HumanCount(self.references).to_string(),
            self.groups,
        )
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { all, analytics: (analytics, of), backup } = *self;
        let [analytics, of, backup, all] = [analytics, of, backup, all].map(Size);
        write!(
            f,
            "{:10} {:>9} used: {analytics} of {of} analytics, {backup} backup",
            "memory",
            all.to_string(),
        )
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, from, to, used } = self;
        let [from, to, used] = [*from, *to, *used].map(Size);
        write!(f, "memory.max of {path}: {from} -> {to}, with {used} in use")
    }
}

impl fmt::Display for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:10} {:>9} notices    {:>10} groups removed on notice",
            "agent",
            HumanCount(self.made).to_string(),
            HumanCount(self.removed).to_string(),
        )
    }
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rebinds = HumanCount(self.rebinds).to_string();
        let tree = self.tree.as_deref().unwrap_or("no tree");
        write!(f, "{:10} {rebinds:>9} rebinds      now in {tree}", "four")
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "queries, inflight, memory, cpu and io bound to by-tenant, with {}\n\
             {:9}tasks at work in its {} groups, in {:.1} ms",
            self.tasks,
            "",
            self.groups,
            self.took.as_secs_f64() * 1000.0,
        )
    }
}

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "/{} killed: {} members stopped; strict removal refused,\n{:9}\
             {} pairs of groups in use; {} detached and made again in {:.1} ms",
            self.who.name(),
            self.members,
            "",
            self.outlived,
            self.groups,
            self.took.as_secs_f64() * 1000.0,
        )
    }
}

/// A time since the start, in seven columns.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:5.1} s", self.0.as_secs_f64())
    }
}

/// A number of bytes, in three digits and eight columns at most.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut size, mut units) = (self.0 as f64, ["B", "KiB", "MiB", "GiB", "TiB"].into_iter());
        let mut unit = units.next().unwrap_or_default();
        while size >= 999.5 {
            let Some(next) = units.next() else { break };
            (size, unit) = (size / 1024.0, next);
        }
        let digits = usize::from(size < 9.95 && unit != "B");
        write!(f, "{size:.digits$} {unit}")
    }
}

/// `count` in `seconds`, as a rate; 0 if no time passed.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate for display")]
pub(crate) fn per_second(count: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (count as f64 / seconds).round() as u64 } else { 0 }
}

/// How far apart live lines are drawn.
const REDRAW: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_eighty_columns() {
        let pace = Pace {
            who: Who::Analytics,
            operations: 9_999_999,
            references: 99_999_999,
            groups: 9999,
        };
        assert!(pace.to_string().len() <= 80 - 9, "{pace}");
        let notices = Notices { made: 99_999_999, removed: 99_999_999 };
        assert!(notices.to_string().len() <= 80 - 9, "{notices}");
        let whereabouts = Whereabouts { tree: Some("by-tenant".to_owned()), rebinds: 99_999_999 };
        assert!(whereabouts.to_string().len() <= 80 - 9, "{whereabouts}");
        let most = 999 << 20;
        let memory = Usage { all: most, analytics: (most, most), backup: most };
        assert!(memory.to_string().len() <= 80 - 9, "{memory}");
    }

    #[test]
    fn a_kill_fits_eighty_columns() {
        let killed = Killed {
            who: Who::Analytics,
            members: 9999,
            groups: 9999,
            outlived: 9999,
            took: Duration::from_millis(12_345),
        };
        let bound = Bound { tasks: 99_999, groups: 99_999, took: Duration::from_millis(12_345) };
        let changed = Changed {
            path: "/analytics".to_owned(),
            from: 999 << 20,
            to: 999 << 20,
            used: 999 << 20,
        };
        assert!(changed.to_string().len() <= 80 - 9, "{changed}");
        for line in format!("{}  {killed}\n{bound}", Seconds(Duration::from_secs(3600))).lines() {
            assert!(line.len() <= 80, "{line}");
        }
    }

    #[test]
    fn a_size_has_three_digits() {
        let sizes = [0, 999, 1000, 1024, 10_239, 1_023_000, 1 << 20, 1_234_567_890, u64::MAX];
        let shown = sizes.map(|size| Size(size).to_string());
        let expected =
            ["0 B", "999 B", "1.0 KiB", "1.0 KiB", "10 KiB", "999 KiB", "1.0 MiB", "1.1 GiB"];
        assert_eq!(shown[..8], expected);
        assert_eq!(shown[8], "16777216 TiB");
    }

    #[test]
    fn no_time_means_no_rate() {
        assert_eq!(per_second(10, 0.0), 0);
        assert_eq!(per_second(10, 4.0), 3);
    }
}
