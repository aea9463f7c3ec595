//! Gzip as gunzip takes it: any number of members, and zeros behind the last.

use std::io::{self, BufRead, ErrorKind, Read};

use flate2::bufread::GzDecoder;

/// The content of gzip members one after another.
///
/// Zeros up to the end of the file are padding; anything else behind a member is an error, where gunzip warns and
/// leaves it out.
pub(super) struct Members<R> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { member: Some(GzDecoder::new(reader)) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while !into.is_empty()
            && let Some(mut member) = self.member.take()
        {
            let read = member.read(into)?;
            if read > 0 {
                self.member = Some(member);
                return Ok(read);
            }
            let mut rest = member.into_inner();
            self.member = another_follows(&mut rest)?.then(|| GzDecoder::new(rest));
        }
        Ok(0)
    }
}

/// Whether a member follows; reads over padding.
fn another_follows(rest: &mut impl BufRead) -> io::Result<bool> {
    let invalid = |what: &str| Err(io::Error::new(ErrorKind::InvalidData, what));
    let mut padded = false;
    loop {
        let bytes = rest.fill_buf()?;
        match bytes.first() {
            None => return Ok(false),
            Some(0x1f) if !padded => return Ok(true),
            Some(0) => {}
            Some(_) if padded => return invalid("bytes that are not zero after zero padding"),
            Some(_) => {
                return invalid("bytes after the last member that are neither a member nor zero padding");
            }
        }
        padded = true;
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        rest.consume(zeros);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn member(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    fn read(bytes: &[u8], buffer: usize) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Members::new(BufReader::with_capacity(buffer, bytes)).read_to_end(&mut content).map(|_| content)
    }

    #[test]
    fn members_follow_one_another_and_zeros_behind_them_are_padding() {
        let members = [member(b"one "), member(b""), member(b"two")].concat();
        for padding in [0, 1, 511] {
            let padded = [members.clone(), vec![0; padding]].concat();
            for buffer in [1, 7, 8192] {
                assert_eq!(
                    read(&padded, buffer).unwrap(),
                    b"one two",
                    "{padding} zeros, {buffer} bytes at a time"
                );
            }
        }
    }

    #[test]
    fn whatever_else_stands_behind_a_member_is_an_error() {
        let one = member(b"one");
        for rest in [&b"x"[..], b"\0\0x", &[&[0][..], &member(b"two")].concat(), b"\x1f", b"\x1f\x8b"] {
            assert!(read(&[&one, rest].concat(), 8192).is_err(), "{rest:?}");
        }
    }

    #[test]
    fn a_stream_cut_anywhere_in_its_last_member_is_an_error() {
        let first = member(b"one");
        let whole = [first.clone(), member(b"two, which is longer")].concat();
        (first.len() + 1..whole.len()).for_each(|end| assert!(read(&whole[..end], 8192).is_err(), "{end}"));
    }
}
