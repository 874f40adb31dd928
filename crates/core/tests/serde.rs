//! The feature `serde`: limits, statistics and ids as data.
#![cfg(feature = "serde")]

use std::{sync::Arc, time::Duration};

use fief_core::{
    AgentStats, Counter, CounterStats, FileInfo, Limit, Percent, Pressure, PressureKind,
    PressureStats, Registry, RegistryStats, ReleaseAgent, State, Tally, TallyStats, VirtualClock,
};

#[test]
fn limits_statistics_and_ids_come_back_as_they_were() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let stats = registry.stats();
    let text = serde_json::to_string(&(stats, hierarchy.id(), hierarchy.root().id())).unwrap();
    let back: (RegistryStats, _, _) = serde_json::from_str(&text).unwrap();
    assert_eq!(back, (stats, hierarchy.id(), hierarchy.root().id()));

    let stats = ReleaseAgent::remover(&hierarchy).unwrap().stats();
    let text = serde_json::to_string(&stats).unwrap();
    assert_eq!(serde_json::from_str::<AgentStats>(&text).unwrap(), stats);

    let values = (Limit::Max, Limit::At(3), State::Offline);
    let text = serde_json::to_string(&values).unwrap();
    assert_eq!(text, r#"["max",{"at":3},"offline"]"#);
    assert_eq!(serde_json::from_str::<(Limit, Limit, State)>(&text).unwrap(), values);

    let files = hierarchy.root().files().unwrap();
    let text = serde_json::to_string(&files).unwrap();
    assert!(text.starts_with(r#"[{"name":"cgroup.controllers","access":"read"},"#), "{text}");
    assert_eq!(serde_json::from_str::<Vec<FileInfo>>(&text).unwrap(), files);
}

#[test]
fn figures_of_counters_and_tallies_come_back_as_they_were() {
    let counter = Counter::new();
    counter.set_max(Limit::At(7));
    let stats = counter.stats();
    let text = serde_json::to_string(&stats).unwrap();
    assert_eq!(serde_json::from_str::<CounterStats>(&text).unwrap(), stats);

    let tally = Tally::<3>::new();
    tally.add(2, 5);
    let stats = tally.stats();
    let text = serde_json::to_string(&stats).unwrap();
    assert_eq!(text, r#"{"own":[0,0,5],"total":[0,0,5]}"#);
    assert_eq!(serde_json::from_str::<TallyStats<3>>(&text).unwrap(), stats);
    for length in ["2", "4"] {
        let error = match length {
            "2" => serde_json::from_str::<TallyStats<2>>(&text).unwrap_err().to_string(),
            _ => serde_json::from_str::<TallyStats<4>>(&text).unwrap_err().to_string(),
        };
        assert!(error.contains("invalid length"), "{error}");
    }
}

#[test]
fn pressure_comes_back_as_it_was() {
    let clock = VirtualClock::new();
    let pressure = Pressure::new(Arc::new(clock.clone()));
    for _ in 0..100 {
        let stall = pressure.stall();
        clock.advance(Duration::from_millis(777));
        drop(stall);
        clock.advance(Duration::from_millis(333));
        let stats = pressure.stats();
        let text = serde_json::to_string(&stats).unwrap();
        assert_eq!(serde_json::from_str::<PressureStats>(&text).unwrap(), stats);
    }
    let text = serde_json::to_string(&(pressure.stats().some, PressureKind::Full)).unwrap();
    assert_eq!(text, r#"[{"avg10":69.14,"avg60":58.7,"avg300":21.49,"total":77700000},"full"]"#);
    for text in ["-1", "100.5", "\"1\""] {
        assert!(serde_json::from_str::<Percent>(text).is_err(), "{text}");
    }
}
