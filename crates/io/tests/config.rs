//! Settings of devices as data.
#![cfg(feature = "serde")]

use fief_core::Registry;
use fief_io::{CostModel, DeviceConfig, Io};

#[test]
fn settings_come_back_as_they_were_and_make_a_device() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = DeviceConfig::new("disk");
    config.depth = Some(8);
    config.max_in_flight_usec = Some(2_000);
    config.quantum = Some(128 << 10);
    config.cost = CostModel::BYTES;
    let text = serde_json::to_string(&config)?;
    assert_eq!(serde_json::from_str::<DeviceConfig>(&text)?, config);
    let io = Registry::new().register(Io::new())?;
    assert_eq!(config.builder().register(&io)?.name(), "disk");
    Ok(())
}

#[test]
fn only_the_name_is_needed_and_what_is_unknown_is_refused() {
    let config = serde_json::from_str::<DeviceConfig>(r#"{"name":"disk"}"#).unwrap();
    assert_eq!(config, DeviceConfig::new("disk"));
    for bad in [r#"{}"#, r#"{"name":"disk","dept":8}"#, r#"{"name":"disk","depth":-1}"#] {
        assert!(serde_json::from_str::<DeviceConfig>(bad).is_err(), "{bad}");
    }
}

#[test]
fn settings_out_of_range_are_refused_by_the_builder() -> Result<(), Box<dyn std::error::Error>> {
    let io = Registry::new().register(Io::new())?;
    let refused = |change: fn(&mut DeviceConfig)| {
        let mut config = DeviceConfig::new("disk");
        change(&mut config);
        config.builder().register(&io).unwrap_err().to_string()
    };
    assert!(refused(|it| it.depth = Some(0)).contains("depth"));
    assert!(refused(|it| it.max_in_flight_usec = Some(0)).contains("time in flight"));
    assert!(refused(|it| it.quantum = Some(1)).contains("quantum"));
    assert!(refused(|it| it.name = "a b".into()).contains("a b"));
    Ok(())
}
