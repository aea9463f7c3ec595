//! What a word is.

/// The words of `text`: runs of characters other than whitespace, and each line's end.
///
/// This is how the published perplexities of WikiText count, where the end of a line is a word to predict.
pub(super) fn count(text: &str) -> u64 {
    let line_ends = text.bytes().filter(|&byte| byte == b'\n').count();
    (text.split_whitespace().count() + line_ends) as u64
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn line_ends_count_as_words() {
        assert_eq!(count(" = A title = \n\n two words\n"), 4 + 1 + 1 + 2 + 1);
        assert_eq!(count(""), 0);
    }
}
