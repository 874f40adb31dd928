//! What [`IoTree`](fief_io::tree::IoTree) promises, on time, devices and callers that exist only here.

mod life;
mod rates;
mod reserve;
mod shares;
mod sim;
mod traps;
