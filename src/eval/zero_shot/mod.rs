//! Zero-shot tasks scored by the log-likelihood of continuations.
