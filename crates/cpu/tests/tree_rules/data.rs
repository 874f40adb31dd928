//! Settings and figures: what is accepted, how it is shown, and what comes back.

use std::time::Duration;

use fief_cpu::tree::{Bandwidth, BandwidthError, SettingsError, TreeSettings};
use insta::assert_snapshot;

const MAX: Bandwidth = Bandwidth::MAX;

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

#[test]
fn bandwidth_is_what_the_kernel_accepts() {
    assert_eq!(Bandwidth::default(), MAX);
    assert!(Bandwidth::new(micros(1_000), micros(1_000)).is_ok());
    assert!(Bandwidth::new(micros((1 << 44) - 1), micros(1_000_000)).is_ok());
    for quota in [micros(0), micros(999), micros(1 << 44)] {
        assert_eq!(MAX.with_quota(Some(quota)), Err(BandwidthError::Quota { quota }));
    }
    for period in [micros(0), micros(999), micros(1_000_001)] {
        assert_eq!(MAX.with_period(period), Err(BandwidthError::Period { period }));
    }
    let (burst, quota) = (micros(2_001), micros(2_000));
    let limited = Bandwidth::new(quota, micros(2_000)).unwrap();
    assert_eq!(limited.with_burst(burst), Err(BandwidthError::Burst { burst, quota }));
    let limited = limited.with_burst(quota).unwrap();
    let (burst, quota) = (quota, micros(1_000));
    assert_eq!(limited.with_quota(Some(quota)), Err(BandwidthError::Burst { burst, quota }));
    assert_eq!((limited.quota(), limited.period()), (Some(micros(2_000)), micros(2_000)));
    assert_eq!(limited.burst(), burst);
    let whole = Bandwidth::new(Duration::from_nanos(1_500_999), micros(1_000)).unwrap();
    assert_eq!(whole.quota(), Some(micros(1_500)));
}

#[test]
fn bandwidth_is_read_and_shown_as_cpu_max() {
    let half = Bandwidth::new(micros(50_000), micros(100_000)).unwrap();
    assert_eq!(half.to_string(), "50000 100000");
    assert_eq!(MAX.to_string(), "max 100000");
    assert_eq!("50000 100000\n".parse(), Ok(half));
    assert_eq!("50000".parse(), Ok(half));
    assert_eq!("max".parse(), Ok(MAX));
    // What is not said stays.
    let burst = half.with_period(micros(20_000)).unwrap().with_burst(micros(50)).unwrap();
    assert_eq!(burst.updated("max").unwrap().to_string(), "max 20000");
    assert_eq!(burst.updated("2000 3000").unwrap().burst(), micros(50));
    for text in [
        "",
        "min",
        "1e5",
        "+5000",
        "-1",
        "50000 100000 1",
        "50000 max",
        "5000us",
        "99999999999999999999",
    ] {
        assert_eq!(
            half.updated(text),
            Err(BandwidthError::Text { text: text.to_owned() }),
            "{text}"
        );
    }
    for (text, error) in [("999", "a quota of 999 us"), ("5000 999", "a period of 999 us")] {
        assert!(half.updated(text).unwrap_err().to_string().starts_with(error));
    }
    assert_snapshot!(half.updated("x").unwrap_err(), @"`x` is no bandwidth: `max` or microseconds, and perhaps a period in microseconds");
    assert_snapshot!(half.with_burst(micros(50_001)).unwrap_err(), @"a burst of 50001 us: it must be at most the quota of 50000 us");
}

#[test]
fn settings_are_checked() {
    let settings = TreeSettings::default();
    assert_eq!((settings.slice(), settings.debt()), (200_000, 100_000_000));
    let (least, most) = (20_000, 10_000_000);
    for slice in [0, 19_999, 10_000_001] {
        assert_eq!(settings.with_slice(slice), Err(SettingsError::Slice { slice, least, most }));
    }
    let least = 200_000;
    for debt in [0, 199_999, 1_000_000_001] {
        let error = SettingsError::Debt { debt, least, most: 1_000_000_000 };
        assert_eq!(settings.with_debt(debt), Err(error));
    }
    assert!(settings.with_debt(200_000).unwrap().with_slice(200_001).is_err());
}

#[cfg(feature = "serde")]
#[test]
fn data_come_back_as_they_were_and_are_checked() {
    use fief_cpu::tree::{CpuTree, NodeStats};

    let half = Bandwidth::new(micros(50_000), micros(100_000)).unwrap();
    let half = half.with_burst(micros(7)).unwrap();
    let text = serde_json::to_string(&half).unwrap();
    assert_snapshot!(text, @r#"{"quota_us":50000,"period_us":100000,"burst_us":7}"#);
    assert_eq!(serde_json::from_str::<Bandwidth>(&text).unwrap(), half);
    let text = serde_json::to_string(&MAX).unwrap();
    assert_eq!(serde_json::from_str::<Bandwidth>(&text).unwrap(), MAX);
    assert!(serde_json::from_str::<Bandwidth>(r#"{"quota_us":1,"period_us":100000}"#).is_err());
    let settings = TreeSettings::default().with_slice(20_000).unwrap();
    let text = serde_json::to_string(&settings).unwrap();
    assert_snapshot!(text, @r#"{"slice_ns":20000,"debt_ns":100000000}"#);
    assert_eq!(serde_json::from_str::<TreeSettings>(&text).unwrap(), settings);
    assert!(serde_json::from_str::<TreeSettings>(r#"{"slice_ns":1,"debt_ns":100000000}"#).is_err());
    let mut tree = CpuTree::new(settings);
    tree.activate(tree.root(), 0).unwrap();
    let pick = tree.pick(0).unwrap();
    tree.settle(pick, 3, 0);
    let stats = tree.stats(tree.root()).unwrap();
    let text = serde_json::to_string(&stats).unwrap();
    assert_eq!(serde_json::from_str::<NodeStats>(&text).unwrap(), stats);
    assert!(text.starts_with(r#"{"usage":3,"own_usage":3,"slices":1,"overruns":0,"#), "{text}");
}
