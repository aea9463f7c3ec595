//! A model that is never asked, so that the reading of tasks and records is all that takes time.

use burn::backend::Flex;
use burn::prelude::*;
use burn_cht::Error;
use burn_cht::eval::zero_shot::{Encode, LanguageModel};

/// Refuses the first text that it is to encode, once all have been made.
pub struct Model;

const REFUSED: &str = "text of a model that is never asked";

impl Model {
    /// Leaves all errors but its own to `check`.
    pub fn check(error: &Error, check: impl FnOnce(&Error)) {
        if !matches!(error, Error::Argument { name: REFUSED, .. }) {
            check(error);
        }
    }
}

impl Encode for Model {
    fn encode(&self, _text: &str) -> Result<Vec<u32>, Error> {
        Err(Error::argument(REFUSED, "any", "none"))
    }

    fn bos(&self) -> Option<u32> {
        Some(0)
    }
}

impl LanguageModel<Flex> for Model {
    fn vocabulary(&self) -> usize {
        1
    }

    fn context(&self) -> usize {
        1
    }

    fn logits(&self, tokens: Tensor<Flex, 2, Int>) -> Tensor<Flex, 3> {
        let [rows, columns] = tokens.dims();
        Tensor::zeros([rows, columns, 1], &tokens.device())
    }
}
