//! SentencePiece models: BPE and unigram (Kudo and Richardson, 2018).

mod normalizer;
mod proto;
mod unigram;

use std::collections::HashMap;
use std::path::Path;

use prost::Message;

use self::normalizer::{Normalizer, SPACE};
use self::proto::{ModelProto, PieceType};
use super::merge::{Symbol, merge};
use crate::error::{Error, Result};

const UNIGRAM: i32 = 1;
const BPE: i32 = 2;

/// What a text shows where a piece could not be spelt, unless the file says otherwise.
const UNKNOWN_SURFACE: &str = " \u{2047} ";

#[derive(Debug, PartialEq)]
enum Algorithm {
    Unigram,
    Bpe,
}

/// A SentencePiece model.
#[derive(Debug)]
pub(super) struct SentencePiece {
    algorithm: Algorithm,
    normalizer: Normalizer,
    pieces: Vec<(String, PieceType)>,
    /// Normal and user-defined pieces: what text is segmented into.
    segments: HashMap<String, (u32, f32)>,
    longest: usize,
    least: f32,
    unknown: u32,
    unknown_surface: String,
    /// The piece of each byte, if what is unknown is spelt in bytes.
    bytes: Option<[u32; 256]>,
    bos: Option<u32>,
    eos: Option<u32>,
}

impl SentencePiece {
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let model = ModelProto::decode(bytes)
            .map_err(|error| Error::data(path, format!("no SentencePiece model: {error}")))?;
        let trainer = model.trainer.as_ref();
        let algorithm = match trainer.and_then(|trainer| trainer.model_type).unwrap_or(UNIGRAM) {
            UNIGRAM => Algorithm::Unigram,
            BPE => Algorithm::Bpe,
            other => {
                let reason = format!("SentencePiece model of type {other}; allowed: 1 (unigram), 2 (BPE)");
                return Err(Error::data(path, reason));
            }
        };
        let mut pieces = Vec::with_capacity(model.pieces.len());
        let mut scores = Vec::with_capacity(model.pieces.len());
        for (id, proto) in model.pieces.into_iter().enumerate() {
            let refuse = |what: String| Error::data(path, format!("piece {id} {what}"));
            let piece = proto.piece.unwrap_or_default();
            let score = proto.score.unwrap_or(0.0);
            if piece.is_empty() || !score.is_finite() {
                return Err(refuse(format!("is {piece:?} with score {score}: empty or not finite")));
            }
            let kind = proto.kind.unwrap_or(PieceType::Normal as i32);
            let kind = PieceType::try_from(kind).map_err(|_| refuse(format!("has unknown type {kind}")))?;
            if kind == PieceType::Unused {
                return Err(refuse(format!(
                    "({piece:?}) is marked as unused; models with unused pieces cannot be read"
                )));
            }
            pieces.push((piece, kind));
            scores.push(score);
        }
        let user_defined = pieces.iter().filter(|(_, kind)| *kind == PieceType::UserDefined);
        let user_defined = user_defined.map(|(piece, _)| piece.clone()).collect::<Vec<_>>();
        let normal = (0..pieces.len()).filter(|&id| pieces[id].1 == PieceType::Normal).map(|id| scores[id]);
        let Some(least) = normal.reduce(f32::min) else {
            return Err(Error::data(path, "none of its pieces is a normal one"));
        };
        let mut segments = HashMap::with_capacity(pieces.len());
        for (id, (piece, kind)) in pieces.iter().enumerate() {
            let score = match kind {
                PieceType::Normal => scores[id],
                // As SentencePiece has it, whatever score stands in the file: a longer one is preferred to shorter ones.
                PieceType::UserDefined => (0.1 * piece.len() as f64 - 0.1) as f32,
                _ => continue,
            };
            if segments.insert(piece.clone(), (id as u32, score)).is_some() {
                return Err(Error::data(path, format!("piece {id} ({piece:?}) stands in it twice")));
            }
        }
        let unknown = pieces.iter().position(|(_, kind)| *kind == PieceType::Unknown);
        let unknown = unknown.ok_or_else(|| {
            Error::data(
                path,
                "none of its pieces is marked as unknown; text with other characters could not be spelled",
            )
        })? as u32;
        let control = |id: Option<i32>, default: i32| {
            let id = usize::try_from(id.unwrap_or(default)).ok()?;
            pieces.get(id).is_some_and(|(_, kind)| *kind == PieceType::Control).then_some(id as u32)
        };
        let fallback = trainer.and_then(|trainer| trainer.byte_fallback).unwrap_or(false);
        Ok(Self {
            algorithm,
            normalizer: Normalizer::new(path, model.normalizer.as_ref(), trainer, user_defined)?,
            longest: segments.keys().map(String::len).max().unwrap_or(0),
            least,
            unknown,
            unknown_surface: trainer
                .and_then(|trainer| trainer.unknown_surface.clone())
                .unwrap_or_else(|| UNKNOWN_SURFACE.into()),
            bytes: fallback.then(|| byte_pieces(path, &pieces)).transpose()?,
            bos: control(trainer.and_then(|trainer| trainer.bos_id), 1),
            eos: control(trainer.and_then(|trainer| trainer.eos_id), 2),
            segments,
            pieces,
        })
    }

    pub(super) fn vocabulary_size(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn bos(&self) -> Option<u32> {
        self.bos
    }

    pub(super) fn eos(&self) -> Option<u32> {
        self.eos
    }

    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let text = self.normalizer.normalize(text);
        let ranges = match self.algorithm {
            Algorithm::Unigram => unigram::segment(&text, self),
            Algorithm::Bpe => self.merged(&text),
        };
        let mut ids = Vec::with_capacity(ranges.len());
        let mut after_unknown = false;
        for range in ranges {
            let piece = &text[range];
            match (self.segments.get(piece), &self.bytes) {
                (Some(&(id, _)), _) => ids.push(id),
                (None, Some(bytes)) => ids.extend(piece.bytes().map(|byte| bytes[usize::from(byte)])),
                // Neighbouring unknown characters are one unknown piece.
                (None, None) if after_unknown => {}
                (None, None) => ids.push(self.unknown),
            }
            after_unknown = !self.segments.contains_key(piece);
        }
        ids
    }

    fn merged(&self, text: &str) -> Vec<std::ops::Range<usize>> {
        let mut symbols = Vec::with_capacity(text.len());
        let mut at = 0;
        while let Some(character) = text[at..].chars().next() {
            let kept = self.normalizer.user_defined(&text[at..]);
            let length = if kept > 0 { kept } else { character.len_utf8() };
            symbols.push(Symbol { range: at..at + length, alone: kept > 0 });
            at += length;
        }
        let score = |piece: &[u8]| {
            let piece = std::str::from_utf8(piece).ok()?;
            self.segments.get(piece).map(|&(_, score)| score)
        };
        merge(text.as_bytes(), &symbols, score)
    }

    /// The bytes that piece `id` adds to a text, none if there is no such piece; `at_start` says that nothing has been
    /// added yet and is cleared once something has.
    pub(super) fn bytes(&self, id: u32, at_start: &mut bool) -> Vec<u8> {
        let Some((piece, kind)) = self.pieces.get(id as usize) else { return Vec::new() };
        let shown = match kind {
            PieceType::Control => return Vec::new(),
            PieceType::Unknown => self.unknown_surface.as_bytes().to_vec(),
            PieceType::Byte => parse_byte(piece).into_iter().collect(),
            _ => {
                let mut piece = piece.as_str();
                let (strips, strips_all) = self.normalizer.strips();
                if *at_start && strips {
                    let stripped = piece.strip_prefix(SPACE);
                    if stripped.is_some() && !strips_all {
                        *at_start = false;
                    }
                    piece = stripped.unwrap_or(piece);
                }
                piece.replace(SPACE, " ").into_bytes()
            }
        };
        *at_start &= shown.is_empty();
        shown
    }
}

impl unigram::Scores for SentencePiece {
    fn score(&self, piece: &str) -> Option<f32> {
        self.segments.get(piece).map(|&(_, score)| score)
    }

    fn longest(&self) -> usize {
        self.longest
    }

    fn least(&self) -> f32 {
        self.least
    }
}

/// The value of a piece like `<0x0A>`.
fn parse_byte(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok()
}

fn byte_pieces(path: &Path, pieces: &[(String, PieceType)]) -> Result<[u32; 256]> {
    let mut found = [None; 256];
    for (id, (piece, kind)) in pieces.iter().enumerate() {
        if *kind == PieceType::Byte {
            let byte = parse_byte(piece).ok_or_else(|| {
                Error::data(
                    path,
                    format!("piece {id} is {piece:?}, marked as a byte; allowed: <0x00> to <0xFF>"),
                )
            })?;
            found[usize::from(byte)] = Some(id as u32);
        }
    }
    let mut ids = [0; 256];
    for (byte, id) in found.iter().enumerate() {
        let missing = || Error::data(path, format!("it spells in bytes but has no piece <0x{byte:02X}>"));
        ids[byte] = id.ok_or_else(missing)?;
    }
    Ok(ids)
}
