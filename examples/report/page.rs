//! The page: head, filters, a section per experiment, and how to read it.

use std::collections::BTreeSet;

use burn_cht::Result;

use crate::curve::palette_css;
use crate::curves::{self, charts, dataset};
use crate::group::{Experiment, method_name};
use crate::images;
use crate::links::FirstLinks;
use crate::run::Run;
use crate::svg::escape;
use crate::{settings, summary, texts, topology};

/// A page that is being put together.
pub(crate) struct Page {
    sections: String,
    contents: String,
    /// Charts and images as files, with their names.
    pictures: Vec<(String, String)>,
    first_links: FirstLinks,
    /// Groups so far.
    groups: usize,
    experiments: usize,
}

impl Page {
    pub(crate) fn new(first_links: FirstLinks) -> Self {
        let (sections, contents, pictures) = (String::new(), String::new(), Vec::new());
        Self { sections, contents, pictures, first_links, groups: 0, experiments: 0 }
    }

    /// Adds the section of an experiment.
    pub(crate) fn add(&mut self, experiment: &Experiment) -> Result<()> {
        let (groups, first) = (experiment.groups.as_slice(), self.groups);
        let runs = || groups.iter().flat_map(|group| &group.runs);
        let epochs = runs().map(Run::last_epoch).max().unwrap_or(1).max(1) as f64;
        let title = format!("{}: {}", experiment.example.replace('_', " "), dataset(&experiment.dataset));
        let id = format!("experiment-{}", self.experiments);
        self.contents += &format!("<li><a href=\"#{id}\">{}</a></li>", escape(&title));
        let mut section = format!(
            "<section id=\"{id}\"><h2>{}</h2><h3>Summary</h3>{}",
            escape(&title),
            summary::tables(experiment, first)
        );
        let mut pictures = Vec::new();
        section += "<h3>Curves</h3><div class=\"figures\">";
        for (name, chart) in charts(experiment, first, epochs)? {
            section += &chart.figure();
            pictures.push((name, chart.file()));
        }
        section += "</div>";
        let by_layer = topology::section(experiment, first, epochs);
        if !by_layer.is_empty() {
            section +=
                &format!("<h3>Topology by layer</h3><p>Colours are those of the curves above.</p>{by_layer}");
        }
        section += &images::section(experiment, first, &mut self.first_links, &mut pictures)?;
        section += &texts::translations(groups, first)?;
        section += &texts::samples(groups, first)?;
        section += &texts::zero_shot(groups, first)?;
        section += &settings::section(groups, first)?;
        self.sections += &(section + "</section>\n");
        let prefix = match self.experiments {
            0 => String::new(),
            _ => format!("{}-", curves::file_name(&title)),
        };
        self.pictures.extend(pictures.into_iter().map(|(name, svg)| (format!("{prefix}{name}.svg"), svg)));
        self.groups += groups.len();
        self.experiments += 1;
        Ok(())
    }

    /// The page, and the pictures with the names of their files.
    pub(crate) fn finish(self, experiments: &[Experiment]) -> (String, Vec<(String, String)>) {
        let groups = || experiments.iter().flat_map(|experiment| &experiment.groups);
        let runs = groups().map(|group| group.runs.len()).sum::<usize>();
        let methods = distinct(groups().map(|group| method_name(group.method).to_string()));
        let seeds = distinct(groups().flat_map(|group| &group.runs).map(|run| run.config.seed));
        let sparsities = distinct(groups().map(|group| (summary::sparsity(group) * 1e4) as u64));
        let sparsities = sparsities.into_iter().map(|sparsity| (sparsity as f64 / 1e4).to_string());
        let filters = select("method", methods.into_iter())
            + &select("seed", seeds.iter().map(ToString::to_string))
            + &select("sparsity", sparsities);
        let html = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
             script-src 'unsafe-inline'; img-src data:\">\n\
             <meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\">\n\
             <title>Training runs</title>\n<style>{}{}{}</style></head>\n<body>\n\
             <a class=\"skip\" href=\"#main\">Skip to the runs</a>\n\
             <header><h1>Training runs</h1><p>{runs} runs, {} of different settings. Sorting and filtering need \
             JavaScript; everything else does not.</p>\n<nav aria-label=\"Experiments\"><ul>{}</ul></nav>\n\
             <form id=\"filters\" hidden aria-label=\"Filters\">{filters}<button type=\"reset\">Show all</button>\
             <output id=\"shown\" aria-live=\"polite\"></output></form></header>\n<main id=\"main\">\n{}</main>\n\
             <footer><p>Curves are thinned to at most {} points, less where there are many. Of an experiment with more than {} \
             sparse settings, the links of the first {} are shown. Colours stand for methods; where several settings \
             share a method, the first has its colour, and colours repeat when they run out.</p></footer>\n\
             <script>{}</script>\n</body></html>\n",
            include_str!("figure.css"),
            palette_css(),
            include_str!("page.css"),
            self.groups,
            self.contents,
            self.sections,
            curves::OF_A_CURVE,
            images::GROUPS,
            images::GROUPS,
            include_str!("page.js"),
        );
        (html, self.pictures)
    }
}

fn distinct<T: Ord>(values: impl Iterator<Item = T>) -> BTreeSet<T> {
    values.collect()
}

fn select(name: &str, values: impl Iterator<Item = String>) -> String {
    let options: String =
        values.map(|value| format!("<option value=\"{0}\">{0}</option>", escape(&value))).collect();
    format!(
        "<label>{name} <select name=\"{name}\"><option value=\"\">all</option>{options}</select></label> "
    )
}
