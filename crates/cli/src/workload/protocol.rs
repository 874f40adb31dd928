//! What goes over the wire: frames of a little-endian `u32` length and a body of that length.
//!
//! A request asks for the hash of some rows on behalf of a user; the answer carries the hash.

use std::io::{self, Read, Write};

/// "Hash `count` rows from row `first` on, for `user`."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) user: u32,
    pub(crate) first: u32,
    pub(crate) count: u32,
}

/// "The text of these rows hashes to `hash`."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) id: u64,
    pub(crate) hash: u64,
}

impl Request {
    /// Writes the request as one frame.
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut frame = Frame::default();
        frame.put(&self.id.to_le_bytes());
        frame.put(&self.user.to_le_bytes());
        frame.put(&self.first.to_le_bytes());
        frame.put(&self.count.to_le_bytes());
        frame.write(to)
    }

    /// Reads one request; `None` if the other side closed the connection between two.
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let Some(body) = read_body::<20>(from)? else { return Ok(None) };
        Ok(Some(Self {
            id: u64_at(&body, 0),
            user: u32_at(&body, 8),
            first: u32_at(&body, 12),
            count: u32_at(&body, 16),
        }))
    }
}

impl Answer {
    /// Writes the answer as one frame.
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut frame = Frame::default();
        frame.put(&self.id.to_le_bytes());
        frame.put(&self.hash.to_le_bytes());
        frame.write(to)
    }

    /// Reads one answer; `None` if the other side closed the connection between two.
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let Some(body) = read_body::<16>(from)? else { return Ok(None) };
        Ok(Some(Self { id: u64_at(&body, 0), hash: u64_at(&body, 8) }))
    }
}

/// A frame in the making; sent with one write, so that no packet waits for another.
#[derive(Default)]
struct Frame {
    bytes: [u8; Self::CAPACITY],
    body: usize,
}

impl Frame {
    const PREFIX: usize = size_of::<u32>();
    const CAPACITY: usize = Self::PREFIX + 20;

    fn put(&mut self, field: &[u8]) {
        let start = Self::PREFIX + self.body;
        self.bytes[start..start + field.len()].copy_from_slice(field);
        self.body += field.len();
    }

    fn write(mut self, to: &mut impl Write) -> io::Result<()> {
        let length = u32::try_from(self.body).expect("a body has at most 20 bytes");
        self.bytes[..Self::PREFIX].copy_from_slice(&length.to_le_bytes());
        to.write_all(&self.bytes[..Self::PREFIX + self.body])
    }
}

fn read_body<const LENGTH: usize>(from: &mut impl Read) -> io::Result<Option<[u8; LENGTH]>> {
    let mut prefix = [0; Frame::PREFIX];
    if !read_or_end(from, &mut prefix)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(prefix);
    if usize::try_from(length) != Ok(LENGTH) {
        let message = format!("a frame of {length} bytes where {LENGTH} were expected");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut body = [0; LENGTH];
    from.read_exact(&mut body)?;
    Ok(Some(body))
}

/// Fills `buffer`; returns `false` if the stream ended before its first byte.
fn read_or_end(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    loop {
        match from.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => return from.read_exact(&mut buffer[count..]).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn u32_at(body: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(body, at))
}

fn u64_at(body: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(body, at))
}

fn array_at<const N: usize>(body: &[u8], at: usize) -> [u8; N] {
    body[at..at + N].try_into().expect("the slice has the length of the array")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Request = Request { id: 7 << 40, user: 3, first: 1_000, count: 16 };
    const ANSWER: Answer = Answer { id: 9, hash: u64::MAX - 1 };

    fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = written(|to| REQUEST.write(to));
        assert_eq!(Request::read(&mut &bytes[..]).unwrap(), Some(REQUEST));

        let bytes = written(|to| ANSWER.write(to));
        assert_eq!(Answer::read(&mut &bytes[..]).unwrap(), Some(ANSWER));
    }

    #[test]
    fn the_bytes_are_fixed() {
        let bytes = written(|to| Request { id: 1, user: 2, first: 3, count: 4 }.write(to));
        assert_eq!(
            bytes,
            [20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0]
        );
    }

    #[test]
    fn frames_follow_each_other_and_then_end() {
        let mut bytes = written(|to| REQUEST.write(to));
        REQUEST.write(&mut bytes).unwrap();
        let mut stream = &bytes[..];
        assert_eq!(Request::read(&mut stream).unwrap(), Some(REQUEST));
        assert_eq!(Request::read(&mut stream).unwrap(), Some(REQUEST));
        assert_eq!(Request::read(&mut stream).unwrap(), None);
    }

    #[test]
    fn a_cut_frame_is_an_error() {
        let bytes = written(|to| REQUEST.write(to));
        for length in 1..bytes.len() {
            let error = Request::read(&mut &bytes[..length]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length} bytes");
        }
    }

    #[test]
    fn a_frame_of_another_length_is_an_error_before_its_body_is_read() {
        let error = Request::read(&mut &b"GET / HTTP/1.1"[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let answer = written(|to| ANSWER.write(to));
        assert!(Request::read(&mut &answer[..]).is_err());
    }

    #[test]
    fn a_frame_that_arrives_byte_by_byte_is_read() {
        struct Trickle<'a>(&'a [u8]);
        impl Read for Trickle<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let length = buffer.len().min(1);
                self.0.read(&mut buffer[..length])
            }
        }
        let bytes = written(|to| ANSWER.write(to));
        assert_eq!(Answer::read(&mut Trickle(&bytes)).unwrap(), Some(ANSWER));
    }
}
