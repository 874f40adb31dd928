//! Tenant `api`, the clients' side: asks, and checks every answer.

use std::net::TcpStream;

use anyhow::{Context as _, Result};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    soak::{
        stage::{Stage, Who},
        tree::USERS,
    },
    workload::{
        api::MAX_ROWS,
        protocol::{Answer, Request},
    },
};

/// A thread that sends one request after the other, over one connection as long as it lasts.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    stage: &'a Stage,
    rng: fastrand::Rng,
    next_id: u64,
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Right,
    Wrong,
    /// The connection ended first.
    None,
}

impl<'a> Client<'a> {
    pub(crate) fn new(stage: &'a Stage, index: u32) -> Self {
        let rng = stage.rng(Who::Api, index);
        Self { stage, rng, next_id: u64::from(index) << 32 }
    }

    /// Asks until the soak ends; connects again whenever a kill cut the connection.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached.
    pub(crate) fn run(mut self) -> Result<()> {
        let tally = &self.stage.tenant(Who::Api).tally;
        while !self.stage.ending.is_raised() {
            let mut stream = TcpStream::connect(self.stage.address)
                .with_context(|| format!("cannot connect to {}", self.stage.address))?;
            // Without it requests are slower, not wrong.
            stream.set_nodelay(true).ok();
            while !self.stage.ending.is_raised() {
                let reply = self.stage.phases.time(|| {
                    let reply = self.ask(&mut stream);
                    (reply, reply != Reply::None)
                });
                if reply == Reply::None {
                    tally.interrupted.add(1);
                    break;
                }
                tally.checked.add(1);
                tally.wrong.add(u64::from(reply == Reply::Wrong));
            }
        }
        Ok(())
    }

    fn ask(&mut self, stream: &mut TcpStream) -> Reply {
        let request = self.next_request();
        if request.write(stream).is_err() {
            return Reply::None;
        }
        let Ok(Some(answer)) = Answer::read(stream) else { return Reply::None };
        if answer == self.right_answer(&request) { Reply::Right } else { Reply::Wrong }
    }

    fn next_request(&mut self) -> Request {
        self.next_id += 1;
        let count = self.rng.u32(1..=MAX_ROWS);
        let rows = u32::try_from(self.stage.input.data.len()).unwrap_or(u32::MAX);
        let first = self.rng.u32(..=rows.saturating_sub(count));
        Request { id: self.next_id, user: self.rng.u32(..USERS), first, count }
    }

    /// Hashes the same rows here, in one piece.
    fn right_answer(&self, request: &Request) -> Answer {
        let first = request.first as usize;
        let text = self.stage.input.data.text(first..first + request.count as usize);
        Answer { id: request.id, hash: xxh3_64(text.unwrap_or_default()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::{io::Write as _, net::TcpListener};

    use crate::{soak::stage::tests::small_stage, sync::thread};

    /// What a client makes of a server that answers one request with what `answer` returns.
    fn ask(answer: impl FnOnce(&Client<'_>, &Request) -> Option<Answer> + Send) -> Reply {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let stage = small_stage(listener.local_addr().unwrap());
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let request = Request::read(&mut stream).unwrap().unwrap();
                match answer(&Client::new(&stage, 9), &request) {
                    Some(answer) => answer.write(&mut stream).unwrap(),
                    None => stream.write_all(&[1]).unwrap(),
                }
            });
            let mut stream = TcpStream::connect(stage.address).unwrap();
            Client::new(&stage, 0).ask(&mut stream)
        })
    }

    #[test]
    fn answers_are_compared() {
        let right = |client: &Client<'_>, request: &Request| client.right_answer(request);
        assert_eq!(ask(|client, request| Some(right(client, request))), Reply::Right);

        let wrong_hash = |answer: Answer| Answer { hash: answer.hash ^ 1, ..answer };
        assert_eq!(ask(|client, request| Some(wrong_hash(right(client, request)))), Reply::Wrong);

        let wrong_id = |answer: Answer| Answer { id: answer.id + 1, ..answer };
        assert_eq!(ask(|client, request| Some(wrong_id(right(client, request)))), Reply::Wrong);
    }

    #[test]
    fn a_connection_that_ends_in_an_answer_is_none() {
        assert_eq!(ask(|_, _| None), Reply::None);
    }

    #[test]
    fn requests_are_for_rows_that_exist() {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        let mut client = Client::new(&stage, 0);
        for _ in 0..1000 {
            let request = client.next_request();
            let first = request.first as usize;
            let text = stage.input.data.text(first..first + request.count as usize);
            assert!(text.is_some_and(|text| !text.is_empty()), "{request:?}");
            assert!(request.user < USERS && request.count <= MAX_ROWS, "{request:?}");
        }
    }
}
