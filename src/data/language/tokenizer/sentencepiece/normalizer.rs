//! What SentencePiece does to a text before it looks for pieces: characters are replaced, spaces collapsed and made
//! visible.

use std::path::Path;

use super::proto::{NormalizerProto, TrainerProto};
use crate::error::{Error, Result};

/// How a space is written in pieces.
pub(super) const SPACE: &str = "\u{2581}";

/// The normalisation that a model file asks for.
#[derive(Debug)]
pub(super) struct Normalizer {
    characters: Option<CharacterMap>,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
    whitespace_as_suffix: bool,
    /// Pieces that are kept as they are.
    user_defined: Vec<String>,
}

impl Normalizer {
    pub(super) fn new(
        path: &Path,
        proto: Option<&NormalizerProto>,
        trainer: Option<&TrainerProto>,
        user_defined: Vec<String>,
    ) -> Result<Self> {
        let characters = proto.and_then(|proto| proto.characters.as_deref()).filter(|map| !map.is_empty());
        Ok(Self {
            characters: characters.map(|map| CharacterMap::parse(path, map)).transpose()?,
            add_dummy_prefix: proto.and_then(|proto| proto.add_dummy_prefix).unwrap_or(true),
            remove_extra_whitespaces: proto.and_then(|proto| proto.remove_extra_whitespaces).unwrap_or(true),
            escape_whitespaces: proto.and_then(|proto| proto.escape_whitespaces).unwrap_or(true),
            whitespace_as_suffix: trainer.and_then(|trainer| trainer.whitespace_as_suffix).unwrap_or(false),
            user_defined,
        })
    }

    /// Length of the longest user-defined piece that `text` begins with, or 0.
    pub(super) fn user_defined(&self, text: &str) -> usize {
        let fitting = self.user_defined.iter().filter(|piece| text.starts_with(piece.as_str()));
        fitting.map(String::len).max().unwrap_or(0)
    }

    /// Whether a decoded text loses the space that encoding put before it, and whether it loses any others there.
    pub(super) fn strips(&self) -> (bool, bool) {
        (self.add_dummy_prefix || self.remove_extra_whitespaces, self.remove_extra_whitespaces)
    }

    pub(super) fn normalize(&self, text: &str) -> String {
        let space = if self.escape_whitespaces { SPACE } else { " " };
        let mut rest = text;
        if self.remove_extra_whitespaces {
            while let Some((" ", length)) = self.next(rest) {
                rest = &rest[length..];
            }
        }
        let mut normalized = String::with_capacity(text.len() + text.len() / 2);
        if rest.is_empty() {
            return normalized;
        }
        if self.add_dummy_prefix && !self.whitespace_as_suffix {
            normalized.push_str(space);
        }
        let mut after_space = self.remove_extra_whitespaces;
        while let Some((replacement, length)) = self.next(rest) {
            rest = &rest[length..];
            let kept = if after_space { replacement.trim_start_matches(' ') } else { replacement };
            for character in kept.chars() {
                if character == ' ' {
                    normalized.push_str(space);
                } else {
                    normalized.push(character);
                }
            }
            if !kept.is_empty() {
                after_space = kept.ends_with(' ');
            }
            after_space &= self.remove_extra_whitespaces;
        }
        if self.remove_extra_whitespaces {
            normalized.truncate(normalized.trim_end_matches(space).len());
        }
        if self.add_dummy_prefix && self.whitespace_as_suffix {
            normalized.push_str(space);
        }
        normalized
    }

    /// What the start of `text` becomes, and how many bytes of `text` that accounts for.
    fn next<'a>(&'a self, text: &'a str) -> Option<(&'a str, usize)> {
        let first = text.chars().next()?.len_utf8();
        let kept = self.user_defined(text);
        if kept > 0 {
            return Some((&text[..kept], kept));
        }
        let replaced = self.characters.as_ref().and_then(|map| map.longest(text.as_bytes()));
        // A rule may end within a character only if the file is not what it claims to be.
        let replaced = replaced.filter(|&(_, length)| text.is_char_boundary(length));
        Some(replaced.unwrap_or((&text[..first], first)))
    }
}

/// Replacements of character sequences: a double-array trie (Darts-clone's units) whose values are offsets of
/// zero-ended strings.
#[derive(Debug)]
struct CharacterMap {
    units: Vec<u32>,
    replacements: String,
}

impl CharacterMap {
    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let damaged = |what: &str| Error::data(path, format!("its character map {what}"));
        let (length, rest) = bytes.split_first_chunk().ok_or_else(|| damaged("is cut short"))?;
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 || !length.is_multiple_of(4) || length >= rest.len() {
            return Err(damaged(&format!("claims {length} bytes of trie, of {} there are", rest.len())));
        }
        let (trie, replacements) = rest.split_at(length);
        let units = trie.as_chunks().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        let replacements = std::str::from_utf8(replacements).map_err(|_| damaged("is not UTF-8"))?.into();
        Ok(Self { units, replacements })
    }

    /// The replacement of the longest rule that `text` begins with, and the rule's length.
    fn longest(&self, text: &[u8]) -> Option<(&str, usize)> {
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut found = None;
        let mut position = offset(*self.units.first()?);
        for (at, &byte) in text.iter().enumerate() {
            position ^= usize::from(byte);
            let Some(&unit) = self.units.get(position) else { break };
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            position ^= offset(unit);
            if unit & (1 << 8) != 0 {
                let value = self.units.get(position).map(|unit| (unit & 0x7fff_ffff) as usize);
                found = value.map(|value| (value, at + 1)).or(found);
            }
        }
        let (value, length) = found?;
        let replacement = self.replacements.get(value..)?;
        Some((&replacement[..replacement.find('\0')?], length))
    }
}
