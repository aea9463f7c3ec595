//! The paper's second task: an encoder-decoder Transformer for translation.
