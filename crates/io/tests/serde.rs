//! The feature `serde`: limits and figures as data.
#![cfg(feature = "serde")]

use std::{sync::Arc, time::Duration};

use fief_core::{Limit, Registry, VirtualClock};
use fief_io::{Device, Dimension, Io, IoStats, Limits, Min, Op, ProcessStats};

#[test]
fn figures_come_back_as_they_were() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let io = Io::builder().clock(Arc::new(VirtualClock::new())).build();
    let io = registry.register(io).unwrap();
    io.bind(&hierarchy).unwrap();
    let disk = Device::builder("disk").depth(4).register(&io).unwrap();
    let web = hierarchy.root().create_child("web").unwrap();
    let stream = disk.stream(&web).unwrap();
    let permit = stream.try_acquire(Op::read(4096)).unwrap();
    let stats = io.css(&web).unwrap().stats(&disk);
    assert_eq!((stats.rbytes, stats.rios, stats.inflight), (4096, 1, 1));
    assert!(stats.cost > Duration::ZERO);
    drop(permit);
    let text = serde_json::to_string(&stats).unwrap();
    assert_eq!(serde_json::from_str::<IoStats>(&text).unwrap(), stats);
    assert!(text.contains(r#""rbytes":4096"#) && text.contains(r#""wait":{"secs":0,"#), "{text}");
    let stats = serde_json::from_str::<ProcessStats>(r#"{"device_rbytes":1,"device_wbytes":2}"#);
    let stats = stats.unwrap();
    assert_eq!((stats.device_rbytes, stats.device_wbytes), (1, 2));
}

#[test]
fn limits_come_back_and_are_checked_as_they_do() {
    let limits = Limits::new().rbps(1 << 20).iops(100).with_burst(Dimension::Iops, Some(10));
    let all = Dimension::ALL
        .into_iter()
        .fold(limits, |limits, dimension| limits.with(dimension, Limit::At(i64::MAX as u64)));
    for limits in [limits, all, Limits::MAX] {
        let text = serde_json::to_string(&limits).unwrap();
        assert_eq!(serde_json::from_str::<Limits>(&text).unwrap(), limits, "{text}");
    }
    let text = serde_json::to_string(&limits).unwrap();
    assert_eq!(text, r#"{"iops":100,"iops_burst":10,"rbps":1048576}"#);
    assert_eq!(serde_json::to_string(&Limits::MAX).unwrap(), "{}");
    for (from, to) in [
        ("100", "0"),
        ("100", "-1"),
        ("1048576", "9223372036854775808"),
        (r#""iops""#, r#""ops""#),
        (r#""iops_burst""#, r#""_burst""#),
        ("100", "null"),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert!(wrong != text && serde_json::from_str::<Limits>(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_reservation_comes_back() {
    let min = Min { bps: 7, iops: 0 };
    let text = serde_json::to_string(&min).unwrap();
    assert_eq!(text, r#"{"bps":7,"iops":0}"#);
    assert_eq!(serde_json::from_str::<Min>(&text).unwrap(), min);
}
