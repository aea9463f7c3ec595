//! The tokenizer files of llama2.c.
//!
//! | bytes | |
//! |---|---|
//! | 0..4 | length of the longest piece, little endian |
//! | then, for each piece | score (f32), length (i32), the piece itself |
//!
//! Piece 0 stands for what cannot be spelt, 1 begins a text, 2 ends it, 3 to 258 are the bytes.

use std::collections::HashMap;
use std::path::Path;

use super::merge::{Symbol, merge};
use crate::error::{Error, Result};

pub(super) const BOS: u32 = 1;
pub(super) const EOS: u32 = 2;
const FIRST_BYTE: usize = 3;

/// Pieces with the scores that order their merges.
#[derive(Debug)]
pub(super) struct Pieces {
    pieces: Vec<Vec<u8>>,
    scores: Vec<f32>,
    ids: HashMap<Vec<u8>, u32>,
}

impl Pieces {
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let cut = |what: &str| Error::data(path, format!("cut short: it ends within {what}"));
        let (longest, mut rest) = bytes.split_first_chunk().ok_or_else(|| cut("its header"))?;
        let longest = u32::from_le_bytes(*longest) as usize;
        let (mut pieces, mut scores) = (Vec::new(), Vec::new());
        while !rest.is_empty() {
            let at = pieces.len();
            let (score, after) = rest.split_first_chunk().ok_or_else(|| cut(&format!("score {at}")))?;
            let (length, after) = after.split_first_chunk().ok_or_else(|| cut(&format!("length {at}")))?;
            let (score, length) = (f32::from_le_bytes(*score), i32::from_le_bytes(*length));
            let length =
                usize::try_from(length).ok().filter(|&length| length <= longest).ok_or_else(|| {
                    Error::data(path, format!("piece {at} has length {length}; allowed: 0 to {longest}"))
                })?;
            if !score.is_finite() {
                return Err(Error::data(path, format!("piece {at} has score {score}; it must be finite")));
            }
            let (piece, after) = after
                .split_at_checked(length)
                .ok_or_else(|| cut(&format!("piece {at} of length {length}")))?;
            pieces.push(piece.to_vec());
            scores.push(score);
            rest = after;
        }
        for byte in 0..=255_u8 {
            let at = FIRST_BYTE + usize::from(byte);
            let expected = format!("<0x{byte:02X}>");
            if pieces.get(at).is_none_or(|piece| piece != expected.as_bytes()) {
                return Err(Error::data(
                    path,
                    format!("no tokenizer of llama2.c: piece {at} is not {expected}"),
                ));
            }
        }
        let mut ids = HashMap::with_capacity(pieces.len());
        for (id, piece) in pieces.iter().enumerate() {
            ids.entry(piece.clone()).or_insert(id as u32);
        }
        Ok(Self { pieces, scores, ids })
    }

    pub(super) fn vocabulary_size(&self) -> usize {
        self.pieces.len()
    }

    /// The text behind a space, its characters or their bytes, merged by score.
    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        if text.is_empty() {
            return Vec::new();
        }
        let spaced = format!(" {text}");
        let mut symbols = Vec::with_capacity(spaced.len());
        for (at, character) in spaced.char_indices() {
            let range = at..at + character.len_utf8();
            if self.ids.contains_key(&spaced.as_bytes()[range.clone()]) {
                symbols.push(Symbol { range, alone: false });
            } else {
                symbols.extend(range.map(|byte| Symbol { range: byte..byte + 1, alone: true }));
            }
        }
        let bytes = spaced.as_bytes();
        let score = |piece: &[u8]| self.ids.get(piece).map(|&id| self.scores[id as usize]);
        merge(bytes, &symbols, score)
            .into_iter()
            .map(|range| {
                let byte = FIRST_BYTE as u32 + u32::from(bytes[range.start]);
                let known = self.ids.get(&bytes[range.clone()]).copied();
                known.unwrap_or(byte)
            })
            .collect()
    }

    /// The bytes of piece `id`; none for those that begin and end a text, and where there is no piece.
    pub(super) fn bytes(&self, id: u32) -> Vec<u8> {
        let at = id as usize;
        match id {
            BOS | EOS => Vec::new(),
            _ if (FIRST_BYTE..FIRST_BYTE + 256).contains(&at) => vec![(at - FIRST_BYTE) as u8],
            _ => self.pieces.get(at).cloned().unwrap_or_default(),
        }
    }
}
