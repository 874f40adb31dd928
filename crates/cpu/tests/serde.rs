//! The feature `serde`: limits and figures as data.
#![cfg(feature = "serde")]

use std::{sync::Arc, time::Duration};

use fief_core::{Registry, VirtualClock};
use fief_cpu::{Bandwidth, Cpu, CpuStats, Pool};

#[test]
fn figures_come_back_as_they_were() {
    let (clock, registry) = (VirtualClock::new(), Registry::new());
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let cpu = registry.register(Cpu::builder().clock(Arc::new(clock.clone())).build()).unwrap();
    cpu.bind(&hierarchy).unwrap();
    let web = hierarchy.root().create_child("web").unwrap();
    web.write("cpu.max", "1000").unwrap();
    let mut worker = Pool::builder(&cpu).manual().unwrap();
    let member = worker.group(&web).unwrap();
    drop(member.spawn(async move { clock.advance(Duration::new(12, 345_678_901)) }).unwrap());
    worker.run_until_idle();
    let stats = cpu.css(&web).unwrap().stats();
    assert_eq!((stats.nr_long_polls, stats.overruns, stats.nr_periods), (1, 2, 1));
    let text = serde_json::to_string(&stats).unwrap();
    assert_eq!(serde_json::from_str::<CpuStats>(&text).unwrap(), stats);
    assert!(text.contains(r#""usage":{"secs":12,"nanos":345678901}"#), "{text}");
    assert!(text.contains(r#""nr_throttled":"#), "{text}");
}

#[test]
fn limits_come_back_and_are_checked_as_they_do() {
    let milli = Duration::from_millis(1);
    let max = Bandwidth::new(milli * 20, milli * 50).unwrap().with_burst(milli * 5).unwrap();
    for max in [max, Bandwidth::MAX] {
        let text = serde_json::to_string(&max).unwrap();
        assert_eq!(serde_json::from_str::<Bandwidth>(&text).unwrap(), max);
    }
    let text = serde_json::to_string(&max).unwrap();
    assert_eq!(text, r#"{"quota_us":20000,"period_us":50000,"burst_us":5000}"#);
    for (from, to) in [("20000", "999"), ("20000", "4999"), ("50000", "1000001"), ("5000}", "-1}")]
    {
        let wrong = text.replacen(from, to, 1);
        assert!(wrong != text && serde_json::from_str::<Bandwidth>(&wrong).is_err(), "{wrong}");
    }
}
