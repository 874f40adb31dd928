//! A real file that bulk readers and a light one share.

pub mod target;
pub mod load;
mod raw;
mod fief;
mod semaphore;
mod cap;
mod kernel;
#[cfg(feature = "glommio")]
pub mod glommio;

pub use self::{
    cap::Capped,
    fief::{Shared, Sharing},
    kernel::Throttled,
    raw::Raw,
    semaphore::Permits,
};
