//! What the difference between the scores of two runs is worth.

use std::path::Path;

use burn::prelude::*;
use burn_cht::data::translation::{ParallelText, TranslationTask};
use burn_cht::eval::bleu::Bleu;
use burn_cht::eval::bootstrap::{Bootstrap, Interval, LineMetric};
use burn_cht::eval::chrf::Chrf;
use burn_cht::model::transformer::DecodeConfig;
use burn_cht::{Error, Result};

use crate::common::lines::say;
use crate::common::table;
use crate::translator::Translator;

/// Has the best models of two runs translate the same test sentences, those of `data` or the embedded ones, and prints
/// their scores with intervals and the probability of such a difference by chance.
pub fn compare<B: Backend>(
    baseline: &Path,
    run: &Path,
    data: Option<&Path>,
    test: Option<&str>,
    decode: &DecodeConfig,
) -> Result<()> {
    let models = [baseline, run].map(|run| Translator::<B>::open(run, decode.clone()));
    let [first, second] = models;
    let models = [first?, second?];
    let scored = models[0].scored.clone();
    if scored != models[1].scored {
        let value = format!("{:?}", models[1].scored);
        let allowed = format!("what the run it is compared with has: {scored:?}");
        return Err(Error::argument("scored on", value, allowed).of(run.display().to_string()));
    }
    let sentences = match (data, test) {
        (Some(folder), Some(test)) => {
            TranslationTask::load_part(folder, test, &scored.source, &scored.target)?
        }
        (Some(folder), None) => TranslationTask::load(folder, &scored.source, &scored.target)?.test,
        (None, None) => TranslationTask::embedded()?.test,
        (None, Some(test)) => return Err(Error::argument("test_sets", test, "none, without --data")),
    };
    if test.is_none() && sentences.checksum() != scored.test_data {
        let reason = "not the test sentences that the runs were scored on";
        return Err(Error::data(sentences.source_path(), reason));
    }
    let [before, after] =
        [models[0].translate(sentences.source())?.0, models[1].translate(sentences.source())?.0];
    let name = sentences.source_path().file_stem().map(|name| name.to_string_lossy().into_owned());
    say!("{} sentences of {}", sentences.num_pairs(), test.or(name.as_deref()).unwrap_or("the test set"));
    let bleu = Bleu::new().with_lowercase(scored.lowercase).with_tokenizer(scored.tokenize);
    let chrf = Chrf::new().with_lowercase(scored.lowercase);
    let names = [baseline, run].map(|run| run.display().to_string());
    let mut rows = rows("BLEU", &bleu, &names, [&before, &after], &sentences)?;
    rows.extend(self::rows("chrF2", &chrf, &names, [&before, &after], &sentences)?);
    table::print(&["score", "run", "value", "mean ± 95 % interval", "p"], &rows);
    say!("{}", bleu.corpus(&before, &[sentences.target()])?.signature());
    say!("{}", chrf.corpus(&before, &[sentences.target()])?.signature());
    say!("paired bootstrap, 1,000 resamples, as sacreBLEU's --paired-bs");
    Ok(())
}

/// The rows of one metric: both runs, and the difference.
fn rows<M: LineMetric>(
    score: &str,
    metric: &M,
    names: &[String; 2],
    [before, after]: [&[String]; 2],
    sentences: &ParallelText,
) -> Result<Vec<Vec<String>>> {
    let compared = Bootstrap::new().paired(metric, before, after, &[sentences.target()])?;
    let row = |name: &str, Interval { score: value, mean, half_width }: Interval, p: String| {
        let spread = format!("{mean:.2} ± {half_width:.2}");
        vec![score.to_string(), name.to_string(), format!("{value:.2}"), spread, p]
    };
    Ok(vec![
        row(&names[0], compared.baseline, String::new()),
        row(&names[1], compared.system, String::new()),
        row("difference", compared.difference, format!("{:.4}", compared.p_value)),
    ])
}
