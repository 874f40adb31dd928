//! On a tokio runtime: its timers and sockets work in what groups run.
#![cfg(all(feature = "tokio", feature = "cpu", feature = "io", feature = "memory"))]

use std::time::Duration;

use fief::prelude::*;
use tokio::{runtime::Handle, time};

#[tokio::test(flavor = "multi_thread")]
async fn timers_work_in_a_group() {
    let fief = Fief::builder().tokio(Handle::current()).start().unwrap();
    let acme = fief.group("acme").unwrap();
    let here = acme.run(async {
        time::sleep(Duration::from_millis(1)).await;
        here().map(|here| here.group().cgroup().path())
    });
    assert_eq!(here.await.unwrap().as_deref(), Some("/acme"));
    tokio::task::spawn_blocking(move || drop(fief)).await.unwrap();
}
