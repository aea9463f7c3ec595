//! Module-path patterns whose wildcards can be carried over to another pattern.

use crate::error::{Error, Result};

/// A module path with wildcards, in segments separated by dots.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    segments: Vec<Segment>,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    /// `**`: any number of segments, none included.
    Deep,
    /// The literal pieces around the `*` of one segment, so one piece more than there are wildcards.
    Pieces(Vec<String>),
}

/// Whether `pattern` matches `path`.
///
/// # Errors
///
/// [`Error::Argument`] for a pattern that cannot be read.
pub(crate) fn matches(pattern: &str, path: &str) -> Result<bool> {
    Ok(!Pattern::parse(pattern)?.captures(path).is_empty())
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] for an empty segment and for `**` beside other characters.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let segment = |segment: &str| match segment {
            "**" => Ok(Segment::Deep),
            "" => {
                Err(Error::argument("pattern", text, "segments separated by single dots, none of them empty"))
            }
            _ if segment.contains("**") => {
                Err(Error::argument("pattern", text, "`**` as a segment of its own"))
            }
            _ => Ok(Segment::Pieces(segment.split('*').map(String::from).collect())),
        };
        Ok(Self { segments: text.split('.').map(segment).collect::<Result<_>>()? })
    }

    /// The wildcards in order, true for `**`.
    pub(super) fn wildcards(&self) -> Vec<bool> {
        self.segments
            .iter()
            .flat_map(|segment| match segment {
                Segment::Deep => vec![true],
                Segment::Pieces(pieces) => vec![false; pieces.len() - 1],
            })
            .collect()
    }

    /// Every way in which the wildcards can be filled so that the pattern reads `path`; empty if it does not match.
    pub(super) fn captures(&self, path: &str) -> Vec<Vec<String>> {
        let segments: Vec<_> = path.split('.').collect();
        let mut found = Vec::new();
        match_segments(&self.segments, &segments, &mut Vec::new(), &mut found);
        found
    }

    /// The path that the pattern reads with its wildcards filled; the captures must be as many as the wildcards.
    pub(super) fn fill(&self, captures: &[String]) -> String {
        let mut captures = captures.iter().map(String::as_str);
        let mut next = || captures.next().unwrap_or_default();
        let mut path: Vec<String> = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            match segment {
                Segment::Deep => path.extend(Some(next()).filter(|text| !text.is_empty()).map(String::from)),
                Segment::Pieces(pieces) => {
                    let mut text = pieces[0].clone();
                    for piece in &pieces[1..] {
                        text.push_str(next());
                        text.push_str(piece);
                    }
                    path.push(text);
                }
            }
        }
        path.join(".")
    }
}

fn match_segments(pattern: &[Segment], path: &[&str], taken: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match pattern.split_first() {
        None if path.is_empty() => found.push(taken.clone()),
        None => {}
        Some((Segment::Deep, rest)) => {
            for length in 0..=path.len() {
                taken.push(path[..length].join("."));
                match_segments(rest, &path[length..], taken, found);
                taken.pop();
            }
        }
        Some((Segment::Pieces(pieces), rest)) => {
            let Some((text, remaining)) = path.split_first() else { return };
            let Some(after) = text.strip_prefix(pieces[0].as_str()) else { return };
            let mut fillings = Vec::new();
            match_pieces(&pieces[1..], after, &mut Vec::new(), &mut fillings);
            for filling in fillings {
                let length = taken.len();
                taken.extend(filling);
                match_segments(rest, remaining, taken, found);
                taken.truncate(length);
            }
        }
    }
}

/// What the wildcards before each of `pieces` can stand for so that together they make up `text`.
fn match_pieces(pieces: &[String], text: &str, taken: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let Some((piece, rest)) = pieces.split_first() else {
        if text.is_empty() {
            found.push(taken.clone());
        }
        return;
    };
    for (start, _) in text.char_indices().chain([(text.len(), ' ')]) {
        if let Some(after) = text[start..].strip_prefix(piece.as_str()) {
            taken.push(text[..start].into());
            match_pieces(rest, after, taken, found);
            taken.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, path: &str) -> Vec<Vec<String>> {
        Pattern::parse(pattern).unwrap().captures(path)
    }

    #[test]
    fn a_star_stays_within_a_segment_and_two_stars_cross_them() {
        assert_eq!(matches("layers.*.q", "layers.3.q"), [["3"]]);
        assert_eq!(matches("layers.l*.q", "layers.l3.q"), [["3"]]);
        assert!(matches("layers.*.q", "layers.3.attention.q").is_empty());
        assert!(matches("layers.*", "layers").is_empty());
        assert_eq!(matches("**.q", "layers.3.attention.q"), [["layers.3.attention"]]);
        assert_eq!(matches("**.q", "q"), [[""]]);
        assert_eq!(matches("a.**", "a"), [[""]]);
        assert_eq!(matches("a.b", "a.b"), [[""; 0]]);
        assert!(matches("a.b", "a.c").is_empty());
        assert!(matches("a.b", "a.b.c").is_empty());
    }

    #[test]
    fn every_way_to_fill_several_wildcards_is_found() {
        let mut found = matches("**.*.**", "a.b");
        found.sort();
        assert_eq!(found, [["", "a", "b"], ["a", "b", ""]]);
        let mut found = matches("*x*", "axbxc");
        found.sort();
        assert_eq!(found, [["a", "bxc"], ["axb", "c"]]);
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for pattern in ["", "a..b", ".a", "a.", "a.b**", "***"] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn filling_a_pattern_with_what_it_captured_gives_the_path_back(
            pattern in "(a|b|\\*|\\*\\*|a\\*|\\*b\\*)(\\.(a|b|\\*|\\*\\*|a\\*|\\*b\\*)){0,3}",
            path in "[ab]{1,3}(\\.[ab]{1,3}){0,3}",
        ) {
            let parsed = Pattern::parse(&pattern).unwrap();
            for captures in parsed.captures(&path) {
                prop_assert_eq!(captures.len(), parsed.wildcards().len());
                prop_assert_eq!(parsed.fill(&captures), path.clone());
            }
        }
    }
}
