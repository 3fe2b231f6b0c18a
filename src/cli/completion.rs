//! Shell completion: scripts for the program by itself, and answers in the form that kubectl asks its plugins for.
//!
//! kubectl completes `kubectl scoped-secrets ...` by running `kubectl_complete-scoped_secrets` with the words so far, and reads
//! candidates, a line each, then `:` and a directive (spf13/cobra: 4 = no file names, 0 = file names).

use clap::Command;
use clap_complete::Shell;
use std::io::Write;

/// Print a completion script for a shell.
///
/// For `kubectl scoped-secrets`, kubectl's own completion asks a program `kubectl_complete-scoped_secrets`: a link of that
/// name to this program, beside it on the PATH, is all that it takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  source <(kubectl-scoped_secrets completion bash)
  ln -s \"$(command -v kubectl-scoped_secrets)\" ~/.local/bin/kubectl_complete-scoped_secrets")]
pub struct Completion {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Script,
}

/// Shells that a script can be printed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs)]
pub enum Script {
    Bash,
    Zsh,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
}

/// The name that kubectl asks by.
pub const ASKED_AS: &str = "kubectl_complete-scoped_secrets";

/// Writes the script.
pub fn script(shell: Script, command: Command, out: &mut dyn Write) {
    let shell = match shell {
        Script::Bash => Shell::Bash,
        Script::Zsh => Shell::Zsh,
        Script::Fish => Shell::Fish,
        Script::PowerShell => Shell::PowerShell,
    };
    let mut text = Vec::new();
    // By itself it has that name, and its verbs are named after it.
    let mut command = command.name("kubectl-scoped_secrets").bin_name("kubectl-scoped_secrets");
    clap_complete::generate(shell, &mut command, "kubectl-scoped_secrets", &mut text);
    // For bash clap_complete writes a name with a hyphen in two ways, and looks for what it never sets.
    let text = String::from_utf8_lossy(&text).replace("kubectl__subcmd__scoped_secrets", "kubectl__scoped_secrets");
    let _ = out.write_all(text.as_bytes());
}

/// What a word may be.
#[derive(Debug, PartialEq, Eq)]
pub enum Candidates {
    /// One of these.
    Words(Vec<String>),
    /// A file.
    Files,
    /// The name of an object, of a verb's first argument.
    Names(&'static str),
}

/// What the last of these words may be.
pub fn candidates(command: &Command, words: &[String]) -> Candidates {
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut at = command;
    let mut expects = None;
    let mut positionals = 0;
    for word in before {
        if expects.take().is_some() {
            continue;
        }
        if let Some(flag) = word.strip_prefix('-') {
            expects = at.get_arguments().find(|a| is_named(a, flag)).filter(|a| a.get_action().takes_values());
        } else if let Some(verb) = at.find_subcommand(word) {
            at = verb;
        } else {
            positionals += 1;
        }
    }
    let starting = |mut all: Vec<String>| {
        all.retain(|word| word.starts_with(last));
        Candidates::Words(all)
    };
    if let Some(argument) = expects {
        let values: Vec<String> = argument.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect();
        return match (values.is_empty(), argument.get_id().as_str()) {
            (false, _) => starting(values),
            (true, "namespace" | "operator_namespace") => Candidates::Names("namespaces"),
            (true, "file" | "kubeconfig") => Candidates::Files,
            (true, "store") => Candidates::Names("scopedsecretstores"),
            (true, _) => Candidates::Words(Vec::new()),
        };
    }
    if last.starts_with('-') {
        let long = at.get_arguments().filter(|a| !a.is_hide_set()).filter_map(|a| a.get_long());
        return starting(long.chain(["help"]).map(|flag| format!("--{flag}")).collect());
    }
    let verbs: Vec<String> =
        at.get_subcommands().filter(|c| !c.is_hide_set()).map(|c| c.get_name().to_owned()).collect();
    match at.get_positionals().nth(positionals) {
        _ if !verbs.is_empty() => starting(verbs),
        Some(argument) if !argument.get_possible_values().is_empty() => {
            starting(argument.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect())
        }
        Some(_) => match at.get_name() {
            "why" | "refresh" | "rotate" | "revoke" | "grant" => Candidates::Names("scopedsecrets"),
            "trace" => Candidates::Names("pods"),
            "approve" => Candidates::Names("secretgrants"),
            _ => Candidates::Files,
        },
        None if at.get_name() == "simulate" => Candidates::Files,
        None => Candidates::Words(Vec::new()),
    }
}

fn is_named(argument: &clap::Arg, flag: &str) -> bool {
    let long = flag.strip_prefix('-').is_some_and(|long| argument.get_long() == Some(long));
    let short = argument.get_short().is_some_and(|short| flag.chars().eq([short]));
    long || short
}

/// In the form that kubectl reads.
pub fn render(words: Option<&[String]>) -> String {
    let lines: String = words.unwrap_or_default().iter().map(|word| format!("{word}\n")).collect();
    format!("{lines}:{}\n", if words.is_some() { 4 } else { 0 })
}
