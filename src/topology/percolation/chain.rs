//! Which layers meet where: declared by path, resolved to indices.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::pattern::Pattern;
use crate::error::{Error, Result};

/// How two layers meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainKind {
    /// The outputs of the left layer are the inputs of the right one.
    Feeds,
    /// The outputs of both layers meet elementwise or in a dot product.
    Product,
}

/// Two layers, or many pairs of them, that percolation looks across (docs/algorithm.md, Percolation).
///
/// Layers are named by module path, with wildcards: `*` stands for one segment or a part of one, `**` for any number
/// of segments. Both patterns have the same wildcards in the same order, and each stands for the same text in
/// both: `layers.*.q` and `layers.*.k` pair the layers of equal index.
///
/// ```
/// use burn_cht::topology::percolation::Chain;
///
/// let mut chains = vec![
///     Chain::product("encoder.*.attention.query", "encoder.*.attention.key"),
///     Chain::feeds("encoder.*.attention.value", "encoder.*.attention.output"),
/// ];
/// chains.extend(Chain::sequence(["hidden.0", "hidden.1", "hidden.2"]));
/// assert_eq!(chains.len(), 4);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    kind: ChainKind,
    left: String,
    right: String,
}

impl Chain {
    /// The outputs of `from` are the inputs of `to`.
    #[must_use]
    pub fn feeds(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self { kind: ChainKind::Feeds, left: from.into(), right: to.into() }
    }

    /// The outputs of `left` and `right` meet elementwise or in a dot product.
    #[must_use]
    pub fn product(left: impl Into<String>, right: impl Into<String>) -> Self {
        Self { kind: ChainKind::Product, left: left.into(), right: right.into() }
    }

    /// Each layer feeds the next, as in an MLP.
    #[must_use]
    pub fn sequence(paths: impl IntoIterator<Item = impl Into<String>>) -> Vec<Self> {
        let paths: Vec<String> = paths.into_iter().map(Into::into).collect();
        paths.windows(2).map(|pair| Self::feeds(&pair[0], &pair[1])).collect()
    }
}

/// Two layers that meet, by their index among the model's sparse layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResolvedChain {
    /// How they meet.
    pub kind: ChainKind,
    /// Index of the left (feeding) layer.
    pub left_index: usize,
    /// Index of the right (fed) layer.
    pub right_index: usize,
}

impl ResolvedChain {
    /// Checks that both layers exist and that the sides that meet are equally wide; `name` names a layer for errors.
    pub(super) fn check(&self, shapes: &[[usize; 2]], name: impl Fn(usize) -> String) -> Result<()> {
        for index in [self.left_index, self.right_index] {
            if index >= shapes.len() {
                return Err(Error::argument("layer of a chain", index, format!("below {}", shapes.len())));
            }
        }
        let left = shapes[self.left_index];
        let right = shapes[self.right_index];
        let (meets, expected, side) = match self.kind {
            ChainKind::Feeds => (left[1] == right[0], [left[1], right[1]], "inputs"),
            ChainKind::Product => (left[1] == right[1], [right[0], left[1]], "outputs"),
        };
        if meets {
            return Ok(());
        }
        Err(Error::Shape {
            what: format!(
                "`{}`, whose {side} meet the {} outputs of `{}`",
                name(self.right_index),
                left[1],
                name(self.left_index)
            ),
            found: right.to_vec(),
            expected: expected.to_vec(),
        })
    }
}

/// The pairs of layers that `chains` declare among the layers with these `paths` and `shapes` (`[inputs, outputs]`).
///
/// Pairs come in the order of the chains, then of the left layers; a pair declared twice appears once. A layer that
/// one pattern matches but whose counterpart is absent (dense, or excluded) is in no pair.
///
/// # Errors
///
/// [`Error::Pattern`] for a pattern that matches no layer, or whose layers have no counterpart at all;
/// [`Error::Argument`] for a malformed pattern or two with different wildcards; [`Error::Shape`] for layers that meet
/// but differ in width, or if there is not one shape per path.
pub fn resolve(chains: &[Chain], paths: &[String], shapes: &[[usize; 2]]) -> Result<Vec<ResolvedChain>> {
    if paths.len() != shapes.len() {
        return Err(Error::Shape {
            what: "layer shapes, one per path".into(),
            found: vec![shapes.len()],
            expected: vec![paths.len()],
        });
    }
    let index: HashMap<&str, usize> = paths.iter().enumerate().map(|(i, path)| (path.as_str(), i)).collect();
    let nothing = |pattern: String| Error::Pattern { pattern, layers: paths.join(", ") };
    let mut resolved: Vec<ResolvedChain> = Vec::new();
    for Chain { kind, left, right } in chains {
        let (source, target) = (Pattern::parse(left)?, Pattern::parse(right)?);
        if source.wildcards() != target.wildcards() {
            return Err(Error::argument(
                "chain",
                format!("{left} – {right}"),
                "the same wildcards in the same order in both patterns",
            ));
        }
        let captured: Vec<_> = paths.iter().map(|path| source.captures(path)).collect();
        if captured.iter().all(Vec::is_empty) {
            return Err(nothing(left.clone()));
        }
        if paths.iter().all(|path| target.captures(path).is_empty()) {
            return Err(nothing(right.clone()));
        }
        let mut paired = false;
        for (left_index, ways) in captured.iter().enumerate() {
            for right_index in ways.iter().filter_map(|way| index.get(target.fill(way).as_str())) {
                let chain = ResolvedChain { kind: *kind, left_index, right_index: *right_index };
                chain.check(shapes, |layer| paths[layer].clone())?;
                paired = true;
                if !resolved.contains(&chain) {
                    resolved.push(chain);
                }
            }
        }
        if !paired {
            return Err(nothing(format!("{left} – {right}")));
        }
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[&str]) -> Vec<String> {
        paths.iter().map(|&path| path.into()).collect()
    }

    fn pair(kind: ChainKind, left_index: usize, right_index: usize) -> ResolvedChain {
        ResolvedChain { kind, left_index, right_index }
    }

    #[test]
    fn a_wildcard_pairs_layers_of_the_same_index() {
        let paths = names(&["l.0.q", "l.0.k", "l.0.v", "l.0.o", "l.1.q", "l.1.k", "l.1.v", "l.1.o", "head"]);
        let shapes = [[8, 8]; 9];
        let chains = [Chain::product("l.*.q", "l.*.k"), Chain::feeds("**.v", "**.o")];
        assert_eq!(
            resolve(&chains, &paths, &shapes).unwrap(),
            [
                pair(ChainKind::Product, 0, 1),
                pair(ChainKind::Product, 4, 5),
                pair(ChainKind::Feeds, 2, 3),
                pair(ChainKind::Feeds, 6, 7)
            ]
        );
    }

    #[test]
    fn a_pair_declared_twice_or_captured_in_two_ways_appears_once() {
        let paths = names(&["a.b.q", "a.b.k"]);
        let chains = [Chain::product("**.**.q", "**.**.k"), Chain::product("a.b.q", "a.b.k")];
        assert_eq!(resolve(&chains, &paths, &[[4, 4]; 2]).unwrap(), [pair(ChainKind::Product, 0, 1)]);
    }

    #[test]
    fn a_sequence_chains_every_layer_to_the_next() {
        let paths = names(&["fc1", "fc2", "fc3"]);
        let chains = Chain::sequence(["fc1", "fc2", "fc3"]);
        assert_eq!(
            resolve(&chains, &paths, &[[4, 5], [5, 6], [6, 7]]).unwrap(),
            [pair(ChainKind::Feeds, 0, 1), pair(ChainKind::Feeds, 1, 2)]
        );
        assert!(Chain::sequence(["fc1"]).is_empty());
        assert!(Chain::sequence(Vec::<String>::new()).is_empty());
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_refused_by_name() {
        let paths = names(&["l.0.v", "l.1.o"]);
        let refused = |chain: Chain| match resolve(&[chain], &paths, &[[4, 4]; 2]) {
            Err(Error::Pattern { pattern, layers }) => {
                assert_eq!(layers, "l.0.v, l.1.o");
                pattern
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(Chain::feeds("l.*.x", "l.*.o")), "l.*.x");
        assert_eq!(refused(Chain::feeds("l.*.v", "l.*.x")), "l.*.x");
        assert_eq!(refused(Chain::feeds("l.*.v", "l.*.o")), "l.*.v – l.*.o");
    }

    #[test]
    fn widths_that_do_not_meet_are_refused() {
        let paths = names(&["a", "b"]);
        let shapes = [[4, 5], [6, 5]];
        assert!(resolve(&[Chain::product("a", "b")], &paths, &shapes).is_ok());
        let error = resolve(&[Chain::feeds("a", "b")], &paths, &shapes).unwrap_err();
        assert!(
            matches!(&error, Error::Shape { found, expected, .. } if found == &[6, 5] && expected == &[5, 5])
        );
        assert!(error.to_string().contains("`b`") && error.to_string().contains("`a`"));
        let error = resolve(&[Chain::product("a", "b")], &paths, &[[4, 5], [6, 7]]).unwrap_err();
        assert!(
            matches!(error, Error::Shape { found, expected, .. } if found == [6, 7] && expected == [6, 5])
        );
        assert!(matches!(resolve(&[], &paths, &shapes[..1]), Err(Error::Shape { .. })));
    }

    #[test]
    fn patterns_with_different_wildcards_are_refused() {
        let paths = names(&["a.0", "b"]);
        for (left, right) in [("a.*", "b"), ("a.*", "**"), ("b", "a.*")] {
            let refused = resolve(&[Chain::feeds(left, right)], &paths, &[[4, 4]; 2]);
            assert!(matches!(refused, Err(Error::Argument { .. })), "{left} {right}");
        }
    }
}
