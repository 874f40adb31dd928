//! The feature `serde`: limits, statistics and ids as data.
#![cfg(feature = "serde")]

use fief_core::{AgentStats, Limit, Registry, RegistryStats, ReleaseAgent, State};

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
}
