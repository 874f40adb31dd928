//! Limits as data: `{"rbps": 1048576, "iops": 100, "iops_burst": 10}`, of which what is not limited is left out.

use std::{collections::BTreeMap, fmt};

use fief_core::Limit;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor},
};

use crate::tree::{Dimension, Limits};

impl Serialize for Limits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rate = |dimension: Dimension| match self.rate(dimension) {
            Limit::At(rate) => Some((dimension.name().to_owned(), rate)),
            Limit::Max => None,
        };
        let burst = |dimension: Dimension| {
            Some((format!("{}_burst", dimension.name()), self.burst(dimension)?))
        };
        let rates = Dimension::ALL.into_iter().filter_map(rate);
        let bursts = Dimension::ALL.into_iter().filter_map(burst);
        rates.chain(bursts).collect::<BTreeMap<_, _>>().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LimitsVisitor)
    }
}

struct LimitsVisitor;

impl<'de> Visitor<'de> for LimitsVisitor {
    type Value = Limits;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rates of rbps, wbps, riops, wiops, bps, iops, and their _burst")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Limits, A::Error> {
        let mut limits = Limits::MAX;
        while let Some((key, value)) = map.next_entry::<String, u64>()? {
            let name = key.strip_suffix("_burst");
            let is_named = |dimension: &Dimension| dimension.name() == name.unwrap_or(&key);
            let dimension = Dimension::ALL.into_iter().find(is_named);
            let dimension = dimension.ok_or_else(|| {
                A::Error::custom(format_args!("{key:?} is neither a rate nor a burst"))
            })?;
            limits = match name {
                Some(_) => limits.with_burst(dimension, Some(value)),
                None => limits.with(dimension, Limit::At(value)),
            };
        }
        limits.check().map_err(A::Error::custom)?;
        Ok(limits)
    }
}
