//! Norms and attention, of the operators that there are.

use super::graph::{Graph, Value, floats, integers};
use super::proto::TensorProto;

/// What is added to hidden scores: the softmax makes it exactly 0.
const HIDDEN: f32 = -1e9;

impl Graph {
    /// `x / √(mean(x²) + ε) · γ` over the last dimension.
    pub(crate) fn rms_norm(&mut self, input: &str, gain: &str, epsilon: f64) -> String {
        let square = self.apply("Mul", &[input, input]);
        let mean = self.node("ReduceMean", &[&square], vec![("axes", Value::Ints(vec![-1]))]);
        let epsilon = self.number(epsilon as f32);
        let shifted = self.apply("Add", &[&mean, &epsilon]);
        let root = self.apply("Sqrt", &[&shifted]);
        let normed = self.apply("Div", &[input, &root]);
        self.apply("Mul", &[&normed, gain])
    }

    /// Layer norm over the last dimension, of the parameters' names.
    pub(crate) fn layer_norm(&mut self, inputs: &[&str], epsilon: f64) -> String {
        let attributes = vec![("axis", Value::Int(-1)), ("epsilon", Value::Float(epsilon as f32))];
        self.node("LayerNormalization", inputs, attributes)
    }

    /// `[batch, length, heads · width]` by heads, `[batch, heads, length, width]`.
    pub(crate) fn by_heads(&mut self, projected: &str, heads: usize, width: usize) -> String {
        // A size of 0 is that of the input.
        let shape = self.integers(&[0, 0, heads as i64, width as i64]);
        let split = self.apply("Reshape", &[projected, &shape]);
        self.transpose(&split, &[0, 2, 1, 3])
    }

    /// Every head as often as `times`, copies beside one another.
    pub(crate) fn repeat_heads(&mut self, by_heads: &str, heads: usize, times: usize) -> String {
        if times == 1 {
            return by_heads.into();
        }
        let order: Vec<i64> = (0..heads * times).map(|head| (head / times) as i64).collect();
        let order = self.integers(&order);
        self.node("Gather", &[by_heads, &order], vec![("axis", Value::Int(1))])
    }

    /// What is added to the scores of `[length, length]` positions so that none sees a later one.
    pub(crate) fn causal_mask(&mut self, length: &str) -> String {
        let shape = self.node("Concat", &[length, length], vec![("axis", Value::Int(0))]);
        let value = Value::Tensor(floats("", &[1], &[HIDDEN]));
        let hidden = self.node("ConstantOfShape", &[&shape], vec![("value", value)]);
        let diagonal = self.constant(TensorProto { dims: vec![], ..integers("", &[1]) });
        self.node("Trilu", &[&hidden, &diagonal], vec![("upper", Value::Int(1))])
    }

    /// What is added to scores so that no position sees the padding `[batch, length]`, true where there is no token.
    pub(crate) fn padding_mask(&mut self, padding: &str) -> String {
        let (hidden, seen) = (self.number(HIDDEN), self.number(0.0));
        let mask = self.apply("Where", &[padding, &hidden, &seen]);
        let axes = self.integers(&[1, 2]);
        self.apply("Unsqueeze", &[&mask, &axes])
    }

    /// `softmax(Q·Kᵀ / √width + mask) · V` of projections by heads, the heads side by side.
    pub(crate) fn attention(&mut self, [query, key, value]: [&str; 3], width: usize, mask: &str) -> String {
        let key = self.transpose(key, &[0, 1, 3, 2]);
        let product = self.apply("MatMul", &[query, &key]);
        let scale = self.number((1.0 / (width as f64).sqrt()) as f32);
        let scaled = self.apply("Mul", &[&product, &scale]);
        let scores = self.apply("Add", &[&scaled, mask]);
        let weights = self.node("Softmax", &[&scores], vec![("axis", Value::Int(-1))]);
        let attended = self.apply("MatMul", &[&weights, value]);
        let attended = self.transpose(&attended, &[0, 2, 1, 3]);
        let shape = self.integers(&[0, 0, -1]);
        self.apply("Reshape", &[&attended, &shape])
    }
}
