//! What a misspelt name was probably meant to be.

/// `; did you mean ...?` with the nearest of `names`, if one is so near that it was probably meant.
pub(crate) fn did_you_mean<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    // Of several as near, one of the same length: letters are changed or swapped more often than left out.
    let nearest = names
        .into_iter()
        .map(|other| (distance(name, other), other))
        .min_by_key(|(distance, other)| (*distance, other.len().abs_diff(name.len())));
    match nearest {
        Some((distance, other)) if distance <= name.chars().count().max(3) / 3 => {
            format!("; did you mean `{other}`?")
        }
        _ => String::new(),
    }
}

/// Insertions, deletions, substitutions and swaps of neighbours that make `from` of `to`, case aside; each character is
/// edited once at most.
fn distance(from: &str, to: &str) -> usize {
    let [from, to] = [from, to].map(|text| text.to_lowercase().chars().collect::<Vec<_>>());
    let mut before = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for row in 1..=from.len() {
        let mut new = vec![row; to.len() + 1];
        for column in 1..=to.len() {
            let differs = usize::from(from[row - 1] != to[column - 1]);
            let edited = (last[column] + 1).min(new[column - 1] + 1).min(last[column - 1] + differs);
            let swapped =
                row > 1 && column > 1 && from[row - 1] == to[column - 2] && from[row - 2] == to[column - 1];
            new[column] = if swapped { edited.min(before[column - 2] + 1) } else { edited };
        }
        before = std::mem::replace(&mut last, new);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (from, to, count) in [
            ("", "", 0),
            ("", "abc", 3),
            ("chst", "chts", 1),
            ("kitten", "sitting", 3),
            ("SET", "set", 0),
            ("ab", "", 2),
        ] {
            assert_eq!((distance(from, to), distance(to, from)), (count, count), "{from} {to}");
        }
    }

    #[test]
    fn a_name_is_suggested_only_where_it_is_near() {
        let names = ["set", "chts", "chtss", "dense"];
        assert_eq!(did_you_mean("chst", names), "; did you mean `chts`?");
        assert_eq!(did_you_mean("dence", names), "; did you mean `dense`?");
        assert_eq!(did_you_mean("adam", names), "");
        assert_eq!(did_you_mean("x", []), "");
        let paths = ["layers.0.feed_forward.up", "layers.0.attention.query"];
        assert_eq!(
            did_you_mean("layers.*.fedforward.up", paths),
            "; did you mean `layers.0.feed_forward.up`?"
        );
    }
}
