//! Real requests replayed as charges: usage at every event is what an independent sum says.
//!
//! The traces are the Azure LLM inference traces of 2023 (CC-BY 4.0, Microsoft): two services with bursts
//! and very different requests. They are no part of the project: where they are not, the test says so
//! and ends.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fief_core::{Clock as _, CssRef, Registry, VirtualClock};
use fief_memory::{Memory, MemoryCss};

/// What a token of context takes while its request is served, in bytes.
const TOKEN: u64 = 819;

/// How long it takes to generate a token.
const PACE: Duration = Duration::from_millis(23);

/// A request: when it comes, what it takes, and for how long.
#[derive(Clone, Copy, Debug)]
struct Request {
    service: usize,
    arrival: Duration,
    bytes: u64,
    lasts: Duration,
}

/// Where the traces are, if they are.
fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    folder.join("azure-llm-2023-code.csv").is_file().then_some(folder)
}

/// Reads the time of the day out of `2023-11-16 18:17:03.9799600`.
fn time(text: &str) -> Option<Duration> {
    let mut parts = text.split_once(' ')?.1.split([':', '.']);
    let mut number = || parts.next()?.parse::<u64>().ok();
    let (hours, minutes, seconds) = (number()?, number()?, number()?);
    let ticks = number()?; // of 100 ns
    let whole = Duration::from_secs(hours * 3600 + minutes * 60 + seconds);
    Some(whole + Duration::from_nanos(ticks * 100))
}

fn request(line: &str, service: usize) -> Option<Request> {
    let mut fields = line.trim_end().split(',');
    let arrival = time(fields.next()?)?;
    let context: u64 = fields.next()?.parse().ok()?;
    let generated: u32 = fields.next()?.parse().ok()?;
    Some(Request { service, arrival, bytes: context * TOKEN, lasts: PACE * generated })
}

fn requests(folder: &Path) -> Result<Vec<Request>, Box<dyn Error>> {
    let mut requests = Vec::new();
    for (service, file) in ["azure-llm-2023-code.csv", "azure-llm-2023-conv.csv"].iter().enumerate()
    {
        let text = fs::read_to_string(folder.join(file))?;
        for line in text.lines().skip(1).filter(|line| !line.trim().is_empty()) {
            requests.push(request(line, service).ok_or_else(|| format!("{file}: {line:?}"))?);
        }
    }
    requests.sort_by_key(|request| request.arrival);
    let first = requests.first().map_or(Duration::ZERO, |request| request.arrival);
    requests.iter_mut().for_each(|request| request.arrival -= first);
    Ok(requests)
}

/// The sum by which usage is checked: of each moment, what all requests that are there then take.
fn offline(requests: &[Request]) -> Vec<(Duration, [i64; 2])> {
    let mut changes: Vec<(Duration, usize, i64)> = Vec::new();
    for request in requests {
        let bytes = i64::try_from(request.bytes).expect("small");
        changes.push((request.arrival, request.service, bytes));
        changes.push((request.arrival + request.lasts, request.service, -bytes));
    }
    changes.sort_by_key(|change| change.0);
    let mut sums = [0; 2];
    let mut usages: Vec<(Duration, [i64; 2])> = Vec::new();
    for (at, service, change) in changes {
        sums[service] += change;
        match usages.last_mut() {
            Some((last, usage)) if *last == at => *usage = sums,
            _ => usages.push((at, sums)),
        }
    }
    usages
}

/// Two services, and the requests that they serve.
struct Services {
    css: [CssRef<MemoryCss>; 2],
    root: CssRef<MemoryCss>,
    /// When each ends, whose it is, and what it takes.
    served: BinaryHeap<Reverse<(Duration, usize, u64)>>,
}

impl Services {
    fn begin(&mut self, request: &Request) {
        self.css[request.service].try_charge(request.bytes).expect("there is no limit");
        let end = request.arrival + request.lasts;
        self.served.push(Reverse((end, request.service, request.bytes)));
    }

    /// Gives back what ends at `now` or before.
    fn end(&mut self, now: Duration) {
        while let Some(&Reverse((at, service, bytes))) = self.served.peek() {
            if at > now {
                return;
            }
            self.served.pop();
            self.css[service].uncharge(bytes);
        }
    }

    fn usages(&self) -> [i64; 2] {
        let _ = self.root.drain();
        self.css.each_ref().map(|css| css.current().try_into().expect("small"))
    }
}

#[test]
fn usage_is_what_the_requests_take_at_every_event() -> Result<(), Box<dyn Error>> {
    let Some(folder) = folder() else {
        eprintln!("skipped: the traces are not in ../shared/data, beside the project");
        return Ok(());
    };
    let requests = requests(&folder)?;
    let clock = VirtualClock::new();
    let registry = Registry::new();
    let tree = registry.create_hierarchy("by-service")?;
    let memory = Memory::builder().clock(Arc::new(clock.clone())).build();
    let memory = registry.register(memory)?;
    memory.bind(&tree)?;
    let css = ["code", "conv"].map(|name| {
        let group = tree.root().create_child(name).expect("the name is free");
        memory.css(&group).expect("it is online")
    });
    let root = memory.root().ok_or("no root")?;
    let mut services = Services { css, root, served: BinaryHeap::new() };

    let mut arriving = requests.iter().peekable();
    for (now, expected) in offline(&requests) {
        clock.advance(now.saturating_sub(clock.now()));
        while let Some(request) = arriving.next_if(|request| request.arrival == now) {
            services.begin(request);
        }
        services.end(now);
        assert_eq!(services.usages(), expected, "at {now:?}");
        let all: i64 = services.root.current().try_into()?;
        assert_eq!(all, expected[0] + expected[1], "at {now:?}");
    }
    assert!(arriving.next().is_none() && services.served.is_empty(), "all came, and all ended");
    assert_eq!(services.root.current(), 0);
    Ok(())
}
