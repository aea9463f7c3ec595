//! The paper's third task: a LLaMA whose projections are sparse.
