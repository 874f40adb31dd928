//! What stands in a scenario file.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Spanned;

/// A scenario, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) title: String,
    /// What it shows, in a sentence or two.
    pub(crate) about: String,
    /// Of all that is random.
    #[serde(default = "one")]
    pub(crate) seed: u64,
    /// The names of the hierarchies. Controllers are bound to the first.
    pub(crate) trees: Spanned<Vec<String>>,
    #[serde(default)]
    pub(crate) data: Data,
    #[serde(default)]
    pub(crate) device: Device,
    #[serde(rename = "tenant")]
    pub(crate) tenants: Vec<Tenant>,
    #[serde(rename = "act")]
    pub(crate) acts: Vec<Act>,
}

/// The rows that are hashed, grouped and sorted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Data {
    /// TPC-H scale factor, 0.001 to 1.
    pub(crate) scale: Spanned<f64>,
}

/// How the file's device is shared, once the io controller is bound.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Device {
    /// Operations in flight.
    pub(crate) depth: Spanned<u32>,
}

/// Somebody who works.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tenant {
    pub(crate) name: Spanned<String>,
    /// The path of its group in each tree.
    pub(crate) groups: Spanned<Vec<String>>,
    /// Exactly one of these.
    pub(crate) requests: Option<Requests>,
    pub(crate) queries: Option<Queries>,
    pub(crate) backup: Option<Backup>,
}

/// Requests over loopback TCP that come when they come, answered or not: each hashes rows and reads a block.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Requests {
    /// A second, 1 to 20,000; not with `arrivals`.
    pub(crate) rate: Option<Spanned<u32>>,
    /// A CSV file whose first column says when they come; `ContextTokens`, if there is such a column, says how many
    /// rows each is about.
    pub(crate) arrivals: Option<Spanned<PathBuf>>,
    /// How many times as fast as it was.
    pub(crate) speed: Option<Spanned<f64>>,
    /// Users, each with a group of its own and a connection, 1 to 64.
    #[serde(default = "four")]
    pub(crate) users: Spanned<u32>,
    /// Rows that a request hashes, 1 to 4,096.
    #[serde(default = "rows")]
    pub(crate) rows: Spanned<u32>,
    /// Within which a request is answered well.
    #[serde(default = "objective", deserialize_with = "duration")]
    pub(crate) objective: Duration,
}

/// Queries that use all the CPU and memory they get; each has a group of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Queries {
    /// At a time, 1 to 256.
    pub(crate) concurrent: Spanned<u32>,
    /// How many of these sort, and keep what they read: every other one spills when memory is short, the others wait
    /// for it.
    #[serde(default = "none")]
    pub(crate) sorts: Spanned<u32>,
}

/// Streams that read and write 1 MiB at a time, and compress every eighth.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backup {
    /// At a time, 1 to 64.
    pub(crate) streams: Spanned<u32>,
}

/// A part of a scenario, with figures of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Act {
    pub(crate) title: String,
    /// What is to be seen in it.
    pub(crate) claim: String,
    /// Half a second to an hour.
    #[serde(deserialize_with = "spanned_duration")]
    pub(crate) lasts: Spanned<Duration>,
    /// Tenants that begin to work.
    #[serde(default)]
    pub(crate) start: Vec<Spanned<String>>,
    /// What is done, in this order.
    #[serde(default, rename = "do")]
    pub(crate) deeds: Vec<Spanned<Deed>>,
}

/// Something that is done at a time of an act: exactly one of these.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deed {
    /// From the beginning of the act.
    #[serde(default, deserialize_with = "duration")]
    pub(crate) at: Duration,
    /// Controllers that are bound to the first tree.
    pub(crate) bind: Option<Vec<Spanned<String>>>,
    /// Control files, as `/api/cpu.weight`, and what is written to them.
    pub(crate) write: Option<BTreeMap<Spanned<String>, String>>,
    /// Control files whose contents are shown.
    pub(crate) show: Option<Vec<Spanned<String>>>,
    pub(crate) rebind: Option<Rebind>,
    #[serde(rename = "move")]
    pub(crate) shift: Option<Shift>,
    pub(crate) remove: Option<Remove>,
}

/// Controllers that go from the tree where they are to another.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rebind {
    pub(crate) controllers: Vec<Spanned<String>>,
    /// Where they are in the end.
    pub(crate) to: Spanned<String>,
    /// How often they go, to and fro: an odd number.
    #[serde(default = "once")]
    pub(crate) times: Spanned<u32>,
    /// How long from one to the next; half of it is a window in which none happens.
    #[serde(default = "pause", deserialize_with = "duration")]
    pub(crate) every: Duration,
}

/// A tenant's members go to another group of a tree.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shift {
    pub(crate) tenant: Spanned<String>,
    pub(crate) tree: Spanned<String>,
    pub(crate) to: Spanned<String>,
}

/// A tenant is killed, and its groups are removed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Remove {
    pub(crate) tenant: Spanned<String>,
    pub(crate) policy: Policy,
}

/// How groups are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Policy {
    /// Once nothing is left of them, when a notice says so.
    Notice,
    /// At once, whatever is still held.
    Detach,
}

impl Scenario {
    /// The first three acts, in which tenants begin to work, and nothing is done to them.
    pub(crate) fn without_control(&self) -> Self {
        let acts = self.acts.iter().take(3).map(|act| Act { deeds: Vec::new(), ..act.clone() });
        Self { acts: acts.collect(), ..self.clone() }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self { scale: Spanned::new(0..0, 0.02) }
    }
}

impl Default for Device {
    fn default() -> Self {
        Self { depth: Spanned::new(0..0, 4) }
    }
}

fn one() -> u64 {
    1
}

fn none() -> Spanned<u32> {
    Spanned::new(0..0, 0)
}

fn once() -> Spanned<u32> {
    Spanned::new(0..0, 1)
}

fn four() -> Spanned<u32> {
    Spanned::new(0..0, 4)
}

fn rows() -> Spanned<u32> {
    Spanned::new(0..0, 256)
}

fn objective() -> Duration {
    Duration::from_millis(5)
}

fn pause() -> Duration {
    Duration::from_millis(40)
}

/// A time as people write it: `5ms`, `1.5s` is `1s 500ms`.
fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text).map_err(|error| D::Error::custom(format!("{text:?}: {error}")))
}

fn spanned_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Spanned<Duration>, D::Error> {
    let text = Spanned::<String>::deserialize(from)?;
    let time = humantime::parse_duration(text.get_ref());
    let time = time.map_err(|error| D::Error::custom(format!("{:?}: {error}", text.get_ref())))?;
    Ok(Spanned::new(text.span(), time))
}
