//! One question of a task: what is asked of the model, and which answer is right.

use super::encode::Request;
use super::record::Record;
use super::task::{Form, Gold, Task};
use super::template::Template;

/// One question, with one request for each choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) requests: Vec<Request>,
    /// Characters and bytes of each choice, without what parts it from the prompt.
    pub(super) lengths: Vec<(usize, usize)>,
    pub(super) gold: usize,
    /// Whether all choices are the same text.
    pub(super) identical: bool,
}

impl Task {
    /// The question that a record asks.
    pub(super) fn item(&self, record: &Record) -> Result<Item, String> {
        let prompt = |template: &Template| {
            let text = template.render(record)?;
            self.prompt_filters.iter().try_fold(text, |text, filter| filter.apply(&text, record))
        };
        let choice = |text: String| {
            self.choice_filters.iter().try_fold(text, |text, filter| filter.apply(&text, record))
        };
        let (contexts, choices): (Vec<String>, Vec<String>) = match &self.form {
            Form::Choices { prompt: given, choices } => {
                let context = prompt(given)?;
                let choices =
                    choices.iter().map(|it| choice(it.render(record)?)).collect::<Result<Vec<_>, _>>()?;
                (vec![context; choices.len()], choices)
            }
            Form::Listed { prompt: given, choices } => {
                let context = prompt(given)?;
                let choices = record
                    .texts(choices)?
                    .into_iter()
                    .map(|text| choice(text.to_owned()))
                    .collect::<Result<Vec<_>, _>>()?;
                (vec![context; choices.len()], choices)
            }
            Form::Prompts { prompts, continuation } => {
                let contexts = prompts.iter().map(prompt).collect::<Result<Vec<_>, _>>()?;
                let continuation = choice(continuation.render(record)?)?;
                let choices = vec![continuation; contexts.len()];
                (contexts, choices)
            }
            Form::Continuation { prompt: given, continuation } => {
                (vec![prompt(given)?], vec![choice(continuation.render(record)?)?])
            }
        };
        let gold = self.gold(record)?;
        if gold >= choices.len() {
            return Err(format!("choice {gold} is said to be right, but there are {}", choices.len()));
        }
        let lengths = choices.iter().map(|choice| (choice.chars().count(), choice.len())).collect();
        let requests: Vec<Request> = contexts
            .into_iter()
            .zip(choices)
            .map(|(context, choice)| Request { context, continuation: format!("{}{choice}", self.delimiter) })
            .collect();
        let identical = requests.len() > 1 && requests.iter().all(|request| *request == requests[0]);
        Ok(Item { requests, lengths, gold, identical })
    }

    fn gold(&self, record: &Record) -> Result<usize, String> {
        match &self.target {
            Gold::Always(gold) => Ok(*gold),
            Gold::Values { field, values } => {
                let value = record.field(field)?;
                values
                    .iter()
                    .position(|spellings| spellings.iter().any(|spelling| spelling.spells(value)))
                    .ok_or_else(|| {
                        let labels = values.iter().map(|spellings| {
                            spellings.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
                        });
                        let labels = labels.collect::<Vec<_>>().join(", ");
                        format!("field `{field}` is {value}, which is none of the task's labels: {labels}")
                    })
            }
            Gold::Among { field, list } => {
                let label = record.text(field)?;
                let label = label.trim();
                let list = record.texts(list)?;
                list.iter().position(|other| *other == label).ok_or_else(|| {
                    format!("field `{field}` is {label:?}, which is none of {}", list.join(", "))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Contexts, continuations and the right choice's number of a built-in task.
    fn asked(task: &str, record: Value) -> (Vec<(String, String)>, usize) {
        let item = Task::built_in(task).unwrap().item(&Record::new(record)).unwrap();
        (item.requests.into_iter().map(|r| (r.context, r.continuation)).collect(), item.gold)
    }

    fn after(context: &str, continuations: &[&str]) -> Vec<(String, String)> {
        continuations.iter().map(|it| (context.to_owned(), (*it).to_owned())).collect()
    }

    #[test]
    fn minimal_pairs_are_whole_sentences_of_which_the_first_is_right() {
        let (requests, gold) =
            asked("blimp", json!({"sentence_good": "Ann is here.", "sentence_bad": "Ann are here."}));
        assert_eq!(requests, after("", &["Ann is here.", "Ann are here."]));
        assert_eq!(gold, 0);
    }

    #[test]
    fn copa_joins_two_sentences_to_one() {
        let record = json!({"premise": "The man turned on the faucet.", "choice1": "The toilet filled.",
            "choice2": "Water flowed.", "question": "effect", "label": 1});
        let (requests, gold) = asked("copa", record);
        let context = "The man turned on the faucet therefore";
        assert_eq!(requests, after(context, &[" the toilet filled.", " water flowed."]));
        assert_eq!(gold, 1);
    }

    #[test]
    fn entailment_is_asked_for_whatever_the_label_is_written_as() {
        let context = "It rains.\nQuestion: It is wet. True or False?\nAnswer:";
        for (label, gold) in
            [(json!("entailment"), 0), (json!("not_entailment"), 1), (json!(0), 0), (json!(1), 1)]
        {
            let record = json!({"premise": "It rains.", "hypothesis": "It is wet.", "label": label});
            assert_eq!(asked("rte", record), (after(context, &[" True", " False"]), gold));
        }
    }

    #[test]
    fn a_word_in_context_is_named_as_the_first_sentence_has_it() {
        let record = json!({"word": "stripe", "sentence1": "Every stripe.", "sentence2": "Their stripes.",
            "start1": 6, "end1": 12, "start2": 6, "end2": 13, "label": false});
        let context = "Sentence 1: Every stripe.\nSentence 2: Their stripes.\nQuestion: Is the word 'stripe' \
                       used in the same way in the two sentences above?\nAnswer:";
        assert_eq!(asked("wic", record), (after(context, &[" no", " yes"]), 0));
    }

    #[test]
    fn a_pronoun_is_set_in_stars() {
        let record = json!({"text": "Ann , who saw Bob , greeted him .", "label": true,
            "target": {"span1_index": 4, "span1_text": "Bob", "span2_index": 7, "span2_text": "him"}});
        let context = "Passage: Ann, who saw Bob, greeted *him*.\nQuestion: In the passage above, does the \
                       pronoun \"*him*\" refer to \"*Bob*\"?\nAnswer:";
        assert_eq!(asked("wsc", record), (after(context, &[" no", " yes"]), 1));
    }

    #[test]
    fn hellaswag_is_cleaned_as_a_whole() {
        let record = json!({"activity_label": "Baking", "ctx_a": "How to bake [title] Mix.", "ctx_b": "then YOU",
            "endings": ["stir. [step] Wait.", "leave.", "sing.", "run."], "label": "2"});
        let (requests, gold) = asked("hellaswag", record);
        let endings = [" stir. Wait.", " leave.", " sing.", " run."];
        assert_eq!(requests, after("Baking: How to bake. Mix. Then you", &endings));
        assert_eq!(gold, 2);
    }

    #[test]
    fn winogrande_scores_what_follows_either_option() {
        let record = json!({"sentence": "Ann thanked Eve because _ had helped.", "option1": "Ann",
            "option2": "Eve", "answer": "2"});
        let (requests, gold) = asked("winogrande", record);
        assert_eq!(requests[0], ("Ann thanked Eve because Ann".into(), " had helped.".into()));
        assert_eq!(requests[1], ("Ann thanked Eve because Eve".into(), " had helped.".into()));
        assert_eq!(gold, 1);
    }

    #[test]
    fn listed_choices_are_looked_up_by_their_label() {
        let choices = json!({"label": ["A", "B", "C"], "text": ["red", "green", "blue"]});
        let record = json!({"question": "What is grass?", "choices": choices, "answerKey": "B"});
        let (requests, gold) = asked("arc_easy", record);
        assert_eq!(requests, after("Question: What is grass?\nAnswer:", &[" red", " green", " blue"]));
        assert_eq!(gold, 1);
        let record = json!({"question_stem": "Grass is", "choices": choices, "answerKey": " C"});
        assert_eq!(asked("openbookqa", record), (after("Grass is", &[" red", " green", " blue"]), 2));
    }

    #[test]
    fn lambada_asks_for_the_last_word() {
        let (requests, gold) = asked("lambada", json!({"text": "he took off his hat"}));
        assert_eq!((requests, gold), (after("he took off his", &[" hat"]), 0));
    }

    #[test]
    fn the_remaining_prompts_read_as_published() {
        let pair = json!({"sentence1": "A.", "sentence2": "B.", "label": 1});
        for (task, record, context, choices, gold) in [
            (
                "boolq",
                json!({"passage": "P.", "question": "is it", "answer": true, "label": true}),
                "P.\nQuestion: is it?\nAnswer:",
                vec![" no", " yes"],
                1,
            ),
            (
                "cb",
                json!({"premise": "P.", "hypothesis": "h", "label": "neutral"}),
                "P.\nQuestion: h. True, False, or Neither?\nAnswer:",
                vec![" True", " False", " Neither"],
                2,
            ),
            (
                "cola",
                json!({"sentence": "S.", "label": 0}),
                "S.\nQuestion: Does this sentence make sense?\nAnswer:",
                vec![" no", " yes"],
                0,
            ),
            (
                "mnli",
                json!({"premise": "P.", "hypothesis": "h", "label": "contradiction"}),
                "P.\nQuestion: h. True, False or Neither?\nAnswer:",
                vec![" True", " Neither", " False"],
                2,
            ),
            (
                "mrpc",
                pair.clone(),
                "Sentence 1: A.\nSentence 2: B.\nQuestion: Do both sentences mean the same thing?\nAnswer:",
                vec![" no", " yes"],
                1,
            ),
            (
                "piqa",
                json!({"goal": "G", "sol1": "one", "sol2": "two", "label": 1}),
                "Question: G\nAnswer:",
                vec![" one", " two"],
                1,
            ),
            (
                "qnli",
                json!({"question": "Q?", "sentence": "S.", "label": "not_entailment"}),
                "Q?\nS.\nQuestion: Does this response answer the question?\nAnswer:",
                vec![" yes", " no"],
                1,
            ),
            (
                "qqp",
                json!({"question1": "A?", "question2": "B?", "label": 0}),
                "Question 1: A?\nQuestion 2: B?\nQuestion: Do both questions ask the same thing?\nAnswer:",
                vec![" no", " yes"],
                0,
            ),
            (
                "sst2",
                json!({"sentence": "S", "label": 1}),
                "S\nQuestion: Is this sentence positive or negative?\nAnswer:",
                vec![" negative", " positive"],
                1,
            ),
            ("wnli", pair, "A.\nQuestion: B. True or False?\nAnswer:", vec![" False", " True"], 1),
            (
                "multirc",
                json!({"passage": {"text": "P.",
                "questions": {"question": "Q?", "answers": {"text": "a", "label": 1}}}}),
                "P.\nQuestion: Q?\nAnswer:",
                vec![" a\nIs the answer correct? yes", " a\nIs the answer correct? no"],
                0,
            ),
        ] {
            assert_eq!(asked(task, record), (after(context, &choices), gold), "{task}");
        }
    }

    #[test]
    fn identical_choices_are_noticed() {
        let task = Task::built_in("blimp").unwrap();
        let item = |good: &str, bad: &str| {
            task.item(&Record::new(json!({"sentence_good": good, "sentence_bad": bad}))).unwrap().identical
        };
        assert!(item("Same.", "Same."));
        assert!(!item("Same.", "Other."));
    }

    #[test]
    fn a_label_that_the_task_does_not_know_is_shown() {
        let task = Task::built_in("rte").unwrap();
        let record = json!({"premise": "P.", "hypothesis": "H.", "label": "perhaps"});
        let reason = task.item(&Record::new(record)).unwrap_err();
        assert!(reason.contains("`label`") && reason.contains("perhaps"), "{reason}");
    }
}
