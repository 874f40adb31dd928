//! What the tenants do: real work on TPC-H data, every result checked.

pub(crate) mod analytics;
pub(crate) mod api;
pub(crate) mod archive;
pub(crate) mod backup;
pub(crate) mod buffers;
pub(crate) mod client;
pub(crate) mod data;
pub(crate) mod disk;
pub(crate) mod drive;
pub(crate) mod protocol;
pub(crate) mod query;
pub(crate) mod reports;
pub(crate) mod sort;
pub(crate) mod spool;
pub(crate) mod worker;
pub(crate) mod workspace;
