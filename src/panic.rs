//! Panics of other crates where they read what a file or a device holds.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `read` of another crate gives; its panic, on content that it did not expect or a device that it has lost, is an
/// error like any other, though the panic hook has told of it by then.
pub(crate) fn without_panic<T, E: Display>(read: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(message.unwrap_or("it cannot be read").to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        let at = |index: usize| without_panic(|| Ok::<_, String>([1, 2][index]));
        assert_eq!(at(1), Ok(2));
        assert!(at(2).unwrap_err().contains("index is 2"), "{:?}", at(2));
        assert_eq!(without_panic(|| Err::<(), _>("refused")), Err("refused".into()));
    }
}
