//! A task: data, prompt, choices, what is right and what is measured.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::filter::Filter;
use super::task_file::{DataFile, Spelling, Target, TaskFile};
use super::template::Template;
use crate::error::{Error, Result};
use crate::file::Input;

/// Maximum number of bytes of a task file.
const LARGEST_FILE: usize = 1 << 20;

/// What is measured on a task beside accuracy's normalised forms and the shares of the labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of the items whose right choice has the highest log-likelihood; where there is but one continuation,
    /// share of those that greedy decoding gives.
    Accuracy,
    /// The same with every log-likelihood divided by the number of characters of its choice.
    AccuracyNorm,
    /// F1 of the second of two choices, or mean F1 of three and more.
    F1,
    /// Matthews' correlation coefficient.
    Mcc,
    /// exp of minus the mean log-likelihood of a continuation.
    Perplexity,
}

/// A zero-shot task, as a task file describes it.
///
/// A task file is TOML with these fields:
///
/// | field | what |
/// |---|---|
/// | `name` | name of the task |
/// | `source` | which published prompt it follows |
/// | `data.file` | file of records inside the data folder: lines of JSON, or a `.tar` archive of such files, which become groups; plain or with `.gz` or `.zst` behind its name. A list of names stands for the first that is there |
/// | `data.labels` | file with a label a line, for records that lack the field `target.field`; or a list of names |
/// | `data.unroll` | lists inside a record of which every item becomes a record of its own |
/// | `prompt` | [`Template`] of what is given |
/// | `choices` | templates of what may follow it, or |
/// | `choices_from` | the field that lists them, or |
/// | `continuation` | the one thing that follows; with `prompts` in place of `prompt` it follows each of these |
/// | `prompt_filters`, `choice_filters` | transformations of a whole prompt or choice |
/// | `delimiter` | what stands between prompt and choice; a space if not given |
/// | `target.always` | the choice that is always right, counted from 0, or |
/// | `target.field` | the field that says which one is, with |
/// | `target.values` | for each choice the ways in which it may say so, or |
/// | `target.among` | the field whose list it must be looked up in |
/// | `metrics` | the first is the one that the task is known by: `accuracy`, `accuracy_norm`, `f1`, `mcc`, `perplexity` |
/// | `maps.NAME` | tables for the transformation `map:NAME` |
#[derive(Debug, Clone)]
pub struct Task {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) data: DataFile,
    pub(super) form: Form,
    pub(super) prompt_filters: Vec<Filter>,
    pub(super) choice_filters: Vec<Filter>,
    pub(super) delimiter: String,
    pub(super) target: Gold,
    pub(super) metrics: Vec<Metric>,
}

/// What is given and what follows.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// Each choice after one prompt.
    Choices { prompt: Template, choices: Vec<Template> },
    /// Each choice of a list after one prompt.
    Listed { prompt: Template, choices: String },
    /// One continuation after each of several prompts.
    Prompts { prompts: Vec<Template>, continuation: Template },
    /// One continuation after one prompt.
    Continuation { prompt: Template, continuation: Template },
}

/// Where it stands which choice is right.
#[derive(Debug, Clone)]
pub(super) enum Gold {
    Always(usize),
    Values { field: String, values: Vec<Vec<Spelling>> },
    Among { field: String, list: String },
}

impl Gold {
    fn field(&self) -> Option<&str> {
        match self {
            Self::Always(_) => None,
            Self::Values { field, .. } | Self::Among { field, .. } => Some(field),
        }
    }
}

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        /// Names of the tasks that come with this crate.
        const NAMES: &[&str] = &[$($name),*];

        fn text_of(name: &str) -> Option<&'static str> {
            match name {
                $($name => Some(include_str!(concat!("tasks/", $name, ".toml"))),)*
                _ => None,
            }
        }
    };
}

built_in![
    "arc_challenge",
    "arc_easy",
    "blimp",
    "boolq",
    "cb",
    "cola",
    "copa",
    "hellaswag",
    "lambada",
    "mnli",
    "mrpc",
    "multirc",
    "openbookqa",
    "piqa",
    "qnli",
    "qqp",
    "rte",
    "sst2",
    "wic",
    "winogrande",
    "wnli",
    "wsc",
];

impl Task {
    /// Names of the tasks that come with this crate.
    #[must_use]
    pub fn names() -> &'static [&'static str] {
        NAMES
    }

    /// A task that comes with this crate.
    ///
    /// # Errors
    /// [`Error::Argument`] with the names there are, when `name` is none of them.
    pub fn built_in(name: &str) -> Result<Self> {
        let text = text_of(name).ok_or_else(|| {
            let names = [NAMES, &["a task file ending in .toml"]].concat();
            Error::unknown("task", name, &names)
        })?;
        Self::parse(&PathBuf::from(format!("{name}.toml")), text)
    }

    /// A task from a file.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read; [`Error::Data`], which names the file and the field, when a field
    /// is missing, unknown or of no use.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::parse(path, &Input::open(path)?.text(LARGEST_FILE)?)
    }

    /// A task from the text of a file; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let file = TaskFile::parse(path, text)?;
        let wrong =
            |field: &str, reason: String| Error::data(path, format!("task field `{field}`: {reason}"));
        let filters = |field: &str, words: &[String]| {
            words
                .iter()
                .map(|word| Filter::parse(word, &file.maps))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|reason| wrong(field, reason))
        };
        let form = form(&file).map_err(|(field, reason)| wrong(field, reason))?;
        let target = gold(file.target.as_ref(), &form).map_err(|(field, reason)| wrong(field, reason))?;
        metrics(&file.metrics, &form, &target).map_err(|reason| wrong("metrics", reason))?;
        data(&file.data, &target).map_err(|(field, reason)| wrong(field, reason))?;
        Ok(Self {
            prompt_filters: filters("prompt_filters", &file.prompt_filters)?,
            choice_filters: filters("choice_filters", &file.choice_filters)?,
            name: file.name,
            source: file.source,
            data: file.data,
            form,
            delimiter: file.delimiter,
            target,
            metrics: file.metrics,
        })
    }

    /// The task's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which published prompt the task follows.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What is measured; the first is the one that the task is known by.
    #[must_use]
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The field of a record that says which choice is right.
    pub(super) fn target_field(&self) -> Option<&str> {
        self.target.field()
    }

    /// Whether there is but one continuation, which greedy decoding gives or not.
    pub(super) fn is_continuation(&self) -> bool {
        matches!(self.form, Form::Continuation { .. })
    }

    /// Names of the labels, if every record has the same choices and not always the same is right: the choices
    /// themselves, or where they depend on the record their numbers, from 1.
    pub(super) fn labels(&self) -> Option<Vec<String>> {
        let number = |at: usize| (at + 1).to_string();
        match (&self.target, &self.form) {
            (Gold::Always(_), _) | (_, Form::Listed { .. } | Form::Continuation { .. }) => None,
            (_, Form::Choices { choices, .. }) => Some(
                choices
                    .iter()
                    .enumerate()
                    .map(|(at, choice)| choice.constant().map_or_else(|| number(at), ToOwned::to_owned))
                    .collect(),
            ),
            (_, Form::Prompts { prompts, .. }) => Some((0..prompts.len()).map(number).collect()),
        }
    }
}

type Wrong = (&'static str, String);

fn form(file: &TaskFile) -> Result<Form, Wrong> {
    let template =
        |field: &'static str, text: &str| Template::parse(text, &file.maps).map_err(|reason| (field, reason));
    let templates = |field: &'static str, texts: &[String]| {
        if texts.len() < 2 {
            return Err((field, format!("{} given, expected at least 2", texts.len())));
        }
        texts.iter().map(|text| template(field, text)).collect::<Result<Vec<_>, _>>()
    };
    let prompt = |reason: &str| {
        file.prompt
            .as_deref()
            .ok_or(("prompt", format!("missing; {reason}")))
            .and_then(|text| template("prompt", text))
    };
    match (&file.prompts, &file.choices, &file.choices_from, &file.continuation) {
        (None, Some(choices), None, None) => Ok(Form::Choices {
            prompt: prompt("choices follow it")?,
            choices: templates("choices", choices)?,
        }),
        (None, None, Some(choices), None) => {
            Ok(Form::Listed { prompt: prompt("choices follow it")?, choices: choices.clone() })
        }
        (None, None, None, Some(continuation)) => Ok(Form::Continuation {
            prompt: prompt("the continuation follows it")?,
            continuation: template("continuation", continuation)?,
        }),
        (Some(prompts), None, None, Some(continuation)) if file.prompt.is_none() => Ok(Form::Prompts {
            prompts: templates("prompts", prompts)?,
            continuation: template("continuation", continuation)?,
        }),
        (None, None, None, None) => {
            Err(("choices", "missing, and there is no `choices_from` and no `continuation` either".into()))
        }
        (Some(_), ..) => {
            Err(("prompts", "goes with `continuation` and without `prompt` and `choices`".into()))
        }
        _ => Err(("choices", "only one of `choices`, `choices_from` and `continuation` can be given".into())),
    }
}

fn gold(target: Option<&Target>, form: &Form) -> Result<Gold, Wrong> {
    let choices = match form {
        Form::Continuation { .. } => {
            return match target {
                None => Ok(Gold::Always(0)),
                Some(_) => Err(("target", "there is but one continuation, which is right".into())),
            };
        }
        Form::Choices { choices, .. } => Some(choices.len()),
        Form::Prompts { prompts, .. } => Some(prompts.len()),
        Form::Listed { .. } => None,
    };
    let target = target.ok_or(("target", "missing: which choice is right?".into()))?;
    match (target.always, &target.field, &target.values, &target.among) {
        (Some(always), None, None, None) => match choices {
            Some(choices) if always >= choices => {
                Err(("target.always", format!("{always}, but the choices are 0 to {}", choices - 1)))
            }
            _ => Ok(Gold::Always(always)),
        },
        (None, Some(field), Some(values), None) => match choices {
            Some(choices) if choices != values.len() => {
                Err(("target.values", format!("{} values for {choices} choices", values.len())))
            }
            _ => Ok(Gold::Values { field: field.clone(), values: values.clone() }),
        },
        (None, Some(field), None, Some(list)) => Ok(Gold::Among { field: field.clone(), list: list.clone() }),
        (None, Some(_), None, None) => {
            Err(("target.values", "missing, and there is no `target.among` either".into()))
        }
        (None, None, ..) => Err(("target.field", "missing, and there is no `target.always` either".into())),
        _ => Err(("target", "takes `always`, or `field` and `values`, or `field` and `among`".into())),
    }
}

fn data(data: &DataFile, target: &Gold) -> Result<(), Wrong> {
    let none = "no name given, expected at least one";
    if data.file.names().is_empty() {
        return Err(("data.file", none.into()));
    }
    match (&data.labels, target.field()) {
        (None, _) => Ok(()),
        (Some(labels), _) if labels.names().is_empty() => Err(("data.labels", none.into())),
        (Some(_), Some(field)) if !field.contains('.') => Ok(()),
        (Some(_), Some(field)) => {
            Err(("data.labels", format!("need a `target.field` that lies in no other, not `{field}`")))
        }
        (Some(_), None) => Err(("data.labels", "need a `target.field`, which they stand for".into())),
    }
}

fn metrics(metrics: &[Metric], form: &Form, target: &Gold) -> Result<(), String> {
    let single = matches!(form, Form::Continuation { .. });
    let labelled = !single && !matches!(form, Form::Listed { .. }) && !matches!(target, Gold::Always(_));
    if metrics.is_empty() {
        return Err("none given, expected at least one".into());
    }
    for metric in metrics {
        match metric {
            Metric::F1 | Metric::Mcc if !labelled => {
                return Err(format!("{metric:?} needs choices that are the same for every record"));
            }
            Metric::Perplexity if !single => {
                return Err("Perplexity needs a task with one `continuation`".into());
            }
            Metric::AccuracyNorm if single => {
                return Err("AccuracyNorm needs a task with several choices".into());
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = r#"
        name = "toy"
        source = "none"
        prompt = "{question}"
        choices = ["yes", "no"]
        metrics = ["accuracy"]
        [data]
        file = "toy.jsonl"
        [target]
        field = "label"
        values = [[1], [0]]
    "#;

    fn parse(text: &str) -> Result<Task> {
        Task::parse(Path::new("some/toy.toml"), text)
    }

    #[test]
    fn every_built_in_task_is_well_formed_and_says_which_prompt_it_follows() {
        for name in Task::names() {
            let task = Task::built_in(name).unwrap();
            assert_eq!(task.name(), *name);
            assert!(task.source().len() > 20, "{name}");
        }
        assert!(Task::built_in("chess").unwrap_err().to_string().contains("winogrande"));
    }

    #[test]
    fn a_missing_unknown_or_useless_field_is_named_with_the_file() {
        for (from, to, said) in [
            ("name = \"toy\"", "", "missing field `name`"),
            ("prompt = \"{question}\"", "", "`prompt`"),
            ("choices = [\"yes\", \"no\"]", "", "`choices`"),
            ("choices = [\"yes\", \"no\"]", "choices = [\"yes\"]", "`choices`"),
            ("metrics = [\"accuracy\"]", "", "missing field `metrics`"),
            ("metrics = [\"accuracy\"]", "metrics = []", "`metrics`"),
            ("metrics = [\"accuracy\"]", "metrics = [\"bleu\"]", "bleu"),
            ("metrics = [\"accuracy\"]", "metrics = [\"perplexity\"]", "`metrics`"),
            ("file = \"toy.jsonl\"", "", "missing field `file`"),
            ("file = \"toy.jsonl\"", "file = 3", "expected a name of a file or a list of such names"),
            ("file = \"toy.jsonl\"", "file = []", "`data.file`"),
            ("file = \"toy.jsonl\"", "file = \"toy.jsonl\"\nlabels = []", "`data.labels`"),
            ("field = \"label\"", "", "`target.field`"),
            ("values = [[1], [0]]", "", "`target.values`"),
            ("values = [[1], [0]]", "values = [[1]]", "`target.values`"),
            ("values = [[1], [0]]", "always = 1", "`target`"),
            ("prompt = \"{question}\"", "prompt = \"{question|shout}\"", "shout"),
            ("prompt = \"{question}\"", "prompt = \"{question\"", "`prompt`"),
            ("prompt = \"{question}\"", "prompt = \"\"\nprompt_filters = [\"shout\"]", "`prompt_filters`"),
            ("source = \"none\"", "source = \"none\"\ncolour = \"red\"", "colour"),
        ] {
            let text = RIGHT.replace(from, to);
            assert_ne!(text, RIGHT);
            let error = parse(&text).unwrap_err();
            assert!(matches!(&error, Error::Data { path, .. } if path == Path::new("some/toy.toml")));
            assert!(error.to_string().contains(said), "{to}: {error}");
        }
    }

    #[test]
    fn labels_are_the_choices_or_their_numbers() {
        assert_eq!(parse(RIGHT).unwrap().labels().unwrap(), ["yes", "no"]);
        let named = RIGHT.replace("\"yes\", \"no\"", "\"{a}\", \"{b}\"");
        assert_eq!(parse(&named).unwrap().labels().unwrap(), ["1", "2"]);
        assert_eq!(Task::built_in("blimp").unwrap().labels(), None);
    }
}
