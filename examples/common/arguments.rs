//! Arguments from the command line and from a TOML file of the same names; the command line wins.

use std::ffi::OsString;
use std::path::Path;

use burn_cht::data::Input;
use burn_cht::{Error, Result};
use clap::{Arg, Command, Parser, value_parser};
use clap_complete::Shell;

use super::lines::tell;

/// Maximum number of bytes of a file of options.
const LARGEST_FILE: usize = 1 << 24;

/// The option that prints completions.
const COMPLETIONS: &str = "completions";

/// Parses the command line. With `--config FILE`, every `name = value` of the file stands for `--name value` before
/// the arguments that were given. `defaults` are an example's own for arguments that examples share, by their names in
/// the code.
///
/// Shows help or completions for a shell where they are asked for, and exits.
pub fn parse<P: Parser>(defaults: &[(&'static str, &'static str)]) -> Result<P> {
    let given: Vec<OsString> = std::env::args_os().collect();
    let or_exit = |parsed: clap::error::Result<P>| parsed.unwrap_or_else(|error| refuse(&error));
    let Some(file) = config_file(&given) else { return Ok(or_exit(parse_from(defaults, given))) };
    let (program, rest) = given.split_first().map_or((OsString::new(), &[][..]), |(p, r)| (p.clone(), r));
    let from_file = read(Path::new(&file))?;
    // The file alone first, so that what is wrong in it is said of it.
    let alone = std::iter::once(program.clone()).chain(from_file.iter().map(OsString::from));
    parse_from::<P>(defaults, alone.collect()).map_err(|error| Error::data(&file, in_one_line(&error)))?;
    let all = std::iter::once(program).chain(from_file.into_iter().map(OsString::from));
    Ok(or_exit(parse_from(defaults, all.chain(rest.iter().cloned()).collect())))
}

fn parse_from<P: Parser>(
    defaults: &[(&'static str, &'static str)],
    arguments: Vec<OsString>,
) -> clap::error::Result<P> {
    let with_default = |command: Command, &(name, value): &(&'static str, &'static str)| {
        command.mut_arg(name, |argument| {
            // The help must not tell the default of another example beside this one's.
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let help = help.split(" [default:").next().unwrap_or_default().to_string();
            argument.default_value(value).help(help)
        })
    };
    // A number below 0 is a value to be refused by its range, not an unknown flag.
    let negative = |argument: Arg| match argument.get_action().takes_values() {
        true => argument.allow_negative_numbers(true),
        false => argument,
    };
    let completions = Arg::new(COMPLETIONS).long(COMPLETIONS).value_name("SHELL").exclusive(true);
    let completions = completions
        .value_parser(value_parser!(Shell))
        .help("Print completions for a shell, to be sourced by it, and exit");
    let command = defaults.iter().fold(P::command(), with_default).mut_args(negative);
    let mut command = command.arg(completions);
    let program = arguments.first().map(Path::new).and_then(Path::file_stem);
    let program = program.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let matches = command.try_get_matches_from_mut(arguments)?;
    if let Some(&shell) = matches.get_one::<Shell>(COMPLETIONS) {
        clap_complete::generate(shell, &mut command, program, &mut std::io::stdout());
        std::process::exit(0);
    }
    P::from_arg_matches(&matches)
}

/// Ends the program as every other error does: in one line, with exit code 1. Help is no error.
fn refuse(error: &clap::Error) -> ! {
    if !error.use_stderr() {
        error.exit();
    }
    tell!("error: {}", in_one_line(error));
    std::process::exit(1)
}

/// What clap says before it comes to usage and help.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let told = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    told.collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_string()
}

fn config_file(given: &[OsString]) -> Option<OsString> {
    given.iter().enumerate().find_map(|(index, argument)| {
        let text = argument.to_str()?;
        match text.strip_prefix("--config") {
            Some("") => given.get(index + 1).cloned(),
            Some(rest) => rest.strip_prefix('=').map(OsString::from),
            None => None,
        }
    })
}

/// The settings of a TOML file as arguments.
fn read(path: &Path) -> Result<Vec<String>> {
    let text = Input::open(path)?.text(LARGEST_FILE)?;
    let table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| Error::data(path, error.to_string().trim_end()))?;
    let mut arguments = Vec::new();
    for (name, value) in table {
        arguments.push(format!("--{name}"));
        arguments.push(word(&value).ok_or_else(|| {
            Error::data(path, format!("`{name}` is a table; allowed: a number, text, true, false or a list"))
        })?);
    }
    Ok(arguments)
}

fn word(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Array(values) => {
            values.iter().map(word).collect::<Option<Vec<_>>>().map(|words| words.join(","))
        }
        toml::Value::Table(_) => None,
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::ArgAction;

    use super::*;

    #[derive(Debug, Parser, PartialEq)]
    #[command(args_override_self = true)]
    struct Options {
        #[arg(long, default_value_t = 0.3)]
        zeta: f64,
        /// Steps between updates [default: one epoch]
        #[arg(long)]
        interval: Option<usize>,
        #[arg(long, value_delimiter = ',', num_args = 1, action = ArgAction::Set)]
        temperature: Option<Vec<f64>>,
    }

    fn refused(given: &[&str]) -> String {
        let given = std::iter::once("example").chain(given.iter().copied()).map(OsString::from);
        in_one_line(&parse_from::<Options>(&[], given.collect()).unwrap_err())
    }

    #[test]
    fn the_help_tells_the_default_of_the_example_alone() {
        let given = ["example", "--help"].map(OsString::from).to_vec();
        let help = parse_from::<Options>(&[("interval", "100")], given).unwrap_err().to_string();
        let line = help.lines().find(|line| line.contains("--interval")).unwrap();
        assert!(line.ends_with("Steps between updates [default: 100]"), "{help}");
    }

    #[test]
    fn what_is_refused_is_told_in_one_line() {
        assert_eq!(refused(&["--zeta", "x"]), "invalid value 'x' for '--zeta <ZETA>': invalid float literal");
        assert!(refused(&["--zzz", "1"]).starts_with("unexpected argument '--zzz' found"));
        assert!(!refused(&["--zzz", "1"]).contains('\n'));
    }

    #[test]
    fn numbers_below_zero_are_values_and_of_a_list_the_last_one_given_counts() {
        let given = ["example", "--zeta", "-0.5", "--temperature", "1,9", "--temperature", "2,3"];
        let options = parse_from::<Options>(&[], given.map(OsString::from).to_vec()).unwrap();
        assert_eq!(options, Options { zeta: -0.5, interval: None, temperature: Some(vec![2.0, 3.0]) });
    }

    #[test]
    fn the_defaults_of_an_example_stand_where_nothing_is_given() {
        let parse = |given: &[&str]| {
            let defaults = [("zeta", "0.1"), ("interval", "100"), ("temperature", "1,9")];
            let given = std::iter::once("example").chain(given.iter().copied()).map(OsString::from);
            parse_from::<Options>(&defaults, given.collect()).unwrap()
        };
        let own = Options { zeta: 0.1, interval: Some(100), temperature: Some(vec![1.0, 9.0]) };
        assert_eq!(parse(&[]), own);
        let given = parse(&["--zeta", "0.5", "--interval", "7", "--temperature", "1,1"]);
        assert_eq!(given, Options { zeta: 0.5, interval: Some(7), temperature: Some(vec![1.0, 1.0]) });
    }

    #[test]
    fn a_file_becomes_arguments_of_the_same_names() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "\u{feff}method = [\"set\", \"chts\"]\r\nsparsity = 0.99\npercolation = true\n",
        )
        .unwrap();
        let arguments = read(file.path()).unwrap();
        assert_eq!(arguments, ["--method", "set,chts", "--percolation", "true", "--sparsity", "0.99"]);
    }
}
