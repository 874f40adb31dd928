//! How a member hears that it was killed.

use std::net::{Shutdown, TcpStream};

use crossbeam_channel::{Receiver, Sender, bounded};
use fief_core::Task;

use crate::{
    soak::tally::Tally,
    sync::{Arc, Flag, Mutex},
};

/// What stops one worker, wherever it is: computing, waiting for a connection, or reading from one.
#[derive(Debug)]
pub(crate) struct Cancel {
    flag: Flag,
    wake: Sender<()>,
    woken: Receiver<()>,
    stream: Mutex<Option<TcpStream>>,
    tally: Arc<Tally>,
}

impl Cancel {
    pub(crate) fn new(tally: &Arc<Tally>) -> Arc<Self> {
        let (wake, woken) = bounded(1);
        let (flag, stream) = (Flag::default(), Mutex::default());
        Arc::new(Self { flag, wake, woken, stream, tally: Arc::clone(tally) })
    }

    /// Makes a kill of `task` stop the worker.
    pub(crate) fn stop_with(self: &Arc<Self>, task: &Task) {
        let cancel = Arc::clone(self);
        task.on_cancel(move || cancel.cancel());
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.flag.is_raised()
    }

    /// Receives once after a kill, for waiting on several things at a time.
    pub(crate) fn woken(&self) -> &Receiver<()> {
        &self.woken
    }

    /// Makes a kill shut `stream` down, until the next call; at once if the kill was before.
    pub(crate) fn watch(&self, stream: Option<TcpStream>) {
        let mut watched = self.stream.lock();
        *watched = stream;
        if self.is_cancelled() {
            shut_down(watched.as_ref());
        }
    }

    /// Forgets the kill: the worker has left the groups that were killed.
    pub(crate) fn reset(&self) {
        self.watch(None);
        self.flag.lower();
        self.woken.try_recv().ok();
    }

    /// Stops the worker.
    pub(crate) fn cancel(&self) {
        self.tally.heard.add(1);
        let watched = self.stream.lock();
        self.flag.raise();
        shut_down(watched.as_ref());
        // Full means that the worker was woken already.
        self.wake.try_send(()).ok();
    }
}

fn shut_down(stream: Option<&TcpStream>) {
    if let Some(stream) = stream {
        // An error says that the other side was faster.
        stream.shutdown(Shutdown::Both).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::{io::Read as _, net::TcpListener};

    #[test]
    fn a_kill_wakes_and_is_forgotten_by_a_reset() {
        let tally = Arc::new(Tally::default());
        let cancel = Cancel::new(&tally);
        cancel.cancel();
        cancel.cancel();
        assert!(cancel.is_cancelled());
        assert_eq!(cancel.woken().len(), 1);

        cancel.reset();
        assert!(!cancel.is_cancelled());
        assert!(cancel.woken().is_empty());
        assert_eq!(tally.heard.get(), 2);
    }

    #[test]
    fn a_kill_ends_a_read_whether_it_comes_before_or_after() {
        for kill_first in [true, false] {
            let cancel = Cancel::new(&Arc::default());
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            if kill_first {
                cancel.cancel();
            }
            cancel.watch(Some(server));
            if !kill_first {
                cancel.cancel();
            }
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
    }
}
