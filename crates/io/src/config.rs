//! How a device is to be, as data.

use std::time::Duration;

use crate::{
    cost::CostModel,
    device::{Device, DeviceBuilder},
};

/// The settings of a [`Device`], as data: what `fief calibrate` writes, with the feature `serde`.
///
/// [`builder`](Self::builder) makes them a device, which checks them.
///
/// # Examples
///
/// ```
/// use fief_core::Registry;
/// use fief_io::{DeviceConfig, Io};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = DeviceConfig::new("disk");
/// config.depth = Some(8);
/// let io = Registry::new().register(Io::new())?;
/// let disk = config.builder().register(&io)?;
/// assert_eq!(disk.name(), "disk");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct DeviceConfig {
    /// Its name: see [`Device::builder`].
    pub name: String,
    /// How many operations may be in flight: see [`DeviceBuilder::depth`].
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub depth: Option<u32>,
    /// How much time what is in flight may cost, in microseconds: see [`DeviceBuilder::max_in_flight`].
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub max_in_flight_usec: Option<u64>,
    /// How many bytes are charged in one turn: see [`DeviceBuilder::quantum`].
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub quantum: Option<u64>,
    /// What operations cost: see [`DeviceBuilder::cost`].
    #[cfg_attr(feature = "serde", serde(default))]
    pub cost: CostModel,
}

impl DeviceConfig {
    /// Returns the default settings of a device of that name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            depth: None,
            max_in_flight_usec: None,
            quantum: None,
            cost: CostModel::default(),
        }
    }

    /// Returns a builder of a device with these settings.
    pub fn builder(&self) -> DeviceBuilder {
        let mut builder = Device::builder(&self.name).cost(self.cost);
        if let Some(depth) = self.depth {
            builder = builder.depth(depth);
        }
        if let Some(cost) = self.max_in_flight_usec {
            builder = builder.max_in_flight(Duration::from_micros(cost));
        }
        if let Some(quantum) = self.quantum {
            builder = builder.quantum(quantum);
        }
        builder
    }
}
