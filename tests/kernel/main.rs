//! The kernels and the link predictors against their definitions: dense arithmetic, tensor operations, other programs.

#[cfg(feature = "flex")]
mod autodiff;
#[cfg(feature = "flex")]
mod fused;
mod oracle;
#[cfg(feature = "flex")]
mod predictor_golden;
